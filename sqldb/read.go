package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// OpenToRead connects to a database that is there and in use, to look at it: nothing is created or
// migrated, and the engine refuses every write. A schema that is not exactly the one of migrations is
// an error that says which is older.
func OpenToRead(ctx context.Context, config Config, migrations ...Migrations) (*DB, error) {
	db, err := connectToRead(ctx, config)
	if err != nil {
		return nil, err
	}
	for _, set := range migrations {
		if err := db.checkVersion(ctx, set); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}

func connectToRead(ctx context.Context, config Config) (*DB, error) {
	db := newDB(config)
	place := redact(config.URL)
	if file, ok := strings.CutPrefix(config.URL, "sqlite:"); ok {
		place = file
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("open database: %w", err)
		}
		db.engine = engineSQLite
		// Not mode=ro: that leaves the files of the write-ahead log behind, which it may make but not remove.
		pool, err := sql.Open("sqlite", "file:"+url.PathEscape(file)+"?mode=rw&_pragma=busy_timeout(10000)&_pragma=query_only(1)&_pragma=cache_size(-4096)")
		if err != nil {
			return nil, fmt.Errorf("open database %s: %w", file, err)
		}
		db.read = pool
	} else {
		dsn, err := mysqlConfig(ctx, withoutCreation(config))
		if err != nil {
			return nil, err
		}
		connector, err := mysql.NewConnector(dsn)
		if err != nil {
			return nil, fmt.Errorf("data source %s: %w", place, err)
		}
		db.engine = engineMySQL
		db.read = sql.OpenDB(readOnly{connector})
	}
	db.read.SetMaxOpenConns(readers)
	db.read.SetMaxIdleConns(readers)
	db.write = db.read
	if err := db.read.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %s: %w", place, err), db.Close())
	}
	return db, nil
}

// readers is how many connections look at one database.
const readers = 4

// withoutCreation takes createDatabaseIfNotExist from a data source.
func withoutCreation(config Config) Config {
	config.URL = strings.ReplaceAll(config.URL, "createDatabaseIfNotExist=true", "createDatabaseIfNotExist=false")
	return config
}

// readOnly makes the server refuse writes on each new connection.
type readOnly struct{ driver.Connector }

// Connect implements driver.Connector.
func (c readOnly) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, "SET SESSION TRANSACTION READ ONLY", nil); err != nil {
		return nil, errors.Join(fmt.Errorf("make the connection read-only: %w", err), conn.Close())
	}
	return conn, nil
}

// checkVersion compares the migrations that a database has with those of this program.
func (db *DB) checkVersion(ctx context.Context, set Migrations) error {
	files, err := fs.Glob(set.Files, "migrations/*.sql")
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", set.Name, err)
	}
	var known int64
	for _, file := range files {
		version, err := goose.NumericComponent(path.Base(file))
		if err != nil {
			return fmt.Errorf("migrations of %s: %w", set.Name, err)
		}
		known = max(known, version)
	}
	dialect := database.DialectMySQL
	if db.engine == engineSQLite {
		dialect = database.DialectSQLite3
	}
	store, err := database.NewStore(dialect, "schema_"+set.Name)
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", set.Name, err)
	}
	has, err := store.GetLatestVersion(ctx, db.read)
	switch {
	case err != nil:
		return fmt.Errorf("the database has no tables of %q; make them with tienda migrate: %w", set.Name, err)
	case has < known:
		return fmt.Errorf("the tables of %q are at version %d and this program knows %d: bring them up to date with tienda migrate", set.Name, has, known)
	case has > known:
		return fmt.Errorf("the tables of %q are at version %d and this program knows %d only: use the program that the shop runs with", set.Name, has, known)
	}
	return nil
}

// Snapshot runs do on one state of the database: all that it reads is as it was at one instant,
// whatever others write meanwhile.
func (db *DB) Snapshot(ctx context.Context, do func(Querier) error) error {
	var opts *sql.TxOptions // in SQLite every transaction is one
	if db.engine == engineMySQL {
		opts = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	start := time.Now()
	defer func() { db.observe("snapshot", time.Since(start)) }()
	tx, err := db.read.BeginTx(ctx, opts)
	if err != nil {
		return fmt.Errorf("begin: %w", mapError(err))
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	return do(&Tx{tx: tx, db: db})
}
