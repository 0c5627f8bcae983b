//go:build faults

package main

import (
	"os"
	"path/filepath"
	"testing"

	"tienda/fault"
)

// TestFaultsOfTheShop: the file of faults in the documents, and the good example, are about points,
// components and routes that there are.
func TestFaultsOfTheShop(t *testing.T) {
	t.Parallel()
	examples := blocks(documents(t)["docs/operations.md"], "yaml")
	good, err := os.ReadFile(filepath.Join(root, "fault", "testdata", "everything.good.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range append(examples, string(good)) {
		rules, err := fault.Parse([]byte(text), known())
		if err != nil || len(rules.Crashes) == 0 || len(rules.Calls) == 0 {
			t.Errorf("%v in\n%s", err, text)
		}
	}
	if len(examples) != 1 {
		t.Errorf("docs/operations.md has %d files in YAML, want the one of faults", len(examples))
	}
}
