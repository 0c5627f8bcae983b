package payment

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
	"tienda/web"
)

// restarting is a payment-service that dies and comes back over the same database, behind one address.
type restarting struct {
	*shop
	stripe  *stripeFake
	handler http.Handler
}

func openRestarting(t *testing.T, db *sqldb.DB) *restarting {
	t.Helper()
	r := &restarting{}
	r.shop, r.stripe = withFake(t, db)
	r.shop.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) { r.handler.ServeHTTP(w, request) })
	r.restart()
	return r
}

func (r *restarting) restart() {
	r.t.Helper()
	var err error
	if r.Service, err = New(r.db, r.orders, r.identity, dollars, r.settings, r.log, r.clock.now); err != nil {
		r.t.Fatal(err)
	}
	r.withStripe(r.stripe)
	r.handler, err = web.New(web.API{Name: "payment-service", Context: "/payment-service", Routes: r.Routes(), Verify: whoever, Log: r.log})
	if err != nil {
		r.t.Fatal(err)
	}
}

// TestStripeInterleavings drives payments through random calls, losses, failures, events in any order and
// number, restarts and days that pass, all of them over the network. In the end there is at most one charge
// for each order, our books say what Stripe's say, and every ledger entry has its other side.
func TestStripeInterleavings(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		r := openRestarting(t, db)
		order := 0
		rapid.Check(t, func(t *rapid.T) {
			first := order + 1
			order += 2
			r.stripe.do(func() { // keys and events of earlier runs have no part in this one
				clear(r.stripe.keys)
				r.stripe.events, r.stripe.faults = nil, nil
			})
			r.orders.gone, r.orders.standings = map[api.ID]bool{}, map[api.ID]api.OrderStanding{}
			r.play(t, first, order)
			r.rest()
			for n := first; n <= order; n++ {
				r.check(t, api.ID(n))
			}
		})
	})
}

// play makes random moves about two orders.
func (r *restarting) play(t *rapid.T, first, last int) {
	faults := []string{"", "", faultBefore, faultStuck, faultStuckOK, faultLimit, faultInUse, faultLost, faultCut, faultNonsense}
	payments := map[int]string{} // path of each order's payment, once its authorization was answered
	cards := map[int]string{}
	for order := first; order <= last; order++ {
		id := api.ID(order)
		cards[order] = rapid.SampledFrom([]string{cardOK, cardOK, cardOK, cardPoor, cardAsks, cardAuthentication}).Draw(t, "card")
		switch rapid.SampledFrom([]string{"confirmed", "under way", "cancelled", "gone"}).Draw(t, "standing") {
		case "under way":
			r.orders.standings[id] = api.OrderStanding{OrderID: id, Status: api.OrderPending, InProgress: true}
		case "cancelled":
			r.orders.standings[id] = api.OrderStanding{OrderID: id, Status: api.OrderCancelled}
		case "gone":
			r.orders.gone[id] = true
		}
	}
	for range rapid.IntRange(5, 40).Draw(t, "moves") {
		order := rapid.IntRange(first, last).Draw(t, "order")
		key := fmt.Sprintf("%d-%d", order, rapid.IntRange(1, 2).Draw(t, "key"))
		switch move := rapid.SampledFrom([]string{"authorize", "authorize", "capture", "capture", "void", "refund", "fault", "fault", "event", "event",
			"events", "background", "restart", "wait", "dashboard"}).Draw(t, "move"); move {
		case "authorize":
			answer := r.with(fmt.Sprint(order), service, "/payments/authorize", card(order, "10", cards[order]))
			if answer.status == http.StatusCreated {
				payments[order] = "/payments/" + into[api.Payment](r.t, answer).PaymentID.String()
			}
		case "capture", "void", "refund":
			if path := payments[order]; path != "" {
				body := "{}"
				if move == "refund" {
					body = fmt.Sprintf(`{"amount":%d}`, rapid.IntRange(1, 6).Draw(t, "amount"))
				}
				r.with(move+key, service, path+"/"+move, body)
			}
		case "fault":
			r.stripe.do(func() { r.stripe.faults = append(r.stripe.faults, rapid.SampledFrom(faults).Draw(t, "fault")) })
		case "event":
			if events := r.stripe.happened(); len(events) > 0 {
				r.tell(rapid.SampledFrom(events).Draw(t, "which"), r.clock.now())
			}
		case "events":
			for _, event := range rapid.Permutation(r.stripe.happened()).Draw(t, "order of events") {
				r.tell(event, r.clock.now())
			}
		case "background":
			_ = r.sweep(r.t.Context()) // it may fail as everything may
		case "restart":
			r.restart()
		case "wait":
			d := time.Duration(rapid.SampledFrom([]int{1, 20, 60, 150, 3600, 30 * 3600, 7 * 24 * 3600}).Draw(t, "seconds")) * time.Second
			r.clock.forward(d)
			if d > 24*time.Hour {
				r.stripe.do(func() { clear(r.stripe.keys) })
			}
		case "dashboard":
			r.stripe.do(func() { r.meddle(t, order) })
		}
	}
}

