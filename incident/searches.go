package incident

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tocsin/tocsin/incident/desk"
)

// Search is a query that somebody wants to find again, alone or with all.
type Search struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Q       string    `json:"q"`
	Set     string    `json:"set" enum:"alerts,events"`
	Last    string    `json:"last,omitempty" doc:"How far back, such as 24h; absent: as the page has it"`
	Columns []string  `json:"columns,omitempty"`
	Shared  bool      `json:"shared"`
	By      string    `json:"by"`
	Changed time.Time `json:"changed"`
}

const kindSearch = "search"

// Bounds of searches.
const (
	MaxSearches = 1000 // of all people
	maxTitle    = 200  // characters
)

func title(what, s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "" || utf8.RuneCountInString(s) > maxTitle {
		return s, fmt.Errorf("%w: %s: want 1 to %d characters", ErrDecision, what, maxTitle)
	}
	return s, nil
}

// Searches lists what somebody may see: the own and what is shared.
func Searches(ctx context.Context, d *desk.Desk, by string) (list []Search, err error) {
	err = d.View(ctx, func(tx *desk.Tx) error {
		list, err = desk.List[Search](tx, kindSearch)
		return err
	})
	list = slices.DeleteFunc(list, func(s Search) bool { return !s.Shared && s.By != by })
	return list, err
}

// SaveSearch keeps a search: a new one if it has no ID, or else in the place of
// the one that has, which is By's.
func SaveSearch(ctx context.Context, d *desk.Desk, s Search) (Search, error) {
	var err error
	if s.Name, err = title("name", s.Name); err != nil {
		return s, err
	}
	return s, d.Update(ctx, func(tx *desk.Tx) error {
		if s.ID != "" {
			old, err := ownSearch(tx, s.ID, s.By)
			if err != nil {
				return err
			}
			s.By = old.By
			return desk.Put(tx, kindSearch, s.ID, s)
		}
		n, err := desk.Count(tx, kindSearch)
		if err != nil {
			return err
		}
		if n >= MaxSearches {
			return fmt.Errorf("%w: there are %d searches, and no room for more: delete some", ErrDecision, n)
		}
		if n, err = desk.Next(tx, kindSearch); err != nil {
			return err
		}
		s.ID = fmt.Sprintf("%06d", n)
		return desk.Put(tx, kindSearch, s.ID, s)
	})
}

// GetSearch returns a search that somebody may see.
func GetSearch(ctx context.Context, d *desk.Desk, id, by string) (s Search, err error) {
	err = d.View(ctx, func(tx *desk.Tx) error {
		s, err = desk.Get[Search](tx, kindSearch, id)
		if err == nil && !s.Shared && s.By != by {
			err = fmt.Errorf("search %s: %w", id, desk.ErrNotFound)
		}
		return err
	})
	return s, err
}

// DeleteSearch forgets a search of somebody.
func DeleteSearch(ctx context.Context, d *desk.Desk, id, by string) error {
	return d.Update(ctx, func(tx *desk.Tx) error {
		if _, err := ownSearch(tx, id, by); err != nil {
			return err
		}
		return desk.Delete(tx, kindSearch, id)
	})
}

// ownSearch is a search that somebody may change. Of another's that is not
// shared nobody learns that it is there.
func ownSearch(tx *desk.Tx, id, by string) (Search, error) {
	s, err := desk.Get[Search](tx, kindSearch, id)
	switch {
	case err != nil || s.By == by:
		return s, err
	case s.Shared:
		return s, fmt.Errorf("%w: search %s is %s's", ErrNotYours, id, s.By)
	}
	return s, fmt.Errorf("search %s: %w", id, desk.ErrNotFound)
}
