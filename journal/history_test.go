package journal_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
	"tienda/web"
)

// keyAnswer is what a write under a key was answered: the number of the thing that it made, and whether
// that is told again. Status 0 is no answer.
type keyAnswer struct {
	Status   int
	Thing    int64
	Replayed bool
}

// keys is the sequential model of one key: the first write under it makes a thing, every other is told
// of that one. The state is the number of the thing, 0 while there is none.
func keys() porcupine.Model {
	const unknownThing = -1 // made by a write whose answer nobody got
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{int64(0)} },
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[any][]porcupine.Operation{}
			for _, op := range history {
				byKey[op.Input] = append(byKey[op.Input], op)
			}
			var parts [][]porcupine.Operation
			for _, part := range byKey {
				parts = append(parts, part)
			}
			return parts
		},
		Step: func(state, _, output any) []any {
			thing, got := state.(int64), output.(keyAnswer)
			switch got.Status {
			case 0: // it was the first, or it was not, or it was never made
				if thing == 0 {
					return []any{thing, int64(unknownThing)}
				}
				return []any{thing}
			case http.StatusConflict, http.StatusInternalServerError: // busy, or the write failed: nothing was made
				return []any{thing}
			case http.StatusCreated:
				if thing == 0 && !got.Replayed || thing == unknownThing && got.Replayed || thing == got.Thing && got.Replayed {
					return []any{got.Thing}
				}
			}
			return nil
		},
	}
	return model.ToModel()
}

// keeper serves writes under a key, one in one transaction and one that goes on after its first, as the
// services do.
func keeper(t *testing.T, db *sqldb.DB) *httptest.Server {
	t.Helper()
	insert := func(ctx context.Context, tx *sqldb.Tx, name string) (int64, error) {
		return tx.Insert(ctx, `INSERT INTO things (name) VALUES (?)`, name)
	}
	once := func(w http.ResponseWriter, r *http.Request) error {
		body, err := web.ReadBody(w, r)
		if err != nil {
			return err
		}
		return journal.Once(w, r, db, body, now, func(tx *sqldb.Tx) (journal.Answer, error) {
			id, err := insert(r.Context(), tx, r.Header.Get("Idempotency-Key"))
			if r.Header.Get("Fail") != "" {
				err = errors.Join(err, errors.New("the write fails"))
			}
			return journal.Answer{Status: http.StatusCreated, Body: id}, err
		})
	}
	later := func(w http.ResponseWriter, r *http.Request) error {
		body, err := web.ReadBody(w, r)
		if err != nil {
			return err
		}
		request, err := journal.ReadRequest(r, body)
		if err != nil {
			return err
		}
		var stored *journal.Stored
		var answer journal.Answer
		err = db.Tx(r.Context(), func(tx *sqldb.Tx) error {
			if stored, err = request.Claim(r.Context(), tx, 0, now.Add(time.Minute), now); err != nil || stored != nil {
				return err
			}
			id, err := insert(r.Context(), tx, r.Header.Get("Idempotency-Key"))
			answer = journal.Answer{Status: http.StatusCreated, Body: id}
			return errors.Join(err, request.SetSubject(r.Context(), tx, api.ID(id)))
		})
		if err != nil {
			return err
		}
		if stored != nil {
			return journal.Replay(w, *stored)
		}
		// What was begun is ended whether or not the client waits.
		ctx := context.WithoutCancel(r.Context())
		if err := db.Tx(ctx, func(tx *sqldb.Tx) error { return request.Store(ctx, tx, answer) }); err != nil {
			return err
		}
		return journal.Write(w, answer)
	}
	handler, err := web.New(web.API{
		Name: "keeper", Context: "/keeper", Log: slog.New(slog.DiscardHandler),
		Verify: func(context.Context, string) (auth.Caller, error) {
			return auth.Caller{UserID: 5, Username: "a", Roles: []string{api.RoleUser}}, nil
		},
		Routes: []web.Route{
			{Method: http.MethodPost, Pattern: "/api/once", Summary: "Make a thing", Access: web.User, Idempotent: true, In: 1, Out: 1, Handler: once},
			{Method: http.MethodPost, Pattern: "/api/later", Summary: "Make a thing", Access: web.User, Idempotent: true, In: 1, Out: 1, Handler: later},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// use makes a write under a key; who loses patience has no answer.
func use(t *testing.T, server *httptest.Server, path, key string, patience time.Duration, fail bool) keyAnswer {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/keeper/api"+path, strings.NewReader("1"))
	if err != nil {
		t.Error(err)
		return keyAnswer{}
	}
	request.Header.Set("Authorization", "Bearer x")
	request.Header.Set("Idempotency-Key", key)
	if fail {
		request.Header.Set("Fail", "yes")
	}
	response, err := server.Client().Do(request)
	if err != nil {
		return keyAnswer{}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return keyAnswer{}
	}
	got := keyAnswer{Status: response.StatusCode, Replayed: response.Header.Get("Idempotency-Replayed") == "true"}
	switch {
	case got.Status == http.StatusInternalServerError && fail, got.Status == http.StatusConflict:
	case got.Status != http.StatusCreated:
		t.Errorf("%s with key %s = %d %s", path, key, got.Status, body)
		return keyAnswer{}
	default:
		if err := json.Unmarshal(body, &got.Thing); err != nil {
			t.Errorf("%s with key %s = %s: %v", path, key, body, err)
		}
	}
	return got
}

// Whatever arrives under a key at once, fails or loses its client: one write is made, and all who get an
// answer get that one's.
func TestKeyHistories(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/once", "/later"} {
		t.Run(path[1:], func(t *testing.T) {
			t.Parallel()
			sqldbtest.Each(t, []sqldb.Migrations{journal.Migrations, things}, func(t *testing.T, db *sqldb.DB) { keyHistory(t, db, path) })
		})
	}
}

func keyHistory(t *testing.T, db *sqldb.DB, path string) {
	const clients, rounds, keysAtOnce = 6, 60, 2
	server, began := keeper(t, db), time.Now()
	var (
		mu      sync.Mutex
		history []porcupine.Operation
		group   sync.WaitGroup
	)
	gates := make([]sync.WaitGroup, rounds) // all come to a key together
	for round := range gates {
		gates[round].Add(clients)
	}
	for client := range clients {
		group.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(client)))
			for round := range rounds {
				key, patience := fmt.Sprintf("%d-%d", round, random.IntN(keysAtOnce)), 10*time.Second
				if random.IntN(6) == 0 {
					patience = time.Duration(random.IntN(1500)) * time.Microsecond
				}
				fail := random.IntN(6) == 0 && path == "/once"
				gates[round].Done()
				gates[round].Wait()
				from := time.Since(began).Nanoseconds()
				got := use(t, server, path, key, patience, fail)
				to := time.Since(began).Nanoseconds()
				if got.Status == 0 {
					to = math.MaxInt64
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: client, Input: key, Output: got, Call: from, Return: to})
				mu.Unlock()
			}
		})
	}
	group.Wait()
	server.Close() // waits for writes whose clients went away
	if got := porcupine.CheckOperationsTimeout(keys(), history, time.Minute); got != porcupine.Ok {
		t.Errorf("the history is %s, want one write for each key:\n%+v", got, history)
	}
	twice, err := sqldb.All(t.Context(), db, func(scan func(...any) error) (key string, err error) { return key, scan(&key) },
		`SELECT name FROM things GROUP BY name HAVING COUNT(*) > 1`)
	if err != nil || len(twice) > 0 {
		t.Errorf("keys of more than one write = %v, %v, want none", twice, err)
	}
}
