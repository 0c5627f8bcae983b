package product

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

func (s *Service) getStock(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "productId")
	if err != nil {
		return err
	}
	stock := api.Stock{ProductID: id}
	err = s.db.QueryRow(r.Context(), `SELECT p.on_hand, p.reserved FROM products p WHERE p.product_id = ? AND `+visibleTo(r.Context()), id).
		Scan(&stock.OnHand, &stock.Reserved)
	if errors.Is(err, sqldb.ErrNotFound) {
		return noProduct(id)
	}
	if err != nil {
		return fmt.Errorf("stock of product %d: %w", id, err)
	}
	stock.Available = stock.OnHand - stock.Reserved
	return web.JSON(w, http.StatusOK, stock)
}

func (s *Service) listMovements(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	id, err := web.PathID(r, "productId")
	if err != nil {
		return err
	}
	page, err := web.ReadPage(r, "movement_id", map[string]string{"movementId": "movement_id"})
	if err != nil {
		return err
	}
	page = page.Newest(r)
	// A product that is hidden keeps its ledger.
	if err := s.db.QueryRow(ctx, `SELECT product_id FROM products WHERE product_id = ?`, id).Scan(new(api.ID)); err != nil {
		if errors.Is(err, sqldb.ErrNotFound) {
			return noProduct(id)
		}
		return fmt.Errorf("read product %d: %w", id, err)
	}
	const where = ` FROM stock_movements WHERE product_id = ?`
	behind, behindArgs := page.Condition()
	movements, err := sqldb.All(ctx, s.db, scanMovement, "SELECT "+movementColumns+where+behind+page.Tail(), append([]any{id}, behindArgs...)...)
	if err != nil {
		return fmt.Errorf("stock movements of product %d: %w", id, err)
	}
	total, err := countAll(ctx, s.db, page, len(movements), "SELECT movement_id"+where, []any{id})
	if err != nil {
		return fmt.Errorf("count stock movements of product %d: %w", id, err)
	}
	return web.JSON(w, http.StatusOK, web.Rows(page, movements, total, func(m api.StockMovement) api.ID { return m.MovementID }))
}

const movementColumns = `movement_id, product_id, quantity, reason, note, order_id, balance, actor, created_at`

func scanMovement(scan func(...any) error) (api.StockMovement, error) {
	var (
		movement api.StockMovement
		order    *api.ID
		at       sqldb.Instant
	)
	err := scan(&movement.MovementID, &movement.ProductID, &movement.Quantity, &movement.Reason, &movement.Note, &order,
		&movement.Balance, &movement.Actor, &at)
	if order != nil {
		movement.OrderID = *order
	}
	movement.At = time.Time(at)
	return movement, err
}

func (s *Service) createMovement(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "productId")
	if err != nil {
		return err
	}
	body, err := web.ReadBody(w, r)
	if err != nil {
		return err
	}
	sent, err := web.Decode[api.NewStockMovement](bytes.TrimSpace(body), false)
	if err != nil {
		return err
	}
	if err := sent.Validate(); err != nil {
		return err
	}
	ctx := r.Context()
	return journal.Once(w, r, s.db, body, s.now(), func(tx *sqldb.Tx) (journal.Answer, error) {
		err := touchProduct(ctx, tx, id, s.now())
		if errors.Is(err, sqldb.ErrNotFound) {
			return journal.Answer{}, noProduct(id)
		}
		if err != nil {
			return journal.Answer{}, err
		}
		movement, err := s.move(ctx, tx, api.StockMovement{ProductID: id, Quantity: sent.Quantity, Reason: sent.Reason, Note: sent.Note})
		return journal.Answer{Status: http.StatusCreated, Body: movement}, err
	})
}

// move changes what is on hand of a product by a movement that people entered. Stock that is reserved
// cannot go: short of stock it is a 409.
func (s *Service) move(ctx context.Context, tx *sqldb.Tx, movement api.StockMovement) (api.StockMovement, error) {
	n, err := tx.Exec(ctx, `UPDATE products SET on_hand = on_hand + ? WHERE product_id = ? AND on_hand - reserved + ? >= 0`,
		movement.Quantity, movement.ProductID, movement.Quantity)
	if err != nil {
		return movement, fmt.Errorf("move stock of product %d: %w", movement.ProductID, err)
	}
	if n == 0 {
		short, err := shortOf(ctx, tx, api.ItemQuantity{ProductID: movement.ProductID, Quantity: -movement.Quantity})
		if err != nil {
			return movement, err
		}
		return movement, outOfStock(short)
	}
	if err := s.record(ctx, tx, &movement); err != nil {
		return movement, err
	}
	err = tx.QueryRow(ctx, `SELECT movement_id, balance FROM stock_movements WHERE product_id = ? ORDER BY movement_id DESC LIMIT 1`, movement.ProductID).
		Scan(&movement.MovementID, &movement.Balance)
	if err != nil {
		return movement, fmt.Errorf("balance of product %d: %w", movement.ProductID, err)
	}
	return movement, journal.Append(ctx, tx, "stock", movement.ProductID, movement.Reason, movement, movement.At)
}

// record writes a line of the ledger in the transaction that changed what is on hand; the row of the
// product is locked since, so lines and balances stand in the same order.
func (s *Service) record(ctx context.Context, tx *sqldb.Tx, movement *api.StockMovement) error {
	movement.Actor, movement.At = auth.CallerOf(ctx).String(), s.now().UTC().Truncate(time.Microsecond)
	var order any
	if movement.OrderID != 0 {
		order = movement.OrderID
	}
	err := tx.Later(ctx, `INSERT INTO stock_movements (product_id, quantity, reason, note, order_id, balance, actor, created_at)
		SELECT product_id, ?, ?, ?, ?, on_hand, ?, ? FROM products WHERE product_id = ?`,
		movement.Quantity, movement.Reason, movement.Note, order, movement.Actor, sqldb.Instant(movement.At), movement.ProductID)
	if err != nil {
		return fmt.Errorf("record stock movement of product %d: %w", movement.ProductID, err)
	}
	return nil
}

// shortOf tells of a product of which less is available than was asked for.
func shortOf(ctx context.Context, tx *sqldb.Tx, item api.ItemQuantity) (api.FieldError, error) {
	var available int64
	err := tx.QueryRow(ctx, `SELECT on_hand - reserved FROM products WHERE product_id = ? AND deleted_at IS NULL`, item.ProductID).Scan(&available)
	if err != nil && !errors.Is(err, sqldb.ErrNotFound) {
		return api.FieldError{}, fmt.Errorf("stock of product %d: %w", item.ProductID, err)
	}
	return api.FieldError{ProductID: item.ProductID, Reason: "OUT_OF_STOCK", Requested: &item.Quantity, Available: &available}, nil
}

// outOfStock is the 409 that names every short product. One that does not exist, or no longer, has
// nothing available.
func outOfStock(short ...api.FieldError) error {
	texts := make([]string, len(short))
	for i, e := range short {
		texts[i] = fmt.Sprintf("product %d: %d requested, %d available", e.ProductID, *e.Requested, *e.Available)
	}
	problem := api.Conflict("out of stock: %s", strings.Join(texts, "; "))
	problem.Errors = short
	return problem
}
