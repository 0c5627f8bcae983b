// Package proxy is proxy-client, the shop's front for people: it logs users in, issues and refreshes
// their tokens, publishes the keys to verify them with, answers for the caller's own account, and
// passes every resource of the business services through under one context path.
//
// It holds no data of its own. Passwords, sessions and signing keys are user-service's; it calls
// that one as itself, and all others with the token of the user at hand.
package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/web"
)

// contextPath is where the original system has the proxy client, and not at its name.
const contextPath = "/app"

// PassThrough is one service whose rows are served here too.
type PassThrough struct {
	Service string // its name: "order-service"
	Context string // its context path: "/order-service"
	Routes  []web.Route
}

// Service is the proxy client. It is safe for concurrent use.
type Service struct {
	client   *api.Client
	http     *http.Client
	identity *auth.Identity
	log      *slog.Logger
	now      func() time.Time
	passed   []web.Route
	keys     *keyring
	verifier *auth.Verifier
}

// New makes the proxy client. h must find services by their names and client must use it; identity is
// what user-service knows this component by. It calls nobody yet: every service may be absent. Two
// rows for the same requests are an error.
func New(client *api.Client, h *http.Client, identity *auth.Identity, rows []PassThrough, log *slog.Logger, now func() time.Time) (*Service, error) {
	s := &Service{client: client, http: h, identity: identity, log: log, now: now}
	s.keys = &keyring{fetch: s.fetchKeys, now: now}
	s.verifier = auth.NewVerifier(s.KeySet, nil, now)
	seen := map[string]string{}
	for _, row := range rows {
		for _, route := range row.Routes {
			if !isPassed(route) {
				continue
			}
			key := route.Method + " " + route.Pattern
			if other, ok := seen[key]; ok {
				return nil, fmt.Errorf("proxy client: %s and %s both have %s", other, row.Service, key)
			}
			seen[key] = row.Service
			route.Handler = s.forward(row)
			s.passed = append(s.passed, route)
		}
	}
	return s, nil
}

// isPassed leaves out what is between components, and what others than the shop's clients call.
func isPassed(route web.Route) bool {
	return route.Access != web.Service && strings.HasPrefix(route.Pattern, "/api/") &&
		route.Pattern != "/api/events" && !strings.HasPrefix(route.Pattern, "/api/webhooks/")
}

// Routes is the table of the proxy client: its own rows, and those passed through with the access
// rules of their services.
func (s *Service) Routes() []web.Route {
	login := api.Login{Username: new("selimhorri"), Password: new("0000")}
	return append([]web.Route{
		{Method: "POST", Pattern: "/api/authenticate", Summary: "Log in", Access: web.Public, Origin: true, In: login, Out: api.Tokens{}, Handler: s.authenticate},
		{Method: "GET", Pattern: "/api/authenticate/jwt/{jwt}", Summary: "Tell whether a token is good", Access: web.Public, Origin: true, Out: true, Handler: s.validate},
		{Method: "POST", Pattern: "/api/authenticate/refresh", Summary: "Use up a refresh token for new tokens", Access: web.Public, In: api.RefreshToken{RefreshToken: "the one of the last answer"}, Out: api.Tokens{}, Handler: s.refresh},
		{Method: "POST", Pattern: "/api/authenticate/logout", Summary: "End the session of a refresh token", Access: web.Public, In: api.RefreshToken{RefreshToken: "the one of the last answer"}, Status: http.StatusNoContent, Handler: s.logOut},
		{Method: "GET", Pattern: "/.well-known/jwks.json", Summary: "Read the keys that users' tokens are verified with", Access: web.Public, Handler: s.keySet},
		{Method: "GET", Pattern: "/api/me", Summary: "Read the caller's account", Access: web.User, Out: api.Me{}, Handler: s.me},
		{Method: "GET", Pattern: "/api/me/orders", Summary: "List the caller's orders with payment and shipment", Access: web.User, Query: web.PageQuery, Out: api.List[api.Order]{}, Handler: s.myOrders},
		{Method: "GET", Pattern: "/api/me/export", Summary: "Read everything the shop keeps about the caller", Access: web.User, Out: api.PersonalData{}, Handler: s.export},
	}, s.passed...)
}

// Run keeps the signing keys fresh until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	failing := false
	for {
		err := s.keys.refresh(ctx)
		if err != nil && !failing {
			s.log.WarnContext(ctx, "cannot get the signing keys, trying again", "err", err)
		}
		failing = err != nil
		pause := keysFresh / 2
		if failing {
			pause = keysRetry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// SecureHeaders sets the headers on every answer that browsers protect their users by, as the original
// system did.
func SecureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-XSS-Protection", "1; mode=block")
		h.Set("Cache-Control", "no-cache, no-store, max-age=0, must-revalidate")
		h.Set("Pragma", "no-cache")
		h.Set("Expires", "0")
		h.Set("X-Frame-Options", "SAMEORIGIN")
		next.ServeHTTP(w, r)
	})
}
