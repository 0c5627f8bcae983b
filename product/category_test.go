package product

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

func (s *shop) addCategory(title string, parent api.ID) api.ID {
	s.t.Helper()
	body := fmt.Sprintf(`{"categoryTitle":%q,"parentCategory":{"categoryId":%d}}`, title, parent)
	if parent == 0 {
		body = fmt.Sprintf(`{"categoryTitle":%q}`, title)
	}
	return decode[api.Category](s.call(admin, "POST", "/api/categories", body).want(201)).CategoryID
}

func TestCategoryLife(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		root := s.call(admin, "POST", "/api/categories", `{"categoryTitle":"Computer","imageUrl":"xxx"}`).want(201)
		want := `{"categoryId":1,"categoryTitle":"Computer","imageUrl":"xxx","parentCategory":{"categoryId":null,"categoryTitle":null,"imageUrl":null}}`
		if diff := diffJSON(t, want, root.body); diff != "" {
			t.Errorf("POST root (-want +got)\n%s", diff)
		}
		if got, want := root.header.Get("Location"), "/product-service/api/categories/1"; got != want {
			t.Errorf("Location = %q, want %q", got, want)
		}
		child := s.call(admin, "POST", "/api/categories", `{"categoryTitle":"Laptops","parentCategoryDto":{"categoryId":"1"},"productDtos":[]}`).want(201)
		want = `{"categoryId":2,"categoryTitle":"Laptops","imageUrl":null,"parentCategory":{"categoryId":1,"categoryTitle":"Computer","imageUrl":"xxx"}}`
		if diff := diffJSON(t, want, child.body); diff != "" {
			t.Errorf("POST child (-want +got)\n%s", diff)
		}
		if diff := diffJSON(t, want, s.call("", "GET", "/api/categories/2", "").want(200).body); diff != "" {
			t.Errorf("GET child (-want +got)\n%s", diff)
		}
		changed := decode[api.Category](s.call(admin, "PUT", "/api/categories/2", `{"imageUrl":"yyy"}`).want(200))
		if *changed.CategoryTitle != "Laptops" || *changed.ImageURL != "yyy" || changed.Parent.CategoryID != 1 {
			t.Errorf("PUT = %+v, want what was not sent unchanged", changed)
		}
		changed = decode[api.Category](s.call(admin, "PUT", "/api/categories", `{"categoryId":2,"parentCategory":{"categoryId":null}}`).want(200))
		if changed.Parent.CategoryID != 0 {
			t.Errorf("parent = %d after it was set to none", changed.Parent.CategoryID)
		}
		if id := decode[api.Category](s.call(admin, "POST", "/api/categories", `{"categoryId":50,"categoryTitle":"x"}`).want(201)).CategoryID; id != 3 {
			t.Errorf("POST with an unknown id made category %d, want 3", id)
		}
		list := decode[api.List[api.Category]](s.call("", "GET", "/api/categories?sort=categoryTitle,desc", "").want(200))
		var titles []string
		for _, category := range list.Collection {
			titles = append(titles, *category.CategoryTitle)
		}
		if diff := cmp.Diff([]string{"x", "Laptops", "Computer"}, titles); diff != "" || list.Page.TotalElements != 3 {
			t.Errorf("list (-want +got)\n%s", diff)
		}
	})
}

func TestCategoryRefused(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		root := s.addCategory("root", 0)
		child := s.addCategory("child", root)
		s.addCategory("grandchild", child)
		for _, test := range []struct {
			name, method, path, body string
			status                   int
		}{
			{"itself as parent", "PUT", "/api/categories/1", `{"parentCategory":{"categoryId":1}}`, 422},
			{"own grandchild as parent", "PUT", "/api/categories/1", `{"parentCategory":{"categoryId":3}}`, 422},
			{"own child as parent by POST", "POST", "/api/categories", `{"categoryId":1,"parentCategory":{"categoryId":2}}`, 422},
			{"unknown parent", "POST", "/api/categories", `{"parentCategory":{"categoryId":99}}`, 422},
			{"long title", "POST", "/api/categories", `{"categoryTitle":"` + strings.Repeat("x", 256) + `"}`, 422},
			{"parent of the wrong type", "POST", "/api/categories", `{"parentCategory":[1]}`, 400},
			{"unknown category", "PUT", "/api/categories/99", `{}`, 404},
			{"unknown category read", "GET", "/api/categories/99", ``, 404},
			{"id that is no number", "GET", "/api/categories/abc", ``, 404},
			{"unknown category deleted", "DELETE", "/api/categories/99", ``, 404},
		} {
			t.Run(test.name, func(t *testing.T) {
				s.call(admin, test.method, test.path, test.body).want(test.status)
			})
		}
	})
}

func TestDeleteCategoryHidesAllBelow(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		root := s.addCategory("root", 0)
		child := s.addCategory("child", root)
		other := s.addCategory("other", 0)
		for _, category := range []api.ID{root, child, other} {
			s.call(admin, "POST", "/api/products", fmt.Sprintf(`{"productTitle":"p","category":{"categoryId":%d}}`, category)).want(201)
		}
		list := decode[api.List[api.Product]](s.call("", "GET", "/api/products?categoryId="+root.String(), "").want(200))
		if diff := cmp.Diff([]api.ID{1, 2}, productIDs(list)); diff != "" {
			t.Errorf("products of the root with those below (-want +got)\n%s", diff)
		}
		s.call(admin, "DELETE", "/api/categories/1", "").want(200)
		s.call("", "GET", "/api/categories/1", "").want(404)
		s.call("", "GET", "/api/categories/2", "").want(404)
		list = decode[api.List[api.Product]](s.call(admin, "GET", "/api/products", "").want(200))
		if diff := cmp.Diff([]api.ID{3}, productIDs(list)); diff != "" {
			t.Errorf("products that are left (-want +got)\n%s", diff)
		}
		s.call(admin, "POST", "/api/products", `{"category":{"categoryId":2}}`).want(422)
		list = decode[api.List[api.Product]](s.call("", "GET", "/api/products?categoryId=1", "").want(200))
		if len(list.Collection) != 0 {
			t.Errorf("a hidden category has %d products, want 0", len(list.Collection))
		}
	})
}

// Two changes at once that would close a circle together: one of each pair must be refused.
func TestTreeStaysATree(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		for range 10 {
			a, b := s.addCategory("a", 0), s.addCategory("b", 0)
			var statuses [2]int
			var wait sync.WaitGroup
			for i, pair := range [][2]api.ID{{a, b}, {b, a}} {
				wait.Go(func() {
					statuses[i] = s.call(admin, "PUT", "/api/categories/"+pair[0].String(), fmt.Sprintf(`{"parentCategory":{"categoryId":%d}}`, pair[1])).status
				})
			}
			wait.Wait()
			if statuses[0]+statuses[1] != 200+422 {
				t.Errorf("two crossing moves = %v, want one 200 and one 422", statuses)
			}
		}
	})
}
