package order

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

var forwardCalls = []string{"Reserve", "Authorize", "Capture", "CommitReservation", "CreateShipment"}

// A process that dies before or after any call of a checkout leaves an order that the next one brings
// to its end, with everything done once. Dying is losing the database in the middle of the call.
func TestCrashOnTheWayForward(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		for _, call := range forwardCalls {
			for _, when := range []string{"before", "after"} {
				t.Run(engine+" "+when+" "+call, func(t *testing.T) {
					t.Parallel()
					w := newWorld()
					next, order := crash(t, engine, w, call, when, goodCheckout, nil)
					o := next.orderIn(t, order, api.OrderConfirmed)
					checkSold(t, w, o)
					// The key of the request that nobody answered gives the answer now.
					got := next.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(1), goodCheckout, "Idempotency-Key", "a")
					if decode[api.Order](t, got).OrderID != order || got.header.Get("Idempotency-Replayed") != "true" {
						t.Errorf("replay = %v %s", got.header, got.body)
					}
				})
			}
		}
	}
}

// The same on the way back: an order that cannot be shipped gives everything back.
func TestCrashOnTheWayBack(t *testing.T) {
	t.Parallel()
	body := strings.Replace(goodCheckout, `"carthage"`, `"nowhere"`, 1)
	for _, engine := range sqldbtest.Engines() {
		for _, call := range []string{"CreateShipment", "Refund", "ReleaseReservation"} {
			for _, when := range []string{"before", "after"} {
				t.Run(engine+" "+when+" "+call, func(t *testing.T) {
					t.Parallel()
					w := newWorld()
					next, order := crash(t, engine, w, call, when, body, nil)
					o := next.orderIn(t, order, api.OrderCancelled)
					if held, n := w.moneyOf(order); held != api.PaymentRefunded || n != 1 {
						t.Errorf("%d payments, the last %q; want one REFUNDED", n, held)
					}
					if got := w.reservationOf(order); got != api.ReservationReturned {
						t.Errorf("reservation is %s, want RETURNED", got)
					}
					if onHand, reserved := w.stock(); onHand[1] != 100 || reserved[1] != 0 {
						t.Errorf("%d on hand and %d reserved, want 100 and 0", onHand[1], reserved[1])
					}
					checkHistory(t, o)
					next.want(t, http.StatusUnprocessableEntity, "user:5", "POST", checkoutPath(1), body, "Idempotency-Key", "a")
				})
			}
		}
	}
}

// What happens while nobody is there to see it turns the saga back from wherever the dead driver may have
// been: nothing stays charged, reserved or on its way.
func TestTurnedBackWhileDead(t *testing.T) {
	t.Parallel()
	cancel := func(t *testing.T, dead *fixture, _ *world, order api.ID) {
		dead.want(t, http.StatusAccepted, "user:5", "POST", orderPath(order)+"/cancel", `{"reason":"no"}`, "Idempotency-Key", "c", "Prefer", "respond-async")
	}
	soldOut := func(_ *testing.T, _ *fixture, w *world, order api.ID) {
		w.expire(order)
		w.sell(1, 1000, 1)
	}
	for _, engine := range sqldbtest.Engines() {
		for _, test := range []struct {
			name, call string
			meanwhile  func(t *testing.T, dead *fixture, w *world, order api.ID)
			onHand     int64
			payments   int
		}{
			{"cancelled", "Reserve", cancel, 100, 0},
			{"cancelled", "Authorize", cancel, 100, 1},
			{"cancelled", "Capture", cancel, 100, 1},
			{"cancelled", "CommitReservation", cancel, 100, 1},
			{"cancelled", "CreateShipment", cancel, 100, 1},
			{"sold out", "Reserve", soldOut, 1, 0},
			{"sold out", "Authorize", soldOut, 1, 1},
			{"sold out", "Capture", soldOut, 1, 1},
		} {
			t.Run(engine+" "+test.name+" after "+test.call, func(t *testing.T) {
				t.Parallel()
				w := newWorld()
				next, order := crash(t, engine, w, test.call, "after", goodCheckout, test.meanwhile)
				checkHistory(t, next.orderIn(t, order, api.OrderCancelled))
				if held, n := w.moneyOf(order); n != test.payments || n > 0 && holdsMoney(held) {
					t.Errorf("%d payments, the last %q; want %d that hold nothing", n, held, test.payments)
				}
				if onHand, reserved := w.stock(); onHand[1] != test.onHand || reserved[1] != 0 {
					t.Errorf("%d on hand and %d reserved, want %d and 0", onHand[1], reserved[1], test.onHand)
				}
				for _, state := range w.shipmentsOf(order) {
					if state != api.ShipmentCancelled {
						t.Errorf("shipment is %s, want CANCELLED", state)
					}
				}
				// A call to the bank that was under way all the time comes too late.
				if _, err := w.Authorize(t.Context(), fmt.Sprintf("order-%d-authorize", order), api.Authorization{OrderID: order,
					PaymentMethod: api.PaymentMethod{Provider: "sandbox", Token: "tok_ok"}}); err == nil && test.payments == 0 {
					t.Error("a late authorization went through")
				}
			})
		}
	}
}

