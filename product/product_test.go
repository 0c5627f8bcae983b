package product

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
	"tienda/web"
)

var (
	migrations = []sqldb.Migrations{Migrations, journal.Migrations}
	usd        = api.Currency{Code: "USD", Digits: 2}
)

const (
	admin   = "admin:4"
	user    = "user:5"
	service = "service:order-service"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// shop is the service on a fresh database, called over HTTP.
type shop struct {
	t       *testing.T
	db      *sqldb.DB
	clock   *clock
	service *Service
	server  *httptest.Server
}

func open(t *testing.T, db *sqldb.DB) *shop {
	t.Helper()
	c := &clock{now: time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)}
	log := slog.New(slog.DiscardHandler)
	s := New(db, usd, DefaultSettings(), log, c.Now)
	handler, err := web.New(web.API{Name: "product-service", Title: "Products", Context: contextPath, Routes: s.Routes(), Verify: verify, Log: log})
	if err != nil {
		t.Fatalf("web.New: %v", err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &shop{t: t, db: db, clock: c, service: s, server: server}
}

// verify understands tokens such as "user:5", "admin:4" and "service:order-service".
func verify(_ context.Context, token string) (auth.Caller, error) {
	kind, name, _ := strings.Cut(token, ":")
	id, _ := api.ParseID(name)
	switch kind {
	case "user":
		return auth.Caller{Username: token, UserID: id, Roles: []string{api.RoleUser}}, nil
	case "admin":
		return auth.Caller{Username: token, UserID: id, Roles: []string{api.RoleAdmin}}, nil
	case "service":
		return auth.Caller{Service: name}, nil
	}
	return auth.Caller{}, auth.ErrToken
}

// answer is what came back of a call.
type answer struct {
	t      *testing.T
	call   string
	status int
	header http.Header
	body   []byte
}

// call makes a request below the context path; headers are pairs of name and value.
func (s *shop) call(token, method, path, body string, headers ...string) answer {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.server.URL+contextPath+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := s.server.Client().Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{t: s.t, call: method + " " + path + " " + body, status: response.StatusCode, header: response.Header, body: content}
}

// want fails the test unless the answer has this status.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s = %d %s, want %d", a.call, a.status, a.body, status)
	}
	return a
}

func decode[T any](a answer) T {
	a.t.Helper()
	var value T
	if err := json.Unmarshal(a.body, &value); err != nil {
		a.t.Fatalf("%s = %s: %v", a.call, a.body, err)
	}
	return value
}

func (s *shop) stock(id api.ID) api.Stock {
	s.t.Helper()
	return decode[api.Stock](s.call("", "GET", "/api/products/"+id.String()+"/stock", "").want(200))
}

// addProduct creates a product with stock and returns its id.
func (s *shop) addProduct(title string, quantity int) api.ID {
	s.t.Helper()
	body := fmt.Sprintf(`{"productTitle":%q,"priceUnit":10,"quantity":%d}`, title, quantity)
	return decode[api.Product](s.call(admin, "POST", "/api/products", body).want(201)).ProductID
}

// checkBooks compares what is on hand with the ledger, and what is reserved with the reservations.
func (s *shop) checkBooks() {
	s.t.Helper()
	for name, query := range map[string]string{
		"on hand differs from the movements": `SELECT p.product_id FROM products p WHERE p.on_hand <>
			(SELECT COALESCE(SUM(m.quantity), 0) FROM stock_movements m WHERE m.product_id = p.product_id)`,
		"reserved differs from the reservations": `SELECT p.product_id FROM products p WHERE p.reserved <>
			(SELECT COALESCE(SUM(i.quantity), 0) FROM reservation_items i JOIN reservations r ON r.order_id = i.order_id
				WHERE i.product_id = p.product_id AND r.state = 'HELD')`,
		"a balance differs from the sum so far": `SELECT m.product_id FROM stock_movements m WHERE m.balance <>
			(SELECT SUM(b.quantity) FROM stock_movements b WHERE b.product_id = m.product_id AND b.movement_id <= m.movement_id)`,
	} {
		ids, err := sqldb.All(s.t.Context(), s.db, scanID, query)
		if err != nil {
			s.t.Fatal(err)
		}
		if len(ids) > 0 {
			s.t.Errorf("%s for products %v", name, ids)
		}
	}
}

