package product

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"tienda/api"
	"tienda/sqldb"
	"tienda/web"
)

// productImage draws a picture of a product from its title and category, for shops that have no
// photographs yet.
func (s *Service) productImage(w http.ResponseWriter, r *http.Request) error {
	id, err := web.PathID(r, "productId")
	if err != nil {
		return err
	}
	product, err := s.productByID(r.Context(), s.db, id, onSale)
	if errors.Is(err, sqldb.ErrNotFound) {
		return noProduct(id)
	}
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "image/svg+xml")
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(drawProduct(product)) // the client is gone when this fails
	return nil
}

// picture is filled in with two hues, the initials, up to two lines of the title and the category.
const picture = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 480 360" role="img">
<defs><linearGradient id="g" x1="0" y1="0" x2="1" y2="1"><stop offset="0" stop-color="hsl(%[1]d,62%%,46%%)"/><stop offset="1" stop-color="hsl(%[2]d,68%%,30%%)"/></linearGradient></defs>
<rect width="480" height="360" fill="url(#g)"/>
<g fill="#fff"><circle cx="410" cy="60" r="130" opacity=".10"/><circle cx="60" cy="330" r="110" opacity=".08"/>
<rect x="170" y="60" width="140" height="140" rx="34" opacity=".16"/></g>
<g fill="#fff" font-family="system-ui,-apple-system,'Segoe UI',Roboto,sans-serif" text-anchor="middle">
<text x="240" y="153" font-size="64" font-weight="700">%[3]s</text>
<text x="240" y="256" font-size="26" font-weight="600">%[4]s</text>
<text x="240" y="288" font-size="26" font-weight="600">%[5]s</text>
<text x="240" y="328" font-size="16" opacity=".75">%[6]s</text></g></svg>
`

// drawProduct gives products of one category hues that are near to each other.
func drawProduct(product api.Product) []byte {
	title, category, hue := "", "", 210
	if product.ProductTitle != nil {
		title = *product.ProductTitle
	}
	if product.Category != nil {
		hue = int(product.Category.CategoryID%360) * 47 % 360
		if product.Category.CategoryTitle != nil {
			category = *product.Category.CategoryTitle
		}
	}
	hue = (hue + int(product.ProductID%7)*4) % 360
	first, second := twoLines(title)
	return fmt.Appendf(nil, picture, hue, (hue+40)%360, escape(initials(title)), escape(first), escape(second), escape(clip(category, 40)))
}

// initials are the first letters of the first two words.
func initials(title string) string {
	var letters []rune
	for _, word := range strings.FieldsFunc(title, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }) {
		if letters = append(letters, unicode.ToUpper([]rune(word)[0])); len(letters) == 2 {
			break
		}
	}
	return string(letters)
}

// lineLength is how many characters of the title fit into one line of the picture.
const lineLength = 28

func twoLines(title string) (first, second string) {
	words := strings.Fields(title)
	for i, word := range words {
		if i > 0 && len([]rune(first))+1+len([]rune(word)) > lineLength {
			return clip(first, lineLength), clip(strings.Join(words[i:], " "), lineLength)
		}
		first = strings.TrimSpace(first + " " + word)
	}
	return clip(first, lineLength), ""
}

func clip(text string, most int) string {
	if characters := []rune(text); len(characters) > most {
		return string(characters[:most-1]) + "…"
	}
	return text
}

func escape(text string) string {
	var escaped bytes.Buffer
	_ = xml.EscapeText(&escaped, []byte(text)) // a buffer takes everything
	return escaped.String()
}
