package eureka

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of what the client waits for and reads.
const (
	callTimeout    = 5 * time.Second
	cancelTimeout  = 2 * time.Second
	missTimeout    = time.Second
	missInterval   = 100 * time.Millisecond
	minRetry       = 100 * time.Millisecond
	maxRetry       = 5 * time.Second
	maxRegistryLen = 64 << 20
)

// Registration is the instance that a client keeps registered. Only App and
// Port must be set.
type Registration struct {
	App             string // upper-cased on the wire
	InstanceID      string // default: HostName:app:Port
	HostName        string // default: IPAddr
	IPAddr          string // default: 127.0.0.1
	Port            int
	HomePageURL     string
	StatusPageURL   string
	HealthCheckURL  string
	VIPAddress      string // the name others look it up by; default: App in lower case
	Metadata        map[string]string
	RenewalInterval time.Duration // between heartbeats; default 30 s
	LeaseDuration   time.Duration // without a heartbeat until eviction; default 90 s
	// After, unless it is nil, is closed when the instance may be called. It is not registered before.
	After <-chan struct{}
}

// instance is the registration as the registry is told of it.
func (reg *Registration) instance(now time.Time) Instance {
	in := newInstance()
	in.App = strings.ToUpper(reg.App)
	in.IPAddr = cmp.Or(reg.IPAddr, "127.0.0.1")
	in.HostName = cmp.Or(reg.HostName, in.IPAddr)
	in.InstanceID = cmp.Or(reg.InstanceID, fmt.Sprintf("%s:%s:%d", in.HostName, strings.ToLower(reg.App), reg.Port))
	in.Port = Port{Number: reg.Port, Enabled: true}
	in.SecurePort = Port{Number: 443}
	in.DataCenterInfo = &DataCenterInfo{Class: classMyOwn, Name: "MyOwn"}
	in.LeaseInfo = &LeaseInfo{
		RenewalIntervalInSecs: wholeSeconds(reg.renewalInterval()),
		DurationInSecs:        wholeSeconds(reg.leaseDuration()),
	}
	in.Metadata = maps.Clone(reg.Metadata)
	if in.Metadata == nil {
		in.Metadata = Metadata{}
	}
	in.HomePageURL, in.StatusPageURL, in.HealthCheckURL = reg.HomePageURL, reg.StatusPageURL, reg.HealthCheckURL
	in.VIPAddress = cmp.Or(reg.VIPAddress, strings.ToLower(reg.App))
	in.IsCoordinatingDiscoveryServer = "false"
	in.LastUpdatedTimestamp, in.LastDirtyTimestamp = millis(now), millis(now)
	return in
}

func (reg *Registration) renewalInterval() time.Duration {
	return positive(reg.RenewalInterval, 30*time.Second)
}

func (reg *Registration) leaseDuration() time.Duration {
	return positive(reg.LeaseDuration, 90*time.Second)
}

