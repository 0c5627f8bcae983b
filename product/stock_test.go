package product

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

func TestStockMovements(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addProduct("one", 10)
		const path = "/api/products/1/stock-movements"
		s.call(service, "POST", "/api/reservations", `{"orderId":3,"items":[{"productId":1,"quantity":4}]}`).want(201)

		moved := s.call(admin, "POST", path, `{"quantity":-5,"reason":"WRITTEN_OFF","note":"water"}`, "Idempotency-Key", "a").want(201)
		again := s.call(admin, "POST", path, `{"quantity":-5,"reason":"WRITTEN_OFF","note":"water"}`, "Idempotency-Key", "a").want(201)
		if string(again.body) != string(moved.body) || again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("replay = %s, want %s", again.body, moved.body)
		}
		s.call(admin, "POST", path, `{"quantity":-6,"reason":"WRITTEN_OFF"}`, "Idempotency-Key", "a").want(422)
		// 5 on hand and 4 of them reserved: one can go.
		short := decode[api.Problem](s.call(admin, "POST", path, `{"quantity":-2,"reason":"ADJUSTED"}`, "Idempotency-Key", "b").want(409))
		want := []api.FieldError{{ProductID: 1, Reason: "OUT_OF_STOCK", Requested: new(int64(2)), Available: new(int64(1))}}
		if diff := cmp.Diff(want, short.Errors); diff != "" {
			t.Errorf("errors (-want +got)\n%s", diff)
		}
		s.call(admin, "POST", path, `{"quantity":7,"reason":"RECEIVED"}`, "Idempotency-Key", "c").want(201)

		// Quantity is what is available: setting it leaves the reserved stock alone.
		changed := decode[api.Product](s.call(admin, "PUT", "/api/products/1", `{"quantity":20}`).want(200))
		if *changed.Quantity != 20 {
			t.Errorf("quantity = %d, want 20", *changed.Quantity)
		}
		if diff := cmp.Diff(api.Stock{ProductID: 1, OnHand: 24, Reserved: 4, Available: 20}, s.stock(1)); diff != "" {
			t.Errorf("stock (-want +got)\n%s", diff)
		}
		s.call(admin, "PUT", "/api/products/1", `{"quantity":20,"sku":"same"}`).want(200)
		s.call(service, "POST", "/api/reservations/3/commit", "").want(200)

		list := decode[api.List[api.StockMovement]](s.call(admin, "GET", path+"?size=4", "").want(200))
		var got []string
		for _, m := range list.Collection {
			got = append(got, fmt.Sprintf("%s %d = %d, order %d, %q by %s", m.Reason, m.Quantity, m.Balance, m.OrderID, m.Note, m.Actor))
		}
		wantLines := []string{
			`SOLD -4 = 20, order 3, "" by order-service`,
			`ADJUSTED 12 = 24, order 0, "" by admin:4`,
			`RECEIVED 7 = 12, order 0, "" by admin:4`,
			`WRITTEN_OFF -5 = 5, order 0, "water" by admin:4`,
		}
		if diff := cmp.Diff(wantLines, got); diff != "" || list.Page.TotalElements != 5 {
			t.Errorf("movements, %d in all (-want +got)\n%s", list.Page.TotalElements, diff)
		}
		rest := decode[api.List[api.StockMovement]](s.call(admin, "GET", path+"?size=4&after="+list.Page.Next, "").want(200))
		if len(rest.Collection) != 1 || rest.Collection[0].Balance != 10 {
			t.Errorf("movements behind the cursor = %+v", rest.Collection)
		}
		s.checkBooks()
	})
}

