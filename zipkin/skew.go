package zipkin

// A skew is how far the clock of a host runs ahead, in microseconds.
type skew struct {
	host *Endpoint
	by   int64
}

// correctSkew moves spans whose host has a clock that differs from that of
// its callers, so that no server seems to start before its client. It follows
// the ClockSkew of the reference implementation, which corrects nothing in a
// trace without its first span.
func (n *node) correctSkew() {
	if n.span != nil {
		n.adjust(skew{})
	}
}

func (n *node) adjust(inherited skew) {
	n.span.shift(inherited)
	if own, ok := n.skew(); ok {
		n.span.shift(own)
		inherited = own
	}
	for _, child := range n.children {
		child.adjust(inherited)
	}
}

// skew compares a server span with the client span above it.
func (n *node) skew() (skew, bool) {
	if n.parent == nil || n.parent.span == nil {
		return skew{}, false
	}
	client, server := n.parent.span, n.span
	if client.Kind != kindClient || server.Kind != kindServer ||
		client.Timestamp == 0 || server.Timestamp == 0 || server.Timestamp > client.Timestamp ||
		client.LocalEndpoint == nil || server.LocalEndpoint == nil || sameHost(client.LocalEndpoint, server.LocalEndpoint) {
		return skew{}, false
	}
	by := server.Timestamp - client.Timestamp
	if client.Duration == 0 || server.Duration == 0 || client.Duration < server.Duration {
		// A call that nobody waited for: all that is known is that the server came later.
		return skew{server.LocalEndpoint, by - 1}, true
	}
	latency := (client.Duration - server.Duration) / 2
	return skew{server.LocalEndpoint, by - latency}, true
}

// shift moves the times of a span of the skew's host.
func (s *Span) shift(k skew) {
	if k.by == 0 || s.LocalEndpoint == nil || !sameHost(k.host, s.LocalEndpoint) {
		return
	}
	if s.Timestamp != 0 {
		s.Timestamp -= k.by
	}
	for i := range s.Annotations {
		s.Annotations[i].Timestamp -= k.by
	}
}

func sameHost(a, b *Endpoint) bool {
	return (a.IPv6 != "" && a.IPv6 == b.IPv6) || (a.IPv4 != "" && a.IPv4 == b.IPv4)
}
