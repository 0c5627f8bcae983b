package zipkin

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/tools/txtar"

	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

var update = flag.Bool("update", false, "rewrite the responses in testdata/exchanges")

// A fixture is a server whose queue is written by the test itself, so that a
// test never waits.
type fixture struct {
	*Server
	metrics *prometheus.Registry
	writer  *writer
}

// testNow is shortly after the spans of testdata.
var testNow = time.UnixMicro(1700000060000000).UTC()

func newFixture(t testing.TB, db *sqldb.DB, change func(*Settings)) *fixture {
	t.Helper()
	settings := DefaultSettings()
	if change != nil {
		change(&settings)
	}
	if err := settings.Validate(); err != nil {
		t.Fatal(err)
	}
	metrics := prometheus.NewRegistry()
	s := New(db, settings, metrics, slog.New(slog.DiscardHandler), func() time.Time { return testNow })
	return &fixture{s, metrics, &writer{Server: s, seen: make(map[nameKey]time.Time)}}
}

func newSQLite(t testing.TB, change func(*Settings)) *fixture {
	t.Helper()
	return newFixture(t, sqldbtest.Open(t, "sqlite", Migrations), change)
}

// eachEngine runs a test on every database there is.
func eachEngine(t *testing.T, test func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	sqldbtest.Each(t, []sqldb.Migrations{Migrations}, test)
}

// flush writes what is queued.
func (f *fixture) flush(t testing.TB) {
	t.Helper()
	for rows := f.queue.take(batchSize); len(rows) > 0; rows = f.queue.take(batchSize) {
		if !f.writer.write(t.Context(), rows) {
			t.Fatal("spans were not written")
		}
	}
}

func (f *fixture) do(t testing.TB, method, target, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	f.flush(t)
	return w
}

func (f *fixture) post(t testing.TB, spans string) {
	t.Helper()
	if w := f.do(t, "POST", "/api/v2/spans", spans); w.Code != http.StatusAccepted {
		t.Fatalf("POST /api/v2/spans %s = %d %s, want 202", spans, w.Code, w.Body)
	}
}

// metric is the value of one of the collector's metrics.
func (f *fixture) metric(t testing.TB, name string) float64 {
	t.Helper()
	families, err := f.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "zipkin_collector_"+name {
			m := family.GetMetric()[0]
			if label := m.GetLabel()[0]; label.GetName() != "transport" || label.GetValue() != "http" {
				t.Errorf("label of %s = %v, want transport http", name, label)
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric zipkin_collector_%s", name)
	return 0
}

// get reads a JSON answer.
func get[T any](t testing.TB, f *fixture, target string) T {
	t.Helper()
	w := f.do(t, "GET", target, "")
	var v T
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s = %d %s, want 200", target, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("GET %s = %s: %v", target, w.Body, err)
	}
	return v
}

// TestExchanges replays recorded exchanges: files of requests and the
// responses they must get, each on a database of its own.
func TestExchanges(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/exchanges/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("Glob = %v, %v, want files", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			eachEngine(t, func(t *testing.T, db *sqldb.DB) {
				replay(t, newFixture(t, db, func(s *Settings) { s.AutocompleteKeys = []string{"env"} }), file)
			})
		})
	}
}

