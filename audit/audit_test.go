package audit_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/audit"
	"tienda/sqldb/sqldbtest"
)

// planting is a violation: what it does to a good shop, and which invariants are then violated by whom.
type planting struct {
	name      string
	plant     func(s *shop)
	invariant string   // the one that it is for
	beside    []string // others that cannot hold either
	offender  string
}

// sql plants by a statement.
func sql(service, text string, args ...any) func(*shop) {
	return func(s *shop) { s.exec(service, text, args...) }
}

// both plants two things.
func both(first, second func(*shop)) func(*shop) {
	return func(s *shop) {
		first(s)
		second(s)
	}
}

const long = 10 * time.Minute

// longAgo is when something was due that nobody does.
func longAgo() int64 { return time.Now().Add(-long).UnixMicro() }

func plantings() []planting {
	return []planting{
		{"line total", sql("order", "UPDATE order_lines SET line_total = line_total + 1 WHERE order_id = 2 AND product_id = 1"), "order-totals", nil, "order 2: 2 of product 1"},
		{"tax", sql("order", "UPDATE orders SET tax = tax + 1, shipping_fee = shipping_fee - 1 WHERE order_id = 2"), "order-totals", nil, "order 2: the tax"},
		{"subtotal", sql("order", "UPDATE orders SET subtotal = subtotal + 1, shipping_fee = shipping_fee - 1 WHERE order_id = 2"), "order-totals", nil, "order 2: its lines"},
		{"total", sql("order", "UPDATE orders SET order_fee = order_fee - 1 WHERE order_id = 2"), "order-totals", []string{"paid-orders-charged"}, "order 2: its total"},
		{"currency of a line", sql("order", "UPDATE order_lines SET currency = 'EUR' WHERE order_id = 2 AND product_id = 1"), "order-totals", nil, "order 2"},
		{"no lines", sql("order", "DELETE FROM order_lines WHERE order_id = 8"), "order-totals", nil, "order 8: it has no lines"},

		{"gap in the history", sql("order", "UPDATE order_transitions SET seq = 9 WHERE order_id = 3 AND seq = 4"), "order-history", nil, "order 3: step 4"},
		{"illegal step", both(sql("order", "UPDATE order_transitions SET to_status = 'SHIPPED' WHERE order_id = 3 AND seq = 2"),
			sql("order", "UPDATE order_transitions SET from_status = 'SHIPPED' WHERE order_id = 3 AND seq = 3")), "order-history", nil, "order 3: step 2 of its history goes from PENDING to SHIPPED"},
		{"broken history", sql("order", "UPDATE order_transitions SET from_status = 'PENDING' WHERE order_id = 3 AND seq = 3"), "order-history", nil, "order 3: step 3"},
		{"history that ends elsewhere", both(sql("order", "DELETE FROM order_transitions WHERE order_id = 3 AND seq = 4"), sql("order", "DELETE FROM events WHERE kind = 'order' AND subject = 3 AND happened = 'DELIVERED'")),
			"order-history", nil, "order 3: it is DELIVERED"},

		{"saga that ended elsewhere", sql("order", "UPDATE sagas SET goal = 'CANCELLED' WHERE order_id = 2"), "order-sagas", nil, "order 2: its saga ended on the way to CANCELLED"},
		{"saga that is lost", sql("order", "DELETE FROM sagas WHERE order_id = 9"), "order-sagas", []string{"idempotency-keys"}, "order 9: it is SHIPPED and has no saga"},
		{"saga without a time", sql("order", "UPDATE sagas SET next_at = NULL WHERE order_id = 8"), "order-sagas", nil, "order 8"},
		{"saga that is done and due", sql("order", "UPDATE sagas SET next_at = 1 WHERE order_id = 2"), "order-sagas", nil, "order 2"},
		{"pending order whose saga is done", sql("order", "UPDATE sagas SET step = 'done', next_at = NULL WHERE order_id = 8"), "order-sagas", []string{"idempotency-keys"}, "order 8"},

		{"saga that nobody takes", func(s *shop) { s.exec("order", "UPDATE sagas SET next_at = ? WHERE order_id = 8", longAgo()) }, "sagas-stuck", nil, "order 8: its saga has waited at authorize for 10m"},
		{"saga past its deadline", func(s *shop) { s.exec("order", "UPDATE sagas SET deadline = ? WHERE order_id = 8", longAgo()) }, "sagas-stuck", nil, "order 8: its saga is still at authorize"},
		{"saga that fails", sql("order", "UPDATE sagas SET goal = 'CANCELLED', attempts = 101 WHERE order_id = 8"), "sagas-stuck", nil, "order 8: its saga has tried authorize 101 times"},

		{"two orders of one cart", sql("order", "UPDATE orders SET cart_id = 2 WHERE order_id = 9"), "one-checkout-per-cart", nil, "order 9: it is SHIPPED, but its cart 2"},
		{"cart that stays in checkout", sql("order", "UPDATE carts SET state = 'CHECKING_OUT' WHERE cart_id = 2"), "one-checkout-per-cart", nil, "cart 2: it is CHECKING_OUT"},
		{"cart of an order that never was", sql("order", "UPDATE carts SET state = 'CLOSED', order_id = 99 WHERE cart_id = 1"), "one-checkout-per-cart", nil, "cart 1: it is CLOSED by order 99"},
		{"cart that is open during its checkout", sql("order", "UPDATE carts SET state = 'OPEN', order_id = 0 WHERE cart_id = 8"), "one-checkout-per-cart", nil, "order 8"},

		{"key of another order", sql("order", "UPDATE idempotency_keys SET subject = 3 WHERE idempotency_key = '<key>-2'"), "idempotency-keys", nil, "key <key>-2 of user:1"},
		{"two orders under one key", func(s *shop) {
			s.exec("order", "DELETE FROM idempotency_keys WHERE idempotency_key = '<key>-9'")
			s.exec("order", "UPDATE sagas SET checkout_request = ? WHERE order_id = 9", requestText("user:1", "POST /order-service/api/carts/{cartId}/checkout", "<key>-2"))
		}, "idempotency-keys", nil, "order 9: the Idempotency-Key of its checkout stands for order 2"},
		{"refusal of a confirmed order", sql("order", "UPDATE idempotency_keys SET status = 409 WHERE idempotency_key = '<key>-2'"), "idempotency-keys", nil, "key <key>-2 of user:1: it answers 409"},
		{"success of a pending order", sql("order", "UPDATE idempotency_keys SET status = 201 WHERE idempotency_key = '<key>-8'"), "idempotency-keys", nil, "key <key>-8 of user:1: it answers 201"},
		{"key without an answer", sql("order", "UPDATE idempotency_keys SET status = 0 WHERE idempotency_key = '<key>-2'"), "idempotency-keys", nil, "key <key>-2 of user:1: it has no answer"},
		{"key of no order", sql("order", "UPDATE idempotency_keys SET subject = 99 WHERE idempotency_key = 'cancel-6'"), "idempotency-keys", nil, "key cancel-6"},
		{"cancellation of an order that stands", sql("order", "UPDATE idempotency_keys SET subject = 2 WHERE idempotency_key = 'cancel-6'"), "idempotency-keys", nil, "key cancel-6"},

		{"stock that came from nowhere", sql("product", "UPDATE products SET on_hand = on_hand + 1 WHERE product_id = 1"), "stock-movements", nil, "product 1"},
		{"wrong balance", sql("product", "UPDATE stock_movements SET balance = balance + 1 WHERE product_id = 3"), "stock-movements", nil, "product 3: movement"},
		{"movement of no product", func(s *shop) {
			s.row("product", "stock_movements", "product_id quantity reason note balance actor created_at", 99, 1, "RECEIVED", "", 1, "test", s.at)
		}, "stock-movements", nil, "product 99"},
		{"sale to nobody", func(s *shop) {
			s.row("product", "stock_movements", "product_id quantity reason note balance actor created_at", 3, -1, api.MovementSold, "", received-1, "test", s.at)
			s.exec("product", "UPDATE products SET on_hand = on_hand - 1 WHERE product_id = 3")
		}, "stock-movements", nil, "product 3"},

		{"stock that was negative", func(s *shop) {
			for _, m := range []int64{-received - 1, received + 1} {
				s.row("product", "stock_movements", "product_id quantity reason note balance actor created_at", 3, m, "ADJUSTED", "", max(m-1, -1), "test", s.at)
			}
		}, "stock-never-negative", nil, "product 3: movement"},

		{"reserved by nobody", sql("product", "UPDATE products SET reserved = reserved + 1 WHERE product_id = 1"), "stock-reserved", nil, "product 1: 3 are reserved, live reservations hold 2"},
		{"not reserved", sql("product", "UPDATE products SET reserved = 0 WHERE product_id = 2"), "stock-reserved", nil, "product 2: 0 are reserved, live reservations hold 1"},
		{"reserved by what expired", sql("product", "UPDATE reservations SET state = 'EXPIRED' WHERE order_id = 8"), "stock-reserved", nil, "product 1"},

		{"sale that is lost", sql("product", "UPDATE stock_movements SET reason = 'ADJUSTED', order_id = NULL WHERE order_id = 2 AND product_id = 1"), "stock-sold", nil, "order 2"},
		{"goods that never came back", sql("product", "UPDATE reservations SET state = 'RETURNED' WHERE order_id = 5"), "stock-sold", nil, "order 5"},
		{"goods that came back and are sold", sql("product", "UPDATE reservations SET state = 'RELEASED' WHERE order_id = 6"), "stock-sold", nil, "order 6"},
		{"items of no reservation", sql("product", "DELETE FROM reservations WHERE order_id = 5"), "stock-sold", nil, "order 5"},
		{"another quantity sold", sql("product", "UPDATE reservation_items SET quantity = 3 WHERE order_id = 6 AND product_id = 1"), "stock-sold", nil, "order 6"},

		{"reservation that does not expire", func(s *shop) {
			s.exec("product", "UPDATE reservations SET expires_at = ? WHERE order_id = 8", longAgo())
		}, "reservations-overdue", nil, "order 8"},

		{"more captured than authorised", sql("payment", "UPDATE payments SET amount = amount - 1 WHERE order_id = 2"), "payment-amounts",
			[]string{"payment-operations", "sandbox-charges", "paid-orders-charged"}, "order 2: payment 102 captured"},
		{"more refunded than captured", sql("payment", "UPDATE payments SET refunded_amount = refunded_amount + 1 WHERE order_id = 7"), "payment-amounts",
			[]string{"payment-operations", "sandbox-charges", "cancelled-is-empty"}, "order 7: payment 107 refunded"},
		{"state that does not fit", both(sql("payment", "UPDATE payments SET state = 'CAPTURED' WHERE order_id = 3"), sql("order", "UPDATE orders SET payment_state = 'CAPTURED' WHERE order_id = 3")),
			"payment-amounts", nil, "order 3: payment 103 is CAPTURED"},
		{"nothing set aside for what was captured", sql("payment", "UPDATE payments SET capture_reserved = 0 WHERE order_id = 2"), "payment-amounts", []string{"payment-operations"}, "order 2"},

		{"set aside for nothing", sql("payment", "UPDATE payments SET refund_reserved = refund_reserved + 5 WHERE order_id = 2"), "payment-operations", nil, "order 2: payment 102 has set 5 aside"},
		{"captured by no operation", sql("payment", "DELETE FROM payment_operations WHERE payment_id = 102 AND kind = 'CAPTURE'"), "payment-operations",
			[]string{"ledger-payments", "events-complete"}, "order 2: payment 102 has captured"},
		{"refunded by no operation", sql("payment", "UPDATE payment_operations SET amount = 99 WHERE payment_id = 103 AND kind = 'REFUND'"), "payment-operations", []string{"ledger-payments"}, "order 3"},
		{"void that did not happen", sql("payment", "UPDATE payment_operations SET state = 'FAILED' WHERE payment_id = 110 AND kind = 'VOID'"), "payment-operations", nil, "order 10"},
		{"payment without an authorization", sql("payment", "UPDATE payment_operations SET state = 'DONE' WHERE payment_id = 105"), "payment-operations", nil, "order 5: payment 105 is DECLINED"},

		{"operation that nobody takes", func(s *shop) {
			s.exec("payment", "UPDATE payment_operations SET retry_at = ? WHERE payment_id = 108", longAgo())
		}, "operations-overdue", nil, "order 8"},

		{"entry that does not balance", sql("payment", "UPDATE ledger_postings SET amount = amount + 1 WHERE payment_id = 102 AND account = 'sales'"), "ledger-balance", nil, "order 2"},
		{"entry in two currencies", sql("payment", "UPDATE ledger_postings SET currency = 'EUR' WHERE payment_id = 102 AND account = 'sales'"), "ledger-balance", nil, "order 2"},

		{"capture that is not in the ledger", sql("payment", "DELETE FROM ledger_postings WHERE payment_id = 102"), "ledger-payments", nil, "order 2: CAPTURE"},
		{"capture that is in the ledger with another amount", sql("payment", "UPDATE ledger_postings SET amount = amount * 2 WHERE payment_id = 102"), "ledger-payments", nil, "order 2: CAPTURE"},
		{"entry of nothing", func(s *shop) {
			for account, amount := range map[string]int64{"receivable:sandbox": 5, "sales": -5} {
				s.row("payment", "ledger_postings", "entry_id account amount currency order_id payment_id posted_at", 999, account, amount, "USD", 2, 102, s.at)
			}
		}, "ledger-payments", nil, "order 2: ledger entry 999"},
		{"ledger in another currency", sql("payment", "UPDATE ledger_postings SET currency = 'EUR' WHERE payment_id = 102"), "ledger-payments", nil, "order 2: payment 102 is in USD"},

		{"charge under another name", sql("payment", "UPDATE sandbox_charges SET reference = 'sbx_other' WHERE payment_id = 102"), "sandbox-charges", nil, "order 2"},
		{"refund that the sandbox made alone", both(sql("payment", "UPDATE sandbox_charges SET refunded_amount = 5 WHERE payment_id = 102"),
			func(s *shop) {
				s.row("payment", "sandbox_operations", "operation_key kind outcome failure_code reference amount created_at", "x", "REFUND", "OK", "", "sbx_102", 5, s.at)
			}), "sandbox-charges", nil, "order 2: payment 102 has refunded 0, the sandbox 5"},
		{"charge that the sandbox lacks", sql("payment", "DELETE FROM sandbox_charges WHERE payment_id = 102"), "sandbox-charges", []string{"sandbox-books"}, "order 2: payment 102 is CAPTURED, but the sandbox"},
		{"void that the sandbox lacks", sql("payment", "UPDATE sandbox_charges SET voided = FALSE WHERE payment_id = 110"), "sandbox-charges", []string{"sandbox-books"}, "order 10"},
		{"charge of a declined card", func(s *shop) {
			s.row("payment", "sandbox_charges", "reference payment_id order_id amount captured_amount refunded_amount voided currency created_at", "sbx_105", 105, 5, 0, 0, 0, false, "USD", s.at)
		}, "sandbox-charges", nil, "order 5"},

		{"second payment of an order", func(s *shop) { s.payment(202, 2, api.PaymentCaptured) }, "charged-once", nil, "order 2: 2 payments charge it"},
		{"second charge of a payment", func(s *shop) {
			s.row("payment", "sandbox_charges", "reference payment_id order_id amount captured_amount refunded_amount voided currency created_at", "sbx_twice", 102, 2, 0, 0, 0, false, "USD", s.at)
		}, "charged-once", []string{"sandbox-charges"}, "order 2: the sandbox has charged it 2 times"},

		{"operation that the sandbox forgot", sql("payment", "UPDATE sandbox_operations SET amount = amount + 1 WHERE operation_key = 'provider-1'"), "sandbox-books", nil, "sandbox: its operations AUTHORIZE"},

		{"event that contradicts", func(s *shop) { s.providerEvent("REFUSED", s.at) }, "provider-events", nil, "event evt of sandbox: it contradicts our books"},
		{"event that nobody looks at", func(s *shop) { s.providerEvent("WAITING", longAgo()) }, "provider-events", nil, "event evt of sandbox: it should have been looked at"},
		{"event that is not delivered", func(s *shop) {
			s.row("payment", "sandbox_events", "event_id body deliveries deliver_at", "evt", "{}", 1, longAgo())
		}, "provider-events", nil, "event evt of the sandbox"},

		{"illegal step of a shipment", sql("shipping", "UPDATE shipment_events SET state = 'PENDING' WHERE shipment_id = 103 AND state = 'LABEL_CREATED'"), "shipment-history", nil, "order 3: shipment 103: step 2"},
		{"shipment history that ends elsewhere", sql("shipping", "UPDATE shipment_events SET state = 'LOST' WHERE shipment_id = 103 AND state = 'DELIVERED'"), "shipment-history", nil, "order 3: shipment 103: it is DELIVERED"},

		{"step that is not told", func(s *shop) { s.exec("shipping", "UPDATE notifications SET deliver_at = ?", longAgo()) }, "notifications-overdue", nil, "order 11"},

		{"order that names no payment", sql("order", "UPDATE orders SET payment_id = 0 WHERE order_id = 2"), "paid-orders-charged", nil, "order 2: it is CONFIRMED and names no payment"},
		{"order whose payment is not there", sql("order", "UPDATE orders SET payment_id = 999 WHERE order_id = 2"), "paid-orders-charged", nil, "order 2: it is CONFIRMED, but its payment 999"},

		{"charge of an order that is not there", func(s *shop) { s.payment(999, 777, api.PaymentCaptured) }, "charges-have-orders", nil, "order 777: payment 999 holds 2820 USD, but there is no such order"},
		{"charge of a plain order", func(s *shop) { s.payment(999, 1, api.PaymentAuthorized) }, "charges-have-orders", nil, "order 1: payment 999 holds 2820 USD, but it was never checked out"},

		{"order that took no stock", func(s *shop) {
			s.exec("product", "UPDATE stock_movements SET reason = 'ADJUSTED', order_id = NULL WHERE order_id = 2")
			s.exec("product", "DELETE FROM reservation_items WHERE order_id = 2")
			s.exec("product", "DELETE FROM reservations WHERE order_id = 2")
		}, "orders-have-stock", nil, "order 2: it is CONFIRMED and took nothing"},
		{"order that took other stock", both(sql("product", "UPDATE reservation_items SET product_id = 3 WHERE order_id = 2 AND product_id = 2"), func(s *shop) {
			s.exec("product", "UPDATE stock_movements SET reason = 'ADJUSTED', order_id = NULL WHERE order_id = 2 AND product_id = 2")
			s.row("product", "stock_movements", "product_id quantity reason note order_id balance actor created_at", 3, -1, api.MovementSold, "", 2, received-1, "test", s.at)
			s.exec("product", "UPDATE products SET on_hand = on_hand - 1 WHERE product_id = 3")
		}), "orders-have-stock", nil, "order 2: it is of 2 of product 1, 1 of product 2, but took 2 of product 1, 1 of product 3"},
		{"reservation of no order", func(s *shop) {
			s.row("product", "reservations", "order_id state expires_at created_at updated_at", 777, api.ReservationHeld, s.soon, s.at, s.at)
		}, "orders-have-stock", nil, "order 777: there is no such order"},

		{"order without a shipment", func(s *shop) {
			s.exec("order", "UPDATE orders SET shipment_id = 0 WHERE order_id = 2")
			s.exec("shipping", "DELETE FROM order_items WHERE order_id = 2")
			s.exec("shipping", "DELETE FROM shipment_events WHERE shipment_id = 102")
			s.exec("shipping", "DELETE FROM shipments WHERE order_id = 2")
		}, "orders-have-shipments", nil, "order 2: it is CONFIRMED and has no shipment"},
		{"order that stayed behind its parcel", sql("shipping", "DELETE FROM notifications"), "orders-have-shipments", []string{"orders-know"}, "order 11: it is CONFIRMED, but shipment 111 is IN_TRANSIT"},

		{"cancelled order with stock", sql("product", "UPDATE reservations SET state = 'COMMITTED' WHERE order_id = 4"), "cancelled-is-empty", nil, "order 4: it is CANCELLED, but its reservation is COMMITTED"},
		{"cancelled order with money", func(s *shop) { s.payment(999, 4, api.PaymentAuthorized) }, "cancelled-is-empty", nil, "order 4: it is CANCELLED, but payment 999 is AUTHORIZED"},
		{"cancelled order with a parcel", func(s *shop) { s.shipment(999, 10, api.ShipmentPending) }, "cancelled-is-empty", []string{"shipped-was-paid", "orders-know"}, "order 10: it is CANCELLED, but shipment 999 is PENDING"},
		{"refunded order with money", func(s *shop) {
			s.exec("payment", "UPDATE payments SET state = 'PARTIALLY_REFUNDED', refunded_amount = 100, refund_reserved = 100 WHERE order_id = 7")
			s.exec("payment", "UPDATE payment_operations SET amount = 100 WHERE payment_id = 107 AND kind = 'REFUND'")
			s.exec("payment", "UPDATE ledger_postings SET amount = CASE WHEN amount < 0 THEN -100 ELSE 100 END WHERE payment_id = 107 AND (amount < 0) = (account <> 'sales')")
			s.exec("payment", "UPDATE sandbox_charges SET refunded_amount = 100 WHERE payment_id = 107")
			s.exec("order", "UPDATE orders SET payment_state = 'PARTIALLY_REFUNDED' WHERE order_id = 7")
		}, "cancelled-is-empty", []string{"sandbox-books"}, "order 7: it is REFUNDED, but payment 107"},

		{"more shipped than ordered", sql("shipping", "UPDATE order_items SET ordered_quantity = 3 WHERE order_id = 2 AND product_id = 1"), "shipped-was-ordered", nil, "order 2"},
		{"less shipped than ordered", sql("shipping", "DELETE FROM order_items WHERE order_id = 2 AND product_id = 1"), "shipped-was-ordered", nil, "order 2"},
		{"items of another shipment", sql("shipping", "UPDATE order_items SET shipment_id = 103 WHERE order_id = 1"), "shipped-was-ordered", nil, "order 1"},

		{"shipment that nobody paid", func(s *shop) { s.shipment(999, 8, api.ShipmentPending) }, "shipped-was-paid", nil, "order 8: of its total 2820 only 0 was captured"},
		{"shipment of a plain order", func(s *shop) {
			s.exec("shipping", "DELETE FROM order_items WHERE order_id = 1")
			s.shipment(999, 1, api.ShipmentPending)
		}, "shipped-was-paid", nil, "order 1: it was never checked out"},

		{"order that missed a refund", sql("order", "UPDATE orders SET payment_state = 'CAPTURED' WHERE order_id = 3"), "orders-know", nil, "order 3: it takes payment 103 for CAPTURED"},
		{"order that missed a step", sql("order", "UPDATE orders SET shipment_state = 'LABEL_CREATED' WHERE order_id = 9"), "orders-know", nil, "order 9: it takes shipment 109 for LABEL_CREATED"},
		{"order with another shipment", sql("order", "UPDATE orders SET shipment_id = 103 WHERE order_id = 9"), "orders-know", nil, "order 9: it names shipment 103"},

		{"step without an event", sql("order", "DELETE FROM events WHERE kind = 'order' AND subject = 2 AND happened = 'CONFIRMED'"), "events-complete", nil, "order 2: 1 events tell of its 2 steps"},
		{"outcome told twice", func(s *shop) { s.event("payment", "payment", 102, "CAPTURED") }, "events-complete", nil, "order 2: 3 events tell of the 2 outcomes of payment 102"},
		{"shipment step without an event", sql("shipping", "DELETE FROM events WHERE kind = 'shipment' AND subject = 103 AND happened = 'DELIVERED'"), "events-complete", nil, "order 3"},

		{"event that is not read", sql("order", "UPDATE feed_positions SET seq = seq - 1"), "feeds-behind", nil, "order-service: event"},

		{"operation of no payment", func(s *shop) { s.operation(999, 0, "VOID", "FAILED", 5) }, "rows-without-owner", nil, "operation"},
		{"charge of no payment", func(s *shop) {
			s.row("payment", "sandbox_charges", "reference payment_id order_id amount captured_amount refunded_amount voided currency created_at", "sbx_999", 999, 2, 0, 0, 0, false, "USD", s.at)
		}, "rows-without-owner", nil, "charge of the sandbox"},
		{"step of no shipment", func(s *shop) {
			s.row("shipping", "shipment_events", "shipment_id from_state state carrier tracking_number note actor happened_at", 999, "", "PENDING", "", "", "", "test", s.at)
		}, "rows-without-owner", nil, "shipment event"},
	}
}

