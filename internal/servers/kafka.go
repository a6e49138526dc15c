package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const kafkaVersion = "3.9.2"

const kafkaPOM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tocsin</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>` + kafkaVersion + `</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-reload4j</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`

// KafkaEnv names an environment variable: HOST:PORT of a Kafka that the tests
// may use.
const KafkaEnv = "TOCSIN_TEST_KAFKA"

var sharedKafka = service{
	env: KafkaEnv,
	fetch: func(ctx context.Context) error {
		return fetch(ctx, "kafka-"+kafkaVersion, func(ctx context.Context, dir string) error {
			return maven(ctx, kafkaPOM, "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
				"-DincludeScope=runtime", "-DoutputDirectory="+dir)
		})
	},
	start: func(ctx context.Context) (string, func() error, error) {
		k, err := StartKafka(ctx, KafkaConfig{})
		if err != nil {
			return "", nil, err
		}
		return k.Addr, k.Remove, nil
	},
}

// KafkaAddr returns HOST:PORT of the Kafka that all tests share. Tests must not
// stop it; those that break things start one of their own.
func KafkaAddr(t testing.TB) string {
	t.Helper()
	return sharedKafka.forTest(t)
}

// KafkaConfig says what is special about a broker.
type KafkaConfig struct {
	// Secured adds the listeners TLS, MutualTLS and SASL.
	Secured bool
	// Users are names and passwords for SASL.
	Users map[string]string
	// Advertised are further listeners without authentication, by name: the
	// address that clients are told, such as a proxy's. Where the broker listens
	// is in Kafka.Behind.
	Advertised map[string]string
	// Properties are added to the broker's, or take their place.
	Properties map[string]string
	// Java are added to the options of the Java machine, and win over those
	// that it has: the heap is 256 MB, and code is compiled in a hurry, which
	// suits short lives.
	Java []string
}

// Kafka is one broker, which is its own controller. It listens on loopback.
type Kafka struct {
	Addr string // plain text, without authentication

	// Of a secured broker:
	TLS       string // TLS
	MutualTLS string // TLS that asks for the client's certificate
	SASL      string // TLS with PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	*Certificates

	Behind map[string]string // addresses of the listeners of KafkaConfig.Advertised

	dir, lib string
	java     []string
	p        *process
}

// NewKafka starts a broker for one test.
func NewKafka(t testing.TB, cfg KafkaConfig) *Kafka {
	t.Helper()
	k, err := StartKafka(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Remove(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// StartKafka starts a broker with empty data and waits until it serves. Call
// Remove when it is no longer needed.
func StartKafka(ctx context.Context, cfg KafkaConfig) (*Kafka, error) {
	lib, err := fetched("kafka-" + kafkaVersion)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tocsin-kafka-")
	if err != nil {
		return nil, err
	}
	k := &Kafka{dir: dir, java: append([]string{
		"-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Djava.awt.headless=true",
		"-Dlog4j.configuration=file:" + filepath.Join(dir, "log4j.properties"),
	}, cfg.Java...)}
	if k.lib, err = readable(lib, filepath.Join(dir, "lib")); err == nil {
		err = k.configure(ctx, cfg)
	}
	if err == nil {
		err = k.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return k, nil
}

// configure writes the broker's configuration and formats its data.
func (k *Kafka) configure(ctx context.Context, cfg KafkaConfig) error {
	ports := make([]string, 5)
	for i := range ports {
		port, err := freePort()
		if err != nil {
			return err
		}
		ports[i] = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	controller := ports[0]
	k.Addr = ports[1]
	listeners := "PLAINTEXT://" + k.Addr
	props := map[string]string{
		"process.roles":                            "broker,controller",
		"node.id":                                  "1",
		"controller.quorum.voters":                 "1@" + controller,
		"controller.listener.names":                "CONTROLLER",
		"listener.security.protocol.map":           "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,TLS:SSL,MTLS:SSL,SASL:SASL_SSL",
		"inter.broker.listener.name":               "PLAINTEXT",
		"log.dirs":                                 filepath.Join(k.dir, "data"),
		"num.network.threads":                      "2",
		"num.io.threads":                           "4",
		"auto.create.topics.enable":                "false",
		"offsets.topic.replication.factor":         "1",
		"offsets.topic.num.partitions":             "4",
		"transaction.state.log.replication.factor": "1",
		"transaction.state.log.min.isr":            "1",
		"transaction.state.log.num.partitions":     "4",
		"group.initial.rebalance.delay.ms":         "0",
		"log.segment.bytes":                        "134217728",
		"log.cleaner.dedupe.buffer.size":           "16777216",
		// Without these, a broker that was killed waits for the end of its
		// own session when it comes back.
		"broker.session.timeout.ms":    "2000",
		"broker.heartbeat.interval.ms": "500",
	}
	if cfg.Secured {
		var err error
		if k.Certificates, err = NewCertificates(k.dir); err != nil {
			return err
		}
		k.TLS, k.MutualTLS, k.SASL = ports[2], ports[3], ports[4]
		listeners += ",TLS://" + k.TLS + ",MTLS://" + k.MutualTLS + ",SASL://" + k.SASL
		if err := k.secure(props, cfg.Users); err != nil {
			return err
		}
	}
	props["advertised.listeners"] = listeners
	props["listeners"] = listeners + ",CONTROLLER://" + controller
	k.Behind = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(cfg.Advertised)) {
		port, err := freePort()
		if err != nil {
			return err
		}
		k.Behind[name] = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		props["advertised.listeners"] += "," + name + "://" + cfg.Advertised[name]
		props["listeners"] += "," + name + "://" + k.Behind[name]
		props["listener.security.protocol.map"] += "," + name + ":PLAINTEXT"
	}
	maps.Copy(props, cfg.Properties)
	var text bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(props)) {
		fmt.Fprintf(&text, "%s=%s\n", name, props[name])
	}
	if err := os.WriteFile(k.properties(), text.Bytes(), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(k.dir, "log4j.properties"), []byte(`log4j.rootLogger=WARN, out
