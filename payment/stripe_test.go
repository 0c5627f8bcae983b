package payment

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// truth is what our books and Stripe's say of one payment.
type truth struct {
	State                            string
	Captured, Refunded               int64
	Receivable, Sales                int64
	Intents, Held, Received, Refunds int64 // at Stripe, of all intents of the order
}

func (h *shop) truth(f *stripeFake, order api.ID) truth {
	h.t.Helper()
	var (
		m  truth
		id int64
	)
	row := h.db.QueryRow(h.t.Context(), `SELECT payment_id, state, captured_amount, refunded_amount FROM payments WHERE order_id = ? AND provider = 'stripe'`, int64(order))
	if err := row.Scan(&id, &m.State, &m.Captured, &m.Refunded); err != nil {
		h.t.Fatal(err)
	}
	for account, sum := range map[string]*int64{"receivable:stripe": &m.Receivable, accountSales: &m.Sales} {
		err := h.db.QueryRow(h.t.Context(), `SELECT COALESCE(SUM(amount), 0) FROM ledger_postings WHERE payment_id = ? AND account = ?`, id, account).Scan(sum)
		if err != nil {
			h.t.Fatal(err)
		}
	}
	f.do(func() {
		for _, intent := range f.intents {
			if intent.metadata[metaOrder] == order.String() {
				m.Intents++
				m.Held += intent.capturable
				m.Received += intent.received
				m.Refunds += intent.refund
			}
		}
	})
	return m
}

func (h *shop) wantTruth(f *stripeFake, order api.ID, want truth) {
	h.t.Helper()
	if diff := cmp.Diff(want, h.truth(f, order)); diff != "" {
		h.t.Errorf("order %d (-want +got):\n%s", order, diff)
	}
}

// later lets the background do what is due after a while.
func (h *shop) later(d time.Duration) {
	h.t.Helper()
	h.clock.forward(d)
	if err := h.sweep(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// withFake is a shop with Stripe's stand-in.
func withFake(t *testing.T, db *sqldb.DB) (*shop, *stripeFake) {
	t.Helper()
	h := open(t, db)
	f := openFake(t, h.clock.now)
	h.withStripe(f)
	return h, f
}

func TestStripe(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h, f := withFake(t, db)
		paid := into[api.Payment](t, h.with("a", service, "/payments/authorize", card(7, "99.99", cardOK)).want(t, 201))
		if paid.Provider != stripeName || !strings.HasPrefix(paid.ProviderReference, "pi_") {
			t.Errorf("payment = %+v, want one of stripe", paid)
		}
		path := "/payments/" + paid.PaymentID.String()
		h.with("c", service, path+"/capture", "{}").want(t, 200)
		h.with("r", admin, path+"/refund", `{"amount":30}`).want(t, 200)
		h.with("r2", admin, path+"/refund", `{"amount":70}`).want(t, 409)
		want := truth{State: api.PaymentPartiallyRefunded, Captured: 9999, Refunded: 3000, Receivable: 6999, Sales: -6999, Intents: 1, Received: 9999, Refunds: 3000}
		h.wantTruth(f, 7, want)
		for _, event := range f.happened() { // they tell nothing new, twice
			for range 2 {
				h.tell(event, h.clock.now()).want(t, 200)
			}
		}
		h.wantTruth(f, 7, want)

		voided := into[api.Payment](t, h.with("a2", service, "/payments/authorize", card(8, "5", cardOK)).want(t, 201))
		h.with("v", service, "/payments/"+voided.PaymentID.String()+"/void", "{}").want(t, 200)
		h.wantTruth(f, 8, truth{State: api.PaymentVoided, Intents: 1})

		for i, tt := range []struct{ token, code, state string }{
			{cardPoor, "insufficient_funds", api.PaymentDeclined},
			{cardAuthentication, codeAuthentication, api.PaymentDeclined},
			{cardAsks, codeAuthentication, api.PaymentDeclined},
			{cardUnknown, "resource_missing", api.PaymentFailed},
		} {
			order := 20 + i
			refused := into[api.Problem](t, h.with("d-"+tt.token, service, "/payments/authorize", card(order, "5", tt.token)).want(t, 402))
			if refused.FailureCode != tt.code {
				t.Errorf("failureCode of %s = %q, want %q", tt.token, refused.FailureCode, tt.code)
			}
			if got := h.truth(f, api.ID(order)); got.State != tt.state || got.Held+got.Received != 0 {
				t.Errorf("%s = %+v, want %s and nothing held", tt.token, got, tt.state)
			}
		}
		asked := 0
		for _, intent := range f.intents {
			if order := intent.metadata[metaOrder]; order == "21" || order == "22" { // 3-D Secure
				asked++
				if intent.status != "canceled" {
					t.Errorf("intent of order %s is %s, want it cancelled: its holder could still confirm it", order, intent.status)
				}
			}
		}
		if asked != 2 {
			t.Errorf("intents that asked for their holder = %d, want 2", asked)
		}
		for _, event := range f.happened() {
			h.tell(event, h.clock.now()).want(t, 200)
			if got := h.eventState(event.id); got != eventApplied && got != eventIgnored {
				t.Errorf("%s is %s, want it applied or ignored: %s", event.kind, got, event.body)
			}
		}
	})
}

