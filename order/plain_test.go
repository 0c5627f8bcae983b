package order

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/sqldb"
	"tienda/web"
)

// plainOrder makes a cart and an order on it through the existing API.
func (f *fixture) plainOrder(t *testing.T, user string) api.Order {
	t.Helper()
	c := decode[api.Cart](t, f.want(t, http.StatusCreated, user, "POST", "/api/carts", `{}`))
	return decode[api.Order](t, f.want(t, http.StatusCreated, user, "POST", "/api/orders",
		fmt.Sprintf(`{"orderDesc":"init","orderFee":99.99,"cart":{"cartId":%d}}`, c.CartID)))
}

func TestPlainOrders(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := build(t, db, newWorld())
		c := decode[api.Cart](t, f.want(t, http.StatusCreated, "user:5", "POST", "/api/carts/", `{"userId":"5","unknown":1}`))
		// Lenient: numeric strings, aliases, unknown fields, an explicit id that does not exist, RFC 3339.
		got := f.want(t, http.StatusCreated, "user:5", "POST", "/api/orders", fmt.Sprintf(
			`{"orderId":"77","orderDate":"2025-11-04T23:52:00.805Z","orderDesc":"init","orderFee":"5000","extra":[1],"cartDto":{"cartId":"%d","userId":9}}`, c.CartID))
		o := decode[api.Order](t, got)
		if o.OrderID != 1 || got.header.Get("Location") != "/order-service/api/orders/1" {
			t.Errorf("created %s at %q", got.body, got.header.Get("Location"))
		}
		for _, want := range []string{`"orderDate":"04-11-2025__23:52:00:805000"`, `"orderFee":5000.00`, fmt.Sprintf(`"cart":{"cartId":%d,"userId":null}`, c.CartID), `"status":"CREATED"`} {
			if !strings.Contains(got.body, want) {
				t.Errorf("%s lacks %s", got.body, want)
			}
		}
		// Fields that are absent stay; the id of the path wins.
		o = decode[api.Order](t, f.want(t, http.StatusOK, "user:5", "PUT", "/api/orders/1", `{"orderId":9,"orderDesc":"new"}`))
		if *o.OrderDesc != "new" || o.OrderFee.String() != "5000.0" || o.OrderID != 1 {
			t.Errorf("after PUT /1: %+v", o)
		}
		o = decode[api.Order](t, f.want(t, http.StatusOK, "user:5", "PUT", "/api/orders", `{"orderId":1,"orderFee":1.5}`))
		if *o.OrderDesc != "new" || o.OrderFee.String() != "1.5" {
			t.Errorf("after PUT: %+v", o)
		}
		o = decode[api.Order](t, f.want(t, http.StatusOK, "user:5", "POST", "/api/orders", `{"orderId":1,"orderDesc":"post"}`))
		if *o.OrderDesc != "post" {
			t.Errorf("after POST: %+v", o)
		}
		got = f.want(t, http.StatusOK, "user:5", "GET", "/api/orders/1/", "")
		f.want(t, http.StatusPreconditionFailed, "user:5", "PUT", "/api/orders/1", `{"orderDesc":"x"}`, "If-Match", `"1"`)
		f.want(t, http.StatusOK, "user:5", "PUT", "/api/orders/1", `{"orderDesc":"x"}`, "If-Match", got.header.Get("ETag"))
		f.want(t, http.StatusCreated, "user:5", "PUT", "/api/orders", fmt.Sprintf(`{"cart":{"cartId":%d}}`, c.CartID))

		if got := f.want(t, http.StatusOK, "user:5", "DELETE", "/api/orders/1", ""); strings.TrimSpace(got.body) != "true" {
			t.Errorf("DELETE = %s, want true", got.body)
		}
		p := decode[api.Problem](t, f.want(t, http.StatusNotFound, "user:5", "DELETE", "/api/orders/1", ""))
		if p.Msg != "#### Order with id: 1 not found! ####" {
			t.Errorf("msg = %q", p.Msg)
		}
	})
}

