package cost

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// plan is what is read of the output of "terraform show -json PLAN".
type plan struct {
	FormatVersion string `json:"format_version"`
	Planned       struct {
		Root module `json:"root_module"`
	} `json:"planned_values"`
}

type module struct {
	Resources []resource `json:"resources"`
	Children  []module   `json:"child_modules"`
}

type resource struct {
	Address string          `json:"address"`
	Mode    string          `json:"mode"`
	Type    string          `json:"type"`
	Values  json.RawMessage `json:"values"`
}

// pool is a node pool, of a cluster or by itself.
type pool struct {
	Name      string `json:"name"`
	Size      string `json:"size"`
	Count     int64  `json:"node_count"`
	AutoScale bool   `json:"auto_scale"`
	Least     int64  `json:"min_nodes"`
	Most      int64  `json:"max_nodes"`
}

// free are the resources of DigitalOcean that cost nothing by themselves.
func free() []string {
	return []string{
		"vpc", "firewall", "project", "project_resources", "tag", "ssh_key", "domain", "record", "certificate", "monitor_alert", "uptime_alert",
		"database_db", "database_user", "database_firewall", "database_mysql_config", "spaces_bucket_policy", "spaces_key", "spaces_bucket_cors_configuration",
	}
}

// ReadPlans makes a bill of plans of Terraform or OpenTofu, as "show -json" prints them: those of a cluster and of what is in it
// are one bill.
func (l *List) ReadPlans(title string, plans ...io.Reader) (Bill, error) {
	bill := Bill{Title: title}
	spaces, registry := false, false
	for _, r := range plans {
		var p plan
		if err := json.NewDecoder(r).Decode(&p); err != nil {
			return bill, fmt.Errorf("read plan: %w", err)
		}
		if p.FormatVersion == "" {
			return bill, errors.New("read plan: this is not what terraform show -json prints for a plan file")
		}
		for _, res := range p.Planned.Root.all() {
			spaces = spaces || res.Type == "digitalocean_spaces_bucket"
			registry = registry || res.pullsFromRegistry()
			if err := l.add(&bill, res); err != nil {
				return bill, fmt.Errorf("%s: %w", res.Address, err)
			}
		}
	}
	if spaces {
		bill.Items = append(bill.Items, Item{What: "Spaces", Price: "spaces", Count: 1})
	} else {
		price, err := l.Of("spaces")
		if err != nil {
			return bill, err
		}
		bill.Warnings = append(bill.Warnings, fmt.Sprintf("Spaces is not in these plans: the bucket of the state costs %s a month, once for the account.", price.Dollars))
	}
	if registry {
		price, err := l.Of("registry-basic")
		if err != nil {
			return bill, err
		}
		bill.Warnings = append(bill.Warnings, fmt.Sprintf("The registry that the cluster pulls from is not in these plans: of the tier basic, as docs/terraform.md makes it, it costs %s a month, once for the account.", price.Dollars))
	}
	return bill, nil
}

// pullsFromRegistry is whether it is a cluster that is let into the registry of its account.
func (r resource) pullsFromRegistry() bool {
	var values struct {
		Registry bool `json:"registry_integration"`
	}
	return r.Type == "digitalocean_kubernetes_cluster" && json.Unmarshal(r.Values, &values) == nil && values.Registry
}

// all are the resources of a module and of those below it.
func (m module) all() []resource {
	var found []resource
	for _, r := range m.Resources {
		if r.Mode == "managed" {
			found = append(found, r)
		}
	}
	for _, child := range m.Children {
		found = append(found, child.all()...)
	}
	return found
}

