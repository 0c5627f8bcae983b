package shop_test

import (
	"fmt"
	"slices"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tienda/test/cluster/clustertest"
)

// rights asks the API server, as "kubectl auth can-i --as" does, for everything that the two accounts might do with what they read and
// with what they must not touch: they may do what the architecture lists, and nothing else.
func rights(t *testing.T, c clustertest.Cluster, secrets bool) {
	t.Helper()
	granted := map[string][]string{"configmaps": {"get", "list", "watch"}, "services": {"get", "list"}, "pods": {"get", "list"}}
	if secrets {
		granted["secrets"] = []string{"get", "list", "watch"}
	}
	nodes := map[string][]string{"nodes": {"get", "list", "watch"}}
	resources := []authorizationv1.ResourceAttributes{
		{Resource: "configmaps"}, {Resource: "services"}, {Resource: "pods"}, {Resource: "secrets"}, {Resource: "nodes"}, {Resource: "namespaces"},
		{Resource: "pods", Subresource: "exec"}, {Resource: "pods", Subresource: "log"}, {Resource: "serviceaccounts", Subresource: "token"},
		{Resource: "deployments", Group: "apps"}, {Resource: "roles", Group: "rbac.authorization.k8s.io"},
	}
	allowed, refused := 0, 0
	for _, account := range []struct {
		name, namespace string
		everywhere      map[string][]string
	}{
		{"microservices-sa", namespace, nil},
		{"monitoring-sa", monitoring, nodes},
	} {
		for _, in := range []string{namespace, monitoring, metav1.NamespaceSystem} {
			for _, resource := range resources {
				for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"} {
					resource.Namespace, resource.Verb = in, verb
					want := resource.Subresource == "" && (in == namespace && slices.Contains(granted[resource.Resource], verb) || slices.Contains(account.everywhere[resource.Resource], verb))
					asked := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
						User: fmt.Sprintf("system:serviceaccount:%s:%s", account.namespace, account.name), ResourceAttributes: &resource,
						Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + account.namespace, "system:authenticated"},
					}}
					answer, err := c.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), asked, metav1.CreateOptions{})
					if err != nil {
						t.Fatal(err)
					}
					if answer.Status.Allowed != want {
						t.Errorf("%s may %s %s/%s in %s: %t, want %t", account.name, verb, resource.Resource, resource.Subresource, in, answer.Status.Allowed, want)
					}
					if want {
						allowed++
					} else {
						refused++
					}
				}
			}
		}
	}
	t.Logf("of what the two accounts may do %d were allowed and %d refused, with Secrets: %t", allowed, refused, secrets)
}
