package order

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tienda/api"
	"tienda/sqldb"
)

// What can become of a call that a saga makes.
const (
	fine       = "fine"
	lostBefore = "lost on the way" // without effect
	lostAfter  = "answer lost"     // with effect
	failing    = "500"             // without effect
	busy       = "busy"            // without effect, and asked for patience
	diesBefore = "driver dies before"
	diesAfter  = "driver dies after"
)

// What is on sale. Carts hold up to three of each, so that some find too little.
const (
	goods   = 3
	perGood = int64(8)
)

// wish is a write that a customer made under a key, with its answer once that is final.
type wish struct {
	user, key, path, body string
	order                 api.ID
	status                int // 0 while there is no final answer
}

// machine drives checkouts, cancellations and news of shipments, and knows what must come of them.
type machine struct {
	*fixture
	t         *testing.T
	rt        *rapid.T
	db        *sqldb.DB
	w         *world
	now       time.Time
	round     int
	keys      int
	plan      []string // what becomes of the next calls
	fate      string   // of the call under way
	checkouts []*wish
	cancels   []*wish
	passed    map[api.ID][]string // by shipment, the states it has been in at shipping-service
	seen      map[api.ID]int      // by order, how much of its history was there
}

// TestOrderMachine drives orders by commands in any order, while neighbours fail, lose answers and are
// slow to take a no, drivers die in the middle of calls and the service restarts: legal steps only, a
// history that only grows, the same answer to the same key; and when everything has come to rest the
// neighbours hold the money, the stock and the parcels that the orders say.
func TestOrderMachine(t *testing.T) {
	each(t, func(t *testing.T, db *sqldb.DB) {
		round := 0
		rapid.Check(t, func(rt *rapid.T) {
			round++
			m := &machine{t: t, rt: rt, db: db, w: newWorld(), round: round, passed: map[api.ID][]string{}, seen: map[api.ID]int{},
				now: time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(round) * 24 * time.Hour)}
			for id := api.ID(1); id <= goods; id++ {
				m.w.sell(id, int64(id)*1000, perGood)
			}
			m.w.around(m.before, m.after)
			m.restart(rt)
			rt.Repeat(map[string]func(*rapid.T){
				"checkout":       m.checkout,
				"checkout again": func(rt *rapid.T) { m.repeat(rt, m.checkouts) },
				"cancel":         m.cancelOne,
				"cancel again":   func(rt *rapid.T) { m.repeat(rt, m.cancels) },
				"work":           m.work,
				"work on":        m.work,
				"work more":      m.work,
				"parcel":         m.parcel,
				"parcel moves":   m.parcel,
				"expire":         m.expireOne,
				"time": func(rt *rapid.T) {
					m.now = m.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(rt, "seconds")) * time.Second)
				},
				"restart": m.restart,
				"":        m.check,
			})
			m.rest()
		})
	})
}

func (m *machine) restart(*rapid.T) {
	m.fixture = build(m.t, m.db, m.w, withClock(func() time.Time { return m.now }))
}

// before and after are what becomes of a call.
func (m *machine) before(ctx context.Context, _ string) error {
	m.fate = fine
	if len(m.plan) > 0 {
		m.fate, m.plan = m.plan[0], m.plan[1:]
	}
	switch m.fate {
	case lostBefore:
		return noAnswer(ctx)
	case failing:
		return api.Status(http.StatusInternalServerError, "made up by the test")
	case busy:
		p := api.Conflict("still at it")
		p.RetryAfter = time.Second
		return p
	case diesBefore:
		runtime.Goexit()
	}
	return nil
}

func (m *machine) after(ctx context.Context, _ string) error {
	switch m.fate {
	case lostAfter:
		return noAnswer(ctx)
	case diesAfter:
		runtime.Goexit()
	}
	return nil
}

// alone runs what may die.
func (m *machine) alone(do func()) {
	var life sync.WaitGroup
	life.Go(do)
	life.Wait()
}

