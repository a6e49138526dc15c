package ssh

import (
	"encoding/binary"
	"strings"
)

// login guesses the result of authentication (RFC 4252) from the sizes of
// encrypted packets. What it rests on:
//
//   - Until the user is in, both sides take turns, and the server's answer to a
//     request is one packet (a banner may come before the first).
//   - USERAUTH_SUCCESS is a single byte, so it is the smallest packet that the
//     negotiated algorithms can make, and nothing else that the server sends
//     before it is as small. That size is known.
//   - USERAUTH_FAILURE lists the methods that can continue, so all of one
//     connection are of one size, and most clients ask for the method "none"
//     first, which shows it.
//
// Some algorithms leave the length of packets in the clear. With others the
// portions in which the bytes came stand for packets: implementations write a
// message at a time while they wait for each other.
type login struct {
	state    loginState
	attempts int

	success  int         // size of USERAUTH_SUCCESS; 0 if the algorithms are not known
	failure  int         // size of USERAUTH_FAILURE, once seen
	overhead [2]overhead // of packets to the server, to the client
	noneless bool        // the client does not ask for "none" first
	turn     int         // of the client: 1 asks for the service, 2 and later log in
	server   bool        // the last packet was the server's
	answer   int         // size of the server's last packet in this turn
	before   int         // answer of the turn before, where that was no known failure
	failed   bool        // an answer in this turn was a failure
	strange  int         // turns in a row whose answers were no known failure
}

type loginState uint8

const (
	sealing  loginState = iota // keys are not yet exchanged
	trying                     // no result yet
	accepted                   // the user is in
	refused                    // the connection ended after failures
	beyond                     // there is no telling
)

const (
	// maxStrange is after how many exchanges in a row that are not a known
	// failure the user must be in, although USERAUTH_SUCCESS was not
	// recognised. A login by challenge takes two to four.
	maxStrange = 12
	// maxTurns is how many turns are watched. OpenSSH ends a connection after
	// 6 failures; some servers never do.
	maxTurns = 1000
)

// overhead is how an algorithm pair wraps a payload.
type overhead struct {
	block int
	mac   int
	clear bool // the length is not encrypted
	apart bool // the length does not count for the padding
}

func aead(cipher string) bool {
	return strings.Contains(cipher, "gcm") || strings.HasPrefix(cipher, "chacha20-poly1305")
}

// overheadOf returns what the algorithms add, and false where they are unknown.
func overheadOf(cipher, mac string) (o overhead, ok bool) {
	switch {
	case strings.HasPrefix(cipher, "chacha20-poly1305"):
		return overhead{block: 8, mac: 16, apart: true}, true
	case strings.Contains(cipher, "gcm"), strings.Contains(cipher, "GCM"):
		return overhead{block: 16, mac: 16, clear: true, apart: true}, true
	case strings.HasPrefix(cipher, "aes"), strings.HasPrefix(cipher, "rijndael"), strings.HasPrefix(cipher, "camellia"),
		strings.HasPrefix(cipher, "serpent"), strings.HasPrefix(cipher, "twofish"):
		o.block = 16
	case strings.HasPrefix(cipher, "3des"), strings.HasPrefix(cipher, "blowfish"), strings.HasPrefix(cipher, "cast128"),
		strings.HasPrefix(cipher, "arcfour"), strings.HasPrefix(cipher, "idea"):
		o.block = 8
	default:
		return o, false
	}
	name, etm := strings.CutSuffix(mac, "-etm@openssh.com")
	o.clear, o.apart = etm, etm
	name, _, _ = strings.Cut(name, "@")
	switch name {
	case "hmac-sha1", "hmac-ripemd160":
		o.mac = 20
	case "hmac-sha1-96", "hmac-md5-96":
		o.mac = 12
	case "hmac-md5", "umac-128":
		o.mac = 16
	case "hmac-sha2-256":
		o.mac = 32
	case "hmac-sha2-512":
		o.mac = 64
	case "umac-64":
		o.mac = 8
	default:
		return o, false
	}
	return o, true
}

