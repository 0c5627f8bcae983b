package favourite

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
	"tienda/web"
)

var migrations = []sqldb.Migrations{Migrations, journal.Migrations}

const (
	admin  = "admin:4"
	user   = "user:1"
	moment = "04-11-2025__23:52:00:805000"
)

// neighbours are user-service and product-service: they know the rows they are given, count the calls
// and fail when they are told to.
type neighbours struct {
	mu       sync.Mutex
	users    []api.User
	products []api.Product
	events   []api.Event
	err      error
	calls    []string
	tokens   []string
}

func (n *neighbours) called(ctx context.Context, format string, args ...any) error {
	n.calls = append(n.calls, fmt.Sprintf(format, args...))
	n.tokens = append(n.tokens, api.Token(ctx))
	return n.err
}

func (n *neighbours) Users(ctx context.Context, ids []api.ID) ([]api.User, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.users, n.called(ctx, "users %v", ids)
}

func (n *neighbours) Products(ctx context.Context, ids []api.ID) ([]api.Product, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.products, n.called(ctx, "products %v", ids)
}

func (n *neighbours) Events(ctx context.Context, service string, after int64) ([]api.Event, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var behind []api.Event
	for _, event := range n.events {
		if event.Seq > after {
			behind = append(behind, event)
		}
	}
	return behind, n.called(ctx, "events of %s", service)
}

// verify understands tokens such as "user:1" and "admin:4".
func verify(_ context.Context, token string) (auth.Caller, error) {
	kind, name, _ := strings.Cut(token, ":")
	id, ok := api.ParseID(name)
	switch {
	case kind == "user" && ok:
		return auth.Caller{Username: token, UserID: id, Roles: []string{api.RoleUser}}, nil
	case kind == "admin" && ok:
		return auth.Caller{Username: token, UserID: id, Roles: []string{api.RoleAdmin}}, nil
	}
	return auth.Caller{}, auth.ErrToken
}

type fixture struct {
	t          *testing.T
	neighbours *neighbours
	service    *Service
	server     *httptest.Server
}

func open(t *testing.T, db *sqldb.DB, access func(*web.API)) *fixture {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	n := &neighbours{}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC) }
	s := New(db, n, auth.NewIdentity("favourite-service", key, now), log, now)
	a := web.API{Name: "favourite-service", Title: "Favourites", Context: contextPath, Routes: s.Routes(), Verify: verify, Log: log}
	if access != nil {
		access(&a)
	}
	handler, err := web.New(a)
	if err != nil {
		t.Fatalf("web.New: %v", err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &fixture{t: t, neighbours: n, service: s, server: server}
}

type answer struct {
	t      *testing.T
	call   string
	status int
	header http.Header
	body   []byte
}

func (f *fixture) call(token, method, path, body string) answer {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), method, f.server.URL+contextPath+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := f.server.Client().Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer{t: f.t, call: method + " " + path + " " + body, status: response.StatusCode, header: response.Header, body: content}
}

func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s = %d %s, want %d", a.call, a.status, a.body, status)
	}
	return a
}

func decode[T any](a answer) T {
	a.t.Helper()
	var value T
	if err := json.Unmarshal(a.body, &value); err != nil {
		a.t.Fatalf("%s = %s: %v", a.call, a.body, err)
	}
	return value
}

func like(user, product int, at string) string {
	return fmt.Sprintf(`{"userId":%d,"productId":%d,"likeDate":%q}`, user, product, at)
}

func TestRoutesWithoutService(t *testing.T) {
	t.Parallel()
	var s *Service
	a := web.API{Name: "favourite-service", Title: "Favourites", Context: contextPath, Routes: s.Routes(), Verify: verify, Log: slog.New(slog.DiscardHandler)}
	if _, err := web.New(a); err != nil {
		t.Errorf("web.New(routes of a nil service) = %v", err)
	}
	if _, err := web.OpenAPI(a); err != nil {
		t.Errorf("web.OpenAPI(routes of a nil service) = %v", err)
	}
}

