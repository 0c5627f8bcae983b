package zipkin

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/sqldb"
)

// traceIDs are the low digits of the traces that a search finds, in order.
func traceIDs(t *testing.T, f *fixture, values url.Values) []string {
	t.Helper()
	ids := []string{}
	for _, spans := range get[[][]Span](t, f, "/api/v2/traces?"+values.Encode()) {
		ids = append(ids, strings.TrimLeft(spans[0].TraceID, "0"))
	}
	return ids
}

// searchSpans are traces 1 to 6, a second apart, 6 being the last.
const searchSpans = `[
{"traceId":"1","id":"1","name":"Get /Orders","timestamp":1700000000000000,"duration":100,"localEndpoint":{"serviceName":"Order"},"remoteEndpoint":{"serviceName":"db"},
 "tags":{"http.method":"GET","empty":"","equation":"a=b","100%":"x_y!"},"annotations":[{"timestamp":1700000000000001,"value":"cache miss"}]},
{"traceId":"1","id":"2","parentId":"1","timestamp":1700000000000005,"duration":50,"localEndpoint":{"serviceName":"order"},"tags":{"error":"boom"}},
{"traceId":"1","id":"3","parentId":"1","timestamp":1700000000000005,"duration":10,"localEndpoint":{"serviceName":"payment"},"tags":{"card":"visa"}},
{"traceId":"2","id":"1","name":"get /orders","timestamp":1700000001000000,"duration":200,"localEndpoint":{"serviceName":"order"},"tags":{"http.method":"get"}},
{"traceId":"3","id":"1","name":"pay","timestamp":1700000002000000,"duration":300,"localEndpoint":{"serviceName":"payment"}},
{"traceId":"4","id":"2","parentId":"1","timestamp":1700000003500000,"localEndpoint":{"serviceName":"order"}},
{"traceId":"4","id":"3","parentId":"1","timestamp":1700000003000000,"localEndpoint":{"serviceName":"order"}},
{"traceId":"5","id":"1","timestamp":1700000004000000,"localEndpoint":{"serviceName":"late"}},
{"traceId":"5","id":"2","parentId":"1","timestamp":1600000000000000,"localEndpoint":{"serviceName":"late"}},
{"traceId":"6","id":"1","localEndpoint":{"serviceName":"timeless"},"tags":{"http.method":"GET"}}]`

func TestSearch(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db, nil)
		f.post(t, searchSpans)
		for _, test := range []struct {
			query string // name=value pairs, joined by "; "
			want  string
		}{
			{"", "5 4 3 2 1"},
			{"limit=2", "5 4"},
			{"serviceName=ORDER", "4 2 1"},
			{"serviceName=; spanName=", "5 4 3 2 1"},
			{"serviceName=timeless", ""},
			{"serviceName=unknown", ""},
			{"serviceName=db", ""}, // that is a remote service
			{"remoteServiceName=DB", "1"},
			{"remoteServiceName=db; serviceName=payment", ""},
			{"spanName=GET /orders", "2 1"},
			{"spanName=all", "5 4 3 2 1"},
			{"spanName=pay; serviceName=order", ""},
			{"annotationQuery=http.method=GET", "1"},
			{"annotationQuery=http.method", "2 1"},
			{"annotationQuery=http.method=", "2 1"},
			{"annotationQuery= http.method = GET ", "1"},
			{"annotationQuery=empty", "1"},
			{"annotationQuery=empty=x", ""},
			{"annotationQuery=equation=a=b", "1"},
			{"annotationQuery=100%=x_y!", "1"},
			{"annotationQuery=100%=xzy!", ""},
			{"annotationQuery=cache miss", "1"},
			{"annotationQuery=cache", ""},
			{"annotationQuery=GET", ""},                                   // a value of a tag is neither its key nor an annotation
			{"annotationQuery=http.method=GET and error", "1"},            // met by different spans
			{"annotationQuery=http.method=GET and card=visa", "1"},        // of different services
			{"annotationQuery=http.method=POST and http.method=GET", "1"}, // the later term wins
			{"annotationQuery=http.method=GET and card=visa; serviceName=order", ""},
			{"annotationQuery=card; serviceName=payment", "1"},
			{"minDuration=200", "3 2"},
			{"minDuration=200; maxDuration=200", "2"},
			{"minDuration=50; maxDuration=100", "1"},
			{"minDuration=100; serviceName=payment", "3"},
			{"endTs=1700000002000", "3 2 1"},
			{"endTs=1700000002000; lookback=1000", "3 2"},
			{"endTs=1700000003000; lookback=1", "4"},   // the earliest time holds without a root
			{"endTs=1600000000000; lookback=1000", ""}, // the root's time holds
			{"endTs=9223372036854775807; lookback=9223372036854775807", "5 4 3 2 1"},
		} {
			values := url.Values{}
			for pair := range strings.SplitSeq(test.query, "; ") {
				name, value, _ := strings.Cut(pair, "=")
				values.Set(name, value)
			}
			if diff := cmp.Diff(strings.Fields(test.want), traceIDs(t, f, values)); diff != "" {
				t.Errorf("search %s (-want +got):\n%s", test.query, diff)
			}
		}
		if got := get[[]Span](t, f, "/api/v2/trace/6"); len(got) != 1 {
			t.Errorf("trace without time = %v, want 1 span", got)
		}
		many := "/api/v2/traces?annotationQuery=" + url.QueryEscape(strings.Repeat("a and ", maxTerms)+"a")
		if w := f.do(t, "GET", many, ""); w.Code != 400 {
			t.Errorf("search for %d terms = %d, want 400", maxTerms+1, w.Code)
		}
	})
}

