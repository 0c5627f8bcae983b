package main

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tienda/load"
	"tienda/test/fleet"
)

// TestErrorLines: what a fault explains is counted, everything else at ERROR is a violation, and a stack is
// a panic.
func TestErrorLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	lines := []string{
		`{"level":"INFO","msg":"request","service":"order-service"}`,
		`{"level":"ERROR","msg":"request failed","service":"order-service","err":"ledger of order 5 does not sum to zero"}`,
		`{"level":"ERROR","msg":"panic","service":"order-service","panic":"nil map","stack":"goroutine 7 [running]:"}`,
		`{"level":"ERROR","msg":"request failed","service":"proxy-client","err":"` + explainedError + `"}`,
		`{"level":"ERROR","msg":"request fai`,
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &report{lines: map[string]int{}}
	var errs, panics finding
	if err := r.errorLines(path, &errs, &panics); err != nil {
		t.Fatal(err)
	}
	if errs.rows != 5 || errs.violations != 2 || !strings.Contains(errs.first[0], "does not sum to zero") {
		t.Errorf("errors = %+v, want the ledger and the panic out of five lines", errs)
	}
	if panics.violations != 1 || r.lines[explained[0].line] != 1 {
		t.Errorf("panics = %+v, explained = %v, want one of each", panics, r.lines)
	}
}

const explainedError = "call user-service: Internal Server Error: fault"

// TestPanicsOnStandardError: what the runtime says of a mistake is found, what a test build says is not.
func TestPanicsOnStandardError(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"fault: late, order-service to POST /x\n":                           false,
		"panic: runtime error: index out of range\n\ngoroutine 1 [running]": true,
		"fatal error: concurrent map writes\n":                              true,
		"tienda: payment-service: connect: no panic: all is well":           false,
	} {
		if got := signsOfPanic.MatchString(text); got != want {
			t.Errorf("%q is a panic: %v, want %v", text, got, want)
		}
	}
}

// TestReport: the verdict, the seed to run it again, what died and what does not hold are there to be read.
func TestReport(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := &report{
		options: options{seed: 42, clients: 8, checkouts: 100, mix: "story", version: "abc"}, began: began, ended: began.Add(time.Minute),
		exits: []fleet.Exit{
			{Process: "order-service", Killed: true, Down: time.Second}, {Process: "order-service", Crashed: "answered ship"},
			{Process: "user-service", Why: "exit status 1: tienda: connect to the database"},
		},
		result: &load.Result{Outcomes: map[string]int64{"201": 99, "unknown": 1}, Elapsed: 30},
		broken: map[string]int{"late": 3},
	}
	if r.holds() {
		t.Error("a proof that looked at nothing holds")
	}
	r.findings = []finding{{by: "audit", name: "ledger", sentence: "sums to zero", rows: 100}}
	if text := r.text(&fleet.Fleet{}); !r.holds() || !strings.Contains(text, "**everything holds: seed 42") {
		t.Errorf("a proof without violations is told as\n%s", text)
	}
	r.findings = append(r.findings, finding{by: "verify", name: "one each", sentence: "no two keys", rows: 7, violations: 2, first: []string{"order 17: twice"}})
	text := r.text(&fleet.Fleet{})
	for _, want := range []string{
		"**2 violations: seed 42**", "make proof SEED=42 CHECKOUTS=100 CLIENTS=8", "| order-service | 1 | 1 | 0 | 1s |", "| all | 1 | 1 | 1 | 1s |",
		"1 × exit status 1: tienda: connect to the database", "3 × late", "201: 99, unknown: 1", "### one each (verify)", "order 17: twice", "| abc |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, text)
		}
	}
	if r.holds() {
		t.Error("a proof with violations holds")
	}
}

