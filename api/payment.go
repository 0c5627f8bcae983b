package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Statuses of a payment in the original system's terms.
const (
	PaymentNotStarted = "NOT_STARTED"
	PaymentInProgress = "IN_PROGRESS"
	PaymentCompleted  = "COMPLETED"
)

// States of a payment made by the shop.
const (
	PaymentAuthorized        = "AUTHORIZED"
	PaymentCaptured          = "CAPTURED"
	PaymentPartiallyRefunded = "PARTIALLY_REFUNDED"
	PaymentRefunded          = "REFUNDED"
	PaymentVoided            = "VOIDED"
	PaymentDeclined          = "DECLINED"
	PaymentFailed            = "FAILED"
)

// Payment is money for an order. PaymentStatus and IsPayed (so spelled) follow from State where
// there is one; a plain row of the existing API has none.
type Payment struct {
	PaymentID     ID      `json:"paymentId"`
	IsPayed       *bool   `json:"isPayed"`
	PaymentStatus *string `json:"paymentStatus"`
	Order         *Order  `json:"order,omitempty"`

	State             string  `json:"state,omitempty"`
	Amount            *Amount `json:"amount,omitempty"`
	CapturedAmount    *Amount `json:"capturedAmount,omitempty"`
	RefundedAmount    *Amount `json:"refundedAmount,omitempty"`
	Currency          string  `json:"currency,omitempty"`
	Provider          string  `json:"provider,omitempty"`
	ProviderReference string  `json:"providerReference,omitempty"`
	FailureCode       string  `json:"failureCode,omitempty"`
}

// UnmarshalJSON also accepts "orderDto".
func (p *Payment) UnmarshalJSON(data []byte) error {
	type plain Payment
	aux := struct {
		*plain
		Alias *Order `json:"orderDto"`
	}{plain: (*plain)(p)}
	if err := json.Unmarshal(data, &aux); err != nil {
		return err
	}
	if p.Order == nil {
		p.Order = aux.Alias
	}
	return nil
}

// PaymentMethod is what a customer pays with: a provider and the token it gave for the card.
// Token must never be logged.
type PaymentMethod struct {
	Provider string `json:"provider"`
	Token    string `json:"token"`
}

// Authorization is the request to set money aside for an order. UserID is whom the order belongs to.
type Authorization struct {
	OrderID       ID            `json:"orderId"`
	UserID        ID            `json:"userId"`
	Amount        Amount        `json:"amount"`
	Currency      string        `json:"currency"`
	PaymentMethod PaymentMethod `json:"paymentMethod"`
}

// Withdrawal is the request to learn what became of the authorization that was asked for under Key, an
// Idempotency-Key, and to keep it from being made when it was not.
type Withdrawal struct {
	OrderID ID     `json:"orderId"`
	Key     string `json:"key"`
}

// Validate reports what is missing.
func (w Withdrawal) Validate() error {
	var reasons []FieldError
	if w.OrderID <= 0 {
		reasons = append(reasons, FieldError{Field: "orderId", Reason: "must be positive"})
	}
	if w.Key == "" {
		reasons = append(reasons, FieldError{Field: "key", Reason: "must not be empty"})
	}
	return Valid(append(reasons, CheckLine("key", &w.Key, 128)...))
}

// PaymentAmount is the request of a capture, void or refund; a missing amount means all.
type PaymentAmount struct {
	Amount *Amount `json:"amount,omitempty"`
	Reason string  `json:"reason,omitempty"`
}

// Posting is one side of an entry in the money ledger. The postings of one entry sum to zero.
type Posting struct {
	Account   string    `json:"account"`
	Amount    Amount    `json:"amount"`
	Currency  string    `json:"currency"`
	OrderID   ID        `json:"orderId"`
	PaymentID ID        `json:"paymentId"`
	At        time.Time `json:"at"`
}

// Payment returns one payment.
func (c *Client) Payment(ctx context.Context, id ID) (Payment, error) {
	return get[Payment](ctx, c, "payment-service", "/api/payments/"+id.String())
}

// PaymentsOf returns the payments of several orders in one call.
func (c *Client) PaymentsOf(ctx context.Context, orders []ID) ([]Payment, error) {
	list, err := get[List[Payment]](ctx, c, "payment-service", "/api/payments?orderIds="+joinIDs(orders))
	return list.Collection, err
}

// Authorize sets money aside; key makes it happen once. A declined card is a 402 [Problem].
func (c *Client) Authorize(ctx context.Context, key string, authorization Authorization) (Payment, error) {
	return send[Payment](ctx, c, http.MethodPost, "payment-service", "/api/payments/authorize", key, authorization)
}

// Withdraw answers as [Client.Authorize] with the same key did. Where that was never asked for it is
// refused from now on, with a 402 [Problem].
func (c *Client) Withdraw(ctx context.Context, key string, order ID) (Payment, error) {
	return send[Payment](ctx, c, http.MethodPost, "payment-service", "/api/payments/withdraw", "", Withdrawal{OrderID: order, Key: key})
}

// Capture takes the money that was set aside.
func (c *Client) Capture(ctx context.Context, key string, payment ID) (Payment, error) {
	return send[Payment](ctx, c, http.MethodPost, "payment-service", "/api/payments/"+payment.String()+"/capture", key, PaymentAmount{})
}

// Void gives up money that was set aside and not taken.
func (c *Client) Void(ctx context.Context, key string, payment ID) (Payment, error) {
	return send[Payment](ctx, c, http.MethodPost, "payment-service", "/api/payments/"+payment.String()+"/void", key, PaymentAmount{})
}

// Refund gives all of the money back.
func (c *Client) Refund(ctx context.Context, key string, payment ID, reason string) (Payment, error) {
	return send[Payment](ctx, c, http.MethodPost, "payment-service", "/api/payments/"+payment.String()+"/refund", key, PaymentAmount{Reason: reason})
}
