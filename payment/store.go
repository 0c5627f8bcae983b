package payment

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/sqldb"
)

const recordColumns = `payment_id, order_id, user_id, is_payed, payment_status, state, amount, capture_reserved,
	captured_amount, refund_reserved, refunded_amount, currency, provider, provider_reference, failure_code`

func scanRecord(scan func(...any) error) (record, error) {
	var p record
	err := scan(&p.id, &p.orderID, &p.userID, &p.paid, &p.status, &p.state, &p.amount, &p.captureReserved,
		&p.captured, &p.refundReserved, &p.refunded, &p.currency, &p.provider, &p.providerReference, &p.failCode)
	return p, err
}

func notFound(id api.ID) error { return api.NotFound("Payment with id: %d not found", id) }

// What the condition on whose a row is looks at. Beside ids, which find the rows, the column is kept from choosing
// the index, or SQLite reads all that a customer ever paid.
const (
	byOwner  = "user_id"
	notOwner = "user_id + 0"
)

// visible is the predicate of the rows that a caller may see; owner is one of the constants above.
func visible(caller auth.Caller, owner string) (where string, args []any) {
	if caller.SeesAll() {
		return "state <> '" + pending + "'", nil
	}
	return "state <> '" + pending + "' AND " + owner + " = ?", []any{int64(caller.UserID)}
}

func recordByID(ctx context.Context, q sqldb.Querier, id api.ID) (record, error) {
	p, err := scanRecord(q.QueryRow(ctx, `SELECT `+recordColumns+` FROM payments WHERE payment_id = ?`, int64(id)).Scan)
	if errors.Is(err, sqldb.ErrNotFound) {
		return p, notFound(id)
	}
	return p, err
}

// visibleRecord is the payment if the caller may see it.
func visibleRecord(ctx context.Context, q sqldb.Querier, caller auth.Caller, id api.ID) (record, error) {
	where, args := visible(caller, notOwner)
	p, err := scanRecord(q.QueryRow(ctx, `SELECT `+recordColumns+` FROM payments WHERE `+where+` AND payment_id = ?`,
		append(args, int64(id))...).Scan)
	if errors.Is(err, sqldb.ErrNotFound) {
		return p, notFound(id)
	}
	return p, err
}

// filter is which payments a list shows.
type filter struct {
	column string
	ids    []api.ID
}

// where is the condition of several filters together with what the caller may see.
func where(caller auth.Caller, filters []filter) (clause string, args []any) {
	owner := byOwner
	if len(filters) > 0 {
		owner = notOwner
	}
	clause, args = visible(caller, owner)
	for _, f := range filters {
		if len(f.ids) == 0 {
			return clause + " AND 1 = 0", args
		}
		clause += " AND " + f.column + " IN (" + sqldb.In(len(f.ids)) + ")"
		args = sqldb.Args(f.ids, args...)
	}
	return clause, args
}

