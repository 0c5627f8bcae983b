package sqldbtest

import (
	"sync"
	"testing"
	"time"

	"tienda/sqldb"
)

// Meeting has two things that use one database happen at the same time, at a moment that is chosen: races can be
// tried at each of their moments, one after the other.
type Meeting struct {
	mu   sync.Mutex
	left int // statements until do
	do   func()
}

// OpenMeeting is [Open] with a meeting of those who use the database.
func OpenMeeting(tb testing.TB, engine string, migrations ...sqldb.Migrations) (*sqldb.DB, *Meeting) {
	tb.Helper()
	m := &Meeting{}
	config := Config(tb, engine)
	config.Statement = m.statement
	return open(tb, engine, config, migrations), m
}

// aside is how long second may take before first goes on. Most often second is over long before; when it is not, it
// waits for what first has locked, and this is over before the lock wait ends (see sqldb).
const aside = 100 * time.Millisecond

// At runs first and, behind its nth statement, second. Where second waits for first, first goes on. Both are over
// when At returns; it reports false when first had fewer statements, and second did not happen.
func (m *Meeting) At(n int, first, second func()) bool {
	var running sync.WaitGroup
	met := false
	m.set(n, func() {
		met = true
		done := make(chan struct{})
		running.Go(func() { defer close(done); second() })
		select {
		case <-done:
		case <-time.After(aside):
		}
	})
	first()
	running.Wait()
	m.set(0, nil)
	return met
}

func (m *Meeting) set(left int, do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left, m.do = left, do
}

func (m *Meeting) statement(string, []any) {
	m.mu.Lock()
	m.left--
	do := m.do
	if m.left != 0 {
		do = nil
	}
	m.mu.Unlock()
	if do != nil {
		do()
	}
}
