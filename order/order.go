// Package order is order-service: orders, carts, and the checkout that turns one into the other.
//
// Its tables are carts and cart_items; orders, order_lines and order_transitions (the history); sagas;
// and deleted_users, for whom nothing is written any more. A checkout writes the order and its saga in one transaction; from then on the saga is
// driven to an end by whichever replica holds its lease, whatever dies in between:
//
//	reserve stock → authorise → capture → commit stock → create shipment → CONFIRMED
//
// Every step is a call to a neighbour that is keyed by the order, so that it may be repeated. The steps up
// to the authorisation are one phase and those behind it another: the row of the saga names the phase
// before any of its steps is taken, and a driver that takes over begins with it. A step that is refused,
// or whose outcome stays unknown for too long, turns the saga back: what was done is undone in reverse,
// and the order ends CANCELLED with the reason. There is no broker: the table of sagas is the outbox.
//
// Orders and carts of the original system's API live in the same tables. Such an order is CREATED
// and has no saga; only such orders can be changed or deleted by their owner.
//
// It calls user-service (names and addresses), product-service (prices and stock), payment-service
// and shipping-service. Reads do without any of them.
package order

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations creates the tables of the service; those of the journal belong with them.
var Migrations = sqldb.Migrations{Name: "order", Files: files}

// Users is what is asked of user-service, on behalf of the caller.
type Users interface {
	Users(ctx context.Context, ids []api.ID) ([]api.User, error)
	Address(ctx context.Context, id api.ID) (api.Address, error)
}

// Products is what is asked of product-service: prices on behalf of the caller, stock as the service.
type Products interface {
	Products(ctx context.Context, ids []api.ID) ([]api.Product, error)
	Reserve(ctx context.Context, reservation api.NewReservation) (api.Reservation, error)
	CommitReservation(ctx context.Context, order api.ID) (api.Reservation, error)
	ReleaseReservation(ctx context.Context, order api.ID) (api.Reservation, error)
}

// Payments is what is asked of payment-service, as the service.
type Payments interface {
	Authorize(ctx context.Context, key string, authorization api.Authorization) (api.Payment, error)
	Capture(ctx context.Context, key string, payment api.ID) (api.Payment, error)
	Void(ctx context.Context, key string, payment api.ID) (api.Payment, error)
	Refund(ctx context.Context, key string, payment api.ID, reason string) (api.Payment, error)
	Withdraw(ctx context.Context, key string, order api.ID) (api.Payment, error)
}

// Shipping is what is asked of shipping-service: rates on behalf of the caller, the rest as the service.
type Shipping interface {
	Rates(ctx context.Context, request api.RateRequest) ([]api.Rate, error)
	CreateShipment(ctx context.Context, shipment api.NewShipment) (api.Shipment, error)
	CancelShipment(ctx context.Context, key string, shipment api.ID, note string) (api.Shipment, error)
}

// Events reads the feed of a neighbour's events, as the service.
type Events interface {
	Events(ctx context.Context, service string, after int64) ([]api.Event, error)
}

// Settings are the numbers an operator may want to change.
type Settings struct {
	// Wait is how long a checkout waits for its outcome before it answers 202.
	Wait time.Duration `koanf:"wait"`
	// SagaDeadline is how long a checkout may go on before it is turned back.
	SagaDeadline time.Duration `koanf:"saga-deadline"`
	// SagaWorkers is how many sagas this process drives at the same time.
	SagaWorkers int `koanf:"saga-workers"`
	// StepTimeout bounds each call of a saga to a neighbour.
	StepTimeout time.Duration `koanf:"step-timeout"`
	// TaxRate is tienda.tax.rate, a decimal such as "0.19"; it stands outside of tienda.order because
	// it is the shop's, not the service's.
	TaxRate string `koanf:"-"`
}

// DefaultSettings are those that the documentation names.
func DefaultSettings() Settings {
	return Settings{Wait: 2 * time.Second, SagaDeadline: 2 * time.Minute, SagaWorkers: 64, StepTimeout: 5 * time.Second, TaxRate: "0"}
}

// Deps is what a Service works with. One *api.Client is Users, Products, Payments, Shipping and Events.
type Deps struct {
	DB       *sqldb.DB
	Users    Users
	Products Products
	Payments Payments
	Shipping Shipping
	Events   Events
	Identity *auth.Identity
	Currency api.Currency
	Settings Settings
	Log      *slog.Logger
	Now      func() time.Time
	Metrics  prometheus.Registerer
}

// Service serves orders and carts. It is safe for concurrent use; sagas go on while [Service.Run] does.
type Service struct {
	db       *sqldb.DB
	users    Users
	products Products
	payments Payments
	shipping Shipping
	events   Events
	identity *auth.Identity
	currency api.Currency
	settings Settings
	tax      taxRate
	log      *slog.Logger
	now      func() time.Time

	stepsTotal *prometheus.CounterVec
	queue      chan api.ID   // orders whose saga is due now
	placed     chan *saga    // sagas that their checkout has claimed; there is room for each token of free
	free       chan struct{} // a token for each saga that workers can take from placed
	drafts     chan struct{} // one for each checkout that is being looked through
	ended      notifier
	totals     sqldb.Totals
}

