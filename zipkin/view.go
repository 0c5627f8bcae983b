package zipkin

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
)

// A summary is a trace as the page lists it.
type summary struct {
	TraceID   string         `json:"traceId"`
	Service   string         `json:"service"` // of the first row, as is the name
	Name      string         `json:"name"`
	Timestamp int64          `json:"timestamp"` // microseconds
	Duration  int64          `json:"duration"`
	SpanCount int            `json:"spanCount"`
	Errors    int            `json:"errors"`
	Depth     int            `json:"depth"`
	Services  []serviceCount `json:"services"`
}

type serviceCount struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// A view is a trace as the page draws it: merged, corrected and in the order
// of a walk through its tree.
type view struct {
	summary
	Rows []viewRow `json:"rows"`
}

// A viewRow is one operation: a span, or the client's and the server's spans
// of one call.
type viewRow struct {
	ID          string           `json:"id"`
	ParentID    string           `json:"parentId,omitempty"`
	Kind        string           `json:"kind,omitempty"`
	Service     string           `json:"service"`
	Name        string           `json:"name"`
	Remote      string           `json:"remote,omitempty"`
	Depth       int              `json:"depth"`
	Children    int              `json:"children"`
	Timestamp   int64            `json:"timestamp"`
	Duration    int64            `json:"duration"`
	Failed      bool             `json:"failed"`
	Annotations []viewAnnotation `json:"annotations"`
	Tags        []viewTag        `json:"tags"`
}

type viewAnnotation struct {
	Timestamp int64  `json:"timestamp"`
	Value     string `json:"value"`
	Endpoint  string `json:"endpoint"`
	Derived   bool   `json:"derived"` // from the kind and the times of a span
}

type viewTag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// newView draws the reports of one trace, at least one.
func newView(reports []*Span) *view {
	merged := merge(reports)
	root := newTree(merged)
	root.correctSkew()
	v := &view{summary: summary{TraceID: merged[0].TraceID}, Rows: []viewRow{}}
	if root.span != nil {
		v.addRow(root, 0)
	} else {
		for _, child := range root.children {
			v.addRow(child, 0)
		}
	}
	v.summarize()
	return v
}

// addRow draws a node together with the shared spans of the same call below
// it, and then what those called.
func (v *view) addRow(n *node, depth int) {
	spans, rest := []*Span{n.span}, []*node(nil)
	for _, child := range n.children {
		if child.span.Shared && child.span.ID == n.span.ID {
			spans = append(spans, child.span)
			rest = append(rest, child.children...)
		} else {
			rest = append(rest, child)
		}
	}
	slices.SortStableFunc(rest, func(a, b *node) int { return cmp.Compare(a.span.Timestamp, b.span.Timestamp) })
	r := newViewRow(spans)
	r.Depth, r.Children = depth, len(rest)
	v.Rows = append(v.Rows, r)
	for _, child := range rest {
		v.addRow(child, depth+1)
	}
}

// newViewRow puts the halves of one call together. Times are the client's,
// who sees the whole; the name is that of the server, who did the work.
func newViewRow(spans []*Span) viewRow {
	r := viewRow{ID: spans[0].ID, ParentID: spans[0].ParentID, Annotations: []viewAnnotation{}, Tags: []viewTag{}}
	tags := make(map[string]string)
	for _, s := range spans {
		r.Kind = cmp.Or(r.Kind, s.Kind)
		r.Timestamp = cmp.Or(r.Timestamp, s.Timestamp)
		r.Duration = cmp.Or(r.Duration, s.Duration)
		r.Service = cmp.Or(s.service(), r.Service)
		r.Name = cmp.Or(s.Name, r.Name)
		r.Remote = cmp.Or(r.Remote, s.remoteService())
		r.Failed = r.Failed || s.failed()
		maps.Copy(tags, s.Tags)
		r.addAnnotations(s)
	}
	slices.SortStableFunc(r.Annotations, func(a, b viewAnnotation) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		r.Tags = append(r.Tags, viewTag{key, tags[key]})
	}
	return r
}

func (r *viewRow) addAnnotations(s *Span) {
	endpoint := s.LocalEndpoint.text()
	derive := func(timestamp int64, value string) {
		r.Annotations = append(r.Annotations, viewAnnotation{timestamp, value, endpoint, true})
	}
	title := map[string]string{kindClient: "Client", kindServer: "Server", kindProducer: "Producer", kindConsumer: "Consumer"}[s.Kind]
	if title != "" && s.Timestamp > 0 {
		derive(s.Timestamp, title+" start")
		if s.Duration > 0 {
			derive(s.Timestamp+s.Duration, title+" finish")
		}
	}
	for _, a := range s.Annotations {
		r.Annotations = append(r.Annotations, viewAnnotation{a.Timestamp, a.Value, endpoint, false})
	}
}

// text is an endpoint as people read it: "10.0.0.7:8300 (order-service)".
func (e *Endpoint) text() string {
	if e == nil {
		return ""
	}
	address := cmp.Or(e.IPv4, e.IPv6)
	if e.Port != 0 {
		address = net.JoinHostPort(address, strconv.Itoa(e.Port))
	}
	if address == "" || e.ServiceName == "" {
		return address + e.ServiceName
	}
	return fmt.Sprintf("%s (%s)", address, e.ServiceName)
}

func (v *view) summarize() {
	first := v.Rows[0]
	v.Service, v.Name, v.SpanCount = first.Service, first.Name, len(v.Rows)
	counts := make(map[string]int)
	end := int64(0)
	for _, r := range v.Rows {
		if r.Service != "" {
			counts[r.Service]++
		}
		if r.Failed {
			v.Errors++
		}
		v.Depth = max(v.Depth, r.Depth+1)
		if r.Timestamp > 0 {
			if v.Timestamp == 0 || r.Timestamp < v.Timestamp {
				v.Timestamp = r.Timestamp
			}
			end = max(end, r.Timestamp+r.Duration)
		}
	}
	v.Duration = max(end-v.Timestamp, 0)
	v.Services = []serviceCount{}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		v.Services = append(v.Services, serviceCount{name, counts[name]})
	}
	slices.SortStableFunc(v.Services, func(a, b serviceCount) int { return cmp.Compare(b.Count, a.Count) })
}

// getSummaries is getTraces for the page: what its list shows, without the spans.
func (s *Server) getSummaries(w http.ResponseWriter, r *http.Request) error {
	traces, err := s.search(r)
	if err != nil {
		return err
	}
	summaries := make([]summary, len(traces))
	for i, t := range traces {
		spans, err := decode(t)
		if err != nil {
			return err
		}
		summaries[i] = newView(spans).summary
	}
	return writeJSON(w, r, http.StatusOK, summaries)
}

func (s *Server) getView(w http.ResponseWriter, r *http.Request) error {
	t, err := s.traceByID(r.Context(), r.PathValue("traceId"))
	if err != nil {
		return err
	}
	spans, err := decode(t)
	if err != nil {
		return err
	}
	return writeJSON(w, r, http.StatusOK, newView(spans))
}

// postView draws a trace that someone has as a file. It is not stored.
func (s *Server) postView(w http.ResponseWriter, r *http.Request) error {
	body, done, err := s.readMessage(w, r)
	if err != nil {
		return err
	}
	defer done()
	list, err := DecodeJSON(body)
	if err != nil {
		return badRequest("this is no list of Zipkin v2 spans: %v", err)
	}
	if len(list) == 0 {
		return badRequest("the list has no spans")
	}
	spans := make([]*Span, len(list))
	for i := range list {
		spans[i] = &list[i]
	}
	return writeJSON(w, r, http.StatusOK, newView(spans))
}
