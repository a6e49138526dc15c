// Package feed keeps reputation lists up to date: it fetches them when they
// have changed, looks at what it got before it is used, and keeps what it had
// when that is worse. What it knows of a feed lies beside the list, so that
// another process goes on where this one ended.
package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/correlator/intel"
	"github.com/tocsin/tocsin/correlator/intel/csv"
	"github.com/tocsin/tocsin/correlator/intel/jsonlist"
	"github.com/tocsin/tocsin/correlator/intel/warninglist"
	"github.com/tocsin/tocsin/correlator/setting"
)

// Config is the file that names the feeds.
type Config struct {
	// Cache is the folder of what was fetched; relative to the file.
	Cache        string   `yaml:"cache"`
	Feeds        []Feed   `yaml:"feeds"`
	Warninglists []string `yaml:"warninglists"` // files and folders; relative to the file
}

// Feed is a list that somebody keeps. One of Path, URL and TAXII says where.
type Feed struct {
	Name string `yaml:"name"`
	Path string `yaml:"path"` // a file or folder; relative to the file that names the feeds
	URL  string `yaml:"url"`
	// TAXII is the URL of a collection of a TAXII 2.1 server, as
	// https://taxii.example/api1/collections/UUID/.
	TAXII    string        `yaml:"taxii"`
	Format   string        `yaml:"format"`   // empty: found out
	Interval time.Duration `yaml:"-"`        // between fetches; default one hour
	HalfLife time.Duration `yaml:"-"`        // see intel.List
	User     string        `yaml:"user"`     // of HTTP's basic authentication
	Password string        `yaml:"-"`        // from PasswordFile
	Token    string        `yaml:"-"`        // from TokenFile, sent as "Authorization: Bearer"
	Columns  columns       `yaml:"columns"`  // of CSV and JSON lists, where the usual names do not fit
	LeastOf  float64       `yaml:"least_of"` // of the entries that it had, how many it must still have; default 0.5
	// Confidence and TLP count where the list does not say.
	Confidence int    `yaml:"confidence"`
	TLP        string `yaml:"tlp"`

	EveryText    string `yaml:"interval"`
	HalfLifeText string `yaml:"half_life"`
	PasswordFile string `yaml:"password_file"`
	TokenFile    string `yaml:"token_file"`
}

// columns names the column of each part.
type columns struct {
	Value       string `yaml:"value"`
	Kind        string `yaml:"kind"`
	Confidence  string `yaml:"confidence"`
	Reference   string `yaml:"reference"`
	Description string `yaml:"description"`
	TLP         string `yaml:"tlp"`
	Seen        string `yaml:"seen"`
	Until       string `yaml:"until"`
}

// names are the usual names of columns with those of the feed before them.
func (c columns) names() intel.Columns {
	put := func(name string, usual []string) []string {
		if name == "" {
			return usual
		}
		return []string{strings.ToLower(name)}
	}
	u := intel.CommonColumns
	return intel.Columns{
		Value: put(c.Value, u.Value), Kind: put(c.Kind, u.Kind), Confidence: put(c.Confidence, u.Confidence), Reference: put(c.Reference, u.Reference),
		Description: put(c.Description, u.Description), TLP: put(c.TLP, u.TLP), Seen: put(c.Seen, u.Seen), Until: put(c.Until, u.Until),
	}
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Read reads the file that names the feeds. What is wrong is named with its
// line.
func Read(path string, formats []intel.Format) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("feeds: %w", err)
	}
	defer f.Close()
	var c Config
	if err := setting.Decode(f, &c); err != nil {
		return nil, fmt.Errorf("feeds: %s: %w", path, err)
	}
	beside := func(p string) string {
		if p == "" || filepath.IsAbs(p) {
			return p
		}
		return filepath.Join(filepath.Dir(path), p)
	}
	c.Cache = beside(c.Cache)
	for i := range c.Warninglists {
		c.Warninglists[i] = beside(c.Warninglists[i])
	}
	var errs []error
	taken := map[string]bool{}
	for i := range c.Feeds {
		fd := &c.Feeds[i]
		fd.Path, fd.PasswordFile, fd.TokenFile = beside(fd.Path), beside(fd.PasswordFile), beside(fd.TokenFile)
		if err := fd.settle(formats); err != nil {
			errs = append(errs, fmt.Errorf("feeds: %s: feed %d (%s): %w", path, i+1, fd.Name, err))
		} else if taken[fd.Name] {
			errs = append(errs, fmt.Errorf("feeds: %s: feed %d: the name %s is taken", path, i+1, fd.Name))
		}
		taken[fd.Name] = true
		if c.Cache == "" && fd.Path == "" {
			errs = append(errs, fmt.Errorf("feeds: %s: feed %s is fetched: cache must name a folder for it", path, fd.Name))
		}
	}
	return &c, errors.Join(errs...)
}

