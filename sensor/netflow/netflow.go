// Package netflow receives flow records from routers, switches and probes:
// NetFlow 5 and 9, IPFIX, and sFlow 5. Each record becomes a flow event; two that
// tell of the directions of one flow, as most exporters do, become one.
package netflow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	nf "github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/decoders/netflowlegacy"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/packet"
)

// Config bounds what exporters may make a Collector remember.
type Config struct {
	MaxExporters int // addresses of exporters; of more nothing is taken
	MaxTemplates int // templates of one exporter; more are refused
	MaxFields    int // fields of a template
	// Wait is how long a record waits for that of the other direction; 0: it
	// does not. MaxWaiting is how many of an exporter may wait, at some 350
	// bytes each; of more the oldest stay alone.
	Wait       time.Duration
	MaxWaiting int
}

// DefaultConfig is enough for a large site: some 8 MB at the bound of templates,
// and 7 MB for each exporter at the bound of what waits.
func DefaultConfig() Config {
	return Config{MaxExporters: 256, MaxTemplates: 64, MaxFields: 128, Wait: 10 * time.Second, MaxWaiting: 20_000}
}

// Collector turns datagrams into events. It is for one goroutine.
type Collector struct {
	cfg       Config
	exporters map[netip.Addr]*exporter
	hasher    *event.Hasher
	dec       packet.Decoder
	strangers uint64 // datagrams of exporters beyond the bound
}

// New makes a Collector that knows no exporter.
func New(cfg Config) *Collector {
	return &Collector{cfg: cfg, exporters: map[netip.Addr]*exporter{}, hasher: event.NewHasher()}
}

// exporter is what is remembered of one sender.
type exporter struct {
	name      string
	templates templates
	sequences map[uint64]sequence // by version and domain
	sampling  map[uint64]uint64   // likewise, of how many packets one is looked at
	pairs     pairing
	account   account
	minute    time.Time
	at        time.Time // of the datagram that is being read
}

// account is what became of an exporter's records within a minute.
type account struct {
	seen, decoded, events               uint64
	gap, noTemplate, malformed, refused uint64
}

// Fields documents what a Collector adds to the fields of flows and ledgers.
func Fields() []event.FieldDoc {
	doc := func(name, help string) event.FieldDoc {
		return event.FieldDoc{Name: name, Type: event.Long, Help: help, Class: event.ClassTechnical}
	}
	dropped := event.LedgerPrefix + event.DroppedPrefix
	return []event.FieldDoc{
		doc("tocsin.flow.sampling", "Of so many packets the exporter looked at one; the counters are multiplied by it."),
		doc(dropped+"sequence_gap", "Flow records that the exporter sent and that did not come, by its sequence numbers; of NetFlow 9 and sFlow datagrams."),
		doc(dropped+"no_template", "Sets of flow records whose template has not come yet."),
		doc(dropped+"malformed_export", "Flow records and datagrams that could not be read."),
		doc(dropped+"refused_export", "Templates beyond the bounds of memory."),
	}
}

// maxSequences bounds the observation domains of an exporter.
const maxSequences = 256

// Datagram takes one datagram and calls emit for each of its flows. at is when it
// came: the time of sFlow's packets and of the accounts, and of nothing else. The event is borrowed.
func (c *Collector) Datagram(from netip.Addr, at time.Time, b []byte, emit func(*event.Event)) error {
	from = from.Unmap()
	x := c.exporters[from]
	if x == nil {
		if len(c.exporters) >= c.cfg.MaxExporters {
			c.strangers++
			return fmt.Errorf("exporter %s: there are %d others already; its records are not taken", from, len(c.exporters))
		}
		x = &exporter{
			name: "netflow-" + from.String(), minute: at.Truncate(time.Minute),
			templates: templates{known: map[templateKey]any{}, most: c.cfg.MaxTemplates, fields: c.cfg.MaxFields},
			sequences: map[uint64]sequence{}, sampling: map[uint64]uint64{},
		}
		c.exporters[from] = x
	}
	if now := at.Truncate(time.Minute); now.After(x.minute) {
		x.close(c, emit)
		x.minute = now
	}
	x.at = at
	c.release(x, at.Add(-c.cfg.Wait), emit)
	err := c.read(x, b, emit)
	x.account.refused += x.templates.refused
	x.account.seen += x.templates.refused
	x.templates.refused = 0
	if err != nil {
		x.account.malformed++
		x.account.seen++
		return fmt.Errorf("exporter %s: %w", from, err)
	}
	return nil
}

// Close reports the accounts of the minute that is not over.
func (c *Collector) Close(emit func(*event.Event)) {
	for _, x := range c.exporters {
		for len(x.pairs.queue) > 0 {
			c.release(x, x.pairs.queue[0].came, emit)
		}
		x.close(c, emit)
	}
}

