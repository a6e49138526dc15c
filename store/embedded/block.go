package embedded

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/tocsin/tocsin/event"
)

// A block holds up to blockEvents events in the order of their IDs, column by
// column, so that a query reads only the columns that it asks about and like
// stands next to like when it is compressed:
//
//	block   = version rows strings addresses macs shapes column{numColumns}
//	strings = count {length bytes}      addresses = count {length bytes}
//	macs    = count {6 bytes}           shapes    = count {count {name}}
//	column  = length bytes
//
// All numbers are unsigned varints. Names, addresses and texts are held once
// and referred to by position. A shape is the list of names of an event's
// Fields, in their order. IDs are stored beside the block (see appendIDs): they
// are random, and asked for without the rest.
const blockVersion = 1

// Bounds of a block: large enough to compress, small enough to be read for the
// sake of one event.
const (
	blockEvents = 2048
	blockBytes  = 1 << 20
)

type column int

const (
	colTime       column = iota // 0: none; else 1 + zigzag(nanoseconds after the ID's millisecond)
	colStart                    // 0: none; else 1 + zigzag(nanoseconds before Time)
	colEnd                      // as colStart
	colKind                     // text
	colSensor                   // text
	colIface                    // text
	colService                  // text
	colState                    // text
	colHistory                  // text
	colEndReason                // text
	colTransport                // number
	colVLAN                     // number
	colInnerVLAN                // number
	colSrcIP                    // 0: none; else 1 + address
	colDstIP                    //
	colSrcPort                  // number
	colDstPort                  //
	colSrcMAC                   // MAC
	colDstMAC                   //
	colSrcPackets               // number
	colDstPackets               //
	colSrcBytes                 //
	colDstBytes                 //
	colSrcPayload               //
	colDstPayload               //
	colCommunity                // 0: none; 1: the next 20 bytes of colDigests; else 2 + text
	colShape                    // shape
	colSize                     // bytes of the row in colFields
	numNumbers                  // the columns above have one number per row
)

const (
	colDigests = numNumbers + iota // of community IDs
	colFields                      // values of Fields, in the order of the shape
	numColumns
)

// writer makes a block of events, which are added in the order of their IDs.
type writer struct {
	n       int
	strs    dict[string]
	addrs   dict[netip.Addr]
	macs    dict[event.MAC]
	shapes  dict[string] // names as varints
	cols    [numColumns][]byte
	ids     []event.ID
	keys    []uint64 // of texts, for the filter
	last    [3]string
	lastIdx [3]uint64

	minTime, maxTime int64
	kinds            map[event.Kind]int
	shape            []byte
}

// dict numbers values in the order in which they are first seen.
type dict[T comparable] struct {
	index map[T]uint64
	list  []T
}

func (d *dict[T]) of(v T) uint64 {
	if i, ok := d.index[v]; ok {
		return i
	}
	if d.index == nil {
		d.index = make(map[T]uint64)
	}
	i := uint64(len(d.list))
	d.index[v] = i
	d.list = append(d.list, v)
	return i
}

func (d *dict[T]) reset() {
	clear(d.index)
	clear(d.list)
	d.list = d.list[:0]
}

func (w *writer) reset() {
	w.n = 0
	w.strs.reset()
	w.addrs.reset()
	w.macs.reset()
	w.shapes.reset()
	for i := range w.cols {
		w.cols[i] = w.cols[i][:0]
	}
	w.ids = w.ids[:0]
	w.keys = w.keys[:0]
	w.last = [3]string{}
	w.lastIdx = [3]uint64{}
	w.strs.of("")
	w.macs.of(event.MAC{})
	w.minTime, w.maxTime = math.MaxInt64, math.MinInt64
	if w.kinds == nil {
		w.kinds = map[event.Kind]int{}
	}
	clear(w.kinds)
}

func (w *writer) full(events int) bool {
	return w.n >= events || len(w.cols[colFields]) >= blockBytes
}

func (w *writer) num(c column, n uint64) { w.cols[c] = binary.AppendUvarint(w.cols[c], n) }

