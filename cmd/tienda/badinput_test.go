package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// badLeaves are JSON values to put where a client should have put something else. Each comes with the
// name that failures show.
func badLeaves() [][2]string {
	return [][2]string{
		{"string", `"x"`},
		{"empty string", `""`},
		{"blank string", `"  \t "`},
		{"number", `7`},
		{"zero", `0`},
		{"negative number", `-1`},
		{"fraction", `0.005`},
		{"huge number", `1e308`},
		{"number beyond 64 bits", `9223372036854775808`},
		{"largest number", `9223372036854775807`},
		{"number as a string", `"9223372036854775808"`},
		{"boolean", `true`},
		{"null", `null`},
		{"object", `{"x":{"y":[1]}}`},
		{"list", `[1,"x",null,{}]`},
		{"empty object", `{}`},
		{"empty list", `[]`},
		{"long string", `"` + strings.Repeat("long ", 14_000) + `"`},
		{"NUL and control characters", `"a\u0000b\u0007\u001b[31m\u007f"`},
		{"emoji", `"👩‍👩‍👧‍👦🏴‍☠️"`},
		{"right to left", `"\u202e\u05e9\u05dc\u05d5\u05dd\u200f"`},
		{"half a surrogate pair", `"\ud800"`},
		{"invalid UTF-8", "\"\xff\xfe\xc3\x28\""},
		{"SQL", `"x' OR 1=1; DROP TABLE orders; --"`},
		{"markup", `"<script>alert(1)</script>&lt;"`},
		{"date that is none", `"99-99-9999__99:99:99:999999"`},
		{"date of year 0", `"01-01-0000__00:00:00:000000"`},
		{"last date", `"31-12-9999__23:59:59:999999"`},
	}
}

// badBodies are bodies that are no JSON object of anything.
func badBodies() [][2]string {
	return [][2]string{
		{"no body", ""},
		{"blanks", " \r\n\t "},
		{"null", "null"},
		{"empty list", "[]"},
		{"string", `"x"`},
		{"number", "7"},
		{"empty object", "{}"},
		{"broken JSON", `{"userId":1,`},
		{"broken string", `{"userId":"1`},
		{"trailing comma", `{"userId":1,}`},
		{"two values", `{}{}`},
		{"text", "hello, is anybody there?"},
		{"byte order mark", "\ufeff{}"},
		{"NUL", "\x00"},
		{"invalid UTF-8", "{\"\xff\":1}"},
		{"the same field twice", `{"userId":1,"userId":"x","userId":null}`},
		{"field names in capitals", `{"USERID":1,"ORDERID":1,"CARTID":1}`},
		{"deep objects", strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000)},
		{"deep lists", strings.Repeat("[", 10_001)},
		{"deep field", `{"user":` + strings.Repeat(`{"user":`, 9_000) + "null" + strings.Repeat("}", 9_001)},
		{"many fields", `{` + strings.Repeat(`"a":1,`, 100_000) + `"b":1}`},
		{"ten megabytes", `{"a":"` + strings.Repeat("x", 10<<20) + `"}`},
	}
}

// badSegments stand where an id, a name or a moment should, as they are on the wire.
func badSegments() []string {
	return []string{
		"0", "-1", "+1", "abc", "1.5", "1e3", "0x10", "99999999999999999999", "9223372036854775807", "1%20", "%C2%A01", "%00", "1%00", "%2e%2e%2f",
		"..%2f..%2fetc%2fpasswd", "%ff", "'%20OR%201=1--", "%F0%9F%91%A9", "%E2%80%AE", "null", "undefined", "%7BorderId%7D", "*", "1;v=2", "1,2",
		"%0d%0aX-Evil:%201", "01-01-0000__00:00:00:000000", "2025-02-30T00:00:00Z", strings.Repeat("9", 5000), strings.Repeat("%C3%A9", 2000),
	}
}

