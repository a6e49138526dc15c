// Package audit keeps a log of what people decided, looked at and took away:
// one JSON object a line, each with the hash of the line before, so that a line
// that is changed, removed or put elsewhere shows.
//
// What a chain alone cannot show is the loss of its end. The hash of the last
// line is therefore kept in a second file, and Verify compares it; whoever
// writes the head down elsewhere, on paper or another machine, can also show
// that nobody wrote the whole log anew (see Verify's known).
package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Names of the two files in their directory.
const (
	FileName = "audit.jsonl"
	HeadName = "audit.head"
)

// Entry is one line of the log. Seq counts from 1. Prev is the hash of the
// line before, empty in the first; Hash is the SHA-256 of the line without its
// hash, hexadecimal.
type Entry struct {
	Seq     uint64            `json:"seq"`
	Time    time.Time         `json:"time"`
	Actor   string            `json:"actor"`          // who; empty: nobody who is known
	Via     string            `json:"via"`            // page, token, command, server
	From    string            `json:"from,omitempty"` // address of the client
	Action  string            `json:"action"`         // alert.judge, export, session.begin, …
	Target  string            `json:"target,omitempty"`
	Detail  map[string]string `json:"detail,omitempty"`
	Outcome string            `json:"outcome"` // ok, refused, failed
	Prev    string            `json:"prev"`
	Hash    string            `json:"hash,omitempty"`
}

// Bounds of one entry, so that a line has one too.
const (
	maxText   = 2000 // bytes of each text
	maxDetail = 32
	maxLine   = 1 << 20
)

// digest is the hash of an entry: of its JSON with no hash in it.
func (e *Entry) digest() (string, error) {
	plain := *e
	plain.Hash = ""
	text, err := json.Marshal(plain) // keys of maps come sorted
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// Log is an open log. Several processes may write to it.
type Log struct {
	path, head string
	mu         sync.Mutex
	file       *os.File
	size       int64 // of the file when last and seq were read
	seq        uint64
	last       string
}

// Open opens the log in a directory, and makes it if it is not there.
func Open(dir string) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	l := &Log{path: filepath.Join(dir, FileName), head: filepath.Join(dir, HeadName), size: -1}
	var err error
	if l.file, err = os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return l, nil
}

// Close ends the log.
func (l *Log) Close() error { return l.file.Close() }

// Append writes an entry and returns when it would survive the death of the
// machine. It sets the entry's Seq, Prev and Hash.
func (l *Log) Append(e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("audit: lock: %w", err)
	}
	defer syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN)
	if err := l.catchUp(); err != nil {
		return err
	}
	return l.add(e)
}

func (l *Log) add(e Entry) error {
	e.cut()
	e.Seq, e.Prev, e.Hash, e.Time = l.seq+1, l.last, "", e.Time.UTC()
	var err error
	if e.Hash, err = e.digest(); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	line = append(line, '\n')
	if _, err := l.file.Write(line); err != nil {
		l.size = -1 // a part of the line may be there
		return fmt.Errorf("audit: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		l.size = -1
		return fmt.Errorf("audit: %w", err)
	}
	l.size += int64(len(line))
	l.seq, l.last = e.Seq, e.Hash
	return l.writeHead()
}

func (l *Log) writeHead() error {
	tmp := l.head + ".new"
	err := os.WriteFile(tmp, fmt.Appendf(nil, "%d %s\n", l.seq, l.last), 0o600)
	if err == nil {
		err = os.Rename(tmp, l.head)
	}
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}

// cut brings an entry within the bounds.
func (e *Entry) cut() {
	short := func(s string) string {
		if len(s) > maxText {
			s = s[:maxText] + "…"
		}
		return strings.ToValidUTF8(s, "\uFFFD") // what JSON makes of it
	}
	for _, s := range []*string{&e.Actor, &e.Via, &e.From, &e.Action, &e.Target, &e.Outcome} {
		*s = short(*s)
	}
	if len(e.Detail) > 0 {
		d := make(map[string]string, len(e.Detail))
		for k, v := range e.Detail {
			if len(d) < maxDetail {
				d[short(k)] = short(v)
			}
		}
		e.Detail = d
	}
}

// catchUp learns what other processes have written. A line that was cut short
// by the death of its writer, who was never told that it is there, is removed.
func (l *Log) catchUp() error {
	info, err := l.file.Stat()
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if info.Size() == l.size {
		return nil
	}
	line, end, err := lastLine(l.file, info.Size())
	if err != nil {
		return fmt.Errorf("audit: %s: %w", l.path, err)
	}
	l.seq, l.last, l.size = 0, "", end
	if len(line) > 0 {
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil || e.Hash == "" {
			return fmt.Errorf("audit: %s: the last line is no entry; see tocsin audit verify, and move the file away to begin a new one", l.path)
		}
		l.seq, l.last = e.Seq, e.Hash
	}
	if end == info.Size() {
		return nil
	}
	if err := l.file.Truncate(end); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return l.add(Entry{Time: time.Now(), Via: "server", Action: "audit.repair", Outcome: "ok",
		Detail: map[string]string{"removed": strconv.FormatInt(info.Size()-end, 10) + " bytes of a line that was cut short"}})
}

// lastLine returns the last whole line and where it ends.
func lastLine(f io.ReaderAt, size int64) (line []byte, end int64, err error) {
	const block = 64 << 10
	var tail []byte
	at := size
	for at > 0 && len(tail) < 2*maxLine {
		n := min(block, at)
		at -= n
		part := make([]byte, n)
		if _, err := f.ReadAt(part, at); err != nil {
			return nil, 0, err
		}
		tail = append(part, tail...)
		stop := bytes.LastIndexByte(tail, '\n')
		if stop < 0 {
			continue
		}
		begin := bytes.LastIndexByte(tail[:stop], '\n')
		if begin >= 0 || at == 0 {
			return tail[begin+1 : stop], at + int64(stop) + 1, nil
		}
	}
	if at > 0 {
		return nil, 0, errors.New("a line without end")
	}
	return nil, 0, nil
}

// Entries reads the log from its begin. It ends after an error.
func (l *Log) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		err := l.lines(func(n int, line []byte) error {
			var e Entry
			if err := json.Unmarshal(line, &e); err != nil {
				return fmt.Errorf("audit: %s:%d: %w", l.path, n, err)
			}
			if !yield(e, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(Entry{}, err)
		}
	}
}

var errStop = errors.New("stop")

// lines calls fn with each line that ends, counted from 1.
func (l *Log) lines(fn func(n int, line []byte) error) error {
	f, err := os.Open(l.path)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 64<<10)
	for n := 1; ; n++ {
		var line []byte
		for {
			part, err := r.ReadSlice('\n')
			line = append(line, part...)
			if err == nil {
				break
			}
			if errors.Is(err, io.EOF) {
				return nil // what has no end yet was never told to be there
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return fmt.Errorf("audit: %w", err)
			}
			if len(line) > 2*maxLine {
				return fmt.Errorf("audit: %s:%d: a line without end", l.path, n)
			}
		}
		if err := fn(n, line[:len(line)-1]); err != nil {
			return err
		}
	}
}