// insertRecord writes a payment; look is when to look whether an order stands behind its money, zero for never.
func insertRecord(ctx context.Context, tx *sqldb.Tx, p record, look, now time.Time) (api.ID, error) {
	id, err := tx.Insert(ctx, `INSERT INTO payments (order_id, user_id, is_payed, payment_status, state, amount, capture_reserved,
		captured_amount, refund_reserved, refunded_amount, currency, provider, provider_reference, failure_code, look_at, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(p.orderID), int64(p.userID), p.paid, p.status, p.state, p.amount, p.captureReserved, p.captured, p.refundReserved,
		p.refunded, p.currency, p.provider, p.providerReference, p.failCode, instantOrZero(look), sqldb.Instant(now), sqldb.Instant(now))
	if err != nil {
		return 0, fmt.Errorf("insert payment of order %d: %w", p.orderID, err)
	}
	return api.ID(id), nil
}

// lockRecord reads a payment that nobody else changes until the transaction ends.
func lockRecord(ctx context.Context, tx *sqldb.Tx, id api.ID) (record, error) {
	p, err := scanRecord(tx.LockRow(ctx, `SELECT `+recordColumns+` FROM payments WHERE payment_id = ?`, int64(id)).Scan)
	if errors.Is(err, sqldb.ErrNotFound) {
		return p, notFound(id)
	}
	return p, err
}

// errChanged is the error of a write in place of something that is no longer what was read.
var errChanged = errors.New("it has changed since it was read")

// saveMoney writes what an operation changed of a payment. One that something else has changed since it was
// read makes the transaction errChanged.
func saveMoney(ctx context.Context, tx *sqldb.Tx, was, is record, now time.Time) error {
	err := tx.LaterOne(ctx, fmt.Errorf("save payment %d: %w", was.id, errChanged), `UPDATE payments SET state = ?, is_payed = ?, payment_status = ?, capture_reserved = ?, captured_amount = ?,
		refund_reserved = ?, refunded_amount = ?, provider_reference = ?, failure_code = ?, updated_at = ?
		WHERE payment_id = ? AND state = ? AND capture_reserved = ? AND captured_amount = ? AND refund_reserved = ? AND refunded_amount = ?`,
		is.state, is.paid, is.status, is.captureReserved, is.captured, is.refundReserved, is.refunded, is.providerReference, is.failCode,
		sqldb.Instant(now), int64(was.id), was.state, was.captureReserved, was.captured, was.refundReserved, was.refunded)
	if err != nil {
		return fmt.Errorf("save payment %d: %w", was.id, err)
	}
	return nil
}

// updatePlain writes the fields that are there to a plain row and reports whether there is one.
func updatePlain(ctx context.Context, tx *sqldb.Tx, p record, now time.Time) (bool, error) {
	n, err := tx.Exec(ctx, `UPDATE payments SET is_payed = COALESCE(?, is_payed), payment_status = COALESCE(?, payment_status),
		user_id = CASE WHEN ? IN (0, order_id) THEN user_id ELSE ? END, order_id = CASE WHEN ? = 0 THEN order_id ELSE ? END, updated_at = ?
		WHERE payment_id = ? AND state = ''`,
		p.paid, p.status, int64(p.orderID), int64(p.userID), int64(p.orderID), int64(p.orderID), sqldb.Instant(now), int64(p.id))
	if err != nil {
		return false, fmt.Errorf("update payment %d: %w", p.id, err)
	}
	return n == 1, nil
}

func deletePlain(ctx context.Context, tx *sqldb.Tx, id api.ID) (bool, error) {
	n, err := tx.Exec(ctx, `DELETE FROM payments WHERE payment_id = ? AND state = ''`, int64(id))
	if err != nil {
		return false, fmt.Errorf("delete payment %d: %w", id, err)
	}
	return n == 1, nil
}

// operation is one row of payment_operations: one movement of money from when it is asked for until
// the provider said what came of it.
type operation struct {
	id           api.ID
	paymentID    api.ID
	kind         Kind
	requestKey   string // who asked for it, under which Idempotency-Key; unique
	providerKey  string // the key the provider knows it by; unique
	amount       int64
	reason       string
	token        string // of the card; blank once there is an outcome
	state        string
	failCode     string
	status       int    // of the stored answer; 0 while there is none
	answer       string // JSON
	attempts     int
	busyTo, next time.Time
	begun        time.Time

	payment record // as it was when the operation began; empty when the operation was read
}

// States of an operation.
const (
	operationPending = "PENDING"
	operationDone    = "DONE"
	operationFailed  = "FAILED"
)

const operationColumns = `operation_id, payment_id, kind, request_key, provider_key, amount, reason, token, state, failure_code,
	status, answer, attempts, busy_until, retry_at, created_at`

func scanOperation(scan func(...any) error) (operation, error) {
	var op operation
	err := scan(&op.id, &op.paymentID, &op.kind, &op.requestKey, &op.providerKey, &op.amount, &op.reason, &op.token, &op.state,
		&op.failCode, &op.status, &op.answer, &op.attempts, (*sqldb.Instant)(&op.busyTo), (*sqldb.Instant)(&op.next),
		(*sqldb.Instant)(&op.begun))
	return op, err
}

// operationBy reads the operation that a unique column names.
func operationBy(ctx context.Context, q sqldb.Querier, column string, value any) (operation, error) {
	op, err := scanOperation(q.QueryRow(ctx, `SELECT `+operationColumns+` FROM payment_operations WHERE `+column+` = ?`, value).Scan)
	if err != nil {
		return op, fmt.Errorf("operation with %s %v: %w", column, value, err)
	}
	return op, nil
}

// voidOf reads the void of a payment that was made or may yet be.
func voidOf(ctx context.Context, q sqldb.Querier, payment api.ID) (operation, error) {
	op, err := scanOperation(q.QueryRow(ctx, `SELECT `+operationColumns+` FROM payment_operations
		WHERE payment_id = ? AND kind = '`+string(KindVoid)+`' AND state <> '`+operationFailed+`' ORDER BY operation_id DESC LIMIT 1`, int64(payment)).Scan)
	if err != nil {
		return op, fmt.Errorf("void of payment %d: %w", payment, err)
	}
	return op, nil
}

// insertOperation writes an operation; op.id is known after the next statement.
func insertOperation(ctx context.Context, tx *sqldb.Tx, op *operation, now time.Time) error {
	err := tx.LaterInsert(ctx, (*int64)(&op.id), `INSERT INTO payment_operations (payment_id, kind, request_key, provider_key, amount, reason, token,
		state, failure_code, status, answer, attempts, busy_until, retry_at, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, '`+operationPending+`', '', 0, '', 1, ?, ?, ?, ?)`,
		int64(op.paymentID), op.kind, op.requestKey, op.providerKey, op.amount, op.reason, op.token,
		sqldb.Instant(op.busyTo), sqldb.Instant(op.busyTo), sqldb.Instant(now), sqldb.Instant(now))
	if err != nil {
		return fmt.Errorf("insert operation on payment %d: %w", op.paymentID, err)
	}
	return nil
}

// leaseOperation takes an operation that nobody is working on and reports whether it could.
func leaseOperation(ctx context.Context, tx *sqldb.Tx, id api.ID, until, now time.Time) (bool, error) {
	n, err := tx.Exec(ctx, `UPDATE payment_operations SET busy_until = ?, retry_at = ?, attempts = attempts + 1, updated_at = ?
		WHERE operation_id = ? AND state = '`+operationPending+`' AND busy_until <= ?`,
		sqldb.Instant(until), sqldb.Instant(until), sqldb.Instant(now), int64(id), sqldb.Instant(now))
	return n == 1, err
}

// releaseOperation gives back an operation without an outcome: whoever asks again gets it at once, the
// background takes it from retry on.
func releaseOperation(ctx context.Context, tx *sqldb.Tx, op operation, retry, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE payment_operations SET busy_until = ?, retry_at = ?, updated_at = ?
		WHERE operation_id = ? AND state = '`+operationPending+`' AND busy_until = ?`,
		sqldb.Instant(now), sqldb.Instant(retry), sqldb.Instant(now), int64(op.id), sqldb.Instant(op.busyTo))
	return err
}