func TestFavouriteLife(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		f := open(t, db, nil)
		// As recorded from the original system.
		const bare = `{"userId":1,"productId":1,"likeDate":"04-11-2025__23:52:00:805000",
			"user":{"userId":1,"firstName":null,"lastName":null,"imageUrl":null,"email":null,"phone":null},
			"product":{"productId":1,"productTitle":null,"imageUrl":null,"sku":null,"priceUnit":null,"quantity":null}}`
		created := f.call(user, "POST", "/api/favourites", `{"userId":"1","productId":1,"likeDate":"2025-11-04T23:52:00.805","more":1}`).want(201)
		if diff := diffJSON(t, bare, created.body); diff != "" {
			t.Errorf("POST (-want +got)\n%s", diff)
		}
		const path = "/api/favourites/1/1/" + moment
		if got, want := created.header.Get("Location"), contextPath+path; got != want {
			t.Errorf("Location = %q, want %q", got, want)
		}
		f.call(user, "POST", "/api/favourites", like(1, 1, moment)).want(200)
		f.call(user, "PUT", "/api/favourites", like(1, 1, moment)).want(200)
		f.call(user, "PUT", "/api/favourites/", like(1, 1, "05-11-2025__00:00:00:000001")).want(201)

		f.neighbours.users = []api.User{{UserID: 1, FirstName: new("selim"), Credential: &api.Credential{CredentialID: 1}}}
		f.neighbours.products = []api.Product{{ProductID: 1, ProductTitle: new("asus"), Description: new("d"), Category: &api.Category{CategoryID: 1}}}
		const full = `{"userId":1,"productId":1,"likeDate":"04-11-2025__23:52:00:805000",
			"user":{"userId":1,"firstName":"selim","lastName":null,"imageUrl":null,"email":null,"phone":null},
			"product":{"productId":1,"productTitle":"asus","imageUrl":null,"sku":null,"priceUnit":null,"quantity":null}}`
		if diff := diffJSON(t, full, f.call(user, "GET", path, "").want(200).body); diff != "" {
			t.Errorf("GET by path (-want +got)\n%s", diff)
		}
		if diff := diffJSON(t, full, f.call(user, "GET", "/api/favourites/find", like(1, 1, moment)).want(200).body); diff != "" {
			t.Errorf("GET by body (-want +got)\n%s", diff)
		}
		if got := decode[api.List[api.Favourite]](f.call(user, "GET", "/api/favourites", "").want(200)); len(got.Collection) != 2 {
			t.Errorf("list holds %d favourites, want 2", len(got.Collection))
		}
		if got := string(f.call(user, "DELETE", path, "").want(200).body); strings.TrimSpace(got) != "true" {
			t.Errorf("DELETE = %s, want true", got)
		}
		gone := decode[api.Problem](f.call(user, "DELETE", path, "").want(404))
		if want := "#### Favourite with id: [FavouriteId(userId=1, productId=1, likeDate=2025-11-04T23:52:00.805)] not found!! ####"; gone.Msg != want {
			t.Errorf("msg = %q, want %q", gone.Msg, want)
		}
		f.call(user, "GET", path, "").want(404)
		f.call(user, "DELETE", "/api/favourites/delete", like(1, 1, "05-11-2025__00:00:00:000001")).want(200)
		f.call(user, "DELETE", "/api/favourites/delete", like(1, 1, "05-11-2025__00:00:00:000001")).want(404)
	})
}

func diffJSON(t *testing.T, want string, got []byte) string {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(want), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got, &b); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	return cmp.Diff(a, b)
}

