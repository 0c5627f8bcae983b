package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"tienda/api"
)

// closedAddress is one that refuses connections.
func closedAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

func resolving(i instances) func(*Limits, *Deps) {
	return func(_ *Limits, d *Deps) { d.Resolver = i }
}

func TestPassesThrough(t *testing.T) {
	t.Parallel()
	front := start(t, routeAll, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read: %v", err)
		}
		w.Header().Set("X-Seen", r.Method+" "+r.RequestURI+" "+r.Host)
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(207)
		_, _ = w.Write(body)
		w.Header().Set("X-Sum", "1")
	})
	got := send(t, front, "PROPPATCH //a%20b/c%25/?q=%zz;x&y\nTransfer-Encoding: chunked\n\n5\r\nhello\r\n0\r\n\r\n")
	if got.status != 207 || got.body != "hello" {
		t.Errorf("answer = %d %q, want 207 hello", got.status, got.body)
	}
	seen, host, _ := strings.Cut(got.header.Get("X-Seen"), " 127.0.0.1:")
	if want := "PROPPATCH /a%20b/c%25/?q=%zz;x&y"; seen != want || host == "" {
		t.Errorf("upstream saw %q, want %q and its own Host", got.header.Get("X-Seen"), want)
	}
}

func TestBalancesAndAvoidsTheDead(t *testing.T) {
	t.Parallel()
	var hits [2]atomic.Int32
	var addresses []string
	for i := range hits {
		s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			hits[i].Add(1)
		}))
		t.Cleanup(s.Close)
		addresses = append(addresses, addressOf(s))
	}
	addresses = append(addresses, closedAddress(t))
	front := start(t, routeAll, nil, resolving(instances{"UPSTREAM": addresses}))
	for i := range 30 {
		request := "POST /x\nContent-Length: 5\n\nhello"
		if i%2 == 0 {
			request = "GET /x"
		}
		if got := send(t, front, request); got.status != 200 {
			t.Errorf("request %d = %d %s, want 200", i, got.status, got.body)
		}
	}
	if a, b := hits[0].Load(), hits[1].Load(); a+b != 30 || a < 10 || b < 10 {
		t.Errorf("instances were asked %d and %d times, want all 30 evenly", a, b)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	var broken atomic.Int32
	breaking := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		broken.Add(1)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(breaking.Close)
	front := start(t, `
spring.cloud.gateway:
  httpclient: {response-timeout: 100ms}
  routes:
    - {id: none, uri: 'lb://NOBODY', predicates: [Path=/none]}
    - {id: dead, uri: 'lb://DEAD', predicates: [Path=/dead]}
    - {id: breaking, uri: 'lb://BREAKING', predicates: [Path=/breaking]}
    - {id: slow, uri: 'lb://UPSTREAM', predicates: [Path=/slow]}
`, func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}, resolvingMore(t, "DEAD", closedAddress(t)), resolvingMore(t, "BREAKING", addressOf(breaking), addressOf(breaking)))
	tests := []struct {
		request string
		status  int
		detail  string
	}{
		{"GET /none", 503, "NOBODY does not answer; try again shortly"},
		{"GET /dead", 503, "DEAD does not answer; try again shortly"},
		{"POST /breaking\nContent-Length: 5\n\nhello", 502, "BREAKING broke off without an answer"},
		{"GET /breaking", 502, "BREAKING broke off without an answer"},
		{"GET /slow", 504, "UPSTREAM did not answer in time"},
		{"GET /nowhere", 404, "no such path"},
	}
	for _, test := range tests {
		got := send(t, front, test.request)
		p := problemOf(t, got)
		if got.status != test.status || p.Detail != test.detail {
			t.Errorf("%.20q = %d %q, want %d %q", test.request, got.status, p.Detail, test.status, test.detail)
		}
		if p.Instance == "" || p.HTTPStatus != api.StatusName(test.status) {
			t.Errorf("%.20q: instance %q, httpStatus %q", test.request, p.Instance, p.HTTPStatus)
		}
	}
	// A POST that may have arrived is not repeated, a GET is tried on the other instance.
	if got := broken.Load(); got != 3 {
		t.Errorf("the breaking instance was called %d times, want 3", got)
	}
}

func resolvingMore(t testing.TB, name string, addresses ...string) func(*Limits, *Deps) {
	t.Helper()
	return func(_ *Limits, d *Deps) {
		more := instances{name: addresses}
		for known, list := range d.Resolver.(instances) {
			more[known] = list
		}
		d.Resolver = more
	}
}

// fake is a transport that knows no network, for tests in synthetic time.
type fake func(*http.Request) (*http.Response, error)

