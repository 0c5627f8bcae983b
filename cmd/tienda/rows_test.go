package main

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/sqldb/sqldbtest"
	"tienda/web"
)

// row is one operation of the shop with the component that serves it. All tests that try every
// operation take them from here, so that a new one is tried without being named anywhere.
type row struct {
	component string // "order-service"
	context   string // "/order-service"
	web.Route
}

// String names the row: "order-service POST /api/carts/{cartId}/checkout".
func (r row) String() string { return r.component + " " + r.Method + " " + r.Pattern }

// allRows are those of the business services and of the proxy client: reads first and what destroys last.
func allRows() []row {
	tables := routeTables()
	tables["proxy-client"] = proxyRoutes()
	var rows []row
	for component, routes := range tables {
		for _, route := range routes {
			rows = append(rows, row{component, rowOf(component).Context, route})
		}
	}
	order := map[string]int{"GET": 0, "POST": 1, "PUT": 2, "DELETE": 3}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(order[a.Method], order[b.Method]), cmp.Compare(a.String(), b.String()))
	})
	return rows
}

// eachEngineUntraced is eachEngine for tests of so many requests that their traces would be most of the
// work.
func eachEngineUntraced(t *testing.T, test func(t *testing.T, s *system)) {
	t.Helper()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			environ := environment{"MANAGEMENT_TRACING_SAMPLING_PROBABILITY=0"}
			if engine == "mysql" {
				environ = append(environ, schemasFor(t)...)
			}
			test(t, startWith(t, t.TempDir(), environ))
		})
	}
}

// wildcards are the names in braces of the row's pattern.
func (r row) wildcards() []string {
	var names []string
	for segment := range strings.SplitSeq(r.Pattern, "/") {
		if strings.HasPrefix(segment, "{") {
			names = append(names, strings.Trim(segment, "{}"))
		}
	}
	return names
}

// path fills in the wildcards, escaped.
func (r row) path(values map[string]string) string {
	path := r.context + r.Pattern
	for name, value := range values {
		path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(value))
	}
	return path
}

// body is the sample of the row's input in which every id is that of values.
func (r row) body(tb testing.TB, values map[string]string) string {
	tb.Helper()
	if r.In == nil {
		return ""
	}
	return encode(tb, withIDs(r.sample(tb), values))
}

// withoutPassword is a body that costs no hash: hashes for all calls would take most of their time.
func withoutPassword(body string) string {
	return regexp.MustCompile(`"password":"[^"]*"`).ReplaceAllString(body, `"password":null`)
}

// sample is the input of the row as a client would write it: maps, lists, strings and numbers.
func (r row) sample(tb testing.TB) any {
	tb.Helper()
	var value any
	decoder := json.NewDecoder(strings.NewReader(encode(tb, r.In)))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		tb.Fatalf("%s: sample: %v", r, err)
	}
	return value
}

func encode(tb testing.TB, value any) string {
	tb.Helper()
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(text.String())
}

// withIDs replaces the ids of a JSON value, wherever they are. The list of a shop's orders, say, has
// the field "orderId" in each.
func withIDs(value any, ids map[string]string) any {
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			if id, ok := ids[name]; ok && (strings.HasSuffix(name, "Id") || name == "likeDate") {
				value[name] = id
				continue
			}
			value[name] = withIDs(inner, ids)
		}
	case []any:
		for i := range value {
			value[i] = withIDs(value[i], ids)
		}
	}
	return value
}

// idsIn adds the ids of a JSON value to found, by the name of their field. Ids in a problem count too.
func idsIn(value any, found map[string]map[string]bool) {
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			switch inner.(type) {
			case json.Number, float64:
				if strings.HasSuffix(name, "Id") {
					if found[name] == nil {
						found[name] = map[string]bool{}
					}
					found[name][fmt.Sprint(inner)] = true
				}
			default:
				idsIn(inner, found)
			}
		}
	case []any:
		for _, inner := range value {
			idsIn(inner, found)
		}
	}
}

