package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/sigma"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/rules"
)

// ruleset is where rules come from: those that come with Tocsin, files and
// folders, the tuning beside them, and lists of placeholders.
type ruleset struct {
	paths, lists *[]string
	shipped      bool
	now          *inForce
}

// inForce is what was loaded last.
type inForce struct {
	set       atomic.Pointer[sigma.Set] // nil before there is one
	detectors []correlator.Detector     // all of the correlator's, with the set's among them
	files     uint64                    // fingerprint of what was read last, be it right or wrong
}

func rulesetFlags(cmd *cobra.Command) ruleset {
	return ruleset{
		paths:   cmd.Flags().StringArray("rules", nil, "more Sigma rules: a `FILE` or folder, with its tuning.yml; may be repeated"),
		lists:   placeholderFlag(cmd),
		shipped: true,
		now:     &inForce{},
	}
}

func placeholderFlag(cmd *cobra.Command) *[]string {
	return cmd.Flags().StringArray("placeholder", nil, "values of %NAME% in rules, a line each: `NAME=FILE`; may be repeated")
}

// ruleErrors are everything that is wrong with rules, a line each.
type ruleErrors []*sigma.Error

func (es ruleErrors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = "rule " + e.Error()
	}
	return strings.Join(lines, "\n")
}

// err returns the errors, nil if there are none.
func (es ruleErrors) err() error {
	if len(es) == 0 {
		return nil
	}
	return es
}

// load compiles the rules. The error is ruleErrors where rules are wrong, and
// the set then has the others.
func (r ruleset) load(fields *event.Schema) (*sigma.Set, error) {
	r.now.files = r.fingerprint() // before the files are read: what changes meanwhile is read again
	var all []*sigma.Rule
	var errs ruleErrors
	tuning := &sigma.Tuning{}
	add := func(from fs.FS, prefix string) error {
		rs, es := sigma.ParseFS(from)
		for _, r := range rs {
			r.File = filepath.Join(prefix, r.File)
		}
		for _, e := range es {
			e.File = filepath.Join(prefix, e.File)
		}
		all, errs = append(all, rs...), append(errs, es...)
		data, err := fs.ReadFile(from, sigma.TuningFile)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		t, es := sigma.ParseTuning(filepath.Join(prefix, sigma.TuningFile), data)
		errs = append(errs, es...)
		tuning.Join(t)
		return err
	}
	if r.shipped {
		if err := add(rules.FS, "rules"); err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
	}
	for _, p := range *r.paths {
		info, err := os.Stat(p)
		var data []byte
		switch {
		case err != nil:
		case info.IsDir():
			err = add(os.DirFS(p), p)
		default:
			if data, err = os.ReadFile(p); err != nil {
				break
			}
			if filepath.Base(p) == sigma.TuningFile {
				t, es := sigma.ParseTuning(p, data)
				errs = append(errs, es...)
				tuning.Join(t)
				break
			}
			rs, es := sigma.Parse(p, data)
			all, errs = append(all, rs...), append(errs, es...)
		}
		if err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
	}
	placeholders, err := readPlaceholders(*r.lists)
	if err != nil {
		return nil, err
	}
	for name, values := range tuning.Placeholders() {
		if placeholders[name] == nil {
			placeholders[name] = values
		}
	}
	set, es := sigma.Compile(all, sigma.Options{
		Schema: fields, Kinds: kinds(), Tuning: tuning, Placeholders: placeholders, Previous: r.now.set.Load(), Clock: time.Now,
	})
	errs = append(errs, es...)
	if len(errs) > 0 {
		return set, errs
	}
	return set, nil
}

func readPlaceholders(lists []string) (map[string][]string, error) {
	values := map[string][]string{}
	for _, l := range lists {
		name, path, ok := strings.Cut(l, "=")
		if !ok || name == "" || path == "" {
			return nil, usagef("--placeholder %s: want NAME=FILE", l)
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("placeholder %s: %w", name, err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
				values[name] = append(values[name], line)
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return nil, fmt.Errorf("placeholder %s: %s: %w", name, path, err)
		}
	}
	return values, nil
}

// reloading is how often the files of rules are looked at.
const reloading = 2 * time.Second

// watch loads the rules again when their files have changed, until ctx ends. A
// set that is wrong changes nothing.
func (r ruleset) watch(ctx context.Context, c *correlator.Correlator, errs io.Writer) error {
	if len(*r.paths) == 0 && len(*r.lists) == 0 {
		return nil
	}
	fields, err := schema()
	if err != nil {
		return err
	}
	looks := time.NewTicker(reloading)
	defer looks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-looks.C:
		}
		if r.fingerprint() == r.now.files {
			continue
		}
		if err := r.reload(fields, c); err != nil {
			fmt.Fprintln(errs, "tocsin: the rules have changed, and are wrong; those from before stay in force")
			complain(errs, err)
			continue
		}
		fmt.Fprintf(errs, "tocsin: the rules have changed; %d are in force\n", len(r.now.set.Load().Rules))
	}
}

func (r ruleset) reload(fields *event.Schema, c *correlator.Correlator) error {
	set, err := r.load(fields)
	if err != nil {
		return err
	}
	next := set.Detector()
	ds := slices.Clone(r.now.detectors)
	for i := range ds {
		if ds[i].Name == next.Name {
			ds[i] = next
		}
	}
	if err := c.Replace(ds); err != nil {
		return err
	}
	r.now.detectors = ds
	r.now.set.Store(set)
	return nil
}

// reach adds what watch needs of the system.
func (r ruleset) reach(may *reach) {
	add := func(path string) {
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			path = filepath.Dir(path) // where a new file is moved in its place
		}
		may.read = append(may.read, path)
	}
	for _, path := range *r.paths {
		add(path)
	}
	for _, l := range *r.lists {
		_, path, _ := strings.Cut(l, "=")
		add(path)
	}
}

// fingerprint changes with the files.
func (r ruleset) fingerprint() uint64 {
	h := fnv.New64a()
	note := func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is gone, which is a change, too
		}
		if info, err := d.Info(); err == nil && !d.IsDir() {
			fmt.Fprintf(h, "%s\x00", path)
			h.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(info.Size())), uint64(info.ModTime().UnixNano())))
		}
		return nil
	}
	paths := slices.Clone(*r.paths)
	for _, l := range *r.lists {
		_, path, _ := strings.Cut(l, "=")
		paths = append(paths, path)
	}
	for _, p := range paths {
		filepath.WalkDir(p, note) // note has no errors
	}
	return h.Sum64()
}
