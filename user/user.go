// Package user is user-service: users, their credentials and addresses, and the tokens that verify
// e-mail addresses.
//
// It is also where log-ins are decided. Passwords are checked here and their hashes never leave; the
// proxy client, which issues tokens and has no data of its own, keeps refresh tokens, failed attempts
// and signing keys here. It calls no other service.
//
// A deleted user is emptied rather than removed: their orders remain, and the event "DELETED" makes
// the other services forget them too.
package user

import (
	"context"
	"embed"
	"log/slog"
	"net/http"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations creates the tables of the service.
var Migrations = sqldb.Migrations{Name: "user", Files: files}

// Settings are those below tienda.user.
type Settings struct {
	// PasswordRules refuses weak passwords. Without it any password will do, as in the original system.
	PasswordRules bool `koanf:"password-rules"`
	// RefreshTokenLife is how long a session lasts that nobody refreshes.
	RefreshTokenLife time.Duration `koanf:"refresh-token-life"`
	// SigningKeyLife is how long a key signs users' tokens before the next one does. Less than 20
	// minutes counts as 20: a key is published some time before it signs.
	SigningKeyLife time.Duration `koanf:"signing-key-life"`
}

// DefaultSettings are used where nothing else is set.
func DefaultSettings() Settings {
	return Settings{PasswordRules: true, RefreshTokenLife: 30 * 24 * time.Hour, SigningKeyLife: 24 * time.Hour}
}

// Service answers for users. It is safe for concurrent use, by several replicas on one database too.
type Service struct {
	db       *sqldb.DB
	settings Settings
	log      *slog.Logger
	now      func() time.Time
	hasher   *hasher
	// refusal is the least time that a refused log-in takes; see logIn.
	refusal time.Duration
}

// New makes the service on a database with [Migrations] and [journal.Migrations].
func New(db *sqldb.DB, settings Settings, log *slog.Logger, now func() time.Time) *Service {
	return &Service{db: db, settings: settings, log: log, now: now, hasher: newHasher(), refusal: leastRefusal}
}

// Routes is the table of the service. It can be read from a nil Service.
func (s *Service) Routes() []web.Route {
	named := api.User{FirstName: new("Ada"), LastName: new("Lovelace"), Email: new("ada@example.com"), Phone: new("+21622125144"),
		Credential: &api.Credential{Username: new("ada"), Password: new("a long passphrase")}}
	login := api.Credential{Username: new("ada"), Password: new("a long passphrase"), User: &api.User{UserID: 1}}
	place := api.Address{FullAddress: new("1 Main Street"), PostalCode: new("2016"), City: new("Carthage"), Country: new("TN"), User: &api.User{UserID: 1}}
	proof := api.VerificationToken{Token: new("6f9619ff"), Credential: &api.Credential{CredentialID: 1}}
	idQuery := append([]string{"ids?ids of the wanted rows, with commas between"}, web.PageQuery...)
	addressQuery := append([]string{"userId?whose addresses"}, idQuery...)
	return []web.Route{
		{Method: "GET", Pattern: "/api/users", Summary: "List users", Access: web.Owner, Origin: true, Query: idQuery, Out: api.List[api.User]{}, Handler: s.listUsers},
		{Method: "GET", Pattern: "/api/users/{userId}", Summary: "Read a user", Access: web.Owner, Origin: true, Out: api.User{}, Handler: s.getUser},
		{Method: "GET", Pattern: "/api/users/username/{username}", Summary: "Read a user by username", Access: web.Owner, Origin: true, Out: api.User{}, Handler: s.getUserByUsername},
		{Method: "POST", Pattern: "/api/users", Summary: "Register a user", Access: web.Public, Origin: true, In: named, Out: api.User{}, Status: http.StatusCreated, Handler: s.postUser},
		{Method: "PUT", Pattern: "/api/users", Summary: "Change the user that the body names", Access: web.Owner, Origin: true, In: named, Out: api.User{}, Handler: s.postUser},
		{Method: "PUT", Pattern: "/api/users/{userId}", Summary: "Change a user", Access: web.Owner, Origin: true, In: named, Out: api.User{}, Handler: s.putUserByID},
		{Method: "DELETE", Pattern: "/api/users/{userId}", Summary: "Delete a user and forget who they were", Access: web.Owner, Origin: true, Out: true, Handler: s.deleteUser},
		{Method: "GET", Pattern: "/api/exports/{userId}", Summary: "Read everything kept here about a user", Access: web.Owner, Out: api.UserExport{}, Handler: s.exportUser},

		{Method: "GET", Pattern: "/api/credentials", Summary: "List credentials", Access: web.Owner, Origin: true, Query: idQuery, Out: api.List[api.Credential]{}, Handler: s.listCredentials},
		{Method: "GET", Pattern: "/api/credentials/{credentialId}", Summary: "Read a credential", Access: web.Owner, Origin: true, Out: api.Credential{}, Handler: s.getCredential},
		{Method: "GET", Pattern: "/api/credentials/username/{username}", Summary: "Read a credential by username", Access: web.Owner, Origin: true, Out: api.Credential{}, Handler: s.getCredentialByUsername},
		{Method: "POST", Pattern: "/api/credentials", Summary: "Give a user a credential", Access: web.Owner, Origin: true, In: login, Out: api.Credential{}, Status: http.StatusCreated, Handler: s.postCredential},
		{Method: "PUT", Pattern: "/api/credentials", Summary: "Change the credential that the body names", Access: web.Owner, Origin: true, In: login, Out: api.Credential{}, Handler: s.postCredential},
		{Method: "PUT", Pattern: "/api/credentials/{credentialId}", Summary: "Change a credential", Access: web.Owner, Origin: true, In: login, Out: api.Credential{}, Handler: s.putCredentialByID},
		{Method: "DELETE", Pattern: "/api/credentials/{credentialId}", Summary: "Delete a credential: its user can no longer log in", Access: web.Owner, Origin: true, Out: true, Handler: s.deleteCredential},

		{Method: "GET", Pattern: "/api/address", Summary: "List addresses", Access: web.Owner, Origin: true, Query: addressQuery, Out: api.List[api.Address]{}, Handler: s.listAddresses},
		{Method: "GET", Pattern: "/api/address/{addressId}", Summary: "Read an address", Access: web.Owner, Origin: true, Out: api.Address{}, Handler: s.getAddress},
		{Method: "POST", Pattern: "/api/address", Summary: "Add an address", Access: web.Owner, Origin: true, In: place, Out: api.Address{}, Status: http.StatusCreated, Handler: s.postAddress},
		{Method: "PUT", Pattern: "/api/address", Summary: "Change the address that the body names", Access: web.Owner, Origin: true, In: place, Out: api.Address{}, Handler: s.postAddress},
		{Method: "PUT", Pattern: "/api/address/{addressId}", Summary: "Change an address", Access: web.Owner, Origin: true, In: place, Out: api.Address{}, Handler: s.putAddressByID},
		{Method: "DELETE", Pattern: "/api/address/{addressId}", Summary: "Delete an address", Access: web.Owner, Origin: true, Out: true, Handler: s.deleteAddress},

		{Method: "GET", Pattern: "/api/verificationTokens", Summary: "List verification tokens", Access: web.Admin, Origin: true, Query: idQuery, Out: api.List[api.VerificationToken]{}, Handler: s.listVerificationTokens},
		{Method: "GET", Pattern: "/api/verificationTokens/{verificationTokenId}", Summary: "Read a verification token", Access: web.Admin, Origin: true, Out: api.VerificationToken{}, Handler: s.getVerificationToken},
		{Method: "POST", Pattern: "/api/verificationTokens", Summary: "Add a verification token", Access: web.Admin, Origin: true, In: proof, Out: api.VerificationToken{}, Status: http.StatusCreated, Handler: s.postVerificationToken},
		{Method: "PUT", Pattern: "/api/verificationTokens", Summary: "Change the verification token that the body names", Access: web.Admin, Origin: true, In: proof, Out: api.VerificationToken{}, Handler: s.postVerificationToken},
		{Method: "PUT", Pattern: "/api/verificationTokens/{verificationTokenId}", Summary: "Change a verification token", Access: web.Admin, Origin: true, In: proof, Out: api.VerificationToken{}, Handler: s.putVerificationTokenByID},
		{Method: "DELETE", Pattern: "/api/verificationTokens/{verificationTokenId}", Summary: "Delete a verification token", Access: web.Admin, Origin: true, Out: true, Handler: s.deleteVerificationToken},

		{Method: "POST", Pattern: "/api/logins", Summary: "Check a password and begin a session", Access: web.Service, In: api.Login{Username: new("ada"), Password: new("a long passphrase")}, Out: api.Session{}, Handler: proxyOnly(s.logIn)},
		{Method: "POST", Pattern: "/api/refresh-tokens/rotate", Summary: "Use up a refresh token for the next", Access: web.Service, In: api.RefreshToken{}, Out: api.Session{}, Handler: proxyOnly(s.rotateRefreshToken)},
		{Method: "POST", Pattern: "/api/refresh-tokens/revoke", Summary: "End the session of a refresh token", Access: web.Service, In: api.RefreshToken{}, Status: http.StatusNoContent, Handler: proxyOnly(s.revokeRefreshToken)},
		{Method: "GET", Pattern: "/api/signing-keys", Summary: "Read the keys that sign users' tokens", Access: web.Service, Out: api.List[api.SigningKey]{}, Handler: proxyOnly(s.listSigningKeys)},
		journal.EventsRoute(s.events),
	}
}

func (s *Service) events(w http.ResponseWriter, r *http.Request) error {
	return journal.ServeEvents(w, r, s.db, s.now())
}

// proxyOnly closes a row to all components but the one that logs users in.
func proxyOnly(handler web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if auth.CallerOf(r.Context()).Service != "proxy-client" {
			return api.Forbidden("this is for proxy-client only")
		}
		return handler(w, r)
	}
}

// Run renews signing keys in time and removes what has expired, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	const keysEvery, expiryEvery = time.Minute, time.Hour
	var swept time.Time
	for {
		sweep := s.now().Sub(swept) >= expiryEvery
		err := s.tend(ctx, sweep)
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "cannot tend sessions and keys, trying again", "err", err)
		}
		if err == nil && sweep {
			swept = s.now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(keysEvery):
		}
	}
}

func (s *Service) tend(ctx context.Context, sweep bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := s.signingKeys(ctx); err != nil {
		return err
	}
	if !sweep {
		return nil
	}
	return s.removeExpired(ctx, s.now())
}
