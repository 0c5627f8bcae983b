package digitalocean

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/digitalocean/godo"
	"github.com/google/uuid"
)

// versions are those that a new cluster can have: the newest of three minor versions.
func versions() []string { return []string{"1.36.1-do.0", "1.35.6-do.0", "1.34.9-do.1"} }

// minor is the second number of a version.
func minor(version string) int {
	parts := strings.Split(version, ".")
	if len(parts) < 2 {
		return 0
	}
	number, err := strconv.Atoi(parts[1])
	if err != nil {
		return 0
	}
	return number
}

func (s *Server) kubernetes() {
	s.route("GET /v2/kubernetes/options", func(*http.Request) (int, any, error) {
		options := new(godo.KubernetesOptions)
		for _, slug := range versions() {
			number, _, _ := strings.Cut(slug, "-")
			options.Versions = append(options.Versions, &godo.KubernetesVersion{Slug: slug, KubernetesVersion: number, SupportedFeatures: []string{"cluster-autoscaler", "docr-integration", "ha-control-plane"}})
		}
		for _, region := range regions() {
			options.Regions = append(options.Regions, &godo.KubernetesRegion{Slug: region.Slug, Name: region.Name})
		}
		for _, size := range sizes() {
			options.Sizes = append(options.Sizes, &godo.KubernetesNodeSize{Slug: size, Name: size})
		}
		return http.StatusOK, map[string]any{"options": options}, nil
	})
	s.route("POST /v2/kubernetes/clusters", s.createCluster)
	s.route("GET /v2/kubernetes/clusters", func(r *http.Request) (int, any, error) {
		return page(r, "kubernetes_clusters", values(&s.clusters, seenCluster))
	})
	s.cluster("GET", "", func(_ *http.Request, e *entry[godo.KubernetesCluster]) (int, any, error) {
		return http.StatusOK, map[string]any{"kubernetes_cluster": seenCluster(e)}, nil
	})
	s.cluster("PUT", "", s.updateCluster)
	s.cluster("DELETE", "", func(_ *http.Request, e *entry[godo.KubernetesCluster]) (int, any, error) {
		e.leaving, e.waiting = true, s.options.Polls
		return http.StatusNoContent, nil, nil
	})
	s.cluster("GET", "/credentials", s.credentials)
	s.cluster("GET", "/kubeconfig", s.kubeconfig)
	s.cluster("GET", "/upgrades", func(_ *http.Request, e *entry[godo.KubernetesCluster]) (int, any, error) {
		upgrades := []*godo.KubernetesVersion{}
		for _, slug := range versions() {
			if upgradable(e.value.VersionSlug, slug) {
				upgrades = append(upgrades, &godo.KubernetesVersion{Slug: slug})
			}
		}
		return http.StatusOK, map[string]any{"available_upgrade_versions": upgrades}, nil
	})
	s.cluster("POST", "/upgrade", func(r *http.Request, e *entry[godo.KubernetesCluster]) (int, any, error) {
		request, err := read[godo.KubernetesClusterUpgradeRequest](r)
		if err != nil {
			return 0, nil, err
		}
		if e.waiting > 0 {
			return 0, nil, conflict("cluster %s is not running", e.value.Name)
		}
		if !slices.Contains(versions(), request.VersionSlug) {
			return 0, nil, unprocessable("validation error: invalid version slug")
		}
		if !upgradable(e.value.VersionSlug, request.VersionSlug) {
			return 0, nil, unprocessable("invalid upgrade path")
		}
		e.value.VersionSlug, e.waiting, e.upgrading = request.VersionSlug, s.options.Polls, true
		return http.StatusAccepted, nil, nil
	})
	s.route("POST /v2/kubernetes/registry", func(r *http.Request) (int, any, error) { return s.integrate(r, true) })
	s.route("DELETE /v2/kubernetes/registry", func(r *http.Request) (int, any, error) { return s.integrate(r, false) })
	s.pools()
}

