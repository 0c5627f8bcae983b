// Command emulated applies bootstrap and both environments with real providers to an emulated DigitalOcean: a folder has their binaries, as they
// are unpacked from their archives, and nothing is downloaded. Each root is applied, planned again, which must find nothing to do, and destroyed,
// after which nothing must be left; the states are in the bucket that bootstrap has made. With a kubeconfig of a cluster to throw away, the
// emulated one is that cluster, and the same is done with what the platform root makes in it without charts: those are pulled from where
// they are published, that of the issuers needs one of them, and such a cluster has neither their images nor load balancers.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"tienda/test/digitalocean"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	options := options{store: s3mem.New()}
	flag.StringVar(&options.root, "root", "../..", "folder of the repository")
	flag.StringVar(&options.providers, "providers", "", "folder with the binaries terraform-provider-NAME_vVERSION…")
	flag.StringVar(&options.program, "terraform", "terraform", "the program, terraform or tofu")
	flag.StringVar(&options.kubeconfig, "kubeconfig", "", "file with the credentials of a cluster to throw away; without one the platform is left out")
	flag.Parse()
	if err := run(ctx, options, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "emulated:", err)
		os.Exit(1)
	}
}

type options struct {
	root, providers, program, kubeconfig string

	store *s3mem.Backend // of the buckets
}

// needed are the providers, with the name that they are known by.
func needed() map[string]string {
	return map[string]string{"digitalocean": "digitalocean/digitalocean", "kubernetes": "hashicorp/kubernetes", "helm": "hashicorp/helm"}
}

func run(ctx context.Context, o options, out io.Writer) error {
	folder, err := os.MkdirTemp("", "emulated")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }() // a temporary folder that is left disturbs nobody
	for _, part := range []string{"deploy/terraform", "deploy/helm"} {
		if err := copyTree(filepath.Join(o.root, part), filepath.Join(folder, part)); err != nil {
			return err
		}
	}
	if err := mirror(o.providers, filepath.Join(folder, "providers")); err != nil {
		return err
	}
	reached := digitalocean.Access{Server: "https://127.0.0.1:6443", Token: "t"}
	if o.kubeconfig != "" {
		if reached, err = access(o.kubeconfig); err != nil {
			return err
		}
	}
	account := digitalocean.New(digitalocean.Options{Token: "emulated", Polls: 1, Access: reached, Now: time.Now})
	api, err := serve(ctx, account)
	if err != nil {
		return err
	}
	atFirst, err := o.store.ListBuckets()
	if err != nil {
		return err
	}
	buckets, err := serve(ctx, newSpaces(o.store))
	if err != nil {
		return err
	}
	root := emulation{options: o, folder: filepath.Join(folder, "deploy/terraform"), out: out, environ: []string{
		"DIGITALOCEAN_API_URL=" + api, "DIGITALOCEAN_TOKEN=emulated", "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret", "AWS_REQUEST_CHECKSUM_CALCULATION=when_required",
		"AWS_RESPONSE_CHECKSUM_VALIDATION=when_required", "TF_CLI_CONFIG_FILE=" + filepath.Join(folder, "providers/rc"), "TF_INPUT=0", "TF_IN_AUTOMATION=1", "TF_VAR_kubeconfig=" + o.kubeconfig,
		"TF_VAR_domain=example.com", "SPACES_ACCESS_KEY_ID=key", "SPACES_SECRET_ACCESS_KEY=secret", "SPACES_ENDPOINT_URL=" + addressOfSpaces, "HTTP_PROXY=" + buckets, "NO_PROXY=127.0.0.1",
	}}
	if err := root.bootstrap(ctx); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	before := account.Left()
	for _, environment := range []string{"stage", "production"} {
		e := root
		e.folder = filepath.Join(root.folder, "environments", environment)
		if err := e.run(ctx, buckets); err != nil {
			return fmt.Errorf("%s: %w", environment, err)
		}
		if left, unknown := account.Left(), account.Unknown(); !maps.Equal(left, before) || len(unknown) > 0 {
			return fmt.Errorf("%s: left after the destruction: %v, and before there was %v; calls that the emulator was not taught: %v", environment, left, before, unknown)
		}
		platform := "of its platform what needs no chart"
		if o.kubeconfig == "" {
			platform = "without its platform, for which CLUSTER names the kubeconfig of a cluster to throw away"
		}
		fmt.Fprintf(out, "emulated: %s was applied, had nothing to do at the second plan, was destroyed, and nothing is left; %s\n", environment, platform)
	}
	if err := root.raze(ctx); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	atLast, err := o.store.ListBuckets()
	if err != nil {
		return err
	}
	if left, unknown := account.Left(), account.Unknown(); len(left) > 0 || len(unknown) > 0 || len(atLast) > len(atFirst) {
		return fmt.Errorf("bootstrap: left after the destruction: %v, buckets %v; calls that the emulator was not taught: %v", left, atLast, unknown)
	}
	fmt.Fprintln(out, "emulated: bootstrap was applied, had nothing to do at the second plan, refused to be destroyed, was destroyed once that was lifted, and nothing is left")
	return nil
}

