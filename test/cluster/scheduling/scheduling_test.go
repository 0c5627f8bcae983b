// Package scheduling_test places the platform of stage on three simulated nodes of the size of s-2vcpu-2gb, and production's shop on larger ones: with the API server, the
// scheduler and the controllers of Kubernetes as they are, and KWOK in the place of kubelets. They run here, beside whatever cluster the
// other tests have, since simulated nodes are nothing that a cluster with real ones should be given.
package scheduling_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	charts     = "../../../deploy/helm"
	stage      = "ecommerce-stage"
	production = "ecommerce-production"
	// What is left of a node s-2vcpu-2gb for pods, and what its own daemons take of that. See docs/kubernetes.md.
	nodeCPU, nodeMemory, daemons = "1900m", "1024Mi", "350Mi"
	// What the components of the shop have as priority, but for those that it sells without.
	normal = 200000
)

// TestStageOnThreeSmallNodes: everything of stage is bound; so it is when all components roll at once; when a node is drained, what may
// wait for another is what the shop sells without; and with another node, nothing waits.
func TestStageOnThreeSmallNodes(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, name := range []string{"node-1", "node-2", "node-3"} {
		s.node(t, name, nodeCPU, nodeMemory)
	}
	s.surroundings(t)
	s.helm(t, "install", "cert-manager", filepath.Join(module(t, "github.com/cert-manager/cert-manager"), "deploy/charts/cert-manager"),
		"--namespace=cert-manager", "--create-namespace", "--values="+charts+"/prerequisites/cert-manager.yaml")
	s.silence(t)
	s.helm(t, "install", "metrics-server", filepath.Join(module(t, "sigs.k8s.io/metrics-server"), "charts/metrics-server"),
		"--namespace=kube-system", "--values="+charts+"/prerequisites/metrics-server.yaml", "--set=apiService.create=false") // nobody answers behind a simulated pod
	s.helm(t, "install", "nginx-ingress", "../entry/chart", "--namespace=ingress-nginx", "--create-namespace", "--values="+charts+"/prerequisites/nginx-ingress.yaml")
	shop := func(command string, more ...string) {
		s.helm(t, append([]string{command, "shop", charts + "/tienda", "--namespace=" + stage, "--create-namespace",
			"--values=" + charts + "/tienda/values-stage.yaml", "--values=../../terraform/testdata/stage-shop.yaml"}, more...)...) // as Terraform installs it, with backups
	}
	shop("install")
	s.kubectl(t, "create", "secret", "generic", "backup", "--namespace="+stage, "--from-literal=access-key=test", "--from-literal=secret-key=test") // which an upgrade looks for

	// Eleven components, the database and what ships its binary logs; two pods of the entry, three of cert-manager, metrics-server, two of CoreDNS,
	// and each node's daemons.
	const platform = 13 + 2 + 3 + 1 + 2
	s.until(t, "all pods of stage run", func() error { return s.all(t, platform+3) })
	s.tell(t)

	shop("upgrade", "--set=shop.settings.application\\.yml=logging: {level: {root: debug}}")
	s.until(t, "all pods of stage run after all components rolled", func() error {
		if err := s.rolled(t); err != nil {
			return err
		}
		return s.all(t, platform+3)
	})

	s.kubectl(t, "drain", "node-2", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
	s.until(t, "two nodes hold what the shop needs", func() error {
		var waiting []string
		for _, p := range s.pods(t) {
			switch {
			case p.Spec.NodeName == "node-2" && !owned(p, "DaemonSet"):
				return fmt.Errorf("%s is still on the drained node", p.Name)
			case p.Status.Phase == corev1.PodRunning:
			case *p.Spec.Priority >= normal:
				return fmt.Errorf("%s waits, which is not what the shop sells without: %v", p.Name, p.Status.Conditions)
			default:
				waiting = append(waiting, p.Name)
			}
		}
		t.Logf("on two nodes %d wait: %v", len(waiting), waiting)
		return nil
	})

	s.node(t, "node-4", nodeCPU, nodeMemory)
	s.until(t, "another node takes what waited", func() error { return s.all(t, platform+4) })
	s.tell(t)
}

// TestProductionIsSpread: production has three pods of each component on three nodes, one on each; when a node is drained the others take its pods,
// and when a node comes in its place, what rolls is spread over three again.
func TestProductionIsSpread(t *testing.T) {
	t.Parallel()
	s := start(t)
	large := func(name string) { s.node(t, name, "3900m", "6Gi") } // about what s-4vcpu-8gb leaves
	for _, name := range []string{"node-1", "node-2", "node-3"} {
		large(name)
	}
	shop := func(command string, more ...string) {
		s.helm(t, append([]string{command, "shop", charts + "/tienda", "--namespace=" + production, "--create-namespace", "--values=" + charts + "/tienda/values-production.yaml",
			"--set=defaults.replicas.min=3", "--set=entry.kind=none"}, more...)...)
	}
	shop("install")
	for _, name := range []string{"database", "stripe"} { // which an upgrade looks for
		s.kubectl(t, "create", "secret", "generic", name, "--namespace="+production, "--from-literal=key=test")
	}
	const pods, each = 33, 11
	s.until(t, "a pod of each component is on each node", func() error {
		return errors.Join(s.all(t, pods), s.spread(t, map[string]int{"node-1": each, "node-2": each, "node-3": each}))
	})

	s.kubectl(t, "drain", "node-2", "--delete-emptydir-data", "--timeout=60s")
	s.until(t, "two nodes have what three had", func() error {
		if err := s.all(t, pods); err != nil {
			return err
		}
		if left := s.placed(t)["node-2"]; left > 0 {
			return fmt.Errorf("%d pods are on the drained node", left)
		}
		return nil
	})

	large("node-4")
	shop("upgrade", "--set=shop.settings.application\\.yml=logging: {level: {root: debug}}")
	s.until(t, "all that rolled is on three nodes again", func() error {
		return errors.Join(s.all(t, pods), s.spread(t, map[string]int{"node-1": each, "node-3": each, "node-4": each}))
	})
}

// placed counts the pods of each node.
func (s simulation) placed(t *testing.T) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, p := range s.pods(t) {
		found[p.Spec.NodeName]++
	}
	return found
}

