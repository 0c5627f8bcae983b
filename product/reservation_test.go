package product

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

func (s *shop) reservation(status int, path, body string) api.Reservation {
	s.t.Helper()
	return decode[api.Reservation](s.call(service, "POST", "/api/reservations"+path, body).want(status))
}

func TestReserveCommitRelease(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addProduct("one", 10)
		s.addProduct("two", 10)
		const body = `{"orderId":7,"items":[{"productId":2,"quantity":3},{"productId":1,"quantity":2}]}`
		want := api.Reservation{OrderID: 7, State: "HELD", Items: []api.ItemQuantity{{ProductID: 1, Quantity: 2}, {ProductID: 2, Quantity: 3}},
			ExpiresAt: s.clock.Now().Add(15 * time.Minute)}
		if diff := cmp.Diff(want, s.reservation(201, "", body)); diff != "" {
			t.Errorf("reserve (-want +got)\n%s", diff)
		}
		s.clock.advance(time.Minute)
		if diff := cmp.Diff(want, s.reservation(200, "", body)); diff != "" {
			t.Errorf("reserve again (-want +got)\n%s", diff)
		}
		s.call(service, "POST", "/api/reservations", `{"orderId":7,"items":[{"productId":1,"quantity":2}]}`).want(409)
		if got := s.stock(2); got != (api.Stock{ProductID: 2, OnHand: 10, Reserved: 3, Available: 7}) {
			t.Errorf("stock after reserving = %+v", got)
		}
		for range 2 {
			if got := s.reservation(200, "/7/commit", "").State; got != "COMMITTED" {
				t.Errorf("commit = %s, want COMMITTED", got)
			}
			if got := s.stock(2); got != (api.Stock{ProductID: 2, OnHand: 7, Reserved: 0, Available: 7}) {
				t.Errorf("stock after the commit = %+v", got)
			}
		}
		if got := s.reservation(200, "", body).State; got != "COMMITTED" {
			t.Errorf("reserve after the commit = %s, want COMMITTED", got)
		}
		for range 2 {
			if got := s.reservation(200, "/7/release", "").State; got != "RETURNED" {
				t.Errorf("release = %s, want RETURNED", got)
			}
			if got := s.stock(2); got != (api.Stock{ProductID: 2, OnHand: 10, Reserved: 0, Available: 10}) {
				t.Errorf("stock after the return = %+v", got)
			}
		}
		s.call(service, "POST", "/api/reservations", body).want(409)
		s.call(service, "POST", "/api/reservations/7/commit", "").want(409)

		s.reservation(201, "", `{"orderId":8,"items":[{"productId":1,"quantity":10}]}`)
		for range 2 {
			if got := s.reservation(200, "/8/release", "").State; got != "RELEASED" {
				t.Errorf("release of held stock = %s, want RELEASED", got)
			}
		}
		s.call(service, "POST", "/api/reservations/8/commit", "").want(409)
		s.call(service, "POST", "/api/reservations", `{"orderId":8,"items":[{"productId":1,"quantity":10}]}`).want(409)

		// A release that overtakes its reserve wins.
		for range 2 {
			if got := s.reservation(200, "/9/release", ""); got.State != "RELEASED" || len(got.Items) != 0 {
				t.Errorf("release of an unknown order = %+v", got)
			}
		}
		s.call(service, "POST", "/api/reservations", `{"orderId":9,"items":[{"productId":1,"quantity":1}]}`).want(409)
		s.call(service, "POST", "/api/reservations/10/commit", "").want(404)
		if got := s.stock(1); got != (api.Stock{ProductID: 1, OnHand: 10, Available: 10}) {
			t.Errorf("stock at the end = %+v", got)
		}
		s.checkBooks()
	})
}

func TestReserveShort(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		for _, quantity := range []int{10, 2, 0, 5} {
			s.addProduct("p", quantity)
		}
		s.call(admin, "DELETE", "/api/products/4", "").want(200)
		problem := decode[api.Problem](s.call(service, "POST", "/api/reservations", `{"orderId":1,"items":[{"productId":1,"quantity":10},
			{"productId":2,"quantity":3},{"productId":3,"quantity":1},{"productId":4,"quantity":1},{"productId":99,"quantity":1}]}`).want(409))
		short := func(id api.ID, requested, available int64) api.FieldError {
			return api.FieldError{ProductID: id, Reason: "OUT_OF_STOCK", Requested: &requested, Available: &available}
		}
		want := []api.FieldError{short(2, 3, 2), short(3, 1, 0), short(4, 1, 0), short(99, 1, 0)}
		if diff := cmp.Diff(want, problem.Errors); diff != "" {
			t.Errorf("errors (-want +got)\n%s", diff)
		}
		if got := s.stock(1); got.Reserved != 0 {
			t.Errorf("stock = %+v, want nothing reserved", got)
		}
		// Nothing is left of the attempt: the order may try again.
		s.reservation(201, "", `{"orderId":1,"items":[{"productId":1,"quantity":10}]}`)
	})
}

