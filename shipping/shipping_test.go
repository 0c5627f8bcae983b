package shipping

import (
	"bytes"
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

// neighbours are an order-service and a product-service with rows 1 to 4; order n is of user n.
type neighbours struct {
	mu     sync.Mutex
	down   bool
	lost   bool // takes what it is told and loses the answer
	calls  int
	told   []string
	tokens []string
}

func (n *neighbours) state() (down, lost bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	return n.down, n.lost
}

func (n *neighbours) set(down, lost bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down, n.lost = down, lost
}

func (n *neighbours) heard() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string{}, n.told...)
}

func (n *neighbours) Order(_ context.Context, id api.ID) (api.Order, error) {
	if down, _ := n.state(); down || id > 4 {
		return api.Order{}, api.NotFound("Order with id: %d not found", id)
	}
	return api.Order{OrderID: id, OrderDesc: new("init"), OrderFee: new(dollars.Amount(9999)), Cart: &api.Cart{CartID: id}, UserID: id}, nil
}

func (n *neighbours) Orders(_ context.Context, ids []api.ID) ([]api.Order, error) {
	if down, _ := n.state(); down {
		return nil, api.Unavailable("order-service")
	}
	var list []api.Order
	for _, id := range ids {
		if id <= 4 {
			list = append(list, api.Order{OrderID: id, OrderDesc: new("init"), OrderFee: new(dollars.Amount(9999)), Cart: &api.Cart{CartID: id}})
		}
	}
	return list, nil
}

func (n *neighbours) Products(_ context.Context, ids []api.ID) ([]api.Product, error) {
	if down, _ := n.state(); down {
		return nil, api.Unavailable("product-service")
	}
	var list []api.Product
	for _, id := range ids {
		if id <= 4 {
			list = append(list, api.Product{ProductID: id, ProductTitle: new("asus"), Quantity: new(api.Int(50)), Category: &api.Category{CategoryID: 1}})
		}
	}
	return list, nil
}