func (m *machine) faults(rt *rapid.T) []string {
	return rapid.SliceOfN(rapid.SampledFrom([]string{fine, fine, fine, fine, lostBefore, lostAfter, failing, busy, diesBefore, diesAfter}), 0, 8).Draw(rt, "calls")
}

// work lets workers drive what is due, each until it dies, waits or ends.
func (m *machine) work(rt *rapid.T) {
	m.plan = m.faults(rt)
	m.driveDue()
	m.plan = nil
}

func (m *machine) driveDue() {
	ids, err := dueSagas(m.t.Context(), m.db, m.now, pollMost)
	if err != nil {
		m.rt.Fatal(err)
	}
	for _, id := range ids {
		m.alone(func() {
			g, err := m.claim(m.t.Context(), id)
			m.drive(m.t.Context(), id, g, err)
		})
	}
}

func (m *machine) user(n int) string { return fmt.Sprintf("user:%d", 1000*m.round+n) }

// checkout fills the cart of one of three customers and checks it out; perhaps a worker is free for it.
func (m *machine) checkout(rt *rapid.T) {
	user := m.user(rapid.IntRange(1, 3).Draw(rt, "user"))
	cart := decode[api.Cart](m.t, m.want(m.t, http.StatusOK, user, "GET", "/api/carts/mine", ""))
	if cart.State == api.CartOpen {
		for product := 1; product <= goods; product++ {
			if n := rapid.IntRange(0, 3).Draw(rt, "quantity"); n > 0 || product == 1 {
				m.want(m.t, http.StatusOK, user, "PUT", fmt.Sprintf("/api/carts/%d/items/%d", cart.CartID, product), fmt.Sprintf(`{"quantity":%d}`, max(n, 1)))
			}
		}
	}
	body := goodCheckout
	switch rapid.IntRange(0, 9).Draw(rt, "kind") {
	case 0:
		body = strings.Replace(body, "tok_ok", "tok_declined", 1)
	case 1:
		body = strings.Replace(body, `"carthage"`, `"nowhere"`, 1)
	}
	if rapid.Bool().Draw(rt, "a worker is free") {
		m.free <- struct{}{}
	}
	m.keys++
	asked := &wish{user: user, key: fmt.Sprintf("k%d", m.keys), path: checkoutPath(cart.CartID), body: body}
	got := m.ask(asked)
	want := http.StatusAccepted
	if cart.State != api.CartOpen {
		want = http.StatusConflict
	}
	if got.status != want {
		rt.Fatalf("checkout of a cart that is %s = %d %s, want %d", cart.State, got.status, got.body, want)
	}
	if want == http.StatusAccepted {
		asked.order = decode[api.Order](m.t, got).OrderID
		m.checkouts = append(m.checkouts, asked)
	}
	select {
	case <-m.free: // was not needed
	case g := <-m.placed:
		m.plan = m.faults(rt)
		m.alone(func() { m.drive(m.t.Context(), g.orderID, g, nil) })
		m.plan = nil
	default:
	}
}

// ask makes a write, again or for the first time, and keeps its answer when it is final.
func (m *machine) ask(asked *wish) reply {
	got := m.send(asked.user, "POST", asked.path, asked.body, "Idempotency-Key", asked.key, "Prefer", "respond-async")
	told := decode[struct{ OrderID api.ID }](m.t, got)
	if asked.order != 0 && told.OrderID != 0 && told.OrderID != asked.order {
		m.rt.Fatalf("%s = %s, want order %d", asked.path, got.body, asked.order)
	}
	if asked.status != 0 && (got.status != asked.status || got.header.Get("Idempotency-Replayed") != "true") {
		m.rt.Fatalf("%s again = %d %s, want %d as before", asked.path, got.status, got.body, asked.status)
	}
	switch later := got.header.Get("Retry-After") != ""; {
	case got.status >= 500:
		m.rt.Fatalf("%s = %d %s", asked.path, got.status, got.body)
	case got.status != http.StatusAccepted && !later:
		asked.status = got.status
	}
	return got
}

