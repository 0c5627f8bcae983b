//go:build faults

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tienda/fault"
)

// TestFaultsAreForTests: profile production refuses them, however the list of profiles is written.
func TestFaultsAreForTests(t *testing.T) {
	t.Parallel()
	for _, profiles := range [][]string{{"production"}, {"origin", " production "}} {
		if err := (faultFlags{Faults: "faults.yaml"}).arm(profiles); err == nil || !strings.Contains(err.Error(), "profile production refuses --faults") {
			t.Errorf("faults with the profiles %q = %v, want them refused", profiles, err)
		}
	}
}

// TestFaultsOfTheShop: the file of faults in the documents, and the good example, are about points,
// components and routes that there are.
func TestFaultsOfTheShop(t *testing.T) {
	t.Parallel()
	examples := slices.DeleteFunc(blocks(documents(t)["docs/operations.md"], "yaml"), func(text string) bool { return !strings.Contains(text, "\ncrashes:") })
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
		t.Errorf("docs/operations.md has %d files of faults, want one", len(examples))
	}
}
