// Package zipkin is a tracing server for clients of Zipkin and OpenTelemetry.
//
// It takes spans as Zipkin v2 JSON and protobuf and v1 JSON (POST
// /api/v2/spans and /api/v1/spans) and as OTLP over HTTP (POST /v1/traces),
// keeps them in SQL for a while, and answers the query API of Zipkin v2
// together with a page to look at traces. A message that was accepted is
// searchable a moment later: it waits in memory for the next transaction, so
// what was accepted in the last moment before a crash is lost. Traces help to
// understand a system; they are no record of it.
//
// Requests need no token, as those of Zipkin: who may reach the server is for
// the network to say. Thrift is not spoken.
//
// The API is described at https://zipkin.io/zipkin-api/; where that leaves
// room, the server does as github.com/openzipkin/zipkin does.
package zipkin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tienda/sqldb"
)

// Settings are the settings under tienda.zipkin. Start from [DefaultSettings].
type Settings struct {
	// Retention is how long a trace stays after its last span was stored.
	Retention time.Duration `koanf:"retention"`
	// MaxSpans bounds what is stored; the oldest traces go first.
	MaxSpans int `koanf:"max-spans"`
	// SampleRate is the share of traces that is kept, from 0 to 1. Spans
	// marked debug are always kept.
	SampleRate float64 `koanf:"sample-rate"`
	// StrictTraceID keeps traces apart whose ids agree in the low 64 bits only.
	StrictTraceID bool `koanf:"strict-trace-id"`
	// SearchEnabled false leaves only what starts from a trace id.
	SearchEnabled bool `koanf:"search-enabled"`
	// AutocompleteKeys are the tags whose values the search form completes.
	AutocompleteKeys []string `koanf:"autocomplete-keys"`
	// QueryLimit is how many traces a search returns that names no limit.
	QueryLimit int `koanf:"query-limit"`
	// QueryLookback is the window of a query that names none.
	QueryLookback time.Duration `koanf:"query-lookback"`
	// DefaultLookback is the window that the page begins with.
	DefaultLookback time.Duration `koanf:"default-lookback"`
	// AllowedOrigins are the origins whose pages may use the API; "*" is any.
	AllowedOrigins []string `koanf:"allowed-origins"`
	// Environment is shown on the page, to tell stage from production.
	Environment string `koanf:"environment"`
	// LogsURL is where the page finds the logs of a trace; it contains {traceId}.
	LogsURL string `koanf:"logs-url"`
}

// DefaultSettings returns what holds where nothing is set.
func DefaultSettings() Settings {
	return Settings{
		Retention:       72 * time.Hour,
		MaxSpans:        500_000,
		SampleRate:      1,
		StrictTraceID:   true,
		SearchEnabled:   true,
		QueryLimit:      10,
		QueryLookback:   24 * time.Hour,
		DefaultLookback: 15 * time.Minute,
		AllowedOrigins:  []string{"*"},
	}
}

// Validate says what is wrong with the settings.
func (s *Settings) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("tienda.zipkin."+format, args...))
		}
	}
	check(s.Retention > 0, "retention must be above 0, not %v", s.Retention)
	check(s.MaxSpans > 0, "max-spans must be above 0, not %d", s.MaxSpans)
	check(s.SampleRate >= 0 && s.SampleRate <= 1, "sample-rate must be from 0 to 1, not %v", s.SampleRate)
	check(s.QueryLimit > 0, "query-limit must be above 0, not %d", s.QueryLimit)
	check(s.QueryLookback >= time.Millisecond, "query-lookback must be at least 1ms, not %v", s.QueryLookback)
	check(s.DefaultLookback >= time.Millisecond, "default-lookback must be at least 1ms, not %v", s.DefaultLookback)
	return errors.Join(errs...)
}