// TestSearchPages looks for few traces among many candidates that only their
// spans rule out, and through many of the same time.
func TestSearchPages(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db, nil)
		var spans []string
		for i := range 60 {
			method := "get" // SQLite's LIKE takes it for GET
			if i%20 == 0 {
				method = "GET"
			}
			spans = append(spans, fmt.Sprintf(`{"traceId":"%x","id":"1","timestamp":1700000000000000,"tags":{"m":%q}}`, i+1, method))
		}
		f.post(t, "["+strings.Join(spans, ",")+"]")
		if got := traceIDs(t, f, url.Values{"annotationQuery": {"m=GET"}}); !slices.Equal(got, []string{"1", "15", "29"}) {
			t.Errorf("search m=GET = %v, want 1, 15 and 29", got)
		}
		if got := traceIDs(t, f, url.Values{"limit": {"1000"}}); len(got) != 60 {
			t.Errorf("search found %d traces, want 60", len(got))
		}
	})
}

func TestTraceIDStrictness(t *testing.T) {
	t.Parallel()
	const spans = `[
		{"traceId":"00000000000000aa00000000000000a1","id":"1","kind":"CLIENT","timestamp":1700000000000000,"localEndpoint":{"serviceName":"web"}},
		{"traceId":"00000000000000a1","id":"1","kind":"SERVER","shared":true,"timestamp":1700000000000001,"localEndpoint":{"serviceName":"app"},"tags":{"x":""}}]`
	for _, test := range []struct {
		strict                  bool
		traces, byLong, byShort int
		query                   string
		found                   int
	}{
		{true, 2, 1, 1, "serviceName=web&annotationQuery=", 1},
		{false, 1, 2, 2, "serviceName=web&annotationQuery=", 1},
		{true, 0, 0, 0, "remoteServiceName=none", 0},
	} {
		t.Run(fmt.Sprintf("strict %v %s", test.strict, test.query), func(t *testing.T) {
			t.Parallel()
			eachEngine(t, func(t *testing.T, db *sqldb.DB) {
				f := newFixture(t, db, func(s *Settings) { s.StrictTraceID = test.strict })
				f.post(t, spans)
				if got := len(get[[][]Span](t, f, "/api/v2/traces?"+test.query)); got != test.found {
					t.Errorf("traces?%s finds %d, want %d", test.query, got, test.found)
				}
				if test.traces == 0 {
					return
				}
				if got := len(get[[][]Span](t, f, "/api/v2/traces")); got != test.traces {
					t.Errorf("traces finds %d, want %d", got, test.traces)
				}
				if got := len(get[[]Span](t, f, "/api/v2/trace/00000000000000aa00000000000000a1")); got != test.byLong {
					t.Errorf("trace by 128 bits has %d spans, want %d", got, test.byLong)
				}
				if got := len(get[[]Span](t, f, "/api/v2/trace/a1")); got != test.byShort {
					t.Errorf("trace by 64 bits has %d spans, want %d", got, test.byShort)
				}
				want := []Link{{Parent: "web", Child: "app", CallCount: 1}} // links always join both
				if diff := cmp.Diff(want, get[[]Link](t, f, "/api/v2/dependencies?endTs=1700000060000")); diff != "" {
					t.Errorf("dependencies (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestDuplicates repeats a message with both halves of a call.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db, nil)
		const call = `{"traceId":"1","id":"1","kind":"CLIENT","timestamp":2},{"traceId":"1","id":"1","kind":"SERVER","shared":true,"timestamp":3}`
		f.post(t, "["+call+","+call+"]")
		f.post(t, "["+call+"]")
		if got := get[[]Span](t, f, "/api/v2/trace/1"); len(got) != 2 {
			t.Errorf("trace = %v, want 2 spans", got)
		}
		if n, err := countSpans(t.Context(), db); n != 2 || err != nil {
			t.Errorf("countSpans = %d, %v, want 2", n, err)
		}
		f.post(t, `[{"traceId":"1","id":"1","kind":"CLIENT","duration":4}]`) // a late piece
		if got := get[[]Span](t, f, "/api/v2/trace/1"); len(got) != 3 {
			t.Errorf("trace = %v, want 3 spans", got)
		}
	})
}

func TestEviction(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db, func(s *Settings) { s.MaxSpans = 5 })
		for _, i := range []int{3, 1, 4, 2} { // the order of arrival does not matter
			f.post(t, fmt.Sprintf(`[{"traceId":"%d","id":"1","timestamp":%d},{"traceId":"%d","id":"2","parentId":"1"}]`, i, 1700000000000000+i, i))
		}
		if diff := cmp.Diff([]string{"4", "3"}, traceIDs(t, f, nil)); diff != "" {
			t.Errorf("traces left (-want +got):\n%s", diff)
		}
		if f.writer.stored != 4 {
			t.Errorf("stored = %d, want 4", f.writer.stored)
		}
	})
}

func TestRetention(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db, func(s *Settings) { s.Retention = time.Hour })
		now := testNow
		f.now = func() time.Time { return now }
		f.post(t, `[{"traceId":"1","id":"1","name":"old","timestamp":1700000000000000,"localEndpoint":{"serviceName":"old"}}]`)
		now = now.Add(40 * time.Minute)
		f.post(t, `[{"traceId":"2","id":"1","name":"new","timestamp":1,"localEndpoint":{"serviceName":"new"}}]`)
		now = now.Add(40 * time.Minute)
		f.writer.purge(t.Context())
		if w := f.do(t, "GET", "/api/v2/trace/1", ""); w.Code != 404 {
			t.Errorf("old trace = %d, want 404", w.Code)
		}
		if w := f.do(t, "GET", "/api/v2/trace/2", ""); w.Code != 200 {
			t.Errorf("new trace = %d, want 200", w.Code)
		}
		if diff := cmp.Diff([]string{"new"}, get[[]string](t, f, "/api/v2/services")); diff != "" {
			t.Errorf("services (-want +got):\n%s", diff)
		}
	})
}

