package audit_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"tienda/api"
	"tienda/audit"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// services are those whose databases are audited, with the tables that [shop.reset] empties, children first.
var services = map[string][]string{
	"order":    {"sagas", "order_transitions", "order_lines", "orders", "cart_items", "carts", "idempotency_keys", "events", "feed_positions"},
	"product":  {"stock_movements", "reservation_items", "reservations", "products", "events", "idempotency_keys"},
	"payment":  {"ledger_postings", "payment_operations", "payments", "provider_events", "sandbox_charges", "sandbox_operations", "sandbox_events", "events", "idempotency_keys"},
	"shipping": {"shipment_events", "order_items", "notifications", "shipments", "events", "idempotency_keys"},
}

// migrations are the schemas as the services have them: by their files, since packages of services are
// not for the audit to import.
func migrations(service string) []sqldb.Migrations {
	return []sqldb.Migrations{
		{Name: service, Files: os.DirFS("../" + service)},
		{Name: "journal", Files: os.DirFS("../journal")},
	}
}

// shop are the databases of a shop that no service runs on.
type shop struct {
	tb      testing.TB
	db      map[string]*sqldb.DB // to write
	read    audit.Databases
	at      int64 // when everything in it happened: an hour ago, in microseconds
	soon    int64 // in a minute
	pending map[string][]statement
	nextOp  int64
}

type statement struct {
	text string
	args []any
}

func openShop(tb testing.TB, engine string) *shop {
	tb.Helper()
	s := &shop{tb: tb, db: map[string]*sqldb.DB{}}
	for service := range services {
		config := sqldbtest.Config(tb, engine)
		db, err := sqldb.Open(tb.Context(), config, migrations(service)...)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = db.Close() })
		s.db[service] = db
		reader, err := sqldb.OpenToRead(tb.Context(), config, migrations(service)...)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = reader.Close() })
		switch service {
		case "order":
			s.read.Order = reader
		case "product":
			s.read.Product = reader
		case "payment":
			s.read.Payment = reader
		case "shipping":
			s.read.Shipping = reader
		}
	}
	return s
}

// audit audits the shop with a grace.
func (s *shop) audit(grace time.Duration) *audit.Result {
	s.tb.Helper()
	result, err := audit.Run(s.tb.Context(), s.read, audit.Options{Grace: grace, Now: time.Now})
	if err != nil {
		s.tb.Fatal(err)
	}
	return result
}

// exec adds a statement to what [shop.write] writes.
func (s *shop) exec(service, text string, args ...any) {
	s.pending[service] = append(s.pending[service], statement{text, args})
}

// row adds a row: columns are separated by blanks.
func (s *shop) row(service, table, columns string, values ...any) {
	names := strings.Fields(columns)
	s.exec(service, "INSERT INTO "+table+" ("+strings.Join(names, ", ")+") VALUES ("+sqldb.In(len(names))+")", values...)
}

// write writes what was added, in one transaction for each database.
func (s *shop) write() {
	s.tb.Helper()
	for service, statements := range s.pending {
		err := s.db[service].Tx(s.tb.Context(), func(tx *sqldb.Tx) error {
			for _, statement := range statements {
				if _, err := tx.Exec(s.tb.Context(), statement.text, statement.args...); err != nil {
					return fmt.Errorf("%s: %s %v: %w", service, statement.text, statement.args, err)
				}
			}
			return nil
		})
		if err != nil {
			s.tb.Fatal(err)
		}
	}
	s.pending = map[string][]statement{}
}

func (s *shop) event(service, kind string, subject int64, happened string) {
	s.row(service, "events", "kind subject happened actor happened_at data", kind, subject, happened, "test", s.at, "")
}

// providerEvent is one that a provider sent and that is kept in a state.
func (s *shop) providerEvent(state string, retry int64) {
	s.row("payment", "provider_events", `provider event_id kind provider_key provider_reference amount currency failure_code declined body state attempts
		retry_at received_at`, "sandbox", "evt", "CAPTURE", "nothing", "", 1, "USD", "", false, "{}", state, 0, retry, s.at)
}

// Of every product a hundred came in. Every checked-out order is of two of product 1 and one of product 2,
// at 1000 and 500, with shipping for 300 and tax of 10 on each line.
const (
	received       = 100
	subtotal       = 2500
	total    int64 = subtotal + 20 + 300
)

