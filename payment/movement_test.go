package payment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// money is what the books say of one payment: ours, the ledger and the sandbox's.
type money struct {
	State                      string
	Captured, Refunded         int64
	Receivable, Sales          int64
	SandboxCaptured, SandboxRe int64
	Charges                    int
}

func (h *shop) money(id api.ID) money {
	h.t.Helper()
	ctx := h.t.Context()
	row, err := recordByID(ctx, h.db, id)
	if err != nil {
		h.t.Fatal(err)
	}
	m := money{State: row.state, Captured: row.captured, Refunded: row.refunded}
	for account, sum := range map[string]*int64{"receivable:sandbox": &m.Receivable, accountSales: &m.Sales} {
		err := h.db.QueryRow(ctx, `SELECT COALESCE(SUM(amount), 0) FROM ledger_postings WHERE payment_id = ? AND account = ?`, int64(id), account).Scan(sum)
		if err != nil {
			h.t.Fatal(err)
		}
	}
	err = h.db.QueryRow(ctx, `SELECT COUNT(*), COALESCE(SUM(captured_amount), 0), COALESCE(SUM(refunded_amount), 0) FROM sandbox_charges WHERE payment_id = ?`,
		int64(id)).Scan(&m.Charges, &m.SandboxCaptured, &m.SandboxRe)
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

func (h *shop) wantMoney(id api.ID, want money) {
	h.t.Helper()
	if diff := cmp.Diff(want, h.money(id)); diff != "" {
		h.t.Errorf("money of payment %d (-want +got):\n%s", id, diff)
	}
}

// paymentOf is the one payment of an order. Its id is not always the next: InnoDB gives an id for good,
// also to an insert that comes to nothing.
func (h *shop) paymentOf(order int) (id api.ID) {
	h.t.Helper()
	if err := h.db.QueryRow(h.t.Context(), `SELECT payment_id FROM payments WHERE order_id = ?`, order).Scan(&id); err != nil {
		h.t.Fatal(err)
	}
	return id
}

// authorized makes a payment of an amount.
func (h *shop) authorized(amount string) api.ID {
	h.t.Helper()
	a := h.with("authorize-"+h.t.Name(), service, "/payments/authorize", authorization(7, amount, tokenOK)).want(h.t, 201)
	return into[api.Payment](h.t, a).PaymentID
}

func TestTokens(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		h.settings.ProviderTimeout = 2 * time.Second
		for i, tt := range []struct {
			token   string
			first   int // status of the first answer
			status  int // and of the second
			failure string
		}{
			{tokenOK, 201, 201, ""},
			{tokenDeclined, 402, 402, "card_declined"},
			{tokenInsufficientFunds, 402, 402, "insufficient_funds"},
			{"tok_unheard_of", 402, 402, "invalid_token"},
			{tokenErrorThenOK, 503, 201, ""},
			{tokenLostAnswer, 503, 201, ""},
			{tokenSlow, 201, 201, ""},
			{tokenWebhookFirst, 201, 201, ""},
			{tokenDuplicateWebhook, 201, 201, ""},
		} {
			body, key := authorization(i+1, "99.99", tt.token), "order-authorize"+tt.token
			first := h.with(key, service, "/payments/authorize", body)
			second := h.with(key, service, "/payments/authorize", body)
			if first.status != tt.first || second.status != tt.status {
				t.Errorf("authorize with %s = %d, then %d, want %d, then %d: %s", tt.token, first.status, second.status, tt.first, tt.status, second.body)
				continue
			}
			for range 3 {
				if err := h.sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			third := h.with(key, service, "/payments/authorize", body).want(t, tt.status)
			if got := third.header.Get("Idempotency-Replayed"); got != "true" {
				t.Errorf("Idempotency-Replayed with %s = %q, want true", tt.token, got)
			}
			id := h.paymentOf(i + 1)
			if tt.status == 402 {
				if got := into[api.Problem](t, third).FailureCode; got != tt.failure {
					t.Errorf("failureCode of %s = %q, want %q", tt.token, got, tt.failure)
				}
				h.wantMoney(id, money{State: api.PaymentDeclined})
			} else {
				if got := third.header.Get("Location"); got != location(id) {
					t.Errorf("Location = %q, want %q", got, location(id))
				}
				h.wantMoney(id, money{State: api.PaymentAuthorized, Charges: 1})
				h.with("c"+tt.token, service, "/payments/"+id.String()+"/capture", "").want(t, 200)
				h.wantMoney(id, money{State: api.PaymentCaptured, Captured: 9999, Receivable: 9999, Sales: -9999, SandboxCaptured: 9999, Charges: 1})
			}
		}
		var tokens int
		if err := db.QueryRow(t.Context(), `SELECT COUNT(*) FROM payment_operations WHERE token <> ''`).Scan(&tokens); err != nil || tokens != 0 {
			t.Errorf("tokens still stored = %d, %v, want 0", tokens, err)
		}
		var events int
		if err := db.QueryRow(t.Context(), `SELECT COUNT(*) FROM sandbox_events`).Scan(&events); err != nil || events != 0 {
			t.Errorf("events to deliver = %d, %v, want 0", events, err)
		}
	})
}

