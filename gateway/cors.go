package gateway

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tienda/api"
)

// corsRule is one entry of spring.cloud.gateway.globalcors.cors-configurations. What it allows, the
// gateway answers itself; upstreams need no CORS settings of their own, and theirs are overruled.
type corsRule struct {
	pattern     pathPattern
	origins     []string // lower case, without a trailing slash
	patterns    []*regexp.Regexp
	methods     []string
	headers     []string
	exposed     string
	credentials bool
	maxAge      string
}

type corsTable []corsRule

func corsParameters() parameters {
	return parameters{names: []string{
		"allowedOrigins", "allowedOriginPatterns", "allowedMethods", "allowedHeaders", "exposedHeaders", "allowCredentials", "maxAge",
	}}
}

// parseCORS reads the globalcors section. Keys may be in camel or kebab case.
func parseCORS(section map[string]any) (corsTable, error) {
	const name = "spring.cloud.gateway.globalcors"
	var t corsTable
	for _, key := range slices.Sorted(maps.Keys(section)) {
		switch relaxed(key) {
		case "corsconfigurations":
		case "addtosimpleurlhandlermapping", "enabled":
			// Preflight requests are answered whatever routes there are.
			continue
		default:
			known := []string{"cors-configurations", "add-to-simple-url-handler-mapping"}
			return nil, fmt.Errorf("%s: there is no setting %q%s", name, key, suggest(key, known))
		}
		rules, ok := section[key].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s.%s: want path patterns such as '[/**]' with their settings", name, key)
		}
		for _, path := range slices.Sorted(maps.Keys(rules)) {
			settings, _ := rules[path].(map[string]any)
			rule, err := parseCORSRule(path, settings)
			if err != nil {
				return nil, fmt.Errorf("%s.%s.%s: %w", name, key, path, err)
			}
			t = append(t, rule)
		}
	}
	// The longer pattern is the more special one.
	slices.SortStableFunc(t, func(a, b corsRule) int { return cmp.Compare(len(b.pattern.text), len(a.pattern.text)) })
	return t, nil
}

func parseCORSRule(path string, settings map[string]any) (corsRule, error) {
	var rule corsRule
	pattern, err := parsePathPattern(strings.TrimSuffix(strings.TrimPrefix(path, "["), "]"))
	if err != nil {
		return rule, err
	}
	a, err := Definition{Args: settings}.arguments(corsParameters())
	if err != nil {
		return rule, err
	}
	rule = corsRule{
		pattern: pattern,
		methods: a.list("allowedMethods"),
		headers: a.list("allowedHeaders"),
		exposed: strings.Join(a.list("exposedHeaders"), ", "),
	}
	if len(rule.methods) == 0 {
		rule.methods = []string{http.MethodGet, http.MethodHead}
	}
	if rule.credentials, err = a.boolean("allowCredentials"); err != nil {
		return rule, err
	}
	for _, origin := range a.list("allowedOrigins") {
		if origin == "*" && rule.credentials {
			return rule, fmt.Errorf("allowedOrigins * does not go with allowCredentials: name the origins, or use allowedOriginPatterns")
		}
		rule.origins = append(rule.origins, strings.ToLower(strings.TrimSuffix(origin, "/")))
	}
	for _, text := range a.list("allowedOriginPatterns") {
		rule.patterns = append(rule.patterns, originPattern(text))
	}
	if len(a["maxAge"]) > 0 {
		seconds, err := a.integer("maxAge", 0, 0)
		if err != nil {
			return rule, err
		}
		rule.maxAge = strconv.Itoa(seconds)
	}
	return rule, nil
}

// originPattern is Spring's: * is any text of a host or port, ":[*]" any port or none.
func originPattern(text string) *regexp.Regexp {
	if text == "*" {
		return regexp.MustCompile("")
	}
	text, anyPort := strings.CutSuffix(strings.ToLower(strings.TrimSuffix(text, "/")), ":[*]")
	expr := strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, "[^/]*")
	if anyPort {
		expr += "(?::[0-9]+)?"
	}
	return regexp.MustCompile("^(?:" + expr + ")$")
}

// apply answers a preflight request (done is true then) and adds the CORS fields to what other
// requests are going to be answered. An origin that is not allowed is refused, as Spring does.
func (t corsTable) apply(x *Exchange) (done bool, err error) {
	i := slices.IndexFunc(t, func(rule corsRule) bool {
		return rule.pattern.matches(x.segments, true, func(string, string) {})
	})
	if i < 0 {
		return false, nil
	}
	rule := &t[i]
	x.Reply("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	origin := x.Header.Get("Origin")
	if origin == "" || sameOrigin(origin, x.Host) {
		return false, nil
	}
	allowed := rule.allow(origin)
	if allowed == "" {
		return false, api.Forbidden("requests from origin %q are not allowed", clip(origin))
	}
	method := x.Header.Get("Access-Control-Request-Method")
	preflight := x.Method == http.MethodOptions && method != ""
	if !preflight {
		method = x.Method
	}
	if !slices.Contains(rule.methods, method) && !slices.Contains(rule.methods, "*") {
		return false, api.Forbidden("method %q is not allowed from origin %q", clip(method), clip(origin))
	}
	x.Reply("Access-Control-Allow-Origin", allowed)
	if rule.credentials {
		x.Reply("Access-Control-Allow-Credentials", "true")
	}
	if !preflight {
		if rule.exposed != "" {
			x.Reply("Access-Control-Expose-Headers", rule.exposed)
		}
		return false, nil
	}
	if slices.Contains(rule.methods, "*") {
		x.Reply("Access-Control-Allow-Methods", method)
	} else {
		x.Reply("Access-Control-Allow-Methods", strings.Join(rule.methods, ", "))
	}
	asked := splitList(strings.Join(x.Header.Values("Access-Control-Request-Headers"), ","))
	for _, name := range asked {
		if !isToken(name) || !rule.allowsHeader(name) {
			return false, api.Forbidden("header %q is not allowed from origin %q", clip(name), clip(origin))
		}
	}
	if len(asked) > 0 {
		x.Reply("Access-Control-Allow-Headers", strings.Join(asked, ", "))
	}
	if rule.maxAge != "" {
		x.Reply("Access-Control-Max-Age", rule.maxAge)
	}
	return true, nil
}

// allow is the value of Access-Control-Allow-Origin for an origin, or nothing.
func (rule *corsRule) allow(origin string) string {
	lower := strings.ToLower(strings.TrimSuffix(origin, "/"))
	if slices.Contains(rule.origins, "*") {
		return "*"
	}
	if slices.Contains(rule.origins, lower) {
		return origin
	}
	for _, pattern := range rule.patterns {
		if pattern.MatchString(lower) {
			return origin
		}
	}
	return ""
}

func (rule *corsRule) allowsHeader(name string) bool {
	return slices.ContainsFunc(rule.headers, func(allowed string) bool {
		return allowed == "*" || strings.EqualFold(allowed, name)
	})
}

func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}
