package backup

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Monitor tells Prometheus how old the newest backup is, how far its binary logs reach and how restore tests went. Backups
// and restore tests are jobs that nobody can scrape, so it looks at what they leave in the bucket.
type Monitor struct {
	store   *Store
	shipper *Shipper
	now     func() time.Time

	mu     sync.Mutex
	looked bool // the last look succeeded
	count  int
	newest Backup
	logs   bool   // binary logs are there behind the newest
	good   Backup // the newest that a restore test has found good
	tests  tests
}

// tests are those of all backups together.
type tests struct {
	last            Test
	missing, failed int
}

func testsOf(backups []Backup) (all tests) {
	for _, b := range backups {
		switch {
		case b.Test == nil:
			all.missing++
			continue
		case !b.Test.OK:
			all.failed++
		}
		if b.Test.Finished.After(all.last.Finished) {
			all.last = *b.Test
		}
	}
	return all
}

// NewMonitor watches a store, and a shipper unless it is nil.
func NewMonitor(store *Store, shipper *Shipper, now func() time.Time) *Monitor {
	return &Monitor{store: store, shipper: shipper, now: now}
}

// lookEvery is how often the bucket is looked at.
const lookEvery = time.Minute

// Run looks at the bucket until ctx ends.
func (m *Monitor) Run(ctx context.Context) {
	for {
		if err := m.look(ctx); err != nil && ctx.Err() == nil {
			m.store.log.ErrorContext(ctx, "the bucket cannot be looked at", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
	}
}

func (m *Monitor) look(ctx context.Context) (err error) {
	defer func() {
		m.mu.Lock()
		m.looked = err == nil
		m.mu.Unlock()
	}()
	backups, err := m.store.List(ctx)
	if err != nil {
		return err
	}
	var newest Backup
	logs := false
	if len(backups) > 0 {
		newest = backups[0]
	}
	if newest.Position != nil {
		if logs, err = m.followed(ctx, *newest.Position); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count, m.newest, m.logs, m.good, m.tests = len(backups), newest, logs, newestGood(backups), testsOf(backups)
	return nil
}

// followed reports whether a position is in a history. It looks at one log alone: there are too many parts to list them all every minute.
func (m *Monitor) followed(ctx context.Context, p Position) (bool, error) {
	names, err := m.store.bucket.folders(ctx, binlogsFolder)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		parts, err := m.store.bucket.list(ctx, place{history: name, file: p.File, id: p.ID}.folder())
		if err != nil {
			return false, err
		}
		l := shippedLog{}
		for _, part := range parts {
			if g, ok := parseSegment(part.name); ok {
				l.segments = append(l.segments, g)
			}
		}
		if l.join(); l.end >= p.Offset {
			return true, nil
		}
	}
	return false, nil
}

// metric describes one; each is also in docs/operations.md.
func metric(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("backup_"+name, help, nil, nil)
}

// Describe implements [prometheus.Collector].
func (m *Monitor) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, out) }

// Collect implements [prometheus.Collector].
func (m *Monitor) Collect(out chan<- prometheus.Metric) {
	gauge := func(name, help string, value float64) {
		out <- prometheus.MustNewConstMetric(metric(name, help), prometheus.GaugeValue, value)
	}
	counter := func(name, help string, value float64) {
		out <- prometheus.MustNewConstMetric(metric(name, help), prometheus.CounterValue, value)
	}
	m.mu.Lock()
	gauge("bucket_up", "1 when the last look at the bucket succeeded.", one(m.looked))
	gauge("count", "Backups in the bucket.", float64(m.count))
	gauge("last_timestamp_seconds", "When the newest backup was finished.", seconds(m.newest.Finished))
	gauge("last_size_bytes", "Size of the newest backup.", float64(m.newest.Size))
	gauge("last_rows", "Rows in the newest backup.", float64(m.newest.Rows.Total()))
	gauge("point_in_time", "1 when the newest backup has binary logs behind it.", one(m.logs))
	gauge("good_timestamp_seconds", "When the newest backup was finished that a restore test has found good.", seconds(m.good.Finished))
	gauge("restore_test_missing", "Backups in the bucket that were not tested yet.", float64(m.tests.missing))
	gauge("restore_test_failed", "Backups in the bucket that a restore test has found no good.", float64(m.tests.failed))
	gauge("restore_test_timestamp_seconds", "When a backup was last restored to test it.", seconds(m.tests.last.Finished))
	gauge("restore_test_ok", "1 when the last restore test found the backup good.", one(m.tests.last.OK))
	gauge("restore_test_recovered_timestamp_seconds", "Time of the last event that the last restore test brought back.", seconds(m.tests.last.Last))
	gauge("restore_test_duration_seconds", "How long the last restore test took.", m.tests.last.Finished.Sub(m.tests.last.Started).Seconds())
	m.mu.Unlock()
	if p := m.shipper; p != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		gauge("binlog_covered_timestamp_seconds", "Everything that the server had written by then is in the bucket.", seconds(p.covered))
		counter("binlog_segments_total", "Parts of binary logs that were shipped.", float64(p.segments))
		counter("binlog_bytes_total", "Bytes of binary logs that were shipped, compressed.", float64(p.bytes))
		counter("failures_total", "Failures of shipping.", float64(p.failures))
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// lossBound is what a disaster costs at most.
const lossBound = time.Minute

// Handler serves /metrics, /livez and /readyz, which is red while more than a minute's work would be lost.
func (m *Monitor) Handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if m.shipper != nil {
			if age := m.now().Sub(m.shipper.Covered()); age > lossBound {
				http.Error(w, "the binary logs in the bucket are more than a minute old", http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}
