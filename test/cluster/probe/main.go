// Command probe stands in a pod and tells whom the pod reaches.
//
//	probe                       waits until it is told to stop
//	probe HOST:PORT HOST:PORT…  tries each at once, and prints a line for each: what was tried, and open, refused,
//	                            silent or unknown
//
// Silent is what a network policy does: nobody answers. Refused means that a packet came through and nobody listens.
// Unknown means that the name leads nowhere.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// How long an answer may take. Within a cluster one takes a millisecond; a packet that was lost is sent again after one
// second. A name is asked for several times: a resolver waits five seconds for a packet that was lost.
const (
	patience     = 2500 * time.Millisecond
	namePatience = 3 * time.Second
	nameTries    = 6
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 1 {
		<-ctx.Done()
		return
	}
	targets := os.Args[1:]
	outcomes := make([]string, len(targets))
	var trying sync.WaitGroup
	for i, target := range targets {
		trying.Go(func() { outcomes[i] = try(ctx, target) })
	}
	trying.Wait()
	for i, target := range targets {
		fmt.Println(target, outcomes[i])
	}
}

func try(ctx context.Context, target string) string {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return "unknown"
	}
	address := lookUp(ctx, host)
	if address == "" {
		return "unknown"
	}
	dialer := net.Dialer{Timeout: patience}
	connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(address, port))
	switch {
	case err == nil:
		_ = connection.Close() // that it was open is all that was asked
		return "open"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	default:
		return "silent"
	}
}

// lookUp is an address of a host, or "".
func lookUp(ctx context.Context, host string) string {
	for range nameTries {
		asking, cancel := context.WithTimeout(ctx, namePatience)
		addresses, err := net.DefaultResolver.LookupHost(asking, host)
		cancel()
		if err == nil {
			return addresses[0]
		}
	}
	return ""
}
