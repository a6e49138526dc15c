package all

import (
	"fmt"
	"testing"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/template"
)

// The protocols' fields go together: a shared name means the same everywhere.
func TestFields(t *testing.T) {
	lists := [][]event.FieldDoc{Fields()}
	for _, p := range append(Protocols(), template.Protocol) {
		lists = append(lists, p.Fields)
	}
	if _, err := event.NewSchema(lists...); err != nil {
		t.Error(err)
	}
}

func TestProtocols(t *testing.T) {
	type port struct {
		transport proto.Transport
		number    uint16
	}
	owner := map[port]event.Kind{}
	seen := map[string]bool{}
	for _, p := range Protocols() {
		id := fmt.Sprint(p.Name, p.Transport)
		if seen[id] {
			t.Errorf("%s is listed twice", p.Name)
		}
		seen[id] = true
		if p.Transport&(proto.TCP|proto.UDP) == 0 || p.Probe == nil || p.New == nil || len(p.Fields) == 0 {
			t.Errorf("%s is not whole: %+v", p.Name, p)
		}
		for _, n := range p.Ports {
			if other, taken := owner[port{p.Transport, n}]; taken {
				t.Errorf("port %d is of %s and of %s", n, other, p.Name)
			}
			owner[port{p.Transport, n}] = p.Name
		}
	}
}
