package load

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tienda/api"
)

// fakeShop is a shop in memory that can lie. Its honest self keeps every promise that Verify looks at;
// a lie breaks one, for the first order that it can be told of.
type fakeShop struct {
	*httptest.Server
	lie string

	mu     sync.Mutex
	told   bool // the lie
	users  map[string]api.ID
	carts  map[api.ID]*api.Cart
	mine   map[api.ID]api.ID // the open cart of a user
	orders []*fakeOrder
	keys   map[string]*stored
	ids    api.ID
	tries  map[string]int
	mute   string // the key that is never answered
}

type fakeOrder struct {
	api.Order
	payments  []api.Payment
	shipments []api.Shipment
	hidden    bool
}

type stored struct {
	status int
	body   any
	order  *fakeOrder
}

func usd(cents int64) *api.Amount { return new(api.Currency{Code: "USD", Digits: 2}.Amount(cents)) }

func newFakeShop(t *testing.T, lie string) *fakeShop {
	t.Helper()
	f := &fakeShop{lie: lie, users: map[string]api.ID{}, carts: map[api.ID]*api.Cart{}, mine: map[api.ID]api.ID{}, keys: map[string]*stored{}, tries: map[string]int{}, ids: 100}
	mux := http.NewServeMux()
	handle := func(pattern string, do func(w http.ResponseWriter, r *http.Request) (int, any)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			status, body := func() (int, any) {
				f.mu.Lock()
				defer f.mu.Unlock()
				return do(w, r)
			}()
			if status == 0 {
				panic(http.ErrAbortHandler) // the connection is cut
			}
			text, err := json.Marshal(body)
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Type", "application/json")
			if w.Header().Get("Cut") != "" {
				w.Header().Set("Content-Length", fmt.Sprint(len(text)+1))
			}
			w.WriteHeader(status)
			_, _ = w.Write(text)
		})
	}
	handle("GET /app/.well-known/jwks.json", func(http.ResponseWriter, *http.Request) (int, any) {
		return 200, map[string]any{"keys": []any{map[string]string{}}}
	})
	handle("POST /app/api/users", f.register)
	handle("POST /app/api/authenticate", f.logIn)
	handle("GET /app/api/me", f.me)
	handle("GET /app/api/me/orders", f.list)
	handle("GET /product-service/api/products", func(http.ResponseWriter, *http.Request) (int, any) {
		return 200, api.List[api.Product]{Collection: []api.Product{product(1), product(2), product(3)}, Page: &api.Page{TotalElements: 3}}
	})
	handle("GET /product-service/api/products/{id}", func(http.ResponseWriter, *http.Request) (int, any) { return 200, product(1) })
	handle("POST /product-service/api/products/{id}/stock-movements", func(http.ResponseWriter, *http.Request) (int, any) { return 201, true })
	handle("GET /order-service/api/carts/mine", f.myCart)
	handle("POST /order-service/api/carts", func(_ http.ResponseWriter, r *http.Request) (int, any) { return 201, f.cart(f.who(r)) })
	handle("PUT /order-service/api/carts/{cart}/items/{product}", f.putItem)
	handle("DELETE /order-service/api/carts/{cart}/items/{product}", f.takeOut)
	handle("POST /order-service/api/carts/{cart}/checkout", f.checkout)
	handle("GET /order-service/api/orders", f.list)
	handle("GET /order-service/api/orders/{order}", f.order)
	handle("POST /order-service/api/orders/{order}/cancel", f.cancel)
	handle("GET /payment-service/api/payments", f.payments)
	handle("GET /payment-service/api/ledger", f.ledger)
	handle("GET /shipping-service/api/shipments", f.shipments)
	handle("POST /shipping-service/api/shipments/{id}/events", f.ship)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

func product(id api.ID) api.Product {
	return api.Product{ProductID: id, ProductTitle: new(fmt.Sprintf("Thing %d", id)), PriceUnit: usd(int64(id) * 110)}
}

// lies reports whether the lie is told now; it is told once.
func (f *fakeShop) lies(name string) bool {
	if f.lie != name || f.told {
		return false
	}
	f.told = true
	return true
}

func (f *fakeShop) next() api.ID { f.ids++; return f.ids }

