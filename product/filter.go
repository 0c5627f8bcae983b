package product

import (
	"context"
	"errors"
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
			ids, err := s.idsOf(ctx, all, s.few)
			if err != nil {
				return found{}, err
			}
			if len(ids) <= s.few {
				return s.pageOf(ctx, page, f.visible, ids)
			}
		}
		where, args = f.where(func(b bound) bool { return f.ordered(b, page) })
	}
	return s.page(ctx, page, f.visible, query{text: "SELECT p.product_id FROM products p WHERE " + where, args: args}, func(bool) (int64, bool, error) {
		n, err := s.total(ctx, all)
		return n, true, err
	})
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
	matching := f.matching("t", words, first)
	known, ok := total{}, false
	if n > int64(s.few/3) {
		// All words are common: which products have them together, and come first, is found out in the background.
		sorted := query{matching.text, matching.args, page.Order()}
		if known, ok = s.totals.known(sorted, s.now()); !ok {
			s.totals.want(sorted)
		}
		if shown, whole := known.page(page); whole {
			products, err := s.inOrder(ctx, f.visible, shown)
			return found{products, known.n, true}, err
		}
	}
	if n <= int64(s.few) {
		ids, err := s.idsOf(ctx, matching, s.few)
		if err != nil {
			return found{}, err
		}
		return s.pageOf(ctx, page, f.visible, ids)
	}
	f.words = words
	where, args := f.where(func(b bound) bool { return f.ordered(b, page) })
	walk := query{text: "SELECT p.product_id FROM products p WHERE " + where, args: args}
	if page.SortsBy("p.product_id") && !words[first].prefix {
		walk = f.matching("p", words, first) // the products that have a term stand in the order of their ids
	}
	return s.page(ctx, page, f.visible, walk, func(full bool) (int64, bool, error) {
		if ok || full {
			return known.n, ok, nil
		}
		n, err := s.total(ctx, matching) // behind the last row nothing tells how many there are
		return n, true, err
	})
}

// query is a statement with its arguments, and the order that its products are wanted in, if in any.
type query struct {
	text  string
	args  []any
	order string
}

// idsOf are the ids that a query finds, up to most; one more when there are more.
func (s *Service) idsOf(ctx context.Context, q query, most int) ([]api.ID, error) {
	ids, err := sqldb.All(ctx, s.db, scanID, q.text+fmt.Sprintf(" LIMIT %d", most+1), q.args...)
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
	shown := int64(page.Number*page.Size + len(products))
	if behind == "" && len(products) < page.Size && (len(products) > 0 || page.Number == 0) {
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
	where, whereArgs := f.where(func(bound) bool { return false })
	where = strings.ReplaceAll(where, "p.", "q.") // p may be the terms
	return query{text: text + " AND (SELECT 1 FROM products q WHERE q.product_id = " + alias + ".product_id AND " + where + ") = 1", args: append(args, whereArgs...)}
}

// whole makes a whole word of the last one when there is only one term that begins like it.
func (s *Service) whole(ctx context.Context, words []word) ([]word, error) {
	last := words[len(words)-1]
	condition, args := last.condition("t")
	next := func(condition string, args ...any) (term string, err error) {
		err = s.db.QueryRow(ctx, "SELECT t.term FROM product_terms t WHERE "+condition+" ORDER BY t.term LIMIT 1", args...).Scan(&term)
		return term, err
	}
	only, err := next(condition, args...)
	if err == nil {
		_, err = next("t.term > ? AND t.term < ?", only, args[1])
		if errors.Is(err, sqldb.ErrNotFound) {
			return append(slices.Clone(words[:len(words)-1]), word{only, false}), nil
		}
	}
	if err != nil && !errors.Is(err, sqldb.ErrNotFound) {
		return nil, fmt.Errorf("look for a word: %w", err)
	}
	return words, nil
}

// rarest is the word that fewest products hold, and how many, as far as they are few.
func (s *Service) rarest(ctx context.Context, words []word) (first int, fewest int64, err error) {
	fewest = int64(s.few) + 2
	for i, w := range words {
		condition, args := w.condition("t")
		n, err := sqldb.Count(ctx, s.db, s.few, "SELECT t.product_id FROM product_terms t WHERE "+condition, args...)
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
			var t total
			var err error
			began := time.Now()
			t.n, err = sqldb.Count(ctx, s.db, web.ExactTotal, q.text, q.args...)
			if err == nil && q.order != "" && t.n <= web.ExactTotal { // of more a page is soon full
				first := query{text: "SELECT p.product_id FROM products p WHERE p.product_id IN (" + q.text + ") ORDER BY " + q.order, args: q.args}
				t.ids, err = s.idsOf(ctx, first, mostIDs)
			}
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
