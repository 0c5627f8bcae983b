package helm_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	sigsyaml "sigs.k8s.io/yaml"
)

// policiesCheck is the name in exemptions.yaml of what violations finds.
const policiesCheck = "policies"

// violations are what the policies find wrong with manifests: nothing is public by itself, since the load balancer belongs to the ingress
// controller; default accounts have no rights; nobody reads secrets unless that was chosen, or may do everything.
func violations(t *testing.T, objects []*unstructured.Unstructured, secretsChosen bool) []criticism {
	t.Helper()
	var found []criticism
	complain := func(object *unstructured.Unstructured, format string, arguments ...any) {
		found = append(found, criticism{title(object), policiesCheck, fmt.Sprintf(format, arguments...)})
	}
	rules := func(object *unstructured.Unstructured, rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			if slices.Contains(rule.Resources, "*") || slices.Contains(rule.Verbs, "*") {
				complain(object, "may do everything")
			}
			if slices.Contains(rule.Resources, "secrets") && !secretsChosen {
				complain(object, "reads secrets")
			}
		}
	}
	subjects := func(object *unstructured.Unstructured, role string, subjects []rbacv1.Subject) {
		for _, subject := range subjects {
			if subject.Kind != "ServiceAccount" || subject.Name == "default" {
				complain(object, "gives rights to %s %s", subject.Kind, subject.Name)
			}
		}
		if role == "cluster-admin" || role == "admin" || role == "edit" {
			complain(object, "makes somebody %s", role)
		}
	}
	for _, object := range objects {
		switch object.GetKind() {
		case "Service":
			s := as[corev1.Service](t, object)
			if s.Spec.Type != "" && s.Spec.Type != corev1.ServiceTypeClusterIP || len(s.Spec.ExternalIPs) > 0 {
				complain(object, "is public: %s %v", s.Spec.Type, s.Spec.ExternalIPs)
			}
		case "Role":
			rules(object, as[rbacv1.Role](t, object).Rules)
		case "ClusterRole":
			rules(object, as[rbacv1.ClusterRole](t, object).Rules)
		case "RoleBinding":
			b := as[rbacv1.RoleBinding](t, object)
			subjects(object, b.RoleRef.Name, b.Subjects)
		case "ClusterRoleBinding":
			b := as[rbacv1.ClusterRoleBinding](t, object)
			subjects(object, b.RoleRef.Name, b.Subjects)
		}
	}
	return found
}

// TestManifestsKeepPolicies holds every way to install the chart to the policies.
func TestManifestsKeepPolicies(t *testing.T) {
	t.Parallel()
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range violations(t, installed(t, v), strings.Contains(v.values, "secretAccess: true")) {
				t.Errorf("%s %s", c.object, c.comment)
			}
		})
	}
}

// TestPoliciesFindViolations: each policy finds the manifest that breaks it.
func TestPoliciesFindViolations(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, manifest, want string }{
		{"a load balancer", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: LoadBalancer}}", "is public"},
		{"a port of every node", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: NodePort}}", "is public"},
		{"an address of a node", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {externalIPs: [203.0.113.7]}}", "is public"},
		{"rights of the default account", "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: a}, subjects: [{kind: ServiceAccount, name: default}]}", "ServiceAccount default"},
		{"rights of everybody", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: a}, subjects: [{kind: Group, name: 'system:authenticated'}]}", "Group system:authenticated"},
		{"an administrator", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: a}, roleRef: {name: cluster-admin}}", "makes somebody cluster-admin"},
		{"secrets", "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: a}, rules: [{resources: [secrets], verbs: [list]}]}", "reads secrets"},
		{"everything", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: a}, rules: [{resources: [pods], verbs: ['*']}]}", "may do everything"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var object unstructured.Unstructured
			if err := sigsyaml.Unmarshal([]byte(test.manifest), &object.Object); err != nil {
				t.Fatal(err)
			}
			if found := violations(t, []*unstructured.Unstructured{&object}, false); len(found) != 1 || !strings.Contains(found[0].comment, test.want) {
				t.Errorf("violations are %q, want one with %q", found, test.want)
			}
		})
	}
}
