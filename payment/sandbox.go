package payment

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tienda/api"
	"tienda/sqldb"
)

// sandboxName is what the sandbox is called in a payment method.
const sandboxName = "sandbox"

// Tokens that the sandbox understands. Every other is declined as invalid_token.
const (
	tokenOK                = "tok_ok"
	tokenDeclined          = "tok_declined"
	tokenInsufficientFunds = "tok_insufficient_funds"
	tokenErrorThenOK       = "tok_error_then_ok"     // fails without effect first
	tokenLostAnswer        = "tok_lost_answer"       // charges, then the answer never comes
	tokenSlow              = "tok_slow"              // takes its time
	tokenWebhookFirst      = "tok_webhook_first"     // the event comes before the answer
	tokenDuplicateWebhook  = "tok_duplicate_webhook" // the event comes twice, after the answer
)

// sandbox is a [Provider] that moves no real money and fails on request. It behaves as one that is far
// away: it keeps its own durable books, in tables that nobody else writes and in transactions of its
// own, so that they are an independent truth to compare ours with; and its events arrive signed,
// through the door that all events come in by.
type sandbox struct {
	db      *sqldb.DB
	secret  []byte
	slow    time.Duration
	now     func() time.Time
	deliver func(ctx context.Context, provider string, header http.Header, body []byte) error
}

// Outcomes of an operation in the sandbox's books.
const (
	sandboxOK      = "OK"
	sandboxRefused = "REFUSED"
	sandboxError   = "ERROR" // nothing was done; the next attempt does it
)

// errSandbox is the sandbox's 500.
var errSandbox = errors.New("sandbox: internal error, as the token asks for")

// Authorize charges unless the token says otherwise.
func (b *sandbox) Authorize(ctx context.Context, request Request) (Result, error) {
	if request.Token == tokenSlow {
		select {
		case <-ctx.Done():
			return Result{}, fmt.Errorf("sandbox: %w", ctx.Err())
		case <-time.After(b.slow):
		}
	}
	return b.once(ctx, KindAuthorize, request, func(tx *sqldb.Tx) (string, error) {
		switch request.Token {
		case tokenDeclined:
			return "", &Refusal{Code: "card_declined", Declined: true}
		case tokenInsufficientFunds:
			return "", &Refusal{Code: "insufficient_funds", Declined: true}
		case tokenOK, tokenErrorThenOK, tokenLostAnswer, tokenSlow, tokenWebhookFirst, tokenDuplicateWebhook:
		default:
			return "", &Refusal{Code: "invalid_token", Declined: true}
		}
		reference := "sbx_" + rand.Text()
		err := tx.Later(ctx, `INSERT INTO sandbox_charges (reference, payment_id, order_id, amount, captured_amount, refunded_amount,
			voided, currency, created_at) VALUES (?, ?, ?, ?, 0, 0, ?, ?, ?)`, reference, int64(request.PaymentID), int64(request.OrderID),
			request.Amount, false, request.Currency, sqldb.Instant(b.now()))
		return reference, err
	})
}

// Capture takes money of a charge.
func (b *sandbox) Capture(ctx context.Context, request Request) (Result, error) {
	return b.change(ctx, KindCapture, request, "capture_too_large", `UPDATE sandbox_charges SET captured_amount = captured_amount + ?
		WHERE reference = ? AND voided = ? AND captured_amount + ? <= amount`, request.Amount, request.Reference, false, request.Amount)
}

// Void gives a charge up.
func (b *sandbox) Void(ctx context.Context, request Request) (Result, error) {
	return b.change(ctx, KindVoid, request, "already_captured", `UPDATE sandbox_charges SET voided = ?
		WHERE reference = ? AND voided = ? AND captured_amount = 0`, true, request.Reference, false)
}

// Refund gives money back.
func (b *sandbox) Refund(ctx context.Context, request Request) (Result, error) {
	return b.change(ctx, KindRefund, request, "refund_too_large", `UPDATE sandbox_charges SET refunded_amount = refunded_amount + ?
		WHERE reference = ? AND refunded_amount + ? <= captured_amount`, request.Amount, request.Reference, request.Amount)
}

// change runs one conditional update of a charge; code is the refusal when it matches none.
func (b *sandbox) change(ctx context.Context, kind Kind, request Request, code, update string, args ...any) (Result, error) {
	return b.once(ctx, kind, request, func(tx *sqldb.Tx) (string, error) {
		n, err := tx.Exec(ctx, update, args...)
		if err == nil && n == 0 {
			err = &Refusal{Code: code}
		}
		return request.Reference, err
	})
}

