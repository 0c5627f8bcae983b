package kit

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/cloudconfig"
)

type checkout struct {
	Wait   time.Duration     `koanf:"wait"`
	Tries  int               `koanf:"max-tries"`
	Zones  []string          `koanf:"zones"`
	Labels map[string]string `koanf:"labels"`
	Inner  struct {
		Enabled bool `koanf:"enabled"`
	} `koanf:"inner"`
}

func bindCheckout(t *testing.T, opts Options) (checkout, error) {
	t.Helper()
	if opts.Known == nil {
		opts.Known = KeysOf("tienda.checkout", checkout{})
	}
	if opts.Flags == nil {
		opts.Flags = map[string]string{"spring.config.import": ""}
	}
	s, err := loadSettings(t.Context(), opts, "order-service", slog.New(slog.DiscardHandler))
	if err != nil {
		return checkout{}, err
	}
	value := checkout{Wait: time.Second, Tries: 3}
	return value, s.Bind("tienda.checkout", &value)
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{
		"application.yml":       {Data: []byte("tienda: {checkout: {wait: 2s, max-tries: 4, zones: [a, b, c]}}")},
		"order-service.yml":     {Data: []byte("tienda: {checkout: {wait: 3s, zones: [d]}}")},
		"order-service-dev.yml": {Data: []byte("tienda: {checkout: {inner: {enabled: true}}}")},
		"user-service.yml":      {Data: []byte("tienda: {checkout: {wait: 9s}}")},
	}
	for name, c := range map[string]struct {
		opts Options
		want checkout
	}{
		"defaults of the struct": {Options{}, checkout{Wait: time.Second, Tries: 3}},
		"built-in files":         {Options{Files: files}, checkout{Wait: 3 * time.Second, Tries: 4, Zones: []string{"d"}}},
		"a profile": {Options{Files: files, Profiles: []string{"dev"}},
			checkout{Wait: 3 * time.Second, Tries: 4, Zones: []string{"d"}, Inner: struct {
				Enabled bool `koanf:"enabled"`
			}{true}}},
		"environment over files, in both spellings": {
			Options{Files: files, Environ: []string{"TIENDA_CHECKOUT_WAIT=4s", "TIENDA_CHECKOUT_MAXTRIES=5", "TIENDA_CHECKOUT_ZONES=x,y", "TIENDA_CHECKOUT_LABELS_SHOP_FRONT=blue"}},
			checkout{Wait: 4 * time.Second, Tries: 5, Zones: []string{"x", "y"}, Labels: map[string]string{"shop-front": "blue"}}},
		"a list with blanks":      {Options{Environ: []string{"TIENDA_CHECKOUT_ZONES= x, y "}}, checkout{Wait: time.Second, Tries: 3, Zones: []string{"x", "y"}}},
		"underscore for a hyphen": {Options{Environ: []string{"TIENDA_CHECKOUT_MAX_TRIES=6"}}, checkout{Wait: time.Second, Tries: 6}},
		"flags over environment": {
			Options{Environ: []string{"TIENDA_CHECKOUT_WAIT=4s"}, Flags: map[string]string{"spring.config.import": "", "tienda.checkout.wait": "250"}},
			checkout{Wait: 250 * time.Millisecond, Tries: 3}},
		"relaxed names": {Options{Flags: map[string]string{"spring.config.import": "", "tienda.checkout.maxTries": "7"}}, checkout{Wait: time.Second, Tries: 7}},
		"placeholders": {
			Options{Flags: map[string]string{"spring.config.import": "", "tienda.checkout.wait": "${PAUSE:5s}", "tienda.checkout.max-tries": "${TRIES}"}, Environ: []string{"TRIES=8"}},
			checkout{Wait: 5 * time.Second, Tries: 8}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := bindCheckout(t, c.opts)
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got)\n%s", err, diff)
			}
		})
	}
}

