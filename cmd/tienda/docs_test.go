package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestDocuments: the document of every service is valid, and is there at the gateway.
func TestDocuments(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "sqlite")
	page := s.call(http.StatusOK, request{method: "GET", path: "/swagger-ui/"})
	for _, name := range append(businessServices(), "proxy-client") {
		path := rowOf(name).Context + "/v3/api-docs"
		if !strings.Contains(string(page.body), path) {
			t.Errorf("the page does not offer %s", path)
		}
		doc := s.document(path)
		if err := doc.Validate(openapi3.NewLoader().Context); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for pattern, item := range doc.Paths.Map() {
			for method, operation := range item.Operations() {
				if operation.Summary == "" || operation.OperationID == "" {
					t.Errorf("%s %s has no summary", method, pattern)
				}
			}
		}
	}
}

func (s *system) document(path string) *openapi3.T {
	s.tb.Helper()
	a := s.call(http.StatusOK, request{method: "GET", path: path})
	doc, err := openapi3.NewLoader().LoadFromData(a.body)
	if err != nil {
		s.tb.Fatalf("%s: %v", path, err)
	}
	return doc
}

// TestExamplesWork pastes the example of every operation that has one, in a shop where user 1 has bought
// something: none is refused for what it says. A 409 is fine, since several examples are about the same
// rows; and only the last answer holds a refresh token.
func TestExamplesWork(t *testing.T) {
	t.Parallel()
	for _, name := range append(businessServices(), "proxy-client") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, t.TempDir(), "sqlite")
			user, admin := s.login("selimhorri", "0000"), s.login("admin", "0000")
			s.call(http.StatusOK, request{method: "GET", path: "/order-service/api/carts/mine", token: user}) // the fifth: the demo has four
			for _, cart := range []int{1, 5} {
				s.call(http.StatusOK, request{method: "PUT", path: fmt.Sprintf("/order-service/api/carts/%d/items/2", cart), token: user, body: `{"quantity":1}`})
			}
			s.call(http.StatusCreated, request{method: "POST", path: "/order-service/api/carts/5/checkout", token: user, body: checkoutBody("tok_ok"), header: key("before")})
			doc := s.document(rowOf(name).Context + "/v3/api-docs")
			paths := doc.Paths.Map()
			// Deletions come last, in the order of their paths.
			for _, method := range []string{"POST", "GET", "PUT", "DELETE"} {
				for _, pattern := range slices.Sorted(maps.Keys(paths)) {
					operation := paths[pattern].GetOperation(method)
					if operation == nil || operation.RequestBody == nil {
						continue
					}
					s.paste(method, pattern, operation, user, admin)
				}
			}
		})
	}
}

func (s *system) paste(method, pattern string, operation *openapi3.Operation, user, admin string) {
	s.tb.Helper()
	r := request{method: method, path: pattern, token: user, header: http.Header{}}
	if strings.Contains(operation.Description, "admin") {
		r.token = admin
	}
	for _, parameter := range operation.Parameters {
		switch p := parameter.Value; p.In {
		case "path":
			r.path = strings.ReplaceAll(r.path, "{"+p.Name+"}", fmt.Sprint(p.Schema.Value.Example))
		case "header":
			r.header.Set(p.Name, fmt.Sprint(p.Example))
		}
	}
	body, err := json.Marshal(operation.RequestBody.Value.Content["application/json"].Examples["example"].Value.Value)
	if err != nil {
		s.tb.Fatal(err)
	}
	r.body = string(body)
	a, err := s.try(r)
	if err != nil {
		s.tb.Fatal(err)
	}
	if a.status == http.StatusUnauthorized && strings.Contains(r.body, "refreshToken") {
		return
	}
	if a.status >= 500 || (a.status >= 400 && a.status != http.StatusConflict) {
		s.tb.Errorf("%s %s %s: %d %.400s", method, r.path, body, a.status, a.body)
	}
}
