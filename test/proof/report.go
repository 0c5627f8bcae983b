package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"tienda/load"
	"tienda/test/fleet"
)

// report is everything that a proof found out.
type report struct {
	options  options
	machine  string
	began    time.Time
	built    time.Duration
	exits    []fleet.Exit
	stalls   int
	result   *load.Result
	calm     time.Time     // when chaos ended
	up       time.Duration // from then until everything was up
	finished time.Duration // from then until no order was under way
	verified time.Duration
	settled  time.Duration
	ended    time.Time
	findings []finding
	idle     map[string]holding
	after    map[string]holding
	lines    map[string]int // of the log that are explained
	broken   map[string]int // calls, by what became of the answer
}

// machine says what the proof ran on.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	database := "MariaDB of unknown version"
	if out, err := exec.Command("mariadbd", "--version").Output(); err == nil { //nolint:noctx // it answers at once
		database = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("%d × %s, %s/%s, %s; %s", runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH, runtime.Version(), database)
}

func (r *report) holds() bool { return violations(r.findings) == 0 && len(r.findings) > 0 }

func (r *report) verdict() string {
	if r.holds() {
		return fmt.Sprintf("everything holds: seed %d, %d checkouts, %d deaths, %s", r.options.seed, len(r.result.Record), len(r.exits), r.ended.Sub(r.began).Round(time.Second))
	}
	return fmt.Sprintf("%d violations: seed %d", violations(r.findings), r.options.seed)
}

// write writes the report for people and returns where it is.
func (r *report) write(shop *fleet.Fleet) (string, error) {
	if err := os.MkdirAll(r.options.reports, 0o750); err != nil {
		return "", err
	}
	path := filepath.Join(r.options.reports, fmt.Sprintf("proof-%d.md", r.options.seed))
	return path, os.WriteFile(path, []byte(r.text(shop)), 0o600)
}

func (r *report) text(shop *fleet.Fleet) string {
	var b strings.Builder
	p := func(format string, values ...any) { fmt.Fprintf(&b, format+"\n", values...) }
	round := func(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
	p("# Proof under faults, seed %d\n", r.options.seed)
	p("**%s**\n", r.verdict())
	p("| | |\n|---|---|")
	p("| began | %s |", r.began.UTC().Format(time.RFC3339))
	p("| took | %s: %s to build, %s under chaos, %s until all was up, %s until no order was under way, %s to verify, %s to settle |",
		round(r.ended.Sub(r.began)), round(r.built), round(time.Duration(r.result.Elapsed*float64(time.Second))), round(r.up), round(r.finished), round(r.verified), round(r.settled))
	p("| version | %s |", r.options.version)
	p("| machine | %s |", r.machine)
	p("| shop | %d processes, two of order-service; MariaDB with `innodb_flush_log_at_trx_commit=1`, binary log off |", len(shop.Components))
	p("| settings | `%s` |", strings.Join(settings, "`, `"))
	p("| customers | %d, mix `%s` |", r.options.clients, r.options.mix)
	p("| again | `make proof SEED=%d CHECKOUTS=%d CLIENTS=%d` |\n", r.options.seed, r.options.checkouts, r.options.clients)

	p("## Deaths\n")
	p("A process was killed with SIGKILL every %s on average, MariaDB at most every %s. Crash points are deaths at a named point.\n", killEvery, mariaDBEvery)
	p("| process | killed | at a crash point | by itself | longest away |\n|---|---|---|---|---|")
	r.deaths(p)
	p("\nBesides, %d times a process of order-service was stopped for %s, longer than its leases last, and went on.", r.stalls, stallFor)
	if ends := r.byItself(); len(ends) > 0 {
		p("\nEnds by itself, by what the process said:\n\n* %s", strings.Join(ends, "\n* "))
	}
	p("\nCalls that were broken, by what became of the answer:\n")
	for _, what := range slices.Sorted(maps.Keys(r.broken)) {
		p("* %d × %s", r.broken[what], what)
	}
	p("\n## Customers\n")
	p("%d checkouts, answered in the end with: %s.\n", len(r.result.Record), strings.Join(outcomes(r.result), ", "))
	p("| step | calls | per second | p50 ms | p95 ms | p99 ms | max ms | failures |\n|---|---|---|---|---|---|---|---|")
	for _, s := range r.result.Steps {
		var failures []string
		for _, what := range slices.Sorted(maps.Keys(s.Errors)) {
			failures = append(failures, fmt.Sprintf("%s: %d", what, s.Errors[what]))
		}
		p("| %s | %d | %.1f | %.0f | %.0f | %.0f | %.0f | %s |", s.Name, s.Count, s.PerSecond, s.P50, s.P95, s.P99, s.Max, strings.Join(failures, ", "))
	}
	p("\n## What must hold\n")
	p("| by | invariant | rows | violations | |\n|---|---|---|---|---|")
	for _, f := range r.findings {
		p("| %s | %s | %d | %d | %s |", f.by, f.name, f.rows, f.violations, f.sentence)
	}
	for _, f := range r.findings {
		if f.violations == 0 {
			continue
		}
		p("\n### %s (%s)\n", f.name, f.by)
		for _, offence := range first(f.first) {
			p("* %s", strings.ReplaceAll(offence, "\n", " "))
		}
	}
	p("\n## What processes hold\n")
	p("Goroutines without those of idle connections, open files, and connections, before the first customer and at the end.\n")
	p("| process | goroutines | files | connections |\n|---|---|---|---|")
	for _, name := range slices.Sorted(maps.Keys(r.after)) {
		was, is := r.idle[name], r.after[name]
		p("| %s | %d → %d | %d → %d | %d → %d |", name, was.own, is.own, was.Files, is.Files, was.In+was.Out, is.In+is.Out)
	}
	p("\n## Lines at ERROR that faults explain\n")
	p("| line | times | why |\n|---|---|---|")
	for _, e := range explained {
		p("| with `%s` in it | %d | %s |", e.line, r.lines[e.line], e.why)
	}
	return b.String()
}

// deaths prints a row for each process.
func (r *report) deaths(p func(string, ...any)) {
	type row struct {
		killed, crashed, itself int
		away                    time.Duration
	}
	rows := map[string]*row{}
	total := &row{}
	for _, e := range r.exits {
		if rows[e.Process] == nil {
			rows[e.Process] = &row{}
		}
		for _, to := range []*row{rows[e.Process], total} {
			switch {
			case e.Killed:
				to.killed++
			case e.Crashed != "":
				to.crashed++
			default:
				to.itself++
			}
			to.away = max(to.away, e.Down)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		p("| %s | %d | %d | %d | %s |", name, rows[name].killed, rows[name].crashed, rows[name].itself, rows[name].away.Round(10*time.Millisecond))
	}
	p("| all | %d | %d | %d | %s |", total.killed, total.crashed, total.itself, total.away.Round(10*time.Millisecond))
}

// byItself counts what processes said that nobody killed.
func (r *report) byItself() []string {
	said := map[string]int{}
	for _, e := range r.exits {
		if !e.Killed && e.Crashed == "" {
			said[e.Why]++
		}
	}
	var list []string
	for _, why := range slices.Sorted(maps.Keys(said)) {
		list = append(list, fmt.Sprintf("%d × %s", said[why], why))
	}
	return list
}
