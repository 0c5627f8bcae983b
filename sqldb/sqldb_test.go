package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

func migrations() []sqldb.Migrations {
	return []sqldb.Migrations{{Name: "shelf", Files: fstest.MapFS{
		"migrations/0001_create_shelves.sql": {Data: []byte(`-- +goose Up
CREATE TABLE shelves (
    shelf_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    label VARCHAR(40) NOT NULL,
    stock BIGINT NOT NULL CHECK (stock >= 0),
    seen_at BIGINT
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE UNIQUE INDEX shelves_label ON shelves (label);
CREATE TABLE books (
    book_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    shelf_id BIGINT NOT NULL,
    FOREIGN KEY (shelf_id) REFERENCES shelves (shelf_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
`)},
	}}}
}

func insert(ctx context.Context, t *testing.T, db *sqldb.DB, label string, stock int, seen time.Time) int64 {
	t.Helper()
	var id int64
	err := db.Tx(ctx, func(tx *sqldb.Tx) (err error) {
		id, err = tx.Insert(ctx, `INSERT INTO shelves (label, stock, seen_at) VALUES (?, ?, ?)`, label, stock, sqldb.Instant(seen))
		return err
	})
	if err != nil {
		t.Fatalf("insert %q: %v", label, err)
	}
	return id
}

func TestErrorsAreAlikeOnBothEngines(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		id := insert(ctx, t, db, "a", 1, time.Time{})
		var n int
		if err := db.QueryRow(ctx, `SELECT stock FROM shelves WHERE shelf_id = ?`, id+1).Scan(&n); !errors.Is(err, sqldb.ErrNotFound) {
			t.Errorf("missing row: %v, want ErrNotFound", err)
		}
		for name, c := range map[string]struct {
			statement string
			want      error
		}{
			"duplicate key":      {`INSERT INTO shelves (label, stock) VALUES ('a', 2)`, sqldb.ErrConflict},
			"unknown reference":  {`INSERT INTO books (shelf_id) VALUES (999)`, sqldb.ErrReference},
			"negative by CHECK":  {`UPDATE shelves SET stock = -1 WHERE label = 'a'`, nil},
			"case is not folded": {`INSERT INTO shelves (label, stock) VALUES ('A', 2)`, errNone},
		} {
			err := db.Tx(ctx, func(tx *sqldb.Tx) error {
				_, err := tx.Exec(ctx, c.statement)
				return err
			})
			switch {
			case errors.Is(c.want, errNone) && err != nil:
				t.Errorf("%s: %v, want no error", name, err)
			case c.want == nil && err == nil:
				t.Errorf("%s: no error", name)
			case c.want != nil && !errors.Is(c.want, errNone) && !errors.Is(err, c.want):
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
	})
}

var errNone = errors.New("no error is wanted")

func TestInstantsKeepMicrosecondsInUTC(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		want := time.Date(2026, 3, 29, 2, 30, 0, 123456000, time.FixedZone("", 3600))
		id := insert(ctx, t, db, "a", 1, want)
		none := insert(ctx, t, db, "b", 1, time.Time{})
		var got sqldb.Instant
		if err := db.QueryRow(ctx, `SELECT seen_at FROM shelves WHERE shelf_id = ?`, id).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if !time.Time(got).Equal(want) || time.Time(got).Location() != time.UTC {
			t.Errorf("instant = %v, want %v in UTC", time.Time(got), want)
		}
		if err := db.QueryRow(ctx, `SELECT seen_at FROM shelves WHERE shelf_id = ?`, none).Scan(&got); err != nil || !time.Time(got).IsZero() {
			t.Errorf("null instant = %v, %v, want the zero time", time.Time(got), err)
		}
	})
}

func TestUpdatesCountMatchedRows(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		insert(ctx, t, db, "a", 1, time.Time{})
		err := db.Tx(ctx, func(tx *sqldb.Tx) error {
			n, err := tx.Exec(ctx, `UPDATE shelves SET stock = 1 WHERE label = 'a'`) // changes nothing
			if n != 1 {
				t.Errorf("rows matched = %d, want 1", n)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestConcurrentWritersLoseNothing(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		a, b := insert(ctx, t, db, "a", 0, time.Time{}), insert(ctx, t, db, "b", 0, time.Time{})
		const writers, each = 8, 20
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				ids := []int64{a, b}
				if w%2 == 1 {
					ids = []int64{b, a} // the wrong order: MySQL must pick deadlock victims, which run again
				}
				for range each {
					err := db.Tx(ctx, func(tx *sqldb.Tx) error {
						for _, id := range ids {
							if _, err := tx.Exec(ctx, `UPDATE shelves SET stock = stock + 1 WHERE shelf_id = ?`, id); err != nil {
								return err
							}
						}
						return nil
					})
					if err != nil {
						t.Errorf("transaction: %v", err)
					}
				}
			})
		}
		group.Wait()
		var sum int
		if err := db.QueryRow(ctx, `SELECT SUM(stock) FROM shelves`).Scan(&sum); err != nil || sum != 2*writers*each {
			t.Errorf("sum = %d, %v, want %d", sum, err, 2*writers*each)
		}
	})
}

func TestAnErrorRollsBack(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		stop := errors.New("stop")
		err := db.Tx(ctx, func(tx *sqldb.Tx) error {
			if _, err := tx.Insert(ctx, `INSERT INTO shelves (label, stock) VALUES ('a', 1)`); err != nil {
				return err
			}
			return stop
		})
		if !errors.Is(err, stop) {
			t.Errorf("Tx = %v, want the error of the function", err)
		}
		n, err := sqldb.Count(ctx, db, 10, `SELECT 1 FROM shelves`)
		if n != 0 || err != nil {
			t.Errorf("rows = %d, %v, want 0", n, err)
		}
	})
}

