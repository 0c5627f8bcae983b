package order

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/web"
)

const (
	// maxWait is the most that "Prefer: wait=N" can ask for.
	maxWait = 30 * time.Second
	// busyMargin is how much longer than its wait a checkout may take to answer before its key stops
	// counting as in use.
	busyMargin = 5 * time.Second
	// answerMargin is how long before the caller gives up an answer must be on its way.
	answerMargin = 500 * time.Millisecond
	// lookAgain is how often a waiting request looks for an end that another replica may have made.
	lookAgain = 250 * time.Millisecond
	// maxTotal is the largest total of an order that payment-service understands, in minor units.
	maxTotal = 1_000_000_000_000
)

func (s *Service) checkout(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "cartId")
	if err != nil {
		return err
	}
	body, err := web.ReadBody(w, r)
	if err != nil {
		return err
	}
	request, err := journal.ReadRequest(r, body)
	if err != nil {
		return err
	}
	in, err := web.Decode[api.Checkout](body, false)
	if err != nil {
		return err
	}
	ctx := r.Context()
	// What was answered before depends on nobody: look before anything is asked for again.
	stored, err := request.Find(ctx, s.db, s.now())
	if err != nil {
		return err
	}
	if stored != nil {
		return s.replay(w, r, request, *stored, s.checkoutAnswer)
	}
	c, err := cartByID(ctx, s.db, auth.CallerOf(ctx), id)
	if err != nil {
		return err
	}
	if c.state != api.CartOpen {
		return notOpen(c)
	}
	d, err := s.draftInTurn(ctx, c, in)
	if err != nil {
		return err
	}
	p := s.readPreference(r)
	g, stored, err := s.place(ctx, request, c, d, p.wait)
	if err != nil {
		return err
	}
	if stored != nil {
		return s.replay(w, r, request, *stored, s.checkoutAnswer)
	}
	return s.respond(w, r, request, g.orderID, p, s.checkoutAnswer, func() {
		if g.leaseOwner != "" {
			s.placed <- g
		} else {
			s.enqueue(g.orderID)
		}
	})
}

// maxDrafts bounds how many checkouts ask the neighbours for prices at once. When a thousand customers
// press the button together the others wait for their turn; asked all at once, the neighbours would
// answer none of them in time.
const maxDrafts = 32

// draftInTurn is draft with at most [maxDrafts] at once; it waits as long as the customer does.
func (s *Service) draftInTurn(ctx context.Context, c cart, in api.Checkout) (draft, error) {
	select {
	case s.drafts <- struct{}{}:
		defer func() { <-s.drafts }()
		return s.draft(ctx, c, in)
	case <-ctx.Done():
		return draft{}, ctx.Err()
	}
}

// draft is a checkout that has been looked through and priced, before it becomes an order.
type draft struct {
	order  record
	lines  []line
	method api.PaymentMethod
}

// draft checks the request and asks the neighbours for prices, the address and the shipping fee.
func (s *Service) draft(ctx context.Context, c cart, in api.Checkout) (draft, error) {
	if err := checkCheckout(in); err != nil {
		return draft{}, err
	}
	if c.userID == 0 {
		return draft{}, api.Invalid(api.FieldError{Field: "userId", Reason: "is missing: the cart belongs to nobody"})
	}
	items, err := itemsOf(ctx, s.db, c.id)
	if err != nil {
		return draft{}, fmt.Errorf("items of cart %d: %w", c.id, err)
	}
	if len(items) == 0 {
		return draft{}, api.Invalid(api.FieldError{Field: "items", Reason: "are missing: the cart is empty"})
	}
	d := draft{method: in.PaymentMethod, order: record{
		cartID: c.id, userID: c.userID, status: api.OrderPending, currency: s.currency.Code,
	}}
	if in.Note != "" {
		d.order.desc = &in.Note
	}
	products, err := s.present(ctx, items)
	if err != nil {
		return draft{}, neighbour("product-service", err)
	}
	if d.lines, err = s.priceLines(items, products); err != nil {
		return draft{}, err
	}
	if d.order.address, err = s.shippingAddress(ctx, c, in); err != nil {
		return draft{}, err
	}
	if err := s.chooseRate(ctx, &d, in.ShippingService); err != nil {
		return draft{}, err
	}
	total := d.order.shippingFee
	for _, l := range d.lines {
		d.order.subtotal += l.lineTotal
		d.order.tax += l.tax
		total += l.lineTotal + l.tax
	}
	if total > maxTotal {
		return draft{}, api.Invalid(api.FieldError{Field: "items", Reason: "cost " + s.tooMuch()})
	}
	d.order.fee = &total
	return d, nil
}

