package product

import (
	"fmt"
	"sync"
	"time"

	"tienda/api"
	"tienda/web"
)

// A total younger than totalFresh, or than totalShare times what it took to count, is as good as new. One
// younger than totalLife is still told, and counted again in the background, so that nobody waits for what
// everybody asks and the background stays a small part of the work.
const (
	totalFresh = 30 * time.Second
	totalShare = 1000
	totalLife  = 10 * time.Minute
	mostTotals = 500
	mostIDs    = 1000 // of each, so that all together are a few megabytes
)

// uncounted is the number of a [total] of which somebody has seen the first page only.
const uncounted = -1

// total is how many products a query finds when they are many, and the first of them when it wants an order.
type total struct {
	n    int64
	ids  []api.ID
	took time.Duration // to find out
	at   time.Time
}

// page are the ids of a page, if those that are known reach to its end.
func (t total) page(page web.PageRequest) (ids []api.ID, whole bool) {
	begin, end, reach := page.Number*page.Size, (page.Number+1)*page.Size, len(t.ids)
	if behind, _ := page.Condition(); behind != "" || (end > reach && int64(reach) != t.n) {
		return nil, false
	}
	return t.ids[min(begin, reach):min(end, reach)], true
}

// totals remembers what it takes long to count: to do so for each page of each customer would cost far more
// than the page. Queries that are to be counted go into wanted.
type totals struct {
	wanted  chan query
	mu      sync.Mutex
	kept    map[string]total
	pending map[string]bool // those in wanted, and the one that is being counted
}

func newTotals() *totals {
	return &totals{wanted: make(chan query, 64), kept: map[string]total{}, pending: map[string]bool{}}
}

func (q query) key() string { return q.text + q.order + fmt.Sprintln(q.args...) }

// known is what is known of a query. What begins to be old is counted again, once.
func (t *totals) known(q query, now time.Time) (total, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept, ok := t.kept[q.key()]
	age := now.Sub(kept.at)
	if !ok || age >= totalLife {
		return total{}, false
	}
	if age >= max(totalFresh, min(totalShare*kept.took, totalLife/2)) {
		t.ask(q)
	}
	return kept, true
}

// want has a query counted soon, unless it will be or there is too much to do already.
func (t *totals) want(q query) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ask(q)
}

// ask is want for a caller who holds the lock.
func (t *totals) ask(q query) {
	if t.pending[q.key()] {
		return
	}
	select {
	case t.wanted <- q:
		t.pending[q.key()] = true
	default:
	}
}

// done lets a query be wanted again.
func (t *totals) done(q query) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.pending, q.key())
}

func (t *totals) keep(q query, kept total, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) >= mostTotals {
		t.kept = map[string]total{}
	}
	kept.at = now
	t.kept[q.key()] = kept
}

// seen keeps the first page that a query finds until the background knows more, so that who asks next need not go
// the same way. It is called with every page that was looked for.
func (t *totals) seen(q query, page web.PageRequest, shown found, took time.Duration, now time.Time) {
	if behind, _ := page.Condition(); behind != "" || page.Number > 0 {
		return
	}
	first := total{n: uncounted, took: took}
	if shown.exact {
		first.n = shown.total
	}
	for _, product := range shown.products {
		first.ids = append(first.ids, product.ProductID)
	}
	if kept, ok := t.known(q, now); !ok || (kept.n == uncounted && len(kept.ids) < len(first.ids)) {
		t.keep(q, first, now)
	}
}
