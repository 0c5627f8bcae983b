package payment

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// stripeHeader signs a body as Stripe does.
func stripeHeader(secret, body string, at time.Time) string {
	return webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(body), Secret: secret, Timestamp: at}).Header
}

func TestStripeWebhookRefused(t *testing.T) {
	t.Parallel()
	h, _ := withFake(t, sqldbtest.Open(t, "sqlite", migrations...))
	now := h.clock.now()
	good := `{"id":"evt_1","object":"event","type":"customer.created","data":{"object":{"id":"cus_1"}}}`
	signed := func(body string, at time.Time) string { return stripeHeader(fakeSecret, body, at) }
	old := signed(good, now.Add(-7*24*time.Hour))
	for _, tt := range []struct {
		name, body, signature string
		want                  int
	}{
		{"no signature", good, "", 401},
		{"other secret", good, stripeHeader("whsec_guess", good, now), 401},
		{"other body", good, signed(good+" ", now), 401},
		{"six minutes old", good, signed(good, now.Add(-6*time.Minute)), 401},
		{"a week old", good, old, 401},
		{"a week old with a new time in front", good, "t=" + strings.TrimPrefix(strings.Split(signed(good, now), ",")[0], "t=") + "," + old, 401},
		{"from the future", good, signed(good, now.Add(6*time.Minute)), 401},
		{"the sandbox's header", good, "t=1,v1=zz", 401},
		{"not JSON", `{`, signed(`{`, now), 400},
		{"no data", `{"id":"evt_1","type":"payment_intent.succeeded"}`, signed(`{"id":"evt_1","type":"payment_intent.succeeded"}`, now), 400},
		{"no id", `{"type":"x","data":{"object":{}}}`, signed(`{"type":"x","data":{"object":{}}}`, now), 400},
		{"long id", strings.Replace(good, "evt_1", strings.Repeat("e", 200), 1), signed(strings.Replace(good, "evt_1", strings.Repeat("e", 200), 1), now), 400},
		{"old and new secret, as while it is rolled", good, signed(good, now) + ",v1=" + strings.Split(stripeHeader("whsec_old", good, now), "v1=")[1], 200},
		{"good", good, signed(good, now.Add(-4*time.Minute)), 200},
	} {
		got := h.call("", "POST", "/webhooks/stripe", tt.body, stripeSignature, tt.signature)
		if got.status != tt.want {
			t.Errorf("%s = %d, want %d: %s", tt.name, got.status, tt.want, got.body)
		}
		if strings.Contains(got.body, "whsec") {
			t.Errorf("%s: the answer holds the secret", tt.name)
		}
	}
	var body string
	if err := h.db.QueryRow(t.Context(), `SELECT body FROM provider_events WHERE event_id = 'evt_1' AND state = 'IGNORED'`).Scan(&body); err != nil || body != good {
		t.Errorf("stored body = %q, %v, want it as it came", body, err)
	}
}

// The answers are lost for as long as it takes the events to come: from first to last, from last to
// first, twice, and again a week later.
func TestStripeEventsBringOutcomes(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h, f := withFake(t, db)
		body := card(7, "10", cardOK)
		for _, step := range []struct{ path, body, kind string }{
			{"/payments/authorize", body, "payment_intent.amount_capturable_updated"},
			{"/payments/1/capture", "{}", "payment_intent.succeeded"},
			{"/payments/1/refund", `{"amount":4}`, "refund.created"},
		} {
			f.do(func() { f.faults = []string{faultCut} })
			h.with(step.path, service, step.path, step.body).want(t, 503)
			calls := len(f.asked)
			for range 2 {
				h.tell(f.happened(step.kind)[0], h.clock.now()).want(t, 200)
			}
			if got := h.with(step.path, service, step.path, step.body); got.status >= 300 {
				t.Errorf("%s after its event = %d: %s", step.path, got.status, got.body)
			}
			if len(f.asked) != calls {
				t.Errorf("%s after its event asked Stripe %v, want nothing", step.path, f.asked[calls:])
			}
		}
		want := truth{State: api.PaymentPartiallyRefunded, Captured: 1000, Refunded: 400, Receivable: 600, Sales: -600, Intents: 1, Received: 1000, Refunds: 400}
		h.wantTruth(f, 7, want)
		h.clock.forward(7 * 24 * time.Hour)
		events := f.happened()
		slices.Reverse(events)
		for _, event := range events {
			h.tell(event, h.clock.now().Add(-7*24*time.Hour)).want(t, 401)
			h.tell(event, h.clock.now()).want(t, 200)
			again := event
			again.id += "_again" // as Stripe's dashboard resends it to another endpoint
			again.body = strings.Replace(again.body, event.id, again.id, 1)
			h.tell(again, h.clock.now()).want(t, 200)
		}
		h.wantTruth(f, 7, want)

		// A declined card and a cancelled authorization, by event.
		f.do(func() { f.faults = []string{faultCut} })
		h.with("poor", service, "/payments/authorize", card(8, "10", cardPoor)).want(t, 503)
		h.tell(f.happened("payment_intent.payment_failed")[0], h.clock.now()).want(t, 200)
		refused := into[api.Problem](t, h.with("poor", service, "/payments/authorize", card(8, "10", cardPoor)).want(t, 402))
		if got, want := refused.FailureCode, "insufficient_funds"; got != want {
			t.Errorf("failureCode = %q, want %q", got, want)
		}
		id := h.paid(9, false, card(9, "10", cardOK))
		f.do(func() { f.faults = []string{faultCut} })
		h.with("v", service, "/payments/"+id.String()+"/void", "{}").want(t, 503)
		h.tell(f.happened("payment_intent.canceled")[0], h.clock.now()).want(t, 200)
		h.with("v", service, "/payments/"+id.String()+"/void", "{}").want(t, 200)
		h.wantTruth(f, 9, truth{State: api.PaymentVoided, Intents: 1})
	})
}

