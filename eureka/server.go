package eureka

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxBody is far more than an instance needs, metadata included.
const maxBody = 1 << 20

// Settings of a Server, named as Spring names them below eureka.server. Numbers
// that are not positive mean their defaults.
type Settings struct {
	// EnableSelfPreservation stops evictions while heartbeats are fewer than
	// the threshold: then the network is the likelier culprit.
	EnableSelfPreservation bool `koanf:"enable-self-preservation"`
	// RenewalPercentThreshold is the part of the expected heartbeats that must
	// arrive, and the part of the instances that one eviction leaves alone.
	RenewalPercentThreshold float64 `koanf:"renewal-percent-threshold"`
	// ExpectedClientRenewalIntervalSeconds is how often each client is expected
	// to send a heartbeat.
	ExpectedClientRenewalIntervalSeconds int `koanf:"expected-client-renewal-interval-seconds"`
	// EvictionIntervalTimerInMs is the time between evictions.
	EvictionIntervalTimerInMs int `koanf:"eviction-interval-timer-in-ms"`
	// RetentionTimeInMSInDeltaQueue is how long a change is part of the delta.
	RetentionTimeInMSInDeltaQueue int `koanf:"retention-time-in-m-s-in-delta-queue"`
	// Peers are the nodes of this registry as clients name them; see [NewPeers]. None means that there is one.
	Peers []string `koanf:"peers"`
}

// DefaultSettings are the defaults of Spring Cloud Netflix.
func DefaultSettings() Settings {
	return Settings{
		EnableSelfPreservation:               true,
		RenewalPercentThreshold:              0.85,
		ExpectedClientRenewalIntervalSeconds: 30,
		EvictionIntervalTimerInMs:            60_000,
		RetentionTimeInMSInDeltaQueue:        180_000,
	}
}

func (s Settings) withDefaults() Settings {
	defaults := DefaultSettings()
	if s.RenewalPercentThreshold <= 0 {
		s.RenewalPercentThreshold = defaults.RenewalPercentThreshold
	}
	if s.ExpectedClientRenewalIntervalSeconds <= 0 {
		s.ExpectedClientRenewalIntervalSeconds = defaults.ExpectedClientRenewalIntervalSeconds
	}
	if s.EvictionIntervalTimerInMs <= 0 {
		s.EvictionIntervalTimerInMs = defaults.EvictionIntervalTimerInMs
	}
	if s.RetentionTimeInMSInDeltaQueue <= 0 {
		s.RetentionTimeInMSInDeltaQueue = defaults.RetentionTimeInMSInDeltaQueue
	}
	return s
}

// A Server is the registry as an http.Handler: the protocol below /eureka and
// /eureka/v2, the dashboard at / and the recent leases at /lastn. A slash too
// many is no different path and never answered with a redirect, which some
// clients would follow with a GET. It is safe for concurrent use; leases only
// run out while Run is running.
type Server struct {
	registry *registry
	now      func() time.Time
	started  time.Time
	mux      *http.ServeMux
	zips     sync.Pool   // of *gzip.Writer, each of which is most of a megabyte
	id       string      // tells this node from its peers
	peers    *Peers      // nil when it is the only node
	leaving  func() bool // see LeaveWhen
}

// NewServer returns a server without instances.
func NewServer(settings Settings, now func() time.Time) *Server {
	s := &Server{
		registry: newRegistry(settings.withDefaults(), now),
		now:      now,
		started:  now(),
		mux:      http.NewServeMux(),
		id:       rand.Text(),
		leaving:  func() bool { return false },
	}
	for pattern, handle := range map[string]handler{
		"GET /eureka/apps":                      s.applications,
		"GET /eureka/apps/delta":                s.delta,
		"GET /eureka/apps/{app}":                s.application,
		"POST /eureka/apps/{app}":               s.register,
		"GET /eureka/apps/{app}/{id}":           s.instance,
		"PUT /eureka/apps/{app}/{id}":           s.renew,
		"DELETE /eureka/apps/{app}/{id}":        s.cancel,
		"PUT /eureka/apps/{app}/{id}/status":    s.setStatus,
		"DELETE /eureka/apps/{app}/{id}/status": s.removeStatus,
		"PUT /eureka/apps/{app}/{id}/metadata":  s.mergeMetadata,
		"GET /eureka/instances/{id}":            s.instanceByID,
		"GET /eureka/vips/{vip}":                s.vip,
		"GET /eureka/svips/{vip}":               s.secureVIP,
		"PUT /eureka/asg/{name}/status":         s.autoScalingGroup,
		"GET /eureka/status":                    s.status,
		"POST /eureka/peerreplication/batch":    s.replicate,
		"GET /lastn":                            s.lastN,
		"GET /{$}":                              s.dashboard,
	} {
		s.mux.Handle(pattern, handle)
	}
	return s
}

