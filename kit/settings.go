package kit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"tienda/cloudconfig"
)

// settings are the layers of one service's configuration, highest precedence first: flags,
// environment, configuration server, built-in files; behind them the defaults in the structs they
// are bound to.
type settings struct {
	service string
	opts    Options
	environ map[string]string
	builtIn *cloudconfig.Environment
	remote  *cloudconfig.Client // nil without a configuration server
	log     *slog.Logger

	mu       sync.Mutex
	served   *cloudconfig.Environment // nil until the configuration server answered
	watchers []func()
}

// configTimeout bounds each question to the configuration server, at start too.
const configTimeout = 3 * time.Second

func loadSettings(ctx context.Context, opts Options, service string, log *slog.Logger) (*settings, error) {
	s := &settings{service: service, opts: opts, environ: map[string]string{}, log: log}
	for _, pair := range opts.Environ {
		if name, value, ok := strings.Cut(pair, "="); ok {
			s.environ[strings.ToUpper(name)] = value
		}
	}
	var err error
	if s.builtIn, err = builtInFiles(ctx, opts, service); err != nil {
		return nil, err
	}
	uri, optional := s.configServer()
	if uri != "" && service != "cloud-config" {
		s.remote = cloudconfig.NewClient(uri, &http.Client{Timeout: configTimeout})
		served, err := s.fetch(ctx)
		if err != nil && !optional {
			if served, err = s.insist(ctx, err); err != nil {
				return nil, fmt.Errorf("settings from %s: %w (write spring.config.import=optional:configserver:… to start without)", uri, err)
			}
		}
		if err != nil {
			log.WarnContext(ctx, "configuration server does not answer, starting with the built-in settings", "err", err)
		}
		s.served = served
	}
	return s, s.checkKnown()
}

// builtInFiles reads the built-in configuration through the same server that serves it, so that both
// have the same order of precedence.
func builtInFiles(ctx context.Context, opts Options, service string) (*cloudconfig.Environment, error) {
	if opts.Files == nil {
		return &cloudconfig.Environment{}, nil
	}
	server, err := cloudconfig.NewServer(cloudconfig.DefaultSettings(), opts.Files)
	if err != nil {
		return nil, fmt.Errorf("built-in settings: %w", err)
	}
	client := cloudconfig.NewClient("http://built-in", &http.Client{Transport: direct{server}})
	environment, err := client.Fetch(ctx, service, profiles(opts), "")
	if err != nil {
		return nil, fmt.Errorf("built-in settings: %w", err)
	}
	return environment, nil
}

func profiles(opts Options) string {
	if len(opts.Profiles) == 0 {
		return "default"
	}
	return strings.Join(opts.Profiles, ",")
}

// configServer is where spring.config.import points, and whether it may be absent.
func (s *settings) configServer() (uri string, optional bool) {
	value := "optional:configserver:http://localhost:9296"
	if text, ok := s.own("spring.config.import"); ok {
		value = text
	}
	rest, isOptional := strings.CutPrefix(value, "optional:")
	uri, ok := strings.CutPrefix(rest, "configserver:")
	if !ok {
		return "", true // another kind of import; none of ours
	}
	return uri, isOptional
}

// own looks a single key up in flags and environment, the layers that are there before any other.
func (s *settings) own(key string) (string, bool) {
	if value, ok := s.flagged(key); ok {
		return value, true
	}
	for _, name := range environmentNames(key) {
		if value, ok := s.environ[name]; ok {
			return value, true
		}
	}
	return "", false
}

func (s *settings) fetch(ctx context.Context) (*cloudconfig.Environment, error) {
	ctx, cancel := context.WithTimeout(ctx, configTimeout)
	defer cancel()
	served, err := s.remote.Fetch(ctx, s.service, profiles(s.opts), "")
	if errors.Is(err, cloudconfig.ErrNotFound) {
		return &cloudconfig.Environment{}, nil
	}
	return served, err
}

// Pauses between attempts to get settings that must be had, as Spring's client makes them.
const (
	configAttempts   = 6
	configPause      = time.Second
	configLongest    = 2 * time.Second
	configMultiplier = 1.1
)

