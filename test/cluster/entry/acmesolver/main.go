// Command acmesolver answers one HTTP-01 challenge, in a pod that cert-manager makes for it. The main package of cert-manager's own is in a
// module that the Go module proxy does not serve; what it consists of is in the module that it does serve.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/cert-manager/cert-manager/pkg/issuer/acme/http/solver"
	"github.com/go-logr/logr"
)

func main() {
	var s solver.HTTP01Solver
	flag.IntVar(&s.ListenPort, "listen-port", 8089, "where it listens")
	flag.StringVar(&s.Domain, "domain", "", "whose challenge it answers")
	flag.StringVar(&s.Token, "token", "", "the last part of the challenge's path")
	flag.StringVar(&s.Key, "key", "", "the answer")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, func() { os.Exit(0) }) // nobody waits for an answer that the challenge outlived
	if err := s.Listen(logr.FromSlogHandler(slog.Default().Handler())); !errors.Is(err, http.ErrServerClosed) {
		slog.Error("the challenge is not answered any more", "err", err)
		os.Exit(1)
	}
}
