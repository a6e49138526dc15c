//go:build linux

package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// counting is a socket that counts packets, and keeps none. Nobody reads it: the
// kernel finds its little room used up and counts a packet without copying it.
type counting struct {
	fd int
	n  uint64
}

// count begins to count what a program lets through of an interface, or if index
// is 0 of all; on loopback, only what arrives.
func count(code []unix.SockFilter, index int, loopback bool) (*counting, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &counting{fd: fd}
	err = errors.Join(
		attach(fd, code),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0), // becomes the kernel's least
	)
	if loopback {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	}
	if err == nil {
		err = bind(fd, index)
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// countRemainder begins to count what accept does not let through, and the
// kernel forgets.
func countRemainder(accept []unix.SockFilter, dev nature) (*counting, error) {
	refuse, err := opposite(accept)
	if err != nil {
		return nil, err
	}
	return count(refuse, dev.index, dev.loopback)
}

// packets is how many have come.
func (c *counting) packets() uint64 {
	if c.fd >= 0 {
		// The kernel begins anew each time that it is asked. Those for which
		// there was no room are among the packets.
		if stats, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			c.n += uint64(stats.Packets)
		}
	}
	return c.n
}

func (c *counting) close() error {
	if c.fd < 0 {
		return nil
	}
	err := unix.Close(c.fd)
	c.fd = -1
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

// bind lets a socket have all packets of an interface, or if index is 0 of all.
func bind(fd, index int) error {
	var order [2]byte
	binary.BigEndian.PutUint16(order[:], unix.ETH_P_ALL)
	everything := unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(order[:]), Ifindex: index}
	if err := unix.Bind(fd, &everything); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}
