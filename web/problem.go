package web

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/trace"

	"tienda/api"
)

// fail renders an error and logs it: once, here.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := AsProblem(err)
	switch {
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		a.Log.LogAttrs(r.Context(), slog.LevelDebug, "client went away")
	case p.Status == http.StatusBadGateway || p.Status == http.StatusServiceUnavailable || p.Status == http.StatusGatewayTimeout:
		a.Log.LogAttrs(r.Context(), slog.LevelWarn, "unavailable", slog.String("route", r.Pattern), slog.Any("err", err))
	case p.Status >= 500:
		a.Log.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("route", r.Pattern), slog.Any("err", err))
	}
	WriteProblem(w, r, p)
}

func (a *API) recovered(w http.ResponseWriter, r *http.Request, p any) {
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http panics with the very value
		panic(p) // net/http's own way to cut an answer off
	}
	a.Log.LogAttrs(r.Context(), slog.LevelError, "panic", slog.String("route", r.Pattern),
		slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	WriteProblem(w, r, api.Internal())
}

// databaseAway reports whether an error is of a database that cannot be reached. The package of databases
// marks such errors; this one does not know it.
func databaseAway(err error) bool {
	var marked interface{ Unavailable() bool }
	return errors.As(err, &marked) && marked.Unavailable()
}

// AsProblem is the problem that an error is shown as: itself, or a plain 500 that says nothing.
func AsProblem(err error) *api.Problem {
	if p, ok := errors.AsType[*api.Problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return api.TooLarge(e.Limit)
	}
	if databaseAway(err) {
		return api.Unavailable("the database")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return api.Status(http.StatusServiceUnavailable, "the work took longer than the caller waits; try again")
	}
	return api.Internal()
}

// WriteProblem answers a request with a problem document that names the path, the trace and the time.
func WriteProblem(w http.ResponseWriter, r *http.Request, problem *api.Problem) {
	p := *problem
	p.Instance = r.URL.Path
	p.Timestamp = api.DateTime{Time: time.Now()}
	if span := trace.SpanContextFromContext(r.Context()); span.IsValid() {
		p.TraceID = span.TraceID().String()
	}
	h := w.Header()
	if p.Status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", `Bearer realm="tienda"`)
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Del("Content-Length")
	h.Del("ETag")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone when this fails
}
