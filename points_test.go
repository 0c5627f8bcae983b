package tienda_test

import (
	"flag"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite fault/points.txt")

// TestPointsAreListed: fault/points.txt names every transaction of the services, by the function that asks
// for it, and every step of a saga.
func TestPointsAreListed(t *testing.T) {
	t.Parallel()
	var points []string
	for path, file := range goFiles(t) {
		pkg := filepath.ToSlash(filepath.Dir(path))
		if strings.HasSuffix(path, "_test.go") || rules[pkg].why != service.why && pkg != "zipkin" {
			continue
		}
		for _, declaration := range file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if asksForTransaction(d) {
					points = append(points, "before-commit "+pkg+"."+d.Name.Name, "after-commit "+pkg+"."+d.Name.Name)
				}
			case *ast.GenDecl:
				if pkg == "order" {
					points = append(points, steps(t, d)...)
				}
			}
		}
	}
	slices.Sort(points)
	points = slices.Compact(points)
	if !slices.ContainsFunc(points, func(p string) bool { return strings.HasPrefix(p, "answered ") }) {
		t.Error("no constant of the type order.step is left: what are the steps of a saga called now?")
	}
	const path = "fault/points.txt"
	if *update {
		if err := os.WriteFile(path, []byte(strings.Join(points, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(points, strings.Split(strings.TrimSpace(string(text)), "\n")); diff != "" {
		t.Errorf("%s differs from the source; run go test . -run TestPointsAreListed -update and commit it (-source +file):\n%s", path, diff)
	}
}

// asksForTransaction reports whether a function calls the Tx of a database, or what of journal does.
func asksForTransaction(function *ast.FuncDecl) bool {
	found := false
	ast.Inspect(function, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		of, _ := selector.X.(*ast.Ident)
		switch {
		case selector.Sel.Name == "Tx" && len(call.Args) == 2,
			of != nil && of.Name == "journal" && slices.Contains([]string{"Once", "Forget", "Follow"}, selector.Sel.Name):
			found = true
		}
		return !found
	})
	return found
}

// steps are the points behind the constants of the type step.
func steps(t *testing.T, d *ast.GenDecl) []string {
	var points []string
	for _, spec := range d.Specs {
		value, ok := spec.(*ast.ValueSpec)
		if !ok || d.Tok != token.CONST {
			continue
		}
		if of, ok := value.Type.(*ast.Ident); !ok || of.Name != "step" {
			continue
		}
		for _, v := range value.Values {
			text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			if text != "done" { // where a saga rests
				points = append(points, "answered "+text)
			}
		}
	}
	return points
}
