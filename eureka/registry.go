package eureka

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What the Netflix server calls renewalThresholdUpdateIntervalMs, and the
// lengths of its lists of recent leases.
const (
	thresholdInterval = 15 * time.Minute
	recentLeases      = 1000
)

// key identifies an instance. The status overrides know only the id, as in the
// Netflix server.
type key struct{ app, id string }

// A lease is an instance's place in the registry. The instance in it is never
// changed in place: those who were given it may still be writing it out.
type lease struct {
	instance   Instance
	duration   time.Duration
	registered time.Time
	renewed    time.Time // see renew
	serviceUp  time.Time
}

// expired reports whether nobody has renewed the lease in time.
func (l *lease) expired(now time.Time, grace time.Duration) bool {
	return now.After(l.renewed.Add(l.duration + grace))
}

// renew extends the lease. The duration counts twice, here and in expired: the
// Netflix server does so too, and says in Lease.java that it will stay that way.
func (l *lease) renew(now time.Time) { l.renewed = now.Add(l.duration) }

// set changes the instance and stamps it.
func (l *lease) set(now time.Time, change func(*Instance)) {
	change(&l.instance)
	l.instance.LastUpdatedTimestamp = millis(now)
	if l.instance.Status == StatusUp && l.serviceUp.IsZero() {
		l.serviceUp = now
	}
}

// view is the instance with what the lease knows.
func (l *lease) view() Instance {
	in := l.instance
	in.LeaseInfo = &LeaseInfo{
		RenewalIntervalInSecs: in.LeaseInfo.RenewalIntervalInSecs,
		DurationInSecs:        int(l.duration / time.Second),
		RegistrationTimestamp: l.registered.UnixMilli(),
		LastRenewalTimestamp:  l.renewed.UnixMilli(),
	}
	if !l.serviceUp.IsZero() {
		in.LeaseInfo.ServiceUpTimestamp = l.serviceUp.UnixMilli()
	}
	return in
}

// change is an entry of the delta.
type change struct {
	at       time.Time
	instance Instance
}

// event is a lease that began or was cancelled, for people to look at.
type event struct {
	At time.Time
	key
}

// String is the event's instance as in "ORDER-SERVICE(10.0.0.7:order-service:8300)".
func (e event) String() string { return e.app + "(" + e.id + ")" }

// A registry holds the leases and the rules about them
// (com.netflix.eureka.registry.AbstractInstanceRegistry).
type registry struct {
	settings Settings
	now      func() time.Time

	mu           sync.Mutex
	leases       map[string]map[string]*lease // by application, then id
	overrides    map[string]Status            // by instance id
	changes      map[key]change
	deltaVersion int64
	registered   []event // oldest first
	cancelled    []event // oldest first
	expected     int     // clients that are expected to send heartbeats
	renewals     bucket
	lastEviction time.Time
	lastUpdate   time.Time // of expected
}

func newRegistry(settings Settings, now func() time.Time) *registry {
	return &registry{
		settings:  settings,
		now:       now,
		leases:    make(map[string]map[string]*lease),
		overrides: make(map[string]Status),
		changes:   make(map[key]change),
		// Spring's defaultOpenForTrafficCount: with 0 the threshold would be 0
		// and nothing would ever be evicted.
		expected:   1,
		renewals:   bucket{start: now()},
		lastUpdate: now(),
	}
}

// bucket counts heartbeats in fixed minutes
// (com.netflix.eureka.util.MeasuredRate).
type bucket struct {
	start   time.Time
	current int
	last    int
}

func (b *bucket) roll(now time.Time) {
	minutes := int(now.Sub(b.start) / time.Minute)
	switch {
	case minutes <= 0:
		return
	case minutes == 1:
		b.last = b.current
	default:
		b.last = 0
	}
	b.current = 0
	b.start = b.start.Add(time.Duration(minutes) * time.Minute)
}

// find returns a lease or nil.
func (r *registry) find(k key) *lease { return r.leases[k.app][k.id] }

// changed puts the lease into the delta.
func (r *registry) changed(now time.Time, k key, l *lease, action ActionType) {
	r.forgetChanges(now)
	l.instance.ActionType = action
	r.changes[k] = change{at: now, instance: l.view()}
}

