package eureka

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A wire hands the requests of a client to the handler that is plugged in, and
// counts them by method. Without one it is as if the registry were down.
type wire struct {
	mu      sync.Mutex
	handler http.Handler
	counts  map[string]int
}

func newWire(h http.Handler) *wire { return &wire{handler: h, counts: make(map[string]int)} }

func (w *wire) plug(h http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handler = h
}

// count returns the number of requests since the last time it was asked.
func (w *wire) count(method string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.counts[method]
	w.counts[method] = 0
	return n
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	h := w.handler
	w.counts[r.Method]++
	w.mu.Unlock()
	if h == nil {
		return nil, errors.New("connection refused")
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

func (w *wire) client() *Client {
	return NewClient([]string{"http://registry/eureka/"}, &http.Client{Transport: w}, slog.New(slog.DiscardHandler))
}

// run runs the client until the returned function is called.
func run(t *testing.T, c *Client, reg *Registration, interval time.Duration) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx, reg, interval); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func addrs(instances []Instance) string {
	var list []string
	for _, in := range instances {
		list = append(list, in.Addr())
	}
	return strings.Join(list, " ")
}

func order() *Registration {
	return &Registration{App: "order-service", IPAddr: "10.0.0.1", Port: 8300, Metadata: map[string]string{"zone": "fra1"}}
}

func TestClientKeepsItsLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		settings := DefaultSettings()
		settings.EnableSelfPreservation = false
		s := running(t, settings)
		w := newWire(s)
		c := w.client()
		stop := run(t, c, order(), 30*time.Second)
		synctest.Wait()
		if !c.Registered() {
			t.Fatal("Registered() = false, want true")
		}
		time.Sleep(10*time.Minute + time.Second)
		if posts, puts := w.count(http.MethodPost), w.count(http.MethodPut); posts != 1 || puts != 20 {
			t.Errorf("%d registrations and %d heartbeats in ten minutes, want 1 and 20", posts, puts)
		}
		for _, name := range []string{"order-service", "ORDER-SERVICE"} {
			if got := addrs(c.Instances(t.Context(), name)); got != "10.0.0.1:8300" {
				t.Errorf("Instances(%q) = %q, want 10.0.0.1:8300", name, got)
			}
		}
		in, ok := s.registry.instance(key{"ORDER-SERVICE", "10.0.0.1:order-service:8300"})
		if !ok || in.Metadata["zone"] != "fra1" || in.VIPAddress != "order-service" {
			t.Errorf("instance() = %+v, %t, want zone fra1 and vip order-service", in, ok)
		}
		stop()
		if got := count(s); got != 0 || c.Registered() {
			t.Errorf("after Run: %d instances, Registered() = %t; want 0, false", got, c.Registered())
		}
	})
}

func TestClientWaitsForTheRegistry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWire(nil)
		c := w.client()
		run(t, c, order(), 30*time.Second)
		start := time.Now()
		if got := c.Instances(t.Context(), "order-service"); got != nil || time.Since(start) > missTimeout {
			t.Errorf("Instances() = %v after %v, want none within %v", got, time.Since(start), missTimeout)
		}
		time.Sleep(time.Minute)
		if got := w.count(http.MethodPost); got < 12 || got > 40 {
			t.Errorf("%d attempts to register in a minute, want some 20", got)
		}
		w.plug(NewServer(DefaultSettings(), time.Now))
		time.Sleep(maxRetry)
		if !c.Registered() {
			t.Errorf("Registered() %v after the registry appeared = false, want true", maxRetry)
		}
		if got := addrs(c.Instances(t.Context(), "order-service")); got != "10.0.0.1:8300" {
			t.Errorf("Instances() = %q, want 10.0.0.1:8300", got)
		}
	})
}

// A registry that restarts has forgotten everybody. Its clients see that with
// their next fetch, long before their next heartbeat, and do not lose each other
// meanwhile.
func TestRegistryRestarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWire(NewServer(DefaultSettings(), time.Now))
		orders := w.client()
		run(t, orders, order(), time.Second)
		stopUsers := run(t, w.client(), &Registration{App: "user-service", IPAddr: "10.0.0.2", Port: 8700}, time.Second)
		time.Sleep(2 * time.Second)

		w.plug(nil)
		time.Sleep(5 * time.Second)
		if got := addrs(orders.Instances(t.Context(), "user-service")); got != "10.0.0.2:8700" {
			t.Errorf("Instances() while the registry is down = %q, want 10.0.0.2:8700", got)
		}
		stopUsers() // and so does not come back
		restarted := NewServer(DefaultSettings(), time.Now)
		w.plug(restarted)
		time.Sleep(2 * time.Second)
		if got := restarted.Instances()["ORDER-SERVICE"][StatusUp]; got != 1 {
			t.Errorf("%d instances two seconds after the restart, want 1", got)
		}
		if got := addrs(orders.Instances(t.Context(), "user-service")); got != "10.0.0.2:8700" {
			t.Errorf("Instances() after the restart = %q, want 10.0.0.2:8700", got)
		}
		time.Sleep(2 * time.Minute)
		if got := addrs(orders.Instances(t.Context(), "user-service")); got != "" {
			t.Errorf("Instances() when its lease would be over = %q, want none", got)
		}
	})
}

