// Package web serves JSON over HTTP from one table of routes.
//
// A service is a list of [Route]: from the same rows come the mux, the check of who may call
// ([Access]), the OpenAPI document at /v3/api-docs and the tests that try every row as everybody.
// Handlers return errors; they are rendered and logged in one place, as RFC 9457 problem documents.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tienda/api"
	"tienda/auth"
)

// Access says who may call a route. The zero value is refused at start: every row needs a rule.
type Access string

// The access rules. Ownership itself is a predicate of the handler's SQL: [Owner] admits any user
// and the handler looks only at the caller's own rows, unless the caller is an administrator.
const (
	Public         Access = "public"           // anybody; a token is looked at when it holds
	User           Access = "user"             // any user
	Owner          Access = "owner"            // any user, for rows of their own; administrators for all
	Admin          Access = "admin"            // administrators
	Service        Access = "service"          // other components, as themselves; never routed from outside
	AdminOrService Access = "admin or service" // administrators from outside, components inside
)

// Handler answers a request or returns an error, usually an *api.Problem.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Route is one row of a service's table.
type Route struct {
	Method  string
	Pattern string // below the context path, as of net/http: "/api/orders/{orderId}"
	Summary string
	Access  Access
	// Origin marks a resource of the original system: its input is read leniently, and
	// tienda.access: open lets anybody call it.
	Origin bool
	// Idempotent rows need the header Idempotency-Key.
	Idempotent bool
	// Waits marks rows that answer 202 when the caller would wait no longer, as the header Prefer says.
	Waits   bool
	In      any      // a sample of the body read, which is the documentation's example; nil for none
	Out     any      // a value of the type answered; nil for none
	Status  int      // of success; 0 means 200
	Query   []string // names of query parameters, with a "?" sign and a description behind them if need be
	Handler Handler
}

// API is one service's routes and what serving them takes.
type API struct {
	Name    string // "order-service"
	Title   string // of its documentation
	Context string // context path: "/order-service"
	Routes  []Route
	// Verify returns the caller a bearer token speaks for; its errors are auth.ErrToken or a Problem.
	Verify func(ctx context.Context, token string) (auth.Caller, error)
	// Open is tienda.access: open: Origin rows answer without a token.
	Open bool
	Log  *slog.Logger
}

// maxWork bounds how long any request is worked on.
const maxWork = 40 * time.Second

// New checks the table and returns the handler of the service. Patterns are served below the context
// path, with and without a trailing slash.
func New(a API) (http.Handler, error) {
	if a.Verify == nil || a.Log == nil {
		return nil, fmt.Errorf("routes of %s: Verify and Log are needed", a.Name)
	}
	mux := http.NewServeMux()
	for i := range a.Routes {
		route := &a.Routes[i]
		if err := checkRoute(route); err != nil {
			return nil, fmt.Errorf("routes of %s: %w", a.Name, err)
		}
		mux.HandleFunc(route.Method+" "+a.Context+route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := a.serve(route, w, r); err != nil {
				a.fail(w, r, err)
			}
		})
	}
	docs := &document{api: &a}
	mux.HandleFunc("GET "+a.Context+"/v3/api-docs", docs.ServeHTTP)
	return &root{api: &a, mux: mux}, nil
}

func checkRoute(route *Route) error {
	switch route.Access {
	case Public, User, Owner, Admin, Service, AdminOrService:
	default:
		return fmt.Errorf("%s %s has no access rule", route.Method, route.Pattern)
	}
	if route.Handler == nil || route.Summary == "" || !strings.HasPrefix(route.Pattern, "/") {
		return fmt.Errorf("%s %s: a handler, a summary and a pattern that begins with / are needed", route.Method, route.Pattern)
	}
	return nil
}

// root looks routes up without the redirects of net/http's mux, which turn a POST into a GET in many
// clients, and answers what matches no route as a problem.
type root struct {
	api *API
	mux *http.ServeMux
}

