//go:build linux

package afpacket

import "golang.org/x/sys/unix"

// share is the program by which the kernel chooses the socket for a packet: a
// hash of the pair of addresses, the same in both directions.
//
// The kernel's own PACKET_FANOUT_HASH takes the ports in too. It would part
// the fragments of a datagram, which have no ports, from the whole datagrams
// of its flow, unless the kernel is told to put fragments together
// (PACKET_FANOUT_FLAG_DEFRAG), which does so for IPv4 only and hides from the
// sensor what was on the wire. All flows of two hosts on one socket is also
// what workers have that read files.
//
// IPv4, IPv6 and ARP are looked at behind up to two tags that are still in the
// packet, which makes three with the one that the kernel takes out. Of
// everything else, such as MPLS or PPPoE, the pair of MAC addresses decides.
//
// PACKET_FANOUT_FLAG_ROLLOVER is not used: it gives packets that find one ring
// full to another socket, which knows nothing of their flow.
func share() []unix.SockFilter {
	const (
		loadHalf = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
		loadWord = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		keep     = unix.BPF_MISC | unix.BPF_TAX
		xor      = unix.BPF_ALU | unix.BPF_XOR | unix.BPF_X
		multiply = unix.BPF_ALU | unix.BPF_MUL | unix.BPF_K
		shift    = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
		equal    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		give     = unix.BPF_RET | unix.BPF_A

		// linux/filter.h. Where a packet's data begins differs between those
		// that come and those that go, so everything is counted from headers.
		protocol = 0xfffff000 // SKF_AD_OFF + SKF_AD_PROTOCOL
		network  = 0xfff00000 // SKF_NET_OFF
		link     = 0xffe00000 // SKF_LL_OFF

		maxTags = 2
	)
	var code []unix.SockFilter
	add := func(op uint16, k uint32) { code = append(code, unix.SockFilter{Code: op, K: k}) }
	// when adds a body that is for one of some values of what was loaded.
	when := func(body func(), values ...uint32) {
		last := len(code) + len(values) - 1
		for i, v := range values {
			add(equal, v)
			code[len(code)-1].Jt = uint8(len(values) - 1 - i)
		}
		body()
		code[last].Jf = uint8(len(code) - last - 1)
	}
	// hash ends with the hash of all words at some offsets. It is the same
	// whatever their order, and so in both directions.
	hash := func(offsets ...uint32) {
		add(loadWord, offsets[0])
		for _, o := range offsets[1:] {
			add(keep, 0)
			add(loadWord, o)
			add(xor, 0)
		}
		add(multiply, 0x9e3779b1) // 2^32 divided by the golden ratio: all bits count
		add(shift, 16)
		add(give, 0) // the kernel takes it modulo the number of sockets
	}
	// look takes the header at an offset, whose type was loaded.
	var look func(at uint32, tags int)
	look = func(at uint32, tags int) {
		when(func() { hash(at+12, at+16) }, unix.ETH_P_IP)
		when(func() { hash(at+8, at+12, at+16, at+20, at+24, at+28, at+32, at+36) }, unix.ETH_P_IPV6)
		when(func() { hash(at+14, at+24) }, unix.ETH_P_ARP)
		if tags < maxTags {
			when(func() {
				add(loadHalf, at+2)
				look(at+tagLength, tags+1)
			}, unix.ETH_P_8021Q, unix.ETH_P_8021AD, unix.ETH_P_QINQ1)
		}
	}
	add(loadWord, protocol)
	look(network, 0)
	hash(link+2, link+8) // the last four bytes of each MAC address
	return code
}
