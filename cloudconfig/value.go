package cloudconfig

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// An object is a JSON object or YAML mapping that keeps the order of its keys.
type object struct {
	keys   []string
	values map[string]any
}

func (o *object) get(key string) (any, bool) {
	v, ok := o.values[key]
	return v, ok
}

func (o *object) set(key string, v any) {
	if o.values == nil {
		o.values = make(map[string]any)
	}
	if _, ok := o.values[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.values[key] = v
}

// A list is a JSON array or YAML sequence that grows in place.
type list struct {
	items []any
}

// writeJSON writes compact JSON as Jackson does: no escapes for HTML, floats in
// Java's form, and the floats JSON lacks as strings.
func writeJSON(b *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case *object:
		b.WriteByte('{')
		for i, key := range v.keys {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeJSON(b, key); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := writeJSON(b, v.values[key]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
		return nil
	case *list:
		b.WriteByte('[')
		for i, item := range v.items {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeJSON(b, item); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	case tracked:
		o := new(object)
		o.set("value", v.Value)
		o.set("origin", v.Origin)
		return writeJSON(b, o)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return writeJSON(b, formatFloat(v))
		}
		b.WriteString(formatFloat(v))
		return nil
	default:
		enc := json.NewEncoder(b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return err
		}
		b.Truncate(b.Len() - 1) // the newline Encode adds
		return nil
	}
}

// fromJSON turns what a decoder with UseNumber gives into a value of Property.
func fromJSON(v any) any {
	switch v := v.(type) {
	case nil:
		return ""
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			f, err := v.Float64()
			if err != nil {
				return v.String() // beyond a float64: the text is the most exact form left
			}
			return f
		}
		return parseInteger(v.String(), 10)
	default:
		return v
	}
}

// parseInteger reads digits that are known to be valid in the base.
func parseInteger(digits string, base int) any {
	if n, err := strconv.ParseInt(digits, base, 64); err == nil {
		return n
	}
	n, ok := new(big.Int).SetString(digits, base)
	if !ok {
		return digits
	}
	return n
}

// text writes a value as Java's String.valueOf would, which is what the
// properties form and placeholders show.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return formatFloat(v)
	default:
		return fmt.Sprint(v)
	}
}

// formatFloat writes a float as Java's Double.toString: always with a decimal
// point, and with an exponent outside 10^-3 … 10^7.
func formatFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	if abs := math.Abs(f); abs == 0 || abs >= 1e-3 && abs < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	sign := ""
	if exponent[0] == '-' {
		sign = "-"
	}
	return mantissa + "E" + sign + strings.TrimLeft(exponent[1:], "0")
}
