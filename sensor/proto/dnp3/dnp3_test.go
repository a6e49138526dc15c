package dnp3

import (
	"testing"

	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

// streams are a conversation of a real outstation with its master, and written
// ones: of what that outstation does not have, and of what none should do.
func streams(t testing.TB) []prototest.Case {
	load := func(name string) prototest.Case {
		return prototest.Case{Name: name, Pieces: prototest.Load(t, "testdata/"+name+".txt"), Recovers: true}
	}
	plant := load("plant")
	plant.Allocs = 0.5
	return []prototest.Case{plant, load("objects"), load("odd"), load("secure")}
}

func datagrams(t testing.TB) prototest.Case {
	return prototest.Case{Name: "datagrams", Pieces: prototest.Load(t, "testdata/datagrams.txt"), Recovers: true}
}

func TestStream(t *testing.T) { prototest.Test(t, Stream, streams(t)...) }

func TestDatagrams(t *testing.T) { prototest.Test(t, Protocol, datagrams(t)) }

func FuzzStream(f *testing.F) { prototest.Fuzz(f, Stream, streams(f)...) }

func FuzzDatagrams(f *testing.F) { prototest.Fuzz(f, Protocol, append(streams(f), datagrams(f))...) }

// What testdata/range/protocols/dnp3 does: output 3 is not to be commanded, the
// outstation of the UDP flow reports to nobody until a master comes, and the
// read of everything over UDP is not answered.
func TestRecording(t *testing.T) {
	prototest.Recording(t, "testdata/dnp3.pcap", []string{"ics.operation", "ics.function.name", "ics.unit", "event.outcome", "dnp3.confirms", "user.name", "ics.status.name", "ics.objects", "dnp3.files", "tocsin.protocol.anomaly"}, `
session disable_unsolicited 10 success - - ok - - -
report unsolicited_response 10 - 1 - - - - -
write write 10 success - - ok - - -
read read 10 success 1 - ok [{"address":0,"count":2,"type":"binary_input","value":[1,0]},{"address":0,"count":2,"type":"analog_input","value":[110,-412]},{"address":0,"type":"counter","value":7},{"address":0,"type":"double_bit_input","value":2},{"address":0,"type":"binary_output","value":1},{"address":0,"type":"analog_output","value":230},{"address":0,"count":2,"type":"binary_input","value":[1,0]},{"address":2,"count":2,"type":"binary_input","value":[0,0],"quality":["offline","restart"]},{"address":0,"type":"double_bit_input","value":2},{"address":1,"count":3,"type":"double_bit_input","value":[0,0,0],"quality":["offline","restart"]},{"address":0,"count":2,"type":"analog_input","value":[110,-412]},{"address":2,"count":2,"type":"analog_input","value":[0,0],"quality":["offline","restart"]},{"address":0,"type":"counter","value":7},{"address":1,"count":3,"type":"counter","value":[0,0,0],"quality":["offline","restart"]},{"address":0,"count":4,"type":"frozen_counter","value":[0,0,0,0],"quality":["offline","restart"]},{"address":0,"type":"binary_output","value":1},{"address":1,"count":3,"type":"binary_output","value":[0,0,0],"quality":["offline","restart"]},{"address":0,"type":"analog_output","value":230},{"address":1,"count":3,"type":"analog_output","value":[0,0,0],"quality":["offline","restart"]}] - -
session enable_unsolicited 10 success - - ok - - -
report unsolicited_response 11 - - - - - - ["no_confirmation"]
report unsolicited_response 10 - 1 - - [{"address":0,"type":"binary_input","value":0},{"address":0,"type":"analog_input","value":109,"quality":["overflow"]},{"address":0,"type":"counter","value":8}] - -
report unsolicited_response 11 - - - - - - ["no_confirmation"]
read read 10 success - - ok [{"address":0,"count":2,"type":"binary_input","value":[0,0]},{"address":2,"count":2,"type":"binary_input","value":[0,0],"quality":["offline","restart"]},{"address":0,"type":"double_bit_input","value":2},{"address":1,"count":3,"type":"double_bit_input","value":[0,0,0],"quality":["offline","restart"]},{"address":0,"type":"analog_input","value":109,"quality":["overflow"]},{"address":1,"type":"analog_input","value":-412},{"address":2,"count":2,"type":"analog_input","value":[0,0],"quality":["offline","restart"]},{"address":0,"type":"counter","value":8},{"address":1,"count":3,"type":"counter","value":[0,0,0],"quality":["offline","restart"]},{"address":0,"count":4,"type":"frozen_counter","value":[0,0,0,0],"quality":["offline","restart"]},{"address":0,"type":"binary_output","value":1},{"address":1,"count":3,"type":"binary_output","value":[0,0,0],"quality":["offline","restart"]},{"address":0,"type":"analog_output","value":230},{"address":1,"count":3,"type":"analog_output","value":[0,0,0],"quality":["offline","restart"]}] - -
read read 10 success - - ok [{"address":0,"type":"analog_input","value":109,"quality":["overflow"]},{"address":1,"type":"analog_input","value":-412},{"address":2,"type":"analog_input","value":0,"quality":["offline","restart"]}] - -
control select 10 success - - ok [{"address":0,"type":"binary_output_command","value":1,"old_value":1}] - -
control operate 10 success - - ok [{"address":0,"type":"binary_output_command","value":1,"old_value":1}] - -
control direct_operate 10 success - - ok [{"address":0,"type":"binary_output_command","value":0,"old_value":1}] - -
control direct_operate 10 success - - ok [{"address":2,"type":"binary_output_command","value":0,"old_value":0}] - -
control select 10 failure - - not_authorized [{"address":3,"type":"binary_output_command","value":1,"old_value":0}] - -
control direct_operate 10 success - - ok [{"address":0,"type":"analog_output_command","value":231.5,"old_value":230}] - -
control select 10 success - - ok [{"address":1,"type":"analog_output_command","value":-120,"old_value":0}] - -
control operate 10 success - - ok [{"address":1,"type":"analog_output_command","value":-120,"old_value":0}] - -
control freeze_and_clear 10 success - - ok - - -
write write 10 failure - - function_not_supported [{"address":0,"type":"analog_input_deadband","value":1000}] - -
write assign_class 10 success - - ok - - -
mode stop_application 10 failure - - function_not_supported - - -
report unsolicited_response 11 - - - - - - ["no_confirmation"]
control initialize_data 10 failure - - function_not_supported - - -
auth authenticate_file 10 success - - ok - - -
discover get_file_information 10 success - - ok - [{"name":"log.txt"},{"name":"log.txt","type":"file","size":11}] -
upload open_file 10 success - - ok - [{"name":"log.txt","mode":"read"},{"handle":7,"size":11,"status":0,"status_name":"success"}] -
upload read 10 success - - ok - [{"handle":7,"block":0,"length":0},{"handle":7,"block":0,"length":11,"last":true}] -
session close_file 10 success - - ok - [{"handle":7},{"handle":7,"size":0,"status":0,"status_name":"success"}] -
write open_file 10 success - - ok - [{"name":"settings.xml","mode":"write","size":18},{"handle":7,"size":11,"status":0,"status_name":"success"}] -
write write 10 success - - ok - [{"handle":7,"block":0,"length":18,"last":true},{"handle":7,"block":0,"status":0,"status_name":"success"}] -
session close_file 10 success - - ok - [{"handle":7},{"handle":7,"size":0,"status":0,"status_name":"success"}] -
write delete_file 10 success - - ok - [{"name":"log.txt"},{"handle":0,"size":0,"status":0,"status_name":"success"}] -
control warm_restart 10 success - - ok - - -
control cold_restart 10 success - - ok - - -
session disable_unsolicited 10 success - - ok - - -
session disable_unsolicited 11 success - - ok - - ["reversed_roles"]
write write 11 success - - ok - - ["reversed_roles"]
read read 11 unknown - - - - - ["no_response","reversed_roles"]
control select 11 success - - ok [{"address":1,"type":"binary_output_command","value":1}] - ["reversed_roles"]
control operate 11 success - - ok [{"address":1,"type":"binary_output_command","value":1}] - ["reversed_roles"]
report unsolicited_response 11 - - - - - - ["no_confirmation","reversed_roles"]
report unsolicited_response 11 - - - - - - ["no_confirmation","reversed_roles"]
report unsolicited_response 11 - - - - - - ["no_confirmation","reversed_roles"]
session link - - - - - - - ["reversed_roles"]
session link - - - - - - - -
`, Stream, Protocol)
}

// The example of a CRC in IEEE 1815 is that of a link reset.
func TestCRC(t *testing.T) {
	if c := crc([]byte{0x05, 0x64, 0x05, 0xc0, 0x01, 0x00, 0x00, 0x04}); c != 0x21e9 {
		t.Errorf("CRC %#04x, want 0x21e9", c)
	}
}

// Four billion objects of no size are none.
func TestManyNothings(t *testing.T) {
	for _, code := range []uint8{selectOutputs, write, response} {
		for _, group := range []uint8{60, 110} {
			h, _, _, ok := nextHeader([]byte{group, 0, 9, 0xff, 0xff, 0xff, 0xff}, code)
			w := h.items()
			if x, more := w.next(); !ok || more {
				t.Errorf("function %d, group %d: %v %v", code, group, ok, x)
			}
		}
	}
}
