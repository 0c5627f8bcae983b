// Package gateway is the edge of the system: one address in front of all services.
//
// Routes are configuration, read as Spring Cloud Gateway reads spring.cloud.gateway: predicates choose
// a route, filters change the request and the response, and an upstream is an address or a service whose
// instances a [Resolver] knows. For every request the gateway
//
//   - refuses paths that could be read in two ways, and what is over its limits;
//   - answers CORS preflight requests;
//   - strips the fields by which a client could pretend to be somebody (see identityHeaders);
//   - verifies the bearer token, if there is one, and refuses tokens of services;
//   - applies the access rules of the services to the path before and after the filters. It is the
//     outer of two walls: each service verifies again;
//   - passes the request on, streaming in both directions, WebSocket included.
//
// Errors of its own are problem documents. It keeps no state but counters: token buckets and circuit
// breakers.
//
// Reference: https://docs.spring.io/spring-cloud-gateway/reference/ and, for path patterns,
// org.springframework.web.util.pattern.PathPattern.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tienda/api"
	"tienda/balance"
	"tienda/web"
)

// Settings are bound from spring.cloud.gateway and may change while the gateway runs.
type Settings struct {
	Routes []RouteDefinition `koanf:"routes"`
	// DefaultFilters go before the filters of every route.
	DefaultFilters []Definition   `koanf:"default-filters"`
	GlobalCORS     map[string]any `koanf:"globalcors"`
	HTTPClient     HTTPClient     `koanf:"httpclient"`
	// Breakers are bound from resilience4j.circuitbreaker.instances.
	Breakers map[string]Breaker `koanf:"-"`
}

// HTTPClient holds durations as Spring has them: "5s", or milliseconds without a unit.
type HTTPClient struct {
	// ConnectTimeout bounds the wait for a connection to one instance: 5 s when empty.
	ConnectTimeout string `koanf:"connect-timeout"`
	// ResponseTimeout bounds the wait for the head of the response over all tries: 35 s when empty. The
	// body may take as long as it takes.
	ResponseTimeout string `koanf:"response-timeout"`
}

// Limits are bound from tienda.gateway. Zero values have the defaults the comments give.
type Limits struct {
	MaxBodySize   Size `koanf:"max-body-size"`   // 2 MiB
	MaxHeaderSize Size `koanf:"max-header-size"` // 32 KiB, names and values together
	MaxPathLength int  `koanf:"max-path-length"` // 4096 bytes, without the query
	RateLimitKeys int  `koanf:"rate-limit-keys"` // 65536 callers remembered per rate limiter
	// TrustedProxies are the addresses and networks whose X-Forwarded fields are believed.
	TrustedProxies []string `koanf:"trusted-proxies"`
}

// Size is a number of bytes. As text it may have a unit, as Spring's DataSize has: "2MB" is 2 MiB.
type Size int64

// UnmarshalText reads "512", "512B", "64KB", "2MB" or "1GB".
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := strings.ToUpper(strings.TrimSpace(string(text))), Size(1)
	for i, suffix := range []string{"KB", "MB", "GB"} {
		if n, ok := strings.CutSuffix(number, suffix); ok {
			number, unit = n, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(number, "B")), 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf(`%q is no size: want bytes, or a number with KB, MB or GB`, text)
	}
	*s = Size(n) * unit
	return nil
}

// Resolver knows where services run. An empty list means that no instance is known.
type Resolver interface {
	// Instances are addresses of the form host:port, but for those in except, which could not be reached. A resolver that
	// knows no others looks for new ones before it answers.
	Instances(ctx context.Context, name string, except ...string) []string
}

// Deps is what a gateway is handed. All but Open, Log, Metrics and Now are needed; Resolver only with
// lb:// routes.
type Deps struct {
	// Transport makes one call to one address; choosing the address and trying others is the gateway's.
	Transport http.RoundTripper
	Resolver  Resolver
	// Verify says whom a bearer token speaks for. Its error is a 401 for the client, unless it is an
	// *api.Problem of the 5xx kind.
	Verify func(ctx context.Context, token string) (Principal, error)
	Access []AccessRow
	// Open is tienda.access: open. It admits everybody to the Origin rows of Access.
	Open    bool
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time
}

