package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"tienda/sqldb"
)

// dossier is all that the four services know of one order.
type dossier struct {
	id  int64
	now time.Time

	order   *orderRow
	saga    *sagaRow
	lines   []lineRow
	history []stepRow
	told    int64 // events of the order
	keyOf   int64 // the order that the Idempotency-Key of its checkout stands for; 0 when that is forgotten

	payments   []paymentRow
	operations []operationRow // of all its payments
	charges    []chargeRow    // the sandbox's, likewise
	postings   []postingRow

	reservation *reservationRow
	reserved    []itemRow
	movements   []movementRow

	shipment *shipmentRow
	journey  []stepRow // of the shipment
	parcel   []itemRow // what the shipment holds
	strays   []itemRow // items with a shipment that is not the order's
}

type orderRow struct {
	cart                       int64
	status                     string
	fee                        int64 // -1 for none
	currency                   string
	subtotal, shippingFee, tax int64
	payment                    int64
	paymentState               string
	shipment                   int64
	shipmentState              string
	created, updated           int64
	cartState                  string
	cartOrder                  int64
}

type sagaRow struct {
	step                                   string
	attempts, nextAt, leaseUntil, deadline int64
	goal, request                          string
}

type lineRow struct {
	product, quantity, unitPrice, total, tax int64
	currency                                 string
}

// stepRow is a line of a history.
type stepRow struct {
	seq      int64
	from, to string
}

type paymentRow struct {
	id                                                          int64
	state                                                       string
	amount, captureReserved, captured, refundReserved, refunded int64
	currency, provider, reference                               string
	updated                                                     int64
	told                                                        int64 // events of the payment
}

type operationRow struct {
	id, payment      int64
	kind, state      string
	amount           int64
	retryAt, updated int64
}

type chargeRow struct {
	payment, order             int64
	reference                  string
	amount, captured, refunded int64
	voided                     bool
	currency                   string
}

type postingRow struct {
	entry, payment int64
	account        string
	amount         int64
	currency       string
}

type reservationRow struct {
	state            string
	expires, updated int64
}

type itemRow struct{ product, quantity, shipment int64 }

type movementRow struct {
	product, quantity int64
	reason            string
}

type shipmentRow struct {
	id        int64
	state     string
	updated   int64
	pending   int64 // notifications that order-service has not taken
	deliverAt int64 // when the first of them is due
	told      int64 // events of the shipment
}

// number reads an integer of any kind faster than database/sql's own conversion; NULL is 0.
type number int64

// Scan implements sql.Scanner.
func (n *number) Scan(src any) error {
	switch v := src.(type) {
	case int64:
		*n = number(v)
	case nil:
		*n = 0
	case bool:
		*n = 0
		if v {
			*n = 1
		}
	case []byte: // a sum is a decimal in MySQL
		parsed, err := strconv.ParseInt(string(v), 10, 64)
		*n = number(parsed)
		return err
	default:
		return fmt.Errorf("a column holds %T, want an integer", src)
	}
	return nil
}

// n lets a field be read as a number.
func n(field *int64) *number { return (*number)(field) }

// each reads the rows of a query into dest, one after the other, and calls take for each.
func each(ctx context.Context, q sqldb.Querier, dest []any, take func(), query string, args ...any) error {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		take()
	}
	return rows.Err()
}

// orderScan looks at orders, and at what belongs to orders that do not exist.
type orderScan struct {
	db Databases
	keysOf
}

func newOrderScan(db Databases) *orderScan {
	return &orderScan{db, keysOf{
		{db.Order, nth("order_id", "orders")}, {db.Payment, nth("order_id", "payments")},
		{db.Product, nth("order_id", "reservations")}, {db.Shipping, nth("order_id", "shipments")},
	}}
}

func (s *orderScan) look(ctx context.Context, lo, hi int64, t *tally) error {
	dossiers, err := s.read(ctx, lo, hi, t.now)
	if err != nil {
		return err
	}
	all := invariants()
	for _, d := range dossiers {
		for i := range all {
			if all[i].order == nil {
				continue
			}
			wrong, looked := all[i].order(d)
			if looked {
				t.rows[i]++
			}
			if wrong != "" {
				var changed int64
				if all[i].across {
					changed = d.changed()
				}
				t.found(i, d.id, "order "+strconv.FormatInt(d.id, 10), wrong, changed)
			}
		}
	}
	return nil
}

