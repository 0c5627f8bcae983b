package sqldb_test

import (
	"context"
	"errors"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

var notes = []sqldb.Migrations{{Name: "notes", Files: fstest.MapFS{"migrations/0001_create_notes.sql": {Data: []byte(`-- +goose Up
CREATE TABLE notes (
    note_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(64) NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE UNIQUE INDEX notes_name ON notes (name);
`)}}}}

func namesOf(t *testing.T, q sqldb.Querier) []string {
	t.Helper()
	names, err := sqldb.All(t.Context(), q, func(scan func(...any) error) (name string, err error) { return name, scan(&name) },
		`SELECT name FROM notes ORDER BY note_id`)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// What is left for later is written in its order, with the next statement, before the next read, or with
// the commit, whatever it holds.
func TestLater(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, notes, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		const hostile = "it's;\nCOMMIT \\'; -- ? \\"
		err := db.Tx(ctx, func(tx *sqldb.Tx) error {
			later := func(name string) {
				if err := tx.Later(ctx, `INSERT INTO notes (name) VALUES (?)`, name); err != nil {
					t.Error(err)
				}
			}
			later("one")
			namesOf(t, tx)
			later("two")
			if diff := cmp.Diff([]string{"one", "two"}, namesOf(t, tx)); diff != "" {
				t.Errorf("read in the transaction (-want +got):\n%s", diff)
			}
			later(hostile)
			n, err := tx.Exec(ctx, `UPDATE notes SET name = ? WHERE name IN (?, ?)`, "2", "two", "none")
			if err != nil || n != 1 {
				t.Errorf("Exec behind what was left = %d, %v; want its own one row", n, err)
			}
			later("four")
			id, err := tx.Insert(ctx, `INSERT INTO notes (name) VALUES (?)`, "five")
			if err != nil || id != 5 {
				t.Errorf("Insert behind what was left = %d, %v; want 5", id, err)
			}
			later("six")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"one", "2", hostile, "four", "five", "six"}, namesOf(t, db)); diff != "" {
			t.Errorf("written (-want +got):\n%s", diff)
		}
	})
}

// An error of what was left is that of the transaction, of which nothing stays; so is nothing of one that
// gives up or whose context has ended.
func TestLaterFails(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, notes, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		insert := func(ctx context.Context, tx *sqldb.Tx, names ...string) error {
			for _, name := range names {
				if err := tx.Later(ctx, `INSERT INTO notes (name) VALUES (?)`, name); err != nil {
					return err
				}
			}
			return nil
		}
		for range 3 { // the connection is as good as before
			err := db.Tx(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, "a", "b", "a", "c") })
			if !errors.Is(err, sqldb.ErrConflict) {
				t.Errorf("Tx = %v, want ErrConflict", err)
			}
			given := errors.New("no")
			if err := db.Tx(ctx, func(tx *sqldb.Tx) error { return errors.Join(insert(ctx, tx, "d"), given) }); !errors.Is(err, given) {
				t.Errorf("Tx = %v, want the error given", err)
			}
			ended, end := context.WithCancel(ctx)
			err = db.Tx(ended, func(tx *sqldb.Tx) error {
				err := insert(ended, tx, "e")
				end()
				return err
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Tx whose context has ended = %v, want context.Canceled", err)
			}
		}
		if err := db.Tx(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, "z") }); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"z"}, namesOf(t, db)); diff != "" {
			t.Errorf("written (-want +got):\n%s", diff)
		}
	})
}

// Once a commit is on its way it is durable or it fails: a caller who goes away meanwhile is told of what
// was written, not of having gone away. The statement that takes its time is MySQL's; on SQLite nothing is
// on its way.
func TestLaterOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		if engine != "mysql" {
			continue
		}
		db := sqldbtest.Open(t, engine, notes...)
		for range 3 {
			ctx, gone := context.WithCancel(t.Context())
			err := db.Tx(ctx, func(tx *sqldb.Tx) error {
				time.AfterFunc(100*time.Millisecond, gone)
				return tx.Later(ctx, `INSERT INTO notes (name) SELECT CONCAT('slow ', COUNT(*), SLEEP(0.3)) FROM notes`)
			})
			if err != nil {
				t.Errorf("Tx whose caller went away during the commit = %v, want nil: it is durable", err)
			}
		}
		if got := len(namesOf(t, db)); got != 3 {
			t.Errorf("%d rows, want 3", got)
		}
	}
}