func replay(t *testing.T, f *fixture, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(archive.Files); i += 2 {
		request, response := archive.Files[i], &archive.Files[i+1]
		head, body, _ := strings.Cut(string(request.Data), "\n\n")
		lines := strings.Split(strings.TrimSpace(head), "\n")
		method, target, _ := strings.Cut(lines[0], " ")
		var header []string
		for _, line := range lines[1:] {
			name, value, _ := strings.Cut(line, ": ")
			header = append(header, name, value)
		}
		got := recorded(f.do(t, method, target, strings.TrimSpace(body), header...))
		if !*update {
			if diff := cmp.Diff(string(response.Data), got); diff != "" {
				t.Errorf("%s: %s %s (-want +got):\n%s", request.Name, method, target, diff)
			}
		}
		response.Data = []byte(got)
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// recorded writes a response as the files have it.
func recorded(w *httptest.ResponseRecorder) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", w.Code)
	for _, name := range []string{"Content-Type", "Cache-Control", "Location"} {
		if value := w.Header().Get(name); value != "" {
			fmt.Fprintf(&b, "\n%s: %s", name, value)
		}
	}
	b.WriteString("\n")
	body := w.Body.Bytes()
	var indented bytes.Buffer
	if json.Indent(&indented, body, "", "  ") == nil {
		body = indented.Bytes()
	}
	if len(body) > 0 {
		fmt.Fprintf(&b, "\n%s\n", bytes.TrimSpace(body))
	}
	return b.String()
}

// TestRun checks that spans are found shortly after they were posted, and that
// what waits when the server stops is written.
func TestRun(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db, nil)
		server := httptest.NewServer(f.Server)
		defer server.Close()
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan error, 1)
		go func() { stopped <- f.Run(ctx) }()

		post := func(id string) {
			t.Helper()
			body := fmt.Sprintf(`[{"traceId":%q,"id":"1","timestamp":1700000000000000}]`, id)
			response, err := http.Post(server.URL+"/api/v2/spans", "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close() // empty
			if response.StatusCode != http.StatusAccepted {
				t.Fatalf("POST = %d, want 202", response.StatusCode)
			}
		}
		status := func(id string) int {
			t.Helper()
			response, err := http.Get(server.URL + "/api/v2/trace/" + id)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if _, err := io.Copy(io.Discard, response.Body); err != nil {
				t.Fatal(err)
			}
			return response.StatusCode
		}

		post("a")
		deadline := time.Now().Add(10 * time.Second)
		for status("a") != http.StatusOK {
			if time.Now().After(deadline) {
				t.Fatal("the trace was not found within 10 s")
			}
		}

		for i := range 50 {
			post(fmt.Sprintf("b%d", i))
		}
		stop()
		if err := <-stopped; err != nil {
			t.Fatalf("Run = %v, want nil", err)
		}
		for i := range 50 {
			if got := status(fmt.Sprintf("b%d", i)); got != http.StatusOK {
				t.Errorf("after Run: trace b%d = %d, want 200", i, got)
			}
		}
	})
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	f := newSQLite(t, nil)
	for _, test := range []struct {
		name, method, target string
		header               []string
		status               int
		want                 map[string]string
	}{
		{"trace method", "TRACE", "/api/v2/services", nil, 405, nil},
		{"wrong method", "DELETE", "/api/v2/spans", nil, 405, nil},
		{"unknown path", "GET", "/api/v3/spans", nil, 404, nil},
		{"root", "GET", "/", nil, 302, map[string]string{"Location": "/zipkin/"}},
		{"no slash", "GET", "/zipkin", nil, 302, map[string]string{"Location": "/zipkin/"}},
		{"favicon", "GET", "/favicon.ico", nil, 302, map[string]string{"Location": "/zipkin/favicon.ico"}},
		{"page", "GET", "/zipkin/", nil, 200, map[string]string{"Cache-Control": "max-age=60"}},
		{"page of a trace", "GET", "/zipkin/traces/1", nil, 200, map[string]string{"Content-Type": "text/html; charset=utf-8"}},
		{"origin", "GET", "/api/v2/services", []string{"Origin", "http://a"}, 200, map[string]string{"Access-Control-Allow-Origin": "*"}},
		{"preflight", "OPTIONS", "/api/v2/spans", []string{"Origin", "http://a", "Access-Control-Request-Method", "POST"}, 200,
			map[string]string{"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET,POST", "Access-Control-Allow-Headers": "content-type"}},
		{"static", "GET", "/zipkin/static/" + f.page.version + "/page.js", []string{"Accept-Encoding", "gzip"}, 200,
			map[string]string{"Cache-Control": "max-age=31536000, immutable", "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}},
		{"static of another version", "GET", "/zipkin/static/0/page.js", nil, 404, nil},
		{"page's own API", "GET", "/zipkin/api/v2/services", nil, 200, map[string]string{"Content-Type": "application/json"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := f.do(t, test.method, test.target, "", test.header...)
			if w.Code != test.status {
				t.Errorf("%s %s = %d, want %d", test.method, test.target, w.Code, test.status)
			}
			for name, want := range test.want {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s %s: %s = %q, want %q", test.method, test.target, name, got, want)
				}
			}
		})
	}
}