func TestRoutesWithoutService(t *testing.T) {
	t.Parallel()
	var s *Service
	api := web.API{Name: "product-service", Title: "Products", Context: contextPath, Routes: s.Routes(), Verify: verify, Log: slog.New(slog.DiscardHandler)}
	if _, err := web.New(api); err != nil {
		t.Errorf("web.New(routes of a nil service) = %v", err)
	}
	if _, err := web.OpenAPI(api); err != nil {
		t.Errorf("web.OpenAPI(routes of a nil service) = %v", err)
	}
}

func TestProductLife(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.call(admin, "POST", "/api/categories", `{"categoryTitle":"Computer","imageUrl":"xxx"}`).want(201)

		created := s.call(admin, "POST", "/api/products", `{"productTitle":"asus","imageUrl":"xxx","sku":"dfqejk","priceUnit":"99.99",
			"quantity":"50","category":{"categoryId":1,"unknown":[]},"description":"a\nb","more":true}`).want(201)
		if got, want := created.header.Get("Location"), "/product-service/api/products/1"; got != want {
			t.Errorf("Location = %q, want %q", got, want)
		}
		want := `{"productId":1,"productTitle":"asus","imageUrl":"xxx","sku":"dfqejk","priceUnit":99.99,"quantity":50,"currency":"USD",
			"description":"a\nb","published":true,"createdAt":"2026-03-01T12:00:00Z","updatedAt":"2026-03-01T12:00:00Z","version":1,
			"category":{"categoryId":1,"categoryTitle":"Computer","imageUrl":"xxx"}}`
		if diff := diffJSON(t, want, created.body); diff != "" {
			t.Errorf("POST product (-want +got)\n%s", diff)
		}
		if diff := diffJSON(t, want, s.call("", "GET", "/api/products/1/", "").want(200).body); diff != "" {
			t.Errorf("GET product (-want +got)\n%s", diff)
		}

		// The body is applied, and what is not in it stays.
		changed := decode[api.Product](s.call(admin, "PUT", "/api/products/1", `{"productId":77,"priceUnit":89.5}`).want(200))
		if *changed.ProductTitle != "asus" || changed.PriceUnit.String() != "89.5" || changed.ProductID != 1 || changed.Category.CategoryID != 1 || changed.Version != 2 {
			t.Errorf("PUT /1 = %+v", changed)
		}
		changed = decode[api.Product](s.call(admin, "PUT", "/api/products", `{"productId":1,"productTitle":"Asus","categoryDto":{"categoryId":null}}`).want(200))
		if *changed.ProductTitle != "Asus" || changed.Category != nil {
			t.Errorf("PUT without an id in the path = %+v", changed)
		}
		changed = decode[api.Product](s.call(admin, "POST", "/api/products", `{"productId":1,"sku":"again"}`).want(200))
		if changed.ProductID != 1 || *changed.SKU != "again" || *changed.ProductTitle != "Asus" {
			t.Errorf("POST of an existing id = %+v", changed)
		}
		// An unknown id in a POST or PUT without path does not count, nor does a missing category.
		if id := decode[api.Product](s.call(admin, "POST", "/api/products", `{"productId":900,"productTitle":"hp"}`).want(201)).ProductID; id != 2 {
			t.Errorf("POST with an unknown id made product %d, want 2", id)
		}
		if id := decode[api.Product](s.call(admin, "PUT", "/api/products", `{"productTitle":"bare"}`).want(201)).ProductID; id != 3 {
			t.Errorf("PUT without an id made product %d, want 3", id)
		}

		if got := string(s.call(admin, "DELETE", "/api/products/1", "").want(200).body); strings.TrimSpace(got) != "true" {
			t.Errorf("DELETE = %s, want true", got)
		}
		gone := decode[api.Problem](s.call("", "GET", "/api/products/1", "").want(404))
		if want := "#### Product with id: 1 not found! ####"; gone.Msg != want {
			t.Errorf("msg = %q, want %q", gone.Msg, want)
		}
		s.call(admin, "DELETE", "/api/products/1", "").want(404)
		s.call(admin, "PUT", "/api/products/1", "{}").want(404)
		s.call(admin, "GET", "/api/products/1", "").want(404)
		s.call("", "GET", "/api/products/1/stock", "").want(404)
		s.checkBooks()
	})
}

// diffJSON compares JSON texts but for white space and the order of fields.
func diffJSON(t *testing.T, want string, got []byte) string {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(want), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got, &b); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	return cmp.Diff(a, b)
}

