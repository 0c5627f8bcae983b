package order

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/sqldb"
)

func TestCheckout(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w, withSettings(func(s *Settings) { s.TaxRate = "0.19" }))
		w.sell(1, 1003, 100)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 2, Quantity: 1}, api.ItemQuantity{ProductID: 1, Quantity: 3})
		body := strings.TrimSuffix(goodCheckout, "}") + `,"note":"ring twice"}`
		got := f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), body, "Idempotency-Key", "one")
		o := decode[api.Order](t, got)
		if want := "/order-service" + orderPath(o.OrderID); got.header.Get("Location") != want {
			t.Errorf("Location = %q, want %q", got.header.Get("Location"), want)
		}
		// 3 × 10.03 = 30.09, tax 5.7171; 20.00, tax 3.80.
		want := "[{1 product 1 sku-1 3 10.03 30.09 5.72} {2 product 2 sku-2 1 20.0 20.0 3.8}]"
		if diff := cmp.Diff(want, fmt.Sprint(o.Items)); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		totals := fmt.Sprintf("%v %v %v %v %s", o.Subtotal, o.ShippingFee, o.Tax, o.OrderFee, o.Currency)
		if totals != "50.09 5.0 9.52 64.61 USD" {
			t.Errorf("totals = %s, want 50.09 5.0 9.52 64.61 USD", totals)
		}
		if o.Status != api.OrderConfirmed || o.Payment.State != api.PaymentCaptured || o.Shipment.State != api.ShipmentPending || *o.OrderDesc != "ring twice" {
			t.Errorf("order = %+v", o)
		}
		var steps []string
		for _, h := range o.History {
			steps = append(steps, h.From+">"+h.To+" "+h.Actor)
		}
		if diff := cmp.Diff([]string{">PENDING user:5", "PENDING>CONFIRMED order-service"}, steps); diff != "" {
			t.Errorf("history (-want +got):\n%s", diff)
		}
		if state, n := w.moneyOf(o.OrderID); state != api.PaymentCaptured || n != 1 {
			t.Errorf("%d payments, the last %s, want one CAPTURED", n, state)
		}
		if onHand, _ := w.stock(); onHand[1] != 97 || onHand[2] != 99 {
			t.Errorf("on hand = %v", onHand)
		}

		replay := f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), body, "Idempotency-Key", "one")
		if replay.body != got.body || replay.header.Get("Idempotency-Replayed") != "true" || replay.header.Get("Location") != got.header.Get("Location") {
			t.Errorf("replay = %v %s, want %s", replay.header, replay.body, got.body)
		}
		f.want(t, http.StatusUnprocessableEntity, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "one")
		again := decode[api.Problem](t, f.want(t, http.StatusConflict, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "two"))
		if again.OrderID != o.OrderID {
			t.Errorf("a closed cart names order %d, want %d", again.OrderID, o.OrderID)
		}
		if next := decode[api.Cart](t, f.want(t, http.StatusOK, "user:5", "GET", "/api/carts/mine", "")); next.CartID == cart || len(next.Items) != 0 {
			t.Errorf("the next cart is %+v", next)
		}
		for _, call := range []string{"Reserve", "Authorize", "Capture", "CommitReservation", "CreateShipment"} {
			for token := range w.tokens {
				if strings.HasPrefix(token, call+" ") && strings.Contains(token, "user:") {
					t.Errorf("%s was called with the customer's token", call)
				}
			}
		}
		if !w.tokens["Rates user:5"] {
			t.Error("Rates was not called with the customer's token")
		}
	})
}

func TestCheckoutByAddress(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := start(t, db, newWorld())
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
		body := `{"addressId":%d,"paymentMethod":{"provider":"sandbox","token":"tok_ok"},"shippingService":"EXPRESS"}`
		f.want(t, http.StatusUnprocessableEntity, "user:5", "POST", checkoutPath(cart), fmt.Sprintf(body, 6), "Idempotency-Key", "foreign")
		f.want(t, http.StatusUnprocessableEntity, "user:5", "POST", checkoutPath(cart), fmt.Sprintf(body, 77), "Idempotency-Key", "unknown")
		o := decode[api.Order](t, f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), fmt.Sprintf(body, 5), "Idempotency-Key", "own"))
		if o.ShippingAddress.City != "carthage" || o.ShippingFee.String() != "15.0" {
			t.Errorf("order = %+v", o)
		}
	})
}

