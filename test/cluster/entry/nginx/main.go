// Command nginx runs NGINX as an ingress controller: it is what the throwaway cluster has in the place of F5's NGINX Ingress
// Controller, whose module the Go module proxy does not serve. It does with an Ingress what F5's does, as far as the shop's chart asks
// for it: see config.go.
//
// Ingresses, Services, EndpointSlices and Secrets are watched; whenever what comes of them changes, the configuration is written, tested,
// and taken up by NGINX without losing a connection.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

func main() {
	class := flag.String("ingress-class", "nginx", "class of the Ingresses that are served")
	folder := flag.String("folder", "/tmp/nginx", "where the configuration is written")
	ready := flag.String("ready", ":8081", "address at which /nginx-ready answers once the first configuration serves")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, *class, *folder, *ready); err != nil {
		slog.Error("the entry stopped", "err", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, class, folder, ready string) error {
	settings, err := rest.InClusterConfig()
	if err != nil {
		return fmt.Errorf("read the pod's access to the API server: %w", err)
	}
	client, err := kubernetes.NewForConfig(settings)
	if err != nil {
		return fmt.Errorf("make a client of the API server: %w", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	seen := objects{
		class:     class,
		ingresses: factory.Networking().V1().Ingresses().Lister(),
		services:  factory.Core().V1().Services().Lister(),
		slices:    factory.Discovery().V1().EndpointSlices().Lister(),
		secrets:   factory.Core().V1().Secrets().Lister(),
		told:      new(string),
	}
	changed := make(chan struct{}, 1)
	note := func(any) {
		select {
		case changed <- struct{}{}:
		default: // it is known already that something changed
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, o any) { note(o) }, DeleteFunc: note}
	for _, informer := range []cache.SharedIndexInformer{
		factory.Networking().V1().Ingresses().Informer(), factory.Core().V1().Services().Informer(),
		factory.Discovery().V1().EndpointSlices().Informer(), factory.Core().V1().Secrets().Informer(),
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return fmt.Errorf("watch the cluster: %w", err)
		}
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("read the %v of the cluster: %w", kind, context.Cause(ctx))
		}
	}

	n := &server{folder: folder}
	if _, err := n.write(ctx, seen.configuration()); err != nil {
		return err
	}
	if err := n.start(ctx); err != nil {
		return err
	}
	var serving atomic.Bool
	serving.Store(true)
	health := &http.Server{Addr: ready, ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !serving.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})}
	failed := make(chan error, 2)
	go func() { failed <- health.ListenAndServe() }()
	go func() { failed <- n.process.Wait() }()
	slog.Info("the entry serves", "class", class)
	for {
		select {
		case <-ctx.Done():
			serving.Store(false)
			slog.Info("the entry stops when the last request is answered")
			if err := n.signal(syscall.SIGQUIT); err != nil {
				return err
			}
			return <-failed
		case err := <-failed:
			return fmt.Errorf("NGINX or the page of its health ended: %w", errors.Join(err, errors.New("nobody asked it to")))
		case <-changed:
			time.Sleep(100 * time.Millisecond) // what changes together is taken up together
			new, err := n.write(ctx, seen.configuration())
			if err == nil && new {
				err = n.signal(syscall.SIGHUP)
			}
			if err != nil {
				slog.Error("the configuration is not taken up, the one before goes on", "err", err)
			}
		}
	}
}

// objects are what the cluster holds.
type objects struct {
	class     string
	ingresses ingressLister
	services  serviceLister
	slices    sliceLister
	secrets   secretLister
	told      *string // what was passed over when it was last looked at
}

// configuration is what NGINX is to do, from what the cluster holds now.
func (o objects) configuration() configuration {
	ingresses, err := o.ingresses.List(labels.Everything())
	if err != nil {
		slog.Error("list the Ingresses", "err", err)
	}
	c, problems := o.build(ingresses)
	if now := strings.Join(problems, "; "); now != *o.told {
		*o.told = now
		slog.Warn("what is not served", "reasons", now)
	}
	return c
}

// server is the process of NGINX and its folder.
type server struct {
	folder  string
	process *exec.Cmd
	last    []byte
}

// write writes the configuration into the folder, and says whether it is another than before. One that NGINX refuses leaves the one before.
func (s *server) write(ctx context.Context, c configuration) (bool, error) {
	var text bytes.Buffer
	if err := page.Execute(&text, struct {
		configuration
		Folder string
	}{c, s.folder}); err != nil {
		return false, fmt.Errorf("write the configuration: %w", err)
	}
	all := bytes.Clone(text.Bytes())
	for _, f := range c.Files {
		all = append(append(all, f.name...), f.data...)
	}
	if bytes.Equal(all, s.last) {
		return false, nil
	}
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return false, fmt.Errorf("make the folder of the configuration: %w", err)
	}
	for _, f := range append(c.Files, file{"next.conf", text.Bytes()}) {
		if err := os.WriteFile(filepath.Join(s.folder, f.name), f.data, 0o600); err != nil {
			return false, fmt.Errorf("write the configuration: %w", err)
		}
	}
	next := filepath.Join(s.folder, "next.conf")
	if out, err := exec.CommandContext(ctx, "/usr/sbin/nginx", "-e", "stderr", "-t", "-q", "-c", next).CombinedOutput(); err != nil {
		return false, fmt.Errorf("NGINX refuses the configuration: %w\n%s", err, out)
	}
	if err := os.Rename(next, filepath.Join(s.folder, "nginx.conf")); err != nil {
		return false, fmt.Errorf("put the configuration in place: %w", err)
	}
	s.last = all
	return true, nil
}

// start starts NGINX. It is not killed with ctx, but told to finish what it does.
func (s *server) start(ctx context.Context) error {
	s.process = exec.CommandContext(context.WithoutCancel(ctx), "/usr/sbin/nginx", "-e", "stderr", "-c", filepath.Join(s.folder, "nginx.conf"))
	s.process.Stdout, s.process.Stderr = os.Stdout, os.Stderr
	if err := s.process.Start(); err != nil {
		return fmt.Errorf("start NGINX: %w", err)
	}
	return nil
}

func (s *server) signal(sig os.Signal) error {
	if err := s.process.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %v to NGINX: %w", sig, err)
	}
	return nil
}
