package user

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/auth"
	"tienda/journal"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
	"tienda/web"
)

func migrations() []sqldb.Migrations { return []sqldb.Migrations{Migrations, journal.Migrations} }

// clock is a time that tests move on.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// fixture is the service over HTTP on a database with the demo's users.
type fixture struct {
	t       *testing.T
	db      *sqldb.DB
	clock   *clock
	service *Service
	handler http.Handler
}

func newFixture(t *testing.T, db *sqldb.DB, adjust ...func(*Settings, *web.API)) *fixture {
	t.Helper()
	f := &fixture{t: t, db: db, clock: &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	if err := Demo(t.Context(), db, f.clock.now()); err != nil {
		t.Fatalf("Demo() = %v", err)
	}
	settings := DefaultSettings()
	served := web.API{Name: "user-service", Context: "/user-service", Log: slog.New(slog.DiscardHandler)}
	served.Verify = func(ctx context.Context, token string) (auth.Caller, error) {
		caller, err := verify(ctx, token)
		if err != nil {
			return caller, err
		}
		return f.service.Standing(ctx, caller)
	}
	for _, adjust := range adjust {
		adjust(&settings, &served)
	}
	f.service = New(db, settings, served.Log, f.clock.now)
	f.service.refusal = 0
	served.Routes = f.service.Routes()
	handler, err := web.New(served)
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	f.handler = handler
	return f
}

func noPasswordRules(s *Settings, _ *web.API) { s.PasswordRules = false }

// verify knows the tokens "user:5", "admin:4" and "service:order-service".
func verify(_ context.Context, token string) (auth.Caller, error) {
	kind, name, _ := strings.Cut(token, ":")
	id, ok := api.ParseID(name)
	switch {
	case kind == "service":
		return auth.Caller{Service: name}, nil
	case kind == "user" && ok:
		return auth.Caller{UserID: id, Username: "user" + name, Roles: []string{api.RoleUser}}, nil
	case kind == "admin" && ok:
		return auth.Caller{UserID: id, Username: "admin" + name, Roles: []string{api.RoleUser, api.RoleAdmin}}, nil
	}
	return auth.Caller{}, auth.ErrToken
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// call sends a request as somebody ("" is nobody); body is JSON text. headers are names and values.
func (f *fixture) call(as, method, path, body string, headers ...string) answer {
	f.t.Helper()
	r := httptest.NewRequestWithContext(f.t.Context(), method, "/user-service"+path, strings.NewReader(body))
	if as != "" {
		r.Header.Set("Authorization", "Bearer "+as)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.Bytes()}
}

// want calls and fails the test unless the status is as wanted.
func (f *fixture) want(status int, as, method, path, body string, headers ...string) answer {
	f.t.Helper()
	a := f.call(as, method, path, body, headers...)
	if a.status != status {
		f.t.Fatalf("%s %s %s as %q = %d %s, want %d", method, path, body, as, a.status, a.body, status)
	}
	return a
}

func decode[T any](t *testing.T, a answer) T {
	t.Helper()
	var value T
	if err := json.Unmarshal(a.body, &value); err != nil {
		t.Fatalf("decode %s: %v", a.body, err)
	}
	return value
}

func (f *fixture) number(query string, args ...any) int {
	f.t.Helper()
	var n int
	if err := f.db.QueryRow(f.t.Context(), query, args...).Scan(&n); err != nil {
		f.t.Fatalf("%s: %v", query, err)
	}
	return n
}

func ids[T any](list api.List[T], id func(T) api.ID) []api.ID {
	got := []api.ID{}
	for _, row := range list.Collection {
		got = append(got, id(row))
	}
	return got
}

func TestDemo(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		var group sync.WaitGroup
		for range 4 { // replicas that start together
			group.Go(func() {
				if err := Demo(t.Context(), db, time.Now()); err != nil {
					t.Errorf("Demo() = %v", err)
				}
			})
		}
		group.Wait()
		f := newFixture(t, db)
		got := string(f.want(200, "admin:4", "GET", "/api/users/1", "").body)
		want := `{"userId":1,"firstName":"selim","lastName":"horri","imageUrl":"https://bootdey.com/img/Content/avatar/avatar7.png",` +
			`"email":"springxyzabcboot@gmail.com","phone":"+21622125144","credential":{"credentialId":1,"username":"selimhorri","password":null,` +
			`"roleBasedAuthority":"ROLE_USER","isEnabled":true,"isAccountNonExpired":true,"isAccountNonLocked":true,"isCredentialsNonExpired":true}}` + "\n"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("GET /api/users/1 (-want +got):\n%s", diff)
		}
		for path, want := range map[string]int{"/api/users": 4, "/api/credentials": 4, "/api/address": 6, "/api/verificationTokens": 4} {
			if got := len(decode[api.List[json.RawMessage]](t, f.want(200, "admin:4", "GET", path, "")).Collection); got != want {
				t.Errorf("GET %s = %d rows, want %d", path, got, want)
			}
		}
		created := decode[api.User](t, f.want(201, "", "POST", "/api/users", `{"firstName":"new","credential":{"username":"fifth","password":"a long passphrase"}}`))
		if created.UserID != 5 || created.Credential.CredentialID != 5 {
			t.Errorf("the next user is %d with credential %d, want 5 and 5", created.UserID, created.Credential.CredentialID)
		}
		for _, username := range []string{"selimhorri", "amineladjimi", "omarderouiche", "admin"} {
			f.want(200, "service:proxy-client", "POST", "/api/logins", `{"username":"`+username+`","password":"0000"}`)
		}
	})
}

