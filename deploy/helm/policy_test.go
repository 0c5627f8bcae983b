package helm_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	sigsyaml "sigs.k8s.io/yaml"
)

// component is an entry of the table in values.yaml, but for its tier.
type component struct {
	Port     int      `json:"port"`
	Context  string   `json:"context"`
	Tier     string   `json:"-"`
	Needs    []string `json:"needs"`
	Database bool     `json:"database"`
}

// tier is where a component stands, as the architecture has it. It is written down once more, since it decides whom the policies let in: a component
// that were moved to the edge in values.yaml would be open to the entry, and what is wanted of the policies must not move with it.
func tier(name string) string {
	switch name {
	case "cloud-config", "service-discovery", "zipkin":
		return "infrastructure"
	case "api-gateway", "proxy-client":
		return "edge"
	}
	return "business"
}

// table is the table of components, which a test beside services.go compares with that.
func table(t *testing.T) map[string]component {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartFolder, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		Services map[string]component `json:"services"`
	}
	if err := sigsyaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	for name, c := range values.Services {
		c.Tier = tier(name)
		values.Services[name] = c
	}
	return values.Services
}

func selects(t *testing.T, selector *metav1.LabelSelector) labels.Selector {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// place is where traffic comes from or goes to: a pod, or an address outside.
type place struct {
	namespace string
	labels    map[string]string
	address   string
}

// network answers who may talk to whom, as an engine of policies would.
type network struct {
	t        *testing.T
	policies []networkingv1.NetworkPolicy
}

// allows reports whether a connection may be made: both ends must let it.
func (n network) allows(from, to place, port int) bool {
	n.t.Helper()
	return n.direction(networkingv1.PolicyTypeEgress, from, to, port) && n.direction(networkingv1.PolicyTypeIngress, to, from, port)
}

// direction asks the policies of one end. A pod that no policy selects is open.
func (n network) direction(direction networkingv1.PolicyType, own, other place, port int) bool {
	n.t.Helper()
	if own.labels == nil {
		return true // not a pod of ours
	}
	selected := false
	for _, policy := range n.policies {
		if policy.Namespace != own.namespace || !slices.Contains(policy.Spec.PolicyTypes, direction) || !selects(n.t, &policy.Spec.PodSelector).Matches(labels.Set(own.labels)) {
			continue
		}
		selected = true
		if direction == networkingv1.PolicyTypeIngress {
			for _, rule := range policy.Spec.Ingress {
				if n.peers(rule.From, policy.Namespace, other) && ports(rule.Ports, port) {
					return true
				}
			}
			continue
		}
		for _, rule := range policy.Spec.Egress {
			if n.peers(rule.To, policy.Namespace, other) && ports(rule.Ports, port) {
				return true
			}
		}
	}
	return !selected
}

func (n network) peers(peers []networkingv1.NetworkPolicyPeer, namespace string, other place) bool {
	n.t.Helper()
	return len(peers) == 0 || slices.ContainsFunc(peers, func(peer networkingv1.NetworkPolicyPeer) bool {
		if peer.IPBlock != nil {
			return other.address != "" && within(n.t, peer.IPBlock.CIDR, other.address) &&
				!slices.ContainsFunc(peer.IPBlock.Except, func(cidr string) bool { return within(n.t, cidr, other.address) })
		}
		if other.address != "" {
			return false
		}
		if peer.NamespaceSelector == nil && other.namespace != namespace {
			return false
		}
		if peer.NamespaceSelector != nil && !selects(n.t, peer.NamespaceSelector).Matches(labels.Set{corev1.LabelMetadataName: other.namespace}) {
			return false
		}
		return peer.PodSelector == nil || selects(n.t, peer.PodSelector).Matches(labels.Set(other.labels))
	})
}

func within(t *testing.T, cidr, address string) bool {
	t.Helper()
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		t.Fatal(err)
	}
	return prefix.Contains(netip.MustParseAddr(address))
}

func ports(allowed []networkingv1.NetworkPolicyPort, port int) bool {
	return len(allowed) == 0 || slices.ContainsFunc(allowed, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.IntValue() == port })
}