func TestAllowedOrigins(t *testing.T) {
	t.Parallel()
	f := newSQLite(t, func(s *Settings) { s.AllowedOrigins = []string{"https://shop"} })
	for origin, want := range map[string]string{"https://shop": "https://shop", "https://other": ""} {
		w := f.do(t, "GET", "/api/v2/services", "", "Origin", origin)
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("allowed origin for %s = %q, want %q", origin, got, want)
		}
	}
}

func TestGzipAnswer(t *testing.T) {
	t.Parallel()
	f := newSQLite(t, nil)
	f.post(t, `[{"traceId":"1","id":"1","tags":{"long":"`+strings.Repeat("x", gzipFrom)+`"}},{"traceId":"2","id":"1"}]`)
	for _, test := range []struct{ id, accept, want string }{
		{"1", "deflate, gzip", "gzip"},
		{"1", "gzip;q=0", ""},
		{"1", "", ""},
		{"2", "gzip", ""}, // too small
	} {
		w := f.do(t, "GET", "/api/v2/trace/"+test.id, "", "Accept-Encoding", test.accept)
		if got := w.Header().Get("Content-Encoding"); got != test.want {
			t.Errorf("coding of trace %s for %q = %q, want %q", test.id, test.accept, got, test.want)
		}
	}
}

func TestHealthDown(t *testing.T) {
	t.Parallel()
	db, err := sqldb.Open(t.Context(), sqldbtest.Config(t, "sqlite"), Migrations)
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, db, nil)
	if w := f.do(t, "GET", "/health", ""); w.Code != http.StatusOK {
		t.Errorf("GET /health = %d %s, want 200", w.Code, w.Body)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/health", "/actuator/health"} {
		if w := f.do(t, "GET", path, ""); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "DOWN") {
			t.Errorf("GET %s = %d %s, want 503 DOWN", path, w.Code, w.Body)
		}
	}
}

// TestNamesCache checks the number of services from which names are cached.
func TestNamesCache(t *testing.T) {
	t.Parallel()
	f := newSQLite(t, nil)
	for i, want := range []string{"", "", "", "", "max-age=300, must-revalidate"} {
		for _, path := range []string{"services", "spans?serviceName=s1", "remoteServices?serviceName=s1"} {
			if got := f.do(t, "GET", "/api/v2/"+path, "").Header().Get("Cache-Control"); got != want {
				t.Errorf("%s with %d services: Cache-Control = %q, want %q", path, i, got, want)
			}
		}
		f.post(t, fmt.Sprintf(`[{"traceId":"1","id":"1","localEndpoint":{"serviceName":"s%d"}}]`, i))
	}
}

func TestSearchDisabled(t *testing.T) {
	t.Parallel()
	f := newSQLite(t, func(s *Settings) { s.SearchEnabled, s.AutocompleteKeys = false, []string{"env"} })
	f.post(t, `[{"traceId":"1","id":"1","name":"a","timestamp":1700000000000000,"localEndpoint":{"serviceName":"s"},"tags":{"env":"x"}}]`)
	for _, path := range []string{"services", "spans?serviceName=s", "remoteServices?serviceName=s", "traces", "autocompleteKeys", "autocompleteValues?key=env"} {
		if got := get[[]any](t, f, "/api/v2/"+path); len(got) != 0 {
			t.Errorf("GET %s = %v, want nothing", path, got)
		}
	}
	if got := get[[]Span](t, f, "/api/v2/trace/1"); len(got) != 1 {
		t.Errorf("GET trace = %v, want 1 span", got)
	}
}

func TestSettingsValidate(t *testing.T) {
	t.Parallel()
	settings := Settings{SampleRate: 2}
	err := settings.Validate()
	if err == nil {
		t.Fatal("Validate = nil, want errors")
	}
	for _, want := range []string{"retention", "max-spans", "sample-rate", "query-limit", "query-lookback", "default-lookback"} {
		if !strings.Contains(err.Error(), "tienda.zipkin."+want) {
			t.Errorf("Validate = %v, want %s named", err, want)
		}
	}
}
