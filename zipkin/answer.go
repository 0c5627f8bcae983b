package zipkin

import (
	"bytes"
	"context"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
)

// cacheFrom is the number of names above which they change too seldom to be
// asked for each time.
const cacheFrom = 3

func writeNames(w http.ResponseWriter, r *http.Request, names []string, cache bool) error {
	if cache {
		w.Header().Set("Cache-Control", "max-age=300, must-revalidate")
	}
	return writeJSON(w, r, http.StatusOK, names)
}

func (s *Server) getServices(w http.ResponseWriter, r *http.Request) error {
	names, err := s.names(r.Context(), nameService, "")
	if err != nil {
		return err
	}
	return writeNames(w, r, names, len(names) > cacheFrom)
}

// getNames answers the names of one kind that a service has. Whether they may
// be cached depends on the number of services, as in Zipkin.
func (s *Server) getNames(kind string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		service := r.URL.Query().Get("serviceName")
		if service == "" {
			return badRequest("serviceName is required")
		}
		names, err := s.names(r.Context(), kind, lower(service))
		if err != nil {
			return err
		}
		services, err := s.names(r.Context(), nameService, "")
		if err != nil {
			return err
		}
		return writeNames(w, r, names, len(services) > cacheFrom)
	}
}

func (s *Server) getAutocompleteKeys(w http.ResponseWriter, r *http.Request) error {
	keys := []string{}
	if s.settings.SearchEnabled {
		keys = append(keys, s.settings.AutocompleteKeys...)
	}
	return writeNames(w, r, keys, true)
}

func (s *Server) getAutocompleteValues(w http.ResponseWriter, r *http.Request) error {
	key := r.URL.Query().Get("key")
	if key == "" {
		return badRequest("key is required")
	}
	values := []string{}
	if slices.Contains(s.settings.AutocompleteKeys, key) {
		var err error
		if values, err = s.names(r.Context(), nameTag, key); err != nil {
			return err
		}
	}
	return writeNames(w, r, values, len(values) > cacheFrom)
}

func (s *Server) names(ctx context.Context, kind, scope string) ([]string, error) {
	if !s.settings.SearchEnabled {
		return []string{}, nil
	}
	return selectNames(ctx, s.db, kind, scope)
}

func (s *Server) getTraces(w http.ResponseWriter, r *http.Request) error {
	traces, err := s.search(r)
	if err != nil {
		return err
	}
	return writeJSON(w, r, http.StatusOK, joinTraces(traces))
}

// A trace is the stored spans of one trace, as they came.
type trace []storedSpan

// maxAnswer bounds the spans that one answer is made of, in bytes of JSON.
const maxAnswer = 32 << 20

// search answers the traces that a request asks for, the newest first.
func (s *Server) search(r *http.Request) ([]trace, error) {
	q, err := parseQuery(r.URL.Query(), &s.settings, s.now())
	if err != nil {
		return nil, badRequest("%v", err)
	}
	if !s.settings.SearchEnabled {
		return nil, nil
	}
	var found []trace
	size := 0
	done := make(map[string]bool) // the groups that were looked at
	var behind *traceRow
	for len(found) < q.limit {
		candidates, err := selectCandidates(r.Context(), s.db, q, behind, candidatesFor(q.limit-len(found)))
		if err != nil || len(candidates) == 0 {
			return found, err
		}
		behind = &candidates[len(candidates)-1]
		for chunk := range chunksOf(candidates) {
			groups, err := s.selectTraces(r.Context(), chunk)
			if err != nil {
				return nil, err
			}
			for _, t := range chunk {
				key := s.groupKey(t.id)
				if done[key] || len(found) == q.limit {
					continue
				}
				done[key] = true
				spans, err := decode(groups[key])
				if err != nil {
					return nil, err
				}
				if !q.matches(spans) {
					continue
				}
				for _, span := range groups[key] {
					size += len(span.body)
				}
				if size > maxAnswer {
					return nil, badRequest("the answer would exceed %d MiB: lower the limit or narrow the search", maxAnswer>>20)
				}
				found = append(found, groups[key])
			}
		}
	}
	return found, nil
}

// candidatesFor asks for a few more traces than are missing, since some may
// turn out not to match.
func candidatesFor(missing int) int {
	return min(max(missing, 10), 200)
}

// chunksOf splits traces so that no chunk has many more spans than can be
// held in memory comfortably.
func chunksOf(traces []traceRow) func(yield func([]traceRow) bool) {
	const most, together = 5000, 100
	return func(yield func([]traceRow) bool) {
		for start := 0; start < len(traces); {
			end, spans := start, int64(0)
			for end < len(traces) && end-start < together && (end == start || spans+traces[end].spans <= most) {
				spans += traces[end].spans
				end++
			}
			if !yield(traces[start:end]) {
				return
			}
			start = end
		}
	}
}

// selectTraces reads the spans of traces by the key of their group.
func (s *Server) selectTraces(ctx context.Context, traces []traceRow) (map[string]trace, error) {
	spans, err := selectSpans(ctx, s.db, lowsOf(traces))
	if err != nil {
		return nil, err
	}
	groups := make(map[string]trace)
	for _, span := range spans {
		key := s.groupKey(span.traceID)
		groups[key] = append(groups[key], span)
	}
	return groups, nil
}

