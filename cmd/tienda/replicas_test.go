package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"tienda/api"
	"tienda/load"
	"tienda/sqldb/sqldbtest"
)

// TestReplicasOfEverything: two and three replicas of every service take the same orders. Each has a part
// in the work, no step of a checkout is taken twice, and customers and books agree on what came of it.
// Replicas share a database server, so this is for MySQL.
func TestReplicasOfEverything(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		if engine == "sqlite" {
			continue
		}
		for _, n := range []int{2, 3} {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				environ := schemasFor(t)
				s := startWith(t, t.TempDir(), environ)
				replicas := map[string][]*system{}
				for _, service := range append(businessServices(), "proxy-client") {
					replicas[service] = []*system{s}
					for range n - 1 {
						replicas[service] = append(replicas[service], s.replica(service, environ))
					}
				}
				s.buyFrom(replicas, environ)
			})
		}
	}
}

// buyFrom has customers buy, and compares what the replicas did with what was bought.
func (s *system) buyFrom(replicas map[string][]*system, environ environment) {
	s.tb.Helper()
	mix, err := load.ParseMix("checkout,track=100,replay=20,async=20,ship=20,slow=2,duplicate-webhook=10")
	if err != nil {
		s.tb.Fatal(err)
	}
	result, err := load.Run(s.tb.Context(), load.Options{Target: s.url("api-gateway", ""), Users: 12, Checkouts: 150, Mix: mix, Seed: 1,
		Admin: load.Credentials{Username: "admin", Password: "0000"}})
	if err != nil {
		s.tb.Fatal(err)
	}
	found, err := result.Verify(s.tb.Context())
	if err != nil || found.Violations > 0 {
		var text strings.Builder
		_ = found.Print(&text) // into memory
		s.tb.Errorf("verify: %v\n%s", err, &text)
	}
	var report lockedBuffer
	if err := Run(s.tb.Context(), []string{"audit"}, environ, terminal{&report, &report}); err != nil {
		s.tb.Errorf("%v\n%s", err, &report)
	}
	admin := s.login("admin", "0000")
	for range 20 { // what customers do without
		s.call(http.StatusOK, request{method: "GET", path: "/favourite-service/api/favourites", token: admin})
	}
	for service, instances := range replicas {
		for i, replica := range instances {
			if replica.metric(service, "http_server_requests_seconds_count", "/api/") == 0 {
				s.tb.Errorf("replica %d of %s was asked for nothing", i, service)
			}
		}
	}
	// No card is refused and nobody cancels: an order that stands went through all of the way forward, once,
	// and one that does not found no stock.
	var standing int64
	for _, status := range []string{api.OrderConfirmed, api.OrderShipped, api.OrderDelivered} {
		var list api.List[api.Order]
		s.call(http.StatusOK, request{method: "GET", path: "/order-service/api/orders?page=0&size=1&status=" + status, token: admin}).decode(s.tb, &list)
		standing += list.Page.TotalElements
	}
	if standing < 100 {
		s.tb.Fatalf("%d orders stand after %v", standing, result.Outcomes)
	}
	for _, step := range []string{"reserve", "authorize", "capture", "commit", "ship"} {
		var taken int64
		for _, replica := range replicas["order-service"] {
			taken += replica.metric("order-service", "saga_steps_total", `outcome="done"`, `step="`+step+`"`)
		}
		if taken != standing {
			s.tb.Errorf("step %s was taken %d times for %d orders (%v)", step, taken, standing, result.Outcomes)
		}
	}
}

// metric sums the series of a metric whose labels hold all of some texts.
func (s *system) metric(component, name string, labels ...string) (sum int64) {
	s.tb.Helper()
	metrics := s.call(http.StatusOK, request{component: component, method: "GET", path: "/metrics"})
	for line := range strings.Lines(string(metrics.body)) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if !strings.HasPrefix(series, name+"{") {
			continue
		}
		wanted := true
		for _, label := range labels {
			wanted = wanted && strings.Contains(series, label)
		}
		if !wanted {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			s.tb.Fatalf("metric %s: %v", line, err)
		}
		sum += int64(n)
	}
	return sum
}
