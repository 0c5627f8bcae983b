package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"tienda/fault"
)

// Errors that both engines give, whatever their drivers say.
var (
	ErrNotFound  = errors.New("no such row")
	ErrConflict  = errors.New("a row with this key exists")
	ErrReference = errors.New("a row refers to this one, or the row referred to does not exist")
)

// unavailable is an error of a database that cannot be reached: nothing is wrong with what was asked, and
// the same may succeed in a moment. Whether a write that was under way took effect is unknown.
type unavailable struct{ error }

// Unavailable tells such an error from all others, also to those who must not know this package.
func (unavailable) Unavailable() bool { return true }

// Unwrap gives what the driver said.
func (u unavailable) Unwrap() error { return u.error }

// Querier reads: a [DB] outside, a [Tx] inside a transaction.
type Querier interface {
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) Row
}

// Tx is a transaction under way. It must not be kept beyond the function it was given to.
type Tx struct {
	tx *sql.Tx
	db *DB

	later []statement // see [Tx.Later]
}

// Row is the answer of QueryRow. Scan maps errors as all of this package does.
type Row struct {
	row *sql.Row
	err error // of what had to run before
}

// Scan copies the columns into dest; no row is [ErrNotFound].
func (r Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	return mapError(r.row.Scan(dest...))
}

// attempts bounds how often a transaction runs when the engine picks it as a deadlock's victim.
const attempts = 8

// Tx runs do in one transaction and commits it: it is the only way to write. An error of do rolls
// back and is returned as it is. When the engine gave up a transaction for a deadlock or a lock wait
// (MySQL 1213 and 1205, SQLITE_BUSY) all of do runs again, so do must not have effects elsewhere.
//
// An error of the commit itself leaves open whether the rows were written: callers that must know
// read back by their idempotency key.
func (db *DB) Tx(ctx context.Context, do func(*Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := db.txOnce(ctx, do)
		if err == nil || attempt == attempts || !givenUp(err) {
			return err
		}
		pause := time.Duration(attempt) * time.Duration(1+rand.IntN(10)) * time.Millisecond
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}

func (db *DB) txOnce(ctx context.Context, do func(*Tx) error) error {
	start := time.Now()
	defer func() { db.observe("transaction", time.Since(start)) }()
	sqlTx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", mapError(err))
	}
	done := false
	defer func() {
		if !done {
			_ = sqlTx.Rollback() // the error that led here is the one to report
		}
	}()
	tx := &Tx{tx: sqlTx, db: db}
	if err := do(tx); err != nil {
		return err
	}
	done = true
	fault.BeforeCommit()
	if err := tx.commit(ctx); err != nil {
		return err
	}
	fault.AfterCommit()
	return nil
}

// Query reads rows outside of a transaction; the caller closes them. [All] is shorter.
func (db *DB) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	defer db.timed(query, args, time.Now())
	rows, err := db.read.QueryContext(ctx, query, args...) //nolint:sqlclosecheck // the caller closes
	return rows, mapError(err)
}

// QueryRow reads one row outside of a transaction.
func (db *DB) QueryRow(ctx context.Context, query string, args ...any) Row {
	defer db.timed(query, args, time.Now())
	return Row{row: db.read.QueryRowContext(ctx, query, args...)}
}

// Query reads rows inside the transaction; the caller closes them before the next statement.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := tx.Flush(ctx); err != nil {
		return nil, err
	}
	defer tx.db.timed(query, args, time.Now())
	rows, err := tx.tx.QueryContext(ctx, query, args...) //nolint:sqlclosecheck // the caller closes
	return rows, mapError(err)
}

// QueryRow reads one row inside the transaction.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) Row {
	if err := tx.Flush(ctx); err != nil {
		return Row{err: err}
	}
	defer tx.db.timed(query, args, time.Now())
	return Row{row: tx.tx.QueryRowContext(ctx, query, args...)}
}

// LockRow reads one row by a unique key and keeps everybody else from changing it until the transaction
// ends. Rows of several kinds are locked in an order that their package states, those of one kind in the
// order of their ids.
func (tx *Tx) LockRow(ctx context.Context, query string, args ...any) Row {
	return tx.QueryRow(ctx, tx.locking(query), args...)
}

// LockAll is [Tx.LockRow] for a row together with those that belong to it, each read through scan.
func LockAll[T any](ctx context.Context, tx *Tx, scan func(scan func(dest ...any) error) (T, error), query string, args ...any) ([]T, error) {
	return All(ctx, tx, scan, tx.locking(query), args...)
}

