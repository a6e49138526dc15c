package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	kgo "github.com/segmentio/kafka-go"
)

// Topics are the names of the topics.
type Topics struct {
	Events  string // what sensors saw; key: community ID, else sensor
	Signals string // matches of rules on their way to the rules' state; key: rule and group
	Alerts  string // key: alert's id; the last report of each is kept
	Sensors string // sensors' accounts; key: sensor
	Dead    string // what could not be read, with the reason
}

// DefaultPrefix is what names of topics begin with.
const DefaultPrefix = "tocsin"

// NewTopics returns the names of the topics behind a prefix.
func NewTopics(prefix string) Topics {
	return Topics{
		Events: prefix + ".events", Signals: prefix + ".signals", Alerts: prefix + ".alerts",
		Sensors: prefix + ".sensors", Dead: prefix + ".dead",
	}
}

// Topic is a topic as it should be.
type Topic struct {
	Name       string
	Partitions int
	Replicas   int
	Settings   map[string]string
}

// Plan says how large the topics are.
type Plan struct {
	Prefix     string
	Partitions int // of events and signals; so many correlators can share the work
	Replicas   int // 0: three, or as many as there are brokers
	// Bytes are kept of each partition of events; a tenth of it of each of the
	// other topics, alerts excepted, which are kept for ever.
	Bytes int64
}

// DefaultPlan suits a few sensors: some hours of 10,000 events per second.
func DefaultPlan() Plan {
	return Plan{Prefix: DefaultPrefix, Partitions: 12, Bytes: 4 << 30}
}

// Validate says what is wrong with a plan.
func (p *Plan) Validate() error {
	switch {
	case p.Prefix == "":
		return errors.New("topics: the prefix is empty")
	case p.Partitions < 1:
		return fmt.Errorf("topics: %d partitions: want at least 1", p.Partitions)
	case p.Replicas < 0:
		return fmt.Errorf("topics: %d replicas: want at least 1", p.Replicas)
	case p.Bytes < 1<<20:
		return fmt.Errorf("topics: %d bytes of each partition: want at least %d", p.Bytes, 1<<20)
	}
	return nil
}

// Topics returns the topics of a plan for so many brokers.
//
// Kafka deletes by messages' times, and those are of the events: a capture of
// last year that is replayed would be gone before anybody has read it. So how
// much is kept is bounded in bytes, which bounds the disk as well, and no time
// is too old or too new. Compression is the producers'.
func (p *Plan) Topics(brokers int) []Topic {
	const always, anyTime = "-1", "9223372036854775807"
	names := NewTopics(p.Prefix)
	replicas := cmp.Or(p.Replicas, min(brokers, 3))
	topic := func(name string, partitions int, bytes int64, more map[string]string) Topic {
		t := Topic{Name: name, Partitions: partitions, Replicas: replicas, Settings: map[string]string{
			"cleanup.policy":                  "delete",
			"retention.ms":                    always,
			"retention.bytes":                 strconv.FormatInt(bytes, 10),
			"segment.bytes":                   strconv.FormatInt(min(bytes/4, 1<<30), 10),
			"compression.type":                "producer",
			"message.timestamp.type":          "CreateTime",
			"message.timestamp.after.max.ms":  anyTime,
			"message.timestamp.before.max.ms": anyTime,
			"max.message.bytes":               strconv.Itoa(maxMessage),
			// With all replicas but one, a broker may be away.
			"min.insync.replicas": strconv.Itoa(max(replicas-1, 1)),
		}}
		maps.Copy(t.Settings, more)
		return t
	}
	tenth := max(p.Bytes/10, 1<<20)
	return []Topic{
		topic(names.Events, p.Partitions, p.Bytes, nil),
		topic(names.Signals, p.Partitions, tenth, nil),
		topic(names.Alerts, p.Partitions, tenth, map[string]string{"cleanup.policy": "compact", "retention.bytes": always}),
		topic(names.Sensors, 1, tenth, nil),
		topic(names.Dead, 1, tenth, nil),
	}
}

// maxMessage is the most that a batch may have: Kafka's own default.
const maxMessage = 1048588

// Difference is where a cluster is not as planned.
type Difference struct {
	Topic   string
	What    string // a setting, "partitions", "replicas", or "" if the topic is not there
	Is      string
	Planned string
}

// String says the difference in a line.
func (d Difference) String() string {
	switch d.What {
	case "":
		return d.Topic + ": is not there"
	case "partitions":
		return fmt.Sprintf("%s: %s is %s, planned %s (to change it moves keys to other partitions: only while nothing is written)", d.Topic, d.What, d.Is, d.Planned)
	}
	return fmt.Sprintf("%s: %s is %s, planned %s", d.Topic, d.What, d.Is, d.Planned)
}

// Brokers returns how many brokers the cluster has.
func (c *Client) Brokers(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := c.client.Metadata(ctx, &kgo.MetadataRequest{Topics: []string{}})
	if err != nil {
		return 0, c.explain(err)
	}
	return len(m.Brokers), nil
}

