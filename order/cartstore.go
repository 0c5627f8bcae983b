package order

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
)

// cart is a row of the table carts. orderID is the order of the checkout that is under way or done.
type cart struct {
	id, userID api.ID
	state      string
	orderID    api.ID
	retired    bool
	version    int64
}

const cartColumns = `cart_id, user_id, state, order_id, retired, version`

func scanCart(scan func(...any) error) (cart, error) {
	var c cart
	err := scan(&c.id, &c.userID, &c.state, &c.orderID, &c.retired, &c.version)
	return c, err
}

// noCart is the answer for a cart that does not exist or is somebody else's.
func noCart(id api.ID) error { return api.NotFound("Cart with id: %d not found", id) }

// cartByID reads a cart that the caller may see.
func cartByID(ctx context.Context, q sqldb.Querier, caller auth.Caller, id api.ID) (cart, error) {
	return readCart(ctx, q.QueryRow, caller, id)
}

func readCart(ctx context.Context, read rowReader, caller auth.Caller, id api.ID) (cart, error) {
	var row sqldb.Row
	if caller.SeesAll() {
		row = read(ctx, `SELECT `+cartColumns+` FROM carts WHERE cart_id = ?`, int64(id))
	} else {
		row = read(ctx, `SELECT `+cartColumns+` FROM carts WHERE cart_id = ? AND user_id = ?`, int64(id), int64(caller.UserID))
	}
	c, err := scanCart(row.Scan)
	if errors.Is(err, sqldb.ErrNotFound) {
		return c, noCart(id)
	}
	if err != nil {
		return c, fmt.Errorf("read cart %d: %w", id, err)
	}
	return c, nil
}

// lockCart keeps everybody else from changing the cart until the transaction ends, and reads it.
func lockCart(ctx context.Context, tx *sqldb.Tx, caller auth.Caller, id api.ID) (cart, error) {
	return readCart(ctx, tx.LockRow, caller, id)
}

// insertCart writes a new, open cart; mine makes it the one of carts/mine, of which a user has one:
// a second is sqldb.ErrConflict. A deleted user gets none.
func insertCart(ctx context.Context, tx *sqldb.Tx, user api.ID, mine bool, now time.Time) (cart, error) {
	var key *int64
	if mine {
		key = new(int64(user))
	}
	id, err := tx.Insert(ctx, `INSERT INTO carts (user_id, state, open_key, order_id, retired, version, created_at, updated_at) VALUES (?, ?, ?, 0, ?, 1, ?, ?)`,
		int64(user), api.CartOpen, key, false, sqldb.Instant(now), sqldb.Instant(now))
	if err != nil {
		return cart{}, fmt.Errorf("insert cart: %w", err)
	}
	if err := refuseDeleted(ctx, tx, user); err != nil {
		return cart{}, err
	}
	c := cart{id: api.ID(id), userID: user, state: api.CartOpen, version: 1}
	return c, cartEvent(ctx, tx, c, "CREATED", now)
}

func cartEvent(ctx context.Context, tx *sqldb.Tx, c cart, change string, now time.Time) error {
	return journal.Append(ctx, tx, "cart", c.id, change, map[string]any{"userId": int64(c.userID)}, now)
}

func myCartRow(ctx context.Context, q sqldb.Querier, user api.ID) (cart, error) {
	return scanCart(q.QueryRow(ctx, `SELECT `+cartColumns+` FROM carts WHERE open_key = ?`, int64(user)).Scan)
}

// giveCart hands a cart and its plain orders to another user, who must not be deleted.
func giveCart(ctx context.Context, tx *sqldb.Tx, c cart, user api.ID, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE carts SET user_id = ?, open_key = NULL, version = version + 1, updated_at = ? WHERE cart_id = ?`, int64(user), sqldb.Instant(now), int64(c.id))
	if err != nil {
		return fmt.Errorf("update cart %d: %w", c.id, err)
	}
	if err := refuseDeleted(ctx, tx, user); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE orders SET user_id = ?, version = version + 1, updated_at = ? WHERE cart_id = ? AND status = ?`,
		int64(user), sqldb.Instant(now), int64(c.id), api.OrderCreated)
	if err != nil {
		return fmt.Errorf("update orders of cart %d: %w", c.id, err)
	}
	return cartEvent(ctx, tx, c, "UPDATED", now)
}

