package main

import (
	"strconv"

	"github.com/tocsin/tocsin/event"
)

// eachValue makes a word of each value of each field.
func eachValue(values map[string][]string, word func(string)) {
	for field, vs := range values {
		for _, v := range vs {
			word(field + " " + figure(v))
		}
	}
}

var s7commRecording = recording{
	file:   "s7comm/testdata/s7comm.pcap",
	filter: "s7comm",
	fields: []string{"s7comm.header.rosctr", "s7comm.param.func", "s7comm.param.item.db"},
	theirs: eachValue,
	ours: func(e *event.Event, word func(string)) {
		if e.Kind != "s7comm" {
			return
		}
		for _, field := range []string{"s7comm.rosctr.code", "s7comm.answer.code"} {
			kind := e.Get(field)
			if kind.IsZero() {
				continue
			}
			word("s7comm.header.rosctr " + kind.String())
			if k, _ := kind.Int(); k == 1 || k == 3 { // others have no function
				word("s7comm.param.func " + e.Get("ics.function.code").String())
			}
		}
		for _, o := range e.Get("ics.objects").List() {
			x := event.Event{Fields: o.Object()}
			if at, _ := x.Get("address").Int(); e.Get("ics.operation").Str() == "write" && at%2 == 1 {
				continue // the second byte of an item
			}
			db, _ := x.Get("db").Int()
			word("s7comm.param.item.db " + strconv.FormatInt(db, 10))
		}
	},
}

var enipRecording = recording{
	file:   "enip/testdata/enip.pcap",
	filter: "enip",
	fields: []string{"enip.command", "cip.service"},
	theirs: eachValue,
	ours: func(e *event.Event, word func(string)) {
		if e.Kind != "enip" {
			return
		}
		command := "enip.command " + e.Get("enip.command.code").String()
		service, _ := e.Get("ics.function.code").Int()
		cip, inside := e.Get("ics.protocol").Str() == "cip", !e.Get("cip.index").IsZero()
		if !inside {
			word(command)
			if routed, _ := e.Get("cip.routed").Bool(); routed {
				word("cip.service 82")
			}
		}
		if cip {
			word("cip.service " + strconv.FormatInt(service, 10))
		}
		if e.Get("ics.status.code").IsZero() {
			return
		}
		if !inside {
			word(command)
		}
		if cip && e.Get("enip.status").IsZero() {
			word("cip.service " + strconv.FormatInt(service|0x80, 10))
		}
	},
}

var bacnetRecording = recording{
	file:   "bacnet/testdata/bacnet.pcap",
	filter: "bacapp",
	fields: []string{"bacapp.type", "bacapp.unconfirmed_service", "bacapp.invoke_id"},
	theirs: eachValue,
	ours: func(e *event.Event, word func(string)) {
		if e.Kind != "bacnet" {
			return
		}
		if e.Get("bacnet.pdu").Str() == "unconfirmed" {
			word("bacapp.type 1")
			word("bacapp.unconfirmed_service " + e.Get("ics.function.code").String())
			return
		}
		word("bacapp.type 0")
		word("bacapp.invoke_id " + e.Get("bacnet.invoke_id").String())
		word("bacapp.invoke_id " + e.Get("bacnet.invoke_id").String())
		switch {
		case e.Get("event.outcome").Str() == "success" && e.Get("ics.operation").Str() == "write":
			word("bacapp.type 2") // an acknowledgement without content
		case e.Get("event.outcome").Str() == "success":
			word("bacapp.type 3")
		case e.Get("ics.status.name").Str() == "unrecognized_service":
			word("bacapp.type 6")
		default:
			word("bacapp.type 5")
		}
	},
}
