package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	kgo "github.com/segmentio/kafka-go"
)

// Message is a message that was read. It is borrowed.
type Message struct {
	Offset int64
	Record
}

// Header returns the value of a header; ok is false if there is none.
func (m *Message) Header(name string) (value []byte, ok bool) {
	for i := range m.Headers {
		if m.Headers[i].Name == name {
			return m.Headers[i].Value, true
		}
	}
	return nil, false
}

// Delivery is messages of one partition, in their order. It is borrowed.
type Delivery struct {
	Partition int
	// Again says that all of the messages were acknowledged earlier, and come
	// once more because Start asked for them.
	Again    bool
	Messages []Message
}

// Assignment is a partition that a consumer has from now on.
type Assignment struct {
	Partition int
	// Committed is the offset of the first message that was not acknowledged,
	// and Note what ConsumerConfig.Note said of it. They are 0 and empty where
	// nothing was.
	Committed int64
	Note      string
	// Kept says that this consumer had the partition until now, and was given
	// everything up to Committed and nothing else.
	Kept bool
}

// ConsumerConfig says how a topic is read.
type ConsumerConfig struct {
	Topic string
	Group string // consumers of a group share the partitions
	// Parallel is how many calls of fn may run at a time, each for another
	// partition.
	Parallel int
	// BatchBytes is about how much is read of a partition at a time, and
	// Linger how long the brokers may wait for more than a little.
	BatchBytes int
	Linger     time.Duration
	// CommitEvery is how often it is written down what was acknowledged.
	CommitEvery time.Duration
	// SessionTimeout is after how long without a sign of life the partitions
	// of a consumer go to others, RebalanceTimeout how long a call of fn may
	// hold that up when consumers come and go.
	SessionTimeout, RebalanceTimeout time.Duration

	// Assigned, where it is set, is called with the partitions that this
	// consumer has from now on, maybe none, before anything is read of them.
	Assigned func([]Assignment)
	// Start, where it is set, says from which offset on a partition is read:
	// Committed, or an earlier one, and then messages come again.
	Start func(Assignment) int64
	// Note, where it is set, is asked after a call of fn, and says what goes with
	// the offset that is then acknowledged: at most 4096 bytes.
	Note func(partition int) string
	// Idle, where it is set, is called when a partition had nothing to be read
	// from offset next on, every Linger: not at the same time as fn, for the same
	// partition.
	Idle func(ctx context.Context, partition int, next int64) error
	// Unreadable, where it is set, is told of messages that are passed over, as
	// the brokers' copy of them is damaged: those of a partition from offset
	// from to before offset to. An error ends Consume.
	Unreadable func(ctx context.Context, partition int, from, to int64, why error) error
	// Revoked, where it is set, is called when partitions go elsewhere, or are
	// about to be handed out anew: after the last call of fn for them, and
	// before anybody else is given them.
	Revoked func(partitions []int)
	// Drained, once it is closed, says that nothing more will be published:
	// Consume returns nil when the group has acknowledged everything.
	Drained <-chan struct{}
}

// DefaultConsumerConfig is right for most.
func DefaultConsumerConfig(topic, group string) ConsumerConfig {
	return ConsumerConfig{
		Topic: topic, Group: group, Parallel: 4, BatchBytes: 1 << 20, Linger: 200 * time.Millisecond,
		CommitEvery: 250 * time.Millisecond, SessionTimeout: 10 * time.Second, RebalanceTimeout: time.Minute,
	}
}

// littleBytes is what is worth a delivery before Linger is over.
const littleBytes = 32 << 10

// Consumer reads a topic as a member of a group.
type Consumer struct {
	client *Client
	cfg    ConsumerConfig
	turns  chan struct{} // one for each call of fn that may run
	turned atomic.Uint64 // see ConsumerStats.Turns

	mu       sync.Mutex
	progress map[int]*progress // by partition; of those that this consumer has, or had last
	messages uint64
	lost     uint64
	damaged  uint64
	last     time.Time
}

// progress is how far a partition was read.
type progress struct {
	next      int64  // offset
	note      string // that goes with next
	committed int64  // what the group's coordinator knows
	end       int64  // offset after the last message on the topic
	mine      bool
}

