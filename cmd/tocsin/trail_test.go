package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
	"github.com/tocsin/tocsin/trace"
)

// intrusions are the recorded scenarios in which somebody does what they may not.
var intrusions = []string{"intrusion", "phish", "direct", "stones", "translated", "privacy", "flood", "insider", "relay"}

// chronicle is a scenario, stored.
type chronicle struct {
	name   string
	truth  truth
	flags  truthFlags
	events []event.Event
	alerts []event.Alert
}

// truthFlags is what the truth of newer scenarios says beside the path.
type truthFlags struct {
	Spoofed bool
	Path    []struct {
		Seen []any // from, to, port, where addresses are translated
	}
}

func record(t *testing.T, name string) chronicle {
	t.Helper()
	dir := t.TempDir()
	run(t, 0, slices.Concat([]string{"run", "--once", "--data", dir}, reading(t, name), known(name))...)
	r := chronicle{name: name, truth: readTruth(t, name)}
	text, err := os.ReadFile(filepath.Join(scenarios, name, "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r.flags); err != nil {
		t.Fatal(err)
	}
	s, err := embedded.Open(dir, embedded.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for e, err := range s.Search(context.Background(), store.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != event.KindAlert {
			r.events = append(r.events, e)
			continue
		}
		a, err := event.AlertOf(&e)
		if err != nil {
			t.Fatal(err)
		}
		r.alerts = append(r.alerts, a)
	}
	return r
}

// open stores the chronicle, without the events that drop says.
func (r *chronicle) open(t *testing.T, drop func(*event.Event) bool) store.Store {
	t.Helper()
	s, err := embedded.Open(t.TempDir(), embedded.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	var kept []event.Event
	for i := range r.events {
		if drop == nil || !drop(&r.events[i]) {
			kept = append(kept, r.events[i])
		}
	}
	if err := s.Put(context.Background(), kept, r.alerts); err != nil {
		t.Fatal(err)
	}
	return s
}

// seeds are the hosts of the true path, and the alerts about its last hop.
func (r *chronicle) seeds() []trace.Seed {
	var seeds []trace.Seed
	for _, h := range r.truth.Path {
		for _, a := range []string{h.From, h.To} {
			if s := (trace.Seed{Address: netip.MustParseAddr(a)}); !slices.Contains(seeds, s) {
				seeds = append(seeds, s)
			}
		}
	}
	for _, a := range r.alerts {
		if len(r.truth.Path) == 0 {
			seeds = append(seeds, trace.Seed{Alert: a.ID})
			continue
		}
		last := r.truth.Path[len(r.truth.Path)-1]
		if slices.Contains(a.Sources, netip.MustParseAddr(last.From)) && slices.Contains(a.Targets, netip.MustParseAddr(last.To)) {
			seeds = append(seeds, trace.Seed{Alert: a.ID})
		}
	}
	if len(r.truth.Path) == 0 {
		for _, s := range r.truth.Stages {
			seeds = append(seeds, trace.Seed{Address: netip.MustParseAddr(s.Destination[0])})
		}
	}
	return seeds
}

// step is a hop as truth and trace have it in common.
type step struct {
	from, to, protocol string
	port               uint16
}

func (r *chronicle) path() (steps []step) {
	for _, h := range r.truth.Path {
		steps = append(steps, step{h.From, h.To, h.Protocol, h.Port})
	}
	return steps
}

// faces are the ends of hops as they are seen where their addresses are
// translated: that is no false hop where the other side's record is gone.
func (r *chronicle) faces() map[[2]string]float64 {
	faces := map[[2]string]float64{}
	for _, h := range r.flags.Path {
		if len(h.Seen) == 3 {
			faces[[2]string{fmt.Sprint(h.Seen[0]), fmt.Sprint(h.Seen[1])}] = 0.99
		}
	}
	return faces
}

func hosts(h trace.Hop) [2]string { return [2]string{h.From.String(), h.To.String()} }

func stepOf(h trace.Hop) step {
	s := step{h.From.String(), h.To.String(), h.Protocol, h.Port}
	if s.port == 3389 {
		s.protocol = "tls" // the truth is what is inside
	}
	return s
}

// TestTrueTrail traces every recorded intrusion from every host on its path and
// from each alert about its last step: the true path comes first, each of its
// hops is surer than not, and no other is.
func TestTrueTrail(t *testing.T) {
	for _, name := range intrusions {
		t.Run(name, func(t *testing.T) {
			r := record(t, name)
			s := r.open(t, nil)
			seeds := r.seeds()
			if len(seeds) < 2 {
				t.Fatalf("only %d seeds", len(seeds))
			}
			for _, seed := range seeds {
				found, err := trace.Build(context.Background(), s, seed)
				if err != nil {
					t.Fatal(err)
				}
				var steps []step
				for _, h := range found.Path {
					steps = append(steps, stepOf(h))
					if h.Confidence < 0.5 {
						t.Errorf("from %s: hop %v with %.2f", found.Seed, stepOf(h), h.Confidence)
					}
					if len(h.Evidence) == 0 || len(h.Reasons) == 0 || h.Start.IsZero() || h.Direction == "" {
						t.Errorf("from %s: hop %v does not say why: %+v", found.Seed, stepOf(h), h)
					}
				}
				if !slices.Equal(steps, r.path()) {
					t.Errorf("from %s: %s: %v, want %v", found.Seed, found.Title, steps, r.path())
				}
				for _, h := range found.Rejected {
					if !slices.Contains(r.path(), stepOf(h)) && h.Confidence > 0.5 {
						t.Errorf("from %s: false hop %v is rejected with %.2f", found.Seed, stepOf(h), h.Confidence)
					}
				}
				if spoofed := len(found.Sources) > 0 && found.Sources[0].Spoofing == "spoofed"; spoofed != r.flags.Spoofed {
					t.Errorf("from %s: spoofed is %v", found.Seed, spoofed)
				}
				if !r.flags.Spoofed && (len(found.Sources) == 0 || found.Sources[0].Address != found.Origin) {
					t.Errorf("from %s: the first source is not the origin %s: %+v", found.Seed, found.Origin, found.Sources)
				}
			}
		})
	}
}

// TestLessRecordsLessConfidence takes records away at random, a few or many:
// what is left of the path is never surer than it was, and no hop appears that
// was none.
func TestLessRecordsLessConfidence(t *testing.T) {
	const draws = 24
	for _, name := range intrusions {
		t.Run(name, func(t *testing.T) {
			r := record(t, name)
			whole := map[trace.Seed]*trace.Trace{}
			s := r.open(t, nil)
			seeds := r.seeds()
			for _, seed := range seeds {
				found, err := trace.Build(context.Background(), s, seed)
				if err != nil {
					t.Fatal(err)
				}
				whole[seed] = found
			}
			fell := 0
			for draw := range uint64(draws) {
				dice := rand.New(rand.NewPCG(draw, uint64(len(name))))
				share := []float64{0.01, 0.05, 0.2, 0.5, 0.8}[draw%5]
				removed := 0
				s := r.open(t, func(e *event.Event) bool {
					gone := dice.Float64() < share
					if gone {
						removed++
					}
					return gone
				})
				if removed == 0 {
					continue
				}
				seed := seeds[int(draw)%len(seeds)]
				found, err := trace.Build(context.Background(), s, seed)
				if err != nil {
					if strings.Contains(err.Error(), store.ErrNotFound.Error()) {
						continue // nothing is left of the host
					}
					t.Fatal(err)
				}
				// Between the same two hosts, by whatever service, is no false hop.
				was := r.faces()
				for _, h := range whole[seed].Path {
					was[hosts(h)] = max(was[hosts(h)], h.Confidence)
				}
				for _, h := range found.Path {
					p, ok := was[hosts(h)]
					if !ok && h.Confidence > 0.5 {
						t.Errorf("draw %d, %.0f %% removed, from %s: false hop %v (%.2f): %s", draw, 100*share, found.Seed, stepOf(h), h.Confidence, why(h))
					}
					if ok && h.Confidence > p {
						t.Errorf("draw %d, %.0f %% removed, from %s: hop %v rises from %.2f to %.2f: %s", draw, 100*share, found.Seed, stepOf(h), p, h.Confidence, why(h))
					}
				}
				if found.Confidence > whole[seed].Confidence && len(found.Path) == len(whole[seed].Path) {
					t.Errorf("draw %d: the path rises from %.2f to %.2f", draw, whole[seed].Confidence, found.Confidence)
				}
				if len(found.Path) < len(whole[seed].Path) || found.Confidence < whole[seed].Confidence {
					fell++
				}
				if len(found.Gaps) == 0 || !slices.ContainsFunc(found.Gaps, func(m trace.Message) bool {
					return m.Key == "gap-incomplete" || m.Key == "gap-ledger"
				}) {
					t.Errorf("draw %d: it is not said that records are missing: %v", draw, found.Missing)
				}
			}
			if len(r.truth.Path) > 0 && fell < draws/2 {
				t.Errorf("the confidence fell in %d of %d draws only", fell, draws)
			}
		})
	}
}

func why(h trace.Hop) string {
	var b strings.Builder
	for _, r := range h.Reasons {
		fmt.Fprintf(&b, "%+.2f %s; ", r.Weight, r.Text)
	}
	return b.String()
}
