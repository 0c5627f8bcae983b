package mutants_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/sqldb/sqldbtest"
	"tienda/test/mutants"
)

var update = flag.Bool("update", false, "rewrite the table of README.md")

// patience bounds one build or one run of the tests that catch a mutant.
const patience = 3 * time.Minute

func load(t *testing.T) (all []mutants.Mutant, root string) {
	t.Helper()
	all, err := mutants.Load(".")
	if err != nil {
		t.Fatal(err)
	}
	root, err = filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return all, root
}

// TestMutantsAreCaught builds the tests of each package with each of its bugs: the command of the
// mutant fails and says why. The same tests pass on the sources as they are.
func TestMutantsAreCaught(t *testing.T) {
	t.Parallel()
	all, root := load(t)
	// As everywhere, what needs MySQL runs where there is one; "make mutants" always has it.
	all = slices.DeleteFunc(all, func(m mutants.Mutant) bool { return !slices.Contains(sqldbtest.Engines(), m.Caught.Engine) })
	byPackage := map[string][]mutants.Mutant{}
	for _, m := range all {
		if pkg, _, ok := m.Caught.Package(); ok {
			byPackage[pkg] = append(byPackage[pkg], m)
		}
	}
	for pkg, planted := range byPackage {
		t.Run("without "+strings.TrimPrefix(pkg, "./"), func(t *testing.T) {
			t.Parallel()
			binary := build(t, root, pkg, "")
			for _, engine := range engines(planted) {
				var names []string
				for _, m := range planted {
					if m.Caught.Engine == engine {
						_, tests, _ := m.Caught.Package()
						names = append(names, tests)
					}
				}
				slices.Sort(names)
				names = slices.Compact(names)
				if out, err := run(t, binary, root, pkg, engine, strings.Join(names, "|")); err != nil {
					t.Errorf("the tests fail without any mutant: %v\n%s", err, out)
				}
			}
		})
	}
	for _, m := range all {
		pkg, tests, ok := m.Caught.Package()
		if !ok {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			overlay, err := m.Plant(root, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			out, err := run(t, build(t, root, pkg, overlay), root, pkg, m.Caught.Engine, tests)
			switch exit, failed := errors.AsType[*exec.ExitError](err); {
			case err == nil:
				t.Errorf("survives %s on %s; what it breaks is not tested: %s", m.Caught.Command, m.Caught.Engine, m.Breaks)
			case !failed || exit.ExitCode() != 1 || !strings.Contains(out, "--- FAIL: "):
				t.Errorf("%s did not fail as a test does: %v\n%s", m.Caught.Command, err, out)
			case !strings.Contains(out, m.Caught.Says):
				t.Errorf("%s fails, but does not say %q:\n%s", m.Caught.Command, m.Caught.Says, out)
			}
		})
	}
}

// engines are those that some of the mutants need.
func engines(planted []mutants.Mutant) []string {
	var names []string
	for _, m := range planted {
		names = append(names, m.Caught.Engine)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// build compiles the tests of a package, with an overlay if there is one. It must compile: a mutant
// that the compiler catches proves nothing.
func build(t *testing.T, root, pkg, overlay string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	binary := filepath.Join(t.TempDir(), "tests")
	arguments := []string{"test", "-c", "-vet=off", "-ldflags=-s -w", "-o", binary}
	if overlay != "" {
		arguments = append(arguments, "-overlay", overlay)
	}
	command := exec.CommandContext(ctx, "go", append(arguments, pkg)...)
	command.Dir = root
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build the tests of %s: %v\n%s", pkg, err, out)
	}
	return binary
}

// run runs some compiled tests in the folder of their package, on one engine.
func run(t *testing.T, binary, root, pkg, engine, tests string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, binary, "-test.run", tests, "-test.timeout", "100s")
	command.Dir = t.TempDir() // property tests leave files about failures where they run
	if engine == "sqlite" {
		command.Env = append(os.Environ(), sqldbtest.DSNVariable+"=")
	}
	out, err := command.CombinedOutput()
	return string(out), err
}

// TestMutantsAreWritten holds the mutants to the list that people read.
func TestMutantsAreWritten(t *testing.T) {
	t.Parallel()
	all, _ := load(t)
	if len(all) < 15 {
		t.Errorf("%d mutants, want at least 15", len(all))
	}
	for command, least := range map[string]int{mutants.Audit: 3, mutants.Verify: 2} {
		if n := len(slices.DeleteFunc(slices.Clone(all), func(m mutants.Mutant) bool { return m.Caught.Command != command })); n < least {
			t.Errorf("%d mutants are caught by %s, want at least %d", n, command, least)
		}
	}
	var table strings.Builder
	table.WriteString(tableHead)
	for _, m := range all {
		on := ""
		if m.Caught.Engine != "sqlite" {
			on = " on " + m.Caught.Engine
		}
		fmt.Fprintf(&table, "| [%s](%s.txtar) | %s | %s | `%s`%s |\n", m.Name, m.Name, m.Bug, m.Breaks, strings.ReplaceAll(m.Caught.Command, "|", `\|`), on)
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	before, written, found := strings.Cut(string(text), tableHead)
	if !found {
		t.Fatalf("README.md has no table that begins with %q", tableHead)
	}
	if *update {
		if err := os.WriteFile("README.md", []byte(before+table.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table.String(), tableHead+written); diff != "" {
		t.Errorf("the table of README.md is not that of the mutants; go test ./test/mutants -run TestMutantsAreWritten -update writes it (-want +got):\n%s", diff)
	}
}

const tableHead = "| mutant | bug | breaks the promise | caught by |\n|---|---|---|---|\n"

// A mutant whose text has gone from the sources, or stands there twice, is an error that names it.
func TestStaleMutant(t *testing.T) {
	t.Parallel()
	folder, root := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a.go"), []byte("package a\n\nvar x = 1\nvar y = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for old, want := range map[string]string{"var z": "0 times", "1": "2 times", "var x = 1": ""} {
		text := "bug: b\nbreaks: p\ncaught by: go test ./a -run X\nsays: no\n-- old a.go --\n" + old + "\n-- new a.go --\nvar x = 2\n"
		if err := os.WriteFile(filepath.Join(folder, "some.txtar"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := mutants.Load(folder)
		if err != nil || len(all) != 1 {
			t.Fatalf("Load = %v, %v, want one mutant", all, err)
		}
		overlay, err := all[0].Plant(root, t.TempDir())
		if want == "" {
			if planted, errRead := os.ReadFile(filepath.Join(filepath.Dir(overlay), "0-a.go")); err != nil || errRead != nil || !strings.Contains(string(planted), "var x = 2") {
				t.Errorf("planted = %q, %v, %v, want x to be 2", planted, err, errRead)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "mutant some") {
			t.Errorf("Plant with old text %q = %v, want an error that names the mutant and says %s", old, err, want)
		}
	}
	for _, text := range []string{"", "bug: b\n", "bug: b\nbreaks: p\ncaught by: tienda audit\nsays: s\n", "bug: b\nbreaks: p\ncaught by: tienda audit\nsays: s\n-- a.go --\n-- b.go --\n", "bug: b\nbreaks: p\ncaught by: luck\nsays: s\n-- old a.go --\n1\n-- new a.go --\n2\n", "what: x\n"} {
		if err := os.WriteFile(filepath.Join(folder, "some.txtar"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := mutants.Load(folder); err == nil {
			t.Errorf("Load of %q = nil error, want one", text)
		}
	}
}
