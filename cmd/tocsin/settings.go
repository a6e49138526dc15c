package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/tocsin/tocsin/event"
)

// settle fills in the flags that the command line does not give, from the
// environment and the configuration file.
func settle(cmd *cobra.Command) error {
	file := map[string][]string{}
	if path, given := lookup(cmd, "config"); given {
		var err error
		if file, err = readSettings(path, cmd.Root()); err != nil {
			return usageError{err}
		}
	}
	var first error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" || f.Name == "version" || f.Name == "config" || first != nil {
			return
		}
		values, from := file[f.Name], "configuration file"
		if v := os.Getenv(envName(f.Name)); v != "" {
			values, from = []string{v}, envName(f.Name)
		}
		for _, v := range values {
			if err := cmd.Flags().Set(f.Name, v); err != nil {
				first = usagef("%s: %s: %v", from, f.Name, err)
			}
		}
	})
	return first
}

func envName(flag string) string {
	return "TOCSIN_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// lookup returns a flag's value from the command line or the environment.
func lookup(cmd *cobra.Command, name string) (string, bool) {
	if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
		return f.Value.String(), true
	}
	v := os.Getenv(envName(name))
	return v, v != ""
}

// readSettings reads the configuration file: one mapping from flag names to
// values or lists of them. A key that no command has is an error.
func readSettings(path string, root *cobra.Command) (map[string][]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	known := map[string]bool{}
	eachCommand(root, func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
	})
	settings := map[string][]string{}
	if doc.Kind == 0 { // an empty file
		return settings, nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: want one mapping from names of settings to values, such as listen: 127.0.0.1:8080", path, top.Line)
	}
	for i := 0; i < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		if !known[key.Value] {
			hint := "; docs/CONFIGURATION.md lists them"
			if n := event.Nearest(key.Value, slices.Sorted(maps.Keys(known))); n != "" {
				hint = "; did you mean " + n + "?"
			}
			return nil, fmt.Errorf("%s:%d: %q is no setting%s", path, key.Line, key.Value, hint)
		}
		list := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			list = value.Content
		}
		for _, v := range list {
			if v.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("%s:%d: %s: want a value or a list of values", path, v.Line, key.Value)
			}
			settings[key.Value] = append(settings[key.Value], v.Value)
		}
	}
	return settings, nil
}

func eachCommand(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		eachCommand(sub, f)
	}
}
