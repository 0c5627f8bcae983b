package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"tienda/test/digitalocean"
)

// used is a folder of the repository whose environments somebody has worked with: there are checksums and a state of another place.
func used(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, part := range []string{"deploy/terraform", "deploy/helm"} {
		if err := os.CopyFS(filepath.Join(root, part), os.DirFS(filepath.Join("../../..", part))); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		".terraform.lock.hcl":          "provider \"registry.opentofu.org/digitalocean/digitalocean\" {\n  version = \"2.99.0\"\n  hashes  = [\"h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]\n}\n",
		".terraform/terraform.tfstate": `{"version": 3, "backend": {"type": "local", "config": {"path": "elsewhere"}, "hash": 1}}`,
	} {
		path := filepath.Join(root, "deploy/terraform/environments/stage/cluster", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestRun goes the whole way with providers that replay recordings, which call nobody: that the real ones find in the emulator what
// they ask for is seen with the real ones only.
func TestRun(t *testing.T) {
	t.Parallel()
	program := os.Getenv("TOFU")
	if program == "" {
		t.Fatal("TOFU names no program: make test-terraform builds OpenTofu and says where it is")
	}
	folder := t.TempDir()
	replay := filepath.Join(folder, "terraform-provider-digitalocean_v2.99.1")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", replay, "../replay").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if err := os.Mkdir(filepath.Join(folder, "helm"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"terraform-provider-kubernetes_v3.2.1_x5", "helm/terraform-provider-helm_v3.1.2_x5"} {
		if err := os.Link(replay, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	schemas, err := filepath.Abs("../schemas")
	if err != nil {
		t.Fatal(err)
	}
	wrapper := filepath.Join(folder, "tofu") // what the providers replay is said by the environment, of which little is passed on
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\nREPLAY="+schemas+" exec "+program+" \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(folder, "kubeconfig")
	const file = `
current-context: throw-away
contexts: [{name: throw-away, context: {cluster: here, user: admin}}, {name: other, context: {cluster: there, user: nobody}}]
clusters: [{name: there, cluster: {server: "https://other.example.com"}}, {name: here, cluster: {server: "https://127.0.0.1:1", certificate-authority-data: Y2E=}}]
users: [{name: admin, user: {client-certificate: cert.pem, client-key-data: a2V5}}]
`
	for name, text := range map[string]string{"kubeconfig": file, "cert.pem": "cert"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := digitalocean.Access{Server: "https://127.0.0.1:1", CA: []byte("ca"), Certificate: []byte("cert"), CertificateKey: []byte("key")}
	if got, err := access(kubeconfig); err != nil || !cmp.Equal(got, want) {
		t.Errorf("access(%s) = %+v, %v; want %+v", file, got, err, want)
	}
	var out bytes.Buffer
	root := used(t)
	// These providers make no bucket, so it is there.
	store := s3mem.New()
	if err := store.CreateBucket(bucketOfStates); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), options{root, folder, wrapper, kubeconfig, store}, &out); err != nil || strings.Count(out.String(), "nothing is left") != 3 {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"digitalocean_spaces_bucket.state: Creating...", "digitalocean_spaces_key.backup[\"stage\"]: Creating...", "digitalocean_domain.main[0]: Creating...", "nstance cannot be destroyed",
		"module.settings.kubernetes_secret_v1.database[0]: Creating...", "module.settings.kubernetes_secret_v1.database_ca[0]: Creating..."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if err := os.WriteFile(kubeconfig, []byte("current-context: nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := access(kubeconfig); err == nil || !strings.Contains(err.Error(), "names no cluster") {
		t.Errorf("a kubeconfig that leads nowhere: %v", err)
	}
	if err := os.Remove(filepath.Join(folder, "terraform-provider-kubernetes_v3.2.1_x5")); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), options{"../../..", folder, wrapper, "", s3mem.New()}, &out); err == nil || !strings.Contains(err.Error(), "terraform-provider-kubernetes_vVERSION") {
		t.Errorf("without a provider: %v", err)
	}
}
