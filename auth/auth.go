// Package auth issues and verifies the tokens of the shop and carries the caller in a context.
//
// There are two kinds of tokens, both JWTs signed with EdDSA (Ed25519). A user's token is issued by
// the proxy client after a log-in and lives 15 minutes; its keys are published as a JWK set and
// rotate. A component's token proves its own identity to its neighbours and lives a minute; each
// component signs with its own key, and the public keys are settings, so nobody has to be asked.
package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"tienda/api"
)

// Caller is who makes a request.
type Caller struct {
	Username string   // of a user
	UserID   api.ID   // of a user
	Roles    []string // of a user: ROLE_USER, ROLE_ADMIN
	Service  string   // the name of a component, when it calls as itself
	Open     bool     // nobody in particular, let in by tienda.access: open
}

// Known reports whether the caller is anybody.
func (c Caller) Known() bool { return c.UserID != 0 || c.Service != "" || c.Open }

// Admin reports whether the caller is an administrator.
func (c Caller) Admin() bool { return slices.Contains(c.Roles, api.RoleAdmin) }

// SeesAll reports whether the caller may see everybody's rows: administrators, components, and
// everyone under tienda.access: open.
func (c Caller) SeesAll() bool { return c.Admin() || c.Service != "" || c.Open }

// String names the caller for histories and events: "user:5", "admin:4", "order-service", "anonymous".
func (c Caller) String() string {
	switch {
	case c.Service != "":
		return c.Service
	case c.Admin():
		return "admin:" + c.UserID.String()
	case c.UserID != 0:
		return "user:" + c.UserID.String()
	}
	return "anonymous"
}

type callerKey struct{}

// WithCaller puts the caller into a context.
func WithCaller(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// CallerOf is the caller in a context; the zero Caller is nobody.
func CallerOf(ctx context.Context) Caller {
	caller, _ := ctx.Value(callerKey{}).(Caller)
	return caller
}

// Issuer and audience of every token of the shop.
const (
	issuer          = "tienda"
	audienceUsers   = "tienda"
	audienceService = "tienda-services"
)

// UserTokenLife is how long a user's token lives.
const UserTokenLife = 15 * time.Minute

// SigningKey signs users' tokens. Its id is in the header of each token and in the JWK set.
type SigningKey struct {
	ID      string
	Private ed25519.PrivateKey
}

// IssueUserToken makes the access token of a user.
func IssueUserToken(key SigningKey, caller Caller, now time.Time) (string, error) {
	token, err := jwt.NewBuilder().
		Issuer(issuer).Audience([]string{audienceUsers}).Subject(caller.Username).
		IssuedAt(now).NotBefore(now.Add(-5*time.Second)).Expiration(now.Add(UserTokenLife)).JwtID(rand.Text()).
		Claim("uid", int64(caller.UserID)).Claim("roles", caller.Roles).Build()
	if err != nil {
		return "", fmt.Errorf("issue token: %w", err)
	}
	return sign(token, key.ID, key.Private)
}

func sign(token jwt.Token, id string, key ed25519.PrivateKey) (string, error) {
	headers := jws.NewHeaders()
	if err := headers.Set(jws.KeyIDKey, id); err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	signed, err := jwt.Sign(token, jwt.WithKey(jwa.EdDSA(), key, jws.WithProtectedHeaders(headers)))
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return string(signed), nil
}

// Identity is a component's own identity. It is safe for concurrent use.
type Identity struct {
	name string
	key  ed25519.PrivateKey
	now  func() time.Time

	mu      sync.Mutex
	token   string
	renewAt time.Time
}

// NewIdentity makes the identity of the named component from its private key.
func NewIdentity(name string, key ed25519.PrivateKey, now func() time.Time) *Identity {
	return &Identity{name: name, key: key, now: now}
}

// serviceTokenLife is short because a token is cheap to make and cannot be revoked.
const serviceTokenLife = time.Minute

// Name is the component's name.
func (i *Identity) Name() string { return i.name }

// Context makes the calls under ctx go out as the component itself, with its own rights, whoever the
// request at hand is from.
func (i *Identity) Context(ctx context.Context) (context.Context, error) {
	token, err := i.current()
	if err != nil {
		return nil, err
	}
	return api.WithToken(ctx, token), nil
}

func (i *Identity) current() (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	if now.Before(i.renewAt) {
		return i.token, nil
	}
	token, err := jwt.NewBuilder().
		Issuer(issuer).Audience([]string{audienceService}).Subject(i.name).
		IssuedAt(now).NotBefore(now.Add(-30 * time.Second)).Expiration(now.Add(serviceTokenLife)).JwtID(rand.Text()).Build()
	if err != nil {
		return "", fmt.Errorf("issue token of %s: %w", i.name, err)
	}
	signed, err := sign(token, i.name, i.key)
	if err != nil {
		return "", err
	}
	i.token, i.renewAt = signed, now.Add(serviceTokenLife/2)
	return signed, nil
}

// EncodePublicKey writes a component's public key as it stands in tienda.identity.trusted.NAME.
func EncodePublicKey(key ed25519.PublicKey) string { return base64.StdEncoding.EncodeToString(key) }

// DecodePublicKey reads what EncodePublicKey wrote, or a certificate in PEM that holds the key, which is what
// certificate authorities and Helm's functions make. Only its key counts: nobody's signature or date is asked.
func DecodePublicKey(text string) (ed25519.PublicKey, error) {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate of a public key: %w", err)
		}
		key, ok := certificate.PublicKey.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("the certificate holds a key of the kind %v, want Ed25519", certificate.PublicKeyAlgorithm)
		}
		return key, nil
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, errors.New("not a public key: want the base64 text of 32 bytes (Ed25519), or a certificate in PEM")
	}
	return key, nil
}
