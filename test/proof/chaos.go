package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"tienda/test/fleet"
)

const (
	killEvery    = 3 * time.Second  // on average
	mariaDBEvery = 20 * time.Second // at least
	mariaDBShare = 2                // it is picked as often as two components
	stallEvery   = time.Minute      // on average
	stallFor     = 18 * time.Second // a lease of a saga is 15 s
	longestPause = 2 * time.Second  // before what was killed is started again
)

// hopeless is how many times in a row a process ends by itself that will not come back: half a minute of
// starts at least, when it comes back from anything that happens to it here in a second or two.
const hopeless = 100

// chaos kills processes and breaks their calls.
type chaos struct {
	seed   uint64
	random *rand.Rand

	mu     sync.Mutex
	shop   *fleet.Fleet
	on     bool
	starts map[string]uint64 // of each process, so that each start has random numbers of its own
	alone  map[string]int    // ends of each process by itself since it was last killed
	giveUp func(error)
	stalls int
	err    error
}

// newChaos makes one that calls giveUp when a process does not come back.
func newChaos(seed uint64, giveUp func(error)) *chaos {
	return &chaos{seed: seed, random: rand.New(rand.NewPCG(seed, 1)), starts: map[string]uint64{}, alone: map[string]int{}, giveUp: giveUp}
}

// start begins; the function it returns ends everything and waits for that.
func (c *chaos) start(ctx context.Context, shop *fleet.Fleet, stalls bool) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	c.shop, c.on = shop, true
	for _, p := range shop.Components {
		c.arm(p)
	}
	c.mu.Unlock()
	var killing sync.WaitGroup
	killing.Go(func() { c.kill(ctx, shop) })
	if stalls {
		killing.Go(func() { c.stall(ctx, shop) })
	}
	return func() error {
		cancel()
		killing.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.on = false
		for _, p := range shop.Components {
			c.err = errors.Join(c.err, shop.SetFaults(p, ""))
		}
		return c.err
	}
}

// kill kills something random every three seconds on average.
func (c *chaos) kill(ctx context.Context, shop *fleet.Fleet) {
	var mariaDB time.Time // when it was killed last
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause(c.random)):
		}
		for killed := false; !killed && ctx.Err() == nil; {
			victim := shop.MariaDB
			if i := c.random.IntN(len(shop.Components) + mariaDBShare); i < len(shop.Components) {
				victim = shop.Components[i]
			} else if time.Since(mariaDB) < mariaDBEvery {
				continue
			}
			killed = victim.Kill(100*time.Millisecond + time.Duration(c.random.Int64N(int64(longestPause))))
			if killed && victim == shop.MariaDB {
				mariaDB = time.Now()
			}
		}
	}
}

// stall stops a driver of sagas about once a minute for longer than its leases last. Others take its sagas
// meanwhile; when it goes on it must not do anything of what it was about to do.
func (c *chaos) stall(ctx context.Context, shop *fleet.Fleet) {
	random := rand.New(rand.NewPCG(c.seed, 2))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(random.ExpFloat64() * float64(stallEvery))):
		}
		var drivers []*fleet.Process
		for _, p := range shop.Components {
			if p.Component == "order-service" {
				drivers = append(drivers, p)
			}
		}
		if drivers[random.IntN(len(drivers))].Stall(stallFor) {
			c.mu.Lock()
			c.stalls++
			c.mu.Unlock()
		}
	}
}

// pause is how long it is from one kill to the next.
func pause(random *rand.Rand) time.Duration {
	return time.Duration(random.ExpFloat64() * float64(killEvery))
}

// ended gives a process that is about to start again random numbers of its own, and gives up on one that
// starts in vain: customers would wait for it for ever.
func (c *chaos) ended(p *fleet.Process, exit fleet.Exit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alone[p.Name]++
	if exit.Killed || exit.Crashed != "" {
		c.alone[p.Name] = 0
	}
	if c.alone[p.Name] == hopeless {
		_, said := p.Logs()
		c.giveUp(fmt.Errorf("%s does not start any more (%s); what it says is in %s", p.Name, exit.Why, said))
	}
	if c.on {
		c.arm(p)
	}
}

// arm writes the faults of the next life of a process. The caller holds c.mu.
func (c *chaos) arm(p *fleet.Process) {
	if p == c.shop.MariaDB {
		return
	}
	c.starts[p.Name]++
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s %d", c.seed, p.Name, c.starts[p.Name])
	c.err = errors.Join(c.err, c.shop.SetFaults(p, faultsOf(p.Component, h.Sum64())))
}

// faultsOf are the faults of a component: the calls it makes, and rarely its own death at a named point.
func faultsOf(component string, seed uint64) string {
	calls := []struct {
		rule        string
		probability float64
	}{
		{"answer: late, delay: 700ms", 0.004},
		{"answer: late, delay: 6s", 0.0005}, // longer than a step of a saga waits
		{"answer: twice, use: first", 0.004},
		{"answer: twice, use: second", 0.004},
		{"answer: never", 0.001},
		{"answer: error, status: 500", 0.002},
		{"answer: error, status: 503", 0.002},
		{"answer: cut", 0.004},
	}
	var text strings.Builder
	fmt.Fprintf(&text, "seed: %d\ncrashes:\n  - {at: '*', probability: 0.00002}\ncalls:\n", seed)
	for _, c := range calls {
		if component == "api-gateway" {
			c.probability /= 4 // whoever waits there is a customer, for up to 35 seconds
		}
		fmt.Fprintf(&text, "  - {%s, probability: %g}\n", c.rule, c.probability)
	}
	return text.String()
}

// exits are the ends of all processes.
func exits(shop *fleet.Fleet) []fleet.Exit {
	all := shop.MariaDB.Exits()
	for _, p := range shop.Components {
		all = append(all, p.Exits()...)
	}
	return all
}
