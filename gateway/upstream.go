package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tienda/api"
)

// The engine: it moves an exchange to an instance and back with net/http.

var (
	errResponseTimeout = errors.New("no response in time")
	errConnectTimeout  = errors.New("no connection in time")
)

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *Exchange {
	x, _ := ctx.Value(exchangeKey{}).(*Exchange)
	return x
}

func (g *Gateway) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        rewriteRequest,
		Transport:      roundTripper(g.roundTrip),
		ModifyResponse: modifyResponse,
		BufferPool:     &buffers{},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			g.failed(w, r, exchangeOf(r.Context()), err)
		},
		ErrorLog: log.New(logWriter{g.log}, "", 0),
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// logWriter takes what net/http says about answers that broke off midway.
type logWriter struct{ log *slog.Logger }

func (l logWriter) Write(line []byte) (int, error) {
	l.log.Warn("answer broke off", "err", string(bytes.TrimSpace(line)))
	return len(line), nil
}

// buffers lends the buffers that bodies are copied through.
type buffers struct{ pool sync.Pool }

const bufferSize = 32 << 10

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return p[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(p []byte) { b.pool.Put((*[bufferSize]byte)(p)) }

// forwardTo sends x to the upstream of its route. r is the client's request; it is not changed.
func (g *Gateway) forwardTo(w http.ResponseWriter, r *http.Request, x *Exchange) error {
	path, err := url.PathUnescape(x.Path)
	if err != nil {
		return api.BadRequest("the path has an invalid percent-encoding")
	}
	out := r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	out.Method = x.Method
	out.URL = &url.URL{
		Scheme: x.route.upstream.scheme, Host: x.route.upstream.address,
		Path: path, RawPath: x.Path, RawQuery: x.RawQuery, ForceQuery: r.URL.ForceQuery,
	}
	out.Header = x.Header.(http.Header)
	out.Header.Set(api.TimeoutHeader, strconv.FormatInt(x.table.responseTimeout.Milliseconds(), 10))
	switch {
	case x.forwarded:
		out.Body, out.ContentLength = http.NoBody, 0 // whatever there was has been read
	case r.Body != nil && r.Body != http.NoBody:
		x.sent = &clientBody{ReadCloser: http.MaxBytesReader(w, r.Body, int64(g.limits.MaxBodySize)), hangUp: func() {
			_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) // without deadlines the server's own limit ends it
		}}
		out.Body = x.sent
	}
	x.client = r
	g.proxy.ServeHTTP(w, out)
	return nil
}

// rewriteRequest puts back what ReverseProxy removed and sanitize had made sure of.
func rewriteRequest(r *httputil.ProxyRequest) {
	r.Out.Host = ""
	r.Out.URL.RawQuery = r.In.URL.RawQuery // what is malformed in it is the service's to judge
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values := r.In.Header[name]; len(values) > 0 {
			r.Out.Header[name] = values
		}
	}
}

// failed answers for a call that yielded no response, or goes on with the fallback of a circuit breaker.
func (g *Gateway) failed(w http.ResponseWriter, _ *http.Request, x *Exchange, err error) {
	r := x.client
	if f, ok := errors.AsType[*fallback](err); ok && !x.forwarded {
		g.log.LogAttrs(r.Context(), slog.LevelWarn, "going on with the fallback", slog.String("route", x.route.id), slog.Any("err", f.err))
		x.forwarded = true
		x.Header.Del("Content-Length")
		clear(x.variables)
		if x.Path, x.segments, err = cleanPath(f.path); err == nil {
			x.arrived = x.Path
			err = g.dispatch(w, r, x)
		}
	}
	if err != nil {
		g.fail(w, r, x, err)
	}
}