// once does what a key asks for the first time, and answers the same from then on.
func (b *sandbox) once(ctx context.Context, kind Kind, request Request, do func(tx *sqldb.Tx) (string, error)) (Result, error) {
	var (
		result  Result
		refusal *Refusal
		failing bool // answers with an error this time
		first   bool
		eventID string
	)
	attempt := func(tx *sqldb.Tx, look bool) error {
		result, refusal, failing, first, eventID = Result{}, nil, false, false, ""
		var outcome, code string
		err := sqldb.ErrNotFound
		if look {
			err = tx.QueryRow(ctx, `SELECT outcome, failure_code, reference FROM sandbox_operations WHERE operation_key = ?`, request.Key).
				Scan(&outcome, &code, &result.Reference)
		}
		switch {
		case err == nil && outcome == sandboxOK:
			return nil
		case err == nil && outcome == sandboxRefused:
			refusal = &Refusal{Code: code, Declined: kind == KindAuthorize}
			return nil
		case err != nil && !errors.Is(err, sqldb.ErrNotFound):
			return err
		}
		first = err != nil
		failing = first && request.Token == tokenErrorThenOK
		outcome = sandboxError
		if !failing {
			outcome = sandboxOK
			result.Reference, err = do(tx)
			var refused bool
			if refusal, refused = errors.AsType[*Refusal](err); refused {
				outcome, code = sandboxRefused, refusal.Code
			} else if err != nil {
				return err
			}
		}
		if first {
			err = tx.Later(ctx, `INSERT INTO sandbox_operations (operation_key, kind, outcome, failure_code, reference, amount, created_at)
				VALUES (?, ?, ?, ?, ?, ?, ?)`, request.Key, kind, outcome, code, result.Reference, request.Amount, sqldb.Instant(b.now()))
		} else {
			err = tx.LaterOne(ctx, fmt.Errorf("operation %s: %w", request.Key, errChanged), `UPDATE sandbox_operations SET outcome = ?, failure_code = ?, reference = ?
				WHERE operation_key = ? AND outcome = ?`, outcome, code, result.Reference, request.Key, sandboxError)
		}
		if err != nil || failing || refusal != nil {
			return err
		}
		eventID, err = b.emit(ctx, tx, kind, request, result)
		return err
	}
	// Nearly every key is new.
	err := b.db.Tx(ctx, func(tx *sqldb.Tx) error { return attempt(tx, false) })
	for look := 0; look < 3 && (errors.Is(err, sqldb.ErrConflict) || errors.Is(err, errChanged)); look++ { // or somebody asks at the same moment
		err = b.db.Tx(ctx, func(tx *sqldb.Tx) error { return attempt(tx, true) })
	}
	switch {
	case err != nil:
		return Result{}, fmt.Errorf("sandbox: %w", err)
	case failing:
		return Result{}, errSandbox
	case refusal != nil:
		return Result{}, refusal
	case first && request.Token == tokenLostAnswer:
		<-ctx.Done()
		return Result{}, fmt.Errorf("sandbox: %w", ctx.Err())
	case first && request.Token == tokenWebhookFirst:
		if err := b.deliverOne(ctx, eventID); err != nil {
			return Result{}, err
		}
	}
	return result, nil
}

// sandboxEvent is the body of the sandbox's events. Amounts are minor units.
type sandboxEvent struct {
	ID          string `json:"id"`
	Type        Kind   `json:"type"`
	Operation   string `json:"operation"`
	Reference   string `json:"reference"`
	Amount      int64  `json:"amount"`
	Currency    string `json:"currency"`
	FailureCode string `json:"failureCode,omitempty"`

	Authorization string `json:"authorization,omitempty"`
	OrderID       api.ID `json:"orderId,omitzero"`
	Books         string `json:"books,omitempty"`
}

// emit writes the event of a movement, for the tokens that ask for one, and returns its id.
func (b *sandbox) emit(ctx context.Context, tx *sqldb.Tx, kind Kind, request Request, result Result) (string, error) {
	deliveries := map[string]int{tokenWebhookFirst: 1, tokenDuplicateWebhook: 2}[request.Token]
	if deliveries == 0 {
		return "", nil
	}
	event := sandboxEvent{ID: "evt_" + rand.Text(), Type: kind, Operation: request.Key, Reference: result.Reference,
		Amount: request.Amount, Currency: request.Currency, Authorization: request.Key, OrderID: request.OrderID, Books: request.Books}
	body, err := json.Marshal(event)
	if err != nil {
		return "", err
	}
	_, err = tx.Exec(ctx, `INSERT INTO sandbox_events (event_id, body, deliveries, deliver_at) VALUES (?, ?, ?, ?)`,
		event.ID, string(body), deliveries, sqldb.Instant(b.now()))
	return event.ID, err
}