// TestEveryInvariantIsPlanted: an invariant that nothing violates would not be known to be looked at.
func TestEveryInvariantIsPlanted(t *testing.T) {
	t.Parallel()
	s := openShop(t, "sqlite")
	s.reset()
	for _, invariant := range s.audit(audit.DefaultGrace).Invariants {
		if !slices.ContainsFunc(plantings(), func(p planting) bool { return p.invariant == invariant.Name }) {
			t.Errorf("no violation of %s is planted", invariant.Name)
		}
	}
}

// TestPlantedViolations plants one violation after the other in a good shop: the audit names the
// invariants that it breaks, no other, and who breaks them.
func TestPlantedViolations(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := openShop(t, engine)
			s.reset()
			if diff := cmp.Diff(map[string][]string{}, broken(s.audit(audit.DefaultGrace))); diff != "" {
				t.Fatalf("violations of a good shop (-want +got):\n%s", diff)
			}
			for _, p := range plantings() {
				s.reset()
				p.plant(s)
				s.write()
				if p.invariant != "feeds-behind" { // order-service has read what was planted
					s.exec("order", "UPDATE feed_positions SET seq = ?", s.lastEvent())
					s.write()
				}
				got := broken(s.audit(audit.DefaultGrace))
				var names []string
				for name := range got {
					names = append(names, name)
				}
				slices.Sort(names)
				want := append([]string{p.invariant}, p.beside...)
				slices.Sort(want)
				if diff := cmp.Diff(want, names); diff != "" {
					t.Errorf("%s: violated invariants (-want +got):\n%s%v", p.name, diff, got)
				}
				if !slices.ContainsFunc(got[p.invariant], func(first string) bool { return strings.HasPrefix(first, p.offender) }) {
					t.Errorf("%s: %s names %q, want %q", p.name, p.invariant, got[p.invariant], p.offender)
				}
			}
		})
	}
}

