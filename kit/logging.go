package kit

import (
	"context"
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// NewLogger logs to handler and adds the ids of the trace at hand to every line.
func NewLogger(handler slog.Handler) *slog.Logger { return slog.New(traced{handler}) }

type traced struct{ slog.Handler }

func (t traced) Handle(ctx context.Context, record slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() && span.TraceID() != background {
		record.AddAttrs(slog.String("traceId", span.TraceID().String()), slog.String("spanId", span.SpanID().String()))
	}
	return t.Handler.Handle(ctx, record)
}

func (t traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{t.Handler.WithAttrs(attrs)} }
func (t traced) WithGroup(name string) slog.Handler       { return traced{t.Handler.WithGroup(name)} }

// applyLogLevel sets the level of logging.level.root, when the settings have one.
func (m *member) applyLogLevel() {
	var logging struct {
		Root string `koanf:"root"`
	}
	if err := m.settings.Bind("logging.level", &logging); err != nil || logging.Root == "" || m.opts.Level == nil {
		return
	}
	var level slog.Level
	text := strings.ToUpper(logging.Root)
	if text == "TRACE" {
		text = "DEBUG"
	}
	if err := level.UnmarshalText([]byte(text)); err != nil {
		m.log.Warn("logging.level.root is none of debug, info, warn and error", "value", logging.Root)
		return
	}
	m.opts.Level.Set(level)
}
