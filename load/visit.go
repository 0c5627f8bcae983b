package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"tienda/api"
)

// tries is how often a checkout is sent before its customer gives up: about six seconds of an outage.
const tries = 6

// customer is one user who visits the shop over and over.
type customer struct {
	run     *run
	account *account
	rand    *rand.Rand
	shelf   []api.Product // what the last page showed
	left    map[api.ID]bool
	keys    int
	claimed bool // a checkout of the number that was asked for
}

// roll is 0 to 99.
func (c *customer) roll() int { return c.rand.IntN(100) }

// key names a write; nobody else has it.
func (c *customer) key(what string) string {
	c.keys++
	return fmt.Sprintf("%s-%s-%d", c.account.Username, what, c.keys)
}

// live visits the shop until the run is over. What goes wrong ends a visit, never the customer.
func (c *customer) live(ctx context.Context) {
	for failures := 0; ctx.Err() == nil && time.Now().Before(c.run.until) && (c.claimed || !c.run.soldOut()); {
		if err := c.visit(ctx); err != nil {
			pause(ctx, backoff(failures, 0))
			failures++
			continue
		}
		failures = 0
	}
}

// visit is one walk through the shop.
func (c *customer) visit(ctx context.Context) error {
	mix := c.run.options.Mix
	if c.roll() < mix.Browse {
		return c.browse(ctx)
	}
	if !c.claimed && !c.run.claim() {
		return nil
	}
	c.claimed = true // and stays so until a checkout is sent
	if c.roll() < mix.Look {
		if err := c.browse(ctx); err != nil {
			return err
		}
	}
	checkout, err := c.fillCart(ctx)
	if err != nil {
		return err
	}
	c.claimed = false
	c.buy(ctx, checkout)
	c.follow(ctx, checkout)
	return nil
}

// pageSize is how many products a page of the shop shows.
const pageSize = 20

// browse looks at a page, searches for a word of a title, and reads about a product.
func (c *customer) browse(ctx context.Context) error {
	page := c.rand.IntN(c.run.pages)
	list, err := get[api.List[api.Product]](ctx, c.run.shop, stepList, nil, fmt.Sprintf("/product-service/api/products?inStock=true&page=%d&size=%d", page, pageSize))
	if err != nil {
		return err
	}
	c.show(list.Collection)
	if words := strings.Fields(*c.pick().ProductTitle); len(words) > 0 {
		query := url.Values{"q": {words[c.rand.IntN(len(words))]}, "inStock": {"true"}, "size": {fmt.Sprint(pageSize)}}
		if list, err = get[api.List[api.Product]](ctx, c.run.shop, stepSearch, nil, "/product-service/api/products?"+query.Encode()); err != nil {
			return err
		}
		c.show(list.Collection)
	}
	_, err = get[api.Product](ctx, c.run.shop, stepProduct, nil, "/product-service/api/products/"+c.pick().ProductID.String())
	return err
}

// show puts what can be bought of a page before the customer's eyes.
func (c *customer) show(products []api.Product) {
	if products = forSale(products); len(products) > 0 {
		c.shelf = products
	}
}

// forSale are the products that have a title and a price.
func forSale(products []api.Product) []api.Product {
	return slices.DeleteFunc(slices.Clone(products), func(p api.Product) bool { return p.ProductTitle == nil || p.PriceUnit == nil })
}

func (c *customer) pick() api.Product { return c.shelf[c.rand.IntN(len(c.shelf))] }

