package web

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"tienda/api"
)

// MaxPageSize is the most rows that one answer holds, and the size when the caller names none.
const MaxPageSize = 1000

// ExactTotal is up to where totals are counted; beyond, they are a lower bound.
const ExactTotal = 10_000

// maxOffset keeps page= from reading the whole table; after= has no such bound.
const maxOffset = 1_000_000

// PageRequest is which rows of a list the caller wants, in which order.
type PageRequest struct {
	Number, Size int
	order        string // "price ASC, product_id ASC"
	idColumn     string
	descending   bool
	after        api.ID
}

// PageQuery are the query parameters of a list, for [Route].
var PageQuery = []string{"page?number of the page, from 0", "size?rows in a page, at most 1000",
	"sort?field,asc or field,desc", "after?cursor of the page before: its page.next"}

// ReadPage reads page, size, sort and after. sortable maps the JSON fields one may sort by to columns;
// idColumn ends every order, so that pages are stable, and is the order by default.
func ReadPage(r *http.Request, idColumn string, sortable map[string]string) (PageRequest, error) {
	query := r.URL.Query()
	p := PageRequest{Size: MaxPageSize, idColumn: idColumn}
	var err error
	if p.Number, err = number(query.Get("page"), "page", 0); err != nil {
		return p, err
	}
	if p.Size, err = number(query.Get("size"), "size", MaxPageSize); err != nil {
		return p, err
	}
	switch {
	case p.Size < 1 || p.Size > MaxPageSize:
		return p, api.Invalid(api.FieldError{Field: "size", Reason: fmt.Sprintf("must be 1 to %d", MaxPageSize)})
	case p.Number < 0 || p.Number > maxOffset/p.Size:
		return p, api.Invalid(api.FieldError{Field: "page", Reason: "is out of range; use after= for long lists"})
	}
	byID, err := p.sortBy(query["sort"], sortable)
	if err != nil {
		return p, err
	}
	if cursor := query.Get("after"); cursor != "" {
		text, err := base64.RawURLEncoding.DecodeString(cursor)
		id, ok := api.ParseID(string(text))
		if err != nil || !ok {
			return p, api.BadRequest("parameter after: not a cursor; use the page.next of the page before")
		}
		if !byID || p.Number > 0 {
			return p, api.Invalid(api.FieldError{Field: "after", Reason: "does not go together with sort or page"})
		}
		p.after = id
	}
	return p, nil
}

func number(text, name string, absent int) (int, error) {
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, api.BadRequest("parameter %s: %q is not a number", name, clip(text))
	}
	return n, nil
}

// sortBy sets the order and reports whether it is by id alone.
func (p *PageRequest) sortBy(sorts []string, sortable map[string]string) (byID bool, err error) {
	var columns []string
	byID = true
	for _, sort := range sorts {
		field, direction, _ := strings.Cut(sort, ",")
		direction = strings.ToUpper(cmp.Or(strings.TrimSpace(direction), "asc"))
		column, ok := sortable[strings.TrimSpace(field)]
		if !ok || (direction != "ASC" && direction != "DESC") {
			return false, api.Invalid(api.FieldError{Field: "sort", Reason: fmt.Sprintf("%q: want FIELD,asc or FIELD,desc with a field of %s",
				clip(sort), strings.Join(slices.Sorted(maps.Keys(sortable)), ", "))})
		}
		if column == p.idColumn {
			p.descending = direction == "DESC"
			break // the id decides: nothing behind it can
		}
		byID = false
		columns = append(columns, column+" "+direction)
		// The id follows the direction of what it decides among: so one index serves both directions.
		p.descending = direction == "DESC"
	}
	last := p.idColumn + " ASC"
	if p.descending {
		last = p.idColumn + " DESC"
	}
	p.order = strings.Join(append(columns, last), ", ")
	return byID, nil
}

// SortsBy reports whether a column is the first that the rows are sorted by.
func (p PageRequest) SortsBy(column string) bool {
	return strings.HasPrefix(p.order, column+" ")
}

// Order is what the rows are sorted by, as it stands behind ORDER BY.
func (p PageRequest) Order() string { return p.order }

// Window are those of all ids that the page holds when it sorts by id alone. It reorders ids.
func (p PageRequest) Window(ids []api.ID) []api.ID {
	slices.Sort(ids)
	if p.descending {
		slices.Reverse(ids)
	}
	if p.after != 0 {
		ids = slices.DeleteFunc(ids, func(id api.ID) bool { return id == p.after || (id < p.after) != p.descending })
	}
	begin := min(p.Number*p.Size, len(ids))
	return ids[begin:min(begin+p.Size, len(ids))]
}

// Newest makes the order newest first where the caller asked for none.
func (p PageRequest) Newest(r *http.Request) PageRequest {
	if !r.URL.Query().Has("sort") {
		p.descending, p.order = true, p.idColumn+" DESC"
	}
	return p
}

// Condition is the SQL that continues behind the cursor, beginning with " AND", and its arguments;
// empty without one. It stands at the end of a WHERE clause.
func (p PageRequest) Condition() (clause string, args []any) {
	if p.after == 0 {
		return "", nil
	}
	if p.descending {
		return " AND " + p.idColumn + " < ?", []any{int64(p.after)}
	}
	return " AND " + p.idColumn + " > ?", []any{int64(p.after)}
}

// Tail is the ORDER BY, LIMIT and OFFSET of the page. It holds no input of the caller but numbers.
func (p PageRequest) Tail() string {
	return fmt.Sprintf(" ORDER BY %s LIMIT %d OFFSET %d", p.order, p.Size, p.Number*p.Size)
}

// Rows makes the answer of one page. total is what was counted, at most [ExactTotal]+1; id is the id of
// a row, for the cursor.
func Rows[T any](p PageRequest, rows []T, total int64, id func(T) api.ID) api.List[T] {
	page := &api.Page{Number: p.Number, Size: p.Size, TotalElements: total}
	if total > ExactTotal {
		page.TotalElements, page.LowerBound = ExactTotal, true
	}
	page.TotalPages = (page.TotalElements + int64(p.Size) - 1) / int64(p.Size)
	if len(rows) == p.Size && strings.Count(p.order, ",") == 0 {
		page.Next = base64.RawURLEncoding.EncodeToString([]byte(id(rows[len(rows)-1]).String()))
	}
	return api.List[T]{Collection: rows, Page: page}
}