func TestCheckoutRefusals(t *testing.T) {
	address := `{"fullAddress":"a","postalCode":"1","city":"c","country":"TN"}`
	method := `{"provider":"sandbox","token":"tok_ok"}`
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
		empty := decode[api.Cart](t, f.want(t, http.StatusCreated, "user:5", "POST", "/api/carts", `{}`)).CartID
		for _, test := range []struct {
			name, user string
			cart       string
			body       string
			status     int
			field      string
		}{
			{"foreign cart", "user:6", cart.String(), goodCheckout, 404, ""},
			{"unknown cart", "user:5", "999", goodCheckout, 404, ""},
			{"no number", "user:5", "abc", goodCheckout, 404, ""},
			{"nobody", "", cart.String(), goodCheckout, 401, ""},
			{"malformed", "user:5", cart.String(), `{"note":`, 400, ""},
			{"wrong type", "user:5", cart.String(), `{"note":5}`, 400, ""},
			{"misspelt field", "user:5", cart.String(), `{"nota":"x"}`, 400, ""},
			{"empty cart", "user:5", empty.String(), goodCheckout, 422, "items"},
			{"no address", "user:5", cart.String(), `{"paymentMethod":` + method + `}`, 422, "shippingAddress"},
			{"two addresses", "user:5", cart.String(), `{"addressId":5,"shippingAddress":` + address + `,"paymentMethod":` + method + `}`, 422, "shippingAddress"},
			{"bad country", "user:5", cart.String(), `{"shippingAddress":` + strings.Replace(address, "TN", "XX", 1) + `,"paymentMethod":` + method + `}`, 422, "shippingAddress.country"},
			{"NUL", "user:5", cart.String(), `{"shippingAddress":` + strings.Replace(address, `"c"`, `"c\u0000"`, 1) + `,"paymentMethod":` + method + `}`, 422, "shippingAddress.city"},
			{"no rate", "user:5", cart.String(), `{"shippingAddress":` + strings.Replace(address, "TN", "AQ", 1) + `,"paymentMethod":` + method + `}`, 422, "shippingAddress.country"},
			{"no token", "user:5", cart.String(), `{"shippingAddress":` + address + `,"paymentMethod":{"provider":"sandbox"}}`, 422, "paymentMethod.token"},
			{"token of two lines", "user:5", cart.String(), `{"shippingAddress":` + address + `,"paymentMethod":{"provider":"sandbox","token":"tok\nok"}}`, 422, "paymentMethod.token"},
			{"no provider", "user:5", cart.String(), `{"shippingAddress":` + address + `,"paymentMethod":{"token":"x"}}`, 422, "paymentMethod.provider"},
			{"long note", "user:5", cart.String(), `{"shippingAddress":` + address + `,"paymentMethod":` + method + `,"note":"` + strings.Repeat("n", 256) + `"}`, 422, "note"},
			{"unknown shipping service", "user:5", cart.String(), `{"shippingAddress":` + address + `,"paymentMethod":` + method + `,"shippingService":"BOAT"}`, 422, "shippingService"},
		} {
			got := f.send(test.user, "POST", "/api/carts/"+test.cart+"/checkout", test.body, "Idempotency-Key", "k-"+strings.ReplaceAll(test.name, " ", "-"))
			p := decode[api.Problem](t, got)
			if got.status != test.status || (test.field != "" && (len(p.Errors) == 0 || p.Errors[0].Field != test.field)) {
				t.Errorf("%s: %d %s, want %d naming %q", test.name, got.status, got.body, test.status, test.field)
			}
		}
		f.want(t, http.StatusBadRequest, "user:5", "POST", checkoutPath(cart), goodCheckout)
		for service, call := range map[string]string{"product-service": "Products", "shipping-service": "Rates"} {
			w.around(first(1, call, noAnswer), nil)
			if got := f.send("user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "away"); got.status != 503 || !strings.Contains(got.body, service) {
				t.Errorf("checkout without %s = %d %s, want 503", service, got.status, got.body)
			}
		}
		if n := w.called("Reserve"); n != 0 {
			t.Errorf("%d reservations were made", n)
		}
		// Nothing of it was kept: the key of a refused request is free.
		f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "away")
	})
}

