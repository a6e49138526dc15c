package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/tocsin/tocsin/store"
)

// progress shows on a terminal, and nowhere else, how far a replay is, until
// the returned function is called.
func progress(w io.Writer, say func() string) (stop func()) {
	f, ok := w.(*os.File)
	if !ok {
		return func() {}
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(200 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-done:
				fmt.Fprint(f, "\r\x1b[K")
				return
			case <-t.C:
				fmt.Fprintf(f, "\r\x1b[K%s", say())
			}
		}
	}()
	return func() { close(done); <-ended }
}

// alertLevels says how many alerts of each level a store has, the gravest first.
func alertLevels(ctx context.Context, s store.Store) (string, error) {
	buckets, err := s.Count(ctx, store.Query{Set: store.Alerts}, store.By{Field: "tocsin.alert.level"})
	if err != nil {
		return "", err
	}
	counts := map[string]uint64{}
	for _, b := range buckets {
		counts[b.Value.Str()] = b.Count
	}
	var parts []string
	for _, level := range []string{"critical", "high", "medium", "low", "informational"} {
		if counts[level] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[level], level))
		}
	}
	if len(parts) == 0 {
		return "none", nil
	}
	return strings.Join(parts, ", "), nil
}
