package shipping

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

func TestShipment(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		h.call(admin, "POST", "/shippings", `{"productId":1,"orderId":7,"orderedQuantity":5}`).want(t, 201) // becomes part of it
		created := h.call(service, "POST", "/shipments", newShipment(7, 5)).want(t, 201)
		id := into[api.Shipment](t, created).ShipmentID // not always 1: MySQL may have spent that on a first attempt
		if got, want := created.header.Get("Location"), "/shipping-service/api/shipments/"+id.String(); got != want || id == 0 {
			t.Errorf("Location = %q, want %q", got, want)
		}
		want := api.Shipment{ShipmentID: id, OrderID: 7, State: api.ShipmentPending, Service: serviceStandard,
			ShippingAddress: api.ShippingAddress{FullAddress: "carthage byrsa", PostalCode: "2016", City: "carthage", Country: "TN"},
			Items:           []api.ItemQuantity{{ProductID: 1, Quantity: 1}, {ProductID: 2, Quantity: 3}},
			Events:          []api.ShipmentEvent{{State: api.ShipmentPending, Actor: "order-service", At: h.clock.now()}},
			CreatedAt:       h.clock.now(), UpdatedAt: h.clock.now()}
		if diff := cmp.Diff(want, into[api.Shipment](t, created)); diff != "" {
			t.Errorf("created (-want +got):\n%s", diff)
		}
		again := h.call(service, "POST", "/shipments", newShipment(7, 6)).want(t, 200)
		if diff := cmp.Diff(want, into[api.Shipment](t, again)); diff != "" {
			t.Errorf("created again (-want +got):\n%s", diff)
		}
		// The existing paths show its items and do not change them.
		items := into[api.List[api.OrderItem]](t, h.call("user:5", "GET", "/shippings?orderId=7", "").want(t, 200)).Collection
		if len(items) != 2 {
			t.Errorf("items = %d, want 2", len(items))
		}
		for _, call := range []struct{ method, path, body string }{
			{"POST", "/shippings", `{"productId":1,"orderId":7,"orderedQuantity":9}`},
			{"POST", "/shippings", `{"productId":3,"orderId":7,"orderedQuantity":9}`},
			{"DELETE", "/shippings/7/1", ""},
			{"DELETE", "/shippings/delete", `{"productId":2,"orderId":7}`},
		} {
			h.call(admin, call.method, call.path, call.body).want(t, 409)
		}
		h.move(admin, id, "a", api.ShipmentDelivered).want(t, 409)
		h.move(admin, id, "b", api.ShipmentLabelCreated).want(t, 200)
		if got := h.move(admin, id, "b", api.ShipmentLabelCreated).want(t, 200).header.Get("Idempotency-Replayed"); got != "true" {
			t.Errorf("Idempotency-Replayed = %q, want true", got)
		}
		h.move(admin, id, "c", api.ShipmentInTransit).want(t, 200)
		h.move(service, id, "d", api.ShipmentCancelled).want(t, 409)
		h.move(admin, id, "e", api.ShipmentDelivered).want(t, 200)
		h.move(admin, id, "f", api.ShipmentReturned).want(t, 409)
		var steps []string
		for _, event := range into[api.Shipment](t, h.call("user:5", "GET", "/shipments/"+id.String(), "").want(t, 200)).Events {
			steps = append(steps, event.From+">"+event.State+" by "+event.Actor)
		}
		if diff := cmp.Diff([]string{">PENDING by order-service", "PENDING>LABEL_CREATED by admin:4", "LABEL_CREATED>IN_TRANSIT by admin:4",
			"IN_TRANSIT>DELIVERED by admin:4"}, steps); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		of := "order 7 shipment " + id.String()
		if diff := cmp.Diff([]string{of + " LABEL_CREATED TN1", of + " IN_TRANSIT TN1", of + " DELIVERED TN1"}, h.neighbours.heard()); diff != "" {
			t.Errorf("order-service was told (-want +got):\n%s", diff)
		}
		if strings.Count(h.neighbours.tokens[0], ".") != 2 {
			t.Errorf("token to order-service = %q, want one of this service itself", h.neighbours.tokens[0])
		}
		h.clock.forward(time.Minute)
		if got := len(into[api.List[api.Event]](t, h.call(service, "GET", "/events?after=0", "").want(t, 200)).Collection); got != 5 {
			t.Errorf("events of the service = %d, want 5", got)
		}
	})
}

func TestCancelTwice(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	h.call(service, "POST", "/shipments", newShipment(7, 5)).want(t, 201)
	h.move(admin, 1, "a", api.ShipmentCancelled).want(t, 200)
	h.move(service, 1, "order-7-cancel", api.ShipmentCancelled).want(t, 200)
	h.move(service, 1, "b", api.ShipmentLabelCreated).want(t, 409)
	if got := len(h.neighbours.heard()); got != 1 {
		t.Errorf("order-service was told %d times, want once", got)
	}
}

