package cloudconfig

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A query names the environment asked for: comma lists of applications and
// profiles, and a label or nothing.
type query struct {
	app, profile, label string
}

// backend is where environments and files come from.
type backend interface {
	environment(q query) (*Environment, error)
	resource(q query, file string) ([]byte, time.Time, error) // fs.ErrNotExist: 404
	applications() ([]application, error)
}

// A Server answers the protocol as an http.Handler. It routes by the escaped
// path, so it should be handed requests as they came: a mux in front would clean
// paths first. It sets the request's Pattern for logs and metrics.
type Server struct {
	settings  Settings
	backend   backend
	cipher    *textCipher // nil without a key
	overrides Source
	prefix    []string
}

// NewServer returns a server of the files in the search locations; those that
// begin with classpath: are in files. It reads nothing yet: see Check.
func NewServer(settings Settings, files fs.FS) (*Server, error) {
	s := &Server{
		settings:  settings,
		backend:   &native{settings: settings.Native, files: files},
		overrides: overrideSource(settings.Overrides),
		prefix:    strings.FieldsFunc(settings.Prefix, func(r rune) bool { return r == '/' }),
	}
	if settings.Key.Key != "" {
		c, err := newTextCipher(settings.Key)
		if err != nil {
			return nil, err
		}
		s.cipher = c
	}
	return s, nil
}

// Check looks an application up that need not exist and returns the error of a
// backend that cannot be read: the health of the server.
func (s *Server) Check(context.Context) error {
	_, err := s.environment(query{app: "app", profile: "default"})
	return err
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := s.serve(w, r); err != nil {
		writeError(w, r, err)
	}
}

