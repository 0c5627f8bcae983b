package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bojanz/currency"
	"github.com/prometheus/client_golang/prometheus"

	"tienda/api"
	"tienda/auth"
	"tienda/eureka"
	"tienda/gateway"
	"tienda/journal"
	"tienda/kit"
	"tienda/proxy"
	"tienda/sqldb"
	"tienda/web"
)

// shop is what the components of the shop have in common, bound from "tienda".
type shop struct {
	Currency string   `koanf:"currency"` // ISO 4217; the shop has one
	Access   string   `koanf:"access"`   // "strict", or "open": the original resources answer without a token
	Demo     bool     `koanf:"demo"`     // fill empty databases with demo data
	Tax      tax      `koanf:"tax"`
	Identity identity `koanf:"identity"`

	profiles []string
	currency api.Currency
	identity *auth.Identity
	trusted  map[string]ed25519.PublicKey
	verifier *auth.Verifier
	standing func(context.Context, auth.Caller) (auth.Caller, error) // what the caller of a good token may do now; nil is what it says
}

// tax is how much is added to the lines of an order.
type tax struct {
	Rate string `koanf:"rate"` // a decimal: "0.19" is 19 %
}

// identity is how components prove to each other who they are.
type identity struct {
	KeyFile string            `koanf:"key-file"` // this component's Ed25519 key, PKCS #8 PEM
	Trusted map[string]string `koanf:"trusted"`  // the public key of each component
}

// bindShop reads the common settings of a component and makes its identity.
func bindShop(env *kit.Env) (*shop, error) {
	s := &shop{Currency: "USD", Access: "strict", Tax: tax{Rate: "0"}}
	if err := env.Bind("tienda", s); err != nil {
		return nil, err
	}
	var spring struct {
		Active []string `koanf:"active"`
	}
	if err := env.Bind("spring.profiles", &spring); err != nil {
		return nil, err
	}
	s.profiles = spring.Active
	switch {
	case s.Access != "strict" && s.Access != "open":
		return nil, fmt.Errorf("tienda.access is %q: want strict or open", s.Access)
	case s.production() && s.Access == "open":
		return nil, errors.New("profile production refuses tienda.access: open: anybody could read and write everything")
	case s.production() && s.Demo:
		return nil, errors.New("profile production refuses demo data, whose passwords everybody knows: start without it (--no-demo, or tienda.demo: false)")
	}
	if s.Access == "open" {
		env.Log.Warn("tienda.access is open: the original resources answer anybody, without a token")
	}
	digits, ok := currency.GetDigits(s.Currency)
	if !ok {
		return nil, fmt.Errorf("tienda.currency is %q: want an ISO 4217 code such as USD, EUR or TND", s.Currency)
	}
	s.currency = api.Currency{Code: s.Currency, Digits: int(digits)}
	return s, s.identify(env)
}

func (s *shop) production() bool { return slices.Contains(s.profiles, "production") }

// identify reads the component's own key and the public keys of the others.
func (s *shop) identify(env *kit.Env) error {
	if s.Identity.KeyFile == "" {
		return errors.New("tienda.identity.key-file is not set: the file of this component's Ed25519 key (openssl genpkey -algorithm ed25519)")
	}
	private, err := readKey(s.Identity.KeyFile)
	if err != nil {
		return err
	}
	s.trusted = map[string]ed25519.PublicKey{}
	for name, text := range s.Identity.Trusted {
		if s.trusted[name], err = auth.DecodePublicKey(text); err != nil {
			return fmt.Errorf("tienda.identity.trusted.%s: %w", name, err)
		}
	}
	s.identity = auth.NewIdentity(env.Name, private, time.Now)
	s.verifier = auth.NewVerifier(fetchKeys(env.HTTP), s.trusted, time.Now)
	return nil
}

func readKey(path string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key of this component: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("key of this component: %s holds no PEM block", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := key.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("key of this component: %s is not an Ed25519 key in PKCS #8", path)
	}
	return private, nil
}

// fetchKeys gets the keys of users' tokens from the proxy client.
func fetchKeys(client *http.Client) auth.FetchKeys {
	return func(ctx context.Context) ([]byte, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://proxy-client/app/.well-known/jwks.json", http.NoBody)
		if err != nil {
			return nil, err
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, &api.Unreachable{Problem: api.Unavailable("proxy-client"), Cause: err}
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return nil, api.Unavailable("proxy-client")
		}
		keys, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		if err != nil {
			return nil, api.NewUnreachable("proxy-client", err) // it broke off; that is no mistake of ours
		}
		return keys, nil
	}
}

