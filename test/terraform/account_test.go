package terraform

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/godo"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"tienda/test/digitalocean"
)

// as reads the values of a resource.
func as[T any](t *testing.T, r resource) T {
	t.Helper()
	var values T
	if err := json.Unmarshal([]byte(jsonOf(t, r.Values)), &values); err != nil {
		t.Fatalf("%s: %v", r.Address, err)
	}
	return values
}

// TestPlansAreTaken asks the emulated API for what is planned, with DigitalOcean's own client as its provider does, and in the same
// order: nothing is refused.
func TestPlansAreTaken(t *testing.T) {
	t.Parallel()
	for _, environment := range []string{"stage", "production"} {
		t.Run(environment, func(t *testing.T) {
			t.Parallel()
			account := digitalocean.New(digitalocean.Options{Now: time.Now})
			server := httptest.NewServer(account)
			t.Cleanup(server.Close)
			c, err := godo.New(godo.NewFromToken("token").HTTPClient, godo.SetBaseURL(server.URL))
			if err != nil {
				t.Fatal(err)
			}
			program := programs(t)[0]
			all := resources(t, planOf(t, program, environment, "cluster", "-var", `api_allowed_addresses=["203.0.113.7"]`), planOf(t, program, environment, "platform"))
			if _, _, err := c.Domains.Create(t.Context(), &godo.DomainCreateRequest{Name: "example.com"}); err != nil { // bootstrap makes it
				t.Fatal(err)
			}
			// The controller of the cluster makes it.
			balancer, _, err := c.LoadBalancers.Create(t.Context(), &godo.LoadBalancerRequest{Name: "ecommerce-" + environment, Region: "nyc1",
				ForwardingRules: []godo.ForwardingRule{{EntryProtocol: "tcp", EntryPort: 443, TargetProtocol: "tcp", TargetPort: 30443}}})
			if err != nil {
				t.Fatal(err)
			}
			m := maker{t: t, c: c, balancer: balancer.ID}
			for _, kind := range []string{"vpc", "kubernetes_cluster", "database_cluster", "database_firewall", "database_db", "database_user", "monitor_alert", "record"} {
				for _, r := range all {
					if r.Type == "digitalocean_"+kind {
						m.make(kind, r)
						m.made++
					}
				}
			}
			var planned int
			for _, r := range all {
				if strings.HasPrefix(r.Type, "digitalocean_") {
					planned++
				}
			}
			if m.made != planned {
				t.Errorf("%d of %d resources were asked for", m.made, planned)
			}
			if cluster, _, err := c.Kubernetes.Get(t.Context(), m.cluster); err != nil || cluster.ControlPlaneFirewall == nil || !slices.Equal(cluster.ControlPlaneFirewall.AllowedAddresses, []string{"203.0.113.7"}) {
				t.Errorf("the API of the cluster is reached as %+v says, %v; want one address", cluster, err)
			}
			want := map[string]int{"vpcs": 1, "clusters": 1, "alerts": 5, "domains": 1, "load balancers": 1}
			windows, entities := 0, 2
			if environment == "production" {
				want["databases"], want["alerts"] = 1, 8
				windows, entities = 1, 5
			}
			if m.windows != windows || m.entities != entities {
				t.Errorf("%d maintenance windows and %d entities of alerts were asked for, want %d and %d", m.windows, m.entities, windows, entities)
			}
			if diff := cmp.Diff(want, account.Left()); diff != "" || len(account.Unknown()) > 0 {
				t.Errorf("the account has (-want +got):\n%s unknown %v", diff, account.Unknown())
			}
		})
	}
}

