package main

import (
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tocsin/tocsin/internal/servers"
	"github.com/tocsin/tocsin/sensor/log"
)

func TestMain(m *testing.M) {
	testscript.Main(withServers{m}, map[string]func(){"tocsin": main, "confined": confined})
}

// withServers runs the tests, and ends the servers that they started.
type withServers struct{ m *testing.M }

func (w withServers) Run() int { return servers.Run(w.m) }

// TestScripts runs command lines as people type them.
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { busy.Close() }) // the scripts run after this function returns
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("SCENARIOS", filepath.Join(root, "testdata", "scenarios"))
			env.Setenv("BUSY", busy.Addr().String())
			return writeCaptures(env.WorkDir)
		},
	})
}

// smallest is the least that a log may say of an event.
const smallest = `{"@timestamp":"2026-11-22T00:00:00Z","event":{"dataset":"tocsin.flow","id":"01a20356fca3a679ad53f6203e36c112"}}` + "\n"

// writeCaptures makes the captures that the scripts read.
func writeCaptures(dir string) error {
	const ethernet, bluetooth = 1, 187
	good := pcapFile(ethernet, syn(1), syn(2), syn(3))
	long := append([]byte(nil), good...)
	binary.LittleEndian.PutUint32(long[24+8:], 1<<30) // captured length of the first packet
	for name, data := range map[string][]byte{
		"good.pcap": good, "cut.pcap": good[:len(good)-20], "long.pcap": long,
		"huge.jsonl":   []byte(smallest + strings.Repeat("a", log.MaxLine+1) + "\n" + smallest),
		"strange.pcap": pcapFile(bluetooth, syn(1)), "empty.pcap": nil, "text.pcap": []byte("this is no capture\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// pcapFile is a pcap file of a link type.
func pcapFile(link uint32, packets ...[]byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(b, 65535)
	b = le.AppendUint32(b, link)
	for i, p := range packets {
		b = le.AppendUint32(b, 1_700_000_000+uint32(i))
		b = le.AppendUint32(b, 0)
		b = le.AppendUint32(b, uint32(len(p)))
		b = le.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

// syn is an Ethernet frame with a TCP SYN from a port.
func syn(port uint16) []byte {
	be := binary.BigEndian
	b := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0}
	ip := []byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
	var sum uint32
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(be.Uint16(ip[i:]))
	}
	be.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	b = append(b, ip...)
	b = be.AppendUint16(b, port)
	b = be.AppendUint16(b, 80)
	b = append(b, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0)
	return b
}
