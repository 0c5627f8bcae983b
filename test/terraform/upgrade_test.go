package terraform

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUpgradeDrill is the drill of docs/terraform.md in stage: a patch, which stays when it is withdrawn, then the next minor version, each in place and none a
// replacement; one that is not on offer is refused with what there is. What cannot be changed in place is planned as what it is.
func TestUpgradeDrill(t *testing.T) {
	t.Parallel()
	for _, program := range programs(t) {
		t.Run(filepath.Base(program), func(t *testing.T) {
			t.Parallel()
			w := newWorkspace(t, program, "environments/stage/cluster")
			if err := os.Remove(filepath.Join(w.folder, "backend.tf")); err != nil {
				t.Fatal(err)
			}
			w.give()
			schemas := t.TempDir()
			if err := os.CopyFS(schemas, os.DirFS("schemas")); err != nil {
				t.Fatal(err)
			}
			offered := func(patch string) { // of 1.35, by DigitalOcean
				text, err := os.ReadFile("schemas/data.json")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(schemas, "data.json"), []byte(strings.ReplaceAll(string(text), "1.35.6-do.0", patch)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			w.environ = append(w.environ, "REPLAY="+schemas, "TF_CLI_ARGS=-no-color")
			w.run("init")
			offered("1.35.5-do.2")
			w.run("apply", "-auto-approve")
			upgrade := func(from, to string, arguments ...string) {
				t.Helper()
				out := w.run(append([]string{"plan"}, arguments...)...)
				if !strings.Contains(out, "will be updated in-place") || strings.Contains(out, "replace") || !strings.Contains(out, `"`+from+`" -> "`+to+`"`) || !strings.Contains(out, "0 to add, 1 to change, 0 to destroy") {
					t.Errorf("from %s to %s:\n%s", from, to, out)
				}
				w.run(append([]string{"apply", "-auto-approve"}, arguments...)...)
				if out := w.run(append([]string{"plan"}, arguments...)...); !strings.Contains(out, "No changes.") {
					t.Errorf("after %s there is something to do:\n%s", to, out)
				}
			}
			// How many nodes there are is the autoscaler's business after the start.
			if out := w.run("plan", "-var", `pool={size="s-2vcpu-2gb",start_nodes=5,min_nodes=2,max_nodes=5}`); !strings.Contains(out, "No changes.") {
				t.Errorf("the number of nodes is fought over:\n%s", out)
			}
			offered("1.35.6-do.0")
			upgrade("1.35.5-do.2", "1.35.6-do.0")
			// A patch is withdrawn: to go back would be a cluster made anew.
			offered("1.35.5-do.2")
			if out := w.run("plan", "-var", "running_version=1.35.6-do.0"); !strings.Contains(out, "No changes.") {
				t.Errorf("the cluster does not stay at a patch that is not on offer any more:\n%s", out)
			}
			offered("1.35.10-do.0")
			if out := w.run("plan", "-var", "running_version=1.35.6-do.0"); !strings.Contains(out, `-> "1.35.10-do.0"`) {
				t.Errorf("a newer patch is not taken:\n%s", out)
			}
			offered("1.35.6-do.0")
			const next = "kubernetes_minor=1.36"
			upgrade("1.35.6-do.0", "1.36.1-do.0", "-var", next, "-var", "running_version=1.35.6-do.0")
			out, err := w.try("plan", "-var", "kubernetes_minor=1.37")
			if words := strings.Join(strings.Fields(strings.NewReplacer("│", "", "╷", "", "╵", "").Replace(out)), " "); err == nil || !strings.Contains(words, "DigitalOcean offers no Kubernetes 1.37. Set kubernetes_minor to one of 1.36, 1.35.") {
				t.Errorf("a version that is not on offer: %v\n%s", err, out)
			}
			if out := w.run("plan", "-var", next, "-var", `pool={size="s-2vcpu-4gb",start_nodes=3,min_nodes=2,max_nodes=5}`); !strings.Contains(out, "must be replaced") {
				t.Errorf("other nodes are no replacement of the cluster:\n%s", out)
			}
		})
	}
}
