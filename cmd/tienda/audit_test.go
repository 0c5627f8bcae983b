package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/audit"
	"tienda/load"
	"tienda/sqldb"
)

// auditOf audits a shop and returns what it found; the error is that of the command.
func auditOf(tb testing.TB, data string, environ environment, args ...string) (audit.Result, error) {
	tb.Helper()
	var out lockedBuffer
	err := Run(context.Background(), append([]string{"audit", "--data", data, "--json"}, args...), environ, terminal{&out, &out})
	var result audit.Result
	if text := out.String(); text != "" {
		if err := json.Unmarshal([]byte(text), &result); err != nil {
			tb.Errorf("audit --json printed %.300s: %v", text, err)
		}
	}
	return result, err
}

// auditUntil audits over and over until a channel is closed, and once more: nothing is ever wrong. It
// returns how often it did.
func auditUntil(tb testing.TB, data string, environ environment, over <-chan struct{}) (audits int) {
	tb.Helper()
	for last := false; !last; audits++ {
		select {
		case <-over:
			last = true
		default:
		}
		result, err := auditOf(tb, data, environ)
		if err != nil || result.Violations > 0 {
			for _, i := range result.Invariants {
				if i.Violations > 0 {
					tb.Errorf("%s: %d violations: %v", i.Name, i.Violations, i.First)
				}
			}
			tb.Fatalf("audit %d: %v", audits, err)
		}
		time.Sleep(100 * time.Millisecond) // the shop needs the processor as well
	}
	return audits
}

// TestAuditOfALiveShop: while customers check out, cancel and get parcels as fast as the shop can, no
// audit takes what is under way for wrong.
func TestAuditOfALiveShop(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *system) {
		over := make(chan struct{})
		go func() {
			defer close(over)
			if out, err := s.load("--users", "12", "--checkouts", "300", "--mix", "hostile,cancel=30", "--admin", "admin"); err != nil {
				t.Errorf("load: %v\n%s", err, out)
			}
		}()
		audits := auditUntil(t, s.data, s.environ, over)
		t.Logf("%d audits", audits)
		if audits < 3 {
			t.Errorf("%d audits while the shop was used, want several", audits)
		}
	})
}

// TestAuditAcrossKills: the process of a shop is killed in the middle of its checkouts, and begins again.
// What it left behind is under way, and is finished; nothing is ever wrong.
func TestAuditAcrossKills(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "tienda")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is built everywhere else
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	data, offset := t.TempDir(), freeOffset(t)
	gateway := fmt.Sprintf("http://127.0.0.1:%d", rowOf("api-gateway").Port+offset)
	begin := func() *exec.Cmd {
		process := exec.Command(program, "up", "--data", data, "--port-offset", fmt.Sprint(offset))
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			response, err := http.Get(gateway + "/product-service/api/products?size=1")
			if err == nil {
				_ = response.Body.Close() // nobody reads it
				if response.StatusCode == http.StatusOK {
					return process
				}
			}
			if time.Now().After(deadline) {
				t.Errorf("the shop does not open: %v", err)
				return process
			}
		}
	}
	process := begin()
	over, killed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		mix, err := load.ParseMix("hostile")
		if err != nil {
			t.Error(err)
			return
		}
		_, err = load.Run(context.Background(), load.Options{Target: gateway, Users: 8, Duration: 10 * time.Second, Mix: mix, Seed: 3,
			Admin: load.Credentials{Username: "admin", Password: "0000"}})
		if err != nil {
			t.Errorf("load: %v", err)
		}
	}()
	go func() {
		for range 3 {
			time.Sleep(2*time.Second + rand.N(time.Second)) // a customer's way through the shop is in the middle of something at any time
			_ = process.Process.Kill()                      // SIGKILL; how it ended says nothing
			_ = process.Wait()
			process = begin()
		}
		<-over
		_ = process.Process.Kill()
		_ = process.Wait()
		close(killed)
	}()
	t.Logf("%d audits", auditUntil(t, data, nil, over))
	<-killed
}

// freeOffset is one at which nobody listens on any port of a component. Its ports are below those that the
// kernel gives to connections, one of which could take a port while the shop is down.
func freeOffset(t *testing.T) int {
	t.Helper()
	for range 50 {
		offset, free := 2000+rand.IntN(18000), true
		for _, service := range services() {
			listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", service.Port+offset))
			if err != nil {
				free = false
				break
			}
			_ = listener.Close() // it was only to see
		}
		if free {
			return offset
		}
	}
	t.Fatal("no port offset is free")
	return 0
}