// A parcel that left while its checkout was being turned back keeps the order, which is paid and sold like every
// other, whatever the dead driver had done of that.
func TestParcelLeftWhileDead(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		for _, test := range []struct{ call, when string }{{"Capture", "before"}, {"Capture", "after"}, {"CommitReservation", "after"}, {"CreateShipment", "after"}} {
			t.Run(engine+" "+test.when+" "+test.call, func(t *testing.T) {
				t.Parallel()
				w := newWorld()
				next, order := crash(t, engine, w, test.call, test.when, goodCheckout, func(t *testing.T, dead *fixture, w *world, order api.ID) {
					dead.want(t, http.StatusAccepted, "user:5", "POST", orderPath(order)+"/cancel", `{"reason":"no"}`, "Idempotency-Key", "c", "Prefer", "respond-async")
					w.around(first(1, "CancelShipment", func(ctx context.Context) error {
						w.mu.Lock()
						defer w.mu.Unlock()
						for _, p := range w.shipments {
							p.State = api.ShipmentInTransit
						}
						return noAnswer(ctx)
					}), nil)
				})
				o := next.orderIn(t, order, api.OrderConfirmed)
				checkSold(t, w, o)
				if o.Payment.State != api.PaymentCaptured {
					t.Errorf("the order takes its payment for %s, want CAPTURED", o.Payment.State)
				}
				next.want(t, http.StatusConflict, "user:5", "POST", orderPath(order)+"/cancel", `{"reason":"no"}`, "Idempotency-Key", "c")
			})
		}
	}
}

// A driver that dies after the authorization leaves its payment to be found: the phase is taken again,
// also when the next driver fails at another step and gives the saga up in between.
func TestInterruptedTwice(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			next, order := crash(t, engine, w, "CreateShipment", "after", goodCheckout, func(t *testing.T, dead *fixture, w *world, order api.ID) {
				w.around(first(1, "CommitReservation", func(context.Context) error {
					dead.want(t, http.StatusAccepted, "user:5", "POST", orderPath(order)+"/cancel", `{"reason":"no"}`, "Idempotency-Key", "c", "Prefer", "respond-async")
					return away("product-service")
				}), nil)
			})
			next.orderIn(t, order, api.OrderCancelled)
			if got := w.shipmentsOf(order); !slices.Equal(got, []string{api.ShipmentCancelled}) {
				t.Errorf("shipments = %v, want the one of the first life, cancelled", got)
			}
			if held, n := w.moneyOf(order); held != api.PaymentRefunded || n != 1 {
				t.Errorf("%d payments, the last %q; want one REFUNDED", n, held)
			}
		})
	}
}

// A checkout takes three transactions of this service: what it is about, the payment before money is
// taken, and the end.
func TestThreeCommits(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			config := sqldbtest.Config(t, engine)
			var mu sync.Mutex
			transactions := 0
			config.Observe = func(op string, _ time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				if op == "transaction" {
					transactions++
				}
			}
			db, err := sqldb.Open(t.Context(), config, Migrations, journal.Migrations)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			f := start(t, db, newWorld())
			fewest := 1000 // of a few: what runs in the background has transactions of its own
			for i := range 5 {
				cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 2})
				mu.Lock()
				before := transactions
				mu.Unlock()
				f.want(t, http.StatusCreated, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", fmt.Sprint(i))
				mu.Lock()
				fewest = min(fewest, transactions-before)
				mu.Unlock()
			}
			if fewest != 3 {
				t.Errorf("a checkout takes %d transactions, want 3", fewest)
			}
		})
	}
}

