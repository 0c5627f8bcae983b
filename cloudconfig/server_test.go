package cloudconfig

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestConditionalRequests(t *testing.T) {
	t.Parallel()
	s := newServer(t, map[string]string{"application.yml": "a: 1\n"}, nil)
	first := ask(t, s, "GET /foo/dev", "")
	etag := first.Header.Get("ETag")
	if len(etag) < 10 || strings.HasPrefix(etag, "W/") {
		t.Fatalf("ETag = %q, want a strong one", etag)
	}
	if other := ask(t, s, "GET /foo/dev", "", "Accept: "+mediaTypeV2).Header.Get("ETag"); other == etag {
		t.Errorf("ETag of version 2 = %q, want another than version 1", other)
	}
	for header, want := range map[string]int{
		etag: 304, `"x", W/` + etag: 304, "*": 304, `"x"`: 200, "": 200,
	} {
		resp := ask(t, s, "GET /foo/dev", "", "If-None-Match: "+header)
		if resp.StatusCode != want {
			t.Errorf("If-None-Match %q: status = %d, want %d", header, resp.StatusCode, want)
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil, nil)
	tests := []struct {
		request string
		status  int
		allow   string
	}{
		{"HEAD /foo/dev", 200, ""},
		{"POST /foo/dev", 405, "GET"},
		{"DELETE /foo-dev.yml", 405, "GET"},
		{"GET /encrypt", 405, "POST"},
		{"PUT /decrypt/foo/dev", 405, "POST"},
	}
	for _, tt := range tests {
		resp := ask(t, s, tt.request, "")
		if resp.StatusCode != tt.status || resp.Header.Get("Allow") != tt.allow {
			t.Errorf("%s = %d, Allow %q, want %d, %q", tt.request, resp.StatusCode, resp.Header.Get("Allow"), tt.status, tt.allow)
		}
	}
}

func TestPatternIsNeverThePath(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil, nil)
	for path, want := range map[string]string{
		"/foo/dev": "/{app}/{profile}", "/foo/dev/v1": "/{app}/{profile}/{label}", "/v1/foo-dev.yml": "/{label}/{app}-{profile}.{format}",
		"/foo/dev/v1/a/b": "/{app}/{profile}/{label}/{path...}", "/": "/{$}", "/nothing": "",
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		s.ServeHTTP(httptest.NewRecorder(), r)
		if r.Pattern != want {
			t.Errorf("pattern of %s = %q, want %q", path, r.Pattern, want)
		}
	}
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil, func(s *Settings) { s.Prefix = "/config/v1/" })
	for path, want := range map[string]int{"/config/v1/foo/dev": 200, "/config/v1": 200, "/foo/dev": 404, "/config": 404} {
		if resp := ask(t, s, "GET "+path, ""); resp.StatusCode != want {
			t.Errorf("GET %s = %d, want %d", path, resp.StatusCode, want)
		}
	}
}

func TestBasicAuthentication(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil, func(s *Settings) { s.User.Password = "secret" })
	resp := ask(t, s, "GET /foo/dev", "")
	if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic ") {
		t.Errorf("without credentials: %d %q, want 401 with a challenge", resp.StatusCode, resp.Header.Get("WWW-Authenticate"))
	}
	for credentials, want := range map[string]int{"user:secret": 200, "user:wrong": 401, "root:secret": 401, ":": 401} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/foo/dev", nil)
		name, password, _ := strings.Cut(credentials, ":")
		r.SetBasicAuth(name, password)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("with %s: %d, want %d", credentials, w.Code, want)
		}
	}
}

