package kit

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/propagators/b3"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// propagators reads B3 (single and multi) and W3C headers and writes all of them, since neighbours
// may know only one kind.
func propagators() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(
		propagation.TraceContext{}, propagation.Baggage{},
		b3.New(b3.WithInjectEncoding(b3.B3SingleHeader|b3.B3MultipleHeader)),
	)
}

// exportEvery is how long finished spans wait for company: a trace is to be found within a second of
// the answer it belongs to.
const exportEvery = 200 * time.Millisecond

// openTracing makes the service's own tracer, which sends to the collector's OTLP endpoint. A
// collector that is away costs spans, nothing else.
func (m *member) openTracing(ctx context.Context, common commonSettings) error {
	if m.service.Infrastructure || common.Management.Tracing.Sampling.Probability <= 0 {
		m.tracer = noop.NewTracerProvider()
		return nil
	}
	base := strings.TrimSuffix(common.Spring.Zipkin.BaseURL, "/")
	exporter, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(base+"/v1/traces"),
		otlptracehttp.WithHTTPClient(&http.Client{Timeout: 5 * time.Second}),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: time.Second, MaxInterval: 5 * time.Second, MaxElapsedTime: 30 * time.Second}),
	)
	if err != nil {
		return fmt.Errorf("trace collector %s: %w", common.Spring.Zipkin.BaseURL, err)
	}
	described := resource.NewSchemaless(
		attribute.String("service.name", m.service.Name),
		attribute.String("service.instance.id", m.service.Name+"@"+m.address),
	)
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithResource(described),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(common.Management.Tracing.Sampling.Probability))),
		sdktrace.WithBatcher(discreet{exporter}, sdktrace.WithBatchTimeout(exportEvery), sdktrace.WithMaxQueueSize(8192)),
	)
	m.tracer = provider
	m.closers = append(m.closers, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			m.log.Info("some spans were not delivered", "err", err)
		}
		return nil
	})
	return nil
}

// discreet is an exporter that leaves users' tokens out: a trace is for more eyes than a token, and
// paths and queries are part of it.
type discreet struct{ sdktrace.SpanExporter }

var jwtPattern = regexp.MustCompile(`eyJ[\w-]*\.[\w-]+\.[\w-]*`)

// ExportSpans implements sdktrace.SpanExporter.
func (d discreet) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	spans = slices.Clone(spans)
	for i, span := range spans {
		attributes := slices.Clone(span.Attributes())
		for j, a := range attributes {
			if a.Value.Type() == attribute.STRING {
				attributes[j].Value = attribute.StringValue(jwtPattern.ReplaceAllLiteralString(a.Value.AsString(), "TOKEN"))
			}
		}
		spans[i] = discreetSpan{span, attributes}
	}
	return d.SpanExporter.ExportSpans(ctx, spans)
}

type discreetSpan struct {
	sdktrace.ReadOnlySpan
	attributes []attribute.KeyValue
}

// Attributes implements sdktrace.ReadOnlySpan.
func (s discreetSpan) Attributes() []attribute.KeyValue { return s.attributes }

// background is the trace id of everything that is not traced; logs leave it out.
var background = trace.TraceID{15: 1}

// untraced marks work that belongs to no request: the polls of a background loop, seen every few
// seconds, would bury the traces of customers. Its calls carry the decision to the services called.
func untraced(ctx context.Context) context.Context {
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: background, SpanID: trace.SpanID{7: 1}, // any that are valid; what counts is that they are not sampled
	}))
}
