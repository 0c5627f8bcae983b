package backup

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"tienda/sqldb"
)

// stand is a stand-in for S3 that can be told to fail.
type stand struct {
	url string
	// refuse answers in place of the service, when it reports true.
	refuse  atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
	backend *s3mem.Backend
}

func newStand(t *testing.T) *stand { return newStandAt(t, gofakes3.DefaultTimeSource()) }

// clock is a stand-in's time, which a test moves while requests may still be under way.
type clock struct{ now atomic.Pointer[time.Time] }

func newClock() *clock {
	c := &clock{}
	c.now.Store(new(time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("GMT", 0)))) // of which S3 speaks
	return c
}

func (c *clock) Now() time.Time                  { return *c.now.Load() }
func (c *clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }
func (c *clock) Advance(by time.Duration)        { c.now.Store(new(c.Now().Add(by))) }

func newStandAt(t *testing.T, clock gofakes3.TimeSource) *stand {
	t.Helper()
	s := &stand{backend: s3mem.New(s3mem.WithTimeSource(clock))}
	if err := s.backend.CreateBucket("backups"); err != nil {
		t.Fatal(err)
	}
	service := gofakes3.New(s.backend, gofakes3.WithLogger(gofakes3.DiscardLog()), gofakes3.WithTimeSource(clock), gofakes3.WithTimeSkewLimit(0)).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse := s.refuse.Load(); refuse != nil && (*refuse)(w, r) {
			return
		}
		service.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *stand) failing(refuse func(w http.ResponseWriter, r *http.Request) bool) {
	if refuse == nil {
		s.refuse.Store(nil)
		return
	}
	s.refuse.Store(&refuse)
}

