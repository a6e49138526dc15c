package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/tocsin/tocsin/bus/kafka"
	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/spread"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/metrics"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/elastic"
)

func newCorrelator() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "correlator",
		Short: "Read events from Kafka, detect, and store events and alerts",
		Long: `Read the events that sensors publish to Kafka, detect, and store events and
alerts in Elasticsearch, or in the embedded store of this machine. Any number of
correlators share the work, each a part of the partitions; one that is added or
killed changes nothing in the alerts. An offset is committed when everything
made from what is before it is stored.

All correlators of a group need the same rules, lists and assets.`,
		Example: `  tocsin correlator --kafka 10.0.0.5:9092 --elasticsearch https://10.0.0.6:9200 --assets assets.yml
  tocsin correlator --kafka 127.0.0.1:9092 --data data --once`,
		Args: cobra.NoArgs,
	}
	bus := kafkaFlags(cmd)
	kept := storeFlags(cmd)
	what := detectingFlags(cmd)
	group := cmd.Flags().String("group", "tocsin-correlator", "consumer `GROUP`: correlators of one share the work")
	lateness := cmd.Flags().Duration("lateness", correlator.DefaultLateness, "how far behind the latest event an event may be published and still count exactly")
	remember := cmd.Flags().Int("remember", 1_000_000, "matches of rules to remember, at some 200 to 400 bytes each")
	once := cmd.Flags().Bool("once", false, "exit when everything that is published by now is stored")
	measure := metricsFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		defer collectAt(correlatorGC)()
		cfg, lists, err := what.config(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		cfg.Lateness, cfg.MaxKept, cfg.MaxGroups = *lateness, *remember, *remember
		client, err := bus.dial(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		defer client.Close()
		d := &distributed{out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), client: client, topics: bus.topics(), group: *group, once: *once, lists: lists, geo: what.geo, rules: what.rules.now,
			sources: map[int]*source{}, keepers: map[int]*keeper{}}
		if d.matcher, err = correlator.NewMatcher(cfg); err != nil {
			return err
		}
		if d.metrics, err = listenForMetrics(*measure); err != nil {
			return err
		} else if d.metrics != nil {
			defer d.metrics.Close()
		}
		kept.refused = d.refused
		if d.store, err = kept.openToFill(cmd.Context()); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.store.Close()) }()
		d.ledger = kept.shelf(d.store)
		if err := d.run(cmd.Context()); err != nil {
			return err
		}
		if !*once {
			return nil
		}
		// To ask makes what was stored searchable, whoever searches next.
		levels, err := alertLevels(cmd.Context(), d.store)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "consumed %d events here; alerts in the store: %s\n", d.matcher.Stats().Events, levels)
		return nil
	}
	return cmd
}

// correlatorGC is the garbage collector's percentage in a correlator, most of
// whose memory is what it remembers for hours.
const correlatorGC = 50

// distributed is a correlator that shares the work with others: events of
// Kafka → stage one → store, and signals to Kafka → stage two → alerts to the
// store and to Kafka.
type distributed struct {
	out     io.Writer
	errs    io.Writer
	client  *kafka.Client
	topics  kafka.Topics
	group   string
	once    bool
	matcher *correlator.Matcher
	lists   *reputation
	geo     *atlas
	rules   *inForce
	ledger  *shelf // of the rules' ledger
	store   store.Store
	metrics net.Listener // nil: none

	signals, alerts, dead *kafka.Producer
	ends                  []int64 // of the events, when the process began
	finish                context.CancelCauseFunc

	mu      sync.Mutex
	sources map[int]*source // by partition of events
	keepers map[int]*keeper // by partition of signals
	latest  time.Time       // of all marks that were seen
}

// source is a partition of events that this process reads.
type source struct {
	*spread.Source
	seen  time.Time // latest mark of all before the last look at the partition
	empty int       // looks at it that found nothing, in a row
	next  int64     // offset up to which everything is stored
}

// keeper is a partition of signals that this process keeps.
type keeper struct {
	*spread.Keeper
	flushed bool
	memory  *correlator.Memory
}

// quiet is how many looks at a partition, some 200 ms apart, must find nothing
// before its mark is that of the others: a batch of a sensor does not come to
// all partitions at the same time.
const quiet = 10

// errFinished ends the work of --once.
var errFinished = errors.New("finished")

