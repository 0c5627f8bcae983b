package sqldb

import (
	"context"
	"errors"
	"net"
	"time"
)

// Silent reports whether nobody answered at a server's address, neither yes nor no: it may be about to come up, or this process may not get
// through to it yet, as in a pod that has just started.
func Silent(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// Unreachable reports whether no server was reached: nobody answered, or nobody listens.
func Unreachable(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok
}

// Await opens something at a database server, and again after a second while the error is a passing one, until patience is over. told, unless it is nil,
// hears of each error after which it goes on.
func Await[T any](ctx context.Context, patience time.Duration, passing func(error) bool, told func(error), open func(context.Context) (T, error)) (T, error) {
	for end := time.Now().Add(patience); ; {
		opened, err := open(ctx)
		if err == nil || !passing(err) || ctx.Err() != nil || !time.Now().Before(end) {
			return opened, err
		}
		if told != nil {
			told(err)
		}
		select {
		case <-ctx.Done():
			return opened, err
		case <-time.After(time.Second):
		}
	}
}
