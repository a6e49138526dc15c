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
	began losses // before
	last  losses // since
}

// losses are packets that never got from an interface to the system.
type losses struct {
	noRoom  uint64 // in the card
	damaged uint64 // on the wire: wrong checksum, length or alignment of the frame
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
func (d *device) lost() losses {
	if d.fd >= 0 {
		if n, err := d.ask(); err == nil {
			// A driver may begin anew.
			if n.noRoom >= d.began.noRoom {
				d.last.noRoom = max(d.last.noRoom, n.noRoom-d.began.noRoom)
			}
			if n.damaged >= d.began.damaged {
				d.last.damaged = max(d.last.damaged, n.damaged-d.began.damaged)
			}
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
// returns those of packets that never reached the system. rx_dropped is not
// among them: the system also counts there what nobody but the sensor took, such
// as GOOSE messages in a VLAN. rx_errors is not, as drivers differ in whether
// want of room is a part of it.
func (d *device) ask() (losses, error) {
	const (
		messageHeader = 16 // struct nlmsghdr
		statsHeader   = 12 // struct if_stats_msg
		stats64       = 1  // IFLA_STATS_LINK_64
		length        = 10 // places in struct rtnl_link_stats64
		checksum      = 12
		alignment     = 13
		fifo          = 14
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
		return losses{}, err
	}
	answer := make([]byte, 16<<10)
	n, _, err := unix.Recvfrom(d.fd, answer, 0)
	if err != nil {
		return losses{}, err
	}
	answer = answer[:n]
	if n < messageHeader+4 {
		return losses{}, errors.New("short answer")
	}
	if native.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		return losses{}, unix.Errno(-int32(native.Uint32(answer[messageHeader:])))
	}
	for rest := answer[min(n, messageHeader+statsHeader):]; len(rest) >= 4; {
		size, kind := int(native.Uint16(rest)), native.Uint16(rest[2:])
		if size < 4 || size > len(rest) {
			break
		}
		if counters := rest[4:size]; kind == stats64 && len(counters) >= (missed+1)*8 {
			at := func(place int) uint64 { return native.Uint64(counters[place*8:]) }
			return losses{noRoom: at(fifo) + at(missed), damaged: at(length) + at(checksum) + at(alignment)}, nil
		}
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	return losses{}, errors.New("the answer has no counters")
}
