package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDrill is a short drill: a small shop, a few seconds of customers, and no violation.
func TestDrill(t *testing.T) {
	t.Parallel()
	o := options{products: 50, orders: 100, customers: 4, before: 10 * time.Second, after: 10, every: time.Second, reports: t.TempDir(), version: "test"}
	var out strings.Builder
	r, err := drill(t.Context(), o, t.TempDir(), &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !r.holds() {
		t.Errorf("%s\n%s\n%s", r.verdict(), strings.Join(r.missing, "\n"), r.text())
	}
	t.Log(r.verdict())
	// The last backup is seven seconds old.
	if r.loss > 6*time.Second {
		t.Errorf("orders of the last %s were lost, and logs are shipped every second", r.loss)
	}
	path, err := r.write(o)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), r.verdict()) || filepath.Dir(path) != o.reports {
		t.Errorf("the report in %s is %q, %v", path, text, err)
	}
}
