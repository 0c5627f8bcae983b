package audit

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteTo prints the result as a table for a person, with a sentence at the end that says what to do.
func (r *Result) WriteTo(w io.Writer) (int64, error) {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.StripEscape)
	fmt.Fprintln(table, "INVARIANT\tROWS\tVIOLATIONS")
	var rows int64
	for _, i := range r.Invariants {
		rows += i.Rows
		fmt.Fprintf(table, "%s\t%s\t%s\n", i.Name, thousands(i.Rows), thousands(i.Violations))
	}
	_ = table.Flush() // into memory
	for _, i := range r.Invariants {
		if i.Violations == 0 {
			continue
		}
		fmt.Fprintf(&text, "\n%s: %s\n", i.Name, i.Sentence)
		for _, first := range i.First {
			fmt.Fprintf(&text, "  %s\n", first)
		}
		if more := i.Violations - int64(len(i.First)); more > 0 {
			fmt.Fprintf(&text, "  and %s more\n", thousands(more))
		}
	}
	elapsed := time.Duration(r.ElapsedSeconds * float64(time.Second)).Round(time.Millisecond)
	fmt.Fprintf(&text, "\n%s rows looked at in %s: %s\n", thousands(rows), elapsed, r.sentence(rows))
	n, err := io.WriteString(w, text.String())
	return int64(n), err
}

// sentence says what the result means and what to do about it.
func (r *Result) sentence(rows int64) string {
	broken := map[string]bool{}
	for _, i := range r.Invariants {
		if i.Violations > 0 {
			broken[i.Name] = true
		}
	}
	waiting := 0
	for _, name := range []string{"sagas-stuck", "reservations-overdue", "operations-overdue", "notifications-overdue", nameFeeds} {
		if broken[name] {
			waiting++
		}
	}
	switch {
	case rows == 0:
		return "the databases are empty. If the shop has products or orders, they are elsewhere: look at --data and SPRING_DATASOURCE_URL."
	case len(broken) == 0:
		return "every invariant holds; there is nothing to do."
	case len(broken) == waiting:
		return "work is waiting that nobody does. Start the services, or look into their logs for what keeps them from it, and audit again."
	}
	return thousands(r.Violations) + " violations. Keep a copy of the databases before anything is changed, and look up the invariants under \"Audit\" in docs/operations.md."
}

// thousands writes a number as people read it: 1,234,567.
func thousands(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