// crash checks a cart out in a first life of the service, which ends at a call, and returns the second.
// meanwhile, when given, sees the service in between, where nobody drives sagas.
func crash(t *testing.T, engine string, w *world, call, when, body string,
	meanwhile func(t *testing.T, dead *fixture, w *world, order api.ID)) (next *fixture, order api.ID) {
	t.Helper()
	config := sqldbtest.Config(t, engine)
	open := func() *sqldb.DB {
		db, err := sqldb.Open(t.Context(), config, Migrations, journal.Migrations)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	firstDB, secondDB := open(), open()
	died := make(chan struct{})
	dies := first(1, call, func(context.Context) error {
		_ = firstDB.Close()
		close(died)
		return errors.New("the process is gone")
	})
	if when == "before" {
		w.around(dies, nil)
	} else {
		w.around(nil, dies)
	}
	one := start(t, firstDB, w)
	cart := one.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 2})
	if cart != 1 {
		t.Fatalf("the first cart is %d", cart)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var request sync.WaitGroup
	request.Go(func() { one.sendUntil(ctx, "user:5", checkoutPath(cart), body) })
	<-died
	cancel()
	request.Wait()
	one.stop()
	w.around(nil, nil)
	dead := build(t, secondDB, w)
	orders := decode[api.List[api.Order]](t, dead.want(t, http.StatusOK, "user:5", "GET", "/api/orders", ""))
	if len(orders.Collection) != 1 {
		t.Fatalf("%d orders after the crash, want 1", len(orders.Collection))
	}
	order = orders.Collection[0].OrderID
	if meanwhile != nil {
		meanwhile(t, dead, w, order)
	}
	// Later than the lease of the dead and than its hold on the key.
	next = start(t, secondDB, w, withClock(func() time.Time { return time.Now().Add(time.Minute) }))
	return next, order
}

// checkSold compares what the neighbours hold with a confirmed order of two of product 1.
func checkSold(t *testing.T, w *world, o api.Order) {
	t.Helper()
	if held, n := w.moneyOf(o.OrderID); held != api.PaymentCaptured || n != 1 {
		t.Errorf("%d payments, the last %q; want one CAPTURED", n, held)
	}
	if got := w.reservationOf(o.OrderID); got != api.ReservationCommitted {
		t.Errorf("reservation is %q, want COMMITTED", got)
	}
	if onHand, reserved := w.stock(); onHand[1] != 98 || reserved[1] != 0 {
		t.Errorf("%d on hand and %d reserved, want 98 and 0", onHand[1], reserved[1])
	}
	if got := w.shipmentsOf(o.OrderID); len(got) != 1 {
		t.Errorf("shipments = %v, want one", got)
	}
	checkHistory(t, o)
}

// checkHistory fails the test unless every step of the order begins where the one before ended.
func checkHistory(t *testing.T, o api.Order) {
	t.Helper()
	at := ""
	for _, h := range o.History {
		if h.From != at || (at != "" && !legal(h.From, h.To)) {
			t.Errorf("history of order %d has %s to %s after %q", o.OrderID, h.From, h.To, at)
		}
		at = h.To
	}
	if at != o.Status {
		t.Errorf("history of order %d ends in %s, the order is %s", o.OrderID, at, o.Status)
	}
}

// Answers that fail, do not come or come late are asked for again, and nothing happens twice.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for _, call := range forwardCalls {
		t.Run(call, func(t *testing.T) {
			each(t, func(t *testing.T, db *sqldb.DB) { loseAnswers(t, db, call) })
		})
	}
}

func loseAnswers(t *testing.T, db *sqldb.DB, call string) {
	w := newWorld()
	f := start(t, db, w, withSettings(func(s *Settings) { s.StepTimeout = 200 * time.Millisecond }))
	for i, lose := range []func(context.Context) error{
		noAnswer, statusError(500), statusError(503), statusError(429), statusError(403),
		func(ctx context.Context) error {
			<-ctx.Done()
			return &api.Unreachable{Problem: api.Timeout("slow"), Cause: ctx.Err()}
		},
		func(context.Context) error {
			p := api.Conflict("still at it")
			p.RetryAfter = time.Millisecond
			return p
		},
	} {
		if i%2 == 0 {
			w.around(first(2, call, lose), nil)
		} else {
			w.around(nil, first(2, call, lose))
		}
		w.sell(1, 1000, 100)
		o := f.buy(t, "user:5", fmt.Sprint("lost-", i))
		if o.Status != api.OrderConfirmed {
			t.Fatalf("%s %d: order is %s", call, i, o.Status)
		}
		checkSold(t, w, o)
	}
}

// Beyond the deadline a checkout is turned back, and what was done without an answer is undone.
func TestDeadline(t *testing.T) {
	t.Parallel()
	for _, call := range forwardCalls {
		for _, effect := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s took effect %v", call, effect), func(t *testing.T) {
				each(t, func(t *testing.T, db *sqldb.DB) { exceedDeadline(t, db, call, effect) })
			})
		}
	}
}