func (f fake) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: make(http.Header), Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
}

func serve(g *Gateway, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

func newGateway(t testing.TB, text string, transport fake, change ...func(*Limits, *Deps)) *Gateway {
	t.Helper()
	limits, deps := Limits{}, Deps{Transport: transport, Verify: verify, Resolver: instances{"UPSTREAM": {"a:1", "b:1", "c:1"}}}
	for _, f := range change {
		f(&limits, &deps)
	}
	g, err := New(settingsOf(t, text), limits, deps)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return g
}

func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, routeAll, func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "b:1" { // a host that swallows packets
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return respond(r, 200, r.URL.Host), nil
		})
		began := time.Now()
		for range 6 {
			if got := serve(g, httptest.NewRequest("GET", "/", nil)); got.Code != 200 {
				t.Errorf("answer = %d %s, want 200", got.Code, got.Body)
			}
		}
		if took := time.Since(began); took != hopTimeout {
			t.Errorf("six requests took %v, want one of %v", took, hopTimeout)
		}
	})
}

// renewed is a Resolver that knows of other instances once those it named could not be reached.
type renewed struct{ old, others []string }

func (r renewed) Instances(_ context.Context, _ string, except ...string) []string {
	if len(except) == 0 {
		return r.old
	}
	return r.others
}

// TestInstancesThatAreAllGone: the same call goes to those that came after them, whatever its method, and it ends when there are none.
func TestInstancesThatAreAllGone(t *testing.T) {
	t.Parallel()
	var called []string
	transport := func(r *http.Request) (*http.Response, error) {
		called = append(called, r.URL.Host)
		if !strings.HasPrefix(r.URL.Host, "new") {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		body, err := io.ReadAll(r.Body)
		return respond(r, 200, string(body)), err
	}
	for _, test := range []struct {
		others []string
		status int
		body   string
		called []string
	}{
		{[]string{"new:1", "new:2"}, 200, "order", []string{"old:2", "old:1", "new:1"}},
		{[]string{"gone:1", "new:1"}, 200, "order", []string{"old:2", "old:1", "gone:1", "new:1"}},
		{[]string{"gone:1"}, 503, "UPSTREAM does not answer", []string{"old:2", "old:1", "gone:1"}},
		{nil, 503, "UPSTREAM does not answer", []string{"old:2", "old:1"}},
	} {
		called = nil
		g := newGateway(t, routeAll, transport, func(_ *Limits, d *Deps) { d.Resolver = renewed{[]string{"old:1", "old:2"}, test.others} })
		got := serve(g, httptest.NewRequest("POST", "/", strings.NewReader("order")))
		if got.Code != test.status || !strings.Contains(got.Body.String(), test.body) {
			t.Errorf("with %v after them the answer is %d %s, want %d %s", test.others, got.Code, got.Body, test.status, test.body)
		}
		if diff := cmp.Diff(test.called, called); diff != "" {
			t.Errorf("with %v after them (-want +called):\n%s", test.others, diff)
		}
	}
}

func TestResponseTimeoutCoversRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t, `
spring.cloud.gateway:
  httpclient: {response-timeout: 10s, connect-timeout: 1m}
  routes:
    - id: all
      uri: http://a:1
      predicates: [Path=/**]
      filters: [{name: Retry, args: {retries: 100, backoff: {firstBackoff: 3s, maxBackoff: 3s}}}]
`, func(r *http.Request) (*http.Response, error) { return respond(r, 503, ""), nil })
		began := time.Now()
		if got := serve(g, httptest.NewRequest("GET", "/", nil)); got.Code != 504 {
			t.Errorf("answer = %d, want 504", got.Code)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("took %v, want 10s", took)
		}
	})
}

func TestReload(t *testing.T) {
	t.Parallel()
	front := start(t, routeAll, func(http.ResponseWriter, *http.Request) {})
	g := front.Config.Handler.(*Gateway)
	if err := g.Reload(settingsOf(t, `spring.cloud.gateway: {routes: [{id: bad, uri: 'lb://UPSTREAM', predicates: [Pth=/]}]}`)); err == nil {
		t.Error("Reload with an unknown predicate = nil, want an error")
	}
	if got := send(t, front, "GET /x"); got.status != 200 {
		t.Errorf("after a bad reload = %d, want 200", got.status)
	}
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 20 {
				if got := send(t, front, "GET /x"); got.status != 200 && got.status != 404 {
					t.Errorf("during reloads = %d, want 200 or 404", got.status)
				}
			}
		})
	}
	for range 20 {
		for _, text := range []string{routeAll, "spring.cloud.gateway: {routes: []}"} {
			if err := g.Reload(settingsOf(t, text)); err != nil {
				t.Errorf("Reload: %v", err)
			}
		}
	}
	clients.Wait()
	if got := send(t, front, "GET /x"); got.status != 404 {
		t.Errorf("without routes = %d, want 404", got.status)
	}
}

