package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"tienda/api"
	"tienda/load"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// fillShop runs tienda load --fill and returns what it said.
func fillShop(tb testing.TB, data string, environ environment, n int) string {
	tb.Helper()
	var out lockedBuffer
	size := fmt.Sprint(n)
	err := Run(tb.Context(), []string{"load", "--fill", "--data", data, "--products", size, "--orders", size, "--users", fmt.Sprint(n / 10)}, environ, terminal{&out, &out})
	if err != nil {
		tb.Fatalf("load --fill: %v\n%s", err, &out)
	}
	return out.String()
}

// shopDatabase opens the database of a service as it lies in a folder or on the server.
func shopDatabase(tb testing.TB, data string, environ environment, service string) *sqldb.DB {
	tb.Helper()
	db, err := sqldb.Open(tb.Context(), databaseOf(service, data, environ, true))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// eachFilled runs a test on a filled shop that is not running, on each engine.
func eachFilled(t *testing.T, n int, test func(t *testing.T, data string, environ environment, said string)) {
	t.Helper()
	eachPlace(t, func(t *testing.T, _, data string, environ environment) {
		test(t, data, environ, fillShop(t, data, environ, n))
	})
}

// eachPlace runs a test with a place for a shop's data on each engine: an empty folder, or schemas that the environment names.
func eachPlace(t *testing.T, test func(t *testing.T, engine, data string, environ environment)) {
	t.Helper()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			var environ environment
			if engine == "mysql" {
				environ = schemasFor(t)
			}
			test(t, engine, data, environ)
		})
	}
}

// leftEmpty are the tables and columns that a filled shop has nothing in, with the reason.
var leftEmpty = map[string]string{
	"user-service.users.image_url":          "customers without a picture",
	"user-service.users.deleted_at":         "nobody is deleted",
	"user-service.verification_tokens":      "no longer asked for once an address is verified",
	"user-service.login_failures":           "sessions are of the moment",
	"user-service.refresh_families":         "sessions are of the moment",
	"user-service.refresh_tokens":           "sessions are of the moment",
	"user-service.signing_keys":             "made when proxy-client first needs one",
	"user-service.feed_positions":           "follows nobody",
	"product-service.categories.image_url":  "categories without a picture",
	"product-service.categories.deleted_at": "no category is deleted",
	"product-service.products.deleted_at":   "no product is deleted",
	"product-service.feed_positions":        "follows nobody",
	"order-service.deleted_users":           "nobody is deleted",
	"order-service.sagas.next_at":           "all sagas are at their end",
	"payment-service.provider_events":       "the sandbox sends none for tok_ok and tok_declined",
	"payment-service.sandbox_events":        "all are delivered",
	"payment-service.feed_positions":        "follows nobody",
	"payment-service.payment_books":         "named by the service when it first starts",
	"shipping-service.notifications":        "all are delivered",
	"shipping-service.feed_positions":       "follows nobody",
	"favourite-service.deleted_users":       "nobody is deleted",
	"favourite-service.favourites":          "not part of an order",
	"favourite-service.events":              "nothing is liked",
	"user-service.idempotency_keys":         "a day old at most",
	"product-service.idempotency_keys":      "a day old at most",
	"order-service.idempotency_keys":        "a day old at most",
	"payment-service.idempotency_keys":      "a day old at most",
	"shipping-service.idempotency_keys":     "a day old at most",
	"favourite-service.idempotency_keys":    "a day old at most",
}

// TestFillKnowsTheTables: whoever adds a table or a column decides here what a filled shop has in it. A
// column without a default that is forgotten fails the fill itself.
func TestFillKnowsTheTables(t *testing.T) {
	t.Parallel()
	eachFilled(t, 1500, func(t *testing.T, data string, environ environment, _ string) {
		unused := map[string]bool{}
		for name := range leftEmpty {
			unused[name] = true
		}
		for _, service := range load.FillServices() {
			db := shopDatabase(t, data, environ, service)
			for _, table := range tablesOf(t, db, environ) {
				if strings.HasPrefix(table, "schema_") || strings.HasPrefix(table, "sqlite_") {
					continue
				}
				name := service + "." + table
				columns := columnsOf(t, db, table)
				counts := make([]string, len(columns))
				values := make([]int64, len(columns))
				dest := make([]any, len(columns))
				for i, column := range columns {
					counts[i], dest[i] = "COUNT("+column+")", &values[i]
				}
				if err := db.QueryRow(t.Context(), "SELECT "+strings.Join(counts, ", ")+" FROM "+table).Scan(dest...); err != nil {
					t.Fatal(err)
				}
				filled := slices.Max(values) > 0
				if _, empty := leftEmpty[name]; filled == empty {
					t.Errorf("table %s: filled is %v, and it is listed as left empty: %v", name, filled, empty)
				}
				delete(unused, name)
				for i, column := range columns {
					column = name + "." + column
					if _, empty := leftEmpty[column]; filled && empty == (values[i] > 0) {
						t.Errorf("column %s: %d rows have a value, and it is listed as left empty: %v", column, values[i], empty)
					}
					delete(unused, column)
				}
			}
		}
		for name := range unused {
			t.Errorf("%s is listed as left empty and does not exist", name)
		}
	})
}

