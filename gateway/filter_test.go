package gateway

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
)

// filtered makes a route with filters in the short form on a path pattern.
func filtered(t testing.TB, pattern string, filters ...string) *route {
	t.Helper()
	g, err := New(Settings{}, Limits{}, Deps{Transport: &http.Transport{}, Verify: verify})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	definition := RouteDefinition{ID: "test", URI: "http://example.org", Predicates: []Definition{shortForm(t, "Path="+pattern)}}
	for _, filter := range filters {
		definition.Filters = append(definition.Filters, shortForm(t, filter))
	}
	b := &builder{gateway: g, predicates: predicateFactories(), filters: filterFactories()}
	r, err := b.route(definition)
	if err != nil {
		t.Fatalf("route: %v", err)
	}
	return r
}

func (r *route) request(t testing.TB, x *Exchange) {
	t.Helper()
	if !r.matches(x) {
		t.Fatalf("the route does not match %s", x.Path)
	}
	for _, f := range r.filters {
		if f.Request == nil {
			continue
		}
		if err := f.Request(x); err != nil {
			t.Fatalf("filter: %v", err)
		}
	}
}

func TestPathFilters(t *testing.T) {
	t.Parallel()
	tests := []struct{ pattern, filter, path, want string }{
		{"/**", "StripPrefix=2", "/name/blue/red", "/red"},
		{"/**", "StripPrefix=2", "/name/blue/red/", "/red/"},
		{"/**", "StripPrefix", "/name/blue", "/blue"},
		{"/**", "StripPrefix=3", "/name", "/"},
		{"/**", "StripPrefix=1", "/a%20b/c%20d", "/c%20d"},
		{"/**", "PrefixPath=/mypath", "/hello", "/mypath/hello"},
		{"/{shop}/**", "PrefixPath=/shops/{shop}/", "/es/hello", "/shops/es/es/hello"},
		{"/**", `RewritePath=/red/?(?<segment>.*), /$\{segment}`, "/red/blue", "/blue"},
		{"/**", `RewritePath=/red/?(?<segment>.*), /$\{segment}`, "/red", "/"},
		{"/**", `RewritePath=/red/?(?<segment>.*), /$\{segment}`, "/green", "/green"},
		{"/**", `RewritePath=/api/(?<v>v[0-9]+)/(?<rest>.*), /${rest}/$1x`, "/api/v2/a/b", "/a/b/v2x"},
		{"/**", `RewritePath=/a, /b`, "/a/a", "/b/b"},
		{"/**", `RewritePath=^/(.*), /\$1$12`, "/x", "/$1x2"},
		{"/red/{segment}", "SetPath=/{segment}", "/red/blue", "/blue"},
		{"/red/{segment}", "SetPath=/x/{segment}/y", "/red/a%20b%3F", "/x/a%20b%3F/y"},
		{"/red/{*rest}", "SetPath=/blue{rest}", "/red/a/b%20c", "/blue/a/b%20c"},
		{"/**", "SetPath=/con espacio/ñ", "/", "/con%20espacio/%C3%B1"},
	}
	for _, test := range tests {
		x := exchange(t, "GET "+test.path)
		filtered(t, test.pattern, test.filter).request(t, x)
		if x.Path != test.want {
			t.Errorf("%s on %s = %s, want %s", test.filter, test.path, x.Path, test.want)
		}
	}
}

func TestRequestHeaderFilters(t *testing.T) {
	t.Parallel()
	tests := []struct {
		filter string
		want   []string
	}{
		{"AddRequestHeader=X-Color, blue-{segment}", []string{"red", "blue-7"}},
		{"AddRequestHeader=X-Color, a, b", []string{"red", "a, b"}},
		{"SetRequestHeader=x-color, {segment}{unknown}", []string{"7"}},
		{"RemoveRequestHeader=X-COLOR", nil},
	}
	for _, test := range tests {
		x := exchange(t, "GET /a/7", "X-Color: red")
		filtered(t, "/a/{segment}", test.filter).request(t, x)
		if diff := cmp.Diff(test.want, x.Header.Values("X-Color")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.filter, diff)
		}
	}
}

func TestResponseFilters(t *testing.T) {
	t.Parallel()
	tests := []struct {
		filter string
		status int
		values []string
	}{
		{"AddResponseHeader=X-Color, {segment}", 201, []string{"red", "blue", "red", "7"}},
		{"SetResponseHeader=X-Color, green", 201, []string{"green"}},
		{"RemoveResponseHeader=X-Color", 201, nil},
		{"DedupeResponseHeader=X-Other X-Color", 201, []string{"red"}},
		{"DedupeResponseHeader=X-Color, RETAIN_LAST", 201, []string{"red"}},
		{"DedupeResponseHeader=X-Color, RETAIN_UNIQUE", 201, []string{"red", "blue"}},
		{"SetStatus=401", 401, []string{"red", "blue", "red"}},
		{"SetStatus=unauthorized", 401, []string{"red", "blue", "red"}},
		{"MapStatus=404:400, 201:200", 200, []string{"red", "blue", "red"}},
		{"MapStatus=404:400", 201, []string{"red", "blue", "red"}},
	}
	for _, test := range tests {
		x := exchange(t, "GET /a/7")
		r := filtered(t, "/a/{segment}", test.filter)
		r.request(t, x)
		x.Status, x.ResponseHeader = 201, http.Header{"X-Color": {"red", "blue", "red"}}
		r.filters[0].Response(x)
		if x.Status != test.status {
			t.Errorf("%s: status = %d, want %d", test.filter, x.Status, test.status)
		}
		if diff := cmp.Diff(test.values, x.ResponseHeader.Values("X-Color")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.filter, diff)
		}
	}
}

