package gateway

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
)

// Header is what predicates and filters need of a set of header fields. Names are case-insensitive.
type Header interface {
	Get(name string) string
	Values(name string) []string
	Set(name, value string)
	Add(name, value string)
	Del(name string)
}

// Exchange is one request on its way through the gateway and the answer to it. It is all that
// predicates and filters see, so that they do not depend on the engine that moves the bytes.
// An exchange belongs to one goroutine.
type Exchange struct {
	Method string
	// Path is the escaped path: on arrival cleaned, so that what was checked is what is sent.
	Path     string
	RawQuery string
	Host     string // as the client sent it, with its port
	Header   Header
	// Client is the address the request comes from, seen through trusted proxies.
	Client netip.Addr
	// Principal is the zero value when the request carries no token.
	Principal Principal

	// Status and ResponseHeader are the upstream's, or the gateway's own after a failure; they are
	// set before the response half of the filters runs.
	Status         int
	ResponseHeader Header

	variables map[string]string // captured by the Path and Host predicates, decoded
	segments  []string          // the decoded segments of the path on arrival
	arrived   string            // Path as it was before the filters
	reply     []field           // fields of whatever answer the client gets
	sent      *clientBody       // of the request; nil without one
	body      io.ReadCloser     // of the response
	length    int64             // of body, -1 when unknown
	route     *route
	table     *table
	forwarded bool // by a circuit breaker, to its fallback

	tokenError error         // why the token does not hold
	client     *http.Request // as it came, for the answers of the gateway itself
}

type field struct{ name, value string }

// Reply sets a header field of whatever answer the client gets, the gateway's own errors included.
func (x *Exchange) Reply(name, value string) {
	for i := range x.reply {
		if x.reply[i].name == name {
			x.reply[i].value = value
			return
		}
	}
	x.reply = append(x.reply, field{name, value})
}

// capture keeps a variable for the templates of the filters.
func (x *Exchange) capture(name, value string) {
	if x.variables == nil {
		x.variables = make(map[string]string)
	}
	x.variables[name] = value
}

// ResponseBody is the whole response body, when it is known to be no longer than limit bytes or turns
// out to be. Otherwise ok is false and the body streams on untouched.
func (x *Exchange) ResponseBody(limit int64) (body []byte, ok bool) {
	if x.body == nil || x.length > limit {
		return nil, false
	}
	body, err := io.ReadAll(io.LimitReader(x.body, limit+1))
	rest := x.body
	x.body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), failing{err}, rest), rest}
	return body, err == nil && int64(len(body)) <= limit
}

// SetResponseBody replaces the response body; its length is announced accordingly.
func (x *Exchange) SetResponseBody(body []byte) {
	var rest io.Closer = x.body
	if x.body == nil {
		rest = io.NopCloser(nil)
	}
	x.body = struct {
		io.Reader
		io.Closer
	}{bytes.NewReader(body), rest}
	x.length = int64(len(body))
}

// failing is a reader that repeats the error with which a read ahead ended, if any.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}
