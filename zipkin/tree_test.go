package zipkin

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parseSpans writes spans short: "id parent kind local remote flags", with "-"
// for what is absent; flags are shared and error.
func parseSpans(t *testing.T, text string) []*Span {
	t.Helper()
	var spans []*Span
	for line := range strings.SplitSeq(text, ";") {
		f := append(strings.Fields(line), "-", "-", "-", "-", "-")
		absent := func(s string) string {
			if s == "-" {
				return ""
			}
			return s
		}
		s := &Span{TraceID: "1", ID: f[0], ParentID: absent(f[1]), Kind: absent(f[2]), Timestamp: int64(len(spans) + 1)}
		if name := absent(f[3]); name != "" {
			s.LocalEndpoint = &Endpoint{ServiceName: name}
		}
		if name := absent(f[4]); name != "" {
			s.RemoteEndpoint = &Endpoint{ServiceName: name}
		}
		s.Shared = strings.Contains(line, " shared")
		if strings.Contains(line, " error") {
			s.Tags = map[string]string{"error": ""}
		}
		if err := s.normalize(); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		spans = append(spans, s)
	}
	return spans
}

func TestLinks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, spans, want string }{
		{"client and shared server", "1 - CLIENT web -; 1 - SERVER app - shared", "web>app 1/0"},
		{"client and server of its own id", "1 - CLIENT web -; 2 1 SERVER app -", "web>app 1/0"},
		{"server that forgot to say shared", "1 - CLIENT web -; 1 - SERVER app -", "web>app 1/0"},
		{"client alone", "1 - CLIENT web db", "web>db 1/0"},
		{"client alone, nobody named", "1 - CLIENT web -", ""},
		{"server alone, caller named", "1 - SERVER app web", "web>app 1/0"},
		{"root server", "1 - SERVER app -", ""},
		{"server below an unnamed client", "1 - CLIENT - -; 2 1 SERVER app -", ""},
		{"messages go by the broker", "1 - PRODUCER web kafka; 2 1 CONSUMER app kafka", "kafka>app 1/0, web>kafka 1/0"},
		{"messages without a broker", "1 - PRODUCER web -; 2 1 CONSUMER app -", ""},
		{"local span between", "1 - SERVER web -; 2 1 - web -; 3 2 CLIENT web db", "web>db 1/0"},
		{"local span between server and client", "1 - CLIENT web -; 2 1 SERVER app -; 3 2 - app -; 4 3 CLIENT app db", "app>db 1/0, web>app 1/0"},
		{"missing server between", "1 - SERVER web -; 2 1 CLIENT app db", "app>db 1/0, web>app 1/0"},
		{"no kind, both named", "1 - - web db", "web>db 1/0"},
		{"no kind, one named", "1 - - web -", ""},
		{"error of the server", "1 - CLIENT web -; 2 1 SERVER app - error", "web>app 1/1"},
		{"error of the client", "1 - CLIENT web - error; 2 1 SERVER app -", "web>app 1/1"},
		{"error of both is one", "1 - CLIENT web - error; 2 1 SERVER app - error", "web>app 1/1"},
		{"error of a client alone", "1 - CLIENT web db error", "web>db 1/1"},
		{"error elsewhere", "1 - SERVER web - error; 2 1 CLIENT web db", "web>db 1/0"},
		{"a service that calls itself", "1 - CLIENT web -; 2 1 SERVER web -", "web>web 1/0"},
		{"without a first span", "2 1 CLIENT web -; 3 2 SERVER app -; 4 1 CLIENT web db", "web>app 1/0, web>db 1/0"},
		{"two servers answer one call", "1 - CLIENT web -; 1 - SERVER app - shared; 1 - SERVER zap - shared", "web>app 1/0, web>zap 1/0"},
		{"child of a shared server", "1 - CLIENT web -; 1 - SERVER app - shared; 2 1 CLIENT app db", "app>db 1/0, web>app 1/0"},
		{"parents in a circle", "1 2 CLIENT web -; 2 1 SERVER app -", "web>app 1/0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := make(linker)
			l.add(parseSpans(t, test.spans))
			var got []string
			for _, link := range l.links() {
				got = append(got, fmt.Sprintf("%s>%s %d/%d", link.Parent, link.Child, link.CallCount, link.ErrorCount))
			}
			if joined := strings.Join(got, ", "); joined != test.want {
				t.Errorf("links(%s) = %s, want %s", test.spans, joined, test.want)
			}
		})
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	const long = "00000000000000020000000000000001"
	reports := []*Span{
		{TraceID: "0000000000000001", ID: "b", Kind: kindServer, Shared: true, LocalEndpoint: &Endpoint{ServiceName: "app"}},
		{TraceID: "0000000000000001", ID: "a", Duration: 5, LocalEndpoint: &Endpoint{IPv4: "1.2.3.4"},
			Tags: map[string]string{"x": "1"}, Annotations: []Annotation{{2, "b"}}},
		{TraceID: long, ID: "b", ParentID: "a", Kind: kindClient, LocalEndpoint: &Endpoint{ServiceName: "web"}},
		{TraceID: "0000000000000001", ID: "a", Name: "get", Timestamp: 1, LocalEndpoint: &Endpoint{ServiceName: "web"},
			Tags: map[string]string{"y": "2"}, Annotations: []Annotation{{1, "a"}, {2, "b"}}},
	}
	want := []*Span{
		{TraceID: long, ID: "a", Name: "get", Timestamp: 1, Duration: 5, LocalEndpoint: &Endpoint{ServiceName: "web", IPv4: "1.2.3.4"},
			Tags: map[string]string{"x": "1", "y": "2"}, Annotations: []Annotation{{1, "a"}, {2, "b"}}},
		{TraceID: long, ID: "b", ParentID: "a", Kind: kindClient, LocalEndpoint: &Endpoint{ServiceName: "web"}},
		{TraceID: long, ID: "b", ParentID: "a", Kind: kindServer, Shared: true, LocalEndpoint: &Endpoint{ServiceName: "app"}},
	}
	if diff := cmp.Diff(want, merge(reports)); diff != "" {
		t.Errorf("merge (-want +got):\n%s", diff)
	}
	if reports[1].Name != "" || len(reports[1].Tags) != 1 {
		t.Errorf("merge changed what it was given: %+v", reports[1])
	}
}

