package user

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

const proxy = "service:proxy-client"

func (f *fixture) logIn(username, password string) answer {
	f.t.Helper()
	return f.call(proxy, "POST", "/api/logins", fmt.Sprintf(`{"username":%q,"password":%q}`, username, password))
}

func (f *fixture) rotate(token string) answer {
	f.t.Helper()
	return f.call(proxy, "POST", "/api/refresh-tokens/rotate", fmt.Sprintf(`{"refreshToken":%q}`, token))
}

func (f *fixture) exec(statement string, args ...any) {
	f.t.Helper()
	err := f.db.Tx(f.t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(f.t.Context(), statement, args...)
		return err
	})
	if err != nil {
		f.t.Fatalf("%s: %v", statement, err)
	}
}

func TestLogIn(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		session := decode[api.Session](t, f.logIn("Admin", "0000"))
		if diff := cmp.Diff([]string{api.RoleUser, api.RoleAdmin}, session.Roles); diff != "" || session.User.UserID != 4 || session.RefreshToken == "" {
			t.Errorf("session of admin = %v, want user 4 with both roles and a refresh token", session)
		}
		refusals := map[string]bool{}
		for name, prepare := range map[string]string{
			"wrong password": "",
			"disabled":       `UPDATE credentials SET is_enabled = FALSE WHERE user_id = 1`,
			"locked":         `UPDATE credentials SET is_enabled = TRUE, is_account_non_locked = FALSE WHERE user_id = 1`,
			"no password":    `UPDATE credentials SET is_account_non_locked = TRUE, password_hash = '' WHERE user_id = 1`,
			"strange hash":   `UPDATE credentials SET is_account_non_locked = TRUE, password_hash = '$2a$31$SjiWCXFwS6Cq4gFm4lSBCuYQDqjxcRFLTE3uYsNDGhXVbMPWQTBXm' WHERE user_id = 1`,
		} {
			password := "0000"
			if prepare == "" {
				password = "0001"
			} else {
				f.exec(prepare)
			}
			f.exec(`DELETE FROM login_failures`)
			a := f.logIn("selimhorri", password)
			if a.status != 401 {
				t.Errorf("%s: log-in = %d %s, want 401", name, a.status, a.body)
			}
			refusals[decode[api.Problem](t, a).Msg] = true
		}
		refusals[decode[api.Problem](t, f.logIn("nobody at all", "0000")).Msg] = true
		if len(refusals) != 1 || !refusals["#### Bad credentials! ####"] {
			t.Errorf("refusals say %v, want all the same", refusals)
		}
		for body, want := range map[string]int{`{"username":"a"}`: 400, `{"username":" ","password":""}`: 400, `{"username":"a","password":"x","more":1}`: 400, ``: 400} {
			f.want(want, proxy, "POST", "/api/logins", body)
		}
	})
}

// What is wrong does not show in how long a refusal takes.
func TestRefusalsTakeAsLong(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sqldbtest.Open(t, "sqlite", migrations()...))
	f.service.refusal = 700 * time.Millisecond
	for _, username := range []string{"selimhorri", "nobody"} {
		start := time.Now()
		if a := f.logIn(username, "wrong"); a.status != 401 {
			t.Errorf("log-in of %s = %d, want 401", username, a.status)
		}
		if took := time.Since(start); took < f.service.refusal {
			t.Errorf("refusing %s took %v, want at least %v", username, took, f.service.refusal)
		}
	}
}

func TestFailuresDelay(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		for _, username := range []string{"selimhorri", "unknown"} {
			for i := range freeFailures {
				if a := f.logIn(username, "wrong"); a.status != 401 {
					t.Fatalf("failure %d of %s = %d, want 401", i+1, username, a.status)
				}
			}
			for _, want := range []string{"1", "2", "4"} {
				a := f.logIn(username, "0000")
				if got := a.header.Get("Retry-After"); a.status != 429 || got != want {
					t.Fatalf("log-in of %s = %d with Retry-After %s, want 429 with %s", username, a.status, got, want)
				}
				f.clock.add(5 * time.Second)
				if a := f.logIn(username, "wrong"); a.status != 401 {
					t.Fatalf("log-in of %s after the delay = %d, want 401", username, a.status)
				}
			}
		}
		// Another replica knows of the failures; the right password forgets them.
		other := newFixture(t, db)
		other.clock.at = f.clock.now()
		if a := other.logIn("Unknown", "0000"); a.status != 429 {
			t.Errorf("log-in at another replica = %d, want 429", a.status)
		}
		other.clock.add(time.Hour)
		if a := other.logIn("selimhorri", "0000"); a.status != 200 {
			t.Errorf("log-in after the delay = %d, want 200", a.status)
		}
		if a := other.logIn("selimhorri", "wrong"); a.status != 401 {
			t.Errorf("first failure after a log-in = %d, want 401", a.status)
		}
		if n := f.number(`SELECT failures FROM login_failures WHERE username_hash = ?`, hashText("selimhorri")); n != 1 {
			t.Errorf("%d failures are counted, want 1", n)
		}
	})
}