func TestStoryOfOnePayment(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		id := h.authorized("100")
		path := "/payments/" + id.String()
		h.call(admin, "PUT", "/payments", fmt.Sprintf(`{"paymentId":%d,"isPayed":true}`, id)).want(t, 409)
		h.call(admin, "DELETE", path, "").want(t, 409)
		h.with("r0", service, path+"/refund", `{}`).want(t, 409)
		h.with("c0", service, path+"/capture", `{"amount":100.01}`).want(t, 409)
		h.with("c1", service, path+"/capture", `{"amount":60}`).want(t, 200)
		h.with("c1", service, path+"/capture", `{"amount":70}`).want(t, 422) // the key was for something else
		h.with("v0", service, path+"/void", `{}`).want(t, 409)
		h.with("c2", service, path+"/capture", ``).want(t, 200)
		h.with("c3", service, path+"/capture", `{"amount":0.01}`).want(t, 409)
		captured := h.call("user:5", "GET", path, "").want(t, 200)
		want := `{"paymentId":1,"isPayed":true,"paymentStatus":"COMPLETED","order":{"orderId":7,"orderDate":null,"orderDesc":null,"orderFee":null},` +
			`"state":"CAPTURED","amount":100.00,"capturedAmount":100.00,"refundedAmount":0.00,"currency":"USD","provider":"sandbox","providerReference":`
		if !strings.HasPrefix(captured.body, want) {
			t.Errorf("captured = %s, want %s…", captured.body, want)
		}
		h.with("r1", admin, path+"/refund", `{"amount":30.5,"reason":"broken"}`).want(t, 200)
		h.wantMoney(id, money{State: api.PaymentPartiallyRefunded, Captured: 10000, Refunded: 3050, Receivable: 6950, Sales: -6950,
			SandboxCaptured: 10000, SandboxRe: 3050, Charges: 1})
		h.with("r2", admin, path+"/refund", `{"amount":69.51}`).want(t, 409)
		h.with("r2", admin, path+"/refund", `{"amount":69.51}`).want(t, 409)
		refunded := into[api.Payment](t, h.with("r3", admin, path+"/refund", `{}`).want(t, 200))
		if refunded.State != api.PaymentRefunded || *refunded.IsPayed {
			t.Errorf("refunded = %s, isPayed %v, want REFUNDED, false", refunded.State, *refunded.IsPayed)
		}
		replayed := h.with("r1", admin, path+"/refund", `{"amount":30.5,"reason":"broken"}`).want(t, 200)
		if got := into[api.Payment](t, replayed).State; got != api.PaymentPartiallyRefunded {
			t.Errorf("replay of the first refund = %s, want the answer of then", got)
		}
		postings := into[[]api.Posting](t, h.call(admin, "GET", "/ledger?orderId=7", "").want(t, 200))
		if got, want := len(postings), 8; got != want {
			t.Errorf("postings = %d, want %d", got, want)
		}
		if got := into[[]api.Posting](t, h.call(admin, "GET", "/ledger?orderId=8", "").want(t, 200)); len(got) != 0 {
			t.Errorf("postings of another order = %v, want none", got)
		}
		h.clock.forward(time.Minute)
		var changes []string
		for _, event := range into[api.List[api.Event]](t, h.call(admin, "GET", "/events?after=0", "").want(t, 200)).Collection {
			changes = append(changes, event.Actor+" "+event.Change)
		}
		if diff := cmp.Diff([]string{"order-service AUTHORIZED", "order-service CAPTURED", "order-service CAPTURED",
			"admin:4 PARTIALLY_REFUNDED", "admin:4 REFUNDED"}, changes); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestVoid(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		path := "/payments/" + h.authorized("10").String()
		h.with("v", service, path+"/void", `{"amount":5}`).want(t, 422)
		for range 2 {
			h.with("v1", service, path+"/void", `{}`).want(t, 200)
		}
		h.with("v2", service, path+"/void", `{}`).want(t, 409)
		h.with("c", service, path+"/capture", `{}`).want(t, 409)
		h.with("r", service, path+"/refund", `{}`).want(t, 409)
		h.wantMoney(1, money{State: api.PaymentVoided, Charges: 1})
	})
}

