package shop_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"tienda/test/cluster/clustertest"
)

// dry is for what the API server is asked to take and not to keep.
func dry() metav1.CreateOptions { return metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}} }

// podSecurity has a pod refused that wants more than the others, in each of the namespaces that the chart labels.
func podSecurity(t *testing.T, c clustertest.Cluster) {
	for _, name := range []string{namespace, clustertest.EntryNamespace, monitoring} {
		pod := clustertest.Restricted("greedy", clustertest.Image(t, "probe"))
		yes := true
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
		_, err := c.CoreV1().Pods(name).Create(t.Context(), pod, dry())
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "restricted") {
			t.Errorf("a privileged pod in %s: %v, want to have it refused by Pod Security restricted", name, err)
		}
	}
}

// admitted has the API server look at everything that each values file makes, and at what is chosen besides: every object that it or
// cert-manager knows is applied, and a pod of each template is made under Pod Security, both for show.
func admitted(t *testing.T, c clustertest.Cluster) {
	served, err := c.Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	known := metav1.ExtractGroupVersions(served)
	const backups = "--set=backup.bucket=http://s3.example.com/shop,backup.existingSecret=bucket,backup.recipients={age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p},backup.restoreTest.identitySecret=restore-test"
	stage, production := "--values="+chart+"/values-stage.yaml", "--values="+chart+"/values-production.yaml"
	unknown := map[string]bool{}
	for _, variant := range []struct {
		name      string
		arguments []string
	}{
		{"stage", []string{stage, "--set=baseline.create=true,rbac.secretAccess=true"}},
		{"stage by Terraform, with backups", []string{stage, "--values=../../terraform/testdata/stage-shop.yaml", "--set=backup.restoreTest.identitySecret=restore-test"}},
		{"stage without an entry", []string{stage, "--values=../values.yaml", "--set=networkPolicy.mode=allow-same-namespace,database.mysql.snapshots.enabled=true"}},
		{"production", []string{production}},
		{"production by Terraform, with Stripe and backups", []string{production, "--values=../../terraform/testdata/production-shop.yaml"}},
		{"group replication with backups", []string{production, "--set=database.mode=percona", backups}},
		{"Linkerd", []string{production, "--set=mesh.enabled=true"}},
		{"Istio and Gateway API", []string{production, "--set=mesh.enabled=true,mesh.kind=istio,mesh.namespace=istio-system,entry.kind=gateway"}},
	} {
		rendered := clustertest.Run(t, "helm", append([]string{"template", release, chart, "--namespace=" + namespace}, variant.arguments...)...)
		var kept []string
		pods := 0
		for _, object := range objects(t, rendered) {
			if !slices.Contains(known, object.GetAPIVersion()) {
				unknown[object.GetKind()] = true
				continue
			}
			if object.GetKind() != "Pod" { // which has fields that cannot be changed
				text, err := yaml.Marshal(object)
				if err != nil {
					t.Fatal(err)
				}
				kept = append(kept, string(text))
			}
			if pod, ok := podOf(t, object); ok {
				pods++
				if _, err := c.CoreV1().Pods(namespace).Create(t.Context(), pod, dry()); err != nil {
					t.Errorf("%s: a pod of %s %s: %v", variant.name, object.GetKind(), object.GetName(), err)
				}
			}
		}
		file := filepath.Join(t.TempDir(), "objects.yaml")
		if err := os.WriteFile(file, []byte(strings.Join(kept, "---\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := clustertest.TryRun(t.Context(), "kubectl", "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--warnings-as-errors", "--filename="+file)
		if err != nil {
			t.Errorf("%s: %v", variant.name, err)
		}
		t.Logf("%s: %d objects and %d pods are taken", variant.name, len(kept), pods)
		if len(kept) < 60 || pods < 12 {
			t.Errorf("%s: that is not all", variant.name)
		}
	}
	// Some of them another cluster does know, such as DigitalOcean's, which has Cilium.
	mayLack := []string{"CiliumNetworkPolicy", "Gateway", "HTTPRoute", "PerconaServerMySQL", "SnapshotSchedule"}
	for kind := range unknown {
		if !slices.Contains(mayLack, kind) {
			t.Errorf("the API server does not know the kind %s", kind)
		}
	}
}

// objects are what a text of manifests has.
func objects(t *testing.T, manifests string) (found []*unstructured.Unstructured) {
	t.Helper()
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return found
		}
		object := &unstructured.Unstructured{}
		if err == nil {
			err = yaml.UnmarshalStrict(document, &object.Object)
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if len(object.Object) > 0 {
			found = append(found, object)
		}
	}
}

// podOf is a pod as an object would have it made, by another name than those that are there.
func podOf(t *testing.T, object *unstructured.Unstructured) (*corev1.Pod, bool) {
	t.Helper()
	path := []string{"spec", "template"}
	switch object.GetKind() {
	case "Pod":
		path = nil
	case "Deployment", "StatefulSet", "Job":
	case "CronJob":
		path = []string{"spec", "jobTemplate", "spec", "template"}
	default:
		return nil, false
	}
	template := object.Object
	if path != nil {
		var err error
		if template, _, err = unstructured.NestedMap(object.Object, path...); err != nil {
			t.Fatal(err)
		}
	}
	pod := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(template, pod); err != nil {
		t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
	claims, _, err := unstructured.NestedSlice(object.Object, "spec", "volumeClaimTemplates")
	if err != nil {
		t.Fatal(err)
	}
	for _, claim := range claims { // which the controller makes a volume of
		name, _, err := unstructured.NestedString(claim.(map[string]any), "metadata", "name")
		if err != nil {
			t.Fatal(err)
		}
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name + "-" + object.GetName() + "-0"}}})
	}
	pod.Name, pod.Namespace, pod.GenerateName = "", namespace, "for-show-"
	return pod, true
}
