package tls

import (
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

var fieldDocs = []event.FieldDoc{
	{Name: "tls.cipher", Type: event.Keyword, Help: "Cipher suite that the server chose, by its IANA name.", Class: event.ClassTechnical},
	{Name: "tls.client.hash.sha256", Type: event.Keyword, Help: "SHA-256 of the client's certificate, upper-case hexadecimal.", Class: event.ClassTechnical},
	{Name: "tls.client.issuer", Type: event.Keyword, Help: "Issuer of the client's certificate.", Class: event.ClassTopology},
	{Name: "tls.client.ja3", Type: event.Keyword, Help: "JA3 fingerprint of the client.", Class: event.ClassTechnical},
	{Name: "tls.client.ja4", Type: event.Keyword, Help: "JA4 fingerprint of the client.", Class: event.ClassTechnical},
	{Name: "tls.client.not_after", Type: event.Date, Help: "End of validity of the client's certificate.", Class: event.ClassTechnical},
	{Name: "tls.client.not_before", Type: event.Date, Help: "Begin of validity of the client's certificate.", Class: event.ClassTechnical},
	{Name: "tls.client.server_name", Type: event.Keyword, Help: "Server that the client asks for (SNI), lower-cased.", Class: event.ClassTopology},
	{Name: "tls.client.subject", Type: event.Keyword, Help: "Subject of the client's certificate.", Class: event.ClassPersonal},
	{Name: "tls.client.supported_ciphers", Type: event.Keyword, Help: "Cipher suites that the client offers, in its order, at most 64.", Class: event.ClassTechnical},
	{Name: "tls.curve", Type: event.Keyword, Help: "Group of the key exchange.", Class: event.ClassTechnical},
	{Name: "tls.established", Type: event.Boolean, Help: "Whether both sides were seen to finish the handshake.", Class: event.ClassTechnical},
	{Name: "tls.next_protocol", Type: event.Keyword, Help: "Application protocol that the server chose (ALPN), where it is not encrypted.", Class: event.ClassTechnical},
	{Name: "tls.resumed", Type: event.Boolean, Help: "Whether an earlier session was resumed.", Class: event.ClassTechnical},
	{Name: "tls.server.hash.sha256", Type: event.Keyword, Help: "SHA-256 of the server's certificate, upper-case hexadecimal.", Class: event.ClassTechnical},
	{Name: "tls.server.issuer", Type: event.Keyword, Help: "Issuer of the server's certificate.", Class: event.ClassTopology},
	{Name: "tls.server.ja3s", Type: event.Keyword, Help: "JA3S fingerprint of the server.", Class: event.ClassTechnical},
	{Name: "tls.server.not_after", Type: event.Date, Help: "End of validity of the server's certificate.", Class: event.ClassTechnical},
	{Name: "tls.server.not_before", Type: event.Date, Help: "Begin of validity of the server's certificate.", Class: event.ClassTechnical},
	{Name: "tls.server.subject", Type: event.Keyword, Help: "Subject of the server's certificate.", Class: event.ClassTopology},
	{Name: "tls.server.x509.alternative_names", Type: event.Keyword, Help: "Other names in the server's certificate, at most 32.", Class: event.ClassTopology},
	{Name: "tls.server.x509.issuer.common_name", Type: event.Keyword, Help: "Common name of the issuer.", Class: event.ClassTopology},
	{Name: "tls.server.x509.public_key_algorithm", Type: event.Keyword, Help: "rsa, ecdsa, dsa or ed25519.", Class: event.ClassTechnical},
	{Name: "tls.server.x509.public_key_size", Type: event.Long, Help: "Size of the public key, bits.", Class: event.ClassTechnical},
	{Name: "tls.server.x509.serial_number", Type: event.Keyword, Help: "Serial number, upper-case hexadecimal.", Class: event.ClassTechnical},
	{Name: "tls.server.x509.signature_algorithm", Type: event.Keyword, Help: "Algorithm that the certificate is signed with.", Class: event.ClassTechnical},
	{Name: "tls.server.x509.subject.common_name", Type: event.Keyword, Help: "Common name of the subject.", Class: event.ClassTopology},
	{Name: "tls.server.x509.version_number", Type: event.Keyword, Help: "Version of the certificate's format.", Class: event.ClassTechnical},
	{Name: "tls.version", Type: event.Keyword, Help: "Version that the server chose, such as 1.2.", Class: event.ClassTechnical},
	{Name: "tls.version_protocol", Type: event.Keyword, Help: "tls or ssl.", Class: event.ClassTechnical},
	{Name: "tocsin.protocol.anomaly", Type: event.Keyword, Help: "What is odd about the transaction: unsolicited_response, no_response, …", Class: event.ClassTechnical},
	{Name: "tocsin.tls.alert", Type: event.Keyword, Help: "Alerts before encryption began, such as handshake_failure.", Class: event.ClassTechnical},
	{Name: "tocsin.tls.certificate.chain_length", Type: event.Long, Help: "Certificates that the server sent.", Class: event.ClassTechnical},
	{Name: "tocsin.tls.certificate.error", Type: event.Keyword, Help: "Why the server's certificate could not be read.", Class: event.ClassTechnical},
	{Name: "tocsin.tls.certificate.expired", Type: event.Boolean, Help: "Whether the handshake was outside the validity of the server's certificate.", Class: event.ClassTechnical},
	{Name: "tocsin.tls.certificate.self_signed", Type: event.Boolean, Help: "Whether the server's certificate names itself as its issuer.", Class: event.ClassTechnical},
	{Name: "tocsin.tls.client.alpn", Type: event.Keyword, Help: "Application protocols that the client offers, at most 16.", Class: event.ClassTechnical},
	{Name: "tocsin.tls.client.version", Type: event.Keyword, Help: "Highest version that the client offers.", Class: event.ClassTechnical},
	{Name: "tocsin.tls.ech", Type: event.Boolean, Help: "Whether the client sent an encrypted hello (ECH), so that the server name may be that of a front.", Class: event.ClassTechnical},
	{Name: "tocsin.tls.esni", Type: event.Boolean, Help: "Whether the client sent an encrypted server name (ESNI).", Class: event.ClassTechnical},
	{Name: "tocsin.tls.hello_retry", Type: event.Boolean, Help: "Whether the server asked for a second hello.", Class: event.ClassTechnical},
	{Name: "tocsin.tls.latency", Type: event.Long, Help: "From the client's hello to the server's, nanoseconds.", Class: event.ClassTechnical},
}

// emit makes the event of the handshake.
func (h *handshake) emit(out *proto.Out) {
	s := scratches.Get().(*scratch)
	s.fields = s.fields[:0]
	add := func(name string, v event.Value) { s.fields = append(s.fields, event.Field{Name: name, Value: v}) }
	str := func(name, v string) {
		if v != "" {
			add(name, event.Str(v))
		}
	}
	list := func(name string, vs []event.Value) {
		if len(vs) > 0 {
			add(name, event.List(vs...))
		}
	}
	flag := func(name string, b bool) {
		if b {
			add(name, event.Bool(true))
		}
	}
	c, v := &h.client, &h.server
	add("tls.established", event.Bool(h.established))
	if c.seen {
		version, _ := versionName(c.version)
		add("tocsin.tls.client.version", event.Str(version))
		str("tls.client.server_name", c.name)
		str("tls.client.ja3", c.ja3)
		str("tls.client.ja4", c.ja4)
		ciphers := out.Values(len(c.ciphers))
		for _, v := range c.ciphers {
			ciphers = append(ciphers, event.Str(cipherName(v)))
		}
		list("tls.client.supported_ciphers", ciphers)
		list("tocsin.tls.client.alpn", c.protocols)
		flag("tocsin.tls.ech", c.ech)
		flag("tocsin.tls.esni", c.esni)
	}
	if v.seen {
		version, protocol := versionName(v.version)
		add("tls.version", event.Str(version))
		add("tls.version_protocol", event.Str(protocol))
		if v.version != version2 {
			add("tls.cipher", event.Str(cipherName(v.cipher)))
			add("tls.resumed", event.Bool(h.resumed()))
		}
		if v.group != 0 {
			add("tls.curve", event.Str(groupName(v.group)))
		}
		str("tls.next_protocol", v.protocol)
		str("tls.server.ja3s", v.ja3s)
		flag("tocsin.tls.hello_retry", h.retried)
		if c.seen {
			add("tocsin.tls.latency", event.Int(int64(v.at.Sub(h.at))))
		}
	}
	if x := &h.serverCert; x.certificate != nil {
		add("tls.server.hash.sha256", event.Str(x.sha256))
		add("tocsin.tls.certificate.chain_length", event.Int(int64(x.length)))
		str("tocsin.tls.certificate.error", x.err)
		if x.x509 {
			str("tls.server.subject", x.subject)
			str("tls.server.issuer", x.issuer)
			str("tls.server.x509.subject.common_name", x.subjectCN)
			str("tls.server.x509.issuer.common_name", x.issuerCN)
			str("tls.server.x509.serial_number", x.serial)
			str("tls.server.x509.signature_algorithm", x.signature)
			str("tls.server.x509.public_key_algorithm", x.key)
			if x.keySize > 0 {
				add("tls.server.x509.public_key_size", event.Int(int64(x.keySize)))
			}
			add("tls.server.x509.version_number", event.Str(string(rune('0'+x.version))))
			list("tls.server.x509.alternative_names", x.names)
			add("tls.server.not_before", event.Time(x.notBefore))
			add("tls.server.not_after", event.Time(x.notAfter))
			add("tocsin.tls.certificate.self_signed", event.Bool(x.selfSigned))
			add("tocsin.tls.certificate.expired", event.Bool(h.at.Before(x.notBefore) || h.at.After(x.notAfter)))
		}
	}
	if x := &h.clientCert; x.certificate != nil {
		add("tls.client.hash.sha256", event.Str(x.sha256))
		if x.x509 {
			str("tls.client.subject", x.subject)
			str("tls.client.issuer", x.issuer)
			add("tls.client.not_before", event.Time(x.notBefore))
			add("tls.client.not_after", event.Time(x.notAfter))
		}
	}
	list("tocsin.tls.alert", h.alerts)
	if h.anomalies != 0 {
		names := out.Values(len(anomalyNames))
		for i, n := range anomalyNames {
			if h.anomalies&(1<<i) != 0 {
				names = append(names, event.Str(n))
			}
		}
		add("tocsin.protocol.anomaly", event.List(names...))
	}
	out.Emit(h.at, s.fields)
	clear(s.fields) // keep no event's values alive
	scratches.Put(s)
}

// resumed reports whether the keys are those of an earlier session: in TLS 1.3
// the server says so; before, it repeats the session that the client named or
// accepts its ticket (RFC 5077), and in both cases sends no certificate.
func (h *handshake) resumed() bool {
	if h.server.version == version13 {
		return h.server.resumed
	}
	return h.serverCert.certificate == nil && (h.server.echoed || h.established)
}
