package user

import (
	"fmt"
	"net/http"
	"testing"

	"tienda/api"
	"tienda/sqldb/sqldbtest"
)

// Whatever is done for a user and the deletion of that user meet, each at every moment of the other: it is refused,
// or it goes with the user. Nobody is logged in then, and nothing of theirs is left.
func TestUserDeletedDuringAWrite(t *testing.T) {
	t.Parallel()
	const password = "0000"
	for name, send := range map[string]func(f *fixture, id api.ID, session api.Session) answer{
		"address": func(f *fixture, id api.ID, _ api.Session) answer {
			return f.call("user:"+id.String(), "POST", "/api/address", `{"city":"carthage"}`)
		},
		"user": func(f *fixture, id api.ID, _ api.Session) answer {
			return f.call("user:"+id.String(), "PUT", "/api/users/"+id.String(), `{"firstName":"again"}`)
		},
		"credential": func(f *fixture, id api.ID, _ api.Session) answer {
			return f.call("admin:4", "POST", "/api/credentials", fmt.Sprintf(`{"user":{"userId":%d},"username":"again-%d"}`, id, id))
		},
		"verification token": func(f *fixture, id api.ID, _ api.Session) answer {
			return f.call("admin:4", "POST", "/api/verificationTokens", fmt.Sprintf(`{"token":"x","credential":{"credentialId":%d}}`, id))
		},
		"log-in":  func(f *fixture, id api.ID, _ api.Session) answer { return f.logIn("name-"+id.String(), password) },
		"refresh": func(f *fixture, _ api.ID, session api.Session) answer { return f.rotate(session.RefreshToken) },
	} {
		for _, engine := range sqldbtest.Engines() {
			t.Run(name+" "+engine, func(t *testing.T) {
				t.Parallel()
				db, meeting := sqldbtest.OpenMeeting(t, engine, migrations()...)
				f := newFixture(t, db, noPasswordRules)
				outcomes := map[string]int{}
				for _, deleting := range []bool{false, true} {
					for n, met := 1, true; met; n++ {
						id := api.ID(f.number(`SELECT MAX(user_id) FROM users`) + 1) // that of the credential as well
						f.want(http.StatusCreated, "", "POST", "/api/users", fmt.Sprintf(`{"firstName":"first","credential":{"username":"name-%d","password":%q}}`, id, password))
						session := decode[api.Session](t, f.logIn("name-"+id.String(), password))
						var got answer
						write := func() { got = send(f, id, session) }
						remove := func() {
							if got := f.call("admin:4", "DELETE", "/api/users/"+id.String(), ""); got.status != http.StatusOK {
								t.Errorf("DELETE = %d %s, want 200", got.status, got.body)
							}
						}
						if deleting {
							met = meeting.At(n, remove, write)
						} else {
							met = meeting.At(n, write, remove)
						}
						if !met {
							continue
						}
						switch got.status {
						case http.StatusOK, http.StatusCreated:
							outcomes["accepted"]++
						case http.StatusUnauthorized, http.StatusNotFound, http.StatusUnprocessableEntity:
							outcomes["refused"]++
						default:
							t.Errorf("%s while the user is deleted = %d %s", name, got.status, got.body)
						}
						for what, query := range map[string]string{
							"names":       `SELECT COUNT(*) FROM users WHERE user_id = ? AND first_name IS NOT NULL`,
							"addresses":   `SELECT COUNT(*) FROM address WHERE user_id = ?`,
							"credentials": `SELECT COUNT(*) FROM credentials WHERE user_id = ?`,
							"sessions":    `SELECT COUNT(*) FROM refresh_families WHERE user_id = ? AND revoked_at IS NULL`,
							"tokens":      `SELECT COUNT(*) FROM verification_tokens WHERE credential_id = ?`,
						} {
							if left := f.number(query, int64(id)); left != 0 {
								t.Errorf("user %d is deleted and has %d %s; the answer was %d", id, left, what, got.status)
							}
						}
					}
				}
				if outcomes["accepted"] == 0 || outcomes["refused"] == 0 {
					t.Errorf("answers = %v, want some accepted and some refused", outcomes)
				}
			})
		}
	}
}
