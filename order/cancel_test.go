package order

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

func cancelPath(id api.ID) string { return orderPath(id) + "/cancel" }

func TestCancel(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		o := f.buy(t, "user:5", "a")
		body := `{"reason":"changed my mind"}`
		f.want(t, http.StatusNotFound, "user:6", "POST", cancelPath(o.OrderID), body, "Idempotency-Key", "c")
		f.want(t, http.StatusBadRequest, "user:5", "POST", cancelPath(o.OrderID), body)
		f.want(t, http.StatusUnprocessableEntity, "user:5", "POST", cancelPath(o.OrderID), `{"reason":"\u0000"}`, "Idempotency-Key", "c")
		got := f.want(t, http.StatusOK, "user:5", "POST", cancelPath(o.OrderID), body, "Idempotency-Key", "c")
		c := decode[api.Order](t, got)
		last := c.History[len(c.History)-1]
		if c.Status != api.OrderCancelled || last.Reason != "changed my mind" || last.Actor != "user:5" || c.Payment.State != api.PaymentRefunded || c.Shipment.State != api.ShipmentCancelled {
			t.Errorf("order = %s", got.body)
		}
		checkHistory(t, c)
		if onHand, reserved := w.stock(); onHand[1] != 100 || reserved[1] != 0 {
			t.Errorf("%d on hand and %d reserved, want 100 and 0", onHand[1], reserved[1])
		}
		replay := f.want(t, http.StatusOK, "user:5", "POST", cancelPath(o.OrderID), body, "Idempotency-Key", "c")
		if replay.body != got.body || replay.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("replay = %s", replay.body)
		}
		f.want(t, http.StatusOK, "user:5", "POST", cancelPath(o.OrderID), body, "Idempotency-Key", "d")
		if w.called("Refund") != 1 {
			t.Errorf("%d refunds, want 1", w.called("Refund"))
		}
		// The checkout's answer is what it was, and its cart stays closed.
		if got := f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(o.Cart.CartID), goodCheckout, "Idempotency-Key", "a"); decode[api.Order](t, got).Status != api.OrderConfirmed {
			t.Errorf("replay of the checkout = %s", got.body)
		}
		if cart := decode[api.Cart](t, f.want(t, http.StatusOK, "user:5", "GET", "/api/carts/"+o.Cart.CartID.String(), "")); cart.State != api.CartClosed {
			t.Errorf("cart is %s, want CLOSED", cart.State)
		}
		second := f.buy(t, "user:5", "b")
		f.want(t, http.StatusOK, "admin:4", "POST", cancelPath(second.OrderID), `{"reason":""}`, "Idempotency-Key", "c")
	})
}

func TestCancelPlainOrder(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := start(t, db, newWorld())
		o := f.plainOrder(t, "user:5")
		f.want(t, http.StatusConflict, "user:5", "POST", cancelPath(o.OrderID), `{"reason":"x"}`, "Idempotency-Key", "c")
	})
}

// A customer may cancel while the checkout still goes on; whoever drives it turns at the next step.
func TestCancelDuringCheckout(t *testing.T) {
	t.Parallel()
	for _, call := range forwardCalls {
		t.Run(call, func(t *testing.T) {
			each(t, func(t *testing.T, db *sqldb.DB) {
				w := newWorld()
				f := start(t, db, w)
				calling, let := make(chan struct{}), make(chan struct{})
				w.around(first(1, call, func(context.Context) error {
					close(calling)
					<-let
					return nil
				}), nil)
				cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 2})
				var requests sync.WaitGroup
				requests.Go(func() {
					got := f.send("user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a")
					if got.status != http.StatusConflict || !strings.Contains(got.body, "cancelled") {
						t.Errorf("the checkout = %d %s, want 409", got.status, got.body)
					}
				})
				<-calling
				requests.Go(func() {
					defer close(let)
					for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(time.Millisecond) {
						if g, err := sagaByID(t.Context(), db, 1); err != nil || g.goal != "" {
							return // the wish to cancel is written down
						}
					}
				})
				o := decode[api.Order](t, f.want(t, http.StatusOK, "user:5", "POST", cancelPath(1), `{"reason":"too slow"}`, "Idempotency-Key", "c"))
				requests.Wait()
				if o.Status != api.OrderCancelled {
					t.Errorf("order is %s", o.Status)
				}
				checkHistory(t, o)
				if held, _ := w.moneyOf(o.OrderID); held != "" && holdsMoney(held) {
					t.Errorf("payment is still %s", held)
				}
				if onHand, reserved := w.stock(); onHand[1] != 100 || reserved[1] != 0 {
					t.Errorf("%d on hand and %d reserved, want 100 and 0", onHand[1], reserved[1])
				}
				if c := decode[api.Cart](t, f.want(t, http.StatusOK, "user:5", "GET", "/api/carts/mine", "")); c.CartID != cart || c.State != api.CartOpen {
					t.Errorf("cart = %+v, want it open again", c)
				}
			})
		})
	}
}

