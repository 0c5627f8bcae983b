package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"tienda/api"
	"tienda/web"
)

// maxAnswer bounds an answer that is passed on; a page of rows is far smaller.
const maxAnswer = 32 << 20

// Headers that are passed on. Whatever else a client or a service says is about one connection, or
// nobody's business here.
var (
	requestHeaders  = [...]string{"Accept", "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Prefer"}
	responseHeaders = [...]string{"Allow", "Content-Type", "ETag", "Idempotency-Replayed", "Location", "Retry-After", "WWW-Authenticate"}
)

// forward passes a request on to a service, and its answer back as it is.
func (s *Service) forward(to PassThrough) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, web.MaxBody))
		if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return api.TooLarge(e.Limit)
		}
		if err != nil {
			return api.BadRequest("the body ended early")
		}
		response, err := s.send(r, to, body)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
		if err != nil {
			return api.NewUnreachable(to.Service, err)
		}
		if len(answer) > maxAnswer {
			return fmt.Errorf("answer of %s is larger than %d bytes", to.Service, maxAnswer)
		}
		for _, name := range responseHeaders {
			if values := response.Header.Values(name); len(values) > 0 {
				w.Header()[http.CanonicalHeaderKey(name)] = values
			}
		}
		w.WriteHeader(response.StatusCode)
		_, _ = w.Write(answer) // the client is gone when this fails
		return nil
	}
}

func (s *Service) send(r *http.Request, to PassThrough, body []byte) (*http.Response, error) {
	target := "http://" + to.Service + to.Context + strings.TrimPrefix(r.URL.EscapedPath(), contextPath)
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	request, err := http.NewRequestWithContext(r.Context(), r.Method, target, bytes.NewReader(body))
	if err != nil {
		return nil, api.BadRequest("the path or the query is malformed")
	}
	for _, name := range requestHeaders {
		if values := r.Header.Values(name); len(values) > 0 {
			request.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	api.SetTimeout(request)
	response, err := s.http.Do(request)
	if err != nil {
		return nil, api.NewUnreachable(to.Service, err)
	}
	return response, nil
}