func (d *distributed) run(ctx context.Context) (err error) {
	if err := d.client.Check(ctx); err != nil {
		return err
	}
	d.warn(ctx)
	for _, p := range []struct {
		at    **kafka.Producer
		topic string
	}{{&d.signals, d.topics.Signals}, {&d.alerts, d.topics.Alerts}, {&d.dead, d.topics.Dead}} {
		if *p.at, err = d.client.Producer(ctx, kafka.DefaultProducerConfig(p.topic)); err != nil {
			return err
		}
		defer (*p.at).Close()
	}
	if d.ends, err = d.client.Ends(ctx, d.topics.Events); err != nil {
		return err
	}
	fields, err := schema()
	if err != nil {
		return err
	}
	events := kafka.NewBus(d.client, fields, kafka.DefaultBusConfig(d.topics, d.topics.Events, d.group))
	defer events.Close()

	work, finish := context.WithCancelCause(ctx)
	defer finish(nil)
	d.finish = finish
	both, working := errgroup.WithContext(work)
	cfg := kafka.DefaultConsumerConfig(d.topics.Signals, d.group+"-signals")
	cfg.Linger = 50 * time.Millisecond
	cfg.Assigned = func(as []kafka.Assignment) {
		d.keepFrom(as)
		if d.once && len(as) == 0 {
			both.Go(func() error { return d.wait(working) })
		}
	}
	cfg.Start, cfg.Note, cfg.Idle = d.start, d.note, d.complete
	cfg.Unreadable = func(ctx context.Context, partition int, from, to int64, why error) error {
		return d.dead.Publish(ctx, []kafka.Record{kafka.Obituary(d.topics.Signals, partition, from, to, why)})
	}
	signals := d.client.Consumer(cfg)

	hide, err := showMetrics(ctx, d.metrics, d.out, d.measured(events, signals)...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hide()) }()

	both.Go(func() error {
		cfg := kafka.DefaultConsumerConfig(d.topics.Events, d.group)
		cfg.Parallel = runtime.GOMAXPROCS(0)
		cfg.Assigned, cfg.Idle = d.readFrom, d.idle
		return events.Consume(working, cfg, d.match)
	})
	both.Go(func() error { return signals.Consume(working, d.keep) })
	book := newRuleBook(d.ledger, d.stats, d.rules)
	both.Go(func() error { book.keep(working, d.errs); return nil })
	defer func() {
		last, cancel := outlive(ctx, farewell)
		defer cancel()
		if wrong := book.write(last); wrong != nil {
			complain(d.errs, wrong)
		}
	}()
	if !d.once {
		both.Go(func() error {
			return d.lists.keepFresh(working, d.errs, d.store, events.Publish, d.tell)
		})
		both.Go(func() error { d.geo.watch(working, redrawing, d.errs); return nil })
	}
	onDuty(working, d.working(events, signals))
	err = both.Wait()
	if errors.Is(context.Cause(work), errFinished) {
		return nil
	}
	if ctx.Err() != nil && !d.once {
		return nil // asked to stop
	}
	return err
}

// warn tells of settings of the topics with which messages may be deleted before
// they are read. Who may not read settings is not told.
func (d *distributed) warn(ctx context.Context) {
	plan := kafka.DefaultPlan()
	plan.Prefix = strings.TrimSuffix(d.topics.Events, ".events")
	topics := slices.DeleteFunc(plan.Topics(1), func(t kafka.Topic) bool { return t.Name != d.topics.Events && t.Name != d.topics.Signals })
	differences, err := d.client.Compare(ctx, topics)
	if err != nil {
		return
	}
	for _, x := range differences {
		if x.What == "retention.ms" || x.What == "cleanup.policy" {
			complain(d.errs, fmt.Errorf("%s: messages have the time of their events, so that a backlog would be deleted before it is read; see tocsin topics plan", x))
		}
	}
}

// measured is what Prometheus is told.
func (d *distributed) measured(events *kafka.Bus, signals *kafka.Consumer) []metrics.Source {
	written := func(topic string, p *kafka.Producer) metrics.Topic {
		return metrics.Topic{Name: topic, Stats: p.Stats()}
	}
	sources := []metrics.Source{metrics.Correlator(d.stats), metrics.Kafka(func() []metrics.Topic {
		both := written(d.topics.Signals, d.signals)
		both.Consumers = []kafka.ConsumerStats{signals.Stats()}
		return []metrics.Topic{{Name: d.topics.Events, Stats: events.Stats()}, both, written(d.topics.Alerts, d.alerts), written(d.topics.Dead, d.dead)}
	})}
	if s, ok := d.store.(*elastic.Store); ok {
		sources = append(sources, metrics.Elasticsearch(s.Stats))
	}
	return sources
}

// working reports, each time it is asked, whether anything has happened since:
// brokers have answered, or it is Elasticsearch that is waited for.
func (d *distributed) working(events *kafka.Bus, signals *kafka.Consumer) func() bool {
	var before uint64
	return func() bool {
		var turns uint64
		have := 0
		for _, c := range append(events.Stats().Consumers, signals.Stats()) {
			turns += c.Turns
			have += len(c.Lag)
		}
		moved := turns != before
		before = turns
		s, ok := d.store.(*elastic.Store)
		return moved || have == 0 || ok && s.Stats().Blocked
	}
}

