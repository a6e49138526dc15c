package elastic_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"testing"

	"github.com/tocsin/tocsin/internal/servers"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/elastic"
	"github.com/tocsin/tocsin/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(servers.Run(m)) }

// TestStore gives each folder of the contract a prefix of its own on the
// server that all tests share.
func TestStore(t *testing.T) {
	url := servers.ElasticsearchURL(t)
	t.Setenv(servers.ElasticsearchEnv, url) // for the process that is killed
	storetest.Test(t, storetest.Traits{InParts: true}, func(t *testing.T, dir string) store.Store {
		sum := sha256.Sum256([]byte(dir))
		return opened(t, url, "t"+hex.EncodeToString(sum[:6]), nil)
	})
}

// opened opens a store whose indices are deleted after the test.
func opened(t testing.TB, url, prefix string, change func(*elastic.Config)) *elastic.Store {
	t.Helper()
	cfg := elastic.DefaultConfig()
	cfg.Addresses, cfg.Prefix, cfg.Schema = []string{url}, prefix, storetest.Schema()
	if change != nil {
		change(&cfg)
	}
	s, err := elastic.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { servers.ForgetIndices(t, url, prefix) })
	return s
}
