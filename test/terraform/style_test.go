package terraform

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-config-inspect/tfconfig"
)

var update = flag.Bool("update", false, "write what is generated anew")

func load(t *testing.T, name string) *tfconfig.Module {
	t.Helper()
	module, problems := tfconfig.LoadModule(filepath.Join(root, "deploy/terraform", name))
	if problems.HasErrors() {
		t.Fatalf("%s: %v", name, problems)
	}
	return module
}

// TestSecretsStayOutOfGit: private keys and plans that the documents have people make in the checkout are none of git's business.
func TestSecretsStayOutOfGit(t *testing.T) {
	t.Parallel()
	ignore, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	if err := os.WriteFile(filepath.Join(empty, ".gitignore"), ignore, 0o600); err != nil {
		t.Fatal(err)
	}
	git := func(arguments ...string) ([]byte, error) {
		return exec.CommandContext(t.Context(), "git", append([]string{"-C", empty, "-c", "core.excludesFile="}, arguments...)...).CombinedOutput()
	}
	if out, err := git("init", "--quiet"); err != nil {
		t.Fatalf("git init: %v: %s", err, out)
	}
	var made []string
	for _, name := range []string{"terraform.md", "recovery.md"} {
		text, err := os.ReadFile(filepath.Join(root, "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`keygen --out (\S+)|(?m)^terraform .*> (\S+)$|(?m)^aws s3api get-object .* (\S+)$|-chdir=(\S+) plan -out=(\S+)`).FindAllStringSubmatch(string(text), -1) {
			made = append(made, filepath.Join(match[1:]...))
		}
	}
	made = slices.Compact(slices.Sorted(slices.Values(made)))
	if len(made) < 5 {
		t.Errorf("the documents have people make %q, want two keys, a plan, its JSON and a state", made)
	}
	for _, name := range made {
		if out, err := git("check-ignore", name); err != nil {
			t.Errorf("git would take %s: %v %s", name, err, out)
		}
	}
}

// TestEnvironmentsDifferInValues: everything of production is stage's, by a link, but for values, the place of the state, and what is
// expected.
func TestEnvironmentsDifferInValues(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"cluster", "platform"} {
		folder := filepath.Join(root, "deploy/terraform/environments/production", part)
		files, err := filepath.Glob(filepath.Join(folder, "*.tf"))
		if err != nil || len(files) < 5 {
			t.Fatalf("%s: %v, %v", folder, files, err)
		}
		for _, file := range files {
			name := filepath.Base(file)
			target, err := os.Readlink(file)
			if want := filepath.Join("../../stage", part, name); name != "backend.tf" && (err != nil || target != want) {
				t.Errorf("%s is no link to %s: %v; what differs belongs into terraform.tfvars", file, want, err)
			}
		}
	}
}

// TestBackends: the four states differ in their place and in nothing else, and each is locked.
func TestBackends(t *testing.T) {
	t.Parallel()
	var same string
	for _, environment := range []string{"stage", "production"} {
		for part, state := range map[string]string{"cluster": "terraform", "platform": "platform"} {
			name := filepath.Join(environment, part, "backend.tf")
			text, err := os.ReadFile(filepath.Join(root, "deploy/terraform/environments", name))
			if err != nil {
				t.Fatal(err)
			}
			place := fmt.Sprintf("%q", environment+"/"+state+".tfstate")
			if strings.Count(string(text), place) != 1 {
				t.Errorf("%s does not put the state at %s", name, place)
			}
			if !regexp.MustCompile(`(?m)^ +use_lockfile += true\b`).Match(text) {
				t.Errorf("%s does not lock the state", name)
			}
			rest := strings.Replace(string(text), place, "KEY", 1)
			if same == "" {
				same = rest
			}
			if diff := cmp.Diff(same, rest); diff != "" {
				t.Errorf("%s differs from another one in more than its place:\n%s", name, diff)
			}
		}
	}
}

