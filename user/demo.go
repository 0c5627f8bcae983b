package user

import (
	"context"
	"errors"
	"time"

	"tienda/api"
	"tienda/sqldb"
)

// demoUser is one of the users that the demo has, with the hash of the password "0000", made
// beforehand because hashing at start would cost the first seconds.
type demoUser struct {
	firstName, lastName, email, username, role, hash string
}

// Demo fills an empty database with the users 1 to 4 of the original system, whose clients know their
// ids, the avatar, the phone, and the e-mail address of the first. It does nothing when there is a user.
func Demo(ctx context.Context, db *sqldb.DB, now time.Time) error {
	err := db.Tx(ctx, func(tx *sqldb.Tx) error {
		if n, err := sqldb.Count(ctx, tx, 1, `SELECT user_id FROM users`); err != nil || n > 0 {
			return err
		}
		return insertDemo(ctx, tx, now)
	})
	if errors.Is(err, sqldb.ErrConflict) {
		return nil // another replica did
	}
	return err
}

func insertDemo(ctx context.Context, tx *sqldb.Tx, now time.Time) error {
	const avatar, phone = "https://bootdey.com/img/Content/avatar/avatar7.png", "+21622125144"
	at := sqldb.Instant(now)
	for i, u := range []demoUser{
		{"selim", "horri", "springxyzabcboot@gmail.com", "selimhorri", api.RoleUser,
			"$argon2id$v=19$m=7168,t=5,p=1$7VrgkjbHKynxQuTbSqPfFQ$de3PcLuXdUp1K+4hWVng6ZL6Y9IfGzBxyupgRJXU1Fc"},
		{"amine", "ladjimi", "amine.ladjimi@example.com", "amineladjimi", api.RoleUser,
			"$argon2id$v=19$m=7168,t=5,p=1$bxH6uo+t1KNQ2KeHpCHXAA$o/GFjJ4/ns/CTSWmXyylS1BaNkggWby4V4Y/zg8bniE"},
		{"omar", "derouiche", "omar.derouiche@example.com", "omarderouiche", api.RoleUser,
			"$argon2id$v=19$m=7168,t=5,p=1$qD5foKqCv3LnDmwEi6lkRA$aSCc8JgA6E6vW7SGcxKx4zpJrCmXyCSUeZjd8Ch6gZQ"},
		{"admin", "admin", "admin@example.com", "admin", api.RoleAdmin,
			"$argon2id$v=19$m=7168,t=5,p=1$p9ggd7qaIeu497gXGIJhVg$wPdfuax95upyB9WkizplpFuurpzKAl+Z2Kdf5Zw11t0"},
	} {
		id := i + 1
		_, err := tx.Exec(ctx, `INSERT INTO users (user_id, first_name, last_name, image_url, email, phone, created_at, updated_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, id, u.firstName, u.lastName, avatar, u.email, phone, at, at)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO credentials (credential_id, user_id, username, username_key, password_hash, role, is_enabled,
			is_account_non_expired, is_account_non_locked, is_credentials_non_expired, created_at, updated_at)
			VALUES (?, ?, ?, ?, ?, ?, TRUE, TRUE, TRUE, TRUE, ?, ?)`, id, id, u.username, usernameKey(u.username), u.hash, u.role, at, at)
		if err != nil {
			return err
		}
		expired := api.Date{Time: time.Date(2021, time.December, 31, 0, 0, 0, 0, time.UTC)}
		token := api.VerificationToken{Token: new(""), ExpireDate: expired}
		if _, err := insertVerificationToken(ctx, tx, api.ID(id), token, now); err != nil {
			return err
		}
	}
	byrsa := api.Address{FullAddress: new("carthage byrsa"), PostalCode: new("2016"), City: new("carthage"), Country: new("TN")}
	kram := api.Address{FullAddress: new("kram"), PostalCode: new("2015"), City: new("kram"), Country: new("TN")}
	for _, row := range []struct {
		user    api.ID
		address api.Address
	}{{1, byrsa}, {2, byrsa}, {3, byrsa}, {4, byrsa}, {2, kram}, {1, kram}} {
		if _, err := insertAddress(ctx, tx, row.user, row.address, now); err != nil {
			return err
		}
	}
	return nil
}
