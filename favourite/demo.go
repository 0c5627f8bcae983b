package favourite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tienda/api"
	"tienda/journal"
	"tienda/sqldb"
)

// demoFavourites are pairs of user and product.
var demoFavourites = [][2]api.ID{{1, 1}, {1, 2}, {2, 2}}

// Demo fills an empty table with three favourites. Where there is any already it does nothing.
func Demo(ctx context.Context, db *sqldb.DB, now time.Time) error {
	err := db.Tx(ctx, func(tx *sqldb.Tx) error {
		if n, err := sqldb.Count(ctx, tx, 1, `SELECT favourite_id FROM favourites`); err != nil || n > 0 {
			return err
		}
		for i, pair := range demoFavourites {
			at := api.DateTime{Time: now.UTC().Truncate(time.Microsecond)}
			favourite := api.Favourite{UserID: pair[0], ProductID: pair[1], LikeDate: at}
			// The id is given, so that of two replicas that start together only one fills the table.
			_, err := tx.Exec(ctx, `INSERT INTO favourites (favourite_id, user_id, product_id, like_date, created_at) VALUES (?, ?, ?, ?, ?)`,
				i+1, favourite.UserID, favourite.ProductID, sqldb.Instant(at.Time), sqldb.Instant(now))
			if err != nil {
				return err
			}
			if err := journal.Append(ctx, tx, "favourite", favourite.UserID, "CREATED", favourite, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, sqldb.ErrConflict) {
		return fmt.Errorf("demo favourites: %w", err)
	}
	return nil
}