// integrate lets clusters pull from the account's registry, or no more.
func (s *Server) integrate(r *http.Request, enabled bool) (int, any, error) {
	request, err := read[godo.KubernetesClusterRegistryRequest](r)
	if err != nil {
		return 0, nil, err
	}
	if len(request.ClusterUUIDs) == 0 {
		return 0, nil, unprocessable("validation error: cluster_uuids is required")
	}
	for _, id := range request.ClusterUUIDs {
		if s.clusters.items[id] == nil {
			return 0, nil, notFound()
		}
	}
	for _, id := range request.ClusterUUIDs {
		s.clusters.items[id].value.RegistryEnabled = enabled
	}
	return http.StatusNoContent, nil, nil
}

// cluster adds a route below a cluster.
func (s *Server) cluster(method, path string, h func(*http.Request, *entry[godo.KubernetesCluster]) (int, any, error)) {
	s.route(method+" /v2/kubernetes/clusters/{id}"+path, func(r *http.Request) (int, any, error) {
		e, err := s.clusters.poll(r.PathValue("id"))
		if err != nil {
			return 0, nil, err
		}
		return h(r, e)
	})
}

// upgradable is whether a cluster can go from one version to another: to a newer patch, or from the newest patch to the next minor.
func upgradable(from, to string) bool {
	switch minor(to) - minor(from) {
	case 0:
		return slices.Contains(versions(), to) && from != to
	case 1:
		return slices.Contains(versions(), from)
	}
	return false
}

func seenCluster(e *entry[godo.KubernetesCluster]) godo.KubernetesCluster {
	c := e.value
	switch {
	case e.leaving:
		c.Status = &godo.KubernetesClusterStatus{State: godo.KubernetesClusterStatusDeleted}
	case e.waiting > 0 && e.upgrading:
		c.Status = &godo.KubernetesClusterStatus{State: godo.KubernetesClusterStatusUpgrading}
	case e.waiting > 0:
		c.Status = &godo.KubernetesClusterStatus{State: godo.KubernetesClusterStatusProvisioning}
	default:
		c.Status = &godo.KubernetesClusterStatus{State: godo.KubernetesClusterStatusRunning}
	}
	return c
}

var nameOfCluster = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

func (s *Server) createCluster(r *http.Request) (int, any, error) {
	request, err := read[godo.KubernetesClusterCreateRequest](r)
	if err != nil {
		return 0, nil, err
	}
	if err := s.checkCluster(request); err != nil {
		return 0, nil, err
	}
	id, now := uuid.NewString(), s.options.Now()
	c := godo.KubernetesCluster{
		ID: id, Name: request.Name, RegionSlug: request.RegionSlug, VersionSlug: request.VersionSlug, VPCUUID: request.VPCUUID, WorkerSubnetUUID: cmp.Or(request.WorkerSubnetUUID, uuid.NewString()),
		ClusterSubnet: cmp.Or(request.ClusterSubnet, "10.244.0.0/16"), ServiceSubnet: cmp.Or(request.ServiceSubnet, "10.245.0.0/16"),
		IPv4: "203.0.113.1", Endpoint: s.options.Access.Server, Tags: append([]string{"k8s", "k8s:" + id}, request.Tags...),
		HA: minor(request.VersionSlug) >= 36, AutoUpgrade: request.AutoUpgrade, SurgeUpgrade: request.SurgeUpgrade,
		MaintenancePolicy: request.MaintenancePolicy, ClusterAutoscalerConfiguration: request.ClusterAutoscalerConfiguration,
		ControlPlaneFirewall: request.ControlPlaneFirewall, CreatedAt: now, UpdatedAt: now,
	}
	if request.HA != nil {
		c.HA = *request.HA
	}
	if c.MaintenancePolicy == nil {
		c.MaintenancePolicy = &godo.KubernetesMaintenancePolicy{StartTime: "00:00", Day: godo.KubernetesMaintenanceDayAny}
	}
	c.MaintenancePolicy.Duration = "4h0m0s"
	addOns(&c, request)
	for _, p := range request.NodePools {
		c.NodePools = append(c.NodePools, s.newPool(id, p))
	}
	e := s.clusters.add(id, c, s.options.Polls)
	return http.StatusCreated, map[string]any{"kubernetes_cluster": seenCluster(e)}, nil
}