func writeFile(t *testing.T, dir, name, content string) {
	t.Helper()
	full := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFolderOnDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, dir, "config/foo-dev.yml", "a: 1\n")
	writeFile(t, dir, "config/logo.txt", "inside")
	writeFile(t, dir, "config/broken.yml", "a: [\n")
	writeFile(t, dir, "secret.txt", "outside")
	if err := os.Symlink("../secret.txt", filepath.Join(dir, "config/link.txt")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../secret.txt", filepath.Join(dir, "config/linked.yml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("logo.txt", filepath.Join(dir, "config/alias.txt")); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, nil, func(s *Settings) {
		s.Native.SearchLocations = []string{"file:" + dir + "/none", "optional:file://" + dir + "/config/"}
	})

	if got, want := sourceNames(t, s, "/foo/dev"), []string{"file:" + dir + "/config/foo-dev.yml"}; !cmp.Equal(got, want) {
		t.Errorf("sources = %v, want %v", got, want)
	}
	writeFile(t, dir, "config/foo.yml", "a: 2\n")
	if got := sourceNames(t, s, "/foo/dev"); len(got) != 2 {
		t.Errorf("sources after a file was added = %v, want it among them", got)
	}
	for path, want := range map[string]int{
		"/foo/dev/x/logo.txt": 200, "/foo/dev/x/alias.txt": 200, "/foo/dev/x/link.txt": 404,
		"/broken/dev": 500, "/linked/dev": 500,
	} {
		resp := ask(t, s, "GET "+path, "")
		if resp.StatusCode != want {
			t.Errorf("GET %s = %d, want %d", path, resp.StatusCode, want)
		}
		if strings.Contains(readBody(t, resp), "outside") {
			t.Errorf("GET %s shows a file outside the location", path)
		}
	}
	modified := ask(t, s, "GET /foo/dev/x/logo.txt", "").Header.Get("Last-Modified")
	if modified == "" {
		t.Error("plain text has no Last-Modified")
	}
	if resp := ask(t, s, "GET /foo/dev/x/logo.txt", "", "If-Modified-Since: "+modified); resp.StatusCode != http.StatusNotModified {
		t.Errorf("If-Modified-Since: %d, want 304", resp.StatusCode)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	if err := newServer(t, nil, nil).Check(t.Context()); err != nil {
		t.Errorf("Check without files = %v, want nil", err)
	}
	if err := newServer(t, map[string]string{"application.yml": "a: ["}, nil).Check(t.Context()); err == nil {
		t.Error("Check with a broken file = nil, want an error")
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	s := newServer(t, map[string]string{
		"api-gateway.yml": "", "api-gateway-origin.yml": "", "api-gateway-pre-prod.yml": "", "sub/x.yml": "", "<b>.yml": "",
	}, nil)
	resp := ask(t, s, "GET /", "")
	body := readBody(t, resp)
	for _, want := range []string{"/api-gateway/origin", "/api-gateway-origin.yml", "/api-gateway/pre-prod", "/application/default"} {
		if !strings.Contains(body, `href="`+want+`"`) {
			t.Errorf("page lacks a link to %s:\n%s", want, body)
		}
	}
	for _, unwanted := range []string{"pre-prod.yml", "<b>"} {
		if strings.Contains(body, unwanted) {
			t.Errorf("page holds %s", unwanted)
		}
	}
	if got := resp.Header.Get("Content-Type"); got != "text/html;charset=UTF-8" {
		t.Errorf("Content-Type of the page = %q", got)
	}
}

func TestGroupProfiles(t *testing.T) {
	t.Parallel()
	got := groupProfiles([]string{"api", "api-gateway", "api-gateway-prod", "order-service", "x-default"})
	want := []application{
		{"api", []string{"default", "gateway", "gateway-prod"}},
		{"order-service", []string{"default"}},
		{"x-default", []string{"default"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("groupProfiles (-want +got):\n%s", diff)
	}
}

func TestParallelRequests(t *testing.T) {
	t.Parallel()
	files := make(map[string]string)
	for i := range 50 {
		files[fmt.Sprintf("v%d/application.yml", i)] = fmt.Sprintf("version: %d\n", i)
	}
	server := httptest.NewServer(newServer(t, files, nil))
	defer server.Close()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			client := NewClient(server.URL, server.Client())
			env, err := client.Fetch(t.Context(), "foo", "dev", fmt.Sprintf("v%d", i))
			if err != nil {
				t.Errorf("Fetch label v%d: %v", i, err)
				return
			}
			if got := env.Flat()["version"]; got != int64(i) {
				t.Errorf("version at label v%d = %v, want %d", i, got, i)
			}
		})
	}
	wg.Wait()
}

func withKey(s *Settings) { s.Key.Key = "my-secret-key" }

// encryptedVector was made with OpenSSL from a key derived by Python's hashlib.
const encryptedVector = "000102030405060708090a0b0c0d0e0f66685aedb8ebf2684a4a2d04b0afbb16"

