package kit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tienda/eureka"
)

// logBuffer is a log that several goroutines write.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// process is a Run under test.
type process struct {
	t         *testing.T
	log       logBuffer
	stop      context.CancelFunc
	done      chan error
	mu        sync.Mutex
	addresses map[string]string
}

// run starts services on ports of the kernel's choice and waits until all serve.
func run(t *testing.T, opts Options, services ...Service) *process {
	t.Helper()
	p := &process{t: t, done: make(chan error, 1), addresses: map[string]string{}}
	opts.Listen, opts.Ports, opts.FetchRegistry = "127.0.0.1", map[string]int{}, 50*time.Millisecond
	for _, service := range services {
		opts.Ports[service.Name] = 0
	}
	opts.Logger = NewLogger(slog.NewJSONHandler(&p.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	started := make(chan struct{}, len(services))
	opts.Started = func(service Service, address string) {
		p.mu.Lock()
		p.addresses[service.Name] = address
		p.mu.Unlock()
		started <- struct{}{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	go func() { p.done <- Run(ctx, opts, services...) }()
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			t.Logf("log:\n%s", p.log.String())
		}
	})
	for range services {
		select {
		case <-started:
		case err := <-p.done:
			t.Fatalf("Run: %v", err)
		case <-time.After(20 * time.Second):
			t.Fatal("the services do not start")
		}
	}
	return p
}

func (p *process) url(service, path string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return "http://" + p.addresses[service] + path
}

func (p *process) end() {
	p.t.Helper()
	p.stop()
	select {
	case err := <-p.done:
		if err != nil {
			p.t.Errorf("Run: %v", err)
		}
	case <-time.After(20 * time.Second):
		p.t.Error("Run does not return")
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// registryServer is a registry on its own, outside of the process under test.
func registryServer(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(eureka.NewServer(eureka.DefaultSettings(), time.Now))
	t.Cleanup(server.Close)
	return server.URL + "/eureka"
}

func flags(registry string) map[string]string {
	return map[string]string{"spring.config.import": "", "eureka.client.service-url.defaultZone": registry, "management.tracing.sampling.probability": "0"}
}

func answering(name string, handler func(env *Env) http.HandlerFunc) Service {
	return Service{Name: name, Context: "/" + name, New: func(_ context.Context, env *Env) (http.Handler, error) {
		mux := http.NewServeMux()
		mux.HandleFunc("GET /"+name+"/hello/{who}", handler(env))
		return mux, nil
	}}
}

func TestServicesFindEachOtherByName(t *testing.T) {
	t.Parallel()
	greeter := answering("greet-service", func(*Env) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello "+r.PathValue("who")) }
	})
	asker := answering("ask-service", func(env *Env) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://greet-service/greet-service/hello/"+r.PathValue("who"), http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			response, err := env.HTTP.Do(request)
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			defer response.Body.Close()
			_, _ = io.Copy(w, response.Body) // the test reads what arrived
		}
	})
	p := run(t, Options{Flags: flags(registryServer(t))}, greeter, asker)
	if status, body := get(t, p.url("ask-service", "/ask-service/hello/zanzibar")); status != 200 || body != "hello zanzibar" {
		t.Errorf("asked: %d %q", status, body)
	}
	_, metrics := get(t, p.url("ask-service", "/metrics"))
	for _, want := range []string{
		`http_server_requests_seconds_count{method="GET",service="ask-service",status="200",uri="/ask-service/hello/{who}"} 1`,
		`http_client_requests_seconds_count{peer="greet-service",service="ask-service",status="200"} 1`,
		`circuit_breaker_state{peer="greet-service",service="ask-service"} 0`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(metrics, "zanzibar") {
		t.Error("a raw path became a label")
	}
	p.end()
}

func TestEndpointsOfOperators(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "box.db")
	service := answering("box-service", func(*Env) http.HandlerFunc { return func(http.ResponseWriter, *http.Request) {} })
	var sick atomic.Bool
	inner := service.New
	service.New = func(ctx context.Context, env *Env) (http.Handler, error) {
		if _, err := env.DB(); err != nil {
			return nil, err
		}
		env.Check("queue", func(context.Context) error {
			if sick.Load() {
				return errors.New("full")
			}
			return nil
		})
		return inner(ctx, env)
	}
	settings := flags("http://127.0.0.1:1/eureka") // the registry is away, which must not matter
	settings["spring.datasource.url"] = "sqlite:" + path
	p := run(t, Options{Flags: settings}, service)
	for path, want := range map[string]int{
		"/livez": 200, "/readyz": 200, "/metrics": 200, "/box-service/actuator": 200, "/box-service/actuator/health": 200,
		"/box-service/actuator/health/liveness": 200, "/box-service/actuator/health/readiness": 200, "/box-service/actuator/info": 200,
		"/box-service/actuator/metrics": 200, "/box-service/actuator/metrics/go_goroutines": 200, "/box-service/actuator/metrics/none": 404,
		"/box-service/actuator/prometheus": 200, "/box-service/actuator/env": 404, "/box-service/hello/you": 200,
	} {
		if status, body := get(t, p.url("box-service", path)); status != want {
			t.Errorf("GET %s: %d %.200s, want %d", path, status, body, want)
		}
	}
	sick.Store(true)
	if status, body := get(t, p.url("box-service", "/readyz")); status != 503 || !strings.Contains(body, "DOWN") {
		t.Errorf("/readyz of a sick service: %d %s", status, body)
	}
	if status, _ := get(t, p.url("box-service", "/livez")); status != 200 {
		t.Errorf("/livez of a sick service: %d, want 200: it asks nobody", status)
	}
	var health struct {
		Status     string
		Components map[string]struct{ Status string }
	}
	_, body := get(t, p.url("box-service", "/box-service/actuator/health"))
	if err := json.Unmarshal([]byte(body), &health); err != nil || health.Status != "DOWN" || health.Components["db"].Status != "UP" || health.Components["queue"].Status != "DOWN" {
		t.Errorf("health = %s", body)
	}
	p.end()
}

