package zipkin

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// postOTLP takes the traces of OTLP over HTTP and answers in the encoding of
// the request, as the protocol asks: an empty response, or a google.rpc.Status.
func (s *Server) postOTLP(w http.ResponseWriter, r *http.Request) {
	s.counters.messages.Inc()
	media := mediaType(r)
	err := s.takeOTLP(w, r, media)
	if err == nil {
		writeOTLP(w, http.StatusOK, media, nil, []byte("{}"))
		return
	}
	s.counters.messagesDropped.Inc()
	status, reason := s.refuse(r, err)
	const messageField = 2 // of google.rpc.Status
	binary := protowire.AppendTag(nil, messageField, protowire.BytesType)
	binary = protowire.AppendString(binary, reason)
	text, _ := json.Marshal(map[string]string{"message": reason}) // strings can always be written
	writeOTLP(w, status, media, binary, text)
}

func writeOTLP(w http.ResponseWriter, status int, media string, binary, text []byte) {
	body := binary
	if media != "application/x-protobuf" {
		media, body = "application/json", text
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone is no error of ours
}

func (s *Server) takeOTLP(w http.ResponseWriter, r *http.Request, media string) error {
	decode := DecodeOTLP
	switch media {
	case "application/x-protobuf":
	case "application/json":
		decode = DecodeOTLPJSON
	default:
		return &refusal{http.StatusUnsupportedMediaType,
			fmt.Sprintf("media type %s is not supported: send application/x-protobuf or application/json", quote(media))}
	}
	body, done, err := s.readMessage(w, r)
	if err != nil {
		return err
	}
	defer done()
	s.counters.bytes.Add(float64(len(body)))
	s.counters.messageBytes.Set(float64(len(body)))
	spans, err := decode(body)
	if err != nil {
		return badRequest("Cannot decode OTLP spans: %v", err)
	}
	return s.accept(spans)
}

// DecodeOTLP reads an ExportTraceServiceRequest in protobuf and maps its spans
// to the model of Zipkin, as zipkin-otel and the OpenTelemetry specification
// do. (TracesData has the same fields and needs no gRPC.)
func DecodeOTLP(body []byte) ([]Span, error) {
	var traces tracepb.TracesData
	if err := proto.Unmarshal(body, &traces); err != nil {
		return nil, plainError(err)
	}
	return mapOTLP(&traces, func(id []byte) string { return hex.EncodeToString(id) })
}

// DecodeOTLPJSON is [DecodeOTLP] for the JSON encoding of OTLP.
func DecodeOTLPJSON(body []byte) ([]Span, error) {
	var traces tracepb.TracesData
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, &traces); err != nil {
		return nil, plainError(err)
	}
	// OTLP writes ids in hex where protobuf's JSON has base64. Every hex id
	// is base64 as well, so encoding again brings back what was sent.
	return mapOTLP(&traces, func(id []byte) string { return strings.ToLower(base64.StdEncoding.EncodeToString(id)) })
}

// plainError undoes what protobuf does to its errors so that nobody compares
// them: at random, it writes a no-break space for a space.
func plainError(err error) error {
	return errors.New(strings.ReplaceAll(err.Error(), "\u00a0", " "))
}

func mapOTLP(traces *tracepb.TracesData, id func([]byte) string) ([]Span, error) {
	var spans []Span
	for _, rs := range traces.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			for _, o := range ss.GetSpans() {
				s := Span{TraceID: id(o.GetTraceId()), ID: id(o.GetSpanId()), ParentID: id(o.GetParentSpanId())}
				s.mapResource(rs.GetResource())
				s.mapScope(ss.GetScope())
				s.mapOTLP(o)
				if err := s.normalize(); err != nil {
					return nil, fmt.Errorf("span %d: %w", len(spans), err)
				}
				spans = append(spans, s)
			}
		}
	}
	return spans, nil
}

func (s *Span) mapResource(r *resourcepb.Resource) {
	s.LocalEndpoint = &Endpoint{}
	for _, a := range r.GetAttributes() {
		if a.GetKey() == "service.name" {
			s.LocalEndpoint.ServiceName = attributeText(a.GetValue())
			continue
		}
		setTag(s, a.GetKey(), attributeText(a.GetValue()))
	}
}

func (s *Span) mapScope(scope *commonpb.InstrumentationScope) {
	if scope.GetName() != "" {
		setTag(s, "otel.scope.name", scope.GetName())
	}
	if scope.GetVersion() != "" {
		setTag(s, "otel.scope.version", scope.GetVersion())
	}
}

