package helm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	sigsyaml "sigs.k8s.io/yaml"
)

// prerequisite are the values of a release that comes before ours, or those of them that the tests look at.
func prerequisite[T any](t *testing.T, name string, options ...sigsyaml.JSONOpt) T {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("prerequisites", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values T
	if err := sigsyaml.Unmarshal(text, &values, options...); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return values
}

// controller are the values of both charts of NGINX. What they call the same comes first.
type controller struct {
	Controller struct {
		PriorityClassName string
		Autoscaling       struct {
			Enabled                                                           bool
			MinReplicas, MaxReplicas                                          int
			TargetCPUUtilizationPercentage, TargetMemoryUtilizationPercentage int
		}
		Resources                 corev1.ResourceRequirements
		TopologySpreadConstraints []corev1.TopologySpreadConstraint
		Service                   struct {
			Type, ExternalTrafficPolicy string
			Annotations                 map[string]string
		}
		// The community's. Its budget, its checks and its time to end are the chart's own, which TestIngressNginxTakesItsValues looks at.
		Metrics struct{ Enabled bool }
		// F5's.
		SecurityContext               *corev1.SecurityContext
		Lifecycle                     corev1.Lifecycle
		TerminationGracePeriodSeconds int
		PodDisruptionBudget           struct {
			Enabled        bool
			MaxUnavailable int
		}
		HealthStatus bool
		ReadyStatus  struct {
			Enable bool
			Port   int
		}
		TelemetryReporting struct{ Enable *bool } // left out it is true
	}
	Prometheus struct {
		Create bool
		Port   int
	}
}

// balancer are the annotations of DigitalOcean's load balancer: it passes connections through as they are, of which the client's address is part and
// the way from HTTP to HTTPS is not, that being the controller's, and has the smallest size.
func balancer(name string) map[string]string {
	return map[string]string{
		"service.beta.kubernetes.io/do-loadbalancer-name": name, "service.beta.kubernetes.io/do-loadbalancer-type": "REGIONAL_NETWORK",
		"service.beta.kubernetes.io/do-loadbalancer-size-unit": "1",
	}
}

// overNodes spreads pods of a name.
func overNodes(name string) []corev1.TopologySpreadConstraint {
	return []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/name": name}}}}
}

// TestIngressControllers: both are as the architecture has them, and nothing of their values stands there that is not wanted here.
func TestIngressControllers(t *testing.T) {
	t.Parallel()
	wanted := func(name string) controller {
		var want controller
		c := &want.Controller
		c.PriorityClassName = "system-cluster-critical" // or whatever of the shop wants its place on a full node would get it
		c.Autoscaling.Enabled, c.Autoscaling.MinReplicas, c.Autoscaling.MaxReplicas = true, 2, 5
		c.Autoscaling.TargetCPUUtilizationPercentage, c.Autoscaling.TargetMemoryUtilizationPercentage = 70, 80
		c.Resources = corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("512Mi")},
		}
		c.TopologySpreadConstraints = overNodes(name)
		c.Service.Type, c.Service.ExternalTrafficPolicy, c.Service.Annotations = "LoadBalancer", "Local", balancer("tienda")
		return want
	}
	f5, community := wanted("nginx-ingress"), wanted("ingress-nginx")
	community.Controller.Metrics.Enabled = true
	f5.Prometheus.Create, f5.Prometheus.Port = true, 9113
	c := &f5.Controller
	c.SecurityContext = &corev1.SecurityContext{AllowPrivilegeEscalation: new(false), RunAsNonRoot: new(true), RunAsUser: new(int64(101)),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_BIND_SERVICE"}}}
	c.Lifecycle.PreStop = &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 20}}
	c.TerminationGracePeriodSeconds = 90
	c.PodDisruptionBudget.Enabled, c.PodDisruptionBudget.MaxUnavailable = true, 1
	c.TelemetryReporting.Enable = new(false)
	c.HealthStatus, c.ReadyStatus.Enable, c.ReadyStatus.Port = true, true, 8081
	for name, want := range map[string]controller{"nginx-ingress": f5, "ingress-nginx": community} {
		if diff := cmp.Diff(want, prerequisite[controller](t, name, sigsyaml.DisallowUnknownFields)); diff != "" {
			t.Errorf("values for %s (-want +got):\n%s", name, diff)
		}
	}
}