func TestRegister(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 513)
	tests := []struct {
		name, as, body string
		status         int
		field          string // of the problem
	}{
		{"without credential", "", `{"firstName":"a"}`, 201, ""},
		{"unknown fields and text as a number", "", `{"userId":"77","shoe":1,"phone":"1"}`, 201, ""},
		{"taken username", "", `{"credential":{"username":"selimhorri","password":"a long passphrase"}}`, 409, ""},
		{"taken username in capitals", "", `{"credential":{"username":"SelimHorri","password":"a long passphrase"}}`, 409, ""},
		{"short password", "", `{"credential":{"username":"n1","password":"short"}}`, 422, "credential.password"},
		{"username as password", "", `{"credential":{"username":"longenough","password":"LongEnough"}}`, 422, "credential.password"},
		{"common password", "", `{"credential":{"username":"n2","password":"Password123"}}`, 422, "credential.password"},
		{"one character", "", `{"credential":{"username":"n2","password":"zzzzzzzzzzz"}}`, 422, "credential.password"},
		{"no password", "", `{"credential":{"username":"n3"}}`, 422, "credential.password"},
		{"endless password", "", `{"credential":{"username":"n4","password":"` + long + `"}}`, 422, "credential.password"},
		{"no username", "", `{"credential":{"password":"a long passphrase"}}`, 422, "credential.username"},
		{"blank username", "", `{"credential":{"username":"  ","password":"a long passphrase"}}`, 422, "credential.username"},
		{"NUL in a name", "", `{"firstName":"a\u0000b"}`, 422, "firstName"},
		{"long name", "", `{"lastName":"` + strings.Repeat("é", 256) + `"}`, 422, "lastName"},
		{"longest name", "", `{"lastName":"` + strings.Repeat("é", 255) + `"}`, 201, ""},
		{"e-mail without a host", "", `{"email":"nobody"}`, 422, "email"},
		{"e-mail with a name", "", `{"email":"A <a@example.com>"}`, 422, "email"},
		{"role of no kind", "", `{"credential":{"username":"n5","password":"a long passphrase","roleBasedAuthority":"KING"}}`, 422, "credential.roleBasedAuthority"},
		{"malformed", "", `{"firstName":`, 400, ""},
		{"wrong type", "", `{"firstName":5}`, 400, ""},
		{"a list", "", `[]`, 400, ""},
		{"existing id of another", "user:2", `{"userId":1,"firstName":"mine now"}`, 409, ""},
		{"existing id by nobody", "", `{"userId":1,"firstName":"ignored"}`, 201, ""},
		{"existing id of one's own", "user:2", `{"userId":2,"firstName":"Amine"}`, 200, ""},
		{"existing id by an administrator", "admin:4", `{"userId":"3","firstName":"Omar"}`, 200, ""},
	}
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		for _, test := range tests {
			a := f.call(test.as, "POST", "/api/users", test.body)
			if a.status != test.status {
				t.Errorf("%s: POST /api/users %s = %d %s, want %d", test.name, test.body, a.status, a.body, test.status)
				continue
			}
			if test.field == "" {
				continue
			}
			problem := decode[api.Problem](t, a)
			if len(problem.Errors) != 1 || problem.Errors[0].Field != test.field {
				t.Errorf("%s: errors = %v, want one about %s", test.name, problem.Errors, test.field)
			}
		}
		if got := decode[api.User](t, f.want(200, "user:1", "GET", "/api/users/1", "")); *got.FirstName != "selim" {
			t.Errorf("user 1 is called %s after others tried to change it, want selim", *got.FirstName)
		}
	})
}

