package user

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"tienda/api"
	"tienda/auth"
	"tienda/sqldb"
	"tienda/web"
)

// Columns of the resources, and where they are read. Every FROM names the users table u, so that
// ownership is the same predicate for all, and ends in a condition.
const (
	userColumns       = `u.user_id, u.first_name, u.last_name, u.image_url, u.email, u.phone`
	credentialColumns = `c.credential_id, c.username, c.role, c.is_enabled, c.is_account_non_expired, c.is_account_non_locked, c.is_credentials_non_expired`
	addressColumns    = `a.address_id, a.full_address, a.postal_code, a.city, a.country, a.version`
	tokenColumns      = `v.verification_token_id, v.token, v.expire_date`

	fromUsers       = `users u LEFT JOIN credentials c ON c.user_id = u.user_id WHERE u.deleted_at IS NULL`
	fromCredentials = `credentials c JOIN users u ON u.user_id = c.user_id WHERE u.deleted_at IS NULL`
	fromAddresses   = `address a JOIN users u ON u.user_id = a.user_id WHERE u.deleted_at IS NULL`
	fromTokens      = `verification_tokens v JOIN credentials c ON c.credential_id = v.credential_id
		JOIN users u ON u.user_id = c.user_id WHERE u.deleted_at IS NULL`
)

// resource is how the rows of one resource are read.
type resource[T any] struct {
	name          string // as messages have it: "User"
	id            string // its column
	columns, from string
	sortable      map[string]string
	scan          func(scan func(...any) error) (T, error)
	idOf          func(T) api.ID
}

func users() resource[api.User] {
	return resource[api.User]{
		name: "User", id: "u.user_id", columns: userColumns + ", " + credentialColumns, from: fromUsers,
		sortable: map[string]string{"userId": "u.user_id", "firstName": "u.first_name", "lastName": "u.last_name", "email": "u.email", "phone": "u.phone"},
		scan: func(scan func(...any) error) (api.User, error) {
			var u api.User
			var c api.Credential
			var credentialID *int64 // NULL for a user without a credential
			columns := credentialFields(&c)
			columns[0] = &credentialID
			if err := scan(append(userFields(&u), columns...)...); err != nil {
				return u, err
			}
			if credentialID != nil {
				c.CredentialID = api.ID(*credentialID)
				u.Credential = &c
			}
			return u, nil
		},
		idOf: func(u api.User) api.ID { return u.UserID },
	}
}

func credentials() resource[api.Credential] {
	return resource[api.Credential]{
		name: "Credential", id: "c.credential_id", columns: credentialColumns + ", " + userColumns, from: fromCredentials,
		sortable: map[string]string{"credentialId": "c.credential_id", "username": "c.username"},
		scan: func(scan func(...any) error) (api.Credential, error) {
			c := api.Credential{User: &api.User{}}
			return c, scan(append(credentialFields(&c), userFields(c.User)...)...)
		},
		idOf: func(c api.Credential) api.ID { return c.CredentialID },
	}
}

func addresses() resource[api.Address] {
	return resource[api.Address]{
		name: "Address", id: "a.address_id", columns: addressColumns + ", " + userColumns, from: fromAddresses,
		sortable: map[string]string{"addressId": "a.address_id", "fullAddress": "a.full_address", "postalCode": "a.postal_code", "city": "a.city", "country": "a.country"},
		scan: func(scan func(...any) error) (api.Address, error) {
			a := api.Address{User: &api.User{}}
			return a, scan(append([]any{&a.AddressID, &a.FullAddress, &a.PostalCode, &a.City, &a.Country, &a.Version}, userFields(a.User)...)...)
		},
		idOf: func(a api.Address) api.ID { return a.AddressID },
	}
}

func verificationTokens() resource[api.VerificationToken] {
	return resource[api.VerificationToken]{
		name: "VerificationToken", id: "v.verification_token_id", columns: tokenColumns + ", " + credentialColumns, from: fromTokens,
		sortable: map[string]string{"verificationTokenId": "v.verification_token_id", "expireDate": "v.expire_date"},
		scan: func(scan func(...any) error) (api.VerificationToken, error) {
			v := api.VerificationToken{Credential: &api.Credential{}}
			var expires sqldb.Instant
			err := scan(append([]any{&v.VerificationTokenID, &v.Token, &expires}, credentialFields(v.Credential)...)...)
			v.ExpireDate = api.Date{Time: time.Time(expires)}
			return v, err
		},
		idOf: func(v api.VerificationToken) api.ID { return v.VerificationTokenID },
	}
}

func userFields(u *api.User) []any {
	return []any{&u.UserID, &u.FirstName, &u.LastName, &u.ImageURL, &u.Email, &u.Phone}
}

func credentialFields(c *api.Credential) []any {
	return []any{&c.CredentialID, &c.Username, &c.RoleBasedAuthority, &c.IsEnabled, &c.IsAccountNonExpired, &c.IsAccountNonLocked, &c.IsCredentialsNonExpired}
}

