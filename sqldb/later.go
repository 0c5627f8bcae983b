package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// The statements of one round trip are separated by this; no statement of ours holds it.
const nextStatement = ";\n"

// commitStatement ends a round trip that commits.
const commitStatement = nextStatement + "COMMIT"

// statement is one that was left for later.
type statement struct {
	query string
	args  []any
	one   error  // unless it matches exactly one row; nil when any number will do
	id    *int64 // where the id goes that the engine gives the row; nil when nobody asks
}

// Later writes something of which nobody needs to know how many rows it changed. On MySQL it travels with
// the next statement or with the commit, and so do its errors: most of what a short transaction costs is
// the way to the server. On SQLite there is no way, and it runs at once.
func (tx *Tx) Later(ctx context.Context, query string, args ...any) error {
	return tx.leave(ctx, statement{query: query, args: args})
}

// LaterOne is [Tx.Later] for a change of exactly one row. With any other number the transaction fails with
// otherwise: at the next statement, or before the commit.
func (tx *Tx) LaterOne(ctx context.Context, otherwise error, query string, args ...any) error {
	return tx.leave(ctx, statement{query: query, args: args, one: otherwise})
}

// LaterInsert is [Tx.Later] for one new row. The id that the engine gives it is in id after the next
// statement, [Tx.Flush] or the end of the transaction.
func (tx *Tx) LaterInsert(ctx context.Context, id *int64, query string, args ...any) error {
	return tx.leave(ctx, statement{query: query, args: args, id: id})
}

func (tx *Tx) leave(ctx context.Context, s statement) error {
	defer tx.db.timed(s.query, s.args, time.Now())
	tx.later = append(tx.later, s)
	if tx.db.batches {
		return nil
	}
	return tx.Flush(ctx)
}

// guard fails, as one of the statements of a round trip, unless the one before it was of exactly one row: the
// sum is more than a BIGINT holds (MySQL 8.4 and MariaDB: error 1690). What stands behind it does not run then,
// so that a commit can travel with changes that it depends on. ROW_COUNT() is what the protocol tells of a
// statement, and so counts rows that are matched.
const guard = `SET @one = 9223372036854775807 + (ROW_COUNT() <> 1)`

// mysqlOutOfRange is the number of the guard's error.
const mysqlOutOfRange = 1690

// tryGuard finds out whether a server knows the guard, which must fail behind a statement of no row.
func tryGuard(ctx context.Context, db *sql.DB) bool {
	_, err := db.ExecContext(ctx, "DO 0"+nextStatement+guard)
	return isOutOfRange(err)
}

func isOutOfRange(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && e.Number == mysqlOutOfRange
}

// exec runs a statement with those that were left for later in front of it.
func (tx *Tx) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	tx.later = append(tx.later, statement{query: query, args: args})
	return tx.together(ctx)
}

// Flush runs what was left for later.
func (tx *Tx) Flush(ctx context.Context) error {
	if len(tx.later) == 0 {
		return nil
	}
	_, err := tx.together(ctx)
	return mapError(err)
}

// together runs what was left for later in one round trip, and returns the result of the last. A change that
// is not of one row keeps what stands behind it from running, where the server knows the guard.
func (tx *Tx) together(ctx context.Context) (sql.Result, error) {
	statements := tx.later
	tx.later = nil
	var (
		queries []string
		args    []any
		ones    []error
		asked   bool
		place   = make([]int, len(statements))
	)
	for i, s := range statements {
		place[i] = len(queries)
		queries = append(queries, s.query)
		args = append(args, s.args...)
		asked = asked || s.one != nil || s.id != nil
		if s.one != nil && tx.db.guards {
			queries = append(queries, guard)
			ones = append(ones, s.one)
		}
	}
	var each outcomes
	if asked {
		args = append(args, &each)
	}
	result, err := tx.tx.ExecContext(ctx, strings.Join(queries, nextStatement), args...)
	if ones != nil && isOutOfRange(err) {
		return nil, errors.Join(ones...) // which of them it was the server does not tell
	}
	if err != nil || !asked {
		return result, err
	}
	for i, s := range statements {
		if s.one != nil && each.rows[place[i]] != 1 {
			return nil, s.one
		}
		if s.id != nil {
			*s.id = each.ids[place[i]]
		}
	}
	return result, nil
}

// outcomes is what came of each statement of a round trip. It goes to the connection as one more argument,
// because database/sql passes on only what came of the last.
type outcomes struct{ rows, ids []int64 }

// of takes in the result of a driver.
func (o *outcomes) of(result driver.Result) error {
	if all, ok := result.(mysql.Result); ok {
		o.rows, o.ids = all.AllRowsAffected(), all.AllLastInsertIds()
		return nil
	}
	rows, err := result.RowsAffected()
	if err != nil {
		return err
	}
	id, err := result.LastInsertId()
	o.rows, o.ids = []int64{rows}, []int64{id}
	return err
}

// commit ends the transaction. Once it is on its way it is not called back when ctx ends: whether it
// arrived would be unknown.
func (tx *Tx) commit(ctx context.Context) error {
	err := ctx.Err()
	if err == nil && !tx.db.guards && slices.ContainsFunc(tx.later, func(s statement) bool { return s.one != nil }) {
		err = tx.Flush(ctx) // what is wrong must be known before
	}
	batch := len(tx.later) > 0
	switch {
	case err != nil:
	case batch:
		tx.later = append(tx.later, statement{query: "COMMIT"})
		_, err = tx.together(context.WithoutCancel(ctx))
	default:
		err = tx.tx.Commit()
	}
	if err != nil {
		_ = tx.tx.Rollback() // the error that led here is the one to report
		if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
			err = ctx.Err() // that is why database/sql has rolled it back already
		}
		return fmt.Errorf("commit: %w", mapError(err))
	}
	if batch {
		_ = tx.tx.Commit() // it is durable; this gives the connection back, unless that was done as ctx ended
	}
	return nil
}
