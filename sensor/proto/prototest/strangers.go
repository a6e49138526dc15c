package prototest

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// stranger is how a conversation of some protocol begins.
type stranger struct {
	kind      event.Kind
	transport proto.Transport
	dir       proto.Dir
	bytes     string
}

func unhex(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// strangers are first bytes of many protocols: whom a probe meets. Written by
// hand from the protocols' specifications.
var strangers = []stranger{
	{"http", proto.TCP, proto.Orig, "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"},
	{"http", proto.TCP, proto.Orig, "POST /cgi-bin/x HTTP/1.0\r\nContent-Length: 3\r\n\r\na=b"},
	{"http", proto.TCP, proto.Resp, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	{"http2", proto.TCP, proto.Orig, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
	{"rtsp", proto.TCP, proto.Orig, "OPTIONS rtsp://192.0.2.1/ RTSP/1.0\r\nCSeq: 1\r\n\r\n"},
	{"sip", proto.TCP | proto.UDP, proto.Orig, "INVITE sip:a@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1\r\n\r\n"},
	{"tls", proto.TCP, proto.Orig, unhex("16 0301 0035 01 000031 0303" + strings.Repeat("5a", 32) + "00 0004 1301 1302 0100 0004 0017 0000")},
	{"tls", proto.TCP, proto.Resp, unhex("16 0303 0030 02 00002c 0303" + strings.Repeat("5a", 32) + "00 1301 00 0004 0017 0000")},
	{"ssh", proto.TCP, proto.Orig, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"},
	{"ssh", proto.TCP, proto.Resp, "SSH-2.0-dropbear_2022.83\r\n"},
	{"smtp", proto.TCP, proto.Resp, "220 mail.example.org ESMTP Postfix\r\n"},
	{"smtp", proto.TCP, proto.Orig, "EHLO client.example.org\r\n"},
	{"ftp", proto.TCP, proto.Resp, "220 (vsFTPd 3.0.3)\r\n"},
	{"ftp", proto.TCP, proto.Orig, "USER anonymous\r\n"},
	{"pop3", proto.TCP, proto.Resp, "+OK POP3 ready\r\n"},
	{"imap", proto.TCP, proto.Resp, "* OK [CAPABILITY IMAP4rev1] ready\r\n"},
	{"telnet", proto.TCP, proto.Resp, unhex("fffd18 fffd20 fffd23 fffd27")},
	{"redis", proto.TCP, proto.Orig, "*1\r\n$4\r\nPING\r\n"},
	{"ident", proto.TCP, proto.Orig, "6193, 23\r\n"},
	{"whois", proto.TCP, proto.Orig, "example.org\r\n"},
	{"dns", proto.UDP, proto.Orig, unhex("1234 0100 0001 0000 0000 0000 07 6578616d706c65 03 6f7267 00 0001 0001")},
	{"dns", proto.UDP, proto.Resp, unhex("1234 8180 0001 0001 0000 0000 07 6578616d706c65 03 6f7267 00 0001 0001 c00c 0001 0001 0000003c 0004 c0000201")},
	{"dns", proto.TCP, proto.Orig, unhex("001d 1234 0100 0001 0000 0000 0000 07 6578616d706c65 03 6f7267 00 0001 0001")},
	{"modbus", proto.TCP, proto.Orig, unhex("0001 0000 0006 01 03 0000 000a")},
	{"modbus", proto.TCP, proto.Resp, unhex("0001 0000 0007 01 03 04 0001 0002")},
	{"iec104", proto.TCP, proto.Orig, unhex("68 04 07 00 00 00")},
	{"iec104", proto.TCP, proto.Orig, unhex("68 0e 00 00 00 00 64 01 06 00 01 00 00 00 00 14")},
	{"dnp3", proto.TCP | proto.UDP, proto.Orig, unhex("0564 05 c0 0100 0000 04e9 c0c001 3c0206")},
	{"s7comm", proto.TCP, proto.Orig, unhex("0300 0016 11 e0 0000 0001 00 c1020100 c2020102 c0010a")},
	{"s7comm", proto.TCP, proto.Orig, unhex("0300 0019 02 f080 32 01 0000 0000 0008 0000 f0 00 0001 0001 01e0")},
	{"rdp", proto.TCP, proto.Orig, unhex("0300 0013 0e e0 0000 0000 00 01 00 0800 03000000")},
	{"enip", proto.TCP, proto.Orig, unhex("6500 0400 00000000 00000000 0000000000000000 00000000 0100 0000")},
	{"opcua", proto.TCP, proto.Orig, "HELF\x20\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
	{"fins", proto.TCP, proto.Orig, "FINS\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
	{"hart-ip", proto.TCP | proto.UDP, proto.Orig, unhex("01 00 00 00 0001 000d 01 00007530")},
	{"bacnet", proto.UDP, proto.Orig, unhex("81 0b 000c 0120ffff00ff 1008")},
	{"mqtt", proto.TCP, proto.Orig, unhex("10 0c 0004 4d515454 04 02 003c 0000")},
	{"smb", proto.TCP, proto.Orig, unhex("00000031 ff534d42 72 00000000 18 53c8 0000 0000000000000000 0000 fffe 0000 0000 00 000e 00 02 4e54204c4d20302e313200")},
	{"smb", proto.TCP, proto.Orig, unhex("00000040 fe534d42 4000 0000 00000000 0000 0100 00000000 00000000")},
	{"ldap", proto.TCP, proto.Orig, unhex("300c 0201 01 6007 0201 03 0400 8000")},
	{"mysql", proto.TCP, proto.Resp, unhex("4a000000 0a 382e302e333000 08000000")},
	{"postgresql", proto.TCP, proto.Orig, unhex("00000008 04d2162f")},
	{"rpc", proto.TCP, proto.Orig, unhex("80000028 12345678 00000000 00000002 000186a0 00000002 00000003")},
	{"dce-rpc", proto.TCP, proto.Orig, unhex("05 00 0b 03 10000000 4800 0000 01000000 b810 b810 00000000 01 000000")},
	{"bittorrent", proto.TCP, proto.Orig, "\x13BitTorrent protocol\x00\x00\x00\x00\x00\x00\x00\x00"},
	{"socks", proto.TCP, proto.Orig, unhex("05 01 00")},
	{"bgp", proto.TCP, proto.Orig, unhex(strings.Repeat("ff", 16) + "001d 01 04 fc00 00b4 c0000201 00")},
	{"snmp", proto.UDP, proto.Orig, unhex("3026 020101 0406 7075626c6963 a019 020401020304 020100 020100 300b 3009 0605 2b06010201 0500")},
	{"ntp", proto.UDP, proto.Orig, unhex("23 02 06 e8" + strings.Repeat("00", 36) + "e8a1b2c3 d4e5f607")},
	{"dhcp", proto.UDP, proto.Orig, unhex("01 01 06 00 12345678" + strings.Repeat("00", 228) + "63825363 350101 ff")},
	{"tftp", proto.UDP, proto.Orig, "\x00\x01firmware.bin\x00octet\x00"},
	{"syslog", proto.UDP, proto.Orig, "<34>Oct 11 22:14:15 host su: failed for root"},
	{"radius", proto.UDP, proto.Orig, unhex("01 01 0020" + strings.Repeat("5a", 16) + "0106 61646d696e 0405")},
	{"quic", proto.UDP, proto.Orig, unhex("c3 00000001 08 0102030405060708 00 00 4004 01020304" + strings.Repeat("00", 40))},
	{"stun", proto.UDP, proto.Orig, unhex("0001 0000 2112a442 0102030405060708090a0b0c")},
	{"zeros", proto.TCP | proto.UDP, proto.Orig, strings.Repeat("\x00", 300)},
	{"ones", proto.TCP | proto.UDP, proto.Orig, strings.Repeat("\xff", 300)},
	{"text", proto.TCP | proto.UDP, proto.Orig, strings.Repeat("the quick brown fox ", 100)},
}

// testStrangers shows the probe how other protocols begin: it may not take one
// for its own, nor wait for ever.
func testStrangers(t *testing.T, p proto.Protocol) {
	for _, s := range strangers {
		if s.kind == p.Name || s.transport&p.Transport == 0 {
			continue
		}
		for n := range len(s.bytes) + 1 {
			for _, dir := range []proto.Dir{s.dir, s.dir.Flip()} {
				if p.Probe(dir, []byte(s.bytes[:n])) == proto.Yes {
					t.Errorf("Probe takes the first %d bytes of %s for its own", n, s.kind)
				}
			}
		}
		long := []byte(s.bytes)
		for len(long) < proto.MaxProbe {
			long = append(long, s.bytes...)
		}
		if v := p.Probe(s.dir, long[:proto.MaxProbe]); v != proto.No {
			t.Errorf("Probe says %v of %d bytes of %s", v, proto.MaxProbe, s.kind)
		}
	}
}
