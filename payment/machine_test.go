package payment

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

	"pgregory.net/rapid"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// Moods of a provider: what happens to the movements that it is asked for while a command runs.
const (
	calm       = "calm"
	dead       = "dead"                      // does nothing
	mute       = "mute"                      // does it, and the answer is lost
	eventFirst = "event first"               // tells by an event before it answers
	eventOnly  = "event instead of answer"   // tells by an event, and the answer is lost
	eventTwice = "event twice, then silence" // the same event again
)

// moody is a provider in a mood.
type moody struct {
	Provider
	mu   sync.Mutex
	mood string
	tell func(event sandboxEvent)
}

func (m *moody) in(mood string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mood = mood
}

func (m *moody) do(ctx context.Context, kind Kind, request Request) (Result, error) {
	m.mu.Lock()
	mood := m.mood
	m.mu.Unlock()
	if mood == dead {
		return Result{}, errDied
	}
	result, err := call(ctx, m.Provider, kind, request)
	refusal, refused := errors.AsType[*Refusal](err)
	if err != nil && !refused {
		return result, err
	}
	event := sandboxEvent{ID: "told-" + request.Key, Type: kind, Operation: request.Key, Reference: result.Reference, Amount: request.Amount, Currency: request.Currency}
	if refused {
		event.FailureCode = refusal.Code
	}
	switch mood {
	case eventTwice:
		m.tell(event)
		fallthrough
	case eventFirst, eventOnly:
		m.tell(event)
	}
	if mood == mute || mood == eventOnly || mood == eventTwice {
		return Result{}, errDied
	}
	return result, err
}

// told reports whether the service learns the outcome of a movement in a mood.
func told(mood string) bool { return mood != dead && mood != mute }

// movement is something that the machine has asked for.
type movement struct {
	kind            Kind
	key, path, body string
	amount          int64 // 0 for all that is left
	final           bool
	status          int
	answered        string
}

// machine drives one payment with random commands, and knows what must come of them.
type machine struct {
	*shop
	rt       *rapid.T
	order    int
	provider *moody
	asked    []*movement
	declines bool
	total    int64
}

// TestPaymentMachine drives payments over HTTP by commands in any order, while the provider dies, loses
// answers and tells by events, the service restarts and everything is asked again: only legal steps, every
// movement once, the same answer always, and three books that agree.
func TestPaymentMachine(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		order := 0
		rapid.Check(t, func(rt *rapid.T) {
			order++
			m := &machine{shop: open(t, db), rt: rt, order: order, total: rapid.Int64Range(1, 5000).Draw(rt, "total"), declines: rapid.IntRange(0, 9).Draw(rt, "declines") == 0}
			m.clock.forward(time.Duration(order) * 24 * time.Hour) // what earlier machines left is long over
			m.wire()
			rt.Repeat(map[string]func(*rapid.T){
				"ask":     m.ask,
				"again":   m.again,
				"event":   m.event,
				"sweep":   m.sweepIn,
				"restart": m.restart,
				"":        m.check,
			})
			m.settleAll()
			m.server.Close()
		})
	})
}

// wire puts the moods around the sandbox.
func (m *machine) wire() {
	m.provider = &moody{Provider: m.providers[sandboxName], mood: calm, tell: func(e sandboxEvent) { m.shop.event(e).want(m.t, http.StatusOK) }}
	m.providers[sandboxName] = asked{m.provider, m.provider.do}
}

func (m *machine) restart(*rapid.T) {
	clock := m.clock
	m.server.Close()
	m.shop = open(m.t, m.db)
	m.clock, m.now, m.sandbox.now = clock, clock.now, clock.now
	m.wire()
}

// record is the payment; without one yet its id is 0.
func (m *machine) record() record {
	var id int64
	err := m.db.QueryRow(m.t.Context(), `SELECT COALESCE(MAX(payment_id), 0) FROM payments WHERE order_id = ?`, m.order).Scan(&id)
	if err == nil && id == 0 {
		return record{}
	}
	row, errRead := recordByID(m.t.Context(), m.db, api.ID(id))
	if err = errors.Join(err, errRead); err != nil {
		m.rt.Fatal(err)
	}
	return row
}

// possible says whether a movement can be made of a payment on which none is under way: the rules, written
// down a second time.
func possible(kind Kind, amount int64, p record) bool {
	switch kind {
	case KindAuthorize:
		return true
	case KindCapture:
		left := p.amount - p.captured
		return (p.state == api.PaymentAuthorized || p.state == api.PaymentCaptured) && left > 0 && amount <= left
	case KindVoid:
		return p.state == api.PaymentAuthorized
	}
	left := p.captured - p.refunded
	return (p.state == api.PaymentCaptured || p.state == api.PaymentPartiallyRefunded) && left > 0 && amount <= left
}

