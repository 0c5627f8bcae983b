package payment

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

func (s *Service) authorize(w http.ResponseWriter, r *http.Request) error {
	body, err := web.ReadBody(w, r)
	if err != nil {
		return err
	}
	in, err := web.Decode[api.Authorization](body, false)
	if err != nil {
		return err
	}
	amount, reasons := s.amount("amount", &in.Amount)
	if in.OrderID <= 0 {
		reasons = append(reasons, api.FieldError{Field: "orderId", Reason: "must be positive"})
	}
	if in.UserID < 0 {
		reasons = append(reasons, api.FieldError{Field: "userId", Reason: "must be positive"})
	}
	if in.Currency != s.currency.Code {
		reasons = append(reasons, api.FieldError{Field: "currency", Reason: "must be " + s.currency.Code + ", the currency of this shop"})
	}
	if in.PaymentMethod.Token == "" {
		reasons = append(reasons, api.FieldError{Field: "paymentMethod.token", Reason: "must not be empty"})
	}
	reasons = append(reasons, api.CheckLine("paymentMethod.token", &in.PaymentMethod.Token, maxText)...)
	if err := api.Valid(reasons); err != nil {
		return err
	}
	row := record{orderID: in.OrderID, userID: in.UserID, paid: flag(new(false)), status: text(new(statusOf(pending))), state: pending,
		amount: amount, currency: in.Currency, provider: in.PaymentMethod.Provider}
	return s.move(w, r, body, "order/"+in.OrderID.String(), operation{kind: KindAuthorize, amount: amount, token: in.PaymentMethod.Token},
		func(ctx context.Context, tx *sqldb.Tx, op *operation, now time.Time) error {
			// Looked at here and not above: what began with a provider is found by its key although the
			// provider is configured no more.
			if s.providers[row.provider] == nil {
				return api.Invalid(api.FieldError{Field: "paymentMethod.provider",
					Reason: "must be one of the providers that are configured: " + cmp.Or(s.providerNames(), "none")})
			}
			var err error
			op.paymentID, err = insertRecord(ctx, tx, row, now.Add(s.settings.UnclaimedAfter), now)
			op.payment = row
			op.payment.id = op.paymentID
			return err
		})
}

func (s *Service) capture(w http.ResponseWriter, r *http.Request) error {
	return s.moveOn(w, r, KindCapture)
}

func (s *Service) void(w http.ResponseWriter, r *http.Request) error {
	return s.moveOn(w, r, KindVoid)
}

func (s *Service) refund(w http.ResponseWriter, r *http.Request) error {
	return s.moveOn(w, r, KindRefund)
}

// moveOn is a movement on a payment that there is.
func (s *Service) moveOn(w http.ResponseWriter, r *http.Request, kind Kind) error {
	id, err := web.PathID(r, "paymentId")
	if err != nil {
		return err
	}
	body, err := web.ReadBody(w, r)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}") // every field may be missing, so the body may
	}
	in, err := web.Decode[api.PaymentAmount](body, false)
	if err != nil {
		return err
	}
	var amount int64
	reasons := api.CheckLine("reason", &in.Reason, maxText)
	if in.Amount != nil {
		var wrong []api.FieldError
		amount, wrong = s.amount("amount", in.Amount)
		reasons = append(reasons, wrong...)
	}
	if kind == KindVoid && in.Amount != nil {
		reasons = append(reasons, api.FieldError{Field: "amount", Reason: "does not go with a void, which gives up all"})
	}
	if err := api.Valid(reasons); err != nil {
		return err
	}
	return s.move(w, r, body, "payment/"+id.String(), operation{paymentID: id, kind: kind, amount: amount, reason: in.Reason}, s.reserve)
}

