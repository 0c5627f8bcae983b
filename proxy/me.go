package proxy

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/web"
)

func (s *Service) me(w http.ResponseWriter, r *http.Request) error {
	ctx, caller := r.Context(), auth.CallerOf(r.Context())
	u, err := s.client.User(ctx, caller.UserID)
	if err != nil {
		return err
	}
	addresses, err := s.client.AddressesOf(ctx, caller.UserID)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, api.Me{User: u, Addresses: addresses, Roles: caller.Roles})
}

// expandWait bounds the calls that an answer can do without.
const expandWait = 2 * time.Second

// myOrders is one page of the caller's orders. Three calls make it, whatever its size; without
// payments or shipments, if their service does not answer, the orders stand alone.
func (s *Service) myOrders(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	list, err := s.client.OrdersOf(ctx, auth.CallerOf(ctx).UserID, r.URL.Query())
	if err != nil {
		return err
	}
	if len(list.Collection) == 0 {
		return web.JSON(w, http.StatusOK, list)
	}
	ids := orderIDs(list.Collection)
	short, cancel := context.WithTimeout(ctx, expandWait)
	defer cancel()
	var (
		payments                []api.Payment
		shipments               []api.Shipment
		errPayments, errShipped error
		group                   sync.WaitGroup
	)
	group.Go(func() { payments, errPayments = s.client.PaymentsOf(short, ids) })
	group.Go(func() { shipments, errShipped = s.client.ShipmentsOf(short, ids) })
	group.Wait()
	for _, err := range []error{errPayments, errShipped} {
		if err != nil {
			s.log.WarnContext(ctx, "orders are shown without their payments or shipments", "err", err)
		}
	}
	addPayments(list.Collection, payments)
	addShipments(list.Collection, shipments)
	return web.JSON(w, http.StatusOK, list)
}

func orderIDs(orders []api.Order) []api.ID {
	ids := make([]api.ID, len(orders))
	for i, order := range orders {
		ids[i] = order.OrderID
	}
	return ids
}

// addPayments shows on each order its last payment. A plain one has no state but a status.
func addPayments(orders []api.Order, payments []api.Payment) {
	slices.SortFunc(payments, func(a, b api.Payment) int { return cmp.Compare(a.PaymentID, b.PaymentID) })
	last := map[api.ID]*api.OrderPayment{}
	for _, payment := range payments {
		if payment.Order == nil {
			continue
		}
		state := payment.State
		if state == "" && payment.PaymentStatus != nil {
			state = *payment.PaymentStatus
		}
		last[payment.Order.OrderID] = &api.OrderPayment{PaymentID: payment.PaymentID, State: state}
	}
	for i := range orders {
		if payment := last[orders[i].OrderID]; payment != nil {
			orders[i].Payment = payment
		}
	}
}

// addShipments shows on each order its last shipment.
func addShipments(orders []api.Order, shipments []api.Shipment) {
	slices.SortFunc(shipments, func(a, b api.Shipment) int { return cmp.Compare(a.ShipmentID, b.ShipmentID) })
	last := map[api.ID]*api.OrderShipment{}
	for _, shipment := range shipments {
		last[shipment.OrderID] = &api.OrderShipment{ShipmentID: shipment.ShipmentID, State: shipment.State, TrackingNumber: shipment.TrackingNumber}
	}
	for i := range orders {
		if shipment := last[orders[i].OrderID]; shipment != nil {
			orders[i].Shipment = shipment
		}
	}
}

// export gives people all of their data. Unlike a list it must be whole: a service that does not
// answer is an error.
func (s *Service) export(w http.ResponseWriter, r *http.Request) error {
	ctx, user := r.Context(), auth.CallerOf(r.Context()).UserID
	var data api.PersonalData
	var err error
	if data.Account, err = s.client.ExportUser(ctx, user); err != nil {
		return err
	}
	mine := url.Values{"userId": {user.String()}}
	if data.Orders, err = s.client.Rows(ctx, "order-service", "/api/orders", mine); err != nil {
		return err
	}
	if data.Carts, err = s.rowsOf(ctx, user, "order-service", "/api/carts"); err != nil {
		return err
	}
	if data.Favourites, err = s.rowsOf(ctx, user, "favourite-service", "/api/favourites"); err != nil {
		return err
	}
	if data.Payments, err = s.rowsOfOrders(ctx, data.Orders, "payment-service", "/api/payments"); err != nil {
		return err
	}
	if data.Shipments, err = s.rowsOfOrders(ctx, data.Orders, "shipping-service", "/api/shipments"); err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, data)
}

// rowsOf reads the rows of a user. An administrator is shown everybody's, so they are looked through.
func (s *Service) rowsOf(ctx context.Context, user api.ID, service, path string) ([]json.RawMessage, error) {
	rows, err := s.client.Rows(ctx, service, path, url.Values{"userId": {user.String()}})
	return slices.DeleteFunc(rows, func(row json.RawMessage) bool {
		var owned struct {
			UserID api.ID `json:"userId"`
		}
		return json.Unmarshal(row, &owned) != nil || owned.UserID != user
	}), err
}

// rowsOfOrders reads what another service keeps about orders, some orders at a time.
func (s *Service) rowsOfOrders(ctx context.Context, orders []json.RawMessage, service, path string) ([]json.RawMessage, error) {
	const atOnce = 200
	all := []json.RawMessage{}
	for chunk := range slices.Chunk(orders, atOnce) {
		var ids []string
		for _, row := range chunk {
			var order struct {
				OrderID api.ID `json:"orderId"`
			}
			if err := json.Unmarshal(row, &order); err != nil {
				return nil, err
			}
			ids = append(ids, order.OrderID.String())
		}
		rows, err := s.client.Rows(ctx, service, path, url.Values{"orderIds": {strings.Join(ids, ",")}})
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	return all, nil
}