// Consumer returns a consumer. Run it with Consume.
func (c *Client) Consumer(cfg ConsumerConfig) *Consumer {
	return &Consumer{client: c, cfg: cfg, turns: make(chan struct{}, max(cfg.Parallel, 1)), progress: map[int]*progress{}}
}

// ConsumerStats is where a consumer stands.
type ConsumerStats struct {
	Messages    uint64        // read, since the start
	Lost        uint64        // messages that the topic no longer held when their turn came
	Damaged     uint64        // messages that were passed over because the brokers' copy is damaged
	Lag         map[int]int64 // messages not yet acknowledged, by partition that this consumer has
	LastMessage time.Time     // when the last message came; zero if none has
	Turns       uint64        // answers of brokers, empty ones and errors included: it grows while the consumer works
}

// Stats returns where the consumer stands.
func (c *Consumer) Stats() ConsumerStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := ConsumerStats{Messages: c.messages, Lost: c.lost, Damaged: c.damaged, Turns: c.turned.Load(), LastMessage: c.last, Lag: map[int]int64{}}
	for n, p := range c.progress {
		if p.mine {
			s.Lag[n] = max(p.end-p.next, 0)
		}
	}
	return s
}

// Consume calls fn with messages until ctx ends (its error), fn fails (its
// error), everything is acknowledged after Drained was closed (nil), or what
// ails the group does not pass. Messages are acknowledged when fn has returned
// nil; those of a partition come by one call at a time. Messages that were not
// acknowledged come again, to whoever has their partition then.
func (c *Consumer) Consume(ctx context.Context, fn func(context.Context, Delivery) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := c.client.partitions(ctx, c.cfg.Topic); err != nil {
		return err
	}
	group, err := kgo.NewConsumerGroup(kgo.ConsumerGroupConfig{
		ID: c.cfg.Group, Brokers: c.client.cfg.Brokers, Dialer: c.client.dialer, Topics: []string{c.cfg.Topic},
		GroupBalancers:        []kgo.GroupBalancer{kgo.RangeGroupBalancer{}},
		SessionTimeout:        c.cfg.SessionTimeout,
		HeartbeatInterval:     min(c.cfg.SessionTimeout/5, time.Second),
		RebalanceTimeout:      c.cfg.RebalanceTimeout,
		JoinGroupBackoff:      200 * time.Millisecond,
		WatchPartitionChanges: true,
		StartOffset:           kgo.FirstOffset,
		Timeout:               patience,
	})
	if err != nil {
		return fmt.Errorf("kafka: group %s: %w", c.cfg.Group, err)
	}
	// The first thing that goes wrong, or nil after everything was read, ends
	// the work; closing the group then waits for the calls of fn.
	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	leave := context.AfterFunc(work, func() { group.Close() })
	defer leave()
	var draining sync.WaitGroup
	if c.cfg.Drained != nil {
		draining.Go(func() { c.drain(work, stop) })
	}
	failures := 0
	for work.Err() == nil {
		gen, err := group.Next(work)
		switch {
		case err == nil:
			failures = 0
			c.assign(work, stop, gen, fn)
			continue
		case work.Err() != nil, errors.Is(err, kgo.RebalanceInProgress): // somebody else joined first
		case !passes(err):
			stop(fmt.Errorf("group %s: %w", c.cfg.Group, c.client.explain(err)))
		default:
			failures++
			c.client.cfg.Log(fmt.Errorf("group %s, attempt %d: %w", c.cfg.Group, failures, c.client.explain(err)))
			backoff(work, failures)
		}
	}
	err = group.Close()
	draining.Wait()
	if cause := context.Cause(work); !errors.Is(cause, errDrained) {
		return cause
	}
	if err != nil {
		c.client.cfg.Log(fmt.Errorf("leave group %s: %w", c.cfg.Group, err)) // the others find out
	}
	return nil
}

var errDrained = errors.New("drained")

// assign reads the partitions of a generation of the group until it ends.
func (c *Consumer) assign(ctx context.Context, stop context.CancelCauseFunc, gen *kgo.Generation, fn func(context.Context, Delivery) error) {
	gen.Start(func(ended context.Context) {
		// A generation's context is over when others join or leave. fn is not
		// told: it finishes, and what it did is acknowledged.
		reading, done := context.WithCancel(ctx)
		defer context.AfterFunc(ended, done)()
		defer done()
		var partitions []int
		for _, a := range gen.Assignments[c.cfg.Topic] {
			partitions = append(partitions, a.ID)
		}
		slices.Sort(partitions)
		if err := c.read(ctx, reading, stop, gen, partitions, fn); err != nil {
			stop(err)
		}
		if c.cfg.Revoked != nil && len(partitions) > 0 {
			c.cfg.Revoked(partitions)
		}
	})
}