func TestStockMovementRefused(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addProduct("one", 1)
		for i, test := range []struct {
			path, body string
			status     int
		}{
			{"/api/products/1/stock-movements", `{"quantity":0,"reason":"ADJUSTED"}`, 422},
			{"/api/products/1/stock-movements", `{"quantity":1,"reason":"SOLD"}`, 422},
			{"/api/products/1/stock-movements", `{"quantity":1}`, 422},
			{"/api/products/1/stock-movements", `{"quantity":-1,"reason":"RECEIVED"}`, 422},
			{"/api/products/1/stock-movements", `{"quantity":1,"reason":"WRITTEN_OFF"}`, 422},
			{"/api/products/1/stock-movements", `{"quantity":9223372036854775807,"reason":"RECEIVED"}`, 422},
			{"/api/products/1/stock-movements", `{"quantity":1,"reason":"RECEIVED","note":"a\u0000"}`, 422},
			{"/api/products/1/stock-movements", `{"quantity":1.5,"reason":"RECEIVED"}`, 400},
			{"/api/products/1/stock-movements", `{"quantity":1,"reason":"RECEIVED","typo":1}`, 400},
			{"/api/products/1/stock-movements", ``, 400},
			{"/api/products/99/stock-movements", `{"quantity":1,"reason":"RECEIVED"}`, 404},
			{"/api/products/x/stock-movements", `{"quantity":1,"reason":"RECEIVED"}`, 404},
		} {
			s.call(admin, "POST", test.path, test.body, "Idempotency-Key", fmt.Sprint(i)).want(test.status)
		}
		s.call(admin, "POST", "/api/products/1/stock-movements", `{"quantity":1,"reason":"RECEIVED"}`).want(400)
		s.call(user, "POST", "/api/products/1/stock-movements", `{"quantity":1,"reason":"RECEIVED"}`, "Idempotency-Key", "u").want(403)
		s.call(user, "GET", "/api/products/1/stock-movements", "").want(403)
		s.call(admin, "GET", "/api/products/99/stock-movements", "").want(404)
		if got := s.stock(1).OnHand; got != 1 {
			t.Errorf("on hand = %d, want 1", got)
		}
	})
}

// Movements, direct writes of the quantity and reservations at once: nothing is lost, and the books
// agree at the end.
func TestStockUnderConcurrency(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addProduct("one", 100)
		var wait sync.WaitGroup
		for i := range 20 {
			wait.Go(func() {
				s.call(admin, "POST", "/api/products/1/stock-movements", `{"quantity":1,"reason":"RECEIVED"}`, "Idempotency-Key", fmt.Sprint(i/2))
			})
			wait.Go(func() {
				body := fmt.Sprintf(`{"orderId":%d,"items":[{"productId":1,"quantity":2}]}`, i+1)
				if got := s.call(service, "POST", "/api/reservations", body).status; got != http.StatusCreated {
					t.Errorf("reserve = %d, want 201", got)
				}
				if i%2 == 0 {
					s.call(service, "POST", fmt.Sprintf("/api/reservations/%d/commit", i+1), "")
				}
			})
		}
		wait.Wait()
		want := api.Stock{ProductID: 1, OnHand: 100 + 10 - 20, Reserved: 20, Available: 70}
		if diff := cmp.Diff(want, s.stock(1)); diff != "" {
			t.Errorf("stock (-want +got)\n%s", diff)
		}
		for i := range 10 {
			wait.Go(func() {
				if got := s.call(admin, "PUT", "/api/products/1", fmt.Sprintf(`{"quantity":%d}`, i)).status; got != http.StatusOK {
					t.Errorf("PUT quantity = %d, want 200", got)
				}
			})
			wait.Go(func() { s.call(service, "POST", fmt.Sprintf("/api/reservations/%d/release", i*2+2), "") })
		}
		wait.Wait()
		if got := s.stock(1); got.Reserved != 0 || got.OnHand < 0 {
			t.Errorf("stock = %+v, want nothing reserved", got)
		}
		s.checkBooks()
	})
}

// The database itself refuses what the service must never write.
func TestStockConstraints(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addProduct("one", 5)
		s.call(service, "POST", "/api/reservations", `{"orderId":3,"items":[{"productId":1,"quantity":4}]}`).want(201)
		s.call(service, "POST", "/api/reservations/3/commit", "").want(200)
		for _, update := range []string{
			`UPDATE products SET on_hand = -1`, `UPDATE products SET reserved = -1`, `UPDATE products SET reserved = on_hand + 1`, `UPDATE products SET price = -1`,
			`INSERT INTO stock_movements (product_id, quantity, reason, note, order_id, balance, actor, created_at)
				SELECT product_id, quantity, reason, note, order_id, balance, actor, created_at FROM stock_movements WHERE order_id = 3`, // sold twice
		} {
			err := db.Tx(t.Context(), func(tx *sqldb.Tx) error {
				_, err := tx.Exec(t.Context(), update)
				return err
			})
			if err == nil {
				t.Errorf("%s succeeded, want the constraint to refuse it", update)
			}
		}
	})
}
