package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestAdministrator: a shop without demo data comes to its first administrator by the command, while it is open.
func TestAdministrator(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, s *system) {
		environ := environment{}
		if url := s.environ.get("SPRING_DATASOURCE_URL"); url != "" {
			environ = append(environment{"SPRING_DATASOURCE_URL=" + schemaOf(url, "user-service")}, s.environ...)
		}
		grant := func(username string) (string, error) {
			var out lockedBuffer
			err := Run(t.Context(), []string{"administrator", "--data", s.data, username}, environ, terminal{&out, &out})
			return out.String(), err
		}
		const registration = `{"firstName":"Ada","lastName":"L","email":"ada@example.com","credential":{"username":"Ada","password":"a-long-password-17"}}`
		s.call(http.StatusCreated, request{method: "POST", path: "/app/api/users", body: registration})
		ledger := request{method: "GET", path: "/payment-service/api/ledger", token: s.login("Ada", "a-long-password-17")}
		s.call(http.StatusForbidden, ledger)
		if out, err := grant("ada"); err != nil || !strings.Contains(out, "ada is an administrator") {
			t.Fatalf("administrator ada = %q, %v", out, err)
		}
		s.call(http.StatusForbidden, ledger) // a token says what held when it was made
		ledger.token = s.login("ada", "a-long-password-17")
		s.call(http.StatusOK, ledger)
		proofs := request{method: "GET", path: "/user-service/api/verificationTokens", token: ledger.token}
		s.call(http.StatusOK, proofs)
		var credential struct{ CredentialID int }
		s.call(http.StatusOK, request{method: "GET", path: "/user-service/api/credentials/username/ada", token: ledger.token}).decode(t, &credential)
		s.call(http.StatusOK, request{method: "PUT", path: fmt.Sprintf("/user-service/api/credentials/%d", credential.CredentialID), token: s.login("admin", "0000"), body: `{"roleBasedAuthority":"ROLE_USER"}`})
		s.call(http.StatusForbidden, proofs) // where administrators are made, what holds now is asked
		if _, err := grant("nobody"); err == nil || !strings.Contains(err.Error(), `nobody has the username "nobody": register it first`) {
			t.Errorf("administrator nobody = %v", err)
		}
		if _, err := grant(" "); statusOf(err) != statusUsage {
			t.Errorf("administrator with a blank name = %v, want a usage error", err)
		}
	})
}

// TestAdministratorOfNothing: a folder without a shop is told as such, and stays empty.
func TestAdministratorOfNothing(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	err := Run(t.Context(), []string{"administrator", "--data", data, "ada"}, nil, terminal{&lockedBuffer{}, &lockedBuffer{}})
	if err == nil || !strings.Contains(err.Error(), "lacks user-service.db: name the folder of the shop with --data DIR") {
		t.Errorf("administrator in an empty folder = %v", err)
	}
	if files, err := os.ReadDir(data); err != nil || len(files) != 0 {
		t.Errorf("the empty folder holds %v, %v", files, err)
	}
}
