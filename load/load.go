// Package load drives customers through a shop, proves what the shop did with their orders, and fills
// shops in bulk.
//
// [Run] registers users at a gateway, logs them in and has each walk the story over and over: look
// around, fill the cart, check out, follow the order, sometimes cancel it or send a checkout again.
// With an administrator's credentials it also ships orders and books stock in. It measures every call,
// goes on through outages of any component, and keeps a record of each checkout with what was answered
// to it. [Result.Verify] then proves the record against the shop: each acknowledged order exists
// exactly once and is worth, paid and shipped as told, and every checkout that was never answered
// comes to an answer when it is sent again with its key.
//
// Run and Verify know a shop by its wire contract alone: any tienda behind any URL will do. [Fill] is the
// other half: it writes two years of orders straight into the databases of a shop's services.
package load

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tienda/api"
)

// Options say what a run does.
type Options struct {
	// Target is the URL of the gateway, such as "http://localhost:8080".
	Target string
	// Users is how many customers there are at once, 1 to [MostUsers].
	Users int
	// Checkouts ends the run after so many, Duration after so long; one of them is given. What is under
	// way then is finished.
	Checkouts int
	Duration  time.Duration
	Mix       Mix
	// Seed makes the choices of the customers; their names and keys are new in every run.
	Seed uint64
	// Admin, if it has a username, lets orders be shipped, stock be booked in and the ledger be read.
	Admin Credentials
	// HTTP makes the calls; nil is a client with a connection for each customer.
	HTTP *http.Client
	// Progress is told how it goes, in one line that is rewritten if Rewrite is set; nil is nobody.
	Progress io.Writer
	Rewrite  bool
	// Rest bounds how long Verify waits for orders that were answered 202, and Resolve how long it sends
	// one key again, and any one read; 0 is 3 minutes and one.
	Rest, Resolve time.Duration
}

// MostUsers is how many customers one process plays at most.
const MostUsers = 10_000

func (o Options) validate() error {
	target, err := url.Parse(o.Target)
	switch {
	case err != nil || (target.Scheme != "http" && target.Scheme != "https") || target.Host == "" || target.RawQuery != "" || target.Fragment != "":
		return fmt.Errorf("target %q is no address of a gateway: want one such as http://localhost:8080", o.Target)
	case o.Users < 1 || o.Users > MostUsers:
		return fmt.Errorf("users is %d: want 1 to %d", o.Users, MostUsers)
	case o.Checkouts < 0 || o.Duration < 0:
		return errors.New("checkouts and duration must not be negative")
	case (o.Checkouts == 0) == (o.Duration == 0):
		return errors.New("want either a number of checkouts or a duration")
	case o.Checkouts > 0 && o.Mix.Browse == 100:
		return errors.New("the mix has browse=100: it never comes to a checkout; give a duration instead of a number of checkouts")
	case o.Admin.Username != "" && o.Admin.Password == "":
		return fmt.Errorf("the password of the administrator %s is missing", o.Admin.Username)
	}
	return o.Mix.validate()
}

// Result is how a run went.
type Result struct {
	Target      string    `json:"target"`
	Users       int       `json:"users"`
	Duration    float64   `json:"durationSeconds,omitempty"` // as asked for, or
	Checkouts   int       `json:"checkouts,omitempty"`       // as asked for
	Mix         Mix       `json:"mix"`
	Seed        uint64    `json:"seed"`
	Admin       string    `json:"admin,omitempty"`
	Began       time.Time `json:"began"` // when the first customer entered, all being logged in
	SetUp       float64   `json:"setUpSeconds"`
	Elapsed     float64   `json:"elapsedSeconds"`
	Interrupted bool      `json:"interrupted"`
	// Outcomes counts checkouts by the status that was answered in the end; "unknown" had no answer, and "interrupted" none when the run was ended.
	Outcomes map[string]int64 `json:"outcomes"`
	// PerSecond is the rate of checkouts, until the last was answered.
	PerSecond float64 `json:"checkoutsPerSecond"`
	Steps     []Step  `json:"steps"`
	// Record holds every checkout.
	Record []*Checkout `json:"-"`

	run *run
}

// run is one run under way.
type run struct {
	options   Options
	shop      *shop
	record    *record
	catalogue []api.Product
	pages     int
	admin     *account
	claims    atomic.Int64
	until     time.Time // no visit begins later
}

// Run drives the customers until the run is over or ctx ends; both are no error, and the result says
// which it was. An error means that there was no run: options that make no sense, a target that is no
// shop or does not answer, accounts that cannot be made.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.Rest, o.Resolve = cmp.Or(o.Rest, 3*time.Minute), cmp.Or(o.Resolve, time.Minute)
	client := o.HTTP
	if client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, o.Users+verifiers
		client = &http.Client{Transport: transport}
		defer client.CloseIdleConnections()
	}
	r := &run{options: o, record: newRecord(), shop: &shop{base: strings.TrimSuffix(o.Target, "/"), http: client, meter: newMeter()}}
	r.claims.Store(int64(o.Checkouts))
	if err := r.knock(ctx); err != nil {
		return nil, err
	}
	setUp := time.Now()
	customers, err := r.enrol(ctx)
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	began := time.Now()
	r.until = began.Add(cmp.Or(o.Duration, 365*24*time.Hour))
	stop := tell(o.Progress, o.Rewrite, func() string { return r.progress(time.Since(began)) })
	var group sync.WaitGroup
	for _, c := range customers {
		group.Go(func() { c.live(ctx) })
	}
	group.Wait()
	stop()
	result := &Result{
		Target: o.Target, Users: o.Users, Duration: o.Duration.Seconds(), Checkouts: o.Checkouts, Mix: o.Mix, Seed: o.Seed, Admin: o.Admin.Username,
		Began: began.UTC(), SetUp: began.Sub(setUp).Seconds(), Elapsed: time.Since(began).Seconds(),
		Interrupted: ctx.Err() != nil, Outcomes: r.record.counts(), Steps: r.shop.meter.table(setUp, began), Record: r.record.checkouts, run: r,
	}
	if took := r.record.last.Sub(began); took > 0 {
		result.PerSecond = float64(len(result.Record)) / took.Seconds()
	}
	return result, nil
}

