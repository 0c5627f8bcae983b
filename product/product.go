// Package product is product-service: the catalogue with its tree of categories and its search, the
// stock of every product, and the reservations that orders take stock with.
//
// It promises that stock is never sold twice. What is available is on hand less reserved; both are
// columns of the product that only change by conditional updates, the database itself refuses a
// negative one, every change of what is on hand is a line in an append-only ledger, and a reservation
// moves between its states once, whoever asks how often. Products and categories are hidden, never
// deleted: orders and the ledger still refer to them.
//
// The tables are categories, category_tree (a row to lock the tree by), products, product_terms (the words
// that search finds), stock_movements, reservations and reservation_items. The service calls nobody.
package product

import (
	"context"
	"embed"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"tienda/api"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations creates the tables of the service; they go together with those of the journal.
var Migrations = sqldb.Migrations{Name: "product", Files: files}

// Settings are those under tienda.product.
type Settings struct {
	// ReservationLife is how long stock is held for an order that does not commit.
	ReservationLife time.Duration `koanf:"reservation-life"`
}

// DefaultSettings are the settings where nothing else is said.
func DefaultSettings() Settings { return Settings{ReservationLife: 15 * time.Minute} }

// Service serves the routes of product-service. It is safe for concurrent use, and any number of
// replicas may share a database.
type Service struct {
	db       *sqldb.DB
	currency api.Currency
	settings Settings
	log      *slog.Logger
	now      func() time.Time
	totals   *totals
	common   sqldb.Totals // words that more than few products have
	few      int          // see [few]
}

// New makes the service on a database that holds its [Migrations] and those of the journal. All prices
// are in currency.
func New(db *sqldb.DB, currency api.Currency, settings Settings, log *slog.Logger, now func() time.Time) *Service {
	return &Service{db: db, currency: currency, settings: settings, log: log, now: now, totals: newTotals(), few: few}
}

// contextPath is what the links in answers begin with.
const contextPath = "/product-service"

// Routes is the table of the service. It can be read without a service: s may be nil.
func (s *Service) Routes() []web.Route {
	product := api.Product{ProductTitle: new("ThinkPad X1 Carbon"), SKU: new("LEN-X1C"), PriceUnit: new(sampleAmount("1499.00")),
		Quantity: new(api.Int(10)), Category: &api.Category{CategoryID: 1}}
	category := api.Category{CategoryTitle: new("Laptops"), Parent: &api.Category{CategoryID: 1}}
	reservation := api.NewReservation{OrderID: 1, Items: []api.ItemQuantity{{ProductID: 1, Quantity: 2}}}
	productQuery := append([]string{"q?words of the title or the SKU, in any order; the last may be the beginning of one",
		"categoryId?this category and those below it", "minPrice", "maxPrice", "inStock?true: only what is available",
		"ids?comma list of ids: those of them that are on sale"}, web.PageQuery...)

	return []web.Route{
		{Method: http.MethodGet, Pattern: "/api/products", Summary: "List and search products", Access: web.Public, Origin: true,
			Query: productQuery, Out: api.List[api.Product]{}, Handler: s.listProducts},
		{Method: http.MethodGet, Pattern: "/api/products/{productId}", Summary: "Read a product", Access: web.Public, Origin: true,
			Out: api.Product{}, Handler: s.getProduct},
		{Method: http.MethodPost, Pattern: "/api/products", Summary: "Create a product", Access: web.Admin, Origin: true,
			In: product, Out: api.Product{}, Status: http.StatusCreated, Handler: s.saveProduct},
		{Method: http.MethodPut, Pattern: "/api/products", Summary: "Update the product that the body names", Access: web.Admin, Origin: true,
			In: product, Out: api.Product{}, Handler: s.saveProduct},
		{Method: http.MethodPut, Pattern: "/api/products/{productId}", Summary: "Update a product", Access: web.Admin, Origin: true,
			In: product, Out: api.Product{}, Handler: s.updateProduct},
		{Method: http.MethodDelete, Pattern: "/api/products/{productId}", Summary: "Take a product out of the catalogue", Access: web.Admin, Origin: true,
			Out: true, Handler: s.deleteProduct},
		{Method: http.MethodGet, Pattern: "/api/products/{productId}/image.svg", Summary: "Draw a picture of a product", Access: web.Public,
			Handler: s.productImage},

		{Method: http.MethodGet, Pattern: "/api/categories", Summary: "List categories", Access: web.Public, Origin: true,
			Query: append([]string{"ids?comma list of ids"}, web.PageQuery...), Out: api.List[api.Category]{}, Handler: s.listCategories},
		{Method: http.MethodGet, Pattern: "/api/categories/{categoryId}", Summary: "Read a category", Access: web.Public, Origin: true,
			Out: api.Category{}, Handler: s.getCategory},
		{Method: http.MethodPost, Pattern: "/api/categories", Summary: "Create a category", Access: web.Admin, Origin: true,
			In: category, Out: api.Category{}, Status: http.StatusCreated, Handler: s.saveCategory},
		{Method: http.MethodPut, Pattern: "/api/categories", Summary: "Update the category that the body names", Access: web.Admin, Origin: true,
			In: category, Out: api.Category{}, Handler: s.saveCategory},
		{Method: http.MethodPut, Pattern: "/api/categories/{categoryId}", Summary: "Update a category", Access: web.Admin, Origin: true,
			In: api.Category{CategoryTitle: new("Computers")}, Out: api.Category{}, Handler: s.updateCategory},
		{Method: http.MethodDelete, Pattern: "/api/categories/{categoryId}", Summary: "Hide a category with all below it", Access: web.Admin, Origin: true,
			Out: true, Handler: s.deleteCategory},

		{Method: http.MethodGet, Pattern: "/api/products/{productId}/stock", Summary: "Read the stock of a product", Access: web.Public,
			Out: api.Stock{}, Handler: s.getStock},
		{Method: http.MethodGet, Pattern: "/api/products/{productId}/stock-movements", Summary: "List the stock movements of a product, newest first",
			Access: web.Admin, Query: web.PageQuery, Out: api.List[api.StockMovement]{}, Handler: s.listMovements},
		{Method: http.MethodPost, Pattern: "/api/products/{productId}/stock-movements", Summary: "Receive, adjust or write off stock",
			Access: web.Admin, Idempotent: true, In: api.NewStockMovement{Quantity: 5, Reason: api.MovementReceived},
			Out: api.StockMovement{}, Status: http.StatusCreated, Handler: s.createMovement},

		{Method: http.MethodPost, Pattern: "/api/reservations", Summary: "Hold stock for an order", Access: web.Service,
			In: reservation, Out: api.Reservation{}, Status: http.StatusCreated, Handler: s.reserve},
		{Method: http.MethodPost, Pattern: "/api/reservations/{orderId}/commit", Summary: "Turn reserved stock into sold stock", Access: web.Service,
			Out: api.Reservation{}, Handler: s.commit},
		{Method: http.MethodPost, Pattern: "/api/reservations/{orderId}/release", Summary: "Give the stock of an order back", Access: web.Service,
			Out: api.Reservation{}, Handler: s.release},

		journal.EventsRoute(s.events),
	}
}

func (s *Service) events(w http.ResponseWriter, r *http.Request) error {
	return journal.ServeEvents(w, r, s.db, s.now())
}

// sampleAmount is an amount for the documentation.
func sampleAmount(text string) api.Amount {
	amount, _ := api.ParseAmount(text) // a constant of ours; the zero amount would do as well
	return amount
}

// How often reservations are expired, and how long that may take.
const (
	expireEvery  = 5 * time.Second
	expireAtMost = time.Minute
)

// Run expires reservations, finds out what searches of common words bring and forgets old idempotency
// keys until ctx ends, which is no error. What fails is logged and tried again at the next turn.
func (s *Service) Run(ctx context.Context) error {
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { journal.Forget(ctx, s.db, s.now, s.log) })
	background.Go(func() { s.count(ctx) })
	ticker := time.NewTicker(expireEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.expire(ctx)
		}
	}
}

func (s *Service) expire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, expireAtMost)
	defer cancel()
	if err := s.expireReservations(ctx); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "cannot expire reservations, trying again", "err", err)
	}
}
