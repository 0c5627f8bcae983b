package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The statements of one round trip are separated by this; no statement of ours holds it.
const nextStatement = ";\n"

// commitStatement ends a round trip that commits.
const commitStatement = nextStatement + "COMMIT"

// Later writes something of which nobody needs to know how many rows it changed. On MySQL it travels with
// the next statement or with the commit, and so do its errors: most of what a short transaction costs is
// the way to the server. On SQLite there is no way, and it runs at once.
func (tx *Tx) Later(ctx context.Context, query string, args ...any) error {
	if !tx.db.batches {
		_, err := tx.Exec(ctx, query, args...)
		return err
	}
	defer tx.db.timed(query, args, time.Now())
	tx.later, tx.laterArgs = append(tx.later, query), append(tx.laterArgs, args...)
	return nil
}

// exec runs a statement with those that were left for later in front of it.
func (tx *Tx) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	return tx.together(ctx, append(tx.later, query), append(tx.laterArgs, args...))
}

// together runs statements in one round trip; nothing is left for later then.
func (tx *Tx) together(ctx context.Context, statements []string, args []any) (sql.Result, error) {
	tx.later, tx.laterArgs = nil, nil
	return tx.tx.ExecContext(ctx, strings.Join(statements, nextStatement), args...)
}

// flush runs what was left for later.
func (tx *Tx) flush(ctx context.Context) error {
	if len(tx.later) == 0 {
		return nil
	}
	_, err := tx.together(ctx, tx.later, tx.laterArgs)
	return err
}

// commit ends the transaction. Once it is on its way it is not called back when ctx ends: whether it
// arrived would be unknown.
func (tx *Tx) commit(ctx context.Context) error {
	err := ctx.Err()
	batch := len(tx.later) > 0
	switch {
	case !batch:
		err = tx.tx.Commit()
	case err == nil:
		_, err = tx.exec(context.WithoutCancel(ctx), "COMMIT", nil)
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
