//go:build !linux

package main

// identity would be another user to go on as, which is done on Linux only.
type identity struct{}

func successor(name, _ string) (*identity, error) {
	if name != "" {
		return nil, usagef("--user %s: becoming another user is for Linux", name)
	}
	return nil, nil
}

func (*identity) renounce() error         { return nil }
func (*identity) own(string) error        { return nil }
func (*identity) become() error           { return nil }
func (*identity) explain(err error) error { return err }
