//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// confined is a program that is confined to one folder, its first argument, and
// says what it can still do. It is run by TestConfined.
func confined() {
	home, outside := os.Args[1], os.Args[2]
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if err := confine(os.Stdout, reach{write: []string{home}}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	try := func(what string, err error) {
		result := "can"
		if errno := syscall.Errno(0); asErrno(err, &errno) {
			result = unix.ErrnoName(errno)
		} else if err != nil {
			result = err.Error()
		}
		fmt.Printf("%s: %s\n", what, result)
	}
	try("write a file", os.WriteFile(filepath.Join(home, "file"), []byte("x"), 0o600))
	_, err = os.ReadFile(filepath.Join(home, "file"))
	try("read it", err)
	try("remove it", os.Remove(filepath.Join(home, "file")))
	_, err = os.ReadFile(outside)
	try("read a file outside", err)
	try("write outside", os.WriteFile(outside+".new", nil, 0o600))
	_, err = os.ReadDir("/etc")
	try("list /etc", err)
	try("start a program", exec.Command("/bin/true").Run())
	try("become one", syscall.Exec("/bin/true", []string{"true"}, nil))
	try("trace a process", unix.PtraceAttach(os.Getppid()))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	try("capture", err)
	unix.Close(fd)
	try("leave the network", unix.Unshare(unix.CLONE_NEWUSER|unix.CLONE_NEWNET))
	try("mount", unix.Mount("none", home, "tmpfs", 0, ""))
	try("kill another", unix.Kill(os.Getppid(), 0))
	try("set the clock", unix.Settimeofday(&unix.Timeval{Sec: 1}))
	_, err = net.Dial("tcp", listening.Addr().String())
	try("connect", err)
	// New threads are confined as well.
	done := make(chan error)
	for range 20 {
		go func() {
			_, err := os.ReadFile(outside)
			done <- err
		}()
	}
	var other error
	for range 20 {
		if err := <-done; err == nil {
			other = fmt.Errorf("not confined")
		}
	}
	try("have threads", other)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Println(err)
	}
	for line := range strings.Lines(string(status)) {
		switch name, value, _ := strings.Cut(line, ":\t"); name {
		case "Seccomp", "NoNewPrivs", "CapEff", "CapPrm":
			fmt.Printf("%s %s", name, value)
		}
	}
}

// asErrno finds the system's error in an error.
func asErrno(err error, errno *syscall.Errno) bool {
	for err != nil {
		if e, ok := err.(syscall.Errno); ok {
			*errno = e
			return true
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return false
		}
		err = u.Unwrap()
	}
	return false
}

// What captures can do nothing but its work, whatever was sent to it: as root's
// successor, or with only the capabilities that capturing needs.
func TestConfined(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root; CI runs as root")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	for dir := home; dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	outside := filepath.Join(filepath.Dir(home), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Others may not get to where tests are built.
	program := filepath.Join(filepath.Dir(home), "confined")
	if text, err := os.ReadFile(self); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	const want = `write a file: can
read it: can
remove it: can
read a file outside: EACCES
write outside: EACCES
list /etc: EACCES
start a program: EACCES
become one: EPERM
trace a process: EPERM
capture: EPERM
leave the network: EPERM
mount: EPERM
kill another: EPERM
set the clock: EPERM
connect: EACCES
have threads: can
CapPrm 0000000000000000
CapEff 0000000000000000
NoNewPrivs 1
Seccomp 2
`
	for who, capabilities := range map[string][]uintptr{"nobody": nil, "with capabilities": {unix.CAP_NET_RAW, unix.CAP_NET_ADMIN}} {
		cmd := exec.Command(program, home, outside)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: capabilities}
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("%s: %v\n got:\n%s\nwant:\n%s", who, err, out, want)
		}
	}
}
