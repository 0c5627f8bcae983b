package order

import (
	"context"
	"errors"
	"net/http"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

// cancel answers 200 when the order is cancelled, and 202 while its saga still goes back.
func (s *Service) cancel(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "orderId")
	if err != nil {
		return err
	}
	body, err := web.ReadBody(w, r)
	if err != nil {
		return err
	}
	request, err := journal.ReadRequest(r, body)
	if err != nil {
		return err
	}
	in, err := web.Decode[api.Cancellation](body, false)
	if err != nil {
		return err
	}
	if err := api.Valid(api.CheckProse("reason", &in.Reason, 255)); err != nil {
		return err
	}
	if in.Reason == "" {
		in.Reason = "CANCELLED"
	}
	ctx, p := r.Context(), s.readPreference(r)
	var stored *journal.Stored
	var refused *api.Problem
	going := false
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		now := s.now()
		var err error
		refused = nil
		if stored, err = request.Claim(ctx, tx, id, now.Add(p.wait+busyMargin), now); err != nil || stored != nil {
			return err
		}
		going, err = s.askToCancel(ctx, tx, id, in.Reason, now)
		if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == http.StatusConflict {
			refused = p // for good: an order that has gone too far does not come back
			return request.Store(ctx, tx, journal.Answer{Status: p.Status, Body: p})
		}
		return err
	})
	if err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	if stored != nil {
		return s.replay(w, r, request, *stored, s.cancelAnswer)
	}
	if !going {
		p.wait = 0
	}
	return s.respond(w, r, request, id, p, s.cancelAnswer, func() { s.enqueue(id) })
}

// askToCancel sets the order's saga on the way back; going is false when there is nothing to wait for. An
// order that is cancelled already, or being so, is left to it; one that has gone too far is a 409.
func (s *Service) askToCancel(ctx context.Context, tx *sqldb.Tx, id api.ID, reason string, now time.Time) (going bool, err error) {
	o, err := lockOrder(ctx, tx, auth.CallerOf(ctx), id)
	if err != nil {
		return false, err
	}
	switch o.status {
	case api.OrderCancelled:
		return false, nil
	case api.OrderPending, api.OrderConfirmed:
		_, err = askBack(ctx, tx, id, stepCancelShipment, api.OrderCancelled, reason, auth.CallerOf(ctx).String(), now)
		return true, err
	}
	return false, tooLate(o)
}

// tooLate is the answer for an order that can no longer be cancelled.
func tooLate(o record) *api.Problem {
	problem := api.Conflict("order %d is %s and cannot be cancelled", o.id, o.status)
	if o.status == api.OrderConfirmed {
		problem = api.Conflict("the parcel of order %d has left: it cannot be cancelled", o.id)
	}
	problem.OrderID = o.id
	return problem
}

// cancelAnswer is the outcome of a cancellation.
func (s *Service) cancelAnswer(ctx context.Context, q sqldb.Querier, g *saga) (journal.Answer, bool, error) {
	switch {
	case g.order.status == api.OrderCancelled:
		order, err := s.fullOrder(ctx, q, g.order, g.lines)
		return journal.Answer{Status: http.StatusOK, Body: order}, true, err
	case g.step != stepDone:
		return journal.Answer{}, false, nil
	}
	problem := tooLate(g.order)
	return journal.Answer{Status: problem.Status, Body: problem}, true, nil
}

// progress orders the states of a shipment: news that is older than what is known is no news.
func progress(state string) int {
	switch state {
	case api.ShipmentPending:
		return 1
	case api.ShipmentLabelCreated:
		return 2
	case api.ShipmentInTransit:
		return 3
	case api.ShipmentDelivered, api.ShipmentReturned, api.ShipmentLost, api.ShipmentCancelled:
		return 4
	}
	return 0
}

func (s *Service) shipmentChanged(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "orderId")
	if err != nil {
		return err
	}
	in, err := web.Read[api.ShipmentChange](w, r)
	if err != nil {
		return err
	}
	problems := api.CheckProse("trackingNumber", &in.TrackingNumber, 128)
	if progress(in.State) == 0 {
		problems = append(problems, api.FieldError{Field: "state", Reason: "is no state of a shipment"})
	}
	if in.ShipmentID <= 0 {
		problems = append(problems, api.FieldError{Field: "shipmentId", Reason: "must name the shipment"})
	}
	if err := api.Valid(problems); err != nil {
		return err
	}
	ctx := r.Context()
	var o record
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		var err error
		if o, err = lockOrder(ctx, tx, everyone(), id); err != nil {
			return err
		}
		return s.applyShipment(ctx, tx, &o, in)
	})
	if err != nil {
		return err
	}
	s.enqueue(id)
	return web.JSON(w, http.StatusOK, s.orderView(o))
}

// notYet asks shipping-service to tell again: the saga has not written down yet what it did.
func notYet(o *record) error {
	problem := api.Conflict("order %d is still %s", o.id, o.status)
	problem.RetryAfter = time.Second
	return problem
}

// applyShipment moves a locked order on. News that is known already, or older, changes nothing.
func (s *Service) applyShipment(ctx context.Context, tx *sqldb.Tx, o *record, in api.ShipmentChange) error {
	switch {
	case o.status == api.OrderCreated:
		return api.Conflict("order %d was never checked out and has no shipment", o.id)
	case o.shipment.ShipmentID != 0 && o.shipment.ShipmentID != in.ShipmentID:
		return api.Conflict("order %d has shipment %d, not %d", o.id, o.shipment.ShipmentID, in.ShipmentID)
	case progress(in.State) <= progress(o.shipment.State), o.status == api.OrderCancelled, o.status == api.OrderRefunded:
		return nil
	case o.shipment.ShipmentID == 0:
		return notYet(o)
	}
	now, actor := s.now(), auth.CallerOf(ctx).String()
	switch in.State {
	case api.ShipmentInTransit, api.ShipmentDelivered, api.ShipmentReturned, api.ShipmentLost:
		if o.status == api.OrderPending {
			return notYet(o)
		}
		if o.status == api.OrderConfirmed {
			if err := transition(ctx, tx, o, api.OrderShipped, actor, "", now); err != nil {
				return err
			}
		}
	}
	switch in.State {
	case api.ShipmentDelivered:
		if o.status == api.OrderShipped {
			if err := transition(ctx, tx, o, api.OrderDelivered, actor, "", now); err != nil {
				return err
			}
		}
	case api.ShipmentReturned, api.ShipmentLost:
		if err := s.turnOrder(ctx, tx, o, api.OrderRefunded, in.State, now); err != nil {
			return err
		}
	case api.ShipmentCancelled:
		if err := s.turnOrder(ctx, tx, o, api.OrderCancelled, "SHIPMENT_CANCELLED", now); err != nil {
			return err
		}
	}
	o.shipment.State = in.State
	if in.TrackingNumber != "" {
		o.shipment.TrackingNumber = in.TrackingNumber
	}
	return learn(ctx, tx, o, now)
}

// turnOrder has the money of an order given back after its shipment came to nothing. While the order is
// on its way to another end, the news has to wait for that.
func (s *Service) turnOrder(ctx context.Context, tx *sqldb.Tx, o *record, goal, reason string, now time.Time) error {
	turned, err := askBack(ctx, tx, o.id, stepGiveBack, goal, reason, auth.CallerOf(ctx).String(), now)
	if err != nil || turned {
		return err
	}
	g, err := sagaByID(ctx, tx, o.id)
	if err == nil && g.goal != goal {
		err = notYet(o)
	}
	return err
}
