package account

import "time"

// failures are the failed sign-ins with a name, or from an address.
type failures struct {
	n     int
	until time.Time // no try before
}

// limit says how many failures are free, after which each further one doubles
// the wait, and how long that may become.
type limit struct {
	key     string
	free    int
	longest time.Duration
}

const firstWait = 2 * time.Second

// limits are those of a try. Whoever guesses waits for long; an office behind
// one address has more of them free; and a name that many addresses try is
// slowed for all, yet not so that they keep its owner out.
func limits(name, from string) []limit {
	return []limit{
		{"pair " + from + " " + name, 5, time.Hour},
		{"from " + from, 20, time.Hour},
		{"name " + name, 50, 30 * time.Second},
	}
}

// throttle returns a SlowError if a name or an address has to wait.
func (a *Accounts) throttle(name, from string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	var wait time.Duration
	for _, l := range limits(name, from) {
		if f := a.failures[l.key]; f != nil {
			wait = max(wait, f.until.Sub(now))
		}
	}
	if wait > 0 {
		return &SlowError{wait}
	}
	return nil
}

func (a *Accounts) failed(name, from string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if len(a.failures) >= throttledKeys {
		for key, f := range a.failures {
			if now.Sub(f.until) > time.Hour {
				delete(a.failures, key)
			}
		}
		if len(a.failures) >= throttledKeys {
			clear(a.failures) // better than to remember without end, or to let nobody in
		}
	}
	for _, l := range limits(name, from) {
		f := a.failures[l.key]
		if f == nil {
			f = &failures{}
			a.failures[l.key] = f
		}
		f.until = now
		if f.n++; f.n >= l.free {
			f.until = now.Add(min(firstWait<<min(f.n-l.free, 20), l.longest))
		}
	}
}

func (a *Accounts) succeeded(name, from string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.failures, limits(name, from)[0].key)
}
