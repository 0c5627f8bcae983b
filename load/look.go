package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bojanz/currency"

	"tienda/api"
)

func asRefusal(err error) (*refusal, bool) { return errors.AsType[*refusal](err) }

// look proves the record of each customer against what the shop has of them.
func (v *verifier) look(ctx context.Context, when string) error {
	byUser := map[*account][]*Checkout{}
	for _, c := range v.record.checkouts {
		byUser[c.who] = append(byUser[c.who], c)
	}
	return inParallel(ctx, slices.Collect(maps.Keys(byUser)), func(ctx context.Context, who *account) error {
		defer v.did.Add(1)
		return v.lookAt(ctx, when, who, byUser[who])
	})
}

// lookAt looks at all orders of one customer.
func (v *verifier) lookAt(ctx context.Context, when string, who *account, checkouts []*Checkout) error {
	list, err := rows[api.Order](ctx, v, who, "/order-service/api/orders", url.Values{"userId": {who.id.String()}})
	if err != nil {
		return err
	}
	listed := map[api.ID][]api.Order{}
	for _, order := range list {
		listed[order.OrderID] = append(listed[order.OrderID], order)
	}
	known := map[api.ID]*Checkout{}
	var present []api.ID
	for _, c := range checkouts {
		if c.Order == 0 {
			continue
		}
		found := listed[c.Order]
		offence := ""
		switch {
		case len(found) == 0:
			offence = c.name() + " is not in the list"
		case len(found) > 1:
			offence = fmt.Sprintf("%s is in the list %d times", c.name(), len(found))
		case found[0].Cart == nil || found[0].Cart.CartID != c.Cart:
			offence = c.name() + " is listed with another cart"
		}
		v.saw(when, listedOnce, offence)
		if other := known[c.Order]; other != nil {
			v.saw(when, oneEach, fmt.Sprintf("%s is also that of key %s", c.name(), other.Key))
			continue
		}
		known[c.Order] = c
		if len(found) > 0 {
			present = append(present, c.Order)
		}
	}
	v.extras(when, who, checkouts, list, known)
	v.carts(when, who, list)
	return v.compare(ctx, when, who, known, present)
}

// extras are orders that no answer named. Each checkout that has no answer yet explains one with its cart.
func (v *verifier) extras(when string, who *account, checkouts []*Checkout, list []api.Order, known map[api.ID]*Checkout) {
	open := map[api.ID]int{}
	for _, c := range checkouts {
		if c.unknown() {
			open[c.Cart]++
		}
	}
	seen := map[api.ID]bool{}
	for _, order := range list {
		if seen[order.OrderID] {
			continue
		}
		seen[order.OrderID] = true
		offence := ""
		if known[order.OrderID] == nil {
			cart := api.ID(0)
			if order.Cart != nil {
				cart = order.Cart.CartID
			}
			if open[cart]--; open[cart] < 0 {
				offence = fmt.Sprintf("order %d of %s, cart %d, %s, was never told", order.OrderID, who.Username, cart, order.Status)
			}
		}
		v.saw(when, nothingNew, offence)
	}
}

// carts looks for carts that were sold more than once.
func (v *verifier) carts(when string, who *account, list []api.Order) {
	sales := map[api.ID][]string{}
	for _, order := range list {
		if order.Cart == nil {
			continue
		}
		if isSold(order.Status) && !slices.Contains(sales[order.Cart.CartID], order.OrderID.String()) {
			sales[order.Cart.CartID] = append(sales[order.Cart.CartID], order.OrderID.String())
		}
	}
	for cart, orders := range sales {
		offence := ""
		if len(orders) > 1 {
			offence = fmt.Sprintf("cart %d of %s was sold as orders %s", cart, who.Username, strings.Join(orders, ", "))
		}
		v.saw(when, oneEach, offence)
	}
}

func isSold(status string) bool {
	return status == api.OrderConfirmed || status == api.OrderShipped || status == api.OrderDelivered
}

// rows are all rows of a list, page by page.
func rows[T any](ctx context.Context, v *verifier, who *account, path string, query url.Values) ([]T, error) {
	query.Set("size", "200")
	var all []T
	for {
		list, err := read[api.List[T]](ctx, v, who, path+"?"+query.Encode())
		if err != nil {
			return nil, err
		}
		all = append(all, list.Collection...)
		if list.Page == nil || list.Page.Next == "" {
			return all, nil
		}
		query.Set("after", list.Page.Next)
	}
}

