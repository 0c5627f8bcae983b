package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"tienda/audit"
	"tienda/sqldb"
)

type auditCommand struct {
	Data  string        `help:"Folder of the embedded databases; ${default} unless given." default:"./data" placeholder:"DIR"`
	JSON  bool          `name:"json" help:"Print the result as JSON."`
	Grace time.Duration `help:"How long the databases of two services may disagree about what has just changed; ${default} unless given." default:"1m" placeholder:"D"`
}

// Statuses of the process beside 0: that it could not look is not the same as that something is wrong.
const (
	statusViolations = 1
	statusBlind      = 2
)

// Run audits the databases in the data folder, or those that SPRING_DATASOURCE_URL names, as migrate
// finds them. It neither makes, migrates nor changes any.
func (c *auditCommand) Run(ctx context.Context, term terminal, environ environment) error {
	result, err := c.audit(ctx, environ, time.Now)
	if err != nil {
		return exit{statusBlind, fmt.Errorf("audit: %w", err)}
	}
	if c.JSON {
		encoder := json.NewEncoder(term.out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(result)
	} else {
		_, err = result.WriteTo(term.out)
	}
	switch {
	case err != nil:
		return exit{statusBlind, fmt.Errorf("audit: %w", err)}
	case result.Violations > 0:
		return exit{statusViolations, fmt.Errorf("audit: %d violations", result.Violations)}
	}
	return nil
}

func (c *auditCommand) audit(ctx context.Context, environ environment, now func() time.Time) (*audit.Result, error) {
	if c.Grace < 0 {
		return nil, errors.New("--grace must not be negative")
	}
	var databases audit.Databases
	var missing []string
	for _, part := range []struct {
		service string
		db      **sqldb.DB
	}{
		{"order-service", &databases.Order}, {"product-service", &databases.Product},
		{"payment-service", &databases.Payment}, {"shipping-service", &databases.Shipping},
	} {
		db, err := sqldb.Await(ctx, patience, sqldb.Silent, nil, func(ctx context.Context) (*sqldb.DB, error) {
			return sqldb.OpenToRead(ctx, databaseOf(part.service, c.Data, environ, true), schemas()[part.service]...)
		})
		if errors.Is(err, os.ErrNotExist) {
			missing = append(missing, part.service+".db")
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.service, err)
		}
		defer func() { _ = db.Close() }() // nothing was written
		*part.db = db
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("the folder %s lacks %s: name the folder of the whole shop with --data DIR, or its server with SPRING_DATASOURCE_URL",
			c.Data, strings.Join(missing, ", "))
	}
	return audit.Run(ctx, databases, audit.Options{Grace: c.Grace, Now: now})
}