func (c *Consumer) read(ctx, reading context.Context, stop context.CancelCauseFunc, gen *kgo.Generation, partitions []int, fn func(context.Context, Delivery) error) error {
	var assignments []Assignment
	for n := 1; ; n++ {
		var err error
		if assignments, err = c.assignments(reading, partitions); err == nil {
			break
		}
		if reading.Err() != nil {
			return nil
		}
		if !passes(err) {
			return fmt.Errorf("group %s: %w", c.cfg.Group, c.client.explain(err))
		}
		c.client.cfg.Log(fmt.Errorf("group %s: read offsets: %w", c.cfg.Group, c.client.explain(err)))
		backoff(reading, n)
	}
	if c.cfg.Assigned != nil {
		c.cfg.Assigned(assignments)
	}
	var work sync.WaitGroup
	for _, a := range assignments {
		work.Go(func() {
			r := &reader{c: c, a: a, fn: fn}
			if err := r.run(ctx, reading); err != nil {
				stop(err)
			}
		})
	}
	ended := make(chan struct{})
	go func() { work.Wait(); close(ended) }()
	tick := time.NewTicker(c.cfg.CommitEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.commit(context.WithoutCancel(ctx), gen)
		case <-ended:
			if len(assignments) == 0 {
				<-reading.Done() // to return earlier would end the generation
			} else if reading.Err() == nil {
				<-reading.Done()
			}
			c.commit(context.WithoutCancel(ctx), gen)
			c.mu.Lock()
			for _, n := range partitions {
				c.progress[n].mine = false
			}
			c.mu.Unlock()
			return nil
		}
	}
}

// assignments asks where the group stands with partitions.
func (c *Consumer) assignments(ctx context.Context, partitions []int) ([]Assignment, error) {
	if len(partitions) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	res, err := c.client.client.OffsetFetch(ctx, &kgo.OffsetFetchRequest{GroupID: c.cfg.Group, Topics: map[string][]int{c.cfg.Topic: partitions}})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return nil, err
	}
	var as []Assignment
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range res.Topics[c.cfg.Topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		a := Assignment{Partition: p.Partition, Committed: max(p.CommittedOffset, 0), Note: p.Metadata}
		known := c.progress[p.Partition]
		a.Kept = known != nil && known.next == a.Committed
		c.progress[p.Partition] = &progress{next: a.Committed, note: a.Note, committed: p.CommittedOffset, mine: true}
		as = append(as, a)
	}
	if len(as) != len(partitions) {
		return nil, fmt.Errorf("offsets of %d partitions of %d: %w", len(as), len(partitions), kgo.LeaderNotAvailable)
	}
	return as, nil
}