func (n *neighbours) ShipmentChanged(ctx context.Context, order api.ID, change api.ShipmentChange) error {
	down, lost := n.state()
	if down {
		return api.Unavailable("order-service")
	}
	n.mu.Lock()
	n.told = append(n.told, fmt.Sprintf("order %d shipment %d %s %s", order, change.ShipmentID, change.State, change.TrackingNumber))
	n.tokens = append(n.tokens, api.Token(ctx))
	n.mu.Unlock()
	if lost {
		return api.Timeout("order-service")
	}
	return nil
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

// shop is a shipping-service under test.
type shop struct {
	*Service
	t          *testing.T
	server     *httptest.Server
	clock      *clock
	neighbours *neighbours
}

func open(t *testing.T, db *sqldb.DB) *shop {
	t.Helper()
	h := &shop{t: t, clock: &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, neighbours: &neighbours{}}
	identity := auth.NewIdentity("shipping-service", ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), h.clock.now)
	h.Service = New(db, h.neighbours, h.neighbours, identity, dollars, DefaultSettings(), slog.New(slog.DiscardHandler), h.clock.now)
	handler, err := web.New(web.API{Name: "shipping-service", Context: "/shipping-service", Routes: h.Routes(), Verify: whoever, Log: h.log})
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
	request, err := http.NewRequestWithContext(h.t.Context(), method, h.server.URL+"/shipping-service/api"+path, strings.NewReader(body))
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

// move posts an event of a shipment under a key of its own.
func (h *shop) move(token string, shipment api.ID, key, state string) answer {
	h.t.Helper()
	return h.call(token, "POST", fmt.Sprintf("/shipments/%d/events", shipment), fmt.Sprintf(`{"state":%q,"trackingNumber":"TN1","carrier":"post"}`, state),
		"Idempotency-Key", key)
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

const address = `"shippingAddress":{"fullAddress":"carthage byrsa","postalCode":"2016","city":"carthage","country":"TN"}`

func newShipment(order, user int) string {
	return fmt.Sprintf(`{"orderId":%d,"userId":%d,%s,"items":[{"productId":2,"quantity":3},{"productId":1,"quantity":1}]}`, order, user, address)
}

func TestOrderItems(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		for range 2 {
			if err := Demo(t.Context(), db, h.clock.now()); err != nil {
				t.Fatal(err)
			}
		}
		var demo []string
		for _, item := range into[api.List[api.OrderItem]](t, h.call(admin, "GET", "/shippings", "").want(t, 200)).Collection {
			demo = append(demo, fmt.Sprintf("%d %d %d", item.ProductID, item.OrderID, *item.OrderedQuantity))
		}
		if diff := cmp.Diff([]string{"1 1 2", "1 2 1", "2 1 1", "2 2 1"}, demo); diff != "" {
			t.Errorf("demo rows (-want +got):\n%s", diff)
		}
		created := h.call(admin, "POST", "/shippings/", `{"productId":"3","orderId":9,"orderedQuantity":"2","productDto":{"productId":3,"x":1},"note":1}`).want(t, 201)
		want := `{"productId":3,"orderId":9,"orderedQuantity":2,` +
			`"product":{"productId":3,"productTitle":null,"imageUrl":null,"sku":null,"priceUnit":null,"quantity":null},` +
			`"order":{"orderId":9,"orderDate":null,"orderDesc":null,"orderFee":null}}`
		if created.body != want {
			t.Errorf("POST /shippings = %s, want %s", created.body, want)
		}
		if got, want := created.header.Get("Location"), "/shipping-service/api/shippings/9/3"; got != want {
			t.Errorf("Location = %s, want %s", got, want)
		}
		h.call(admin, "POST", "/shippings", `{"productId":3,"orderId":9,"orderedQuantity":7}`).want(t, 200) // the pair exists
		h.call(service, "PUT", "/shippings", `{"productId":3,"orderId":9}`).want(t, 200)                    // changes nothing
		if got := into[api.OrderItem](t, h.call(admin, "GET", "/shippings/9/3", "").want(t, 200)); *got.OrderedQuantity != 7 {
			t.Errorf("orderedQuantity = %d, want 7", *got.OrderedQuantity)
		}
		// The first number of the path is the order, the second the product: for reading and deleting.
		h.call(admin, "POST", "/shippings", `{"productId":9,"orderId":3}`).want(t, 201)
		h.call(admin, "DELETE", "/shippings/9/3", "").want(t, 200)
		h.call(admin, "GET", "/shippings/9/3", "").want(t, 404)
		h.call(admin, "GET", "/shippings/3/9", "").want(t, 200)
		found := h.call("user:1", "GET", "/shippings/find", `{"productId":2,"orderId":1}`).want(t, 200)
		want = `{"productId":2,"orderId":1,"orderedQuantity":1,` +
			`"product":{"productId":2,"productTitle":"asus","imageUrl":null,"sku":null,"priceUnit":null,"quantity":50},` +
			`"order":{"orderId":1,"orderDate":null,"orderDesc":"init","orderFee":99.99}}`
		if found.body != want {
			t.Errorf("GET /shippings/find = %s, want %s", found.body, want)
		}
		h.call("user:1", "GET", "/shippings/find?orderId=1&productId=2", "").want(t, 200)
		if got := h.call(admin, "DELETE", "/shippings/delete", `{"productId":9,"orderId":3}`).want(t, 200).body; got != "true" {
			t.Errorf("DELETE /shippings/delete = %s, want true", got)
		}
		missing := into[api.Problem](t, h.call(admin, "DELETE", "/shippings/delete", `{"productId":9,"orderId":3}`).want(t, 404))
		if want := "#### OrderItem with id: OrderItemId(productId=9, orderId=3) not found! ####"; missing.Msg != want {
			t.Errorf("msg = %q, want %q", missing.Msg, want)
		}
	})
}

