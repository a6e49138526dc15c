package elastic_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/tocsin/tocsin/internal/servers"
)

// TestNotes lets several processes add to one document at the same time.
func TestNotes(t *testing.T) {
	url := servers.ElasticsearchURL(t)
	s := opened(t, url, "notes", nil)
	if text, err := s.Note(t.Context(), "rules"); text != nil || err != nil {
		t.Fatalf("before there is one: %q, %v", text, err)
	}
	add := func(old []byte) ([]byte, error) {
		n, _ := strconv.Atoi(string(old))
		return strconv.AppendInt(nil, int64(n+1), 10), nil
	}
	var adding sync.WaitGroup
	for range 4 {
		adding.Go(func() {
			for range 5 {
				if err := s.ChangeNote(t.Context(), "rules", add); err != nil {
					t.Error(err)
				}
			}
		})
	}
	adding.Wait()
	if text, err := s.Note(t.Context(), "rules"); string(text) != "20" || err != nil {
		t.Errorf("%q, %v; want 20", text, err)
	}
}
