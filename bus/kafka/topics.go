package kafka

import (
	"context"
	"errors"
	"fmt"

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

// CreateTopics makes topics that are not there, and waits until they serve.
func (c *Client) CreateTopics(ctx context.Context, topics []Topic) error {
	req := &kgo.CreateTopicsRequest{}
	for _, t := range topics {
		tc := kgo.TopicConfig{Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: t.Replicas}
		for name, value := range t.Settings {
			tc.ConfigEntries = append(tc.ConfigEntries, kgo.ConfigEntry{ConfigName: name, ConfigValue: value})
		}
		req.Topics = append(req.Topics, tc)
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
	return errors.Join(errs...)
}