func TestWrongSettingsSayWhatAndWhere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts Options
		says []string
	}{
		"misspelt key in a file": {Options{Files: fstest.MapFS{"order-service.yml": {Data: []byte("tienda:\n  checkout:\n    max-tires: 3\n")}}},
			[]string{"tienda.checkout.max-tires", "order-service.yml", "did you mean tienda.checkout.max-tries"}},
		"unknown flag": {Options{Flags: map[string]string{"spring.config.import": "", "tienda.chekout.wait": "1s"}},
			[]string{"tienda.chekout.wait", "the command line", "tienda.checkout.wait"}},
		"no duration": {Options{Environ: []string{"TIENDA_CHECKOUT_WAIT=soon"}}, []string{`"soon" is not a duration`, "wait"}},
		"no number":   {Options{Environ: []string{"TIENDA_CHECKOUT_MAXTRIES=few"}}, []string{"max-tries"}},
		"no true":     {Options{Environ: []string{"TIENDA_CHECKOUT_INNER_ENABLED=perhaps"}}, []string{"enabled"}},
		"bad YAML":    {Options{Files: fstest.MapFS{"application.yml": {Data: []byte("a: [1")}}}, []string{"application.yml"}},
		"needed server": {Options{Flags: map[string]string{"spring.config.import": "configserver:http://127.0.0.1:1", "spring.cloud.config.retry.max-attempts": "1"}},
			[]string{"http://127.0.0.1:1", "optional:configserver:"}},
		"attempts": {Options{Flags: map[string]string{"spring.config.import": "configserver:http://127.0.0.1:1", "spring.cloud.config.retry.max-attempts": "many"}},
			[]string{"spring.cloud.config.retry.max-attempts", "many", "number"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := bindCheckout(t, c.opts)
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range c.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

// TestNeededServerIsWaitedFor: a component whose settings must be had starts when the configuration server has come, and with what it serves.
func TestNeededServerIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner, err := cloudconfig.NewServer(cloudconfig.DefaultSettings(), fstest.MapFS{"order-service.yml": {Data: []byte("tienda: {checkout: {wait: 7s}}")}})
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		s := &settings{service: "order-service", log: slog.New(slog.DiscardHandler)}
		s.remote = cloudconfig.NewClient("http://config", &http.Client{Transport: direct{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked < 5 {
				http.Error(w, "not yet", http.StatusServiceUnavailable)
				return
			}
			inner.ServeHTTP(w, r)
		})}})
		began := time.Now()
		served, err := s.insist(t.Context(), errors.New("nobody listens"))
		if err != nil || len(served.PropertySources) == 0 || asked != 5 {
			t.Errorf("after %d attempts: %+v, %v", asked, served, err)
		}
		if took := time.Since(began).Round(time.Millisecond); took != 6105*time.Millisecond {
			t.Errorf("five pauses took %v, want 1, 1.1, 1.21, 1.331 and 1.4641 s", took)
		}
		asked = -5
		if _, err := s.insist(t.Context(), errors.New("nobody listens")); err == nil || asked != 0 {
			t.Errorf("a server that does not come: %v after %d attempts more", err, asked+5)
		}
	})
}

// TestServedSettings: those of the configuration server win over the built-in ones, and a change is
// told to whoever watches.
func TestServedSettings(t *testing.T) {
	t.Parallel()
	wait := atomic.Int64{}
	wait.Store(10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		files := fstest.MapFS{"order-service.yml": {Data: fmt.Appendf(nil, "tienda: {checkout: {wait: %ds}}", wait.Load())}}
		inner, err := cloudconfig.NewServer(cloudconfig.DefaultSettings(), files)
		if err != nil {
			t.Error(err)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	opts := Options{
		Files: fstest.MapFS{"order-service.yml": {Data: []byte("tienda: {checkout: {wait: 3s, max-tries: 9}}")}},
		Flags: map[string]string{"spring.config.import": "optional:configserver:" + server.URL},
		Known: KeysOf("tienda.checkout", checkout{}),
	}
	s, err := loadSettings(t.Context(), opts, "order-service", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var got checkout
	if err := s.Bind("tienda.checkout", &got); err != nil || got.Wait != 10*time.Second || got.Tries != 9 {
		t.Errorf("bound %+v, %v", got, err)
	}
	changed := make(chan struct{}, 1)
	s.watch(func() { changed <- struct{}{} })
	done := make(chan struct{})
	go func() { defer close(done); s.poll(t.Context(), 5*time.Millisecond) }()
	wait.Store(11)
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told of the change")
	}
	if err := s.Bind("tienda.checkout", &got); err != nil || got.Wait != 11*time.Second {
		t.Errorf("bound after the change %+v, %v", got, err)
	}
}

func FuzzSplitKey(f *testing.F) {
	for _, seed := range []string{"a.b[0].c", "a[/**].b", "[", "a[", "a..b", "]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		members := splitKey(key)
		if len(members) > len(key)+1 {
			t.Fatalf("splitKey(%q) = %q", key, members)
		}
		tree := map[string]any{}
		if len(members) > 0 {
			put(tree, members, 1)
			lists(tree)
		}
	})
}