// Compare says how the cluster differs from what is planned.
func (c *Client) Compare(ctx context.Context, topics []Topic) ([]Difference, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var names []string
	for _, t := range topics {
		names = append(names, t.Name)
	}
	m, err := c.client.Metadata(ctx, &kgo.MetadataRequest{Topics: names})
	if err != nil {
		return nil, c.explain(err)
	}
	there := map[string]kgo.Topic{}
	req := &kgo.DescribeConfigsRequest{}
	for _, t := range m.Topics {
		if t.Error == nil {
			there[t.Name] = t
			req.Resources = append(req.Resources, kgo.DescribeConfigRequestResource{ResourceType: kgo.ResourceTypeTopic, ResourceName: t.Name})
		}
	}
	settings := map[string]map[string]string{}
	if len(req.Resources) > 0 {
		res, err := c.client.DescribeConfigs(ctx, req)
		if err != nil {
			return nil, c.explain(err)
		}
		for _, r := range res.Resources {
			if r.Error != nil {
				return nil, fmt.Errorf("settings of topic %s: %w", r.ResourceName, c.explain(r.Error))
			}
			settings[r.ResourceName] = map[string]string{}
			for _, e := range r.ConfigEntries {
				settings[r.ResourceName][e.ConfigName] = e.ConfigValue
			}
		}
	}
	var ds []Difference
	for _, t := range topics {
		is, ok := there[t.Name]
		if !ok {
			ds = append(ds, Difference{Topic: t.Name})
			continue
		}
		differ := func(what, is, planned string) {
			if is != planned {
				ds = append(ds, Difference{t.Name, what, is, planned})
			}
		}
		differ("partitions", strconv.Itoa(len(is.Partitions)), strconv.Itoa(t.Partitions))
		if len(is.Partitions) > 0 {
			differ("replicas", strconv.Itoa(len(is.Partitions[0].Replicas)), strconv.Itoa(t.Replicas))
		}
		for _, name := range slices.Sorted(maps.Keys(t.Settings)) {
			value, known := settings[t.Name][name]
			if !known {
				value = "not known to these brokers"
			}
			differ(name, value, t.Settings[name])
		}
	}
	return ds, nil
}

// CreateTopics makes those topics that are not there, and waits until all
// brokers know them and serve. It changes nothing that is there.
func (c *Client) CreateTopics(ctx context.Context, topics []Topic) error {
	req := &kgo.CreateTopicsRequest{}
	var names []string
	for _, t := range topics {
		tc := kgo.TopicConfig{Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: t.Replicas}
		for _, name := range slices.Sorted(maps.Keys(t.Settings)) {
			tc.ConfigEntries = append(tc.ConfigEntries, kgo.ConfigEntry{ConfigName: name, ConfigValue: t.Settings[name]})
		}
		req.Topics = append(req.Topics, tc)
		names = append(names, t.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	res, err := c.client.CreateTopics(ctx, req)
	if err != nil {
		return c.explain(err)
	}
	var errs []error
	for name, err := range res.Errors {
		if err != nil && !errors.Is(err, kgo.TopicAlreadyExists) {
			errs = append(errs, fmt.Errorf("create topic %s: %w", name, c.explain(err)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	m, err := c.client.Metadata(ctx, &kgo.MetadataRequest{Topics: []string{}})
	if err != nil {
		return c.explain(err)
	}
	for _, b := range m.Brokers {
		for n := 1; ; n++ {
			err := c.knows(ctx, net.JoinHostPort(b.Host, strconv.Itoa(b.Port)), names)
			if err == nil {
				break
			}
			if ctx.Err() != nil || !passes(err) {
				return fmt.Errorf("topics are made, but broker %s does not know them: %w", b.Host, c.explain(err))
			}
			backoff(ctx, min(n, 3))
		}
	}
	// A broker may know that it leads a partition before it does.
	for n := 1; ; n++ {
		err := c.serves(ctx, topics)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || !passes(err) {
			return fmt.Errorf("topics are made, but do not serve: %w", c.explain(err))
		}
		backoff(ctx, min(n, 3))
	}
}

// serves asks the leaders of all partitions something that only a leader answers.
func (c *Client) serves(ctx context.Context, topics []Topic) error {
	ask := map[string][]kgo.OffsetRequest{}
	for _, t := range topics {
		for n := range t.Partitions {
			ask[t.Name] = append(ask[t.Name], kgo.LastOffsetOf(n))
		}
	}
	res, err := c.client.ListOffsets(ctx, &kgo.ListOffsetsRequest{Topics: ask})
	if err != nil {
		return err
	}
	for _, t := range topics {
		if len(res.Topics[t.Name]) < t.Partitions {
			return kgo.LeaderNotAvailable
		}
		for _, p := range res.Topics[t.Name] {
			if p.Error != nil {
				return p.Error
			}
		}
	}
	return nil
}

// knows asks a broker whether it knows topics and who leads their partitions.
func (c *Client) knows(ctx context.Context, broker string, names []string) error {
	conn, err := c.dialer.DialContext(ctx, "tcp", broker)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	ps, err := conn.ReadPartitions(names...)
	if err != nil {
		return err
	}
	for _, p := range ps {
		if p.Error != nil {
			return p.Error
		}
	}
	return nil
}
