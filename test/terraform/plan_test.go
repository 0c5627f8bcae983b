package terraform

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"tienda/cost"
)

func jsonOf(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// resource is one of a plan.
type resource struct {
	Address string         `json:"address"`
	Mode    string         `json:"mode"`
	Type    string         `json:"type"`
	Values  map[string]any `json:"values"`
}

type module struct {
	Resources []resource `json:"resources"`
	Children  []module   `json:"child_modules"`
}

func (m module) all() []resource {
	found := slices.DeleteFunc(slices.Clone(m.Resources), func(r resource) bool { return r.Mode != "managed" })
	for _, child := range m.Children {
		found = append(found, child.all()...)
	}
	return found
}

// give makes the example of what an operator gives the operator's.
func (w *workspace) give() {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.folder, "own.auto.tfvars.example"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("own.auto.tfvars", string(text))
}

// planOf is the plan of a root, as "show -json" prints it; arguments are further ones of the plan.
func planOf(t *testing.T, program, environment, part string, arguments ...string) []byte {
	t.Helper()
	w := newWorkspace(t, program, filepath.Join("environments", environment, part))
	if err := os.Remove(filepath.Join(w.folder, "backend.tf")); err != nil {
		t.Fatal(err)
	}
	w.give()
	w.run("init", "-no-color")
	w.environ = append(w.environ, "TF_VAR_kubeconfig=main.tf")
	w.run(append([]string{"plan", "-no-color", "-out=plan"}, arguments...)...)
	return []byte(w.run("show", "-json", "plan"))
}

func resources(t *testing.T, plans ...[]byte) []resource {
	t.Helper()
	var all []resource
	for _, text := range plans {
		var p struct {
			Planned struct {
				Root module `json:"root_module"`
			} `json:"planned_values"`
		}
		if err := json.Unmarshal(text, &p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p.Planned.Root.all()...)
	}
	return all
}

// TestPlans holds the plans of both environments to the policies, to the bill of "tienda cost", and to what was planned before.
func TestPlans(t *testing.T) {
	t.Parallel()
	list, err := cost.Prices()
	if err != nil {
		t.Fatal(err)
	}
	bills, err := cost.Environments()
	if err != nil {
		t.Fatal(err)
	}
	for _, environment := range []string{"stage", "production"} {
		t.Run(environment, func(t *testing.T) {
			t.Parallel()
			cluster, platform := planOf(t, programs(t)[0], environment, "cluster"), planOf(t, programs(t)[0], environment, "platform")
			all := resources(t, cluster, platform)
			for _, complaint := range complaints(environment, all) {
				t.Error(complaint)
			}
			bill, err := list.ReadPlans(environment, strings.NewReader(string(cluster)), strings.NewReader(string(platform)))
			if err != nil {
				t.Fatal(err)
			}
			planned, err := list.Sum(bill.Items)
			if err != nil {
				t.Fatal(err)
			}
			deployed, err := list.Sum(bills[environment].Items(true))
			if err != nil {
				t.Fatal(err)
			}
			const account = 500 + 500 // Spaces, which belongs to bootstrap, and the registry, which is made by hand
			if planned.Now+account != deployed.Now || planned.Least+account != deployed.Least || planned.Most+account != deployed.Most {
				t.Errorf("the plans cost %v without Spaces and a registry, and cost/environments.yaml says %v with them: %+v", planned, deployed, bill.Items)
			}
			if environment == "production" {
				checkAccounts(t, cluster, platform)
				checkAuthority(t, all)
			}
			golden(t, environment+".yaml", summary(t, all))
			for _, r := range all {
				if documents, _ := r.Values["values"].([]any); r.Address == "module.shop[0].helm_release.main" {
					golden(t, environment+"-shop.yaml", fmt.Sprint(documents[1])+fmt.Sprint(documents[2])) // on top of those of the environment
				}
			}
		})
	}
}

// summary is what a plan makes, as a person would review it: what is left to the provider is left out.
func summary(t *testing.T, all []resource) string {
	t.Helper()
	// Values that are files of deploy/helm are looked at there.
	shipped := map[string]bool{}
	for _, pattern := range []string{"prerequisites/*.yaml", "tienda/values-*.yaml"} {
		files, err := filepath.Glob(filepath.Join(root, "deploy/helm", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			shipped[string(text)] = true
		}
	}
	slices.SortFunc(all, func(a, b resource) int { return strings.Compare(a.Address, b.Address) })
	var out strings.Builder
	for _, r := range all {
		values := map[string]any{}
		for key, value := range r.Values {
			if value == nil || key == "data" { // passwords
				continue
			}
			if key == "description" && r.Type == "helm_release" {
				continue // it changes with every file of the chart
			}
			if documents, ok := value.([]any); ok && key == "values" {
				value = slices.DeleteFunc(slices.Clone(documents), func(document any) bool { return shipped[fmt.Sprint(document)] })
			}
			values[key] = value
		}
		text, err := yaml.Marshal(map[string]any{r.Address: values})
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	return out.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); go test -update writes it:\n%s", path, diff)
	}
}

// list of a value that is one, of objects.
func objects(value any) []map[string]any {
	var found []map[string]any
	items, _ := value.([]any)
	for _, item := range items {
		if object, ok := item.(map[string]any); ok {
			found = append(found, object)
		}
	}
	return found
}

// public are the resources of DigitalOcean that somebody outside can reach.
func public() []string {
	kinds := []string{"loadbalancer", "droplet", "droplet_autoscale", "app", "reserved_ip", "reserved_ipv6", "floating_ip", "cdn", "vpc_nat_gateway", "spaces_bucket_object"}
	for i := range kinds {
		kinds[i] = "digitalocean_" + kinds[i]
	}
	return kinds
}

// complaints are what the policies find wrong with the plans of an environment.
func complaints(environment string, all []resource) []string {
	var found []string
	complain := func(r resource, format string, arguments ...any) {
		found = append(found, r.Address+": "+fmt.Sprintf(format, arguments...))
	}
	entries, protected := 0, map[string]bool{}
	var databases, firewalls int
	for _, r := range all {
		name, isModule := strings.CutPrefix(r.Address, "module.")
		name, _, _ = strings.Cut(name, ".")
		name, _, _ = strings.Cut(name, "[")
		switch r.Type {
		case "digitalocean_kubernetes_cluster":
			for _, pool := range objects(r.Values["node_pool"]) {
				if tags, _ := pool["tags"].([]any); !slices.Contains(tags, any("ecommerce-"+environment)) {
					complain(r, "its pool %v has not the tag of the environment", pool["name"])
				}
			}
			for _, firewall := range objects(r.Values["control_plane_firewall"]) {
				addresses, _ := firewall["allowed_addresses"].([]any)
				for _, from := range addresses {
					if strings.HasSuffix(fmt.Sprint(from), "/0") {
						complain(r, "its API is limited, and everybody reaches it")
					}
				}
			}
			if _, set := r.Values["ha"].(bool); !set {
				complain(r, "ha is not set")
			}
		case "digitalocean_kubernetes_node_pool":
			if tags, _ := r.Values["tags"].([]any); len(tags) == 0 {
				complain(r, "a pool without a tag")
			}
		case "digitalocean_database_cluster":
			databases++
		case "digitalocean_database_firewall":
			firewalls++
			for _, rule := range objects(r.Values["rule"]) {
				if rule["type"] != "k8s" {
					complain(r, "lets in %v, and not the cluster alone", rule)
				}
			}
		case "digitalocean_spaces_bucket":
			if r.Values["acl"] != "private" {
				complain(r, "is not private")
			}
		case "terraform_data":
			if strings.Contains(r.Address, "terraform_data.protection") && isModule {
				protected[name] = true
			}
		case "kubernetes_role_v1", "kubernetes_cluster_role_v1":
			for _, rule := range objects(r.Values["rule"]) {
				things, verbs := fmt.Sprint(rule["resources"]), fmt.Sprint(rule["verbs"])
				if strings.Contains(things, "secrets") || strings.Contains(things, "*") {
					complain(r, "reads secrets, which nobody chose")
				}
				for _, verb := range []string{"*", "create", "update", "patch", "delete", "impersonate", "escalate", "bind"} {
					if strings.Contains(verbs, verb) {
						complain(r, "may %s", verb)
					}
				}
			}
		case "kubernetes_role_binding_v1", "kubernetes_cluster_role_binding_v1":
			for _, subject := range objects(r.Values["subject"]) {
				if subject["name"] == "default" || subject["kind"] != "ServiceAccount" {
					complain(r, "gives rights to %v %v", subject["kind"], subject["name"])
				}
			}
			for _, role := range objects(r.Values["role_ref"]) {
				if role["name"] == "cluster-admin" {
					complain(r, "makes somebody the administrator")
				}
			}
		case "kubernetes_service_account_v1", "kubernetes_default_service_account_v1":
			if r.Values["automount_service_account_token"] != false {
				complain(r, "gives its pods a token")
			}
		case "kubernetes_namespace_v1":
			for _, metadata := range objects(r.Values["metadata"]) {
				labels, _ := metadata["labels"].(map[string]any)
				if labels["pod-security.kubernetes.io/enforce"] != "restricted" {
					complain(r, "lets any pod in")
				}
			}
		case "kubernetes_service_v1":
			complain(r, "Services are the charts'")
		case "helm_release":
			documents, _ := r.Values["values"].([]any)
			for _, document := range documents {
				var values any
				if err := yaml.Unmarshal([]byte(fmt.Sprint(document)), &values); err != nil {
					complain(r, "values: %v", err)
				}
				for _, kind := range serviceTypes(values) {
					switch {
					case kind == "LoadBalancer" && name == "entry":
						entries++
					case kind != "ClusterIP":
						complain(r, "has a Service of type %s", kind)
					}
				}
			}
			if wrong := unchecked(documents, all); wrong != "" {
				complain(r, "%s", wrong)
			}
		default:
			if slices.Contains(public(), r.Type) {
				complain(r, "is public")
			}
		}
	}
	if entries != 1 {
		found = append(found, fmt.Sprintf("%s has %d load balancers and not one", environment, entries))
	}
	if databases != firewalls {
		found = append(found, fmt.Sprintf("%s has %d databases and %d firewalls of them", environment, databases, firewalls))
	}
	if want := []string{"cluster", "database", "vpc"}; environment == "production" && !slices.Equal(slices.Sorted(maps.Keys(protected)), want) {
		found = append(found, fmt.Sprintf("production protects %v from its destruction and not %v", slices.Sorted(maps.Keys(protected)), want))
	}
	return found
}

// serviceTypes are the types of Services that values of a chart ask for.
func serviceTypes(values any) []string {
	object, _ := values.(map[string]any)
	var found []string
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if kind, ok := object[key].(string); ok && key == "type" && slices.Contains([]string{"LoadBalancer", "NodePort", "ClusterIP", "ExternalName"}, kind) {
			found = append(found, kind)
		}
		found = append(found, serviceTypes(object[key])...)
	}
	return found
}
