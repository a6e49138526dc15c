// Package kafka is the bus between machines: events as messages of Apache
// Kafka, one JSON object each, that other programs can read as well. See
// docs/KAFKA.md for what a message looks like.
//
// Client.Producer and Client.Consume are the two halves for messages of any
// kind; Bus joins them to a bus.Bus for events. Kafka's protocol is spoken by
// segmentio/kafka-go; batches are encoded here, because that is what costs.
package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	kgo "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// Secret is a text that is never printed.
type Secret string

// String implements fmt.Stringer, without the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(secret)"
}

// GoString implements fmt.GoStringer, without the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText implements encoding.TextMarshaler, without the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// SASL mechanisms.
const (
	Plain  = "PLAIN"
	SCRAM  = "SCRAM-SHA-512"
	SCRAM2 = "SCRAM-SHA-256"
)

// Config says where Kafka is and who we are to it.
type Config struct {
	Brokers []string // HOST:PORT of some brokers; the others are found
	// TLS encrypts. CA is a PEM file of authorities to trust instead of the
	// system's; Cert and Key are PEM files that say who we are.
	TLS           bool
	CA, Cert, Key string
	// Mechanism is Plain, SCRAM or SCRAM2, or empty to not sign in.
	Mechanism string
	User      string
	Password  Secret
	// Log is told of what went wrong and is tried again. It may be nil.
	Log func(error)
}

// Validate says what is wrong with a configuration.
func (c *Config) Validate() error {
	if len(c.Brokers) == 0 {
		return errors.New("kafka: no broker given: want HOST:PORT")
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			return fmt.Errorf("kafka: broker %q: want HOST:PORT", b)
		}
	}
	switch {
	case !c.TLS && (c.CA != "" || c.Cert != "" || c.Key != ""):
		return errors.New("kafka: certificates are given, but not that TLS is to be used")
	case (c.Cert == "") != (c.Key == ""):
		return errors.New("kafka: a client certificate and its key go together")
	}
	switch c.Mechanism {
	case "":
		if c.User != "" || c.Password != "" {
			return errors.New("kafka: a user is given, but no mechanism to sign in")
		}
	case Plain, SCRAM, SCRAM2:
		if c.User == "" || c.Password == "" {
			return fmt.Errorf("kafka: %s needs a user and a password", c.Mechanism)
		}
	default:
		return fmt.Errorf("kafka: mechanism %q is not known: want %s, %s or %s", c.Mechanism, SCRAM, SCRAM2, Plain)
	}
	return nil
}

// Client is a connection to a cluster. It is safe for use by many goroutines.
type Client struct {
	cfg       Config
	client    *kgo.Client
	transport *kgo.Transport
	dialer    *kgo.Dialer
}

const (
	clientID = "tocsin"
	// patience is how long a single request may take before it is tried again.
	patience = 30 * time.Second
	// layoutAge is how long it is believed which broker leads which partition.
	layoutAge = 2 * time.Second
)

// New returns a client. It reads the files of cfg, and does not connect yet.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = func(error) {}
	}
	secured, err := cfg.tls()
	if err != nil {
		return nil, err
	}
	mechanism, err := cfg.sasl()
	if err != nil {
		return nil, err
	}
	dial := (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	c := &Client{cfg: cfg}
	c.transport = &kgo.Transport{Dial: dial, TLS: secured, SASL: mechanism, ClientID: clientID, MetadataTTL: layoutAge}
	c.dialer = &kgo.Dialer{DialFunc: dial, Timeout: 10 * time.Second, TLS: secured, SASLMechanism: mechanism, ClientID: clientID}
	c.client = &kgo.Client{Addr: kgo.TCP(cfg.Brokers...), Transport: c.transport}
	return c, nil
}

func (c *Config) tls() (*tls.Config, error) {
	if !c.TLS {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("kafka: authorities: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("kafka: authorities: %s holds no certificate in PEM", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("kafka: client certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

func (c *Config) sasl() (sasl.Mechanism, error) {
	switch c.Mechanism {
	case Plain:
		return plain.Mechanism{Username: c.User, Password: string(c.Password)}, nil
	case SCRAM, SCRAM2:
		algorithm := scram.SHA512
		if c.Mechanism == SCRAM2 {
			algorithm = scram.SHA256
		}
		m, err := scram.Mechanism(algorithm, c.User, string(c.Password))
		if err != nil {
			return nil, errors.New("kafka: user or password has characters that SCRAM does not allow")
		}
		return m, nil
	}
	return nil, nil
}

// Close closes connections.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// Check connects and returns an error that says why that is not possible.
func (c *Client) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := c.client.Metadata(ctx, &kgo.MetadataRequest{Topics: []string{}}); err != nil {
		return c.explain(err)
	}
	return nil
}

// explain says where an error of Kafka happened, and what often is its cause.
func (c *Client) explain(err error) error {
	hint := ""
	var unknown x509.UnknownAuthorityError
	var op *net.OpError
	switch {
	case errors.Is(err, kgo.SASLAuthenticationFailed):
		hint = "; check user, password and mechanism"
	case errors.As(err, &unknown):
		hint = "; name the authority's certificate"
	case errors.As(err, &op) && op.Op == "dial":
		hint = "; check that it runs and is reachable"
	}
	return fmt.Errorf("kafka %v: %w%s", c.cfg.Brokers, err, hint)
}

// partitions returns how many partitions a topic has.
func (c *Client) partitions(ctx context.Context, topic string) (int, error) {
	m, err := c.client.Metadata(ctx, &kgo.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, c.explain(err)
	}
	for _, t := range m.Topics {
		if t.Name != topic {
			continue
		}
		if t.Error != nil {
			return 0, fmt.Errorf("kafka %v: topic %s: %w; tocsin topics create makes it", c.cfg.Brokers, topic, t.Error)
		}
		return len(t.Partitions), nil
	}
	return 0, fmt.Errorf("kafka %v: topic %s is not there; tocsin topics create makes it", c.cfg.Brokers, topic)
}

// passes reports whether what failed may work when it is tried again.
func passes(err error) bool {
	var k kgo.Error
	if errors.As(err, &k) {
		// A broker that has just begun answers Unknown, for a moment.
		return k.Temporary() || slices.Contains([]kgo.Error{kgo.Unknown, kgo.UnknownMemberId, kgo.IllegalGeneration, kgo.RebalanceInProgress, kgo.BrokerNotAvailable}, k)
	}
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	return !errors.As(err, &unknown) && !errors.As(err, &host)
}

// backoff waits before attempt number n (from 1), or until ctx ends.
func backoff(ctx context.Context, n int) error {
	t := time.NewTimer(min(50*time.Millisecond<<min(n-1, 6), 2*time.Second))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
