package zipkin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// A v1Span is a span of the older model, in which annotations with fixed
// names say what v2 says with kind, timestamp and duration.
type v1Span struct {
	TraceID           string         `json:"traceId"`
	ParentID          string         `json:"parentId"`
	ID                string         `json:"id"`
	Name              string         `json:"name"`
	Timestamp         looseInt       `json:"timestamp"`
	Duration          looseInt       `json:"duration"`
	Debug             bool           `json:"debug"`
	Annotations       []v1Annotation `json:"annotations"`
	BinaryAnnotations []v1Binary     `json:"binaryAnnotations"`
}

type v1Annotation struct {
	Timestamp *looseInt     `json:"timestamp"`
	Value     *string       `json:"value"`
	Endpoint  *jsonEndpoint `json:"endpoint"`
}

type v1Binary struct {
	Key      string          `json:"key"`
	Value    json.RawMessage `json:"value"`
	Endpoint *jsonEndpoint   `json:"endpoint"`
}

// DecodeJSONV1 reads a v1 JSON list of spans and converts it: one v1 span
// becomes a v2 span for each service that annotated it.
func DecodeJSONV1(body []byte) ([]Span, error) {
	var list []*v1Span
	if err := unmarshal(body, &list); err != nil {
		return nil, err
	}
	var spans []Span
	for i, v1 := range list {
		if v1 == nil {
			return nil, fmt.Errorf("span %d is null", i)
		}
		converted, err := v1.convert()
		if err != nil {
			return nil, fmt.Errorf("span %d: %w", i, err)
		}
		spans = append(spans, converted...)
	}
	return spans, nil
}

// A v1Event is an annotation with its endpoint.
type v1Event struct {
	timestamp int64
	endpoint  *Endpoint
}

// A v1Converter turns one v1 span into v2 spans. It follows
// zipkin2.v1.V1SpanConverter of the reference implementation.
type v1Converter struct {
	source              Span // the fields that all spans share
	timestamp, duration int64
	spans               []*Span             // the first takes what has no endpoint
	events              map[string]*v1Event // core annotations by their names
}

func (v *v1Span) convert() ([]Span, error) {
	c := v1Converter{
		source:    Span{TraceID: v.TraceID, ParentID: v.ParentID, ID: v.ID, Name: v.Name, Debug: v.Debug},
		timestamp: max(int64(v.Timestamp), 0),
		duration:  max(int64(v.Duration), 0),
		events:    make(map[string]*v1Event),
	}
	c.newSpan(nil)
	if err := c.readAnnotations(v.Annotations); err != nil {
		return nil, err
	}
	c.convertRPC()
	c.convertMessaging()
	if err := c.readBinaries(v.BinaryAnnotations); err != nil {
		return nil, err
	}
	spans := make([]Span, len(c.spans))
	for i, s := range c.spans {
		if err := s.normalize(); err != nil {
			return nil, err
		}
		spans[i] = *s
	}
	return spans, nil
}

func (c *v1Converter) newSpan(e *Endpoint) *Span {
	s := c.source
	s.LocalEndpoint = e
	c.spans = append(c.spans, &s)
	return &s
}

// at returns the span of an endpoint's service. The first span belongs to the
// first endpoint seen.
func (c *v1Converter) at(e *Endpoint) *Span {
	if e == nil {
		return c.spans[0]
	}
	for _, s := range c.spans {
		if s.LocalEndpoint == nil {
			s.LocalEndpoint = e
			return s
		}
		if s.service() == e.ServiceName {
			return s
		}
	}
	return c.newSpan(e)
}