// addOns are what the API says about every cluster: what nobody asked for is there, and off.
func addOns(c *godo.KubernetesCluster, request godo.KubernetesClusterCreateRequest) {
	off := godo.PtrTo(false)
	c.RoutingAgent = cmp.Or(request.RoutingAgent, &godo.KubernetesRoutingAgent{Enabled: off})
	c.CorednsAutoscaler = cmp.Or(request.CorednsAutoscaler, &godo.KubernetesCorednsAutoscaler{Enabled: off})
	c.P2pOciRegistryPlugin = cmp.Or(request.P2pOciRegistryPlugin, &godo.KubernetesP2pOciRegistry{Enabled: off})
	c.AmdGpuDevicePlugin = cmp.Or(request.AmdGpuDevicePlugin, &godo.KubernetesAmdGpuDevicePlugin{Enabled: off})
	c.AmdGpuDeviceMetricsExporterPlugin = cmp.Or(request.AmdGpuDeviceMetricsExporterPlugin, &godo.KubernetesAmdGpuDeviceMetricsExporterPlugin{Enabled: off})
	c.AmdGpuDraDriver = cmp.Or(request.AmdGpuDraDriver, &godo.KubernetesAmdGpuDraDriver{Enabled: off})
	c.NvidiaGpuDevicePlugin = cmp.Or(request.NvidiaGpuDevicePlugin, &godo.KubernetesNvidiaGpuDevicePlugin{Enabled: off})
	c.NvidiaGpuDraDriver = cmp.Or(request.NvidiaGpuDraDriver, &godo.KubernetesNvidiaGpuDraDriver{Enabled: off})
	c.RdmaSharedDevicePlugin = cmp.Or(request.RdmaSharedDevicePlugin, &godo.KubernetesRdmaSharedDevicePlugin{Enabled: off})
}

func (s *Server) checkCluster(request godo.KubernetesClusterCreateRequest) error {
	if !nameOfCluster.MatchString(request.Name) {
		return unprocessable("validation error: name must consist of lower case alphanumeric characters or '-'")
	}
	if slices.ContainsFunc(s.clusters.all(), func(e *entry[godo.KubernetesCluster]) bool { return e.value.Name == request.Name }) {
		return unprocessable("validation error: a cluster with this name already exists")
	}
	if err := knownRegion(request.RegionSlug); err != nil {
		return err
	}
	if !slices.Contains(versions(), request.VersionSlug) {
		return unprocessable("validation error: invalid version slug")
	}
	if err := checkFirewall(request.ControlPlaneFirewall); err != nil {
		return err
	}
	if len(request.NodePools) == 0 {
		return unprocessable("validation error: node_pools is required")
	}
	for _, p := range request.NodePools {
		if err := checkPool(p.Name, p.Size, p.Count, p.AutoScale, p.MinNodes, p.MaxNodes); err != nil {
			return err
		}
	}
	vpc, ok := s.vpcs.items[request.VPCUUID]
	if !ok || vpc.value.RegionSlug != request.RegionSlug {
		return unprocessable("validation error: vpc_uuid is not a VPC of the region")
	}
	if (request.ClusterSubnet == "") != (request.ServiceSubnet == "") {
		return unprocessable("validation error: cluster_subnet and service_subnet must both be set")
	}
	if request.ClusterSubnet == "" {
		return nil
	}
	networks := []netip.Prefix{netip.MustParsePrefix(vpc.value.IPRange)}
	for _, text := range []string{request.ClusterSubnet, request.ServiceSubnet} {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return unprocessable("validation error: %s is not a network", text)
		}
		for _, other := range networks {
			if other.Overlaps(network) {
				return unprocessable("validation error: %s overlaps with %s", network, other)
			}
		}
		networks = append(networks, network)
	}
	return nil
}

// checkFirewall refuses who may reach the API of a cluster unless it says whether it is on, and all that are allowed are IPv4 addresses
// or networks.
func checkFirewall(firewall *godo.KubernetesControlPlaneFirewall) error {
	if firewall == nil {
		return nil
	}
	if firewall.Enabled == nil {
		return unprocessable("validation error: control_plane_firewall.enabled is required")
	}
	for _, text := range firewall.AllowedAddresses {
		if !strings.Contains(text, "/") {
			text += "/32"
		}
		if network, err := netip.ParsePrefix(text); err != nil || !network.Addr().Is4() || network != network.Masked() {
			return unprocessable("validation error: control_plane_firewall.allowed_addresses has %s, which is neither an IPv4 address nor a network", text)
		}
	}
	return nil
}

