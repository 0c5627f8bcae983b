package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"tienda/api"
	"tienda/sqldb/sqldbtest"
)

// clients is how many customers the benchmarks have at once, where they say nothing else.
const clients = 16

// BenchmarkShop measures what a customer waits for, through the gateway, with the whole shop and its
// customers in this one process. Run it with test/bench.sh, which puts a durable MariaDB beside it.
func BenchmarkShop(b *testing.B) {
	for _, engine := range sqldbtest.Engines() {
		b.Run(engine, func(b *testing.B) {
			s := start(b, b.TempDir(), engine)
			token := s.login("selimhorri", "0000")
			for _, c := range []struct {
				name string
				call func(i int64) request
				want int
			}{
				{"product-by-id", func(i int64) request {
					return request{method: "GET", path: fmt.Sprintf("/product-service/api/products/%d", 1+i%40)}
				}, http.StatusOK},
				{"product-list-20", func(i int64) request {
					return request{method: "GET", path: fmt.Sprintf("/product-service/api/products?page=%d&size=20", i%2)}
				}, http.StatusOK},
				{"product-search", func(int64) request {
					return request{method: "GET", path: "/product-service/api/products?q=laptop&inStock=true&size=20"}
				}, http.StatusOK},
				{"log-in", func(int64) request {
					return request{method: "POST", path: "/app/api/authenticate", body: `{"username":"omarderouiche","password":"0000"}`}
				}, http.StatusOK},
			} {
				b.Run(c.name, func(b *testing.B) {
					s.measure(b, clients, func(i int64) bool {
						a, err := s.try(c.call(i))
						return err == nil && a.status == c.want
					})
				})
			}
			b.Run("checkout", func(b *testing.B) { s.benchmarkCheckout(b, clients, token) })
		})
	}
}

// BenchmarkFloor compares checkouts with what MariaDB allows: as many bare transactions by as many clients.
// Traces are sampled as profile production does, and then all of them.
func BenchmarkFloor(b *testing.B) {
	for _, sampling := range []string{"0.1", "1"} {
		b.Run("sampling="+sampling, func(b *testing.B) {
			s := startWith(b, b.TempDir(), append(schemasFor(b), "MANAGEMENT_TRACING_SAMPLING_PROBABILITY="+sampling))
			token := s.login("selimhorri", "0000")
			for _, clients := range []int{1, 4, 16, 48} {
				b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
					b.Run("checkout", func(b *testing.B) { s.benchmarkCheckout(b, clients, token) })
					b.Run("transactions", func(b *testing.B) { s.benchmarkFloor(b, clients, transactionOfOneRow) })
					b.Run("autocommit", func(b *testing.B) { s.benchmarkFloor(b, clients, autocommitOfOneRow) })
				})
			}
		})
	}
}

// benchmarkCheckout measures POST …/checkout alone: carts are filled before the clock starts, with
// different products, so that it is not the row of one that is measured.
func (s *system) benchmarkCheckout(b *testing.B, clients int, token string) {
	admin := s.login("admin", "0000")
	s.tb = b
	products := make([]api.ID, max(160, 10*clients))
	s.parallel(clients, len(products), func(i int) {
		var product api.Product
		s.call(http.StatusCreated, request{method: "POST", path: "/product-service/api/products", token: admin,
			body: fmt.Sprintf(`{"productTitle":"Bench ware","sku":"BENCH-%d-%d-%d","priceUnit":9.90,"quantity":1000000,"category":{"categoryId":1}}`, clients, b.N, i)}).decode(b, &product)
		products[i] = product.ProductID
	})
	carts := make([]api.ID, b.N)
	s.parallel(clients, b.N, func(i int) {
		var cart api.Cart
		s.call(http.StatusCreated, request{method: "POST", path: "/order-service/api/carts", token: token, body: `{"userId":1}`}).decode(b, &cart)
		s.call(http.StatusOK, request{method: "PUT", path: fmt.Sprintf("/order-service/api/carts/%d/items/%d", cart.CartID, products[i%len(products)]), token: token, body: `{"quantity":1}`})
		carts[i] = cart.CartID
	})
	before := s.transactions()
	s.measure(b, clients, func(i int64) bool {
		header := key(fmt.Sprintf("bench-%d-%d-%d", clients, b.N, i))
		header.Set("Prefer", "wait=30")
		a, err := s.try(request{method: "POST", path: fmt.Sprintf("/order-service/api/carts/%d/checkout", carts[i]), token: token, body: checkoutBody("tok_ok"), header: header})
		return err == nil && a.status == http.StatusCreated
	})
	b.ReportMetric(float64(s.transactions()-before)/float64(b.N), "commits/op")
}

