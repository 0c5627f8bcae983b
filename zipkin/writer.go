package zipkin

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"tienda/sqldb"
)

// A queue holds the rows that wait to be written.
type queue struct {
	ready chan struct{} // has an element when rows may be waiting

	mu   sync.Mutex
	rows []row
	size int // of the rows, about, in bytes
}

// maxQueue bounds what waits, in bytes; rowOverhead is what a row takes beside
// its body.
const (
	maxQueue    = 16 << 20
	rowOverhead = 512
)

func newQueue() *queue {
	return &queue{ready: make(chan struct{}, 1)}
}

// put queues all of the rows, or none when there is no room.
func (q *queue) put(rows []row) bool {
	size := 0
	for _, r := range rows {
		size += len(r.body) + rowOverhead
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.rows) > 0 && q.size+size > maxQueue {
		return false
	}
	q.rows = append(q.rows, rows...)
	q.size += size
	select {
	case q.ready <- struct{}{}:
	default:
	}
	return true
}

// len is how many rows wait.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.rows)
}

// take removes up to limit rows, the oldest first.
func (q *queue) take(limit int) []row {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(limit, len(q.rows))
	rows := q.rows[:n:n]
	q.rows = q.rows[n:]
	for _, r := range rows {
		q.size -= len(r.body) + rowOverhead
	}
	if len(q.rows) == 0 {
		q.rows = nil // or its array would keep what was taken
	} else {
		select {
		case q.ready <- struct{}{}:
		default:
		}
	}
	return rows
}

// A writer is the one goroutine that writes to the database.
type writer struct {
	*Server
	stored int64                 // spans in the database, as far as known
	seen   map[nameKey]time.Time // when names were last written
}

const (
	batchSize     = 500
	batchAttempts = 6
	drainTimeout  = 5 * time.Second
	purgeInterval = time.Minute
	linkInterval  = time.Second
	linkQuiet     = 10 * time.Second // how long no span came for a trace before its links are counted
	writeTimeout  = 30 * time.Second
	gatherTime    = 100 * time.Millisecond // for more spans to come: the parts of a trace come one after the other
	seenInterval  = 10 * time.Minute       // a name is not written more often
	maxSeen       = 20_000                 // names remembered
)

func (w *writer) run(ctx context.Context) error {
	purge, link := time.NewTicker(purgeInterval), time.NewTicker(linkInterval)
	defer purge.Stop()
	defer link.Stop()
	w.purge(ctx)
	for {
		select {
		case <-ctx.Done():
			return w.drain(ctx)
		case <-w.queue.ready:
			if w.queue.len() < batchSize && !sleep(ctx, gatherTime) {
				continue // to drain
			}
			w.write(ctx, w.queue.take(batchSize))
		case <-link.C:
			w.link(ctx, w.now().Add(-linkQuiet))
		case <-purge.C:
			w.purge(ctx)
		}
	}
}

// drain writes what is waiting when the server stops.
func (w *writer) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	for {
		rows := w.queue.take(batchSize)
		if len(rows) == 0 {
			return nil
		}
		if !w.write(ctx, rows) && ctx.Err() != nil {
			return errors.New("spans were lost: the database did not take them before the server stopped")
		}
	}
}

// write stores a batch. It waits out a short outage of the database; the
// queue grows meanwhile. A batch that cannot be written is dropped.
func (w *writer) write(ctx context.Context, rows []row) bool {
	if len(rows) == 0 {
		return true
	}
	pause := 100 * time.Millisecond
	for attempt := 1; ; attempt++ {
		err := w.writeOnce(ctx, rows)
		if err == nil {
			break
		}
		level := slog.LevelWarn
		if attempt == 1 && errors.Is(err, sqldb.ErrConflict) {
			level = slog.LevelDebug // a replica has written spans of the same trace meanwhile
		}
		w.log.Log(ctx, level, "spans not written", "spans", len(rows), "attempt", attempt, "err", err)
		if attempt == batchAttempts || !sleep(ctx, pause) {
			if ctx.Err() != nil && w.queue.put(rows) { // for drain, which has time of its own
				return false
			}
			w.counters.spansDropped.Add(float64(len(rows)))
			return false
		}
		pause *= 2
	}
	if w.stored > int64(w.settings.MaxSpans) {
		w.evict(ctx)
	}
	return true
}