// atOnce is how many orders' payments and shipments are asked for in one call.
const atOnce = 50

// compare looks at orders with their lines, payments, shipments and postings.
func (v *verifier) compare(ctx context.Context, when string, who *account, known map[api.ID]*Checkout, ids []api.ID) error {
	for chunk := range slices.Chunk(ids, atOnce) {
		texts := make([]string, len(chunk))
		for i, id := range chunk {
			texts[i] = id.String()
		}
		query := func() url.Values { return url.Values{"orderIds": {strings.Join(texts, ",")}} }
		payments, err := rows[api.Payment](ctx, v, who, "/payment-service/api/payments", query())
		if err != nil {
			return err
		}
		shipments, err := rows[api.Shipment](ctx, v, who, "/shipping-service/api/shipments", query())
		if err != nil {
			return err
		}
		for _, id := range chunk {
			order, err := read[api.Order](ctx, v, who, "/order-service/api/orders/"+id.String())
			if r, ok := asRefusal(err); ok && r.answer.status == http.StatusNotFound {
				v.saw(when, listedOnce, known[id].name()+" is listed and cannot be read")
				continue
			}
			if err != nil {
				return err
			}
			f := facts{order: order, money: money(order.Currency)}
			for _, p := range payments {
				if p.Order != nil && p.Order.OrderID == id {
					f.payments = append(f.payments, p)
				}
			}
			for _, s := range shipments {
				if s.OrderID == id {
					f.shipments = append(f.shipments, s)
				}
			}
			if err := v.judge(ctx, when, known[id], f); err != nil {
				return err
			}
		}
	}
	return nil
}

// facts are what the shop has of one order.
type facts struct {
	order     api.Order
	payments  []api.Payment
	shipments []api.Shipment
	money     func(*api.Amount) int64
}

// money counts in minor units of a currency; what is no amount of it is counted as -1, which equals
// nothing.
func money(code string) func(*api.Amount) int64 {
	digits, _ := currency.GetDigits(code)
	c := api.Currency{Code: code, Digits: int(digits)}
	return func(a *api.Amount) int64 {
		if a == nil {
			return 0
		}
		minor, err := c.Minor(*a)
		if err != nil {
			return -1
		}
		return minor
	}
}

// judge holds an order against its checkout.
func (v *verifier) judge(ctx context.Context, when string, c *Checkout, f facts) error {
	fault := func(format string, args ...any) string { return c.name() + " " + fmt.Sprintf(format, args...) }
	about := func(is sentence, wrong string) {
		if wrong != "" {
			wrong = fault("%s", wrong)
		}
		v.saw(when, is, wrong)
	}
	about(asTold, c.wrongStatus(f.order.Status))
	about(adds, c.wrongTotal(f))
	if c.cancel != nil && c.cancel.status == 0 {
		return nil // it may be under way: payment and parcel are looked at when it has an answer
	}
	switch {
	case isSold(f.order.Status):
		about(sold, c.wrongSale(f))
	case f.order.Status == api.OrderCancelled:
		about(nothing, wrongLeft(f))
	}
	if v.admin == nil {
		return nil
	}
	postings, err := read[[]api.Posting](ctx, v, v.admin, "/payment-service/api/ledger?orderId="+c.Order.String())
	if err != nil {
		return err
	}
	about(books, wrongBooks(f, postings))
	return nil
}

// wrongStatus says why an order cannot be in a status after what was answered.
func (c *Checkout) wrongStatus(status string) string {
	cancelled := status == api.OrderCancelled
	fits := isSold(status) || cancelled
	cancel := 0
	if c.cancel != nil {
		if cancel = c.cancel.status; cancel == 0 {
			cancel = -1
		}
	}
	switch c.Status {
	case http.StatusAccepted:
	case http.StatusCreated:
		switch cancel {
		case http.StatusOK:
			if !cancelled {
				return "was cancelled (200) and is " + status
			}
		case -1: // either
		default:
			fits = isSold(status)
		}
	default:
		fits = cancelled
	}
	if !fits {
		return fmt.Sprintf("was answered %d and is %s", c.Status, status)
	}
	return ""
}