// ownRows is the predicate that keeps a caller to rows of their own, beginning with " AND".
func ownRows(ctx context.Context) (clause string, args []any) {
	caller := auth.CallerOf(ctx)
	if caller.SeesAll() {
		return "", nil
	}
	return " AND u.user_id = ?", []any{int64(caller.UserID)}
}

// list answers with a page of the rows that the caller may see and that filter, beginning with " AND",
// lets through.
func (res resource[T]) list(w http.ResponseWriter, r *http.Request, db *sqldb.DB, filter string, filterArgs ...any) error {
	page, err := web.ReadPage(r, res.id, res.sortable)
	if err != nil {
		return err
	}
	ids, given, err := web.QueryIDs(r, "ids")
	if err != nil {
		return err
	}
	own, args := ownRows(r.Context())
	where, args := res.from+own+filter, append(args, filterArgs...)
	if given {
		if len(ids) == 0 {
			return web.JSON(w, http.StatusOK, web.Rows(page, []T{}, 0, res.idOf))
		}
		where, args = where+" AND "+res.id+" IN ("+sqldb.In(len(ids))+")", sqldb.Args(ids, args...)
	}
	total, err := sqldb.Count(r.Context(), db, web.ExactTotal, "SELECT 1 FROM "+where, args...)
	if err != nil {
		return err
	}
	behind, behindArgs := page.Condition()
	rows, err := sqldb.All(r.Context(), db, res.scan, "SELECT "+res.columns+" FROM "+where+behind+page.Tail(), append(args, behindArgs...)...)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, web.Rows(page, rows, total, res.idOf))
}

// byID reads one row that the caller may see; another is a 404.
func (res resource[T]) byID(ctx context.Context, q sqldb.Querier, id api.ID) (T, error) {
	row, err := res.find(ctx, q, res.id, int64(id))
	if errors.Is(err, sqldb.ErrNotFound) {
		return row, res.notFound(id)
	}
	return row, err
}

func (res resource[T]) notFound(id api.ID) error {
	return api.NotFound("%s with id: %d not found", res.name, id)
}

// byUsername reads the row of a username that the caller may see; another is a 404.
func (res resource[T]) byUsername(ctx context.Context, q sqldb.Querier, username string) (T, error) {
	var none T
	if utf8.ValidString(username) { // MySQL would refuse the statement
		row, err := res.find(ctx, q, "c.username_key", usernameKey(username))
		if !errors.Is(err, sqldb.ErrNotFound) {
			return row, err
		}
	}
	return none, api.NotFound("%s with username: %s not found", res.name, strings.ToValidUTF8(username, "\ufffd"))
}

// find reads the row of the caller whose column has a value; none is sqldb.ErrNotFound.
func (res resource[T]) find(ctx context.Context, q sqldb.Querier, column string, value any) (T, error) {
	own, args := ownRows(ctx)
	query := "SELECT " + res.columns + " FROM " + res.from + " AND " + column + " = ?" + own
	return res.scan(q.QueryRow(ctx, query, append([]any{value}, args...)...).Scan)
}

// usernameKey is what makes usernames equal: they differ in more than case.
func usernameKey(username string) string { return strings.ToLower(username) }

func insertUser(ctx context.Context, tx *sqldb.Tx, u api.User, now time.Time) (api.ID, error) {
	id, err := tx.Insert(ctx, `INSERT INTO users (first_name, last_name, image_url, email, phone, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, u.FirstName, u.LastName, u.ImageURL, u.Email, u.Phone, sqldb.Instant(now), sqldb.Instant(now))
	return api.ID(id), err
}

// updateUser writes the fields that are given. With none it locks the row for the rest of the
// transaction, so that the user cannot be deleted meanwhile.
func updateUser(ctx context.Context, tx *sqldb.Tx, id api.ID, u api.User, now time.Time) (found bool, err error) {
	n, err := tx.Exec(ctx, `UPDATE users SET first_name = COALESCE(?, first_name), last_name = COALESCE(?, last_name),
		image_url = COALESCE(?, image_url), email = COALESCE(?, email), phone = COALESCE(?, phone), updated_at = ?
		WHERE user_id = ? AND deleted_at IS NULL`,
		u.FirstName, u.LastName, u.ImageURL, u.Email, u.Phone, sqldb.Instant(now), int64(id))
	return n > 0, err
}

// forgetUser empties a user and removes all that is theirs.
func forgetUser(ctx context.Context, tx *sqldb.Tx, id api.ID, now time.Time) (found bool, err error) {
	n, err := tx.Exec(ctx, `UPDATE users SET first_name = NULL, last_name = NULL, image_url = NULL, email = NULL, phone = NULL,
		updated_at = ?, deleted_at = ? WHERE user_id = ? AND deleted_at IS NULL`, sqldb.Instant(now), sqldb.Instant(now), int64(id))
	if err != nil || n == 0 {
		return false, err
	}
	if err := forgetCredential(ctx, tx, id, now); err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, `DELETE FROM address WHERE user_id = ?`, int64(id))
	return true, err
}

// forgetCredential removes the credential of a user, with its verification tokens, and ends the sessions.
func forgetCredential(ctx context.Context, tx *sqldb.Tx, user api.ID, now time.Time) error {
	// The lock keeps verification tokens from being added behind the back of the next statement.
	_, err := tx.Exec(ctx, `UPDATE credentials SET updated_at = ? WHERE user_id = ?`, sqldb.Instant(now), int64(user))
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `DELETE FROM verification_tokens WHERE credential_id IN (SELECT credential_id FROM credentials WHERE user_id = ?)`, int64(user))
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM credentials WHERE user_id = ?`, int64(user)); err != nil {
		return err
	}
	return revokeSessions(ctx, tx, user, now)
}

