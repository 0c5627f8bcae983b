package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"
	"time"
)

// Where the cluster is, as seen from this machine, and what it calls itself.
const (
	namespace     = "tienda" // of the network
	namespacePath = "/run/netns/" + namespace
	link          = "tienda0" // our end of the cable
	cgroup        = "tienda-kubernetes"
	nodeName      = "node-1"
	hostAddress   = "10.213.0.1"
	nodeAddress   = "10.213.0.2"
	serviceNet    = "10.96.0.0/16"
	apiService    = "10.96.0.1"
	dnsService    = "10.96.0.10"
	podNet        = "10.244.0.0/22"
	queue         = 98 // of the packets that the policies judge
	architecture  = runtime.GOARCH
	volumes       = 64 // one is used up by each claim
)

//go:embed files
var files embed.FS

// up brings the cluster up. When that fails, what was started is taken down again, and the last lines of the logs are
// told.
func (c cluster) up(ctx context.Context, archives []string) error {
	if os.Getuid() != 0 {
		return errors.New("a cluster needs network namespaces and containers, and so it needs root: run this as root")
	}
	if err := c.build(ctx); err != nil {
		return err
	}
	if err := os.Mkdir(c.state, 0o755); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("a cluster is there already: %s exists. Take it down first: cluster down", c.state)
	} else if err != nil {
		return err
	}
	err := c.bring(ctx, archives)
	if err == nil {
		return nil
	}
	c.tails()
	return errors.Join(err, c.down(context.WithoutCancel(ctx)))
}

