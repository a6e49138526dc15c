package spool

import (
	"fmt"
	"testing"
)

// TestNothingIsReadAgain: a small segment that was acknowledged while it was the
// last stays, and must not be read again when the one behind it is gone.
func TestNothingIsReadAgain(t *testing.T) {
	cfg := DefaultConfig(t.TempDir())
	cfg.Bytes = minBytes
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	large := make([]byte, 60<<10)
	for i, payload := range [][]byte{[]byte("small"), large, []byte("last")} {
		s.Append(Bulk, payload)
		for n := 0; ; n++ {
			b, ok := s.Next(1 << 20)
			if !ok {
				break
			}
			if n > 0 {
				t.Fatalf("round %d: %d records were read again", i, len(b.Payloads))
			}
			if got := fmt.Sprintf("%.8s", b.Payloads[0]); len(b.Payloads) != 1 || got != fmt.Sprintf("%.8s", payload) {
				t.Fatalf("round %d: %q", i, got)
			}
			if err := s.Ack(b); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.Pending(); n != 0 {
			t.Fatalf("round %d: %d records are pending", i, n)
		}
	}
}
