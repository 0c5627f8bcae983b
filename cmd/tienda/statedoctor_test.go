package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// TestStateDoctor: a bucket whose conditional writes are none is refused, with what can be done instead.
func TestStateDoctor(t *testing.T) {
	t.Parallel()
	backend := s3mem.New()
	if err := backend.CreateBucket("states"); err != nil {
		t.Fatal(err)
	}
	service := gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	good := httptest.NewServer(service)
	t.Cleanup(good.Close)
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("If-None-Match")
		service.ServeHTTP(w, r)
	}))
	t.Cleanup(bad.Close)
	keys := []string{"AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret"}
	var out bytes.Buffer
	if err := Run(t.Context(), []string{"state-doctor", "--bucket", good.URL + "/states"}, keys, terminal{&out, io.Discard}); err != nil || !strings.Contains(out.String(), "honoured") {
		t.Errorf("a bucket that honours conditions: %v\n%s", err, out.String())
	}
	out.Reset()
	err := Run(t.Context(), []string{"state-doctor", "--bucket", bad.URL + "/states"}, keys, terminal{&out, io.Discard})
	if err == nil || statusOf(err) != 1 || !strings.Contains(out.String(), "ignored") || !strings.Contains(out.String(), "one writer only") {
		t.Errorf("a bucket that ignores conditions: %v\n%s", err, out.String())
	}
}
