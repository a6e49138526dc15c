// Package eve reads Suricata's EVE JSON.
package eve

import (
	"bytes"
	_ "embed" // the table of columns
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/log"
	"github.com/tocsin/tocsin/sensor/packet"
	"github.com/tocsin/tocsin/sensor/proto/dns"
	"github.com/tocsin/tocsin/sensor/proto/http"
)

//go:embed columns.tsv
var columnTable string

var columns = log.Columns(columnTable)

// kinds are the events that records become where they are not called alike.
var kinds = map[string]event.Kind{
	"flow": event.KindFlow, "netflow": event.KindFlow, "alert": "notice", "krb5": "kerberos", "fileinfo": "file",
}

// Format is Suricata's.
var Format = log.Format{
	Name:      "eve",
	Recognise: recognise,
	New:       func(string) log.Reader { return &reader{record: log.Record{}} },
	Kinds:     kindsOf(),
	Fields:    log.Fields,
}

func kindsOf() (ks []event.Kind) {
	for _, typ := range slices.Sorted(maps.Keys(columns)) {
		if k := kindOf(typ); !slices.Contains(ks, k) {
			ks = append(ks, k)
		}
	}
	return ks
}

func kindOf(typ string) event.Kind {
	if k, ok := kinds[typ]; ok {
		return k
	}
	return event.Kind(typ)
}

func recognise(head []byte) bool {
	first, _, _ := bytes.Cut(bytes.TrimLeft(head, " \t\r\n"), []byte("\n"))
	return bytes.HasPrefix(first, []byte("{")) && bytes.Contains(first, []byte(`"event_type"`)) && bytes.Contains(first, []byte(`"timestamp"`))
}

type reader struct{ record log.Record }

// Read implements log.Reader.
func (r *reader) Read(line []byte, e *event.Event) (bool, error) {
	rec := r.record
	if err := rec.ReadJSON(line); err != nil {
		return false, err
	}
	typ := rec.Str("event_type")
	if _, ok := columns[typ]; !ok {
		return false, log.Unknown("eve " + typ)
	}
	var err error
	if e.Time, err = log.ParseTime(rec.Str("timestamp")); err != nil {
		return false, err
	}
	e.Kind, e.Sensor, e.Iface = kindOf(typ), "suricata", rec.Str("in_iface")
	if host := rec.Str("host"); host != "" {
		e.Sensor = host
	}
	f := &e.Flow
	f.Src.IP, f.Src.Port = rec.Addr("src_ip"), rec.Port("src_port")
	f.Dst.IP, f.Dst.Port = rec.Addr("dest_ip"), rec.Port("dest_port")
	f.Transport = log.Transport(rec.Str("proto"))
	if f.Transport == event.ProtoICMP || f.Transport == event.ProtoICMPv6 {
		f.Src.Port, f.Dst.Port = rec.Port("icmp_type"), rec.Port("icmp_code")
	}
	vlans := rec["vlan"]
	for i, at := range []*uint16{&f.VLAN, &f.InnerVLAN} {
		if i < len(vlans) {
			n, _ := strconv.ParseUint(vlans[i], 10, 12) // 0 for what is none
			*at = uint16(n)
		}
	}
	e.Set("event.module", event.Str("suricata"))
	rec.Set(e, columns[typ])
	if !special(typ, rec, e) {
		return false, nil
	}
	if f.CommunityID = rec.Str("community_id"); f.CommunityID == "" && f.Src.IP.IsValid() && f.Dst.IP.IsValid() && f.Transport != 0 {
		f.CommunityID = packet.CommunityID(f.Src.IP, f.Dst.IP, f.Transport, f.Src.Port, f.Dst.Port)
	}
	log.Identify(e, "eve", typ, line)
	return true, nil
}

// severities are our numbers for Suricata's, of which 1 is the worst.
var severities = map[uint64]int64{1: 70, 2: 50, 3: 30}

