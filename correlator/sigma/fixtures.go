package sigma

import (
	"errors"
	"io/fs"
	"path"

	"github.com/tocsin/tocsin/correlator"
)

// Folders returns the folders in a tree that hold rules, in order.
func Folders(fsys fs.FS) ([]string, error) {
	var dirs []string
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		ext := path.Ext(name)
		if err != nil || d.IsDir() || ext != ".yml" && ext != ".yaml" || path.Base(name) == TuningFile {
			return err
		}
		if dir := path.Dir(name); len(dirs) == 0 || dirs[len(dirs)-1] != dir {
			dirs = append(dirs, dir)
		}
		return nil
	})
	return dirs, err
}

// TestFolder compiles the rules of one folder by themselves and checks them
// with correlator.TestRule against the events beside them.
func TestFolder(fsys fs.FS, dir string, opt Options) error {
	sub, err := fs.Sub(fsys, dir)
	if err != nil {
		return err
	}
	set, errs := Load(sub, opt)
	var all []error
	for _, e := range errs {
		e.File = path.Join(dir, e.File)
		all = append(all, e)
	}
	if len(all) > 0 {
		return errors.Join(all...)
	}
	cfg := correlator.Config{Detectors: []correlator.Detector{set.Detector()}}
	return correlator.TestRule(cfg, opt.Schema, fsys, dir)
}
