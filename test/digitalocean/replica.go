package digitalocean

import (
	"net/http"
	"slices"

	"github.com/digitalocean/godo"
	"github.com/google/uuid"
)

// replica is a server that a database is read from, and how often it is asked for until it is ready.
type replica struct {
	godo.DatabaseReplica

	waiting int
}

func seenReplica(r *replica) godo.DatabaseReplica {
	seen := r.DatabaseReplica
	seen.Status = "active"
	if r.waiting > 0 {
		seen.Status = "forking"
	}
	return seen
}

// replicas are made beside a database that is online, one name each, and go with it.
func (s *Server) replicas() {
	s.base("GET", "/replicas", func(r *http.Request, e *entry[database]) (int, any, error) {
		all := []godo.DatabaseReplica{}
		for _, r := range e.value.replicas {
			all = append(all, seenReplica(r))
		}
		return page(r, "replicas", all)
	})
	s.base("POST", "/replicas", func(r *http.Request, e *entry[database]) (int, any, error) {
		request, err := read[godo.DatabaseCreateReplicaRequest](r)
		if err != nil {
			return 0, nil, err
		}
		switch {
		case e.waiting > 0:
			return 0, nil, unprocessable("cluster %s is not online", e.value.Name)
		case !nameOfCluster.MatchString(request.Name):
			return 0, nil, unprocessable("invalid replica name")
		case slices.ContainsFunc(e.value.replicas, func(other *replica) bool { return other.Name == request.Name }):
			return 0, nil, conflict("replica name is not available")
		}
		if err := checkServers(request.Size, 1); err != nil {
			return 0, nil, err
		}
		if err := knownRegion(request.Region); err != nil {
			return 0, nil, err
		}
		connection := *e.value.Connection
		connection.Host = request.Name + "-" + connection.Host
		made := &replica{waiting: s.options.Polls, DatabaseReplica: godo.DatabaseReplica{ID: uuid.NewString(), Name: request.Name, Region: request.Region, Size: request.Size, Tags: request.Tags,
			PrivateNetworkUUID: request.PrivateNetworkUUID, Connection: &connection, StorageSizeMib: e.value.StorageSizeMib, CreatedAt: s.options.Now()}}
		e.value.replicas = append(e.value.replicas, made)
		return http.StatusCreated, map[string]any{"replica": seenReplica(made)}, nil
	})
	one := func(method string, h func(*entry[database], int) (int, any, error)) {
		s.base(method, "/replicas/{name}", func(r *http.Request, e *entry[database]) (int, any, error) {
			i := slices.IndexFunc(e.value.replicas, func(other *replica) bool { return other.Name == r.PathValue("name") })
			if i < 0 {
				return 0, nil, notFound()
			}
			return h(e, i)
		})
	}
	one("GET", func(e *entry[database], i int) (int, any, error) {
		found := e.value.replicas[i]
		seen := seenReplica(found)
		found.waiting = max(0, found.waiting-1)
		return http.StatusOK, map[string]any{"replica": seen}, nil
	})
	one("DELETE", func(e *entry[database], i int) (int, any, error) {
		e.value.replicas = slices.Delete(e.value.replicas, i, i+1)
		return http.StatusNoContent, nil, nil
	})
}
