package helm_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	sigsyaml "sigs.k8s.io/yaml"
)

// downloaded is the folder of a module that nothing here is built with. Its sum is compared, since no go.sum has it.
func downloaded(t *testing.T, module, sum string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	command.Dir = t.TempDir() // where there is no go.mod to be changed
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go mod download %s: %v\n%s", module, err, out)
	}
	var found struct{ Dir, Sum string }
	if err := json.Unmarshal(out, &found); err != nil || found.Sum != sum {
		t.Fatalf("%s has the sum %s, want %s: %v", module, found.Sum, sum, err)
	}
	return found.Dir
}

// planned is what Terraform says to the chart of an ingress controller on top of our values, as its tests planned it.
func planned(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../test/terraform/testdata/production.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var plan struct {
		Entry struct{ Values []string } `json:"module.entry.helm_release.main"`
	}
	if err := sigsyaml.Unmarshal(text, &plan); err != nil || len(plan.Entry.Values) != 1 {
		t.Fatalf("the plan has the values %q of the entry: %v", plan.Entry.Values, err)
	}
	return plan.Entry.Values[0]
}

// TestIngressNginxTakesItsValues renders the chart of the community's controller, as its module has it, with our values and Terraform's: its
// Service has the name by which Terraform looks for it, and its pods are let in where Pod Security is "restricted".
func TestIngressNginxTakesItsValues(t *testing.T) {
	t.Parallel()
	const chart, here = "charts/ingress-nginx", "ingress-nginx"
	folder := downloaded(t, "k8s.io/ingress-nginx@v0.0.0-20240708192948-52c50467d67d", "h1:tZui5g6S4GO1hxLm6yrEoIXLkl4QfeGytlmZqZ+DmdQ=")
	ours, err := filepath.Abs("prerequisites/ingress-nginx.yaml")
	if err != nil {
		t.Fatal(err)
	}
	above, err := filepath.Rel(filepath.Join(folder, chart), ours)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := render(t, filepath.Join(folder, chart), variant{files: []string{above}, values: planned(t), release: here, namespace: here})
	if err != nil {
		t.Fatal(err)
	}
	keepsPolicies(t, here, objects)
	service := named[corev1.Service](t, objects, "Service", here+"-controller")
	wanted := balancer("ecommerce-production")
	wanted["service.beta.kubernetes.io/do-loadbalancer-size-unit"] = "2" // production's, by Terraform
	if diff := cmp.Diff(wanted, service.Annotations); diff != "" || service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		t.Errorf("the Service is a %s with the policy %s and other annotations (-want +got):\n%s", service.Spec.Type, service.Spec.ExternalTrafficPolicy, diff)
	}
	named[corev1.Service](t, objects, "Service", here+"-controller-metrics")
	scaler := named[autoscalingv2.HorizontalPodAutoscaler](t, objects, "HorizontalPodAutoscaler", here+"-controller")
	if scaler.Spec.MinReplicas == nil || *scaler.Spec.MinReplicas != 2 || scaler.Spec.MaxReplicas != 5 || len(scaler.Spec.Metrics) != 2 {
		t.Errorf("it is scaled as %+v, want 2 to 5 by processor time and memory", scaler.Spec)
	}
	template := named[appsv1.Deployment](t, objects, "Deployment", here+"-controller").Spec.Template
	pod, container := template.Spec, template.Spec.Containers[0]
	if diff := cmp.Diff(prerequisite[controller](t, here).Controller.Resources, container.Resources); diff != "" || pod.PriorityClassName != "system-cluster-critical" {
		t.Errorf("it has the priority %q and other resources (-want +got):\n%s", pod.PriorityClassName, diff)
	}
	if diff := cmp.Diff(overNodes(here), pod.TopologySpreadConstraints); diff != "" || !selects(t, pod.TopologySpreadConstraints[0].LabelSelector).Matches(labels.Set(template.Labels)) {
		t.Errorf("its pods have the labels %v and are spread otherwise (-want +got):\n%s", template.Labels, diff)
	}
	budget := named[policyv1.PodDisruptionBudget](t, objects, "PodDisruptionBudget", here+"-controller").Spec
	if !selects(t, budget.Selector).Matches(labels.Set(template.Labels)) || budget.MinAvailable == nil || budget.MinAvailable.IntValue() != 1 {
		t.Errorf("a drain is held back by %+v, want one of two that stays", budget)
	}
	for _, probe := range []*corev1.Probe{container.LivenessProbe, container.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != "/healthz" {
			t.Errorf("its health is asked by %+v", probe)
		}
	}
	if hook := container.Lifecycle; hook == nil || hook.PreStop == nil || hook.PreStop.Exec == nil || *pod.TerminationGracePeriodSeconds != 300 {
		t.Errorf("it ends by %+v in %d s, want connections that are let end", hook, *pod.TerminationGracePeriodSeconds)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		pod, ok := podOf(t, object)
		if !ok {
			continue
		}
		for _, result := range evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
			if !result.Allowed {
				t.Errorf("%s: Pod Security restricted: %s: %s", title(object), result.ForbiddenReason, result.ForbiddenDetail)
			}
		}
	}
}

// TestMetricsServerTakesItsValues renders the chart of metrics-server, as its module has it, with our values.
func TestMetricsServerTakesItsValues(t *testing.T) {
	t.Parallel()
	values, err := os.ReadFile("prerequisites/metrics-server.yaml")
	if err != nil {
		t.Fatal(err)
	}
	folder := downloaded(t, "sigs.k8s.io/metrics-server@v0.9.0", "h1:nlqqZ2H0Xfko8eJC/1qaNVVT17hu4rxndkOi22KTZ4w=")
	objects, err := render(t, filepath.Join(folder, "charts/metrics-server"), variant{values: string(values), release: "metrics-server", namespace: "kube-system"})
	if err != nil {
		t.Fatal(err)
	}
	keepsPolicies(t, "metrics-server", objects)
	container := named[appsv1.Deployment](t, objects, "Deployment", "metrics-server").Spec.Template.Spec.Containers[0]
	var want struct{ Resources corev1.ResourceRequirements }
	if err := sigsyaml.Unmarshal(values, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Resources, container.Resources); diff != "" {
		t.Errorf("it has other resources (-want +got):\n%s", diff)
	}
	if found := names(objects, "APIService"); len(found) != 1 || found[0] != "v1beta1.metrics.k8s.io" {
		t.Errorf("it serves %v, want what autoscaling asks", found)
	}
}

// keepsPolicies holds the manifests of somebody else's chart to our policies, but for what exemptions.yaml has of it, which must still be so.
func keepsPolicies(t *testing.T, chart string, objects []*unstructured.Unstructured) {
	t.Helper()
	var looked []string
	for _, object := range objects {
		looked = append(looked, title(object))
	}
	known := slices.DeleteFunc(exemptions(t), func(e exemption) bool { return e.Chart != chart })
	remain, needless := remaining(t, known, looked, violations(t, objects, false))
	for _, c := range remain {
		t.Errorf("%s: %s %s", chart, c.object, c.comment)
	}
	for _, complaint := range needless {
		t.Errorf("%s: %s", chart, complaint)
	}
}
