package order

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"tienda/api"
)

// world is the neighbours: what they hold is all there is of stock, money and parcels, so that tests can
// compare it with the orders. They behave as the contracts say: idempotent by key or by order.
type world struct {
	mu sync.Mutex

	users     map[api.ID]api.User
	addresses map[api.ID]api.Address
	products  map[api.ID]api.Product
	rates     []api.Rate
	feeds     map[string][]api.Event

	onHand, reserved map[api.ID]int64
	reservations     map[api.ID]*reservation
	payments         map[api.ID]*payment
	paid             map[string]paidAnswer // by Idempotency-Key
	shipments        map[api.ID]*api.Shipment

	calls  map[string]int
	tokens map[string]bool // that calls came with

	// before and after are asked around every call; an error is all that the caller gets, with the
	// effect not made (before) or made (after).
	before, after func(ctx context.Context, call string) error
}

type reservation struct {
	items []api.ItemQuantity
	state string
}

type payment struct {
	api.Payment
	order api.ID
}

type paidAnswer struct {
	payment api.Payment
	err     error
}

func newWorld() *world {
	w := &world{
		users: map[api.ID]api.User{}, addresses: map[api.ID]api.Address{}, products: map[api.ID]api.Product{}, feeds: map[string][]api.Event{},
		rates: []api.Rate{
			{Service: "EXPRESS", Amount: dollars(1500), Currency: "USD", Days: 1},
			{Service: "STANDARD", Amount: dollars(500), Currency: "USD", Days: 5},
		},
		onHand: map[api.ID]int64{}, reserved: map[api.ID]int64{}, reservations: map[api.ID]*reservation{},
		payments: map[api.ID]*payment{}, paid: map[string]paidAnswer{}, shipments: map[api.ID]*api.Shipment{},
		calls: map[string]int{}, tokens: map[string]bool{},
	}
	for id := api.ID(1); id <= 9; id++ {
		w.users[id] = api.User{UserID: id, FirstName: new(fmt.Sprintf("user %d", id)), Credential: &api.Credential{Username: new("secret")}}
		w.addresses[id] = api.Address{AddressID: id, FullAddress: new("carthage byrsa"), PostalCode: new("2016"), City: new("carthage"),
			Country: new("TN"), User: &api.User{UserID: id}}
	}
	for id := api.ID(1); id <= 5; id++ {
		w.sell(id, int64(id)*1000, 100)
	}
	return w
}

var usd = api.Currency{Code: "USD", Digits: 2}

func dollars(cents int64) api.Amount { return usd.Amount(cents) }

// sell puts a product on sale.
func (w *world) sell(id api.ID, price, onHand int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.products[id] = api.Product{ProductID: id, ProductTitle: new(fmt.Sprintf("product %d", id)), SKU: new(fmt.Sprintf("sku-%d", id)),
		PriceUnit: new(dollars(price)), Currency: "USD"}
	w.onHand[id] = onHand
}

