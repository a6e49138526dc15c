// Package desk keeps what people make: incidents, searches, suppressions,
// accounts. Each is a JSON document of some kind in one SQLite file, which
// lies beside the embedded store or, where events are in Elasticsearch,
// wherever the console keeps its own. Documents are few (thousands) and small
// (at most MaxDocument), so a kind is read as a whole where it is searched.
//
// Several processes may have a desk open, such as a console and a command.
package desk

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "github.com/mattn/go-sqlite3" // the driver
)

// FileName is the desk's file in its directory.
const FileName = "desk.db"

// MaxDocument bounds one document, bytes of JSON.
const MaxDocument = 16 << 20

// The stamp of the file: "TocD" in SQLite's application_id, and the version
// of the format in its user_version.
const (
	applicationID = 0x546f6344
	formatVersion = 1
)

const schema = `
CREATE TABLE document (
	kind TEXT NOT NULL, id TEXT NOT NULL, json BLOB NOT NULL,
	PRIMARY KEY (kind, id)) WITHOUT ROWID;`

// ErrNotFound is returned for a document that the desk does not have.
var ErrNotFound = errors.New("not found")

// Desk is an open desk. Its methods may be called from several goroutines.
type Desk struct {
	path        string
	read, write *sql.DB
}

// Open opens the desk in a directory, and makes it if it is not there.
func Open(dir string) (*Desk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("desk: %w", err)
	}
	d := &Desk{path: filepath.Join(dir, FileName)}
	// SQLite would make it readable for others: it holds hashes of passwords.
	f, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("desk: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("desk: %w", err)
	}
	if d.write, err = sql.Open("sqlite3", d.dsn(true)); err == nil {
		d.write.SetMaxOpenConns(1)
		err = d.prepare()
	}
	if err == nil {
		d.read, err = sql.Open("sqlite3", d.dsn(false))
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("desk %s: %w", d.path, err)
	}
	d.read.SetMaxOpenConns(4)
	return d, nil
}

// dsn names the file to SQLite as a URI: a path may hold ? and %.
func (d *Desk) dsn(write bool) string {
	path, err := filepath.Abs(d.path)
	if err != nil {
		path = d.path
	}
	q := url.Values{"_busy_timeout": {"10000"}, "_cache_size": {"-2000"}}
	if write {
		q.Set("_journal_mode", "WAL")
		q.Set("_synchronous", "FULL")
		q.Set("_txlock", "immediate")
	} else {
		q.Set("_query_only", "true")
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

func (d *Desk) prepare() error {
	tx, err := d.write.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var app, version, tables int
	if err := tx.QueryRow("PRAGMA application_id").Scan(&app); err != nil {
		return err
	}
	if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if err := tx.QueryRow("SELECT count(*) FROM sqlite_master").Scan(&tables); err != nil {
		return err
	}
	switch {
	case tables == 0:
		setup := fmt.Sprintf("%s PRAGMA application_id=%d; PRAGMA user_version=%d;", schema, applicationID, formatVersion)
		if _, err := tx.Exec(setup); err != nil {
			return err
		}
	case app != applicationID:
		return errors.New("is not a desk of Tocsin: give another directory")
	case version != formatVersion:
		return fmt.Errorf("has format %d, and this program format %d: use the version that wrote it", version, formatVersion)
	}
	return tx.Commit()
}

// Close ends the desk.
func (d *Desk) Close() error {
	var errs []error
	for _, db := range []*sql.DB{d.read, d.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Tx is one state of the desk: what is changed in it is kept as a whole or not
// at all.
type Tx struct{ tx *sql.Tx }

// View runs fn on one state of the desk, which fn does not change.
func (d *Desk) View(ctx context.Context, fn func(*Tx) error) error {
	tx, err := d.read.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("desk %s: %w", d.path, err)
	}
	defer tx.Rollback()
	return fn(&Tx{tx})
}

// Update runs fn, of which one runs at a time in all processes, and keeps its
// changes unless it returns an error.
func (d *Desk) Update(ctx context.Context, fn func(*Tx) error) error {
	// The context ends the wait before, not the transaction itself.
	if err := ctx.Err(); err != nil {
		return err
	}
	tx, err := d.write.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return fmt.Errorf("desk %s: %w", d.path, err)
	}
	defer tx.Rollback()
	if err := fn(&Tx{tx}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("desk %s: %w", d.path, err)
	}
	return nil
}

// Get reads a document. The error wraps ErrNotFound if there is none.
func Get[T any](tx *Tx, kind, id string) (v T, err error) {
	var text []byte
	err = tx.tx.QueryRow(`SELECT json FROM document WHERE kind=? AND id=?`, kind, id).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return v, fmt.Errorf("%s %s: %w", kind, id, ErrNotFound)
	}
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		return v, fmt.Errorf("desk: %s %s: %w", kind, id, err)
	}
	return v, nil
}

// Put keeps a document in the place of the one that may be there.
func Put[T any](tx *Tx, kind, id string, v T) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("desk: %s %s: %w", kind, id, err)
	}
	if len(text) > MaxDocument {
		return fmt.Errorf("desk: %s %s: %d bytes are more than a document may have (%d)", kind, id, len(text), MaxDocument)
	}
	if _, err := tx.tx.Exec(`REPLACE INTO document VALUES (?,?,?)`, kind, id, text); err != nil {
		return fmt.Errorf("desk: %s %s: %w", kind, id, err)
	}
	return nil
}

// Delete forgets a document. The error wraps ErrNotFound if there is none.
func Delete(tx *Tx, kind, id string) error {
	res, err := tx.tx.Exec(`DELETE FROM document WHERE kind=? AND id=?`, kind, id)
	if err != nil {
		return fmt.Errorf("desk: %s %s: %w", kind, id, err)
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		return fmt.Errorf("%s %s: %w", kind, id, ErrNotFound)
	}
	return nil
}

// List reads all documents of a kind, by their IDs.
func List[T any](tx *Tx, kind string) ([]T, error) {
	rows, err := tx.tx.Query(`SELECT id, json FROM document WHERE kind=? ORDER BY id`, kind)
	if err != nil {
		return nil, fmt.Errorf("desk: %s: %w", kind, err)
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		var id string
		var text sql.RawBytes
		var v T
		if err := rows.Scan(&id, &text); err != nil {
			return nil, fmt.Errorf("desk: %s: %w", kind, err)
		}
		if err := json.Unmarshal(text, &v); err != nil {
			return nil, fmt.Errorf("desk: %s %s: %w", kind, id, err)
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// Count is how many documents of a kind there are.
func Count(tx *Tx, kind string) (n int, err error) {
	err = tx.tx.QueryRow(`SELECT count(*) FROM document WHERE kind=?`, kind).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("desk: %s: %w", kind, err)
	}
	return n, nil
}

// Next counts: 1, 2, 3, … for each name, never the same twice.
func Next(tx *Tx, name string) (int, error) {
	n, err := Get[int](tx, "counter", name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, err
	}
	return n + 1, Put(tx, "counter", name, n+1)
}
