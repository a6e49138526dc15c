//go:build linux

package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// remainder counts the packets that a filter leaves out, which the kernel
// forgets. It is a second socket on the interface with the opposite filter.
// Nobody reads it: the kernel finds its little room used up and counts a packet
// without copying it.
type remainder struct {
	fd    int
	count uint64
}

// countRemainder begins to count what accept does not let through.
func countRemainder(accept []unix.SockFilter, dev nature) (*remainder, error) {
	refuse, err := opposite(accept)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	r := &remainder{fd: fd}
	err = errors.Join(
		attach(fd, refuse),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0), // becomes the kernel's least
	)
	if dev.loopback {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	}
	if err == nil {
		err = bind(fd, dev.index)
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// filtered is how many packets the filter has left out.
func (r *remainder) filtered() uint64 {
	if r.fd >= 0 {
		// The kernel begins anew each time that it is asked. Those for which
		// there was no room are among the packets.
		if stats, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			r.count += uint64(stats.Packets)
		}
	}
	return r.count
}

func (r *remainder) close() error {
	if r.fd < 0 {
		return nil
	}
	err := unix.Close(r.fd)
	r.fd = -1
	return err
}

// opposite makes the program that lets through what another does not.
func opposite(code []unix.SockFilter) ([]unix.SockFilter, error) {
	const give = unix.BPF_RET | unix.BPF_K
	not := make([]unix.SockFilter, len(code))
	for i, in := range code {
		switch {
		case in.Code == give && in.K == 0:
			in.K = 1 // a byte of it is enough
		case in.Code == give:
			in.K = 0
		case in.Code&0x07 == unix.BPF_RET:
			return nil, fmt.Errorf("the filter ends with what it has computed (instruction %d)", i)
		}
		not[i] = in
	}
	return not, nil
}

// bind lets a socket have all packets of an interface.
func bind(fd, index int) error {
	var order [2]byte
	binary.BigEndian.PutUint16(order[:], unix.ETH_P_ALL)
	everything := unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(order[:]), Ifindex: index}
	if err := unix.Bind(fd, &everything); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}
