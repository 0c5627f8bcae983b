package proxy

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/auth"
	"tienda/web"
)

// clock is a time that tests move on.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// users is a user-service with one account, whose session is a number that counts up.
type users struct {
	mu       sync.Mutex
	keys     []api.SigningKey
	sessions int
	revoked  bool
	distrust bool // refuses the identity of the proxy client
}

func (u *users) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	session := func() {
		u.sessions++
		reply(w, 200, api.Session{
			User:  api.User{UserID: 5, Credential: &api.Credential{Username: new("ada")}},
			Roles: []string{api.RoleUser}, RefreshToken: fmt.Sprint(u.sessions),
		})
	}
	refuse := func(p *api.Problem) {
		if p.RetryAfter > 0 {
			w.Header().Set("Retry-After", "7")
		}
		reply(w, p.Status, p)
	}
	fromProxy := strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") && !u.distrust
	switch path := strings.TrimPrefix(r.URL.Path, "/user-service"); {
	case path == "/api/users/5":
		reply(w, 200, api.User{UserID: 5, FirstName: new("Ada")})
	case path == "/api/address":
		reply(w, 200, api.List[api.Address]{Collection: []api.Address{{AddressID: 9}}})
	case path == "/api/exports/5":
		reply(w, 200, api.UserExport{User: api.User{UserID: 5}})
	case !fromProxy:
		refuse(api.Unauthorized("invalid token: signed with an unknown key; log in again"))
	case path == "/api/signing-keys":
		reply(w, 200, api.List[api.SigningKey]{Collection: u.keys})
	case path == "/api/logins":
		var login api.Login
		_ = json.NewDecoder(r.Body).Decode(&login)
		switch *login.Password {
		case "right":
			session()
		case "often":
			refuse(api.TooManyRequests(7*time.Second, "too many"))
		default:
			refuse(api.Unauthorized(api.BadCredentials))
		}
	case path == "/api/refresh-tokens/rotate":
		var body api.RefreshToken
		_ = json.NewDecoder(r.Body).Decode(&body)
		if u.revoked || body.RefreshToken != fmt.Sprint(u.sessions) {
			u.revoked = true
			refuse(api.Unauthorized(api.BadRefreshToken))
			return
		}
		session()
	case path == "/api/refresh-tokens/revoke":
		u.revoked = true
		w.WriteHeader(http.StatusNoContent)
	default:
		refuse(api.NotFound("no such path"))
	}
}

func reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

// addKey makes a key that signs from a time on, and ends the one before.
func (u *users) addKey(from time.Time) {
	_, private, _ := ed25519.GenerateKey(nil)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.keys = slices.Clone(u.keys)
	if len(u.keys) > 0 {
		u.keys[len(u.keys)-1].VerifyUntil = from.Add(auth.UserTokenLife)
	}
	u.keys = append(u.keys, api.SigningKey{KeyID: fmt.Sprint("key", len(u.keys)+1), Seed: private.Seed(), SignFrom: from})
}

// fixture is the proxy client over HTTP, in front of services that are functions.
type fixture struct {
	t       *testing.T
	clock   *clock
	users   *users
	service *Service
	handler http.Handler

	mu       sync.Mutex
	services map[string]http.Handler
	calls    []string
}

// newFixture makes a proxy client that finds the given services and the users' own, by their names.
func newFixture(t *testing.T, services map[string]http.Handler, rows ...PassThrough) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: &clock{at: time.Now().Truncate(time.Second)}, users: &users{}, services: maps.Clone(services)}
	f.users.addKey(f.clock.now())
	if f.services == nil {
		f.services = map[string]http.Handler{}
	}
	if f.services["user-service"] == nil {
		f.services["user-service"] = f.users
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		handler := f.services[r.Host]
		f.calls = append(f.calls, r.Method+" "+r.Host+r.URL.RequestURI())
		f.mu.Unlock()
		if handler == nil {
			panic(http.ErrAbortHandler) // nobody there
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}}}
	t.Cleanup(client.CloseIdleConnections)
	_, private, _ := ed25519.GenerateKey(nil)
	log := slog.New(slog.DiscardHandler)
	service, err := New(api.NewClient(client), client, auth.NewIdentity("proxy-client", private, f.clock.now), rows, log, f.clock.now)
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	f.service = service
	verifier := auth.NewVerifier(service.KeySet, nil, f.clock.now)
	handler, err := web.New(web.API{Name: "proxy-client", Context: "/app", Routes: service.Routes(), Verify: verifier.Verify, Log: log})
	if err != nil {
		t.Fatalf("web.New() = %v", err)
	}
	f.handler = SecureHeaders(handler)
	return f
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (f *fixture) call(token, method, path, body string, headers ...string) answer {
	f.t.Helper()
	r := httptest.NewRequestWithContext(f.t.Context(), method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

func (f *fixture) want(status int, token, method, path, body string) answer {
	f.t.Helper()
	a := f.call(token, method, path, body)
	if a.status != status {
		f.t.Fatalf("%s %s %s = %d %s, want %d", method, path, body, a.status, a.body, status)
	}
	return a
}

func decode[T any](t *testing.T, a answer) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(a.body), &value); err != nil {
		t.Fatalf("decode %s: %v", a.body, err)
	}
	return value
}