// deliverDue delivers the events that are due, each as often as it is to come.
func (b *sandbox) deliverDue(ctx context.Context) error {
	due, err := sqldb.All(ctx, b.db, func(scan func(...any) error) (id string, err error) { return id, scan(&id) },
		`SELECT event_id FROM sandbox_events WHERE deliver_at <= ? ORDER BY deliver_at, event_id LIMIT ?`, sqldb.Instant(b.now()), sweepRows)
	if err != nil {
		return fmt.Errorf("sandbox: look for events: %w", err)
	}
	for _, id := range due {
		if err := b.deliverOne(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// deliverOne delivers one event once. Nothing is lost when that fails: it stays due.
func (b *sandbox) deliverOne(ctx context.Context, id string) error {
	var body string
	err := b.db.QueryRow(ctx, `SELECT body FROM sandbox_events WHERE event_id = ?`, id).Scan(&body)
	if errors.Is(err, sqldb.ErrNotFound) {
		return nil // another replica did
	}
	if err != nil {
		return fmt.Errorf("sandbox: read event: %w", err)
	}
	header := http.Header{}
	header.Set(signatureHeader, sign(b.secret, []byte(body), b.now()))
	if err := b.deliver(ctx, sandboxName, header, []byte(body)); err != nil {
		return fmt.Errorf("sandbox: deliver event: %w", err)
	}
	err = b.db.Tx(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE sandbox_events SET deliveries = deliveries - 1 WHERE event_id = ?`, id); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM sandbox_events WHERE event_id = ? AND deliveries <= 0`, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("sandbox: count delivery: %w", err)
	}
	return nil
}

// signatureHeader carries "t=UNIX,v1=HEX": when the event was sent and the HMAC-SHA256 of
// "t=UNIX.BODY" under the webhook secret.
const signatureHeader = "Tienda-Signature"

// signatureLife is how old an event may be, so that one that was overheard cannot be sent again later.
const signatureLife = 5 * time.Minute

func sign(secret, body []byte, at time.Time) string {
	stamp := "t=" + strconv.FormatInt(at.Unix(), 10)
	return stamp + ",v1=" + hex.EncodeToString(mac(secret, stamp, body))
}

func mac(secret []byte, stamp string, body []byte) []byte {
	sum := hmac.New(sha256.New, secret)
	_, _ = sum.Write([]byte(stamp + ".")) // a hash does not fail
	_, _ = sum.Write(body)
	return sum.Sum(nil)
}

// verify checks a signature header.
func verify(secret []byte, header string, body []byte, now time.Time) error {
	stamp, signature, _ := strings.Cut(header, ",")
	unix, isStamp := strings.CutPrefix(stamp, "t=")
	hexSum, isSum := strings.CutPrefix(signature, "v1=")
	seconds, errUnix := strconv.ParseInt(unix, 10, 64)
	given, errSum := hex.DecodeString(hexSum)
	if !isStamp || !isSum || errUnix != nil || errSum != nil {
		return fmt.Errorf("%w: the header %s must be t=UNIX,v1=HEX", ErrSignature, signatureHeader)
	}
	if !hmac.Equal(given, mac(secret, stamp, body)) {
		return ErrSignature
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > signatureLife || age < -signatureLife {
		return fmt.Errorf("%w: it is not from within the last %v", ErrSignature, signatureLife)
	}
	return nil
}

// ParseWebhook reads an event of the sandbox.
func (b *sandbox) ParseWebhook(header http.Header, body []byte, now time.Time) (Event, error) {
	if err := verify(b.secret, header.Get(signatureHeader), body, now); err != nil {
		return Event{}, err
	}
	var in sandboxEvent
	if err := json.Unmarshal(body, &in); err != nil {
		return Event{}, api.BadRequest("the event is not JSON of the sandbox")
	}
	switch in.Type {
	case KindAuthorize, KindCapture, KindVoid, KindRefund:
	default:
		return Event{}, api.BadRequest("the type of the event is none of AUTHORIZE, CAPTURE, VOID and REFUND")
	}
	event := Event{ID: in.ID, Kind: in.Type, Key: in.Operation, Reference: in.Reference, Amount: in.Amount, Currency: in.Currency, Authorization: in.Authorization, OrderID: in.OrderID, Books: in.Books}
	if in.FailureCode != "" {
		event.Refusal = &Refusal{Code: in.FailureCode, Declined: in.Type == KindAuthorize}
	}
	return event, event.check()
}
