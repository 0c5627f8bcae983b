// Package journal keeps what a database must remember about its own writes: the answers it gave
// under an Idempotency-Key, and the events that tell others of every state change. Both are rows
// written in the same transaction as the write itself, so they are as durable and as true.
//
// It is a package of its own because it is the only thing that needs both web and sqldb, and five
// services need it.
package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/sqldb"
	"tienda/web"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations creates the tables of the journal; a service passes them with its own.
var Migrations = sqldb.Migrations{Name: "journal", Files: files}

// keyLife is how long an answer can be replayed.
const keyLife = 24 * time.Hour

// Request is one write under an Idempotency-Key. Keys are kept per caller and route.
type Request struct {
	caller, route, key, hash string
}

// Answer is what was answered to a write. Body is JSON.
type Answer struct {
	Status   int
	Location string
	Body     any
}

// Stored is what is known of an earlier request under the same key.
type Stored struct {
	// Subject is the row that the write is about, as given to [Request.Claim], [Request.Keep] or
	// [Request.SetSubject].
	Subject api.ID
	// Status is 0 while there is no final answer.
	Status   int
	Location string
	Body     json.RawMessage
	// Busy reports that the first request is still being worked on.
	Busy bool
}

// ReadRequest takes the key of a write. Body is what was sent, as it arrived: the same key with
// another body is refused. A missing or unusable key is a 400.
func ReadRequest(r *http.Request, body []byte) (Request, error) {
	key := r.Header.Get("Idempotency-Key")
	switch {
	case key == "":
		return Request{}, api.BadRequest("the header Idempotency-Key is missing: send a text of your own that names this write")
	case len(key) > 128:
		return Request{}, api.BadRequest("the header Idempotency-Key is longer than 128 characters")
	}
	for _, c := range []byte(key) {
		if c < 0x21 || c > 0x7e {
			return Request{}, api.BadRequest("the header Idempotency-Key may hold visible ASCII characters only")
		}
	}
	// The path is part of what was asked for: the same key on another cart is another request.
	sum := sha256.New()
	_, _ = fmt.Fprintf(sum, "%s\n", r.URL.Path) // a hash does not fail
	_, _ = sum.Write(body)
	return Request{
		caller: auth.CallerOf(r.Context()).String(),
		route:  r.Pattern,
		key:    key,
		hash:   hex.EncodeToString(sum.Sum(nil)),
	}, nil
}

// Claim takes the key inside the transaction of the write. It returns nil when this request is the
// first, and otherwise what is stored of the earlier one. The same key with another body is a 422.
// busyUntil is set by writes that go on after this transaction: until then Stored.Busy holds, unless
// [Request.Store] ends it.
func (q Request) Claim(ctx context.Context, tx *sqldb.Tx, subject api.ID, busyUntil, now time.Time) (*Stored, error) {
	err := q.insert(ctx, tx, subject, busyUntil, now)
	if !errors.Is(err, sqldb.ErrConflict) {
		return nil, err
	}
	stored, err := q.Find(ctx, tx, now)
	if err != nil || stored != nil {
		return stored, err
	}
	// The one that is there has expired.
	_, err = tx.Exec(ctx, `DELETE FROM idempotency_keys WHERE caller = ? AND route = ? AND idempotency_key = ?`, q.caller, q.route, q.key)
	if err != nil {
		return nil, err
	}
	return nil, q.insert(ctx, tx, subject, busyUntil, now)
}

const insertKey = `INSERT INTO idempotency_keys (caller, route, idempotency_key, request_hash, subject, status, location, answer, busy_until, created_at)
	VALUES (?, ?, ?, ?, ?, 0, '', '', ?, ?)`

// insert takes a key that nobody has; one that is taken is [sqldb.ErrConflict].
func (q Request) insert(ctx context.Context, tx *sqldb.Tx, subject api.ID, busyUntil, now time.Time) error {
	_, err := tx.Exec(ctx, insertKey, q.caller, q.route, q.key, q.hash, int64(subject), sqldb.Instant(busyUntil), sqldb.Instant(now))
	return err
}

// Keep is [Request.Claim] for a write that takes its chances: a key that is taken makes the transaction
// [sqldb.ErrConflict], at its next statement or its commit, and the key is to be claimed in another.
func (q Request) Keep(ctx context.Context, tx *sqldb.Tx, subject api.ID, busyUntil, now time.Time) error {
	return tx.Later(ctx, insertKey, q.caller, q.route, q.key, q.hash, int64(subject), sqldb.Instant(busyUntil), sqldb.Instant(now))
}

// Find returns what is stored of an earlier request under the key, or nil. It takes nothing: a write
// that asks its neighbours before its transaction looks here first, so that a replay depends on nobody.
func (q Request) Find(ctx context.Context, db sqldb.Querier, now time.Time) (*Stored, error) {
	var (
		row             Stored
		hash, body      string
		subject         int64
		busy, createdAt sqldb.Instant
	)
	err := db.QueryRow(ctx, `SELECT request_hash, subject, status, location, answer, busy_until, created_at
		FROM idempotency_keys WHERE caller = ? AND route = ? AND idempotency_key = ?`, q.caller, q.route, q.key).
		Scan(&hash, &subject, &row.Status, &row.Location, &body, &busy, &createdAt)
	if errors.Is(err, sqldb.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if now.Sub(time.Time(createdAt)) > keyLife {
		return nil, nil
	}
	if hash != q.hash {
		return nil, api.Status(http.StatusUnprocessableEntity, "the Idempotency-Key was used before for another request; use a new one")
	}
	row.Subject, row.Body = api.ID(subject), json.RawMessage(body)
	row.Busy = row.Status == 0 && now.Before(time.Time(busy))
	return &row, nil
}

// MarshalText names the request, so that a write which ends in another process than it began in can
// store its answer there. The text holds the key, not what was sent.
func (q Request) MarshalText() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // six bytes for each < in a key would be more than a column holds
	if err := encoder.Encode([]string{q.caller, q.route, q.key}); err != nil {
		return nil, fmt.Errorf("name of a request: %w", err)
	}
	return bytes.TrimSpace(text.Bytes()), nil
}

