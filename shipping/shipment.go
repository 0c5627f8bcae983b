package shipping

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

// nextStates are the states that a shipment in a state can go to.
func nextStates(state string) []string {
	switch state {
	case api.ShipmentPending:
		return []string{api.ShipmentLabelCreated, api.ShipmentCancelled}
	case api.ShipmentLabelCreated:
		return []string{api.ShipmentInTransit, api.ShipmentCancelled}
	case api.ShipmentInTransit:
		return []string{api.ShipmentDelivered, api.ShipmentReturned, api.ShipmentLost}
	}
	return nil
}

// states are all that a shipment can be told to go to.
var states = [...]string{api.ShipmentLabelCreated, api.ShipmentInTransit, api.ShipmentDelivered, api.ShipmentReturned,
	api.ShipmentLost, api.ShipmentCancelled}

func (s *Service) createShipment(w http.ResponseWriter, r *http.Request) error {
	in, err := web.Read[api.NewShipment](w, r)
	if err != nil {
		return err
	}
	in.Service = cmp.Or(in.Service, serviceStandard)
	reasons := append(in.ShippingAddress.Validate("shippingAddress"), itemErrors(in.Items)...)
	if in.OrderID <= 0 {
		reasons = append(reasons, api.FieldError{Field: "orderId", Reason: "must be positive"})
	}
	if in.UserID < 0 {
		reasons = append(reasons, api.FieldError{Field: "userId", Reason: "must be positive"})
	}
	if in.Service != serviceStandard && in.Service != serviceExpress {
		reasons = append(reasons, api.FieldError{Field: "service", Reason: "must be " + serviceStandard + " or " + serviceExpress})
	}
	if err := api.Valid(reasons); err != nil {
		return err
	}
	var (
		ctx      = r.Context()
		status   int
		shipment api.Shipment
	)
	// Nearly every shipment is new, and so are its items: it is written before it is looked for.
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		var err error
		status = http.StatusCreated
		shipment, err = s.insertShipment(ctx, tx, in, s.now(), insertItem)
		return err
	})
	if errors.Is(err, sqldb.ErrConflict) {
		err = s.again(ctx, func(tx *sqldb.Tx) error {
			var err error
			status = http.StatusOK
			if shipment, err = shipmentOfOrder(ctx, tx, in.OrderID); !errors.Is(err, sqldb.ErrNotFound) {
				return err
			}
			status = http.StatusCreated
			shipment, err = s.insertShipment(ctx, tx, in, s.now(), adoptOrInsertItem)
			return err
		})
	}
	if err == nil && status == http.StatusOK {
		err = withDetails(ctx, s.db, []*api.Shipment{&shipment})
	}
	if err != nil {
		return fmt.Errorf("shipment of order %d: %w", in.OrderID, err)
	}
	w.Header().Set("Location", "/shipping-service/api/shipments/"+shipment.ShipmentID.String())
	return web.JSON(w, status, shipment)
}

// insertShipment writes a shipment with its items, each by writeItem; ErrConflict when the order has one.
func (s *Service) insertShipment(ctx context.Context, tx *sqldb.Tx, in api.NewShipment, now time.Time,
	writeItem func(context.Context, *sqldb.Tx, item, time.Time) error) (api.Shipment, error) {
	now = now.UTC().Truncate(time.Microsecond) // as it will be read
	id, err := insertShipment(ctx, tx, in, now)
	if err != nil {
		return api.Shipment{}, err
	}
	// In ascending order, as every transaction that locks several rows does.
	slices.SortFunc(in.Items, func(a, b api.ItemQuantity) int { return cmp.Compare(a.ProductID, b.ProductID) })
	for _, line := range in.Items {
		row := item{productID: line.ProductID, orderID: in.OrderID, userID: in.UserID, quantity: number(&line.Quantity), shipmentID: id}
		if err := writeItem(ctx, tx, row, now); err != nil {
			return api.Shipment{}, err
		}
	}
	shipment := api.Shipment{ShipmentID: id, OrderID: in.OrderID, State: api.ShipmentPending, Service: in.Service,
		ShippingAddress: in.ShippingAddress, Items: in.Items, CreatedAt: now, UpdatedAt: now}
	event, err := recordStep(ctx, tx, shipment, api.ShipmentEvent{State: api.ShipmentPending}, now)
	shipment.Events = []api.ShipmentEvent{event}
	return shipment, err
}

// recordStep writes a step into the history of the shipment and into the events of the service, and
// returns it as it stands in the history.
func recordStep(ctx context.Context, tx *sqldb.Tx, shipment api.Shipment, event api.ShipmentEvent, now time.Time) (api.ShipmentEvent, error) {
	event.At, event.Actor = now, auth.CallerOf(ctx).String()
	if err := insertEvent(ctx, tx, shipment.ShipmentID, event); err != nil {
		return event, err
	}
	return event, journal.Append(ctx, tx, "shipment", shipment.ShipmentID, event.State, map[string]any{"orderId": shipment.OrderID,
		"from": event.From, "trackingNumber": event.TrackingNumber, "carrier": event.Carrier}, now)
}