// Gateway is an http.Handler. It is safe for concurrent use.
//
// It sets the Pattern of each request to the first path pattern of its route, or the id of a route that
// has none, so that what surrounds it can label metrics with it.
type Gateway struct {
	limits    Limits
	transport http.RoundTripper
	resolver  Resolver
	verify    func(ctx context.Context, token string) (Principal, error)
	access    *accessTree
	open      bool
	trusted   []netip.Prefix
	log       *slog.Logger
	now       func() time.Time
	metrics   metrics
	failures  balance.Failures
	proxy     *httputil.ReverseProxy

	reloading sync.Mutex
	table     atomic.Pointer[table]
}

type metrics struct {
	rateLimited  *prometheus.CounterVec
	retries      *prometheus.CounterVec
	breakerState *prometheus.GaugeVec
}

func newMetrics(registry prometheus.Registerer) (metrics, error) {
	m := metrics{
		rateLimited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_rate_limited_total", Help: "Requests refused by a rate limiter.",
		}, []string{"route"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gateway_retries_total", Help: "Calls repeated by a Retry filter.",
		}, []string{"route"}),
		breakerState: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "gateway_circuit_breaker_state", Help: "0 closed, 1 open, 2 half-open.",
		}, []string{"peer"}),
	}
	if registry == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.rateLimited, m.retries, m.breakerState} {
		if err := registry.Register(c); err != nil {
			return m, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// New makes a gateway. Its error names everything that is wrong with the settings.
func New(settings Settings, limits Limits, deps Deps) (*Gateway, error) {
	if deps.Transport == nil || deps.Verify == nil {
		return nil, errors.New("gateway: Transport and Verify are needed")
	}
	g := &Gateway{
		limits:    limits.withDefaults(),
		transport: deps.Transport, resolver: deps.Resolver, verify: deps.Verify,
		open: deps.Open, log: deps.Log, now: deps.Now,
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.now == nil {
		g.now = time.Now
	}
	var err error
	if g.trusted, err = parsePrefixes(limits.TrustedProxies); err != nil {
		return nil, err
	}
	if g.access, err = newAccessTree(deps.Access); err != nil {
		return nil, err
	}
	if g.metrics, err = newMetrics(deps.Metrics); err != nil {
		return nil, err
	}
	g.proxy = g.newProxy()
	if err := g.Reload(settings); err != nil {
		return nil, err
	}
	return g, nil
}

func (l Limits) withDefaults() Limits {
	if l.MaxBodySize <= 0 {
		l.MaxBodySize = 2 << 20
	}
	if l.MaxHeaderSize <= 0 {
		l.MaxHeaderSize = 32 << 10
	}
	if l.MaxPathLength <= 0 {
		l.MaxPathLength = 4096
	}
	if l.RateLimitKeys <= 0 {
		l.RateLimitKeys = 1 << 16
	}
	return l
}

// Reload replaces routes, CORS, timeouts and breakers. Requests under way finish with the old ones, and
// after an error the old ones keep serving. Token buckets and circuit breakers whose settings are the
// same keep their state.
func (g *Gateway) Reload(settings Settings) error {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	b := &builder{gateway: g, settings: settings, previous: g.table.Load()}
	t, err := b.build()
	if err != nil {
		return err
	}
	if g.resolver == nil {
		for _, r := range t.routes {
			if r.upstream.balanced {
				return fmt.Errorf("route %q: nothing resolves lb://%s here", r.id, r.upstream.address)
			}
		}
	}
	g.table.Store(t)
	return nil
}

// Labels of requests that no route takes.
const (
	labelRefused   = "refused"
	labelPreflight = "preflight"
	labelNoRoute   = "no route"
)

// ServeHTTP takes one exchange from the client's request to the end of the response.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &Exchange{
		Method: r.Method, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Host: r.Host,
		Header: r.Header, table: g.table.Load(),
	}
	r.Pattern = labelRefused
	if err := g.serve(w, r, x); err != nil {
		g.fail(w, r, x, err)
	}
}

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, x *Exchange) error {
	var err error
	if err := g.checkLimits(w, r); err != nil {
		return err
	}
	if x.Path, x.segments, err = cleanPath(x.Path); err != nil {
		return err
	}
	x.arrived = x.Path
	done, err := x.table.cors.apply(x)
	if err != nil {
		return err
	}
	if done {
		r.Pattern = labelPreflight
		x.writeReply(w.Header())
		w.WriteHeader(http.StatusOK)
		return nil
	}
	header := r.Header.Clone()
	x.Client = g.sanitize(r, header)
	x.Header = header
	x.Principal, x.tokenError = g.authenticate(r.Context(), header)
	return g.dispatch(w, r, x)
}

