package zipkin

import (
	"cmp"
	"maps"
	"slices"
)

// merge brings the reports of one trace together: pieces of one span become
// one, the longest trace id holds for all, and servers that joined their
// client's span are marked as shared. The spans given are not changed.
//
// It follows zipkin2.internal.Trace of the reference implementation.
func merge(reports []*Span) []*Span {
	spans := make([]*Span, len(reports))
	for i, s := range reports {
		spans[i] = s.clone()
	}
	slices.SortStableFunc(spans, compareReports)
	traceID := ""
	for _, s := range spans {
		if len(s.TraceID) > len(traceID) {
			traceID = s.TraceID
		}
	}
	var merged []*Span
	for i := 0; i < len(spans); {
		s := spans[i]
		s.TraceID = traceID
		for i++; i < len(spans) && spans[i].ID == s.ID && spans[i].Shared == s.Shared && agree(s.LocalEndpoint, spans[i].LocalEndpoint); i++ {
			s.absorb(spans[i])
		}
		if len(merged) > 0 {
			s.fixShared(merged[len(merged)-1])
		}
		merged = append(merged, s)
	}
	return merged
}

// fixShared corrects a server span whose instrumentation reused the id of its
// client, the span before it, without saying so.
func (s *Span) fixShared(previous *Span) {
	if previous.ID != s.ID {
		return
	}
	if previous.Kind == kindClient && s.Kind == kindServer {
		s.Shared = true
	}
	if s.Shared && s.ParentID == "" {
		s.ParentID = previous.ParentID
	}
}

// absorb adds another piece of the same span.
func (s *Span) absorb(piece *Span) {
	s.ParentID = cmp.Or(s.ParentID, piece.ParentID)
	s.Kind = cmp.Or(s.Kind, piece.Kind)
	s.Name = cmp.Or(s.Name, piece.Name)
	s.Timestamp = cmp.Or(s.Timestamp, piece.Timestamp)
	s.Duration = cmp.Or(s.Duration, piece.Duration)
	s.LocalEndpoint = complete(s.LocalEndpoint, piece.LocalEndpoint)
	s.RemoteEndpoint = complete(s.RemoteEndpoint, piece.RemoteEndpoint)
	s.Annotations = append(s.Annotations, piece.Annotations...)
	slices.SortFunc(s.Annotations, compareAnnotations)
	s.Annotations = slices.Compact(s.Annotations)
	if s.Tags == nil {
		s.Tags = piece.Tags
	} else {
		maps.Copy(s.Tags, piece.Tags)
	}
	s.Debug = s.Debug || piece.Debug
}

// complete fills what the first endpoint leaves open from the second.
func complete(a, b *Endpoint) *Endpoint {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	return &Endpoint{
		ServiceName: cmp.Or(a.ServiceName, b.ServiceName),
		IPv4:        cmp.Or(a.IPv4, b.IPv4),
		IPv6:        cmp.Or(a.IPv6, b.IPv6),
		Port:        cmp.Or(a.Port, b.Port),
	}
}

// agree reports whether nothing known of one endpoint contradicts the other.
func agree(a, b *Endpoint) bool {
	if a == nil || b == nil {
		return true
	}
	return (a.ServiceName == b.ServiceName || a.ServiceName == "" || b.ServiceName == "") &&
		(a.IPv4 == b.IPv4 || a.IPv4 == "" || b.IPv4 == "") &&
		(a.IPv6 == b.IPv6 || a.IPv6 == "" || b.IPv6 == "") &&
		(a.Port == b.Port || a.Port == 0 || b.Port == 0)
}

// compareReports puts the reports of one span side by side, the client's
// before the server's.
func compareReports(a, b *Span) int {
	rank := func(s *Span) int {
		switch {
		case s.Shared:
			return 2
		case s.Kind != kindClient:
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(rank(a), rank(b)), compareEndpoints(a.LocalEndpoint, b.LocalEndpoint))
}

func compareEndpoints(a, b *Endpoint) int {
	switch {
	case a == b:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return cmp.Or(cmp.Compare(a.ServiceName, b.ServiceName), cmp.Compare(a.IPv4, b.IPv4), cmp.Compare(a.IPv6, b.IPv6))
}

// A node is a span at its place in the tree of its trace. The root of a trace
// that lacks its first span has no span.
type node struct {
	span     *Span
	parent   *node
	children []*node // by timestamp
	caller   *Span   // the nearest span above that has a kind: local spans may lie between
}

// A spanKey names a span as its children see it. A shared span is known by
// its endpoint too, since several servers may answer one call.
type spanKey struct {
	id       string
	shared   bool
	endpoint Endpoint
}

func keyOf(id string, shared bool, e *Endpoint) spanKey {
	k := spanKey{id: id, shared: shared}
	if shared && e != nil {
		k.endpoint = *e
	}
	return k
}

// newTree hangs merged spans under each other. It follows
// zipkin2.internal.SpanNode: a child first looks for a shared parent on its
// own endpoint, and what has no parent hangs under the root. A trace whose
// parents go round in a circle keeps all its spans, too.
func newTree(spans []*Span) *node {
	nodes := make(map[spanKey]*node, len(spans))
	all := make([]*node, len(spans))
	var root *node
	for i, s := range spans {
		n := &node{span: s}
		all[i] = n
		if root == nil && s.ParentID == "" && !s.Shared {
			root = n
		}
		nodes[keyOf(s.ID, s.Shared, s.LocalEndpoint)] = n
		if s.Shared { // for children that do not tell their endpoint
			nodes[keyOf(s.ID, true, nil)] = n
		}
	}
	if root == nil {
		root = &node{}
	}
	for _, n := range all {
		if n != root {
			n.parent = cmp.Or(findParent(nodes, n.span), root)
		}
	}
	cutCircles(all, root)
	for _, n := range all {
		if n != root {
			n.parent.children = append(n.parent.children, n)
		}
	}
	root.sortChildren()
	root.walk(func(n *node) {
		n.sortChildren()
		if n.parent == nil || n.parent.span == nil {
			return
		}
		n.caller = n.parent.caller
		if n.parent.span.Kind != "" {
			n.caller = n.parent.span
		}
	})
	return root
}

func (n *node) sortChildren() {
	slices.SortStableFunc(n.children, func(a, b *node) int { return cmp.Compare(a.span.Timestamp, b.span.Timestamp) })
}

func findParent(nodes map[spanKey]*node, s *Span) *node {
	if s.Shared {
		return nodes[keyOf(s.ID, false, nil)]
	}
	if s.ParentID == "" {
		return nil
	}
	if parent := nodes[keyOf(s.ParentID, true, s.LocalEndpoint)]; parent != nil {
		return parent
	}
	return nodes[keyOf(s.ParentID, false, nil)]
}

// cutCircles hangs one span of every circle of parents under the root.
func cutCircles(all []*node, root *node) {
	const unknown, climbing, rooted = 0, 1, 2
	state := make(map[*node]int, len(all))
	state[root] = rooted
	for _, n := range all {
		var path []*node
		for ; state[n] == unknown; n = n.parent {
			state[n] = climbing
			path = append(path, n)
		}
		if state[n] == climbing { // the path came back to itself
			n.parent = root
		}
		for _, n := range path {
			state[n] = rooted
		}
	}
}

// walk visits the spans breadth first.
func (n *node) walk(visit func(*node)) {
	for level := []*node{n}; len(level) > 0; {
		var next []*node
		for _, n := range level {
			if n.span != nil {
				visit(n)
			}
			next = append(next, n.children...)
		}
		level = next
	}
}
