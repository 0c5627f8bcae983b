package audit

import (
	"fmt"
	"slices"
	"time"

	"tienda/api"
)

// sagaDone is the step of a saga that has come to rest.
const sagaDone = "done"

// sagaCancelsParcel is the step that makes a parcel, where none is known of, in order to cancel it.
const sagaCancelsParcel = "cancel-shipment"

// manyAttempts of one step take more than ten minutes, by when a person should have looked.
const manyAttempts = 100

// checkedOut reports whether there is an order that came from a checkout. The others are plain rows of the
// original system's API, which say nothing of money or goods.
func (d *dossier) checkedOut() bool { return d.order != nil && d.order.status != api.OrderCreated }

// atRest reports whether the order's saga has nothing to do, so that its neighbours must agree with it.
func (d *dossier) atRest() bool { return d.checkedOut() && d.saga != nil && d.saga.step == sagaDone }

// stands reports whether the order is one that the customer has bought.
func (o *orderRow) stands() bool {
	switch o.status {
	case api.OrderConfirmed, api.OrderShipped, api.OrderDelivered:
		return true
	}
	return false
}

func orderTotals(d *dossier) (wrong string, looked bool) {
	if !d.checkedOut() {
		return "", false
	}
	o := d.order
	var subtotal, tax int64
	for _, l := range d.lines {
		if l.total != l.unitPrice*l.quantity {
			return fmt.Sprintf("%d of product %d at %d are %d and not %d", l.quantity, l.product, l.unitPrice, l.unitPrice*l.quantity, l.total), true
		}
		if l.currency != o.currency {
			return fmt.Sprintf("the line of product %d is in %s, the order in %s", l.product, l.currency, o.currency), true
		}
		subtotal, tax = subtotal+l.total, tax+l.tax
	}
	switch {
	case len(d.lines) == 0:
		return "it has no lines", true
	case subtotal != o.subtotal:
		return fmt.Sprintf("its lines sum to %d, its subtotal is %d", subtotal, o.subtotal), true
	case tax != o.tax:
		return fmt.Sprintf("the tax of its lines sums to %d, its tax is %d", tax, o.tax), true
	case o.fee != o.subtotal+o.tax+o.shippingFee:
		return fmt.Sprintf("its total is %d, but lines %d, tax %d and shipping %d are %d", o.fee, o.subtotal, o.tax, o.shippingFee, o.subtotal+o.tax+o.shippingFee), true
	}
	return "", true
}

// orderSteps are the steps that an order may take. "" is where it begins.
func orderSteps() map[string][]string {
	return map[string][]string{
		"":                 {api.OrderCreated, api.OrderPending},
		api.OrderPending:   {api.OrderConfirmed, api.OrderCancelled},
		api.OrderConfirmed: {api.OrderShipped, api.OrderCancelled, api.OrderRefunded},
		api.OrderShipped:   {api.OrderDelivered, api.OrderRefunded},
		api.OrderDelivered: {api.OrderRefunded},
	}
}

// shipmentSteps are likewise those of a shipment.
func shipmentSteps() map[string][]string {
	return map[string][]string{
		"":                       {api.ShipmentPending},
		api.ShipmentPending:      {api.ShipmentLabelCreated, api.ShipmentCancelled},
		api.ShipmentLabelCreated: {api.ShipmentInTransit, api.ShipmentCancelled},
		api.ShipmentInTransit:    {api.ShipmentDelivered, api.ShipmentReturned, api.ShipmentLost},
	}
}

// wrongHistory says what is wrong with a history that is to end in a state.
func wrongHistory(steps []stepRow, legal map[string][]string, state string) string {
	at := ""
	for i, s := range steps {
		switch {
		case s.seq != int64(i+1):
			return fmt.Sprintf("step %d of its history is missing", i+1)
		case s.from != at:
			return fmt.Sprintf("step %d of its history leaves %s, but it was %s", i+1, known(s.from), known(at))
		case !slices.Contains(legal[at], s.to):
			return fmt.Sprintf("step %d of its history goes from %s to %s, which is not legal", i+1, known(at), s.to)
		}
		at = s.to
	}
	if at != state {
		return fmt.Sprintf("it is %s, but its history ends in %s", state, known(at))
	}
	return ""
}

