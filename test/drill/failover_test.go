package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"

	"tienda/backup"
	"tienda/load"
	"tienda/test/fleet"
)

// address leads to one server or another, as a Service or HAProxy does in a cluster.
type address struct {
	listener net.Listener
	mu       sync.Mutex
	target   string
	open     map[net.Conn]bool
}

func newAddress(t *testing.T, target string) *address {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &address{listener: listener, target: target, open: map[net.Conn]bool{}}
	t.Cleanup(func() {
		listener.Close()
		a.lead("")
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go a.serve(conn)
		}
	}()
	return a
}

func (a *address) url() string { return "jdbc:mysql://" + a.listener.Addr().String() + "/" }

func (a *address) serve(client net.Conn) {
	a.mu.Lock()
	target := a.target
	a.open[client] = true
	a.mu.Unlock()
	defer func() {
		client.Close()
		a.mu.Lock()
		delete(a.open, client)
		a.mu.Unlock()
	}()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, client)
		server.Close()
	}()
	_, _ = io.Copy(client, server)
}

// lead leads new connections elsewhere and ends those that are there.
func (a *address) lead(target string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.target = target
	for conn := range a.open {
		conn.Close()
	}
}

// member is a server of a pair.
type member struct {
	*backup.Private
	t  *testing.T
	db *sql.DB
}

func hostOf(p *backup.Private) string {
	return strings.TrimSuffix(strings.TrimPrefix(p.Server.URL, "jdbc:mysql://"), "/")
}

func newMember(t *testing.T, id int, options ...string) *member {
	t.Helper()
	// A commit is answered when the replica has it, before others see it. Without a replica the primary waits for ten seconds,
	// once, and goes on without. A replica that applies one transaction after the other falls behind: each waits for the disk.
	options = append(options, fmt.Sprintf("--server-id=%d", id), "--log-slave-updates", "--rpl-semi-sync-master-enabled=ON", "--rpl-semi-sync-slave-enabled=ON",
		"--rpl-semi-sync-master-wait-point=AFTER_SYNC", "--rpl-semi-sync-master-timeout=10000", "--slave-parallel-threads=8")
	p, err := backup.StartPrivate(t.Context(), true, t.TempDir(), 0, append(withLogs, options...)...)
	if err != nil {
		t.Fatalf("%v; test/mariadb.sh installs MariaDB", err)
	}
	t.Cleanup(p.Kill)
	db, err := sql.Open("mysql", "root@tcp("+hostOf(p)+")/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &member{p, t, db}
}

func (m *member) exec(statements ...string) {
	m.t.Helper()
	for _, statement := range statements {
		if _, err := m.db.ExecContext(m.t.Context(), statement); err != nil {
			m.t.Fatalf("%s: %v", statement, err)
		}
	}
}

// status is a value of SHOW GLOBAL STATUS or SHOW SLAVE STATUS.
func (m *member) status(statement, name string) string {
	m.t.Helper()
	rows, err := m.db.QueryContext(m.t.Context(), statement)
	if err != nil {
		m.t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		m.t.Fatal(err)
	}
	for rows.Next() {
		values, pointers := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			pointers[i] = &values[i]
		}
		if err := rows.Scan(pointers...); err != nil {
			m.t.Fatal(err)
		}
		for i, column := range columns {
			if column == name || len(columns) == 2 && values[0].String == name && i == 1 {
				return values[i].String
			}
		}
	}
	if err := rows.Err(); err != nil {
		m.t.Fatal(err)
	}
	return ""
}

// applied is the last transaction that a replica has applied.
func (m *member) applied() string {
	m.t.Helper()
	return m.status("SELECT @@gtid_slave_pos AS position", "position")
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to pass that %s", what)
		}
	}
}

