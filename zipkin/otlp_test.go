package zipkin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// TestOTLPExporter takes what the exporter of the OpenTelemetry SDK sends.
func TestOTLPExporter(t *testing.T) {
	t.Parallel()
	for name, compression := range map[string]otlptracehttp.Compression{"plain": otlptracehttp.NoCompression, "gzip": otlptracehttp.GzipCompression} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newSQLite(t, nil)
			server := httptest.NewServer(f)
			defer server.Close()
			exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(server.URL+"/v1/traces"), otlptracehttp.WithCompression(compression))
			if err != nil {
				t.Fatal(err)
			}
			provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter),
				sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "Order-Service"), attribute.StringSlice("zones", []string{"a", "b"}))))
			start := time.UnixMicro(1700000000000000)
			ctx, root := provider.Tracer("shop", oteltrace.WithInstrumentationVersion("1")).Start(context.Background(), "GET /orders",
				oteltrace.WithSpanKind(oteltrace.SpanKindServer), oteltrace.WithTimestamp(start))
			_, child := provider.Tracer("shop").Start(ctx, "charge", oteltrace.WithSpanKind(oteltrace.SpanKindClient), oteltrace.WithTimestamp(start.Add(time.Millisecond)),
				oteltrace.WithAttributes(attribute.String("peer.service", "Payment"), attribute.String("network.peer.address", "::ffff:10.0.0.2"),
					attribute.Int("network.peer.port", 8400), attribute.Bool("retried", true), attribute.Float64("share", 0.5)))
			child.RecordError(errors.New("declined"), oteltrace.WithTimestamp(start.Add(2*time.Millisecond)))
			child.SetStatus(codes.Error, "declined")
			child.End(oteltrace.WithTimestamp(start.Add(3 * time.Millisecond)))
			root.SetStatus(codes.Ok, "")
			root.End(oteltrace.WithTimestamp(start.Add(5 * time.Millisecond)))
			if err := provider.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.flush(t)

			traceID, rootID, childID := root.SpanContext().TraceID().String(), root.SpanContext().SpanID().String(), child.SpanContext().SpanID().String()
			want := map[string]Span{
				rootID: {TraceID: traceID, ID: rootID, Kind: kindServer, Name: "get /orders", Timestamp: 1700000000000000, Duration: 5000,
					LocalEndpoint: &Endpoint{ServiceName: "order-service"},
					Tags:          map[string]string{"zones": `["a","b"]`, "otel.scope.name": "shop", "otel.scope.version": "1", "otel.status_code": "OK"}},
				childID: {TraceID: traceID, ID: childID, ParentID: rootID, Kind: kindClient, Name: "charge", Timestamp: 1700000000001000, Duration: 2000,
					LocalEndpoint:  &Endpoint{ServiceName: "order-service"},
					RemoteEndpoint: &Endpoint{ServiceName: "payment", IPv4: "10.0.0.2", Port: 8400},
					Annotations:    []Annotation{{1700000000002000, `"exception":{"exception.message":"declined","exception.type":"*errors.errorString"}`}},
					Tags: map[string]string{"zones": `["a","b"]`, "otel.scope.name": "shop", "otel.status_code": "ERROR", "error": "declined",
						"peer.service": "Payment", "network.peer.address": "::ffff:10.0.0.2", "network.peer.port": "8400", "retried": "true", "share": "0.5"}},
			}
			got := make(map[string]Span)
			for _, s := range get[[]Span](t, f, "/api/v2/trace/"+traceID) {
				got[s.ID] = s
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOTLPRefusal checks that an error comes in the encoding of the request.
func TestOTLPRefusal(t *testing.T) {
	t.Parallel()
	f := newSQLite(t, nil)
	w := f.do(t, "POST", "/v1/traces", "\x0a\xff", "Content-Type", "application/x-protobuf")
	if w.Code != http.StatusBadRequest || w.Header().Get("Content-Type") != "application/x-protobuf" || !strings.HasPrefix(w.Body.String(), "\x12") {
		t.Errorf("POST = %d %q %q, want 400 and a google.rpc.Status", w.Code, w.Header().Get("Content-Type"), w.Body)
	}
	w = f.do(t, "POST", "/v1/traces", "", "Content-Type", "application/x-protobuf")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/x-protobuf" || w.Body.Len() != 0 {
		t.Errorf("POST of nothing = %d %q, want 200 and an empty message", w.Code, w.Body)
	}
}