func checkCheckout(in api.Checkout) error {
	var problems []api.FieldError
	switch {
	case in.AddressID == 0 && in.ShippingAddress == nil:
		problems = append(problems, api.FieldError{Field: "shippingAddress", Reason: "is missing: give it or an addressId"})
	case in.AddressID != 0 && in.ShippingAddress != nil:
		problems = append(problems, api.FieldError{Field: "shippingAddress", Reason: "does not go together with an addressId"})
	case in.ShippingAddress != nil:
		problems = append(problems, in.ShippingAddress.Validate("shippingAddress")...)
	}
	for _, f := range []struct {
		field, text string
		most        int
		needed      bool
	}{
		{"paymentMethod.provider", in.PaymentMethod.Provider, 32, true},
		{"paymentMethod.token", in.PaymentMethod.Token, 255, true},
		{"shippingService", in.ShippingService, 64, false},
	} {
		if f.needed && f.text == "" {
			problems = append(problems, api.FieldError{Field: f.field, Reason: "must not be empty"})
		}
		problems = append(problems, api.CheckLine(f.field, &f.text, f.most)...)
	}
	return api.Valid(append(problems, api.CheckProse("note", &in.Note, 255)...))
}

// priceLines turns items into lines at present prices. A price that is not the one the owner saw last
// is refused, with both.
func (s *Service) priceLines(items []item, products map[api.ID]api.Product) ([]line, error) {
	var problems []api.FieldError
	lines := make([]line, 0, len(items))
	for _, i := range items {
		p := products[i.productID]
		price, ok := s.price(p)
		switch {
		case !ok:
			problems = append(problems, api.FieldError{Field: "items", ProductID: i.productID, Reason: fmt.Sprintf("hold product %d, which is no longer for sale", i.productID)})
			continue
		case price != i.seenPrice:
			problems = append(problems, api.FieldError{
				Field: "items", ProductID: i.productID, Reason: fmt.Sprintf("hold product %d, whose price has changed: read the cart again", i.productID),
				Old: new(s.currency.Amount(i.seenPrice)), New: new(s.currency.Amount(price)),
			})
			continue
		case price > maxTotal/i.quantity:
			problems = append(problems, api.FieldError{Field: "items", ProductID: i.productID, Reason: fmt.Sprintf("hold product %d for %s", i.productID, s.tooMuch())})
			continue
		}
		l := line{productID: i.productID, title: title(p), quantity: i.quantity, unitPrice: price, lineTotal: price * i.quantity}
		if p.SKU != nil {
			l.sku = clip(*p.SKU)
		}
		l.tax = s.tax.of(l.lineTotal)
		lines = append(lines, l)
	}
	return lines, api.Valid(problems)
}

// tooMuch says which total an order can not have.
func (s *Service) tooMuch() string {
	return fmt.Sprintf("more than the %v %s that one order can cost", s.currency.Amount(maxTotal), s.currency.Code)
}

