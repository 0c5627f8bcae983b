package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tienda/api"
)

// TestStory walks the way of a customer through the gateway and then looks at what it left: the
// order, the payment, the shipment, the trace, and no secret anywhere. In the end the customer leaves for good.
func TestStory(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *system) {
		const password = "correct horse battery 7"
		user := `{"firstName":"Ada","lastName":"Lovelace","email":"ada@example.com","credential":{"username":"ada","password":"` + password + `"}}`
		created := s.call(http.StatusCreated, request{method: "POST", path: "/app/api/users", body: user})
		var ada api.User
		created.decode(t, &ada)
		if ada.UserID != 5 || ada.Credential.CredentialID != 5 || *ada.Credential.RoleBasedAuthority != api.RoleUser {
			t.Errorf("registered %s, want user and credential 5 with ROLE_USER", created.body)
		}
		s.call(http.StatusConflict, request{method: "POST", path: "/app/api/users", body: user})
		token := s.login("ada", password)

		var found api.List[api.Product]
		s.call(http.StatusOK, request{method: "GET", path: "/product-service/api/products?q=laptop&inStock=true&sort=priceUnit,asc&size=5"}).decode(t, &found)
		if len(found.Collection) == 0 {
			t.Fatal("no laptop is on sale")
		}
		laptop := found.Collection[0]
		before := s.stock(laptop.ProductID)

		var cart api.Cart
		s.call(http.StatusOK, request{method: "GET", path: "/order-service/api/carts/mine", token: token}).decode(t, &cart)
		items := fmt.Sprintf("/order-service/api/carts/%d/items/%d", cart.CartID, laptop.ProductID)
		s.call(http.StatusOK, request{method: "PUT", path: items, token: token, body: `{"quantity":2}`}).decode(t, &cart)
		if len(cart.Items) != 1 || cart.Items[0].Quantity != 2 || cart.Items[0].UnitPrice != *laptop.PriceUnit {
			t.Errorf("cart = %+v", cart)
		}
		path := fmt.Sprintf("/order-service/api/carts/%d/checkout", cart.CartID)
		first := s.call(http.StatusCreated, request{method: "POST", path: path, token: token, body: checkoutBody("tok_ok"), header: key("first")})
		answered := time.Now()
		var order api.Order
		first.decode(t, &order)
		if order.Status != api.OrderConfirmed || order.Payment == nil || order.Payment.State != api.PaymentCaptured || order.Shipment == nil {
			t.Errorf("order = %s", first.body)
		}
		s.traceOf(order.OrderID, answered)

		again := s.call(http.StatusCreated, request{method: "POST", path: path, token: token, body: checkoutBody("tok_ok"), header: key("first")})
		if again.header.Get("Idempotency-Replayed") != "true" || !bytes.Equal(again.body, first.body) {
			t.Errorf("replay = %v %s, want the first answer %s", again.header, again.body, first.body)
		}
		if after := s.stock(laptop.ProductID); after.OnHand != before.OnHand-2 || after.Reserved != before.Reserved {
			t.Errorf("stock went from %+v to %+v, want two fewer on hand and none reserved", before, after)
		}
		var mine api.List[api.Order]
		s.call(http.StatusOK, request{method: "GET", path: "/app/api/me/orders", token: token}).decode(t, &mine)
		if len(mine.Collection) != 1 || mine.Collection[0].OrderID != order.OrderID {
			t.Errorf("my orders = %+v", mine)
		}
		s.ship(token, order)
		s.call(http.StatusConflict, request{method: "POST", path: fmt.Sprintf("/order-service/api/orders/%d/cancel", order.OrderID), token: token, body: `{"reason":"late"}`, header: key("cancel")})
		s.farewell(ada.UserID, "ada", password, token, order)
		s.end()
		s.noSecrets(password, token)
	})
}

// farewell deletes a user and looks at what the token that is left can still do.
func (s *system) farewell(user api.ID, username, password, token string, order api.Order) {
	s.tb.Helper()
	liked := fmt.Sprintf(`{"userId":%d,"productId":1,"likeDate":"04-11-2025__23:52:00:805000"}`, user)
	mine, like := request{method: "GET", path: "/order-service/api/carts/mine", token: token}, request{method: "POST", path: "/favourite-service/api/favourites", token: token, body: liked}
	s.call(http.StatusOK, mine)
	s.call(http.StatusCreated, like)
	s.call(http.StatusOK, request{method: "DELETE", path: fmt.Sprintf("/app/api/users/%d", user), token: token})
	s.call(http.StatusNotFound, request{method: "GET", path: "/app/api/me", token: token})
	s.call(http.StatusUnauthorized, request{method: "POST", path: "/app/api/authenticate", body: fmt.Sprintf(`{"username":%q,"password":%q}`, username, password)})
	s.eventually("nothing can be put into a cart or liked by a deleted user", func() bool {
		cart, errCart := s.try(mine)
		favourite, errFavourite := s.try(like)
		return errCart == nil && errFavourite == nil && cart.status == http.StatusUnprocessableEntity && favourite.status == http.StatusUnprocessableEntity
	})
	s.call(http.StatusOK, request{method: "GET", path: fmt.Sprintf("/order-service/api/orders/%d", order.OrderID), token: token})
	left := request{method: "GET", path: fmt.Sprintf("/favourite-service/api/favourites?userId=%d", user), token: s.login("admin", "0000")}
	if got := s.call(http.StatusOK, left); !bytes.Contains(got.body, []byte(`"collection":[]`)) {
		s.tb.Errorf("favourites of a deleted user = %s", got.body)
	}
}