func TestPlainOrderRefusals(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := build(t, db, newWorld())
		o := f.plainOrder(t, "user:5")
		for _, test := range []struct {
			user, method, path, body string
			status                   int
		}{
			{"", "GET", "/api/orders", "", 401},
			{"user:6", "GET", "/api/orders/1", "", 404},
			{"user:6", "PUT", "/api/orders/1", `{"orderDesc":"mine"}`, 404},
			{"user:6", "PUT", "/api/orders", `{"orderId":1}`, 404},
			{"user:6", "POST", "/api/orders", `{"orderId":1}`, 409},
			{"user:6", "DELETE", "/api/orders/1", "", 404},
			{"user:6", "POST", "/api/orders", `{"cart":{"cartId":1}}`, 422},
			{"user:5", "POST", "/api/orders", `{"cart":{"cartId":99}}`, 422},
			{"user:5", "POST", "/api/orders", `{}`, 422},
			{"user:5", "PUT", "/api/orders/99", `{}`, 404},
			{"user:5", "PUT", "/api/orders", `{"orderId":99}`, 404},
			{"user:5", "GET", "/api/orders/abc", "", 404},
			{"user:5", "GET", "/api/orders/99999999999999999999", "", 404},
			{"user:5", "GET", "/api/orders/-1", "", 404},
			{"user:5", "PUT", "/api/orders/1", `{"orderFee":-1}`, 422},
			{"user:5", "PUT", "/api/orders/1", `{"orderFee":1.999}`, 422},
			{"user:5", "PUT", "/api/orders/1", `{"orderFee":1e15}`, 422},
			{"user:5", "PUT", "/api/orders/1", `{"orderFee":"much"}`, 400},
			{"user:5", "PUT", "/api/orders/1", `{"orderDate":"yesterday"}`, 400},
			{"user:5", "PUT", "/api/orders/1", `{"orderDesc":"` + strings.Repeat("d", 256) + `"}`, 422},
			{"user:5", "PUT", "/api/orders/1", `{"orderDesc":"a\u0000b"}`, 422},
			{"user:5", "PUT", "/api/orders/1", `{"cart":{"cartId":99}}`, 422},
			{"user:5", "PUT", "/api/orders/1", ``, 400},
			{"user:5", "GET", "/api/orders?status=NEW", "", 422},
			{"user:5", "GET", "/api/orders?ids=1,x", "", 400},
			{"user:5", "GET", "/api/orders?sort=password", "", 422},
			{"user:5", "GET", "/api/carts?userId=x", "", 400},
			{"user:6", "GET", "/api/carts/1", "", 404},
			{"user:6", "PUT", "/api/carts/1", `{}`, 404},
			{"user:6", "POST", "/api/carts", `{"cartId":1}`, 409},
			{"user:6", "POST", "/api/carts", `{"userId":5}`, 403},
			{"user:5", "PUT", "/api/carts/1", `{"userId":6}`, 403},
			{"user:5", "POST", "/api/carts", `{"userId":-1}`, 422},
			{"user:6", "DELETE", "/api/carts/1", "", 404},
			{"user:5", "DELETE", "/api/carts/99", "", 404},
		} {
			if got := f.send(test.user, test.method, test.path, test.body); got.status != test.status {
				t.Errorf("%s %s %.60s as %q = %d %s, want %d", test.method, test.path, test.body, test.user, got.status, got.body, test.status)
			}
		}
		now := decode[api.Order](t, f.want(t, http.StatusOK, "user:5", "GET", "/api/orders/1", ""))
		if now.Version != o.Version {
			t.Errorf("order changed from version %d to %d", o.Version, now.Version)
		}
	})
}

