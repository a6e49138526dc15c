package console

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/servers"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/elastic"
)

func TestMain(m *testing.M) { os.Exit(servers.Run(m)) }

// TestOnElasticsearch runs what the console does with a store on the other one.
func TestOnElasticsearch(t *testing.T) {
	url := servers.ElasticsearchURL(t)
	embedded := openStore
	t.Cleanup(func() { openStore = embedded })
	openStore = func(t *testing.T, schema *event.Schema) store.Store {
		cfg := elastic.DefaultConfig()
		cfg.Addresses, cfg.Schema = []string{url}, schema
		cfg.Prefix = "console" + strconv.FormatInt(time.Now().UnixNano(), 36)
		s, err := elastic.Open(t.Context(), cfg)
		if err == nil {
			err = s.Prepare(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { servers.ForgetIndices(t, url, cfg.Prefix) })
		return s
	}
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"SearchPagesThroughAll", TestSearchPagesThroughAll},
		{"AlertsPageByTheirTime", TestAlertsPageByTheirTime},
		{"SearchAsks", TestSearchAsks},
		{"CountsAddUp", TestCountsAddUp},
		{"AlertHasItsEvidence", TestAlertHasItsEvidence},
		{"StatusAddsUpTheLedger", TestStatusAddsUpTheLedger},
		{"Triage", TestTriage},
		{"TraceAndExports", TestTraceAndExports},
		{"StreamTellsOfNewAlertsAndJudgements", TestStreamTellsOfNewAlertsAndJudgements},
	} {
		t.Run(c.name, c.test)
	}
}
