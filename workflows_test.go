package tienda_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// step is one of a job.
type step struct {
	Uses, Run, ID string
	Env           map[string]string
}

// workflow is what is read of a file of GitHub's.
type workflow struct {
	Permissions map[string]string
	Jobs        map[string]struct {
		Uses        string
		Permissions map[string]string
		Steps       []step
	}
}

// workflows are all of them, by the name of their file.
func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("workflows: %v, %v", files, err)
	}
	all := map[string]workflow{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var w workflow
		if err := yaml.Unmarshal(text, &w); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[filepath.Base(file)] = w
	}
	return all
}

// TestWorkflows: GitHub's workflows run scripts of the repository and targets of make that are there, take actions by their commit,
// and may write only what is named here.
func TestWorkflows(t *testing.T) {
	t.Parallel()
	var (
		pinned   = regexp.MustCompile(`^[a-z-]+/[a-z-]+@[0-9a-f]{40}$`)
		target   = regexp.MustCompile(`^make (?:"\$ACTION-\$ENVIRONMENT"|([a-z-]+))`)
		mayWrite = map[string]bool{"release.yml release packages": true, "release.yml release id-token": true, "release.yml release attestations": true}
	)
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for file, workflow := range workflows(t) {
		if len(workflow.Permissions) != 1 || workflow.Permissions["contents"] != "read" {
			t.Errorf("%s: its permissions are %v, and what a job needs beside reading belongs to the job", file, workflow.Permissions)
		}
		for name, j := range workflow.Jobs {
			for what, how := range j.Permissions {
				if how != "read" && !mayWrite[file+" "+name+" "+what] {
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

// TestWorkflowScripts runs what workflows run, with a make that writes down what it is asked and says what the real one says, and asks the
// real one whether it knows how to make that. What later steps need of a step's output is there.
func TestWorkflowScripts(t *testing.T) {
	t.Parallel()
	digests := map[string]string{"image": "sha256:" + strings.Repeat("1", 64), "tienda": "sha256:" + strings.Repeat("2", 64), "issuers": "sha256:" + strings.Repeat("3", 64)}
	programs := t.TempDir()
	standIn := `#!/bin/sh
printf '%s\n' "$*" >>"$ASKED"
case "$1" in
image) printf 'image             bin/tienda.oci.tar\npushed            ghcr.io/shop/tienda@` + digests["image"] + `\n' ;;
package) printf 'chart             bin/tienda-1.0.0.tgz\npushed            ghcr.io/shop/tienda/charts/tienda@` + digests["tienda"] + `\npushed            ghcr.io/shop/tienda/charts/issuers@` + digests["issuers"] + `\n' ;;
esac
`
	if err := os.WriteFile(filepath.Join(programs, "make"), []byte(standIn), 0o755); err != nil {
		t.Fatal(err)
	}
	given := map[string]string{"ACTION": "deploy", "ENVIRONMENT": "stage", "REPOSITORY": "shop/tienda", "TAG": "v1.2.3"}
	var asked []string
	outputs := map[string]string{}
	for file, workflow := range workflows(t) {
		for _, j := range workflow.Jobs {
			for _, s := range j.Steps {
				if s.Run == "" || strings.HasSuffix(s.Run, "./.ci/run") {
					continue
				}
				folder := t.TempDir()
				command := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", s.Run)
				command.Env = []string{"PATH=" + programs + ":" + os.Getenv("PATH"), "ASKED=" + filepath.Join(folder, "asked"), "GITHUB_OUTPUT=" + filepath.Join(folder, "output")}
				for name := range s.Env {
					command.Env = append(command.Env, name+"="+given[name])
				}
				if out, err := command.CombinedOutput(); err != nil {
					t.Errorf("%s: %s: %v\n%s", file, s.Run, err, out)
					continue
				}
				calls, err := os.ReadFile(filepath.Join(folder, "asked"))
				if err != nil {
					t.Fatalf("%s: %s calls nothing: %v", file, s.Run, err)
				}
				asked = append(asked, strings.Split(strings.TrimSpace(string(calls)), "\n")...)
				if s.ID != "" {
					text, err := os.ReadFile(filepath.Join(folder, "output"))
					if err != nil {
						t.Fatal(err)
					}
					outputs[s.ID] = string(text)
				}
			}
		}
	}
	slices.Sort(asked)
	want := []string{
		"deploy-stage", "image VERSION=v1.2.3 PUSH=ghcr.io/shop/tienda:v1.2.3", "package VERSION=v1.2.3 PUSH=ghcr.io/shop/tienda/charts", "scan", "scan",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("asked of make (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"image": "digest=" + digests["image"] + "\n", "charts": "tienda=" + digests["tienda"] + "\nissuers=" + digests["issuers"] + "\n"}, outputs); diff != "" {
		t.Errorf("outputs of steps (-want +got):\n%s", diff)
	}
	for _, call := range slices.Concat(asked, []string{"plan-production", "apply-stage", "rollback-production"}) {
		if out, err := exec.CommandContext(t.Context(), "make", append([]string{"-n"}, strings.Fields(call)...)...).CombinedOutput(); err != nil {
			t.Errorf("make %s: %v\n%s", call, err, out)
		}
	}
}
