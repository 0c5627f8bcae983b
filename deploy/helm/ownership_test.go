package helm_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	sigsyaml "sigs.k8s.io/yaml"
)

// kindOf is the kind of what a resource of Terraform makes.
func kindOf() map[string]string {
	return map[string]string{
		"kubernetes_namespace_v1": "Namespace", "kubernetes_service_account_v1": "ServiceAccount", "kubernetes_default_service_account_v1": "ServiceAccount",
		"kubernetes_role_v1": "Role", "kubernetes_role_binding_v1": "RoleBinding", "kubernetes_cluster_role_v1": "ClusterRole",
		"kubernetes_cluster_role_binding_v1": "ClusterRoleBinding", "kubernetes_network_policy_v1": "NetworkPolicy", "kubernetes_secret_v1": "Secret",
	}
}

// made are the objects of Kubernetes that Terraform makes by itself in an environment, as its tests planned them, by kind, namespace
// and name: what is particular to each, in the API's words.
func made(t *testing.T, environment string) map[string]map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../test/terraform/testdata", environment+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	plan := map[string]map[string]any{}
	if err := sigsyaml.Unmarshal(text, &plan); err != nil {
		t.Fatal(err)
	}
	found := map[string]map[string]any{}
	for address, values := range plan {
		kind := ""
		for step := range strings.SplitSeq(address, ".") {
			if strings.HasPrefix(step, "kubernetes_") {
				if kind = kindOf()[step]; kind == "" {
					t.Fatalf("%s: nobody knows what %s makes", address, step)
				}
			}
		}
		if kind == "" {
			continue
		}
		metadata := values["metadata"].([]any)[0].(map[string]any)
		body := map[string]any{}
		for key, value := range values {
			switch key {
			case "metadata", "image_pull_secret", "secret", "aggregation_rule":
			case "role_ref", "spec":
				body[camel(key)] = inWords(value.([]any)[0])
			case "rule", "subject":
				body[key+"s"] = inWords(value)
			default:
				body[camel(key)] = inWords(value)
			}
		}
		if labels, ok := metadata["labels"].(map[string]any); ok && kind == "Namespace" {
			body["labels"] = admission(labels)
		}
		name, _ := metadata["name"].(string)
		if name == "" {
			name = "default" // which is there already
		}
		found[identity(kind, metadata["namespace"], name)] = body
	}
	return found
}

func identity(kind string, namespace any, name string) string {
	if namespace == nil {
		namespace = ""
	}
	return fmt.Sprintf("%s %s/%s", kind, namespace, name)
}

// camel is a name of Terraform's as the API has it.
func camel(name string) string {
	words := strings.Split(name, "_")
	for i := 1; i < len(words); i++ {
		words[i] = strings.ToUpper(words[i][:1]) + words[i][1:]
	}
	return strings.Join(words, "")
}

// inWords has names as the API has them, and nothing of what is empty; lists of words are sorted, since Terraform has sets.
func inWords(value any) any {
	switch value := value.(type) {
	case map[string]any:
		object := map[string]any{}
		for key, item := range value {
			if item = inWords(item); item != nil {
				object[camel(key)] = item
			}
		}
		return object
	case []any:
		var list []any
		words := true
		for _, item := range value {
			_, isWord := item.(string)
			words = words && isWord
			list = append(list, inWords(item))
		}
		if words {
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
		if len(list) == 0 {
			return nil
		}
		return list
	}
	return value
}

// admission are the labels that Pod Security goes by.
func admission(labels map[string]any) map[string]any {
	found := map[string]any{}
	for key, value := range labels {
		if strings.HasPrefix(key, "pod-security.kubernetes.io/") {
			found[key] = value
		}
	}
	return found
}

// TestBaselineIsTerraforms: what the chart makes of a cluster without Terraform is what Terraform makes, but for the default accounts,
// which Helm cannot take over: names, rights, policies, labels of Pod Security.
func TestBaselineIsTerraforms(t *testing.T) {
	t.Parallel()
	terraform := made(t, "stage")
	maps.DeleteFunc(terraform, func(key string, _ map[string]any) bool { return strings.HasSuffix(key, "/default") })
	chart := map[string]map[string]any{}
	with, without := installed(t, variant{values: "baseline: {create: true}"}), map[string]bool{}
	for _, object := range installed(t, variant{}) {
		without[title(object)] = true
	}
	for _, object := range with {
		if without[title(object)] {
			continue
		}
		body := map[string]any{}
		for key, value := range object.Object {
			switch key {
			case "apiVersion", "kind", "metadata":
			case "spec":
				spec, _ := inWords(value).(map[string]any)
				if selector, ok := spec["podSelector"].(map[string]any); ok && len(selector) == 0 {
					spec["podSelector"] = []any{map[string]any{}} // a block in Terraform
				}
				body[key] = spec
			default:
				body[key] = inWords(value)
			}
		}
		if object.GetKind() == "Namespace" {
			labels, _, err := unstructured.NestedMap(object.Object, "metadata", "labels")
			if err != nil {
				t.Fatal(err)
			}
			body["labels"] = admission(labels)
		}
		chart[identity(object.GetKind(), object.GetNamespace(), object.GetName())] = body
	}
	if diff := cmp.Diff(terraform, chart); diff != "" {
		t.Errorf("the chart's baseline (-Terraform +chart):\n%s", diff)
	}
}

// TestOneOwner: no object is made by Terraform and by the chart that it installs.
func TestOneOwner(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"stage", "production"} {
		terraform := made(t, environment)
		if len(terraform) < 15 {
			t.Errorf("%s: Terraform makes only %d objects", environment, len(terraform))
		}
		objects := installed(t, variant{files: []string{"values-" + environment + ".yaml", "../../../test/terraform/testdata/" + environment + "-shop.yaml"}})
		for _, object := range objects {
			place := object.GetNamespace()
			if place == namespace {
				place = "ecommerce-" + environment
			}
			if _, both := terraform[identity(object.GetKind(), place, object.GetName())]; both {
				t.Errorf("%s: Terraform and the chart both make %s", environment, title(object))
			}
		}
	}
}
