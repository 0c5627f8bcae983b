package order

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"tienda/api"
	"tienda/auth"
	"tienda/fault"
	"tienda/sqldb"
)

// step is what a saga does next. The names are stored.
type step string

const (
	stepReserve   step = "reserve"
	stepAuthorize step = "authorize"
	stepCapture   step = "capture"
	stepCommit    step = "commit"
	stepShip      step = "ship"

	stepCancelShipment step = "cancel-shipment"
	stepGiveBack       step = "give-back"
	stepRelease        step = "release"

	stepDone step = "done"
)

// forward reports whether the step leads to a confirmed order.
func (st step) forward() bool {
	switch st {
	case stepReserve, stepAuthorize, stepCapture, stepCommit, stepShip:
		return true
	}
	return false
}

// next is the step after this one has succeeded, on the way to goal.
func (st step) next(goal string) step {
	switch st {
	case stepReserve:
		return stepAuthorize
	case stepAuthorize:
		return stepCapture
	case stepCapture:
		return stepCommit
	case stepCommit:
		return stepShip
	case stepCancelShipment:
		return stepGiveBack
	case stepGiveBack:
		// What was returned or lost on the way is not back on the shelf: people book it in.
		if goal == api.OrderCancelled {
			return stepRelease
		}
	}
	return stepDone
}

// phase is the last step of those that a driver takes without writing in between. Everything up to it
// can be taken again, whoever died after which of them: the calls are keyed by the order. The one write
// on the way forward stands before money is taken, and brings the payment's name.
func (st step) phase() step {
	switch st {
	case stepReserve, stepAuthorize:
		return stepAuthorize
	case stepCapture, stepCommit, stepShip:
		return stepShip
	}
	return st
}

// undo is where the way back begins. mayHaveEffect tells a step that succeeded, or whose outcome is
// unknown, from one that was refused or never begun.
//
// Stock is released even if it was never reserved: product-service remembers that, so that a call
// which is still under way cannot reserve it afterwards.
func (st step) undo(mayHaveEffect bool) step {
	switch {
	case st == stepShip && mayHaveEffect:
		return stepCancelShipment
	case st == stepShip, st == stepCommit, st == stepCapture, st == stepAuthorize && mayHaveEffect:
		return stepGiveBack
	}
	return stepRelease
}

// undo is where the way back of the saga begins. A driver that died may have taken every step of the
// phase.
func (g *saga) undo(mayHaveEffect bool) step {
	if g.interrupted {
		return g.step.phase().undo(true)
	}
	return g.step.undo(mayHaveEffect)
}

// lease is how long a saga belongs to who claimed it. Each write renews it; a step makes at most two
// calls, so a driver that is alive does not lose it.
func (s *Service) lease() time.Duration { return leaseMargin + 2*s.settings.StepTimeout }

// lasts reports whether the lease is still long enough for a step.
func (s *Service) lasts(g *saga) bool {
	return s.now().Add(s.lease() - leaseMargin).Before(g.leaseUntil)
}

const (
	leaseMargin = 5 * time.Second // for the write after the calls
	pollEvery   = 500 * time.Millisecond
	pollMost    = 200
	maxBackoff  = 10 * time.Second
)

// enqueue asks the workers to drive a saga now. When they have too much to do the poll finds it later.
func (s *Service) enqueue(id api.ID) {
	select {
	case s.queue <- id:
	default:
	}
}

// poll finds sagas that are due: new ones, those that wait for another attempt and those whose driver
// died. It ends with ctx.
func (s *Service) poll(ctx context.Context) {
	for {
		ids, err := dueSagas(ctx, s.db, s.now(), pollMost)
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "cannot look for unfinished sagas", "err", err)
		}
		for _, id := range ids {
			s.enqueue(id)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pollEvery):
		}
	}
}

// work drives one saga after the other until ctx ends. Those that were handed over before it ended are
// given up in order, so that the next process need not wait for their leases to run out.
func (s *Service) work(ctx context.Context) {
	s.free <- struct{}{}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case g := <-s.placed:
			s.drivePlaced(ctx, g)
		case id := <-s.queue:
			g, err := s.claim(context.WithoutCancel(ctx), id)
			s.drive(ctx, id, g, err)
		}
	}
	for {
		select {
		case g := <-s.placed:
			s.drivePlaced(ctx, g)
		case <-s.free:
			return
		}
	}
}