func (s *system) stock(product api.ID) (stock api.Stock) {
	s.tb.Helper()
	s.call(http.StatusOK, request{method: "GET", path: fmt.Sprintf("/product-service/api/products/%d/stock", product)}).decode(s.tb, &stock)
	return stock
}

// ship drives the shipment to its end as the warehouse does, and waits for the order to follow.
func (s *system) ship(token string, order api.Order) {
	s.tb.Helper()
	admin := s.login("admin", "0000")
	path := fmt.Sprintf("/shipping-service/api/shipments/%d/events", order.Shipment.ShipmentID)
	for i, state := range []string{api.ShipmentLabelCreated, api.ShipmentInTransit, api.ShipmentDelivered} {
		body := fmt.Sprintf(`{"state":%q,"carrier":"Rapid Poste","trackingNumber":"RP1"}`, state)
		s.call(http.StatusForbidden, request{method: "POST", path: path, token: token, body: body, header: key(fmt.Sprint("mine", i))})
		s.call(http.StatusOK, request{method: "POST", path: path, token: admin, body: body, header: key(fmt.Sprint("ship", i))})
	}
	s.eventually("the order is delivered", func() bool {
		var now api.Order
		s.call(http.StatusOK, request{method: "GET", path: fmt.Sprintf("/order-service/api/orders/%d", order.OrderID), token: token}).decode(s.tb, &now)
		return now.Status == api.OrderDelivered && now.Shipment.TrackingNumber == "RP1"
	})
}

// eventually waits for something that other goroutines bring about.
func (s *system) eventually(what string, holds func() bool) {
	s.tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			s.tb.Fatalf("not after 20 s: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// span is what is looked at of one.
type span struct {
	Name          string
	ParentID      string
	LocalEndpoint struct{ ServiceName string }
	Tags          map[string]string
}

// traceOf finds the trace of a checkout within a second of its answer; it shows all who took part.
func (s *system) traceOf(order api.ID, answered time.Time) {
	s.tb.Helper()
	var seen []string
	for time.Since(answered) < 5*time.Second {
		var traces [][]span
		s.call(http.StatusOK, request{component: "zipkin", method: "GET", path: "/api/v2/traces?serviceName=order-service&limit=50"}).decode(s.tb, &traces)
		for _, trace := range traces {
			isCheckout := slices.ContainsFunc(trace, func(span span) bool { return strings.Contains(span.Name, "/carts/{cartid}/checkout") })
			if !isCheckout {
				continue
			}
			seen = nil
			for _, span := range trace {
				seen = append(seen, span.LocalEndpoint.ServiceName)
			}
			slices.Sort(seen)
			seen = slices.Compact(seen)
			if containsAll(seen, "api-gateway", "order-service", "payment-service", "product-service", "shipping-service") {
				if late := time.Since(answered); late > time.Second {
					s.tb.Errorf("the trace of order %d was found %v after the answer, want within a second", order, late)
				}
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.tb.Errorf("the trace of the checkout shows %v, want gateway, order, payment, product and shipping", seen)
}

func containsAll(list []string, wanted ...string) bool {
	for _, w := range wanted {
		if !slices.Contains(list, w) {
			return false
		}
	}
	return true
}

// noSecrets looks for secrets in everything that the system wrote: log, traces and databases.
func (s *system) noSecrets(secrets ...string) {
	s.tb.Helper()
	files, err := filepath.Glob(filepath.Join(s.data, "*"))
	if err != nil {
		s.tb.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a folder
		}
		for _, secret := range secrets {
			if bytes.Contains(text, []byte(secret)) {
				s.tb.Errorf("%s holds the secret %.10s…", filepath.Base(file), secret)
			}
		}
		isLog := filepath.Base(file) == logName || filepath.Base(file) == "zipkin.db"
		if isLog && (bytes.Contains(text, []byte("$argon2")) || bytes.Contains(text, []byte("tok_ok")) || bytes.Contains(text, []byte("Bearer "))) {
			s.tb.Errorf("%s holds a hash or a token", filepath.Base(file))
		}
	}
}

// parallel runs do for 0 to n-1, width at a time. One that fails the test ends what it had to do.
func (s *system) parallel(width, n int, do func(i int)) {
	var group sync.WaitGroup
	var next atomic.Int64
	for range width {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				do(int(i))
			}
		})
	}
	group.Wait()
}

// TestASecondUpFindsYesterdaysData: what was answered is there after a stop, and demo data is not
// written again.
func TestASecondUpFindsYesterdaysData(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	yesterday := start(t, data, "sqlite")
	token := yesterday.login("selimhorri", "0000")
	var cart api.Cart
	yesterday.call(http.StatusOK, request{method: "GET", path: "/order-service/api/carts/mine", token: token}).decode(t, &cart)
	yesterday.call(http.StatusOK, request{method: "PUT", path: fmt.Sprintf("/order-service/api/carts/%d/items/1", cart.CartID), token: token, body: `{"quantity":1}`})
	yesterday.end()
	today := start(t, data, "sqlite")
	var again api.Cart
	today.call(http.StatusOK, request{method: "GET", path: "/order-service/api/carts/mine", token: token}).decode(t, &again)
	if again.CartID != cart.CartID || len(again.Items) != 1 {
		t.Errorf("cart after the restart = %+v, want %d with its item; the token of yesterday still holds", again, cart.CartID)
	}
	var users api.List[api.User]
	today.call(http.StatusOK, request{method: "GET", path: "/user-service/api/users", token: today.login("admin", "0000")}).decode(t, &users)
	if len(users.Collection) != 4 {
		t.Errorf("%d users after the restart, want the four of the demo", len(users.Collection))
	}
}

// TestRegistryAndConfiguration: all components are registered, and the configuration is served.
func TestRegistryAndConfiguration(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "sqlite")
	s.eventually("all components are registered", func() bool {
		a := s.call(http.StatusOK, request{component: "service-discovery", method: "GET", path: "/eureka/apps"})
		for _, name := range componentNames() {
			if !strings.Contains(string(a.body), "<name>"+strings.ToUpper(name)+"</name>") {
				return false
			}
		}
		return true
	})
	a := s.call(http.StatusOK, request{component: "cloud-config", method: "GET", path: "/api-gateway/default"})
	if !strings.Contains(string(a.body), "/order-service/**") {
		t.Errorf("configuration = %.300s", a.body)
	}
	for _, service := range services() {
		for _, path := range []string{"/livez", "/readyz", "/metrics", service.Context + "/actuator/health", service.Context + "/actuator/info"} {
			s.call(http.StatusOK, request{component: service.Name, method: "GET", path: path})
		}
	}
	for _, name := range businessServices() {
		s.call(http.StatusNotFound, request{method: "GET", path: "/" + name + "/actuator/health"})
	}
}