// dispatch finds the route of x and hands x to the engine.
func (g *Gateway) dispatch(w http.ResponseWriter, r *http.Request, x *Exchange) error {
	x.route = nil
	if neverRouted(x.segments) {
		return api.NotFound("no such path")
	}
	route := x.table.match(x)
	if route == nil {
		r.Pattern = labelNoRoute
		if x.tokenError != nil {
			return x.tokenError
		}
		return api.NotFound("no such path")
	}
	r.Pattern = route.label
	x.route = route
	// The filters go first, so that a rate limiter also counts who keeps being refused.
	for _, f := range route.filters {
		if f.Request == nil {
			continue
		}
		if err := f.Request(x); err != nil {
			return err
		}
	}
	if err := g.admit(x, x.segments); err != nil {
		return err
	}
	if x.Path != x.arrived {
		if err := g.recheck(x); err != nil {
			return err
		}
	}
	return g.forwardTo(w, r, x)
}

// admit applies the access rule of a path. Where the rule admits anybody, a token that does not hold
// counts as none, so that a client with an expired one can log in again; it is not passed on.
func (g *Gateway) admit(x *Exchange, segments []string) error {
	rule, known := g.access.find(x.Method, segments)
	admitsAll := known && (rule.public || g.open && rule.origin && !rule.internal())
	switch {
	case x.tokenError != nil && !(admitsAll && isChallenge(x.tokenError)):
		return x.tokenError
	case x.tokenError != nil:
		x.Header.Del("Authorization")
		return nil
	case known:
		return rule.check(x.Principal, g.open)
	}
	return nil
}

// recheck repeats the checks for the path that the filters made.
func (g *Gateway) recheck(x *Exchange) error {
	if !strings.HasPrefix(x.Path, "/") {
		x.Path = "/" + x.Path
	}
	path, segments, err := cleanPath(x.Path)
	if err != nil {
		return err
	}
	x.Path = path
	if neverRouted(segments) {
		return api.NotFound("no such path")
	}
	return g.admit(x, segments)
}

func (g *Gateway) checkLimits(w http.ResponseWriter, r *http.Request) error {
	switch r.Method {
	case http.MethodTrace, http.MethodConnect:
		w.Header().Set("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
		return api.Status(http.StatusMethodNotAllowed, "%s is not possible here", r.Method)
	}
	if len(r.URL.Path) > g.limits.MaxPathLength || len(r.URL.RawPath) > g.limits.MaxPathLength {
		return api.Status(http.StatusRequestURITooLong, "the path is longer than %d bytes", g.limits.MaxPathLength)
	}
	size := len(r.URL.RawQuery)
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + len(value)
		}
	}
	if size > int(g.limits.MaxHeaderSize) {
		return api.Status(http.StatusRequestHeaderFieldsTooLarge, "query and header are larger than %d bytes", g.limits.MaxHeaderSize)
	}
	if r.ContentLength > int64(g.limits.MaxBodySize) {
		return api.TooLarge(int64(g.limits.MaxBodySize))
	}
	return nil
}

// statusClientGone is nginx's, for logs and metrics: nobody is left to answer.
const statusClientGone = 499

// fail answers with a problem, and with what was going to be part of any answer.
func (g *Gateway) fail(w http.ResponseWriter, r *http.Request, x *Exchange, err error) {
	problem := web.AsProblem(err)
	// Giving up on a body ends the context as well, though its client may be there.
	if r.Context().Err() != nil && problem.Status != http.StatusRequestTimeout {
		w.WriteHeader(statusClientGone)
		return
	}
	if problem.Status >= 500 {
		id := ""
		if x.route != nil {
			id = x.route.id
		}
		g.log.LogAttrs(r.Context(), slog.LevelWarn, "request not served",
			slog.String("route", id), slog.Int("status", problem.Status), slog.Any("err", err))
	}
	x.writeReply(w.Header())
	if c, ok := errors.AsType[*challenge](err); ok {
		w.Header().Set("WWW-Authenticate", c.authenticate)
	}
	web.WriteProblem(w, r, problem)
}

func (x *Exchange) writeReply(header Header) {
	for _, f := range x.reply {
		if f.name == "Vary" {
			header.Add(f.name, f.value)
			continue
		}
		header.Set(f.name, f.value)
	}
}
