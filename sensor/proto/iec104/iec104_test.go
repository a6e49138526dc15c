package iec104

import (
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
	"github.com/tocsin/tocsin/sensor/proto/prototest"
)

// cases are a conversation of a real station with a control centre, and written
// ones: of what that station does not do, and of what no station should.
func cases(t testing.TB) []prototest.Case {
	load := func(name string) prototest.Case {
		return prototest.Case{Name: name, Pieces: prototest.Load(t, "testdata/"+name+".txt"), Recovers: true}
	}
	reports := load("reports")
	reports.Allocs = 0.2
	return []prototest.Case{load("station"), reports, load("odd"), load("files")}
}

func TestProtocol(t *testing.T) { prototest.Test(t, Protocol, cases(t)...) }

func FuzzParser(f *testing.F) { prototest.Fuzz(f, Protocol, cases(f)...) }

// The standard takes 67 types; their sizes are those of sections 7.3.1 to 7.3.6
// of IEC 60870-5-101.
func TestTypes(t *testing.T) {
	n := 0
	for id, x := range types {
		if x.name == "" || x.form == secure {
			continue
		}
		n++
		a := make([]byte, asduHead+ioaLen+int(x.size)+int(x.tag))
		a[0], a[1] = byte(id), 1
		if !fits(a) || fits(a[:len(a)-1]) {
			t.Errorf("type %d does not fit its own size", id)
		}
	}
	if n != 67 {
		t.Errorf("%d types, want 67", n)
	}
}

// What testdata/range/protocols/iec104 does: of the selections one is executed,
// of the commands one is refused and one is of an object that the station has
// not, and station 99 there is not. Commands that a station confirms but does
// not terminate are told when the connection ends.
func TestRecording(t *testing.T) {
	prototest.Recording(t, "testdata/iec104.pcap", []string{"ics.operation", "ics.function.name", "ics.unit", "event.outcome", "iec104.steps", "ics.objects", "tocsin.protocol.anomaly"}, `
session startdt - success - - -
report M_SP_NA_1 47 - - [{"address":101,"count":3,"type":"single_point","value":[1,0,1]}] -
report M_ST_NA_1 47 - - [{"address":210,"type":"step_position","value":-3}] -
report M_BO_NA_1 47 - - [{"address":230,"type":"bitstring","value":2768240640}] -
report M_ME_NA_1 47 - - [{"address":203,"type":"normalized_value","value":-0.25}] -
report M_ME_NB_1 47 - - [{"address":201,"type":"scaled_value","value":412}] -
report M_ME_NC_1 47 - - [{"address":200,"type":"short_float","value":110.5}] -
report M_DP_TB_1 47 - - [{"address":100,"type":"double_point","value":2,"time":"2026-11-22T18:45:22.937Z"}] -
report M_ME_TF_1 47 - - [{"address":202,"type":"short_float","value":50.0099983215332,"time":"2026-11-22T18:45:22.937Z"}] -
read C_IC_NA_1 47 success ["activate","activate_confirmed","terminated"] - -
report M_IT_NA_1 47 - - [{"address":220,"type":"integrated_total","value":0}] -
read C_CI_NA_1 47 success ["activate","activate_confirmed","terminated"] - -
read C_RD_NA_1 47 success ["request","request_confirmed","answered"] [{"address":200,"type":"short_float","value":110.5}] -
diagnose C_TS_TA_1 47 success ["activate","activate_confirmed"] - -
report M_ME_NC_1 47 - - [{"address":200,"type":"short_float","value":110.25}] -
report M_ME_TF_1 47 - - [{"address":202,"type":"short_float","value":49.97999954223633,"quality":["not_topical","substituted"],"time":"2026-11-22T18:45:26.946Z"}] -
report M_DP_TB_1 47 - - [{"address":100,"type":"double_point","value":0,"quality":["invalid"],"time":"2026-11-22T18:45:26.946Z"}] -
time C_CS_NA_1 47 success ["activate","activate_confirmed"] - -
report M_ME_NC_1 47 - - [{"address":200,"type":"short_float","value":110.25}] -
report M_ME_TF_1 47 - - [{"address":202,"type":"short_float","value":49.97999954223633,"quality":["not_topical","substituted"],"time":"2026-11-22T18:45:30.947Z"}] -
report M_DP_TB_1 47 - - [{"address":100,"type":"double_point","value":0,"quality":["invalid"],"time":"2026-11-22T18:45:30.947Z"}] -
control C_SC_NA_1 47 success ["execute","execute_confirmed"] [{"address":300,"type":"single_command","value":1}] -
control C_DC_NA_1 47 success ["select","select_confirmed","execute","execute_confirmed","terminated"] [{"address":301,"type":"double_command","value":1}] -
control C_SE_NC_1 47 success ["execute","execute_confirmed"] [{"address":303,"type":"set_point_float","value":231.5}] -
control C_SE_NB_1 47 success ["select","select_confirmed","execute","execute_confirmed","terminated"] [{"address":304,"type":"set_point_scaled","value":-120}] -
control C_SC_NA_1 47 failure ["execute","execute_refused"] [{"address":308,"type":"single_command","value":1}] -
control C_SC_NA_1 47 failure ["execute","execute_refused","rejected"] [{"address":309,"type":"single_command","value":1}] -
report M_ME_NC_1 47 - - [{"address":200,"type":"short_float","value":110.25}] -
report M_ME_TF_1 47 - - [{"address":202,"type":"short_float","value":49.97999954223633,"quality":["not_topical","substituted"],"time":"2026-11-22T18:45:34.947Z"}] -
report M_DP_TB_1 47 - - [{"address":100,"type":"double_point","value":0,"quality":["invalid"],"time":"2026-11-22T18:45:34.947Z"}] -
read C_IC_NA_1 99 failure ["activate","activate_refused","rejected"] - -
report M_IT_NA_1 47 - - [{"address":220,"type":"integrated_total","value":0}] -
control C_CI_NA_1 47 success ["activate","activate_confirmed","terminated"] - -
session startdt - success - - -
control C_RP_NA_1 48 success ["activate","activate_confirmed"] - -
write P_ME_NC_1 48 success ["activate","activate_confirmed"] [{"address":500,"type":"parameter_float","value":0.5}] -
write P_AC_NA_1 48 success ["activate","activate_confirmed"] - -
time C_CD_NA_1 48 success ["activate","activate_confirmed"] - -
diagnose C_TS_NA_1 48 success ["activate","activate_confirmed"] - -
discover F_SC_NA_1 48 - - - -
upload F_SC_NA_1 48 - - - -
upload F_FR_NA_1 48 - - - -
upload F_SC_NA_1 48 - - - -
upload F_SR_NA_1 48 - - - -
upload F_SC_NA_1 48 - - - -
upload F_SG_NA_1 48 - - - -
upload F_LS_NA_1 48 - - - -
upload F_AF_NA_1 48 - - - -
write F_FR_NA_1 48 - - - -
write F_SG_NA_1 48 - - - -
write F_SC_NA_1 48 - - - -
control C_SC_NA_1 47 success ["execute","execute_confirmed"] [{"address":300,"type":"single_command","value":0,"old_value":1}] -
control C_RC_NA_1 47 success ["execute","execute_confirmed"] [{"address":302,"type":"step_command","value":2}] -
control C_SE_NC_1 47 success ["execute","execute_confirmed"] [{"address":303,"type":"set_point_float","value":400,"old_value":231.5}] -
control C_SE_NA_1 47 success ["execute","execute_confirmed"] [{"address":305,"type":"set_point_normalized","value":0.5}] -
control C_BO_NA_1 47 success ["execute","execute_confirmed"] [{"address":306,"type":"bitstring_command","value":4026531841}] -
control C_SC_TA_1 47 success ["execute","execute_confirmed"] [{"address":307,"type":"single_command","value":1,"time":"2026-11-22T18:45:34.321Z"}] -
session connection - - - - -
session connection - - - - -
`, Protocol)
}

