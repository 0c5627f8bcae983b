package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// BenchmarkProxy compares the gateway with a bare ReverseProxy in front of the same upstream, with a
// client, a proxy and an upstream on real connections.
func BenchmarkProxy(b *testing.B) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"orderId":7,"orderDesc":"init","orderFee":5000.0}`)
	}))
	b.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		b.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	b.Cleanup(transport.CloseIdleConnections)
	bare := &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() },
		Transport:  transport,
		BufferPool: &buffers{},
	}
	handlers := []struct {
		name    string
		handler http.Handler
	}{
		{"upstream alone", upstream.Config.Handler},
		{"bare ReverseProxy", bare},
		{"gateway", benchmarked(b, transport, addressOf(upstream))},
	}
	for _, h := range handlers {
		b.Run(h.name, func(b *testing.B) {
			front := httptest.NewServer(h.handler)
			defer front.Close()
			client := front.Client()
			client.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					get(b, client, front.URL+"/order-service/api/orders/7")
				}
			})
		})
	}
}

func get(b *testing.B, client *http.Client, address string) {
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.Error(err)
		return
	}
	r.Header.Set("Authorization", "Bearer selim")
	response, err := client.Do(r)
	if err != nil {
		b.Error(err)
		return
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		b.Errorf("answer = %d, %v, want 200", response.StatusCode, err)
	}
}

// benchmarked is a gateway with the routes, the rules and the filters of a shop.
func benchmarked(b *testing.B, transport http.RoundTripper, address string) *Gateway {
	var routes strings.Builder
	for _, name := range []string{"payment", "product", "shipping", "user", "favourite", "order"} {
		routes.WriteString("    - {id: " + name + ", uri: 'lb://UPSTREAM', predicates: ['Path=/" + name + "-service/**']}\n")
	}
	settings := settingsOf(b, `
spring.cloud.gateway:
  globalcors: {cors-configurations: {'[/**]': {allowedOrigins: 'http://localhost:4200', allowedMethods: '*'}}}
  default-filters:
    - name: RequestRateLimiter
      args: {redis-rate-limiter.replenishRate: 1000000, redis-rate-limiter.burstCapacity: 1000000}
    - DedupeResponseHeader=Access-Control-Allow-Origin, RETAIN_UNIQUE
  routes:
`+routes.String())
	g, err := New(settings, Limits{}, Deps{
		Transport: transport, Verify: verify, Resolver: instances{"UPSTREAM": {address}},
		Access: []AccessRow{{"GET", "/order-service/api/orders/{orderId}", "owner", true}},
	})
	if err != nil {
		b.Fatal(err)
	}
	return g
}

// BenchmarkGateway is the gateway's own work, without a network.
func BenchmarkGateway(b *testing.B) {
	g := benchmarked(b, fake(func(r *http.Request) (*http.Response, error) { return respond(r, 200, "{}"), nil }), "a:1")
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/order-service/api/orders/7", nil)
		r.Header.Set("Authorization", "Bearer selim")
		if w := serve(g, r); w.Code != http.StatusOK {
			b.Fatalf("answer = %d", w.Code)
		}
	}
}