// isPending reports whether an operation has no outcome yet. Its payment is locked by the caller.
func isPending(ctx context.Context, tx *sqldb.Tx, id api.ID) (bool, error) {
	var state string
	err := tx.QueryRow(ctx, `SELECT state FROM payment_operations WHERE operation_id = ?`, int64(id)).Scan(&state)
	return state == operationPending, err
}

// endOperation records the outcome with its answer. An operation that has one makes the transaction errChanged.
func endOperation(ctx context.Context, tx *sqldb.Tx, op operation, now time.Time) error {
	return tx.LaterOne(ctx, fmt.Errorf("end operation %d: %w", op.id, errChanged), `UPDATE payment_operations SET state = ?, failure_code = ?, token = '', status = ?, answer = ?, updated_at = ?
		WHERE operation_id = ? AND state = '`+operationPending+`'`, op.state, op.failCode, op.status, op.answer, sqldb.Instant(now), int64(op.id))
}

// dueOperations are operations without an outcome that nobody is working on.
func dueOperations(ctx context.Context, q sqldb.Querier, now time.Time, most int) ([]operation, error) {
	return sqldb.All(ctx, q, scanOperation, `SELECT `+operationColumns+` FROM payment_operations
		WHERE state = '`+operationPending+`' AND retry_at <= ? ORDER BY retry_at, operation_id LIMIT ?`, sqldb.Instant(now), most)
}