func TestDecryptSources(t *testing.T) {
	t.Parallel()
	files := map[string]string{"application.yml": `
plain: x
good: '{cipher}` + encryptedVector + `'
named: '{cipher}{key:a}{secret:s}` + encryptedVector + `'
bad: '{cipher}00'
list: ['{cipher}` + encryptedVector + `']
`}
	tests := []struct {
		name   string
		change func(*Settings)
		want   map[string]any
	}{
		{"with the key", withKey, map[string]any{
			"plain": "x", "good": "contraseña+=", "named": "contraseña+=", "invalid.bad": "<n/a>", "list[0]": "contraseña+=",
		}},
		{"without a key", nil, map[string]any{
			"plain": "x", "invalid.good": "<n/a>", "invalid.named": "<n/a>", "invalid.bad": "<n/a>", "invalid.list[0]": "<n/a>",
		}},
		{"invalid values kept", func(s *Settings) { withKey(s); s.Encrypt.PrefixInvalidProperties = false }, map[string]any{
			"plain": "x", "good": "contraseña+=", "named": "contraseña+=", "bad": "{cipher}00", "list[0]": "contraseña+=",
		}},
		{"switched off", func(s *Settings) { withKey(s); s.Encrypt.Enabled = false }, map[string]any{
			"plain": "x", "good": "{cipher}" + encryptedVector, "named": "{cipher}{key:a}{secret:s}" + encryptedVector,
			"bad": "{cipher}00", "list[0]": "{cipher}" + encryptedVector,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var env Environment
			body := readBody(t, ask(t, newServer(t, files, tt.change), "GET /foo/dev", ""))
			if err := json.Unmarshal([]byte(body), &env); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, env.Flat()); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEncryptRoundTrip(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil, withKey)
	const form, plain = "Content-Type: application/x-www-form-urlencoded", "Content-Type: text/plain"
	tests := []struct{ body, contentType, want string }{
		{"secret", form, "secret"},
		{"secret=", form, "secret"}, // curl -d cannot help it
		{"a+b/c==", plain, "a+b/c=="},
		{"", plain, ""},
		{"ñandú", plain, "ñandú"},
		{strings.Repeat("0123456789abcdef", 4), plain, strings.Repeat("0123456789abcdef", 4)},
		{"{plain}{a:b}", plain, "{a:b}"},
	}
	for _, tt := range tests {
		encrypted := readBody(t, ask(t, s, "POST /encrypt", tt.body, tt.contentType))
		for _, path := range []string{"/decrypt", "/decrypt/foo/dev"} {
			resp := ask(t, s, "POST "+path, encrypted, tt.contentType)
			if got := readBody(t, resp); resp.StatusCode != 200 || got != tt.want {
				t.Errorf("decrypt(encrypt(%q)) = %d %q, want 200 %q", tt.body, resp.StatusCode, got, tt.want)
			}
		}
	}
	again := readBody(t, ask(t, s, "POST /decrypt", "{cipher}"+encryptedVector+"=", form))
	if again != "contraseña+=" {
		t.Errorf("decrypt of the vector = %q, want contraseña+=", again)
	}
	prefixed := readBody(t, ask(t, s, "POST /encrypt", "{key:a}x", plain))
	if !strings.HasPrefix(prefixed, "{key:a}") {
		t.Errorf("encrypt with a key prefix = %q, want the prefix in front", prefixed)
	}
}

func TestEncryptErrors(t *testing.T) {
	t.Parallel()
	withoutKey, with := newServer(t, nil, nil), newServer(t, nil, withKey)
	tests := []struct {
		server  *Server
		request string
		body    string
		code    int
		status  string
	}{
		{withoutKey, "GET /encrypt/status", "", 404, "NO_KEY"},
		{withoutKey, "POST /encrypt", "x", 404, "NO_KEY"},
		{withoutKey, "POST /decrypt", "x", 404, "NO_KEY"},
		{with, "GET /encrypt/status", "", 200, "OK"},
		{with, "GET /key", "", 404, "NOT_FOUND"},
		{with, "POST /decrypt", "zz", 400, "INVALID"},
		{with, "POST /decrypt", encryptedVector[:62] + "00", 400, "INVALID"},
	}
	for _, tt := range tests {
		resp := ask(t, tt.server, tt.request, tt.body)
		var answer struct{ Status string }
		if err := json.Unmarshal([]byte(readBody(t, resp)), &answer); err != nil {
			t.Fatalf("%s: %v", tt.request, err)
		}
		if resp.StatusCode != tt.code || answer.Status != tt.status {
			t.Errorf("%s %q = %d %s, want %d %s", tt.request, tt.body, resp.StatusCode, answer.Status, tt.code, tt.status)
		}
	}
	if resp := ask(t, with, "POST /encrypt", strings.Repeat("x", maxSecret+1)); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("long body: %d, want 413", resp.StatusCode)
	}
	settings := DefaultSettings()
	settings.Key = Key{Key: "k", Salt: "no"}
	if _, err := NewServer(settings, nil); err == nil || !strings.Contains(err.Error(), "encrypt.salt is not hexadecimal") {
		t.Errorf("NewServer with a wrong salt = %v, want an error that names it", err)
	}
}

func TestResourceTooLarge(t *testing.T) {
	t.Parallel()
	s := newServer(t, map[string]string{"big.txt": strings.Repeat("x", maxFile+1)}, nil)
	if resp := ask(t, s, "GET /foo/dev/x/big.txt", ""); resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("file over the limit: %d, want 500", resp.StatusCode)
	}
}

