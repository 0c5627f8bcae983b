package load

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/argon2"

	"tienda/api"
	"tienda/sqldb"
)

// fillPlan is what all tables must agree on before the first row is written.
type fillPlan struct {
	opts       FillOptions
	first      firstIDs
	categories []int64
	passed     map[string]int64 // the last event of each service before
	from, to   int64            // when the first order was placed and when the last, in microseconds
	password   string
	hash       string
	sold, back []int32 // of each product: units that left, and units of these that came back
	words      vocabulary
}

// firstIDs are the ids behind those that are there. Rows that belong to an order have ids that follow from
// its number, and numbers that no row takes stay free, as after a transaction that was rolled back.
type firstIDs struct {
	user, credential, address, product, cart, order, payment, operation, shipment int64
}

// life is how long the shop is made to look open.
const life = 2 * 365 * 24 * time.Hour

func newFillPlan(ctx context.Context, opts FillOptions) (*fillPlan, error) {
	p := &fillPlan{opts: opts, passed: map[string]int64{}, words: newVocabulary(),
		from: opts.Now.Add(-life).UnixMicro(), to: opts.Now.Add(-time.Hour).UnixMicro(),
		sold: make([]int32, opts.Products), back: make([]int32, opts.Products),
	}
	for _, id := range []struct {
		first   *int64
		service string
		query   string
	}{
		{&p.first.user, "user-service", `SELECT MAX(user_id) FROM users`},
		{&p.first.credential, "user-service", `SELECT MAX(credential_id) FROM credentials`},
		{&p.first.address, "user-service", `SELECT MAX(address_id) FROM address`},
		{&p.first.product, "product-service", `SELECT MAX(product_id) FROM products`},
		{&p.first.cart, "order-service", `SELECT MAX(cart_id) FROM carts`},
		{&p.first.order, "order-service", `SELECT MAX(order_id) FROM orders`},
		{&p.first.order, "product-service", `SELECT MAX(order_id) FROM reservations`},
		{&p.first.order, "payment-service", `SELECT MAX(order_id) FROM sandbox_charges`},
		{&p.first.order, "shipping-service", `SELECT MAX(order_id) FROM order_items`},
		{&p.first.payment, "payment-service", `SELECT MAX(payment_id) FROM payments`},
		{&p.first.operation, "payment-service", `SELECT MAX(operation_id) FROM payment_operations`},
		{&p.first.shipment, "shipping-service", `SELECT MAX(shipment_id) FROM shipments`},
	} {
		last, err := lastOf(ctx, opts.Databases[id.service], id.query)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", id.service, err)
		}
		*id.first = max(*id.first, last+1)
	}
	for _, service := range FillServices() {
		last, err := lastOf(ctx, opts.Databases[service], `SELECT MAX(seq) FROM events`)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", service, err)
		}
		p.passed[service] = last
	}
	if err := p.checkCurrency(ctx); err != nil {
		return nil, err
	}
	if err := p.findCategories(ctx); err != nil {
		return nil, err
	}
	p.makePassword()
	// What was sold decides how much must have been received, so all orders are gone through once before.
	maker := p.newOrderMaker()
	for i := range opts.Orders {
		o := maker.order(i)
		if !o.kind.reserved() {
			continue
		}
		for _, l := range o.lines {
			p.sold[l.product] += int32(l.quantity)
			if o.kind == fillCancelled {
				p.back[l.product] += int32(l.quantity)
			}
		}
	}
	return p, nil
}

// lastOf is the highest number that a query finds, 0 in an empty table.
func lastOf(ctx context.Context, db *sqldb.DB, query string) (int64, error) {
	var last *int64
	if err := db.QueryRow(ctx, query).Scan(&last); err != nil || last == nil {
		return 0, err
	}
	return *last, nil
}

