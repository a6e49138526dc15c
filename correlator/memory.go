package correlator

import (
	"sync"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Memory is stage two: it remembers signals and judges their windows. Signals
// of one Home must all come to one Memory. Its methods may be called from
// several goroutines.
type Memory struct {
	mu       sync.Mutex
	state    *state
	reported uint64
	late     uint64
}

// NewMemory makes an empty memory for the Matcher's rules: one of shares that
// the bounds on groups and on signals in all are divided by.
func (m *Matcher) NewMemory(shares int) *Memory {
	cfg := m.cfg
	cfg.MaxGroups = max(1, cfg.MaxGroups/shares)
	cfg.MaxKept = max(1, cfg.MaxKept/shares)
	return &Memory{state: newState(cfg, m.force.Load().rules)}
}

// Horizon is how much event time the memory reaches back.
func (m *Memory) Horizon() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.horizon
}

// Resume says that a memory was given up at a clock of last, and that this one
// goes on, empty. Add the signals and losses of the Horizon before it: what may
// still change is reported again, and what was over by then is not judged anew
// where not all of it might be there.
func (m *Memory) Resume(last time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.resume(last)
}

// Add remembers. What was added before changes nothing.
func (m *Memory) Add(signals []Signal, losses []Loss) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.ended = false
	for i := range losses {
		m.state.account(&losses[i])
	}
	for i := range signals {
		m.add(&signals[i])
	}
}

func (m *Memory) add(s *Signal) {
	if s.Time.Before(m.state.clock.Add(-m.state.cfg.Lateness)) {
		m.late++
	}
	m.state.add(s)
}

// Advance moves the clock on: no signal is expected any more that is older by
// more than Lateness. It never goes back.
func (m *Memory) Advance(clock time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.clock = latest(m.state.clock, clock)
}

// follow adds what stage one found, the latest event being the clock.
func (m *Memory) follow(found Matches) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.ended = false
	for i := range found.Losses {
		m.state.account(&found.Losses[i])
	}
	for i := range found.Signals {
		m.state.clock = latest(m.state.clock, found.Signals[i].Time)
		m.add(&found.Signals[i])
	}
	m.state.clock = latest(m.state.clock, found.Last)
}

// keep says which rules there are from now on: what is remembered of others is
// given up.
func (m *Memory) keep(rules []*Rule) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.keep(rules)
}

// trim gives up what is not needed any more without having judged it.
func (m *Memory) trim() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.sweep()
}

// Report judges what has changed and returns the alerts that are new or say
// something else than when they were last returned, in no order.
func (m *Memory) Report() []event.Alert {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counted(m.state.report())
}

// Flush says that nothing more is expected and returns the alerts that were held
// back because a later signal might have undone them.
func (m *Memory) Flush() []event.Alert {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.ended = true
	return m.counted(m.state.report())
}

func (m *Memory) counted(alerts []event.Alert) []event.Alert {
	m.reported += uint64(len(alerts))
	return alerts
}

func (m *Memory) stats(st *Stats, alerts map[*Rule]uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.state
	st.Reports += m.reported
	st.Late += m.late
	st.Evicted += s.evicted
	st.Truncated += s.truncated
	st.Kept += s.kept
	for _, groups := range s.groups {
		st.Groups += len(groups)
	}
	for r, n := range s.alerts {
		alerts[r] += n
	}
}
