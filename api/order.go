package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// States of an order. CREATED is a plain row of the existing API; the others belong to checked-out
// orders: PENDING → CONFIRMED → SHIPPED → DELIVERED; PENDING or CONFIRMED → CANCELLED; CONFIRMED,
// SHIPPED or DELIVERED → REFUNDED.
const (
	OrderCreated   = "CREATED"
	OrderPending   = "PENDING"
	OrderConfirmed = "CONFIRMED"
	OrderShipped   = "SHIPPED"
	OrderDelivered = "DELIVERED"
	OrderCancelled = "CANCELLED"
	OrderRefunded  = "REFUNDED"
)

// States of a cart.
const (
	CartOpen        = "OPEN"
	CartCheckingOut = "CHECKING_OUT"
	CartClosed      = "CLOSED"
)

// Order is what a customer bought. OrderFee of a checked-out order is its total. UserID is whom it
// belongs to; as in the original system the nested cart does not say.
type Order struct {
	OrderID   ID       `json:"orderId"`
	OrderDate DateTime `json:"orderDate"`
	OrderDesc *string  `json:"orderDesc"`
	OrderFee  *Amount  `json:"orderFee"`
	Cart      *Cart    `json:"cart,omitempty"`

	UserID          ID               `json:"userId,omitzero"`
	Status          string           `json:"status,omitempty"`
	Items           []OrderLine      `json:"items,omitempty"`
	Subtotal        *Amount          `json:"subtotal,omitempty"`
	ShippingFee     *Amount          `json:"shippingFee,omitempty"`
	Tax             *Amount          `json:"tax,omitempty"`
	Currency        string           `json:"currency,omitempty"`
	ShippingAddress *ShippingAddress `json:"shippingAddress,omitempty"`
	Payment         *OrderPayment    `json:"payment,omitempty"`
	Shipment        *OrderShipment   `json:"shipment,omitempty"`
	History         []Transition     `json:"history,omitempty"`
	Version         int64            `json:"version,omitempty"`
}

