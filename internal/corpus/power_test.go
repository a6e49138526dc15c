package corpus

import (
	"strconv"

	"github.com/tocsin/tocsin/event"
)

// telecontrol takes note of an event of a protocol that power grids speak, by
// tshark's names of fields: its records are of messages, ours of transactions.
func (s *seen) telecontrol(e *event.Event) {
	number := func(name string) int {
		n, _ := e.Get(name).Int()
		return int(n)
	}
	text := func(name string) string { return e.Get(name).String() }
	add := func(field, value string, n int) {
		if value == "" || n == 0 {
			return
		}
		if s.fields[field] == nil {
			s.fields[field] = counts{}
		}
		s.fields[field][value] += n
	}
	switch e.Kind {
	case "iec104":
		if text("ics.function.code") == "" {
			add("iec60870_104.type", "0x00000000", number("iec104.frames.information"))
			add("iec60870_104.type", "0x00000001", number("iec104.frames.supervisory"))
			add("iec60870_104.type", "0x00000003", number("iec104.frames.unnumbered"))
			return
		}
		add("iec60870_asdu.typeid", text("ics.function.code"), number("iec104.messages"))
		add("iec60870_asdu.addr", text("ics.unit"), number("iec104.messages"))
		if answer := text("iec104.answer.code"); answer != "" {
			add("iec60870_asdu.typeid", answer, 1)
			add("iec60870_asdu.addr", text("ics.unit"), 1)
		}
	case "dnp3":
		code := number("ics.function.code")
		switch {
		case text("ics.function.code") == "":
			return
		case code >= 129:
			add("dnp3.al.func", strconv.Itoa(code), max(number("dnp3.fragments"), 1))
		default:
			add("dnp3.al.func", strconv.Itoa(code), 1)
			add("dnp3.al.func", text("dnp3.response.code"), number("dnp3.fragments"))
		}
		add("dnp3.al.func", "0", number("dnp3.confirms"))
	}
}

// telecontrolFields are the fields that are compared with tshark's counts.
var telecontrolFields = []string{"iec60870_104.type", "iec60870_asdu.typeid", "iec60870_asdu.addr", "dnp3.al.func"}