// positive is d, or otherwise if d is no length of time to wait.
func positive(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// wholeSeconds rounds up: a lease of no seconds would mean the default.
func wholeSeconds(d time.Duration) int {
	return int((d + time.Second - 1) / time.Second)
}

// A Client keeps one instance registered and a copy of the registry. It is safe
// for concurrent use; Run must be running for its copy to be fresh.
type Client struct {
	urls []string // without trailing slash
	http *http.Client
	log  *slog.Logger

	current atomic.Int64       // index of the URL that answered last
	misses  chan chan struct{} // lookups that want the registry fetched now
	poke    chan struct{}      // tells the heartbeat not to wait
	stopped chan struct{}      // closed when Run has ended

	mu         sync.Mutex
	instance   *Instance // as last sent, nil before
	registered bool
	stopLease  context.CancelFunc // ends the registering goroutine; nil when there is none
	leaseDone  chan struct{}      // closed when it has ended
	byName     map[string][]Instance
	graceUntil time.Time
}

// NewClient returns a client of the registry at urls, each a service URL such as
// "http://localhost:8761/eureka/" and possibly with user:password@. They are
// nodes of one registry: the first that answers is used until it does not.
func NewClient(urls []string, h *http.Client, log *slog.Logger) *Client {
	c := &Client{
		http:    h,
		log:     log,
		misses:  make(chan chan struct{}),
		poke:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
	for _, u := range urls {
		if u = strings.TrimRight(strings.TrimSpace(u), "/"); u != "" {
			c.urls = append(c.urls, u)
		}
	}
	return c
}

// Run registers reg, renews its lease, fetches the registry every fetchInterval
// (30 s if that is not positive) and cancels the registration when ctx ends;
// then it returns nil. A nil reg only fetches. An absent registry is no error:
// Run keeps trying and registers again with one that has forgotten the instance.
// Run is called at most once.
func (c *Client) Run(ctx context.Context, reg *Registration, fetchInterval time.Duration) error {
	defer close(c.stopped)
	var wg sync.WaitGroup
	if reg != nil {
		leaseCtx, cancel := context.WithCancel(ctx)
		defer cancel()
		done := make(chan struct{})
		c.mu.Lock()
		c.stopLease, c.leaseDone = cancel, done
		c.mu.Unlock()
		wg.Go(func() {
			defer close(done)
			c.keepRegistered(leaseCtx, reg)
		})
	}
	wg.Go(func() { c.keepFetching(ctx, reg, fetchInterval) })
	wg.Wait()

	cancelCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	if err := c.Deregister(cancelCtx); err != nil {
		// The lease runs out by itself; there is nobody left to do more.
		c.log.Warn("registration not cancelled", "err", err)
	}
	return nil
}

// Registered reports whether the registry has confirmed the registration and
// not denied it since.
func (c *Client) Registered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.registered
}

// Deregister cancels the registration for good, so that others stop calling
// before this instance stops answering. Fetching goes on. It does nothing when
// there is no registration.
func (c *Client) Deregister(ctx context.Context) error {
	c.mu.Lock()
	stop, done := c.stopLease, c.leaseDone
	c.mu.Unlock()
	if stop == nil {
		return nil
	}
	// A heartbeat that is still under way would register the instance again.
	stop()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("cancel registration: %w", context.Cause(ctx))
	}
	c.mu.Lock()
	in := c.instance
	c.registered = false
	c.mu.Unlock()
	if in == nil {
		return nil
	}
	status, _, err := c.call(ctx, http.MethodDelete, instancePath(in), nil)
	if err != nil {
		return fmt.Errorf("cancel registration: %w", err)
	}
	if status != http.StatusOK && status != http.StatusNoContent && status != http.StatusNotFound {
		return fmt.Errorf("cancel registration: registry answered %d %s", status, http.StatusText(status))
	}
	c.mu.Lock()
	c.instance = nil
	c.mu.Unlock()
	return nil
}

// Instances returns the instances that are UP and have name as their vip address
// or application name, in any case, but for those at the addresses except, which
// could not be reached. They come from the client's copy of the registry; when
// that has none, the registry is asked at once, for a second at most. The slice
// is shared and must not be changed.
func (c *Client) Instances(ctx context.Context, name string, except ...string) []Instance {
	name = strings.ToLower(name)
	if found := c.cached(name, except); len(found) > 0 {
		return found
	}
	ctx, cancel := context.WithTimeout(ctx, missTimeout)
	defer cancel()
	fetched := make(chan struct{})
	select {
	case c.misses <- fetched:
	case <-c.stopped:
		return nil
	case <-ctx.Done():
		return nil
	}
	select {
	case <-fetched:
	case <-c.stopped:
	case <-ctx.Done():
	}
	return c.cached(name, except)
}

func (c *Client) cached(name string, except []string) []Instance {
	c.mu.Lock()
	found := c.byName[name]
	c.mu.Unlock()
	if len(except) == 0 {
		return found
	}
	return slices.DeleteFunc(slices.Clone(found), func(in Instance) bool { return slices.Contains(except, in.Addr()) })
}