// stranger is a pod of somebody else.
func stranger(namespace string) place {
	return place{namespace: namespace, labels: map[string]string{"app.kubernetes.io/name": "stranger"}}
}

// pods are those of a rendered chart, by the name of what makes them.
func pods(t *testing.T, objects []*unstructured.Unstructured) map[string]place {
	t.Helper()
	places := map[string]place{}
	for _, object := range objects {
		if pod, ok := podOf(t, object); ok {
			places[object.GetName()] = place{namespace: namespace, labels: pod.Labels}
		}
	}
	return places
}

// edges are the connections of components that the table asks for: needs, and what everybody does with the infrastructure.
func edges(components map[string]component) map[[2]string]bool {
	wanted := map[[2]string]bool{}
	for name, c := range components {
		for _, needed := range c.Needs {
			wanted[[2]string{name, needed}] = true
		}
		wanted[[2]string{name, "service-discovery"}] = true // all register, the registry with itself as well
		if name != "cloud-config" {
			wanted[[2]string{name, "cloud-config"}] = true
		}
		if c.Tier != "infrastructure" {
			wanted[[2]string{name, "zipkin"}] = true
		}
	}
	return wanted
}

// TestPoliciesFollowTheCallGraph looks at every pair of components, and at the database.
func TestPoliciesFollowTheCallGraph(t *testing.T) {
	t.Parallel()
	components := table(t)
	for _, mode := range []string{"per-edge", "allow-same-namespace"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			objects := installed(t, variant{values: "{baseline: {create: true}, networkPolicy: {mode: " + mode + "}}"})
			n := network{t, all[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy")}
			places := pods(t, objects)
			wanted := edges(components)
			for from := range components {
				for to, target := range components {
					want := wanted[[2]string{from, to}] || mode == "allow-same-namespace"
					if got := n.allows(places[from], places[to], target.Port); got != want {
						t.Errorf("%s may call %s: %v, want %v", from, to, got, want)
					}
					if from != to && n.allows(places[from], places[to], 22) && mode == "per-edge" {
						t.Errorf("%s may call %s on a port that is not its own", from, to)
					}
				}
				want := components[from].Database || mode == "allow-same-namespace"
				if got := n.allows(places[from], places["mysql"], 3306); got != want {
					t.Errorf("%s may reach the database: %v, want %v", from, got, want)
				}
			}
			for _, job := range []string{"database-accounts", "database-migrations"} {
				if !n.allows(places[job], places["mysql"], 3306) {
					t.Errorf("%s may not reach the database", job)
				}
			}
			checkOutside(t, n, places, components)
		})
	}
}

// checkOutside looks at what comes from other namespaces and what goes outside.
func checkOutside(t *testing.T, n network, places map[string]place, components map[string]component) {
	t.Helper()
	dns := place{namespace: "kube-system", labels: map[string]string{"k8s-app": "kube-dns"}}
	for name, c := range components {
		for from, want := range map[string]bool{"ingress-nginx": c.Tier == "edge", "monitoring": true, "default": false} {
			if got := n.allows(stranger(from), places[name], c.Port); got != want {
				t.Errorf("pods of %s may call %s: %v, want %v", from, name, got, want)
			}
		}
		if !n.allows(places[name], dns, 53) {
			t.Errorf("%s cannot ask for names", name)
		}
		for _, address := range []string{"93.184.216.34", "10.96.0.1", "169.254.169.254"} {
			if n.allows(places[name], place{address: address}, 443) {
				t.Errorf("%s may call %s outside", name, address)
			}
		}
	}
	if n.allows(stranger("default"), places["mysql"], 3306) || n.allows(stranger("monitoring"), places["mysql"], 3306) {
		t.Error("other namespaces may reach the database")
	}
	if !n.allows(places["story"], stranger("ingress-nginx"), 8443) || !n.allows(places["story"], place{address: "203.0.113.9"}, 443) {
		t.Error("helm test cannot go through the entry")
	}
}

