package zipkin

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// The kinds a span can have. A span without one stayed inside its process.
const (
	kindClient   = "CLIENT"
	kindServer   = "SERVER"
	kindProducer = "PRODUCER"
	kindConsumer = "CONSUMER"
)

// A Span is one operation of a trace, as the v2 model has it. The order of
// the fields is the order in which the reference implementation writes them.
type Span struct {
	TraceID        string            `json:"traceId"` // 16 or 32 lower-hex digits
	ParentID       string            `json:"parentId,omitempty"`
	ID             string            `json:"id"`
	Kind           string            `json:"kind,omitempty"`
	Name           string            `json:"name,omitempty"`
	Timestamp      int64             `json:"timestamp,omitempty"` // microseconds since 1970
	Duration       int64             `json:"duration,omitempty"`  // microseconds
	LocalEndpoint  *Endpoint         `json:"localEndpoint,omitempty"`
	RemoteEndpoint *Endpoint         `json:"remoteEndpoint,omitempty"`
	Annotations    []Annotation      `json:"annotations,omitempty"`
	Tags           map[string]string `json:"tags,omitempty"`
	Debug          bool              `json:"debug,omitempty"`
	Shared         bool              `json:"shared,omitempty"`
}

// An Endpoint is the network context of one side of a span.
type Endpoint struct {
	ServiceName string `json:"serviceName,omitempty"`
	IPv4        string `json:"ipv4,omitempty"`
	IPv6        string `json:"ipv6,omitempty"`
	Port        int    `json:"port,omitempty"`
}

// An Annotation is something that happened during a span.
type Annotation struct {
	Timestamp int64  `json:"timestamp"` // microseconds since 1970
	Value     string `json:"value"`
}

// normalize brings a decoded span into the form that is stored and answered,
// or says what makes it unacceptable.
func (s *Span) normalize() error {
	var err error
	if s.TraceID, err = normalTraceID(s.TraceID); err != nil {
		return err
	}
	if s.ID, err = normalSpanID(s.ID); err != nil {
		return fmt.Errorf("id %w", err)
	}
	if s.ID == zeroID {
		return errors.New("id must not be all zeros")
	}
	if s.ParentID != "" {
		if s.ParentID, err = normalSpanID(s.ParentID); err != nil {
			return fmt.Errorf("parentId %w", err)
		}
		if s.ParentID == zeroID || s.ParentID == s.ID {
			s.ParentID = ""
		}
	}
	switch s.Kind {
	case "", kindClient, kindServer, kindProducer, kindConsumer:
	default:
		return fmt.Errorf("kind %q is not one of CLIENT, SERVER, PRODUCER, CONSUMER", s.Kind)
	}
	s.Name = lower(s.Name)
	s.Timestamp, s.Duration = max(s.Timestamp, 0), max(s.Duration, 0)
	if s.LocalEndpoint, err = s.LocalEndpoint.normalize(); err != nil {
		return fmt.Errorf("localEndpoint: %w", err)
	}
	if s.RemoteEndpoint, err = s.RemoteEndpoint.normalize(); err != nil {
		return fmt.Errorf("remoteEndpoint: %w", err)
	}
	slices.SortFunc(s.Annotations, compareAnnotations)
	s.Annotations = slices.Compact(s.Annotations)
	if s.Kind == kindClient {
		s.Shared = false
	}
	return nil
}

// normalize returns nil for an endpoint that says nothing.
func (e *Endpoint) normalize() (*Endpoint, error) {
	if e == nil {
		return nil, nil
	}
	if e.Port > 65535 {
		return nil, fmt.Errorf("port %d is above 65535", e.Port)
	}
	n := Endpoint{ServiceName: lower(e.ServiceName), Port: max(e.Port, 0)}
	n.setIP(e.IPv4)
	n.setIP(e.IPv6)
	if n == (Endpoint{}) {
		return nil, nil
	}
	return &n, nil
}

// setIP puts an address into the field of its family, whichever field it came
// in. What is no address is ignored, as the reference implementation does.
func (e *Endpoint) setIP(text string) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		e.IPv4 = addr.String()
	} else {
		e.IPv6 = addr.String()
	}
}

func (e *Endpoint) serviceName() string {
	if e == nil {
		return ""
	}
	return e.ServiceName
}

func (s *Span) service() string       { return s.LocalEndpoint.serviceName() }
func (s *Span) remoteService() string { return s.RemoteEndpoint.serviceName() }

// failed reports the presence of the error tag: its value does not matter.
func (s *Span) failed() bool {
	_, ok := s.Tags["error"]
	return ok
}

// clone copies what merging and skew correction write to.
func (s *Span) clone() *Span {
	c := *s
	c.Annotations = slices.Clone(s.Annotations)
	c.Tags = maps.Clone(s.Tags)
	return &c
}

const zeroID = "0000000000000000"

// normalTraceID accepts 1 to 32 lower-hex digits and returns 16 or 32. An id
// whose high half is zero is a 64-bit id written long.
func normalTraceID(id string) (string, error) {
	if !isLowerHex(id, 32) {
		return "", fmt.Errorf("traceId %s must be 1 to 32 lower-hex digits", quote(id))
	}
	if len(id) <= 16 {
		id = zeroID[len(id):] + id
	} else {
		id = zeroID[:32-len(id)] + id
		id = strings.TrimPrefix(id, zeroID)
	}
	if id == zeroID {
		return "", errors.New("traceId must not be all zeros")
	}
	return id, nil
}

func normalSpanID(id string) (string, error) {
	if !isLowerHex(id, 16) {
		return "", fmt.Errorf("%s must be 1 to 16 lower-hex digits", quote(id))
	}
	return zeroID[len(id):] + id, nil
}

// lowID is the half of a trace id by which 64-bit and 128-bit reports of one
// trace can be brought together.
func lowID(traceID string) string {
	return traceID[len(traceID)-16:]
}

func isLowerHex(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// lower folds a name the way every name of the model is kept, and makes sure
// that what arrives outside JSON can be written as JSON again.
func lower(name string) string {
	return strings.ToLower(strings.ToValidUTF8(name, "\uFFFD"))
}

// quote shortens what a client sent before it goes into an answer.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}

func compareAnnotations(a, b Annotation) int {
	return cmp.Or(cmp.Compare(a.Timestamp, b.Timestamp), cmp.Compare(a.Value, b.Value))
}
