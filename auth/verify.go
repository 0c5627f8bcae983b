package auth

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"tienda/api"
)

// ErrToken is the error of every token that does not hold; its text says why, without the token.
var ErrToken = errors.New("invalid token")

// FetchKeys gets the JWK set that users' tokens are signed with, as JSON.
type FetchKeys func(ctx context.Context) ([]byte, error)

// Verifier checks tokens of users and of components. It keeps the users' keys and asks for them
// again when a token names one it does not know, so that keys can rotate. Safe for concurrent use.
type Verifier struct {
	fetch    FetchKeys
	services map[string]ed25519.PublicKey
	now      func() time.Time

	mu      sync.Mutex
	users   map[string]ed25519.PublicKey
	fetched time.Time
	seen    map[string]verified

	fetching  sync.Mutex // held while the keys are asked for; guards what follows
	asked     time.Time  // when, whatever came of it
	lastError error      // of that
}

// NewVerifier trusts the components in services, by name, and the users' keys that fetch gives.
func NewVerifier(fetch FetchKeys, services map[string]ed25519.PublicKey, now func() time.Time) *Verifier {
	return &Verifier{fetch: fetch, services: services, now: now, users: map[string]ed25519.PublicKey{}, seen: map[string]verified{}}
}

// verified is a token that held; remembering it saves a signature check per hop and request.
type verified struct {
	caller  Caller
	expires time.Time
}

// maxSeen bounds the remembered tokens; the map is emptied when it is full.
const maxSeen = 4096

// clockSkew is how far the clocks of two machines may differ.
const clockSkew = 10 * time.Second

// Verify returns the caller that a bearer token speaks for. A token that does not hold is [ErrToken];
// when the users' keys cannot be had the error is a 503 Problem.
func (v *Verifier) Verify(ctx context.Context, token string) (Caller, error) {
	now := v.now()
	v.mu.Lock()
	known, ok := v.seen[token]
	v.mu.Unlock()
	if ok && now.Before(known.expires) {
		return known.caller, nil
	}
	message, err := jws.Parse([]byte(token), jws.WithCompact())
	if err != nil || len(message.Signatures()) != 1 {
		return Caller{}, fmt.Errorf("%w: not a signed JWT", ErrToken)
	}
	id, _ := message.Signatures()[0].ProtectedHeaders().KeyID()
	key, isService := v.services[id]
	audience := audienceService
	if !isService {
		audience = audienceUsers
		if key, err = v.userKey(ctx, id, now); err != nil {
			return Caller{}, err
		}
	}
	parsed, err := jwt.Parse([]byte(token), jwt.WithKey(jwa.EdDSA(), key), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithClock(jwt.ClockFunc(v.now)), jwt.WithAcceptableSkew(clockSkew), jwt.WithRequiredClaim(jwt.ExpirationKey))
	if errors.Is(err, jwt.TokenExpiredError()) {
		return Caller{}, fmt.Errorf("%w: it has expired", ErrToken)
	}
	if err != nil {
		return Caller{}, fmt.Errorf("%w: signature or claims do not hold", ErrToken)
	}
	caller, err := callerIn(parsed, id, isService)
	if err != nil {
		return Caller{}, err
	}
	expires, _ := parsed.Expiration()
	v.mu.Lock()
	if len(v.seen) >= maxSeen {
		clear(v.seen)
	}
	v.seen[token] = verified{caller, expires}
	v.mu.Unlock()
	return caller, nil
}

func callerIn(token jwt.Token, id string, isService bool) (Caller, error) {
	subject, _ := token.Subject()
	if isService {
		if subject != id {
			return Caller{}, fmt.Errorf("%w: signed by %s in the name of another", ErrToken, id)
		}
		return Caller{Service: subject}, nil
	}
	var uid float64
	var roles []any
	if token.Get("uid", &uid) != nil || uid < 1 || token.Get("roles", &roles) != nil {
		return Caller{}, fmt.Errorf("%w: it names no user", ErrToken)
	}
	caller := Caller{Username: subject, UserID: api.ID(uid)}
	for _, role := range roles {
		if text, ok := role.(string); ok {
			caller.Roles = append(caller.Roles, text)
		}
	}
	return caller, nil
}

