package order

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
	"tienda/web"
)

// each runs a test on a fresh database of every engine.
func each(t *testing.T, test func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	t.Parallel()
	sqldbtest.Each(t, []sqldb.Migrations{Migrations, journal.Migrations}, test)
}

// verify knows the tokens "user:5", "admin:4" and "service:shipping-service".
func verify(_ context.Context, token string) (auth.Caller, error) {
	kind, name, _ := strings.Cut(token, ":")
	id, ok := api.ParseID(name)
	switch {
	case kind == "user" && ok:
		return auth.Caller{UserID: id, Username: token, Roles: []string{api.RoleUser}}, nil
	case kind == "admin" && ok:
		return auth.Caller{UserID: id, Username: token, Roles: []string{api.RoleAdmin}}, nil
	case kind == "service":
		return auth.Caller{Service: name}, nil
	}
	return auth.Caller{}, auth.ErrToken
}

// fixture is one life of the service.
type fixture struct {
	*Service
	handler http.Handler
	// stop ends Run and waits for it.
	stop func()
}

type option func(*Deps, *web.API)

func withSettings(change func(*Settings)) option {
	return func(d *Deps, _ *web.API) { change(&d.Settings) }
}

func withClock(now func() time.Time) option { return func(d *Deps, _ *web.API) { d.Now = now } }

// start makes a service on a database among neighbours and runs it until the test ends or stop is called.
func start(t *testing.T, db *sqldb.DB, w *world, options ...option) *fixture {
	t.Helper()
	f := build(t, db, w, options...)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
	f.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(f.stop)
	return f
}

// build makes a service that does not run.
func build(t *testing.T, db *sqldb.DB, w *world, options ...option) *fixture {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	settings := DefaultSettings()
	settings.Wait = 20 * time.Second // tests wait for ends; those about time say so
	settings.SagaWorkers = 4
	deps := Deps{
		DB: db, Users: w, Products: w, Payments: w, Shipping: w, Events: w,
		Identity: auth.NewIdentity("order-service", key, time.Now), Currency: usd, Settings: settings,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: time.Now, Metrics: prometheus.NewRegistry(),
	}
	a := web.API{Name: "order-service", Title: "orders", Context: "/order-service", Verify: verify, Log: deps.Log}
	for _, change := range options {
		change(&deps, &a)
	}
	s, err := New(deps)
	if err != nil {
		t.Fatal(err)
	}
	a.Routes = s.Routes()
	handler, err := web.New(a)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{Service: s, handler: handler, stop: func() {}}
}

// reply is an answer of the service.
type reply struct {
	status int
	header http.Header
	body   string
}

// send makes a request; headers come in pairs.
func (f *fixture) send(token, method, path, body string, headers ...string) reply {
	r := httptest.NewRequest(method, "/order-service"+path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return reply{w.Code, w.Header(), w.Body.String()}
}

// want sends a request and fails the test unless the answer has the status.
func (f *fixture) want(t *testing.T, status int, token, method, path, body string, headers ...string) reply {
	t.Helper()
	got := f.send(token, method, path, body, headers...)
	if got.status != status {
		t.Fatalf("%s %s as %q = %d %s, want %d", method, path, token, got.status, got.body, status)
	}
	return got
}

func decode[T any](t *testing.T, r reply) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(r.body), &value); err != nil {
		t.Fatalf("decode %s: %v", r.body, err)
	}
	return value
}

// fill makes the cart of a user with quantities of products and returns its id.
func (f *fixture) fill(t *testing.T, user string, items ...api.ItemQuantity) api.ID {
	t.Helper()
	c := decode[api.Cart](t, f.want(t, http.StatusOK, user, "GET", "/api/carts/mine", ""))
	for _, i := range items {
		f.want(t, http.StatusOK, user, "PUT", fmt.Sprintf("/api/carts/%d/items/%d", c.CartID, i.ProductID), fmt.Sprintf(`{"quantity":%d}`, i.Quantity))
	}
	return c.CartID
}