func (c *v1Converter) readAnnotations(annotations []v1Annotation) error {
	kinds := map[string]string{
		"cs": kindClient, "cr": kindClient, "sr": kindServer, "ss": kindServer,
		"ms": kindProducer, "mr": kindConsumer, "ws": "", "wr": "",
	}
	for i, a := range annotations {
		if a.Timestamp == nil || a.Value == nil {
			return fmt.Errorf("annotation %d needs a timestamp and a value", i)
		}
		endpoint, err := a.Endpoint.endpoint().normalize()
		if err != nil {
			return fmt.Errorf("annotation %d: %w", i, err)
		}
		s := c.at(endpoint)
		kind, core := kinds[*a.Value]
		if !core || endpoint == nil {
			s.Annotations = append(s.Annotations, Annotation{int64(*a.Timestamp), *a.Value})
			continue
		}
		if kind != "" {
			s.Kind = kind
		}
		c.events[*a.Value] = &v1Event{int64(*a.Timestamp), endpoint}
	}
	c.inferStart("cs", "cr")
	c.inferStart("sr", "ss")
	return nil
}

// inferStart makes up a missing start when the span says that it ended at end.
func (c *v1Converter) inferStart(start, end string) {
	e := c.events[end]
	if c.events[start] == nil && e != nil && c.timestamp != 0 && c.duration != 0 && c.timestamp+c.duration == e.timestamp {
		c.events[start] = &v1Event{c.timestamp, e.endpoint}
	}
}

func (c *v1Converter) convertRPC() {
	cs, cr, sr, ss := c.events["cs"], c.events["cr"], c.events["sr"], c.events["ss"]
	switch {
	case cs != nil && sr != nil:
		// Both sides in one span: its times are the client's.
		c.setTimes(cs, cr)
		client := c.at(cs.endpoint)
		server := client
		if cs.endpoint.ServiceName == sr.endpoint.ServiceName { // a service that calls itself
			client.Kind = kindClient
			server = c.newSpan(sr.endpoint)
			server.Kind = kindServer
		} else {
			server = c.at(sr.endpoint)
		}
		server.Shared, server.Timestamp = true, sr.timestamp
		if ss != nil {
			server.Duration = ss.timestamp - sr.timestamp
		}
		if cr == nil && c.duration == 0 {
			client.Duration = 0
		}
	case cs != nil && cr != nil:
		c.setTimes(cs, cr)
	case sr != nil && ss != nil:
		c.setTimes(sr, ss)
	default:
		c.convertIncomplete(cs, cr, sr, ss)
	}
	// v1 has no flag for shared: a server that did not start the span did not
	// set its time either.
	if cs == nil && sr != nil && (c.timestamp == 0 || (ss != nil && c.duration == 0)) {
		c.at(sr.endpoint).Shared = true
	}
}

// convertIncomplete keeps a lone end as an annotation.
func (c *v1Converter) convertIncomplete(cs, cr, sr, ss *v1Event) {
	for _, s := range c.spans {
		start, end, name := cs, cr, "cr"
		switch s.Kind {
		case kindClient:
		case kindServer:
			start, end, name = sr, ss, "ss"
		default:
			continue
		}
		if start != nil {
			s.Timestamp = start.timestamp
		}
		if end != nil {
			s.Annotations = append(s.Annotations, Annotation{end.timestamp, name})
		}
	}
	if c.timestamp != 0 {
		c.spans[0].Timestamp, c.spans[0].Duration = c.timestamp, c.duration
	}
}

func (c *v1Converter) convertMessaging() {
	ms, mr, ws, wr := c.events["ms"], c.events["mr"], c.events["ws"], c.events["wr"]
	switch {
	case ms != nil && mr != nil:
		producer := c.at(ms.endpoint)
		consumer := producer
		if ms.endpoint.ServiceName == mr.endpoint.ServiceName {
			producer.Kind = kindProducer
			consumer = c.newSpan(mr.endpoint)
			consumer.Kind = kindConsumer
		} else {
			consumer = c.at(mr.endpoint)
		}
		consumer.Shared, consumer.Timestamp = true, mr.timestamp
		if wr != nil {
			consumer.Timestamp, consumer.Duration = wr.timestamp, mr.timestamp-wr.timestamp
		}
		producer.Timestamp, producer.Duration = ms.timestamp, 0
		if ws != nil {
			producer.Duration = ws.timestamp - ms.timestamp
		}
	case ms != nil:
		c.setTimes(ms, ws)
	case mr != nil && wr != nil:
		c.setTimes(wr, mr)
	case mr != nil:
		c.setTimes(mr, nil)
	default:
		for name, e := range map[string]*v1Event{"ws": ws, "wr": wr} {
			if e != nil {
				s := c.at(e.endpoint)
				s.Annotations = append(s.Annotations, Annotation{e.timestamp, name})
			}
		}
	}
}

