package zipkin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"tienda/sqldb"
)

// getDependencies adds up the links that were counted before, and counts
// those of traces that have changed since.
func (s *Server) getDependencies(w http.ResponseWriter, r *http.Request) error {
	values := r.URL.Query()
	if values.Get("endTs") == "" {
		return badRequest("endTs is required")
	}
	endTs, lookback, err := parseWindow(values, &s.settings, s.now())
	if err != nil {
		return badRequest("%v", err)
	}
	window := &query{endTs: endTs, lookback: lookback}
	l, err := selectLinks(r.Context(), s.db, window)
	if err != nil {
		return err
	}
	const page = 500
	for after := ""; ; {
		unlinked, err := selectUnlinked(r.Context(), s.db, window, after, page)
		if err != nil {
			return err
		}
		for chunk := range chunksOf(unlinked) {
			groups, err := s.selectGroups(r.Context(), chunk)
			if err != nil {
				return err
			}
			for _, spans := range groups {
				if window.matches(spans) {
					l.add(spans)
				}
			}
		}
		if len(unlinked) < page {
			return writeJSON(w, r, http.StatusOK, l.links())
		}
		after = unlinked[page-1].low
	}
}

// selectGroups reads the spans of traces by the low half of their ids: links
// always join what agrees in that.
func (s *Server) selectGroups(ctx context.Context, traces []traceRow) (map[string][]*Span, error) {
	stored, err := selectSpans(ctx, s.db, lowsOf(traces))
	if err != nil {
		return nil, err
	}
	spans, err := decode(stored)
	if err != nil {
		return nil, err
	}
	groups := make(map[string][]*Span)
	for _, span := range spans {
		low := lowID(span.TraceID)
		groups[low] = append(groups[low], span)
	}
	return groups, nil
}

// linkChunk bounds the traces that are linked in one transaction.
const linkChunk = 100

// linkSome counts the links of some quiet traces and reports whether there
// may be more.
func (w *writer) linkSome(ctx context.Context, quietSince time.Time) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	traces, err := selectQuiet(ctx, w.db, quietSince, linkChunk)
	if err != nil || len(traces) == 0 {
		return false, err
	}
	for chunk := range chunksOf(traces) {
		groups, err := w.selectGroups(ctx, chunk)
		if err != nil {
			return false, err
		}
		err = w.db.Tx(ctx, func(tx *sqldb.Tx) error {
			if err := markLinked(ctx, tx, chunk); err != nil {
				return err
			}
			for _, low := range slices.Sorted(maps.Keys(groups)) {
				l := make(linker)
				l.add(groups[low])
				if err := replaceLinks(ctx, tx, low, traceTime(groups[low]), l.links()); err != nil {
					return err
				}
			}
			return nil
		})
		if errors.Is(err, errChanged) {
			return false, nil // another collector works on them; next time
		}
		if err != nil {
			return false, err
		}
	}
	return len(traces) == linkChunk, nil
}

func lowsOf(traces []traceRow) []string {
	lows := make([]string, len(traces))
	for i, t := range traces {
		lows[i] = t.low
	}
	return lows
}

// selectLinks adds up the links that were counted in a window of time.
func selectLinks(ctx context.Context, db *sqldb.DB, window *query) (linker, error) {
	links, err := sqldb.All(ctx, db, func(scan func(...any) error) (l Link, err error) {
		return l, scan(&l.Parent, &l.Child, &l.CallCount, &l.ErrorCount)
	}, "SELECT parent, child, SUM(calls), SUM(errors) FROM links WHERE ts BETWEEN ? AND ? AND ts > 0 GROUP BY parent, child",
		window.from(), window.to())
	if err != nil {
		return nil, fmt.Errorf("select links: %w", err)
	}
	l := make(linker)
	for i := range links {
		l[linkKey{links[i].Parent, links[i].Child}] = &links[i]
	}
	return l, nil
}

// selectUnlinked returns up to limit traces in a window whose links are not
// counted, in the order of their low halves. Each half comes once.
func selectUnlinked(ctx context.Context, db *sqldb.DB, window *query, after string, limit int) ([]traceRow, error) {
	traces, err := sqldb.All(ctx, db, scanTrace, `SELECT MIN(t.trace_id), t.trace_low, MIN(t.ts), SUM(t.span_count) FROM traces t
		WHERE t.linked = 0 AND t.trace_low > ? AND t.ts BETWEEN ? AND ? AND t.ts > 0 GROUP BY t.trace_low ORDER BY t.trace_low LIMIT ?`,
		after, window.from(), window.to(), limit)
	if err != nil {
		return nil, fmt.Errorf("select traces without links: %w", err)
	}
	return traces, nil
}

// selectQuiet returns traces whose links are not counted and for which no
// span has come lately.
func selectQuiet(ctx context.Context, db *sqldb.DB, since time.Time, limit int) ([]traceRow, error) {
	traces, err := sqldb.All(ctx, db, scanTrace, "SELECT "+traceColumns+
		" FROM traces t WHERE t.linked = 0 AND t.`stored` <= ? ORDER BY t.`stored` LIMIT ?", since.UnixMicro(), limit)
	if err != nil {
		return nil, fmt.Errorf("select quiet traces: %w", err)
	}
	return traces, nil
}

// errChanged says that spans came for a trace while its links were counted.
var errChanged = errors.New("trace changed")

// markLinked holds the rows of the traces until the transaction ends, and
// fails when one has changed since it was read.
func markLinked(ctx context.Context, tx *sqldb.Tx, traces []traceRow) error {
	slices.SortFunc(traces, compareTraces)
	for _, t := range traces {
		found, err := tx.Exec(ctx, "UPDATE traces SET linked = 1 WHERE trace_id = ? AND span_count = ? AND linked = 0", t.id, t.spans)
		if err != nil {
			return fmt.Errorf("mark trace %s as linked: %w", t.id, err)
		}
		if found == 0 {
			return errChanged
		}
	}
	return nil
}

func replaceLinks(ctx context.Context, tx *sqldb.Tx, low string, ts int64, links []Link) error {
	if err := deleteLinks(ctx, tx, low); err != nil {
		return err
	}
	for _, l := range links {
		parent, child := column(l.Parent), column(l.Child)
		_, err := tx.Exec(ctx, "INSERT INTO links (trace_low, parent, child, calls, errors, ts) VALUES (?,?,?,?,?,?)",
			low, parent, child, l.CallCount, l.ErrorCount, ts)
		if errors.Is(err, sqldb.ErrConflict) { // names that differ behind the column's end, or in blanks there
			_, err = tx.Exec(ctx, "UPDATE links SET calls = calls + ?, errors = errors + ? WHERE trace_low = ? AND parent = ? AND child = ?",
				l.CallCount, l.ErrorCount, low, parent, child)
		}
		if err != nil {
			return fmt.Errorf("insert links of trace %s: %w", low, err)
		}
	}
	return nil
}

// deleteLinks forgets the links of a trace that changes or goes.
func deleteLinks(ctx context.Context, tx *sqldb.Tx, low string) error {
	if err := tx.Later(ctx, "DELETE FROM links WHERE trace_low = ?", low); err != nil {
		return fmt.Errorf("delete links of trace %s: %w", low, err)
	}
	return nil
}
