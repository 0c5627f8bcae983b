package user

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"tienda/api"
	"tienda/sqldb"
	"tienda/web"
)

// A session is a family of refresh tokens, of which only the newest is good. All of its tokens are kept,
// as hashes, until they expire: one that comes a second time has been stolen, by whoever came first or
// second, and ends the session.

// addRefreshToken makes the next token of a family.
func (s *Service) addRefreshToken(ctx context.Context, tx *sqldb.Tx, family int64, now time.Time) (string, error) {
	token := rand.Text() + rand.Text()
	_, err := tx.Exec(ctx, `INSERT INTO refresh_tokens (token_hash, family_id, expires_at) VALUES (?, ?, ?)`,
		hashText(token), family, sqldb.Instant(now.Add(s.settings.RefreshTokenLife)))
	return token, err
}

func (s *Service) rotateRefreshToken(w http.ResponseWriter, r *http.Request) error {
	body, err := web.Read[api.RefreshToken](w, r)
	if err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	var session *api.Session
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		session, err = s.rotate(ctx, tx, hashText(body.RefreshToken), now)
		return err
	})
	if err != nil {
		return err
	}
	if session == nil {
		return api.Unauthorized(api.BadRefreshToken)
	}
	return web.JSON(w, http.StatusOK, session)
}

// rotate uses a token up. The result is nil when it is refused; that is no error, because what the
// refusal writes must be kept.
func (s *Service) rotate(ctx context.Context, tx *sqldb.Tx, tokenHash string, now time.Time) (*api.Session, error) {
	family, err := familyOf(ctx, tx, tokenHash)
	if err != nil || family == 0 {
		return nil, err
	}
	// This locks the family: of two that use one token at once, the second finds it used.
	n, err := tx.Exec(ctx, `UPDATE refresh_families SET used_at = ?, expires_at = ? WHERE family_id = ? AND revoked_at IS NULL AND expires_at > ?`,
		sqldb.Instant(now), sqldb.Instant(now.Add(s.settings.RefreshTokenLife)), family, sqldb.Instant(now))
	if err != nil || n == 0 {
		return nil, err
	}
	n, err = tx.Exec(ctx, `UPDATE refresh_tokens SET used_at = ? WHERE token_hash = ? AND used_at IS NULL`, sqldb.Instant(now), tokenHash)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, revokeFamily(ctx, tx, family, now)
	}
	var userID int64
	if err := tx.QueryRow(ctx, `SELECT user_id FROM refresh_families WHERE family_id = ?`, family).Scan(&userID); err != nil {
		return nil, err
	}
	a, err := findAccount(ctx, tx, "c.user_id", userID)
	if errors.Is(err, sqldb.ErrNotFound) || (err == nil && !a.usable()) {
		return nil, revokeFamily(ctx, tx, family, now)
	}
	if err != nil {
		return nil, err
	}
	session := &api.Session{Roles: rolesOf(a.role)}
	if session.RefreshToken, err = s.addRefreshToken(ctx, tx, family, now); err != nil {
		return nil, err
	}
	session.User, err = users().byID(ctx, tx, a.userID)
	return session, err
}

func (s *Service) revokeRefreshToken(w http.ResponseWriter, r *http.Request) error {
	body, err := web.Read[api.RefreshToken](w, r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		family, err := familyOf(ctx, tx, hashText(body.RefreshToken))
		if err != nil || family == 0 {
			return err
		}
		return revokeFamily(ctx, tx, family, s.now())
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// familyOf is the family of a token, or 0 for a token that is not known.
func familyOf(ctx context.Context, tx *sqldb.Tx, tokenHash string) (int64, error) {
	var family int64
	err := tx.QueryRow(ctx, `SELECT family_id FROM refresh_tokens WHERE token_hash = ?`, tokenHash).Scan(&family)
	if errors.Is(err, sqldb.ErrNotFound) {
		return 0, nil
	}
	return family, err
}

func revokeFamily(ctx context.Context, tx *sqldb.Tx, family int64, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE refresh_families SET revoked_at = ? WHERE family_id = ? AND revoked_at IS NULL`, sqldb.Instant(now), family)
	return err
}

// revokeSessions ends all sessions of a user.
func revokeSessions(ctx context.Context, tx *sqldb.Tx, user api.ID, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE refresh_families SET revoked_at = ? WHERE user_id = ? AND revoked_at IS NULL`, sqldb.Instant(now), int64(user))
	return err
}

// sessionsOf lists the sessions of a user that are still kept.
func sessionsOf(ctx context.Context, q sqldb.Querier, user api.ID) ([]api.SessionStamp, error) {
	return sqldb.All(ctx, q, func(scan func(...any) error) (api.SessionStamp, error) {
		var created, used, ends sqldb.Instant
		err := scan(&created, &used, &ends)
		return api.SessionStamp{CreatedAt: time.Time(created), UsedAt: time.Time(used), EndsAt: time.Time(ends)}, err
	}, `SELECT created_at, used_at, COALESCE(revoked_at, expires_at) FROM refresh_families WHERE user_id = ? ORDER BY family_id`, int64(user))
}

// removeExpired deletes sessions, failures and keys whose time has passed.
func (s *Service) removeExpired(ctx context.Context, now time.Time) error {
	for _, expired := range []struct {
		statement string
		before    time.Time
	}{
		{`DELETE FROM refresh_tokens WHERE expires_at < ?`, now},
		{`DELETE FROM refresh_families WHERE expires_at < ?`, now},
		{`DELETE FROM login_failures WHERE failed_at < ?`, now.Add(-failureLife)},
		{`DELETE FROM signing_keys WHERE verify_until < ?`, now},
	} {
		err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, expired.statement, sqldb.Instant(expired.before))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
