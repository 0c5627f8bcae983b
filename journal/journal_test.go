package journal_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

var (
	migrations = []sqldb.Migrations{journal.Migrations}
	now        = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
)

// send makes a request under a key by user 5 and runs do as [journal.Once] does.
func send(t *testing.T, db *sqldb.DB, key, body string, at time.Time, do func(*sqldb.Tx) (journal.Answer, error)) (*httptest.ResponseRecorder, error) {
	t.Helper()
	r := httptest.NewRequestWithContext(auth.WithCaller(t.Context(), auth.Caller{UserID: 5}), http.MethodPost, "/things", strings.NewReader(body))
	r.Pattern = "POST /things"
	r.Header.Set("Idempotency-Key", key)
	w := httptest.NewRecorder()
	return w, journal.Once(w, r, db, []byte(body), at, do)
}

func answer(id int64) func(*sqldb.Tx) (journal.Answer, error) {
	return func(*sqldb.Tx) (journal.Answer, error) {
		return journal.Answer{Status: http.StatusCreated, Location: "/things/1", Body: map[string]int64{"id": id}}, nil
	}
}

func TestOnce(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		fail := errors.New("the database went away")
		for _, step := range []struct {
			name, key, body string
			at              time.Time
			do              func(*sqldb.Tx) (journal.Answer, error)
			status          int // of the answer or the problem; 0 for another error
			want            string
			replayed        string
		}{
			{"first", "a", "1", now, answer(1), 201, `{"id":1}`, ""},
			{"again", "a", "1", now, answer(2), 201, `{"id":1}`, "true"},
			{"another body", "a", "2", now, answer(2), 422, "", ""},
			{"another key", "b", "1", now, answer(3), 201, `{"id":3}`, ""},
			{"after a day", "a", "1", now.Add(25 * time.Hour), answer(4), 201, `{"id":4}`, ""},
			{"an error is not kept", "c", "1", now, func(*sqldb.Tx) (journal.Answer, error) { return journal.Answer{}, fail }, 0, "", ""},
			{"so that it can be tried again", "c", "1", now, answer(5), 201, `{"id":5}`, ""},
			{"a refusal of the input is not kept", "d", "1", now, func(*sqldb.Tx) (journal.Answer, error) { return journal.Answer{}, api.Invalid() }, 422, "", ""},
			{"so that the key is free", "d", "2", now, answer(6), 201, `{"id":6}`, ""},
			{"a conflict is final", "e", "1", now, func(*sqldb.Tx) (journal.Answer, error) { return journal.Answer{}, api.Conflict("taken") }, 409, "", ""},
			{"and replayed", "e", "1", now, answer(7), 409, "", "true"},
		} {
			w, err := send(t, db, step.key, step.body, step.at, step.do)
			status := w.Code
			if err != nil {
				status = 0
			}
			if p, ok := errors.AsType[*api.Problem](err); ok {
				status = p.Status
			}
			if status != step.status {
				t.Errorf("%s: status %d (%v), want %d", step.name, status, err, step.status)
			}
			if got := strings.TrimSpace(w.Body.String()); step.want != "" && got != step.want {
				t.Errorf("%s: body %s, want %s", step.name, got, step.want)
			}
			if got := w.Header().Get("Idempotency-Replayed"); got != step.replayed {
				t.Errorf("%s: Idempotency-Replayed = %q, want %q", step.name, got, step.replayed)
			}
		}
	})
}

func TestKeysAreRefused(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "with blank", "ünïcode", strings.Repeat("k", 129)} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/things", http.NoBody)
		r.Header.Set("Idempotency-Key", key)
		if _, err := journal.ReadRequest(r, nil); !api.IsStatus(err, http.StatusBadRequest) {
			t.Errorf("ReadRequest with key %q = %v, want a 400", key, err)
		}
	}
}

