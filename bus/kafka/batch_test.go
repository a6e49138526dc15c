package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	kgo "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// TestBatches compares with how kafka-go reads a batch.
func TestBatches(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_123).UTC()
	var want []Record
	for n := range 300 {
		r := Record{
			Key: fmt.Appendf(nil, "1:key%d", n%7), Value: []byte(strings.Repeat(fmt.Sprintf(`{"n":%d}`, n), n)),
			Time: at.Add(time.Duration(n%11-5) * time.Second), Headers: []Header{{"schema", []byte("1")}},
		}
		if n%3 == 0 {
			r.Headers = nil
		}
		want = append(want, r)
	}
	for _, codec := range []Compression{None, Snappy, LZ4, Zstd} {
		t.Run(string(codec), func(t *testing.T) {
			c := &compressor{codec: codec}
			for range 2 { // memory is used again
				b := newBatch(nil)
				for i := range want {
					b.add(&want[i])
				}
				whole, err := c.seal(b)
				if err != nil {
					t.Fatal(err)
				}
				var rs protocol.RecordSet
				if _, err := rs.ReadFrom(bytes.NewReader(whole)); err != nil {
					t.Fatal(err)
				}
				for i := range want {
					got, err := rs.Records.ReadRecord()
					if err != nil {
						t.Fatalf("record %d: %v", i, err)
					}
					key, _ := io.ReadAll(got.Key)
					value, _ := io.ReadAll(got.Value)
					if got.Offset != int64(i) || string(key) != string(want[i].Key) || string(value) != string(want[i].Value) || !got.Time.Equal(want[i].Time) || len(got.Headers) != len(want[i].Headers) {
						t.Fatalf("record %d: %d %s %s %s %v", i, got.Offset, key, value, got.Time, got.Headers)
					}
				}
				if _, err := rs.Records.ReadRecord(); !errors.Is(err, io.EOF) {
					t.Fatalf("after the last record: %v", err)
				}
			}
		})
	}
}

// TestPart takes batches apart.
func TestPart(t *testing.T) {
	b := newBatch(nil)
	for n := range 200 {
		b.add(&Record{Key: []byte("k"), Value: fmt.Append(nil, n), Time: time.UnixMilli(int64(1_700_000_000_000 - 1000*n)), Headers: []Header{{"schema", []byte("1")}}})
	}
	for _, c := range []struct{ from, to int }{{0, 100}, {100, 200}, {150, 151}, {0, 200}} {
		whole, err := (&compressor{codec: None}).seal(b.part(c.from, c.to))
		if err != nil {
			t.Fatal(err)
		}
		var rs protocol.RecordSet
		if _, err := rs.ReadFrom(bytes.NewReader(whole)); err != nil {
			t.Fatal(err)
		}
		for n := c.from; n < c.to; n++ {
			got, err := rs.Records.ReadRecord()
			if err != nil {
				t.Fatal(err)
			}
			value, _ := io.ReadAll(got.Value)
			if string(value) != fmt.Sprint(n) || got.Offset != int64(n-c.from) || got.Time.UnixMilli() != int64(1_700_000_000_000-1000*n) {
				t.Fatalf("%v: record %d: %s at %d, %s", c, n, value, got.Offset, got.Time)
			}
		}
		if _, err := rs.Records.ReadRecord(); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
}

// TestPartitions compares with kafka-go, which compares itself with Java.
func TestPartitions(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	partitions := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
	for n := range 2000 {
		key := make([]byte, 1+n%40)
		for i := range key {
			key[i] = byte(random.Uint32())
		}
		want := kgo.Murmur2Balancer{Consistent: true}.Balance(kgo.Message{Key: key}, partitions...)
		if got := partitionOf(key, len(partitions)); got != want {
			t.Fatalf("%x: %d, want %d", key, got, want)
		}
	}
}