func TestDelayAfter(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{5: time.Second, 6: 2 * time.Second, 10: 32 * time.Second, 13: 256 * time.Second, 14: longestDelay, 1 << 30: longestDelay} {
		if got := delayAfter(failures); got != want {
			t.Errorf("delayAfter(%d) = %v, want %v", failures, got, want)
		}
	}
}

// Guesses that come all at once do not slip past the limit, nor do those that hang up.
func TestGuessesAtOnce(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() { f.logIn("selimhorri", "wrong") })
		}
		group.Wait()
		if n := f.number(`SELECT failures FROM login_failures`); n < freeFailures || n > freeFailures+hashSlots {
			t.Errorf("%d of 16 guesses at once were looked at, want %d to %d", n, freeFailures, freeFailures+hashSlots)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.service.countFailure(ctx, "impatient"); err != nil {
			t.Errorf("countFailure() of a client that has gone = %v, want nil", err)
		}
	})
}

func TestImportedHash(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		imported, err := bcrypt.GenerateFromPassword([]byte("0000"), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		f.exec(`UPDATE credentials SET password_hash = ? WHERE user_id = 1`, string(imported))
		if a := f.logIn("selimhorri", "0001"); a.status != 401 {
			t.Errorf("log-in with a wrong password = %d, want 401", a.status)
		}
		statuses := make([]int, 3)
		var group sync.WaitGroup
		for i := range statuses { // at once: the hash that one verifies is replaced by the other
			group.Go(func() { statuses[i] = f.logIn("selimhorri", "0000").status })
		}
		group.Wait()
		if diff := cmp.Diff([]int{200, 200, 200}, statuses); diff != "" {
			t.Errorf("log-ins at once (-want +got):\n%s", diff)
		}
		if n := f.number(`SELECT COUNT(*) FROM credentials WHERE user_id = 1 AND password_hash LIKE '$argon2id$%'`); n != 1 {
			t.Errorf("the imported hash was not replaced")
		}
		if a := f.logIn("selimhorri", "0000"); a.status != 200 {
			t.Errorf("log-in with the new hash = %d, want 200", a.status)
		}
	})
}

func TestRefreshTokens(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		begin := func() string { return decode[api.Session](t, f.logIn("selimhorri", "0000")).RefreshToken }
		first, other := begin(), begin()
		if n := f.number(`SELECT COUNT(*) FROM refresh_tokens WHERE token_hash = ?`, first); n != 0 {
			t.Errorf("the refresh token is stored as it is")
		}
		second := decode[api.Session](t, f.rotate(first)).RefreshToken
		third := decode[api.Session](t, f.rotate(second)).RefreshToken
		for _, c := range []struct{ name, token string }{
			{"used", first}, {"newest of the family of a used one", third}, {"unknown", "x"}, {"empty", ""},
		} {
			if a := f.rotate(c.token); a.status != 401 {
				t.Errorf("rotate(%s) = %d %s, want 401", c.name, a.status, a.body)
			}
		}
		if a := f.rotate(third); a.status != 401 {
			t.Errorf("the newest token of a family with reuse = %d, want 401", a.status)
		}
		// The other session is not touched; log-out ends it.
		other = decode[api.Session](t, f.rotate(other)).RefreshToken
		f.want(204, proxy, "POST", "/api/refresh-tokens/revoke", `{"refreshToken":"`+other+`"}`)
		f.want(204, proxy, "POST", "/api/refresh-tokens/revoke", `{"refreshToken":"`+other+`"}`)
		f.want(204, proxy, "POST", "/api/refresh-tokens/revoke", `{"refreshToken":"unknown"}`)
		if a := f.rotate(other); a.status != 401 {
			t.Errorf("rotate() after log-out = %d, want 401", a.status)
		}

		token := begin()
		f.clock.add(30*24*time.Hour + time.Second)
		if a := f.rotate(token); a.status != 401 {
			t.Errorf("rotate() of an expired token = %d, want 401", a.status)
		}
		token = begin()
		f.want(200, "user:1", "PUT", "/api/users/1", `{"credential":{"password":"a long passphrase"}}`)
		if a := f.rotate(token); a.status != 401 {
			t.Errorf("rotate() after the password changed = %d, want 401", a.status)
		}
		token = decode[api.Session](t, f.logIn("selimhorri", "a long passphrase")).RefreshToken
		f.want(200, "admin:4", "PUT", "/api/credentials/1", `{"isEnabled":false}`)
		if a := f.rotate(token); a.status != 401 {
			t.Errorf("rotate() of a disabled account = %d, want 401", a.status)
		}
	})
}

