package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/knadh/koanf/maps"
	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v3"

	"tienda/api"
)

// parsed is a koanf provider of a YAML text, in which dotted keys at the top save lines.
type parsed string

func (p parsed) ReadBytes() ([]byte, error) { return nil, errors.New("not used") }

func (p parsed) Read() (map[string]any, error) {
	var settings map[string]any
	err := yaml.Unmarshal([]byte(p), &settings)
	return maps.Unflatten(settings, "."), err
}

// settingsOf binds a YAML text the way a service's settings are bound.
func settingsOf(t testing.TB, text string) Settings {
	t.Helper()
	k := koanf.New(".")
	if err := k.Load(parsed(text), nil); err != nil {
		t.Fatalf("Load: %v", err)
	}
	var s Settings
	if err := k.Unmarshal("spring.cloud.gateway", &s); err != nil {
		t.Fatalf("Unmarshal: %v", err)
	}
	if err := k.Unmarshal("resilience4j.circuitbreaker.instances", &s.Breakers); err != nil {
		t.Fatalf("Unmarshal: %v", err)
	}
	return s
}

// instances is a Resolver with fixed answers.
type instances map[string][]string

func (i instances) Instances(_ context.Context, name string, except ...string) []string {
	return slices.DeleteFunc(slices.Clone(i[name]), func(address string) bool { return slices.Contains(except, address) })
}

// verify knows four tokens.
func verify(_ context.Context, token string) (Principal, error) {
	switch token {
	case "selim":
		return Principal{Subject: "selimhorri", Roles: []string{api.RoleUser}}, nil
	case "admin":
		return Principal{Subject: "admin", Roles: []string{api.RoleUser, api.RoleAdmin}}, nil
	case "service":
		return Principal{Service: "order-service"}, nil
	case "no-keys":
		return Principal{}, api.Unavailable("proxy-client")
	}
	return Principal{}, errors.New("invalid token")
}

func addressOf(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }

// start serves a gateway with the routes of a YAML text. The service of the name UPSTREAM is handler.
func start(t testing.TB, text string, handler http.HandlerFunc, change ...func(*Limits, *Deps)) *httptest.Server {
	t.Helper()
	upstream := httptest.NewServer(handler)
	t.Cleanup(upstream.Close)
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	limits, deps := Limits{}, Deps{
		Transport: transport,
		Resolver:  instances{"UPSTREAM": {addressOf(upstream)}},
		Verify:    verify,
	}
	for _, f := range change {
		f(&limits, &deps)
	}
	g, err := New(settingsOf(t, text), limits, deps)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	front := httptest.NewServer(g)
	t.Cleanup(front.Close)
	return front
}

// routeAll is one route that takes every path.
const routeAll = `
spring.cloud.gateway:
  routes:
    - {id: all, uri: 'lb://UPSTREAM', predicates: ['Path=/**']}
`

// answer is what tests look at in a response.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes a request from its raw text, so that nothing in it is tidied up on the way.
func send(t testing.TB, server *httptest.Server, request string) answer {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addressOf(server))
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatalf("SetDeadline: %v", err)
	}
	head, body, _ := strings.Cut(strings.TrimLeft(request, "\n"), "\n\n")
	lines := strings.Split(strings.TrimRight(head, "\n"), "\n")
	if !strings.Contains(lines[0], " HTTP/") {
		lines[0] += " HTTP/1.1"
	}
	if !strings.Contains(head, "\nHost:") {
		lines = append(lines, "Host: shop.example.org")
	}
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"+body); err != nil {
		t.Fatalf("write: %v", err)
	}
	method, _, _ := strings.Cut(lines[0], " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("ReadResponse to %q: %v", lines[0], err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

// echo answers with the request line and, sorted, the header it got.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Path", r.URL.RequestURI())
	var head bytes.Buffer
	_ = r.Header.Write(&head)
	_, _ = w.Write(head.Bytes())
}

func TestConfigFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("Glob: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(text)) {
				if message, ok := strings.CutPrefix(line, "# error: "); ok {
					want = append(want, strings.TrimSpace(message))
				}
			}
			if bad := strings.HasSuffix(file, ".bad.yaml"); bad != (want != nil) {
				t.Fatalf("%s states %d errors", file, len(want))
			}
			_, err = New(settingsOf(t, string(text)), Limits{}, Deps{Transport: &http.Transport{}, Verify: verify, Resolver: instances{}})
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}
