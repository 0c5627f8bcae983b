package user

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

// MakeAdministrator gives a user who has registered the role of an administrator. Whoever has the database may do
// that: roles are given by administrators, and somebody has to be the first. It is in the user's tokens from their
// next log-in on.
func MakeAdministrator(ctx context.Context, db *sqldb.DB, username string, now time.Time) error {
	ctx = auth.WithCaller(ctx, auth.Caller{Service: "tienda administrator"}) // the actor of the event
	err := db.Tx(ctx, func(tx *sqldb.Tx) error {
		a, err := findAccount(ctx, tx, "c.username_key", usernameKey(username))
		if err != nil {
			return err
		}
		// It locks the row of the user, whose account may have gone since.
		if _, err := updateUser(ctx, tx, a.userID, api.User{}, now); err != nil {
			return err
		}
		if a, err = findAccount(ctx, tx, "c.username_key", usernameKey(username)); err != nil {
			return err
		}
		if err := saveCredential(ctx, tx, a.userID, credentialChange{role: new(api.RoleAdmin)}, now); err != nil {
			return err
		}
		return journal.Append(ctx, tx, "credential", a.credentialID, "CHANGED", nil, now)
	})
	if errors.Is(err, sqldb.ErrNotFound) {
		return fmt.Errorf("nobody has the username %q: register it first", username)
	}
	return err
}