func TestFavouriteRefused(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		f := open(t, db, nil)
		for _, test := range []struct {
			name, method, path, body string
			status                   int
			fields                   []string
		}{
			{"nothing", "POST", "/api/favourites", `{}`, 422, []string{"userId", "productId", "likeDate"}},
			{"no date", "POST", "/api/favourites", `{"userId":1,"productId":1}`, 422, []string{"likeDate"}},
			{"null user", "PUT", "/api/favourites", `{"userId":null,"productId":1,"likeDate":"` + moment + `"}`, 422, []string{"userId"}},
			{"negative product", "POST", "/api/favourites", like(1, -1, moment), 422, []string{"productId"}},
			{"find without a date", "GET", "/api/favourites/find", `{"userId":1,"productId":1}`, 422, []string{"likeDate"}},
			{"delete without a user", "DELETE", "/api/favourites/delete", `{"productId":1,"likeDate":"` + moment + `"}`, 422, []string{"userId"}},
			{"bad date", "POST", "/api/favourites", like(1, 1, "yesterday"), 400, []string{"likeDate"}},
			{"bad id", "POST", "/api/favourites", `{"userId":"me"}`, 400, []string{"userId"}},
			{"malformed", "POST", "/api/favourites", `{"userId"`, 400, nil},
			{"find without a body", "GET", "/api/favourites/find", ``, 400, nil},
			{"path with a bad date", "GET", "/api/favourites/1/1/yesterday", ``, 404, nil},
			{"path with a bad id", "DELETE", "/api/favourites/me/1/" + moment, ``, 404, nil},
			{"unknown", "GET", "/api/favourites/1/1/" + moment, ``, 404, nil},
			{"unknown by body", "GET", "/api/favourites/find", like(1, 1, moment), 404, nil},
			{"unknown sort", "GET", "/api/favourites?sort=favourite_id", ``, 422, []string{"sort"}},
			{"bad user filter", "GET", "/api/favourites?userId=me", ``, 400, nil},
		} {
			t.Run(test.name, func(t *testing.T) {
				problem := decode[api.Problem](f.call(user, test.method, test.path, test.body).want(test.status))
				var fields []string
				for _, e := range problem.Errors {
					fields = append(fields, e.Field)
				}
				if diff := cmp.Diff(test.fields, fields); diff != "" || problem.Detail == "" {
					t.Errorf("fields of %+v (-want +got)\n%s", problem, diff)
				}
				if test.status == 422 && test.fields[0] != "sort" && problem.Msg != "*Field must not be NULL!**" {
					t.Errorf("msg = %q, want the original system's", problem.Msg)
				}
			})
		}
	})
}

func TestFavouriteOwnership(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		f := open(t, db, nil)
		for id := 1; id <= 3; id++ {
			f.call(admin, "POST", "/api/favourites", like(id, 7, moment)).want(201)
		}
		f.call(user, "POST", "/api/favourites", like(2, 7, moment)).want(403)
		f.call(user, "PUT", "/api/favourites", like(2, 8, moment)).want(403)

		const foreign = "/api/favourites/2/7/" + moment
		unknown := decode[api.Problem](f.call(user, "GET", "/api/favourites/2/999/"+moment, "").want(404)).Detail
		if got := decode[api.Problem](f.call(user, "GET", foreign, "").want(404)).Detail; got != strings.Replace(unknown, "999", "7", 1) {
			t.Errorf("a foreign favourite is %q, an unknown one %q", got, unknown)
		}
		f.call(user, "GET", "/api/favourites/find", like(2, 7, moment)).want(404)
		f.call(user, "DELETE", foreign, "").want(404)
		f.call(user, "DELETE", "/api/favourites/delete", like(2, 7, moment)).want(404)
		for token, want := range map[string]int{user: 1, "user:9": 0, admin: 3} {
			list := decode[api.List[api.Favourite]](f.call(token, "GET", "/api/favourites", "").want(200))
			if len(list.Collection) != want || list.Page.TotalElements != int64(want) {
				t.Errorf("list as %s holds %d of %d, want %d", token, len(list.Collection), list.Page.TotalElements, want)
			}
		}
		for token, want := range map[string]int{user: 0, "user:2": 1, admin: 1} {
			if list := decode[api.List[api.Favourite]](f.call(token, "GET", "/api/favourites?userId=2", "").want(200)); len(list.Collection) != want {
				t.Errorf("list of user 2 as %s holds %d, want %d", token, len(list.Collection), want)
			}
		}
		f.call("", "GET", "/api/favourites", "").want(401)
		f.call("", "POST", "/api/favourites", like(1, 1, moment)).want(401)
		f.call(admin, "DELETE", foreign, "").want(200)
	})
}