// drivePlaced drives a saga that its checkout has claimed. While all workers are at sagas of the queue it
// waits; one whose lease no longer lasts is given up and claimed anew, or it could come to have two drivers.
func (s *Service) drivePlaced(ctx context.Context, g *saga) {
	var err error
	if !s.lasts(g) {
		err = s.leave(context.WithoutCancel(ctx), g)
		s.enqueue(g.orderID)
	}
	s.drive(ctx, g.orderID, g, err)
	s.free <- struct{}{}
}

// drive takes a saga as far as it goes now: to its end, to a step that must be tried again later, or,
// when ctx ends, to the next step. What is under way then is still written down. g and err are those of
// the claim.
func (s *Service) drive(ctx context.Context, id api.ID, g *saga, err error) {
	work := context.WithoutCancel(ctx)
	if err == nil {
		work = g.trace(work)
	}
	for err == nil && g.step != stepDone {
		if ctx.Err() != nil {
			err = s.leave(work, g)
			break
		}
		err = s.advance(work, g)
	}
	switch {
	case err == nil:
		s.ended.tell(id, g)
	case !errors.Is(err, errNotOurs) && !errors.Is(err, errLater):
		s.log.LogAttrs(ctx, slog.LevelWarn, "saga interrupted, it will go on", slog.Int64("order", int64(id)), slog.Any("err", err))
	}
}

var (
	errNotOurs = errors.New("the saga is not due or another driver has it")
	errLater   = errors.New("the step will be tried again")
)

// claim takes the lease of a saga that is due.
func (s *Service) claim(ctx context.Context, id api.ID) (*saga, error) {
	var g saga
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		now := s.now()
		owner := rand.Text()
		if err := claimSaga(ctx, tx, id, owner, now, now.Add(s.lease())); err != nil {
			return err
		}
		var err error
		g, err = s.loadSaga(ctx, tx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &g, nil
}

// traceHeader is the name under which W3C Trace Context carries a trace.
const traceHeader = "traceparent"

// traceOf is the trace at hand, for the saga to go on with in whatever process drives it.
func traceOf(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceHeader]
}

// trace puts the steps of the saga into the trace of its checkout.
func (g *saga) trace(ctx context.Context) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceHeader: g.traceParent})
}

// loadSaga reads a saga with its order and lines.
func (s *Service) loadSaga(ctx context.Context, q sqldb.Querier, id api.ID) (saga, error) {
	g, err := sagaByID(ctx, q, id)
	if err != nil {
		return g, err
	}
	if g.order, err = orderByID(ctx, q, everyone(), id); err != nil {
		return g, err
	}
	if g.lines, err = linesOf(ctx, q, id); err != nil {
		return g, fmt.Errorf("lines of order %d: %w", id, err)
	}
	return g, nil
}

// advance takes one step and, but within a phase, writes down how it came out.
func (s *Service) advance(ctx context.Context, g *saga) error {
	if g.step.forward() && (g.goal != "" || s.now().After(g.deadline)) {
		begun := g.attempts > 1 // this driver has not called yet
		return s.holding(ctx, g, func(ctx context.Context, _ *sqldb.Tx, g *saga) error {
			return s.turnBack(ctx, g, g.undo(begun), timedOut(g.orderID))
		})
	}
	taken := g.step
	effect, err := s.take(ctx, g)
	fault.Answered(string(taken))
	switch {
	case err == nil:
		s.stepsTotal.WithLabelValues(string(taken), "done").Inc()
		g.learn(effect)
		if taken.forward() && taken != taken.phase() && s.lasts(g) {
			g.begin(taken.next(""), s.now())
			return nil
		}
		return s.holding(ctx, g, s.succeed)
	case refused(err):
		s.stepsTotal.WithLabelValues(string(taken), "refused").Inc()
		return s.refusal(ctx, g, err)
	default:
		s.stepsTotal.WithLabelValues(string(taken), "unknown").Inc()
		return s.later(ctx, g, err)
	}
}

// refused reports whether a neighbour said no for good. Everything else leaves open what happened, and
// is asked again with the same key: no answer, a failure, or a request for patience. A 401 or 403 is
// about our own keys, which an operator will mend.
func refused(err error) bool {
	if _, ok := errors.AsType[*api.Unreachable](err); ok {
		return false
	}
	p, ok := errors.AsType[*api.Problem](err)
	if !ok || p.Status < 400 || p.Status >= 500 || p.RetryAfter > 0 {
		return false
	}
	switch p.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return true
}

// learn takes in what a step told about the order; the next write has it.
func (g *saga) learn(effect func(*record)) {
	if effect != nil {
		effect(&g.order)
		g.learned = append(g.learned, effect)
	}
}

