package zipkin

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// queryTimeout bounds the work for one request, as Zipkin's QUERY_TIMEOUT.
const queryTimeout = 11 * time.Second

// A handler answers a request, or returns why it cannot: a [refusal] is told
// to the client, any other error is logged.
type handler func(w http.ResponseWriter, r *http.Request) error

// A refusal is an error that the client is told as plain text, as Zipkin does.
type refusal struct {
	status int
	reason string
}

func (r *refusal) Error() string { return r.reason }

func badRequest(format string, args ...any) error {
	return &refusal{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func (s *Server) adapt(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), queryTimeout)
		defer cancel()
		if err := h(w, r.WithContext(ctx)); err != nil {
			status, reason := s.refuse(r, err)
			http.Error(w, reason, status)
		}
	})
}

// refuse decides what a client is told of an error, and logs the rest.
func (s *Server) refuse(r *http.Request, err error) (status int, reason string) {
	if refused, ok := errors.AsType[*refusal](err); ok {
		return refused.status, refused.reason
	}
	if r.Context().Err() != nil { // the client has gone
		return http.StatusServiceUnavailable, "request cancelled"
	}
	s.log.ErrorContext(r.Context(), "request failed", "route", r.Pattern, "err", err)
	if errors.Is(err, context.DeadlineExceeded) {
		return http.StatusServiceUnavailable, fmt.Sprintf("no answer within %v: ask for less, a shorter lookback for example", queryTimeout)
	}
	return http.StatusInternalServerError, "internal error"
}

// gzipFrom is the size from which answers are compressed.
const gzipFrom = 2048

// writeJSON answers with a value, or with bytes that are JSON already.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) error {
	body, ok := v.([]byte)
	if !ok {
		var err error
		if body, err = json.Marshal(v); err != nil {
			return fmt.Errorf("encode answer: %w", err)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Add("Vary", "Accept-Encoding")
	if len(body) >= gzipFrom && acceptsGzip(r) {
		w.Header().Set("Content-Encoding", "gzip")
		body = compress(body)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone is no error of ours
	return nil
}

func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, parameter, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(name) != "gzip" {
			continue
		}
		weight, weighted := strings.CutPrefix(strings.TrimSpace(parameter), "q=")
		q, err := strconv.ParseFloat(weight, 64)
		return !weighted || (err == nil && q > 0)
	}
	return false
}

func compress(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(body) // a buffer takes everything
	_ = z.Close()        // as above
	return b.Bytes()
}

// refuseTrace answers TRACE, which would send a request's headers back to
// scripts, with 405.
func refuseTrace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodTrace {
			http.Error(w, "TRACE is not allowed", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowOrigins lets pages of other origins use the API, and answers the
// question that browsers ask before a POST.
func (s *Server) allowOrigins(next http.Handler) http.Handler {
	everyone := slices.Contains(s.settings.AllowedOrigins, "*")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		if origin == "" || (!everyone && !slices.Contains(s.settings.AllowedOrigins, origin)) {
			next.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		if everyone {
			h.Set("Access-Control-Allow-Origin", "*")
		} else {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Add("Vary", "Origin")
		}
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", "GET,POST")
			h.Set("Access-Control-Allow-Headers", "content-type")
			h.Set("Access-Control-Max-Age", "86400")
			w.WriteHeader(http.StatusOK)
			return
		}
		next.ServeHTTP(w, r)
	})
}
