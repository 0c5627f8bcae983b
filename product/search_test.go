package product

import (
	"net/url"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/sqldb"
	"tienda/sqldb/sqldbtest"
)

func TestTerms(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                           nil,
		" - ":                        nil,
		"Asus ZenBook 14":            {"asus", "zenbook", "14"},
		"ASU-ZB14/OLED":              {"asu", "zb14", "oled"},
		"Café Crème, l'été":          {"cafe", "creme", "lete"},
		"Straße Ørsted Łódź":         {"strasse", "orsted", "lodz"},
		"ﬁne ｗｉｄｅ":                   {"fine", "wide"},
		"日本語 キーボード":                  {"日本語", "キーホート"},
		"one one":                    {"one", "one"},
		"emoji 🎮 between":            {"emoji", "between"},
		"İstanbul":                   {"istanbul"},
		"a\u0301 decomposed e\u0301": {"a", "decomposed", "e"},
	} {
		if diff := cmp.Diff(want, terms(text)); diff != "" {
			t.Errorf("terms(%q) (-want +got)\n%s", text, diff)
		}
	}
}

// A term is one that the search finds again: short enough for its column, and the same when it is
// taken apart once more.
func FuzzTerms(f *testing.F) {
	for _, seed := range []string{"Asus ZenBook 14", "Café-Crème", "Straße", "日本語", "\xff\x00", "İ'ı", "ǅ ᾼ", "ﷺ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, term := range terms(text) {
			if n := utf8.RuneCountInString(term); n == 0 || n > maxTerm || !utf8.ValidString(term) {
				t.Errorf("terms(%q) holds %q of %d characters", text, term, n)
			}
			if again := terms(term); !slices.Equal(again, []string{term}) {
				t.Errorf("terms(%q) = %q, want itself", term, again)
			}
		}
		if words, nothing, err := searchWords(text); err == nil && nothing && len(words) > 0 {
			t.Errorf("searchWords(%q) has words and says that there is nothing to look for", text)
		}
	})
}

func TestSearch(t *testing.T) {
	t.Parallel()
	sqldbtest.Each(t, migrations, func(t *testing.T, db *sqldb.DB) {
		s := open(t, db)
		s.addCategory("Computer", 0)
		s.addCategory("Laptops", 1)
		s.addCategory("Ultrabooks", 2)
		for _, body := range []string{
			`{"productTitle":"Asus Zenbook 14 OLED","sku":"ASU-ZB14","priceUnit":1099,"quantity":3,"category":{"categoryId":3}}`,
			`{"productTitle":"Asus VivoBook 15","sku":"ASU-VB15","priceUnit":649.50,"quantity":0,"category":{"categoryId":2}}`,
			`{"productTitle":"Café Crème machine","sku":"CAF-1","priceUnit":89,"quantity":9}`,
			`{"productTitle":"Straße der Ölsardinen 100%_fun","sku":"STR-1","priceUnit":0,"quantity":1,"category":{"categoryId":1}}`,
			`{"sku":"bare"}`,
		} {
			s.call(admin, "POST", "/api/products", body).want(201)
		}
		for _, test := range []struct {
			query string
			want  []api.ID
		}{
			{"q=asus", []api.ID{1, 2}},
			{"q=ASUS+zen", []api.ID{1}},
			{"q=14+asus", []api.ID{1}},
			{"q=zen+asus", []api.ID{}}, // only the last word may be a beginning
			{"q=asu-zb14", []api.ID{1}},
			{"q=asu+vb", []api.ID{2}},
			{"q=cafe", []api.ID{3}},
			{"q=CR%C3%88ME", []api.ID{3}},
			{"q=strasse", []api.ID{4}},
			{"q=" + url.QueryEscape("%"), []api.ID{}},
			{"q=_", []api.ID{}},
			{"q=" + url.QueryEscape("' OR 1=1 --"), []api.ID{}},
			{"q=+&sort=productId,desc", []api.ID{5, 4, 3, 2, 1}},
			{"q=bare", []api.ID{5}},
			{"q=sus", []api.ID{}},
			{"categoryId=1", []api.ID{1, 2, 4}},
			{"categoryId=2", []api.ID{1, 2}},
			{"categoryId=99", []api.ID{}},
			{"minPrice=89&maxPrice=649.5", []api.ID{2, 3}},
			{"minPrice=649.51", []api.ID{1}},
			{"inStock=true", []api.ID{1, 3, 4}},
			{"inStock=false&q=asus", []api.ID{1, 2}},
			{"q=asus&categoryId=2&inStock=true&maxPrice=2000", []api.ID{1}},
			{"sort=priceUnit,desc&minPrice=0", []api.ID{1, 2, 3, 4}},
			{"sort=quantity,desc&sort=productTitle", []api.ID{3, 1, 4, 5, 2}},
			{"unknown=1&q=asus&ids=2,3", []api.ID{2}},
		} {
			list := decode[api.List[api.Product]](s.call("", "GET", "/api/products?"+test.query, "").want(200))
			if diff := cmp.Diff(test.want, productIDs(list)); diff != "" {
				t.Errorf("GET /api/products?%s (-want +got)\n%s", test.query, diff)
			}
			if got, want := list.Page.TotalElements, int64(len(test.want)); got != want {
				t.Errorf("GET /api/products?%s: total = %d, want %d", test.query, got, want)
			}
		}
		// The index follows the title.
		s.call(admin, "PUT", "/api/products/1", `{"productTitle":"Lenovo Yoga"}`).want(200)
		for query, want := range map[string][]api.ID{"asus": {2}, "yoga": {1}, "asu": {1, 2}} {
			list := decode[api.List[api.Product]](s.call("", "GET", "/api/products?q="+query, "").want(200))
			if diff := cmp.Diff(want, productIDs(list)); diff != "" {
				t.Errorf("after the title changed, q=%s (-want +got)\n%s", query, diff)
			}
		}
	})
}
