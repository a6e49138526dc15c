package corpus

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// compareZeek compares conn.log record by record, and of other logs what they
// count.
func compareZeek(r *report, c *testCase, s *seen) {
	oracle := "zeek"
	if strings.HasPrefix(c.Oracle, "icsnpp") {
		oracle = "icsnpp"
	}
	var want []flow
	if len(c.Expect.Flows) > 0 {
		if err := json.Unmarshal(c.Expect.Flows, &want); err != nil {
			r.compare(oracle, c.ID, "case", err, nil, "flows")
		}
	}
	compareConns(r, oracle, c, s, want)
	logs := c.Expect.Logs
	if l, ok := logs["http.log"]; ok {
		delete(l.Method, "-")
		delete(l.StatusCode, "0")
		delete(l.StatusCode, "-")
		r.compare(oracle, c.ID, "http.methods", s.methods, l.Method, "HTTP requests")
		r.compare(oracle, c.ID, "http.statuses", s.statuses, l.StatusCode, "HTTP responses")
	}
	if l, ok := logs["dns.log"]; ok {
		r.compare(oracle, c.ID, "dns.rows", s.rows["dns"], l.Rows, "DNS transactions")
	}
	if l, ok := logs["ssl.log"]; ok {
		delete(l.ServerName, "-")
		r.compare(oracle, c.ID, "tls.rows", s.rows["tls"], l.Rows, "TLS connections")
		r.compare(oracle, c.ID, "tls.server_name", s.serverName, l.ServerName, "TLS server names")
	}
	if l, ok := logs["ssh.log"]; ok {
		r.compare(oracle, c.ID, "ssh.success", s.sshSuccess, l.Success, "SSH logins")
	}
	if l, ok := logs["s7comm.log"]; ok {
		n := 0
		for _, k := range s.fields["s7comm.header.rosctr"] {
			n += k
		}
		r.compare(oracle, c.ID, "s7comm.rows", n, l.Rows, "S7comm messages")
	}
	if l, ok := logs["modbus.log"]; ok {
		r.compare(oracle, c.ID, "modbus.functions", s.modbusPDUs, functionCodes(l.Func), "Modbus messages by function")
	}
	if l, ok := logs["modbus_detailed.log"]; ok {
		// One row for a request with its response, but two for some functions.
		want := functionCodes(l.Func)
		for code := range want {
			if code != "7" && code != "17" {
				want[code] *= 2
			}
		}
		r.compare(oracle, c.ID, "modbus.functions", s.modbusPDUs, want, "Modbus messages by function")
	}
}

// zeekFunctions are Zeek's names of Modbus functions.
var zeekFunctions = map[string]string{
	"READ_COILS": "1", "READ_DISCRETE_INPUTS": "2", "READ_HOLDING_REGISTERS": "3", "READ_INPUT_REGISTERS": "4",
	"WRITE_SINGLE_COIL": "5", "WRITE_SINGLE_REGISTER": "6", "READ_EXCEPTION_STATUS": "7", "DIAGNOSTICS": "8",
	"WRITE_MULTIPLE_COILS": "15", "WRITE_MULTIPLE_REGISTERS": "16", "REPORT_SLAVE_ID": "17", "READ_FILE_RECORD": "20",
	"WRITE_FILE_RECORD": "21", "MASK_WRITE_REGISTER": "22", "READ_WRITE_MULTIPLE_REGISTERS": "23", "READ_FIFO_QUEUE": "24",
	"ENCAP_INTERFACE_TRANSPORT": "43",
}

func functionCodes(names counts) counts {
	codes := counts{}
	for name, n := range names {
		code := strings.TrimPrefix(name, "unknown-")
		if c, ok := zeekFunctions[name]; ok {
			code = c
		}
		codes[code] += n
	}
	return codes
}

