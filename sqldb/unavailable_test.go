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
	"testing/synctest"
	"time"

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

// TestDialAgain: an attempt to connect that is not answered is given up for another, and one that is refused is the answer.
func TestDialAgain(t *testing.T) {
	t.Parallel()
	silent := func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for name, c := range map[string]struct {
		third func(context.Context) (net.Conn, error)
		want  error
		took  time.Duration
	}{
		"the third attempt connects": {func(context.Context) (net.Conn, error) { return &net.TCPConn{}, nil }, nil, 2 * tryFor},
		"the third is refused":       {func(context.Context) (net.Conn, error) { return nil, refused }, refused, 2 * tryFor},
		"nobody ever answers":        {silent, context.DeadlineExceeded, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began, attempts := time.Now(), 0
				conn, err := dialAgain(ctx, func(ctx context.Context) (net.Conn, error) {
					if attempts++; attempts < 3 {
						return silent(ctx)
					}
					return c.third(ctx)
				})
				if took := time.Since(began); !errors.Is(err, c.want) || (conn != nil) != (c.want == nil) || took != c.took {
					t.Errorf("%v, %v after %v, want %v after %v", conn, err, took, c.want, c.took)
				}
			})
		})
	}
}