func TestOpenAccess(t *testing.T) {
	t.Parallel()
	db := sqldbtest.Open(t, "sqlite", migrations...)
	f := open(t, db, func(a *web.API) { a.Open = true })
	f.call("", "POST", "/api/favourites", like(2, 7, moment)).want(201)
	f.call("", "GET", "/api/favourites/2/7/"+moment, "").want(200)
	f.call("", "DELETE", "/api/favourites/2/7/"+moment, "").want(200)
	f.call("", "GET", "/api/events", "").want(401)
}

func TestListAsksEachNeighbourOnce(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		f := open(t, db, nil)
		for i := range 30 {
			f.call(admin, "POST", "/api/favourites", like(1+i%3, 1+i, moment)).want(201)
		}
		f.neighbours.users = []api.User{{UserID: 2, FirstName: new("amine")}}
		list := decode[api.List[api.Favourite]](f.call(admin, "GET", "/api/favourites?size=4&page=1&sort=productId", "").want(200))
		calls := f.neighbours.calls
		if len(calls) != 2 || !strings.Contains(strings.Join(calls, ";"), "users [1 2 3]") || !strings.Contains(strings.Join(calls, ";"), "products [5 6 7 8]") {
			t.Errorf("calls = %q, want one for the users and one for the products of the page", calls)
		}
		if f.neighbours.tokens[0] != admin {
			t.Errorf("the neighbour was asked as %q, want the caller %q", f.neighbours.tokens[0], admin)
		}
		for _, favourite := range list.Collection {
			if known := favourite.User.FirstName != nil; known != (favourite.UserID == 2) || favourite.Product.ProductID != favourite.ProductID {
				t.Errorf("favourite of user %d, product %d is filled in with %+v", favourite.UserID, favourite.ProductID, favourite.User)
			}
		}
		// A neighbour that is away takes nothing but its part.
		f.neighbours.err = errors.New("away")
		f.neighbours.users = nil
		list = decode[api.List[api.Favourite]](f.call(admin, "GET", "/api/favourites?size=10", "").want(200))
		if len(list.Collection) != 10 || list.Page.TotalElements != 30 || list.Collection[0].User.UserID != 1 {
			t.Errorf("list without neighbours = %+v", list)
		}
		// The cursor goes through all of them once.
		count, path := 0, "/api/favourites?size=7"
		for path != "" {
			list := decode[api.List[api.Favourite]](f.call(admin, "GET", path, "").want(200))
			count += len(list.Collection)
			path = ""
			if list.Page.Next != "" {
				path = "/api/favourites?size=7&after=" + list.Page.Next
			}
		}
		if count != 30 {
			t.Errorf("the cursor went through %d favourites, want 30", count)
		}
	})
}

// slow is a neighbour that answers when the caller has given up.
type slow struct{ neighbours }

func (*slow) Users(ctx context.Context, _ []api.ID) ([]api.User, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestSlowNeighbour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := &slow{neighbours{products: []api.Product{{ProductID: 1, ProductTitle: new("asus")}}}}
		s := New(nil, n, nil, slog.New(slog.DiscardHandler), time.Now)
		favourites := []api.Favourite{{UserID: 1, ProductID: 1}}
		start := time.Now()
		s.fillIn(t.Context(), favourites)
		if elapsed := time.Since(start); elapsed != neighbourAtMost {
			t.Errorf("waited %v for the neighbour, want %v", elapsed, neighbourAtMost)
		}
		if favourites[0].User.FirstName != nil || favourites[0].Product.ProductTitle == nil {
			t.Errorf("favourite = %+v, want it without its user and with its product", favourites[0])
		}
	})
}