func zigzag(n int64) uint64   { return uint64(n<<1) ^ uint64(n>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

func (w *writer) text(c column, s string) {
	if s == "" {
		w.num(c, 0)
		return
	}
	i := w.strs.of(s)
	w.num(c, i)
}

// same is text for columns that hardly change from row to row.
func (w *writer) same(slot int, c column, s string, key uint64) {
	if s != w.last[slot] {
		w.last[slot], w.lastIdx[slot] = s, w.strs.of(s)
		w.keys = append(w.keys, hashText(key, s))
	}
	w.num(c, w.lastIdx[slot])
}

func (w *writer) addr(c column, a netip.Addr) {
	if !a.IsValid() {
		w.num(c, 0)
		return
	}
	w.num(c, 1+w.addrs.of(a.WithZone("")))
}

func since(base int64, t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return 1 + zigzag(base-t.UnixNano())
}

// add appends an event, whose ID and Time are set.
func (w *writer) add(e *event.Event) {
	w.n++
	w.ids = append(w.ids, e.ID)
	at := e.Time.UnixNano()
	w.minTime, w.maxTime = min(w.minTime, at), max(w.maxTime, at)
	w.kinds[e.Kind]++
	f := &e.Flow
	w.num(colTime, 1+zigzag(at-e.ID.Time().UnixNano()))
	w.num(colStart, since(at, f.Start))
	w.num(colEnd, since(at, f.End))
	w.text(colKind, string(e.Kind))
	w.same(0, colSensor, e.Sensor, keySensor)
	w.same(1, colIface, e.Iface, keyIface)
	w.same(2, colService, f.Service, keyService)
	w.text(colState, f.State)
	w.text(colHistory, f.History)
	w.text(colEndReason, f.EndReason)
	w.num(colTransport, uint64(f.Transport))
	w.num(colVLAN, uint64(f.VLAN))
	w.num(colInnerVLAN, uint64(f.InnerVLAN))
	w.addr(colSrcIP, f.Src.IP)
	w.addr(colDstIP, f.Dst.IP)
	w.num(colSrcPort, uint64(f.Src.Port))
	w.num(colDstPort, uint64(f.Dst.Port))
	w.num(colSrcMAC, w.macs.of(f.Src.MAC))
	w.num(colDstMAC, w.macs.of(f.Dst.MAC))
	w.num(colSrcPackets, f.Src.Packets)
	w.num(colDstPackets, f.Dst.Packets)
	w.num(colSrcBytes, f.Src.Bytes)
	w.num(colDstBytes, f.Dst.Bytes)
	w.num(colSrcPayload, f.Src.Payload)
	w.num(colDstPayload, f.Dst.Payload)
	w.community(f.CommunityID)

	w.shape = w.shape[:0]
	row := len(w.cols[colFields])
	for i := range e.Fields {
		f := &e.Fields[i]
		w.shape = binary.AppendUvarint(w.shape, w.strs.of(f.Name))
		w.value(hashName(f.Name), f.Value)
	}
	i, ok := w.shapes.index[string(w.shape)] // this conversion does not allocate
	if !ok {
		i = w.shapes.of(string(w.shape))
	}
	w.num(colShape, i)
	w.num(colSize, uint64(len(w.cols[colFields])-row))
}

const communityPrefix = "1:"

func (w *writer) community(id string) {
	if id == "" {
		w.num(colCommunity, 0)
		return
	}
	w.keys = append(w.keys, hashText(keyCommunity, id))
	var digest [21]byte
	if s, ok := strings.CutPrefix(id, communityPrefix); ok && len(s) == 28 {
		n, err := base64.StdEncoding.Strict().Decode(digest[:], []byte(s))
		if err == nil && n == 20 {
			w.num(colCommunity, 1)
			w.cols[colDigests] = append(w.cols[colDigests], digest[:20]...)
			return
		}
	}
	w.num(colCommunity, 2+w.strs.of(id))
}

// value appends a value to colFields. key is the hash of its field's name.
func (w *writer) value(key uint64, v event.Value) {
	b := append(w.cols[colFields], byte(v.Type()))
	switch v.Type() {
	case event.TypeString:
		b = binary.AppendUvarint(b, w.strs.of(v.Str()))
		w.keys = append(w.keys, hashText(key, v.Str()))
	case event.TypeInt:
		n, _ := v.Int()
		b = binary.AppendUvarint(b, zigzag(n))
	case event.TypeUint:
		n, _ := v.Uint()
		b = binary.AppendUvarint(b, n)
	case event.TypeFloat:
		f, _ := v.Float()
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
	case event.TypeBool:
		t, _ := v.Bool()
		b = append(b, 0)
		if t {
			b[len(b)-1] = 1
		}
	case event.TypeIP:
		a, _ := v.IP()
		b = binary.AppendUvarint(b, w.addrs.of(a))
	case event.TypeTime:
		t, _ := v.Time()
		b = binary.AppendUvarint(b, zigzag(t.UnixNano()))
	case event.TypeList:
		w.cols[colFields] = binary.AppendUvarint(b, uint64(len(v.List())))
		for _, x := range v.List() {
			w.value(key, x)
		}
		return
	case event.TypeObject:
		w.cols[colFields] = binary.AppendUvarint(b, uint64(len(v.Object())))
		for _, f := range v.Object() {
			w.cols[colFields] = binary.AppendUvarint(w.cols[colFields], w.strs.of(f.Name))
			w.value(hashBelow(key, f.Name), f.Value)
		}
		return
	}
	w.cols[colFields] = b
}

// append appends the block.
func (w *writer) append(b []byte) []byte {
	b = append(b, blockVersion)
	b = binary.AppendUvarint(b, uint64(w.n))
	b = binary.AppendUvarint(b, uint64(len(w.strs.list)))
	for _, s := range w.strs.list {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = binary.AppendUvarint(b, uint64(len(w.addrs.list)))
	for _, a := range w.addrs.list {
		raw := a.AsSlice()
		b = append(b, byte(len(raw)))
		b = append(b, raw...)
	}
	b = binary.AppendUvarint(b, uint64(len(w.macs.list)))
	for _, m := range w.macs.list {
		b = append(b, m[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(w.shapes.list)))
	for _, s := range w.shapes.list {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, c := range w.cols {
		b = binary.AppendUvarint(b, uint64(len(c)))
		b = append(b, c...)
	}
	return b
}

// appendIDs appends IDs in their order: the milliseconds since the one before,
// and the ten bytes of hash.
func appendIDs(b []byte, ids []event.ID) []byte {
	last := int64(0)
	for _, id := range ids {
		ms := id.Time().UnixMilli()
		b = binary.AppendUvarint(b, uint64(ms-last))
		b = append(b, id[6:]...)
		last = ms
	}
	return b
}

func parseIDs(b []byte) ([]event.ID, error) {
	ids := make([]event.ID, 0, len(b)/11)
	last := uint64(0)
	for len(b) > 0 {
		d, n := binary.Uvarint(b)
		if n <= 0 || len(b) < n+10 {
			return nil, errCut
		}
		last += d
		var id event.ID
		var ms [8]byte
		binary.BigEndian.PutUint64(ms[:], last)
		copy(id[:6], ms[2:])
		copy(id[6:], b[n:n+10])
		ids = append(ids, id)
		b = b[n+10:]
	}
	return ids, nil
}

var errCut = errors.New("cut short")

// block is a block for reading. It does not change and may be shared.
type block struct {
	ids    []event.ID
	strs   []string // all of one string
	addrs  []netip.Addr
	macs   []event.MAC
	shapes [][]string
	cols   [numColumns][]byte
	nums   [numNumbers]struct {
		once sync.Once
		v    []uint64
	}
	rows struct { // where rows begin in colFields and colDigests
		once            sync.Once
		fields, digests []uint32
	}
	size int // bytes, about
}

// parseBlock reads a block, which keeps raw. What it refers to is checked
// here, so that reading rows cannot go wrong.
func parseBlock(raw []byte, ids []event.ID) (*block, error) {
	r := reader{b: raw}
	if v := r.byte(); v != blockVersion {
		return nil, fmt.Errorf("version %d, want %d", v, blockVersion)
	}
	b := &block{ids: ids, size: 2*len(raw) + 16*len(ids)}
	if n := r.uint(); n != uint64(len(ids)) {
		return nil, fmt.Errorf("%d rows, but %d identifiers", n, len(ids))
	}
	b.strs = make([]string, r.count(1))
	all := string(raw)
	for i := range b.strs {
		n := len(r.bytes(r.count(1)))
		b.strs[i] = all[r.at-n : r.at]
	}
	b.addrs = make([]netip.Addr, r.count(5))
	for i := range b.addrs {
		a, ok := netip.AddrFromSlice(r.bytes(int(r.byte())))
		if !ok && r.err == nil {
			r.err = errors.New("an address of a wrong length")
		}
		b.addrs[i] = a
	}
	b.macs = make([]event.MAC, r.count(6))
	for i := range b.macs {
		copy(b.macs[i][:], r.bytes(6))
	}
	b.shapes = make([][]string, r.count(1))
	for i := range b.shapes {
		s := reader{b: r.bytes(r.count(1))}
		for s.at < len(s.b) && s.err == nil {
			b.shapes[i] = append(b.shapes[i], b.str(&s, s.uint()))
		}
		if r.err == nil {
			r.err = s.err
		}
	}
	for i := range b.cols {
		b.cols[i] = r.bytes(r.count(1))
	}
	if r.err == nil && r.at != len(raw) {
		r.err = errors.New("more after the last column")
	}
	if r.err != nil {
		return nil, r.err
	}
	return b, nil
}

func (b *block) str(r *reader, i uint64) string {
	if i >= uint64(len(b.strs)) {
		r.fail("a text that is not there")
		return ""
	}
	return b.strs[i]
}

type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = errors.New(what)
	}
	r.at = len(r.b)
}

func (r *reader) uint() uint64 {
	if r.at < len(r.b) && r.b[r.at] < 0x80 {
		r.at++
		return uint64(r.b[r.at-1])
	}
	u, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 {
		r.fail("cut short")
		return 0
	}
	r.at += n
	return u
}

// count reads how many things of at least size bytes follow.
func (r *reader) count(size int) int {
	u := r.uint()
	if u > uint64((len(r.b)-r.at)/size) {
		r.fail("cut short")
		return 0
	}
	return int(u)
}

func (r *reader) byte() byte {
	if r.at >= len(r.b) {
		r.fail("cut short")
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b)-r.at {
		r.fail("cut short")
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

// col returns the numbers of a column, one per row.
func (b *block) col(c column) []uint64 {
	x := &b.nums[c]
	x.once.Do(func() {
		r := reader{b: b.cols[c]}
		x.v = make([]uint64, len(b.ids))
		for i := range x.v {
			x.v[i] = r.uint()
		}
	})
	return x.v
}

func (b *block) offsets() (fields, digests []uint32) {
	b.rows.once.Do(func() {
		b.rows.fields = make([]uint32, len(b.ids)+1)
		at := uint64(0)
		for i, n := range b.col(colSize) {
			at = min(at+n, uint64(len(b.cols[colFields])))
			b.rows.fields[i+1] = uint32(at)
		}
		b.rows.digests = make([]uint32, len(b.ids))
		k := uint32(0)
		for i, n := range b.col(colCommunity) {
			b.rows.digests[i] = k
			if n == 1 {
				k += 20
			}
		}
	})
	return b.rows.fields, b.rows.digests
}

// at is an element of a list, or the zero value of a position beyond it, as
// only a block that was damaged behind its checksum could have.
func at[T any](list []T, i uint64) (v T) {
	if i < uint64(len(list)) {
		v = list[i]
	}
	return v
}

func (b *block) addr(c column, i int) netip.Addr {
	n := b.col(c)[i]
	if n == 0 {
		return netip.Addr{}
	}
	return at(b.addrs, n-1)
}

func (b *block) time(i int) int64 {
	return b.ids[i].Time().UnixNano() + unzigzag(b.col(colTime)[i]-1)
}

// parts says which of the costlier parts of an event to read.
type parts uint8

const (
	partFields parts = 1 << iota
	partCommunity
	partCounters
	partEndpoint // times, MACs, VLANs, interface
	allParts     = partFields | partCommunity | partCounters | partEndpoint
)

// event reads row i into e, which is overwritten; its slice of fields is
// reused. Texts stay within the block: see own.
func (b *block) event(i int, e *event.Event, want parts) {
	*e = event.Event{ID: b.ids[i], Fields: e.Fields[:0]}
	base := b.time(i)
	e.Time = time.Unix(0, base).UTC()
	e.Kind = event.Kind(at(b.strs, b.col(colKind)[i]))
	e.Sensor = at(b.strs, b.col(colSensor)[i])
	f := &e.Flow
	f.Src.IP, f.Dst.IP = b.addr(colSrcIP, i), b.addr(colDstIP, i)
	f.Src.Port, f.Dst.Port = uint16(b.col(colSrcPort)[i]), uint16(b.col(colDstPort)[i])
	f.Transport = uint8(b.col(colTransport)[i])
	f.Service = at(b.strs, b.col(colService)[i])
	f.State = at(b.strs, b.col(colState)[i])
	if want&partEndpoint != 0 {
		e.Iface = at(b.strs, b.col(colIface)[i])
		if n := b.col(colStart)[i]; n != 0 {
			f.Start = time.Unix(0, base-unzigzag(n-1)).UTC()
		}
		if n := b.col(colEnd)[i]; n != 0 {
			f.End = time.Unix(0, base-unzigzag(n-1)).UTC()
		}
		f.History = at(b.strs, b.col(colHistory)[i])
		f.EndReason = at(b.strs, b.col(colEndReason)[i])
		f.VLAN, f.InnerVLAN = uint16(b.col(colVLAN)[i]), uint16(b.col(colInnerVLAN)[i])
		f.Src.MAC, f.Dst.MAC = at(b.macs, b.col(colSrcMAC)[i]), at(b.macs, b.col(colDstMAC)[i])
	}
	if want&partCounters != 0 {
		f.Src.Packets, f.Dst.Packets = b.col(colSrcPackets)[i], b.col(colDstPackets)[i]
		f.Src.Bytes, f.Dst.Bytes = b.col(colSrcBytes)[i], b.col(colDstBytes)[i]
		f.Src.Payload, f.Dst.Payload = b.col(colSrcPayload)[i], b.col(colDstPayload)[i]
	}
	if want&partCommunity != 0 {
		switch n := b.col(colCommunity)[i]; n {
		case 0:
		case 1:
			_, digests := b.offsets()
			if at, all := int(digests[i]), b.cols[colDigests]; at+20 <= len(all) {
				var buf [30]byte
				text := append(buf[:0], communityPrefix...)
				text = base64.StdEncoding.AppendEncode(text, all[at:at+20])
				f.CommunityID = string(text)
			}
		default:
			f.CommunityID = at(b.strs, n-2)
		}
	}
	if want&partFields != 0 {
		if shape := at(b.shapes, b.col(colShape)[i]); len(shape) > 0 {
			rows, _ := b.offsets()
			r := reader{b: b.cols[colFields][rows[i]:rows[i+1]]}
			for _, name := range shape {
				e.Fields = append(e.Fields, event.Field{Name: name, Value: b.value(&r, 0)})
			}
		}
	}
}

// maxDepth bounds the nesting of values that is followed.
const maxDepth = 64

func (b *block) value(r *reader, depth int) event.Value {
	switch event.Type(r.byte()) {
	case event.TypeString:
		return event.Str(b.str(r, r.uint()))
	case event.TypeInt:
		return event.Int(unzigzag(r.uint()))
	case event.TypeUint:
		return event.Uint(r.uint())
	case event.TypeFloat:
		if raw := r.bytes(8); raw != nil {
			return event.Float(math.Float64frombits(binary.LittleEndian.Uint64(raw)))
		}
	case event.TypeBool:
		return event.Bool(r.byte() == 1)
	case event.TypeIP:
		return event.IP(at(b.addrs, r.uint()))
	case event.TypeTime:
		return event.Time(time.Unix(0, unzigzag(r.uint())))
	case event.TypeList:
		if depth < maxDepth {
			vs := make([]event.Value, r.count(1))
			for i := range vs {
				vs[i] = b.value(r, depth+1)
			}
			return event.List(vs...)
		}
	case event.TypeObject:
		if depth < maxDepth {
			fs := make([]event.Field, r.count(2))
			for i := range fs {
				fs[i].Name = b.str(r, r.uint())
				fs[i].Value = b.value(r, depth+1)
			}
			return event.Object(fs...)
		}
	}
	return event.Value{}
}

// own makes e independent of its block: one event that is kept would keep the
// whole block in memory.
func own(e *event.Event) {
	e.Kind = event.Kind(strings.Clone(string(e.Kind)))
	e.Sensor, e.Iface = strings.Clone(e.Sensor), strings.Clone(e.Iface)
	f := &e.Flow
	f.Service, f.State, f.History, f.EndReason = strings.Clone(f.Service), strings.Clone(f.State), strings.Clone(f.History), strings.Clone(f.EndReason)
	f.CommunityID = strings.Clone(f.CommunityID)
	e.Fields = append([]event.Field(nil), e.Fields...)
	for i := range e.Fields {
		e.Fields[i].Name = strings.Clone(e.Fields[i].Name)
		e.Fields[i].Value = ownValue(e.Fields[i].Value)
	}
}

func ownValue(v event.Value) event.Value {
	switch v.Type() {
	case event.TypeString:
		return event.Str(strings.Clone(v.Str()))
	case event.TypeList:
		vs := make([]event.Value, len(v.List()))
		for i, x := range v.List() {
			vs[i] = ownValue(x)
		}
		return event.List(vs...)
	case event.TypeObject:
		fs := make([]event.Field, len(v.Object()))
		for i, f := range v.Object() {
			fs[i] = event.Field{Name: strings.Clone(f.Name), Value: ownValue(f.Value)}
		}
		return event.Object(fs...)
	}
	return v
}
