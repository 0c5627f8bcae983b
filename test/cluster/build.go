package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// kubernetesVersion is what the programs say of themselves; a module does not know its own version.
const kubernetesVersion = "1.35.4"

// debian are the packages that the cluster is made of, each with a file that shows that it is there.
func debian() map[string]string {
	return map[string]string{
		"containerd":                  "/usr/bin/containerd",
		"runc":                        "/usr/sbin/runc",
		"containernetworking-plugins": "/usr/lib/cni/ptp",
		"iptables":                    "/usr/sbin/iptables",
		"iproute2":                    "/usr/sbin/ip",
		"conntrack":                   "/usr/sbin/conntrack",
		"procps":                      "/usr/sbin/sysctl",
		"util-linux":                  "/usr/bin/nsenter",
		"mmdebstrap":                  "/usr/bin/mmdebstrap",
	}
}

// goProgram is a program that is built from a package of a module.
type goProgram struct {
	name   string
	module string // folder of the go.mod that pins it
	pkg    string
}

// programs are all that the cluster is made of. Kubernetes has a module of its own, in which all of its parts are
// of one version; what wants newer parts of it is among the tools of the module of this folder.
func programs() []goProgram {
	return []goProgram{
		{"kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver"},
		{"kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager"},
		{"kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler"},
		{"kubelet", "kubernetes", "k8s.io/kubernetes/cmd/kubelet"},
		{"kube-proxy", "kubernetes", "k8s.io/kubernetes/cmd/kube-proxy"},
		{"kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl"},
		{"etcd", "kubernetes", "go.etcd.io/etcd/server/v3"},
		{"coredns", "kubernetes", "github.com/coredns/coredns"},
		{"metrics-server", ".", "sigs.k8s.io/metrics-server/cmd/metrics-server"},
		{"kwok", ".", "sigs.k8s.io/kwok/cmd/kwok"},
		{"helm", ".", "helm.sh/helm/v4/cmd/helm"},
		{"pause", ".", "./pause"},
		{"probe", ".", "./probe"},
		{"policies", ".", "./policies"},
		{"nginx", ".", "./entry/nginx"},
		{"certmanager", ".", "./entry/certmanager"},
		{"acmesolver", ".", "./entry/acmesolver"},
		{"pebble", ".", "github.com/letsencrypt/pebble/v2/cmd/pebble"},
		{"s3", ".", "./s3"},
	}
}

// build makes everything that is not in the cache: some eight minutes on two processors when Go's own cache is
// empty too, and nothing the next time.
func (c cluster) build(ctx context.Context) error {
	if err := c.install(ctx); err != nil {
		return err
	}
	for _, folder := range []string{"bin", "image"} {
		if err := os.MkdirAll(filepath.Join(c.cache, folder), 0o755); err != nil {
			return err
		}
	}
	for _, p := range programs() {
		key, err := c.key(p)
		if err != nil {
			return err
		}
		if err := c.make(c.program(p.name), key, func(path string) error { return c.compile(ctx, p, path) }); err != nil {
			return fmt.Errorf("build %s: %w", p.name, err)
		}
	}
	if err := c.stages(ctx); err != nil {
		return fmt.Errorf("stages of simulated nodes: %w", err)
	}
	return c.images(ctx)
}

// install has Debian's packages installed when they are not there.
func (c cluster) install(ctx context.Context) error {
	var missing []string
	for name, file := range debian() {
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	if os.Getuid() != 0 {
		return fmt.Errorf("packages are missing: apt-get install --no-install-recommends %s", strings.Join(missing, " "))
	}
	c.say("installing %s", strings.Join(missing, ", "))
	if err := c.command(ctx, "apt-get", "update", "-qq"); err != nil {
		return err
	}
	return c.command(ctx, "apt-get", append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)...)
}

// make makes a file of the cache, unless it was made with the same key. A file that is there is whole: it gets its
// name at the end.
func (c cluster) make(path, key string, how func(path string) error) error {
	if there, err := os.ReadFile(path + ".key"); err == nil && string(there) == key {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
	}
	begun, unfinished := time.Now(), path+".new"
	if err := how(unfinished); err != nil {
		return err
	}
	if err := errors.Join(os.Rename(unfinished, path), os.WriteFile(path+".key", []byte(key), 0o644)); err != nil {
		return err
	}
	c.say("made %s in %.0f s", filepath.Base(path), time.Since(begun).Seconds())
	return nil
}

// key changes when a program would.
func (c cluster) key(p goProgram) (string, error) {
	files := []string{filepath.Join(c.source, p.module, "go.mod"), filepath.Join(c.source, p.module, "go.sum")}
	if strings.HasPrefix(p.pkg, "./") {
		sources, err := filepath.Glob(filepath.Join(c.source, p.module, p.pkg, "*.go"))
		if err != nil {
			return "", err
		}
		files = append(files, sources...)
	}
	return sum([]string{runtime.Version(), kubernetesVersion, p.pkg}, files...)
}

// sum is one of texts and of the content of files.
func sum(texts []string, files ...string) (string, error) {
	hash := sha256.New()
	for _, text := range texts {
		fmt.Fprintln(hash, text)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		hash.Write(text)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func (c cluster) compile(ctx context.Context, p goProgram, path string) error {
	const version = "k8s.io/component-base/version."
	major, rest, _ := strings.Cut(kubernetesVersion, ".")
	minor, _, _ := strings.Cut(rest, ".")
	flags := fmt.Sprintf("-s -w -X %[1]sgitVersion=v%[2]s -X %[1]sgitMajor=%[3]s -X %[1]sgitMinor=%[4]s", version, kubernetesVersion, major, minor)
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", path, p.pkg)
	command.Dir = filepath.Join(c.source, p.module)
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	if text, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

// stages are what KWOK has its nodes and their pods go through, as its module has them.
func (c cluster) stages(ctx context.Context) error {
	command := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok")
	command.Dir = c.source
	folder, err := command.Output()
	if err != nil {
		return fmt.Errorf("find the module of KWOK: %w", err)
	}
	stages := filepath.Join(strings.TrimSpace(string(folder)), "kustomize", "stage")
	files, err := filepath.Glob(filepath.Join(stages, "pod", "fast", "pod-*.yaml"))
	if err != nil {
		return err
	}
	var text []byte
	for _, file := range append([]string{filepath.Join(stages, "node", "fast", "node-initialize.yaml")}, files...) {
		stage, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		text = append(append(text, "---\n"...), stage...)
	}
	return os.WriteFile(c.program("kwok-stages.yaml"), text, 0o644)
}
