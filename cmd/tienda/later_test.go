package main

import (
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"tienda/sqldb"
)

// TestOnTheNextReleasesSchema: a release migrates before its first pod serves, and what runs until then, or after
// a rollback, goes on with tables that have more than it knows. Each table gets a column that it did not have while
// the shop is open, each schema a table; everything that belongs to orders is done, and once more after a restart.
func TestOnTheNextReleasesSchema(t *testing.T) {
	t.Parallel()
	eachPlace(t, func(t *testing.T, _, data string, environ environment) {
		startWith(t, data, environ).end() // for the administrator of the demo data
		said := fillShop(t, data, environ, 3000)
		s := startWith(t, data, environ)
		s.call(http.StatusOK, request{method: "GET", path: "/product-service/api/products?size=20"}) // statements are prepared before
		for service, sets := range schemas() {
			migrateFurther(t, data, environ, service, sets)
		}
		s.everyStatement(said)
		s.end()
		if logged := s.out.String(); strings.Contains(logged, "level=ERROR") {
			t.Errorf("on the next release's schema errors are logged:\n%s", logged)
		}
		s = startWith(t, data, environ)
		if out, err := s.load("--users", "4", "--checkouts", "40", "--mix", "hostile", "--seed", "11", "--admin", "admin", "--verify"); err != nil {
			t.Errorf("after a restart on the next release's schema: %v\n%s", err, out)
		}
	})
}

// migrateFurther applies migrations that a later release could have.
func migrateFurther(t *testing.T, data string, environ environment, service string, sets []sqldb.Migrations) {
	t.Helper()
	config := databaseOf(service, data, environ, true)
	db := shopDatabase(t, data, environ, service)
	var columns strings.Builder
	for _, table := range tablesOf(t, db, environ) {
		if !strings.HasPrefix(table, "schema_") && !strings.HasPrefix(table, "sqlite_") {
			fmt.Fprintf(&columns, "ALTER TABLE %s ADD COLUMN told_later VARCHAR(20) NOT NULL DEFAULT 'nothing';\n", table)
		}
	}
	if columns.Len() == 0 {
		t.Fatalf("%s has no table", service)
	}
	later := slices.Clone(sets)
	for i, set := range later {
		files := fstest.MapFS{"migrations/9000_later.sql": {Data: fmt.Appendf(nil, "-- +goose Up\nCREATE TABLE later_%s (id BIGINT NOT NULL PRIMARY KEY);\n%s", set.Name, &columns)}}
		columns.Reset() // once is enough for all sets of a schema
		known, err := fs.Glob(set.Files, "migrations/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range known {
			text, err := fs.ReadFile(set.Files, path)
			if err != nil {
				t.Fatal(err)
			}
			files[path] = &fstest.MapFile{Data: text}
		}
		later[i].Files = files
	}
	migrated, err := sqldb.Open(t.Context(), config, later...)
	if err != nil {
		t.Fatalf("migrate %s further: %v", service, err)
	}
	if err := migrated.Close(); err != nil {
		t.Error(err)
	}
}
