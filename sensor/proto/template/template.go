// Package template is a small but whole protocol: copy this folder to begin
// another. It is not in the list of package all.
//
// The protocol is that of RFC 1413, by which a server asks the host that a
// connection came from for its user's name: a question is a line "6193, 23",
// the answer "6193, 23 : USERID : UNIX : alice" or "6193, 23 : ERROR : NO-USER".
//
// To make your own: change Protocol, Probe and the three methods of the
// parser; record a conversation under testdata; call prototest.Test; add
// Protocol to package all; write down what is odd about the protocol as
// values of tocsin.protocol.anomaly rather than as errors.
package template

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Protocol is the identification protocol.
var Protocol = proto.Protocol{
	Name:      "ident",
	Transport: proto.TCP,
	Ports:     []uint16{113},
	Probe:     probe,
	New:       func() proto.Parser { return new(parser) },
	Fields: []event.FieldDoc{
		{Name: "ident.server_port", Type: event.Long, Help: "Port on the side that is asked.", Class: event.ClassTechnical},
		{Name: "ident.client_port", Type: event.Long, Help: "Port on the side that asks.", Class: event.ClassTechnical},
		{Name: "ident.system", Type: event.Keyword, Help: "Operating system that the answer claims.", Class: event.ClassTechnical},
		{Name: "ident.error", Type: event.Keyword, Help: "Reason why there is no name: NO-USER, HIDDEN-USER, …", Class: event.ClassTechnical},
		{Name: "user.name", Type: event.Keyword, Help: "Name of the user.", Class: event.ClassPersonal},
		proto.Anomaly,
	},
}

const (
	// maxLine is the longest line of RFC 1413, section 6: 1000 characters,
	// with room for its end.
	maxLine = 1002
	// maxWaiting is how many questions may wait for answers. The RFC allows
	// several on one connection; servers seen in the field answer one at a time.
	maxWaiting = 8
)

// The words of tocsin.protocol.anomaly, made once.
var (
	unsolicited = event.List(event.Str("unsolicited_response"))
	noResponse  = event.List(event.Str("no_response"))
)

var errLine = errors.New("ident: line is not of the form of RFC 1413")

// probe knows a line that begins with two ports.
func probe(dir proto.Dir, b []byte) proto.Verdict {
	line, whole := cutLine(b)
	if !whole {
		if len(b) >= maxLine || !looksLikePorts(b) {
			return proto.No
		}
		return proto.Maybe
	}
	if _, _, ok := ports(line); !ok {
		return proto.No
	}
	return proto.Yes
}

// looksLikePorts reports whether b may become a line: digits, then what a
// person may have typed around them. Text after the ports begins with a colon.
func looksLikePorts(b []byte) bool {
	pair, _, _ := bytes.Cut(b, []byte(":"))
	for _, c := range pair {
		if (c < '0' || c > '9') && c != ',' && c != ' ' && c != '\r' {
			return false
		}
	}
	return true
}

// question is one that waits for its answer.
type question struct {
	at             time.Time
	server, client uint16
}

// parser holds the questions of one flow that wait, oldest first. Its scratch
// space makes that parsing does not allocate.
type parser struct {
	waiting [maxWaiting]question
	n       int
	torn    [2]bool // the next line of a direction may lack its beginning
	fields  [6]event.Field
}

// Parse is given what has come in one direction; see proto.Parser.
func (p *parser) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (n int, err error) {
	for {
		line, whole := cutLine(b[n:])
		if !whole {
			if len(b)-n < maxLine {
				return n, nil
			}
			if p.torn[dir] {
				return len(b), nil
			}
			return n, errLine
		}
		pair, answer, isAnswer := bytes.Cut(line, []byte(":"))
		server, client, ok := ports(pair)
		if !ok && !p.torn[dir] {
			return n, errLine
		}
		p.torn[dir] = false
		n += bytes.IndexByte(b[n:], '\n') + 1
		if !ok {
			continue
		}
		// The direction is judged by content: after a capture that began
		// mid-stream, originator and responder may be the wrong way round.
		if isAnswer {
			p.answer(question{now, server, client}, answer, out)
		} else {
			p.ask(question{now, server, client}, out)
		}
	}
}

