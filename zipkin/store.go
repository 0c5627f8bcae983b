package zipkin

import (
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tienda/sqldb"
)

//go:embed migrations
var migrationFiles embed.FS

// Migrations is the schema of the collector's database.
var Migrations = sqldb.Migrations{Name: "zipkin", Files: migrationFiles}

// A row is a span ready to be written: what SQL must see of it, and its JSON.
type row struct {
	traceID, hash                string
	service, remoteService, name string
	timestamp, duration          int64
	root                         bool
	names                        []nameKey
	body                         []byte
}

// A nameKey is one row of the names table.
type nameKey struct{ kind, scope, name string }

// The kinds of names, each with what its scope is.
const (
	nameService = "service" // scope is empty
	nameSpan    = "span"    // scope is a service
	nameRemote  = "remote"  // scope is a service
	nameTag     = "tag"     // scope is a key
)

// maxSpan bounds the JSON of one span.
const maxSpan = 1 << 20

// newRow encodes a span for the store. Its names include the values of the
// tags that the search form completes.
func newRow(s *Span, autocompleteKeys []string) (row, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return row{}, fmt.Errorf("encode span %s: %w", s.ID, err)
	}
	if len(body) > maxSpan {
		return row{}, badRequest("span %s exceeds %d MiB", s.ID, maxSpan>>20)
	}
	sum := sha256.Sum256(body)
	r := row{
		traceID:       s.TraceID,
		hash:          hex.EncodeToString(sum[:16]),
		service:       column(s.service()),
		remoteService: column(s.remoteService()),
		name:          column(s.Name),
		timestamp:     s.Timestamp,
		duration:      s.Duration,
		root:          s.ParentID == "",
		body:          body,
	}
	if r.service != "" {
		r.names = append(r.names, nameKey{nameService, "", r.service})
		if r.name != "" {
			r.names = append(r.names, nameKey{nameSpan, r.service, r.name})
		}
		if r.remoteService != "" {
			r.names = append(r.names, nameKey{nameRemote, r.service, r.remoteService})
		}
	}
	for _, key := range autocompleteKeys {
		if value := s.Tags[key]; value != "" {
			r.names = append(r.names, nameKey{nameTag, column(key), column(value)})
		}
	}
	return r, nil
}

// column cuts a text to what its column holds. Longer ones are still found:
// searches cut the same way and look at the whole span afterwards.
func column(text string) string {
	const most = 255
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= most {
		return text
	}
	runes := []rune(text)
	return string(runes[:min(len(runes), most)])
}

// chunkSize is how many of the rows go into one INSERT: databases limit the
// size of a statement and the number of its placeholders.
func chunkSize(rows []row) int {
	const mostRows, mostBytes = 50, 1 << 20
	n, bytes := 0, 0
	for n < min(len(rows), mostRows) && (n == 0 || bytes+len(rows[n].body) <= mostBytes) {
		bytes += len(rows[n].body)
		n++
	}
	return n
}

const (
	insertSpans = "INSERT INTO spans (trace_low, hash, trace_id, service, remote_service, name, duration, body) VALUES "
	insertRow   = "(?,?,?,?,?,?,?,?)"
)

// insert writes rows, the traces they belong to and the names they carry, and
// returns how many rows were new.
func insert(ctx context.Context, tx *sqldb.Tx, rows []row, names []nameKey, now time.Time) (int64, error) {
	traces := make(map[string]*traceDelta)
	added := int64(0)
	for len(rows) > 0 {
		n := chunkSize(rows)
		fresh, err := insertChunk(ctx, tx, rows[:n])
		if err != nil {
			return 0, err
		}
		rows = rows[n:]
		added += int64(len(fresh))
		for _, r := range fresh {
			delta := traces[r.traceID]
			if delta == nil {
				delta = &traceDelta{}
				traces[r.traceID] = delta
			}
			delta.add(r)
		}
	}
	ids := slices.Sorted(maps.Keys(traces)) // in the order of compareTraces
	known, err := knownTraces(ctx, tx, ids)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if err := traces[id].write(ctx, tx, id, known[id], now); err != nil {
			return 0, err
		}
	}
	for _, name := range names {
		if err := insertName(ctx, tx, name, now); err != nil {
			return 0, err
		}
	}
	return added, nil
}

