package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/bus/kafka"
)

// kafkaing are the flags of commands that talk to Kafka.
type kafkaing struct {
	brokers      *[]string
	tls          *bool
	ca           *string
	cert, key    *string
	mechanism    *string
	user         *string
	passwordFile *string
	prefix       *string
}

// kafkaPassword is in the environment only: others can see a process's flags.
const kafkaPassword = "TOCSIN_KAFKA_PASSWORD"

func kafkaFlags(cmd *cobra.Command) kafkaing {
	f := cmd.Flags()
	return kafkaing{
		brokers:      f.StringSlice("kafka", nil, "brokers of Kafka, `HOST:PORT`,…"),
		tls:          f.Bool("kafka-tls", false, "encrypt the connections to Kafka; certificates ask for it, too"),
		ca:           f.String("kafka-ca", "", "PEM `FILE` of the authorities to trust, instead of the system's"),
		cert:         f.String("kafka-cert", "", "PEM `FILE` of the certificate that says who we are"),
		key:          f.String("kafka-key", "", "PEM `FILE` of its key"),
		mechanism:    f.String("kafka-sasl", "", "`MECHANISM` to sign in: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN; with a user, SCRAM-SHA-512"),
		user:         f.String("kafka-user", "", "`USER` to sign in as"),
		passwordFile: f.String("kafka-password-file", "", "`FILE` of the password; or it is in "+kafkaPassword),
		prefix:       f.String("topic-prefix", kafka.DefaultPrefix, "`PREFIX` of the topics' names"),
	}
}

// config is where Kafka is, as the flags have it. What goes wrong and is tried
// again is told on errs.
func (k kafkaing) config(errs io.Writer) (kafka.Config, error) {
	cfg := kafka.Config{
		Brokers: *k.brokers, TLS: *k.tls || *k.ca != "" || *k.cert != "", CA: *k.ca, Cert: *k.cert, Key: *k.key,
		Mechanism: *k.mechanism, User: *k.user, Password: kafka.Secret(os.Getenv(kafkaPassword)),
		Log: newRepeats(errs, time.Now).tell,
	}
	if len(cfg.Brokers) == 0 {
		return cfg, usagef("--kafka: want HOST:PORT of a broker")
	}
	if *k.passwordFile != "" {
		text, err := os.ReadFile(*k.passwordFile)
		if err != nil {
			return cfg, fmt.Errorf("--kafka-password-file: %w", err)
		}
		cfg.Password = kafka.Secret(bytes.TrimRight(text, "\r\n"))
	}
	if cfg.User != "" && cfg.Mechanism == "" {
		cfg.Mechanism = kafka.SCRAM
	}
	if err := cfg.Validate(); err != nil {
		return cfg, usageError{err}
	}
	return cfg, nil
}

// dial returns a client; it does not connect yet.
func (k kafkaing) dial(errs io.Writer) (*kafka.Client, error) {
	cfg, err := k.config(errs)
	if err != nil {
		return nil, err
	}
	return kafka.New(cfg)
}

func (k kafkaing) topics() kafka.Topics { return kafka.NewTopics(*k.prefix) }

// repeats tells errors of what is tried again, but not each time: at most one
// in ten seconds, with how many went before untold.
type repeats struct {
	w   io.Writer
	now func() time.Time

	mu     sync.Mutex
	last   time.Time
	untold int
}

const untoldFor = 10 * time.Second

func newRepeats(w io.Writer, now func() time.Time) *repeats { return &repeats{w: w, now: now} }

func (r *repeats) tell(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.now()
	if !r.last.IsZero() && at.Sub(r.last) < untoldFor {
		r.untold++
		return
	}
	if r.untold > 0 {
		err = fmt.Errorf("%w (and %d more)", err, r.untold)
	}
	r.last, r.untold = at, 0
	complain(r.w, fmt.Errorf("%w; trying again", err))
}