func (w *writer) writeOnce(ctx context.Context, rows []row) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	now := w.now()
	names := w.staleNames(rows, now)
	added := int64(0)
	write := func(tx *sqldb.Tx) (err error) {
		added, err = insert(ctx, tx, rows, names, now)
		return err
	}
	err := w.db.Tx(ctx, write)
	if errors.Is(err, errOtherCollector) || errors.Is(err, sqldb.ErrConflict) {
		err = w.db.Tx(ctx, write)
	}
	if err != nil {
		return err
	}
	w.stored += added
	if len(w.seen) > maxSeen {
		clear(w.seen)
	}
	for _, name := range names {
		w.seen[name] = now
	}
	return nil
}

// staleNames are the names of the rows that were not written lately.
func (w *writer) staleNames(rows []row, now time.Time) []nameKey {
	var stale []nameKey
	found := make(map[nameKey]bool)
	for _, r := range rows {
		for _, name := range r.names {
			if !found[name] && now.Sub(w.seen[name]) >= seenInterval {
				found[name] = true
				stale = append(stale, name)
			}
		}
	}
	return stale
}

// purge removes what is too old, and then what is too much.
func (w *writer) purge(ctx context.Context) {
	before := w.now().Add(-w.settings.Retention)
	err := w.remove(ctx, func() ([]traceRow, error) { return selectExpired(ctx, w.db, before) })
	if err == nil {
		err = w.db.Tx(ctx, func(tx *sqldb.Tx) error { return deleteNames(ctx, tx, before) })
	}
	if err != nil && ctx.Err() == nil {
		w.log.WarnContext(ctx, "expired traces not removed", "err", err)
	}
	w.evict(ctx)
}

// evict removes the oldest traces when there are too many spans, and a
// hundredth more, so that it need not run for each batch. It counts first:
// other collectors may share the database.
func (w *writer) evict(ctx context.Context) {
	stored, err := countSpans(ctx, w.db)
	if err == nil {
		w.stored = stored
		limit := int64(w.settings.MaxSpans)
		if stored > limit {
			err = w.remove(ctx, func() ([]traceRow, error) { return w.selectExcess(ctx, w.stored-limit+limit/100) })
		}
	}
	if err != nil && ctx.Err() == nil {
		w.log.WarnContext(ctx, "oldest traces not removed", "err", err)
	}
}

// selectExcess returns the oldest traces that hold so many spans.
func (w *writer) selectExcess(ctx context.Context, excess int64) ([]traceRow, error) {
	if excess <= 0 {
		return nil, nil
	}
	oldest, err := selectOldest(ctx, w.db)
	for i, t := range oldest {
		if excess <= 0 {
			return oldest[:i], err
		}
		excess -= t.spans
	}
	return oldest, err
}

// remove deletes what next returns until that is nothing. Between two chunks
// it writes what has come in.
func (w *writer) remove(ctx context.Context, next func() ([]traceRow, error)) error {
	for ctx.Err() == nil {
		traces, err := next()
		if err != nil || len(traces) == 0 {
			return err
		}
		deleted := int64(0)
		err = w.db.Tx(ctx, func(tx *sqldb.Tx) (err error) {
			deleted, err = deleteTraces(ctx, tx, traces)
			return err
		})
		if err != nil {
			return err
		}
		w.stored -= deleted
		if err := w.writeWaiting(ctx); err != nil {
			return err
		}
	}
	return nil
}

// writeWaiting stores a batch of what came in during other work, without
// starting any such work itself.
func (w *writer) writeWaiting(ctx context.Context) error {
	rows := w.queue.take(batchSize)
	if len(rows) == 0 {
		return nil
	}
	err := w.writeOnce(ctx, rows)
	if err != nil && !w.queue.put(rows) {
		w.counters.spansDropped.Add(float64(len(rows)))
	}
	return err
}

// link counts the links of traces that have become quiet, so that a query for
// dependencies need not read all their spans.
func (w *writer) link(ctx context.Context, quietSince time.Time) {
	for ctx.Err() == nil {
		more, err := w.linkSome(ctx, quietSince)
		if err == nil {
			err = w.writeWaiting(ctx)
		}
		if err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "links not counted", "err", err)
		}
		if err != nil || !more {
			return
		}
	}
}

// sleep reports whether the time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
