package product

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
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
// of twenty that is less work than to find them all.
const few = 1000

// found is a page of products. total is a lower bound unless exact.
type found struct {
	products []api.Product
	total    int64
	exact    bool
}

// find returns a page of the products that a filter lets through, and how many there are.
func (s *Service) find(ctx context.Context, page web.PageRequest, f filter) (found, error) {
	switch {
	case f.nothing:
		return found{[]api.Product{}, 0, true}, nil
	case len(f.words) > 0:
		return s.search(ctx, page, f)
	}
	where, args := f.where(func(bound) bool { return true })
	all := query{text: "SELECT p.product_id FROM products p WHERE " + where, args: args}
	if !f.named && len(f.bounds) > 0 {
		if _, many := s.totals.known(all, s.now()); !many {
			ids, err := s.idsOf(ctx, scanID, all, s.few)
			if err != nil {
				return found{}, err
			}
			if len(ids) <= s.few {
				return s.pageOf(ctx, page, f.visible, ids)
			}
		}
		where, args = f.where(func(b bound) bool { return f.ordered(b, page) })
	}
	count := func(bool) (int64, bool, error) {
		n, err := s.total(ctx, all)
		return n, true, err
	}
	if f.named { // rows of which there are so few are found and sorted at once
		behind, behindArgs := page.Condition()
		products, err := s.products(ctx, s.db, where+behind+page.Tail(), slices.Concat(args, behindArgs)...)
		if err != nil {
			return found{}, err
		}
		return counted(page, products, count)
	}
	return s.page(ctx, page, f.visible, query{text: "SELECT p.product_id FROM products p WHERE " + where, args: args}, count)
}

// ordered reports whether a bound may choose the index although there are many products: its index has the
// order of the page. From the others it is hidden, or the optimizer would sort all that they let through.
func (f filter) ordered(b bound, page web.PageRequest) bool {
	return page.SortsBy(b.column) || (b.column == "p.category_id" && len(b.args) == 1 && page.SortsBy("p.product_id"))
}

// search is find for a filter with words.
func (s *Service) search(ctx context.Context, page web.PageRequest, f filter) (found, error) {
	words, err := s.whole(ctx, f.words)
	if err != nil {
		return found{}, err
	}
	first, n, err := s.rarest(ctx, words)
	if err != nil {
		return found{}, err
	}
	counted := f.matching("t", words, first)
	sorted := query{text: counted.text, args: counted.args, order: page.Order(), walk: f.walk(page, words, first)}
	if n <= int64(s.few/3) {
		return s.lookUp(ctx, page, f.visible, n, counted, sorted)
	}
	// All words are common: what the search brings is remembered, and what takes long is found out in the background.
	top, ok := s.totals.known(sorted, s.now())
	if ids, whole := top.page(page); ok && whole {
		exact := top.n != uncounted
		if !exact {
			var number total
			if number, exact = s.totals.known(counted, s.now()); !exact {
				s.totals.want(counted)
			}
			top.n = max(number.n, int64(len(ids)))
		}
		products, err := s.inOrder(ctx, f.visible, ids)
		return found{products, top.n, exact}, err
	}
	began := time.Now()
	shown, err := s.lookUp(ctx, page, f.visible, n, counted, sorted)
	if err != nil {
		return found{}, err
	}
	s.totals.seen(sorted, page, shown, time.Since(began), s.now())
	if !shown.exact {
		s.totals.want(counted)
	}
	if page.Number > 0 {
		s.totals.want(sorted)
	}
	return shown, nil
}

// lookUp finds a page of the products of which one word has n.
func (s *Service) lookUp(ctx context.Context, page web.PageRequest, visible string, n int64, counted, sorted query) (found, error) {
	number, known := s.totals.known(counted, s.now())
	few := n <= int64(s.few) || (known && number.n <= int64(s.few))
	// That no more than few have all words, which the way along the order would be endless for, shows soon enough.
	if few || (!known && !sorted.walk.bounded) {
		ids, err := s.idsOf(ctx, scanID, counted, s.few)
		if err != nil {
			return found{}, err
		}
		if len(ids) <= s.few {
			return s.pageOf(ctx, page, visible, ids)
		}
	}
	return s.page(ctx, page, visible, *sorted.walk, func(full bool) (int64, bool, error) {
		if known || full {
			return number.n, known, nil
		}
		n, err := s.total(ctx, counted) // behind the last row nothing tells how many there are
		return n, true, err
	})
}