// checkAccounts compares the accounts that one root makes with those whose passwords the other asks for, and both with the components of
// the chart that store something.
func checkAccounts(t *testing.T, cluster, platform []byte) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy/helm/tienda/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var chart struct {
		Database struct{ Prefix string }
		Services map[string]struct{ Database bool }
	}
	if err := yaml.Unmarshal(text, &chart); err != nil {
		t.Fatal(err)
	}
	var schemas []string
	for name, service := range chart.Services {
		if service.Database {
			schemas = append(schemas, chart.Database.Prefix+"_"+strings.ReplaceAll(strings.TrimSuffix(name, "-service"), "-", "_"))
		}
	}
	slices.Sort(schemas)
	accounts := slices.Sorted(slices.Values(append([]string{chart.Database.Prefix + "_backup"}, schemas...)))
	names := func(kind string, all []resource) []string {
		var found []string
		for _, r := range all {
			if r.Type == kind {
				found = append(found, fmt.Sprint(r.Values["name"]))
			}
		}
		slices.Sort(found)
		return found
	}
	var read struct {
		Prior struct {
			Values struct {
				Root module `json:"root_module"`
			} `json:"values"`
		} `json:"prior_state"`
	}
	if err := json.Unmarshal(platform, &read); err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct{ want, got []string }{
		"schemas that are made":               {schemas, names("digitalocean_database_db", resources(t, cluster))},
		"accounts that are made":              {accounts, names("digitalocean_database_user", resources(t, cluster))},
		"accounts that passwords are read of": {accounts, names("digitalocean_database_user", read.Prior.Values.Root.Resources)},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("%s are not those of the chart (-want +got):\n%s", what, diff)
		}
	}
}

// maker asks for one thing after the other; later ones need the ids of earlier ones.
type maker struct {
	t                                *testing.T
	c                                *godo.Client
	vpc, cluster, database, balancer string
	made, windows, entities          int
}

func (m *maker) make(kind string, r resource) {
	m.t.Helper()
	ctx := m.t.Context()
	var err error
	switch kind {
	case "vpc":
		v := as[struct {
			Name, Region, Description string
			IPRange                   string `json:"ip_range"`
		}](m.t, r)
		var vpc *godo.VPC
		if vpc, _, err = m.c.VPCs.Create(ctx, &godo.VPCCreateRequest{Name: v.Name, RegionSlug: v.Region, Description: v.Description, IPRange: v.IPRange}); err == nil {
			m.vpc = vpc.ID
		}
	case "kubernetes_cluster":
		var cluster *godo.KubernetesCluster
		if cluster, _, err = m.c.Kubernetes.Create(ctx, m.clusterRequest(r)); err == nil {
			m.cluster = cluster.ID
			if as[struct {
				Registry bool `json:"registry_integration"`
			}](m.t, r).Registry { // a call of its own, also the provider's
				_, err = m.c.Kubernetes.AddRegistry(ctx, &godo.KubernetesClusterRegistryRequest{ClusterUUIDs: []string{cluster.ID}})
			}
		}
	case "database_cluster":
		v := as[struct {
			Name, Engine, Version, Size, Region string
			Nodes                               int `json:"node_count"`
			Tags                                []string
			Window                              []struct{ Day, Hour string } `json:"maintenance_window"`
		}](m.t, r)
		var database *godo.Database
		if database, _, err = m.c.Databases.Create(ctx, &godo.DatabaseCreateRequest{Name: v.Name, EngineSlug: v.Engine, Version: v.Version, SizeSlug: v.Size, Region: v.Region,
			NumNodes: v.Nodes, Tags: v.Tags, PrivateNetworkUUID: m.vpc}); err == nil {
			m.database = database.ID
			for _, window := range v.Window { // a call of its own, also the provider's
				_, err = m.c.Databases.UpdateMaintenance(ctx, m.database, &godo.DatabaseUpdateMaintenanceRequest{Day: window.Day, Hour: window.Hour})
				m.windows++
			}
		}
	case "database_firewall":
		v := as[struct{ Rule []struct{ Type string } }](m.t, r)
		request := new(godo.DatabaseUpdateFirewallRulesRequest)
		for _, rule := range v.Rule {
			request.Rules = append(request.Rules, &godo.DatabaseFirewallRule{Type: rule.Type, Value: m.cluster})
		}
		_, err = m.c.Databases.UpdateFirewallRules(ctx, m.database, request)
	case "database_db":
		_, _, err = m.c.Databases.CreateDB(ctx, m.database, &godo.DatabaseCreateDBRequest{Name: as[struct{ Name string }](m.t, r).Name})
	case "database_user":
		v := as[struct {
			Name   string
			Plugin string `json:"mysql_auth_plugin"`
		}](m.t, r)
		_, _, err = m.c.Databases.CreateUser(ctx, m.database, &godo.DatabaseCreateUserRequest{Name: v.Name, MySQLSettings: &godo.DatabaseMySQLUserSettings{AuthPlugin: v.Plugin}})
	case "monitor_alert":
		v := as[struct {
			Type, Description, Window string
			Compare                   godo.AlertPolicyComp
			Value                     float32
			Enabled                   bool
			Tags                      []string
			Alerts                    []struct{ Email []string }
			Entities                  []any // a plan knows how many
		}](m.t, r)
		entities := make([]string, len(v.Entities))
		for i := range entities {
			entities[i] = m.balancer
			if strings.Contains(v.Type, "/dbaas/") {
				entities[i] = m.database
			}
		}
		_, _, err = m.c.Monitoring.CreateAlertPolicy(ctx, &godo.AlertPolicyCreateRequest{Type: v.Type, Description: v.Description, Compare: v.Compare, Value: v.Value, Window: v.Window,
			Entities: entities, Tags: v.Tags, Alerts: godo.Alerts{Email: v.Alerts[0].Email}, Enabled: &v.Enabled})
		m.entities += len(entities)
	case "record":
		v := as[struct {
			Domain, Type, Name string
			TTL                int
		}](m.t, r)
		_, _, err = m.c.Domains.CreateRecord(ctx, v.Domain, &godo.DomainRecordEditRequest{Type: v.Type, Name: v.Name, Data: "203.0.113.7", TTL: v.TTL}) // its address is not known in a plan
	}
	if err != nil {
		m.t.Errorf("%s: %v", r.Address, err)
	}
}

