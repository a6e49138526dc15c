package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
	doc, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, false))
	}
	known := map[string]bool{}
	eachCommand(root, func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
	})
	settings := map[string][]string{}
	for _, d := range doc.Docs {
		var pairs []*ast.MappingValueNode
		switch body := d.Body.(type) {
		case nil:
			continue
		case *ast.MappingNode:
			pairs = body.Values
		case *ast.MappingValueNode:
			pairs = []*ast.MappingValueNode{body}
		default:
			return nil, fmt.Errorf("%s:%d: want names and values", path, d.Body.GetToken().Position.Line)
		}
		for _, p := range pairs {
			key, line := p.Key.String(), p.Key.GetToken().Position.Line
			if !known[key] {
				return nil, fmt.Errorf("%s:%d: %q is no setting", path, line, key)
			}
			var one any
			if err := yaml.NodeToValue(p.Value, &one); err != nil {
				return nil, fmt.Errorf("%s:%d: %s: %v", path, line, key, err)
			}
			list, ok := one.([]any)
			if !ok {
				list = []any{one}
			}
			for _, v := range list {
				switch v.(type) {
				case map[string]any, []any, nil:
					return nil, fmt.Errorf("%s:%d: %s: want a value or a list of values", path, line, key)
				}
				settings[key] = append(settings[key], fmt.Sprint(v))
			}
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