func exceedDeadline(t *testing.T, db *sqldb.DB, call string, effect bool) {
	w := newWorld()
	f := start(t, db, w, withSettings(func(s *Settings) { s.SagaDeadline = 300 * time.Millisecond }))
	// The step has no answer until the deadline is over; on the way back the neighbour is there again.
	// It fails for longer than that from the first time it is asked, however late that is.
	var mu sync.Mutex
	var until time.Time
	lose := func(_ context.Context, called string) error {
		mu.Lock()
		defer mu.Unlock()
		if called != call {
			return nil
		}
		if until.IsZero() {
			until = time.Now().Add(time.Second)
		}
		if time.Now().Before(until) {
			return away("a neighbour")
		}
		return nil
	}
	if effect {
		w.around(nil, lose)
	} else {
		w.around(lose, nil)
	}
	cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 2})
	p := decode[api.Problem](t, f.want(t, http.StatusConflict, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "late"))
	o := f.orderIn(t, p.OrderID, api.OrderCancelled)
	checkHistory(t, o)
	if last := o.History[len(o.History)-1]; last.Reason != "TIMED_OUT" {
		t.Errorf("reason = %q, want TIMED_OUT", last.Reason)
	}
	if held, _ := w.moneyOf(o.OrderID); held != "" && holdsMoney(held) {
		t.Errorf("payment is still %s", held)
	}
	if onHand, reserved := w.stock(); onHand[1] != 100 || reserved[1] != 0 {
		t.Errorf("%d on hand and %d reserved, want 100 and 0", onHand[1], reserved[1])
	}
	for _, state := range w.shipmentsOf(o.OrderID) {
		if state != api.ShipmentCancelled {
			t.Errorf("shipment is %s, want CANCELLED", state)
		}
	}
	// A call that was under way all the time cannot reserve any more.
	if _, err := w.Reserve(t.Context(), api.NewReservation{OrderID: o.OrderID, Items: []api.ItemQuantity{{ProductID: 1, Quantity: 2}}}); err == nil {
		t.Error("a late reservation went through")
	}
}

// Several replicas drive the same sagas while neighbours fail at random: each order ends once.
func TestReplicas(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		w.sell(1, 1000, 1000)
		n := 0
		var mu sync.Mutex
		flaky := func(context.Context, string) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; n%7 == 0 {
				return away("a neighbour")
			}
			return nil
		}
		replicas := []*fixture{start(t, db, w), start(t, db, w), start(t, db, w)}
		var users []string
		for i := range 9 {
			users = append(users, fmt.Sprintf("user:%d", i+1))
		}
		for _, user := range users {
			replicas[0].fill(t, user, api.ItemQuantity{ProductID: 1, Quantity: 2})
		}
		w.around(flaky, flaky)
		var requests sync.WaitGroup
		for i, user := range users {
			requests.Go(func() {
				f := replicas[i%3]
				var mine api.Cart
				for mine.CartID == 0 {
					mine = decode[api.Cart](t, f.send(user, "GET", "/api/carts/mine", ""))
				}
				for range 50 { // neighbours of the request itself fail as well
					if got := f.send(user, "POST", checkoutPath(mine.CartID), goodCheckout, "Idempotency-Key", "a"); got.status != 503 {
						return
					}
				}
			})
		}
		requests.Wait()
		for id := api.ID(1); id <= 9; id++ {
			o := replicas[0].orderIn(t, id, api.OrderConfirmed)
			checkHistory(t, o)
			if held, n := w.moneyOf(id); held != api.PaymentCaptured || n != 1 {
				t.Errorf("order %d: %d payments, the last %q", id, n, held)
			}
		}
		if onHand, reserved := w.stock(); onHand[1] != 1000-18 || reserved[1] != 0 {
			t.Errorf("%d on hand and %d reserved, want 982 and 0", onHand[1], reserved[1])
		}
	})
}

// A service that is told to stop finishes the call under way and leaves the rest to the next.
func TestStopBetweenSteps(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		calling, let := make(chan struct{}), make(chan struct{})
		w.around(first(1, "Authorize", func(context.Context) error {
			close(calling)
			<-let
			return nil
		}), nil)
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 2})
		o := decode[api.Order](t, f.want(t, http.StatusAccepted, "user:5", "POST", checkoutPath(cart), goodCheckout, "Idempotency-Key", "a", "Prefer", "respond-async"))
		<-calling
		stopped := make(chan struct{})
		var stopping sync.WaitGroup
		stopping.Go(func() {
			f.stop()
			close(stopped)
		})
		select {
		case <-stopped:
			t.Error("Run returned while a call was under way")
		case <-time.After(50 * time.Millisecond):
		}
		close(let)
		stopping.Wait()
		g, err := sagaByID(t.Context(), db, o.OrderID)
		if err != nil || g.step != stepCapture || g.attempts != 0 || g.token != "" || g.leaseOwner != "" {
			t.Errorf("saga = %+v, %v; want capture next, free and without the token", g, err)
		}
		if w.called("Capture") != 0 {
			t.Error("a step was begun after the stop")
		}
		next := start(t, db, w)
		checkSold(t, w, next.orderIn(t, o.OrderID, api.OrderConfirmed))
	})
}

