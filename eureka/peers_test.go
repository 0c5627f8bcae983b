package eureka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A cluster is some nodes that find one another by the name "registry". Inside of [synctest.Test] it needs no real time.
type cluster struct {
	t  *testing.T
	mu sync.Mutex
	// up are the nodes that answer, by address; calls are the requests that each got.
	up    map[string]*Server
	calls map[string]int
	// unnamed is whether no name can be looked up.
	unnamed bool
	group   sync.WaitGroup
}

func (c *cluster) RoundTrip(r *http.Request) (*http.Response, error) {
	address := r.URL.Hostname()
	c.mu.Lock()
	server := c.up[address]
	c.calls[address]++
	c.mu.Unlock()
	if server == nil {
		return nil, errors.New("connection refused")
	}
	rec := httptest.NewRecorder()
	server.ServeHTTP(rec, r)
	response := rec.Result()
	response.Request = r
	return response, nil
}

func (c *cluster) addresses(context.Context, string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unnamed {
		return nil, &net.DNSError{Err: "server misbehaving", Name: "registry"}
	}
	var all []string
	for address := range c.up {
		all = append(all, address)
	}
	return all, nil
}

// plug makes a node answer, or with nil no more.
func (c *cluster) plug(address string, server *Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up[address] = server
}

// start adds a node that runs until the test ends.
func (c *cluster) start(ctx context.Context, address string) (*Server, *Peers) {
	c.t.Helper()
	server := NewServer(DefaultSettings(), time.Now)
	peers, err := NewPeers(server, []string{"http://registry:8761/eureka/"}, &http.Client{Transport: c}, slog.New(slog.DiscardHandler))
	if err != nil {
		c.t.Fatal(err)
	}
	peers.lookup = c.addresses
	c.plug(address, server)
	c.group.Go(func() {
		if err := peers.Run(ctx); err != nil {
			c.t.Error(err)
		}
	})
	return server, peers
}

// nodes runs a test with a cluster.
func nodes(t *testing.T, test func(t *testing.T, ctx context.Context, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		c := &cluster{t: t, up: make(map[string]*Server), calls: make(map[string]int)}
		test(t, ctx, c)
		end()
		c.group.Wait()
	})
}

// tell makes a request as a client does.
func tell(t *testing.T, s *Server, method, path, body string, want int) {
	t.Helper()
	r := httptest.NewRequest(method, "http://h/eureka/apps/"+path, strings.NewReader(body))
	if rec := serve(s, r); rec.Code != want {
		t.Errorf("%s %s = %d %s, want %d", method, path, rec.Code, rec.Body, want)
	}
}

func body(id string, dirty int64) string {
	return fmt.Sprintf(`{"instance":{"instanceId":%q,"hostName":"h","app":"A","ipAddr":"10.0.0.1","status":"UP","lastDirtyTimestamp":%d,"dataCenterInfo":{"name":"MyOwn"}}}`, id, dirty)
}

// known is each instance of a node with its status and metadata.
func known(s *Server) map[string]string {
	all := make(map[string]string)
	for _, app := range s.registry.applications(everything).Applications {
		for _, in := range app.Instances {
			all[in.InstanceID] = string(in.Status) + in.Metadata["colour"]
		}
	}
	return all
}

// settle is enough for changes to reach peers that are there.
const settle = time.Second

// What clients tell one node all of them know, and a node passes on nothing twice.
func TestNodesConverge(t *testing.T) {
	t.Parallel()
	nodes(t, func(t *testing.T, ctx context.Context, c *cluster) {
		a, peers := c.start(ctx, "10.0.0.1")
		b, _ := c.start(ctx, "10.0.0.2")
		third, _ := c.start(ctx, "fd00::3")
		time.Sleep(2 * peerInterval)
		if diff := cmp.Diff([]node{{"http://10.0.0.2:8761/eureka", true}, {"http://[fd00::3]:8761/eureka", true}}, peers.others()); diff != "" {
			t.Errorf("peers of the first node (-want +got):\n%s", diff)
		}
		for _, step := range []struct {
			name         string
			server       *Server
			method, path string
			body         string
			status       int
			want         map[string]string
		}{
			{"a registration", a, "POST", "A", body("i", 5), 204, map[string]string{"i": "UP"}},
			{"another", b, "POST", "A", body("j", 5), 204, map[string]string{"i": "UP", "j": "UP"}},
			{"a status", b, "PUT", "A/i/status?value=OUT_OF_SERVICE&lastDirtyTimestamp=6", "", 200, map[string]string{"i": "OUT_OF_SERVICE", "j": "UP"}},
			{"metadata", third, "PUT", "A/j/metadata?colour=-red", "", 200, map[string]string{"i": "OUT_OF_SERVICE", "j": "UP-red"}},
			{"no status", a, "DELETE", "A/i/status?value=UP", "", 200, map[string]string{"i": "UP", "j": "UP-red"}},
			{"a cancellation", third, "DELETE", "A/i", "", 200, map[string]string{"j": "UP-red"}},
		} {
			tell(t, step.server, step.method, step.path, step.body, step.status)
			time.Sleep(settle)
			for name, server := range map[string]*Server{"first": a, "second": b, "third": third} {
				if diff := cmp.Diff(step.want, known(server)); diff != "" {
					t.Errorf("%s: the %s node knows (-want +got):\n%s", step.name, name, diff)
				}
			}
		}
		c.mu.Lock()
		clear(c.calls)
		c.mu.Unlock()
		tell(t, a, "PUT", "A/j", "", 200)
		time.Sleep(settle)
		c.mu.Lock()
		defer c.mu.Unlock()
		if diff := cmp.Diff(map[string]int{"10.0.0.1": 0, "10.0.0.2": 1, "fd00::3": 1}, map[string]int{"10.0.0.1": c.calls["10.0.0.1"], "10.0.0.2": c.calls["10.0.0.2"], "fd00::3": c.calls["fd00::3"]}); diff != "" {
			t.Errorf("calls for one heartbeat (-want +got):\n%s", diff)
		}
	})
}