// special does what takes more than a new name; false drops the record.
func special(typ string, rec log.Record, e *event.Event) bool {
	switch typ {
	case "flow":
		flow(rec, e)
	case "netflow":
		// One direction of a flow; the other is a record of its own.
		f := &e.Flow
		span(rec, "netflow", e)
		f.Src.Packets, f.Src.Bytes = rec.Num("netflow.pkts"), rec.Num("netflow.bytes")
		f.State, f.Service = "OTH", service(rec.Str("app_proto"))
	case "alert":
		severity, ok := severities[rec.Num("alert.severity")]
		if !ok {
			severity = 10
		}
		e.Set("event.severity", event.Int(severity))
		gid := rec.Str("alert.gid")
		if gid == "" {
			gid = "1"
		}
		e.Set("rule.id", log.Text(gid+":"+rec.Str("alert.signature_id")))
		e.Flow.Service = service(rec.Str("app_proto"))
	case "anomaly":
		if e.Get("tocsin.protocol.anomaly").IsZero() {
			e.Set("tocsin.protocol.anomaly", log.Text("code_"+rec.Str("anomaly.code")))
		}
	case "dns":
		question(rec, e)
	case "http":
		e.Fields = http.AppendURL(e.Fields, rec.Str("http.http_method"), rec.Str("http.hostname"), rec.Str("http.url"))
		if ref := rec.Str("http.http_refer"); ref != "" {
			e.Set("http.request.referrer", log.Text(http.MaskURL(ref)))
		}
		if _, version, ok := strings.Cut(rec.Str("http.protocol"), "/"); ok {
			e.Set("http.version", log.Text(version))
		}
	case "tls":
		if version, ok := strings.CutPrefix(rec.Str("tls.version"), "TLS "); ok {
			if !strings.Contains(version, ".") {
				version += ".0"
			}
			e.Set("tls.version", log.Text(version))
			e.Set("tls.version_protocol", event.Str("tls"))
		}
		if serial := rec.Str("tls.serial"); serial != "" {
			e.Set("tls.server.x509.serial_number", log.Text(strings.ToUpper(strings.ReplaceAll(serial, ":", ""))))
		}
		if name := rec.Str("tls.sni"); name != "" {
			e.Set("tls.client.server_name", log.Text(strings.ToLower(name)))
		}
	case "smb":
		if c := rec.Str("smb.command"); c != "" {
			e.Set("tocsin.smb.action", log.Text(strings.ToLower(strings.TrimPrefix(c, "SMB2_COMMAND_"))))
		}
		fileName(e)
	case "fileinfo":
		e.Flow.Service = service(rec.Str("app_proto"))
		fileName(e)
	case "krb5":
		// KRB_AS_REP is the answer to a request for AS.
		request := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(rec.Str("krb5.msg_type"), "KRB_"), "_REP"), "_REQ")
		e.Set("tocsin.kerberos.request_type", log.Text(request))
		e.Set("tocsin.kerberos.success", event.Bool(rec.Str("krb5.error_code") == ""))
	case "rdp":
		if t := rec.Str("rdp.event_type"); t != "" {
			e.Set("tocsin.rdp.result", log.Text(t))
		}
	case "ftp":
		if arg := rec.Str("ftp.command_data"); arg != "" && !strings.EqualFold(rec.Str("ftp.command"), "PASS") {
			e.Set("tocsin.ftp.argument", log.Text(http.MaskURL(arg)))
		}
	case "dcerpc":
		if op := rec.Str("dcerpc.req.opnum"); op != "" {
			e.Set("tocsin.dcerpc.operation", log.Text(op))
		}
		if id := rec.Str("dcerpc.interfaces.uuid"); id != "" {
			e.Set("tocsin.dcerpc.endpoint", log.Text(id))
		}
	case "modbus":
		return modbus(rec, e)
	case "dnp3":
		return dnp3(rec, e)
	}
	return true
}

func span(rec log.Record, group string, e *event.Event) {
	f := &e.Flow
	start, err1 := log.ParseTime(rec.Str(group + ".start"))
	end, err2 := log.ParseTime(rec.Str(group + ".end"))
	if err1 != nil || err2 != nil || end.Before(start) {
		start, end = e.Time, e.Time
	}
	f.Start, f.End, e.Time = start, end, end
}

