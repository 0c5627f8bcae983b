package product

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
	"tienda/web"
)

// TestEveryWayFindsTheSame: whether products are few or many decides how they are found, not which.
func TestEveryWayFindsTheSame(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addCategory("Computer", 0)
		s.addCategory("Laptops", 1)
		colours, nouns := []string{"Black", "White", "Blue"}, []string{"Laptop", "Lapdog", "Lamp", "Desk"}
		for i := range 60 {
			body := fmt.Sprintf(`{"productTitle":"%s %s %d","sku":"S-%d","priceUnit":%d.50,"quantity":%d,"published":%v,"category":{"categoryId":%d}}`,
				colours[i%3], nouns[i*7%4], i%10, i, 10+i*13%40, i%4, i%9 > 0, 1+i%2)
			s.call(admin, "POST", "/api/products", body).want(201)
		}
		list := func(query string) api.List[api.Product] {
			t.Helper()
			return decode[api.List[api.Product]](s.call("", "GET", "/api/products?"+query, "").want(200))
		}
		ids := func(list api.List[api.Product]) []api.ID {
			all := []api.ID{}
			for _, p := range list.Collection {
				all = append(all, p.ProductID)
			}
			return all
		}
		for _, filter := range []string{"", "q=laptop", "q=lap", "q=black+laptop", "q=laptop+black", "q=white+la", "q=blue+desk+7", "q=nothing", "q=black+nothing", "q=laptop+desk",
			"categoryId=1", "categoryId=2", "minPrice=20&maxPrice=30", "inStock=true", "q=la&inStock=true&minPrice=15", "categoryId=2&q=black&maxPrice=45"} {
			for _, order := range []string{"", "&sort=priceUnit,asc", "&sort=priceUnit,desc", "&sort=productId,desc", "&sort=productTitle,asc", "&sort=quantity,desc"} {
				query := filter + order
				s.service.few = 1000
				whole := list(query)
				want := ids(whole)
				if whole.Page.LowerBound {
					t.Errorf("%s: the total of few is not exact", query)
				}
				s.service.few = 1
				for round, counted := range []bool{false, true} {
					var got []api.ID
					for page := range len(want)/4 + 2 {
						part := list(fmt.Sprintf("%s&size=4&page=%d", query, page))
						got = append(got, ids(part)...)
						total := part.Page.TotalElements
						if full := len(part.Collection) == 4; total != int64(len(want)) && (counted || !part.Page.LowerBound || !full || total > int64(len(want))) {
							t.Errorf("%s, page %d, round %d: total %d (a lower bound: %v), want %d", query, page, round, total, part.Page.LowerBound, len(want))
						}
					}
					if diff := cmp.Diff(want, append([]api.ID{}, got...)); diff != "" {
						t.Errorf("%s, round %d: pages of four (-want +got)\n%s", query, round, diff)
					}
					s.countWanted(t)
				}
			}
		}
		// The cursor goes on behind the last row on every way.
		for _, filter := range []string{"q=laptop", "q=la", "q=black+la", "categoryId=1"} {
			s.service.few = 1000
			want := ids(list(filter))
			s.service.few = 1
			var got []api.ID
			next := ""
			for len(got) < len(want) {
				part := list(filter + "&size=3" + next)
				if len(part.Collection) == 0 {
					break
				}
				got, next = append(got, ids(part)...), "&after="+part.Page.Next
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s by its cursor (-want +got)\n%s", filter, diff)
			}
		}
	})
}

// countWanted does what the background does with the queries that wait to be counted.
func (s *shop) countWanted(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.service.count(ctx) }()
	waits := func() int {
		s.service.totals.mu.Lock()
		defer s.service.totals.mu.Unlock()
		return len(s.service.totals.pending)
	}
	for waits() > 0 {
		time.Sleep(time.Millisecond)
	}
	stop()
	<-done
}

