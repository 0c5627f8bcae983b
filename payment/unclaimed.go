package payment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tienda/api"
	"tienda/sqldb"
)

// How often and how many charges are looked at, and how long order-service may take to tell.
const (
	lookEvery   = 5 * time.Second
	lookRows    = 500
	lookTimeout = 5 * time.Second
)

// reclaim gives money back that no order stands behind: each charge is looked at some time after it was
// made, and again as long as its order is under way. It asks order-service for many at once, and does
// nothing while that does not answer.
//
// It cannot act against a saga: an order that does not exist will not come to be, since orders are
// written before they are paid for, and a cancelled one whose saga has ended stays as it is.
func (s *Service) reclaim(ctx context.Context) error {
	now := s.now()
	if now.Sub(s.looked) < lookEvery {
		return nil
	}
	s.looked = now
	for {
		due, err := dueToLook(ctx, s.db, now, lookRows)
		if err != nil {
			return fmt.Errorf("look for charges without an order: %w", err)
		}
		if len(due) == 0 {
			return nil
		}
		if err := s.lookAtOrders(ctx, due, now); err != nil {
			return err
		}
	}
}

// lookAtOrders finds out about the orders of some payments and writes down when to look at each again.
func (s *Service) lookAtOrders(ctx context.Context, due []record, now time.Time) error {
	standings, err := s.standingsOf(ctx, due)
	if err != nil {
		return fmt.Errorf("ask order-service for the orders of charges: %w", err)
	}
	var settled, again []api.ID
	for _, row := range due {
		standing, exists := standings[row.orderID]
		switch {
		case row.state == pending, standing.InProgress:
			again = append(again, row.id)
		case row.state != api.PaymentAuthorized && row.state != api.PaymentCaptured && row.state != api.PaymentPartiallyRefunded:
			settled = append(settled, row.id)
		case exists && standing.Status != api.OrderCancelled:
			settled = append(settled, row.id)
		default:
			if err := s.giveBack(ctx, row, now); err != nil {
				return fmt.Errorf("give payment %d back: %w", row.id, err)
			}
			again = append(again, row.id)
		}
	}
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		if err := lookAgain(ctx, tx, settled, time.Time{}); err != nil {
			return err
		}
		return lookAgain(ctx, tx, again, now.Add(s.settings.UnclaimedAfter))
	})
	if err != nil {
		return fmt.Errorf("write down which orders were looked at: %w", err)
	}
	return nil
}

// standingsOf asks order-service, as ourselves.
func (s *Service) standingsOf(ctx context.Context, due []record) (map[api.ID]api.OrderStanding, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	ctx, err := s.identity.Context(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]api.ID, len(due))
	for i, row := range due {
		ids[i] = row.orderID
	}
	list, err := s.orders.OrderStandings(ctx, ids)
	if err != nil {
		return nil, err
	}
	standings := make(map[api.ID]api.OrderStanding, len(list))
	for _, standing := range list {
		standings[standing.OrderID] = standing
	}
	return standings, nil
}

// giveBack begins to void or refund a payment that no order stands behind. The background goes on with
// it at once, as with every movement without an outcome.
func (s *Service) giveBack(ctx context.Context, row record, now time.Time) error {
	kind := KindVoid
	if row.captured > 0 {
		kind = KindRefund
	}
	s.log.WarnContext(ctx, "giving back a payment that no order stands behind", "payment", row.id, "order", row.orderID, "kind", kind, "state", row.state)
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		ended, err := endedOperations(ctx, tx, row.id, kind)
		if err != nil {
			return err
		}
		// The same key until there is an outcome, whoever tries; a new one after a refusal.
		op := operation{paymentID: row.id, kind: kind, reason: "no order stands behind it",
			requestKey: fmt.Sprintf("unclaimed/%d/%s/%d", row.id, kind, ended)}
		if err := s.begin(ctx, tx, &op, now, s.reserve); err != nil {
			return err
		}
		if err := tx.Flush(ctx); err != nil { // for the id
			return err
		}
		return releaseOperation(ctx, tx, op, now, now)
	})
	if errors.Is(err, sqldb.ErrConflict) {
		return nil // another replica has begun it
	}
	if p, ok := errors.AsType[*api.Problem](err); ok && (p.Status == http.StatusConflict || p.Status == http.StatusServiceUnavailable) {
		return nil // somebody else moves it: it is looked at again
	}
	return err
}

// dueToLook are payments whose order is to be looked at.
func dueToLook(ctx context.Context, q sqldb.Querier, now time.Time, most int) ([]record, error) {
	return sqldb.All(ctx, q, scanRecord, `SELECT `+recordColumns+` FROM payments
		WHERE look_at > 0 AND look_at <= ? ORDER BY look_at, payment_id LIMIT ?`, sqldb.Instant(now), most)
}

// lookAgain writes down when to look at the orders of payments again; zero is never.
func lookAgain(ctx context.Context, tx *sqldb.Tx, ids []api.ID, at time.Time) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE payments SET look_at = ? WHERE payment_id IN (`+sqldb.In(len(ids))+`)`, sqldb.Args(ids, instantOrZero(at))...)
	return err
}

// endedOperations counts the movements of a kind on a payment that have an outcome.
func endedOperations(ctx context.Context, tx *sqldb.Tx, payment api.ID, kind Kind) (n int64, err error) {
	err = tx.QueryRow(ctx, `SELECT COUNT(*) FROM payment_operations WHERE payment_id = ? AND kind = ? AND state <> '`+operationPending+`'`,
		int64(payment), kind).Scan(&n)
	return n, err
}

// instantOrZero is a time for a column in which 0 means none.
func instantOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
