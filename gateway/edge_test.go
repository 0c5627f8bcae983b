package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
)

// problemOf reads a problem document and fails when the answer is none.
func problemOf(t testing.TB, a answer) api.Problem {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("answer %d %s %q is no problem: %v", a.status, a.header.Get("Content-Type"), a.body, err)
	}
	if p.Status != a.status {
		t.Errorf("problem has status %d in an answer with %d", p.Status, a.status)
	}
	return p
}

func TestNeverRouted(t *testing.T) {
	t.Parallel()
	front := start(t, `
spring.cloud.gateway:
  routes:
    - {id: strip, uri: 'lb://UPSTREAM', predicates: ['Path=/strip/**'], filters: [StripPrefix=1]}
    - {id: dots, uri: 'lb://UPSTREAM', predicates: ['Path=/dots/**'], filters: ['RewritePath=-, .']}
    - {id: service, uri: 'lb://UPSTREAM', predicates: ['Path=/dots/**', Method=PATCH], filters: [SetPath=/order-service/api/internal]}
    - {id: all, uri: 'lb://UPSTREAM', predicates: ['Path=/**']}
`, func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the upstream was asked for %s", r.URL.Path)
	})
	for path, want := range map[string]int{
		"/actuator":                       404,
		"/actuator/env":                   404,
		"/order-service/actuator/health":  404,
		"/order-service/ACTUATOR/health":  404,
		"/order-service/%61ctuator/env":   404,
		"//order-service//actuator":       404,
		"/livez":                          404,
		"/readyz/":                        404,
		"/metrics":                        404,
		"/strip/metrics":                  404,
		"/strip/order-service/actuator":   404,
		"/x/../order-service/actuator":    400,
		"/order-service/x%2f../actuator":  400,
		"/order-service;a=b/actuator/env": 400,
		`/order-service\actuator`:         400,
		"/dots/--/actuator":               400,
	} {
		got := send(t, front, "GET "+path)
		if got.status != want {
			t.Errorf("GET %s = %d, want %d", path, got.status, want)
		}
		problemOf(t, got)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	front := start(t, routeAll, func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 4096)
		for {
			if _, err := r.Body.Read(buf); err != nil {
				return
			}
		}
	}, func(l *Limits, _ *Deps) {
		*l = Limits{MaxBodySize: 16, MaxHeaderSize: 200, MaxPathLength: 50}
	})
	seventeen := "12345678901234567"
	tests := []struct {
		request string
		want    int
	}{
		{"POST /x\nContent-Length: 16\n\n" + seventeen[:16], 200},
		{"POST /x\nContent-Length: 17\n\n" + seventeen, 413},
		{"POST /x\nTransfer-Encoding: chunked\n\n11\r\n" + seventeen + "\r\n0\r\n\r\n", 413},
		{"GET /x\nX-Long: " + strings.Repeat("x", 300), 431},
		{"GET /x?" + strings.Repeat("x", 300), 431},
		{"GET /" + strings.Repeat("x", 50), 414},
		{"TRACE /x", 405},
	}
	for _, test := range tests {
		got := send(t, front, test.request)
		if got.status != test.want {
			t.Errorf("%.40q… = %d %s, want %d", test.request, got.status, got.body, test.want)
		}
		if test.want >= 400 {
			problemOf(t, got)
		}
	}
}

