// Package warninglist reads the warninglists of MISP: values that many innocent
// people use, such as public resolvers and the networks of content deliverers.
// An indicator that is one of them would cry wolf. Source: the lists' README.
package warninglist

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/gaissmai/bart"

	"github.com/tocsin/tocsin/correlator/intel"
)

// Set is warninglists, joined.
type Set struct {
	prefixes *bart.Table[string] // to the name of the list
	names    map[string]string   // domain names, matched with those below them
	texts    map[string]string   // matched as a whole
	patterns []pattern
}

type pattern struct {
	re   *regexp.Regexp
	list string
}

// maxFile bounds a list, in bytes.
const maxFile = 64 << 20

// Load reads lists: files, or folders in which every file called *.json is one.
func Load(paths []string) (*Set, error) {
	s := &Set{prefixes: new(bart.Table[string]), names: map[string]string{}, texts: map[string]string{}}
	var errs []error
	for _, path := range paths {
		read := 0
		err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || name != path && filepath.Ext(name) != ".json" {
				return err
			}
			read++
			return s.read(name)
		})
		if err == nil && read == 0 {
			err = fmt.Errorf("%s holds no *.json", path)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("warninglist: %w", err))
		}
	}
	return s, errors.Join(errs...)
}

func (s *Set) read(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxFile {
		return fmt.Errorf("%s: longer than %d MB", path, maxFile>>20)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var list struct {
		Name string   `json:"name"`
		Type string   `json:"type"`
		List []string `json:"list"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if list.Name == "" {
		return fmt.Errorf("%s: no name: not a warninglist", path)
	}
	for i, v := range list.List {
		switch list.Type {
		case "cidr":
			p, err := netip.ParsePrefix(v)
			if err != nil {
				a, err2 := netip.ParseAddr(v)
				if err2 != nil {
					return fmt.Errorf("%s: entry %d: %q is no prefix", path, i+1, v)
				}
				p = netip.PrefixFrom(a, a.BitLen())
			}
			s.prefixes.Insert(p.Masked(), list.Name)
		case "hostname":
			s.names[strings.Trim(strings.ToLower(v), ".")] = list.Name
		case "string":
			if a, err := netip.ParseAddr(v); err == nil {
				s.prefixes.Insert(netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), list.Name)
				continue
			}
			s.texts[strings.Trim(strings.ToLower(v), ".")] = list.Name
		case "substring":
			s.patterns = append(s.patterns, pattern{regexp.MustCompile("(?i)" + regexp.QuoteMeta(v)), list.Name})
		case "regex":
			re, err := regexp.Compile(strings.TrimSuffix(strings.TrimPrefix(v, "/"), "/"))
			if err != nil {
				return fmt.Errorf("%s: entry %d: %w", path, i+1, err)
			}
			s.patterns = append(s.patterns, pattern{re, list.Name})
		default:
			return fmt.Errorf("%s: type %q: want cidr, hostname, string, substring or regex", path, list.Type)
		}
	}
	return nil
}

// Reason says why an indicator is not to be used, for Builder.Refuse; empty if
// nothing speaks against it.
func (s *Set) Reason(kind intel.Kind, prefix netip.Prefix, text string) string {
	list, ok := "", false
	switch kind {
	case intel.Address:
		list, ok = s.prefixes.LookupPrefix(prefix)
	case intel.Name:
		if list, ok = s.texts[text]; ok {
			break
		}
		for name := text; !ok && name != ""; {
			list, ok = s.names[name]
			_, name, _ = strings.Cut(name, ".")
		}
		for i := 0; !ok && i < len(s.patterns); i++ {
			if s.patterns[i].re.MatchString(text) {
				list, ok = s.patterns[i].list, true
			}
		}
	}
	if !ok {
		return ""
	}
	return "it is on the warninglist " + list
}