log4j.logger.kafka.server.KafkaRaftServer=INFO
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=[%d] %p %m (%c)%n
`), 0o644); err != nil {
		return err
	}
	if err := handOver(k.dir); err != nil {
		return err
	}
	args := []string{"kafka.tools.StorageTool", "format", "-t", "dG9jc2luLXRlc3Qta2Fma2E", "-c", k.properties()}
	for _, name := range slices.Sorted(maps.Keys(cfg.Users)) {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, name, cfg.Users[name]))
		}
	}
	p, err := start(k.run(args...), k.log())
	if err != nil {
		return err
	}
	<-p.done
	if !p.cmd.ProcessState.Success() {
		return k.failed("format", p.cmd.ProcessState)
	}
	return ctx.Err()
}

// secure adds to a broker's properties how its listeners authenticate.
func (k *Kafka) secure(props map[string]string, users map[string]string) error {
	for name, path := range map[string]string{"ssl.keystore.certificate.chain": k.ServerCert, "ssl.keystore.key": k.ServerKey, "ssl.truststore.certificates": k.CA} {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		props[name] = strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\\n")
	}
	props["ssl.keystore.type"] = "PEM"
	props["ssl.truststore.type"] = "PEM"
	props["listener.name.mtls.ssl.client.auth"] = "required"
	props["sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
	plain := "org.apache.kafka.common.security.plain.PlainLoginModule required"
	for _, name := range slices.Sorted(maps.Keys(users)) {
		plain += fmt.Sprintf(" user_%s=%q", name, users[name])
	}
	props["listener.name.sasl.plain.sasl.jaas.config"] = plain + ";"
	for _, mechanism := range []string{"scram-sha-256", "scram-sha-512"} {
		props["listener.name.sasl."+mechanism+".sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
	}
	return nil
}

func (k *Kafka) properties() string { return filepath.Join(k.dir, "server.properties") }
func (k *Kafka) log() string        { return filepath.Join(k.dir, "server.log") }

func (k *Kafka) run(args ...string) *exec.Cmd {
	cmd := exec.Command("java", slices.Concat(k.java, []string{"-cp", filepath.Join(k.lib, "*")}, args)...)
	cmd.Dir = k.dir
	cmd.Env = append(os.Environ(), "HOME="+k.dir)
	return cmd
}

// Start starts a broker that was stopped or killed again, with its data and
// at its address, and waits until it serves.
func (k *Kafka) Start(ctx context.Context) error {
	if err := os.Remove(k.log()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var err error
	if k.p, err = start(k.run("kafka.Kafka", k.properties()), k.log()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		if k.p.ended() {
			return k.failed("start", k.p.cmd.ProcessState)
		}
		if text, err := os.ReadFile(k.log()); err == nil && bytes.Contains(text, []byte("Kafka Server started")) {
			if c, err := net.DialTimeout("tcp", k.Addr, time.Second); err == nil {
				return c.Close()
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(k.failed("start", ctx.Err()), k.Kill9())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (k *Kafka) failed(what string, why any) error {
	text, _ := os.ReadFile(k.log())
	return fmt.Errorf("servers: kafka: %s: %v: %s", what, why, tail(text))
}

// Partition returns the folder with the segments of a partition.
func (k *Kafka) Partition(topic string, partition int) string {
	return filepath.Join(k.dir, "data", fmt.Sprintf("%s-%d", topic, partition))
}

// PID returns the process id of the running broker.
func (k *Kafka) PID() int { return k.p.cmd.Process.Pid }

// Stop ends the broker in good order; its data stay.
func (k *Kafka) Stop() error { return k.p.stop(syscall.SIGTERM, time.Minute) }

// Kill9 ends the broker at once; its data stay.
func (k *Kafka) Kill9() error { return k.p.stop(syscall.SIGKILL, time.Minute) }

// Remove ends the broker and removes its data.
func (k *Kafka) Remove() error {
	return errors.Join(k.Kill9(), os.RemoveAll(k.dir))
}
