package journal_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// things is a table that writes under a key go to.
var things = sqldb.Migrations{Name: "things", Files: fstest.MapFS{"migrations/0001_create_things.sql": {Data: []byte(`-- +goose Up
CREATE TABLE things (
    thing_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(64) NOT NULL
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
`)}}}

// write is a write under a key that makes a thing and answers with body.
func write(t *testing.T, name string, body any) func(tx *sqldb.Tx) (journal.Answer, error) {
	return func(tx *sqldb.Tx) (journal.Answer, error) {
		_, err := tx.Insert(t.Context(), `INSERT INTO things (name) VALUES (?)`, name)
		return journal.Answer{Status: http.StatusCreated, Body: body}, err
	}
}

func countThings(t *testing.T, db *sqldb.DB) int64 {
	t.Helper()
	n, err := sqldb.Count(t.Context(), db, 1000, `SELECT thing_id FROM things`)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// witness is a client that looks into the database at the moment its answer begins.
type witness struct {
	http.ResponseWriter
	look func()
}

func (w witness) WriteHeader(status int) {
	w.look()
	w.ResponseWriter.WriteHeader(status)
}

// Who has the answer may rely on the write: it is committed before the first byte leaves.
func TestAnswerFollowsCommit(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, []sqldb.Migrations{journal.Migrations, things}, func(t *testing.T, db *sqldb.DB) {
		r := httptest.NewRequestWithContext(auth.WithCaller(t.Context(), auth.Caller{UserID: 5}), http.MethodPost, "/things", strings.NewReader("1"))
		r.Header.Set("Idempotency-Key", "a")
		answered := false
		w := witness{httptest.NewRecorder(), func() {
			answered = true
			if n := countThings(t, db); n != 1 {
				t.Errorf("others see %d rows when the answer leaves, want 1", n)
			}
		}}
		if err := journal.Once(w, r, db, []byte("1"), now, write(t, "one", 1)); err != nil || !answered {
			t.Errorf("Once = %v, answered %v, want an answer", err, answered)
		}
	})
}

// A write and its answer are one transaction: where the answer cannot be kept the write has not happened,
// and where the write fails the key is free.
func TestWriteAndAnswerAreOne(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, []sqldb.Migrations{journal.Migrations, things}, func(t *testing.T, db *sqldb.DB) {
		notJSON := make(chan int)
		if _, err := send(t, db, "a", "1", now, write(t, "one", notJSON)); err == nil {
			t.Error("an answer that cannot be kept = nil error, want one")
		}
		if n := countThings(t, db); n != 0 {
			t.Errorf("%d rows without a kept answer, want none", n)
		}
		broken := errors.New("the disk is full")
		_, err := send(t, db, "a", "1", now, func(tx *sqldb.Tx) (journal.Answer, error) {
			answer, err := write(t, "one", 1)(tx)
			return answer, errors.Join(err, broken)
		})
		if !errors.Is(err, broken) {
			t.Errorf("a write that fails = %v, want its own error", err)
		}
		if w, err := send(t, db, "a", "1", now, write(t, "one", 1)); err != nil || w.Header().Get("Idempotency-Replayed") != "" {
			t.Errorf("the key after a write that failed = %v, replayed %q, want it free", err, w.Header().Get("Idempotency-Replayed"))
		}
		if n := countThings(t, db); n != 1 {
			t.Errorf("%d rows in the end, want 1", n)
		}
	})
}

// The same key of another caller, or on another route, is another key.
func TestKeysBelongToTheirCaller(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, []sqldb.Migrations{journal.Migrations, things}, func(t *testing.T, db *sqldb.DB) {
		for i, as := range []struct {
			caller  auth.Caller
			pattern string
		}{
			{auth.Caller{UserID: 5}, "POST /things"}, {auth.Caller{UserID: 6}, "POST /things"}, {auth.Caller{Service: "order-service"}, "POST /things"},
			{auth.Caller{UserID: 5}, "POST /others"},
		} {
			r := httptest.NewRequestWithContext(auth.WithCaller(t.Context(), as.caller), http.MethodPost, "/things", strings.NewReader("1"))
			r.Pattern = as.pattern
			r.Header.Set("Idempotency-Key", "a")
			w := httptest.NewRecorder()
			if err := journal.Once(w, r, db, []byte("1"), now, write(t, "one", i)); err != nil || w.Header().Get("Idempotency-Replayed") != "" {
				t.Errorf("key of %v on %s = %v, replayed %q, want a write of its own", as.caller, as.pattern, err, w.Header().Get("Idempotency-Replayed"))
			}
		}
		if n := countThings(t, db); n != 4 {
			t.Errorf("%d rows, want 4", n)
		}
	})
}