func (m *maker) clusterRequest(r resource) *godo.KubernetesClusterCreateRequest {
	m.t.Helper()
	v := as[struct {
		Name, Region, Version string
		ClusterSubnet         string `json:"cluster_subnet"`
		ServiceSubnet         string `json:"service_subnet"`
		HA                    *bool
		AutoUpgrade           bool `json:"auto_upgrade"`
		SurgeUpgrade          bool `json:"surge_upgrade"`
		Tags                  []string
		Maintenance           []struct {
			Day   string
			Start string `json:"start_time"`
		} `json:"maintenance_policy"`
		Firewall []struct {
			Enabled bool
			Allowed []string `json:"allowed_addresses"`
		} `json:"control_plane_firewall"`
		Autoscaler []struct {
			Expanders []string
			Threshold float64 `json:"scale_down_utilization_threshold"`
			Unneeded  string  `json:"scale_down_unneeded_time"`
		} `json:"cluster_autoscaler_configuration"`
		Pools []struct {
			Name, Size string
			Count      int  `json:"node_count"`
			AutoScale  bool `json:"auto_scale"`
			Least      int  `json:"min_nodes"`
			Most       int  `json:"max_nodes"`
			Tags       []string
			Labels     map[string]string
		} `json:"node_pool"`
	}](m.t, r)
	day, err := godo.KubernetesMaintenanceToDay(v.Maintenance[0].Day)
	if err != nil {
		m.t.Fatal(err)
	}
	request := &godo.KubernetesClusterCreateRequest{Name: v.Name, RegionSlug: v.Region, VersionSlug: v.Version, VPCUUID: m.vpc, ClusterSubnet: v.ClusterSubnet, ServiceSubnet: v.ServiceSubnet,
		HA: v.HA, AutoUpgrade: v.AutoUpgrade, SurgeUpgrade: v.SurgeUpgrade, Tags: v.Tags, MaintenancePolicy: &godo.KubernetesMaintenancePolicy{Day: day, StartTime: v.Maintenance[0].Start},
		ClusterAutoscalerConfiguration: &godo.KubernetesClusterAutoscalerConfiguration{Expanders: v.Autoscaler[0].Expanders,
			ScaleDownUtilizationThreshold: &v.Autoscaler[0].Threshold, ScaleDownUnneededTime: &v.Autoscaler[0].Unneeded}}
	for _, f := range v.Firewall {
		request.ControlPlaneFirewall = &godo.KubernetesControlPlaneFirewall{Enabled: &f.Enabled, AllowedAddresses: f.Allowed}
	}
	for _, p := range v.Pools {
		request.NodePools = append(request.NodePools, &godo.KubernetesNodePoolCreateRequest{Name: p.Name, Size: p.Size, Count: p.Count, AutoScale: p.AutoScale, MinNodes: p.Least, MaxNodes: p.Most,
			Tags: p.Tags, Labels: p.Labels})
	}
	return request
}
