package load

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tienda/api"
)

// TestLies: a shop that breaks a promise is found out, and by the invariant that says what it broke.
func TestLies(t *testing.T) {
	t.Parallel()
	for lie, want := range map[string]string{
		"":                         "",
		"rough":                    "",
		"order lost":               "listed once",
		"listed twice":             "listed once",
		"order nobody asked for":   "nothing extra",
		"cart sold twice":          "one each",
		"two keys, one order":      "one each",
		"sold and cancelled":       "as told",
		"cancelled and sold":       "as told",
		"cancellation forgotten":   "as told",
		"another total":            "total",
		"total is no sum":          "total",
		"another line":             "total",
		"another price":            "total",
		"charged twice":            "sold",
		"not charged":              "sold",
		"authorised only":          "sold",
		"charged too much":         "sold",
		"no shipment":              "sold",
		"two shipments":            "sold",
		"parcel forgotten":         "sold",
		"charged and cancelled":    "nothing held",
		"held and cancelled":       "nothing held",
		"shipped and cancelled":    "nothing held",
		"books do not balance":     "ledger",
		"books say nothing":        "ledger",
		"another order on replay":  "same answer",
		"another answer on replay": "same answer",
		"no replay mark":           "same answer",
		"never answers":            "answered",
		"never rests":              "at rest",
	} {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			shop := newFakeShop(t, lie)
			o := rushed(shop.URL)
			if want == "" || lie == "cancellation forgotten" {
				o.Mix.Cancel = 30 // otherwise the order that the lie is about could be cancelled
			}
			result, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			found, err := result.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var report bytes.Buffer
			if err := found.Print(&report); err != nil {
				t.Fatal(err)
			}
			var broken []string
			for _, i := range found.Invariants {
				if i.Violations > 0 {
					broken = append(broken, i.Name)
					if len(i.First) == 0 || !strings.Contains(report.String(), i.First[0]) {
						t.Errorf("the report names no offender of %q:\n%s", i.Name, &report)
					}
				}
			}
			if want == "" && (found.Violations != 0 || result.Outcomes[Unknown] != 0) {
				t.Errorf("violations of an honest shop, outcomes %v:\n%s", result.Outcomes, &report)
			}
			if want != "" && !slices.Contains(broken, want) {
				t.Errorf("broken = %q, want %q among them:\n%s", broken, want, &report)
			}
		})
	}
}

// TestOptions: one clear sentence for everything that keeps a run from beginning, at once.
func TestOptions(t *testing.T) {
	t.Parallel()
	shop := newFakeShop(t, "")
	blank := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(blank.Close)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	t.Cleanup(page.Close)
	ill := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusServiceUnavailable) }))
	t.Cleanup(ill.Close)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, c := range map[string]struct {
		change func(*Options)
		says   string
	}{
		"no target":             {func(o *Options) { o.Target = "" }, "http://localhost:8080"},
		"target without scheme": {func(o *Options) { o.Target = "localhost:8080" }, "http://localhost:8080"},
		"no users":              {func(o *Options) { o.Users = 0 }, "users is 0: want 1 to 10000"},
		"no end":                {func(o *Options) { o.Checkouts = 0 }, "either a number of checkouts or a duration"},
		"two ends":              {func(o *Options) { o.Duration = time.Second }, "either a number of checkouts or a duration"},
		"negative":              {func(o *Options) { o.Checkouts = -1 }, "must not be negative"},
		"only browsing":         {func(o *Options) { o.Mix = Mix{Browse: 100} }, "never comes to a checkout"},
		"share out of range":    {func(o *Options) { o.Mix.Cancel = 101 }, "share cancel of the mix is 101: want 0 to 100"},
		"too many cards":        {func(o *Options) { o.Mix = Mix{Declined: 60, Slow: 41} }, "101 percent together"},
		"nobody there":          {func(o *Options) { o.Target = gone.URL }, "is the shop running"},
		"no shop":               {func(o *Options) { o.Target = blank.URL }, "is no tienda"},
		"a page":                {func(o *Options) { o.Target = page.URL }, "is no tienda"},
		"not open":              {func(o *Options) { o.Target = ill.URL }, "is not open"},
		"wrong password":        {func(o *Options) { o.Admin.Password = "wrong" }, "administrator: log in as admin: 401"},
		"no password":           {func(o *Options) { o.Admin.Password = "" }, "password of the administrator admin is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := rushed(shop.URL)
			c.change(&o)
			began := time.Now()
			_, err := Run(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Run = %v, want one line that says %q", err, c.says)
			}
			if took := time.Since(began); took > finding+5*time.Second {
				t.Errorf("it took %v to say so", took)
			}
		})
	}
}

