package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"tienda/api"
	"tienda/sqldb"
)

// scans are all looks that are to be taken, the longest first.
func scans(db Databases) []scan {
	order, product, payment, shipping := db.Order, db.Product, db.Payment, db.Shipping
	return []scan{
		newOrderScan(db),
		newStockScan(product),
		&keyScan{order, keysOf{{order, nth("created_at", "idempotency_keys")}}},
		&cartScan{order, keysOf{{order, nth("cart_id", "carts")}}},
		newOwnerScan(payment, "payment-service", "operation", "payment_operations", "operation_id", "payments", "payment_id"),
		newOwnerScan(payment, "payment-service", "charge of the sandbox", "sandbox_charges", "charge_id", "payments", "payment_id"),
		newOwnerScan(shipping, "shipping-service", "shipment event", "shipment_events", "event_id", "shipments", "shipment_id"),
		whole{product, "product-service", lookAtReserved},
		whole{payment, "payment-service", lookAtSandboxBooks},
		whole{payment, "payment-service", lookAtProviderEvents},
		&feedScan{db},
	}
}

// ownerScan looks for rows whose owner is not there.
type ownerScan struct {
	keysOf
	db                                 *sqldb.DB
	service, row, owner, count, orphan string
}

func newOwnerScan(db *sqldb.DB, service, row, table, key, owners, owner string) *ownerScan {
	rows := " FROM " + table + " r LEFT JOIN " + owners + " o ON o." + owner + " = r." + owner + " WHERE r." + key + " > ? AND r." + key + " <= ?"
	return &ownerScan{
		keysOf: keysOf{{db, nth(key, table)}}, db: db, service: service, row: row, owner: owners[:len(owners)-1],
		count:  "SELECT COUNT(*), COUNT(*) - COUNT(o." + owner + ")" + rows,
		orphan: "SELECT r." + key + ", r." + owner + rows + " AND o." + owner + " IS NULL",
	}
}

func (s *ownerScan) look(ctx context.Context, lo, hi int64, t *tally) error {
	invariant := numberOf(nameOwners)
	err := s.db.Snapshot(ctx, func(q sqldb.Querier) error {
		var rows, orphans, id, owner int64
		if err := q.QueryRow(ctx, s.count, lo, hi).Scan(&rows, &orphans); err != nil {
			return err
		}
		t.rows[invariant] += rows
		if orphans == 0 {
			return nil
		}
		return each(ctx, q, []any{n(&id), n(&owner)}, func() {
			t.found(invariant, id, s.row+" "+strconv.FormatInt(id, 10), fmt.Sprintf("its %s %d does not exist", s.owner, owner), 0)
		}, s.orphan, lo, hi)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", s.service, err)
	}
	return nil
}

// cartScan looks for carts that no order speaks for: those in checkout, or closed by one, that it does not know.
type cartScan struct {
	db *sqldb.DB
	keysOf
}

func (s *cartScan) look(ctx context.Context, lo, hi int64, t *tally) error {
	invariant := numberOf(nameCheckout)
	var id, order int64
	var state, status string
	err := each(ctx, s.db, []any{n(&id), &state, n(&order), &status}, func() {
		t.found(invariant, id, "cart "+strconv.FormatInt(id, 10), fmt.Sprintf("it is %s by order %d, which is %s", state, order, status), 0)
	}, `SELECT c.cart_id, c.state, c.order_id, COALESCE(o.status, 'not there') FROM carts c LEFT JOIN orders o ON o.order_id = c.order_id AND o.cart_id = c.cart_id
		WHERE c.cart_id > ? AND c.cart_id <= ?
		AND NOT (c.order_id = 0 AND c.state IN ('OPEN', 'CLOSED'))
		AND NOT (c.state = 'CHECKING_OUT' AND COALESCE(o.status, '') = 'PENDING')
		AND NOT (c.state = 'CLOSED' AND COALESCE(o.status, 'CREATED') NOT IN ('CREATED', 'PENDING'))`, lo, hi)
	if err != nil {
		return fmt.Errorf("order-service: %w", err)
	}
	return nil
}

// keyScan looks at the Idempotency-Keys of checkouts and cancellations. They are followed by the time at
// which they came.
type keyScan struct {
	db *sqldb.DB
	keysOf
}

func (s *keyScan) look(ctx context.Context, lo, hi int64, t *tally) error {
	invariant := numberOf(nameKeys)
	var caller, route, key, state, step, request string
	var subject, status, created int64
	err := each(ctx, s.db, []any{&caller, &route, &key, n(&subject), n(&status), n(&created), &state, &step, &request}, func() {
		checkout, cancel := strings.HasSuffix(route, "/checkout"), strings.HasSuffix(route, "/cancel")
		if !checkout && !cancel {
			return
		}
		t.rows[invariant]++
		wrong := wrongAnswer(checkout, subject, status, state, step)
		if wrong == "" && checkout && request != requestName(caller, route, key) {
			wrong = fmt.Sprintf("it stands for order %d, which came from %s", subject, request)
		}
		if wrong != "" {
			t.found(invariant, created, "key "+key+" of "+caller, wrong, 0)
		}
	}, `SELECT k.caller, k.route, k.idempotency_key, k.subject, k.status, k.created_at, COALESCE(o.status, ''), COALESCE(s.step, ''), COALESCE(s.checkout_request, '')
		FROM idempotency_keys k LEFT JOIN orders o ON o.order_id = k.subject LEFT JOIN sagas s ON s.order_id = k.subject
		WHERE k.created_at > ? AND k.created_at <= ?`, lo, hi)
	if err != nil {
		return fmt.Errorf("order-service: %w", err)
	}
	return nil
}

// requestName is how a saga names the request that it began with.
func requestName(caller, route, key string) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode([]string{caller, route, key}); err != nil {
		return err.Error() // strings are always JSON
	}
	return strings.TrimSpace(text.String())
}

