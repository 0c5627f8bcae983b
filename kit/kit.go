// Package kit runs services: everything about being a service that is not about what it serves.
//
// [Run] starts the services of a table in order. Each gets settings (layered from flags, environment,
// configuration server and the built-in files), its own database, logs, metrics, traces, an HTTP
// client that finds its neighbours by name, and the endpoints that operators and probes ask for.
// A service knows none of that: it is an http.Handler that was handed its dependencies.
//
// Registry, configuration server and trace collector may be absent: each is tried again in the
// background and never keeps a service from serving.
package kit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"tienda/sqldb"
)

// A Service is one member of the system.
type Service struct {
	Name    string   // as registered and looked up: "order-service"
	Title   string   // for people: "Order service"
	Port    int      // default: 8300
	Context string   // path below which it serves; "" for the root
	Needs   []string // services it calls: the graph that chart, policies and docs must match
	// Infrastructure marks registry, configuration and tracing, whose own requests are not traced:
	// they would drown those of the shop.
	Infrastructure bool
	New            func(ctx context.Context, env *Env) (http.Handler, error)
}

// Env is what New is given. Nothing in it is global.
type Env struct {
	Name    string
	Log     *slog.Logger
	Metrics prometheus.Registerer // adds the label "service"
	// HTTP finds services by name ("http://order-service/…"); it traces, limits time, tries a failed
	// connection on another instance and breaks circuits.
	HTTP *http.Client
	// Transport sends to an address as it is, traced; for the gateway, which picks instances itself.
	Transport http.RoundTripper
	// Instances are the addresses ("host:port") of a service that are up, but for those that could not be reached. Where no other
	// is known the registry is asked at once.
	Instances func(ctx context.Context, name string, except ...string) []string
	// Bind copies the settings under a prefix into a struct with koanf tags. What is not set keeps
	// the struct's value; an unknown key below "tienda" is an error.
	Bind func(prefix string, dst any) error
	// Watch calls changed after settings from the configuration server changed.
	Watch func(changed func())
	// DB opens this service's own database and migrates it. It is closed after the service stopped.
	DB func(migrations ...sqldb.Migrations) (*sqldb.DB, error)
	// Go runs work beside the handler until its context ends. An error stops the process.
	Go func(run func(ctx context.Context) error)
	// Check adds a condition to /readyz: of the service's own state, never of a neighbour's.
	Check func(name string, check func(ctx context.Context) error)
	// Draining tells whether the process goes on serving only until its callers know that it ends; see [Options].
	Draining func() bool
	// WarmUp names what is to be done before others call this service; see [Options].
	WarmUp func(name string, run func(ctx context.Context) error)
}

// Options are what all services of a process share.
type Options struct {
	Listen     string                       // address to listen on; "" is all
	PortOffset int                          // added to every port
	Ports      map[string]int               // by name, instead of the defaults; 0 lets the kernel choose
	Profiles   []string                     // spring.profiles.active; "default" when empty
	Flags      map[string]string            // settings that win over all others
	Overrides  map[string]map[string]string // the same for one service, by its name
	Defaults   map[string]map[string]string // of one service; every other layer wins over them
	Environ    []string                     // as of os.Environ
	Files      fs.FS                        // the built-in configuration: the lowest layer
	Known      []string                     // all keys below "tienda"; see [KeysOf]
	Drain      time.Duration                // between turning /readyz red and closing the listener
	WarmUp     time.Duration                // how long steps of warming up are tried before the service is called ready without them
	Logger     *slog.Logger                 // each service logs with its name
	Level      *slog.LevelVar               // set by logging.level.root when it is not nil
	Now        func() time.Time
	// FetchRegistry is how often each service reads the registry; 0 is 30 s, as Eureka's clients do.
	FetchRegistry time.Duration
	// Started is told of each service that serves, with its address.
	Started func(service Service, address string)
	// Statement, when set, is told of each statement that a service runs; see [sqldb.Config].
	Statement func(service, query string, args []any)
}

