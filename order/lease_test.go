package order

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/sqldb"
)

// A driver that was so slow that another took its saga over writes nothing any more, whatever its call
// came to: the saga is the other's, who brings it to the end.
func TestLostLease(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		for i, outcome := range []func(context.Context) error{
			func(context.Context) error { return nil }, noAnswer, statusError(http.StatusConflict),
		} {
			w := newWorld()
			calling := []chan struct{}{make(chan struct{}), make(chan struct{})}
			let := []chan struct{}{make(chan struct{}), make(chan struct{})}
			var mu sync.Mutex
			n := 0
			w.around(nil, func(ctx context.Context, call string) error {
				mu.Lock()
				mine := n
				if call == "Authorize" {
					n++
				}
				mu.Unlock()
				if call != "Authorize" || mine > 1 {
					return nil
				}
				close(calling[mine])
				<-let[mine]
				if mine == 0 {
					return outcome(ctx)
				}
				return nil
			})
			slow := start(t, db, w)
			user := fmt.Sprintf("user:%d", i+1)
			cart := slow.fill(t, user, api.ItemQuantity{ProductID: 1, Quantity: 2})
			o := decode[api.Order](t, slow.want(t, http.StatusAccepted, user, "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a", "Prefer", "respond-async"))
			<-calling[0]
			other := start(t, db, w, withClock(func() time.Time { return time.Now().Add(time.Minute) }))
			<-calling[1]
			before := leaseOf(t, db, o.OrderID)
			close(let[0])
			slow.stop() // the slow one has done what it does
			if diff := cmp.Diff(before, leaseOf(t, db, o.OrderID)); diff != "" {
				t.Errorf("outcome %d: a driver without the lease changed the saga (-before +after):\n%s", i, diff)
			}
			close(let[1])
			checkSold(t, w, other.orderIn(t, o.OrderID, api.OrderConfirmed))
			other.stop()
		}
	})
}

// A saga that waited for a worker for so long that its lease would not last is not driven under that lease,
// which another driver may take at any moment: it is given up, and claimed anew.
func TestLeaseOfAnOrderThatWaited(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		var late time.Duration
		f := build(t, db, w, withClock(func() time.Time { return time.Now().Add(late) }))
		f.free <- struct{}{} // a worker that is busy with something else
		cart := f.fill(t, "user:1", api.ItemQuantity{ProductID: 1, Quantity: 2})
		o := decode[api.Order](t, f.want(t, http.StatusAccepted, "user:1", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a", "Prefer", "respond-async"))
		g := <-f.placed
		late = leaseMargin
		f.drivePlaced(t.Context(), g)
		if n := w.called("Reserve"); n != 0 {
			t.Errorf("%d calls under a lease that does not last, want none", n)
		}
		if g, err := sagaByID(t.Context(), db, o.OrderID); err != nil || g.leaseOwner != "" || g.attempts != 0 {
			t.Errorf("saga of %q after %d attempts, %v; want it to be nobody's after none", g.leaseOwner, g.attempts, err)
		}
		g, err := f.claim(t.Context(), <-f.queue)
		f.drive(t.Context(), o.OrderID, g, err)
		checkSold(t, w, f.orderIn(t, o.OrderID, api.OrderConfirmed))
		if len(f.free) != 1 {
			t.Errorf("%d workers are free, want the one that there was", len(f.free))
		}
	})
}

// leaseOf is what drivers write of a saga.
func leaseOf(t *testing.T, db *sqldb.DB, id api.ID) string {
	t.Helper()
	g, err := sagaByID(t.Context(), db, id)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s attempt %d after %d refusals, goal %q, of %s until %v", g.step, g.attempts, g.refusals, g.goal, g.leaseOwner, g.leaseUntil)
}

// Replicas share the work: while nothing fails, every call of every order is made once, however long it
// takes and however often the others look for work meanwhile.
func TestReplicasShareTheWork(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		w.around(func(_ context.Context, call string) error {
			if call == "Authorize" {
				<-time.After(pollEvery + 300*time.Millisecond)
			}
			return nil
		}, nil)
		replicas := []*fixture{start(t, db, w), start(t, db, w), start(t, db, w)}
		var requests sync.WaitGroup
		for i := range 9 {
			user := fmt.Sprintf("user:%d", i+1)
			cart := replicas[0].fill(t, user, api.ItemQuantity{ProductID: 1, Quantity: 2})
			requests.Go(func() {
				if got := replicas[i%3].send(user, "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a"); got.status != http.StatusCreated {
					t.Errorf("checkout = %d %s, want 201", got.status, got.body)
				}
			})
		}
		requests.Wait()
		for _, call := range forwardCalls {
			if n := w.called(call); n != 9 {
				t.Errorf("%d calls of %s for 9 orders, want each once", n, call)
			}
		}
	})
}
