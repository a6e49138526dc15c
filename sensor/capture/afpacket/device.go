//go:build linux

package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// device asks the kernel what an interface has lost. It does so by netlink, as
// the files under /sys are those of another network namespace in a container.
type device struct {
	fd    int
	index int
	began uint64 // lost before
	last  uint64 // lost since
}

// watchDevice begins to count.
func watchDevice(index int) (*device, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	d := &device{fd: fd, index: index}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return nil, errors.Join(err, d.close())
	}
	if d.began, err = d.ask(); err != nil {
		return nil, errors.Join(fmt.Errorf("counters of the interface: %w", err), d.close())
	}
	return d, nil
}

// lost is how many packets the interface has lost since watchDevice. When it
// no longer exists, it is what it was before.
func (d *device) lost() uint64 {
	if d.fd >= 0 {
		// A driver may begin anew.
		if n, err := d.ask(); err == nil && n >= d.began {
			d.last = max(d.last, n-d.began)
		}
	}
	return d.last
}

func (d *device) close() error {
	if d.fd < 0 {
		return nil
	}
	err := unix.Close(d.fd)
	d.fd = -1
	return err
}

// ask asks for the interface's counters by RTM_GETSTATS (linux/if_link.h) and
// returns the sum of those of packets that never reached the system because the
// card had no room. rx_dropped is not among them: the system also counts there
// what nobody but the sensor took, such as GOOSE messages in a VLAN.
func (d *device) ask() (uint64, error) {
	const (
		messageHeader = 16 // struct nlmsghdr
		statsHeader   = 12 // struct if_stats_msg
		stats64       = 1  // IFLA_STATS_LINK_64
		fifo          = 14 // places in struct rtnl_link_stats64
		missed        = 15
	)
	native := binary.NativeEndian
	request := make([]byte, messageHeader+statsHeader)
	native.PutUint32(request[0:], uint32(len(request)))
	native.PutUint16(request[4:], unix.RTM_GETSTATS)
	native.PutUint16(request[6:], unix.NLM_F_REQUEST)
	native.PutUint32(request[messageHeader+4:], uint32(d.index))
	native.PutUint32(request[messageHeader+8:], 1<<(stats64-1))
	if err := unix.Sendto(d.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	answer := make([]byte, 16<<10)
	n, _, err := unix.Recvfrom(d.fd, answer, 0)
	if err != nil {
		return 0, err
	}
	answer = answer[:n]
	if n < messageHeader+4 {
		return 0, errors.New("short answer")
	}
	if native.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		return 0, unix.Errno(-int32(native.Uint32(answer[messageHeader:])))
	}
	for rest := answer[min(n, messageHeader+statsHeader):]; len(rest) >= 4; {
		length, kind := int(native.Uint16(rest)), native.Uint16(rest[2:])
		if length < 4 || length > len(rest) {
			break
		}
		if counters := rest[4:length]; kind == stats64 && len(counters) >= (missed+1)*8 {
			return native.Uint64(counters[fifo*8:]) + native.Uint64(counters[missed*8:]), nil
		}
		rest = rest[min(len(rest), (length+3)&^3):]
	}
	return 0, errors.New("the answer has no counters")
}