// Run starts services in table order, registers each, serves until ctx ends, then drains in reverse.
// The last of several opens its port when those before it are registered, or after three seconds.
// An error at start, or of a service that fails later, stops all and names the service.
func Run(ctx context.Context, opts Options, services ...Service) error {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.FetchRegistry == 0 {
		opts.FetchRegistry = 30 * time.Second
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var running []*member
	var errStart error
	for i, service := range services {
		if i > 0 && i == len(services)-1 {
			waitRegistered(ctx, running)
		}
		m, err := start(ctx, opts, service, fail)
		if m != nil {
			running = append(running, m)
		}
		if err != nil {
			errStart = fmt.Errorf("%s: %w", service.Name, err)
			break
		}
		if opts.Started != nil {
			opts.Started(service, m.address)
		}
	}
	if errStart == nil {
		settle()
		<-ctx.Done()
	}
	errStop := stop(opts, running)
	if errStart != nil {
		return errors.Join(errStart, errStop)
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return errors.Join(cause, errStop)
	}
	return errStop
}

// waitRegistered gives services up to three seconds to be found by others.
func waitRegistered(ctx context.Context, members []*member) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for slices.ContainsFunc(members, func(m *member) bool { return !m.registry.Registered() }) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop turns every /readyz red and takes every service out of the registry, waits for the drain, and
// closes the services in reverse, each waiting for what it still works on.
func stop(opts Options, members []*member) error {
	ctx, cancel := context.WithTimeout(context.Background(), opts.Drain+25*time.Second)
	defer cancel()
	var leaving sync.WaitGroup
	for _, m := range members {
		m.draining.Store(true)
		leaving.Go(func() { m.deregister(ctx) })
	}
	leaving.Wait()
	if opts.Drain > 0 && len(members) > 0 {
		time.Sleep(opts.Drain)
	}
	var errs []error
	for _, m := range slices.Backward(members) {
		if err := m.stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.service.Name, err))
		}
	}
	return errors.Join(errs...)
}

// start brings one service up. The member is returned even with an error when it holds anything to
// be stopped.
func start(ctx context.Context, opts Options, service Service, fail context.CancelCauseFunc) (*member, error) {
	m := &member{service: service, opts: opts, log: opts.Logger.With("service", service.Name), fail: fail, prepared: make(chan struct{})}
	// Background work outlives the signal to stop: it ends when its own service is stopped.
	m.backgroundCtx, m.endBackground = context.WithCancel(untraced(context.WithoutCancel(ctx)))
	m.background = &errgroup.Group{}
	settings, err := loadSettings(ctx, opts, service.Name, m.log)
	if err != nil {
		return m, err
	}
	m.settings = settings
	var common commonSettings
	common.defaults()
	if err := settings.Bind("", &common); err != nil {
		return m, err
	}
	m.applyLogLevel()
	port := service.Port + opts.PortOffset
	if fixed, ok := opts.Ports[service.Name]; ok {
		port = fixed
	} else if common.Server.Port != 0 && opts.PortOffset == 0 {
		port = common.Server.Port
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(opts.Listen, strconv.Itoa(port)))
	if err != nil {
		return m, listenError(opts.Listen, port, err)
	}
	m.listener = listener
	m.address = advertised(ctx, listener.Addr().(*net.TCPAddr))
	m.openMetrics()
	if err := m.openTracing(ctx, common); err != nil {
		return m, err
	}
	if err := m.openRegistry(common); err != nil {
		return m, err
	}
	m.openClient(common)
	env := &Env{
		Name: service.Name, Log: m.log, Metrics: m.registerer, HTTP: m.client, Transport: m.traced,
		Instances: m.instances, Bind: settings.Bind, Watch: settings.watch,
		DB: m.openDB(ctx, common), Go: m.spawn, Check: m.addCheck, Draining: m.draining.Load, WarmUp: m.addWarmUp,
	}
	handler, err := service.New(ctx, env)
	if err != nil {
		return m, err
	}
	if opts.WarmUp <= 0 { // before anybody can ask
		close(m.prepared)
		m.warm.Store(true)
	}
	m.serve(handler)
	registration := m.registration(common)
	m.spawn(func(ctx context.Context) error { return m.registry.Run(ctx, registration, opts.FetchRegistry) })
	if opts.WarmUp > 0 {
		m.spawn(func(ctx context.Context) error {
			m.warmUp(ctx, registration != nil && !service.Infrastructure)
			return nil
		})
	}
	m.spawn(func(ctx context.Context) error { settings.poll(ctx, common.Spring.Cloud.Config.Poll); return nil })
	settings.watch(m.applyLogLevel)
	settings.watch(func() {
		changed := commonSettings{}
		if err := settings.Bind("", &changed); err != nil {
			m.log.Warn("changed settings are not used", "err", err)
			return
		}
		m.finder.configure(changed.Resilience4j.CircuitBreaker.Instances)
	})
	return m, nil
}

