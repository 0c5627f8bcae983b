package payment

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
	"tienda/web"
)

var migrations = []sqldb.Migrations{Migrations, journal.Migrations}

var dollars = api.Currency{Code: "USD", Digits: 2}

// orders is an order-service of four orders, of the users with the same numbers.
type orders struct {
	mu        sync.Mutex
	down      bool
	calls     int
	standings map[api.ID]api.OrderStanding // of those that say more than that they are confirmed
	gone      map[api.ID]bool
}

// OrderStandings tells that orders are confirmed, unless they are gone or it is told otherwise.
func (o *orders) OrderStandings(ctx context.Context, ids []api.ID) ([]api.OrderStanding, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return nil, api.Unavailable("order-service")
	}
	if api.Token(ctx) == "" {
		return nil, api.Unauthorized("a component's token is needed")
	}
	var found []api.OrderStanding
	for _, id := range ids {
		standing, told := o.standings[id]
		switch {
		case o.gone[id]:
		case told:
			found = append(found, standing)
		default:
			found = append(found, api.OrderStanding{OrderID: id, Status: api.OrderConfirmed})
		}
	}
	return found, nil
}

func (o *orders) Order(_ context.Context, id api.ID) (api.Order, error) {
	if o.down || id > 4 {
		return api.Order{}, api.NotFound("Order with id: %d not found", id)
	}
	return api.Order{OrderID: id, OrderDesc: new("init"), OrderFee: new(dollars.Amount(9999)), Cart: &api.Cart{CartID: id}, UserID: id}, nil
}

func (o *orders) Orders(ctx context.Context, ids []api.ID) ([]api.Order, error) {
	o.mu.Lock()
	o.calls++
	o.mu.Unlock()
	if o.down {
		return nil, api.Unavailable("order-service")
	}
	var found []api.Order
	for _, id := range ids {
		if order, err := o.Order(ctx, id); err == nil {
			found = append(found, order)
		}
	}
	return found, nil
}

// clock is a time that only moves when it is told to.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// shop is a payment-service under test.
type shop struct {
	*Service
	t      *testing.T
	server *httptest.Server
	clock  *clock
	orders *orders
}

func open(t *testing.T, db *sqldb.DB) *shop {
	t.Helper()
	settings := DefaultSettings()
	settings.ProviderTimeout = 5 * time.Second
	settings.Sandbox.SlowAnswer = time.Millisecond
	settings.Sandbox.WebhookSecret = "whsec"
	h := &shop{t: t, clock: &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, orders: &orders{}}
	var err error
	identity := auth.NewIdentity("payment-service", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), h.clock.now)
	if h.Service, err = New(db, h.orders, identity, dollars, settings, slog.New(slog.DiscardHandler), h.clock.now); err != nil {
		t.Fatal(err)
	}
	handler, err := web.New(web.API{Name: "payment-service", Context: "/payment-service", Routes: h.Routes(), Verify: whoever, Log: h.log})
	if err != nil {
		t.Fatal(err)
	}
	h.server = httptest.NewServer(handler)
	t.Cleanup(h.server.Close)
	return h
}

// whoever takes tokens that say who they are for: "user:5", "admin:4", "service:order-service".
func whoever(_ context.Context, token string) (auth.Caller, error) {
	kind, name, _ := strings.Cut(token, ":")
	id, _ := api.ParseID(name)
	switch kind {
	case "user":
		return auth.Caller{Username: name, UserID: id, Roles: []string{api.RoleUser}}, nil
	case "admin":
		return auth.Caller{Username: name, UserID: id, Roles: []string{api.RoleAdmin}}, nil
	case "service":
		return auth.Caller{Service: name}, nil
	}
	return auth.Caller{}, auth.ErrToken
}

const (
	admin   = "admin:4"
	service = "service:order-service"
)

// answer is what the service answered.
type answer struct {
	status int
	header http.Header
	body   string
}

// call makes a request; header holds names and values in turn.
func (h *shop) call(token, method, path, body string, header ...string) answer {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.t.Context(), method, h.server.URL+"/payment-service/api"+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(bytes.TrimSpace(data))}
}

// with makes a request under an Idempotency-Key.
func (h *shop) with(key, token, path, body string) answer {
	h.t.Helper()
	return h.call(token, http.MethodPost, path, body, "Idempotency-Key", key)
}

func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status = %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

func into[T any](t *testing.T, a answer) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(a.body), &value); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return value
}

func authorization(order int, amount, token string) string {
	return fmt.Sprintf(`{"orderId":%d,"userId":5,"amount":%s,"currency":"USD","paymentMethod":{"provider":"sandbox","token":%q}}`, order, amount, token)
}

