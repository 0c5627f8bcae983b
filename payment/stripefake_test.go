package payment

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85/webhook"
)

// Payment methods of the stand-in, named as Stripe's test cards are.
const (
	cardOK             = "pm_card_visa"
	cardPoor           = "pm_card_visa_chargeDeclinedInsufficientFunds"
	cardAuthentication = "pm_card_authenticationRequired"
	cardAsks           = "pm_card_threeDSecure2Required" // asks although it was told not to
	cardUnknown        = "pm_none"
)

// What may go wrong with one call.
const (
	faultBefore   = "500 without effect" // and not kept under the key
	faultStuck    = "500 kept under the key"
	faultStuckOK  = "500 kept under the key, with effect"
	faultLimit    = "429"
	faultInUse    = "409"
	faultLost     = "effect, then the connection breaks"
	faultCut      = "effect, then half an answer"
	faultSlow     = "effect, after the caller gave up"
	faultNonsense = "a page of some proxy"
)

// stripeFake stands in for Stripe: intents and refunds as a state machine, idempotency keys, events, and
// faults on request.
type stripeFake struct {
	t      *testing.T
	server *httptest.Server

	mu      sync.Mutex
	now     func() time.Time
	intents map[string]*fakeIntent
	refunds []*fakeRefund
	keys    map[string]fakeAnswer
	events  []fakeEvent
	faults  []string // of the next writes, in order; "" for none
	asked   []string // method and path of every call
	number  int
}

type fakeIntent struct {
	id, status, code                     string
	amount, capturable, received, refund int64
	metadata                             map[string]string
	currency                             string
	made                                 time.Time
}

type fakeRefund struct {
	id, intent, status string
	amount             int64
	currency           string
	metadata           map[string]string
}

type fakeAnswer struct {
	status int
	body   string
	asked  string
}

// fakeEvent is an event to be delivered.
type fakeEvent struct{ id, kind, body string }

const fakeSecret = "whsec_test"

func openFake(t *testing.T, now func() time.Time) *stripeFake {
	f := &stripeFake{t: t, now: now, intents: map[string]*fakeIntent{}, keys: map[string]fakeAnswer{}}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

// withStripe gives the shop the stand-in as its provider.
func (h *shop) withStripe(f *stripeFake) {
	h.t.Helper()
	var err error
	h.stripe, err = newStripe(StripeSettings{URL: f.server.URL, SecretKey: "sk_test_1", WebhookSecret: fakeSecret}, dollars, h.clock.now)
	if err != nil {
		h.t.Fatal(err)
	}
	h.providers[stripeName] = h.stripe
}

// tell delivers an event as Stripe would, signed at a time.
func (h *shop) tell(event fakeEvent, at time.Time) answer {
	h.t.Helper()
	signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(event.body), Secret: fakeSecret, Timestamp: at})
	return h.call("", http.MethodPost, "/webhooks/stripe", event.body, stripeSignature, signed.Header)
}

// card is the body of an authorization with Stripe.
func card(order int, amount, token string) string {
	return strings.Replace(authorization(order, amount, token), `"sandbox"`, `"stripe"`, 1)
}

func (f *stripeFake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+r.URL.Path)
	if r.Header.Get("Authorization") != "Bearer sk_test_1" {
		f.mu.Unlock()
		reply(w, fakeAnswer{status: 401, body: failure("invalid_request_error", "", "", nil)})
		return
	}
	if r.Method == http.MethodGet {
		answer := f.read(r)
		f.mu.Unlock()
		reply(w, answer)
		return
	}
	key, fault := r.Header.Get("Idempotency-Key"), ""
	if len(f.faults) > 0 {
		fault, f.faults = f.faults[0], f.faults[1:]
	}
	answer, before := f.keys[key]
	switch {
	case key == "":
		f.t.Errorf("%s %s without an Idempotency-Key", r.Method, r.URL.Path)
	case fault == faultLimit:
		answer = fakeAnswer{status: 429, body: failure("invalid_request_error", "rate_limit", "", nil)}
	case fault == faultInUse:
		answer = fakeAnswer{status: 409, body: failure("invalid_request_error", "idempotency_key_in_use", "", nil)}
	case fault == faultBefore:
		answer = fakeAnswer{status: 500, body: failure("api_error", "", "", nil)}
	case fault == faultNonsense:
		answer = fakeAnswer{status: 404, body: "<html>no such host</html>"}
	case before && answer.asked != r.URL.Path+string(body):
		answer = fakeAnswer{status: 400, body: failure("idempotency_error", "", "", nil)}
	case before:
		w.Header().Set("Idempotent-Replayed", "true")
	default:
		if fault != faultStuck {
			answer = f.write(r.URL.Path, form)
		}
		if fault == faultStuck || fault == faultStuckOK {
			answer = fakeAnswer{status: 500, body: failure("api_error", "", "", nil)}
		}
		answer.asked = r.URL.Path + string(body)
		f.keys[key] = answer
	}
	f.mu.Unlock()
	switch fault {
	case faultLost:
		panic(http.ErrAbortHandler)
	case faultSlow:
		<-r.Context().Done()
	case faultCut:
		w.Header().Set("Content-Length", strconv.Itoa(len(answer.body)))
		w.WriteHeader(answer.status)
		_, _ = w.Write([]byte(answer.body[:len(answer.body)/2]))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	default:
		reply(w, answer)
	}
}