func TestCheckoutCostsTooMuch(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		w.sell(1, maxTotal/2, 100)
		w.sell(2, maxTotal, 100)
		for _, test := range []struct {
			items []api.ItemQuantity
			want  []string
		}{
			{[]api.ItemQuantity{{ProductID: 1, Quantity: 3}, {ProductID: 2, Quantity: 2}, {ProductID: 3, Quantity: 1}}, []string{
				"hold product 1 for more than the 10000000000.00 USD that one order can cost",
				"hold product 2 for more than the 10000000000.00 USD that one order can cost",
			}},
			{[]api.ItemQuantity{{ProductID: 1, Quantity: 2}}, []string{"cost more than the 10000000000.00 USD that one order can cost"}}, // the parcel is not for nothing
		} {
			cart := f.fill(t, "user:5", test.items...)
			got := f.want(t, http.StatusUnprocessableEntity, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a")
			var reasons []string
			for _, e := range decode[api.Problem](t, got).Errors {
				reasons = append(reasons, e.Reason)
			}
			if diff := cmp.Diff(test.want, reasons); diff != "" {
				t.Errorf("reasons (-want +got)\n%s", diff)
			}
			for _, i := range test.items {
				f.want(t, http.StatusNoContent, "user:5", "DELETE", fmt.Sprintf("/api/carts/%v/items/%v", cart, i.ProductID), "")
			}
		}
	})
}

func TestCheckoutPriceChange(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1}, api.ItemQuantity{ProductID: 2, Quantity: 1})
		w.sell(1, 1200, 100)
		got := f.want(t, http.StatusUnprocessableEntity, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a")
		p := decode[api.Problem](t, got)
		if len(p.Errors) != 1 || p.Errors[0].ProductID != 1 || p.Errors[0].Old.String() != "10.0" || p.Errors[0].New.String() != "12.0" {
			t.Errorf("errors = %s", got.body)
		}
		// An administrator who looks at the cart is not its owner.
		f.want(t, http.StatusOK, "admin:4", "GET", "/api/carts/"+cart.String(), "")
		f.want(t, http.StatusUnprocessableEntity, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a")
		f.want(t, http.StatusOK, "user:5", "GET", "/api/carts/"+cart.String(), "")
		o := decode[api.Order](t, f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a"))
		if o.Subtotal.String() != "32.0" {
			t.Errorf("subtotal = %v, want 32.0", o.Subtotal)
		}
	})
}

func TestCheckoutDeclined(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 2})
		declined := strings.Replace(goodCheckout, "tok_ok", "tok_declined", 1)
		got := f.want(t, http.StatusPaymentRequired, "user:5", "POST", checkoutPath(cart), declined, "Idempotency-Key", "a")
		p := decode[api.Problem](t, got)
		if p.FailureCode != "card_declined" || p.OrderID == 0 {
			t.Errorf("problem = %s", got.body)
		}
		o := f.orderIn(t, p.OrderID, api.OrderCancelled)
		if last := o.History[len(o.History)-1]; last.Reason != "DECLINED" {
			t.Errorf("reason = %q, want DECLINED", last.Reason)
		}
		if onHand, reserved := w.stock(); onHand[1] != 100 || reserved[1] != 0 {
			t.Errorf("stock = %d, reserved %d; want it back", onHand[1], reserved[1])
		}
		// The cart is open again; the answer of before depends on no neighbour all the same.
		w.around(func(_ context.Context, call string) error {
			t.Errorf("a replay calls %s", call)
			return away("the neighbour")
		}, nil)
		replay := f.want(t, http.StatusPaymentRequired, "user:5", "POST", checkoutPath(cart), declined, "Idempotency-Key", "a")
		if decode[api.Problem](t, replay).OrderID != p.OrderID || replay.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("replay = %v %s", replay.header, replay.body)
		}
		w.around(nil, nil)
		c := decode[api.Cart](t, f.want(t, http.StatusOK, "user:5", "GET", "/api/carts/mine", ""))
		if c.CartID != cart || c.State != api.CartOpen || len(c.Items) != 1 || c.Items[0].Quantity != 2 {
			t.Errorf("cart = %+v, want it open and unchanged", c)
		}
		f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "b")
	})
}

