package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/acceptance"
	protocols "github.com/tocsin/tocsin/sensor/proto/all"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
)

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the set-up, and whether a tap shows what goes over its link",
		Long: `Check rules, lists, assets, store and the console's port. With -i, test the
interfaces too: for a minute, or until it is sure, whether both directions are
there, whether packets come twice, get lost, are cut, joined, damaged or out of
order, what they are wrapped in, whether the clock is right, and whether what
you expect is there; each with what was measured and what to type. With -r, test
a capture instead.

With --data the record of the test is stored and can be searched:
tocsin search 'event.dataset: tocsin.tap'. Exit 1 if there is a problem or a
fault; warnings do not count.`,
		Example: `  sudo tocsin doctor -i eth1 --expect 10.20.0.0/16 --expect modbus --data data
  tocsin doctor -r capture.pcap --json`,
		Args: cobra.NoArgs,
	}
	captures := cmd.Flags().StringArrayP("read", "r", nil, "capture `FILE` to test, - for standard input; may be repeated")
	ifaces := cmd.Flags().StringArrayP("interface", "i", nil, "`[NAME=]INTERFACE` to test; may be repeated")
	span := cmd.Flags().Duration("for", time.Minute, "`TIME` to test interfaces at most")
	expect := cmd.Flags().StringSlice("expect", nil, "`NETWORK` or protocol that must be seen, such as 10.1.0.0/16 or modbus; may be repeated")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	path := cmd.Flags().StringP("output", "o", "", "write the records as JSON to `FILE` as well")
	where, listen, what := storeFlags(cmd), listenFlag(cmd), detectingFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		networks, wanted, err := expected(*expect)
		if err != nil {
			return err
		}
		if *span < time.Second || *span > time.Hour {
			return usagef("--for %v: want 1s to 1h", *span)
		}
		d := &doctor{out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), json: *asJSON, networks: networks, protocols: wanted, found: examination{Checks: []checked{}, Taps: []acceptance.Report{}}}
		var id *identity
		if len(*ifaces) > 0 {
			// What reads packets should have no rights.
			if id, err = successor("", *where.data); err != nil {
				return err
			}
			if err := id.renounce(); err != nil {
				return err
			}
		}
		var copied *os.File
		if *path != "" {
			if copied, err = os.Create(*path); err != nil {
				return err
			}
			defer copied.Close()
		}
		if len(*captures) == 0 {
			d.check("rules, lists and assets", func() (string, error) {
				c, _, err := what.correlator(cmd.ErrOrStderr())
				if err != nil {
					return "", err
				}
				return fmt.Sprintf("%d rules are ready", len(c.Stats().Rules)), nil
			})
			if where.embedded() {
				d.check("store "+*where.data, func() (string, error) { return checkStore(*where.data) })
			} else {
				d.check("Elasticsearch", func() (string, error) { return checkElastic(cmd.Context(), where) })
			}
			d.check("console at "+*listen, func() (string, error) {
				l, err := listenOn(*listen)
				if err != nil {
					return "", err
				}
				return "the port is free", l.Close()
			})
		}
		ctx, stop := context.WithCancel(cmd.Context())
		defer stop()
		var taps []tap
		defer func() { closeTaps(taps) }()
		for _, name := range *ifaces {
			d.check("interface "+name, func() (string, error) {
				says, t, err := checkInterface(ctx, name)
				if err == nil {
					taps = append(taps, t)
				}
				return says, err
			})
		}
		recording := (cmd.Flags().Changed("data") || !where.embedded()) && len(*captures)+len(taps) > 0
		if recording && where.embedded() {
			if err := id.own(*where.data); err != nil {
				return err
			}
		}
		if err := id.become(); err != nil {
			return err
		}
		var records store.Store
		if recording {
			if records, err = where.openToFill(cmd.Context()); err != nil {
				return id.explain(err)
			}
			defer records.Close()
		}
		if len(taps) > 0 {
			may := reach{read: *captures, connects: !where.embedded()}
			if recording && where.embedded() {
				may.write = []string{*where.data}
			}
			if err := confine(cmd.ErrOrStderr(), may); err != nil {
				return err
			}
			defer time.AfterFunc(*span, stop).Stop()
			d.live(ctx, taps, *span)
		}
		for _, in := range openInputs(cmd.Context(), *captures, cmd.InOrStdin()) {
			d.capture(cmd.Context(), in)
		}
		if records != nil && len(d.found.Taps) > 0 {
			d.check("record of the test", func() (string, error) {
				says := "stored in " + *where.data
				if !where.embedded() {
					says = "stored in Elasticsearch"
				}
				return says, keepRecords(cmd.Context(), records, d.found.Taps)
			})
		}
		if copied != nil {
			if err := errors.Join(writeJSON(copied, d.found), copied.Close()); err != nil {
				return err
			}
		}
		if d.json {
			if err := writeJSON(d.out, d.found); err != nil {
				return err
			}
		}
		if d.problems > 0 {
			return errTold
		}
		return nil
	}
	return cmd
}