func TestClient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, dir, "application.yml", "a: 1\nf: 1.5\nb: yes\nurl: ${HOST:x}\nbig: 123456789012345678901\n")
	writeFile(t, dir, "user-dev.yml", "a: 2\n")
	server := httptest.NewServer(newServer(t, nil, func(s *Settings) {
		s.Native.SearchLocations = []string{dir}
		s.User.Password = "p@ss"
	}))
	defer server.Close()
	client := NewClient(strings.Replace(server.URL, "http://", "http://user:p%40ss@", 1)+"/", server.Client())

	env, err := client.Fetch(t.Context(), "user", "dev,x", "feature/x")
	if err != nil {
		t.Fatalf("Fetch: %v", err)
	}
	flat := env.Flat()
	if fmt.Sprint(flat["big"]) != "123456789012345678901" {
		t.Errorf("big = %v, want all its digits", flat["big"])
	}
	delete(flat, "big")
	want := map[string]any{"a": int64(2), "f": 1.5, "b": true, "url": "${HOST:x}"}
	if diff := cmp.Diff(want, flat); diff != "" {
		t.Errorf("Flat (-want +got):\n%s", diff)
	}
	if got, want := env.Origin("a"), "file:"+dir+"/user-dev.yml:1:4"; got != want {
		t.Errorf("Origin(a) = %q, want %q", got, want)
	}
	if env.Label != "feature/x" {
		t.Errorf("Label = %q, want feature/x", env.Label)
	}

	again, err := client.Fetch(t.Context(), "user", "dev,x", "feature/x")
	if err != nil || again != env {
		t.Errorf("Fetch of the unchanged = %p, %v, want the same environment %p", again, err, env)
	}
	writeFile(t, dir, "user-dev.yml", "a: 3\n")
	changed, err := client.Fetch(t.Context(), "user", "dev,x", "feature/x")
	if err != nil || changed == env || changed.Flat()["a"] != int64(3) {
		t.Errorf("Fetch of the changed = %v, %v, want a = 3", changed, err)
	}
}

// TestClientReadsOtherServers holds answers as Spring's own server gives them.
func TestClientReadsOtherServers(t *testing.T) {
	t.Parallel()
	const old = `{"name":"foo","profiles":["a","b"],"label":null,"version":null,"extra":{},"propertySources":[
		{"name":"https://host/repo.git/foo.yml","source":{"n":1,"none":null,"m":{"value":2,"origin":"Config server https://host/repo.git/foo.yml:1:4"},"o":{"value":1}}}]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() != "/config/foo/default/b" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, old)
	}))
	defer server.Close()
	client := NewClient(server.URL+"/config", server.Client())
	env, err := client.Fetch(t.Context(), "foo", "", "a, b")
	if err != nil {
		t.Fatalf("Fetch: %v", err)
	}
	want := map[string]any{"n": int64(1), "none": "", "m": int64(2), "o": map[string]any{"value": json.Number("1")}}
	if diff := cmp.Diff(want, env.Flat()); diff != "" {
		t.Errorf("Flat (-want +got):\n%s", diff)
	}
	if got, want := env.Origin("m"), "https://host/repo.git/foo.yml"; got != want {
		t.Errorf("Origin(m) = %q, want %q", got, want)
	}
}

func TestClientErrors(t *testing.T) {
	t.Parallel()
	answer := func(code int, body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	good := answer(200, `{"name":"x","propertySources":[]}`)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	tests := []struct {
		name, uri, want string
	}{
		{"second server", gone.URL + "," + answer(500, "") + ", " + good, ""},
		{"nobody there", gone.URL, "connection refused"},
		{"not found", answer(404, ""), ErrNotFound.Error()},
		{"server error", answer(503, ""), "answered 503 Service Unavailable"},
		{"not JSON", answer(200, "<html>"), "invalid character"},
		{"source is no object", answer(200, `{"propertySources":[{"name":"x","source":[1]}]}`), "want a JSON object"},
		{"no address", " , ", "the address of the configuration server is empty"},
		{"wrong scheme", "ftp://user:secret@host", "address 1 of the configuration server is not a URL like http://host:9296"},
		{"broken address", good + ",http://user:secret@ho st", "address 2 of the configuration server is not a URL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := NewClient(tt.uri, &http.Client{Timeout: time.Minute}).Fetch(t.Context(), "foo", "dev", "")
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("Fetch = %v, want nil", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("Fetch = %v, want an error with %q", err, tt.want)
			case err != nil && strings.Contains(err.Error(), "secret"):
				t.Errorf("Fetch = %v, want no password in it", err)
			}
		})
	}
}
