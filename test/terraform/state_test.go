package terraform

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

const stateBucket = "ecommerce-terraform-state"

// store is a stand-in for Spaces, with versions.
type store struct {
	t       *testing.T
	url     string
	backend *s3mem.Backend
	ignores atomic.Bool // whether it ignores conditions of writes
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{t: t, backend: s3mem.New()}
	if err := s.backend.CreateBucket(stateBucket); err != nil {
		t.Fatal(err)
	}
	if err := s.backend.SetVersioningConfiguration(stateBucket, gofakes3.VersioningConfiguration{Status: gofakes3.VersioningEnabled}); err != nil {
		t.Fatal(err)
	}
	service := gofakes3.New(s.backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.ignores.Load() {
			r.Header.Del("If-None-Match")
		}
		service.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// object is the content of an object as it is now, or "".
func (s *store) object(name string) string {
	s.t.Helper()
	object, err := s.backend.GetObject(stateBucket, name, nil)
	if gofakes3.HasErrorCode(err, gofakes3.ErrNoSuchKey) {
		return ""
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return s.read(object)
}

func (s *store) read(object *gofakes3.Object) string {
	s.t.Helper()
	text, err := io.ReadAll(object.Contents)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// small is a root with the shipped backend of stage's cluster and one thing that takes as long as a file is not there.
func small(t *testing.T, program string, s *store) *workspace {
	t.Helper()
	w := workspaceIn(t, program, t.TempDir())
	backend, err := os.ReadFile(filepath.Join(root, "deploy/terraform/environments/stage/cluster/backend.tf"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("backend.tf", string(backend))
	w.write("main.tf", `
variable "content" {
  type      = string
  sensitive = true
}

resource "terraform_data" "first" {
  input = var.content
}

resource "terraform_data" "slow" {
  input            = terraform_data.first.output
  triggers_replace = var.content

  provisioner "local-exec" {
    command = "touch began; for i in $(seq 600); do [ -e go ] && exit 0; sleep 0.1; done; exit 1"
  }
}
`)
	w.environ = append(w.environ, "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret", "AWS_REQUEST_CHECKSUM_CALCULATION=when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION=when_required")
	w.run("init", "-no-color", "-backend-config=endpoints={s3=\""+s.url+"\"}")
	return w
}

// begin applies in the background and returns once it is in the middle.
func (w *workspace) begin(content string) (*exec.Cmd, *bytes.Buffer) {
	w.t.Helper()
	command := w.command(w.t.Context(), "apply", "-no-color", "-auto-approve", "-var", "content="+content)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Start(); err != nil {
		w.t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(w.folder, "began")); err == nil {
			return command, &out
		}
		if time.Now().After(deadline) {
			_ = command.Process.Kill() // it does nothing any more
			_ = command.Wait()
			w.t.Fatalf("the apply does not begin:\n%s", out.String())
		}
	}
}

var lockID = regexp.MustCompile(`ID:\s+([0-9a-f-]{36})`)

// TestTwoAppliesAtOnce: the second is refused with who has the lock; when the first is done the next one works.
func TestTwoAppliesAtOnce(t *testing.T) {
	t.Parallel()
	for _, program := range programs(t) {
		t.Run(filepath.Base(program), func(t *testing.T) {
			t.Parallel()
			w := small(t, program, newStore(t))
			first, said := w.begin("one")
			out, err := w.try("apply", "-no-color", "-auto-approve", "-var", "content=two")
			if err == nil || !strings.Contains(out, "Error acquiring the state lock") || !lockID.MatchString(out) || !strings.Contains(out, "Who:") {
				t.Errorf("the second apply was not refused, or not with a name: %v\n%s", err, out)
			}
			w.write("go", "")
			if err := first.Wait(); err != nil {
				t.Fatalf("the first apply: %v\n%s", err, said)
			}
			if out := w.run("plan", "-no-color", "-var", "content=one"); !strings.Contains(out, "No changes.") {
				t.Errorf("the first apply is not what there is:\n%s", out)
			}
		})
	}
}

// TestKilledApply: what was killed leaves its lock, the next one says whose it is, and once it is taken away goes on where the
// killed one was.
func TestKilledApply(t *testing.T) {
	t.Parallel()
	for _, program := range programs(t) {
		t.Run(filepath.Base(program), func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			w := small(t, program, s)
			killed, _ := w.begin("one")
			if err := killed.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = killed.Wait() // it was killed
			w.write("go", "") // whatever it had begun ends
			if s.object("stage/terraform.tfstate.tflock") == "" {
				t.Fatal("the killed apply leaves no lock")
			}
			out, err := w.try("apply", "-no-color", "-auto-approve", "-var", "content=one")
			id := lockID.FindStringSubmatch(out)
			if err == nil || id == nil || !strings.Contains(out, "OperationTypeApply") {
				t.Fatalf("the next apply does not say what is in its way: %v\n%s", err, out)
			}
			w.run("force-unlock", "-force", id[1])
			w.run("apply", "-no-color", "-auto-approve", "-var", "content=one")
			if out := w.run("plan", "-no-color", "-var", "content=one"); !strings.Contains(out, "No changes.") {
				t.Errorf("not everything was done:\n%s", out)
			}
			if s.object("stage/terraform.tfstate.tflock") != "" {
				t.Error("the lock is still there")
			}
		})
	}
}

// TestLostState: a state that was deleted, overwritten by an empty one, lost a part, or was made anew by an apply that missed it, is had back from
// an earlier version. Over one that has something in it only force puts that.
func TestLostState(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	w := small(t, programs(t)[0], s)
	w.write("go", "")
	const name = "stage/terraform.tfstate"
	w.run("apply", "-no-color", "-auto-approve", "-var", "content=one")
	good := s.object(name)
	object, err := s.backend.GetObjectVersion(stateBucket, name, gofakes3.VersionID(s.version(name, good)), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.write("restored.tfstate", s.read(object))
	deleted := func() {
		if _, err := s.backend.DeleteObject(stateBucket, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, loss := range []struct {
		what    string
		lose    func()
		refused string // what is said of a push without force
	}{
		{"deleted", deleted, ""},
		{"overwritten by an empty one", func() { w.run("state", "rm", "terraform_data.first", "terraform_data.slow") }, ""},
		{"a part of it is lost", func() { w.run("state", "rm", "terraform_data.slow") }, "newer state"},
		{"made anew", func() { deleted(); w.run("apply", "-no-color", "-auto-approve", "-var", "content=two") }, "unrelated state"},
	} {
		loss.lose()
		if out := w.run("plan", "-no-color", "-var", "content=one"); strings.Contains(out, "No changes.") {
			t.Fatalf("%s: the lost state is not missed:\n%s", loss.what, out)
		}
		push := []string{"state", "push", "restored.tfstate"}
		if out, err := w.try(push...); (err != nil) != (loss.refused != "") || !strings.Contains(out, loss.refused) {
			t.Errorf("%s: %v, want %q\n%s", loss.what, err, loss.refused, out)
		}
		if loss.refused != "" {
			w.run("state", "push", "-force", "restored.tfstate") // as docs/terraform.md says of a state that is the broken one
		}
		if out := w.run("plan", "-no-color", "-var", "content=one"); !strings.Contains(out, "No changes.") {
			t.Errorf("%s: the restored state is not the lost one:\n%s", loss.what, out)
		}
	}
}

// TestEncryptedState: with OpenTofu a state that was readable is taken over, is unreadable in the bucket from then on, and readable with the key
// alone; whoever has no key, and Terraform, which cannot decrypt, changes nothing.
func TestEncryptedState(t *testing.T) {
	t.Parallel()
	const name = "stage/terraform.tfstate"
	s := newStore(t)
	w := small(t, programs(t)[0], s)
	w.write("go", "")
	// As it is in the documents, the way over too.
	text := guide(t)
	assigned := regexp.MustCompile(`(?s)export TF_ENCRYPTION='(.*?)'`).FindStringSubmatch(text)
	over := regexp.MustCompile("with `(method \"unencrypted\" .*?)` beside these and `(fallback .*?)` in both blocks").FindStringSubmatch(text)
	if assigned == nil || over == nil {
		t.Fatal("docs/terraform.md does not say how a state is encrypted, or how one that is there is")
	}
	inBlock := regexp.MustCompile(`(state|plan) \{ (method = \S+) \}`)
	if len(inBlock.FindAllString(assigned[1], -1)) != 2 {
		t.Fatalf("the documents have no blocks of state and plan: %s", assigned[1])
	}
	w.run("apply", "-no-color", "-auto-approve", "-var", "content=a-password")
	if !strings.Contains(s.object(name), "a-password") {
		t.Fatal("the state is not readable without encryption")
	}
	plain := w.environ
	w.environ = append(slices.Clone(plain), "TF_ENCRYPTION="+over[1]+"\n"+inBlock.ReplaceAllString(assigned[1], "$1 {\n$2\n"+over[2]+"\n}"))
	w.run("apply", "-no-color", "-auto-approve", "-var", "content=a-password")
	encrypted := s.object(name)
	if encrypted == "" || strings.Contains(encrypted, "a-password") {
		t.Errorf("the state is readable:\n%s", encrypted)
	}
	w.environ = append(slices.Clone(plain), "TF_ENCRYPTION="+assigned[1])
	if out := w.run("plan", "-no-color", "-var", "content=a-password"); !strings.Contains(out, "No changes.") {
		t.Errorf("the state cannot be read with its key:\n%s", out)
	}
	w.environ = plain
	for _, program := range programs(t) {
		w.program = program
		if out, err := w.try("apply", "-no-color", "-auto-approve", "-var", "content=another"); err == nil || s.object(name) != encrypted {
			t.Errorf("%s goes on without the key: %v\n%s", filepath.Base(program), err, out)
		}
	}
}