func TestRegistrationGivesNoRole(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		const body = `{"credentialDto":{"username":"%s","password":"a long passphrase","roleBasedAuthority":"ROLE_ADMIN","isEnabled":false}}`
		for as, want := range map[string]struct {
			role    string
			enabled bool
		}{"": {api.RoleUser, true}, "user:1": {api.RoleUser, true}, "admin:4": {api.RoleAdmin, false}} {
			a := f.want(201, as, "POST", "/api/users", fmt.Sprintf(body, "by"+strings.ReplaceAll(as, ":", "")))
			got := decode[api.User](t, a)
			if *got.Credential.RoleBasedAuthority != want.role || *got.Credential.IsEnabled != want.enabled {
				t.Errorf("registered by %q: role %s, enabled %t, want %v", as, *got.Credential.RoleBasedAuthority, *got.Credential.IsEnabled, want)
			}
			if location := a.header.Get("Location"); location != "/user-service/api/users/"+got.UserID.String() {
				t.Errorf("Location = %q", location)
			}
			if bytes.Contains(a.body, []byte("passphrase")) || bytes.Contains(a.body, []byte("argon2")) {
				t.Errorf("the answer %s holds the password", a.body)
			}
		}
	})
}

// One username, asked for by many at once, is given once.
func TestUsernameIsGivenOnce(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db, noPasswordRules)
		statuses := make([]int, 8)
		var group sync.WaitGroup
		for i := range statuses {
			group.Go(func() { statuses[i] = f.call("", "POST", "/api/users", `{"credential":{"username":"wanted"}}`).status })
		}
		group.Wait()
		created := 0
		for _, status := range statuses {
			switch status {
			case 201:
				created++
			case 409:
			default:
				t.Errorf("POST /api/users = %d, want 201 or 409", status)
			}
		}
		if created != 1 || f.number(`SELECT COUNT(*) FROM users`) != 5 {
			t.Errorf("%d registrations with one username succeeded and %d users exist, want 1 and 5", created, f.number(`SELECT COUNT(*) FROM users`))
		}
	})
}

func TestOwnership(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		for _, test := range []struct {
			as, method, path, body string
			status                 int
		}{
			{"user:1", "GET", "/api/users/1", "", 200},
			{"user:1", "GET", "/api/users/2", "", 404},
			{"user:1", "GET", "/api/users/username/SELIMHORRI", "", 200},
			{"user:1", "GET", "/api/users/username/admin", "", 404},
			{"user:1", "GET", "/api/users/username/%ff", "", 404},
			{"user:1", "PUT", "/api/users/2", `{"firstName":"x"}`, 404},
			{"user:1", "PUT", "/api/users", `{"userId":2,"firstName":"x"}`, 409},
			{"user:1", "DELETE", "/api/users/2", "", 404},
			{"user:1", "GET", "/api/exports/2", "", 404},
			{"user:1", "GET", "/api/credentials/1", "", 200},
			{"user:1", "GET", "/api/credentials/2", "", 404},
			{"user:1", "GET", "/api/credentials/username/admin", "", 404},
			{"user:1", "PUT", "/api/credentials/2", `{"password":"a long passphrase"}`, 404},
			{"user:1", "POST", "/api/credentials", `{"credentialId":2,"password":"a long passphrase"}`, 409},
			{"user:1", "POST", "/api/credentials", `{"user":{"userId":2},"username":"y","password":"a long passphrase"}`, 422},
			{"user:1", "DELETE", "/api/credentials/2", "", 404},
			{"user:1", "GET", "/api/address/1", "", 200},
			{"user:1", "GET", "/api/address/2", "", 404},
			{"user:1", "PUT", "/api/address/2", `{"city":"x"}`, 404},
			{"user:1", "POST", "/api/address", `{"addressId":2,"city":"x"}`, 409},
			{"user:1", "POST", "/api/address", `{"city":"x","user":{"userId":2}}`, 422},
			{"user:1", "POST", "/api/address", `{"city":"x","user":{"userId":999}}`, 422},
			{"user:1", "DELETE", "/api/address/2", "", 404},
			{"user:1", "GET", "/api/verificationTokens/1", "", 403},
			{"user:1", "POST", "/api/logins", `{}`, 403},
			{"user:1", "GET", "/api/users/abc", "", 404},
			{"user:1", "GET", "/api/users/99999999999999999999", "", 404},
			{"", "GET", "/api/users/1", "", 401},
			{"admin:4", "GET", "/api/users/2", "", 200},
			{"admin:4", "GET", "/api/users/5", "", 404},
		} {
			if a := f.call(test.as, test.method, test.path, test.body); a.status != test.status {
				t.Errorf("%s %s %s as %q = %d %s, want %d", test.method, test.path, test.body, test.as, a.status, a.body, test.status)
			}
		}
		foreign, unknown := f.call("user:1", "GET", "/api/users/2", ""), f.call("user:1", "GET", "/api/users/999", "")
		if got, want := decode[api.Problem](t, foreign).Msg, strings.Replace(decode[api.Problem](t, unknown).Msg, "999", "2", 1); got != want || want != "#### User with id: 2 not found! ####" {
			t.Errorf("a foreign user answers %q, an unknown one %q", got, want)
		}
		for path, want := range map[string]int{"/api/users": 1, "/api/credentials": 1, "/api/address": 2, "/api/address?userId=2": 0, "/api/users?ids=1,2,3": 1, "/api/users?ids=": 0} {
			if got := len(decode[api.List[json.RawMessage]](t, f.want(200, "user:1", "GET", path, "")).Collection); got != want {
				t.Errorf("GET %s as user:1 = %d rows, want %d", path, got, want)
			}
		}
		if n := f.number(`SELECT COUNT(*) FROM users`); n != 4 {
			t.Errorf("there are %d users, want 4", n)
		}
	})
}