// TestTwoCollectors lets two servers write parts of the same traces at once.
func TestTwoCollectors(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		const traces = 40
		done := make(chan error)
		for c := range 2 {
			f := newFixture(t, db, nil)
			go func() {
				for i := range traces {
					spans, err := DecodeJSON(fmt.Appendf(nil, `[{"traceId":"%x","id":"%d","timestamp":%d,"localEndpoint":{"serviceName":"s%d"}},{"traceId":"ff","id":"1"}]`, i+1, c+1, 1700000000000000+c, i))
					if err == nil {
						err = f.accept(spans)
					}
					if err == nil && !f.writer.write(t.Context(), f.queue.take(batchSize)) {
						err = fmt.Errorf("collector %d: trace %d was not written", c, i)
					}
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		f := newFixture(t, db, nil)
		found := get[[][]Span](t, f, "/api/v2/traces?limit=100")
		if len(found) != traces {
			t.Errorf("found %d traces, want %d", len(found), traces)
		}
		for _, spans := range found {
			if len(spans) != 2 {
				t.Errorf("trace %s has %d spans, want 2", spans[0].TraceID, len(spans))
			}
		}
		if n, err := countSpans(t.Context(), db); n != 2*traces+1 || err != nil {
			t.Errorf("countSpans = %d, %v, want %d", n, err, 2*traces+1)
		}
	})
}

// TestHostileText stores what databases and pages stumble over.
func TestHostileText(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db, func(s *Settings) { s.AutocompleteKeys = []string{"k"} })
		long := strings.Repeat("é", 300)
		names := []string{`<script>alert(1)</script>`, `'; drop table spans; --`, "nul\x00 & \U0001f600", long, "blank ", "blank"}
		for i, name := range names {
			span := Span{TraceID: fmt.Sprint(i + 1), ID: "1", Name: name, Timestamp: 1700000000000000,
				LocalEndpoint: &Endpoint{ServiceName: name}, Tags: map[string]string{"k": name}}
			if err := span.normalize(); err != nil {
				t.Fatal(err)
			}
			if err := f.accept([]Span{span}); err != nil {
				t.Fatal(err)
			}
			f.flush(t)
		}
		for i, name := range names {
			want := []string{fmt.Sprint(i + 1)}
			for _, query := range []url.Values{{"serviceName": {name}, "spanName": {name}}, {"annotationQuery": {"k=" + name}}} {
				if strings.HasSuffix(name, "k ") || (name == "blank" && query.Has("annotationQuery")) {
					continue // terms are trimmed, and databases may ignore blanks at the end
				}
				if diff := cmp.Diff(want, traceIDs(t, f, query)); diff != "" {
					t.Errorf("search %v (-want +got):\n%s", query, diff)
				}
			}
		}
	})
}

