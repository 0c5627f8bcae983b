package kit

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"

	"tienda/cloudconfig"
)

// separators are what spellings of a setting differ in.
var separators = strings.NewReplacer("-", "", "_", "")

// canonical is the form in which keys compare: Spring's relaxed binding ignores case, hyphens and
// underscores.
func canonical(key string) string {
	return separators.Replace(strings.ToLower(key))
}

// environmentNames are the variables that a key is bound from: Spring's own form without hyphens
// (SPRING_DATASOURCE_URL, EUREKA_CLIENT_SERVICEURL_DEFAULTZONE) and the spelling with an underscore
// for each hyphen that many manifests use.
func environmentNames(key string) []string {
	key = strings.NewReplacer("[", "_", "]", "").Replace(key)
	dots := strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
	return []string{strings.ReplaceAll(dots, "-", ""), strings.ReplaceAll(dots, "-", "_")}
}

// Bind copies the settings under prefix into the struct that dst points to.
func (s *settings) Bind(prefix string, dst any) error {
	all := s.merged()
	for _, key := range keysOf(prefix, reflect.TypeOf(dst).Elem()) {
		key, isMap := strings.CutSuffix(key, ".*")
		for _, name := range environmentNames(key) {
			if isMap {
				s.environmentMap(all, key, name+"_")
				continue
			}
			if value, ok := s.environ[name]; ok {
				if _, flagged := s.flagged(key); !flagged {
					dropList(all, canonical(key)+"[")
					all[canonical(key)] = entry{key, value, "the environment variable " + name}
				}
			}
		}
	}
	tree := map[string]any{}
	for key, e := range all {
		below, ok := strings.CutPrefix(key, canonical(prefix)+".")
		if prefix == "" {
			below, ok = key, true
		}
		if !ok || below == "" {
			continue
		}
		value := e.value
		if text, isText := value.(string); isText {
			value = cloudconfig.Resolve(text, func(name string) (string, bool) { return s.lookup(all, name) })
		}
		put(tree, splitKey(trimPrefix(e.key, prefix)), value)
	}
	for key, member := range tree {
		tree[key] = lists(member)
	}
	k := koanf.New(".")
	if err := k.Load(confmap.Provider(tree, ""), nil); err != nil {
		return fmt.Errorf("settings under %s: %w", prefix, err)
	}
	err := k.UnmarshalWithConf("", dst, koanf.UnmarshalConf{Tag: "koanf", DecoderConfig: &mapstructure.DecoderConfig{
		Result: dst, TagName: "koanf", WeaklyTypedInput: true,
		ErrorUnused: strings.HasPrefix(prefix, "tienda."),
		MatchName:   func(key, field string) bool { return canonical(key) == canonical(field) },
		DecodeHook:  mapstructure.ComposeDecodeHookFunc(durationHook, mapstructure.TextUnmarshallerHookFunc(), listHook),
	}})
	if err != nil {
		return fmt.Errorf("settings under %s: %s", prefix, words(err))
	}
	return nil
}

// trimPrefix takes prefix off a key that may be spelt in another relaxed form.
func trimPrefix(key, prefix string) string {
	if prefix == "" {
		return key
	}
	for range strings.Count(prefix, ".") + 1 {
		_, key, _ = strings.Cut(key, ".")
	}
	return key
}

func (s *settings) flagged(key string) (string, bool) {
	for _, flags := range []map[string]string{s.opts.Overrides[s.service], s.opts.Flags} {
		for name, value := range flags {
			if canonical(name) == canonical(key) {
				return value, true
			}
		}
	}
	return "", false
}

// environmentMap takes the members of a map from the variables that begin with its name: the rest of
// the name is the member's key in lower case, with hyphens for underscores.
func (s *settings) environmentMap(all map[string]entry, key, prefix string) {
	for name, value := range s.environ {
		if member, ok := strings.CutPrefix(name, prefix); ok && member != "" {
			full := key + "." + strings.ReplaceAll(strings.ToLower(member), "_", "-")
			all[canonical(full)] = entry{full, value, "the environment variable " + name}
		}
	}
}

// lookup resolves a ${name}: a variable of that very name, a key of the settings, or a key's variable.
func (s *settings) lookup(all map[string]entry, name string) (string, bool) {
	if value, ok := s.environ[name]; ok {
		return value, true
	}
	if e, ok := all[canonical(name)]; ok {
		return fmt.Sprint(e.value), true
	}
	return s.own(name)
}

