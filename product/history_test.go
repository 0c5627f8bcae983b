package product

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// Sizes of one history. All of its orders want the same products, of which there is too little.
const (
	historyProducts = 2
	historyOrders   = 4
	historyClients  = 5
	historyCalls    = 8 // of each client
	historyStock    = 6 // of each product
)

// shelf is the sequential model of stock and reservations: what one clerk with a pencil would do.
type shelf struct {
	onHand, reserved [historyProducts]int64
	orders           [historyOrders]claim
}

// claim is the reservation of an order; its state is empty while there is none.
type claim struct {
	state string
	items [historyProducts]int64
}

// shelfCall is a call of a history. Orders and products count from 0.
type shelfCall struct {
	kind     string
	order    int
	product  int
	quantity int64
	items    [historyProducts]int64
}

// shelfAnswer is what came of a call, as far as the model tells it; status 0 is no answer.
type shelfAnswer struct {
	status int
	state  string    // of the reservation
	stock  api.Stock // without the id
	sum    int64     // what is on hand after a movement
}

// take reserves all items or none.
func (s *shelf) take(items [historyProducts]int64) bool {
	for p, n := range items {
		if n > 0 && s.onHand[p]-s.reserved[p] < n {
			return false
		}
	}
	for p, n := range items {
		s.reserved[p] += n
	}
	return true
}

func (s *shelf) giveBack(items [historyProducts]int64) {
	for p, n := range items {
		s.reserved[p] -= n
	}
}

// do makes a call and says what is answered. A call that is refused leaves the shelf as it is.
func (s shelf) do(c shelfCall) (shelf, shelfAnswer) {
	was := s
	mine := &s.orders[c.order]
	refused := shelfAnswer{status: http.StatusConflict}
	switch c.kind {
	case "reserve":
		status := http.StatusOK
		switch {
		case mine.state == "":
			status, mine.items = http.StatusCreated, c.items
			if !s.take(c.items) {
				return was, refused
			}
			mine.state = api.ReservationHeld
		case mine.state == api.ReservationReleased || mine.state == api.ReservationReturned || mine.items != c.items:
			return was, refused
		case mine.state == api.ReservationExpired:
			if !s.take(mine.items) {
				return was, refused
			}
			mine.state = api.ReservationHeld
		}
		return s, shelfAnswer{status: status, state: mine.state}
	case "commit":
		switch mine.state {
		case "":
			return was, shelfAnswer{status: http.StatusNotFound}
		case api.ReservationReleased, api.ReservationReturned:
			return was, refused
		case api.ReservationExpired:
			if !s.take(mine.items) {
				return was, refused
			}
			mine.state = api.ReservationHeld
		}
		if mine.state == api.ReservationHeld {
			s.giveBack(mine.items)
			for p, n := range mine.items {
				s.onHand[p] -= n
			}
			mine.state = api.ReservationCommitted
		}
		return s, shelfAnswer{status: http.StatusOK, state: mine.state}
	case "release":
		switch mine.state {
		case api.ReservationHeld:
			s.giveBack(mine.items)
			mine.state = api.ReservationReleased
		case api.ReservationCommitted:
			for p, n := range mine.items {
				s.onHand[p] += n
			}
			mine.state = api.ReservationReturned
		case "", api.ReservationExpired:
			mine.state = api.ReservationReleased
		}
		return s, shelfAnswer{status: http.StatusOK, state: mine.state}
	case "expire":
		if mine.state == api.ReservationHeld {
			s.giveBack(mine.items)
			mine.state = api.ReservationExpired
		}
		return s, shelfAnswer{}
	case "move":
		if s.onHand[c.product]-s.reserved[c.product]+c.quantity < 0 {
			return was, refused
		}
		s.onHand[c.product] += c.quantity
		return s, shelfAnswer{status: http.StatusCreated, sum: s.onHand[c.product]}
	}
	onHand, reserved := s.onHand[c.product], s.reserved[c.product]
	return s, shelfAnswer{status: http.StatusOK, stock: api.Stock{OnHand: onHand, Reserved: reserved, Available: onHand - reserved}}
}

// shelves is the model that histories are checked against. A call without an answer may have been made
// or not, and so may the expiry of a reservation, which nobody is told of.
func shelves() porcupine.Model {
	model := porcupine.NondeterministicModel{
		Init: func() []any {
			var s shelf
			for p := range s.onHand {
				s.onHand[p] = historyStock
			}
			return []any{s}
		},
		Step: func(state, input, output any) []any {
			next, want := state.(shelf).do(input.(shelfCall))
			switch got := output.(shelfAnswer); {
			case got.status == 0:
				return []any{state, next}
			case got == want:
				return []any{next}
			}
			return nil
		},
	}
	return model.ToModel()
}

// historian is one history: the calls of several clients that were under way together.
type historian struct {
	s       *shop
	round   int
	began   time.Time
	mu      sync.Mutex
	history []porcupine.Operation
}

// order and product are the ids of a round's n-th.
func (h *historian) order(n int) int   { return h.round*historyOrders + n + 1 }
func (h *historian) product(n int) int { return h.round*historyProducts + n + 1 }