// copyTree copies a folder without what the program leaves in one: where its state was, its modules and its plugins with their checksums,
// which are those of whole archives and not of a binary alone.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(entry.Name(), ".terraform") && entry.IsDir():
			return filepath.SkipDir
		case strings.HasPrefix(entry.Name(), ".terraform") || strings.Contains(entry.Name(), ".tfstate"):
			return nil
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, 0o644)
	})
}

// emulation is one environment.
type emulation struct {
	options

	folder  string
	environ []string
	out     io.Writer
}

// call runs the program in a root.
func (e emulation) call(ctx context.Context, out io.Writer, part string, arguments ...string) error {
	command := exec.CommandContext(ctx, e.program, arguments...)
	command.Dir = filepath.Join(e.folder, part)
	command.Stdout, command.Stderr = out, e.out
	command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { // tokens and keys of whoever calls
		return slices.ContainsFunc([]string{"DIGITALOCEAN_", "SPACES_", "AWS_", "TF_", "KUBE", "HELM_"}, func(prefix string) bool { return strings.HasPrefix(variable, prefix) })
	})
	command.Env = append(command.Env, e.environ...)
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s: %s: %w", part, strings.Join(arguments, " "), err)
	}
	return nil
}

// apply applies a root that was initialised, and plans again, which must find nothing to do.
func (e emulation) apply(ctx context.Context, part string, only ...string) error {
	if err := e.call(ctx, e.out, part, append([]string{"apply", "-auto-approve"}, only...)...); err != nil {
		return err
	}
	if err := e.call(ctx, e.out, part, append([]string{"plan", "-detailed-exitcode"}, only...)...); err != nil {
		return fmt.Errorf("the second plan is not empty: %w", err)
	}
	return nil
}

// run applies the roots of an environment, plans again and destroys them.
func (e emulation) run(ctx context.Context, buckets string) error {
	type part struct {
		name string
		only []string
	}
	parts := []part{{name: "cluster"}}
	if e.kubeconfig != "" {
		parts = append(parts, part{"platform", []string{"-target=module.rbac", "-target=module.settings"}})
	}
	for _, p := range parts {
		example := filepath.Join(e.folder, p.name, "own.auto.tfvars")
		if err := os.Rename(example+".example", example); err != nil {
			return err
		}
		if err := e.call(ctx, e.out, p.name, "init", "-backend-config=endpoints={s3=\""+buckets+"\"}"); err != nil {
			return err
		}
		if err := e.apply(ctx, p.name, p.only...); err != nil {
			return err
		}
	}
	slices.Reverse(parts)
	for _, p := range parts {
		var protected bytes.Buffer
		if err := e.call(ctx, &protected, p.name, "state", "list"); err != nil {
			return err
		}
		for address := range strings.FieldsSeq(protected.String()) {
			if strings.Contains(address, "terraform_data.protection") { // production's
				if err := e.call(ctx, e.out, p.name, "state", "rm", address); err != nil {
					return err
				}
			}
		}
		if err := e.call(ctx, e.out, p.name, append([]string{"destroy", "-auto-approve"}, p.only...)...); err != nil {
			return err
		}
	}
	return nil
}

var nameOfProvider = regexp.MustCompile(`^terraform-provider-([a-z]+)_v([0-9.]+)`)

// mirror lays binaries out as both programs look for them, with a configuration that allows no others. Each may be in a folder of its own, as
// its archive is unpacked.
func mirror(from, to string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	missing := needed()
	err = fs.WalkDir(os.DirFS(from), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		match := nameOfProvider.FindStringSubmatch(entry.Name())
		if match == nil || entry.IsDir() || missing[match[1]] == "" {
			return nil
		}
		for _, host := range []string{"registry.terraform.io", "registry.opentofu.org"} {
			place := filepath.Join(to, host, missing[match[1]], match[2], runtime.GOOS+"_"+runtime.GOARCH)
			if err := errors.Join(os.MkdirAll(place, 0o755), os.Symlink(filepath.Join(from, path), filepath.Join(place, entry.Name()))); err != nil {
				return err
			}
		}
		delete(missing, match[1])
		return nil
	})
	if err != nil {
		return fmt.Errorf("providers: %w; PROVIDERS names a folder with their binaries", err)
	}
	for name := range missing {
		return fmt.Errorf("providers: %s has no terraform-provider-%s_vVERSION", from, name)
	}
	text := fmt.Sprintf("provider_installation {\n  filesystem_mirror { path = %q }\n}\ndisable_checkpoint = true\n", to)
	return os.WriteFile(filepath.Join(to, "rc"), []byte(text), 0o644)
}

// serve serves until ctx ends, on a port of the kernel's.
func serve(ctx context.Context, handler http.Handler) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }() // it ends with the process
	return "http://" + listener.Addr().String(), nil
}