// Commerce relies on a checked-out order: the existing paths neither change nor delete it or its cart.
func TestCheckedOutStays(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := start(t, db, newWorld())
		o := f.buy(t, "user:5", "a")
		cart := o.Cart.CartID.String()
		plain := decode[api.Order](t, f.want(t, http.StatusCreated, "user:5", "POST", "/api/orders", `{"cart":{"cartId":`+cart+`}}`))
		for _, user := range []string{"user:5", "admin:4"} {
			f.want(t, http.StatusConflict, user, "PUT", orderPath(o.OrderID), `{"orderFee":0.01}`)
			f.want(t, http.StatusConflict, user, "PUT", "/api/orders", `{"orderId":`+o.OrderID.String()+`,"orderDesc":"x"}`)
			f.want(t, http.StatusConflict, user, "POST", "/api/orders", `{"orderId":`+o.OrderID.String()+`}`)
			f.want(t, http.StatusConflict, user, "DELETE", orderPath(o.OrderID), "")
			f.want(t, http.StatusConflict, user, "DELETE", "/api/carts/"+cart, "")
		}
		f.want(t, http.StatusConflict, "admin:4", "PUT", "/api/carts/"+cart, `{"userId":6}`)
		f.want(t, http.StatusOK, "user:5", "GET", orderPath(plain.OrderID), "")
		if again := f.orderIn(t, o.OrderID, api.OrderConfirmed); cmp.Diff(fmt.Sprint(o.OrderFee), fmt.Sprint(again.OrderFee)) != "" || again.Version != o.Version {
			t.Errorf("order changed: %+v", again)
		}
	})
}

func TestCartCascade(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := build(t, db, newWorld())
		o := f.plainOrder(t, "user:5")
		f.want(t, http.StatusOK, "user:5", "PUT", fmt.Sprintf("/api/carts/%d/items/1", o.Cart.CartID), `{"quantity":1}`)
		if got := f.want(t, http.StatusOK, "user:5", "DELETE", "/api/carts/"+o.Cart.CartID.String(), ""); strings.TrimSpace(got.body) != "true" {
			t.Errorf("DELETE = %s, want true", got.body)
		}
		f.want(t, http.StatusNotFound, "user:5", "GET", orderPath(o.OrderID), "")
		f.want(t, http.StatusNotFound, "user:5", "GET", "/api/carts/"+o.Cart.CartID.String(), "")
	})
}

func TestGiveCart(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := build(t, db, newWorld())
		o := f.plainOrder(t, "user:5")
		f.want(t, http.StatusOK, "admin:4", "PUT", "/api/carts/"+o.Cart.CartID.String(), `{"userId":6}`)
		f.want(t, http.StatusNotFound, "user:5", "GET", orderPath(o.OrderID), "")
		f.want(t, http.StatusOK, "user:6", "GET", orderPath(o.OrderID), "")
	})
}

func TestLists(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := build(t, db, w)
		for i := range 7 {
			f.plainOrder(t, fmt.Sprintf("user:%d", 5+i%2))
		}
		all := decode[api.List[api.Order]](t, f.want(t, http.StatusOK, "admin:4", "GET", "/api/orders", ""))
		own := decode[api.List[api.Order]](t, f.want(t, http.StatusOK, "user:5", "GET", "/api/orders", ""))
		foreign := decode[api.List[api.Order]](t, f.want(t, http.StatusOK, "user:5", "GET", "/api/orders?userId=6", ""))
		some := decode[api.List[api.Order]](t, f.want(t, http.StatusOK, "admin:4", "GET", "/api/orders?ids=2,3,99", ""))
		none := decode[api.List[api.Order]](t, f.want(t, http.StatusOK, "admin:4", "GET", "/api/orders?status=CONFIRMED", ""))
		sizes := []int{len(all.Collection), len(own.Collection), len(foreign.Collection), len(some.Collection), len(none.Collection)}
		if diff := cmp.Diff([]int{7, 4, 0, 2, 0}, sizes); diff != "" {
			t.Errorf("sizes of lists (-want +got):\n%s", diff)
		}
		// Pages do not overlap, whatever they are sorted by; the cursor goes on behind the last row.
		var ids []api.ID
		for page := range 3 {
			list := decode[api.List[api.Order]](t, f.want(t, http.StatusOK, "admin:4", "GET", fmt.Sprintf("/api/orders?sort=orderFee,desc&size=3&page=%d", page), ""))
			for _, o := range list.Collection {
				ids = append(ids, o.OrderID)
			}
			if list.Page.TotalElements != 7 || list.Page.TotalPages != 3 {
				t.Errorf("page = %+v", list.Page)
			}
		}
		if diff := cmp.Diff([]api.ID{7, 6, 5, 4, 3, 2, 1}, ids); diff != "" {
			t.Errorf("pages (-want +got):\n%s", diff)
		}
		first := decode[api.List[api.Cart]](t, f.want(t, http.StatusOK, "admin:4", "GET", "/api/carts?size=5", ""))
		rest := decode[api.List[api.Cart]](t, f.want(t, http.StatusOK, "admin:4", "GET", "/api/carts?size=5&after="+first.Page.Next, ""))
		if len(rest.Collection) != 2 || rest.Collection[0].CartID != 6 {
			t.Errorf("behind the cursor: %+v", rest.Collection)
		}
		// One call for a page of carts; without user-service the users stay unresolved.
		before := w.called("Users")
		carts := decode[api.List[api.Cart]](t, f.want(t, http.StatusOK, "admin:4", "GET", "/api/carts", ""))
		if w.called("Users") != before+1 || *carts.Collection[0].User.FirstName != "user 5" || carts.Collection[0].User.Credential != nil {
			t.Errorf("%d calls, user %+v", w.called("Users")-before, carts.Collection[0].User)
		}
		w.around(func(context.Context, string) error { return away("everybody") }, nil)
		got := f.want(t, http.StatusOK, "admin:4", "GET", "/api/carts", "")
		if !strings.Contains(got.body, `"user":{"userId":5,"firstName":null,"lastName":null,"imageUrl":null,"email":null,"phone":null}`) {
			t.Errorf("carts without user-service = %s", got.body)
		}
	})
}

