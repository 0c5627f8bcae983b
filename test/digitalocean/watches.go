package digitalocean

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/digitalocean/godo"
	"github.com/google/uuid"
)

// kindsOfAlerts are those that deploy/terraform asks for, and some more.
func kindsOfAlerts() []string {
	return []string{
		godo.DropletCPUUtilizationPercent, godo.DropletMemoryUtilizationPercent, godo.DropletDiskUtilizationPercent, godo.DropletFiveMinuteLoadAverage,
		godo.LoadBalancerCPUUtilizationPercent, godo.LoadBalancerConnectionUtilizationPercent, godo.LoadBalancerDropletHealth, godo.LoadBalancerTLSUtilizationPercent,
		godo.DbaasFifteenMinuteLoadAverage, godo.DbaasMemoryUtilizationPercent, godo.DbaasDiskUtilizationPercent, godo.DbaasCPUUtilizationPercent,
	}
}

// watches are alerts, and the keys of Spaces.
func (s *Server) watches() {
	answer := func(status int, p godo.AlertPolicy) (int, any, error) {
		return status, map[string]any{"policy": p}, nil
	}
	decode := func(r *http.Request) (godo.AlertPolicy, error) {
		request, err := read[godo.AlertPolicyCreateRequest](r)
		if err != nil {
			return godo.AlertPolicy{}, err
		}
		p := godo.AlertPolicy{Type: request.Type, Description: request.Description, Compare: request.Compare, Value: request.Value, Window: request.Window,
			Entities: request.Entities, Tags: request.Tags, Alerts: request.Alerts, Enabled: request.Enabled != nil && *request.Enabled}
		switch {
		case !slices.Contains(kindsOfAlerts(), p.Type):
			return p, unprocessable("type %q is invalid", p.Type)
		case p.Compare != godo.GreaterThan && p.Compare != godo.LessThan:
			return p, unprocessable("compare must be GreaterThan or LessThan")
		case !slices.Contains([]string{"5m", "10m", "30m", "1h"}, p.Window):
			return p, unprocessable("window must be 5m, 10m, 30m or 1h")
		case len(p.Alerts.Email)+len(p.Alerts.Slack) == 0:
			return p, unprocessable("alerts must say who is told")
		}
		return p, nil
	}
	s.route("POST /v2/monitoring/alerts", func(r *http.Request) (int, any, error) {
		p, err := decode(r)
		if err != nil {
			return 0, nil, err
		}
		p.UUID = uuid.NewString()
		return answer(http.StatusOK, s.alerts.add(p.UUID, p, 0).value)
	})
	s.route("GET /v2/monitoring/alerts", func(r *http.Request) (int, any, error) {
		return page(r, "policies", values(&s.alerts, plain))
	})
	s.route("GET /v2/monitoring/alerts/{id}", func(r *http.Request) (int, any, error) {
		e, err := s.alerts.poll(r.PathValue("id"))
		if err != nil {
			return 0, nil, err
		}
		return answer(http.StatusOK, e.value)
	})
	s.route("PUT /v2/monitoring/alerts/{id}", func(r *http.Request) (int, any, error) {
		e, err := s.alerts.poll(r.PathValue("id"))
		if err != nil {
			return 0, nil, err
		}
		p, err := decode(r)
		if err != nil {
			return 0, nil, err
		}
		p.UUID = e.value.UUID
		e.value = p
		return answer(http.StatusOK, p)
	})
	s.route("DELETE /v2/monitoring/alerts/{id}", func(r *http.Request) (int, any, error) {
		if _, err := s.alerts.poll(r.PathValue("id")); err != nil {
			return 0, nil, err
		}
		s.alerts.remove(r.PathValue("id"))
		return http.StatusNoContent, nil, nil
	})
	s.spacesKeys()
}

func (s *Server) spacesKeys() {
	check := func(name string, grants []*godo.Grant) error {
		if name == "" || len(grants) == 0 {
			return unprocessable("name and grants are required")
		}
		for _, grant := range grants {
			if !slices.Contains([]godo.SpacesKeyPermission{godo.SpacesKeyRead, godo.SpacesKeyReadWrite, godo.SpacesKeyFullAccess}, grant.Permission) {
				return unprocessable("permission %q is invalid", grant.Permission)
			}
			if (grant.Permission == godo.SpacesKeyFullAccess) != (grant.Bucket == "") {
				return unprocessable("fullaccess is for all buckets, and the others for one")
			}
		}
		return nil
	}
	// The secret is said once.
	quiet := func(e *entry[godo.SpacesKey]) godo.SpacesKey {
		key := e.value
		key.SecretKey = ""
		return key
	}
	s.route("POST /v2/spaces/keys", func(r *http.Request) (int, any, error) {
		request, err := read[godo.SpacesKeyCreateRequest](r)
		if err != nil {
			return 0, nil, err
		}
		if err := check(request.Name, request.Grants); err != nil {
			return 0, nil, err
		}
		id := "DO" + strings.ToUpper(rand.Text()[:18])
		e := s.keys.add(id, godo.SpacesKey{Name: request.Name, AccessKey: id, SecretKey: rand.Text(), Grants: request.Grants, CreatedAt: s.options.Now().UTC().Format(time.RFC3339)}, 0)
		return http.StatusCreated, map[string]any{"key": e.value}, nil
	})
	s.route("GET /v2/spaces/keys", func(r *http.Request) (int, any, error) { return page(r, "keys", values(&s.keys, quiet)) })
	s.route("GET /v2/spaces/keys/{id}", func(r *http.Request) (int, any, error) {
		e, err := s.keys.poll(r.PathValue("id"))
		if err != nil {
			return 0, nil, err
		}
		return http.StatusOK, map[string]any{"key": quiet(e)}, nil
	})
	s.route("PUT /v2/spaces/keys/{id}", func(r *http.Request) (int, any, error) {
		e, err := s.keys.poll(r.PathValue("id"))
		if err != nil {
			return 0, nil, err
		}
		request, err := read[godo.SpacesKeyUpdateRequest](r)
		if err != nil {
			return 0, nil, err
		}
		if err := check(request.Name, request.Grants); err != nil {
			return 0, nil, err
		}
		e.value.Name, e.value.Grants = request.Name, request.Grants
		return http.StatusOK, map[string]any{"key": quiet(e)}, nil
	})
	s.route("DELETE /v2/spaces/keys/{id}", func(r *http.Request) (int, any, error) {
		if _, err := s.keys.poll(r.PathValue("id")); err != nil {
			return 0, nil, err
		}
		s.keys.remove(r.PathValue("id"))
		return http.StatusNoContent, nil, nil
	})
}
