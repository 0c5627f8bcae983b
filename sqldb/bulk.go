package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	"modernc.org/sqlite"
)

// ErrInUse is what [Open] for [Config.Bulk] gives when somebody else has the database open.
var ErrInUse = errors.New("the database is in use")

// openBulkSQLite opens a file for one writer who has it alone. Its rollback journal holds only pages that
// were there before, so that new rows are written once and not twice as through the WAL; and a large page
// cache keeps the indexes that rows come to in no order.
func (db *DB) openBulkSQLite(ctx context.Context, path string) error {
	// Nobody can have left the WAL while somebody else has the file open, which is how that is found out.
	pragmas := "_pragma=busy_timeout(0)&_pragma=locking_mode(EXCLUSIVE)&_pragma=journal_mode(TRUNCATE)&_pragma=synchronous(OFF)" +
		"&_pragma=foreign_keys(0)&_pragma=cache_size(-131072)&_pragma=temp_store(MEMORY)"
	writer, err := sqlite.NewConnector("file:" + url.PathEscape(path) + "?_txlock=exclusive&" + pragmas)
	if err != nil {
		return fmt.Errorf("open database %s: %w", path, err)
	}
	db.engine = engineSQLite
	db.write = sql.OpenDB(preparing{writer, false})
	db.write.SetMaxOpenConns(1)
	db.read = db.write
	var mode string
	err = db.write.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode)
	if err == nil && mode != "truncate" || givenUp(err) {
		err = ErrInUse
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open database %s: %w", path, err), db.write.Close())
	}
	return nil
}

// alone is [ErrInUse] when a connection of somebody else uses the schema. An account that may not see the
// connections of others finds none.
func (db *DB) alone(ctx context.Context) error {
	// Connections that this process closed a moment ago may still be listed.
	for attempt := 1; ; attempt++ {
		var others int
		err := db.write.QueryRowContext(ctx, `SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()`).Scan(&others)
		if err != nil {
			return fmt.Errorf("look who else uses the database: %w", err)
		}
		if others == 0 {
			return nil
		}
		if attempt == attempts {
			return ErrInUse
		}
		time.Sleep(time.Duration(attempt) * 20 * time.Millisecond)
	}
}