// commit writes down how far the partitions were read.
func (c *Consumer) commit(ctx context.Context, gen *kgo.Generation) {
	var commits []kgo.OffsetCommit
	c.mu.Lock()
	for n, p := range c.progress {
		if p.mine && p.next != max(p.committed, 0) {
			commits = append(commits, kgo.OffsetCommit{Partition: n, Offset: p.next, Metadata: p.note})
		}
	}
	c.mu.Unlock()
	if len(commits) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	res, err := c.client.client.OffsetCommit(ctx, &kgo.OffsetCommitRequest{
		GroupID: gen.GroupID, GenerationID: int(gen.ID), MemberID: gen.MemberID,
		Topics: map[string][]kgo.OffsetCommit{c.cfg.Topic: commits},
	})
	if err != nil {
		c.client.cfg.Log(fmt.Errorf("group %s: commit: %w", c.cfg.Group, c.client.explain(err)))
		return // they are tried again, or come again
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range res.Topics[c.cfg.Topic] {
		if p.Error != nil {
			c.client.cfg.Log(fmt.Errorf("group %s, partition %d: commit: %w", c.cfg.Group, p.Partition, p.Error))
			continue
		}
		for i := range commits {
			if commits[i].Partition == p.Partition {
				c.progress[p.Partition].committed = commits[i].Offset
			}
		}
	}
}

// drain ends the work when everything on the topic is acknowledged.
func (c *Consumer) drain(ctx context.Context, stop context.CancelCauseFunc) {
	select {
	case <-c.cfg.Drained:
	case <-ctx.Done():
		return
	}
	for n := 1; ctx.Err() == nil; n++ {
		left, err := c.client.Lag(ctx, c.cfg.Topic, c.cfg.Group)
		if err == nil && left == 0 {
			stop(errDrained)
			return
		}
		if err != nil && ctx.Err() == nil {
			if !passes(err) {
				stop(err)
				return
			}
			c.client.cfg.Log(err)
		}
		t := time.NewTimer(100 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// Ends returns the offsets after the last message of each partition of a topic.
func (c *Client) Ends(ctx context.Context, topic string) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	n, err := c.partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	var ask []kgo.OffsetRequest
	for i := range n {
		ask = append(ask, kgo.LastOffsetOf(i))
	}
	res, err := c.client.ListOffsets(ctx, &kgo.ListOffsetsRequest{Topics: map[string][]kgo.OffsetRequest{topic: ask}})
	if err != nil {
		return nil, c.explain(err)
	}
	ends := make([]int64, n)
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, c.explain(p.Error)
		}
		ends[p.Partition] = p.LastOffset
	}
	return ends, nil
}

// Lag is how many messages of a topic a group has not acknowledged.
func (c *Client) Lag(ctx context.Context, topic, group string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	n, err := c.partitions(ctx, topic)
	if err != nil {
		return 0, err
	}
	list := make([]int, n)
	var ask []kgo.OffsetRequest
	for i := range list {
		list[i] = i
		ask = append(ask, kgo.FirstOffsetOf(i), kgo.LastOffsetOf(i))
	}
	ends, err := c.client.ListOffsets(ctx, &kgo.ListOffsetsRequest{Topics: map[string][]kgo.OffsetRequest{topic: ask}})
	if err != nil {
		return 0, c.explain(err)
	}
	at, err := c.client.OffsetFetch(ctx, &kgo.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: list}})
	if err == nil {
		err = at.Error
	}
	if err != nil {
		return 0, c.explain(err)
	}
	committed := map[int]int64{}
	for _, p := range at.Topics[topic] {
		if p.Error != nil {
			return 0, c.explain(p.Error)
		}
		committed[p.Partition] = p.CommittedOffset
	}
	var lag int64
	for _, p := range ends.Topics[topic] {
		if p.Error != nil {
			return 0, c.explain(p.Error)
		}
		lag += max(p.LastOffset-max(committed[p.Partition], p.FirstOffset), 0)
	}
	if len(ends.Topics[topic]) != n || len(committed) != n {
		return 0, c.explain(kgo.LeaderNotAvailable)
	}
	return lag, nil
}

// reader reads one partition.
type reader struct {
	c        *Consumer
	a        Assignment
	fn       func(context.Context, Delivery) error
	messages []Message
	arena    []byte
	damaged  int // reads in a row, from the same offset, whose answer was not what a broker sends
}

// run reads until reading ends; ctx is what fn is given.
func (r *reader) run(ctx, reading context.Context) error {
	offset := r.a.Committed
	if r.c.cfg.Start != nil {
		offset = min(offset, r.c.cfg.Start(r.a))
	}
	failures := 0
	for reading.Err() == nil {
		next, err := r.fetch(reading, offset)
		switch {
		case err == nil:
			failures, r.damaged = 0, 0
		case reading.Err() != nil:
			return nil
		case errors.Is(err, kgo.OffsetOutOfRange):
			if offset, err = r.skip(reading, offset); err != nil {
				return err
			}
			continue
		case damage(err) && r.damaged == patient:
			if offset, err = r.passOver(ctx, reading, offset, err); err != nil {
				return err
			}
			failures, r.damaged = 0, 0
			continue
		case !passes(err):
			return fmt.Errorf("read %s, partition %d: %w", r.c.cfg.Topic, r.a.Partition, r.c.client.explain(err))
		default:
			failures++
			if damage(err) {
				r.damaged++
			} else {
				r.damaged = 0
			}
			r.c.client.cfg.Log(fmt.Errorf("read %s, partition %d, attempt %d: %w", r.c.cfg.Topic, r.a.Partition, failures, r.c.client.explain(err)))
			backoff(reading, failures)
			continue
		}
		if err := r.deliver(ctx, reading, next); err != nil {
			return err
		}
		if r.c.cfg.Idle != nil && len(r.messages) == 0 && reading.Err() == nil {
			if err := r.c.cfg.Idle(ctx, r.a.Partition, next); err != nil {
				return err
			}
		}
		if reading.Err() == nil {
			offset = next
		}
	}
	return nil
}