// holding runs change in a transaction that still has the lease, with the saga and its order as they
// are then, the steps taken since the last write included, and writes the saga. Without the lease
// nothing is written.
//
// What this driver wrote or read last is taken to be still true, and every write is made on that condition.
// Only when it does not hold are order and saga locked and read again: nearly never, and a checkout is
// bound by its ways to the database.
func (s *Service) holding(ctx context.Context, g *saga, change func(ctx context.Context, tx *sqldb.Tx, g *saga) error) error {
	var fresh saga
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		fresh = *g
		return s.changeSaga(ctx, tx, *g, &fresh, change)
	})
	if errors.Is(err, errChanged) || errors.Is(err, sqldb.ErrConflict) { // the latter of a line of history
		fresh, err = s.holdingAnew(ctx, g, change)
	}
	if err == nil {
		*g = fresh
	}
	return err
}

// holdingAnew is holding when something has changed since the driver of g wrote last.
func (s *Service) holdingAnew(ctx context.Context, g *saga, change func(ctx context.Context, tx *sqldb.Tx, g *saga) error) (fresh saga, err error) {
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		o, err := lockOrder(ctx, tx, everyone(), g.orderID)
		if err != nil {
			return err
		}
		was, err := sagaByID(ctx, tx, g.orderID)
		if err != nil {
			return err
		}
		if was.leaseOwner != g.leaseOwner || was.step != g.written {
			return errNotOurs
		}
		fresh = was
		fresh.order, fresh.lines = o, g.lines // lines never change
		fresh.step, fresh.attempts, fresh.refusals, fresh.learned, fresh.held = g.step, g.attempts, g.refusals, g.learned, true
		for _, effect := range g.learned {
			effect(&fresh.order)
		}
		return s.changeSaga(ctx, tx, was, &fresh, change)
	})
	fresh.held = false
	return fresh, err
}

// changeSaga runs change on a saga, which its driver has taken further than was, and writes what came of it
// with what the order has learned.
func (s *Service) changeSaga(ctx context.Context, tx *sqldb.Tx, was saga, g *saga, change func(ctx context.Context, tx *sqldb.Tx, g *saga) error) error {
	g.leaseUntil = s.now().Add(s.lease())
	status := g.order.status
	if err := change(ctx, tx, g); err != nil {
		return err
	}
	if len(g.learned) > 0 && g.order.status == status { // a transition writes it by itself
		if err := learn(ctx, tx, &g.order, s.now()); err != nil {
			return err
		}
	}
	g.written, g.learned = g.step, nil
	return saveSaga(ctx, tx, was, *g)
}

// succeed moves on to the next step, or ends the saga. A customer who cancelled meanwhile turns it back.
func (s *Service) succeed(ctx context.Context, tx *sqldb.Tx, g *saga) error {
	if g.step == stepAuthorize {
		g.token = ""
	}
	if g.step.forward() && g.goal != "" {
		return s.turnBack(ctx, g, g.undo(true), nil)
	}
	if next := g.step.next(g.goal); next != stepDone {
		if g.step == g.step.phase() {
			g.interrupted = false // what may have been done is done
		}
		g.begin(next, s.now())
		return nil
	}
	if g.goal == "" {
		return s.end(ctx, tx, g, api.OrderConfirmed)
	}
	return s.end(ctx, tx, g, g.goal)
}

// begin makes a step the next one; it counts as begun, because it is taken at once.
func (g *saga) begin(next step, now time.Time) {
	g.step, g.attempts, g.refusals, g.nextAt = next, 1, 0, now
}

// turnBack begins the way back at a step. why is what the checkout answers; nil when somebody else
// has set goal and reason already.
func (s *Service) turnBack(ctx context.Context, g *saga, at step, why *failure) error {
	if g.goal == "" && why != nil {
		g.goal, g.reason, g.actor = api.OrderCancelled, why.reason, auth.CallerOf(ctx).String()
		problem, err := json.Marshal(why.problem)
		if err != nil {
			return fmt.Errorf("outcome of order %d: %w", g.orderID, err)
		}
		g.problem = string(problem)
	}
	g.interrupted = false // the way back begins where the dead driver may have been
	g.begin(at, s.now())
	return nil
}