// TestEntryListensWhereItIsReached: F5's controller has every Ingress listen at 80 and 443, and leads HTTP to the latter; the ports of its
// default server are another matter. So nothing may lead past them.
func TestEntryListensWhereItIsReached(t *testing.T) {
	t.Parallel()
	c := prerequisite[struct {
		Controller struct {
			ContainerPort                                     map[string]int
			DefaultHTTPListenerPort, DefaultHTTPSListenerPort int
			Service                                           struct{ HTTPPort, HTTPSPort map[string]any }
		}
	}](t, "nginx-ingress").Controller
	if c.ContainerPort != nil || c.DefaultHTTPListenerPort != 0 || c.DefaultHTTPSListenerPort != 0 || c.Service.HTTPPort != nil || c.Service.HTTPSPort != nil {
		t.Errorf("the entry has ports of its own: %+v", c)
	}
}

// TestEntryLeadsToHTTPS: whichever controller there is, the shop's name is led from HTTP to HTTPS, takes bodies and waits as the values say; and the
// Gateway serves on both ports, the shop on the second alone.
func TestEntryLeadsToHTTPS(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]map[string]string{
		"nginx": {"ingress.kubernetes.io/ssl-redirect": "true", "nginx.org/hsts": "true", "nginx.org/client-max-body-size": "3m",
			"nginx.org/proxy-read-timeout": "50s", "nginx.org/proxy-send-timeout": "50s", "a.example/b": "c"},
		"ingress-nginx": {"nginx.ingress.kubernetes.io/ssl-redirect": "true", "nginx.ingress.kubernetes.io/proxy-body-size": "3m",
			"nginx.ingress.kubernetes.io/proxy-read-timeout": "50", "nginx.ingress.kubernetes.io/proxy-send-timeout": "50", "a.example/b": "c"},
	} {
		objects := installed(t, variant{values: "entry: {kind: " + kind + ", maxBodySize: 3m, timeoutSeconds: 50, annotations: {a.example/b: c}}"})
		if diff := cmp.Diff(want, find(t, objects, "Ingress", "tienda").GetAnnotations()); diff != "" {
			t.Errorf("%s: annotations (-want +got):\n%s", kind, diff)
		}
	}
	objects := installed(t, variant{values: "entry: {kind: gateway, timeoutSeconds: 50}"})
	got := map[string]string{}
	for _, listener := range list(t, find(t, objects, "Gateway", "tienda").Object, "spec", "listeners") {
		got[listener["name"].(string)] = listener["protocol"].(string) + " " + number(listener["port"])
	}
	if diff := cmp.Diff(map[string]string{"http": "HTTP 80", "https": "HTTPS 443"}, got); diff != "" {
		t.Errorf("the Gateway listens otherwise (-want +got):\n%s", diff)
	}
	for route, listener := range map[string]string{"tienda": "https", "tienda-to-https": "http"} {
		object := find(t, objects, "HTTPRoute", route).Object
		if parents := list(t, object, "spec", "parentRefs"); len(parents) != 1 || parents[0]["sectionName"] != listener {
			t.Errorf("HTTPRoute/%s is one of %v, want %s", route, parents, listener)
		}
		rules := list(t, object, "spec", "rules")
		if listener == "http" {
			redirect := []any{map[string]any{"type": "RequestRedirect", "requestRedirect": map[string]any{"scheme": "https", "statusCode": float64(301)}}}
			if diff := cmp.Diff([]map[string]any{{"filters": redirect}}, rules); diff != "" {
				t.Errorf("HTTPRoute/%s leads elsewhere (-want +got):\n%s", route, diff)
			}
			continue
		}
		for _, rule := range rules {
			if timeout, _, _ := unstructured.NestedString(rule, "timeouts", "request"); timeout != "50s" {
				t.Errorf("HTTPRoute/%s waits %q for %v", route, timeout, rule["matches"])
			}
		}
	}
}

