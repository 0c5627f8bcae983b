package order

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"tienda/api"
)

// take makes the call of the saga's step, as order-service. effect is what the order learns from it,
// nil for nothing. Every call carries a key of the order, so that making it again changes nothing.
func (s *Service) take(ctx context.Context, g *saga) (effect func(*record), err error) {
	if ctx, err = s.identity.Context(ctx); err != nil {
		return nil, err
	}
	switch g.step {
	case stepReserve:
		return nil, s.call(ctx, func(ctx context.Context) error {
			_, err := s.products.Reserve(ctx, api.NewReservation{OrderID: g.orderID, Items: g.quantities()})
			return err
		})
	case stepAuthorize:
		payment, err := s.authorize(ctx, g)
		return paid(payment), err
	case stepCapture:
		var payment api.Payment
		err := s.call(ctx, func(ctx context.Context) (err error) {
			payment, err = s.payments.Capture(ctx, g.key("capture"), g.order.payment.PaymentID)
			return err
		})
		return paid(payment), err
	case stepCommit:
		return nil, s.call(ctx, func(ctx context.Context) error {
			_, err := s.products.CommitReservation(ctx, g.orderID)
			return err
		})
	case stepShip:
		shipment, err := s.createShipment(ctx, g)
		return shipped(shipment), err
	case stepCancelShipment:
		return s.cancelShipment(ctx, g)
	case stepGiveBack:
		return s.giveBack(ctx, g)
	case stepRelease:
		return nil, s.call(ctx, func(ctx context.Context) error {
			_, err := s.products.ReleaseReservation(ctx, g.orderID)
			return err
		})
	}
	return nil, fmt.Errorf("saga of order %d: unknown step %q", g.orderID, g.step)
}

// call bounds one call to a neighbour.
func (s *Service) call(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.settings.StepTimeout)
	defer cancel()
	return do(ctx)
}

// key names a write of the saga: the same in every attempt. After a refusal on the way back it is a
// new one, because the neighbour keeps refusals under the old one.
func (g *saga) key(what string) string {
	if g.refusals > 0 {
		return fmt.Sprintf("order-%d-%s-%d", g.orderID, what, g.refusals)
	}
	return fmt.Sprintf("order-%d-%s", g.orderID, what)
}

// quantities are the order's lines as stock and shipments know them.
func (g *saga) quantities() []api.ItemQuantity {
	items := make([]api.ItemQuantity, len(g.lines))
	for i, l := range g.lines {
		items[i] = api.ItemQuantity{ProductID: l.productID, Quantity: l.quantity}
	}
	return items
}

// paid keeps what payment-service answered, unless its events have told meanwhile that money went back:
// an answer that is asked for again is as old as the first.
func paid(p api.Payment) func(*record) {
	return func(o *record) {
		if o.payment.PaymentID == p.PaymentID && (!holdsMoney(o.payment.State) || o.payment.State == api.PaymentPartiallyRefunded) {
			return
		}
		o.payment = api.OrderPayment{PaymentID: p.PaymentID, State: p.State}
	}
}

// shipped keeps what shipping-service answered, unless it has told more by itself meanwhile. What moves
// the order on comes as news of its own: were a parcel's leaving, return or loss taken from an answer that
// is asked for again, its news would be none any more.
func shipped(p api.Shipment) func(*record) {
	state := p.State
	if progress(state) > progress(api.ShipmentLabelCreated) {
		state = api.ShipmentPending
	}
	return func(o *record) {
		if o.shipment.ShipmentID != p.ShipmentID || progress(state) > progress(o.shipment.State) {
			o.shipment = api.OrderShipment{ShipmentID: p.ShipmentID, State: state, TrackingNumber: p.TrackingNumber}
		}
	}
}

// authorizeKey never changes: the money must not be set aside twice, whatever happened in between.
func (g *saga) authorizeKey() string { return fmt.Sprintf("order-%d-authorize", g.orderID) }

// authorize sets the money aside, or finds out that it was.
func (s *Service) authorize(ctx context.Context, g *saga) (api.Payment, error) {
	var payment api.Payment
	err := s.call(ctx, func(ctx context.Context) (err error) {
		payment, err = s.payments.Authorize(ctx, g.authorizeKey(), api.Authorization{
			OrderID: g.orderID, UserID: g.order.userID, Amount: s.currency.Amount(*g.order.fee), Currency: g.order.currency,
			PaymentMethod: api.PaymentMethod{Provider: g.provider, Token: g.token},
		})
		return err
	})
	switch {
	case err != nil:
		return payment, err
	case payment.PaymentID == 0:
		return payment, errors.New("payment-service answered without a payment")
	case payment.State == api.PaymentDeclined, payment.State == api.PaymentFailed:
		return payment, api.PaymentRequired(payment.FailureCode, "the payment is %s", payment.State)
	}
	return payment, nil
}

