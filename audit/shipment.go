package audit

import (
	"cmp"
	"fmt"
	"slices"

	"tienda/api"
)

func shipmentHistory(d *dossier) (wrong string, looked bool) {
	s := d.shipment
	if s == nil {
		return "", false
	}
	slices.SortFunc(d.journey, func(a, b stepRow) int { return cmp.Compare(a.seq, b.seq) })
	for i := range d.journey {
		d.journey[i].seq = int64(i + 1) // they were numbered across all shipments
	}
	if wrong = wrongHistory(d.journey, shipmentSteps(), s.state); wrong != "" {
		wrong = fmt.Sprintf("shipment %d: %s", s.id, wrong)
	}
	return wrong, true
}

func notificationsOverdue(d *dossier) (wrong string, looked bool) {
	s := d.shipment
	if s == nil || s.pending == 0 {
		return "", false
	}
	if d.late(s.deliverAt) {
		return fmt.Sprintf("%d steps of shipment %d wait to be told, the first for %v", s.pending, s.id, d.ago(s.deliverAt)), true
	}
	return "", true
}

// goesWith reports whether an order in a status can have its shipment in a state.
func goesWith(status, state string) bool {
	switch status {
	case api.OrderConfirmed:
		return state == api.ShipmentPending || state == api.ShipmentLabelCreated
	case api.OrderShipped:
		return state == api.ShipmentInTransit
	case api.OrderDelivered:
		return state == api.ShipmentDelivered
	case api.OrderRefunded:
		return state == api.ShipmentReturned || state == api.ShipmentLost
	}
	return true
}

func ordersHaveShipments(d *dossier) (wrong string, looked bool) {
	if !d.atRest() || !d.order.stands() && d.order.status != api.OrderRefunded {
		return "", false
	}
	switch s := d.shipment; {
	case s == nil:
		return "it is " + d.order.status + " and has no shipment", true
	case s.pending == 0 && !goesWith(d.order.status, s.state):
		return fmt.Sprintf("it is %s, but shipment %d is %s", d.order.status, s.id, s.state), true
	}
	return "", true
}

// shippedWasOrdered: rows of the original system's API that belong to no shipment say nothing.
func shippedWasOrdered(d *dossier) (wrong string, looked bool) {
	if len(d.strays) > 0 {
		return fmt.Sprintf("%s belong to shipment %d, which is not its own", list(d.strays), d.strays[0].shipment), true
	}
	s := d.shipment
	if s == nil || s.state == api.ShipmentCancelled || !d.checkedOut() {
		return "", false
	}
	if !slices.Equal(d.ordered(), quantities(d.parcel)) {
		return fmt.Sprintf("it is of %s, but shipment %d holds %s", list(d.ordered()), s.id, list(d.parcel)), true
	}
	return "", true
}

func shippedWasPaid(d *dossier) (wrong string, looked bool) {
	s := d.shipment
	if s == nil || s.state == api.ShipmentCancelled {
		return "", false
	}
	if !d.checkedOut() {
		return fmt.Sprintf("it was never checked out, but shipment %d is %s", s.id, s.state), true
	}
	var captured int64
	for _, p := range d.payments {
		captured += p.captured
	}
	toBeCancelled := d.saga != nil && d.saga.step == sagaCancelsParcel && s.state == api.ShipmentPending
	if captured < d.order.fee && !toBeCancelled {
		return fmt.Sprintf("of its total %d only %d was captured, but shipment %d is %s", d.order.fee, captured, s.id, s.state), true
	}
	return "", true
}