// A Server collects spans and answers queries about them. It is an
// [http.Handler] that owns the whole path space of its port, except for what
// it is wrapped with. It stores nothing until [Server.Run] is running.
type Server struct {
	db       *sqldb.DB
	settings Settings
	log      *slog.Logger
	now      func() time.Time
	handler  http.Handler
	page     *page
	sampler  sampler
	counters *counters
	queue    *queue
	decoding chan struct{} // one for each message that is being decoded
}

// New returns a server over a database that has [Migrations]. Its settings
// must be valid ([Settings.Validate]); now tells the time of queries and
// retention. The counters of the collector go to metrics.
func New(db *sqldb.DB, settings Settings, metrics prometheus.Registerer, log *slog.Logger, now func() time.Time) *Server {
	s := &Server{
		db:       db,
		settings: settings,
		log:      log,
		now:      now,
		page:     newPage(),
		sampler:  newSampler(settings.SampleRate),
		counters: newCounters(metrics),
		queue:    newQueue(),
		decoding: make(chan struct{}, maxDecoding),
	}
	mux := http.NewServeMux()
	s.routes(mux)
	s.handler = s.allowOrigins(refuseTrace(mux))
	return s
}

// ServeHTTP answers all requests to the tracing server.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handler.ServeHTTP(w, r)
}

func (s *Server) routes(mux *http.ServeMux) {
	handle := func(pattern string, h handler) { mux.Handle(pattern, s.adapt(h)) }

	handle("POST /api/v2/spans", s.postSpans(formatV2))
	handle("POST /api/v1/spans", s.postSpans(formatV1))
	mux.HandleFunc("POST /v1/traces", s.postOTLP)

	for _, prefix := range []string{"", "/zipkin"} { // the page asks below its own path
		handle("GET "+prefix+"/api/v2/services", s.getServices)
		handle("GET "+prefix+"/api/v2/spans", s.getNames(nameSpan))
		handle("GET "+prefix+"/api/v2/remoteServices", s.getNames(nameRemote))
		handle("GET "+prefix+"/api/v2/traces", s.getTraces)
		handle("GET "+prefix+"/api/v2/trace/{traceId}", s.getTrace)
		handle("GET "+prefix+"/api/v2/traceMany", s.getTraceMany)
		handle("GET "+prefix+"/api/v2/dependencies", s.getDependencies)
		handle("GET "+prefix+"/api/v2/autocompleteKeys", s.getAutocompleteKeys)
		handle("GET "+prefix+"/api/v2/autocompleteValues", s.getAutocompleteValues)
		handle("GET "+prefix+"/config.json", s.getConfig)
	}
	for _, prefix := range []string{"", "/actuator"} {
		handle("GET "+prefix+"/health", s.getHealth)
		handle("GET "+prefix+"/info", s.getInfo)
	}
	handle("GET /zipkin/view/summaries", s.getSummaries)
	handle("GET /zipkin/view/trace/{traceId}", s.getView)
	handle("POST /zipkin/view/trace", s.postView)

	for _, path := range []string{"/zipkin/{$}", "/zipkin/traces/{traceId}", "/zipkin/dependency", "/zipkin/traceViewer"} {
		mux.HandleFunc("GET "+path, s.page.serveIndex)
	}
	mux.HandleFunc("GET /zipkin/static/{version}/{file}", s.page.serveStatic)
	mux.Handle("GET /zipkin/favicon.ico", http.RedirectHandler("/zipkin/static/"+s.page.version+"/favicon.svg", http.StatusFound))
	mux.Handle("GET /favicon.ico", http.RedirectHandler("/zipkin/favicon.ico", http.StatusFound))
	mux.Handle("GET /{$}", http.RedirectHandler("/zipkin/", http.StatusFound))
	mux.Handle("GET /zipkin", http.RedirectHandler("/zipkin/", http.StatusFound))
}

// Run writes what was collected and removes what is too old, until ctx ends.
// Then it writes what is still waiting, for at most a few seconds.
func (s *Server) Run(ctx context.Context) error {
	w := &writer{Server: s, seen: make(map[nameKey]time.Time)}
	return w.run(ctx)
}
