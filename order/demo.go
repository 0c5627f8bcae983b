package order

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tienda/api"
	"tienda/sqldb"
)

// Demo writes carts 1 to 4 of users 1 to 4, each with a plain order of the same id, unless there are
// carts already.
func Demo(ctx context.Context, db *sqldb.DB, currency api.Currency, now func() time.Time) error {
	err := db.Tx(ctx, func(tx *sqldb.Tx) error {
		n, err := sqldb.Count(ctx, tx, 1, `SELECT 1 FROM carts`)
		if err != nil || n > 0 {
			return err
		}
		at := now()
		fee, err := api.ParseAmount("5000.00")
		if err != nil {
			return err
		}
		minor, err := currency.Minor(fee)
		if err != nil {
			return err
		}
		for id := api.ID(1); id <= 4; id++ {
			if err := demoRows(ctx, tx, id, minor, currency.Code, at); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, sqldb.ErrConflict) {
		return nil // another replica wrote them at the same time
	}
	if err != nil {
		return fmt.Errorf("demo orders: %w", err)
	}
	return nil
}

func demoRows(ctx context.Context, tx *sqldb.Tx, id api.ID, fee int64, currency string, at time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO carts (cart_id, user_id, state, open_key, order_id, retired, version, created_at, updated_at)
		VALUES (?, ?, ?, NULL, 0, ?, 1, ?, ?)`, int64(id), int64(id), api.CartOpen, false, sqldb.Instant(at), sqldb.Instant(at))
	if err != nil {
		return err
	}
	o := record{id: id, cartID: id, userID: id, status: api.OrderCreated}
	_, err = tx.Exec(ctx, `INSERT INTO orders (order_id, cart_id, user_id, status, order_date, order_desc, order_fee, currency, subtotal, shipping_fee, tax,
		full_address, postal_code, city, country, shipping_service, payment_id, payment_state, shipment_id, shipment_state, tracking_number, version, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, 'init', ?, ?, 0, 0, 0, '', '', '', '', '', 0, '', 0, '', '', 1, ?, ?)`,
		int64(id), int64(id), int64(id), o.status, sqldb.Instant(at), fee, currency, sqldb.Instant(at), sqldb.Instant(at))
	if err != nil {
		return err
	}
	if err := cartEvent(ctx, tx, cart{id: id, userID: id}, "CREATED", at); err != nil {
		return err
	}
	return appendHistory(ctx, tx, &o, "", "demo", "", at)
}
