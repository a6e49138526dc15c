// Package elastic is the store in Elasticsearch 8, for more than one machine
// can hold: any number of processes put and ask at the same time.
//
// Events are documents of an index per day, alerts of one per month, of the
// time that their identifiers carry: what comes again lands where it landed,
// and as its identifier is that of its document, nothing is kept twice. Two
// processes that report one alert at once join their reports by the document's
// sequence number. What is indexed is generated from event.FieldDoc.
//
// A Put that fails may have kept a part of what it was given; to put the same
// again is always right. What Put has returned from is in the server's synced
// log, and found by the searches of the same Store at once, by others within
// the refresh interval of the index, a second.
package elastic

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/elastic/go-elasticsearch/v8"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

// Config says where Elasticsearch is and how it is used.
type Config struct {
	Addresses []string // URLs; of one cluster. User and password may be in them
	Prefix    string   // of the names of indices and templates

	Username, Password string
	APIKey             string // base64 of id:key; goes before a user
	CACert             []byte // PEM of the authority that signed the server's certificate
	Fingerprint        string // SHA-256 of the authority's certificate, hexadecimal; instead of CACert

	Schema *event.Schema // the fields that are indexed

	Shards     int           // primary shards of an index of events
	Timeout    time.Duration // of one request
	Patience   time.Duration // how long a question is asked again while the server is away; Put has its context's
	Writers    int           // bulk requests at a time
	EventsKept time.Duration // days of events that a lifecycle policy keeps; 0: for ever
	AlertsKept time.Duration // and of alerts

	// Reject is given the documents that the server refuses for good. When it
	// returns nil, they count as dealt with; without Reject they fail the Put.
	Reject func(ctx context.Context, refused []Refused) error
	// Log hears of what holds writing up, and of what the server lacks.
	Log *slog.Logger
}

// DefaultConfig is what suits one server of usual size.
func DefaultConfig() Config {
	return Config{
		Prefix:     "tocsin",
		Shards:     1,
		Timeout:    time.Minute,
		Patience:   30 * time.Second,
		Writers:    2,
		EventsKept: 30 * 24 * time.Hour,
		AlertsKept: 180 * 24 * time.Hour,
		Log:        slog.New(slog.DiscardHandler),
	}
}

// Refused is a document that the server will never take.
type Refused struct {
	ID     event.ID
	Index  string
	Status int
	Reason string // the server's
	JSON   []byte // the document; valid until Reject returns
}

// Store is a connection to a cluster. It implements store.Store.
type Store struct {
	cfg    Config
	name   string // of the cluster, for messages: without secrets
	es     *elasticsearch.Client
	http   *http.Transport
	fields fields
	closed atomic.Bool

	slots chan *batch // of bulk requests; their buffers
	size  adaptive
	stats counters

	fresh struct {
		sync.Mutex
		indices map[string]bool // written since they were refreshed
	}
}

var _ store.Store = (*Store)(nil)

var errClosed = errors.New("store is closed")

// Open connects to a cluster, and fails if it is not there. It writes nothing:
// see Prepare.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{cfg: cfg, fields: fields{cfg.Schema}}
	if err := s.connect(); err != nil {
		return nil, fmt.Errorf("elasticsearch: %w", err)
	}
	s.slots = make(chan *batch, max(cfg.Writers, 1))
	for range cap(s.slots) {
		s.slots <- new(batch)
	}
	s.fresh.indices = map[string]bool{}
	s.size.reset()
	// Who may not ask for the cluster's health may search nevertheless.
	if _, err := s.do(ctx, http.MethodGet, "/_cluster/health", nil, "", nil); err != nil && !isStatus(err, http.StatusForbidden) {
		return nil, s.wrap("connect", err)
	}
	return s, nil
}

func (s *Store) connect() error {
	cfg := s.cfg
	if len(cfg.Addresses) == 0 {
		return errors.New("no address")
	}
	var names []string
	addresses := make([]string, len(cfg.Addresses))
	for i, a := range cfg.Addresses {
		u, err := url.Parse(a)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("address %d: want a URL such as https://HOST:9200", i+1)
		}
		if u.User != nil && cfg.Username == "" {
			cfg.Username = u.User.Username()
			cfg.Password, _ = u.User.Password()
		}
		u.User = nil // else it would be in messages
		addresses[i] = u.String()
		names = append(names, u.Redacted())
	}
	s.name = strings.Join(names, ",")
	if cfg.CACert != nil && !x509.NewCertPool().AppendCertsFromPEM(cfg.CACert) {
		return errors.New("the authority's certificate is not PEM")
	}
	s.http = http.DefaultTransport.(*http.Transport).Clone()
	s.http.MaxIdleConnsPerHost = 16
	var err error
	s.es, err = elasticsearch.NewClient(elasticsearch.Config{
		Addresses: addresses, Username: cfg.Username, Password: cfg.Password, APIKey: cfg.APIKey,
		CACert: cfg.CACert, CertificateFingerprint: strings.ReplaceAll(cfg.Fingerprint, ":", ""),
		Transport: s.http, DisableRetry: true,
	})
	return err
}

func (s *Store) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("elasticsearch %s: %s: %w", s.name, what, err)
}

// Close implements store.Store.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return s.wrap("close", errClosed)
	}
	s.http.CloseIdleConnections()
	return nil
}

// Names of indices. Events lie by day, alerts by month, of the time in their
// identifiers: it never changes, as that of an alert's first event may.
const (
	eventsPart, alertsPart = "-events-", "-alerts-"
	dayLayout, monthLayout = "2006.01.02", "2006.01"
)

func (s *Store) eventIndex(id event.ID) string {
	return s.cfg.Prefix + eventsPart + id.Time().Format(dayLayout)
}

func (s *Store) alertIndex(id event.ID) string {
	return s.cfg.Prefix + alertsPart + id.Time().Format(monthLayout)
}

// indices is the pattern of the indices of a set.
func (s *Store) indices(set store.Set) string {
	events, alerts := s.cfg.Prefix+eventsPart+"*", s.cfg.Prefix+alertsPart+"*"
	switch set {
	case store.Events:
		return events
	case store.Alerts:
		return alerts
	}
	return events + "," + alerts
}

// wrote notes that an index has something that searches do not see yet.
func (s *Store) wrote(index string) {
	s.fresh.Lock()
	s.fresh.indices[index] = true
	s.fresh.Unlock()
}

// refresh lets searches see what this Store has put.
func (s *Store) refresh(ctx context.Context) error {
	s.fresh.Lock()
	defer s.fresh.Unlock()
	if len(s.fresh.indices) == 0 {
		return nil
	}
	var names []string
	for name := range s.fresh.indices {
		names = append(names, name)
	}
	// A name is about 30 bytes, and a request line may have 4 KB.
	for len(names) > 0 {
		n := min(len(names), 50)
		if err := s.ask(ctx, http.MethodPost, "/"+strings.Join(names[:n], ",")+"/_refresh", url.Values{"ignore_unavailable": {"true"}}, nil, nil); err != nil {
			return err
		}
		for _, name := range names[:n] {
			delete(s.fresh.indices, name)
		}
		names = names[n:]
	}
	return nil
}