func (f *fixture) logIn() api.Tokens {
	f.t.Helper()
	return decode[api.Tokens](f.t, f.want(200, "", "POST", "/app/api/authenticate", `{"username":"ada","password":"right","rememberMe":true}`))
}

// called returns the calls so far and forgets them.
func (f *fixture) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	tokens := f.logIn()
	if tokens.TokenType != "Bearer" || tokens.ExpiresIn != 900 || tokens.RefreshToken != "1" {
		t.Errorf("tokens = %+v, want Bearer for 900 s and refresh token 1", tokens)
	}
	for _, test := range []struct {
		body   string
		status int
		msg    string
	}{
		{`{"username":"ada","password":"wrong"}`, 401, "#### Bad credentials! ####"},
		{`{"username":" ","password":"x"}`, 400, "*Username must not be empty!**"},
		{`{"password":"x"}`, 400, "*Username must not be empty!**"},
		{`{"username":"ada"}`, 400, "*Password must not be null!**"},
		{`{"username":"ada","password":"often"}`, 429, "#### too many! ####"},
	} {
		a := f.want(test.status, "", "POST", "/app/api/authenticate", test.body)
		if msg := decode[api.Problem](t, a).Msg; msg != test.msg {
			t.Errorf("POST /app/api/authenticate %s: msg = %q, want %q", test.body, msg, test.msg)
		}
		if got := a.header.Get("Retry-After"); test.status == 429 && got != "7" {
			t.Errorf("Retry-After = %q, want 7", got)
		}
	}
	for token, want := range map[string]string{tokens.JWTToken: "true\n", "nonsense": "false\n", tokens.JWTToken + "x": "false\n"} {
		if got := f.want(200, "", "GET", "/app/api/authenticate/jwt/"+token, "").body; got != want {
			t.Errorf("validate(%.20s…) = %q, want %q", token, got, want)
		}
	}
	f.clock.add(16 * time.Minute)
	if got := f.want(200, "", "GET", "/app/api/authenticate/jwt/"+tokens.JWTToken, "").body; got != "false\n" {
		t.Errorf("validate() of an expired token = %q, want false", got)
	}
	f.want(401, tokens.JWTToken, "GET", "/app/api/me", "")
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	first := f.logIn().RefreshToken
	second := decode[api.Tokens](t, f.want(200, "", "POST", "/app/api/authenticate/refresh", `{"refreshToken":"`+first+`"}`))
	f.want(200, second.JWTToken, "GET", "/app/api/me", "")
	f.want(401, "", "POST", "/app/api/authenticate/refresh", `{"refreshToken":"`+first+`"}`)
	f.want(401, "", "POST", "/app/api/authenticate/refresh", `{"refreshToken":"`+second.RefreshToken+`"}`)
	f.want(400, "", "POST", "/app/api/authenticate/refresh", `{"token":"x"}`)

	f = newFixture(t, nil)
	token := f.logIn().RefreshToken
	f.want(204, "", "POST", "/app/api/authenticate/logout", `{"refreshToken":"`+token+`"}`)
	f.want(401, "", "POST", "/app/api/authenticate/refresh", `{"refreshToken":"`+token+`"}`)
}

