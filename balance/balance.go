// Package balance chooses among the instances of a service: each has its turn, and one that could not be reached comes last for a while.
package balance

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// AvoidFor is how long an instance that could not be reached comes last: until the registry has dropped it, or it is there again.
const AvoidFor = 10 * time.Second

// Failures remembers which instances could not be reached. The zero value remembers none; it is safe for concurrent use.
type Failures struct {
	mu    sync.Mutex
	until map[string]time.Time
	some  atomic.Bool
}

// Order is the addresses beginning with the one whose turn it is, and those to avoid at the end.
func (f *Failures) Order(addresses []string, turn uint64, now time.Time) []string {
	if len(addresses) == 0 {
		return nil
	}
	first := int(turn % uint64(len(addresses)))
	ordered := slices.Concat(addresses[first:], addresses[:first])
	if !f.some.Load() {
		return ordered
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortStableFunc(ordered, func(a, b string) int { return f.rank(a, now) - f.rank(b, now) })
	return ordered
}

func (f *Failures) rank(address string, now time.Time) int {
	if until, ok := f.until[address]; ok && now.Before(until) {
		return 1
	}
	return 0
}

// Note avoids an address from now on.
func (f *Failures) Note(address string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.until == nil {
		f.until = make(map[string]time.Time)
	}
	for known, until := range f.until {
		if !now.Before(until) {
			delete(f.until, known)
		}
	}
	f.until[address] = now.Add(AvoidFor)
	f.some.Store(true)
}

// Forget avoids an address no longer: it was reached.
func (f *Failures) Forget(address string) {
	if !f.some.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.until, address)
	f.some.Store(len(f.until) > 0)
}
