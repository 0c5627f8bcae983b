package product

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

// productSort are the fields that products can be sorted by.
var productSort = map[string]string{
	"productId": "p.product_id", "productTitle": "p.title", "priceUnit": "p.price",
	"quantity": "(p.on_hand - p.reserved)", "createdAt": "p.created_at",
}

func noProduct(id api.ID) error { return api.NotFound("Product with id: %d not found", id) }

// visibleTo is the condition of the products that the caller may read.
func visibleTo(ctx context.Context) string {
	if auth.CallerOf(ctx).Admin() {
		return notDeleted
	}
	return onSale
}

func (s *Service) listProducts(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	page, err := web.ReadPage(r, "p.product_id", productSort)
	if err != nil {
		return err
	}
	wanted, err := s.readFilter(r)
	if err != nil {
		return err
	}
	found, err := s.find(ctx, page, wanted)
	if err != nil {
		return err
	}
	list := web.Rows(page, found.products, found.total, func(p api.Product) api.ID { return p.ProductID })
	list.Page.LowerBound = list.Page.LowerBound || !found.exact
	return web.JSON(w, http.StatusOK, list)
}

// countAll counts the rows of a list. A page that is not full tells its total without a count.
func countAll(ctx context.Context, db *sqldb.DB, page web.PageRequest, got int, query string, args []any) (int64, error) {
	if behind, _ := page.Condition(); behind == "" && got < page.Size && (got > 0 || page.Number == 0) {
		return int64(page.Number*page.Size + got), nil
	}
	return sqldb.Count(ctx, db, web.ExactTotal, query, args...)
}

func (s *Service) getProduct(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "productId")
	if err != nil {
		return err
	}
	product, err := s.productByID(r.Context(), s.db, id, visibleTo(r.Context()))
	if errors.Is(err, sqldb.ErrNotFound) {
		return noProduct(id)
	}
	if err != nil {
		return err
	}
	web.SetETag(w, product.Version)
	return web.JSON(w, http.StatusOK, product)
}

// saveProduct updates the product that the body names, or creates one where there is none.
func (s *Service) saveProduct(w http.ResponseWriter, r *http.Request) error {
	sent, err := web.Read[api.Product](w, r)
	if err != nil {
		return err
	}
	return s.putProduct(w, r, sent, true)
}

func (s *Service) updateProduct(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "productId")
	if err != nil {
		return err
	}
	sent, err := web.Read[api.Product](w, r)
	if err != nil {
		return err
	}
	sent.ProductID = id
	return s.putProduct(w, r, sent, false)
}

func (s *Service) putProduct(w http.ResponseWriter, r *http.Request, sent api.Product, mayCreate bool) error {
	if err := sent.Validate(s.currency); err != nil {
		return err
	}
	ctx := r.Context()
	var saved api.Product
	var status int
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		status = http.StatusOK
		// The category first: deleting one locks categories before products as well.
		if sent.Category != nil && sent.Category.CategoryID != 0 {
			if err := lockCategory(ctx, tx, sent.Category.CategoryID, "category.categoryId"); err != nil {
				return err
			}
		}
		var err error
		saved, err = s.changeProduct(ctx, tx, r, sent)
		if !errors.Is(err, sqldb.ErrNotFound) {
			return err
		}
		if !mayCreate {
			return noProduct(sent.ProductID)
		}
		if _, conditional := web.IfMatch(r); conditional {
			return api.Status(http.StatusPreconditionFailed, "there is no product %d whose version could match", sent.ProductID)
		}
		saved, err = s.createProduct(ctx, tx, sent)
		status = http.StatusCreated
		return err
	})
	if err != nil {
		return err
	}
	web.SetETag(w, saved.Version)
	if status == http.StatusCreated {
		w.Header().Set("Location", contextPath+"/api/products/"+saved.ProductID.String())
	}
	return web.JSON(w, status, saved)
}

