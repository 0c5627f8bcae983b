// Package shipping is the shipping-service: what of an order is sent where, and how far it has come.
//
// It serves two things. The existing resource shippings holds order items: how many of a product belong
// to an order. The commerce operations quote rates and drive the shipment of an order through its
// states; the order items of a shipment are written with it and change no more.
//
// Every step of a shipment is told to order-service, which moves the order on. The telling is a row
// written in the transaction of the step, sent right away and again until order-service has taken it,
// in order for each shipment.
//
// Tables: shipments, shipment_events, order_items, notifications (what is still to be told). It calls
// order-service and product-service.
package shipping

import (
	"context"
	"embed"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations creates the tables of the service.
var Migrations = sqldb.Migrations{Name: "shipping", Files: files}

// Orders is what the service needs of order-service.
type Orders interface {
	Order(ctx context.Context, id api.ID) (api.Order, error)
	Orders(ctx context.Context, ids []api.ID) ([]api.Order, error)
	ShipmentChanged(ctx context.Context, order api.ID, change api.ShipmentChange) error
}

// Products is what the service needs of product-service.
type Products interface {
	Products(ctx context.Context, ids []api.ID) ([]api.Product, error)
}

// Service is the shipping-service.
type Service struct {
	db       *sqldb.DB
	orders   Orders
	products Products
	identity *auth.Identity
	currency api.Currency
	settings Settings
	log      *slog.Logger
	now      func() time.Time
}

// New makes the service. Its database has the tables of [Migrations] and of the journal; identity is
// what it tells order-service of shipments as.
func New(db *sqldb.DB, orders Orders, products Products, identity *auth.Identity, currency api.Currency, settings Settings,
	log *slog.Logger, now func() time.Time) *Service {
	return &Service{db, orders, products, identity, currency, settings, log, now}
}

// Routes is the table of the service. It may be called on a nil Service, to read it.
func (s *Service) Routes() []web.Route {
	item := api.OrderItem{ProductID: 1, OrderID: 1, OrderedQuantity: new(api.Int(2))}
	address := api.ShippingAddress{FullAddress: "carthage byrsa", PostalCode: "2016", City: "carthage", Country: "TN"}
	items := []api.ItemQuantity{{ProductID: 1, Quantity: 2}}
	itemKey := []string{"orderId?instead of the body", "productId?instead of the body"}
	filters := append([]string{"orderId?of this order", "orderIds?of these orders"}, web.PageQuery...)
	return []web.Route{
		{Method: http.MethodGet, Pattern: "/api/shippings", Summary: "List order items", Access: web.Owner, Origin: true,
			Query: filters, Out: api.List[api.OrderItem]{}, Handler: s.listItems},
		{Method: http.MethodGet, Pattern: "/api/shippings/{orderId}/{productId}", Summary: "Read an order item", Access: web.Owner, Origin: true,
			Out: api.OrderItem{}, Handler: s.getItem},
		{Method: http.MethodGet, Pattern: "/api/shippings/find", Summary: "Read the order item that the body or the query names", Access: web.Owner, Origin: true,
			Query: itemKey, Out: api.OrderItem{}, Handler: s.findItem},
		{Method: http.MethodPost, Pattern: "/api/shippings", Summary: "Create or replace an order item", Access: web.AdminOrService, Origin: true,
			In: item, Out: api.OrderItem{}, Status: http.StatusCreated, Handler: s.saveItem},
		{Method: http.MethodPut, Pattern: "/api/shippings", Summary: "Update an order item", Access: web.AdminOrService, Origin: true,
			In: item, Out: api.OrderItem{}, Handler: s.saveItem},
		{Method: http.MethodDelete, Pattern: "/api/shippings/{orderId}/{productId}", Summary: "Delete an order item", Access: web.AdminOrService, Origin: true,
			Out: true, Handler: s.deleteItem},
		{Method: http.MethodDelete, Pattern: "/api/shippings/delete", Summary: "Delete the order item that the body or the query names", Access: web.AdminOrService, Origin: true,
			Query: itemKey, Out: true, Handler: s.deleteFoundItem},

		{Method: http.MethodPost, Pattern: "/api/rates", Summary: "Ask what shipping would cost, cheapest first", Access: web.User,
			In: api.RateRequest{ShippingAddress: address, Items: items}, Out: []api.Rate{}, Handler: s.rates},
		{Method: http.MethodPost, Pattern: "/api/shipments", Summary: "Create the shipment of an order", Access: web.Service,
			In:  api.NewShipment{OrderID: 1, UserID: 1, ShippingAddress: address, Items: items},
			Out: api.Shipment{}, Status: http.StatusCreated, Handler: s.createShipment},
		{Method: http.MethodGet, Pattern: "/api/shipments", Summary: "List shipments", Access: web.Owner,
			Query: filters, Out: api.List[api.Shipment]{}, Handler: s.listShipments},
		{Method: http.MethodGet, Pattern: "/api/shipments/{shipmentId}", Summary: "Read a shipment", Access: web.Owner,
			Out: api.Shipment{}, Handler: s.getShipment},
		{Method: http.MethodPost, Pattern: "/api/shipments/{shipmentId}/events", Summary: "Move a shipment on", Access: web.AdminOrService, Idempotent: true,
			In: api.ShipmentEvent{State: api.ShipmentLabelCreated, TrackingNumber: "TN123", Carrier: "post"}, Out: api.Shipment{}, Handler: s.moveShipment},
		journal.EventsRoute(s.events),
	}
}

func (s *Service) events(w http.ResponseWriter, r *http.Request) error {
	return journal.ServeEvents(w, r, s.db, s.now())
}

// sweepEvery is how often the background looks for work.
const sweepEvery = time.Second

// Run tells order-service what it has not taken yet, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var forgetting sync.WaitGroup
	defer forgetting.Wait()
	forgetting.Go(func() { journal.Forget(ctx, s.db, s.now, s.log) })
	failing := false
	for {
		err := s.sweep(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			s.log.WarnContext(ctx, "background work failed, trying again", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
	}
}

// Demo writes four order items, of the orders 1 and 2, into an empty database.
func Demo(ctx context.Context, db *sqldb.DB, now time.Time) error {
	var rows []item
	for product := range api.ID(2) {
		for order := range api.ID(2) {
			quantity := int64(1)
			if product == 0 && order == 0 {
				quantity = 2
			}
			rows = append(rows, item{productID: product + 1, orderID: order + 1, userID: order + 1, quantity: number(&quantity)})
		}
	}
	if err := insertDemo(ctx, db, rows, now); err != nil {
		return fmt.Errorf("demo order items: %w", err)
	}
	return nil
}