// TestStopFinishesWhatIsUnderWay: requests that began before the signal are answered.
func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	var background atomic.Bool
	service := Service{Name: "slow-service", New: func(_ context.Context, env *Env) (http.Handler, error) {
		env.Go(func(ctx context.Context) error {
			<-ctx.Done()
			background.Store(true)
			return nil
		})
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(entered)
			<-release
			if background.Load() {
				t.Error("background work ended before the last request")
			}
			fmt.Fprint(w, "done")
		}), nil
	}}
	p := run(t, Options{Flags: flags(registryServer(t))}, service)
	answer := make(chan string, 1)
	go func() {
		_, body := get(t, p.url("slow-service", "/"))
		answer <- body
	}()
	<-entered
	p.stop()
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("answer = %q", got)
	}
	p.end()
	if !background.Load() {
		t.Error("background work was not ended")
	}
}

// TestDrainSendsCallersElsewhere: connections that stand are closed with the next answer and not in the middle of a question, and a service is told.
func TestDrainSendsCallersElsewhere(t *testing.T) {
	t.Parallel()
	service := Service{Name: "slow-service", New: func(_ context.Context, env *Env) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, env.Draining()) }), nil
	}}
	p := run(t, Options{Flags: flags(registryServer(t)), Drain: time.Second}, service)
	ask := func() (string, bool) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url("slow-service", "/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body), response.Close
	}
	if drains, closes := ask(); drains != "false" || closes {
		t.Errorf("before: draining %s, connection closed %t; want false, false", drains, closes)
	}
	p.stop()
	// It may begin between the two that an answer consists of, what is said of the connection and what the service says.
	for begun := false; ; {
		drains, closes := ask()
		if drains == "true" && closes {
			break
		}
		if begun {
			t.Fatal("the connection is kept while it drains")
		}
		begun = drains == "true"
	}
	p.end()
}