// order-service is away, or takes what it is told and loses the answer: it is told again, in order,
// until its answer arrives.
func TestToldUntilTaken(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		h.call(service, "POST", "/shipments", newShipment(7, 5)).want(t, 201)
		h.call(service, "POST", "/shipments", newShipment(8, 5)).want(t, 201)
		h.neighbours.set(true, false)
		for i, state := range []string{api.ShipmentLabelCreated, api.ShipmentInTransit, api.ShipmentLost} {
			h.move(admin, 1, fmt.Sprint("a", i), state).want(t, 200)
		}
		h.move(admin, 2, "b", api.ShipmentLabelCreated).want(t, 200)
		if err := h.sweep(t.Context()); err != nil {
			t.Errorf("sweep with nothing due = %v, want nil", err)
		}
		h.clock.forward(time.Hour)
		if err := h.sweep(t.Context()); err == nil {
			t.Error("sweep without order-service = nil, want an error")
		}
		h.neighbours.set(false, true)
		h.clock.forward(time.Hour)
		if err := h.sweep(t.Context()); err == nil {
			t.Error("sweep with lost answers = nil, want an error")
		}
		h = &shop{Service: New(db, h.neighbours, h.neighbours, h.identity, dollars, h.settings, h.log, h.clock.now), t: t, clock: h.clock, neighbours: h.neighbours}
		h.neighbours.set(false, false)
		h.clock.forward(time.Hour)
		if err := h.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := map[string][]string{}
		for _, told := range h.neighbours.heard() {
			order := told[:len("order 7")]
			got[order] = append(got[order], strings.Fields(told)[4])
		}
		want := map[string][]string{"order 7": {"LABEL_CREATED", "LABEL_CREATED", "IN_TRANSIT", "LOST"}, "order 8": {"LABEL_CREATED", "LABEL_CREATED"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("order-service was told (-want +got):\n%s", diff)
		}
		if n, err := sqldb.Count(t.Context(), db, 10, `SELECT notification_id FROM notifications`); n != 0 || err != nil {
			t.Errorf("notifications left = %d, %v, want 0", n, err)
		}
	})
}

func TestTogether(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		each := func(do func(i int) int) map[int]int {
			var (
				mu       sync.Mutex
				group    sync.WaitGroup
				statuses = map[int]int{}
			)
			for i := range 16 {
				group.Go(func() {
					status := do(i)
					mu.Lock()
					statuses[status]++
					mu.Unlock()
				})
			}
			group.Wait()
			return statuses
		}
		got := each(func(int) int { return h.call(service, "POST", "/shipments", newShipment(7, 5)).status })
		if diff := cmp.Diff(map[int]int{201: 1, 200: 15}, got); diff != "" {
			t.Errorf("shipments of one order (-want +got):\n%s", diff)
		}
		got = each(func(int) int {
			return h.call(admin, "POST", "/shippings", `{"productId":1,"orderId":1,"orderedQuantity":1}`).status
		})
		if diff := cmp.Diff(map[int]int{201: 1, 200: 15}, got); diff != "" {
			t.Errorf("one order item (-want +got):\n%s", diff)
		}
		got = each(func(i int) int { return h.move(admin, 1, fmt.Sprint("k", i), api.ShipmentLabelCreated).status })
		if diff := cmp.Diff(map[int]int{200: 1, 409: 15}, got); diff != "" {
			t.Errorf("one step (-want +got):\n%s", diff)
		}
		if got := h.neighbours.heard(); len(got) != 1 {
			t.Errorf("order-service was told %v, want one step", got)
		}
	})
}

// interrupted is an order-service that does something before it takes what it is told.
type interrupted struct {
	*neighbours
	first func()
}

func (o interrupted) ShipmentChanged(ctx context.Context, order api.ID, change api.ShipmentChange) error {
	o.first()
	return o.neighbours.ShipmentChanged(ctx, order, change)
}

// Of two replicas that found the same step due, one tells it.
func TestOneTells(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		h := open(t, db)
		h.call(service, "POST", "/shipments", newShipment(7, 5)).want(t, 201)
		h.neighbours.set(true, false)
		h.move(admin, 1, "a", api.ShipmentLabelCreated).want(t, 200)
		h.neighbours.set(false, false)
		h.clock.forward(time.Hour)
		due, err := firstNotification(t.Context(), db, 1)
		if err != nil {
			t.Fatal(err)
		}
		again := false
		h.Service.orders = interrupted{h.neighbours, func() {
			if again {
				t.Error("order-service is told of a step by two at once")
				return
			}
			again = true
			if told, err := h.deliver(t.Context(), due); told || err != nil {
				t.Errorf("deliver of what another delivers = %v, %v, want false", told, err)
			}
		}}
		if told, err := h.deliver(t.Context(), due); !told || err != nil {
			t.Errorf("deliver = %v, %v, want true", told, err)
		}
	})
}

func TestRunDelivers(t *testing.T) {
	t.Parallel()
	h := open(t, sqldbtest.Open(t, "sqlite", migrations...))
	h.call(service, "POST", "/shipments", newShipment(7, 5)).want(t, 201)
	h.neighbours.set(true, false)
	h.move(admin, 1, "a", api.ShipmentLabelCreated).want(t, 200)
	h.neighbours.set(false, false)
	h.clock.forward(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- h.Run(ctx) }()
	deadline := time.Now().Add(10 * time.Second)
	for len(h.neighbours.heard()) == 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if got := len(h.neighbours.heard()); got != 1 {
		t.Errorf("order-service was told %d times, want once", got)
	}
}

// TestStates walks shipments at random: every walk ends, nothing leaves a final state, and a parcel
// that left is not cancelled.
func TestStates(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		state, left := api.ShipmentPending, false
		for step := 0; len(nextStates(state)) > 0; step++ {
			if step > 3 {
				t.Fatalf("still in %s after %d steps", state, step)
			}
			state = rapid.SampledFrom(nextStates(state)).Draw(t, "state")
			if !slices.Contains(states[:], state) {
				t.Fatalf("%s is none of the states", state)
			}
			left = left || state == api.ShipmentInTransit
			if left && state == api.ShipmentCancelled {
				t.Fatal("cancelled after it left")
			}
		}
	})
}
