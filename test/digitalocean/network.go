package digitalocean

import (
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"time"

	"github.com/digitalocean/godo"
	"github.com/google/uuid"
)

var nameOfVPC = regexp.MustCompile(`^[a-zA-Z0-9.-]{1,255}$`)

// networks are VPCs and load balancers.
func (s *Server) networks() {
	answer := func(status int, v godo.VPC) (int, any, error) { return status, map[string]any{"vpc": v}, nil }
	s.route("POST /v2/vpcs", func(r *http.Request) (int, any, error) {
		request, err := read[godo.VPCCreateRequest](r)
		if err != nil {
			return 0, nil, err
		}
		if err := s.checkVPC(request); err != nil {
			return 0, nil, err
		}
		id := uuid.NewString()
		return answer(http.StatusCreated, s.vpcs.add(id, godo.VPC{ID: id, URN: "do:vpc:" + id, Name: request.Name, Description: request.Description,
			IPRange: request.IPRange, RegionSlug: request.RegionSlug, CreatedAt: s.options.Now()}, 0).value)
	})
	s.route("GET /v2/vpcs", func(r *http.Request) (int, any, error) { return page(r, "vpcs", values(&s.vpcs, plain)) })
	s.route("GET /v2/vpcs/{id}", func(r *http.Request) (int, any, error) {
		e, err := s.vpcs.poll(r.PathValue("id"))
		if err != nil {
			return 0, nil, err
		}
		return answer(http.StatusOK, e.value)
	})
	s.route("PUT /v2/vpcs/{id}", func(r *http.Request) (int, any, error) {
		e, err := s.vpcs.poll(r.PathValue("id"))
		if err != nil {
			return 0, nil, err
		}
		request, err := read[godo.VPCUpdateRequest](r)
		if err != nil {
			return 0, nil, err
		}
		if !nameOfVPC.MatchString(request.Name) {
			return 0, nil, unprocessable("name may only contain alphanumeric characters, dashes, and periods")
		}
		e.value.Name, e.value.Description = request.Name, request.Description
		return answer(http.StatusOK, e.value)
	})
	s.route("DELETE /v2/vpcs/{id}", func(r *http.Request) (int, any, error) {
		id := r.PathValue("id")
		if _, err := s.vpcs.poll(id); err != nil {
			return 0, nil, err
		}
		if members := s.members(id); members > 0 {
			return 0, nil, &problem{status: http.StatusForbidden, ID: "forbidden", Message: "Can not delete VPC with members"}
		}
		s.vpcs.remove(id)
		return http.StatusNoContent, nil, nil
	})
	s.balancers()
}

func (s *Server) checkVPC(request godo.VPCCreateRequest) error {
	if !nameOfVPC.MatchString(request.Name) {
		return unprocessable("name may only contain alphanumeric characters, dashes, and periods")
	}
	if err := knownRegion(request.RegionSlug); err != nil {
		return err
	}
	network, err := netip.ParsePrefix(request.IPRange)
	if err != nil || network != network.Masked() || !network.Addr().IsPrivate() || network.Bits() < 16 || network.Bits() > 28 {
		return unprocessable("ip_range must be a private network between /16 and /28")
	}
	for _, other := range s.vpcs.all() {
		if other.value.Name == request.Name {
			return unprocessable("a VPC with the name %s exists", request.Name)
		}
		if netip.MustParsePrefix(other.value.IPRange).Overlaps(network) {
			return unprocessable("This range/size overlaps with another VPC network in your account: %s. Please choose a different range/size.", other.value.Name)
		}
	}
	return nil
}

// members are what is in a network, which is also looked at: what is leaving goes at last.
func (s *Server) members(vpc string) int {
	count := 0
	for _, e := range s.clusters.all() {
		if e.value.VPCUUID == vpc {
			if _, err := s.clusters.poll(e.value.ID); err == nil {
				count++
			}
		}
	}
	for _, e := range s.bases.all() {
		if e.value.PrivateNetworkUUID == vpc {
			count++
		}
	}
	for _, e := range s.balancer.all() {
		if e.value.VPCUUID == vpc {
			count++
		}
	}
	return count
}