// wrongAnswer compares what is answered under a key with what became of its order. A cancellation without
// a final answer is answered with the state of the order; a checkout has one as soon as its saga ends.
func wrongAnswer(checkout bool, order, status int64, state, step string) string {
	switch {
	case state == "":
		return fmt.Sprintf("it stands for order %d, which does not exist", order)
	case status == 0 && checkout && step == sagaDone:
		return fmt.Sprintf("it has no answer, but order %d is %s", order, state)
	case status == 0:
		return ""
	case checkout && status < 300 && (state == api.OrderPending || state == api.OrderCreated):
		return fmt.Sprintf("it answers %d, but order %d is %s", status, order, state)
	case checkout && status >= 300 && state != api.OrderCancelled:
		return fmt.Sprintf("it answers %d, but order %d is %s", status, order, state)
	case !checkout && status < 300 && state != api.OrderCancelled:
		return fmt.Sprintf("it answers that order %d is cancelled, but it is %s", order, state)
	}
	return ""
}

// whole is a look at a database that needs no ranges.
type whole struct {
	db      *sqldb.DB
	service string
	at      func(ctx context.Context, q sqldb.Querier, t *tally) error
}

func (w whole) end(context.Context, int64, int) (int64, error) { return math.MaxInt64, nil }

func (w whole) look(ctx context.Context, _, _ int64, t *tally) error {
	if err := w.db.Snapshot(ctx, func(q sqldb.Querier) error { return w.at(ctx, q, t) }); err != nil {
		return fmt.Errorf("%s: %w", w.service, err)
	}
	return nil
}

// lookAtReserved compares what is reserved of products with the reservations that live. Both are few.
func lookAtReserved(ctx context.Context, q sqldb.Querier, t *tally) error {
	held := map[int64]int64{}
	var id, quantity int64
	err := each(ctx, q, []any{n(&id), n(&quantity)}, func() { held[id] = quantity }, `SELECT i.product_id, SUM(i.quantity)
		FROM reservations r JOIN reservation_items i ON i.order_id = r.order_id WHERE r.state = 'HELD' GROUP BY i.product_id`)
	if err != nil {
		return err
	}
	invariant := numberOf(nameReserved)
	wrong := func(id, reserved, held int64) {
		t.found(invariant, id, "product "+strconv.FormatInt(id, 10), fmt.Sprintf("%d are reserved, live reservations hold %d", reserved, held), 0)
	}
	err = each(ctx, q, []any{n(&id), n(&quantity)}, func() {
		t.rows[invariant]++
		if held[id] != quantity {
			wrong(id, quantity, held[id])
		}
		delete(held, id)
	}, `SELECT product_id, reserved FROM products WHERE reserved <> 0`)
	for id, quantity := range held {
		wrong(id, 0, quantity)
	}
	return err
}

