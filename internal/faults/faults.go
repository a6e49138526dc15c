package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// fault is one way to break the pipeline.
type fault struct {
	name, load string
	before     func(ctx context.Context, t *trial) error // the sensor starts
	strike     func(ctx context.Context, t *trial) (times int, err error)
	loses      bool // the sensor cannot keep everything at once, and says so
}

// aTrial is how often a process is killed in one trial.
const aTrial = 5

func faults(s settings) (all []fault) {
	add := func(f fault) { all = append(all, f) }
	add(fault{name: "none", load: "intrusion", strike: func(context.Context, *trial) (int, error) { return 0, nil }})
	kill := func(name string, one func(ctx context.Context, t *trial) error) {
		for done := 0; done < s.kills; done += aTrial {
			load := "generated"
			if done == 0 {
				load = "intrusion"
			}
			n := min(aTrial, s.kills-done)
			add(fault{name: "kill -9 of " + name, load: load, strike: func(ctx context.Context, t *trial) (int, error) {
				for i := range n {
					if err := one(ctx, t); err != nil {
						return i, err
					}
				}
				return n, nil
			}})
		}
	}
	kill("the sensor", func(ctx context.Context, t *trial) error {
		err := t.pause(ctx, 500*time.Millisecond, 6*time.Second)
		t.sensor.kill9()
		return err
	})
	kill("a correlator", func(ctx context.Context, t *trial) error {
		err := t.pause(ctx, time.Second, 7*time.Second)
		t.correlators[t.chance.IntN(len(t.correlators))].kill9()
		return err
	})
	kill("Kafka", func(ctx context.Context, t *trial) error {
		if err := t.pause(ctx, time.Second, 5*time.Second); err != nil {
			return err
		}
		if err := t.kafka.Kill9(); err != nil {
			return err
		}
		return errors.Join(t.pause(ctx, 0, 2*time.Second), t.kafka.Start(ctx))
	})
	kill("Elasticsearch", func(ctx context.Context, t *trial) error {
		if err := t.pause(ctx, time.Second, 5*time.Second); err != nil {
			return err
		}
		if err := t.elastic.Kill9(); err != nil {
			return err
		}
		return errors.Join(t.pause(ctx, 0, 2*time.Second), t.elastic.Start(ctx))
	})
	for _, status := range []int64{429, 503} {
		add(fault{name: fmt.Sprintf("Elasticsearch answers %d", status), load: "generated", strike: func(ctx context.Context, t *trial) (int, error) {
			before := t.gate.refused.Load()
			for range 5 {
				if err := t.pause(ctx, 2*time.Second, 4*time.Second); err != nil {
					return 0, err
				}
				t.gate.status.Store(status)
				err := t.pause(ctx, 2*time.Second, 5*time.Second)
				t.gate.status.Store(0)
				if err != nil {
					return 0, err
				}
			}
			return int(t.gate.refused.Load() - before), nil
		}})
	}
	for _, pair := range []struct {
		name string
		of   func(*trial) *wire
	}{
		{"sensor and Kafka", func(t *trial) *wire { return t.sensorKafka }},
		{"correlators and Kafka", func(t *trial) *wire { return t.correlatorKafka }},
		{"correlators and Elasticsearch", func(t *trial) *wire { return t.correlatorElastic }},
	} {
		add(fault{name: "network cut between " + pair.name, load: "generated", strike: func(ctx context.Context, t *trial) (int, error) {
			w := pair.of(t)
			for range 3 {
				if err := t.pause(ctx, 2*time.Second, 5*time.Second); err != nil {
					return 0, err
				}
				w.setCut(true)
				err := t.pause(ctx, 2*time.Second, 20*time.Second)
				w.setCut(false)
				if err != nil {
					return 0, err
				}
			}
			return 3, nil
		}})
	}
	add(fault{name: "a correlator joins and leaves", load: "generated", strike: func(ctx context.Context, t *trial) (int, error) {
		for i := range 5 {
			c := t.addCorrelator()
			if err := errors.Join(t.pause(ctx, 3*time.Second, 6*time.Second), c.stop(time.Minute), t.pause(ctx, 0, 2*time.Second)); err != nil {
				return i, err
			}
		}
		return 5, nil
	}})
	add(fault{name: "clock jumps ten minutes and back", load: "jumping clock", strike: func(ctx context.Context, t *trial) (int, error) {
		err := t.pause(ctx, 5*time.Second, 10*time.Second)
		t.correlators[0].kill9()
		return 1, err
	}})
	add(fault{name: "disk full on the sensor", load: "generated", loses: true, before: smallDisk, strike: fullDisk})
	add(fault{name: fmt.Sprintf("Kafka away for %s", strings.TrimSuffix(s.away.String(), "0s")), load: "generated", strike: func(ctx context.Context, t *trial) (int, error) {
		if err := t.pause(ctx, 5*time.Second, 10*time.Second); err != nil {
			return 0, err
		}
		if err := t.kafka.Kill9(); err != nil {
			return 0, err
		}
		return 1, errors.Join(t.pause(ctx, s.away, s.away), t.kafka.Start(ctx))
	}})
	return all
}

// smallDisk gives the sensor a spool of 16 MB that something else has filled.
func smallDisk(ctx context.Context, t *trial) error {
	if err := os.MkdirAll(t.spool, 0o755); err != nil {
		return err
	}
	if text, err := exec.CommandContext(ctx, "mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", t.spool).CombinedOutput(); err != nil {
		return fmt.Errorf("mount a small disk, which root may: %w: %s", err, text)
	}
	t.sensorAlso = []string{"--spool-bytes", fmt.Sprint(12 << 20)}
	return os.WriteFile(filepath.Join(t.spool, "full"), make([]byte, 15<<20), 0o600)
}

// fullDisk makes room when the sensor has said that there is none; it is then
// started again, as its exit code says that it could not keep everything.
func fullDisk(ctx context.Context, t *trial) (int, error) {
	defer exec.Command("umount", "-l", t.spool).Run()
	for {
		if err := t.pause(ctx, time.Second, time.Second); err != nil {
			return 0, err
		}
		if text, _ := os.ReadFile(filepath.Join(t.dir, "sensor")); strings.Contains(string(text), "discarded") {
			break
		}
		select {
		case <-t.sensor.done:
			return 0, fmt.Errorf("the sensor noticed nothing: %w", t.told("sensor"))
		default:
		}
	}
	if err := os.Remove(filepath.Join(t.spool, "full")); err != nil {
		return 0, err
	}
	return 1, t.sensor.wait(ctx)
}

// jump copies a pcap file whose clock is wrong by a while in its middle third.
func jump(from, to string, by time.Duration) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		return err
	}
	defer z.Close()
	data, err := io.ReadAll(z)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	const header, record = 24, 16
	order := binary.ByteOrder(binary.LittleEndian)
	if len(data) >= header && data[0] == 0xa1 {
		order = binary.BigEndian
	}
	var packets []int
	for at := header; at+record <= len(data); at += record + int(order.Uint32(data[at+8:])) {
		packets = append(packets, at)
	}
	for i, at := range packets {
		if i >= len(packets)/3 && i < 2*len(packets)/3 {
			order.PutUint32(data[at:], order.Uint32(data[at:])+uint32(by/time.Second))
		}
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	w.Write(data)
	return errors.Join(w.Flush(), out.Close())
}