// known names a state in a sentence.
func known(state string) string {
	if state == "" {
		return "nothing"
	}
	return state
}

func orderHistory(d *dossier) (wrong string, looked bool) {
	if d.order == nil {
		return "", false
	}
	return wrongHistory(d.history, orderSteps(), d.order.status), true
}

func orderSagas(d *dossier) (wrong string, looked bool) {
	o, g := d.order, d.saga
	switch {
	case o == nil, !d.checkedOut() && g == nil:
		return "", false
	case !d.checkedOut():
		return "it is a plain order and has a saga", true
	case g == nil:
		return "it is " + o.status + " and has no saga", true
	case g.step != sagaDone && g.nextAt == 0:
		return "its saga is at " + g.step + " and will never be taken up", true
	case g.step != sagaDone:
		return "", true
	case g.nextAt != 0:
		return "its saga is done and yet due", true
	case o.status == api.OrderPending:
		return "it is PENDING, but its saga is done", true
	case g.goal != "" && g.goal != o.status:
		return fmt.Sprintf("its saga ended on the way to %s, but it is %s", g.goal, o.status), true
	case g.goal == "" && !o.stands():
		return fmt.Sprintf("its saga ended in a confirmed order, but it is %s", o.status), true
	}
	return "", true
}

// late reports whether what was due at an instant is overdue; 0 is none.
func (d *dossier) late(micros int64) bool {
	return micros != 0 && d.now.Sub(time.UnixMicro(micros)) > overdue
}

// ago is a duration in a sentence.
func (d *dossier) ago(micros int64) time.Duration {
	return d.now.Sub(time.UnixMicro(micros)).Round(time.Second)
}

func sagasStuck(d *dossier) (wrong string, looked bool) {
	if !d.checkedOut() || d.saga == nil || d.atRest() {
		return "", false
	}
	g := d.saga
	switch due := max(g.nextAt, g.leaseUntil); {
	case d.late(due):
		return fmt.Sprintf("its saga has waited at %s for %v and nobody goes on with it", g.step, d.ago(due)), true
	case g.goal == "" && d.late(g.deadline):
		return fmt.Sprintf("its saga is still at %s, %v after its deadline", g.step, d.ago(g.deadline)), true
	case g.attempts > manyAttempts:
		return fmt.Sprintf("its saga has tried %s %d times", g.step, g.attempts), true
	}
	return "", true
}

func oneCheckoutPerCart(d *dossier) (wrong string, looked bool) {
	if !d.checkedOut() || d.order.status == api.OrderCancelled {
		return "", false
	}
	o := d.order
	state := api.CartClosed
	if o.status == api.OrderPending {
		state = api.CartCheckingOut
	}
	switch {
	case o.cartState == "":
		return fmt.Sprintf("its cart %d does not exist", o.cart), true
	case o.cartOrder != d.id:
		return fmt.Sprintf("it is %s, but its cart %d belongs to the checkout of order %d", o.status, o.cart, o.cartOrder), true
	case o.cartState != state:
		return fmt.Sprintf("it is %s, but its cart %d is %s", o.status, o.cart, o.cartState), true
	}
	return "", true
}

// idempotencyKeys looks from the order; keyScan looks from the key.
func idempotencyKeys(d *dossier) (wrong string, looked bool) {
	if d.keyOf != 0 && d.keyOf != d.id {
		return fmt.Sprintf("the Idempotency-Key of its checkout stands for order %d", d.keyOf), false
	}
	return "", false
}

