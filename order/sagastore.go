package order

import (
	"context"
	"fmt"
	"time"

	"tienda/api"
	"tienda/journal"
	"tienda/sqldb"
)

// saga is a row of the table sagas, with its order and lines where they are needed.
type saga struct {
	orderID            api.ID
	step               step
	attempts, refusals int64 // of this step
	nextAt             time.Time
	leaseOwner         string
	leaseUntil         time.Time
	deadline           time.Time
	goal               string // "" on the way forward
	reason, actor      string // of the way back
	problem            string // what the checkout answers when it failed, as JSON
	provider, token    string // the token only until the money is authorised
	request            string // the checkout's Idempotency-Key, see journal.Request
	traceParent        string // the trace of the checkout, as the header of that name (W3C Trace Context)
	interrupted        bool   // a driver died since the last step was written: it may have taken later ones

	order record
	lines []line

	written step            // the step in the database; its driver may be further within a phase
	learned []func(*record) // by steps taken since then; order knows it already
	held    bool            // the order is locked and was read in this transaction
	answer  *journal.Answer // of the checkout, stored when the saga ended
}

const sagaColumns = `order_id, step, attempts, refusals, next_at, lease_owner, lease_until, deadline, goal, reason, actor, problem,
	payment_provider, payment_token, checkout_request, trace_parent, interrupted`

func sagaByID(ctx context.Context, q sqldb.Querier, id api.ID) (saga, error) {
	var g saga
	var next, lease, deadline sqldb.Instant
	err := q.QueryRow(ctx, `SELECT `+sagaColumns+` FROM sagas WHERE order_id = ?`, int64(id)).
		Scan(&g.orderID, &g.step, &g.attempts, &g.refusals, &next, &g.leaseOwner, &lease, &deadline, &g.goal, &g.reason, &g.actor, &g.problem,
			&g.provider, &g.token, &g.request, &g.traceParent, &g.interrupted)
	if err != nil {
		return g, fmt.Errorf("read saga of order %d: %w", id, err)
	}
	g.nextAt, g.leaseUntil, g.deadline, g.written = time.Time(next), time.Time(lease), time.Time(deadline), g.step
	return g, nil
}

func insertSaga(ctx context.Context, tx *sqldb.Tx, g saga) error {
	err := tx.Later(ctx, `INSERT INTO sagas (`+sagaColumns+`) VALUES (?, ?, ?, 0, ?, ?, ?, ?, '', '', '', '', ?, ?, ?, ?, ?)`,
		int64(g.orderID), string(g.step), g.attempts, sqldb.Instant(g.nextAt), g.leaseOwner, instantOrZero(g.leaseUntil), sqldb.Instant(g.deadline),
		g.provider, g.token, g.request, g.traceParent, false)
	if err != nil {
		return fmt.Errorf("insert saga of order %d: %w", g.orderID, err)
	}
	return nil
}

// instantOrZero stores a time in a column that is compared and so never NULL.
func instantOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// saveSaga writes a saga in place of what was read of it. One that another driver has meanwhile, or that
// has been asked back, makes the transaction errChanged.
func saveSaga(ctx context.Context, tx *sqldb.Tx, was, g saga) error {
	changed := fmt.Errorf("save saga of order %d: %w", g.orderID, errChanged)
	err := tx.LaterOne(ctx, changed, `UPDATE sagas SET step = ?, attempts = ?, refusals = ?, next_at = ?, lease_owner = ?, lease_until = ?,
		deadline = ?, goal = ?, reason = ?, actor = ?, problem = ?, payment_token = ?, interrupted = ?
		WHERE order_id = ? AND lease_owner = ? AND step = ? AND goal = ?`,
		string(g.step), g.attempts, g.refusals, sqldb.Instant(g.nextAt), g.leaseOwner, instantOrZero(g.leaseUntil),
		sqldb.Instant(g.deadline), g.goal, g.reason, g.actor, g.problem, g.token, g.interrupted, int64(g.orderID), was.leaseOwner, string(was.written), was.goal)
	if err != nil {
		return fmt.Errorf("save saga of order %d: %w", g.orderID, err)
	}
	return nil
}

// claimSaga takes the lease of a saga that is due and free, and counts the attempt that follows. A lease
// that ran out instead of being given back tells that its driver died.
func claimSaga(ctx context.Context, tx *sqldb.Tx, id api.ID, owner string, now, until time.Time) error {
	n, err := tx.Exec(ctx, `UPDATE sagas SET interrupted = CASE WHEN lease_owner <> '' THEN ? ELSE interrupted END,
		lease_owner = ?, lease_until = ?, attempts = attempts + 1
		WHERE order_id = ? AND next_at <= ? AND lease_until <= ?`,
		true, owner, instantOrZero(until), int64(id), sqldb.Instant(now), now.UnixMicro())
	if err != nil {
		return fmt.Errorf("claim saga of order %d: %w", id, err)
	}
	if n == 0 {
		return errNotOurs
	}
	return nil
}

// dueSagas are orders whose saga is due and free, the longest waiting first.
func dueSagas(ctx context.Context, q sqldb.Querier, now time.Time, most int) ([]api.ID, error) {
	return sqldb.All(ctx, q, func(scan func(...any) error) (api.ID, error) {
		var id api.ID
		err := scan(&id)
		return id, err
	}, `SELECT order_id FROM sagas WHERE next_at <= ? AND lease_until <= ? ORDER BY next_at LIMIT ?`, sqldb.Instant(now), now.UnixMicro(), most)
}

// askBack sets a saga that is under way, or has ended, on the way back to goal. It reports false when
// it is on a way back already. The order is locked by the caller.
func askBack(ctx context.Context, tx *sqldb.Tx, id api.ID, at step, goal, reason, actor string, now time.Time) (bool, error) {
	// A saga on its way forward only takes the goal: whoever drives it turns at the next step.
	n, err := tx.Exec(ctx, `UPDATE sagas SET goal = ?, reason = ?, actor = ?, next_at = ? WHERE order_id = ? AND goal = '' AND step <> ?`,
		goal, reason, actor, sqldb.Instant(now), int64(id), string(stepDone))
	if err == nil && n == 0 {
		n, err = tx.Exec(ctx, `UPDATE sagas SET step = ?, attempts = 0, refusals = 0, goal = ?, reason = ?, actor = ?, problem = '', next_at = ?,
			lease_owner = '', lease_until = 0, interrupted = FALSE WHERE order_id = ? AND step = ?`,
			string(at), goal, reason, actor, sqldb.Instant(now), int64(id), string(stepDone))
	}
	if err != nil {
		return false, fmt.Errorf("turn the saga of order %d back: %w", id, err)
	}
	return n > 0, nil
}
