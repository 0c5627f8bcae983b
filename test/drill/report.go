package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"tienda/api"
	"tienda/load"
	"tienda/sqldb"
	"tienda/test/fleet"
)

// report is what a drill found out.
type report struct {
	options   options
	began     time.Time
	destroyed time.Time
	tested    string        // by the restore test
	said      string        // by the restore
	restored  time.Duration // from the beginning of the recovery
	open      time.Duration // until the shop answered
	ended     time.Time

	acknowledged int           // checkouts that were answered with an order
	missing      []string      // orders that are not there any more
	loss         time.Duration // from the answer of the first of them to the disaster
	settled      time.Duration // until the books were right
	audited      fleet.Audited
	again        *load.Result
	verified     int64 // violations
}

// settleBound is how long what was under way may take in the shop that was brought back.
const settleBound = time.Minute

// lost compares what customers were told with what was brought back. It is asked before the shop opens: its next orders take the
// numbers of those that are gone.
func (r *report) lost(ctx context.Context, s *scene, bought *load.Result) (err error) {
	config := s.database.Server
	config.URL += "tienda_order"
	db, err := sqldb.OpenToRead(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	type row struct{ order, cart int64 }
	rows, err := sqldb.All(ctx, db, func(scan func(...any) error) (o row, err error) { return o, scan(&o.order, &o.cart) }, `SELECT order_id, cart_id FROM orders`)
	if err != nil {
		return err
	}
	there := map[api.ID]api.ID{}
	for _, o := range rows {
		there[api.ID(o.order)] = api.ID(o.cart)
	}
	for _, c := range bought.Record {
		if c.Status != http.StatusCreated && c.Status != http.StatusAccepted {
			continue
		}
		r.acknowledged++
		if there[c.Order] == c.Cart {
			continue
		}
		r.missing = append(r.missing, fmt.Sprintf("order %d, answered %s before the disaster", c.Order, r.destroyed.Sub(c.Answered).Round(time.Millisecond)))
		r.loss = max(r.loss, r.destroyed.Sub(c.Answered))
	}
	if r.acknowledged == 0 {
		return errors.New("nobody has bought anything before the disaster: was the shop open?")
	}
	return nil
}

// afterwards looks at the books of the shop that was brought back, and whether customers can buy in it.
func (r *report) afterwards(ctx context.Context, s *scene, o options) (err error) {
	// What was under way was overdue when the shop opened, if it took some minutes to get there; it goes on by itself.
	for opened := time.Now(); ; {
		if r.audited, err = s.shop.Audit(ctx, s.binary); err != nil {
			return err
		}
		r.settled = time.Since(opened)
		if r.audited.Violations == 0 || r.settled > settleBound {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	shares, err := load.ParseMix(mix)
	if err != nil {
		return err
	}
	r.again, err = load.Run(ctx, load.Options{Target: s.shop.URL, Users: o.customers, Checkouts: o.after, Mix: shares, Seed: 2})
	if err != nil {
		return err
	}
	verification, err := r.again.Verify(ctx)
	if err != nil {
		return err
	}
	for _, i := range verification.Invariants {
		r.verified += i.Violations
	}
	again, err := s.shop.Audit(ctx, s.binary)
	r.audited.Violations += again.Violations
	r.audited.Invariants = append(r.audited.Invariants, again.Invariants...)
	return err
}

func (r *report) holds() bool {
	return r.loss < lossBound && r.audited.Violations == 0 && len(r.audited.Invariants) > 0 && r.verified == 0
}

func (r *report) verdict() string {
	what := "everything holds"
	if !r.holds() {
		what = "it does not hold"
	}
	return fmt.Sprintf("%s: %d of %d acknowledged orders were lost, of the last %s (at most %s may be); restored after %s, open after %s; %d violations of the books, %d of what customers were told",
		what, len(r.missing), r.acknowledged, r.loss.Round(10*time.Millisecond), lossBound, r.restored.Round(100*time.Millisecond), r.open.Round(100*time.Millisecond),
		r.audited.Violations, r.verified)
}

// write keeps the report.
func (r *report) write(o options) (string, error) {
	if err := os.MkdirAll(o.reports, 0o750); err != nil {
		return "", err
	}
	path := filepath.Join(o.reports, "drill-"+r.began.UTC().Format("20060102T150405Z")+".md")
	return path, os.WriteFile(path, []byte(r.text()), 0o600)
}

func (r *report) text() string {
	var b strings.Builder
	p := func(format string, values ...any) { fmt.Fprintf(&b, format+"\n", values...) }
	o := r.options
	p("# Drill: the database is destroyed\n")
	p("**%s**\n", r.verdict())
	p("| | |\n|---|---|")
	p("| began | %s |", r.began.UTC().Format(time.RFC3339))
	p("| took | %s |", r.ended.Sub(r.began).Round(time.Second))
	p("| version | %s |", o.version)
	p("| machine | %d processors, %s/%s, %s |", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	p("| shop | one process over MariaDB, filled with %d products and %d orders |", o.products, o.orders)
	p("| customers | %d for %s, mix `%s` |", o.customers, o.before, mix)
	p("| backups | one as shipping began, one after a quarter of the time; binary logs every %s |", o.every)
	p("| what was lost | %d of %d orders that customers were told of; the first was answered %s before the server was killed |", len(r.missing), r.acknowledged, r.loss.Round(10*time.Millisecond))
	p("| restore test | %s |", strings.ReplaceAll(strings.TrimSpace(r.tested), "\n", "<br>"))
	p("| restored | %s |", strings.ReplaceAll(strings.TrimSpace(r.said), "\n", "<br>"))
	p("| time to recover | %s until the databases were back, %s until the shop answered |", r.restored.Round(100*time.Millisecond), r.open.Round(100*time.Millisecond))
	p("| afterwards | %d checkouts in the restored shop, %d violations of what they were told |", len(r.again.Record), r.verified)
	p("\n## What was lost\n")
	if len(r.missing) == 0 {
		p("Nothing.")
	}
	for _, order := range r.missing {
		p("* %s", order)
	}
	p("\n## The books\n\n%s after the shop was open, and after customers bought in it.\n", r.settled.Round(100*time.Millisecond))
	p("| invariant | rows | violations | |\n|---|---|---|---|")
	for _, i := range r.audited.Invariants {
		p("| %s | %d | %d | %s |", i.Name, i.Rows, i.Violations, i.Sentence)
	}
	return b.String()
}