// Many cancellations at once are one.
func TestCancelConcurrently(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		o := f.buy(t, "user:5", "a")
		var requests sync.WaitGroup
		for i := range 20 {
			requests.Go(func() {
				got := f.send("user:5", "POST", cancelPath(o.OrderID), `{"reason":"x"}`, "Idempotency-Key", fmt.Sprint("c", i/2))
				if got.status != http.StatusOK && !(got.status == http.StatusConflict && got.header.Get("Retry-After") != "") {
					t.Errorf("cancel = %d %s", got.status, got.body)
				}
			})
		}
		requests.Wait()
		checkHistory(t, f.orderIn(t, o.OrderID, api.OrderCancelled))
		if w.called("Refund") != 1 || w.onHand[1] != 100 {
			t.Errorf("%d refunds and %d on hand, want 1 and 100", w.called("Refund"), w.onHand[1])
		}
	})
}

// news tells the service what became of a shipment, as shipping-service does, and at shipping-service.
func (f *fixture) news(t *testing.T, w *world, o api.Order, state string) reply {
	t.Helper()
	w.mu.Lock()
	w.shipments[o.Shipment.ShipmentID].State = state
	w.mu.Unlock()
	return f.send("service:shipping-service", "POST", orderPath(o.OrderID)+"/shipment",
		fmt.Sprintf(`{"shipmentId":%d,"state":%q,"trackingNumber":"T1"}`, o.Shipment.ShipmentID, state))
}

// What others tell of an order while a step of its saga is under way is not written over by it.
func TestNewsDuringAStep(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		o := f.buy(t, "user:5", "a")
		told := make(chan reply, 1)
		w.around(first(1, "CancelShipment", func(context.Context) error {
			told <- f.news(t, w, o, api.ShipmentLabelCreated)
			return nil
		}), nil)
		f.want(t, http.StatusOK, "user:5", "POST", cancelPath(o.OrderID), `{"reason":"x"}`, "Idempotency-Key", "c")
		if got := <-told; got.status != http.StatusOK {
			t.Errorf("news of the parcel = %d %s, want 200", got.status, got.body)
		}
		o = f.orderIn(t, o.OrderID, api.OrderCancelled)
		if got := o.Shipment; got.TrackingNumber != "T1" || got.State != api.ShipmentCancelled {
			t.Errorf("shipment of the order = %+v, want T1, which was told, and CANCELLED", got)
		}
		checkHistory(t, o)
	})
}

