package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/bojanz/currency"

	"tienda/api"
	"tienda/load"
	"tienda/sqldb"
)

// fillFlags are those of "tienda load --fill".
type fillFlags struct {
	Fill     bool   `help:"Instead of traffic, write a shop that has been open for two years straight into the databases of the services." group:"fill"`
	Data     string `help:"With --fill: folder of the embedded databases; ${default} unless given." default:"./data" placeholder:"DIR" group:"fill"`
	Products int    `help:"With --fill: how many products; ${default} unless given." default:"1000000" placeholder:"N" group:"fill"`
	Orders   int    `help:"With --fill: how many orders; ${default} unless given." default:"1000000" placeholder:"N" group:"fill"`
}

// fill writes the databases in the data folder, or those that SPRING_DATASOURCE_URL names, as migrate
// does. users is a tenth of the orders when it is 0.
func (c *fillFlags) fill(ctx context.Context, users int, seed uint64, term terminal, environ environment) error {
	for _, profile := range strings.Split(environ.get("SPRING_PROFILES_ACTIVE"), ",") {
		if strings.TrimSpace(profile) == "production" {
			return errors.New("profile production refuses --fill: it writes orders that nobody placed")
		}
	}
	money := api.Currency{Code: "USD", Digits: 2}
	if code := environ.get("TIENDA_CURRENCY"); code != "" {
		digits, ok := currency.GetDigits(code)
		if !ok {
			return fmt.Errorf("TIENDA_CURRENCY is %q: want an ISO 4217 code such as USD, EUR or TND", code)
		}
		money = api.Currency{Code: code, Digits: int(digits)}
	}
	if users == 0 {
		users = max(1, c.Orders/10)
	}
	url := environ.get("SPRING_DATASOURCE_URL")
	if url == "" {
		if err := os.MkdirAll(c.Data, 0o700); err != nil {
			return fmt.Errorf("data folder: %w; choose another with --data DIR", plainPathError(err))
		}
	}
	opts := load.FillOptions{Products: c.Products, Orders: c.Orders, Users: users, Seed: seed, Currency: money, Now: time.Now(),
		Progress: term.err, Rewrite: watched(term.err), Databases: map[string]*sqldb.DB{}}
	defer func() {
		for _, db := range opts.Databases {
			_ = db.Close() // all is committed
		}
	}()
	for _, service := range load.FillServices() {
		config := databaseOf(service, c.Data, environ, true)
		config.Bulk = true
		db, err := sqldb.Open(ctx, config, schemas()[service]...)
		if errors.Is(err, sqldb.ErrInUse) {
			return fmt.Errorf("%s is running: stop the shop before it is filled, which takes ids and locks that it needs itself (%w)", service, err)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", service, err)
		}
		opts.Databases[service] = db
	}
	result, err := load.Fill(ctx, opts)
	if err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	fmt.Fprintf(term.out, "filled: %d products from %d on, %d orders from %d on, %d users from %d on; %d rows in %s\n", result.Products, result.FirstProduct,
		result.Orders, result.FirstOrder, result.Users, result.FirstUser, result.Rows, result.Elapsed.Round(100*time.Millisecond))
	fmt.Fprintf(term.out, "log in as customer-%d with the password %s\n", result.FirstUser, result.Password)
	return nil
}
