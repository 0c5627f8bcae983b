package load

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Steps of the story, in the order of the table.
const (
	stepRegister = "register"
	stepLogIn    = "log-in"
	stepAccount  = "account"
	stepRefresh  = "refresh"
	stepList     = "list"
	stepSearch   = "search"
	stepProduct  = "product"
	stepCart     = "cart"
	stepItem     = "put item"
	stepTakeOut  = "take out"
	stepCheckout = "checkout"
	stepReplay   = "replay"
	stepOrder    = "order"
	stepShipment = "shipment"
	stepMyOrders = "my orders"
	stepCancel   = "cancel"
	stepRestock  = "restock"
	stepShip     = "ship"
)

func steps() []string {
	return []string{stepRegister, stepLogIn, stepAccount, stepRefresh, stepList, stepSearch, stepProduct, stepCart, stepItem, stepTakeOut, stepCheckout,
		stepReplay, stepOrder, stepShipment, stepMyOrders, stepCancel, stepRestock, stepShip}
}

// longestCall is the most that a histogram holds, in microseconds; longer calls count as this long. No
// call takes longer than [callTimeout].
const longestCall = 10 * 60 * 1_000_000

// meter counts the calls of each step. Its histograms have a fixed size, however long a run is: exact
// samples of a night at a thousand calls a second would fill the memory that the shop may need. Three
// digits of each figure are right.
type meter struct {
	mu     sync.Mutex
	counts map[string]*count
	failed int64
}

type count struct {
	took   *hdrhistogram.Histogram
	max    time.Duration
	last   time.Time
	errors map[string]int64
	first  map[string]string // what was said to the first of each kind
	again  int64             // calls that were repeated
}

func newMeter() *meter { return &meter{counts: map[string]*count{}} }

// add counts one call; kind says what went wrong, or is empty, and said is what the customer was told then.
func (m *meter) add(step string, took time.Duration, kind, said string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.of(step)
	c.max, c.last = max(c.max, took), time.Now()
	_ = c.took.RecordValue(min(max(took.Microseconds(), 1), longestCall)) // the value is in range
	if kind != "" {
		if c.errors[kind] == 0 {
			c.first[kind] = said
		}
		c.errors[kind]++
		m.failed++
	}
}

// repeat counts a call that is sent a second time.
func (m *meter) repeat(step string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(step).again++
}

// of is the count of a step. The caller holds mu.
func (m *meter) of(step string) *count {
	c := m.counts[step]
	if c == nil {
		c = &count{took: hdrhistogram.New(1, longestCall, 3), errors: map[string]int64{}, first: map[string]string{}}
		m.counts[step] = c
	}
	return c
}

func (m *meter) failures() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed
}

// Step is what was measured of one step of the story. Times are those of all calls in milliseconds, the
// ones that failed included: their customers waited as well.
type Step struct {
	Name      string           `json:"name"`
	Count     int64            `json:"count"`
	PerSecond float64          `json:"perSecond"`
	P50       float64          `json:"p50Ms"`
	P95       float64          `json:"p95Ms"`
	P99       float64          `json:"p99Ms"`
	Max       float64          `json:"maxMs"`
	Errors    map[string]int64 `json:"errors"`
	// Repeated is how many were sent a second time because their connection was lost.
	Repeated int64 `json:"repeated,omitempty"`
	// First is what was said to the first of each kind of error.
	First map[string]string `json:"firstErrors,omitempty"`
}

// table is what was measured, in the order of the story. Rates are over the time from the beginning of
// their part of the run to the last call of the step: that the slowest customer is waited for at the end
// says nothing about a shop.
func (m *meter) table(setUp, began time.Time) []Step {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []Step
	for _, name := range steps() {
		c := m.counts[name]
		if c == nil {
			continue
		}
		longest := float64(c.max.Microseconds()) / 1000
		// The histogram answers with the upper end of a range, which may lie above the longest call.
		ms := func(percent float64) float64 { return min(float64(c.took.ValueAtPercentile(percent))/1000, longest) }
		row := Step{Name: name, Count: c.took.TotalCount(), P50: ms(50), P95: ms(95), P99: ms(99), Max: longest, Errors: maps.Clone(c.errors), Repeated: c.again, First: maps.Clone(c.first)}
		took := c.last.Sub(began)
		if name == stepRegister || name == stepLogIn || name == stepAccount {
			took = c.last.Sub(setUp)
		}
		if took > 0 {
			row.PerSecond = float64(row.Count) / took.Seconds()
		}
		rows = append(rows, row)
	}
	return rows
}

// kinds are the names of errors with their counts, the most frequent first.
func kinds(errors map[string]int64) []string {
	return slices.SortedFunc(maps.Keys(errors), func(a, b string) int {
		if errors[a] != errors[b] {
			return int(errors[b] - errors[a])
		}
		if a < b {
			return -1
		}
		return 1
	})
}