func TestMovementsRefused(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	h.call(admin, "POST", "/payments", `{"order":{"orderId":1}}`).want(t, 201)
	ok := authorization(1, "10", tokenOK)
	for _, tt := range []struct {
		name, path, body string
		want             int
		says             string
	}{
		{"no order", "/payments/authorize", strings.Replace(ok, `"orderId":1`, `"orderId":0`, 1), 422, "orderId"},
		{"no money", "/payments/authorize", authorization(1, "0", tokenOK), 422, "amount"},
		{"negative", "/payments/authorize", authorization(1, "-5", tokenOK), 422, "amount"},
		{"too precise", "/payments/authorize", authorization(1, "1.001", tokenOK), 422, "decimals"},
		{"too large", "/payments/authorize", authorization(1, "1e17", tokenOK), 422, "too large"},
		{"other currency", "/payments/authorize", strings.Replace(ok, "USD", "EUR", 1), 422, "USD"},
		{"provider not configured", "/payments/authorize", strings.Replace(ok, `"sandbox"`, `"stripe"`, 1), 422, "sandbox"},
		{"no token", "/payments/authorize", authorization(1, "1", ""), 422, "token"},
		{"long token", "/payments/authorize", authorization(1, "1", strings.Repeat("x", 256)), 422, "token"},
		{"control character", "/payments/authorize", strings.Replace(ok, "tok_ok", `tok\u0000`, 1), 422, "control"},
		{"misspelt field", "/payments/authorize", strings.Replace(ok, "userId", "user", 1), 400, "user"},
		{"wrong type", "/payments/authorize", strings.Replace(ok, `"amount":10`, `"amount":{}`, 1), 400, ""},
		{"plain payment", "/payments/1/refund", `{}`, 409, "plain"},
		{"unknown payment", "/payments/9/capture", `{}`, 404, "Payment with id: 9 not found"},
		{"not a number", "/payments/x/capture", `{}`, 404, ""},
		{"list", "/payments/1/capture", `[]`, 400, ""},
		{"reason too long", "/payments/1/refund", `{"reason":"` + strings.Repeat("x", 300) + `"}`, 422, "reason"},
	} {
		got := h.with("k-"+strings.ReplaceAll(tt.name, " ", "-"), service, tt.path, tt.body)
		if got.status != tt.want || !strings.Contains(got.body, tt.says) {
			t.Errorf("%s = %d, want %d saying %q: %s", tt.name, got.status, tt.want, tt.says, got.body)
		}
	}
	h.call(service, "POST", "/payments/authorize", ok).want(t, 400) // without a key
}

// flaky is a provider that dies before or after it does what it is asked.
type flaky struct {
	Provider
	mu     sync.Mutex
	before map[Kind]int // how many calls of a kind fail without effect
	after  map[Kind]int // and then how many with
}

var errDied = errors.New("the connection broke")