func (r *registry) forgetChanges(now time.Time) {
	oldest := now.Add(-time.Duration(r.settings.RetentionTimeInMSInDeltaQueue) * time.Millisecond)
	maps.DeleteFunc(r.changes, func(_ key, c change) bool { return c.at.Before(oldest) })
}

// register makes a lease for a normalized and complete instance.
func (r *registry) register(in Instance, replication bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if in.LastDirtyTimestamp == 0 {
		in.LastDirtyTimestamp = millis(now)
	}
	r.grant(now, in, replication)
}

// adopt takes over what a peer knows, when this node starts.
func (r *registry) adopt(apps Applications) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, app := range apps.Applications {
		for _, in := range app.Instances {
			in.normalize()
			if check(&in, strings.ToUpper(app.Name)) == nil {
				r.grant(r.now(), in, true)
			}
		}
	}
	r.expected = 0
	for _, leases := range r.leases {
		r.expected += len(leases)
	}
	r.expected = max(1, r.expected)
}

func (r *registry) grant(now time.Time, in Instance, replication bool) {
	k := key{in.App, in.InstanceID}
	existing := r.find(k)
	duration := time.Duration(in.LeaseInfo.DurationInSecs) * time.Second
	l := &lease{instance: in, duration: duration, registered: now, renewed: now}
	if existing == nil {
		if r.expected > 0 {
			r.expected++
		}
	} else {
		l.serviceUp = existing.serviceUp
		if existing.instance.LastDirtyTimestamp > in.LastDirtyTimestamp {
			l.instance = existing.instance
		}
	}
	if status := in.OverriddenStatus; status != StatusUnknown {
		if _, ok := r.overrides[k.id]; !ok {
			r.overrides[k.id] = status
		}
	}
	l.set(now, func(in *Instance) {
		if status, ok := r.overrides[k.id]; ok {
			in.OverriddenStatus = status
		}
		in.Status = r.status(in, existing, replication)
	})
	if r.leases[k.app] == nil {
		r.leases[k.app] = make(map[string]*lease)
	}
	r.leases[k.app][k.id] = l
	r.changed(now, k, l, ActionAdded)
	r.registered = appendRecent(r.registered, event{now, k})
}

// status is the status that an instance has after overrides
// (com.netflix.eureka.registry.rule).
func (r *registry) status(in *Instance, existing *lease, replication bool) Status {
	if in.Status != StatusUp && in.Status != StatusOutOfService {
		return in.Status
	}
	if status, ok := r.overrides[in.InstanceID]; ok {
		return status
	}
	if existing != nil && !replication {
		if status := existing.instance.Status; status == StatusUp || status == StatusOutOfService {
			return status
		}
	}
	return in.Status
}

// renewal is the answer to a heartbeat.
type renewal int

const (
	renewed  renewal = iota
	unknown          // the instance has to register (again)
	conflict         // the peer has an older instance than this registry
)

// heartbeat is what comes with a renewal. dirty is zero when it was not sent.
type heartbeat struct {
	dirty       Millis
	overridden  Status
	replication bool
}

// renew extends a lease. With a conflict it returns the instance that is newer.
func (r *registry) renew(k key, beat heartbeat) (renewal, Instance) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	l := r.find(k)
	if l == nil {
		return unknown, Instance{}
	}
	status := r.status(&l.instance, l, beat.replication)
	if status == StatusUnknown {
		return unknown, Instance{}
	}
	if status != l.instance.Status {
		l.set(now, func(in *Instance) { in.Status = status })
		r.changed(now, k, l, ActionModified)
	}
	r.extend(now, l)
	stored := l.instance.LastDirtyTimestamp
	switch {
	case beat.dirty > stored:
		if beat.replication && beat.overridden != "" && beat.overridden != StatusUnknown {
			r.overrides[k.id] = beat.overridden
			l.instance.OverriddenStatus = beat.overridden
		}
		return unknown, Instance{}
	case beat.dirty != 0 && beat.dirty < stored && beat.replication:
		return conflict, l.view()
	}
	return renewed, Instance{}
}

// extend renews the lease and counts the heartbeat.
func (r *registry) extend(now time.Time, l *lease) {
	l.renew(now)
	r.renewals.roll(now)
	r.renewals.current++
}