// TestOrdersOfACommonStatus: of a status that more orders have than are counted the same are listed, in the same order.
func TestOrdersOfACommonStatus(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := build(t, db, newWorld())
		f.plainOrder(t, "user:5")
		change := func(query string, args ...any) {
			t.Helper()
			err := db.Tx(t.Context(), func(tx *sqldb.Tx) error { _, err := tx.Exec(t.Context(), query, args...); return err })
			if err != nil {
				t.Fatal(err)
			}
		}
		const rest = `order_desc, order_fee, currency, subtotal, shipping_fee, tax, full_address, postal_code, city, country, shipping_service,
			payment_id, payment_state, shipment_id, shipment_state, tracking_number, version, created_at, updated_at`
		for n := 1; n < web.ExactTotal*3/2; n *= 2 { // as many again, which were ordered before those that are there
			change(`INSERT INTO orders (cart_id, user_id, status, order_date, `+rest+`) SELECT cart_id, user_id, status, order_date - ?, `+rest+` FROM orders`, n)
		}
		change(`UPDATE orders SET status = 'DELIVERED' WHERE order_id % 7 > 0`)
		for _, order := range []struct{ query, by string }{{"", "order_id"}, {"&sort=orderDate,asc", "order_date, order_id"},
			{"&sort=orderDate,desc", "order_date DESC, order_id DESC"}, {"&sort=orderFee,asc", "order_fee, order_id"}} {
			want, err := sqldb.All(t.Context(), db, func(scan func(...any) error) (id api.ID, err error) { return id, scan(&id) },
				`SELECT order_id FROM orders WHERE status = 'DELIVERED' ORDER BY `+order.by+` LIMIT 9 OFFSET 9`)
			if err != nil {
				t.Fatal(err)
			}
			list := decode[api.List[api.Order]](t, f.want(t, http.StatusOK, "admin:4", "GET", "/api/orders?status=DELIVERED&size=9&page=1"+order.query, ""))
			var got []api.ID
			for _, o := range list.Collection {
				got = append(got, o.OrderID)
			}
			if diff := cmp.Diff(want, got); diff != "" || !list.Page.LowerBound {
				t.Errorf("by %s, of %+v (-want +got):\n%s", order.by, list.Page, diff)
			}
		}
	})
}

