//go:build faults

package fault

import (
	"context"
	"errors"
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

func known() Known {
	return Known{
		Components: map[string]string{"order-service": "order-service", "payment-service": "payment-service", "product-service": "product-service", "api-gateway": ""},
		Routes: []string{
			"POST /order-service/api/carts/{cartId}/checkout", "POST /payment-service/api/payments/authorize",
			"POST /payment-service/api/payments/{paymentId}/capture",
		},
	}
}

// TestExamples: the good files are taken, and the bad ones refused with the sentence in their first line.
func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(text), "\n")
			want, bad := strings.CutPrefix(first, "# want: ")
			_, err = Parse(text, known())
			switch {
			case bad && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%s: %v, want %s", file, err, want)
			case !bad && err != nil:
				t.Errorf("%s: %v", file, err)
			}
		})
	}
}

// TestDefaults: what a rule does not say is what the documentation says.
func TestDefaults(t *testing.T) {
	t.Parallel()
	rules, err := Parse([]byte("calls: [{answer: cut, hit: 1}]"), known())
	if err != nil {
		t.Fatal(err)
	}
	want := Call{When: When{Hit: 1}, Answer: cut, Use: "second", Status: http.StatusServiceUnavailable}
	if diff := cmp.Diff(want, rules.Calls[0]); diff != "" {
		t.Errorf("a rule that says little (-want +got):\n%s", diff)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"order.(*Service).place":             "order.place",
		"order.(*Service).place.func1":       "order.place",
		"order.(*Service).Run.func2.1":       "order.Run",
		"order.Demo":                         "order.Demo",
		"order.Demo.func1":                   "order.Demo",
		"order.Service.place":                "order.place",
		"order.settle[...]":                  "order.settle",
		"order.(*Service).Run.gowrap3":       "order.Run",
		"payment.(*Service).settle.func1.10": "payment.settle",
	} {
		if got := plain(name); got != want {
			t.Errorf("plain(%q) = %q, want %q", name, got, want)
		}
	}
}

// TestOccasions: a hit comes once; what has a probability comes that often, and for the same seed at
// the same times.
func TestOccasions(t *testing.T) {
	t.Parallel()
	times := func(w When, seed uint64) (taken []int) {
		o := newOccasion(w, seed, 0)
		for i := range 1000 {
			if o.now() {
				taken = append(taken, i+1)
			}
		}
		return taken
	}
	if diff := cmp.Diff([]int{3}, times(When{Hit: 3}, 1)); diff != "" {
		t.Errorf("the third hit (-want +got):\n%s", diff)
	}
	some := times(When{Probability: 0.1}, 1)
	if len(some) < 60 || len(some) > 140 {
		t.Errorf("a probability of 0.1 came %d times out of 1000", len(some))
	}
	if diff := cmp.Diff(some, times(When{Probability: 0.1}, 1)); diff != "" {
		t.Errorf("the same seed (-first +second):\n%s", diff)
	}
	if cmp.Equal(some, times(When{Probability: 0.1}, 2)) {
		t.Error("another seed gave the same numbers")
	}
}

// rules are arms with the rules of a text, which do not kill.
func rules(t *testing.T, text string) (a *arms, died func() []string, rewrite func(text string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "faults.yaml")
	stamp := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	rewrite = func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		stamp = stamp.Add(time.Hour)
		if err := os.Chtimes(file, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(text)
	var mu sync.Mutex
	var points []string
	a = newArms(file, known())
	a.die = func(point string) {
		mu.Lock()
		defer mu.Unlock()
		points = append(points, point)
	}
	if err := a.read(); err != nil {
		t.Fatal(err)
	}
	return a, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return points
	}, rewrite
}

// TestCrash: the process dies where the file says and nowhere else, and the file may change.
func TestCrash(t *testing.T) {
	t.Parallel()
	record := filepath.Join(t.TempDir(), "record")
	a, died, rewrite := rules(t, "record: "+record+"\ncrashes: [{at: '* order.place', hit: 2}]")
	a.at("before-commit order.place")
	a.at("before-commit order.claim")
	a.at("before-commit order.nobody")
	a.at("after-commit order.place")
	a.at("after-commit order.place")
	if diff := cmp.Diff([]string{"after-commit order.place"}, died()); diff != "" {
		t.Errorf("died at (-want +got):\n%s", diff)
	}
	text, err := os.ReadFile(record)
	if want := "before-commit order.place\nbefore-commit order.claim\nafter-commit order.place\nafter-commit order.place\n"; err != nil || string(text) != want {
		t.Errorf("recorded %q, %v; want %q", text, err, want)
	}
	rewrite("crashes: [{at: before-commit order.claim, hit: 1}]")
	a.at("after-commit order.place")
	a.at("before-commit order.claim")
	rewrite("crashes: [{at: nowhere, hit: 1}]") // does not hold: the rules stay
	a.at("before-commit order.claim")
	rewrite("")
	a.at("before-commit order.claim")
	if diff := cmp.Diff([]string{"after-commit order.place", "before-commit order.claim"}, died()); diff != "" {
		t.Errorf("died at, after changes (-want +got):\n%s", diff)
	}
}