// shippingAddress is the address given, or the one that addressId names among those of the cart's user.
func (s *Service) shippingAddress(ctx context.Context, c cart, in api.Checkout) (api.ShippingAddress, error) {
	if in.ShippingAddress != nil {
		return *in.ShippingAddress, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.settings.StepTimeout)
	defer cancel()
	a, err := s.users.Address(ctx, in.AddressID)
	if api.IsStatus(err, http.StatusNotFound) || (err == nil && a.User != nil && a.User.UserID != c.userID) {
		return api.ShippingAddress{}, api.Invalid(api.FieldError{Field: "addressId", Reason: fmt.Sprintf("names no address of this user: %d", in.AddressID)})
	}
	if err != nil {
		return api.ShippingAddress{}, neighbour("user-service", err)
	}
	var address api.ShippingAddress
	for _, f := range []struct {
		to   *string
		from *string
	}{{&address.FullAddress, a.FullAddress}, {&address.PostalCode, a.PostalCode}, {&address.City, a.City}, {&address.Country, a.Country}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	return address, api.Valid(address.Validate("addressId"))
}

// chooseRate sets the shipping service and its fee: the one asked for, or the cheapest.
func (s *Service) chooseRate(ctx context.Context, d *draft, service string) error {
	ctx, cancel := context.WithTimeout(ctx, s.settings.StepTimeout)
	defer cancel()
	request := api.RateRequest{ShippingAddress: d.order.address}
	for _, l := range d.lines {
		request.Items = append(request.Items, api.ItemQuantity{ProductID: l.productID, Quantity: l.quantity})
	}
	rates, err := s.shipping.Rates(ctx, request)
	if err != nil {
		return neighbour("shipping-service", err)
	}
	var names []string
	found := false
	for _, rate := range rates {
		names = append(names, rate.Service)
		fee, err := s.currency.Minor(rate.Amount)
		if err != nil || fee < 0 || rate.Currency != s.currency.Code {
			return fmt.Errorf("rate %s of shipping-service: %s %s is no price in %s", rate.Service, rate.Amount, rate.Currency, s.currency.Code)
		}
		if service != "" && rate.Service != service {
			continue
		}
		if !found || fee < d.order.shippingFee {
			d.order.shippingService, d.order.shippingFee, found = rate.Service, fee, true
		}
	}
	if !found {
		return api.Invalid(api.FieldError{Field: "shippingService", Reason: "must be one of " + strings.Join(names, ", ")})
	}
	return nil
}

// place writes the order, its saga and the cart's new state in one transaction, under the request's
// key. Where a worker is free, the saga is claimed for it at once. stored is what is known of an earlier
// request with the key.
func (s *Service) place(ctx context.Context, request journal.Request, c cart, d draft, wait time.Duration) (placed *saga, stored *journal.Stored, err error) {
	name, err := request.MarshalText()
	if err != nil {
		return nil, nil, err
	}
	var attempts int64
	var owner string
	select {
	case <-s.free:
		attempts, owner = 1, rand.Text()
		defer func() {
			if placed == nil {
				s.free <- struct{}{}
			}
		}()
	default:
	}
	var g saga
	put := func(tx *sqldb.Tx, now time.Time) error {
		if err := beginCheckout(ctx, tx, c, now); err != nil {
			return err
		}
		o := d.order
		o.date = now
		if err := insertOrder(ctx, tx, &o, "", now); err != nil {
			return err
		}
		if err := insertLines(ctx, tx, o, d.lines); err != nil {
			return err
		}
		if err := nameOrder(ctx, tx, c.id, o.id); err != nil {
			return err
		}
		g = saga{orderID: o.id, step: stepReserve, written: stepReserve, traceParent: traceOf(ctx), nextAt: now, deadline: now.Add(s.settings.SagaDeadline),
			provider: d.method.Provider, token: d.method.Token, request: string(name), order: o, lines: d.lines, attempts: attempts, leaseOwner: owner}
		if owner != "" {
			g.leaseUntil = now.Add(s.lease())
		}
		return insertSaga(ctx, tx, g)
	}
	// Nearly every checkout is the first with its key, and of a cart that is still as it was. For the others
	// the key is looked at before all else.
	err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
		now := s.stamp()
		if err := put(tx, now); err != nil {
			return err
		}
		return request.Keep(ctx, tx, g.orderID, now.Add(wait+busyMargin), now)
	})
	if errors.Is(err, errChanged) || errors.Is(err, sqldb.ErrConflict) {
		err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
			now := s.stamp()
			var err error
			if stored, err = request.Claim(ctx, tx, 0, now.Add(wait+busyMargin), now); err != nil || stored != nil {
				return err
			}
			if err := put(tx, now); err != nil {
				return err
			}
			return request.SetSubject(ctx, tx, g.orderID)
		})
	}
	if errors.Is(err, errChanged) {
		err = s.whyNotOpen(ctx, s.db, c.id)
	}
	if err != nil || stored != nil {
		return nil, stored, err
	}
	return &g, nil, nil
}

