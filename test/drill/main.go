// Command drill destroys the database of a shop and brings it back: customers buy while backups are taken and binary
// logs shipped, the server is killed and its files deleted, and another one is restored from the bucket. It proves that the
// books are right afterwards and measures what was lost and how long it took.
//
// The outcome is a report for people, kept as a file; the exit status is 0 when everything holds, 1 when something does not and 2
// when the drill could not be made. `make drill` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options say how large the drill is.
type options struct {
	products, orders int           // that the shop is filled with
	customers        int           // at once
	before           time.Duration // that customers buy until the disaster
	after            int           // checkouts in the shop that was brought back
	every            time.Duration // that binary logs are shipped
	reports          string        // folder
	version          string        // of the source
	keep             bool          // databases and logs
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.IntVar(&o.products, "products", 20_000, "how many products the shop is filled with")
	flag.IntVar(&o.orders, "orders", 50_000, "how many orders the shop is filled with")
	flag.IntVar(&o.customers, "customers", 16, "how many customers at once")
	flag.DurationVar(&o.before, "before", time.Minute, "how long customers buy until the disaster")
	flag.IntVar(&o.after, "after", 200, "how many checkouts in the shop that was brought back")
	flag.DurationVar(&o.every, "every", 5*time.Second, "how often binary logs are shipped")
	flag.StringVar(&o.reports, "reports", "bin/drill", "folder of the reports")
	flag.StringVar(&o.version, "version", "unknown", "of the source, for the report")
	flag.BoolVar(&o.keep, "keep", false, "keep databases and logs")
	flag.Parse()
	dir, err := os.MkdirTemp("", "tienda-drill-")
	if err == nil {
		var r *report
		r, err = drill(ctx, o, dir, os.Stdout)
		if o.keep || err != nil {
			fmt.Println("databases and logs are in " + dir)
		} else {
			err = os.RemoveAll(dir)
		}
		if err == nil {
			var path string
			path, err = r.write(o)
			fmt.Printf("%s\nthe report is %s\n", r.verdict(), path)
			if err == nil && !r.holds() {
				os.Exit(1)
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "drill: "+err.Error())
		os.Exit(2)
	}
}

// lossBound is what a disaster may cost.
const lossBound = time.Minute

// drill does it all and says what came of it.
func drill(ctx context.Context, o options, dir string, out io.Writer) (r *report, err error) {
	r = &report{options: o, began: time.Now()}
	s, err := prepare(ctx, o, dir, out)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	fmt.Fprintf(out, "the shop is open at %s, with %d orders; customers begin to buy\n", s.shop.URL, o.orders)
	bought, err := s.buy(ctx)
	if err != nil {
		return nil, err
	}
	err = s.backUp(ctx, o)
	if err == nil {
		r.destroyed, err = s.destroy()
	}
	if err = errors.Join(err, bought.stop()); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "the database is destroyed after %d checkouts\n", len(bought.result.Record))
	s.shop.Stop()

	if r.tested, err = s.tienda(ctx, "backup", "test", "--identity", filepath.Join(dir, "key"), "--spool", dir); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "%s", r.tested)

	// From here on it goes as docs/recovery.md says.
	recovering := time.Now()
	if err := s.newServer(ctx); err != nil {
		return nil, err
	}
	if r.said, err = s.tienda(ctx, "restore", "--identity", filepath.Join(dir, "key"), "--spool", dir); err != nil {
		return nil, err
	}
	r.restored = time.Since(recovering)
	fmt.Fprintf(out, "%s", r.said)
	if err := r.lost(ctx, s, bought.result); err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	r.open = time.Since(recovering)
	fmt.Fprintf(out, "the shop is open again after %s\n", r.open.Round(100*time.Millisecond))
	if err := r.afterwards(ctx, s, o); err != nil {
		return nil, err
	}
	r.ended = time.Now()
	return r, nil
}
