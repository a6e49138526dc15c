package corpus

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tocsin/tocsin/event"
)

// transaction is a Modbus transaction as ICSNPP's modbus_detailed.log has it.
// Empty parts were not logged, and are not compared.
type transaction struct {
	function, address, quantity, values, exception string
}

// transactionOf writes an event in the words of that log.
func transactionOf(e *event.Event) (key string, x transaction) {
	text := func(name string) string { return e.Get(name).String() }
	key = text("modbus.transaction_id") + " " + text("ics.unit")
	x = transaction{
		function: text("ics.function.code"), address: text("modbus.address"), quantity: text("modbus.quantity"),
		exception: strings.ToUpper(text("modbus.exception.name")),
	}
	var values []string
	for _, o := range e.Get("ics.objects").List() {
		for _, f := range o.Object() {
			switch {
			case f.Name != "value":
			case f.Value.Type() == event.TypeList:
				for _, v := range f.Value.List() {
					values = append(values, v.String())
				}
			default:
				values = append(values, f.Value.String())
			}
		}
	}
	x.values = strings.Join(values, ",")
	return key, x
}

// compareModbusRows compares the rows of a modbus_detailed.log one by one.
func compareModbusRows(r *report, oracle string, c *testCase, s *seen, corpus string) {
	text, err := os.ReadFile(filepath.Join(corpus, c.OraclePath, "modbus_detailed.log"))
	if err != nil {
		r.compare(oracle, c.ID, "case", err, nil, "modbus_detailed.log")
		return
	}
	var names []string
	for line := range strings.SplitSeq(string(text), "\n") {
		cols := strings.Split(line, "\t")
		if cols[0] == "#fields" {
			names = cols[1:]
		}
		if line == "" || line[0] == '#' {
			continue
		}
		get := func(name string) string {
			for i, n := range names {
				if n == name && cols[i] != "-" {
					return cols[i]
				}
			}
			return ""
		}
		key := get("tid") + " " + get("unit")
		want := transaction{
			function: zeekFunctions[get("func")], address: get("address"), quantity: get("quantity"),
			values: get("response_values"), exception: get("exception_code"),
		}
		if v := get("request_values"); v != "" {
			want.values = v
		}
		switch want.function {
		case "20", "21", "24": // it logs zeros where there is no such thing
			want.address, want.quantity = "", ""
		}
		have, ok := s.modbus[key]
		if !ok {
			r.compare(oracle, c.ID, "modbus.row", "none", want, key)
			continue
		}
		for _, part := range [][2]*string{{&have.address, &want.address}, {&have.quantity, &want.quantity}, {&have.values, &want.values}, {&have.exception, &want.exception}} {
			if *part[1] == "" {
				*part[0] = ""
			}
		}
		r.compare(oracle, c.ID, "modbus.row", fmt.Sprintf("%+v", have), fmt.Sprintf("%+v", want), key)
	}
}
