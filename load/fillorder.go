package load

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"tienda/api"
)

// The tables of user-service, order-service and shipping-service as they are after the orders of a plan.

func (p *fillPlan) userTables() []fillTable {
	each := func(name, columns string, rows func(u fillUser, put func(values ...any))) fillTable {
		maker := p.newUserMaker()
		return fillTable{name, columns, p.opts.Users, func(i int, put func(values ...any)) { rows(maker.user(i), put) }}
	}
	username := func(u fillUser) string { return "customer-" + strconv.FormatInt(u.id, 10) }
	return []fillTable{
		each("users", "user_id, first_name, last_name, image_url, email, phone, created_at, updated_at", func(u fillUser, put func(values ...any)) {
			put(u.id, u.first, u.last, nil, username(u)+"@example.com", "+2162"+fmt.Sprintf("%07d", u.id%10_000_000), u.at, u.at)
		}),
		each("credentials", `credential_id, user_id, username, username_key, password_hash, role, is_enabled, is_account_non_expired,
			is_account_non_locked, is_credentials_non_expired, created_at, updated_at`, func(u fillUser, put func(values ...any)) {
			put(p.first.credential+u.id-p.first.user, u.id, username(u), username(u), p.hash, api.RoleUser, true, true, true, true, u.at, u.at)
		}),
		each("address", "address_id, user_id, full_address, postal_code, city, country, version, created_at, updated_at", func(u fillUser, put func(values ...any)) {
			id := p.first.address + 2*(u.id-p.first.user)
			put(id, u.id, u.street, u.postcode, u.city, "TN", 1, u.at, u.at)
			if u.second {
				put(id+1, u.id, "c/o "+u.last+", "+u.street, u.postcode, u.city, "TN", 1, u.at, u.at)
			}
		}),
		each("events", eventColumns, func(u fillUser, put func(values ...any)) {
			put("user", u.id, "CREATED", "anonymous", u.at, "")
			id, data, actor := p.first.address+2*(u.id-p.first.user), fmt.Sprintf(`{"userId":%d}`, u.id), userActor(u.id)
			put("address", id, "CREATED", actor, u.at, data)
			if u.second {
				put("address", id+1, "CREATED", actor, u.at, data)
			}
		}),
	}
}

// eventColumns are those of the journal's events; their numbers come from the engine.
const eventColumns = "kind, subject, happened, actor, happened_at, data"

// userActor names a user in histories, as auth.Caller does.
func userActor(id int64) string { return "user:" + strconv.FormatInt(id, 10) }

// perOrder is a table whose rows follow from the orders.
func (p *fillPlan) perOrder(name, columns string, rows func(o *fillOrder, put func(values ...any))) fillTable {
	maker := p.newOrderMaker()
	return fillTable{name, columns, p.opts.Orders, func(i int, put func(values ...any)) { rows(maker.order(i), put) }}
}

