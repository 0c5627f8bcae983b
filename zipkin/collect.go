package zipkin

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// maxMessage bounds a message, both as it comes and uncompressed.
const maxMessage = 10 << 20

// maxDecoding is how many messages are decoded at once: a large one takes ten
// times its size in memory while it is. The others wait for their turn.
const maxDecoding = 2

// A format is one of the encodings of a list of spans.
type format struct {
	name   string
	first  func(body []byte) bool // what a message begins with
	decode func(body []byte) ([]Span, error)
}

var (
	formatV2    = format{"JSON_V2", startsList, DecodeJSON}
	formatV1    = format{"JSON_V1", startsList, DecodeJSONV1}
	formatProto = format{"PROTO3", startsProto, DecodeProto}
)

func startsList(body []byte) bool { return body[0] == '[' }

// startsProto looks for the first span: field 1, with a length above 0.
func startsProto(body []byte) bool { return len(body) > 1 && body[0] == 0x0a && body[1] != 0 }

// postSpans takes a message whose JSON has the format given.
func (s *Server) postSpans(json format) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		s.counters.messages.Inc()
		if err := s.take(w, r, json); err != nil {
			s.counters.messagesDropped.Inc()
			return err
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
}

func (s *Server) take(w http.ResponseWriter, r *http.Request, f format) error {
	switch media := mediaType(r); {
	case media == "" || media == "application/json":
	case media == "application/x-protobuf" && f.name == formatV2.name:
		f = formatProto
	case media == "application/x-thrift":
		return &refusal{http.StatusUnsupportedMediaType, "thrift is not supported: send application/json"}
	default:
		return &refusal{http.StatusUnsupportedMediaType, fmt.Sprintf("media type %s is not supported: send application/json", quote(media))}
	}
	body, done, err := s.readMessage(w, r)
	if err != nil {
		return err
	}
	defer done()
	s.counters.bytes.Add(float64(len(body)))
	s.counters.messageBytes.Set(float64(len(body)))
	if len(body) == 0 || string(body) == "[]" { // how reporters ask whether we are there
		return nil
	}
	if err := f.check(body); err != nil {
		return err
	}
	spans, err := f.decode(body)
	if err != nil {
		return badRequest("Cannot decode %s spans: %v", f.name, err)
	}
	return s.accept(spans)
}

// check finds the messages that were sent to the wrong path or with the wrong
// media type, by the same bytes as zipkin2.collector and its HTTP server do.
func (f format) check(body []byte) error {
	received := ""
	switch {
	case !f.first(body):
		return badRequest("Expected a %s encoded list", f.name)
	case f.name == formatV2.name && bytes.Contains(body, []byte(`yAnnotations"`)):
		received = formatV1.name
	case f.name == formatV1.name && (bytes.Contains(body, []byte(`Endpoint"`)) || bytes.Contains(body, []byte(`"tags"`))):
		received = formatV2.name
	default:
		return nil
	}
	return badRequest("Expected a %s encoded list, but received: %s", f.name, received)
}

// mediaType is empty when the client does not say.
func mediaType(r *http.Request) string {
	value := r.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(value)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return value
	}
	return media
}

// readMessage reads a body that may be compressed. When it has come it waits for
// its turn to be decoded, which ends with done.
func (s *Server) readMessage(w http.ResponseWriter, r *http.Request) (body []byte, done func(), err error) {
	body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, nil, tooLarge()
	}
	if err != nil {
		return nil, nil, badRequest("Cannot read spans: the body ended early")
	}
	select {
	case s.decoding <- struct{}{}:
		done = func() { <-s.decoding }
	case <-r.Context().Done():
		return nil, nil, r.Context().Err()
	}
	if len(body) > 0 && strings.Contains(r.Header.Get("Content-Encoding"), "gzip") {
		if body, err = uncompress(body); err != nil {
			done()
			return nil, nil, err
		}
	}
	return body, done, nil
}

func uncompress(body []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, badRequest("Cannot gunzip spans")
	}
	body, err = io.ReadAll(io.LimitReader(z, maxMessage+1))
	if err != nil {
		return nil, badRequest("Cannot gunzip spans")
	}
	if len(body) > maxMessage {
		return nil, tooLarge()
	}
	return body, nil
}

func tooLarge() error {
	return &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("message exceeds %d MiB: send fewer spans at once", maxMessage>>20)}
}

// accept samples spans and queues them to be written. From here on the client
// is not told what happens to them: only the counters are.
func (s *Server) accept(spans []Span) error {
	s.counters.spans.Add(float64(len(spans)))
	s.counters.messageSpans.Set(float64(len(spans)))
	rows := make([]row, 0, len(spans))
	for i := range spans {
		if !s.sampler.keep(&spans[i]) {
			continue
		}
		r, err := newRow(&spans[i], s.settings.AutocompleteKeys)
		if err != nil {
			return err
		}
		rows = append(rows, r)
	}
	s.counters.spansDropped.Add(float64(len(spans) - len(rows)))
	if !s.queue.put(rows) {
		s.counters.spansDropped.Add(float64(len(rows)))
		s.log.Warn("spans dropped, the queue is full", "spans", len(rows))
	}
	return nil
}

// A sampler keeps a share of traces: the low half of a trace id, taken as a
// signed number, is kept when it is not farther from zero than the sampler's
// value. All spans of a trace get the same decision.
type sampler int64

// newSampler takes a rate from 0 to 1.
func newSampler(rate float64) sampler {
	if rate >= 1 { // 2^63 as a float is one above what an int64 holds
		return math.MaxInt64
	}
	return sampler(math.MaxInt64 * rate)
}

func (b sampler) keep(s *Span) bool {
	if s.Debug {
		return true
	}
	low, _ := strconv.ParseUint(lowID(s.TraceID), 16, 64) // a normal id always parses
	id := int64(low)
	if id == math.MinInt64 { // which has no absolute value
		id = math.MaxInt64
	}
	return max(id, -id) <= int64(b)
}

// counters are the collector's metrics, by the names Zipkin has for them.
type counters struct {
	messages, messagesDropped, bytes, spans, spansDropped prometheus.Counter
	messageSpans, messageBytes                            prometheus.Gauge
}

func newCounters(metrics prometheus.Registerer) *counters {
	labels := prometheus.Labels{"transport": "http"}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "zipkin_collector_" + name + "_total", Help: help, ConstLabels: labels})
		metrics.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "zipkin_collector_" + name, Help: help, ConstLabels: labels})
		metrics.MustRegister(g)
		return g
	}
	return &counters{
		messages:        counter("messages", "Messages received."),
		messagesDropped: counter("messages_dropped", "Messages refused."),
		bytes:           counter("bytes", "Bytes of messages received, uncompressed."),
		spans:           counter("spans", "Spans received."),
		spansDropped:    counter("spans_dropped", "Spans not stored: not sampled, or for want of room or database."),
		messageSpans:    gauge("message_spans", "Spans of the last message."),
		messageBytes:    gauge("message_bytes", "Bytes of the last message."),
	}
}