// A change that must be of one row ends a transaction in which it is of none or of several, whatever comes
// behind it: another statement, a read, or the commit; also with a server that does not know the guard.
func TestLaterOne(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, notes, func(t *testing.T, db *sqldb.DB) {
		testLaterOne(t, db)
		testLaterOne(t, sqldb.WithoutGuards(db))
	})
}

func testLaterOne(t *testing.T, db *sqldb.DB) {
	t.Helper()
	ctx := t.Context()
	otherwise := errors.New("not one")
	for _, test := range []struct {
		name string
		like string // of the notes a, ab and c
		then func(tx *sqldb.Tx) error
		want error
	}{
		{"one, then the commit", "c%", func(*sqldb.Tx) error { return nil }, nil},
		{"none, then the commit", "x%", func(*sqldb.Tx) error { return nil }, otherwise},
		{"two, then the commit", "a%", func(*sqldb.Tx) error { return nil }, otherwise},
		{"none, then more", "x%", func(tx *sqldb.Tx) error { return tx.Later(ctx, `INSERT INTO notes (name) VALUES (?)`, "more") }, otherwise},
		{"none, then a statement", "x%", func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO notes (name) VALUES (?)`, "more")
			return err
		}, otherwise},
		{"two, then a row", "a%", func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT COUNT(*) FROM notes`).Scan(new(int))
		}, otherwise},
		{"two, then a flush", "a%", func(tx *sqldb.Tx) error { return tx.Flush(ctx) }, otherwise},
	} {
		err := db.Tx(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM notes`)
			for _, name := range []string{"a", "ab", "c"} {
				err = errors.Join(err, tx.Later(ctx, `INSERT INTO notes (name) VALUES (?)`, name))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Tx(ctx, func(tx *sqldb.Tx) error {
			if err := tx.Later(ctx, `INSERT INTO notes (name) VALUES (?)`, "before"); err != nil {
				return err
			}
			// Rows that are matched count, also those that are as they were.
			if err := tx.LaterOne(ctx, otherwise, `UPDATE notes SET name = name WHERE name LIKE ?`, test.like); err != nil {
				return err
			}
			return test.then(tx)
		})
		want := []string{"a", "ab", "c"}
		if test.want == nil {
			want = append(want, "before")
		}
		if !errors.Is(err, test.want) {
			t.Errorf("%s: Tx = %v, want %v", test.name, err, test.want)
		}
		if diff := cmp.Diff(want, namesOf(t, db)); diff != "" {
			t.Errorf("%s: written (-want +got):\n%s", test.name, diff)
		}
	}
}

// The ids of rows are known after the way to the server that made them.
func TestLaterInsert(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, notes, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		var ids [5]int64
		insert := func(tx *sqldb.Tx, i int) {
			t.Helper()
			if err := tx.LaterInsert(ctx, &ids[i], `INSERT INTO notes (name) VALUES (?)`, string(rune('a'+i))); err != nil {
				t.Error(err)
			}
		}
		err := db.Tx(ctx, func(tx *sqldb.Tx) error {
			insert(tx, 0)
			if err := tx.Later(ctx, `UPDATE notes SET name = name WHERE name <> ?`, ""); err != nil {
				t.Error(err)
			}
			insert(tx, 1)
			if err := tx.Flush(ctx); err != nil || ids[0] == 0 || ids[1] == 0 {
				t.Errorf("ids after Flush = %v, %v; want the first two", ids, err)
			}
			insert(tx, 2)
			if _, err := tx.Exec(ctx, `UPDATE notes SET name = name WHERE name = ?`, "a"); err != nil || ids[2] == 0 {
				t.Errorf("ids after Exec = %v, %v; want the first three", ids, err)
			}
			insert(tx, 3)
			insert(tx, 4)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range ids {
			var name string
			if err := db.QueryRow(ctx, `SELECT name FROM notes WHERE note_id = ?`, id).Scan(&name); err != nil || name != string(rune('a'+i)) {
				t.Errorf("note %d = %q, %v; want %c", id, name, err, 'a'+i)
			}
		}
	})
}
