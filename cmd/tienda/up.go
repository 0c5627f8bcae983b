package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"tienda/config"
	"tienda/kit"
)

// place are the flags that up and run share: where data and ports are.
type place struct {
	Data       string                                  `help:"Folder of databases, keys and logs; ${default} unless given." default:"./data" placeholder:"DIR"`
	PortOffset int                                     `help:"Number added to every port." default:"0" placeholder:"N"`
	Profile    []string                                `help:"Configuration profiles, such as origin or production." env:"SPRING_PROFILES_ACTIVE" placeholder:"NAME"`
	Listen     string                                  `help:"Address to listen on: ${default} unless given, 0.0.0.0 for all." default:"127.0.0.1" env:"SERVER_ADDRESS" placeholder:"ADDR"`
	Drain      time.Duration                           `help:"How long to go on serving after saying goodbye to the registry." default:"0s"`
	ports      map[string]int                          // of components, instead of the table's; for tests, whose ports the kernel picks
	faultFlags                                         // of test builds
	statement  func(service, query string, args []any) // is told of each statement; for the test that looks at their plans
	Set        []string                                `help:"A setting that wins over all others, such as tienda.tax.rate=0.19." placeholder:"KEY=VALUE" sep:"none"`
}

type upCommand struct {
	place
	Fresh bool `help:"Begin with empty databases: remove what an earlier run left in the data folder."`
	Demo  bool `help:"Fill empty databases with demo data." default:"true" negatable:""`
}

type runCommand struct {
	place
	Components []string `arg:"" help:"Components: ${components}." name:"component"`
	Demo       bool     `help:"Fill an empty database with demo data." default:"false" negatable:""`
	// A component that goes on without serves what needs nobody: a product-service without its neighbours shows products.
	WarmUp time.Duration `help:"How long to wait at the start for the keys of users' tokens and for the registry, before being ready without." default:"30s"`
}

// terminal is where a command writes.
type terminal struct{ out, err io.Writer }

// interactive reports whether a person is watching.
func (t terminal) interactive() bool { return watched(t.out) }