// patient is how often, over some eight seconds, a batch is read that is
// damaged, before it is passed over: another replica may have it whole.
const patient = 9

// damage reports whether an answer came, but makes no sense: a checksum that is
// wrong, a batch that cannot be decompressed.
func damage(err error) bool {
	var k kgo.Error
	var n net.Error
	return !errors.As(err, &k) && !errors.As(err, &n) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.ErrClosedPipe) &&
		!errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// passOver looks for the first message after damaged ones. A batch says where
// it ends only to those who can read it, so that offsets are tried: brokers
// answer with the batch that has the offset.
func (r *reader) passOver(ctx, reading context.Context, offset int64, why error) (int64, error) {
	readable := func(at int64) (bool, error) {
		for n := 1; ; n++ {
			_, err := r.fetch(reading, at)
			switch {
			case err == nil:
				return true, nil
			case damage(err):
				return false, nil
			case reading.Err() != nil || !passes(err):
				return false, err
			}
			backoff(reading, n)
		}
	}
	// In (from, to] is the first offset that can be read; at the topic's end
	// is nothing that could be damaged.
	from, to := offset, offset+1
	for {
		ok, err := readable(to)
		if err != nil {
			return offset, r.unless(reading, err)
		}
		if ok {
			break
		}
		from, to = to, to+2*(to-offset)
		ends, err := r.c.client.Ends(reading, r.c.cfg.Topic)
		if err != nil {
			return offset, r.unless(reading, err)
		}
		to = min(to, ends[r.a.Partition])
	}
	for to-from > 1 {
		middle := from + (to-from)/2
		ok, err := readable(middle)
		if err != nil {
			return offset, r.unless(reading, err)
		}
		if ok {
			to = middle
		} else {
			from = middle
		}
	}
	r.c.mu.Lock()
	r.c.damaged += uint64(to - offset)
	r.c.mu.Unlock()
	r.c.client.cfg.Log(fmt.Errorf("read %s, partition %d: the brokers' copy of the %d messages from offset %d on is damaged, and they are lost: %w", r.c.cfg.Topic, r.a.Partition, to-offset, offset, why))
	if r.c.cfg.Unreadable != nil {
		if err := r.c.cfg.Unreadable(ctx, r.a.Partition, offset, to, why); err != nil {
			return offset, err
		}
	}
	return to, nil
}

// unless is an error, but nil if reading has ended.
func (r *reader) unless(reading context.Context, err error) error {
	if reading.Err() != nil {
		return nil
	}
	return fmt.Errorf("read %s, partition %d: %w", r.c.cfg.Topic, r.a.Partition, r.c.client.explain(err))
}

// skip goes on where the topic still has messages, and counts what is gone.
func (r *reader) skip(ctx context.Context, offset int64) (int64, error) {
	for n := 1; ; n++ {
		first, err := r.first(ctx)
		if ctx.Err() != nil {
			return offset, nil
		}
		if err == nil {
			if first > offset && offset > 0 {
				r.c.mu.Lock()
				r.c.lost += uint64(first - offset)
				r.c.mu.Unlock()
				r.c.client.cfg.Log(fmt.Errorf("read %s, partition %d: %d messages were deleted before they were read; the topic keeps them too short a time", r.c.cfg.Topic, r.a.Partition, first-offset))
			}
			return first, nil
		}
		if !passes(err) {
			return 0, fmt.Errorf("read %s, partition %d: %w", r.c.cfg.Topic, r.a.Partition, r.c.client.explain(err))
		}
		backoff(ctx, n)
	}
}