// broken are the first violations of each invariant that has any.
func broken(result *audit.Result) map[string][]string {
	names := map[string][]string{}
	for _, invariant := range result.Invariants {
		if invariant.Violations > 0 {
			names[invariant.Name] = invariant.First
		}
	}
	return names
}

// TestWhatIsYoungIsLookedAtAgain: two databases that disagree about what has just changed are given time,
// and only what is still wrong after it is reported.
func TestWhatIsYoungIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := openShop(t, engine)
			s.reset()
			for _, order := range []int64{777, 778} {
				s.payment(1000+order, order, api.PaymentCaptured)
				// By a clock that is ahead: that is not waited for longer than the grace either.
				s.exec("payment", "UPDATE payments SET updated_at = ? WHERE order_id = ?", time.Now().Add(time.Hour).UnixMicro(), order)
			}
			s.write()
			s.exec("order", "UPDATE feed_positions SET seq = ?", s.lastEvent())
			s.write()
			var mending sync.WaitGroup
			mending.Go(func() {
				time.Sleep(500 * time.Millisecond) // into the grace
				s.exec("payment", "UPDATE payments SET state = 'REFUNDED', captured_amount = 0, capture_reserved = 0 WHERE order_id = 777")
				s.write()
			})
			began := time.Now()
			const grace = 4 * time.Second
			result := s.audit(grace)
			mending.Wait()
			if waited := time.Since(began); waited < grace {
				t.Errorf("the audit took %v, want it to wait for the grace of %v", waited, grace)
			}
			got := broken(result)["charges-have-orders"]
			if len(got) != 1 || !strings.HasPrefix(got[0], "order 778: ") {
				t.Errorf("charges-have-orders = %q, want order 778 alone: the other was mended meanwhile", got)
			}
			rows := map[string]int64{}
			for _, invariant := range result.Invariants {
				rows[invariant.Name] = invariant.Rows
			}
			if rows["charges-have-orders"] != 11 {
				t.Errorf("%d rows were looked at, want each of the 11 orders with a payment once", rows["charges-have-orders"])
			}

			// What is not between two databases is not waited for.
			s.reset()
			s.exec("order", "UPDATE orders SET tax = tax + 1, shipping_fee = shipping_fee - 1, updated_at = ? WHERE order_id = 2", time.Now().UnixMicro())
			s.write()
			began = time.Now()
			if got := broken(s.audit(audit.DefaultGrace)); len(got["order-totals"]) != 1 || time.Since(began) > 30*time.Second {
				t.Errorf("violations = %v after %v, want the total of order 2 at once", got, time.Since(began))
			}
		})
	}
}

// TestManyViolations: all are counted, and the first are named in the order of their ids.
func TestManyViolations(t *testing.T) {
	t.Parallel()
	s := openShop(t, "sqlite")
	s.reset()
	s.exec("order", "UPDATE orders SET tax = tax + 1, shipping_fee = shipping_fee - 1 WHERE status <> 'CREATED'")
	s.write()
	result := s.audit(audit.DefaultGrace)
	totals := result.Invariants[0]
	var first []string
	for _, text := range totals.First {
		name, _, _ := strings.Cut(text, ":")
		first = append(first, name)
	}
	if diff := cmp.Diff([]string{"order 2", "order 3", "order 4", "order 5", "order 6"}, first); diff != "" || totals.Violations != 10 || result.Violations != 10 {
		t.Errorf("%d violations, %d of them of totals; the first (-want +got):\n%s", result.Violations, totals.Violations, diff)
	}
	var table strings.Builder
	if _, err := result.WriteTo(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"order-totals", "  order 2: the tax of its lines sums to 20, its tax is 21\n", "  and 5 more\n", "10 violations. Keep a copy"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, &table)
		}
	}
}
