// Package servers starts the real servers that tests need, from what
// make setup-test fetched, on loopback, with their data in a folder of their
// own. They die with the process that started them.
//
// A whole test run shares one of each: make test starts them with the program
// in with, and hands them over in the environment. A package's tests that are
// run alone start their own, once; TestMain ends them with Run. Tests use
// topics and indices with names of their own.
package servers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// service is a server that a whole test run shares.
type service struct {
	env   string // of its address, where one is given
	fetch func(context.Context) error
	start func(context.Context) (addr string, stop func() error, err error)

	once sync.Once
	addr string
	err  error
}

var services = []*service{&sharedKafka, &sharedElasticsearch}

// Fetch gets what the servers consist of; what is there already stays.
func Fetch(ctx context.Context) error {
	for _, s := range services {
		if err := s.fetch(ctx); err != nil {
			return err
		}
	}
	return nil
}

// With starts those servers that the environment does not give, runs a program
// that finds them all there, and ends them. It returns the program's exit code.
func With(ctx context.Context, program []string) (int, error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = os.Environ()
	errs := make([]error, len(services))
	var starting sync.WaitGroup
	for i, s := range services {
		starting.Go(func() { _, errs[i] = s.address(ctx) })
	}
	starting.Wait()
	defer stopShared()
	if err := errors.Join(errs...); err != nil {
		return 1, err
	}
	for _, s := range services {
		cmd.Env = append(cmd.Env, s.env+"="+s.addr)
	}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	// An interrupt from a terminal goes to all processes; one for this process
	// only is passed on.
	passed := context.AfterFunc(ctx, func() { cmd.Process.Signal(os.Interrupt) })
	defer passed()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// Run runs a package's tests, and ends the servers that they started. It
// returns the exit code.
func Run(m *testing.M) int {
	defer stopShared()
	return m.Run()
}

// address returns where the server is, and starts it if the environment does
// not say.
func (s *service) address(ctx context.Context) (string, error) {
	s.once.Do(func() {
		if s.addr = os.Getenv(s.env); s.addr != "" {
			return
		}
		var stop func() error
		if s.addr, stop, s.err = s.start(ctx); s.err == nil {
			shared.Lock()
			shared.stops = append(shared.stops, stop)
			shared.Unlock()
		}
	})
	return s.addr, s.err
}

func (s *service) forTest(t testing.TB) string {
	t.Helper()
	addr, err := s.address(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// shared is what this process started for all of its tests.
var shared struct {
	sync.Mutex
	stops []func() error
}

func stopShared() {
	shared.Lock()
	defer shared.Unlock()
	for _, stop := range shared.stops {
		if err := stop(); err != nil {
			fmt.Fprintln(os.Stderr, "servers:", err)
		}
	}
	shared.stops = nil
}

// cache is the folder of what was fetched, below the folder of go.mod.
func cache() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			dir := filepath.Join(at, ".cache")
			if real, err := filepath.EvalSymlinks(dir); err == nil {
				return real, nil
			}
			return dir, nil
		}
		if at == filepath.Dir(at) {
			return "", errors.New("servers: no go.mod above this folder")
		}
		at = filepath.Dir(at)
	}
}

// fetched returns the folder of a server that was fetched.
func fetched(name string) (string, error) {
	in, err := cache()
	if err == nil {
		dir := filepath.Join(in, "servers", name)
		if _, err = os.Stat(filepath.Join(dir, ".ok")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("servers: %s is not there: %w; run: make setup-test", name, err)
}

// fetch fills the folder of a server once, or not at all.
func fetch(ctx context.Context, name string, fill func(ctx context.Context, dir string) error) error {
	if _, err := fetched(name); err == nil {
		return nil
	}
	in, err := cache()
	if err != nil {
		return err
	}
	dir := filepath.Join(in, "servers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp(dir, name+".")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.Chmod(work, 0o755); err != nil {
		return err
	}
	if err := fill(ctx, work); err != nil {
		return fmt.Errorf("servers: fetch %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(work, ".ok"), nil, 0o644); err != nil {
		return err
	}
	final := filepath.Join(dir, name)
	if err := os.Rename(work, final); err != nil {
		if _, ok := fetched(name); ok == nil {
			return nil // somebody else was faster
		}
		return err
	}
	return nil
}

// maven runs a goal of Maven on a project description.
func maven(ctx context.Context, pom string, args ...string) error {
	dir, err := os.MkdirTemp("", "tocsin-maven-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(path, []byte(pom), 0o644); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "mvn", append([]string{"-B", "-q", "-f", path}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mvn %s: %w: %s", args[0], err, tail(out))
	}
	return nil
}

// tail is the end of an output, for an error.
func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }

// freePort finds a port of loopback that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// readable returns a folder with the content of dir that any user can read: dir
// itself, or else a copy at another place.
func readable(dir, copyTo string) (string, error) {
	if os.Geteuid() != 0 {
		return dir, nil
	}
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return "", err
		}
		if info.Mode().Perm()&0o005 != 0o005 {
			return copyTo, os.CopyFS(copyTo, os.DirFS(dir))
		}
		if at == filepath.Dir(at) {
			return dir, nil
		}
	}
}

// process is a running server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start starts a server's program, as another user than root, with its output
// appended to a file. It is killed when this process ends, however it does.
func start(cmd *exec.Cmd, output string) (*process, error) {
	out, err := os.OpenFile(output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr, err = attributes(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	began := make(chan error)
	go p.mind(began)
	if err := <-began; err != nil {
		return nil, err
	}
	return p, nil
}

// ended reports whether the server has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop sends a signal and waits for the end; a server that does not end in time is killed.
func (p *process) stop(sig os.Signal, patience time.Duration) error {
	p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
	}
	p.cmd.Process.Kill()
	<-p.done
	return fmt.Errorf("%s did not end within %s of %s and was killed", filepath.Base(p.cmd.Path), patience, sig)
}

// handOver makes a folder and all in it the property of whom servers run as.
func handOver(dir string) error {
	uid, gid, ok := servant()
	if !ok {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}