// Who is told no with one message, and why with the next, has asked once.
func TestRefusal(t *testing.T) {
	const command = "680e%s2d01%s002f0035010081"
	var got []event.Event
	p := new(parser)
	out := proto.NewOut(new(event.Arena), func(at time.Time, f []event.Field) {
		got = append(got, (&event.Event{Time: at, Fields: f}).Clone())
	})
	now := time.Unix(0, 0)
	say := func(dir proto.Dir, numbers, cause string) {
		b, err := hex.DecodeString(fmt.Sprintf(command, numbers, cause))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := p.Parse(dir, b, now, out); n != len(b) || err != nil {
			t.Fatal(n, err)
		}
		now = now.Add(time.Millisecond)
	}
	say(proto.Orig, "00000000", "06")
	say(proto.Resp, "00000200", "47")
	if len(got) != 0 {
		t.Fatalf("%d events before the reason could come", len(got))
	}
	say(proto.Resp, "02000200", "6f")
	if len(got) != 1 || got[0].Get("ics.status.name").Str() != "unknown_object_address" || got[0].Get("iec104.messages").String() != "3" {
		t.Errorf("have %v", got)
	}
	// A selection that the station ends by itself was not executed.
	got = got[:0]
	say(proto.Orig, "02000400", "06")
	say(proto.Resp, "04000400", "07")
	say(proto.Resp, "06000400", "0a")
	if len(got) != 1 || got[0].Get("event.outcome").Str() == "success" || got[0].Get("tocsin.protocol.anomaly").String() != `["select_without_execute"]` {
		t.Errorf("have %v", got)
	}
}
