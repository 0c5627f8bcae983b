package eureka

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func serve(s *Server, r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	return rec
}

func TestPathsAreNeverRedirected(t *testing.T) {
	t.Parallel()
	s := NewServer(DefaultSettings(), time.Now)
	for _, test := range []struct {
		path, pattern string
	}{
		{"/eureka/apps", "GET /eureka/apps"},
		{"/eureka/apps/", "GET /eureka/apps"},
		{"/eureka/v2/apps", "GET /eureka/apps"},
		{"/eureka/v2/apps/", "GET /eureka/apps"},
		{"//eureka/./v2//apps//", "GET /eureka/apps"},
		{"/eureka/apps/delta/", "GET /eureka/apps/delta"},
		{"/eureka/status", "GET /eureka/status"},
		{"/lastn/", "GET /lastn"},
		{"/", "GET /{$}"},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://h"+test.path, nil)
		rec := serve(s, r)
		if rec.Code != http.StatusOK || r.Pattern != test.pattern {
			t.Errorf("GET %s = %d, pattern %q; want 200, %q", test.path, rec.Code, r.Pattern, test.pattern)
		}
	}
}

func TestNegotiation(t *testing.T) {
	t.Parallel()
	s := NewServer(DefaultSettings(), time.Now)
	for accept, want := range map[string]string{
		"":                                     "application/xml",
		"*/*":                                  "application/xml",
		"text/html,application/xhtml+xml":      "application/xml",
		"application/json":                     "application/json",
		"application/json, application/*+json": "application/json",
		"application/vnd.x+json;q=0.1":         "application/json",
	} {
		r := httptest.NewRequest(http.MethodGet, "/eureka/apps", nil)
		r.Header.Set("Accept", accept)
		if got := serve(s, r).Header().Get("Content-Type"); got != want {
			t.Errorf("Content-Type with Accept %q = %q, want %q", accept, got, want)
		}
	}
}

func TestGzip(t *testing.T) {
	t.Parallel()
	s := NewServer(DefaultSettings(), time.Now)
	for _, path := range []string{"/eureka/apps", "/eureka/v2/apps/delta"} {
		plain := serve(s, httptest.NewRequest(http.MethodGet, path, nil))
		if got := plain.Header().Get("Content-Encoding"); got != "" {
			t.Errorf("Content-Encoding of %s without Accept-Encoding = %q, want none", path, got)
		}
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept-Encoding", "deflate, gzip")
		rec := serve(s, r)
		if got := rec.Header().Get("Content-Encoding"); got != "gzip" {
			t.Errorf("Content-Encoding of %s = %q, want gzip", path, got)
		}
		z, err := gzip.NewReader(rec.Body)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(z)
		if err != nil || !strings.HasPrefix(string(body), "<applications>") {
			t.Errorf("body of %s = %q, %v, want <applications>", path, body, err)
		}
	}
}

// TestPagesOfOthersRegisterNothing: a page that a developer happens to look at can post to this machine.
func TestPagesOfOthersRegisterNothing(t *testing.T) {
	t.Parallel()
	s := NewServer(DefaultSettings(), time.Now)
	const body = `{"instance":{"instanceId":"a","hostName":"h","app":"A","ipAddr":"10.0.0.1","dataCenterInfo":{"name":"MyOwn"}}}`
	for name, test := range map[string]struct {
		header, value string
		want          int
	}{
		"a client":         {"Content-Type", "application/json", http.StatusNoContent},
		"our own page":     {"Sec-Fetch-Site", "same-origin", http.StatusNoContent},
		"a page elsewhere": {"Sec-Fetch-Site", "cross-site", http.StatusForbidden},
		"an older browser": {"Origin", "http://evil.example", http.StatusForbidden},
	} {
		r := httptest.NewRequest(http.MethodPost, "http://h/eureka/apps/A", strings.NewReader(body))
		r.Header.Set(test.header, test.value)
		if rec := serve(s, r); rec.Code != test.want {
			t.Errorf("%s: POST = %d %s, want %d", name, rec.Code, rec.Body, test.want)
		}
	}
}

func TestBodyIsLimited(t *testing.T) {
	t.Parallel()
	s := NewServer(DefaultSettings(), time.Now)
	body := strings.NewReader(`{"instance":"` + strings.Repeat("x", maxBody))
	rec := serve(s, httptest.NewRequest(http.MethodPost, "/eureka/apps/ABC", body))
	if rec.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("POST of more than 1 MiB = %d, want 413", rec.Code)
	}
}