// TestAnswerPoints: the points of an answer are before its first byte and after half of its body.
func TestAnswerPoints(t *testing.T) {
	t.Parallel()
	serve := func(rule string) (*httptest.ResponseRecorder, []string) {
		a, died, _ := rules(t, rule)
		mux := http.NewServeMux()
		mux.HandleFunc("POST /order-service/api/carts/{cartId}/checkout", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, "12345678")
		})
		recorder := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/order-service/api/carts/5/checkout", http.NoBody)
		mux.ServeHTTP(&writer{ResponseWriter: recorder, request: r, arms: a}, r)
		return recorder, died()
	}
	const before, mid = "before-answer POST /order-service/api/carts/{cartId}/checkout", "mid-answer POST /order-service/api/carts/{cartId}/checkout"
	answer, died := serve("crashes: [{at: '" + before + "', hit: 1}]")
	if diff := cmp.Diff([]string{before}, died); diff != "" || answer.Body.Len() == 4 {
		t.Errorf("before the answer (-want +got):\n%s", diff)
	}
	answer, died = serve("crashes: [{at: '" + mid + "', hit: 1}]")
	if diff := cmp.Diff([]string{mid}, died); diff != "" || !answer.Flushed || !strings.HasPrefix(answer.Body.String(), "1234") {
		t.Errorf("in the middle of the answer: %q (-want +got):\n%s", answer.Body, diff)
	}
}

// TestCalls: each fault does to a call what its name says.
func TestCalls(t *testing.T) {
	t.Parallel()
	const path = "/payment-service/api/payments/7/capture"
	for _, c := range []struct {
		name, rule string
		arrived    int
		status     int
		body       string
		err        error
		atLeast    time.Duration
		patience   time.Duration
	}{
		{name: "no rule", rule: "", arrived: 1, status: 200, body: "answer 1: amount"},
		{name: "late", rule: "{answer: late, delay: 50ms, hit: 1}", arrived: 1, status: 200, body: "answer 1: amount", atLeast: 50 * time.Millisecond},
		{name: "too late", rule: "{answer: late, delay: 1h, hit: 1}", arrived: 1, err: context.DeadlineExceeded, patience: 50 * time.Millisecond},
		{name: "twice", rule: "{answer: twice, hit: 1}", arrived: 2, status: 200, body: "answer 2: amount"},
		{name: "twice, the first", rule: "{answer: twice, use: first, hit: 1}", arrived: 2, status: 200, body: "answer 1: amount"},
		{name: "never", rule: "{answer: never, hit: 1}", arrived: 1, err: context.DeadlineExceeded, patience: 50 * time.Millisecond},
		{name: "error", rule: "{answer: error, status: 500, hit: 1}", arrived: 0, status: 500, body: `{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"fault"}`},
		{name: "cut", rule: "{answer: cut, hit: 1}", arrived: 1, status: 200, body: "answer 1", err: io.ErrUnexpectedEOF},
		{name: "another caller", rule: "{from: product-service, answer: cut, hit: 1}", arrived: 1, status: 200, body: "answer 1: amount"},
		{name: "another neighbour", rule: "{to: product-service, answer: cut, hit: 1}", arrived: 1, status: 200, body: "answer 1: amount"},
		{name: "this route", rule: "{from: order-service, to: payment-service, route: 'POST /payment-service/api/payments/{paymentId}/capture', answer: twice, hit: 1}", arrived: 2, status: 200, body: "answer 2: amount"},
		{name: "the second time", rule: "{answer: cut, hit: 2}", arrived: 1, status: 200, body: "answer 1: amount"},
		{name: "the first rule wins", rule: "{answer: twice, hit: 1}, {answer: cut, hit: 1}", arrived: 2, status: 200, body: "answer 2: amount"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			arrived := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				arrived++
				body, _ := io.ReadAll(r.Body)
				_, _ = fmt.Fprintf(w, "answer %d: %s", arrived, body)
			}))
			defer server.Close()
			a, _, _ := rules(t, "calls: ["+c.rule+"]")
			if c.patience == 0 {
				c.patience = 10 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), c.patience)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, "POST", server.URL+path, strings.NewReader("amount"))
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			response, err := (&transport{from: "order-service", next: http.DefaultTransport, arms: a}).RoundTrip(r)
			var body []byte
			status := 0
			if err == nil {
				status = response.StatusCode
				body, err = io.ReadAll(response.Body)
				response.Body.Close()
			}
			if status != c.status || string(body) != c.body || !errors.Is(err, c.err) || arrived != c.arrived || time.Since(start) < c.atLeast {
				t.Errorf("%d %q %v after %s, arrived %d times; want %d %q %v, %d times", status, body, err, time.Since(start), arrived, c.status, c.body, c.err, c.arrived)
			}
		})
	}
}
