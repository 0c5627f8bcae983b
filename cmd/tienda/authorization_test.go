package main

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tienda/api"
	"tienda/auth"
	"tienda/web"
)

// ownRefusals are rows that answer 401 to whom they admit, for what the request holds.
func ownRefusals() map[string]string {
	return map[string]string{
		"payment-service POST /api/webhooks/{provider}": "the signature is missing",
		"proxy-client POST /api/authenticate/refresh":   "the refresh token of the sample is none",
		"user-service POST /api/logins":                 "the password of the sample is wrong",
		"user-service POST /api/refresh-tokens/rotate":  "the refresh token of the sample is none",
		"user-service POST /api/refresh-tokens/revoke":  "the refresh token of the sample is none",
	}
}

// caller is somebody with a token, or with what is meant to look like one.
type caller struct {
	name  string
	token string
}

// The callers that every row is tried with.
const (
	nobody    = "nobody"
	expired   = "expired token"
	nonsense  = "no JWT"
	forged    = "forged user token"
	forgedOwn = "forged component token"
	owner     = "user 1"
	other     = "user 2"
	admin     = "admin"
	component = "component"
)

// callers are all of them. The component is the one that may use a service's rows.
func (s *system) callers(signing auth.SigningKey) []caller {
	s.tb.Helper()
	_, another, err := ed25519.GenerateKey(nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	issue := func(key auth.SigningKey, caller auth.Caller, now time.Time) string {
		token, err := auth.IssueUserToken(key, caller, now)
		if err != nil {
			s.tb.Fatal(err)
		}
		return token
	}
	adminCaller := auth.Caller{Username: "admin", UserID: 4, Roles: []string{api.RoleAdmin}}
	return []caller{
		{nobody, ""},
		{nonsense, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiIsInVpZCI6NCwicm9sZXMiOlsiUk9MRV9BRE1JTiJdfQ."},
		{expired, issue(signing, adminCaller, time.Now().Add(-time.Hour))},
		{forged, issue(auth.SigningKey{ID: signing.ID, Private: another}, adminCaller, time.Now())},
		{forgedOwn, serviceToken(s.tb, "order-service", another)},
		{other, issue(signing, auth.Caller{Username: "amineladjimi", UserID: 2, Roles: []string{api.RoleUser}}, time.Now())},
		{component, ""}, // lives a minute: minted for each call
		{owner, issue(signing, auth.Caller{Username: "selimhorri", UserID: 1, Roles: []string{api.RoleUser}}, time.Now())},
		{admin, issue(signing, adminCaller, time.Now())},
	}
}

// tokenFor is the caller's token on a row.
func (s *system) tokenFor(r row, c caller) string {
	if c.name != component {
		return c.token
	}
	if r.component == "user-service" {
		return s.asComponent("proxy-client")
	}
	return s.asComponent("order-service")
}

// verdict is the status with which a caller must be turned away; 0 when they are let in.
func verdict(r row, name string, direct bool) int {
	bad := name == expired || name == nonsense || name == forged || name == forgedOwn
	if !direct && name == component {
		return http.StatusUnauthorized
	}
	switch {
	case r.Access == web.Public:
		return 0
	case bad:
		return http.StatusUnauthorized
	case r.Access == web.Service && !direct:
		return http.StatusNotFound
	case name == nobody:
		return http.StatusUnauthorized
	}
	admitted := map[web.Access][]string{
		web.User:           {owner, other, admin},
		web.Owner:          {owner, other, admin},
		web.Admin:          {admin},
		web.Service:        {component},
		web.AdminOrService: {admin, component},
	}
	if slices.Contains(admitted[r.Access], name) {
		return 0
	}
	return http.StatusForbidden
}

// TestAuthorization tries every row of every component as everybody, through the gateway and at the
// component itself. First come all who are to be turned away and the user whose rows it is not: they
// must change and see nothing. Then come those who may.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	rows := allRows()
	for name := range ownRefusals() {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.String() == name }) {
			t.Errorf("ownRefusals names %q, which is no row", name)
		}
	}
	eachEngineUntraced(t, func(t *testing.T, s *system) {
		callers := s.callers(s.signingKey())
		tokens := map[string]string{}
		for _, c := range callers {
			tokens[c.name] = c.token
		}
		ids := s.furnish(tokens[owner])
		before := s.seenBy(tokens[owner], ids)
		private := map[string]map[string]bool{}
		for _, body := range before {
			var value any
			if json.Unmarshal([]byte(body), &value) == nil {
				idsIn(value, private)
			}
		}
		for _, shared := range []string{"productId", "categoryId"} {
			delete(private, shared)
		}
		for _, r := range rows {
			for _, direct := range []bool{false, true} {
				for _, c := range callers {
					if verdict(r, c.name, direct) != 0 {
						s.tryVerdict(r, c, direct, ids)
					}
				}
				s.tryForeign(r, direct, tokens[other], ids, private)
			}
		}
		after := s.seenBy(tokens[owner], ids)
		for path, body := range before {
			if after[path] != body {
				t.Errorf("what user 1 sees at %s has changed from\n%s\nto\n%s", path, body, after[path])
			}
		}
		for _, r := range rows {
			for _, direct := range []bool{false, true} {
				for _, c := range callers {
					foreign := r.Access == web.Owner && c.name == other // tried above
					if verdict(r, c.name, direct) == 0 && !foreign {
						s.tryVerdict(r, c, direct, ids)
					}
				}
			}
		}
	})
}