// tienda.access: open lets anybody use the existing resources, and nothing else.
func TestOpenAccess(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := build(t, db, newWorld(), func(_ *Deps, a *web.API) { a.Open = true })
		c := decode[api.Cart](t, f.want(t, http.StatusCreated, "", "POST", "/api/carts", `{"userId":25}`))
		o := decode[api.Order](t, f.want(t, http.StatusCreated, "", "POST", "/api/orders", fmt.Sprintf(`{"cart":{"cartId":%d}}`, c.CartID)))
		f.want(t, http.StatusOK, "", "PUT", orderPath(o.OrderID), `{"orderDesc":"x"}`)
		f.want(t, http.StatusOK, "", "GET", "/api/orders", "")
		f.want(t, http.StatusUnauthorized, "", "GET", "/api/carts/mine", "")
		f.want(t, http.StatusUnauthorized, "", "POST", checkoutPath(c.CartID), goodCheckout, "Idempotency-Key", "a")
		f.want(t, http.StatusUnauthorized, "", "GET", "/api/events", "")
	})
}

func TestMyCart(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := build(t, db, newWorld())
		var mu sync.Mutex
		ids := map[api.ID]bool{}
		var requests sync.WaitGroup
		for range 20 {
			requests.Go(func() {
				got := f.send("user:5", "GET", "/api/carts/mine", "")
				mu.Lock()
				defer mu.Unlock()
				ids[decode[api.Cart](t, got).CartID] = true
			})
		}
		requests.Wait()
		if len(ids) != 1 || ids[0] {
			t.Errorf("carts of one user = %v, want one", ids)
		}
		got := f.want(t, http.StatusOK, "user:5", "GET", "/api/carts/mine", "")
		for _, want := range []string{`"state":"OPEN"`, `"items":[]`, `"subtotal":0.00`, `"currency":"USD"`, `"firstName":"user 5"`} {
			if !strings.Contains(got.body, want) {
				t.Errorf("%s lacks %s", got.body, want)
			}
		}
	})
}

func TestCartItems(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := build(t, db, w)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 2})
		item := func(product string) string { return fmt.Sprintf("/api/carts/%d/items/%s", cart, product) }
		before := w.called("Products")
		c := decode[api.Cart](t, f.want(t, http.StatusOK, "user:5", "PUT", item("2"), `{"quantity":3}`))
		if w.called("Products") != before+1 {
			t.Errorf("%d calls of Products for one write, want 1", w.called("Products")-before)
		}
		want := "[{1 product 1 2 10.00 20.00} {2 product 2 3 20.00 60.00}] 80.00"
		for i := range c.Items {
			c.Items[i].UnitPrice, c.Items[i].LineTotal = cents(c.Items[i].UnitPrice), cents(c.Items[i].LineTotal)
		}
		if got := fmt.Sprint(c.Items, " ", cents(*c.Subtotal)); got != want {
			t.Errorf("cart = %s, want %s", got, want)
		}
		w.products[3] = api.Product{ProductID: 3, Published: new(false), PriceUnit: new(dollars(1))}
		w.products[4] = api.Product{ProductID: 4}
		for _, test := range []struct {
			user, product, body string
			status              int
		}{
			{"user:5", "1", `{"quantity":0}`, 422}, {"user:5", "1", `{"quantity":1000}`, 422}, {"user:5", "1", `{}`, 422},
			{"user:5", "1", `{"quantity":"2"}`, 400}, {"user:5", "1", `{"amount":2}`, 400},
			{"user:5", "99", `{"quantity":1}`, 422}, {"user:5", "3", `{"quantity":1}`, 422}, {"user:5", "4", `{"quantity":1}`, 422},
			{"user:5", "x", `{"quantity":1}`, 404}, {"user:6", "1", `{"quantity":1}`, 404}, {"", "1", `{"quantity":1}`, 401},
		} {
			if got := f.send(test.user, "PUT", item(test.product), test.body); got.status != test.status {
				t.Errorf("PUT %s %s as %q = %d %s, want %d", test.product, test.body, test.user, got.status, got.body, test.status)
			}
		}
		f.want(t, http.StatusNotFound, "user:6", "DELETE", item("1"), "")
		f.want(t, http.StatusNoContent, "user:5", "DELETE", item("1"), "")
		f.want(t, http.StatusNoContent, "user:5", "DELETE", item("1"), "")

		// Without product-service a cart is shown as it was last seen, and nothing can be put into it.
		w.around(func(context.Context, string) error { return away("everybody") }, nil)
		got := f.want(t, http.StatusOK, "user:5", "GET", "/api/carts/mine", "")
		if !strings.Contains(got.body, `"unitPrice":20.00`) {
			t.Errorf("cart = %s", got.body)
		}
		f.want(t, http.StatusServiceUnavailable, "user:5", "PUT", item("1"), `{"quantity":1}`)
		f.want(t, http.StatusNoContent, "user:5", "DELETE", item("2"), "")
	})
}