// Gap forgets no question: an answer is known by its ports, and one that was
// lost is reported as missing.
func (p *parser) Gap(dir proto.Dir, _ int) { p.torn[dir] = true }

// End reports the questions that nobody answered.
func (p *parser) End(out *proto.Out) {
	for _, q := range p.waiting[:p.n] {
		p.emit(q, out, event.Field{Name: "tocsin.protocol.anomaly", Value: noResponse})
	}
	p.n = 0
}

func (p *parser) ask(q question, out *proto.Out) {
	if p.n == maxWaiting { // the oldest will not be answered any more
		p.emit(p.waiting[0], out, event.Field{Name: "tocsin.protocol.anomaly", Value: noResponse})
		p.n = copy(p.waiting[:], p.waiting[1:])
	}
	p.waiting[p.n] = q
	p.n++
}

// answer joins an answer, of which a says the ports and the time, with its question.
func (p *parser) answer(a question, text []byte, out *proto.Out) {
	var odd event.Value
	q := a
	if i := p.find(a); i >= 0 {
		q = p.waiting[i]
		p.n = i + copy(p.waiting[i:], p.waiting[i+1:p.n])
	} else {
		odd = unsolicited
	}
	kind, text, _ := bytes.Cut(text, []byte(":"))
	kind, text = bytes.TrimSpace(kind), bytes.TrimSpace(text)
	anomaly := event.Field{Name: "tocsin.protocol.anomaly", Value: odd}
	if !bytes.Equal(kind, []byte("USERID")) {
		p.emit(q, out, anomaly, event.Field{Name: "ident.error", Value: event.Text(text)})
		return
	}
	// The system may carry a character set after a comma; a user's name may
	// hold any character, colons too.
	system, user, _ := bytes.Cut(text, []byte(":"))
	p.emit(q, out, anomaly,
		event.Field{Name: "ident.system", Value: event.Text(bytes.TrimSpace(system))},
		event.Field{Name: "user.name", Value: event.Text(bytes.TrimSpace(user))})
}

func (p *parser) find(a question) int {
	for i, q := range p.waiting[:p.n] {
		if q.server == a.server && q.client == a.client {
			return i
		}
	}
	return -1
}

// emit hands out the event of a question with what is known beyond its ports.
func (p *parser) emit(q question, out *proto.Out, more ...event.Field) {
	fields := append(p.fields[:0],
		event.Field{Name: "ident.server_port", Value: event.Uint(uint64(q.server))},
		event.Field{Name: "ident.client_port", Value: event.Uint(uint64(q.client))})
	for _, f := range more {
		if !f.Value.IsZero() {
			fields = append(fields, f)
		}
	}
	out.Emit(q.at, fields)
}

// cutLine returns the first line of b without its end; whole is false where b
// holds none.
func cutLine(b []byte) (line []byte, whole bool) {
	i := bytes.IndexByte(b[:min(len(b), maxLine)], '\n')
	if i < 0 {
		return nil, false
	}
	return bytes.TrimSuffix(b[:i], []byte("\r")), true
}

// ports reads "6193, 23", with blanks anywhere around the numbers.
func ports(b []byte) (server, client uint16, ok bool) {
	b, _, _ = bytes.Cut(b, []byte(":"))
	first, second, comma := bytes.Cut(b, []byte(","))
	s, err1 := strconv.ParseUint(string(bytes.TrimSpace(first)), 10, 16)
	c, err2 := strconv.ParseUint(string(bytes.TrimSpace(second)), 10, 16)
	return uint16(s), uint16(c), comma && err1 == nil && err2 == nil && s > 0 && c > 0
}