// TestAuditStatus: 0 when all holds, 1 when something does not, 2 when it could not look.
func TestAuditStatus(t *testing.T) {
	t.Parallel()
	eachFilled(t, 300, func(t *testing.T, data string, environ environment, _ string) {
		result, err := auditOf(t, data, environ)
		if err != nil || result.Violations != 0 {
			t.Errorf("audit of a good shop = %v, %+v", err, result)
		}
		order := shopDatabase(t, data, environ, "order-service")
		err = order.Tx(t.Context(), func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE orders SET tax = tax + 1 WHERE status = 'DELIVERED'`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		result, err = auditOf(t, data, environ)
		if statusOf(err) != statusViolations || result.Violations == 0 || len(result.Invariants[0].First) == 0 {
			t.Errorf("audit of wrong totals = %v, %+v", err, result)
		}
		var table lockedBuffer
		err = Run(t.Context(), []string{"audit", "--data", data}, environ, terminal{&table, &table})
		for _, want := range []string{"INVARIANT", "order-totals", "violations. Keep a copy of the databases", result.Invariants[0].First[0]} {
			if statusOf(err) != statusViolations || !strings.Contains(table.String(), want) {
				t.Errorf("the table does not say %q: %v\n%s", want, err, &table)
			}
		}

		// A schema of another version is not looked at.
		err = order.Tx(t.Context(), func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE schema_order SET version_id = 99 WHERE version_id = 1`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = auditOf(t, data, environ); statusOf(err) != statusBlind || !strings.Contains(sentence(err), "order-service: the tables of \"order\" are at version 99") {
			t.Errorf("audit of a newer schema = %v", err)
		}
	})
}

// TestAuditOfNothing: an audit that looked at the wrong place does not sound like a shop in order.
func TestAuditOfNothing(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	var out lockedBuffer
	for _, command := range []string{"migrate", "audit"} {
		if err := Run(t.Context(), []string{command, "--data", data}, nil, terminal{&out, &out}); err != nil {
			t.Fatalf("%s: %v", command, err)
		}
	}
	if text := out.String(); !strings.Contains(text, "the databases are empty") || strings.Contains(text, "nothing to do") {
		t.Errorf("an audit of empty databases says\n%s", text)
	}
}

// TestAuditDocumented: the operations page lists the invariants as they are. A shop without an order has
// all of them too.
func TestAuditDocumented(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	if err := Run(t.Context(), []string{"migrate", "--data", data}, nil, terminal{&lockedBuffer{}, &lockedBuffer{}}); err != nil {
		t.Fatal(err)
	}
	result, err := auditOf(t, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	var want [][]string
	for _, i := range result.Invariants {
		want = append(want, []string{"`" + i.Name + "`", i.Sentence})
	}
	if diff := cmp.Diff(want, tableRows(documents(t)["docs/operations.md"], "| of the books |")); diff != "" {
		t.Errorf("invariants (-audit +docs/operations.md):\n%s", diff)
	}
}

// TestAuditCannotLook: one sentence, and status 2, for everything that keeps it from looking.
func TestAuditCannotLook(t *testing.T) {
	t.Parallel()
	empty, part := t.TempDir(), t.TempDir()
	if err := Run(t.Context(), []string{"migrate", "--data", part, "order", "payment"}, nil, terminal{&lockedBuffer{}, &lockedBuffer{}}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args    []string
		environ environment
		says    string
	}{
		"empty folder":       {[]string{"--data", empty}, nil, "lacks order-service.db, product-service.db, payment-service.db, shipping-service.db"},
		"part of a shop":     {[]string{"--data", part}, nil, "lacks product-service.db, shipping-service.db"},
		"server that's away": {nil, environment{"SPRING_DATASOURCE_URL=jdbc:mysql://u:hunter2@127.0.0.1:1/tienda"}, "connect to jdbc:mysql://127.0.0.1:1/tienda_order"},
		"unknown flag":       {[]string{"--hard"}, nil, "unknown flag"},
		"negative grace":     {[]string{"--data", part, "--grace=-1s"}, nil, "--grace must not be negative"},
	} {
		var out lockedBuffer
		err := Run(t.Context(), append([]string{"audit"}, c.args...), c.environ, terminal{&out, &out})
		if statusOf(err) != statusBlind || !strings.Contains(sentence(err), c.says) || strings.Contains(sentence(err), "hunter2") {
			t.Errorf("%s: audit = %v with status %d, want %q with status 2", name, err, statusOf(err), c.says)
		}
	}
	for _, folder := range []string{empty, part} {
		if _, err := os.Stat(filepath.Join(folder, "shipping-service.db")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("audit made a database in %s: %v", folder, err)
		}
	}
}
