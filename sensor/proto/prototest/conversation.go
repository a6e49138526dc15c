package prototest

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tocsin/tocsin/sensor/proto"
)

// Piece is what came at once in one direction: of TCP a stretch of the stream,
// of UDP one datagram.
type Piece struct {
	Dir  proto.Dir
	Data []byte
	At   time.Duration // since the conversation began
}

// Load reads a recorded conversation. Each line is one piece: ">" (from the
// originator) or "<", seconds since the start, and the bytes as hexadecimal
// digits or as quoted Go text; a line that begins with a blank continues the
// piece before it. Empty lines, and lines that begin with "#", are for people.
func Load(t testing.TB, path string) []Piece {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pieces, err := parse(text)
	if err != nil {
		t.Fatalf("%s:%v", path, err)
	}
	return pieces
}

func parse(text []byte) (pieces []Piece, err error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for number := 1; lines.Scan(); number++ {
		line := lines.Text()
		data := strings.TrimSpace(line)
		if data == "" || data[0] == '#' {
			continue
		}
		if line[0] != ' ' && line[0] != '\t' {
			dir, rest, _ := strings.Cut(data, " ")
			at, rest, _ := strings.Cut(strings.TrimSpace(rest), " ")
			p := Piece{Dir: proto.Orig}
			switch dir {
			case ">":
			case "<":
				p.Dir = proto.Resp
			default:
				return nil, fmt.Errorf("%d: direction %q, want > or <", number, dir)
			}
			if p.At, err = time.ParseDuration(at + "s"); err != nil {
				return nil, fmt.Errorf("%d: seconds: %w", number, err)
			}
			pieces, data = append(pieces, p), strings.TrimSpace(rest)
		}
		if len(pieces) == 0 {
			return nil, fmt.Errorf("%d: continues nothing", number)
		}
		var b []byte
		if strings.HasPrefix(data, `"`) {
			var s string
			s, err = strconv.Unquote(data)
			b = []byte(s)
		} else {
			b, err = hex.DecodeString(strings.ReplaceAll(data, " ", ""))
		}
		if err != nil {
			return nil, fmt.Errorf("%d: bytes %.40q: %w", number, data, err)
		}
		last := &pieces[len(pieces)-1]
		last.Data = append(last.Data, b...)
	}
	return pieces, lines.Err()
}
