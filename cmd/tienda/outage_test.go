package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/eureka"
)

// inPieces is a system of which each component runs on its own, as in a cluster: `tienda run` with one
// name. Those in missing are not started.
func inPieces(tb testing.TB, missing ...string) *system {
	tb.Helper()
	s := &system{tb: tb, data: tb.TempDir(), out: &lockedBuffer{}}
	s.up = &upCommand{place: place{Data: s.data, Listen: "127.0.0.1", ports: freePorts(tb)}}
	for _, name := range componentNames() {
		if !slices.Contains(missing, name) {
			s.begin(name)
		}
	}
	return s
}

// begin runs one component, by the short name that people type, until the end of the test or until
// the function returned is called.
func (s *system) begin(name string) (stop func()) {
	s.tb.Helper()
	stop = s.beginSlowly(name, 0)
	s.eventually(name+" is ready", func() bool { return s.ready(name) })
	return stop
}

func (s *system) ready(name string) bool {
	a, err := s.try(request{component: name, method: "GET", path: "/readyz"})
	return err == nil && a.status == http.StatusOK
}

// beginSlowly is begin for a component that waits for its neighbours, and does not wait for it.
func (s *system) beginSlowly(name string, warmUp time.Duration) (stop func()) {
	s.tb.Helper()
	command := &runCommand{place: s.up.place, Components: []string{strings.TrimSuffix(name, "-service")}, Demo: true, WarmUp: warmUp}
	environ := append(environment{
		"SPRING_CONFIG_IMPORT=optional:configserver:" + s.url("cloud-config", ""),
		"EUREKA_CLIENT_SERVICEURL_DEFAULTZONE=" + s.url("service-discovery", "/eureka"),
		"SPRING_ZIPKIN_BASEURL=" + s.url("zipkin", ""),
	}, s.environ...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := command.Run(ctx, terminal{s.out, s.out}, environ); err != nil {
			s.tb.Errorf("run %s: %v", name, err)
		}
	}()
	stop = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(60 * time.Second):
			s.tb.Errorf("%s does not stop", name)
		}
	}
	s.tb.Cleanup(stop)
	return stop
}

// within is call for an answer that must come fast.
func (s *system) within(limit time.Duration, want int, r request) answer {
	s.tb.Helper()
	begun := time.Now()
	a := s.call(want, r)
	if took := time.Since(begun); took > limit {
		s.tb.Errorf("%s %s was answered after %v, want within %v", r.method, r.path, took.Round(time.Millisecond), limit)
	}
	return a
}

// works waits until a call through a component that came up is answered.
func (s *system) works(want int, r request) answer {
	s.tb.Helper()
	var last answer
	s.eventually(fmt.Sprintf("%s %s is %d", r.method, r.path, want), func() bool {
		var err error
		last, err = s.try(r)
		return err == nil && last.status == want
	})
	return last
}

// unavailable calls a resource of a service that is away, through the gateway and the proxy client.
func (s *system) unavailable(service, resource, token string) {
	s.tb.Helper()
	for _, path := range []string{"/" + service + resource, "/app" + resource} {
		a := s.within(5*time.Second, http.StatusServiceUnavailable, request{method: "GET", path: path, token: token})
		for _, fault := range faults(a)[1:] { // the first is that it is a 503
			s.tb.Errorf("%s: %s: %s", path, a.body, fault)
		}
		var problem api.Problem
		a.decode(s.tb, &problem)
		if !strings.Contains(strings.ToLower(problem.Detail), service) {
			s.tb.Errorf("%s: %s, want %s named", path, a.body, service)
		}
	}
}

// quick is how long the answers of a shop may take in which a component is away.
const quick = 3 * time.Second

// cartOfUser1 is the caller's open cart with one product in it.
func (s *system) cartOfUser1(token string) api.Cart {
	s.tb.Helper()
	var cart api.Cart
	s.works(http.StatusOK, request{method: "GET", path: "/order-service/api/carts/mine", token: token}).decode(s.tb, &cart)
	s.works(http.StatusOK, request{method: "PUT", path: "/order-service/api/carts/" + cart.CartID.String() + "/items/1", token: token, body: `{"quantity":1}`})
	return cart
}

func checkoutPath(cart api.Cart) string {
	return "/order-service/api/carts/" + cart.CartID.String() + "/checkout"
}

