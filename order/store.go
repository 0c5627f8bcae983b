package order

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
)

// record is a row of the table orders. Amounts are minor units of currency.
type record struct {
	id, cartID, userID         api.ID
	status                     string
	date                       time.Time
	desc                       *string
	fee                        *int64
	currency                   string
	subtotal, shippingFee, tax int64
	address                    api.ShippingAddress
	shippingService            string
	payment                    api.OrderPayment
	shipment                   api.OrderShipment
	version                    int64
	history                    []api.Transition // all of it; nil when it was not read
}

const orderColumns = `order_id, cart_id, user_id, status, order_date, order_desc, order_fee, currency, subtotal, shipping_fee, tax,
	full_address, postal_code, city, country, shipping_service, payment_id, payment_state, shipment_id, shipment_state, tracking_number, version`

func scanOrder(scan func(...any) error) (record, error) {
	var o record
	var date sqldb.Instant
	err := scan(&o.id, &o.cartID, &o.userID, &o.status, &date, &o.desc, &o.fee, &o.currency, &o.subtotal, &o.shippingFee, &o.tax,
		&o.address.FullAddress, &o.address.PostalCode, &o.address.City, &o.address.Country, &o.shippingService,
		&o.payment.PaymentID, &o.payment.State, &o.shipment.ShipmentID, &o.shipment.State, &o.shipment.TrackingNumber, &o.version)
	o.date = time.Time(date)
	return o, err
}

// noOrder is the answer for an order that does not exist or is somebody else's.
func noOrder(id api.ID) error { return api.NotFound("Order with id: %d not found", id) }

// orderByID reads an order that the caller may see.
func orderByID(ctx context.Context, q sqldb.Querier, caller auth.Caller, id api.ID) (record, error) {
	return readOrder(ctx, q.QueryRow, caller, id)
}

// rowReader is [sqldb.Querier]'s QueryRow, or [sqldb.Tx.LockRow].
type rowReader func(ctx context.Context, query string, args ...any) sqldb.Row

func readOrder(ctx context.Context, read rowReader, caller auth.Caller, id api.ID) (record, error) {
	var row sqldb.Row
	if caller.SeesAll() {
		row = read(ctx, `SELECT `+orderColumns+` FROM orders WHERE order_id = ?`, int64(id))
	} else {
		row = read(ctx, `SELECT `+orderColumns+` FROM orders WHERE order_id = ? AND user_id = ?`, int64(id), int64(caller.UserID))
	}
	o, err := scanOrder(row.Scan)
	if errors.Is(err, sqldb.ErrNotFound) {
		return o, noOrder(id)
	}
	if err != nil {
		return o, fmt.Errorf("read order %d: %w", id, err)
	}
	return o, nil
}

// lockOrder keeps everybody else from changing the order until the transaction ends, and reads it.
// Transactions that change an order and its saga or cart take the order first.
func lockOrder(ctx context.Context, tx *sqldb.Tx, caller auth.Caller, id api.ID) (record, error) {
	return readOrder(ctx, tx.LockRow, caller, id)
}

// everyone is the caller for whom all rows are visible: the service itself.
func everyone() auth.Caller { return auth.Caller{Service: "order-service"} }

// insertOrder writes a new order with its first line of history and sets o.id.
func insertOrder(ctx context.Context, tx *sqldb.Tx, o *record, reason string, now time.Time) error {
	o.version = 1
	id, err := tx.Insert(ctx, `INSERT INTO orders (cart_id, user_id, status, order_date, order_desc, order_fee, currency, subtotal, shipping_fee, tax,
		full_address, postal_code, city, country, shipping_service, payment_id, payment_state, shipment_id, shipment_state, tracking_number, version, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', 0, '', '', ?, ?, ?)`,
		int64(o.cartID), int64(o.userID), o.status, sqldb.Instant(o.date), o.desc, o.fee, o.currency, o.subtotal, o.shippingFee, o.tax,
		o.address.FullAddress, o.address.PostalCode, o.address.City, o.address.Country, o.shippingService,
		o.version, sqldb.Instant(now), sqldb.Instant(now))
	if err != nil {
		return fmt.Errorf("insert order: %w", err)
	}
	o.id = api.ID(id)
	o.history = []api.Transition{} // and that is all
	return appendHistory(ctx, tx, o, "", auth.CallerOf(ctx).String(), reason, now)
}

// updatePlainOrder writes the fields of a CREATED order that its owner may change.
func updatePlainOrder(ctx context.Context, tx *sqldb.Tx, o record, now time.Time) error {
	n, err := tx.Exec(ctx, `UPDATE orders SET cart_id = ?, user_id = ?, order_date = ?, order_desc = ?, order_fee = ?, version = version + 1, updated_at = ?
		WHERE order_id = ? AND status = ? AND version = ?`,
		int64(o.cartID), int64(o.userID), sqldb.Instant(o.date), o.desc, o.fee, sqldb.Instant(now), int64(o.id), api.OrderCreated, o.version)
	if err == nil && n == 0 {
		err = errors.New("it changed in a locked transaction")
	}
	if err != nil {
		return fmt.Errorf("update order %d: %w", o.id, err)
	}
	return journal.Append(ctx, tx, "order", o.id, "UPDATED", eventData(o, "", ""), now)
}