func TestShipment(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		o := f.buy(t, "user:5", "a")
		path := orderPath(o.OrderID) + "/shipment"
		change := fmt.Sprintf(`{"shipmentId":%d,"state":"IN_TRANSIT"}`, o.Shipment.ShipmentID)
		f.want(t, http.StatusForbidden, "user:5", "POST", path, change)
		f.want(t, http.StatusForbidden, "admin:4", "POST", path, change)
		f.want(t, http.StatusConflict, "service:x", "POST", path, `{"shipmentId":77,"state":"IN_TRANSIT"}`)
		f.want(t, http.StatusUnprocessableEntity, "service:x", "POST", path, `{"shipmentId":1,"state":"EATEN"}`)
		f.want(t, http.StatusUnprocessableEntity, "service:x", "POST", path, `{"state":"LOST"}`)
		f.want(t, http.StatusNotFound, "service:x", "POST", orderPath(99)+"/shipment", change)
		// News comes late, twice and in the wrong order; known is the furthest.
		for _, step := range []struct{ state, status, known string }{
			{api.ShipmentLabelCreated, api.OrderConfirmed, api.ShipmentLabelCreated},
			{api.ShipmentInTransit, api.OrderShipped, api.ShipmentInTransit},
			{api.ShipmentInTransit, api.OrderShipped, api.ShipmentInTransit},
			{api.ShipmentLabelCreated, api.OrderShipped, api.ShipmentInTransit},
			{api.ShipmentDelivered, api.OrderDelivered, api.ShipmentDelivered},
			{api.ShipmentDelivered, api.OrderDelivered, api.ShipmentDelivered},
			{api.ShipmentInTransit, api.OrderDelivered, api.ShipmentDelivered},
		} {
			got := f.news(t, w, o, step.state)
			if told := decode[api.Order](t, got); got.status != http.StatusOK || told.Status != step.status || told.Shipment.State != step.known {
				t.Errorf("after %s: %d %s, want %s with the shipment %s", step.state, got.status, got.body, step.status, step.known)
			}
		}
		o = f.orderIn(t, o.OrderID, api.OrderDelivered)
		checkHistory(t, o)
		if o.Shipment.TrackingNumber != "T1" || o.Shipment.State != api.ShipmentDelivered {
			t.Errorf("shipment = %+v", o.Shipment)
		}
		for _, replayed := range []string{"", "true"} {
			got := f.want(t, http.StatusConflict, "user:5", "POST", cancelPath(o.OrderID), `{"reason":"x"}`, "Idempotency-Key", "c")
			if got.header.Get("Idempotency-Replayed") != replayed {
				t.Errorf("cancel of an order that was delivered = %v %s, want Idempotency-Replayed %q", got.header, got.body, replayed)
			}
		}
	})
}

func TestShipmentEndsBadly(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		for i, test := range []struct {
			states []string
			status string
			onHand int64
		}{
			{[]string{api.ShipmentInTransit, api.ShipmentLost}, api.OrderRefunded, 98},
			{[]string{api.ShipmentReturned}, api.OrderRefunded, 98},
			{[]string{api.ShipmentCancelled}, api.OrderCancelled, 100},
		} {
			w.sell(1, 1000, 100)
			o := f.buy(t, "user:5", fmt.Sprint("a", i))
			for _, state := range test.states {
				for range 2 {
					if got := f.news(t, w, o, state); got.status != http.StatusOK {
						t.Errorf("after %s: %d %s", state, got.status, got.body)
					}
				}
			}
			o = f.orderIn(t, o.OrderID, test.status)
			checkHistory(t, o)
			if o.Payment.State != api.PaymentRefunded {
				t.Errorf("%s: payment is %s", test.states, o.Payment.State)
			}
			if onHand, _ := w.stock(); onHand[1] != test.onHand {
				t.Errorf("%s: %d on hand, want %d", test.states, onHand[1], test.onHand)
			}
		}
		if n := w.called("Refund"); n != 3 {
			t.Errorf("%d refunds, want 3", n)
		}
	})
}

// A parcel that is on its way before the answer that it exists has arrived: its news still counts.
func TestShipmentMovesBeforeItsAnswer(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		for i, test := range []struct{ state, status string }{
			{api.ShipmentInTransit, api.OrderShipped}, {api.ShipmentDelivered, api.OrderDelivered},
			{api.ShipmentReturned, api.OrderRefunded}, {api.ShipmentCancelled, api.OrderCancelled},
		} {
			w := newWorld()
			f := start(t, db, w)
			w.around(nil, first(1, "CreateShipment", func(ctx context.Context) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				for _, p := range w.shipments {
					p.State = test.state
				}
				return noAnswer(ctx)
			}))
			o := f.buy(t, "user:5", fmt.Sprint("a", i))
			if got := f.news(t, w, o, test.state); got.status != http.StatusOK {
				t.Errorf("news of %s = %d %s", test.state, got.status, got.body)
			}
			checkHistory(t, f.orderIn(t, o.OrderID, test.status))
			f.stop()
		}
	})
}