// walk goes through the products in the order of the page and leaves out those that do not fit. What an index
// does not hold is looked at last, of those only that have all words.
func (f filter) walk(page web.PageRequest, words []word, first int) *query {
	if page.SortsBy("p.product_id") && !words[first].prefix {
		matching := f.matching("p", words, first) // the products that have a term stand in the order of their ids
		matching.bounded = true
		return &matching
	}
	along, rest := filter{visible: f.visible, words: words}, filter{visible: f.visible}
	for _, b := range f.bounds {
		if f.ordered(b, page) {
			along.bounds = append(along.bounds, b)
		} else {
			rest.bounds = append(rest.bounds, b)
		}
	}
	where, args := along.where(func(bound) bool { return true })
	if len(rest.bounds) > 0 {
		more, moreArgs := rest.fits("p")
		where, args = where+" AND "+more, append(args, moreArgs...)
	}
	return &query{text: "SELECT p.product_id FROM products p WHERE " + where, args: args}
}

// query is a statement with its arguments. If its products are wanted in an order, walk finds them going along it.
type query struct {
	text    string
	args    []any
	order   string
	walk    *query
	bounded bool // as a walk: it looks at no more products than have one of the words
}

// idsOf are the ids that a query finds, up to most; one more when there are more.
func (s *Service) idsOf(ctx context.Context, scan scanner, q query, most int) ([]api.ID, error) {
	ids, err := sqldb.All(ctx, s.db, scan, q.text+fmt.Sprintf(" LIMIT %d", most+1), q.args...)
	if err != nil {
		return nil, fmt.Errorf("find products: %w", err)
	}
	return ids, nil
}

// page reads the products of one page, whose ids walk finds, and, unless the page shows by itself how many there
// are in all, asks count.
func (s *Service) page(ctx context.Context, page web.PageRequest, visible string, walk query, count func(full bool) (n int64, exact bool, err error)) (found, error) {
	behind, behindArgs := page.Condition()
	ids, err := sqldb.All(ctx, s.db, scanID, walk.text+behind+page.Tail(), slices.Concat(walk.args, behindArgs)...)
	if err != nil {
		return found{}, fmt.Errorf("find products: %w", err)
	}
	products, err := s.inOrder(ctx, visible, ids)
	if err != nil {
		return found{}, err
	}
	return counted(page, products, count)
}

// counted is a page with its total, which count finds out where the page does not tell.
func counted(page web.PageRequest, products []api.Product, count func(full bool) (n int64, exact bool, err error)) (found, error) {
	shown := int64(page.Number*page.Size + len(products))
	if behind, _ := page.Condition(); behind == "" && len(products) < page.Size && (len(products) > 0 || page.Number == 0) {
		return found{products, shown, true}, nil
	}
	n, exact, err := count(len(products) == page.Size)
	if err != nil {
		return found{}, fmt.Errorf("count products: %w", err)
	}
	if !exact {
		n = shown
	}
	return found{products, n, exact}, nil
}

