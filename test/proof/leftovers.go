package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"tienda/test/fleet"
)

// holding is what a process holds, apart from what connections explain that wait to be used again.
type holding struct {
	fleet.Usage
	component string
	own       int // goroutines
}

// of takes from the goroutines those of connections: net/http has two for each that a client made and one
// for each that a server was given, the driver of MySQL has one.
func of(component string, u fleet.Usage) holding {
	return holding{u, component, u.Goroutines - 2*u.Out - u.In - u.DB}
}

// atRest looks at every process some time after the last call.
func atRest(ctx context.Context, shop *fleet.Fleet) (map[string]holding, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(3 * time.Second):
	}
	return holdings(ctx, shop)
}

func holdings(ctx context.Context, shop *fleet.Fleet) (map[string]holding, error) {
	all := map[string]holding{}
	for _, p := range shop.Components {
		u, err := shop.Usage(ctx, p)
		if err != nil {
			return nil, err
		}
		all[p.Name] = of(p.Component, u)
	}
	return all, nil
}

// idleConnections is how long a client keeps a connection that nobody uses (kit). What a process holds
// of them says nothing before.
const idleConnections = 90 * time.Second

// What a process at rest may hold more than it did before the first customer came.
const (
	spareGoroutines  = 4  // polls under way at that moment
	spareFiles       = 2  // databases and logs are open already
	spareConnections = 12 // of polls and heartbeats
	idleSessions     = 20 // that a process keeps open to MariaDB (sqldb)
)

// leftovers waits until every process holds no more than at the beginning, or the time to settle is over.
func (r *report) leftovers(ctx context.Context, shop *fleet.Fleet, idle map[string]holding) error {
	began := time.Now()
	for {
		now, err := holdings(ctx, shop)
		if err != nil {
			return err
		}
		sessions, transactions, err := shop.Sessions(ctx)
		if err != nil {
			return err
		}
		found := compare(idle, now, sessions, transactions, r.options.settle)
		if violations(found) == 0 || time.Since(began) > r.options.settle {
			r.settled, r.idle, r.after = time.Since(began), idle, now
			r.findings = append(r.findings, found...)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// compare is what processes hold now beside what they held when idle. Sessions of MariaDB are by component.
func compare(idle, now map[string]holding, sessions map[string]int, transactions int, settle time.Duration) []finding {
	goroutines := finding{by: "proof", name: "goroutines", sentence: fmt.Sprintf("no process has over %d goroutines more than before, without those of idle connections", spareGoroutines)}
	files := finding{by: "proof", name: "files", sentence: fmt.Sprintf("no process has over %d open files more than before", spareFiles)}
	connections := finding{by: "proof", name: "connections", sentence: fmt.Sprintf("no process has over %d connections more than before", spareConnections)}
	server := finding{by: "proof", name: "sessions", sentence: fmt.Sprintf("no process has more than %d sessions of MariaDB, and none has a transaction open", idleSessions)}
	replicas := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		was, is := idle[name], now[name]
		goroutines.compare(name, was.own, is.own, spareGoroutines)
		files.compare(name, was.Files, is.Files, spareFiles)
		connections.compare(name, was.In+was.Out, is.In+is.Out, spareConnections)
		replicas[is.component]++
	}
	if settle <= idleConnections {
		connections = finding{by: "proof", name: "connections", sentence: fmt.Sprintf(
			"(not looked at: clients keep idle connections for %s, and this proof settles for %s)", idleConnections, settle)}
	}
	for _, component := range slices.Sorted(maps.Keys(sessions)) {
		server.compare(component, 0, sessions[component], idleSessions*replicas[component])
	}
	server.compare("open transactions", 0, transactions, 0)
	return []finding{goroutines, files, connections, server}
}

// compare adds a row that must not have grown by more than spare.
func (f *finding) compare(name string, before, after, spare int) {
	f.rows++
	if after > before+spare {
		f.violations++
		f.first = append(f.first, fmt.Sprintf("%s: %d before, %d after", name, before, after))
	}
}

func violations(findings []finding) int64 {
	var n int64
	for _, f := range findings {
		n += f.violations
	}
	return n
}