// Callers, events and the background bring the same outcomes at the same moment.
func TestStripeTogether(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h, f := withFake(t, db)
		together := func(key, path, body, kind string, status int) {
			t.Helper()
			f.do(func() { f.faults = []string{faultCut} })
			h.with(key, service, path, body).want(t, 503)
			h.clock.forward(time.Minute) // the background may take it
			events := f.happened(kind)
			event := events[len(events)-1]
			var group sync.WaitGroup
			statuses := make([]int, 4)
			for i := range statuses {
				group.Go(func() {
					for statuses[i] == 0 || statuses[i] == 409 {
						statuses[i] = h.with(key, service, path, body).status
					}
				})
				group.Go(func() { h.tell(event, h.clock.now()) })
			}
			group.Go(func() { _ = h.sweep(t.Context()) }) // what it meets is looked at below
			group.Wait()
			for _, got := range statuses {
				if got != status {
					t.Errorf("%s = %d, want %d", path, got, status)
				}
			}
			if got := h.eventState(event.id); got != eventApplied {
				t.Errorf("%s is %s, want it applied", event.kind, got)
			}
		}
		for order := 1; order <= 5; order++ {
			together("a"+api.ID(order).String(), "/payments/authorize", card(order, "10", cardOK), "payment_intent.amount_capturable_updated", 201)
			path := "/payments/" + h.paymentOf(order).String()
			together("c"+path, path+"/capture", "{}", "payment_intent.succeeded", 200)
			together("r"+path, path+"/refund", `{"amount":4}`, "refund.created", 200)
			h.wantTruth(f, api.ID(order), truth{State: api.PaymentPartiallyRefunded, Captured: 1000, Refunded: 400, Receivable: 600, Sales: -600,
				Intents: 1, Received: 1000, Refunds: 400})
		}
	})
}

// A person captures, refunds and cancels in Stripe's own pages: the books follow, once.
func TestMadeInTheDashboard(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h, f := withFake(t, db)
		intent := func(order int) *fakeIntent {
			reference := into[api.Payment](t, h.call(admin, "GET", "/payments/"+h.paid(order, false, card(order, "10", cardOK)).String(), "")).ProviderReference
			return f.intents[reference]
		}
		told := func() {
			for range 2 {
				for _, event := range f.happened() {
					h.tell(event, h.clock.now()).want(t, 200)
				}
			}
		}
		captured, cancelled := intent(7), intent(8)
		f.do(func() {
			f.capture(captured, 1000, nil)
			f.cancel(cancelled)
		})
		told()
		h.wantTruth(f, 7, truth{State: api.PaymentCaptured, Captured: 1000, Receivable: 1000, Sales: -1000, Intents: 1, Received: 1000})
		h.wantTruth(f, 8, truth{State: api.PaymentVoided, Intents: 1})
		f.do(func() {
			f.refund(captured.id, 300, map[string]string{})
			f.refund(captured.id, 300, map[string]string{})
		})
		told()
		h.wantTruth(f, 7, truth{State: api.PaymentPartiallyRefunded, Captured: 1000, Refunded: 600, Receivable: 400, Sales: -400, Intents: 1, Received: 1000, Refunds: 600})

		// While a movement of ours is open, theirs waits for it. The money that ours meant to move is gone then.
		f.do(func() { f.faults = []string{faultBefore} })
		h.with("r", admin, "/payments/1/refund", `{"amount":4}`).want(t, 503)
		f.do(func() { f.refund(captured.id, 400, map[string]string{}) })
		told()
		if got := h.eventState(f.happened("refund.created")[2].id); got != eventWaiting {
			t.Errorf("the event is %s, want it to wait", got)
		}
		h.with("r", admin, "/payments/1/refund", `{"amount":4}`).want(t, 409)
		h.later(time.Minute)
		h.wantTruth(f, 7, truth{State: api.PaymentRefunded, Captured: 1000, Refunded: 1000, Intents: 1, Received: 1000, Refunds: 1000})
	})
}