// badValues stand behind a query parameter, unescaped.
func badValues() []string {
	return []string{
		"", " ", "x", "-1", "0", "1.5", "1e9", "1e308", "0.005", "-0", "NaN", "99999999999999999999", "9223372036854775807", "1,,2", ",", "1,x", "true", "null",
		"' OR 1=1--", "%", "_%\\", "\x00", "\xff\xfe", "👩‍👩‍👧‍👦", "a,b,c", "priceUnit,sideways", ",asc", "productId,asc,desc", "AAAA", "====",
		strings.Repeat("1,", 3000) + "1", strings.Repeat("word ", 4000), "MQ", "LTE", "Kg", "(SELECT 1)", "priceUnit;DROP TABLE products",
	}
}

// badHeaders are fields that clients may send; nil sends none of that name.
func badHeaders() []http.Header {
	return []http.Header{
		{"Content-Type": {"text/plain"}},
		{"Content-Type": {"application/x-www-form-urlencoded"}},
		{"Content-Type": {"application/json; charset=latin1; charset=x"}},
		{"Content-Type": {"////"}},
		{"Content-Type": {strings.Repeat("a", 16<<10)}},
		{"Content-Encoding": {"gzip"}},
		{"Authorization": {"Bearer"}},
		{"Authorization": {"Bearer " + strings.Repeat("x", 16<<10)}},
		{"Authorization": {"Basic \xff\xfe"}},
		{"Authorization": {"Bearer a", "Bearer b"}},
		{"Accept": {"text/html;q=x", strings.Repeat("*/*,", 4<<10)}},
		{"X-Request-Timeout": {"-1"}},
		{"X-Request-Timeout": {"99999999999999999999"}},
		{"X-Long": {strings.Repeat("x", 16<<10)}},
		{"If-Match": {`"99999999999999999999999"`}},
		{"If-Match": {"\xff"}},
		{"Prefer": {"wait=99999999999999999999"}},
		{"Prefer": {"wait=-1, wait, =;;,"}},
		{"Traceparent": {"00-zz"}, "B3": {"x-y-z"}, "X-B3-Traceid": {strings.Repeat("f", 5000)}},
		{"Origin": {"null"}},
		{"Origin": {"http://evil.example"}, "Access-Control-Request-Method": {"\xff"}},
		{"Idempotency-Key": {""}},
		{"Idempotency-Key": {" "}},
		{"Idempotency-Key": {strings.Repeat("k", 16<<10)}},
		{"Idempotency-Key": {"ключ-👩"}},
		{"Idempotency-Key": {"\xff\xfe"}},
		{"Idempotency-Key": {"one", "two"}},
	}
}

// sweep tries bad input on the rows of a system.
type sweep struct {
	*system
	rows   []row
	tokens map[string]string
	ids    map[string]string
	turn   atomic.Int64
	calls  atomic.Int64
}

// TestBadInput sends everything that can be wrong to every row: no answer may blame the server, hang,
// leave out what an error should say, or show what is inside.
func TestBadInput(t *testing.T) {
	t.Parallel()
	eachEngineUntraced(t, func(t *testing.T, s *system) {
		w := &sweep{system: s, rows: allRows(), tokens: map[string]string{}}
		for _, c := range s.callers(s.signingKey()) {
			w.tokens[c.name] = c.token
		}
		w.ids = s.furnish(w.tokens[owner])
		byMethod := map[string][]row{}
		for _, r := range w.rows {
			byMethod[r.Method] = append(byMethod[r.Method], r)
		}
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			rows := byMethod[method]
			s.parallel(4, len(rows), func(i int) { w.row(rows[i], i) })
			delete(byMethod, method)
		}
		if len(byMethod) > 0 {
			t.Errorf("rows with methods that are not tried: %v", byMethod)
		}
		w.listsStillAnswer()
		t.Logf("%d calls", w.calls.Load())
	})
}

