package user

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/sqldb"
	"tienda/web"
)

// After freeFailures an account must wait before the next try, twice as long after each failure, and
// failures are forgotten when none came for failureLife.
const (
	freeFailures = 5
	firstDelay   = time.Second
	longestDelay = 5 * time.Minute
	failureLife  = 24 * time.Hour
)

// leastRefusal is longer than verifying any usual hash takes, so that the time of a refusal does not
// tell what was wrong.
const leastRefusal = 250 * time.Millisecond

// errRefused stands for every reason why a log-in does not succeed.
var errRefused = errors.New("log-in refused")

// account is what decides about a log-in and a refresh.
type account struct {
	userID, credentialID                         api.ID
	hash, role                                   string
	enabled, nonExpired, nonLocked, passwordGood bool
}

func (a account) usable() bool { return a.enabled && a.nonExpired && a.nonLocked && a.passwordGood }

const accountColumns = `c.user_id, c.credential_id, c.password_hash, c.role, c.is_enabled, c.is_account_non_expired,
	c.is_account_non_locked, c.is_credentials_non_expired`

// findAccount reads the account whose column has a value; none is sqldb.ErrNotFound.
func findAccount(ctx context.Context, q sqldb.Querier, column string, value any) (account, error) {
	var a account
	err := q.QueryRow(ctx, "SELECT "+accountColumns+" FROM "+fromCredentials+" AND "+column+" = ?", value).
		Scan(&a.userID, &a.credentialID, &a.hash, &a.role, &a.enabled, &a.nonExpired, &a.nonLocked, &a.passwordGood)
	return a, err
}

func (s *Service) logIn(w http.ResponseWriter, r *http.Request) error {
	start := time.Now()
	login, err := web.Read[api.Login](w, r)
	if err != nil {
		return err
	}
	if login.Username == nil || strings.TrimSpace(*login.Username) == "" || login.Password == nil {
		return api.BadRequest("username and password are wanted")
	}
	if err := api.Valid(api.Credential{Username: login.Username, Password: login.Password}.Validate()); err != nil {
		return err
	}
	session, err := s.authenticate(r.Context(), *login.Username, *login.Password)
	if errors.Is(err, errRefused) {
		// What hash was looked at, if any, shows in how long it took: the client is not to see it.
		select {
		case <-time.After(s.refusal - time.Since(start)):
		case <-r.Context().Done():
		}
		return api.Unauthorized(api.BadCredentials)
	}
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, session)
}

// authenticate checks a password and begins a session. What does not succeed is errRefused, whatever
// the reason, and counts as a failure of the username, which need not exist.
func (s *Service) authenticate(ctx context.Context, username, password string) (api.Session, error) {
	key := usernameKey(username)
	if err := s.blocked(ctx, key); err != nil {
		return api.Session{}, err
	}
	release, err := s.hasher.acquire(ctx)
	if err != nil {
		return api.Session{}, err
	}
	defer release()
	// Asked again in the slot: of many tries at once, no more than there are slots get past the limit.
	if err := s.blocked(ctx, key); err != nil {
		return api.Session{}, err
	}
	for range 2 {
		a, err := findAccount(ctx, s.db, "c.username_key", key)
		if err != nil && !errors.Is(err, sqldb.ErrNotFound) {
			return api.Session{}, err
		}
		ok, outdated := verifyPassword(a.hash, password)
		if !ok || !a.usable() {
			break
		}
		newHash := a.hash
		if outdated {
			newHash = hashPassword(password)
		}
		session, err := s.begin(ctx, a, newHash, key)
		if !errors.Is(err, errRefused) {
			return session, err
		}
		// The hash has changed since it was read: by another log-in that renewed it, or with the password.
	}
	if err := s.countFailure(ctx, key); err != nil {
		return api.Session{}, err
	}
	return api.Session{}, errRefused
}

