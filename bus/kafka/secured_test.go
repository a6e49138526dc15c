package kafka_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tocsin/tocsin/bus"
	"github.com/tocsin/tocsin/bus/kafka"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/internal/servers"
)

// said gathers what a client has to say.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) add(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.text, "%v %+v %#v\n", err, err, err)
}

// TestSecured signs in to a broker in every way that there is, publishes and
// reads; and is refused without the right papers. What is said of it never has
// a secret in it.
func TestSecured(t *testing.T) {
	const password, wrong = "correct-horse-battery", "wrong-horse-battery"
	k := servers.NewKafka(t, servers.KafkaConfig{Secured: true, Users: map[string]string{"alice": password}})
	var log said
	tls := kafka.Config{TLS: true, CA: k.CA, Log: log.add}
	with := func(addr string, change func(*kafka.Config)) kafka.Config {
		cfg := tls
		cfg.Brokers = []string{addr}
		if change != nil {
			change(&cfg)
		}
		return cfg
	}
	sign := func(mechanism string, password kafka.Secret) func(*kafka.Config) {
		return func(c *kafka.Config) { c.Mechanism, c.User, c.Password = mechanism, "alice", password }
	}
	mutual := func(c *kafka.Config) { c.Cert, c.Key = k.ClientCert, k.ClientKey }

	for name, cfg := range map[string]kafka.Config{
		"TLS": with(k.TLS, nil), "mutual TLS": with(k.MutualTLS, mutual),
		"PLAIN": with(k.SASL, sign(kafka.Plain, password)), "SCRAM-SHA-512": with(k.SASL, sign(kafka.SCRAM, password)), "SCRAM-SHA-256": with(k.SASL, sign(kafka.SCRAM2, password)),
	} {
		t.Run(name, func(t *testing.T) {
			c := dialTo(t, cfg)
			if err := c.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			names := topics(t, c, 2)
			var b bus.Bus = kafka.NewBus(c, schema(t), kafka.DefaultBusConfig(names, names.Events, names.Events))
			if err := b.Publish(t.Context(), flows(100)); err != nil {
				t.Fatal(err)
			}
			b.Close()
			var mu sync.Mutex
			n := 0
			if err := b.Subscribe(t.Context(), func(_ context.Context, batch []event.Event) error {
				mu.Lock()
				defer mu.Unlock()
				n += len(batch)
				return nil
			}); err != nil || n != 100 {
				t.Fatalf("%d events, %v", n, err)
			}
		})
	}
	for name, c := range map[string]struct {
		cfg  kafka.Config
		hint string
	}{
		"wrong password by PLAIN": {with(k.SASL, sign(kafka.Plain, wrong)), "check user, password and mechanism"},
		"wrong password by SCRAM": {with(k.SASL, sign(kafka.SCRAM, wrong)), "check user, password and mechanism"},
		"no certificate":          {with(k.MutualTLS, nil), "certificate"},
		"unknown authority":       {with(k.TLS, func(c *kafka.Config) { c.CA = "" }), "name the authority's certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			client := dialTo(t, c.cfg)
			err := client.Check(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.hint) {
				t.Fatalf("%v: want %q in it", err, c.hint)
			}
			log.add(err)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if _, err = client.Producer(ctx, kafka.DefaultProducerConfig("any")); err == nil {
				t.Error("a producer is made")
			}
			log.add(err)
		})
	}
	cfg := with(k.SASL, sign(kafka.SCRAM, password))
	text, err := json.Marshal(cfg.Password)
	if err != nil {
		t.Fatal(err)
	}
	log.add(fmt.Errorf("%v %+v %#v %s %q", cfg, cfg, cfg, cfg.Password, text))
	for _, secret := range []string{password, wrong} {
		if strings.Contains(log.text.String(), secret) {
			t.Errorf("a secret is told:\n%s", log.text.String())
		}
	}
}

func TestConfig(t *testing.T) {
	pem := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(pem, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := []string{"localhost:9092"}
	for _, c := range []struct {
		cfg  kafka.Config
		want string
	}{
		{kafka.Config{}, "no broker given"},
		{kafka.Config{Brokers: []string{"localhost"}}, "want HOST:PORT"},
		{kafka.Config{Brokers: at, CA: pem}, "not that TLS is to be used"},
		{kafka.Config{Brokers: at, TLS: true, CA: pem}, "holds no certificate"},
		{kafka.Config{Brokers: at, TLS: true, CA: pem + "x"}, "no such file"},
		{kafka.Config{Brokers: at, TLS: true, Cert: pem}, "go together"},
		{kafka.Config{Brokers: at, User: "x"}, "no mechanism"},
		{kafka.Config{Brokers: at, Mechanism: "GSSAPI"}, "is not known: want SCRAM-SHA-512"},
		{kafka.Config{Brokers: at, Mechanism: kafka.SCRAM, User: "x"}, "needs a user and a password"},
	} {
		if _, err := kafka.New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.want)
		}
	}
}
