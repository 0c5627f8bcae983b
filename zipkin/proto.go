package zipkin

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/encoding/protowire"
)

// DecodeProto reads a ListOfSpans of zipkin.proto (zipkin-api), by the same
// rules as [DecodeJSON].
func DecodeProto(body []byte) ([]Span, error) {
	var spans []Span
	err := eachField(body, func(f field) error {
		if f.number != 1 || f.kind != protowire.BytesType {
			return nil
		}
		s, err := decodeProtoSpan(f.bytes)
		if err == nil {
			err = s.normalize()
		}
		if err != nil {
			return fmt.Errorf("span %d: %w", len(spans), err)
		}
		spans = append(spans, s)
		return nil
	})
	return spans, err
}

func decodeProtoSpan(message []byte) (s Span, err error) {
	err = eachField(message, func(f field) error {
		switch {
		case f.is(1, protowire.BytesType):
			s.TraceID = hex.EncodeToString(f.bytes)
		case f.is(2, protowire.BytesType):
			s.ParentID = hex.EncodeToString(f.bytes)
		case f.is(3, protowire.BytesType):
			s.ID = hex.EncodeToString(f.bytes)
		case f.is(4, protowire.VarintType):
			if f.value > 4 {
				return fmt.Errorf("kind %d is not one of 0 to 4", f.value)
			}
			s.Kind = [...]string{"", kindClient, kindServer, kindProducer, kindConsumer}[f.value]
		case f.is(5, protowire.BytesType):
			s.Name = string(f.bytes)
		case f.is(6, protowire.Fixed64Type):
			s.Timestamp = int64(f.value)
		case f.is(7, protowire.VarintType):
			s.Duration = int64(f.value)
		case f.is(8, protowire.BytesType):
			s.LocalEndpoint, err = decodeProtoEndpoint(f.bytes)
			return err
		case f.is(9, protowire.BytesType):
			s.RemoteEndpoint, err = decodeProtoEndpoint(f.bytes)
			return err
		case f.is(10, protowire.BytesType):
			return decodeProtoAnnotation(&s, f.bytes)
		case f.is(11, protowire.BytesType):
			return decodeProtoTag(&s, f.bytes)
		case f.is(12, protowire.VarintType):
			s.Debug = f.value != 0
		case f.is(13, protowire.VarintType):
			s.Shared = f.value != 0
		}
		return nil
	})
	return s, err
}

func decodeProtoEndpoint(message []byte) (*Endpoint, error) {
	e := &Endpoint{}
	return e, eachField(message, func(f field) error {
		switch {
		case f.is(1, protowire.BytesType):
			e.ServiceName = string(f.bytes)
		case f.is(2, protowire.BytesType), f.is(3, protowire.BytesType):
			if addr, ok := netip.AddrFromSlice(f.bytes); ok {
				e.setIP(addr.String())
			}
		case f.is(4, protowire.VarintType):
			e.Port = int(min(max(int64(f.value), 0), 1<<16))
		}
		return nil
	})
}

// decodeProtoAnnotation ignores what lacks a time or a value.
func decodeProtoAnnotation(s *Span, message []byte) error {
	var a Annotation
	err := eachField(message, func(f field) error {
		switch {
		case f.is(1, protowire.Fixed64Type):
			a.Timestamp = int64(f.value)
		case f.is(2, protowire.BytesType):
			a.Value = string(f.bytes)
		}
		return nil
	})
	if a.Timestamp != 0 && a.Value != "" {
		s.Annotations = append(s.Annotations, a)
	}
	return err
}

func decodeProtoTag(s *Span, message []byte) error {
	var key, value string
	err := eachField(message, func(f field) error {
		switch {
		case f.is(1, protowire.BytesType):
			key = string(f.bytes)
		case f.is(2, protowire.BytesType):
			value = string(f.bytes)
		}
		return nil
	})
	if err == nil && key == "" {
		return errors.New("a tag needs a key")
	}
	setTag(s, key, value)
	return err
}

// A field is one field of a protobuf message: bytes or a number, by its kind.
type field struct {
	number protowire.Number
	kind   protowire.Type
	bytes  []byte
	value  uint64
}

func (f field) is(number protowire.Number, kind protowire.Type) bool {
	return f.number == number && f.kind == kind
}

// eachField visits the fields of a message. Fields of kinds that Zipkin's
// messages do not use are skipped.
func eachField(message []byte, visit func(field) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		f := field{number: number, kind: kind}
		switch kind {
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(message)
		case protowire.Fixed64Type:
			f.value, n = protowire.ConsumeFixed64(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := visit(f); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}