func flow(rec log.Record, e *event.Event) {
	f := &e.Flow
	span(rec, "flow", e)
	f.Src.Packets, f.Src.Bytes = rec.Num("flow.pkts_toserver"), rec.Num("flow.bytes_toserver")
	f.Dst.Packets, f.Dst.Bytes = rec.Num("flow.pkts_toclient"), rec.Num("flow.bytes_toclient")
	f.Service = service(rec.Str("app_proto"))
	f.State = state(rec, f)
	f.EndReason = map[string]string{"timeout": "idle", "forced": "evicted", "shutdown": "eof", "tcp_reuse": "fin"}[rec.Str("flow.reason")]
	if action := rec.Str("verdict.action"); action != "" {
		e.Set("event.action", log.Text(action))
	} else if action := rec.Str("flow.action"); action != "" {
		e.Set("event.action", log.Text(action))
	}
}

// TCP flags, as both directions had them in any packet.
const (
	fin = 1 << iota
	syn
	rst
)

// state says in Zeek's words how a flow went, as far as the record tells.
func state(rec log.Record, f *event.Flow) string {
	answered := f.Dst.Packets > 0
	if f.Transport != event.ProtoTCP {
		if answered {
			return "SF"
		}
		return "S0"
	}
	flags := func(name string) uint64 {
		n, _ := strconv.ParseUint(rec.Str(name), 16, 16) // 0 for what is none
		return n
	}
	client, server := flags("tcp.tcp_flags_ts"), flags("tcp.tcp_flags_tc")
	switch {
	case client&syn == 0:
		return "OTH" // the beginning was not seen
	case !answered:
		return "S0"
	case server&syn == 0 && server&rst != 0:
		return "REJ"
	case client&rst != 0:
		return "RSTO"
	case server&rst != 0:
		return "RSTR"
	case client&fin != 0 && server&fin != 0:
		return "SF"
	case client&fin != 0:
		return "S2"
	case server&fin != 0:
		return "S3"
	}
	return "S1"
}

// service is what we call an application protocol.
func service(s string) string {
	switch s {
	case "failed", "unknown":
		return ""
	case "krb5":
		return "kerberos"
	case "enip_udp", "dns_udp":
		return strings.TrimSuffix(s, "_udp")
	}
	return s
}

// question takes a DNS record of version 1 to 3: in 3 the questions are a list.
func question(rec log.Record, e *event.Event) {
	first := func(names ...string) string {
		for _, n := range names {
			if v := rec.Str(n); v != "" {
				return v
			}
		}
		return ""
	}
	if name := strings.ToLower(strings.TrimSuffix(first("dns.rrname", "dns.queries.rrname", "dns.query.rrname"), ".")); name != "" {
		e.Set("dns.question.name", log.Text(name))
		if strings.IndexFunc(name, func(r rune) bool { return r > 126 || r < 33 }) < 0 {
			e.Fields = dns.AppendDomain(e.Fields, name)
		}
	}
	if t := first("dns.rrtype", "dns.queries.rrtype", "dns.query.rrtype"); t != "" {
		e.Set("dns.question.type", log.Text(t))
	}
	kind := "query"
	if t := rec.Str("dns.type"); t == "answer" || t == "response" {
		kind = "answer"
	}
	e.Set("dns.type", event.Str(kind))
	var flags, answers, addrs []event.Value
	for _, flag := range []string{"aa", "tc", "rd", "ra"} {
		if rec.Bool("dns." + flag) {
			flags = append(flags, event.Str(strings.ToUpper(flag)))
		}
	}
	if len(flags) > 0 {
		e.Set("dns.header_flags", event.List(flags...))
	}
	data := rec["dns.answers.rdata"]
	types := rec["dns.answers.rrtype"]
	ttls := rec["dns.answers.ttl"]
	for i, d := range data {
		answer := []event.Field{{Name: "data", Value: log.Text(d)}}
		if len(types) == len(data) {
			answer = append(answer, event.Field{Name: "type", Value: log.Text(types[i])})
		}
		if len(ttls) == len(data) {
			if ttl, err := strconv.ParseUint(ttls[i], 10, 32); err == nil {
				answer = append(answer, event.Field{Name: "ttl", Value: event.Uint(ttl)})
			}
		}
		answers = append(answers, event.Object(answer...))
		if a := (log.Record{"a": {d}}).Addr("a"); a.IsValid() {
			addrs = append(addrs, event.IP(a))
		}
	}
	if len(answers) > 0 {
		e.Set("dns.answers", event.List(answers...))
	}
	if len(addrs) > 0 {
		e.Set("dns.resolved_ip", event.List(addrs...))
	}
}