func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	front := start(t, routeAll, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-more: // only after the client has seen the event
			case <-r.Context().Done():
				t.Error("the client left before the end")
				return
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", front.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := front.Client().Do(r)
	if err != nil {
		t.Fatalf("Do: %v", err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) || !lines.Scan() {
			t.Fatalf("event %d = %q, %v", i, lines.Text(), lines.Err())
		}
		more <- struct{}{}
	}
	if lines.Scan() {
		t.Errorf("after the last event = %q, want the end", lines.Text())
	}
}

// The client of a stream leaves: the upstream must notice.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	left := make(chan struct{})
	front := start(t, routeAll, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(left)
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", front.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := front.Client().Do(r)
	if err != nil {
		t.Fatalf("Do: %v", err)
	}
	cancel()
	_ = response.Body.Close() // the request is cancelled
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Error("the upstream never noticed that the client left")
	}
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	front := start(t, `
spring.cloud.gateway:
  routes:
    - id: socket
      uri: lb:ws://UPSTREAM
      predicates: ['Path=/ws/**']
      filters: [StripPrefix=1, SetStatus=500, 'AddResponseHeader=X-Color, blue', CircuitBreaker=socket]
`, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/chat" || r.Header.Get("Upgrade") != "websocket" || !strings.EqualFold(r.Header.Get("Connection"), "Upgrade") {
			t.Errorf("upstream got %s with %v", r.URL.Path, r.Header)
		}
		conn, both, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Errorf("Hijack: %v", err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		for {
			line, err := both.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "echo "+line)
		}
	})
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addressOf(front))
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET /ws/chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n")
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != 101 || response.Header.Get("X-Color") != "blue" {
		t.Fatalf("upgrade = %v, %v, want 101 with the filters' header", response, err)
	}
	for i := range 3 {
		_, _ = fmt.Fprintf(conn, "message %d\n", i)
		line, err := reader.ReadString('\n')
		if want := fmt.Sprintf("echo message %d\n", i); err != nil || line != want {
			t.Fatalf("message %d = %q, %v, want %q", i, line, err, want)
		}
	}
}

func TestStatusWithoutBody(t *testing.T) {
	t.Parallel()
	front := start(t, `
spring.cloud.gateway:
  routes:
    - {id: all, uri: 'lb://UPSTREAM', predicates: ['Path=/**'], filters: ['MapStatus=200:204, 204:200']}
`, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/empty" {
			w.WriteHeader(204)
			return
		}
		_, _ = io.WriteString(w, "true")
	})
	for path, want := range map[string]int{"/empty": 200, "/full": 204} {
		if got := send(t, front, "GET "+path); got.status != want || got.body != "" {
			t.Errorf("GET %s = %d %q, want %d without a body", path, got.status, got.body, want)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	transport := &http.Transport{}
	for _, test := range []struct {
		deps Deps
		text string
		want string
	}{
		{Deps{Verify: verify}, "", "gateway: Transport and Verify are needed"},
		{Deps{Verify: verify, Transport: transport}, routeAll, `route "all": nothing resolves lb://UPSTREAM here`},
		{Deps{Verify: verify, Transport: transport, Access: []AccessRow{{Pattern: "/a"}}}, "", `access row "/a": says nothing about access: want public, user, owner, admin or service`},
	} {
		if _, err := New(settingsOf(t, test.text), Limits{}, test.deps); fmt.Sprint(err) != test.want {
			t.Errorf("New = %v, want %s", err, test.want)
		}
	}
	registry := prometheus.NewRegistry()
	for i := range 2 {
		_, err := New(Settings{}, Limits{}, Deps{Verify: verify, Transport: transport, Metrics: registry})
		if are := (prometheus.AlreadyRegisteredError{}); errors.As(err, &are) != (i == 1) {
			t.Errorf("New number %d on one registry = %v", i+1, err)
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Size{"512": 512, "512B": 512, "64KB": 64 << 10, " 2 mb": 2 << 20, "1GB": 1 << 30, "": -1, "2TB": -1, "-1": -1, "MB": -1} {
		got := Size(-1)
		if err := got.UnmarshalText([]byte(text)); got != want || (err != nil) != (want < 0) {
			t.Errorf("Size(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
}