// TestStripe: with its key payment-service, and nobody else, reaches hosts outside on 443, and nothing inside by that rule.
func TestStripe(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"per-edge", "allow-same-namespace"} {
		objects := installed(t, variant{values: "{shop: {stripe: {existingSecret: stripe}}, baseline: {create: true}, networkPolicy: {mode: " + mode + "}}"})
		n := network{t, all[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy")}
		places := pods(t, objects)
		for name := range table(t) {
			for address, outside := range map[string]bool{"54.187.174.169": true, "10.96.0.1": false, "169.254.169.254": false, "192.168.1.1": false} {
				want := outside && name == "payment-service"
				if got := n.allows(places[name], place{address: address}, 443); got != want {
					t.Errorf("%s: %s may call %s:443: %v, want %v", mode, name, address, got, want)
				}
			}
			if n.allows(places[name], place{address: "54.187.174.169"}, 80) {
				t.Errorf("%s: %s may call outside on another port", mode, name)
			}
		}
	}
}

// TestExternalDatabase: those that store reach its networks on its port.
func TestExternalDatabase(t *testing.T) {
	t.Parallel()
	objects := installed(t, variant{files: []string{"values-production.yaml"}, values: "baseline: {create: true}"})
	n := network{t, all[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy")}
	places := pods(t, objects)
	for name, c := range table(t) {
		if got := n.allows(places[name], place{address: "10.20.3.4"}, 25060); got != c.Database {
			t.Errorf("%s may reach the database: %v, want %v", name, got, c.Database)
		}
		if n.allows(places[name], place{address: "10.30.3.4"}, 25060) {
			t.Errorf("%s may reach other networks", name)
		}
	}
	if !n.allows(places["database-accounts"], place{address: "10.20.3.4"}, 25060) {
		t.Error("the job that makes accounts cannot reach the database")
	}
	if found := names(objects, "StatefulSet"); found != nil {
		t.Errorf("there are %v beside the external database", found)
	}
	order := environment(named[appsv1.Deployment](t, objects, "Deployment", "order-service").Spec.Template.Spec.Containers[0])
	if got, want := order["SPRING_DATASOURCE_URL"], "jdbc:mysql://mysql.example.com:25060/tienda_order?sslMode=REQUIRED"; got != want {
		t.Errorf("data source = %s, want %s", got, want)
	}
}

// TestPercona: those that store reach the operator's proxies, the first accounts are made while the servers come up, and
// the operator gets the root password that the jobs use.
func TestPercona(t *testing.T) {
	t.Parallel()
	objects := installed(t, variant{values: "{baseline: {create: true}, database: {mode: percona, percona: {operatorNamespace: operators}}}"})
	n := network{t, all[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy")}
	places := pods(t, objects)
	server := place{namespace: namespace, labels: map[string]string{"app.kubernetes.io/instance": "shop-mysql", "app.kubernetes.io/name": "mysql"}}
	for name, c := range table(t) {
		if got := n.allows(places[name], server, 3306); got != c.Database {
			t.Errorf("%s may reach the database: %v, want %v", name, got, c.Database)
		}
	}
	operator := place{namespace: "operators", labels: map[string]string{"app.kubernetes.io/name": "percona-server-mysql-operator"}}
	for what, allowed := range map[string]bool{
		"the first accounts": n.allows(places["database-first-accounts"], server, 3306), "a server to another": n.allows(server, server, 33061),
		"the operator": n.allows(operator, server, 33062),
	} {
		if !allowed {
			t.Errorf("%s: no way to the database", what)
		}
	}
	if n.allows(stranger("operators"), server, 3306) {
		t.Error("any pod in the operator's namespace may reach the database")
	}
	users, ours := named[corev1.Secret](t, objects, "Secret", "shop-mysql-users").Data, named[corev1.Secret](t, objects, "Secret", "database").Data
	if len(users["root"]) == 0 || string(users["root"]) != string(ours["root-password"]) {
		t.Errorf("the operator is given another root password than the jobs")
	}
	mine := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "database", "namespace": namespace}, "data": map[string]any{"root-password": "c2VjcmV0"},
	}}
	// With production's values one value is enough: the password is then in a Secret that somebody made.
	others := installed(t, variant{files: []string{"values-production.yaml"}, values: "{database: {mode: percona}}"}, mine)
	if got := string(named[corev1.Secret](t, others, "Secret", "shop-mysql-users").Data["root"]); got != "secret" {
		t.Errorf("the operator is given the root password %q, want the one in the secret that is there", got)
	}
	cluster := find(t, objects, "PerconaServerMySQL", "shop-mysql")
	if kind, _, _ := unstructured.NestedString(cluster.Object, "spec", "mysql", "clusterType"); kind != "group-replication" {
		t.Errorf("the servers are a cluster of the kind %q", kind)
	}
	order := environment(named[appsv1.Deployment](t, objects, "Deployment", "order-service").Spec.Template.Spec.Containers[0])
	if got, want := order["SPRING_DATASOURCE_URL"], "jdbc:mysql://shop-mysql-haproxy:3306/tienda_order"; got != want {
		t.Errorf("data source = %s, want %s", got, want)
	}
	if found := names(objects, "StatefulSet"); found != nil {
		t.Errorf("there are %v beside the operator's servers", found)
	}
}

// TestMesh: components are in the mesh and the database is not; where there is an edge the proxies may talk to each other, and
// all of them to their control plane.
func TestMesh(t *testing.T) {
	t.Parallel()
	for _, mesh := range []struct {
		kind, namespace, skipping string
		port                      int
		inside                    func(pod place, annotations map[string]string) string
	}{
		{"linkerd", "linkerd", "config.linkerd.io/skip-outbound-ports", 4143, func(_ place, annotations map[string]string) string { return annotations["linkerd.io/inject"] }},
		{"istio", "istio-system", "traffic.sidecar.istio.io/excludeOutboundPorts", 15008, func(pod place, _ map[string]string) string { return pod.labels["sidecar.istio.io/inject"] }},
	} {
		objects := installed(t, variant{values: "{baseline: {create: true}, mesh: {enabled: true, kind: " + mesh.kind + ", namespace: " + mesh.namespace + "}}"})
		n := network{t, all[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy")}
		places, components := pods(t, objects), table(t)
		for name, c := range components {
			template := named[appsv1.Deployment](t, objects, "Deployment", name).Spec.Template
			if got := mesh.inside(places[name], template.Annotations); got != "enabled" && got != "true" {
				t.Errorf("%s: %s is not in the mesh: %q", mesh.kind, name, got)
			}
			if got, want := template.Annotations[mesh.skipping] == "3306", c.Database; got != want {
				t.Errorf("%s: %s reaches the database past the mesh: %v, want %v", mesh.kind, name, got, want)
			}
			if !n.allows(places[name], stranger(mesh.namespace), 8086) {
				t.Errorf("%s: the proxy of %s cannot reach its control plane", mesh.kind, name)
			}
			for other := range components {
				if got, want := n.allows(places[name], places[other], mesh.port), edges(components)[[2]string{name, other}]; got != want {
					t.Errorf("%s: the proxies of %s and %s may talk: %v, want %v", mesh.kind, name, other, got, want)
				}
			}
		}
		if got := mesh.inside(places["mysql"], named[appsv1.StatefulSet](t, objects, "StatefulSet", "mysql").Spec.Template.Annotations); got != "disabled" && got != "false" {
			t.Errorf("%s: the database is in the mesh: %q", mesh.kind, got)
		}
	}
}

// TestBaseline: namespaces, accounts and rights are exactly those of the architecture.
func TestBaseline(t *testing.T) {
	t.Parallel()
	for _, secrets := range []bool{false, true} {
		values := "baseline: {create: true}"
		if secrets {
			values = "{baseline: {create: true}, rbac: {secretAccess: true}}"
		}
		objects := installed(t, variant{values: values})
		if diff := cmp.Diff([]string{"ecommerce-stage", "ingress-nginx", "monitoring"}, names(objects, "Namespace")); diff != "" {
			t.Errorf("namespaces (-want +got):\n%s", diff)
		}
		for _, created := range all[corev1.Namespace](t, objects, "Namespace") {
			if created.Labels["pod-security.kubernetes.io/enforce"] != "restricted" || created.Annotations["helm.sh/resource-policy"] != "keep" {
				t.Errorf("the namespace %s is %+v", created.Name, created.ObjectMeta)
			}
		}
		want := map[string][]string{"configmaps": {"get", "list", "watch"}, "services": {"get", "list"}, "pods": {"get", "list"}}
		if secrets {
			want["secrets"] = []string{"get", "list", "watch"}
		}
		for account, home := range map[string]string{"microservices-sa": namespace, "monitoring-sa": "monitoring"} {
			if got := named[corev1.ServiceAccount](t, objects, "ServiceAccount", account).Namespace; got != home {
				t.Errorf("%s is in %s, want %s", account, got, home)
			}
			if diff := cmp.Diff(want, verbs(named[rbacv1.Role](t, objects, "Role", account).Rules)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", account, diff)
			}
			binding := named[rbacv1.RoleBinding](t, objects, "RoleBinding", account)
			if diff := cmp.Diff([]rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: home}}, binding.Subjects); diff != "" || binding.RoleRef.Name != account {
				t.Errorf("binding of %s to %s (-want +got):\n%s", account, binding.RoleRef.Name, diff)
			}
		}
		cluster := named[rbacv1.ClusterRole](t, objects, "ClusterRole", namespace+"-monitoring-nodes")
		if diff := cmp.Diff(map[string][]string{"nodes": {"get", "list", "watch"}}, verbs(cluster.Rules)); diff != "" {
			t.Errorf("rights in the cluster (-want +got):\n%s", diff)
		}
	}
	plain := installed(t, variant{})
	for _, kind := range []string{"Namespace", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} {
		if found := names(plain, kind); found != nil {
			t.Errorf("without baseline.create the chart makes %s %v, which Terraform owns", kind, found)
		}
	}
}

// verbs are what rules allow, by resource.
func verbs(rules []rbacv1.PolicyRule) map[string][]string {
	allowed := map[string][]string{}
	for _, rule := range rules {
		for _, resource := range rule.Resources {
			allowed[resource] = append(allowed[resource], rule.Verbs...)
		}
	}
	return allowed
}

// TestEntry: the paths that lead inside, whichever kind of entry there is; what operators ask for is not among them.
func TestEntry(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"/": "api-gateway:8080", "/swagger-ui": "api-gateway:8080", "/swagger-ui.html": "api-gateway:8080",
		"/app/api": "proxy-client:8900", "/app/.well-known": "proxy-client:8900", "/app/v3/api-docs": "proxy-client:8900",
	}
	for _, c := range table(t) {
		if c.Tier == "business" {
			want[c.Context] = "api-gateway:8080"
		}
	}
	for _, kind := range []string{"nginx", "ingress-nginx", "gateway"} {
		objects := installed(t, variant{values: "entry: {kind: " + kind + "}"})
		got, exact := map[string]string{}, []string{}
		if kind == "gateway" {
			for _, rule := range list(t, find(t, objects, "HTTPRoute", "tienda").Object, "spec", "rules") {
				match := list(t, rule, "matches")[0]["path"].(map[string]any)
				backend := list(t, rule, "backendRefs")[0]
				got[match["value"].(string)] = backend["name"].(string) + ":" + number(backend["port"])
				if match["type"] == "Exact" {
					exact = append(exact, match["value"].(string))
				}
			}
		} else {
			ingress := named[networkingv1.Ingress](t, objects, "Ingress", "tienda")
			if *ingress.Spec.IngressClassName != "nginx" || ingress.Spec.TLS[0].SecretName != "tienda-tls" {
				t.Errorf("%s: the ingress is %+v", kind, ingress.Spec)
			}
			for _, path := range ingress.Spec.Rules[0].HTTP.Paths {
				got[path.Path] = path.Backend.Service.Name + ":" + number(path.Backend.Service.Port.Number)
				if *path.PathType == networkingv1.PathTypeExact {
					exact = append(exact, path.Path)
				}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: paths (-want +got):\n%s", kind, diff)
		}
		slices.Sort(exact)
		if diff := cmp.Diff([]string{"/", "/swagger-ui.html"}, exact); diff != "" {
			t.Errorf("%s: exact paths, of which nothing below is routed (-want +got):\n%s", kind, diff)
		}
		certificate := find(t, objects, "Certificate", "tienda-tls")
		if names, _, _ := unstructured.NestedStringSlice(certificate.Object, "spec", "dnsNames"); !slices.Equal(names, []string{"shop.example.com"}) {
			t.Errorf("%s: the certificate is for %v", kind, names)
		}
	}
	for issuer, trusted := range map[string]bool{"letsencrypt-prod": false, "letsencrypt-staging": true, "self-signed": true, "acme": true, "''": true} {
		story := named[corev1.Pod](t, installed(t, variant{values: "entry: {tls: {secretName: shown, issuer: " + issuer + "}}"}), "Pod", "story")
		file := environment(story.Spec.Containers[0])["SSL_CERT_FILE"]
		mounted := slices.ContainsFunc(story.Spec.Volumes, func(v corev1.Volume) bool {
			return v.Secret != nil && v.Secret.SecretName == "shown" && cmp.Equal(v.Secret.Items, []corev1.KeyToPath{{Key: "tls.crt", Path: "tls.crt"}}) &&
				slices.ContainsFunc(story.Spec.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name && m.MountPath+"/tls.crt" == file })
		})
		if mounted != trusted || (file != "") != trusted {
			t.Errorf("helm test with the issuer %s trusts %q, and that is the entry's certificate: %v, want %v", issuer, file, mounted, trusted)
		}
	}
	through := installed(t, variant{values: "entry: {app: api-gateway}"})
	for _, path := range named[networkingv1.Ingress](t, through, "Ingress", "tienda").Spec.Rules[0].HTTP.Paths {
		if backend := path.Backend.Service; backend.Name != "api-gateway" || backend.Port.Number != 8080 {
			t.Errorf("with entry.app api-gateway %s leads to %+v", path.Path, backend)
		}
	}
	for _, kind := range []string{"Ingress", "Gateway", "HTTPRoute", "Certificate"} {
		if found := names(installed(t, variant{values: "entry: {kind: none}"}), kind); found != nil {
			t.Errorf("without an entry there are %s %v", kind, found)
		}
	}
}

// TestStoryTrustsWhatTheEntryShows: the tls.crt of a Secret, a certificate and the one that signed it without their root, is enough to trust what
// the entry shows, also when that was renewed meanwhile, and to trust nothing else. So does Go, and story.yaml relies on it.
func TestStoryTrustsWhatTheEntryShows(t *testing.T) {
	t.Parallel()
	const host = "stage.shop.example.com"
	root := issue(t, authority{}, "Root", true)
	intermediate, stranger := issue(t, root, "Intermediate", true), issue(t, root, "Another", true)
	shown, own := issue(t, intermediate, host, false), issue(t, authority{}, host, false)
	for _, test := range []struct {
		name    string
		secret  []authority
		shown   []authority
		trusted bool
	}{
		{"the one that it holds", []authority{shown, intermediate}, []authority{shown, intermediate}, true},
		{"a renewed one", []authority{shown, intermediate}, []authority{issue(t, intermediate, host, false), intermediate}, true},
		{"one that signed itself", []authority{own}, []authority{own}, true},
		{"one of another authority", []authority{shown, intermediate}, []authority{issue(t, stranger, host, false), stranger}, false},
		{"another that signed itself", []authority{own}, []authority{issue(t, authority{}, host, false)}, false},
		{"one for another host", []authority{shown, intermediate}, []authority{issue(t, intermediate, "other.example.com", false), intermediate}, false},
	} {
		pool, between := x509.NewCertPool(), x509.NewCertPool()
		for _, c := range test.secret {
			pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.certificate.Raw}))
		}
		for _, c := range test.shown[1:] {
			between.AddCert(c.certificate)
		}
		_, err := test.shown[0].certificate.Verify(x509.VerifyOptions{DNSName: host, Roots: pool, Intermediates: between})
		if (err == nil) != test.trusted {
			t.Errorf("%s: trusted: %v, want %v", test.name, err, test.trusted)
		}
	}
}

// authority is a certificate and its key, which may sign others.
type authority struct {
	certificate *x509.Certificate
	key         ed25519.PrivateKey
}

// issue makes a certificate; one of the zero authority signs itself.
func issue(t *testing.T, by authority, name string, signs bool) authority {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: signs, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature}
	if signs {
		template.KeyUsage |= x509.KeyUsageCertSign
	} else {
		template.DNSNames = []string{name}
	}
	if by.certificate == nil {
		by = authority{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, public, by.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate, key}
}
