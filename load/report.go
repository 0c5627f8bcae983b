package load

import (
	"fmt"
	"io"
	"strings"
)

// Print writes the result for a person: a row for each step, and how the checkouts came out.
func (r *Result) Print(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%d customers at %s, seed %d: logged in after %.1f s, then %.1f s in the shop%s\n\n",
		r.Users, r.Target, r.Seed, r.SetUp, r.Elapsed, map[bool]string{true: ", interrupted"}[r.Interrupted]); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "%-9s %8s %8s %9s %9s %9s %9s  %s\n", "step", "calls", "per s", "p50 ms", "p95 ms", "p99 ms", "max ms", "errors"); err != nil {
		return err
	}
	for _, s := range r.Steps {
		errors := make([]string, 0, len(s.Errors))
		for _, kind := range kinds(s.Errors) {
			errors = append(errors, fmt.Sprintf("%d %s", s.Errors[kind], kind))
		}
		if s.Repeated > 0 {
			errors = append(errors, fmt.Sprintf("%d repeated", s.Repeated))
		}
		row := fmt.Sprintf("%-9s %8d %8.1f %9.1f %9.1f %9.1f %9.1f  %s", s.Name, s.Count, s.PerSecond, s.P50, s.P95, s.P99, s.Max, strings.Join(errors, ", "))
		if _, err := fmt.Fprintln(w, strings.TrimRight(row, " ")); err != nil {
			return err
		}
	}
	if err := r.printFirst(w); err != nil {
		return err
	}
	total := int64(0)
	var parts []string
	for _, name := range outcomeNames(r.Outcomes) {
		total += r.Outcomes[name]
		parts = append(parts, fmt.Sprintf("%s %d", meaning(name), r.Outcomes[name]))
	}
	if _, err := fmt.Fprintf(w, "\n%d checkouts, %.1f per second: %s\n", total, r.PerSecond, strings.Join(parts, ", ")); err != nil {
		return err
	}
	if r.Admin == "" && 2*r.Outcomes["409"] > total {
		_, err := fmt.Fprintln(w, "Most checkouts were refused, as when everything is sold out; with --admin USER an administrator books more in.")
		return err
	}
	return nil
}

// printFirst tells what the first customer who met an error was told.
func (r *Result) printFirst(w io.Writer) error {
	before := "\n"
	for _, s := range r.Steps {
		for _, kind := range kinds(s.Errors) {
			if _, err := fmt.Fprintf(w, "%sfirst %s of %q: %s\n", before, kind, s.Name, s.First[kind]); err != nil {
				return err
			}
			before = ""
		}
	}
	return nil
}

// meaning is an outcome in words.
func meaning(outcome string) string {
	switch outcome {
	case "201":
		return "confirmed (201)"
	case "202":
		return "accepted (202)"
	case "402":
		return "declined (402)"
	case "409":
		return "refused (409)"
	}
	return outcome
}
