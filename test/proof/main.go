// Command proof proves a shop under faults: it runs one in real processes, drives customers through it
// while it kills processes and breaks calls, and then checks that nothing was lost, doubled or left over.
//
// Everything random comes from one seed, which is printed and can be given. The outcome is a report for
// people, kept as a file; the exit status is 0 when everything holds, 1 when something does not and 2
// when the proof could not be made. `make proof` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"tienda/load"
	"tienda/test/fleet"
)

// options say how large the proof is.
type options struct {
	seed      uint64
	checkouts int
	clients   int
	mix       string
	reports   string // folder
	version   string // of the source
	stalls    bool
	keep      bool          // databases and logs
	settle    time.Duration // that processes have to let go of what they hold
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.Uint64Var(&o.seed, "seed", 0, "seed of everything random; 0 takes a new one")
	flag.IntVar(&o.checkouts, "checkouts", 10_000, "how many checkouts")
	flag.IntVar(&o.clients, "clients", 64, "how many customers at once")
	flag.StringVar(&o.mix, "mix", "story,browse=0,look=10,track=20", "what the customers do, as of tienda load")
	flag.StringVar(&o.reports, "reports", "bin/proof", "folder of the reports")
	flag.StringVar(&o.version, "version", "unknown", "of the source, for the report")
	flag.BoolVar(&o.stalls, "stalls", true, "stop processes of order-service for longer than their leases last")
	flag.BoolVar(&o.keep, "keep", false, "keep databases and logs of a proof that holds too")
	flag.DurationVar(&o.settle, "settle", 2*time.Minute, "how long processes have to let go of what they hold")
	flag.Parse()
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1
	}
	holds, err := prove(ctx, o, os.Stdout)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "proof: "+err.Error())
		os.Exit(2)
	case !holds:
		os.Exit(1)
	}
}

// prove makes the proof and writes the report. It reports whether everything holds.
func prove(ctx context.Context, o options, out io.Writer) (holds bool, err error) {
	mix, err := load.ParseMix(o.mix)
	if err != nil {
		return false, err
	}
	r := &report{options: o, began: time.Now(), machine: machine()}
	fmt.Fprintf(out, "proof with seed %d: %d checkouts of %d customers\n", o.seed, o.checkouts, o.clients)
	dir, err := os.MkdirTemp("", "tienda-proof-")
	if err != nil {
		return false, err
	}
	defer func() {
		if holds && !o.keep {
			err = errors.Join(err, os.RemoveAll(dir))
		} else {
			fmt.Fprintf(out, "databases and logs are in %s\n", dir)
		}
	}()
	normal, err := fleet.Build(ctx, dir, "")
	if err != nil {
		return false, err
	}
	faulty, err := fleet.Build(ctx, dir, "faults")
	if err != nil {
		return false, err
	}
	r.built = time.Since(r.began)

	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx) // what failed for that says less
		}
	}()
	chaos := newChaos(o.seed, giveUp)
	shop, err := fleet.Start(ctx, fleet.Options{
		Dir: filepath.Join(dir, "shop"), Binary: faulty, Faults: true, Replicas: map[string]int{"order-service": 2}, Ended: chaos.ended,
		Set: settings,
	})
	if err != nil {
		return false, err
	}
	defer shop.Stop()
	if err := within(ctx, 2*time.Minute, shop.Open); err != nil {
		return false, err
	}
	customer, err := logIn(ctx, shop.URL)
	if err != nil {
		return false, err
	}
	if err := customer.stock(ctx, o.checkouts); err != nil {
		return false, err
	}
	idle, err := atRest(ctx, shop)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(out, "the shop is open after %s: %d processes, MariaDB and the gateway at %s\n", time.Since(r.began).Round(time.Second), len(shop.Components), shop.URL)

	chaosDone := chaos.start(ctx, shop, o.stalls)
	result, err := load.Run(ctx, load.Options{
		Target: shop.URL, Users: o.clients, Checkouts: o.checkouts, Mix: mix, Seed: o.seed, Admin: administrator, Progress: out,
		Rest: time.Minute, Resolve: time.Minute,
	})
	if errChaos := chaosDone(); err == nil {
		err = errChaos
	}
	r.exits, r.stalls = exits(shop), chaos.stalls
	if err == nil && result.Interrupted {
		err = context.Cause(ctx)
	}
	if err != nil {
		return false, err
	}
	r.result = result
	if err := r.check(ctx, shop, normal, idle, out); err != nil {
		return false, err
	}
	r.ended = time.Now()
	path, err := r.write(shop)
	if err != nil {
		return false, err
	}
	fmt.Fprintf(out, "%s\nthe report is %s\n", r.verdict(), path)
	return r.holds(), nil
}

// settings of the shop that differ from the defaults, all such as an operator may choose.
var settings = []string{
	"eureka.instance.lease-renewal-interval-in-seconds=2",                          // a registry that was killed knows everybody again within two seconds
	"management.tracing.sampling.probability=0.05",                                 // the tracing server shares processors and disk with all others
	"spring.cloud.gateway.httpclient.response-timeout=12s",                         // a customer whose answer never comes gives up sooner; no answer takes longer
	"resilience4j.circuitbreaker.instances.default.wait-duration-in-open-state=1s", // a process is back within a second or two
}

func within(ctx context.Context, most time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return do(ctx)
}
