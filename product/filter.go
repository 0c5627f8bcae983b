package product

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"tienda/api"
	"tienda/sqldb"
	"tienda/web"
)

// filter is which products a list shows. How the database should find them depends on how many there are,
// which its own statistics do not tell for conditions together: see [Service.find].
type filter struct {
	visible string
	bounds  []bound
	words   []word
	nothing bool // no product can fit
	named   bool // by their ids: the primary key finds them
}

// bound is a condition on one column.
type bound struct {
	column, rest string
	args         []any
}

// readFilter reads the conditions of a list of products.
func (s *Service) readFilter(r *http.Request) (filter, error) {
	query := r.URL.Query()
	f := filter{visible: visibleTo(r.Context())}
	add := func(column, rest string, args ...any) { f.bounds = append(f.bounds, bound{column, rest, args}) }
	ids, given, err := web.QueryIDs(r, "ids")
	if err != nil {
		return f, err
	}
	if given {
		f.visible, f.named, f.nothing = onSale, true, len(ids) == 0 // whoever asks: it is what can be ordered
		if len(ids) > 0 {
			add("p.product_id", " IN ("+sqldb.In(len(ids))+")", sqldb.Args(ids)...)
		}
	}
	category, err := web.QueryID(r, "categoryId")
	if err != nil {
		return f, err
	}
	if category != 0 {
		below, err := subtree(r.Context(), s.db, category)
		if err != nil {
			return f, err
		}
		if f.nothing = f.nothing || len(below) == 0; len(below) > 0 {
			add("p.category_id", " IN ("+sqldb.In(len(below))+")", sqldb.Args(below)...)
		}
	}
	for _, side := range []struct{ name, rest string }{{"minPrice", " >= ?"}, {"maxPrice", " <= ?"}} {
		if text := query.Get(side.name); text != "" {
			price, err := s.queryPrice(side.name, text)
			if err != nil {
				return f, err
			}
			add("p.price", side.rest, price)
		}
	}
	switch text := query.Get("inStock"); text {
	case "", "false":
	case "true":
		add("p.on_hand", " > p.reserved")
	default:
		return f, api.BadRequest("parameter inStock: true or false is wanted")
	}
	words, nothing, err := searchWords(query.Get("q"))
	f.words, f.nothing = words, f.nothing || nothing
	return f, err
}

// few is up to how many products a list is found by their ids and sorted among themselves. Of more, the rows
// are gone through in the order that is asked for until the page is full: with a million products and pages
// of twenty both cost about the same at this number.
const few = 2000

// find returns a page of the products that a filter lets through, and how many there are.
func (s *Service) find(ctx context.Context, page web.PageRequest, f filter) ([]api.Product, int64, error) {
	if f.nothing {
		return []api.Product{}, 0, nil
	}
	if f.named || (len(f.bounds) == 0 && len(f.words) == 0) {
		where, args := f.where(func(bound) bool { return true })
		return s.page(ctx, page, f.visible, where, args, func() (int64, error) { return s.total(ctx, "SELECT p.product_id FROM products p WHERE "+where, args) })
	}
	matching, args, err := s.matching(ctx, f)
	if err != nil {
		return nil, 0, err
	}
	if !s.totals.many(matching, args, s.now()) {
		ids, err := sqldb.All(ctx, s.db, scanID, matching+fmt.Sprintf(" LIMIT %d", few+1), args...)
		if err != nil {
			return nil, 0, fmt.Errorf("find products: %w", err)
		}
		if len(ids) <= few {
			products, err := s.pageOf(ctx, page, f.visible, ids)
			return products, int64(len(ids)), err
		}
	}
	// Of what the order does not go by, the index is hidden from the optimizer.
	where, whereArgs := f.where(func(b bound) bool {
		return page.SortsBy(b.column) || (b.column == "p.category_id" && len(b.args) == 1 && page.SortsBy("p.product_id"))
	})
	return s.page(ctx, page, f.visible, where, whereArgs, func() (int64, error) { return s.total(ctx, matching, args) })
}

// page reads one page of products and, unless it shows by itself how many there are, counts them.
func (s *Service) page(ctx context.Context, page web.PageRequest, visible, where string, args []any, count func() (int64, error)) ([]api.Product, int64, error) {
	behind, behindArgs := page.Condition()
	args = slices.Concat(args, behindArgs)
	var products []api.Product
	var err error
	if page.Number == 0 && page.SortsBy("p.product_id") {
		products, err = s.products(ctx, s.db, where+behind+page.Tail(), args...)
	} else {
		products, err = s.inOrder(ctx, visible, "SELECT p.product_id FROM products p WHERE "+where+behind+page.Tail(), args)
	}
	if err != nil {
		return nil, 0, err
	}
	if behind == "" && len(products) < page.Size && (len(products) > 0 || page.Number == 0) {
		return products, int64(page.Number*page.Size + len(products)), nil
	}
	total, err := count()
	if err != nil {
		return nil, 0, fmt.Errorf("count products: %w", err)
	}
	return products, total, nil
}

