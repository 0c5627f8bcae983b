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

// patience is how long an answer may take. Within a cluster one takes a millisecond; a packet that was lost is sent
// again after one second.
const patience = 2500 * time.Millisecond

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
	dialer := net.Dialer{Timeout: patience}
	connection, err := dialer.DialContext(ctx, "tcp", target)
	if err == nil {
		_ = connection.Close() // that it was open is all that was asked
		return "open"
	}
	var unknown *net.DNSError
	switch {
	case errors.As(err, &unknown):
		return "unknown"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	default:
		return "silent"
	}
}
