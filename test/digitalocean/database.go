package digitalocean

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"net/http"
	"regexp"
	"slices"

	"github.com/digitalocean/godo"
	"github.com/google/uuid"
)

// database is a cluster of servers and who is let in.
type database struct {
	godo.Database

	rules     []*godo.DatabaseFirewallRule
	replicas  []*replica
	authority []byte // in PEM
}

func seenDatabase(e *entry[database]) database {
	d := e.value
	d.Status = "online"
	if e.waiting > 0 {
		d.Status = "creating"
	}
	return d
}

// base adds a route below a database.
func (s *Server) base(method, path string, h func(*http.Request, *entry[database]) (int, any, error)) {
	s.route(method+" /v2/databases/{id}"+path, func(r *http.Request) (int, any, error) {
		e, err := s.bases.poll(r.PathValue("id"))
		if err != nil {
			return 0, nil, err
		}
		return h(r, e)
	})
}

func (s *Server) databases() {
	s.route("POST /v2/databases", s.createDatabase)
	s.route("GET /v2/databases", func(r *http.Request) (int, any, error) {
		return page(r, "databases", values(&s.bases, seenDatabase))
	})
	s.base("GET", "", func(_ *http.Request, e *entry[database]) (int, any, error) {
		return http.StatusOK, map[string]any{"database": seenDatabase(e)}, nil
	})
	s.base("DELETE", "", func(r *http.Request, _ *entry[database]) (int, any, error) {
		s.bases.remove(r.PathValue("id"))
		return http.StatusNoContent, nil, nil
	})
	s.base("PUT", "/resize", func(r *http.Request, e *entry[database]) (int, any, error) {
		request, err := read[godo.DatabaseResizeRequest](r)
		if err != nil {
			return 0, nil, err
		}
		if err := checkServers(request.SizeSlug, request.NumNodes); err != nil {
			return 0, nil, err
		}
		e.value.SizeSlug, e.value.NumNodes, e.waiting = request.SizeSlug, request.NumNodes, s.options.Polls
		return http.StatusAccepted, nil, nil
	})
	s.base("PUT", "/maintenance", func(r *http.Request, e *entry[database]) (int, any, error) {
		request, err := read[godo.DatabaseUpdateMaintenanceRequest](r)
		if err != nil {
			return 0, nil, err
		}
		e.value.MaintenanceWindow = &godo.DatabaseMaintenanceWindow{Day: request.Day, Hour: request.Hour}
		return http.StatusNoContent, nil, nil
	})
	s.base("GET", "/autoscale", func(_ *http.Request, e *entry[database]) (int, any, error) {
		return http.StatusOK, autoscale{Storage: cmp.Or(e.value.StorageAutoscale, new(godo.DatabaseStorageAutoscale))}, nil
	})
	s.base("PUT", "/autoscale", func(r *http.Request, e *entry[database]) (int, any, error) {
		request, err := read[autoscale](r)
		if err != nil {
			return 0, nil, err
		}
		if err := checkGrowth(request.Storage); err != nil {
			return 0, nil, err
		}
		e.value.StorageAutoscale = request.Storage
		return http.StatusNoContent, nil, nil
	})
	s.base("GET", "/firewall", func(_ *http.Request, e *entry[database]) (int, any, error) {
		return http.StatusOK, map[string]any{"rules": e.value.rules}, nil
	})
	s.base("PUT", "/firewall", s.updateFirewall)
	s.schemas()
	s.accounts()
	s.replicas()
	s.authorities()
}

// autoscale is how the disks of a database grow by themselves.
type autoscale struct {
	Storage *godo.DatabaseStorageAutoscale `json:"storage"`
}