// stamp is the present time as it will be read again from the database.
func (s *Service) stamp() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// answerOf is what a write is answered about an order as it is now; rests is false while its saga goes on.
type answerOf func(ctx context.Context, q sqldb.Querier, g *saga) (answer journal.Answer, rests bool, err error)

// checkoutAnswer is the outcome of a checkout.
func (s *Service) checkoutAnswer(ctx context.Context, q sqldb.Querier, g *saga) (journal.Answer, bool, error) {
	switch {
	case g.order.status == api.OrderPending:
		return journal.Answer{}, false, nil
	case g.problem != "":
		problem := &api.Problem{}
		if err := json.Unmarshal([]byte(g.problem), problem); err != nil {
			return journal.Answer{}, false, fmt.Errorf("outcome of order %d: %w", g.orderID, err)
		}
		return journal.Answer{Status: problem.Status, Body: problem}, true, nil
	case g.order.status == api.OrderCancelled:
		problem := api.Conflict("order %d was cancelled", g.orderID)
		problem.OrderID = g.orderID
		return journal.Answer{Status: problem.Status, Body: problem}, true, nil
	}
	order, err := s.fullOrder(ctx, q, g.order, g.lines)
	return journal.Answer{Status: http.StatusCreated, Location: location(g.orderID), Body: order}, true, err
}

// storeCheckout keeps the outcome under the key of the checkout, in the transaction that ends the saga:
// the replay gives it even if nobody was there any more to be answered.
func (s *Service) storeCheckout(ctx context.Context, tx *sqldb.Tx, g *saga) error {
	var request journal.Request
	if err := request.UnmarshalText([]byte(g.request)); err != nil {
		return err
	}
	answer, _, err := s.checkoutAnswer(ctx, tx, g)
	if err != nil {
		return err
	}
	g.answer = &answer
	return request.Store(ctx, tx, answer)
}

// replay answers a key that was used before: with what is stored, or else, when the first request was
// answered 202, with how things are now. What is final now is stored: things may change once more, the
// answer to a key does not.
func (s *Service) replay(w http.ResponseWriter, r *http.Request, request journal.Request, stored journal.Stored, answer answerOf) error {
	if stored.Status != 0 || stored.Busy {
		return journal.Replay(w, stored)
	}
	ctx := r.Context()
	g, err := s.loadSaga(ctx, s.db, stored.Subject)
	if err != nil {
		return err
	}
	outcome, rests, err := answer(ctx, s.db, &g)
	if err != nil {
		return err
	}
	if rests {
		if err := s.db.Tx(ctx, func(tx *sqldb.Tx) error { return request.Store(ctx, tx, outcome) }); err != nil {
			return err
		}
	}
	w.Header().Set("Idempotency-Replayed", "true")
	return s.write(w, r, &g, outcome, rests)
}

// write answers with an outcome, or with 202 and the order as it is while there is none.
func (s *Service) write(w http.ResponseWriter, r *http.Request, g *saga, outcome journal.Answer, rests bool) error {
	if rests {
		if problem, ok := outcome.Body.(*api.Problem); ok {
			return problem
		}
		return journal.Write(w, outcome)
	}
	order, err := s.fullOrder(r.Context(), s.db, g.order, g.lines)
	if err != nil {
		return err
	}
	return journal.Write(w, journal.Answer{Status: http.StatusAccepted, Location: location(g.orderID), Body: order})
}