func TestCheckoutShortOfStock(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 101}, api.ItemQuantity{ProductID: 2, Quantity: 5})
		got := f.want(t, http.StatusConflict, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a")
		p := decode[api.Problem](t, got)
		if len(p.Errors) != 1 || p.Errors[0].ProductID != 1 || *p.Errors[0].Requested != 101 || *p.Errors[0].Available != 100 {
			t.Errorf("errors = %s", got.body)
		}
		o := f.orderIn(t, p.OrderID, api.OrderCancelled)
		if last := o.History[len(o.History)-1]; last.Reason != "OUT_OF_STOCK" {
			t.Errorf("reason = %q, want OUT_OF_STOCK", last.Reason)
		}
		if w.called("Authorize") != 0 {
			t.Error("a payment was asked for")
		}
	})
}

func TestCheckoutRefusedLater(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		for i, test := range []struct {
			body   string
			expire bool
			status int
			reason string
			money  string
		}{
			{body: strings.Replace(goodCheckout, "sandbox", "cash", 1), status: 422, reason: "PAYMENT_REFUSED"},
			{body: strings.Replace(goodCheckout, `"carthage"`, `"nowhere"`, 1), status: 422, reason: "NOT_SHIPPABLE", money: api.PaymentRefunded},
			{body: goodCheckout, expire: true, status: 409, reason: "OUT_OF_STOCK", money: api.PaymentRefunded},
		} {
			w := newWorld()
			w.sell(1, 1000, 2)
			user := fmt.Sprintf("user:%d", i+1)
			f := start(t, db, w)
			cart := f.fill(t, user, api.ItemQuantity{ProductID: 1, Quantity: 2})
			if test.expire {
				w.around(first(1, "CommitReservation", func(context.Context) error {
					for order := range w.reservations {
						w.expire(order)
					}
					w.sell(1, 1000, 1) // somebody else was faster
					return nil
				}), nil)
			}
			got := f.want(t, test.status, user, "POST", checkoutPath(cart), test.body, "Idempotency-Key", "a")
			o := f.orderIn(t, decode[api.Problem](t, got).OrderID, api.OrderCancelled)
			if last := o.History[len(o.History)-1]; last.Reason != test.reason {
				t.Errorf("%s: reason = %q", test.reason, last.Reason)
			}
			if money, _ := w.moneyOf(o.OrderID); money != test.money {
				t.Errorf("%s: payment is %q, want %q", test.reason, money, test.money)
			}
			if _, reserved := w.stock(); reserved[1] != 0 {
				t.Errorf("%s: %d are still reserved", test.reason, reserved[1])
			}
			f.stop()
		}
	})
}

// A cart that is deleted while its checkout asks the neighbours is not found, and nothing comes of it.
func TestCartDeletedDuringCheckout(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
		w.around(first(1, "Rates", func(context.Context) error {
			f.want(t, http.StatusOK, "user:5", "DELETE", fmt.Sprintf("/api/carts/%d", cart), "")
			return nil
		}), nil)
		f.want(t, http.StatusNotFound, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a")
		if orders := decode[api.List[api.Order]](t, f.want(t, http.StatusOK, "user:5", "GET", "/api/orders", "")); len(orders.Collection) != 0 {
			t.Errorf("orders = %+v, want none", orders.Collection)
		}
	})
}