// open does what every business service begins with: its settings, the shop's and the database.
func open(env *kit.Env, prefix string, settings any, migrations sqldb.Migrations) (*shop, *sqldb.DB, error) {
	s, err := bindShop(env)
	if err != nil {
		return nil, nil, err
	}
	if prefix != "" {
		if err := env.Bind(prefix, settings); err != nil {
			return nil, nil, err
		}
	}
	db, err := env.DB(migrations, journal.Migrations)
	return s, db, err
}

// serve makes the handler of a component's routes.
func (s *shop) serve(env *kit.Env, routes []web.Route) (http.Handler, error) {
	row := rowOf(env.Name)
	env.WarmUp("keys of users' tokens", s.verifier.Prepare)
	return web.New(web.API{
		Name: row.Name, Title: row.Title, Context: row.Context, Routes: routes,
		Verify: s.verify, Open: s.Access == "open", Log: env.Log,
	})
}

func (s *shop) verify(ctx context.Context, token string) (auth.Caller, error) {
	caller, err := s.verifier.Verify(ctx, token)
	if err != nil || s.standing == nil {
		return caller, err
	}
	return s.standing(ctx, caller)
}

func rowOf(name string) kit.Service {
	all := services()
	return all[slices.IndexFunc(all, func(s kit.Service) bool { return s.Name == name })]
}

// countInstances is the gauge of what is registered.
func countInstances(env *kit.Env, server *eureka.Server) error {
	description := prometheus.NewDesc("eureka_instances", "Registered instances.", []string{"application", "status"}, nil)
	return env.Metrics.Register(instanceCollector{server, description})
}

type instanceCollector struct {
	server      *eureka.Server
	description *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c instanceCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.description }

// Collect implements prometheus.Collector.
func (c instanceCollector) Collect(ch chan<- prometheus.Metric) {
	for application, statuses := range c.server.Instances() {
		for status, n := range statuses {
			ch <- prometheus.MustNewConstMetric(c.description, prometheus.GaugeValue, float64(n), application, string(status))
		}
	}
}

// passThrough are the rows of the business services that the proxy client serves below /app.
func passThrough() []proxy.PassThrough {
	var all []proxy.PassThrough
	for name, routes := range routeTables() {
		row := rowOf(name)
		all = append(all, proxy.PassThrough{Service: row.Name, Context: row.Context, Routes: routes})
	}
	slices.SortFunc(all, func(a, b proxy.PassThrough) int { return strings.Compare(a.Service, b.Service) })
	return all
}

// newGateway makes the API gateway, with the API documentation of all services in front of it.
func newGateway(_ context.Context, env *kit.Env) (http.Handler, error) {
	s, err := bindShop(env)
	if err != nil {
		return nil, err
	}
	var limits gateway.Limits
	if err := env.Bind("tienda.gateway", &limits); err != nil {
		return nil, err
	}
	settings, err := gatewaySettings(env)
	if err != nil {
		return nil, err
	}
	env.WarmUp("keys of users' tokens", s.verifier.Prepare)
	g, err := gateway.New(settings, limits, gateway.Deps{
		Transport: env.Transport, Resolver: resolver(env.Instances), Access: accessRows(), Open: s.Access == "open",
		Verify: func(ctx context.Context, token string) (gateway.Principal, error) {
			caller, err := s.verifier.Verify(ctx, token)
			return gateway.Principal{Subject: caller.Username, Roles: caller.Roles, Service: caller.Service}, err
		},
		Log: env.Log, Metrics: env.Metrics, Now: time.Now,
	})
	if err != nil {
		return nil, err
	}
	env.Watch(func() {
		settings, err := gatewaySettings(env)
		if err == nil {
			err = g.Reload(settings)
		}
		if err != nil {
			env.Log.Error("changed routes are not used; the ones before stay", slog.Any("err", err))
		}
	})
	return withDocs(g), nil
}

func gatewaySettings(env *kit.Env) (gateway.Settings, error) {
	var settings gateway.Settings
	if err := env.Bind("spring.cloud.gateway", &settings); err != nil {
		return settings, err
	}
	return settings, env.Bind("resilience4j.circuitbreaker.instances", &settings.Breakers)
}

type resolver func(ctx context.Context, name string, except ...string) []string

// Instances implements gateway.Resolver.
func (r resolver) Instances(ctx context.Context, name string, except ...string) []string {
	return r(ctx, name, except...)
}

// accessRows are all operations that the gateway may see, with who may call them.
func accessRows() []gateway.AccessRow {
	var rows []gateway.AccessRow
	add := func(context string, routes []web.Route) {
		for _, route := range routes {
			rows = append(rows, gateway.AccessRow{Method: route.Method, Pattern: context + route.Pattern, Access: string(route.Access), Origin: route.Origin})
		}
	}
	for name, routes := range routeTables() {
		add(rowOf(name).Context, routes)
	}
	add("/app", proxyRoutes())
	return rows
}
