package corpus

import (
	"fmt"

	"github.com/tocsin/tocsin/event"
)

// industrial counts what tshark counts, by its names of fields.
func (s *seen) industrial(e *event.Event) {
	number := func(name string) (n int64, ok bool) { return e.Get(name).Int() }
	add := func(field, value string) {
		if s.fields[field] == nil {
			s.fields[field] = counts{}
		}
		s.fields[field][value]++
	}
	if e.Kind == "s7comm" {
		asked, ok := number("s7comm.rosctr.code")
		if !ok {
			return
		}
		said, answered := number("s7comm.answer.code")
		for _, kind := range []int64{asked, said} {
			if kind == 0 && !answered {
				continue
			}
			add("s7comm.header.rosctr", fmt.Sprint(kind))
			// Acknowledgements without data and user data have no function.
			if f, ok := number("ics.function.code"); ok && (kind == 1 || kind == 3) {
				add("s7comm.param.func", fmt.Sprintf("0x%02x", f))
			}
		}
	}
}

// industrialFields are those that are compared with tshark's.
var industrialFields = []string{"s7comm.header.rosctr", "s7comm.param.func"}
