package order

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"tienda/api"
	"tienda/auth"
	"tienda/sqldb"
	"tienda/web"
)

// Bounds of a cart.
const (
	maxQuantity = 999
	maxItems    = 200
)

// present asks product-service, once, for those products of the items that are for sale now.
func (s *Service) present(ctx context.Context, items []item) (map[api.ID]api.Product, error) {
	ids := make([]api.ID, len(items))
	for i := range items {
		ids[i] = items[i].productID
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	products, err := s.products.Products(ctx, ids)
	if err != nil {
		return nil, err
	}
	byID := map[api.ID]api.Product{}
	for _, p := range products {
		if p.Published == nil || *p.Published {
			byID[p.ProductID] = p
		}
	}
	return byID, nil
}

// price is what the product costs now, in minor units. A product without a usable price is not for sale.
func (s *Service) price(p api.Product) (minor int64, ok bool) {
	if p.PriceUnit == nil || (p.Currency != "" && p.Currency != s.currency.Code) {
		return 0, false
	}
	minor, err := s.currency.Minor(*p.PriceUnit)
	return minor, err == nil && minor >= 0
}

// atPresent returns the items at present titles and prices. What is no longer for sale stays as it was
// last seen; the checkout refuses it.
func (s *Service) atPresent(items []item, products map[api.ID]api.Product) []item {
	items = slices.Clone(items)
	for i := range items {
		p, ok := products[items[i].productID]
		if !ok {
			continue
		}
		if price, ok := s.price(p); ok {
			items[i].seenPrice, items[i].title = price, title(p)
		}
	}
	return items
}

func title(p api.Product) string {
	if p.ProductTitle == nil {
		return ""
	}
	return clip(*p.ProductTitle)
}

// clip cuts a neighbour's text to what a column holds.
func clip(text string) string {
	if runes := []rune(text); len(runes) > 255 {
		return string(runes[:255])
	}
	return text
}

// show returns the items at present prices and, when the caller is the owner of the cart, keeps what
// they are shown: the checkout compares with it.
func (s *Service) show(ctx context.Context, c cart, items []item, products map[api.ID]api.Product) ([]item, error) {
	shown := s.atPresent(items, products)
	if auth.CallerOf(ctx).UserID != c.userID || slices.Equal(shown, items) {
		return shown, nil
	}
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		for i := range shown {
			if shown[i] == items[i] {
				continue
			}
			if err := writeSeen(ctx, tx, c.id, shown[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return shown, err
}

// notOpen is the answer for a cart whose items can no longer be changed or checked out.
func notOpen(c cart) error {
	p := api.Conflict("cart %d is closed", c.id)
	if c.state == api.CartCheckingOut {
		p = api.Conflict("cart %d is in checkout", c.id)
	}
	p.OrderID = c.orderID
	return p
}

func (s *Service) putItem(w http.ResponseWriter, r *http.Request) error {
	c, product, err := s.cartAndProduct(r)
	if err != nil {
		return err
	}
	in, err := web.Read[api.CartQuantity](w, r)
	if err != nil {
		return err
	}
	if in.Quantity < 1 || in.Quantity > maxQuantity {
		return api.Invalid(api.FieldError{Field: "quantity", Reason: fmt.Sprintf("must be 1 to %d", maxQuantity)})
	}
	ctx := r.Context()
	items, err := itemsOf(ctx, s.db, c.id)
	if err != nil {
		return fmt.Errorf("items of cart %d: %w", c.id, err)
	}
	put := item{productID: product, quantity: in.Quantity}
	if !slices.ContainsFunc(items, func(i item) bool { return i.productID == product }) {
		items = append(items, put)
	}
	if len(items) > maxItems {
		return api.Invalid(api.FieldError{Field: "productId", ProductID: product, Reason: fmt.Sprintf("is one too many: a cart holds at most %d products", maxItems)})
	}
	products, err := s.present(ctx, items)
	if err != nil {
		return neighbour("product-service", err)
	}
	price, ok := s.price(products[product])
	if !ok {
		return notForSale(product)
	}
	put.title, put.seenPrice = title(products[product]), price
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		open, err := touchOpen(ctx, tx, c, s.now())
		if err != nil {
			return err
		}
		if !open {
			return s.whyNotOpen(ctx, tx, c.id)
		}
		return writeItem(ctx, tx, c.id, put, s.currency.Code)
	})
	if err != nil {
		return err
	}
	if items, err = itemsOf(ctx, s.db, c.id); err != nil {
		return fmt.Errorf("items of cart %d: %w", c.id, err)
	}
	if items, err = s.show(ctx, c, items, products); err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, s.cartView(c, items))
}

// notForSale is the answer for a product that does not exist, is hidden or has no price.
func notForSale(product api.ID) error {
	return api.Invalid(api.FieldError{Field: "productId", ProductID: product, Reason: fmt.Sprintf("%d is not for sale", product)})
}

// cartAndProduct reads the cart in the path, which must be open, and the product in the path.
func (s *Service) cartAndProduct(r *http.Request) (cart, api.ID, error) {
	id, err := web.PathID(r, "cartId")
	if err != nil {
		return cart{}, 0, err
	}
	product, err := web.PathID(r, "productId")
	if err != nil {
		return cart{}, 0, err
	}
	c, err := cartByID(r.Context(), s.db, auth.CallerOf(r.Context()), id)
	if err == nil && c.state != api.CartOpen {
		err = notOpen(c)
	}
	return c, product, err
}

// whyNotOpen is the answer for a cart that was open a moment ago.
func (s *Service) whyNotOpen(ctx context.Context, q sqldb.Querier, id api.ID) error {
	c, err := cartByID(ctx, q, auth.CallerOf(ctx), id)
	if err != nil {
		return err
	}
	if c.state == api.CartOpen {
		return api.Conflict("cart %d changed meanwhile; read it and try again", id)
	}
	return notOpen(c)
}

func (s *Service) deleteItem(w http.ResponseWriter, r *http.Request) error {
	c, product, err := s.cartAndProduct(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		open, err := touchOpen(ctx, tx, c, s.now())
		if err != nil {
			return err
		}
		if !open {
			return s.whyNotOpen(ctx, tx, c.id)
		}
		_, err = tx.Exec(ctx, `DELETE FROM cart_items WHERE cart_id = ? AND product_id = ?`, int64(c.id), int64(product))
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
