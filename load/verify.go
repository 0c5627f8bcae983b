package load

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tienda/api"
)

// Verification is what [Result.Verify] found. It has the shape of what `tienda audit` reports.
type Verification struct {
	At         time.Time    `json:"at"`
	Elapsed    float64      `json:"elapsedSeconds"`
	Violations int64        `json:"violations"`
	Invariants []*Invariant `json:"invariants"`
}

// Invariant is one thing that must hold, and what was seen of it. First are the first offenders.
type Invariant struct {
	Name       string   `json:"name"`
	When       string   `json:"when"`
	Sentence   string   `json:"sentence"`
	Rows       int64    `json:"rows"`
	Violations int64    `json:"violations"`
	First      []string `json:"first"`
}

// offenders is how many of each invariant are named.
const offenders = 5

// verifiers is how many calls a verification makes at once.
const verifiers = 16

// The two looks at the whole record.
const (
	before = "before replays"
	after  = "after replays"
	during = "replays"
)

// verifier is one verification under way.
type verifier struct {
	*run
	mu         sync.Mutex
	invariants []*Invariant
	did        atomic.Int64
}

// Verify proves the record of the run against the shop. It waits until orders that were answered 202 come
// to rest, looks at every order, sends every key again, those without an answer until they have one, and
// looks once more. It changes nothing but what replays of unanswered writes do. A violation is in the
// Verification; an error means that it could not look.
func (r *Result) Verify(ctx context.Context) (Verification, error) {
	v := &verifier{run: r.run, invariants: invariants(r.run.admin != nil)}
	began := time.Now()
	err := v.verify(ctx)
	found := Verification{At: began.UTC(), Elapsed: time.Since(began).Seconds(), Invariants: v.invariants}
	for _, i := range v.invariants {
		found.Violations += i.Violations
	}
	if err != nil {
		return found, fmt.Errorf("verify: %w", err)
	}
	return found, nil
}