func TestPlainPayments(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		for range 2 {
			if err := Demo(t.Context(), db, h.clock.now()); err != nil {
				t.Fatal(err)
			}
		}
		created := h.call(admin, "POST", "/payments/", `{"isPayed":false,"paymentStatus":"NOT_STARTED","orderDto":{"orderId":"16","extra":1},"note":"x"}`).want(t, 201)
		if want := `{"paymentId":5,"isPayed":false,"paymentStatus":"NOT_STARTED","order":{"orderId":16,"orderDate":null,"orderDesc":null,"orderFee":null}}`; created.body != want {
			t.Errorf("POST /payments = %s, want %s", created.body, want)
		}
		if got, want := created.header.Get("Location"), "/payment-service/api/payments/5"; got != want {
			t.Errorf("Location = %s, want %s", got, want)
		}
		// Updates leave alone what the body does not have.
		h.call(admin, "PUT", "/payments", `{"paymentId":"5","isPayed":true}`).want(t, 200)
		h.call(service, "POST", "/payments", `{"paymentId":5,"paymentStatus":"COMPLETED"}`).want(t, 200)
		got := h.call(admin, "GET", "/payments/5", "").want(t, 200)
		if want := `{"paymentId":5,"isPayed":true,"paymentStatus":"COMPLETED","order":{"orderId":16,"orderDate":null,"orderDesc":null,"orderFee":null}}`; got.body != want {
			t.Errorf("GET /payments/5 = %s, want %s", got.body, want)
		}
		// An order that is known is shown, without its cart.
		got = h.call("user:2", "GET", "/payments/2", "").want(t, 200)
		if want := `{"paymentId":2,"isPayed":false,"paymentStatus":"IN_PROGRESS","order":{"orderId":2,"orderDate":null,"orderDesc":"init","orderFee":99.99}}`; got.body != want {
			t.Errorf("GET /payments/2 = %s, want %s", got.body, want)
		}
		h.call(admin, "DELETE", "/payments/5", "").want(t, 200)
		h.call(admin, "DELETE", "/payments/5", "").want(t, 404)
		h.call(admin, "PUT", "/payments", `{"paymentId":999,"order":{"orderId":1}}`).want(t, 201)
		missing := into[api.Problem](t, h.call(admin, "GET", "/payments/77", "").want(t, 404))
		if want := "#### Payment with id: 77 not found! ####"; missing.Msg != want {
			t.Errorf("msg = %q, want %q", missing.Msg, want)
		}
	})
}

func TestPlainPaymentsRefused(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	for _, tt := range []struct {
		name, method, path, body string
		want                     int
	}{
		{"no order", "POST", "/payments", `{"isPayed":true}`, 422},
		{"order without id", "POST", "/payments", `{"order":{}}`, 422},
		{"negative order", "POST", "/payments", `{"order":{"orderId":-1}}`, 422},
		{"unknown status", "POST", "/payments", `{"paymentStatus":"DONE","order":{"orderId":1}}`, 422},
		{"wrong type", "POST", "/payments", `{"isPayed":"perhaps"}`, 400},
		{"malformed", "POST", "/payments", `{`, 400},
		{"no body", "POST", "/payments", ``, 400},
		{"not a number", "GET", "/payments/abc", ``, 404},
		{"too large a number", "GET", "/payments/99999999999999999999", ``, 404},
		{"delete of none", "DELETE", "/payments/-1", ``, 404},
		{"bad filter", "GET", "/payments?orderId=x", ``, 400},
		{"bad sort", "GET", "/payments?sort=token,asc", ``, 422},
		{"large page", "GET", "/payments?size=1001", ``, 422},
		{"no route", "PUT", "/payments/1", `{}`, 405},
	} {
		if got := h.call(admin, tt.method, tt.path, tt.body); got.status != tt.want {
			t.Errorf("%s: %s %s = %d, want %d: %s", tt.name, tt.method, tt.path, got.status, tt.want, got.body)
		}
	}
}

