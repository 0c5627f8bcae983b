package zipkin

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protowire"
)

func TestNormalTraceID(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"1":                                "0000000000000001",
		"5af7183fb1d4cf5f":                 "5af7183fb1d4cf5f",
		"15af7183fb1d4cf5f":                "00000000000000015af7183fb1d4cf5f",
		"00000000000000005af7183fb1d4cf5f": "5af7183fb1d4cf5f",
		"80f198ee56343ba864fe8b2a57d3eff7": "80f198ee56343ba864fe8b2a57d3eff7",
		"80f198ee56343ba80000000000000000": "80f198ee56343ba80000000000000000",
		"":                                 "", "0": "", "00000000000000000000000000000000": "", "A": "", "0x1": "", "g": "", strings.Repeat("1", 33): "",
	} {
		got, err := normalTraceID(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("normalTraceID(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestEndpointNormalize(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in   Endpoint
		want *Endpoint
	}{
		{Endpoint{}, nil},
		{Endpoint{IPv4: "host", Port: -1}, nil},
		{Endpoint{ServiceName: "ÄB"}, &Endpoint{ServiceName: "äb"}},
		{Endpoint{IPv4: "::1"}, &Endpoint{IPv6: "::1"}},
		{Endpoint{IPv6: "1.2.3.4"}, &Endpoint{IPv4: "1.2.3.4"}},
		{Endpoint{IPv6: "::ffff:1.2.3.4", Port: 65535}, &Endpoint{IPv4: "1.2.3.4", Port: 65535}},
		{Endpoint{IPv6: "fe80:0:0::1%eth0", IPv4: "1.2.3.4"}, &Endpoint{IPv4: "1.2.3.4", IPv6: "fe80::1"}},
	} {
		got, err := test.in.normalize()
		if err != nil {
			t.Errorf("normalize(%v): %v", test.in, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("normalize(%v) (-want +got):\n%s", test.in, diff)
		}
	}
}

// TestFieldOrder holds the order in which the reference implementation writes.
func TestFieldOrder(t *testing.T) {
	t.Parallel()
	e := &Endpoint{"s", "1.2.3.4", "::1", 5}
	got, err := json.Marshal(Span{"1", "2", "3", "K", "n", 4, 5, e, e, []Annotation{{0, ""}}, map[string]string{"b": "", "a": "x"}, true, true})
	const endpoint = `{"serviceName":"s","ipv4":"1.2.3.4","ipv6":"::1","port":5}`
	const want = `{"traceId":"1","parentId":"2","id":"3","kind":"K","name":"n","timestamp":4,"duration":5,"localEndpoint":` + endpoint +
		`,"remoteEndpoint":` + endpoint + `,"annotations":[{"timestamp":0,"value":""}],"tags":{"a":"x","b":""},"debug":true,"shared":true}`
	if err != nil || string(got) != want {
		t.Errorf("Marshal = %s, %v, want %s", got, err, want)
	}
}

func TestSampler(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rate float64
		id   string
		keep bool
	}{
		{1, "8000000000000000", true}, // the lowest number, which has no absolute value
		{1, "7fffffffffffffff", true},
		{0, "0000000000000001", false},
		{0.5, "3fffffffffffffff", true},
		{0.5, "4000000000000001", false},
		{0.5, "c000000000000001", true},
		{0.5, "bfffffffffffffff", false},
		{0.5, "ffffffffffffffff0000000000000001", true}, // the high half does not matter
	} {
		if got := newSampler(test.rate).keep(&Span{TraceID: test.id}); got != test.keep {
			t.Errorf("keep(%v, %s) = %v, want %v", test.rate, test.id, got, test.keep)
		}
	}
	if !newSampler(0).keep(&Span{TraceID: "1000000000000000", Debug: true}) {
		t.Error("keep(0, debug) = false, want true")
	}
	kept := 0
	const spans = 10_000
	for i := range uint64(spans) {
		id := make([]byte, 8)
		for j := range id { // spread over all ids
			id[j] = byte((i * 0x9e3779b97f4a7c15) >> (8 * j))
		}
		if newSampler(0.25).keep(&Span{TraceID: hexID(id)}) {
			kept++
		}
	}
	if share := float64(kept) / spans; math.Abs(share-0.25) > 0.02 {
		t.Errorf("rate 0.25 kept %v of all traces", share)
	}
}

func hexID(id []byte) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, c := range id {
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func TestDecodeProto(t *testing.T) {
	t.Parallel()
	text := func(b []byte, number protowire.Number, value string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, number, protowire.BytesType), value)
	}
	varint := func(b []byte, number protowire.Number, value uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), value)
	}
	fixed := func(b []byte, number protowire.Number, value uint64) []byte {
		return protowire.AppendFixed64(protowire.AppendTag(b, number, protowire.Fixed64Type), value)
	}
	endpoint := varint(text(text(text(nil, 1, "Shop"), 2, "\x0a\x00\x00\x01"), 3, strings.Repeat("\x00", 15)+"\x01"), 4, 8080)
	span := text(nil, 1, "\x00\x00\x00\x00\x00\x00\x00\x00\x5a\xf7\x18\x3f\xb1\xd4\xcf\x5f")
	span = text(text(span, 2, "\x00\x00\x00\x00\x00\x00\x00\x02"), 3, "\x00\x00\x00\x00\x00\x00\x00\x03")
	span = text(varint(span, 4, 2), 5, "GET")
	span = varint(fixed(span, 6, 1700000000000000), 7, 25)
	span = text(text(span, 8, string(endpoint)), 9, string(text(nil, 1, "caller")))
	span = text(text(span, 10, string(text(fixed(nil, 1, 7), 2, "b"))), 10, string(text(fixed(nil, 1, 6), 2, "a")))
	span = text(span, 10, string(text(nil, 2, "no time")))
	span = text(text(span, 11, string(text(text(nil, 1, "k"), 2, "v"))), 11, string(text(nil, 1, "empty")))
	span = varint(varint(varint(span, 12, 1), 13, 1), 99, 1)

	got, err := DecodeProto(text(nil, 1, string(span)))
	if err != nil {
		t.Fatal(err)
	}
	want := []Span{{
		TraceID: "5af7183fb1d4cf5f", ParentID: "0000000000000002", ID: "0000000000000003", Kind: kindServer, Name: "get",
		Timestamp: 1700000000000000, Duration: 25,
		LocalEndpoint:  &Endpoint{"shop", "10.0.0.1", "::1", 8080},
		RemoteEndpoint: &Endpoint{ServiceName: "caller"},
		Annotations:    []Annotation{{6, "a"}, {7, "b"}},
		Tags:           map[string]string{"k": "v", "empty": ""},
		Debug:          true, Shared: true,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("DecodeProto (-want +got):\n%s", diff)
	}
	f := newSQLite(t, nil)
	if w := f.do(t, "POST", "/api/v2/spans", string(text(nil, 1, string(span))), "Content-Type", "application/x-protobuf"); w.Code != 202 {
		t.Errorf("POST protobuf = %d %s, want 202", w.Code, w.Body)
	}
	if diff := cmp.Diff(want, get[[]Span](t, f, "/api/v2/trace/5af7183fb1d4cf5f")); diff != "" {
		t.Errorf("GET trace (-want +got):\n%s", diff)
	}
	if _, err := DecodeProto(text(nil, 1, string(span[:20]))); err == nil {
		t.Error("DecodeProto of half a span = nil error, want one")
	}
}

