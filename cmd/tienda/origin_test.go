package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tienda/api"
	"tienda/web"
)

// TestOriginLifeOfARow takes a row of every resource the original system had through its life, as its
// clients did: without a token, 200 for everything that works, true for a deletion, and 400 with the
// known words for what is gone.
func TestOriginLifeOfARow(t *testing.T) {
	t.Parallel()
	eachEngineWith(t, []string{"origin"}, func(t *testing.T, s *system) {
		rows, n := allRows(), 0
		for _, r := range rows {
			if r.Method == http.MethodDelete && r.Origin {
				n++
				s.live(rows, r, n)
			}
		}
	})
}

// originBodies are for resources whose sample creates a row only once, since usernames are taken then.
func originBodies() map[string]string {
	return map[string]string{
		"/api/users":       `{"firstName":"Ada","email":"ada%[1]d@example.com","credential":{"username":"ada%[1]d","password":"0000","roleBasedAuthority":"ROLE_USER"}}`,
		"/api/credentials": `{"username":"grace%d","password":"0000","roleBasedAuthority":"ROLE_USER","user":{"userId":%d}}`, // of a user without one
	}
}

// live makes a row of the resource that gone deletes, reads it, changes it, deletes it, and looks for it.
func (s *system) live(rows []row, gone row, n int) {
	s.tb.Helper()
	find := func(method, pattern string) row {
		i := slices.IndexFunc(rows, func(r row) bool {
			return r.component == gone.component && r.Method == method && r.Pattern == pattern
		})
		if i < 0 {
			s.tb.Fatalf("%s: there is no %s %s", gone, method, pattern)
		}
		return rows[i]
	}
	resource := "/" + strings.Join(strings.Split(gone.Pattern, "/")[1:3], "/")
	known := map[string]string{"userId": "1", "productId": "1", "categoryId": "1", "orderId": "2", "cartId": "2", "credentialId": "2"}
	create := find(http.MethodPost, resource)
	body := create.body(s.tb, known)
	switch template, ok := originBodies()[resource]; {
	case ok && resource == "/api/credentials":
		var user api.User
		s.call(http.StatusOK, request{method: "POST", path: "/user-service/api/users", body: `{"firstName":"Grace"}`}).decode(s.tb, &user)
		body = fmt.Sprintf(template, n, user.UserID)
	case ok:
		body = fmt.Sprintf(template, n)
	default:
		body = withoutOwnID(body, gone.wildcards())
	}
	a := s.call(http.StatusOK, request{method: create.Method, path: create.path(nil), body: body})
	ids := idsOf(a.body)
	read := find(http.MethodGet, strings.Replace(gone.Pattern, "/delete", "/find", 1))
	change := find(http.MethodPut, resource)
	s.call(http.StatusOK, request{method: read.Method, path: read.path(ids), body: string(a.body)})
	s.call(http.StatusOK, request{method: change.Method, path: change.path(ids), body: string(a.body)})
	deleted := s.call(http.StatusOK, request{method: gone.Method, path: gone.path(ids), body: string(a.body)})
	if strings.TrimSpace(string(deleted.body)) != "true" {
		s.tb.Errorf("%s answers %s, want true", gone, deleted.body)
	}
	for _, r := range []row{read, gone} {
		s.refusedAsOrigin(r, s.call(http.StatusBadRequest, request{method: r.Method, path: r.path(ids), body: string(a.body)}))
	}
}

// withoutOwnID leaves out the id that the service is to give. The keys of what has none of its own stay.
func withoutOwnID(body string, wildcards []string) string {
	var fields map[string]any
	if len(wildcards) != 1 || json.Unmarshal([]byte(body), &fields) != nil {
		return body
	}
	delete(fields, wildcards[0])
	text, err := json.Marshal(fields)
	if err != nil {
		return body
	}
	return string(text)
}

// idsOf are the ids and texts that a row shows of itself, by the names of their fields.
func idsOf(body []byte) map[string]string {
	var fields map[string]any
	ids := map[string]string{}
	if json.Unmarshal(body, &fields) != nil {
		return ids
	}
	for name, value := range fields {
		switch value := value.(type) {
		case float64:
			ids[name] = fmt.Sprint(int64(value))
		case string:
			ids[name] = value
		}
	}
	return ids
}

// originMessage is what the original system says of a row that is not there.
var originMessage = regexp.MustCompile(`^#### (User|Credential|Address|VerificationToken|Product|Category|Order|Cart|Payment|OrderItem|Favourite) with (id|username): .+ not found!{1,2} ####$`)

func (s *system) refusedAsOrigin(r row, a answer) {
	s.tb.Helper()
	var problem api.Problem
	a.decode(s.tb, &problem)
	if problem.Status != http.StatusBadRequest || problem.HTTPStatus != "BAD_REQUEST" || !originMessage.MatchString(problem.Msg) {
		s.tb.Errorf("%s: %s, want status 400, httpStatus BAD_REQUEST and the msg of the original system", r, a.body)
	}
}

