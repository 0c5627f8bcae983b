package digitalocean

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/godo"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"
)

// client is DigitalOcean's own, which asks the emulator.
func client(t *testing.T, options Options) (*godo.Client, *Server) {
	t.Helper()
	if options.Now == nil {
		options.Now = time.Now
	}
	s := New(options)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	// Without godo's own retries: it would wait as long as a limit says.
	caller := oauth2.NewClient(t.Context(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "token"}))
	c, err := godo.New(caller, godo.SetBaseURL(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

// refused checks that an error is one of the API, with this status and these words.
func refused(t *testing.T, what string, err error, status int, words string) {
	t.Helper()
	answer, ok := errors.AsType[*godo.ErrorResponse](err)
	if !ok || answer.Response.StatusCode != status || !strings.Contains(answer.Message, words) || answer.RequestID == "" {
		t.Errorf("%s: %v; want status %d with %q and the id of the request", what, err, status, words)
	}
}

func newVPC(t *testing.T, c *godo.Client, name, network string) *godo.VPC {
	t.Helper()
	vpc, _, err := c.VPCs.Create(t.Context(), &godo.VPCCreateRequest{Name: name, RegionSlug: "nyc1", IPRange: network})
	if err != nil {
		t.Fatal(err)
	}
	return vpc
}

func clusterRequest(vpc string) *godo.KubernetesClusterCreateRequest {
	return &godo.KubernetesClusterCreateRequest{Name: "ecommerce-stage", RegionSlug: "nyc1", VersionSlug: "1.35.6-do.0", VPCUUID: vpc, ClusterSubnet: "10.11.0.0/16", ServiceSubnet: "10.12.0.0/19",
		HA: godo.PtrTo(false), Tags: []string{"ecommerce-stage"}, NodePools: []*godo.KubernetesNodePoolCreateRequest{{Name: "workers", Size: "s-2vcpu-2gb", Count: 3, AutoScale: true, MinNodes: 2, MaxNodes: 5, Tags: []string{"ecommerce-stage"}}}}
}

func TestVPCs(t *testing.T) {
	t.Parallel()
	c, s := client(t, Options{})
	vpc := newVPC(t, c, "ecommerce-stage", "10.10.0.0/16")
	got, _, err := c.VPCs.Get(t.Context(), vpc.ID)
	if err != nil || got.IPRange != "10.10.0.0/16" || got.URN != "do:vpc:"+vpc.ID {
		t.Errorf("network %+v, %v", got, err)
	}
	for network, words := range map[string]string{"10.10.128.0/20": "overlaps", "8.8.0.0/16": "private", "10.0.0.0/8": "private", "10.30.0.1/16": "private"} {
		_, _, err = c.VPCs.Create(t.Context(), &godo.VPCCreateRequest{Name: "other", RegionSlug: "nyc1", IPRange: network})
		refused(t, network, err, http.StatusUnprocessableEntity, words)
	}
	_, _, err = c.VPCs.Create(t.Context(), &godo.VPCCreateRequest{Name: "other", RegionSlug: "nyc9", IPRange: "10.30.0.0/16"})
	refused(t, "unknown region", err, http.StatusUnprocessableEntity, "nyc9")
	if _, _, err := c.VPCs.Update(t.Context(), vpc.ID, &godo.VPCUpdateRequest{Name: "renamed"}); err != nil {
		t.Error(err)
	}
	if _, err := c.VPCs.Delete(t.Context(), vpc.ID); err != nil {
		t.Error(err)
	}
	_, _, err = c.VPCs.Get(t.Context(), vpc.ID)
	refused(t, "a deleted network", err, http.StatusNotFound, "could not be found")
	if len(s.Left()) > 0 || len(s.Unknown()) > 0 {
		t.Errorf("left %v, unknown %v", s.Left(), s.Unknown())
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	c, _ := client(t, Options{})
	for i := range 25 {
		newVPC(t, c, fmt.Sprintf("net-%02d", i), fmt.Sprintf("10.%d.0.0/16", i))
	}
	var names []string
	options := &godo.ListOptions{Page: 1, PerPage: 10}
	for {
		found, response, err := c.VPCs.List(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		for _, vpc := range found {
			names = append(names, vpc.Name)
		}
		if response.Meta.Total != 25 {
			t.Errorf("total %d", response.Meta.Total)
		}
		if response.Links.IsLastPage() {
			break
		}
		page, err := response.Links.CurrentPage()
		if err != nil {
			t.Fatal(err)
		}
		options.Page = page + 1
	}
	if len(names) != 25 || names[24] != "net-24" {
		t.Errorf("pages have %v", names)
	}
	_, _, err := c.VPCs.List(t.Context(), &godo.ListOptions{Page: -1})
	refused(t, "no page", err, http.StatusUnprocessableEntity, "page")
}

func TestAdmission(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	c, _ := client(t, Options{Token: "another"})
	_, _, err := c.Account.Get(t.Context())
	refused(t, "a wrong token", err, http.StatusUnauthorized, "authenticate")
	c, _ = client(t, Options{Limit: 2, Now: func() time.Time { return now }})
	for range 2 {
		if _, _, err := c.Account.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err = c.Account.Get(t.Context())
	refused(t, "the third call", err, http.StatusTooManyRequests, "Rate limit")
	if rate := c.GetRate(); rate.Limit != 2 || rate.Remaining != 0 || !rate.Reset.Time.Equal(now.Add(time.Hour)) {
		t.Errorf("the client knows of the limit %+v", rate)
	}
	now = now.Add(time.Hour)
	if _, _, err := c.Account.Get(t.Context()); err != nil {
		t.Errorf("an hour later: %v", err)
	}
}

func TestStrict(t *testing.T) {
	t.Parallel()
	c, s := client(t, Options{})
	request, err := c.NewRequest(t.Context(), http.MethodPost, "/v2/vpcs", map[string]any{"name": "a", "region": "nyc1", "ip_range": "10.10.0.0/16", "colour": "blue"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Do(t.Context(), request, nil)
	refused(t, "an unknown field", err, http.StatusBadRequest, "colour")
	_, _, err = c.Droplets.List(t.Context(), nil)
	refused(t, "what it was not taught", err, http.StatusNotFound, "could not be found")
	if diff := cmp.Diff([]string{"GET /v2/droplets"}, s.Unknown()); diff != "" {
		t.Errorf("unknown (-want +got):\n%s", diff)
	}
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	c, s := client(t, Options{Polls: 2, Access: Access{Server: "https://127.0.0.1:6443", CA: []byte("ca"), Token: "t"}})
	ctx := t.Context()
	offered, _, err := c.Kubernetes.GetOptions(ctx)
	if err != nil || len(offered.Versions) != 3 || offered.Versions[0].KubernetesVersion != "1.36.1" {
		t.Fatalf("options %+v, %v", offered, err)
	}
	vpc := newVPC(t, c, "ecommerce-stage", "10.10.0.0/16")
	cluster, _, err := c.Kubernetes.Create(ctx, clusterRequest(vpc.ID))
	if err != nil {
		t.Fatal(err)
	}
	if cluster.Status.State != godo.KubernetesClusterStatusProvisioning {
		t.Errorf("a new cluster is %s", cluster.Status.State)
	}
	_, _, err = c.Kubernetes.GetCredentials(ctx, cluster.ID, &godo.KubernetesClusterCredentialsGetRequest{})
	refused(t, "credentials of a cluster that is not running", err, http.StatusConflict, "not running")
	running := await(t, func() (*godo.KubernetesCluster, bool) {
		got, _, err := c.Kubernetes.Get(ctx, cluster.ID)
		if err != nil {
			t.Fatal(err)
		}
		return got, got.Status.State == godo.KubernetesClusterStatusRunning
	})
	if running.HA || len(running.NodePools) != 1 || running.NodePools[0].Count != 3 || len(running.NodePools[0].Nodes) != 3 {
		t.Errorf("cluster %+v", running)
	}
	if running.WorkerSubnetUUID == "" || running.RoutingAgent == nil || *running.RoutingAgent.Enabled || running.NvidiaGpuDraDriver == nil || *running.NvidiaGpuDraDriver.Enabled {
		t.Errorf("what nobody asked for: subnet %q, routing agent %+v, driver %+v", running.WorkerSubnetUUID, running.RoutingAgent, running.NvidiaGpuDraDriver)
	}
	credentials, _, err := c.Kubernetes.GetCredentials(ctx, cluster.ID, &godo.KubernetesClusterCredentialsGetRequest{ExpirySeconds: godo.PtrTo(3600)})
	if err != nil || credentials.Token != "t" || string(credentials.CertificateAuthorityData) != "ca" || time.Until(credentials.ExpiresAt) > time.Hour {
		t.Errorf("credentials %+v, %v", credentials, err)
	}
	config, _, err := c.Kubernetes.GetKubeConfig(ctx, cluster.ID, &godo.KubernetesClusterKubeconfigGetRequest{})
	if err != nil || !strings.Contains(string(config.KubeconfigYAML), "current-context: do-nyc1-ecommerce-stage") {
		t.Errorf("kubeconfig %v, %v", config, err)
	}
	if all, _, err := c.Kubernetes.List(ctx, nil); err != nil || len(all) != 1 || all[0].ID != cluster.ID {
		t.Errorf("clusters %+v, %v", all, err)
	}
	pools(t, c, running)
	registry(t, c, cluster.ID)
	if _, _, err := c.Kubernetes.Update(ctx, cluster.ID, &godo.KubernetesClusterUpdateRequest{Name: "ecommerce-stage", HA: godo.PtrTo(true)}); err != nil {
		t.Error(err)
	}
	_, _, err = c.Kubernetes.Update(ctx, cluster.ID, &godo.KubernetesClusterUpdateRequest{Name: "ecommerce-stage", HA: godo.PtrTo(false)})
	refused(t, "turning HA off", err, http.StatusUnprocessableEntity, "cannot be turned off")
	some := &godo.KubernetesControlPlaneFirewall{Enabled: godo.PtrTo(true), AllowedAddresses: []string{"203.0.113.7", "198.51.100.0/24"}}
	limited, _, err := c.Kubernetes.Update(ctx, cluster.ID, &godo.KubernetesClusterUpdateRequest{Name: "ecommerce-stage", ControlPlaneFirewall: some})
	if err != nil || !cmp.Equal(some, limited.ControlPlaneFirewall) {
		t.Errorf("its API is reached as %+v, %v; want %+v", limited, err, some)
	}
	upgrades, _, err := c.Kubernetes.GetUpgrades(ctx, cluster.ID)
	if err != nil || len(upgrades) != 1 || upgrades[0].Slug != "1.36.1-do.0" {
		t.Errorf("upgrades %+v, %v", upgrades, err)
	}
	_, err = c.Kubernetes.Upgrade(ctx, cluster.ID, &godo.KubernetesClusterUpgradeRequest{VersionSlug: "1.34.9-do.1"})
	refused(t, "going back", err, http.StatusUnprocessableEntity, "upgrade path")
	if _, err := c.Kubernetes.Upgrade(ctx, cluster.ID, &godo.KubernetesClusterUpgradeRequest{VersionSlug: "1.36.1-do.0"}); err != nil {
		t.Error(err)
	}
	if got, _, err := c.Kubernetes.Get(ctx, cluster.ID); err != nil || got.Status.State != godo.KubernetesClusterStatusUpgrading {
		t.Errorf("while it is upgraded: %+v, %v", got, err)
	}
	if _, _, err := c.Kubernetes.GetCredentials(ctx, cluster.ID, &godo.KubernetesClusterCredentialsGetRequest{}); err != nil {
		t.Errorf("credentials while it is upgraded: %v", err)
	}
	_, err = c.VPCs.Delete(ctx, vpc.ID)
	refused(t, "a network with a cluster", err, http.StatusForbidden, "members")
	if _, err := c.Kubernetes.Delete(ctx, cluster.ID); err != nil {
		t.Fatal(err)
	}
	await(t, func() (struct{}, bool) {
		_, err := c.VPCs.Delete(ctx, vpc.ID)
		return struct{}{}, err == nil
	})
	if len(s.Left()) > 0 || len(s.Unknown()) > 0 {
		t.Errorf("left %v, unknown %v", s.Left(), s.Unknown())
	}
}

// registry lets a cluster pull from the account's registry, and no more.
func registry(t *testing.T, c *godo.Client, cluster string) {
	t.Helper()
	ctx, request := t.Context(), &godo.KubernetesClusterRegistryRequest{ClusterUUIDs: []string{cluster}}
	for _, enabled := range []bool{true, false} {
		ask := c.Kubernetes.AddRegistry
		if !enabled {
			ask = c.Kubernetes.RemoveRegistry
		}
		if _, err := ask(ctx, request); err != nil {
			t.Error(err)
		}
		if got, _, err := c.Kubernetes.Get(ctx, cluster); err != nil || got.RegistryEnabled != enabled {
			t.Errorf("the cluster pulls from the registry: %+v, %v; want %v", got, err, enabled)
		}
	}
	_, err := c.Kubernetes.AddRegistry(ctx, &godo.KubernetesClusterRegistryRequest{ClusterUUIDs: []string{"00000000-0000-0000-0000-000000000000"}})
	refused(t, "a registry for a cluster that is not there", err, http.StatusNotFound, "")
}

// pools adds a pool, changes it and takes it away.
func pools(t *testing.T, c *godo.Client, cluster *godo.KubernetesCluster) {
	t.Helper()
	ctx := t.Context()
	pool, _, err := c.Kubernetes.CreateNodePool(ctx, cluster.ID, &godo.KubernetesNodePoolCreateRequest{Name: "more", Size: "s-2vcpu-4gb", Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	if pool, _, err = c.Kubernetes.UpdateNodePool(ctx, cluster.ID, pool.ID, &godo.KubernetesNodePoolUpdateRequest{Count: godo.PtrTo(2)}); err != nil || len(pool.Nodes) != 2 {
		t.Errorf("pool %+v, %v", pool, err)
	}
	_, _, err = c.Kubernetes.UpdateNodePool(ctx, cluster.ID, pool.ID, &godo.KubernetesNodePoolUpdateRequest{AutoScale: godo.PtrTo(true), MinNodes: godo.PtrTo(6), MaxNodes: godo.PtrTo(5)})
	refused(t, "min over max", err, http.StatusUnprocessableEntity, "max_nodes")
	if all, _, err := c.Kubernetes.ListNodePools(ctx, cluster.ID, nil); err != nil || len(all) != 2 || all[1].Name != "more" {
		t.Errorf("pools %+v, %v", all, err)
	}
	if _, err := c.Kubernetes.DeleteNodePool(ctx, cluster.ID, pool.ID); err != nil {
		t.Error(err)
	}
	_, _, err = c.Kubernetes.GetNodePool(ctx, cluster.ID, pool.ID)
	refused(t, "a deleted pool", err, http.StatusNotFound, "could not be found")
}

// await asks until it is so.
func await[T any](t *testing.T, ask func() (T, bool)) T {
	t.Helper()
	for asked := 1; ; asked++ {
		got, ok := ask()
		if ok {
			return got
		}
		if asked == 10 {
			t.Fatal("asked ten times in vain")
		}
	}
}

func TestClustersThatAreRefused(t *testing.T) {
	t.Parallel()
	c, _ := client(t, Options{})
	vpc := newVPC(t, c, "ecommerce-stage", "10.10.0.0/16")
	for name, test := range map[string]struct {
		change func(*godo.KubernetesClusterCreateRequest)
		words  string
	}{
		"the architecture's version": {func(r *godo.KubernetesClusterCreateRequest) { r.VersionSlug = "1.31.1-do.4" }, "invalid version slug"},
		"unknown region":             {func(r *godo.KubernetesClusterCreateRequest) { r.RegionSlug = "nyc9" }, "nyc9"},
		"pods in the network":        {func(r *godo.KubernetesClusterCreateRequest) { r.ClusterSubnet = "10.10.128.0/17" }, "overlaps"},
		"Services among pods":        {func(r *godo.KubernetesClusterCreateRequest) { r.ServiceSubnet = "10.11.0.0/20" }, "overlaps"},
		"one subnet":                 {func(r *godo.KubernetesClusterCreateRequest) { r.ServiceSubnet = "" }, "both"},
		"an API for a name": {func(r *godo.KubernetesClusterCreateRequest) {
			r.ControlPlaneFirewall = &godo.KubernetesControlPlaneFirewall{Enabled: godo.PtrTo(true), AllowedAddresses: []string{"office.example.com"}}
		}, "allowed_addresses"},
		"no pool":                 {func(r *godo.KubernetesClusterCreateRequest) { r.NodePools = nil }, "node_pools"},
		"unknown size":            {func(r *godo.KubernetesClusterCreateRequest) { r.NodePools[0].Size = "big" }, "size"},
		"min over max":            {func(r *godo.KubernetesClusterCreateRequest) { r.NodePools[0].MinNodes = 6 }, "max_nodes"},
		"somebody else's network": {func(r *godo.KubernetesClusterCreateRequest) { r.VPCUUID = "other" }, "vpc_uuid"},
		"upper case":              {func(r *godo.KubernetesClusterCreateRequest) { r.Name = "Stage" }, "lower case"},
	} {
		request := clusterRequest(vpc.ID)
		test.change(request)
		_, _, err := c.Kubernetes.Create(t.Context(), request)
		refused(t, name, err, http.StatusUnprocessableEntity, test.words)
	}
	// From 1.36 on, what is not set is on.
	request := clusterRequest(vpc.ID)
	request.VersionSlug, request.HA = "1.36.1-do.0", nil
	if cluster, _, err := c.Kubernetes.Create(t.Context(), request); err != nil || !cluster.HA {
		t.Errorf("a cluster of 1.36 without ha: %+v, %v", cluster, err)
	}
	request.HA = godo.PtrTo(false)
	_, _, err := c.Kubernetes.Create(t.Context(), request)
	refused(t, "the same name", err, http.StatusUnprocessableEntity, "already exists")
}

func TestDatabases(t *testing.T) {
	t.Parallel()
	c, s := client(t, Options{Polls: 1})
	ctx := t.Context()
	vpc := newVPC(t, c, "ecommerce-production", "10.20.0.0/16")
	cluster, _, err := c.Kubernetes.Create(ctx, clusterRequest(vpc.ID))
	if err != nil {
		t.Fatal(err)
	}
	request := &godo.DatabaseCreateRequest{Name: "ecommerce-production", EngineSlug: "mysql", Version: "8", SizeSlug: "db-s-1vcpu-2gb", Region: "nyc1", NumNodes: 2, PrivateNetworkUUID: vpc.ID}
	database, _, err := c.Databases.Create(ctx, request)
	if err != nil || database.Status != "creating" {
		t.Fatalf("database %+v, %v", database, err)
	}
	_, _, err = c.Databases.Create(ctx, request)
	refused(t, "the same name", err, http.StatusConflict, "not available")
	small := *request
	small.Name, small.SizeSlug = "small", "db-s-1vcpu-1gb"
	_, _, err = c.Databases.Create(ctx, &small)
	refused(t, "a standby of the smallest", err, http.StatusUnprocessableEntity, "standby")
	small.NumNodes, small.StorageAutoscale = 1, &godo.DatabaseStorageAutoscale{Enabled: true, IncrementGib: godo.PtrTo(uint64(5))}
	_, _, err = c.Databases.Create(ctx, &small)
	refused(t, "a new database that grows by little", err, http.StatusUnprocessableEntity, "10 to 500")
	online := await(t, func() (*godo.Database, bool) {
		got, _, err := c.Databases.Get(ctx, database.ID)
		if err != nil {
			t.Fatal(err)
		}
		return got, got.Status == "online"
	})
	if !strings.HasPrefix(online.PrivateConnection.Host, "private-") || online.PrivateConnection.Password == "" {
		t.Errorf("private connection %+v", online.PrivateConnection)
	}
	if len(online.MetricsEndpoints) != 1 || online.MetricsEndpoints[0].Host != online.Connection.Host {
		t.Errorf("metrics are at %+v", online.MetricsEndpoints)
	}
	if _, err := c.Databases.UpdateFirewallRules(ctx, database.ID, &godo.DatabaseUpdateFirewallRulesRequest{Rules: []*godo.DatabaseFirewallRule{{Type: "k8s", Value: cluster.ID}}}); err != nil {
		t.Error(err)
	}
	_, err = c.Databases.UpdateFirewallRules(ctx, database.ID, &godo.DatabaseUpdateFirewallRulesRequest{Rules: []*godo.DatabaseFirewallRule{{Type: "k8s", Value: "nobody"}}})
	refused(t, "a firewall for nobody", err, http.StatusUnprocessableEntity, "nobody")
	if rules, _, err := c.Databases.GetFirewallRules(ctx, database.ID); err != nil || len(rules) != 1 || rules[0].Value != cluster.ID {
		t.Errorf("rules %+v, %v", rules, err)
	}
	if _, _, err := c.Databases.CreateDB(ctx, database.ID, &godo.DatabaseCreateDBRequest{Name: "tienda_order"}); err != nil {
		t.Error(err)
	}
	_, _, err = c.Databases.CreateDB(ctx, database.ID, &godo.DatabaseCreateDBRequest{Name: "tienda_order"})
	refused(t, "the same schema", err, http.StatusConflict, "not available")
	user, _, err := c.Databases.CreateUser(ctx, database.ID, &godo.DatabaseCreateUserRequest{Name: "tienda_order", MySQLSettings: &godo.DatabaseMySQLUserSettings{AuthPlugin: godo.SQLAuthPluginCachingSHA2}})
	if err != nil || user.Password == "" {
		t.Errorf("user %+v, %v", user, err)
	}
	if got, _, err := c.Databases.GetUser(ctx, database.ID, "tienda_order"); err != nil || got.Password != user.Password {
		t.Errorf("user %+v, %v", got, err)
	}
	if all, _, err := c.Databases.List(ctx, nil); err != nil || len(all) != 1 || all[0].ID != database.ID {
		t.Errorf("databases %+v, %v", all, err)
	}
	if all, _, err := c.Databases.ListDBs(ctx, database.ID, nil); err != nil || len(all) != 2 || all[1].Name != "tienda_order" {
		t.Errorf("schemas %+v, %v", all, err)
	}
	if all, _, err := c.Databases.ListUsers(ctx, database.ID, nil); err != nil || len(all) != 2 || all[1].Name != "tienda_order" {
		t.Errorf("users %+v, %v", all, err)
	}
	for _, remove := range []func(context.Context, string, string) (*godo.Response, error){c.Databases.DeleteUser, c.Databases.DeleteDB} {
		if _, err := remove(ctx, database.ID, "tienda_order"); err != nil {
			t.Error(err)
		}
	}
	if growth, _, err := c.Databases.GetStorageAutoscale(ctx, database.ID); err != nil || growth == nil || growth.Enabled {
		t.Errorf("disks that nobody lets grow: %+v, %v", growth, err)
	}
	grows := &godo.DatabaseStorageAutoscale{Enabled: true, ThresholdPercent: godo.PtrTo(80), IncrementGib: godo.PtrTo(uint64(10))}
	if _, err := c.Databases.UpdateStorageAutoscale(ctx, database.ID, grows); err != nil {
		t.Error(err)
	}
	if got, _, err := c.Databases.GetStorageAutoscale(ctx, database.ID); err != nil || !cmp.Equal(got, grows) {
		t.Errorf("disks that grow: %+v, %v", got, err)
	}
	_, err = c.Databases.UpdateStorageAutoscale(ctx, database.ID, &godo.DatabaseStorageAutoscale{Enabled: true, ThresholdPercent: godo.PtrTo(10)})
	refused(t, "growth of disks that are empty", err, http.StatusUnprocessableEntity, "15 to 95")
	if _, err := c.Databases.Resize(ctx, database.ID, &godo.DatabaseResizeRequest{SizeSlug: "db-s-2vcpu-4gb", NumNodes: 2}); err != nil {
		t.Error(err)
	}
	if _, err := c.Databases.UpdateMaintenance(ctx, database.ID, &godo.DatabaseUpdateMaintenanceRequest{Day: "tuesday", Hour: "05:00:00"}); err != nil {
		t.Error(err)
	}
	readReplicas(t, c, database.ID)
	readAuthority(t, c, database.ID)
	if _, err := c.Databases.Delete(ctx, database.ID); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(map[string]int{"vpcs": 1, "clusters": 1}, s.Left()); diff != "" || len(s.Unknown()) > 0 {
		t.Errorf("left (-want +got):\n%s unknown %v", diff, s.Unknown())
	}
}

// readReplicas has a database read from a server more, once it is online again.
func readReplicas(t *testing.T, c *godo.Client, database string) {
	t.Helper()
	ctx, request := t.Context(), &godo.DatabaseCreateReplicaRequest{Name: "reads", Region: "nyc3", Size: "db-s-2vcpu-4gb"}
	made := await(t, func() (*godo.DatabaseReplica, bool) {
		made, _, err := c.Databases.CreateReplica(ctx, database, request)
		if err != nil {
			refused(t, "a replica of a database that is resized", err, http.StatusUnprocessableEntity, "not online")
			_, _, err = c.Databases.Get(ctx, database)
		}
		if err != nil {
			t.Fatal(err)
		}
		return made, made != nil
	})
	if made.Status != "forking" {
		t.Errorf("a new replica is %s", made.Status)
	}
	_, _, err := c.Databases.CreateReplica(ctx, database, request)
	refused(t, "the same replica", err, http.StatusConflict, "not available")
	await(t, func() (*godo.DatabaseReplica, bool) {
		got, _, err := c.Databases.GetReplica(ctx, database, "reads")
		if err != nil {
			t.Fatal(err)
		}
		return got, got.Status == "active"
	})
	if all, _, err := c.Databases.ListReplicas(ctx, database, nil); err != nil || len(all) != 1 || all[0].Connection.Host == "" {
		t.Errorf("replicas %+v, %v", all, err)
	}
	if _, err := c.Databases.DeleteReplica(ctx, database, "reads"); err != nil {
		t.Error(err)
	}
	_, _, err = c.Databases.GetReplica(ctx, database, "reads")
	refused(t, "a deleted replica", err, http.StatusNotFound, "could not be found")
}

func TestNames(t *testing.T) {
	t.Parallel()
	c, s := client(t, Options{})
	ctx := t.Context()
	if _, _, err := c.Domains.Create(ctx, &godo.DomainCreateRequest{Name: "example.com"}); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.Domains.Create(ctx, &godo.DomainCreateRequest{Name: "example.com"})
	refused(t, "the same domain", err, http.StatusUnprocessableEntity, "already exists")
	record, _, err := c.Domains.CreateRecord(ctx, "example.com", &godo.DomainRecordEditRequest{Type: "A", Name: "stage.shop", Data: "203.0.113.7", TTL: 300})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Domains.CreateRecord(ctx, "example.com", &godo.DomainRecordEditRequest{Type: "A", Name: "stage.shop", Data: "nowhere"})
	refused(t, "no address", err, http.StatusUnprocessableEntity, "IP address")
	found, _, err := c.Domains.RecordsByName(ctx, "example.com", "stage.shop.example.com", nil)
	if err != nil || len(found) != 1 || found[0].ID != record.ID {
		t.Errorf("records %+v, %v", found, err)
	}
	if record, _, err = c.Domains.EditRecord(ctx, "example.com", record.ID, &godo.DomainRecordEditRequest{Type: "A", Name: "stage.shop", Data: "203.0.113.8", TTL: 300}); err != nil || record.Data != "203.0.113.8" {
		t.Errorf("record %+v, %v", record, err)
	}
	if all, _, err := c.Domains.List(ctx, nil); err != nil || len(all) != 1 || all[0].Name != "example.com" {
		t.Errorf("domains %+v, %v", all, err)
	}
	if _, err := c.Domains.DeleteRecord(ctx, "example.com", record.ID); err != nil {
		t.Error(err)
	}
	if all, _, err := c.Domains.Records(ctx, "example.com", nil); err != nil || len(all) != 3 {
		t.Errorf("records %+v, %v; want the three name servers", all, err)
	}
	if _, err := c.Domains.Delete(ctx, "example.com"); err != nil || len(s.Left()) > 0 {
		t.Errorf("%v, left %v", err, s.Left())
	}
}

func TestAlertsAndKeys(t *testing.T) {
	t.Parallel()
	c, s := client(t, Options{})
	ctx := t.Context()
	request := &godo.AlertPolicyCreateRequest{Type: godo.DropletCPUUtilizationPercent, Description: "cpu", Compare: godo.GreaterThan, Value: 80, Window: "10m", Tags: []string{"ecommerce-stage"},
		Alerts: godo.Alerts{Email: []string{"ops@example.com"}}, Enabled: godo.PtrTo(true)}
	alert, _, err := c.Monitoring.CreateAlertPolicy(ctx, request)
	if err != nil || !alert.Enabled {
		t.Fatalf("alert %+v, %v", alert, err)
	}
	for words, change := range map[string]func(*godo.AlertPolicyCreateRequest){
		"window":  func(r *godo.AlertPolicyCreateRequest) { r.Window = "7m" },
		"type":    func(r *godo.AlertPolicyCreateRequest) { r.Type = "v1/insights/mood" },
		"compare": func(r *godo.AlertPolicyCreateRequest) { r.Compare = "Equals" },
		"told":    func(r *godo.AlertPolicyCreateRequest) { r.Alerts = godo.Alerts{} },
	} {
		wrong := *request
		change(&wrong)
		_, _, err := c.Monitoring.CreateAlertPolicy(ctx, &wrong)
		refused(t, words, err, http.StatusUnprocessableEntity, words)
	}
	changed := &godo.AlertPolicyUpdateRequest{Type: request.Type, Description: "processors", Compare: request.Compare, Value: 90, Window: "1h", Entities: []string{"17"}, Alerts: request.Alerts, Enabled: godo.PtrTo(false)}
	if got, _, err := c.Monitoring.UpdateAlertPolicy(ctx, alert.UUID, changed); err != nil || got.UUID != alert.UUID || got.Enabled || got.Value != 90 {
		t.Errorf("a changed alert: %+v, %v", got, err)
	}
	changed.Window = "7m"
	_, _, err = c.Monitoring.UpdateAlertPolicy(ctx, alert.UUID, changed)
	refused(t, "a changed window", err, http.StatusUnprocessableEntity, "window")
	if all, _, err := c.Monitoring.ListAlertPolicies(ctx, nil); err != nil || len(all) != 1 || all[0].Description != "processors" || !cmp.Equal(all[0].Entities, []string{"17"}) || len(all[0].Tags) > 0 {
		t.Errorf("alerts %+v, %v", all, err)
	}
	if _, err := c.Monitoring.DeleteAlertPolicy(ctx, alert.UUID); err != nil {
		t.Error(err)
	}
	key, _, err := c.SpacesKeys.Create(ctx, &godo.SpacesKeyCreateRequest{Name: "terraform-state", Grants: []*godo.Grant{{Bucket: "ecommerce-terraform-state", Permission: godo.SpacesKeyReadWrite}}})
	if err != nil || key.SecretKey == "" {
		t.Fatalf("key %+v, %v", key, err)
	}
	if got, _, err := c.SpacesKeys.Get(ctx, key.AccessKey); err != nil || got.SecretKey != "" {
		t.Errorf("the secret is said twice: %+v, %v", got, err)
	}
	_, _, err = c.SpacesKeys.Create(ctx, &godo.SpacesKeyCreateRequest{Name: "all", Grants: []*godo.Grant{{Permission: godo.SpacesKeyReadWrite}}})
	refused(t, "a key for no bucket", err, http.StatusUnprocessableEntity, "fullaccess")
	grants := []*godo.Grant{{Bucket: "another", Permission: godo.SpacesKeyRead}}
	if got, _, err := c.SpacesKeys.Update(ctx, key.AccessKey, &godo.SpacesKeyUpdateRequest{Name: "states", Grants: grants}); err != nil || got.Name != "states" || got.SecretKey != "" {
		t.Errorf("a changed key: %+v, %v", got, err)
	}
	if all, _, err := c.SpacesKeys.List(ctx, nil); err != nil || len(all) != 1 || all[0].SecretKey != "" || !cmp.Equal(all[0].Grants, grants) {
		t.Errorf("keys %+v, %v", all, err)
	}
	if _, err := c.SpacesKeys.Delete(ctx, key.AccessKey); err != nil || len(s.Left()) > 0 || len(s.Unknown()) > 0 {
		t.Errorf("%v, left %v, unknown %v", err, s.Left(), s.Unknown())
	}
}

func TestLoadBalancers(t *testing.T) {
	t.Parallel()
	c, s := client(t, Options{Polls: 1})
	ctx := t.Context()
	request := &godo.LoadBalancerRequest{Name: "ecommerce-stage", Region: "nyc1", Type: "REGIONAL_NETWORK", ForwardingRules: []godo.ForwardingRule{{EntryProtocol: "tcp", EntryPort: 443, TargetProtocol: "tcp", TargetPort: 30443}}}
	balancer, _, err := c.LoadBalancers.Create(ctx, request)
	if err != nil || balancer.IP != "" || balancer.Status != "new" {
		t.Fatalf("load balancer %+v, %v", balancer, err)
	}
	active := await(t, func() (*godo.LoadBalancer, bool) {
		got, _, err := c.LoadBalancers.Get(ctx, balancer.ID)
		if err != nil {
			t.Fatal(err)
		}
		return got, got.Status == "active"
	})
	if active.IP == "" {
		t.Error("it has no address")
	}
	_, _, err = c.LoadBalancers.Create(ctx, request)
	refused(t, "the same name", err, http.StatusUnprocessableEntity, "unique")
	more := *request
	more.SizeUnit, more.EnableProxyProtocol = 2, true
	if got, _, err := c.LoadBalancers.Update(ctx, balancer.ID, &more); err != nil || got.SizeUnit != 2 || !got.EnableProxyProtocol || got.IP != active.IP {
		t.Errorf("a changed load balancer: %+v, %v", got, err)
	}
	more.Region = "nyc3"
	_, _, err = c.LoadBalancers.Update(ctx, balancer.ID, &more)
	refused(t, "another region", err, http.StatusUnprocessableEntity, "region")
	if all, _, err := c.LoadBalancers.List(ctx, nil); err != nil || len(all) != 1 || all[0].SizeUnit != 2 {
		t.Errorf("load balancers %+v, %v", all, err)
	}
	if _, err := c.LoadBalancers.Delete(ctx, balancer.ID); err != nil || len(s.Left()) > 0 {
		t.Errorf("%v, left %v", err, s.Left())
	}
}
