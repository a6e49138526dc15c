// Package zeek reads the logs of Zeek, as tab-separated values and as JSON, with
// those of CISA's ICSNPP parsers.
package zeek

import (
	"bytes"
	_ "embed" // the table of columns
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/log"
	"github.com/tocsin/tocsin/sensor/packet"
	"github.com/tocsin/tocsin/sensor/proto/dns"
	"github.com/tocsin/tocsin/sensor/proto/http"
)

//go:embed columns.tsv
var columnTable string

var columns = log.Columns(columnTable)

// kinds are the events that logs become where they are not called alike.
var kinds = map[string]event.Kind{
	"conn": event.KindFlow, "ssl": "tls", "x509": "tls", "smb_files": "smb", "smb_mapping": "smb", "dce_rpc": "dcerpc",
	"files": "file", "weird": "anomaly", "modbus_detailed": "modbus",
}

// transports are those of logs that do not say.
var transports = map[string]uint8{
	"http": event.ProtoTCP, "ssl": event.ProtoTCP, "ssh": event.ProtoTCP, "smb_files": event.ProtoTCP, "smb_mapping": event.ProtoTCP,
	"dce_rpc": event.ProtoTCP, "ntlm": event.ProtoTCP, "rdp": event.ProtoTCP, "ftp": event.ProtoTCP, "smtp": event.ProtoTCP,
	"modbus": event.ProtoTCP, "modbus_detailed": event.ProtoTCP, "dnp3": event.ProtoTCP, "s7comm": event.ProtoTCP,
}

// Format is Zeek's.
var Format = log.Format{
	Name:      "zeek",
	Recognise: recognise,
	New: func(name string) log.Reader {
		return &reader{typ: typeOf(name), separator: "\t", set: ",", empty: "(empty)", unset: "-"}
	},
	Kinds:  kindsOf(),
	Fields: log.Fields,
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
	head = bytes.TrimLeft(head, " \t\r\n")
	first, _, _ := bytes.Cut(head, []byte("\n"))
	if bytes.HasPrefix(first, []byte("#")) {
		return bytes.HasPrefix(first, []byte("#separator ")) || bytes.Contains(head, []byte("\n#fields")) || bytes.HasPrefix(first, []byte("#fields"))
	}
	return bytes.HasPrefix(first, []byte("{")) && bytes.Contains(first, []byte(`"ts":`)) && !bytes.Contains(first, []byte(`"@timestamp"`))
}

// typeOf is the type of a log by the name of its file: conn.log,
// conn.12:00:00-13:00:00.log.gz, conn_20260304.log. It is "" if the name does
// not tell.
func typeOf(name string) string {
	best := ""
	for typ := range columns {
		rest, ok := strings.CutPrefix(name, typ)
		if ok && len(typ) > len(best) && (rest == "" || !isWord(rest[0]) || rest[0] == '_' && len(rest) > 1 && '0' <= rest[1] && rest[1] <= '9') {
			best = typ
		}
	}
	if base, _, _ := strings.Cut(name, "."); best == "" && base != "" {
		return base
	}
	return best
}

