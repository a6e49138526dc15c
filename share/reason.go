package share

import (
	"net/netip"
	"regexp"
	"strings"

	"github.com/tocsin/tocsin/trace"
)

// measure is a number with or without a unit, or a duration.
var measure = regexp.MustCompile(`^[0-9]{1,18}([.,][0-9]{1,9})?( ?(%|B|kB|MB|GB|TB))?$|^([0-9]{1,9}(\.[0-9]{1,9})?(ns|µs|ms|s|m|h|d))+$`)

// reason tells an argument again with the values that the recipient may have.
// One that is not in the catalogue cannot be told: nobody knows what is in it.
func (r *release) reason(x *trace.Reason, protocol string) (seen trace.Reason, ok bool) {
	if !trace.Known(x.Key) {
		return seen, false
	}
	values := map[string]string{}
	for name, v := range x.Values {
		values[name] = r.value(name, v, protocol)
	}
	seen.Message = trace.Message{Key: x.Key, Values: values}
	seen.Text = seen.In("en")
	seen.Weight = x.Weight
	return seen, true
}

// withheld stands for a value that the recipient may not have.
const withheld = "…"

func (r *release) value(blank, v, protocol string) string {
	if measure.MatchString(v) {
		return v
	}
	if a, err := netip.ParseAddr(v); err == nil {
		if seen, ok := r.address(a); ok {
			return seen.String()
		}
		return withheld
	}
	switch blank {
	case "rule": // the title of a rule; hops of rules that are marked are not told
		return strings.Join(strings.Fields(v), " ")
	case "service":
		if protocol != "" && strings.EqualFold(v, protocol) {
			return v
		}
	}
	return withheld
}