func lookAtSandboxBooks(ctx context.Context, q sqldb.Querier, t *tally) error {
	invariant := numberOf(nameSandboxBooks)
	operations, charges := map[string]int64{}, map[string]int64{}
	var kind string
	var count, sum int64
	err := each(ctx, q, []any{&kind, n(&count), n(&sum)}, func() {
		operations[kind] = sum
		t.rows[invariant] += count
	}, `SELECT kind, COUNT(*), SUM(amount) FROM sandbox_operations WHERE outcome = 'OK' GROUP BY kind`)
	if err != nil {
		return err
	}
	var authorized, captured, refunded, voided int64
	err = each(ctx, q, []any{n(&authorized), n(&captured), n(&refunded), n(&voided)}, func() {
		charges = map[string]int64{kindAuthorize: authorized, kindCapture: captured, kindRefund: refunded, kindVoid: voided}
	}, `SELECT SUM(amount), SUM(captured_amount), SUM(refunded_amount), SUM(CASE WHEN voided THEN amount ELSE 0 END) FROM sandbox_charges`)
	for _, kind := range []string{kindAuthorize, kindCapture, kindRefund, kindVoid} {
		if operations[kind] != charges[kind] {
			t.found(invariant, 0, "sandbox", fmt.Sprintf("its operations %s sum to %d, its charges to %d", kind, operations[kind], charges[kind]), 0)
		}
	}
	return err
}

func lookAtProviderEvents(ctx context.Context, q sqldb.Querier, t *tally) error {
	invariant := numberOf(nameProvider)
	late := sqldb.Instant(t.now.Add(-overdue))
	var provider, event, state string
	err := each(ctx, q, []any{&provider, &event, &state}, func() {
		text := "it contradicts our books: it is kept as " + state
		if state == "WAITING" {
			text = "it should have been looked at again more than two minutes ago"
		}
		t.found(invariant, 0, "event "+event+" of "+provider, text, 0)
	}, `SELECT provider, event_id, state FROM provider_events WHERE state IN ('REFUSED', 'LOST') OR state = 'WAITING' AND retry_at < ?`, late)
	if err != nil {
		return err
	}
	err = each(ctx, q, []any{&event}, func() {
		t.found(invariant, 0, "event "+event+" of the sandbox", "it should have been delivered more than two minutes ago", 0)
	}, `SELECT event_id FROM sandbox_events WHERE deliver_at < ?`, late)
	if err != nil {
		return err
	}
	var rows int64
	err = q.QueryRow(ctx, `SELECT (SELECT COUNT(*) FROM provider_events) + (SELECT COUNT(*) FROM sandbox_events)`).Scan(&rows)
	t.rows[invariant] += rows
	return err
}

// feedScan looks how far order-service is behind the events of payment-service.
type feedScan struct{ db Databases }

func (s *feedScan) end(context.Context, int64, int) (int64, error) { return math.MaxInt64, nil }

func (s *feedScan) look(ctx context.Context, _, _ int64, t *tally) error {
	invariant := numberOf(nameFeeds)
	var position, behind, first int64
	err := each(ctx, s.db.Order, []any{n(&position)}, func() { t.rows[invariant]++ }, `SELECT seq FROM feed_positions WHERE feed = 'payment-service'`)
	if err != nil {
		return fmt.Errorf("order-service: %w", err)
	}
	err = each(ctx, s.db.Payment, []any{n(&behind), n(&first)}, func() {
		if waits := t.now.Sub(time.UnixMicro(first)); waits > overdue {
			t.found(invariant, 0, "order-service", fmt.Sprintf("event %d of payment-service has waited for %v to be read", behind, waits.Round(time.Second)), 0)
		}
	}, `SELECT seq, happened_at FROM events WHERE seq > ? ORDER BY seq LIMIT 1`, position)
	if err != nil {
		return fmt.Errorf("payment-service: %w", err)
	}
	return nil
}