// size of a packet with the least padding (RFC 4253, section 6: 4 bytes).
func (o overhead) size(payload int) int {
	n := 1 + payload + 4
	if !o.apart {
		n += 4
	}
	n = (n + o.block - 1) / o.block * o.block
	if o.apart {
		n += 4
	}
	return n + o.mac
}

// Sizes of payloads (RFC 4252, RFC 4253).
const (
	payloadSuccess = 1
	// payloadNone is the largest request of the method "none": its fixed parts
	// and a user's name of 64 bytes.
	payloadNone = 1 + 4 + 64 + 4 + len("ssh-connection") + 4 + len("none")
)

// begin starts the guessing: both sides have their keys.
func (l *login) begin(a algorithms, client string) {
	if l.state != sealing {
		return
	}
	l.state = trying
	for i := range l.overhead {
		o, ok := overheadOf(a.cipher[i], a.mac[i])
		if !ok || a.compression[i] == "zlib" { // compressed at once: sizes say nothing
			l.state = beyond
			return
		}
		l.overhead[i] = o
	}
	l.success = l.overhead[serverToClient].size(payloadSuccess)
	l.noneless = strings.Contains(strings.ToLower(client), "paramiko")
}

// packet takes the encrypted packet, or portion, that b begins with and
// returns how long it is; 0 if it is not whole.
func (l *login) packet(fromClient bool, b []byte) int {
	if l.state != trying {
		return len(b) // before the other side has its keys, or after the result
	}
	dir := serverToClient
	if fromClient {
		dir = clientToServer
	}
	size := len(b)
	if o := l.overhead[dir]; o.clear {
		if len(b) < 4 {
			return 0
		}
		length := binary.BigEndian.Uint32(b)
		if length > maxPacket {
			l.state = beyond
			return len(b)
		}
		if size = 4 + int(length) + o.mac; size > len(b) {
			return 0
		}
	}
	if fromClient {
		l.request(size)
	} else {
		l.reply(size)
	}
	return size
}

// request is a packet of the client: a new turn, if the server spoke last.
func (l *login) request(size int) {
	if l.turn > 0 && !l.server {
		return
	}
	l.close()
	l.turn++
	l.server, l.answer, l.failed = false, 0, false
	if l.turn == 2 && size > l.overhead[clientToServer].size(payloadNone) {
		l.noneless = true
	}
	if l.strange >= maxStrange {
		l.state = accepted
		l.attempts = max(l.attempts, 1)
	} else if l.turn > maxTurns {
		l.state = beyond
	}
}

// reply is a packet of the server.
func (l *login) reply(size int) {
	if l.turn == 0 {
		return // extensions, before anybody asked
	}
	l.server = true
	if l.turn == 1 {
		return // the service is there
	}
	if size == l.success {
		l.state = accepted
		l.attempts++
		return
	}
	l.answer = size
	l.failed = l.failed || size == l.failure
}

// close judges the server's answer of the turn that is over.
func (l *login) close() {
	switch {
	case l.answer == 0:
	case l.turn == 2 && !l.noneless:
		l.failure = l.answer
	case l.failed:
		l.attempts++
		l.strange, l.before = 0, 0
	case l.answer == l.before || l.turn == 2:
		// Twice the same, which no challenge is: what was taken for a failure
		// had something before it, such as a banner.
		l.failure = l.answer
		l.attempts++
		if l.before != 0 {
			l.attempts++
		}
		l.strange, l.before = 0, 0
	default:
		l.before = l.answer
		l.strange++
	}
}

// end says that the connection is over.
func (l *login) end() {
	if l.state != trying {
		return
	}
	strange := l.strange
	l.close()
	if l.strange > strange {
		l.attempts++ // the last answer was that there have been too many failures
	}
	if l.attempts > 0 {
		l.state = refused
	}
}

// lose says that packets were not seen: sizes cannot be told from here on.
func (l *login) lose() {
	if l.state == trying || l.state == sealing {
		l.state = beyond
	}
}
