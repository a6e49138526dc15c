package dns

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// transactions joins questions with answers. The zero value is ready.
type transactions struct {
	waiting []query // oldest first
}

// query is a question that waits for its answer.
type query struct {
	at           time.Time
	dir          proto.Dir
	header       header
	name         string // "" if there is no question that can be read
	qtype, class uint16
	names        []event.Value // of all questions if there are more than one
	length       int
	edns         edns
	repeats      int
	anomalies    anomaly
	orphan       bool // an answer that stands for its question, which was not seen
}

// edns is what an OPT record says (RFC 6891 section 6.1).
type edns struct {
	present, do, subnet bool
	size                uint16
	rcode               uint16 // upper eight of twelve bits
}

// anomaly is a set of oddities.
type anomaly uint8

const (
	malformed anomaly = 1 << iota
	trailing
	unmatched
)

var anomalyNames = [...]string{"malformed", "trailing_bytes", "unsolicited_response"}

// scratch is working space of one call. Flows are many and DNS flows short, so
// it belongs to no flow.
type scratch struct {
	name    []byte
	text    []byte
	fields  []event.Field
	answers []record
	owners  []int // offset of each answer's owner name
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// message takes one message; what is no message is passed over.
func (t *transactions) message(dir proto.Dir, msg []byte, now time.Time, out *proto.Out) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	for len(t.waiting) > 0 && now.Sub(t.waiting[0].at) >= answerWait {
		t.unanswered(s, out)
	}
	if len(msg) < headerLen {
		return
	}
	q := query{at: now, dir: dir, header: parseHeader(msg), length: len(msg)}
	s.name = s.name[:0]
	off := q.questions(msg, s)
	s.answers, s.owners = s.answers[:0], s.owners[:0]
	if off > 0 {
		q.records(msg, off, s)
	}
	if q.header.response() {
		t.answer(&q, msg, now, s, out)
		return
	}
	for i := range t.waiting {
		if w := &t.waiting[i]; w.dir == dir && w.same(&q, s.name) {
			w.repeats++
			return
		}
	}
	if len(t.waiting) == maxWaiting {
		t.unanswered(s, out)
	}
	q.name = string(s.name)
	t.waiting = append(t.waiting, q)
}

// same reports whether m, whose name is name, is about the same question.
func (q *query) same(m *query, name []byte) bool {
	return q.header.id == m.header.id && q.qtype == m.qtype && q.class == m.class && q.name == string(name)
}

// questions reads the question section: the first name into s.name, and all
// of them if there are more. It returns where the records start, 0 if that
// cannot be told.
func (q *query) questions(msg []byte, s *scratch) int {
	off := headerLen
	for i := range int(q.header.counts[0]) {
		var err error
		if i == 0 {
			s.name, off, err = appendName(s.name, msg, off)
		} else if i < maxQuestions {
			s.text, off, err = appendName(s.text[:0], msg, off)
		} else {
			off, err = skipName(msg, off)
		}
		if err != nil || off+4 > len(msg) {
			q.anomalies |= malformed
			if i == 0 {
				s.name = s.name[:0]
			}
			return 0
		}
		switch {
		case i == 0:
			q.qtype, q.class = u16(msg[off:]), u16(msg[off+2:])
		case i == 1:
			q.names = append(q.names, event.Str(string(s.name)), event.Str(string(s.text)))
		case i < maxQuestions:
			q.names = append(q.names, event.Str(string(s.text)))
		}
		off += 4
	}
	return off
}

// records notes where the answers are, and what EDNS says.
func (q *query) records(msg []byte, off int, s *scratch) {
	for section, count := range q.header.counts[1:] {
		for range count {
			r, err := parseRecord(msg, off)
			if err != nil {
				q.anomalies |= malformed
				return
			}
			if section == 0 && len(s.answers) < maxAnswers {
				s.answers, s.owners = append(s.answers, r), append(s.owners, off)
			}
			if r.typ == typeOPT {
				q.edns = parseOPT(msg, r)
			}
			off = r.next
		}
	}
	if off < len(msg) {
		q.anomalies |= trailing
	}
}