// enter and leave surround the effect of a call.
func (w *world) enter(ctx context.Context, call string) error {
	w.mu.Lock()
	before := w.before
	w.calls[call]++
	w.tokens[call+" "+api.Token(ctx)] = true
	w.mu.Unlock()
	if before != nil {
		if err := before(ctx, call); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (w *world) leave(ctx context.Context, call string) error {
	w.mu.Lock()
	after := w.after
	w.mu.Unlock()
	if after != nil {
		return after(ctx, call)
	}
	return nil
}

// answer makes a call: its effect under the lock, and what a test puts around it.
func answer[T any](ctx context.Context, w *world, call string, effect func() (T, error)) (T, error) {
	var none T
	if err := w.enter(ctx, call); err != nil {
		return none, err
	}
	w.mu.Lock()
	value, err := effect()
	w.mu.Unlock()
	if errLeave := w.leave(ctx, call); errLeave != nil {
		return none, errLeave
	}
	return value, err
}

func (w *world) called(call string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[call]
}

// around sets what happens before and after calls.
func (w *world) around(before, after func(ctx context.Context, call string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before, w.after = before, after
}

// away is what a call to a service gives that does not answer.
func away(service string) error {
	return &api.Unreachable{Problem: api.Unavailable(service), Cause: errors.New("connection refused")}
}

func (w *world) Users(ctx context.Context, ids []api.ID) ([]api.User, error) {
	return answer(ctx, w, "Users", func() ([]api.User, error) {
		var found []api.User
		for _, id := range ids {
			if u, ok := w.users[id]; ok {
				found = append(found, u)
			}
		}
		return found, nil
	})
}

func (w *world) Address(ctx context.Context, id api.ID) (api.Address, error) {
	return answer(ctx, w, "Address", func() (api.Address, error) {
		if a, ok := w.addresses[id]; ok {
			return a, nil
		}
		return api.Address{}, api.NotFound("Address with id: %d not found", id)
	})
}

func (w *world) Products(ctx context.Context, ids []api.ID) ([]api.Product, error) {
	return answer(ctx, w, "Products", func() ([]api.Product, error) {
		var found []api.Product
		for _, id := range ids {
			if p, ok := w.products[id]; ok {
				found = append(found, p)
			}
		}
		return found, nil
	})
}

func (w *world) Rates(ctx context.Context, request api.RateRequest) ([]api.Rate, error) {
	return answer(ctx, w, "Rates", func() ([]api.Rate, error) {
		if request.ShippingAddress.Country == "AQ" {
			return nil, api.Invalid(api.FieldError{Field: "shippingAddress.country", Reason: "is not shipped to"})
		}
		return w.rates, nil
	})
}

func (w *world) Reserve(ctx context.Context, in api.NewReservation) (api.Reservation, error) {
	return answer(ctx, w, "Reserve", func() (api.Reservation, error) {
		if r, ok := w.reservations[in.OrderID]; ok {
			if r.state == api.ReservationReleased || r.state == api.ReservationReturned {
				return api.Reservation{}, api.Conflict("the reservation of order %d is %s", in.OrderID, r.state)
			}
			if r.state == api.ReservationExpired {
				if err := w.take(r.items); err != nil {
					return api.Reservation{}, err
				}
				r.state = api.ReservationHeld
			}
			return api.Reservation{OrderID: in.OrderID, State: r.state, Items: r.items}, nil
		}
		if err := w.take(in.Items); err != nil {
			return api.Reservation{}, err
		}
		w.reservations[in.OrderID] = &reservation{in.Items, api.ReservationHeld}
		return api.Reservation{OrderID: in.OrderID, State: api.ReservationHeld, Items: in.Items}, nil
	})
}

func (w *world) take(items []api.ItemQuantity) error {
	var short []api.FieldError
	for _, i := range items {
		if available := w.onHand[i.ProductID] - w.reserved[i.ProductID]; available < i.Quantity {
			short = append(short, api.FieldError{ProductID: i.ProductID, Reason: "OUT_OF_STOCK", Requested: new(i.Quantity), Available: new(available)})
		}
	}
	if len(short) > 0 {
		p := api.Conflict("short of stock")
		p.Errors = short
		return p
	}
	for _, i := range items {
		w.reserved[i.ProductID] += i.Quantity
	}
	return nil
}

func (w *world) CommitReservation(ctx context.Context, order api.ID) (api.Reservation, error) {
	return answer(ctx, w, "CommitReservation", func() (api.Reservation, error) {
		r, ok := w.reservations[order]
		if !ok {
			return api.Reservation{}, api.NotFound("Reservation of order with id: %d not found", order)
		}
		switch r.state {
		case api.ReservationCommitted:
			return api.Reservation{OrderID: order, State: r.state}, nil
		case api.ReservationExpired:
			if err := w.take(r.items); err != nil {
				return api.Reservation{}, err
			}
		case api.ReservationReleased, api.ReservationReturned:
			return api.Reservation{}, api.Conflict("the reservation of order %d is %s", order, r.state)
		}
		for _, i := range r.items {
			w.onHand[i.ProductID] -= i.Quantity
			w.reserved[i.ProductID] -= i.Quantity
		}
		r.state = api.ReservationCommitted
		return api.Reservation{OrderID: order, State: r.state}, nil
	})
}

func (w *world) ReleaseReservation(ctx context.Context, order api.ID) (api.Reservation, error) {
	return answer(ctx, w, "ReleaseReservation", func() (api.Reservation, error) {
		r, ok := w.reservations[order]
		if !ok {
			r = &reservation{state: api.ReservationReleased}
			w.reservations[order] = r
		}
		for _, i := range r.items {
			switch r.state {
			case api.ReservationHeld:
				w.reserved[i.ProductID] -= i.Quantity
			case api.ReservationCommitted:
				w.onHand[i.ProductID] += i.Quantity
			}
		}
		switch r.state {
		case api.ReservationHeld, api.ReservationExpired:
			r.state = api.ReservationReleased
		case api.ReservationCommitted:
			r.state = api.ReservationReturned
		}
		return api.Reservation{OrderID: order, State: r.state}, nil
	})
}

// expire is what product-service does to a reservation that was held for too long.
func (w *world) expire(order api.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.reservations[order]
	for _, i := range r.items {
		w.reserved[i.ProductID] -= i.Quantity
	}
	r.state = api.ReservationExpired
}

// once keeps the final answers of payment-service by their keys.
func (w *world) once(ctx context.Context, call, key string, effect func() (api.Payment, error)) (api.Payment, error) {
	return answer(ctx, w, call, func() (api.Payment, error) {
		if kept, ok := w.paid[key]; ok {
			return kept.payment, kept.err
		}
		p, err := effect()
		w.paid[key] = paidAnswer{p, err}
		return p, err
	})
}

func (w *world) Authorize(ctx context.Context, key string, in api.Authorization) (api.Payment, error) {
	if in.PaymentMethod.Provider != "sandbox" {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.calls["Authorize"]++
		return api.Payment{}, api.Invalid(api.FieldError{Field: "paymentMethod.provider", Reason: "must be sandbox"})
	}
	return w.once(ctx, "Authorize", key, func() (api.Payment, error) {
		p := &payment{order: in.OrderID, Payment: api.Payment{PaymentID: api.ID(len(w.payments) + 100), State: api.PaymentAuthorized, Amount: &in.Amount}}
		w.payments[p.PaymentID] = p
		if in.PaymentMethod.Token != "tok_ok" {
			p.State = api.PaymentDeclined
			return api.Payment{}, api.PaymentRequired("card_declined", "the payment of order %d was refused", in.OrderID)
		}
		return p.Payment, nil
	})
}

func (w *world) Withdraw(ctx context.Context, key string, order api.ID) (api.Payment, error) {
	return w.once(ctx, "Withdraw", key, func() (api.Payment, error) {
		return api.Payment{}, api.PaymentRequired("withdrawn", "the payment of order %d was withdrawn", order)
	})
}

func (w *world) Capture(ctx context.Context, key string, id api.ID) (api.Payment, error) {
	return w.once(ctx, "Capture", key, func() (api.Payment, error) { return w.move(id, api.PaymentAuthorized, api.PaymentCaptured) })
}

func (w *world) Void(ctx context.Context, key string, id api.ID) (api.Payment, error) {
	return w.once(ctx, "Void", key, func() (api.Payment, error) { return w.move(id, api.PaymentAuthorized, api.PaymentVoided) })
}

func (w *world) Refund(ctx context.Context, key string, id api.ID, _ string) (api.Payment, error) {
	return w.once(ctx, "Refund", key, func() (api.Payment, error) { return w.move(id, api.PaymentCaptured, api.PaymentRefunded) })
}

func (w *world) move(id api.ID, from, to string) (api.Payment, error) {
	p, ok := w.payments[id]
	if !ok {
		return api.Payment{}, api.NotFound("Payment with id: %d not found", id)
	}
	if p.State != from {
		return api.Payment{}, api.Conflict("payment %d is %s", id, p.State)
	}
	p.State = to
	return p.Payment, nil
}

func (w *world) CreateShipment(ctx context.Context, in api.NewShipment) (api.Shipment, error) {
	return answer(ctx, w, "CreateShipment", func() (api.Shipment, error) {
		for _, p := range w.shipments {
			if p.OrderID == in.OrderID {
				return *p, nil
			}
		}
		if in.ShippingAddress.City == "nowhere" {
			return api.Shipment{}, api.Invalid(api.FieldError{Field: "shippingAddress.city", Reason: "is unknown"})
		}
		p := &api.Shipment{ShipmentID: api.ID(len(w.shipments) + 500), OrderID: in.OrderID, State: api.ShipmentPending, Items: in.Items}
		w.shipments[p.ShipmentID] = p
		return *p, nil
	})
}

func (w *world) CancelShipment(ctx context.Context, _ string, id api.ID, _ string) (api.Shipment, error) {
	return answer(ctx, w, "CancelShipment", func() (api.Shipment, error) {
		p, ok := w.shipments[id]
		if !ok {
			return api.Shipment{}, api.NotFound("Shipment with id: %d not found", id)
		}
		switch p.State {
		case api.ShipmentPending, api.ShipmentLabelCreated, api.ShipmentCancelled:
			p.State = api.ShipmentCancelled
			return *p, nil
		}
		return api.Shipment{}, api.Conflict("shipment %d is %s", id, p.State)
	})
}

func (w *world) Events(ctx context.Context, service string, after int64) ([]api.Event, error) {
	return answer(ctx, w, "Events "+service, func() ([]api.Event, error) {
		events := w.feeds[service]
		return slices.Clone(events[min(int(after), len(events)):]), nil
	})
}

// moneyOf is what a customer has paid for an order and not got back, and how many payments there are.
func (w *world) moneyOf(order api.ID) (held string, payments int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.payments {
		if p.order == order {
			payments++
			held = p.State
		}
	}
	return held, payments
}

func (w *world) reservationOf(order api.ID) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r, ok := w.reservations[order]; ok {
		return r.state
	}
	return ""
}

func (w *world) shipmentsOf(order api.ID) (states []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.shipments {
		if p.OrderID == order {
			states = append(states, p.State)
		}
	}
	return states
}

// stock is a copy of what is on hand and reserved.
func (w *world) stock() (onHand, reserved map[api.ID]int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.onHand), maps.Clone(w.reserved)
}

// first makes a hook that acts on the first n calls of one kind and lets everything else pass.
func first(n int, call string, do func(ctx context.Context) error) func(context.Context, string) error {
	var mu sync.Mutex
	return func(ctx context.Context, called string) error {
		if called != call {
			return nil
		}
		mu.Lock()
		acts := n > 0
		n--
		mu.Unlock()
		if !acts {
			return nil
		}
		return do(ctx)
	}
}

func statusError(status int) func(context.Context) error {
	return func(context.Context) error { return api.Status(status, "made up by the test") }
}

func noAnswer(context.Context) error { return away("the neighbour") }
