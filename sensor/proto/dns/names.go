package dns

import "strconv"

// Record types that are decoded or have a meaning of their own (IANA registry
// "Resource Record (RR) TYPEs").
const (
	typeA      = 1
	typeNS     = 2
	typeCNAME  = 5
	typeSOA    = 6
	typePTR    = 12
	typeMX     = 15
	typeTXT    = 16
	typeAAAA   = 28
	typeSRV    = 33
	typeDNAME  = 39
	typeOPT    = 41
	typeDS     = 43
	typeDNSKEY = 48
	typeSVCB   = 64
	typeHTTPS  = 65
	typeSPF    = 99
	typeCAA    = 257
)

// typeName returns the mnemonic of a record type, or TYPEn (RFC 3597).
func typeName(t uint16) string {
	switch {
	case int(t) < len(lowTypes) && lowTypes[t] != "":
		return lowTypes[t]
	case t >= 249 && int(t)-249 < len(highTypes):
		return highTypes[t-249]
	}
	switch t {
	case typeSPF:
		return "SPF"
	case 100:
		return "UINFO"
	case 101:
		return "UID"
	case 102:
		return "GID"
	case 103:
		return "UNSPEC"
	case 104:
		return "NID"
	case 105:
		return "L32"
	case 106:
		return "L64"
	case 107:
		return "LP"
	case 108:
		return "EUI48"
	case 109:
		return "EUI64"
	case 32768:
		return "TA"
	case 32769:
		return "DLV"
	}
	return "TYPE" + strconv.Itoa(int(t))
}

var lowTypes = [...]string{
	1: "A", 2: "NS", 3: "MD", 4: "MF", 5: "CNAME", 6: "SOA", 7: "MB", 8: "MG", 9: "MR", 10: "NULL",
	11: "WKS", 12: "PTR", 13: "HINFO", 14: "MINFO", 15: "MX", 16: "TXT", 17: "RP", 18: "AFSDB", 19: "X25", 20: "ISDN",
	21: "RT", 22: "NSAP", 23: "NSAP-PTR", 24: "SIG", 25: "KEY", 26: "PX", 27: "GPOS", 28: "AAAA", 29: "LOC", 30: "NXT",
	31: "EID", 32: "NIMLOC", 33: "SRV", 34: "ATMA", 35: "NAPTR", 36: "KX", 37: "CERT", 38: "A6", 39: "DNAME", 40: "SINK",
	41: "OPT", 42: "APL", 43: "DS", 44: "SSHFP", 45: "IPSECKEY", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 49: "DHCID", 50: "NSEC3",
	51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 55: "HIP", 56: "NINFO", 57: "RKEY", 58: "TALINK", 59: "CDS", 60: "CDNSKEY",
	61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD", 64: "SVCB", 65: "HTTPS",
}

var highTypes = [...]string{
	"TKEY", "TSIG", "IXFR", "AXFR", "MAILB", "MAILA", "ANY", "URI", "CAA", "AVC", "DOA", "AMTRELAY", "RESINFO",
}

// className returns the mnemonic of a class, or CLASSn (RFC 3597). The top
// bit of IN is a flag of multicast DNS and left aside.
func className(c uint16) string {
	switch c {
	case 1, 0x8001:
		return "IN"
	case 3:
		return "CH"
	case 4:
		return "HS"
	case 254:
		return "NONE"
	case 255, 0x80ff:
		return "ANY"
	}
	return "CLASS" + strconv.Itoa(int(c))
}

func opcodeName(o uint16) string {
	switch o {
	case 0:
		return "QUERY"
	case 1:
		return "IQUERY"
	case 2:
		return "STATUS"
	case 4:
		return "NOTIFY"
	case 5:
		return "UPDATE"
	case 6:
		return "DSO"
	}
	return "OPCODE" + strconv.Itoa(int(o))
}

// rcodeName returns the mnemonic of a response code, the upper bits of EDNS
// included (IANA registry "DNS RCODEs"), or RCODEn.
func rcodeName(r uint16) string {
	if int(r) < len(rcodes) && rcodes[r] != "" {
		return rcodes[r]
	}
	return "RCODE" + strconv.Itoa(int(r))
}

var rcodes = [...]string{
	0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET",
	8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE", 11: "DSOTYPENI",
	16: "BADVERS", 17: "BADKEY", 18: "BADTIME", 19: "BADMODE", 20: "BADNAME", 21: "BADALG", 22: "BADTRUNC", 23: "BADCOOKIE",
}
