package sqldb_test

import (
	"fmt"
	"testing"
	"time"

	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// TestTotals: small totals are exact at every moment, and that there are many is remembered for a while.
func TestTotals(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		var totals sqldb.Totals
		begin := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
		for i, step := range []struct {
			add   int
			after time.Duration
			want  int64
		}{{2, 0, 2}, {1, 0, 3}, {5, 0, 4}, {-6, time.Second, 4}, {0, 31 * time.Second, 2}} {
			for n := range step.add {
				insert(t.Context(), t, db, fmt.Sprint("shelf ", i, n), 1, time.Time{})
			}
			if step.add < 0 {
				err := db.Tx(t.Context(), func(tx *sqldb.Tx) error {
					_, err := tx.Exec(t.Context(), `DELETE FROM shelves WHERE shelf_id > ?`, 2)
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			n, err := totals.Count(t.Context(), db, begin.Add(step.after), 3, `SELECT 1 FROM shelves WHERE stock > ?`, 0)
			if n != step.want || err != nil {
				t.Errorf("step %d: total %d, %v, want %d", i, n, err, step.want)
			}
		}
	})
}