// TestStartErrors: one clear sentence for everything that keeps a shop from opening.
func TestStartErrors(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	port := func() string { return fmt.Sprint("server.port=", freePorts(t)["user-service"]) }
	for name, c := range map[string]struct {
		args    []string
		environ []string
		says    string
	}{
		"folder that is a file":    {[]string{"up", "--data", file}, nil, "data folder"},
		"unknown component":        {[]string{"run", "--data", t.TempDir(), "basket"}, nil, `no component "basket"`},
		"unknown flag":             {[]string{"up", "--bold"}, nil, "unknown flag"},
		"unknown setting":          {[]string{"run", "--data", t.TempDir(), "--set", port(), "--set", "tienda.curency=EUR", "user"}, nil, "did you mean tienda.currency"},
		"unknown currency":         {[]string{"run", "--data", t.TempDir(), "--set", port(), "--set", "tienda.currency=QQQ", "user"}, nil, "ISO 4217"},
		"setting without value":    {[]string{"run", "--data", t.TempDir(), "--set", "tienda.currency", "user"}, nil, "KEY=VALUE"},
		"demo data in production":  {[]string{"run", "--demo", "--data", t.TempDir(), "--set", port(), "--profile", "production", "user"}, nil, "refuses demo data"},
		"demo data, with a blank":  {[]string{"run", "--demo", "--data", t.TempDir(), "--set", port(), "--profile", "stage, production", "user"}, nil, "refuses demo data"},
		"open access, production":  {[]string{"run", "--data", t.TempDir(), "--set", port(), "--profile", "production", "--set", "tienda.access=open", "user"}, nil, "refuses tienda.access: open"},
		"sandbox in production":    {[]string{"run", "--data", t.TempDir(), "--set", port(), "--profile", "production", "--set", "tienda.payment.sandbox.enabled=true", "payment"}, nil, "refuses the sandbox"},
		"database that is away":    {[]string{"run", "--data", t.TempDir(), "--set", port(), "user"}, []string{"SPRING_DATASOURCE_URL=jdbc:mysql://u:hunter2@127.0.0.1:1/x"}, "connect to jdbc:mysql://127.0.0.1:1/x"},
		"data source of no engine": {[]string{"run", "--data", t.TempDir(), "--set", port(), "user"}, []string{"SPRING_DATASOURCE_URL=postgres://h/x"}, "jdbc:mysql://HOST"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out lockedBuffer
			err := Run(t.Context(), c.args, c.environ, terminal{&out, &out})
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("Run = %v, want an error that says %q", err, c.says)
			}
			if err != nil && strings.Contains(sentence(err), "\n") {
				t.Errorf("%q is no single sentence", sentence(err))
			}
		})
	}
}
