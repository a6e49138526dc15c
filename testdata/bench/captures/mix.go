package main

// part is a recording and how often it is in each copy of a mix.
type part struct {
	path  string
	times int
}

// once takes each recording once.
func once(paths []string) []part {
	parts := make([]part, len(paths))
	for i, path := range paths {
		parts[i] = part{path, 1}
	}
	return parts
}

// mix is what the mixed capture is made of where there is a TOCSIN_CORPUS,
// below which the paths lie: downloads, web, mail, files, names, telephony and
// a few field devices, in such shares that a packet has 680 bytes on average,
// as on the uplink of a site.
var mix = []part{
	{"ndpi/pcap/bot.pcap", 14}, // a crawler: whole pages over HTTP
	{"ja4/pcap/tls-handshake.pcapng", 2},
	{"ja4/pcap/tls-sni.pcapng", 1},
	{"ja4/pcap/latest.pcapng", 1},
	{"ja4/pcap/browsers-x509.pcapng", 1},
	{"ja4/pcap/chrome-cloudflare-quic-with-secrets.pcapng", 2},
	{"zeek/pcap/quic__curl-8.1.2-dev-http3-www-google-de.pcap", 8},
	{"zeek/pcap/tls__tls1.2.pcap", 1},
	{"zeek/pcap/tls__tls13-ech.pcap", 1},
	{"zeek/pcap/http__pipelined-requests.pcap", 4},
	{"zeek/pcap/wikipedia.pcap", 1},
	{"zeek/pcap/dnssec__rrsig.pcap", 8},
	{"zeek/pcap/dns-two-responses.pcap", 16},
	{"zeek/pcap/dns-txt-multiple.pcap", 8},
	{"arkime/pcap/dns-punycode.pcap", 16},
	{"tcpdump/pcap/dns_tcp.pcap", 4},
	{"ndpi/pcap/netbios.pcap", 1},
	{"zeek/pcap/smb__smb1.pcap", 10},
	{"zeek/pcap/smb__smb2readwrite.pcap", 2},
	{"zeek/pcap/dce-rpc__mapi.pcap", 1},
	{"zeek/pcap/krb__kinit.pcap", 1},
	{"zeek/pcap/ldap__ldap_invalid_credentials.pcap", 1},
	{"zeek/pcap/smtp.pcap", 1},
	{"zeek/pcap/pop3__pop3.pcap", 1},
	{"zeek/pcap/tls__imap-starttls.pcap", 1},
	{"zeek/pcap/sip__wireshark.pcap", 1},
	{"zeek/pcap/ssh__single-conn.pcap", 1},
	{"zeek/pcap/ntp__ntp.pcap", 1},
	{"zeek/pcap/snmp__snmpv1_get.pcap", 1},
	{"arkime/pcap/modbus.pcap", 1},
	{"ndpi/pcap/dnp3.pcap", 1},
	{"ndpi/pcap/iec60780-5-104.pcap", 1},
	{"ndpi/pcap/s7comm.pcap", 1},
}
