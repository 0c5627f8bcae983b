// Package digitalocean emulates the part of DigitalOcean's API that deploy/terraform uses: networks, clusters, load balancers, keys of
// Spaces, databases, domains and alerts, in memory. It answers as the published API does: pages, the bodies of errors, what is not
// ready at once, the limit of calls. And it is strict: a field that the API does not have, or a value that it would not take, is
// refused. Requests and answers are the types of godo, DigitalOcean's own client. It proves what it was taught and not what
// DigitalOcean does.
package digitalocean

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/digitalocean/godo"
	"github.com/google/uuid"
)

// Options say how the emulator behaves.
type Options struct {
	// Token is the one that is let in; every one when it is empty.
	Token string
	// Polls is how often something new is asked for before it is ready, or before what was deleted is gone.
	Polls int
	// Limit is how many calls are answered in an hour; 0 is no limit.
	Limit int
	// Access is what clusters hand out as credentials; that of a cluster that is there can be given.
	Access Access
	Now    func() time.Time
}

// Access is how an API server of Kubernetes is reached.
type Access struct {
	Server                      string
	CA                          []byte // PEM
	Token                       string
	Certificate, CertificateKey []byte // PEM; either these or the token
}

// Server is an account at DigitalOcean.
type Server struct {
	options Options
	mux     *http.ServeMux

	mu       sync.Mutex
	calls    int
	since    time.Time
	unknown  []string
	records  int // the last id of a record
	vpcs     table[godo.VPC]
	clusters table[godo.KubernetesCluster]
	balancer table[godo.LoadBalancer]
	keys     table[godo.SpacesKey]
	bases    table[database]
	domains  table[zone]
	alerts   table[godo.AlertPolicy]
}

// table are things by their id, in the order in which they were made.
type table[T any] struct {
	ids   []string
	items map[string]*entry[T]
}

// entry is a thing, and how often it is asked for until it is ready or gone.
type entry[T any] struct {
	value     T
	waiting   int
	leaving   bool
	upgrading bool // what it waits for is another version of itself, and it works meanwhile
}

func (t *table[T]) add(id string, value T, waiting int) *entry[T] {
	if t.items == nil {
		t.items = map[string]*entry[T]{}
	}
	t.ids = append(t.ids, id)
	t.items[id] = &entry[T]{value: value, waiting: waiting}
	return t.items[id]
}

func (t *table[T]) remove(id string) {
	delete(t.items, id)
	t.ids = slices.DeleteFunc(t.ids, func(other string) bool { return other == id })
}

// all are the things that are there.
func (t *table[T]) all() []*entry[T] {
	found := make([]*entry[T], 0, len(t.ids))
	for _, id := range t.ids {
		found = append(found, t.items[id])
	}
	return found
}

// poll is one look at a thing: it brings it nearer to being ready, or to being gone.
func (t *table[T]) poll(id string) (*entry[T], error) {
	e, ok := t.items[id]
	if !ok {
		return nil, notFound()
	}
	if e.waiting > 0 {
		e.waiting--
		return e, nil
	}
	if e.leaving {
		t.remove(id)
		return nil, notFound()
	}
	return e, nil
}

// New makes an account without anything.
func New(options Options) *Server {
	s := &Server{options: options, mux: http.NewServeMux(), since: options.Now()}
	s.route("/", func(r *http.Request) (int, any, error) {
		s.unknown = append(s.unknown, r.Method+" "+r.URL.Path)
		return 0, nil, notFound()
	})
	s.route("GET /v2/account", func(*http.Request) (int, any, error) {
		return http.StatusOK, map[string]any{"account": godo.Account{Email: "ops@example.com", Status: "active", EmailVerified: true}}, nil
	})
	s.route("GET /v2/regions", func(r *http.Request) (int, any, error) { return page(r, "regions", regions()) })
	s.networks()
	s.kubernetes()
	s.databases()
	s.names()
	s.watches()
	return s
}

// Unknown are the calls that the emulator was not taught.
func (s *Server) Unknown() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unknown)
}

// Left are the things that are there still, by their kind.
func (s *Server) Left() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := map[string]int{
		"vpcs": len(s.vpcs.ids), "clusters": len(s.clusters.ids), "load balancers": len(s.balancer.ids), "keys": len(s.keys.ids),
		"databases": len(s.bases.ids), "domains": len(s.domains.ids), "alerts": len(s.alerts.ids),
	}
	maps.DeleteFunc(left, func(_ string, count int) bool { return count == 0 })
	return left
}

// problem is an error as the API tells it.
type problem struct {
	status  int
	ID      string `json:"id"`
	Message string `json:"message"`
	Request string `json:"request_id"`
}

// Error is the message.
func (p *problem) Error() string { return p.Message }

func notFound() error {
	return &problem{status: http.StatusNotFound, ID: "not_found", Message: "The resource you were accessing could not be found."}
}

func unprocessable(format string, arguments ...any) error {
	return &problem{status: http.StatusUnprocessableEntity, ID: "unprocessable_entity", Message: fmt.Sprintf(format, arguments...)}
}