func (s *Server) updateCluster(r *http.Request, e *entry[godo.KubernetesCluster]) (int, any, error) {
	request, err := read[godo.KubernetesClusterUpdateRequest](r)
	if err != nil {
		return 0, nil, err
	}
	if request.Name == "" {
		return 0, nil, unprocessable("validation error: name is required")
	}
	if request.HA != nil {
		if e.value.HA && !*request.HA {
			return 0, nil, unprocessable("validation error: a highly available control plane cannot be turned off")
		}
		e.value.HA = *request.HA
	}
	if request.ControlPlaneFirewall != nil {
		if err := checkFirewall(request.ControlPlaneFirewall); err != nil {
			return 0, nil, err
		}
		e.value.ControlPlaneFirewall = request.ControlPlaneFirewall
	}
	e.value.Name, e.value.SurgeUpgrade, e.value.UpdatedAt = request.Name, request.SurgeUpgrade, s.options.Now()
	if request.AutoUpgrade != nil {
		e.value.AutoUpgrade = *request.AutoUpgrade
	}
	if request.Tags != nil {
		e.value.Tags = append([]string{"k8s", "k8s:" + e.value.ID}, slices.DeleteFunc(request.Tags, func(tag string) bool { return tag == "k8s" || strings.HasPrefix(tag, "k8s:") })...)
	}
	if request.MaintenancePolicy != nil {
		e.value.MaintenancePolicy = request.MaintenancePolicy
		e.value.MaintenancePolicy.Duration = "4h0m0s"
	}
	if request.ClusterAutoscalerConfiguration != nil {
		e.value.ClusterAutoscalerConfiguration = request.ClusterAutoscalerConfiguration
	}
	return http.StatusAccepted, map[string]any{"kubernetes_cluster": seenCluster(e)}, nil
}

// lifetime is how long credentials are worth something: seven days unless asked for.
func lifetime(r *http.Request) (time.Duration, error) {
	text := r.URL.Query().Get("expiry_seconds")
	if text == "" {
		return 7 * 24 * time.Hour, nil
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 0 {
		return 0, unprocessable("expiry_seconds must be a number")
	}
	return time.Duration(seconds) * time.Second, nil
}

func (s *Server) credentials(r *http.Request, e *entry[godo.KubernetesCluster]) (int, any, error) {
	duration, err := lifetime(r)
	if err != nil {
		return 0, nil, err
	}
	if e.waiting > 0 && !e.upgrading {
		return 0, nil, conflict("cluster %s is not running", e.value.Name)
	}
	a := s.options.Access
	return http.StatusOK, godo.KubernetesClusterCredentials{Server: a.Server, CertificateAuthorityData: a.CA, ClientCertificateData: a.Certificate, ClientKeyData: a.CertificateKey,
		Token: a.Token, ExpiresAt: s.options.Now().Add(duration).UTC()}, nil
}

// rawText is an answer that is no JSON.
type rawText string

func (s *Server) kubeconfig(_ *http.Request, e *entry[godo.KubernetesCluster]) (int, any, error) {
	if e.waiting > 0 && !e.upgrading {
		return 0, nil, conflict("cluster %s is not running", e.value.Name)
	}
	a, name := s.options.Access, "do-"+e.value.RegionSlug+"-"+e.value.Name
	user := fmt.Sprintf("token: %q", a.Token)
	if len(a.Certificate) > 0 {
		user = fmt.Sprintf("client-certificate-data: %s, client-key-data: %s", base64.StdEncoding.EncodeToString(a.Certificate), base64.StdEncoding.EncodeToString(a.CertificateKey))
	}
	return http.StatusOK, rawText(fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: %[1]s
clusters:
- name: %[1]s
  cluster: {server: %[2]q, certificate-authority-data: %[3]s}
contexts:
- name: %[1]s
  context: {cluster: %[1]s, user: %[1]s-admin}
users:
- name: %[1]s-admin
  user: {%[4]s}
`, name, a.Server, base64.StdEncoding.EncodeToString(a.CA), user)), nil
}