// record makes a call and writes it down. A call without an answer ends never: it may take effect later.
func (h *historian) record(client int, calls []shelfCall, do func() shelfAnswer) {
	from := time.Since(h.began).Nanoseconds()
	got := do()
	to := time.Since(h.began).Nanoseconds()
	if got.status == 0 && calls[0].kind != "expire" {
		to = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range calls {
		h.history = append(h.history, porcupine.Operation{ClientId: client, Input: c, Output: got, Call: from, Return: to})
	}
}

// client makes calls at random.
func (h *historian) client(number int, random *rand.Rand) {
	for n := range historyCalls {
		c := shelfCall{order: random.IntN(historyOrders), product: random.IntN(historyProducts)}
		c.items = [historyProducts]int64{int64(c.order%3 + 1), int64((c.order + 1) % 3)} // an order always wants the same
		patience := 10 * time.Second
		if random.IntN(10) == 0 {
			patience = time.Duration(random.IntN(2000)) * time.Microsecond
		}
		c.kind = []string{"reserve", "reserve", "reserve", "commit", "commit", "release", "move", "look", "look", "expire"}[random.IntN(10)]
		calls := []shelfCall{c}
		switch c.kind {
		case "reserve":
			var items []string
			for p, n := range c.items {
				if n > 0 {
					items = append(items, fmt.Sprintf(`{"productId":%d,"quantity":%d}`, h.product(p), n))
				}
			}
			slices.Reverse(items)
			h.record(number, calls, func() shelfAnswer {
				return h.send(patience, service, "POST", "/api/reservations", fmt.Sprintf(`{"orderId":%d,"items":[%s]}`, h.order(c.order), strings.Join(items, ",")), "")
			})
		case "commit", "release":
			h.record(number, calls, func() shelfAnswer {
				return h.send(patience, service, "POST", fmt.Sprintf("/api/reservations/%d/%s", h.order(c.order), c.kind), "", "")
			})
		case "move":
			calls[0].quantity = int64(random.IntN(5)) - 3
			if calls[0].quantity >= 0 {
				calls[0].quantity++ // a movement of nothing is refused
			}
			h.record(number, calls, func() shelfAnswer {
				return h.send(patience, admin, "POST", fmt.Sprintf("/api/products/%d/stock-movements", h.product(c.product)),
					fmt.Sprintf(`{"quantity":%d,"reason":"ADJUSTED"}`, calls[0].quantity), fmt.Sprintf("%d-%d-%d", h.round, number, n))
			})
		case "look":
			h.record(number, calls, func() shelfAnswer {
				return h.send(10*time.Second, "", "GET", fmt.Sprintf("/api/products/%d/stock", h.product(c.product)), "", "")
			})
		case "expire": // looks at all reservations, at one after the other
			calls = nil
			for order := range historyOrders {
				calls = append(calls, shelfCall{kind: c.kind, order: order})
			}
			h.record(number, calls, func() shelfAnswer {
				h.s.clock.advance(DefaultSettings().ReservationLife)
				if err := h.s.service.expireReservations(h.s.t.Context()); err != nil {
					h.s.t.Errorf("expire: %v", err)
				}
				return shelfAnswer{}
			})
		}
	}
}

// send makes a call over HTTP; who loses patience has no answer, and neither has who is told of a failure.
func (h *historian) send(patience time.Duration, token, method, path, body, key string) shelfAnswer {
	ctx, cancel := context.WithTimeout(h.s.t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, h.s.server.URL+contextPath+path, strings.NewReader(body))
	if err != nil {
		h.s.t.Error(err)
		return shelfAnswer{}
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if token == "" {
		request.Header.Del("Authorization")
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := h.s.server.Client().Do(request)
	if err != nil {
		return shelfAnswer{}
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return shelfAnswer{}
	}
	if response.StatusCode >= 500 {
		h.s.t.Errorf("%s %s = %d %s", method, path, response.StatusCode, content)
		return shelfAnswer{}
	}
	answer := shelfAnswer{status: response.StatusCode}
	if answer.status >= 400 {
		return answer
	}
	var said struct {
		State   string
		Balance int64
		api.Stock
	}
	if err := json.Unmarshal(content, &said); err != nil {
		h.s.t.Errorf("%s %s = %s: %v", method, path, content, err)
	}
	answer.state, answer.stock, answer.sum = said.State, said.Stock, said.Balance
	answer.stock.ProductID = 0
	return answer
}

// What several clients see of reserving, committing, releasing, expiring, moving and looking at once is
// what one after the other could have seen: each history has an order in which the model answers alike.
func TestStockHistories(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		for round := range 15 {
			h := &historian{s: s, round: round, began: time.Now()}
			for range historyProducts {
				s.addProduct("p", historyStock)
			}
			var clients sync.WaitGroup
			for number := range historyClients {
				clients.Go(func() { h.client(number, rand.New(rand.NewPCG(uint64(round), uint64(number)))) })
			}
			clients.Wait()
			if got := porcupine.CheckOperationsTimeout(shelves(), h.history, time.Minute); got != porcupine.Ok {
				t.Fatalf("history %d is %s, want it explained by one clerk:\n%s", round, got, written(h.history))
			}
		}
		s.checkBooks()
	})
}

// written is a history for people, by the time that calls began.
func written(history []porcupine.Operation) string {
	slices.SortFunc(history, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var text strings.Builder
	for _, op := range history {
		fmt.Fprintf(&text, "client %d, %8d to %8d µs: %+v = %+v\n", op.ClientId, op.Call/1000, min(op.Return/1000, 99_999_999), op.Input, op.Output)
	}
	return text.String()
}
