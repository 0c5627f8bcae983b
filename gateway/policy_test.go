package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

func TestRetry(t *testing.T) {
	t.Parallel()
	const routes = `
spring.cloud.gateway:
  routes:
    - {id: standard, uri: 'lb://UPSTREAM', predicates: [Path=/standard], filters: [Retry=2]}
    - id: long
      uri: lb://UPSTREAM
      predicates: [Path=/long]
      filters: [{name: Retry, args: {retries: 2, statuses: 'BAD_GATEWAY', methods: 'GET,POST'}}]
`
	tests := []struct {
		name, method, path string
		answers            []int // 0 is a broken connection
		want               int
	}{
		{"success at last", "GET", "/standard", []int{500, 503, 200}, 200},
		{"gives up", "GET", "/standard", []int{500, 502, 503}, 503},
		{"not for 4xx", "GET", "/standard", []int{404}, 404},
		{"not for POST", "POST", "/standard", []int{503}, 503},
		{"POST when said so", "POST", "/long", []int{502, 502, 200}, 200},
		{"other status", "POST", "/long", []int{503}, 503},
		{"broken POST when said so", "POST", "/long", []int{0, 200}, 200},
		// Every try of a safe method looks at up to three instances.
		{"broken GET", "GET", "/long", []int{0, 0, 0, 0, 200}, 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			g := newGateway(t, routes, func(r *http.Request) (*http.Response, error) {
				if r.Body != nil {
					if body, err := io.ReadAll(r.Body); err != nil || string(body) != "hello" {
						t.Errorf("body = %q, %v, want hello", body, err)
					}
				}
				if asked == len(test.answers) {
					t.Fatalf("asked %d times, want %d", asked+1, len(test.answers))
				}
				asked++
				if status := test.answers[asked-1]; status != 0 {
					return respond(r, status, ""), nil
				}
				return nil, io.ErrUnexpectedEOF
			})
			var body io.Reader
			if test.method == "POST" {
				body = strings.NewReader("hello")
			}
			if got := serve(g, httptest.NewRequest(test.method, test.path, body)); got.Code != test.want {
				t.Errorf("answer = %d, want %d", got.Code, test.want)
			}
			if asked != len(test.answers) {
				t.Errorf("asked %d times, want %d", asked, len(test.answers))
			}
		})
	}
}

func TestCircuitBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		status, calls := 0, 0
		registry := prometheus.NewRegistry()
		settings := `
resilience4j.circuitbreaker.instances:
  orders: {sliding-window-size: 4, wait-duration-in-open-state: 5s, permitted-number-of-calls-in-half-open-state: 2}
spring.cloud.gateway:
  routes:
    - {id: plain, uri: 'http://a:1', predicates: [Path=/plain], filters: [CircuitBreaker=orders]}
    - id: fallback
      uri: http://a:1
      predicates: [Path=/fallback]
      filters: [{name: CircuitBreaker, args: {name: orders, fallbackUri: 'forward:/sorry', statusCodes: 500}}]
    - {id: sorry, uri: 'http://sorry:1', predicates: [Path=/sorry]}
`
		g := newGateway(t, settings, func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "sorry:1" {
				return respond(r, 200, "sorry for "+r.Method), nil
			}
			calls++
			if status == 0 {
				return nil, io.ErrUnexpectedEOF
			}
			return respond(r, status, "answer"), nil
		}, func(_ *Limits, d *Deps) { d.Metrics = registry })
		get := func(path string) string {
			t.Helper()
			w := serve(g, httptest.NewRequest("POST", path, strings.NewReader("hello")))
			if w.Code == 503 && w.Header().Get("Retry-After") != "5" {
				t.Errorf("Retry-After = %q, want 5", w.Header().Get("Retry-After"))
			}
			if w.Code != 200 {
				return fmt.Sprint(w.Code)
			}
			return w.Body.String()
		}
		var got []string
		note := func(paths ...string) {
			for _, path := range paths {
				got = append(got, get(path))
			}
		}
		status = 200
		note("/plain")
		status = 0
		note("/plain", "/fallback") // the second failure of four opens the breaker
		note("/plain", "/fallback")
		if err := g.Reload(settingsOf(t, settings)); err != nil {
			t.Fatalf("Reload: %v", err)
		}
		note("/plain") // a reload does not close it
		time.Sleep(5 * time.Second)
		status = 500
		note("/fallback", "/plain") // half-open: one failure of two opens it again
		time.Sleep(5 * time.Second)
		status = 200
		note("/plain", "/plain", "/plain", "/fallback")
		want := []string{"answer", "502", "sorry for POST", "503", "sorry for POST", "503", "sorry for POST", "503", "answer", "answer", "answer", "answer"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
		if calls != 8 {
			t.Errorf("the upstream was called %d times, want 8", calls)
		}
	})
}