// TestWithoutProducts: product-service was never there. Everything else answers, lists show bare ids,
// and a checkout is refused at once. When the service comes, all is well without anybody's help.
func TestWithoutProducts(t *testing.T) {
	t.Parallel()
	s := inPieces(t, "product-service")
	token := s.works(http.StatusOK, request{method: "POST", path: "/app/api/authenticate", body: `{"username":"selimhorri","password":"0000"}`}).token(t)
	s.unavailable("product-service", "/api/products", token)
	var favourites api.List[api.Favourite]
	s.within(quick, http.StatusOK, request{method: "GET", path: "/favourite-service/api/favourites", token: token}).decode(t, &favourites)
	if len(favourites.Collection) != 2 || favourites.Collection[0].Product == nil || favourites.Collection[0].Product.ProductTitle != nil || favourites.Collection[0].User == nil || favourites.Collection[0].User.FirstName == nil {
		t.Errorf("favourites = %+v, want two with a user and the bare id of the product", favourites.Collection)
	}
	for _, path := range []string{"/order-service/api/orders", "/order-service/api/carts", "/order-service/api/carts/1", "/payment-service/api/payments", "/shipping-service/api/shippings", "/app/api/me/orders", "/app/api/me"} {
		s.within(quick, http.StatusOK, request{method: "GET", path: path, token: token})
	}
	s.within(quick, http.StatusServiceUnavailable, request{method: "PUT", path: "/order-service/api/carts/1/items/1", token: token, body: `{"quantity":1}`})

	s.begin("product-service")
	came := time.Now()
	s.works(http.StatusOK, request{method: "GET", path: "/product-service/api/products"})
	cart := s.cartOfUser1(token)
	header := key("products-are-back")
	header.Set("Prefer", "wait=30")
	s.works(http.StatusCreated, request{method: "POST", path: checkoutPath(cart), token: token, body: checkoutBody("tok_ok"), header: header})
	s.eventually("favourites show products", func() bool {
		s.call(http.StatusOK, request{method: "GET", path: "/favourite-service/api/favourites", token: token}).decode(t, &favourites)
		return favourites.Collection[0].Product.ProductTitle != nil
	})
	if took := time.Since(came); took > 15*time.Second {
		t.Errorf("the shop took an order %v after product-service came up", took)
	}
}

// token is the access token in an answer to a log-in.
func (a answer) token(tb testing.TB) string {
	tb.Helper()
	var tokens api.Tokens
	a.decode(tb, &tokens)
	return tokens.JWTToken
}

// TestWithoutPayments: a checkout whose payment nobody can make is accepted and waits. When
// payment-service comes, the order is confirmed by itself.
func TestWithoutPayments(t *testing.T) {
	t.Parallel()
	s := inPieces(t, "payment-service")
	token := s.works(http.StatusOK, request{method: "POST", path: "/app/api/authenticate", body: `{"username":"selimhorri","password":"0000"}`}).token(t)
	s.unavailable("payment-service", "/api/payments", token)
	checkout := request{method: "POST", path: checkoutPath(s.cartOfUser1(token)), token: token, body: checkoutBody("tok_ok"), header: key("no-payments-yet")}
	a := s.within(quick, http.StatusAccepted, checkout)
	if a.header.Get("Location") == "" {
		t.Errorf("202 %v without Location", a.header)
	}
	var order api.Order
	a.decode(t, &order)
	if order.Status != api.OrderPending {
		t.Errorf("order = %s, want it PENDING", a.body)
	}
	s.within(quick, http.StatusOK, request{method: "GET", path: "/app/api/me/orders", token: token})

	s.begin("payment-service")
	path := "/order-service/api/orders/" + order.OrderID.String()
	s.eventually("the order is confirmed", func() bool {
		s.call(http.StatusOK, request{method: "GET", path: path, token: token}).decode(t, &order)
		return order.Status == api.OrderConfirmed
	})
	again := s.call(http.StatusCreated, checkout)
	again.decode(t, &order)
	if order.Status != api.OrderConfirmed || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("replay = %v %s, want the order as it is now", again.header, again.body)
	}
}

