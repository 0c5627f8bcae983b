package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/auth"
	"tienda/web"
)

// verify knows the tokens "user:5", "admin:4", "service:order-service"; "away" cannot be checked.
func verify(_ context.Context, token string) (auth.Caller, error) {
	kind, rest, _ := strings.Cut(token, ":")
	id, _ := api.ParseID(rest)
	switch kind {
	case "user":
		return auth.Caller{Username: "u", UserID: id, Roles: []string{api.RoleUser}}, nil
	case "admin":
		return auth.Caller{Username: "a", UserID: id, Roles: []string{api.RoleAdmin}}, nil
	case "service":
		return auth.Caller{Service: rest}, nil
	case "away":
		return auth.Caller{}, api.Unavailable("proxy-client")
	}
	return auth.Caller{}, fmt.Errorf("%w: it has expired", auth.ErrToken)
}

func answerCaller(w http.ResponseWriter, r *http.Request) error {
	return web.JSON(w, http.StatusOK, map[string]string{"caller": auth.CallerOf(r.Context()).String()})
}

func serve(t *testing.T, open bool, log *bytes.Buffer, routes ...web.Route) http.Handler {
	t.Helper()
	handler, err := web.New(web.API{Name: "box-service", Title: "Boxes", Context: "/box-service", Routes: routes,
		Verify: verify, Open: open, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func do(handler http.Handler, method, path, token, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

func TestAccessRules(t *testing.T) {
	t.Parallel()
	rules := []web.Access{web.Public, web.User, web.Owner, web.Admin, web.Service, web.AdminOrService}
	var routes []web.Route
	for i, rule := range rules {
		for _, origin := range []bool{false, true} {
			routes = append(routes, web.Route{Method: "GET", Pattern: fmt.Sprintf("/api/r%d/%t", i, origin), Summary: "s",
				Access: rule, Origin: origin, Handler: answerCaller})
		}
	}
	want := map[web.Access]map[string]int{
		web.Public:         {"": 200, "expired": 200, "user:5": 200, "admin:4": 200, "service:x": 200},
		web.User:           {"": 401, "expired": 401, "user:5": 200, "admin:4": 200, "service:x": 403},
		web.Owner:          {"": 401, "expired": 401, "user:5": 200, "admin:4": 200, "service:x": 403},
		web.Admin:          {"": 401, "expired": 401, "user:5": 403, "admin:4": 200, "service:x": 403},
		web.Service:        {"": 401, "expired": 401, "user:5": 403, "admin:4": 403, "service:x": 200},
		web.AdminOrService: {"": 401, "expired": 401, "user:5": 403, "admin:4": 200, "service:x": 200},
	}
	for _, open := range []bool{false, true} {
		handler := serve(t, open, &bytes.Buffer{}, routes...)
		for i, rule := range rules {
			for _, origin := range []bool{false, true} {
				for token, status := range want[rule] {
					if open && origin && rule != web.Service {
						status = 200
					}
					w := do(handler, "GET", fmt.Sprintf("/box-service/api/r%d/%t", i, origin), token, "")
					if w.Code != status {
						t.Errorf("%s row (origin %t, open %t) as %q: %d, want %d", rule, origin, open, token, w.Code, status)
					}
				}
			}
		}
		if w := do(handler, "GET", "/box-service/api/r1/false", "away", ""); w.Code != http.StatusServiceUnavailable {
			t.Errorf("token that cannot be checked: %d, want 503", w.Code)
		}
	}
}

func TestARowWithoutAnAccessRuleDoesNotStart(t *testing.T) {
	t.Parallel()
	_, err := web.New(web.API{Name: "box-service", Verify: verify, Log: slog.New(slog.DiscardHandler),
		Routes: []web.Route{{Method: "GET", Pattern: "/api/boxes", Summary: "s", Handler: answerCaller}}})
	if err == nil || !strings.Contains(err.Error(), "no access rule") {
		t.Errorf("New = %v, want an error that names the missing access rule", err)
	}
}

func TestPathsAndMethods(t *testing.T) {
	t.Parallel()
	row := func(method, pattern string) web.Route {
		return web.Route{Method: method, Pattern: pattern, Summary: "s", Access: web.Public, Handler: func(w http.ResponseWriter, r *http.Request) error {
			id, err := web.PathID(r, "boxId")
			if err != nil && r.PathValue("boxId") != "" {
				return err
			}
			return web.JSON(w, http.StatusOK, id)
		}}
	}
	handler := serve(t, false, &bytes.Buffer{}, row("GET", "/api/boxes"), row("GET", "/api/boxes/{boxId}"), row("DELETE", "/api/boxes/{boxId}"))
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/box-service/api/boxes", 200}, {"GET", "/box-service/api/boxes/", 200}, {"GET", "/box-service/api/boxes/7/", 200},
		{"GET", "/box-service/api/boxes/x", 404}, {"GET", "/box-service/api/boxes/-1", 404}, {"GET", "/box-service/api/boxes/99999999999999999999", 404},
		{"POST", "/box-service/api/boxes/7", 405}, {"GET", "/box-service/api/none", 404}, {"GET", "//box-service/api/boxes", 404},
		{"GET", "/box-service/./api/boxes", 404}, {"GET", "/box-service/api/boxes?a;b", 400}, {"GET", "/", 404}, {"GET", "/box-service/api/boxes/%00", 404}, {"BREW", "/box-service/api/boxes", 405},
	} {
		w := do(handler, c.method, c.path, "", "")
		if w.Code != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.Code, c.status)
		}
		if w.Code >= 300 && w.Code < 400 {
			t.Errorf("%s %s redirects", c.method, c.path)
		}
		if w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %s, want a problem document", c.method, c.path, w.Header().Get("Content-Type"))
		}
	}
	if allow := do(handler, "PUT", "/box-service/api/boxes/7", "", "").Header().Get("Allow"); allow != "DELETE, GET, HEAD" {
		t.Errorf("Allow = %q", allow)
	}
}

