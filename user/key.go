package user

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/sqldb"
	"tienda/web"
)

const (
	// keyLead is how long a key is published before it signs: longer than anybody keeps a key set.
	keyLead = 10 * time.Minute
	// keySkew is how far the clocks of those who sign and those who verify may be apart, and more.
	keySkew = time.Minute
)

func (s *Service) listSigningKeys(w http.ResponseWriter, r *http.Request) error {
	keys, err := s.signingKeys(r.Context())
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, api.List[api.SigningKey]{Collection: keys})
}

// KeySet is the JWK set that users' tokens are verified with, as JSON.
func (s *Service) KeySet(ctx context.Context) ([]byte, error) {
	keys, err := s.signingKeys(ctx)
	if err != nil {
		return nil, err
	}
	return auth.UsersKeySet(keys, s.now())
}

// signingKeys returns the keys that sign, will sign, or signed tokens that may still be good, and
// makes the next one when its time has come. Replicas that do so at once agree on one key, since each
// has a generation of its own.
func (s *Service) signingKeys(ctx context.Context) ([]api.SigningKey, error) {
	const attempts = 3
	for range attempts {
		now := s.now()
		generation, keys, err := storedKeys(ctx, s.db, now)
		if err != nil {
			return nil, err
		}
		next := now // the first key has nobody to wait for
		if len(keys) > 0 {
			due := keys[len(keys)-1].SignFrom.Add(max(s.settings.SigningKeyLife, 2*keyLead))
			if now.Add(keyLead).Before(due) {
				return keys, nil
			}
			next = now.Add(keyLead)
			if due.After(next) {
				next = due
			}
		}
		if err := s.addSigningKey(ctx, generation, next); err != nil && !errors.Is(err, sqldb.ErrConflict) {
			return nil, fmt.Errorf("add signing key: %w", err)
		}
	}
	return nil, errors.New("signing keys: others keep changing them")
}

// storedKeys reads the keys that have not expired, and the highest generation.
func storedKeys(ctx context.Context, q sqldb.Querier, now time.Time) (generation int64, keys []api.SigningKey, err error) {
	keys, err = sqldb.All(ctx, q, func(scan func(...any) error) (api.SigningKey, error) {
		var (
			key             api.SigningKey
			seed            string
			from, untilTime sqldb.Instant
		)
		if err := scan(&generation, &key.KeyID, &seed, &from, &untilTime); err != nil {
			return key, err
		}
		key.SignFrom, key.VerifyUntil = time.Time(from), time.Time(untilTime)
		var err error
		key.Seed, err = base64.StdEncoding.DecodeString(seed)
		return key, err
	}, `SELECT generation, key_id, seed, sign_from, verify_until FROM signing_keys
		WHERE verify_until IS NULL OR verify_until > ? ORDER BY generation`, sqldb.Instant(now))
	return generation, keys, err
}

// addSigningKey makes the key that follows a generation and signs from then on. The one before it is
// good until the last token that it signs has expired.
func (s *Service) addSigningKey(ctx context.Context, after int64, from time.Time) error {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	return s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO signing_keys (generation, key_id, seed, sign_from) VALUES (?, ?, ?, ?)`,
			after+1, rand.Text(), base64.StdEncoding.EncodeToString(private.Seed()), sqldb.Instant(from))
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE signing_keys SET verify_until = ? WHERE generation = ?`,
			sqldb.Instant(from.Add(auth.UserTokenLife+keySkew)), after)
		return err
	})
}