func (f *flaky) do(ctx context.Context, kind Kind, request Request) (Result, error) {
	f.mu.Lock()
	before, after := f.before[kind] > 0, f.after[kind] > 0
	if before {
		f.before[kind]--
	} else if after {
		f.after[kind]--
	}
	f.mu.Unlock()
	if before {
		return Result{}, errDied
	}
	result, err := call(ctx, f.Provider, kind, request)
	if after {
		return Result{}, errDied
	}
	return result, err
}

// asked is a provider whose movements all go through do.
type asked struct {
	Provider
	do func(ctx context.Context, kind Kind, request Request) (Result, error)
}

func (p asked) Authorize(ctx context.Context, r Request) (Result, error) {
	return p.do(ctx, KindAuthorize, r)
}
func (p asked) Capture(ctx context.Context, r Request) (Result, error) {
	return p.do(ctx, KindCapture, r)
}
func (p asked) Void(ctx context.Context, r Request) (Result, error) { return p.do(ctx, KindVoid, r) }
func (p asked) Refund(ctx context.Context, r Request) (Result, error) {
	return p.do(ctx, KindRefund, r)
}

func (h *shop) flaky(before, after map[Kind]int) {
	f := &flaky{Provider: h.providers[sandboxName], before: before, after: after}
	h.providers[sandboxName] = asked{f, f.do}
}

// Each movement loses its answer before or after the provider did it. The caller asks again, or the
// service does so by itself, also one that was started anew.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		order := 0
		for _, by := range []string{"the caller", "the background", "the background after a restart"} {
			for _, moment := range []string{"before", "after"} {
				order++
				h := open(t, db)
				losses := map[Kind]int{KindAuthorize: 1, KindCapture: 1, KindRefund: 1}
				if moment == "before" {
					h.flaky(losses, nil)
				} else {
					h.flaky(nil, losses)
				}
				var id api.ID
				try := func(key, path, body string) {
					t.Helper()
					key = fmt.Sprintf("%s-%d", key, order)
					h.with(key, service, path, body).want(t, 503)
					if by == "the background after a restart" {
						clock, provider := h.clock, h.providers[sandboxName]
						h = open(t, db)
						h.clock, h.now, h.sandbox.now = clock, clock.now, clock.now
						h.providers[sandboxName] = provider
					}
					if by != "the caller" {
						h.clock.forward(time.Minute)
						if err := h.sweep(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					payment := into[api.Payment](t, h.with(key, service, path, body))
					id = payment.PaymentID
				}
				try("a", "/payments/authorize", authorization(order, "20", tokenOK))
				try("c", "/payments/"+id.String()+"/capture", "{}")
				try("r", "/payments/"+id.String()+"/refund", `{"amount":5}`)
				t.Logf("%s, lost %s", by, moment)
				h.wantMoney(id, money{State: api.PaymentPartiallyRefunded, Captured: 2000, Refunded: 500, Receivable: 1500, Sales: -1500,
					SandboxCaptured: 2000, SandboxRe: 500, Charges: 1})
			}
		}
	})
}

// interrupted is a provider that does something before it is asked to authorize.
type interrupted struct {
	Provider
	first func()
}

func (p interrupted) Authorize(ctx context.Context, r Request) (Result, error) {
	p.first()
	return p.Provider.Authorize(ctx, r)
}

// The caller goes away while the provider works: the outcome is taken in all the same.
func TestCallerGoesAway(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone := make(chan struct{})
	h.providers[sandboxName] = interrupted{h.providers[sandboxName], func() {
		cancel()
		<-gone
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.server.URL+"/payment-service/api/payments/authorize",
		strings.NewReader(authorization(7, "10", tokenOK)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+service)
	request.Header.Set("Idempotency-Key", "k")
	response, err := http.DefaultClient.Do(request)
	close(gone)
	if err == nil {
		_ = response.Body.Close()
		t.Fatal("the answer came, want the caller gone")
	}
	h.server.Close() // waits for the request
	h.wantMoney(1, money{State: api.PaymentAuthorized, Charges: 1})
}

func TestSameKeyTogether(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		var group sync.WaitGroup
		statuses := make([]int, 20)
		for i := range statuses {
			group.Go(func() {
				for statuses[i] == 0 || statuses[i] == 409 {
					statuses[i] = h.with("k", service, "/payments/authorize", authorization(7, "10", tokenOK)).status
				}
			})
		}
		group.Wait()
		for _, status := range statuses {
			if status != 201 {
				t.Errorf("authorize = %d, want 201", status)
			}
		}
		list := into[api.List[api.Payment]](t, h.call(admin, "GET", "/payments", "").want(t, 200))
		if got := len(list.Collection); got != 1 {
			t.Fatalf("payments = %d, want 1", got)
		}
		h.wantMoney(h.paymentOf(7), money{State: api.PaymentAuthorized, Charges: 1})
	})
}