func listenError(listen string, port int, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d on %s is taken by another process; stop it or move with --port-offset", port, hostWords(listen))
	}
	return fmt.Errorf("listen on port %d: %w", port, err)
}

func hostWords(listen string) string {
	if listen == "" {
		return "this machine"
	}
	return listen
}

// advertised is the address under which neighbours reach a listener.
func advertised(ctx context.Context, address *net.TCPAddr) string {
	host := address.IP.String()
	if address.IP.IsUnspecified() {
		host = outboundIP(ctx)
	}
	return net.JoinHostPort(host, strconv.Itoa(address.Port))
}

// outboundIP is the address that packets of this machine carry; none is sent to find out.
func outboundIP(ctx context.Context) string {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", "192.0.2.1:9")
	if err != nil {
		return "127.0.0.1"
	}
	ip := conn.LocalAddr().(*net.UDPAddr).IP.String()
	_ = conn.Close() // nothing was sent
	return ip
}

// commonSettings are those that every service reads.
type commonSettings struct {
	Server struct {
		Port int `koanf:"port"`
	} `koanf:"server"`
	Eureka struct {
		Client struct {
			Enabled            bool `koanf:"enabled"`
			RegisterWithEureka bool `koanf:"register-with-eureka"`
			ServiceURL         struct {
				DefaultZone string `koanf:"defaultZone"`
			} `koanf:"service-url"`
		} `koanf:"client"`
		Instance struct {
			Hostname                         string            `koanf:"hostname"`
			InstanceID                       string            `koanf:"instance-id"`
			PreferIPAddress                  bool              `koanf:"prefer-ip-address"`
			LeaseRenewalIntervalInSeconds    int               `koanf:"lease-renewal-interval-in-seconds"`
			LeaseExpirationDurationInSeconds int               `koanf:"lease-expiration-duration-in-seconds"`
			MetadataMap                      map[string]string `koanf:"metadata-map"`
		} `koanf:"instance"`
	} `koanf:"eureka"`
	Spring struct {
		Datasource struct {
			URL      string `koanf:"url"`
			Username string `koanf:"username"`
			Password string `koanf:"password"`
			Hikari   struct {
				InitializationFailTimeout time.Duration `koanf:"initialization-fail-timeout"`
			} `koanf:"hikari"`
		} `koanf:"datasource"`
		Zipkin struct {
			BaseURL string `koanf:"base-url"`
		} `koanf:"zipkin"`
		Cloud struct {
			Config struct {
				Poll time.Duration `koanf:"poll"`
			} `koanf:"config"`
		} `koanf:"cloud"`
	} `koanf:"spring"`
	Management struct {
		Tracing struct {
			Sampling struct {
				Probability float64 `koanf:"probability"`
			} `koanf:"sampling"`
		} `koanf:"tracing"`
	} `koanf:"management"`
	Resilience4j struct {
		CircuitBreaker struct {
			Instances map[string]BreakerSettings `koanf:"instances"`
		} `koanf:"circuitbreaker"`
	} `koanf:"resilience4j"`
}

func (c *commonSettings) defaults() {
	c.Eureka.Client.Enabled, c.Eureka.Client.RegisterWithEureka = true, true
	c.Eureka.Client.ServiceURL.DefaultZone = "http://localhost:8761/eureka"
	c.Eureka.Instance.LeaseRenewalIntervalInSeconds = 30
	c.Eureka.Instance.LeaseExpirationDurationInSeconds = 90
	c.Spring.Zipkin.BaseURL = "http://localhost:9411/"
	c.Spring.Cloud.Config.Poll = 10 * time.Second
	c.Management.Tracing.Sampling.Probability = 1
}

// splitList splits a comma list, as Spring writes lists in one property.
func splitList(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}
