package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

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
	for _, name := range []string{"terraform-provider-kubernetes_v3.2.1", "terraform-provider-helm_v3.1.2_x5"} {
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
	if err := os.WriteFile(kubeconfig, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), options{root: "../../..", providers: folder, program: wrapper, kubeconfig: kubeconfig}, &out); err != nil || !strings.Contains(out.String(), "nothing is left") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := os.Remove(filepath.Join(folder, "terraform-provider-kubernetes_v3.2.1")); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), options{root: "../../..", providers: folder, program: wrapper}, &out); err == nil || !strings.Contains(err.Error(), "terraform-provider-kubernetes_vVERSION") {
		t.Errorf("without a provider: %v", err)
	}
}