// checkGrowth is whether disks can grow like that: from 15 to 95 % on, by 10 to 500 GiB.
func checkGrowth(growth *godo.DatabaseStorageAutoscale) error {
	switch {
	case growth == nil:
		return unprocessable("storage is required")
	case growth.ThresholdPercent != nil && (*growth.ThresholdPercent < 15 || *growth.ThresholdPercent > 95):
		return unprocessable("threshold_percent must be 15 to 95")
	case growth.IncrementGib != nil && (*growth.IncrementGib < 10 || *growth.IncrementGib > 500):
		return unprocessable("increment_gib must be 10 to 500")
	}
	return nil
}

var sizeOfDatabase = regexp.MustCompile(`^db-s-[0-9]+vcpu-([0-9]+)gb$`)

func checkServers(size string, nodes int) error {
	match := sizeOfDatabase.FindStringSubmatch(size)
	if match == nil {
		return unprocessable("invalid size")
	}
	if nodes < 1 || nodes > 3 {
		return unprocessable("num_nodes must be 1 to 3")
	}
	if nodes > 1 && match[1] == "1" {
		return unprocessable("standby nodes need a size of at least 2 GB")
	}
	return nil
}

func (s *Server) createDatabase(r *http.Request) (int, any, error) {
	request, err := read[godo.DatabaseCreateRequest](r)
	if err != nil {
		return 0, nil, err
	}
	if !nameOfCluster.MatchString(request.Name) {
		return 0, nil, unprocessable("invalid cluster name")
	}
	if slices.ContainsFunc(s.bases.all(), func(e *entry[database]) bool { return e.value.Name == request.Name }) {
		return 0, nil, conflict("cluster name is not available")
	}
	if request.EngineSlug != "mysql" {
		return 0, nil, unprocessable("the emulator has mysql only")
	}
	if err := checkServers(request.SizeSlug, request.NumNodes); err != nil {
		return 0, nil, err
	}
	if request.StorageAutoscale != nil {
		if err := checkGrowth(request.StorageAutoscale); err != nil {
			return 0, nil, err
		}
	}
	if err := knownRegion(request.Region); err != nil {
		return 0, nil, err
	}
	vpc, ok := s.vpcs.items[request.PrivateNetworkUUID]
	if !ok || vpc.value.RegionSlug != request.Region {
		return 0, nil, unprocessable("private_network_uuid is not a VPC of the region")
	}
	id, password := uuid.NewString(), rand.Text()
	connection := func(prefix string) *godo.DatabaseConnection {
		host := fmt.Sprintf("%s%s-do-user-1-0.db.example.com", prefix, request.Name)
		return &godo.DatabaseConnection{Protocol: "mysql", Host: host, Port: 25060, User: "doadmin", Password: password, Database: "defaultdb", SSL: true,
			URI: fmt.Sprintf("mysql://doadmin:%s@%s:25060/defaultdb?ssl-mode=REQUIRED", password, host)}
	}
	authority, err := newAuthority(id+" Project CA", s.options.Now())
	if err != nil {
		return 0, nil, err
	}
	e := s.bases.add(id, database{authority: authority, Database: godo.Database{ID: id, Name: request.Name, EngineSlug: "mysql", VersionSlug: request.Version, NumNodes: request.NumNodes, SizeSlug: request.SizeSlug,
		RegionSlug: request.Region, Connection: connection(""), PrivateConnection: connection("private-"), PrivateNetworkUUID: request.PrivateNetworkUUID, Tags: request.Tags, CreatedAt: s.options.Now(),
		DBNames: []string{"defaultdb"}, Users: []godo.DatabaseUser{{Name: "doadmin", Role: "primary", Password: password}}, ProjectID: uuid.NewString(), StorageSizeMib: 30720,
		StorageAutoscale: request.StorageAutoscale, MetricsEndpoints: []*godo.ServiceAddress{{Host: connection("").Host, Port: 9273}},
		MaintenanceWindow: &godo.DatabaseMaintenanceWindow{Day: "monday", Hour: "13:00:00"}}}, s.options.Polls)
	return http.StatusCreated, map[string]any{"database": seenDatabase(e)}, nil
}

