package main

import (
	"fmt"
	"net/http"
	"strings"

	"tienda/api"
)

// checkouts has orders come to every end: all tokens of the sandbox, parcels that arrive, come back and are
// lost, cancellations and refunds by hand, and a customer who is deleted.
func (s *system) checkouts(token, admin string, product api.ID) {
	s.tb.Helper()
	for i, payment := range []string{"tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_declined", "tok_error_then_ok", "tok_lost_answer", "tok_webhook_first", "tok_duplicate_webhook", "tok_slow"} {
		order := s.buy(token, product, 1, payment, fmt.Sprint("buy-", i))
		if order.Payment == nil || order.Shipment == nil {
			continue
		}
		path := fmt.Sprintf("/order-service/api/orders/%d", order.OrderID)
		s.call(http.StatusOK, request{method: "GET", path: path, token: token})
		switch i {
		case 0:
			s.ship(token, order)
		case 1:
			s.call(http.StatusOK, request{method: "POST", path: path + "/cancel", token: token, body: `{"reason":"changed my mind"}`, header: key("cancel")})
		case 2:
			for n, state := range []string{api.ShipmentLabelCreated, api.ShipmentInTransit, api.ShipmentReturned} {
				s.call(http.StatusOK, request{method: "POST", path: fmt.Sprintf("/shipping-service/api/shipments/%d/events", order.Shipment.ShipmentID), token: admin,
					body: fmt.Sprintf(`{"state":%q}`, state), header: key(fmt.Sprint("return-", n))})
			}
		case 3:
			s.call(http.StatusOK, request{method: "POST", path: fmt.Sprintf("/payment-service/api/payments/%d/refund", order.Payment.PaymentID), token: admin,
				body: `{"amount":1,"reason":"scratched"}`, header: key("refund")})
		}
		s.call(http.StatusOK, request{method: "GET", path: fmt.Sprintf("/payment-service/api/payments/%d", order.Payment.PaymentID), token: token})
		s.call(http.StatusOK, request{method: "GET", path: fmt.Sprintf("/shipping-service/api/shipments/%d", order.Shipment.ShipmentID), token: token})
	}
	s.buy(token, product, 999, "tok_ok", "too-many")

	registration := `{"firstName":"Gone","lastName":"Soon","email":"gone@example.com","phone":"+21600000000",
		"credential":{"username":"gone-soon","password":"a-long-password-17"}}`
	var user api.User
	s.call(http.StatusCreated, request{method: "POST", path: "/app/api/users", body: registration}).decode(s.tb, &user)
	gone := s.login("gone-soon", "a-long-password-17")
	var cart api.Cart
	s.call(http.StatusOK, request{method: "GET", path: "/order-service/api/carts/mine", token: gone}).decode(s.tb, &cart)
	item := fmt.Sprintf("/order-service/api/carts/%d/items/%d", cart.CartID, product)
	s.call(http.StatusOK, request{method: "PUT", path: item, token: gone, body: `{"quantity":1}`})
	s.call(http.StatusNoContent, request{method: "DELETE", path: item, token: gone})
	s.call(http.StatusOK, request{method: "DELETE", path: fmt.Sprintf("/app/api/users/%d", user.UserID), token: gone})
}

// buy checks a cart with one product out and returns the order that came of it, whatever that is.
func (s *system) buy(token string, product api.ID, quantity int, payment, name string) api.Order {
	s.tb.Helper()
	var cart api.Cart
	s.call(http.StatusOK, request{method: "GET", path: "/order-service/api/carts/mine", token: token}).decode(s.tb, &cart)
	s.call(http.StatusOK, request{method: "PUT", path: fmt.Sprintf("/order-service/api/carts/%d/items/%d", cart.CartID, product), token: token, body: fmt.Sprintf(`{"quantity":%d}`, quantity)})
	header := key(name)
	header.Set("Prefer", "wait=30")
	checkout := request{method: "POST", path: fmt.Sprintf("/order-service/api/carts/%d/checkout", cart.CartID), token: token, body: checkoutBody(payment), header: header}
	var order api.Order
	for range 2 { // and a replay
		a, err := s.try(checkout)
		switch {
		case err != nil:
			s.tb.Fatal(err)
		case a.status == http.StatusCreated:
			a.decode(s.tb, &order)
		case !strings.Contains(fmt.Sprint(http.StatusPaymentRequired, http.StatusConflict), fmt.Sprint(a.status)):
			s.tb.Fatalf("checkout with %s: %d %s", payment, a.status, a.body)
		}
	}
	return order
}