// A charge that the sandbox failed to make is made once, however many ask for it again together.
func TestSandboxChargesOnce(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		for i := range 10 {
			request := Request{Key: fmt.Sprint("k", i), PaymentID: api.ID(i + 1), OrderID: 7, Amount: 100, Currency: "USD", Token: tokenErrorThenOK}
			if _, err := h.providers[sandboxName].Authorize(t.Context(), request); !errors.Is(err, errSandbox) {
				t.Fatalf("Authorize = %v, want the error that the token asks for", err)
			}
			var group sync.WaitGroup
			references := make([]string, 8)
			for j := range references {
				group.Go(func() {
					result, err := h.providers[sandboxName].Authorize(t.Context(), request)
					if err != nil {
						t.Errorf("Authorize again = %v", err)
					}
					references[j] = result.Reference
				})
			}
			group.Wait()
			var charges int
			if err := db.QueryRow(t.Context(), `SELECT COUNT(*) FROM sandbox_charges WHERE payment_id = ?`, i+1).Scan(&charges); err != nil || charges != 1 {
				t.Errorf("charges = %d, %v, want 1", charges, err)
			}
			slices.Sort(references)
			if got := slices.Compact(references); len(got) != 1 || got[0] == "" {
				t.Errorf("references = %q, want one", got)
			}
		}
	})
}

func TestRefundsTogether(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		h.flaky(nil, map[Kind]int{KindRefund: 3}) // some of them with an open outcome for a while
		path := "/payments/" + h.authorized("100").String()
		h.with("c", service, path+"/capture", "{}").want(t, 200)
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				h.with(fmt.Sprintf("r%d", i), service, path+"/refund", `{"amount":9}`)
			})
		}
		group.Wait()
		h.clock.forward(time.Minute)
		if err := h.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.wantMoney(1, money{State: api.PaymentPartiallyRefunded, Captured: 10000, Refunded: 9900, Receivable: 100, Sales: -100,
			SandboxCaptured: 10000, SandboxRe: 9900, Charges: 1})
		h.with("late", service, path+"/refund", `{"amount":9}`).want(t, 409)
	})
}

// A movement whose outcome is open keeps others from a final no.
func TestOpenOutcome(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	h.flaky(map[Kind]int{KindCapture: 1}, nil)
	path := "/payments/" + h.authorized("10").String()
	h.with("c", service, path+"/capture", "{}").want(t, 503)
	got := h.with("v", service, path+"/void", "{}").want(t, 503)
	if got.header.Get("Retry-After") == "" {
		t.Error("Retry-After is missing")
	}
	h.with("c", service, path+"/capture", "{}").want(t, 200)
	h.with("v", service, path+"/void", "{}").want(t, 409)
}

