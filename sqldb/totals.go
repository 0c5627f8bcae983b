package sqldb

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Totals counts as [Count] does and remembers for half a minute which queries have more rows than are
// counted: a list asks for each of its pages, and going through ten thousand rows costs more than the page.
// The zero value is ready; it is safe for concurrent use.
type Totals struct {
	mu   sync.Mutex
	many map[string]time.Time // until when a query is known to have more
}

const (
	totalsLife = 30 * time.Second
	mostTotals = 1000
)

// Count counts the rows of a query up to most+1.
func (t *Totals) Count(ctx context.Context, q Querier, now time.Time, most int, query string, args ...any) (int64, error) {
	key := fmt.Sprintln(append([]any{most, query}, args...)...)
	t.mu.Lock()
	known := now.Before(t.many[key])
	t.mu.Unlock()
	if known {
		return int64(most) + 1, nil
	}
	n, err := Count(ctx, q, most, query, args...)
	if err != nil || n <= int64(most) {
		return n, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.many == nil || len(t.many) >= mostTotals {
		t.many = map[string]time.Time{}
	}
	t.many[key] = now.Add(totalsLife)
	return n, nil
}