func TestRefused(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	rates := `{` + address + `,"items":[{"productId":1,"quantity":1}]}`
	for _, tt := range []struct {
		name, token, method, path, body string
		want                            int
	}{
		{"no key", admin, "POST", "/shippings", `{"orderedQuantity":1}`, 422},
		{"negative key", admin, "POST", "/shippings", `{"orderId":-1,"productId":1}`, 422},
		{"negative quantity", admin, "POST", "/shippings", `{"orderId":1,"productId":1,"orderedQuantity":-1}`, 422},
		{"large quantity", admin, "POST", "/shippings", `{"orderId":1,"productId":1,"orderedQuantity":100000}`, 422},
		{"wrong type", admin, "POST", "/shippings", `{"orderId":"x","productId":1}`, 400},
		{"find without body", admin, "GET", "/shippings/find", ``, 400},
		{"find by half a key", admin, "GET", "/shippings/find", `{"orderId":1}`, 422},
		{"bad query", admin, "GET", "/shippings/find?orderId=a&productId=1", ``, 400},
		{"not numbers", admin, "GET", "/shippings/a/b", ``, 404},
		{"list of none", admin, "GET", "/shippings?orderIds=", ``, 200},
		{"bad filter", admin, "GET", "/shipments?orderIds=1,b", ``, 400},
		{"bad sort", admin, "GET", "/shipments?sort=userId", ``, 422},
		{"rates to nowhere", "user:1", "POST", "/rates", strings.Replace(rates, "TN", "XX", 1), 422},
		{"rates of nothing", "user:1", "POST", "/rates", `{` + address + `,"items":[]}`, 422},
		{"rates of no quantity", "user:1", "POST", "/rates", strings.Replace(rates, `"quantity":1`, `"quantity":0`, 1), 422},
		{"a product twice", "user:1", "POST", "/rates", strings.Replace(rates, `[{`, `[{"productId":1,"quantity":1},{`, 1), 422},
		{"control character", "user:1", "POST", "/rates", strings.Replace(rates, "byrsa", `\u0000`, 1), 422},
		{"misspelt", "user:1", "POST", "/rates", strings.Replace(rates, "items", "item", 1), 400},
		{"anonymous rates", "", "POST", "/rates", rates, 401},
		{"shipment by a user", "user:1", "POST", "/shipments", newShipment(1, 1), 403},
		{"shipment by an administrator", admin, "POST", "/shipments", newShipment(1, 1), 403},
		{"shipment of no order", service, "POST", "/shipments", newShipment(0, 1), 422},
		{"unknown service", service, "POST", "/shipments", strings.Replace(newShipment(1, 1), `{`, `{"service":"DRONE",`, 1), 422},
		{"event without key", admin, "POST", "/shipments/1/events", `{"state":"LABEL_CREATED"}`, 400},
		{"unknown shipment", admin, "GET", "/shipments/77", ``, 404},
	} {
		if got := h.call(tt.token, tt.method, tt.path, tt.body); got.status != tt.want {
			t.Errorf("%s: %s %s = %d, want %d: %s", tt.name, tt.method, tt.path, got.status, tt.want, got.body)
		}
	}
	h.move(admin, 77, "a", api.ShipmentLabelCreated).want(t, 404)
	h.call(service, "POST", "/shipments", newShipment(1, 1)).want(t, 201)
	h.move(admin, 1, "b", "FLYING").want(t, 422)
	h.move("user:1", 1, "c", api.ShipmentLabelCreated).want(t, 403)
	h.call(admin, "POST", "/shipments/1/events", `{"state":"LABEL_CREATED","carrier":"`+strings.Repeat("x", 65)+`"}`, "Idempotency-Key", "d").want(t, 422)
}