func TestIdentityHeaders(t *testing.T) {
	t.Parallel()
	request := `GET /x
Host: shop.example.org
User-Agent: test
X-User-Id: 4
x_user_id: 4
X-Auth-Request-Email: a@b
Remote-User: admin
X-Forwarded-For: 1.2.3.4, 10.0.0.7
X-Forwarded-Host: evil
X-Forwarded-Proto: https
X-Forwarded-User: admin
X_Forwarded_For: 1.1.1.1
Forwarded: for=1.2.3.4
X-Original-URL: /order-service/actuator
X-Request-Id: 17
Connection: Authorization, X-Drop, X-Kept-By-Filter, Upgrade, HTTP2-Settings
Upgrade: h2c
HTTP2-Settings: AAMAAABkAAQAAP__
Keep-Alive: 5
Proxy-Authorization: x
TE: gzip
X-Drop: 1
Authorization: Bearer selim
`
	tests := []struct {
		name    string
		trusted []string
		want    []string
	}{
		{"from anywhere", nil, []string{
			"Authorization: Bearer selim", "User-Agent: test", "X-Forwarded-For: 127.0.0.1",
			"X-Forwarded-Host: shop.example.org", "X-Forwarded-Proto: http", "X-Kept-By-Filter: yes",
			"X-Request-Id: 17", "X-Request-Timeout: 35000", "",
		}},
		{"from a trusted proxy", []string{"127.0.0.0/8", "10.0.0.7"}, []string{
			"Authorization: Bearer selim", "User-Agent: test", "X-Forwarded-For: 1.2.3.4, 10.0.0.7, 127.0.0.1",
			"X-Forwarded-Host: evil", "X-Forwarded-Proto: https", "X-Kept-By-Filter: yes",
			"X-Request-Id: 17", "X-Request-Timeout: 35000", "",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			front := start(t, `
spring.cloud.gateway:
  routes:
    - {id: all, uri: 'lb://UPSTREAM', predicates: ['Path=/**'], filters: ['AddRequestHeader=X-Kept-By-Filter, yes']}
`, echo, func(l *Limits, _ *Deps) { l.TrustedProxies = test.trusted })
			got := send(t, front, request)
			if diff := cmp.Diff(test.want, strings.Split(got.body, "\r\n")); diff != "" {
				t.Errorf("header upstream (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClientAddress(t *testing.T) {
	t.Parallel()
	g, err := New(Settings{}, Limits{TrustedProxies: []string{"127.0.0.1", "10.0.0.0/8"}}, Deps{Transport: &http.Transport{}, Verify: verify})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	for _, test := range []struct{ remote, chain, want string }{
		{"127.0.0.1:5", "1.2.3.4", "1.2.3.4"},
		{"127.0.0.1:5", "9.9.9.9, 1.2.3.4, 10.1.2.3", "1.2.3.4"},
		{"127.0.0.1:5", "", "127.0.0.1"},
		{"127.0.0.1:5", "unknown, 10.0.0.1", "10.0.0.1"},
		{"[::ffff:127.0.0.1]:5", "2001:db8::1", "2001:db8::1"},
		{"8.8.8.8:5", "1.2.3.4", "8.8.8.8"},
		{"@", "1.2.3.4", "0.0.0.0"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = test.remote
		if test.chain != "" {
			r.Header.Set("X-Forwarded-For", test.chain)
		}
		if got := g.sanitize(r, r.Header).String(); got != test.want {
			t.Errorf("client of %s with %q = %s, want %s", test.remote, test.chain, got, test.want)
		}
	}
	if _, err := New(Settings{}, Limits{TrustedProxies: []string{"10.0.0.0/99"}}, Deps{Transport: &http.Transport{}, Verify: verify}); err == nil {
		t.Error("New with a bad trusted proxy = nil, want an error")
	}
}

func shopAccess(_ *Limits, d *Deps) {
	d.Access = []AccessRow{
		{"GET", "/shop/api/products", "public", true},
		{"GET", "/shop/api/products/{productId}", "public", true},
		{"POST", "/shop/api/products", "admin", true},
		{"GET", "/shop/api/orders", "owner", true},
		{"GET", "/shop/api/orders/{orderId}", "owner", true},
		{"GET", "/shop/api/orders/find", "admin or service", false},
		{"POST", "/shop/api/checkout", "user", false},
		{"GET", "/shop/api/internal/{rest...}", "service", true},
		{"", "/shop/api/tools/", "admin", false},
	}
}

func TestAuthorisation(t *testing.T) {
	t.Parallel()
	closed := start(t, routeAll, echo, shopAccess)
	open := start(t, routeAll, echo, shopAccess, func(_ *Limits, d *Deps) { d.Open = true })
	tests := []struct {
		request      string
		token        string
		closed, open int
	}{
		{"GET /shop/api/products", "", 200, 200},
		{"GET /shop/api/products", "selim", 200, 200},
		{"GET /shop/api/products", "expired", 200, 200},
		{"GET /shop/api/products", "service", 401, 401},
		{"GET /shop/api/products", "no-keys", 503, 503},
		{"HEAD /shop/api/products/7", "", 200, 200},
		{"POST /shop/api/products", "", 401, 200},
		{"POST /shop/api/products", "selim", 403, 200},
		{"POST /shop/api/products", "admin", 200, 200},
		{"GET /shop/api/orders", "", 401, 200},
		{"GET /shop/api/orders/", "", 401, 200},
		{"GET //shop/api/orders", "", 401, 200},
		{"GET /shop/api/%6frders/7", "", 401, 200},
		{"HEAD /shop/api/orders/7", "", 401, 200},
		{"GET /shop/api/orders/7", "selim", 200, 200},
		{"GET /shop/api/orders/7", "expired", 401, 200},
		{"GET /shop/api/orders/find", "selim", 403, 403},
		{"GET /shop/api/orders/find", "admin", 200, 200},
		{"POST /shop/api/checkout", "", 401, 401},
		{"POST /shop/api/checkout", "selim", 200, 200},
		{"GET /shop/api/internal", "admin", 404, 404},
		{"GET /shop/api/internal/x/y", "admin", 404, 404},
		{"GET /shop/api/internal/x", "", 404, 404},
		{"DELETE /shop/api/tools/x/y", "", 401, 401},
		{"DELETE /shop/api/tools/x/y", "admin", 200, 200},
		{"DELETE /shop/api/orders/7", "", 200, 200}, // no row: the service answers
		{"GET /elsewhere", "", 200, 200},
		{"GET /elsewhere", "expired", 401, 401},
	}
	for _, test := range tests {
		request := test.request
		if test.token != "" {
			request += "\nAuthorization: Bearer " + test.token
		}
		for name, front := range map[string]struct {
			server *httptest.Server
			want   int
		}{"closed": {closed, test.closed}, "open": {open, test.open}} {
			got := send(t, front.server, request)
			if got.status != front.want {
				t.Errorf("%s: %s with token %q = %d, want %d", name, test.request, test.token, got.status, front.want)
			}
			if got.status == 401 && got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %s: 401 without WWW-Authenticate", name, test.request)
			}
			if test.token == "expired" && strings.Contains(got.body, "expired\r") {
				t.Errorf("%s: %s passed an invalid token on", name, test.request)
			}
		}
	}
	if got := send(t, closed, "GET /x\nAuthorization: Bearer selim\nAuthorization: Bearer admin"); got.status != 400 {
		t.Errorf("two tokens = %d, want 400", got.status)
	}
	if got := send(t, closed, "GET /x\nAuthorization: Basic c2VsaW06MDAwMA=="); got.status != 200 {
		t.Errorf("Basic authorization = %d, want it passed on", got.status)
	}
}

// A route must not lead around the rules of the path it ends at, nor of the path it begins at.
func TestRewritesDoNotEvadeRules(t *testing.T) {
	t.Parallel()
	front := start(t, `
spring.cloud.gateway:
  routes:
    - {id: alias, uri: 'lb://UPSTREAM', predicates: ['Path=/alias/**'], filters: ['RewritePath=/alias/(.*), /shop/api/$1']}
    - {id: shop, uri: 'lb://UPSTREAM', predicates: ['Path=/shop/**'], filters: [StripPrefix=1]}
`, echo, shopAccess)
	for request, want := range map[string]int{
		"GET /alias/products":     200,
		"GET /alias/orders":       401,
		"GET /alias/internal/x":   404,
		"GET /shop/api/orders":    401,
		"GET /shop/api/products":  200,
		"GET /shop/actuator/info": 404,
	} {
		if got := send(t, front, request); got.status != want {
			t.Errorf("%s = %d, want %d", request, got.status, want)
		}
	}
}

func TestAccessRows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rows []AccessRow
		want string
	}{
		{[]AccessRow{{Method: "GET", Pattern: "/a"}}, `access row "GET /a": says nothing about access: want public, user, owner, admin or service`},
		{[]AccessRow{{Method: "GET", Pattern: "/a", Access: "root"}}, `access row "GET /a": access "root" is unknown: want public, user, owner, admin or service`},
		{[]AccessRow{{Pattern: "a", Access: "user"}}, `access row "a": want a pattern that begins with a slash`},
		{[]AccessRow{{Pattern: "/{a}", Access: "user"}, {Pattern: "/{b}/{$}", Access: "admin"}}, `access row "/{b}/{$}": another row with this pattern says otherwise`},
	} {
		_, err := newAccessTree(test.rows)
		if fmt.Sprint(err) != test.want {
			t.Errorf("newAccessTree(%v) = %v, want %s", test.rows, err, test.want)
		}
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	front := start(t, `
spring.cloud.gateway:
  globalcors:
    cors-configurations:
      '[/**]':
        allowedOrigins: http://localhost:4200/
        allowed-origin-patterns: [ 'https://*.example.com:[*]' ]
        allowedHeaders: '*'
        exposedHeaders: '*'
        allowCredentials: true
        allowedMethods: GET,POST,PUT,DELETE,PATCH,OPTIONS
        maxAge: 600
      '[/public/**]':
        allowedOrigins: '*'
        allowedHeaders: X-One
  default-filters:
    - DedupeResponseHeader=Access-Control-Allow-Credentials Access-Control-Allow-Origin, RETAIN_UNIQUE
  routes:
    - {id: all, uri: 'lb://UPSTREAM', predicates: ['Path=/**', 'Method=GET,POST']}
`, func(w http.ResponseWriter, r *http.Request) {
		// An upstream with settings of its own is overruled.
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Vary", "Accept")
	})
	const vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
	tests := []struct {
		name    string
		request string
		status  int
		want    http.Header
	}{
		{"preflight", "OPTIONS /x\nOrigin: http://localhost:4200\nAccess-Control-Request-Method: PUT\nAccess-Control-Request-Headers: x-a, authorization", 200, http.Header{
			"Access-Control-Allow-Origin": {"http://localhost:4200"}, "Access-Control-Allow-Credentials": {"true"},
			"Access-Control-Allow-Methods": {"GET, POST, PUT, DELETE, PATCH, OPTIONS"}, "Access-Control-Allow-Headers": {"x-a, authorization"},
			"Access-Control-Max-Age": {"600"}, "Vary": {vary},
		}},
		{"request", "GET /x\nOrigin: http://localhost:4200", 200, http.Header{
			"Access-Control-Allow-Origin": {"http://localhost:4200"}, "Access-Control-Allow-Credentials": {"true"},
			"Access-Control-Expose-Headers": {"*"}, "Vary": {"Accept", vary},
		}},
		{"origin pattern", "POST /x\nOrigin: https://a.b.example.com:8443", 200, http.Header{
			"Access-Control-Allow-Origin": {"https://a.b.example.com:8443"}, "Access-Control-Allow-Credentials": {"true"},
			"Access-Control-Expose-Headers": {"*"}, "Vary": {"Accept", vary},
		}},
		{"error", "GET /x\nOrigin: http://localhost:4200\nAuthorization: Bearer nobody", 401, http.Header{
			"Access-Control-Allow-Origin": {"http://localhost:4200"}, "Access-Control-Allow-Credentials": {"true"},
			"Access-Control-Expose-Headers": {"*"}, "Vary": {vary},
		}},
		{"other origin", "GET /x\nOrigin: https://example.com.evil.org", 403, http.Header{"Vary": {vary}}},
		{"other method", "OPTIONS /x\nOrigin: http://localhost:4200\nAccess-Control-Request-Method: TRACK", 403, http.Header{"Vary": {vary}}},
		{"same origin", "GET /x\nOrigin: http://shop.example.org", 200, http.Header{"Access-Control-Allow-Origin": {"*"}, "Vary": {"Accept", vary}}},
		{"special path", "GET /public/x\nOrigin: https://any.org", 200, http.Header{"Access-Control-Allow-Origin": {"*"}, "Vary": {"Accept", vary}}},
		{"special path, header", "OPTIONS /public/x\nOrigin: https://any.org\nAccess-Control-Request-Method: GET\nAccess-Control-Request-Headers: x-two", 403, http.Header{
			"Access-Control-Allow-Methods": {"GET, HEAD"}, "Access-Control-Allow-Origin": {"*"}, "Vary": {vary},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := send(t, front, test.request)
			if got.status != test.status {
				t.Errorf("status = %d, want %d", got.status, test.status)
			}
			cors := make(http.Header)
			for name, values := range got.header {
				if name == "Vary" || strings.HasPrefix(name, "Access-Control-") {
					cors[name] = values
				}
			}
			if diff := cmp.Diff(test.want, cors); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLabels(t *testing.T) {
	t.Parallel()
	g, err := New(settingsOf(t, `
spring.cloud.gateway:
  globalcors: {cors-configurations: {'[/**]': {allowedOrigins: '*'}}}
  routes:
    - {id: orders, uri: 'http://127.0.0.1:1', predicates: ['Path=/order-service/**']}
    - {id: by-host, uri: 'http://127.0.0.1:1', predicates: [Host=shop.example.com]}
`), Limits{}, Deps{Transport: &http.Transport{}, Verify: verify})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	for _, test := range []struct{ method, url, want string }{
		{"GET", "http://a/order-service/api/orders/7", "/order-service/**"},
		{"GET", "http://shop.example.com/x", "by-host"},
		{"GET", "http://a/x", "no route"},
		{"GET", "http://a/x/%2e%2e", "refused"},
		{"OPTIONS", "http://a/order-service/x", "preflight"},
	} {
		r := httptest.NewRequest(test.method, test.url, nil)
		if test.method == "OPTIONS" {
			r.Header.Set("Origin", "http://b")
			r.Header.Set("Access-Control-Request-Method", "GET")
		}
		g.ServeHTTP(httptest.NewRecorder(), r)
		if r.Pattern != test.want {
			t.Errorf("Pattern of %s %s = %q, want %q", test.method, test.url, r.Pattern, test.want)
		}
	}
}
