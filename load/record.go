package load

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"tienda/api"
)

// Checkout is what is known of one checkout: what was sent, and what the shop said. It is complete when
// [Run] has returned; [Result.Verify] adds what replays of its key answered.
type Checkout struct {
	Key      string             `json:"key"`
	Username string             `json:"username"`
	Cart     api.ID             `json:"cartId"`
	Token    string             `json:"token"`
	Items    []api.ItemQuantity `json:"items"`
	// Answers is how each try with the key came out: a status, or what kept it from one.
	Answers []string `json:"answers"`
	// Status is the answer that counts: 0 while none is known, 202 while the outcome is not.
	Status int `json:"status"`
	// Order is the one that the shop named, if any.
	Order api.ID `json:"orderId"`
	// Answered is when the customer had the last answer, or gave up.
	Answered time.Time `json:"answeredAt"`

	who     *account
	write   write
	told    *api.Order // the order as a 201 told it
	prices  map[api.ID]api.Amount
	cancel  *keyed // nil unless the customer asked for it
	shipped []*keyed
	odd     string // what was wrong with a replay during the run
}

// keyed is another write under a key that must have an answer in the end.
type keyed struct {
	what   string
	write  write
	status int // 0 while unknown
}

// hear remembers what the shop answered to the key of a checkout.
func (c *Checkout) hear(a answer) {
	switch {
	case a.status == http.StatusAccepted:
		var order api.Order
		if a.decode(&order) == nil && order.OrderID != 0 {
			c.Status, c.Order = a.status, order.OrderID
		}
	case a.status == http.StatusCreated:
		var order api.Order
		if a.decode(&order) == nil && order.OrderID != 0 {
			c.Status, c.Order, c.told = a.status, order.OrderID, &order
		}
	case a.final():
		problem := api.ParseProblem(a.status, a.body)
		c.Status = a.status
		if problem.OrderID != 0 {
			c.Order = problem.OrderID
		}
	}
}

// differs says what is wrong with the final answer to a key that was answered before.
func (c *Checkout) differs(a answer) string {
	is := Checkout{}
	is.hear(a)
	switch {
	case c.Status != http.StatusAccepted && is.Status != c.Status:
		return fmt.Sprintf("%s was answered %d and is now %d", c.name(), c.Status, is.Status)
	case is.Order != c.Order:
		return fmt.Sprintf("%s is now answered with order %d", c.name(), is.Order)
	case !a.replayed:
		return c.name() + " is answered as if it were new, without Idempotency-Replayed"
	}
	return ""
}

// unknown reports that nobody has said what became of the checkout.
func (c *Checkout) unknown() bool { return c.Status == 0 }

// record is everything that was written by a run. It is safe for concurrent use; each checkout belongs to
// the goroutine of its user until the run has ended.
type record struct {
	mu        sync.Mutex
	checkouts []*Checkout
	stock     []*keyed
	outcomes  map[string]int64
	last      time.Time // when a checkout came out
}

func newRecord() *record { return &record{outcomes: map[string]int64{}} }

func (r *record) begin(c *Checkout) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checkouts = append(r.checkouts, c)
}

func (r *record) restock(k *keyed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stock = append(r.stock, k)
}

// outcome counts how a checkout came out, as the customer saw it, who may have been interrupted.
func (r *record) outcome(c *Checkout, interrupted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := Unknown
	switch {
	case !c.unknown():
		name = strconv.Itoa(c.Status)
	case interrupted:
		name = Interrupted
	}
	r.outcomes[name]++
	r.last = time.Now()
	c.Answered = r.last
}

// Outcomes of checkouts that were not answered.
const (
	Unknown     = "unknown"     // in all its tries
	Interrupted = "interrupted" // when the run was ended
)

func (r *record) counts() map[string]int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := map[string]int64{}
	for name, n := range r.outcomes {
		counts[name] = n
	}
	return counts
}