// reserve sets the money of a movement aside on its payment. An amount of 0 means all that is left.
func (s *Service) reserve(ctx context.Context, tx *sqldb.Tx, op *operation, now time.Time) error {
	row, err := lockRecord(ctx, tx, op.paymentID)
	if err != nil {
		return err
	}
	left, allowed := row.left(op.kind)
	op.amount = cmp.Or(op.amount, left)
	verb := strings.ToLower(string(op.kind))
	switch {
	case row.state == pending:
		return notFound(op.paymentID)
	case row.state == "":
		return api.Conflict("payment %d is a plain record without money", row.id)
	case allowed && 0 < op.amount && op.amount <= left:
		op.payment = row.reserve(op.kind, op.amount)
		return saveMoney(ctx, tx, row, op.payment, now)
	case row.moving():
		// What is left depends on an outcome still open: no reason to say no for good.
		p := api.Status(http.StatusServiceUnavailable, "payment %d has a movement under way whose outcome is open; try again shortly", row.id)
		p.RetryAfter = time.Second
		return p
	case !allowed:
		return api.Conflict("payment %d is %s: %s is not possible", row.id, row.state, verb)
	case left == 0:
		return api.Conflict("payment %d has nothing left to %s", row.id, verb)
	}
	return api.Conflict("payment %d has only %v %s left to %s", row.id, s.currency.Amount(left), row.currency, verb)
}

// move makes one movement under its Idempotency-Key, which counts within subject, and answers with what
// came of it. begin writes what must be there before the provider is asked; a 409 of it is final and stored.
func (s *Service) move(w http.ResponseWriter, r *http.Request, body []byte, subject string, wanted operation, begin beginning) error {
	request, err := journal.ReadRequest(r, body)
	if err != nil {
		return err
	}
	wanted.requestKey = requestKey(r.Context(), wanted.kind, subject, r.Header.Get("Idempotency-Key"))
	var (
		ctx     = r.Context()
		now     = s.now()
		stored  *journal.Stored
		op      operation
		first   bool
		refused *api.Problem
	)
	claim := func(tx *sqldb.Tx) error {
		var err error
		first, refused = false, nil
		if stored, err = request.Claim(ctx, tx, 0, time.Time{}, now); err != nil {
			return err
		}
		if stored != nil {
			if stored.Status == 0 {
				op, err = operationBy(ctx, tx, "request_key", wanted.requestKey)
			}
			return err
		}
		op, err = s.find(ctx, tx, wanted)
		if !errors.Is(err, sqldb.ErrNotFound) {
			return err
		}
		first, op = true, wanted
		err = s.begin(ctx, tx, &op, now, begin)
		if p, ok := errors.AsType[*api.Problem](err); ok && p.Status == http.StatusConflict {
			refused = p
			return request.Store(ctx, tx, journal.Answer{Status: p.Status, Body: p})
		}
		return err
	}
	// Nearly every movement is new and possible. Then the key is one more row of the commit; else nothing is
	// written, and the key is looked at first.
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		first, op = true, wanted
		if err := s.begin(ctx, tx, &op, now, begin); err != nil {
			return err
		}
		return request.Keep(ctx, tx, 0, time.Time{}, now)
	})
	if _, refusedNow := errors.AsType[*api.Problem](err); refusedNow || errors.Is(err, sqldb.ErrConflict) {
		err = s.db.Tx(ctx, claim)
	}
	if errors.Is(err, sqldb.ErrConflict) {
		err = s.db.Tx(ctx, claim) // it was withdrawn at the same moment; now that is there to be found
	}
	switch {
	case err != nil:
		return err
	case refused != nil:
		return refused
	case stored != nil && stored.Status != 0:
		return journal.Replay(w, *stored)
	case op.status != 0:
		return journal.Replay(w, op.stored())
	case first:
		op, err = s.drive(ctx, op)
	default:
		op, err = s.resume(ctx, op.id)
	}
	if err != nil {
		return err
	}
	return op.write(w)
}

// requestKey names a movement for good, also when the journal has forgotten its Idempotency-Key.
func requestKey(ctx context.Context, kind Kind, subject, key string) string {
	return fmt.Sprintf("%s/%s/%v/%s", kind, subject, auth.CallerOf(ctx), key)
}

