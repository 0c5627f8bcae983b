// Package tienda_test holds the rules of the architecture as tests: who may import whom, that every
// package says what it is, and that there is one table of components.
package tienda_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rule says which of our packages a package may import, and why no more.
type rule struct {
	may []string
	why string
}

var (
	service  = rule{[]string{"api", "web", "sqldb", "auth", "journal", "fault"}, "services meet on the wire, through api; they never import each other or the kit"}
	protocol = rule{[]string{"web", "sqldb"}, "a protocol is one package: it knows nothing of the shop"}
)

// rules are those of every package that is not a command or a test; a package without a line fails.
var rules = map[string]rule{
	"api":             {nil, "the wire contract is for anybody: standard library only"},
	"auth":            {[]string{"api"}, "tokens name api's ids and problems"},
	"web":             {[]string{"api", "auth"}, "a route's access rule is checked against auth's caller"},
	"fault":           {nil, "the hooks of test builds stand everywhere, so they may depend on nothing"},
	"sqldb":           {[]string{"fault"}, "databases know nothing of what is stored in them"},
	"sqldb/sqldbtest": {[]string{"sqldb"}, "tests get databases here"},
	"journal":         {[]string{"api", "auth", "sqldb", "web"}, "the one thing that needs both web and sqldb"},
	"test/fleet":      {[]string{"sqldb", "api"}, "knows a shop by its command line and its ports; sqldb asks MariaDB for its sessions, the tests are customers"},
	"test/proof":      {[]string{"api", "load", "test/fleet"}, "an operator's proof: the fleet, customers, and nothing of the inside"},
	"test/drill":      {[]string{"api", "backup", "load", "sqldb", "test/fleet"}, "an operator's drill: servers that are destroyed, the program's own commands, and customers"},
	"test/scale":      {nil, "two shops are compared over HTTP, as customers see them"},
	"test/mutants":    {nil, "plants bugs into the sources and runs the go command; it imports none of them"},
	"balance":         {nil, "the choice among instances is the gateway's and the kit's, and knows neither"},
	"kit":             {[]string{"balance", "eureka", "cloudconfig", "zipkin", "web", "sqldb", "fault"}, "the kit runs services and does not know them"},
	"audit":           {[]string{"api", "sqldb"}, "it compares the tables of the services with one another, and shares no mistake of their code"},
	"backup":          {[]string{"sqldb"}, "copies whole servers with their own tools, and knows nothing of what is stored in them"},
	"cost":            {nil, "a price list and plans of Terraform; it knows nothing of the shop"},
	"load":            {[]string{"api", "sqldb"}, "a client knows the wire contract and nothing else; filling a shop in bulk needs its databases, not its packages"},
	"config":          {[]string{"cloudconfig"}, "only files, which a test reads as the server does"},
	"user":            service,
	"product":         service,
	"order":           service,
	"payment":         service,
	"shipping":        service,
	"favourite":       service,
	"gateway":         {append([]string{"balance"}, service.may...), service.why},
	"proxy":           service,
	"eureka":          protocol,
	"cloudconfig":     protocol,
	"zipkin":          protocol,
}

type goPackage struct {
	ImportPath   string
	Name         string
	Dir          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Dir,GoFiles,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for decoder.More() {
		var p goPackage
		if err := decoder.Decode(&p); err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
	return all
}

// TestImports holds everybody to the rules, tests included.
func TestImports(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		name, ours := strings.CutPrefix(p.ImportPath, "tienda/")
		if !ours || strings.HasPrefix(name, "cmd/") || name == "test" {
			continue
		}
		r, ok := rules[name]
		if !ok {
			t.Errorf("package %s has no import rule: add it to arch_test.go with the reason why a file would not do", name)
			continue
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			other, ours := strings.CutPrefix(imported, "tienda/")
			forTests := other == "sqldb/sqldbtest" && !slices.Contains(p.Imports, imported)
			if !ours || other == name || forTests || slices.Contains(r.may, other) {
				continue
			}
			t.Errorf("%s imports %s, but may import only %v: %s", name, other, r.may, r.why)
		}
		if name == "api" {
			for _, imported := range p.Imports {
				if strings.Contains(strings.Split(imported, "/")[0], ".") {
					t.Errorf("api imports %s: %s", imported, r.why)
				}
			}
		}
	}
}

