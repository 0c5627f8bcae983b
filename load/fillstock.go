package load

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tienda/api"
)

// The tables of product-service and payment-service as they are after the orders of a plan.

// perProduct is a table whose rows follow from the products.
func (p *fillPlan) perProduct(name, columns string, rows func(i int, product fillProduct, put func(values ...any))) fillTable {
	maker := p.newProductMaker()
	return fillTable{name, columns, p.opts.Products, func(i int, put func(values ...any)) { rows(i, maker.product(i), put) }}
}

func (p *fillPlan) productTables() []fillTable {
	const movementColumns = "product_id, quantity, reason, note, order_id, balance, actor, created_at"
	products := p.newProductMaker()
	// received is all that ever came of a product: what left again, and what was left over.
	received := func(i int, product fillProduct) int64 { return int64(p.sold[i]) + product.left }
	balance := make([]int64, p.opts.Products)
	orders := p.newOrderMaker()
	return []fillTable{
		p.perProduct("products", `product_id, category_id, title, image_url, sku, description, price, currency, on_hand, reserved, published, version,
			created_at, updated_at`, func(i int, product fillProduct, put func(values ...any)) {
			id := p.first.product + int64(i)
			put(id, product.category, product.title, "/product-service/api/products/"+strconv.FormatInt(id, 10)+"/image.svg", product.sku,
				"The "+product.title+": made to be used every day, and to be repaired.", product.price, p.opts.Currency.Code,
				product.left+int64(p.back[i]), 0, product.published, 1+int64(p.sold[i]), product.createdAt, product.createdAt)
		}),
		p.perProduct("product_terms", "term, product_id", func(i int, product fillProduct, put func(values ...any)) {
			words := strings.FieldsFunc(strings.ToLower(product.title+" "+product.sku), func(c rune) bool { return c == ' ' || c == '-' })
			slices.Sort(words)
			for _, word := range slices.Compact(words) {
				put(word, p.first.product+int64(i))
			}
		}),
		p.perProduct("events", eventColumns, func(i int, product fillProduct, put func(values ...any)) {
			put("product", p.first.product+int64(i), "CREATED", "admin:4", product.createdAt, "")
		}),
		// One table for what came and what left: balances run through it.
		{"stock_movements", movementColumns, p.opts.Products + p.opts.Orders, func(i int, put func(values ...any)) {
			if i < p.opts.Products {
				product := products.product(i)
				if balance[i] = received(i, product); balance[i] > 0 {
					put(p.first.product+int64(i), balance[i], api.MovementReceived, "", nil, balance[i], "admin:4", product.createdAt)
				}
				return
			}
			o := orders.order(i - p.opts.Products)
			if !o.kind.reserved() {
				return
			}
			for _, l := range o.lines {
				balance[l.product] -= l.quantity
				put(l.id, -l.quantity, api.MovementSold, "", o.id, balance[l.product], "order-service", o.confirmedAt)
			}
			if o.kind != fillCancelled {
				return
			}
			for _, l := range o.lines {
				balance[l.product] += l.quantity
				put(l.id, l.quantity, api.MovementReturned, "", o.id, balance[l.product], "order-service", o.cancelledAt)
			}
		}},
		p.perOrder("reservations", "order_id, state, expires_at, created_at, updated_at", func(o *fillOrder, put func(values ...any)) {
			state, expires, end := api.ReservationCommitted, o.at+(15*time.Minute).Microseconds(), o.confirmedAt
			switch o.kind {
			case fillPlain:
				return
			case fillDeclined:
				state = api.ReservationReleased
			case fillOutOfStock: // released without ever having been held
				state, expires = api.ReservationReleased, o.confirmedAt
			case fillCancelled:
				state, end = api.ReservationReturned, o.cancelledAt
			}
			put(o.id, state, expires, o.at, end)
		}),
		p.perOrder("reservation_items", "order_id, product_id, quantity", func(o *fillOrder, put func(values ...any)) {
			if o.kind == fillPlain || o.kind == fillOutOfStock {
				return
			}
			for _, l := range o.lines {
				put(o.id, l.id, l.quantity)
			}
		}),
	}
}

// fillMove is one movement of an order's money.
type fillMove struct {
	kind     string
	id       int64 // of the operation
	state    string
	failure  string
	status   int
	outcome  string // the payment's state after it
	reason   string
	subject  string // of its key
	key      string
	at       int64
	provider string // the key that the provider knows it by
}

