package terraform

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
)

// guide is the operator's guide.
func guide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/terraform.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// done is what becomes of a block of commands of the guide.
type done struct {
	before func(block string) string // what a person knows by then and the guide does not
	fails  bool
	want   []string
	after  func()
}

// elsewhere are blocks that are not run here, with the reason.
func elsewhere() map[string]string {
	return map[string]string{
		"gh attestation verify oci://ghcr.io/OWNER/tienda:v1.0.0 --owner OWNER":                                   "asks GitHub about a release",
		"make apply-emulated PROVIDERS=DIR CLUSTER=kubeconfig":                                                    "wants the real providers; TestRun in emulated goes that way with replayed ones",
		"export TF_ENCRYPTION='key_provider \"pbkdf2\" \"main\" { passphrase = \"AT LEAST SIXTEEN CHARACTERS\" }": "TestEncryptedState has a state encrypted by it",
	}
}

// TestGuide does everything that the operator's guide says, block after block, in stage: with providers that pretend, a store, an API
// and programs that are stand-ins, the Makefile and the scripts that people use. A block that this test does not know is an error.
func TestGuide(t *testing.T) {
	t.Parallel()
	d := newDesk(t, programs(t)[0], "stage")
	terraform := d.folder
	for _, part := range []string{"cluster", "platform"} {
		if err := os.Remove(filepath.Join(d.root(part).folder, "own.auto.tfvars")); err != nil {
			t.Fatal(err)
		}
	}
	d.folder = filepath.Join(terraform, "../..")
	for _, name := range []string{"Makefile", "tools/tofu/go.mod", "tools/tflint/go.mod", "test/cluster/go.mod"} {
		copyFile(t, filepath.Join(root, name), filepath.Join(d.folder, name))
	}
	// A person is asked, and has the keys in the shell.
	d.environ = slices.DeleteFunc(d.environ, func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{"APPROVE", "TF_INPUT", "DIGITALOCEAN_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}, name)
	})
	known := regexp.MustCompile(`(TOKEN|KEY_ID|ACCESS_KEY|access-key|secret-key)=\.\.\.`)
	replace := strings.NewReplacer("TOKEN=...", "TOKEN=token", "YOUR-DOMAIN", "example.com", "YOUR-STATES", stateBucket, "YOUR-BACKUPS", "your-backups", "YOUR-REGISTRY", "shop",
		"https://nyc3.digitaloceanspaces.com", d.store.url)
	steps := d.steps()
	shell := d.session(terraform)
	for _, match := range regexp.MustCompile("(?ms)^```(?:sh)?\\n(.*?)^```$").FindAllStringSubmatch(guide(t), -1) {
		block := match[1]
		first, _, _ := strings.Cut(block, "\n")
		if _, listed := elsewhere()[first]; listed {
			continue
		}
		step, ok := steps[first]
		if !ok {
			t.Fatalf("the guide has commands that this test does not know, or has twice:\n%s", block)
		}
		delete(steps, first)
		commands := known.ReplaceAllString(replace.Replace(block), "$1=value")
		if step.before != nil {
			commands = step.before(commands)
		}
		out, err := shell(commands)
		if (err != nil) != step.fails {
			t.Fatalf("%v\n%s\n%s", err, commands, out)
		}
		for _, want := range step.want {
			if !strings.Contains(out, want) {
				t.Errorf("it does not say %q:\n%s\n%s", want, commands, out)
			}
		}
		if step.after != nil {
			step.after()
		}
	}
	inline := regexp.MustCompile("`(doctl [^`\n]+)`").FindAllStringSubmatch(guide(t), -1)
	if len(inline) < 2 {
		t.Errorf("the guide has the commands %q among its sentences, want two", inline)
	}
	// By hand: the version that the cluster has is no reason to change it.
	running := regexp.MustCompile("`(-var running_version=[0-9a-z.-]+)`").FindStringSubmatch(guide(t))
	if running == nil {
		t.Fatal("the guide does not say how the version that runs is kept by hand")
	}
	if out, err := shell("terraform -chdir=deploy/terraform/environments/stage/cluster plan " + running[1]); err != nil || !strings.Contains(out, "No changes.") {
		t.Errorf("%s: %v\n%s", running[1], err, out)
	}
	// Not before its name is said; that of stage, which asks, is TestEnvironment's.
	if out, err := shell("make destroy-production"); err == nil || !strings.Contains(out, "CONFIRM=ecommerce-production") {
		t.Errorf("make destroy-production: %v\n%s", err, out)
	}
	for _, match := range inline {
		if out, err := shell(match[1]); err != nil {
			t.Errorf("%s: %v\n%s", match[1], err, out)
		}
	}
	for first := range steps {
		t.Errorf("the guide does not say %q any more", first)
	}
	text, err := os.ReadFile(filepath.Join(d.cluster, "helm.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"helm test shop --namespace ecommerce-stage", "helm upgrade shop ", "tienda\",\"tag\":\"1.1\"", "helm rollback shop"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("Helm was not asked to %s:\n%s", want, text)
		}
	}
}

