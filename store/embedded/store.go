// Package embedded is the store of one machine: a directory with one SQLite
// file. Events are kept in compressed blocks, column by column; beside them
// are the identifiers, a posting list of addresses, a filter of texts, and the
// number of events of each minute, so that the usual questions read little.
//
// One process writes, any number read beside it. What Put has returned from
// survives the death of the process and of the machine: each Put is one
// transaction of SQLite's write-ahead log with synchronous=FULL.
package embedded

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/klauspost/compress/zstd"
	"github.com/mattn/go-sqlite3"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/store"
)

// Mode says what a store is opened for.
type Mode uint8

// Modes.
const (
	ReadWrite Mode = iota // creates the directory; one process at a time
	ReadOnly              // beside a process that writes, or without one
)

// The stamp of the file: "Tocs" in SQLite's application_id, and the version
// of the format in its user_version.
const (
	applicationID = 0x546f6373
	formatVersion = 1
)

const (
	fileName = "store.db"
	lockName = "lock"

	// Blocks and lists of identifiers kept in memory: about 20 MB and 8 MB.
	cachedBlocks = 32
	cachedIDs    = 256
)

const schema = `
CREATE TABLE run (            -- blocks written together; within a run they follow each other
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	tier     INTEGER NOT NULL, -- how often its events were merged; -1: for good, with postings and filters
	events   INTEGER NOT NULL,
	min_id   BLOB NOT NULL, max_id BLOB NOT NULL,
	min_time INTEGER NOT NULL, max_time INTEGER NOT NULL); -- nanoseconds since 1970
CREATE INDEX run_tier ON run (tier);
CREATE TABLE block (          -- id is 64 * run + position
	id       INTEGER PRIMARY KEY,
	events   INTEGER NOT NULL,
	min_id   BLOB NOT NULL, max_id BLOB NOT NULL,
	min_time INTEGER NOT NULL, max_time INTEGER NOT NULL,
	kinds    TEXT NOT NULL);   -- with a space between
CREATE TABLE data (id INTEGER PRIMARY KEY, ids BLOB NOT NULL, events BLOB NOT NULL);
CREATE TABLE filter (id INTEGER PRIMARY KEY, bits BLOB NOT NULL);
CREATE TABLE posting (        -- which of the run's 64 blocks hold an address of 4 or 16 bytes
	run INTEGER, address BLOB, blocks INTEGER NOT NULL,
	PRIMARY KEY (run, address)) WITHOUT ROWID;
CREATE TABLE minute (         -- events of a kind in a minute since 1970
	minute INTEGER, kind TEXT, events INTEGER NOT NULL,
	PRIMARY KEY (minute, kind)) WITHOUT ROWID;
CREATE TABLE alert (          -- place is event.Event.Place
	id BLOB PRIMARY KEY, place BLOB NOT NULL, time INTEGER NOT NULL, severity INTEGER NOT NULL,
	rule TEXT NOT NULL, status TEXT NOT NULL, json BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX alert_place ON alert (place);
`

// Store is an open store. It implements store.Store.
type Store struct {
	path   string
	mode   Mode
	lock   *os.File
	read   *sql.DB
	alerts *event.Schema // what alerts are decoded with
	dec    *zstd.Decoder
	blocks *lru.Cache[blockKey, *block]
	ids    *lru.Cache[blockKey, []event.ID]

	facts facts // of alerts

	sizes   sizes
	mu      sync.Mutex // one writer
	closed  bool
	write   *sql.DB
	touched []int64 // hours of alerts that the transaction changes
	w       writer
	raw     []byte
	fast    *zstd.Encoder // for blocks that will be merged
	best    *zstd.Encoder
}

// blockKey names one state of a block: Expire may make it smaller.
type blockKey struct {
	id     int64
	events int
}

var _ store.Store = (*Store)(nil)

// Open opens the store in a directory. With ReadWrite the directory is made if
// it is not there, and belongs to this process until Close.
func Open(dir string, mode Mode) (_ *Store, err error) {
	s := &Store{path: filepath.Join(dir, fileName), mode: mode, sizes: usualSizes, facts: facts{hours: map[int64]*block{}, dirty: map[int64]uint64{}}}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if s.alerts, err = event.NewSchema(); err != nil {
		return nil, err
	}
	if s.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(64<<20)); err != nil {
		return nil, err
	}
	if s.blocks, err = lru.New[blockKey, *block](cachedBlocks); err != nil {
		return nil, err
	}
	if s.ids, err = lru.New[blockKey, []event.ID](cachedIDs); err != nil {
		return nil, err
	}
	if mode == ReadOnly {
		if _, err := os.Stat(s.path); err != nil {
			return nil, fmt.Errorf("store %s: no store here: %w", dir, err)
		}
	} else if err := s.openWriter(dir); err != nil {
		return nil, err
	}
	s.read, err = sql.Open("sqlite3", s.dsn("ro"))
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", dir, err)
	}
	s.read.SetMaxIdleConns(4)
	if err := s.checkFormat(s.read); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) openWriter(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	lock := filepath.Join(dir, lockName)
	if s.lock, err = os.OpenFile(lock, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("store %s: another process writes to it: stop that one, or open it only to read", dir)
		}
		return fmt.Errorf("store %s: lock: %w", dir, err)
	}
	info, err := os.Stat(s.path)
	fresh := errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0
	if s.write, err = sql.Open("sqlite3", s.dsn("rwc")); err != nil {
		return fmt.Errorf("store %s: %w", dir, err)
	}
	s.write.SetMaxOpenConns(1)
	if fresh {
		// One transaction makes the tables and the stamp: a file has both or neither.
		setup := fmt.Sprintf("BEGIN IMMEDIATE; %s PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT;", schema, applicationID, formatVersion)
		if _, err := s.write.Exec(setup); err != nil {
			return s.wrap("create", err)
		}
	}
	if err := s.checkFormat(s.write); err != nil {
		return err
	}
	if s.fast, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)); err != nil {
		return err
	}
	s.best, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	return err
}