func mood(rt *rapid.T) string {
	return rapid.SampledFrom([]string{calm, calm, calm, dead, mute, eventFirst, eventOnly, eventTwice}).Draw(rt, "mood")
}

// ask makes a new movement: the authorization first, then whatever comes.
func (m *machine) ask(rt *rapid.T) {
	next := &movement{key: fmt.Sprintf("%d-%d", m.order, len(m.asked))}
	before := m.record()
	if len(m.asked) == 0 {
		token := rapid.SampledFrom([]string{tokenOK, tokenDuplicateWebhook}).Draw(rt, "token")
		if m.declines {
			token = tokenDeclined
		}
		next.kind, next.path, next.amount = KindAuthorize, "/payments/authorize", m.total
		next.body = authorization(m.order, dollars.Amount(m.total).String(), token)
	} else {
		next.kind = rapid.SampledFrom([]Kind{KindCapture, KindCapture, KindRefund, KindRefund, KindVoid}).Draw(rt, "kind")
		next.path, next.body = fmt.Sprintf("/payments/%d/%s", before.id, strings.ToLower(string(next.kind))), "{}"
		if next.kind != KindVoid && rapid.Bool().Draw(rt, "a part") {
			next.amount = rapid.Int64Range(1, m.total).Draw(rt, "amount")
			next.body = fmt.Sprintf(`{"amount":%v}`, dollars.Amount(next.amount))
		}
	}
	m.asked = append(m.asked, next)
	mood := mood(rt)
	got := m.send(next, mood)
	switch {
	case next.kind == KindAuthorize && m.declines && told(mood):
		m.wantStatus(rt, next, got, http.StatusPaymentRequired)
	case next.kind != KindAuthorize && before.state == pending:
		m.wantStatus(rt, next, got, http.StatusNotFound) // it is not there before it has an outcome
	case before.moving():
		if next.final && got.status >= 400 {
			rt.Fatalf("%s while another movement is open = %d for good: %s", next.kind, got.status, got.body)
		}
	case !possible(next.kind, next.amount, before):
		m.wantStatus(rt, next, got, http.StatusConflict)
	case !told(mood):
		m.wantStatus(rt, next, got, http.StatusServiceUnavailable)
	case next.kind == KindAuthorize:
		m.wantStatus(rt, next, got, http.StatusCreated)
	default:
		m.wantStatus(rt, next, got, http.StatusOK)
	}
}

func (m *machine) wantStatus(rt *rapid.T, asked *movement, got answer, status int) {
	if got.status != status {
		rt.Fatalf("%s %s = %d, want %d: %s", asked.kind, asked.body, got.status, status, got.body)
	}
}

// send makes or repeats a movement while the provider is in a mood, and keeps what is final.
func (m *machine) send(asked *movement, mood string) answer {
	m.provider.in(mood)
	got := m.with(asked.key, service, asked.path, asked.body)
	m.provider.in(calm)
	later := got.status >= 500 || got.header.Get("Retry-After") != "" || got.status == http.StatusNotFound
	said := got.body
	if got.status >= 400 {
		p := into[api.Problem](m.t, got)
		said = p.Detail + " " + p.FailureCode // the rest is of this answer: when, under which trace
	}
	if asked.final && (got.status != asked.status || said != asked.answered || got.header.Get("Idempotency-Replayed") != "true") {
		m.rt.Fatalf("%s asked again = %d %s, want %d %s as before", asked.kind, got.status, said, asked.status, asked.answered)
	}
	if !later && !asked.final {
		asked.final, asked.status, asked.answered = true, got.status, said
	}
	return got
}

// again repeats a movement with its key.
func (m *machine) again(rt *rapid.T) {
	if len(m.asked) == 0 {
		return
	}
	m.send(rapid.SampledFrom(m.asked).Draw(rt, "movement"), mood(rt))
}