// respond has the saga driven, waits for its end as long as the caller prefers, and answers.
func (s *Service) respond(w http.ResponseWriter, r *http.Request, request journal.Request, id api.ID, p preference, answer answerOf, drive func()) error {
	ctx := r.Context()
	name, err := request.MarshalText()
	if err != nil {
		return err
	}
	ended, stop := s.ended.watch(id)
	defer stop()
	drive()
	if p.applied != "" {
		w.Header().Set("Preference-Applied", p.applied)
	}
	over := time.After(p.wait)
	for waiting := p.wait > 0; waiting; {
		select {
		case g := <-ended:
			if g.answer != nil && g.request == string(name) {
				return s.write(w, r, g, *g.answer, true) // as it was stored
			}
			waiting = false
		case <-over:
			waiting = false
		case <-ctx.Done():
			waiting = false
		case <-time.After(lookAgain):
			g, err := sagaByID(ctx, s.db, id)
			waiting = err != nil || g.step != stepDone
		}
	}
	// The order exists: what is known of it is written down even if the caller has gone away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), busyMargin)
	defer cancel()
	// The end of a checkout has stored its answer.
	stored, err := request.Find(ctx, s.db, s.now())
	if err != nil {
		return err
	}
	if stored != nil && stored.Status != 0 {
		return journal.WriteStored(w, *stored)
	}
	g, err := s.loadSaga(ctx, s.db, id)
	if err != nil {
		return err
	}
	final, rests, err := answer(ctx, s.db, &g)
	if err != nil {
		return err
	}
	if !rests || string(name) != g.request {
		err = s.db.Tx(ctx, func(tx *sqldb.Tx) error {
			if rests {
				return request.Store(ctx, tx, final)
			}
			return request.NotBusy(ctx, tx)
		})
	}
	if err != nil {
		return err
	}
	return s.write(w, r, &g, final, rests)
}

// preference is how long the caller of a write wants to wait for its outcome (RFC 7240).
type preference struct {
	wait    time.Duration
	applied string
}

// readPreference reads "Prefer: respond-async" and "Prefer: wait=N", N in seconds. What is no
// preference of ours is ignored, as the RFC asks. An answer comes before the caller gives up in any case.
func (s *Service) readPreference(r *http.Request) preference {
	p := parsePrefer(r.Header.Values("Prefer"), s.settings.Wait)
	if deadline, ok := r.Context().Deadline(); ok {
		p.wait = max(0, min(p.wait, time.Until(deadline)-answerMargin))
	}
	return p
}

func parsePrefer(headers []string, standard time.Duration) preference {
	p := preference{wait: standard}
	for text := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		text, _, _ = strings.Cut(text, ";")
		name, value, _ := strings.Cut(text, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "respond-async":
			return preference{applied: "respond-async"}
		case "wait":
			seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 16)
			if err != nil || p.applied != "" {
				continue
			}
			p.wait = min(time.Duration(seconds)*time.Second, maxWait)
			p.applied = fmt.Sprintf("wait=%d", int(p.wait.Seconds()))
		}
	}
	return p
}

// taxRate is a share in millionths.
type taxRate int64

const millionths = 1_000_000

// parseTaxRate reads a decimal between 0 and 1 with at most six decimals; nothing is 0.
func parseTaxRate(text string) (taxRate, error) {
	if text == "" {
		return 0, nil
	}
	rate, ok := new(big.Rat), strings.Trim(text, "-.0123456789") == "" && len(text) < 20
	if ok {
		_, ok = rate.SetString(text)
	}
	if !ok {
		return 0, fmt.Errorf("%q is not a decimal such as 0.19", text)
	}
	rate.Mul(rate, new(big.Rat).SetInt64(millionths))
	if !rate.IsInt() || rate.Sign() < 0 || !rate.Num().IsInt64() || rate.Num().Int64() > millionths {
		return 0, errors.New("want 0 to 1 with at most six decimals")
	}
	return taxRate(rate.Num().Int64()), nil
}

// of is the tax on an amount, rounded half up.
func (t taxRate) of(minor int64) int64 { return (minor*int64(t) + millionths/2) / millionths }