func fileName(e *event.Event) {
	if name := e.Get("file.path").Str(); name != "" {
		e.Set("file.name", event.Str(name[strings.LastIndexAny(name, `\/`)+1:]))
	}
}

func industrial(e *event.Event, protocol, function, code string) {
	e.Set("ics.protocol", event.Str(protocol))
	if function != "" {
		e.Set("ics.function.name", log.Text(strings.ToLower(strings.ReplaceAll(function, " ", "_"))))
		if op := log.Operation(strings.ReplaceAll(function, " ", "_")); op != "" {
			e.Set("ics.operation", event.Str(op))
		}
	}
	if n, err := strconv.ParseUint(code, 0, 16); err == nil {
		e.Set("ics.function.code", event.Uint(n))
	}
}

// functions are Modbus functions that records only number.
var functions = map[string]string{
	"1": "read_coils", "2": "read_discrete_inputs", "3": "read_holding_registers", "4": "read_input_registers", "5": "write_single_coil",
	"6": "write_single_register", "7": "read_exception_status", "8": "diagnostics", "15": "write_multiple_coils", "16": "write_multiple_registers",
	"17": "report_server_id", "20": "read_file_record", "21": "write_file_record", "22": "mask_write_register",
	"23": "read_write_multiple_registers", "24": "read_fifo_queue", "43": "encapsulated_interface_transport",
}

func modbus(rec log.Record, e *event.Event) bool {
	code := rec.Str("modbus.request.function_raw")
	name := functions[code]
	if name == "" {
		name = rec.Str("modbus.request.function_code")
	}
	industrial(e, "modbus", name, code)
	if name == "report_server_id" {
		e.Set("ics.operation", event.Str("discover"))
	}
	outcome := "success"
	if x := rec.Str("modbus.response.exception.code"); x != "" {
		outcome = "failure"
		e.Set("ics.status.name", log.Text(strings.ToLower(x)))
	}
	e.Set("event.outcome", event.Str(outcome))
	return true
}

// dnp3Functions are by number (IEEE 1815-2012, table 4-2).
var dnp3Functions = map[string]string{
	"0": "confirm", "1": "read", "2": "write", "3": "select", "4": "operate", "5": "direct_operate", "6": "direct_operate_nr",
	"7": "immed_freeze", "8": "immed_freeze_nr", "9": "freeze_clear", "10": "freeze_clear_nr", "11": "freeze_at_time", "12": "freeze_at_time_nr",
	"13": "cold_restart", "14": "warm_restart", "15": "initialize_data", "16": "initialize_application", "17": "start_application",
	"18": "stop_application", "19": "save_configuration", "20": "enable_unsolicited", "21": "disable_unsolicited", "22": "assign_class",
	"23": "delay_measure", "24": "record_current_time", "25": "open_file", "26": "close_file", "27": "delete_file", "28": "get_file_info",
	"29": "authenticate_file", "30": "abort_file", "129": "response", "130": "unsolicited_response",
}

// dnp3 takes requests and what outstations report by themselves; the answer to
// a request is part of the request's record, or a record that is left out.
func dnp3(rec log.Record, e *event.Event) bool {
	code := ""
	for _, name := range []string{"dnp3.application.function_code", "dnp3.request.application.function_code", "dnp3.response.application.function_code"} {
		if code = rec.Str(name); code != "" {
			break
		}
	}
	if t := rec.Str("dnp3.type"); t == "response" && code != "130" {
		return false
	}
	industrial(e, "dnp3", dnp3Functions[code], code)
	return true
}