// claim takes one of the checkouts that were asked for.
func (r *run) claim() bool { return r.options.Checkouts == 0 || r.claims.Add(-1) >= 0 }

// soldOut reports whether all checkouts that were asked for have a customer.
func (r *run) soldOut() bool { return r.options.Checkouts > 0 && r.claims.Load() <= 0 }

// knock finds out whether the target is a shop that is open, and what it sells. One that asks to come back
// shortly is about to open: it is asked again for a while. So is one that refuses connections, but not for as
// long, since that may be a wrong address: a cluster needs a moment to find pods that have just got ready.
func (r *run) knock(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, opening)
	defer cancel()
	for n := 0; ; n++ {
		err := r.knockOnce(ctx)
		if errors.Is(err, syscall.ECONNREFUSED) && time.Since(began) < finding && pause(ctx, backoff(n, 0)) {
			continue
		}
		refused, ok := errors.AsType[*refusal](err)
		if !ok && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("no answer from %s for %v; is the shop running, and is this the address of its gateway?", r.shop.base, opening)
		}
		if !ok || refused.answer.retryAfter == 0 || !pause(ctx, backoff(n, refused.answer.retryAfter)) {
			return err
		}
	}
}

// opening is for how long a shop may be about to open, finding for how long nobody may listen at its address.
const (
	opening = 30 * time.Second
	finding = 5 * time.Second
)

func (r *run) knockOnce(ctx context.Context) error {
	const keys = "/app/.well-known/jwks.json"
	a, err := r.shop.once(ctx, call{step: "knock", method: http.MethodGet, path: keys}, "")
	if err != nil && !errors.Is(err, errCut) {
		return fmt.Errorf("no answer from %s: %w; is the shop running, and is this the address of its gateway?", r.shop.base, err)
	}
	var set struct {
		Keys []struct{} `json:"keys"`
	}
	switch {
	case err == nil && a.status >= 500:
		return fmt.Errorf("the shop at %s is not open: %w", r.shop.base, &refusal{what: "GET " + keys, answer: a})
	case err != nil, a.status != http.StatusOK, a.decode(&set) != nil, len(set.Keys) == 0:
		return fmt.Errorf("%s answers and is no tienda: it has no keys at %s", r.shop.base, keys)
	}
	for _, query := range []string{"?inStock=true&size=200", "?size=200"} {
		list, err := get[api.List[api.Product]](ctx, r.shop, "knock", nil, "/product-service/api/products"+query)
		if err != nil {
			return fmt.Errorf("the shop at %s is not open: %w", r.shop.base, err)
		}
		r.pages = 1
		if list.Page != nil {
			r.pages = max(1, int(list.Page.TotalElements)/pageSize)
		}
		if r.catalogue = forSale(list.Collection); len(r.catalogue) > 0 {
			return nil
		}
	}
	return fmt.Errorf("the shop at %s sells nothing: give it products with a price first", r.shop.base)
}

// enrolling is how many accounts are made at once: user-service hashes two passwords at a time and lets
// few others wait.
const enrolling = 8

// enrol logs the administrator in and makes the accounts of the customers, before the clock starts.
func (r *run) enrol(ctx context.Context) ([]*customer, error) {
	var made atomic.Int64
	stop := tell(r.options.Progress, r.options.Rewrite, func() string { return fmt.Sprintf("customers logged in: %d of %d", made.Load(), r.options.Users) })
	defer stop()
	if admin := r.options.Admin; admin.Username != "" {
		r.admin = &account{shop: r.shop, Credentials: admin}
		var me api.Me
		err := persist(ctx, patience, func() (err error) {
			me, err = get[api.Me](ctx, r.shop, stepAccount, r.admin, "/app/api/me")
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("administrator: %w", err)
		}
		if !isAdmin(me) {
			return nil, fmt.Errorf("%s is no administrator of this shop", admin.Username)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	name, password := "load-"+strings.ToLower(rand.Text()[:8]), rand.Text()
	customers := make([]*customer, r.options.Users)
	next := make(chan int)
	var group sync.WaitGroup
	for range min(enrolling, r.options.Users) {
		group.Go(func() {
			for i := range next {
				who := &account{shop: r.shop, Credentials: Credentials{fmt.Sprintf("%s-%d", name, i+1), password}}
				if err := who.register(ctx, i+1); err != nil {
					cancel(fmt.Errorf("make the accounts of the customers: %w", err))
					continue
				}
				customers[i] = &customer{run: r, account: who, rand: newRand(r.options.Seed, i), shelf: r.catalogue, left: map[api.ID]bool{}}
				made.Add(1)
			}
		})
	}
	for i := range customers {
		next <- i
	}
	close(next)
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return customers, nil
}

func isAdmin(me api.Me) bool {
	for _, role := range me.Roles {
		if role == api.RoleAdmin {
			return true
		}
	}
	return false
}