// TestHopeless: a process that starts in vain ends the proof with a sentence, one that was killed now and then does not.
func TestHopeless(t *testing.T) {
	t.Parallel()
	var said []string
	c := newChaos(1, func(err error) { said = append(said, err.Error()) })
	for range 3 {
		for range hopeless - 1 {
			c.ended(&fleet.Process{Name: "mariadb"}, fleet.Exit{Why: "exit status 1: no such folder"})
		}
		c.ended(&fleet.Process{Name: "mariadb"}, fleet.Exit{Killed: true})
	}
	if len(said) > 0 {
		t.Errorf("it gave up on a process that was killed: %q", said)
	}
	for range hopeless + 1 {
		c.ended(&fleet.Process{Name: "mariadb"}, fleet.Exit{Why: "exit status 1: no such folder"})
	}
	if len(said) != 1 || !strings.Contains(said[0], "mariadb does not start any more (exit status 1: no such folder)") {
		t.Errorf("it gave up with %q, want one sentence about mariadb", said)
	}
}

// TestFaultsOfAComponent: every kind of fault is in them, the same ones for the same seed.
func TestFaultsOfAComponent(t *testing.T) {
	t.Parallel()
	text := faultsOf("order-service", 7)
	for _, want := range []string{"seed: 7\n", "crashes:", "late", "twice", "never", "error", "cut"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if text != faultsOf("order-service", 7) || text == faultsOf("order-service", 8) || text == faultsOf("api-gateway", 7) {
		t.Error("the faults do not follow from the component and the seed")
	}
}

// TestKillsAreThreeSecondsApart: on average, and for the same seed alike.
func TestKillsAreThreeSecondsApart(t *testing.T) {
	t.Parallel()
	pauses := func(seed uint64) (sum time.Duration) {
		random := rand.New(rand.NewPCG(seed, 1))
		for range 10_000 {
			sum += pause(random)
		}
		return sum
	}
	five := pauses(5)
	if average := five / 10_000; math.Abs(average.Seconds()-killEvery.Seconds()) > 0.1 {
		t.Errorf("a kill every %s, want %s", average, killEvery)
	}
	if again, six := pauses(5), pauses(6); again != five || six == five {
		t.Error("the pauses do not follow from the seed")
	}
}

// TestLeftovers: what a process has not let go of is seen, and what it may keep is not.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	before := fleet.Usage{Goroutines: 60, Files: 9, In: 2, Out: 2, DB: 1}
	idle := map[string]holding{"order-service": of("order-service", before), "order-service-2": of("order-service", before)}
	for name, c := range map[string]struct {
		after        fleet.Usage
		sessions     int
		transactions int
		settle       time.Duration
		want         string // the finding that has a violation
	}{
		"as before":              {after: before, sessions: 2 * idleSessions},
		"idle connections":       {after: fleet.Usage{Goroutines: 60 + 40 + 30 + 15, Files: 9, In: 32, Out: 22, DB: 16}, sessions: 2 * idleSessions, settle: time.Second},
		"connections for good":   {after: fleet.Usage{Goroutines: 60 + 40 + 30, Files: 9, In: 32, Out: 22, DB: 1}, want: "connections"},
		"goroutines":             {after: fleet.Usage{Goroutines: 80, Files: 9, In: 2, Out: 2, DB: 1}, want: "goroutines"},
		"goroutines, short":      {after: fleet.Usage{Goroutines: 80, Files: 9, In: 2, Out: 2, DB: 1}, settle: time.Second, want: "goroutines"},
		"files":                  {after: fleet.Usage{Goroutines: 60, Files: 30, In: 2, Out: 2, DB: 1}, want: "files"},
		"sessions":               {after: before, sessions: 2*idleSessions + 1, want: "sessions"},
		"a transaction for good": {after: before, transactions: 1, want: "sessions"},
	} {
		if c.settle == 0 {
			c.settle = 2 * time.Minute
		}
		now := map[string]holding{"order-service": of("order-service", before), "order-service-2": of("order-service", c.after)}
		found := compare(idle, now, map[string]int{"order-service": c.sessions}, c.transactions, c.settle)
		var got string
		for _, f := range found {
			if f.violations > 0 {
				got += f.name
			}
		}
		if got != c.want {
			t.Errorf("%s: violations of %q, want %q: %+v", name, got, c.want, found)
		}
	}
}