// refusal writes down that a neighbour said no. On the way forward that turns the saga back. On the
// way back it is not accepted, but for a parcel that has left: then the order stands, and a checkout goes on.
func (s *Service) refusal(ctx context.Context, g *saga, err error) error {
	switch {
	case g.step.forward():
		why := whyRefused(g, err)
		return s.holding(ctx, g, func(ctx context.Context, _ *sqldb.Tx, g *saga) error {
			if g.step == stepAuthorize {
				g.token = ""
			}
			return s.turnBack(ctx, g, g.undo(false), why)
		})
	case g.step == stepCancelShipment && api.IsStatus(err, http.StatusConflict):
		return s.holding(ctx, g, func(_ context.Context, _ *sqldb.Tx, g *saga) error {
			g.goal, g.reason, g.actor, g.problem = "", "", "", ""
			if g.order.status == api.OrderPending {
				// What else was done may have died with its driver: the phase is taken again, as if begun now.
				g.deadline = s.now().Add(s.settings.SagaDeadline)
				g.begin(stepCapture, s.now())
				return nil
			}
			g.rest()
			return nil
		})
	}
	return s.later(ctx, g, err)
}

// rest ends the saga without a change of the order.
func (g *saga) rest() {
	g.step, g.attempts, g.refusals, g.nextAt, g.leaseOwner, g.leaseUntil, g.token = stepDone, 0, 0, time.Time{}, "", time.Time{}, ""
	g.interrupted = false
}

// end ends the saga: the order takes its step, the cart is closed or open again, and the answer of the
// checkout is there for replays, all or nothing.
func (s *Service) end(ctx context.Context, tx *sqldb.Tx, g *saga, status string) error {
	now, before := s.now(), g.order.status
	actor := g.actor
	if actor == "" {
		actor = auth.CallerOf(ctx).String()
	}
	if err := transition(ctx, tx, &g.order, status, actor, g.reason, now); err != nil {
		return err
	}
	g.rest()
	if before != api.OrderPending {
		return nil
	}
	var err error
	if status == api.OrderConfirmed && !g.held {
		err = closeChecked(ctx, tx, g.order.cartID, g.orderID, now)
	} else {
		err = endCheckout(ctx, tx, g.order.cartID, g.orderID, status == api.OrderConfirmed, now)
	}
	if err != nil {
		return err
	}
	return s.storeCheckout(ctx, tx, g)
}

// later gives the saga up for now and tries the step again after a while.
func (s *Service) later(ctx context.Context, g *saga, cause error) error {
	level := slog.LevelWarn
	if g.attempts > 15 {
		level = slog.LevelError // more than a minute has passed: a person should look
	}
	s.log.LogAttrs(ctx, level, "saga step will be tried again", slog.Int64("order", int64(g.orderID)), slog.String("step", string(g.step)),
		slog.Int64("attempt", g.attempts), slog.Any("err", cause))
	wait := backoff(g.attempts)
	if p, ok := errors.AsType[*api.Problem](cause); ok {
		wait = min(max(wait, p.RetryAfter), maxBackoff)
	}
	err := s.holding(ctx, g, func(_ context.Context, _ *sqldb.Tx, g *saga) error {
		if refused(cause) {
			g.refusals++
		}
		g.nextAt, g.leaseOwner, g.leaseUntil = s.now().Add(wait), "", time.Time{}
		return nil
	})
	if err != nil {
		return err
	}
	time.AfterFunc(wait, func() { s.enqueue(g.orderID) }) // sooner than the poll, which finds it anyway
	return errLater
}

// leave gives the saga up before its step was begun, for the next process.
func (s *Service) leave(ctx context.Context, g *saga) error {
	err := s.holding(ctx, g, func(_ context.Context, _ *sqldb.Tx, g *saga) error {
		g.attempts--
		g.nextAt, g.leaseOwner, g.leaseUntil = s.now(), "", time.Time{}
		return nil
	})
	if err != nil {
		return err
	}
	return errLater
}

// backoff doubles from 100 ms to maxBackoff; jitter keeps many sagas from coming back together.
func backoff(attempt int64) time.Duration {
	most := min(100*time.Millisecond<<max(0, min(attempt-1, 10)), maxBackoff)
	return most/2 + mathrand.N(most/2)
}

// notifier tells requests of this process that a saga came to rest. The zero value is ready.
type notifier struct {
	mu      sync.Mutex
	waiting map[api.ID][]chan *saga
}

// watch returns a channel that gives the saga when it has come to rest, and a function to stop watching.
func (n *notifier) watch(id api.ID) (ended <-chan *saga, stop func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting == nil {
		n.waiting = map[api.ID][]chan *saga{}
	}
	mine := make(chan *saga, 1)
	n.waiting[id] = append(n.waiting[id], mine)
	return mine, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		var others []chan *saga
		for _, c := range n.waiting[id] {
			if c != mine {
				others = append(others, c)
			}
		}
		if n.waiting[id] = others; len(others) == 0 {
			delete(n.waiting, id)
		}
	}
}

func (n *notifier) tell(id api.ID, g *saga) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.waiting[id] {
		c <- g
	}
	delete(n.waiting, id)
}
