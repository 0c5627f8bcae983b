package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// maxPrepared is how many statements one connection keeps prepared: more than any service runs often,
// and few enough that many connections stay below what a server allows (max_prepared_stmt_count).
const maxPrepared = 48

// maxArgs is the most arguments of a statement that is prepared. One with more is of many rows, and does not
// come again with as many.
const maxArgs = 100

// mysqlTooManyPrepared is the number of MySQL's error at that limit.
const mysqlTooManyPrepared = 1461

// preparing is a connector whose connections prepare a statement once and run it again by its handle:
// parsing is a large part of what a short statement costs, on both engines.
type preparing struct {
	driver.Connector
	// begun tells that the connection has autocommit off: transactions need no statement to begin.
	begun bool
}

// Connect implements driver.Connector.
func (c preparing) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &preparedConn{Conn: conn, begun: c.begun, statements: map[string]*prepared{}}, nil
}

// preparedConn is a connection that keeps its statements. database/sql uses it from one goroutine at a
// time, and this package closes the rows of a query before its next statement.
type preparedConn struct {
	driver.Conn
	begun      bool
	committed  bool // by the statement before
	statements map[string]*prepared
	uses       int64     // counts, to tell which statement was used last
	refused    bool      // the server prepares no more
	asked      *outcomes // where those of the next statements go
}

type prepared struct {
	driver.Stmt
	used int64
}

// statement is query prepared; nil when it is to be run as text.
func (c *preparedConn) statement(ctx context.Context, query string, args []driver.NamedValue) (*prepared, error) {
	c.uses++
	if s, ok := c.statements[query]; ok {
		s.used = c.uses
		return s, nil
	}
	if c.refused || len(args) == 0 || len(args) > maxArgs || strings.HasPrefix(query, "PRAGMA") || strings.Contains(query, nextStatement) {
		return nil, nil
	}
	stmt, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	if tooMany, ok := errors.AsType[*mysql.MySQLError](err); ok && tooMany.Number == mysqlTooManyPrepared {
		c.refused = true
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(c.statements) >= maxPrepared {
		if err := c.forget(); err != nil {
			return nil, errors.Join(err, stmt.Close())
		}
	}
	s := &prepared{stmt, c.uses}
	c.statements[query] = s
	return s, nil
}

// forget closes the statement that was not used for the longest time.
func (c *preparedConn) forget() error {
	var oldest string
	for query, s := range c.statements {
		if oldest == "" || s.used < c.statements[oldest].used {
			oldest = query
		}
	}
	err := c.statements[oldest].Close()
	delete(c.statements, oldest)
	return err
}

// ExecContext implements driver.ExecerContext.
func (c *preparedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	asked := c.asked
	c.asked = nil
	s, err := c.statement(ctx, query, args)
	if err != nil {
		return nil, err
	}
	var result driver.Result
	if s == nil {
		result, err = c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
		c.committed = err == nil && strings.HasSuffix(query, commitStatement)
	} else {
		result, err = s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
	}
	if err == nil && asked != nil {
		err = asked.of(result)
	}
	return result, err
}

// QueryContext implements driver.QueryerContext.
func (c *preparedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.statement(ctx, query, args)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
	}
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *preparedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

// BeginTx implements driver.ConnBeginTx.
func (c *preparedConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c.begun {
		c.committed = false
		return begunTx{c}, nil
	}
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

// begunTx is a transaction that began with its first statement.
type begunTx struct{ *preparedConn }

// Commit implements driver.Tx.
func (t begunTx) Commit() error {
	if t.committed {
		return nil
	}
	_, err := t.ExecContext(context.Background(), "COMMIT", nil)
	return err
}

// Rollback implements driver.Tx.
func (t begunTx) Rollback() error {
	_, err := t.ExecContext(context.Background(), "ROLLBACK", nil)
	return err
}

// Ping implements driver.Pinger.
func (c *preparedConn) Ping(ctx context.Context) error { return c.Conn.(driver.Pinger).Ping(ctx) }

// ResetSession implements driver.SessionResetter.
func (c *preparedConn) ResetSession(ctx context.Context) error {
	return c.Conn.(driver.SessionResetter).ResetSession(ctx)
}

// IsValid implements driver.Validator.
func (c *preparedConn) IsValid() bool { return c.Conn.(driver.Validator).IsValid() }

// CheckNamedValue implements driver.NamedValueChecker.
func (c *preparedConn) CheckNamedValue(value *driver.NamedValue) error {
	if asked, ok := value.Value.(*outcomes); ok {
		c.asked = asked
		return driver.ErrRemoveArgument
	}
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(value)
	}
	return driver.ErrSkip
}

// Close closes the statements with the connection: SQLite holds a file open until both are.
func (c *preparedConn) Close() error {
	var failed []error
	for _, s := range c.statements {
		failed = append(failed, s.Close())
	}
	return errors.Join(append(failed, c.Conn.Close())...)
}
