package sensor

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/packet"
)

const (
	// arpWindow is for how long the same ARP message makes no other event.
	arpWindow = time.Minute
	// maxARPs is how many different messages a shard remembers. Beyond it the
	// oldest is forgotten, and may make an event sooner.
	maxARPs = 4096
)

// arpKey is what makes two ARP messages the same.
type arpKey struct {
	op                 uint16
	vlan               uint16
	iface              int
	senderIP, targetIP netip.Addr
	senderMAC          event.MAC
}

// arpState is a message that made an event.
type arpState struct {
	key       arpKey
	until     int64 // on the clock
	last      time.Time
	targetMAC event.MAC
	frame     [2]event.MAC
	inner     uint16
	repeats   uint64 // since the last event
	ordinal   uint64
}

// arps makes events of ARP messages, at most one of each a minute. What
// repeats within a minute is counted and told by an event at its end.
type arps struct {
	sh    *shard
	seen  map[arpKey]*arpState
	queue []*arpState // by until
}

func (a *arps) packet(p *packet.Packet) {
	now := a.sh.w.clock.steady
	m := &p.ARP
	key := arpKey{m.Op, p.VLAN, p.Iface, m.SenderIP, m.TargetIP, m.SenderMAC}
	s := a.seen[key]
	if s != nil {
		s.repeats++
		s.last = p.Time
		a.sh.w.account(p.Iface)[countARPRepeats]++
		return
	}
	if len(a.queue) >= maxARPs {
		a.oldest(now, true)
	}
	s = &arpState{key: key, last: p.Time, targetMAC: m.TargetMAC, frame: [2]event.MAC{p.SrcMAC, p.DstMAC}, inner: p.InnerVLAN}
	a.seen[key] = s
	a.emit(s, now)
}

// advance tells of what was repeated in windows that are over.
func (a *arps) advance(now int64) {
	for len(a.queue) > 0 && a.queue[0].until <= now {
		a.oldest(now, false)
	}
}

// close tells of all repetitions.
func (a *arps) close() {
	for len(a.queue) > 0 {
		a.oldest(0, true)
	}
}

// oldest ends the oldest window. If the message was repeated in it another
// window begins, unless it is to be forgotten.
func (a *arps) oldest(now int64, forget bool) {
	s := a.queue[0]
	a.queue[0] = nil
	a.queue = a.queue[1:]
	repeated := s.repeats > 0
	if forget || !repeated {
		delete(a.seen, s.key)
		s.until = -1
	}
	if repeated {
		a.emit(s, now)
	}
}

// emit makes an event, and begins a window unless the message is forgotten.
func (a *arps) emit(s *arpState, now int64) {
	k := &s.key
	if a.sh.w.cfg.CountOnly {
		a.sh.w.account(k.iface)[countEvents]++
		a.sh.w.tally.arps++
		a.again(s, now)
		return
	}
	e := event.Event{Time: s.last.UTC(), Kind: event.KindARP}
	e.Flow = event.Flow{
		Src:  event.Endpoint{IP: k.senderIP, MAC: s.frame[0]},
		Dst:  event.Endpoint{IP: k.targetIP, MAC: s.frame[1]},
		VLAN: k.vlan, InnerVLAN: s.inner,
	}
	op := "request"
	switch k.op {
	case 1:
	case 2:
		op = "reply"
	default:
		op = strconv.Itoa(int(k.op))
	}
	fields := append(make([]event.Field, 0, 6),
		event.Field{Name: "arp.operation", Value: event.Str(op)},
		event.Field{Name: "arp.sender.ip", Value: event.IP(k.senderIP)},
		event.Field{Name: "arp.sender.mac", Value: event.Str(k.senderMAC.String())},
		event.Field{Name: "arp.target.ip", Value: event.IP(k.targetIP)})
	if s.targetMAC != (event.MAC{}) {
		fields = append(fields, event.Field{Name: "arp.target.mac", Value: event.Str(s.targetMAC.String())})
	}
	if s.repeats > 0 {
		fields = append(fields, event.Field{Name: "arp.repeats", Value: event.Uint(s.repeats)})
	}
	e.Fields = fields

	w := a.sh.w
	t := w.tap(k.iface)
	e.Sensor, e.Iface = t.sensor, t.name
	h := w.hasher
	h.Reset()
	h.Str(t.sensor)
	h.Str(string(event.KindARP))
	src, dst := k.senderIP.As16(), k.targetIP.As16()
	h.Bytes(src[:])
	h.Bytes(dst[:])
	h.Bytes(k.senderMAC[:])
	h.Uint(uint64(k.op)<<32 | uint64(k.vlan))
	h.Time(s.last)
	h.Uint(s.ordinal)
	e.ID = h.ID(e.Time)
	made := w.blank()
	*made = e
	w.emit(made, k.iface)
	a.again(s, now)
}

// again begins a window, unless the message is forgotten.
func (a *arps) again(s *arpState, now int64) {
	s.ordinal++
	s.repeats = 0
	if s.until >= 0 {
		s.until = now + int64(arpWindow)
		a.queue = append(a.queue, s)
	}
}
