package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
)

func liveFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("live", false, "show in the terminal how it goes: rates, losses, talkers; q quits, s sorts, p pauses")
}

// topFlows is how many of the flows that go on the live view knows.
const topFlows = 64

// How often the live view is drawn, and of a window in time rates are.
const (
	drawEvery  = time.Second
	plainEvery = 10 * time.Second // where it is no terminal
)

// liveView shows how sensors are doing. It is to be before their sinks; sensors
// are to be made with Config.Top, and added.
type liveView struct {
	*gossip
	cmd     *cobra.Command
	in      io.Reader
	out     io.Writer
	notes   notes
	title   string
	sensors []*sensor.Sensor
	every   time.Duration // 0: as usual
	colour  bool

	began  time.Time
	past   []sample // the last first
	paused bool
	order  order
}

// newLiveView makes a view of the sensors of a command.
func newLiveView(cmd *cobra.Command) *liveView {
	return &liveView{gossip: newGossip(), cmd: cmd, in: cmd.InOrStdin(), out: cmd.OutOrStdout(), colour: os.Getenv("NO_COLOR") == ""}
}

// notes are what would be written to the terminal's other stream meanwhile. It
// is shown one line at a time, and written when the view has gone.
type notes struct {
	mu   sync.Mutex
	text []byte
}

// maxNotes bounds them; the first are kept, for they say why others came.
const maxNotes = 64 << 10

// Write implements io.Writer.
func (n *notes) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text = append(n.text, b[:min(len(b), maxNotes-len(n.text))]...)
	return len(b), nil
}

// last is the last line.
func (n *notes) last() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	text := bytes.TrimRight(n.text, "\n")
	return string(text[bytes.LastIndexByte(text, '\n')+1:])
}

// sample is what all sensors together had counted at a time.
type sample struct {
	at                     time.Time
	packets, bytes, events uint64
	flows, room            uint64
	ring                   float64
	ledger                 event.Ledger
	packetTime             time.Time
	top                    []sensor.Followed
}

func (v *liveView) take(at time.Time) sample {
	s := sample{at: at, ledger: event.Ledger{}}
	for _, x := range v.sensors {
		n := x.Now()
		s.bytes += n.Bytes
		s.flows += n.Flows
		s.room += n.Room
		s.ring = max(s.ring, n.Ring)
		for name, c := range n.Ledger {
			s.ledger[name] += c
		}
		if n.At.After(s.packetTime) {
			s.packetTime = n.At
		}
		s.top = append(s.top, n.Top...)
	}
	s.packets, s.events = s.ledger["seen"], s.ledger["events"]
	return s
}

// show draws until ctx is done; then the returned function must be called,
// which gives the terminal back. When the user has had enough, quit is called.
func (v *liveView) show(ctx context.Context, quit func()) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	v.began = time.Now()
	screen, isFile := v.out.(*os.File)
	terminal := isFile && term.IsTerminal(int(screen.Fd()))
	every := v.every
	if every == 0 {
		if every = drawEvery; !terminal {
			every = plainEvery
		}
	}
	keys := make(chan byte)
	restore := func() {}
	if terminal {
		restore = v.open(ctx, keys)
	}
	var drawing sync.WaitGroup
	errs := v.cmd.ErrOrStderr()
	if terminal {
		v.cmd.SetErr(&v.notes)
	}
	drawing.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		v.keep(v.take(v.began))
		for {
			if terminal {
				width, height, err := term.GetSize(int(screen.Fd()))
				if err != nil || width <= 0 || height <= 0 {
					width, height = 80, 24
				}
				v.out.Write(frame(v.draw(width, height), height))
			}
			select {
			case <-ctx.Done():
				return
			case at := <-tick.C:
				if v.paused {
					continue
				}
				v.keep(v.take(at))
				if !terminal {
					fmt.Fprintln(v.out, v.line())
				}
			case k := <-keys:
				switch k {
				case 'q', 'Q', 3: // 3 is Ctrl-C
					quit()
				case 's', 'S':
					v.order = (v.order + 1) % numOrders
				case 'p', 'P', ' ':
					v.paused = !v.paused
				}
			}
		}
	})
	return func() {
		cancel()
		drawing.Wait()
		restore()
		if terminal {
			v.cmd.SetErr(errs)
			errs.Write(v.notes.text)
		}
		v.keep(v.take(time.Now()))
		fmt.Fprintln(v.out, v.sum())
	}
}