// dsn names the file to SQLite as a URI: a path may hold ? and %.
func (s *Store) dsn(mode string) string {
	path, err := filepath.Abs(s.path)
	if err != nil {
		path = s.path
	}
	q := url.Values{"mode": {mode}, "_busy_timeout": {"10000"}, "_cache_size": {"-8000"}}
	if mode == "ro" {
		q.Set("_query_only", "true")
		// A directory that may not be written, and no writer in sight: SQLite
		// cannot make its shared memory there, nor does it need to.
		_, wal := os.Stat(s.path + "-wal")
		if s.mode == ReadOnly && syscall.Access(filepath.Dir(path), 2) != nil && wal != nil {
			q.Set("immutable", "1")
		}
	} else {
		q.Set("_journal_mode", "WAL")
		q.Set("_synchronous", "FULL")
		q.Set("_auto_vacuum", "incremental")
		q.Set("_txlock", "immediate")
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

func (s *Store) checkFormat(db *sql.DB) error {
	var app, version int
	if err := db.QueryRow("PRAGMA application_id").Scan(&app); err != nil {
		return s.wrap("open", err)
	}
	if err := db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return s.wrap("open", err)
	}
	switch {
	case app != applicationID:
		return fmt.Errorf("store %s: is not a store of Tocsin: give another directory", s.path)
	case version != formatVersion:
		return fmt.Errorf("store %s: has format %d, and this program format %d: use the version that wrote it, or another directory", s.path, version, formatVersion)
	}
	return nil
}

// wrap says what happened to the file in words that help.
func (s *Store) wrap(what string, err error) error {
	var e sqlite3.Error
	if errors.As(err, &e) {
		switch {
		case e.Code == sqlite3.ErrFull, e.Code == sqlite3.ErrIoErr && (e.SystemErrno == syscall.ENOSPC || e.SystemErrno == syscall.EDQUOT || e.SystemErrno == syscall.EFBIG):
			return fmt.Errorf("store %s: %s: the disk is full: free some space or expire old events; nothing was changed: %w", s.path, what, err)
		case e.Code == sqlite3.ErrNotADB:
			return fmt.Errorf("store %s: is not a store of Tocsin: give another directory: %w", s.path, err)
		case e.Code == sqlite3.ErrCorrupt:
			return fmt.Errorf("store %s: %s: the file is damaged: restore it from a backup, or save what is left with sqlite3's .recover: %w", s.path, what, err)
		}
	}
	return fmt.Errorf("store %s: %s: %w", s.path, what, err)
}

// Close ends the store: what is asked afterwards is an error. Searches that are
// under way should have ended.
func (s *Store) Close() error { return s.release() }

func (s *Store) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	var errs []error
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	if s.write != nil {
		errs = append(errs, s.write.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	s.closed = true
	return errors.Join(errs...)
}

var errReadOnly = errors.New("opened only to read")

// update runs fn in a transaction that is kept as a whole or not at all.
func (s *Store) update(ctx context.Context, what string, fn func(tx *sql.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.write == nil {
		return fmt.Errorf("store %s: %s: %w", s.path, what, errReadOnly)
	}
	// The context ends the wait before, not the transaction itself: a driver
	// that interrupts a commit leaves open whether it happened.
	if err := ctx.Err(); err != nil {
		return err
	}
	tx, err := s.write.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return s.wrap(what, err)
	}
	s.touched = s.touched[:0]
	err = fn(tx)
	s.facts.forget(s.touched...) // a search that begins now sees the state before; it is not to be kept …
	if err == nil {
		err = tx.Commit()
	}
	s.facts.forget(s.touched...) // … nor that of one that began until here
	if err != nil {
		tx.Rollback()
		// What was read of blocks that now never were: their IDs come again.
		s.blocks.Purge()
		s.ids.Purge()
		return s.wrap(what, err)
	}
	return nil
}

// view runs fn on one state of the store.
func (s *Store) view(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := s.read.BeginTx(ctx, nil)
	if err != nil {
		return s.wrap("read", err)
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		// The end of the context ends the transaction, and that is what the
		// driver then speaks of.
		return cmp.Or(ctx.Err(), err)
	}
	return nil
}

// Span implements store.Store.
func (s *Store) Span(ctx context.Context) (from, to time.Time, err error) {
	err = s.view(ctx, func(tx *sql.Tx) error {
		var lo, hi sql.NullInt64
		err := tx.QueryRowContext(ctx, `SELECT min(lo), max(hi) FROM (
			SELECT min(min_time) lo, max(max_time) hi FROM run UNION ALL SELECT min(time), max(time) FROM alert)`).Scan(&lo, &hi)
		if err != nil {
			return s.wrap("span", err)
		}
		if lo.Valid {
			from, to = time.Unix(0, lo.Int64).UTC(), time.Unix(0, hi.Int64).UTC()
		}
		return nil
	})
	return from, to, err
}