type box struct {
	Name  string   `json:"name"`
	Width int      `json:"width"`
	Inner *box     `json:"inner"`
	Tags  []string `json:"tags"`
	ID    api.ID   `json:"id"`
}

func bodyRoutes() []web.Route {
	read := func(w http.ResponseWriter, r *http.Request) error {
		value, err := web.Read[box](w, r)
		if err != nil {
			return err
		}
		return web.JSON(w, http.StatusOK, value)
	}
	return []web.Route{
		{Method: "POST", Pattern: "/api/old", Summary: "s", Access: web.Public, Origin: true, Handler: read},
		{Method: "POST", Pattern: "/api/new", Summary: "s", Access: web.Public, Handler: read},
	}
}

func TestBadBodiesAreClientErrors(t *testing.T) {
	t.Parallel()
	handler := serve(t, false, &bytes.Buffer{}, bodyRoutes()...)
	for name, c := range map[string]struct {
		body     string
		old, new int
		says     string
	}{
		"fine":              {`{"name":"a"}`, 200, 200, ""},
		"byte order mark":   {"\ufeff" + `{"name":"a"}`, 200, 200, ""},
		"unknown field":     {`{"name":"a","colour":"red"}`, 200, 400, "colour"},
		"empty":             {``, 400, 400, "empty"},
		"blank":             {" \n", 400, 400, "empty"},
		"broken":            {`{"name":`, 400, 400, "malformed JSON"},
		"not an object":     {`"text"`, 400, 400, "object"},
		"null":              {`null`, 400, 400, "object"},
		"two values":        {`{"name":"a"}{"name":"b"}`, 400, 400, "more behind"},
		"wrong type":        {`{"width":"wide"}`, 400, 400, "field width must be a whole number, but a text was sent"},
		"wrong nested type": {`{"inner":{"tags":5}}`, 400, 400, "tags"},
		"huge number":       {`{"width":1e400}`, 400, 400, "width"},
		"bad id":            {`{"id":"x"}`, 400, 400, "an id"},
		"invalid UTF-8":     {"{\"name\":\"\xff\"}", 400, 400, "UTF-8"},
		"depth 17":          {strings.Repeat(`{"inner":`, 17) + "null" + strings.Repeat("}", 17), 400, 400, "deep"},
		"deep list":         {strings.Repeat("[", 100_000), 400, 400, "deep"},
		"braces in text":    {`{"name":"\"` + strings.Repeat(`[{\"`, 50) + `"}`, 200, 200, ""},
		"many, not deep":    {`{"inner":{"tags":[` + strings.Repeat(`[],{},`, 50) + `""]}}`, 400, 400, "tags"},
		"10 MiB":            {`{"name":"` + strings.Repeat("a", 10<<20) + `"}`, 413, 413, "larger"},
	} {
		for path, want := range map[string]int{"/box-service/api/old": c.old, "/box-service/api/new": c.new} {
			w := do(handler, "POST", path, "", c.body)
			if w.Code != want || (want >= 400 && !strings.Contains(w.Body.String(), c.says)) {
				t.Errorf("%s to %s: %d %.200s, want %d that says %q", name, path, w.Code, w.Body, want, c.says)
			}
		}
	}
	r := httptest.NewRequest("POST", "/box-service/api/new", strings.NewReader("name=a"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("form: %d, want 415", w.Code)
	}
}

// TestDeepBodiesCostLittle: types that nest each other read what is inside them once more at each level.
func TestDeepBodiesCostLittle(t *testing.T) {
	t.Parallel()
	const levels = 500
	body := strings.Repeat(`{"credential":{"user":`, levels) + `{"firstName":"` + strings.Repeat("x", 900_000) + `"}` + strings.Repeat("}}", levels)
	start := time.Now()
	_, err := web.Decode[api.User]([]byte(body), true)
	if elapsed := time.Since(start); !api.IsStatus(err, http.StatusBadRequest) || elapsed > 2*time.Second {
		t.Errorf("Decode(%d nested users) = %v after %v, want a 400 at once", levels, err, elapsed)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"name":"a","inner":{"tags":["x"]}}`))
	f.Add([]byte("\xff{"))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, lenient := range []bool{true, false} {
			_, err := web.Decode[box](body, lenient)
			if err == nil {
				continue
			}
			if p, ok := errors.AsType[*api.Problem](err); !ok || p.Status != http.StatusBadRequest {
				t.Fatalf("Decode(%q) = %v, want a 400", body, err)
			}
		}
	})
}

// away is the error of a database that cannot be reached.
type away struct{}

func (away) Error() string     { return "secret address refuses" }
func (away) Unavailable() bool { return true }

// TestErrorsTellTheClientNothingInternal: details go to the log, under the trace id.
func TestErrorsTellTheClientNothingInternal(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	row := func(name string, handler web.Handler) web.Route {
		return web.Route{Method: "GET", Pattern: "/api/" + name, Summary: "s", Access: web.Public, Handler: handler}
	}
	handler := serve(t, false, &log,
		row("error", func(http.ResponseWriter, *http.Request) error { return errors.New("secret detail one") }),
		row("panic", func(http.ResponseWriter, *http.Request) error { panic("secret detail two") }),
		row("late", func(http.ResponseWriter, *http.Request) error {
			return fmt.Errorf("select: %w", context.DeadlineExceeded)
		}),
		row("slow", func(http.ResponseWriter, *http.Request) error { return api.Timeout("box-service") }),
		row("away", func(http.ResponseWriter, *http.Request) error { return fmt.Errorf("select: %w", away{}) }),
		row("wrapped", func(http.ResponseWriter, *http.Request) error {
			return fmt.Errorf("while reading: %w", api.NotFound("Box with id: %d not found", 7))
		}),
	)
	for path, status := range map[string]int{"error": 500, "panic": 500, "late": 503, "slow": 504, "away": 503, "wrapped": 404} {
		w := do(handler, "GET", "/box-service/api/"+path, "", "")
		if w.Code != status || strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Body.String(), "goroutine") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		var p api.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != status || p.HTTPStatus == "" || p.Timestamp.IsZero() || p.Msg == "" {
			t.Errorf("%s: problem %+v, %v", path, p, err)
		}
	}
	if strings.Count(log.String(), "level=ERROR")+strings.Count(log.String(), `"level":"ERROR"`) != 2 {
		t.Errorf("want the error and the panic at ERROR, and what is away or late at WARN:\n%s", log.String())
	}
	if retry := do(handler, "GET", "/box-service/api/away", "", "").Header().Get("Retry-After"); retry == "" {
		t.Error("a database that is away: no Retry-After")
	}
	for _, detail := range []string{"secret detail one", "secret detail two"} {
		if !strings.Contains(log.String(), detail) {
			t.Errorf("the log lacks %q", detail)
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"":                          " ORDER BY box_id ASC LIMIT 1000 OFFSET 0",
		"page=2&size=20":            " ORDER BY box_id ASC LIMIT 20 OFFSET 40",
		"sort=width,desc&size=5":    " ORDER BY w DESC, box_id DESC LIMIT 5 OFFSET 0",
		"sort=width&sort=name,DESC": " ORDER BY w ASC, n DESC, box_id DESC LIMIT 1000 OFFSET 0",
		"sort=boxId,desc&sort=name": " ORDER BY box_id DESC LIMIT 1000 OFFSET 0",
		"sort=name,sideways":        "422",
		"sort=w%3BDROP TABLE boxes": "422",
		"sort=colour":               "422",
		"size=1001":                 "422",
		"size=0":                    "422",
		"size=-1":                   "422",
		"page=-1":                   "422",
		"page=99999999":             "422",
		"page=9223372036854775807":  "422",
		"page=x":                    "400",
		"page=99999999999999999999": "400",
		"after=%21":                 "400",
		"after=MTI&size=3":          " ORDER BY box_id ASC LIMIT 3 OFFSET 0",
		"after=MTI&sort=width":      "422",
		"after=MTI&page=1&size=2":   "422",
		"sort=boxId,desc&after=MTI": " ORDER BY box_id DESC LIMIT 1000 OFFSET 0",
	} {
		r := httptest.NewRequest("GET", "/?"+strings.ReplaceAll(query, " ", "%20"), nil)
		page, err := web.ReadPage(r, "box_id", map[string]string{"boxId": "box_id", "width": "w", "name": "n"})
		got := page.Tail()
		if p, ok := errors.AsType[*api.Problem](err); ok {
			got = fmt.Sprint(p.Status)
		}
		if got != want {
			t.Errorf("ReadPage(%q) = %s, want %s", query, got, want)
		}
	}
	r := httptest.NewRequest("GET", "/?size=2", nil)
	page, err := web.ReadPage(r, "box_id", nil)
	if err != nil {
		t.Fatal(err)
	}
	list := web.Rows(page, []api.ID{11, 12}, web.ExactTotal+1, func(id api.ID) api.ID { return id })
	if list.Page.Next != "MTI" || !list.Page.LowerBound || list.Page.TotalElements != web.ExactTotal || list.Page.TotalPages != 5000 {
		t.Errorf("page = %+v", list.Page)
	}
	next, err := web.ReadPage(httptest.NewRequest("GET", "/?size=2&after="+list.Page.Next, nil), "box_id", nil)
	if clause, args := next.Condition(); err != nil || clause != " AND box_id > ?" || args[0] != int64(12) {
		t.Errorf("Condition = %q %v, %v", clause, args, err)
	}
}

func TestConditionalWrites(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]struct {
		version int64
		ok      bool
	}{"": {0, false}, "*": {0, false}, `"7"`: {7, true}, `W/"7"`: {-1, true}, "7": {-1, true}, `"x"`: {-1, true}} {
		r := httptest.NewRequest("PUT", "/", nil)
		r.Header.Set("If-Match", header)
		if version, ok := web.IfMatch(r); version != want.version || ok != want.ok {
			t.Errorf("IfMatch(%q) = %d, %t, want %d, %t", header, version, ok, want.version, want.ok)
		}
	}
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	routes := []web.Route{
		{Method: "GET", Pattern: "/api/users", Summary: "List users", Access: web.Owner, Query: web.PageQuery, Out: api.List[api.User]{}, Handler: answerCaller},
		{Method: "POST", Pattern: "/api/orders/{orderId}/cancel", Summary: "Cancel an order", Access: web.Owner, Idempotent: true, Waits: true,
			In: api.Cancellation{Reason: "changed my mind"}, Out: api.Order{}, Handler: answerCaller},
		{Method: "POST", Pattern: "/api/reservations", Summary: "Reserve", Access: web.Service, In: api.NewReservation{}, Handler: answerCaller},
		{Method: "GET", Pattern: "/api/favourites", Summary: "List", Access: web.Public, Out: api.List[api.Favourite]{}, Handler: answerCaller},
	}
	handler := serve(t, false, &bytes.Buffer{}, routes...)
	w := do(handler, "GET", "/box-service/v3/api-docs", "", "")
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(w.Body.Bytes())
	if err != nil {
		t.Fatalf("load: %v\n%.500s", err, w.Body)
	}
	if err := doc.Validate(loader.Context); err != nil {
		t.Errorf("the document is not valid: %v", err)
	}
	if doc.Paths.Find("/box-service/api/reservations") != nil {
		t.Error("an operation between components is documented for the public")
	}
	cancel := doc.Paths.Find("/box-service/api/orders/{orderId}/cancel").Post
	if cancel.Parameters.GetByInAndName("header", "Idempotency-Key") == nil || cancel.Security == nil {
		t.Errorf("cancel lacks its key or its security: %+v", cancel)
	}
	list := doc.Paths.Find("/box-service/api/users").Get
	if cancel.Parameters.GetByInAndName("header", "Prefer") == nil || cancel.Responses.Status(http.StatusAccepted) == nil || list.Responses.Status(http.StatusAccepted) != nil {
		t.Error("an operation that can be accepted only is not documented as one, or another is")
	}
	example, err := json.Marshal(cancel.RequestBody.Value.Content["application/json"].Examples["example"].Value.Value)
	if err != nil || string(example) != `{"reason":"changed my mind"}` {
		t.Errorf("example = %s, %v", example, err)
	}
}

// TestWindow: the ids of a page are those that the database would return for it.
func TestWindow(t *testing.T) {
	t.Parallel()
	for query, want := range map[string][]api.ID{
		"size=2":                           {1, 3},
		"size=2&page=1":                    {4, 7},
		"size=2&page=2":                    {9},
		"size=2&page=3":                    {},
		"size=2&sort=boxId,desc":           {9, 7},
		"size=2&sort=boxId,desc&page=2":    {1},
		"size=2&after=Mw":                  {4, 7}, // behind 3
		"size=9&after=NQ":                  {7, 9}, // behind 5, which is not among them
		"size=2&sort=boxId,desc&after=NA":  {3, 1}, // behind 4
		"size=2&sort=boxId,desc&after=MTA": {9, 7}, // behind 10
	} {
		page, err := web.ReadPage(httptest.NewRequest("GET", "/?"+query, nil), "box_id", map[string]string{"boxId": "box_id"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, page.Window([]api.ID{7, 3, 9, 1, 4})); diff != "" || !page.SortsBy("box_id") {
			t.Errorf("Window of %q (-want +got):\n%s", query, diff)
		}
	}
}
