package shipping

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// steps are those that a parcel can take, written down a second time.
var steps = map[string]string{
	api.ShipmentPending:      "LABEL_CREATED CANCELLED",
	api.ShipmentLabelCreated: "IN_TRANSIT CANCELLED",
	api.ShipmentInTransit:    "DELIVERED RETURNED LOST",
}

// moved is a step that was asked for under a key, with its answer.
type moved struct {
	key, state string
	status     int
	body       string
}

// machine drives the shipment of one order and knows what must come of it.
type machine struct {
	*shop
	order    int
	shipment api.ID
	taken    []string // the states that it has been in, the present one last
	asked    []moved
}

// TestShipmentMachine drives shipments over HTTP by commands in any order, while order-service is away or
// loses answers and the service restarts: legal steps only, each once and in the history, the same answer
// to the same key, and order-service is told of every step in its order.
func TestShipmentMachine(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		order := 100
		rapid.Check(t, func(rt *rapid.T) {
			order++
			m := &machine{shop: open(t, db), order: order}
			m.clock.forward(time.Duration(order) * time.Hour) // what earlier machines left is over
			m.shipment = into[api.Shipment](t, m.call(service, "POST", "/shipments", newShipment(m.order, 5)).want(t, http.StatusCreated)).ShipmentID
			m.taken = []string{api.ShipmentPending}
			rt.Repeat(map[string]func(*rapid.T){
				"move": m.moveTo,
				"again": func(rt *rapid.T) {
					if len(m.asked) > 0 {
						was := rapid.SampledFrom(m.asked).Draw(rt, "step")
						m.wantSame(rt, was, m.move(service, m.shipment, was.key, was.state))
					}
				},
				"create again": func(rt *rapid.T) {
					got := m.call(service, "POST", "/shipments", newShipment(m.order, 5)).want(t, http.StatusOK)
					if p := into[api.Shipment](t, got); p.ShipmentID != m.shipment || p.State != m.state() {
						rt.Fatalf("created again = %s, want shipment %d %s", got.body, m.shipment, m.state())
					}
				},
				"order-service": func(rt *rapid.T) {
					m.neighbours.set(rapid.Bool().Draw(rt, "away"), rapid.Bool().Draw(rt, "answers are lost"))
				},
				"sweep": func(*rapid.T) {
					m.clock.forward(time.Minute)
					_ = m.sweep(t.Context()) // fails while order-service does
				},
				"restart": func(*rapid.T) {
					was := m.shop
					was.server.Close()
					m.shop = open(t, db)
					m.neighbours, m.Service.orders, m.Service.products = was.neighbours, was.neighbours, was.neighbours
					m.clock, m.now = was.clock, was.clock.now
				},
				"": m.check,
			})
			m.neighbours.set(false, false)
			m.clock.forward(time.Hour)
			if err := m.sweep(t.Context()); err != nil {
				rt.Fatal(err)
			}
			if diff := cmp.Diff(m.taken[1:], m.heard()); diff != "" {
				rt.Fatalf("order-service was told in the end (-want +got):\n%s", diff)
			}
			m.server.Close()
		})
	})
}

func (m *machine) state() string { return m.taken[len(m.taken)-1] }

// moveTo tells of a step, legal or not.
func (m *machine) moveTo(rt *rapid.T) {
	next := moved{key: fmt.Sprintf("%d-%d", m.order, len(m.asked)), state: rapid.SampledFrom(states[:]).Draw(rt, "to")}
	want := http.StatusConflict
	switch {
	case strings.Contains(steps[m.state()], next.state):
		want = http.StatusOK
		m.taken = append(m.taken, next.state)
	case next.state == api.ShipmentCancelled && m.state() == api.ShipmentCancelled:
		want = http.StatusOK // what is wanted is so
	}
	got := m.move(service, m.shipment, next.key, next.state)
	next.status, next.body = got.status, got.body
	m.asked = append(m.asked, next)
	if got.status != want {
		rt.Fatalf("%s after %v = %d %s, want %d", next.state, m.taken, got.status, got.body, want)
	}
}

// wantSame fails unless a key was answered as before.
func (m *machine) wantSame(rt *rapid.T, was moved, got answer) {
	same := got.status == was.status && got.header.Get("Idempotency-Replayed") == "true"
	if was.status < 400 {
		same = same && got.body == was.body
	}
	if !same {
		rt.Fatalf("%s asked again = %d %s, want %d %s as before", was.state, got.status, got.body, was.status, was.body)
	}
}

// heard are the steps of the order that order-service was told of; what it was told again, because its
// answer was lost, counts once.
func (m *machine) heard() []string {
	list := []string{}
	for _, told := range m.neighbours.heard() {
		if strings.HasPrefix(told, fmt.Sprintf("order %d ", m.order)) {
			list = append(list, strings.Fields(told)[4])
		}
	}
	return slices.Compact(list)
}

// check compares what is stored and what was told with the steps that were taken.
func (m *machine) check(rt *rapid.T) {
	shipment := into[api.Shipment](m.t, m.call("user:5", "GET", "/shipments/"+m.shipment.String(), "").want(m.t, http.StatusOK))
	from := ""
	var stored []string
	for _, event := range shipment.Events {
		if event.From != from {
			rt.Fatalf("history has a gap: %+v", shipment.Events)
		}
		from = event.State
		stored = append(stored, event.State)
	}
	if diff := cmp.Diff(m.taken, stored); diff != "" || shipment.State != m.state() {
		rt.Fatalf("shipment is %s, its history (-want +got):\n%s", shipment.State, diff)
	}
	if told := m.heard(); len(told) >= len(m.taken) || !slices.Equal(told, m.taken[1:len(told)+1]) {
		rt.Fatalf("order-service was told %v of %v", told, m.taken)
	}
}