// TestStoredLinks asks for dependencies before and after links were counted,
// and follows them through a late span and the end of their trace.
func TestStoredLinks(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db, func(s *Settings) { s.Retention = time.Hour })
		now := testNow
		f.now = func() time.Time { return now }
		check := func(when string, want ...Link) {
			t.Helper()
			if diff := cmp.Diff(append([]Link{}, want...), get[[]Link](t, f, "/api/v2/dependencies?endTs=1700000060000")); diff != "" {
				t.Errorf("%s: dependencies (-want +got):\n%s", when, diff)
			}
		}
		link := func() {
			t.Helper()
			f.writer.link(t.Context(), now)
			unlinked, err := selectQuiet(t.Context(), db, now, 10)
			if len(unlinked) != 0 || err != nil {
				t.Errorf("unlinked traces = %v, %v, want none", unlinked, err)
			}
		}
		call := func(trace, id, from, to, tags string) string {
			return fmt.Sprintf(`{"traceId":%q,"id":%q,"parentId":"9","kind":"CLIENT","timestamp":1700000000000000,"localEndpoint":{"serviceName":%q},"remoteEndpoint":{"serviceName":%q},"tags":{%s}}`,
				trace, id, from, to, tags)
		}
		long := strings.Repeat("x", 255)
		f.post(t, "["+call("1", "1", "web", "db", `"error":""`)+","+call("2", "1", "web", "db", "")+"]")
		check("fresh", Link{"web", "db", 2, 1})
		link()
		check("linked", Link{"web", "db", 2, 1})
		f.post(t, `[{"traceId":"1","id":"1","kind":"SERVER","shared":true,"localEndpoint":{"serviceName":"db-1"}}]`)
		check("late span", Link{"web", "db", 1, 0}, Link{"web", "db-1", 1, 0})
		link()
		check("linked again", Link{"web", "db", 1, 0}, Link{"web", "db-1", 1, 0})

		now = now.Add(2 * time.Hour)
		f.writer.purge(t.Context())
		check("purged")
		f.post(t, "["+call("3", "1", long+"1", "db", "")+","+call("3", "2", long+"2", "db", "")+"]")
		link()
		check("long names", Link{long, "db", 2, 0})
	})
}