// cents writes an amount that came from JSON with the currency's decimals.
func cents(a api.Amount) api.Amount {
	minor, _ := usd.Minor(a)
	return usd.Amount(minor)
}

func TestDeletedUser(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		o := f.buy(t, "user:5", "a")
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
		other := f.fill(t, "user:6", api.ItemQuantity{ProductID: 1, Quantity: 1})
		f.stop()
		w.feeds["user-service"] = []api.Event{
			{Seq: 1, Kind: "user", Subject: 6, Change: "CHANGED"}, {Seq: 2, Kind: "address", Subject: 6, Change: "DELETED"},
			{Seq: 3, Kind: "user", Subject: 5, Change: "DELETED"},
		}
		f = start(t, db, w)
		var c api.Cart
		for deadline := time.Now().Add(10 * time.Second); c.State != api.CartClosed; {
			if time.Now().After(deadline) {
				t.Fatalf("cart = %+v, want it closed", c)
			}
			c = decode[api.Cart](t, f.want(t, http.StatusOK, "admin:4", "GET", fmt.Sprintf("/api/carts/%d", cart), ""))
			<-time.After(5 * time.Millisecond)
		}
		if len(c.Items) != 0 {
			t.Errorf("items = %v, want none", c.Items)
		}
		if c := decode[api.Cart](t, f.want(t, http.StatusOK, "user:6", "GET", fmt.Sprintf("/api/carts/%d", other), "")); c.State != api.CartOpen || len(c.Items) != 1 {
			t.Errorf("cart of another user = %+v", c)
		}
		f.orderIn(t, o.OrderID, api.OrderConfirmed)
	})
}

// The cart of a user who is deleted while the checkout goes on does not open again.
func TestDeletedUserInCheckout(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		w.around(first(1, "Authorize", func(ctx context.Context) error {
			return db.Tx(ctx, func(tx *sqldb.Tx) error {
				return f.applyUserEvent(ctx, tx, api.Event{Kind: "user", Subject: 5, Change: "DELETED"})
			})
		}), nil)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 1})
		f.want(t, http.StatusPaymentRequired, "user:5", "POST", checkoutPath(cart), strings.Replace(goodCheckout, "tok_ok", "tok_no", 1), "Idempotency-Key", "a")
		c := decode[api.Cart](t, f.want(t, http.StatusOK, "admin:4", "GET", fmt.Sprintf("/api/carts/%d", cart), ""))
		if c.State != api.CartClosed || len(c.Items) != 0 {
			t.Errorf("cart = %+v, want it closed and empty", c)
		}
	})
}

// Every change of an order tells its event, with who did it.
func TestEvents(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		f := start(t, db, newWorld())
		o := f.buy(t, "user:5", "a")
		f.want(t, http.StatusOK, "user:5", "POST", cancelPath(o.OrderID), `{"reason":"x"}`, "Idempotency-Key", "c")
		later := build(t, db, newWorld(), withClock(func() time.Time { return time.Now().Add(time.Minute) }))
		f.want(t, http.StatusForbidden, "user:5", "GET", "/api/events", "")
		list := decode[api.List[api.Event]](t, later.want(t, http.StatusOK, "service:product-service", "GET", "/api/events", ""))
		var changes []string
		for _, e := range list.Collection {
			if strings.Contains(string(e.Data), "tok_") {
				t.Errorf("event holds a token: %s", e.Data)
			}
			changes = append(changes, e.Kind+" "+e.Change+" "+e.Actor)
		}
		want := []string{"cart CREATED user:5", "order PENDING user:5", "order CONFIRMED order-service", "order CANCELLED order-service"}
		if diff := cmp.Diff(want, changes); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}
