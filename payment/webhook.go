package payment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tienda/api"
	"tienda/sqldb"
	"tienda/web"
)

func (s *Service) webhook(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("provider")
	if s.providers[name] == nil {
		return api.NotFound("no such payment provider; configured: %s", s.providerNames())
	}
	body, err := web.ReadBody(w, r)
	if err != nil {
		return err
	}
	if err := s.receive(r.Context(), name, r.Header, body); err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, map[string]bool{"received": true})
}

// errDuplicate rolls back the transaction of an event that came before.
var errDuplicate = errors.New("the event came before")

// receive takes one event of a provider: it is stored as it came and takes effect at most once, in one
// transaction. What it is about may not be known yet: then it waits.
func (s *Service) receive(ctx context.Context, provider string, header http.Header, body []byte) error {
	now := s.now()
	event, err := s.providers[provider].ParseWebhook(header, body, now)
	if errors.Is(err, ErrSignature) {
		return api.Unauthorized("%v", err)
	}
	if err != nil {
		return err
	}
	ctx = s.asItself(ctx)
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		err := insertEvent(ctx, tx, provider, event, body, now.Add(eventRetry), now)
		if errors.Is(err, sqldb.ErrConflict) {
			return errDuplicate
		}
		if err != nil {
			return err
		}
		return s.applyEvent(ctx, tx, waitingEvent{provider, now, event}, now)
	})
	if errors.Is(err, errDuplicate) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("event %s of %s: %w", event.ID, provider, err)
	}
	return nil
}

// An event about something unknown is looked at again for as long as providers themselves try.
const (
	eventRetry = 5 * time.Second
	eventLife  = 3 * 24 * time.Hour
)

// applyEvent settles the operation that an event tells the outcome of, if it is known, and writes down
// what became of the event.
func (s *Service) applyEvent(ctx context.Context, tx *sqldb.Tx, event waitingEvent, now time.Time) error {
	state, retry := eventApplied, now
	op, err := operationBy(ctx, tx, "provider_key", event.Key)
	age := now.Sub(event.received)
	switch {
	case errors.Is(err, sqldb.ErrNotFound) && age > eventLife:
		state = eventLost
	case errors.Is(err, sqldb.ErrNotFound):
		state, retry = eventWaiting, now.Add(max(eventRetry, min(age, time.Hour)))
	case err != nil:
		return err
	default:
		fits, err := s.fits(ctx, tx, event, op)
		if err != nil {
			return err
		}
		if !fits {
			state = eventRefused
		}
	}
	waited, err := moveEvent(ctx, tx, event.provider, event.ID, state, retry)
	if err != nil || !waited || state == eventWaiting {
		return err // another replica took it, or nobody can yet
	}
	if state != eventApplied {
		s.log.ErrorContext(ctx, "event of the payment provider does not fit our books", "provider", event.provider, "event", event.ID, "state", state)
		return nil
	}
	return s.settle(ctx, tx, op, event.Reference, event.Refusal, now)
}

// fits reports whether an event agrees with the operation it names, and with its outcome if there is one.
func (s *Service) fits(ctx context.Context, tx *sqldb.Tx, event waitingEvent, op operation) (bool, error) {
	row, err := recordByID(ctx, tx, op.paymentID)
	if err != nil {
		return false, err
	}
	outcome := operationDone
	if event.Refusal != nil {
		outcome = operationFailed
	}
	return event.Kind == op.kind && event.Amount == op.amount && event.Currency == row.currency && event.provider == row.provider &&
		(op.state == operationPending || op.state == outcome), nil
}

// retryEvents looks again at events that wait for what they are about.
func (s *Service) retryEvents(ctx context.Context) error {
	now := s.now()
	due, err := dueEvents(ctx, s.db, now, sweepRows)
	if err != nil {
		return fmt.Errorf("look for waiting events: %w", err)
	}
	for _, event := range due {
		if err := s.db.Tx(ctx, func(tx *sqldb.Tx) error { return s.applyEvent(ctx, tx, event, now) }); err != nil {
			return fmt.Errorf("event %s of %s: %w", event.ID, event.provider, err)
		}
	}
	return nil
}