// watched reports whether what is written goes to a person's screen.
func watched(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Run starts the whole table.
func (c *upCommand) Run(ctx context.Context, term terminal, environ environment) error {
	if err := c.prepare(c.Fresh); err != nil {
		return err
	}
	log, file, err := c.openLog(term)
	if err != nil {
		return err
	}
	defer file.Close()
	opts, err := c.options(environ, services())
	if err != nil {
		return err
	}
	opts.Flags["tienda.demo"] = strconv.FormatBool(c.Demo)
	opts.Logger, opts.Level = log.logger, log.level
	opts.FetchRegistry = time.Second // everything is on this machine, and comes and goes while developing
	c.connect(&opts)
	started := time.Now()
	all := services()
	n := 0
	opts.Started = func(service kit.Service, address string) {
		n++
		fmt.Fprintf(term.out, "%2d/%d  %-18s ready on %s\n", n, len(all), service.Name, address)
		if n == len(all) {
			c.welcome(term, time.Since(started))
		}
	}
	if term.interactive() {
		fmt.Fprintln(term.out, "starting tienda, data in "+c.Data)
	}
	err = kit.Run(ctx, opts, all...)
	if err == nil {
		fmt.Fprintln(term.out, "stopped; nothing is lost")
	}
	return err
}

// connect makes the components find each other whatever the port offset is, before any setting of
// the environment, though not before --set: the shop of one process is complete in itself.
func (c *upCommand) connect(opts *kit.Options) {
	local := func(name string) string {
		return "http://" + net.JoinHostPort(c.reachable(), strconv.Itoa(c.port(name)))
	}
	for key, value := range map[string]string{
		"spring.config.import":                  "optional:configserver:" + local("cloud-config"),
		"eureka.client.service-url.defaultZone": local("service-discovery") + "/eureka",
		"spring.zipkin.base-url":                local("zipkin"),
	} {
		if _, set := opts.Flags[key]; !set {
			opts.Flags[key] = value
		}
	}
}

// port is where a component listens.
func (p *place) port(name string) int {
	if port, ok := p.ports[name]; ok {
		return port
	}
	return rowOf(name).Port + p.PortOffset
}

// reachable is the address under which this process reaches itself.
func (p *place) reachable() string {
	if ip := net.ParseIP(p.Listen); ip == nil || ip.IsUnspecified() {
		return "127.0.0.1"
	}
	return p.Listen
}

func (c *upCommand) welcome(term terminal, elapsed time.Duration) {
	url := func(name, path string) string {
		host := c.Listen
		if host == "127.0.0.1" || c.reachable() != c.Listen {
			host = "localhost"
		}
		return "http://" + net.JoinHostPort(host, strconv.Itoa(c.port(name))) + path
	}
	fmt.Fprintf(term.out, "\ntienda is open, after %s.\n\n", elapsed.Round(10*time.Millisecond))
	table := tabwriter.NewWriter(term.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "  shop API\t%s\n", url("api-gateway", "/product-service/api/products"))
	fmt.Fprintf(table, "  API docs\t%s\n", url("api-gateway", "/swagger-ui.html"))
	fmt.Fprintf(table, "  registry\t%s\n", url("service-discovery", "/"))
	fmt.Fprintf(table, "  settings\t%s\n", url("cloud-config", "/"))
	fmt.Fprintf(table, "  traces\t%s\n", url("zipkin", "/zipkin/"))
	fmt.Fprintf(table, "  log\t%s\n", filepath.Join(c.Data, logName))
	if c.Demo {
		fmt.Fprintf(table, "  log in as\tselimhorri, amineladjimi, omarderouiche or admin, password 0000\n")
	}
	_ = table.Flush() // a terminal that is gone ends the process by itself
	fmt.Fprintln(term.out, "\nCtrl-C stops it and keeps the data.")
}

// Run starts the chosen rows of the table.
func (c *runCommand) Run(ctx context.Context, term terminal, environ environment) error {
	rows, err := selected(c.Components)
	if err != nil {
		return err
	}
	if err := c.prepare(false); err != nil {
		return err
	}
	opts, err := c.options(environ, rows)
	if err != nil {
		return err
	}
	if c.Demo {
		opts.Flags["tienda.demo"] = "true"
	}
	opts.WarmUp = c.WarmUp
	opts.Level = new(slog.LevelVar)
	var handler slog.Handler = slog.NewJSONHandler(term.out, &slog.HandlerOptions{Level: opts.Level})
	if term.interactive() {
		handler = slog.NewTextHandler(term.out, &slog.HandlerOptions{Level: opts.Level})
	}
	opts.Logger = kit.NewLogger(handler)
	opts.Started = func(service kit.Service, address string) {
		opts.Logger.Info("serving", "service", service.Name, "address", address, "version", kit.Version())
	}
	return kit.Run(ctx, opts, rows...)
}

// options are the settings that flags stand for.
func (p *place) options(environ environment, rows []kit.Service) (kit.Options, error) {
	opts := kit.Options{
		Listen: p.Listen, PortOffset: p.PortOffset, Ports: p.ports, Profiles: p.Profile, Environ: environ, Files: config.Files,
		Known: knownSettings(), Drain: p.Drain, Flags: map[string]string{},
		Overrides: map[string]map[string]string{}, Defaults: map[string]map[string]string{}, Statement: p.statement,
	}
	if opts.Listen == "0.0.0.0" || opts.Listen == "::" {
		opts.Listen = ""
	}
	opts.Flags["spring.profiles.active"] = strings.Join(p.Profile, ",")
	keys, err := componentKeys(filepath.Join(p.Data, "keys"), environ)
	if err != nil {
		return opts, err
	}
	url, several := environ.get("SPRING_DATASOURCE_URL"), withDatabase(rows) > 1
	for _, row := range rows {
		own := maps.Clone(keys.trusted)
		if file := keys.files[row.Name]; file != "" {
			own["tienda.identity.key-file"] = file
		}
		own["spring.datasource.url"] = "sqlite:" + filepath.Join(p.Data, row.Name+".db")
		opts.Defaults[row.Name] = own
		if several && url != "" {
			opts.Overrides[row.Name] = map[string]string{"spring.datasource.url": schemaOf(url, row.Name)}
		}
	}
	for _, setting := range p.Set {
		key, value, ok := strings.Cut(setting, "=")
		if !ok || key == "" {
			return opts, fmt.Errorf("--set %q: want KEY=VALUE", setting)
		}
		opts.Flags[key] = value
	}
	return opts, p.arm(strings.Split(opts.Flags["spring.profiles.active"], ","))
}

// prepare makes the data folder, emptied when it is to be fresh.
func (p *place) prepare(fresh bool) error {
	if fresh {
		for _, pattern := range []string{"*.db", "*.db-wal", "*.db-shm"} {
			files, err := filepath.Glob(filepath.Join(p.Data, pattern))
			if err != nil {
				return err
			}
			for _, file := range files {
				if err := os.Remove(file); err != nil {
					return fmt.Errorf("begin afresh: %w", err)
				}
			}
		}
	}
	if err := os.MkdirAll(p.Data, 0o700); err != nil {
		return fmt.Errorf("data folder: %w; choose another with --data DIR", plainPathError(err))
	}
	probe, err := os.CreateTemp(p.Data, ".probe-*")
	if err != nil {
		return fmt.Errorf("data folder %s cannot be written: %w; choose another with --data DIR", p.Data, plainPathError(err))
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// plainPathError drops the name of the system call, which says nothing to a person.
func plainPathError(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Path, e.Err)
	}
	return err
}

// logName is the file in the data folder that up logs to.
const logName = "tienda.log"

// maxLog is how large the log may be when a run begins; then it starts anew.
const maxLog = 64 << 20

type upLog struct {
	logger *slog.Logger
	level  *slog.LevelVar
}

// openLog sends every line to the log file and warnings to the terminal as well.
func (p *place) openLog(term terminal) (upLog, io.Closer, error) {
	path := filepath.Join(p.Data, logName)
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".old"); err != nil {
			return upLog{}, nil, fmt.Errorf("log: %w", err)
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return upLog{}, nil, fmt.Errorf("log: %w", plainPathError(err))
	}
	level := new(slog.LevelVar)
	toFile := slog.NewJSONHandler(file, &slog.HandlerOptions{Level: level})
	toTerminal := slog.NewTextHandler(term.err, &slog.HandlerOptions{Level: slog.LevelWarn})
	return upLog{kit.NewLogger(slog.NewMultiHandler(toFile, onceEach{toTerminal, new(sync.Map)})), level}, file, nil
}

