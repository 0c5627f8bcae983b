package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"tienda/api"
	"tienda/sqldb"
)

// Fill writes a shop that has been open for two years straight into the databases of its services: it
// is how a shop gets a million products and orders in minutes, which over HTTP would take days. That
// makes it, like the audit, a tool that knows the tables of all services; TestFillKnowsTheTables fails
// when one of them changes and this does not.
//
// What it writes is what the services would have left behind after so many registrations, checkouts,
// declined cards, cancellations, parcels and refunds, so that every invariant of the audit holds. Three
// things are left out, which nothing in the shop reads any more: Idempotency-Keys (they live a day), the
// events of carts and reservations, and the bodies of answers that payment-service would replay, of which
// id and state are kept. Followers of the events are moved on behind those that Fill writes, if they had
// read all before: the rows are as if they had been applied.
//
// Ids continue behind those that are there; a second call adds another two years' worth to the same shop.
// Rows follow from the seed and from what was there before. An error leaves a part behind: the databases
// are then to be thrown away.
func Fill(ctx context.Context, opts FillOptions) (FillResult, error) {
	began := time.Now()
	if err := opts.check(); err != nil {
		return FillResult{}, err
	}
	plan, err := newFillPlan(ctx, opts)
	if err != nil {
		return FillResult{}, err
	}
	f := &filler{opts: opts, began: began}
	tables := map[string][]fillTable{
		"user-service":     plan.userTables(),
		"product-service":  plan.productTables(),
		"order-service":    plan.orderTables(),
		"payment-service":  plan.paymentTables(),
		"shipping-service": plan.shippingTables(),
	}
	for _, list := range tables {
		for _, table := range list {
			f.total += int64(table.n)
		}
	}
	stop := tell(opts.Progress, opts.Rewrite, f.progress)
	group, groupCtx := errgroup.WithContext(ctx)
	for service, list := range tables {
		db := opts.Databases[service]
		slots := make(chan struct{}, tablesAtOnce)
		for _, table := range list {
			group.Go(func() error {
				slots <- struct{}{}
				defer func() { <-slots }()
				if err := f.write(groupCtx, db, table); err != nil {
					return fmt.Errorf("%s: fill %s: %w", service, table.name, err)
				}
				return nil
			})
		}
	}
	err = group.Wait()
	stop()
	if err == nil {
		err = plan.moveFollowers(ctx)
	}
	result := FillResult{Products: opts.Products, Orders: opts.Orders, Users: opts.Users, Rows: f.rows.Load(), Elapsed: time.Since(began),
		FirstProduct: api.ID(plan.first.product), FirstOrder: api.ID(plan.first.order), FirstUser: api.ID(plan.first.user), Password: plan.password}
	const part = "the databases hold a part now: throw them away, stop the shop and fill new ones"
	switch {
	case err == nil:
	case ctx.Err() != nil:
		err = errors.New("stopped before it was done; " + part)
	case errors.Is(err, sqldb.ErrConflict):
		err = fmt.Errorf("somebody else wrote to the shop while it was filled, or an earlier fill did not come to its end, so that ids came twice; %s: %w", part, err)
	default:
		err = fmt.Errorf("%s: %w", part, err)
	}
	return result, err
}

// FillOptions say how much [Fill] writes, and where.
type FillOptions struct {
	Products, Orders, Users int
	Seed                    uint64
	// Databases are those of the services by name, migrated, and best opened with [sqldb.Config.Bulk].
	Databases map[string]*sqldb.DB
	// Currency is the one of the shop; rows that are there in another are an error.
	Currency api.Currency
	// Now is when the two years end.
	Now time.Time
	// Progress is told how far it is, in one line that is rewritten if Rewrite is set; nil is nobody.
	Progress io.Writer
	Rewrite  bool
}

// FillServices are the services whose databases [Fill] writes, and favourite-service, which follows the
// events of users.
func FillServices() []string {
	return []string{"user-service", "product-service", "order-service", "payment-service", "shipping-service", "favourite-service"}
}

func (o FillOptions) check() error {
	for _, service := range FillServices() {
		if o.Databases[service] == nil {
			return fmt.Errorf("the database of %s is missing", service)
		}
	}
	for _, n := range []struct {
		name        string
		value, most int
	}{{"products", o.Products, 20_000_000}, {"orders", o.Orders, 20_000_000}, {"users", o.Users, 5_000_000}} {
		if n.value < 1 || n.value > n.most {
			return fmt.Errorf("the number of %s is %d: want 1 to %d", n.name, n.value, n.most)
		}
	}
	return nil
}

// FillResult is what [Fill] wrote. The users from FirstUser on are called customer-ID and share a password.
type FillResult struct {
	Products, Orders, Users             int
	FirstProduct, FirstOrder, FirstUser api.ID
	Password                            string
	Rows                                int64
	Elapsed                             time.Duration
}

// fillTable is what is written into one table: rows is called with 0 to n-1, in order, and puts the rows
// that follow from each.
type fillTable struct {
	name, columns string
	n             int
	rows          func(i int, put func(values ...any))
}

// How much is written at once. More tables at once would only wait for each other.
const (
	tablesAtOnce     = 3
	valuesAStatement = 4000
	statementsATurn  = 40
)

// filler writes tables and counts.
type filler struct {
	opts        FillOptions
	began       time.Time
	total       int64
	items, rows atomic.Int64
}

// write goes through one table in transactions of some thousand rows, which can run again when the engine
// gives one up.
func (f *filler) write(ctx context.Context, db *sqldb.DB, table fillTable) error {
	width := strings.Count(table.columns, ",") + 1
	perStatement := max(1, valuesAStatement/width)
	most := perStatement * statementsATurn * width
	args := make([]any, 0, most+100*width)
	var full string
	flush := func() error {
		return db.Tx(ctx, func(tx *sqldb.Tx) error {
			for rest := args; len(rest) > 0; {
				now := rest[:min(len(rest), perStatement*width)]
				rest = rest[len(now):]
				text := full
				if text == "" || len(now) < perStatement*width {
					text = insertRows(table, width, len(now)/width)
				}
				if len(now) == perStatement*width {
					full = text
				}
				if _, err := tx.Exec(ctx, text, now...); err != nil {
					return err
				}
			}
			return nil
		})
	}
	put := func(values ...any) { args = append(args, values...) }
	reported := 0
	for i := range table.n {
		table.rows(i, put)
		if len(args) < most && i+1 < table.n {
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		f.rows.Add(int64(len(args) / width))
		f.items.Add(int64(i + 1 - reported))
		args, reported = args[:0], i+1
	}
	return nil
}

// insertRows is the statement that inserts n rows.
func insertRows(table fillTable, width, n int) string {
	row := "(" + sqldb.In(width) + "),"
	return "INSERT INTO " + table.name + " (" + table.columns + ") VALUES " + strings.TrimSuffix(strings.Repeat(row, n), ",")
}

// progress is one line of how far it is.
func (f *filler) progress() string {
	return fmt.Sprintf("fill: %3d %%, %d rows, %s", f.items.Load()*100/f.total, f.rows.Load(), time.Since(f.began).Round(time.Second))
}