func (l *List) add(bill *Bill, r resource) error {
	var values struct {
		Version   string   `json:"version"`
		HA        *bool    `json:"ha"`
		Pools     []pool   `json:"node_pool"`
		Size      string   `json:"size"`
		Engine    string   `json:"engine"`
		Nodes     int64    `json:"node_count"`
		SizeUnit  int64    `json:"size_unit"`
		SizeGiB   int64    `json:"size_gib"`
		Documents []string `json:"values"`
	}
	kind, ours := strings.CutPrefix(r.Type, "digitalocean_")
	if ours || r.Type == "helm_release" {
		// "size" is text for most and a number for volumes.
		if err := json.Unmarshal(numberOfVolume(r.Type, r.Values), &values); err != nil {
			return err
		}
	}
	switch {
	case r.Type == "helm_release":
		return bill.addRelease(values.Documents)
	case !ours || slices.Contains(free(), kind) || kind == "spaces_bucket":
		return nil
	case kind == "kubernetes_cluster":
		on, err := bill.highlyAvailable(r.Address, values.Version, values.HA)
		if err != nil {
			return err
		}
		bill.Items = append(bill.Items, controlPlane(on))
		for _, p := range values.Pools {
			bill.Items = append(bill.Items, p.item())
		}
	case kind == "kubernetes_node_pool":
		var p pool
		if err := json.Unmarshal(r.Values, &p); err != nil {
			return err
		}
		bill.Items = append(bill.Items, p.item())
	case kind == "database_cluster":
		bill.Items = append(bill.Items, Item{What: "managed " + values.Engine, Price: values.Size, Count: max(1, values.Nodes)})
	case kind == "database_replica":
		bill.Items = append(bill.Items, Item{What: "replica for reading", Price: values.Size, Count: 1})
	case kind == "loadbalancer":
		bill.Items = append(bill.Items, Item{What: "load balancer", Price: "load-balancer", Count: max(1, values.SizeUnit)})
	case kind == "volume":
		bill.Items = append(bill.Items, Item{What: "volume", Price: "volume", Count: values.SizeGiB})
	default:
		bill.Warnings = append(bill.Warnings, r.Address+" is not in this bill: the price list knows nothing of "+r.Type+".")
	}
	return nil
}

func numberOfVolume(kind string, values json.RawMessage) json.RawMessage {
	if kind != "digitalocean_volume" {
		return values
	}
	return json.RawMessage(strings.Replace(string(values), `"size":`, `"size_gib":`, 1))
}

func (p pool) item() Item {
	item := Item{What: "nodes of pool " + p.Name, Price: p.Size, Count: p.Count}
	if p.AutoScale {
		item.Least, item.Most = p.Least, p.Most
		item.Count = max(p.Count, p.Least)
	}
	return item
}

var minorVersion = regexp.MustCompile(`^1\.(\d+)`)

// highlyAvailable is what DigitalOcean makes of a cluster's ha.
func (b *Bill) highlyAvailable(address, version string, set *bool) (bool, error) {
	if set != nil {
		return *set, nil
	}
	match := minorVersion.FindStringSubmatch(version)
	if match == nil {
		return false, fmt.Errorf("ha is not set and its version %q says not what that means: set ha", version)
	}
	if minor, err := strconv.Atoi(match[1]); err != nil || minor < 36 {
		return false, err
	}
	b.Warnings = append(b.Warnings, address+" does not set ha: from Kubernetes 1.36 on that means a highly available control plane, which costs money and cannot be turned off again. Set ha to false if it is not wanted.")
	return true, nil
}

// addRelease adds what a Helm release makes DigitalOcean make: load balancers of Services, and the volume of the shop's MySQL.
func (b *Bill) addRelease(documents []string) error {
	all := map[string]any{}
	for _, text := range documents {
		values := map[string]any{}
		if err := yaml.Unmarshal([]byte(text), &values); err != nil {
			return fmt.Errorf("values: %w", err)
		}
		merge(all, values)
	}
	return b.addValues(all)
}

// merge puts values over others, as Helm does with several documents.
func merge(into, values map[string]any) {
	for key, value := range values {
		below, isMap := into[key].(map[string]any)
		if more, ok := value.(map[string]any); ok && isMap {
			merge(below, more)
		} else {
			into[key] = value
		}
	}
}

func (b *Bill) addValues(object map[string]any) error {
	if object["type"] == "LoadBalancer" {
		annotations, _ := object["annotations"].(map[string]any)
		units := int64(1)
		if text, ok := annotations["service.beta.kubernetes.io/do-loadbalancer-size-unit"].(string); ok {
			var err error
			if units, err = strconv.ParseInt(text, 10, 32); err != nil {
				return fmt.Errorf("do-loadbalancer-size-unit: %w", err)
			}
		}
		b.Items = append(b.Items, Item{What: "load balancer", Price: "load-balancer", Count: units})
	}
	if database, ok := object["database"].(map[string]any); ok && database["mode"] == "mysql" {
		mysql, _ := database["mysql"].(map[string]any)
		storage, _ := mysql["storage"].(map[string]any)
		size, _ := storage["size"].(string)
		gib, err := strconv.ParseInt(strings.TrimSuffix(size, "Gi"), 10, 32)
		if err != nil {
			return fmt.Errorf("database.mysql.storage.size is %q and not a number of Gi", size)
		}
		b.Items = append(b.Items, Item{What: "volume of MySQL", Price: "volume", Count: gib})
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if below, ok := object[key].(map[string]any); ok {
			if err := b.addValues(below); err != nil {
				return err
			}
		}
	}
	return nil
}