// A parcel that left while the order was being cancelled leaves the order standing.
func TestCancelTooLate(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		o := f.buy(t, "user:5", "a")
		w.around(first(1, "CancelShipment", func(context.Context) error {
			if got := f.news(t, w, o, api.ShipmentInTransit); got.status != http.StatusOK {
				t.Errorf("news = %d %s", got.status, got.body)
			}
			return nil
		}), nil)
		got := f.want(t, http.StatusConflict, "user:5", "POST", cancelPath(o.OrderID), `{"reason":"x"}`, "Idempotency-Key", "c")
		o = f.orderIn(t, o.OrderID, api.OrderShipped)
		checkHistory(t, o)
		checkSold(t, w, o)
		if again := f.want(t, http.StatusConflict, "user:5", "POST", cancelPath(o.OrderID), `{"reason":"x"}`, "Idempotency-Key", "c"); again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("replay = %v %s, want %s", again.header, again.body, got.body)
		}
		// The loss that comes after is not forgotten.
		f.news(t, w, o, api.ShipmentLost)
		f.orderIn(t, o.OrderID, api.OrderRefunded)
	})
}

// A parcel of which the order did not know when it was cancelled, and that has left by then, is the order's
// all the same: its news counts.
func TestCancelOfAnUnknownParcelTooLate(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		w.around(nil, first(1, "CreateShipment", func(ctx context.Context) error {
			w.mu.Lock()
			for _, p := range w.shipments {
				p.State = api.ShipmentInTransit
			}
			w.mu.Unlock()
			f.want(t, http.StatusAccepted, "user:5", "POST", cancelPath(1), `{"reason":"x"}`, "Idempotency-Key", "c", "Prefer", "respond-async")
			return noAnswer(ctx)
		}))
		o := f.buy(t, "user:5", "a")
		if o.Shipment == nil {
			t.Fatalf("order = %+v, want it to know its shipment", o)
		}
		f.news(t, w, o, api.ShipmentInTransit)
		f.orderIn(t, o.OrderID, api.OrderShipped)
		f.want(t, http.StatusConflict, "user:5", "POST", cancelPath(1), `{"reason":"x"}`, "Idempotency-Key", "c")
	})
}

// A payment that an administrator gave back by hand does not keep the order from being cancelled.
func TestCancelAfterManualRefund(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		o := f.buy(t, "user:5", "a")
		if _, err := w.Refund(t.Context(), "by hand", o.Payment.PaymentID, ""); err != nil {
			t.Fatal(err)
		}
		got := f.want(t, http.StatusAccepted, "user:5", "POST", cancelPath(o.OrderID), `{"reason":"x"}`, "Idempotency-Key", "c", "Prefer", "wait=1")
		if decode[api.Order](t, got).Status != api.OrderConfirmed {
			t.Errorf("order = %s", got.body)
		}
		err := db.Tx(t.Context(), func(tx *sqldb.Tx) error {
			return f.applyPaymentEvent(t.Context(), tx, api.Event{Kind: "payment", Subject: o.Payment.PaymentID, Change: api.PaymentRefunded})
		})
		if err != nil {
			t.Fatal(err)
		}
		f.orderIn(t, o.OrderID, api.OrderCancelled)
		f.want(t, http.StatusOK, "user:5", "POST", cancelPath(o.OrderID), `{"reason":"x"}`, "Idempotency-Key", "c")
	})
}

