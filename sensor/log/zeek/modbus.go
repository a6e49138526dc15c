package zeek

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/log"
)

// A function is one of Modbus by Zeek's name, with the table it is about.
type function struct {
	code   uint64
	object string
	single bool // writes one object and says no quantity
}

var functions = map[string]function{
	"READ_COILS": {1, "coil", false}, "READ_DISCRETE_INPUTS": {2, "discrete_input", false},
	"READ_HOLDING_REGISTERS": {3, "holding_register", false}, "READ_INPUT_REGISTERS": {4, "input_register", false},
	"WRITE_SINGLE_COIL": {5, "coil", true}, "WRITE_SINGLE_REGISTER": {6, "holding_register", true},
	"READ_EXCEPTION_STATUS": {7, "", false}, "DIAGNOSTICS": {8, "", false}, "GET_COMM_EVENT_COUNTER": {11, "", false},
	"GET_COMM_EVENT_LOG": {12, "", false}, "WRITE_MULTIPLE_COILS": {15, "coil", false},
	"WRITE_MULTIPLE_REGISTERS": {16, "holding_register", false}, "REPORT_SLAVE_ID": {17, "", false},
	"READ_FILE_RECORD": {20, "", false}, "WRITE_FILE_RECORD": {21, "", false}, "MASK_WRITE_REGISTER": {22, "holding_register", false},
	"READ_WRITE_MULTIPLE_REGISTERS": {23, "holding_register", false}, "READ_FIFO_QUEUE": {24, "fifo", false},
	"ENCAP_INTERFACE_TRANSPORT": {43, "", false}, "PROGRAM_UNITY": {90, "", false},
}

// modbus makes an event of a request, or of an exception, which tells of its
// request as well; the answer in a line of its own is none.
func modbus(rec log.Record, e *event.Event) bool {
	exception := rec.Str("exception")
	if exception == "" {
		exception = rec.Str("exception_code")
	}
	if rec.Str("pdu_type") == "RESP" && exception == "" {
		return false
	}
	name := strings.TrimSuffix(rec.Str("func"), "_EXCEPTION")
	industrial(e, "modbus", name, "")
	if name == "REPORT_SLAVE_ID" {
		e.Set("ics.function.name", event.Str("report_server_id"))
		e.Set("ics.operation", event.Str("discover"))
	}
	f, known := functions[name]
	if known {
		e.Set("ics.function.code", event.Uint(f.code))
	}
	outcome := "success"
	if exception != "" {
		outcome = "failure"
		e.Set("ics.status.name", log.Text(strings.ToLower(exception)))
		e.Set("modbus.exception.name", log.Text(strings.ToLower(exception)))
	} else if rec.Str("pdu_type") == "REQ" || rec.Str("matched") == "F" {
		outcome = "unknown"
	}
	e.Set("event.outcome", event.Str(outcome))
	objects(rec, e, f)
	return true
}

// objects lists what the line says was read or written.
func objects(rec log.Record, e *event.Event, f function) {
	first, err := strconv.ParseInt(rec.Str("address"), 10, 32)
	if err != nil || f.object == "" {
		return
	}
	values := rec["request_values"]
	if len(values) == 0 {
		values = rec["response_values"]
	}
	n := min(int64(rec.Num("quantity")), 64)
	if f.single || n == 0 {
		n = 1
	}
	var list []event.Value
	for i := range n {
		o := []event.Field{{Name: "address", Value: event.Int(first + i)}, {Name: "type", Value: event.Str(f.object)}}
		if i < int64(len(values)) {
			text := values[i]
			if slices.Contains([]string{"T", "F"}, text) {
				text = map[string]string{"T": "1", "F": "0"}[text]
			}
			if v, err := strconv.ParseInt(text, 10, 64); err == nil {
				if f.single && f.object == "coil" && v == 0xff00 {
					v = 1
				}
				o = append(o, event.Field{Name: "value", Value: event.Int(v)})
			}
		}
		list = append(list, event.Object(o...))
	}
	e.Set("ics.objects", event.List(list...))
}