// Whoever sends what cannot be read is told why in words of the protocol, not of Go.
func TestUnreadableBodiesInWords(t *testing.T) {
	t.Parallel()
	s := NewServer(DefaultSettings(), time.Now)
	for _, test := range []struct{ contentType, body, want string }{
		{"application/json", `{"instance":5}`, `"instance" must not be a JSON number`},
		{"application/json", `{"instance":{"leaseInfo":[]}}`, `"instance.leaseInfo" must not be a JSON array`},
		{"application/json", `{"instance":{"port":{"$":"x"}}}`, `"x" is not a whole number in range`},
		{"application/json", `{"instance":`, "unexpected end of JSON input"},
		{"application/xml", `<instance><port enabled="true">x</port></instance>`, `"x" is not a whole number in range`},
		{"application/xml", `<foo/>`, "the root element is <foo>, want <instance>"},
		{"application/xml", ``, "it is empty or ends early"},
	} {
		r := httptest.NewRequest("POST", "/eureka/apps/SHOP", strings.NewReader(test.body))
		r.Header.Set("Content-Type", test.contentType)
		r.Header.Set("Accept", "application/json")
		w := serve(s, r)
		var got unparsable
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusBadRequest || got.Detail != test.want {
			t.Errorf("%s = %d %s, want 400 %s", test.body, w.Code, w.Body, test.want)
		}
	}
}

func TestInstancesByStatus(t *testing.T) {
	t.Parallel()
	s := NewServer(DefaultSettings(), time.Now)
	s.registry.register(newTestInstance("a", 90), false)
	s.registry.register(newTestInstance("b", 90), false)
	down := newTestInstance("c", 90)
	down.Status = StatusDown
	s.registry.register(down, false)
	want := map[string]map[Status]int{"ABC": {StatusUp: 2, StatusDown: 1}}
	if diff := cmp.Diff(want, s.Instances()); diff != "" {
		t.Errorf("Instances() (-want +got):\n%s", diff)
	}
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	now := epoch
	s := NewServer(DefaultSettings(), func() time.Time { return now })
	up := newTestInstance("h:abc:1", 90)
	up.StatusPageURL = "http://h:1/actuator/info"
	up.Metadata["zone"] = "fra1"
	s.registry.register(up, false)
	down := newTestInstance("<script>", 90)
	down.Status = StatusDown
	down.StatusPageURL = "javascript:alert(1)"
	s.registry.register(down, false)
	s.registry.cancel(key{"ABC", "nobody"})
	now = now.Add(26*time.Hour + 3*time.Minute)

	rec := serve(s, httptest.NewRequest(http.MethodGet, "/", nil))
	page := strings.Join(strings.Fields(rec.Body.String()), " ")
	for _, want := range []string{
		"Environment", "Data center", "2026-01-03T05:07:05 &#43;0000", "1 day 02:03",
		"Lease expiration enabled", "Renews threshold", "Renews (last min)", "EMERGENCY!",
		"DS Replicas", "Instances currently registered", "n/a (2)", "n/a (1), fra1 (1)",
		`<span class="status up">UP (1)</span> - <a href="http://h:1/actuator/info">h:abc:1</a>`,
		`<span class="status">DOWN (1)</span> - &lt;script&gt;`,
		"General Info", "num-of-cpus", "total-avail-memory", "current-memory-usage", "registered-replicas", "Instance Info",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the dashboard does not contain %q", want)
		}
	}
	if strings.Contains(page, "javascript:") {
		t.Error("the dashboard links to a script")
	}

	s.registry.cancel(key{"ABC", "h:abc:1"})
	page = serve(s, httptest.NewRequest(http.MethodGet, "/lastn", nil)).Body.String()
	for _, want := range []string{"ABC(h:abc:1)", "ABC(&lt;script&gt;)", "2026-01-03T05:07:05Z", "2026-01-02T03:04:05Z"} {
		if !strings.Contains(page, want) {
			t.Errorf("/lastn does not contain %q", want)
		}
	}
}

func TestDashboardWithoutInstances(t *testing.T) {
	t.Parallel()
	s := NewServer(Settings{}, time.Now)
	page := serve(s, httptest.NewRequest(http.MethodGet, "/", nil)).Body.String()
	for _, want := range []string{"No instances available", "THE SELF PRESERVATION MODE IS TURNED OFF"} {
		if !strings.Contains(page, want) {
			t.Errorf("the dashboard does not contain %q", want)
		}
	}
}

