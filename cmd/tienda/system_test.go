package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"tienda/sqldb/sqldbtest"
)

// system is a whole tienda in this process: `tienda up` on ports of the kernel's choice.
type system struct {
	tb      testing.TB
	data    string
	environ environment
	out     *lockedBuffer
	up      *upCommand
	stop    context.CancelFunc
	done    chan error
	keys    atomic.Int64 // Idempotency-Keys given out
}

// lockedBuffer is a terminal that several goroutines write.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// eachEngine runs a test on a whole system over each database engine.
func eachEngine(t *testing.T, test func(t *testing.T, s *system)) {
	t.Helper()
	eachEngineWith(t, nil, test)
}

// eachEngineWith is eachEngine with configuration profiles.
func eachEngineWith(t *testing.T, profiles []string, test func(t *testing.T, s *system)) {
	t.Helper()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			test(t, start(t, t.TempDir(), engine, profiles...))
		})
	}
}

// start brings a system up with its data in a folder, and on MySQL in schemas of its own.
func start(tb testing.TB, data, engine string, profiles ...string) *system {
	tb.Helper()
	var environ environment
	if engine == "mysql" {
		environ = schemasFor(tb)
	}
	return startWith(tb, data, environ, profiles...)
}

// schemasFor is the environment that puts all services on the MySQL server of the tests.
func schemasFor(tb testing.TB) environment {
	tb.Helper()
	config := sqldbtest.Config(tb, "mysql") // one schema's name, free; each service appends its own
	tb.Cleanup(func() { dropSchemas(tb, config.URL) })
	return environment{"SPRING_DATASOURCE_URL=" + config.URL, "SPRING_DATASOURCE_USERNAME=" + config.Username, "SPRING_DATASOURCE_PASSWORD=" + config.Password}
}

func startWith(tb testing.TB, data string, environ environment, profiles ...string) *system {
	tb.Helper()
	return startPlace(tb, place{Data: data, Profile: profiles}, environ)
}

// startPlace is startWith for a place with more than a folder and profiles. A port that the kernel gave may
// be taken by somebody's outgoing connection before it is listened on; then others are tried.
func startPlace(tb testing.TB, where place, environ environment) *system {
	tb.Helper()
	for range 5 {
		s, err := tryPlace(tb, where, environ)
		if err == nil {
			tb.Cleanup(func() { s.end() })
			return s
		}
		if !strings.Contains(err.Error(), "is taken by another process") {
			tb.Fatalf("up: %v\n%s", err, s.out)
		}
	}
	tb.Fatal("up finds its ports taken again and again")
	return nil
}

// tryPlace returns when the system is open, or with the error that it ended with.
func tryPlace(tb testing.TB, where place, environ environment) (*system, error) {
	tb.Helper()
	where.Listen, where.ports = "127.0.0.1", freePorts(tb)
	s := &system{tb: tb, data: where.Data, environ: environ, out: &lockedBuffer{}, done: make(chan error, 1)}
	s.up = &upCommand{place: where, Demo: true}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.done <- s.up.Run(ctx, terminal{s.out, s.out}, environ) }()
	deadline := time.Now().Add(60 * time.Second)
	for !strings.Contains(s.out.String(), "tienda is open") {
		select {
		case err := <-s.done:
			cancel()
			return s, err
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			cancel()
			tb.Fatalf("up does not come up:\n%s", s.out)
		}
	}
	return s, nil
}

// end stops the system as Ctrl-C does. A second call does nothing.
func (s *system) end() {
	s.tb.Helper()
	if s.stop == nil {
		return
	}
	s.stop()
	s.stop = nil
	select {
	case err := <-s.done:
		if err != nil {
			s.tb.Errorf("up: %v", err)
		}
	case <-time.After(60 * time.Second):
		s.tb.Error("up does not stop")
	}
	if s.tb.Failed() {
		s.tb.Logf("terminal:\n%s\nerrors of the log:\n%s", s.out, s.errorsLogged())
	}
}