// New makes the service; a setting that makes no sense is an error.
func New(deps Deps) (*Service, error) {
	tax, err := parseTaxRate(deps.Settings.TaxRate)
	if err != nil {
		return nil, fmt.Errorf("tienda.tax.rate: %w", err)
	}
	set := deps.Settings
	if set.Wait < 0 || set.Wait > maxWait || set.SagaDeadline <= 0 || set.SagaWorkers < 1 || set.StepTimeout <= 0 {
		return nil, fmt.Errorf("tienda.order: wait must be 0 to %s, saga-deadline, saga-workers and step-timeout more than 0", maxWait)
	}
	s := &Service{
		db: deps.DB, users: deps.Users, products: deps.Products, payments: deps.Payments, shipping: deps.Shipping,
		events: deps.Events, identity: deps.Identity, currency: deps.Currency, settings: set, tax: tax, log: deps.Log, now: deps.Now,
		stepsTotal: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "saga_steps_total", Help: "Steps of checkout sagas by how they came out.",
		}, []string{"step", "outcome"}),
		queue: make(chan api.ID, 1024), placed: make(chan *saga, set.SagaWorkers), free: make(chan struct{}, set.SagaWorkers),
		drafts: make(chan struct{}, maxDrafts),
	}
	if err := deps.Metrics.Register(s.stepsTotal); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return s, nil
}

// Routes is the table of the service. It can be read from a nil Service.
func (s *Service) Routes() []web.Route {
	orderSample := api.Order{OrderDesc: new("two laptops"), OrderFee: new(api.Currency{Digits: 2}.Amount(9999)), Cart: &api.Cart{CartID: 1}}
	cartSample := api.Cart{UserID: 1}
	checkoutSample := api.Checkout{
		ShippingAddress: &api.ShippingAddress{FullAddress: "carthage byrsa", PostalCode: "2016", City: "carthage", Country: "TN"},
		PaymentMethod:   api.PaymentMethod{Provider: "sandbox", Token: "tok_ok"},
	}
	orderQuery := append([]string{"userId?of one user", "status?in one status", "ids?those with these ids, separated by commas"}, web.PageQuery...)
	cartQuery := append([]string{"userId?of one user", "ids?those with these ids, separated by commas"}, web.PageQuery...)
	return []web.Route{
		{Method: "GET", Pattern: "/api/orders", Summary: "List orders", Access: web.Owner, Origin: true, Query: orderQuery, Out: api.List[api.Order]{}, Handler: s.listOrders},
		{Method: "GET", Pattern: "/api/orders/{orderId}", Summary: "Read an order with its lines and history", Access: web.Owner, Origin: true, Out: api.Order{}, Handler: s.getOrder},
		{Method: "POST", Pattern: "/api/orders", Summary: "Create a plain order, or change the one with the id given", Access: web.Owner, Origin: true, In: orderSample, Out: api.Order{}, Status: http.StatusCreated, Handler: s.postOrder},
		{Method: "PUT", Pattern: "/api/orders", Summary: "Change the plain order with the id given", Access: web.Owner, Origin: true, In: orderSample, Out: api.Order{}, Handler: s.putOrder},
		{Method: "PUT", Pattern: "/api/orders/{orderId}", Summary: "Change a plain order", Access: web.Owner, Origin: true, In: orderSample, Out: api.Order{}, Handler: s.putOrderByID},
		{Method: "DELETE", Pattern: "/api/orders/{orderId}", Summary: "Delete a plain order", Access: web.Owner, Origin: true, Out: true, Handler: s.deleteOrder},
		{Method: "POST", Pattern: "/api/orders/{orderId}/cancel", Summary: "Cancel an order that has not been shipped", Access: web.Owner, Idempotent: true, Waits: true, In: api.Cancellation{Reason: "changed my mind"}, Out: api.Order{}, Handler: s.cancel},
		{Method: "POST", Pattern: "/api/orders/{orderId}/shipment", Summary: "Move an order on after its shipment did", Access: web.Service, In: api.ShipmentChange{}, Out: api.Order{}, Handler: s.shipmentChanged},
		{Method: "GET", Pattern: "/api/orders/standings", Summary: "Tell how far orders are", Access: web.Service, Query: []string{"ids?of these orders, separated by commas"}, Out: api.List[api.OrderStanding]{}, Handler: s.standings},

		{Method: "GET", Pattern: "/api/carts", Summary: "List carts", Access: web.Owner, Origin: true, Query: cartQuery, Out: api.List[api.Cart]{}, Handler: s.listCarts},
		{Method: "GET", Pattern: "/api/carts/{cartId}", Summary: "Read a cart with its items at present prices", Access: web.Owner, Origin: true, Out: api.Cart{}, Handler: s.getCart},
		{Method: "POST", Pattern: "/api/carts", Summary: "Create a cart, or change the one with the id given", Access: web.Owner, Origin: true, In: cartSample, Out: api.Cart{}, Status: http.StatusCreated, Handler: s.postCart},
		{Method: "PUT", Pattern: "/api/carts", Summary: "Change the cart with the id given", Access: web.Owner, Origin: true, In: cartSample, Out: api.Cart{}, Handler: s.putCart},
		{Method: "PUT", Pattern: "/api/carts/{cartId}", Summary: "Change a cart", Access: web.Owner, Origin: true, In: cartSample, Out: api.Cart{}, Handler: s.putCartByID},
		{Method: "DELETE", Pattern: "/api/carts/{cartId}", Summary: "Delete a cart and its plain orders", Access: web.Owner, Origin: true, Out: true, Handler: s.deleteCart},
		{Method: "GET", Pattern: "/api/carts/mine", Summary: "Read the caller's open cart, made when there is none", Access: web.User, Out: api.Cart{}, Handler: s.myCart},
		{Method: "PUT", Pattern: "/api/carts/{cartId}/items/{productId}", Summary: "Put a product into a cart", Access: web.Owner, In: api.CartQuantity{Quantity: 2}, Out: api.Cart{}, Handler: s.putItem},
		{Method: "DELETE", Pattern: "/api/carts/{cartId}/items/{productId}", Summary: "Take a product out of a cart", Access: web.Owner, Status: http.StatusNoContent, Handler: s.deleteItem},
		{Method: "POST", Pattern: "/api/carts/{cartId}/checkout", Summary: "Turn a cart into an order and pay for it", Access: web.Owner, Idempotent: true, Waits: true, In: checkoutSample, Out: api.Order{}, Status: http.StatusCreated, Handler: s.checkout},
		journal.EventsRoute(s.serveEvents),
	}
}

