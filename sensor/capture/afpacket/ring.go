//go:build linux

package afpacket

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/tocsin/tocsin/sensor/capture"
)

// tagLength is the size of a VLAN tag, and the room before each packet that
// the kernel is asked to leave for it.
const tagLength = 4

// ring is memory that the kernel writes packets into, a block at a time
// (TPACKET_V3, packet_mmap in the kernel's documentation). A block is the
// kernel's until it says otherwise in the block's status, then ours until we
// give it back.
type ring struct {
	memory []byte
	block  int // bytes of a block
	at     int // where the block begins that comes next, or is being read
	left   int // packets of it that were not handed out yet
	packet int // where the next of them begins
	held   bool

	stamp uint32 // who stamped the packet at hand: TP_STATUS_TS_…
}

// header is the description of the block at hand, which is at its beginning.
func (r *ring) header() *unix.TpacketHdrV1 {
	desc := (*unix.TpacketBlockDesc)(unsafe.Pointer(&r.memory[r.at]))
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&desc.Hdr))
}

// next fills in what the ring knows of the next packet. It reports false if
// the kernel has written none. The memory of the packet before may be
// overwritten from then on.
func (r *ring) next(p *capture.Packet) bool {
	for r.left == 0 {
		if r.held {
			r.release()
		}
		h := r.header()
		if atomic.LoadUint32(&h.Block_status)&unix.TP_STATUS_USER == 0 {
			return false
		}
		r.held, r.left, r.packet = true, int(h.Num_pkts), r.at+int(h.Offset_to_first_pkt)
	}
	h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.memory[r.packet]))
	from := r.packet + int(h.Mac)
	to := from + int(h.Snaplen)
	p.Length = int(h.Len)
	if h.Status&unix.TP_STATUS_VLAN_VALID != 0 && h.Snaplen >= 12 {
		// The kernel takes the outermost tag out. It goes back to where it
		// was, between the addresses and the type.
		from -= tagLength
		frame := r.memory[from:to:to]
		copy(frame, frame[tagLength:tagLength+12])
		tpid := uint16(unix.ETH_P_8021Q)
		if h.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			tpid = h.Hv1.Vlan_tpid
		}
		tag := frame[12:16]
		tag[0], tag[1] = byte(tpid>>8), byte(tpid)
		tag[2], tag[3] = byte(h.Hv1.Vlan_tci>>8), byte(h.Hv1.Vlan_tci)
		p.Length += tagLength
	}
	r.stamp = h.Status & (unix.TP_STATUS_TS_SOFTWARE | unix.TP_STATUS_TS_RAW_HARDWARE)
	p.Time = time.Unix(int64(h.Sec), int64(h.Nsec)).UTC()
	p.Data = r.memory[from:to:to]
	r.packet += int(h.Next_offset)
	r.left--
	return true
}

// length is that of the next packet of the block at hand, which has one.
func (r *ring) length() int {
	h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.memory[r.packet]))
	if h.Status&unix.TP_STATUS_VLAN_VALID != 0 && h.Snaplen >= 12 {
		return int(h.Len) + tagLength
	}
	return int(h.Len)
}

// release gives the block at hand back to the kernel.
func (r *ring) release() {
	atomic.StoreUint32(&r.header().Block_status, unix.TP_STATUS_KERNEL)
	r.held = false
	if r.at += r.block; r.at >= len(r.memory) {
		r.at = 0
	}
}

// fill is the part of the ring that the kernel has filled and nobody has read.
func (r *ring) fill() float64 {
	if len(r.memory) == 0 {
		return 0
	}
	full := 0
	for at := 0; at < len(r.memory); at += r.block {
		desc := (*unix.TpacketBlockDesc)(unsafe.Pointer(&r.memory[at]))
		h := (*unix.TpacketHdrV1)(unsafe.Pointer(&desc.Hdr))
		if atomic.LoadUint32(&h.Block_status)&unix.TP_STATUS_USER != 0 {
			full++
		}
	}
	return float64(full) / float64(len(r.memory)/r.block)
}