func door(direct bool) string {
	if direct {
		return "directly"
	}
	return "through the gateway"
}

// tryVerdict calls a row on user 1's things and checks who was let in.
func (s *system) tryVerdict(r row, c caller, direct bool, ids map[string]string) {
	s.tb.Helper()
	want := verdict(r, c.name, direct)
	var a answer
	for range 10 {
		var err error
		if a, err = s.do(r, direct, s.tokenFor(r, c), r.path(ids), withoutPassword(r.body(s.tb, ids))); err != nil {
			s.tb.Fatalf("%s: %v", r, err)
		}
		// Money of the order may be moving still, for whoever was let in before.
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			break
		}
		time.Sleep(time.Second)
	}
	_, refuses := ownRefusals()[r.String()]
	switch {
	case want != 0 && a.status != want:
		s.tb.Errorf("%s, %s as %s: %d %.300s, want %d", r, door(direct), c.name, a.status, a.body, want)
	case want == 0 && (a.status == http.StatusForbidden || a.status == http.StatusUnauthorized && !refuses || a.status >= 500):
		s.tb.Errorf("%s, %s as %s: %d %.300s, want them let in", r, door(direct), c.name, a.status, a.body)
	case want == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") == "":
		s.tb.Errorf("%s, %s as %s: a 401 without WWW-Authenticate", r, door(direct), c.name)
	}
	if want != 0 && bytes.Contains(a.body, []byte(mark)) {
		s.tb.Errorf("%s, %s as %s: %s shows user 1's data", r, door(direct), c.name, a.body)
	}
}

// isShared are wildcards that name what belongs to nobody.
func isShared(wildcard string) bool { return wildcard == "productId" || wildcard == "categoryId" }

