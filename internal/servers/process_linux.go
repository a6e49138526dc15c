package servers

import (
	"os"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
)

// servant is whom servers run as if this process is root's.
func servant() (uid, gid int, ok bool) {
	if os.Geteuid() != 0 {
		return 0, 0, false
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		return 65534, 65534, true
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid, true
}

func attributes() (*syscall.SysProcAttr, error) {
	a := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if uid, gid, ok := servant(); ok {
		a.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return a, nil
}

// mind starts the server and waits for its end. The kernel kills a server when
// the thread that started it ends, so that thread is kept.
func (p *process) mind(began chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	began <- err
	if err != nil {
		return
	}
	p.cmd.Wait()
	close(p.done)
}
