package zipkin

import (
	"fmt"
	"testing"
)

// BenchmarkDependencies links a thousand traces of ten spans, for each run.
func BenchmarkDependencies(b *testing.B) {
	f := newSQLite(b, nil)
	const traces, calls = 1000, 5
	for i := range traces {
		var spans []Span
		for j := range calls {
			id, parent := fmt.Sprintf("%016x", j+1), fmt.Sprintf("%016x", j)
			if j == 0 {
				parent = ""
			}
			tags := map[string]string{"http.method": "GET", "http.route": "/orders/{orderId}", "http.status_code": "200"}
			s := Span{TraceID: fmt.Sprintf("%032x", i*0x9e3779b97f4a7c1+1), ID: id, ParentID: parent, Kind: kindClient, Name: "get /orders/{orderid}",
				Timestamp: 1700000000000000, Duration: 1000, LocalEndpoint: &Endpoint{ServiceName: fmt.Sprint("s", j), IPv4: "10.0.0.1", Port: 8300}, Tags: tags}
			spans = append(spans, s)
			s.Kind, s.Shared, s.LocalEndpoint = kindServer, true, &Endpoint{ServiceName: fmt.Sprint("s", j+1), IPv4: "10.0.0.2", Port: 8400}
			spans = append(spans, s)
		}
		if err := f.accept(spans); err != nil {
			b.Fatal(err)
		}
		f.flush(b)
	}
	for b.Loop() {
		if links := get[[]Link](b, f, "/api/v2/dependencies?endTs=1700000060000"); len(links) != calls || links[0].CallCount != traces {
			b.Fatalf("dependencies = %v", links)
		}
	}
}