func reply(w http.ResponseWriter, answer fakeAnswer) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Request-Id", "req_1")
	w.WriteHeader(answer.status)
	_, _ = w.Write([]byte(answer.body))
}

func encode(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func failure(kind, code, decline string, intent *fakeIntent) string {
	e := map[string]any{"type": kind, "message": "client_secret=hidden"}
	if code != "" {
		e["code"] = code
	}
	if decline != "" {
		e["decline_code"] = decline
	}
	if intent != nil {
		e["payment_intent"] = intent.wire()
	}
	return encode(map[string]any{"error": e})
}

func (i *fakeIntent) wire() map[string]any {
	w := map[string]any{"id": i.id, "object": "payment_intent", "status": i.status, "amount": i.amount, "amount_capturable": i.capturable,
		"amount_received": i.received, "currency": i.currency, "metadata": i.metadata, "client_secret": i.id + "_secret_hidden"}
	if i.code != "" {
		w["last_payment_error"] = map[string]any{"type": "card_error", "code": "card_declined", "decline_code": i.code}
	}
	return w
}

func (r *fakeRefund) wire() map[string]any {
	return map[string]any{"id": r.id, "object": "refund", "status": r.status, "amount": r.amount, "currency": r.currency,
		"payment_intent": r.intent, "metadata": r.metadata}
}

func (f *stripeFake) next(prefix string) string {
	f.number++
	return fmt.Sprintf("%s_%d", prefix, f.number)
}

func (f *stripeFake) emit(kind string, object map[string]any) {
	id := f.next("evt")
	f.events = append(f.events, fakeEvent{id, kind, encode(map[string]any{"id": id, "object": "event", "type": kind,
		"api_version": "2020-08-27", "created": f.now().Unix(), "data": map[string]any{"object": object}})})
}

func formInt(form url.Values, name string) int64 {
	n, _ := strconv.ParseInt(form.Get(name), 10, 64)
	return n
}

func metadata(form url.Values, into map[string]string) map[string]string {
	for name, values := range form {
		if inner, ok := strings.CutPrefix(name, "metadata["); ok {
			into[strings.TrimSuffix(inner, "]")] = values[0]
		}
	}
	return into
}

// write does what one POST asks for.
func (f *stripeFake) write(path string, form url.Values) fakeAnswer {
	parts := strings.Split(strings.TrimPrefix(path, "/v1/"), "/")
	if parts[0] == "refunds" {
		return f.refund(form.Get("payment_intent"), formInt(form, "amount"), metadata(form, map[string]string{}))
	}
	if len(parts) == 1 {
		return f.create(form)
	}
	intent := f.intents[parts[1]]
	if intent == nil {
		return fakeAnswer{status: 404, body: failure("invalid_request_error", "resource_missing", "", nil)}
	}
	if parts[2] == "capture" {
		return f.capture(intent, formInt(form, "amount_to_capture"), metadata(form, map[string]string{}))
	}
	return f.cancel(intent)
}

func (f *stripeFake) create(form url.Values) fakeAnswer {
	intent := &fakeIntent{id: f.next("pi"), amount: formInt(form, "amount"), currency: form.Get("currency"), made: f.now(), metadata: metadata(form, map[string]string{})}
	if form.Get("capture_method") != "manual" || form.Get("confirm") != "true" {
		f.t.Errorf("intent made with %v, want it confirmed and captured by hand", form)
	}
	switch form.Get("payment_method") {
	case cardOK:
		intent.status, intent.capturable = "requires_capture", intent.amount
		f.emit("payment_intent.amount_capturable_updated", intent.wire())
	case cardAsks:
		intent.status = "requires_action"
		f.emit("payment_intent.requires_action", intent.wire())
	case cardPoor, cardAuthentication:
		intent.status, intent.code = "requires_payment_method", "insufficient_funds"
		f.intents[intent.id] = intent
		f.emit("payment_intent.payment_failed", intent.wire())
		if form.Get("payment_method") == cardPoor {
			return fakeAnswer{status: 402, body: failure("card_error", "card_declined", "insufficient_funds", intent)}
		}
		return fakeAnswer{status: 402, body: failure("card_error", "authentication_required", "authentication_required", intent)}
	default:
		return fakeAnswer{status: 400, body: failure("invalid_request_error", "resource_missing", "", nil)}
	}
	f.intents[intent.id] = intent
	return fakeAnswer{status: 200, body: encode(intent.wire())}
}

func (f *stripeFake) capture(intent *fakeIntent, amount int64, meta map[string]string) fakeAnswer {
	switch {
	case intent.status != "requires_capture":
		return fakeAnswer{status: 400, body: failure("invalid_request_error", "payment_intent_unexpected_state", "", intent)}
	case amount > intent.capturable:
		return fakeAnswer{status: 400, body: failure("invalid_request_error", "amount_too_large", "", nil)}
	}
	intent.status, intent.received, intent.capturable = "succeeded", amount, 0
	for name, value := range meta {
		intent.metadata[name] = value
	}
	f.emit("payment_intent.succeeded", intent.wire())
	return fakeAnswer{status: 200, body: encode(intent.wire())}
}

func (f *stripeFake) cancel(intent *fakeIntent) fakeAnswer {
	if intent.status == "succeeded" || intent.status == "canceled" {
		return fakeAnswer{status: 400, body: failure("invalid_request_error", "payment_intent_unexpected_state", "", intent)}
	}
	intent.status, intent.capturable = "canceled", 0
	f.emit("payment_intent.canceled", intent.wire())
	return fakeAnswer{status: 200, body: encode(intent.wire())}
}

func (f *stripeFake) refund(id string, amount int64, meta map[string]string) fakeAnswer {
	intent := f.intents[id]
	switch {
	case intent == nil || intent.received == 0:
		return fakeAnswer{status: 400, body: failure("invalid_request_error", "charge_not_refundable", "", nil)}
	case intent.refund+amount > intent.received:
		return fakeAnswer{status: 400, body: failure("invalid_request_error", "charge_already_refunded", "", nil)}
	}
	intent.refund += amount
	refund := &fakeRefund{f.next("re"), id, "succeeded", amount, intent.currency, meta}
	f.refunds = append(f.refunds, refund)
	f.emit("charge.refunded", map[string]any{"id": "ch_1", "object": "charge", "payment_intent": id, "amount_refunded": intent.refund})
	f.emit("refund.created", refund.wire())
	return fakeAnswer{status: 200, body: encode(refund.wire())}
}

// read answers a GET.
func (f *stripeFake) read(r *http.Request) fakeAnswer {
	list := []any{}
	switch parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/"), "/"); {
	case parts[0] == "refunds":
		for _, refund := range f.refunds {
			if refund.intent == r.URL.Query().Get("payment_intent") {
				list = append(list, refund.wire())
			}
		}
	case len(parts) == 1:
		since, err := strconv.ParseInt(r.URL.Query().Get("created[gte]"), 10, 64)
		if err != nil {
			f.t.Errorf("intents are listed by %q, want those of late", r.URL.RawQuery)
		}
		for _, intent := range f.intents {
			if intent.made.Unix() >= since {
				list = append(list, intent.wire())
			}
		}
	case parts[1] == "search":
		for _, intent := range f.intents { // a minute behind
			if r.URL.Query().Get("query") == fmt.Sprintf("metadata[%q]:%q", metaKey, intent.metadata[metaKey]) && f.now().Sub(intent.made) > time.Minute {
				list = append(list, intent.wire())
			}
		}
	case f.intents[parts[1]] == nil:
		return fakeAnswer{status: 404, body: failure("invalid_request_error", "resource_missing", "", nil)}
	default:
		return fakeAnswer{status: 200, body: encode(f.intents[parts[1]].wire())}
	}
	return fakeAnswer{status: 200, body: encode(page(list, r.URL.Query().Get("starting_after")))}
}

// page is the part of a list behind an object: few at once, whatever was asked for.
func page(all []any, after string) map[string]any {
	id := func(object any) string { return object.(map[string]any)["id"].(string) }
	slices.SortFunc(all, func(a, b any) int { return strings.Compare(id(a), id(b)) })
	if i := slices.IndexFunc(all, func(object any) bool { return id(object) == after }); i >= 0 {
		all = all[i+1:]
	}
	few := all[:min(len(all), 2)]
	return map[string]any{"object": "list", "has_more": len(few) < len(all), "data": few}
}

// do runs f on the stand-in's state, as somebody who uses Stripe's own pages.
func (f *stripeFake) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// happened are the events so far, of the kinds named or of all.
func (f *stripeFake) happened(kinds ...string) []fakeEvent {
	f.mu.Lock()
	defer f.mu.Unlock()
	var events []fakeEvent
	for _, event := range f.events {
		if len(kinds) == 0 || slices.Contains(kinds, event.kind) {
			events = append(events, event)
		}
	}
	return events
}