// checkCurrency refuses a shop that has sold in another currency.
func (p *fillPlan) checkCurrency(ctx context.Context) error {
	for service, query := range map[string]string{
		"product-service": `SELECT currency FROM products LIMIT 1`, "order-service": `SELECT currency FROM orders LIMIT 1`,
	} {
		var found string
		err := p.opts.Databases[service].QueryRow(ctx, query).Scan(&found)
		if err != nil && !errors.Is(err, sqldb.ErrNotFound) {
			return fmt.Errorf("%s: currency: %w", service, err)
		}
		if err == nil && found != p.opts.Currency.Code {
			return fmt.Errorf("the shop has rows in %s and is to be filled in %s: a shop has one currency", found, p.opts.Currency.Code)
		}
	}
	return nil
}

// findCategories reads the categories that there are, and makes a tree of them where there are none.
func (p *fillPlan) findCategories(ctx context.Context) error {
	const query = `SELECT category_id FROM categories WHERE deleted_at IS NULL ORDER BY category_id`
	db := p.opts.Databases["product-service"]
	scan := func(scan func(...any) error) (id int64, err error) { return id, scan(&id) }
	var err error
	if p.categories, err = sqldb.All(ctx, db, scan, query); err != nil || len(p.categories) > 0 {
		return err
	}
	now := sqldb.Instant(p.opts.Now.Add(-life))
	err = db.Tx(ctx, func(tx *sqldb.Tx) error {
		for root := range 8 {
			var parent *int64
			for child := range 6 {
				title := p.words.nouns[root*6+child]
				id, err := tx.Insert(ctx, `INSERT INTO categories (parent_id, title, created_at, updated_at) VALUES (?, ?, ?, ?)`, parent, title, now, now)
				if err != nil {
					return err
				}
				if parent == nil {
					parent = &id
				}
			}
		}
		return nil
	})
	if err == nil {
		p.categories, err = sqldb.All(ctx, db, scan, query)
	}
	if err != nil {
		return fmt.Errorf("categories: %w", err)
	}
	return nil
}

// makePassword makes the password of all users, and its hash as user-service makes them (PHC string format).
func (p *fillPlan) makePassword() {
	dice := newDice(p.opts.Seed, streamPassword)
	dice.roll(0)
	p.password = fmt.Sprintf("customer-%08x", dice.Uint32())
	salt := make([]byte, 16)
	for i := range salt {
		salt[i] = byte(dice.Uint32())
	}
	key := argon2.IDKey([]byte(p.password), salt, 5, 7*1024, 1, 32)
	p.hash = fmt.Sprintf("$argon2id$v=%d$m=7168,t=5,p=1$%s$%s", argon2.Version,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

// moveFollowers sets those who follow events behind the ones that were written, unless they are not yet at
// what came before: then they have to go through all.
func (p *fillPlan) moveFollowers(ctx context.Context) error {
	for _, f := range []struct{ follower, service string }{
		{"order-service", "user-service"}, {"order-service", "payment-service"}, {"favourite-service", "user-service"},
	} {
		last, err := lastOf(ctx, p.opts.Databases[f.service], `SELECT MAX(seq) FROM events`)
		if err != nil {
			return fmt.Errorf("%s: %w", f.service, err)
		}
		err = p.opts.Databases[f.follower].Tx(ctx, func(tx *sqldb.Tx) error {
			n, err := tx.Exec(ctx, `UPDATE feed_positions SET seq = ? WHERE feed = ? AND seq >= ?`, last, f.service, p.passed[f.service])
			if err != nil || n > 0 || p.passed[f.service] > 0 {
				return err
			}
			_, err = tx.Exec(ctx, `INSERT INTO feed_positions (feed, seq) VALUES (?, ?)`, f.service, last)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: position in the events of %s: %w", f.follower, f.service, err)
		}
	}
	return nil
}

// amount is minor units as they stand in JSON.
func (p *fillPlan) amount(minor int64) api.Amount { return p.opts.Currency.Amount(minor) }