// TestTotalsGrowOld: what everybody asks is counted again in time, once, and forgotten when nobody does.
func TestTotalsGrowOld(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	totals, q := newTotals(), query{text: "SELECT 1 WHERE 1 = ?", args: []any{1}}
	if _, ok := totals.known(q, begin); ok {
		t.Error("a query is known that never ran")
	}
	totals.keep(q, total{n: 7}, begin)
	for _, step := range []struct {
		after  time.Duration
		known  bool
		wanted int
	}{{0, true, 0}, {29 * time.Second, true, 0}, {31 * time.Second, true, 1}, {32 * time.Second, true, 1}, {11 * time.Minute, false, 1}} {
		kept, ok := totals.known(q, begin.Add(step.after))
		if ok != step.known || (ok && kept.n != 7) || len(totals.wanted) != step.wanted {
			t.Errorf("after %v: %+v, %v, and %d are wanted; want known %v and %d", step.after, kept, ok, len(totals.wanted), step.known, step.wanted)
		}
	}
	// What takes long is counted less often.
	slow := query{text: "SELECT 2"}
	totals.keep(slow, total{n: 7, took: time.Second / 10}, begin)
	for _, step := range []struct {
		after  time.Duration
		wanted int
	}{{99 * time.Second, 1}, {101 * time.Second, 2}} {
		if _, ok := totals.known(slow, begin.Add(step.after)); !ok || len(totals.wanted) != step.wanted {
			t.Errorf("after %v a total that took a tenth of a second is known: %v, and %d are wanted, want %d", step.after, ok, len(totals.wanted), step.wanted)
		}
	}
	for i := range 2 * mostTotals {
		totals.keep(query{text: "SELECT ?", args: []any{i}}, total{n: 1}, begin)
	}
	if len(totals.kept) > mostTotals {
		t.Errorf("%d totals are kept, want at most %d", len(totals.kept), mostTotals)
	}
}

// TestFirstPageIsSeen: until the background knows more, the first page that somebody was shown is what the next is
// shown, and nothing else of it.
func TestFirstPageIsSeen(t *testing.T) {
	t.Parallel()
	page := func(query string) web.PageRequest {
		t.Helper()
		page, err := web.ReadPage(httptest.NewRequest("GET", "/?"+query, nil), "p.product_id", productSort)
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	now, q := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC), query{text: "SELECT 1", order: "p.price ASC"}
	of := func(n int64, exact bool, ids ...api.ID) found {
		f := found{total: n, exact: exact}
		for _, id := range ids {
			f.products = append(f.products, api.Product{ProductID: id})
		}
		return f
	}
	for _, test := range []struct {
		name  string
		seen  []found
		query string // of what was seen
		want  map[string][]api.ID
	}{
		{"another page", []found{of(2, false, 7, 3)}, "size=2&page=1", map[string][]api.ID{"size=2": nil, "size=2&page=1": nil}},
		{"behind a cursor", []found{of(2, false, 7, 3)}, "size=2&after=NQ", map[string][]api.ID{"size=2": nil}},
		{"a full page", []found{of(2, false, 7, 3)}, "size=2", map[string][]api.ID{"size=2": {7, 3}, "size=1&page=1": {3}, "size=1&page=2": nil, "size=3": nil, "size=2&page=1": nil}},
		{"all there are", []found{of(2, true, 7, 3)}, "size=3", map[string][]api.ID{"size=3": {7, 3}, "size=1&page=1": {3}, "size=3&page=1": {}, "size=9": {7, 3}}},
		{"none", []found{of(0, true)}, "size=3", map[string][]api.ID{"size=3": {}, "size=3&page=1": {}}},
		{"the longer page", []found{of(1, false, 7), of(2, false, 7, 3), of(1, false, 7)}, "size=2", map[string][]api.ID{"size=2": {7, 3}}},
	} {
		totals := newTotals()
		for _, shown := range test.seen {
			totals.seen(q, page(test.query), shown, 0, now)
		}
		kept, ok := totals.known(q, now)
		for query, want := range test.want {
			shown, whole := kept.page(page(query))
			if diff := cmp.Diff(want, shown, cmpopts.EquateEmpty()); (ok && whole) != (want != nil) || (want != nil && diff != "") {
				t.Errorf("%s: %s is %v, known: %v; want %v", test.name, query, shown, ok && whole, want)
			}
		}
	}
	totals := newTotals()
	totals.keep(q, total{n: 9, ids: []api.ID{3, 7}}, now)
	totals.seen(q, page("size=3"), of(3, true, 7, 3, 1), 0, now)
	if kept, _ := totals.known(q, now); kept.n != 9 {
		t.Errorf("seen again after it was counted: %+v is kept, want what was counted", kept)
	}
}
