package servers_test

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/internal/servers"
)

func TestMain(m *testing.M) { os.Exit(servers.Run(m)) }

func serves(t *testing.T, addr string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestKafkaComesBack(t *testing.T) {
	k := servers.NewKafka(t, servers.KafkaConfig{Secured: true, Users: map[string]string{"alice": "secret"}})
	for _, addr := range []string{k.Addr, k.TLS, k.MutualTLS, k.SASL} {
		serves(t, addr)
	}
	if os.Geteuid() == 0 {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(k.PID()) + "/status")
		if err == nil && strings.Contains(string(text), "\nUid:\t0\t") {
			t.Error("the broker runs as root")
		}
	}
	if err := k.Kill9(); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", k.Addr); err == nil {
		c.Close()
		t.Fatal("a killed broker serves")
	}
	if err := k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	serves(t, k.Addr)
}

// TestKafkaDiesWithUs starts this test again, as a process that starts a broker
// and is then killed.
func TestKafkaDiesWithUs(t *testing.T) {
	const child = "TOCSIN_TEST_SERVERS_CHILD"
	if os.Getenv(child) != "" {
		k := servers.NewKafka(t, servers.KafkaConfig{})
		os.Stdout.WriteString("pid " + strconv.Itoa(k.PID()) + "\n")
		time.Sleep(time.Hour)
	}
	// What the child leaves behind goes with the folder; servers are nobody's,
	// who cannot look into t.TempDir.
	tmp, err := os.MkdirTemp("", "tocsin-servers-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	if err := os.Chmod(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKafkaDiesWithUs$")
	cmd.Env = append(os.Environ(), child+"=1", "TMPDIR="+tmp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	buf := make([]byte, 1024)
	for !strings.Contains(said.String(), "\n") {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			break
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	pid := strings.TrimSpace(strings.TrimPrefix(said.String(), "pid "))
	if _, err := strconv.Atoi(pid); err != nil {
		t.Fatalf("the child says %q", said.String())
	}
	for range 100 {
		text, err := os.ReadFile("/proc/" + pid + "/cmdline")
		if err != nil || len(text) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("broker %s lives on", pid)
}