func columnsOf(tb testing.TB, db *sqldb.DB, table string) []string {
	tb.Helper()
	rows, err := db.Query(tb.Context(), "SELECT * FROM "+table+" LIMIT 0")
	if err != nil {
		tb.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err = errors.Join(err, rows.Err()); err != nil {
		tb.Fatal(err)
	}
	return columns
}

func tablesOf(tb testing.TB, db *sqldb.DB, environ environment) []string {
	tb.Helper()
	query := `SELECT name FROM sqlite_master WHERE type = 'table'`
	if environ.get("SPRING_DATASOURCE_URL") != "" {
		query = `SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()`
	}
	names, err := sqldb.All(tb.Context(), db, func(scan func(...any) error) (name string, err error) { return name, scan(&name) }, query)
	if err != nil {
		tb.Fatal(err)
	}
	return names
}

// TestFilledShopIsSound: the audit finds nothing in a filled shop, also after a second fill.
func TestFilledShopIsSound(t *testing.T) {
	t.Parallel()
	eachFilled(t, 3000, func(t *testing.T, data string, environ environment, _ string) {
		fillShop(t, data, environ, 500)
		var out lockedBuffer
		if err := Run(t.Context(), []string{"audit", "--data", data}, environ, terminal{&out, &out}); err != nil {
			t.Errorf("audit: %v\n%s", err, &out)
		}
	})
}

// TestFilledShopIsOpen: the services find everything in a filled shop that they would have written
// themselves, and go on from there; a second fill continues behind it.
func TestFilledShopIsOpen(t *testing.T) {
	t.Parallel()
	eachFilled(t, 300, func(t *testing.T, data string, environ environment, said string) {
		_, password, ok := strings.Cut(strings.TrimSpace(said), "log in as customer-1 with the password ")
		if !ok {
			t.Fatalf("load --fill says nothing of how to log in: %s", said)
		}
		s := startWith(t, data, environ)
		token := s.login("customer-1", password)
		var mine api.List[api.Order]
		s.call(http.StatusOK, request{method: "GET", path: "/app/api/me/orders", token: token}).decode(t, &mine)
		if len(mine.Collection) == 0 {
			t.Fatal("customer-1 has no orders")
		}
		for _, listed := range mine.Collection {
			var o api.Order
			s.call(http.StatusOK, request{method: "GET", path: fmt.Sprintf("/order-service/api/orders/%d", listed.OrderID), token: token}).decode(t, &o)
			if o.Status == api.OrderCreated {
				continue
			}
			if len(o.Items) == 0 || len(o.History) < 2 || o.History[len(o.History)-1].To != o.Status {
				t.Errorf("order = %+v", o)
			}
		}
		var found api.List[api.Product]
		s.call(http.StatusOK, request{method: "GET", path: "/product-service/api/products?q=laptop&inStock=true&size=5"}).decode(t, &found)
		if len(found.Collection) == 0 {
			t.Fatal("no laptop is found")
		}
		var cart api.Cart
		s.call(http.StatusOK, request{method: "GET", path: "/order-service/api/carts/mine", token: token}).decode(t, &cart)
		s.call(http.StatusOK, request{method: "PUT", path: fmt.Sprintf("/order-service/api/carts/%d/items/%d", cart.CartID, found.Collection[0].ProductID), token: token, body: `{"quantity":1}`})
		var order api.Order
		s.call(http.StatusCreated, request{method: "POST", path: fmt.Sprintf("/order-service/api/carts/%d/checkout", cart.CartID), token: token,
			body: checkoutBody("tok_ok"), header: key("after-fill")}).decode(t, &order)

		var out lockedBuffer
		again := []string{"load", "--fill", "--data", data, "--products", "50", "--orders", "50", "--users", "5"}
		if err := Run(t.Context(), again, environ, terminal{&out, &out}); err == nil || !strings.Contains(err.Error(), "stop the shop") {
			t.Errorf("load --fill while the shop is open = %v, want an error that asks to stop it", err)
		}
		s.end()
		if err := Run(t.Context(), again, environ, terminal{&out, &out}); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("50 orders from %d on", order.OrderID+1); !strings.Contains(out.String(), want) {
			t.Errorf("the second fill says %q, want %q", out.String(), want)
		}
	})
}

// TestFillStopped: who stops a fill is told that what there is now is of no use.
func TestFillStopped(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	err := Run(ctx, []string{"load", "--fill", "--data", data}, nil, terminal{&lockedBuffer{}, writerFunc(func(p []byte) (int, error) {
		stop() // at the first sign of progress
		return len(p), nil
	})})
	if err == nil || !strings.Contains(err.Error(), "stopped before it was done; the databases hold a part now: throw them away") || strings.Contains(err.Error(), "context canceled") {
		t.Errorf("a fill that was stopped = %v, want a sentence that says what to do", err)
	}
}

// writerFunc is a writer that is a function.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestFillRefusesProduction: nobody wants made-up orders among real ones.
func TestFillRefusesProduction(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	err := Run(t.Context(), []string{"load", "--fill", "--data", t.TempDir()}, environment{"SPRING_PROFILES_ACTIVE=production"}, terminal{&out, &out})
	if err == nil || !strings.Contains(err.Error(), "profile production refuses --fill") {
		t.Errorf("load --fill in production = %v", err)
	}
}
