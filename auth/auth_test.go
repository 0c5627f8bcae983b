package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tienda/api"
	"tienda/auth"
)

// clock is a time that tests move.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newKey(t *testing.T, id string) auth.SigningKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return auth.SigningKey{ID: id, Private: private}
}

// keyServer publishes keys and counts how often it is asked.
type keyServer struct {
	keys  map[string]ed25519.PublicKey
	asked atomic.Int64
	down  bool
}

func (s *keyServer) publish(keys ...auth.SigningKey) {
	s.keys = map[string]ed25519.PublicKey{}
	for _, key := range keys {
		s.keys[key.ID] = key.Private.Public().(ed25519.PublicKey)
	}
}

func (s *keyServer) fetch(context.Context) ([]byte, error) {
	s.asked.Add(1)
	if s.down {
		return nil, api.Unavailable("proxy-client")
	}
	return auth.KeySet(s.keys)
}

var selim = auth.Caller{Username: "selimhorri", UserID: 1, Roles: []string{api.RoleUser}}

func TestUserTokens(t *testing.T) {
	t.Parallel()
	time0 := &clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	key := newKey(t, "k1")
	server := &keyServer{}
	server.publish(key)
	verifier := auth.NewVerifier(server.fetch, nil, time0.now)
	token, err := auth.IssueUserToken(key, selim, time0.at)
	if err != nil {
		t.Fatal(err)
	}
	got, err := verifier.Verify(t.Context(), token)
	if err != nil || got.Username != "selimhorri" || got.UserID != 1 || got.Admin() || got.String() != "user:1" {
		t.Errorf("Verify = %+v, %v", got, err)
	}
	for name, bad := range map[string]string{
		"empty": "", "no JWT": "abc", "unsigned": unsigned(t, token), "other signature": token[:len(token)-4] + "AAAA",
		"tampered claims": tampered(t, token), "HS256 with the public key": symmetric(t, key), "unknown key": issue(t, newKey(t, "k9"), time0.at),
		"key of another name": issue(t, auth.SigningKey{ID: "k1", Private: newKey(t, "").Private}, time0.at),
	} {
		if caller, err := verifier.Verify(t.Context(), bad); !errors.Is(err, auth.ErrToken) {
			t.Errorf("%s: %+v, %v, want ErrToken", name, caller, err)
		} else if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%s: the error repeats the token", name)
		}
	}
	time0.at = time0.at.Add(auth.UserTokenLife + time.Minute)
	if _, err := verifier.Verify(t.Context(), token); !errors.Is(err, auth.ErrToken) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired token, verified before: %v", err)
	}
}

func issue(t *testing.T, key auth.SigningKey, now time.Time) string {
	t.Helper()
	token, err := auth.IssueUserToken(key, selim, now)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func unsigned(t *testing.T, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"k1"}`)) + "." + parts[1] + "."
}

func tampered(t *testing.T, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	claims["uid"], claims["roles"] = 4, []string{api.RoleAdmin}
	payload, err = json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + parts[2]
}

// symmetric makes a token whose header asks for HS256, as the attack that passes the public key off
// as a shared secret does.
func symmetric(t *testing.T, key auth.SigningKey) string {
	t.Helper()
	parts := strings.Split(issue(t, key, time.Now()), ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"k1"}`)) + "." + parts[1] + "." + parts[2]
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	time0 := &clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	older, newer := newKey(t, "old"), newKey(t, "new")
	server := &keyServer{}
	server.publish(older)
	verifier := auth.NewVerifier(server.fetch, nil, time0.now)
	session := issue(t, older, time0.at)
	if _, err := verifier.Verify(t.Context(), session); err != nil {
		t.Fatalf("Verify: %v", err)
	}
	server.publish(older, newer)
	time0.at = time0.at.Add(3 * time.Second)
	if _, err := verifier.Verify(t.Context(), issue(t, newer, time0.at)); err != nil {
		t.Errorf("token of the new key: %v", err)
	}
	if _, err := verifier.Verify(t.Context(), session); err != nil {
		t.Errorf("a session of the old key ended: %v", err)
	}
	asked := server.asked.Load()
	for range 100 {
		_, _ = verifier.Verify(t.Context(), issue(t, newKey(t, "made-up"), time0.at)) // refused; the count is what matters
	}
	if n := server.asked.Load() - asked; n > 1 {
		t.Errorf("100 tokens of unknown keys made %d requests, want at most 1", n)
	}
	server.down = true
	time0.at = time0.at.Add(10 * time.Minute)
	if _, err := verifier.Verify(t.Context(), issue(t, newer, time0.at)); err != nil {
		t.Errorf("known key while the key server is away: %v", err)
	}
	fresh := auth.NewVerifier(server.fetch, nil, time0.now)
	session = issue(t, newer, time0.at)
	if _, err := fresh.Verify(t.Context(), session); !api.IsStatus(err, 503) {
		t.Errorf("no key known and none to be had: %v, want 503", err)
	}
	server.down = false
	asked = server.asked.Load()
	if _, err := fresh.Verify(t.Context(), session); !api.IsStatus(err, 503) || server.asked.Load() != asked {
		t.Errorf("at once after a failure: %v and %d requests, want 503 without one", err, server.asked.Load()-asked)
	}
	time0.at = time0.at.Add(200 * time.Millisecond)
	if _, err := fresh.Verify(t.Context(), session); err != nil {
		t.Errorf("a moment later, the key server being back: %v", err)
	}
}