// write answers with the outcome of an operation.
func (op operation) write(w http.ResponseWriter) error {
	if op.status >= 400 {
		return api.ParseProblem(op.status, []byte(op.answer))
	}
	kept := op.stored()
	return journal.Write(w, journal.Answer{Status: kept.Status, Location: kept.Location, Body: kept.Body})
}

// withdraw answers as the authorization with the key was or will be answered. Where none was asked for
// yet, none ever will be: a request that is still on its way is refused as withdrawn.
func (s *Service) withdraw(w http.ResponseWriter, r *http.Request) error {
	in, err := web.Read[api.Withdrawal](w, r)
	if err != nil {
		return err
	}
	if err := in.Validate(); err != nil {
		return err
	}
	ctx, now := r.Context(), s.now()
	key := requestKey(ctx, KindAuthorize, "order/"+in.OrderID.String(), in.Key)
	var op operation
	forbid := func(tx *sqldb.Tx) error {
		op, err = operationBy(ctx, tx, "request_key", key)
		if err == nil || !errors.Is(err, sqldb.ErrNotFound) {
			return err
		}
		op = operation{kind: KindAuthorize, requestKey: key, providerKey: rand.Text(), busyTo: now}
		row := record{orderID: in.OrderID, paid: flag(new(false)), status: text(new(statusOf(pending))), state: pending, currency: s.currency.Code}
		if op.paymentID, err = insertRecord(ctx, tx, row, time.Time{}, now); err != nil {
			return err
		}
		if err := insertOperation(ctx, tx, &op, now); err != nil {
			return err
		}
		if err := tx.Flush(ctx); err != nil { // for the id
			return err
		}
		op, err = s.settle(ctx, tx, op, "", &Refusal{Code: "withdrawn"}, now)
		return err
	}
	err = s.db.Tx(ctx, forbid)
	if errors.Is(err, sqldb.ErrConflict) {
		err = s.db.Tx(ctx, forbid) // the authorization came at the same moment; now it is there to be found
	}
	if err == nil && op.status == 0 {
		op, err = s.resume(ctx, op.id)
	}
	if err != nil {
		return err
	}
	return op.write(w)
}

// find finds the operation that was written under the same key so long ago that the journal forgot it.
func (s *Service) find(ctx context.Context, tx *sqldb.Tx, wanted operation) (operation, error) {
	op, err := operationBy(ctx, tx, "request_key", wanted.requestKey)
	// One that was withdrawn before it came has no amount.
	if err == nil && wanted.amount != 0 && op.amount != 0 && wanted.amount != op.amount {
		err = api.Status(http.StatusUnprocessableEntity, "the Idempotency-Key was used before for another amount; use a new one")
	}
	return op, err
}

// beginning writes what must be there before a provider is asked for op, and sets what it learns of it.
type beginning func(ctx context.Context, tx *sqldb.Tx, op *operation, now time.Time) error

// begin writes the operation, held for this request to work on. One with the same key makes the transaction
// [sqldb.ErrConflict].
func (s *Service) begin(ctx context.Context, tx *sqldb.Tx, op *operation, now time.Time, begin beginning) error {
	if err := begin(ctx, tx, op, now); err != nil {
		return err
	}
	op.providerKey, op.state, op.attempts, op.busyTo, op.begun = rand.Text(), operationPending, 1, s.leaseEnd(now), now
	return insertOperation(ctx, tx, op, now)
}

// settleTimeout bounds taking an outcome in.
const settleTimeout = 5 * time.Second

// leaseEnd is until when whoever takes an operation now may work on it.
func (s *Service) leaseEnd(now time.Time) time.Time {
	// Whole microseconds, as the column keeps it: a release names the lease it gives back.
	return now.Add(s.settings.ProviderTimeout + 2*settleTimeout).Truncate(time.Microsecond)
}