func (p *fillPlan) orderTables() []fillTable {
	currency := p.opts.Currency.Code
	users, openCarts, openItems := p.newUserMaker(), p.newUserMaker(), p.newUserMaker()
	lineProducts, itemProducts, openProducts := p.newProductMaker(), p.newProductMaker(), p.newProductMaker()
	// The open carts of users come behind those of the orders.
	openCart := func(u fillUser) int64 { return p.first.cart + int64(p.opts.Orders) + u.id - p.first.user }
	return []fillTable{
		p.perOrder("orders", `order_id, cart_id, user_id, status, order_date, order_desc, order_fee, currency, subtotal, shipping_fee, tax,
			full_address, postal_code, city, country, shipping_service, payment_id, payment_state, shipment_id, shipment_state, tracking_number,
			version, created_at, updated_at`, func(o *fillOrder, put func(values ...any)) {
			steps := o.history()
			last := steps[len(steps)-1]
			if o.kind == fillPlain {
				put(o.id, o.cart, o.userID, last.to, o.at, "noted down", o.total, currency, 0, 0, 0, "", "", "", "", "", 0, "", 0, "", "", 1, o.at, o.at)
				return
			}
			u := users.user(o.user)
			var payment, shipment int64
			version := len(steps)
			if o.kind.paid() {
				payment, shipment = o.payment, o.shipment
				version += 3 + len(o.parcel()) - 1
			}
			put(o.id, o.cart, o.userID, last.to, o.at, nil, o.total, currency, o.subtotal, o.shipping, 0, u.street, u.postcode, u.city, "TN", o.service(),
				payment, o.paymentState(), shipment, o.shipmentState(), o.tracking(), version, o.at, last.at)
		}),
		p.perOrder("order_lines", "order_id, product_id, product_title, sku, quantity, unit_price, line_total, tax, currency", func(o *fillOrder, put func(values ...any)) {
			if o.kind == fillPlain {
				return
			}
			for _, l := range o.lines {
				product := lineProducts.product(l.product)
				put(o.id, l.id, product.title, product.sku, l.quantity, l.price, l.price*l.quantity, 0, currency)
			}
		}),
		p.perOrder("order_transitions", "order_id, seq, from_status, to_status, happened_at, actor, reason", func(o *fillOrder, put func(values ...any)) {
			for i, s := range o.history() {
				put(o.id, i+1, s.from, s.to, s.at, s.actor, s.reason)
			}
		}),
		p.perOrder("sagas", `order_id, step, attempts, refusals, next_at, lease_owner, lease_until, deadline, goal, reason, actor, problem,
			payment_provider, payment_token, checkout_request, trace_parent`, func(o *fillOrder, put func(values ...any)) {
			if o.kind == fillPlain {
				return
			}
			goal, reason, actor := o.turned()
			put(o.id, "done", 0, 0, nil, "", 0, o.at+(2*time.Minute).Microseconds(), goal, reason, actor, o.problem(), "sandbox", "",
				fmt.Sprintf(`["user:%d","POST /order-service/api/carts/{cartId}/checkout","fill-%d"]`, o.userID, o.id), "")
		}),
		p.perOrder("events", eventColumns, func(o *fillOrder, put func(values ...any)) {
			for _, s := range o.history() {
				data := make([]byte, 0, 80)
				data = append(data, `{"cartId":`...)
				data = strconv.AppendInt(data, o.cart, 10)
				if s.from != "" {
					data = append(append(append(data, `,"from":"`...), s.from...), '"')
				}
				if s.reason != "" {
					data = append(append(append(data, `,"reason":"`...), s.reason...), '"')
				}
				data = append(strconv.AppendInt(append(data, `,"userId":`...), o.userID, 10), '}')
				put("order", o.id, s.to, s.actor, s.at, string(data))
			}
		}),
		p.perOrder("carts", cartColumns, func(o *fillOrder, put func(values ...any)) {
			steps := o.history()
			state, order, version, end := api.CartClosed, o.id, 3+len(o.lines), o.confirmedAt
			switch {
			case o.kind == fillPlain:
				state, order, version, end = api.CartOpen, 0, 1, o.at
			case !o.kind.paid(): // after a failure the cart is open again
				state, order, end = api.CartOpen, 0, steps[len(steps)-1].at
			}
			put(o.cart, o.userID, state, nil, order, false, version, o.at-(10*time.Minute).Microseconds(), end)
		}),
		p.perOrder("cart_items", cartItemColumns, func(o *fillOrder, put func(values ...any)) {
			if o.kind == fillPlain {
				return
			}
			for _, l := range o.lines {
				put(o.cart, l.id, l.quantity, itemProducts.product(l.product).title, l.price, currency)
			}
		}),
		{"carts", cartColumns, p.opts.Users, func(i int, put func(values ...any)) {
			if u := openCarts.user(i); u.cart {
				put(openCart(u), u.id, api.CartOpen, u.id, 0, false, 2, p.to, p.to)
			}
		}},
		{"cart_items", cartItemColumns, p.opts.Users, func(i int, put func(values ...any)) {
			if u := openItems.user(i); u.cart {
				product := openProducts.product(u.cartProduct)
				put(openCart(u), p.first.product+int64(u.cartProduct), u.cartMany, product.title, product.price, currency)
			}
		}},
	}
}

const (
	cartColumns     = "cart_id, user_id, state, open_key, order_id, retired, version, created_at, updated_at"
	cartItemColumns = "cart_id, product_id, quantity, product_title, seen_price, currency"
)

// fillStep is a line of a history, of an order or a parcel.
type fillStep struct {
	from, to, actor, reason string
	at                      int64
}

// history are the steps of the order.
func (o *fillOrder) history() []fillStep {
	user := userActor(o.userID)
	if o.kind == fillPlain {
		return []fillStep{{"", api.OrderCreated, user, "", o.at}}
	}
	const saga, parcel = "order-service", "shipping-service"
	steps := make([]fillStep, 0, 4)
	steps = append(steps, fillStep{"", api.OrderPending, user, "", o.at})
	switch o.kind {
	case fillDeclined:
		return append(steps, fillStep{api.OrderPending, api.OrderCancelled, saga, "DECLINED", o.confirmedAt})
	case fillOutOfStock:
		return append(steps, fillStep{api.OrderPending, api.OrderCancelled, saga, "OUT_OF_STOCK", o.confirmedAt})
	}
	steps = append(steps, fillStep{api.OrderPending, api.OrderConfirmed, saga, "", o.confirmedAt})
	if o.kind == fillCancelled {
		return append(steps, fillStep{api.OrderConfirmed, api.OrderCancelled, user, "CANCELLED", o.cancelledAt})
	}
	if o.kind.sent() {
		steps = append(steps, fillStep{api.OrderConfirmed, api.OrderShipped, parcel, "", o.sentAt})
	}
	switch o.kind {
	case fillDelivered:
		steps = append(steps, fillStep{api.OrderShipped, api.OrderDelivered, parcel, "", o.arrivedAt})
	case fillReturned:
		steps = append(steps, fillStep{api.OrderShipped, api.OrderRefunded, parcel, api.ShipmentReturned, o.arrivedAt})
	}
	return steps
}