func (s *Service) createProduct(ctx context.Context, tx *sqldb.Tx, sent api.Product) (api.Product, error) {
	now := s.now()
	id, err := s.insertProduct(ctx, tx, sent, now)
	if err != nil {
		return sent, err
	}
	sent.ProductID = id
	if err := indexProduct(ctx, tx, sent); err != nil {
		return sent, err
	}
	if sent.Quantity != nil && *sent.Quantity > 0 {
		received := api.StockMovement{ProductID: id, Quantity: int64(*sent.Quantity), Reason: api.MovementReceived}
		if _, err := s.move(ctx, tx, received); err != nil {
			return sent, err
		}
	}
	saved, err := s.productByID(ctx, tx, id, notDeleted)
	if err != nil {
		return saved, err
	}
	return saved, journal.Append(ctx, tx, "product", id, "CREATED", saved, now)
}

// changeProduct applies what was sent to a product; without a row it is [sqldb.ErrNotFound].
func (s *Service) changeProduct(ctx context.Context, tx *sqldb.Tx, r *http.Request, sent api.Product) (api.Product, error) {
	id, now := sent.ProductID, s.now()
	if err := touchProduct(ctx, tx, id, now); err != nil {
		return sent, err
	}
	product, err := s.productByID(ctx, tx, id, notDeleted)
	if err != nil {
		return product, err
	}
	if err := checkMatch(r, product); err != nil {
		return product, err
	}
	available := *product.Quantity
	merge(&product, sent)
	if err := s.writeProduct(ctx, tx, product); err != nil {
		return product, err
	}
	if sent.ProductTitle != nil || sent.SKU != nil {
		if err := indexProduct(ctx, tx, product); err != nil {
			return product, err
		}
	}
	if sent.Quantity != nil && *sent.Quantity != available {
		adjusted := api.StockMovement{ProductID: id, Quantity: int64(*sent.Quantity - available), Reason: api.MovementAdjusted}
		if _, err := s.move(ctx, tx, adjusted); err != nil {
			return product, err
		}
	}
	saved, err := s.productByID(ctx, tx, id, notDeleted)
	if err != nil {
		return saved, err
	}
	return saved, journal.Append(ctx, tx, "product", id, "UPDATED", saved, now)
}

// checkMatch refuses a conditional write on another version than the one that was touched.
func checkMatch(r *http.Request, touched api.Product) error {
	before := touched.Version - 1
	if version, conditional := web.IfMatch(r); conditional && version != before {
		return web.Stale(before)
	}
	return nil
}

// merge applies the fields that were sent; absent ones leave the stored value as it is. A category
// that is there without an id takes the product out of its category.
func merge(product *api.Product, sent api.Product) {
	set(&product.ProductTitle, sent.ProductTitle)
	set(&product.ImageURL, sent.ImageURL)
	set(&product.SKU, sent.SKU)
	set(&product.Description, sent.Description)
	set(&product.PriceUnit, sent.PriceUnit)
	set(&product.Published, sent.Published)
	set(&product.Category, sent.Category)
}

func set[T any](stored **T, sent *T) {
	if sent != nil {
		*stored = sent
	}
}

func (s *Service) deleteProduct(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "productId")
	if err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		if err := touchProduct(ctx, tx, id, now); err != nil {
			return err
		}
		product, err := s.productByID(ctx, tx, id, notDeleted)
		if err != nil {
			return err
		}
		if err := checkMatch(r, product); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE products SET deleted_at = ? WHERE product_id = ?`, sqldb.Instant(now), id); err != nil {
			return fmt.Errorf("hide product %d: %w", id, err)
		}
		return journal.Append(ctx, tx, "product", id, "DELETED", nil, now)
	})
	if errors.Is(err, sqldb.ErrNotFound) {
		return noProduct(id)
	}
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, true)
}

// anyOf is the condition that a column holds one of n values; of none it never does.
func anyOf(column string, n int) string {
	if n == 0 {
		return "1 = 0"
	}
	return column + " IN (" + sqldb.In(n) + ")"
}

func (s *Service) queryPrice(name, text string) (int64, error) {
	amount, err := api.ParseAmount(strings.TrimSpace(text))
	if err != nil {
		return 0, api.BadRequest("parameter %s: not an amount of money", name)
	}
	minor, err := s.currency.Minor(amount)
	if err != nil {
		return 0, api.Invalid(api.FieldError{Field: name, Reason: err.Error()})
	}
	return minor, nil
}