func TestDecodeJSONV1(t *testing.T) {
	t.Parallel()
	const (
		web = `{"serviceName":"web","ipv4":"10.0.0.1"}`
		app = `{"serviceName":"app","ipv4":"10.0.0.2"}`
	)
	webEndpoint := &Endpoint{ServiceName: "web", IPv4: "10.0.0.1"}
	appEndpoint := &Endpoint{ServiceName: "app", IPv4: "10.0.0.2"}
	event := func(timestamp, value, endpoint string) string {
		return `{"timestamp":` + timestamp + `,"value":"` + value + `","endpoint":` + endpoint + `}`
	}
	list := func(elements ...string) string { return "[" + strings.Join(elements, ",") + "]" }
	span := func(change func(*Span)) Span {
		s := Span{TraceID: "0000000000000001", ID: "0000000000000002"}
		change(&s)
		return s
	}
	for _, test := range []struct {
		name, times, annotations, binaries string
		want                               []Span
	}{
		{"client", "", list(event("10", "cs", web), event("30", "cr", web), event("20", "x", web)), list(`{"key":"sa","value":true,"endpoint":` + app + `}`),
			[]Span{span(func(s *Span) {
				s.Kind, s.Timestamp, s.Duration, s.LocalEndpoint, s.RemoteEndpoint = kindClient, 10, 20, webEndpoint, appEndpoint
				s.Annotations = []Annotation{{20, "x"}}
			})}},
		{"both sides", "", list(event("10", "cs", web), event("15", "sr", app), event("25", "ss", app), event("30", "cr", web)), "[]",
			[]Span{
				span(func(s *Span) { s.Kind, s.Timestamp, s.Duration, s.LocalEndpoint = kindClient, 10, 20, webEndpoint }),
				span(func(s *Span) {
					s.Kind, s.Timestamp, s.Duration, s.LocalEndpoint, s.Shared = kindServer, 15, 10, appEndpoint, true
				}),
			}},
		{"a service that calls itself", "", list(event("10", "cs", web), event("15", "sr", web), event("25", "ss", web), event("30", "cr", web)), "[]",
			[]Span{
				span(func(s *Span) { s.Kind, s.Timestamp, s.Duration, s.LocalEndpoint = kindClient, 10, 20, webEndpoint }),
				span(func(s *Span) {
					s.Kind, s.Timestamp, s.Duration, s.LocalEndpoint, s.Shared = kindServer, 15, 10, webEndpoint, true
				}),
			}},
		{"server that joined", "", list(event("15", "sr", app), event("25", "ss", app)), list(`{"key":"ca","value":true,"endpoint":{"serviceName":"app","ipv4":"10.0.0.9"}}`),
			[]Span{span(func(s *Span) {
				s.Kind, s.Timestamp, s.Duration, s.LocalEndpoint, s.Shared = kindServer, 15, 10, appEndpoint, true
				s.RemoteEndpoint = &Endpoint{IPv4: "10.0.0.9"}
			})}},
		{"server that started", `"timestamp":15,"duration":10,`, list(event("15", "sr", app), event("25", "ss", app)), "[]",
			[]Span{span(func(s *Span) { s.Kind, s.Timestamp, s.Duration, s.LocalEndpoint = kindServer, 15, 10, appEndpoint })}},
		{"start to be inferred", `"timestamp":10,"duration":20,`, list(event("30", "cr", web)), "[]",
			[]Span{span(func(s *Span) { s.Kind, s.Timestamp, s.Duration, s.LocalEndpoint = kindClient, 10, 20, webEndpoint })}},
		{"only a start", "", list(event("10", "cs", web)), "[]",
			[]Span{span(func(s *Span) { s.Kind, s.Timestamp, s.LocalEndpoint = kindClient, 10, webEndpoint })}},
		{"only an end", "", list(event("30", "cr", web)), "[]",
			[]Span{span(func(s *Span) {
				s.Kind, s.LocalEndpoint, s.Annotations = kindClient, webEndpoint, []Annotation{{30, "cr"}}
			})}},
		{"core without endpoint", "", list(event("10", "cs", "null")), "[]",
			[]Span{span(func(s *Span) { s.Annotations = []Annotation{{10, "cs"}} })}},
		{"producer and consumer", "", list(event("10", "ms", web), event("12", "ws", web), event("20", "wr", app), event("25", "mr", app)), "[]",
			[]Span{
				span(func(s *Span) { s.Kind, s.Timestamp, s.Duration, s.LocalEndpoint = kindProducer, 10, 2, webEndpoint }),
				span(func(s *Span) {
					s.Kind, s.Timestamp, s.Duration, s.LocalEndpoint, s.Shared = kindConsumer, 20, 5, appEndpoint, true
				}),
			}},
		{"local", `"timestamp":10,"duration":20,`, "[]", list(`{"key":"lc","value":"","endpoint":`+web+`}`, `{"key":"flag","value":false,"endpoint":`+web+`}`),
			[]Span{span(func(s *Span) {
				s.Timestamp, s.Duration, s.LocalEndpoint, s.Tags = 10, 20, webEndpoint, map[string]string{"flag": "false"}
			})}},
		{"only addresses", "", "[]", list(`{"key":"ca","value":true,"endpoint":`+web+`}`, `{"key":"sa","value":true,"endpoint":`+app+`}`),
			[]Span{span(func(s *Span) { s.LocalEndpoint, s.RemoteEndpoint = webEndpoint, appEndpoint })}},
		{"only the server's address", "", "[]", list(`{"key":"sa","value":true,"endpoint":` + app + `}`),
			[]Span{span(func(s *Span) { s.RemoteEndpoint = appEndpoint })}},
		{"only the client's address", "", "[]", list(`{"key":"ca","value":true,"endpoint":` + web + `}`),
			[]Span{span(func(s *Span) { s.Kind, s.RemoteEndpoint = kindServer, webEndpoint })}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			body := `[{"traceId":"1","id":"2",` + test.times + `"annotations":` + test.annotations + `,"binaryAnnotations":` + test.binaries + `}]`
			got, err := DecodeJSONV1([]byte(body))
			if err != nil {
				t.Fatalf("DecodeJSONV1(%s): %v", body, err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("DecodeJSONV1(%s) (-want +got):\n%s", body, diff)
			}
		})
	}
}