// TestVariables: each has a type that says something and a description, and what is wrong with a value is said with what to do.
func TestVariables(t *testing.T) {
	t.Parallel()
	sentence := regexp.MustCompile(`error_message\s*=\s*"(.*)"`)
	whatToDo := regexp.MustCompile(`(^|[.:] )(Give|Set|Apply) |, or set |standby to 0`)
	for _, name := range roots(t) {
		module := load(t, name)
		for _, v := range module.Variables {
			if v.Description == "" || v.Type == "" || strings.Contains(v.Type, "any") {
				t.Errorf("%s: variable %s has the type %q and the description %q", name, v.Name, v.Type, v.Description)
			}
		}
		for _, o := range module.Outputs {
			if o.Description == "" {
				t.Errorf("%s: output %s has no description", name, o.Name)
			}
			if regexp.MustCompile(`password|token|secret|kubeconfig|kube_config`).MatchString(o.Name) {
				t.Errorf("%s: output %s sounds like a secret", name, o.Name)
			}
		}
		files, err := filepath.Glob(filepath.Join(root, "deploy/terraform", name, "*.tf"))
		if err != nil {
			t.Fatal(err)
		}
		var used strings.Builder
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			used.Write(text)
			for _, match := range sentence.FindAllStringSubmatch(string(text), -1) {
				if !whatToDo.MatchString(match[1]) || !strings.HasSuffix(match[1], ".") {
					t.Errorf("%s: %q does not say what to do", file, match[1])
				}
			}
			if regexp.MustCompile(`\bcreate\s*=\s*var\b|"create_|variable "create`).Match(text) {
				t.Errorf("%s has a flag that creates: use count on the module", file)
			}
		}
		for _, v := range module.Variables {
			elsewhere := regexp.MustCompile(`(?ms)^variable "`+v.Name+`" \{.*?^\}`).ReplaceAllString(used.String(), "")
			if !regexp.MustCompile(`\bvar\.` + v.Name + `\b`).MatchString(elsewhere) {
				t.Errorf("%s: nothing uses the variable %s", name, v.Name)
			}
		}
	}
}

// TestLint: tflint finds nothing, with all of its rules, and finds what is there to be found.
func TestLint(t *testing.T) {
	t.Parallel()
	program := os.Getenv("TFLINT")
	if program == "" {
		t.Fatal("TFLINT names no program: make test-terraform builds tflint and says where it is")
	}
	config, err := filepath.Abs(filepath.Join(root, "deploy/terraform/.tflint.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	lint := func(folder string) (string, error) {
		command := exec.CommandContext(t.Context(), program, "--config", config, "--format", "compact")
		command.Dir = folder
		out, err := command.CombinedOutput()
		return string(out), err
	}
	for _, name := range roots(t) {
		if out, err := lint(filepath.Join(root, "deploy/terraform", name)); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, "main.tf"), []byte("variable \"unused\" {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := lint(bad); err == nil || !strings.Contains(out, "terraform_unused_declarations") {
		t.Errorf("an unused variable is not found: %v\n%s", err, out)
	}
}

// TestReadmes: the README of each module and of bootstrap is that of its variables; "make terraform-docs" writes it.
func TestReadmes(t *testing.T) {
	t.Parallel()
	for _, name := range roots(t) {
		if strings.HasPrefix(name, "environments") {
			continue
		}
		path := filepath.Join(root, "deploy/terraform", name, "README.md")
		want := readme(t, name)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s is not what make terraform-docs writes (-want +got):\n%s", path, diff)
		}
	}
}

// readme is the comment at the top of main.tf, then tables.
func readme(t *testing.T, name string) string {
	t.Helper()
	main, err := os.ReadFile(filepath.Join(root, "deploy/terraform", name, "main.tf"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "<!-- Made by make terraform-docs from the files beside it. -->\n# %s\n\n", filepath.Base(name))
	for line := range strings.Lines(string(main)) {
		text, comment := strings.CutPrefix(line, "# ")
		if !comment {
			break
		}
		out.WriteString(text)
	}
	module := load(t, name)
	out.WriteString("\n## Variables\n\n| name | type | default | what it is |\n|---|---|---|---|\n")
	cell := func(text string) string {
		return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|")
	}
	for _, key := range slices.Sorted(maps.Keys(module.Variables)) {
		v := module.Variables[key]
		standard := "to be given"
		if !v.Required {
			standard = fmt.Sprintf("`%v`", jsonOf(t, v.Default))
		}
		fmt.Fprintf(&out, "| `%s` | `%s` | %s | %s |\n", v.Name, cell(v.Type), cell(standard), cell(v.Description))
	}
	if len(module.Outputs) > 0 {
		out.WriteString("\n## Outputs\n\n| name | what it is |\n|---|---|\n")
		for _, key := range slices.Sorted(maps.Keys(module.Outputs)) {
			fmt.Fprintf(&out, "| `%s` | %s |\n", key, cell(module.Outputs[key].Description))
		}
	}
	out.WriteString("\n## Resources\n\n")
	for _, key := range slices.Sorted(maps.Keys(module.ManagedResources)) {
		fmt.Fprintf(&out, "* `%s`\n", key)
	}
	for _, key := range slices.Sorted(maps.Keys(module.DataResources)) {
		fmt.Fprintf(&out, "* `%s`\n", key)
	}
	return out.String()
}
