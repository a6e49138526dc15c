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
	switch e.Kind {
	case "s7comm":
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
	case "bacnet":
		pdu := e.Get("bacnet.pdu").Str()
		function, _ := number("ics.function.code")
		if pdu == "unconfirmed" {
			add("bacapp.unconfirmed_service", fmt.Sprint(function))
		}
	case "enip":
		command, ok := number("enip.command.code")
		if !ok {
			return // statistics
		}
		_, both := number("ics.latency")
		_, answered := number("ics.status.code")
		_, inside := number("cip.index")
		_, refused := number("enip.status")
		service, _ := number("ics.function.code")
		if both || !answered {
			if !inside {
				add("enip.command", fmt.Sprintf("0x%04x", command))
			}
			if routed, _ := e.Get("cip.routed").Bool(); routed && !inside {
				add("cip.service", "0x52")
			}
			if e.Get("ics.protocol").Str() == "cip" {
				add("cip.service", fmt.Sprintf("0x%02x", service))
			}
		}
		if answered {
			if !inside {
				add("enip.command", fmt.Sprintf("0x%04x", command))
			}
			if e.Get("ics.protocol").Str() == "cip" && !refused {
				add("cip.service", fmt.Sprintf("0x%02x", service|0x80))
			}
		}
	}
}

// industrialFields are those that are compared with tshark's.
var industrialFields = []string{"s7comm.header.rosctr", "s7comm.param.func", "enip.command", "cip.service", "bacapp.unconfirmed_service"}