// roundTrip makes the call with the policies of the route around it. The response timeout covers all of
// it up to the head of the response.
func (g *Gateway) roundTrip(out *http.Request) (*http.Response, error) {
	x := exchangeOf(out.Context())
	ctx, cancel := context.WithCancelCause(out.Context())
	timer := time.AfterFunc(x.table.responseTimeout, func() {
		x.sent.giveUp()
		cancel(errResponseTimeout)
	})
	defer timer.Stop()
	body, err := newRepeatable(out, slices.Contains(x.route.repeated, x.Method))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	var response *http.Response
	call := func() (int, error) {
		if response != nil {
			discard(response)
			response = nil
		}
		var err error
		if response, err = g.try(ctx, out, x, body); err != nil { //nolint:bodyclose // discard, or the reader of the answer, closes
			return 0, err
		}
		return response.StatusCode, nil
	}
	for _, p := range slices.Backward(x.route.policies) {
		next := call
		call = func() (int, error) { return p(ctx, x, next) }
	}
	if _, err := call(); err != nil {
		if response != nil {
			discard(response)
		}
		if x.sent.problem() == nil && errors.Is(err, context.Canceled) {
			err = explain(ctx, x.route.upstream.address, err) // it is ctx that ended, perhaps for the timeout
		}
		cancel(nil)
		return nil, err
	}
	// The context of the client's request ends this one: after a success the body still needs it.
	return response, nil
}

// discard lets go of a response nobody is going to see, and of its connection if little is left to read.
func discard(response *http.Response) {
	_, _ = io.CopyN(io.Discard, response.Body, 64<<10)
	_ = response.Body.Close()
}

// try calls the instances of the upstream until one can be reached. A call that may have arrived goes
// to another instance only if it has no body and its method is safe.
func (g *Gateway) try(ctx context.Context, out *http.Request, x *Exchange, body *repeatable) (*http.Response, error) {
	up := &x.route.upstream
	addresses := []string{up.address}
	if up.balanced {
		addresses = g.failures.Order(g.resolver.Instances(ctx, up.address), up.next.Add(1), g.now())
	}
	if len(addresses) == 0 {
		return nil, api.Unavailable(up.address)
	}
	const most = 3
	addresses = addresses[:min(most, len(addresses))]
	var err error
	for i, asked := 0, false; i < len(addresses); i++ {
		address, patience := addresses[i], x.table.connectTimeout
		if i < len(addresses)-1 {
			patience = min(patience, hopTimeout)
		}
		var response *http.Response
		var connected bool
		response, connected, err = g.attempt(ctx, out, address, body, patience)
		if err == nil {
			g.failures.Forget(address)
			return response, nil
		}
		if ctx.Err() != nil {
			break
		}
		if !connected && up.balanced {
			g.failures.Note(address, g.now())
		}
		if body.spent() || connected && !isSafe(x.Method) && !body.unread() {
			break
		}
		if i == len(addresses)-1 && !connected && up.balanced && !asked {
			// None of them is there any more: what is known of the instances is older than they are.
			asked = true
			others := g.resolver.Instances(ctx, up.address, addresses...)
			addresses = append(addresses, others[:min(most, len(others))]...)
		}
	}
	if problem := x.sent.problem(); problem != nil {
		return nil, &callError{problem, fmt.Errorf("read the body for %s: %w", up.address, err)}
	}
	return nil, explain(ctx, up.address, err)
}

// hopTimeout bounds an attempt to connect while there is another instance: one that is gone says nothing.
const hopTimeout = time.Second

func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// attempt makes one call to one instance. connected is false when it surely never arrived there.
func (g *Gateway) attempt(ctx context.Context, out *http.Request, address string, body *repeatable, patience time.Duration) (response *http.Response, connected bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(patience, func() { cancel(errConnectTimeout) })
	defer timer.Stop()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { timer.Stop() },
	})
	call := out.WithContext(ctx)
	target := *out.URL
	target.Host = address
	call.URL = &target
	call.Body = body.next()
	if body.kept != nil {
		call.ContentLength = int64(len(body.kept))
	}
	response, err = g.transport.RoundTrip(call)
	if err == nil {
		return response, true, nil
	}
	if errors.Is(context.Cause(ctx), errConnectTimeout) {
		err = errConnectTimeout
	}
	cancel(nil)
	dial, isNet := errors.AsType[*net.OpError](err)
	return nil, !errors.Is(err, errConnectTimeout) && !(isNet && dial.Op == "dial"), err
}

// explain turns the failure of a call into what the client is told.
func explain(ctx context.Context, name string, err error) error {
	var problem *api.Problem
	dial, isNet := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(context.Cause(ctx), errResponseTimeout), errors.Is(err, errConnectTimeout):
		problem = api.Timeout(name)
	case ctx.Err() != nil:
		return ctx.Err()
	case isNet && dial.Op == "dial":
		problem = api.Unavailable(name)
	default:
		problem = api.Status(http.StatusBadGateway, "%s broke off without an answer", name)
	}
	return &callError{problem, fmt.Errorf("call %s: %w", name, err)}
}