// Each fault meets each movement: the caller asks again with the same key, and then once more.
func TestStripeFaults(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h, f := withFake(t, db)
		patient := h.settings.ProviderTimeout
		order := 0
		for _, fault := range []string{faultBefore, faultLimit, faultInUse, faultLost, faultCut, faultSlow, faultNonsense} {
			order++
			try := func(name, path, body string, status int) api.Payment {
				t.Helper()
				key := name + "-" + http.StatusText(status) + api.ID(order).String()
				f.do(func() { f.faults = []string{fault} })
				if fault == faultSlow {
					h.settings.ProviderTimeout = 300 * time.Millisecond
				}
				// The transport itself sends a request again when a connection that it had kept is broken.
				if got := h.with(key, service, path, body); got.status != 503 && (fault != faultLost || got.status != status) {
					t.Errorf("%s: first answer = %d, want 503: %s", fault, got.status, got.body)
				}
				h.settings.ProviderTimeout = patient
				f.do(func() { f.faults = nil }) // when nothing arrived in so short a time
				first := h.with(key, service, path, body).want(t, status)
				second := h.with(key, service, path, body).want(t, status)
				if first.body != second.body {
					t.Errorf("%s: second answer = %s, want %s", fault, second.body, first.body)
				}
				return into[api.Payment](t, first)
			}
			payment := try("a", "/payments/authorize", card(order, "20", cardOK), 201)
			path := "/payments/" + payment.PaymentID.String()
			try("c", path+"/capture", "{}", 200)
			try("r", path+"/refund", `{"amount":5}`, 200)
			h.wantTruth(f, api.ID(order), truth{State: api.PaymentPartiallyRefunded, Captured: 2000, Refunded: 500, Receivable: 1500, Sales: -1500,
				Intents: 1, Received: 2000, Refunds: 500})
			order++
			payment = try("a", "/payments/authorize", card(order, "20", cardOK), 201)
			try("v", "/payments/"+payment.PaymentID.String()+"/void", "{}", 200)
			h.wantTruth(f, api.ID(order), truth{State: api.PaymentVoided, Intents: 1})
		}
	})
}

// Stripe keeps a failure of its own under the key: asking again tells nothing, looking does.
func TestStripeKeepsItsFailure(t *testing.T) {
	t.Parallel()
	h, f := withFake(t, sqldbtest.Open(t, "sqlite", migrations...))
	for order, fault := range []string{faultStuck, faultStuckOK} {
		order += 1
		body := card(order, "20", cardOK)
		key := "a" + fault[len(fault)-3:]
		f.do(func() { f.faults = []string{fault} })
		h.with(key, service, "/payments/authorize", body).want(t, 503)
		h.with(key, service, "/payments/authorize", body).want(t, 503)
		h.clock.forward(3 * time.Minute)
		if fault == faultStuck {
			if got := into[api.Problem](t, h.with(key, service, "/payments/authorize", body).want(t, 402)).FailureCode; got != "provider_error" {
				t.Errorf("failureCode = %q, want provider_error", got)
			}
			continue
		}
		id := into[api.Payment](t, h.with(key, service, "/payments/authorize", body).want(t, 201)).PaymentID
		for _, kind := range []string{"/capture", "/refund"} {
			path := "/payments/" + id.String() + kind
			f.do(func() { f.faults = []string{fault} })
			h.with(key, service, path, "{}").want(t, 503)
			h.clock.forward(3 * time.Minute)
			h.with(key, service, path, "{}").want(t, 200)
		}
		h.wantTruth(f, api.ID(order), truth{State: api.PaymentRefunded, Captured: 2000, Refunded: 2000, Intents: 1, Received: 2000, Refunds: 2000})
	}
}