// Keys rotate without logging anybody out.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	early := f.logIn()
	f.users.addKey(f.clock.now().Add(10 * time.Minute))
	f.clock.add(5 * time.Minute)
	before := f.logIn()
	if set := f.want(200, "", "GET", "/app/.well-known/jwks.json", "").body; !strings.Contains(set, `"key1"`) || !strings.Contains(set, `"key2"`) || strings.Contains(set, `"d"`) {
		t.Errorf("JWK set = %s, want the public parts of both keys before the second signs", set)
	}
	f.clock.add(6 * time.Minute)
	after := f.logIn()
	for name, token := range map[string]string{"early": early.JWTToken, "before": before.JWTToken, "after": after.JWTToken} {
		f.want(200, token, "GET", "/app/api/me", "")
		want := "key1"
		if name == "after" {
			want = "key2"
		}
		if got := keyOf(t, token); got != want {
			t.Errorf("the token from %s the change is signed with %s, want %s", name, got, want)
		}
	}
	f.clock.add(15 * time.Minute)
	if set := f.want(200, "", "GET", "/app/.well-known/jwks.json", "").body; strings.Contains(set, `"key1"`) {
		t.Errorf("JWK set = %s, want no key that has ended", set)
	}
}

func keyOf(t *testing.T, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	var header struct {
		KeyID string `json:"kid"`
	}
	data, err := base64.RawURLEncoding.DecodeString(head)
	if err == nil {
		err = json.Unmarshal(data, &header)
	}
	if err != nil {
		t.Fatalf("header of the token: %v", err)
	}
	return header.KeyID
}

// It starts and stays up without user-service, and works as soon as that appears.
func TestUserServiceAbsent(t *testing.T) {
	t.Parallel()
	f := newFixture(t, map[string]http.Handler{"user-service": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })})
	a := f.want(503, "", "POST", "/app/api/authenticate", `{"username":"ada","password":"right"}`)
	if a.header.Get("Retry-After") == "" || a.header.Get("X-Frame-Options") != "SAMEORIGIN" {
		t.Errorf("headers of a 503 = %v, want Retry-After and the security headers", a.header)
	}
	f.want(503, "", "GET", "/app/.well-known/jwks.json", "")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.service.Run(ctx) }()
	f.mu.Lock()
	f.services["user-service"] = f.users
	f.mu.Unlock()
	deadline := time.Now().Add(10 * time.Second)
	for f.call("", "GET", "/app/.well-known/jwks.json", "").status != 200 {
		if time.Now().After(deadline) {
			t.Fatal("the keys are still missing")
		}
	}
	token := f.logIn().JWTToken
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	// With the keys at hand, tokens are verified while user-service is away again.
	f.mu.Lock()
	delete(f.services, "user-service")
	f.mu.Unlock()
	f.clock.add(5 * time.Minute)
	if got := f.want(200, "", "GET", "/app/api/authenticate/jwt/"+token, "").body; got != "true\n" {
		t.Errorf("validate() without user-service = %q, want true", got)
	}
}

// A proxy client that user-service does not know must not tell people that their password is wrong.
func TestIdentityRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	token := f.logIn().RefreshToken
	f.users.mu.Lock()
	f.users.distrust = true
	f.users.mu.Unlock()
	f.want(503, "", "POST", "/app/api/authenticate", `{"username":"ada","password":"right"}`)
	f.want(503, "", "POST", "/app/api/authenticate/refresh", `{"refreshToken":"`+token+`"}`)
	f.want(503, "", "POST", "/app/api/authenticate/logout", `{"refreshToken":"`+token+`"}`)
}

// commerce are the services that hold what belongs to orders. Their answers hold also what is others',
// as an administrator would see it.
func commerce() map[string]http.Handler {
	list := func(name string, rows ...string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.Path, name) {
				http.NotFound(w, r)
				return
			}
			_, _ = fmt.Fprintf(w, `{"collection":[%s],"page":{"number":0,"size":1000,"totalElements":1,"totalPages":1}}`, strings.Join(rows, ","))
		})
	}
	orders := http.NewServeMux()
	orders.Handle("/order-service/api/orders", list("orders", `{"orderId":7,"orderFee":1.0,"status":"SHIPPED"}`, `{"orderId":8,"orderFee":2.0}`))
	orders.Handle("/order-service/api/carts", list("carts", `{"cartId":1,"userId":5}`, `{"cartId":2,"userId":6}`))
	return map[string]http.Handler{
		"order-service": orders,
		"payment-service": list("payments", `{"paymentId":3,"order":{"orderId":7},"state":"CAPTURED"}`, `{"paymentId":2,"order":{"orderId":7},"state":"DECLINED"}`,
			`{"paymentId":4,"order":{"orderId":99},"state":"CAPTURED"}`, `{"paymentId":5,"order":{"orderId":8},"paymentStatus":"IN_PROGRESS"}`),
		"shipping-service":  list("shipments", `{"shipmentId":1,"orderId":7,"state":"IN_TRANSIT","trackingNumber":"T1"}`),
		"favourite-service": list("favourites", `{"userId":5,"productId":1}`, `{"userId":6,"productId":1}`),
	}
}

