package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tocsin/tocsin/incident/audit"
	"github.com/tocsin/tocsin/incident/desk"
)

// identity is the user as whom a process that was started by root goes on
// when it needs root no longer. Nil stands for whoever it is already.
type identity struct {
	name     string
	uid, gid int
}

// successor is the identity to take on: the named user, or else the owner of
// the data folder or of the folder in which it is to be made, or nobody if that
// is root. It is nil if the process was not started by root, or if root is named.
func successor(name, data string) (*identity, error) {
	switch {
	case os.Geteuid() != 0 && name != "":
		return nil, usagef("--user %s: only root can become another user", name)
	case os.Geteuid() != 0:
		return nil, nil
	case name == "":
		at, err := filepath.Abs(data)
		if err != nil {
			return nil, err
		}
		for {
			info, err := os.Stat(at)
			if errors.Is(err, fs.ErrNotExist) && at != "/" {
				at = filepath.Dir(at)
				continue
			} else if err != nil {
				return nil, err
			}
			if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 0 {
				id := &identity{strconv.Itoa(int(owner.Uid)), int(owner.Uid), int(owner.Gid)}
				if u, err := user.LookupId(id.name); err == nil {
					id.name = u.Username
				}
				return id, nil
			}
			break
		}
		name = "nobody"
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, usagef("--user: %v", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return nil, err
	}
	if uid == 0 {
		return nil, nil
	}
	return &identity{name, uid, gid}, nil
}

// renounce makes sure that neither this process nor any that it starts can get
// rights by starting a program (no_new_privs). Threads have this one by one,
// and those of C libraries are out of reach, so it is the program that begins
// anew. It returns when that was done.
func (id *identity) renounce() error {
	if id == nil {
		return nil
	}
	if done, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	} else if done == 1 {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return fmt.Errorf("start %s again without new privileges: %w", self, syscall.Exec(self, os.Args, os.Environ()))
}

// own makes the data folder if there is none. One that there is must be the
// identity's already, or is handed over if root made it and it holds a store
// and nothing else.
func (id *identity) own(data string) error {
	if id == nil {
		return nil
	}
	info, err := os.Stat(data)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(data), 0o755); err != nil {
			return fmt.Errorf("store: %w", err)
		}
		if err := os.Mkdir(data, 0o700); err != nil {
			return fmt.Errorf("store: %w", err)
		}
		return os.Chown(data, id.uid, id.gid)
	} else if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if owner.Uid == 0 {
		if files, err := filepath.Glob(filepath.Join(data, "*")); err == nil && onlyStore(files) {
			for _, path := range append(files, data) {
				if err := os.Lchown(path, id.uid, id.gid); err != nil {
					return fmt.Errorf("store: %w", err)
				}
			}
			return nil
		}
	}
	if int(owner.Uid) != id.uid {
		return fmt.Errorf("store %s does not belong to %s, as whom capturing goes on; run: chown -R %s %s; or name its owner with --user", data, id.name, id.name, data)
	}
	return nil
}

// onlyStore reports whether files are what a store is made of.
func onlyStore(files []string) bool {
	for _, path := range files {
		switch filepath.Base(path) {
		case "store.db", "store.db-wal", "store.db-shm", "lock", ruleBookFile, callFile, audit.FileName, audit.HeadName,
			desk.FileName, desk.FileName + "-wal", desk.FileName + "-shm":
		default:
			return false
		}
	}
	return true
}

// become gives up root, and with it all capabilities, in all threads and for
// good.
func (id *identity) become() error {
	if id == nil {
		return nil
	}
	if err := errors.Join(syscall.Setgroups([]int{id.gid}), syscall.Setgid(id.gid), syscall.Setuid(id.uid)); err != nil {
		return fmt.Errorf("become user %s: %w; choose another with --user, or stay root with --user root", id.name, err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var left [2]unix.CapUserData
	if err := unix.Capget(&header, &left[0]); err != nil {
		return fmt.Errorf("become user %s: %w", id.name, err)
	}
	if left[0].Effective|left[0].Permitted|left[1].Effective|left[1].Permitted != 0 || syscall.Setuid(0) == nil {
		return fmt.Errorf("become user %s: rights of root are left", id.name)
	}
	return nil
}

// explain says as whom something failed for want of rights.
func (id *identity) explain(err error) error {
	if id != nil && errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w (as user %s, as whom capturing goes on; choose another with --user)", err, id.name)
	}
	return err
}