func (s *Server) updateFirewall(r *http.Request, e *entry[database]) (int, any, error) {
	request, err := read[godo.DatabaseUpdateFirewallRulesRequest](r)
	if err != nil {
		return 0, nil, err
	}
	for _, rule := range request.Rules {
		switch {
		case !slices.Contains([]string{"droplet", "k8s", "ip_addr", "tag", "app"}, rule.Type):
			return 0, nil, unprocessable("invalid type of rule %q", rule.Type)
		case rule.Type == "k8s" && s.clusters.items[rule.Value] == nil:
			return 0, nil, unprocessable("there is no cluster %s", rule.Value)
		}
		rule.UUID, rule.ClusterUUID, rule.CreatedAt = uuid.NewString(), e.value.ID, s.options.Now()
	}
	e.value.rules = request.Rules
	return http.StatusNoContent, nil, nil
}

func (s *Server) schemas() {
	s.base("GET", "/dbs", func(r *http.Request, e *entry[database]) (int, any, error) {
		all := []godo.DatabaseDB{}
		for _, name := range e.value.DBNames {
			all = append(all, godo.DatabaseDB{Name: name})
		}
		return page(r, "dbs", all)
	})
	s.base("POST", "/dbs", func(r *http.Request, e *entry[database]) (int, any, error) {
		request, err := read[godo.DatabaseCreateDBRequest](r)
		if err != nil {
			return 0, nil, err
		}
		if slices.Contains(e.value.DBNames, request.Name) {
			return 0, nil, conflict("database name is not available")
		}
		e.value.DBNames = append(e.value.DBNames, request.Name)
		return http.StatusCreated, map[string]any{"db": godo.DatabaseDB(request)}, nil
	})
	s.base("GET", "/dbs/{name}", func(r *http.Request, e *entry[database]) (int, any, error) {
		if !slices.Contains(e.value.DBNames, r.PathValue("name")) {
			return 0, nil, notFound()
		}
		return http.StatusOK, map[string]any{"db": godo.DatabaseDB{Name: r.PathValue("name")}}, nil
	})
	s.base("DELETE", "/dbs/{name}", func(r *http.Request, e *entry[database]) (int, any, error) {
		i := slices.Index(e.value.DBNames, r.PathValue("name"))
		if i < 0 {
			return 0, nil, notFound()
		}
		e.value.DBNames = slices.Delete(e.value.DBNames, i, i+1)
		return http.StatusNoContent, nil, nil
	})
}

func (s *Server) accounts() {
	find := func(e *entry[database], name string) int {
		return slices.IndexFunc(e.value.Users, func(u godo.DatabaseUser) bool { return u.Name == name })
	}
	s.base("GET", "/users", func(r *http.Request, e *entry[database]) (int, any, error) { return page(r, "users", e.value.Users) })
	s.base("POST", "/users", func(r *http.Request, e *entry[database]) (int, any, error) {
		request, err := read[godo.DatabaseCreateUserRequest](r)
		if err != nil {
			return 0, nil, err
		}
		if find(e, request.Name) >= 0 {
			return 0, nil, conflict("user name is not available")
		}
		user := godo.DatabaseUser{Name: request.Name, Role: "normal", Password: rand.Text(), MySQLSettings: request.MySQLSettings}
		e.value.Users = append(e.value.Users, user)
		return http.StatusCreated, map[string]any{"user": user}, nil
	})
	s.base("GET", "/users/{name}", func(r *http.Request, e *entry[database]) (int, any, error) {
		i := find(e, r.PathValue("name"))
		if i < 0 {
			return 0, nil, notFound()
		}
		return http.StatusOK, map[string]any{"user": e.value.Users[i]}, nil
	})
	s.base("DELETE", "/users/{name}", func(r *http.Request, e *entry[database]) (int, any, error) {
		i := find(e, r.PathValue("name"))
		if i < 0 {
			return 0, nil, notFound()
		}
		e.value.Users = slices.Delete(e.value.Users, i, i+1)
		return http.StatusNoContent, nil, nil
	})
}