// row tries one row with every kind of bad input. Of the many combinations it takes some, others than
// the rows before it: n is where it begins to count. What becomes of input behind the proxy client is
// tried at the service itself, so that a row that is passed through takes fewer.
func (w *sweep) row(r row, n int) {
	some, few := 3, 5
	if r.component == "proxy-client" && w.isPassed(r) {
		some, few = 11, 17
	}
	send := func(every int, what string, call request) {
		if n++; n%every == 0 {
			w.send(r, what, call)
		}
	}
	good, path := r.body(w.tb, w.ids), r.path(w.ids)
	if plain := withoutPassword(good); plain != good {
		good = plain
		few *= 5
	}
	for _, bad := range badBodies() {
		every := 1
		if r.In == nil {
			every = some
		}
		send(every, bad[0], request{path: path, body: bad[1]})
	}
	for i, header := range badHeaders() {
		send(some, fmt.Sprint("header ", i), request{path: path, body: good, header: header})
	}
	for _, name := range r.wildcards() {
		for _, segment := range badSegments() {
			ids := maps.Clone(w.ids)
			delete(ids, name)
			send(some, "segment "+name, request{path: strings.ReplaceAll(r.path(ids), "{"+name+"}", segment), body: good})
		}
	}
	for _, query := range r.badQueries() {
		send(some, "query", request{path: path + "?" + query, body: good})
	}
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
		if !slices.ContainsFunc(w.rows, func(other row) bool { return other.Method == method && samePath(r, other) }) {
			send(some, "method "+method, request{method: method, path: path, body: good})
		}
	}
	if r.In == nil {
		return
	}
	eachNode(r.sample(w.tb), func(where, template string) {
		for _, leaf := range badLeaves() {
			call := request{path: path, body: strings.ReplaceAll(template, hole, leaf[1])}
			if r.Pattern == "/api/carts/{cartId}/checkout" && strings.HasPrefix(where, "paymentMethod") && (n+1)%few == 0 {
				call.path = r.path(w.freshCart())
			}
			send(few, where+" is a "+leaf[0], call)
		}
	})
}

// isPassed reports whether a row of the proxy client is another component's.
func (w *sweep) isPassed(r row) bool {
	return slices.ContainsFunc(w.rows, func(other row) bool {
		return other.component != r.component && other.Method == r.Method && other.Pattern == r.Pattern
	})
}

// samePath reports whether the path of a, filled in, is one of b's too.
func samePath(a, b row) bool {
	as, bs := strings.Split(a.context+a.Pattern, "/"), strings.Split(b.context+b.Pattern, "/")
	return slices.EqualFunc(as, bs, func(a, b string) bool { return a == b || strings.HasPrefix(a, "{") || strings.HasPrefix(b, "{") })
}

// badQueries are bad values for each declared parameter, all at once, twice, and for one that is not
// declared.
func (r row) badQueries() []string {
	queries := []string{"%zz", "a=%", "=&&=", "x;y=1", strings.Repeat("a=1&", 5000), "unknown=" + url.QueryEscape("\x00\xff")}
	var all, twice []string
	for _, declared := range r.Query {
		name, _, _ := strings.Cut(declared, "?")
		for _, value := range badValues() {
			queries = append(queries, name+"="+url.QueryEscape(value))
		}
		all = append(all, name+"=x")
		twice = append(twice, name+"=1&"+name+"=2")
	}
	return append(queries, strings.Join(all, "&"), strings.Join(twice, "&"))
}

// hole is where a bad value goes in a template.
const hole = `"<hole>"`

// eachNode calls try with every field and every element of a JSON value replaced by a hole in turn.
func eachNode(value any, try func(where, template string)) {
	var walk func(node any, where string, put func(any))
	emit := func(where string, put func(any), node any) {
		put("<hole>")
		text, err := json.Marshal(value)
		put(node)
		if err == nil {
			// Encoded, < and > are escaped.
			try(where, strings.ReplaceAll(string(text), `"\u003chole\u003e"`, hole))
		}
	}
	walk = func(node any, where string, put func(any)) {
		if put != nil {
			emit(where, put, node)
		}
		switch node := node.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(node)) {
				walk(node[name], strings.TrimPrefix(where+"."+name, "."), func(v any) { node[name] = v })
			}
		case []any:
			for i := range node {
				walk(node[i], fmt.Sprintf("%s[%d]", where, i), func(v any) { node[i] = v })
			}
		}
	}
	walk(value, "", nil)
}

