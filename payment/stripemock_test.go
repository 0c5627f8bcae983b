package payment

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"
)

// TestStripeMock sends every call of the provider to stripe-mock, which checks paths and parameters
// against Stripe's own description of its API. Its answers are the same whatever was asked, so that what
// follows from them is the business of the other tests.
func TestStripeMock(t *testing.T) {
	t.Parallel()
	spec, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		t.Fatal(err)
	}
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		t.Fatal(err)
	}
	stub, err := server.NewStubServer(fixtures, spec, false, false)
	if err != nil {
		t.Fatal(err)
	}
	var (
		mu    sync.Mutex
		calls []string
	)
	mock := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		stub.HandleRequest(answer, r)
		mu.Lock()
		calls = append(calls, r.Method+" "+r.URL.Path+" "+http.StatusText(answer.Code))
		mu.Unlock()
		if answer.Code != http.StatusOK {
			t.Logf("%s %s: %s", r.Method, r.URL, answer.Body)
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(mock.Close)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p, err := newStripe(StripeSettings{URL: mock.URL, SecretKey: "sk_test_1", WebhookSecret: fakeSecret}, dollars, func() time.Time { return at })
	if err != nil {
		t.Fatal(err)
	}
	request := Request{Key: "KEY", Books: "BOOKS", PaymentID: 5, OrderID: 7, Reference: "pi_1", Amount: 1000, Currency: "USD", Token: cardOK}
	ctx := t.Context()
	for _, begun := range []time.Time{at, at.Add(-48 * time.Hour)} { // the latter is looked for first
		request.Begun = begun
		for _, kind := range []Kind{KindAuthorize, KindCapture, KindVoid, KindRefund} {
			if _, err := call(ctx, p, kind, request); err != nil {
				t.Logf("%s: %v", kind, err)
			}
		}
	}
	if err := p.needsAction(ctx, "pi_1"); err == nil {
		t.Error("needsAction = nil, want a refusal")
	}
	bad, err := http.NewRequestWithContext(ctx, http.MethodPost, mock.URL+"/v1/payment_intents",
		strings.NewReader(url.Values{"amount": {"1000"}, "currency": {"usd"}, "capture_method": {"by magic"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	bad.Header.Set("Authorization", "Bearer sk_test_1")
	bad.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(bad)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if diff := cmp.Diff([]string{
		"POST /v1/payment_intents OK", "POST /v1/payment_intents/pi_1/capture OK", "POST /v1/payment_intents/pi_1/cancel OK", "POST /v1/refunds OK",
		"GET /v1/payment_intents/search OK", "GET /v1/payment_intents OK", "GET /v1/payment_intents/pi_1 OK", "POST /v1/payment_intents/pi_1/capture OK",
		"GET /v1/payment_intents/pi_1 OK", "POST /v1/payment_intents/pi_1/cancel OK", "GET /v1/refunds OK", "POST /v1/refunds OK",
		"POST /v1/payment_intents/pi_1/cancel OK", "POST /v1/payment_intents Bad Request",
	}, calls); diff != "" {
		t.Errorf("calls and what stripe-mock says of them (-want +got):\n%s", diff)
	}
}