func (s *Service) listShipments(w http.ResponseWriter, r *http.Request) error {
	page, err := web.ReadPage(r, "shipment_id", map[string]string{"shipmentId": "shipment_id", "orderId": "order_id", "state": "state",
		"createdAt": "created_at", "updatedAt": "updated_at"})
	if err != nil {
		return err
	}
	clause, args, err := ofOrders(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	total, err := sqldb.Count(ctx, s.db, web.ExactTotal, `SELECT shipment_id FROM shipments WHERE `+clause, args...)
	if err != nil {
		return err
	}
	after, behind := page.Condition()
	rows, err := sqldb.All(ctx, s.db, scanShipment, `SELECT `+shipmentColumns+` FROM shipments WHERE `+clause+after+page.Tail(), append(args, behind...)...)
	if err != nil {
		return err
	}
	pointers := make([]*api.Shipment, len(rows))
	for i := range rows {
		pointers[i] = &rows[i]
	}
	if err := withDetails(ctx, s.db, pointers); err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, web.Rows(page, rows, total, func(s api.Shipment) api.ID { return s.ShipmentID }))
}

func (s *Service) getShipment(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "shipmentId")
	if err != nil {
		return err
	}
	shipment, err := visibleShipment(r.Context(), s.db, auth.CallerOf(r.Context()), id)
	if err != nil {
		return err
	}
	if err := withDetails(r.Context(), s.db, []*api.Shipment{&shipment}); err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, shipment)
}

// toldTimeout bounds how long a step waits for order-service to take it before it is answered.
const toldTimeout = 3 * time.Second

func (s *Service) moveShipment(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "shipmentId")
	if err != nil {
		return err
	}
	body, err := web.ReadBody(w, r)
	if err != nil {
		return err
	}
	in, err := web.Decode[api.ShipmentEvent](body, false)
	if err != nil {
		return err
	}
	reasons := slices.Concat(api.CheckLine("trackingNumber", &in.TrackingNumber, 128), api.CheckLine("carrier", &in.Carrier, 64),
		api.CheckLine("note", &in.Note, 255))
	if !slices.Contains(states[:], in.State) {
		reasons = append(reasons, api.FieldError{Field: "state", Reason: "must be one of " + strings.Join(states[:], ", ")})
	}
	if err := api.Valid(reasons); err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	err = journal.Once(w, r, s.db, body, now, func(tx *sqldb.Tx) (journal.Answer, error) {
		shipment, err := s.step(ctx, tx, id, in, now)
		return journal.Answer{Status: http.StatusOK, Body: shipment}, err
	})
	if err != nil {
		return err
	}
	// The answer is on its way when this handler returns: whoever reads the order then finds it moved on,
	// unless order-service is away.
	told, cancel := context.WithTimeout(context.WithoutCancel(ctx), toldTimeout)
	defer cancel()
	if err := s.tell(told, id); err != nil {
		s.log.WarnContext(ctx, "order-service not told of a shipment yet", "shipment", id, "err", err)
	}
	return nil
}

// step moves a shipment to the state of an event: a 409 when there is no such step.
func (s *Service) step(ctx context.Context, tx *sqldb.Tx, id api.ID, event api.ShipmentEvent, now time.Time) (api.Shipment, error) {
	shipment, err := lockShipment(ctx, tx, id)
	if err != nil {
		return shipment, err
	}
	possible := nextStates(shipment.State)
	// Whoever wants it cancelled has what they want when another did it first.
	cancelled := event.State == api.ShipmentCancelled && shipment.State == api.ShipmentCancelled
	switch {
	case cancelled:
		return shipment, withDetails(ctx, tx, []*api.Shipment{&shipment})
	case len(possible) == 0:
		return shipment, api.Conflict("shipment %d is %s, which is final: it cannot become %s", id, shipment.State, event.State)
	case !slices.Contains(possible, event.State):
		return shipment, api.Conflict("shipment %d is %s: it cannot become %s, only %s", id, shipment.State, event.State, strings.Join(possible, " or "))
	}
	event.From = shipment.State
	shipment.Carrier, shipment.TrackingNumber = cmp.Or(event.Carrier, shipment.Carrier), cmp.Or(event.TrackingNumber, shipment.TrackingNumber)
	shipment.State, shipment.UpdatedAt = event.State, now
	if err := saveStep(ctx, tx, shipment, event.From); err != nil {
		return shipment, err
	}
	if _, err := recordStep(ctx, tx, shipment, event, now); err != nil {
		return shipment, err
	}
	if err := insertNotification(ctx, tx, shipment, now); err != nil {
		return shipment, err
	}
	return shipment, withDetails(ctx, tx, []*api.Shipment{&shipment})
}