func (v *verifier) verify(ctx context.Context) error {
	all := v.record.checkouts
	for _, phase := range []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"waiting for orders to come to rest", func(ctx context.Context) error { return v.each(ctx, all, v.rest) }},
		{"looking at the orders of each customer", func(ctx context.Context) error { return v.look(ctx, before) }},
		{"asking for answers that never came", v.resolve},
		{"sending every key again", func(ctx context.Context) error { return v.each(ctx, all, v.replay) }},
		{"looking at the orders of each customer again", func(ctx context.Context) error { return v.look(ctx, after) }},
	} {
		v.did.Store(0)
		stop := tell(v.options.Progress, v.options.Rewrite, func() string { return fmt.Sprintf("verify: %s (%d)", phase.name, v.did.Load()) })
		err := phase.do(ctx)
		stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// each does something about every checkout, several at once.
func (v *verifier) each(ctx context.Context, checkouts []*Checkout, do func(context.Context, *Checkout) error) error {
	return inParallel(ctx, checkouts, func(ctx context.Context, c *Checkout) error {
		defer v.did.Add(1)
		return do(ctx, c)
	})
}

// inParallel does something about every row, at most [verifiers] at once; the first error ends it.
func inParallel[T any](ctx context.Context, rows []T, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan T)
	var group sync.WaitGroup
	for range verifiers {
		group.Go(func() {
			for row := range next {
				if ctx.Err() == nil {
					if err := do(ctx, row); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	for _, row := range rows {
		next <- row
	}
	close(next)
	group.Wait()
	return context.Cause(ctx)
}

// saw counts a row of an invariant; offence says what is wrong with it, or is empty.
func (v *verifier) saw(when string, is sentence, offence string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := v.invariants[slices.IndexFunc(v.invariants, func(i *Invariant) bool { return i.Name == is.name && i.When == when })]
	i.Rows++
	if offence == "" {
		return
	}
	i.Violations++
	if len(i.First) < offenders {
		i.First = append(i.First, offence)
	}
}

// sentence is an invariant in words.
type sentence struct{ name, text string }

// The invariants.
var (
	atRest     = sentence{"at rest", "an order that was accepted comes to its end"}
	listedOnce = sentence{"listed once", "every order that was told is in its customer's list exactly once, with its cart"}
	nothingNew = sentence{"nothing extra", "every order of a customer comes from a checkout that was sent"}
	oneEach    = sentence{"one each", "no two keys have the same order, no cart was sold twice"}
	asTold     = sentence{"as told", "an order is what its checkout and its cancellation were answered"}
	adds       = sentence{"total", "an order has the lines of its cart, and its total is lines, shipping and tax, as told"}
	sold       = sentence{"sold", "a confirmed order has one captured payment of its total and one shipment"}
	nothing    = sentence{"nothing held", "a cancelled order holds no money and no parcel"}
	books      = sentence{"ledger", "the postings of an order sum to zero, and to its total if it was sold"}
	resolves   = sentence{"answered", "a write whose answer was lost is answered when it is sent again with its key"}
	same       = sentence{"same answer", "a key that is sent again gets the first answer and order, marked as replayed"}
)

// invariants are all of them in the order of a verification; only an administrator sees the books.
func invariants(admin bool) []*Invariant {
	var all []*Invariant
	add := func(when string, list ...sentence) {
		for _, is := range list {
			if is != books || admin {
				all = append(all, &Invariant{Name: is.name, When: when, Sentence: is.text, First: []string{}})
			}
		}
	}
	looks := []sentence{listedOnce, nothingNew, oneEach, asTold, adds, sold, nothing, books}
	add(before, atRest)
	add(before, looks...)
	add(during, resolves, same)
	add(after, looks...)
	return all
}

// name says which checkout an offence is about.
func (c *Checkout) name() string {
	text := fmt.Sprintf("%s, cart %d, key %s", c.Username, c.Cart, c.Key)
	if c.Order != 0 {
		text = fmt.Sprintf("order %d of ", c.Order) + text
	}
	return text
}

// read reads something, through outages.
func read[T any](ctx context.Context, v *verifier, who *account, path string) (T, error) {
	var value T
	err := persist(ctx, v.options.Resolve, func() (err error) {
		value, err = get[T](ctx, v.shop, "verify", who, path)
		return err
	})
	if err != nil {
		return value, fmt.Errorf("read %s as %s: %w", path, who.Username, err)
	}
	return value, nil
}

// rest waits until an order that was answered 202 is no longer PENDING.
func (v *verifier) rest(ctx context.Context, c *Checkout) error {
	if c.Status != http.StatusAccepted {
		return nil
	}
	deadline := time.Now().Add(v.options.Rest)
	for n := 0; ; n++ {
		order, err := read[api.Order](ctx, v, c.who, "/order-service/api/orders/"+c.Order.String())
		if r, ok := asRefusal(err); ok && r.answer.status == http.StatusNotFound {
			v.saw(before, atRest, c.name()+" does not exist")
			return nil
		}
		switch {
		case err != nil:
			return err
		case order.Status != api.OrderPending:
			v.saw(before, atRest, "")
			return nil
		case time.Now().After(deadline):
			v.saw(before, atRest, fmt.Sprintf("%s is still %s after %v", c.name(), order.Status, v.options.Rest))
			return nil
		}
		if !pause(ctx, backoff(n, 0)) {
			return ctx.Err()
		}
	}
}

// resolve sends every write that was not answered until it is.
func (v *verifier) resolve(ctx context.Context) error {
	var open []*keyed
	for _, c := range v.record.checkouts {
		if c.unknown() {
			open = append(open, &keyed{what: c.name(), write: c.write})
		}
		if c.cancel != nil {
			open = append(open, c.cancel)
		}
		open = append(open, c.shipped...)
	}
	open = append(open, v.record.stock...)
	open = slices.DeleteFunc(open, func(k *keyed) bool { return k.status != 0 })
	owner := map[string]*Checkout{}
	for _, c := range v.record.checkouts {
		owner[c.Key] = c
	}
	return inParallel(ctx, open, func(ctx context.Context, k *keyed) error {
		defer v.did.Add(1)
		a, heard, err := v.again(ctx, k.write)
		if err != nil {
			return err
		}
		if !a.final() {
			v.saw(during, resolves, fmt.Sprintf("%s has no answer after %v, but %s", k.what, v.options.Resolve, heard))
			return nil
		}
		v.saw(during, resolves, "")
		k.status = a.status
		if c := owner[k.write.key]; c != nil {
			c.hear(a)
		}
		return nil
	})
}

// again sends a write with its key until it is answered for good or the time is over. heard is how the
// last try came out.
func (v *verifier) again(ctx context.Context, w write) (a answer, heard string, err error) {
	limited, cancel := context.WithTimeout(ctx, v.options.Resolve)
	defer cancel()
	w.step, w.prefer = "verify", "wait=10"
	a, _ = v.shop.send(limited, w, 1<<30, answer.final, func(word string) {
		if limited.Err() == nil {
			heard = word
		}
	})
	return a, heard, ctx.Err()
}

// replay sends the key of a checkout that was answered again. What was refused without an order is left
// alone: such an answer is not kept, and the cart may be good by now.
func (v *verifier) replay(ctx context.Context, c *Checkout) error {
	if c.Order == 0 {
		return nil
	}
	a, heard, err := v.again(ctx, c.write)
	if err != nil {
		return err
	}
	offence := c.odd
	switch {
	case !a.final():
		offence = fmt.Sprintf("%s has no answer after %v, but %s", c.name(), v.options.Resolve, heard)
	case offence == "":
		offence = c.differs(a)
	}
	v.saw(during, same, offence)
	if offence == "" {
		c.hear(a)
	}
	return nil
}

// Print writes what was found: a row for each invariant, and the first offenders below it.
func (v Verification) Print(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%-14s  %-14s  %8s  %10s  %s\n", "when", "invariant", "rows", "violations", "what must hold"); err != nil {
		return err
	}
	for _, i := range v.Invariants {
		if _, err := fmt.Fprintf(w, "%-14s  %-14s  %8d  %10d  %s\n", i.When, i.Name, i.Rows, i.Violations, i.Sentence); err != nil {
			return err
		}
		for _, offence := range i.First {
			if _, err := fmt.Fprintf(w, "    %s\n", offence); err != nil {
				return err
			}
		}
	}
	verdict := "everything holds"
	if v.Violations > 0 {
		verdict = fmt.Sprintf("%d violations", v.Violations)
	}
	_, err := fmt.Fprintf(w, "\nverified in %.1f s: %s\n", v.Elapsed, verdict)
	return err
}