func (x *exporter) close(c *Collector, emit func(*event.Event)) {
	a := x.account
	x.account = account{}
	if a.seen == 0 && a.events == 0 {
		return
	}
	e := event.Event{Kind: event.KindLedger, Sensor: x.name, Time: x.minute.Add(time.Minute)}
	e.Flow.Start, e.Flow.End = x.minute, e.Time
	dropped := event.LedgerPrefix + event.DroppedPrefix
	for _, n := range []struct {
		name string
		n    uint64
	}{
		{event.LedgerPrefix + "seen", a.seen}, {event.LedgerPrefix + "decoded", a.decoded}, {event.LedgerPrefix + "filtered", 0},
		{event.LedgerPrefix + "events", a.events},
		{dropped + "sequence_gap", a.gap}, {dropped + "no_template", a.noTemplate}, {dropped + "malformed_export", a.malformed},
		{dropped + "refused_export", a.refused},
	} {
		e.Set(n.name, event.Uint(n.n))
	}
	c.hasher.Reset()
	c.hasher.Str("netflow ledger")
	c.hasher.Str(x.name)
	c.hasher.Time(x.minute)
	e.ID = c.hasher.ID(e.Time)
	emit(&e)
}

func (c *Collector) read(x *exporter, b []byte, emit func(*event.Event)) error {
	if len(b) < 4 {
		return errors.New("a datagram of less than 4 bytes")
	}
	switch version := binary.BigEndian.Uint16(b); {
	case version == 5:
		return c.version5(x, b, emit)
	case version == 9 || version == 10:
		return c.templated(x, b, emit)
	case binary.BigEndian.Uint32(b) == 5:
		return c.sflow(x, b, emit)
	default:
		return fmt.Errorf("version %d is none of NetFlow 5 and 9, IPFIX (10) and sFlow 5", version)
	}
}

// A sequence is where an exporter's numbers stand. They are of the records sent
// before a datagram (RFC 7011 section 3.1); some exporters number those sent with
// it, too, which shows as soon as datagrams differ in length.
type sequence struct {
	want     uint32 // the number to come, if it is as it should be
	last     uint32 // the number that came last
	included bool   // numbers include the datagram's own records
}

// follow compares a sequence number with the one that was to come. A number that
// is lower is a datagram that came late, or an exporter that began anew.
func (x *exporter) follow(key uint64, number, length uint32) {
	s, known := x.sequences[key]
	if !known && len(x.sequences) >= maxSequences {
		return
	}
	before, with := number-s.want, number-length-s.last // how far ahead, modulo 2^32
	switch {
	case before == 0:
		s.included = false
	case with == 0:
		s.included = true
	}
	ahead := before
	if s.included {
		ahead = with
	}
	const much = 1 << 20 // more than this is a new beginning, not a loss
	if known && ahead > 0 && ahead < much {
		x.account.gap += uint64(ahead)
		x.account.seen += uint64(ahead)
	}
	if late := -ahead; !known || ahead < 1<<31 || late > much {
		s.want, s.last = number+length, number
		x.sequences[key] = s
	}
}

func key(version uint16, domain uint32) uint64 { return uint64(version)<<32 | uint64(domain) }

const (
	header5 = 24
	record5 = 48
)

func (c *Collector) version5(x *exporter, b []byte, emit func(*event.Event)) error {
	count := int(binary.BigEndian.Uint16(b[2:]))
	if len(b) < header5+count*record5 {
		return fmt.Errorf("NetFlow 5: %d bytes are too few for %d records", len(b), count)
	}
	var p netflowlegacy.PacketNetFlowV5
	if err := netflowlegacy.DecodeMessageVersion(bytes.NewBuffer(b), &p); err != nil {
		return err
	}
	x.follow(key(5, uint32(p.EngineType)<<8|uint32(p.EngineId)), p.FlowSequence, uint32(count))
	boot := time.Unix(int64(p.UnixSecs), int64(p.UnixNSecs)).Add(-time.Duration(p.SysUptime) * time.Millisecond)
	sampling := uint64(p.SamplingInterval & 0x3fff) // the upper bits say how
	for i := range p.Records[:count] {
		r := &p.Records[i]
		f := record{
			src: ipv4(uint32(r.SrcAddr)), dst: ipv4(uint32(r.DstAddr)), srcPort: r.SrcPort, dstPort: r.DstPort, proto: r.Proto,
			flags: uint16(r.TCPFlags), packets: uint64(r.DPkts), bytes: uint64(r.DOctets),
			start: boot.Add(time.Duration(r.First) * time.Millisecond), end: boot.Add(time.Duration(r.Last) * time.Millisecond),
			sampling: sampling,
		}
		if f.proto == event.ProtoICMP {
			f.srcPort, f.dstPort = f.dstPort>>8, f.dstPort&0xff
		}
		c.emit(x, &f, emit)
	}
	return nil
}