func TestCheckoutAsync(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		let := make(chan struct{})
		w.around(func(ctx context.Context, call string) error {
			if call == "Capture" {
				<-let
			}
			return nil
		}, nil)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
		got := f.want(t, http.StatusAccepted, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a", "Prefer", "respond-async")
		o := decode[api.Order](t, got)
		if got.header.Get("Preference-Applied") != "respond-async" || got.header.Get("Location") == "" || o.Status != api.OrderPending {
			t.Errorf("answer = %v %s", got.header, got.body)
		}
		again := f.want(t, http.StatusAccepted, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a")
		if decode[api.Order](t, again).OrderID != o.OrderID || again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("replay while it goes on = %v %s", again.header, again.body)
		}
		busy := decode[api.Problem](t, f.want(t, http.StatusConflict, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "b"))
		if busy.OrderID != o.OrderID {
			t.Errorf("another checkout names order %d, want %d", busy.OrderID, o.OrderID)
		}
		mine := decode[api.Cart](t, f.want(t, http.StatusOK, "user:5", "GET", "/api/carts/mine", ""))
		if mine.CartID != cart || mine.State != api.CartCheckingOut {
			t.Errorf("carts/mine = %+v, want cart %d CHECKING_OUT", mine, cart)
		}
		f.want(t, http.StatusConflict, "user:5", "PUT", fmt.Sprintf("/api/carts/%d/items/2", cart), `{"quantity":1}`)
		f.want(t, http.StatusConflict, "user:5", "DELETE", fmt.Sprintf("/api/carts/%d/items/1", cart), "")
		f.want(t, http.StatusConflict, "user:5", "DELETE", fmt.Sprintf("/api/carts/%d", cart), "")
		close(let)
		f.orderIn(t, o.OrderID, api.OrderConfirmed)
		f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a")
	})
}

func TestCheckoutWait(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w, withSettings(func(s *Settings) { s.Wait, s.StepTimeout = 50*time.Millisecond, 2*time.Second }))
		let := make(chan struct{})
		w.around(func(_ context.Context, call string) error {
			if call == "Authorize" {
				<-let
			}
			return nil
		}, nil)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
		o := decode[api.Order](t, f.want(t, http.StatusAccepted, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a"))
		close(let)
		f.orderIn(t, o.OrderID, api.OrderConfirmed)
		// A caller that gives up soon is answered before.
		cart = f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
		w.around(func(ctx context.Context, call string) error {
			if call == "Authorize" {
				<-ctx.Done()
			}
			return nil
		}, nil)
		began := time.Now()
		f.want(t, http.StatusAccepted, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "b",
			"Prefer", "wait=25", api.TimeoutHeader, "1000")
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the answer took %v, want it before the caller gives up", took)
		}
		w.around(nil, nil)
	})
}

// The same cart with many keys, and the same key many times, at once: one order each.
func TestCheckoutConcurrently(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		for i, keys := range []string{"different", "same"} {
			cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
			var mu sync.Mutex
			counts := map[int]int{}
			named := map[api.ID]bool{}
			var requests sync.WaitGroup
			for n := range 50 {
				requests.Go(func() {
					key := keys
					if keys == "different" {
						key = fmt.Sprint(keys, n)
					}
					got := f.send("user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", key)
					mu.Lock()
					defer mu.Unlock()
					counts[got.status]++
					if id := decode[struct{ OrderID api.ID }](t, got).OrderID; id != 0 {
						named[id] = true
					}
					if got.status != 201 && got.status != 409 {
						t.Errorf("checkout = %d %s", got.status, got.body)
					}
				})
			}
			requests.Wait()
			if len(named) != 1 || counts[201] < 1 || (keys == "different" && counts[201] != 1) {
				t.Errorf("%s keys: answers %v, orders named %v; want one order", keys, counts, named)
			}
			orders := decode[api.List[api.Order]](t, f.want(t, http.StatusOK, "user:5", "GET", "/api/orders", ""))
			if len(orders.Collection) != i+1 {
				t.Errorf("%d orders, want %d", len(orders.Collection), i+1)
			}
		}
		if len(w.payments) != 2 || len(w.shipments) != 2 || w.onHand[1] != 98 {
			t.Errorf("%d payments, %d shipments, %d on hand; want 2, 2, 98", len(w.payments), len(w.shipments), w.onHand[1])
		}
	})
}

// An item that is put into the cart while it is being checked out is in the order or in nothing.
func TestCheckoutOfAChangingCart(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
		w.around(first(1, "Rates", func(context.Context) error {
			f.want(t, http.StatusOK, "user:5", "PUT", fmt.Sprintf("/api/carts/%d/items/1", cart), `{"quantity":9}`)
			return nil
		}), nil)
		f.want(t, http.StatusConflict, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a")
		o := decode[api.Order](t, f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a"))
		if o.Items[0].Quantity != 9 {
			t.Errorf("quantity = %d, want 9", o.Items[0].Quantity)
		}
	})
}

