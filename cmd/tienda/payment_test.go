package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"

	"tienda/api"
)

// laptop is a product with enough on hand.
func (s *system) laptop() api.ID {
	s.tb.Helper()
	var found api.List[api.Product]
	s.call(http.StatusOK, request{method: "GET", path: "/product-service/api/products?q=laptop&inStock=true&sort=quantity,desc&size=1"}).decode(s.tb, &found)
	if len(found.Collection) == 0 {
		s.tb.Fatal("no laptop is on sale")
	}
	return found.Collection[0].ProductID
}

// filledCart is the user's open cart with one product in it.
func (s *system) filledCart(token string, product api.ID) string {
	s.tb.Helper()
	var cart api.Cart
	s.call(http.StatusOK, request{method: "GET", path: "/order-service/api/carts/mine", token: token}).decode(s.tb, &cart)
	s.call(http.StatusOK, request{method: "PUT", path: fmt.Sprintf("/order-service/api/carts/%d/items/%d", cart.CartID, product), token: token, body: `{"quantity":1}`})
	return fmt.Sprintf("/order-service/api/carts/%d/checkout", cart.CartID)
}

// paidOnce checks that an order comes to be confirmed with one payment and one entry in the ledger.
func (s *system) paidOnce(token, admin, what string, id api.ID) {
	s.tb.Helper()
	var order api.Order
	s.eventually("the order of "+what+" is confirmed", func() bool {
		s.call(http.StatusOK, request{method: "GET", path: "/order-service/api/orders/" + id.String(), token: token}).decode(s.tb, &order)
		return order.Status == api.OrderConfirmed
	})
	if order.Payment == nil || order.Payment.State != api.PaymentCaptured {
		s.tb.Errorf("payment of %s = %+v, want CAPTURED", what, order.Payment)
	}
	var payments api.List[api.Payment]
	s.call(http.StatusOK, request{method: "GET", path: "/payment-service/api/payments?orderId=" + id.String(), token: token}).decode(s.tb, &payments)
	if len(payments.Collection) != 1 {
		s.tb.Errorf("payments of %s = %d, want 1", what, len(payments.Collection))
	}
	var postings []api.Posting
	s.call(http.StatusOK, request{method: "GET", path: "/payment-service/api/ledger?orderId=" + id.String(), token: admin}).decode(s.tb, &postings)
	var accounts []string
	for _, posting := range postings {
		accounts = append(accounts, posting.Account)
	}
	if slices.Sort(accounts); len(accounts) != 2 || !strings.HasPrefix(accounts[0], "receivable:") || accounts[1] != "sales" {
		s.tb.Errorf("ledger of %s = %+v, want one entry", what, postings)
	}
}

// TestSandboxTokens buys with each token of the sandbox, through the whole shop.
func TestSandboxTokens(t *testing.T) {
	t.Parallel()
	eachEngineUntraced(t, func(t *testing.T, s *system) {
		token, admin := s.login("selimhorri", "0000"), s.login("admin", "0000")
		laptop := s.laptop()
		before := s.stock(laptop)
		sold := int64(0)
		for _, tt := range []struct {
			token   string
			answers []int // of the checkout, which waits two seconds
			failure string
		}{
			{"tok_ok", []int{201}, ""},
			{"tok_declined", []int{402}, "card_declined"},
			{"tok_insufficient_funds", []int{402}, "insufficient_funds"},
			{"tok_unheard_of", []int{402}, "invalid_token"},
			{"tok_error_then_ok", []int{201, 202}, ""}, // asked again after a second
			{"tok_lost_answer", []int{202}, ""},
			{"tok_slow", []int{202}, ""},
			{"tok_webhook_first", []int{201}, ""},
			{"tok_duplicate_webhook", []int{201}, ""},
		} {
			begun := time.Now()
			a, err := s.try(request{method: "POST", path: s.filledCart(token, laptop), token: token, body: checkoutBody(tt.token), header: key(tt.token)})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(tt.answers, a.status) {
				t.Errorf("checkout with %s = %d, want %v: %s", tt.token, a.status, tt.answers, a.body)
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("checkout with %s took %v, want its wait", tt.token, took)
			}
			if tt.failure != "" {
				var p api.Problem
				a.decode(t, &p)
				if p.FailureCode != tt.failure {
					t.Errorf("failureCode with %s = %q, want %q", tt.token, p.FailureCode, tt.failure)
				}
				continue
			}
			sold++
			var order api.Order
			a.decode(t, &order)
			s.paidOnce(token, admin, tt.token, order.OrderID)
		}
		if after := s.stock(laptop); after.OnHand != before.OnHand-sold || after.Reserved != before.Reserved {
			t.Errorf("stock went from %+v to %+v, want %d fewer on hand and none reserved", before, after, sold)
		}
	})
}

// TestStripeCheckout buys by way of Stripe, whose place a small server takes, and has an event come in by
// the gateway: its signature is over the bytes of the body, so these must arrive as they were sent.
func TestStripeCheckout(t *testing.T) {
	t.Parallel()
	const secretKey, webhookSecret = "sk_test_of_the_shop", "whsec_of_the_shop"
	stripe := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		status := map[string]string{"/v1/payment_intents": "requires_capture", "/v1/payment_intents/pi_1/capture": "succeeded"}[r.URL.Path]
		if r.Header.Get("Authorization") != "Bearer "+secretKey || r.Header.Get("Idempotency-Key") == "" || status == "" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"id": "pi_1", "object": "payment_intent", "status": status,
			"metadata": map[string]string{"tienda_capture": form.Get("metadata[tienda_capture]")}})
	}))
	t.Cleanup(stripe.Close)
	keyFile := filepath.Join(t.TempDir(), "stripe-secret-key")
	if err := os.WriteFile(keyFile, []byte(secretKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startWith(t, t.TempDir(), environment{"TIENDA_PAYMENT_STRIPE_ENABLED=true", "TIENDA_PAYMENT_STRIPE_URL=" + stripe.URL,
		"TIENDA_PAYMENT_STRIPE_SECRETKEYFILE=" + keyFile, "TIENDA_PAYMENT_STRIPE_WEBHOOKSECRET=" + webhookSecret})
	token, admin := s.login("selimhorri", "0000"), s.login("admin", "0000")
	body := strings.NewReplacer("sandbox", "stripe", "tok_ok", "pm_card_visa").Replace(checkoutBody("tok_ok"))
	var order api.Order
	s.call(http.StatusCreated, request{method: "POST", path: s.filledCart(token, s.laptop()), token: token, body: body, header: key("stripe")}).decode(t, &order)
	s.paidOnce(token, admin, "stripe", order.OrderID)

	event := "{ \"id\" : \"evt_1\",\r\n\t\"object\":\"event\", \"type\":\"payment_intent.created\", \"data\":{\"object\":{\"description\":\"Orden ñº 1 \\u00e9 <&> \"}}, \"n\": 1.50e3 }\n\n"
	signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(event), Secret: webhookSecret, Timestamp: time.Now()}).Header
	send := func(want int, body, signature string) {
		t.Helper()
		s.call(want, request{method: "POST", path: "/payment-service/api/webhooks/stripe", body: body,
			header: http.Header{"Stripe-Signature": {signature}, "Content-Type": {"application/json; charset=utf-8"}}})
	}
	send(http.StatusOK, event, signed)
	send(http.StatusOK, event, signed)
	send(http.StatusUnauthorized, strings.TrimSpace(event), signed)
	send(http.StatusUnauthorized, event, strings.Replace(signed, "t=1", "t=2", 1))
	s.end()
	s.noSecrets(secretKey, webhookSecret)
}