// Control sequences (ECMA-48, and xterm's for the second screen).
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	eraseLine   = "\x1b[K"
	eraseBelow  = "\x1b[J"
	inBold      = "\x1b[1m"
	inRed       = "\x1b[31m"
	inYellow    = "\x1b[33m"
	inPlain     = "\x1b[0m"
)

// open takes the terminal: a screen of its own, and keys as they are pressed.
func (v *liveView) open(ctx context.Context, keys chan<- byte) (restore func()) {
	fmt.Fprint(v.out, enterScreen)
	raw := func() {}
	if f, ok := v.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if state, err := term.MakeRaw(int(f.Fd())); err == nil {
			raw = func() { term.Restore(int(f.Fd()), state) }
			// It waits for a key when all is over, which nobody minds.
			go func() {
				var b [1]byte
				for {
					if n, err := f.Read(b[:]); err != nil {
						return
					} else if n == 0 {
						continue
					}
					select {
					case keys <- b[0]:
					case <-ctx.Done():
						return
					}
				}
			}()
		}
	}
	return func() {
		fmt.Fprint(v.out, leaveScreen)
		raw()
	}
}

// frame is what to write for lines to replace those on the screen, in one
// piece, so that nothing flickers.
func frame(lines []string, height int) []byte {
	var b bytes.Buffer
	b.WriteString(home)
	for i, l := range lines[:min(len(lines), height)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(l)
		b.WriteString(eraseLine)
	}
	b.WriteString(eraseBelow)
	return b.Bytes()
}

// history is how many samples the curves show.
const history = 60

func (v *liveView) keep(s sample) {
	v.past = append([]sample{s}, v.past[:min(len(v.past), history)]...)
}

// rates are per second, over the last samples; the last first.
func (v *liveView) rates(count func(*sample) uint64) (list []float64) {
	for i := 0; i+1 < len(v.past); i++ {
		span := v.past[i].at.Sub(v.past[i+1].at).Seconds()
		if span <= 0 {
			list = append(list, 0)
			continue
		}
		list = append(list, float64(count(&v.past[i])-count(&v.past[i+1]))/span)
	}
	return list
}

func first(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	return list[0]
}

func packetsOf(s *sample) uint64 { return s.packets }
func bitsOf(s *sample) uint64    { return 8 * s.bytes }
func madeOf(s *sample) uint64    { return s.events }
func lostOf(s *sample) uint64    { return s.ledger.Dropped() }

// line says how it goes in one line.
func (v *liveView) line() string {
	s := &v.past[0]
	return fmt.Sprintf("%s  %s packets/s, %s, %s events/s, %s flows; lost %d of %d packets",
		s.at.UTC().Format(time.DateTime), short(first(v.rates(packetsOf)), ""), short(first(v.rates(bitsOf)), "bit/s"), short(first(v.rates(madeOf)), ""),
		short(float64(s.flows), ""), s.ledger.Dropped(), s.packets)
}

// sum says how it went.
func (v *liveView) sum() string {
	s := &v.past[0]
	return fmt.Sprintf("%s: %d packets, %s, %d events; lost %d packets (%s)%s",
		s.at.Sub(v.began).Round(time.Second), s.packets, short(float64(s.bytes), "B"), s.events, s.ledger.Dropped(), share(float64(s.ledger.Dropped())/float64(max(s.packets, 1))), causes(s.ledger))
}