// money are the movements of the order's money.
func (o *fillOrder) money() []fillMove {
	if o.kind == fillPlain || o.kind == fillOutOfStock {
		return nil
	}
	order := strconv.FormatInt(o.id, 10)
	payment := "payment/" + strconv.FormatInt(o.payment, 10)
	move := func(n int64, kind, outcome, subject string, at int64) fillMove {
		id := o.operation + n
		return fillMove{kind: kind, id: id, state: "DONE", status: 200, outcome: outcome, subject: subject,
			key: "order-" + order + "-" + strings.ToLower(kind), at: at, provider: fmt.Sprintf("fill%022d", id)}
	}
	authorize := move(0, "AUTHORIZE", api.PaymentAuthorized, "order/"+order, o.at+(o.confirmedAt-o.at)/3)
	authorize.status = 201
	if o.kind == fillDeclined {
		authorize.state, authorize.failure, authorize.status, authorize.outcome = "FAILED", "card_declined", 402, api.PaymentDeclined
		return []fillMove{authorize}
	}
	moves := []fillMove{authorize, move(1, "CAPTURE", api.PaymentCaptured, payment, o.at+(o.confirmedAt-o.at)/2)}
	if !o.kind.refunded() {
		return moves
	}
	goal, _, _ := o.turned()
	back := move(2, "REFUND", api.PaymentRefunded, payment, o.cancelledAt)
	if o.kind == fillReturned {
		back.at = o.arrivedAt
	}
	back.reason = "order " + order + " is " + goal
	return append(moves, back)
}

// reference is the name of the charge at the sandbox; empty where there is none.
func (o *fillOrder) reference() string {
	if !o.kind.paid() {
		return ""
	}
	return fmt.Sprintf("sbx_fill%022d", o.payment)
}

func (p *fillPlan) paymentTables() []fillTable {
	currency := p.opts.Currency.Code
	eachMove := func(name, columns string, rows func(o *fillOrder, m fillMove, put func(values ...any))) fillTable {
		return p.perOrder(name, columns, func(o *fillOrder, put func(values ...any)) {
			for _, m := range o.money() {
				rows(o, m, put)
			}
		})
	}
	return []fillTable{
		p.perOrder("payments", `payment_id, order_id, user_id, is_payed, payment_status, state, amount, capture_reserved, captured_amount,
			refund_reserved, refunded_amount, currency, provider, provider_reference, failure_code, created_at, updated_at`, func(o *fillOrder, put func(values ...any)) {
			moves := o.money()
			if len(moves) == 0 {
				return
			}
			last := moves[len(moves)-1]
			status, captured, refunded := api.PaymentNotStarted, int64(0), int64(0)
			if o.kind.paid() {
				status, captured = api.PaymentCompleted, o.total
			}
			if o.kind.refunded() {
				refunded = o.total
			}
			put(o.payment, o.id, o.userID, captured > refunded, status, last.outcome, o.total, captured, captured, refunded, refunded, currency,
				"sandbox", o.reference(), last.failure, o.at, last.at)
		}),
		eachMove("payment_operations", `operation_id, payment_id, kind, request_key, provider_key, amount, reason, token, state, failure_code, status,
			answer, attempts, busy_until, retry_at, created_at, updated_at`, func(o *fillOrder, m fillMove, put func(values ...any)) {
			until := m.at + (14 * time.Second).Microseconds()
			put(m.id, o.payment, m.kind, m.kind+"/"+m.subject+"/order-service/"+m.key, m.provider, o.total, m.reason, "", m.state, m.failure, m.status,
				`{"paymentId":`+strconv.FormatInt(o.payment, 10)+`,"state":"`+m.outcome+`"}`, 1, until, until, m.at, m.at)
		}),
		eachMove("ledger_postings", "entry_id, account, amount, currency, order_id, payment_id, posted_at", func(o *fillOrder, m fillMove, put func(values ...any)) {
			amount := o.total
			switch m.kind {
			case "AUTHORIZE":
				return
			case "REFUND":
				amount = -amount
			}
			put(m.id, "receivable:sandbox", amount, currency, o.id, o.payment, m.at)
			put(m.id, "sales", -amount, currency, o.id, o.payment, m.at)
		}),
		eachMove("events", eventColumns, func(o *fillOrder, m fillMove, put func(values ...any)) {
			data := fmt.Sprintf(`{"amount":%s,"currency":%q,"failureCode":%q,"orderId":%d,"reason":%q}`, p.amount(o.total), currency, m.failure, o.id, m.reason)
			put("payment", o.payment, m.outcome, "order-service", m.at, data)
		}),
		p.perOrder("sandbox_charges", "reference, payment_id, order_id, amount, captured_amount, refunded_amount, voided, currency, created_at",
			func(o *fillOrder, put func(values ...any)) {
				if !o.kind.paid() {
					return
				}
				refunded := int64(0)
				if o.kind.refunded() {
					refunded = o.total
				}
				put(o.reference(), o.payment, o.id, o.total, o.total, refunded, false, currency, o.at)
			}),
		eachMove("sandbox_operations", "operation_key, kind, outcome, failure_code, reference, amount, created_at", func(o *fillOrder, m fillMove, put func(values ...any)) {
			outcome := "OK"
			if m.failure != "" {
				outcome = "REFUSED"
			}
			put(m.provider, m.kind, outcome, m.failure, o.reference(), o.total, m.at)
		}),
	}
}