// event is news of a movement that the provider has made or refused, perhaps a week old or known.
func (m *machine) event(rt *rapid.T) {
	row := m.record()
	if row.id == 0 {
		return
	}
	op := rapid.SampledFrom(m.operations(row.id)).Draw(rt, "operation")
	var outcome, code, reference string
	err := m.db.QueryRow(m.t.Context(), `SELECT outcome, failure_code, reference FROM sandbox_operations WHERE operation_key = ?`, op.providerKey).Scan(&outcome, &code, &reference)
	if errors.Is(err, sqldb.ErrNotFound) {
		return // the provider has not heard of it
	}
	if err != nil {
		rt.Fatal(err)
	}
	id := rapid.SampledFrom([]string{"told-" + op.providerKey, fmt.Sprintf("late-%d-%d", m.order, rapid.IntRange(0, 3).Draw(rt, "id"))}).Draw(rt, "event")
	m.shop.event(sandboxEvent{ID: id, Type: op.kind, Operation: op.providerKey, Reference: reference, Amount: op.amount, Currency: "USD", FailureCode: code}).want(m.t, http.StatusOK)
}

// sweepIn lets the background work while the provider is in a mood.
func (m *machine) sweepIn(rt *rapid.T) {
	m.clock.forward(time.Minute)
	m.provider.in(mood(rt))
	if err := m.sweep(m.t.Context()); err != nil {
		rt.Fatal(err)
	}
	m.provider.in(calm)
}

// check compares the books of the payment with one another and with the law.
func (m *machine) check(rt *rapid.T) {
	row := m.record()
	if row.id == 0 {
		return
	}
	books := m.money(row.id)
	if books.Receivable != row.captured-row.refunded || books.Sales != -books.Receivable {
		rt.Fatalf("the ledger does not fit the payment: %+v", books)
	}
	if books.Charges > 1 || row.amount != m.total || !slices.IsSorted([]int64{0, row.refunded, row.refundReserved, row.captured, row.captureReserved, row.amount}) {
		rt.Fatalf("amounts do not hold: %+v of %+v", books, row)
	}
	open := 0
	var captured, refunded int64
	for _, op := range m.operations(row.id) {
		if op.state == operationPending {
			open++
		}
		if op.state == operationDone && op.kind == KindCapture {
			captured += op.amount
		}
		if op.state == operationDone && op.kind == KindRefund {
			refunded += op.amount
		}
	}
	if captured != row.captured || refunded != row.refunded {
		rt.Fatalf("movements came to %d and back %d, the payment says %+v", captured, refunded, row)
	}
	if open == 0 && (books.SandboxCaptured != row.captured || books.SandboxRe != row.refunded || row.moving()) {
		rt.Fatalf("nothing is under way and the provider's books differ: %+v of %+v", books, row)
	}
	changes, err := sqldb.All(m.t.Context(), m.db, func(scan func(...any) error) (change string, err error) { return change, scan(&change) },
		`SELECT happened FROM events WHERE kind = 'payment' AND subject = ? ORDER BY seq`, int64(row.id))
	if err != nil {
		rt.Fatal(err)
	}
	at := pending
	for _, change := range changes {
		if strings.HasSuffix(change, "_REFUSED") {
			continue
		}
		if change != at && !strings.Contains(legalStates[at], change) {
			rt.Fatalf("step from %s to %s in %v", at, change, changes)
		}
		at = change
	}
	if at != row.state {
		rt.Fatalf("the payment is %s, the last of its events %s", row.state, at)
	}
}

// settleAll lets everything come to its end and asks for all of it once more: every movement has an
// answer for good, and those that were made are all the money that moved.
func (m *machine) settleAll() {
	for range 3 {
		m.clock.forward(time.Minute)
		if err := m.sweep(m.t.Context()); err != nil {
			m.rt.Fatal(err)
		}
	}
	var captured, refunded int64
	for range 2 {
		captured, refunded = 0, 0
		for _, asked := range m.asked {
			got := m.send(asked, calm)
			if !asked.final && got.status != http.StatusNotFound {
				m.rt.Fatalf("%s has no answer in the end: %d %s", asked.kind, got.status, got.body)
			}
		}
	}
	m.check(m.rt)
	row := m.record()
	for _, op := range m.operations(row.id) {
		for _, asked := range m.asked {
			if !strings.HasSuffix(op.requestKey, "/"+asked.key) {
				continue
			}
			if made := asked.status < 400; made != (op.state == operationDone) {
				m.rt.Fatalf("%s was answered %d and is %s", asked.kind, asked.status, op.state)
			}
			switch {
			case op.state != operationDone:
			case op.kind == KindCapture:
				captured += op.amount
			case op.kind == KindRefund:
				refunded += op.amount
			}
		}
	}
	if captured != row.captured || refunded != row.refunded {
		m.rt.Fatalf("answered captures of %d and refunds of %d, the payment says %+v", captured, refunded, row)
	}
}