func TestStatusDocument(t *testing.T) {
	t.Parallel()
	rec := serve(NewServer(DefaultSettings(), time.Now), httptest.NewRequest(http.MethodGet, "/eureka/status", nil))
	var got map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"generalStats", "applicationStats", "instanceInfo", "isHeathly"} {
		if _, ok := got[name]; !ok {
			t.Errorf("the status document has no %q", name)
		}
	}
}

func TestEscapeName(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"plain":           "plain",
		"a_b":             "a__b",
		"$x":              "_-x",
		"management.port": "management.port",
		"1st":             "_.0031st",
		"a b:c":           "a_.0020b_.003ac",
		"ñ":               "_.00f1",
		"😀":               "_.d83d_.de00",
	} {
		got := escapeName(key)
		if got != want {
			t.Errorf("escapeName(%q) = %q, want %q", key, got, want)
		}
		if back := unescapeName(got); back != key {
			t.Errorf("unescapeName(%q) = %q, want %q", got, back, key)
		}
	}
}

// Servers before the Jackson codec wrote a bare object where there is one
// element, and numbers where there are strings now.
func TestOldRegistryIsRead(t *testing.T) {
	t.Parallel()
	got, err := decodeApplicationsJSON([]byte(`{"applications":{"versions__delta":1,"apps__hashcode":"UP_1_","application":
		{"name":"ABC","instance":{"instanceId":"i","hostName":"h","app":"ABC","ipAddr":"10.0.0.1","port":{"@enabled":"true","$":"80"}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	in := newInstance()
	in.InstanceID, in.HostName, in.App, in.IPAddr, in.Port = "i", "h", "ABC", "10.0.0.1", Port{80, true}
	want := Applications{Version: "1", Hash: "UP_1_", Applications: []Application{{Name: "ABC", Instances: []Instance{in}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decodeApplicationsJSON() (-want +got):\n%s", diff)
	}
}

// seed adds the bodies of the recorded requests to a fuzz test.
func seed(f *testing.F, start string) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, sections := parseArchive(string(text))
		for _, s := range sections {
			if _, body, _ := strings.Cut(s.data, "\n\n"); strings.HasPrefix(body, start) {
				f.Add([]byte(body))
			}
		}
	}
}

// A body that is taken must come back from the registry in both formats, the
// same in each.
func checkRoundTrip(t *testing.T, in Instance) {
	t.Helper()
	in.normalize()
	asJSON, err := encodeJSON("instance", in)
	if err != nil {
		t.Fatalf("encodeJSON(%+v) = %v", in, err)
	}
	back, err := decodeInstanceJSON(asJSON)
	if err != nil {
		t.Fatalf("decodeInstanceJSON(%s) = %v", asJSON, err)
	}
	back.normalize()
	again, err := encodeJSON("instance", back)
	if err != nil || !bytes.Equal(asJSON, again) {
		t.Errorf("JSON round trip of %s = %s, %v", asJSON, again, err)
	}
	asXML, err := encodeXML("instance", in)
	if err != nil {
		t.Fatalf("encodeXML(%+v) = %v", in, err)
	}
	if _, err := decodeInstanceXML(asXML); err != nil {
		t.Errorf("decodeInstanceXML(%s) = %v", asXML, err)
	}
}

func FuzzDecodeInstanceJSON(f *testing.F) {
	seed(f, "{")
	f.Add([]byte(`{"instance":{"metadata":{"":"","\u0000":"\u0000","@class":1},"port":{},"status":7}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if in, err := decodeInstanceJSON(body); err == nil {
			checkRoundTrip(t, in)
		}
		_, _ = decodeApplicationsJSON(body) // must not panic
	})
}

func FuzzDecodeInstanceXML(f *testing.F) {
	seed(f, "<")
	f.Add([]byte(`<instance><metadata><a:b>1</a:b><_.d83d/><__/></metadata><port enabled="false"> 80 </port></instance>`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if in, err := decodeInstanceXML(body); err == nil {
			checkRoundTrip(t, in)
		}
	})
}

func FuzzEscapeName(f *testing.F) {
	f.Add("a_b$c d")
	f.Fuzz(func(t *testing.T, key string) {
		name := escapeName(key)
		if err := xml.Unmarshal([]byte("<"+name+"/>"), new(struct{})); err != nil {
			t.Errorf("escapeName(%q) = %q, no name of an element: %v", key, name, err)
		}
		if want := strings.ToValidUTF8(key, "\uFFFD"); key == want && key != "" && unescapeName(name) != key {
			t.Errorf("unescapeName(escapeName(%q)) = %q", key, unescapeName(name))
		}
	})
}
