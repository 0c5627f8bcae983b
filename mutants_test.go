package tienda_test

import (
	"testing"

	"tienda/test/mutants"
)

// TestMutantsFit holds every planted bug to the sources that it is planted into: whoever changes the code
// changes the bug with it. Whether each is caught takes a build of its own, see test/mutants.
func TestMutantsFit(t *testing.T) {
	t.Parallel()
	all, err := mutants.Load("test/mutants")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if _, err := m.Plant(".", t.TempDir()); err != nil {
			t.Error(err)
		}
	}
}
