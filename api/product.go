package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Product is something the shop sells. Quantity is what is available: on hand less reserved. A product
// whose PriceUnit is null has no price yet and cannot be ordered.
type Product struct {
	ProductID    ID         `json:"productId"`
	ProductTitle *string    `json:"productTitle"`
	ImageURL     *string    `json:"imageUrl"`
	SKU          *string    `json:"sku"`
	PriceUnit    *Amount    `json:"priceUnit"`
	Quantity     *Int       `json:"quantity"`
	Currency     string     `json:"currency,omitempty"`
	Description  *string    `json:"description,omitempty"`
	Published    *bool      `json:"published,omitempty"`
	CreatedAt    *time.Time `json:"createdAt,omitempty"`
	UpdatedAt    *time.Time `json:"updatedAt,omitempty"`
	Version      int64      `json:"version,omitempty"`
	Category     *Category  `json:"category,omitempty"`
}

// UnmarshalJSON also accepts "categoryDto".
func (p *Product) UnmarshalJSON(data []byte) error {
	type plain Product
	aux := struct {
		*plain
		Alias *Category `json:"categoryDto"`
	}{plain: (*plain)(p)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	if p.Category == nil {
		p.Category = aux.Alias
	}
	return nil
}

// Bounds of what a catalogue takes in.
const (
	maxTitle       = 255
	maxSKU         = 255
	maxImageURL    = 2048
	maxDescription = 4000
	maxNote        = 255
	// MaxQuantity bounds every count of things: stock, movements and lines of an order.
	MaxQuantity = 1_000_000_000
	// maxReservationItems keeps the transaction of a reservation short.
	maxReservationItems = 500
)

// Validate reports what is unacceptable in a product as it was sent: a 422 that names the fields.
func (p Product) Validate(currency Currency) error {
	wrong := slices.Concat(
		CheckLine("productTitle", p.ProductTitle, maxTitle),
		CheckLine("sku", p.SKU, maxSKU),
		CheckLine("imageUrl", p.ImageURL, maxImageURL),
		CheckProse("description", p.Description, maxDescription),
	)
	if p.PriceUnit != nil {
		minor, err := currency.Minor(*p.PriceUnit)
		switch {
		case err != nil:
			wrong = append(wrong, FieldError{Field: "priceUnit", Reason: err.Error()})
		case minor < 0:
			wrong = append(wrong, FieldError{Field: "priceUnit", Reason: "must not be negative"})
		}
	}
	if p.Quantity != nil && (*p.Quantity < 0 || *p.Quantity > MaxQuantity) {
		wrong = append(wrong, FieldError{Field: "quantity", Reason: fmt.Sprintf("must be 0 to %d", MaxQuantity)})
	}
	if p.Currency != "" && p.Currency != currency.Code {
		wrong = append(wrong, FieldError{Field: "currency", Reason: "must be " + currency.Code + ", the currency of this shop"})
	}
	return Valid(wrong)
}

// Category groups products in a tree. As a resource of its own it always shows a parent, with
// three nulls at the root of the tree; nested in a product it shows none.
type Category struct {
	CategoryID    ID         `json:"categoryId"`
	CategoryTitle *string    `json:"categoryTitle"`
	ImageURL      *string    `json:"imageUrl"`
	Parent        *Category  `json:"parentCategory,omitempty"`
	SubCategories []Category `json:"subCategoriesDtos,omitempty"`
	Products      []Product  `json:"productDtos,omitempty"`
}

// UnmarshalJSON also accepts "parentCategoryDto".
func (c *Category) UnmarshalJSON(data []byte) error {
	type plain Category
	aux := struct {
		*plain
		Alias *Category `json:"parentCategoryDto"`
	}{plain: (*plain)(c)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	if c.Parent == nil {
		c.Parent = aux.Alias
	}
	return nil
}

// Validate reports what is unacceptable in a category as it was sent: a 422 that names the fields.
func (c Category) Validate() error {
	return Valid(slices.Concat(
		CheckLine("categoryTitle", c.CategoryTitle, maxTitle),
		CheckLine("imageUrl", c.ImageURL, maxImageURL),
	))
}

// Stock is what there is of a product.
type Stock struct {
	ProductID ID    `json:"productId"`
	OnHand    int64 `json:"onHand"`
	Reserved  int64 `json:"reserved"`
	Available int64 `json:"available"`
}

// Reasons of a stock movement. Received, adjusted and written off are entered by people; sold and
// returned come from orders.
const (
	MovementReceived   = "RECEIVED"
	MovementAdjusted   = "ADJUSTED"
	MovementWrittenOff = "WRITTEN_OFF"
	MovementSold       = "SOLD"
	MovementReturned   = "RETURNED"
)

// StockMovement is one line of a product's stock ledger. Balance is what was on hand after it.
type StockMovement struct {
	MovementID ID        `json:"movementId"`
	ProductID  ID        `json:"productId"`
	Quantity   int64     `json:"quantity"`
	Reason     string    `json:"reason"`
	Note       string    `json:"note,omitempty"`
	OrderID    ID        `json:"orderId"`
	Balance    int64     `json:"balance"`
	Actor      string    `json:"actor"`
	At         time.Time `json:"at"`
}

// NewStockMovement is the request for one.
type NewStockMovement struct {
	Quantity int64  `json:"quantity"`
	Reason   string `json:"reason"`
	Note     string `json:"note,omitempty"`
}

// Validate reports what is unacceptable in the request: a 422 that names the fields.
func (m NewStockMovement) Validate() error {
	var wrong []FieldError
	switch m.Reason {
	case MovementReceived:
		if m.Quantity < 0 {
			wrong = append(wrong, FieldError{Field: "quantity", Reason: "must be positive for RECEIVED"})
		}
	case MovementWrittenOff:
		if m.Quantity > 0 {
			wrong = append(wrong, FieldError{Field: "quantity", Reason: "must be negative for WRITTEN_OFF"})
		}
	case MovementAdjusted:
	default:
		wrong = append(wrong, FieldError{Field: "reason", Reason: "must be RECEIVED, ADJUSTED or WRITTEN_OFF"})
	}
	if m.Quantity == 0 || m.Quantity > MaxQuantity || m.Quantity < -MaxQuantity {
		wrong = append(wrong, FieldError{Field: "quantity", Reason: fmt.Sprintf("must be a number up to %d that is not 0", MaxQuantity)})
	}
	return Valid(append(wrong, CheckLine("note", &m.Note, maxNote)...))
}

// States of a reservation: HELD → COMMITTED → RETURNED; HELD → RELEASED; HELD → EXPIRED → HELD,
// COMMITTED or RELEASED.
const (
	ReservationHeld      = "HELD"
	ReservationCommitted = "COMMITTED"
	ReservationReleased  = "RELEASED"
	ReservationExpired   = "EXPIRED"
	ReservationReturned  = "RETURNED"
)

// Reservation holds stock for one order until it is committed, released or expires.
type Reservation struct {
	OrderID   ID             `json:"orderId"`
	State     string         `json:"state"`
	Items     []ItemQuantity `json:"items"`
	ExpiresAt time.Time      `json:"expiresAt"`
}

// NewReservation is the request for one.
type NewReservation struct {
	OrderID ID             `json:"orderId"`
	Items   []ItemQuantity `json:"items"`
}

// Validate reports what is unacceptable in the request: a 422 that names the fields.
func (n NewReservation) Validate() error {
	var wrong []FieldError
	if n.OrderID < 1 {
		wrong = append(wrong, FieldError{Field: "orderId", Reason: "must be the id of an order"})
	}
	if len(n.Items) == 0 || len(n.Items) > maxReservationItems {
		wrong = append(wrong, FieldError{Field: "items", Reason: fmt.Sprintf("must name 1 to %d products", maxReservationItems)})
	}
	seen := map[ID]bool{}
	for i, item := range n.Items {
		field := fmt.Sprintf("items[%d].", i)
		if item.ProductID < 1 || seen[item.ProductID] {
			wrong = append(wrong, FieldError{Field: field + "productId", Reason: "must be the id of a product and stand once"})
		}
		if item.Quantity < 1 || item.Quantity > MaxQuantity {
			wrong = append(wrong, FieldError{Field: field + "quantity", Reason: fmt.Sprintf("must be 1 to %d", MaxQuantity)})
		}
		seen[item.ProductID] = true
	}
	return Valid(wrong)
}

// ItemQuantity is how many of a product.
type ItemQuantity struct {
	ProductID ID    `json:"productId"`
	Quantity  int64 `json:"quantity"`
}

// Product returns one product.
func (c *Client) Product(ctx context.Context, id ID) (Product, error) {
	return get[Product](ctx, c, "product-service", "/api/products/"+id.String())
}

// Products returns those of the products that are on sale, in one call.
func (c *Client) Products(ctx context.Context, ids []ID) ([]Product, error) {
	list, err := get[List[Product]](ctx, c, "product-service", "/api/products?ids="+joinIDs(ids))
	return list.Collection, err
}

// Reserve holds stock for an order; a second call for the same order returns the first's reservation.
// Short of stock it is a 409 [Problem] that names every short product.
func (c *Client) Reserve(ctx context.Context, reservation NewReservation) (Reservation, error) {
	return send[Reservation](ctx, c, http.MethodPost, "product-service", "/api/reservations", "", reservation)
}

// CommitReservation turns reserved stock into sold stock. It is idempotent; a reservation that
// expired is reserved again when the stock is still there, else 409.
func (c *Client) CommitReservation(ctx context.Context, order ID) (Reservation, error) {
	return send[Reservation](ctx, c, http.MethodPost, "product-service", "/api/reservations/"+order.String()+"/commit", "", nil)
}

// ReleaseReservation gives stock back: a held reservation is released, a committed one returned.
// It is idempotent, and remembers an order that never reserved so that it cannot do so later.
func (c *Client) ReleaseReservation(ctx context.Context, order ID) (Reservation, error) {
	return send[Reservation](ctx, c, http.MethodPost, "product-service", "/api/reservations/"+order.String()+"/release", "", nil)
}
