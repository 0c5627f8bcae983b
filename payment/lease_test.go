package payment

import (
	"context"
	"sync"
	"testing"
	"time"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// One asks the provider at a time: whoever comes while somebody asks is told so, and one who was so slow
// that another took over gives nothing back that is the other's.
func TestOneAsksAtATime(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		provider, asking := h.providers[sandboxName], make(chan chan error)
		h.providers[sandboxName] = asked{provider, func(ctx context.Context, kind Kind, request Request) (Result, error) {
			answer := make(chan error, 1)
			select {
			case asking <- answer:
			case <-ctx.Done():
				return Result{}, ctx.Err()
			}
			select {
			case err := <-answer:
				if err != nil {
					return Result{}, err
				}
			case <-ctx.Done():
				return Result{}, ctx.Err()
			}
			return call(ctx, provider, kind, request)
		}}
		authorize := func() answer {
			return h.with("a", service, "/payments/authorize", authorization(7, "10", tokenOK))
		}
		var slow, other sync.WaitGroup
		slow.Go(func() { authorize() })
		first := <-asking
		authorize().want(t, 409)
		h.clock.forward(time.Minute) // the slow one's time is over
		other.Go(func() { authorize() })
		second := <-asking
		first <- errDied
		slow.Wait()
		authorize().want(t, 409)
		second <- nil
		other.Wait()
		authorize().want(t, 201)
		h.wantMoney(1, money{State: api.PaymentAuthorized, Charges: 1})
	})
}