// A commit that fails is an error of the transaction: nobody is told of a write that is not there.
func TestAnErrorOfTheCommitIsReported(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		err := db.Tx(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Insert(ctx, `INSERT INTO shelves (label, stock) VALUES ('a', 1)`)
			cancel() // the connection goes away between the last statement and the commit
			return err
		})
		n, errCount := sqldb.Count(t.Context(), db, 10, `SELECT 1 FROM shelves`)
		if !errors.Is(err, context.Canceled) || n != 0 || errCount != nil {
			t.Errorf("Tx = %v with %d rows written, %v; want the reason and none", err, n, errCount)
		}
	})
}

func TestCountStopsEarly(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		for _, label := range []string{"a", "b", "c", "d"} {
			insert(t.Context(), t, db, label, 1, time.Time{})
		}
		for most, want := range map[int]int64{2: 3, 3: 4, 10: 4} {
			if n, err := sqldb.Count(t.Context(), db, most, `SELECT 1 FROM shelves WHERE stock = ?`, 1); n != want || err != nil {
				t.Errorf("Count(most %d) = %d, %v, want %d", most, n, err, want)
			}
		}
	})
}

func TestReplicasMigrateOneAfterTheOther(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			config := sqldbtest.Config(t, engine)
			var group sync.WaitGroup
			for range 4 {
				group.Go(func() {
					db, err := sqldb.Open(t.Context(), config, migrations()...)
					if err != nil {
						t.Errorf("Open: %v", err)
						return
					}
					if err := db.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
			}
			group.Wait()
		})
	}
}

// A process that is killed between making the table of versions and its first row leaves a schema that the
// next one migrates.
func TestMigrationBegunAndKilled(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			config := sqldbtest.Config(t, engine)
			open := func() *sqldb.DB {
				db, err := sqldb.Open(t.Context(), config, notes...)
				if err != nil {
					t.Fatal(err)
				}
				return db
			}
			first := open()
			err := first.Tx(t.Context(), func(tx *sqldb.Tx) error {
				for _, statement := range []string{`DELETE FROM schema_notes`, `DROP TABLE notes`} {
					if _, err := tx.Exec(t.Context(), statement); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			_ = first.Close() // as a process that dies does
			second := open()
			defer second.Close()
			if got := namesOf(t, second); len(got) != 0 {
				t.Errorf("notes = %v, want the table empty", got)
			}
		})
	}
}

func TestBadDataSources(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"", "postgres://host/db", "jdbc:mysql://", "jdbc:mysql:///schema", "sqlite:/proc/no/such/folder/x.db"} {
		if db, err := sqldb.Open(t.Context(), sqldb.Config{URL: source, Password: "hunter2"}); err == nil {
			t.Errorf("Open(%q) succeeded", source)
			_ = db.Close() // the failure is reported
		}
	}
	_, err := sqldb.Open(t.Context(), sqldb.Config{URL: "jdbc:mysql://root:hunter2@127.0.0.1:1/x?password=hunter2"})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error of an unreachable server = %v, want one without the password", err)
	}
}

// TestNoWayWithoutTLS: a server that has no TLS, as that of test/mariadb.sh, is refused where it is asked for, before it is told to make a
// schema. One with TLS is looked at by the tests of backups.
func TestNoWayWithoutTLS(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		if engine == "sqlite" {
			continue
		}
		config := sqldbtest.Config(t, engine)
		config.URL += "&sslMode=PREFERRED"
		db, err := sqldb.Open(t.Context(), config)
		if err != nil {
			t.Fatalf("sslMode=PREFERRED: %v", err)
		}
		var name, cipher string
		err = db.QueryRow(t.Context(), "SHOW STATUS LIKE 'Ssl_cipher'").Scan(&name, &cipher)
		if err = errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		if cipher != "" {
			t.Logf("this server has TLS: %s", cipher)
			continue
		}
		for _, query := range []string{"sslMode=REQUIRED", "useSSL=true&sslMode=VERIFY_CA"} {
			config := sqldbtest.Config(t, engine)
			config.URL += "&" + query
			db, err := sqldb.Open(t.Context(), config)
			if err == nil {
				_ = db.Close() // nothing was written
			}
			if err == nil || !strings.Contains(err.Error(), "does not support TLS") {
				t.Errorf("%s: Open = %v, want a refusal", query, err)
			}
		}
	}
}

func TestDataSurvivesReopening(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "with space?and#signs", "a.db")
	for i := range 2 {
		db, err := sqldb.Open(t.Context(), sqldb.Config{URL: "sqlite:" + path}, migrations()...)
		if err != nil {
			t.Fatalf("Open: %v", err)
		}
		if i == 0 {
			insert(t.Context(), t, db, "a", 1, time.Time{})
		}
		labels, err := sqldb.All(t.Context(), db, func(scan func(...any) error) (label string, err error) {
			return label, scan(&label)
		}, `SELECT label FROM shelves WHERE shelf_id IN (`+sqldb.In(2)+`)`, sqldb.Args([]int{1, 2})...)
		if err != nil || len(labels) != 1 || labels[0] != "a" {
			t.Errorf("labels = %v, %v, want [a]", labels, err)
		}
		if err := db.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
}

var _ sql.Scanner = (*sqldb.Instant)(nil)
