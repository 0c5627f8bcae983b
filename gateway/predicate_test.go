package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shortForm parses the short form of a predicate or filter.
func shortForm(t testing.TB, text string) Definition {
	t.Helper()
	var d Definition
	if err := d.UnmarshalText([]byte(text)); err != nil {
		t.Fatalf("UnmarshalText(%q): %v", text, err)
	}
	return d
}

// exchange is one as it arrives: "GET /path?query" and header lines.
func exchange(t testing.TB, request string, header ...string) *Exchange {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	path, query, _ := strings.Cut(target, "?")
	path, segments, err := cleanPath(path)
	if err != nil {
		t.Fatalf("cleanPath(%q): %v", path, err)
	}
	h := make(http.Header)
	x := &Exchange{Method: method, Path: path, arrived: path, segments: segments, RawQuery: query, Header: h}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			x.Host = value
			continue
		}
		h.Add(name, value)
	}
	return x
}

func TestPredicates(t *testing.T) {
	t.Parallel()
	type vars = map[string]string
	tests := []struct {
		predicate string
		exchange  *Exchange
		want      bool
		vars      vars
	}{
		{"Path=/a/**,/b/{id}", exchange(t, "GET /a/x"), true, nil},
		{"Path=/a/**, /b/{id}", exchange(t, "GET /b/7"), true, vars{"id": "7"}},
		{"Path=/a/**,/b/{id}", exchange(t, "GET /c"), false, nil},
		{"Path=/b/{id:[0-9]{1,2}}", exchange(t, "GET /b/77"), true, vars{"id": "77"}},
		{"Path=/a", exchange(t, "GET /a/"), true, nil},
		{"Path=/a,false", exchange(t, "GET /a/"), false, nil},
		{"Method=GET,post", exchange(t, "POST /"), true, nil},
		{"Method=GET", exchange(t, "HEAD /"), false, nil},
		{"Host=**.example.org", exchange(t, "GET /", "Host: a.b.Example.org:8080"), true, nil},
		{"Host=**.example.org", exchange(t, "GET /", "Host: example.org"), true, nil},
		{"Host=**.example.org", exchange(t, "GET /", "Host: badexample.org"), false, nil},
		{"Host=*.example.org", exchange(t, "GET /", "Host: a.b.example.org"), false, nil},
		{"Host={shop}.example.org", exchange(t, "GET /", "Host: tienda.example.org"), true, vars{"shop": "tienda"}},
		{"Host=example.org:8443", exchange(t, "GET /", "Host: example.org:8443"), true, nil},
		{"Host=example.org:8443", exchange(t, "GET /", "Host: example.org"), false, nil},
		{"Host=example.org", exchange(t, "GET /", "Host: exampleXorg"), false, nil},
		{"Header=X-Id", exchange(t, "GET /", "X-Id: "), true, nil},
		{"Header=X-Id", exchange(t, "GET /"), false, nil},
		{`Header=X-Id, \d{1,3}`, exchange(t, "GET /", "X-Id: a", "X-Id: 12"), true, nil},
		{`Header=X-Id, \d+`, exchange(t, "GET /", "X-Id: 12a"), false, nil},
		{"Query=color", exchange(t, "GET /?color"), true, nil},
		{"Query=color", exchange(t, "GET /?colour=x"), false, nil},
		{"Query=color, gr[ae]y|red", exchange(t, "GET /?color=blue&color=grey"), true, nil},
		{"Query=color, gr.", exchange(t, "GET /?color=green"), false, nil},
	}
	for _, test := range tests {
		r := &route{id: "test", label: "test"}
		b := &builder{predicates: predicateFactories()}
		if err := b.predicate(r, shortForm(t, test.predicate)); err != nil {
			t.Errorf("predicate %q: %v", test.predicate, err)
			continue
		}
		x := test.exchange
		if got := r.matches(x); got != test.want {
			t.Errorf("%s accepts %s %s %s %v = %v, want %v", test.predicate, x.Method, x.Path, x.Host, x.Header, got, test.want)
		}
		if diff := cmp.Diff(test.vars, x.variables); diff != "" {
			t.Errorf("%s: variables (-want +got):\n%s", test.predicate, diff)
		}
	}
}

func FuzzDefinition(f *testing.F) {
	for _, text := range []string{
		"Path=/a/**,/b/{id:[0-9]{1,2}}, false", "Method=GET", "Host=**.{a}.org", `Header=X, \d+`, "Query=a, b", "StripPrefix=1",
		`RewritePath=/red/?(?<segment>.*), /$\{segment}`, "SetPath=/{segment}", "AddRequestHeader=X-A, b-{c}", "SetStatus=201",
		"MapStatus=201:200, 404:400", "DedupeResponseHeader=A B, RETAIN_LAST", "Retry=3", "=", "a", "a=", "a=,",
	} {
		f.Add(text)
	}
	g, err := New(Settings{}, Limits{}, Deps{Transport: &http.Transport{}, Verify: verify})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var d Definition
		if err := d.UnmarshalText([]byte(text)); err != nil {
			return
		}
		// Whatever is accepted must work on an exchange without a panic.
		settings := Settings{Routes: []RouteDefinition{
			{ID: "p", URI: "http://a", Predicates: []Definition{d}},
			{ID: "f", URI: "http://a", Predicates: []Definition{{Name: "Path", Args: map[string]any{"patterns": "/{a}/**"}}}, Filters: []Definition{d}},
		}}
		b := &builder{gateway: g, settings: settings, table: &table{breakers: map[string]*breaker{}, limiters: map[string]*rateLimiter{}}}
		b.predicates, b.filters = predicateFactories(), filterFactories()
		for _, definition := range settings.Routes {
			r, err := b.route(definition)
			if err != nil {
				continue
			}
			x := exchange(t, "GET /red/blue?color=green", "Host: a.b.org", "X: 1")
			x.Status, x.ResponseHeader = 201, http.Header{"A": {"1", "2"}}
			r.matches(x)
			for _, filter := range r.filters {
				if filter.Request != nil {
					_ = filter.Request(x) // refusing is fine
				}
				if filter.Response != nil {
					filter.Response(x)
				}
			}
		}
	})
}
