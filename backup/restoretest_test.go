package backup

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/sqldb"
)

// results are what stands beside the backups, the newest first.
func results(t *testing.T, store *Store) []string {
	t.Helper()
	backups, err := store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, b := range backups {
		switch {
		case b.Test == nil:
			all = append(all, "not yet")
		case b.Test.OK:
			all = append(all, "good")
		default:
			all = append(all, "failed")
		}
	}
	return all
}

// namesOf are the names of backups.
func namesOf(backups []Backup) []string {
	var names []string
	for _, b := range backups {
		names = append(names, b.Name)
	}
	return names
}

// TestRestoreTests: every backup is tested once, and the newest again; one that is no good stays so and keeps no other from being tested; what
// could not be tested is tested the next time; and the metrics tell it.
func TestRestoreTests(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := newStandAt(t, clock)
	writes, reads := newKeys(t)
	_, stranger := newKeys(t)
	store, reader := NewStore(s.bucket(t), writes, quiet()), NewStore(s.bucket(t), reads, quiet())
	d := newDatabase(t)
	d.account()
	d.fill()
	create := func() Backup {
		t.Helper()
		clock.Advance(time.Hour)
		b, err := store.Create(t.Context(), d.backup, "test", time.Now)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := TestOptions{Now: time.Now, Look: func(ctx context.Context, server sqldb.Config, restored Restored) error {
		c, err := connect(ctx, server)
		if err != nil {
			return err
		}
		defer func() { _ = c.close() }()
		schemas, err := c.schemas(ctx)
		if diff := cmp.Diff(restored.Backup.Schemas, schemas); diff != "" {
			t.Errorf("restored schemas (-want +got):\n%s", diff)
		}
		return err
	}}
	check := func(reader *Store, o TestOptions, complaint string, left int, want []Backup, records ...string) {
		t.Helper()
		tested, n, err := reader.TestRestores(t.Context(), o)
		if (err == nil) != (complaint == "") || err != nil && !strings.Contains(err.Error(), complaint) || n != left {
			t.Errorf("TestRestores = %d left, %v, want %d and an error with %q", n, err, left, complaint)
		}
		if diff := cmp.Diff(namesOf(want), namesOf(tested)); diff != "" {
			t.Errorf("tested (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(records, results(t, store)); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
	}
	check(reader, good, "there is no such backup", 0, nil)
	first, second, third := create(), create(), create()
	flip := func(text []byte) []byte {
		text[len(text)-20] ^= 1
		return text
	}
	check(NewStore(s.bucket(t), stranger, quiet()), good, "does not open this backup", 0, nil, "not yet", "not yet", "not yet")
	s.change(t, second.object(), flip)
	check(reader, good, second.Name+" is no good: backup "+second.Name+" is damaged", 0, []Backup{third, second, first}, "good", "failed", "good")
	check(reader, good, "", 0, []Backup{third}, "good", "failed", "good")

	fourth, fifth := create(), create()
	minutes := 0
	short := good
	short.Now = func() time.Time { // a clock that goes on by a minute whenever it is asked
		minutes++
		return time.Now().Add(time.Duration(minutes) * time.Minute)
	}
	short.For = 90 * time.Second
	check(reader, short, "", 1, []Backup{fifth}, "good", "not yet", "good", "failed", "good")
	m := NewMonitor(store, nil, time.Now)
	if err := m.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	answer := scrape(t, m)
	for _, want := range []string{"backup_count 5", "backup_bucket_up 1", "backup_restore_test_ok 1", "backup_restore_test_missing 1", "backup_restore_test_failed 1", "backup_point_in_time 0"} {
		if !strings.Contains(answer, "\n"+want+"\n") {
			t.Errorf("metrics have no line %q:\n%s", want, answer)
		}
	}
	if strings.Contains(answer, "backup_last_timestamp_seconds 0") || strings.Contains(answer, "good_timestamp_seconds 0") {
		t.Errorf("metrics lack times:\n%s", answer)
	}

	bad := TestOptions{Now: time.Now, Look: func(context.Context, sqldb.Config, Restored) error { return fmt.Errorf("its books are wrong") }}
	check(reader, bad, "its books are wrong", 0, []Backup{fifth, fourth}, "failed", "failed", "good", "failed", "good")
	check(reader, good, "", 0, nil, "failed", "failed", "good", "failed", "good")
	s.change(t, second.object(), flip)
	good.Name = second.Name
	check(reader, good, "", 0, []Backup{second}, "failed", "failed", "good", "good", "good")
	good.Name = "20200101T000000Z-0000"
	check(reader, good, "tienda backup list", 0, nil, "failed", "failed", "good", "good", "good")

	s.failing(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	if err := m.look(t.Context()); err == nil || !strings.Contains(scrape(t, m), "backup_bucket_up 0") {
		t.Errorf("a bucket that refuses = %v", err)
	}
}

// TestRestoreTestsWithLogs: an older backup is tested with the binary logs up to the next, and the newest with all there are.
func TestRestoreTestsWithLogs(t *testing.T) {
	t.Parallel()
	clock := newClock()
	s := newStandAt(t, clock)
	writes, reads := newKeys(t)
	store := NewStore(s.bucket(t), writes, quiet())
	d := newDatabase(t)
	d.account()
	d.fill()
	p, stop := ship(t, store, d.backup)
	until(t, "a history begins with a backup", func() bool { return len(results(t, store)) == 1 })
	d.order("behind the first")
	clock.Advance(time.Hour)
	if _, err := store.Create(t.Context(), d.backup, "test", time.Now); err != nil {
		t.Fatal(err)
	}
	d.order("behind the second")
	d.order("and another")
	shipped(t, p)
	stop()
	var rows []int
	tested, left, err := NewStore(s.bucket(t), reads, quiet()).TestRestores(t.Context(), TestOptions{Now: time.Now, Look: func(ctx context.Context, server sqldb.Config, _ Restored) error {
		c, err := connect(ctx, server)
		if err != nil {
			return err
		}
		defer func() { _ = c.close() }()
		n := 0
		err = c.db.QueryRow(ctx, "SELECT COUNT(*) FROM tienda_order.orders").Scan(&n)
		rows = append(rows, n)
		return err
	}})
	if err != nil || left != 0 || len(tested) != 2 {
		t.Fatalf("TestRestores = %+v, %d, %v", tested, left, err)
	}
	if diff := cmp.Diff([]int{4, 2}, rows); diff != "" {
		t.Errorf("orders in what was restored, the newest first (-want +got):\n%s", diff)
	}
}

// TestLacks: tables and rows that are gone are told, and a queue that was emptied meanwhile is not.
func TestLacks(t *testing.T) {
	t.Parallel()
	had := Counts{"shop_order": {"orders": 50, "queue": 3}, "shop_user": {"users": 2}}
	for _, test := range []struct {
		name  string
		there Counts
		want  string
	}{
		{"all", Counts{"shop_order": {"orders": 51, "queue": 3}, "shop_user": {"users": 2}}, ""},
		{"an emptied queue", Counts{"shop_order": {"orders": 49, "queue": 0}, "shop_user": {"users": 2}}, ""},
		{"no orders", Counts{"shop_order": {"orders": 0, "queue": 3}, "shop_user": {"users": 2}}, "the 50 rows of shop_order.orders"},
		{"no users", Counts{"shop_order": {"orders": 50, "queue": 3}, "shop_user": {"users": 0}}, "the 2 rows of the schema shop_user"},
		{"no table", Counts{"shop_order": {"orders": 50}, "shop_user": {"users": 2}}, "the table shop_order.queue"},
		{"nothing", Counts{}, "the table shop_order.orders, the table shop_order.queue, the table shop_user.users"},
	} {
		if got := had.lacks(test.there); got != test.want {
			t.Errorf("with %s: it lacks %q, want %q", test.name, got, test.want)
		}
	}
}

// TestEmptyDump: a backup with nothing in it of a server that had something is no good, whole as its dump may be; a restore says so.
func TestEmptyDump(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	writes, reads := newKeys(t)
	store, reader := NewStore(s.bucket(t), writes, quiet()), NewStore(s.bucket(t), reads, quiet())
	d := newDatabase(t)
	d.account()
	d.fill()
	full, err := store.Create(t.Context(), d.backup, "test", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Counts{"tienda_order": {"orders": 1}, "tienda_user": {"users": 1}}, full.Rows); diff != "" || full.Rows.Total() != 2 {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	d.exec("DELETE FROM tienda_order.orders", "DROP TABLE tienda_user.users")
	empty, err := store.Create(t.Context(), d.backup, "test", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.bucket.remove(t.Context(), full.manifest()); err != nil {
		t.Fatal(err)
	}
	empty.Rows = full.Rows
	if err := store.putJSON(t.Context(), empty.manifest(), empty); err != nil {
		t.Fatal(err)
	}
	const lacks = "the 1 rows of the schema tienda_order, the table tienda_user.users"
	tested, _, err := reader.TestRestores(t.Context(), TestOptions{Now: time.Now, Look: func(context.Context, sqldb.Config, Restored) error { return nil }})
	if err == nil || len(tested) != 1 || tested[0].Test.OK || !strings.Contains(err.Error(), lacks) {
		t.Errorf("TestRestores = %+v, %v, want an error with %q", tested, err, lacks)
	}
	d.db.Close()
	restored, err := reader.Restore(t.Context(), d.Server, RestoreOptions{Name: empty.Name, Replace: true})
	if err != nil || restored.Lacks != lacks {
		t.Errorf("Restore = %+v, %v, want that it lacks %q", restored, err, lacks)
	}
}