// The answer of a capture that is asked for again is older than a refund by hand in between.
func TestRefundBeforeTheAnswerOfTheCapture(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		w.around(nil, first(1, "Capture", func(ctx context.Context) error {
			o, err := orderByID(ctx, db, everyone(), 1)
			if err != nil {
				return err
			}
			if _, err := w.Refund(ctx, "by hand", o.payment.PaymentID, ""); err != nil {
				return err
			}
			err = db.Tx(ctx, func(tx *sqldb.Tx) error {
				return f.applyPaymentEvent(ctx, tx, api.Event{Kind: "payment", Subject: o.payment.PaymentID, Change: api.PaymentRefunded})
			})
			return errors.Join(err, noAnswer(ctx))
		}))
		o := f.buy(t, "user:5", "a")
		if o.OrderID != 1 || o.Payment.State != api.PaymentRefunded {
			t.Errorf("payment of order %d is %s, want %s", o.OrderID, o.Payment.State, api.PaymentRefunded)
		}
		f.want(t, http.StatusOK, "user:5", "POST", cancelPath(o.OrderID), `{"reason":"x"}`, "Idempotency-Key", "c")
	})
}

// Only legal steps can be taken, whatever the sequence of attempts, and the history is gapless.
func TestTransitions(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			db := sqldbtest.Open(t, engine, Migrations, journal.Migrations)
			ctx := auth.WithCaller(t.Context(), everyone())
			var mine cart
			err := db.Tx(ctx, func(tx *sqldb.Tx) error {
				var err error
				mine, err = insertCart(ctx, tx, 5, false, time.Now())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			rapid.Check(t, func(rt *rapid.T) { walk(ctx, rt, db, mine) })
		})
	}
}

// edges are the steps that commerce allows, written down a second time.
var edges = map[string]string{
	api.OrderPending:   api.OrderConfirmed + " " + api.OrderCancelled,
	api.OrderConfirmed: api.OrderShipped + " " + api.OrderCancelled + " " + api.OrderRefunded,
	api.OrderShipped:   api.OrderDelivered + " " + api.OrderRefunded,
	api.OrderDelivered: api.OrderRefunded,
}

func walk(ctx context.Context, rt *rapid.T, db *sqldb.DB, c cart) {
	o := record{cartID: c.id, userID: c.userID, currency: "USD", date: time.Now(), status: rapid.SampledFrom([]string{api.OrderCreated, api.OrderPending}).Draw(rt, "first")}
	if err := db.Tx(ctx, func(tx *sqldb.Tx) error { return insertOrder(ctx, tx, &o, "", time.Now()) }); err != nil {
		rt.Fatal(err)
	}
	steps := 1
	rt.Repeat(map[string]func(*rapid.T){
		"step": func(rt *rapid.T) {
			from, to := o.status, rapid.SampledFrom(statuses).Draw(rt, "to")
			stale := o
			err := db.Tx(ctx, func(tx *sqldb.Tx) error { return transition(ctx, tx, &o, to, "test", "", time.Now()) })
			if allowed := strings.Contains(edges[from], to); allowed != (err == nil) {
				rt.Fatalf("from %s to %s: %v", from, to, err)
			}
			if err != nil {
				return
			}
			steps++
			if err := db.Tx(ctx, func(tx *sqldb.Tx) error { return transition(ctx, tx, &stale, to, "test", "", time.Now()) }); err == nil {
				rt.Fatalf("from %s to %s twice", from, to)
			}
		},
		"": func(rt *rapid.T) {
			history, err := historyOf(ctx, db, o.id)
			if err != nil {
				rt.Fatal(err)
			}
			stored, err := orderByID(ctx, db, everyone(), o.id)
			if err != nil || len(history) != steps || history[steps-1].To != stored.status || stored.status != o.status {
				rt.Fatalf("history %v of an order that is %s, %v; want %d steps to %s", history, stored.status, err, steps, o.status)
			}
			for i := 1; i < len(history); i++ {
				if history[i].From != history[i-1].To {
					rt.Fatalf("history has a gap: %v", history)
				}
			}
		},
	})
}
