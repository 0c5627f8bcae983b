package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"tienda/api"
)

// AccessRow says who may use one operation of a service. The gateway applies the rows it knows and
// leaves paths that no row covers to the service, which verifies again in any case.
type AccessRow struct {
	Method  string // empty: every method
	Pattern string // of net/http's mux, with the context path: "/order-service/api/orders/{orderId}"
	// Access is one or more of public, user, owner, admin and service, as in "admin or service"; with
	// several, any suffices.
	Access string
	// Origin marks the resources of the original system, which Deps.Open opens to everybody.
	Origin bool
}

// accessRule is a row in terms of what the gateway can check.
type accessRule struct{ public, user, admin, origin bool }

// accessTree finds the rule of a path as net/http's mux finds a handler: literal segments win over
// wildcards. A trailing slash makes no difference, as with the services.
type accessTree struct {
	literal map[string]*accessTree
	wild    *accessTree
	here    map[string]accessRule // by method
	below   map[string]accessRule // this and everything below
}

func newAccessTree(rows []AccessRow) (*accessTree, error) {
	root := new(accessTree)
	for _, row := range rows {
		if err := root.add(row); err != nil {
			return nil, fmt.Errorf("access row %q: %w", strings.TrimSpace(row.Method+" "+row.Pattern), err)
		}
	}
	return root, nil
}

func (t *accessTree) add(row AccessRow) error {
	rule, err := parseAccess(row)
	if err != nil {
		return err
	}
	path, ok := strings.CutPrefix(row.Pattern, "/")
	if !ok {
		return fmt.Errorf("want a pattern that begins with a slash")
	}
	node, below := t, false
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch {
		case last && segment == "{$}":
		case last && (segment == "" || strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "...}")):
			below = true
		case strings.HasPrefix(segment, "{"):
			if node.wild == nil {
				node.wild = new(accessTree)
			}
			node = node.wild
		default:
			if node.literal == nil {
				node.literal = make(map[string]*accessTree)
			}
			if node.literal[segment] == nil {
				node.literal[segment] = new(accessTree)
			}
			node = node.literal[segment]
		}
	}
	rules := &node.here
	if below {
		rules = &node.below
	}
	if *rules == nil {
		*rules = make(map[string]accessRule)
	}
	if old, ok := (*rules)[row.Method]; ok && old != rule {
		return fmt.Errorf("another row with this pattern says otherwise")
	}
	(*rules)[row.Method] = rule
	return nil
}

func parseAccess(row AccessRow) (accessRule, error) {
	rule := accessRule{origin: row.Origin}
	words := strings.FieldsFunc(row.Access, func(c rune) bool { return c < 'a' || c > 'z' })
	if len(words) == 0 {
		return rule, fmt.Errorf("says nothing about access: want public, user, owner, admin or service")
	}
	for _, word := range words {
		switch word {
		case "public":
			rule.public = true
		case "user", "owner":
			rule.user = true
		case "admin":
			rule.admin = true
		case "service", "or":
			// Services do not come through the gateway.
		default:
			return rule, fmt.Errorf("access %q is unknown: want public, user, owner, admin or service", word)
		}
	}
	return rule, nil
}

func (t *accessTree) find(method string, segments []string) (accessRule, bool) {
	if n := len(segments); n > 0 && segments[n-1] == "" {
		segments = segments[:n-1]
	}
	return t.descend(method, segments)
}

func (t *accessTree) descend(method string, segments []string) (accessRule, bool) {
	if t == nil {
		return accessRule{}, false
	}
	if len(segments) == 0 {
		if rule, ok := ofMethod(t.here, method); ok {
			return rule, true
		}
		return ofMethod(t.below, method)
	}
	if rule, ok := t.literal[segments[0]].descend(method, segments[1:]); ok {
		return rule, true
	}
	if rule, ok := t.wild.descend(method, segments[1:]); ok {
		return rule, true
	}
	return ofMethod(t.below, method)
}

func ofMethod(rules map[string]accessRule, method string) (accessRule, bool) {
	rule, ok := rules[method]
	if !ok && method == http.MethodHead {
		rule, ok = rules[http.MethodGet]
	}
	if !ok {
		rule, ok = rules[""]
	}
	return rule, ok
}

// internal says that only services have business here.
func (rule accessRule) internal() bool { return !rule.public && !rule.user && !rule.admin }

// check refuses whom the rule does not admit. What is for services only does not exist out here.
func (rule accessRule) check(p Principal, open bool) error {
	switch {
	case rule.public || rule.user && p.Subject != "":
		return nil
	case rule.internal():
		return api.NotFound("there is nothing at this path")
	case open && rule.origin:
		return nil
	case rule.admin && slices.Contains(p.Roles, api.RoleAdmin):
		return nil
	case p.Subject == "":
		return api.Unauthorized("this needs a token: send Authorization: Bearer with one from POST /app/api/authenticate")
	}
	return api.Forbidden("this needs the role %s", api.RoleAdmin)
}
