package sqldb_test

import (
	"errors"
	"testing"

	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// TestBulkWantsTheDatabaseAlone: a database that a service has open is refused, and one that nobody has
// open any more takes rows, which are there for whoever opens it then.
func TestBulkWantsTheDatabaseAlone(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			config := sqldbtest.Config(t, engine)
			service, err := sqldb.Open(t.Context(), config, migrations()...)
			if err != nil {
				t.Fatal(err)
			}
			bulk := config
			bulk.Bulk = true
			if _, err := sqldb.Open(t.Context(), bulk); !errors.Is(err, sqldb.ErrInUse) {
				t.Errorf("Open while a service has the database = %v, want %v", err, sqldb.ErrInUse)
			}
			if err := service.Close(); err != nil {
				t.Fatal(err)
			}
			tool, err := sqldb.Open(t.Context(), bulk)
			if err != nil {
				t.Fatalf("Open after the service ended: %v", err)
			}
			err = tool.Tx(t.Context(), func(tx *sqldb.Tx) error {
				_, err := tx.Insert(t.Context(), `INSERT INTO shelves (label, stock) VALUES (?, ?)`, "bulk", 1)
				return err
			})
			if err = errors.Join(err, tool.Close()); err != nil {
				t.Fatal(err)
			}
			again, err := sqldb.Open(t.Context(), config, migrations()...)
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if n, err := sqldb.Count(t.Context(), again, 10, "SELECT 1 FROM shelves"); n != 1 || err != nil {
				t.Errorf("rows = %d, %v, want the one that the tool wrote", n, err)
			}
		})
	}
}