func TestOwnership(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		if err := Demo(t.Context(), db, h.clock.now()); err != nil {
			t.Fatal(err)
		}
		h.call(service, "POST", "/shipments", newShipment(3, 3)).want(t, 201)
		h.call(service, "POST", "/shipments", newShipment(4, 4)).want(t, 201)
		for token, want := range map[string][2]int{"user:1": {2, 0}, "user:3": {2, 1}, "user:9": {0, 0}, admin: {8, 2}} {
			items := into[api.List[api.OrderItem]](t, h.call(token, "GET", "/shippings", "").want(t, 200)).Collection
			shipments := into[api.List[api.Shipment]](t, h.call(token, "GET", "/shipments", "").want(t, 200)).Collection
			if got := [2]int{len(items), len(shipments)}; got != want {
				t.Errorf("items and shipments of %s = %v, want %v", token, got, want)
			}
		}
		h.call("user:1", "GET", "/shippings/1/1", "").want(t, 200)
		h.call("user:2", "GET", "/shippings/1/1", "").want(t, 404)
		h.call("user:3", "GET", "/shipments/1", "").want(t, 200)
		h.call("user:4", "GET", "/shipments/1", "").want(t, 404)
		h.call("user:1", "POST", "/shippings", `{"orderId":1,"productId":1}`).want(t, 403)
		h.call("user:1", "DELETE", "/shippings/1/1", "").want(t, 403)
		h.call("", "GET", "/shippings", "").want(t, 401)
	})
}

func TestListAsksOnce(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	for i := range 10 {
		h.call(admin, "POST", "/shippings", fmt.Sprintf(`{"orderId":%d,"productId":%d}`, i%2+1, i+1)).want(t, 201)
	}
	h.neighbours.calls = 0
	var got []string
	for path := "/shippings?size=4"; ; {
		page := into[api.List[api.OrderItem]](t, h.call(admin, "GET", path, "").want(t, 200))
		for _, item := range page.Collection {
			got = append(got, item.ProductID.String())
		}
		if page.Page.Next == "" {
			break
		}
		path = "/shippings?size=4&after=" + page.Page.Next
	}
	if want := "1 2 3 4 5 6 7 8 9 10"; strings.Join(got, " ") != want {
		t.Errorf("pages = %v, want %s", got, want)
	}
	if h.neighbours.calls != 6 {
		t.Errorf("calls to neighbours = %d, want 2 for each of 3 pages", h.neighbours.calls)
	}
	h.neighbours.set(true, false)
	list := into[api.List[api.OrderItem]](t, h.call(admin, "GET", "/shippings?orderId=1&sort=productId,desc", "").want(t, 200)).Collection
	if len(list) != 5 || list[0].Product.ProductID != 9 || list[0].Product.ProductTitle != nil || list[0].Order.OrderDesc != nil {
		t.Errorf("items without neighbours = %+v, want 5 with bare ids", list)
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	for _, tt := range []struct{ country, want string }{
		{"TN", `[{"service":"STANDARD","amount":6.00,"currency":"USD","days":3},{"service":"EXPRESS","amount":15.00,"currency":"USD","days":1}]`},
		{"FR", `[{"service":"STANDARD","amount":10.00,"currency":"USD","days":6},{"service":"EXPRESS","amount":28.00,"currency":"USD","days":2}]`},
		{"US", `[{"service":"STANDARD","amount":20.00,"currency":"USD","days":12},{"service":"EXPRESS","amount":48.00,"currency":"USD","days":4}]`},
	} {
		body := `{` + strings.Replace(address, "TN", tt.country, 1) + `,"items":[{"productId":1,"quantity":2},{"productId":2,"quantity":1}]}`
		if got := h.call("user:1", "POST", "/rates", body).want(t, 200).body; got != tt.want {
			t.Errorf("rates to %s = %s, want %s", tt.country, got, tt.want)
		}
	}
	for length, status := range map[int]int{255: 200, 256: 422} { // characters, as order-service counts them, and not bytes
		to := api.ShippingAddress{FullAddress: strings.Repeat("ش", length), PostalCode: "2016", City: "قرطاج", Country: "TN"}
		body, err := json.Marshal(api.RateRequest{ShippingAddress: to, Items: []api.ItemQuantity{{ProductID: 1, Quantity: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		h.call("user:1", "POST", "/rates", string(body)).want(t, status)
	}
	h.settings.Express = Tariff{}
	got := into[[]api.Rate](t, h.call("user:1", "POST", "/rates", `{`+address+`,"items":[{"productId":1,"quantity":1}]}`).want(t, 200))
	if got[0].Service != serviceExpress {
		t.Errorf("first rate = %s, want the cheapest", got[0].Service)
	}
}