// readFrom begins with partitions of events.
func (d *distributed) readFrom(as []kafka.Assignment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.sources)
	for _, a := range as {
		d.sources[a.Partition] = &source{Source: spread.NewSource(d.matcher, a.Partition, a.Committed), seen: d.latest, next: a.Committed}
	}
}

func (d *distributed) source(partition int) *source {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sources[partition]
}

// match is stage one.
func (d *distributed) match(ctx context.Context, delivery kafka.EventDelivery) error {
	src := d.source(delivery.Partition)
	found, err := src.Match(ctx, delivery.Events, delivery.Next)
	if err != nil {
		return err
	}
	records := make([]kafka.Record, 0, len(found.Signals)+len(found.Losses)+1)
	for i := range found.Signals {
		s := &found.Signals[i]
		if records, err = encoded(records, spread.Message{Signal: s}, s.Home(), s.Time); err != nil {
			return err
		}
	}
	for i := range found.Losses {
		if records, err = encoded(records, spread.Message{Loss: &found.Losses[i]}, "", found.Losses[i].Minute); err != nil {
			return err
		}
	}
	var kept errgroup.Group
	kept.Go(func() error { return d.store.Put(ctx, delivery.Events, nil) })
	kept.Go(func() error { return d.signals.Publish(ctx, records) })
	if err := kept.Wait(); err != nil {
		return err
	}
	d.mu.Lock()
	src.seen, src.empty, src.next = d.latest, 0, delivery.Next
	d.mu.Unlock()
	// Not before the events are stored: --once ends when all are marked.
	if mark, ok := src.Mark(); ok {
		return d.mark(ctx, mark)
	}
	return nil
}

// mark writes a mark to all partitions of signals.
func (d *distributed) mark(ctx context.Context, mark spread.Mark) error {
	records, err := encoded(nil, spread.Message{Mark: &mark}, "", mark.Time)
	if err != nil {
		return err
	}
	return d.signals.Publish(ctx, records)
}

// encoded appends the record of a message; without a key it goes to all
// partitions.
func encoded(records []kafka.Record, m spread.Message, key string, at time.Time) ([]kafka.Record, error) {
	text, err := spread.Encode(m)
	if err != nil {
		return nil, fmt.Errorf("signals: %w", err)
	}
	return append(records, kafka.Record{Key: []byte(key), All: key == "", Value: text, Time: at}), nil
}

// idle tells of a partition of events that has nothing to be read.
func (d *distributed) idle(ctx context.Context, partition int, next int64) error {
	src := d.source(partition)
	d.mu.Lock()
	seen := src.seen
	src.seen, src.next = d.latest, next
	src.empty++
	wait := src.empty < quiet && !(d.once && next >= d.ends[min(partition, len(d.ends)-1)])
	d.mu.Unlock()
	if wait {
		return nil
	}
	if mark, ok := src.Idle(seen, next); ok {
		return d.mark(ctx, mark)
	}
	return nil
}

// keepFrom begins with partitions of signals, or goes on with those that it had.
func (d *distributed) keepFrom(as []kafka.Assignment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	had := maps.Clone(d.keepers)
	clear(d.keepers)
	for _, a := range as {
		if k := had[a.Partition]; k != nil && a.Kept && k.Next() == a.Committed {
			d.keepers[a.Partition] = k
			continue
		}
		d.keepers[a.Partition] = d.resume(a)
	}
}

// resume makes a keeper that is to be given again what its predecessor
// remembered.
func (d *distributed) resume(a kafka.Assignment) *keeper {
	memory := d.matcher.NewMemory(d.signals.Partitions())
	fresh := func(next int64) *keeper {
		return &keeper{Keeper: spread.NewKeeper(memory, len(d.ends), next), memory: memory}
	}
	if a.Committed == 0 {
		return fresh(0)
	}
	c, err := spread.ParseCheckpoint(a.Note)
	if err != nil {
		complain(d.errs, fmt.Errorf("%s, partition %d: %w; everything that the topic still has is read again", d.topics.Signals, a.Partition, err))
		return fresh(0)
	}
	k := fresh(c.Start)
	if !k.Suits(c) { // rules with longer windows than before
		k = fresh(0)
	}
	k.Resume(c)
	return k
}

func (d *distributed) keeper(partition int) *keeper {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keepers[partition]
}

func (d *distributed) start(a kafka.Assignment) int64 { return d.keeper(a.Partition).Next() }

func (d *distributed) note(partition int) string {
	return d.keeper(partition).Checkpoint().String()
}