func (s simulation) spread(t *testing.T, want map[string]int) error {
	t.Helper()
	if found := s.placed(t); !maps.Equal(found, want) {
		return fmt.Errorf("pods are placed %v, want %v", found, want)
	}
	return nil
}

// simulation is the control plane and what has access to it.
type simulation struct {
	client *kubernetes.Clientset
	config string // file for kubectl and the like
}

// start starts the control plane and KWOK, until the test ends.
func start(t *testing.T) simulation {
	t.Helper()
	apiserver, err := exec.LookPath("kube-apiserver")
	if err != nil {
		t.Fatalf("%v: these tests run with the programs of the throwaway cluster: make test-kubernetes", err)
	}
	programs := filepath.Dir(apiserver)
	environment := &envtest.Environment{BinaryAssetsDirectory: programs, ControlPlaneStartTimeout: 2 * time.Minute, ControlPlaneStopTimeout: time.Minute}
	access, err := environment.Start()
	if err != nil {
		t.Fatalf("start the API server: %v", err)
	}
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		t.Fatal(err)
	}
	s := simulation{client, filepath.Join(t.TempDir(), "kubeconfig")}
	if err := os.WriteFile(s.config, environment.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	// Neither listens: nobody asks how they are.
	s.run(t, "kube-controller-manager", "--kubeconfig="+s.config, "--leader-elect=false", "--secure-port=0")
	s.run(t, "kube-scheduler", "--kubeconfig="+s.config, "--leader-elect=false", "--secure-port=0")
	s.run(t, "kwok", "--kubeconfig="+s.config, "--manage-all-nodes=true", "--config="+filepath.Join(programs, "kwok-stages.yaml"))
	return s
}

// run runs a program until the test ends.
func (s simulation) run(t *testing.T, name string, args ...string) {
	t.Helper()
	var log bytes.Buffer
	command := exec.Command(name, args...)
	command.Stdout, command.Stderr = &log, &log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // not even when the test is killed does it stay
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill() // it is gone at once or has been: both are what is wanted
		_ = command.Wait()
		if t.Failed() {
			lines := strings.Split(log.String(), "\n")
			t.Logf("%s said at the end:\n%s", name, strings.Join(lines[max(0, len(lines)-15):], "\n"))
		}
	})
}

// helm runs Helm with this control plane.
func (s simulation) helm(t *testing.T, args ...string) {
	t.Helper()
	s.command(t, "helm", args...)
}

// kubectl runs kubectl with this control plane.
func (s simulation) kubectl(t *testing.T, args ...string) {
	t.Helper()
	s.command(t, "kubectl", args...)
}