// compareConns finds for each wanted record ours that is most like it. Several
// baselines are of one capture; each has its own case.
func compareConns(r *report, oracle string, c *testCase, s *seen, want []flow) {
	left := append([]flow(nil), s.flows...)
	packets := func(f *flow) string { return fmt.Sprintf("%d/%d", f.OrigPkts, f.RespPkts) }
	bytes := func(f *flow) string { return fmt.Sprintf("%d/%d", f.OrigBytes, f.RespBytes) }
	for i := range want {
		w := &want[i]
		if w.History == "-" {
			w.History = ""
		}
		best, score := -1, -1
		for i := range left {
			g := &left[i]
			if g.tuple() != w.tuple() {
				continue
			}
			n := 0
			for _, same := range []bool{g.State == w.State, g.History == w.History, packets(g) == packets(w), bytes(g) == bytes(w)} {
				if same {
					n++
				}
			}
			if n > score {
				best, score = i, n
			}
		}
		if best < 0 {
			r.compare(oracle, c.ID, "flow", "none", fmt.Sprintf("%s %q %s %s", w.State, w.History, packets(w), bytes(w)), w.tuple())
			continue
		}
		g := left[best]
		left = append(left[:best], left[best+1:]...)
		r.compare(oracle, c.ID, "flow.state", g.State, w.State, w.tuple())
		r.compare(oracle, c.ID, "flow.history", g.History, w.History, w.tuple())
		r.compare(oracle, c.ID, "flow.packets", packets(&g), packets(w), w.tuple())
		r.compare(oracle, c.ID, "flow.bytes", bytes(&g), bytes(w), w.tuple())
		if w.Duration != nil {
			d := *w.Duration - *g.Duration
			if d < 2e-6 && d > -2e-6 {
				d = 0
			}
			r.compare(oracle, c.ID, "flow.duration", *w.Duration-d, *w.Duration, w.tuple())
			if w.OrigPayload != nil && w.RespPayload != nil {
				r.compare(oracle, c.ID, "flow.payload", fmt.Sprintf("%d/%d", *g.OrigPayload, *g.RespPayload), fmt.Sprintf("%d/%d", *w.OrigPayload, *w.RespPayload), w.tuple())
			}
		}
	}
}

// pairs are packets each way by transport and end points, whoever began.
type pairs map[string][2]uint64

func (p pairs) add(proto, src string, sport uint16, dst string, dport uint16, fwd, rev uint64) {
	a, b := end(address(src), sport), end(address(dst), dport)
	if b < a {
		a, b, fwd, rev = b, a, rev, fwd
	}
	key := proto + " " + a + " " + b
	n := p[key]
	p[key] = [2]uint64{n[0] + fwd, n[1] + rev}
}

// address writes an address as we do.
func address(s string) string {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.String()
	}
	return s
}

func pairsOf(s *seen, transports ...string) pairs {
	p := pairs{}
	for i := range s.flows {
		f := &s.flows[i]
		for _, t := range transports {
			if f.Proto == t {
				p.add(f.Proto, f.Src, f.Sport, f.Dst, f.Dport, f.OrigPkts, f.RespPkts)
			}
		}
	}
	return p
}

func comparePairs(r *report, oracle, id string, have, want pairs, extras bool) {
	keys := make([]string, 0, len(want))
	for k := range want {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		w := want[k]
		if h, ok := have[k]; ok {
			r.compare(oracle, id, "flow.packets", h, w, k)
		} else {
			r.compare(oracle, id, "flow", "none", w, k)
		}
	}
	if !extras {
		return
	}
	for k, h := range have {
		if _, ok := want[k]; !ok {
			r.compare(oracle, id, "flow", h, "none", k)
		}
	}
}

// compareTshark compares packets, streams, and counts of fields. tshark's
// streams have no idle timeout, so all records of the same ends are joined.
func compareTshark(r *report, c *testCase, s *seen) {
	const oracle = "tshark"
	r.compare(oracle, c.ID, "packets", s.packets, c.Expect.Packets, "packets")
	var rows [][]any
	if err := json.Unmarshal(c.Expect.Flows, &rows); err != nil {
		r.compare(oracle, c.ID, "case", err, nil, "flows")
		return
	}
	want := pairs{}
	for _, x := range rows {
		n := func(i int) float64 { f, _ := x[i].(float64); return f }
		want.add(fmt.Sprint(x[0]), fmt.Sprint(x[1]), uint16(n(2)), fmt.Sprint(x[3]), uint16(n(4)), uint64(n(5)), uint64(n(6)))
	}
	comparePairs(r, oracle, c.ID, pairsOf(s, "tcp", "udp"), want, c.Expect.Tunnels == 0 && len(rows) == c.Expect.Count)
	fields := map[string]counts{
		"dns.flags.response":  s.dnsFlags,
		"http.request.method": s.methods,
		"http.response.code":  s.statuses,
		"tls.handshake.ja3":   s.ja3,
		"modbus.func_code":    s.modbusPDUs,
		"ssh.protocol":        s.sshBanners,
	}
	for _, field := range slices.Concat(telecontrolFields, industrialFields) {
		fields[field] = s.fields[field]
	}
	for field, have := range fields {
		want := c.Expect.Counts[field]
		keys := map[string]bool{}
		for k := range want {
			keys[k] = true
		}
		for k := range have {
			keys[k] = true
		}
		for k := range keys {
			r.compare(oracle, c.ID, field, have[k], want[k], k)
		}
	}
}