// TestOriginUnknownIDs: what is not there is a 400 on the resources that the original system had.
func TestOriginUnknownIDs(t *testing.T) {
	t.Parallel()
	eachEngineWith(t, []string{"origin"}, func(t *testing.T, s *system) {
		unknown := map[string]string{}
		for _, r := range allRows() {
			for _, name := range r.wildcards() {
				unknown[name] = "999999"
			}
		}
		unknown["likeDate"] = "04-11-2025__23:52:00:805000"
		for _, r := range allRows() {
			if !r.Origin || len(r.wildcards()) == 0 || r.Pattern == "/api/authenticate/jwt/{jwt}" {
				continue
			}
			a := s.call(http.StatusBadRequest, request{method: r.Method, path: r.path(unknown), body: r.body(t, map[string]string{"userId": "1", "cartId": "1", "categoryId": "1", "credentialId": "1"})})
			s.refusedAsOrigin(r, a)
		}
	})
}

// TestOriginKeepsNewRowsClosed: the profile opens what the original system had and nothing else, and
// what is newer keeps its own status codes.
func TestOriginKeepsNewRowsClosed(t *testing.T) {
	t.Parallel()
	eachEngineWith(t, []string{"origin"}, func(t *testing.T, s *system) {
		ids := map[string]string{}
		for _, r := range allRows() {
			for _, name := range r.wildcards() {
				ids[name] = "1"
			}
		}
		for _, r := range allRows() {
			if r.Origin || r.Access == web.Public {
				continue
			}
			want := http.StatusUnauthorized
			if r.Access == web.Service {
				want = http.StatusNotFound
			}
			for direct, want := range map[bool]int{false: want, true: http.StatusUnauthorized} {
				if a, err := s.do(r, direct, "", r.path(ids), r.body(t, ids)); err != nil || a.status != want {
					t.Errorf("%s, %s without a token: %d %s %v, want %d", r, door(direct), a.status, a.body, err, want)
				}
			}
		}
		user, admin := s.login("selimhorri", "0000"), s.login("admin", "0000")
		s.call(http.StatusNotFound, request{method: "GET", path: "/shipping-service/api/shipments/999999", token: admin})
		s.call(http.StatusForbidden, request{method: "GET", path: "/payment-service/api/ledger", token: user})
		s.call(http.StatusBadRequest, request{method: "POST", path: "/order-service/api/carts/1/checkout", token: user, body: checkoutBody("tok_ok")}) // no Idempotency-Key
		empty := s.call(http.StatusUnprocessableEntity, request{method: "POST", path: "/order-service/api/carts/1/checkout", token: user, body: checkoutBody("tok_ok"), header: key("empty")})
		if !strings.Contains(string(empty.body), "empty") {
			t.Errorf("checkout of an empty cart: %s", empty.body)
		}
		var cart api.Cart
		s.call(http.StatusOK, request{method: "GET", path: "/order-service/api/carts/mine", token: user}).decode(t, &cart)
		s.call(http.StatusOK, request{method: "PUT", path: "/order-service/api/carts/" + cart.CartID.String() + "/items/1", token: user, body: `{"quantity":1}`})
		header := key("origin")
		header.Set("Prefer", "wait=30")
		s.call(http.StatusCreated, request{method: "POST", path: "/order-service/api/carts/" + cart.CartID.String() + "/checkout", token: user, body: checkoutBody("tok_ok"), header: header})
	})
}

// TestOriginPreflight: browsers of the original shop's front end are let in, others are not.
func TestOriginPreflight(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "sqlite", "origin")
	const front = "http://localhost:4200"
	ask := func(origin, method string) http.Header {
		return http.Header{"Origin": {origin}, "Access-Control-Request-Method": {method}, "Access-Control-Request-Headers": {"authorization,content-type"}}
	}
	for _, path := range []string{"/product-service/api/products", "/user-service/api/users/1", "/app/api/orders", "/app/api/authenticate"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
			a := s.call(http.StatusOK, request{method: "OPTIONS", path: path, header: ask(front, method)})
			h := a.header
			if h.Get("Access-Control-Allow-Origin") != front || h.Get("Access-Control-Allow-Credentials") != "true" ||
				!strings.Contains(h.Get("Access-Control-Allow-Methods"), method) || !strings.Contains(strings.ToLower(h.Get("Access-Control-Allow-Headers")), "authorization") {
				t.Errorf("preflight of %s %s: %v", method, path, h)
			}
		}
		a := s.call(http.StatusForbidden, request{method: "OPTIONS", path: path, header: ask("http://evil.example", "GET")})
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight of %s from elsewhere: %v", path, a.header)
		}
	}
	a := s.call(http.StatusOK, request{method: "GET", path: "/app/api/products", header: http.Header{"Origin": {front}}})
	if got := a.header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != front {
		t.Errorf("Access-Control-Allow-Origin = %q, want %s once", got, front)
	}
}
