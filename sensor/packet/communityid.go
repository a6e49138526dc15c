package packet

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"net/netip"
)

// CommunityID returns the flow's Community ID, version 1 with seed 0
// (https://github.com/corelight/community-id-spec): the same for both
// directions. Ports count for TCP, UDP and SCTP; for ICMP and ICMPv6 they are
// those of Packet.SrcPort and DstPort, or simply type and code. Without IP
// addresses there is none, and the result is empty.
func CommunityID(src, dst netip.Addr, proto uint8, srcPort, dstPort uint16) string {
	if !src.IsValid() || !dst.IsValid() {
		return ""
	}
	ports, oneWay := false, false
	switch proto {
	case ProtoTCP, ProtoUDP, ProtoSCTP:
		ports = true
	case ProtoICMP, ProtoICMPv6:
		ports = true
		answer, ok := icmpAnswer(proto, uint8(srcPort))
		if ok {
			dstPort = uint16(answer)
		}
		oneWay = !ok
	}
	if c := src.Compare(dst); !oneWay && (c > 0 || c == 0 && ports && srcPort > dstPort) {
		src, dst = dst, src
		srcPort, dstPort = dstPort, srcPort
	}
	buf := make([]byte, 0, 2+16+16+2+4)
	buf = append(buf, 0, 0) // seed
	buf = appendAddr(buf, src)
	buf = appendAddr(buf, dst)
	buf = append(buf, proto, 0)
	if ports {
		buf = binary.BigEndian.AppendUint16(buf, srcPort)
		buf = binary.BigEndian.AppendUint16(buf, dstPort)
	}
	hash := sha1.Sum(buf)
	id := make([]byte, 0, 2+28)
	id = append(id, "1:"...)
	return string(base64.StdEncoding.AppendEncode(id, hash[:]))
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		v := a.As4()
		return append(b, v[:]...)
	}
	v := a.As16()
	return append(b, v[:]...)
}

// icmpAnswer returns the type that answers a message of type t, or that t
// answers. It reports false for messages that stand alone.
func icmpAnswer(proto, t uint8) (uint8, bool) {
	if proto == ProtoICMP {
		switch t {
		case 0: // echo reply
			return 8, true
		case 8: // echo
			return 0, true
		case 9: // router advertisement
			return 10, true
		case 10: // router solicitation
			return 9, true
		case 13: // timestamp
			return 14, true
		case 14: // timestamp reply
			return 13, true
		case 15: // information request
			return 16, true
		case 16: // information reply
			return 15, true
		case 17: // address mask request
			return 18, true
		case 18: // address mask reply
			return 17, true
		}
		return 0, false
	}
	switch t {
	case 128: // echo request
		return 129, true
	case 129: // echo reply
		return 128, true
	case 130: // multicast listener query
		return 131, true
	case 131: // multicast listener report
		return 130, true
	case 133: // router solicitation
		return 134, true
	case 134: // router advertisement
		return 133, true
	case 135: // neighbour solicitation
		return 136, true
	case 136: // neighbour advertisement
		return 135, true
	case 139: // node information query
		return 140, true
	case 140: // node information response
		return 139, true
	case 144: // home agent address discovery request
		return 145, true
	case 145: // home agent address discovery reply
		return 144, true
	}
	return 0, false
}