// commitsOfCheckout is how many durable transactions a checkout takes, see docs/decisions/0013.
const commitsOfCheckout = 12

// transactions is how many the databases of the business services have seen; the tracing server keeps
// spans in its own way.
func (s *system) transactions() (n int64) {
	s.tb.Helper()
	for _, component := range businessServices() {
		n += s.metric(component, "db_query_seconds_count", `op="transaction"`)
	}
	return n
}

const insertOneRow = `INSERT INTO floor.bare (n) VALUES (?)`

// transactionOfOneRow is the least that an application does: begin, one row, commit.
func transactionOfOneRow(ctx context.Context, db *sql.DB, n int64) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, insertOneRow, n); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// autocommitOfOneRow is the least that the server can be asked for: one statement is one transaction.
func autocommitOfOneRow(ctx context.Context, db *sql.DB, n int64) error {
	_, err := db.ExecContext(ctx, insertOneRow, n)
	return err
}

// benchmarkFloor is what the database allows: as many durable transactions as a checkout takes, one after
// the other, each of one row and nothing else, by as many clients at once.
func (s *system) benchmarkFloor(b *testing.B, clients int, write func(ctx context.Context, db *sql.DB, n int64) error) {
	dsn, err := mysql.ParseDSN(os.Getenv(sqldbtest.DSNVariable))
	if err != nil {
		b.Fatal(err)
	}
	dsn.InterpolateParams = true
	connector, err := mysql.NewConnector(dsn)
	if err != nil {
		b.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(clients)
	db.SetMaxIdleConns(clients)
	exec := func(statement string, args ...any) bool {
		_, err := db.ExecContext(b.Context(), statement, args...)
		if err != nil {
			b.Error(err)
		}
		return err == nil
	}
	if !exec(`CREATE DATABASE IF NOT EXISTS floor`) || !exec(`CREATE OR REPLACE TABLE floor.bare (id BIGINT AUTO_INCREMENT PRIMARY KEY, n BIGINT NOT NULL)`) {
		return
	}
	defer exec(`DROP DATABASE floor`)
	s.measure(b, clients, func(i int64) bool {
		for range commitsOfCheckout {
			if err := write(b.Context(), db, i); err != nil {
				b.Error(err)
				return false
			}
		}
		return true
	})
}

// measure makes b.N calls by some clients at once and reports their rate and percentiles.
func (s *system) measure(b *testing.B, clients int, call func(i int64) bool) {
	runtime.GC()
	var (
		next   atomic.Int64
		mu     sync.Mutex
		took   = make([]time.Duration, 0, b.N)
		failed atomic.Int64
		group  sync.WaitGroup
	)
	b.ResetTimer()
	for range clients {
		group.Go(func() {
			var mine []time.Duration
			for {
				i := next.Add(1) - 1
				if i >= int64(b.N) {
					break
				}
				began := time.Now()
				if !call(i) {
					failed.Add(1)
				}
				mine = append(mine, time.Since(began))
			}
			mu.Lock()
			took = append(took, mine...)
			mu.Unlock()
		})
	}
	group.Wait()
	b.StopTimer()
	if n := failed.Load(); n > 0 {
		b.Fatalf("%d of %d calls failed", n, b.N)
	}
	slices.Sort(took)
	at := func(percent int) float64 { return float64(took[(len(took)-1)*percent/100].Microseconds()) / 1000 }
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
	b.ReportMetric(at(50), "p50-ms")
	b.ReportMetric(at(99), "p99-ms")
	b.ReportMetric(0, "ns/op") // a mean over clients at once says nothing
}
