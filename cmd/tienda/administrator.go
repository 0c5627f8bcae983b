package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"tienda/sqldb"
	"tienda/user"
)

type administratorCommand struct {
	Data     string `help:"Folder of the embedded databases; ${default} unless given." default:"./data" placeholder:"DIR"`
	Username string `arg:"" help:"Username of somebody who has registered." name:"username"`
}

// Run makes a user an administrator, in the database of user-service: in the data folder, or where
// SPRING_DATASOURCE_URL says, as "tienda run user-service" takes it. It neither makes nor migrates one.
func (c *administratorCommand) Run(ctx context.Context, term terminal, environ environment) error {
	const service = "user-service"
	if !utf8.ValidString(c.Username) || strings.TrimSpace(c.Username) == "" {
		return exit{statusUsage, errors.New("administrator: the username must be a text that is not empty")}
	}
	config, migrations := databaseOf(service, c.Data, environ, false), schemas()[service]
	// Opening it to write would make it where there is none.
	looked, err := sqldb.Await(ctx, patience, sqldb.Silent, nil, func(ctx context.Context) (*sqldb.DB, error) {
		return sqldb.OpenToRead(ctx, config, migrations...)
	})
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the folder %s lacks %s.db: name the folder of the shop with --data DIR, or the schema of %s with SPRING_DATASOURCE_URL", c.Data, service, service)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", service, err)
	}
	_ = looked.Close() // nothing was written
	db, err := sqldb.Open(ctx, config, migrations...)
	if err != nil {
		return fmt.Errorf("%s: %w", service, err)
	}
	err = user.MakeAdministrator(ctx, db, c.Username, time.Now())
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("administrator: %w", err)
	}
	fmt.Fprintf(term.out, "%s is an administrator from the next log-in on\n", c.Username)
	return nil
}