// addBodies seeds a fuzz test with the bodies of the recorded exchanges.
func addBodies(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("testdata/exchanges/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("Glob = %v, %v, want files", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range txtar.Parse(data).Files {
			if _, body, ok := strings.Cut(string(part.Data), "\n\n"); ok {
				f.Add([]byte(body))
			}
		}
	}
}

// checkDecoded holds what every decoder promises: its spans are normal, can be
// written and read back, and can be merged and drawn.
func checkDecoded(t *testing.T, spans []Span, err error) {
	t.Helper()
	if err != nil || len(spans) == 0 {
		return
	}
	all := make([]*Span, len(spans))
	for i := range spans {
		r, err := newRow(&spans[i], nil)
		if err != nil {
			continue // too large
		}
		back, err := DecodeJSON([]byte("[" + string(r.body) + "]"))
		if err != nil {
			t.Fatalf("DecodeJSON(%s): %v", r.body, err)
		}
		again, err := newRow(&back[0], nil)
		if err != nil || string(again.body) != string(r.body) {
			t.Fatalf("decoded again: %s, %v, want %s", again.body, err, r.body)
		}
		all[i] = &back[0]
	}
	for _, s := range all {
		if s == nil {
			return
		}
	}
	if v := newView(all); len(v.Rows) == 0 || len(v.Rows) > len(all) {
		t.Fatalf("newView of %d spans has %d rows", len(all), len(v.Rows))
	}
	make(linker).add(all)
}

func FuzzDecodeJSON(f *testing.F) {
	addBodies(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		spans, err := DecodeJSON(body)
		checkDecoded(t, spans, err)
	})
}

func FuzzDecodeJSONV1(f *testing.F) {
	addBodies(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		spans, err := DecodeJSONV1(body)
		checkDecoded(t, spans, err)
	})
}

func FuzzDecodeProto(f *testing.F) {
	f.Add([]byte("\x0a\x0c\x0a\x08abcdefgh\x1a\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		spans, err := DecodeProto(body)
		checkDecoded(t, spans, err)
	})
}

func FuzzDecodeOTLPJSON(f *testing.F) {
	addBodies(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		spans, err := DecodeOTLPJSON(body)
		checkDecoded(t, spans, err)
	})
}

func FuzzDecodeOTLP(f *testing.F) {
	f.Add([]byte("\x0a\x12\x12\x10\x12\x0e\x0a\x01a\x12\x01b"))
	f.Fuzz(func(t *testing.T, body []byte) {
		spans, err := DecodeOTLP(body)
		checkDecoded(t, spans, err)
	})
}