func conflict(format string, arguments ...any) error {
	return &problem{status: http.StatusConflict, ID: "conflict", Message: fmt.Sprintf(format, arguments...)}
}

// ServeHTTP answers one call; there is one at a time.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mux.ServeHTTP(w, r)
}

// handler answers a call with a status and a body, or an error.
type handler func(*http.Request) (int, any, error)

func (s *Server) route(pattern string, h handler) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var status int
		var body any
		err := s.admit(w, r)
		if err == nil {
			status, body, err = h(r)
		}
		if err != nil {
			p, ok := err.(*problem) //nolint:errorlint // handlers return nothing else
			if !ok {
				p = &problem{status: http.StatusInternalServerError, ID: "server_error", Message: err.Error()}
			}
			p.Request = uuid.NewString()
			status, body = p.status, p
		}
		if text, ok := body.(rawText); ok {
			w.Header().Set("Content-Type", "application/yaml")
			_, _ = io.WriteString(w, string(text)) // whoever has gone does not need it
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		if body != nil {
			_ = json.NewEncoder(w).Encode(body) // whoever has gone does not need it
		}
	})
}

// admit is what comes before every call: who calls, and how often.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) error {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" || (s.options.Token != "" && token != s.options.Token) {
		return &problem{status: http.StatusUnauthorized, ID: "Unauthorized", Message: "Unable to authenticate you"}
	}
	if s.options.Limit > 0 {
		if s.options.Now().Sub(s.since) >= time.Hour {
			s.since, s.calls = s.options.Now(), 0
		}
		s.calls++
		reset := s.since.Add(time.Hour)
		w.Header().Set("RateLimit-Limit", strconv.Itoa(s.options.Limit))
		w.Header().Set("RateLimit-Remaining", strconv.Itoa(max(0, s.options.Limit-s.calls)))
		w.Header().Set("RateLimit-Reset", strconv.FormatInt(reset.Unix(), 10))
		if s.calls > s.options.Limit {
			w.Header().Set("Retry-After", strconv.Itoa(int(reset.Sub(s.options.Now()).Seconds())))
			return &problem{status: http.StatusTooManyRequests, ID: "too_many_requests", Message: "API Rate limit exceeded."}
		}
	}
	return nil
}

// read decodes a body strictly.
func read[T any](r *http.Request) (T, error) {
	var request T
	decoder := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		return request, &problem{status: http.StatusBadRequest, ID: "bad_request", Message: "Unable to parse the request: " + err.Error()}
	}
	return request, nil
}

// page is one page of a list, with the links to the others.
func page[T any](r *http.Request, key string, all []T) (int, any, error) {
	number, size, err := pageOf(r.URL.Query())
	if err != nil {
		return 0, nil, err
	}
	first := min(len(all), (number-1)*size)
	answer := map[string]any{key: all[first:min(len(all), first+size)], "meta": godo.Meta{Total: len(all)}}
	last := max(1, (len(all)+size-1)/size)
	link := func(to int) string {
		query := r.URL.Query()
		query.Set("page", strconv.Itoa(to))
		query.Set("per_page", strconv.Itoa(size))
		return "https://" + r.Host + r.URL.Path + "?" + query.Encode()
	}
	links := godo.Links{}
	if last > 1 {
		links.Pages = &godo.Pages{}
		if number > 1 {
			links.Pages.First, links.Pages.Prev = link(1), link(number-1)
		}
		if number < last {
			links.Pages.Next, links.Pages.Last = link(number+1), link(last)
		}
	}
	answer["links"] = links
	return http.StatusOK, answer, nil
}

func pageOf(query url.Values) (number, size int, err error) {
	number, size = 1, 20
	for name, into := range map[string]*int{"page": &number, "per_page": &size} {
		if text := query.Get(name); text != "" {
			if *into, err = strconv.Atoi(text); err != nil || *into < 1 {
				return 0, 0, unprocessable("%s must be a number from 1 on", name)
			}
		}
	}
	return number, min(size, 200), nil
}

// values are those of entries that are not leaving.
func values[T any](t *table[T], of func(*entry[T]) T) []T {
	found := []T{}
	for _, e := range t.all() {
		found = append(found, of(e))
	}
	return found
}

func plain[T any](e *entry[T]) T { return e.value }

// sizes are the nodes that are offered.
func sizes() []string {
	return []string{"s-1vcpu-2gb", "s-2vcpu-2gb", "s-2vcpu-4gb", "s-4vcpu-8gb"}
}

func regions() []godo.Region {
	var all []godo.Region
	for slug, name := range map[string]string{"nyc1": "New York 1", "nyc3": "New York 3", "tor1": "Toronto 1", "fra1": "Frankfurt 1"} {
		all = append(all, godo.Region{Slug: slug, Name: name, Available: true, Features: []string{"backups", "ipv6", "metadata", "storage"}, Sizes: sizes()})
	}
	slices.SortFunc(all, func(a, b godo.Region) int { return strings.Compare(a.Slug, b.Slug) })
	return all
}

func knownRegion(slug string) error {
	if !slices.ContainsFunc(regions(), func(r godo.Region) bool { return r.Slug == slug }) {
		return unprocessable("region %q is not available", slug)
	}
	return nil
}