// dropCart removes a cart with its items; an order that refers to it makes it sqldb.ErrReference.
func dropCart(ctx context.Context, tx *sqldb.Tx, c cart, now time.Time) error {
	for _, statement := range []string{`DELETE FROM cart_items WHERE cart_id = ?`, `DELETE FROM carts WHERE cart_id = ?`} {
		if _, err := tx.Exec(ctx, statement, int64(c.id)); err != nil {
			return fmt.Errorf("delete cart %d: %w", c.id, err)
		}
	}
	return cartEvent(ctx, tx, c, "DELETED", now)
}

// beginCheckout takes an open cart for one checkout. A cart that is no longer what was read - changed, taken
// by another checkout or gone - makes the transaction errChanged. What a checkout does to its cart has no
// events of its own: those of the order tell it, and name the cart.
func beginCheckout(ctx context.Context, tx *sqldb.Tx, c cart, now time.Time) error {
	changed := fmt.Errorf("begin checkout of cart %d: %w", c.id, errChanged)
	err := tx.LaterOne(ctx, changed, `UPDATE carts SET state = ?, version = version + 1, updated_at = ? WHERE cart_id = ? AND state = ? AND user_id = ? AND version = ?`,
		api.CartCheckingOut, sqldb.Instant(now), int64(c.id), api.CartOpen, int64(c.userID), c.version)
	if err != nil {
		return fmt.Errorf("begin checkout of cart %d: %w", c.id, err)
	}
	return nil
}

// nameOrder writes on the cart which order its checkout is about.
func nameOrder(ctx context.Context, tx *sqldb.Tx, id, order api.ID) error {
	if err := tx.Later(ctx, `UPDATE carts SET order_id = ? WHERE cart_id = ?`, int64(order), int64(id)); err != nil {
		return fmt.Errorf("order of cart %d: %w", id, err)
	}
	return nil
}

// closeChecked closes the cart of an order that succeeded and has an owner; any other makes the
// transaction errChanged, and is for endCheckout.
func closeChecked(ctx context.Context, tx *sqldb.Tx, id, order api.ID, now time.Time) error {
	changed := fmt.Errorf("close cart %d: %w", id, errChanged)
	err := tx.LaterOne(ctx, changed, `UPDATE carts SET state = ?, open_key = NULL, version = version + 1, updated_at = ?
		WHERE cart_id = ? AND state = ? AND order_id = ? AND retired = ?`,
		api.CartClosed, sqldb.Instant(now), int64(id), api.CartCheckingOut, int64(order), false)
	if err != nil {
		return fmt.Errorf("close cart %d: %w", id, err)
	}
	return nil
}

// endCheckout closes the cart of an order that succeeded; after a failure the cart is open again, as
// it was, unless its user is gone: then that is closed too.
func endCheckout(ctx context.Context, tx *sqldb.Tx, id, order api.ID, succeeded bool, now time.Time) error {
	c, err := lockCart(ctx, tx, everyone(), id)
	if err != nil {
		return err
	}
	if c.state != api.CartCheckingOut || c.orderID != order {
		return nil // the order was confirmed before and is cancelled now: its cart stays closed
	}
	if !succeeded && !c.retired {
		_, err = tx.Exec(ctx, `UPDATE carts SET state = ?, order_id = 0, version = version + 1, updated_at = ? WHERE cart_id = ?`, api.CartOpen, sqldb.Instant(now), int64(id))
		if err != nil {
			return fmt.Errorf("reopen cart %d: %w", id, err)
		}
		return nil
	}
	return closeCart(ctx, tx, c, now)
}

