package terraform

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// root is the folder of the repository, seen from here.
const root = "../.."

// roots are the folders that are configurations of their own: every module, every root of an environment, and bootstrap.
func roots(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"modules/*", "environments/*/*", "bootstrap"} {
		folders, err := filepath.Glob(filepath.Join(root, "deploy/terraform", pattern))
		if err != nil || len(folders) == 0 {
			t.Fatalf("%s: %v, %v", pattern, folders, err)
		}
		for _, folder := range folders {
			name, err := filepath.Rel(filepath.Join(root, "deploy/terraform"), folder)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, name)
		}
	}
	return found
}

// programs are those that everything has to work with: OpenTofu, which make builds, and Terraform where it is installed.
func programs(t *testing.T) []string {
	t.Helper()
	tofu := os.Getenv("TOFU")
	if tofu == "" {
		t.Fatal("TOFU names no program: make test-terraform builds OpenTofu and says where it is")
	}
	all := []string{tofu}
	if terraform, err := exec.LookPath("terraform"); err == nil {
		all = append(all, terraform)
	}
	return all
}

// mirror is a folder with providers that replay recordings, and the configuration that has no others used.
var mirror = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "providers")
	if err != nil {
		return "", err
	}
	program := filepath.Join(folder, "replay")
	if out, err := exec.Command("go", "build", "-o", program, "./replay").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	for address, version := range map[string]string{"digitalocean/digitalocean": "2.99.1", "hashicorp/kubernetes": "3.2.1", "hashicorp/helm": "3.1.2"} {
		// Terraform and OpenTofu look for the same providers at different hosts.
		for _, host := range []string{"registry.terraform.io", "registry.opentofu.org"} {
			place := filepath.Join(folder, host, address, version, "linux_amd64")
			if err := os.MkdirAll(place, 0o755); err != nil {
				return "", err
			}
			if err := os.Link(program, filepath.Join(place, "terraform-provider-"+filepath.Base(address)+"_v"+version)); err != nil {
				return "", err
			}
		}
	}
	text := fmt.Sprintf("provider_installation {\n  filesystem_mirror { path = %q }\n}\ndisable_checkpoint = true\n", folder)
	return folder, os.WriteFile(filepath.Join(folder, "rc"), []byte(text), 0o644)
})

func TestMain(m *testing.M) {
	status := m.Run()
	if folder, err := mirror(); err == nil {
		_ = os.RemoveAll(folder) // a temporary folder that is left disturbs nobody
	}
	os.Exit(status)
}

// workspace is a copy of what Terraform reads, in which a program works.
type workspace struct {
	t       testing.TB
	program string
	folder  string // the root in it
	environ []string
}

// newWorkspace copies deploy/terraform and the charts that it installs.
func newWorkspace(t *testing.T, program, name string) *workspace {
	t.Helper()
	folder := t.TempDir()
	for _, part := range []string{"deploy/terraform", "deploy/helm/tienda", "deploy/helm/issuers", "deploy/helm/prerequisites"} {
		if err := os.CopyFS(filepath.Join(folder, part), os.DirFS(filepath.Join(root, part))); err != nil {
			t.Fatal(err)
		}
	}
	return workspaceIn(t, program, filepath.Join(folder, "deploy/terraform", name))
}

func workspaceIn(t *testing.T, program, folder string) *workspace {
	t.Helper()
	providers, err := mirror()
	if err != nil {
		t.Fatal(err)
	}
	schemas, err := filepath.Abs("schemas")
	if err != nil {
		t.Fatal(err)
	}
	return &workspace{t, program, folder, []string{"TF_CLI_CONFIG_FILE=" + filepath.Join(providers, "rc"), "REPLAY=" + schemas, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1", "TF_INPUT=0",
		"GOGC=off", "GOMEMLIMIT=512MiB"}} // hundreds of processes that live for a second have nothing to collect
}

// command is a call of the program.
func (w *workspace) command(ctx context.Context, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, w.program, arguments...)
	command.Dir = w.folder
	// Nothing of whoever runs the tests: a token or keys of theirs must not get here.
	command.Env = slices.Concat([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.folder}, w.environ)
	return command
}

// try calls the program and returns what it says.
func (w *workspace) try(arguments ...string) (string, error) {
	out, err := w.command(w.t.Context(), arguments...).CombinedOutput()
	return string(out), err
}

// run calls the program, which must succeed.
func (w *workspace) run(arguments ...string) string {
	w.t.Helper()
	out, err := w.try(arguments...)
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", filepath.Base(w.program), strings.Join(arguments, " "), err, out)
	}
	return out
}

// write puts a file beside the configuration.
func (w *workspace) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.folder, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// TestFormat: everything is formatted as the program formats it.
func TestFormat(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, programs(t)[0], ".")
	if out, err := w.try("fmt", "-check", "-diff", "-recursive", "."); err != nil {
		t.Errorf("not formatted; tofu fmt -recursive deploy/terraform does it: %v\n%s", err, out)
	}
}

// TestRoots validates every module and every root with the schemas of the real providers, and runs its tests.
func TestRoots(t *testing.T) {
	t.Parallel()
	for _, program := range programs(t) {
		for _, name := range roots(t) {
			t.Run(filepath.Base(program)+"/"+name, func(t *testing.T) {
				t.Parallel()
				w := newWorkspace(t, program, name)
				w.run("init", "-backend=false", "-no-color")
				w.run("validate", "-no-color")
				if out := w.run("test", "-no-color"); !strings.Contains(out, "Success! ") || strings.Contains(out, " 0 passed") {
					t.Errorf("no test ran:\n%s", out)
				}
			})
		}
	}
}

// TestWrongArguments: the recorded schemas are looked at, so that a misspelt argument is found.
func TestWrongArguments(t *testing.T) {
	t.Parallel()
	for _, program := range programs(t) {
		w := newWorkspace(t, program, "modules/vpc")
		text, err := os.ReadFile(filepath.Join(w.folder, "main.tf"))
		if err != nil {
			t.Fatal(err)
		}
		w.write("main.tf", string(bytes.Replace(text, []byte("  ip_range    ="), []byte("  ip_rnage    ="), 1)))
		w.run("init", "-backend=false", "-no-color")
		if out, err := w.try("validate", "-no-color"); err == nil || !strings.Contains(out, "ip_rnage") {
			t.Errorf("%s: a misspelt argument is valid: %v\n%s", program, err, out)
		}
	}
}