// resume goes on with an operation that somebody else began: the same provider key is asked again. It
// is a 409 while the other one is still at it.
func (s *Service) resume(ctx context.Context, id api.ID) (operation, error) {
	now := s.now()
	var took bool
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		var err error
		took, err = leaseOperation(ctx, tx, id, s.leaseEnd(now), now)
		return err
	})
	if err != nil {
		return operation{}, err
	}
	op, err := operationBy(ctx, s.db, "operation_id", int64(id))
	switch {
	case err != nil || op.status != 0:
		return op, err
	case !took:
		return op, journal.Busy()
	}
	return s.drive(ctx, op)
}

// drive asks the provider and takes the outcome in. It does so whether or not the caller still waits:
// the money may have moved by now. Without an outcome it is a 503, and the operation is left for later.
func (s *Service) drive(ctx context.Context, op operation) (operation, error) {
	ctx = context.WithoutCancel(ctx)
	result, errProvider := s.ask(ctx, op)
	refusal, refused := errors.AsType[*Refusal](errProvider)
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	now := s.now()
	var settled operation
	err := s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		if errProvider != nil && !refused {
			return releaseOperation(ctx, tx, op, now.Add(backoff(op.attempts)), now)
		}
		if op.payment.id == 0 {
			return errChanged // it was not even read
		}
		// Nearly always the payment is as this request left it.
		var err error
		settled, err = s.enter(ctx, tx, op, op.payment, result.Reference, refusal, now)
		return err
	})
	if errors.Is(err, errChanged) || errors.Is(err, sqldb.ErrConflict) { // the latter of an entry that is there
		err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
			var err error
			settled, err = s.settle(ctx, tx, op, result.Reference, refusal, now)
			return err
		})
	}
	if err != nil {
		return op, fmt.Errorf("take in the outcome of %s on payment %d: %w", op.kind, op.paymentID, err)
	}
	if settled.status != 0 {
		return settled, nil
	}
	// Whatever came of our own question, an event of the provider may have brought the outcome meanwhile.
	settled, err = operationBy(ctx, s.db, "operation_id", int64(op.id))
	if err != nil || settled.status != 0 {
		return settled, err
	}
	s.log.WarnContext(ctx, "payment provider gave no outcome", "payment", op.paymentID, "kind", op.kind, "attempt", op.attempts, "err", errProvider)
	p := api.Status(http.StatusServiceUnavailable, "the payment provider has not answered yet; send the same request with the same Idempotency-Key again")
	p.RetryAfter = time.Second
	return settled, p
}

// ask makes the call to the provider.
func (s *Service) ask(ctx context.Context, op operation) (Result, error) {
	row := op.payment
	if row.id == 0 {
		var err error
		if row, err = recordByID(ctx, s.db, op.paymentID); err != nil {
			return Result{}, err
		}
	}
	provider := s.providers[row.provider]
	if provider == nil {
		return Result{}, fmt.Errorf("provider %q is not configured any more", row.provider)
	}
	if err := s.open(ctx); err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.settings.ProviderTimeout)
	defer cancel()
	return call(ctx, provider, op.kind, Request{Key: op.providerKey, Begun: op.begun, Books: s.books, PaymentID: row.id, OrderID: row.orderID, Reference: row.providerReference,
		Amount: op.amount, Currency: row.currency, Token: op.token})
}

// backoff is the pause before the background asks again.
func backoff(attempts int) time.Duration {
	return min(time.Second<<min(attempts, 10), time.Minute)
}

// settle takes the outcome of an operation in: the payment, its postings, the event and the answer, and
// returns the operation as it is then. It does so once, whoever brings the outcome, and does nothing the
// second time.
func (s *Service) settle(ctx context.Context, tx *sqldb.Tx, op operation, reference string, refusal *Refusal, now time.Time) (operation, error) {
	was, err := lockRecord(ctx, tx, op.paymentID)
	if err != nil {
		return op, err
	}
	if first, err := isPending(ctx, tx, op.id); err != nil || !first {
		return op, err
	}
	return s.enter(ctx, tx, op, was, reference, refusal, now)
}

