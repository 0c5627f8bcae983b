package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"

	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"

	"tienda/favourite"
	"tienda/order"
	"tienda/payment"
	"tienda/product"
	"tienda/proxy"
	"tienda/shipping"
	"tienda/user"
	"tienda/web"
)

// routeTables are the routes of the business services. The tables can be read without a service
// behind them; their handlers cannot be called.
func routeTables() map[string][]web.Route {
	return map[string][]web.Route{
		"user-service":      (*user.Service)(nil).Routes(),
		"product-service":   (*product.Service)(nil).Routes(),
		"order-service":     (*order.Service)(nil).Routes(),
		"payment-service":   (*payment.Service)(nil).Routes(),
		"shipping-service":  (*shipping.Service)(nil).Routes(),
		"favourite-service": (*favourite.Service)(nil).Routes(),
	}
}

// proxyRoutes are the routes of the proxy client, those it passes through included.
func proxyRoutes() []web.Route {
	service, err := proxy.New(nil, nil, nil, passThrough(), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		panic(err) // the tables are constants: the first test would fail
	}
	return service.Routes()
}

// withDocs puts Swagger UI with the documents of all services in front of the gateway, at
// /swagger-ui.html as in Spring's world.
func withDocs(next http.Handler) http.Handler {
	type document struct {
		URL  string `json:"url"`
		Name string `json:"name"`
	}
	var documents []document
	for _, name := range append([]string{"proxy-client"}, businessServices()...) {
		row := rowOf(name)
		documents = append(documents, document{row.Context + "/v3/api-docs", row.Title})
	}
	urls, err := json.Marshal(documents)
	if err != nil {
		panic(err) // strings always marshal
	}
	page := v5emb.NewHandlerWithConfig(swgui.Config{
		Title: "tienda API", BasePath: "/swagger-ui/",
		ShowTopBar: true, // it holds the choice of the service
		SettingsUI: map[string]string{"urls": string(urls), "persistAuthorization": "true", "docExpansion": `"list"`},
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/swagger-ui.html" || r.URL.Path == "/swagger-ui" || r.URL.Path == "/":
			r.Pattern = "/swagger-ui.html"
			http.Redirect(w, r, "/swagger-ui/", http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/swagger-ui/"):
			r.Pattern = "/swagger-ui/**"
			page.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}
