package sensor

import (
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/packet"
)

// What the ledger counts. The dropped causes follow countDropped.
const (
	countSeen = iota
	countDecoded
	countFiltered
	countEvents
	countFlows
	countEvicted
	countFlooded
	countConversations
	countGaps
	countMissed
	countOverflows
	countConflicts
	countParserErrors
	countFragments
	countARPRepeats
	countClockJumps
	countOutages
	countCut
	countOversized
	countBroken
	countDropped
)

const (
	numOutcomes  = int(packet.FragmentDropped-packet.UnknownLink) + 1
	countKernel  = countDropped + numOutcomes
	countIface   = countKernel + 1
	countDamaged = countIface + 1
	countUnread  = countDamaged + 1
	countOther   = countUnread + 1
	numCounts    = countOther + 1
)

// account is what happened on one tap in some time.
type account [numCounts]uint64

func (a *account) add(o *account) {
	for i, n := range o {
		a[i] += n
	}
}

// off is by how many packets an account does not balance: seen more, or fewer,
// than it has become of them.
func (a *account) off() int64 {
	off := int64(a[countSeen] - a[countDecoded] - a[countFiltered])
	for _, n := range a[countDropped:] {
		off -= int64(n)
	}
	return off
}

// unbalanced documents the field by which an account that does not balance
// calls for attention; there is a rule for it.
var unbalanced = event.FieldDoc{Name: event.LedgerPrefix + "unbalanced", Type: event.Long, Help: "By how many packets seen differs from decoded, filtered and dropped together. Absent if it does not: anything else is a bug.", Class: event.ClassTechnical}

var ledgerDocs = func() (docs [numCounts]event.FieldDoc) {
	for i, d := range [countDropped][2]string{
		countSeen:          {"seen", "Packets on the tap: decoded, filtered and dropped by any cause."},
		countDecoded:       {"decoded", "Packets whose headers were read, waiting fragments included."},
		countFiltered:      {"filtered", "Packets that the capture filter left out."},
		countEvents:        {"events", "Events made, ledger events not included."},
		countFlows:         {"flows", "Flows that ended."},
		countEvicted:       {"flows_evicted", "Flows ended early because the flow table was full."},
		countFlooded:       {"flows_flooded", "Flows that have no event of their own, but one of the flood that they were part of."},
		countConversations: {"flows_unparsed", "Flows not parsed because too many were parsed already."},
		countGaps:          {"stream_gaps", "Stretches of TCP streams that were never captured."},
		countMissed:        {"stream_missed_bytes", "Bytes in these stretches."},
		countOverflows:     {"stream_overflows", "Times that a TCP gap was given up because a bound of memory was reached."},
		countConflicts:     {"stream_conflicting_bytes", "Bytes of TCP streams that came again with other content."},
		countParserErrors:  {"parser_errors", "Flows whose parser gave up."},
		countFragments:     {"fragments_lost", "Fragments, counted as decoded, of datagrams that were never complete."},
		countARPRepeats:    {"arp_repeats", "ARP messages that repeat another of the last minute, and made no event."},
		countClockJumps:    {"clock_jumps", "Times that packets went back by more than a minute, or had an impossible time."},
		countOutages:       {"interface_down", "Times that the interface went down."},
		countBroken:        {"files_broken", "Files of a watched folder that could not be read to their end: damaged, cut off, no capture, or written after the next had begun."},
		countCut:           {"cut", "Packets, counted as decoded or dropped, of which not everything was captured (snaplen)."},
		countOversized:     {"oversized", "Packets, counted as decoded or dropped, that are longer than the interface's MTU allows: offloads joined them before they were captured."},
	} {
		docs[i] = event.FieldDoc{Name: event.LedgerPrefix + d[0], Type: event.Long, Help: d[1], Class: event.ClassTechnical}
	}
	dropped := func(i int, cause, help string) {
		docs[i] = event.FieldDoc{Name: event.LedgerPrefix + event.DroppedPrefix + cause, Type: event.Long, Help: help, Class: event.ClassTechnical}
	}
	for o := packet.UnknownLink; o <= packet.FragmentDropped; o++ {
		dropped(countDropped+int(o-packet.UnknownLink), o.String(), "Packets dropped by the decoder for this cause.")
	}
	dropped(countKernel, "kernel", "Packets for which the capture ring had no room.")
	dropped(countIface, "interface", "Packets that the network interface lost for want of room, and those that came in the moments in which it went down or up.")
	dropped(countDamaged, "damaged", "Packets that came to the network interface broken: the frame's checksum, length or alignment was wrong.")
	dropped(countUnread, "unread", "Packets that were captured and waited to be read when the sensor stopped.")
	dropped(countOther, "other", "Packets that the source lost for another cause.")
	return docs
}()