// turned is the goal of a saga that went back, with why and who; empty for the others.
func (o *fillOrder) turned() (goal, reason, actor string) {
	steps := o.history()
	last := steps[len(steps)-1]
	if last.to != api.OrderCancelled && last.to != api.OrderRefunded {
		return "", "", ""
	}
	return last.to, last.reason, last.actor
}

// problem is what a checkout that failed was answered.
func (o *fillOrder) problem() string {
	var p *api.Problem
	switch o.kind {
	case fillDeclined:
		p = api.PaymentRequired("card_declined", "the payment was declined")
	case fillOutOfStock:
		p = api.Conflict("there is not enough stock; nothing is charged")
	default:
		return ""
	}
	p.OrderID = api.ID(o.id)
	text, err := json.Marshal(p)
	if err != nil {
		return "" // a problem of ours marshals
	}
	return string(text)
}

// paymentState is the state of the order's payment as the order knows it.
func (o *fillOrder) paymentState() string {
	switch {
	case o.kind.refunded():
		return api.PaymentRefunded
	case o.kind.paid():
		return api.PaymentCaptured
	}
	return ""
}

// shipmentState is where the parcel is.
func (o *fillOrder) shipmentState() string {
	steps := o.parcel()
	if len(steps) == 0 {
		return ""
	}
	return steps[len(steps)-1].to
}

// parcel are the steps of the parcel.
func (o *fillOrder) parcel() []fillStep {
	if !o.kind.paid() {
		return nil
	}
	steps := make([]fillStep, 0, 4)
	steps = append(steps, fillStep{"", api.ShipmentPending, "order-service", "", o.confirmedAt})
	if o.kind == fillCancelled {
		return append(steps, fillStep{api.ShipmentPending, api.ShipmentCancelled, "order-service", "order " + strconv.FormatInt(o.id, 10) + " is cancelled", o.cancelledAt})
	}
	if o.kind.sent() {
		const warehouse = "admin:4"
		steps = append(steps, fillStep{api.ShipmentPending, api.ShipmentLabelCreated, warehouse, "", o.labelAt},
			fillStep{api.ShipmentLabelCreated, api.ShipmentInTransit, warehouse, "", o.sentAt})
		switch o.kind {
		case fillDelivered:
			steps = append(steps, fillStep{api.ShipmentInTransit, api.ShipmentDelivered, warehouse, "", o.arrivedAt})
		case fillReturned:
			steps = append(steps, fillStep{api.ShipmentInTransit, api.ShipmentReturned, warehouse, "", o.arrivedAt})
		}
	}
	return steps
}

func (p *fillPlan) shippingTables() []fillTable {
	users := p.newUserMaker()
	return []fillTable{
		p.perOrder("shipments", `shipment_id, order_id, user_id, state, service, carrier, tracking_number, full_address, postal_code, city, country,
			created_at, updated_at`, func(o *fillOrder, put func(values ...any)) {
			steps := o.parcel()
			if len(steps) == 0 {
				return
			}
			u, last := users.user(o.user), steps[len(steps)-1]
			put(o.shipment, o.id, o.userID, last.to, o.service(), o.carrier(), o.tracking(), u.street, u.postcode, u.city, "TN", o.confirmedAt, last.at)
		}),
		p.perOrder("shipment_events", "shipment_id, from_state, state, carrier, tracking_number, note, actor, happened_at", func(o *fillOrder, put func(values ...any)) {
			for i, s := range o.parcel() {
				carrier, tracking := o.carrier(), o.tracking()
				if i == 0 {
					carrier, tracking = "", ""
				}
				put(o.shipment, s.from, s.to, carrier, tracking, s.reason, s.actor, s.at)
			}
		}),
		p.perOrder("events", eventColumns, func(o *fillOrder, put func(values ...any)) {
			for i, s := range o.parcel() {
				carrier, tracking := o.carrier(), o.tracking()
				if i == 0 {
					carrier, tracking = "", ""
				}
				data := fmt.Sprintf(`{"carrier":%q,"from":%q,"orderId":%d,"trackingNumber":%q}`, carrier, s.from, o.id, tracking)
				put("shipment", o.shipment, s.to, s.actor, s.at, data)
			}
		}),
		p.perOrder("order_items", "product_id, order_id, ordered_quantity, user_id, shipment_id, created_at, updated_at", func(o *fillOrder, put func(values ...any)) {
			if !o.kind.paid() {
				return
			}
			for _, l := range o.lines {
				put(l.id, o.id, l.quantity, o.userID, o.shipment, o.confirmedAt, o.confirmedAt)
			}
		}),
	}
}