// After a day Stripe has forgotten the keys: what was done is found, what was not is not begun so late.
func TestStripeForgetsKeys(t *testing.T) {
	t.Parallel()
	h, f := withFake(t, sqldbtest.Open(t, "sqlite", migrations...))
	forget := func() {
		h.clock.forward(30 * time.Hour)
		f.do(func() { clear(f.keys) })
	}
	for order, fault := range []string{faultBefore, faultCut} {
		order += 1
		f.do(func() { f.faults = []string{fault} })
		h.with(fault[:3], service, "/payments/authorize", card(order, "20", cardOK)).want(t, 503)
	}
	forget()
	h.later(0)
	if got := h.truth(f, 1); got.State != api.PaymentFailed || got.Intents != 0 {
		t.Errorf("never made = %+v, want FAILED without an intent", got)
	}
	h.wantTruth(f, 2, truth{State: api.PaymentAuthorized, Intents: 1, Held: 2000})
	// Asked for the last time just before the key is too old to be trusted: Stripe's search is behind yet.
	f.do(func() { f.faults = []string{faultBefore} })
	h.with("late", service, "/payments/authorize", card(3, "20", cardOK)).want(t, 503)
	h.clock.forward(keyLife)
	f.do(func() { f.faults = []string{faultCut} })
	h.with("late", service, "/payments/authorize", card(3, "20", cardOK)).want(t, 503)
	h.clock.forward(10 * time.Second)
	h.with("late", service, "/payments/authorize", card(3, "20", cardOK)).want(t, 201)
	h.wantTruth(f, 3, truth{State: api.PaymentAuthorized, Intents: 1, Held: 2000})
	for _, kind := range []string{"/capture", "/refund"} {
		path := "/payments/2" + kind
		f.do(func() { f.faults = []string{faultCut} })
		h.with(kind[1:], service, path, "{}").want(t, 503)
		forget()
		h.later(0)
		f.do(func() { f.faults = []string{faultBefore} })
		h.with(kind[1:]+"2", service, "/payments/2/void", "{}").want(t, 409) // the movement ended
	}
	h.wantTruth(f, 2, truth{State: api.PaymentRefunded, Captured: 2000, Refunded: 2000, Intents: 1, Received: 2000, Refunds: 2000})
}

// A wrong secret key turns nobody away for good, and stands in no error.
func TestStripeKeyWrong(t *testing.T) {
	t.Parallel()
	h, f := withFake(t, sqldbtest.Open(t, "sqlite", migrations...))
	var err error
	h.providers[stripeName], err = newStripe(StripeSettings{URL: f.server.URL, SecretKey: "sk_test_wrong", WebhookSecret: fakeSecret}, dollars, h.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	h.with("a", service, "/payments/authorize", card(1, "20", cardOK)).want(t, 503)
	h.withStripe(f)
	h.with("a", service, "/payments/authorize", card(1, "20", cardOK)).want(t, 201)
	if got := verdict(KindAuthorize, errors.New("client_secret=x")).Error(); strings.Contains(got, "client_secret") {
		t.Errorf("verdict = %q, want no part of an answer in it", got)
	}
}

func TestStripeSettings(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("sk_test_1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := StripeSettings{URL: "https://api.stripe.com", SecretKeyFile: file, WebhookSecret: "whsec_1"}
	for _, tt := range []struct {
		name   string
		change func(*StripeSettings, *api.Currency)
		says   string // "" when it starts
	}{
		{"good", func(*StripeSettings, *api.Currency) {}, ""},
		{"dinars", func(_ *StripeSettings, c *api.Currency) { *c = api.Currency{Code: "TND", Digits: 3} }, ""},
		{"yen", func(_ *StripeSettings, c *api.Currency) { *c = api.Currency{Code: "JPY"} }, ""},
		{"plain http", func(s *StripeSettings, _ *api.Currency) { s.URL = "http://example.org" }, "https://"},
		{"no address", func(s *StripeSettings, _ *api.Currency) { s.URL = "" }, "https://"},
		{"no key", func(s *StripeSettings, _ *api.Currency) { s.SecretKeyFile = "" }, "secret-key is empty"},
		{"two keys", func(s *StripeSettings, _ *api.Currency) { s.SecretKey = "sk_test_2" }, "both set"},
		{"no such file", func(s *StripeSettings, _ *api.Currency) { s.SecretKeyFile = file + "2" }, "secret-key-file"},
		{"no webhook secret", func(s *StripeSettings, _ *api.Currency) { s.WebhookSecret = "" }, "webhook-secret is empty"},
		{"finer than Stripe", func(_ *StripeSettings, c *api.Currency) { *c = api.Currency{Code: "MGA", Digits: 2} }, "MGA"},
	} {
		settings, currency := good, dollars
		tt.change(&settings, &currency)
		_, err := newStripe(settings, currency, time.Now)
		if (err == nil) != (tt.says == "") || err != nil && (!strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "sk_test")) {
			t.Errorf("%s: newStripe = %v, want an error that says %q", tt.name, err, tt.says)
		}
	}
	krona, err := newStripe(good, api.Currency{Code: "ISK"}, time.Now)
	if err != nil || krona.unit != 100 {
		t.Errorf("Stripe counts ISK in hundredths: unit = %+v, %v", krona, err)
	}
}