// UnmarshalText reads what MarshalText wrote. Such a request can store an answer, not claim a key.
func (q *Request) UnmarshalText(text []byte) error {
	var names []string
	if err := json.Unmarshal(text, &names); err != nil || len(names) != 3 {
		return fmt.Errorf("name of a request: %q", text)
	}
	*q = Request{caller: names[0], route: names[1], key: names[2]}
	return nil
}

// SetSubject names the row the write is about, when it came to be only after [Request.Claim].
func (q Request) SetSubject(ctx context.Context, tx *sqldb.Tx, subject api.ID) error {
	return tx.Later(ctx, `UPDATE idempotency_keys SET subject = ? WHERE caller = ? AND route = ? AND idempotency_key = ?`,
		int64(subject), q.caller, q.route, q.key)
}

// NotBusy ends the claim of a request that is answered without a final outcome: from now on the key
// finds the state of the row instead of a 409.
func (q Request) NotBusy(ctx context.Context, tx *sqldb.Tx) error {
	return tx.Later(ctx, `UPDATE idempotency_keys SET busy_until = NULL WHERE caller = ? AND route = ? AND idempotency_key = ?`,
		q.caller, q.route, q.key)
}

// Store keeps the final answer for replays.
func (q Request) Store(ctx context.Context, tx *sqldb.Tx, answer Answer) error {
	body, err := json.Marshal(answer.Body)
	if err != nil {
		return fmt.Errorf("store answer: %w", err)
	}
	return tx.Later(ctx, `UPDATE idempotency_keys SET status = ?, location = ?, answer = ?, busy_until = NULL
		WHERE caller = ? AND route = ? AND idempotency_key = ?`, answer.Status, answer.Location, string(body), q.caller, q.route, q.key)
}

// Once runs a write that is one transaction: do is given the transaction and returns the answer, which
// is stored with the write. Sent again, the stored answer is replayed. A 402 or 409 Problem that do
// returns rolls its writes back and is stored as the final outcome; every other error is not stored.
func Once(w http.ResponseWriter, r *http.Request, db *sqldb.DB, body []byte, now time.Time, do func(tx *sqldb.Tx) (Answer, error)) error {
	request, err := ReadRequest(r, body)
	if err != nil {
		return err
	}
	ctx := r.Context()
	var (
		stored *Stored
		answer Answer
	)
	claim := func(tx *sqldb.Tx) (first bool, err error) {
		stored, err = request.Claim(ctx, tx, 0, time.Time{}, now)
		return stored == nil, err
	}
	err = db.Tx(ctx, func(tx *sqldb.Tx) error {
		first, err := claim(tx)
		if err != nil || !first {
			return err
		}
		if answer, err = do(tx); err != nil {
			return err
		}
		return request.Store(ctx, tx, answer)
	})
	if p, ok := errors.AsType[*api.Problem](err); ok && (p.Status == http.StatusConflict || p.Status == http.StatusPaymentRequired) {
		errStore := db.Tx(ctx, func(tx *sqldb.Tx) error {
			first, err := claim(tx)
			if err != nil || !first {
				return err
			}
			return request.Store(ctx, tx, Answer{Status: p.Status, Body: p})
		})
		if errStore != nil {
			return errStore
		}
		if stored == nil {
			return p
		}
	} else if err != nil {
		return err
	}
	if stored != nil {
		return Replay(w, *stored)
	}
	return Write(w, answer)
}

// Write answers with an answer that was stored or made just now.
func Write(w http.ResponseWriter, answer Answer) error {
	if answer.Location != "" {
		w.Header().Set("Location", answer.Location)
	}
	return web.JSON(w, answer.Status, answer.Body)
}

// Replay answers with a stored answer and the header Idempotency-Replayed. Without a final answer it is
// a 409 that asks to come back.
func Replay(w http.ResponseWriter, stored Stored) error {
	if stored.Status == 0 {
		return Busy()
	}
	w.Header().Set("Idempotency-Replayed", "true")
	return WriteStored(w, stored)
}

// WriteStored answers with a final answer that was stored for this very request.
func WriteStored(w http.ResponseWriter, stored Stored) error {
	if stored.Status >= 400 {
		return api.ParseProblem(stored.Status, stored.Body)
	}
	return Write(w, Answer{Status: stored.Status, Location: stored.Location, Body: stored.Body})
}

// Busy is the answer while the first request under a key is still being worked on.
func Busy() error {
	p := api.Conflict("the first request with this Idempotency-Key is still being worked on")
	p.RetryAfter = time.Second
	return p
}

// How often keys whose time has passed are removed, and how long that may take.
const (
	forgetEvery  = time.Hour
	forgetAtMost = time.Minute
)

// Forget removes keys whose time has passed, at once and every hour, until ctx ends. A service that
// takes keys runs it in the background.
func Forget(ctx context.Context, db *sqldb.DB, now func() time.Time, log *slog.Logger) {
	for {
		if err := forget(ctx, db, now()); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "cannot remove old idempotency keys", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(forgetEvery):
		}
	}
}

func forget(ctx context.Context, db *sqldb.DB, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, forgetAtMost)
	defer cancel()
	return db.Tx(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM idempotency_keys WHERE created_at < ?`, sqldb.Instant(now.Add(-keyLife)))
		return err
	})
}