// refetchAfter bounds how often unknown keys make the verifier ask again: a token with a made-up key
// id costs nothing then.
const refetchAfter = 2 * time.Second

// retryAfter is the same when the keys could not be had: a process that has just started has none, and
// would refuse everybody meanwhile.
const retryAfter = 200 * time.Millisecond

// refreshAfter bounds how long a key that was withdrawn is still believed.
const refreshAfter = 5 * time.Minute

func (v *Verifier) userKey(ctx context.Context, id string, now time.Time) (ed25519.PublicKey, error) {
	key, known, fresh := v.cachedKey(id, now)
	if known && fresh {
		return key, nil
	}
	if id == "" {
		return nil, fmt.Errorf("%w: signed with an unknown key", ErrToken)
	}
	// Callers with an unknown key wait for one fetch instead of making many; tokens that are known
	// already, which need only mu, wait for nobody.
	v.fetching.Lock()
	defer v.fetching.Unlock()
	if key, known, fresh = v.cachedKey(id, now); known && fresh {
		return key, nil
	}
	pause := refetchAfter
	if v.lastError != nil {
		pause = retryAfter
	}
	if now.Sub(v.asked) >= pause {
		v.lastError = v.refresh(ctx, now)
		v.asked = now
		key, known, _ = v.cachedKey(id, now)
	}
	switch {
	case known:
		return key, nil // a proxy client that is away must not end every session
	case v.lastError != nil:
		return nil, v.lastError
	}
	return nil, fmt.Errorf("%w: signed with an unknown key", ErrToken)
}

func (v *Verifier) cachedKey(id string, now time.Time) (key ed25519.PublicKey, known, fresh bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	key, known = v.users[id]
	return key, known, now.Sub(v.fetched) < refreshAfter
}

// Prepare gets the users' keys before the first token comes, if there are none.
func (v *Verifier) Prepare(ctx context.Context) error {
	v.fetching.Lock()
	defer v.fetching.Unlock()
	v.mu.Lock()
	ready := len(v.users) > 0
	v.mu.Unlock()
	if ready {
		return nil
	}
	v.asked = v.now()
	v.lastError = v.refresh(ctx, v.asked)
	return v.lastError
}

// refresh asks for the keys again.
func (v *Verifier) refresh(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	data, err := v.fetch(ctx)
	if err != nil {
		return fmt.Errorf("fetch the keys of users' tokens: %w", err)
	}
	set, err := jwk.Parse(data)
	if err != nil {
		return fmt.Errorf("fetch the keys of users' tokens: %w", err)
	}
	users := map[string]ed25519.PublicKey{}
	for i := range set.Len() {
		key, _ := set.Key(i)
		var public ed25519.PublicKey
		name, ok := key.KeyID()
		if ok && jwk.Export(key, &public) == nil {
			users[name] = public
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.users, v.fetched = users, now
	return nil
}

// UsersKeySet is the JWK set that users' tokens are verified with now, as JSON: the keys that sign, that will, and that did lately.
func UsersKeySet(keys []api.SigningKey, now time.Time) ([]byte, error) {
	public := map[string]ed25519.PublicKey{}
	for _, key := range keys {
		if key.VerifyUntil.IsZero() || key.VerifyUntil.After(now) {
			public[key.KeyID] = ed25519.NewKeyFromSeed(key.Seed).Public().(ed25519.PublicKey)
		}
	}
	return KeySet(public)
}

// KeySet is the JWK set of public keys by key id, as JSON.
func KeySet(keys map[string]ed25519.PublicKey) ([]byte, error) {
	set := jwk.NewSet()
	for id, public := range keys {
		key, err := jwk.Import(public)
		if err != nil {
			return nil, fmt.Errorf("key set: %w", err)
		}
		err = errors.Join(key.Set(jwk.KeyIDKey, id), key.Set(jwk.AlgorithmKey, jwa.EdDSA()), key.Set(jwk.KeyUsageKey, "sig"), set.AddKey(key))
		if err != nil {
			return nil, fmt.Errorf("key set: %w", err)
		}
	}
	return json.Marshal(set)
}