// reset makes the shop one that holds an order of every kind and has nothing wrong with it.
func (s *shop) reset() {
	s.tb.Helper()
	s.at, s.soon = time.Now().Add(-time.Hour).UnixMicro(), time.Now().Add(time.Minute).UnixMicro()
	s.pending, s.nextOp = map[string][]statement{}, 1
	for service, tables := range services {
		for _, table := range tables {
			s.exec(service, "DELETE FROM "+table)
		}
	}
	onHand := map[int64]int64{1: received, 2: received, 3: received}
	for product := range onHand {
		s.row("product", "stock_movements", "product_id quantity reason note balance actor created_at", product, received, "RECEIVED", "", received, "test", s.at)
	}

	s.plainOrder(1)
	s.order(2, api.OrderConfirmed, nil, api.PaymentCaptured, api.ShipmentPending)
	s.stock(2, api.ReservationCommitted, onHand)
	s.order(3, api.OrderDelivered, []string{api.OrderConfirmed, api.OrderShipped}, api.PaymentPartiallyRefunded, api.ShipmentDelivered)
	s.stock(3, api.ReservationCommitted, onHand)
	s.order(4, api.OrderCancelled, nil, "", "")
	s.row("product", "reservations", "order_id state expires_at created_at updated_at", 4, api.ReservationReleased, s.at, s.at, s.at)
	s.order(5, api.OrderCancelled, nil, api.PaymentDeclined, "")
	s.stock(5, api.ReservationReleased, onHand)
	s.order(6, api.OrderCancelled, []string{api.OrderConfirmed}, api.PaymentRefunded, api.ShipmentCancelled)
	s.stock(6, api.ReservationReturned, onHand)
	s.key("POST /order-service/api/orders/{orderId}/cancel", "cancel-6", 6, 200)
	s.order(7, api.OrderRefunded, []string{api.OrderConfirmed, api.OrderShipped}, api.PaymentRefunded, api.ShipmentLost)
	s.stock(7, api.ReservationCommitted, onHand)
	s.order(8, api.OrderPending, nil, "PENDING", "")
	s.stock(8, api.ReservationHeld, onHand)
	s.order(9, api.OrderShipped, []string{api.OrderConfirmed}, api.PaymentCaptured, api.ShipmentInTransit)
	s.stock(9, api.ReservationCommitted, onHand)
	s.order(10, api.OrderCancelled, nil, api.PaymentVoided, "")
	s.stock(10, api.ReservationExpired, onHand)
	s.order(11, api.OrderConfirmed, nil, api.PaymentCaptured, api.ShipmentInTransit) // order-service does not know yet
	s.stock(11, api.ReservationCommitted, onHand)
	s.exec("order", "UPDATE orders SET shipment_state = 'LABEL_CREATED' WHERE order_id = 11")
	s.row("shipping", "notifications", "shipment_id order_id state tracking_number attempts deliver_at", 111, 11, api.ShipmentInTransit, "", 0, s.soon)

	for product, quantity := range onHand {
		reserved := map[int64]int64{1: 2, 2: 1}[product] // by order 8
		s.row("product", "products", "product_id title price currency on_hand reserved published version created_at updated_at",
			product, "thing", 1000, "USD", quantity, reserved, true, 1, s.at, s.at)
	}
	s.write()
	s.exec("order", "INSERT INTO feed_positions (feed, seq) VALUES ('payment-service', ?)", s.lastEvent())
	s.write()
}

// lastEvent is the number of the last event of payment-service.
func (s *shop) lastEvent() (seq int64) {
	s.tb.Helper()
	if err := s.db["payment"].QueryRow(s.tb.Context(), `SELECT MAX(seq) FROM events`).Scan(&seq); err != nil {
		s.tb.Fatal(err)
	}
	return seq
}

// plainOrder is one of the original system's API, with a payment and an item that say nothing.
func (s *shop) plainOrder(id int64) {
	s.cart(id, api.CartOpen, 0)
	s.orderRow(id, api.OrderCreated, 0, 0, 0, 0, 0, "", 0, "")
	s.history(id, api.OrderCreated)
	s.row("payment", "payments", `payment_id order_id user_id is_payed payment_status state amount capture_reserved captured_amount refund_reserved refunded_amount
		currency provider provider_reference failure_code created_at updated_at`, 100+id, id, 1, false, "IN_PROGRESS", "", 0, 0, 0, 0, 0, "", "", "", "", s.at, s.at)
	s.row("shipping", "order_items", "product_id order_id ordered_quantity user_id shipment_id created_at updated_at", 1, id, nil, 1, 0, s.at, s.at)
}

func (s *shop) cart(id int64, state string, order int64) {
	s.row("order", "carts", "cart_id user_id state order_id retired version created_at updated_at", id, 1, state, order, false, 1, s.at, s.at)
}

