package kit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"tienda/balance"
	"tienda/fault"
)

// BreakerSettings are those of resilience4j.circuitbreaker.instances.NAME that are used; NAME is the
// service called, or "default".
type BreakerSettings struct {
	SlidingWindowSize                int           `koanf:"sliding-window-size"`
	FailureRateThreshold             int           `koanf:"failure-rate-threshold"` // in per cent
	WaitDurationInOpenState          time.Duration `koanf:"wait-duration-in-open-state"`
	PermittedNumberOfCallsInHalfOpen int           `koanf:"permitted-number-of-calls-in-half-open-state"`
}

// defaultBreaker is what the original system declares for each of its services.
var defaultBreaker = BreakerSettings{SlidingWindowSize: 10, FailureRateThreshold: 50,
	WaitDurationInOpenState: 5 * time.Second, PermittedNumberOfCallsInHalfOpen: 3}

// callTimeout bounds a call whose context has no deadline.
const callTimeout = 10 * time.Second

// maxTries is how often one call is made: on one instance after the other, and again on the only one.
const maxTries = 3

// dialTimeout bounds one try to connect to an instance that is not the last. At an address that is gone nobody refuses, and a read that has two seconds is to reach
// another instance in them; that one which is there takes the connection does not hang on how busy it is, as its kernel does that.
const dialTimeout = 600 * time.Millisecond

// lastDialTimeout bounds the last try: there is nobody else to ask then, and packets may be lost.
const lastDialTimeout = 3 * time.Second

// openClient makes the HTTP client that finds services by name.
func (m *member) openClient(common commonSettings) {
	base := &http.Transport{
		DialContext:         dial,
		MaxIdleConns:        256,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true, // neighbours are near; a client's own Accept-Encoding passes through
	}
	m.closers = append(m.closers, func(context.Context) error { base.CloseIdleConnections(); return nil })
	m.traced = otelhttp.NewTransport(fault.Transport(m.service.Name, base), otelhttp.WithTracerProvider(m.tracer), otelhttp.WithPropagators(propagators()),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string { return r.Method + " " + peerOf(r) }))
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "http_client_requests_seconds", Help: "Duration of calls to neighbours.", Buckets: buckets,
	}, []string{"peer", "status"})
	states := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "circuit_breaker_state", Help: "State of the breaker for a neighbour: 0 closed, 1 open, 2 half-open.",
	}, []string{"peer"})
	m.registerer.MustRegister(durations, states)
	m.finder = &finder{
		log: m.log, next: m.traced, instances: m.instances, durations: durations, states: states,
		breakers: map[string]circuitbreaker.CircuitBreaker[any]{}, configured: common.Resilience4j.CircuitBreaker.Instances,
	}
	m.client = &http.Client{Transport: m.finder, Timeout: callTimeout, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // services do not redirect each other; following could leave the shop
	}}
}

// dial connects. To an address that was not found by name, as that of a route elsewhere, whoever asks says how long to wait.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	if patience, ok := ctx.Value(patienceKey{}).(time.Duration); ok {
		dialer.Timeout = patience
	}
	return dialer.DialContext(ctx, network, address)
}

type (
	peerKey     struct{} // the service that is called
	patienceKey struct{} // how long to try to connect
)

// peerOf is the service that a request goes to, for span names and labels.
func peerOf(r *http.Request) string {
	if peer, ok := r.Context().Value(peerKey{}).(string); ok {
		return peer
	}
	return r.URL.Host
}

// finder is a RoundTripper that knows services by name.
type finder struct {
	log        *slog.Logger
	next       http.RoundTripper
	instances  func(ctx context.Context, name string, except ...string) []string
	failures   balance.Failures
	durations  *prometheus.HistogramVec
	states     *prometheus.GaugeVec
	configured map[string]BreakerSettings
	turn       atomic.Uint64

	mu       sync.Mutex
	breakers map[string]circuitbreaker.CircuitBreaker[any]
}

// RoundTrip sends a request to an instance of the service that its host names. A connection that
// cannot be made is tried on the next instance, since nothing was sent; a read whose connection broke
// as well. Answers of 502 to 504 and missing answers count against the peer's breaker; while that is
// open, calls fail at once. That no instance is known yet says nothing about the peer: the next call may go well.
func (f *finder) RoundTrip(r *http.Request) (*http.Response, error) {
	name := strings.ToLower(r.URL.Host)
	if strings.ContainsAny(name, ".:") || name == "localhost" {
		return f.next.RoundTrip(r)
	}
	start := time.Now()
	addresses := f.failures.Order(f.instances(r.Context(), name), f.turn.Add(1), start)
	if len(addresses) == 0 {
		f.observe(name, "none", start)
		return nil, fmt.Errorf("no instance of %s is registered", name)
	}
	breaker := f.breaker(name)
	if !breaker.TryAcquirePermit() {
		f.observe(name, "open", start)
		return nil, fmt.Errorf("%s: %w", name, circuitbreaker.ErrOpen)
	}
	response, err := f.try(r, name, addresses, false)
	if isDial(err) && r.Context().Err() == nil {
		// None of those is there any more: the copy of the registry is older than they are.
		if others := f.instances(r.Context(), name, addresses[:min(maxTries, len(addresses))]...); len(others) > 0 {
			response, err = f.try(r, name, others, true)
		}
	}
	switch {
	case err != nil && errors.Is(r.Context().Err(), context.Canceled):
		breaker.RecordSuccess() // the caller went away; it says nothing about the peer, and the permit must go back
	case err != nil:
		f.fail(r.Context(), breaker, name, err)
	case response.StatusCode >= 502 && response.StatusCode <= 504:
		f.fail(r.Context(), breaker, name, errors.New("answered "+response.Status))
	default:
		breaker.RecordSuccess()
	}
	status := "none"
	if err == nil {
		status = strconv.Itoa(response.StatusCode)
	}
	f.observe(name, status, start)
	f.states.WithLabelValues(name).Set(float64(breaker.State()))
	return response, err
}

