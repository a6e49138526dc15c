package tls

import (
	"bytes"
	"crypto/dsa" //lint:ignore SA1019 old devices still have such certificates, and that is worth saying
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
)

// chain is what is kept of a chain of certificates.
type chain struct {
	*certificate     // the first
	length       int // certificates
}

// certificate does not change.
type certificate struct {
	sha256     string
	err        string // why it could not be read
	x509       bool   // it could, so the rest is known
	subject    string
	issuer     string
	subjectCN  string
	issuerCN   string
	serial     string
	notBefore  time.Time
	notAfter   time.Time
	names      []event.Value
	key        string
	keySize    int
	signature  string
	version    int
	selfSigned bool
}

// certificates takes a Certificate message up to TLS 1.2 (RFC 5246 section
// 7.4.2). A client that has none sends an empty list.
func (h *handshake) certificates(ofServer bool, b []byte) {
	to := &h.clientCert
	if ofServer {
		to = &h.serverCert
	}
	if to.certificate != nil {
		return
	}
	if len(b) < 3 || 3+u24(b) != len(b) {
		h.anomalies |= malformed
		return
	}
	for b = b[3:]; len(b) > 0; {
		if len(b) < 3 || 3+u24(b) > len(b) {
			h.anomalies |= malformed
			break
		}
		der := b[3 : 3+u24(b)]
		b = b[3+len(der):]
		if to.certificate == nil {
			s := scratches.Get().(*scratch)
			to.certificate = s.known.certificate(der)
			scratches.Put(s)
		}
		to.length++
	}
}

// maxKnown is how many certificates are remembered.
const maxKnown = 128

// known remembers certificates by their hash: a network's servers are few, and
// to read a certificate takes as long as everything else of a handshake.
type known map[[sha256.Size]byte]*certificate

func (k *known) certificate(der []byte) *certificate {
	sum := sha256.Sum256(der)
	if c := (*k)[sum]; c != nil {
		return c
	}
	if *k == nil {
		*k = known{}
	}
	if len(*k) == maxKnown {
		clear(*k)
	}
	c := parseCertificate(der, sum)
	(*k)[sum] = c
	return c
}

func parseCertificate(der []byte, sum [sha256.Size]byte) *certificate {
	c := &certificate{sha256: strings.ToUpper(hex.EncodeToString(sum[:]))}
	// What is kept refers to no part of der, which is the parser's input.
	x, err := x509.ParseCertificate(bytes.Clone(der))
	if err != nil {
		c.err = text([]byte(err.Error()))
		return c
	}
	c.x509 = true
	c.subject, c.issuer = text([]byte(x.Subject.String())), text([]byte(x.Issuer.String()))
	c.subjectCN, c.issuerCN = text([]byte(x.Subject.CommonName)), text([]byte(x.Issuer.CommonName))
	if x.SerialNumber != nil {
		serial := strings.ToUpper(x.SerialNumber.Text(16))
		c.serial = serial[:min(len(serial), 128)]
	}
	c.notBefore, c.notAfter = x.NotBefore.UTC(), x.NotAfter.UTC()
	c.signature, c.version = x.SignatureAlgorithm.String(), x.Version
	switch k := x.PublicKey.(type) {
	case *rsa.PublicKey:
		c.key, c.keySize = "rsa", k.N.BitLen()
	case *ecdsa.PublicKey:
		c.key, c.keySize = "ecdsa", k.Curve.Params().BitSize
	case *dsa.PublicKey:
		c.key, c.keySize = "dsa", k.P.BitLen()
	case ed25519.PublicKey:
		c.key, c.keySize = "ed25519", 8*len(k)
	}
	add := func(s string) {
		if len(c.names) < maxNames {
			c.names = append(c.names, event.Str(text([]byte(s))))
		}
	}
	for _, n := range x.DNSNames {
		add(n)
	}
	for _, a := range x.IPAddresses {
		add(a.String())
	}
	for _, m := range x.EmailAddresses {
		add(m)
	}
	for _, u := range x.URIs {
		add(u.String())
	}
	c.selfSigned = bytes.Equal(x.RawSubject, x.RawIssuer) &&
		(len(x.AuthorityKeyId) == 0 || bytes.Equal(x.AuthorityKeyId, x.SubjectKeyId))
	return c
}
