// Package payment is the payment-service: what has been paid for orders, and the money itself.
//
// It serves two things. The existing resource payments are plain rows that say whether an order is paid
// and move no money. The commerce operations authorize, capture, void and refund move money through a
// [Provider]; their payments have a state, which only these operations change.
//
// No movement happens twice. Each is a row of payment_operations, written before the provider is asked
// and carrying the key it is asked with; its outcome is taken in by one transaction together with the
// payment, the postings of the ledger and the answer, whether the provider's answer or its webhook
// brings it, and whoever dies in between. What has no outcome is asked for again in the background.
//
// Tables: payments, payment_operations, ledger_postings (append-only; every entry sums to zero),
// provider_events (as they came), payment_books (what these books are called), and those of the sandbox,
// which only the sandbox writes. It calls order-service, to show the orders that payments are for, and to
// give money back that no order stands behind.
package payment

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
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
var Migrations = sqldb.Migrations{Name: "payment", Files: files}

// Orders is what the service needs of order-service.
type Orders interface {
	Order(ctx context.Context, id api.ID) (api.Order, error)
	Orders(ctx context.Context, ids []api.ID) ([]api.Order, error)
	OrderStandings(ctx context.Context, ids []api.ID) ([]api.OrderStanding, error)
}

// Settings are those under tienda.payment.
type Settings struct {
	// ProviderTimeout bounds one call to a provider. It is less than callers wait for this service, so
	// that they learn that the outcome is open instead of learning nothing.
	ProviderTimeout time.Duration `koanf:"provider-timeout"`
	// UnclaimedAfter is how old a charge is when it is looked at whether an order stands behind it. Giving
	// it back takes some seconds more.
	UnclaimedAfter time.Duration   `koanf:"unclaimed-after"`
	Sandbox        SandboxSettings `koanf:"sandbox"`
	Stripe         StripeSettings  `koanf:"stripe"`
}

// SandboxSettings are those of the provider that moves no real money.
type SandboxSettings struct {
	Enabled bool `koanf:"enabled"`
	// WebhookSecret signs the sandbox's events; empty for a new one at each start.
	WebhookSecret string `koanf:"webhook-secret"`
	// SlowAnswer is how long tok_slow takes.
	SlowAnswer time.Duration `koanf:"slow-answer"`
}

// DefaultSettings has the sandbox and no other provider.
func DefaultSettings() Settings {
	return Settings{ProviderTimeout: 4 * time.Second, UnclaimedAfter: 30 * time.Second, Sandbox: SandboxSettings{Enabled: true, SlowAnswer: 3 * time.Second},
		Stripe: StripeSettings{URL: "https://api.stripe.com"}}
}

// Service is the payment-service.
type Service struct {
	db        *sqldb.DB
	orders    Orders
	identity  *auth.Identity
	currency  api.Currency
	settings  Settings
	providers map[string]Provider
	sandbox   *sandbox        // nil unless enabled
	stripe    *stripeProvider // nil unless enabled
	log       *slog.Logger
	now       func() time.Time

	looked time.Time // when orders were looked at last; of the background alone

	opening sync.Mutex
	books   string // the name of these books, once they are open
}

// New makes the service. Its database has the tables of [Migrations] and of the journal; identity is
// whom the service asks order-service as about charges that nobody asks for.
func New(db *sqldb.DB, orders Orders, identity *auth.Identity, currency api.Currency, settings Settings,
	log *slog.Logger, now func() time.Time) (*Service, error) {
	if settings.ProviderTimeout <= 0 || settings.ProviderTimeout > time.Minute {
		return nil, fmt.Errorf("tienda.payment.provider-timeout is %v, want more than 0 and at most 1m", settings.ProviderTimeout)
	}
	if settings.UnclaimedAfter <= 0 {
		return nil, fmt.Errorf("tienda.payment.unclaimed-after is %v, want more than 0", settings.UnclaimedAfter)
	}
	s := &Service{db: db, orders: orders, identity: identity, currency: currency, settings: settings, providers: map[string]Provider{}, log: log, now: now}
	if settings.Sandbox.Enabled {
		secret := settings.Sandbox.WebhookSecret
		if secret == "" {
			secret = rand.Text()
		}
		s.sandbox = &sandbox{db: db, secret: []byte(secret), slow: settings.Sandbox.SlowAnswer, now: now, deliver: s.receive}
		s.providers[sandboxName] = s.sandbox
	}
	if settings.Stripe.Enabled {
		var err error
		if s.stripe, err = newStripe(settings.Stripe, currency, now); err != nil {
			return nil, err
		}
		s.providers[stripeName] = s.stripe
	}
	return s, nil
}