func TestReserveRefused(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addProduct("one", 1)
		for body, status := range map[string]int{
			`{"items":[{"productId":1,"quantity":1}]}`:              422,
			`{"orderId":-1,"items":[{"productId":1,"quantity":1}]}`: 422,
			`{"orderId":1}`:            422,
			`{"orderId":1,"items":[]}`: 422,
			`{"orderId":1,"items":[{"productId":1,"quantity":0}]}`:                              422,
			`{"orderId":1,"items":[{"productId":1,"quantity":-1}]}`:                             422,
			`{"orderId":1,"items":[{"quantity":1}]}`:                                            422,
			`{"orderId":1,"items":[{"productId":1,"quantity":1},{"productId":1,"quantity":1}]}`: 422,
			`{"orderId":1,"items":[{"productId":1,"quantity":"one"}]}`:                          400,
			`{"orderId":1,"items":[{"productId":1,"quantity":1}],"unknown":true}`:               400,
			`{"orderId":1,"items":{}}`:                                                          400,
			`{"orderId":1,"items":[{"productId":9223372036854775807,"quantity":1000000000}]}`:   409,
		} {
			s.call(service, "POST", "/api/reservations", body).want(status)
		}
		s.call(service, "POST", "/api/reservations/x/release", "").want(404)
		for _, token := range []string{user, admin} {
			s.call(token, "POST", "/api/reservations", `{"orderId":1,"items":[{"productId":1,"quantity":1}]}`).want(403)
			s.call(token, "POST", "/api/reservations/1/release", "").want(403)
		}
		s.call("", "POST", "/api/reservations/1/commit", "").want(401)
	})
}

func TestReservationExpires(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addProduct("one", 3)
		body := func(order int) string {
			return fmt.Sprintf(`{"orderId":%d,"items":[{"productId":1,"quantity":3}]}`, order)
		}
		expire := func() {
			t.Helper()
			if err := s.service.expireReservations(t.Context()); err != nil {
				t.Fatalf("expire: %v", err)
			}
		}
		s.reservation(201, "", body(1))
		s.clock.advance(15*time.Minute - time.Second)
		expire()
		s.call(service, "POST", "/api/reservations", body(2)).want(409)
		s.clock.advance(time.Second)
		expire()
		expire()
		if got := s.stock(1); got.Available != 3 {
			t.Errorf("stock after the time = %+v, want 3 available", got)
		}
		// An expired reservation that still finds its stock commits; otherwise it is told why.
		s.reservation(201, "", body(2))
		problem := decode[api.Problem](s.call(service, "POST", "/api/reservations/1/commit", "").want(409))
		if len(problem.Errors) != 1 || problem.Errors[0].ProductID != 1 {
			t.Errorf("commit without stock = %+v", problem)
		}
		s.call(service, "POST", "/api/reservations", body(1)).want(409)
		s.reservation(200, "/2/release", "")
		if got := s.reservation(200, "", body(1)); got.State != "HELD" || !got.ExpiresAt.Equal(s.clock.Now().Add(15*time.Minute)) {
			t.Errorf("reserve of an expired one = %+v, want it held anew", got)
		}
		s.clock.advance(time.Hour)
		expire()
		if got := s.reservation(200, "/1/commit", "").State; got != "COMMITTED" {
			t.Errorf("commit of an expired one = %s, want COMMITTED", got)
		}
		if got := s.stock(1); got != (api.Stock{ProductID: 1}) {
			t.Errorf("stock at the end = %+v, want none", got)
		}
		s.checkBooks()
	})
}

// Whatever arrives at once and however often, stock is sold once and the books agree.
func TestReservationRaces(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		for range 3 {
			s.addProduct("p", 1000)
		}
		var wait sync.WaitGroup
		var created atomic.Int64
		for order := 1; order <= 6; order++ {
			body := fmt.Sprintf(`{"orderId":%d,"items":[{"productId":3,"quantity":2},{"productId":1,"quantity":1},{"productId":2,"quantity":5}]}`, order)
			call := func(path, body string) {
				wait.Go(func() {
					switch status := s.call(service, "POST", "/api/reservations"+path, body).status; status {
					case http.StatusCreated:
						created.Add(1)
					case http.StatusOK, http.StatusConflict, http.StatusNotFound:
					default:
						t.Errorf("POST reservations%s = %d", path, status)
					}
				})
			}
			for range 4 {
				call("", body)
				call(fmt.Sprintf("/%d/commit", order), "")
				if order%2 == 0 {
					call(fmt.Sprintf("/%d/release", order), "")
				}
			}
		}
		wait.Wait()
		if n := created.Load(); n > 6 || n < 3 {
			t.Errorf("%d reservations were made for 6 orders, want at most one each and one for each that nobody released", n)
		}
		s.checkBooks()
		for order := 1; order <= 6; order++ {
			s.call(service, "POST", fmt.Sprintf("/api/reservations/%d/release", order), "").want(200)
		}
		for id := api.ID(1); id <= 3; id++ {
			if got := s.stock(id); got != (api.Stock{ProductID: id, OnHand: 1000, Available: 1000}) {
				t.Errorf("stock after all is released = %+v", got)
			}
		}
		s.checkBooks()
	})
}

