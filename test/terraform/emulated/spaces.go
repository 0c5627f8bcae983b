package main

import (
	"io"
	"net/http"
	"sync"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// The provider of DigitalOcean calls each bucket by a name of its own below that of the region. No resolver knows these, so they are asked
// for through a proxy, which is what has the buckets.
const (
	regionOfSpaces  = "nyc3.spaces.example"
	addressOfSpaces = "http://{{.Region}}.spaces.example" // as the provider wants it
)

// spaces are buckets as the provider asks for them: beside objects and versions, rules of what expires. Those are kept and not followed.
type spaces struct {
	buckets http.Handler

	mu    sync.Mutex
	rules map[string][]byte // by the bucket's address
}

func newSpaces(store *s3mem.Backend) *spaces {
	return &spaces{rules: map[string][]byte{}, buckets: gofakes3.New(store, gofakes3.WithLogger(gofakes3.DiscardLog()), gofakes3.WithHostBucketBase(regionOfSpaces)).Server()}
}

// ServeHTTP answers one call.
func (s *spaces) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch query := r.URL.Query(); {
	case query.Has("acl") && r.Method == http.MethodPut: // nobody asks what it is
	case !query.Has("lifecycle"):
		s.buckets.ServeHTTP(w, r)
	case r.Method == http.MethodPut:
		text, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.rules[r.Host] = text
	case r.Method == http.MethodGet && s.rules[r.Host] == nil:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<Error><Code>NoSuchLifecycleConfiguration</Code></Error>") // whoever has gone does not need it
	case r.Method == http.MethodGet:
		_, _ = w.Write(s.rules[r.Host]) // likewise
	default:
		http.Error(w, "", http.StatusMethodNotAllowed)
	}
}