// insist goes on asking a configuration server that must answer, as often as spring.cloud.config.retry.max-attempts says.
func (s *settings) insist(ctx context.Context, err error) (*cloudconfig.Environment, error) {
	attempts := configAttempts
	if text, ok := s.own("spring.cloud.config.retry.max-attempts"); ok {
		n, errNumber := strconv.Atoi(text)
		if errNumber != nil || n < 1 {
			return nil, fmt.Errorf("spring.cloud.config.retry.max-attempts is %q: want a number from 1 on", text)
		}
		attempts = n
	}
	if attempts > 1 {
		s.log.WarnContext(ctx, "the configuration server does not answer yet", "err", err)
	}
	pause := configPause
	for n := 1; n < attempts; n++ {
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
		var served *cloudconfig.Environment
		if served, err = s.fetch(ctx); err == nil {
			return served, nil
		}
		pause = min(time.Duration(float64(pause)*configMultiplier), configLongest)
	}
	return nil, err
}

// poll asks the configuration server again and again, and tells the watchers when something changed.
func (s *settings) poll(ctx context.Context, every time.Duration) {
	if s.remote == nil || every <= 0 {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
		served, err := s.fetch(ctx)
		if err != nil {
			continue // what was served last stays; at start a warning told of it
		}
		s.mu.Lock()
		before := s.served
		s.served = served
		watchers := s.watchers
		s.mu.Unlock()
		if before == served {
			continue
		}
		if err := s.checkKnown(); err != nil {
			s.log.WarnContext(ctx, "changed settings are not used", "err", err)
			s.mu.Lock()
			s.served = before
			s.mu.Unlock()
			continue
		}
		s.log.InfoContext(ctx, "settings changed")
		for _, changed := range watchers {
			changed()
		}
	}
}

func (s *settings) watch(changed func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, changed)
}

// entry is one setting with where it comes from, for messages.
type entry struct {
	key    string
	value  any
	origin string
}

// merged are the settings of the layers that list their keys: built-in files, configuration server
// and flags. The environment cannot be listed, since its names do not say where a key's dots are; it
// is asked for each key when a struct is bound.
func (s *settings) merged() map[string]entry {
	s.mu.Lock()
	served := s.served
	s.mu.Unlock()
	all := map[string]entry{}
	add := func(layer map[string]any, origin func(key string) string) {
		for key := range layer {
			if list, _, ok := strings.Cut(key, "["); ok { // a list replaces the list below it as a whole
				dropList(all, canonical(list)+"[")
			}
		}
		for key, value := range layer {
			all[canonical(key)] = entry{key, value, origin(key)}
		}
	}
	add(anyValues(s.opts.Defaults[s.service]), func(string) string { return "the defaults" })
	add(s.builtIn.Flat(), s.builtIn.Origin)
	if served != nil {
		add(served.Flat(), served.Origin)
	}
	for _, flags := range []map[string]string{s.opts.Flags, s.opts.Overrides[s.service]} {
		add(anyValues(flags), func(string) string { return "the command line" })
	}
	return all
}

func anyValues(texts map[string]string) map[string]any {
	values := make(map[string]any, len(texts))
	for key, text := range texts {
		values[key] = text
	}
	return values
}

func dropList(all map[string]entry, prefix string) {
	for key := range all {
		if strings.HasPrefix(key, prefix) {
			delete(all, key)
		}
	}
}

// checkKnown refuses keys below "tienda" that nobody reads: most often they are misspelt.
func (s *settings) checkKnown() error {
	if s.opts.Known == nil {
		return nil
	}
	for key, e := range s.merged() {
		if !strings.HasPrefix(key, "tienda.") || isKnown(key, s.opts.Known) {
			continue
		}
		return fmt.Errorf("unknown setting %s in %s: did you mean %s?", e.key, e.origin, nearest(key, s.opts.Known))
	}
	return nil
}

// isKnown compares with the known keys; one that ends in ".*" stands for all below it.
func isKnown(key string, known []string) bool {
	for _, k := range known {
		k = canonical(k)
		below, isMap := strings.CutSuffix(k, ".*")
		if key == k || (isMap && strings.HasPrefix(key, below+".")) || strings.HasPrefix(key, k+"[") {
			return true
		}
	}
	return false
}

// nearest is the known key with the fewest letters to change.
func nearest(key string, known []string) string {
	best, least := "", 1<<30
	for _, k := range known {
		if d := distance(key, canonical(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
