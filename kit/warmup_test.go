package kit

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// eventually waits until hold reports true.
func eventually(t *testing.T, what string, hold func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !hold(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come true", what)
		}
	}
}

// TestWarmUp: a service is neither ready nor in the registry until it has what it needs, and then it is both.
func TestWarmUp(t *testing.T) {
	t.Parallel()
	var have atomic.Bool
	var tried atomic.Int64
	service := Service{Name: "box-service", New: func(_ context.Context, env *Env) (http.Handler, error) {
		env.WarmUp("keys", func(context.Context) error {
			tried.Add(1)
			if !have.Load() {
				return errors.New("nobody has them")
			}
			return nil
		})
		return http.NotFoundHandler(), nil
	}}
	registry := registryServer(t)
	p := run(t, Options{Flags: flags(registry), WarmUp: time.Minute}, service)
	ready := func() bool { status, _ := get(t, p.url("box-service", "/readyz")); return status == http.StatusOK }
	registered := func() bool { status, _ := get(t, registry+"/apps/BOX-SERVICE"); return status == http.StatusOK }
	eventually(t, "a second try", func() bool { return tried.Load() > 1 })
	if ready() || registered() {
		t.Errorf("before it is warm: ready %t, registered %t", ready(), registered())
	}
	if status, body := get(t, p.url("box-service", "/livez")); status != http.StatusOK {
		t.Errorf("before it is warm /livez answers %d %s", status, body)
	}
	have.Store(true)
	eventually(t, "that it is ready", ready)
	if !registered() {
		t.Error("it is ready and nobody can find it")
	}
	p.end()
	if strings.Contains(p.log.String(), "ready without") {
		t.Errorf("it says that it lacks something:\n%s", p.log.String())
	}
}

// TestWarmUpEnds: what cannot be had does not keep a service away for good, and the log says what is missing.
func TestWarmUpEnds(t *testing.T) {
	t.Parallel()
	service := Service{Name: "box-service", New: func(_ context.Context, env *Env) (http.Handler, error) {
		env.WarmUp("keys", func(context.Context) error { return errors.New("nobody has them") })
		return http.NotFoundHandler(), nil
	}}
	p := run(t, Options{Flags: flags("http://127.0.0.1:1/eureka"), WarmUp: 100 * time.Millisecond}, service)
	eventually(t, "that it is ready", func() bool { status, _ := get(t, p.url("box-service", "/readyz")); return status == http.StatusOK })
	p.end()
	for _, want := range []string{`"step":"keys","err":"nobody has them"`, `"step":"registration","err":"the registry has not confirmed it"`} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, p.log.String())
		}
	}
}

// TestNoInstanceOpensNoBreaker: calls that were made before a peer was there do not make those fail that come after.
func TestNoInstanceOpensNoBreaker(t *testing.T) {
	t.Parallel()
	m := newFinder(t, nil)
	var addresses []string
	m.finder.instances = func(context.Context, string, ...string) []string { return addresses }
	call := func() error {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://box-service/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := m.client.Do(request)
		if err == nil {
			_ = response.Body.Close() // empty
		}
		return err
	}
	for range 20 {
		if err := call(); err == nil || !strings.Contains(err.Error(), "no instance of box-service is registered") {
			t.Fatalf("call to nobody: %v", err)
		}
	}
	alive := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(alive.Close)
	addresses = []string{alive.Listener.Addr().String()}
	if err := call(); err != nil {
		t.Errorf("the first call when there is an instance: %v", err)
	}
}

// TestInstanceThatIsGoneComesLast: one call finds out that an instance is gone, and those after it do not pay for that again.
func TestInstanceThatIsGoneComesLast(t *testing.T) {
	t.Parallel()
	var dials atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	alive := server.Listener.Addr().String()
	m := newFinder(t, []string{"gone:80", alive})
	next := m.finder.next
	m.finder.next = roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != alive {
			dials.Add(1)
			r = r.Clone(r.Context())
			r.URL.Host = "127.0.0.1:1" // where nobody listens
		}
		return next.RoundTrip(r)
	})
	for range 10 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://box-service/", strings.NewReader("order"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := m.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close() // empty
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("of ten calls %d went to the instance that is gone, want the first that had it in its turn", n)
	}
}

// TestInstancesThatAreAllGone: when those that are known are not there any more the registry is asked, and the same call goes to who came after them.
func TestInstancesThatAreAllGone(t *testing.T) {
	t.Parallel()
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = string(body)
	}))
	t.Cleanup(server.Close)
	m := newFinder(t, nil)
	gone := []string{"127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4", "127.0.0.1:5"} // where nobody listens
	m.finder.instances = func(_ context.Context, _ string, except ...string) []string {
		if len(except) == 0 {
			return gone
		}
		if len(except) != maxTries {
			t.Errorf("the registry is asked but for %v, want those %d that were tried", except, maxTries)
		}
		return []string{server.Listener.Addr().String()}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://box-service/", strings.NewReader("order"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := m.client.Do(request)
	if err != nil {
		t.Fatalf("a call when all that are known are gone: %v", err)
	}
	_ = response.Body.Close() // empty
	if got != "order" {
		t.Errorf("the new instance was sent %q, want the whole body", got)
	}
}

type roundTripper func(r *http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
