package cloudconfig

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// seeds are the files of the golden archives whose names end in extension.
func seeds(f *testing.F, extension string) [][]byte {
	f.Helper()
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	var all [][]byte
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if strings.HasSuffix(file.Name, extension) && strings.HasPrefix(file.Name, "files/") {
				all = append(all, file.Data)
			}
		}
	}
	return all
}

// checkForms renders what was parsed in every form and reads it back.
func checkForms(t *testing.T, sources []PropertySource) {
	t.Helper()
	env := Environment{Name: "fuzz", PropertySources: sources}
	body, err := env.MarshalJSON()
	if err != nil || !json.Valid(body) {
		t.Fatalf("MarshalJSON = %v for %q", err, body)
	}
	var back Environment
	if err := json.Unmarshal(body, &back); err != nil {
		t.Fatalf("Unmarshal: %v", err)
	}
	if got, want := len(back.Flat()), len(env.Flat()); got != want {
		t.Fatalf("%d keys after a round trip, want %d", got, want)
	}
	root, err := nest(env.merged())
	if err != nil {
		if _, ok := errors.AsType[keyError](err); !ok {
			t.Fatalf("nest = %v, want a key error", err)
		}
		return
	}
	nested, err := jsonText(root)
	if err != nil || !json.Valid(nested) {
		t.Fatalf("jsonText = %v for %q", err, nested)
	}
	checkYAMLForm(t, env.merged(), root)
}

// checkYAMLForm reads the YAML form back: it must have every key and value.
func checkYAMLForm(t *testing.T, want []Property, root *object) {
	t.Helper()
	form, err := yamlText(root, false)
	if err != nil {
		t.Fatalf("yamlText: %v", err)
	}
	documents, err := parseYAML(form)
	if err != nil {
		t.Fatalf("parseYAML(%q): %v", form, err)
	}
	got := make(map[string]string)
	for _, d := range documents {
		for _, p := range d {
			got[p.Key] = text(p.Value)
		}
	}
	for _, p := range want {
		if strings.Contains(p.Key, ".[") {
			continue // YAML has no way to say it: brackets join without a dot
		}
		if v, ok := got[p.Key]; !ok || v != text(p.Value) {
			t.Fatalf("%q reads %q at %q, want %q", form, v, p.Key, text(p.Value))
		}
	}
}

func FuzzYAML(f *testing.F) {
	for _, seed := range seeds(f, ".yml") {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if sources, err := Flatten("fuzz.yml", data, []string{"dev"}); err == nil {
			checkForms(t, sources)
		}
	})
}

func FuzzProperties(f *testing.F) {
	for _, seed := range seeds(f, ".properties") {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if sources, err := Flatten("fuzz.properties", data, []string{"dev"}); err == nil {
			checkForms(t, sources)
		}
	})
}

func FuzzProfileExpression(f *testing.F) {
	for _, seed := range []string{"a", "!a", "a & b", "a|b", "(a | !b) & c", "((", "!", "a b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		match, err := profilesMatch(expression, []string{"a", "c"})
		negated, negatedErr := profilesMatch("!("+expression+")", []string{"a", "c"})
		if err == nil && negatedErr == nil && match == negated {
			t.Errorf("%q and its negation are both %v", expression, match)
		}
	})
}

func FuzzPath(f *testing.F) {
	s, err := NewServer(DefaultSettings(), nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"/foo/dev", "/foo-dev.yml", "/a/b/c/d", "/%2e%2e/x", "/(_)a/b", "/encrypt/status", "//"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}, Body: http.NoBody})
		if w.Code >= 500 {
			t.Errorf("GET %q = %d", path, w.Code)
		}
	})
}