func (s *Server) balancers() {
	seen := func(e *entry[godo.LoadBalancer]) godo.LoadBalancer {
		b := e.value
		b.Status = "active"
		if e.waiting > 0 {
			b.Status, b.IP = "new", ""
		}
		return b
	}
	// asked is what a request makes of a load balancer; an update says all of it, as a creation does.
	asked := func(r *http.Request, id string) (godo.LoadBalancer, error) {
		request, err := read[godo.LoadBalancerRequest](r)
		if err == nil {
			err = s.checkBalancer(request, id)
		}
		return godo.LoadBalancer{Name: request.Name, SizeUnit: max(1, request.SizeUnit), Type: request.Type, ForwardingRules: request.ForwardingRules, HealthCheck: request.HealthCheck,
			Region: &godo.Region{Slug: request.Region}, Tag: request.Tag, VPCUUID: request.VPCUUID, EnableProxyProtocol: request.EnableProxyProtocol}, err
	}
	s.route("POST /v2/load_balancers", func(r *http.Request) (int, any, error) {
		id := uuid.NewString()
		b, err := asked(r, id)
		if err != nil {
			return 0, nil, err
		}
		b.ID, b.IP, b.Created = id, fmt.Sprintf("203.0.113.%d", len(s.balancer.ids)+7), s.options.Now().UTC().Format(time.RFC3339)
		return http.StatusAccepted, map[string]any{"load_balancer": seen(s.balancer.add(id, b, s.options.Polls))}, nil
	})
	s.route("PUT /v2/load_balancers/{id}", func(r *http.Request) (int, any, error) {
		e, err := s.balancer.poll(r.PathValue("id"))
		if err != nil {
			return 0, nil, err
		}
		b, err := asked(r, e.value.ID)
		if err != nil {
			return 0, nil, err
		}
		if b.Region.Slug != e.value.Region.Slug {
			return 0, nil, unprocessable("region of a load balancer cannot be changed")
		}
		b.ID, b.IP, b.Created = e.value.ID, e.value.IP, e.value.Created
		e.value = b
		return http.StatusOK, map[string]any{"load_balancer": seen(e)}, nil
	})
	s.route("GET /v2/load_balancers", func(r *http.Request) (int, any, error) {
		return page(r, "load_balancers", values(&s.balancer, seen))
	})
	s.route("GET /v2/load_balancers/{id}", func(r *http.Request) (int, any, error) {
		e, err := s.balancer.poll(r.PathValue("id"))
		if err != nil {
			return 0, nil, err
		}
		return http.StatusOK, map[string]any{"load_balancer": seen(e)}, nil
	})
	s.route("DELETE /v2/load_balancers/{id}", func(r *http.Request) (int, any, error) {
		if _, err := s.balancer.poll(r.PathValue("id")); err != nil {
			return 0, nil, err
		}
		s.balancer.remove(r.PathValue("id"))
		return http.StatusNoContent, nil, nil
	})
}

// checkBalancer is whether a load balancer, new or known by its id, can be as it is asked for.
func (s *Server) checkBalancer(request godo.LoadBalancerRequest, id string) error {
	if err := knownRegion(request.Region); err != nil {
		return err
	}
	if request.Name == "" || len(request.ForwardingRules) == 0 {
		return unprocessable("name and forwarding_rules are required")
	}
	if request.SizeSlug != "" && request.SizeUnit != 0 {
		return unprocessable("size and size_unit are mutually exclusive")
	}
	for _, other := range s.balancer.all() {
		if other.value.Name == request.Name && other.value.ID != id {
			return unprocessable("load balancer name must be unique")
		}
	}
	return nil
}