// callError shows the client a problem and the log its cause.
type callError struct {
	problem *api.Problem
	cause   error
}

func (e *callError) Error() string   { return e.cause.Error() }
func (e *callError) Unwrap() []error { return []error{e.problem, e.cause} }

// modifyResponse runs the response half of the filters.
func modifyResponse(response *http.Response) error {
	x := exchangeOf(response.Request.Context())
	x.Status, x.ResponseHeader = response.StatusCode, response.Header
	x.body, x.length = response.Body, response.ContentLength
	x.writeReply(response.Header)
	for _, f := range slices.Backward(x.route.filters) {
		if f.Response != nil {
			f.Response(x)
		}
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		return nil // from here on it is not HTTP: neither status nor body are anybody's to change
	}
	response.Body = x.body
	if x.Status != response.StatusCode {
		response.StatusCode, response.Status = x.Status, ""
		if x.Status == http.StatusNoContent || x.Status == http.StatusNotModified {
			_ = x.body.Close() // what is left unread does not matter
			response.Body, x.length = http.NoBody, 0
			response.Header.Del("Content-Type")
		}
	}
	if x.length != response.ContentLength {
		response.ContentLength = x.length
		response.Header.Del("Content-Length")
		if x.length > 0 {
			response.Header.Set("Content-Length", strconv.FormatInt(x.length, 10))
		}
	}
	return nil
}

// clientBody is the body that comes with the client's request. It knows when a call failed for want of it, which
// says nothing about the upstream. A nil one never did.
type clientBody struct {
	io.ReadCloser
	hangUp func() // ends a read that is under way, and those to come
	late   atomic.Bool
	ended  atomic.Pointer[error]
}

func (b *clientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.ended.Store(&err)
	}
	return n, err
}

// giveUp ends the wait for a body that has not arrived by now: a transport does not return before it has read
// it, and the answer does not leave before it is closed.
func (b *clientBody) giveUp() {
	if b != nil && b.ended.Load() == nil {
		b.late.Store(true)
		b.hangUp()
	}
}

// problem is what the client did wrong with the body, nil when that is nothing.
func (b *clientBody) problem() *api.Problem {
	if b == nil || b.ended.Load() == nil {
		return nil
	}
	err := *b.ended.Load()
	tooLarge, isTooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case isTooLarge:
		return api.TooLarge(tooLarge.Limit)
	case b.late.Load():
		return api.Status(http.StatusRequestTimeout, "the body did not arrive in time")
	}
	return api.BadRequest("the body broke off or is malformed")
}

// repeatable is a request body that several calls may be given: freely when it is kept in memory,
// otherwise until one has begun to read it.
type repeatable struct {
	kept   []byte
	stream io.Reader
	begun  atomic.Bool
}

func newRepeatable(out *http.Request, keep bool) (*repeatable, error) {
	if out.Body == nil || out.Body == http.NoBody {
		return &repeatable{}, nil
	}
	if !keep {
		return &repeatable{stream: out.Body}, nil
	}
	kept, err := io.ReadAll(out.Body)
	if err != nil {
		return nil, exchangeOf(out.Context()).sent.problem()
	}
	return &repeatable{kept: kept}, nil
}

// next is the body for another call. Each is closed on its own; the stream stays open for the next.
func (b *repeatable) next() io.ReadCloser {
	switch {
	case b.stream != nil:
		return &borrowed{owner: b}
	case len(b.kept) > 0:
		return io.NopCloser(bytes.NewReader(b.kept))
	}
	return nil
}

// spent says whether the body can not be sent again.
func (b *repeatable) spent() bool { return b.begun.Load() }

// unread says that there is a body of which nothing has been sent, so that no instance can have acted.
func (b *repeatable) unread() bool { return b.stream != nil && !b.begun.Load() }

type borrowed struct {
	owner  *repeatable
	closed atomic.Bool
}

func (b *borrowed) Read(p []byte) (int, error) {
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	b.owner.begun.Store(true)
	return b.owner.stream.Read(p)
}

func (b *borrowed) Close() error {
	b.closed.Store(true)
	return nil
}