func TestForgetRemovesWhatIsOld(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		for key, at := range map[string]time.Time{"old": now.Add(-25 * time.Hour), "new": now} {
			if _, err := send(t, db, key, "1", at, answer(1)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			journal.Forget(ctx, db, func() time.Time { return now }, slog.New(slog.DiscardHandler))
		}()
		deadline := time.Now().Add(10 * time.Second)
		var keys []string
		for time.Now().Before(deadline) && !cmp.Equal(keys, []string{"new"}) {
			var err error
			keys, err = sqldb.All(ctx, db, func(scan func(...any) error) (key string, err error) { return key, scan(&key) },
				`SELECT idempotency_key FROM idempotency_keys`)
			if err != nil {
				t.Fatal(err)
			}
		}
		stop()
		<-done
		if diff := cmp.Diff([]string{"new"}, keys); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
	})
}

func TestFollowAppliesEachEventOnce(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		all := []api.Event{{Seq: 1, Kind: "other"}, {Seq: 3}, {Seq: 4, Kind: "other"}, {Seq: 5}, {Seq: 9}, {Seq: 10, Kind: "other"}, {Seq: 11, Kind: "other"}}
		var applied []int64
		broken := true
		feed := journal.Feed{
			Name: "user-service",
			Read: func(_ context.Context, after int64) ([]api.Event, error) {
				var behind []api.Event
				for _, event := range all {
					if event.Seq > after {
						behind = append(behind, event)
					}
				}
				return behind, nil
			},
			Wants: func(event api.Event) bool { return event.Kind != "other" },
			Apply: func(_ context.Context, _ *sqldb.Tx, event api.Event) error {
				if event.Seq == 5 && broken {
					broken = false
					return errors.New("not now")
				}
				applied = append(applied, event.Seq)
				return nil
			},
		}
		for i, wantErr := range []bool{true, false, false} {
			if _, err := journal.FollowOnce(t.Context(), db, feed); (err != nil) != wantErr {
				t.Errorf("FollowOnce %d = %v, want an error: %v", i, err, wantErr)
			}
		}
		if diff := cmp.Diff([]int64{3, 5, 9}, applied); diff != "" {
			t.Errorf("applied (-want +got):\n%s", diff)
		}
		var at int64
		if err := db.QueryRow(t.Context(), `SELECT seq FROM feed_positions`).Scan(&at); err != nil || at != 11 {
			t.Errorf("position = %d, %v; want 11, behind events that nobody wants", at, err)
		}
	})
}

// A feed that fails once is no news, one that goes on failing is told once.
func TestFollowWarnsOfWhatLasts(t *testing.T) {
	t.Parallel()
	db := sqldbtest.Open(t, "sqlite", migrations...)
	for name, test := range map[string]struct {
		fails []bool // of each reading; those to come succeed
		want  int
	}{
		"once":           {[]bool{true}, 0},
		"now and then":   {[]bool{true, false, true, false, true}, 0},
		"twice":          {[]bool{true, true}, 1},
		"for long":       {[]bool{true, true, true, true, true}, 1},
		"for long twice": {[]bool{true, true, true, false, true, true, true}, 2},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var log bytes.Buffer
		readings := 0
		err := journal.Follow(ctx, db, journal.Feed{Name: name, Every: time.Microsecond, Read: func(context.Context, int64) ([]api.Event, error) {
			readings++
			if readings > len(test.fails) {
				cancel()
				return nil, nil
			}
			if test.fails[readings-1] {
				return nil, errors.New("away")
			}
			return nil, nil
		}}, slog.New(slog.NewTextHandler(&log, nil)))
		if got := strings.Count(log.String(), "cannot follow events"); err != nil || got != test.want {
			t.Errorf("%s: Follow = %v with %d warnings, want %d:\n%s", name, err, got, test.want, &log)
		}
		cancel()
	}
}

func FuzzRequestText(f *testing.F) {
	f.Add([]byte(`["user:5","POST /things","a-key<&>"]`))
	f.Add([]byte(`["",""]`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var request journal.Request
		if request.UnmarshalText(text) != nil {
			return
		}
		once, err := request.MarshalText()
		if err != nil {
			t.Fatalf("MarshalText of %q: %v", text, err)
		}
		var again journal.Request
		if err := again.UnmarshalText(once); err != nil || again != request {
			t.Errorf("%q read and written is %q (%v)", text, once, err)
		}
	})
}