// fillCart puts products into the customer's cart, or into a new one while an earlier checkout of theirs
// has no outcome: its cart must stay as it was, so that a replay asks for the same.
func (c *customer) fillCart(ctx context.Context) (*Checkout, error) {
	cart, err := get[api.Cart](ctx, c.run.shop, stepCart, c.account, "/order-service/api/carts/mine")
	if err != nil {
		return nil, err
	}
	if c.left[cart.CartID] || cart.State != api.CartOpen {
		a, err := c.run.shop.do(ctx, call{step: stepCart, method: http.MethodPost, path: "/order-service/api/carts", account: c.account, body: api.Cart{UserID: c.account.id}})
		if err != nil {
			return nil, err
		}
		if a.status != http.StatusCreated {
			return nil, &refusal{what: "open a cart", answer: a}
		}
		if err := a.decode(&cart); err != nil {
			return nil, err
		}
	}
	path := "/order-service/api/carts/" + cart.CartID.String() + "/items/"
	for _, item := range cart.Items { // what a declined checkout left
		a, err := c.run.shop.do(ctx, call{step: stepTakeOut, method: http.MethodDelete, path: path + item.ProductID.String(), account: c.account, fine: []int{http.StatusNotFound}})
		if err != nil {
			return nil, err
		}
		if a.status != http.StatusNoContent && a.status != http.StatusNotFound {
			return nil, &refusal{what: "empty the cart", answer: a}
		}
	}
	checkout := &Checkout{Key: c.key("checkout"), Username: c.account.Username, Cart: cart.CartID, who: c.account, prices: map[api.ID]api.Amount{}}
	for range 1 + c.rand.IntN(3) {
		product, quantity := c.pick(), 1+c.rand.Int64N(2)
		a, err := c.run.shop.do(ctx, call{step: stepItem, method: http.MethodPut, path: path + product.ProductID.String(), account: c.account, body: api.CartQuantity{Quantity: quantity}})
		if err != nil {
			return nil, err
		}
		if a.status != http.StatusOK {
			return nil, &refusal{what: "put an item into the cart", answer: a}
		}
		if err := a.decode(&cart); err != nil {
			return nil, err
		}
	}
	for _, item := range cart.Items {
		checkout.Items = append(checkout.Items, api.ItemQuantity{ProductID: item.ProductID, Quantity: item.Quantity})
		checkout.prices[item.ProductID] = item.UnitPrice
	}
	return checkout, nil
}

// address is where all parcels go.
func address() *api.ShippingAddress {
	return &api.ShippingAddress{FullAddress: "1 Rue de Marseille", PostalCode: "1000", City: "Tunis", Country: "TN"}
}

// buy sends the checkout until it has an answer or the customer gives up.
func (c *customer) buy(ctx context.Context, checkout *Checkout) {
	mix := c.run.options.Mix
	pay := mix.pay(c.roll())
	checkout.Token = pay.Token
	checkout.write = write{step: stepCheckout, path: "/order-service/api/carts/" + checkout.Cart.String() + "/checkout", account: c.account, key: checkout.Key,
		body: api.Checkout{ShippingAddress: address(), PaymentMethod: pay}, fine: []int{http.StatusPaymentRequired, http.StatusConflict}}
	if c.roll() < mix.Async {
		checkout.write.prefer = "respond-async"
	}
	c.run.record.begin(checkout)
	a, err := c.run.shop.send(ctx, checkout.write, tries, func(a answer) bool { return a.final() || a.status == http.StatusAccepted },
		func(word string) { checkout.Answers = append(checkout.Answers, word) })
	if err == nil {
		checkout.hear(a)
	}
	c.run.record.outcome(checkout, ctx.Err() != nil)
	if checkout.unknown() {
		c.left[checkout.Cart] = true
	}
}

// follow is what customers do once they were answered: wait for an order that is under way, look at it,
// ask again, cancel; and what the shop's people do about it.
func (c *customer) follow(ctx context.Context, checkout *Checkout) {
	mix := c.run.options.Mix
	if checkout.Status == http.StatusAccepted && !c.await(ctx, checkout) {
		c.left[checkout.Cart] = true
		return
	}
	if checkout.Status == 0 {
		return
	}
	// All dice are cast in any case, so that one outcome does not change the choices that follow.
	again, track, cancel, ship, restock := c.roll() < mix.Replay, c.roll() < mix.Track, c.roll() < mix.Cancel, c.roll() < mix.Ship, c.roll() < mix.Restock
	if again && checkout.Order != 0 {
		w := checkout.write
		w.step = stepReplay
		if a, err := c.run.shop.send(ctx, w, 1, answer.final, func(string) {}); err == nil && a.final() {
			checkout.odd = checkout.differs(a)
		}
	}
	if track && checkout.Order != 0 {
		c.track(ctx, checkout)
	}
	switch {
	case checkout.Status == http.StatusConflict:
		c.out(ctx, checkout, restock)
	case checkout.Status == http.StatusCreated && cancel:
		c.cancel(ctx, checkout)
	case checkout.Status == http.StatusCreated && ship && c.run.admin != nil:
		c.ship(ctx, checkout)
	}
}

