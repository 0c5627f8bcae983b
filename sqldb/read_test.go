package sqldb_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

func TestOpenToRead(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx, config := t.Context(), sqldbtest.Config(t, engine)
			writer, err := sqldb.Open(ctx, config, migrations()...)
			if err != nil {
				t.Fatal(err)
			}
			defer writer.Close()
			insert(ctx, t, writer, "a", 1, time.Time{})
			reader, err := sqldb.OpenToRead(ctx, config, migrations()...)
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			for _, statement := range []string{`UPDATE shelves SET stock = 2`, `DELETE FROM shelves`, `CREATE TABLE more (id INT)`} {
				err := reader.Tx(ctx, func(tx *sqldb.Tx) error {
					_, err := tx.Exec(ctx, statement)
					return err
				})
				if err == nil {
					t.Errorf("%s was not refused", statement)
				}
			}
			// What is written meanwhile is not seen before the next snapshot.
			for _, want := range []int{1, 2} {
				var first, second int
				err := reader.Snapshot(ctx, func(q sqldb.Querier) error {
					if err := q.QueryRow(ctx, `SELECT COUNT(*) FROM shelves`).Scan(&first); err != nil {
						return err
					}
					if want == 1 {
						insert(ctx, t, writer, "b", 1, time.Time{})
					}
					return q.QueryRow(ctx, `SELECT COUNT(*) FROM shelves`).Scan(&second)
				})
				if err != nil || first != want || second != want {
					t.Errorf("a snapshot counts %d and then %d (%v), want %d", first, second, err, want)
				}
			}
		})
	}
}

// TestOpenToReadSaysWhatIsWrong: a schema of another version, or none.
func TestOpenToReadSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx, config, set := t.Context(), sqldbtest.Config(t, engine), migrations()[0]
			newer := sqldb.Migrations{Name: set.Name, Files: fstest.MapFS{"migrations/0002_more.sql": {Data: []byte("-- +goose Up\nCREATE TABLE more (id INT NOT NULL);\n")}}}
			for name, file := range set.Files.(fstest.MapFS) {
				newer.Files.(fstest.MapFS)[name] = file
			}
			db, err := sqldb.Open(ctx, config)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			wants := func(set sqldb.Migrations, text string) {
				t.Helper()
				reader, err := sqldb.OpenToRead(ctx, config, set)
				if err == nil {
					_ = reader.Close() // the failure is reported
				}
				if err == nil || !strings.Contains(err.Error(), text) {
					t.Errorf("OpenToRead = %v, want an error that says %q", err, text)
				}
			}
			wants(set, "no tables of \"shelf\"")
			for _, step := range []struct {
				has, known sqldb.Migrations
				text       string
			}{{set, newer, "at version 1 and this program knows 2: bring them up to date"}, {newer, set, "at version 2 and this program knows 1 only"}} {
				migrated, err := sqldb.Open(ctx, config, step.has)
				if err != nil {
					t.Fatal(err)
				}
				_ = migrated.Close() // it was only to migrate
				wants(step.known, step.text)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "none.db")
	if _, err := sqldb.OpenToRead(t.Context(), sqldb.Config{URL: "sqlite:" + path}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("OpenToRead without a file = %v, want that it does not exist", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("OpenToRead made a file: %v", err)
	}
}
