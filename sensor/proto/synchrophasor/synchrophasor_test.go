package synchrophasor

import (
	"testing"

	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

// streams are a conversation of a real unit with a concentrator, and a written
// one.
func streams(t testing.TB) []prototest.Case {
	load := func(name string) prototest.Case {
		return prototest.Case{Name: name, Pieces: prototest.Load(t, "testdata/"+name+".txt")}
	}
	return []prototest.Case{load("unit"), load("odd")}
}

func datagrams(t testing.TB) prototest.Case {
	return prototest.Case{Name: "datagrams", Pieces: prototest.Load(t, "testdata/datagrams.txt")}
}

func TestStream(t *testing.T) { prototest.Test(t, Stream, streams(t)...) }

func TestDatagrams(t *testing.T) { prototest.Test(t, Protocol, datagrams(t)) }

func FuzzStream(f *testing.F) { prototest.Fuzz(f, Stream, streams(f)...) }

func FuzzDatagrams(f *testing.F) { prototest.Fuzz(f, Protocol, append(streams(f), datagrams(f))...) }

// What testdata/range/protocols/synchrophasor does: asked for configuration 1,
// the unit answers with a changed configuration 2. Of the data the sender left
// one out by its own clock.
func TestRecording(t *testing.T) {
	prototest.Recording(t, "testdata/synchrophasor.pcap", []string{"ics.operation", "ics.function.name", "ics.unit", "event.outcome", "synchrophasor.text", "synchrophasor.frames", "synchrophasor.missing", "synchrophasor.configuration_changed", "synchrophasor.status", "ics.objects", "tocsin.protocol.anomaly"}, `
discover send_header 7734 success Feeder 4, unit 7734 - - - - - -
discover send_configuration_2 7734 success - - - - - - -
report configuration_2 7734 - - - - true - - -
discover send_configuration_1 7734 unknown - - - - - - ["no_response"]
session data_transmission_on 7734 unknown - - - - - - -
control data_transmission_off 7734 unknown - - - - - - -
control extended_frame 7734 unknown - - - - - - -
report data 7734 - - 30 1 - ["trigger","not_synchronised"] [{"address":7734,"type":"phasor_magnitude","name":"VA","value":133987.37645},{"address":7734,"type":"phasor_angle","name":"VA","value":0.0},{"address":7734,"type":"phasor_magnitude","name":"VB","value":134003.28853423838},{"address":7734,"type":"phasor_angle","name":"VB","value":-119.99833204289251},{"address":7734,"type":"phasor_magnitude","name":"VC","value":133995.3597827663},{"address":7734,"type":"phasor_angle","name":"VC","value":120.00028931918395},{"address":7734,"type":"phasor_magnitude","name":"I1","value":499.87392000000006},{"address":7734,"type":"phasor_angle","name":"I1","value":0.0},{"address":7734,"type":"frequency","value":62.5},{"address":7734,"type":"frequency_change","value":0.0},{"address":7734,"type":"analog","name":"ANALOG1","value":100.0},{"address":7734,"type":"analog","name":"ANALOG2","value":1000.0},{"address":7734,"type":"analog","name":"ANALOG3","value":10000.0},{"address":7734,"type":"digital","value":15378.0}] ["sequence_gap"]
`, Stream, Protocol)
}
