//go:build faults

package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// Transport is next with the faults of the neighbours that the named component calls.
func Transport(from string, next http.RoundTripper) http.RoundTripper {
	a := armed.Load()
	if a == nil {
		return next
	}
	return &transport{from, next, a}
}

type transport struct {
	from string
	next http.RoundTripper
	arms *arms
}

const (
	// maxKept bounds a body that is kept to be sent, or given, again.
	maxKept = 8 << 20
	// maxSilence is how long an answer that never comes keeps a caller who has no deadline of its own.
	maxSilence = time.Minute
)

var (
	errSilence = errors.New("fault: the answer never came")
	errCut     = fmt.Errorf("fault: the connection broke: %w", io.ErrUnexpectedEOF)
)

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	rule, ok := t.arms.callRule(t.from, r)
	if !ok {
		return t.next.RoundTrip(r)
	}
	fmt.Fprintf(os.Stderr, "fault: %s, %s to %s %s\n", rule.Answer, t.from, r.Method, r.URL.Path)
	switch rule.Answer {
	case refuse:
		return refused(r, rule.Status)
	case twice:
		return t.twice(r, rule.Use == "second")
	}
	response, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	switch rule.Answer {
	case late:
		if err := wait(r.Context(), rule.Delay); err != nil {
			_ = response.Body.Close() // nobody wants it any more
			return nil, err
		}
	case never:
		discard(response)
		if err := wait(r.Context(), maxSilence); err != nil {
			return nil, err
		}
		return nil, errSilence
	case cut:
		response.Body = &half{ReadCloser: response.Body, left: max(0, response.ContentLength/2)}
	}
	return response, nil
}

// callRule is the rule for a call, if there is one. Every rule counts every call that it is about.
func (a *arms) callRule(from string, r *http.Request) (Call, bool) {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refresh()
	var found *callRule
	for i := range a.calls {
		rule := &a.calls[i]
		about := (rule.From == "" || rule.From == from) && (rule.To == "" || a.known.Components[rule.To] == first) &&
			rule.route.MatchString(r.Method+" "+r.URL.Path)
		if about && rule.now() && found == nil {
			found = rule
		}
	}
	if found == nil {
		return Call{}, false
	}
	return found.Call, true
}

// refused answers a call that is not made.
func refused(r *http.Request, status int) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close() // it is not sent
	}
	text := fmt.Sprintf(`{"type":"about:blank","title":%q,"status":%d,"detail":"fault"}`, http.StatusText(status), status)
	return &http.Response{
		Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/problem+json"}}, ContentLength: int64(len(text)),
		Body: io.NopCloser(strings.NewReader(text)), Request: r,
	}, nil
}

// twice makes the call two times, one after the other. When the second answer is used the first is
// dropped, as if the connection had broken and somebody on the way had sent the request again.
func (t *transport) twice(r *http.Request, second bool) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(io.LimitReader(r.Body, maxKept)); err != nil {
			return nil, errors.Join(err, r.Body.Close())
		}
		_ = r.Body.Close() // all of it was read
	}
	send := func() (*http.Response, error) {
		again := r.Clone(r.Context())
		if r.Body != nil {
			again.Body, again.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		}
		return t.next.RoundTrip(again)
	}
	first, err := send()
	if second {
		if err == nil {
			discard(first)
		}
		return send()
	}
	if err != nil {
		return nil, err
	}
	kept, err := io.ReadAll(io.LimitReader(first.Body, maxKept))
	if err = errors.Join(err, first.Body.Close()); err != nil {
		return nil, err
	}
	first.Body = io.NopCloser(bytes.NewReader(kept))
	if response, err := send(); err == nil {
		discard(response)
	}
	return first, nil
}

func discard(response *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxKept)) // the effect is what counts
	_ = response.Body.Close()
}

func wait(ctx context.Context, delay time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(delay):
		return nil
	}
}

// half is a body that ends early.
type half struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (h *half) Read(p []byte) (int, error) {
	if h.left <= 0 {
		return 0, errCut
	}
	n, err := h.ReadCloser.Read(p[:min(int64(len(p)), h.left)])
	h.left -= int64(n)
	return n, err
}