// The provider's own no to a capture gives the reserved money back.
func TestProviderRefusesCapture(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	path := "/payments/" + h.authorized("10").String()
	err := h.db.Tx(t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE sandbox_charges SET voided = ?`, true)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		refused := into[api.Problem](t, h.with("c", service, path+"/capture", "{}").want(t, 409))
		if got, want := refused.FailureCode, "capture_too_large"; got != want {
			t.Errorf("failureCode = %q, want %q", got, want)
		}
	}
	row, err := recordByID(t.Context(), h.db, 1)
	if err != nil || row.moving() || row.state != api.PaymentAuthorized {
		t.Errorf("payment = %+v, %v, want AUTHORIZED with nothing reserved", row, err)
	}
}

// What began with a provider is not forgotten when the provider is configured no more.
func TestProviderGone(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	h.flaky(nil, map[Kind]int{KindAuthorize: 1})
	body := authorization(7, "10", tokenOK)
	h.with("a", service, "/payments/authorize", body).want(t, 503)
	provider := h.providers[sandboxName]
	delete(h.providers, sandboxName)
	h.with("a", service, "/payments/authorize", body).want(t, 503)
	h.with("b", service, "/payments/authorize", body).want(t, 422)
	h.providers[sandboxName] = provider
	h.with("a", service, "/payments/authorize", body).want(t, 201)
	h.wantMoney(1, money{State: api.PaymentAuthorized, Charges: 1})
}

// Keys outlive the journal's memory of them.
func TestKeyAfterADay(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	body := authorization(7, "10", tokenOK)
	h.with("k", service, "/payments/authorize", body).want(t, 201)
	h.clock.forward(25 * time.Hour)
	h.with("k", service, "/payments/authorize", body).want(t, 201)
	h.clock.forward(25 * time.Hour)
	h.with("k", service, "/payments/authorize", authorization(7, "11", tokenOK)).want(t, 422)
	h.wantMoney(1, money{State: api.PaymentAuthorized, Charges: 1})
	if got := into[api.List[api.Payment]](t, h.call(admin, "GET", "/payments", "")); len(got.Collection) != 1 {
		t.Errorf("payments = %d, want 1", len(got.Collection))
	}
}

// legalStates are the states that a payment in a state can go to, written down a second time.
var legalStates = map[string]string{
	pending:                      "AUTHORIZED DECLINED FAILED",
	api.PaymentAuthorized:        "CAPTURED VOIDED",
	api.PaymentCaptured:          "PARTIALLY_REFUNDED REFUNDED",
	api.PaymentPartiallyRefunded: "REFUNDED",
	api.PaymentRefunded:          "PARTIALLY_REFUNDED", // when a second capture ends after the refund of the first
}

// TestStates drives payments through random movements and outcomes, in any order of their ends.
func TestStates(t *testing.T) {
	t.Parallel()
	type running struct {
		kind   Kind
		amount int64
	}
	rapid.Check(t, func(t *rapid.T) {
		p := record{state: pending, amount: rapid.Int64Range(1, 1000).Draw(t, "amount")}
		open := []running{{KindAuthorize, p.amount}}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			kind := rapid.SampledFrom([]Kind{KindCapture, KindVoid, KindRefund}).Draw(t, "kind")
			if left, allowed := p.left(kind); allowed && left > 0 && rapid.Bool().Draw(t, "begin") {
				amount := left
				if kind != KindVoid {
					amount = rapid.Int64Range(1, left).Draw(t, "part")
				}
				p = p.reserve(kind, amount)
				open = append(open, running{kind, amount})
			} else if len(open) > 0 {
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				var refusal *Refusal
				if rapid.Bool().Draw(t, "refused") {
					refusal = &Refusal{Code: "no", Declined: rapid.Bool().Draw(t, "declined")}
				}
				was := p.state
				p = p.settle(open[i].kind, open[i].amount, "ref", refusal)
				open = append(open[:i:i], open[i+1:]...)
				if p.state != was && !strings.Contains(legalStates[was], p.state) {
					t.Fatalf("%s → %s by %+v, want one of %q", was, p.state, refusal, legalStates[was])
				}
			}
			inOrder := slices.IsSorted([]int64{0, p.refunded, p.refundReserved, p.captured, p.captureReserved, p.amount})
			if !inOrder {
				t.Fatalf("amounts do not hold: %+v", p)
			}
			if p.moving() != (len(open) > 0) {
				t.Fatalf("moving = %v with %d operations under way", p.moving(), len(open))
			}
			if p.paid.Bool != (p.captured > p.refunded) {
				t.Fatalf("isPayed = %v: %+v", p.paid.Bool, p)
			}
		}
	})
}
