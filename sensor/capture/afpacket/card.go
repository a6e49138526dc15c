//go:build linux

package afpacket

import (
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// card is what a network card does to packets before they are captured: it may
// stamp them with the time, and it may join them.
type card struct {
	fd    int // any socket of the interface's network
	iface string
	clock *os.File // of the card, if it stamps
	why   string   // it does not stamp although it could
}

// maxClockOffset is how far the card's clock may be from the system's for its
// stamps to be used. Cards that nobody sets begin with 1970, and those of a PTP
// network may show TAI, 37 seconds ahead of UTC: such stamps would put the
// packets of this tap into another time than those of all others.
const maxClockOffset = 100 * time.Millisecond

// newCard looks what the card of an interface can do, and lets it stamp all
// packets if it can and its clock is right.
func newCard(iface string) (*card, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &card{fd: fd, iface: iface}
	c.clock, c.why = c.stamp()
	return c, nil
}

// stamp lets the card stamp. If it cannot, there is neither clock nor reason.
func (c *card) stamp() (clock *os.File, why string) {
	info, err := unix.IoctlGetEthtoolTsInfo(c.fd, c.iface)
	if err != nil || !canStamp(info) {
		return nil, ""
	}
	path := fmt.Sprintf("/dev/ptp%d", info.Phc_index)
	clock, err = os.Open(path)
	if err != nil {
		return nil, fmt.Sprintf("its clock cannot be read: %v", err)
	}
	off, err := clockOffset(clock)
	if err == nil && off.Abs() > maxClockOffset {
		err = fmt.Errorf("its clock %s is %v from the system's; run: phc2sys -s CLOCK_REALTIME -c %s -O 0", path, off, c.iface)
	}
	if err == nil {
		// What else was set, such as for a PTP daemon's sending, stays.
		was, e := unix.IoctlGetHwTstamp(c.fd, c.iface)
		if e != nil {
			was = &unix.HwTstampConfig{}
		}
		if was.Rx_filter != unix.HWTSTAMP_FILTER_ALL {
			was.Rx_filter = unix.HWTSTAMP_FILTER_ALL
			if e := unix.IoctlSetHwTstamp(c.fd, c.iface, was); e != nil {
				err = fmt.Errorf("it refuses to (SIOCSHWTSTAMP: %v)", e)
			}
		}
	}
	if err != nil {
		clock.Close()
		return nil, err.Error()
	}
	return clock, ""
}

// canStamp reports whether a card can stamp every packet that it receives.
func canStamp(info *unix.EthtoolTsInfo) bool {
	const stamps = unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE
	return info.So_timestamping&stamps == stamps && info.Phc_index >= 0 && info.Rx_filters&(1<<unix.HWTSTAMP_FILTER_ALL) != 0
}

// clockOffset is by how much a card's clock is ahead of the system's. Of some
// readings, the one that took the shortest time is the best.
func clockOffset(clock *os.File) (time.Duration, error) {
	id := unix.FdToClockID(int(clock.Fd()))
	var offset int64
	for best, n := int64(1<<62), 0; n < 5; n++ {
		var before, at, after unix.Timespec
		for _, r := range []struct {
			id int32
			t  *unix.Timespec
		}{{unix.CLOCK_REALTIME, &before}, {id, &at}, {unix.CLOCK_REALTIME, &after}} {
			if err := unix.ClockGettime(r.id, r.t); err != nil {
				return 0, fmt.Errorf("its clock cannot be read: %w", err)
			}
		}
		if took := after.Nano() - before.Nano(); took < best {
			best, offset = took, at.Nano()-before.Nano()-took/2
		}
	}
	return time.Duration(offset), nil
}

// offset is by how much the clock that stamps is ahead of the system's.
func (c *card) offset() time.Duration {
	if c.clock == nil {
		return 0
	}
	offset, err := clockOffset(c.clock)
	if err != nil {
		return 0
	}
	return offset
}

// offloads are those that join packets which come in.
func (c *card) offloads() (on []string) {
	const largeReceive = 1 << 15 // ETH_FLAG_LRO
	if v, err := c.ethtool(unix.ETHTOOL_GGRO); err == nil && v != 0 {
		on = append(on, "gro")
	}
	if v, err := c.ethtool(unix.ETHTOOL_GFLAGS); err == nil && v&largeReceive != 0 {
		on = append(on, "lro")
	}
	return on
}

// ethtool asks for one value (struct ethtool_value, linux/ethtool.h).
func (c *card) ethtool(command uint32) (uint32, error) {
	value := struct{ command, data uint32 }{command: command}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data *struct{ command, data uint32 }
		_    [16]byte // struct ifreq is longer than its pointer
	}{data: &value}
	copy(request.name[:unix.IFNAMSIZ-1], c.iface)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(&request)
	if errno != 0 {
		return 0, errno
	}
	return value.data, nil
}

// longest is how long a frame of the interface can be: its MTU, the header of
// Ethernet and two tags.
func (c *card) longest() (int, error) {
	r, err := unix.NewIfreq(c.iface)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(c.fd, unix.SIOCGIFMTU, r); err != nil {
		return 0, err
	}
	const header = 14
	return int(r.Uint32()) + header + 2*tagLength, nil
}

func (c *card) close() error {
	var err error
	if c.clock != nil {
		err = c.clock.Close()
		c.clock = nil
	}
	if c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
	return err
}

// stampSocket says which stamps a socket's packets are to have: the card's, or
// the kernel's, taken when the packet comes and not when it gets to the socket.
func stampSocket(fd int, hardware bool) error {
	if hardware {
		return unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_TIMESTAMP, unix.SOF_TIMESTAMPING_RAW_HARDWARE)
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPING, unix.SOF_TIMESTAMPING_RX_SOFTWARE|unix.SOF_TIMESTAMPING_SOFTWARE)
}
