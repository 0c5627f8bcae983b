package gateway

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RouteDefinition is a route as spring.cloud.gateway.routes has it.
type RouteDefinition struct {
	ID         string       `koanf:"id"`
	URI        string       `koanf:"uri"`
	Predicates []Definition `koanf:"predicates"`
	Filters    []Definition `koanf:"filters"`
	// Order ranks the routes, lowest first; equals keep the order they are written in.
	Order int `koanf:"order"`
	// Metadata is accepted and not used.
	Metadata map[string]any `koanf:"metadata"`
}

// Definition is a predicate or filter as it is written: in Spring's short form
// "StripPrefix=1", which is what UnmarshalText reads, or as a name with named arguments.
type Definition struct {
	Name string         `koanf:"name"`
	Args map[string]any `koanf:"args"`

	short string // what follows the = of the short form
}

// UnmarshalText reads the short form.
func (d *Definition) UnmarshalText(text []byte) error {
	name, short, found := strings.Cut(string(text), "=")
	name = strings.TrimSpace(name)
	if !isName(name) {
		return fmt.Errorf("%q: want Name=value, value, …", clip(string(text)))
	}
	if found && strings.TrimSpace(short) == "" {
		return fmt.Errorf("%q: nothing follows the =", clip(string(text)))
	}
	*d = Definition{Name: name, short: strings.TrimSpace(short)}
	return nil
}

// String is the definition as it may be written, for messages.
func (d Definition) String() string {
	switch {
	case d.short != "":
		return clip(d.Name + "=" + d.short)
	case len(d.Args) == 0:
		return d.Name
	}
	return clip(fmt.Sprintf("%s with args %v", d.Name, d.Args))
}

func clip(text string) string {
	if len(text) > 120 {
		return text[:120] + "…"
	}
	return text
}

// parameters says which arguments a predicate or filter takes, in the order of the short form. The
// first required ones must be given. When list is set, the first takes all values of the short form;
// otherwise the last takes the remaining text with its commas.
type parameters struct {
	names    []string
	required int
	list     bool
	longOnly bool // there is no short form
}

// arguments are the values of a definition under their canonical names.
type arguments map[string][]string

func (a arguments) text(name string) string { return strings.Join(a[name], ",") }

// list splits values at commas too: a list in YAML and one in a string are the same.
func (a arguments) list(name string) []string {
	var values []string
	for _, value := range a[name] {
		values = append(values, splitList(value)...)
	}
	return values
}

func (a arguments) integer(name string, least, standard int) (int, error) {
	text := a.text(name)
	if text == "" {
		return standard, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > 1<<30 {
		return 0, fmt.Errorf("%s is %q: want a whole number of at least %d", name, text, least)
	}
	return n, nil
}

func (a arguments) boolean(name string) (bool, error) {
	switch text := a.text(name); strings.ToLower(text) {
	case "true":
		return true, nil
	case "false", "":
		return false, nil
	default:
		return false, fmt.Errorf("%s is %q: want true or false", name, text)
	}
}

func (a arguments) duration(name string, standard time.Duration) (time.Duration, error) {
	text := a.text(name)
	if text == "" {
		return standard, nil
	}
	d, err := parseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

// parseDuration reads what Spring takes for one: "5s", "PT5S", or milliseconds.
func parseDuration(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if ms, err := strconv.ParseInt(text, 10, 32); err == nil && ms >= 0 {
		return time.Duration(ms) * time.Millisecond, nil
	}
	d, err := time.ParseDuration(strings.TrimPrefix(strings.ToLower(text), "pt"))
	if err != nil || d < 0 {
		return 0, fmt.Errorf(`%q is no duration: want "500ms", "5s", "1m", "PT5S" or milliseconds`, text)
	}
	return d, nil
}

// splitList cuts at the commas outside braces: {id:[0-9]{1,3}} is one value.
func splitList(text string) []string {
	var values []string
	depth, start := 0, 0
	for i := range len(text) + 1 {
		switch {
		case i == len(text) || text[i] == ',' && depth == 0:
			if value := strings.TrimSpace(text[start:i]); value != "" {
				values = append(values, value)
			}
			start = i + 1
		case text[i] == '{':
			depth++
		case text[i] == '}' && depth > 0:
			depth--
		}
	}
	return values
}

func (d Definition) arguments(p parameters) (arguments, error) {
	a := make(arguments)
	switch {
	case d.short != "" && p.longOnly:
		return nil, fmt.Errorf("has no short form: give its name and its args (%s)", strings.Join(p.names, ", "))
	case d.short != "" && len(p.names) == 0:
		return nil, errors.New("takes no arguments")
	case d.short != "" && p.list:
		a[p.names[0]] = splitList(d.short)
	case d.short != "":
		for i, value := range strings.SplitN(d.short, ",", len(p.names)) {
			if value = strings.TrimSpace(value); value != "" {
				a[p.names[i]] = []string{value}
			}
		}
	default:
		if err := a.collect("", d.Args, p); err != nil {
			return nil, err
		}
	}
	for _, name := range p.names[:p.required] {
		if len(a[name]) == 0 {
			return nil, fmt.Errorf("wants %s", strings.Join(p.names[:p.required], " and "))
		}
	}
	return a, nil
}

// collect reads the long form. Keys may be nested or dotted, in camel or kebab case, and
// "_genkey_0" is the first parameter, as Spring writes the short form out.
func (a arguments) collect(prefix string, args map[string]any, p parameters) error {
	for _, key := range slices.Sorted(maps.Keys(args)) {
		full := prefix + key
		if nested, ok := args[key].(map[string]any); ok {
			if err := a.collect(full+".", nested, p); err != nil {
				return err
			}
			continue
		}
		name := p.find(full)
		if name == "" {
			return fmt.Errorf("has no argument %q%s (it takes %s)", full, suggest(full, p.names), strings.Join(p.names, ", "))
		}
		switch value := args[key].(type) {
		case nil:
		case []any:
			for _, v := range value {
				a[name] = append(a[name], fmt.Sprint(v))
			}
		case []string:
			a[name] = append(a[name], value...)
		default:
			a[name] = append(a[name], strings.TrimSpace(fmt.Sprint(value)))
		}
	}
	return nil
}

func (p parameters) find(key string) string {
	if n, ok := strings.CutPrefix(key, "_genkey_"); ok {
		i, err := strconv.Atoi(n)
		switch {
		case err != nil || i < 0 || len(p.names) == 0:
			return ""
		case p.list:
			return p.names[0]
		case i < len(p.names):
			return p.names[i]
		}
		return ""
	}
	for _, name := range p.names {
		if relaxed(name) == relaxed(key) {
			return name
		}
	}
	return ""
}

// relaxed makes the spellings of one property name equal, as Spring's relaxed binding does.
func relaxed(name string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(name))
}

// suggest offers the known name that name most resembles, if any does.
func suggest(name string, known []string) string {
	best, least := "", len(name)/2+2
	for _, candidate := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(candidate)); d < least {
			best, least = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance is Levenshtein's: how many letters to insert, drop or change.
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
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