// splitKey splits "a.b[0].c" and "a[/**].b" into their members; an index is kept as "[0]".
func splitKey(key string) []string {
	var members []string
	for key != "" {
		end := strings.IndexAny(key, ".[")
		switch {
		case end < 0:
			return append(members, key)
		case key[end] == '.':
			members = append(members, key[:end])
			key = key[end+1:]
		case end > 0:
			members = append(members, key[:end])
			key = key[end:]
		default:
			stop := strings.IndexByte(key, ']')
			if stop < 0 {
				return append(members, key)
			}
			member := key[1:stop]
			if _, err := strconv.Atoi(member); err == nil {
				member = "[" + member + "]"
			}
			members = append(members, member)
			key = strings.TrimPrefix(key[stop+1:], ".")
		}
	}
	return members
}

// put sets a value in a tree of maps; lists are maps with the keys "[0]", "[1]", … until [lists]
// turns them around.
func put(tree map[string]any, members []string, value any) {
	for i, member := range members {
		if i == len(members)-1 {
			tree[member] = value
			break
		}
		next, ok := tree[member].(map[string]any)
		if !ok {
			next = map[string]any{}
			tree[member] = next
		}
		tree = next
	}
}

// KeysOf lists the keys that a struct with koanf tags binds under prefix; a map's ends in ".*".
func KeysOf(prefix string, value any) []string { return keysOf(prefix, reflect.TypeOf(value)) }

func keysOf(prefix string, t reflect.Type) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Map:
		return []string{prefix + ".*"}
	case t.Kind() != reflect.Struct || t.NumField() == 0 || !hasTags(t):
		return []string{prefix}
	}
	var keys []string
	for field := range t.Fields() {
		tag, _, _ := strings.Cut(field.Tag.Get("koanf"), ",")
		if tag == "" || tag == "-" {
			continue
		}
		key := tag
		if prefix != "" {
			key = prefix + "." + tag
		}
		keys = append(keys, keysOf(key, field.Type)...)
	}
	return keys
}

func hasTags(t reflect.Type) bool {
	for field := range t.Fields() {
		if field.Tag.Get("koanf") != "" {
			return true
		}
	}
	return false
}

// words makes an error of mapstructure readable in one line.
func words(err error) string {
	text := strings.ReplaceAll(err.Error(), "decoding failed due to the following error(s):\n\n", "")
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
}

// lists turns maps whose keys are all "[0]", "[1]", … into slices, from the leaves up.
func lists(value any) any {
	tree, ok := value.(map[string]any)
	if !ok {
		return value
	}
	isList := len(tree) > 0
	for key, member := range tree {
		tree[key] = lists(member)
		isList = isList && strings.HasPrefix(key, "[")
	}
	if !isList {
		return tree
	}
	list := make([]any, 0, len(tree))
	for i := range maxList {
		member, ok := tree["["+strconv.Itoa(i)+"]"]
		if !ok {
			break
		}
		list = append(list, member)
	}
	return list
}

// maxList bounds the elements of a list in the settings.
const maxList = 100_000

// listHook reads lists in one text, "stage, production": as Spring does, without the blanks around each element.
func listHook(_, to reflect.Type, value any) (any, error) {
	text, ok := value.(string)
	if !ok || to != reflect.TypeFor[[]string]() {
		return value, nil
	}
	if text == "" {
		return []string{}, nil
	}
	elements := strings.Split(text, ",")
	for i, element := range elements {
		elements[i] = strings.TrimSpace(element)
	}
	return elements, nil
}

// durationHook reads durations: "15m" as Go and Spring write them, and a bare number as Spring's
// milliseconds.
func durationHook(_, to reflect.Type, value any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() {
		return value, nil
	}
	text := strings.TrimSpace(fmt.Sprint(value))
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Duration(ms) * time.Millisecond, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a duration such as 500ms, 30s, 15m or 72h", text)
	}
	return d, nil
}

// direct answers requests by a handler in this process.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := &buffered{header: http.Header{}, status: http.StatusOK}
	d.handler.ServeHTTP(answer, r)
	return &http.Response{StatusCode: answer.status, Header: answer.header, Body: io.NopCloser(&answer.body), Request: r}, nil
}

// buffered keeps an answer in memory.
type buffered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffered) Header() http.Header            { return b.header }
func (b *buffered) WriteHeader(status int)         { b.status = status }
func (b *buffered) Write(data []byte) (int, error) { return b.body.Write(data) }