// TestLongTrace builds a chain that is deeper than any real one: the time for
// it must grow with its length only.
func TestLongTrace(t *testing.T) {
	t.Parallel()
	const length = 50_000
	spans := make([]*Span, length)
	for i := range spans {
		spans[i] = &Span{TraceID: "0000000000000001", ID: fmt.Sprintf("%016x", length-i)}
		if i > 0 {
			spans[i].ParentID = fmt.Sprintf("%016x", length-i+1)
		}
	}
	if got := newView(spans); len(got.Rows) != length || got.Depth != length {
		t.Errorf("newView has %d rows and depth %d, want %d", len(got.Rows), got.Depth, length)
	}
}

func TestSkew(t *testing.T) {
	t.Parallel()
	web, app := &Endpoint{ServiceName: "web", IPv4: "10.0.0.1"}, &Endpoint{ServiceName: "app", IPv4: "10.0.0.2"}
	for _, test := range []struct {
		name                      string
		client, server            [2]int64 // timestamp, duration
		clientOn, serverOn        *Endpoint
		wantServer, wantBelow     int64 // the span below starts 1 after the server
		clientParent, clientsKind string
	}{
		{"server's clock behind", [2]int64{100, 20}, [2]int64{50, 10}, web, app, 105, 106, "", kindClient},
		{"no skew", [2]int64{100, 20}, [2]int64{105, 10}, web, app, 105, 106, "", kindClient},
		{"one way", [2]int64{100, 0}, [2]int64{50, 10}, web, app, 101, 102, "", kindClient},
		{"server works longer than the client waits", [2]int64{100, 5}, [2]int64{50, 10}, web, app, 101, 102, "", kindClient},
		{"same host", [2]int64{100, 20}, [2]int64{50, 10}, web, web, 50, 51, "", kindClient},
		{"host unknown", [2]int64{100, 20}, [2]int64{50, 10}, web, nil, 50, 51, "", kindClient},
		{"no call", [2]int64{100, 20}, [2]int64{50, 10}, web, app, 50, 51, "", ""},
		{"without a first span", [2]int64{100, 20}, [2]int64{50, 10}, web, app, 50, 51, "9", kindClient},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			spans := []*Span{
				{TraceID: "1", ID: "a", ParentID: test.clientParent, Kind: test.clientsKind, Timestamp: test.client[0], Duration: test.client[1], LocalEndpoint: test.clientOn},
				{TraceID: "1", ID: "b", ParentID: "a", Kind: kindServer, Timestamp: test.server[0], Duration: test.server[1], LocalEndpoint: test.serverOn,
					Annotations: []Annotation{{test.server[0], "x"}}},
				{TraceID: "1", ID: "c", ParentID: "b", Timestamp: test.server[0] + 1, LocalEndpoint: test.serverOn},
			}
			rows := newView(spans).Rows
			if got := rows[1].Timestamp; got != test.wantServer {
				t.Errorf("server starts at %d, want %d", got, test.wantServer)
			}
			if got := rows[2].Timestamp; got != test.wantBelow {
				t.Errorf("span below starts at %d, want %d", got, test.wantBelow)
			}
			for _, a := range rows[1].Annotations {
				if a.Value == "x" && a.Timestamp != test.wantServer {
					t.Errorf("annotation at %d, want %d", a.Timestamp, test.wantServer)
				}
			}
		})
	}
}

func TestView(t *testing.T) {
	t.Parallel()
	spans := parseSpans(t, "1 - SERVER web -; 2 1 CLIENT web -; 2 1 SERVER app - shared error; 3 2 CLIENT app db; 4 1 - web -")
	for i, s := range spans {
		s.Timestamp, s.Duration = int64(1000+10*i), int64(100-10*i)
	}
	v := newView(spans)
	wantSummary := summary{TraceID: "0000000000000001", Service: "web", Timestamp: 1000, Duration: 100, SpanCount: 4, Errors: 1, Depth: 3,
		Services: []serviceCount{{"app", 2}, {"web", 2}}}
	if diff := cmp.Diff(wantSummary, v.summary); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	var got []string
	for _, r := range v.Rows {
		got = append(got, fmt.Sprintf("%s%s %s +%d", strings.Repeat(".", r.Depth), strings.TrimLeft(r.ID, "0"), r.Service, r.Children))
	}
	want := []string{"1 web +2", ".2 app +1", "..3 app +0", ".4 web +0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	var events []string
	for _, a := range v.Rows[1].Annotations {
		events = append(events, a.Value+" "+a.Endpoint)
	}
	want = []string{"Client start web", "Server start app", "Client finish web", "Server finish app"}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
}
