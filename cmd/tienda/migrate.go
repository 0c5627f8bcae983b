package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"tienda/sqldb"
)

type migrateCommand struct {
	Data       string   `help:"Folder of the embedded databases; ${default} unless given." default:"./data" placeholder:"DIR"`
	Components []string `arg:"" optional:"" help:"Components; all by default." name:"component"`
}

// Run migrates the databases of the components: those in the data folder, or the one that
// SPRING_DATASOURCE_URL names, with one schema for each when there are several.
func (c *migrateCommand) Run(ctx context.Context, term terminal, environ environment) error {
	names := c.Components
	if len(names) == 0 {
		names = componentNames()
	}
	rows, err := selected(names)
	if err != nil {
		return err
	}
	for _, row := range rows {
		migrations, ok := schemas()[row.Name]
		if !ok {
			if len(c.Components) > 0 {
				return fmt.Errorf("%s has no database", row.Name)
			}
			continue
		}
		db, err := sqldb.Await(ctx, patience, sqldb.Silent, nil, func(ctx context.Context) (*sqldb.DB, error) {
			return sqldb.Open(ctx, databaseOf(row.Name, c.Data, environ, withDatabase(rows) > 1), migrations...)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", row.Name, err)
		}
		if err := db.Close(); err != nil {
			return fmt.Errorf("%s: %w", row.Name, err)
		}
		fmt.Fprintf(term.out, "%-18s up to date\n", row.Name)
	}
	return nil
}

// patience is how long a command waits for a database server that says nothing.
const patience = 30 * time.Second

// databaseOf is where a component keeps its rows: in the data folder, or where SPRING_DATASOURCE_URL
// says, in a schema of its own when the URL is for several.
func databaseOf(service, data string, environ environment, several bool) sqldb.Config {
	url := environ.get("SPRING_DATASOURCE_URL")
	if url == "" {
		return sqldb.Config{URL: "sqlite:" + filepath.Join(data, service+".db")}
	}
	if several {
		url = schemaOf(url, service)
	}
	return sqldb.Config{URL: url, Username: environ.get("SPRING_DATASOURCE_USERNAME"), Password: environ.get("SPRING_DATASOURCE_PASSWORD")}
}
