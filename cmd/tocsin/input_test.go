package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestInterrupted asks that a command ends when it is told to while it waits
// for a writer that says nothing, that what came before is told, and that the
// exit says that it was not all.
func TestInterrupted(t *testing.T) {
	capture := pcapFile(1, syn(1), syn(2), syn(3))
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"events", "-"}, {"alerts", "-"}, {"run", "--once", "--data", t.TempDir(), "-r", "-"},
		{"run", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "-r", "-"},
		{"events", fifo}, // nobody has opened it to write
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			in, writer := io.Pipe()
			defer writer.Close()
			var out, errs bytes.Buffer
			code := make(chan int)
			go func() { code <- execute(ctx, args, in, &out, &errs) }()
			if args[1] != fifo {
				// When the second write returns, the first was read.
				if _, err := writer.Write(capture[:100]); err != nil {
					t.Fatal(err)
				}
				if _, err := writer.Write(capture[100:]); err != nil {
					t.Fatal(err)
				}
			}
			cancel()
			select {
			case c := <-code:
				if c != exitFailed || errs.String() != "tocsin: interrupted\n" {
					t.Errorf("exit %d, says %q", c, errs.String())
				}
			case <-time.After(10 * time.Second):
				t.Fatal("still waiting")
			}
		})
	}
	// The reader that waited for a writer is let go.
	if f, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
		f.Close()
	}
}

// TestPipeOnce asks that what can be read only once is read whole, though
// alerts looks at it first to tell a log from a capture.
func TestPipeOnce(t *testing.T) {
	capture, err := os.ReadFile("../../testdata/scenarios/intrusion/substation.pcap.zst")
	if err != nil {
		t.Fatal(err)
	}
	var want, got, errs bytes.Buffer
	execute(t.Context(), []string{"alerts", "../../testdata/scenarios/intrusion/substation.pcap.zst"}, nil, &want, &errs)
	fifo := filepath.Join(t.TempDir(), "substation.pcap.zst")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	go os.WriteFile(fifo, capture, 0)
	if code := execute(t.Context(), []string{"alerts", fifo}, nil, &got, &errs); code != 0 || errs.Len() > 0 {
		t.Errorf("exit %d, says %q", code, errs.String())
	}
	if want.Len() == 0 || got.String() != want.String() {
		t.Errorf("a pipe gives %d bytes of alerts, the file %d", got.Len(), want.Len())
	}
}
