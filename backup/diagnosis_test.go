package backup

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
)

// TestDiagnose: what a service makes of conditional writes is found out, and nothing is left of the attempt.
func TestDiagnose(t *testing.T) {
	t.Parallel()
	refuse := func(status int, code string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("If-None-Match") == "" {
				return false
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "<Error><Code>"+code+"</Code><Message>no</Message></Error>")
			return true
		}
	}
	for _, test := range []struct {
		name string
		how  func(http.ResponseWriter, *http.Request) bool
		want Conditional
		err  string
	}{
		{"honours", nil, Honoured, ""},
		{"ignores", func(_ http.ResponseWriter, r *http.Request) bool {
			r.Header.Del("If-None-Match")
			return false
		}, Ignored, ""},
		{"does not know", refuse(http.StatusNotImplemented, "NotImplemented"), Refused, ""},
		{"finds no argument for", refuse(http.StatusBadRequest, "InvalidArgument"), Refused, ""},
		{"denies", refuse(http.StatusForbidden, "AccessDenied"), "", "must be those of somebody who may read"},
		{"refuses the first", refuse(http.StatusPreconditionFailed, "PreconditionFailed"), "", "try again"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t)
			if err := s.backend.SetVersioningConfiguration("backups", gofakes3.VersioningConfiguration{Status: gofakes3.VersioningEnabled}); err != nil {
				t.Fatal(err)
			}
			s.failing(test.how)
			found, err := s.bucket(t).Diagnose(t.Context())
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want one with %q", err, test.err)
				}
			} else if err != nil || found.Conditional != test.want || found.Versions != "kept" {
				t.Errorf("found %+v, %v; want %q and versions that are kept", found, err, test.want)
			}
			left, err := s.backend.ListBucketVersions("backups", &gofakes3.Prefix{}, &gofakes3.ListBucketVersionsPage{})
			if err != nil || len(left.Versions) > 0 {
				t.Errorf("left behind: %v, %v", left.Versions, err)
			}
		})
	}
	found, err := newStand(t).bucket(t).Diagnose(t.Context())
	if err != nil || !strings.HasPrefix(found.Versions, "not kept") {
		t.Errorf("a bucket without versions: %+v, %v", found, err)
	}
}
