package zipkin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// jsonSpan is a v2 span as clients write it: numbers may be strings, nulls
// stand for absent fields, and unknown fields are skipped.
type jsonSpan struct {
	TraceID        string               `json:"traceId"`
	ParentID       string               `json:"parentId"`
	ID             string               `json:"id"`
	Kind           *string              `json:"kind"`
	Name           string               `json:"name"`
	Timestamp      looseInt             `json:"timestamp"`
	Duration       looseInt             `json:"duration"`
	LocalEndpoint  *jsonEndpoint        `json:"localEndpoint"`
	RemoteEndpoint *jsonEndpoint        `json:"remoteEndpoint"`
	Annotations    []jsonAnnotation     `json:"annotations"`
	Tags           map[string]looseText `json:"tags"`
	Debug          bool                 `json:"debug"`
	Shared         bool                 `json:"shared"`
}

type jsonEndpoint struct {
	ServiceName string   `json:"serviceName"`
	IPv4        string   `json:"ipv4"`
	IPv6        string   `json:"ipv6"`
	Port        looseInt `json:"port"`
}

type jsonAnnotation struct {
	Timestamp *looseInt `json:"timestamp"`
	Value     *string   `json:"value"`
}

// DecodeJSON reads a v2 JSON list of spans. One span that breaks a rule of the
// model refuses the whole list, so that a client sees its fault instead of a
// trace with holes.
func DecodeJSON(body []byte) ([]Span, error) {
	var list []*jsonSpan
	if err := unmarshal(body, &list); err != nil {
		return nil, err
	}
	spans := make([]Span, len(list))
	for i, j := range list {
		if j == nil {
			return nil, fmt.Errorf("span %d is null", i)
		}
		if err := j.span(&spans[i]); err != nil {
			return nil, fmt.Errorf("span %d: %w", i, err)
		}
	}
	return spans, nil
}

func (j *jsonSpan) span(s *Span) error {
	*s = Span{
		TraceID:        j.TraceID,
		ParentID:       j.ParentID,
		ID:             j.ID,
		Name:           j.Name,
		Timestamp:      int64(j.Timestamp),
		Duration:       int64(j.Duration),
		LocalEndpoint:  j.LocalEndpoint.endpoint(),
		RemoteEndpoint: j.RemoteEndpoint.endpoint(),
		Debug:          j.Debug,
		Shared:         j.Shared,
	}
	if j.Kind != nil {
		if *j.Kind == "" {
			return errors.New("kind must not be empty")
		}
		s.Kind = *j.Kind
	}
	for i, a := range j.Annotations {
		if a.Timestamp == nil || a.Value == nil {
			return fmt.Errorf("annotation %d needs a timestamp and a value", i)
		}
		s.Annotations = append(s.Annotations, Annotation{Timestamp: int64(*a.Timestamp), Value: *a.Value})
	}
	for key, value := range j.Tags {
		if !value.set {
			return fmt.Errorf("tag %s must not be null", quote(key))
		}
		setTag(s, key, value.text)
	}
	return s.normalize()
}

func (j *jsonEndpoint) endpoint() *Endpoint {
	if j == nil {
		return nil
	}
	// The bounds keep the value an int on every platform; normalize judges it.
	port := int(min(max(j.Port, 0), 1<<16))
	return &Endpoint{ServiceName: j.ServiceName, IPv4: j.IPv4, IPv6: j.IPv6, Port: port}
}

func setTag(s *Span, key, value string) {
	if s.Tags == nil {
		s.Tags = make(map[string]string)
	}
	s.Tags[key] = value
}

// A looseInt is an integer that may be written as a string or with a fraction
// of zero. Null leaves it as it is.
type looseInt int64

func (n *looseInt) UnmarshalJSON(data []byte) error {
	text := string(bytes.Trim(data, `"`))
	if text == "null" {
		return nil
	}
	i, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		f, ferr := strconv.ParseFloat(text, 64)
		if ferr != nil || f != float64(int64(f)) {
			return fmt.Errorf("%s is not an integer", quote(text))
		}
		i = int64(f)
	}
	*n = looseInt(i)
	return nil
}

// A looseText is a string that may be written as a number. Null leaves it
// unset, which differs from empty.
type looseText struct {
	text string
	set  bool
}

func (t *looseText) UnmarshalJSON(data []byte) error {
	switch c := data[0]; {
	case c == 'n':
		return nil
	case c == '"':
		t.set = true
		return json.Unmarshal(data, &t.text)
	case c == '-' || '0' <= c && c <= '9':
		t.text, t.set = string(data), true
		return nil
	default:
		return errors.New("a tag value must be a string or a number")
	}
}

// unmarshal keeps the names of Go types out of what a client is told.
func unmarshal(body []byte, into any) error {
	err := json.Unmarshal(body, into)
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		return fmt.Errorf("field %s must not be a JSON %s", quote(wrongType.Field), wrongType.Value)
	}
	return err
}