// cancel ends a lease and reports whether there was one.
func (r *registry) cancel(k key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.remove(r.now(), k)
}

func (r *registry) remove(now time.Time, k key) bool {
	l := r.find(k)
	if l == nil {
		return false
	}
	delete(r.leases[k.app], k.id)
	if len(r.leases[k.app]) == 0 {
		delete(r.leases, k.app)
	}
	delete(r.overrides, k.id)
	if r.expected > 0 {
		r.expected--
	}
	l.set(now, func(*Instance) {})
	r.changed(now, k, l, ActionDeleted)
	r.cancelled = appendRecent(r.cancelled, event{now, k})
	return true
}

// override sets a status that outlasts what the instance says of itself, and
// reports whether there is such an instance.
func (r *registry) override(k key, status Status, dirty Millis) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	l := r.find(k)
	if l == nil {
		return false
	}
	r.extend(now, l)
	if l.instance.Status == status {
		return true
	}
	r.overrides[k.id] = status
	l.set(now, func(in *Instance) {
		in.Status, in.OverriddenStatus = status, status
		in.LastDirtyTimestamp = max(in.LastDirtyTimestamp, dirty)
	})
	r.changed(now, k, l, ActionModified)
	return true
}

// removeOverride takes back an override and gives the instance a status until
// it registers again, and reports whether there is such an instance.
func (r *registry) removeOverride(k key, status Status, dirty Millis) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	l := r.find(k)
	if l == nil {
		return false
	}
	r.extend(now, l)
	if _, ok := r.overrides[k.id]; !ok {
		return true
	}
	delete(r.overrides, k.id)
	l.set(now, func(in *Instance) {
		in.Status, in.OverriddenStatus = status, StatusUnknown
		in.LastDirtyTimestamp = max(in.LastDirtyTimestamp, dirty)
	})
	r.changed(now, k, l, ActionModified)
	return true
}

// mergeMetadata adds the first value of each key, and reports whether there is
// such an instance.
func (r *registry) mergeMetadata(k key, values url.Values) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.find(k)
	if l == nil {
		return false
	}
	in := l.instance
	in.Metadata = maps.Clone(in.Metadata)
	for name, value := range values {
		in.Metadata[name] = value[0]
	}
	r.grant(r.now(), in, false)
	return true
}

// instance returns one instance. One whose lease has run out is not found, even
// before it is evicted.
func (r *registry) instance(k key) (Instance, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	l := r.find(k)
	if l == nil || l.expired(now, 0) && r.expirationEnabled(now) {
		return Instance{}, false
	}
	return l.view(), true
}

// instanceByID looks for an id in all applications.
func (r *registry) instanceByID(id string) (Instance, bool) {
	r.mu.Lock()
	apps := slices.Sorted(maps.Keys(r.leases))
	r.mu.Unlock()
	for _, app := range apps {
		if in, ok := r.instance(key{app, id}); ok {
			return in, true
		}
	}
	return Instance{}, false
}

// application returns the instances of one application in order of their ids.
func (r *registry) application(name string) (Application, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.leases[name]) == 0 {
		return Application{}, false
	}
	return r.view(name, func(Instance) bool { return true }), true
}

func (r *registry) view(name string, want func(Instance) bool) Application {
	app := Application{Name: name, Instances: []Instance{}}
	for _, id := range slices.Sorted(maps.Keys(r.leases[name])) {
		if in := r.leases[name][id].view(); want(in) {
			app.Instances = append(app.Instances, in)
		}
	}
	return app
}

// applications returns the instances that are wanted.
func (r *registry) applications(want func(Instance) bool) Applications {
	r.mu.Lock()
	defer r.mu.Unlock()
	apps := Applications{Version: "1", Applications: []Application{}}
	counts := make(map[Status]int)
	for _, name := range slices.Sorted(maps.Keys(r.leases)) {
		app := r.view(name, want)
		if len(app.Instances) == 0 {
			continue
		}
		apps.Applications = append(apps.Applications, app)
		for _, in := range app.Instances {
			counts[in.Status]++
		}
	}
	apps.Hash = hashcode(counts)
	return apps
}