// setTimes gives a span the times of its source, else those of its events.
func (c *v1Converter) setTimes(start, end *v1Event) {
	s := c.at(start.endpoint)
	if c.timestamp != 0 && c.duration != 0 {
		s.Timestamp, s.Duration = c.timestamp, c.duration
		return
	}
	s.Timestamp = start.timestamp
	if end != nil {
		s.Duration = end.timestamp - start.timestamp
	}
}

// readBinaries turns string values into tags, and the addresses of the other
// side into remote endpoints.
func (c *v1Converter) readBinaries(binaries []v1Binary) error {
	addresses := make(map[string]*Endpoint)
	for i, b := range binaries {
		if b.Key == "" {
			return fmt.Errorf("binary annotation %d needs a key", i)
		}
		endpoint, err := b.Endpoint.endpoint().normalize()
		if err != nil {
			return fmt.Errorf("binary annotation %d: %w", i, err)
		}
		if b.Key == "sa" || b.Key == "ca" || b.Key == "ma" {
			addresses[b.Key] = endpoint
			continue
		}
		value, ok, err := b.text()
		if err != nil {
			return fmt.Errorf("binary annotation %d: %w", i, err)
		}
		if s := c.at(endpoint); ok && (b.Key != "lc" || value != "") {
			setTag(s, b.Key, value)
		}
	}
	c.setRemotes(addresses["ca"], addresses["sa"], addresses["ma"])
	return nil
}

// text is the value of a tag. Numbers and bytes, which v1 told apart by a
// type, are not taken.
func (b *v1Binary) text() (value string, ok bool, err error) {
	raw := bytes.TrimSpace(b.Value)
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", false, errors.New("needs a value")
	case raw[0] == '"':
		err := json.Unmarshal(raw, &value)
		return value, true, err
	case raw[0] == 't' || raw[0] == 'f':
		return strconv.FormatBool(raw[0] == 't'), true, nil
	}
	return "", false, nil
}

func (c *v1Converter) setRemotes(ca, sa, ma *Endpoint) {
	cs, cr, sr, ss := c.events["cs"], c.events["cr"], c.events["sr"], c.events["ss"]
	if cs == nil && cr == nil && sr == nil && ss == nil && (ca != nil || sa != nil) {
		switch {
		case ca == nil:
			c.spans[0].RemoteEndpoint = sa
		case sa == nil:
			c.spans[0].Kind, c.spans[0].RemoteEndpoint = kindServer, ca
		default:
			c.at(ca).RemoteEndpoint = sa
		}
		return
	}
	if server := firstEvent(sr, ss); ca != nil && server != nil && *ca != *server.endpoint {
		if ca.ServiceName == server.endpoint.ServiceName { // Finagle gives the client's port the server's name
			ca = &Endpoint{IPv4: ca.IPv4, IPv6: ca.IPv6, Port: ca.Port}
		}
		c.at(server.endpoint).RemoteEndpoint = ca
	}
	if client := firstEvent(cs, cr); sa != nil && client != nil {
		c.at(client.endpoint).RemoteEndpoint = sa
	}
	for _, name := range []string{"ms", "mr"} {
		if e := c.events[name]; ma != nil && e != nil {
			c.at(e.endpoint).RemoteEndpoint = ma
		}
	}
}

func firstEvent(a, b *v1Event) *v1Event {
	if a != nil {
		return a
	}
	return b
}