func TestServiceRowsAreForProxyClient(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db, func(_ *Settings, served *web.API) { served.Open = true })
		for _, route := range f.service.Routes() {
			if route.Access != web.Service {
				continue
			}
			for as, want := range map[string]int{"": 401, "user:1": 403, "admin:4": 403, "service:order-service": 403} {
				if a := f.call(as, route.Method, route.Pattern, `{}`); a.status != want {
					t.Errorf("%s %s as %q = %d, want %d", route.Method, route.Pattern, as, a.status, want)
				}
			}
		}
	})
}

func TestRoutesOfNil(t *testing.T) {
	t.Parallel()
	var s *Service
	if got := len(s.Routes()); got < 30 {
		t.Errorf("Routes() of a nil Service = %d rows, want all", got)
	}
}

func TestChangeUser(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		f.want(200, "user:1", "PUT", "/api/users/1", `{"userId":2,"firstName":"Selim","credential":{"username":"selim","roleBasedAuthority":"ROLE_USER"}}`)
		f.want(200, "user:1", "PUT", "/api/users/", `{"userId":"1","phone":"1"}`)
		got := decode[api.User](t, f.want(200, "user:1", "GET", "/api/users/username/selim", ""))
		if *got.FirstName != "Selim" || *got.LastName != "horri" || *got.Phone != "1" || got.UserID != 1 {
			t.Errorf("after two changes the user is %v, want the fields given changed and no others", got)
		}
		f.want(200, "service:proxy-client", "POST", "/api/logins", `{"username":"Selim","password":"0000"}`)
		f.want(403, "user:1", "PUT", "/api/users/1", `{"credential":{"roleBasedAuthority":"ROLE_ADMIN"}}`)
		f.want(403, "user:1", "PUT", "/api/credentials/1", `{"isEnabled":false}`)
		f.want(409, "user:1", "PUT", "/api/credentials/1", `{"username":"ADMIN"}`)
		f.want(422, "user:1", "PUT", "/api/credentials/1", `{"username":""}`)
		f.want(422, "user:1", "PUT", "/api/credentials/1", `{"password":"12345678"}`)
		f.want(422, "admin:4", "PUT", "/api/credentials/1", `{"user":{"userId":2}}`)
		f.want(200, "admin:4", "PUT", "/api/credentials/1", `{"roleBasedAuthority":"ROLE_ADMIN","isEnabled":true}`)
		f.want(404, "admin:4", "PUT", "/api/users/99", `{}`)
		f.want(201, "admin:4", "PUT", "/api/users", `{"userId":99,"firstName":"created"}`)
		// Fields that two people change at once are both kept.
		var group sync.WaitGroup
		group.Go(func() { f.call("user:2", "PUT", "/api/users/2", `{"firstName":"first"}`) })
		group.Go(func() { f.call("user:2", "PUT", "/api/users/2", `{"lastName":"last"}`) })
		group.Wait()
		if got := decode[api.User](t, f.want(200, "user:2", "GET", "/api/users/2", "")); *got.FirstName != "first" || *got.LastName != "last" {
			t.Errorf("after two changes at once the user is %s %s, want first last", *got.FirstName, *got.LastName)
		}
		if n := f.number(`SELECT COUNT(*) FROM events WHERE kind = 'user' AND happened = 'CHANGED'`); n != 4 {
			t.Errorf("%d events tell of changed users, want 4", n)
		}
	})
}

