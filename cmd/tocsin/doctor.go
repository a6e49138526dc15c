package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/tocsin/tocsin/store/embedded"
)

func newDoctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Check rules, lists, assets, store, console port and interfaces",
		Example: "  sudo tocsin doctor -i eth0 --data data",
		Args:    cobra.NoArgs,
	}
	ifaces := cmd.Flags().StringArrayP("interface", "i", nil, "`INTERFACE` to capture on; may be repeated")
	data, listen, what := dataFlag(cmd), listenFlag(cmd), detectingFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d := &doctor{out: cmd.OutOrStdout()}
		d.check("rules, lists and assets", func() (string, error) {
			c, err := what.correlator(cmd.ErrOrStderr())
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%d rules are ready", len(c.Stats().Rules)), nil
		})
		d.check("store "+*data, func() (string, error) { return checkStore(*data) })
		d.check("console at "+*listen, func() (string, error) {
			l, err := listenOn(*listen)
			if err != nil {
				return "", err
			}
			return "the port is free", l.Close()
		})
		for _, name := range *ifaces {
			d.check("interface "+name, func() (string, error) { return checkInterface(cmd.Context(), name) })
		}
		if d.problems > 0 {
			return errTold
		}
		return nil
	}
	return cmd
}

type doctor struct {
	out      io.Writer
	problems int
}

func (d *doctor) check(what string, fn func() (string, error)) {
	good, err := fn()
	if err != nil {
		d.problems++
		fmt.Fprintf(d.out, "PROBLEM  %s: %v\n", what, err)
		return
	}
	fmt.Fprintf(d.out, "ok       %s: %s\n", what, good)
}

// lowDisk is the free space below which the doctor warns, in bytes.
const lowDisk = 1 << 30

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

func checkInterface(ctx context.Context, name string) (string, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		all, listErr := net.Interfaces()
		if listErr != nil {
			return "", errors.Join(err, listErr)
		}
		names := make([]string, len(all))
		for n := range all {
			names[n] = all[n].Name
		}
		return "", fmt.Errorf("there is none of that name; there are %v", names)
	}
	if i.Flags&net.FlagUp == 0 {
		return "", fmt.Errorf("it is down; run: ip link set %s up", name)
	}
	t, err := openTap(ctx, name, captureAuto, "", 1)
	if err != nil {
		if errors.Is(err, os.ErrPermission) || os.Geteuid() != 0 {
			return "", fmt.Errorf("%w; run as root, or give the program the right: setcap cap_net_raw,cap_net_admin+ep bin/tocsin", err)
		}
		return "", err
	}
	return fmt.Sprintf("it is up, its MTU is %d, and it can be captured on", i.MTU), closeTaps([]tap{t})
}
