package main

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"tienda/api"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestKeysThatBreakOff: an answer that breaks off in the middle is a neighbour that cannot be reached, and
// no mistake of the component that asks.
func TestKeysThatBreakOff(t *testing.T) {
	t.Parallel()
	fetch := fetchKeys(&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		body := io.MultiReader(strings.NewReader(`{"keys":[`), broken{})
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body), Request: r}, nil
	})})
	if _, err := fetch(t.Context()); !api.IsStatus(err, http.StatusServiceUnavailable) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("fetch = %v, want a 503 that tells what happened", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