func (s *shop) orderRow(id int64, status string, fee, subtotal, shipping, tax, payment int64, paymentState string, shipment int64, shipmentState string) {
	s.row("order", "orders", `order_id cart_id user_id status order_date order_fee currency subtotal shipping_fee tax full_address postal_code city country
		shipping_service payment_id payment_state shipment_id shipment_state tracking_number version created_at updated_at`,
		id, id, 1, status, s.at, fee, "USD", subtotal, shipping, tax, "", "", "", "", "", payment, paymentState, shipment, shipmentState, "", 1, s.at, s.at)
}

func (s *shop) history(order int64, steps ...string) {
	from := ""
	for i, to := range steps {
		s.row("order", "order_transitions", "order_id seq from_status to_status happened_at actor reason", order, i+1, from, to, s.at, "test", "")
		s.event("order", "order", order, to)
		from = to
	}
}

// order is a checked-out order with its payment, whose number is 100 more, and its shipment.
func (s *shop) order(id int64, status string, before []string, payment, shipment string) {
	cart, named := api.CartClosed, id
	step, goal, next, answer := "done", "", any(nil), int64(201)
	switch status {
	case api.OrderPending:
		cart, step, next, answer = api.CartCheckingOut, "authorize", s.soon, 0
	case api.OrderCancelled:
		goal = api.OrderCancelled
		if before == nil {
			cart, named, answer = api.CartOpen, 0, 409
		}
	case api.OrderRefunded:
		goal = api.OrderRefunded
	}
	s.cart(id, cart, named)
	var paymentID, shipmentID int64
	if payment != "" && payment != "PENDING" {
		paymentID = 100 + id
	}
	if shipment != "" {
		shipmentID = 100 + id
	}
	known := payment
	if paymentID == 0 {
		known = ""
	}
	s.orderRow(id, status, total, subtotal, 300, 20, paymentID, known, shipmentID, shipment)
	for product, quantity := range map[int64]int64{1: 2, 2: 1} {
		price := map[int64]int64{1: 1000, 2: 500}[product]
		s.row("order", "order_lines", "order_id product_id product_title sku quantity unit_price line_total tax currency",
			id, product, "thing", "", quantity, price, price*quantity, 10, "USD")
	}
	steps := append([]string{api.OrderPending}, before...)
	if status != api.OrderPending {
		steps = append(steps, status)
	}
	s.history(id, steps...)
	route, key := "POST /order-service/api/carts/{cartId}/checkout", fmt.Sprintf("<key>-%d", id)
	s.row("order", "sagas", `order_id step attempts refusals next_at lease_owner lease_until deadline goal reason actor problem payment_provider payment_token
		checkout_request trace_parent`, id, step, 1, 0, next, "", 0, s.soon, goal, "", "", "", "sandbox", "", requestText("user:1", route, key), "")
	s.key(route, key, id, answer)
	if payment != "" {
		s.payment(100+id, id, payment)
	}
	if shipment != "" {
		s.shipment(100+id, id, shipment)
	}
}

// requestText is the name of a request, as the journal writes it.
func requestText(parts ...string) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(parts)
	return strings.TrimSpace(text.String())
}

func (s *shop) key(route, key string, order, status int64) {
	s.row("order", "idempotency_keys", "caller route idempotency_key request_hash subject status location answer busy_until created_at",
		"user:1", route, key, "", order, status, "", "", nil, s.at)
}

// payment is a payment of the total in a state, with all that the books say of it. A partial refund is of 100.
func (s *shop) payment(id, order int64, state string) {
	captured, refunded, reference := int64(0), int64(0), fmt.Sprintf("sbx_%d", id)
	switch state {
	case api.PaymentCaptured:
		captured = total
	case api.PaymentRefunded:
		captured, refunded = total, total
	case api.PaymentPartiallyRefunded:
		captured, refunded = total, 100
	case api.PaymentDeclined, "PENDING":
		reference = ""
	}
	s.row("payment", "payments", `payment_id order_id user_id is_payed payment_status state amount capture_reserved captured_amount refund_reserved refunded_amount
		currency provider provider_reference failure_code created_at updated_at`,
		id, order, 1, captured > refunded, "COMPLETED", state, total, captured, captured, refunded, refunded, "USD", "sandbox", reference, "", s.at, s.at)
	if state == api.PaymentDeclined {
		s.operation(id, order, "AUTHORIZE", "FAILED", total)
		return
	}
	s.row("payment", "sandbox_charges", "reference payment_id order_id amount captured_amount refunded_amount voided currency created_at",
		fmt.Sprintf("sbx_%d", id), id, order, total, captured, refunded, state == api.PaymentVoided, "USD", s.at)
	if state == "PENDING" { // the sandbox has done it, and nobody has heard of it
		s.operation(id, order, "AUTHORIZE", "PENDING", total)
		return
	}
	s.operation(id, order, "AUTHORIZE", "DONE", total)
	if captured > 0 {
		s.operation(id, order, "CAPTURE", "DONE", total)
	}
	if refunded > 0 {
		s.operation(id, order, "REFUND", "DONE", refunded)
	}
	if state == api.PaymentVoided {
		s.operation(id, order, "VOID", "DONE", total)
	}
}

