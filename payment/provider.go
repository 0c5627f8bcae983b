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
	Key       string    // names this movement to the provider
	Begun     time.Time // when it was asked for first
	Books     string    // names our books, for whoever shares the provider with us
	PaymentID api.ID    // for the provider's own records
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

// Event is what a provider tells on its own: the outcome of a movement that was asked for, or of one that
// was made at the provider without us.
type Event struct {
	ID        string // of the event: the same when it is delivered again
	Kind      Kind   // empty when it tells of no movement of ours: it is kept and has no effect
	Key       string // of the Request that it is the outcome of; otherwise the provider's name of the movement
	Reference string // the provider's name of the charge
	Amount    int64
	Currency  string
	Refusal   *Refusal // nil when the movement was made

	// What else is known of the charge, or empty.
	Authorization string // the key of the Request that made it
	OrderID       api.ID
	Books         string // whose it is
}

// check says what of an event cannot be stored.
func (e Event) check() error {
	if e.ID == "" || len(e.ID) > maxReference {
		return api.BadRequest("the id of the event is empty or too long")
	}
	if e.Kind != "" && (e.Key == "" || len(e.Key) > maxCode) {
		return api.BadRequest("the name of the movement that the event is about is empty or too long")
	}
	if len(e.Reference) > maxReference || len(e.Currency) > 3 || len(e.Authorization) > maxCode || len(e.Books) > maxBooks ||
		e.Refusal != nil && len(e.Refusal.Code) > maxCode {
		return api.BadRequest("a field of the event is too long")
	}
	return nil
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
