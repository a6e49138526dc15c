package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// confine shuts a process in that reads what strangers send, once everything is
// open that it needs rights for: it loses what capabilities it has, reaches no
// files but its own (landlock) and has no system calls but those that it makes
// (seccomp), for good and in all threads. What the kernel does not have is said,
// and gone without.
func confine(errs io.Writer, r reach) error {
	if err := dropCapabilities(); err != nil {
		return err
	}
	if version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 || version == 0 {
		fmt.Fprintf(errs, "tocsin: this kernel has no landlock (%v), so the process reaches all files of its user; Linux 5.13 or later with lsm=landlock has it\n", errno)
	} else if err := r.landlock(); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	if !seccomp.Supported() {
		fmt.Fprintln(errs, "tocsin: this kernel has no seccomp filters, so the process has all system calls; CONFIG_SECCOMP_FILTER is missing")
		return nil
	}
	return filterSystemCalls()
}

// dropCapabilities gives up the capabilities of a process that was never root.
// One that was has lost them, or wants to stay root.
func dropCapabilities() error {
	if os.Geteuid() == 0 {
		return nil
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])), 0)
	runtime.KeepAlive(&header)
	runtime.KeepAlive(&none)
	if errno != 0 {
		return fmt.Errorf("give up capabilities: %w", errno)
	}
	return nil
}

// landlock lets the process reach what r names, and the little of the system
// that the runtime, libpcap and the resolver look at.
func (r reach) landlock() error {
	read := []landlock.Rule{
		landlock.ROFiles("/dev/null", "/dev/urandom", "/proc/stat", "/etc/localtime").IgnoreIfMissing(),
		landlock.RODirs(fmt.Sprintf("/proc/%d", os.Getpid()), "/sys/class/net", "/sys/devices", "/usr/share/zoneinfo").IgnoreIfMissing(),
	}
	if r.connects {
		read = append(read,
			landlock.ROFiles("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf").IgnoreIfMissing(),
			landlock.RODirs("/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/run/systemd/resolve").IgnoreIfMissing(),
		)
	}
	for _, path := range r.read {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			read = append(read, landlock.RODirs(path))
		} else {
			read = append(read, landlock.ROFiles(path).IgnoreIfMissing())
		}
	}
	rules := append(read, landlock.RWDirs(r.write...).IgnoreIfMissing())
	if err := landlock.V5.BestEffort().RestrictPaths(rules...); err != nil {
		return err
	}
	if r.connects {
		return nil
	}
	return landlock.V5.BestEffort().RestrictNet() // what listens does already
}

// systemCalls are those that a capturing process makes when it runs: of Go's
// runtime, of its network and files, of SQLite, and of reading rings. None
// starts a program, looks into another process, or changes the system; adjtimex
// only asks when there are no capabilities.
const systemCalls = `
read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 close close_range lseek
open openat openat2 creat stat lstat fstat newfstatat statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getcwd getdents64
unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir truncate ftruncate fallocate fsync fdatasync sync_file_range
chmod fchmod fchmodat umask utimensat fadvise64 fcntl flock dup dup2 dup3 copy_file_range sendfile splice
mmap munmap mremap mprotect madvise mincore msync brk membarrier mlock munlock
futex futex_waitv nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times
sched_yield sched_getaffinity sched_getparam sched_getscheduler getcpu getpid getppid gettid getuid geteuid getgid getegid getgroups getrandom
getrlimit getrusage sysinfo uname capget adjtimex clock_adjtime
rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait rt_sigpending sigaltstack tgkill restart_syscall
timer_create timer_settime timer_gettime timer_delete setitimer getitimer timerfd_create timerfd_settime
clone exit exit_group wait4 waitid set_robust_list get_robust_list rseq set_tid_address arch_prctl
connect bind listen accept accept4 getsockname getpeername setsockopt getsockopt shutdown socketpair
sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg
epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd2 pipe pipe2 poll ppoll select pselect6`

// filterSystemCalls leaves the process only the system calls that it makes.
// The others fail with EPERM.
func filterSystemCalls() error {
	machine, err := arch.GetInfo("")
	if err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	has := func(name string) bool { _, there := machine.SyscallNames[name]; return there }
	allow := seccomp.SyscallGroup{Action: seccomp.ActionAllow}
	for _, name := range strings.Fields(systemCalls) {
		if has(name) { // the newer machines lack the older calls
			allow.Names = append(allow.Names, name)
		}
	}
	only := func(name string, argument uint32, values ...uint64) {
		for _, v := range values {
			allow.NamesWithCondtions = append(allow.NamesWithCondtions, seccomp.NameWithConditions{
				Name:       name,
				Conditions: seccomp.ArgumentConditions{{Argument: argument, Operation: seccomp.Equal, Value: v}},
			})
		}
	}
	only("socket", 0, unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK)
	only("ioctl", 1, unix.SIOCETHTOOL, unix.SIOCGIFMTU, unix.SIOCGIFFLAGS, unix.SIOCGIFINDEX, unix.SIOCGIFHWADDR, unix.SIOCGSTAMP, unix.TIOCINQ, unix.TCGETS, unix.TCSETS, unix.TIOCGWINSZ)
	only("prctl", 0, unix.PR_SET_NAME, unix.PR_SET_VMA, unix.PR_GET_NO_NEW_PRIVS, unix.PR_CAPBSET_READ)
	only("prlimit64", 2, 0) // ask, without new limits
	if has("kill") {
		only("kill", 0, uint64(os.Getpid()))
	}
	filter := seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionErrno,
			Syscalls: []seccomp.SyscallGroup{
				allow,
				// Its flags are in memory, where no filter can look, so the C library
				// is told to make threads by clone.
				{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}},
			},
		},
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := seccomp.LoadFilter(filter); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	return nil
}