func isWord(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// reader keeps what the headings of a log said.
type reader struct {
	typ                          string
	separator, set, empty, unset string
	fields                       []string
	lists                        []bool // parallel to fields: sets and vectors
	record                       log.Record
}

// Read implements log.Reader.
func (r *reader) Read(line []byte, e *event.Event) (bool, error) {
	if r.record == nil {
		r.record = log.Record{}
	}
	if line[0] == '#' {
		r.heading(string(line))
		return false, nil
	}
	typ := r.typ
	if line[0] == '{' {
		if err := r.record.ReadJSON(line); err != nil {
			return false, err
		}
		if path := r.record.Str("_path"); path != "" {
			typ = path
		}
		if _, ok := columns[typ]; !ok {
			if guess := guess(r.record); guess != "" {
				typ = guess
			}
		}
	} else {
		r.split(string(line))
	}
	if _, ok := columns[typ]; !ok {
		return false, log.Unknown("zeek " + typ)
	}
	return r.event(typ, line, e)
}

// guess tells logs by columns that only they have.
func guess(r log.Record) string {
	for _, g := range []struct{ typ, column string }{
		{"conn", "conn_state"}, {"dns", "qtype"}, {"dns", "trans_id"}, {"http", "trans_depth"}, {"ssl", "established"}, {"x509", "certificate.serial"},
		{"ssh", "auth_attempts"}, {"smb_files", "times.modified"}, {"smb_mapping", "share_type"}, {"dce_rpc", "endpoint"},
		{"kerberos", "request_type"}, {"rdp", "security_protocol"}, {"files", "seen_bytes"}, {"notice", "note"}, {"dnp3", "fc_request"},
	} {
		if _, ok := r[g.column]; ok && (g.typ != "http" || r["method"] != nil || r["status_code"] != nil) {
			return g.typ
		}
	}
	return ""
}

// heading takes one of the lines before the first event.
func (r *reader) heading(line string) {
	if text, ok := strings.CutPrefix(line, "#separator "); ok {
		if s := unescape(text); s != "" {
			r.separator = s
		}
		return
	}
	words := strings.Split(line, r.separator)
	if len(words) < 2 {
		return
	}
	switch words[0] {
	case "#set_separator":
		r.set = words[1]
	case "#empty_field":
		r.empty = words[1]
	case "#unset_field":
		r.unset = words[1]
	case "#path":
		r.typ = words[1]
	case "#fields":
		r.fields, r.lists = words[1:], nil
	case "#types":
		r.lists = make([]bool, len(words)-1)
		for i, t := range words[1:] {
			r.lists[i] = strings.HasPrefix(t, "set[") || strings.HasPrefix(t, "vector[")
		}
	}
}

// listColumns are those with lists, for logs whose #types are missing.
var listColumns = []string{"answers", "TTLs", "orig_mime_types", "resp_mime_types", "rcptto", "san.dns", "request_values", "response_values"}

func (r *reader) split(line string) {
	clear(r.record)
	for i, name := range r.fields {
		cell, rest, more := strings.Cut(line, r.separator)
		line = rest
		isList := i < len(r.lists) && r.lists[i] || r.lists == nil && slices.Contains(listColumns, name)
		switch {
		case cell == r.unset || cell == r.empty:
		case isList && r.set != "":
			for part := range strings.SplitSeq(cell, r.set) {
				r.record.Add(name, unescape(part))
			}
		default:
			r.record.Add(name, unescape(cell))
		}
		if !more {
			return
		}
	}
}

// unescape reads \xNN and \\, which Zeek writes for what is not printable.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			if s[i+1] == '\\' {
				i++
			} else if s[i+1] == 'x' && i+3 < len(s) {
				if n, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
					b = append(b, byte(n))
					i += 3
					continue
				}
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

func (r *reader) event(typ string, line []byte, e *event.Event) (bool, error) {
	rec := r.record
	var err error
	if e.Time, err = log.ParseTime(rec.Str("ts")); err != nil {
		return false, err
	}
	e.Kind, e.Sensor = kindOf(typ), "zeek"
	if node := rec.Str("_system_name"); node != "" {
		e.Sensor = node
	}
	f := &e.Flow
	f.Src.IP, f.Src.Port = rec.Addr("id.orig_h"), rec.Port("id.orig_p")
	f.Dst.IP, f.Dst.Port = rec.Addr("id.resp_h"), rec.Port("id.resp_p")
	if f.Transport = log.Transport(rec.Str("proto")); f.Transport == 0 {
		f.Transport = transports[typ]
	}
	if f.Transport == event.ProtoICMP && f.Src.IP.Is6() {
		f.Transport = event.ProtoICMPv6 // Zeek calls both icmp
	}
	e.Set("event.module", event.Str("zeek"))
	rec.Set(e, columns[typ])
	if !special(typ, rec, e) {
		return false, nil
	}
	if f.Src.IP.IsValid() && f.Dst.IP.IsValid() && f.Transport != 0 {
		f.CommunityID = packet.CommunityID(f.Src.IP, f.Dst.IP, f.Transport, f.Src.Port, f.Dst.Port)
	}
	log.Identify(e, "zeek", typ, line)
	return true, nil
}

