package cloudconfig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// ErrNotFound means that the server was reached and has no such environment,
// for example because the label does not exist.
var ErrNotFound = errors.New("no such environment")

const (
	fetchTimeout   = 10 * time.Second // per server
	maxEnvironment = 16 << 20         // bytes of an answer

	mediaTypeV1 = "application/json"
	mediaTypeV2 = "application/vnd.spring-cloud.config-server.v2+json" // values with their origins
)

// A Client fetches environments from configuration servers. It is safe for
// concurrent use.
type Client struct {
	http    *http.Client
	servers []configServer
	err     error // of the addresses; told by Fetch, so that a client can always be made

	mu   sync.Mutex
	last map[string]fetched // by path
}

type configServer struct {
	base           string
	user, password string
}

type fetched struct {
	etag        string
	environment *Environment
}

// NewClient returns a client of the servers at uri: one address such as
// http://user:password@host:9296/path, or several separated by commas, of which
// the first to answer is taken. A wrong address is the error of every Fetch.
func NewClient(uri string, h *http.Client) *Client {
	c := &Client{http: h, last: make(map[string]fetched)}
	for i, address := range splitNames(uri) {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			// The address is not repeated: it may hold a password.
			c.err = fmt.Errorf("address %d of the configuration server is not a URL like http://host:9296", i+1)
			return c
		}
		s := configServer{user: u.User.Username()}
		s.password, _ = u.User.Password()
		u.User = nil
		s.base = strings.TrimRight(u.String(), "/")
		c.servers = append(c.servers, s)
	}
	if len(c.servers) == 0 {
		c.err = errors.New("the address of the configuration server is empty")
	}
	return c
}

// Fetch asks for the environment of an application under a comma list of
// profiles ("default" when empty) and an optional label; of a comma list of
// labels the first that exists is taken. The error is ErrNotFound when a server
// answered that there is none.
//
// When the server says that nothing changed, Fetch returns the very Environment
// it returned before: compare pointers to see changes, and do not modify it.
func (c *Client) Fetch(ctx context.Context, app, profiles, label string) (*Environment, error) {
	if c.err != nil {
		return nil, c.err
	}
	if profiles == "" {
		profiles = "default"
	}
	labels := splitNames(label)
	if len(labels) == 0 {
		labels = []string{""}
	}
	var errs []error
	for _, s := range c.servers {
		for _, l := range labels {
			env, err := c.fetch(ctx, s, environmentPath(app, profiles, l))
			if err == nil {
				return env, nil
			}
			errs = append(errs, err)
			if !errors.Is(err, ErrNotFound) {
				break // a server that does not answer has no further labels either
			}
		}
	}
	return nil, fmt.Errorf("fetch configuration of %s: %w", app, errors.Join(errs...))
}

// environmentPath writes slashes as (_), which every server takes in a segment.
func environmentPath(app, profiles, label string) string {
	segment := func(s string) string { return "/" + url.PathEscape(strings.ReplaceAll(s, "/", "(_)")) }
	p := segment(app) + segment(profiles)
	if label != "" {
		p += segment(label)
	}
	return p
}

func (c *Client) fetch(ctx context.Context, s configServer, path string) (*Environment, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", s.base, err)
	}
	req.Header.Set("Accept", mediaTypeV2+", "+mediaTypeV1)
	if s.user != "" {
		req.SetBasicAuth(s.user, s.password)
	}
	c.mu.Lock()
	last, known := c.last[path]
	c.mu.Unlock()
	if known {
		req.Header.Set("If-None-Match", last.etag)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", s.base, err)
	}
	defer func() { _ = resp.Body.Close() }() // the answer is read or refused by then
	switch {
	case resp.StatusCode == http.StatusNotModified && known:
		return last.environment, nil
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("ask %s: %w", s.base, ErrNotFound)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("ask %s: answered %d %s%s", s.base, resp.StatusCode, http.StatusText(resp.StatusCode), reason(resp.Body))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxEnvironment+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", s.base, err)
	}
	if len(body) > maxEnvironment {
		return nil, fmt.Errorf("read the answer of %s: longer than %d bytes", s.base, maxEnvironment)
	}
	env := new(Environment)
	if err := json.Unmarshal(body, env); err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", s.base, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if etag := resp.Header.Get("ETag"); etag != "" {
		c.last[path] = fetched{etag: etag, environment: env}
	} else {
		delete(c.last, path)
	}
	return env, nil
}

// reason is the message of an error answer, such as the file and line that cannot be read; it is
// empty when the server gives none.
func reason(body io.Reader) string {
	var answer struct {
		Message string `json:"message"`
	}
	if err := json.NewDecoder(io.LimitReader(body, 64<<10)).Decode(&answer); err != nil || answer.Message == "" {
		return ""
	}
	return ": " + answer.Message
}