// Events of another shop on the same account, and of what no shop of ours made, have no effect.
func TestForeignEvents(t *testing.T) {
	t.Parallel()
	h, f := withFake(t, sqldbtest.Open(t, "sqlite", migrations...))
	other, _ := withFake(t, sqldbtest.Open(t, "sqlite", migrations...))
	other.withStripe(f)
	h.paid(1, true, card(1, "10", cardOK)) // the books have a name
	id := other.paid(7, true, card(7, "10", cardOK))
	other.with("r", admin, "/payments/"+id.String()+"/refund", `{"amount":4}`).want(t, 200)
	f.do(func() {
		stray := &fakeIntent{id: "pi_stray", status: "requires_capture", amount: 500, capturable: 500, currency: "usd", metadata: map[string]string{"app": "other"}}
		f.intents[stray.id] = stray
		f.capture(stray, 500, nil)
		f.refund(stray.id, 100, map[string]string{})
	})
	h.orders.gone = map[api.ID]bool{7: true}
	for _, event := range f.happened() {
		h.tell(event, h.clock.now()).want(t, 200)
	}
	for range 10 {
		h.later(time.Minute)
	}
	if n, err := sqldb.Count(t.Context(), h.db, 10, `SELECT payment_id FROM payments`); err != nil || n != 1 {
		t.Errorf("payments = %d, %v, want the one of our own", n, err)
	}
	if got := len(f.refunds); got != 2 {
		t.Errorf("refunds = %d, want the 2 that others made", got)
	}
	states := map[string]int{}
	for _, event := range f.happened() {
		states[h.eventState(event.id)]++
	}
	if states[eventWaiting] != 1 || states[eventLost] != 0 || states[eventRefused] != 0 {
		t.Errorf("states of the events = %v, want the refund without a name to wait and no complaint", states)
	}
}

func FuzzStripeWebhook(f *testing.F) {
	at := time.Unix(1_767_323_045, 0)
	fake := openFakeEvents(at)
	for _, event := range fake {
		f.Add(stripeHeader(fakeSecret, event, at), event)
	}
	f.Add("t=1,v1=00", `{}`)
	p := &stripeProvider{secret: fakeSecret, unit: 1}
	f.Fuzz(func(t *testing.T, header, body string) {
		if verifyStripe(fakeSecret, header, []byte(body), at) == nil && verifyStripe("other", header, []byte(body), at) == nil {
			t.Errorf("verifyStripe(%q) holds under two secrets", header)
		}
		event, err := p.ParseWebhook(http.Header{stripeSignature: {stripeHeader(fakeSecret, body, at)}}, []byte(body), at)
		if err == nil && (event.ID == "" || event.Kind != "" && event.Key == "") {
			t.Errorf("ParseWebhook(%q) = %+v, want an id, and a key when it tells of a movement", body, event)
		}
	})
}

// openFakeEvents are bodies of events of each kind.
func openFakeEvents(at time.Time) []string {
	fake := &stripeFake{now: func() time.Time { return at }, intents: map[string]*fakeIntent{}}
	meta := map[string]string{metaKey: "KEY", metaBooks: "BOOKS", metaOrder: "7"}
	for _, status := range []string{"a", "b"} {
		intent := &fakeIntent{id: "pi_" + status, status: "requires_capture", code: "lost_card", amount: 500, capturable: 500, currency: "usd", metadata: meta}
		fake.intents[intent.id] = intent
		fake.emit("payment_intent.amount_capturable_updated", intent.wire())
		fake.emit("payment_intent.payment_failed", intent.wire())
	}
	fake.capture(fake.intents["pi_a"], 500, map[string]string{metaCapture: "CAPTURE"})
	fake.cancel(fake.intents["pi_b"])
	fake.refund("pi_a", 100, meta)
	var bodies []string
	for _, event := range fake.events {
		bodies = append(bodies, event.body)
	}
	return bodies
}