func TestProductRefused(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addProduct("one", 1)
		for _, test := range []struct {
			name, method, path, body string
			status                   int
			field                    string
		}{
			{"negative price", "POST", "/api/products", `{"priceUnit":-1}`, 422, "priceUnit"},
			{"too many decimals", "POST", "/api/products", `{"priceUnit":1.001}`, 422, "priceUnit"},
			{"too large a price", "POST", "/api/products", `{"priceUnit":1e17}`, 422, "priceUnit"},
			{"negative quantity", "POST", "/api/products", `{"quantity":-1}`, 422, "quantity"},
			{"too large a quantity", "PUT", "/api/products/1", `{"quantity":1000000001}`, 422, "quantity"},
			{"long title", "POST", "/api/products", `{"productTitle":"` + strings.Repeat("é", 256) + `"}`, 422, "productTitle"},
			{"control character", "POST", "/api/products", `{"sku":"a\u0000b"}`, 422, "sku"},
			{"control character in the description", "POST", "/api/products", `{"description":"a\u0007b"}`, 422, "description"},
			{"other currency", "POST", "/api/products", `{"currency":"EUR"}`, 422, "currency"},
			{"unknown category", "POST", "/api/products", `{"category":{"categoryId":99}}`, 422, "category.categoryId"},
			{"unknown category on update", "PUT", "/api/products/1", `{"category":{"categoryId":99}}`, 422, "category.categoryId"},
			{"price of the wrong type", "POST", "/api/products", `{"priceUnit":"many"}`, 400, ""},
			{"quantity of the wrong type", "POST", "/api/products", `{"quantity":1.5}`, 400, ""},
			{"category of the wrong type", "POST", "/api/products", `{"category":7}`, 400, ""},
			{"malformed JSON", "POST", "/api/products", `{"priceUnit":`, 400, ""},
			{"no body", "PUT", "/api/products/1", ``, 400, ""},
			{"unknown product", "PUT", "/api/products/99", `{}`, 404, ""},
			{"id that is no number", "PUT", "/api/products/abc", `{}`, 404, ""},
			{"id out of range", "DELETE", "/api/products/99999999999999999999", ``, 404, ""},
			{"unknown sort field", "GET", "/api/products?sort=secret", ``, 422, "sort"},
			{"size over 1,000", "GET", "/api/products?size=1001", ``, 422, "size"},
			{"page that is no number", "GET", "/api/products?page=x", ``, 400, ""},
			{"price bound that is no amount", "GET", "/api/products?minPrice=x", ``, 400, ""},
			{"price bound too precise", "GET", "/api/products?maxPrice=1.001", ``, 422, "maxPrice"},
			{"inStock that is no boolean", "GET", "/api/products?inStock=maybe", ``, 400, ""},
			{"categoryId that is no id", "GET", "/api/products?categoryId=x", ``, 400, ""},
			{"ids that are no ids", "GET", "/api/products?ids=1,x", ``, 400, ""},
			{"search of too many words", "GET", "/api/products?q=" + strings.Repeat("a+", 11), ``, 422, "q"},
		} {
			t.Run(test.name, func(t *testing.T) {
				problem := decode[api.Problem](s.call(admin, test.method, test.path, test.body).want(test.status))
				if test.field != "" && (len(problem.Errors) != 1 || problem.Errors[0].Field != test.field) {
					t.Errorf("errors = %+v, want one of %s", problem.Errors, test.field)
				}
				if problem.Detail == "" || problem.Msg == "" {
					t.Errorf("the problem does not say what is wrong: %+v", problem)
				}
			})
		}
		if got := decode[api.List[api.Product]](s.call(admin, "GET", "/api/products", "").want(200)); len(got.Collection) != 1 {
			t.Errorf("after refusals there are %d products, want 1", len(got.Collection))
		}
		for _, token := range []string{"", user, service} {
			for _, call := range []string{"POST /api/products", "PUT /api/products/1", "DELETE /api/products/1", "POST /api/categories"} {
				method, path, _ := strings.Cut(call, " ")
				if got := s.call(token, method, path, `{}`).status; got != 401 && got != 403 {
					t.Errorf("%s as %q = %d, want 401 or 403", call, token, got)
				}
			}
		}
	})
}