func ipv4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func (c *Collector) templated(x *exporter, b []byte, emit func(*event.Event)) error {
	var v9 nf.NFv9Packet
	var v10 nf.IPFIXPacket
	// What was decoded before an error counts: a set without its template is
	// one, and others in the datagram have theirs.
	err := nf.DecodeMessageVersion(bytes.NewBuffer(b), &x.templates, &v9, &v10)
	sets, domain, version := v9.FlowSets, v9.SourceId, uint16(9)
	exported := time.Unix(int64(v9.UnixSeconds), 0)
	boot := exported.Add(-time.Duration(v9.SystemUptime) * time.Millisecond)
	if v10.Version == 10 {
		sets, domain, version = v10.FlowSets, v10.ObservationDomainId, 10
		exported = time.Unix(int64(v10.ExportTime), 0)
		boot = time.Time{}
	}
	k := key(version, domain)
	records := uint32(0)
	for _, set := range sets {
		switch s := set.(type) {
		case nf.DataFlowSet:
			for i := range s.Records {
				records++
				f := record{sampling: x.sampling[k], exported: exported, boot: boot}
				for _, v := range s.Records[i].Values {
					f.field(&v)
				}
				c.emit(x, &f, emit)
			}
		case nf.OptionsDataFlowSet:
			records += uint32(len(s.Records))
			for _, r := range s.Records {
				x.options(k, r.OptionsValues)
			}
		case nf.RawFlowSet:
			x.account.noTemplate++
			x.account.seen++
		}
	}
	switch {
	case version == 10 && v10.Version == 10:
		x.follow(k, v10.SequenceNumber, records)
	case v9.Version == 9:
		x.follow(k, v9.SequenceNumber, 1) // of datagrams (RFC 3954 section 5.1)
	}
	if errors.Is(err, nf.ErrorTemplateNotFound) || errors.Is(err, errRefused) {
		return nil // counted
	}
	return err
}

// options takes the sampling that an exporter tells of itself.
func (x *exporter) options(k uint64, values []nf.DataField) {
	for _, v := range values {
		switch v.Type {
		case 34, 50, 305: // samplingInterval, samplerRandomInterval, samplingPacketInterval
			if n := number(v.Value); n > 0 && n < 1<<24 && !v.PenProvided && len(x.sampling) < maxSequences {
				x.sampling[k] = n
			}
		}
	}
}

// record is a flow as an exporter tells of it.
type record struct {
	src, dst            netip.Addr
	srcMAC, dstMAC      event.MAC
	srcPort, dstPort    uint16
	proto               uint8
	flags               uint16
	vlan                uint16
	packets, bytes      uint64
	packets2, bytes2    uint64 // of the other direction
	start, end          time.Time
	boot, exported      time.Time
	sampling            uint64
	endReason, firewall uint64
	multiplied          bool   // the counters are of all packets already
	state               string // of both directions; "" of one
}

// Exporters' numbers of what a reverse counter is (RFC 5103).
const reversePEN = 29305

// field takes one information element (IANA's registry of IPFIX, of which
// NetFlow 9 has the beginning).
func (f *record) field(v *nf.DataField) {
	if v.PenProvided {
		if v.Pen == reversePEN {
			switch v.Type {
			case 1, 85:
				f.bytes2 = number(v.Value)
			case 2, 86:
				f.packets2 = number(v.Value)
			case 6:
				f.flags |= uint16(number(v.Value))
			}
		}
		return
	}
	raw, _ := v.Value.([]byte)
	n := number(v.Value)
	switch v.Type {
	case 1, 85:
		f.bytes = n
	case 2, 86:
		f.packets = n
	case 4:
		f.proto = uint8(n)
	case 6:
		f.flags = uint16(n)
	case 7:
		f.srcPort = uint16(n)
	case 11:
		f.dstPort = uint16(n)
	case 8, 27:
		f.src = address(raw, f.src)
	case 12, 28:
		f.dst = address(raw, f.dst)
	case 21:
		f.end = f.since(n)
	case 22:
		f.start = f.since(n)
	case 23:
		f.bytes2 = n
	case 24:
		f.packets2 = n
	case 32, 139:
		f.srcPort, f.dstPort = uint16(n>>8), uint16(n&0xff)
	case 34, 50, 305:
		f.sampling = n
	case 56:
		copy(f.srcMAC[:], raw)
	case 58, 243:
		f.vlan = uint16(n & 0xfff)
	case 80:
		copy(f.dstMAC[:], raw)
	case 136:
		f.endReason = n
	case 150:
		f.start = time.Unix(int64(uint32(n)), 0)
	case 151:
		f.end = time.Unix(int64(uint32(n)), 0)
	case 152:
		f.start = milliseconds(n)
	case 153:
		f.end = milliseconds(n)
	case 154, 156:
		f.start = ntp(n)
	case 155, 157:
		f.end = ntp(n)
	case 158:
		f.start = f.exported.Add(-time.Duration(uint32(n)) * time.Microsecond)
	case 159:
		f.end = f.exported.Add(-time.Duration(uint32(n)) * time.Microsecond)
	case 160:
		f.boot = milliseconds(n)
	case 233:
		f.firewall = n
	}
}