// operation is one on a payment, in the sandbox's books, in the ledger and among the events.
func (s *shop) operation(payment, order int64, kind, state string, amount int64) {
	id := s.nextOp
	s.nextOp++
	s.row("payment", "payment_operations", `operation_id payment_id kind request_key provider_key amount reason token state failure_code status answer attempts
		busy_until retry_at created_at updated_at`, id, payment, kind, fmt.Sprint("request-", id), fmt.Sprint("provider-", id), amount, "", "", state, "", 0, "", 1,
		s.soon, s.soon, s.at, s.at)
	outcome := map[string]string{"DONE": "OK", "PENDING": "OK", "FAILED": "REFUSED"}[state]
	s.row("payment", "sandbox_operations", "operation_key kind outcome failure_code reference amount created_at",
		fmt.Sprint("provider-", id), kind, outcome, "", "", amount, s.at)
	if state == "PENDING" {
		return
	}
	s.event("payment", "payment", payment, kind)
	if sign := map[string]int64{"CAPTURE": 1, "REFUND": -1}[kind]; sign != 0 && state == "DONE" {
		for account, amount := range map[string]int64{"receivable:sandbox": sign * amount, "sales": -sign * amount} {
			s.row("payment", "ledger_postings", "entry_id account amount currency order_id payment_id posted_at", id, account, amount, "USD", order, payment, s.at)
		}
	}
}

// shipment is a shipment of all that was ordered.
func (s *shop) shipment(id, order int64, state string) {
	s.row("shipping", "shipments", "shipment_id order_id user_id state service carrier tracking_number full_address postal_code city country created_at updated_at",
		id, order, 1, state, "STANDARD", "", "", "", "", "", "TN", s.at, s.at)
	from := ""
	for _, to := range map[string][]string{
		api.ShipmentPending:   {api.ShipmentPending},
		api.ShipmentCancelled: {api.ShipmentPending, api.ShipmentCancelled},
		api.ShipmentInTransit: {api.ShipmentPending, api.ShipmentLabelCreated, api.ShipmentInTransit},
		api.ShipmentDelivered: {api.ShipmentPending, api.ShipmentLabelCreated, api.ShipmentInTransit, api.ShipmentDelivered},
		api.ShipmentLost:      {api.ShipmentPending, api.ShipmentLabelCreated, api.ShipmentInTransit, api.ShipmentLost},
	}[state] {
		s.row("shipping", "shipment_events", "shipment_id from_state state carrier tracking_number note actor happened_at", id, from, to, "", "", "", "test", s.at)
		s.event("shipping", "shipment", id, to)
		from = to
	}
	for product, quantity := range map[int64]int64{1: 2, 2: 1} {
		s.row("shipping", "order_items", "product_id order_id ordered_quantity user_id shipment_id created_at updated_at", product, order, quantity, 1, id, s.at, s.at)
	}
}

// stock is the reservation of an order in a state, with the movements that go with it.
func (s *shop) stock(order int64, state string, onHand map[int64]int64) {
	s.row("product", "reservations", "order_id state expires_at created_at updated_at", order, state, s.soon, s.at, s.at)
	for _, item := range []struct{ product, quantity int64 }{{1, 2}, {2, 1}} {
		s.row("product", "reservation_items", "order_id product_id quantity", order, item.product, item.quantity)
		if state != api.ReservationCommitted && state != api.ReservationReturned {
			continue
		}
		onHand[item.product] -= item.quantity
		s.movement(order, item.product, -item.quantity, api.MovementSold, onHand)
		if state == api.ReservationReturned {
			onHand[item.product] += item.quantity
			s.movement(order, item.product, item.quantity, api.MovementReturned, onHand)
		}
	}
}

func (s *shop) movement(order, product, quantity int64, reason string, onHand map[int64]int64) {
	s.row("product", "stock_movements", "product_id quantity reason note order_id balance actor created_at",
		product, quantity, reason, "", order, onHand[product], "test", s.at)
}