// do makes the call of a row with a fresh Idempotency-Key where it wants one.
func (s *system) do(r row, direct bool, token, path, body string) (answer, error) {
	call := request{method: r.Method, path: path, token: token, body: body, header: http.Header{}}
	if direct {
		call.component = r.component
	}
	if r.Idempotent {
		call.header = key(fmt.Sprintf("row-%d", s.keys.Add(1)))
	}
	return s.try(call)
}

// asComponent is a fresh token of a component, signed with its own key.
func (s *system) asComponent(name string) string {
	s.tb.Helper()
	private, err := readKey(s.data + "/keys/" + name + ".pem")
	if err != nil {
		s.tb.Fatal(err)
	}
	return serviceToken(s.tb, name, private)
}

func serviceToken(tb testing.TB, name string, private ed25519.PrivateKey) string {
	tb.Helper()
	ctx, err := auth.NewIdentity(name, private, time.Now).Context(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return api.Token(ctx)
}

// signingKey is the key of users' tokens, had from user-service as the proxy client does.
func (s *system) signingKey() auth.SigningKey {
	s.tb.Helper()
	var list api.List[api.SigningKey]
	s.call(http.StatusOK, request{component: "user-service", method: "GET", path: "/user-service/api/signing-keys", token: s.asComponent("proxy-client")}).decode(s.tb, &list)
	if len(list.Collection) == 0 {
		s.tb.Fatal("user-service has no signing keys")
	}
	return auth.SigningKey{ID: list.Collection[0].KeyID, Private: ed25519.NewKeyFromSeed(list.Collection[0].Seed)}
}

// mark is in every text of user 1 that is nobody else's business.
const mark = "Quetzal"

// furnish gives user 1 a row of everything that can belong to somebody, each with the mark, and
// returns the ids by the names that wildcards and fields have.
func (s *system) furnish(token string) map[string]string {
	s.tb.Helper()
	ids := map[string]string{"userId": "1", "username": "selimhorri", "credentialId": "1", "verificationTokenId": "1",
		"productId": "1", "categoryId": "1", "provider": "sandbox", "jwt": token}
	s.call(http.StatusOK, request{method: "PUT", path: "/user-service/api/users/1", token: token, body: `{"firstName":"` + mark + `","lastName":"` + mark + `"}`})
	var address api.Address
	s.call(http.StatusCreated, request{method: "POST", path: "/user-service/api/address", token: token,
		body: `{"fullAddress":"` + mark + ` Street 1","postalCode":"2016","city":"` + mark + `","country":"TN","user":{"userId":1}}`}).decode(s.tb, &address)
	var favourite api.Favourite
	s.call(http.StatusCreated, request{method: "POST", path: "/favourite-service/api/favourites", token: token,
		body: `{"userId":1,"productId":1,"likeDate":"04-11-2025__23:52:00:805000"}`}).decode(s.tb, &favourite)

	var cart api.Cart
	fill := func() {
		cart = api.Cart{}
		s.call(http.StatusOK, request{method: "GET", path: "/order-service/api/carts/mine", token: token}).decode(s.tb, &cart)
		s.call(http.StatusOK, request{method: "PUT", path: "/order-service/api/carts/" + cart.CartID.String() + "/items/1", token: token, body: `{"quantity":1}`})
	}
	fill()
	header := key("furnish")
	header.Set("Prefer", "wait=30")
	body := strings.ReplaceAll(checkoutBody("tok_ok"), "Rue de Marseille", mark)
	var order api.Order
	s.call(http.StatusCreated, request{method: "POST", path: "/order-service/api/carts/" + cart.CartID.String() + "/checkout", token: token, body: body, header: header}).decode(s.tb, &order)
	fill()
	ids["addressId"], ids["likeDate"] = address.AddressID.String(), favourite.LikeDate.String()
	ids["cartId"], ids["orderId"] = cart.CartID.String(), order.OrderID.String()
	ids["paymentId"], ids["shipmentId"] = order.Payment.PaymentID.String(), order.Shipment.ShipmentID.String()
	return ids
}