func (s *stand) bucket(t *testing.T) *Bucket {
	t.Helper()
	b, err := OpenBucket(Place{URL: s.url + "/backups/shop", AccessKey: "key", SecretKey: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// object is the content of an object, and how to change it.
func (s *stand) change(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	object, err := s.backend.GetObject("backups", "shop/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(object.Contents)
	if err != nil {
		t.Fatal(err)
	}
	text = change(text)
	if _, err := s.backend.PutObject("backups", "shop/"+name, object.Metadata, strings.NewReader(string(text)), int64(len(text)), nil); err != nil {
		t.Fatal(err)
	}
}

// newKeys are a pair of keys: those of who writes, and those of who reads.
func newKeys(t *testing.T) (writes, reads Keys) {
	t.Helper()
	file, public, err := GenerateKey(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	if writes, err = ReadKeys([]string{public}, ""); err != nil {
		t.Fatal(err)
	}
	if reads, err = ReadKeys(nil, path); err != nil {
		t.Fatal(err)
	}
	return writes, reads
}

// database is a server with binary logs, and the account that takes backups.
type database struct {
	*Private
	t      *testing.T
	db     *sql.DB
	backup sqldb.Config
	folder string
	id     string
}

var withLogs = []string{"--log-bin=binlog", "--binlog-format=ROW", "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1"}

// serverID numbers servers: those that begin in the same second must differ in it.
var serverID atomic.Int32

func newDatabase(t *testing.T) *database {
	t.Helper()
	d := &database{t: t, folder: t.TempDir(), id: fmt.Sprintf("--server-id=%d", serverID.Add(1))}
	d.start()
	t.Cleanup(func() { d.Kill() })
	d.exec("DROP USER IF EXISTS ''@localhost")
	return d
}

func (d *database) start() {
	d.t.Helper()
	var err error
	if d.Private, err = StartPrivate(d.t.Context(), true, d.folder, 0, append(withLogs, d.id)...); err != nil {
		d.t.Fatalf("%v; test/mariadb.sh installs MariaDB", err)
	}
	d.open()
}

// open connects to the server.
func (d *database) open() {
	d.t.Helper()
	var err error
	host := strings.TrimSuffix(strings.TrimPrefix(d.Server.URL, "jdbc:mysql://"), "/")
	if d.db, err = sql.Open("mysql", "root@tcp("+host+")/"); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { d.db.Close() })
	d.backup = sqldb.Config{URL: d.Server.URL, Username: "tienda_backup", Password: `it's "quoted" \ # ok`}
}

func (d *database) exec(statements ...string) {
	d.t.Helper()
	for _, statement := range statements {
		if _, err := d.db.ExecContext(d.t.Context(), statement); err != nil {
			d.t.Fatalf("%s: %v", statement, err)
		}
	}
}

// account makes the account that takes backups, with the rights that docs and chart give it.
func (d *database) account() {
	d.t.Helper()
	d.exec(`CREATE USER tienda_backup@'%' IDENTIFIED BY 'it''s "quoted" \\ # ok'`,
		"GRANT SELECT, SHOW VIEW, TRIGGER, LOCK TABLES ON `tienda\\_%`.* TO tienda_backup@'%'",
		`GRANT RELOAD, REPLICATION CLIENT, REPLICATION SLAVE ON *.* TO tienda_backup@'%'`)
}

// fill makes two schemas with something in them that is not easy to carry.
func (d *database) fill() {
	d.t.Helper()
	d.exec("CREATE DATABASE tienda_order CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "CREATE DATABASE tienda_user CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
		"CREATE TABLE tienda_order.orders (id BIGINT PRIMARY KEY AUTO_INCREMENT, note LONGTEXT, raw BLOB)",
		"CREATE TABLE tienda_user.users (id BIGINT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(100))",
		"INSERT INTO tienda_user.users (name) VALUES ('Ñandú 🛒')")
	d.order("it's\n/*!*/;\nGRANT ALL ON *.* TO nobody;\n# \\! touch x")
}

func (d *database) order(note string) {
	d.t.Helper()
	if _, err := d.db.ExecContext(d.t.Context(), "INSERT INTO tienda_order.orders (note, raw) VALUES (?, ?)", note, []byte{0, 1, '\'', '\\', 0xff, '\n'}); err != nil {
		d.t.Fatal(err)
	}
}

// content is what the schemas hold.
func (d *database) content() []string {
	d.t.Helper()
	var rows []string
	for _, query := range []string{"SELECT id, CONCAT(note, '|', HEX(raw)) FROM tienda_order.orders ORDER BY id", "SELECT id, name FROM tienda_user.users ORDER BY id"} {
		found, err := d.db.QueryContext(d.t.Context(), query)
		if err != nil {
			d.t.Fatal(err)
		}
		defer found.Close()
		for found.Next() {
			var id int
			var text string
			if err := found.Scan(&id, &text); err != nil {
				d.t.Fatal(err)
			}
			rows = append(rows, fmt.Sprint(id, " ", text))
		}
		if err := found.Err(); err != nil {
			d.t.Fatal(err)
		}
	}
	return rows
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// scrape is what Prometheus is told.
func scrape(t *testing.T, m *Monitor) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return answer.Body.String()
}

// ship ships in the background, until the function it returns is called.
func ship(t *testing.T, store *Store, server sqldb.Config) (*Shipper, func()) {
	t.Helper()
	return shipEvery(t, store, server, 50*time.Millisecond)
}

func shipEvery(t *testing.T, store *Store, server sqldb.Config, every time.Duration) (*Shipper, func()) {
	t.Helper()
	p := NewShipper(store, ShipOptions{Server: server, Every: every, Spool: t.TempDir(), Program: "test", Now: time.Now})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	stop := func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return p, stop
}

// shipped waits until everything that the server has written by now is in the bucket.
func shipped(t *testing.T, p *Shipper) {
	t.Helper()
	now := time.Now()
	until(t, "what is written is shipped", func() bool { return p.Covered().After(now) })
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// TestBackupAndRestore: a dump with what was written behind it comes back on another server, through restarts of the first; a
// second in between comes back as well; and the dump alone.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	writes, reads := newKeys(t)
	store, reader := NewStore(s.bucket(t), writes, quiet()), NewStore(s.bucket(t), reads, quiet())
	d := newDatabase(t)
	d.account()
	d.fill()
	p, stop := ship(t, store, d.backup)
	var first Backup
	until(t, "a history begins with a backup", func() bool {
		backups, err := store.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(backups) > 0 {
			first = backups[0]
		}
		return len(backups) == 1
	})
	asDumped := d.content()
	d.order("behind the dump")
	d.exec("ALTER TABLE tienda_user.users ADD COLUMN mail VARCHAR(100)", "FLUSH BINARY LOGS", "CREATE USER tienda_order@'%' IDENTIFIED BY 'old'",
		"ALTER USER tienda_order@'%' IDENTIFIED BY 'older'", "GRANT ALL ON tienda_order.* TO tienda_order@'%'")
	d.order(strings.Repeat("long ", 4<<20))
	inBetween := d.content()
	shipped(t, p)
	until(t, "the parts of the finished log are joined", func() bool {
		all, err := store.histories(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		objects, err := store.bucket.list(t.Context(), place{history: all[0].name, file: all[0].logs[0].file, id: all[0].logs[0].id}.folder())
		if err != nil {
			t.Fatal(err)
		}
		return len(all[0].logs) > 2 && len(objects) == 1 && all[0].logs[0].end > 0
	})
	time.Sleep(1100 * time.Millisecond) // the second of the events is over
	moment := time.Now().Truncate(time.Second)
	time.Sleep(1100 * time.Millisecond)
	d.order("behind the moment")
	d.Kill()
	d.start()
	d.exec("CREATE DATABASE tienda_review", "CREATE TABLE tienda_review.reviews (id INT PRIMARY KEY)")
	stop()
	d.exec("UPDATE tienda_order.orders SET note = 'changed' WHERE id = 2")
	p, stop = ship(t, store, d.backup) // at another address, as the server
	shipped(t, p)
	stop()
	atTheEnd := d.content()
	d.Kill()

	other := newDatabase(t)
	restored, err := reader.Restore(t.Context(), other.Server, RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(atTheEnd, other.content()); diff != "" {
		t.Errorf("with all binary logs (-before +after):\n%.2000s", diff)
	}
	if restored.Backup.Name != first.Name || restored.Logs < 3 || time.Since(restored.Last) > time.Minute {
		t.Errorf("restored %+v, want three logs behind %s", restored, first.Name)
	}
	other.exec("SELECT id FROM tienda_review.reviews")
	var binlog, redo int
	if err := other.db.QueryRowContext(t.Context(), "SELECT @@sync_binlog, @@innodb_flush_log_at_trx_commit").Scan(&binlog, &redo); err != nil || binlog != 1 || redo != 1 {
		t.Errorf("after a restore the server waits for the disk by %d and %d (%v), want 1", binlog, redo, err)
	}
	var n int
	if err := other.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM mysql.user WHERE user = 'tienda_order'").Scan(&n); err != nil || n != 0 {
		t.Errorf("the account tienda_order was brought back (%d, %v): accounts are not for a backup", n, err)
	}
	if _, err := reader.Restore(t.Context(), other.Server, RestoreOptions{}); err == nil || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("restore over tables = %v, want a refusal", err)
	}
	busy, err := other.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := busy.ExecContext(t.Context(), "USE tienda_user"); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Restore(t.Context(), other.Server, RestoreOptions{Replace: true}); err == nil || !strings.Contains(err.Error(), "stop the components") {
		t.Errorf("restore under a session = %v, want a refusal", err)
	}
	if err := busy.Close(); err != nil {
		t.Fatal(err)
	}
	other.db.Close()
	until(t, "the session is gone", func() bool {
		_, err = reader.Restore(t.Context(), other.Server, RestoreOptions{Replace: true, Until: moment})
		return err == nil || !strings.Contains(err.Error(), "stop the components")
	})
	if err != nil {
		t.Fatal(err)
	}
	other.Stop()
	other.start()
	if diff := cmp.Diff(inBetween, other.content()); diff != "" {
		t.Errorf("at a moment in between (-before +after):\n%.2000s", diff)
	}
	all, err := store.histories(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all[0].logs[2].objects {
		if err := store.bucket.remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if tested, _, err := reader.TestRestores(t.Context(), TestOptions{Now: time.Now}); err == nil || len(tested) != 1 || tested[0].Test.OK || !strings.Contains(err.Error(), "a part of the binary logs") {
		t.Errorf("a test of binary logs with a gap = %+v, %v", tested, err)
	}
	var sql strings.Builder
	if err := reader.Fetch(t.Context(), first.Name, &sql); err != nil || !strings.Contains(sql.String(), "Ñandú 🛒") {
		t.Errorf("Fetch(%s) = %v, want the SQL", first.Name, err)
	}
	if len(asDumped) != 2 {
		t.Errorf("at the dump there were %q", asDumped)
	}
}