// LeaveWhen has the server refuse registrations and heartbeats with 503 while leaving is true. A client that holds a connection to a node
// that is about to end would else be known there and nowhere else; so it comes to the node's successor, or to a peer, at once.
// It is called before the server serves.
func (s *Server) LeaveWhen(leaving func() bool) { s.leaving = leaving }

// Run evicts instances whose leases have run out, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	interval := time.Duration(s.registry.settings.EvictionIntervalTimerInMs) * time.Millisecond
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.registry.evict()
		}
	}
}

// Instances counts the instances of each application by status.
func (s *Server) Instances() map[string]map[Status]int {
	counts := make(map[string]map[Status]int)
	for _, app := range s.registry.applications(everything).Applications {
		counts[app.Name] = make(map[Status]int)
		for _, in := range app.Instances {
			counts[app.Name][in.Status]++
		}
	}
	return counts
}

// ServeHTTP brings the path into the one form that the mux knows before asking
// it, and leaves the pattern that it found in r. Browsers can change nothing for
// pages of other origins: those must not register instances that get tokens sent.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := new(http.CrossOriginProtection).Check(r); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	clean := path.Clean("/" + r.URL.EscapedPath())
	if rest, ok := strings.CutPrefix(clean, "/eureka/v2"); ok && (rest == "" || rest[0] == '/') {
		clean = "/eureka" + rest
	}
	decoded, err := url.PathUnescape(clean)
	if err != nil {
		http.Error(w, "the path is not well escaped", http.StatusBadRequest)
		return
	}
	// A shallow copy, as http.StripPrefix makes it.
	inner := new(http.Request)
	*inner = *r
	inner.URL = new(*r.URL)
	inner.URL.Path, inner.URL.RawPath = decoded, clean
	if r.Header.Get(identityHeader) != "" {
		w.Header().Set(identityHeader, s.id) // a peer that is not sure whether it asks itself
	}
	s.mux.ServeHTTP(w, inner)
	r.Pattern = inner.Pattern
}

// A handler answers a request or returns what is wrong with it.
type handler func(http.ResponseWriter, *http.Request) error

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h(w, r)
	if err == nil {
		return
	}
	failure, ok := errors.AsType[*failure](err)
	if !ok {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	if failure.text == "" {
		w.WriteHeader(failure.status)
		return
	}
	http.Error(w, failure.text, failure.status)
}

// A failure is an answer that is no success. Without a text it has no body: Java
// clients try to read an instance from any body that answers a heartbeat.
type failure struct {
	status int
	text   string
}

func (f *failure) Error() string { return f.text }

func notFound() error { return &failure{status: http.StatusNotFound} }

