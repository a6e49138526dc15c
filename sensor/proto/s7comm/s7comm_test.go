package s7comm

import (
	"strings"
	"testing"

	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

// cases are conversations of real implementations, and written ones: of what
// those do not do, and of what none should.
func cases(t testing.TB) []prototest.Case {
	load := func(name string) prototest.Case {
		return prototest.Case{Name: name, Pieces: prototest.Load(t, "testdata/"+name+".txt"), Recovers: true}
	}
	polling := load("polling")
	polling.Allocs = 0.2
	return []prototest.Case{load("snap7"), polling, load("odd"), load("plus")}
}

func TestProtocol(t *testing.T) { prototest.Test(t, Protocol, cases(t)...) }

func FuzzParser(f *testing.F) { prototest.Fuzz(f, Protocol, cases(f)...) }

// What testdata/range/protocols/s7comm/centre.py has done.
const truth = `
session connect success ok - - - -
session setup_communication success ok - - - -
discover read_szl success ok - - - -
discover read_szl success ok - - - -
read read_variable success ok - - - -
discover list_blocks success ok - [{"type":"OB","count":0},{"type":"FB","count":0},{"type":"FC","count":0},{"type":"DB","count":1},{"type":"SDB","count":0},{"type":"SFC","count":0},{"type":"SFB","count":0}] - -
discover list_blocks_of_type success ok - [{"type":"DB","number":1}] - -
discover get_block_info success ok - [{"type":"DB","number":1,"filesystem":"A","length":64,"checksum":0,"author":"SNAP7EMU","family":"EMULATOR","name":"DB","version":"0.1"}] - -
read read_variable success ok - - [{"name":"DB1.DBB0","area":"DB","db":1,"address":0,"type":"BYTE","count":8,"value":[67,102,31,31,1,44,0,0]}] -
read read_variable success ok - - [{"name":"IB0","area":"I","address":0,"type":"BYTE","count":2,"value":[5,0]}] -
read read_variable success ok - - [{"name":"MB0","area":"M","address":0,"type":"BYTE","count":2,"value":[0,0]},{"name":"DB1.DBB0","area":"DB","db":1,"address":0,"type":"BYTE","count":4,"value":[67,102,31,31]}] -
read read_variable failure object_does_not_exist - - [{"name":"DB99.DBB0","area":"DB","db":99,"address":0,"type":"BYTE","count":4}] -
write write_variable success ok - - [{"name":"DB1.DBB4","area":"DB","db":1,"address":4,"type":"BYTE","value":1,"old_value":1},{"name":"DB1.DBB5","area":"DB","db":1,"address":5,"type":"BYTE","value":64,"old_value":44}] -
write write_variable success ok - - [{"name":"Q0.3","area":"Q","address":0,"bit":3,"type":"BIT","value":1}] -
write write_variable success ok - - [{"name":"MB0","area":"M","address":0,"type":"BYTE","value":1,"old_value":0},{"name":"MB1","area":"M","address":1,"type":"BYTE","value":2,"old_value":0}] -
write write_variable failure service_error - - [{"name":"DB99.DBB0","area":"DB","db":99,"address":0,"type":"BYTE","value":1}] -
read read_clock success ok - - - -
time set_clock success ok - - - -
auth set_password success ok - - - -
auth clear_password success ok - - - -
upload start_upload success ok - [{"type":"DB","number":1,"filesystem":"A"}] - -
upload upload success ok - - - -
upload end_upload success ok - - - -
program request_download success ok - [{"type":"DB","number":1,"filesystem":"P","length":64}] - -
program download_block success ok - [{"type":"DB","number":1,"filesystem":"P"}] - -
program download_ended success ok - [{"type":"DB","number":1,"filesystem":"P"}] - -
control pi_service success ok - - - ["length_mismatch"]
program compress_memory success ok - - - -
program copy_ram_to_rom success ok - - - -
mode plc_stop success ok stop - - -
mode plc_start success ok run - - -
mode plc_start success ok run - - -
`

func TestRecording(t *testing.T) {
	events := prototest.Recording(t, "testdata/s7comm.pcap",
		[]string{"ics.operation", "ics.function.name", "event.outcome", "ics.status.name", "s7comm.device.state", "s7comm.blocks", "ics.objects", "tocsin.protocol.anomaly"},
		truth, Protocol)
	for i := range events {
		if text := string(events[i].AppendJSON(nil)); strings.Contains(text, "geheim") || strings.Contains(text, "320f3b3d") {
			t.Errorf("the password is in %s", text)
		}
	}
}
