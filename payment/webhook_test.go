package payment

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// event posts an event of the sandbox as it would come over the network.
func (h *shop) event(event sandboxEvent) answer {
	h.t.Helper()
	body, err := json.Marshal(event)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.call("", http.MethodPost, "/webhooks/sandbox", string(body), signatureHeader, sign([]byte("whsec"), body, h.clock.now()))
}

// operations are the operations on a payment, in order.
func (h *shop) operations(payment api.ID) []operation {
	h.t.Helper()
	list, err := sqldb.All(h.t.Context(), h.db, scanOperation, `SELECT `+operationColumns+` FROM payment_operations WHERE payment_id = ? ORDER BY operation_id`, int64(payment))
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

func (h *shop) eventState(id string) string {
	h.t.Helper()
	var state string
	if err := h.db.QueryRow(h.t.Context(), `SELECT state FROM provider_events WHERE event_id = ?`, id).Scan(&state); err != nil {
		h.t.Fatal(err)
	}
	return state
}

// The answers of an authorization and a capture are lost; their events bring the outcomes, twice. Then
// the callers ask again.
func TestEventsBringOutcomes(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		h.flaky(nil, map[Kind]int{KindAuthorize: 1, KindCapture: 1})
		body := authorization(7, "10", tokenOK)
		h.with("a", service, "/payments/authorize", body).want(t, 503)
		event := func(id string, op operation) sandboxEvent {
			return sandboxEvent{ID: id, Type: op.kind, Operation: op.providerKey, Reference: "sbx_1", Amount: op.amount, Currency: "USD"}
		}
		first := event("evt_1", h.operations(1)[0])
		var reference string
		if err := db.QueryRow(t.Context(), `SELECT reference FROM sandbox_charges`).Scan(&reference); err != nil {
			t.Fatal(err)
		}
		first.Reference = reference
		for range 2 {
			h.event(first).want(t, 200)
		}
		h.wantMoney(1, money{State: api.PaymentAuthorized, Charges: 1})
		h.with("a", service, "/payments/authorize", body).want(t, 201)

		h.with("c", service, "/payments/1/capture", "{}").want(t, 503)
		for i := range 3 { // with ids of their own, as some providers redeliver
			h.event(event(fmt.Sprintf("evt_c%d", i), h.operations(1)[1])).want(t, 200)
		}
		h.with("c", service, "/payments/1/capture", "{}").want(t, 200)
		want := money{State: api.PaymentCaptured, Captured: 1000, Receivable: 1000, Sales: -1000, SandboxCaptured: 1000, Charges: 1}
		h.wantMoney(1, want)

		// Events that contradict the books are kept for a person and change nothing.
		wrong := event("evt_w", h.operations(1)[1])
		wrong.Amount++
		h.event(wrong).want(t, 200)
		wrong = event("evt_x", h.operations(1)[1])
		wrong.FailureCode = "expired"
		h.event(wrong).want(t, 200)
		h.wantMoney(1, want)
		for _, id := range []string{"evt_w", "evt_x"} {
			if got := h.eventState(id); got != eventRefused {
				t.Errorf("state of %s = %s, want %s", id, got, eventRefused)
			}
		}
		// A week later, overheard and sent again as it was, or delivered anew.
		delivery, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		overheard := sign([]byte("whsec"), delivery, h.clock.now())
		h.clock.forward(7 * 24 * time.Hour)
		h.call("", http.MethodPost, "/webhooks/sandbox", string(delivery), signatureHeader, overheard).want(t, 401)
		h.event(first).want(t, 200)
		h.wantMoney(1, want)
		if got := h.eventState("evt_c2"); got != eventApplied {
			t.Errorf("state of evt_c2 = %s, want %s", got, eventApplied)
		}
	})
}

