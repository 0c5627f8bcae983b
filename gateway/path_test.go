package gateway

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
)

func TestCleanPath(t *testing.T) {
	t.Parallel()
	tests := []struct {
		path     string
		want     string
		segments []string
	}{
		{"/", "/", []string{""}},
		{"/order-service/api/orders/7", "/order-service/api/orders/7", []string{"order-service", "api", "orders", "7"}},
		{"//order-service///api/", "/order-service/api/", []string{"order-service", "api", ""}},
		{"/a%20b/%C3%B1/%e2%82%ac", "/a%20b/%C3%B1/%e2%82%ac", []string{"a b", "ñ", "€"}},
		{"/04-11-2025__23:52:00:805000", "/04-11-2025__23:52:00:805000", []string{"04-11-2025__23:52:00:805000"}},
		{"/.well-known/..a/a..", "/.well-known/..a/a..", []string{".well-known", "..a", "a.."}},
		{"/100%25/50%25off", "/100%25/50%25off", []string{"100%", "50%off"}},
	}
	for _, test := range tests {
		path, segments, err := cleanPath(test.path)
		if err != nil || path != test.want {
			t.Errorf("cleanPath(%q) = %q, %v, want %q", test.path, path, err, test.want)
		}
		if diff := cmp.Diff(test.segments, segments); diff != "" {
			t.Errorf("cleanPath(%q) segments (-want +got):\n%s", test.path, diff)
		}
	}
}

var uncleanPaths = []string{
	"", "*", "a", "/..", "/../a", "/a/..", "/a/./b", "/a/%2e%2E/b", "/a/.%2e", "/%2e", "/a%2fb", "/a%2Fb", `/a\b`, "/a%5cb",
	"/a;x/b", "/a%3bx", "/%00", "/a%0d%0aX:1", "/%7f", "/%zz", "/%", "/%ff", "/a/%252e%252e/b", "/a%252fb", "/a%255cb", "/a%253bb", "/%2500",
}

func TestUncleanPaths(t *testing.T) {
	t.Parallel()
	for _, path := range uncleanPaths {
		got, _, err := cleanPath(path)
		var problem *api.Problem
		if !errors.As(err, &problem) || problem.Status != 400 {
			t.Errorf("cleanPath(%q) = %q, %v, want a problem with status 400", path, got, err)
		}
	}
}

func FuzzCleanPath(f *testing.F) {
	for _, path := range uncleanPaths {
		f.Add(path)
	}
	f.Add("/order-service/api/orders/7?x")
	f.Fuzz(func(t *testing.T, path string) {
		clean, segments, err := cleanPath(path)
		if err != nil {
			return
		}
		again, same, err := cleanPath(clean)
		if err != nil || again != clean || !slices.Equal(same, segments) {
			t.Errorf("cleanPath(%q) = %q, %v, want it unchanged", clean, again, err)
		}
		decoded, err := url.PathUnescape(clean)
		if err != nil {
			t.Fatalf("PathUnescape(%q): %v", clean, err)
		}
		if want := "/" + strings.Join(segments, "/"); decoded != want {
			t.Errorf("cleanPath(%q): decodes to %q, segments to %q", path, decoded, want)
		}
		for _, segment := range segments {
			if segment == ".." || segment == "." || strings.ContainsAny(segment, "/\\;\x00\r\n") {
				t.Errorf("cleanPath(%q) has segment %q", path, segment)
			}
		}
	})
}

func TestPathPattern(t *testing.T) {
	t.Parallel()
	type vars = map[string]string
	tests := []struct {
		pattern, path string
		want          bool
		vars          vars
	}{
		{"/order-service/**", "/order-service", true, vars{}},
		{"/order-service/**", "/order-service/", true, vars{}},
		{"/order-service/**", "/order-service/api/orders/7", true, vars{}},
		{"/order-service/**", "/order-services", false, vars{}},
		{"order-service/**", "/order-service/api", true, vars{}},
		{"/**", "/", true, vars{}},
		{"/a/*", "/a/b", true, vars{}},
		{"/a/*", "/a/", false, vars{}},
		{"/a/*", "/a/b/c", false, vars{}},
		{"/a/*/c", "/a/b/c", true, vars{}},
		{"/a", "/a/", true, vars{}},
		{"/a", "/A", false, vars{}},
		{"/a?c", "/abc", true, vars{}},
		{"/a?c", "/ac", false, vars{}},
		{"/a*", "/abc", true, vars{}},
		{"/*.html", "/index.html", true, vars{}},
		{"/*.html", "/indexxhtml", false, vars{}},
		{"/red/{segment}", "/red/1", true, vars{"segment": "1"}},
		{"/red/{segment}", "/red/1/", true, vars{"segment": "1"}},
		{"/red/{segment}", "/red/a%20b", true, vars{"segment": "a b"}},
		{"/red/{segment}", "/red/", false, vars{}},
		{"/{id:[0-9]{1,3}}", "/123", true, vars{"id": "123"}},
		{"/{id:[0-9]{1,3}}", "/1234", false, vars{}},
		{"/{name}-{version}.jar", "/spring-5.jar", true, vars{"name": "spring", "version": "5"}},
		{"/files/{*rest}", "/files/a/b", true, vars{"rest": "/a/b"}},
		{"/files/{*rest}", "/files", true, vars{"rest": ""}},
		{"/a%2Fb", "/a/b", false, vars{}},
		{"/é", "/%C3%A9", true, vars{}},
	}
	for _, test := range tests {
		p, err := parsePathPattern(test.pattern)
		if err != nil {
			t.Errorf("parsePathPattern(%q): %v", test.pattern, err)
			continue
		}
		_, segments, err := cleanPath(test.path)
		if err != nil {
			t.Fatalf("cleanPath(%q): %v", test.path, err)
		}
		got := vars{}
		if ok := p.matches(segments, true, func(name, value string) { got[name] = value }); ok != test.want {
			t.Errorf("%q matches %q = %v, want %v", test.pattern, test.path, ok, test.want)
		}
		if diff := cmp.Diff(test.vars, got); diff != "" {
			t.Errorf("%q matches %q: variables (-want +got):\n%s", test.pattern, test.path, diff)
		}
	}
	p, err := parsePathPattern("/a")
	if err != nil || p.matches([]string{"a", ""}, false, nil) {
		t.Errorf("/a matches /a/ without matchTrailingSlash (%v)", err)
	}
}

func FuzzPathPattern(f *testing.F) {
	f.Add("/red/{segment}", "/red/1")
	f.Add("/{id:[0-9]{1,3}}", "/12")
	f.Add("/{a}-{b}/{*c}", "/x-y/z/w")
	f.Add("/a?*b/**", "/axb")
	f.Add("/{a}}{", "/")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		p, err := parsePathPattern(pattern)
		if err != nil {
			return
		}
		_, segments, err := cleanPath(path)
		if err != nil {
			return
		}
		captured := false
		if !p.matches(segments, true, func(string, string) { captured = true }) && captured {
			t.Errorf("%q captures of %q though it does not match", pattern, path)
		}
	})
}