// TestLeavingNode: nobody is known to a node alone that is about to end, however long its connections live.
func TestLeavingNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, successor := running(t, DefaultSettings()), running(t, DefaultSettings())
		var leaving atomic.Bool
		old.LeaveWhen(leaving.Load)
		w := newWire(old)
		early, late := w.client(), w.client()
		run(t, early, order(), 30*time.Second)
		synctest.Wait()
		leaving.Store(true)
		run(t, late, &Registration{App: "user-service", IPAddr: "10.0.0.2", Port: 8700}, 30*time.Second)
		time.Sleep(31 * time.Second) // the early one has sent a heartbeat
		if late.Registered() || count(old) != 1 {
			t.Errorf("a node that is about to end registered another: %t, it has %d instances, want 1", late.Registered(), count(old))
		}
		w.plug(successor)
		time.Sleep(maxRetry)
		if !early.Registered() || !late.Registered() || count(successor) != 2 {
			t.Errorf("with the successor: Registered() = %t, %t and %d instances; want true, true, 2", early.Registered(), late.Registered(), count(successor))
		}
		w.plug(old)
		if err := early.Deregister(t.Context()); err != nil || count(old) != 0 {
			t.Errorf("Deregister() = %v, %d instances; want nil, 0: whoever goes is taken out everywhere", err, count(old))
		}
	})
}

func TestForgottenInstanceRegistersAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(DefaultSettings(), time.Now)
		c := newWire(s).client()
		run(t, c, order(), time.Hour) // so that it is the heartbeat that notices
		synctest.Wait()
		s.registry.cancel(key{"ORDER-SERVICE", "10.0.0.1:order-service:8300"})
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := count(s); got != 1 || !c.Registered() {
			t.Errorf("after a heartbeat: %d instances, Registered() = %t; want 1, true", got, c.Registered())
		}
	})
}

func TestMissAsksAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(DefaultSettings(), time.Now)
		w := newWire(s)
		c := w.client()
		run(t, c, nil, time.Hour)
		time.Sleep(time.Second)
		w.count(http.MethodGet)

		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got := c.Instances(t.Context(), "abc"); got != nil {
					t.Errorf("Instances() = %v, want none", got)
				}
			})
		}
		wg.Wait()
		// Those that come while the first is served are served together.
		if got := w.count(http.MethodGet); got > 2 {
			t.Errorf("%d fetches for a hundred misses, want 2 at most", got)
		}

		in := newTestInstance("i", 90)
		in.VIPAddress = "first,Second"
		s.registry.register(in, false)
		down := newTestInstance("j", 90)
		down.Status = StatusDown
		s.registry.register(down, false)
		for _, name := range []string{"second", "abc", "First"} {
			if got := len(c.Instances(t.Context(), name)); got != 1 {
				t.Errorf("len(Instances(%q)) = %d, want 1", name, got)
			}
		}
		if got := w.count(http.MethodGet); got != 1 {
			t.Errorf("%d fetches for hits after one miss, want 1", got)
		}

		// Whoever could not reach any of them asks once more, and is told of those that came since.
		gone := c.Instances(t.Context(), "abc")[0].Addr()
		if got := c.Instances(t.Context(), "abc", gone); len(got) != 0 {
			t.Errorf("Instances(abc) but for %s = %v, want none", gone, got)
		}
		later := newTestInstance("k", 90)
		later.IPAddr = "10.0.0.2"
		s.registry.register(later, false)
		if got := c.Instances(t.Context(), "abc", gone); len(got) != 1 || got[0].Addr() == gone {
			t.Errorf("Instances(abc) but for %s = %v, want the one that came since", gone, got)
		}
		if got := c.Instances(t.Context(), "abc"); len(got) != 2 {
			t.Errorf("Instances(abc) = %v, want both: what one caller could not reach another may", got)
		}
		if got := w.count(http.MethodGet); got != 2 {
			t.Errorf("%d fetches for two callers who reached nobody, want 2", got)
		}
	})
}

func TestMissDoesNotWaitForASlowRegistry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWire(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		c := w.client()
		stop := run(t, c, nil, time.Hour)
		start := time.Now()
		if got := c.Instances(t.Context(), "abc"); got != nil || time.Since(start) != missTimeout {
			t.Errorf("Instances() = %v after %v, want none after %v", got, time.Since(start), missTimeout)
		}
		stop()
		start = time.Now()
		if got := c.Instances(t.Context(), "abc"); got != nil || time.Since(start) != 0 {
			t.Errorf("Instances() after Run = %v after %v, want none at once", got, time.Since(start))
		}
	})
}

func TestDeregisterIsForGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewServer(DefaultSettings(), time.Now)
		s.registry.register(newTestInstance("i", 90), false)
		w := newWire(s)
		c := w.client()
		stop := run(t, c, order(), time.Second)
		synctest.Wait()
		if err := c.Deregister(t.Context()); err != nil {
			t.Errorf("Deregister() = %v, want nil", err)
		}
		time.Sleep(5 * time.Minute)
		if got := s.Instances()["ORDER-SERVICE"]; got != nil || c.Registered() {
			t.Errorf("after Deregister: instances %v, Registered() = %t; want none, false", got, c.Registered())
		}
		if got := len(c.Instances(t.Context(), "abc")); got != 1 {
			t.Errorf("len(Instances()) after Deregister = %d, want 1", got)
		}
		stop()
		if got := w.count(http.MethodDelete); got != 1 {
			t.Errorf("%d cancellations, want 1", got)
		}
	})
}

func TestStopDoesNotWaitForTheRegistry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWire(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		stop := run(t, w.client(), order(), time.Second)
		time.Sleep(10 * time.Second)
		start := time.Now()
		stop()
		if got := time.Since(start); got > cancelTimeout {
			t.Errorf("Run() returned %v after its context ended, want %v at most", got, cancelTimeout)
		}
	})
}

func TestAnotherNodeIsAsked(t *testing.T) {
	t.Parallel()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer broken.Close()
	s := NewServer(DefaultSettings(), time.Now)
	var refused atomic.Int64
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "shop" || password != "s3cret" {
			refused.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.ServeHTTP(w, r)
	}))
	defer good.Close()

	var log bytes.Buffer
	withUser := strings.Replace(good.URL, "http://", "http://shop:s3cret@", 1) + "/eureka/v2/"
	c := NewClient([]string{broken.URL + "/eureka", withUser}, good.Client(), slog.New(slog.NewTextHandler(&log, nil)))
	stop := run(t, c, order(), time.Second)
	deadline := time.Now().Add(10 * time.Second)
	for !c.Registered() && time.Now().Before(deadline) {
		<-time.After(5 * time.Millisecond)
	}
	if got := addrs(c.Instances(t.Context(), "order-service")); got != "10.0.0.1:8300" {
		t.Errorf("Instances() = %q, want 10.0.0.1:8300", got)
	}
	stop()
	if got := count(s); got != 0 || refused.Load() != 0 {
		t.Errorf("after Run: %d instances, %d refused requests; want 0, 0", got, refused.Load())
	}
}

func TestErrorsHoldNoPassword(t *testing.T) {
	t.Parallel()
	unauthorized := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(unauthorized.Close)
	for _, test := range []struct {
		name, url, want string
	}{
		{"refused", strings.Replace(unauthorized.URL, "http://", "http://shop:s3cret@", 1), "check user and password"},
		{"no URL", "http://shop:s3cret@registry:port/eureka", "is no URL"},
		{"nobody there", "http://shop:s3cret@127.0.0.1:0/eureka", "connect"},
		{"no address", " ", "defaultZone is empty"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := NewClient([]string{test.url}, http.DefaultClient, slog.New(slog.DiscardHandler))
			err := c.fetch(t.Context(), nil)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("fetch() = %v, want %q and no password", err, test.want)
			}
		})
	}
}

func TestAnswersThatAreNoRegistry(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "<html>", "[]", "{}", `{"applications":[]}`} {
		w := newWire(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(body))
		}))
		if err := w.client().fetch(t.Context(), nil); err == nil {
			t.Errorf("fetch() of %q = nil, want an error", body)
		}
	}
}

// TestFetchIsTriedAgain: a copy that could not be fetched does not wait for the next turn, or it would name instances that are gone.
func TestFetchIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := NewServer(DefaultSettings(), time.Now)
		tell(t, server, http.MethodPost, "A", body("i", 1), http.StatusNoContent)
		asked := 0
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			if asked++; asked <= 3 {
				return nil, errors.New("connection refused")
			}
			rec := httptest.NewRecorder()
			server.ServeHTTP(rec, r)
			return rec.Result(), nil
		})
		c := NewClient([]string{"http://registry:8761/eureka"}, &http.Client{Transport: transport}, slog.New(slog.DiscardHandler))
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx, nil, time.Hour) }()
		time.Sleep(5 * time.Second)
		if found := c.cached("a", nil); len(found) != 1 {
			t.Errorf("after 5 s and %d fetches the copy has %v, want the instance", asked, found)
		}
		seen := asked
		time.Sleep(time.Minute)
		if asked != seen {
			t.Errorf("it was fetched %d times more within a minute, want none before the hour is over", asked-seen)
		}
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