// freshCart are the ids with a cart of user 1 that can be checked out.
func (w *sweep) freshCart() map[string]string {
	a, err := w.try(request{method: "POST", path: "/order-service/api/carts", token: w.tokens[owner], body: `{"userId":1}`})
	var cart struct{ CartID json.Number }
	if err != nil || json.Unmarshal(a.body, &cart) != nil || a.status != http.StatusCreated {
		w.tb.Errorf("new cart: %d %s %v", a.status, a.body, err)
	}
	ids := maps.Clone(w.ids)
	ids["cartId"] = cart.CartID.String()
	item := request{method: "PUT", path: "/order-service/api/carts/" + ids["cartId"] + "/items/1", token: w.tokens[owner], body: `{"quantity":1}`}
	if a, err := w.try(item); err != nil || a.status != http.StatusOK {
		w.tb.Errorf("new cart's item: %d %s %v", a.status, a.body, err)
	}
	return ids
}

// send makes one call as the next of those whom the row admits, and judges the answer.
func (w *sweep) send(r row, what string, call request) {
	type way struct {
		name   string
		direct bool
	}
	var ways []way
	for _, name := range []string{owner, admin, component, nobody} {
		for _, direct := range []bool{false, true} {
			if verdict(r, name, direct) == 0 {
				ways = append(ways, way{name, direct})
			}
		}
	}
	by := ways[int(w.turn.Add(1))%len(ways)]
	if call.method == "" {
		call.method = r.Method
	}
	if by.direct {
		call.component = r.component
	}
	header := http.Header{}
	if r.Idempotent {
		header = key(fmt.Sprint("bad-", w.keys.Add(1)))
	}
	maps.Copy(header, call.header)
	call.header = header
	if len(header["Authorization"]) == 0 {
		call.token = w.tokenFor(r, caller{by.name, w.tokens[by.name]})
	}
	w.calls.Add(1)
	begun := time.Now()
	a, err := w.try(call)
	where := fmt.Sprintf("%s %.200s, %s, as %s %s, body %.200q", call.method, call.path, what, by.name, door(by.direct), call.body)
	if err != nil {
		w.tb.Errorf("%s: no answer: %v", where, err)
		return
	}
	if took := time.Since(begun); took > 10*time.Second {
		w.tb.Errorf("%s: answered after %v", where, took)
	}
	for _, fault := range faults(a) {
		w.tb.Errorf("%s: %d %.500s: %s", where, a.status, a.body, fault)
	}
}

// inside are words that no answer to a client may hold.
var inside = regexp.MustCompile(`(?i:\bsql(ite)?\b|mysql|panic|goroutine|/root)|json: |strconv|\bapi\.[A-Z]|\b(u?int|float)(8|16|32|64)\b|map\[|interface \{|Go (value|struct)|\.go:\d|runtime error|127\.0\.0\.1`)

// faults is what is wrong with an answer to bad input.
func faults(a answer) []string {
	var found []string
	if a.status >= 500 {
		found = append(found, "blames the server for the client's fault")
	}
	if a.status < 400 {
		return found
	}
	if word := inside.Find(a.body); word != nil {
		found = append(found, fmt.Sprintf("shows %q", word))
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		return append(found, fmt.Sprintf("has content type %q, want a problem", got))
	}
	var problem struct {
		Status                                          int
		Title, Detail, Msg, HTTPStatus, Timestamp, Type string
	}
	if err := json.Unmarshal(a.body, &problem); err != nil {
		return append(found, err.Error())
	}
	if problem.Status != a.status || problem.Title == "" || problem.Msg == "" || problem.HTTPStatus == "" || problem.Timestamp == "" || problem.Type == "" || problem.Detail == "" {
		found = append(found, "lacks a member that every problem has")
	}
	return found
}

// listsStillAnswer reads everything that the sweep has left behind.
func (w *sweep) listsStillAnswer() {
	tokens := map[string]string{}
	for _, name := range []string{owner, admin} {
		tokens[name] = w.tokens[name]
	}
	for _, r := range w.rows {
		if r.Method != http.MethodGet || len(r.wildcards()) > 0 || strings.HasSuffix(r.Pattern, "/find") {
			continue
		}
		for name, token := range tokens {
			if verdict(r, name, false) != 0 {
				continue
			}
			a, err := w.do(r, false, token, r.path(nil), "")
			gone := name == owner && a.status == http.StatusNotFound // the sweep deletes user 1
			if err != nil || a.status != http.StatusOK && !gone {
				w.tb.Errorf("%s as %s after all: %d %.300s %v, want 200", r, name, a.status, a.body, err)
			}
		}
	}
}
