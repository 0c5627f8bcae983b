// Package audit checks the books of a shop: the invariants that hold over the databases of its order,
// product, payment and shipping services, whatever crashed, was lost or came twice.
//
// It is a tool and no service. It reads the tables of all four services side by side, which nothing else
// may, and states again what must hold between them rather than share the services' own code, so that a
// mistake in one is not made twice. It writes nothing.
//
// A live shop is not at rest, and the audit does not take that for an error. What one database says is
// read as of one instant and must hold at every instant. What two databases say is compared order by
// order, the order first: a difference in rows that changed within the grace, 60 seconds unless told
// otherwise, is looked at again until it is gone or has lasted that long. Orders whose saga is under way
// are exempt from what holds of orders at rest, but a saga that does not get on is a violation itself.
//
// Rows are read in ranges of ascending ids, some thousand orders at a time with all that belongs to them,
// so that memory does not grow with the shop and no snapshot of a database stays open for long.
package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tienda/sqldb"
)

// Databases are those of the four services, opened to read.
type Databases struct {
	Order, Product, Payment, Shipping *sqldb.DB
}

// Options say how to look.
type Options struct {
	// Grace is for how long two databases may disagree about what changed.
	Grace time.Duration
	// Now is the clock, which should be that of the services but for a few seconds.
	Now func() time.Time
}

// DefaultGrace is how long money may be without its order, or an order without its money.
const DefaultGrace = time.Minute

// overdue is for how long something that is due may not have been done, before nobody seems to do it.
const overdue = 2 * time.Minute

// How the work is cut: keys in one range, and ranges looked at side by side.
const (
	rangeSize    = 1000
	rangesAtOnce = 4
)

// Result is what an audit found.
type Result struct {
	At             time.Time   `json:"at"`
	ElapsedSeconds float64     `json:"elapsedSeconds"`
	Violations     int64       `json:"violations"`
	Invariants     []Invariant `json:"invariants"`
}

// Invariant is one of them and what came of it.
type Invariant struct {
	Name       string   `json:"name"`
	Sentence   string   `json:"sentence"`
	Rows       int64    `json:"rows"` // looked at
	Violations int64    `json:"violations"`
	First      []string `json:"first"` // of the violations, those with the smallest keys

	first []finding
}

// firstViolations is how many violations of an invariant are named.
const firstViolations = 5

// finding is something that does not hold, as far as one look tells.
type finding struct {
	invariant int    // index in invariants
	scan      int    // index in scans
	key       int64  // the range that holds it ends here
	subject   string // such as "order 17"
	text      string // what is wrong with it
	changed   int64  // when the youngest of its rows did, in microseconds; 0 where the time does not matter
}

// scan looks at all keys of one kind.
type scan interface {
	// end returns the last key of the range behind lo that holds about n keys, or math.MaxInt64.
	end(ctx context.Context, lo int64, n int) (hi int64, err error)
	// look checks the keys with lo < key <= hi.
	look(ctx context.Context, lo, hi int64, t *tally) error
}

// tally is what the looks of one goroutine add up to.
type tally struct {
	now      time.Time
	scan     int
	rows     []int64 // by invariant
	findings []finding
}

// found notes that something does not hold.
func (t *tally) found(invariant int, key int64, subject, text string, changed int64) {
	t.findings = append(t.findings, finding{invariant, t.scan, key, subject, text, changed})
}

// Run checks all invariants. An error means that it could not look; violations are no error.
func Run(ctx context.Context, databases Databases, options Options) (*Result, error) {
	began := options.Now()
	a := &auditor{options: options, scans: scans(databases), result: &Result{At: began.UTC().Truncate(time.Millisecond)}}
	for _, i := range invariants() {
		a.result.Invariants = append(a.result.Invariants, Invariant{Name: i.name, Sentence: i.sentence, First: []string{}})
	}
	if err := a.lookAtAll(ctx); err != nil {
		return nil, err
	}
	if err := a.lookAgain(ctx); err != nil {
		return nil, err
	}
	for i := range a.result.Invariants {
		invariant := &a.result.Invariants[i]
		for _, f := range invariant.first {
			invariant.First = append(invariant.First, f.subject+": "+f.text)
		}
		a.result.Violations += invariant.Violations
	}
	a.result.ElapsedSeconds = options.Now().Sub(began).Seconds()
	return a.result, nil
}

type auditor struct {
	options Options
	scans   []scan
	mu      sync.Mutex
	result  *Result
	young   []finding // what may be under way
}

