package cloudconfig

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// newServer serves files under the settings that change makes of the defaults.
func newServer(t *testing.T, files map[string]string, change func(*Settings)) *Server {
	t.Helper()
	fsys := make(fstest.MapFS)
	for name, content := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(content)}
	}
	settings := DefaultSettings()
	if change != nil {
		change(&settings)
	}
	s, err := NewServer(settings, fsys)
	if err != nil {
		t.Fatalf("NewServer: %v", err)
	}
	return s
}

// ask sends "METHOD path" with headers "Name: value" and returns the answer.
func ask(t *testing.T, h http.Handler, request, body string, headers ...string) *http.Response {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func readBody(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	return string(body)
}

// show writes an answer as the golden files hold it: JSON documents indented,
// the merged forms untouched, timestamps left out.
func show(t *testing.T, request string, resp *http.Response) string {
	t.Helper()
	body := readBody(t, resp)
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s\n", resp.StatusCode, resp.Header.Get("Content-Type"))
	var problem map[string]any
	switch {
	case resp.StatusCode != http.StatusOK && json.Unmarshal([]byte(body), &problem) == nil:
		fmt.Fprintf(&b, "%v\n", problem["message"])
	case strings.Contains(resp.Header.Get("Content-Type"), "json") && !strings.Contains(request, ".json"):
		var indented bytes.Buffer
		if err := json.Indent(&indented, []byte(body), "", "  "); err != nil {
			t.Errorf("%s: answer is not JSON: %v", request, err)
		}
		b.WriteString(indented.String() + "\n")
	default:
		b.WriteString(strings.TrimSuffix(body, "\n") + "\n")
	}
	return b.String()
}

// TestGolden runs the archives of testdata. An archive holds files, under
// files/, settings as JSON, and requests whose sections are the answers:
//
//	-- GET /foo/dev Accept: text/plain --
func TestGolden(t *testing.T) {
	t.Parallel()
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives in testdata: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files := make(map[string]string)
			var settings []byte
			for _, f := range archive.Files {
				if name, ok := strings.CutPrefix(f.Name, "files/"); ok {
					files[name] = string(f.Data)
				}
				if f.Name == "settings" {
					settings = f.Data
				}
			}
			s := newServer(t, files, func(s *Settings) {
				if settings == nil {
					return
				}
				if err := json.Unmarshal(settings, s); err != nil {
					t.Fatalf("settings: %v", err)
				}
			})
			for i, f := range archive.Files {
				if !strings.HasPrefix(f.Name, "GET ") {
					continue
				}
				request, header, hasHeader := strings.Cut(f.Name, " Accept: ")
				var headers []string
				if hasHeader {
					headers = append(headers, "Accept: "+header)
				}
				got := show(t, request, ask(t, s, request, "", headers...))
				if *update {
					archive.Files[i].Data = []byte(got)
				} else if diff := cmp.Diff(string(f.Data), got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", f.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// sourceNames lists the sources of an environment without their location.
func sourceNames(t *testing.T, s *Server, path string) []string {
	t.Helper()
	resp := ask(t, s, "GET "+path, "")
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s = %d, want 200: %s", path, resp.StatusCode, readBody(t, resp))
	}
	var env Environment
	if err := json.Unmarshal([]byte(readBody(t, resp)), &env); err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	var names []string
	for _, source := range env.PropertySources {
		names = append(names, strings.TrimPrefix(source.Name, "classpath:/"))
	}
	return names
}

func TestSourceOrder(t *testing.T) {
	t.Parallel()
	files := map[string]string{"other.yml": "a: 1\n"}
	for _, dir := range []string{"", "sub/", "v2/", "feature/x/"} {
		for _, name := range []string{"application", "application-dev", "application-mysql", "foo", "foo-dev", "foo-mysql"} {
			files[dir+name+".yml"] = "name: " + dir + name + "\n"
		}
	}
	six := []string{"foo-mysql.yml", "application-mysql.yml", "foo-dev.yml", "application-dev.yml", "foo.yml", "application.yml"}
	both := func(dir string) []string {
		return []string{
			dir + "foo-mysql.yml", dir + "application-mysql.yml", "foo-mysql.yml", "application-mysql.yml",
			dir + "foo-dev.yml", dir + "application-dev.yml", "foo-dev.yml", "application-dev.yml",
			dir + "foo.yml", dir + "application.yml", "foo.yml", "application.yml",
		}
	}
	withSub := func(s *Settings) { s.Native.SearchLocations = []string{"classpath:/", "classpath:/sub"} }
	byApplication := func(s *Settings) { s.Native.SearchLocations = []string{"classpath:/{application}/{label}"} }
	tests := []struct {
		name   string
		path   string
		change func(*Settings)
		want   []string
	}{
		{"two profiles", "/foo/dev,mysql", nil, six},
		{"encoded comma", "/foo/dev%2Cmysql", nil, six},
		{"search path", "/foo/dev,mysql", withSub, both("sub/")},
		{"label folder", "/foo/dev,mysql/v2", nil, both("v2/")},
		{"label with a slash", "/foo/dev,mysql/feature(_)x", nil, both("feature/x/")},
		{"label with an encoded slash", "/foo/dev,mysql/feature%2Fx", nil, both("feature/x/")},
		{"unknown label", "/foo/dev,mysql/v9", nil, six},
		{"two applications", "/foo,other/default", nil, []string{"other.yml", "foo.yml", "application.yml"}},
		{"shared only", "/application/dev", nil, []string{"application-dev.yml", "application.yml"}},
		{"unknown application", "/nobody/default", nil, []string{"application.yml"}},
		{"placeholders in the location", "/feature/default/x", byApplication, []string{"feature/x/application.yml"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := sourceNames(t, newServer(t, files, tt.change), tt.path)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("sources of %s (-want +got):\n%s", tt.path, diff)
			}
		})
	}
}

func TestFlat(t *testing.T) {
	t.Parallel()
	high, err := Flatten("high.yml", []byte("a: 1\nl: [x]\nm: ''\nn: [1, 2]\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	low, err := Flatten("low.yml", []byte("a: 2\nb: {c: true}\nl: [y, z]\nm: [p]\nn: q\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	env := Environment{PropertySources: append(high, low...)}
	want := map[string]any{"a": int64(1), "b.c": true, "l[0]": "x", "m": "", "n[0]": int64(1), "n[1]": int64(2)}
	if diff := cmp.Diff(want, env.Flat()); diff != "" {
		t.Errorf("Flat (-want +got):\n%s", diff)
	}
	for key, want := range map[string]string{"a": "high.yml:1:4", "b.c": "low.yml:2:8", "l[1]": "", "none": ""} {
		if got := env.Origin(key); got != want {
			t.Errorf("Origin(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestFlattenActivation(t *testing.T) {
	t.Parallel()
	const file = "a: 1\n---\nspring.config.activate.on-profile: dev & !test\na: 2\n---\nspring: {profiles: [mysql, 'a | b']}\na: 3\n"
	tests := []struct {
		profiles []string
		want     int64
	}{
		{nil, 1},
		{[]string{"dev"}, 2},
		{[]string{"dev", "test"}, 1},
		{[]string{"dev", "mysql"}, 3},
		{[]string{"b"}, 3},
	}
	for _, tt := range tests {
		sources, err := Flatten("app.yml", []byte(file), tt.profiles)
		if err != nil {
			t.Fatalf("Flatten under %v: %v", tt.profiles, err)
		}
		env := Environment{PropertySources: sources}
		if got := env.Flat()["a"]; got != tt.want {
			t.Errorf("a under %v = %v, want %v", tt.profiles, got, tt.want)
		}
	}
}

func TestFlattenErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, file, content, want string
	}{
		{"duplicate key", "a.yml", "a: 1\nb:\n  c: 1\n  c: 2\n", "parse a.yml: line 4: found duplicate key c"},
		{"not YAML", "a.yml", "a: 1\n b: 2\n", "parse a.yml: yaml: line 2: mapping values are not allowed in this context"},
		{"unknown tag", "a.yml", "a: !!java/object x\n", "parse a.yml: line 1: tag !!java/object is not supported; use !!str, !!int, !!float, !!bool or !!null"},
		{"wrong tag", "a.yml", "a: !!bool 7\n", "parse a.yml: line 1: the value does not fit its tag !!bool"},
		{"alias of its own", "a.yml", "a: &x [*x]\n", "parse a.yml: line 1: nested deeper than 100 levels"},
		{"merge of its own", "a.yml", "a: &x {<<: *x}\n", "parse a.yml: line 1: nested deeper than 100 levels"},
		{"merge of a scalar", "a.yml", "a: {<<: 1}\n", "parse a.yml: line 1: a merge takes a mapping or a list of mappings"},
		{"key that is a list", "a.yml", "? [a]\n: 1\n", "parse a.yml: line 1: a key must be a scalar"},
		{"broken escape", "a.properties", "a=1\nb=\\u12x4\n", `parse a.properties: line 2: \u needs four hexadecimal digits`},
		{"mixed operators", "a.yml", "spring.config.activate.on-profile: a & b | c\n", `parse a.yml: spring.config.activate.on-profile at 1:36: malformed profile expression "a & b | c": use parentheses where & and | meet`},
		{"open parenthesis", "a.yml", "spring.config.activate.on-profile: (a\n", `parse a.yml: spring.config.activate.on-profile at 1:36: malformed profile expression "(a": a closing parenthesis is missing`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Flatten(tt.file, []byte(tt.content), nil)
			if err == nil || err.Error() != tt.want {
				t.Errorf("Flatten(%q) error = %v, want %s", tt.content, err, tt.want)
			}
		})
	}
}

func TestFlattenBombs(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), i-1)
	}
	if _, err := Flatten("a.yml", []byte(b.String()), nil); err == nil || !strings.Contains(err.Error(), "expand to more than") {
		t.Errorf("Flatten of a billion aliases = %v, want an error about their expansion", err)
	}
}

// TestPlainScalars holds what SnakeYAML 2.5 makes of the same texts, with its
// timestamps switched off as in Spring Boot.
func TestPlainScalars(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want any
	}{
		{"", nil}, {"~", nil}, {"null", nil}, {"NULL", nil}, {"nUll", "nUll"},
		{"yes", true}, {"No", false}, {"ON", true}, {"off", false}, {"y", "y"}, {"oN", "oN"},
		{"0", int64(0)}, {"-0", int64(0)}, {"010", int64(8)}, {"-010", int64(-8)}, {"0_7", int64(7)}, {"0o10", "0o10"}, {"08", "08"}, {"0_8", "0_8"},
		{"0x1F", int64(31)}, {"0X1F", "0X1F"}, {"0b101", int64(5)}, {"0b2", "0b2"}, {"1_000", int64(1000)}, {"1_", int64(1)}, {"_1", "_1"},
		{"1:30", int64(90)}, {"-1:30", int64(-90)}, {"1:60", "1:60"}, {"190:20:30", int64(685230)}, {"0:30", "0:30"},
		{"1:30.5", 90.5}, {"1.", 1.0}, {"0.", 0.0}, {".5", 0.5}, {"-.5", -0.5}, {"+.2_0", 0.2}, {"1e3", 1000.0}, {"1E+3", 1000.0}, {"1e", "1e"},
		{"1.0.0", "1.0.0"}, {"1.10", 1.1}, {"1,000", "1,000"}, {"2020-01-02", "2020-01-02"}, {"=", "="}, {"1d", "1d"}, {"0x", "0x"},
	}
	for _, tt := range tests {
		if got := plainScalar(tt.text); got != tt.want {
			t.Errorf("plainScalar(%q) = %#v, want %#v", tt.text, got, tt.want)
		}
	}
}