// onceEach shows a warning that many components give only once: the log file has all of them.
type onceEach struct {
	slog.Handler
	shown *sync.Map
}

// Handle implements slog.Handler.
func (h onceEach) Handle(ctx context.Context, record slog.Record) error {
	if record.Level < slog.LevelError {
		if _, again := h.shown.LoadOrStore(record.Message, true); again {
			return nil
		}
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h onceEach) WithAttrs(attrs []slog.Attr) slog.Handler {
	return onceEach{h.Handler.WithAttrs(attrs), h.shown}
}

// WithGroup implements slog.Handler.
func (h onceEach) WithGroup(name string) slog.Handler {
	return onceEach{h.Handler.WithGroup(name), h.shown}
}

// withDatabase counts the components that have one. The schema of SPRING_DATASOURCE_URL belongs to a
// component that is alone; of several, none may see another's rows, and it is the prefix of their own.
func withDatabase(rows []kit.Service) int {
	n := 0
	for _, row := range rows {
		if _, ok := schemas()[row.Name]; ok {
			n++
		}
	}
	return n
}

// schemaOf gives a service its own schema on a MySQL server that several share: the schema of the
// URL, an underscore and the service's name.
func schemaOf(url, service string) string {
	base, query, hasQuery := strings.Cut(url, "?")
	base = strings.TrimSuffix(base, "/") + "_" + strings.ReplaceAll(strings.TrimSuffix(service, "-service"), "-", "_")
	if hasQuery {
		return base + "?" + query
	}
	return base
}
