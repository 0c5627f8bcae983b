package terraform

import (
	"strings"
	"testing"
)

// TestPolicies: each policy finds the plan that breaks it.
func TestPolicies(t *testing.T) {
	t.Parallel()
	type values = map[string]any
	list := func(items ...any) []any { return items }
	release := func(database string) resource {
		return resource{Address: "module.shop[0].helm_release.main", Type: "helm_release", Values: values{"values": list("database: {mode: mysql}", "database: "+database)}}
	}
	for _, test := range []struct {
		name string
		r    resource
		want string
	}{
		{"a droplet", resource{Address: "digitalocean_droplet.jump", Type: "digitalocean_droplet"}, "is public"},
		{"a second load balancer", resource{Address: "module.shop.helm_release.main", Type: "helm_release", Values: values{"values": list("service: {type: LoadBalancer}")}}, "Service of type LoadBalancer"},
		{"a port of every node", resource{Address: "module.entry.helm_release.main", Type: "helm_release", Values: values{"values": list("controller: {service: {type: NodePort}}")}}, "Service of type NodePort"},
		{"rights of the default account", resource{Address: "b", Type: "kubernetes_role_binding_v1", Values: values{"subject": list(values{"kind": "ServiceAccount", "name": "default"})}}, "ServiceAccount default"},
		{"rights of everybody", resource{Address: "b", Type: "kubernetes_cluster_role_binding_v1", Values: values{"subject": list(values{"kind": "Group", "name": "system:authenticated"})}}, "Group system:authenticated"},
		{"an administrator", resource{Address: "b", Type: "kubernetes_cluster_role_binding_v1", Values: values{"role_ref": list(values{"name": "cluster-admin"})}}, "administrator"},
		{"secrets", resource{Address: "r", Type: "kubernetes_role_v1", Values: values{"rule": list(values{"resources": list("secrets"), "verbs": list("list")})}}, "reads secrets"},
		{"everything", resource{Address: "r", Type: "kubernetes_role_v1", Values: values{"rule": list(values{"resources": list("pods"), "verbs": list("*")})}}, "may *"},
		{"a pool without a tag", resource{Address: "c", Type: "digitalocean_kubernetes_cluster", Values: values{"ha": true, "node_pool": list(values{"name": "workers", "tags": list("other")})}}, "has not the tag"},
		{"another pool without a tag", resource{Address: "p", Type: "digitalocean_kubernetes_node_pool"}, "without a tag"},
		{"an API for everybody", resource{Address: "c", Type: "digitalocean_kubernetes_cluster", Values: values{"control_plane_firewall": list(values{"enabled": true, "allowed_addresses": list("203.0.113.7", "0.0.0.0/0")})}}, "everybody reaches it"},
		{"ha by default", resource{Address: "c", Type: "digitalocean_kubernetes_cluster"}, "ha is not set"},
		{"a database for everybody", resource{Address: "d", Type: "digitalocean_database_cluster"}, "1 databases and 0 firewalls"},
		{"a database for an address", resource{Address: "f", Type: "digitalocean_database_firewall", Values: values{"rule": list(values{"type": "ip_addr", "value": "0.0.0.0/0"})}}, "lets in"},
		{"a database that could be anybody", release("{mode: external, external: {host: db, sslMode: REQUIRED, caSecret: database-ca}}"), "nobody looks at the certificate"},
		{"a database that could be anybody by default", release("{mode: external, external: {host: db, caSecret: database-ca}}"), "nobody looks at the certificate"},
		{"an authority that nobody made", release("{mode: external, external: {host: db, sslMode: VERIFY_CA, caSecret: database-ca}}"), `no certificate in ca.crt of the Secret "database-ca"`},
		{"an authority that nobody names", release("{mode: external, external: {host: db, sslMode: VERIFY_CA}}"), `no certificate in ca.crt of the Secret ""`},
		{"a public bucket", resource{Address: "s", Type: "digitalocean_spaces_bucket", Values: values{"acl": "public-read"}}, "not private"},
		{"a token for every pod", resource{Address: "a", Type: "kubernetes_service_account_v1"}, "gives its pods a token"},
		{"any pod", resource{Address: "n", Type: "kubernetes_namespace_v1", Values: values{"metadata": list(values{"labels": values{}})}}, "any pod"},
		{"nothing at all", resource{}, "protects [] from its destruction"},
		{"no way in", resource{}, "has 0 load balancers"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if found := strings.Join(complaints("production", []resource{test.r}), "\n"); !strings.Contains(found, test.want) {
				t.Errorf("complaints are %q, want %q among them", found, test.want)
			}
		})
	}
}
