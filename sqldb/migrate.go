package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing/fstest"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// Migrations is one package's set of schema changes: goose SQL files such as 0001_create_carts.sql.
// Applied files never change; within a release they only add.
type Migrations struct {
	// Name keeps the sets of one database apart: the versions applied are recorded in the table
	// "schema_" + Name.
	Name string
	// Files holds the SQL files in a folder "migrations".
	Files fs.FS
}

// sqliteDDL lists all that SQLite spells differently in our migrations. A line joins only when the
// engine really forces it.
var sqliteDDL = strings.NewReplacer(
	"BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT", // identity
	") DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;", ");", // bytes compare as bytes there already
)

// sqliteDropIndex finds the one more: the name of an index is the table's in MySQL and the schema's in SQLite.
var sqliteDropIndex = regexp.MustCompile(`(?m)^(DROP INDEX \w+) ON \w+;`)

func (db *DB) migrate(ctx context.Context, set Migrations) error {
	files, err := fs.Sub(set.Files, "migrations")
	if err != nil {
		return fmt.Errorf("migrate %s: %w", set.Name, err)
	}
	dialect := database.DialectMySQL
	if db.engine == engineSQLite {
		dialect = database.DialectSQLite3
		if files, err = rewriteForSQLite(files); err != nil {
			return fmt.Errorf("migrate %s: %w", set.Name, err)
		}
	}
	unlock, err := db.lockSchema(ctx, set.Name)
	if err != nil {
		return fmt.Errorf("migrate %s: %w", set.Name, err)
	}
	defer unlock()
	store, err := database.NewStore(dialect, "schema_"+set.Name)
	if err != nil {
		return fmt.Errorf("migrate %s: %w", set.Name, err)
	}
	connections := db.write
	if db.engine == engineMySQL {
		connections = db.read // those of transactions never commit by themselves
	}
	if err := completeTable(ctx, store, connections); err != nil {
		return fmt.Errorf("migrate %s: %w", set.Name, err)
	}
	provider, err := goose.NewProvider("", connections, files, goose.WithStore(store))
	if err != nil {
		return fmt.Errorf("migrate %s: %w", set.Name, err)
	}
	for attempt := 1; ; attempt++ {
		_, err := provider.Up(ctx)
		if err == nil {
			return nil
		}
		// Another process may have migrated the same SQLite file meanwhile. There a migration is one
		// transaction, so running again is safe and finds it done.
		if db.engine != engineSQLite || attempt == attempts {
			return fmt.Errorf("migrate %s: %w", set.Name, err)
		}
		time.Sleep(time.Duration(attempt) * time.Duration(10+rand.IntN(40)) * time.Millisecond)
	}
}

// completeTable writes the row of version 0 that goose begins its table of versions with. MySQL commits the
// table before the row, and a process that was killed in between would leave a schema that never migrates.
func completeTable(ctx context.Context, store database.Store, connections *sql.DB) error {
	applied, err := store.ListMigrations(ctx, connections)
	if err != nil || len(applied) > 0 {
		return nil // the table is not there, which goose finds as well, or it is complete
	}
	return store.Insert(ctx, connections, database.InsertRequest{Version: 0})
}

// lockSchema keeps replicas from migrating one schema at the same time: MySQL commits each DDL
// statement on its own, so a transaction would not. SQLite has one writer anyway.
func (db *DB) lockSchema(ctx context.Context, name string) (unlock func(), err error) {
	if db.engine == engineSQLite {
		return func() {}, nil
	}
	conn, err := db.read.Conn(ctx)
	if err != nil {
		return nil, err
	}
	var got int
	// The lock is the server's, shared by all schemas: its name carries ours.
	const lock = "SELECT COALESCE(GET_LOCK(CONCAT(DATABASE(), '.', ?), 60), 0)"
	if err := conn.QueryRowContext(ctx, lock, name).Scan(&got); err != nil {
		return nil, fmt.Errorf("take the migration lock: %w", err)
	}
	if got != 1 {
		_ = conn.Close() // the lock was not ours; nothing to release
		return nil, fmt.Errorf("take the migration lock: another process has held it for 60 s")
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_, _ = conn.ExecContext(ctx, "DO RELEASE_LOCK(CONCAT(DATABASE(), '.', ?))", name) // closing releases it as well
		_ = conn.Close()
	}, nil
}

func rewriteForSQLite(files fs.FS) (fs.FS, error) {
	rewritten := fstest.MapFS{}
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		file, err := files.Open(path)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(file)
		if err != nil {
			return err
		}
		rewritten[path] = &fstest.MapFile{Data: []byte(sqliteDropIndex.ReplaceAllString(sqliteDDL.Replace(string(text)), "$1;")), Mode: 0o444}
		return file.Close()
	})
	return rewritten, err
}
