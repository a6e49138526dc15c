//go:build !linux

package servers

import "syscall"

func servant() (uid, gid int, ok bool) { return 0, 0, false }

func attributes() (*syscall.SysProcAttr, error) { return &syscall.SysProcAttr{}, nil }

func (p *process) mind(began chan<- error) {
	err := p.cmd.Start()
	began <- err
	if err != nil {
		return
	}
	p.cmd.Wait()
	close(p.done)
}
