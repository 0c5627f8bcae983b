package tienda_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestScan: "make scan" fails for a vulnerability of a function that is in the program, names it, and passes for one that is
// not. Both are made up, in a database as Go's.
func TestScan(t *testing.T) {
	t.Parallel()
	const module = "github.com/go-sql-driver/mysql"
	for _, test := range []struct {
		name, symbol string
		found        bool
	}{
		{"in the program", "ParseDSN", true},
		{"not in it", "NobodyCallsThis", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			type object = map[string]any
			const id, day = "GO-2099-0001", "2026-01-01T00:00:00Z"
			folder := t.TempDir()
			for path, content := range map[string]any{
				"index/db.json":      object{"modified": day},
				"index/modules.json": []object{{"path": module, "vulns": []object{{"id": id, "modified": day, "fixed": "99.0.0"}}}},
				"ID/" + id + ".json": object{
					"schema_version": "1.3.1", "id": id, "modified": day, "published": day, "summary": "made up",
					"database_specific": object{"url": "https://pkg.go.dev/vuln/" + id},
					"affected": []object{{
						"package":            object{"name": module, "ecosystem": "Go"},
						"ranges":             []object{{"type": "SEMVER", "events": []object{{"introduced": "0"}, {"fixed": "99.0.0"}}}},
						"ecosystem_specific": object{"imports": []object{{"path": module, "symbols": []string{test.symbol}}}},
					}},
				},
			} {
				text, err := json.Marshal(content)
				if err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(folder, path)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.CommandContext(t.Context(), "make", "scan", "VULNDB=file://"+folder, "BIN="+filepath.Join(folder, "tienda")).CombinedOutput()
			if named := strings.Contains(string(out), id) && strings.Contains(string(out), "mysql."+test.symbol); (err != nil) != test.found || named != test.found {
				t.Errorf("%v; a vulnerability was found: %v, want %v\n%s", err, named, test.found, out)
			}
		})
	}
}