// groupKey is what the spans of one trace have in common.
func (s *Server) groupKey(traceID string) string {
	if s.settings.StrictTraceID {
		return traceID
	}
	return lowID(traceID)
}

func (s *Server) getTrace(w http.ResponseWriter, r *http.Request) error {
	t, err := s.traceByID(r.Context(), r.PathValue("traceId"))
	if err != nil {
		return err
	}
	return writeJSON(w, r, http.StatusOK, joinSpans(nil, t))
}

func (s *Server) traceByID(ctx context.Context, text string) (trace, error) {
	id, err := normalTraceID(strings.TrimSpace(text))
	if err != nil {
		return nil, badRequest("%v", err)
	}
	groups, err := s.selectTraces(ctx, []traceRow{{id: id, low: lowID(id)}})
	if err != nil {
		return nil, err
	}
	t := groups[s.groupKey(id)]
	if len(t) == 0 {
		return nil, &refusal{http.StatusNotFound, "trace " + id + " not found"}
	}
	return t, nil
}

// maxTraceMany bounds the ids of one request.
const maxTraceMany = 1000

func (s *Server) getTraceMany(w http.ResponseWriter, r *http.Request) error {
	text := r.URL.Query().Get("traceIds")
	if text == "" {
		return badRequest("traceIds is required")
	}
	var rows []traceRow
	seen := make(map[string]bool)
	for part := range strings.SplitSeq(text, ",") {
		id, err := normalTraceID(strings.TrimSpace(part))
		if err != nil {
			return badRequest("traceIds: %v", err)
		}
		key := s.groupKey(id)
		if seen[key] {
			return badRequest("traceIds: trace %s is named twice", id)
		}
		seen[key] = true
		rows = append(rows, traceRow{id: id, low: lowID(id)})
	}
	if len(rows) < 2 || len(rows) > maxTraceMany {
		return badRequest("traceIds must name 2 to %d traces", maxTraceMany)
	}
	groups, err := s.selectTraces(r.Context(), rows)
	if err != nil {
		return err
	}
	var found []trace
	for _, t := range rows {
		if group := groups[s.groupKey(t.id)]; len(group) > 0 {
			found = append(found, group)
		}
	}
	return writeJSON(w, r, http.StatusOK, joinTraces(found))
}

// joinTraces writes stored traces as a JSON array of arrays.
func joinTraces(traces []trace) []byte {
	b := []byte{'['}
	for i, t := range traces {
		if i > 0 {
			b = append(b, ',')
		}
		b = joinSpans(b, t)
	}
	return append(b, ']')
}

func joinSpans(b []byte, t trace) []byte {
	bodies := make([][]byte, len(t))
	for i, span := range t {
		bodies[i] = span.body
	}
	b = append(b, '[')
	b = append(b, bytes.Join(bodies, []byte{','})...)
	return append(b, ']')
}

// getHealth tells whether the database answers, in the form of Zipkin's.
func (s *Server) getHealth(w http.ResponseWriter, r *http.Request) error {
	type component struct {
		Status  string         `json:"status"`
		Details map[string]any `json:"details,omitempty"`
	}
	storage, status := component{Status: "UP"}, http.StatusOK
	if err := s.db.Ping(r.Context()); err != nil {
		s.log.WarnContext(r.Context(), "database does not answer", "err", err)
		storage, status = component{Status: "DOWN", Details: map[string]any{"error": "the database does not answer"}}, http.StatusServiceUnavailable
	}
	return writeJSON(w, r, status, map[string]any{
		"status": storage.Status,
		"zipkin": component{storage.Status, map[string]any{"SQLStorage{}": storage}},
	})
}

func (s *Server) getInfo(w http.ResponseWriter, r *http.Request) error {
	version, commit := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				commit = setting.Value
			}
		}
	}
	return writeJSON(w, r, http.StatusOK, map[string]any{"zipkin": map[string]string{"version": version, "commit": commit}})
}

// getConfig tells the page of Zipkin, and ours, how to behave.
func (s *Server) getConfig(w http.ResponseWriter, r *http.Request) error {
	type dependency struct {
		Enabled       bool    `json:"enabled"`
		LowErrorRate  float64 `json:"lowErrorRate"`
		HighErrorRate float64 `json:"highErrorRate"`
	}
	config := struct {
		Environment     string     `json:"environment"`
		QueryLimit      int        `json:"queryLimit"`
		DefaultLookback int64      `json:"defaultLookback"`
		SearchEnabled   bool       `json:"searchEnabled"`
		LogsURL         *string    `json:"logsUrl"`
		SupportURL      *string    `json:"supportUrl"`
		ArchivePostURL  *string    `json:"archivePostUrl"`
		ArchiveURL      *string    `json:"archiveUrl"`
		Dependency      dependency `json:"dependency"`
	}{
		Environment:     s.settings.Environment,
		QueryLimit:      s.settings.QueryLimit,
		DefaultLookback: s.settings.DefaultLookback.Milliseconds(),
		SearchEnabled:   s.settings.SearchEnabled,
		Dependency:      dependency{Enabled: true, LowErrorRate: 0.5, HighErrorRate: 0.75},
	}
	if s.settings.LogsURL != "" {
		config.LogsURL = &s.settings.LogsURL
	}
	w.Header().Set("Cache-Control", "max-age=600")
	return writeJSON(w, r, http.StatusOK, config)
}
