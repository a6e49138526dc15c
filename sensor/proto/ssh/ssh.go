// Package ssh parses the part of the Secure Shell protocol that is not
// encrypted (RFC 4253): versions, algorithms, the host's key, and HASSH
// fingerprints of both sides. Of the encrypted part it knows when who sent how
// much, and guesses from that how often somebody tried to log in and whether
// it worked. A connection makes one event.
package ssh

import (
	"bytes"
	"crypto/md5" //nolint:gosec // HASSH is defined with it
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// Protocol is SSH.
var Protocol = proto.Protocol{
	Name:      "ssh",
	Transport: proto.TCP,
	Ports:     []uint16{22},
	Probe:     probe,
	New:       func() proto.Parser { return new(parser) },
	Fields: []event.FieldDoc{
		proto.Outcome,
		{Name: "tocsin.ssh.client.version", Type: event.Keyword, Help: "Protocol version that the client offers.", Class: event.ClassTechnical},
		{Name: "tocsin.ssh.client.software", Type: event.Keyword, Help: "Software of the client, as it says, with its comment.", Class: event.ClassTechnical},
		{Name: "tocsin.ssh.server.version", Type: event.Keyword, Help: "Protocol version that the server offers.", Class: event.ClassTechnical},
		{Name: "tocsin.ssh.server.software", Type: event.Keyword, Help: "Software of the server, as it says, with its comment.", Class: event.ClassTechnical},
		{Name: "tocsin.ssh.hassh", Type: event.Keyword, Help: "HASSH fingerprint of the client's algorithms.", Class: event.ClassTechnical},
		{Name: "tocsin.ssh.hassh_server", Type: event.Keyword, Help: "HASSH fingerprint of the server's algorithms.", Class: event.ClassTechnical},
		{Name: "tocsin.ssh.kex", Type: event.Keyword, Help: "Method of key exchange that both agree on.", Class: event.ClassTechnical},
		{Name: "tocsin.ssh.host_key.algorithm", Type: event.Keyword, Help: "Algorithm of the host's key.", Class: event.ClassTechnical},
		{Name: "tocsin.ssh.host_key.fingerprint", Type: event.Keyword, Help: "SHA-256 of the host's key, as OpenSSH writes it.", Class: event.ClassTopology},
		{Name: "tocsin.ssh.cipher", Type: event.Keyword, Help: "Cipher from the client to the server.", Class: event.ClassTechnical},
		{Name: "tocsin.ssh.mac", Type: event.Keyword, Help: "Message authentication from the client to the server; absent where the cipher has its own.", Class: event.ClassTechnical},
		{Name: "tocsin.ssh.compression", Type: event.Keyword, Help: "Compression from the client to the server.", Class: event.ClassTechnical},
		{Name: "tocsin.ssh.auth.attempts", Type: event.Long, Help: "How often somebody tried to log in, guessed from sizes and directions.", Class: event.ClassTechnical},
		{Name: "tocsin.ssh.auth.success", Type: event.Boolean, Help: "Whether it worked, guessed alike; absent where there is no telling.", Class: event.ClassTechnical},
		proto.Anomaly,
	},
}

const (
	// maxVersion is the longest line before the key exchange. RFC 4253,
	// section 4.2, allows 255; a server may send other lines before it.
	maxVersion = 1024
	maxLines   = 50 // lines before the version
	// maxPacket is the largest packet that everyone must take (RFC 4253, section 6.1).
	maxPacket = 35000
	// maxList is the longest list of algorithms that is kept: ten times what
	// the longest one seen has.
	maxList = 8 << 10
)

// Messages (RFC 4253, section 12; RFC 4419, section 5).
const (
	msgKexInit     = 20
	msgNewKeys     = 21
	msgKexDHInit   = 30 // also of ECDH: from the client
	msgKexDHReply  = 31 // from the server; of group exchange the group
	msgKexGEXInit  = 32 // from the client
	msgKexGEXReply = 33 // from the server
	msgKexGEXAsk   = 34 // from the client
)

var (
	errVersion = errors.New("ssh: no version line")
	errPacket  = errors.New("ssh: packet is longer than RFC 4253 allows")
)

// probe knows the version line.
func probe(_ proto.Dir, b []byte) proto.Verdict {
	const want = "SSH-"
	n := min(len(b), len(want))
	switch {
	case string(b[:n]) != want[:n]:
		return proto.No
	case len(b) <= len(want):
		return proto.Maybe
	case b[len(want)] == '1' || b[len(want)] == '2':
		return proto.Yes
	}
	return proto.No
}

// phase is how far one direction has come.
type phase uint8

const (
	versions  phase = iota // the version line is still to come
	exchange               // packets in the clear
	sealed                 // encrypted
	forgotten              // of no interest any more
)

// side is what one side has said.
type side struct {
	phase    phase
	lines    int
	version  string // "2.0"
	software string
	kex      *kexInit
}

// parser is the state of one flow.
type parser struct {
	start       time.Time
	sides       [2]side
	client      proto.Dir
	hostKeyType string
	fingerprint string
	malformed   bool // a list of algorithms could not be read
	lost        bool // packets of this flow were not seen
	login       login
	done        bool // the event is out
	fields      []event.Field
}

// Parse is given what has come in one direction; see proto.Parser.
func (p *parser) Parse(dir proto.Dir, b []byte, now time.Time, out *proto.Out) (n int, err error) {
	if p.done {
		return len(b), proto.ErrDone
	}
	if p.start.IsZero() {
		p.start = now
	}
	for n < len(b) && err == nil {
		s := &p.sides[dir]
		used := 0
		switch s.phase {
		case versions:
			used, err = p.line(s, b[n:])
		case exchange:
			used, err = p.packet(dir, b[n:])
		case sealed:
			used = p.login.packet(dir == p.client, b[n:])
			if p.login.state == accepted || p.login.state == beyond {
				p.emit(out)
				return len(b), proto.ErrDone
			}
		default:
			used = len(b) - n
		}
		if used == 0 {
			break
		}
		n += used
	}
	if err != nil {
		p.emit(out)
	}
	return n, err
}

// line reads a version line, or a line that a server sends before it.
func (p *parser) line(s *side, b []byte) (n int, err error) {
	end := bytes.IndexByte(b[:min(len(b), maxVersion)], '\n')
	if end < 0 {
		if len(b) >= maxVersion {
			return 0, errVersion
		}
		return 0, nil
	}
	line := bytes.TrimSuffix(b[:end], []byte("\r"))
	text, isVersion := bytes.CutPrefix(line, []byte("SSH-"))
	if !isVersion {
		if s.lines++; s.lines > maxLines {
			return 0, errVersion
		}
		return end + 1, nil
	}
	version, software, _ := bytes.Cut(text, []byte("-"))
	s.version, s.software = event.Text(version).Str(), event.Text(software).Str()
	s.phase = exchange
	if s.version != "2.0" && s.version != "1.99" {
		s.phase = forgotten // version 1 has other packets
	}
	return end + 1, nil
}

// packet reads a packet in the clear (RFC 4253, section 6).
func (p *parser) packet(dir proto.Dir, b []byte) (n int, err error) {
	if len(b) < 6 {
		return 0, nil
	}
	length := int(binary.BigEndian.Uint32(b))
	padding := int(b[4])
	if length < 2 || length > maxPacket || padding > length-2 {
		return 0, errPacket
	}
	if len(b) < 4+length {
		return 0, nil
	}
	payload := b[5 : 4+length-padding]
	switch kind := payload[0]; kind {
	case msgKexInit:
		if k := readKexInit(payload[1:]); k != nil {
			p.sides[dir].kex = k
		} else {
			p.malformed = true
		}
	case msgNewKeys:
		p.sides[dir].phase = sealed
		if p.sides[dir.Flip()].phase == sealed {
			p.login.begin(p.agreed(), p.sides[p.client].software)
		}
	case msgKexDHInit, msgKexGEXInit, msgKexGEXAsk:
		p.client = dir
	case msgKexDHReply, msgKexGEXReply:
		groups := strings.HasPrefix(p.agreed().kex, "diffie-hellman-group-exchange")
		if groups == (kind == msgKexGEXReply) {
			p.hostKey(payload[1:])
		}
	}
	return 4 + length, nil
}

// hostKey reads the key that a reply begins with: its own first part names it.
func (p *parser) hostKey(b []byte) {
	key, _, ok := cutString(b)
	if !ok {
		return
	}
	if name, _, ok := cutString(key); ok && len(name) <= 64 {
		p.hostKeyType = event.Text(name).Str()
		sum := sha256.Sum256(key)
		p.fingerprint = "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
	}
}

// Gap says that bytes were lost. What follows has no beginning, so the
// versions and algorithms known so far are all there will be.
func (p *parser) Gap(dir proto.Dir, _ int) {
	p.lost = true
	p.login.lose()
	for i := range p.sides {
		if i == int(dir) || p.sides[i].phase == sealed {
			p.sides[i].phase = forgotten
		}
	}
}

// End says that the flow is over.
func (p *parser) End(out *proto.Out) {
	p.login.end()
	p.emit(out)
}

func (p *parser) emit(out *proto.Out) {
	client, server := &p.sides[p.client], &p.sides[p.client.Flip()]
	if p.done || client.version == "" && server.version == "" {
		return
	}
	p.done = true
	p.str("tocsin.ssh.client.version", client.version)
	p.str("tocsin.ssh.client.software", client.software)
	p.str("tocsin.ssh.server.version", server.version)
	p.str("tocsin.ssh.server.software", server.software)
	if client.kex != nil {
		p.str("tocsin.ssh.hassh", client.kex.hassh(clientToServer))
	}
	if server.kex != nil {
		p.str("tocsin.ssh.hassh_server", server.kex.hassh(serverToClient))
	}
	a := p.agreed()
	p.str("tocsin.ssh.kex", a.kex)
	if p.hostKeyType == "" {
		p.hostKeyType = a.hostKey
	}
	p.str("tocsin.ssh.host_key.algorithm", p.hostKeyType)
	p.str("tocsin.ssh.host_key.fingerprint", p.fingerprint)
	p.str("tocsin.ssh.cipher", a.cipher[clientToServer])
	if !aead(a.cipher[clientToServer]) {
		p.str("tocsin.ssh.mac", a.mac[clientToServer])
	}
	p.str("tocsin.ssh.compression", a.compression[clientToServer])
	outcome := "unknown"
	switch p.login.state {
	case accepted:
		outcome = "success"
	case refused:
		outcome = "failure"
	}
	if p.login.attempts > 0 {
		p.add("tocsin.ssh.auth.attempts", event.Int(int64(p.login.attempts)))
	}
	if outcome != "unknown" {
		p.add("tocsin.ssh.auth.success", event.Bool(outcome == "success"))
	}
	p.str("event.outcome", outcome)
	var odd []string
	if p.malformed {
		odd = append(odd, "malformed_kexinit")
	}
	if p.lost {
		odd = append(odd, "capture_loss")
	}
	if odd != nil {
		p.add("tocsin.protocol.anomaly", event.Strs(odd))
	}
	out.Emit(p.start, p.fields)
	*p = parser{done: true} // the flow may live on for days
}

func (p *parser) add(name string, v event.Value) {
	p.fields = append(p.fields, event.Field{Name: name, Value: v})
}

func (p *parser) str(name, s string) {
	if s != "" {
		p.add(name, event.Str(s))
	}
}

// Directions of a connection, as indices into what is negotiated for each.
const (
	clientToServer = 0
	serverToClient = 1
)

// kexInit is the lists of algorithms that one side offers, each as text with
// commas, in the order of RFC 4253, section 7.1.
type kexInit struct {
	kex, hostKeys            string
	cipher, mac, compression [2]string
}

// readKexInit returns nil where the message is not whole, or a list is absurd.
func readKexInit(b []byte) *kexInit {
	if len(b) < 16 { // cookie
		return nil
	}
	b = b[16:]
	var k kexInit
	for _, to := range []*string{&k.kex, &k.hostKeys, &k.cipher[0], &k.cipher[1], &k.mac[0], &k.mac[1], &k.compression[0], &k.compression[1]} {
		list, rest, ok := cutString(b)
		if !ok || len(list) > maxList {
			return nil
		}
		*to, b = event.Text(list).Str(), rest
	}
	return &k
}

// hassh is the fingerprint of a side that sends in the given direction:
// https://github.com/salesforce/hassh.
func (k *kexInit) hassh(dir int) string {
	sum := md5.Sum([]byte(k.kex + ";" + k.cipher[dir] + ";" + k.mac[dir] + ";" + k.compression[dir])) //nolint:gosec // as defined
	return hex.EncodeToString(sum[:])
}

// algorithms are the ones that both sides agree on; empty where they do not,
// or one has not spoken.
type algorithms struct {
	kex, hostKey             string
	cipher, mac, compression [2]string
}

// agreed chooses the client's first that the server has too (RFC 4253, section 7.1).
func (p *parser) agreed() (a algorithms) {
	c, s := p.sides[p.client].kex, p.sides[p.client.Flip()].kex
	if c == nil || s == nil {
		return a
	}
	a.kex, a.hostKey = first(c.kex, s.kex), first(c.hostKeys, s.hostKeys)
	for i := range 2 {
		a.cipher[i] = first(c.cipher[i], s.cipher[i])
		a.mac[i] = first(c.mac[i], s.mac[i])
		a.compression[i] = first(c.compression[i], s.compression[i])
	}
	return a
}

func first(client, server string) string {
	offered := strings.Split(server, ",")
	for name := range strings.SplitSeq(client, ",") {
		if slices.Contains(offered, name) {
			return name
		}
	}
	return ""
}

// cutString cuts a string with its length before it (RFC 4251, section 5).
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}