// An event that comes before what it is about waits for it, and not for ever.
func TestEventBeforeItsOperation(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		h.flaky(map[Kind]int{KindAuthorize: 100}, nil)
		h.event(sandboxEvent{ID: "evt_1", Type: KindAuthorize, Operation: "later", Reference: "sbx_1", Amount: 1000, Currency: "USD"}).want(t, 200)
		h.event(sandboxEvent{ID: "evt_2", Type: KindAuthorize, Operation: "never", Reference: "sbx_2", Amount: 1000, Currency: "USD"}).want(t, 200)
		h.with("a", service, "/payments/authorize", authorization(7, "10", tokenOK)).want(t, 503)
		err := db.Tx(t.Context(), func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE payment_operations SET provider_key = 'later'`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		h.clock.forward(time.Minute)
		if err := h.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.with("a", service, "/payments/authorize", authorization(7, "10", tokenOK)).want(t, 201)
		if got := h.eventState("evt_2"); got != eventWaiting {
			t.Errorf("state of evt_2 = %s, want %s", got, eventWaiting)
		}
		h.clock.forward(eventLife + time.Hour)
		if err := h.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := h.eventState("evt_2"); got != eventLost {
			t.Errorf("state of evt_2 = %s, want %s", got, eventLost)
		}
	})
}

func TestDeclinedByEvent(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	h.flaky(map[Kind]int{KindAuthorize: 1}, nil)
	body := authorization(7, "10", tokenOK)
	h.with("a", service, "/payments/authorize", body).want(t, 503)
	op := h.operations(1)[0]
	h.event(sandboxEvent{ID: "evt_1", Type: op.kind, Operation: op.providerKey, Amount: op.amount, Currency: "USD", FailureCode: "card_declined"}).want(t, 200)
	if got := into[api.Problem](t, h.with("a", service, "/payments/authorize", body).want(t, 402)).FailureCode; got != "card_declined" {
		t.Errorf("failureCode = %q, want card_declined", got)
	}
}

func TestWebhookRefused(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	good := `{"id":"evt_1","type":"CAPTURE","operation":"x","reference":"r","amount":1,"currency":"USD"}`
	now := h.clock.now()
	signed := func(body string, at time.Time) string { return sign([]byte("whsec"), []byte(body), at) }
	for _, tt := range []struct {
		name, path, body, signature string
		want                        int
	}{
		{"no signature", "sandbox", good, "", 401},
		{"other secret", "sandbox", good, sign([]byte("guess"), []byte(good), now), 401},
		{"other body", "sandbox", good, signed(good+" ", now), 401},
		{"too old", "sandbox", good, signed(good, now.Add(-5*time.Minute-time.Second)), 401},
		{"from the future", "sandbox", good, signed(good, now.Add(6*time.Minute)), 401},
		{"garbage", "sandbox", good, "t=x,v1=zz", 401},
		{"unknown provider", "paypal", good, signed(good, now), 404},
		{"not configured", "stripe", good, signed(good, now), 404},
		{"not JSON", "sandbox", `{`, signed(`{`, now), 400},
		{"unknown type", "sandbox", strings.Replace(good, "CAPTURE", "GIFT", 1), signed(strings.Replace(good, "CAPTURE", "GIFT", 1), now), 400},
		{"no id", "sandbox", `{"type":"VOID","operation":"x"}`, signed(`{"type":"VOID","operation":"x"}`, now), 400},
		{"good", "sandbox", good, signed(good, now.Add(-4*time.Minute)), 200},
	} {
		got := h.call("", "POST", "/webhooks/"+tt.path, tt.body, signatureHeader, tt.signature)
		if got.status != tt.want {
			t.Errorf("%s = %d, want %d: %s", tt.name, got.status, tt.want, got.body)
		}
		if strings.Contains(got.body, "whsec") {
			t.Errorf("%s: the answer holds the secret", tt.name)
		}
	}
}

func FuzzWebhook(f *testing.F) {
	body := []byte(`{"id":"evt_1","type":"CAPTURE","operation":"x","reference":"r","amount":1,"currency":"USD"}`)
	at := time.Unix(1_767_323_045, 0)
	f.Add(sign([]byte("whsec"), body, at), body)
	f.Add("t=1,v1=00", []byte(`{}`))
	f.Add("", []byte(`[]`))
	b := &sandbox{secret: []byte("whsec")}
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		if verify(b.secret, header, body, at) == nil && verify([]byte("other"), header, body, at) == nil {
			t.Errorf("verify(%q) holds under two secrets", header)
		}
		event, err := b.ParseWebhook(http.Header{signatureHeader: {sign(b.secret, body, at)}}, body, at)
		if err == nil && (event.ID == "" || event.Key == "" || event.Kind == "") {
			t.Errorf("ParseWebhook(%q) = %+v, want an id, a kind and a key", body, event)
		}
	})
}