// keepRegistered registers reg and renews its lease until ctx ends.
func (c *Client) keepRegistered(ctx context.Context, reg *Registration) {
	if reg.After != nil {
		select {
		case <-reg.After:
		case <-ctx.Done():
			return
		}
	}
	var trouble trouble
	retry := minRetry
	for ctx.Err() == nil {
		var err error
		if c.Registered() {
			err = c.renew(ctx)
		}
		if err == nil && !c.Registered() {
			err = c.register(ctx, reg)
		}
		wait := reg.renewalInterval()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			// Half of the wait is random: many that lost one registry do not come back at once.
			wait = min(wait, retry/2+rand.N(retry/2))
			retry = min(2*retry, maxRetry)
		default:
			retry = minRetry
		}
		trouble.note(c.log.With("app", reg.App), "registry does not take the registration, retrying", err)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-c.poke:
		}
		timer.Stop()
	}
}

// register announces the instance.
func (c *Client) register(ctx context.Context, reg *Registration) error {
	in := reg.instance(time.Now())
	body, err := encodeJSON("instance", in)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	c.mu.Lock()
	c.instance = &in // even if the answer is lost it may have to be cancelled
	c.mu.Unlock()
	status, answer, err := c.call(ctx, http.MethodPost, "/apps/"+url.PathEscape(in.App), body)
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if status/100 != 2 {
		return fmt.Errorf("register: registry answered %d: %.200q", status, answer)
	}
	c.mu.Lock()
	c.registered = true
	c.mu.Unlock()
	c.log.Info("registered", "app", in.App, "instance", in.InstanceID)
	return nil
}

// renew sends a heartbeat. That the registry does not know the instance is no
// error; it makes Registered false.
func (c *Client) renew(ctx context.Context) error {
	c.mu.Lock()
	in := c.instance
	c.mu.Unlock()
	query := url.Values{"status": {string(in.Status)}, "lastDirtyTimestamp": {strconv.FormatInt(int64(in.LastDirtyTimestamp), 10)}}
	status, _, err := c.call(ctx, http.MethodPut, instancePath(in)+"?"+query.Encode(), nil)
	switch {
	case err != nil:
		return fmt.Errorf("renew: %w", err)
	case status == http.StatusNotFound:
		c.mu.Lock()
		c.registered = false
		c.mu.Unlock()
		c.log.Info("registry has forgotten this instance", "app", in.App, "instance", in.InstanceID)
		return nil
	case status/100 != 2:
		return fmt.Errorf("renew: registry answered %d %s", status, http.StatusText(status))
	}
	return nil
}

func instancePath(in *Instance) string {
	return "/apps/" + url.PathEscape(in.App) + "/" + url.PathEscape(in.InstanceID)
}

// keepFetching fetches the registry at intervals and for lookups that miss,
// until ctx ends. It is the only one to fetch: one answer serves all the misses
// that have gathered, and those that come soon after a fetch wait for the next.
func (c *Client) keepFetching(ctx context.Context, reg *Registration, interval time.Duration) {
	ticker := time.NewTicker(positive(interval, 30*time.Second))
	defer ticker.Stop()
	var (
		last    time.Time
		trouble trouble
		waiting []chan struct{}
		due     <-chan time.Time // when those waiting are served
		again   <-chan time.Time // when a fetch that failed is tried again
	)
	retry := minRetry
	for {
		err := c.fetch(ctx, reg)
		last = time.Now()
		if ctx.Err() != nil {
			return
		}
		trouble.note(c.log, "registry not fetched, keeping the last one", err)
		// A copy that grows old names instances that are gone: others count on its being no older than the interval.
		again = nil
		if err != nil {
			again = time.After(retry/2 + rand.N(retry/2))
			retry = min(2*retry, maxRetry)
		} else {
			retry = minRetry
		}
		for _, fetched := range waiting {
			close(fetched)
		}
		waiting, due = nil, nil

		for fetchNow := false; !fetchNow; {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				fetchNow = true
			case <-due:
				fetchNow = true
			case <-again:
				fetchNow = true
			case fetched := <-c.misses:
				waiting = append(waiting, fetched)
				if due == nil {
					due = time.After(missInterval - time.Since(last))
				}
			}
		}
	}
}