// keep is stage two.
func (d *distributed) keep(ctx context.Context, delivery kafka.Delivery) error {
	k := d.keeper(delivery.Partition)
	messages := make([]spread.Message, 0, len(delivery.Messages))
	for i := range delivery.Messages {
		m, err := spread.Decode(delivery.Messages[i].Value, d.matcher.Rule)
		switch {
		case errors.Is(err, spread.ErrNewer):
			return fmt.Errorf("%s: %w", d.topics.Signals, err)
		case err == nil:
			messages = append(messages, m)
		case !delivery.Again:
			if err := d.bury(ctx, delivery.Partition, &delivery.Messages[i], err); err != nil {
				return err
			}
		}
	}
	k.Take(messages, delivery.Messages[len(delivery.Messages)-1].Offset+1)
	d.mu.Lock()
	if t := k.Latest(); t.After(d.latest) {
		d.latest = t
	}
	d.mu.Unlock()
	if delivery.Again {
		return nil
	}
	return d.tell(ctx, k.Report())
}

func (d *distributed) bury(ctx context.Context, partition int, m *kafka.Message, why error) error {
	complain(d.errs, fmt.Errorf("%s, partition %d, offset %d: %w; it goes to %s", d.topics.Signals, partition, m.Offset, why, d.topics.Dead))
	const most = 900_000 // bytes; see kafka.DefaultProducerConfig
	return d.dead.Publish(ctx, []kafka.Record{kafka.Letter(d.topics.Signals, partition, m, why, most)})
}

// tell stores alerts and publishes them.
func (d *distributed) tell(ctx context.Context, alerts []event.Alert) error {
	if len(alerts) == 0 {
		return nil
	}
	slices.SortFunc(alerts, func(a, b event.Alert) int { return a.ID.Compare(b.ID) })
	if err := d.store.Put(ctx, nil, alerts); err != nil {
		return err
	}
	records := make([]kafka.Record, len(alerts))
	for i := range alerts {
		e := alerts[i].Event()
		records[i] = kafka.Record{Key: []byte(e.ID.String()), Value: e.AppendJSON(nil), Time: e.Time}
	}
	return d.alerts.Publish(ctx, records)
}

// complete ends the work of --once when all that was published is known to the
// partitions of signals, which have then nothing left either, and what this
// process reads of the events is stored: another group may have found the
// signals earlier.
func (d *distributed) complete(ctx context.Context, partition int, _ int64) error {
	k := d.keeper(partition)
	if !d.once || k.flushed || !k.Reached(d.ends) || !d.stored() {
		return nil
	}
	if err := d.tell(ctx, k.Flush()); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	k.flushed = true
	for _, other := range d.keepers {
		if !other.flushed {
			return nil
		}
	}
	d.finish(errFinished)
	return nil
}

// stored reports whether what this process reads of the events that were there
// when it began is stored.
func (d *distributed) stored() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for partition, src := range d.sources {
		if src.next < d.ends[partition] {
			return false
		}
	}
	return true
}

// wait ends the work of --once in a process that others have left nothing to
// keep, when they have nothing left either.
func (d *distributed) wait(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		d.mu.Lock()
		mine := len(d.keepers)
		d.mu.Unlock()
		if mine > 0 {
			return nil
		}
		events, err := d.client.Lag(ctx, d.topics.Events, d.group)
		signals, err2 := d.client.Lag(ctx, d.topics.Signals, d.group+"-signals")
		if err == nil && err2 == nil && events == 0 && signals == 0 {
			d.finish(errFinished)
			return nil
		}
	}
}

// refused sends documents that Elasticsearch will never take to the dead
// letters.
func (d *distributed) refused(ctx context.Context, documents []elastic.Refused) error {
	records := make([]kafka.Record, len(documents))
	for i, doc := range documents {
		complain(d.errs, fmt.Errorf("event %s: %s refuses it: %s; it goes to %s", doc.ID, doc.Index, doc.Reason, d.topics.Dead))
		records[i] = kafka.Record{Key: []byte(doc.ID.String()), Value: doc.JSON, Time: doc.ID.Time(), Headers: []kafka.Header{
			{Name: kafka.HeaderReason, Value: []byte(doc.Reason[:min(len(doc.Reason), 1024)])},
			{Name: kafka.HeaderTopic, Value: []byte(d.topics.Events)},
		}}
	}
	return d.dead.Publish(ctx, records)
}

func (d *distributed) stats() correlator.Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	var memories []*correlator.Memory
	for _, p := range slices.SortedFunc(maps.Keys(d.keepers), cmp.Compare[int]) {
		memories = append(memories, d.keepers[p].memory)
	}
	return d.matcher.Stats(memories...)
}
