// Package sqldbtest gives tests a fresh, migrated database on every engine.
package sqldbtest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"

	"tienda/sqldb"
)

// DSNVariable names the environment variable that holds the data source of a MySQL or MariaDB server
// in the driver's form ("root@tcp(127.0.0.1:3306)/"), with an account that may create schemas.
const DSNVariable = "TIENDA_TEST_MYSQL_DSN"

var schemas atomic.Int64

// Each runs test once on SQLite and, when [DSNVariable] is set, once on MySQL; "make test" always sets
// it. Every run has a database of its own that goes with it.
func Each(t *testing.T, migrations []sqldb.Migrations, test func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, Open(t, "sqlite", migrations...))
	})
	if os.Getenv(DSNVariable) == "" {
		return
	}
	t.Run("mysql", func(t *testing.T) {
		t.Parallel()
		test(t, Open(t, "mysql", migrations...))
	})
}

// Engines are those that this run tests: "sqlite", and "mysql" when [DSNVariable] is set.
func Engines() []string {
	if os.Getenv(DSNVariable) == "" {
		return []string{"sqlite"}
	}
	return []string{"sqlite", "mysql"}
}

// Open returns a fresh database on one engine, closed and removed when the test ends.
func Open(tb testing.TB, engine string, migrations ...sqldb.Migrations) *sqldb.DB {
	tb.Helper()
	return open(tb, engine, Config(tb, engine), migrations)
}

func open(tb testing.TB, engine string, config sqldb.Config, migrations []sqldb.Migrations) *sqldb.DB {
	tb.Helper()
	db, err := sqldb.Open(tb.Context(), config, migrations...)
	if err != nil {
		tb.Fatalf("open %s: %v", engine, err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return db
}

// Config returns the place of a fresh, empty database on one engine, removed when the test ends.
func Config(tb testing.TB, engine string) sqldb.Config {
	tb.Helper()
	if engine == "sqlite" {
		return sqldb.Config{URL: "sqlite:" + filepath.Join(tb.TempDir(), "test.db")}
	}
	dsn, err := mysql.ParseDSN(os.Getenv(DSNVariable))
	if err != nil {
		tb.Fatalf("%s: %v", DSNVariable, err)
	}
	name := fmt.Sprintf("tienda_%d_%d", os.Getpid(), schemas.Add(1))
	tb.Cleanup(func() {
		server, err := sql.Open("mysql", dsn.FormatDSN())
		if err != nil {
			tb.Errorf("drop schema: %v", err)
			return
		}
		if _, err := server.ExecContext(context.Background(), "DROP DATABASE IF EXISTS "+name); err != nil {
			tb.Errorf("drop schema: %v", err)
		}
		_ = server.Close() // a test's connection; nothing is lost with it
	})
	host := dsn.Addr
	if !strings.Contains(host, ":") {
		host += ":3306"
	}
	return sqldb.Config{
		URL:      "jdbc:mysql://" + host + "/" + name + "?createDatabaseIfNotExist=true",
		Username: dsn.User, Password: dsn.Passwd,
	}
}
