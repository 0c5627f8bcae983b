package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/cloudconfig"
	"tienda/config"
	"tienda/eureka"
	"tienda/favourite"
	"tienda/gateway"
	"tienda/journal"
	"tienda/kit"
	"tienda/order"
	"tienda/payment"
	"tienda/product"
	"tienda/proxy"
	"tienda/shipping"
	"tienda/sqldb"
	"tienda/user"
	"tienda/zipkin"
)

// services is the table of the system: every component, who needs whom, and how each is made. They
// start in this order; none needs another to start.
func services() []kit.Service {
	return []kit.Service{
		{Name: "cloud-config", Title: "Cloud config", Port: 9296, Infrastructure: true,
			New: func(_ context.Context, env *kit.Env) (http.Handler, error) {
				settings := cloudconfig.DefaultSettings()
				err := errors.Join(env.Bind("spring.cloud.config.server", &settings), env.Bind("encrypt", &settings.Key),
					env.Bind("spring.security.user", &settings.User))
				if err != nil {
					return nil, err
				}
				server, err := cloudconfig.NewServer(settings, config.Files)
				if err != nil {
					return nil, err
				}
				env.Check("repositories", server.Check)
				return server, nil
			}},
		{Name: "service-discovery", Title: "Service discovery", Port: 8761, Infrastructure: true,
			New: func(_ context.Context, env *kit.Env) (http.Handler, error) {
				settings := eureka.DefaultSettings()
				if err := env.Bind("eureka.server", &settings); err != nil {
					return nil, err
				}
				server := eureka.NewServer(settings, time.Now)
				server.LeaveWhen(env.Draining)
				env.Go(server.Run)
				if len(settings.Peers) > 0 {
					peers, err := eureka.NewPeers(server, settings.Peers, &http.Client{Timeout: 5 * time.Second}, env.Log)
					if err != nil {
						return nil, fmt.Errorf("eureka.server.peers: %w", err)
					}
					env.Go(peers.Run)
					env.Check("peers", peers.Synced)
				}
				return server, countInstances(env, server)
			}},
		{Name: "zipkin", Title: "Tracing", Port: 9411, Infrastructure: true,
			New: func(_ context.Context, env *kit.Env) (http.Handler, error) {
				settings := zipkin.DefaultSettings()
				if err := env.Bind("tienda.zipkin", &settings); err != nil {
					return nil, err
				}
				if err := settings.Validate(); err != nil {
					return nil, fmt.Errorf("tienda.zipkin: %w", err)
				}
				db, err := env.DB(zipkin.Migrations)
				if err != nil {
					return nil, err
				}
				server := zipkin.New(db, settings, env.Metrics, env.Log, time.Now)
				env.Go(server.Run)
				return server, nil
			}},
		{Name: "user-service", Title: "User service", Port: 8700, Context: "/user-service",
			New: func(ctx context.Context, env *kit.Env) (http.Handler, error) {
				settings := user.DefaultSettings()
				shop, db, err := open(env, "tienda.user", &settings, user.Migrations)
				if err == nil && shop.Demo {
					err = user.Demo(ctx, db, time.Now())
				}
				if err != nil {
					return nil, err
				}
				service := user.New(db, settings, env.Log, time.Now)
				env.Go(service.Run)
				shop.verifier = auth.NewVerifier(service.KeySet, shop.trusted, time.Now) // the keys are its own
				shop.standing = service.Standing
				return shop.serve(env, service.Routes())
			}},
		{Name: "product-service", Title: "Product service", Port: 8500, Context: "/product-service", Needs: []string{"proxy-client"},
			New: func(ctx context.Context, env *kit.Env) (http.Handler, error) {
				settings := product.DefaultSettings()
				shop, db, err := open(env, "tienda.product", &settings, product.Migrations)
				if err == nil && shop.Demo {
					err = product.Demo(ctx, db, shop.currency, time.Now())
				}
				if err != nil {
					return nil, err
				}
				service := product.New(db, shop.currency, settings, env.Log, time.Now)
				env.Go(service.Run)
				return shop.serve(env, service.Routes())
			}},
		{Name: "order-service", Title: "Order service", Port: 8300, Context: "/order-service",
			Needs: []string{"product-service", "payment-service", "shipping-service", "user-service", "proxy-client"},
			New: func(ctx context.Context, env *kit.Env) (http.Handler, error) {
				settings := order.DefaultSettings()
				shop, db, err := open(env, "tienda.order", &settings, order.Migrations)
				if err == nil && shop.Demo {
					err = order.Demo(ctx, db, shop.currency, time.Now)
				}
				if err != nil {
					return nil, err
				}
				settings.TaxRate = shop.Tax.Rate
				client := api.NewClient(env.HTTP)
				service, err := order.New(order.Deps{
					DB: db, Users: client, Products: client, Payments: client, Shipping: client, Events: client, Identity: shop.identity,
					Currency: shop.currency, Settings: settings, Log: env.Log, Now: time.Now, Metrics: env.Metrics,
				})
				if err != nil {
					return nil, err
				}
				env.Go(service.Run)
				return shop.serve(env, service.Routes())
			}},
		{Name: "payment-service", Title: "Payment service", Port: 8400, Context: "/payment-service", Needs: []string{"order-service", "proxy-client"},
			New: func(ctx context.Context, env *kit.Env) (http.Handler, error) {
				settings := payment.DefaultSettings()
				shop, db, err := open(env, "tienda.payment", &settings, payment.Migrations)
				if err == nil && shop.Demo {
					err = payment.Demo(ctx, db, time.Now())
				}
				if err != nil {
					return nil, err
				}
				if shop.production() && settings.Sandbox.Enabled {
					return nil, fmt.Errorf("profile production refuses the sandbox payment provider: set tienda.payment.sandbox.enabled to false")
				}
				service, err := payment.New(db, api.NewClient(env.HTTP), shop.identity, shop.currency, settings, env.Log, time.Now)
				if err != nil {
					return nil, err
				}
				env.Go(service.Run)
				return shop.serve(env, service.Routes())
			}},
		{Name: "shipping-service", Title: "Shipping service", Port: 8600, Context: "/shipping-service",
			Needs: []string{"order-service", "product-service", "proxy-client"},
			New: func(ctx context.Context, env *kit.Env) (http.Handler, error) {
				settings := shipping.DefaultSettings()
				shop, db, err := open(env, "tienda.shipping", &settings, shipping.Migrations)
				if err == nil && shop.Demo {
					err = shipping.Demo(ctx, db, time.Now())
				}
				if err != nil {
					return nil, err
				}
				client := api.NewClient(env.HTTP)
				service := shipping.New(db, client, client, shop.identity, shop.currency, settings, env.Log, time.Now)
				env.Go(service.Run)
				return shop.serve(env, service.Routes())
			}},
		{Name: "favourite-service", Title: "Favourite service", Port: 8800, Context: "/favourite-service",
			Needs: []string{"user-service", "product-service", "proxy-client"},
			New: func(ctx context.Context, env *kit.Env) (http.Handler, error) {
				shop, db, err := open(env, "", nil, favourite.Migrations)
				if err == nil && shop.Demo {
					err = favourite.Demo(ctx, db, time.Now())
				}
				if err != nil {
					return nil, err
				}
				service := favourite.New(db, api.NewClient(env.HTTP), shop.identity, env.Log, time.Now)
				env.Go(service.Run)
				return shop.serve(env, service.Routes())
			}},
		{Name: "proxy-client", Title: "Proxy client", Port: 8900, Context: "/app", Needs: businessServices(),
			New: func(_ context.Context, env *kit.Env) (http.Handler, error) {
				shop, err := bindShop(env)
				if err != nil {
					return nil, err
				}
				service, err := proxy.New(api.NewClient(env.HTTP), env.HTTP, shop.identity, passThrough(), env.Log, time.Now)
				if err != nil {
					return nil, err
				}
				env.Go(service.Run)
				shop.verifier = auth.NewVerifier(service.KeySet, shop.trusted, time.Now) // others get them here
				handler, err := shop.serve(env, service.Routes())
				return proxy.SecureHeaders(handler), err
			}},
		{Name: "api-gateway", Title: "API gateway", Port: 8080, Needs: append(businessServices(), "proxy-client"),
			New: newGateway},
	}
}