// A heartbeat that one node gets keeps the lease with all.
func TestLeasesLastWithAllNodes(t *testing.T) {
	t.Parallel()
	nodes(t, func(t *testing.T, ctx context.Context, c *cluster) {
		a, _ := c.start(ctx, "10.0.0.1")
		b, _ := c.start(ctx, "10.0.0.2")
		for _, s := range []*Server{a, b} {
			s.registry.settings.EnableSelfPreservation = false
			c.group.Go(func() {
				if err := s.Run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		tell(t, a, "POST", "A", body("silent", 5), 204)
		tell(t, a, "POST", "A", body("i", 5), 204)
		for range 20 {
			time.Sleep(30 * time.Second)
			tell(t, a, "PUT", "A/i?status=UP&lastDirtyTimestamp=5", "", 200)
		}
		for _, s := range []*Server{a, b} {
			if diff := cmp.Diff(map[string]string{"i": "UP"}, known(s)); diff != "" {
				t.Errorf("after ten minutes a node knows (-want +got):\n%s", diff)
			}
		}
	})
}

// A node that starts knows what the others know before it says that it is ready; one that starts alone is ready too.
func TestNodesCopyTheOthersFirst(t *testing.T) {
	t.Parallel()
	nodes(t, func(t *testing.T, ctx context.Context, c *cluster) {
		if peers, err := NewPeers(NewServer(DefaultSettings(), time.Now), []string{"http://registry:8761/eureka"}, &http.Client{Transport: c}, slog.New(slog.DiscardHandler)); err != nil || peers.Synced(ctx) == nil {
			t.Errorf("a node that has not run yet is ready (%v)", err)
		}
		a, peers := c.start(ctx, "10.0.0.1")
		time.Sleep(settle)
		if err := peers.Synced(ctx); err != nil {
			t.Errorf("a node alone is not ready: %v", err)
		}
		tell(t, a, "POST", "A", body("i", 5), 204)
		c.plug("10.0.0.9", nil) // one that is going
		b, peers := c.start(ctx, "10.0.0.2")
		for peers.Synced(ctx) != nil {
			time.Sleep(time.Millisecond)
		}
		if diff := cmp.Diff(map[string]string{"i": "UP"}, known(b)); diff != "" {
			t.Errorf("a node that is ready knows (-want +got):\n%s", diff)
		}
		if got := b.registry.expected; got != 1 {
			t.Errorf("it expects heartbeats of %d clients, want 1", got)
		}
		time.Sleep(2 * peerInterval) // the first node has found it
		tell(t, a, "POST", "A", body("j", 5), 204)
		time.Sleep(settle)
		if diff := cmp.Diff(map[string]string{"i": "UP", "j": "UP"}, known(b)); diff != "" {
			t.Errorf("later it knows (-want +got):\n%s", diff)
		}
	})
}

// A node that comes knows also of what happened after it had copied the others and before they found it.
func TestNodesHearWhatTheyMissed(t *testing.T) {
	t.Parallel()
	nodes(t, func(t *testing.T, ctx context.Context, c *cluster) {
		a, _ := c.start(ctx, "10.0.0.1")
		tell(t, a, http.MethodPost, "A", body("goes", 1), http.StatusNoContent)
		tell(t, a, http.MethodPost, "A", body("stays", 1), http.StatusNoContent)
		time.Sleep(2*peerInterval + peerInterval/4) // between two looks for peers
		b, peers := c.start(ctx, "10.0.0.2")
		time.Sleep(settle)
		if err := peers.Synced(ctx); err != nil {
			t.Fatal(err)
		}
		tell(t, a, http.MethodDelete, "A/goes", "", http.StatusOK)
		tell(t, a, http.MethodPost, "A", body("comes", 1), http.StatusNoContent)
		time.Sleep(syncDelay + settle)
		if _, ok := known(b)["comes"]; !ok {
			t.Errorf("a second later the node that came knows %v, want the new instance among them", known(b))
		}
		time.Sleep(peerInterval + settle)
		if diff := cmp.Diff(map[string]string{"stays": "UP", "comes": "UP"}, known(b)); diff != "" {
			t.Errorf("the node that came knows (-want +got):\n%s", diff)
		}
	})
}

// Changes wait for a node that does not answer for a moment; what it has missed for longer comes with the heartbeats.
func TestNodesCatchUp(t *testing.T) {
	t.Parallel()
	nodes(t, func(t *testing.T, ctx context.Context, c *cluster) {
		a, peers := c.start(ctx, "10.0.0.1")
		b, _ := c.start(ctx, "10.0.0.2")
		time.Sleep(2 * peerInterval)
		c.plug("10.0.0.2", nil)
		tell(t, a, "POST", "A", body("i", 5), 204)
		time.Sleep(20 * time.Second)
		if diff := cmp.Diff([]node{{"http://10.0.0.2:8761/eureka", false}}, peers.others()); diff != "" {
			t.Errorf("peers while one is away (-want +got):\n%s", diff)
		}
		c.plug("10.0.0.2", b)
		time.Sleep(settle)
		if diff := cmp.Diff(map[string]string{"i": "UP"}, known(b)); diff != "" {
			t.Errorf("after 20 s away a node knows (-want +got):\n%s", diff)
		}
		c.plug("10.0.0.2", nil)
		tell(t, a, "POST", "A", body("j", 5), 204)
		tell(t, a, "DELETE", "A/i", "", 200)
		time.Sleep(time.Minute)
		c.plug("10.0.0.2", b)
		time.Sleep(settle)
		tell(t, a, "PUT", "A/j?lastDirtyTimestamp=5", "", 200)
		time.Sleep(settle)
		if got := known(b)["j"]; got != "UP" {
			t.Errorf("after a minute away and a heartbeat a node takes the instance to be %q, want UP", got)
		}
	})
}

// An instance that was cancelled does not come back with its registration, which waits longer for a node that is away.
func TestCancelledInstancesStayAway(t *testing.T) {
	t.Parallel()
	nodes(t, func(t *testing.T, ctx context.Context, c *cluster) {
		a, _ := c.start(ctx, "10.0.0.1")
		b, _ := c.start(ctx, "10.0.0.2")
		time.Sleep(2 * peerInterval)
		c.plug("10.0.0.2", nil)
		tell(t, a, "POST", "A", strings.Replace(body("i", 5), `"status"`, `"leaseInfo":{"renewalIntervalInSecs":90},"status"`, 1), 204)
		tell(t, a, "DELETE", "A/i", "", 200)
		time.Sleep(40 * time.Second)
		c.plug("10.0.0.2", b)
		time.Sleep(settle)
		if diff := cmp.Diff(map[string]string{}, known(b)); diff != "" {
			t.Errorf("a node that was away knows (-want +got):\n%s", diff)
		}
	})
}

// Nodes that know one another stay so while their names cannot be looked up.
func TestNodesStayWithoutNames(t *testing.T) {
	t.Parallel()
	nodes(t, func(t *testing.T, ctx context.Context, c *cluster) {
		a, _ := c.start(ctx, "10.0.0.1")
		b, _ := c.start(ctx, "10.0.0.2")
		time.Sleep(2 * peerInterval)
		c.mu.Lock()
		c.unnamed = true
		c.mu.Unlock()
		time.Sleep(2 * peerInterval)
		tell(t, a, "POST", "A", body("i", 5), 204)
		time.Sleep(settle)
		if diff := cmp.Diff(map[string]string{"i": "UP"}, known(b)); diff != "" {
			t.Errorf("while there are no names the other node knows (-want +got):\n%s", diff)
		}
	})
}

// A node that has the older instance takes over the newer one that it is answered with.
func TestNodesTakeOverWhatIsNewer(t *testing.T) {
	t.Parallel()
	nodes(t, func(t *testing.T, ctx context.Context, c *cluster) {
		a, _ := c.start(ctx, "10.0.0.1")
		b, _ := c.start(ctx, "10.0.0.2")
		time.Sleep(2 * peerInterval)
		tell(t, a, "POST", "A", body("i", 5), 204)
		time.Sleep(settle)
		r := httptest.NewRequest(http.MethodPost, "http://h/eureka/apps/A", strings.NewReader(strings.Replace(body("i", 9), `"hostName":"h"`, `"hostName":"new"`, 1)))
		r.Header.Set("X-Netflix-Discovery-Replication", "true") // so that it stays with this node
		serve(b, r)
		tell(t, a, "PUT", "A/i?lastDirtyTimestamp=5", "", 200)
		time.Sleep(settle)
		for _, s := range []*Server{a, b} {
			if in, _ := s.registry.instance(key{"A", "i"}); in.HostName != "new" || in.LastDirtyTimestamp != 9 {
				t.Errorf("a node knows host %q of time %d, want the newer", in.HostName, in.LastDirtyTimestamp)
			}
		}
	})
}

// TestReplicationBatch is what a node of the Netflix server sends, and the answer that it reads.
func TestReplicationBatch(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(100)
	s := NewServer(DefaultSettings(), func() time.Time { return now })
	const instance = `{"instanceId":"i","hostName":"h","app":"A","ipAddr":"10.0.0.1","status":"UP","overriddenstatus":"UNKNOWN","lastDirtyTimestamp":"50","dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"}}`
	items := []string{
		`{"appName":"A","id":"i","lastDirtyTimestamp":50,"overriddenStatus":null,"status":"UP","instanceInfo":` + instance + `,"action":"Register"}`,
		`{"appName":"a","id":"i","lastDirtyTimestamp":50,"status":"UP","instanceInfo":null,"action":"Heartbeat"}`,
		`{"appName":"A","id":"i","lastDirtyTimestamp":40,"status":"UP","action":"Heartbeat"}`,
		`{"appName":"A","id":"i","lastDirtyTimestamp":60,"overriddenStatus":"OUT_OF_SERVICE","status":"UP","action":"Heartbeat"}`,
		`{"appName":"A","id":"nobody","lastDirtyTimestamp":40,"status":"UP","action":"Heartbeat"}`,
		`{"appName":"A","id":"i","lastDirtyTimestamp":70,"status":"DOWN","action":"StatusUpdate"}`,
		`{"appName":"A","id":"i","lastDirtyTimestamp":80,"status":null,"action":"StatusUpdate"}`,
		`{"appName":"A","id":"i","lastDirtyTimestamp":80,"status":null,"action":"DeleteStatusOverride"}`,
		`{"appName":"A","id":"i","action":"Cancel"}`,
		`{"appName":"A","id":"i","action":"Cancel"}`,
		`{"appName":"A","id":"i","action":"Register"}`,
		`{"appName":"B","id":"i","instanceInfo":` + instance + `,"action":"Register"}`,
		`{"appName":"A","id":"i","action":"Dance"}`,
	}
	want := []int{200, 200, 409, 404, 404, 200, 500, 200, 200, 404, 500, 400, 500}
	r := httptest.NewRequest(http.MethodPost, "http://h/eureka/peerreplication/batch/", strings.NewReader(`{"replicationList":[`+strings.Join(items, ",")+`]}`))
	rec := serve(s, r)
	var answer struct {
		List []struct {
			Status int             `json:"statusCode"`
			Entity json.RawMessage `json:"responseEntity"`
		} `json:"responseList"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || rec.Code != http.StatusOK {
		t.Fatalf("answer = %d %s, %v", rec.Code, rec.Body, err)
	}
	var got []int
	for i, item := range answer.List {
		got = append(got, item.Status)
		if hasEntity := item.Entity != nil; hasEntity != (item.Status == http.StatusConflict) {
			t.Errorf("item %d with status %d has an entity: %t", i, item.Status, hasEntity)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("statuses = %v, want %v", got, want)
	}
	for name, body := range map[string]string{"no JSON": `<xml/>`, "another list": `{"replicationList":{}}`} {
		if rec := serve(s, httptest.NewRequest(http.MethodPost, "http://h/eureka/peerreplication/batch", strings.NewReader(body))); rec.Code != http.StatusBadRequest {
			t.Errorf("%s: %d, want 400", name, rec.Code)
		}
	}
}

func TestPeersHaveAddresses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"registry:8761", "ftp://registry/eureka", "http://", "%"} {
		if _, err := NewPeers(NewServer(DefaultSettings(), time.Now), []string{bad}, http.DefaultClient, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("NewPeers took %q", bad)
		}
	}
}

// Credentials are sent, and shown to nobody.
func TestCredentialsOfPeers(t *testing.T) {
	t.Parallel()
	var sent string
	peers, err := NewPeers(NewServer(DefaultSettings(), time.Now), []string{"http://user:secret@10.0.0.2:8761/eureka"},
		&http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			sent = r.Header.Get("Authorization")
			return nil, errors.New("no")
		})}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	n := &peer{peers: peers, url: "http://user:secret@10.0.0.2:8761/eureka"}
	_, _, err = n.fetch(t.Context())
	if sent == "" || err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(n.name(), "secret") {
		t.Errorf("Authorization %q, error %v, name %s: want the secret in the first alone", sent, err, n.name())
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
