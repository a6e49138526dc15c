package netflow

import (
	"bytes"
	"net/netip"

	"github.com/netsampler/goflow2/v2/decoders/sflow"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/packet"
)

// Protocols of sampled headers (sFlow version 5, enum header_protocol).
var sflowLinks = map[uint32]capture.LinkType{1: packet.LinkEthernet, 11: packet.LinkRaw, 12: packet.LinkRaw}

// sflow makes an event of each sampled packet: as many packets of its size as
// one in the sampling rate stands for. A datagram has no time of day, so the
// events are of the time at which it came.
func (c *Collector) sflow(x *exporter, b []byte, emit func(*event.Event)) error {
	var p sflow.Packet
	if err := sflow.DecodeMessageVersion(bytes.NewBuffer(b), &p); err != nil {
		return err
	}
	x.follow(key(0, p.SubAgentId), p.SequenceNumber, 1)
	for _, s := range p.Samples {
		switch s := s.(type) {
		case sflow.FlowSample:
			c.sample(x, s.Records, s.SamplingRate, emit)
		case sflow.ExpandedFlowSample:
			c.sample(x, s.Records, s.SamplingRate, emit)
		}
	}
	return nil
}

func (c *Collector) sample(x *exporter, records []sflow.FlowRecord, rate uint32, emit func(*event.Event)) {
	n := uint64(max(rate, 1))
	f := record{packets: n, sampling: n, multiplied: true, start: x.at, end: x.at}
	for _, r := range records {
		switch d := r.Data.(type) {
		case sflow.SampledHeader:
			c.header(&f, &d)
			f.bytes = n * uint64(d.FrameLength)
		case sflow.SampledIPv4:
			f.ip(&d.SampledIPBase)
			f.bytes = n * uint64(d.Length)
		case sflow.SampledIPv6:
			f.ip(&d.SampledIPBase)
			f.bytes = n * uint64(d.Length)
		}
	}
	c.emit(x, &f, emit)
}

func (f *record) ip(b *sflow.SampledIPBase) {
	f.src, f.dst = address(b.SrcIP, netip.Addr{}), address(b.DstIP, netip.Addr{})
	f.proto, f.srcPort, f.dstPort, f.flags = uint8(b.Protocol), uint16(b.SrcPort), uint16(b.DstPort), uint16(b.TcpFlags)
}

// header reads the beginning of a sampled packet.
func (c *Collector) header(f *record, h *sflow.SampledHeader) {
	link, known := sflowLinks[h.Protocol]
	if !known {
		return
	}
	raw := capture.Packet{Data: h.HeaderData, Length: max(int(h.FrameLength&0xffff), len(h.HeaderData)), Link: link}
	var p packet.Packet
	if out := c.dec.Decode(&p, &raw); out != packet.OK {
		return
	}
	f.src, f.dst, f.proto = p.Src, p.Dst, p.Proto
	f.srcPort, f.dstPort, f.vlan = p.SrcPort, p.DstPort, p.VLAN
	f.srcMAC, f.dstMAC = p.SrcMAC, p.DstMAC
	f.flags = uint16(p.TCP.Flags)
}
