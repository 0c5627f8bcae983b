package helm_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestSolver: a challenge comes to the solver's pod by way of the entry, whichever it is, and from nowhere else.
func TestSolver(t *testing.T) {
	t.Parallel()
	solver := place{namespace: namespace, labels: map[string]string{"acme.cert-manager.io/http01-solver": "true"}}
	for _, entry := range []string{"nginx", "ingress-nginx", "gateway", "gateway, className: nginx"} {
		for _, mode := range []string{"per-edge", "allow-same-namespace"} {
			objects := installed(t, variant{values: "{baseline: {create: true}, networkPolicy: {mode: " + mode + "}, entry: {kind: " + entry + ", tls: {issuer: letsencrypt-prod}}}"})
			n := network{t, all[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy")}
			cilium := entry == "gateway"
			if n.allows(stranger("ingress-nginx"), solver, 8089) == cilium {
				t.Errorf("%s, %s: the entry's pods reach the solver: %v", entry, mode, cilium)
			}
			if n.allows(stranger("ingress-nginx"), solver, 8090) || n.allows(stranger("elsewhere"), solver, 8089) {
				t.Errorf("%s, %s: the solver is open to more than the entry", entry, mode)
			}
			if found := slices.Contains(names(objects, "CiliumNetworkPolicy"), "allow-acme-solver"); found != cilium {
				t.Errorf("%s, %s: Cilium is told of the solver: %v", entry, mode, found)
			}
			if !cilium {
				continue
			}
			policy := find(t, objects, "CiliumNetworkPolicy", "allow-acme-solver").Object
			labels, _, _ := unstructured.NestedStringMap(policy, "spec", "endpointSelector", "matchLabels")
			if diff := cmp.Diff(solver.labels, labels); diff != "" {
				t.Errorf("Cilium's policy is for other pods (-solver +policy):\n%s", diff)
			}
			rules, _, _ := unstructured.NestedSlice(policy, "spec", "ingress")
			want := []any{map[string]any{"fromEntities": []any{"ingress"}, "toPorts": []any{map[string]any{"ports": []any{map[string]any{"port": "8089", "protocol": "TCP"}}}}}}
			if diff := cmp.Diff(want, rules); diff != "" {
				t.Errorf("what Cilium lets in (-want +got):\n%s", diff)
			}
		}
	}
}
