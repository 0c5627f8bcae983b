package product

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"tienda/api"
	"tienda/sqldb"
)

// Bounds of a search.
const (
	maxTerm        = 64  // characters of a term; the rest of a longer word is not looked at
	maxSearchWords = 10  // each is a look-up of its own
	maxSearchText  = 200 // characters
)

// unaccented are letters that are written without an accent and do not decompose into one.
var unaccented = strings.NewReplacer("ß", "ss", "æ", "ae", "œ", "oe", "ø", "o", "đ", "d", "ł", "l", "ı", "i")

// terms are the words of a text as the search compares them: lower-case letters and digits without
// accents, each once. A sign between letters separates words, an accent or an apostrophe does not.
func terms(text string) []string {
	var words []string
	var word strings.Builder
	end := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
		}
		word.Reset()
	}
	length := 0
	for _, c := range unaccented.Replace(strings.ToLower(norm.NFKD.String(strings.ToValidUTF8(text, " ")))) {
		switch {
		case unicode.IsLetter(c) || unicode.IsDigit(c):
			if length < maxTerm {
				word.WriteRune(c)
				length++
			}
		case unicode.Is(unicode.Mn, c), c == '\'', c == '’':
		default:
			end()
			length = 0
		}
	}
	end()
	return words
}

// indexProduct makes the search find a product by its title and SKU.
func indexProduct(ctx context.Context, tx *sqldb.Tx, product api.Product) error {
	if _, err := tx.Exec(ctx, `DELETE FROM product_terms WHERE product_id = ?`, product.ProductID); err != nil {
		return fmt.Errorf("index product %d: %w", product.ProductID, err)
	}
	var text string
	for _, field := range []*string{product.ProductTitle, product.SKU} {
		if field != nil {
			text += " " + *field
		}
	}
	words := slices.Compact(slices.Sorted(slices.Values(terms(text))))
	if len(words) == 0 {
		return nil
	}
	args := make([]any, 0, 2*len(words))
	for _, word := range words {
		args = append(args, word, product.ProductID)
	}
	values := strings.TrimSuffix(strings.Repeat("(?, ?), ", len(words)), ", ")
	if _, err := tx.Exec(ctx, "INSERT INTO product_terms (term, product_id) VALUES "+values, args...); err != nil {
		return fmt.Errorf("index product %d: %w", product.ProductID, err)
	}
	return nil
}

// word is what a search asks of the terms of a product: to hold this one, or one that begins like it.
type word struct {
	term   string
	prefix bool
}

// condition is that a row of product_terms, by its alias, is such a term. A range reads the index in the same
// way on both engines; LIKE does not. Nothing that a term holds comes behind the last code point.
func (w word) condition(alias string) (text string, args []any) {
	if !w.prefix {
		return alias + ".term = ?", []any{w.term}
	}
	return alias + ".term >= ? AND " + alias + ".term < ?", []any{w.term, w.term + string(unicode.MaxRune)}
}

// searchWords are the words of a search, of which the last may be the beginning of one. nothing reports
// that the text is not blank and holds no word: no product fits.
func searchWords(text string) (words []word, nothing bool, err error) {
	if strings.TrimSpace(text) == "" {
		return nil, false, nil
	}
	found := terms(text)
	if len([]rune(text)) > maxSearchText || len(found) > maxSearchWords {
		return nil, false, api.Invalid(api.FieldError{Field: "q", Reason: fmt.Sprintf("is longer than %d words or %d characters", maxSearchWords, maxSearchText)})
	}
	for i, term := range found {
		words = append(words, word{term, i == len(found)-1})
	}
	return words, len(words) == 0, nil
}