// A cart that is taken by a checkout while an item is being put into it does not change any more.
func TestItemOfACartBeingCheckedOut(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 2})
		w.around(first(1, "Products", func(context.Context) error {
			f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a")
			return nil
		}), nil)
		f.want(t, http.StatusConflict, "user:5", "PUT", fmt.Sprintf("/api/carts/%d/items/1", cart), `{"quantity":9}`)
		sold := decode[api.Cart](t, f.want(t, http.StatusOK, "user:5", "GET", "/api/carts/"+cart.String(), ""))
		if sold.State != api.CartClosed || len(sold.Items) != 1 || sold.Items[0].Quantity != 2 {
			t.Errorf("cart = %+v, want it closed with the two that were sold", sold)
		}
	})
}

// A stored answer depends neither on the neighbours nor on the cart.
func TestReplayWithoutNeighbours(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
		first := f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a")
		w.around(func(context.Context, string) error { return away("everybody") }, nil)
		if again := f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a"); again.body != first.body {
			t.Errorf("replay = %s, want %s", again.body, first.body)
		}
		// Another user's key of the same name is another key.
		f.want(t, http.StatusNotFound, "user:6", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a")
	})
}

// Whatever a key consists of, the saga can keep its name.
func TestLongKeys(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := start(t, db, newWorld())
		for _, c := range []string{"<", `"`, `\`, "k"} {
			cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
			key := strings.Repeat(c, 128)
			first := f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", key)
			again := f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", key)
			if again.body != first.body {
				t.Errorf("replay under a key of %s = %s, want %s", c, again.body, first.body)
			}
		}
	})
}

func TestParsePrefer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		header  string
		wait    time.Duration
		applied string
	}{
		{"", 2 * time.Second, ""},
		{"respond-async", 0, "respond-async"},
		{"Respond-Async; foo=bar", 0, "respond-async"},
		{"wait=10", 10 * time.Second, "wait=10"},
		{"wait=10, respond-async", 0, "respond-async"},
		{`wait="7"`, 7 * time.Second, "wait=7"},
		{"wait = 9", 9 * time.Second, "wait=9"},
		{"wait=99", 30 * time.Second, "wait=30"},
		{"wait=-1", 2 * time.Second, ""},
		{"wait=soon", 2 * time.Second, ""},
		{"return=minimal, wait=0", 0, "wait=0"},
		{"wait=3, wait=4", 3 * time.Second, "wait=3"},
	} {
		if got := parsePrefer([]string{test.header}, 2*time.Second); got.wait != test.wait || got.applied != test.applied {
			t.Errorf("parsePrefer(%q) = %+v, want %v %q", test.header, got, test.wait, test.applied)
		}
	}
}

func FuzzParsePrefer(f *testing.F) {
	for _, seed := range []string{"respond-async", "wait=10", "wait=1;x, respond-async", `wait="`, ",,;=", "wait=99999999999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if p := parsePrefer([]string{header}, 2*time.Second); p.wait < 0 || p.wait > maxWait {
			t.Errorf("parsePrefer(%q) waits %v", header, p.wait)
		}
	})
}

func TestTaxRate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rate          string
		amount, taxed int64
	}{
		{"", 100, 0}, {"0", 100, 0}, {"0.19", 3009, 572}, {"0.5", 1, 1}, {"0.49", 1, 0}, {"0.075", 100, 8}, {"0.145", 100, 15}, {"0.29", 50, 15}, {"1", maxTotal, maxTotal}, {"0.000001", maxTotal, 1_000_000},
	} {
		rate, err := parseTaxRate(test.rate)
		if err != nil {
			t.Errorf("parseTaxRate(%q) = %v", test.rate, err)
		}
		if got := rate.of(test.amount); got != test.taxed {
			t.Errorf("tax of %d at %q = %d, want %d", test.amount, test.rate, got, test.taxed)
		}
	}
}

func FuzzParseTaxRate(f *testing.F) {
	for _, seed := range []string{"0.19", "1", "-1", "1/3", "1e-2", "0x1p-2", "0.0000001", "", "."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if rate, err := parseTaxRate(text); err == nil && (rate < 0 || rate > millionths) {
			t.Errorf("parseTaxRate(%q) = %d", text, rate)
		}
	})
}
