package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tienda/api"
	"tienda/load"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// filledRows is how many products and orders the plans are looked at with: enough for both optimizers to
// mind, and few enough to make in seconds.
const filledRows = 20_000

// TestStatementsUseIndexes runs everything that belongs to an order on a filled shop, and then has each
// engine show what it does for each statement that the services ran: none may read many more rows than it
// returns, as a scan of a table or an index, a sort of more than the page, or an index that fits badly do,
// unless [mayRead] says why.
func TestStatementsUseIndexes(t *testing.T) {
	t.Parallel()
	eachPlace(t, func(t *testing.T, engine, data string, environ environment) {
		startWith(t, data, environ).end() // for the administrator of the demo data
		said := fillShop(t, data, environ, filledRows)
		recorded := newRecorder()
		s := startPlace(t, place{Data: data, statement: recorded.add}, environ)
		s.everyStatement(said)
		s.end()
		used := map[string]bool{}
		for _, service := range load.FillServices() {
			db := shopDatabase(t, data, environ, service)
			queue(t, db, service)
			if engine == "mysql" {
				analyze(t, db, environ)
			}
			for _, r := range recorded.of(service) {
				var problems []string
				if engine == "mysql" {
					problems = explainMySQL(t, db, r)
				} else {
					problems = explainSQLite(t, db, filepath.Join(data, service+".db"), r)
				}
				for _, problem := range problems {
					if reason := excuse(engine, service, r.query, problem); reason != "" {
						used[reason] = true
						continue
					}
					t.Errorf("%s: %s\n%s\nargs %v", service, problem, r.query, r.args)
				}
			}
		}
		for _, may := range mayRead {
			if slices.Contains(may.engines, engine) && !used[may.reason] {
				t.Errorf("no statement needs to be excused any more because %q", may.reason)
			}
		}
	})
}

var both = []string{"sqlite", "mysql"}

// excused are statements that may read more than they return.
type excused struct {
	engines  []string
	service  string
	contains string // of the statement, with its white space folded
	problem  string // of the message
	reason   string
}

var mayRead = []excused{
	{both, "product-service", "FROM product_terms t WHERE", "result", "a search goes through the products that hold its rarest word, up to a few thousand"},
	{both, "product-service", "FROM product_terms w WHERE w.product_id = p.product_id", "result", "a search for a common word goes through the products in their order until the page is full"},
	{[]string{"mysql"}, "product-service", "p.category_id + 0 IN (?) ORDER BY p.price", "result", "the products of a large category are found on the way along the prices"},
	{both, "product-service", "ORDER BY (p.on_hand - p.reserved)", "result", "an index on what is available would be written by every reservation, for a sort that hardly anybody asks for"},
	{[]string{"sqlite"}, "order-service", "FROM orders WHERE 1 = 1 AND user_id = ?", "result", "the orders of one customer are sorted among themselves"},
	{[]string{"sqlite"}, "order-service", "FROM orders WHERE 1 = 1 AND status = ? ORDER BY order_date", "result", "up to ten thousand orders in a status are sorted among themselves"},
	{[]string{"sqlite"}, "payment-service", "FROM payments WHERE state <> 'PENDING' AND user_id = ? ORDER BY", "result", "the payments of one customer are sorted among themselves"},
	{[]string{"sqlite"}, "shipping-service", "FROM shipments WHERE user_id = ? ORDER BY created_at", "result", "the shipments of one customer are sorted among themselves"},
	{both, "shipping-service", "FROM order_items WHERE user_id = ? ORDER BY", "result", "the items of one customer are sorted among themselves"},
	{[]string{"mysql"}, "shipping-service", "FROM order_items WHERE 1 = 1 ORDER BY order_id", "result", "only administrators list the items of all orders, and by their ids unless they ask for this"},
}

func excuse(engine, service, query, problem string) string {
	for _, may := range mayRead {
		if slices.Contains(may.engines, engine) && may.service == service && strings.Contains(fold(query), may.contains) && strings.Contains(problem, may.problem) {
			return may.reason
		}
	}
	return ""
}

// fold makes white space and lists of placeholders alike.
func fold(query string) string {
	return placeholders.ReplaceAllString(strings.Join(strings.Fields(query), " "), "?,…")
}

var placeholders = regexp.MustCompile(`\?(?:, ?\?)+`)