// TestFailover: while customers buy the primary of a pair dies, and the replica takes its place under the same address. Components are
// unready meanwhile and come back by themselves; with semi-synchronous replication no order that was answered is lost.
func TestFailover(t *testing.T) {
	t.Parallel()
	primary, replica := newMember(t, 1), newMember(t, 2, "--read-only")
	host, port, err := net.SplitHostPort(hostOf(primary.Private))
	if err != nil {
		t.Fatal(err)
	}
	replica.exec(fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%s, MASTER_USER='root', MASTER_USE_GTID=slave_pos", host, port), "START SLAVE")
	eventually(t, "the primary waits for its replica", func() bool {
		return primary.status("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_clients'", "Rpl_semi_sync_master_clients") == "1"
	})
	at := newAddress(t, hostOf(primary.Private))
	s := &scene{options: options{products: 50, orders: 50, customers: 4}, dir: t.TempDir(), out: io.Discard, url: at.url(), environ: []string{"PATH=/usr/bin"}}
	defer s.end()
	if s.binary, err = fleet.Build(t.Context(), s.dir, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	// How long the replica takes to catch up with what was filled in bulk is no part of a failover.
	eventually(t, "the replica has what the shop was filled with", func() bool {
		return replica.applied() == primary.status("SELECT @@gtid_binlog_pos AS position", "position")
	})
	ready := func() int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/readyz", s.shop.Components[0].Port-8761+8300), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	if got := ready(); got != http.StatusOK {
		t.Fatalf("before, order-service is ready: %d", got)
	}
	shares, err := load.ParseMix(mix)
	if err != nil {
		t.Fatal(err)
	}
	shop := load.Options{Target: s.shop.URL, Users: s.options.customers, Mix: shares, Seed: 3, Rest: time.Minute, Resolve: time.Minute}
	var during *load.Result
	var errDuring error
	var group sync.WaitGroup
	buying, stop := context.WithCancel(t.Context())
	defer stop()
	group.Go(func() {
		shop := shop
		shop.Duration = time.Hour
		during, errDuring = load.Run(buying, shop)
	})
	time.Sleep(5 * time.Second)
	killed := time.Now()
	primary.Kill()
	eventually(t, "order-service is unready", func() bool { return ready() == http.StatusServiceUnavailable })
	// What the replica has received it applies; then it is nobody's replica any more, and may be written to.
	replica.exec("STOP SLAVE IO_THREAD")
	eventually(t, "the replica has applied what it has", func() bool {
		received := replica.status("SHOW SLAVE STATUS", "Gtid_IO_Pos")
		return received != "" && received == replica.applied()
	})
	replica.exec("STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL rpl_semi_sync_master_enabled = OFF", "SET GLOBAL read_only = OFF")
	at.lead(hostOf(replica.Private))
	took := time.Since(killed)
	eventually(t, "order-service is ready again", func() bool { return ready() == http.StatusOK })
	back := time.Since(killed)
	time.Sleep(2 * time.Second)
	stop()
	group.Wait()
	if errDuring != nil {
		t.Fatal(errDuring)
	}
	shop.Checkouts = 10
	afterwards, err := load.Run(t.Context(), shop)
	if err != nil {
		t.Fatal(err)
	}
	before, after, first := 0, 0, time.Hour
	for _, c := range slices.Concat(during.Record, afterwards.Record) {
		switch {
		case c.Status != http.StatusCreated:
		case c.Answered.Before(killed):
			before++
		default:
			after++
			first = min(first, c.Answered.Sub(killed))
		}
	}
	if before == 0 || after == 0 {
		t.Fatalf("customers bought %d times before and %d times after the failover; want some of each", before, after)
	}
	for _, result := range []*load.Result{during, afterwards} {
		verification, err := result.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range verification.Invariants {
			if i.Violations > 0 {
				t.Errorf("%s: %d violations: %v", i.Name, i.Violations, i.First)
			}
		}
	}
	audited, err := s.shop.Audit(t.Context(), s.binary)
	if err != nil {
		t.Fatal(err)
	}
	if audited.Violations > 0 {
		t.Errorf("the audit finds %d violations: %+v", audited.Violations, audited.Invariants)
	}
	if first > time.Minute {
		t.Errorf("nobody could buy for %s", first)
	}
	t.Logf("the replica had taken over after %s, order-service was ready after %s, the first order was answered after %s; %d orders before and %d after, none lost",
		took.Round(time.Millisecond), back.Round(time.Millisecond), first.Round(time.Millisecond), before, after)
}