func (s *Service) serveEvents(w http.ResponseWriter, r *http.Request) error {
	return journal.ServeEvents(w, r, s.db, s.now())
}

// Run drives sagas and follows the neighbours' events until ctx ends; then it lets the calls that are
// under way come back, writes down what they did, and returns nil. Sagas that are not at an end go on
// in the next process.
func (s *Service) Run(ctx context.Context) error {
	own := auth.WithCaller(ctx, auth.Caller{Service: s.identity.Name()})
	var running sync.WaitGroup
	for range s.settings.SagaWorkers {
		running.Go(func() { s.work(own) })
	}
	running.Go(func() { s.poll(own) })
	running.Go(func() { s.follow(own, "user-service", isUserGone, s.applyUserEvent) })
	running.Go(func() { s.follow(own, "payment-service", isMoneyBack, s.applyPaymentEvent) })
	running.Go(func() { journal.Forget(own, s.db, s.now, s.log) })
	running.Wait()
	return nil
}

// followEvery is how often the neighbours' events are looked at.
const followEvery = 5 * time.Second

func (s *Service) follow(ctx context.Context, service string, wants func(api.Event) bool, apply func(context.Context, *sqldb.Tx, api.Event) error) {
	feed := journal.Feed{Name: service, Every: followEvery, Wants: wants, Apply: apply, Read: func(ctx context.Context, after int64) ([]api.Event, error) {
		ctx, cancel := context.WithTimeout(ctx, s.settings.StepTimeout)
		defer cancel()
		ctx, err := s.identity.Context(ctx)
		if err != nil {
			return nil, err
		}
		return s.events.Events(ctx, service, after)
	}}
	if err := journal.Follow(ctx, s.db, feed, s.log); err != nil {
		s.log.ErrorContext(ctx, "following events ended", "feed", service, "err", err)
	}
}

func isUserGone(event api.Event) bool { return event.Kind == "user" && event.Change == "DELETED" }

// applyUserEvent empties and closes the carts of a user who is gone, for whom there will be no others. Orders
// stay for their retention.
func (s *Service) applyUserEvent(ctx context.Context, tx *sqldb.Tx, event api.Event) error {
	if err := rememberDeleted(ctx, tx, event.Subject, s.now()); err != nil {
		return err
	}
	return retireCarts(ctx, tx, event.Subject, s.now())
}

func isMoneyBack(event api.Event) bool {
	switch event.Change {
	case api.PaymentPartiallyRefunded, api.PaymentRefunded, api.PaymentVoided:
		return event.Kind == "payment"
	}
	return false
}

// applyPaymentEvent keeps the state of the payment on its order, for what people do to payments by hand.
func (s *Service) applyPaymentEvent(ctx context.Context, tx *sqldb.Tx, event api.Event) error {
	return setPaymentState(ctx, tx, event.Subject, event.Change)
}

// readTimeout bounds a neighbour's part in an answer that can do without it.
const readTimeout = 2 * time.Second

// neighbour turns the error of a neighbour that a write needs into what the caller is told.
func neighbour(service string, err error) error {
	p, ok := errors.AsType[*api.Problem](err)
	if !ok || p.Status >= 500 || p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden {
		return fmt.Errorf("%w: %w", api.Unavailable(service), err)
	}
	return p
}
