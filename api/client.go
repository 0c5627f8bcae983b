package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Client calls the services of a shop. Errors that a service answers are *[Problem], as the service
// made them; a service that cannot be reached is a 503 or 504 Problem that names it.
// It is safe for concurrent use.
type Client struct {
	http *http.Client
	base func(service string) string
}

// NewClient calls services by their names (http://order-service/order-service/api/…): h must know
// how to find them.
func NewClient(h *http.Client) *Client {
	return &Client{http: h, base: func(service string) string { return "http://" + service + "/" + service }}
}

// NewGatewayClient calls services through the API gateway at base, such as "http://localhost:8080".
func NewGatewayClient(h *http.Client, base string) *Client {
	base = strings.TrimSuffix(base, "/")
	return &Client{http: h, base: func(service string) string { return base + "/" + service }}
}

type tokenKey struct{}

// WithToken makes the calls under ctx carry a bearer token.
func WithToken(ctx context.Context, token string) context.Context {
	return context.WithValue(ctx, tokenKey{}, token)
}

// Token is the bearer token that calls under ctx carry, or "".
func Token(ctx context.Context) string {
	token, _ := ctx.Value(tokenKey{}).(string)
	return token
}

// maxAnswer bounds what a Client reads of one answer.
const maxAnswer = 32 << 20

func get[T any](ctx context.Context, c *Client, service, path string) (T, error) {
	return send[T](ctx, c, http.MethodGet, service, path, "", nil)
}

// send makes one call; key is the Idempotency-Key, or "".
func send[T any](ctx context.Context, c *Client, method, service, path, key string, body any) (T, error) {
	var answer T
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return answer, fmt.Errorf("call %s: %w", service, err)
		}
		content = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base(service)+path, content)
	if err != nil {
		return answer, fmt.Errorf("call %s: %w", service, err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	if token := Token(ctx); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	SetTimeout(request)
	response, err := c.http.Do(request)
	if err != nil {
		return answer, NewUnreachable(service, err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer, NewUnreachable(service, err)
	}
	if response.StatusCode >= 300 {
		problem := ParseProblem(response.StatusCode, data)
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			problem.RetryAfter = time.Duration(seconds) * time.Second
		}
		return answer, problem
	}
	if len(data) == 0 {
		return answer, nil
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return answer, fmt.Errorf("answer of %s to %s %s: %w", service, method, path, err)
	}
	return answer, nil
}

// TimeoutHeader carries how many milliseconds the caller will still wait; the service called does not
// work beyond that. It is relative because the clocks of two machines differ.
const TimeoutHeader = "X-Request-Timeout"

// SetTimeout writes the [TimeoutHeader] of a request whose context has a deadline.
func SetTimeout(r *http.Request) {
	if deadline, ok := r.Context().Deadline(); ok {
		r.Header.Set(TimeoutHeader, strconv.FormatInt(max(1, time.Until(deadline).Milliseconds()), 10))
	}
}

// Unreachable is a service that gave no answer at all: whether the call had an effect is unknown.
type Unreachable struct {
	*Problem
	Cause error
}

// Unwrap gives both the problem and what the transport said.
func (u *Unreachable) Unwrap() []error { return []error{u.Problem, u.Cause} }

// NewUnreachable makes the error of a call to a service that the transport ended with err.
func NewUnreachable(service string, err error) *Unreachable {
	if errors.Is(err, context.DeadlineExceeded) {
		return &Unreachable{Timeout(service), err}
	}
	return &Unreachable{Unavailable(service), err}
}

// IsStatus reports whether err is a Problem with this status.
func IsStatus(err error, status int) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Status == status
}

func joinIDs(ids []ID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return strings.Join(texts, ",")
}

// Events returns the events of a service behind a position, in order; at most 500.
func (c *Client) Events(ctx context.Context, service string, after int64) ([]Event, error) {
	list, err := get[List[Event]](ctx, c, service, "/api/events?after="+strconv.FormatInt(after, 10))
	return list.Collection, err
}