func TestStartErrorsNameTheService(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	port := taken.Addr().(*net.TCPAddr).Port
	idle := answering("a-service", func(*Env) http.HandlerFunc { return nil })
	idle.New = func(context.Context, *Env) (http.Handler, error) { return http.NotFoundHandler(), nil }
	failing := idle
	failing.Name, failing.New = "b-service", func(context.Context, *Env) (http.Handler, error) { return nil, errors.New("no luck") }
	dataless := idle
	dataless.New = func(_ context.Context, env *Env) (http.Handler, error) { _, err := env.DB(); return nil, err }
	late := idle
	late.New = func(_ context.Context, env *Env) (http.Handler, error) {
		env.Go(func(context.Context) error { return errors.New("worker gave up") })
		return http.NotFoundHandler(), nil
	}
	for name, c := range map[string]struct {
		ports    map[string]int
		services []Service
		says     []string
	}{
		"taken port":       {map[string]int{"a-service": port}, []Service{idle}, []string{"a-service", fmt.Sprint(port), "taken", "--port-offset"}},
		"failing service":  {map[string]int{"a-service": 0, "b-service": 0}, []Service{idle, failing}, []string{"b-service: no luck"}},
		"no database":      {map[string]int{"a-service": 0}, []Service{dataless}, []string{"SPRING_DATASOURCE_URL"}},
		"failing later on": {map[string]int{"a-service": 0}, []Service{late}, []string{"a-service: worker gave up"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := Options{Listen: "127.0.0.1", Ports: c.ports, Flags: flags(registryServer(t)), Logger: slog.New(slog.DiscardHandler)}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := Run(ctx, opts, c.services...)
			if err == nil {
				t.Fatal("Run succeeded")
			}
			for _, part := range c.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("Run = %q, which does not say %q", err, part)
				}
			}
		})
	}
}

// TestFinderTriesOtherInstances: a connection that cannot be made is tried elsewhere, with the body.
func TestFinderTriesOtherInstances(t *testing.T) {
	t.Parallel()
	var bodies atomic.Int64
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil && string(body) == "order" {
			bodies.Add(1)
		}
	}))
	t.Cleanup(good.Close)
	p := newFinder(t, []string{"127.0.0.1:1", strings.TrimPrefix(good.URL, "http://")})
	for range 10 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://box-service/", strings.NewReader("order"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := p.client.Do(request)
		if err != nil {
			t.Fatalf("Do: %v", err)
		}
		_ = response.Body.Close() // empty
	}
	if bodies.Load() != 10 {
		t.Errorf("%d of 10 requests arrived with their body", bodies.Load())
	}
}

func TestBreakerOpensAndCloses(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	var asked atomic.Int64
	broken.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	m := newFinder(t, []string{strings.TrimPrefix(server.URL, "http://")})
	m.finder.configure(map[string]BreakerSettings{"boxService": {WaitDurationInOpenState: 50 * time.Millisecond}})
	call := func() (int, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://box-service/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := m.client.Do(request)
		if err != nil {
			return 0, err
		}
		_ = response.Body.Close() // empty
		return response.StatusCode, nil
	}
	for range 20 {
		_, _ = call() // failures are what opens it
	}
	if n := asked.Load(); n != 5 {
		t.Errorf("the peer was asked %d times before the breaker opened, want 5", n)
	}
	if got := m.finder.breakerStates()["box-service"]; got != "OPEN" {
		t.Errorf("state = %s, want OPEN", got)
	}
	broken.Store(false)
	deadline := time.Now().Add(10 * time.Second)
	for m.finder.breakerStates()["box-service"] != "CLOSED" && time.Now().Before(deadline) {
		_, _ = call() // the open breaker refuses some
	}
	if got := m.finder.breakerStates()["box-service"]; got != "CLOSED" {
		t.Errorf("state after the peer recovered = %s, want CLOSED", got)
	}
}

