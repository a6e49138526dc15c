package share

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tocsin/tocsin/trace/stix"
)

// Shelf keeps what was released, to whom and when, and the key that pseudonyms
// are made under, in a folder. Nothing on it is ever deleted: who recalls
// something wants to know what it was.
type Shelf struct {
	dir string
	mu  sync.Mutex
}

// Release is one entry of the shelf.
type Release struct {
	ID        string    `json:"id"`
	Recipient string    `json:"recipient"`
	Seed      string    `json:"seed"` // of the case, as the operator knows it
	Title     string    `json:"title"`
	Marking   string    `json:"marking"`
	At        time.Time `json:"at"`
	By        string    `json:"by"`
	Hash      string    `json:"sha256"` // of the bundle
	Recalled  time.Time `json:"recalled"`
	Why       string    `json:"why"` // it was recalled
	Bundle    []Object  `json:"-"`
}

// Object is a STIX object.
type Object = map[string]any

// OpenShelf opens a shelf, and makes one where there is none.
func OpenShelf(dir string) (*Shelf, error) {
	if err := os.MkdirAll(filepath.Join(dir, "releases"), 0o700); err != nil {
		return nil, fmt.Errorf("share: %w", err)
	}
	return &Shelf{dir: dir}, nil
}

// Master returns the key that recipients' keys come from. Whoever has it can
// undo all pseudonyms.
func (s *Shelf) Master() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := filepath.Join(s.dir, "master.key")
	key, err := os.ReadFile(path)
	if err == nil && len(key) != 32 {
		return nil, fmt.Errorf("share: %s has %d bytes: want 32", path, len(key))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, 32)
	rand.Read(key) // never fails
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("share: %w", err)
	}
	_, err = f.Write(key)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("share: %w", errors.Join(err, os.Remove(path)))
	}
	return key, nil
}

// Put keeps what a recipient is given, and returns the entry.
func (s *Shelf) Put(to *Recipient, seed string, r *Released, by string, at time.Time) (Release, error) {
	text, err := json.Marshal(stix.Bundle(r.Trace, r.Marking))
	if err != nil {
		return Release{}, fmt.Errorf("share: %w", err)
	}
	sum := sha256.Sum256(text)
	e := Release{
		Recipient: to.Name, Seed: seed, Title: r.Trace.Title, Marking: r.Marking.String(), At: at.UTC().Truncate(time.Microsecond), By: by, Hash: hex.EncodeToString(sum[:]),
	}
	name := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s", e.Recipient, e.At.Format(time.RFC3339Nano), e.Hash))
	e.ID = "r-" + hex.EncodeToString(name[:6])
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(e.ID+".stix.json", text); err != nil {
		return e, err
	}
	return e, s.entry(&e)
}

func (s *Shelf) entry(e *Release) error {
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("share: %w", err)
	}
	return s.write(e.ID+".json", append(text, '\n'))
}

func (s *Shelf) write(name string, text []byte) error {
	path := filepath.Join(s.dir, "releases", name)
	if err := os.WriteFile(path+".tmp", text, 0o600); err != nil {
		return fmt.Errorf("share: %w", errors.Join(err, os.Remove(path+".tmp")))
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("share: %w", err)
	}
	return nil
}

// Recall takes a release back: from now on its objects are told as revoked.
// What the recipient has fetched, they have.
func (s *Shelf) Recall(id, why string, at time.Time) error {
	list, err := s.List("")
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(e Release) bool { return e.ID == id })
	if i < 0 {
		return fmt.Errorf("share: release %q: there is none", id)
	}
	e := &list[i]
	if !e.Recalled.IsZero() {
		return fmt.Errorf("share: release %s was recalled at %s", id, e.Recalled.Format(time.RFC3339))
	}
	e.Recalled, e.Why = at.UTC().Truncate(time.Microsecond), why
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entry(e)
}

// List returns what was released to a recipient, or to all for "", by time.
func (s *Shelf) List(recipient string) (list []Release, err error) {
	names, err := filepath.Glob(filepath.Join(s.dir, "releases", "r-*.json"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".stix.json") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("share: %w", err)
		}
		var e Release
		if err := json.Unmarshal(text, &e); err != nil {
			return nil, fmt.Errorf("share: %s: %w", name, err)
		}
		if recipient == "" || e.Recipient == recipient {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b Release) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, nil
}

// Load adds the objects of a release. It fails if they are not those that were
// released.
func (s *Shelf) Load(e *Release) error {
	text, err := os.ReadFile(filepath.Join(s.dir, "releases", e.ID+".stix.json"))
	if err != nil {
		return fmt.Errorf("share: %w", err)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != e.Hash {
		return fmt.Errorf("share: release %s is not what was released: its hash has changed", e.ID)
	}
	var bundle struct{ Objects []Object }
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&bundle); err != nil {
		return fmt.Errorf("share: release %s: %w", e.ID, err)
	}
	e.Bundle = bundle.Objects
	return nil
}