// wrongTotal compares the lines with the cart, adds them up, and compares the sum with what was told.
func (c *Checkout) wrongTotal(f facts) string {
	o := f.order
	if len(o.Items) != len(c.Items) {
		return fmt.Sprintf("has %d lines, its cart had %d", len(o.Items), len(c.Items))
	}
	var lines, tax int64
	for _, line := range o.Items {
		at := slices.IndexFunc(c.Items, func(i api.ItemQuantity) bool { return i.ProductID == line.ProductID })
		price := f.money(&line.UnitPrice)
		switch {
		case at < 0 || c.Items[at].Quantity != line.Quantity:
			return fmt.Sprintf("has %d of product %d, which was not in the cart so", line.Quantity, line.ProductID)
		case price != f.money(new(c.prices[line.ProductID])):
			return fmt.Sprintf("has product %d at %s, in the cart it was %s", line.ProductID, line.UnitPrice, c.prices[line.ProductID])
		case price*line.Quantity != f.money(&line.LineTotal):
			return fmt.Sprintf("has a line of product %d for %s, not %d times %s", line.ProductID, line.LineTotal, line.Quantity, line.UnitPrice)
		}
		lines += f.money(&line.LineTotal)
		tax += f.money(&line.Tax)
	}
	total := f.money(o.OrderFee)
	switch {
	case lines != f.money(o.Subtotal) || tax != f.money(o.Tax) || total != lines+tax+f.money(o.ShippingFee):
		return fmt.Sprintf("has a total of %s, which is not the sum of lines, shipping and tax", text(o.OrderFee))
	case c.told != nil && total != f.money(c.told.OrderFee):
		return fmt.Sprintf("has a total of %s, told was %s", text(o.OrderFee), text(c.told.OrderFee))
	}
	return ""
}

func text(a *api.Amount) string {
	if a == nil {
		return "nothing"
	}
	return a.String()
}

// held is what a payment has of its customer's money, and whether it has set more aside.
func (f facts) held(p api.Payment) (captured int64, aside bool) {
	return f.money(p.CapturedAmount) - f.money(p.RefundedAmount), p.State == api.PaymentAuthorized
}

// wrongSale says what is wrong with the payments and shipments of an order that was sold.
func (c *Checkout) wrongSale(f facts) string {
	total, captured := f.money(f.order.OrderFee), 0
	for _, p := range f.payments {
		has, aside := f.held(p)
		switch {
		case p.State == api.PaymentCaptured && has == total && f.money(p.Amount) == total:
			captured++
		case has != 0 || aside:
			return fmt.Sprintf("has payment %d, %s, of %s, for a total of %s", p.PaymentID, p.State, text(p.CapturedAmount), text(f.order.OrderFee))
		}
	}
	if captured != 1 {
		return fmt.Sprintf("has %d captured payments of its total, want 1", captured)
	}
	if len(f.shipments) != 1 {
		return fmt.Sprintf("has %d shipments, want 1", len(f.shipments))
	}
	if s := f.shipments[0]; s.State == api.ShipmentCancelled {
		return fmt.Sprintf("has a cancelled shipment %d", s.ShipmentID)
	}
	for _, k := range c.shipped {
		if k.status == http.StatusOK && f.shipments[0].State == api.ShipmentPending {
			return fmt.Sprintf("has shipment %d, PENDING, although it was moved on", f.shipments[0].ShipmentID)
		}
	}
	return ""
}

// wrongLeft says what a cancelled order still has.
func wrongLeft(f facts) string {
	for _, p := range f.payments {
		if has, aside := f.held(p); has != 0 || aside {
			return fmt.Sprintf("is CANCELLED and has payment %d, %s, of %s", p.PaymentID, p.State, text(p.Amount))
		}
	}
	for _, s := range f.shipments {
		if s.State != api.ShipmentCancelled {
			return fmt.Sprintf("is CANCELLED and has shipment %d, %s", s.ShipmentID, s.State)
		}
	}
	return ""
}

// wrongBooks adds up the postings of an order. What a sale leaves on an account, another account misses.
func wrongBooks(f facts, postings []api.Posting) string {
	var sum int64
	accounts := map[string]int64{}
	for _, p := range postings {
		sum += f.money(&p.Amount)
		accounts[p.Account] += f.money(&p.Amount)
	}
	if sum != 0 {
		return fmt.Sprintf("has postings that sum to %d minor units", sum)
	}
	want := int64(0)
	if isSold(f.order.Status) {
		want = f.money(f.order.OrderFee)
	}
	var on int64
	for _, balance := range accounts {
		on = max(on, balance)
	}
	if on != want {
		return fmt.Sprintf("is %s of %s and has postings that leave %d minor units", f.order.Status, text(f.order.OrderFee), on)
	}
	return ""
}
