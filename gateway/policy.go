package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"tienda/api"
)

// A policy stands around the call to the upstream: next makes the call and gives its status.
type policy func(ctx context.Context, x *Exchange, next func() (int, error)) (int, error)

// Breaker is one entry of resilience4j.circuitbreaker.instances. Fields that are zero have
// resilience4j's defaults, which the comments give.
type Breaker struct {
	SlidingWindowType string `koanf:"sliding-window-type"` // COUNT_BASED
	SlidingWindowSize int    `koanf:"sliding-window-size"` // 100 calls, or seconds when TIME_BASED
	// MinimumNumberOfCalls (100) is for a TIME_BASED window. A COUNT_BASED one opens as soon as the
	// failures in it reach the rate of a full window, so it needs no minimum.
	MinimumNumberOfCalls                  int     `koanf:"minimum-number-of-calls"`
	FailureRateThreshold                  float64 `koanf:"failure-rate-threshold"`                       // 50 %
	WaitDurationInOpenState               string  `koanf:"wait-duration-in-open-state"`                  // 60s
	PermittedNumberOfCallsInHalfOpenState int     `koanf:"permitted-number-of-calls-in-half-open-state"` // 10
}

func (s Breaker) withDefaults() Breaker {
	if s.SlidingWindowType == "" {
		s.SlidingWindowType = "COUNT_BASED"
	}
	s.SlidingWindowSize = orDefault(s.SlidingWindowSize, 100)
	s.MinimumNumberOfCalls = orDefault(s.MinimumNumberOfCalls, 100)
	s.FailureRateThreshold = orDefault(s.FailureRateThreshold, 50)
	s.PermittedNumberOfCallsInHalfOpenState = orDefault(s.PermittedNumberOfCallsInHalfOpenState, 10)
	if s.WaitDurationInOpenState == "" {
		s.WaitDurationInOpenState = "60s"
	}
	return s
}

func orDefault[T int | float64](value, standard T) T {
	if value == 0 {
		return standard
	}
	return value
}

func (s Breaker) check(name string) error {
	s = s.withDefaults()
	_, err := parseDuration(s.WaitDurationInOpenState)
	switch {
	case err != nil:
		err = fmt.Errorf("wait-duration-in-open-state: %w", err)
	case s.SlidingWindowType != "COUNT_BASED" && s.SlidingWindowType != "TIME_BASED":
		err = fmt.Errorf("sliding-window-type is %q: want COUNT_BASED or TIME_BASED", s.SlidingWindowType)
	case s.SlidingWindowSize < 1 || s.MinimumNumberOfCalls < 1 || s.PermittedNumberOfCallsInHalfOpenState < 1:
		err = errors.New("sizes and numbers of calls must be positive")
	case s.FailureRateThreshold < 0 || s.FailureRateThreshold > 100:
		err = fmt.Errorf("failure-rate-threshold is %v: want a percentage up to 100", s.FailureRateThreshold)
	}
	if err != nil {
		return fmt.Errorf("resilience4j.circuitbreaker.instances.%s: %w", name, err)
	}
	return nil
}

// breaker is shared by all routes that name it.
type breaker struct {
	circuitbreaker.CircuitBreaker[int]
	settings Breaker
}

// breaker is that of the previous table when its settings are the same.
func (b *builder) breaker(name string) *breaker {
	if shared := b.table.breakers[name]; shared != nil {
		return shared
	}
	settings := b.settings.Breakers[name].withDefaults()
	if b.previous != nil {
		if old := b.previous.breakers[name]; old != nil && old.settings == settings {
			b.table.breakers[name] = old
			return old
		}
	}
	// An invalid duration is reported by check; the table is not used then.
	wait, _ := parseDuration(settings.WaitDurationInOpenState)
	rate := settings.FailureRateThreshold / 100
	probes := settings.PermittedNumberOfCallsInHalfOpenState
	failures := max(1, int(math.Ceil(rate*float64(probes))))
	state, log := b.gateway.metrics.breakerState.WithLabelValues(name), b.gateway.log
	state.Set(float64(circuitbreaker.ClosedState))
	config := circuitbreaker.NewBuilder[int]().
		WithDelay(wait).
		WithSuccessThresholdRatio(uint(max(1, probes-failures+1)), uint(probes)).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			state.Set(float64(e.NewState))
			log.Warn("circuit breaker changed", "peer", name, "from", e.OldState.String(), "to", e.NewState.String())
		})
	if settings.SlidingWindowType == "TIME_BASED" {
		window := time.Duration(settings.SlidingWindowSize) * time.Second
		config = config.WithFailureRateThreshold(rate, uint(max(1, settings.MinimumNumberOfCalls)), window)
	} else {
		size := max(1, settings.SlidingWindowSize)
		config = config.WithFailureThresholdRatio(uint(max(1, math.Ceil(rate*float64(size)))), uint(size))
	}
	built := &breaker{config.Build(), settings}
	b.table.breakers[name] = built
	return built
}

// fallback is the error of a call whose circuit breaker names another path to go on with.
type fallback struct {
	path string
	err  error
}

func (f *fallback) Error() string { return f.err.Error() }
func (f *fallback) Unwrap() error { return f.err }

