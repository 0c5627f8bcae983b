package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
)

func TestValidateUser(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		`{}`:                                    nil,
		`{"firstName":"José\tLuis","email":""}`: nil,
		`{"email":"a@example.com","credential":{"username":"a b","password":"","roleBasedAuthority":"ROLE_ADMIN"}}`: nil,
		`{"email":"a@example.com\u0000"}`:                                                     {"email"},
		`{"email":"<a@example.com>"}`:                                                         {"email"},
		`{"email":"` + strings.Repeat("a", 250) + `@example.com"}`:                            {"email"},
		`{"firstName":"` + strings.Repeat("ñ", 256) + `","phone":"\u001b[31m"}`:               {"firstName", "phone"},
		`{"credential":{"username":" a","roleBasedAuthority":"role_admin"}}`:                  {"credential.username", "credential.roleBasedAuthority"},
		`{"credentialDto":{"username":"a\nb","password":"` + strings.Repeat("é", 257) + `"}}`: {"credential.username", "credential.password"},
	} {
		var u api.User
		if err := json.Unmarshal([]byte(text), &u); err != nil {
			t.Fatalf("decode %s: %v", text, err)
		}
		var got []string
		for _, e := range u.Validate() {
			got = append(got, e.Field)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Validate(%.80s) (-want +got):\n%s", text, diff)
		}
	}
}

func TestValidateAddress(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{`{}`: 0, `{"country":"TN"}`: 0, `{"country":"tn"}`: 1, `{"country":""}`: 1, `{"city":"\u0007","country":"XX"}`: 2} {
		var a api.Address
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatalf("decode %s: %v", text, err)
		}
		if got := len(a.Validate()); got != want {
			t.Errorf("Validate(%s) = %d errors, want %d", text, got, want)
		}
	}
}

// Rows reads to the last page and no further.
func TestRows(t *testing.T) {
	t.Parallel()
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		rows := map[string]string{"0": `{"n":1},{"n":2}`, "1": `{"n":3}`}[r.URL.Query().Get("page")]
		_, _ = fmt.Fprintf(w, `{"collection":[%s],"page":{"size":2,"totalElements":3}}`, rows)
		if r.URL.Query().Get("userId") != "5" {
			t.Errorf("query = %s, want userId=5 on every page", r.URL.RawQuery)
		}
	}))
	t.Cleanup(server.Close)
	client := api.NewGatewayClient(server.Client(), server.URL)
	rows, err := client.Rows(t.Context(), "order-service", "/api/orders", url.Values{"userId": {"5"}})
	if err != nil || len(rows) != 3 || string(rows[2]) != `{"n":3}` || calls != 2 {
		t.Errorf("Rows() = %s, %v in %d calls, want 3 rows in 2", rows, err, calls)
	}
}

// A refusal that says when to come back says so two hops away.
func TestRetryAfterCrossesAHop(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "8")
		w.WriteHeader(http.StatusTooManyRequests)
		_ = json.NewEncoder(w).Encode(api.TooManyRequests(8*time.Second, "wait"))
	}))
	t.Cleanup(server.Close)
	_, err := api.NewGatewayClient(server.Client(), server.URL).LogIn(t.Context(), api.Login{})
	p, ok := err.(*api.Problem)
	if !ok || p.RetryAfter != 8*time.Second || p.Detail != "wait" {
		t.Errorf("LogIn() = %#v, want the problem with RetryAfter 8s", err)
	}
}

// What can be decoded can be encoded and decoded again, to the same.
func FuzzDecodeUser(f *testing.F) {
	for _, seed := range []string{
		`{"userId":"5","credentialDto":{"credentialId":1,"userDto":{"userId":2}}}`, `{"addressDtos":[{"country":null,"userDto":{}}]}`,
		`{"credential":{"verificationTokenDtos":[{"expireDate":"31-12-2021","credentialDto":{}}]}}`, `null`, `{"userId":5.0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var u, again api.User
		if json.Unmarshal(data, &u) != nil {
			return
		}
		_ = u.Validate() // must not panic
		text, err := json.Marshal(u)
		if err == nil {
			err = json.Unmarshal(text, &again)
		}
		if err != nil {
			t.Fatalf("decoded %q comes back as %q: %v", data, text, err)
		}
		if diff := cmp.Diff(u, again); diff != "" {
			t.Errorf("decoded %q comes back different (-want +got):\n%s", data, diff)
		}
	})
}
