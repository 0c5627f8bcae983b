package tienda_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestWorkflows: GitHub's workflows run scripts of the repository and targets of make that are there, take actions by their commit,
// and may write only what is named here.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	type job struct {
		Uses        string
		Permissions map[string]string
		Steps       []struct{ Uses, Run string }
	}
	var (
		pinned   = regexp.MustCompile(`^[a-z-]+/[a-z-]+@[0-9a-f]{40}$`)
		target   = regexp.MustCompile(`^make (?:"\$ACTION-\$ENVIRONMENT"|([a-z-]+))`)
		mayWrite = map[string]bool{"release.yml image packages": true, "release.yml image id-token": true, "release.yml image attestations": true}
	)
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("workflows: %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var workflow struct {
			Permissions map[string]string
			Jobs        map[string]job
		}
		if err := yaml.Unmarshal(text, &workflow); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(workflow.Permissions) != 1 || workflow.Permissions["contents"] != "read" {
			t.Errorf("%s: its permissions are %v, and what a job needs beside reading belongs to the job", file, workflow.Permissions)
		}
		for name, j := range workflow.Jobs {
			for what, how := range j.Permissions {
				if how != "read" && !mayWrite[filepath.Base(file)+" "+name+" "+what] {
					t.Errorf("%s: %s may %s %s", file, name, how, what)
				}
			}
			if j.Uses != "" && !strings.HasPrefix(j.Uses, "./.github/workflows/") {
				t.Errorf("%s: %s uses %s of somebody else", file, name, j.Uses)
			}
			for _, step := range j.Steps {
				if step.Uses != "" && !pinned.MatchString(step.Uses) {
					t.Errorf("%s: %s uses %s, which is not pinned by its commit", file, name, step.Uses)
				}
				made := target.FindStringSubmatch(step.Run)
				switch {
				case step.Run == "", strings.HasSuffix(step.Run, " ./.ci/run"):
				case made == nil:
					t.Errorf("%s: %s runs %q, which is neither make nor a script of the repository", file, name, step.Run)
				case made[1] != "" && !regexp.MustCompile(`(?m)^`+made[1]+`:`).Match(makefile):
					t.Errorf("%s: %s makes %s, which the Makefile does not", file, name, made[1])
				}
			}
		}
	}
}