// circuitBreaker counts a call as failed when it yields no answer, and when its status is listed.
func circuitBreaker(b *builder, r *route, a arguments) error {
	statuses, err := parseStatuses(a.list("statusCodes"), nil)
	if err != nil {
		return err
	}
	target := a.text("fallbackUri")
	if target != "" {
		path, ok := strings.CutPrefix(target, "forward:")
		if _, _, err := cleanPath(path); !ok || err != nil {
			return fmt.Errorf("fallbackUri is %q: want forward:/path", target)
		}
		target = path
	}
	breaker := b.breaker(a.text("name"))
	otherwise := func(x *Exchange, err error) error {
		if target == "" || x.forwarded {
			return err
		}
		return &fallback{target, err}
	}
	r.policies = append(r.policies, func(ctx context.Context, x *Exchange, next func() (int, error)) (int, error) {
		if !breaker.TryAcquirePermit() {
			p := api.Status(http.StatusServiceUnavailable, "%s keeps failing and is not called for now; try again shortly", r.upstream.address)
			p.RetryAfter = max(time.Second, breaker.RemainingDelay())
			return 0, otherwise(x, p)
		}
		status, err := next()
		switch {
		case err != nil && blameless(ctx, err):
			// It says nothing about the upstream, but the permit of a half-open breaker must go back.
			if !breaker.IsClosed() {
				breaker.RecordSuccess()
			}
			return 0, err
		case err != nil:
			breaker.RecordFailure()
			return 0, otherwise(x, err)
		case slices.Contains(statuses, status):
			breaker.RecordFailure()
			if target != "" && !x.forwarded {
				return 0, &fallback{target, fmt.Errorf("%s answered %d", r.upstream.address, status)}
			}
			return status, nil
		}
		breaker.RecordSuccess()
		return status, nil
	})
	return nil
}

// blameless says whether a failed call failed by the client's doing: it left, or sent too much or too little.
func blameless(ctx context.Context, err error) bool {
	var problem *api.Problem
	if errors.As(err, &problem) && problem.Status < 500 {
		return true
	}
	return errors.Is(ctx.Err(), context.Canceled) && !errors.Is(context.Cause(ctx), errResponseTimeout)
}

func retryParameters() parameters {
	return parameters{names: []string{
		"retries", "statuses", "methods", "backoff.firstBackoff", "backoff.maxBackoff", "backoff.factor",
		"backoff.basedOnPreviousValue", "series", "exceptions",
	}}
}

// retry repeats calls that yield no answer or a listed status. Its backoff doubles from firstBackoff
// (or as factor says); exceptions are Java's and not used: every failure to get an answer counts.
func retry(b *builder, r *route, a arguments) error {
	retries, err := a.integer("retries", 1, 3)
	if err != nil {
		return err
	}
	series := []string{"SERVER_ERROR"}
	if len(a["series"]) > 0 || len(a["statuses"]) > 0 {
		series = a.list("series")
	}
	statuses, err := parseStatuses(a.list("statuses"), series)
	if err != nil {
		return err
	}
	methods := a.list("methods")
	if len(methods) == 0 {
		methods = []string{http.MethodGet}
	}
	for i, method := range methods {
		methods[i] = strings.ToUpper(method)
	}
	config := retrypolicy.NewBuilder[int]().WithMaxRetries(retries).ReturnLastFailure()
	if config, err = withBackoff(config, a); err != nil {
		return err
	}
	retried := b.gateway.metrics.retries.WithLabelValues(r.id)
	repeats := config.
		HandleIf(func(status int, err error) bool { return err != nil || slices.Contains(statuses, status) }).
		AbortIf(func(_ int, err error) bool { return isFinal(err) }).
		OnRetry(func(failsafe.ExecutionEvent[int]) { retried.Inc() }).
		Build()
	accepts := func(method string) bool { return slices.Contains(methods, method) }
	r.repeated = append(r.repeated, methods...)
	r.policies = append(r.policies, func(ctx context.Context, x *Exchange, next func() (int, error)) (int, error) {
		if !accepts(x.Method) {
			return next()
		}
		return failsafe.With(repeats).WithContext(ctx).Get(next)
	})
	return nil
}

func withBackoff(config retrypolicy.Builder[int], a arguments) (retrypolicy.Builder[int], error) {
	if len(a["backoff.firstBackoff"]) == 0 {
		return config, nil
	}
	first, err := a.duration("backoff.firstBackoff", 0)
	if err != nil {
		return nil, err
	}
	longest, err := a.duration("backoff.maxBackoff", max(10*time.Second, 2*first))
	if err != nil {
		return nil, err
	}
	factor, err := a.integer("backoff.factor", 1, 2)
	if err != nil {
		return nil, err
	}
	if first <= 0 || longest < first {
		return nil, errors.New("backoff: want 0 < firstBackoff <= maxBackoff")
	}
	if factor == 1 || longest == first {
		return config.WithDelay(first), nil
	}
	return config.WithBackoffFactor(first, longest, float64(factor)), nil
}

// isFinal says whether another try cannot help: the error is the client's doing.
func isFinal(err error) bool {
	var problem *api.Problem
	return errors.As(err, &problem) && problem.Status < 500 || errors.Is(err, context.Canceled)
}

// parseStatuses reads statuses and whole series of them such as SERVER_ERROR.
func parseStatuses(texts, series []string) ([]int, error) {
	var statuses []int
	for _, text := range texts {
		status, err := parseStatus(text)
		if err != nil {
			return nil, err
		}
		statuses = append(statuses, status)
	}
	names := []string{"SUCCESSFUL", "REDIRECTION", "CLIENT_ERROR", "SERVER_ERROR"}
	for _, name := range series {
		i := slices.Index(names, strings.ToUpper(name))
		if i < 0 {
			return nil, fmt.Errorf("series is %q: want some of %s", name, strings.Join(names, ", "))
		}
		for status := 200 + 100*i; status < 300+100*i; status++ {
			statuses = append(statuses, status)
		}
	}
	return statuses, nil
}
