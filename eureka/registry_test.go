package eureka

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newTestInstance is an instance of the application ABC.
func newTestInstance(id string, leaseSeconds int) Instance {
	in := newInstance()
	in.InstanceID, in.HostName, in.App, in.IPAddr = id, "h", "ABC", "10.0.0.1"
	in.DataCenterInfo = &DataCenterInfo{Name: "MyOwn"}
	in.LeaseInfo = &LeaseInfo{DurationInSecs: leaseSeconds}
	in.normalize()
	return in
}

// running returns a server that evicts until the test ends. It must be called in
// a bubble.
func running(t *testing.T, settings Settings) *Server {
	t.Helper()
	s := NewServer(settings, time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return s
}

func count(s *Server) int {
	sum := 0
	for _, statuses := range s.Instances() {
		for _, n := range statuses {
			sum += n
		}
	}
	return sum
}

func TestLeaseRunsOut(t *testing.T) {
	t.Parallel()
	settings := Settings{EvictionIntervalTimerInMs: 1000}
	for _, test := range []struct {
		name   string
		renew  bool
		lasts  time.Duration // after the registration
		isGone time.Duration
	}{
		{"never renewed", false, 1500 * time.Millisecond, 4500 * time.Millisecond},
		{"renewed once", true, 4500 * time.Millisecond, 6500 * time.Millisecond}, // twice the duration, after 1 s
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := running(t, settings)
				s.registry.register(newTestInstance("i", 2), false)
				time.Sleep(time.Second)
				if test.renew {
					if got, _ := s.registry.renew(key{"ABC", "i"}, heartbeat{}); got != renewed {
						t.Fatalf("renew() = %v, want %v", got, renewed)
					}
				}
				time.Sleep(test.lasts - time.Second)
				if got := count(s); got != 1 {
					t.Errorf("%v after registration: %d instances, want 1", test.lasts, got)
				}
				time.Sleep(test.isGone - test.lasts)
				if got := count(s); got != 0 {
					t.Errorf("%v after registration: %d instances, want 0", test.isGone, got)
				}
				delta := s.registry.delta()
				if len(delta.Applications) != 1 || delta.Applications[0].Instances[0].ActionType != ActionDeleted {
					t.Errorf("delta() = %+v, want the instance DELETED", delta)
				}
			})
		})
	}
}

func TestExpiredIsNotFoundBeforeEviction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(Settings{}.withDefaults(), time.Now)
		r.register(newTestInstance("i", 2), false)
		if _, ok := r.instance(key{"ABC", "i"}); !ok {
			t.Error("instance() = false, want true")
		}
		time.Sleep(2*time.Second + 1)
		if _, ok := r.instance(key{"ABC", "i"}); ok {
			t.Error("instance() with an expired lease = true, want false")
		}
	})
}

// Ten silent instances of which a run may take 10 - floor(8.5) = 2.
func TestEvictionIsLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		settings := DefaultSettings()
		settings.EnableSelfPreservation = false
		s := running(t, settings)
		for i := range 10 {
			s.registry.register(newTestInstance(fmt.Sprint(i), 2), false)
		}
		var got []int
		for range 4 {
			time.Sleep(time.Minute)
			synctest.Wait()
			got = append(got, count(s))
		}
		if diff := cmp.Diff([]int{8, 6, 5, 4}, got); diff != "" {
			t.Errorf("instances after each eviction (-want +got):\n%s", diff)
		}
	})
}