// fail counts a failed call, and tells operators of the one that opens the breaker.
func (f *finder) fail(ctx context.Context, breaker circuitbreaker.CircuitBreaker[any], name string, cause error) {
	open := breaker.IsOpen()
	breaker.RecordFailure()
	if !open && breaker.IsOpen() {
		f.log.WarnContext(ctx, "too many calls to a neighbour failed: for a while they fail at once", "peer", name, "last", cause)
	}
}

func (f *finder) observe(peer, status string, start time.Time) {
	f.durations.WithLabelValues(peer, status).Observe(time.Since(start).Seconds())
}

// try sends a request to one instance after the other, again when it was sent to others before.
func (f *finder) try(r *http.Request, name string, addresses []string, again bool) (*http.Response, error) {
	ctx := context.WithValue(r.Context(), peerKey{}, name)
	var err error
	tries := min(maxTries, max(2, len(addresses)))
	for i := range tries {
		patience := dialTimeout
		if i == tries-1 {
			patience = lastDialTimeout
		}
		attempt := r.Clone(context.WithValue(ctx, patienceKey{}, patience))
		attempt.URL.Host = addresses[i%len(addresses)]
		attempt.Host = attempt.URL.Host
		if (i > 0 || again) && r.Body != nil && r.Body != http.NoBody {
			if r.GetBody == nil {
				return nil, err
			}
			var errBody error
			if attempt.Body, errBody = r.GetBody(); errBody != nil {
				return nil, errors.Join(err, errBody)
			}
		}
		var response *http.Response
		if response, err = f.next.RoundTrip(attempt); err == nil {
			f.failures.Forget(attempt.URL.Host)
			return response, nil
		}
		if !retriable(r, err) {
			return nil, err
		}
		if isDial(err) {
			f.failures.Note(attempt.URL.Host, time.Now())
		}
	}
	return nil, err
}

// retriable reports whether the same request may go to another instance.
func retriable(r *http.Request, err error) bool {
	if r.Context().Err() != nil {
		return false
	}
	return isDial(err) || r.Method == http.MethodGet || r.Method == http.MethodHead
}

// isDial reports whether no connection was made, and so nothing sent.
func isDial(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "dial"
}

func (f *finder) breaker(name string) circuitbreaker.CircuitBreaker[any] {
	f.mu.Lock()
	defer f.mu.Unlock()
	breaker, ok := f.breakers[name]
	if !ok {
		breaker = newBreaker(f.settingsFor(name))
		f.breakers[name] = breaker
	}
	return breaker
}

// configure takes changed settings of the breakers in. Those that changed at all start closed again.
func (f *finder) configure(settings map[string]BreakerSettings) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if maps.Equal(f.configured, settings) {
		return
	}
	f.configured = settings
	clear(f.breakers)
}

// settingsFor looks a breaker up as the settings of this ecosystem name them: "order-service",
// "orderService", or "default".
func (f *finder) settingsFor(name string) BreakerSettings {
	settings := defaultBreaker
	for _, key := range []string{"default", name} {
		for configured, s := range f.configured {
			if canonical(configured) != canonical(key) {
				continue
			}
			settings = overlay(settings, s)
		}
	}
	return settings
}

// overlay takes what is set in b over a.
func overlay(a, b BreakerSettings) BreakerSettings {
	pick := func(base *int, over int) {
		if over > 0 {
			*base = over
		}
	}
	pick(&a.SlidingWindowSize, b.SlidingWindowSize)
	pick(&a.FailureRateThreshold, b.FailureRateThreshold)
	pick(&a.PermittedNumberOfCallsInHalfOpen, b.PermittedNumberOfCallsInHalfOpen)
	if b.WaitDurationInOpenState > 0 {
		a.WaitDurationInOpenState = b.WaitDurationInOpenState
	}
	return a
}

func newBreaker(s BreakerSettings) circuitbreaker.CircuitBreaker[any] {
	failures := max(1, (s.FailureRateThreshold*s.SlidingWindowSize+99)/100)
	return circuitbreaker.NewBuilder[any]().
		WithFailureThresholdRatio(uint(failures), uint(s.SlidingWindowSize)).
		WithDelay(s.WaitDurationInOpenState).
		WithSuccessThreshold(uint(s.PermittedNumberOfCallsInHalfOpen)).
		Build()
}

// breakerStates are the breakers with their states, for the health document.
func (f *finder) breakerStates() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	states := map[string]string{}
	for name, breaker := range f.breakers {
		states[name] = map[circuitbreaker.State]string{
			circuitbreaker.ClosedState: "CLOSED", circuitbreaker.HalfOpenState: "HALF_OPEN", circuitbreaker.OpenState: "OPEN",
		}[breaker.State()]
	}
	return states
}

// instances asks the registry for the addresses of a service.
func (m *member) instances(ctx context.Context, name string, except ...string) []string {
	found := m.registry.Instances(ctx, name, except...)
	addresses := make([]string, len(found))
	for i := range found {
		addresses[i] = found[i].Addr()
	}
	return addresses
}