// deletePlainOrder removes a CREATED order with its history.
func deletePlainOrder(ctx context.Context, tx *sqldb.Tx, o record, now time.Time) error {
	for _, statement := range []string{`DELETE FROM order_transitions WHERE order_id = ?`, `DELETE FROM orders WHERE order_id = ? AND status = 'CREATED'`} {
		if _, err := tx.Exec(ctx, statement, int64(o.id)); err != nil {
			return fmt.Errorf("delete order %d: %w", o.id, err)
		}
	}
	return journal.Append(ctx, tx, "order", o.id, "DELETED", eventData(o, "", ""), now)
}

// plainOrdersOf returns the CREATED orders of a cart.
func plainOrdersOf(ctx context.Context, tx *sqldb.Tx, cart api.ID) ([]record, error) {
	return sqldb.All(ctx, tx, scanOrder, `SELECT `+orderColumns+` FROM orders WHERE cart_id = ? AND status = ? ORDER BY order_id`, int64(cart), api.OrderCreated)
}

// legal reports whether an order may step from one status to another.
func legal(from, to string) bool {
	switch from {
	case api.OrderPending:
		return to == api.OrderConfirmed || to == api.OrderCancelled
	case api.OrderConfirmed:
		return to == api.OrderShipped || to == api.OrderCancelled || to == api.OrderRefunded
	case api.OrderShipped:
		return to == api.OrderDelivered || to == api.OrderRefunded
	case api.OrderDelivered:
		return to == api.OrderRefunded
	}
	return false
}

var (
	// errIllegal is the error of a step that an order may not take.
	errIllegal = errors.New("illegal step of an order")
	// errChanged is the error of a write in place of something that is no longer what was read.
	errChanged = errors.New("it has changed since it was read")
)

// transition takes one step of the order's life: status, history and event together, or not at all. What
// the order has learned of its payment and shipment is written with it. An order that is no longer what o
// is makes the transaction errChanged.
func transition(ctx context.Context, tx *sqldb.Tx, o *record, to, actor, reason string, now time.Time) error {
	from := o.status
	if !legal(from, to) {
		return fmt.Errorf("%w: order %d from %s to %s", errIllegal, o.id, from, to)
	}
	changed := fmt.Errorf("order %d from %s to %s: %w", o.id, from, to, errChanged)
	err := tx.LaterOne(ctx, changed, `UPDATE orders SET status = ?, payment_id = ?, payment_state = ?, shipment_id = ?, shipment_state = ?, tracking_number = ?,
		version = version + 1, updated_at = ? WHERE order_id = ? AND status = ? AND version = ?`,
		to, int64(o.payment.PaymentID), o.payment.State, int64(o.shipment.ShipmentID), o.shipment.State, o.shipment.TrackingNumber,
		sqldb.Instant(now), int64(o.id), from, o.version)
	if err != nil {
		return fmt.Errorf("order %d from %s to %s: %w", o.id, from, to, err)
	}
	o.status = to
	o.version++
	return appendHistory(ctx, tx, o, from, actor, reason, now)
}

