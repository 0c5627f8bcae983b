package favourite

import (
	"net/http"
	"strings"
	"testing"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

// gone handles the event that a user is deleted.
func (f *fixture) gone(t *testing.T, db *sqldb.DB, id api.ID) {
	t.Helper()
	err := db.Tx(t.Context(), func(tx *sqldb.Tx) error {
		return f.service.usersFeed().Apply(t.Context(), tx, api.Event{Kind: "user", Subject: id, Change: "DELETED"})
	})
	if err != nil {
		t.Errorf("Apply() = %v", err)
	}
}

// The token of a deleted user is good for a while, and nothing can be liked with it.
func TestTokenOfADeletedUser(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		f := open(t, db, nil)
		f.call(user, "POST", "/api/favourites", like(1, 1, moment)).want(http.StatusCreated)
		f.call("user:2", "POST", "/api/favourites", like(2, 1, moment)).want(http.StatusCreated)
		f.gone(t, db, 1)
		f.gone(t, db, 1) // an event may come again
		for _, method := range []string{"POST", "PUT"} {
			for _, token := range []string{user, admin} {
				got := f.call(token, method, "/api/favourites", like(1, 1, moment)).want(http.StatusUnprocessableEntity)
				if want := "userId names no user: 1 has been deleted"; !strings.Contains(string(got.body), want) {
					t.Errorf("%s as %s = %s, want %q", method, token, got.body, want)
				}
			}
		}
		f.call("user:2", "POST", "/api/favourites", like(2, 2, moment)).want(http.StatusCreated)
		if left := f.liked(1); left != 0 {
			t.Errorf("a deleted user has %d favourites", left)
		}
	})
}

func (f *fixture) liked(id api.ID) int {
	f.t.Helper()
	return len(decode[api.List[api.Favourite]](f.call(admin, "GET", "/api/favourites?userId="+id.String(), "").want(http.StatusOK)).Collection)
}

// A favourite and the handling of the event meet, each at every moment of the other: the favourite is refused, or
// forgotten.
func TestUserDeletedDuringAWrite(t *testing.T) {
	t.Parallel()
	for _, engine := range sqldbtest.Engines() {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			db, meeting := sqldbtest.OpenMeeting(t, engine, migrations...)
			f := open(t, db, nil)
			id, outcomes := api.ID(1000), map[int]int{}
			for _, handling := range []bool{false, true} {
				for n, met := 1, true; met; n++ {
					id++
					var status int
					save := func() {
						status = f.call("user:"+id.String(), "POST", "/api/favourites", like(int(id), 1, moment)).status
					}
					gone := func() { f.gone(t, db, id) }
					if handling {
						met = meeting.At(n, gone, save)
					} else {
						met = meeting.At(n, save, gone)
					}
					if !met {
						continue
					}
					outcomes[status]++
					if left := f.liked(id); left != 0 {
						t.Errorf("user %d is deleted and has %d favourites; the answer was %d", id, left, status)
					}
				}
			}
			if len(outcomes) != 2 || outcomes[http.StatusCreated] == 0 || outcomes[http.StatusUnprocessableEntity] == 0 {
				t.Errorf("answers by status = %v, want some 201, some 422 and no others", outcomes)
			}
		})
	}
}