// expected reads what must be seen: networks, addresses and protocols.
func expected(list []string) (networks []netip.Prefix, names []string, err error) {
	known := []string{"tcp", "udp", "icmp", "ipv6-icmp", "sctp", "vxlan", "geneve", "gtpu", "teredo", "l2tp"}
	for _, k := range kinds() {
		if k != event.KindFlow && k != event.KindLedger {
			known = append(known, string(k))
		}
	}
	for _, x := range list {
		if n, err := netip.ParsePrefix(x); err == nil {
			networks = append(networks, n.Masked())
		} else if a, err := netip.ParseAddr(x); err == nil {
			networks = append(networks, netip.PrefixFrom(a, a.BitLen()))
		} else if name := strings.ToLower(x); slices.Contains(known, name) {
			names = append(names, name)
		} else {
			slices.Sort(known)
			return nil, nil, usagef("--expect %s: want a network such as 10.1.0.0/16, an address, or one of %s", x, strings.Join(known, ", "))
		}
	}
	return networks, names, nil
}

// examination is what the doctor has found.
type examination struct {
	Checks []checked           `json:"checks"`
	Taps   []acceptance.Report `json:"taps"`
}

// checked is how the check of a part of the set-up went.
type checked struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Says string `json:"says"`
}

type doctor struct {
	out, errs io.Writer
	json      bool
	networks  []netip.Prefix
	protocols []string
	problems  int
	found     examination
}

func (d *doctor) check(what string, fn func() (string, error)) {
	says, err := fn()
	if err != nil {
		d.problems++
		says = err.Error()
	}
	d.found.Checks = append(d.found.Checks, checked{what, err == nil, says})
	switch {
	case d.json:
	case err != nil:
		fmt.Fprintf(d.out, "PROBLEM  %s: %s\n", what, says)
	default:
		fmt.Fprintf(d.out, "ok       %s: %s\n", what, says)
	}
}

// config is how a tap is tested.
func (d *doctor) config() acceptance.Config {
	c := acceptance.Config{Sensor: sensor.DefaultConfig(), Now: time.Now(), Networks: d.networks, Protocols: d.protocols}
	c.Sensor.Protocols = protocols.Protocols()
	return c
}

// live tests interfaces, all at the same time.
func (d *doctor) live(ctx context.Context, taps []tap, span time.Duration) {
	began := time.Now()
	still := progress(d.errs, func() string {
		return fmt.Sprintf("testing %s of %s at most", time.Since(began).Round(time.Second), span)
	})
	own := ownAddresses()
	reports, errs := make([]acceptance.Report, len(taps)), make([]error, len(taps))
	var testing sync.WaitGroup
	for n, t := range taps {
		cfg := d.config()
		cfg.Live, cfg.Interface, cfg.Own = true, t[0].Interfaces()[0].Name, own
		if i, err := net.InterfaceByName(cfg.Interface); err == nil {
			cfg.MTU, cfg.Loopback, cfg.Speed = i.MTU, i.Flags&net.FlagLoopback != 0, speedOf(i)
		}
		testing.Go(func() { reports[n], errs[n] = acceptance.Run(ctx, t[0], cfg) })
	}
	testing.Wait()
	still()
	for n := range taps {
		d.tested(reports[n], errs[n])
	}
}

// capture tests a capture.
func (d *doctor) capture(ctx context.Context, in input) {
	src, err := openCaptures([]input{in})
	if err != nil {
		d.check("capture "+in.name, func() (string, error) { return "", err })
		return
	}
	r, err := acceptance.Run(ctx, src, d.config())
	if r.Packets == 0 && err != nil {
		d.check("capture "+in.name, func() (string, error) { return "", err })
		return
	}
	d.tested(r, err)
}

