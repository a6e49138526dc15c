// Command tocsin watches the links of critical infrastructure: sensor,
// correlator, store and console in one program.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// version is stamped in by the Makefile.
var version = ""

// Exit codes.
const (
	exitFailed = 1 // failed, or found nothing
	exitUsage  = 2
)

// errNothing ends a command that worked and found nothing: exit 1, silently.
var errNothing = errors.New("nothing found")

// errTold ends a command that failed and has said why: exit 1.
var errTold = errors.New("failed")

// usageError is an error of the command line, the environment or the
// configuration file.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Whoever asks again does not want to wait. A signal that comes to a whole
	// group of processes may come twice, and is still one wish.
	context.AfterFunc(ctx, func() {
		time.Sleep(time.Second)
		stop()
	})
	os.Exit(execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNothing), errors.Is(err, errTold):
		return exitFailed
	case errors.As(err, &usage), isCobraUsage(err):
		fmt.Fprintf(errs, "tocsin: %v; see tocsin --help\n", err)
		return exitUsage
	case errors.Is(err, syscall.EPIPE): // the reader has seen enough
		return exitFailed
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(errs, "tocsin: interrupted")
		return exitFailed
	}
	complain(errs, err)
	return exitFailed
}

// complain prints an error, or several joined, a line each.
func complain(w io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(w, "tocsin: %s\n", line)
	}
}

// isCobraUsage knows cobra's own complaints, which have no type.
func isCobraUsage(err error) bool {
	for _, p := range []string{"unknown command", "unknown flag", "unknown shorthand", "flag needs", "invalid argument", "accepts ", "requires at least", "required flag"} {
		if strings.HasPrefix(err.Error(), p) {
			return true
		}
	}
	return false
}

// complainOf prints an error, if there is one.
func complainOf(w io.Writer, err error) {
	if err != nil {
		complain(w, err)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "tocsin",
		Short: "Watch the links of critical infrastructure: detect, search, trace",
		Long: `Tocsin turns packets into events, events into alerts, and alerts into the
trace of an attack back to its source. It only watches: it never blocks,
changes or decrypts traffic.

Every flag may also be given in the environment, as TOCSIN_ and the flag's name
in capitals with _ for -, or in a YAML file named by --config, under the flag's
name. The command line wins over the environment, and that over the file.`,
		Example:       "  tocsin run -r capture.pcap\n  tocsin run -i eth0\n  tocsin alerts capture.pcap.zst",
		Version:       buildVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return settle(cmd)
		},
	}
	root.SetVersionTemplate("tocsin {{.Version}}\n")
	root.PersistentFlags().String("config", "", "YAML `file` with settings")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		newRun(), newServe(), newEvents(), newAlerts(), newSearch(), newTrace(), newVerify(), newEvidence(), newShare(),
		newTriage(), newIncident(), newSuppress(), newSearches(), newUser(), newToken(), newAudit(), newAPI(),
		newRules(), newIntel(), newPolicy(), newAssets(), newLedger(), newExpire(), newDoctor(), newTopics(), newSensor(), newCorrelator(),
	)
	return root
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