// newFinder is a member with nothing but its HTTP client.
func newFinder(t *testing.T, addresses []string) *member {
	t.Helper()
	m := &member{service: Service{Name: "test-service", Infrastructure: true}, log: slog.New(slog.DiscardHandler)}
	m.openMetrics()
	if err := m.openTracing(t.Context(), commonSettings{}); err != nil {
		t.Fatal(err)
	}
	m.openClient(commonSettings{})
	m.finder.instances = func(_ context.Context, _ string, except ...string) []string {
		return slices.DeleteFunc(slices.Clone(addresses), func(address string) bool { return slices.Contains(except, address) })
	}
	return m
}

// TestSilentInstance: an address that nobody answers at, as that of a pod that is gone, costs a read that has two seconds less than those.
func TestSilentInstance(t *testing.T) {
	t.Parallel()
	alive := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(alive.Close)
	m := newFinder(t, []string{silent(t), alive.Listener.Addr().String()})
	for range 2 { // whichever comes first
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://box-service/", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := m.client.Do(request)
		if err != nil {
			t.Errorf("with one silent instance of two: %v", err)
		} else {
			_ = response.Body.Close()
		}
		cancel()
	}
}

// silent is an address at which connections are neither taken nor refused: that of a listener whose queue is full.
func silent(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	err = errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0))
	bound, errName := syscall.Getsockname(fd)
	if err := errors.Join(err, errName); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
	for range 16 {
		connection, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = connection.Close() })
	}
	t.Fatal("the queue of a listener does not fill")
	return ""
}

func TestLogsCarryNoBodiesButTraceIDs(t *testing.T) {
	t.Parallel()
	collector := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(collector.Close)
	settings := flags(registryServer(t))
	settings["management.tracing.sampling.probability"] = "1"
	settings["spring.zipkin.base-url"] = collector.URL
	service := answering("box-service", func(env *Env) http.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) { env.Log.InfoContext(r.Context(), "box opened") }
	})
	p := run(t, Options{Flags: settings}, service)
	get(t, p.url("box-service", "/box-service/hello/you?secret=1"))
	p.end()
	for line := range strings.Lines(p.log.String()) {
		if strings.Contains(line, "box opened") || strings.Contains(line, `"msg":"request"`) {
			if !strings.Contains(line, `"traceId":"`) || strings.Contains(line, "secret") {
				t.Errorf("log line %s", line)
			}
		}
	}
	if !strings.Contains(p.log.String(), "box opened") {
		t.Error("the service's own line is missing")
	}
}

// TestTracesCarryNoTokens: one route of the original system has the token in its path.
func TestTracesCarryNoTokens(t *testing.T) {
	t.Parallel()
	var sent logBuffer
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(&sent, r.Body) }))
	t.Cleanup(collector.Close)
	settings := flags(registryServer(t))
	settings["management.tracing.sampling.probability"] = "1"
	settings["spring.zipkin.base-url"] = collector.URL
	const token = "eyJhbGciOiJFZERTQSJ9.eyJ1aWQiOjV9.c2lnbmF0dXJl"
	inner := answering("inner-service", func(*Env) http.HandlerFunc { return func(http.ResponseWriter, *http.Request) {} })
	outer := answering("outer-service", func(env *Env) http.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) {
			request, _ := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://inner-service/inner-service/hello/"+token, http.NoBody)
			if response, err := env.HTTP.Do(request); err == nil {
				_ = response.Body.Close()
			}
		}
	})
	p := run(t, Options{Flags: settings}, inner, outer)
	get(t, p.url("outer-service", "/outer-service/hello/"+token+"?token="+token))
	p.end()
	if got := sent.String(); strings.Contains(got, token) || !strings.Contains(got, "/inner-service/hello/TOKEN") || !strings.Contains(got, "/outer-service/hello/TOKEN") {
		t.Errorf("traces hold %q", got)
	}
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"))
}