// inOrder reads the products with these ids, in their order. Asked for all columns and the order at once, MariaDB
// sorts the whole table rather than go along an index; for the ids alone the index has all it needs.
func (s *Service) inOrder(ctx context.Context, visible string, ids []api.ID) ([]api.Product, error) {
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

// pageOf reads a page of the products with these ids, which are all that there are.
func (s *Service) pageOf(ctx context.Context, page web.PageRequest, visible string, ids []api.ID) (found, error) {
	total := int64(len(ids))
	if page.SortsBy("p.product_id") {
		ids, page.Number = page.Window(ids), 0 // no need to read the others to leave them out
	}
	if len(ids) == 0 {
		return found{[]api.Product{}, total, true}, nil
	}
	behind, behindArgs := page.Condition()
	products, err := s.products(ctx, s.db, visible+" AND "+anyOf("p.product_id", len(ids))+behind+page.Tail(), slices.Concat(sqldb.Args(ids), behindArgs)...)
	return found{products, total, true}, err
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

// matching finds the ids of all products that fit, beginning at those that have one of the words. With a whole
// word they come in their order.
func (f filter) matching(alias string, words []word, first int) query {
	text := "SELECT "
	if words[first].prefix { // several terms of a product may begin alike
		text += "DISTINCT "
	}
	condition, args := words[first].condition(alias)
	text += alias + ".product_id FROM product_terms " + alias + " WHERE " + condition
	for i, w := range words {
		if i != first {
			condition, wordArgs := holds(alias+".product_id", w)
			text, args = text+" AND "+condition, append(args, wordArgs...)
		}
	}
	f.words = nil
	where, whereArgs := f.fits(alias)
	return query{text: text + " AND " + where, args: append(args, whereArgs...)}
}

// fits is where as a condition on the id of a product that another table, or an index, has found.
func (f filter) fits(alias string) (text string, args []any) {
	where, args := f.where(func(bound) bool { return false })
	where = strings.ReplaceAll(where, "p.", "q.") // p may be that table
	return "(SELECT 1 FROM products q WHERE q.product_id = " + alias + ".product_id AND " + where + ") = 1", args
}

// whole makes a whole word of the last one when there is only one term that begins like it.
func (s *Service) whole(ctx context.Context, words []word) ([]word, error) {
	last := words[len(words)-1]
	condition, args := last.condition("t")
	end := "(SELECT t.term FROM product_terms t WHERE " + condition + " ORDER BY t.term "
	var lowest, highest *string
	err := s.db.QueryRow(ctx, "SELECT "+end+"ASC LIMIT 1), "+end+"DESC LIMIT 1)", slices.Concat(args, args)...).Scan(&lowest, &highest)
	if err != nil {
		return nil, fmt.Errorf("look for a word: %w", err)
	}
	if lowest == nil || *lowest != *highest {
		return words, nil
	}
	return append(slices.Clone(words[:len(words)-1]), word{*lowest, false}), nil
}

// rarest is the word that fewest products hold, and how many, as far as they are few.
func (s *Service) rarest(ctx context.Context, words []word) (first int, fewest int64, err error) {
	fewest = int64(s.few) + 2
	for i, w := range words {
		condition, args := w.condition("t")
		n, err := s.common.Count(ctx, s.db, s.now(), s.few, "SELECT t.product_id FROM product_terms t WHERE "+condition, args...)
		if err != nil {
			return 0, 0, fmt.Errorf("count a word: %w", err)
		}
		// Of two that are both common, a whole word is in order.
		if n < fewest || (n == fewest && words[first].prefix) {
			first, fewest = i, n
		}
	}
	return first, fewest, nil
}

// total counts the rows of a query, or knows the number from a short while ago when it was large.
func (s *Service) total(ctx context.Context, q query) (int64, error) {
	if known, ok := s.totals.known(q, s.now()); ok {
		return known.n, nil
	}
	n, err := sqldb.Count(ctx, s.db, web.ExactTotal, q.text, q.args...)
	if err == nil && n > int64(s.few) {
		s.totals.keep(q, total{n: n}, s.now())
	}
	return n, err
}

// count finds out what the search of common words brings, one after the other, until ctx ends.
func (s *Service) count(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-s.totals.wanted:
			began := time.Now()
			t, err := s.findOut(ctx, q)
			s.totals.done(q)
			if err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "cannot count what a search finds", "err", err)
			}
			if t.took = time.Since(began); err == nil {
				s.totals.keep(q, t, s.now())
			}
		}
	}
}

// findOut counts what a query finds and, if it wants an order, which products come first.
func (s *Service) findOut(ctx context.Context, q query) (t total, err error) {
	counted := query{text: q.text, args: q.args}
	known, ok := s.totals.known(counted, s.now())
	if t.n = known.n; !ok || q.walk == nil {
		ids, err := s.idsOf(ctx, unhurried(ctx), counted, web.ExactTotal)
		if err != nil {
			return total{}, err
		}
		t.n = int64(len(ids))
	}
	switch {
	case q.walk == nil:
	case t.n > web.ExactTotal: // they stand close together along the order
		t.ids, err = s.idsOf(ctx, unhurried(ctx), query{text: q.walk.text + " ORDER BY " + q.order, args: q.walk.args}, mostIDs/5)
	default:
		t.ids, err = s.idsOf(ctx, scanID, query{text: "SELECT p.product_id FROM products p WHERE p.product_id IN (" + q.text + ") ORDER BY " + q.order, args: q.args}, mostIDs)
	}
	return t, err
}

// What the background works at a time, and how many times as long it rests then: those who wait for their pages
// shall hardly notice it.
const (
	workTime  = 2 * time.Millisecond
	restTimes = 3
)

type scanner = func(scan func(...any) error) (api.ID, error)

// unhurried is scanID for the background.
func unhurried(ctx context.Context) scanner {
	began := time.Now()
	return func(scan func(...any) error) (api.ID, error) {
		if worked := time.Since(began); worked > workTime {
			select {
			case <-ctx.Done():
			case <-time.After(restTimes * worked):
			}
			began = time.Now()
		}
		return scanID(scan)
	}
}
