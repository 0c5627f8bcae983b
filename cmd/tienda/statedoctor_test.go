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
	// store changes what becomes of writes on a condition.
	store := func(conditional http.HandlerFunc) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-None-Match") == "" {
				service.ServeHTTP(w, r)
			} else {
				conditional(w, r)
			}
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	for _, test := range []struct{ name, url, says, comes string }{
		{"honours", store(service.ServeHTTP), "honoured", ""},
		{"ignores", store(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-None-Match")
			service.ServeHTTP(w, r)
		}), "ignored", "would lock nothing"},
		{"refuses", store(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotImplemented)
			_, _ = io.WriteString(w, "<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not implemented.</Message></Error>")
		}), "refused", "no apply would begin"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := Run(t.Context(), []string{"state-doctor", "--bucket", test.url + "/states"}, []string{"AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret"}, terminal{&out, io.Discard})
			holds := test.says == "honoured"
			if (err == nil) != holds || !holds && statusOf(err) != 1 || !strings.Contains(out.String(), test.says) || !strings.Contains(out.String(), test.comes) || strings.Contains(out.String(), "one writer only") == holds {
				t.Errorf("%v, want %s, and alternatives unless it is honoured\n%s", err, test.says, out.String())
			}
		})
	}
}