func (s *system) errorsLogged() string {
	text, err := os.ReadFile(filepath.Join(s.data, logName))
	if err != nil {
		return err.Error()
	}
	var lines strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `"level":"ERROR"`) || strings.Contains(line, `"level":"WARN"`) {
			lines.WriteString(line)
		}
		if lines.Len() > 20_000 {
			break
		}
	}
	return lines.String()
}

// dropSchemas removes the schema of each service.
func dropSchemas(tb testing.TB, url string) {
	tb.Helper()
	dsn, err := mysql.ParseDSN(os.Getenv(sqldbtest.DSNVariable))
	if err != nil {
		tb.Error(err)
		return
	}
	connector, err := mysql.NewConnector(dsn)
	if err != nil {
		tb.Error(err)
		return
	}
	conn, err := connector.Connect(context.Background())
	if err != nil {
		tb.Error(err)
		return
	}
	defer conn.Close()
	for service := range schemas() {
		base, _, _ := strings.Cut(schemaOf(url, service), "?")
		name := base[strings.LastIndexByte(base, '/')+1:]
		statement, err := conn.Prepare("DROP DATABASE IF EXISTS " + name)
		if err == nil {
			_, err = statement.Exec(nil) //nolint:staticcheck // a bare driver connection has no other
		}
		if err != nil {
			tb.Error(err)
		}
	}
}

// freePorts are ports that the kernel gave and nobody uses, one for each component.
func freePorts(tb testing.TB) map[string]int {
	tb.Helper()
	ports := map[string]int{}
	for _, name := range componentNames() {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		defer listener.Close() // all at the end, so that no port comes twice
		ports[name] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports
}

func (s *system) url(component, path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", s.up.ports[component], path)
}

// client of the tests: many connections at once, and no deadline beyond the test's.
var client = &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// decode reads the body, which must be JSON.
func (a answer) decode(tb testing.TB, value any) {
	tb.Helper()
	if err := json.Unmarshal(a.body, value); err != nil {
		tb.Fatalf("answer %d %.300s: %v", a.status, a.body, err)
	}
}

// request is one call through the gateway, or to a component itself.
type request struct {
	method, path string
	component    string // "" is the gateway
	token        string
	body         string
	header       http.Header
}

func (s *system) try(r request) (answer, error) {
	component := r.component
	if component == "" {
		component = "api-gateway"
	}
	call, err := http.NewRequestWithContext(context.Background(), r.method, s.url(component, r.path), strings.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	if r.body != "" {
		call.Header.Set("Content-Type", "application/json")
	}
	for name, values := range r.header {
		call.Header[name] = values
	}
	if r.token != "" {
		call.Header.Set("Authorization", "Bearer "+r.token)
	}
	response, err := client.Do(call)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, body}, err
}

// call is one that must have this status.
func (s *system) call(want int, r request) answer {
	s.tb.Helper()
	a, err := s.try(r)
	if err != nil {
		s.tb.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	if a.status != want {
		s.tb.Fatalf("%s %s: %d %.500s, want %d", r.method, r.path, a.status, a.body, want)
	}
	return a
}

// login returns the token of a user.
func (s *system) login(username, password string) string {
	s.tb.Helper()
	body := fmt.Sprintf(`{"username":%q,"password":%q}`, username, password)
	var tokens struct{ JwtToken string }
	s.call(http.StatusOK, request{method: "POST", path: "/app/api/authenticate", body: body}).decode(s.tb, &tokens)
	return tokens.JwtToken
}

// key makes the header of a write.
func key(text string) http.Header { return http.Header{"Idempotency-Key": {text}} }

// checkoutBody pays with a token of the sandbox.
func checkoutBody(token string) string {
	return fmt.Sprintf(`{"shippingAddress":{"fullAddress":"1 Rue de Marseille","postalCode":"1000","city":"Tunis","country":"TN"},
		"paymentMethod":{"provider":"sandbox","token":%q}}`, token)
}
