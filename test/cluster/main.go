// Command cluster is a throwaway Kubernetes on one Debian machine: API server, scheduler, kubelet, containerd,
// names, enforced network policies and metrics, without Docker, a registry or systemd.
//
// Its programs come from Go modules and from Debian's packages, and so do the images that run in it. It lives in
// a network namespace of its own and in one folder, and both are gone when it is taken down.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const usage = `cluster build             makes its programs and images, as far as they are not in the cache
cluster up [ARCHIVE...]   brings it up, with these images in it besides its own
cluster load ARCHIVE...   brings images into it that it runs
cluster memory NAMESPACE  tells how much memory each container there has taken at most
cluster down              takes it away with everything that was in it
cluster with COMMAND...   brings it up, runs the command with KUBECONFIG, and takes it down; when KUBECONFIG is set
                          the command runs with that cluster instead`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// cluster is one of them; there can be one on a machine for each network namespace, and there is one.
type cluster struct {
	source string // this folder, whose modules and programs are built
	cache  string // programs and images, which outlast a cluster
	state  string // everything else: keys, data, logs, sockets
	out    io.Writer
	begun  time.Time
}

func run(ctx context.Context, args []string, out io.Writer) error {
	c := cluster{out: out, begun: time.Now()}
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), usage)
		flags.PrintDefaults()
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir() // there is no home
	}
	flags.StringVar(&c.source, "source", ".", "the folder test/cluster")
	flags.StringVar(&c.cache, "cache", filepath.Join(cache, "tienda-cluster"), "where programs and images are kept between clusters")
	flags.StringVar(&c.state, "state", "/tmp/tienda-kubernetes", "where the cluster lives; the path of a socket has 107 letters at most")
	var archives list
	flags.Var(&archives, "image", "archive of an image that the cluster has when a command runs with it; can be given several times")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return errors.New("a command is missing")
	}
	rest := flags.Args()[1:]
	switch command := flags.Arg(0); command {
	case "build":
		return c.build(ctx)
	case "up":
		return c.up(ctx, append(archives, rest...))
	case "load":
		return c.load(ctx, rest)
	case "memory":
		if len(rest) != 1 {
			return errors.New("the memory of which namespace? Name one")
		}
		return c.memory(ctx, rest[0])
	case "down":
		return c.down(ctx)
	case "with":
		return c.with(ctx, archives, rest)
	default:
		return fmt.Errorf("there is no command %q\n%s", command, usage)
	}
}

// list is a flag that can be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

// Set implements flag.Value.
func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// with runs a command with a cluster, which is gone afterwards however the command ends.
func (c cluster) with(ctx context.Context, archives, command []string) (err error) {
	if len(command) == 0 {
		return errors.New("with what? A command is missing")
	}
	config, level := os.Getenv("KUBECONFIG"), ""
	if config != "" {
		level = "the cluster of KUBECONFIG=" + config + ", with the images that it was given"
	} else {
		level = "Kubernetes " + kubernetesVersion + " on one node, brought up for this; MariaDB stood in for MySQL"
		if err := c.up(ctx, archives); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, c.down(context.WithoutCancel(ctx))) }()
		config = c.path("kubeconfig")
	}
	running := exec.CommandContext(ctx, command[0], command[1:]...)
	running.Stdout, running.Stderr = c.out, os.Stderr
	running.Env = append(os.Environ(), "KUBECONFIG="+config, "PATH="+c.program("")+string(filepath.ListSeparator)+os.Getenv("PATH"))
	// "go test" leaves the programs that it runs behind when it is told to stop, so they are told too.
	running.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	running.Cancel = func() error { return syscall.Kill(-running.Process.Pid, syscall.SIGINT) }
	running.WaitDelay = 30 * time.Second
	if err := running.Run(); err != nil {
		return fmt.Errorf("%s: %w\nlevel: %s", strings.Join(command, " "), err, level)
	}
	fmt.Fprintln(c.out, "level: "+level)
	return nil
}

// say tells what has been done, and when.
func (c cluster) say(format string, args ...any) {
	fmt.Fprintf(c.out, "%6.1fs "+format+"\n", append([]any{time.Since(c.begun).Seconds()}, args...)...)
}

// path is a file of the running cluster.
func (c cluster) path(elements ...string) string {
	return filepath.Join(append([]string{c.state}, elements...)...)
}

// program is one that was built.
func (c cluster) program(name string) string { return filepath.Join(c.cache, "bin", name) }

// command runs a program to its end; what it writes is in the error.
func (c cluster) command(ctx context.Context, name string, args ...string) error {
	_, err := c.output(ctx, name, args...)
	return err
}

// output is what a program writes to its standard output.
func (c cluster) output(ctx context.Context, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+c.path("kubeconfig"), "DEBIAN_FRONTEND=noninteractive")
	var complaints strings.Builder
	command.Stderr = &complaints
	text, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, text, complaints.String())
	}
	return string(text), nil
}