func (s *Span) mapOTLP(o *tracepb.Span) {
	s.Name = o.GetName()
	s.Kind = map[tracepb.Span_SpanKind]string{
		tracepb.Span_SPAN_KIND_CLIENT:   kindClient,
		tracepb.Span_SPAN_KIND_SERVER:   kindServer,
		tracepb.Span_SPAN_KIND_PRODUCER: kindProducer,
		tracepb.Span_SPAN_KIND_CONSUMER: kindConsumer,
	}[o.GetKind()]
	s.Timestamp = microsOf(o.GetStartTimeUnixNano())
	if s.Timestamp > 0 && o.GetEndTimeUnixNano() >= o.GetStartTimeUnixNano() {
		s.Duration = max(microsOf(o.GetEndTimeUnixNano()-o.GetStartTimeUnixNano()), 1)
	}
	attributes := make(map[string]string)
	for _, a := range o.GetAttributes() {
		attributes[a.GetKey()] = attributeText(a.GetValue())
	}
	for key, value := range attributes {
		setTag(s, key, value)
	}
	s.LocalEndpoint.setIP(attributes["network.local.address"])
	s.LocalEndpoint.Port = portOf(attributes["network.local.port"])
	if s.Kind == kindClient || s.Kind == kindProducer {
		s.RemoteEndpoint = &Endpoint{
			ServiceName: cmp.Or(attributes["peer.service"], attributes["network.peer.address"]),
			Port:        portOf(attributes["network.peer.port"]),
		}
		s.RemoteEndpoint.setIP(attributes["network.peer.address"])
	}
	for _, e := range o.GetEvents() {
		s.Annotations = append(s.Annotations, Annotation{microsOf(e.GetTimeUnixNano()), eventText(e)})
	}
	switch status := o.GetStatus(); status.GetCode() {
	case tracepb.Status_STATUS_CODE_OK:
		setTag(s, "otel.status_code", "OK")
	case tracepb.Status_STATUS_CODE_ERROR:
		setTag(s, "otel.status_code", "ERROR")
		if !s.failed() {
			setTag(s, "error", status.GetMessage())
		}
	}
}

func microsOf(nanos uint64) int64 { return int64(nanos / 1000) }

// portOf is 0 for what is no port.
func portOf(text string) int {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return int(port)
}

// eventText is the name of an event, with its attributes if it has any, in
// the form `"name":{"key":value}` of the OpenTelemetry specification.
func eventText(e *tracepb.Span_Event) string {
	if len(e.GetAttributes()) == 0 {
		return e.GetName()
	}
	attributes := make(map[string]any)
	for _, a := range e.GetAttributes() {
		attributes[a.GetKey()] = attributeValue(a.GetValue(), 0)
	}
	return plainJSON(e.GetName()) + ":" + plainJSON(attributes)
}

// plainJSON writes what attributeValue returned. It is read by people, so <
// and > stay as they are.
func plainJSON(v any) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v) // attributeValue returns what JSON can hold
	return strings.TrimSuffix(b.String(), "\n")
}

// attributeText is a value as a tag: text as it is, lists and maps as JSON.
func attributeText(v *commonpb.AnyValue) string {
	switch value := attributeValue(v, 0).(type) {
	case nil:
		return ""
	case string:
		return value
	default:
		return plainJSON(value)
	}
}

// attributeValue is a value as encoding/json takes it. Lists within lists end
// at a depth that no client means.
func attributeValue(v *commonpb.AnyValue, depth int) any {
	const deepest = 16
	if depth > deepest {
		return nil
	}
	switch value := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return value.StringValue
	case *commonpb.AnyValue_BoolValue:
		return value.BoolValue
	case *commonpb.AnyValue_IntValue:
		return value.IntValue
	case *commonpb.AnyValue_DoubleValue:
		if math.IsNaN(value.DoubleValue) || math.IsInf(value.DoubleValue, 0) { // which JSON cannot hold
			return strconv.FormatFloat(value.DoubleValue, 'g', -1, 64)
		}
		return value.DoubleValue
	case *commonpb.AnyValue_BytesValue:
		return base64.StdEncoding.EncodeToString(value.BytesValue)
	case *commonpb.AnyValue_ArrayValue:
		list := []any{}
		for _, element := range value.ArrayValue.GetValues() {
			list = append(list, attributeValue(element, depth+1))
		}
		return list
	case *commonpb.AnyValue_KvlistValue:
		values := make(map[string]any)
		for _, element := range value.KvlistValue.GetValues() {
			values[element.GetKey()] = attributeValue(element.GetValue(), depth+1)
		}
		return values
	}
	return nil
}