// TestKnownTokensDoNotWait: while the keys are asked for and the answer is late, sessions go on.
func TestKnownTokensDoNotWait(t *testing.T) {
	t.Parallel()
	time0 := &clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	key := newKey(t, "k1")
	server := &keyServer{}
	server.publish(key)
	entered, release := make(chan struct{}), make(chan struct{})
	slow := false
	verifier := auth.NewVerifier(func(ctx context.Context) ([]byte, error) {
		if slow {
			close(entered)
			<-release
		}
		return server.fetch(ctx)
	}, nil, time0.now)
	session := issue(t, key, time0.at)
	if _, err := verifier.Verify(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	time0.at = time0.at.Add(3 * time.Second)
	slow = true
	strange := issue(t, newKey(t, "k9"), time0.at)
	done := make(chan error)
	go func() { _, err := verifier.Verify(t.Context(), strange); done <- err }()
	<-entered
	if _, err := verifier.Verify(t.Context(), session); err != nil {
		t.Errorf("a session while the keys are asked for: %v", err)
	}
	close(release)
	if err := <-done; !errors.Is(err, auth.ErrToken) {
		t.Errorf("token of an unknown key: %v, want ErrToken", err)
	}
}

func TestIdentities(t *testing.T) {
	t.Parallel()
	time0 := &clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	orders, payments := newKey(t, "").Private, newKey(t, "").Private
	verifier := auth.NewVerifier((&keyServer{}).fetch, map[string]ed25519.PublicKey{
		"order-service": orders.Public().(ed25519.PublicKey), "payment-service": payments.Public().(ed25519.PublicKey),
	}, time0.now)
	identity := auth.NewIdentity("order-service", orders, time0.now)
	ctx, err := identity.Context(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	caller, err := verifier.Verify(ctx, api.Token(ctx))
	if err != nil || caller.Service != "order-service" || caller.UserID != 0 {
		t.Errorf("Verify = %+v, %v", caller, err)
	}
	impostor, err := auth.NewIdentity("payment-service", orders, time0.now).Context(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if caller, err := verifier.Verify(ctx, api.Token(impostor)); !errors.Is(err, auth.ErrToken) {
		t.Errorf("order-service's key in the name of payment-service: %+v, %v", caller, err)
	}
	time0.at = time0.at.Add(40 * time.Second)
	later, err := identity.Context(t.Context())
	if err != nil || api.Token(later) == api.Token(ctx) {
		t.Errorf("the token was not renewed in time: %v", err)
	}
	time0.at = time0.at.Add(2 * time.Minute)
	if _, err := verifier.Verify(ctx, api.Token(ctx)); !errors.Is(err, auth.ErrToken) {
		t.Errorf("an old token of a component: %v, want ErrToken", err)
	}
}

func TestPublicKeysAsText(t *testing.T) {
	t.Parallel()
	public := newKey(t, "").Private.Public().(ed25519.PublicKey)
	back, err := auth.DecodePublicKey(auth.EncodePublicKey(public))
	if err != nil || !back.Equal(public) {
		t.Errorf("DecodePublicKey = %v, %v", back, err)
	}
	for _, bad := range []string{"", "x", "AAAA", strings.Repeat("A", 100)} {
		if _, err := auth.DecodePublicKey(bad); err == nil {
			t.Errorf("DecodePublicKey(%q) succeeded", bad)
		}
	}
}

func TestPublicKeysInCertificates(t *testing.T) {
	t.Parallel()
	certificate := func(key crypto.Signer) string {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "order-service"}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := auth.DecodePublicKey(certificate(private))
	if err != nil || !key.Equal(private.Public()) {
		t.Errorf("DecodePublicKey of a certificate = %v, %v", key, err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		certificate(other): "ECDSA",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n": "certificate of a public key",
	} {
		if _, err := auth.DecodePublicKey(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("DecodePublicKey(%q) = %v, want an error with %q", text, err, want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	key := auth.SigningKey{ID: "k1", Private: private}
	server := &keyServer{keys: map[string]ed25519.PublicKey{"k1": private.Public().(ed25519.PublicKey)}}
	now := time.Now()
	token, err := auth.IssueUserToken(key, selim, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("a.b.c")
	verifier := auth.NewVerifier(server.fetch, nil, func() time.Time { return now })
	f.Fuzz(func(t *testing.T, text string) {
		caller, err := verifier.Verify(t.Context(), text)
		if err == nil && text != token {
			t.Fatalf("Verify(%q) = %+v, a token nobody issued", text, caller)
		}
		if err != nil && !errors.Is(err, auth.ErrToken) {
			t.Fatalf("Verify(%q): %v, want ErrToken", text, err)
		}
	})
}
