package main

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/kube-network-policies/pkg/network"
)

// runtime is what the container runtime tells: the name of the pod of an address.
type runtime map[string]string

func (r runtime) LookupPod(address string) (string, bool) {
	name, ok := r[address]
	return name, ok
}

// TestVerdicts judges packets between pods of a namespace that nobody may speak to but the gateway to the shop, and who asks for names.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	const gateway, shop, starting, outside, stranger, name, service = "10.244.0.5", "10.244.0.6", "10.244.0.7", "192.0.2.1", "10.244.0.99", "10.244.0.2", "10.96.0.10"
	cluster := fake.NewClientset(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "stage"}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system"}},
		pod("stage", "gateway", gateway), pod("stage", "shop", shop), pod("kube-system", "names", name),
		pod("stage", "starting", ""), // its address is known to the runtime alone
		policy("nothing", nil, nil), policy("to-shop", []string{"gateway"}, []string{"shop"}), policy("to-starting", []string{"gateway"}, []string{"starting"}),
	)
	j := judge{options: options{node: "node-1", pods: netip.MustParsePrefix("10.244.0.0/16"), services: netip.MustParsePrefix("10.96.0.0/12")}}
	if err := j.follow(t.Context(), cluster, runtime{starting: "stage/starting"}); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ from, to, refused string }{
		"a policy lets it":                      {gateway, shop, ""},
		"no policy lets it back":                {shop, gateway, "no policy"},
		"no policy lets it out":                 {shop, outside, "no policy"},
		"nobody else comes in":                  {name, shop, "no policy"},
		"a namespace without policies":          {outside, name, ""},
		"to a pod whose address is new":         {gateway, starting, ""},
		"from a pod whose address is new":       {starting, shop, "no policy"},
		"from an address of a pod nobody knows": {stranger, name, "nobody knows"},
		"to a Service that has no pods":         {shop, service, ""},
	} {
		packet := network.Packet{Family: corev1.IPv4Protocol, Proto: corev1.ProtocolTCP, SrcIP: net.ParseIP(c.from), SrcPort: 40000, DstIP: net.ParseIP(c.to), DstPort: 8080}
		err := j.allowed(t.Context(), &packet)
		if (c.refused == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: from %s to %s is refused with %v, want %q", what, c.from, c.to, err, c.refused)
		}
	}
}

func pod(namespace, name, address string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}}, Spec: corev1.PodSpec{NodeName: "node-1"}}
	if address != "" {
		p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}}}
	}
	return p
}

// policy lets some pods of stage speak to others, or none of them to anybody.
func policy(name string, from, to []string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "stage", Name: name}}
	p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	if from == nil {
		return p
	}
	labels := func(names []string) metav1.LabelSelector {
		return metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: names}}}
	}
	callers, called := labels(from), labels(to)
	p.Spec.PodSelector = labels(append(from, to...))
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &callers}}}}
	p.Spec.Egress = []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{PodSelector: &called}}}}
	return p
}
