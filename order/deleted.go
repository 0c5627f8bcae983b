package order

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tienda/api"
	"tienda/sqldb"
)

// A deleted user's token is good until it ends, and administrators may write for anybody: what must not come to be
// after the carts of a user were retired is refused by the table deleted_users. No isolation level is relied on.
// A write puts its rows down and then looks for the user in the table; the retirement puts the user into the table
// and then looks for rows. Both look with locks, for which a row that is not committed is one to wait for: whoever
// looks second finds what the other wrote, and of two that wait for each other the engine runs one again.

// rememberDeleted notes that a user is deleted. That it is known already changes nothing.
func rememberDeleted(ctx context.Context, tx *sqldb.Tx, user api.ID, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO deleted_users (user_id, created_at) VALUES (?, ?)`, int64(user), sqldb.Instant(now))
	if err != nil && !errors.Is(err, sqldb.ErrConflict) {
		return fmt.Errorf("note that user %d is deleted: %w", user, err)
	}
	return nil
}

// refuseDeleted ends a transaction that has written something for a user who is deleted. The answer is that of
// user-service to whoever writes for a user who does not exist.
func refuseDeleted(ctx context.Context, tx *sqldb.Tx, user api.ID) error {
	var one int
	err := tx.LockRow(ctx, `SELECT 1 FROM deleted_users WHERE user_id = ?`, int64(user)).Scan(&one)
	if errors.Is(err, sqldb.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look whether user %d is deleted: %w", user, err)
	}
	return api.Invalid(api.FieldError{Field: "userId", Reason: fmt.Sprintf("names no user: %d has been deleted", user)})
}