// enter is settle for a payment that is known. One that has changed, or an operation that has an outcome,
// makes the transaction errChanged.
func (s *Service) enter(ctx context.Context, tx *sqldb.Tx, op operation, was record, reference string, refusal *Refusal, now time.Time) (operation, error) {
	settled := op
	settled.state, settled.failCode, settled.token = operationDone, "", ""
	if refusal != nil {
		settled.state, settled.failCode = operationFailed, clip(refusal.Code, maxCode)
		refusal = &Refusal{Code: settled.failCode, Declined: refusal.Declined}
	}
	is := was.settle(op.kind, op.amount, clip(reference, maxReference), refusal)
	status, answer := s.outcome(op, is, refusal)
	data, err := json.Marshal(answer)
	if err != nil {
		return op, fmt.Errorf("answer of operation %d: %w", op.id, err)
	}
	settled.status, settled.answer = status, string(data)
	// The payment before the operation, as everybody who locks both.
	if err := saveMoney(ctx, tx, was, is, now); err != nil {
		return op, err
	}
	if err := endOperation(ctx, tx, settled, now); err != nil {
		return op, err
	}
	if refusal == nil {
		receivable := "receivable:" + is.provider
		switch op.kind {
		case KindCapture:
			err = post(ctx, tx, op, is, now, posting{receivable, op.amount}, posting{accountSales, -op.amount})
		case KindRefund:
			err = post(ctx, tx, op, is, now, posting{receivable, -op.amount}, posting{accountSales, op.amount})
		}
		if err != nil {
			return op, err
		}
	}
	change := is.state
	if refusal != nil && op.kind != KindAuthorize {
		change = string(op.kind) + "_REFUSED"
	}
	return settled, journal.Append(ctx, tx, "payment", is.id, change, map[string]any{"orderId": is.orderID, "amount": s.currency.Amount(op.amount),
		"currency": is.currency, "failureCode": settled.failCode, "reason": op.reason}, now)
}

// accountSales is what customers paid for; each provider has an account of what it owes us beside it.
const accountSales = "sales"

// outcome is what a movement is answered with.
func (s *Service) outcome(op operation, row record, refusal *Refusal) (status int, answer any) {
	switch {
	case refusal != nil && op.kind == KindAuthorize:
		p := api.PaymentRequired(refusal.Code, "the payment of order %d was refused: %s", row.orderID, refusal.Code)
		p.OrderID = row.orderID
		return p.Status, p
	case refusal != nil:
		p := api.Conflict("the payment provider refused the %s of payment %d: %s", strings.ToLower(string(op.kind)), row.id, refusal.Code)
		p.FailureCode = refusal.Code
		return p.Status, p
	case op.kind == KindAuthorize:
		status = http.StatusCreated
	default:
		status = http.StatusOK
	}
	return status, row.wire(s.currency, api.Order{OrderID: row.orderID})
}

// stored is the answer of an operation that has one.
func (op operation) stored() journal.Stored {
	stored := journal.Stored{Status: op.status, Body: json.RawMessage(op.answer)}
	if op.status == http.StatusCreated {
		stored.Location = location(op.paymentID)
	}
	return stored
}

// asItself marks work that no request is behind, for the events it writes.
func (s *Service) asItself(ctx context.Context) context.Context {
	return auth.WithCaller(ctx, auth.Caller{Service: "payment-service"})
}

// amount reads an amount of money that moves: more than nothing.
func (s *Service) amount(field string, a *api.Amount) (int64, []api.FieldError) {
	minor, err := s.currency.Minor(*a)
	switch {
	case err != nil:
		return 0, []api.FieldError{{Field: field, Reason: err.Error()}}
	case minor <= 0:
		return 0, []api.FieldError{{Field: field, Reason: "must be more than 0"}}
	}
	return minor, nil
}

func (s *Service) providerNames() string {
	return strings.Join(slices.Sorted(maps.Keys(s.providers)), ", ")
}

// Lengths of text columns.
const (
	maxText      = 255
	maxCode      = 64
	maxReference = 128
	maxBooks     = 32
)

// clip shortens a text of a provider to what its column holds.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "")
}