// TestUsersGoAndReturn: user-service goes away while the shop is open. Who is logged in goes on
// shopping, nobody can log in, and names are missing from lists.
func TestUsersGoAndReturn(t *testing.T) {
	t.Parallel()
	s := inPieces(t, "user-service")
	stop := s.begin("user-service")
	login := request{method: "POST", path: "/app/api/authenticate", body: `{"username":"selimhorri","password":"0000"}`}
	token := s.works(http.StatusOK, login).token(t)
	cart := s.cartOfUser1(token)
	stop()
	s.unavailable("user-service", "/api/users", token)
	s.within(quick, http.StatusServiceUnavailable, login)
	var carts api.List[api.Cart]
	s.within(quick, http.StatusOK, request{method: "GET", path: "/order-service/api/carts", token: token}).decode(t, &carts)
	if len(carts.Collection) == 0 || carts.Collection[0].User == nil || carts.Collection[0].User.FirstName != nil {
		t.Errorf("carts = %+v, want each with the bare id of its user", carts.Collection)
	}
	header := key("nobody-can-log-in")
	header.Set("Prefer", "wait=30")
	s.call(http.StatusCreated, request{method: "POST", path: checkoutPath(cart), token: token, body: checkoutBody("tok_ok"), header: header})
	byID := strings.Replace(checkoutBody("tok_ok"), `"shippingAddress":{"fullAddress":"1 Rue de Marseille","postalCode":"1000","city":"Tunis","country":"TN"}`, `"addressId":1`, 1)
	s.within(quick, http.StatusServiceUnavailable, request{method: "POST", path: checkoutPath(s.cartOfUser1(token)), token: token, body: byID, header: key("no-addresses")})

	s.begin("user-service")
	s.works(http.StatusOK, login)
	s.eventually("carts show names", func() bool {
		s.call(http.StatusOK, request{method: "GET", path: "/order-service/api/carts", token: token}).decode(t, &carts)
		return carts.Collection[0].User.FirstName != nil
	})
}

// TestWithoutRegistryConfigurationAndTracing: the three components of the infrastructure go away while
// the shop is open, and nobody notices.
func TestWithoutRegistryConfigurationAndTracing(t *testing.T) {
	t.Parallel()
	infrastructure := []string{"cloud-config", "service-discovery", "zipkin"}
	s := inPieces(t, componentNames()...)
	var stops []func()
	for _, name := range infrastructure {
		stops = append(stops, s.begin(name))
	}
	for _, name := range componentNames() {
		if !slices.Contains(infrastructure, name) {
			s.begin(name)
		}
	}
	login := request{method: "POST", path: "/app/api/authenticate", body: `{"username":"selimhorri","password":"0000"}`}
	token := s.works(http.StatusOK, login).token(t)
	header := key("one")
	header.Set("Prefer", "wait=30")
	s.works(http.StatusCreated, request{method: "POST", path: checkoutPath(s.cartOfUser1(token)), token: token, body: checkoutBody("tok_ok"), header: header})
	for _, stop := range stops {
		stop()
	}
	s.within(quick, http.StatusOK, login)
	header = key("two")
	header.Set("Prefer", "wait=30")
	s.within(quick, http.StatusCreated, request{method: "POST", path: checkoutPath(s.cartOfUser1(token)), token: token, body: checkoutBody("tok_ok"), header: header})
}