func (c cluster) bring(ctx context.Context, archives []string) error {
	for _, folder := range []string{"pki", "log", "pid", "cni", "etcd", "kubelet", "containerd"} {
		if err := os.Mkdir(c.path(folder), 0o755); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{
		c.network,
		c.controlPlane,
		c.containers,
		func(ctx context.Context) error { return c.load(ctx, archives) },
		c.node,
		c.addons,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	c.say("the cluster is up: export KUBECONFIG=%s PATH=%s:$PATH", c.path("kubeconfig"), filepath.Clean(c.program("")))
	return nil
}

// network makes the namespace, and a cable from this machine to it. The way out of the namespace is there because
// programs want one; this machine does not pass on what comes that way.
func (c cluster) network(ctx context.Context) error {
	inside := func(command ...string) []string {
		return append([]string{"nsenter", "--net=" + namespacePath}, command...)
	}
	// judged has every new connection of a chain judged by the policies, before the addresses of Services are replaced, or a
	// NodePort would escape. While nobody judges, nothing passes.
	judged := func(chain ...string) []string {
		rule := append([]string{"iptables", "-t", "mangle", "-A"}, chain...)
		return inside(append(rule, "-m", "conntrack", "--ctstate", "NEW", "-j", "NFQUEUE", "--queue-num", fmt.Sprint(queue))...)
	}
	for _, command := range [][]string{
		{"ip", "netns", "add", namespace},
		{"ip", "link", "add", link, "type", "veth", "peer", "name", "tienda1"},
		{"ip", "link", "set", "tienda1", "netns", namespace},
		{"ip", "address", "add", hostAddress + "/30", "dev", link},
		{"ip", "link", "set", link, "up"},
		inside("ip", "address", "add", nodeAddress+"/30", "dev", "tienda1"),
		inside("ip", "link", "set", "lo", "up"),
		inside("ip", "link", "set", "tienda1", "up"),
		inside("ip", "route", "add", "default", "via", hostAddress),
		inside("sysctl", "-qw", "net.ipv4.ip_forward=1"),
		judged("FORWARD"),
		judged("INPUT", "-s", podNet), // what pods ask of the node, which is where the API server is
	} {
		if err := c.command(ctx, command[0], command[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// controlPlane starts the API server with its store, and what watches it.
func (c cluster) controlPlane(ctx context.Context) error {
	if err := c.keys(); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	pki := func(file string) string { return c.path("pki", file) }
	const store = "http://127.0.0.1:2379"
	err := c.start("etcd", c.program("etcd"), "--data-dir="+c.path("etcd"), "--unsafe-no-fsync", // what is thrown away need not survive a power cut
		"--listen-client-urls="+store, "--advertise-client-urls="+store, "--listen-peer-urls=http://127.0.0.1:2380")
	if err != nil {
		return err
	}
	err = c.start("apiserver", c.program("kube-apiserver"), "--etcd-servers="+store, "--advertise-address="+nodeAddress, "--secure-port=6443",
		"--service-cluster-ip-range="+serviceNet, "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--client-ca-file="+pki("ca.crt"), "--tls-cert-file="+pki("apiserver.crt"), "--tls-private-key-file="+pki("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+pki("accounts.pub"), "--service-account-signing-key-file="+pki("accounts.key"),
		"--kubelet-client-certificate="+pki("apiserver-kubelet-client.crt"), "--kubelet-client-key="+pki("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority="+pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file="+pki("front-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file="+pki("front-proxy-client.crt"), "--proxy-client-key-file="+pki("front-proxy-client.key"))
	if err != nil {
		return err
	}
	if err := c.until(ctx, "the API server is ready", time.Minute, func(ctx context.Context) error { return c.kubectl(ctx, "get", "--raw=/readyz") }); err != nil {
		return err
	}
	c.say("the API server is ready")
	config := func(of string) string { return "--kubeconfig=" + pki(of+".kubeconfig") }
	return errors.Join(
		c.start("controller-manager", c.program("kube-controller-manager"), config("controller-manager"), "--authentication-kubeconfig="+pki("controller-manager.kubeconfig"),
			"--authorization-kubeconfig="+pki("controller-manager.kubeconfig"), "--use-service-account-credentials",
			"--service-account-private-key-file="+pki("accounts.key"), "--root-ca-file="+pki("ca.crt"),
			"--cluster-signing-cert-file="+pki("ca.crt"), "--cluster-signing-key-file="+pki("ca.key"), "--leader-elect=false", "--bind-address=127.0.0.1",
			// Autoscaling looks every 5 s instead of 15 s, so that tests need not wait for it.
			"--horizontal-pod-autoscaler-sync-period=5s", "--horizontal-pod-autoscaler-cpu-initialization-period=10s", "--horizontal-pod-autoscaler-initial-readiness-delay=5s"),
		c.start("scheduler", c.program("kube-scheduler"), config("scheduler"), "--authentication-kubeconfig="+pki("scheduler.kubeconfig"),
			"--authorization-kubeconfig="+pki("scheduler.kubeconfig"), "--leader-elect=false", "--bind-address=127.0.0.1"),
		// Nodes that are simulated say so themselves; the others are left alone.
		c.start("kwok", c.program("kwok"), config("admin"), "--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
			"--node-ip="+nodeAddress, "--config="+c.program("kwok-stages.yaml"), "--node-lease-duration-seconds=40"))
}

// socket is containerd's.
func (c cluster) socket() string { return c.path("containerd", "socket") }

// containers starts containerd and brings our images into it.
func (c cluster) containers(ctx context.Context) error {
	for _, file := range []string{"containerd.toml", "kubelet.yaml"} {
		if err := c.render(file, c.path(file)); err != nil {
			return err
		}
	}
	if err := errors.Join(c.render("pods.conflist", c.path("cni", "pods.conflist")), os.WriteFile(c.path("resolv.conf"), nil, 0o644)); err != nil {
		return err
	}
	if err := c.start("containerd", "containerd", "--config="+c.path("containerd.toml")); err != nil {
		return err
	}
	if err := c.until(ctx, "containerd answers", 30*time.Second, func(ctx context.Context) error { return c.ctr(ctx, "version") }); err != nil {
		return err
	}
	archives, err := filepath.Glob(c.archive("*"))
	if err != nil {
		return err
	}
	return c.load(ctx, archives)
}

// load brings images into the cluster.
func (c cluster) load(ctx context.Context, archives []string) error {
	for _, archive := range archives {
		if err := c.ctr(ctx, "images", "import", archive); err != nil {
			return err
		}
	}
	if len(archives) > 0 {
		c.say("imported %d images", len(archives))
	}
	return nil
}

func (c cluster) ctr(ctx context.Context, args ...string) error {
	return c.command(ctx, "ctr", append([]string{"--address", c.socket(), "--namespace", "k8s.io"}, args...)...)
}

func (c cluster) kubectl(ctx context.Context, args ...string) error {
	return c.command(ctx, c.program("kubectl"), args...)
}

// node starts what makes this machine a node.
func (c cluster) node(ctx context.Context) error {
	if err := c.cgroups(); err != nil {
		return err
	}
	// Rules follow pods within a tenth of a second and not within one: until then a Service whose pods are ready refuses connections.
	err := errors.Join(
		c.start("kubelet", c.program("kubelet"), "--config="+c.path("kubelet.yaml"), "--kubeconfig="+c.path("pki", "kubelet.kubeconfig"),
			"--root-dir="+c.path("kubelet"), "--hostname-override="+nodeName, "--node-ip="+nodeAddress),
		c.start("proxy", c.program("kube-proxy"), "--kubeconfig="+c.path("pki", "proxy.kubeconfig"), "--proxy-mode=iptables", "--cluster-cidr="+podNet,
			"--hostname-override="+nodeName, "--conntrack-max-per-core=0", "--bind-address="+nodeAddress, "--iptables-min-sync-period=100ms"))
	if err != nil {
		return err
	}
	if err := c.kubectl(ctx, "create", "clusterrolebinding", "node-proxier", "--clusterrole=system:node-proxier", "--user=system:kube-proxy"); err != nil {
		return err
	}
	err = c.until(ctx, "the node is ready", time.Minute, func(ctx context.Context) error {
		return c.kubectl(ctx, "wait", "--for=condition=Ready", "node/"+nodeName, "--timeout=5s")
	})
	if err == nil {
		c.say("the node is ready")
	}
	return err
}

// cgroups makes the group that all pods are in: one, or with the first version of cgroups one in each hierarchy.
func (c cluster) cgroups() error {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.controllers"); err == nil {
		return os.MkdirAll(filepath.Join(root, cgroup), 0o755)
	}
	hierarchies, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, hierarchy := range hierarchies {
		if hierarchy.IsDir() {
			if err := os.MkdirAll(filepath.Join(root, hierarchy.Name(), cgroup), 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

// addons are names, policies, metrics and volumes.
func (c cluster) addons(ctx context.Context) error {
	for i := range volumes {
		if err := os.MkdirAll(c.path("volumes", fmt.Sprint(i)), 0o777); err != nil {
			return err
		}
	}
	manifests := c.path("addons.yaml")
	if err := c.render("addons.yaml", manifests); err != nil {
		return err
	}
	if err := c.kubectl(ctx, "apply", "-f", manifests); err != nil {
		return err
	}
	// Every new connection waits for it: as a pod it would share processors with all others, and a busy node would stand still.
	err := c.start("policies", c.program("policies"), "-kubeconfig="+c.path("pki", "policies.kubeconfig"), "-node="+nodeName, "-pods="+podNet,
		"-services="+serviceNet, "-runtime=unix://"+c.socket(), "-queue="+fmt.Sprint(queue))
	if err != nil {
		return err
	}
	for _, workload := range []string{"deployment/coredns", "deployment/metrics-server"} {
		if err := c.kubectl(ctx, "--namespace=kube-system", "rollout", "status", workload, "--timeout=60s"); err != nil {
			return err
		}
	}
	// Until it has measured once, everybody who asks for what the API server has is told that something is missing.
	return c.until(ctx, "the metrics are served", time.Minute, func(ctx context.Context) error { return c.kubectl(ctx, "top", "nodes") })
}

// render writes one of our files with what is only known now.
func (c cluster) render(name, path string) error {
	parsed, err := template.New(name).Funcs(template.FuncMap{"image": imageName}).ParseFS(files, "files/"+name)
	if err != nil {
		return err
	}
	var text strings.Builder
	numbers := make([]int, volumes)
	for i := range numbers {
		numbers[i] = i
	}
	err = parsed.Execute(&text, map[string]any{
		"State": c.state, "Socket": c.socket(), "Cgroup": cgroup, "Node": nodeName, "Pods": podNet, "DNS": dnsService, "Volumes": numbers,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

// tails tells the last lines of every log.
func (c cluster) tails() {
	logs, err := filepath.Glob(c.path("log", "*.log"))
	if err != nil {
		return
	}
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(c.out, "--- %s\n%s\n", filepath.Base(log), strings.Join(lines[max(0, len(lines)-10):], "\n"))
	}
}