// TestCertManagerTakesItsValues renders the chart of cert-manager, from its module, with our values.
func TestCertManagerTakesItsValues(t *testing.T) {
	t.Parallel()
	values, err := os.ReadFile("prerequisites/cert-manager.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := render(t, filepath.Join(moduleFolder(t, "github.com/cert-manager/cert-manager"), "deploy/charts/cert-manager"), variant{values: string(values)})
	if err != nil {
		t.Fatal(err)
	}
	keepsPolicies(t, "cert-manager", objects)
	deployments := all[appsv1.Deployment](t, objects, "Deployment")
	if len(deployments) != 3 {
		t.Errorf("cert-manager has %d deployments, want 3", len(deployments))
	}
	for _, d := range deployments {
		if d.Spec.Template.Spec.Containers[0].Resources.Requests.Memory().IsZero() {
			t.Errorf("%s requests no memory", d.Name)
		}
		if priority := d.Spec.Template.Spec.PriorityClassName; priority != "system-cluster-critical" {
			t.Errorf("%s has the priority %q, and on a full node the shop, traces and favourites included, would get its place", d.Name, priority)
		}
	}
	if len(names(objects, "CustomResourceDefinition")) == 0 {
		t.Error("the definitions of certificates are not installed")
	}
}

// A node s-2vcpu-2gb: what is left of it for pods, and what its own daemons (Cilium, CSI, kube-proxy, DigitalOcean's agent)
// take of that. See docs/kubernetes.md.
const (
	nodes      = 3
	nodeCPU    = 1900
	nodeMemory = 1024 - 350
)

// demand is what one pod requests, in thousandths of a processor and MiB.
type demand struct {
	name        string
	cpu, memory int64
}

func demandOf(name string, requests ...corev1.ResourceList) demand {
	d := demand{name: name}
	for _, r := range requests {
		d.cpu += r.Cpu().MilliValue()
		d.memory += (r.Memory().Value() + 1<<20 - 1) >> 20
	}
	return d
}

// TestStageFitsItsNodes: what stage requests, with everything that comes before it and one pod more while something rolls,
// is placed on three small nodes, without backups and with those that Terraform asks for. Pods are placed largest first, each on the node with the most room: more simply than the
// scheduler does, which spreads them as well. Jobs come later, and get what is left: the dump and the job before an upgrade at once have a place. A restore
// test has none. docs/kubernetes.md says all that, with the figures.
func TestStageFitsItsNodes(t *testing.T) {
	t.Parallel()
	terraform := []string{"values-stage.yaml", "../../../test/terraform/testdata/stage-shop.yaml"}
	plain := fitting(t, variant{name: "without backups", files: terraform[:1]}, "database-migrations")
	backup := fitting(t, variant{name: "with backups", files: terraform, values: "backup: {restoreTest: {identitySecret: restore-test}}"}, "database-migrations", "backup")
	// Eleven components and the database, eight that come before and one that rolls; with backups who ships binary logs, which the document calls one pod more.
	if plain.pods != 12+8+1 || backup.pods != plain.pods+1 {
		t.Errorf("stage has %d pods, and %d with backups", plain.pods, backup.pods)
	}
	test := jobOf(t, backup.objects, "backup-restore-test")
	if left, ok := placed(backup.free, []demand{test}); ok {
		t.Errorf("a restore test has a place, which docs/kubernetes.md denies; the nodes have left %+v", left)
	}
	text, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	document := strings.Join(strings.Fields(string(text)), " ")
	most := slices.MaxFunc(backup.free, func(a, b demand) int { return int(a.memory - b.memory) }).memory
	for _, want := range []string{
		fmt.Sprintf("%d pods that request %s of %s of processor time and %s of %s MiB.", plain.pods, thousands(plain.cpu)+"m", thousands(nodes*nodeCPU)+"m", thousands(plain.memory), thousands(nodes*nodeMemory)),
		fmt.Sprintf("With backups it is one pod more and %s MiB,", thousands(backup.memory)),
		fmt.Sprintf("it requests %d MiB, and no node has more than %d left.", test.memory, most),
	} {
		if !strings.Contains(document, want) {
			t.Errorf("docs/kubernetes.md does not say what is so: %s", want)
		}
	}
}

// thousands writes a number of at most six digits as the documents do.
func thousands(n int64) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// fit is how a way to install stage fits its nodes: pods that are always there, what they request together, and what the nodes have left.
type fit struct {
	pods        int
	cpu, memory int64
	free        []demand
	objects     []*unstructured.Unstructured
}

// fitting places a way to install stage with what comes before it, and jobs into what is left.
func fitting(t *testing.T, v variant, jobs ...string) fit {
	t.Helper()
	f := fit{objects: installed(t, v)}
	demands := append(demandsOf(t, f.objects), before(t)...)
	demands = append(demands, demand{"one more of a component that rolls", 20, 32})
	ok := false
	if f.free, ok = placed(slices.Repeat([]demand{{"", nodeCPU, nodeMemory}}, nodes), demands); !ok {
		t.Fatalf("%s: not all are placed; the nodes have left %+v", v.name, f.free)
	}
	f.pods = len(demands)
	for _, d := range demands {
		if d.cpu == 0 || d.memory == 0 {
			t.Errorf("%s: %s requests nothing: %+v", v.name, d.name, d)
		}
		f.cpu, f.memory = f.cpu+d.cpu, f.memory+d.memory
	}
	var later []demand
	for _, name := range jobs {
		later = append(later, jobOf(t, f.objects, name))
	}
	if left, ok := placed(f.free, later); !ok {
		t.Errorf("%s: no place for %+v; the nodes have left %+v", v.name, later, left)
	}
	return f
}

// demandsOf are what the pods request that are always there.
func demandsOf(t *testing.T, objects []*unstructured.Unstructured) []demand {
	t.Helper()
	var demands []demand
	for _, d := range all[appsv1.Deployment](t, objects, "Deployment") {
		n := 1
		if d.Spec.Replicas != nil {
			n = int(*d.Spec.Replicas)
		}
		demands = append(demands, slices.Repeat([]demand{demandOfPod(d.Name, d.Spec.Template.Spec)}, n)...)
	}
	for _, s := range all[appsv1.StatefulSet](t, objects, "StatefulSet") {
		demands = append(demands, demandOfPod(s.Name, s.Spec.Template.Spec))
	}
	return demands
}

// before are what comes before the shop.
func before(t *testing.T) []demand {
	t.Helper()
	type requests struct{ Resources corev1.ResourceRequirements }
	manager := prerequisite[struct {
		requests
		Webhook, Cainjector requests
	}](t, "cert-manager")
	entry := demandOf("nginx-ingress", prerequisite[controller](t, "nginx-ingress").Controller.Resources.Requests)
	dns := demandOf("coredns", corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("70Mi")})
	return []demand{entry, entry, dns, dns, demandOf("cert-manager", manager.Resources.Requests), demandOf("cert-manager-webhook", manager.Webhook.Resources.Requests),
		demandOf("cert-manager-cainjector", manager.Cainjector.Resources.Requests), demandOf("metrics-server", prerequisite[requests](t, "metrics-server").Resources.Requests)}
}