// credentialChange is what to write to a credential; nil leaves a field as it is.
type credentialChange struct {
	username, hash, role                         *string
	enabled, nonExpired, nonLocked, passwordGood *bool
}

// saveCredential changes the credential of a user, or makes it when there is none; then username and
// role must be there. A new password ends the sessions. The caller has locked the user's row.
// A username that is taken is sqldb.ErrConflict.
func saveCredential(ctx context.Context, tx *sqldb.Tx, user api.ID, change credentialChange, now time.Time) error {
	var key *string
	if change.username != nil {
		key = new(usernameKey(*change.username))
	}
	n, err := tx.Exec(ctx, `UPDATE credentials SET username = COALESCE(?, username), username_key = COALESCE(?, username_key),
		password_hash = COALESCE(?, password_hash), role = COALESCE(?, role), is_enabled = COALESCE(?, is_enabled),
		is_account_non_expired = COALESCE(?, is_account_non_expired), is_account_non_locked = COALESCE(?, is_account_non_locked),
		is_credentials_non_expired = COALESCE(?, is_credentials_non_expired), updated_at = ? WHERE user_id = ?`,
		change.username, key, change.hash, change.role, change.enabled, change.nonExpired, change.nonLocked, change.passwordGood,
		sqldb.Instant(now), int64(user))
	if err != nil {
		return err
	}
	if n == 0 {
		_, err := tx.Insert(ctx, `INSERT INTO credentials (user_id, username, username_key, password_hash, role, is_enabled,
			is_account_non_expired, is_account_non_locked, is_credentials_non_expired, created_at, updated_at)
			VALUES (?, ?, ?, COALESCE(?, ''), ?, COALESCE(?, TRUE), COALESCE(?, TRUE), COALESCE(?, TRUE), COALESCE(?, TRUE), ?, ?)`,
			int64(user), change.username, key, change.hash, change.role, change.enabled, change.nonExpired, change.nonLocked,
			change.passwordGood, sqldb.Instant(now), sqldb.Instant(now))
		return err
	}
	if change.hash == nil {
		return nil
	}
	return revokeSessions(ctx, tx, user, now)
}

func insertAddress(ctx context.Context, tx *sqldb.Tx, user api.ID, a api.Address, now time.Time) (api.ID, error) {
	id, err := tx.Insert(ctx, `INSERT INTO address (user_id, full_address, postal_code, city, country, version, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, 1, ?, ?)`, int64(user), a.FullAddress, a.PostalCode, a.City, a.Country, sqldb.Instant(now), sqldb.Instant(now))
	return api.ID(id), err
}

// updateAddress writes the fields that are given, when the version is the one given or that is 0.
func updateAddress(ctx context.Context, tx *sqldb.Tx, id api.ID, a api.Address, version int64, now time.Time) (written bool, err error) {
	n, err := tx.Exec(ctx, `UPDATE address SET full_address = COALESCE(?, full_address), postal_code = COALESCE(?, postal_code),
		city = COALESCE(?, city), country = COALESCE(?, country), version = version + 1, updated_at = ?
		WHERE address_id = ? AND (? = 0 OR version = ?)`,
		a.FullAddress, a.PostalCode, a.City, a.Country, sqldb.Instant(now), int64(id), version, version)
	return n > 0, err
}

func deleteAddress(ctx context.Context, tx *sqldb.Tx, id api.ID, version int64) (deleted bool, err error) {
	n, err := tx.Exec(ctx, `DELETE FROM address WHERE address_id = ? AND (? = 0 OR version = ?)`, int64(id), version, version)
	return n > 0, err
}

func insertVerificationToken(ctx context.Context, tx *sqldb.Tx, credential api.ID, v api.VerificationToken, now time.Time) (api.ID, error) {
	id, err := tx.Insert(ctx, `INSERT INTO verification_tokens (credential_id, token, expire_date, created_at, updated_at) VALUES (?, ?, ?, ?, ?)`,
		int64(credential), v.Token, sqldb.Instant(v.ExpireDate.Time), sqldb.Instant(now), sqldb.Instant(now))
	return api.ID(id), err
}

func updateVerificationToken(ctx context.Context, tx *sqldb.Tx, id api.ID, v api.VerificationToken, now time.Time) (found bool, err error) {
	n, err := tx.Exec(ctx, `UPDATE verification_tokens SET token = COALESCE(?, token), expire_date = COALESCE(?, expire_date), updated_at = ?
		WHERE verification_token_id = ?`, v.Token, sqldb.Instant(v.ExpireDate.Time), sqldb.Instant(now), int64(id))
	return n > 0, err
}
