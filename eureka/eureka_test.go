package eureka

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// epoch is when the tests' clocks start.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// section is a file of a txtar archive.
type section struct{ name, data string }

// openTag is where an element begins behind another.
var openTag = regexp.MustCompile(`>(<[^/])`)

var marker = regexp.MustCompile(`(?m)^-- (.+) --\n`)

// parseArchive reads the txtar format: a comment and named sections.
func parseArchive(text string) (comment string, sections []section) {
	marks := marker.FindAllStringSubmatchIndex(text, -1)
	if len(marks) == 0 {
		return text, nil
	}
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		sections = append(sections, section{text[m[2]:m[3]], text[m[1]:end]})
	}
	return text[:marks[0][0]], sections
}

// TestExchanges plays the requests in testdata to a server, one second between
// them, and compares its answers, each in a section after its request.
func TestExchanges(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("Glob() = %v, %v, want files", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var seconds atomic.Int64
			server := httptest.NewServer(NewServer(DefaultSettings(), func() time.Time {
				return epoch.Add(time.Duration(seconds.Load()) * time.Second)
			}))
			defer server.Close()

			comment, sections := parseArchive(string(text))
			got := comment
			for _, s := range sections {
				if strings.HasPrefix(s.name, "answer: ") {
					continue
				}
				seconds.Add(1)
				got += fmt.Sprintf("-- %s --\n%s-- answer: %s --\n%s", s.name, s.data, s.name, exchange(t, server.URL, s.data))
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(text), got); diff != "" && !*update {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// plainTransport neither asks for gzip nor undoes it.
func plainTransport(t *testing.T) *http.Transport {
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// exchange sends a request that is written as a request line, header lines, an
// empty line and a body, and returns the answer in the same form, its body
// broken into lines.
func exchange(t *testing.T, base, text string) string {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	method, target, ok := strings.Cut(lines[0], " ")
	if !ok {
		t.Fatalf("request line %q, want method and path", lines[0])
	}
	req, err := http.NewRequestWithContext(t.Context(), method, base+target, strings.NewReader(strings.TrimSuffix(body, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := plainTransport(t).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := resp.Status + "\n"
	for _, name := range []string{"Content-Type", "Location"} {
		if value := resp.Header.Get(name); value != "" {
			out += name + ": " + value + "\n"
		}
	}
	if resp.ContentLength == 0 && resp.StatusCode != http.StatusNoContent {
		out += "Content-Length: 0\n"
	}
	switch resp.Header.Get("Content-Type") {
	case "application/json":
		var indented bytes.Buffer
		if err := json.Indent(&indented, answer, "", " "); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		answer = append(indented.Bytes(), '\n')
	case "application/xml":
		answer = append(openTag.ReplaceAll(answer, []byte(">\n$1")), '\n')
	}
	return out + "\n" + string(answer)
}

func TestHashcode(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		counts map[Status]int
		want   string
	}{
		{nil, ""},
		{map[Status]int{StatusUp: 2}, "UP_2_"},
		{map[Status]int{StatusUp: 10, StatusDown: 1}, "DOWN_1_UP_10_"},
		{map[Status]int{StatusUp: 1, StatusUnknown: 1, StatusStarting: 3, StatusOutOfService: 2}, "OUT_OF_SERVICE_2_STARTING_3_UNKNOWN_1_UP_1_"},
	} {
		if got := hashcode(test.counts); got != test.want {
			t.Errorf("hashcode(%v) = %q, want %q", test.counts, got, test.want)
		}
	}
}

func TestAddr(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in   Instance
		want string
	}{
		{Instance{IPAddr: "10.0.0.1", HostName: "h", Port: Port{8300, true}}, "10.0.0.1:8300"},
		{Instance{HostName: "h", Port: Port{8300, true}}, "h:8300"},
		{Instance{IPAddr: "fd00::1", Port: Port{8300, true}}, "[fd00::1]:8300"},
		{Instance{IPAddr: "10.0.0.1", Port: Port{8300, false}, SecurePort: Port{8443, true}}, "10.0.0.1:8443"},
	} {
		if got := test.in.Addr(); got != test.want {
			t.Errorf("Addr(%+v) = %q, want %q", test.in, got, test.want)
		}
	}
}
