package proxy

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"tienda/api"
	"tienda/auth"
)

const (
	// keysFresh is how old keys may be before they are asked for again: much less than the time for
	// which user-service shows a key before it signs.
	keysFresh = 2 * time.Minute
	// keysRetry is how long to leave user-service alone after it gave no keys, when there are none.
	keysRetry = time.Second
	// keysWait bounds one attempt; log-ins and verifications wait for it when there are no keys at all.
	keysWait = 3 * time.Second
)

// keyring keeps the signing keys of users' tokens. It is safe for concurrent use.
type keyring struct {
	fetch func(ctx context.Context) ([]api.SigningKey, error)
	now   func() time.Time

	fetching sync.Mutex // held while user-service is asked: once, however many want to know

	mu    sync.Mutex
	keys  []api.SigningKey // the last ones that were fetched, oldest first
	tried time.Time
	err   error // of the last attempt
}

// current returns the keys, from user-service when those at hand are old. Old ones are better than
// none while it cannot be reached.
func (k *keyring) current(ctx context.Context) ([]api.SigningKey, error) {
	keys, due, err := k.look()
	if !due {
		return keys, err
	}
	if len(keys) == 0 {
		k.fetching.Lock()
	} else if !k.fetching.TryLock() {
		return keys, nil // somebody is at it
	}
	defer k.fetching.Unlock()
	if keys, due, err = k.look(); !due {
		return keys, err
	}
	_ = k.renew(ctx) // look returns it, if there are no older keys
	keys, _, err = k.look()
	return keys, err
}

// look returns the keys at hand, or why there are none, and whether it is time to ask for them.
func (k *keyring) look() (keys []api.SigningKey, due bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	age := k.now().Sub(k.tried)
	if len(k.keys) > 0 {
		return k.keys, age >= keysFresh, nil
	}
	return nil, age >= keysRetry, k.err
}

// refresh fetches the keys whatever their age.
func (k *keyring) refresh(ctx context.Context) error {
	k.fetching.Lock()
	defer k.fetching.Unlock()
	return k.renew(ctx)
}

// renew replaces the keys if it can. It does not end with the request that happens to cause it, since
// others wait for the same keys. The caller holds fetching.
func (k *keyring) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysWait)
	defer cancel()
	keys, err := k.fetch(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tried, k.err = k.now(), err
	if err == nil {
		k.keys = keys
	}
	return err
}

// signing is the key to sign with: the newest whose time has come.
func (k *keyring) signing(ctx context.Context) (auth.SigningKey, error) {
	keys, err := k.current(ctx)
	if err != nil {
		return auth.SigningKey{}, err
	}
	key := keys[0] // even if this machine's clock is behind that of user-service
	for _, later := range keys[1:] {
		if !later.SignFrom.After(k.now()) {
			key = later
		}
	}
	return auth.SigningKey{ID: key.KeyID, Private: ed25519.NewKeyFromSeed(key.Seed)}, nil
}

// fetchKeys asks user-service for the keys, as this component itself.
func (s *Service) fetchKeys(ctx context.Context) ([]api.SigningKey, error) {
	ctx, err := s.identity.Context(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := s.client.SigningKeys(ctx)
	if err != nil {
		return nil, s.refusal(ctx, err)
	}
	if len(keys) == 0 {
		return nil, errors.New("user-service has no signing keys")
	}
	for _, key := range keys {
		if len(key.Seed) != ed25519.SeedSize {
			return nil, fmt.Errorf("signing key %s has %d bytes, want %d", key.KeyID, len(key.Seed), ed25519.SeedSize)
		}
	}
	return keys, nil
}

// KeySet is the JWK set that users' tokens are verified with, as JSON.
func (s *Service) KeySet(ctx context.Context) ([]byte, error) {
	keys, err := s.keys.current(ctx)
	if err != nil {
		return nil, err
	}
	return auth.UsersKeySet(keys, s.now())
}

func (s *Service) keySet(w http.ResponseWriter, r *http.Request) error {
	set, err := s.KeySet(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(set) // the client is gone when this fails
	return nil
}