// droppedBy is the count for a source's cause of loss.
func droppedBy(cause string) int {
	switch cause {
	case "kernel":
		return countKernel
	case "interface":
		return countIface
	case "damaged":
		return countDamaged
	case "unread":
		return countUnread
	}
	return countOther
}

// stateDocs document what ledger events of live taps say of them at the
// minute's end.
var stateDocs = []event.FieldDoc{
	{Name: "tocsin.tap.clock.error", Type: event.Long, Help: "Nanoseconds by which the clock of the sensor's system may be wrong at most, as its kernel estimates. Absent if it is not synchronized.", Class: event.ClassTechnical},
	{Name: "tocsin.tap.clock.offset", Type: event.Long, Help: "Nanoseconds by which the card's clock is ahead of the system's, where the card stamps packets.", Class: event.ClassTechnical},
	{Name: "tocsin.tap.clock.source", Type: event.Keyword, Help: "Who stamps packets with the time: hardware, which is the network card, or kernel.", Class: event.ClassTechnical},
	{Name: "tocsin.tap.clock.synchronized", Type: event.Boolean, Help: "Whether NTP or PTP keeps the clock of the sensor's system, says its kernel.", Class: event.ClassTechnical},
	{Name: "tocsin.tap.offloads", Type: event.Keyword, Help: "Offloads of the interface that join packets before they are captured: gro, lro.", Class: event.ClassTechnical},
}

// stateFields appends what a ledger event says of the state of its tap.
func stateFields(fs []event.Field, s *capture.State) []event.Field {
	if s == nil {
		return fs
	}
	add := func(name string, v event.Value) { fs = append(fs, event.Field{Name: "tocsin.tap." + name, Value: v}) }
	if s.Synchronized {
		add("clock.error", event.Int(int64(s.ClockError)))
	}
	if s.Stamps == "hardware" {
		add("clock.offset", event.Int(int64(s.ClockOffset)))
	}
	add("clock.source", event.Str(s.Stamps))
	add("clock.synchronized", event.Bool(s.Synchronized))
	if len(s.Offloads) > 0 {
		list := make([]event.Value, len(s.Offloads))
		for i, o := range s.Offloads {
			list[i] = event.Str(o)
		}
		add("offloads", event.List(list...))
	}
	return fs
}

// minute is a worker's part of one minute's account of one tap.
type minute struct {
	order   uint64 // see batch
	iface   int
	tap     tap
	start   int64  // nanoseconds since 1970
	ordinal uint64 // of the sensor's minutes, so that one that comes twice is not mistaken
	account account
	floods  []flood
	state   *capture.State // of a live tap
}

// event makes the ledger's event of a whole account.
func (m *minute) event(h *event.Hasher) event.Event {
	start := time.Unix(0, m.start).UTC()
	h.Reset()
	h.Str(m.tap.sensor)
	h.Str(string(event.KindLedger))
	h.Time(start)
	h.Uint(m.ordinal)
	e := event.Event{
		ID: h.ID(start), Time: start, Kind: event.KindLedger, Sensor: m.tap.sensor, Iface: m.tap.name,
		Flow: event.Flow{Start: start, End: start.Add(time.Minute)},
	}
	for i, n := range m.account {
		if n > 0 || i <= countEvents {
			e.Fields = append(e.Fields, event.Field{Name: ledgerDocs[i].Name, Value: event.Uint(n)})
		}
	}
	if off := m.account.off(); off != 0 {
		e.Fields = append(e.Fields, event.Field{Name: unbalanced.Name, Value: event.Uint(uint64(max(off, -off)))})
	}
	e.Fields = stateFields(e.Fields, m.state)
	return e
}

// Counters are a sensor's account over all taps, from the start.
type Counters struct {
	// Ledger is by the name of the ledger's field without "tocsin.ledger.".
	Ledger map[string]uint64
	// ParserErrors is by protocol and cause; "panic" is a parser's bug.
	ParserErrors map[event.Kind]map[string]uint64
}

func (a *account) named() map[string]uint64 {
	m := make(map[string]uint64, numCounts)
	for i, n := range a {
		m[ledgerDocs[i].Name[len(event.LedgerPrefix):]] = n
	}
	return m
}