func TestSameFavouriteAtOnce(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		f := open(t, db, nil)
		statuses := make([]int, 20)
		var wait sync.WaitGroup
		for i := range statuses {
			wait.Go(func() { statuses[i] = f.call(user, "POST", "/api/favourites", like(1, 1, moment)).status })
		}
		wait.Wait()
		created := 0
		for _, status := range statuses {
			switch status {
			case http.StatusCreated:
				created++
			case http.StatusOK:
			default:
				t.Errorf("POST = %d, want 200 or 201", status)
			}
		}
		if created != 1 {
			t.Errorf("%d of the same favourite were created, want 1", created)
		}
	})
}

func TestDeletedUserIsForgotten(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		f := open(t, db, nil)
		for _, pair := range [][2]int{{1, 1}, {1, 2}, {2, 1}} {
			f.call(admin, "POST", "/api/favourites", like(pair[0], pair[1], moment)).want(201)
		}
		f.neighbours.events = []api.Event{
			{Seq: 3, Kind: "user", Subject: 2, Change: "UPDATED"},
			{Seq: 4, Kind: "address", Subject: 2, Change: "DELETED"},
			{Seq: 9, Kind: "user", Subject: 1, Change: "DELETED"},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.service.Run(ctx) }()
		count := func() int {
			return len(decode[api.List[api.Favourite]](f.call(admin, "GET", "/api/favourites", "").want(200)).Collection)
		}
		for deadline := time.Now().Add(10 * time.Second); count() != 1 && time.Now().Before(deadline); {
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		list := decode[api.List[api.Favourite]](f.call(admin, "GET", "/api/favourites", "").want(200))
		if len(list.Collection) != 1 || list.Collection[0].UserID != 2 {
			t.Errorf("left are %+v, want the one of user 2", list.Collection)
		}
		f.neighbours.mu.Lock()
		defer f.neighbours.mu.Unlock()
		for i, call := range f.neighbours.calls {
			if token := f.neighbours.tokens[i]; call == "events of user-service" && (token == "" || token == admin) {
				t.Errorf("the events were read with the token %q, want the component's own", token)
			}
		}
	})
}

func TestDemo(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() {
				if err := Demo(t.Context(), db, time.Now()); err != nil {
					t.Errorf("Demo: %v", err)
				}
			})
		}
		wait.Wait()
		f := open(t, db, nil)
		var pairs [][2]api.ID
		for _, favourite := range decode[api.List[api.Favourite]](f.call(admin, "GET", "/api/favourites", "").want(200)).Collection {
			pairs = append(pairs, [2]api.ID{favourite.UserID, favourite.ProductID})
		}
		if diff := cmp.Diff([][2]api.ID{{1, 1}, {1, 2}, {2, 2}}, pairs); diff != "" {
			t.Errorf("demo favourites (-want +got)\n%s", diff)
		}
		f.call(user, "POST", "/api/favourites", like(1, 1, moment)).want(201)
	})
}

// What the path names is what a favourite shows as its date, in every form that is read.
func FuzzPathKey(f *testing.F) {
	for _, seed := range []string{moment, "2025-11-04T23:52:00.805", "2025-11-04T23:52:00+02:00", "yesterday", "", "31-02-2025__00:00:00:000000"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, date string) {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.SetPathValue("userId", "1")
		request.SetPathValue("productId", "2")
		request.SetPathValue("likeDate", date)
		key, err := pathKey(request)
		if err != nil {
			if !api.IsStatus(err, http.StatusNotFound) {
				t.Errorf("pathKey(%q) = %v, want a 404", date, err)
			}
			return
		}
		request.SetPathValue("likeDate", key.LikeDate.String())
		again, err := pathKey(request)
		if err != nil || !again.LikeDate.Equal(key.LikeDate.Time) {
			t.Errorf("pathKey(%q) = %v (%v), want %v", key.LikeDate, again.LikeDate, err, key.LikeDate)
		}
	})
}
