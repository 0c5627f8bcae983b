package backup

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestSilentServerIsWaitedFor: a restore in a pod that has just started is not over because it does not get through at once; who is refused is told so.
func TestSilentServerIsWaitedFor(t *testing.T) {
	t.Parallel()
	silent := &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	there := &server{}
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
				tries := 0
				s, err := await(t.Context(), slog.New(slog.DiscardHandler), func(context.Context) (*server, error) {
					answer := c.answers[min(tries, len(c.answers)-1)]
					tries++
					if answer != nil {
						time.Sleep(5 * time.Second)
						return nil, answer
					}
					return there, nil
				})
				if !errors.Is(err, c.want) || (s == there) != (c.want == nil) || tries != c.tries {
					t.Errorf("%v, %v after %d tries, want %v after %d", s, err, tries, c.want, c.tries)
				}
			})
		})
	}
}