// businessServices are the six of the shop's domain.
func businessServices() []string {
	return []string{"user-service", "product-service", "order-service", "payment-service", "shipping-service", "favourite-service"}
}

// schemas are the migrations of each component that has a database.
func schemas() map[string][]sqldb.Migrations {
	return map[string][]sqldb.Migrations{
		"zipkin":            {zipkin.Migrations},
		"user-service":      {user.Migrations, journal.Migrations},
		"product-service":   {product.Migrations, journal.Migrations},
		"order-service":     {order.Migrations, journal.Migrations},
		"payment-service":   {payment.Migrations, journal.Migrations},
		"shipping-service":  {shipping.Migrations, journal.Migrations},
		"favourite-service": {favourite.Migrations, journal.Migrations},
	}
}

// knownSettings are all keys below "tienda"; any other is refused at start.
func knownSettings() []string {
	return slices.Concat(
		kit.KeysOf("tienda", shop{}),
		kit.KeysOf("tienda.user", user.Settings{}),
		kit.KeysOf("tienda.product", product.Settings{}),
		kit.KeysOf("tienda.order", order.Settings{}),
		kit.KeysOf("tienda.payment", payment.Settings{}),
		kit.KeysOf("tienda.shipping", shipping.Settings{}),
		kit.KeysOf("tienda.gateway", gateway.Limits{}),
		kit.KeysOf("tienda.zipkin", zipkin.Settings{}),
	)
}

func componentNames() []string {
	var names []string
	for _, service := range services() {
		names = append(names, service.Name)
	}
	return names
}

// selected are the rows of the table that names stand for: "order" is "order-service", "gateway" is
// "api-gateway".
func selected(names []string) ([]kit.Service, error) {
	var rows []kit.Service
	for _, name := range names {
		i := slices.IndexFunc(services(), func(s kit.Service) bool {
			return s.Name == name || strings.TrimSuffix(s.Name, "-service") == name || strings.TrimPrefix(s.Name, "api-") == name
		})
		if i < 0 {
			return nil, fmt.Errorf("there is no component %q; there are %s", name, strings.Join(componentNames(), ", "))
		}
		rows = append(rows, services()[i])
	}
	return rows, nil
}