func (r *reader) first(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	res, err := r.c.client.client.ListOffsets(ctx, &kgo.ListOffsetsRequest{Topics: map[string][]kgo.OffsetRequest{r.c.cfg.Topic: {kgo.FirstOffsetOf(r.a.Partition)}}})
	if err != nil {
		return 0, err
	}
	if ps := res.Topics[r.c.cfg.Topic]; len(ps) == 1 {
		return ps[0].FirstOffset, ps[0].Error
	}
	return 0, kgo.LeaderNotAvailable
}

// fetch reads messages from an offset on into r.messages, and returns the
// offset after them.
func (r *reader) fetch(ctx context.Context, offset int64) (next int64, err error) {
	r.messages, r.arena = r.messages[:0], r.arena[:0]
	defer r.c.turned.Add(1)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	most := int64(r.c.cfg.BatchBytes)
	if r.damaged > 0 {
		most = 1 // the brokers give one batch all the same: what is whole before the damaged one
	}
	res, err := r.c.client.client.Fetch(ctx, &kgo.FetchRequest{
		Topic: r.c.cfg.Topic, Partition: r.a.Partition, Offset: offset,
		MinBytes: min(littleBytes, most), MaxBytes: most, MaxWait: r.c.cfg.Linger,
	})
	if err != nil {
		return 0, err
	}
	if res.Error != nil {
		return 0, res.Error
	}
	r.c.mu.Lock()
	r.c.progress[r.a.Partition].end = res.HighWatermark
	r.c.mu.Unlock()
	next = offset
	if closer, ok := res.Records.(io.Closer); ok {
		defer closer.Close()
	}
	for {
		rec, err := res.Records.ReadRecord()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return next, nil
			}
			if len(r.messages) > 0 {
				return next, nil // a batch that was cut off comes whole next time
			}
			return 0, err
		}
		if rec.Offset < offset {
			if err := discard(rec); err != nil {
				return 0, err
			}
			continue
		}
		if err := r.add(rec); err != nil {
			return 0, err
		}
		next = rec.Offset + 1
	}
}

func discard(rec *kgo.Record) error {
	for _, b := range []kgo.Bytes{rec.Key, rec.Value} {
		if b != nil {
			if err := b.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// add copies a record.
func (r *reader) add(rec *kgo.Record) error {
	key, err := r.copy(rec.Key)
	if err != nil {
		return err
	}
	value, err := r.copy(rec.Value)
	if err != nil {
		return err
	}
	m := Message{Offset: rec.Offset, Record: Record{Key: key, Value: value, Time: rec.Time}}
	for _, h := range rec.Headers {
		m.Headers = append(m.Headers, Header{h.Key, h.Value})
	}
	r.messages = append(r.messages, m)
	return nil
}

// copy copies bytes into the arena. What was copied before stays where it is if
// the arena moves.
func (r *reader) copy(b kgo.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	defer b.Close()
	n := b.Len()
	if cap(r.arena)-len(r.arena) < n {
		r.arena = make([]byte, 0, max(r.c.cfg.BatchBytes, n))
	}
	at := len(r.arena)
	into := r.arena[at : at+n : at+n]
	if _, err := io.ReadFull(b, into); err != nil {
		return nil, err
	}
	r.arena = r.arena[:at+n]
	return into, nil
}

// deliver gives what was fetched to fn, first what was acknowledged earlier.
func (r *reader) deliver(ctx, reading context.Context, next int64) error {
	old := 0
	for old < len(r.messages) && r.messages[old].Offset < r.a.Committed {
		old++
	}
	for i, part := range [][]Message{r.messages[:old], r.messages[old:]} {
		if len(part) == 0 {
			continue
		}
		select {
		case r.c.turns <- struct{}{}:
		case <-reading.Done():
			return nil
		}
		if reading.Err() != nil {
			<-r.c.turns
			return nil
		}
		err := r.fn(ctx, Delivery{Partition: r.a.Partition, Again: i == 0, Messages: part})
		<-r.c.turns
		if err != nil {
			return err
		}
		if i == 1 {
			r.done(part, next)
		}
	}
	return nil
}

// done notes that messages were acknowledged.
func (r *reader) done(part []Message, next int64) {
	note := ""
	if r.c.cfg.Note != nil {
		note = r.c.cfg.Note(r.a.Partition)
	}
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	p := r.c.progress[r.a.Partition]
	p.next, p.note = next, note
	r.c.messages += uint64(len(part))
	r.c.last = time.Now()
}
