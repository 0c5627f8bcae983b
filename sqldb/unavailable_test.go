package sqldb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// TestADatabaseThatIsAway: its errors are told from all others, and are still what they were.
func TestADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for _, c := range []struct {
		err  error
		away bool
	}{
		{refused, true},
		{fmt.Errorf("begin: %w", refused), true},
		{&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, true},
		{driver.ErrBadConn, true},
		{mysql.ErrInvalidConn, true},
		{&mysql.MySQLError{Number: mysqlShutdown}, true},
		{&mysql.MySQLError{Number: mysqlTooManyConnections}, true},
		{&mysql.MySQLError{Number: mysqlDeadlock}, false},
		{&mysql.MySQLError{Number: mysqlDuplicateKey}, false},
		{context.DeadlineExceeded, false},
		{context.Canceled, false},
		{io.EOF, false},
	} {
		mapped := mapError(c.err)
		var marked interface{ Unavailable() bool }
		if away := errors.As(mapped, &marked) && marked.Unavailable(); away != c.away || !errors.Is(mapped, c.err) {
			t.Errorf("mapError(%v) = %v, away = %v, want %v", c.err, mapped, away, c.away)
		}
	}
}