func TestSelfPreservation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := running(t, DefaultSettings())
		const instances = 10
		for i := range instances {
			s.registry.register(newTestInstance(fmt.Sprint(i), 90), false)
		}
		// 11 clients expected, each twice a minute, of which 85 %.
		if got := s.registry.health().Threshold; got != 18 {
			t.Errorf("Threshold = %d, want 18", got)
		}
		heartbeats := func(silent int) {
			for i := silent; i < instances; i++ {
				s.registry.renew(key{"ABC", fmt.Sprint(i)}, heartbeat{})
			}
			time.Sleep(30 * time.Second)
		}
		for range 14 {
			heartbeats(0)
		}
		if got := s.registry.health(); !got.Expiration || got.Renewals != 20 {
			t.Errorf("health() = %+v, want 20 renewals and leases that expire", got)
		}
		// Nine out of ten are silent: not a single one is evicted.
		for range 20 {
			heartbeats(9)
		}
		if got := count(s); got != instances {
			t.Errorf("%d instances in self-preservation, want %d", got, instances)
		}
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		if !strings.Contains(rec.Body.String(), "EMERGENCY!") {
			t.Error("the dashboard has no EMERGENCY banner in self-preservation")
		}
	})
}

func TestEvictionForgivesPauses(t *testing.T) {
	t.Parallel()
	now := epoch
	settings := DefaultSettings()
	settings.EnableSelfPreservation = false
	r := newRegistry(settings, func() time.Time { return now })
	r.register(newTestInstance("i", 90), false)
	r.evict()
	now = now.Add(3 * time.Minute) // two more than between evictions
	if got := r.evict(); len(got) != 0 {
		t.Errorf("evict() after a pause = %v, want none", got)
	}
	now = now.Add(time.Minute)
	if got := r.evict(); len(got) != 1 {
		t.Errorf("evict() a minute later = %v, want the instance", got)
	}
}

func TestExpectedClientsAreCountedAnew(t *testing.T) {
	t.Parallel()
	now := epoch
	r := newRegistry(DefaultSettings(), func() time.Time { return now })
	for i := range 20 {
		r.register(newTestInstance(fmt.Sprint(i), 90), false)
	}
	if r.expected != 21 {
		t.Errorf("expected = %d after 20 registrations, want 21", r.expected)
	}
	now = now.Add(thresholdInterval)
	r.evict()
	if r.expected != 20 {
		t.Errorf("expected = %d a quarter of an hour later, want 20", r.expected)
	}
	for i := range 5 {
		r.cancel(key{"ABC", fmt.Sprint(i)})
	}
	if r.expected != 15 {
		t.Errorf("expected = %d after 5 cancellations, want 15", r.expected)
	}
}

func TestDeltaForgets(t *testing.T) {
	t.Parallel()
	now := epoch
	r := newRegistry(DefaultSettings(), func() time.Time { return now })
	r.register(newTestInstance("i", 90), false)
	now = now.Add(180 * time.Second)
	if got := r.delta(); len(got.Applications) != 1 || got.Version != "1" {
		t.Errorf("delta() = %+v, want the instance and version 1", got)
	}
	now = now.Add(time.Millisecond)
	got := r.delta()
	want := Applications{Version: "2", Hash: "UP_1_", Applications: []Application{}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("delta() after the retention time (-want +got):\n%s", diff)
	}
}

// A client that re-registers OUT_OF_SERVICE over a lease that is UP stays UP
// (com.netflix.eureka.registry.rule.LeaseExistsRule); a peer's word counts.
func TestLeaseKeepsStatus(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		replication bool
		want        Status
	}{{false, StatusUp}, {true, StatusOutOfService}} {
		r := newRegistry(DefaultSettings(), time.Now)
		r.register(newTestInstance("i", 90), false)
		in := newTestInstance("i", 90)
		in.Status = StatusOutOfService
		r.register(in, test.replication)
		if got, _ := r.instance(key{"ABC", "i"}); got.Status != test.want {
			t.Errorf("status with replication %t = %v, want %v", test.replication, got.Status, test.want)
		}
	}
}

func TestRecentLeasesAreBounded(t *testing.T) {
	t.Parallel()
	r := newRegistry(DefaultSettings(), time.Now)
	for i := range recentLeases + 10 {
		r.register(newTestInstance(fmt.Sprint(i), 90), false)
	}
	_, registered := r.recent()
	if len(registered) != recentLeases || registered[0].id != "1009" {
		t.Errorf("recent() = %d leases from %v, want %d from ABC(1009)", len(registered), registered[0], recentLeases)
	}
}