// Used by two at once, a token gives one new token at most, and the session ends.
func TestRefreshTokenAtOnce(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		token := decode[api.Session](t, f.logIn("selimhorri", "0000")).RefreshToken
		answers := make([]answer, 4)
		var group sync.WaitGroup
		for i := range answers {
			group.Go(func() { answers[i] = f.rotate(token) })
		}
		group.Wait()
		next := ""
		for _, a := range answers {
			switch {
			case a.status == 200 && next == "":
				next = decode[api.Session](t, a).RefreshToken
			case a.status != 401:
				t.Errorf("rotate() = %d, want one 200 and then 401", a.status)
			}
		}
		if a := f.rotate(next); next == "" || a.status != 401 {
			t.Errorf("rotate() after reuse = %d, want 401", a.status)
		}
	})
}

func TestSigningKeys(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		read := func() []api.SigningKey {
			t.Helper()
			return decode[api.List[api.SigningKey]](t, f.want(200, proxy, "GET", "/api/signing-keys", "")).Collection
		}
		var group sync.WaitGroup
		for range 6 { // replicas that start together make one key
			group.Go(func() {
				if keys := read(); len(keys) != 1 {
					t.Errorf("at the start there are %d keys, want 1", len(keys))
				}
			})
		}
		group.Wait()
		start := f.clock.now()
		first := read()[0]
		if !first.SignFrom.Equal(start) || !first.VerifyUntil.IsZero() || len(first.Seed) != ed25519.SeedSize {
			t.Errorf("first key = %v, want one that signs at once", first)
		}
		f.clock.add(24*time.Hour - keyLead)
		for range 6 {
			group.Go(func() { read() })
		}
		group.Wait()
		keys := read()
		if len(keys) != 2 || keys[0].KeyID != first.KeyID || keys[1].KeyID == first.KeyID {
			t.Fatalf("before the first key's time is over there are %d keys, want 2", len(keys))
		}
		if want := start.Add(24 * time.Hour); !keys[1].SignFrom.Equal(want) || keys[0].VerifyUntil.Before(want.Add(15*time.Minute)) {
			t.Errorf("the second key signs from %v and the first verifies until %v, want from %v and until its last token has expired",
				keys[1].SignFrom, keys[0].VerifyUntil, want)
		}
		f.clock.add(keyLead + 20*time.Minute)
		if keys := read(); len(keys) != 1 || keys[0].KeyID == first.KeyID {
			t.Errorf("when the first key has ended there are %d keys, want the second only", len(keys))
		}
		// After a long time without anybody, the next key is still published before it signs.
		f.clock.add(30 * 24 * time.Hour)
		if keys := read(); len(keys) != 2 || keys[1].SignFrom.Sub(f.clock.now()) != keyLead {
			t.Errorf("after a month keys = %d, want a second one that signs %v from now", len(keys), keyLead)
		}
	})
}