// recorder keeps the statements that services run, with arguments of a few times.
type recorder struct {
	mu   sync.Mutex
	seen map[string]map[string][]statement
}

type statement struct {
	query string
	args  []any
}

func newRecorder() *recorder { return &recorder{seen: map[string]map[string][]statement{}} }

func (r *recorder) add(service, query string, args []any) {
	verb, _, _ := strings.Cut(strings.TrimSpace(query), " ")
	if verb == "INSERT" && !strings.Contains(query, "SELECT") {
		return // reads nothing
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[service] == nil {
		r.seen[service] = map[string][]statement{}
	}
	key := fold(query)
	known := r.seen[service][key]
	if len(known) < 8 {
		r.seen[service][key] = append(known, statement{query, slices.Clone(args)})
		return
	}
	known[7] = statement{query, slices.Clone(args)}
}

// of are the statements of a service: of each the first, one in between and the last.
func (r *recorder) of(service string) []statement {
	var list []statement
	for _, key := range slices.Sorted(maps.Keys(r.seen[service])) {
		known := r.seen[service][key]
		list = append(list, known[0])
		if len(known) > 2 {
			list = append(list, known[len(known)/2])
		}
		if len(known) > 1 {
			list = append(list, known[len(known)-1])
		}
	}
	return list
}

var offsets = regexp.MustCompile(`OFFSET (\d+)`)

// offsetOf is how many rows a page leaves out before it begins: they must be gone through.
func offsetOf(query string) (n int64) {
	if match := offsets.FindStringSubmatch(query); match != nil {
		n, _ = strconv.ParseInt(match[1], 10, 64) // digits
	}
	return n
}

// explainSQLite looks at the plan, and then at how much work the statement really is: that tells a scan
// of a whole table from one that a LIMIT ends.
func explainSQLite(t *testing.T, db *sqldb.DB, path string, s statement) []string {
	t.Helper()
	plan, err := sqldb.All(t.Context(), db, func(scan func(...any) error) (detail string, err error) {
		return detail, scan(new(int), new(int), new(int), &detail)
	}, "EXPLAIN QUERY PLAN "+s.query, s.args...)
	if err != nil {
		t.Fatalf("explain %s: %v", s.query, err)
	}
	steps, returned, first := sqldbtest.Steps(t, path, s.query, s.args)
	if strings.HasPrefix(s.query, "SELECT COUNT(*)") {
		returned = first
	}
	if most := 1000 + 100*(returned+offsetOf(s.query)); steps > most {
		return []string{fmt.Sprintf("takes %d steps for a result of %d: %s", steps, returned, strings.Join(plan, "; "))}
	}
	return nil
}

// errUndo ends a transaction whose writes are not wanted.
var errUndo = errors.New("undo")

// explainMySQL looks at the plan and then at what really is read, by the counters of the session.
func explainMySQL(t *testing.T, db *sqldb.DB, s statement) []string {
	t.Helper()
	var problems []string
	err := db.Tx(t.Context(), func(tx *sqldb.Tx) error {
		ctx := t.Context()
		plan, err := table(ctx, tx, "EXPLAIN "+s.query, s.args...)
		if err != nil {
			return err
		}
		shown := make([]string, len(plan))
		for i, line := range plan {
			shown[i] = fmt.Sprintf("%s by %s %s %s", line["table"], line["type"], line["key"], line["Extra"])
		}
		before, err := handlerReads(ctx, tx)
		if err != nil {
			return err
		}
		between, err := handlerReads(ctx, tx)
		if err != nil {
			return err
		}
		var returned int64
		if verb, _, _ := strings.Cut(strings.TrimSpace(s.query), " "); verb == "SELECT" || verb == "WITH" {
			rows, err := table(ctx, tx, s.query, s.args...)
			if err != nil {
				return err
			}
			returned = int64(len(rows))
			if len(rows) == 1 {
				returned, _ = strconv.ParseInt(rows[0]["COUNT(*)"], 10, 64) // of anything else one row is nothing
			}
		} else if returned, err = tx.Exec(ctx, s.query, s.args...); err != nil && !errors.Is(err, sqldb.ErrConflict) {
			return err // a row that is there already is found by its key
		}
		after, err := handlerReads(ctx, tx)
		if err != nil {
			return err
		}
		problems = nil
		read := after - between - (between - before)
		if most := 100 + 8*(returned+offsetOf(s.query)); read > most {
			problems = []string{fmt.Sprintf("reads %d rows for a result of %d: %s", read, returned, strings.Join(shown, "; "))}
		}
		return errUndo
	})
	if !errors.Is(err, errUndo) {
		t.Fatalf("explain %s: %v", s.query, err)
	}
	return problems
}

// table reads rows as text by the names of their columns.
func table(ctx context.Context, q sqldb.Querier, query string, args ...any) ([]map[string]string, error) {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var list []map[string]string
	for rows.Next() {
		values, dest := make([]*string, len(columns)), make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		row := map[string]string{}
		for i, value := range values {
			if value != nil {
				row[columns[i]] = *value
			}
		}
		list = append(list, row)
	}
	return list, rows.Err()
}

// handlerReads is how many rows and index entries this session has read.
func handlerReads(ctx context.Context, tx *sqldb.Tx) (int64, error) {
	rows, err := table(ctx, tx, `SHOW SESSION STATUS LIKE 'Handler_read%'`)
	var sum int64
	for _, row := range rows {
		n, errNumber := strconv.ParseInt(row["Value"], 10, 64)
		err, sum = errors.Join(err, errNumber), sum+n
	}
	return sum, err
}

func analyze(t *testing.T, db *sqldb.DB, environ environment) {
	t.Helper()
	for _, name := range tablesOf(t, db, environ) {
		if _, err := table(t.Context(), db, "ANALYZE TABLE "+name); err != nil {
			t.Fatal(err)
		}
	}
}

// queue puts rows into the tables that are empty in a shop at rest, as after a neighbour was away for an
// hour: a plan for an empty table says nothing.
func queue(t *testing.T, db *sqldb.DB, service string) {
	t.Helper()
	const many = 5000
	insert := func(text string, args func(i int) []any) {
		for begin := 0; begin < many; begin += 500 {
			err := db.Tx(t.Context(), func(tx *sqldb.Tx) error {
				for i := begin; i < begin+500; i++ {
					if _, err := tx.Exec(t.Context(), text, args(i)...); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	now := time.Now()
	at := func(i int) sqldb.Instant { return sqldb.Instant(now.Add(time.Duration(i-many/2) * 10 * time.Second)) }
	insert(`INSERT INTO idempotency_keys (caller, route, idempotency_key, request_hash, subject, status, location, answer, busy_until, created_at)
		VALUES (?, 'POST /queue', ?, '', ?, 201, '', '{}', NULL, ?)`, func(i int) []any { return []any{fmt.Sprint("user:", i%100), fmt.Sprint("key-", i), i, at(i)} })
	switch service {
	case "payment-service":
		insert(`INSERT INTO provider_events (provider, event_id, kind, provider_key, provider_reference, amount, currency, failure_code, declined, body,
			state, attempts, retry_at, received_at) VALUES ('sandbox', ?, 'CAPTURE', ?, '', 1, 'USD', '', FALSE, '{}', ?, 0, ?, ?)`, func(i int) []any {
			state := "APPLIED"
			if i%10 == 0 {
				state = "WAITING"
			}
			return []any{fmt.Sprint("evt_queue", i), fmt.Sprint("none", i), state, at(i), at(i)}
		})
		insert(`INSERT INTO sandbox_events (event_id, body, deliveries, deliver_at) VALUES (?, '{}', 1, ?)`, func(i int) []any { return []any{fmt.Sprint("evt_queue", i), at(i)} })
	case "shipping-service":
		insert(`INSERT INTO notifications (shipment_id, order_id, state, tracking_number, attempts, deliver_at) VALUES (?, ?, 'IN_TRANSIT', '', 0, ?)`,
			func(i int) []any { return []any{1_000_000 + i/2, i, at(i)} })
	}
}

// everyStatement does at least once what a shop does with orders, as customers, administrators, payment
// providers and the background do. It is about the statements: other tests look at what is answered.
func (s *system) everyStatement(said string) {
	s.tb.Helper()
	_, login, ok := strings.Cut(strings.TrimSpace(said), "log in as ")
	username, password, ok2 := strings.Cut(login, " with the password ")
	if !ok || !ok2 {
		s.tb.Fatalf("load --fill does not say how to log in: %s", said)
	}
	token, admin := s.login(username, password), s.login("admin", "0000")
	get := func(token, path string) answer {
		return s.call(http.StatusOK, request{method: "GET", path: path, token: token})
	}
	for _, query := range []string{"", "size=20", "page=100&size=20", "sort=priceUnit,asc&size=20", "sort=priceUnit,desc&page=20&size=20", "sort=productTitle,asc&size=20",
		"sort=createdAt,desc&size=20", "sort=quantity,desc&size=20", "categoryId=1&size=20", "categoryId=4&sort=priceUnit,asc&size=20", "minPrice=10&maxPrice=20&size=20",
		"minPrice=100&maxPrice=101&sort=priceUnit,asc&size=20", "inStock=true&size=20", "q=laptop&size=20", "q=laptop&inStock=true&sort=priceUnit,asc&size=20",
		"q=black+laptop&size=20", "q=wireless+keyb&size=20", "q=l&size=20", "q=nothingatall&size=20", "q=laptop&page=10&size=20", "after=MTAwMDA&size=20", "ids=1,2,3",
		"categoryId=1&q=laptop&minPrice=10&inStock=true&size=20"} {
		get("", "/product-service/api/products?"+query)
		get(admin, "/product-service/api/products?"+query)
	}
	var found api.List[api.Product]
	get("", "/product-service/api/products?inStock=true&sort=createdAt,asc&size=100&page=2").decode(s.tb, &found)
	product := found.Collection[0]
	get("", fmt.Sprintf("/product-service/api/products/%d", product.ProductID))
	get("", fmt.Sprintf("/product-service/api/products/%d/stock", product.ProductID))
	get(admin, fmt.Sprintf("/product-service/api/products/%d/stock-movements?size=20", product.ProductID))
	s.call(http.StatusCreated, request{method: "POST", path: fmt.Sprintf("/product-service/api/products/%d/stock-movements", product.ProductID), token: admin,
		body: `{"quantity":100,"reason":"RECEIVED","note":"more"}`, header: key("received")})
	get("", "/product-service/api/categories")

	s.checkouts(token, admin, product.ProductID)

	for _, query := range []string{"", "size=20", "size=20&page=5", "status=DELIVERED&size=20", "status=CONFIRMED&size=20", "sort=orderDate,desc&size=20", "sort=orderFee,desc&size=20",
		"sort=status,asc&size=20", "userId=17&size=20", "ids=100,200,300", "after=MTAwMDA&size=20", "status=SHIPPED&sort=orderDate,desc&size=20",
		"status=DELIVERED&sort=orderDate,desc&size=20"} {
		get(token, "/order-service/api/orders?"+query)
		get(admin, "/order-service/api/orders?"+query)
	}
	for _, query := range []string{"size=20", "userId=17&size=20", "sort=cartId,desc&size=20", "sort=userId,asc&size=20"} {
		get(token, "/order-service/api/carts?"+query)
		get(admin, "/order-service/api/carts?"+query)
	}
	for _, query := range []string{"size=20", "orderId=500", "orderIds=500,501,502", "ids=500,501", "sort=orderId,desc&size=20", "sort=state,asc&size=20", "sort=amount,desc&size=20"} {
		get(token, "/payment-service/api/payments?"+query)
		get(admin, "/payment-service/api/payments?"+query)
	}
	for _, query := range []string{"size=20", "orderId=500", "orderIds=500,501,502", "sort=createdAt,desc&size=20"} {
		get(token, "/shipping-service/api/shipments?"+query)
		get(admin, "/shipping-service/api/shipments?"+query)
	}
	for _, query := range []string{"size=20", "orderId=500", "sort=orderId,desc&size=20"} {
		get(token, "/shipping-service/api/shippings?"+query)
		get(admin, "/shipping-service/api/shippings?"+query)
	}
	get(admin, "/payment-service/api/ledger?orderId=500")
	get(admin, "/payment-service/api/ledger?size=20&page=50")
	get(token, "/app/api/me")
	get(token, "/app/api/me/orders?size=5")
	get(token, "/app/api/me/orders")
	get(token, "/app/api/me/export")
	get(admin, "/user-service/api/users?size=20")
	get(token, "/user-service/api/address?size=20")
	for _, service := range businessServices() {
		for _, query := range []string{"after=0", "after=15000&limit=100", "after=100000000"} {
			get(admin, "/"+service+"/api/events?"+query)
		}
	}
	time.Sleep(3 * time.Second) // each background loop has looked for work by then
}