// draw writes what the screen shows.
func (v *liveView) draw(width, height int) []string {
	s := &v.past[0]
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fit(fmt.Sprintf(format, args...), width)) }
	paint := func(colour, text string) string {
		if !v.colour {
			return text
		}
		return colour + text + inPlain
	}

	left := "tocsin  " + v.title
	right := "for " + s.at.Sub(v.began).Round(time.Second).String()
	if v.paused {
		right = "paused"
	}
	lines = append(lines, paint(inBold, fit(left, max(0, width-len(right)-1))+" "+right))

	curve := max(0, min(history, width-25))
	for _, r := range []struct {
		name  string
		count func(*sample) uint64
		unit  string
	}{{"packets", packetsOf, "/s"}, {"traffic", bitsOf, "bit/s"}, {"events", madeOf, "/s"}} {
		rates := v.rates(r.count)
		add("%-8s %12s    %s", r.name, short(first(rates), r.unit), sparks(rates, curve))
	}
	add("%-8s %12s    of %s in the table (%s); fullest ring %s", "flows", short(float64(s.flows), ""), short(float64(s.room), ""), share(float64(s.flows)/float64(max(s.room, 1))), share(s.ring))

	lost := s.ledger.Dropped()
	text := fit(fmt.Sprintf("%-8s %12s    of %s packets (%s)%s", "lost", short(float64(lost), ""), short(float64(s.packets), ""), share(float64(lost)/float64(max(s.packets, 1))), causes(s.ledger)), width)
	switch {
	case first(v.rates(lostOf)) > 0:
		text = paint(inRed, text)
	case lost > 0:
		text = paint(inYellow, text)
	}
	lines = append(lines, text)
	if minute, l := v.lastMinute(); minute.IsZero() {
		add("%-8s %5s  none closed yet", "minute", "")
	} else {
		balance := "balanced"
		if off := l.Off(); off != 0 {
			balance = fmt.Sprintf("off by %d", off)
		}
		add("%-8s %5s  %s: %d = %d decoded + %d filtered + %d dropped", "minute", minute.UTC().Format("15:04"), balance, l["seen"], l["decoded"], l["filtered"], l.Dropped())
	}
	add("")

	// Below, hosts to the left and protocols to the right.
	rows := max(0, height-len(lines)-2)
	hosts, protocols := v.talking(s.top, rows)
	const of = 29 // columns for protocols
	side := width - of - 2
	if side < 40 {
		side = width
	}
	table := func(l, r string) {
		if side == width {
			add("%s", l)
			return
		}
		add("%s  %s", fit(l, side), r)
	}
	name := side - 27
	table(fmt.Sprintf("%-*s %8s %8s %8s", name, "HOSTS, by "+v.order.String(), "SENT", "RECEIVED", "FLOWS"), fmt.Sprintf("%-12s %7s %8s", "PROTOCOLS", "BYTES", "FLOWS"))
	for i := range rows {
		var l, r string
		if i < len(hosts) {
			h := &hosts[i]
			l = fmt.Sprintf("%-*s %8s %8s %8s", name, middle(h.addr.String(), name), short(float64(h.sent), ""), short(float64(h.received), ""), short(float64(h.flows), ""))
		}
		if i < len(protocols) {
			p := &protocols[i]
			r = fmt.Sprintf("%-12s %7s %8s", middle(p.name, 12), short(float64(p.bytes), ""), short(float64(p.flows), ""))
		}
		table(l, r)
	}
	if len(lines) < height {
		last := fit("q quit   s sort   p pause", width)
		if note := v.notes.last(); note != "" {
			last = paint(inYellow, fit(note, width))
		}
		lines = append(lines, last)
	}
	return lines
}