func TestHasherIsBounded(t *testing.T) {
	t.Parallel()
	h := newHasher()
	var releases []func()
	for range hashSlots {
		release, err := h.acquire(t.Context())
		if err != nil {
			t.Fatalf("acquire() = %v", err)
		}
		releases = append(releases, release)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range hashQueue {
		group.Go(func() {
			if _, err := h.acquire(ctx); err == nil {
				t.Errorf("acquire() without a free slot = nil")
			}
		})
	}
	for deadline := time.Now().Add(2 * time.Second); len(h.waiting) < hashQueue && time.Now().Before(deadline); {
	}
	if _, err := h.acquire(t.Context()); !api.IsStatus(err, 429) {
		t.Errorf("acquire() with a full queue = %v, want 429", err)
	}
	cancel()
	group.Wait()
	for _, release := range releases {
		release()
	}
	if release, err := h.acquire(t.Context()); err != nil {
		t.Errorf("acquire() after all were released = %v", err)
	} else {
		release()
	}
}

func TestVerifyPassword(t *testing.T) {
	t.Parallel()
	cheap := "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$"
	for _, test := range []struct {
		name, hash, password string
		ok, outdated         bool
	}{
		{"ours", hashPassword("s"), "s", true, false},
		{"another password", hashPassword("s"), "t", false, false},
		{"none", "", "s", false, false},
		{"other parameters", cheap + "AAAAAAAAAAAAAAAAAAAAAA", "s", false, true},
		{"of the original system", "$2a$04$1G4TlGPFZsNDgNhfNmXvIOA5qwrWm5DN5x9wWGhVmCn2wu0kI8Z1y", "0000", false, true},
	} {
		ok, outdated := verifyPassword(test.hash, test.password)
		if ok != test.ok || outdated != test.outdated {
			t.Errorf("%s: verifyPassword() = %t, %t, want %t, %t", test.name, ok, outdated, test.ok, test.outdated)
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	for _, seed := range []string{unknownHash, "", "$argon2id$", "$argon2id$v=19$m=7168,t=5,p=1$$", "$argon2id$v=19$m=4294967295,t=1,p=1$c2FsdHNhbHQ$AAAA", "$2a$04$x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePHC(text)
		if err == nil && (p.memory > hashMemory || p.memory < 8 || p.time > 4*hashTime || p.threads > 4 || len(p.key) > 64) {
			t.Errorf("parsePHC(%q) = %v, want an error for what costs too much", text, p)
		}
	})
}

// Whatever is sent, registering answers without a 5xx.
func FuzzRegister(f *testing.F) {
	for _, seed := range []string{`{"firstName":"a","credential":{"username":"b"}}`, `{"userId":"1","email":"a@b"}`, `{"credentialDto":{"userDto":{}}}`, `{"email":"\ud800"}`} {
		f.Add([]byte(seed))
	}
	db := sqldbtest.Open(f, "sqlite", migrations()...)
	f.Fuzz(func(t *testing.T, body []byte) {
		service := newFixture(t, db, noPasswordRules)
		if a := service.call("", "POST", "/api/users", string(body)); a.status >= 500 {
			t.Errorf("POST /api/users %q = %d %s", body, a.status, a.body)
		}
	})
}

// A token says what held when it was made: whoever was an administrator then and is none now is a user like others, and can make nobody an
// administrator.
func TestStanding(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		const proofs, own, other = "/api/verificationTokens", "/api/users/1", "/api/credentials/2"
		const administrator, customer = `{"roleBasedAuthority":"ROLE_ADMIN"}`, `{"roleBasedAuthority":"ROLE_USER"}`
		set := func(body string) { f.want(200, "admin:4", "PUT", "/api/credentials/1", body) }
		mayNot := func() {
			t.Helper()
			f.want(403, "admin:1", "GET", proofs, "")
			f.want(404, "admin:1", "PUT", other, administrator) // somebody else's, which a user does not see
			f.want(403, "admin:1", "PUT", "/api/credentials/1", `{"isCredentialsNonExpired":false}`)
			f.want(200, "admin:1", "GET", own, "")
		}
		mayNot() // user 1 is a customer, whatever the token says
		set(administrator)
		f.want(200, "admin:1", "GET", proofs, "")
		set(`{"isAccountNonLocked":false}`)
		mayNot()
		f.want(403, "admin:1", "PUT", "/api/credentials/1", `{"isAccountNonLocked":true}`)
		set(`{"isAccountNonLocked":true}`)
		f.want(200, "admin:1", "PUT", other, administrator)
		set(customer)
		mayNot()
		f.want(403, "user:2", "GET", proofs, "") // and nobody gets what their token does not say
		set(administrator)
		f.want(200, "admin:4", "DELETE", own, "")
		f.want(403, "admin:1", "GET", proofs, "")
		f.want(404, "admin:1", "PUT", "/api/credentials/4", customer)
	})
}
