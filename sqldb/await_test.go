package sqldb

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestAwait: what starts in a pod is not over because it does not get through at once; what is no passing error is told at once.
func TestAwait(t *testing.T) {
	t.Parallel()
	silent := &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	there := &DB{}
	for name, c := range map[string]struct {
		answers []error // the last again and again; nil connects
		tries   int
		want    error
	}{
		"it answers the third time": {[]error{silent, silent, nil}, 3, nil},
		"it refuses":                {[]error{refused}, 1, refused},
		"it refuses in the end":     {[]error{silent, refused}, 2, refused},
		"it never answers":          {[]error{silent}, 11, silent}, // five seconds each, and a pause, within a minute
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tries, told := 0, 0
				s, err := Await(t.Context(), time.Minute, Silent, func(error) { told++ }, func(context.Context) (*DB, error) {
					answer := c.answers[min(tries, len(c.answers)-1)]
					tries++
					if answer != nil {
						time.Sleep(5 * time.Second)
						return nil, answer
					}
					return there, nil
				})
				if Unreachable(err) != (err != nil) || Silent(err) != (err == error(silent)) {
					t.Errorf("%v counts as unreachable %t, silent %t", err, Unreachable(err), Silent(err))
				}
				if !errors.Is(err, c.want) || (s == there) != (c.want == nil) || tries != c.tries || told != tries-1 {
					t.Errorf("%v, %v after %d tries, %d of them told; want %v after %d", s, err, tries, told, c.want, c.tries)
				}
			})
		})
	}
}