// inOrder reads the products whose ids a query returns, in its order. Asked for all columns at once, MariaDB
// sorts the whole table rather than go along an index; for the ids alone the index has all it needs.
func (s *Service) inOrder(ctx context.Context, visible, query string, args []any) ([]api.Product, error) {
	ids, err := sqldb.All(ctx, s.db, scanID, query, args...)
	if err != nil {
		return nil, fmt.Errorf("find products: %w", err)
	}
	if len(ids) == 0 {
		return []api.Product{}, nil
	}
	products, err := s.products(ctx, s.db, visible+" AND "+anyOf("p.product_id", len(ids)), sqldb.Args(ids)...)
	place := make(map[api.ID]int, len(ids))
	for i, id := range ids {
		place[id] = i
	}
	slices.SortFunc(products, func(a, b api.Product) int { return place[a.ProductID] - place[b.ProductID] })
	return products, err
}

// pageOf reads a page of the products with these ids.
func (s *Service) pageOf(ctx context.Context, page web.PageRequest, visible string, ids []api.ID) ([]api.Product, error) {
	if page.SortsBy("p.product_id") {
		ids, page.Number = page.Window(ids), 0 // no need to read the others to leave them out
	}
	if len(ids) == 0 {
		return []api.Product{}, nil
	}
	behind, behindArgs := page.Condition()
	return s.products(ctx, s.db, visible+" AND "+anyOf("p.product_id", len(ids))+behind+page.Tail(), slices.Concat(sqldb.Args(ids), behindArgs)...)
}

// where is the condition on products p. An index helps only those bounds that may use one.
func (f filter) where(mayUseIndex func(bound) bool) (text string, args []any) {
	conditions := []string{f.visible}
	for _, b := range f.bounds {
		column := b.column
		if !mayUseIndex(b) {
			column += " + 0"
		}
		conditions, args = append(conditions, column+b.rest), append(args, b.args...)
	}
	for _, w := range f.words {
		condition, wordArgs := holds("p.product_id", w)
		conditions, args = append(conditions, condition), append(args, wordArgs...)
	}
	return strings.Join(conditions, " AND "), args
}

// holds is the condition that a product has a term. As a scalar it is looked at for each product in turn:
// neither engine makes a join of it, whose order would then be its own choice.
func holds(product string, w word) (text string, args []any) {
	condition, args := w.condition("w")
	return "(SELECT 1 FROM product_terms w WHERE w.product_id = " + product + " AND " + condition + " LIMIT 1) = 1", args
}

// matching is the query of the ids of all products that fit, in no order. With words it begins at the rarest.
func (s *Service) matching(ctx context.Context, f filter) (query string, args []any, err error) {
	if len(f.words) == 0 {
		where, args := f.where(func(bound) bool { return true })
		return "SELECT p.product_id FROM products p WHERE " + where, args, nil
	}
	first, err := s.rarest(ctx, f.words)
	if err != nil {
		return "", nil, err
	}
	query = "SELECT t.product_id FROM product_terms t WHERE "
	if f.words[first].prefix { // several terms of a product may begin alike
		query = "SELECT DISTINCT t.product_id FROM product_terms t WHERE "
	}
	condition, args := f.words[first].condition("t")
	query += condition
	for i, w := range f.words {
		if i != first {
			condition, wordArgs := holds("t.product_id", w)
			query, args = query+" AND "+condition, append(args, wordArgs...)
		}
	}
	f.words = nil
	where, whereArgs := f.where(func(bound) bool { return false })
	return query + " AND (SELECT 1 FROM products p WHERE p.product_id = t.product_id AND " + where + ") = 1", append(args, whereArgs...), nil
}

// rarest is the word that fewest products hold, as far as a short look tells.
func (s *Service) rarest(ctx context.Context, words []word) (first int, err error) {
	if len(words) == 1 {
		return 0, nil
	}
	const look = 1000
	fewest := int64(look + 2)
	for i, w := range words {
		condition, args := w.condition("t")
		n, err := sqldb.Count(ctx, s.db, look, "SELECT t.product_id FROM product_terms t WHERE "+condition, args...)
		if err != nil {
			return 0, fmt.Errorf("count a word: %w", err)
		}
		if n < fewest {
			first, fewest = i, n
		}
	}
	return first, nil
}

// total counts the rows of a query, or knows the number from less than [totalLife] ago when it was large.
func (s *Service) total(ctx context.Context, query string, args []any) (int64, error) {
	if n, ok := s.totals.known(query, args, s.now()); ok {
		return n, nil
	}
	n, err := sqldb.Count(ctx, s.db, web.ExactTotal, query, args...)
	if err == nil && n > few {
		s.totals.keep(query, args, n, s.now())
	}
	return n, err
}

// How long and how many totals are kept.
const (
	totalLife  = 30 * time.Second
	mostTotals = 1000
)

// totals are how many products some filters let through, of those that are many: to count them again for
// each page of each customer would cost far more than the page. The zero value is ready.
type totals struct {
	mu   sync.Mutex
	kept map[string]keptTotal
}

type keptTotal struct {
	n     int64
	until time.Time
}

func totalKey(query string, args []any) string { return query + fmt.Sprintln(args...) }

func (t *totals) known(query string, args []any, now time.Time) (int64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept, ok := t.kept[totalKey(query, args)]
	return kept.n, ok && now.Before(kept.until)
}

// many reports whether a query is known to have more than a few rows.
func (t *totals) many(query string, args []any, now time.Time) bool {
	_, ok := t.known(query, args, now)
	return ok
}

func (t *totals) keep(query string, args []any, n int64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept == nil || len(t.kept) >= mostTotals {
		t.kept = map[string]keptTotal{}
	}
	t.kept[totalKey(query, args)] = keptTotal{n, now.Add(totalLife)}
}