// since is a time in milliseconds since the exporter began.
func (f *record) since(n uint64) time.Time {
	if f.boot.IsZero() {
		return time.Time{}
	}
	return f.boot.Add(time.Duration(uint32(n)) * time.Millisecond)
}

func milliseconds(n uint64) time.Time { return time.UnixMilli(int64(n & (1<<48 - 1))) }

// ntp is a time since 1900, as 32 bits of seconds and 32 of their fraction.
func ntp(n uint64) time.Time {
	const to1970 = 2208988800
	return time.Unix(int64(n>>32)-to1970, int64((n&0xffffffff)*1e9>>32))
}

func number(v any) uint64 {
	b, _ := v.([]byte)
	if len(b) > 8 {
		b = b[len(b)-8:]
	}
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// address reads an address; of two of different families in one record the
// exporter fills the other with zeros.
func address(b []byte, other netip.Addr) netip.Addr {
	a, ok := netip.AddrFromSlice(b)
	if !ok || a.IsUnspecified() && other.IsValid() {
		return other
	}
	return a.Unmap()
}

// TCP flags.
const (
	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// emit takes a record, and makes an event of it now or when it has its other half.
func (c *Collector) emit(x *exporter, f *record, emit func(*event.Event)) {
	x.account.seen++
	if !f.src.IsValid() || !f.dst.IsValid() || f.packets+f.packets2 == 0 && f.bytes+f.bytes2 == 0 {
		x.account.malformed++ // a record of something else than a flow
		return
	}
	if f.end.IsZero() {
		f.end = f.exported
	}
	if f.start.IsZero() || f.start.After(f.end) {
		f.start = f.end
	}
	if y := f.end.Year(); y < 1971 || y > 2200 {
		x.account.malformed++
		return
	}
	x.account.decoded++
	if c.cfg.Wait > 0 && f.paired() {
		c.pair(x, f, emit)
		return
	}
	c.make(x, f, emit)
}

// make makes the event of a record.
func (c *Collector) make(x *exporter, f *record, emit func(*event.Event)) {
	x.account.events++
	e := event.Event{Kind: event.KindFlow, Sensor: x.name, Time: f.end.UTC()}
	times := uint64(1)
	if f.sampling > 1 {
		e.Set("tocsin.flow.sampling", event.Uint(f.sampling))
		if !f.multiplied {
			times = f.sampling
		}
	}
	e.Flow = event.Flow{
		Src:       event.Endpoint{IP: f.src, Port: f.srcPort, MAC: f.srcMAC, Packets: f.packets * times, Bytes: f.bytes * times},
		Dst:       event.Endpoint{IP: f.dst, Port: f.dstPort, MAC: f.dstMAC, Packets: f.packets2 * times, Bytes: f.bytes2 * times},
		Transport: f.proto, VLAN: f.vlan, Start: f.start.UTC(), End: e.Time, State: "OTH",
		CommunityID: packet.CommunityID(f.src, f.dst, f.proto, f.srcPort, f.dstPort),
		// RFC 5102 section 5.11.3.
		EndReason: map[uint64]string{1: "idle", 2: "active", 3: "fin", 4: "eof", 5: "evicted"}[f.endReason],
	}
	switch {
	case f.proto != event.ProtoTCP && f.packets2 > 0:
		e.Flow.State = "SF"
	case f.proto != event.ProtoTCP:
	case f.state != "":
		e.Flow.State = f.state
	case f.packets2 == 0 && f.flags&(flagSYN|flagACK) == flagSYN:
		e.Flow.State = "S0" // the originator never had an answer to acknowledge
	}
	if f.firewall == 3 {
		e.Set("event.action", event.Str("blocked"))
	}
	h := c.hasher
	h.Reset()
	h.Str("netflow")
	h.Str(x.name)
	for _, a := range []netip.Addr{f.src, f.dst} {
		h.Str(a.String())
	}
	for _, n := range []uint64{uint64(f.proto), uint64(f.srcPort), uint64(f.dstPort), f.packets, f.bytes, f.packets2, f.bytes2} {
		h.Uint(n)
	}
	h.Time(e.Flow.Start)
	e.ID = h.ID(e.Time)
	emit(&e)
}
