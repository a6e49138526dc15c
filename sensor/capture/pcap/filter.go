package pcap

import (
	"fmt"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcap"

	"github.com/tocsin/tocsin/sensor/capture"
)

// Filtered hands out those packets of another source that match a filter. It is
// a capture.Source.
type Filtered struct {
	source   capture.Source
	expr     string
	programs map[capture.LinkType]*pcap.BPF
	program  *pcap.BPF // of the link type of the packet before
	link     capture.LinkType
	filtered uint64
}

// Filter filters a source by an expression in the language of pcap-filter(7),
// which is compiled for each link type that turns up. It closes the source when
// it is closed.
func Filter(source capture.Source, expr string) (*Filtered, error) {
	f := &Filtered{source: source, expr: expr, programs: make(map[capture.LinkType]*pcap.BPF)}
	const ethernet = 1 // so that a mistake shows before anything is read
	if err := f.use(ethernet); err != nil {
		return nil, err
	}
	return f, nil
}

// use makes the program for a link type current.
func (f *Filtered) use(link capture.LinkType) error {
	program := f.programs[link]
	if program == nil {
		// libpcap compiles for its own numbers, which are those of files but for raw IP.
		dlt := link
		switch link {
		case 101, 228, 229:
			dlt = 12
		}
		if dlt > 255 {
			return fmt.Errorf("filter %q: packets of link type %d cannot be filtered", f.expr, link)
		}
		var err error
		if program, err = pcap.NewBPF(layers.LinkType(dlt), 262144, f.expr); err != nil {
			return fmt.Errorf("filter %q: link type %d: %w", f.expr, link, err)
		}
		f.programs[link] = program
	}
	f.program, f.link = program, link
	return nil
}

// Next implements capture.Source.
func (f *Filtered) Next(p *capture.Packet) error {
	for {
		if err := f.source.Next(p); err != nil {
			return err
		}
		if p.Link != f.link {
			if err := f.use(p.Link); err != nil {
				return err
			}
		}
		info := gopacket.CaptureInfo{Timestamp: p.Time, CaptureLength: len(p.Data), Length: p.Length}
		if len(p.Data) > 0 && f.program.Matches(info, p.Data) {
			return nil
		}
		f.filtered++
	}
}

// Interfaces implements capture.Source.
func (f *Filtered) Interfaces() []capture.Interface { return f.source.Interfaces() }

// Counters implements capture.Source.
func (f *Filtered) Counters() capture.Counters {
	c := f.source.Counters()
	c.Received -= f.filtered
	c.Filtered += f.filtered
	return c
}

// Close implements capture.Source.
func (f *Filtered) Close() error { return f.source.Close() }