func (f *Feed) settle(formats []intel.Format) error {
	if !nameForm.MatchString(f.Name) {
		return errors.New("name: want letters, digits, '.', '_' and '-'")
	}
	given := 0
	for _, where := range []string{f.Path, f.URL, f.TAXII} {
		if where != "" {
			given++
		}
	}
	if given != 1 {
		return errors.New("want one of path, url and taxii")
	}
	for _, u := range []string{f.URL, f.TAXII} {
		if u != "" && !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") {
			return fmt.Errorf("%q: want a URL of https or http", u)
		}
	}
	if f.Format != "" {
		if _, err := f.format(formats); err != nil {
			return err
		}
	}
	if f.Confidence < 0 || f.Confidence > 100 {
		return fmt.Errorf("confidence %d: want 0 to 100", f.Confidence)
	}
	if f.TLP != "" {
		tlp := intel.TLP(f.TLP)
		if tlp == "" {
			return fmt.Errorf("tlp %q: want CLEAR, GREEN, AMBER, AMBER+STRICT or RED", f.TLP)
		}
		f.TLP = tlp
	}
	if f.LeastOf == 0 {
		f.LeastOf = 0.5
	}
	if f.LeastOf < 0 || f.LeastOf > 1 {
		return fmt.Errorf("least_of %v: want a share from 0 to 1", f.LeastOf)
	}
	var err error
	if f.Interval, err = duration(f.EveryText, time.Hour); err != nil {
		return fmt.Errorf("interval: %w", err)
	}
	if f.Interval < time.Minute {
		return fmt.Errorf("interval %s: want a minute or more", f.EveryText)
	}
	if f.HalfLife, err = duration(f.HalfLifeText, 0); err != nil {
		return fmt.Errorf("half_life: %w", err)
	}
	if f.Password, err = secret(f.PasswordFile); err != nil {
		return fmt.Errorf("password_file: %w", err)
	}
	if f.Token, err = secret(f.TokenFile); err != nil {
		return fmt.Errorf("token_file: %w", err)
	}
	return nil
}

// duration understands days beside what time.ParseDuration does.
func duration(s string, otherwise time.Duration) (time.Duration, error) {
	if s == "" {
		return otherwise, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q: want a duration such as 30m, 12h or 30d", s)
	}
	return d, nil
}

func secret(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}

func (f *Feed) format(formats []intel.Format) (intel.Format, error) {
	switch {
	case f.Columns != (columns{}) && f.Format == "json":
		return jsonlist.Mapped(f.Columns.names()), nil
	case f.Columns != (columns{}) && (f.Format == "" || f.Format == "csv"):
		return csv.Mapped(f.Columns.names()), nil
	case f.Format == "":
		return intel.Format{}, nil
	}
	var names []string
	for _, format := range formats {
		if format.Name == f.Format {
			return format, nil
		}
		names = append(names, format.Name)
	}
	return intel.Format{}, fmt.Errorf("format %q: want one of %s", f.Format, strings.Join(names, ", "))
}

// List is the list as it lies on the disk.
func (c *Config) list(f *Feed, path string, formats []intel.Format) (intel.List, error) {
	format, err := f.format(formats)
	return intel.List{Provider: f.Name, Path: path, Confidence: f.Confidence, TLP: f.TLP, HalfLife: f.HalfLife, Format: format}, err
}

// path is where the list of a feed lies.
func (c *Config) path(f *Feed) string {
	if f.Path != "" {
		return f.Path
	}
	return filepath.Join(c.Cache, f.Name+".list")
}

// State is what is known of a feed.
type State struct {
	Name     string    `json:"name"`
	Tried    time.Time `json:"tried"`    // when it was last asked for
	Fetched  time.Time `json:"fetched"`  // when what is used was got, or found to be still so
	Changed  time.Time `json:"changed"`  // when it last changed
	Entries  int       `json:"entries"`  // of what is used
	Problem  string    `json:"problem"`  // of the last try; empty: none
	ETag     string    `json:"etag"`     // of HTTP
	Modified string    `json:"modified"` // of HTTP
	Added    string    `json:"added"`    // of TAXII: where to go on
}

// Healthy reports whether the last try succeeded.
func (s *State) Healthy() bool { return s.Problem == "" }