const goodCheckout = `{"shippingAddress":{"fullAddress":"carthage byrsa","postalCode":"2016","city":"carthage","country":"TN"},
	"paymentMethod":{"provider":"sandbox","token":"tok_ok"}}`

func checkoutPath(cart api.ID) string { return fmt.Sprintf("/api/carts/%d/checkout", cart) }

func orderPath(id api.ID) string { return fmt.Sprintf("/api/orders/%d", id) }

// buy checks a cart with one of product 1 out and returns the order.
func (f *fixture) buy(t *testing.T, user, key string) api.Order {
	t.Helper()
	cart := f.fill(t, user, api.ItemQuantity{ProductID: 1, Quantity: 2})
	return decode[api.Order](t, f.want(t, http.StatusCreated, user, "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", key))
}

// orderIn waits until an order is in a status.
func (f *fixture) orderIn(t *testing.T, id api.ID, status string) api.Order {
	t.Helper()
	var o api.Order
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		o = decode[api.Order](t, f.want(t, http.StatusOK, "admin:4", "GET", orderPath(id), ""))
		if o.Status == status {
			return o
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatalf("order %d is %s, want %s", id, o.Status, status)
	return o
}

func TestRoutesOfNobody(t *testing.T) {
	t.Parallel()
	var s *Service
	routes := s.Routes()
	if len(routes) == 0 {
		t.Error("Routes() of a nil Service is empty")
	}
	body, err := web.OpenAPI(web.API{Name: "order-service", Title: "orders", Context: "/order-service", Routes: routes})
	if err != nil || !strings.Contains(string(body), "/order-service/api/carts/{cartId}/checkout") {
		t.Errorf("OpenAPI of the routes = %.80s, %v", body, err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*Settings){
		func(s *Settings) { s.TaxRate = "nineteen" },
		func(s *Settings) { s.TaxRate = "1.5" },
		func(s *Settings) { s.Wait = time.Hour },
		func(s *Settings) { s.SagaWorkers = 0 },
	} {
		deps := Deps{Settings: DefaultSettings(), Metrics: prometheus.NewRegistry()}
		change(&deps.Settings)
		if _, err := New(deps); err == nil {
			t.Errorf("New() with %+v has no error", deps.Settings)
		}
	}
}

func TestDemo(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := build(t, db, newWorld())
		var demos sync.WaitGroup
		for range 3 { // replicas that start together
			demos.Go(func() {
				if err := Demo(t.Context(), db, usd, time.Now); err != nil {
					t.Errorf("Demo() = %v", err)
				}
			})
		}
		demos.Wait()
		orders := decode[api.List[api.Order]](t, f.want(t, http.StatusOK, "admin:4", "GET", "/api/orders", ""))
		carts := decode[api.List[api.Cart]](t, f.want(t, http.StatusOK, "admin:4", "GET", "/api/carts", ""))
		if len(orders.Collection) != 4 || len(carts.Collection) != 4 {
			t.Fatalf("demo has %d orders and %d carts, want 4 and 4", len(orders.Collection), len(carts.Collection))
		}
		o := orders.Collection[2]
		if o.OrderID != 3 || *o.OrderDesc != "init" || o.OrderFee.String() != "5000.0" || o.Status != api.OrderCreated || o.Cart.CartID != 3 || o.UserID != 3 {
			t.Errorf("demo order = %+v", o)
		}
		next := decode[api.Cart](t, f.want(t, http.StatusCreated, "user:1", "POST", "/api/carts", `{}`))
		if next.CartID != 5 {
			t.Errorf("the next cart is %d, want 5", next.CartID)
		}
	})
}

// sendUntil checks out with the key "a" for a client that goes away when ctx ends.
func (f *fixture) sendUntil(ctx context.Context, token, path, body string) {
	r := httptest.NewRequestWithContext(ctx, "POST", "/order-service"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Idempotency-Key", "a")
	f.handler.ServeHTTP(httptest.NewRecorder(), r)
}