// TestPackageComments demands that every package says what it is, in the file named after it.
func TestPackageComments(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		name := p.Name
		if len(p.GoFiles) == 0 {
			name = "arch_test" // the root of the module holds nothing else
		}
		file := filepath.Join(p.Dir, name+".go")
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("package %s: %v", p.ImportPath, err)
		} else if parsed.Doc == nil {
			t.Errorf("package %s has no comment in %s", p.ImportPath, file)
		}
	}
}

// TestHabits holds what no linter does: no init, no skipped tests, no words that say nothing as
// names, no file that nobody would read to the end.
func TestHabits(t *testing.T) {
	t.Parallel()
	for path, file := range goFiles(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "\n"); n > 600 {
			t.Errorf("%s has %d lines: is a second resource hiding in it?", path, n)
		}
		for _, word := range []string{"util", "utils", "common", "helpers", "misc"} {
			if slices.Contains(strings.Split(strings.TrimSuffix(path, ".go"), string(filepath.Separator)), word) {
				t.Errorf("%s: %q says nothing as a name", path, word)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil {
					t.Errorf("%s has an init function", path)
				}
			case *ast.SelectorExpr:
				if strings.HasPrefix(n.Sel.Name, "Skip") && strings.HasSuffix(path, "_test.go") {
					if x, ok := n.X.(*ast.Ident); ok && (x.Name == "t" || x.Name == "b") {
						t.Errorf("%s skips a test: what is missing must fail", path)
					}
				}
			}
			return true
		})
	}
}

// TestLedgersAreAppendOnly: no statement of the shop changes or removes a line of its ledgers. Triggers
// that forbid it would need rights that a managed MySQL does not give.
func TestLedgersAreAppendOnly(t *testing.T) {
	t.Parallel()
	ledgers := []string{"ledger_postings", "stock_movements", "shipment_events"}
	appended := map[string]bool{}
	for path, file := range goFiles(t) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			words := strings.Join(strings.Fields(literal.Value), " ")
			for _, ledger := range ledgers {
				appended[ledger] = appended[ledger] || strings.Contains(words, "INSERT INTO "+ledger)
				for _, change := range []string{"UPDATE ", "DELETE FROM ", "REPLACE INTO "} {
					if strings.Contains(words, change+ledger) {
						t.Errorf("%s changes what is only to be added to: %.60s", path, words)
					}
				}
			}
			return true
		})
	}
	for _, ledger := range ledgers {
		if !appended[ledger] {
			t.Errorf("nothing is added to %s: has it another name now?", ledger)
		}
	}
}

// TestExportedNamesAreDocumented asks for a sentence on every exported name.
func TestExportedNamesAreDocumented(t *testing.T) {
	t.Parallel()
	for path, file := range goFiles(t) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, declaration := range file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
					t.Errorf("%s: %s has no comment", path, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if s, ok := spec.(*ast.TypeSpec); ok && s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
						t.Errorf("%s: %s has no comment", path, s.Name.Name)
					}
				}
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	kind := d.Recv.List[0].Type
	if star, ok := kind.(*ast.StarExpr); ok {
		kind = star.X
	}
	if generic, ok := kind.(*ast.IndexExpr); ok {
		kind = generic.X
	}
	name, ok := kind.(*ast.Ident)
	return ok && name.IsExported()
}

// goFiles are all Go files of the module, parsed, by path.
func goFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (strings.HasPrefix(entry.Name(), ".") && path != "." || entry.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