// tested tells how the test of a tap went.
func (d *doctor) tested(r acceptance.Report, err error) {
	d.found.Taps = append(d.found.Taps, r)
	faults, warnings := r.Count(acceptance.Fault), r.Count(acceptance.Warning)
	d.problems += faults
	if !d.json {
		name := r.Sensor
		if r.Interface != r.Sensor {
			name += " (" + r.Interface + ")"
		}
		fmt.Fprintf(d.out, "\ntap %s\n", name)
		for _, v := range r.Verdicts {
			level := string(v.Level)
			switch v.Level {
			case acceptance.Warning, acceptance.Fault:
				level = strings.ToUpper(level)
			case acceptance.Unjudged:
				level = "-"
			}
			fmt.Fprintf(d.out, "%-8s %s: %s\n", level, v.Check, v.Says)
			if v.Fix != "" {
				fmt.Fprintf(d.out, "         → %s\n", v.Fix)
			}
		}
		switch {
		case faults+warnings == 0:
			fmt.Fprintf(d.out, "The tap is good.\n")
		case faults == 0:
			fmt.Fprintf(d.out, "The tap can be used: %s.\n", plural(warnings, "warning"))
		default:
			fmt.Fprintf(d.out, "The tap is not good: %s, %s.\n", plural(faults, "fault"), plural(warnings, "warning"))
		}
	}
	if err != nil {
		d.check("tap "+r.Sensor, func() (string, error) { return "", err })
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// keepRecords stores the records of tests.
func keepRecords(ctx context.Context, s store.Store, taps []acceptance.Report) error {
	events := make([]event.Event, len(taps))
	for i := range taps {
		events[i] = taps[i].Event()
	}
	return s.Put(ctx, events, nil)
}

func writeJSON(w io.Writer, x any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(x)
}

// ownAddresses are the MAC addresses of this machine.
func ownAddresses() (list []event.MAC) {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range all {
		if len(i.HardwareAddr) == len(event.MAC{}) {
			list = append(list, event.MAC(i.HardwareAddr))
		}
	}
	return list
}

// speedOf is an interface's speed in bits per second, 0 if it has none or the
// system does not tell.
func speedOf(i *net.Interface) uint64 {
	read := func(name string) int {
		text, err := os.ReadFile(filepath.Join("/sys/class/net", i.Name, name))
		if err != nil {
			return 0
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return 0
		}
		return n
	}
	// In a container the files may be those of another network.
	if mbit := read("speed"); mbit > 0 && read("ifindex") == i.Index {
		return uint64(mbit) * 1_000_000
	}
	return 0
}

// lowDisk is the free space below which the doctor warns, in bytes.
const lowDisk = 1 << 30

func checkElastic(ctx context.Context, where storing) (string, error) {
	s, err := where.open(ctx, embedded.ReadOnly)
	if err != nil {
		return "", err
	}
	from, to, err := s.Span(ctx)
	if err := errors.Join(err, s.Close()); err != nil {
		return "", err
	}
	if to.IsZero() {
		return "it answers, and is empty", nil
	}
	return fmt.Sprintf("it answers, and holds %s to %s", from.Format(timeLayout), to.Format(timeLayout)), nil
}

func checkStore(dir string) (string, error) {
	s, err := embedded.Open(dir, embedded.ReadOnly)
	state := "does not exist yet"
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", err
	default:
		from, to, err := s.Span(context.Background())
		if err := errors.Join(err, s.Close()); err != nil {
			return "", err
		}
		state = "is empty"
		if !to.IsZero() {
			state = fmt.Sprintf("holds %s to %s", from.Format(timeLayout), to.Format(timeLayout))
		}
	}
	// The nearest folder that exists is where it will be made.
	at := dir
	for at != "." && at != "/" {
		if _, err := os.Stat(at); err == nil {
			break
		}
		at = filepath.Dir(at)
	}
	if err := unix.Access(at, unix.W_OK); err != nil {
		return "", fmt.Errorf("%s cannot be written to: %w; run as its owner or choose another with --data", at, err)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(at, &disk); err != nil {
		return "", err
	}
	if free := disk.Bavail * uint64(disk.Bsize); free < lowDisk {
		return "", fmt.Errorf("%s; only %d MB are free: make room or choose another disk with --data", state, free>>20)
	}
	return state + ", and there is room", nil
}

// checkInterface opens an interface, given as [NAME=]INTERFACE.
func checkInterface(ctx context.Context, name string) (string, tap, error) {
	_, device, named := strings.Cut(name, "=")
	if !named {
		device = name
	}
	i, err := net.InterfaceByName(device)
	if err != nil {
		all, listErr := net.Interfaces()
		if listErr != nil {
			return "", nil, errors.Join(err, listErr)
		}
		names := make([]string, len(all))
		for n := range all {
			names[n] = all[n].Name
		}
		return "", nil, fmt.Errorf("there is none of that name; there are %v", names)
	}
	if i.Flags&net.FlagUp == 0 {
		return "", nil, fmt.Errorf("it is down; run: ip link set %s up", device)
	}
	t, err := openTap(ctx, name, captureAuto, "", 1)
	if err != nil {
		if errors.Is(err, os.ErrPermission) || os.Geteuid() != 0 {
			return "", nil, fmt.Errorf("%w; run as root, or give the program the right: setcap cap_net_raw,cap_net_admin+ep bin/tocsin", err)
		}
		return "", nil, err
	}
	return fmt.Sprintf("it is up, its MTU is %d, and it can be captured on", i.MTU), t, nil
}