// compareArkime compares sessions: end points, packets, community id.
func compareArkime(r *report, c *testCase, s *seen) {
	const oracle = "Arkime"
	want := pairs{}
	ids, ja3, ja4 := map[string]bool{}, counts{}, counts{}
	for _, x := range c.Expect.Sessions {
		if x.Protocol == 6 || x.Protocol == 17 {
			want.add(map[int]string{6: "tcp", 17: "udp"}[x.Protocol], x.Src, x.Sport, x.Dst, x.Dport, x.SrcPkts, x.DstPkts)
			if x.CommunityID != "" {
				ids[x.CommunityID] = true
			}
		}
		for value, to := range map[any]counts{fmt.Sprint(x.JA3): ja3, fmt.Sprint(x.JA4): ja4} {
			for _, v := range strings.Fields(strings.Trim(fmt.Sprint(value), "[]")) {
				if v != "<nil>" {
					to[v]++
				}
			}
		}
	}
	comparePairs(r, oracle, c.ID, pairsOf(s, "tcp", "udp"), want, false)
	for i := range s.flows {
		delete(ids, s.flows[i].communityID)
	}
	for id := range ids {
		r.compare(oracle, c.ID, "community_id", "none", id, "community id")
	}
	for v := range ja3 {
		r.compare(oracle, c.ID, "ja3", s.ja3[v] > 0, true, v)
	}
	all := counts{}
	for _, m := range s.ja4 {
		for v := range m {
			all[v]++
		}
	}
	for v := range ja4 {
		r.compare(oracle, c.ID, "ja4", all[v] > 0, true, v)
	}
}

// compareNDPI compares flows: end points and packets, and JA4.
func compareNDPI(r *report, c *testCase, s *seen) {
	const oracle = "nDPI"
	want := pairs{}
	all := counts{}
	for _, m := range s.ja4 {
		for v := range m {
			all[v]++
		}
	}
	for _, x := range c.Expect.NDPI {
		if x.Proto == "TCP" || x.Proto == "UDP" {
			want.add(strings.ToLower(x.Proto), x.Src, x.Sport, x.Dst, x.Dport, x.SrcPkts, x.DstPkts)
		}
		if x.JA4 != "" {
			r.compare(oracle, c.ID, "ja4", all[x.JA4] > 0, true, x.JA4)
		}
	}
	comparePairs(r, oracle, c.ID, pairsOf(s, "tcp", "udp"), want, false)
}

// compareJA4 compares the fingerprint of each client hello.
func compareJA4(r *report, c *testCase, s *seen) {
	for _, x := range c.Expect.JA4 {
		key := fmt.Sprintf("%s %s %s %s", address(fmt.Sprint(x["src"])), x["srcport"], address(fmt.Sprint(x["dst"])), x["dstport"])
		want, ok := x["JA4.1"].(string)
		if !ok {
			continue
		}
		have := "none"
		for v := range s.ja4[key] {
			if v == want || have == "none" {
				have = v
			}
		}
		r.compare("FoxIO", c.ID, "ja4", have, want, key)
	}
}

// compareCommunityID compares the official vectors: each packet of a capture
// belongs to a flow of that id.
func compareCommunityID(r *report, c *testCase, corpus string, look func(string, bool) *seen) {
	text, err := os.ReadFile(filepath.Join(corpus, c.OraclePath))
	if err != nil {
		r.compare("community-id", c.ID, "case", err, nil, "baseline")
		return
	}
	var rows []struct {
		Proto       int
		Src         string `json:"saddr"`
		Dst         string `json:"daddr"`
		CommunityID string `json:"communityid"`
	}
	if err := json.Unmarshal(text, &rows); err != nil {
		r.compare("community-id", c.ID, "case", err, nil, "baseline")
		return
	}
	have := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(corpus, c.Pcap, "*"))
	if err != nil {
		r.compare("community-id", c.ID, "case", err, nil, "captures")
	}
	for _, f := range files {
		for _, x := range look(filepath.Join(c.Pcap, filepath.Base(f)), false).flows {
			have[x.communityID] = true
		}
	}
	done := map[string]bool{}
	for _, x := range rows {
		if !done[x.CommunityID] {
			done[x.CommunityID] = true
			r.compare("community-id", c.ID, "community_id", have[x.CommunityID], true, fmt.Sprintf("%d %s %s %s", x.Proto, x.Src, x.Dst, x.CommunityID))
		}
	}
}
