package audit

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"tienda/api"
	"tienda/sqldb"
)

// quantities are the units of each product in a list of items, in the order of products.
func quantities(items []itemRow) []itemRow {
	list := make([]itemRow, len(items))
	for i, item := range items {
		list[i] = itemRow{product: item.product, quantity: item.quantity}
	}
	slices.SortFunc(list, func(a, b itemRow) int { return int(a.product - b.product) })
	return list
}

// ordered are the order's lines as items.
func (d *dossier) ordered() []itemRow {
	list := make([]itemRow, len(d.lines))
	for i, l := range d.lines {
		list[i] = itemRow{product: l.product, quantity: l.quantity}
	}
	return list
}

func stockSold(d *dossier) (wrong string, looked bool) {
	if d.reservation == nil && len(d.reserved) == 0 && len(d.movements) == 0 {
		return "", false
	}
	var state string
	if d.reservation != nil {
		state = d.reservation.state
	}
	var sold, returned []itemRow
	for _, m := range d.movements {
		switch m.reason {
		case api.MovementSold:
			sold = append(sold, itemRow{product: m.product, quantity: -m.quantity})
		case api.MovementReturned:
			returned = append(returned, itemRow{product: m.product, quantity: m.quantity})
		default:
			return fmt.Sprintf("it has a movement %s of product %d", m.reason, m.product), true
		}
	}
	var wantSold, wantReturned []itemRow
	switch state {
	case api.ReservationCommitted:
		wantSold = d.reserved
	case api.ReservationReturned:
		wantSold, wantReturned = d.reserved, d.reserved
	case "":
		if len(d.reserved) > 0 {
			return fmt.Sprintf("%d items are reserved for it without a reservation", len(d.reserved)), true
		}
	}
	switch {
	case !slices.Equal(quantities(sold), quantities(wantSold)):
		return fmt.Sprintf("its reservation is %s, of %s, but %s were sold", known(state), list(d.reserved), list(sold)), true
	case !slices.Equal(quantities(returned), quantities(wantReturned)):
		return fmt.Sprintf("its reservation is %s, of %s, but %s came back", known(state), list(d.reserved), list(returned)), true
	}
	return "", true
}

// list names items in a sentence.
func list(items []itemRow) string {
	if len(items) == 0 {
		return "none"
	}
	var text []byte
	for i, item := range items {
		if i == 3 {
			return string(text) + " and more"
		}
		if i > 0 {
			text = append(text, ", "...)
		}
		text = fmt.Appendf(text, "%d of product %d", item.quantity, item.product)
	}
	return string(text)
}

func reservationsOverdue(d *dossier) (wrong string, looked bool) {
	r := d.reservation
	if r == nil || r.state != api.ReservationHeld {
		return "", false
	}
	if d.late(r.expires) {
		return fmt.Sprintf("its reservation expired %v ago and still holds stock", d.ago(r.expires)), true
	}
	return "", true
}

func ordersHaveStock(d *dossier) (wrong string, looked bool) {
	r := d.reservation
	if d.atRest() && (d.order.stands() || d.order.status == api.OrderRefunded) {
		switch {
		case r == nil:
			return "it is " + d.order.status + " and took nothing out of stock", true
		case r.state != api.ReservationCommitted:
			return fmt.Sprintf("it is %s, but its reservation is %s", d.order.status, r.state), true
		case !slices.Equal(d.ordered(), quantities(d.reserved)):
			return fmt.Sprintf("it is of %s, but took %s out of stock", list(d.ordered()), list(d.reserved)), true
		}
		return "", true
	}
	if r == nil || r.state != api.ReservationHeld && r.state != api.ReservationCommitted {
		return "", false
	}
	if d.order == nil {
		return "there is no such order, but its reservation is " + r.state, true
	}
	if d.order.status == api.OrderCreated {
		return "it was never checked out, but its reservation is " + r.state, true
	}
	return "", true
}

// stockScan looks at products and their movements.
type stockScan struct {
	db *sqldb.DB
	keysOf
}

func newStockScan(db *sqldb.DB) *stockScan {
	return &stockScan{db, keysOf{{db, nth("product_id", "products")}, {db, nth("product_id", "stock_movements")}}}
}

// shelf is one product, with what its movements come to.
type shelf struct {
	onHand, reserved int64
	movements, sum   int64
	wrong, negative  string
	exists           bool
}

func (s *stockScan) look(ctx context.Context, lo, hi int64, t *tally) error {
	shelves := map[int64]*shelf{}
	err := s.db.Snapshot(ctx, func(q sqldb.Querier) error {
		clear(shelves)
		return readShelves(ctx, q, lo, hi, shelves)
	})
	if err != nil {
		return fmt.Errorf("product-service: %w", err)
	}
	movements, negative := numberOf(nameStock), numberOf(nameNegative)
	for id, p := range shelves {
		t.rows[movements] += p.movements
		t.rows[negative]++
		subject := "product " + strconv.FormatInt(id, 10)
		switch {
		case !p.exists:
			t.found(movements, id, subject, fmt.Sprintf("it does not exist and has %d movements", p.movements), 0)
		case p.wrong != "":
			t.found(movements, id, subject, p.wrong, 0)
		case p.sum != p.onHand:
			t.found(movements, id, subject, fmt.Sprintf("%d are on hand, its movements sum to %d", p.onHand, p.sum), 0)
		}
		switch {
		case p.onHand < 0 || p.reserved < 0 || p.reserved > p.onHand:
			t.found(negative, id, subject, fmt.Sprintf("%d are on hand and %d reserved", p.onHand, p.reserved), 0)
		case p.negative != "":
			t.found(negative, id, subject, p.negative, 0)
		}
	}
	return nil
}

func readShelves(ctx context.Context, q sqldb.Querier, lo, hi int64, shelves map[int64]*shelf) error {
	var id, onHand, reserved int64
	err := each(ctx, q, []any{n(&id), n(&onHand), n(&reserved)}, func() {
		shelves[id] = &shelf{onHand: onHand, reserved: reserved, exists: true}
	}, `SELECT product_id, on_hand, reserved FROM products WHERE product_id > ? AND product_id <= ?`, lo, hi)
	if err != nil {
		return err
	}
	var movement, quantity, balance, lost int64
	return each(ctx, q, []any{n(&id), n(&movement), n(&quantity), n(&balance), n(&lost)}, func() {
		p := shelves[id]
		if p == nil {
			p = &shelf{}
			shelves[id] = p
		}
		p.movements++
		p.sum += quantity
		if balance != p.sum && p.wrong == "" {
			p.wrong = fmt.Sprintf("movement %d leaves %d, but the movements up to it sum to %d", movement, balance, p.sum)
		}
		if lost != 0 && p.wrong == "" {
			p.wrong = fmt.Sprintf("movement %d is of no order, though it was sold or came back", movement)
		}
		if balance < 0 && p.negative == "" {
			p.negative = fmt.Sprintf("movement %d left %d", movement, balance)
		}
	}, `SELECT product_id, movement_id, quantity, balance, CASE WHEN order_id IS NULL AND reason IN ('SOLD', 'RETURNED') THEN 1 ELSE 0 END
		FROM stock_movements
		WHERE product_id > ? AND product_id <= ? ORDER BY product_id, movement_id`, lo, hi)
}