// meddle does something to the order's charge in Stripe's own pages.
func (r *restarting) meddle(t *rapid.T, order int) {
	what := rapid.SampledFrom([]string{"capture", "cancel", "refund"}).Draw(t, "meddle")
	for _, intent := range r.stripe.intents {
		if intent.metadata[metaOrder] != fmt.Sprint(order) {
			continue
		}
		switch what {
		case "capture":
			r.stripe.capture(intent, intent.capturable, nil)
		case "cancel":
			r.stripe.cancel(intent)
		case "refund":
			r.stripe.refund(intent.id, 100, map[string]string{})
		}
	}
}

// rest lets everything that is under way come to its end: checkouts are cancelled, Stripe works, every event arrives, more than
// once and in any order, and the background goes on until nothing is due.
func (r *restarting) rest() {
	r.t.Helper()
	r.stripe.do(func() { r.stripe.faults = nil })
	for id := range r.orders.standings {
		r.orders.standings[id] = api.OrderStanding{OrderID: id, Status: api.OrderCancelled}
	}
	for range 4 {
		r.restart()
		for range 3 {
			r.later(2 * time.Minute)
		}
		events := r.stripe.happened()
		rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		for _, event := range events {
			r.tell(event, r.clock.now()).want(r.t, http.StatusOK)
		}
	}
	for range 3 {
		r.later(2 * time.Hour) // events that wait are looked at once an hour at the latest
		r.later(2 * time.Minute)
	}
}

// check compares the books about an order.
func (r *restarting) check(t *rapid.T, order api.ID) {
	if n, err := sqldb.Count(r.t.Context(), r.db, 2, `SELECT payment_id FROM payments WHERE order_id = ?`, int64(order)); err != nil || n == 0 {
		return // nobody paid for it
	}
	m := r.truth(r.stripe, order)
	_, cancelled := r.orders.standings[order]
	story := fmt.Sprintf("order %d: %+v\n%s", order, m, r.diary(order))
	switch {
	case m.Intents > 1:
		t.Fatalf("%s: charged twice", story)
	case m.Captured != m.Received, m.Refunded != m.Refunds:
		t.Fatalf("%s: our books and Stripe's differ", story)
	case m.Receivable != m.Captured-m.Refunded, m.Sales != -m.Receivable:
		t.Fatalf("%s: the ledger and the payment differ", story)
	case m.State == pending:
		t.Fatalf("%s: still without an outcome", story)
	case m.Held > 0 && m.State != api.PaymentAuthorized, m.Held == 0 && m.State == api.PaymentAuthorized:
		t.Fatalf("%s: money is set aside at one end only", story)
	case (r.orders.gone[order] || cancelled) && (m.Held > 0 || m.Received > m.Refunds):
		t.Fatalf("%s: no order stands behind it and the money is still there", story)
	}
	if n, err := sqldb.Count(r.t.Context(), r.db, 2, `SELECT operation_id FROM payment_operations WHERE state = 'PENDING'`); err != nil || n > 0 {
		t.Fatalf("%s: %d operations without an outcome, %v", story, n, err)
	}
}

// diary is what is written about an order's payment: its movements, and the events of its charge.
func (r *restarting) diary(order api.ID) string {
	r.t.Helper()
	line := func(scan func(...any) error) (string, error) {
		var kind, key, state, code string
		var amount int64
		err := scan(&kind, &key, &amount, &state, &code)
		return fmt.Sprintf("  %s %s of %d: %s %s\n", kind, key, amount, state, code), err
	}
	movements, err := sqldb.All(r.t.Context(), r.db, line, `SELECT o.kind, o.request_key, o.amount, o.state, o.failure_code FROM payment_operations o
		JOIN payments p ON p.payment_id = o.payment_id WHERE p.order_id = ? ORDER BY o.operation_id`, int64(order))
	if err != nil {
		r.t.Fatal(err)
	}
	events, err := sqldb.All(r.t.Context(), r.db, line, `SELECT 'event', e.event_id, e.amount, e.state, e.kind FROM provider_events e
		JOIN payments p ON p.provider_reference = e.provider_reference AND p.provider_reference <> '' AND p.order_id = ? ORDER BY e.received_at, e.event_id`, int64(order))
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Join(append(movements, events...), "")
}
