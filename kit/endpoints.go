package kit

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/trace"

	"tienda/fault"
)

// buckets of every duration, in seconds: from a cached read to the longest wait.
var buckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// observed wraps a handler in one span, one log line and one sample for each request. Nothing between
// it and the mux may copy the request: the mux writes the pattern of the route onto the request that
// it is handed, and that pattern is the label.
func (m *member) observed(handler http.Handler) http.Handler {
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "http_server_requests_seconds", Help: "Duration of requests.", Buckets: buckets,
	}, []string{"method", "uri", "status"})
	m.registerer.MustRegister(durations, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		handler.ServeHTTP(fault.Writer(answer, r), r)
		elapsed := time.Since(start)
		uri := patternPath(r.Pattern)
		durations.WithLabelValues(methodLabel(r.Method), uri, strconv.Itoa(answer.status)).Observe(elapsed.Seconds())
		span := trace.SpanFromContext(r.Context())
		span.SetName(methodLabel(r.Method) + " " + uri)
		m.log.LogAttrs(r.Context(), slog.LevelInfo, "request", slog.String("method", methodLabel(r.Method)),
			slog.String("route", uri), slog.Int("status", answer.status), slog.Duration("elapsed", elapsed))
	})
	if m.service.Infrastructure {
		return inner
	}
	return otelhttp.NewHandler(inner, m.service.Name, otelhttp.WithTracerProvider(m.tracer), otelhttp.WithPropagators(propagators()))
}

func (m *member) openMetrics() {
	m.metrics = prometheus.NewRegistry()
	m.registerer = prometheus.WrapRegistererWith(prometheus.Labels{"service": m.service.Name}, m.metrics)
}

// patternPath is the label of a route: its pattern without the method.
func patternPath(pattern string) string {
	if _, path, ok := strings.Cut(pattern, " "); ok {
		pattern = path
	}
	if pattern == "" {
		return "none" // never the raw path: anybody could make labels up
	}
	return pattern
}

func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodHead, http.MethodOptions:
		return method
	}
	return "other"
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote && status >= 200 {
		w.status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(data []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(data)
}

// Unwrap lets http.ResponseController reach flushing and hijacking.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// endpoints puts what operators and probes ask for in front of the service. They are on the service's
// own port, and the gateway never routes to them.
func (m *member) endpoints(handler http.Handler) http.Handler {
	metrics := promhttp.HandlerFor(m.metrics, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(m.log.Handler(), slog.LevelError)})
	actuator := m.service.Context + "/actuator"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.draining.Load() {
			w.Header().Set("Connection", "close") // the next connection leads to another instance, where there is one
		}
		path := strings.TrimSuffix(r.URL.Path, "/")
		switch path {
		case "/livez", actuator + "/health/liveness":
			health(w, http.StatusOK, map[string]any{"status": "UP"})
		case "/readyz", actuator + "/health/readiness":
			m.ready(w, r, false)
		case actuator + "/health":
			m.ready(w, r, true)
		case "/metrics", actuator + "/prometheus":
			metrics.ServeHTTP(w, r)
		case actuator:
			m.links(w, actuator)
		case actuator + "/info":
			health(w, http.StatusOK, map[string]any{"app": map[string]string{"name": m.service.Name, "title": m.service.Title, "version": Version()}})
		case actuator + "/metrics":
			m.metricNames(w)
		default:
			if name, ok := strings.CutPrefix(path, actuator+"/metrics/"); ok {
				m.metric(w, name)
				return
			}
			handler.ServeHTTP(w, r)
		}
	})
}

func health(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a probe that went away needs no answer
}

// ready asks the service's own checks, and nothing else: a neighbour's outage must not take this one
// out of rotation.
func (m *member) ready(w http.ResponseWriter, r *http.Request, details bool) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	m.mu.Lock()
	checks := m.checks
	m.mu.Unlock()
	status, code := "UP", http.StatusOK
	components := map[string]any{"ping": map[string]string{"status": "UP"}}
	for _, check := range checks {
		state := "UP"
		if err := check.run(ctx); err != nil {
			state, status, code = "DOWN", "DOWN", http.StatusServiceUnavailable
			m.log.WarnContext(ctx, "not ready", "check", check.name, "err", err)
		}
		components[check.name] = map[string]string{"status": state}
	}
	if m.draining.Load() || !m.warm.Load() {
		status, code = "OUT_OF_SERVICE", http.StatusServiceUnavailable
	}
	if !details {
		health(w, code, map[string]any{"status": status})
		return
	}
	breakers := map[string]any{}
	for name, state := range m.finder.breakerStates() {
		breakers[name] = map[string]any{"status": "UP", "details": map[string]string{"state": state}}
	}
	components["circuitBreakers"] = map[string]any{"status": "UP", "details": breakers}
	registered := "DOWN"
	if m.registry.Registered() {
		registered = "UP"
	}
	components["discoveryComposite"] = map[string]any{"status": "UP", "details": map[string]string{"eureka": registered}}
	health(w, code, map[string]any{"status": status, "components": components})
}

func (m *member) links(w http.ResponseWriter, base string) {
	links := map[string]any{}
	for _, name := range []string{"health", "info", "metrics", "prometheus"} {
		links[name] = map[string]any{"href": "http://" + m.address + base + "/" + name, "templated": false}
	}
	health(w, http.StatusOK, map[string]any{"_links": links})
}

func (m *member) metricNames(w http.ResponseWriter) {
	families, err := m.metrics.Gather()
	if err != nil {
		m.log.Error("gather metrics", "err", err)
	}
	names := []string{}
	for _, family := range families {
		names = append(names, family.GetName())
	}
	health(w, http.StatusOK, map[string]any{"names": names})
}

// metric shows one metric as Spring's actuator does: the sum over all labels.
func (m *member) metric(w http.ResponseWriter, name string) {
	families, err := m.metrics.Gather()
	if err != nil {
		m.log.Error("gather metrics", "err", err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		var count, total float64
		for _, sample := range family.GetMetric() {
			switch {
			case sample.GetHistogram() != nil:
				count += float64(sample.GetHistogram().GetSampleCount())
				total += sample.GetHistogram().GetSampleSum()
			case sample.GetCounter() != nil:
				total += sample.GetCounter().GetValue()
			case sample.GetGauge() != nil:
				total += sample.GetGauge().GetValue()
			}
		}
		measurements := []map[string]any{{"statistic": "VALUE", "value": total}}
		if count > 0 {
			measurements = []map[string]any{{"statistic": "COUNT", "value": count}, {"statistic": "TOTAL_TIME", "value": total}}
		}
		health(w, http.StatusOK, map[string]any{"name": name, "description": family.GetHelp(), "measurements": measurements})
		return
	}
	health(w, http.StatusNotFound, map[string]any{"status": http.StatusNotFound, "error": "no such metric"})
}

// version is set by the linker: -X tienda/kit.version=…
var version string

// Version is the version of the program: what the linker was told, the commit it was built from, or
// its module's.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value[:min(12, len(setting.Value))]
		}
	}
	return info.Main.Version
}
