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
	Env, With     map[string]string
}

// workflow is what is read of a file of GitHub's.
type workflow struct {
	Permissions map[string]string
	Jobs        map[string]struct {
		Uses, If    string
		Needs       any // a name, or several
		With        map[string]string
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
		"deploy-stage", "image VERSION=v1.2.3 PUSH=ghcr.io/shop/tienda:v1.2.3", "package VERSION=v1.2.3 PUSH=ghcr.io/shop/tienda/charts", "scan",
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

// TestWorkflowVariables: what people write into own.auto.tfvars, an apply at GitHub is given as well, or it would take it back.
func TestWorkflowVariables(t *testing.T) {
	t.Parallel()
	var given map[string]string
	for _, s := range workflows(t)["environment.yml"].Jobs["environment"].Steps {
		if s.Run != "" {
			given = s.Env
		}
	}
	examples, err := filepath.Glob("deploy/terraform/environments/*/*/own.auto.tfvars.example")
	if err != nil || len(examples) != 4 {
		t.Fatalf("examples: %v, %v; want those of four roots", examples, err)
	}
	for _, example := range examples {
		text, err := os.ReadFile(example)
		if err != nil {
			t.Fatal(err)
		}
		variables := regexp.MustCompile(`(?m)^([a-z_]+) *= (.*)$`).FindAllStringSubmatch(string(text), -1)
		if len(variables) == 0 {
			t.Errorf("%s has no variables", example)
		}
		for _, v := range variables {
			name, value := v[1], v[2]
			switch handed := given["TF_VAR_"+name]; {
			case name == "image": // IMAGE, which environment.sh makes it of
				if given["IMAGE"] == "" {
					t.Errorf("%s: environment.yml hands no IMAGE over", example)
				}
			case handed == "":
				t.Errorf("%s: environment.yml does not hand %s over", example, name)
			case value == "true" && !strings.Contains(handed, "|| 'true'"): // an empty text is no answer to yes or no
				t.Errorf("%s: %s is %s unless somebody says otherwise, and %q at GitHub", example, name, value, handed)
			}
		}
	}
	for _, name := range []string{"TERRAFORM", "TF_ENCRYPTION"} { // states that OpenTofu has encrypted
		if given[name] == "" {
			t.Errorf("environment.yml does not hand %s over", name)
		}
	}
}

// TestPlanComesBeforeApproval: whoever is asked to let an apply go on can read its plan, which a job has made that needs nobody's approval.
func TestPlanComesBeforeApproval(t *testing.T) {
	t.Parallel()
	jobs := workflows(t)["infrastructure.yml"].Jobs
	plan, change := jobs["plan"], jobs["change"]
	if plan.With["action"] != "plan" || !strings.HasSuffix(plan.With["approval"], "-plan") || !strings.Contains(plan.If, "inputs.action == 'apply'") {
		t.Errorf("the job plan is not one of an apply: %+v", plan)
	}
	if change.Needs != "plan" || !strings.Contains(change.If, "needs.plan.result == 'success' || inputs.action != 'apply'") || strings.HasSuffix(change.With["approval"], "-plan") {
		t.Errorf("the job change goes on without a plan: %+v", change)
	}
	if plan.With["image"] != "${{ inputs.image || vars.IMAGE }}" || change.With["image"] != "${{ inputs.image || inputs.action == 'apply' && vars.IMAGE || '' }}" {
		t.Errorf("the plan is of image %s and the change of %s: want the same for an apply, and none but the one given for a deployment", plan.With["image"], change.With["image"])
	}
}

// TestBillsAreBound: each platform's bill of materials is signed as one of the image, by its digest.
func TestBillsAreBound(t *testing.T) {
	t.Parallel()
	bound := map[string]string{}
	for _, s := range workflows(t)["release.yml"].Jobs["release"].Steps {
		if strings.HasPrefix(s.Uses, "actions/attest-sbom@") {
			bound[s.With["sbom-path"]] = s.With["subject-digest"]
		}
	}
	want := map[string]string{}
	for _, architecture := range []string{"amd64", "arm64"} {
		want["bin/tienda.linux-"+architecture+".cdx.json"] = "${{ steps.image.outputs.digest }}"
	}
	if diff := cmp.Diff(want, bound); diff != "" {
		t.Errorf("bills of materials and what they are bound to (-want +got):\n%s", diff)
	}
}
