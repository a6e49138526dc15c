package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// process is a program that is started again whenever it ends otherwise than
// with exit code 0, until it is stopped.
type process struct {
	program string
	args    []string
	log     string // file

	mu      sync.Mutex
	cmd     *exec.Cmd
	stopped bool
	starts  int
	done    chan struct{} // closed when it has ended for good
	failed  error         // why, if it was not asked to
}

// maxStarts is how often a process may be started before that is a failure.
const maxStarts = 200

func startProcess(program, log string, args ...string) *process {
	p := &process{program: program, args: args, log: log, done: make(chan struct{})}
	go p.tend()
	return p
}

func (p *process) tend() {
	defer close(p.done)
	for {
		p.mu.Lock()
		if p.stopped {
			p.mu.Unlock()
			return
		}
		if p.starts++; p.starts > maxStarts {
			p.failed = fmt.Errorf("%v was started %d times", p.args[:1], maxStarts)
			p.mu.Unlock()
			return
		}
		f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			p.cmd = exec.Command(p.program, p.args...)
			p.cmd.Stdout, p.cmd.Stderr = f, f
			p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			err = p.cmd.Start()
		}
		cmd := p.cmd
		p.mu.Unlock()
		if err == nil {
			err = cmd.Wait()
			f.Close()
			if err == nil {
				return
			}
		}
		time.Sleep(200 * time.Millisecond) // as systemd's RestartSec
	}
}

func (p *process) signal(s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil && p.cmd.Process != nil {
		p.cmd.Process.Signal(s)
	}
}

// kill9 ends the process; it is started again.
func (p *process) kill9() { p.signal(syscall.SIGKILL) }

// stop asks the process to end, for good.
func (p *process) stop(patience time.Duration) error {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		p.signal(syscall.SIGKILL)
		<-p.done
		return fmt.Errorf("%s did not end within %s when asked to", p.args[0], patience)
	}
}

// wait waits until the process has ended with exit code 0.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.failed
	case <-ctx.Done():
		return fmt.Errorf("%s has not ended: %w", p.args[0], ctx.Err())
	}
}

// output runs a program to its end and returns what it printed.
func output(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), errors.Join(fmt.Errorf("%s: %w", args[0], err), errors.New(errs.String()))
	}
	return out.String(), nil
}