// appendHistory writes a line of history and the event; the row of the order is locked by the caller.
func appendHistory(ctx context.Context, tx *sqldb.Tx, o *record, from, actor, reason string, now time.Time) error {
	if o.history == nil {
		var err error
		if o.history, err = historyOf(ctx, tx, o.id); err != nil {
			return fmt.Errorf("history of order %d: %w", o.id, err)
		}
	}
	step := api.Transition{From: from, To: o.status, At: now.UTC().Truncate(time.Microsecond), Actor: actor, Reason: reason}
	o.history = append(slices.Clip(o.history), step)
	err := tx.Later(ctx, `INSERT INTO order_transitions (order_id, seq, from_status, to_status, happened_at, actor, reason) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		int64(o.id), len(o.history), from, o.status, sqldb.Instant(now), actor, reason)
	if err != nil {
		return fmt.Errorf("history of order %d: %w", o.id, err)
	}
	return journal.Append(ctx, tx, "order", o.id, o.status, eventData(*o, from, reason), now)
}

// eventData is what readers of the events of an order need beside its id.
func eventData(o record, from, reason string) map[string]any {
	data := map[string]any{"userId": int64(o.userID), "cartId": int64(o.cartID)}
	if from != "" {
		data["from"] = from
	}
	if reason != "" {
		data["reason"] = reason
	}
	return data
}

// learn writes what a neighbour said about the order's payment and shipment. An order that is no longer
// what o is makes the transaction errChanged.
func learn(ctx context.Context, tx *sqldb.Tx, o *record, now time.Time) error {
	changed := fmt.Errorf("payment and shipment of order %d: %w", o.id, errChanged)
	err := tx.LaterOne(ctx, changed, `UPDATE orders SET payment_id = ?, payment_state = ?, shipment_id = ?, shipment_state = ?, tracking_number = ?,
		version = version + 1, updated_at = ? WHERE order_id = ? AND version = ?`,
		int64(o.payment.PaymentID), o.payment.State, int64(o.shipment.ShipmentID), o.shipment.State, o.shipment.TrackingNumber, sqldb.Instant(now),
		int64(o.id), o.version)
	if err != nil {
		return fmt.Errorf("payment and shipment of order %d: %w", o.id, err)
	}
	o.version++
	return nil
}

func setPaymentState(ctx context.Context, tx *sqldb.Tx, payment api.ID, state string) error {
	_, err := tx.Exec(ctx, `UPDATE orders SET payment_state = ?, version = version + 1 WHERE payment_id = ? AND payment_state <> ?`, state, int64(payment), state)
	if err != nil {
		return fmt.Errorf("state of payment %d: %w", payment, err)
	}
	return nil
}

// line is a row of the table order_lines.
type line struct {
	productID                           api.ID
	title, sku                          string
	quantity, unitPrice, lineTotal, tax int64
}

func insertLines(ctx context.Context, tx *sqldb.Tx, o record, lines []line) error {
	for _, l := range lines {
		err := tx.Later(ctx, `INSERT INTO order_lines (order_id, product_id, product_title, sku, quantity, unit_price, line_total, tax, currency)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			int64(o.id), int64(l.productID), l.title, l.sku, l.quantity, l.unitPrice, l.lineTotal, l.tax, o.currency)
		if err != nil {
			return fmt.Errorf("insert line of order %d: %w", o.id, err)
		}
	}
	return nil
}

func linesOf(ctx context.Context, q sqldb.Querier, order api.ID) ([]line, error) {
	return sqldb.All(ctx, q, func(scan func(...any) error) (line, error) {
		var l line
		err := scan(&l.productID, &l.title, &l.sku, &l.quantity, &l.unitPrice, &l.lineTotal, &l.tax)
		return l, err
	}, `SELECT product_id, product_title, sku, quantity, unit_price, line_total, tax FROM order_lines WHERE order_id = ? ORDER BY product_id`, int64(order))
}

func historyOf(ctx context.Context, q sqldb.Querier, order api.ID) ([]api.Transition, error) {
	return sqldb.All(ctx, q, func(scan func(...any) error) (api.Transition, error) {
		var t api.Transition
		var at sqldb.Instant
		err := scan(&t.From, &t.To, &at, &t.Actor, &t.Reason)
		t.At = time.Time(at)
		return t, err
	}, `SELECT from_status, to_status, happened_at, actor, reason FROM order_transitions WHERE order_id = ? ORDER BY seq`, int64(order))
}

// fullOrder is an order as it is shown alone: with its lines and its history.
func (s *Service) fullOrder(ctx context.Context, q sqldb.Querier, o record, lines []line) (api.Order, error) {
	answer := s.orderView(o)
	for _, l := range lines {
		answer.Items = append(answer.Items, api.OrderLine{
			ProductID: l.productID, ProductTitle: l.title, SKU: l.sku, Quantity: l.quantity,
			UnitPrice: s.currency.Amount(l.unitPrice), LineTotal: s.currency.Amount(l.lineTotal), Tax: s.currency.Amount(l.tax),
		})
	}
	if answer.History = o.history; answer.History == nil {
		var err error
		if answer.History, err = historyOf(ctx, q, o.id); err != nil {
			return answer, fmt.Errorf("history of order %d: %w", o.id, err)
		}
	}
	return answer, nil
}

// orderView is an order as it is shown in a list.
func (s *Service) orderView(o record) api.Order {
	answer := api.Order{
		OrderID: o.id, OrderDate: api.DateTime{Time: o.date}, OrderDesc: o.desc, Cart: &api.Cart{CartID: o.cartID},
		UserID: o.userID, Status: o.status, Currency: o.currency, Version: o.version,
	}
	if o.fee != nil {
		answer.OrderFee = new(s.currency.Amount(*o.fee))
	}
	if o.status == api.OrderCreated {
		return answer
	}
	answer.Subtotal = new(s.currency.Amount(o.subtotal))
	answer.ShippingFee = new(s.currency.Amount(o.shippingFee))
	answer.Tax = new(s.currency.Amount(o.tax))
	answer.ShippingAddress = &o.address
	if o.payment.PaymentID != 0 {
		answer.Payment = &o.payment
	}
	if o.shipment.ShipmentID != 0 {
		answer.Shipment = &o.shipment
	}
	return answer
}
