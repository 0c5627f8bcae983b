package terraform

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAnotherCheckout: who applies and who plans afterwards need not have the repository at the same place, and a chart of ours that changed
// is something to do although its version is the same.
func TestAnotherCheckout(t *testing.T) {
	t.Parallel()
	const stage = "deploy/terraform/environments/stage/platform"
	w := newWorkspace(t, programs(t)[0], "environments/stage/platform")
	if err := os.Remove(filepath.Join(w.folder, "backend.tf")); err != nil {
		t.Fatal(err)
	}
	w.give()
	w.environ = append(w.environ, "TF_VAR_kubeconfig=main.tf", "TF_CLI_ARGS=-no-color")
	w.run("init")
	w.run("apply", "-auto-approve")
	elsewhere := filepath.Join(t.TempDir(), "checkout")
	if err := os.Rename(strings.TrimSuffix(w.folder, stage), elsewhere); err != nil {
		t.Fatal(err)
	}
	w.folder = elsewhere
	plan := func() string { return w.run("-chdir="+stage, "plan") } // as make calls it
	if out := plan(); !strings.Contains(out, "No changes.") {
		t.Errorf("another checkout has something to do:\n%s", out)
	}
	for chart, release := range map[string]string{"issuers": "module.cert_manager.helm_release.issuers", "tienda": "module.shop[0].helm_release.main"} {
		w.write(filepath.Join("deploy/helm", chart, "templates/another.yaml"), "# changed\n")
		if out := plan(); !strings.Contains(out, release+" will be updated in-place") {
			t.Errorf("a changed chart %s is nothing to do:\n%s", chart, out)
		}
	}
}