// TestAboutToOpen: a shop that asks to come back shortly is asked again.
func TestAboutToOpen(t *testing.T) {
	t.Parallel()
	shop := newFakeShop(t, "")
	var asked atomic.Int64
	opening := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		shop.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(opening.Close)
	if result, err := Run(t.Context(), rushed(opening.URL)); err != nil || len(result.Record) == 0 {
		t.Errorf("Run = %v, %v, want a run once the shop is open", result, err)
	}
}

// TestNotYetFound: in a cluster a shop that has just opened refuses connections for a moment.
func TestNotYetFound(t *testing.T) {
	t.Parallel()
	shop := newFakeShop(t, "")
	o := rushed(shop.URL)
	var asked atomic.Int64
	o.HTTP = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		if asked.Add(1) < 3 {
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		}
		return http.DefaultTransport.RoundTrip(r)
	})}
	if result, err := Run(t.Context(), o); err != nil || len(result.Record) == 0 {
		t.Errorf("Run = %v, %v, want a run once the shop is found", result, err)
	}
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

func TestParseMix(t *testing.T) {
	t.Parallel()
	story, checkout := Mixes()["story"], Mixes()["checkout"]
	for text, want := range map[string]Mix{
		"story":                         story,
		"checkout":                      checkout,
		"checkout, async=50,declined=5": {Restock: 100, Async: 50, Declined: 5},
		"browse=90%":                    func() Mix { m := story; m.Browse = 90; return m }(),
	} {
		if got, err := ParseMix(text); err != nil || got != want {
			t.Errorf("ParseMix(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, says := range map[string]string{
		"rush": "want one of browse, checkout, hostile, story", "cancel=5,story": "no mix", "cancle=5": "there are browse,", "cancel=many": "whole number", "cancel=-1": "0 to 100", "": "no mix",
	} {
		if _, err := ParseMix(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("ParseMix(%q) = %v, want an error that says %q", text, err, says)
		}
	}
	for name, mix := range Mixes() {
		if err := mix.validate(); err != nil {
			t.Errorf("mix %s: %v", name, err)
		}
	}
}

// TestCardsFollowTheMix: a hundred rolls pay with exactly the shares of the mix.
func TestCardsFollowTheMix(t *testing.T) {
	t.Parallel()
	got := map[string]int{}
	for roll := range 100 {
		got[Mix{Declined: 10, Slow: 20, DuplicateWebhook: 5}.pay(roll).Token]++
	}
	want := map[string]int{"tok_ok": 65, "tok_declined": 10, "tok_slow": 20, "tok_duplicate_webhook": 5}
	if !maps.Equal(got, want) {
		t.Errorf("cards = %v, want %v", got, want)
	}
}

// TestSameSeedSameChoices: one customer alone does the same twice.
func TestSameSeedSameChoices(t *testing.T) {
	t.Parallel()
	choices := func(seed uint64) string {
		o := rushed(newFakeShop(t, "").URL)
		o.Users, o.Seed = 1, seed
		result, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		var bought [][]api.ItemQuantity
		var cards []string
		for _, c := range result.Record {
			bought, cards = append(bought, c.Items), append(cards, c.Token)
		}
		text, err := json.Marshal([]any{bought, cards})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if a, b := choices(3), choices(3); a != b {
		t.Errorf("two runs with one seed:\n%s\n%s", a, b)
	}
	if a, b := choices(3), choices(4); a == b {
		t.Errorf("two seeds, one run:\n%s", a)
	}
}

// TestInterrupted: a run that is ended early still tells what it measured, and what it left open is proved.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	shop := newFakeShop(t, "")
	o := rushed(shop.URL)
	o.Checkouts, o.Duration = 0, time.Hour
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, stop)
	result, err := Run(ctx, o)
	if err != nil || !result.Interrupted || len(result.Record) == 0 {
		t.Fatalf("Run = %+v, %v, want a result that says it was interrupted", result, err)
	}
	var report bytes.Buffer
	if err := result.Print(&report); err != nil || !strings.Contains(report.String(), "interrupted") || !strings.Contains(report.String(), "checkout ") {
		t.Errorf("Print = %v:\n%s", err, &report)
	}
	var open int64
	for _, c := range result.Record {
		if c.unknown() {
			open++
		}
	}
	if result.Outcomes[Interrupted] != open || result.Outcomes[Unknown] != 0 {
		t.Errorf("the shop always answers, %d checkouts were under way, and the outcomes are %v", open, result.Outcomes)
	}
	found, err := result.Verify(t.Context())
	if err != nil || found.Violations != 0 {
		t.Errorf("Verify = %+v, %v", found, err)
	}
	ctx, stop = context.WithCancel(t.Context())
	stop()
	if _, err := result.Verify(ctx); err == nil {
		t.Error("a verification that was interrupted says that it is done")
	}
}

// flaky is a transport behind which everything is away now and then, and sessions are forgotten.
type flaky struct{ n atomic.Int64 }

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	n := f.n.Add(1)
	switch {
	case n > 40 && n%200 < 6: // six calls in two hundred find nobody, once the run has begun
		r = r.Clone(r.Context())
		r.URL.Host = "127.0.0.1:1"
	case n > 40 && n%37 == 0 && !strings.HasSuffix(r.URL.Path, "/authenticate"):
		body := `{"title":"Unauthorized","status":401}`
		w := httptest.NewRecorder()
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.WriteString(body)
		return w.Result(), nil
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestOutages: nobody there for a while, sessions gone: the run goes on to its end, and holds.
func TestOutages(t *testing.T) {
	t.Parallel()
	o := rushed(newFakeShop(t, "rough").URL)
	o.HTTP = &http.Client{Transport: &flaky{}}
	o.Resolve = 20 * time.Second
	result, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	found, err := result.Verify(t.Context())
	if err != nil || found.Violations != 0 || len(result.Record) != 60 {
		t.Errorf("%d checkouts, want 60; Verify = %+v, %v", len(result.Record), found, err)
	}
	var errors []string
	for _, s := range result.Steps {
		errors = append(errors, kinds(s.Errors)...)
	}
	for _, want := range []string{"no connection", "401"} {
		if !slices.Contains(errors, want) {
			t.Errorf("errors = %v, want %q among them", errors, want)
		}
	}
}

// lines collects what is written.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(p))
	return len(p), nil
}

// TestProgress: on a screen one line that fits and is gone at the end.
func TestProgress(t *testing.T) {
	t.Parallel()
	var screen lines
	o := rushed(newFakeShop(t, "").URL)
	o.Checkouts, o.Duration, o.Progress, o.Rewrite = 0, 1500*time.Millisecond, &screen, true
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if n := len(screen.text); n < 4 || screen.text[n-1] != "\r\x1b[K" {
		t.Fatalf("progress = %q, want some and then an empty line", screen.text)
	}
	for _, text := range screen.text {
		if !strings.HasPrefix(text, "\r") || !strings.HasSuffix(text, "\x1b[K") || strings.Contains(text, "\n") || len(text) > len("\r\x1b[K")+79 {
			t.Errorf("progress %q is no line that is rewritten", text)
		}
	}
	if last := screen.text[len(screen.text)-2]; !strings.Contains(last, "checkouts, ") || !strings.Contains(last, "201:") {
		t.Errorf("progress = %q, want checkouts and their outcomes", last)
	}
}

// TestPercentilesAreNotAboveTheLongest: a histogram rounds up, and no call took longer than the longest.
func TestPercentilesAreNotAboveTheLongest(t *testing.T) {
	t.Parallel()
	m := newMeter()
	for range 3 {
		m.add(stepCheckout, 470_290*time.Microsecond, "", "")
	}
	row := m.table(time.Time{}, time.Time{})[0]
	if row.Max != 470.29 || row.P50 != row.Max || row.P99 != row.Max {
		t.Errorf("percentiles %v, %v and longest %v of three calls that took 470.29 ms", row.P50, row.P99, row.Max)
	}
}

// TestFirstErrorIsTold: beside how many failed stands what the first of each kind was told.
func TestFirstErrorIsTold(t *testing.T) {
	t.Parallel()
	m := newMeter()
	m.add(stepMyOrders, time.Millisecond, "503", "Service Unavailable: order-service does not answer")
	m.add(stepMyOrders, time.Millisecond, "503", "Service Unavailable: a later one")
	m.add(stepMyOrders, time.Millisecond, "timeout", "context deadline exceeded")
	var out bytes.Buffer
	if err := (&Result{Steps: m.table(time.Time{}, time.Time{})}).Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"2 503, 1 timeout\n\nfirst 503 of \"my orders\": Service Unavailable: order-service does not answer\n",
		"\nfirst timeout of \"my orders\": context deadline exceeded\n\n0 checkouts",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}

// TestSoldOut: a run that bought next to nothing says why that may be, unless an administrator was there.
func TestSoldOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		admin   string
		refused int64
		want    bool
	}{{"", 6, true}, {"", 5, false}, {"admin", 10, false}} {
		var out bytes.Buffer
		r := &Result{Admin: c.admin, Outcomes: map[string]int64{"201": 10 - c.refused, "409": c.refused}}
		if err := r.Print(&out); err != nil || strings.Contains(out.String(), "--admin USER") != c.want {
			t.Errorf("%+v prints (%v)\n%s", c, err, &out)
		}
	}
}