// special does what takes more than a new name; false drops the line.
func special(typ string, rec log.Record, e *event.Event) bool {
	switch typ {
	case "conn":
		connection(rec, e)
	case "dns":
		question(rec, e)
	case "http":
		e.Fields = http.AppendURL(e.Fields, rec.Str("method"), rec.Str("host"), rec.Str("uri"))
		if ref := rec.Str("referrer"); ref != "" {
			e.Set("http.request.referrer", log.Text(http.MaskURL(ref)))
		}
	case "ssl":
		protocol, version := tlsVersion(rec.Str("version"))
		if version != "" {
			e.Set("tls.version_protocol", event.Str(protocol))
			e.Set("tls.version", event.Str(version))
		}
		lower(e, "tls.client.server_name")
	case "ssh":
		for _, side := range []string{"client", "server"} {
			if parts := strings.SplitN(rec.Str(side), "-", 3); len(parts) == 3 {
				e.Set("tocsin.ssh."+side+".version", log.Text(parts[1]))
				e.Set("tocsin.ssh."+side+".software", log.Text(parts[2]))
			}
		}
	case "smb_files", "smb_mapping":
		if action := strings.TrimPrefix(rec.Str("action"), "SMB::"); action != "" {
			e.Set("tocsin.smb.action", log.Text(strings.ToLower(action)))
		}
		if share := rec.Str("share_type"); share != "" {
			e.Set("tocsin.smb.share_type", log.Text(strings.ToLower(share)))
		}
		if name := rec.Str("name"); name != "" {
			e.Set("file.name", log.Text(name[strings.LastIndexAny(name, `\/`)+1:]))
		}
	case "ftp":
		if !strings.EqualFold(rec.Str("command"), "PASS") && rec.Str("arg") != "" {
			e.Set("tocsin.ftp.argument", log.Text(http.MaskURL(rec.Str("arg"))))
		}
	case "files":
		file(rec, e)
	case "notice":
		notice(rec, e)
	case "modbus", "modbus_detailed":
		return modbus(rec, e)
	case "dnp3":
		name := strings.ToLower(rec.Str("fc_request"))
		if name == "" {
			name = strings.ToLower(rec.Str("fc_reply"))
		}
		industrial(e, "dnp3", name, "")
	case "s7comm":
		if rec.Str("rosctr_name") == "ACK-Data" {
			return false // the answer to what another line has
		}
		name := strings.TrimSpace(rec.Str("function_name") + " " + rec.Str("subfunction_name"))
		industrial(e, "s7comm", name, rec.Str("function_code"))
	case "cip":
		if rec.Str("direction") == "response" {
			return false
		}
		industrial(e, "cip", rec.Str("cip_service"), rec.Str("cip_service_code"))
	case "enip":
		if rec.Bool("is_orig") || rec["is_orig"] == nil {
			industrial(e, "enip", rec.Str("enip_command"), rec.Str("enip_command_code"))
			break
		}
		return false
	}
	return true
}

func connection(rec log.Record, e *event.Event) {
	f := &e.Flow
	f.Start, f.End = e.Time, e.Time
	if d, err := strconv.ParseFloat(rec.Str("duration"), 64); err == nil && d >= 0 && d < 1e8 {
		f.End = f.Start.Add(time.Duration(d * float64(time.Second)))
	}
	e.Time = f.End
	f.Src.Packets, f.Src.Bytes, f.Src.Payload = rec.Num("orig_pkts"), rec.Num("orig_ip_bytes"), rec.Num("orig_bytes")
	f.Dst.Packets, f.Dst.Bytes, f.Dst.Payload = rec.Num("resp_pkts"), rec.Num("resp_ip_bytes"), rec.Num("resp_bytes")
	f.State, f.History = rec.Str("conn_state"), rec.Str("history")
	f.VLAN, f.InnerVLAN = rec.Port("vlan")&0xfff, rec.Port("inner_vlan")&0xfff
	// Of several the last is the innermost.
	service := rec.Str("service")
	f.Service = serviceName(service[strings.LastIndexByte(service, ',')+1:])
	for _, m := range []struct {
		column string
		at     *event.MAC
	}{{"orig_l2_addr", &f.Src.MAC}, {"resp_l2_addr", &f.Dst.MAC}} {
		*m.at = mac(rec.Str(m.column))
	}
}

func mac(s string) (m event.MAC) {
	parts := strings.Split(s, ":")
	if len(parts) != len(m) {
		return m
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 16, 8)
		if err != nil {
			return event.MAC{}
		}
		m[i] = byte(n)
	}
	return m
}

// serviceName is what we call a protocol.
func serviceName(s string) string {
	switch s {
	case "ssl":
		return "tls"
	case "dce_rpc":
		return "dcerpc"
	case "krb", "krb_tcp":
		return "kerberos"
	case "gssapi", "spnego":
		return ""
	}
	return strings.TrimSuffix(strings.TrimSuffix(s, "_tcp"), "_udp")
}