func TestHiddenProducts(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addProduct("shown", 1)
		s.call(admin, "POST", "/api/products", `{"productTitle":"draft","published":false}`).want(201)
		s.addProduct("deleted", 1)
		s.call(admin, "DELETE", "/api/products/3", "").want(200)

		for _, test := range []struct {
			token, path string
			want        []api.ID
		}{
			{"", "/api/products", []api.ID{1}},
			{user, "/api/products?q=draft", []api.ID{}},
			{service, "/api/products?ids=1,2,3", []api.ID{1}},
			{admin, "/api/products", []api.ID{1, 2}},
			{admin, "/api/products?ids=1,2,3,4", []api.ID{1}},
			{"", "/api/products?ids=", []api.ID{}},
		} {
			list := decode[api.List[api.Product]](s.call(test.token, "GET", test.path, "").want(200))
			if diff := cmp.Diff(test.want, productIDs(list)); diff != "" {
				t.Errorf("GET %s as %q (-want +got)\n%s", test.path, test.token, diff)
			}
		}
		s.call(user, "GET", "/api/products/2", "").want(404)
		s.call(user, "GET", "/api/products/2/stock", "").want(404)
		s.call("", "GET", "/api/products/2/image.svg", "").want(404)
		s.call(admin, "GET", "/api/products/2", "").want(200)
		s.call(admin, "PUT", "/api/products/2", `{"published":true}`).want(200)
		s.call(user, "GET", "/api/products/2", "").want(200)
	})
}

func productIDs(list api.List[api.Product]) []api.ID {
	ids := []api.ID{}
	for _, product := range list.Collection {
		ids = append(ids, product.ProductID)
	}
	return ids
}

func TestConditionalWrites(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addProduct("one", 5)
		tag := s.call("", "GET", "/api/products/1", "").want(200).header.Get("ETag")
		changed := s.call(admin, "PUT", "/api/products/1", `{"productTitle":"two"}`, "If-Match", tag).want(200)
		if next := changed.header.Get("ETag"); next == tag || next == "" {
			t.Errorf("ETag after a change = %q, before %q", next, tag)
		}
		s.call(admin, "PUT", "/api/products/1", `{"productTitle":"three"}`, "If-Match", tag).want(412)
		s.call(admin, "DELETE", "/api/products/1", "", "If-Match", tag).want(412)
		s.call(admin, "POST", "/api/products", `{"productId":1,"productTitle":"three"}`, "If-Match", tag).want(412)
		s.call(admin, "PUT", "/api/products", `{"productTitle":"new"}`, "If-Match", tag).want(412)
		s.call(admin, "PUT", "/api/products/1", `{}`, "If-Match", `W/"x"`).want(412)
		if got := decode[api.Product](s.call("", "GET", "/api/products/1", "").want(200)); *got.ProductTitle != "two" || got.Version != 2 {
			t.Errorf("after refused writes the product is %q, version %d", *got.ProductTitle, got.Version)
		}

		// Of many writers that read the same version one wins.
		tag = changed.header.Get("ETag")
		statuses := make([]int, 12)
		var wait sync.WaitGroup
		for i := range statuses {
			wait.Go(func() {
				statuses[i] = s.call(admin, "PUT", "/api/products/1", fmt.Sprintf(`{"sku":"%d"}`, i), "If-Match", tag).status
			})
		}
		wait.Wait()
		won := 0
		for _, status := range statuses {
			switch status {
			case 200:
				won++
			case 412:
			default:
				t.Errorf("conditional PUT = %d, want 200 or 412", status)
			}
		}
		if won != 1 {
			t.Errorf("%d conditional writes won, want 1", won)
		}

		// What is reserved changes the product that is shown, and so its tag.
		tag = s.call("", "GET", "/api/products/1", "").want(200).header.Get("ETag")
		s.call(service, "POST", "/api/reservations", `{"orderId":1,"items":[{"productId":1,"quantity":2}]}`).want(201)
		s.call(admin, "PUT", "/api/products/1", `{"quantity":5}`, "If-Match", tag).want(412)
	})
}

func TestPages(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		for i := range 25 {
			s.call(admin, "POST", "/api/products", fmt.Sprintf(`{"productTitle":"p%02d","priceUnit":%d}`, i, i%3)).want(201)
		}
		// Every product stands on one page, though many share the price that is sorted by.
		seen := map[api.ID]int{}
		last := int64(-1)
		for page := range 4 {
			list := decode[api.List[api.Product]](s.call("", "GET", fmt.Sprintf("/api/products?sort=priceUnit,asc&size=7&page=%d", page), "").want(200))
			if list.Page.TotalElements != 25 || list.Page.TotalPages != 4 {
				t.Errorf("page %d says %+v", page, *list.Page)
			}
			for _, product := range list.Collection {
				seen[product.ProductID]++
				minor, err := usd.Minor(*product.PriceUnit)
				if err != nil || minor < last {
					t.Errorf("price %d stands behind %d (%v)", minor, last, err)
				}
				last = minor
			}
		}
		if len(seen) != 25 {
			t.Errorf("the pages hold %d products, want 25", len(seen))
		}
		// The cursor goes through all of them as well, and knows the end.
		path, count := "/api/products?size=10", 0
		for path != "" {
			list := decode[api.List[api.Product]](s.call("", "GET", path, "").want(200))
			count += len(list.Collection)
			path = ""
			if list.Page.Next != "" {
				path = "/api/products?size=10&after=" + list.Page.Next
			}
			if list.Page.TotalElements != 25 {
				t.Errorf("total = %d, want 25", list.Page.TotalElements)
			}
		}
		if count != 25 {
			t.Errorf("the cursor went through %d products, want 25", count)
		}
		past := s.call("", "GET", "/api/products?size=10&page=9", "").want(200)
		if list := decode[api.List[api.Product]](past); len(list.Collection) != 0 || list.Page.TotalElements != 25 || !strings.Contains(string(past.body), `"collection":[]`) {
			t.Errorf("page past the end = %s", past.body)
		}
	})
}