func TestOwnership(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		if err := Demo(t.Context(), db, h.clock.now()); err != nil {
			t.Fatal(err)
		}
		h.with("k", service, "/payments/authorize", authorization(9, "10", tokenOK)).want(t, 201) // of user 5
		foreign, unknown := h.call("user:1", "GET", "/payments/2", "").want(t, 404), h.call("user:1", "GET", "/payments/99", "").want(t, 404)
		if a, b := into[api.Problem](t, foreign).Title, into[api.Problem](t, unknown).Title; a != b {
			t.Errorf("foreign = %q, unknown = %q, want no difference", a, b)
		}
		for token, want := range map[string][]api.ID{"user:2": {2}, "user:5": {5}, "user:6": nil, admin: {1, 2, 3, 4, 5}, service: {1, 2, 3, 4, 5}} {
			list := h.call(token, "GET", "/payments", "")
			if token == service {
				list.want(t, 403) // components read on behalf of a user or administrator
				continue
			}
			var got []api.ID
			for _, p := range into[api.List[api.Payment]](t, list.want(t, 200)).Collection {
				got = append(got, p.PaymentID)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("payments of %s (-want +got):\n%s", token, diff)
			}
		}
		h.call("", "GET", "/payments", "").want(t, 401)
		h.call("user:1", "POST", "/payments", `{"order":{"orderId":1}}`).want(t, 403)
		h.call("user:1", "DELETE", "/payments/1", "").want(t, 403)
		h.call(admin, "POST", "/payments/authorize", "{}").want(t, 403)
		h.call("user:5", "POST", "/payments/5/refund", "{}").want(t, 403)
		h.call("user:5", "GET", "/ledger", "").want(t, 403)
	})
}

func TestListAsksOnce(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	for order := range 12 {
		h.call(admin, "POST", "/payments", fmt.Sprintf(`{"order":{"orderId":%d}}`, order%4+1)).want(t, 201)
	}
	page := into[api.List[api.Payment]](t, h.call(admin, "GET", "/payments?size=5&page=1&sort=orderId,desc", "").want(t, 200))
	if got, want := h.orders.calls, 1; got != want {
		t.Errorf("calls to order-service = %d, want %d", got, want)
	}
	if got, want := len(page.Collection), 5; got != want || page.Page.TotalElements != 12 {
		t.Errorf("page = %d of %d, want %d of 12", got, page.Page.TotalElements, want)
	}
	list := into[api.List[api.Payment]](t, h.call(admin, "GET", "/payments?orderIds=1,2&ids=1,2,3,5", "").want(t, 200))
	if got, want := len(list.Collection), 3; got != want {
		t.Errorf("filtered = %d, want %d", got, want)
	}
	if got := h.call(admin, "GET", "/payments?orderIds=", "").want(t, 200); !strings.HasPrefix(got.body, `{"collection":[]`) {
		t.Errorf("payments of no order = %s, want none", got.body)
	}
	h.orders.down = true
	list = into[api.List[api.Payment]](t, h.call(admin, "GET", "/payments?orderId=3", "").want(t, 200))
	if got := list.Collection[0].Order; got.OrderID != 3 || got.OrderFee != nil {
		t.Errorf("order without order-service = %+v, want the bare id", got)
	}
}

func TestPagesByCursor(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	for range 7 {
		h.call(admin, "POST", "/payments", `{"order":{"orderId":1}}`).want(t, 201)
	}
	var got []api.ID
	for path := "/payments?size=3"; ; {
		page := into[api.List[api.Payment]](t, h.call(admin, "GET", path, "").want(t, 200))
		for _, p := range page.Collection {
			got = append(got, p.PaymentID)
		}
		if page.Page.Next == "" {
			break
		}
		path = "/payments?size=3&after=" + page.Page.Next
	}
	if diff := cmp.Diff([]api.ID{1, 2, 3, 4, 5, 6, 7}, got); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	settings := DefaultSettings()
	settings.ProviderTimeout = 0
	if _, err := New(nil, nil, nil, dollars, settings, nil, time.Now); err == nil {
		t.Error("New with no provider timeout = nil error, want one")
	}
	settings = DefaultSettings()
	settings.UnclaimedAfter = 0
	if _, err := New(nil, nil, nil, dollars, settings, nil, time.Now); err == nil {
		t.Error("New with charges unclaimed at once = nil error, want one")
	}
	settings = DefaultSettings()
	settings.Sandbox.Enabled = false
	s, err := New(nil, nil, nil, dollars, settings, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.providers[sandboxName]; got != nil {
		t.Error("the sandbox is there although disabled")
	}
	if got := len((*Service)(nil).Routes()); got == 0 {
		t.Error("routes of a nil Service = 0, want the table")
	}
}

func TestRunEndsWithContext(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	h.with("k", service, "/payments/authorize", authorization(1, "10", tokenErrorThenOK)).want(t, 503)
	h.clock.forward(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- h.Run(ctx) }()
	deadline := time.Now().Add(10 * time.Second)
	for h.call(admin, "GET", "/payments/1", "").status != 200 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	h.call(admin, "GET", "/payments/1", "").want(t, 200)
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want nil", err)
	}
}