func parseOPT(msg []byte, r record) edns {
	e := edns{present: true, size: r.class, rcode: uint16(r.ttl>>24) << 4, do: r.ttl&0x8000 != 0}
	for d := msg[r.data:r.next]; len(d) >= 4; {
		const clientSubnet = 8 // RFC 7871
		if u16(d) == clientSubnet {
			e.subnet = true
		}
		d = d[min(len(d), 4+int(u16(d[2:]))):]
	}
	return e
}

// answer emits the event of answer a, joined with its question if that waits.
func (t *transactions) answer(a *query, msg []byte, now time.Time, s *scratch, out *proto.Out) {
	i := slices.IndexFunc(t.waiting, func(w query) bool {
		if w.dir == a.dir {
			return false
		}
		// Servers that refuse or cannot read a question may leave it out.
		return w.same(a, s.name) || w.header.id == a.header.id && a.header.counts[0] == 0
	})
	if i < 0 {
		q := *a
		q.name = string(s.name)
		q.orphan = true
		// Multicast DNS answers go to everybody and repeat no question
		// (RFC 6762 section 6).
		if q.header.id != 0 || q.header.counts[0] != 0 {
			q.anomalies |= unmatched
		}
		q.emit(a, msg, now, s, out)
		return
	}
	t.waiting[i].emit(a, msg, now, s, out)
	t.waiting = slices.Delete(t.waiting, i, i+1)
}

// unanswered emits the oldest question without an answer.
func (t *transactions) unanswered(s *scratch, out *proto.Out) {
	t.waiting[0].emit(nil, nil, time.Time{}, s, out)
	t.waiting = slices.Delete(t.waiting, 0, 1)
}

// End implements proto.Parser.
func (t *transactions) End(out *proto.Out) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	for len(t.waiting) > 0 {
		t.unanswered(s, out)
	}
}

// emit makes the event of q and its answer a, nil if there is none.
func (q *query) emit(a *query, msg []byte, now time.Time, s *scratch, out *proto.Out) {
	s.fields = s.fields[:0]
	add := func(name string, v event.Value) {
		s.fields = append(s.fields, event.Field{Name: name, Value: v})
	}
	last := q
	if a != nil {
		last = a
	}
	add("dns.id", event.Own(strconv.AppendUint(out.Bytes(5), uint64(q.header.id), 10)))
	add("dns.op_code", event.Str(opcodeName(q.header.opcode())))
	add("tocsin.dns.answered", event.Bool(a != nil))
	if f := flags(last.header.flags, q.edns.do); !f.IsZero() {
		add("dns.header_flags", f)
	}
	if q.name != "" {
		add("dns.question.name", event.Str(q.name))
		add("dns.question.type", event.Str(typeName(q.qtype)))
		add("dns.question.class", event.Str(className(q.class)))
		s.fields = appendDomain(s.fields, q.name)
	}
	if n := q.header.counts[0]; n != 1 {
		add("tocsin.dns.question_count", event.Int(int64(n)))
	}
	if len(q.names) > 0 {
		add("tocsin.dns.question_names", event.List(q.names...))
	}
	if !q.orphan {
		add("tocsin.dns.query_length", event.Int(int64(q.length)))
		if q.edns.present {
			add("tocsin.dns.edns.udp_size", event.Int(int64(q.edns.size)))
			add("tocsin.dns.edns.client_subnet", event.Bool(q.edns.subnet))
		}
	}
	if q.repeats > 0 {
		add("tocsin.dns.repeats", event.Int(int64(q.repeats)))
	}
	anomalies := q.anomalies
	if a == nil {
		add("dns.type", event.Str("query"))
	} else {
		anomalies |= a.anomalies
		add("dns.type", event.Str("answer"))
		add("dns.response_code", event.Str(rcodeName(a.header.rcode()|a.edns.rcode)))
		add("tocsin.dns.response_length", event.Int(int64(a.length)))
		add("tocsin.dns.answer_count", event.Int(int64(a.header.counts[1])))
		if !q.orphan {
			add("tocsin.dns.latency", event.Int(int64(now.Sub(q.at))))
		}
		if answers, addrs := s.values(msg, q.name, out); len(answers) > 0 {
			add("dns.answers", event.List(answers...))
			if len(addrs) > 0 {
				add("dns.resolved_ip", event.List(addrs...))
			}
		}
	}
	if anomalies != 0 {
		names := out.Values(len(anomalyNames))
		for i, n := range anomalyNames {
			if anomalies&(1<<i) != 0 {
				names = append(names, event.Str(n))
			}
		}
		add("tocsin.protocol.anomaly", event.List(names...))
	}
	out.Emit(q.at, s.fields)
	clear(s.fields) // keep no event's values alive
}