// insertChunk returns the rows that were not there before. Repeated spans
// are rare, so all are tried at once and one by one only after a conflict.
func insertChunk(ctx context.Context, tx *sqldb.Tx, rows []row) ([]row, error) {
	var args []any
	for _, r := range rows {
		args = append(args, lowID(r.traceID), r.hash, r.traceID, r.service, r.remoteService, r.name, r.duration, string(r.body))
	}
	statement := insertSpans + strings.TrimSuffix(strings.Repeat(insertRow+",", len(rows)), ",")
	switch _, err := tx.Exec(ctx, statement, args...); {
	case err == nil:
		return rows, nil
	case !errors.Is(err, sqldb.ErrConflict):
		return nil, fmt.Errorf("insert %d spans: %w", len(rows), err)
	case len(rows) == 1:
		return nil, nil
	}
	var fresh []row
	for i := range rows {
		one, err := insertChunk(ctx, tx, rows[i:i+1])
		if err != nil {
			return nil, err
		}
		fresh = append(fresh, one...)
	}
	return fresh, nil
}

// A traceDelta is what new spans change about their trace.
type traceDelta struct {
	ts, spans int64
	rooted    int
}

func (d *traceDelta) add(r row) {
	d.spans++
	if r.timestamp == 0 {
		return
	}
	rooted := 0
	if r.root {
		rooted = 1
	}
	if d.ts == 0 || rooted > d.rooted || (rooted == d.rooted && r.timestamp < d.ts) {
		d.ts, d.rooted = r.timestamp, rooted
	}
}

// errOtherCollector is the error of a transaction that another collector's came in between of: it made one of
// the traces, or removed it. Run again it finds them as they are.
var errOtherCollector = errors.New("another collector wrote to the same traces")

// knownTraces are those of some traces that are in the table.
func knownTraces(ctx context.Context, tx *sqldb.Tx, ids []string) (map[string]bool, error) {
	known := map[string]bool{}
	for some := range slices.Chunk(ids, mostTraces) {
		found, err := sqldb.All(ctx, tx, func(scan func(...any) error) (id string, err error) { return id, scan(&id) },
			"SELECT trace_id FROM traces WHERE trace_id IN ("+sqldb.In(len(some))+")", sqldb.Args(some)...)
		if err != nil {
			return nil, fmt.Errorf("look for %d traces: %w", len(some), err)
		}
		for _, id := range found {
			known[id] = true
		}
	}
	return known, nil
}

// mostTraces bounds the placeholders of one statement.
const mostTraces = 250

// write leaves the statements for the commit; what is wrong with them is errOtherCollector or [sqldb.ErrConflict].
func (d *traceDelta) write(ctx context.Context, tx *sqldb.Tx, id string, known bool, now time.Time) error {
	if !known {
		const create = "INSERT INTO traces (trace_id, trace_low, ts, rooted, span_count, `stored`, linked) VALUES (?,?,?,?,?,?,0)"
		if err := tx.Later(ctx, create, id, lowID(id), d.ts, d.rooted, d.spans, now.UnixMicro()); err != nil {
			return fmt.Errorf("write trace %s: %w", id, err)
		}
		return nil
	}
	// MySQL assigns from left to right and SQLite at once: ts comes before
	// rooted because it looks at it.
	const update = `UPDATE traces SET
		ts = CASE WHEN ? = 0 THEN ts WHEN ts = 0 OR ? > rooted OR (? = rooted AND ? < ts) THEN ? ELSE ts END,
		rooted = CASE WHEN ? > rooted THEN ? ELSE rooted END,
		span_count = span_count + ?, ` + "`stored`" + ` = ?, linked = 0 WHERE trace_id = ?`
	err := tx.LaterOne(ctx, errOtherCollector, update, d.ts, d.rooted, d.rooted, d.ts, d.ts, d.rooted, d.rooted, d.spans, now.UnixMicro(), id)
	if err != nil {
		return fmt.Errorf("write trace %s: %w", id, err)
	}
	return deleteLinks(ctx, tx, lowID(id))
}