// closeCart ends the life of a cart; that of a user who is gone is emptied.
func closeCart(ctx context.Context, tx *sqldb.Tx, c cart, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE carts SET state = ?, open_key = NULL, version = version + 1, updated_at = ? WHERE cart_id = ?`, api.CartClosed, sqldb.Instant(now), int64(c.id))
	if err == nil && c.retired {
		_, err = tx.Exec(ctx, `DELETE FROM cart_items WHERE cart_id = ?`, int64(c.id))
	}
	if err != nil {
		return fmt.Errorf("close cart %d: %w", c.id, err)
	}
	return nil
}

// retireCarts empties and closes the open carts of a user who is gone. A cart in checkout is closed
// when that ends.
func retireCarts(ctx context.Context, tx *sqldb.Tx, user api.ID, now time.Time) error {
	// An UPDATE that MySQL does by reading the whole table passes by rows that are not committed; this waits for them.
	carts, err := sqldb.LockAll(ctx, tx, scanCart, `SELECT `+cartColumns+` FROM carts WHERE user_id = ? ORDER BY cart_id`, int64(user))
	if err != nil {
		return fmt.Errorf("carts of user %d: %w", user, err)
	}
	_, err = tx.Exec(ctx, `UPDATE carts SET retired = ?, version = version + 1, updated_at = ? WHERE user_id = ? AND state <> ?`,
		true, sqldb.Instant(now), int64(user), api.CartClosed)
	if err != nil {
		return fmt.Errorf("retire carts of user %d: %w", user, err)
	}
	for _, c := range carts {
		if c.state != api.CartOpen {
			continue
		}
		c.retired = true
		if err := closeCart(ctx, tx, c, now); err != nil {
			return err
		}
		if err := cartEvent(ctx, tx, c, api.CartClosed, now); err != nil {
			return err
		}
	}
	return nil
}

// item is a row of the table cart_items.
type item struct {
	productID api.ID
	quantity  int64
	title     string
	seenPrice int64
}

func itemsOf(ctx context.Context, q sqldb.Querier, cart api.ID) ([]item, error) {
	return sqldb.All(ctx, q, func(scan func(...any) error) (item, error) {
		var i item
		err := scan(&i.productID, &i.quantity, &i.title, &i.seenPrice)
		return i, err
	}, `SELECT product_id, quantity, product_title, seen_price FROM cart_items WHERE cart_id = ? ORDER BY product_id`, int64(cart))
}

// touchOpen marks that the items of an open cart change; it reports false when the cart is not open.
func touchOpen(ctx context.Context, tx *sqldb.Tx, c cart, now time.Time) (bool, error) {
	n, err := tx.Exec(ctx, `UPDATE carts SET version = version + 1, updated_at = ? WHERE cart_id = ? AND state = ? AND user_id = ?`,
		sqldb.Instant(now), int64(c.id), api.CartOpen, int64(c.userID))
	if err != nil {
		return false, fmt.Errorf("change cart %d: %w", c.id, err)
	}
	return n > 0, nil
}

// writeItem puts an item into a cart that the transaction holds.
func writeItem(ctx context.Context, tx *sqldb.Tx, cart api.ID, i item, currency string) error {
	n, err := tx.Exec(ctx, `UPDATE cart_items SET quantity = ? WHERE cart_id = ? AND product_id = ?`, i.quantity, int64(cart), int64(i.productID))
	if err == nil && n == 0 {
		_, err = tx.Exec(ctx, `INSERT INTO cart_items (cart_id, product_id, quantity, product_title, seen_price, currency) VALUES (?, ?, ?, ?, ?, ?)`,
			int64(cart), int64(i.productID), i.quantity, i.title, i.seenPrice, currency)
	}
	if err != nil {
		return fmt.Errorf("item %d of cart %d: %w", i.productID, cart, err)
	}
	return nil
}

// writeSeen keeps what the owner of the cart was shown of an item.
func writeSeen(ctx context.Context, tx *sqldb.Tx, cart api.ID, i item) error {
	_, err := tx.Exec(ctx, `UPDATE cart_items SET product_title = ?, seen_price = ? WHERE cart_id = ? AND product_id = ?`,
		i.title, i.seenPrice, int64(cart), int64(i.productID))
	if err != nil {
		return fmt.Errorf("seen price of item %d of cart %d: %w", i.productID, cart, err)
	}
	return nil
}

// hasCheckedOut reports whether commerce relies on the cart: an order beyond CREATED came from it.
func hasCheckedOut(ctx context.Context, tx *sqldb.Tx, cart api.ID) (bool, error) {
	n, err := sqldb.Count(ctx, tx, 1, `SELECT 1 FROM orders WHERE cart_id = ? AND status <> 'CREATED'`, int64(cart))
	if err != nil {
		return false, fmt.Errorf("orders of cart %d: %w", cart, err)
	}
	return n > 0, nil
}