// demandOfPod is what the scheduler takes a pod for: what its containers request together, or the largest of those that run before them.
func demandOfPod(name string, pod corev1.PodSpec) demand {
	var d demand
	for _, c := range pod.Containers {
		one := demandOf(name, c.Resources.Requests)
		d = demand{name, d.cpu + one.cpu, d.memory + one.memory}
	}
	for _, c := range pod.InitContainers {
		one := demandOf(name, c.Resources.Requests)
		d.cpu, d.memory = max(d.cpu, one.cpu), max(d.memory, one.memory)
	}
	return d
}

// jobOf is what a job requests, or one that a CronJob makes.
func jobOf(t *testing.T, objects []*unstructured.Unstructured, name string) demand {
	t.Helper()
	for _, object := range objects {
		if kind := object.GetKind(); object.GetName() != name || kind != "Job" && kind != "CronJob" {
			continue
		}
		pod, _ := podOf(t, object)
		return demandOfPod(name, pod.Spec)
	}
	t.Fatalf("there is no job %s", name)
	return demand{}
}

// placed puts pods on nodes, and says what they have left, and whether all have a place.
func placed(free, demands []demand) ([]demand, bool) {
	free, demands = slices.Clone(free), slices.Clone(demands)
	byMemory := func(a, b demand) int { return int(b.memory - a.memory) }
	slices.SortStableFunc(demands, byMemory)
	for _, d := range demands {
		slices.SortStableFunc(free, byMemory)
		if free[0].cpu < d.cpu || free[0].memory < d.memory {
			return free, false
		}
		free[0].cpu -= d.cpu
		free[0].memory -= d.memory
	}
	return free, true
}