func TestMapStatusRestatesProblems(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", problemLimit)
	tests := []struct{ name, mediaType, body, want string }{
		{"problem", "application/problem+json",
			`{"type":"about:blank", "title":"Not Found","status": 404 ,"detail":"status","httpStatus":"NOT_FOUND","n":{"status":404}}`,
			`{"type":"about:blank", "title":"Bad Request","status": 400 ,"detail":"status","httpStatus":"BAD_REQUEST","n":{"status":404}}`},
		{"own type", "application/problem+json; charset=utf-8", `{"type":"/out-of-stock","title":"Gone","status":404}`, `{"type":"/out-of-stock","title":"Gone","status":400}`},
		{"other media type", "application/json", `{"status":404}`, `{"status":404}`},
		{"not an object", "application/problem+json", `[404]`, `[404]`},
		{"broken", "application/problem+json", `{"status":404`, `{"status":404`},
		{"too long", "application/problem+json", `{"status":404,"detail":"` + long + `"}`, `{"status":404,"detail":"` + long + `"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			front := start(t, `
spring.cloud.gateway:
  routes:
    - {id: all, uri: 'lb://UPSTREAM', predicates: ['Path=/**'], filters: ['MapStatus=404:400']}
`, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.mediaType)
				w.WriteHeader(404)
				_, _ = io.WriteString(w, test.body)
			})
			got := send(t, front, "GET /x")
			if got.status != 400 || got.body != test.want {
				t.Errorf("answer = %d %s, want 400 %s", got.status, got.body, test.want)
			}
		})
	}
}

func FuzzReplaceMembers(f *testing.F) {
	f.Add([]byte(`{"status":404,"a":[1,{"status":2}],"status" : 5 }`))
	f.Add([]byte(`{"status":"x"}`))
	f.Add([]byte(` {} `))
	f.Fuzz(func(t *testing.T, object []byte) {
		got, err := replaceMembers(object, map[string]any{"status": 400})
		if err != nil || !json.Valid(object) {
			return
		}
		var before, after map[string]any
		if err := json.Unmarshal(object, &before); err != nil {
			return
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("replaceMembers(%s) = %s: %v", object, got, err)
		}
		if _, ok := before["status"]; ok {
			before["status"] = 400.0
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("replaceMembers(%s) (-want +got):\n%s", object, diff)
		}
	})
}

func FuzzRewritePath(f *testing.F) {
	f.Add(`/red/?(?<segment>.*)`, `/$\{segment}`, "/red/blue")
	f.Add(`(a)(b)`, `$2$1$12\$\\`, "/ab")
	f.Add(`x`, `${`, "/")
	f.Add(`x`, `\`, "/")
	f.Fuzz(func(t *testing.T, expr, text, path string) {
		match, err := compileRegexp(expr, false)
		if err != nil {
			return
		}
		replacement, err := javaReplacement(text, match)
		if err != nil {
			return
		}
		got := match.ReplaceAllString(path, replacement)
		// A replacement without groups is taken literally.
		if !strings.ContainsAny(text, `$\`) {
			if want := match.ReplaceAllLiteralString(path, text); got != want {
				t.Errorf("RewritePath=%q, %q on %q = %q, want %q", expr, text, path, got, want)
			}
		}
	})
}

func TestJavaReplacement(t *testing.T) {
	t.Parallel()
	match := regexp.MustCompile(`(?<a>x)(y)`)
	tests := []struct{ text, want, problem string }{
		{`/$\{a}`, "/${a}", ""},
		{`/${a}$2z`, "/${a}${2}z", ""},
		{`$0`, "${0}", ""},
		{`$12`, "${1}2", ""},
		{`\$\\\n`, `$$\n`, ""},
		{`$3`, "", `replacement "$3": the regular expression has no group 3`},
		{`${b}`, "", `replacement "${b}": the regular expression has no group b`},
		{`a$`, "", `replacement "a$": want $1, ${name} or \$ at "$"`},
		{`a\`, "", `replacement "a\\" ends in a lone \`},
	}
	for _, test := range tests {
		got, err := javaReplacement(test.text, match)
		problem := ""
		if err != nil {
			problem = err.Error()
		}
		if got != test.want || problem != test.problem {
			t.Errorf("javaReplacement(%q) = %q, %q, want %q, %q", test.text, got, problem, test.want, test.problem)
		}
	}
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"200": 200, "NOT_FOUND": 404, "unprocessable_entity": 422, "PAYLOAD_TOO_LARGE": 413, "599": 599, "100": 0, "600": 0, "": 0, "NOPE": 0} {
		got, err := parseStatus(text)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("parseStatus(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	if got := statusName(404); got != "NOT_FOUND" || got != api.StatusName(404) {
		t.Errorf("statusName(404) = %q, want NOT_FOUND", got)
	}
}
