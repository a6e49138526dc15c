package corpus

import (
	"fmt"
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
	case "hart-ip":
		ids := map[string]string{"session_initiate": "0", "session_close": "1", "keep_alive": "2", "token_passing_pdu": "3", "direct_pdu": "4", "read_audit_log": "5"}
		add("hart_ip.message_id", ids[text("hart.message")], number("hart.messages"))
	case "synchrophasor":
		function := text("ics.function.name")
		kinds := map[string]string{"data": "0", "header": "1", "configuration_1": "2", "configuration_2": "3", "configuration_3": "5"}
		if kind, ok := kinds[function]; ok {
			add("synphasor.frtype", "0x000"+kind, max(number("synchrophasor.frames"), 1))
		}
		if code := text("ics.function.code"); code != "" {
			add("synphasor.frtype", "0x0004", 1)
			add("synphasor.command", fmt.Sprintf("0x%04x", number("ics.function.code")), 1)
			if text("ics.status.code") != "" { // the answer has no event of its own
				add("synphasor.frtype", map[int]string{3: "0x0001", 4: "0x0002", 5: "0x0003", 6: "0x0005"}[number("ics.function.code")], 1)
			}
		}
	}
}

// telecontrolFields are the fields that are compared with tshark's counts.
var telecontrolFields = []string{"iec60870_104.type", "iec60870_asdu.typeid", "iec60870_asdu.addr", "dnp3.al.func", "synphasor.frtype", "synphasor.command", "hart_ip.message_id"}
