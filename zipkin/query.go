package zipkin

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A query is a search for traces.
type query struct {
	service, remoteService, spanName string
	tags                             map[string]string // an empty value asks for the key alone
	terms                            []string          // annotation values or tag keys
	minDuration, maxDuration         int64             // microseconds; 0 is no bound
	endTs, lookback                  int64             // milliseconds
	limit                            int
}

// parseQuery reads the parameters of a search.
func parseQuery(values url.Values, settings *Settings, now time.Time) (*query, error) {
	q := &query{
		service:       lower(values.Get("serviceName")),
		remoteService: lower(values.Get("remoteServiceName")),
		spanName:      lower(values.Get("spanName")),
	}
	if q.spanName == "all" {
		q.spanName = ""
	}
	var err error
	if q.endTs, q.lookback, err = parseWindow(values, settings, now); err != nil {
		return nil, err
	}
	limit, err := positive(values, "limit", int64(settings.QueryLimit))
	if err != nil {
		return nil, err
	}
	q.limit = int(min(limit, 1<<30))
	if q.minDuration, err = positive(values, "minDuration", 0); err != nil {
		return nil, err
	}
	if q.maxDuration, err = positive(values, "maxDuration", 0); err != nil {
		return nil, err
	}
	if q.maxDuration > 0 && q.minDuration == 0 {
		return nil, errors.New("maxDuration needs minDuration")
	}
	if q.maxDuration > 0 && q.maxDuration < q.minDuration {
		return nil, errors.New("maxDuration must not be below minDuration")
	}
	return q, q.parseAnnotations(values.Get("annotationQuery"))
}

// parseWindow reads the window of time, in milliseconds, that ends at endTs.
func parseWindow(values url.Values, settings *Settings, now time.Time) (endTs, lookback int64, err error) {
	if endTs, err = positive(values, "endTs", now.UnixMilli()); err != nil {
		return 0, 0, err
	}
	lookback, err = positive(values, "lookback", settings.QueryLookback.Milliseconds())
	return endTs, lookback, err
}

func positive(values url.Values, name string, otherwise int64) (int64, error) {
	text := values.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s %s is not a whole number", name, quote(text))
	}
	if n <= 0 {
		return 0, fmt.Errorf("%s must be above 0", name)
	}
	return n, nil
}

// maxTerms bounds what one search may ask of the database.
const maxTerms = 100

// parseAnnotations reads terms joined by " and ": "key=value" asks for a tag,
// any other for an annotation value or a tag key.
func (q *query) parseAnnotations(text string) error {
	if text == "" {
		return nil
	}
	terms := strings.Split(text, " and ")
	if len(terms) > maxTerms {
		return fmt.Errorf("annotationQuery has %d terms, more than %d", len(terms), maxTerms)
	}
	q.tags = make(map[string]string)
	for _, term := range terms {
		key, value, isTag := strings.Cut(term, "=")
		switch key = strings.TrimSpace(key); {
		case isTag:
			q.tags[key] = strings.TrimSpace(value)
		case key != "" && !slices.Contains(q.terms, key):
			q.terms = append(q.terms, key)
		}
	}
	return nil
}

// from and to bound the time of a trace, in microseconds.
func (q *query) from() int64 { return micros(q.endTs - q.lookback) }
func (q *query) to() int64   { return micros(q.endTs) }

func micros(millis int64) int64 {
	const most = 1<<63 - 1
	return min(max(millis, 0), most/1000) * 1000
}

// matches decides over the spans of one trace: its time lies in the window,
// and every condition holds for some span of the service, not necessarily the
// same.
func (q *query) matches(spans []*Span) bool {
	ts := traceTime(spans)
	if ts == 0 || ts < q.from() || ts > q.to() {
		return false
	}
	if q.service != "" {
		spans = slices.DeleteFunc(slices.Clone(spans), func(s *Span) bool { return s.service() != q.service })
	}
	some := func(test func(*Span) bool) bool { return slices.ContainsFunc(spans, test) }
	if !some(func(s *Span) bool { return q.remoteService == "" || s.remoteService() == q.remoteService }) ||
		!some(func(s *Span) bool { return q.spanName == "" || s.Name == q.spanName }) ||
		!some(q.durationMatches) {
		return false
	}
	for key, value := range q.tags {
		if !some(func(s *Span) bool { return hasTag(s, key, value) }) {
			return false
		}
	}
	for _, term := range q.terms {
		if !some(func(s *Span) bool { return hasTag(s, term, "") || hasAnnotation(s, term) }) {
			return false
		}
	}
	return true
}

func (q *query) durationMatches(s *Span) bool {
	return s.Duration >= q.minDuration && (q.maxDuration == 0 || s.Duration <= q.maxDuration)
}

// hasTag asks for the key alone when value is empty.
func hasTag(s *Span, key, value string) bool {
	found, ok := s.Tags[key]
	return ok && (value == "" || found == value)
}

func hasAnnotation(s *Span, value string) bool {
	return slices.ContainsFunc(s.Annotations, func(a Annotation) bool { return a.Value == value })
}

// patterns are what LIKE must find in the JSON of a span for each term.
func (q *query) patterns() []string {
	var patterns []string
	add := func(json string) {
		// SQLite refuses longer patterns; without it the search is only slower.
		if len(json) < 10_000 {
			patterns = append(patterns, "%"+likeEscaper().Replace(json)+"%")
		}
	}
	for _, key := range slices.Sorted(maps.Keys(q.tags)) {
		if value := q.tags[key]; value != "" {
			add(jsonText(key) + ":" + jsonText(value))
		} else {
			add(jsonText(key) + ":")
		}
	}
	for _, term := range q.terms {
		add(jsonText(term))
	}
	return patterns
}

func likeEscaper() *strings.Replacer {
	return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")
}

// jsonText writes a text as newRow wrote it.
func jsonText(text string) string {
	data, _ := json.Marshal(text) // a string can always be written
	return string(data)
}

// traceTime is the time of a trace: that of a span without parent, else the
// earliest; 0 when no span has one.
func traceTime(spans []*Span) int64 {
	var d traceDelta
	for _, s := range spans {
		d.add(row{timestamp: s.Timestamp, root: s.ParentID == ""})
	}
	return d.ts
}