// lookAtAll cuts every scan into ranges and looks at each once.
func (a *auditor) lookAtAll(ctx context.Context) error {
	type job struct {
		scan   int
		lo, hi int64
	}
	jobs := make(chan job)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(jobs)
		cutting, ctx := errgroup.WithContext(ctx)
		for i, s := range a.scans {
			cutting.Go(func() error {
				for lo := int64(math.MinInt64); lo < math.MaxInt64; {
					hi, err := s.end(ctx, lo, rangeSize)
					if err != nil {
						return err
					}
					select {
					case jobs <- job{i, lo, hi}:
					case <-ctx.Done():
						return ctx.Err()
					}
					lo = hi
				}
				return nil
			})
		}
		return cutting.Wait()
	})
	for range rangesAtOnce {
		group.Go(func() error {
			for j := range jobs {
				t, err := a.look(ctx, j.scan, j.lo, j.hi)
				if err != nil {
					return err
				}
				a.take(t, true)
			}
			return nil
		})
	}
	return group.Wait()
}

func (a *auditor) look(ctx context.Context, scan int, lo, hi int64) (*tally, error) {
	t := &tally{now: a.options.Now(), scan: scan, rows: make([]int64, len(a.result.Invariants))}
	return t, a.scans[scan].look(ctx, lo, hi, t)
}

// take adds a look to the result. What may be under way is kept for another, unless this is the last.
func (a *auditor) take(t *tally, another bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, n := range t.rows {
		a.result.Invariants[i].Rows += n
	}
	for _, f := range t.findings {
		if another && f.age(t.now) < a.options.Grace {
			a.young = append(a.young, f)
			continue
		}
		a.violation(f)
	}
}

// age is for how long the rows of a finding have been as they are.
func (f finding) age(now time.Time) time.Duration { return now.Sub(time.UnixMicro(f.changed)) }

// violation counts a finding and keeps it if it is among the first.
func (a *auditor) violation(f finding) {
	invariant := &a.result.Invariants[f.invariant]
	invariant.Violations++
	at, _ := slices.BinarySearchFunc(invariant.first, f, func(have, f finding) int {
		return cmp.Or(cmp.Compare(have.key, f.key), cmp.Compare(have.subject, f.subject))
	})
	invariant.first = slices.Insert(invariant.first, at, f)
	invariant.first = invariant.first[:min(len(invariant.first), firstViolations)]
}

// pause is between two looks at what may be under way.
const pause = time.Second

// lookAgain looks at young findings until each is gone or is old: its rows have not changed for the grace,
// or it has been there in every look for so long.
func (a *auditor) lookAgain(ctx context.Context) error {
	since := a.options.Now()
	for len(a.young) > 0 {
		wait := a.options.Grace
		for _, f := range a.young {
			wait = min(wait, a.options.Grace-f.age(a.options.Now()))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(max(min(wait, pause), pause/20)):
		}
		late := a.options.Now().Sub(since) >= a.options.Grace
		before := a.young
		a.young = nil
		for place, those := range byPlace(before) {
			t, err := a.look(ctx, place.scan, place.key-1, place.key)
			if err != nil {
				return err
			}
			clear(t.rows) // they were counted at the first look
			t.findings = slices.DeleteFunc(t.findings, func(f finding) bool { return !those[f.name()] })
			a.take(t, !late)
		}
	}
	return nil
}

// place is the range that a finding was found in.
type place struct {
	scan int
	key  int64
}

// name tells findings of one place apart.
type name struct {
	invariant int
	subject   string
}

func (f finding) name() name { return name{f.invariant, f.subject} }

func byPlace(findings []finding) map[place]map[name]bool {
	places := map[place]map[name]bool{}
	for _, f := range findings {
		p := place{f.scan, f.key}
		if places[p] == nil {
			places[p] = map[name]bool{}
		}
		places[p][f.name()] = true
	}
	return places
}

// keysOf are the key columns that a scan follows: of each a query for the n-th key behind another.
type keysOf []struct {
	db    *sqldb.DB
	query string
}

// nth is the query that [keysOf] needs.
func nth(column, table string) string {
	return "SELECT " + column + " FROM " + table + " WHERE " + column + " > ? ORDER BY " + column + " LIMIT 1 OFFSET ?"
}

func (k keysOf) end(ctx context.Context, lo int64, n int) (int64, error) {
	hi := int64(math.MaxInt64)
	for _, keys := range k {
		var key int64
		err := keys.db.QueryRow(ctx, keys.query, lo, n-1).Scan(&key)
		if err != nil && !errors.Is(err, sqldb.ErrNotFound) {
			return 0, fmt.Errorf("cut the keys of %q: %w", keys.query, err)
		}
		if err == nil {
			hi = min(hi, key)
		}
	}
	return hi, nil
}