func (s simulation) command(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	command.Env = append(os.Environ(), "KUBECONFIG="+s.config)
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// node adds a node that has so much for pods.
func (s simulation) node(t *testing.T, name, cpu, memory string) {
	t.Helper()
	size := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
		corev1.ResourceEphemeralStorage: resource.MustParse("40Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelOSStable: "linux"}},
		Status:     corev1.NodeStatus{Capacity: size, Allocatable: size},
	}
	if _, err := s.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// surroundings are what is there in a cluster at DigitalOcean: daemons, name servers, and volumes that can be taken to another node.
func (s simulation) surroundings(t *testing.T) {
	t.Helper()
	labels := func(name string) map[string]string { return map[string]string{"k8s-app": name} }
	pod := func(name, class string, requests corev1.ResourceList) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels(name)},
			Spec: corev1.PodSpec{PriorityClassName: class, Containers: []corev1.Container{{
				Name: name, Image: name, Resources: corev1.ResourceRequirements{Requests: requests},
			}}},
		}
	}
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "daemons"}, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels("daemons")},
		Template: pod("daemons", "system-node-critical", corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(daemons)}),
	}}
	if _, err := s.client.AppsV1().DaemonSets("kube-system").Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	names := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "coredns"}, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels("kube-dns")},
		Template: pod("kube-dns", "system-cluster-critical", corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("70Mi")}),
	}}
	if _, err := s.client.AppsV1().Deployments("kube-system").Create(t.Context(), names, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	class := &storagev1.StorageClass{
		ObjectMeta:  metav1.ObjectMeta{Name: "volumes", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: "kubernetes.io/no-provisioner",
	}
	if _, err := s.client.StorageV1().StorageClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "volume"}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		StorageClassName: "volumes", PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "dobs.csi.digitalocean.com", VolumeHandle: "1"}},
	}}
	if _, err := s.client.CoreV1().PersistentVolumes().Create(t.Context(), volume, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// silence takes away cert-manager's webhooks: nobody answers behind a simulated pod.
func (s simulation) silence(t *testing.T) {
	t.Helper()
	admission := s.client.AdmissionregistrationV1()
	all := metav1.ListOptions{}
	if err := admission.ValidatingWebhookConfigurations().DeleteCollection(t.Context(), metav1.DeleteOptions{}, all); err != nil {
		t.Fatal(err)
	}
	if err := admission.MutatingWebhookConfigurations().DeleteCollection(t.Context(), metav1.DeleteOptions{}, all); err != nil {
		t.Fatal(err)
	}
}

// pods are all that are to run: not those that have done their work.
func (s simulation) pods(t *testing.T) []corev1.Pod {
	t.Helper()
	list, err := s.client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return owned(p, "Job") || p.DeletionTimestamp != nil })
}

// all says what is missing for so many pods to run and no other.
func (s simulation) all(t *testing.T, want int) error {
	t.Helper()
	pods := s.pods(t)
	for _, p := range pods {
		if p.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("%s/%s is %s: %v", p.Namespace, p.Name, p.Status.Phase, p.Status.Conditions)
		}
	}
	if len(pods) != want {
		var names []string
		for _, p := range pods {
			names = append(names, p.Name)
		}
		slices.Sort(names)
		return fmt.Errorf("%d pods run, want %d: %v", len(pods), want, names)
	}
	return nil
}

// rolled says which component of the shop does not have its new pods yet.
func (s simulation) rolled(t *testing.T) error {
	t.Helper()
	list, err := s.client.AppsV1().Deployments(stage).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list.Items {
		if d.Labels["app.kubernetes.io/component"] == "backup" { // no component, and not started anew
			continue
		}
		if d.Generation < 2 || d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas != d.Status.Replicas || d.Status.AvailableReplicas != *d.Spec.Replicas {
			return fmt.Errorf("%s has not rolled: %+v", d.Name, d.Status)
		}
	}
	return nil
}

// tell tells what is requested of each node.
func (s simulation) tell(t *testing.T) {
	t.Helper()
	type sum struct{ pods, cpu, memory int64 }
	sums := map[string]sum{}
	for _, p := range s.pods(t) {
		n := sums[p.Spec.NodeName]
		n.pods++
		for _, c := range p.Spec.Containers {
			n.cpu += c.Resources.Requests.Cpu().MilliValue()
			n.memory += c.Resources.Requests.Memory().Value() >> 20
		}
		sums[p.Spec.NodeName] = n
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		t.Logf("%s: %d pods request %dm of %s and %d MiB of %s", name, sums[name].pods, sums[name].cpu, nodeCPU, sums[name].memory, nodeMemory)
	}
}

// until waits for what a function says is missing.
func (s simulation) until(t *testing.T, what string, missing func() error) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		err := missing()
		if err == nil {
			t.Log(what)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in two minutes: %v", what, err)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func owned(p corev1.Pod, kind string) bool {
	return slices.ContainsFunc(p.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == kind })
}

// module is the folder of a module that this one requires.
func module(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		t.Fatalf("find the module %s: %v", path, err)
	}
	return strings.TrimSpace(string(out))
}