// session is a shell that keeps what is exported from one block to the next, and whose person says yes.
func (d *desk) session(home string) func(block string) (string, error) {
	exported := filepath.Join(d.t.TempDir(), "exported")
	if err := os.WriteFile(exported, nil, 0o600); err != nil {
		d.t.Fatal(err)
	}
	return func(block string) (string, error) {
		file := filepath.Join(d.t.TempDir(), "block")
		if err := os.WriteFile(file, []byte(". "+exported+"\ntrap 'export -p >"+exported+"' EXIT\nset -eo pipefail\n"+block), 0o600); err != nil {
			d.t.Fatal(err)
		}
		shell := exec.CommandContext(d.t.Context(), "bash", file)
		shell.Dir = d.folder
		shell.Env = append(d.command(d.t.Context()).Env, "HOME="+home)
		var out bytes.Buffer
		shell.Stdout, shell.Stderr = &out, &out
		answers, err := shell.StdinPipe()
		if err != nil {
			d.t.Fatal(err)
		}
		if err := shell.Start(); err != nil {
			d.t.Fatal(err)
		}
		ended := make(chan struct{})
		var person sync.WaitGroup
		person.Go(func() { // a little at a time: a program takes all that is there, and the next one is to be answered too
			for tick := time.Tick(20 * time.Millisecond); ; {
				select {
				case <-ended:
					return
				case <-tick:
					_, _ = io.WriteString(answers, "yes\n") // nobody listens when it ends
				}
			}
		})
		err = shell.Wait()
		close(ended)
		person.Wait()
		return out.String(), err
	}
}

// steps are the blocks of the guide, by their first line.
func (d *desk) steps() map[string]done {
	const (
		platform = "terraform -chdir=deploy/terraform/environments/stage/platform "
		cluster  = "terraform -chdir=deploy/terraform/environments/stage/cluster "
		state    = "stage/terraform.tfstate"
		lock     = "5c8d0bd2-6a05-4bb4-9a3c-6f1a4b0a4f6e"
	)
	return map[string]done{
		"export DIGITALOCEAN_TOKEN=...": {want: []string{"doctl spaces keys create"}},
		"terraform -chdir=deploy/terraform/bootstrap init": {want: []string{"/your-backups", `"name": "backup-stage"`, `"secret_key": "replayed"`}, after: func() {
			bootstrap := *d.workspace
			bootstrap.program, bootstrap.folder = d.terraform, filepath.Join(d.folder, "deploy/terraform/bootstrap")
			for _, kept := range []string{"digitalocean_spaces_bucket.state", "digitalocean_spaces_bucket.backup", "digitalocean_domain.main[0]"} { // one by one: only the first that refuses is named
				out, err := bootstrap.try("destroy", "-auto-approve", "-target="+kept)
				if err == nil || !strings.Contains(strings.Join(strings.Fields(out), " "), kept+" has prevent_destroy set") {
					d.t.Errorf("%s is destroyed: %v\n%s", kept, err, out)
				}
			}
		}},
		"doctl registry create YOUR-REGISTRY --region nyc3 --subscription-tier basic": {want: []string{"-push registry.digitalocean.com/shop/tienda:1.0"}},
		"make build": {want: []string{"age1"}},
		"export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... STATE_BUCKET=YOUR-STATES": {
			fails: true, want: []string{"honoured", "nodes of pool workers", "registry that the cluster pulls from is not in these plans", "only people can make", "make apply-stage again"},
			after: func() { // the namespaces, which providers only pretend to make
				if err := os.Mkdir(filepath.Join(d.cluster, "ecommerce-stage"), 0o755); err != nil {
					d.t.Fatal(err)
				}
			},
		},
		"export KUBECONFIG=~/.kube/ecommerce-stage":                                               {want: []string{"https://stage.shop.example.com"}},
		"make apply-stage IMAGE=registry.digitalocean.com/YOUR-REGISTRY/tienda:1.1":               {want: []string{`"tag": "1.1"`, `"tag": "1.0"`, "1 changed, 0 destroyed"}},
		platform + "state rm 'module.shop[0].helm_release.main'":                                  {want: []string{"0 added, 0 changed, 0 destroyed"}},
		"sed -i '/^release_owner/d' deploy/terraform/environments/stage/platform/own.auto.tfvars": {want: []string{"Import successful", "0 added, 1 changed, 0 destroyed"}},
		"bin/tienda cost --environment stage":                                                     {want: []string{"71.00"}},
		cluster + "plan -out=plan":                                                                {want: []string{"nodes of pool workers"}},
		"export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...":                                  {want: []string{"honoured", "kept"}},
		cluster + "force-unlock ID": {before: func(block string) string {
			d.store.put(state+".tflock", `{"ID":"`+lock+`","Operation":"OperationTypeApply","Who":"somebody","Created":"2026-11-26T04:00:00Z"}`)
			return strings.Replace(block, " ID\n", " "+lock+"\n", 1)
		}, want: []string{"unlocked"}},
		"aws s3api list-object-versions --endpoint-url https://nyc3.digitaloceanspaces.com --bucket YOUR-STATES --prefix stage/terraform.tfstate": {before: func(block string) string {
			version := d.store.version(state, d.store.object(state))
			if _, err := d.store.backend.DeleteObject(stateBucket, state); err != nil {
				d.t.Fatal(err)
			}
			return strings.Replace(block, " VERSION ", " "+version+" ", 1)
		}, want: []string{"<VersionId>", "No changes."}},
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// put writes an object.
func (s *store) put(name, text string) {
	s.t.Helper()
	if _, err := s.backend.PutObject(stateBucket, name, map[string]string{}, strings.NewReader(text), int64(len(text)), nil); err != nil {
		s.t.Fatal(err)
	}
}

// version is the id of the version of an object that has this content.
func (s *store) version(name, content string) string {
	s.t.Helper()
	versions, err := s.backend.ListBucketVersions(stateBucket, &gofakes3.Prefix{HasPrefix: true, Prefix: name}, &gofakes3.ListBucketVersionsPage{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, item := range versions.Versions {
		version, ok := item.(*gofakes3.Version)
		if !ok || version.Key != name {
			continue
		}
		object, err := s.backend.GetObjectVersion(stateBucket, name, version.VersionID, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		if s.read(object) == content {
			return string(version.VersionID)
		}
	}
	s.t.Fatalf("no version of %s has that content", name)
	return ""
}
