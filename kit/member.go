package kit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"tienda/eureka"
	"tienda/sqldb"
)

// member is one running service.
type member struct {
	service  Service
	opts     Options
	log      *slog.Logger
	settings *settings
	fail     context.CancelCauseFunc

	address  string // host:port under which others reach it
	listener net.Listener
	server   *http.Server
	metrics  *prometheus.Registry
	// registerer adds the label "service" to every metric.
	registerer prometheus.Registerer
	tracer     trace.TracerProvider
	traced     http.RoundTripper
	client     *http.Client
	finder     *finder
	registry   *eureka.Client

	background    *errgroup.Group
	backgroundCtx context.Context
	endBackground context.CancelFunc

	mu      sync.Mutex
	checks  []check
	closers []func(context.Context) error // run last to first

	warmUps  []check       // what is to be done before others call
	prepared chan struct{} // closed when that is done: it registers then
	warm     atomic.Bool   // it was registered, too

	draining atomic.Bool
}

// check is one condition of readiness.
type check struct {
	name string
	run  func(ctx context.Context) error
}

func (m *member) addCheck(name string, run func(ctx context.Context) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checks = append(m.checks, check{name, run})
}

// spawn runs work beside the handler; its error stops the process and names the service.
func (m *member) spawn(run func(ctx context.Context) error) {
	m.background.Go(func() error {
		err := run(m.backgroundCtx)
		if err != nil && m.backgroundCtx.Err() == nil {
			m.fail(fmt.Errorf("%s: %w", m.service.Name, err))
		}
		return nil
	})
}

func (m *member) openRegistry(common commonSettings) error {
	urls := splitList(common.Eureka.Client.ServiceURL.DefaultZone)
	switch {
	case !common.Eureka.Client.Enabled:
		return errors.New("eureka.client.enabled is false: without a registry no neighbour can be found")
	case len(urls) == 0:
		return errors.New("eureka.client.service-url.defaultZone is empty: without a registry no neighbour can be found")
	}
	m.registry = eureka.NewClient(urls, &http.Client{Timeout: 3 * time.Second}, m.log)
	return nil
}

// registration describes this instance to the registry.
func (m *member) registration(common commonSettings) *eureka.Registration {
	instance := common.Eureka.Instance
	if !common.Eureka.Client.RegisterWithEureka {
		return nil
	}
	ip, portText, _ := net.SplitHostPort(m.address)
	port, _ := strconv.Atoi(portText) // it is a listener's own
	host := instance.Hostname
	if host == "" || instance.PreferIPAddress {
		host = ip
	}
	base := "http://" + net.JoinHostPort(host, portText) + m.service.Context
	metadata := map[string]string{"management.port": portText}
	maps.Copy(metadata, instance.MetadataMap)
	return &eureka.Registration{
		After: m.prepared,
		App:   m.service.Name, InstanceID: instance.InstanceID, HostName: host, IPAddr: ip, Port: port,
		HomePageURL: base + "/", StatusPageURL: base + "/actuator/info", HealthCheckURL: base + "/actuator/health",
		VIPAddress: m.service.Name, Metadata: metadata,
		RenewalInterval: time.Duration(instance.LeaseRenewalIntervalInSeconds) * time.Second,
		LeaseDuration:   time.Duration(instance.LeaseExpirationDurationInSeconds) * time.Second,
	}
}

// openDB is Env.DB.
func (m *member) openDB(ctx context.Context, common commonSettings) func(...sqldb.Migrations) (*sqldb.DB, error) {
	return func(migrations ...sqldb.Migrations) (*sqldb.DB, error) {
		source := common.Spring.Datasource
		if source.URL == "" {
			return nil, errors.New("no database: set spring.datasource.url (SPRING_DATASOURCE_URL) to jdbc:mysql://HOST:3306/SCHEMA or sqlite:PATH")
		}
		seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "db_query_seconds", Help: "Duration of statements and transactions.", Buckets: buckets,
		}, []string{"op"})
		m.registerer.MustRegister(seconds)
		config := sqldb.Config{
			URL: source.URL, Username: source.Username, Password: source.Password,
			Observe: func(op string, elapsed time.Duration) { seconds.WithLabelValues(op).Observe(elapsed.Seconds()) },
		}
		if m.opts.Statement != nil {
			config.Statement = func(query string, args []any) { m.opts.Statement(m.service.Name, query, args) }
		}
		// In a cluster a server may come up together with its components.
		db, err := sqldb.Await(ctx, source.Hikari.InitializationFailTimeout, sqldb.Unreachable,
			func(err error) { m.log.Warn("the database does not answer yet", "err", err) },
			func(ctx context.Context) (*sqldb.DB, error) { return sqldb.Open(ctx, config, migrations...) })
		if err != nil {
			return nil, err
		}
		m.addCheck("db", db.Ping)
		m.closers = append(m.closers, func(context.Context) error { return db.Close() })
		return db, nil
	}
}

// serve answers requests from now on.
func (m *member) serve(handler http.Handler) {
	m.server = &http.Server{
		Handler:           m.endpoints(m.observed(handler)),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       60 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(m.log.Handler(), slog.LevelDebug),
	}
	m.spawn(func(context.Context) error {
		if err := m.server.Serve(m.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
}

func (m *member) deregister(ctx context.Context) {
	if m.registry == nil {
		return
	}
	if err := m.registry.Deregister(ctx); err != nil {
		m.log.Info("not taken out of the registry; the lease will run out", "err", err)
	}
}

// stop finishes the requests under way, then the background work, then what it stood on.
func (m *member) stop(ctx context.Context) error {
	var errs []error
	switch {
	case m.server != nil:
		if err := m.server.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("requests still under way: %w", err), m.server.Close())
		}
	case m.listener != nil:
		errs = append(errs, m.listener.Close())
	}
	m.endBackground()
	_ = m.background.Wait() // spawn reports errors where they happen
	for _, closer := range slices.Backward(m.closers) {
		errs = append(errs, closer(ctx))
	}
	return errors.Join(errs...)
}
