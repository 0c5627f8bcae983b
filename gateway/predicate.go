package gateway

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// A Predicate decides whether a route takes an exchange. What it captures may be used by filters.
type Predicate func(*Exchange) bool

type predicateFactory struct {
	parameters
	build func(*route, arguments) (Predicate, error)
}

// predicateFactories are the predicates by Spring's names.
func predicateFactories() map[string]predicateFactory {
	return map[string]predicateFactory{
		"Path":   {parameters{names: []string{"patterns", "matchTrailingSlash", "pattern"}, list: true}, pathPredicate},
		"Method": {parameters{names: []string{"methods", "method"}, list: true}, methodPredicate},
		"Host":   {parameters{names: []string{"patterns", "pattern"}, list: true}, hostPredicate},
		"Header": {parameters{names: []string{"header", "regexp"}, required: 1}, headerPredicate},
		"Query":  {parameters{names: []string{"param", "regexp"}, required: 1}, queryPredicate},
	}
}

func pathPredicate(r *route, a arguments) (Predicate, error) {
	texts := append(a.list("patterns"), a.list("pattern")...)
	trailingSlash := true
	// The short form may end in the flag.
	if n := len(texts); n > 1 && (texts[n-1] == "true" || texts[n-1] == "false") {
		trailingSlash = texts[n-1] == "true"
		texts = texts[:n-1]
	}
	if len(a["matchTrailingSlash"]) > 0 {
		var err error
		if trailingSlash, err = a.boolean("matchTrailingSlash"); err != nil {
			return nil, err
		}
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("wants a pattern such as /order-service/**")
	}
	var patterns []pathPattern
	for _, text := range texts {
		p, err := parsePathPattern(text)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, p)
	}
	if r.label == r.id {
		r.label = patterns[0].text
	}
	return func(x *Exchange) bool {
		for i := range patterns {
			if patterns[i].matches(x.segments, trailingSlash, x.capture) {
				return true
			}
		}
		return false
	}, nil
}

func methodPredicate(_ *route, a arguments) (Predicate, error) {
	methods := append(a.list("methods"), a.list("method")...)
	if len(methods) == 0 {
		return nil, fmt.Errorf("wants methods such as GET,POST")
	}
	for i, method := range methods {
		methods[i] = strings.ToUpper(method)
		if !isName(methods[i]) {
			return nil, fmt.Errorf("%q is no method", method)
		}
	}
	return func(x *Exchange) bool { return slices.Contains(methods, x.Method) }, nil
}

// hostPredicate matches Ant patterns whose separator is the dot: "**.example.org", "{shop}.example.org".
// A pattern without a port matches any port.
func hostPredicate(_ *route, a arguments) (Predicate, error) {
	texts := append(a.list("patterns"), a.list("pattern")...)
	if len(texts) == 0 {
		return nil, fmt.Errorf("wants a pattern such as **.example.org")
	}
	type hostPattern struct {
		match    *regexp.Regexp
		withPort bool
	}
	var patterns []hostPattern
	for _, text := range texts {
		expr, err := hostExpression(text)
		if err != nil {
			return nil, err
		}
		match, err := compileRegexp(expr, true)
		if err != nil {
			return nil, fmt.Errorf("host pattern %q: %w", text, err)
		}
		patterns = append(patterns, hostPattern{match, strings.Contains(text, ":")})
	}
	return func(x *Exchange) bool {
		host := strings.ToLower(x.Host)
		bare := host
		if name, _, err := net.SplitHostPort(host); err == nil {
			bare = name
		}
		for _, p := range patterns {
			subject := bare
			if p.withPort {
				subject = host
			}
			groups := p.match.FindStringSubmatch(subject)
			for i, name := range p.match.SubexpNames() {
				if groups != nil && name != "" {
					x.capture(name, groups[i])
				}
			}
			if groups != nil {
				return true
			}
		}
		return false
	}, nil
}

func hostExpression(text string) (string, error) {
	var expr strings.Builder
	for rest := text; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "**."):
			expr.WriteString(`(?:[^.]+\.)*`)
			rest = rest[3:]
		case strings.HasPrefix(rest, "**"):
			expr.WriteString(`.*`)
			rest = rest[2:]
		case rest[0] == '*':
			expr.WriteString(`[^.]*`)
			rest = rest[1:]
		case rest[0] == '?':
			expr.WriteString(`[^.]`)
			rest = rest[1:]
		case rest[0] == '{':
			name, after, ok := strings.Cut(rest[1:], "}")
			if !ok || !isName(name) {
				return "", fmt.Errorf("host pattern %q: want {name}", text)
			}
			expr.WriteString(`(?P<` + name + `>[^.]+)`)
			rest = after
		default:
			expr.WriteString(regexp.QuoteMeta(strings.ToLower(rest[:1])))
			rest = rest[1:]
		}
	}
	return expr.String(), nil
}

func headerPredicate(_ *route, a arguments) (Predicate, error) {
	name := a.text("header")
	if !isToken(name) {
		return nil, fmt.Errorf("%q is no header name", name)
	}
	match, err := optionalRegexp(a.text("regexp"))
	if err != nil {
		return nil, err
	}
	return func(x *Exchange) bool {
		values := x.Header.Values(name)
		return len(values) > 0 && (match == nil || slices.ContainsFunc(values, match.MatchString))
	}, nil
}

func queryPredicate(_ *route, a arguments) (Predicate, error) {
	name := a.text("param")
	match, err := optionalRegexp(a.text("regexp"))
	if err != nil {
		return nil, err
	}
	return func(x *Exchange) bool {
		// What is malformed in the query is the service's to judge; the rest still counts here.
		query, _ := url.ParseQuery(x.RawQuery)
		values, found := query[name]
		return found && (match == nil || slices.ContainsFunc(values, match.MatchString))
	}, nil
}

func optionalRegexp(expr string) (*regexp.Regexp, error) {
	if expr == "" {
		return nil, nil
	}
	return compileRegexp(expr, true)
}

// isToken says whether text can be the name of a header field.
func isToken(text string) bool {
	for i := range len(text) {
		c := text[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return text != ""
}
