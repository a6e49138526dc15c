package sensor

import "github.com/tocsin/tocsin/sensor/proto"

// set is a set of protocols, by their index in Config.Protocols.
type set uint64

// knowledge is what is known of protocols before any packet, arranged so that a
// flow finds those that it may be of at the cost of a look-up, however many
// others there are.
type knowledge struct {
	tcp, udp transportKnowledge
}

// transportKnowledge is that of the protocols over one transport.
type transportKnowledge struct {
	all   set
	ports map[uint16]set
	first [2][256]set // by direction, and what their first byte may be
}

func newKnowledge(protocols []proto.Protocol) *knowledge {
	k := &knowledge{}
	k.tcp.learn(protocols, proto.TCP, func(p *proto.Protocol, dir proto.Dir, c byte) bool {
		return p.Probe(dir, []byte{c}) != proto.No
	})
	k.udp.learn(protocols, proto.UDP, func(p *proto.Protocol, _ proto.Dir, c byte) bool {
		return p.First == nil || p.First(c)
	})
	return k
}

func (k *transportKnowledge) learn(protocols []proto.Protocol, over proto.Transport, begins func(*proto.Protocol, proto.Dir, byte) bool) {
	k.ports = map[uint16]set{}
	for i := range protocols {
		p := &protocols[i]
		if p.Transport&over == 0 {
			continue
		}
		k.all |= 1 << i
		for _, port := range p.Ports {
			k.ports[port] |= 1 << i
		}
		for dir := range k.first {
			for c := range k.first[dir] {
				if may(func() bool { return begins(p, proto.Dir(dir), byte(c)) }) {
					k.first[dir][c] |= 1 << i
				}
			}
		}
	}
}

// may is what a protocol says, and yes if it panics: that is counted when it
// does so on a flow.
func may(ask func() bool) (yes bool) {
	defer func() {
		if recover() != nil {
			yes = true
		}
	}()
	return ask()
}
