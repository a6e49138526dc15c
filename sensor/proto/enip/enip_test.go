package enip

import (
	"testing"

	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

func load(t testing.TB, name string) prototest.Case {
	return prototest.Case{Name: name, Pieces: prototest.Load(t, "testdata/"+name+".txt"), Recovers: true}
}

func cases(t testing.TB) []prototest.Case {
	tags := load(t, "tags")
	tags.Allocs = 0.2
	return []prototest.Case{load(t, "odd"), tags}
}

func TestProtocol(t *testing.T) { prototest.Test(t, Protocol, cases(t)...) }

func TestDatagrams(t *testing.T) {
	c := load(t, "datagrams")
	c.Recovers = false // what is counted of a stretch begins with the gap
	prototest.Test(t, Datagrams, c)
}

func FuzzParser(f *testing.F) { prototest.Fuzz(f, Protocol, cases(f)...) }

func FuzzDatagrams(f *testing.F) { prototest.Fuzz(f, Datagrams, load(f, "datagrams")) }

// What testdata/range/protocols/enip/centre.py has done.
const truth = `
enip discover list_identity success ok - - -
enip session register_session success ok - - -
cip read read_tag success ok - [{"name":"Level","type":"REAL","value":0.0}] -
cip read read_tag success ok - [{"name":"Speed[0]","type":"INT","count":4,"value":[0,0,0,0]}] -
enip session register_session success ok - - -
cip write write_tag success ok - [{"name":"Level","type":"REAL","value":231.5}] -
cip read read_tag success ok - [{"name":"Level","type":"REAL","value":231.5}] -
cip write write_tag success ok - [{"name":"Level","type":"REAL","value":12.25,"old_value":231.5}] -
cip write write_tag success ok - [{"name":"Speed[1]","type":"INT","value":320},{"name":"Speed[2]","type":"INT","value":-7}] -
enip session register_session success ok - - -
cip - multiple_service_packet success ok message_router - -
cip write write_tag success ok - [{"name":"Valve","type":"SINT","value":1}] -
cip read read_tag success ok - [{"name":"Valve","type":"SINT","value":1}] -
cip read read_tag success ok - [{"name":"Speed[0]","type":"INT","value":0}] -
enip session register_session success ok - - -
cip read read_tag failure error - [{"name":"Nowhere"}] -
enip session register_session success ok - - -
cip read get_attribute_single success ok assembly [{"name":"4/1/3","type":"attribute","value":0}] -
enip session register_session success ok - - -
cip discover get_attributes_all success ok identity - -
enip session unregister_session - - - - -
enip session register_session success ok - - -
cip session large_forward_open success ok connection_manager - -
cip discover get_attribute_single success ok identity [{"name":"1/1/7","type":"attribute","text":"14313735362d4c36312f42204c4f47495835353631"}] -
cip session forward_close success ok connection_manager - -
enip session unregister_session - - - - -
enip session register_session success ok - - -
cip control reset failure error identity - -
enip session unregister_session - - - - -
enip session register_session success ok - - -
cip mode stop failure error mode - -
enip session unregister_session - - - - -
enip session register_session success ok - - -
cip mode start failure error mode - -
enip session unregister_session - - - - -
enip session register_session success ok - - -
cip program create failure error program - -
enip session unregister_session - - - - -
enip session register_session success ok - - -
cip firmware update_firmware failure error nonvolatile_storage - -
enip session unregister_session - - - - -
enip session register_session success ok - - -
cip discover get_instance_attribute_list failure error symbol - -
enip session unregister_session - - - - -
enip session register_session success ok - - -
cip read execute_pccc failure error pccc [{"name":"N7:0","type":"N"}] -
enip session unregister_session - - - - -
enip session register_session success ok - - -
cip write execute_pccc failure error pccc [{"name":"N7:3","type":"N","value":42}] -
enip session unregister_session - - - - -
enip session register_session success ok - - -
cip mode execute_pccc failure error pccc - -
enip session unregister_session - - - - -
`

func TestRecording(t *testing.T) {
	prototest.Recording(t, "testdata/enip.pcap",
		[]string{"ics.protocol", "ics.operation", "ics.function.name", "event.outcome", "ics.status.name", "cip.class.name", "ics.objects", "tocsin.protocol.anomaly"},
		truth, Protocol, Datagrams)
}