func (f *fakeShop) who(r *http.Request) api.ID {
	return f.users[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
}

func (f *fakeShop) register(_ http.ResponseWriter, r *http.Request) (int, any) {
	var in struct{ Credential struct{ Username string } }
	_ = json.NewDecoder(r.Body).Decode(&in)
	f.users[in.Credential.Username] = f.next()
	return 201, api.User{UserID: f.ids}
}

func (f *fakeShop) logIn(_ http.ResponseWriter, r *http.Request) (int, any) {
	var in api.Login
	_ = json.NewDecoder(r.Body).Decode(&in)
	if *in.Username == "admin" {
		f.users["admin"] = 1
	}
	if f.users[*in.Username] == 0 || *in.Password == "wrong" {
		return 401, api.Unauthorized("%s", api.BadCredentials)
	}
	return 200, api.Tokens{JWTToken: *in.Username, RefreshToken: "r", ExpiresIn: 900}
}

func (f *fakeShop) me(_ http.ResponseWriter, r *http.Request) (int, any) {
	id := f.who(r)
	if id == 0 {
		return 401, api.Unauthorized("no")
	}
	return 200, api.Me{User: api.User{UserID: id}, Roles: []string{api.RoleUser, map[bool]string{true: api.RoleAdmin}[id == 1]}}
}

func (f *fakeShop) cart(user api.ID) *api.Cart {
	c := &api.Cart{CartID: f.next(), UserID: user, State: api.CartOpen, Items: []api.CartItem{}, Currency: "USD"}
	f.carts[c.CartID] = c
	return c
}

func (f *fakeShop) myCart(_ http.ResponseWriter, r *http.Request) (int, any) {
	user := f.who(r)
	if c := f.carts[f.mine[user]]; c != nil && c.State == api.CartOpen {
		return 200, c
	}
	c := f.cart(user)
	f.mine[user] = c.CartID
	return 200, c
}

func pathID(r *http.Request, name string) api.ID { id, _ := api.ParseID(r.PathValue(name)); return id }

func (f *fakeShop) putItem(_ http.ResponseWriter, r *http.Request) (int, any) {
	var in api.CartQuantity
	_ = json.NewDecoder(r.Body).Decode(&in)
	_, _ = f.takeOut(nil, r)
	c, id := f.carts[pathID(r, "cart")], pathID(r, "product")
	c.Items = append(c.Items, api.CartItem{ProductID: id, Quantity: in.Quantity, UnitPrice: *product(id).PriceUnit})
	return 200, c
}

func (f *fakeShop) takeOut(_ http.ResponseWriter, r *http.Request) (int, any) {
	c := f.carts[pathID(r, "cart")]
	for i, item := range c.Items {
		if item.ProductID == pathID(r, "product") {
			c.Items = append(c.Items[:i:i], c.Items[i+1:]...)
			break
		}
	}
	return 204, nil
}

// checkout answers like the shop; the lies about answers are here.
func (f *fakeShop) checkout(w http.ResponseWriter, r *http.Request) (int, any) {
	var in api.Checkout
	_ = json.NewDecoder(r.Body).Decode(&in)
	key := r.Header.Get("Idempotency-Key")
	f.tries[key]++
	switch n := f.tries[key]; {
	case f.lies("never answers"), f.mute == key:
		f.mute = key
		return 0, nil
	case f.lie == "rough" && n == 1: // no lie: a hard day
		switch len(f.tries) % 5 {
		case 0:
			return 0, nil
		case 1:
			f.place(r, in, key)
			return 0, nil
		case 2:
			f.place(r, in, key)
			return 502, api.Status(502, "")
		case 3:
			w.Header().Set("Retry-After", "1")
			return 409, api.Conflict("busy")
		default:
			w.Header().Set("Cut", "yes")
		}
	}
	known := f.keys[key]
	if known == nil {
		known = f.place(r, in, key)
	} else if !f.lies("no replay mark") {
		w.Header().Set("Idempotency-Replayed", "true")
		if f.lies("another order on replay") {
			return 201, f.place(r, in, key+"again").body
		}
		if f.lies("another answer on replay") {
			problem := api.PaymentRequired("DECLINED", "no")
			problem.OrderID = known.order.OrderID
			return 402, problem
		}
	}
	if known.status == 201 && r.Header.Get("Prefer") == "respond-async" {
		return 202, known.order.Order
	}
	return known.status, known.body
}

// place makes an order; the lies about orders are here.
func (f *fakeShop) place(r *http.Request, in api.Checkout, key string) *stored {
	c := f.carts[pathID(r, "cart")]
	o := &fakeOrder{Order: api.Order{OrderID: f.next(), UserID: f.who(r), Cart: &api.Cart{CartID: c.CartID}, Status: api.OrderConfirmed, Currency: "USD", Tax: usd(0), ShippingFee: usd(500)}}
	cents := money("USD")
	total := int64(0)
	for _, i := range c.Items {
		line := cents(&i.UnitPrice) * i.Quantity
		total += line
		o.Items = append(o.Items, api.OrderLine{ProductID: i.ProductID, Quantity: i.Quantity, UnitPrice: i.UnitPrice, LineTotal: *usd(line)})
	}
	o.Subtotal, o.OrderFee = usd(total), usd(total+500)
	payment := api.Payment{PaymentID: f.next(), Order: &api.Order{OrderID: o.OrderID}, State: api.PaymentCaptured, Amount: o.OrderFee, CapturedAmount: o.OrderFee, RefundedAmount: usd(0)}
	shipment := api.Shipment{ShipmentID: f.next(), OrderID: o.OrderID, State: api.ShipmentPending}
	answer := &stored{status: 201, order: o}
	f.keys[key] = answer
	f.orders = append(f.orders, o)
	switch in.PaymentMethod.Token {
	case "tok_declined", "tok_insufficient_funds":
		o.Status, payment.State, payment.CapturedAmount = api.OrderCancelled, api.PaymentDeclined, usd(0)
		switch {
		case f.lies("charged and cancelled"):
			payment.State, payment.CapturedAmount = api.PaymentCaptured, o.OrderFee
		case f.lies("held and cancelled"):
			payment.State = api.PaymentAuthorized
		case f.lies("shipped and cancelled"):
			o.shipments = []api.Shipment{shipment}
		case f.lies("cancelled and sold"):
			o.Status = api.OrderConfirmed
		}
		o.payments = []api.Payment{payment}
		problem := api.PaymentRequired("DECLINED", "no")
		problem.OrderID = o.OrderID
		answer.status, answer.body = 402, problem
		return answer
	}
	o.payments, o.shipments, o.Payment = []api.Payment{payment}, []api.Shipment{shipment}, &api.OrderPayment{PaymentID: payment.PaymentID, State: payment.State}
	o.Shipment = &api.OrderShipment{ShipmentID: shipment.ShipmentID, State: shipment.State}
	c.State = api.CartClosed
	answer.body = o.Order
	switch {
	case f.lies("order lost"):
		o.hidden = true
	case f.lies("sold and cancelled"):
		o.Status = api.OrderCancelled
	case f.lies("another total"):
		o.OrderFee, o.ShippingFee = usd(total+600), usd(600)
	case f.lies("total is no sum"):
		o.OrderFee = usd(total + 499)
		answer.body = o.Order
	case f.lies("another line"):
		o.Items[0].Quantity++
	case f.lies("another price"):
		o.Items[0].UnitPrice = *usd(1)
	case f.lies("charged twice"):
		o.payments = append(o.payments, payment)
	case f.lies("not charged"):
		o.payments = nil
	case f.lies("authorised only"):
		o.payments[0].State, o.payments[0].CapturedAmount = api.PaymentAuthorized, usd(0)
	case f.lies("charged too much"):
		o.payments[0].CapturedAmount = usd(total + 501)
	case f.lies("no shipment"):
		o.shipments = nil
	case f.lies("two shipments"):
		o.shipments = append(o.shipments, shipment)
	case f.lies("cart sold twice"), f.lies("order nobody asked for"):
		extra := *o
		extra.OrderID = f.next()
		if f.lie == "order nobody asked for" {
			extra.Cart = &api.Cart{CartID: f.next()}
		}
		f.orders = append(f.orders, &extra)
	case f.lie == "never rests" && r.Header.Get("Prefer") == "respond-async" && f.lies("never rests"):
		o.Status = api.OrderPending
	case len(f.orders) > 1 && f.lie == "two keys, one order" && f.orders[len(f.orders)-2].UserID == o.UserID && f.lies("two keys, one order"):
		f.orders = f.orders[:len(f.orders)-1]
		answer.order = f.orders[len(f.orders)-1]
		answer.body = answer.order.Order
	}
	return answer
}

func (f *fakeShop) list(_ http.ResponseWriter, r *http.Request) (int, any) {
	list := []api.Order{}
	for _, o := range f.orders {
		if o.UserID == f.who(r) && !o.hidden {
			list = append(list, o.Order)
			if f.lie == "listed twice" && len(list) == 1 {
				list = append(list, o.Order)
			}
		}
	}
	return 200, api.List[api.Order]{Collection: list}
}

func (f *fakeShop) find(id api.ID) *fakeOrder {
	for _, o := range f.orders {
		if o.OrderID == id {
			return o
		}
	}
	return &fakeOrder{}
}

func (f *fakeShop) order(_ http.ResponseWriter, r *http.Request) (int, any) {
	if o := f.find(pathID(r, "order")); o.OrderID != 0 {
		return 200, o.Order
	}
	return 404, api.NotFound("no order")
}

func (f *fakeShop) cancel(_ http.ResponseWriter, r *http.Request) (int, any) {
	o := f.find(pathID(r, "order"))
	if f.lies("cancellation forgotten") {
		return 200, o.Order
	}
	o.Status = api.OrderCancelled
	for i := range o.shipments {
		o.shipments[i].State = api.ShipmentCancelled
	}
	for i := range o.payments {
		o.payments[i].State, o.payments[i].RefundedAmount = api.PaymentRefunded, o.payments[i].CapturedAmount
	}
	return 200, o.Order
}

func (f *fakeShop) ship(_ http.ResponseWriter, r *http.Request) (int, any) {
	var in api.ShipmentEvent
	_ = json.NewDecoder(r.Body).Decode(&in)
	if f.lies("parcel forgotten") || f.lie == "parcel forgotten" {
		return 200, true
	}
	for _, o := range f.orders {
		for i := range o.shipments {
			if o.shipments[i].ShipmentID == pathID(r, "id") {
				o.shipments[i].State = in.State
			}
		}
	}
	return 200, true
}

// wanted are the orders that a query names.
func (f *fakeShop) wanted(r *http.Request) []*fakeOrder {
	query := r.URL.Query()
	var found []*fakeOrder
	for text := range strings.SplitSeq(query.Get("orderIds")+query.Get("orderId"), ",") {
		id, _ := api.ParseID(text)
		found = append(found, f.find(id))
	}
	return found
}

func (f *fakeShop) payments(_ http.ResponseWriter, r *http.Request) (int, any) {
	var all []api.Payment
	for _, o := range f.wanted(r) {
		all = append(all, o.payments...)
	}
	return 200, api.List[api.Payment]{Collection: all}
}

func (f *fakeShop) shipments(_ http.ResponseWriter, r *http.Request) (int, any) {
	var all []api.Shipment
	for _, o := range f.wanted(r) {
		all = append(all, o.shipments...)
	}
	return 200, api.List[api.Shipment]{Collection: all}
}

func (f *fakeShop) ledger(_ http.ResponseWriter, r *http.Request) (int, any) {
	if f.who(r) != 1 {
		return 403, api.Forbidden("no")
	}
	postings := []api.Posting{}
	cents := money("USD")
	for _, o := range f.wanted(r) {
		for _, p := range o.payments {
			has := cents(p.CapturedAmount) - cents(p.RefundedAmount)
			if has != 0 && f.lies("books do not balance") {
				has++
			}
			postings = append(postings, api.Posting{Account: "provider", Amount: *usd(has)}, api.Posting{Account: "sales", Amount: *usd(cents(p.RefundedAmount) - cents(p.CapturedAmount))})
		}
		if o.Status == api.OrderConfirmed && f.lies("books say nothing") {
			postings = nil
		}
	}
	return 200, postings
}

// rushed are options for a shop that answers at once, or never will.
func rushed(target string) Options {
	mix := Mixes()["hostile"]
	mix.Cancel, mix.Ship, mix.Declined = 0, 30, 20
	return Options{Target: target, Users: 3, Checkouts: 60, Mix: mix, Seed: 5, Admin: Credentials{"admin", "0000"}, Rest: time.Second, Resolve: time.Second}
}

// TestLostConnectionsAreRepeated: what may be sent twice is, once; what may not, or fails again, is an error.
func TestLostConnectionsAreRepeated(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method         string
		lost           int
		repeated, errs int64
	}{
		"a read":               {http.MethodGet, 1, 1, 0},
		"a thing set to value": {http.MethodPut, 1, 1, 0},
		"lost twice":           {http.MethodGet, 2, 1, 1},
		"a new thing":          {http.MethodPost, 1, 0, 1},
		"a thing taken away":   {http.MethodDelete, 1, 0, 1},
		"nothing lost":         {http.MethodPut, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls int
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body) // what is missing shows below
				if calls++; calls <= c.lost {
					connection, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					_ = connection.Close()
					return
				}
				if c.method == http.MethodPut && string(body) != `{"quantity":2}` {
					t.Errorf("call %d has the body %q", calls, body)
				}
				_, _ = w.Write([]byte("{}"))
			}))
			t.Cleanup(server.Close)
			s := &shop{base: server.URL, http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, meter: newMeter()}
			request := call{step: stepItem, method: c.method, path: "/"}
			if c.method == http.MethodPut {
				request.body = map[string]int{"quantity": 2}
			}
			_, err := s.once(t.Context(), request, "")
			row := s.meter.table(time.Time{}, time.Time{})[0]
			if (err != nil) != (c.errs > 0) || row.Repeated != c.repeated || row.Errors[lost] != c.errs || row.Count != 1 {
				t.Errorf("%+v, %v; want %d repeated and %d lost", row, err, c.repeated, c.errs)
			}
		})
	}
}
