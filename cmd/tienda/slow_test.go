package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"tienda/api"
)

// TestSlowProvider: a payment provider that takes its time, or never answers, does not hang a checkout.
// When the wait is over the answer is 202, and the order goes on to its end without anybody.
func TestSlowProvider(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *system) {
		token := s.login("selimhorri", "0000")
		for i, test := range []struct {
			token, prefer string
			most          time.Duration
		}{
			{"tok_slow", "wait=1", 2 * time.Second},
			{"tok_slow", "respond-async", time.Second},
			{"tok_lost_answer", "", 3 * time.Second},
		} {
			var cart api.Cart
			s.call(http.StatusOK, request{method: "GET", path: "/order-service/api/carts/mine", token: token}).decode(t, &cart)
			s.call(http.StatusOK, request{method: "PUT", path: fmt.Sprintf("/order-service/api/carts/%d/items/5", cart.CartID), token: token, body: `{"quantity":1}`})
			header := key(fmt.Sprint("slow-", i))
			if test.prefer != "" {
				header.Set("Prefer", test.prefer)
			}
			checkout := request{method: "POST", path: fmt.Sprintf("/order-service/api/carts/%d/checkout", cart.CartID), token: token, body: checkoutBody(test.token), header: header}
			asked := time.Now()
			answer := s.call(http.StatusAccepted, checkout)
			if took := time.Since(asked); took > test.most {
				t.Errorf("%s with Prefer %q was answered after %v, want at most %v", test.token, test.prefer, took, test.most)
			}
			var order api.Order
			answer.decode(t, &order)
			path := fmt.Sprintf("/order-service/api/orders/%d", order.OrderID)
			if got := answer.header.Get("Location"); got != path || order.Status != api.OrderPending {
				t.Errorf("%s: Location %q and status %s, want %s and PENDING", test.token, got, order.Status, path)
			}
			s.eventually("the order is confirmed", func() bool {
				s.call(http.StatusOK, request{method: "GET", path: path, token: token}).decode(t, &order)
				return order.Status == api.OrderConfirmed
			})
			var payments api.List[api.Payment]
			s.call(http.StatusOK, request{method: "GET", path: fmt.Sprintf("/payment-service/api/payments?orderId=%d", order.OrderID), token: token}).decode(t, &payments)
			if len(payments.Collection) != 1 || payments.Collection[0].State != api.PaymentCaptured {
				t.Errorf("%s: payments of the order = %+v, want one CAPTURED", test.token, payments.Collection)
			}
			var replayed api.Order
			s.call(http.StatusCreated, checkout).decode(t, &replayed)
			if replayed.OrderID != order.OrderID {
				t.Errorf("%s: the key gives order %d, want %d", test.token, replayed.OrderID, order.OrderID)
			}
		}
	})
}