func (m *machine) repeat(rt *rapid.T, wishes []*wish) {
	if len(wishes) > 0 {
		m.ask(rapid.SampledFrom(wishes).Draw(rt, "wish"))
	}
}

// cancelOne is a customer who changes their mind.
func (m *machine) cancelOne(rt *rapid.T) {
	if len(m.checkouts) == 0 {
		return
	}
	of := rapid.SampledFrom(m.checkouts).Draw(rt, "order")
	m.keys++
	asked := &wish{user: of.user, key: fmt.Sprintf("k%d", m.keys), path: cancelPath(of.order), body: `{"reason":"changed my mind"}`, order: of.order}
	m.ask(asked)
	m.cancels = append(m.cancels, asked)
}

// expireOne is what product-service does when a reservation was held for too long.
func (m *machine) expireOne(rt *rapid.T) {
	for _, of := range m.checkouts {
		if m.w.reservationOf(of.order) == api.ReservationHeld && rapid.Bool().Draw(rt, "this one") {
			m.w.expire(of.order)
			return
		}
	}
}

// parcel moves a parcel at shipping-service, or not, and tells order-service of any state that it has been in.
func (m *machine) parcel(rt *rapid.T) {
	if len(m.w.shipments) == 0 {
		return
	}
	var ids []api.ID
	for id := range m.w.shipments {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	p := m.w.shipments[rapid.SampledFrom(ids).Draw(rt, "shipment")]
	next := map[string][]string{
		api.ShipmentPending:      {api.ShipmentLabelCreated, api.ShipmentCancelled},
		api.ShipmentLabelCreated: {api.ShipmentInTransit, api.ShipmentInTransit, api.ShipmentCancelled},
		api.ShipmentInTransit:    {api.ShipmentDelivered, api.ShipmentDelivered, api.ShipmentReturned, api.ShipmentLost},
	}[p.State]
	if len(next) > 0 && rapid.Bool().Draw(rt, "moves") {
		p.State = rapid.SampledFrom(next).Draw(rt, "to")
		m.passed[p.ShipmentID] = append(m.passed[p.ShipmentID], p.State)
	}
	if passed := m.passed[p.ShipmentID]; len(passed) > 0 {
		m.tell(p, rapid.SampledFrom(passed).Draw(rt, "news"))
	}
}

// tell tells order-service of a state and reports whether it took the news.
func (m *machine) tell(p *api.Shipment, state string) bool {
	got := m.send("service:shipping-service", "POST", orderPath(p.OrderID)+"/shipment", fmt.Sprintf(`{"shipmentId":%d,"state":%q}`, p.ShipmentID, state))
	if got.status != http.StatusOK && got.header.Get("Retry-After") == "" {
		m.rt.Fatalf("news that shipment %d of order %d is %s = %d %s, want it taken or asked for again", p.ShipmentID, p.OrderID, state, got.status, got.body)
	}
	return got.status == http.StatusOK
}

// check looks at what must hold at every moment.
func (m *machine) check(rt *rapid.T) {
	for _, asked := range m.checkouts {
		o := decode[api.Order](m.t, m.want(m.t, http.StatusOK, asked.user, "GET", orderPath(asked.order), ""))
		at := ""
		for _, h := range o.History {
			if h.From != at || at != "" && !strings.Contains(edges[at], h.To) {
				rt.Fatalf("order %d stepped from %q to %s: %+v", asked.order, h.From, h.To, o.History)
			}
			at = h.To
		}
		if at != o.Status || len(o.History) < m.seen[asked.order] {
			rt.Fatalf("order %d is %s with the history %+v", asked.order, o.Status, o.History)
		}
		m.seen[asked.order] = len(o.History)
		if _, n := m.w.moneyOf(asked.order); n > 1 {
			rt.Fatalf("order %d has %d payments", asked.order, n)
		}
		if n := len(m.w.shipmentsOf(asked.order)); n > 1 {
			rt.Fatalf("order %d has %d shipments", asked.order, n)
		}
	}
	onHand, reserved := m.w.stock()
	for id := api.ID(1); id <= goods; id++ {
		if reserved[id] < 0 || onHand[id] < reserved[id] || onHand[id] > perGood {
			rt.Fatalf("product %d: %d on hand, %d reserved", id, onHand[id], reserved[id])
		}
	}
}

// rest lets everything come to its end, with neighbours that answer, and compares what there is.
func (m *machine) rest() {
	for range 60 {
		m.driveDue()
		m.now = m.now.Add(m.lease())
		for id, states := range m.passed {
			for len(states) > 0 && m.tell(m.w.shipments[id], states[0]) {
				states = states[1:]
			}
			m.passed[id] = states
		}
	}
	m.check(m.rt)
	sold := map[api.ID]int64{}
	for _, asked := range m.checkouts {
		m.restsWell(asked, sold)
	}
	for _, asked := range slices.Concat(m.checkouts, m.cancels) {
		m.ask(asked)
		m.ask(asked)
		if asked.status == 0 {
			m.rt.Fatalf("%s has no final answer", asked.path)
		}
	}
	onHand, reserved := m.w.stock()
	for id := api.ID(1); id <= goods; id++ {
		if reserved[id] != 0 || onHand[id] != perGood-sold[id] {
			m.rt.Fatalf("product %d: %d on hand and %d reserved, want %d and none", id, onHand[id], reserved[id], perGood-sold[id])
		}
	}
	for _, asked := range m.cancels {
		o := decode[api.Order](m.t, m.want(m.t, http.StatusOK, asked.user, "GET", orderPath(asked.order), ""))
		if (asked.status == http.StatusOK) != (o.Status == api.OrderCancelled) {
			m.rt.Fatalf("cancel of order %d was answered %d, the order is %s", asked.order, asked.status, o.Status)
		}
	}
}

// restsWell compares an order with what the neighbours hold of it, and adds up what was sold.
func (m *machine) restsWell(asked *wish, sold map[api.ID]int64) {
	o := decode[api.Order](m.t, m.want(m.t, http.StatusOK, asked.user, "GET", orderPath(asked.order), ""))
	money, _ := m.w.moneyOf(o.OrderID)
	stock, parcels := m.w.reservationOf(o.OrderID), m.w.shipmentsOf(o.OrderID)
	good := false
	switch o.Status {
	case api.OrderConfirmed:
		good = money == api.PaymentCaptured && stock == api.ReservationCommitted && len(parcels) == 1 && (parcels[0] == api.ShipmentPending || parcels[0] == api.ShipmentLabelCreated)
	case api.OrderShipped:
		good = money == api.PaymentCaptured && stock == api.ReservationCommitted && slices.Equal(parcels, []string{api.ShipmentInTransit})
	case api.OrderDelivered:
		good = money == api.PaymentCaptured && stock == api.ReservationCommitted && slices.Equal(parcels, []string{api.ShipmentDelivered})
	case api.OrderRefunded:
		good = money == api.PaymentRefunded && stock == api.ReservationCommitted && len(parcels) == 1 && (parcels[0] == api.ShipmentReturned || parcels[0] == api.ShipmentLost)
	case api.OrderCancelled:
		good = (money == "" || !holdsMoney(money)) && (stock == api.ReservationReleased || stock == api.ReservationReturned) &&
			(len(parcels) == 0 || slices.Equal(parcels, []string{api.ShipmentCancelled}))
	}
	if !good {
		m.rt.Fatalf("order %d rests as %s with the payment %q, the reservation %q and the parcels %v: %+v", o.OrderID, o.Status, money, stock, parcels, o.History)
	}
	if stock == api.ReservationCommitted {
		for _, item := range o.Items {
			sold[item.ProductID] += item.Quantity
		}
	}
	g, err := sagaByID(m.t.Context(), m.db, o.OrderID)
	if err != nil || g.step != stepDone || g.token != "" {
		m.rt.Fatalf("saga of order %d = %+v, %v, want it done", o.OrderID, g, err)
	}
}