// Bodies that are malformed, break off or never arrive are the client's doing: whoever sends them can not have the
// upstream taken for broken.
func TestBadBodiesDoNotOpenTheCircuitBreaker(t *testing.T) {
	t.Parallel()
	for _, filters := range []string{"[CircuitBreaker=orders]", "[CircuitBreaker=orders, {name: Retry, args: {retries: 3, methods: POST}}]"} {
		front := start(t, `
resilience4j.circuitbreaker.instances:
  orders: {sliding-window-size: 1, wait-duration-in-open-state: 1h}
spring.cloud.gateway:
  httpclient: {response-timeout: 200ms}
  routes:
    - {id: all, uri: 'lb://UPSTREAM', predicates: ['Path=/**'], filters: `+filters+`}
`, func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				panic(http.ErrAbortHandler)
			}
		})
		for _, test := range []struct {
			request string
			status  int
			detail  string
		}{
			{"POST /x\nTransfer-Encoding: chunked\n\nZZ\r\n", 400, "the body broke off or is malformed"},
			{"POST /x\nTransfer-Encoding: chunked\n\n5\r\nhello\r\n-1\r\n", 400, "the body broke off or is malformed"},
			{"POST /x\nContent-Length: 50\n\nhello", 408, "the body did not arrive in time"},
		} {
			got := send(t, front, test.request)
			if p := problemOf(t, got); got.status != test.status || p.Detail != test.detail {
				t.Errorf("%s: %.40q = %d %q, want %d %q", filters, test.request, got.status, p.Detail, test.status, test.detail)
			}
			if got := send(t, front, "POST /x\nContent-Length: 5\n\nhello"); got.status != 200 {
				t.Errorf("%s: after %.40q a good body is answered %d %s, want 200", filters, test.request, got.status, got.body)
			}
		}
	}
}

// A client that leaves must not keep the permit of a half-open breaker.
func TestCircuitBreakerReleasesPermits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fails := true
		g := newGateway(t, `
resilience4j.circuitbreaker.instances:
  orders: {sliding-window-size: 1, wait-duration-in-open-state: 1s, permitted-number-of-calls-in-half-open-state: 1}
spring.cloud.gateway:
  routes:
    - {id: plain, uri: 'http://a:1', predicates: [Path=/**], filters: [CircuitBreaker=orders]}
`, func(r *http.Request) (*http.Response, error) {
			if r.Context().Err() != nil {
				return nil, r.Context().Err()
			}
			if fails {
				return nil, io.ErrUnexpectedEOF
			}
			return respond(r, 200, ""), nil
		})
		serve(g, httptest.NewRequest("GET", "/", nil))
		time.Sleep(time.Second)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if got := serve(g, httptest.NewRequest("GET", "/", nil).WithContext(gone)); got.Code != statusClientGone {
			t.Errorf("answer to nobody = %d, want %d", got.Code, statusClientGone)
		}
		fails = false
		if got := serve(g, httptest.NewRequest("GET", "/", nil)); got.Code != 200 {
			t.Errorf("answer = %d, want 200", got.Code)
		}
	})
}

func TestRateLimiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const routes = `
spring.cloud.gateway:
  routes:
    - id: all
      uri: http://a:1
      predicates: [Path=/**]
      filters:
        - name: RequestRateLimiter
          args: {redis-rate-limiter.replenishRate: 1, redis-rate-limiter.burstCapacity: 4, redis-rate-limiter.requestedTokens: 2}
`
		g := newGateway(t, routes, func(r *http.Request) (*http.Response, error) { return respond(r, 200, ""), nil })
		ask := func(remote, token string) string {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = remote
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			w := serve(g, r)
			h := w.Header()
			return fmt.Sprintf("%d %s/%s/%s/%s %s", w.Code, h.Get("X-RateLimit-Remaining"), h.Get("X-RateLimit-Requested-Tokens"),
				h.Get("X-RateLimit-Burst-Capacity"), h.Get("X-RateLimit-Replenish-Rate"), h.Get("Retry-After"))
		}
		got := []string{ask("1.1.1.1:1", ""), ask("1.1.1.1:2", ""), ask("1.1.1.1:3", "")}
		got = append(got, ask("1.1.1.1:1", "selim"), ask("1.1.1.1:1", "nobody"))
		if err := g.Reload(settingsOf(t, routes)); err != nil {
			t.Fatalf("Reload: %v", err)
		}
		got = append(got, ask("1.1.1.1:1", ""), ask("[2001:db8::1]:1", ""), ask("[2001:db8::2]:1", ""), ask("[2001:db8::3]:1", ""))
		time.Sleep(2 * time.Second)
		got = append(got, ask("1.1.1.1:1", ""))
		want := []string{
			"200 2/2/4/1 ", "200 0/2/4/1 ", "429 0/2/4/1 2", "200 2/2/4/1 ", "429 0/2/4/1 2",
			"429 0/2/4/1 2", "200 2/2/4/1 ", "200 0/2/4/1 ", "429 0/2/4/1 2", "200 0/2/4/1 ",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("answers (-want +got):\n%s", diff)
		}
	})
}

func TestRateLimiterIsBounded(t *testing.T) {
	t.Parallel()
	g, err := New(Settings{}, Limits{RateLimitKeys: 3}, Deps{Transport: &http.Transport{}, Verify: verify})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	b := &builder{gateway: g, table: &table{limiters: map[string]*rateLimiter{}}}
	l := b.limiter(&route{id: "r"}, rateLimit{replenish: 1, burst: 1, tokens: 1})
	now := time.Now()
	for i := range 10 {
		l.take(strconv.Itoa(i), now)
		if _, wait := l.take("0", now); wait == 0 {
			t.Errorf("key 0 passes again after %d keys, want it remembered", i)
		}
	}
	if len(l.buckets) != 3 || l.recent.Len() != 3 {
		t.Errorf("%d buckets in a list of %d, want 3", len(l.buckets), l.recent.Len())
	}
}