// Fetches reports whether any feed comes over the network.
func (c *Config) Fetches() bool {
	return slices.ContainsFunc(c.Feeds, func(f Feed) bool { return f.Path == "" })
}

func (c *Config) statePath(f *Feed) string { return filepath.Join(c.Cache, f.Name+".state.json") }

// State returns what is known of a feed; of one that was never fetched, nothing.
func (c *Config) State(f *Feed) (State, error) {
	s := State{Name: f.Name}
	text, err := os.ReadFile(c.statePath(f))
	if errors.Is(err, os.ErrNotExist) || c.Cache == "" {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return s, fmt.Errorf("feed %s: %w", f.Name, err)
	}
	return s, nil
}

// Table reads the lists as they lie on the disk. A feed that was never fetched
// is left out and named; one that cannot be read is an error.
func (c *Config) Table(more []intel.List, formats []intel.Format) (*intel.Table, []intel.Report, []string, error) {
	b := intel.NewBuilder()
	if len(c.Warninglists) > 0 {
		warnings, err := warninglist.Load(c.Warninglists)
		if err != nil {
			return nil, nil, nil, err
		}
		b.Refuse(warnings.Reason)
	}
	lists := more
	var missing []string
	for i := range c.Feeds {
		f := &c.Feeds[i]
		path := c.path(f)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && f.Path == "" {
			missing = append(missing, f.Name)
			continue
		}
		l, err := c.list(f, path, formats)
		if err != nil {
			return nil, nil, missing, err
		}
		lists = append(lists, l)
	}
	reports, err := b.Load(lists, formats)
	if err != nil {
		return nil, reports, missing, err
	}
	return b.Table(), reports, missing, nil
}

// Update fetches a feed if it has changed, and uses it if it is no worse: one
// that cannot be read, has no entries or has far fewer than it had is not used,
// unless accept says so. The returned state says what came of it; it is kept on
// the disk. The error is of the disk, or of ctx.
func (c *Config) Update(ctx context.Context, client *http.Client, f *Feed, formats []intel.Format, now time.Time, accept bool) (State, error) {
	s, err := c.State(f)
	if err != nil {
		return s, err
	}
	if f.Path != "" {
		return s, nil // somebody else keeps it
	}
	if err := os.MkdirAll(c.Cache, 0o750); err != nil {
		return s, fmt.Errorf("feed %s: %w", f.Name, err)
	}
	s.Tried = now.UTC()
	next := s
	fresh := c.path(f) + ".new"
	defer os.Remove(fresh)
	var changed bool
	if f.TAXII != "" {
		changed, err = taxii(ctx, client, f, &next, c.path(f), fresh)
	} else {
		changed, err = fetch(ctx, client, f, &next, fresh)
	}
	if err == nil && changed {
		var n int
		if n, err = c.count(f, fresh, formats); err == nil && !accept {
			err = worse(f, s.Entries, n)
		}
		next.Entries, next.Changed = n, s.Tried
	}
	if ctx.Err() != nil {
		return s, ctx.Err()
	}
	if err != nil {
		s.Problem = err.Error()
		return s, c.keep(f, &s)
	}
	next.Fetched, next.Problem = s.Tried, ""
	if changed {
		if err := os.Rename(fresh, c.path(f)); err != nil {
			return s, fmt.Errorf("feed %s: %w", f.Name, err)
		}
	}
	return next, c.keep(f, &next)
}

// count reads a list as it would be used.
func (c *Config) count(f *Feed, path string, formats []intel.Format) (int, error) {
	l, err := c.list(f, path, formats)
	if err != nil {
		return 0, err
	}
	reports, err := intel.NewBuilder().Load([]intel.List{l}, formats)
	if err != nil {
		return 0, err
	}
	return reports[0].Entries, nil
}

// worse says why what came is not used.
func worse(f *Feed, had, has int) error {
	switch {
	case has == 0:
		return fmt.Errorf("what came has no entry; the %d of before are still used", had)
	case float64(has) < float64(had)*f.LeastOf:
		return fmt.Errorf("what came has %d entries, what there was had %d; those are still used: if it is right, run tocsin intel update --accept %s", has, had, f.Name)
	}
	return nil
}

// keep writes the state so that a crash leaves the old or the new.
func (c *Config) keep(f *Feed, s *State) error {
	text, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	path := c.statePath(f)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o640); err != nil {
		return fmt.Errorf("feed %s: %w", f.Name, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("feed %s: %w", f.Name, err)
	}
	return nil
}