type handler func(w http.ResponseWriter, r *http.Request) error

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	if !s.admits(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="cloud-config", charset="UTF-8"`)
		return &statusError{http.StatusUnauthorized, "this server needs a user name and a password"}
	}
	segments, err := pathSegments(r.URL.EscapedPath())
	if err != nil {
		return err
	}
	if len(segments) < len(s.prefix) || !slices.Equal(segments[:len(s.prefix)], s.prefix) {
		return errNoSuchPath
	}
	method, pattern, h := s.route(segments[len(s.prefix):], r.URL.Query().Has("useDefaultLabel"))
	if h == nil {
		return errNoSuchPath
	}
	r.Pattern = pattern
	if r.Method != method && !(r.Method == http.MethodHead && method == http.MethodGet) {
		w.Header().Set("Allow", method)
		return &statusError{http.StatusMethodNotAllowed, "use " + method}
	}
	return h(w, r)
}

// admits compares digests, which takes as long for every wrong password.
func (s *Server) admits(r *http.Request) bool {
	if s.settings.User.Password == "" {
		return true
	}
	name, password, _ := r.BasicAuth()
	same := func(a, b string) int {
		x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
		return subtle.ConstantTimeCompare(x[:], y[:])
	}
	return same(name, s.settings.User.Name)&same(password, s.settings.User.Password) == 1
}

// pathSegments splits before it decodes, so that %2F stays within its segment.
func pathSegments(escaped string) ([]string, error) {
	trimmed := strings.TrimSuffix(strings.TrimPrefix(escaped, "/"), "/")
	if trimmed == "" {
		return nil, nil
	}
	segments := strings.Split(trimmed, "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err != nil {
			return nil, badRequest("the path holds a broken percent-encoding")
		}
		if decoded == "" {
			return nil, badRequest("the path holds an empty segment")
		}
		segments[i] = decoded
	}
	return segments, nil
}

// route finds the handler of a path; a nil handler means there is none. It is
// written by hand because a second segment may end in an extension that changes
// its meaning, which no pattern of net/http's mux can say.
func (s *Server) route(path []string, defaultLabel bool) (method, pattern string, h handler) {
	const get, post = http.MethodGet, http.MethodPost
	if len(path) == 0 {
		return get, "/{$}", s.servePage
	}
	switch path[0] {
	case "actuator": // belongs to whoever runs the server; never an application
		return "", "", nil
	case "encrypt", "decrypt", "key":
		return s.routeSecret(path)
	}
	switch {
	case len(path) == 1:
		if m, ok := parseMerged(path[0]); ok {
			return get, "/{app}-{profile}.{format}", s.serveMerged(m, "")
		}
		return "", "", nil
	case len(path) == 2 && hasFormat(path[1]):
		if m, ok := parseMerged(path[1]); ok {
			return get, "/{label}/{app}-{profile}.{format}", s.serveMerged(m, path[0])
		}
		return "", "", nil
	case len(path) == 2:
		return get, "/{app}/{profile}", s.serveEnvironment(path[0], path[1], "")
	case len(path) == 3 && defaultLabel:
		return get, "/{app}/{profile}/{file}", s.serveResource(path[0], path[1], "", path[2])
	case len(path) == 3:
		return get, "/{app}/{profile}/{label}", s.serveEnvironment(path[0], path[1], path[2])
	default:
		return get, "/{app}/{profile}/{label}/{path...}", s.serveResource(path[0], path[1], path[2], strings.Join(path[3:], "/"))
	}
}

// routeSecret finds /encrypt, /decrypt and /key, alone or for an application
// and its profiles, which make no difference with a single key.
func (s *Server) routeSecret(path []string) (method, pattern string, h handler) {
	switch {
	case path[0] == "encrypt" && len(path) == 2 && path[1] == "status":
		return http.MethodGet, "/encrypt/status", s.serveEncryptStatus
	case len(path) != 1 && len(path) != 3:
		return "", "", nil
	case path[0] == "encrypt":
		return http.MethodPost, "/encrypt", s.serveEncrypt
	case path[0] == "decrypt":
		return http.MethodPost, "/decrypt", s.serveDecrypt
	default:
		return http.MethodGet, "/key", s.serveKey
	}
}

// environment asks the backend and does what holds for every backend.
func (s *Server) environment(q query) (*Environment, error) {
	env, err := s.backend.environment(q)
	if err != nil {
		return nil, err
	}
	if s.settings.Encrypt.Enabled {
		s.decryptSources(env)
	}
	if len(s.overrides) > 0 {
		env.PropertySources = slices.Insert(env.PropertySources, 0, PropertySource{Name: "overrides", Source: s.overrides})
	}
	if len(env.PropertySources) == 0 && !s.settings.AcceptEmpty {
		return nil, &statusError{http.StatusNotFound, "there are no property sources for this application and these profiles"}
	}
	return env, nil
}

func (s *Server) serveEnvironment(app, profile, label string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		q, err := newQuery(app, profile, label)
		if err != nil {
			return err
		}
		env, err := s.environment(q)
		if err != nil {
			return err
		}
		mediaType := mediaTypeV1
		if accepts(r, mediaTypeV2) {
			mediaType = mediaTypeV2
			for i := range env.PropertySources {
				env.PropertySources[i].Source = withOrigins(env.PropertySources[i].Source)
			}
		}
		body, err := env.MarshalJSON()
		if err != nil {
			return err
		}
		// Spring's server has no ETag. It costs a poller's next request nothing but a line.
		digest := sha256.Sum256(body)
		etag := `"` + hex.EncodeToString(digest[:16]) + `"`
		w.Header().Set("ETag", etag)
		w.Header().Set("Vary", "Accept")
		if matches(r.Header.Get("If-None-Match"), etag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		return write(w, mediaType, body)
	}
}

// withOrigins copies a source for the second version of the protocol.
func withOrigins(s Source) Source {
	out := slices.Clone(s)
	for i, p := range out {
		if p.Origin != "" {
			out[i].Value = tracked{Value: p.Value, Origin: p.Origin}
		}
	}
	return out
}

// matches compares weakly, as If-None-Match asks.
func matches(header, etag string) bool {
	for candidate := range strings.SplitSeq(header, ",") {
		candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
		if candidate == etag || candidate == "*" {
			return true
		}
	}
	return false
}

// A mergedForm is what a name like user-service-dev.yml asks for.
type mergedForm struct {
	app, profile, format string
}

func hasFormat(name string) bool {
	_, format, _ := cutLast(name, ".")
	return slices.Contains([]string{"yml", "yaml", "properties", "json"}, format)
}

// parseMerged splits at the last hyphen, so the profile has none.
func parseMerged(name string) (mergedForm, bool) {
	stem, format, _ := cutLast(name, ".")
	app, profile, ok := cutLast(stem, "-")
	return mergedForm{app: app, profile: profile, format: format}, ok && hasFormat(name) && app != "" && profile != ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (s *Server) serveMerged(m mergedForm, label string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		q, err := newQuery(m.app, m.profile, label)
		if err != nil {
			return err
		}
		env, err := s.environment(q)
		if err != nil {
			return err
		}
		properties := env.merged()
		if resolves(r) {
			properties = resolved(properties, env.lookup())
		}
		if m.format == "properties" {
			return write(w, textPlain, propertiesText(properties))
		}
		root, err := nest(properties)
		if err != nil {
			return err
		}
		if m.format == "json" {
			body, err := jsonText(root)
			if err != nil {
				return err
			}
			return write(w, mediaTypeV1, body)
		}
		body, err := yamlText(root, s.settings.StripDocumentFromYAML)
		if err != nil {
			return err
		}
		return write(w, textPlain, body)
	}
}

func (s *Server) serveResource(app, profile, label, file string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		q, err := newQuery(app, profile, label)
		if err != nil {
			return err
		}
		if err := checkPath("file", file); err != nil {
			return err
		}
		first, _, _ := strings.Cut(strings.ToUpper(file), "/")
		if first == "WEB-INF" || first == "META-INF" {
			w.WriteHeader(http.StatusNotFound)
			return nil
		}
		data, modified, err := s.backend.resource(q, file)
		if errors.Is(err, fs.ErrNotExist) {
			w.WriteHeader(http.StatusNotFound) // with an empty body, as in ResourceController
			return nil
		}
		if err != nil {
			return err
		}
		contentType := textPlain
		switch {
		case accepts(r, "application/octet-stream"):
			contentType = "application/octet-stream"
		case resolves(r):
			env, err := s.environment(q)
			if err != nil {
				return err
			}
			data = []byte(Resolve(string(data), env.lookup()))
		}
		w.Header().Set("Content-Type", contentType)
		http.ServeContent(w, r, "", modified, bytes.NewReader(data))
		return nil
	}
}

func resolves(r *http.Request) bool {
	return r.URL.Query().Get("resolvePlaceholders") != "false"
}

// accepts tells whether the client names the media type itself; wildcards do not count.
func accepts(r *http.Request, mediaType string) bool {
	for _, header := range r.Header.Values("Accept") {
		for element := range strings.SplitSeq(header, ",") {
			if t, parameters, err := mime.ParseMediaType(element); err == nil && t == mediaType && parameters["q"] != "0" {
				return true
			}
		}
	}
	return false
}

const textPlain = "text/plain;charset=UTF-8"

func write(w http.ResponseWriter, contentType string, body []byte) error {
	w.Header().Set("Content-Type", contentType)
	_, err := w.Write(body)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// A statusError is an error of the client, with the status that says so.
type statusError struct {
	code    int
	message string
}

func (e *statusError) Error() string { return e.message }

var errNoSuchPath = &statusError{http.StatusNotFound, "there is nothing at this path; environments are at /{application}/{profile}"}

func badRequest(format string, args ...any) error {
	return &statusError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// writeError answers in the form of Spring Boot's error document.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusInternalServerError
	var body any
	if e, ok := errors.AsType[*cipherError](err); ok {
		code = e.code
		body = map[string]string{"status": e.status, "description": e.description}
	} else {
		if e, ok := errors.AsType[*statusError](err); ok {
			code = e.code
		} else if _, ok := errors.AsType[keyError](err); ok {
			code = http.StatusBadRequest
		}
		body = struct {
			Timestamp string `json:"timestamp"`
			Status    int    `json:"status"`
			Error     string `json:"error"`
			Message   string `json:"message"`
			Path      string `json:"path"`
		}{time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00"), code, http.StatusText(code), err.Error(), r.URL.Path}
	}
	w.Header().Set("Content-Type", mediaTypeV1)
	w.Header().Del("ETag")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // the client is gone if this fails
}
