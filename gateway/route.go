package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// route is a definition made ready to serve.
type route struct {
	id         string
	label      string // for metrics: the first path pattern, else the id
	order      int
	predicates []Predicate
	filters    []Filter
	policies   []policy
	repeated   []string // the methods whose requests a policy may send again
	upstream   upstream
}

// upstream is where a route leads: an address, or a service whose instances the resolver knows.
type upstream struct {
	scheme   string
	address  string // host:port, or the name of the service
	balanced bool
	next     *atomic.Uint64 // the instance whose turn it is
}

func (r *route) onRequest(f func(*Exchange) error) { r.filters = append(r.filters, Filter{Request: f}) }
func (r *route) onResponse(f func(*Exchange))      { r.filters = append(r.filters, Filter{Response: f}) }

// matches may leave captured variables behind when it says no; the caller clears them.
func (r *route) matches(x *Exchange) bool {
	for _, accepts := range r.predicates {
		if !accepts(x) {
			return false
		}
	}
	return true
}

// table is everything that Reload replaces.
type table struct {
	routes          []*route
	cors            corsTable
	connectTimeout  time.Duration
	responseTimeout time.Duration
	breakers        map[string]*breaker
	limiters        map[string]*rateLimiter
}

func (t *table) match(x *Exchange) *route {
	for _, r := range t.routes {
		if r.matches(x) {
			return r
		}
		clear(x.variables)
	}
	return nil
}

// builder makes a table. What counts and remembers (breakers and rate limiters) is taken over from the
// previous table when its settings are the same, so that a reload forgives nobody.
type builder struct {
	gateway  *Gateway
	settings Settings
	previous *table
	table    *table

	predicates map[string]predicateFactory
	filters    map[string]filterFactory
}

const (
	standardConnectTimeout  = 5 * time.Second
	standardResponseTimeout = 35 * time.Second
)

// build reports everything that is wrong at once.
func (b *builder) build() (*table, error) {
	b.table = &table{breakers: make(map[string]*breaker), limiters: make(map[string]*rateLimiter)}
	b.predicates, b.filters = predicateFactories(), filterFactories()
	var problems []error
	report := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	var err error
	b.table.cors, err = parseCORS(b.settings.GlobalCORS)
	report(err)
	b.table.connectTimeout, err = timeout("connect-timeout", b.settings.HTTPClient.ConnectTimeout, standardConnectTimeout)
	report(err)
	b.table.responseTimeout, err = timeout("response-timeout", b.settings.HTTPClient.ResponseTimeout, standardResponseTimeout)
	report(err)
	for name, settings := range b.settings.Breakers {
		report(settings.check(name))
	}
	seen := make(map[string]bool)
	for i, definition := range b.settings.Routes {
		if definition.ID == "" {
			definition.ID = fmt.Sprintf("route[%d]", i)
		}
		if seen[definition.ID] {
			report(fmt.Errorf("route %q: another route has this id", definition.ID))
		}
		seen[definition.ID] = true
		r, err := b.route(definition)
		report(err)
		b.table.routes = append(b.table.routes, r)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	slices.SortStableFunc(b.table.routes, func(a, b *route) int { return cmp.Compare(a.order, b.order) })
	return b.table, nil
}

func timeout(name, text string, standard time.Duration) (time.Duration, error) {
	if text == "" {
		return standard, nil
	}
	d, err := parseDuration(text)
	if err == nil && d == 0 {
		err = errors.New("must be longer than 0")
	}
	if err != nil {
		return 0, fmt.Errorf("spring.cloud.gateway.httpclient.%s: %w", name, err)
	}
	return d, nil
}

func (b *builder) route(d RouteDefinition) (*route, error) {
	r := &route{id: d.ID, label: d.ID, order: d.Order}
	var problems []error
	report := func(kind string, subject fmt.Stringer, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("route %q: %s %q: %w", d.ID, kind, subject, err))
		}
	}
	var err error
	if r.upstream, err = parseUpstream(d.URI); err != nil {
		problems = append(problems, fmt.Errorf("route %q: %w", d.ID, err))
	}
	if len(d.Predicates) == 0 {
		problems = append(problems, fmt.Errorf("route %q: has no predicates: want at least one, such as Path=/order-service/**", d.ID))
	}
	for _, definition := range d.Predicates {
		report("predicate", definition, b.predicate(r, definition))
	}
	for _, definition := range b.settings.DefaultFilters {
		report("default filter", definition, b.filter(r, definition))
	}
	for _, definition := range d.Filters {
		report("filter", definition, b.filter(r, definition))
	}
	return r, errors.Join(problems...)
}

func (b *builder) predicate(r *route, d Definition) error {
	factory, ok := b.predicates[d.Name]
	if !ok {
		return unknown("predicate", d.Name, slices.Sorted(maps.Keys(b.predicates)))
	}
	a, err := d.arguments(factory.parameters)
	if err != nil {
		return err
	}
	p, err := factory.build(r, a)
	if err != nil {
		return err
	}
	r.predicates = append(r.predicates, p)
	return nil
}

func (b *builder) filter(r *route, d Definition) error {
	factory, ok := b.filters[d.Name]
	if !ok {
		return unknown("filter", d.Name, slices.Sorted(maps.Keys(b.filters)))
	}
	a, err := d.arguments(factory.parameters)
	if err != nil {
		return err
	}
	return factory.build(b, r, a)
}

func unknown(kind, name string, known []string) error {
	return fmt.Errorf("there is no such %s%s (known: %s)", kind, suggest(name, known), strings.Join(known, ", "))
}

// parseUpstream reads a route's uri. Its path, if any, is not used, as in Spring: filters change paths.
func parseUpstream(uri string) (upstream, error) {
	const want = "want lb://SERVICE-NAME or http://host:port"
	if uri == "" {
		return upstream{}, errors.New("has no uri: " + want)
	}
	// "lb:ws://SERVICE" is a balanced upstream with the scheme of the calls.
	text, balanced := strings.CutPrefix(uri, "lb:")
	if balanced && strings.HasPrefix(text, "//") {
		text = "http:" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return upstream{}, fmt.Errorf("uri %q: %s", clip(uri), want)
	}
	up := upstream{address: u.Host, balanced: balanced, next: new(atomic.Uint64)}
	switch u.Scheme {
	case "http", "ws":
		up.scheme = "http"
	case "https", "wss":
		up.scheme = "https"
	default:
		return upstream{}, fmt.Errorf("uri %q: scheme %q is not available: %s", clip(uri), u.Scheme, want)
	}
	return up, nil
}