// posting is one side of an entry of the ledger.
type posting struct {
	account string
	amount  int64
}

// post writes one entry. Its number is that of the operation, so that no operation is entered twice.
func post(ctx context.Context, tx *sqldb.Tx, op operation, p record, now time.Time, postings ...posting) error {
	var args []any
	for _, side := range postings {
		args = append(args, int64(op.id), side.account, side.amount, p.currency, int64(p.orderID), int64(p.id), sqldb.Instant(now))
	}
	rows := strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?, ?, ?, ?), ", len(postings)), ", ")
	err := tx.Later(ctx, `INSERT INTO ledger_postings (entry_id, account, amount, currency, order_id, payment_id, posted_at) VALUES `+rows, args...)
	if err != nil {
		return fmt.Errorf("post operation %d: %w", op.id, err)
	}
	return nil
}

// States of a provider's event.
const (
	eventWaiting = "WAITING" // for the operation that it is about
	eventApplied = "APPLIED"
	eventIgnored = "IGNORED" // it tells of no movement, or of another shop's
	eventRefused = "REFUSED" // it contradicts our books: a person should look
	eventLost    = "LOST"    // nothing it could be about has appeared
)

const eventColumns = `event_id, kind, provider_key, provider_reference, amount, currency, failure_code, declined,
	authorization_key, order_id, books`

func scanEvent(scan func(...any) error) (Event, error) {
	var (
		event   Event
		refusal Refusal
	)
	err := scan(&event.ID, &event.Kind, &event.Key, &event.Reference, &event.Amount, &event.Currency, &refusal.Code, &refusal.Declined,
		&event.Authorization, &event.OrderID, &event.Books)
	if refusal.Code != "" {
		event.Refusal = &refusal
	}
	return event, err
}

// insertEvent stores an event as it came; ErrConflict when it came before.
func insertEvent(ctx context.Context, tx *sqldb.Tx, provider string, event Event, body []byte, retry, now time.Time) error {
	var refusal Refusal
	if event.Refusal != nil {
		refusal = *event.Refusal
	}
	_, err := tx.Exec(ctx, `INSERT INTO provider_events (provider, `+eventColumns+`, body, state, attempts, retry_at, received_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '`+eventWaiting+`', 0, ?, ?)`, provider, event.ID, event.Kind, event.Key, event.Reference,
		event.Amount, event.Currency, refusal.Code, refusal.Declined, event.Authorization, int64(event.OrderID), event.Books, string(body),
		sqldb.Instant(retry), sqldb.Instant(now))
	return err
}

// moveEvent changes an event that waits and reports whether it still did.
func moveEvent(ctx context.Context, tx *sqldb.Tx, provider, id, state string, retry time.Time) (bool, error) {
	n, err := tx.Exec(ctx, `UPDATE provider_events SET state = ?, attempts = attempts + 1, retry_at = ?
		WHERE provider = ? AND event_id = ? AND state = '`+eventWaiting+`'`, state, sqldb.Instant(retry), provider, id)
	return n == 1, err
}

// waitingEvent is an event with what decides when it is looked at again.
type waitingEvent struct {
	provider string
	received time.Time
	Event
}

