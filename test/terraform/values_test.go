package terraform

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadValues: a value that cannot work fails the plan of an environment with a sentence that says what to change.
func TestBadValues(t *testing.T) {
	t.Parallel()
	type bad struct{ name, value, want string }
	for place, all := range map[string][]bad{
		"stage/cluster": {
			{"pods in the network", `cluster_subnet="10.10.128.0/17"`, "10.10.0.0/16 overlaps with 10.10.128.0/17. Set ip_range, the subnets of the cluster and other_networks"},
			{"services among pods", `service_subnet="10.11.32.0/19"`, "Give service_subnet a network that has no address in common with that of the pods, 10.11.0.0/16."},
			{"a connected network that has pods", `other_networks=["10.11.0.0/20"]`, "10.11.0.0/16 overlaps with 10.11.0.0/20. Set ip_range, the subnets of the cluster and other_networks"},
			{"the network of production", `other_networks=["10.10.0.0/20"]`, "10.10.0.0/16 overlaps with 10.10.0.0/20. Set ip_range"},
			{"an address in a network", `ip_range="10.10.5.0/16"`, "Give ip_range its first address: 10.10.5.0/16 is one in the network 10.10.0.0/16."},
			{"an address in the network of pods", `cluster_subnet="10.11.5.0/16"`, "Give cluster_subnet a network by its first address"},
			{"min over max", `pool={size="s-2vcpu-2gb",start_nodes=3,min_nodes=6,max_nodes=5}`, "6 to 5 is no range"},
			{"unknown region", `region="nyc9"`, "There is no region nyc9, or it takes nothing new. Set region to one of nyc1, nyc3."},
			{"the architecture's version", `kubernetes_version="1.31.1-do.4"`, "does not offer Kubernetes 1.31.1-do.4 any more, or not yet. Set kubernetes_version to one of 1.36.1-do.0, 1.35.6-do.0"},
			{"no version", `kubernetes_version="1.35"`, "Give kubernetes_version a version as DigitalOcean writes it"},
			{"unknown size", `pool={size="s-1vcpu-1gb",start_nodes=3,min_nodes=2,max_nodes=5}`, "has no nodes of the size s-1vcpu-1gb. Set pool.size"},
			{"ha that is not said", `ha=null`, "Set ha to true or false: from Kubernetes 1.36 on"},
			{"an API for everybody", `api_allowed_addresses=["0.0.0.0/0"]`, "Give api_allowed_addresses IPv4 addresses such as 203.0.113.7"},
			{"nobody is told", `alert_emails=[]`, "Give emails at least one address"},
		},
		"production/cluster": {
			{"without protection", `deletion_protection=false`, "Set deletion_protection to true"},
			{"standby of the smallest", `database={size="db-s-1vcpu-1gb",standbys=1}`, "Set size to db-s-1vcpu-2gb or more"},
		},
		"production/platform": {
			{"without backup", `backup=null`, "Production without backups is refused. Give backup a bucket"},
			{"no e-mail with issuers on", `acme_email=""`, "Give email the address that Let's Encrypt is to write to"},
			{"a retired controller", `entry={kind="ingress-nginx",load_balancer_nodes=1}`, "Set kind to nginx, or accept_retired to true"},
			{"the latest image", `image={repository="tienda",tag="latest"}`, "Give image a tag other than latest"},
			{"no image", `image=null`, "Give image, here or as IMAGE with make, or set release_owner to helm"},
			{"nobody's release", `release_owner="nobody"`, "Give release_owner terraform or helm"},
			{"a foreign name", `domain="example.org"`, "Give hosts names that are the domain example.org or below it"},
			{"before there is a cluster", `kubeconfig="nothing"`, "Apply the root cluster first"},
		},
	} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			w := newWorkspace(t, programs(t)[0], filepath.Join("environments", place))
			if err := os.Remove(filepath.Join(w.folder, "backend.tf")); err != nil {
				t.Fatal(err)
			}
			w.give()
			w.environ = append(w.environ, "TF_VAR_kubeconfig=main.tf")
			w.run("init", "-no-color")
			for _, test := range all {
				w.write("bad.tfvars", test.value+"\n")
				out, err := w.try("plan", "-no-color", "-var-file=bad.tfvars")
				words := strings.Join(strings.Fields(strings.NewReplacer("│", "", "╷", "", "╵", "").Replace(out)), " ")
				if err == nil || !strings.Contains(words, test.want) {
					t.Errorf("%s: %v, want %q in\n%s", test.name, err, test.want, out)
				}
			}
		})
	}
}
