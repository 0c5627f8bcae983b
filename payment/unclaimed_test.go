package payment

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// paid authorizes a payment of an order, and captures it if it is to.
func (h *shop) paid(order int, captured bool, body string) api.ID {
	h.t.Helper()
	key := fmt.Sprintf("%s-%d", h.t.Name(), order)
	id := into[api.Payment](h.t, h.with(key, service, "/payments/authorize", body).want(h.t, 201)).PaymentID
	if captured {
		h.with(key, service, "/payments/"+id.String()+"/capture", "{}").want(h.t, 200)
	}
	return id
}

func (h *shop) state(payment api.ID) string {
	h.t.Helper()
	row, err := recordByID(h.t.Context(), h.db, payment)
	if err != nil {
		h.t.Fatal(err)
	}
	return row.state
}

// TestUnclaimed has one payment for each way an order may stand, with both providers: only what no order
// stands behind is given back, once, and never while an order is under way or order-service is away.
func TestUnclaimed(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h, f := withFake(t, db)
		h.orders.standings, h.orders.gone = map[api.ID]api.OrderStanding{}, map[api.ID]bool{}
		type expectation struct {
			order           int
			name, now, then string // states after the bound, and once every order has ended cancelled
		}
		var wants []expectation
		ids := map[int]api.ID{}
		for provider, body := range []func(int) string{
			func(order int) string { return authorization(order, "10", tokenOK) },
			func(order int) string { return card(order, "10", cardOK) },
		} {
			for i, tt := range []struct {
				name      string
				captured  bool
				standing  api.OrderStanding
				gone      bool
				now, then string
			}{
				{"confirmed", true, api.OrderStanding{Status: api.OrderConfirmed}, false, "CAPTURED", "CAPTURED"},
				{"delivered", true, api.OrderStanding{Status: api.OrderDelivered}, false, "CAPTURED", "CAPTURED"},
				{"plain", true, api.OrderStanding{Status: api.OrderCreated}, false, "CAPTURED", "CAPTURED"},
				{"checkout under way", false, api.OrderStanding{Status: api.OrderPending, InProgress: true}, false, "AUTHORIZED", "VOIDED"},
				{"checkout under way, charged", true, api.OrderStanding{Status: api.OrderPending, InProgress: true}, false, "CAPTURED", "REFUNDED"},
				{"cancellation under way", true, api.OrderStanding{Status: api.OrderConfirmed, InProgress: true}, false, "CAPTURED", "REFUNDED"},
				{"cancelled", true, api.OrderStanding{Status: api.OrderCancelled}, false, "REFUNDED", "REFUNDED"},
				{"cancelled, set aside", false, api.OrderStanding{Status: api.OrderCancelled}, false, "VOIDED", "VOIDED"},
				{"never written", true, api.OrderStanding{}, true, "REFUNDED", "REFUNDED"},
				{"never written, set aside", false, api.OrderStanding{}, true, "VOIDED", "VOIDED"},
			} {
				order := 100*(provider+1) + i
				tt.standing.OrderID = api.ID(order)
				h.orders.standings[api.ID(order)], h.orders.gone[api.ID(order)] = tt.standing, tt.gone
				ids[order] = h.paid(order, tt.captured, body(order))
				wants = append(wants, expectation{order, tt.name, tt.now, tt.then})
			}
		}
		part := h.paid(300, true, card(300, "10", cardOK))
		h.with("part", admin, "/payments/"+part.String()+"/refund", `{"amount":4}`).want(t, 200)
		h.orders.gone[300] = true

		h.later(h.settings.UnclaimedAfter - time.Second)
		for _, want := range wants {
			if got := h.state(ids[want.order]); got != "AUTHORIZED" && got != "CAPTURED" {
				t.Errorf("%s before its time = %s", want.name, got)
			}
		}
		h.orders.down = true
		h.clock.forward(time.Minute)
		if err := h.sweep(t.Context()); err == nil {
			t.Error("sweep without order-service = nil, want an error")
		}
		for _, want := range wants {
			if got := h.state(ids[want.order]); got != "AUTHORIZED" && got != "CAPTURED" {
				t.Errorf("%s without order-service = %s", want.name, got)
			}
		}
		h.orders.down = false
		for range 3 {
			h.later(lookEvery)
		}
		for _, want := range wants {
			if got := h.state(ids[want.order]); got != want.now {
				t.Errorf("%s = %s, want %s", want.name, got, want.now)
			}
		}
		h.wantTruth(f, 300, truth{State: api.PaymentRefunded, Captured: 1000, Refunded: 1000, Intents: 1, Received: 1000, Refunds: 1000})
		h.wantTruth(f, 206, truth{State: api.PaymentRefunded, Captured: 1000, Refunded: 1000, Intents: 1, Received: 1000, Refunds: 1000})

		// What was under way ends cancelled with its money still there, as if its saga had missed it.
		for order, standing := range h.orders.standings {
			if standing.InProgress {
				h.orders.standings[order] = api.OrderStanding{OrderID: order, Status: api.OrderCancelled}
			}
		}
		for range 3 {
			h.later(h.settings.UnclaimedAfter)
		}
		for _, want := range wants {
			if got := h.state(ids[want.order]); got != want.then {
				t.Errorf("%s in the end = %s, want %s", want.name, got, want.then)
			}
		}
		h.clock.forward(time.Minute)
		var reasons []string
		for _, event := range into[api.List[api.Event]](t, h.call(admin, "GET", "/events?after=0", "").want(t, 200)).Collection {
			if event.Actor == "payment-service" && event.Subject == ids[106] {
				reasons = append(reasons, event.Change+" "+string(event.Data))
			}
		}
		if len(reasons) != 1 || !strings.Contains(reasons[0], "REFUNDED") || !strings.Contains(reasons[0], "no order stands behind it") {
			t.Errorf("events of the payment given back = %v, want one that says why", reasons)
		}
		rows, err := dueToLook(t.Context(), db, h.clock.now().Add(time.Hour), 100)
		if err != nil || len(rows) != 0 {
			t.Errorf("payments to look at when all is settled = %d, %v, want 0", len(rows), err)
		}
	})
}

