package bacnet

import (
	"strings"
	"testing"

	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

func cases(t testing.TB) []prototest.Case {
	load := func(name string) prototest.Case {
		return prototest.Case{Name: name, Pieces: prototest.Load(t, "testdata/"+name+".txt"), Recovers: true}
	}
	polling := load("polling")
	polling.Allocs = 0.2
	return []prototest.Case{polling, load("odd")}
}

func TestProtocol(t *testing.T) { prototest.Test(t, Protocol, cases(t)...) }

func FuzzParser(f *testing.F) { prototest.Fuzz(f, Protocol, cases(f)...) }

// What testdata/range/protocols/bacnet/centre.py has done.
const truth = `
discover who_is - - - - - -
discover i_am - - - 123 - -
read read_property success ok - - [{"type":"device","address":123,"property":"object_list","name":"device,123.object_list","count":4,"text":"device,123"}] -
read read_property success ok - - [{"type":"analog_value","address":1,"property":"present_value","name":"analog_value,1.present_value","value":21.0}] -
read read_property_multiple success ok - - [{"type":"analog_value","address":1,"property":"object_name","name":"analog_value,1.object_name","text":"Supply air"},{"type":"analog_value","address":1,"property":"present_value","name":"analog_value,1.present_value","value":21.0},{"type":"analog_value","address":1,"property":"units","name":"analog_value,1.units","status":"unknown_property"},{"type":"binary_value","address":2,"property":"present_value","name":"binary_value,2.present_value","value":0}] -
write write_property success ok - - [{"type":"analog_value","address":1,"property":"present_value","name":"analog_value,1.present_value","value":24.5,"priority":8,"old_value":21.0}] -
read read_property success ok - - [{"type":"analog_value","address":1,"property":"present_value","name":"analog_value,1.present_value","value":24.5}] -
read read_property failure unknown_object - - [{"type":"analog_value","address":99,"property":"present_value","name":"analog_value,99.present_value"}] -
control device_communication_control failure unrecognized_service disable_initiation - - -
control reinitialize_device failure unrecognized_service coldstart - - -
time time_synchronization - - - - - -
`

func TestRecording(t *testing.T) {
	events := prototest.Recording(t, "testdata/bacnet.pcap",
		[]string{"ics.operation", "ics.function.name", "event.outcome", "ics.status.name", "bacnet.state", "bacnet.device.instance", "ics.objects", "tocsin.protocol.anomaly"},
		truth, Protocol)
	for i := range events {
		if text := string(events[i].AppendJSON(nil)); strings.Contains(text, "geheim") || strings.Contains(text, "67656865696d") {
			t.Errorf("the password is in %s", text)
		}
	}
}