// changed is when the youngest row of the dossier did. Lines of histories and ledgers are written with the
// rows that they are about.
func (d *dossier) changed() int64 {
	var at int64
	if d.order != nil {
		at = max(at, d.order.created, d.order.updated)
	}
	for _, p := range d.payments {
		at = max(at, p.updated)
	}
	for _, op := range d.operations {
		at = max(at, op.updated)
	}
	if d.reservation != nil {
		at = max(at, d.reservation.updated)
	}
	if d.shipment != nil {
		at = max(at, d.shipment.updated)
	}
	return at
}

// read collects the dossiers of lo < id <= hi. The orders come first: what an order says was true before
// its neighbours are asked, and they are only further.
func (s *orderScan) read(ctx context.Context, lo, hi int64, now time.Time) ([]*dossier, error) {
	f := &files{lo: lo, hi: hi, now: now, byID: map[int64]*dossier{}}
	for _, part := range []struct {
		name string
		db   *sqldb.DB
		read func(context.Context, sqldb.Querier) error
	}{
		{"order-service", s.db.Order, f.readOrders}, {"payment-service", s.db.Payment, f.readPayments},
		{"product-service", s.db.Product, f.readStock}, {"shipping-service", s.db.Shipping, f.readShipments},
	} {
		if err := part.db.Snapshot(ctx, func(q sqldb.Querier) error { return part.read(ctx, q) }); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return f.list, nil
}

// files are the dossiers of a range of orders while they are filled.
type files struct {
	lo, hi int64
	now    time.Time
	list   []*dossier
	byID   map[int64]*dossier
	last   *dossier
}

// of is the dossier of an order. The rows of one order mostly come together.
func (f *files) of(order int64) *dossier {
	if f.last != nil && f.last.id == order {
		return f.last
	}
	d := f.byID[order]
	if d == nil {
		d = &dossier{id: order, now: f.now}
		f.byID[order] = d
		f.list = append(f.list, d)
	}
	f.last = d
	return d
}

// each reads the rows of a query about the range.
func (f *files) each(ctx context.Context, q sqldb.Querier, dest []any, take func(), query string) error {
	return each(ctx, q, dest, take, query, f.lo, f.hi)
}

func (f *files) readOrders(ctx context.Context, q sqldb.Querier) error {
	var id, seq, told int64
	var o orderRow
	err := f.each(ctx, q, []any{n(&id), n(&o.cart), &o.status, n(&o.fee), &o.currency, n(&o.subtotal), n(&o.shippingFee), n(&o.tax), n(&o.payment),
		&o.paymentState, n(&o.shipment), &o.shipmentState, n(&o.created), n(&o.updated), &o.cartState, n(&o.cartOrder)}, func() {
		row := o
		f.of(id).order = &row
	}, `SELECT o.order_id, o.cart_id, o.status, COALESCE(o.order_fee, -1), o.currency, o.subtotal, o.shipping_fee, o.tax, o.payment_id, o.payment_state,
			o.shipment_id, o.shipment_state, o.created_at, o.updated_at, COALESCE(c.state, ''), c.order_id
		FROM orders o LEFT JOIN carts c ON c.cart_id = o.cart_id WHERE o.order_id > ? AND o.order_id <= ?`)
	if err != nil {
		return err
	}
	var saga sagaRow
	err = f.each(ctx, q, []any{n(&id), &saga.step, n(&saga.attempts), n(&saga.nextAt), n(&saga.leaseUntil), n(&saga.deadline), &saga.goal, &saga.request}, func() {
		row := saga
		f.of(id).saga = &row
	}, `SELECT order_id, step, attempts, next_at, lease_until, deadline, goal, checkout_request FROM sagas WHERE order_id > ? AND order_id <= ?`)
	if err != nil {
		return err
	}
	var l lineRow
	err = f.each(ctx, q, []any{n(&id), n(&l.product), n(&l.quantity), n(&l.unitPrice), n(&l.total), n(&l.tax), &l.currency}, func() {
		d := f.of(id)
		d.lines = append(d.lines, l)
	}, `SELECT order_id, product_id, quantity, unit_price, line_total, tax, currency FROM order_lines
		WHERE order_id > ? AND order_id <= ? ORDER BY order_id, product_id`)
	if err != nil {
		return err
	}
	var s stepRow
	if err := f.readKeys(ctx, q); err != nil {
		return err
	}
	err = f.each(ctx, q, []any{n(&id), n(&seq), &s.from, &s.to}, func() {
		d := f.of(id)
		s.seq = seq
		d.history = append(d.history, s)
	}, `SELECT order_id, seq, from_status, to_status FROM order_transitions
		WHERE order_id > ? AND order_id <= ? ORDER BY order_id, seq`)
	if err != nil {
		return err
	}
	return f.each(ctx, q, []any{n(&id), n(&told)}, func() {
		if d := f.byID[id]; d != nil { // of a plain order that was deleted the events remain
			d.told = told
		}
	}, `SELECT subject, COUNT(*) FROM events WHERE kind = 'order' AND subject > ? AND subject <= ? GROUP BY subject`)
}

// keyLife is for how long an Idempotency-Key stands for its order; then it may name another.
const keyLife = 24 * time.Hour

// keysAtOnce is how many Idempotency-Keys one query asks for.
const keysAtOnce = 100

// readKeys finds what the keys of young orders stand for.
func (f *files) readKeys(ctx context.Context, q sqldb.Querier) error {
	orders := map[string][]*dossier{} // by the name of their request
	for _, d := range f.list {
		if d.order != nil && d.saga != nil && f.now.Sub(time.UnixMicro(d.order.created)) < keyLife {
			orders[d.saga.request] = append(orders[d.saga.request], d)
		}
	}
	for names := range slices.Chunk(slices.Collect(maps.Keys(orders)), keysAtOnce) {
		where, args := "1 = 0", []any{}
		for _, name := range names {
			var parts []string
			if err := json.Unmarshal([]byte(name), &parts); err != nil || len(parts) != 3 {
				continue // order-service could not read it either
			}
			where += " OR caller = ? AND route = ? AND idempotency_key = ?"
			args = append(args, parts[0], parts[1], parts[2])
		}
		var caller, route, key string
		var order, created int64
		err := each(ctx, q, []any{&caller, &route, &key, n(&order), n(&created)}, func() {
			for _, d := range orders[requestName(caller, route, key)] {
				if created <= d.order.created { // or else the key was used anew
					d.keyOf = order
				}
			}
		}, `SELECT caller, route, idempotency_key, subject, created_at FROM idempotency_keys WHERE `+where, args...)
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *files) readPayments(ctx context.Context, q sqldb.Querier) error {
	var id int64
	var p paymentRow
	err := f.each(ctx, q, []any{n(&id), n(&p.id), &p.state, n(&p.amount), n(&p.captureReserved), n(&p.captured), n(&p.refundReserved), n(&p.refunded),
		&p.currency, &p.provider, &p.reference, n(&p.updated), n(&p.told)}, func() {
		d := f.of(id)
		d.payments = append(d.payments, p)
	}, `SELECT p.order_id, p.payment_id, p.state, p.amount, p.capture_reserved, p.captured_amount, p.refund_reserved, p.refunded_amount, p.currency,
			p.provider, p.provider_reference, p.updated_at,
			(SELECT COUNT(*) FROM events e WHERE e.kind = 'payment' AND e.subject = p.payment_id)
		FROM payments p WHERE p.order_id > ? AND p.order_id <= ?`)
	if err != nil {
		return err
	}
	var op operationRow
	err = f.each(ctx, q, []any{n(&id), n(&op.id), n(&op.payment), &op.kind, &op.state, n(&op.amount), n(&op.retryAt), n(&op.updated)}, func() {
		d := f.of(id)
		d.operations = append(d.operations, op)
	}, `SELECT p.order_id, o.operation_id, o.payment_id, o.kind, o.state, o.amount, o.retry_at, o.updated_at
		FROM payments p JOIN payment_operations o ON o.payment_id = p.payment_id
		WHERE p.order_id > ? AND p.order_id <= ?`)
	if err != nil {
		return err
	}
	var c chargeRow
	var voided int64
	err = f.each(ctx, q, []any{n(&id), n(&c.payment), n(&c.order), &c.reference, n(&c.amount), n(&c.captured), n(&c.refunded), n(&voided), &c.currency}, func() {
		c.voided = voided != 0
		d := f.of(id)
		d.charges = append(d.charges, c)
	}, `SELECT p.order_id, c.payment_id, c.order_id, c.reference, c.amount, c.captured_amount, c.refunded_amount, c.voided, c.currency
		FROM payments p JOIN sandbox_charges c ON c.payment_id = p.payment_id
		WHERE p.order_id > ? AND p.order_id <= ?`)
	if err != nil {
		return err
	}
	var posting postingRow
	return f.each(ctx, q, []any{n(&id), n(&posting.entry), n(&posting.payment), &posting.account, n(&posting.amount), &posting.currency}, func() {
		d := f.of(id)
		d.postings = append(d.postings, posting)
	}, `SELECT order_id, entry_id, payment_id, account, amount, currency FROM ledger_postings
		WHERE order_id > ? AND order_id <= ?`)
}

func (f *files) readStock(ctx context.Context, q sqldb.Querier) error {
	var id int64
	var r reservationRow
	err := f.each(ctx, q, []any{n(&id), &r.state, n(&r.expires), n(&r.updated)}, func() {
		row := r
		f.of(id).reservation = &row
	}, `SELECT order_id, state, expires_at, updated_at FROM reservations WHERE order_id > ? AND order_id <= ?`)
	if err != nil {
		return err
	}
	var i itemRow
	err = f.each(ctx, q, []any{n(&id), n(&i.product), n(&i.quantity)}, func() {
		d := f.of(id)
		d.reserved = append(d.reserved, i)
	}, `SELECT order_id, product_id, quantity FROM reservation_items WHERE order_id > ? AND order_id <= ?`)
	if err != nil {
		return err
	}
	var m movementRow
	return f.each(ctx, q, []any{n(&id), n(&m.product), n(&m.quantity), &m.reason}, func() {
		d := f.of(id)
		d.movements = append(d.movements, m)
	}, `SELECT order_id, product_id, quantity, reason FROM stock_movements
		WHERE order_id > ? AND order_id <= ?`)
}

func (f *files) readShipments(ctx context.Context, q sqldb.Querier) error {
	var id int64
	var s shipmentRow
	err := f.each(ctx, q, []any{n(&id), n(&s.id), &s.state, n(&s.updated), n(&s.pending), n(&s.deliverAt), n(&s.told)}, func() {
		row := s
		f.of(id).shipment = &row
	}, `SELECT s.order_id, s.shipment_id, s.state, s.updated_at,
			(SELECT COUNT(*) FROM notifications n WHERE n.shipment_id = s.shipment_id),
			(SELECT n.deliver_at FROM notifications n WHERE n.shipment_id = s.shipment_id ORDER BY n.notification_id LIMIT 1),
			(SELECT COUNT(*) FROM events e WHERE e.kind = 'shipment' AND e.subject = s.shipment_id)
		FROM shipments s WHERE s.order_id > ? AND s.order_id <= ?`)
	if err != nil {
		return err
	}
	var step stepRow
	err = f.each(ctx, q, []any{n(&id), n(&step.seq), &step.from, &step.to}, func() {
		d := f.of(id)
		d.journey = append(d.journey, step)
	}, `SELECT s.order_id, e.event_id, e.from_state, e.state FROM shipments s JOIN shipment_events e ON e.shipment_id = s.shipment_id
		WHERE s.order_id > ? AND s.order_id <= ?`)
	if err != nil {
		return err
	}
	var i itemRow
	return f.each(ctx, q, []any{n(&id), n(&i.product), n(&i.quantity), n(&i.shipment)}, func() {
		d := f.of(id)
		switch {
		case d.shipment != nil && d.shipment.id == i.shipment:
			d.parcel = append(d.parcel, i)
		case i.shipment != 0:
			d.strays = append(d.strays, i)
		}
	}, `SELECT order_id, product_id, ordered_quantity, shipment_id FROM order_items
		WHERE order_id > ? AND order_id <= ?`)
}