// Two replicas, a provider that fails, refuses and fails again, and a restart: the money goes back once.
func TestUnclaimedIsGivenBackOnce(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h, f := withFake(t, db)
		h.orders.gone = map[api.ID]bool{7: true}
		h.paid(7, true, card(7, "10", cardOK))
		f.do(func() { f.faults = []string{faultBefore, faultCut, faultLimit} })
		for range 8 {
			other := open(t, db) // another replica, or this one after a restart
			other.clock, other.now, other.orders, other.Service.orders = h.clock, h.clock.now, h.orders, h.orders
			other.withStripe(f)
			h.clock.forward(20 * time.Second)
			for _, replica := range []*shop{other, h} {
				if err := replica.sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		h.wantTruth(f, 7, truth{State: api.PaymentRefunded, Captured: 1000, Refunded: 1000, Intents: 1, Received: 1000, Refunds: 1000})
		if got := len(f.refunds); got != 1 {
			t.Errorf("refunds at Stripe = %d, want 1", got)
		}
	})
}

// The books were restored to an earlier day. Charges that they do not know come in by their events: what
// no order stands behind goes back, the rest stays.
func TestChargesThatTheBooksDoNotKnow(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h, f := withFake(t, db)
		h.orders.gone = map[api.ID]bool{7: true, 8: true}
		for order := 7; order <= 9; order++ {
			h.paid(order, order != 8, card(order, "10", cardOK))
		}
		h.paid(5, false, authorization(5, "10", tokenWebhookFirst))
		h.orders.gone[5] = true
		tables := []string{"payments", "payment_operations", "ledger_postings", "provider_events", "idempotency_keys"}
		err := db.Tx(t.Context(), func(tx *sqldb.Tx) error {
			for _, table := range tables {
				if _, err := tx.Exec(t.Context(), "DELETE FROM "+table); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		events := f.happened()
		slices.Reverse(events)
		for _, event := range events {
			h.tell(event, h.clock.now()).want(t, 200)
		}
		var body string
		if err := db.QueryRow(t.Context(), `SELECT body FROM sandbox_events`).Scan(&body); err == nil {
			t.Fatalf("an event of the sandbox is still due: %s", body)
		}
		var reference, key string
		if err := db.QueryRow(t.Context(), `SELECT reference, operation_key FROM sandbox_operations`).Scan(&reference, &key); err != nil {
			t.Fatal(err)
		}
		h.event(sandboxEvent{ID: "evt_again", Type: KindAuthorize, Operation: key, Reference: reference, Amount: 1000, Currency: "USD",
			Authorization: key, OrderID: 5, Books: h.books}).want(t, 200)

		h.later(10 * time.Second)
		if n, err := sqldb.Count(t.Context(), db, 10, `SELECT payment_id FROM payments`); err != nil || n != 0 {
			t.Errorf("payments before the bound = %d, %v, want 0", n, err)
		}
		for range 8 {
			h.later(20 * time.Second)
		}
		h.wantTruth(f, 7, truth{State: api.PaymentRefunded, Captured: 1000, Refunded: 1000, Intents: 1, Received: 1000, Refunds: 1000})
		h.wantTruth(f, 8, truth{State: api.PaymentVoided, Intents: 1})
		h.wantTruth(f, 9, truth{State: api.PaymentCaptured, Captured: 1000, Receivable: 1000, Sales: -1000, Intents: 1, Received: 1000})
		var voided bool
		if err := db.QueryRow(t.Context(), `SELECT voided FROM sandbox_charges`).Scan(&voided); err != nil || !voided {
			t.Errorf("the sandbox's charge is voided = %v, %v, want true", voided, err)
		}
		for _, event := range events {
			h.tell(event, h.clock.now()).want(t, 200)
			if got := h.eventState(event.id); got != eventApplied && got != eventIgnored {
				t.Errorf("%s is %s: %s", event.kind, got, event.body)
			}
		}
	})
}