// values returns the answers noted in s as objects, and the addresses in them.
// question is the name that most of them belong to.
func (s *scratch) values(msg []byte, question string, out *proto.Out) (answers, addrs []event.Value) {
	if len(s.answers) == 0 {
		return nil, nil
	}
	answers, addrs = out.Values(len(s.answers)), out.Values(len(s.answers))
	for i, r := range s.answers {
		owner, _, err := appendName(s.text[:0], msg, s.owners[i])
		s.text = owner
		if err != nil {
			owner = nil
		}
		name := event.Str(question)
		if string(owner) != question {
			name = out.Str(owner)
		}
		s.text = appendData(s.text[:0], msg, r)
		answers = append(answers, event.Object(append(out.Fields(5),
			event.Field{Name: "name", Value: name},
			event.Field{Name: "type", Value: event.Str(typeName(r.typ))},
			event.Field{Name: "class", Value: event.Str(className(r.class))},
			event.Field{Name: "ttl", Value: event.Int(int64(r.ttl))},
			event.Field{Name: "data", Value: out.Str(s.text)},
		)...))
		if a := r.address(msg); a.IsValid() {
			addrs = append(addrs, event.IP(a))
		}
	}
	return answers, addrs
}

// flagNames are the flags of the header, and DO of EDNS, by their index in
// flagLists.
var flagNames = [...]struct {
	bit  uint16
	name string
}{{0x400, "AA"}, {0x200, "TC"}, {0x100, "RD"}, {0x80, "RA"}, {0x20, "AD"}, {0x10, "CD"}, {0, "DO"}}

// flagLists holds each set of flags as a value, so that none is made per event.
var flagLists = func() (lists [1 << len(flagNames)]event.Value) {
	for set := 1; set < len(lists); set++ {
		var vs []event.Value
		for i, f := range flagNames {
			if set&(1<<i) != 0 {
				vs = append(vs, event.Str(f.name))
			}
		}
		lists[set] = event.List(vs...)
	}
	return lists
}()

func flags(bits uint16, do bool) event.Value {
	set := 0
	for i, f := range flagNames {
		if bits&f.bit != 0 || do && f.bit == 0 {
			set |= 1 << i
		}
	}
	return flagLists[set]
}

// appendDomain appends the parts of a name by the public suffix list, and the
// entropy of the part that whoever registered the domain can choose freely.
func appendDomain(fields []event.Field, name string) []event.Field {
	if name == "." {
		return fields
	}
	suffix, _ := publicsuffix.PublicSuffix(name)
	if suffix == "" {
		return fields
	}
	fields = append(fields, event.Field{Name: "dns.question.top_level_domain", Value: event.Str(suffix)})
	if len(name) <= len(suffix)+1 {
		return fields
	}
	before := name[:len(name)-len(suffix)-1]
	dot := strings.LastIndexByte(before, '.')
	fields = append(fields, event.Field{Name: "dns.question.registered_domain", Value: event.Str(name[dot+1:])})
	if dot <= 0 {
		return fields
	}
	return append(fields,
		event.Field{Name: "dns.question.subdomain", Value: event.Str(name[:dot])},
		event.Field{Name: "tocsin.dns.entropy", Value: event.Float(entropy(name[:dot]))})
}

// entropy is the Shannon entropy of the characters of s without its dots, in
// bits per character, rounded to thousandths so that it has one text form.
func entropy(s string) float64 {
	var counts [128]int // names are escaped, so ASCII
	total := 0
	for i := range len(s) {
		if c := s[i]; c != '.' {
			counts[c&127]++
			total++
		}
	}
	var h float64
	for _, n := range counts {
		if n > 0 {
			p := float64(n) / float64(total)
			h -= p * math.Log2(p)
		}
	}
	return math.Round(h*1000) / 1000
}