// delta returns the changes that are still retained, the latest of each
// instance, with the hash of everything.
func (r *registry) delta() Applications {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetChanges(r.now())
	r.deltaVersion++
	apps := Applications{
		Version:      strconv.FormatInt(r.deltaVersion, 10),
		Hash:         hashcode(r.statuses()),
		Applications: []Application{},
	}
	keys := slices.SortedFunc(maps.Keys(r.changes), func(a, b key) int {
		return cmp.Or(strings.Compare(a.app, b.app), strings.Compare(a.id, b.id))
	})
	for _, k := range keys {
		last := len(apps.Applications) - 1
		if last < 0 || apps.Applications[last].Name != k.app {
			apps.Applications = append(apps.Applications, Application{Name: k.app})
			last++
		}
		app := &apps.Applications[last]
		app.Instances = append(app.Instances, r.changes[k].instance)
	}
	return apps
}

func (r *registry) statuses() map[Status]int {
	counts := make(map[Status]int)
	for _, leases := range r.leases {
		for _, l := range leases {
			counts[l.instance.Status]++
		}
	}
	return counts
}

// threshold is the number of heartbeats per minute below which they are taken
// to be lost rather than not sent.
func (r *registry) threshold() int {
	perMinute := 60 / float64(r.settings.ExpectedClientRenewalIntervalSeconds)
	return int(float64(r.expected) * perMinute * r.settings.RenewalPercentThreshold)
}

// expirationEnabled reports whether leases may be ended because nobody renewed
// them.
func (r *registry) expirationEnabled(now time.Time) bool {
	if !r.settings.EnableSelfPreservation {
		return true
	}
	r.renewals.roll(now)
	threshold := r.threshold()
	return threshold > 0 && r.renewals.last > threshold
}

// evict ends leases that have expired: not more at once than would leave the
// part of the instances that RenewalPercentThreshold says, and a random choice
// of them, so that no application goes as a whole.
func (r *registry) evict() []key {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.updateExpected(now)
	// Leases are not to blame for the time in which this process did not run.
	var grace time.Duration
	if !r.lastEviction.IsZero() {
		interval := time.Duration(r.settings.EvictionIntervalTimerInMs) * time.Millisecond
		grace = max(0, now.Sub(r.lastEviction)-interval)
	}
	r.lastEviction = now
	if !r.expirationEnabled(now) {
		return nil
	}
	size := 0
	var expired []key
	for app, leases := range r.leases {
		size += len(leases)
		for id, l := range leases {
			if l.expired(now, grace) {
				expired = append(expired, key{app, id})
			}
		}
	}
	limit := size - int(float64(size)*r.settings.RenewalPercentThreshold)
	rand.Shuffle(len(expired), func(i, j int) { expired[i], expired[j] = expired[j], expired[i] })
	expired = expired[:min(limit, len(expired))]
	for _, k := range expired {
		r.remove(now, k)
	}
	return expired
}

// updateExpected counts the clients anew, now and then, unless many of them
// seem to have been lost (PeerAwareInstanceRegistryImpl.updateRenewalThreshold).
func (r *registry) updateExpected(now time.Time) {
	if now.Sub(r.lastUpdate) < thresholdInterval {
		return
	}
	r.lastUpdate = now
	count := 0
	for _, leases := range r.leases {
		count += len(leases)
	}
	if float64(count) > r.settings.RenewalPercentThreshold*float64(r.expected) || !r.settings.EnableSelfPreservation {
		r.expected = count
	}
}

// health is what the registry says of itself.
type health struct {
	Expiration   bool // leases expire
	Preservation bool // the setting
	Threshold    int
	Renewals     int // in the last minute
}

func (r *registry) health() health {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.renewals.roll(now)
	return health{
		Expiration:   r.expirationEnabled(now),
		Preservation: r.settings.EnableSelfPreservation,
		Threshold:    r.threshold(),
		Renewals:     r.renewals.last,
	}
}

// recent returns the latest cancelled and registered leases, newest first.
func (r *registry) recent() (cancelled, registered []event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cancelled, registered = slices.Clone(r.cancelled), slices.Clone(r.registered)
	slices.Reverse(cancelled)
	slices.Reverse(registered)
	return cancelled, registered
}

// appendRecent keeps the list short.
func appendRecent(events []event, e event) []event {
	if len(events) >= recentLeases {
		events = slices.Delete(events, 0, len(events)-recentLeases+1)
	}
	return append(events, e)
}