// fetch replaces the copy of the registry.
//
// A registry that does not list this instance, although it has confirmed it, has
// restarted or lost its leases. Others are missing in it too until they have sent
// their next heartbeat. So this instance sends its own at once, and for the
// length of a lease names that are missing keep the instances they had.
func (c *Client) fetch(ctx context.Context, reg *Registration) error {
	c.mu.Lock()
	var own *Instance
	if c.registered {
		own = c.instance
	}
	c.mu.Unlock()

	status, body, err := c.call(ctx, http.MethodGet, "/apps", nil)
	if err != nil {
		return fmt.Errorf("fetch registry: %w", err)
	}
	if status != http.StatusOK {
		return fmt.Errorf("fetch registry: registry answered %d %s", status, http.StatusText(status))
	}
	apps, err := decodeApplicationsJSON(body)
	if err != nil {
		return fmt.Errorf("fetch registry: decode: %w", err)
	}

	byName := index(apps)
	now := time.Now()
	forgotten := own != nil && !apps.lists(own)
	c.mu.Lock()
	if forgotten {
		c.graceUntil = now.Add(reg.leaseDuration())
	}
	if now.Before(c.graceUntil) {
		for name, instances := range c.byName {
			if len(byName[name]) == 0 {
				byName[name] = instances
			}
		}
	}
	c.byName = byName
	c.mu.Unlock()
	if forgotten {
		select {
		case c.poke <- struct{}{}:
		default: // one is waiting already
		}
	}
	return nil
}

func (a *Applications) lists(in *Instance) bool {
	for _, app := range a.Applications {
		if strings.EqualFold(app.Name, in.App) {
			return slices.ContainsFunc(app.Instances, func(other Instance) bool { return other.InstanceID == in.InstanceID })
		}
	}
	return false
}

// index maps the lower-case names of instances that are UP to them.
func index(apps Applications) map[string][]Instance {
	byName := make(map[string][]Instance)
	for _, app := range apps.Applications {
		for _, in := range app.Instances {
			if in.Status != StatusUp {
				continue
			}
			names := []string{strings.ToLower(app.Name)}
			for _, vip := range vips(in.VIPAddress) {
				names = append(names, strings.ToLower(vip))
			}
			slices.Sort(names)
			for _, name := range slices.Compact(names) {
				byName[name] = append(byName[name], in)
			}
		}
	}
	return byName
}

// call sends a request to the node that answered last and, if it does not
// answer or not well, to each of the others.
func (c *Client) call(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	if len(c.urls) == 0 {
		return 0, nil, errors.New("no registry: eureka.client.service-url.defaultZone is empty")
	}
	var failures []error
	first := int(c.current.Load())
	for i := range c.urls {
		n := (first + i) % len(c.urls)
		status, answer, err := c.callOne(ctx, method, c.urls[n]+path, body)
		if err == nil {
			c.current.Store(int64(n))
			return status, answer, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return 0, nil, errors.Join(failures...)
}

func (c *Client) callOne(ctx context.Context, method, target string, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		// Its text holds the URL, and that may hold a password.
		return 0, nil, errors.New("eureka.client.service-url.defaultZone holds an address that is no URL")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("DiscoveryIdentity-Name", "DefaultClient")
	req.Header.Set("DiscoveryIdentity-Version", "1.4")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	answer, err := io.ReadAll(http.MaxBytesReader(nil, resp.Body, maxRegistryLen))
	if err != nil {
		return 0, nil, fmt.Errorf("read answer of %s: %w", req.URL.Redacted(), err)
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return 0, nil, fmt.Errorf("%s answered %s: check user and password in eureka.client.service-url.defaultZone", req.URL.Redacted(), resp.Status)
	case resp.StatusCode >= 500:
		return 0, nil, fmt.Errorf("%s answered %s", req.URL.Redacted(), resp.Status)
	}
	return resp.StatusCode, answer, nil
}

// trouble is a run of failures. When everything starts together a registry that is late is no
// trouble yet; one that stays away for patience is worth a warning, once.
type trouble struct {
	since  time.Time
	warned bool
}

const patience = 3 * time.Second

func (t *trouble) note(log *slog.Logger, message string, err error) {
	switch {
	case err == nil:
		if t.warned {
			log.Info("registry is back")
		}
		*t = trouble{}
	case t.since.IsZero():
		t.since = time.Now()
		log.Info(message, "err", err)
	case !t.warned && time.Since(t.since) > patience:
		t.warned = true
		log.Warn(message, "err", err)
	}
}