func TestQueueFull(t *testing.T) {
	t.Parallel()
	f := newSQLite(t, nil)
	body := make([]byte, maxQueue/4)
	for i := range 3 {
		if !f.queue.put([]row{{body: body}}) {
			t.Fatalf("put %d = false, want true", i)
		}
	}
	for range 30 {
		r := f.accept([]Span{{TraceID: "0000000000000001", ID: "1", Tags: map[string]string{"x": strings.Repeat("y", maxSpan/2)}}})
		if r != nil {
			t.Fatal(r)
		}
	}
	if dropped := f.metric(t, "spans_dropped_total"); dropped == 0 || dropped == 30 {
		t.Errorf("spans dropped = %v, want some of 30", dropped)
	}
	f.queue.take(1000)
	if f.queue.size != 0 {
		t.Errorf("size of the empty queue = %d, want 0", f.queue.size)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	f := newSQLite(t, nil)
	for _, test := range []struct {
		name, body string
		header     []string
		want       int
	}{
		{"too many bytes", "[" + strings.Repeat(" ", maxMessage), nil, 413},
		{"a bomb", string(compress(make([]byte, maxMessage+1))), []string{"Content-Encoding", "gzip"}, 413},
		{"a span too large", `[{"traceId":"1","id":"1","tags":{"a":"` + strings.Repeat("x", maxSpan) + `"}}]`, nil, 400},
		{"compressed", string(compress([]byte(`[{"traceId":"2","id":"1"}]`))), []string{"Content-Encoding", "gzip"}, 202},
	} {
		if w := f.do(t, "POST", "/api/v2/spans", test.body, test.header...); w.Code != test.want {
			t.Errorf("%s: POST = %d %s, want %d", test.name, w.Code, w.Body, test.want)
		}
	}
	if got := get[[]Span](t, f, "/api/v2/trace/2"); len(got) != 1 {
		t.Errorf("compressed span: trace = %v, want 1 span", got)
	}
}

// TestTurns posts messages while as many as may be are being decoded.
func TestTurns(t *testing.T) {
	t.Parallel()
	f := newSQLite(t, nil)
	for range maxDecoding {
		f.decoding <- struct{}{}
	}
	for _, path := range []string{"/api/v2/spans", "/v1/traces", "/zipkin/view/trace"} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		r := httptest.NewRequestWithContext(ctx, "POST", path, strings.NewReader("[]"))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		cancel()
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("POST %s when it is not its turn = %d %s, want 503", path, w.Code, w.Body)
		}
	}
	for range maxDecoding {
		<-f.decoding
	}
	for range 2 * maxDecoding { // every way out gives the turn back
		f.do(t, "POST", "/api/v2/spans", "no spans")
		f.do(t, "POST", "/api/v2/spans", "no gzip", "Content-Encoding", "gzip")
		f.do(t, "POST", "/v1/traces", "no spans", "Content-Type", "application/json")
		f.do(t, "POST", "/zipkin/view/trace", "no spans")
	}
	f.post(t, `[{"traceId":"1","id":"1"}]`)
}

// TestSampled posts the same traces at several rates: a trace is stored whole
// or not at all.
func TestSampled(t *testing.T) {
	t.Parallel()
	const spans = `[{"traceId":"1000000000000000","id":"1"},{"traceId":"1000000000000000","id":"2"},{"traceId":"7000000000000000","id":"1"},
		{"traceId":"7000000000000001","id":"1","debug":true}]`
	for rate, want := range map[float64]int64{0: 1, 0.5: 3, 1: 4} {
		f := newSQLite(t, func(s *Settings) { s.SampleRate = rate })
		f.post(t, spans)
		if n, err := countSpans(t.Context(), f.db); n != want || err != nil {
			t.Errorf("rate %v stored %d spans, %v, want %d", rate, n, err, want)
		}
		if got := f.metric(t, "spans_dropped_total"); got != float64(4-want) {
			t.Errorf("rate %v dropped %v spans, want %d", rate, got, 4-want)
		}
	}
}

// TestDatabaseDown lets the database fail: the batch is tried again, waits for
// the end of the server, and is lost without one.
func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	f := newSQLite(t, nil)
	if err := f.accept([]Span{{TraceID: "0000000000000001", ID: "0000000000000001"}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f.writer.write(ctx, f.queue.take(10)) {
		t.Error("write = true, want false")
	}
	if err := f.writer.drain(ctx); err != nil {
		t.Errorf("drain = %v, want nil", err)
	}
	if got := get[[]Span](t, f, "/api/v2/trace/1"); len(got) != 1 {
		t.Errorf("trace = %v, want 1 span", got)
	}
}

func TestCounters(t *testing.T) {
	t.Parallel()
	f := newSQLite(t, nil)
	f.post(t, `[{"traceId":"1","id":"1"},{"traceId":"1","id":"2"}]`)
	f.do(t, "POST", "/api/v2/spans", "{}")
	for name, want := range map[string]float64{
		"messages_total": 2, "messages_dropped_total": 1, "bytes_total": 53, "spans_total": 2, "spans_dropped_total": 0,
		"message_spans": 2, "message_bytes": 2,
	} {
		if got := f.metric(t, name); got != want {
			t.Errorf("zipkin_collector_%s = %v, want %v", name, got, want)
		}
	}
}