// Problem is a line that is not as it was written.
type Problem struct {
	Line int    `json:"line"`
	Text string `json:"text"`
}

// Report is what Verify found.
type Report struct {
	Entries  int       `json:"entries"`
	Head     string    `json:"head"` // hash of the last line
	Problems []Problem `json:"problems" nullable:"false"`
}

// maxProblems bounds a report: after so many the log is beyond doubt.
const maxProblems = 100

// Verify reads the whole log. known, if not empty, is the head of an earlier
// report: its line must still be there.
func (l *Log) Verify(known string) (Report, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// No writer may come between the log and its head.
	if err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_SH); err != nil {
		return Report{}, fmt.Errorf("audit: lock: %w", err)
	}
	defer syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN)
	r := Report{Problems: []Problem{}}
	wrong := func(line int, format string, args ...any) {
		if len(r.Problems) < maxProblems {
			r.Problems = append(r.Problems, Problem{line, fmt.Sprintf(format, args...)})
		}
	}
	found := known == ""
	var seq uint64
	err := l.lines(func(n int, line []byte) error {
		r.Entries++
		var e Entry
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&e); err != nil {
			wrong(n, "is no entry: %v", err)
			r.Head = ""
			seq++
			return nil
		}
		again, err := json.Marshal(e)
		if err != nil {
			return err
		}
		switch sum, err := e.digest(); {
		case err != nil:
			return err
		case sum != e.Hash || !bytes.Equal(again, line):
			wrong(n, "was changed: its hash is not that of its content")
		}
		if e.Seq != seq+1 {
			wrong(n, "has number %d where %d is expected: lines were removed, added or put elsewhere", e.Seq, seq+1)
		} else if e.Prev != r.Head {
			wrong(n, "does not follow the line before: that one was changed, removed or put elsewhere")
		}
		seq, r.Head = e.Seq, e.Hash
		found = found || e.Hash == known
		return nil
	})
	if err != nil {
		return r, err
	}
	if !found {
		wrong(r.Entries, "the head %s that was known earlier is no line of this log", known)
	}
	text, err := os.ReadFile(l.head)
	switch {
	case errors.Is(err, fs.ErrNotExist) && r.Entries == 0:
	case err != nil:
		wrong(r.Entries, "the head is not to be read: %v", err)
	default:
		n, hash, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
		// A process that died between line and head leaves a head that is one
		// line behind, of which the last is the successor.
		if hash != r.Head && !l.oneBehind(n, hash, seq) {
			wrong(r.Entries, "the log ends at entry %d, and its head says %s: the end was removed or changed", seq, n)
		}
	}
	return r, nil
}

// oneBehind reports whether a head names the last line but one.
func (l *Log) oneBehind(n, hash string, seq uint64) bool {
	var last Entry
	for e, err := range l.Entries() {
		if err != nil {
			return false
		}
		last = e
	}
	return n == strconv.FormatUint(seq-1, 10) && last.Seq == seq && last.Prev == hash
}