func insertName(ctx context.Context, tx *sqldb.Tx, n nameKey, now time.Time) error {
	found, err := tx.Exec(ctx, "UPDATE names SET seen = ? WHERE kind = ? AND scope = ? AND name = ?",
		now.UnixMicro(), n.kind, n.scope, n.name)
	if err == nil && found == 0 {
		_, err = tx.Exec(ctx, "INSERT INTO names (kind, scope, name, seen) VALUES (?,?,?,?)",
			n.kind, n.scope, n.name, now.UnixMicro())
		if errors.Is(err, sqldb.ErrConflict) { // another collector was first
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("write %s name: %w", n.kind, err)
	}
	return nil
}

// selectNames lists the names of one kind and scope, sorted.
func selectNames(ctx context.Context, db *sqldb.DB, kind, scope string) ([]string, error) {
	names, err := sqldb.All(ctx, db, func(scan func(...any) error) (name string, err error) {
		return name, scan(&name)
	}, "SELECT name FROM names WHERE kind = ? AND scope = ?", kind, column(scope))
	if err != nil {
		return nil, fmt.Errorf("select %s names: %w", kind, err)
	}
	slices.Sort(names)
	return names, nil
}

// A storedSpan is a span as it lies in the table.
type storedSpan struct {
	traceID string
	body    []byte
}

func scanSpan(scan func(...any) error) (s storedSpan, err error) {
	return s, scan(&s.traceID, &s.body)
}

// selectSpans reads every span whose trace id ends in one of the low halves,
// those of one trace together.
func selectSpans(ctx context.Context, db *sqldb.DB, lows []string) ([]storedSpan, error) {
	spans, err := sqldb.All(ctx, db, scanSpan,
		"SELECT trace_id, body FROM spans WHERE trace_low IN ("+sqldb.In(len(lows))+") ORDER BY trace_low, hash", sqldb.Args(lows)...)
	if err != nil {
		return nil, fmt.Errorf("select spans of %d traces: %w", len(lows), err)
	}
	return spans, nil
}

// decode reads what newRow wrote.
func decode(stored []storedSpan) ([]*Span, error) {
	spans := make([]*Span, len(stored))
	for i, s := range stored {
		spans[i] = new(Span)
		if err := json.Unmarshal(s.body, spans[i]); err != nil {
			return nil, fmt.Errorf("decode a stored span of trace %s: %w", s.traceID, err)
		}
	}
	return spans, nil
}

// A traceRow is a trace as search sees it.
type traceRow struct {
	id, low   string
	ts, spans int64
}

// compareTraces is the order in which rows are written: a fixed one keeps
// collectors that share a database from deadlocks.
func compareTraces(a, b traceRow) int { return cmp.Compare(a.id, b.id) }

func scanTrace(scan func(...any) error) (t traceRow, err error) {
	return t, scan(&t.id, &t.low, &t.ts, &t.spans)
}

const traceColumns = "t.trace_id, t.trace_low, t.ts, t.span_count"

// selectCandidates returns up to limit traces that may match the query, the
// newest first, beginning behind the trace given. It narrows as far as columns
// go; the caller looks at the spans. Halves of one trace that were reported
// with ids of different lengths count together here.
func selectCandidates(ctx context.Context, db *sqldb.DB, q *query, behind *traceRow, limit int) ([]traceRow, error) {
	var where strings.Builder
	args := []any{q.from(), q.to()}
	where.WriteString("t.ts BETWEEN ? AND ? AND t.ts > 0")
	if behind != nil {
		where.WriteString(" AND t.ts <= ? AND (t.ts < ? OR t.trace_id > ?)")
		args = append(args, behind.ts, behind.ts, behind.id)
	}
	// condition asks for a span of the service for which the test holds.
	condition := func(test string, values ...any) {
		where.WriteString(" AND EXISTS (SELECT 1 FROM spans s WHERE s.trace_low = t.trace_low")
		if q.service != "" {
			where.WriteString(" AND s.service = ?")
			args = append(args, column(q.service))
		}
		where.WriteString(test + ")")
		args = append(args, values...)
	}
	if q.service != "" {
		condition("")
	}
	if q.remoteService != "" {
		condition(" AND s.remote_service = ?", column(q.remoteService))
	}
	if q.spanName != "" {
		condition(" AND s.name = ?", column(q.spanName))
	}
	if q.maxDuration > 0 {
		condition(" AND s.duration BETWEEN ? AND ?", q.minDuration, q.maxDuration)
	} else if q.minDuration > 0 {
		condition(" AND s.duration >= ?", q.minDuration)
	}
	for _, pattern := range q.patterns() {
		condition(" AND s.body LIKE ? ESCAPE '!'", pattern)
	}
	traces, err := sqldb.All(ctx, db, scanTrace, "SELECT "+traceColumns+" FROM traces t WHERE "+where.String()+
		" ORDER BY t.ts DESC, t.trace_id LIMIT ?", append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("select traces: %w", err)
	}
	return traces, nil
}

func countSpans(ctx context.Context, db *sqldb.DB) (int64, error) {
	var n int64
	if err := db.QueryRow(ctx, "SELECT COALESCE(SUM(span_count), 0) FROM traces").Scan(&n); err != nil {
		return 0, fmt.Errorf("count spans: %w", err)
	}
	return n, nil
}

// purgeChunk bounds the traces that one transaction deletes, so that writing
// never waits long for purging.
const purgeChunk = 100

// selectExpired returns traces that no span has come for since the given time.
func selectExpired(ctx context.Context, db *sqldb.DB, before time.Time) ([]traceRow, error) {
	return selectPurge(ctx, db, "SELECT "+traceColumns+" FROM traces t WHERE t.`stored` < ? ORDER BY t.`stored` LIMIT ?", before.UnixMicro())
}

// selectOldest returns the traces that go first when there are too many spans.
func selectOldest(ctx context.Context, db *sqldb.DB) ([]traceRow, error) {
	return selectPurge(ctx, db, "SELECT "+traceColumns+" FROM traces t ORDER BY t.ts, t.trace_id LIMIT ?")
}

func selectPurge(ctx context.Context, db *sqldb.DB, statement string, args ...any) ([]traceRow, error) {
	traces, err := sqldb.All(ctx, db, scanTrace, statement, append(args, purgeChunk)...)
	if err != nil {
		return nil, fmt.Errorf("select traces to purge: %w", err)
	}
	return traces, nil
}

// deleteTraces returns how many spans went with the traces.
func deleteTraces(ctx context.Context, tx *sqldb.Tx, traces []traceRow) (int64, error) {
	slices.SortFunc(traces, compareTraces)
	deleted := int64(0)
	for _, t := range traces {
		n, err := tx.Exec(ctx, "DELETE FROM spans WHERE trace_low = ? AND trace_id = ?", t.low, t.id)
		if err == nil {
			_, err = tx.Exec(ctx, "DELETE FROM traces WHERE trace_id = ?", t.id)
		}
		if err == nil {
			err = deleteLinks(ctx, tx, t.low)
		}
		if err != nil {
			return 0, fmt.Errorf("delete trace %s: %w", t.id, err)
		}
		deleted += n
	}
	return deleted, nil
}

func deleteNames(ctx context.Context, tx *sqldb.Tx, before time.Time) error {
	if _, err := tx.Exec(ctx, "DELETE FROM names WHERE seen < ?", before.UnixMicro()); err != nil {
		return fmt.Errorf("delete names: %w", err)
	}
	return nil
}
