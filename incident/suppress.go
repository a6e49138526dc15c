package incident

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident/desk"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/query"
)

// Suppression keeps alerts that match a query out of the analysts' sight until
// it expires. The alerts themselves stay as they are: they can be shown at any
// time, and are there again when it ends.
type Suppression struct {
	ID      string    `json:"id"`
	Q       string    `json:"q"` // in the language of store/query
	Reason  string    `json:"reason"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
	Expires time.Time `json:"expires"`
}

// Expired reports whether a suppression has ended.
func (s *Suppression) Expired(now time.Time) bool { return !now.Before(s.Expires) }

const kindSuppression = "suppression"

// Bounds of suppressions. Nobody remembers why after a year.
const (
	MaxSuppressions    = 500
	MaxSuppressionTime = 366 * 24 * time.Hour
)

// Scopes say which alerts are like one.
var Scopes = []string{"rule", "rule_source", "rule_target", "rule_source_target"}

// Like returns the query of the alerts that are like one: of its rule and, as
// the scope says, with its sources, its targets or both.
func Like(a *event.Alert, scope string) (query.Node, error) {
	if !slices.Contains(Scopes, scope) {
		return nil, fmt.Errorf("%w: scope %q: want one of %s", ErrDecision, scope, strings.Join(Scopes, ", "))
	}
	text := func(field, value string) query.Node {
		return query.Compare{Field: field, Value: query.Literal{Text: value, Quoted: true}}
	}
	both := query.And{text("rule.id", a.Rule.ID)}
	add := func(field string, addrs []netip.Addr) error {
		if len(addrs) == 0 {
			return fmt.Errorf("%w: scope %q: the alert has none", ErrDecision, scope)
		}
		any := query.Or{}
		for _, x := range addrs {
			any = append(any, text(field, x.String()))
		}
		if len(any) == 1 {
			both = append(both, any[0])
		} else {
			both = append(both, any)
		}
		return nil
	}
	var err error
	if strings.Contains(scope, "source") {
		err = add("tocsin.alert.source", a.Sources)
	}
	if strings.Contains(scope, "target") && err == nil {
		err = add("tocsin.alert.target", a.Targets)
	}
	if len(both) == 1 {
		return both[0], err
	}
	return both, err
}

// Suppress begins a suppression. Its Q is one that query.Parse takes: the
// caller has seen to it.
func Suppress(ctx context.Context, d *desk.Desk, s Suppression) (Suppression, error) {
	s.Reason = strings.TrimSpace(s.Reason)
	switch {
	case strings.TrimSpace(s.Q) == "" || s.Q == "*":
		return s, fmt.Errorf("%w: a suppression needs a query: without one nothing would be shown", ErrDecision)
	case s.Reason == "" || len(s.Reason) > MaxReason:
		return s, fmt.Errorf("%w: a suppression needs a reason, of at most %d bytes", ErrDecision, MaxReason)
	case !s.Expires.After(s.At):
		return s, fmt.Errorf("%w: a suppression ends in the future", ErrDecision)
	case s.Expires.Sub(s.At) > MaxSuppressionTime:
		return s, fmt.Errorf("%w: a suppression ends within a year; begin it anew then", ErrDecision)
	}
	return s, d.Update(ctx, func(tx *desk.Tx) error {
		n, err := desk.Count(tx, kindSuppression)
		if err != nil {
			return err
		}
		if n >= MaxSuppressions {
			return fmt.Errorf("%w: there are %d suppressions, and no room for more: end some", ErrDecision, n)
		}
		if n, err = desk.Next(tx, kindSuppression); err != nil {
			return err
		}
		s.ID = fmt.Sprintf("%06d", n)
		return desk.Put(tx, kindSuppression, s.ID, s)
	})
}

// Suppressions lists all of them, those that have ended too.
func Suppressions(ctx context.Context, d *desk.Desk) (list []Suppression, err error) {
	err = d.View(ctx, func(tx *desk.Tx) error {
		list, err = desk.List[Suppression](tx, kindSuppression)
		return err
	})
	return list, err
}

// EndSuppression ends one at once and forgets it.
func EndSuppression(ctx context.Context, d *desk.Desk, id string) (s Suppression, err error) {
	return s, d.Update(ctx, func(tx *desk.Tx) error {
		if s, err = desk.Get[Suppression](tx, kindSuppression, id); err != nil {
			return err
		}
		return desk.Delete(tx, kindSuppression, id)
	})
}

// Hidden is true of the alerts that suppressions hide; nil if there are none.
func Hidden(list []Suppression, schema *event.Schema, now time.Time) (query.Node, error) {
	any := query.Or{}
	for _, s := range list {
		if s.Expired(now) {
			continue
		}
		n, err := query.Parse(s.Q, schema, query.KQL)
		if err != nil {
			return nil, fmt.Errorf("suppression %s: %w", s.ID, err)
		}
		any = append(any, n)
	}
	if len(any) == 0 {
		return nil, nil
	}
	return any, nil
}

// Hits counts the alerts that a suppression matches, and says when the newest
// of them was.
func (s *Suppression) Hits(ctx context.Context, st store.Store, schema *event.Schema) (n uint64, last time.Time, err error) {
	q := store.Query{Set: store.Alerts, Desc: true, Limit: 1}
	if q.Where, err = query.Parse(s.Q, schema, query.KQL); err != nil {
		return 0, last, err
	}
	buckets, err := st.Count(ctx, q, store.By{})
	if err != nil {
		return 0, last, err
	}
	for _, b := range buckets {
		n += b.Count
	}
	for e, err := range st.Search(ctx, q) {
		if err != nil {
			return n, last, err
		}
		last = e.Time
	}
	return n, last, nil
}