func TestMe(t *testing.T) {
	t.Parallel()
	f := newFixture(t, commerce())
	f.want(401, "", "GET", "/app/api/me", "")
	got := decode[api.Me](t, f.want(200, f.logIn().JWTToken, "GET", "/app/api/me", ""))
	want := api.Me{User: api.User{UserID: 5, FirstName: new("Ada")}, Addresses: []api.Address{{AddressID: 9}}, Roles: []string{api.RoleUser}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("GET /app/api/me (-want +got):\n%s", diff)
	}
}

func TestMyOrders(t *testing.T) {
	t.Parallel()
	f := newFixture(t, commerce())
	token := f.logIn().JWTToken
	f.called()
	list := decode[api.List[api.Order]](t, f.want(200, token, "GET", "/app/api/me/orders?size=50&userId=6&sort=orderId,desc", ""))
	calls := f.called()
	slices.Sort(calls)
	wantCalls := []string{
		"GET order-service/order-service/api/orders?size=50&sort=orderId%2Cdesc&userId=5",
		"GET payment-service/payment-service/api/payments?orderIds=7,8",
		"GET shipping-service/shipping-service/api/shipments?orderIds=7,8",
	}
	if diff := cmp.Diff(wantCalls, calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if len(list.Collection) != 2 || list.Page == nil {
		t.Fatalf("orders = %v, want a page of 2", list)
	}
	order := list.Collection[0]
	if diff := cmp.Diff(&api.OrderPayment{PaymentID: 3, State: "CAPTURED"}, order.Payment); diff != "" {
		t.Errorf("payment of order 7 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&api.OrderPayment{PaymentID: 5, State: "IN_PROGRESS"}, list.Collection[1].Payment); diff != "" {
		t.Errorf("payment of order 8 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&api.OrderShipment{ShipmentID: 1, State: "IN_TRANSIT", TrackingNumber: "T1"}, order.Shipment); diff != "" {
		t.Errorf("shipment of order 7 (-want +got):\n%s", diff)
	}
	f.mu.Lock()
	delete(f.services, "payment-service")
	f.mu.Unlock()
	list = decode[api.List[api.Order]](t, f.want(200, token, "GET", "/app/api/me/orders", ""))
	if order := list.Collection[0]; order.Payment != nil || order.Shipment == nil {
		t.Errorf("without payment-service order 7 has payment %v and shipment %v, want none and one", order.Payment, order.Shipment)
	}
	f.mu.Lock()
	delete(f.services, "order-service")
	f.mu.Unlock()
	f.want(503, token, "GET", "/app/api/me/orders", "")
}

func TestExport(t *testing.T) {
	t.Parallel()
	f := newFixture(t, commerce())
	token := f.logIn().JWTToken
	data := decode[api.PersonalData](t, f.want(200, token, "GET", "/app/api/me/export", ""))
	if len(data.Orders) != 2 || len(data.Carts) != 1 || len(data.Favourites) != 1 || len(data.Shipments) != 1 || data.Account.User.UserID != 5 {
		t.Errorf("export = %+v, want 2 orders and 1 of the others", data)
	}
	f.mu.Lock()
	delete(f.services, "favourite-service")
	f.mu.Unlock()
	f.want(503, token, "GET", "/app/api/me/export", "")
}

// carts is a table like those of the business services.
func carts() PassThrough {
	none := func(http.ResponseWriter, *http.Request) error { return nil }
	return PassThrough{Service: "order-service", Context: "/order-service", Routes: []web.Route{
		{Method: "GET", Pattern: "/api/carts/{cartId}", Summary: "Read", Access: web.Owner, Origin: true, Handler: none},
		{Method: "POST", Pattern: "/api/carts/{cartId}/checkout", Summary: "Check out", Access: web.Owner, Idempotent: true, Handler: none},
		{Method: "GET", Pattern: "/api/products", Summary: "Browse", Access: web.Public, Origin: true, Handler: none},
		{Method: "GET", Pattern: "/api/events", Summary: "Events", Access: web.AdminOrService, Handler: none},
		{Method: "POST", Pattern: "/api/webhooks/{provider}", Summary: "Webhook", Access: web.Public, Handler: none},
		{Method: "POST", Pattern: "/api/reservations", Summary: "Reserve", Access: web.Service, Handler: none},
	}}
}

func TestPassThrough(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var gotBody []byte
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		gotBody, _ = io.ReadAll(r.Body)
		w.Header().Set("ETag", `"3"`)
		w.Header().Set("Location", "/order-service/api/orders/1")
		w.Header().Set("Idempotency-Replayed", "true")
		w.Header().Set("X-Internal", "secret")
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte(`{"status":409}`))
	})
	f := newFixture(t, map[string]http.Handler{"order-service": orders}, carts())
	token := f.logIn().JWTToken
	a := f.call(token, "POST", "/app/api/carts/a%2Fb%20c/checkout?x=1&y=%20", `{"note":"ñ"}`,
		"Idempotency-Key", "k", "Prefer", "wait=1", "If-Match", `"2"`, "Content-Type", "application/json", "X-User-Id", "4", "Cookie", "c=1")
	if a.status != 409 || a.body != `{"status":409}` || a.header.Get("ETag") != `"3"` || a.header.Get("Location") != "/order-service/api/orders/1" ||
		a.header.Get("Idempotency-Replayed") != "true" || a.header.Get("X-Internal") != "" || a.header.Get("Content-Type") != "application/problem+json" ||
		a.header.Get("X-Frame-Options") != "SAMEORIGIN" {
		t.Errorf("answer = %v, want that of the service without what is not for clients", a)
	}
	want := map[string]string{"Idempotency-Key": "k", "Prefer": "wait=1", "If-Match": `"2"`, "Content-Type": "application/json",
		"Authorization": "Bearer " + token, "X-User-Id": "", "Cookie": ""}
	for name, value := range want {
		if got.Header.Get(name) != value {
			t.Errorf("header %s = %q, want %q", name, got.Header.Get(name), value)
		}
	}
	if got.RequestURI != "/order-service/api/carts/a%2Fb%20c/checkout?x=1&y=%20" || got.Method != "POST" || string(gotBody) != `{"note":"ñ"}` {
		t.Errorf("the service got %s %s %s", got.Method, got.RequestURI, gotBody)
	}
	if got.Header.Get(api.TimeoutHeader) == "" {
		t.Errorf("the service is not told how long the client waits")
	}
	f.want(401, "", "GET", "/app/api/carts/1", "")
	f.want(409, "", "GET", "/app/api/products/", "")
	f.want(404, token, "GET", "/app/api/events", "")
	f.want(404, token, "POST", "/app/api/webhooks/stripe", "")
	f.want(404, token, "POST", "/app/api/reservations", "")
	f.want(405, token, "DELETE", "/app/api/products", "")
	f.want(413, token, "POST", "/app/api/carts/1/checkout", strings.Repeat(" ", web.MaxBody+1))
	f.mu.Lock()
	delete(f.services, "order-service")
	f.mu.Unlock()
	if a := f.want(503, token, "GET", "/app/api/carts/1", ""); !strings.Contains(a.body, "order-service") {
		t.Errorf("503 = %s, want it to name the service", a.body)
	}
}

