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
	if err := s.open(ctx); err != nil {
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

// applyEvent takes in what an event tells, as far as what it is about is known, and writes down what
// became of the event.
func (s *Service) applyEvent(ctx context.Context, tx *sqldb.Tx, event waitingEvent, now time.Time) error {
	state, op, err := s.weigh(ctx, tx, event, now)
	if err != nil {
		return err
	}
	retry, age := now, now.Sub(event.received)
	if state == eventWaiting {
		retry = now.Add(max(eventRetry, min(age, time.Hour)))
		if age > eventLife {
			state = eventLost
		}
	}
	waited, err := moveEvent(ctx, tx, event.provider, event.ID, state, retry)
	if err != nil || !waited || state == eventWaiting || state == eventIgnored {
		return err // another replica took it, or nobody can yet, or nobody needs to
	}
	if state != eventApplied {
		s.log.ErrorContext(ctx, "event of the payment provider does not fit our books", "provider", event.provider, "event", event.ID, "state", state)
		return nil
	}
	if op.id == 0 {
		return nil
	}
	_, err = s.settle(ctx, tx, op, event.Reference, event.Refusal, now)
	return err
}

// weigh says what is to become of an event, and finds the operation that it settles. A movement that
// was made at the provider without us gets its operation here: our books follow what happened to the money.
func (s *Service) weigh(ctx context.Context, tx *sqldb.Tx, event waitingEvent, now time.Time) (state string, op operation, err error) {
	if event.Kind == "" {
		return eventIgnored, op, nil
	}
	op, err = operationBy(ctx, tx, "provider_key", event.Key)
	if err == nil {
		return s.fits(ctx, tx, event, op)
	}
	if !errors.Is(err, sqldb.ErrNotFound) {
		return "", op, err
	}
	row, err := recordOfCharge(ctx, tx, event)
	switch {
	case errors.Is(err, sqldb.ErrNotFound):
		return s.strange(ctx, tx, event, now)
	case err != nil:
		return "", op, err
	case event.Refusal != nil, event.Kind == KindAuthorize:
		return eventWaiting, operation{}, nil // nothing moved, or it will be known by its key
	case event.Kind == KindVoid && (row.state == api.PaymentDeclined || row.state == api.PaymentFailed):
		return eventApplied, operation{}, nil // there was nothing to give up
	case event.Kind == KindVoid:
		op, err = voidOf(ctx, tx, row.id)
		if err == nil {
			return s.fits(ctx, tx, event, op)
		}
		if !errors.Is(err, sqldb.ErrNotFound) {
			return "", op, err
		}
	}
	return s.adopt(ctx, tx, event, row, now)
}

// strange says what is to become of an event about a charge that our books do not have. One that was
// made for an order of ours, as after the database was restored to an earlier day, is entered once it is
// clear that nobody else will: then it is looked at like every other, whether an order stands behind it.
func (s *Service) strange(ctx context.Context, tx *sqldb.Tx, event waitingEvent, now time.Time) (state string, op operation, err error) {
	switch {
	case event.Books != "" && event.Books != s.books:
		return eventIgnored, op, nil // another shop's, which shares the account
	case event.Books == "", event.Refusal != nil, event.Kind != KindAuthorize && event.Kind != KindCapture,
		event.OrderID <= 0, event.Authorization == "", now.Sub(event.received) < s.settings.UnclaimedAfter:
		return eventWaiting, op, nil
	case event.Currency != s.currency.Code:
		return eventRefused, op, nil
	}
	row := record{orderID: event.OrderID, paid: flag(new(false)), status: text(new(statusOf(pending))), state: pending,
		amount: event.Amount, currency: event.Currency, provider: event.provider}
	if row.id, err = insertRecord(ctx, tx, row, now, now); err != nil {
		return "", op, err
	}
	s.log.WarnContext(ctx, "charge that the books did not have is entered", "payment", row.id, "order", row.orderID, "provider", event.provider, "event", event.ID)
	op = operation{paymentID: row.id, kind: KindAuthorize, amount: event.Amount, reason: madeThere, state: operationPending,
		requestKey: event.provider + "/" + event.Authorization, providerKey: event.Authorization, busyTo: now}
	if err = insertOperation(ctx, tx, &op, now); err != nil {
		return "", op, err
	}
	if err = tx.Flush(ctx); err != nil || event.Kind == KindAuthorize { // for the id
		return eventApplied, op, err
	}
	if _, err = s.settle(ctx, tx, op, event.Reference, nil, now); err != nil {
		return "", op, err
	}
	if row, err = recordByID(ctx, tx, row.id); err != nil {
		return "", op, err
	}
	return s.adopt(ctx, tx, event, row, now)
}

// madeThere is the reason of movements that we did not ask for.
const madeThere = "made at the provider"

// adopt begins the operation of a movement that the provider tells of and we did not ask for: a person
// made it in the provider's own pages, or the provider gave a charge up by itself.
func (s *Service) adopt(ctx context.Context, tx *sqldb.Tx, event waitingEvent, row record, now time.Time) (state string, op operation, err error) {
	if row.currency != event.Currency || row.provider != event.provider {
		return eventRefused, op, nil
	}
	op = operation{paymentID: row.id, kind: event.Kind, amount: event.Amount, reason: madeThere, state: operationPending,
		requestKey: event.provider + "/" + event.Key, providerKey: event.Key, busyTo: now}
	err = s.reserve(ctx, tx, &op, now)
	if _, ok := errors.AsType[*api.Problem](err); ok {
		// A movement of ours is under way, or an event of what came before has not come yet.
		return eventWaiting, operation{}, nil
	}
	if err != nil {
		return "", op, err
	}
	if err = insertOperation(ctx, tx, &op, now); err == nil {
		err = tx.Flush(ctx) // for the id
	}
	return eventApplied, op, err
}

// fits says whether an event agrees with the operation it is about, and with its outcome if there is one.
func (s *Service) fits(ctx context.Context, tx *sqldb.Tx, event waitingEvent, op operation) (state string, _ operation, err error) {
	row, err := recordByID(ctx, tx, op.paymentID)
	if err != nil {
		return "", op, err
	}
	outcome := operationDone
	if event.Refusal != nil {
		outcome = operationFailed
	}
	fits := event.Kind == op.kind && event.Amount == op.amount && event.Currency == row.currency && event.provider == row.provider &&
		(op.state == operationPending || op.state == outcome)
	if !fits {
		return eventRefused, op, nil
	}
	return eventApplied, op, nil
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