func (tx *Tx) locking(query string) string {
	if tx.db.engine == engineMySQL {
		query += " FOR UPDATE" // on SQLite a transaction is the only writer from its beginning
	}
	return query
}

// Exec writes and returns how many rows matched.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	defer tx.db.timed(query, args, time.Now())
	result, err := tx.exec(ctx, query, args)
	if err != nil {
		return 0, mapError(err)
	}
	return result.RowsAffected()
}

// Insert writes one row and returns the id that the engine gave it.
func (tx *Tx) Insert(ctx context.Context, query string, args ...any) (int64, error) {
	defer tx.db.timed(query, args, time.Now())
	result, err := tx.exec(ctx, query, args)
	if err != nil {
		return 0, mapError(err)
	}
	return result.LastInsertId()
}

// All reads every row of a query through scan, which is given the row's Scan method.
// The result is never nil, so that an empty list is "[]" in JSON.
func All[T any](ctx context.Context, q Querier, scan func(scan func(dest ...any) error) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []T{}
	for rows.Next() {
		row, err := scan(rows.Scan)
		if err != nil {
			return nil, mapError(err)
		}
		list = append(list, row)
	}
	return list, mapError(rows.Err())
}

// In returns "?,?,…" for n values, for "IN (" + In(len(ids)) + ")"; n must be at least 1.
func In(n int) string { return strings.TrimSuffix(strings.Repeat("?,", n), ",") }

// Args puts values of one type behind others as the arguments of a statement with [In].
func Args[T any](values []T, before ...any) []any {
	args := append(make([]any, 0, len(before)+len(values)), before...)
	for _, value := range values {
		args = append(args, value)
	}
	return args
}

// Instant stores a time as UTC microseconds in a BIGINT column, so that both engines order and
// compare it alike. The zero time is NULL.
type Instant time.Time

// Value implements driver.Valuer.
func (i Instant) Value() (driver.Value, error) {
	if time.Time(i).IsZero() {
		return nil, nil
	}
	return time.Time(i).UnixMicro(), nil
}

// Scan implements sql.Scanner.
func (i *Instant) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*i = Instant{}
	case int64:
		*i = Instant(time.UnixMicro(v).UTC())
	default:
		return fmt.Errorf("instant: column holds %T, want BIGINT microseconds", src)
	}
	return nil
}

func (db *DB) timed(query string, args []any, start time.Time) {
	db.statement(query, args)
	op, _, _ := strings.Cut(strings.TrimSpace(query), " ")
	db.observe(strings.ToLower(op), time.Since(start))
}

// Numbers of MySQL's errors (MySQL 8.4 Error Message Reference, server errors).
const (
	mysqlTooManyConnections = 1040
	mysqlShutdown           = 1053
	mysqlDuplicateKey       = 1062
	mysqlLockWaitTimeout    = 1205
	mysqlDeadlock           = 1213
	mysqlRowIsReferenced    = 1451
	mysqlNoReferencedRow    = 1452
	mariadbRecordHasMoved   = 1020
)

func mapError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	if _, ok := errors.AsType[*net.OpError](err); ok || errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) {
		return unavailable{err}
	}
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		switch e.Number {
		case mysqlTooManyConnections, mysqlShutdown:
			return unavailable{err}
		case mysqlDuplicateKey:
			return fmt.Errorf("%w: %w", ErrConflict, err)
		case mysqlRowIsReferenced, mysqlNoReferencedRow:
			return fmt.Errorf("%w: %w", ErrReference, err)
		}
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			return fmt.Errorf("%w: %w", ErrConflict, err)
		case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
			return fmt.Errorf("%w: %w", ErrReference, err)
		}
	}
	return err
}

// givenUp reports whether the engine ended the transaction for reasons that running it again cures.
func givenUp(err error) bool {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number == mysqlDeadlock || e.Number == mysqlLockWaitTimeout || e.Number == mariadbRecordHasMoved
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()&0xff == sqlite3.SQLITE_BUSY
	}
	return false
}

// Count counts the rows of a query that selects anything, up to most+1: counting all of a large table
// would cost more than the page that is shown.
func Count(ctx context.Context, q Querier, most int, query string, args ...any) (int64, error) {
	var n int64
	err := q.QueryRow(ctx, "SELECT COUNT(*) FROM ("+query+" LIMIT "+strconv.Itoa(most+1)+") AS counted", args...).Scan(&n)
	return n, err
}