func badRequest(format string, args ...any) error {
	return &failure{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func everything(Instance) bool { return true }

func (s *Server) applications(w http.ResponseWriter, r *http.Request) error {
	return writeApplications(w, r, s.registry.applications(everything), s.zipped(r))
}

func (s *Server) delta(w http.ResponseWriter, r *http.Request) error {
	return writeApplications(w, r, s.registry.delta(), s.zipped(r))
}

func (s *Server) vip(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("vip")
	return writeApplications(w, r, s.registry.applications(func(in Instance) bool {
		return slices.Contains(vips(in.VIPAddress), name)
	}), nil)
}

func (s *Server) secureVIP(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("vip")
	return writeApplications(w, r, s.registry.applications(func(in Instance) bool {
		return slices.Contains(vips(in.SecureVIPAddress), name)
	}), nil)
}

func (s *Server) application(w http.ResponseWriter, r *http.Request) error {
	app, ok := s.registry.application(appName(r))
	if !ok {
		return notFound()
	}
	if wantsCompact(r) {
		app = app.compact()
	}
	return write(w, r, http.StatusOK, "application", app, nil)
}

func (s *Server) instance(w http.ResponseWriter, r *http.Request) error {
	in, ok := s.registry.instance(instanceKey(r))
	if !ok {
		return notFound()
	}
	return write(w, r, http.StatusOK, "instance", in, nil)
}

func (s *Server) instanceByID(w http.ResponseWriter, r *http.Request) error {
	in, ok := s.registry.instanceByID(r.PathValue("id"))
	if !ok {
		return notFound()
	}
	return write(w, r, http.StatusOK, "instance", in, nil)
}

func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	if s.leaving() && !isReplication(r) {
		return &failure{http.StatusServiceUnavailable, "this node of the registry is about to end, register with another one"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &failure{http.StatusRequestEntityTooLarge, "the request body is larger than 1 MiB"}
	}
	if err != nil {
		return badRequest("the request body ended early")
	}
	decode := decodeInstanceJSON
	if isXML(r, body) {
		decode = decodeInstanceXML
	}
	in, err := decode(body)
	if err != nil {
		return writeUnparsable(w, r, err)
	}
	in.normalize()
	if err := check(&in, appName(r)); err != nil {
		return err
	}
	s.registry.register(in, isReplication(r))
	s.passInstance(r, key{in.App, in.InstanceID}, actionRegister)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// check refuses incomplete instances with the texts, and in the order, of
// com.netflix.eureka.resources.ApplicationResource.
func check(in *Instance, app string) error {
	switch {
	case strings.TrimSpace(in.InstanceID) == "":
		return badRequest("Missing instanceId")
	case strings.TrimSpace(in.HostName) == "":
		return badRequest("Missing hostname")
	case strings.TrimSpace(in.IPAddr) == "":
		return badRequest("Missing ip address")
	case in.App == "":
		return badRequest("Missing appName")
	case in.App != app:
		return badRequest("Mismatched appName, expecting %s but was %s", app, in.App)
	case in.DataCenterInfo == nil:
		return badRequest("Missing dataCenterInfo")
	case in.DataCenterInfo.Name == "":
		return badRequest("Missing dataCenterInfo Name")
	}
	return nil
}

func (s *Server) renew(w http.ResponseWriter, r *http.Request) error {
	if s.leaving() && !isReplication(r) {
		return &failure{status: http.StatusServiceUnavailable}
	}
	dirty, err := dirtyTimestamp(r)
	if err != nil {
		return err
	}
	beat := heartbeat{dirty: dirty, replication: isReplication(r)}
	if value := r.URL.Query().Get("overriddenstatus"); value != "" {
		_ = beat.overridden.UnmarshalText([]byte(value)) // takes any text
	}
	result, stored := s.registry.renew(instanceKey(r), beat)
	switch result {
	case unknown:
		return notFound()
	case conflict:
		return write(w, r, http.StatusConflict, "instance", stored, nil)
	}
	s.passInstance(r, instanceKey(r), actionHeartbeat)
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) cancel(w http.ResponseWriter, r *http.Request) error {
	found := s.registry.cancel(instanceKey(r))
	s.pass(r, found, replica{Action: actionCancel})
	return okIf(w, found)
}

func (s *Server) setStatus(w http.ResponseWriter, r *http.Request) error {
	status, err := statusValue(r, "")
	if err != nil {
		return err
	}
	dirty, err := dirtyTimestamp(r)
	if err != nil {
		return err
	}
	found := s.registry.override(instanceKey(r), status, dirty)
	s.pass(r, found, replica{Action: actionStatus, Status: status, Dirty: dirtyTime(dirty)})
	return okIf(w, found)
}

func (s *Server) removeStatus(w http.ResponseWriter, r *http.Request) error {
	status, err := statusValue(r, StatusUnknown)
	if err != nil {
		return err
	}
	dirty, err := dirtyTimestamp(r)
	if err != nil {
		return err
	}
	found := s.registry.removeOverride(instanceKey(r), status, dirty)
	s.pass(r, found, replica{Action: actionDeleteStatus, Status: status, Dirty: dirtyTime(dirty)})
	return okIf(w, found)
}

func (s *Server) mergeMetadata(w http.ResponseWriter, r *http.Request) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badRequest("the metadata is not well escaped: want ?key=value&key2=value2")
	}
	found := s.registry.mergeMetadata(instanceKey(r), values)
	s.passInstance(r, instanceKey(r), actionRegister)
	return okIf(w, found)
}

// pass tells the peers of a change of the instance that a client's request is about, when it is one.
func (s *Server) pass(r *http.Request, changed bool, change replica) {
	if changed && !isReplication(r) {
		k := instanceKey(r)
		change.App, change.ID = k.app, k.id
		s.peers.pass(change)
	}
}

// passInstance tells the peers of an instance as it is now; of a heartbeat they need the instance's times and states alone.
func (s *Server) passInstance(r *http.Request, k key, what action) {
	if s.peers == nil || isReplication(r) {
		return
	}
	in, ok := s.registry.instance(k)
	if !ok {
		return
	}
	change := registration(in)
	change.Action = what
	if what == actionHeartbeat {
		change.Instance, change.Overridden = nil, in.OverriddenStatus
	}
	s.peers.pass(change)
}

func (s *Server) autoScalingGroup(http.ResponseWriter, *http.Request) error {
	return badRequest("autoscaling groups exist on AWS only")
}

// okIf answers 200 or 404, both without a body.
func okIf(w http.ResponseWriter, found bool) error {
	if !found {
		return notFound()
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func appName(r *http.Request) string { return strings.ToUpper(r.PathValue("app")) }

func instanceKey(r *http.Request) key { return key{appName(r), r.PathValue("id")} }

// isReplication reports whether a peer passes on what a client has told it
// (com.netflix.eureka.cluster.PeerEurekaNode.HEADER_REPLICATION).
func isReplication(r *http.Request) bool {
	return r.Header.Get("X-Netflix-Discovery-Replication") == "true"
}

func dirtyTimestamp(r *http.Request) (Millis, error) {
	value := r.URL.Query().Get("lastDirtyTimestamp")
	if value == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, badRequest("lastDirtyTimestamp is %q, want milliseconds since 1970", value)
	}
	return Millis(n), nil
}

func statusValue(r *http.Request, absent Status) (Status, error) {
	value := r.URL.Query().Get("value")
	if value == "" && absent != "" {
		return absent, nil
	}
	status := Status(value)
	if !status.known() {
		return "", badRequest("value is %q, want UP, DOWN, STARTING, OUT_OF_SERVICE or UNKNOWN", value)
	}
	return status, nil
}

func wantsCompact(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("X-Eureka-Accept"), "compact")
}

// wantsJSON looks for no more than the Netflix server does: who does not ask for
// JSON in so many letters reads XML.
func wantsJSON(r *http.Request) bool {
	return strings.Contains(strings.Join(r.Header.Values("Accept"), ","), "json")
}

func isXML(r *http.Request, body []byte) bool {
	contentType := r.Header.Get("Content-Type")
	switch {
	case strings.Contains(contentType, "json"):
		return false
	case strings.Contains(contentType, "xml"):
		return true
	}
	return bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
}

// zipped are the writers for a client that reads gzip, else nil.
func (s *Server) zipped(r *http.Request) *sync.Pool {
	if strings.Contains(strings.Join(r.Header.Values("Accept-Encoding"), ","), "gzip") {
		return &s.zips
	}
	return nil
}

func writeApplications(w http.ResponseWriter, r *http.Request, apps Applications, zips *sync.Pool) error {
	if wantsCompact(r) {
		for i, app := range apps.Applications {
			apps.Applications[i] = app.compact()
		}
	}
	return write(w, r, http.StatusOK, "applications", apps, zips)
}

// write answers with v in the format that the client reads, compressed by one of zips unless that is nil.
func write(w http.ResponseWriter, r *http.Request, status int, root string, v any, zips *sync.Pool) error {
	encode, contentType := encodeXML, "application/xml"
	if wantsJSON(r) {
		encode, contentType = encodeJSON, "application/json"
	}
	body, err := encode(root, v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", root, err)
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Vary", "Accept, Accept-Encoding, X-Eureka-Accept")
	if zips != nil {
		var b bytes.Buffer
		z, ok := zips.Get().(*gzip.Writer)
		if !ok {
			z = gzip.NewWriter(nil)
		}
		defer zips.Put(z)
		z.Reset(&b)
		_, err := z.Write(body)
		if err := errors.Join(err, z.Close()); err != nil {
			return fmt.Errorf("compress %s: %w", root, err)
		}
		w.Header().Set("Content-Encoding", "gzip")
		body = b.Bytes()
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // who has gone away needs no answer
	return nil
}

// unparsable is the body of the answer to a body that cannot be read.
type unparsable struct {
	XMLName xml.Name `json:"-" xml:"error"`
	Message string   `json:"error" xml:"message"`
	Detail  string   `json:"detail" xml:"detail"`
}

func writeUnparsable(w http.ResponseWriter, r *http.Request, cause error) error {
	v := unparsable{Message: "cannot parse request body", Detail: inWords(cause)}
	marshal, contentType := xml.Marshal, "application/xml"
	if wantsJSON(r) {
		marshal, contentType = json.Marshal, "application/json"
	}
	body, err := marshal(v)
	if err != nil {
		return fmt.Errorf("encode error: %w", err)
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write(body) // who has gone away needs no answer
	return nil
}

// inWords is why a body cannot be read, without the names of Go's types and functions.
func inWords(cause error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](cause); ok {
		return fmt.Sprintf("%q must not be a JSON %s", wrong.Field, wrong.Value)
	}
	if number, ok := errors.AsType[*strconv.NumError](cause); ok {
		return fmt.Sprintf("%q is not a whole number in range", number.Num)
	}
	if errors.Is(cause, io.EOF) {
		return "it is empty or ends early"
	}
	return cause.Error()
}
