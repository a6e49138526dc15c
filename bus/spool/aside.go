package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// asideBytes bounds the file of what was put aside.
const asideBytes = 64 << 20

// ErrAsideFull says that no more can be put aside.
var ErrAsideFull = errors.New("spool: the file of what was put aside is full; look at it, and move it away")

// Aside keeps an entry that the other side will not take, with the reason, for
// people to look at: a line of JSON in the file aside.jsonl in the spool's
// folder. What is larger than the file may be, or does not fit any more, is
// ErrAsideFull.
func (s *Spool) Aside(e *Entry, why error) error {
	reason, err := json.Marshal(why.Error())
	if err != nil {
		return err
	}
	var line bytes.Buffer
	fmt.Fprintf(&line, `{"reason":%s,"event":%s}`+"\n", reason, e.Value)
	s.mu.Lock()
	defer s.mu.Unlock()
	path := filepath.Join(s.cfg.Dir, "aside.jsonl")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if info.Size()+int64(line.Len()) > asideBytes {
		return ErrAsideFull
	}
	if _, err := f.Write(line.Bytes()); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return f.Sync()
}
