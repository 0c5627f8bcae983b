package shipping

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tienda/api"
	"tienda/sqldb"
)

// notification is a step of a shipment that order-service has yet to take.
type notification struct {
	id       api.ID
	shipment api.ID
	order    api.ID
	state    string
	tracking string
	attempts int
	deliver  time.Time // when it is due; while somebody delivers it, until when it is theirs
}

const (
	tellTimeout = 5 * time.Second  // bounds one call to order-service
	tellLease   = 10 * time.Second // nobody else tries for so long
	tellRows    = 100              // looked for at once
)

// sweep tells everything that is due, and returns when there is no more or order-service takes none.
func (s *Service) sweep(ctx context.Context) error {
	for ctx.Err() == nil {
		due, err := dueNotifications(ctx, s.db, s.now(), tellRows)
		if err != nil {
			return fmt.Errorf("look for notifications: %w", err)
		}
		told := 0
		var failed error
		for _, n := range due {
			ok, err := s.deliver(ctx, n)
			if ok {
				told++
			}
			failed = errors.Join(failed, err)
		}
		if failed != nil || told == 0 {
			return failed
		}
	}
	return nil
}

// tell delivers what is due of one shipment.
func (s *Service) tell(ctx context.Context, shipment api.ID) error {
	for {
		n, err := firstNotification(ctx, s.db, shipment)
		if errors.Is(err, sqldb.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if ok, err := s.deliver(ctx, n); err != nil || !ok {
			return err
		}
	}
}

// deliver tells order-service of one step, if nobody else is doing so and it is due, and reports whether
// it took it.
func (s *Service) deliver(ctx context.Context, n notification) (bool, error) {
	now := s.now()
	if now.Before(n.deliver) {
		return false, nil
	}
	var mine bool
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		var err error
		mine, err = leaseNotification(ctx, tx, n, now.Add(tellLease))
		return err
	})
	if err != nil || !mine {
		return false, err
	}
	errTell := s.call(ctx, n)
	// The outcome is written down although ctx may have ended the call.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellTimeout)
	defer cancel()
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		if errTell != nil {
			return postponeNotification(ctx, tx, n.id, s.now().Add(backoff(n.attempts)))
		}
		return deleteNotification(ctx, tx, n.id)
	})
	if errTell != nil {
		errTell = fmt.Errorf("tell order-service that shipment %d is %s: %w", n.shipment, n.state, errTell)
	}
	return errTell == nil && err == nil, errors.Join(errTell, err)
}

// call makes the call, as this service itself.
func (s *Service) call(ctx context.Context, n notification) error {
	ctx, err := s.identity.Context(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	return s.orders.ShipmentChanged(ctx, n.order, api.ShipmentChange{ShipmentID: n.shipment, State: n.state, TrackingNumber: n.tracking})
}

// backoff is the pause before order-service is told again.
func backoff(attempts int) time.Duration {
	return min(time.Second<<min(attempts, 10), time.Minute)
}
