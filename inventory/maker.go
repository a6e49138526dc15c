package inventory

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
)

// Makers are the makers of network interfaces by the first three bytes of their
// addresses.
type Makers map[string]string

// LoadMakers reads the registry of the IEEE as it is published (oui.txt): lines
// such as "00-00-0C   (hex)  Cisco Systems, Inc".
func LoadMakers(path string) (Makers, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("registry of network interfaces: %w", err)
	}
	defer f.Close()
	m, err := readMakers(f)
	if err == nil && len(m) == 0 {
		err = fmt.Errorf("no line names a prefix: want the IEEE's oui.txt")
	}
	if err != nil {
		return nil, fmt.Errorf("registry of network interfaces %s: %w", path, err)
	}
	return m, nil
}

func readMakers(r io.Reader) (Makers, error) {
	m := Makers{}
	s := bufio.NewScanner(r)
	for s.Scan() {
		prefix, name, ok := strings.Cut(s.Text(), "(hex)")
		if prefix = strings.TrimSpace(prefix); ok && len(prefix) == 8 {
			m[strings.ToUpper(prefix)] = strings.TrimSpace(name)
		}
	}
	return m, s.Err()
}

// Of is the maker of an interface by its address, hexadecimal with dashes. One
// that somebody gave himself (locally administered) has none.
func (m Makers) Of(mac string) string {
	if len(mac) < 8 {
		return ""
	}
	return m[mac[:8]]
}