// tryForeign calls an owner's row on user 1's things as user 2. Nothing may happen, nothing be seen,
// and what is somebody else's must look like what is not there at all.
func (s *system) tryForeign(r row, direct bool, token string, ids map[string]string, private map[string]map[string]bool) {
	s.tb.Helper()
	if r.Access != web.Owner && r.Access != web.User {
		return
	}
	path, body := r.path(ids), r.body(s.tb, ids)
	unknown := maps.Clone(ids)
	owned := 0
	for _, name := range r.wildcards() {
		switch {
		case isShared(name):
		case name == "likeDate": // the moment is part of a key whose owner is another part
			owned++
		default:
			unknown[name] = "999999"
			owned++
		}
	}
	paths := []string{path}
	if query := r.queryFor(ids); query != "" {
		paths = append(paths, path+"?"+query)
		for name := range strings.SplitSeq(query, "&") {
			paths = append(paths, path+"?"+name)
		}
	}
	for _, path := range paths {
		a, err := s.do(r, direct, token, path, body)
		if err != nil {
			s.tb.Fatalf("%s: %v", r, err)
		}
		where := fmt.Sprintf("%s, %s at %s as user 2", r, door(direct), path)
		s.showsNothing(where, a, private)
		isWrite := r.Method != http.MethodGet && r.Access == web.Owner
		if a.status < 300 && (owned > 0 || isWrite) {
			s.tb.Errorf("%s with %s: %d %s, want it refused", where, body, a.status, a.body)
		}
		if owned == 0 {
			continue
		}
		none, err := s.do(r, direct, token, r.path(unknown), r.body(s.tb, unknown))
		if err != nil {
			s.tb.Fatalf("%s: %v", r, err)
		}
		if a.status != none.status || blur(a, ids) != blur(none, unknown) {
			s.tb.Errorf("%s: %d %s\nbut where there is nothing: %d %s; want no difference", where, a.status, a.body, none.status, none.body)
		}
	}
}

// queryFor fills the declared query parameters that choose rows with user 1's ids.
func (r row) queryFor(ids map[string]string) string {
	values := url.Values{}
	for _, declared := range r.Query {
		name, _, _ := strings.Cut(declared, "?")
		switch id, ok := ids[name]; {
		case ok:
			values.Set(name, id)
		case name == "orderIds":
			values.Set(name, ids["orderId"])
		case name == "ids":
			values.Set(name, strings.Join([]string{ids["userId"], ids["addressId"], ids["cartId"], ids["orderId"], ids["paymentId"]}, ","))
		}
	}
	return values.Encode()
}

// showsNothing checks that no row of user 1 is in an answer.
func (s *system) showsNothing(where string, a answer, private map[string]map[string]bool) {
	s.tb.Helper()
	if bytes.Contains(a.body, []byte(mark)) {
		s.tb.Errorf("%s: %.500s shows user 1's data", where, a.body)
		return
	}
	var value any
	if json.Unmarshal(a.body, &value) != nil {
		return
	}
	found := map[string]map[string]bool{}
	idsIn(value, found)
	for name, ids := range found {
		for id := range ids {
			if private[name][id] {
				s.tb.Errorf("%s: %d %.500s shows %s %s, which is user 1's", where, a.status, a.body, name, id)
			}
		}
	}
}

// blur is the message of an answer without what was asked for.
func blur(a answer, values map[string]string) string {
	var problem api.Problem
	if json.Unmarshal(a.body, &problem) != nil {
		return string(a.body)
	}
	text := problem.Msg
	longest := slices.SortedFunc(maps.Values(values), func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, value := range longest {
		if len(value) > 3 {
			text = strings.ReplaceAll(text, value, "…")
		}
	}
	return regexp.MustCompile(`\d+`).ReplaceAllString(text, "…")
}

// seenBy is the answer to every read that user 1 may make, of what only user 1 can change.
func (s *system) seenBy(token string, ids map[string]string) map[string]string {
	s.tb.Helper()
	seen := map[string]string{}
	for _, r := range allRows() {
		if r.Method != http.MethodGet || (r.Access != web.Owner && r.Access != web.User) {
			continue
		}
		path := r.path(ids)
		if strings.HasSuffix(path, "/find") {
			path += "?" + r.queryFor(ids) // names in the query what others name in the path
		}
		a, err := s.do(r, false, token, path, r.body(s.tb, ids))
		if err != nil {
			s.tb.Fatal(err)
		}
		if a.status != http.StatusOK {
			s.tb.Errorf("%s as user 1: %d %s, want 200", path, a.status, a.body)
		}
		seen[path] = string(a.body)
	}
	return seen
}
