package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"tienda/backup"
	"tienda/load"
	"tienda/test/fleet"
)

// scene is everything that takes part.
type scene struct {
	options  options
	dir      string
	out      io.Writer
	binary   string
	database *backup.Private
	url      string // of the server, as the shop reaches it
	servers  int    // that there were
	shop     *fleet.Fleet
	bucket   *http.Server
	environ  []string // of the program's own commands
	shipping *exec.Cmd
}

// withLogs is what the chart sets on MySQL as well: nothing that was answered is lost with the machine's memory.
var withLogs = []string{"--log-bin=binlog", "--binlog-format=ROW", "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1", "--max-connections=600",
	"--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin"}

// prepare builds the program, runs a bucket and a server, fills a shop and opens it.
func prepare(ctx context.Context, o options, dir string, out io.Writer) (s *scene, err error) {
	s = &scene{options: o, dir: dir, out: out}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.end())
		}
	}()
	if s.binary, err = fleet.Build(ctx, dir, ""); err != nil {
		return s, err
	}
	if err := s.openBucket(ctx); err != nil {
		return s, err
	}
	public, err := s.tienda(ctx, "backup", "keygen", "--out", filepath.Join(dir, "key"))
	if err != nil {
		return s, err
	}
	s.environ = append(s.environ, "TIENDA_BACKUP_RECIPIENTS="+strings.TrimSpace(public))
	if err := s.newServer(ctx); err != nil {
		return s, err
	}
	return s, s.fill(ctx)
}

// fill fills the databases and opens the shop.
func (s *scene) fill(ctx context.Context) error {
	if _, err := s.tienda(ctx, "load", "--fill", "--products", fmt.Sprint(s.options.products), "--orders", fmt.Sprint(s.options.orders)); err != nil {
		return err
	}
	return s.open(ctx)
}

// openBucket serves a stand-in for S3 in this process: it must survive what is destroyed.
func (s *scene) openBucket(ctx context.Context) error {
	store := s3mem.New()
	if err := store.CreateBucket("backups"); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.bucket = &http.Server{Handler: gofakes3.New(store, gofakes3.WithLogger(gofakes3.DiscardLog())).Server(), ReadHeaderTimeout: time.Minute}
	go func() { _ = s.bucket.Serve(listener) }() // until end closes it
	s.environ = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "TIENDA_BACKUP_BUCKET=http://" + listener.Addr().String() + "/backups/drill",
		"AWS_ACCESS_KEY_ID=drill", "AWS_SECRET_ACCESS_KEY=drill"}
	return nil
}

// newServer runs a database server with nothing in it, at an address of its own.
func (s *scene) newServer(ctx context.Context) (err error) {
	s.servers++
	s.database, err = backup.StartPrivate(ctx, true, s.serverDir(), 0, append(withLogs, fmt.Sprintf("--server-id=%d", s.servers))...)
	if err != nil {
		return fmt.Errorf("%w; test/mariadb.sh installs MariaDB", err)
	}
	s.url = s.database.Server.URL
	return nil
}

func (s *scene) serverDir() string { return filepath.Join(s.dir, fmt.Sprintf("server-%d", s.servers)) }

// tienda runs the program and returns what it prints.
func (s *scene) tienda(ctx context.Context, arguments ...string) (string, error) {
	command := s.command(ctx, arguments...)
	var out, said bytes.Buffer
	command.Stdout, command.Stderr = &out, &said
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("tienda %s: %w: %s", strings.Join(arguments, " "), err, said.String())
	}
	return out.String(), nil
}

func (s *scene) command(ctx context.Context, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, s.binary, arguments...)
	command.Env = s.environ
	if s.url != "" {
		command.Env = append(command.Env, "SPRING_DATASOURCE_URL="+s.url+"tienda?createDatabaseIfNotExist=true", "SPRING_DATASOURCE_USERNAME=root")
	}
	return command
}

// open runs the shop over the server of now, and waits for it.
func (s *scene) open(ctx context.Context) (err error) {
	s.shop, err = fleet.StartOne(ctx, fleet.Options{Dir: filepath.Join(s.dir, "shop"), Binary: s.binary, Database: s.url + "tienda"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		err := s.answers(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the shop does not open: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// answers asks for a page of products, which needs gateway, registry, product-service and database.
func (s *scene) answers(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.shop.URL+"/product-service/api/products?size=1", http.NoBody)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", request.URL, answer.Status)
	}
	return nil
}

// backUp ships binary logs, takes a backup after a quarter of the time, and lets customers go on.
func (s *scene) backUp(ctx context.Context, o options) error {
	s.shipping = s.command(context.WithoutCancel(ctx), "backup", "ship", "--every", o.every.String(), "--listen", "127.0.0.1:0")
	if err := s.shipping.Start(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(o.before / 4):
	}
	said, err := s.tienda(ctx, "backup", "create")
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s", said)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(o.before * 3 / 4):
	}
	return nil
}

// destroy kills the server and deletes its files. Shipping dies with it, as if they had shared a machine: otherwise it would send
// what it has copied already.
func (s *scene) destroy() (at time.Time, err error) {
	at = time.Now()
	s.killShipping()
	s.database.Kill()
	return at, os.RemoveAll(s.serverDir())
}

func (s *scene) killShipping() {
	if s.shipping != nil {
		_ = s.shipping.Process.Kill() // it may have ended
		_ = s.shipping.Wait()         // with the signal
		s.shipping = nil
	}
}

// end stops what still runs.
func (s *scene) end() error {
	if s.shop != nil {
		s.shop.Stop()
	}
	s.killShipping()
	if s.database != nil {
		s.database.Kill()
	}
	if s.bucket != nil {
		return s.bucket.Close()
	}
	return nil
}

// customers buy until they are stopped.
type customers struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
	result *load.Result
	err    error
}

// mix buys more than it looks.
const mix = "story,browse=0,look=10,track=20"

func (s *scene) buy(ctx context.Context) (*customers, error) {
	shares, err := load.ParseMix(mix)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &customers{cancel: cancel}
	c.group.Go(func() {
		c.result, c.err = load.Run(ctx, load.Options{Target: s.shop.URL, Users: s.options.customers, Duration: time.Hour, Mix: shares, Seed: 1})
	})
	return c, nil
}

// stop ends the customers, who are in vain by now.
func (c *customers) stop() error {
	c.cancel()
	c.group.Wait()
	return c.err
}
