package payment

import (
	"context"
	"errors"
	"net/http"
	"time"

	"tienda/api"
)

// Provider moves money for us. Every call carries a key: a provider does what one key asks for once,
// however often it is asked, and answers alike each time.
//
// A *[Refusal] is a definite no. Every other error leaves open whether the money moved: the same call
// is made again, with the same key, until the provider says.
type Provider interface {
	// Authorize sets money aside.
	Authorize(ctx context.Context, request Request) (Result, error)
	// Capture takes money that was set aside.
	Capture(ctx context.Context, request Request) (Result, error)
	// Void gives up what was set aside, of which nothing was taken.
	Void(ctx context.Context, request Request) (Result, error)
	// Refund gives money back that was taken.
	Refund(ctx context.Context, request Request) (Result, error)
	// ParseWebhook checks and reads an event that the provider sent. A signature that does not hold, or
	// held too long ago, is [ErrSignature]; anything else wrong is a 400 problem.
	ParseWebhook(header http.Header, body []byte, now time.Time) (Event, error)
}

// Request is one movement of money, in minor units of the currency.
type Request struct {
	Key       string // names this movement to the provider
	PaymentID api.ID // for the provider's own records
	OrderID   api.ID
	Reference string // the provider's name of the charge; empty to authorize
	Amount    int64
	Currency  string
	Token     string // of the card, to authorize; never to be logged
}

// Result is what a provider did.
type Result struct {
	Reference string // its name of the charge
}

// Refusal is a definite no of a provider.
type Refusal struct {
	Code     string // the provider's reason, such as "insufficient_funds"
	Declined bool   // the card was declined; otherwise the request itself was refused
}

// Error is the code.
func (r *Refusal) Error() string { return "refused by the provider: " + r.Code }

// Event is what a provider tells on its own: the outcome of a movement that was asked for.
type Event struct {
	ID        string // of the event: the same when it is delivered again
	Kind      Kind
	Key       string // of the Request that it is the outcome of
	Reference string
	Amount    int64
	Currency  string
	Refusal   *Refusal // nil when the movement was made
}

// ErrSignature is the error of an event that the provider did not send, or not lately.
var ErrSignature = errors.New("the signature does not hold")

// Kind is which way money moves.
type Kind string

// The kinds of movements.
const (
	KindAuthorize Kind = "AUTHORIZE"
	KindCapture   Kind = "CAPTURE"
	KindVoid      Kind = "VOID"
	KindRefund    Kind = "REFUND"
)

// call asks the provider for a movement of a kind.
func call(ctx context.Context, provider Provider, kind Kind, request Request) (Result, error) {
	switch kind {
	case KindAuthorize:
		return provider.Authorize(ctx, request)
	case KindCapture:
		return provider.Capture(ctx, request)
	case KindVoid:
		return provider.Void(ctx, request)
	}
	return provider.Refund(ctx, request)
}