func TestTwoRowsForOneRequest(t *testing.T) {
	t.Parallel()
	other := carts()
	other.Service = "payment-service"
	if _, err := New(nil, nil, nil, []PassThrough{carts(), other}, nil, nil); err == nil || !strings.Contains(err.Error(), "payment-service") {
		t.Errorf("New() with two services for one row = %v, want an error that names them", err)
	}
	if _, err := New(nil, nil, nil, []PassThrough{carts()}, nil, nil); err != nil {
		t.Errorf("New() for its table alone = %v", err)
	}
}

// Whatever is passed on arrives as it was sent.
func FuzzPassThrough(f *testing.F) {
	f.Add("1", "x=1", []byte(`{}`))
	f.Add("%2e%2e", "a=%zz", []byte{0})
	f.Add("a b", "&&", []byte(nil))
	f.Add("0", "\x00", []byte(nil))
	f.Fuzz(func(t *testing.T, id, query string, body []byte) {
		var got []byte
		p := newFixture(t, map[string]http.Handler{"order-service": http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got, _ = io.ReadAll(r.Body) })}, carts())
		token := p.logIn().JWTToken
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/app/api/carts/1/checkout", bytes.NewReader(body))
		r.URL.Path, r.URL.RawQuery = "/app/api/carts/"+id+"/checkout", query
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		p.handler.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("POST %q?%q = %d %s", id, query, w.Code, w.Body)
		}
		if w.Code == 200 && !bytes.Equal(got, body) {
			t.Errorf("the service got %q, want %q", got, body)
		}
	})
}
