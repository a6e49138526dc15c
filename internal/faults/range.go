package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/internal/servers"
)

// proving is the ground on which trials run: the servers, the network between
// them and us, and what should come of each load.
type proving struct {
	settings
	kafka   *servers.Kafka
	elastic *servers.Elasticsearch

	sensorKafka, correlatorKafka, correlatorElastic *wire
	gate                                            *gate

	loads  map[string]*load
	trials int
}

// load is what a sensor reads.
type load struct {
	name   string
	reads  []string // flags
	knows  []string // flags of whoever detects
	bytes  int      // of the events
	events []string // as they should be stored, sorted
	alerts []string
	ledger string
}

func newRange(ctx context.Context, s settings) (r *proving, err error) {
	r = &proving{settings: s, loads: map[string]*load{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	for _, w := range []**wire{&r.sensorKafka, &r.correlatorKafka, &r.correlatorElastic} {
		if *w, err = newWire(); err != nil {
			return r, err
		}
	}
	if r.kafka, err = servers.StartKafka(ctx, servers.KafkaConfig{Advertised: map[string]string{"SENSOR": r.sensorKafka.addr(), "CORRELATOR": r.correlatorKafka.addr()}}); err != nil {
		return r, err
	}
	if r.elastic, err = servers.StartElasticsearch(ctx, servers.ElasticsearchConfig{}); err != nil {
		return r, err
	}
	r.sensorKafka.to(r.kafka.Behind["SENSOR"])
	r.correlatorKafka.to(r.kafka.Behind["CORRELATOR"])
	if r.gate, err = newGate(r.elastic.URL); err != nil {
		return r, err
	}
	r.correlatorElastic.to(r.gate.addr())

	scene := filepath.Join(s.scenarios, "intrusion")
	knows := []string{"--assets", filepath.Join(scene, "assets.yml"), "--intel", filepath.Join(scene, "reputation.csv")}
	taps, err := filepath.Glob(filepath.Join(scene, "*.pcap*"))
	if err != nil || len(taps) == 0 {
		return r, fmt.Errorf("%s has no captures: %w", scene, err)
	}
	intrusion := &load{name: "intrusion", knows: knows}
	for _, tap := range taps {
		intrusion.reads = append(intrusion.reads, "-r", tap)
	}
	jumped := filepath.Join(s.work, "border.pcap")
	if err := jump(filepath.Join(scene, "border.pcap.zst"), jumped, 10*time.Minute); err != nil {
		return r, err
	}
	for _, l := range []*load{
		intrusion,
		{name: "generated", knows: knows, reads: []string{"-r", s.generated}},
		{name: "jumping clock", knows: knows, reads: []string{"-r", jumped}},
	} {
		if err := r.measure(ctx, l); err != nil {
			return r, err
		}
		r.loads[l.name] = l
	}
	return r, nil
}

func (r *proving) close() error {
	var errs []error
	for _, w := range []*wire{r.sensorKafka, r.correlatorKafka, r.correlatorElastic} {
		if w != nil {
			errs = append(errs, w.close())
		}
	}
	if r.gate != nil {
		errs = append(errs, r.gate.close())
	}
	if r.kafka != nil {
		errs = append(errs, r.kafka.Remove())
	}
	if r.elastic != nil {
		errs = append(errs, r.elastic.Remove())
	}
	return errors.Join(errs...)
}

// measure finds what should be stored of a load: what one process stores that
// nobody disturbs.
func (r *proving) measure(ctx context.Context, l *load) error {
	data := filepath.Join(r.work, "alone-"+strings.ReplaceAll(l.name, " ", "-"))
	if _, err := output(ctx, r.tocsin, slices.Concat([]string{"run", "--once", "--data", data}, l.reads, l.knows)...); err != nil {
		return err
	}
	var err error
	l.events, l.alerts, l.ledger, err = r.stored(ctx, "--data", data)
	for _, e := range l.events {
		l.bytes += len(e)
	}
	return errors.Join(err, os.RemoveAll(data))
}

// stored is everything in a store.
func (r *proving) stored(ctx context.Context, where ...string) (events, alerts []string, ledger string, err error) {
	text, err := output(ctx, r.tocsin, append([]string{"search", "", "--json", "--limit", "0"}, where...)...)
	if err != nil {
		return nil, nil, "", err
	}
	for line := range strings.Lines(spooled.ReplaceAllString(text, "")) {
		if strings.Contains(line, `"kind":"alert"`) {
			alerts = append(alerts, line)
		} else {
			events = append(events, line)
		}
	}
	slices.Sort(events)
	slices.Sort(alerts)
	ledger, err = output(ctx, r.tocsin, append([]string{"ledger"}, where...)...)
	return events, alerts, spooled.ReplaceAllString(ledger, ""), err
}

// spooled is what only a sensor with a spool says in its accounts.
var spooled = regexp.MustCompile(`,"spooled":[0-9]+|(, )?spooled [0-9]+`)

// trial is one distributed pipeline.
type trial struct {
	*proving
	load        *load
	prefix, dir string
	chance      *rand.Rand
	sensor      *process
	correlators []*process
	spool       string
	sensorAlso  []string // flags
}

// lasts is how long a sensor takes for a load: it is held to a rate.
const lasts = 30 * time.Second

func (r *proving) trial(ctx context.Context, f fault) (res result) {
	r.trials++
	began := time.Now()
	res = result{fault: f.name, load: f.load}
	defer func() { res.took = time.Since(began) }()
	t := &trial{
		proving: r, load: r.loads[f.load], prefix: fmt.Sprintf("trial%d", r.trials),
		dir: filepath.Join(r.work, fmt.Sprint(r.trials)), chance: rand.New(rand.NewPCG(r.seed, uint64(r.trials))),
	}
	t.spool = filepath.Join(t.dir, "spool")
	if res.err = os.MkdirAll(t.dir, 0o755); res.err != nil {
		return res
	}
	if _, res.err = output(ctx, r.tocsin, "topics", "create", "--kafka", r.kafka.Addr, "--topic-prefix", t.prefix, "--partitions", "6", "--replicas", "1"); res.err != nil {
		return res
	}
	limit, cancel := context.WithTimeout(ctx, r.away+15*time.Minute)
	defer cancel()
	defer t.end()
	t.addCorrelator()
	t.addCorrelator()
	if f.before != nil {
		if res.err = f.before(limit, t); res.err != nil {
			return res
		}
	}
	t.sense()
	res.times, res.err = f.strike(limit, t)
	if res.err != nil {
		res.err = errors.Join(res.err, t.told("sensor"), t.told("correlator"))
		return res
	}
	if res.err = t.sensor.wait(limit); res.err != nil {
		res.err = errors.Join(res.err, t.told("sensor"))
		return res
	}
	for _, c := range t.correlators {
		if res.err = c.stop(time.Minute); res.err != nil {
			return res
		}
	}
	// A last correlator does what is left, and says that no more comes.
	if _, res.err = output(limit, r.tocsin, slices.Concat([]string{"correlator", "--once"}, t.sharing(r.kafka.Addr, r.elastic.URL))...); res.err != nil {
		return res
	}
	// What other processes stored just before is found after a second.
	if res.err = r.refresh(limit); res.err != nil {
		return res
	}
	events, alerts, ledger, err := r.stored(limit, "--elasticsearch", r.elastic.URL, "--elasticsearch-prefix", t.prefix)
	if res.err = err; err != nil {
		return res
	}
	res.events, res.alerts = len(events), len(alerts)
	res.once, res.same, res.ledger = slices.Equal(events, t.load.events), slices.Equal(alerts, t.load.alerts), "balances"
	if f.loses {
		// The sensor's accounts say what its disk refused, and alerts that some
		// of what they span was not seen. What they say is the same.
		res.once = slices.Equal(withoutAccounts(events), withoutAccounts(t.load.events))
		res.same = slices.Equal(ids(alerts), ids(t.load.alerts))
	} else if ledger != t.load.ledger {
		res.ledger = "**differs**"
	}
	if !res.once || !res.same || res.ledger != "balances" {
		res.err = fmt.Errorf("events %s; alerts %s; ledger\n%s, want\n%s", difference(events, t.load.events), difference(alerts, t.load.alerts), ledger, t.load.ledger)
	}
	return res
}

// refresh lets searches see what any process has stored.
func (r *proving) refresh(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.elastic.URL+"/_refresh", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func withoutAccounts(events []string) []string {
	return slices.DeleteFunc(slices.Clone(events), func(e string) bool { return strings.Contains(e, `"dataset":"tocsin.ledger"`) })
}

var idText = regexp.MustCompile(`"id":"([0-9a-f]{32})"`)

func ids(lines []string) (found []string) {
	for _, l := range lines {
		if m := idText.FindStringSubmatch(l); m != nil {
			found = append(found, m[1])
		}
	}
	slices.Sort(found)
	return found
}

// difference says what two sorted lists have that the other has not.
func difference(have, want []string) string {
	only := func(a, b []string) (n int, first string) {
		for _, x := range a {
			if _, found := slices.BinarySearch(b, x); !found {
				if n++; n == 1 {
					first = x
				}
			}
		}
		return n, first
	}
	more, extra := only(have, want)
	less, missing := only(want, have)
	if more+less == 0 {
		return fmt.Sprintf("%d, want %d, the same ones", len(have), len(want))
	}
	return fmt.Sprintf("%d too many, %d too few\nhave %swant %s", more, less, extra, missing)
}

// sharing are the flags of a correlator.
func (t *trial) sharing(kafka, elastic string) []string {
	return slices.Concat([]string{"--kafka", kafka, "--topic-prefix", t.prefix, "--group", t.prefix,
		"--elasticsearch", elastic, "--elasticsearch-prefix", t.prefix, "--lateness", "24h"}, t.load.knows)
}

func (t *trial) addCorrelator() *process {
	elastic := url.URL{Scheme: "http", Host: t.correlatorElastic.addr()}
	p := startProcess(t.tocsin, filepath.Join(t.dir, "correlator"), append([]string{"correlator"}, t.sharing(t.correlatorKafka.addr(), elastic.String())...)...)
	t.correlators = append(t.correlators, p)
	return p
}

func (t *trial) sense() {
	rate := max(t.load.bytes/int(lasts.Seconds()), 1)
	t.sensor = startProcess(t.tocsin, filepath.Join(t.dir, "sensor"), slices.Concat([]string{"sensor", "--kafka", t.sensorKafka.addr(), "--topic-prefix", t.prefix,
		"--spool", t.spool, "--rate", fmt.Sprint(rate)}, t.sensorAlso, t.load.reads)...)
}

// end ends what is left.
func (t *trial) end() {
	for _, p := range append(t.correlators, t.sensor) {
		if p != nil {
			p.stop(10 * time.Second)
		}
	}
}

// told is the end of what a process has said.
func (t *trial) told(name string) error {
	text, err := os.ReadFile(filepath.Join(t.dir, name))
	return errors.Join(fmt.Errorf("%s: %s", name, text[max(0, len(text)-1000):]), err)
}

// pause lets some time pass, between a and b.
func (t *trial) pause(ctx context.Context, a, b time.Duration) error {
	timer := time.NewTimer(a + time.Duration(t.chance.Int64N(int64(b-a)+1)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