// Routes is the table of the service. It may be called on a nil Service, to read it.
func (s *Service) Routes() []web.Route {
	example := api.Payment{IsPayed: new(false), PaymentStatus: new(api.PaymentInProgress), Order: &api.Order{OrderID: 1}}
	authorization := api.Authorization{OrderID: 1, UserID: 1, Currency: "USD", PaymentMethod: api.PaymentMethod{Provider: sandboxName, Token: tokenOK}}
	part := api.PaymentAmount{Reason: "returned"}
	return []web.Route{
		{Method: http.MethodGet, Pattern: "/api/payments", Summary: "List payments", Access: web.Owner, Origin: true,
			Query: append([]string{"orderId?of this order", "orderIds?of these orders", "ids?these payments"}, web.PageQuery...),
			Out:   api.List[api.Payment]{}, Handler: s.listPayments},
		{Method: http.MethodGet, Pattern: "/api/payments/{paymentId}", Summary: "Read a payment", Access: web.Owner, Origin: true,
			Out: api.Payment{}, Handler: s.getPayment},
		{Method: http.MethodPost, Pattern: "/api/payments", Summary: "Create a payment that moves no money", Access: web.AdminOrService, Origin: true,
			In: example, Out: api.Payment{}, Status: http.StatusCreated, Handler: s.savePayment},
		{Method: http.MethodPut, Pattern: "/api/payments", Summary: "Update a payment that moves no money", Access: web.AdminOrService, Origin: true,
			In: example, Out: api.Payment{}, Handler: s.savePayment},
		{Method: http.MethodDelete, Pattern: "/api/payments/{paymentId}", Summary: "Delete a payment that moves no money", Access: web.AdminOrService, Origin: true,
			Out: true, Handler: s.deletePayment},

		{Method: http.MethodPost, Pattern: "/api/payments/authorize", Summary: "Set money aside for an order", Access: web.Service, Idempotent: true,
			In: authorization, Out: api.Payment{}, Status: http.StatusCreated, Handler: s.authorize},
		{Method: http.MethodPost, Pattern: "/api/payments/withdraw", Summary: "Learn of an authorization, or keep it from being made", Access: web.Service,
			In: api.Withdrawal{OrderID: 1, Key: "order-1-authorize"}, Out: api.Payment{}, Status: http.StatusCreated, Handler: s.withdraw},
		{Method: http.MethodPost, Pattern: "/api/payments/{paymentId}/capture", Summary: "Take money that was set aside", Access: web.AdminOrService, Idempotent: true,
			In: api.PaymentAmount{}, Out: api.Payment{}, Handler: s.capture},
		{Method: http.MethodPost, Pattern: "/api/payments/{paymentId}/void", Summary: "Give up money that was set aside", Access: web.AdminOrService, Idempotent: true,
			In: api.PaymentAmount{}, Out: api.Payment{}, Handler: s.void},
		{Method: http.MethodPost, Pattern: "/api/payments/{paymentId}/refund", Summary: "Give money back", Access: web.AdminOrService, Idempotent: true,
			In: part, Out: api.Payment{}, Handler: s.refund},
		{Method: http.MethodPost, Pattern: "/api/webhooks/{provider}", Summary: "Take an event of a payment provider", Access: web.Public,
			Out: map[string]bool{}, Handler: s.webhook},
		{Method: http.MethodGet, Pattern: "/api/ledger", Summary: "Read the postings of the money ledger, oldest first", Access: web.Admin,
			Query: []string{"orderId?of this order", "page?number of the page, from 0", "size?postings in a page, at most 1000"},
			Out:   []api.Posting{}, Handler: s.ledger},
		journal.EventsRoute(s.events),
	}
}

// open learns the name of these books, which goes to the provider with every charge. It has to have
// returned nil before s.books is read.
func (s *Service) open(ctx context.Context) error {
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.books != "" {
		return nil
	}
	var err error
	if s.books, err = booksName(ctx, s.db); err != nil {
		return fmt.Errorf("name of the books: %w", err)
	}
	return nil
}

func (s *Service) events(w http.ResponseWriter, r *http.Request) error {
	return journal.ServeEvents(w, r, s.db, s.now())
}

// How often the background looks for work, and how much it does at once.
const (
	sweepEvery  = time.Second
	sweepRows   = 100
	sweepAtOnce = 8
)

// Run brings movements without an outcome to one and events to their payment, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var forgetting sync.WaitGroup
	defer forgetting.Wait()
	if s.stripe != nil {
		defer s.stripe.connect.CloseIdleConnections()
	}
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

// sweep does what is due once, and returns when all of it ended.
func (s *Service) sweep(ctx context.Context) error {
	ctx = s.asItself(ctx)
	errLook := s.reclaim(ctx) // order-service may be away: no reason to leave the rest
	due, err := dueOperations(ctx, s.db, s.now(), sweepRows)
	if err != nil {
		return errors.Join(errLook, fmt.Errorf("look for operations without an outcome: %w", err))
	}
	var group sync.WaitGroup
	slots := make(chan struct{}, sweepAtOnce)
	for _, op := range due {
		if ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if _, err := s.resume(ctx, op.id); err != nil {
				s.log.WarnContext(ctx, "operation still has no outcome", "payment", op.paymentID, "kind", op.kind, "attempts", op.attempts, "err", err)
			}
		})
	}
	group.Wait()
	err = errors.Join(errLook, s.retryEvents(ctx))
	if s.sandbox != nil {
		err = errors.Join(err, s.sandbox.deliverDue(ctx))
	}
	return err
}

// Demo writes four plain payments, of the orders 1 to 4, into an empty database.
func Demo(ctx context.Context, db *sqldb.DB, now time.Time) error {
	rows := make([]record, 4)
	for i := range rows {
		id := api.ID(i + 1)
		rows[i] = record{id: id, orderID: id, userID: id, paid: sql.NullBool{Valid: true}, status: text(new(api.PaymentInProgress))}
	}
	if err := insertDemo(ctx, db, rows, now); err != nil {
		return fmt.Errorf("demo payments: %w", err)
	}
	return nil
}