func dueEvents(ctx context.Context, q sqldb.Querier, now time.Time, most int) ([]waitingEvent, error) {
	return sqldb.All(ctx, q, func(scan func(...any) error) (waitingEvent, error) {
		var waiting waitingEvent
		var err error
		waiting.Event, err = scanEvent(func(dest ...any) error {
			return scan(append([]any{&waiting.provider, (*sqldb.Instant)(&waiting.received)}, dest...)...)
		})
		return waiting, err
	}, `SELECT provider, received_at, `+eventColumns+` FROM provider_events
		WHERE state = '`+eventWaiting+`' AND retry_at <= ? ORDER BY retry_at, event_id LIMIT ?`, sqldb.Instant(now), most)
}

// recordOfCharge reads the payment that an event's charge belongs to.
func recordOfCharge(ctx context.Context, tx *sqldb.Tx, event waitingEvent) (record, error) {
	if event.Authorization != "" {
		op, err := operationBy(ctx, tx, "provider_key", event.Authorization)
		if err != nil {
			return record{}, err
		}
		return recordByID(ctx, tx, op.paymentID)
	}
	if event.Reference == "" {
		return record{}, sqldb.ErrNotFound
	}
	return scanRecord(tx.QueryRow(ctx, `SELECT `+recordColumns+` FROM payments WHERE provider_reference = ? AND provider = ?`,
		event.Reference, event.provider).Scan)
}

// booksName reads the name of these books, and gives them one the first time.
func booksName(ctx context.Context, db *sqldb.DB) (string, error) {
	var name string
	read := func() error {
		return db.QueryRow(ctx, `SELECT name FROM payment_books WHERE books_id = 1`).Scan(&name)
	}
	err := read()
	if !errors.Is(err, sqldb.ErrNotFound) {
		return name, err
	}
	err = db.Tx(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO payment_books (books_id, name) VALUES (1, ?)`, rand.Text())
		return err
	})
	if err != nil && !errors.Is(err, sqldb.ErrConflict) { // another replica named them
		return "", err
	}
	return name, read()
}

// ledger reads postings, oldest first; of all orders when order is 0.
func ledger(ctx context.Context, q sqldb.Querier, currency api.Currency, order api.ID, tail string) ([]api.Posting, error) {
	clause, args := "", []any{}
	if order != 0 {
		clause, args = " WHERE order_id = ?", []any{int64(order)}
	}
	return sqldb.All(ctx, q, func(scan func(...any) error) (api.Posting, error) {
		var (
			p      api.Posting
			amount int64
		)
		err := scan(&p.Account, &amount, &p.Currency, &p.OrderID, &p.PaymentID, (*sqldb.Instant)(&p.At))
		p.Amount = currency.Amount(amount)
		return p, err
	}, `SELECT account, amount, currency, order_id, payment_id, posted_at FROM ledger_postings`+clause+tail, args...)
}

// insertDemo writes plain rows with the ids they have into an empty table.
func insertDemo(ctx context.Context, db *sqldb.DB, rows []record, now time.Time) error {
	err := db.Tx(ctx, func(tx *sqldb.Tx) error {
		if n, err := sqldb.Count(ctx, tx, 1, `SELECT payment_id FROM payments`); err != nil || n > 0 {
			return err
		}
		for _, row := range rows {
			_, err := tx.Exec(ctx, `INSERT INTO payments (`+recordColumns+`, created_at, updated_at)
				VALUES (?, ?, ?, ?, ?, '', 0, 0, 0, 0, 0, '', '', '', '', ?, ?)`, int64(row.id), int64(row.orderID), int64(row.userID),
				row.paid, row.status, sqldb.Instant(now), sqldb.Instant(now))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, sqldb.ErrConflict) {
		return nil // another replica wrote them at the same moment
	}
	return err
}

// text is a value for a nullable column.
func text(value *string) sql.NullString {
	if value == nil {
		return sql.NullString{}
	}
	return sql.NullString{String: *value, Valid: true}
}

// flag is a value for a nullable column.
func flag(value *bool) sql.NullBool {
	if value == nil {
		return sql.NullBool{}
	}
	return sql.NullBool{Bool: *value, Valid: true}
}
