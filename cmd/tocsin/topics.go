package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/bus/kafka"
)

func newTopics() *cobra.Command {
	cmd := &cobra.Command{Use: "topics", Short: "Plan and create the topics of Kafka"}
	cmd.AddCommand(newTopicsPlan(), newTopicsCreate())
	return cmd
}

// planning are the flags of commands about topics.
type planning struct {
	kafkaing
	partitions, replicas *int
	bytes                *int64
}

func planningFlags(cmd *cobra.Command) planning {
	d := kafka.DefaultPlan()
	return planning{
		kafkaing:   kafkaFlags(cmd),
		partitions: cmd.Flags().Int("partitions", d.Partitions, "`N` partitions of events and signals: so many correlators can share the work"),
		replicas:   cmd.Flags().Int("replicas", d.Replicas, "`N` replicas; 0 for three, or as many as there are brokers"),
		bytes:      cmd.Flags().Int64("keep", d.Bytes, "`BYTES` that are kept of each partition of events"),
	}
}

// ask returns the topics as they should be, and how the cluster differs.
func (p planning) ask(cmd *cobra.Command) (*kafka.Client, []kafka.Topic, []kafka.Difference, error) {
	plan := kafka.Plan{Prefix: *p.prefix, Partitions: *p.partitions, Replicas: *p.replicas, Bytes: *p.bytes}
	if err := plan.Validate(); err != nil {
		return nil, nil, nil, usageError{err}
	}
	client, err := p.dial(cmd.ErrOrStderr())
	if err != nil {
		return nil, nil, nil, err
	}
	brokers, err := client.Brokers(cmd.Context())
	if err != nil {
		return nil, nil, nil, errors.Join(err, client.Close())
	}
	topics := plan.Topics(brokers)
	differences, err := client.Compare(cmd.Context(), topics)
	if err != nil {
		return nil, nil, nil, errors.Join(err, client.Close())
	}
	return client, topics, differences, nil
}

func newTopicsPlan() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Say what the topics should be, and what differs on the cluster",
		Long: `Print the topics that Tocsin needs, each with its settings, and what differs
on the cluster. Nothing is changed. Exit 1 if something differs.`,
		Example: "  tocsin topics plan --kafka kafka1:9092,kafka2:9092",
		Args:    cobra.NoArgs,
	}
	p := planningFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, topics, differences, err := p.ask(cmd)
		if err != nil {
			return err
		}
		defer client.Close()
		out := cmd.OutOrStdout()
		for _, t := range topics {
			fmt.Fprintf(out, "%s: %s\n", t.Name, settings(t))
		}
		if len(differences) == 0 {
			fmt.Fprintln(out, "the cluster is as planned")
			return nil
		}
		fmt.Fprintln(out, "the cluster differs:")
		for _, d := range differences {
			fmt.Fprintln(out, " ", d)
		}
		return errTold
	}
	return cmd
}

// settings are a topic's most telling ones, in a line.
func settings(t kafka.Topic) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d partitions, %d replicas", t.Partitions, t.Replicas)
	for _, name := range []string{"cleanup.policy", "retention.bytes", "retention.ms", "min.insync.replicas", "compression.type", "max.message.bytes"} {
		fmt.Fprintf(&b, ", %s=%s", name, t.Settings[name])
	}
	return b.String()
}

func newTopicsCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make the topics that are not there",
		Long: `Make the topics that are not there. What is there is left as it is, and what
differs of it is told: exit 1.`,
		Example: "  tocsin topics create --kafka kafka1:9092,kafka2:9092 --partitions 24",
		Args:    cobra.NoArgs,
	}
	p := planningFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, topics, differences, err := p.ask(cmd)
		if err != nil {
			return err
		}
		defer client.Close()
		missing := map[string]bool{}
		var others []kafka.Difference
		for _, d := range differences {
			if d.What == "" {
				missing[d.Topic] = true
			} else {
				others = append(others, d)
			}
		}
		var make []kafka.Topic
		for _, t := range topics {
			if missing[t.Name] {
				make = append(make, t)
			}
		}
		if len(make) > 0 {
			if err := client.CreateTopics(cmd.Context(), make); err != nil {
				return err
			}
		}
		for _, t := range topics {
			state := "is there"
			if missing[t.Name] {
				state = "made"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", t.Name, state)
		}
		if len(others) == 0 {
			return nil
		}
		for _, d := range others {
			fmt.Fprintln(cmd.ErrOrStderr(), "tocsin:", d)
		}
		return errTold
	}
	return cmd
}