// eventsComplete counts: plain orders have events of other changes as well.
func eventsComplete(d *dossier) (wrong string, looked bool) {
	if d.order != nil {
		looked = true
		if steps := int64(len(d.history)); d.told < steps || d.told > steps && d.checkedOut() {
			return fmt.Sprintf("%d events tell of its %d steps", d.told, steps), true
		}
	}
	for _, p := range d.payments {
		if p.state == "" {
			continue
		}
		looked = true
		ended := int64(0)
		for _, op := range d.operations {
			if op.payment == p.id && op.state != operationPending {
				ended++
			}
		}
		if ended != p.told {
			return fmt.Sprintf("%d events tell of the %d outcomes of payment %d", p.told, ended, p.id), true
		}
	}
	if s := d.shipment; s != nil {
		looked = true
		if steps := int64(len(d.journey)); steps != s.told {
			return fmt.Sprintf("%d events tell of the %d steps of shipment %d", s.told, steps, s.id), true
		}
	}
	return "", looked
}

// paidOrdersCharged: a full or partial refund by hand leaves an order as it is.
func paidOrdersCharged(d *dossier) (wrong string, looked bool) {
	if !d.atRest() || !(d.order.stands() || d.order.status == api.OrderRefunded) {
		return "", false
	}
	o := d.order
	for _, p := range d.payments {
		if p.id != o.payment {
			continue
		}
		switch {
		case p.amount != o.fee || p.currency != o.currency:
			return fmt.Sprintf("its total is %d %s, but payment %d is about %d %s", o.fee, o.currency, p.id, p.amount, p.currency), true
		case p.captured != o.fee:
			return fmt.Sprintf("it is %s, but of its total %d payment %d has captured %d", o.status, o.fee, p.id, p.captured), true
		}
		return "", true
	}
	if o.payment == 0 {
		return "it is " + o.status + " and names no payment", true
	}
	return fmt.Sprintf("it is %s, but its payment %d does not exist", o.status, o.payment), true
}

func chargesHaveOrders(d *dossier) (wrong string, looked bool) {
	for _, p := range d.payments {
		if p.state == "" {
			continue
		}
		looked = true
		if p.holds() == 0 || d.order != nil && (d.order.stands() || !d.atRest() && d.checkedOut()) {
			continue
		}
		if d.order == nil {
			return fmt.Sprintf("payment %d holds %d %s, but there is no such order", p.id, p.holds(), p.currency), true
		}
		if d.order.status == api.OrderCreated { // the others are cancelledIsEmpty's
			return fmt.Sprintf("payment %d holds %d %s, but it was never checked out", p.id, p.holds(), p.currency), true
		}
	}
	return "", looked
}

func cancelledIsEmpty(d *dossier) (wrong string, looked bool) {
	if !d.atRest() || d.order.status != api.OrderCancelled && d.order.status != api.OrderRefunded {
		return "", false
	}
	status := d.order.status
	for _, p := range d.payments {
		if p.holds() != 0 {
			return fmt.Sprintf("it is %s, but payment %d is %s and holds %d %s", status, p.id, p.state, p.holds(), p.currency), true
		}
	}
	if status == api.OrderRefunded {
		return "", true
	}
	if r := d.reservation; r != nil && (r.state == api.ReservationHeld || r.state == api.ReservationCommitted) {
		return "it is CANCELLED, but its reservation is " + r.state, true
	}
	if s := d.shipment; s != nil && s.state != api.ShipmentCancelled {
		return fmt.Sprintf("it is CANCELLED, but shipment %d is %s", s.id, s.state), true
	}
	return "", true
}

// ordersKnow: a step of a shipment that is still to be told is not known yet.
func ordersKnow(d *dossier) (wrong string, looked bool) {
	if !d.atRest() {
		return "", false
	}
	o := d.order
	for _, p := range d.payments {
		if p.id == o.payment && p.state != o.paymentState {
			return fmt.Sprintf("it takes payment %d for %s, but that is %s", p.id, known(o.paymentState), p.state), true
		}
	}
	s := d.shipment
	switch {
	case s == nil && o.shipment != 0:
		return fmt.Sprintf("its shipment %d does not exist", o.shipment), true
	case s != nil && s.pending > 0, s == nil:
		return "", true
	case s.id != o.shipment:
		return fmt.Sprintf("it names shipment %d, but has shipment %d", o.shipment, s.id), true
	case s.state != o.shipmentState:
		return fmt.Sprintf("it takes shipment %d for %s, but that is %s", s.id, known(o.shipmentState), s.state), true
	}
	return "", true
}
