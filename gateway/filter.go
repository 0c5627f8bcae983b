package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A Filter changes an exchange: Request on its way to the upstream, where an error ends it, and
// Response on the way back, in the reverse order of the filters. Either may be nil.
type Filter struct {
	Request  func(*Exchange) error
	Response func(*Exchange)
}

type filterFactory struct {
	parameters
	build func(*builder, *route, arguments) error
}

// filterFactories are the filters by Spring's names, and MapStatus.
func filterFactories() map[string]filterFactory {
	header := parameters{names: []string{"name", "value"}, required: 2}
	return map[string]filterFactory{
		"StripPrefix":          {parameters{names: []string{"parts"}}, stripPrefix},
		"PrefixPath":           {parameters{names: []string{"prefix"}, required: 1}, prefixPath},
		"RewritePath":          {parameters{names: []string{"regexp", "replacement"}, required: 2}, rewritePath},
		"SetPath":              {parameters{names: []string{"template"}, required: 1}, setPath},
		"AddRequestHeader":     {header, requestHeader(Header.Add)},
		"SetRequestHeader":     {header, requestHeader(Header.Set)},
		"RemoveRequestHeader":  {parameters{names: []string{"name"}, required: 1}, removeRequestHeader},
		"AddResponseHeader":    {header, responseHeader(Header.Add)},
		"SetResponseHeader":    {header, responseHeader(Header.Set)},
		"RemoveResponseHeader": {parameters{names: []string{"name"}, required: 1}, removeResponseHeader},
		"DedupeResponseHeader": {parameters{names: []string{"name", "strategy"}, required: 1}, dedupeResponseHeader},
		"SetStatus":            {parameters{names: []string{"status"}, required: 1}, setStatus},
		"MapStatus":            {parameters{names: []string{"statuses"}, required: 1, list: true}, mapStatus},
		"RequestRateLimiter":   {rateLimiterParameters(), requestRateLimiter},
		"CircuitBreaker":       {parameters{names: []string{"name", "fallbackUri", "statusCodes"}, required: 1}, circuitBreaker},
		"Retry":                {retryParameters(), retry},
	}
}

func stripPrefix(_ *builder, r *route, a arguments) error {
	parts, err := a.integer("parts", 1, 1)
	if err != nil {
		return err
	}
	r.onRequest(func(x *Exchange) error {
		rest := x.Path
		for range parts {
			_, after, found := strings.Cut(rest[1:], "/")
			rest = "/" + after
			if !found {
				break
			}
		}
		x.Path = rest
		return nil
	})
	return nil
}

func prefixPath(_ *builder, r *route, a arguments) error {
	prefix, err := parsePathTemplate(a.text("prefix"))
	if err != nil {
		return err
	}
	r.onRequest(func(x *Exchange) error {
		x.Path = strings.TrimSuffix(prefix.path(x), "/") + x.Path
		return nil
	})
	return nil
}

func setPath(_ *builder, r *route, a arguments) error {
	path, err := parsePathTemplate(a.text("template"))
	if err != nil {
		return err
	}
	r.onRequest(func(x *Exchange) error {
		x.Path = path.path(x)
		return nil
	})
	return nil
}

func rewritePath(_ *builder, r *route, a arguments) error {
	match, err := compileRegexp(a.text("regexp"), false)
	if err != nil {
		return err
	}
	replacement, err := javaReplacement(a.text("replacement"), match)
	if err != nil {
		return err
	}
	r.onRequest(func(x *Exchange) error {
		x.Path = match.ReplaceAllString(x.Path, replacement)
		return nil
	})
	return nil
}

func requestHeader(change func(h Header, name, value string)) func(*builder, *route, arguments) error {
	return func(_ *builder, r *route, a arguments) error {
		name, value, err := headerTemplate(a)
		if err != nil {
			return err
		}
		if strings.EqualFold(name, "Host") {
			return fmt.Errorf("the Host of a request is the upstream's and cannot be set")
		}
		r.onRequest(func(x *Exchange) error {
			change(x.Header, name, value.text(x))
			return nil
		})
		return nil
	}
}

func responseHeader(change func(h Header, name, value string)) func(*builder, *route, arguments) error {
	return func(_ *builder, r *route, a arguments) error {
		name, value, err := headerTemplate(a)
		if err != nil {
			return err
		}
		r.onResponse(func(x *Exchange) { change(x.ResponseHeader, name, value.text(x)) })
		return nil
	}
}

func headerTemplate(a arguments) (name string, value template, err error) {
	name = a.text("name")
	if err := headerName(name); err != nil {
		return "", nil, err
	}
	if i := strings.IndexFunc(a.text("value"), func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }); i >= 0 {
		return "", nil, fmt.Errorf("the value of %s has a control character", name)
	}
	value, err = parseTemplate(a.text("value"))
	return name, value, err
}

func headerName(name string) error {
	if !isToken(name) {
		return fmt.Errorf("%q is no header name", name)
	}
	return nil
}