func TestDemo(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() {
				if err := Demo(t.Context(), db, usd, time.Now()); err != nil {
					t.Errorf("Demo: %v", err)
				}
			})
		}
		wait.Wait()
		s := open(t, db)
		list := decode[api.List[api.Product]](s.call("", "GET", "/api/products", "").want(200))
		if len(list.Collection) != len(demoProducts) {
			t.Errorf("%d demo products, want %d", len(list.Collection), len(demoProducts))
		}
		skus := map[string]bool{}
		for i, product := range list.Collection {
			if product.PriceUnit.String() == "0.0" || product.Category == nil || *product.Description == "" || skus[*product.SKU] {
				t.Errorf("demo product %d lacks a price, a category, a description or a SKU of its own: %+v", i+1, product)
			}
			skus[*product.SKU] = true
			if i < 4 && *product.Quantity != 50 {
				t.Errorf("stock of product %d = %d, want 50", i+1, *product.Quantity)
			}
		}
		for id, want := range map[int]string{1: "Computer", 2: "Mode", 3: "Game"} {
			category := decode[api.Category](s.call("", "GET", fmt.Sprintf("/api/categories/%d", id), "").want(200))
			if *category.CategoryTitle != want || category.Parent.CategoryID != 0 {
				t.Errorf("category %d = %+v, want %s at the root", id, category, want)
			}
		}
		if id := s.addProduct("next", 1); id != api.ID(len(demoProducts)+1) {
			t.Errorf("the product after the demo has id %d, want %d", id, len(demoProducts)+1)
		}
		s.checkBooks()

		image := s.call("", "GET", strings.TrimPrefix(*list.Collection[0].ImageURL, contextPath), "").want(200)
		if got := image.header.Get("Content-Type"); got != "image/svg+xml" || !strings.Contains(string(image.body), "Asus Zenbook") {
			t.Errorf("image = %s %s", got, image.body)
		}
		s.call(admin, "PUT", "/api/products/1", `{"productTitle":"<script>alert(1)</script> & \"more\""}`).want(200)
		if image := s.call("", "GET", "/api/products/1/image.svg", "").want(200); strings.Contains(string(image.body), "<script") {
			t.Errorf("image holds the title as markup: %s", image.body)
		}
	})
}

func TestEvents(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.call(admin, "POST", "/api/categories", `{"categoryTitle":"c"}`).want(201)
		s.addProduct("one", 5)
		s.call(service, "POST", "/api/reservations", `{"orderId":9,"items":[{"productId":1,"quantity":2}]}`).want(201)
		s.call(service, "POST", "/api/reservations/9/commit", "").want(200)
		s.call(service, "POST", "/api/reservations/9/release", "").want(200)
		s.call(admin, "DELETE", "/api/products/1", "").want(200)
		s.clock.advance(time.Minute)
		list := decode[api.List[api.Event]](s.call(service, "GET", "/api/events?after=0", "").want(200))
		var got []string
		for _, e := range list.Collection {
			got = append(got, fmt.Sprintf("%s %d %s by %s", e.Kind, e.Subject, e.Change, e.Actor))
		}
		want := []string{
			"category 1 CREATED by admin:4", "stock 1 RECEIVED by admin:4", "product 1 CREATED by admin:4",
			"reservation 9 HELD by order-service", "reservation 9 COMMITTED by order-service", "reservation 9 RETURNED by order-service",
			"product 1 DELETED by admin:4",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got)\n%s", diff)
		}
	})
}

func TestRunStops(t *testing.T) {
	t.Parallel()
	db := sqldbtest.Open(t, "sqlite", migrations...)
	synctest.Test(t, func(t *testing.T) {
		s := New(db, usd, DefaultSettings(), slog.New(slog.DiscardHandler), time.Now)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}
