package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"tienda/api"
)

// callTimeout is how long a customer waits for an answer. The gateway itself gives up after 35 s.
const callTimeout = 40 * time.Second

// maxAnswer bounds what is read of one answer.
const maxAnswer = 32 << 20

// shop makes calls through the gateway of a shop and measures them.
type shop struct {
	base  string
	http  *http.Client
	meter *meter
}

// call is one request. The zero fields are left out of it.
type call struct {
	step, method, path string
	account            *account // who asks
	key                string   // Idempotency-Key
	prefer             string
	body               any
	fine               []int // statuses that are no error, besides those below 300
}

// answer is a whole answer: a status, and a body that was not cut.
type answer struct {
	status     int
	retryAfter time.Duration
	replayed   bool
	body       []byte
}

func (a answer) decode(value any) error {
	if err := json.Unmarshal(a.body, value); err != nil {
		return fmt.Errorf("answer %d %.80q: %w", a.status, a.body, err)
	}
	return nil
}

// noAnswer is a call that was not answered, or not to the end: whether it had an effect is unknown.
type noAnswer struct {
	kind  string
	cause error
}

func (e *noAnswer) Error() string { return e.kind + ": " + e.cause.Error() }
func (e *noAnswer) Unwrap() error { return e.cause }

// refusal is an answer that was not hoped for.
type refusal struct {
	what   string
	answer answer
	denied bool // a password that is wrong
}

func (e *refusal) Error() string {
	problem := api.ParseProblem(e.answer.status, e.answer.body)
	return fmt.Sprintf("%s: %d %s", e.what, e.answer.status, problem.Error())
}

// do makes a call, logging its account in before when that is needed, and once more when the shop no
// longer knows the session. What came back is an answer, whatever its status, or a *noAnswer.
func (s *shop) do(ctx context.Context, c call) (answer, error) {
	for last := c.account == nil; ; last = true {
		token := ""
		if c.account != nil {
			var err error
			if token, err = c.account.token(ctx); err != nil {
				return answer{}, err
			}
		}
		a, err := s.once(ctx, c, token)
		if err == nil && a.status == http.StatusUnauthorized && !last {
			c.account.drop(token)
			continue
		}
		return a, err
	}
}

// once makes one request and measures it. One that may be repeated is sent a second time if its connection was lost.
func (s *shop) once(ctx context.Context, c call, token string) (answer, error) {
	var data []byte
	if c.body != nil {
		var err error
		if data, err = json.Marshal(c.body); err != nil {
			return answer{}, fmt.Errorf("%s: %w", c.step, err)
		}
	}
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(limited, c.method, s.base+c.path, bytes.NewReader(data))
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", c.step, err)
	}
	for name, value := range map[string]string{"Idempotency-Key": c.key, "Prefer": c.prefer} {
		if value != "" {
			request.Header.Set(name, value)
		}
	}
	if c.body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	began := time.Now()
	a, err := s.read(request)
	if err != nil && ctx.Err() == nil && kindOf(err) == lost && mayRepeat(c.method) {
		// Whoever stands between may close a connection while a request is under way to it, as NGINX does when it takes up a new configuration.
		s.meter.repeat(c.step)
		request.Body, _ = request.GetBody() // of bytes in memory
		a, err = s.read(request)
	}
	took := time.Since(began)
	if err != nil {
		if ctx.Err() != nil {
			return answer{}, &noAnswer{"interrupted", ctx.Err()} // by us: it says nothing about the shop
		}
		kind := kindOf(err)
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // which call it was stands with the step
		}
		s.meter.add(c.step, took, kind, err.Error())
		return answer{}, &noAnswer{kind, err}
	}
	kind, said := "", ""
	if a.status >= 300 && (!slices.Contains(c.fine, a.status) || a.later()) {
		kind, said = strconv.Itoa(a.status), api.ParseProblem(a.status, a.body).Error()
	}
	s.meter.add(c.step, took, kind, said)
	return a, nil
}

// errCut is an answer whose body ended too early, or is no JSON.
var errCut = errors.New("the answer was cut off")

func (s *shop) read(request *http.Request) (answer, error) {
	response, err := s.http.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errCut, err)
	}
	if response.StatusCode < 300 && len(body) > 0 && !json.Valid(body) {
		return answer{}, fmt.Errorf("%w: %.80q", errCut, body)
	}
	a := answer{status: response.StatusCode, body: body, replayed: response.Header.Get("Idempotency-Replayed") == "true"}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		a.retryAfter = time.Duration(seconds) * time.Second
	}
	return a, nil
}

// kindOf names an error of the transport in a word or two.
func kindOf(err error) string {
	timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	switch {
	case ok && timeout.Timeout():
		return "timeout"
	case errors.Is(err, errCut):
		return "cut off"
	case isDial(err):
		return "no connection"
	}
	return lost
}

// lost is the kind of a call whose connection ended before the answer.
const lost = "connection lost"

// mayRepeat reports whether a request that may have arrived can be sent again: asking twice is asking once, and so is setting a thing to a value.
// A DELETE would find nothing the second time.
func mayRepeat(method string) bool { return method == http.MethodGet || method == http.MethodPut }

// later reports whether the answer asks to come back.
func (a answer) later() bool {
	return a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable || a.status == http.StatusConflict && a.retryAfter > 0
}

// final reports whether the answer to a write tells its outcome for good. A 5xx does not: the write may
// have been done. Nor does a 401: the session ended, and another one may ask again.
func (a answer) final() bool {
	return a.status >= 200 && a.status < 500 && a.status != http.StatusAccepted && a.status != http.StatusUnauthorized && !a.later()
}

// get reads something: an answer that is not 200 is an error.
func get[T any](ctx context.Context, s *shop, step string, who *account, path string) (T, error) {
	var value T
	a, err := s.do(ctx, call{step: step, method: http.MethodGet, path: path, account: who})
	if err != nil {
		return value, err
	}
	if a.status != http.StatusOK {
		return value, &refusal{what: step, answer: a}
	}
	return value, a.decode(&value)
}

// pause waits, and reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// firstPause and longestPause bound how long a client waits before it asks again.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
)

// backoff is the pause before attempt n+1, n from 0, or the one that the shop asks for.
func backoff(n int, asked time.Duration) time.Duration {
	return max(min(firstPause<<min(n, 10), longestPause), min(asked, 5*time.Second))
}

// write is one keyed request. It is sent with the same key until it has an answer.
type write struct {
	step    string
	path    string
	account *account
	key     string
	prefer  string
	body    any
	fine    []int
}

// send makes a write until enough says that its answer will do, at most so many times, and returns the
// last answer, or an error when even the last try had none. heard is told how each try came out.
func (s *shop) send(ctx context.Context, w write, most int, enough func(answer) bool, heard func(string)) (answer, error) {
	for n := 0; ; n++ {
		a, err := s.do(ctx, call{step: w.step, method: http.MethodPost, path: w.path, account: w.account, key: w.key, prefer: w.prefer, body: w.body, fine: w.fine})
		if err == nil {
			heard(strconv.Itoa(a.status))
			if enough(a) {
				return a, nil
			}
		} else {
			heard(word(err))
		}
		if n+1 >= most || !pause(ctx, backoff(n, a.retryAfter)) {
			return a, err
		}
	}
}

// word is what an attempt without an answer is remembered as.
func word(err error) string {
	if e, ok := errors.AsType[*noAnswer](err); ok {
		return e.kind
	}
	return "not sent"
}