// TestWithoutProxy: the keys of users' tokens cannot be had. Whoever shows a token is asked to come
// back rather than sent away, and what is public stays so.
func TestWithoutProxy(t *testing.T) {
	t.Parallel()
	s := inPieces(t, "proxy-client")
	token, err := auth.IssueUserToken(s.signingKey(), auth.Caller{Username: "selimhorri", UserID: 1, Roles: []string{api.RoleUser}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.works(http.StatusOK, request{method: "GET", path: "/product-service/api/products"})
	mine := request{method: "GET", path: "/order-service/api/orders", token: token}
	s.within(quick, http.StatusServiceUnavailable, mine)
	s.within(quick, http.StatusServiceUnavailable, request{component: "order-service", method: mine.method, path: mine.path, token: token})
	s.within(quick, http.StatusServiceUnavailable, request{method: "POST", path: "/app/api/authenticate", body: `{"username":"selimhorri","password":"0000"}`})
	s.begin("proxy-client")
	s.works(http.StatusOK, mine)
}

// TestReadyWithKeys: components that wait for their neighbours, as in a cluster, start in whatever order. None is ready, nor in the registry,
// before it has the keys of users' tokens: the first call with a token that finds it is answered.
func TestReadyWithKeys(t *testing.T) {
	t.Parallel()
	s := inPieces(t, "api-gateway", "favourite-service", "order-service", "payment-service", "product-service", "proxy-client", "shipping-service", "user-service")
	waiting := []string{"api-gateway", "product-service", "order-service", "proxy-client"}
	for _, name := range waiting {
		s.beginSlowly(name, time.Minute)
	}
	registered := func(name string) bool {
		a, err := s.try(request{component: "service-discovery", method: "GET", path: "/eureka/apps/" + name})
		return err == nil && a.status == http.StatusOK
	}
	for _, name := range waiting {
		s.eventually(name+" serves", func() bool {
			a, err := s.try(request{component: name, method: "GET", path: "/livez"})
			return err == nil && a.status == http.StatusOK
		})
		if s.ready(name) || registered(name) {
			t.Errorf("%s without keys: ready %t, registered %t", name, s.ready(name), registered(name))
		}
	}
	s.beginSlowly("user-service", time.Minute)
	for _, name := range append(waiting, "user-service") {
		s.eventually(name+" is ready", func() bool { return s.ready(name) })
		if !registered(name) {
			t.Errorf("%s is ready and not in the registry", name)
		}
	}
	token, err := auth.IssueUserToken(s.signingKey(), auth.Caller{Username: "selimhorri", UserID: 1, Roles: []string{api.RoleUser}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.call(http.StatusOK, request{method: "GET", path: "/app/api/me/orders", token: token})
	s.call(http.StatusOK, request{component: "order-service", method: "GET", path: "/order-service/api/orders", token: token})
}

// TestLostInstances: the registry names an instance of product-service that is gone, as after a crash,
// or one that takes connections and never says a word. Nothing hangs for longer than it must.
func TestLostInstances(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]http.HandlerFunc{
		"gone": nil,
		"silent": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // reading is what notices that the caller has gone
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := inPieces(t, "product-service")
			port := s.up.ports["product-service"] // nobody listens there yet
			if answers != nil {
				server := httptest.NewServer(answers)
				t.Cleanup(server.Close)
				t.Cleanup(server.CloseClientConnections) // first: Close waits for them
				port = server.Listener.Addr().(*net.TCPAddr).Port
			}
			s.register("product-service", port)
			token := s.works(http.StatusOK, request{method: "POST", path: "/app/api/authenticate", body: `{"username":"selimhorri","password":"0000"}`}).token(t)
			for _, path := range []string{"/favourite-service/api/favourites", "/shipping-service/api/shippings", "/order-service/api/orders/1", "/order-service/api/carts/1", "/app/api/me/orders"} {
				s.within(quick, http.StatusOK, request{method: "GET", path: path, token: token})
			}
			begun := time.Now()
			a, err := s.try(request{method: "PUT", path: "/order-service/api/carts/1/items/1", token: token, body: `{"quantity":1}`})
			if err != nil || (a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout) || time.Since(begun) > 12*time.Second {
				t.Errorf("an item for the cart: %d %s %v after %v, want 503 or 504 within 12 s", a.status, a.body, err, time.Since(begun))
			}
			if answers == nil {
				s.unavailable("product-service", "/api/products", token)
				s.begin("product-service") // as after the crash, at the same address
				s.works(http.StatusOK, request{method: "GET", path: "/product-service/api/products"})
				s.works(http.StatusOK, request{method: "PUT", path: "/order-service/api/carts/1/items/1", token: token, body: `{"quantity":1}`})
			}
		})
	}
}

// register puts an instance into the registry, where it stays until the end of the test.
func (s *system) register(service string, port int) {
	s.tb.Helper()
	registry := eureka.NewClient([]string{s.url("service-discovery", "/eureka")}, http.DefaultClient, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- registry.Run(ctx, &eureka.Registration{App: service, HostName: "127.0.0.1", IPAddr: "127.0.0.1", Port: port,
			VIPAddress: service, RenewalInterval: 30 * time.Second, LeaseDuration: 90 * time.Second}, time.Hour)
	}()
	s.tb.Cleanup(func() { cancel(); <-done })
	s.eventually("the instance is registered", registry.Registered)
}