func TestDeleteUser(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		session := decode[api.Session](t, f.want(200, "service:proxy-client", "POST", "/api/logins", `{"username":"selimhorri","password":"0000"}`))
		if got := string(f.want(200, "user:1", "DELETE", "/api/users/1", "").body); got != "true\n" {
			t.Errorf("DELETE = %q, want true", got)
		}
		f.want(404, "user:1", "DELETE", "/api/users/1", "")
		f.want(404, "admin:4", "GET", "/api/users/1", "")
		f.want(404, "admin:4", "GET", "/api/credentials/1", "")
		f.want(404, "admin:4", "GET", "/api/address/1", "")
		f.want(404, "admin:4", "GET", "/api/verificationTokens/1", "")
		f.want(422, "user:1", "POST", "/api/address", `{"city":"x"}`)
		f.want(422, "admin:4", "POST", "/api/credentials", `{"user":{"userId":1},"username":"y","password":"a long passphrase"}`)
		f.want(401, "service:proxy-client", "POST", "/api/logins", `{"username":"selimhorri","password":"0000"}`)
		f.want(401, "service:proxy-client", "POST", "/api/refresh-tokens/rotate", `{"refreshToken":"`+session.RefreshToken+`"}`)
		if n := f.number(`SELECT COUNT(*) FROM users WHERE user_id = 1 AND first_name IS NULL AND email IS NULL AND phone IS NULL`); n != 1 {
			t.Errorf("the row of the deleted user still says who it was")
		}
		f.clock.add(3 * time.Second)
		events := decode[api.List[api.Event]](t, f.want(200, "service:order-service", "GET", "/api/events?after=0", "")).Collection
		if len(events) != 1 || events[0].Kind != "user" || events[0].Subject != 1 || events[0].Change != "DELETED" || events[0].Actor != "user:1" {
			t.Errorf("events = %v, want one that tells of the deletion", events)
		}
		// The username is free again.
		f.want(201, "", "POST", "/api/users", `{"credential":{"username":"selimhorri","password":"a long passphrase"}}`)
	})
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		f.want(201, "", "POST", "/api/users", `{"firstName":"new"}`)
		f.want(422, "user:5", "POST", "/api/credentials", `{"username":"later","password":"a long passphrase"}`)
		a := f.want(201, "user:5", "POST", "/api/credentials", `{"credentialId":3000,"userDto":{"userId":"5"},"username":"later","password":"a long passphrase","roleBasedAuthority":"ROLE_USER"}`)
		want := `{"credentialId":5,"username":"later","password":null,"roleBasedAuthority":"ROLE_USER","isEnabled":true,"isAccountNonExpired":true,` +
			`"isAccountNonLocked":true,"isCredentialsNonExpired":true,"user":{"userId":5,"firstName":"new","lastName":null,"imageUrl":null,"email":null,"phone":null}}` + "\n"
		if diff := cmp.Diff(want, string(a.body)); diff != "" {
			t.Errorf("POST /api/credentials (-want +got):\n%s", diff)
		}
		// Clients of the original system send the credential a second time, to link it.
		f.want(200, "user:5", "POST", "/api/credentials", `{"user":{"userId":5},"username":"later","password":"a longer passphrase"}`)
		f.want(401, "service:proxy-client", "POST", "/api/logins", `{"username":"later","password":"a long passphrase"}`)
		f.want(200, "service:proxy-client", "POST", "/api/logins", `{"username":"later","password":"a longer passphrase"}`)
		f.want(200, "user:5", "DELETE", "/api/credentials/5", "")
		f.want(404, "user:5", "DELETE", "/api/credentials/5", "")
		f.want(401, "service:proxy-client", "POST", "/api/logins", `{"username":"later","password":"a longer passphrase"}`)
		if got := string(f.want(200, "user:5", "GET", "/api/users/5", "").body); strings.Contains(got, "credential") {
			t.Errorf("a user without a credential = %s, want no member credential", got)
		}
	})
}