func removeRequestHeader(_ *builder, r *route, a arguments) error {
	name := a.text("name")
	r.onRequest(func(x *Exchange) error {
		x.Header.Del(name)
		return nil
	})
	return headerName(name)
}

func removeResponseHeader(_ *builder, r *route, a arguments) error {
	name := a.text("name")
	r.onResponse(func(x *Exchange) { x.ResponseHeader.Del(name) })
	return headerName(name)
}

func dedupeResponseHeader(_ *builder, r *route, a arguments) error {
	names := strings.Fields(a.text("name"))
	for _, name := range names {
		if err := headerName(name); err != nil {
			return err
		}
	}
	var keep func(values []string) []string
	switch strategy := strings.ToUpper(a.text("strategy")); strategy {
	case "", "RETAIN_FIRST":
		keep = func(values []string) []string { return values[:1] }
	case "RETAIN_LAST":
		keep = func(values []string) []string { return values[len(values)-1:] }
	case "RETAIN_UNIQUE":
		keep = unique
	default:
		return fmt.Errorf("strategy is %q: want RETAIN_FIRST, RETAIN_LAST or RETAIN_UNIQUE", strategy)
	}
	r.onResponse(func(x *Exchange) {
		for _, name := range names {
			values := slices.Clone(x.ResponseHeader.Values(name))
			if len(values) < 2 {
				continue
			}
			x.ResponseHeader.Del(name)
			for _, value := range keep(values) {
				x.ResponseHeader.Add(name, value)
			}
		}
	})
	return nil
}

// unique drops repetitions and keeps the order.
func unique(values []string) []string {
	var kept []string
	for _, value := range values {
		if !slices.Contains(kept, value) {
			kept = append(kept, value)
		}
	}
	return kept
}

func setStatus(_ *builder, r *route, a arguments) error {
	status, err := parseStatus(a.text("status"))
	if err != nil {
		return err
	}
	r.onResponse(func(x *Exchange) { x.Status = status })
	return nil
}

// mapStatus changes single statuses: "MapStatus=201:200, 404:400". A problem document of the changed
// answer is made to say the same.
func mapStatus(_ *builder, r *route, a arguments) error {
	statuses := make(map[int]int)
	for _, pair := range a.list("statuses") {
		from, to, ok := strings.Cut(pair, ":")
		if !ok {
			return fmt.Errorf("%q: want pairs such as 404:400", pair)
		}
		old, err := parseStatus(from)
		if err != nil {
			return err
		}
		if _, ok := statuses[old]; ok {
			return fmt.Errorf("%d is mapped twice", old)
		}
		if statuses[old], err = parseStatus(to); err != nil {
			return err
		}
	}
	r.onResponse(func(x *Exchange) {
		if status, ok := statuses[x.Status]; ok {
			x.Status = status
			restateProblem(x)
		}
	})
	return nil
}

// parseStatus reads a final status: its number, or the name Spring gives it.
func parseStatus(text string) (int, error) {
	text = strings.TrimSpace(text)
	if n, err := strconv.Atoi(text); err == nil {
		if n < 200 || n > 599 {
			return 0, fmt.Errorf("status %d is not between 200 and 599", n)
		}
		return n, nil
	}
	for n := 200; n < 600; n++ {
		if http.StatusText(n) != "" && statusName(n) == strings.ToUpper(text) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%q is no HTTP status: want a number or a name such as BAD_REQUEST", text)
}

// A template is text with {variables} that Path and Host predicates captured. The odd elements are
// names. A variable nobody captured is empty.
type template []string

func parseTemplate(text string) (template, error) {
	var t template
	for {
		before, rest, found := strings.Cut(text, "{")
		t = append(t, before)
		if !found {
			return t, nil
		}
		name, after, found := strings.Cut(rest, "}")
		name = strings.TrimPrefix(name, "*")
		if !found || !isName(name) {
			return nil, fmt.Errorf("%q: want {name} of a variable from the Path or Host predicate", text)
		}
		t = append(t, name)
		text = after
	}
}

// parsePathTemplate reads a template of a path, escaped where need be.
func parsePathTemplate(text string) (template, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf("%q: a path begins with a slash", text)
	}
	t, err := parseTemplate(text)
	for i := 0; i < len(t); i += 2 {
		t[i] = (&url.URL{Path: t[i]}).EscapedPath()
	}
	return t, err
}

func (t template) text(x *Exchange) string {
	if len(t) == 1 {
		return t[0]
	}
	var b strings.Builder
	for i, part := range t {
		if i%2 == 1 {
			part = x.variables[part]
		}
		b.WriteString(part)
	}
	return b.String()
}

// path is the text with its variables escaped. The slashes of a {*rest} stay.
func (t template) path(x *Exchange) string {
	if len(t) == 1 {
		return t[0]
	}
	var b strings.Builder
	for i, part := range t {
		if i%2 == 0 {
			b.WriteString(part)
			continue
		}
		for j, segment := range strings.Split(x.variables[part], "/") {
			if j > 0 {
				b.WriteByte('/')
			}
			b.WriteString(url.PathEscape(segment))
		}
	}
	return b.String()
}