func (h *root) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			h.api.recovered(w, r, p)
		}
	}()
	path := r.URL.Path
	if strings.Contains(path, "//") || strings.Contains(path, "/./") || strings.Contains(path, "/../") {
		h.api.fail(w, r, api.NotFound("no such path"))
		return
	}
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		h.api.fail(w, r, api.BadRequest("malformed query: %v", err))
		return
	}
	if len(path) > 1 && strings.HasSuffix(path, "/") {
		r.URL.Path = strings.TrimSuffix(path, "/")
		r.URL.RawPath = strings.TrimSuffix(r.URL.RawPath, "/")
	}
	handler, pattern := h.mux.Handler(r)
	if pattern == "" {
		probe := &statusProbe{header: http.Header{}}
		handler.ServeHTTP(probe, r)
		if probe.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", probe.header.Get("Allow"))
			h.api.fail(w, r, api.Status(http.StatusMethodNotAllowed, "%s is not possible here; allowed: %s", r.Method, probe.header.Get("Allow")))
			return
		}
		h.api.fail(w, r, api.NotFound("no such path"))
		return
	}
	h.mux.ServeHTTP(w, r)
}

// statusProbe takes the answer of the mux's own 404 and 405 handlers.
type statusProbe struct {
	header http.Header
	status int
}

func (p *statusProbe) Header() http.Header         { return p.header }
func (p *statusProbe) Write(b []byte) (int, error) { return len(b), nil }
func (p *statusProbe) WriteHeader(status int)      { p.status = status }

type routeKey struct{}

func (a *API) serve(route *Route, w http.ResponseWriter, r *http.Request) error {
	caller, token, err := a.caller(route, r)
	if err != nil {
		return err
	}
	if err := route.admit(caller); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout(r))
	defer cancel()
	ctx = auth.WithCaller(ctx, caller)
	ctx = context.WithValue(ctx, routeKey{}, route)
	if token != "" {
		ctx = api.WithToken(ctx, token)
	}
	inner := r.WithContext(ctx)
	return route.Handler(w, inner)
}

// timeout is how long the caller still waits, at most maxWork.
func timeout(r *http.Request) time.Duration {
	ms, err := strconv.ParseInt(r.Header.Get(api.TimeoutHeader), 10, 64)
	if err != nil || ms <= 0 || ms > maxWork.Milliseconds() {
		return maxWork
	}
	return time.Duration(ms) * time.Millisecond
}

// caller verifies the token of the request, if there is one. On public rows one that does not hold
// counts as none, so that a client with an expired token can still log in again.
func (a *API) caller(route *Route, r *http.Request) (auth.Caller, string, error) {
	var caller auth.Caller
	token := BearerToken(r)
	if token != "" {
		var err error
		caller, err = a.Verify(r.Context(), token)
		switch {
		case err != nil && route.Access == Public, err != nil && a.Open && route.opens():
			caller, token = auth.Caller{}, ""
		case errors.Is(err, auth.ErrToken):
			return caller, "", api.Unauthorized("%v; log in again", err)
		case err != nil:
			return caller, "", err
		}
	}
	if a.Open && route.opens() {
		caller.Open = true
	}
	return caller, token, nil
}

// opens reports whether tienda.access: open is for this row.
func (route *Route) opens() bool { return route.Origin && route.Access != Service }

// BearerToken is the token in the Authorization header, or "".
func BearerToken(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// admit applies the row's access rule.
func (route *Route) admit(caller auth.Caller) error {
	if route.Access == Public || (caller.Open && route.opens()) {
		return nil
	}
	if caller.UserID == 0 && caller.Service == "" {
		return api.Unauthorized("a token is needed: log in and send the header Authorization: Bearer TOKEN")
	}
	ok := false
	switch route.Access {
	case User, Owner:
		ok = caller.UserID != 0
	case Admin:
		ok = caller.Admin()
	case Service:
		ok = caller.Service != ""
	case AdminOrService:
		ok = caller.Admin() || caller.Service != ""
	}
	if !ok {
		return api.Forbidden("this is for %s only", route.Access)
	}
	return nil
}