// UnmarshalJSON also accepts "cartDto".
func (o *Order) UnmarshalJSON(data []byte) error {
	type plain Order
	aux := struct {
		*plain
		Alias *Cart `json:"cartDto"`
	}{plain: (*plain)(o)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	if o.Cart == nil {
		o.Cart = aux.Alias
	}
	return nil
}

// OrderLine is one product of an order with its title, SKU and price as sold.
type OrderLine struct {
	ProductID    ID     `json:"productId"`
	ProductTitle string `json:"productTitle"`
	SKU          string `json:"sku"`
	Quantity     int64  `json:"quantity"`
	UnitPrice    Amount `json:"unitPrice"`
	LineTotal    Amount `json:"lineTotal"`
	Tax          Amount `json:"tax"`
}

// ShippingAddress is where an order goes, kept on the order as it was then.
type ShippingAddress struct {
	FullAddress string `json:"fullAddress"`
	PostalCode  string `json:"postalCode"`
	City        string `json:"city"`
	Country     string `json:"country"`
}

// Validate returns what is wrong with the address, with field names below prefix.
func (a ShippingAddress) Validate(prefix string) []FieldError {
	var errors []FieldError
	for _, f := range []struct {
		name, value string
		most        int
	}{{"fullAddress", a.FullAddress, 255}, {"postalCode", a.PostalCode, 32}, {"city", a.City, 120}} {
		field := prefix + "." + f.name
		if strings.TrimSpace(f.value) == "" {
			errors = append(errors, FieldError{Field: field, Reason: "must not be empty"})
		}
		errors = append(errors, CheckLine(field, &f.value, f.most)...)
	}
	if !IsCountry(a.Country) {
		errors = append(errors, FieldError{Field: prefix + ".country", Reason: "must be an ISO 3166 alpha-2 code such as TN or US"})
	}
	return errors
}

// OrderPayment is the payment of an order in short.
type OrderPayment struct {
	PaymentID ID     `json:"paymentId"`
	State     string `json:"state"`
}

// OrderShipment is the shipment of an order in short.
type OrderShipment struct {
	ShipmentID     ID     `json:"shipmentId"`
	State          string `json:"state"`
	TrackingNumber string `json:"trackingNumber,omitempty"`
}

// Transition is one step of an order's history. From is empty at the first.
type Transition struct {
	From   string    `json:"from"`
	To     string    `json:"to"`
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`
	Reason string    `json:"reason,omitempty"`
}

// Cart collects what a user wants to buy.
type Cart struct {
	CartID ID      `json:"cartId"`
	UserID ID      `json:"userId"`
	Orders []Order `json:"orderDtos,omitempty"`
	User   *User   `json:"user,omitempty"`

	State    string     `json:"state,omitempty"`
	Items    []CartItem `json:"items,omitzero"`
	Subtotal *Amount    `json:"subtotal,omitempty"`
	Currency string     `json:"currency,omitempty"`
}

// UnmarshalJSON also accepts "userDto".
func (c *Cart) UnmarshalJSON(data []byte) error {
	type plain Cart
	aux := struct {
		*plain
		Alias *User `json:"userDto"`
	}{plain: (*plain)(c)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	if c.User == nil {
		c.User = aux.Alias
	}
	return nil
}

// CartItem is one product in a cart at its present price.
type CartItem struct {
	ProductID    ID     `json:"productId"`
	ProductTitle string `json:"productTitle"`
	Quantity     int64  `json:"quantity"`
	UnitPrice    Amount `json:"unitPrice"`
	LineTotal    Amount `json:"lineTotal"`
}

// CartQuantity is the request that puts a product into a cart.
type CartQuantity struct {
	Quantity int64 `json:"quantity"`
}

// Checkout is the request that turns a cart into an order. One of AddressID and ShippingAddress is given.
type Checkout struct {
	AddressID       ID               `json:"addressId,omitzero"`
	ShippingAddress *ShippingAddress `json:"shippingAddress,omitempty"`
	PaymentMethod   PaymentMethod    `json:"paymentMethod"`
	ShippingService string           `json:"shippingService,omitempty"`
	Note            string           `json:"note,omitempty"`
}

// Cancellation is the request that cancels an order.
type Cancellation struct {
	Reason string `json:"reason"`
}

// ShipmentChange tells order-service that the shipment of an order moved on.
type ShipmentChange struct {
	ShipmentID     ID     `json:"shipmentId"`
	State          string `json:"state"`
	TrackingNumber string `json:"trackingNumber,omitempty"`
}

// OrderStanding is how far an order is, for components that must not act against it.
type OrderStanding struct {
	OrderID    ID     `json:"orderId"`
	Status     string `json:"status"`
	InProgress bool   `json:"inProgress"` // a checkout or cancellation is under way: the status is not the last word
}

// Order returns one order.
func (c *Client) Order(ctx context.Context, id ID) (Order, error) {
	return get[Order](ctx, c, "order-service", "/api/orders/"+id.String())
}

// Orders returns those of the orders that exist and that the caller may see, in one call.
func (c *Client) Orders(ctx context.Context, ids []ID) ([]Order, error) {
	list, err := get[List[Order]](ctx, c, "order-service", "/api/orders?ids="+joinIDs(ids))
	return list.Collection, err
}

// OrderStandings returns how far those of the orders are that exist; for components only, at most 1,000.
func (c *Client) OrderStandings(ctx context.Context, ids []ID) ([]OrderStanding, error) {
	list, err := get[List[OrderStanding]](ctx, c, "order-service", "/api/orders/standings?ids="+joinIDs(ids))
	return list.Collection, err
}

// ShipmentChanged moves an order on after its shipment did; it is idempotent.
func (c *Client) ShipmentChanged(ctx context.Context, order ID, change ShipmentChange) error {
	_, err := send[json.RawMessage](ctx, c, http.MethodPost, "order-service", "/api/orders/"+order.String()+"/shipment", "", change)
	return err
}