// The same order short of stock, many times at once: each is told so, and nothing stays behind.
func TestShortReservationRaces(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addProduct("p", 1)
		var wait sync.WaitGroup
		for range 40 {
			wait.Go(func() {
				if got := s.call(service, "POST", "/api/reservations", `{"orderId":1,"items":[{"productId":1,"quantity":2}]}`).status; got != http.StatusConflict {
					t.Errorf("reserve = %d, want 409", got)
				}
			})
		}
		wait.Wait()
		s.checkBooks()
	})
}

// A thousand orders of one product that has a hundred.
func TestNeverOversold(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addProduct("rare", 100)
		var wait sync.WaitGroup
		var reserved atomic.Int64
		gate := make(chan struct{}, 100) // connections of this test at once
		for order := range 1000 {
			wait.Go(func() {
				gate <- struct{}{}
				defer func() { <-gate }()
				body := fmt.Sprintf(`{"orderId":%d,"items":[{"productId":1,"quantity":1}]}`, order+1)
				switch status := s.call(service, "POST", "/api/reservations", body).status; status {
				case http.StatusCreated:
					reserved.Add(1)
				case http.StatusConflict:
				default:
					t.Errorf("reserve = %d, want 201 or 409", status)
				}
			})
		}
		wait.Wait()
		if got := reserved.Load(); got != 100 {
			t.Errorf("%d orders got one of 100", got)
		}
		if got := s.stock(1); got != (api.Stock{ProductID: 1, OnHand: 100, Reserved: 100}) {
			t.Errorf("stock = %+v, want all of it reserved", got)
		}
		s.checkBooks()
	})
}

// Orders that name the same products the other way round lock them in one order: none waits for another
// in a circle, so none is given up by the engine and run again.
func TestReservationsThatCross(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			var transactions atomic.Int64
			config := sqldbtest.Config(t, engine)
			config.Observe = func(op string, _ time.Duration) {
				if op == "transaction" {
					transactions.Add(1)
				}
			}
			db, err := sqldb.Open(t.Context(), config, migrations...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() }) // the schema goes with the test
			s := open(t, db)
			var items []string
			for i := range 8 {
				s.addProduct("p", 1000)
				items = append(items, fmt.Sprintf(`{"productId":%d,"quantity":1}`, i+1))
			}
			transactions.Store(0)
			const writers, each = 8, 25
			var wait sync.WaitGroup
			for writer := range writers {
				mine := slices.Clone(items)
				if writer%2 == 1 {
					slices.Reverse(mine)
				}
				wait.Go(func() {
					for n := range each {
						s.call(service, "POST", "/api/reservations", fmt.Sprintf(`{"orderId":%d,"items":[%s]}`, writer*each+n+1, strings.Join(mine, ","))).want(201)
					}
				})
			}
			wait.Wait()
			if got := transactions.Load(); got != writers*each {
				t.Errorf("%d reservations took %d transactions, want one each: some were given up as deadlocked", writers*each, got)
			}
			s.checkBooks()
		})
	}
}

// Requests of one order for the last there is, all at once: one reserves it and the others find that.
// None is refused for what its own order holds.
func TestSameReservationRaces(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		for order := 1; order <= 10; order++ {
			product := s.addProduct("p", 2)
			var wait sync.WaitGroup
			var created atomic.Int64
			for range 8 {
				wait.Go(func() {
					body := fmt.Sprintf(`{"orderId":%d,"items":[{"productId":%d,"quantity":2}]}`, order, product)
					switch got := s.call(service, "POST", "/api/reservations", body); got.status {
					case http.StatusCreated:
						created.Add(1)
					case http.StatusOK:
					default:
						t.Errorf("reserve for order %d = %d %s, want 201 or 200", order, got.status, got.body)
					}
				})
			}
			wait.Wait()
			if n := created.Load(); n != 1 {
				t.Errorf("order %d was created %d times, want once", order, n)
			}
		}
		s.checkBooks()
	})
}
