package load

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// How often progress is told: a line that is rewritten, or one more line in a log.
const (
	rewriteEvery = 200 * time.Millisecond
	lineEvery    = 5 * time.Second
)

// screen is how wide a terminal is at least, but for the column that makes it wrap.
const screen = 79

// tell says how it goes, to a screen, a log or nobody, until stop is called, which waits for the last of
// it. A line that is rewritten leaves nothing behind.
func tell(to io.Writer, rewrite bool, text func() string) (stop func()) {
	if to == nil {
		return func() {}
	}
	every, begin, end := lineEvery, "", "\n"
	if rewrite {
		every, begin, end = rewriteEvery, "\r", "\x1b[K"
	}
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				line := text()
				if rewrite && len(line) > screen {
					line = line[:screen] // a line that wraps cannot be rewritten
				}
				fmt.Fprint(to, begin+line+end) //nolint:errcheck // a terminal that is gone is no reason to end a run
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
		if rewrite {
			fmt.Fprint(to, "\r\x1b[K") //nolint:errcheck // as above
		}
	}
}

// progress is one line, the most telling first.
func (r *run) progress(elapsed time.Duration) string {
	counts, total := r.record.counts(), int64(0)
	var parts []string
	for _, name := range outcomeNames(counts) {
		total += counts[name]
		if counts[name] > 0 {
			parts = append(parts, fmt.Sprintf("%s:%d", name, counts[name]))
		}
	}
	goal := elapsed.Round(time.Second).String()
	switch limit := r.options.Duration; {
	case limit > 0 && elapsed > limit:
		goal += ", finishing what is under way"
	case limit > 0:
		goal += "/" + limit.String()
	}
	done := fmt.Sprint(total)
	if r.options.Checkouts > 0 {
		done = fmt.Sprintf("%d/%d", total, r.options.Checkouts)
	}
	rate := float64(total) / max(elapsed.Seconds(), 0.001)
	if failures := r.shop.meter.failures(); failures > 0 {
		parts = append(parts, fmt.Sprintf("errors:%d", failures))
	}
	return fmt.Sprintf("%s  %s checkouts, %.1f/s  %s", goal, done, rate, strings.Join(parts, " "))
}

// outcomeNames are the usual outcomes of checkouts, whether there were any or not, and others that there
// were; "unknown" is last.
func outcomeNames(counts map[string]int64) []string {
	names := []string{"201", "202", "402", "409"}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if !slices.Contains(names, name) && name != Unknown {
			names = append(names, name)
		}
	}
	return append(names, Unknown)
}