// The token of a payment is gone from the database when the checkout has come to an end of any kind.
func TestTokenIsForgotten(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		f.buy(t, "user:5", "a")
		cart := f.fill(t, "user:5", api.ItemQuantity{ProductID: 1, Quantity: 2})
		f.want(t, http.StatusPaymentRequired, "user:5", "POST", checkoutPath(cart), strings.Replace(goodCheckout, "tok_ok", "tok_no", 1), "Idempotency-Key", "b")
		f.want(t, http.StatusUnprocessableEntity, "user:5", "POST", checkoutPath(cart), strings.Replace(goodCheckout, `"sandbox"`, `"cash"`, 1), "Idempotency-Key", "c")
		var kept int
		if err := db.QueryRow(t.Context(), `SELECT COUNT(*) FROM sagas WHERE payment_token <> ''`).Scan(&kept); err != nil || kept != 0 {
			t.Errorf("%d sagas keep a token, %v", kept, err)
		}
	})
}

// A capture of which it is unknown whether it happened is undone either way.
func TestGiveBackAfterLostCapture(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld()
		f := start(t, db, w)
		o := f.buy(t, "user:5", "a")
		// The order believes the money to be only set aside; payment-service knows better.
		err := db.Tx(t.Context(), func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE orders SET payment_state = 'AUTHORIZED' WHERE order_id = ?`, int64(o.OrderID))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		f.want(t, http.StatusOK, "user:5", "POST", orderPath(o.OrderID)+"/cancel", `{"reason":"no"}`, "Idempotency-Key", "c")
		if held, _ := w.moneyOf(o.OrderID); held != api.PaymentRefunded {
			t.Errorf("payment is %s, want REFUNDED", held)
		}
		if w.called("Void") != 1 || w.called("Refund") != 1 {
			t.Errorf("%d voids and %d refunds, want one each", w.called("Void"), w.called("Refund"))
		}
	})
}

func TestRefused(t *testing.T) {
	t.Parallel()
	patient := api.Conflict("wait")
	patient.RetryAfter = time.Second
	for _, test := range []struct {
		err  error
		want bool
	}{
		{nil, false}, {errors.New("decode"), false}, {context.DeadlineExceeded, false}, {noAnswer(t.Context()), false}, {patient, false},
		{api.Status(500, ""), false}, {api.Status(503, ""), false}, {api.Status(401, ""), false}, {api.Status(403, ""), false}, {api.Status(429, ""), false},
		{api.Conflict("no"), true}, {api.PaymentRequired("x", "no"), true}, {api.Invalid(), true}, {api.NotFound("no"), true}, {api.BadRequest("no"), true},
	} {
		if got := refused(test.err); got != test.want {
			t.Errorf("refused(%v) = %v, want %v", test.err, got, test.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for attempt := int64(0); attempt < 100; attempt++ {
		if got := backoff(attempt); got < 25*time.Millisecond || got > maxBackoff {
			t.Errorf("backoff(%d) = %v", attempt, got)
		}
	}
}

// Whatever the step, the way back ends.
func TestStepsEnd(t *testing.T) {
	t.Parallel()
	all := []step{stepReserve, stepAuthorize, stepCapture, stepCommit, stepShip, stepCancelShipment, stepGiveBack, stepRelease}
	for _, st := range all {
		for _, goal := range []string{"", api.OrderCancelled, api.OrderRefunded} {
			for _, from := range []step{st, st.undo(true), st.undo(false)} {
				var path []step
				for at := from; at != stepDone; at = at.next(goal) {
					if slices.Contains(path, at) {
						t.Fatalf("%s goes round in a circle: %v", from, path)
					}
					path = append(path, at)
				}
			}
		}
	}
	want := []step{stepCancelShipment, stepGiveBack, stepRelease}
	if got := []step{stepShip.undo(true), stepAuthorize.undo(true), stepAuthorize.undo(false)}; !slices.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}
