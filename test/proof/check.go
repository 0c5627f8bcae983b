package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"tienda/load"
	"tienda/test/fleet"
)

// bound is how long an order may go on after everything is up again.
const bound = 30 * time.Second

// finding is one thing that was checked.
type finding struct {
	by, name, sentence string
	rows, violations   int64
	first              []string
}

// check waits for the shop to come to rest and looks at everything.
func (r *report) check(ctx context.Context, shop *fleet.Fleet, normal string, idle map[string]holding, out io.Writer) error {
	r.calm = time.Now()
	if err := within(ctx, time.Minute, shop.Open); err != nil {
		return err
	}
	r.up = time.Since(r.calm)
	fmt.Fprintf(out, "chaos has ended after %d deaths; everything is up again %s later\n", len(r.exits), r.up.Round(10*time.Millisecond))
	// The token of before may have run out.
	customer, err := logIn(ctx, shop.URL)
	if err != nil {
		return err
	}
	if err := r.finish(ctx, customer); err != nil {
		return err
	}
	r.audit(ctx, shop, normal, "before replays")
	verification, err := r.result.Verify(ctx)
	if err != nil {
		return err
	}
	for _, i := range verification.Invariants {
		r.findings = append(r.findings, finding{"verify, " + i.When, i.Name, i.Sentence, i.Rows, i.Violations, i.First})
	}
	r.verified = time.Duration(verification.Elapsed * float64(time.Second))
	r.audit(ctx, shop, normal, "after replays")
	fmt.Fprintf(out, "verified and audited; waiting for what is held to be let go of\n")
	if err := r.leftovers(ctx, shop, idle); err != nil {
		return err
	}
	return r.logs(shop)
}

// finish waits until no order is under way.
func (r *report) finish(ctx context.Context, customer *admin) error {
	f := finding{by: "proof", name: "orders finished", sentence: fmt.Sprintf("no order is unfinished %s after everything is up", bound)}
	up := time.Now()
	for {
		n, err := customer.unfinished(ctx)
		if err != nil {
			return err
		}
		f.rows = max(f.rows, n)
		if n == 0 {
			break
		}
		if time.Since(up) > bound {
			f.violations = n
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
		}
	}
	r.finished = time.Since(up)
	r.findings = append(r.findings, f)
	return nil
}

// audit has the books checked by the program as everybody gets it.
func (r *report) audit(ctx context.Context, shop *fleet.Fleet, normal, when string) {
	audited, err := shop.Audit(ctx, normal)
	if err != nil {
		r.findings = append(r.findings, finding{"audit, " + when, "audit", "the books can be looked at", 0, 1, []string{err.Error()}})
	}
	for _, i := range audited.Invariants {
		r.findings = append(r.findings, finding{"audit, " + when, i.Name, i.Sentence, i.Rows, i.Violations, i.First})
	}
}

// explained are the lines at ERROR that faults cause, and why they are none of the shop's mistakes.
var explained = []struct{ line, why string }{
	{": fault", "an error that a file of faults had a neighbour answer, passed on by who asked"},
}

// signsOfPanic are what a process says that ends by its own mistake.
var signsOfPanic = regexp.MustCompile(`(?m)^(panic:|fatal error:|goroutine \d+ \[)|WARNING: DATA RACE`)

// What a test build says of its faults.
var (
	brokenCall   = regexp.MustCompile(`(?m)^fault: (late|twice|never|error|cut), `)
	rulesNotUsed = regexp.MustCompile(`(?m)^fault: the rules stay.*$`)
)

// logs looks for mistakes in what the processes wrote.
func (r *report) logs(shop *fleet.Fleet) error {
	errs := finding{by: "proof", name: "errors in logs", sentence: "no line at ERROR but those that the list below explains"}
	panics := finding{by: "proof", name: "panics", sentence: "no process panicked"}
	r.lines, r.broken = map[string]int{}, map[string]int{}
	for _, p := range shop.Components {
		log, said := p.Logs()
		text, err := os.ReadFile(said)
		if err != nil {
			return err
		}
		if found := signsOfPanic.FindAll(text, -1); len(found) > 0 {
			panics.violations += int64(len(found))
			panics.first = append(panics.first, fmt.Sprintf("%s: %s", p.Name, found[0]))
		}
		for _, match := range brokenCall.FindAllSubmatch(text, -1) {
			r.broken[string(match[1])]++
		}
		if said := rulesNotUsed.Find(text); said != nil {
			return fmt.Errorf("%s did not take its faults: %s", p.Name, said)
		}
		panics.rows++
		if err := r.errorLines(log, &errs, &panics); err != nil {
			return err
		}
	}
	errs.first, panics.first = first(errs.first), first(panics.first)
	r.findings = append(r.findings, errs, panics)
	return nil
}

// mostFirst is how many violations are named.
const mostFirst = 10

func first(list []string) []string { return list[:min(len(list), mostFirst)] }

func (r *report) errorLines(path string, errs, panics *finding) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		errs.rows++
		if !bytes.Contains(lines.Bytes(), []byte(`"level":"ERROR"`)) {
			continue
		}
		var line struct{ Msg, Service, Err string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			continue // the half of a line that a kill left
		}
		if bytes.Contains(lines.Bytes(), []byte(`"stack":`)) {
			panics.violations++
			panics.first = append(panics.first, fmt.Sprintf("%s: %s: %s", line.Service, line.Msg, line.Err))
		}
		text := line.Msg + ": " + line.Err
		at := slices.IndexFunc(explained, func(e struct{ line, why string }) bool { return strings.Contains(text, e.line) })
		if at >= 0 {
			r.lines[explained[at].line]++
			continue
		}
		errs.violations++
		errs.first = append(errs.first, line.Service+": "+text)
	}
	return errors.Join(lines.Err())
}

// outcomes are how the checkouts came out, in the order of their names.
func outcomes(result *load.Result) []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(result.Outcomes)) {
		list = append(list, fmt.Sprintf("%s: %d", name, result.Outcomes[name]))
	}
	return list
}