// talking is who moved the most: in flows that ended, and in those that go on.
func (v *liveView) talking(top []sensor.Followed, n int) ([]talker, []protocolCount) {
	hosts, protocols := v.all()
	byAddr, byName := map[netip.Addr]int{}, map[string]int{}
	for i := range hosts {
		byAddr[hosts[i].addr] = i
	}
	for i := range protocols {
		byName[protocols[i].name] = i
	}
	for i := range top {
		f := &top[i]
		before := v.told(f)
		there, back := f.Src.Bytes-min(f.Src.Bytes, before.Src.Bytes), f.Dst.Bytes-min(f.Dst.Bytes, before.Dst.Bytes)
		packets := f.Src.Packets + f.Dst.Packets - min(f.Src.Packets+f.Dst.Packets, before.Src.Packets+before.Dst.Packets)
		flows := uint64(1)
		if before.Src.Packets+before.Dst.Packets > 0 {
			flows = 0
		}
		for side, addr := range [2]netip.Addr{f.Src.IP, f.Dst.IP} {
			at, ok := byAddr[addr]
			if !ok {
				at = len(hosts)
				byAddr[addr] = at
				hosts = append(hosts, talker{addr: addr})
			}
			sent, received := there, back
			if side == 1 {
				sent, received = back, there
			}
			if f.Src.IP == f.Dst.IP { // with itself
				if side == 1 {
					continue
				}
				sent, received = there+back, there+back
			}
			h := &hosts[at]
			h.sent, h.received, h.packets, h.flows = h.sent+sent, h.received+received, h.packets+packets, h.flows+flows
		}
		name := cmp.Or(f.Service, transportName(f.Transport))
		at, ok := byName[name]
		if !ok {
			at = len(protocols)
			byName[name] = at
			protocols = append(protocols, protocolCount{name: name})
		}
		p := &protocols[at]
		p.bytes, p.packets, p.flows = p.bytes+there+back, p.packets+packets, p.flows+flows
	}
	v.order.sort(hosts, protocols)
	return hosts[:min(n, len(hosts))], protocols[:min(n, len(protocols))]
}

// causes lists what was lost by cause, the most first.
func causes(l event.Ledger) string {
	var names []string
	for name, n := range l {
		if strings.HasPrefix(name, event.DroppedPrefix) && n > 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(l[b], l[a]), cmp.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %s", strings.ReplaceAll(strings.TrimPrefix(name, event.DroppedPrefix), "_", " "), short(float64(l[name]), ""))
	}
	return ": " + strings.Join(names, ", ")
}

// short writes a number with at most three digits, and its unit.
func short(x float64, unit string) string {
	if x < 999.5 {
		return strings.TrimSpace(fmt.Sprintf("%.0f %s", x, unit))
	}
	prefixes := []string{"k", "M", "G", "T", "P"}
	for i, prefix := range prefixes {
		x /= 1000
		if x >= 999.5 && i+1 < len(prefixes) {
			continue
		}
		decimals := 0
		switch {
		case x < 9.995:
			decimals = 2
		case x < 99.95:
			decimals = 1
		}
		return fmt.Sprintf("%.*f %s%s", decimals, x, prefix, unit)
	}
	return ""
}

func share(x float64) string {
	switch {
	case x <= 0:
		return "0 %"
	case x < 0.0001:
		return "<0.01 %"
	case x < 0.01:
		return fmt.Sprintf("%.2f %%", 100*x)
	}
	return fmt.Sprintf("%.0f %%", 100*x)
}

// sparks draws rates, the last to the right.
func sparks(rates []float64, width int) string {
	blocks := []rune(" ▁▂▃▄▅▆▇█")
	rates = rates[:min(len(rates), width)]
	top := 0.0
	for _, r := range rates {
		top = max(top, r)
	}
	line := make([]rune, 0, width)
	for range width - len(rates) {
		line = append(line, ' ')
	}
	for _, r := range slices.Backward(rates) {
		i := 0
		if r > 0 {
			i = 1 + int(r/top*float64(len(blocks)-2)+0.5)
		}
		line = append(line, blocks[min(i, len(blocks)-1)])
	}
	return string(line)
}

// fit makes a text exactly so many characters long.
func fit(text string, width int) string {
	r := []rune(text)
	if len(r) > width {
		if width > 0 {
			return string(r[:width-1]) + "…"
		}
		return ""
	}
	return text + strings.Repeat(" ", width-len(r))
}

// middle leaves out what is in the middle of a text that is too long.
func middle(text string, width int) string {
	if len(text) <= width || width < 5 {
		return text
	}
	head := (width - 1) / 2
	return text[:head] + "…" + text[len(text)-(width-1-head):]
}
