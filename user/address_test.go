package user

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		a := f.want(201, "user:1", "POST", "/api/address", `{"fullAddress":"1 Main St","country":"US","user":{"userId":1}}`)
		if got, want := a.header.Get("ETag")+a.header.Get("Location"), `"1"/user-service/api/address/7`; got != want {
			t.Errorf("ETag and Location = %s, want %s", got, want)
		}
		f.want(201, "user:1", "POST", "/api/address", `{"city":"the caller's own"}`)
		f.want(422, "admin:4", "POST", "/api/address", `{"country":"usa","user":{"userId":1}}`)
		f.want(422, "admin:4", "POST", "/api/address", `{"user":{"userId":99}}`)
		f.want(412, "user:1", "PUT", "/api/address/7", `{"city":"x"}`, "If-Match", `"2"`)
		f.want(412, "user:1", "PUT", "/api/address/7", `{"city":"x"}`, "If-Match", `"0"`)
		f.want(412, "user:1", "PUT", "/api/address/7", `{"city":"x"}`, "If-Match", `W/"nonsense"`)
		got := decode[api.Address](t, f.want(200, "user:1", "PUT", "/api/address/7", `{"city":"Springfield"}`, "If-Match", `"1"`))
		if *got.FullAddress != "1 Main St" || *got.City != "Springfield" || got.Version != 2 || got.User.UserID != 1 {
			t.Errorf("PUT = %v, want the city changed and version 2", got)
		}
		f.want(422, "user:1", "PUT", "/api/address/7", `{"user":{"userId":2}}`)
		f.want(200, "user:1", "PUT", "/api/address", `{"addressId":7,"postalCode":"62701"}`)
		f.want(412, "user:1", "DELETE", "/api/address/7", "", "If-Match", `"2"`)

		// Of many conditional writes on one version, one succeeds.
		version := f.want(200, "user:1", "GET", "/api/address/7", "").header.Get("ETag")
		statuses := make([]int, 6)
		var group sync.WaitGroup
		for i := range statuses {
			group.Go(func() {
				statuses[i] = f.call("user:1", "PUT", "/api/address/7", fmt.Sprintf(`{"city":"%d"}`, i), "If-Match", version).status
			})
		}
		group.Wait()
		succeeded := 0
		for _, status := range statuses {
			if status == 200 {
				succeeded++
			} else if status != 412 {
				t.Errorf("conditional PUT = %d, want 200 or 412", status)
			}
		}
		if succeeded != 1 {
			t.Errorf("%d conditional writes on one version succeeded, want 1", succeeded)
		}
		f.want(200, "user:1", "DELETE", "/api/address/7", "")
		f.want(404, "user:1", "DELETE", "/api/address/7", "")
	})
}

func TestVerificationTokens(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations(), func(t *testing.T, db *sqldb.DB) {
		f := newFixture(t, db)
		got := string(f.want(200, "admin:4", "GET", "/api/verificationTokens/1", "").body)
		if want := `{"verificationTokenId":1,"token":"","expireDate":"31-12-2021","credential":{"credentialId":1,"username":"selimhorri","password":null,`; !strings.HasPrefix(got, want) {
			t.Errorf("GET = %s, want it to begin with %s", got, want)
		}
		f.want(422, "admin:4", "POST", "/api/verificationTokens", `{"token":"t"}`)
		f.want(422, "admin:4", "POST", "/api/verificationTokens", `{"token":"t","credential":{"credentialId":99}}`)
		f.want(400, "admin:4", "POST", "/api/verificationTokens", `{"expireDate":"31-31-2026","credential":{"credentialId":2}}`)
		created := f.want(201, "admin:4", "POST", "/api/verificationTokens", `{"verificationTokenId":500,"token":"t","expireDate":"01-02-2030","credentialDto":{"credentialId":2}}`)
		id := decode[api.VerificationToken](t, created).VerificationTokenID.String()
		if location := created.header.Get("Location"); id == "500" || location != "/user-service/api/verificationTokens/"+id {
			t.Errorf("POST with an unknown id made %s at %q, want a new id", id, location)
		}
		changed := decode[api.VerificationToken](t, f.want(200, "admin:4", "PUT", "/api/verificationTokens/"+id, `{"token":"u"}`))
		if *changed.Token != "u" || changed.ExpireDate.Format(time.DateOnly) != "2030-02-01" {
			t.Errorf("PUT = %v, want token u and the date kept", changed)
		}
		f.want(200, "admin:4", "POST", "/api/verificationTokens", `{"verificationTokenId":`+id+`,"expireDate":"2031-02-01"}`)
		f.want(200, "admin:4", "DELETE", "/api/verificationTokens/"+id, "")
		f.want(404, "admin:4", "DELETE", "/api/verificationTokens/"+id, "")
		f.want(404, "admin:4", "PUT", "/api/verificationTokens/"+id, `{}`)
	})
}
