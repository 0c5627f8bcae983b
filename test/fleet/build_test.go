package fleet_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tienda/test/fleet"
)

// TestFaultsAreOfTestBuilds: the program that everybody gets has neither the flags nor the code of
// faults; a test build has them, does nothing without them and refuses them in production.
func TestFaultsAreOfTestBuilds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	faults := filepath.Join(dir, "faults.yaml")
	if err := os.WriteFile(faults, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tags   string
		hooks  bool // there is code of the package fault
		says   string
		points bool
	}{
		{tags: "", hooks: false, says: "unknown flag --faults"},
		{tags: "faults", hooks: true, says: "profile production refuses --faults", points: true},
	} {
		binary, err := fleet.Build(t.Context(), dir, c.tags)
		if err != nil {
			t.Fatal(err)
		}
		symbols, err := exec.CommandContext(t.Context(), "go", "tool", "nm", binary).Output()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(symbols), "tienda/order.") {
			t.Fatalf("%s: no symbols to look at", binary)
		}
		if found := strings.Contains(string(symbols), "tienda/fault."); found != c.hooks {
			t.Errorf("build tags %q: symbols of fault = %v, want %v", c.tags, found, c.hooks)
		}
		out, err := exec.CommandContext(t.Context(), binary, "run", "--data", filepath.Join(dir, "data"), "--profile", "production", "--faults", faults, "user").CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.says) {
			t.Errorf("build tags %q: %v %s, want it to end with %q", c.tags, err, out, c.says)
		}
		out, err = exec.CommandContext(t.Context(), binary, "up", "--fault-points").CombinedOutput()
		if listed := err == nil && strings.Contains(string(out), "\nbefore-commit order.place\n"); listed != c.points {
			t.Errorf("build tags %q: %v %.300s, want a list of points: %v", c.tags, err, out, c.points)
		}
	}
}
