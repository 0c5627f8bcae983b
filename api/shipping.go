package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// OrderItem is one product of an order as the existing shipping resource has it. Product and order
// together are its key.
type OrderItem struct {
	ProductID       ID       `json:"productId"`
	OrderID         ID       `json:"orderId"`
	OrderedQuantity *Int     `json:"orderedQuantity"`
	Product         *Product `json:"product,omitempty"`
	Order           *Order   `json:"order,omitempty"`
}

// UnmarshalJSON also accepts "productDto" and "orderDto".
func (i *OrderItem) UnmarshalJSON(data []byte) error {
	type plain OrderItem
	aux := struct {
		*plain
		ProductAlias *Product `json:"productDto"`
		OrderAlias   *Order   `json:"orderDto"`
	}{plain: (*plain)(i)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	if i.Product == nil {
		i.Product = aux.ProductAlias
	}
	if i.Order == nil {
		i.Order = aux.OrderAlias
	}
	return nil
}

// States of a shipment: PENDING → LABEL_CREATED → IN_TRANSIT → DELIVERED; IN_TRANSIT → RETURNED or
// LOST; PENDING or LABEL_CREATED → CANCELLED.
const (
	ShipmentPending      = "PENDING"
	ShipmentLabelCreated = "LABEL_CREATED"
	ShipmentInTransit    = "IN_TRANSIT"
	ShipmentDelivered    = "DELIVERED"
	ShipmentReturned     = "RETURNED"
	ShipmentLost         = "LOST"
	ShipmentCancelled    = "CANCELLED"
)

// Shipment is the parcel of an order.
type Shipment struct {
	ShipmentID      ID              `json:"shipmentId"`
	OrderID         ID              `json:"orderId"`
	State           string          `json:"state"`
	Service         string          `json:"service"`
	Carrier         string          `json:"carrier,omitempty"`
	TrackingNumber  string          `json:"trackingNumber,omitempty"`
	ShippingAddress ShippingAddress `json:"shippingAddress"`
	Items           []ItemQuantity  `json:"items"`
	Events          []ShipmentEvent `json:"events,omitempty"`
	CreatedAt       time.Time       `json:"createdAt"`
	UpdatedAt       time.Time       `json:"updatedAt"`
}

// NewShipment is the request for one. UserID is whom the order belongs to.
type NewShipment struct {
	OrderID         ID              `json:"orderId"`
	UserID          ID              `json:"userId"`
	Service         string          `json:"service,omitempty"`
	ShippingAddress ShippingAddress `json:"shippingAddress"`
	Items           []ItemQuantity  `json:"items"`
}

// ShipmentEvent is one step of a shipment. At and From are set by the service.
type ShipmentEvent struct {
	From           string    `json:"from,omitempty"`
	State          string    `json:"state"`
	TrackingNumber string    `json:"trackingNumber,omitempty"`
	Carrier        string    `json:"carrier,omitempty"`
	Note           string    `json:"note,omitempty"`
	Actor          string    `json:"actor,omitempty"`
	At             time.Time `json:"at,omitzero"`
}

// RateRequest asks what shipping would cost.
type RateRequest struct {
	ShippingAddress ShippingAddress `json:"shippingAddress"`
	Items           []ItemQuantity  `json:"items"`
}

// Rate is one way to ship, with its price and how many days it takes.
type Rate struct {
	Service  string `json:"service"`
	Amount   Amount `json:"amount"`
	Currency string `json:"currency"`
	Days     int    `json:"days"`
}

// Rates returns the ways to ship, cheapest first.
func (c *Client) Rates(ctx context.Context, request RateRequest) ([]Rate, error) {
	return send[[]Rate](ctx, c, http.MethodPost, "shipping-service", "/api/rates", "", request)
}

// CreateShipment creates the shipment of an order; a second call for the order returns the first's.
func (c *Client) CreateShipment(ctx context.Context, shipment NewShipment) (Shipment, error) {
	return send[Shipment](ctx, c, http.MethodPost, "shipping-service", "/api/shipments", "", shipment)
}

// ShipmentsOf returns the shipments of several orders in one call.
func (c *Client) ShipmentsOf(ctx context.Context, orders []ID) ([]Shipment, error) {
	list, err := get[List[Shipment]](ctx, c, "shipping-service", "/api/shipments?orderIds="+joinIDs(orders))
	return list.Collection, err
}

// CancelShipment cancels a shipment that has not left yet: 409 when it has. It is idempotent.
func (c *Client) CancelShipment(ctx context.Context, key string, shipment ID, note string) (Shipment, error) {
	return send[Shipment](ctx, c, http.MethodPost, "shipping-service", "/api/shipments/"+shipment.String()+"/events", key,
		ShipmentEvent{State: ShipmentCancelled, Note: note})
}
