package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestChartsAreDocumented: what is derived from the values of each chart is as it was committed.
func TestChartsAreDocumented(t *testing.T) {
	t.Parallel()
	charts, err := filepath.Glob("../helm/*/values.yaml")
	if err != nil || len(charts) == 0 {
		t.Fatalf("charts: %v, %v", charts, err)
	}
	for _, values := range charts {
		chart := filepath.Dir(values)
		dir := t.TempDir()
		for _, name := range []string{"values.yaml", "README.md"} {
			text, err := os.ReadFile(filepath.Join(chart, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := document(dir); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"values.schema.json", "README.md"} {
			want, errWant := os.ReadFile(filepath.Join(dir, name))
			got, errGot := os.ReadFile(filepath.Join(chart, name))
			if errWant != nil || errGot != nil {
				t.Fatal(errWant, errGot)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s/%s differs from values.yaml: run make chart and commit it (-values +file):\n%s", chart, name, diff)
			}
		}
	}
}

// TestUndocumentedValues: a value without a comment, or whose kind cannot be told, is named with its line.
func TestUndocumentedValues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, values, want string }{
		{"no comment", "# A.\na: 1\nb: 2\n", "line 3: b: has no comment above it"},
		{"no comment below", "# A.\na:\n  b: 2\n", "line 3: a.b: has no comment above it"},
		{"only a schema", "# @schema {}\na: 1\n", "line 2: a: has no comment above it"},
		{"empty map", "# A.\na: {}\n", "line 2: a is an empty map"},
		{"null", "# A.\na:\n", "line 2: a is !!null"},
		{"fraction", "# A.\na: 0.5\n", "line 2: a is !!float"},
		{"a definition that is none", "# A file.\n# @define x {y\n\n# A.\na: 1\n", "@define x {y"},
		{"a definition that is nowhere", "# A.\n# @schema {\"$ref\": \"#/$defs/x\"}\na: 1\n", "line 3: a: there is no definition #/$defs/x"},
		{"schema that is none", "# A.\n# @schema {x\na: 1\n", "line 3: a: @schema {x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := derive([]byte(test.values)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("derive(%q) = %v, want an error with %q", test.values, err, test.want)
			}
		})
	}
}