// createShipment creates the order's shipment, or finds it: there is one per order.
func (s *Service) createShipment(ctx context.Context, g *saga) (api.Shipment, error) {
	var shipment api.Shipment
	err := s.call(ctx, func(ctx context.Context) (err error) {
		shipment, err = s.shipping.CreateShipment(ctx, api.NewShipment{
			OrderID: g.orderID, UserID: g.order.userID, Service: g.order.shippingService, ShippingAddress: g.order.address, Items: g.quantities(),
		})
		return err
	})
	if err == nil && shipment.ShipmentID == 0 {
		err = errors.New("shipping-service answered without a shipment")
	}
	return shipment, err
}

// cancelShipment keeps the parcel from leaving. Where it is unknown whether there is one, it asks for
// it once more and cancels what comes.
func (s *Service) cancelShipment(ctx context.Context, g *saga) (func(*record), error) {
	id := g.order.shipment.ShipmentID
	if id == 0 {
		shipment, err := s.createShipment(ctx, g)
		if refused(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		id = shipment.ShipmentID // when it has left and cannot be cancelled the phase is taken again, and tells
	}
	var shipment api.Shipment
	err := s.call(ctx, func(ctx context.Context) (err error) {
		shipment, err = s.shipping.CancelShipment(ctx, g.key("cancel-shipment"), id, "order "+g.orderID.String()+" is cancelled")
		return err
	})
	return func(o *record) { o.shipment.ShipmentID, o.shipment.State = id, shipment.State }, err
}

// giveBack voids or refunds the payment. Which of the two is possible depends on whether a capture
// whose answer was lost took place: payment-service refuses the wrong one, and the other is tried
// next. Where it is unknown whether there is a payment, its authorisation is withdrawn: that tells, and
// where there is none it keeps a call that is still under way from making one.
func (s *Service) giveBack(ctx context.Context, g *saga) (func(*record), error) {
	payment := g.order.payment
	if payment.PaymentID == 0 {
		var p api.Payment
		err := s.call(ctx, func(ctx context.Context) (err error) {
			p, err = s.payments.Withdraw(ctx, g.authorizeKey(), g.orderID)
			return err
		})
		if refused(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		payment = api.OrderPayment{PaymentID: p.PaymentID, State: p.State}
	}
	if !holdsMoney(payment.State) {
		return func(o *record) { o.payment = payment }, nil
	}
	refund := payment.State != api.PaymentAuthorized
	if g.refusals%2 == 1 {
		refund = !refund
	}
	var p api.Payment
	err := s.call(ctx, func(ctx context.Context) (err error) {
		if refund {
			// Not the customer's own words: a text that payment-service does not take would stand in the way.
			p, err = s.payments.Refund(ctx, g.key("refund"), payment.PaymentID, "order "+g.orderID.String()+" is "+g.goal)
		} else {
			p, err = s.payments.Void(ctx, g.key("void"), payment.PaymentID)
		}
		return err
	})
	return func(o *record) { o.payment = api.OrderPayment{PaymentID: payment.PaymentID, State: p.State} }, err
}

// holdsMoney reports whether there is something to give back of a payment.
func holdsMoney(state string) bool {
	switch state {
	case api.PaymentVoided, api.PaymentRefunded, api.PaymentDeclined, api.PaymentFailed:
		return false
	}
	return true
}

// failure is why a checkout is turned back: the reason for the history, and what the customer is told.
type failure struct {
	reason  string
	problem *api.Problem
}

// timedOut is the failure of a checkout that went on for too long.
func timedOut(id api.ID) *failure {
	p := api.Conflict("the order could not be completed in time and is cancelled; nothing is charged")
	p.OrderID = id
	return &failure{"TIMED_OUT", p}
}

// whyRefused is the failure that follows from a neighbour's refusal of the saga's step.
func whyRefused(g *saga, err error) *failure {
	said, _ := errors.AsType[*api.Problem](err)
	var f failure
	switch {
	case g.step == stepReserve || g.step == stepCommit:
		f = failure{"OUT_OF_STOCK", api.Conflict("there is not enough stock; nothing is charged")}
		f.problem.Errors = said.Errors
	case said.Status == http.StatusPaymentRequired:
		f = failure{"DECLINED", api.PaymentRequired(said.FailureCode, "the payment was declined")}
	case g.step == stepAuthorize:
		f = failure{"PAYMENT_REFUSED", api.Status(http.StatusUnprocessableEntity, "the payment was refused: %s", said.Detail)}
		f.problem.Errors = said.Errors
	case g.step == stepCapture:
		f = failure{"PAYMENT_REFUSED", api.Conflict("the payment could not be taken; nothing is charged")}
	default:
		f = failure{"NOT_SHIPPABLE", api.Status(http.StatusUnprocessableEntity, "the order cannot be shipped: %s", said.Detail)}
		f.problem.Errors = said.Errors
	}
	f.problem.OrderID = g.orderID
	return &f
}