func question(rec log.Record, e *event.Event) {
	name := strings.ToLower(rec.Str("query"))
	lower(e, "dns.question.name")
	if class := rec.Str("qclass_name"); class == "C_INTERNET" {
		e.Set("dns.question.class", event.Str("IN"))
	}
	if op := rec.Str("opcode_name"); op != "" {
		e.Set("dns.op_code", log.Text(strings.ToUpper(op)))
	}
	e.Fields = dns.AppendDomain(e.Fields, ascii(name))
	kind := "query"
	if rec.Str("rcode_name") != "" || rec.Str("rcode") != "" {
		kind = "answer"
	}
	e.Set("dns.type", event.Str(kind))
	var flags, answers, addrs []event.Value
	for _, flag := range []string{"AA", "TC", "RD", "RA"} {
		if rec.Bool(flag) {
			flags = append(flags, event.Str(flag))
		}
	}
	if len(flags) > 0 {
		e.Set("dns.header_flags", event.List(flags...))
	}
	ttls := rec["TTLs"]
	for i, data := range rec["answers"] {
		answer := []event.Field{{Name: "data", Value: log.Text(data)}}
		if i < len(ttls) {
			if ttl, err := strconv.ParseFloat(ttls[i], 64); err == nil && ttl >= 0 && ttl < 1<<32 {
				answer = append(answer, event.Field{Name: "ttl", Value: event.Int(int64(ttl))})
			}
		}
		answers = append(answers, event.Object(answer...))
		if a := (log.Record{"a": {data}}).Addr("a"); a.IsValid() {
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

// ascii is a name as the public suffix list wants it.
func ascii(s string) string {
	s = strings.TrimSuffix(s, ".")
	if strings.IndexFunc(s, func(r rune) bool { return r > 126 || r < 33 }) >= 0 {
		return "."
	}
	if s == "" {
		return "."
	}
	return s
}

func lower(e *event.Event, name string) {
	if v := e.Get(name).Str(); v != "" {
		e.Set(name, event.Str(strings.ToLower(v)))
	}
}

// tlsVersion divides Zeek's TLSv12.
func tlsVersion(s string) (protocol, version string) {
	for _, p := range []string{"TLSv", "SSLv", "DTLSv"} {
		if digits, ok := strings.CutPrefix(s, p); ok && digits != "" {
			if len(digits) == 2 {
				digits = digits[:1] + "." + digits[1:]
			} else if p == "TLSv" {
				digits += ".0"
			}
			return strings.ToLower(strings.TrimSuffix(p, "v")), digits
		}
	}
	return "", ""
}

func file(rec log.Record, e *event.Event) {
	f := &e.Flow
	if !f.Src.IP.IsValid() { // Zeek before 5.1
		f.Src.IP, f.Dst.IP = rec.Addr("tx_hosts"), rec.Addr("rx_hosts")
	}
	f.Service = serviceName(strings.ToLower(rec.Str("source")))
	if f.Transport == 0 && f.Src.Port != 0 {
		f.Transport = event.ProtoTCP
	}
}

func notice(rec log.Record, e *event.Event) {
	f := &e.Flow
	if !f.Src.IP.IsValid() {
		f.Src.IP, f.Dst.IP, f.Dst.Port = rec.Addr("src"), rec.Addr("dst"), rec.Port("p")
	}
	e.Set("rule.id", event.Str(e.Get("rule.name").Str()))
	e.Set("rule.category", event.Str("zeek notice"))
	if sub := rec.Str("sub"); sub != "" {
		e.Set("message", log.Text(rec.Str("msg")+"; "+sub))
	}
	const severity = 50 // Zeek does not say
	e.Set("event.severity", event.Int(severity))
}

// industrial sets what all industrial protocols share.
func industrial(e *event.Event, protocol, function, code string) {
	e.Set("ics.protocol", event.Str(protocol))
	if function != "" {
		e.Set("ics.function.name", log.Text(strings.ToLower(function)))
	}
	if n, err := strconv.ParseUint(code, 0, 16); err == nil {
		e.Set("ics.function.code", event.Uint(n))
	}
	if op := log.Operation(function); op != "" {
		e.Set("ics.operation", event.Str(op))
	}
}