// await looks at an order until it is no longer PENDING, for a while.
func (c *customer) await(ctx context.Context, checkout *Checkout) bool {
	for n := range 8 { // about seven seconds
		order, err := get[api.Order](ctx, c.run.shop, stepOrder, c.account, "/order-service/api/orders/"+checkout.Order.String())
		if err == nil && order.Status != api.OrderPending {
			return true
		}
		if !pause(ctx, backoff(n, 0)) {
			break
		}
	}
	return false
}

// track looks at the order, its parcel and all orders of the customer. A read that fails is measured, and
// that is all.
func (c *customer) track(ctx context.Context, checkout *Checkout) {
	_, _ = get[api.Order](ctx, c.run.shop, stepOrder, c.account, "/order-service/api/orders/"+checkout.Order.String())
	_, _ = get[api.List[api.Shipment]](ctx, c.run.shop, stepShipment, c.account, "/shipping-service/api/shipments?orderId="+checkout.Order.String())
	_, _ = get[api.List[api.Order]](ctx, c.run.shop, stepMyOrders, c.account, "/app/api/me/orders?size=10&sort=orderId,desc")
}

// cancel asks for the order to be cancelled. A parcel that has left is a 409.
func (c *customer) cancel(ctx context.Context, checkout *Checkout) {
	checkout.cancel = &keyed{what: "cancel order " + checkout.Order.String(), write: write{step: stepCancel,
		path: "/order-service/api/orders/" + checkout.Order.String() + "/cancel", account: c.account, key: c.key("cancel"),
		body: api.Cancellation{Reason: "changed my mind"}, fine: []int{http.StatusConflict}}}
	c.settle(ctx, checkout.cancel)
}

// settle sends a keyed write until its outcome is known or the customer gives up.
func (c *customer) settle(ctx context.Context, k *keyed) {
	a, err := c.run.shop.send(ctx, k.write, tries, answer.final, func(string) {})
	if err == nil && a.final() {
		k.status = a.status
	}
}

// out is what follows a checkout that lacked stock: the customer looks elsewhere, an administrator books
// some in.
func (c *customer) out(ctx context.Context, checkout *Checkout, restock bool) {
	short := func(id api.ID) bool {
		return slices.ContainsFunc(checkout.Items, func(i api.ItemQuantity) bool { return i.ProductID == id })
	}
	if c.run.admin == nil || !restock {
		if others := slices.DeleteFunc(slices.Clone(c.shelf), func(p api.Product) bool { return short(p.ProductID) }); len(others) > 0 {
			c.shelf = others
		} else {
			c.shelf = c.run.catalogue
		}
		return
	}
	for _, item := range checkout.Items {
		k := &keyed{what: "restock product " + item.ProductID.String(), write: write{step: stepRestock,
			path: "/product-service/api/products/" + item.ProductID.String() + "/stock-movements", account: c.run.admin, key: c.key("restock"),
			body: api.NewStockMovement{Quantity: 1000, Reason: api.MovementReceived, Note: "load"}, fine: []int{http.StatusConflict}}}
		c.run.record.restock(k)
		c.settle(ctx, k)
	}
}

// ship is the warehouse: a label, then the parcel leaves.
func (c *customer) ship(ctx context.Context, checkout *Checkout) {
	if checkout.told == nil || checkout.told.Shipment == nil {
		return
	}
	shipment := checkout.told.Shipment.ShipmentID.String()
	for _, state := range []string{api.ShipmentLabelCreated, api.ShipmentInTransit} {
		k := &keyed{what: state + " of shipment " + shipment, write: write{step: stepShip, path: "/shipping-service/api/shipments/" + shipment + "/events",
			account: c.run.admin, key: c.key("ship"), body: api.ShipmentEvent{State: state, Carrier: "Rapid Poste", TrackingNumber: "LOAD"}, fine: []int{http.StatusConflict}}}
		checkout.shipped = append(checkout.shipped, k)
		c.settle(ctx, k)
		if k.status != http.StatusOK {
			return
		}
	}
}

// newRand is the generator of one user: the same seed makes the same choices.
func newRand(seed uint64, user int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(user))) //nolint:gosec // choices, not secrets
}