// begin makes a session, if the hash that was verified is still the account's; it is replaced by newHash.
// Else it is errRefused: a password that was changed just now must not open a session that stays.
func (s *Service) begin(ctx context.Context, a account, newHash, key string) (api.Session, error) {
	now := s.now()
	session := api.Session{Roles: rolesOf(a.role)}
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE credentials SET password_hash = ? WHERE credential_id = ? AND password_hash = ?`,
			newHash, int64(a.credentialID), a.hash)
		if err != nil {
			return err
		}
		if n == 0 {
			return errRefused
		}
		if _, err := tx.Exec(ctx, `DELETE FROM login_failures WHERE username_hash = ?`, hashText(key)); err != nil {
			return err
		}
		family, err := tx.Insert(ctx, `INSERT INTO refresh_families (user_id, created_at, used_at, expires_at) VALUES (?, ?, ?, ?)`,
			int64(a.userID), sqldb.Instant(now), sqldb.Instant(now), sqldb.Instant(now.Add(s.settings.RefreshTokenLife)))
		if err != nil {
			return err
		}
		if session.RefreshToken, err = s.addRefreshToken(ctx, tx, family, now); err != nil {
			return err
		}
		session.User, err = users().byID(ctx, tx, a.userID)
		return err
	})
	return session, err
}

// rolesOf lists the roles that the one in the credential stands for.
func rolesOf(role string) []string {
	if role == api.RoleAdmin {
		return []string{api.RoleUser, api.RoleAdmin}
	}
	return []string{role}
}

// Standing is a caller as the database knows them now; what a token says of an administrator may be out of date. In other
// services their rights end with the token, minutes later. Here, where administrators are made, they would not end: whoever
// has lost them could give them to somebody else meanwhile.
func (s *Service) Standing(ctx context.Context, caller auth.Caller) (auth.Caller, error) {
	if !caller.Admin() {
		return caller, nil
	}
	a, err := findAccount(ctx, s.db, "c.user_id", int64(caller.UserID))
	switch {
	case err == nil && a.usable():
		caller.Roles = rolesOf(a.role)
	case err == nil, errors.Is(err, sqldb.ErrNotFound):
		caller.Roles = []string{api.RoleUser}
	default:
		return auth.Caller{}, fmt.Errorf("what user %d may do: %w", caller.UserID, err)
	}
	return caller, nil
}

// blocked is a 429 while the username must wait.
func (s *Service) blocked(ctx context.Context, key string) error {
	var until sqldb.Instant
	err := s.db.QueryRow(ctx, `SELECT blocked_until FROM login_failures WHERE username_hash = ?`, hashText(key)).Scan(&until)
	if errors.Is(err, sqldb.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if wait := time.Time(until).Sub(s.now()); wait > 0 {
		return api.TooManyRequests(wait, "too many failed log-ins for this username; wait before the next")
	}
	return nil
}

// countFailure remembers a failure and sets when the username may try again. It does so even if the
// client has gone: to hang up early must not make a try free.
func (s *Service) countFailure(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	now, hash := s.now(), hashText(key)
	return s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		count := func() (int64, error) {
			return tx.Exec(ctx, `UPDATE login_failures SET failures = CASE WHEN failed_at < ? THEN 1 ELSE failures + 1 END, failed_at = ?
				WHERE username_hash = ?`, sqldb.Instant(now.Add(-failureLife)), sqldb.Instant(now), hash)
		}
		n, err := count()
		if err == nil && n == 0 {
			_, err = tx.Exec(ctx, `INSERT INTO login_failures (username_hash, failures, failed_at, blocked_until) VALUES (?, 1, ?, 0)`,
				hash, sqldb.Instant(now))
			if errors.Is(err, sqldb.ErrConflict) { // another replica inserted it just now
				_, err = count()
			}
		}
		if err != nil {
			return err
		}
		var failures int
		if err := tx.QueryRow(ctx, `SELECT failures FROM login_failures WHERE username_hash = ?`, hash).Scan(&failures); err != nil {
			return err
		}
		if failures < freeFailures {
			return nil
		}
		_, err = tx.Exec(ctx, `UPDATE login_failures SET blocked_until = ? WHERE username_hash = ?`, sqldb.Instant(now.Add(delayAfter(failures))), hash)
		return err
	})
}

// delayAfter is how long to wait after so many failures.
func delayAfter(failures int) time.Duration {
	delay := firstDelay
	for ; failures > freeFailures && delay < longestDelay; failures-- {
		delay *= 2
	}
	return min(delay, longestDelay)
}

// hashText is what secrets, and what people may have typed into the wrong field, are stored as.
func hashText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