func TestPages(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		userID := func(u api.User) api.ID { return u.UserID }
		list := func(query string) api.List[api.User] {
			t.Helper()
			return decode[api.List[api.User]](t, f.want(200, "admin:4", "GET", "/api/users"+query, ""))
		}
		for query, want := range map[string][]api.ID{
			"":                                    {1, 2, 3, 4},
			"?size=3":                             {1, 2, 3},
			"?size=3&page=1":                      {4},
			"?size=3&page=7":                      {},
			"?sort=userId,desc&size=2":            {4, 3},
			"?sort=phone,desc&size=2":             {4, 3}, // all alike: the id decides, in the same direction
			"?sort=firstName&size=2":              {4, 2},
			"?ids=2,9,4&orderId=unheard":          {2, 4},
			"?after=" + list("?size=2").Page.Next: {3, 4},
		} {
			if diff := cmp.Diff(want, ids(list(query), userID)); diff != "" {
				t.Errorf("GET /api/users%s (-want +got):\n%s", query, diff)
			}
		}
		for query, want := range map[string]int{"?size=0": 422, "?size=1001": 422, "?size=x": 400, "?page=-1": 422, "?sort=shoe": 422, "?ids=x": 400, "?after=x": 400} {
			f.want(want, "admin:4", "GET", "/api/users"+query, "")
		}
	})
}

// Under tienda.access: open the existing resources answer as in the original system.
func TestOpenAccess(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db, func(s *Settings, served *web.API) { s.PasswordRules, served.Open = false, true })
		f.want(200, "", "GET", "/api/users/2", "")
		f.want(200, "", "POST", "/api/users", `{"userId":2,"firstName":"by anybody"}`)
		f.want(200, "user:1", "PUT", "/api/users/2", `{"firstName":"by another"}`)
		created := decode[api.User](t, f.want(201, "", "POST", "/api/users", `{"credential":{"username":"x","password":"1","roleBasedAuthority":"ROLE_ADMIN"}}`))
		if *created.Credential.RoleBasedAuthority != api.RoleUser {
			t.Errorf("registration gave %s, want %s", *created.Credential.RoleBasedAuthority, api.RoleUser)
		}
		f.want(200, "service:proxy-client", "POST", "/api/logins", `{"username":"x","password":"1"}`)
		f.want(201, "", "POST", "/api/address", `{"city":"x","user":{"userId":1}}`)
		f.want(422, "", "POST", "/api/address", `{"city":"x"}`)
		f.want(200, "", "GET", "/api/verificationTokens", "")
		f.want(401, "", "GET", "/api/exports/1", "")
	})
}

func TestExport(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		f.want(200, "service:proxy-client", "POST", "/api/logins", `{"username":"selimhorri","password":"0000"}`)
		a := f.want(200, "user:1", "GET", "/api/exports/1", "")
		export := decode[api.UserExport](t, a)
		if export.User.UserID != 1 || len(export.Addresses) != 2 || len(export.Sessions) != 1 || *export.User.Credential.Username != "selimhorri" {
			t.Errorf("export = %s, want the user, 2 addresses and 1 session", a.body)
		}
		if strings.Contains(string(a.body), "argon2") {
			t.Errorf("the export holds the password's hash: %s", a.body)
		}
	})
}

func TestRun(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		f.want(401, "service:proxy-client", "POST", "/api/logins", `{"username":"nobody","password":"x"}`)
		f.want(200, "service:proxy-client", "POST", "/api/logins", `{"username":"selimhorri","password":"0000"}`)
		f.clock.add(31 * 24 * time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.service.Run(ctx) }()
		kept := `SELECT (SELECT COUNT(*) FROM refresh_tokens) + (SELECT COUNT(*) FROM refresh_families) + (SELECT COUNT(*) FROM login_failures)`
		for deadline := time.Now().Add(10 * time.Second); f.number(kept) > 0; {
			if time.Now().After(deadline) {
				t.Fatalf("%d expired rows are still there", f.number(kept))
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		if n := f.number(`SELECT COUNT(*) FROM signing_keys`); n != 1 {
			t.Errorf("there are %d signing keys, want 1", n)
		}
	})
}
