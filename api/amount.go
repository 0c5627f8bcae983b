package api

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Amount is an exact decimal as it stands in JSON, before or after a currency gave it meaning.
// Amounts never pass through floating point. The zero value is 0.
type Amount struct {
	units int64 // the number without its decimal point
	scale int   // how many of the digits are decimals
}

// Errors of Amount: what is well-formed JSON and still no amount of money here.
var (
	errTooPrecise = errors.New("has more decimals than the currency")
	errTooLarge   = errors.New("is too large")
)

// maxExponent is beyond what any currency has: what comes with a greater one is too large or too precise all the same.
const maxExponent = 100

// maxUnits keeps sums of a million lines inside int64.
const maxUnits = 1_000_000_000_000

// ParseAmount reads a decimal number such as "99.99", "5000.0", "-1" or "1e2".
func ParseAmount(text string) (Amount, error) {
	bad := func() (Amount, error) {
		return Amount{}, fmt.Errorf("%q is not an amount of money", clip(text))
	}
	mantissa, exponentText, hasExponent := strings.Cut(strings.ToLower(text), "e")
	exponent := 0
	if hasExponent {
		var err error
		if exponent, err = strconv.Atoi(exponentText); errors.Is(err, strconv.ErrSyntax) {
			return bad()
		}
		exponent = max(-maxExponent, min(exponent, maxExponent))
	}
	whole, fraction, hasPoint := strings.Cut(mantissa, ".")
	digits := strings.TrimPrefix(whole, "-")
	if digits == "" || (hasPoint && fraction == "") || strings.Trim(digits+fraction, "0123456789") != "" {
		return bad()
	}
	fraction = strings.TrimRight(fraction, "0")
	digits = strings.TrimLeft(digits+fraction, "0")
	scale := len(fraction) - exponent
	for scale < 0 && len(digits) < 20 && digits != "" {
		digits += "0"
		scale++
	}
	if digits == "" {
		return Amount{}, nil
	}
	if len(digits) > 18 || scale < 0 {
		return Amount{units: math.MaxInt64}, nil // too large: Minor says so
	}
	for scale > 0 && strings.HasSuffix(digits, "0") {
		digits, scale = digits[:len(digits)-1], scale-1
	}
	units, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return bad()
	}
	if strings.HasPrefix(whole, "-") {
		units = -units
	}
	return Amount{units: units, scale: scale}, nil
}

// MarshalJSON writes a number with at least one decimal, as the original system does: 0.0, 99.99.
func (a Amount) MarshalJSON() ([]byte, error) { return []byte(a.String()), nil }

// String is the number with at least one decimal.
func (a Amount) String() string {
	text := strconv.FormatInt(a.units, 10)
	sign := ""
	if a.units < 0 {
		sign, text = "-", text[1:]
	}
	if len(text) <= a.scale {
		text = strings.Repeat("0", a.scale-len(text)+1) + text
	}
	whole, fraction := text[:len(text)-a.scale], text[len(text)-a.scale:]
	if fraction == "" {
		fraction = "0"
	}
	return sign + whole + "." + fraction
}

// UnmarshalJSON accepts a number, the same as a string, and null for 0.
func (a *Amount) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	if text == "null" {
		*a = Amount{}
		return nil
	}
	amount, err := ParseAmount(strings.TrimSpace(text))
	if err != nil {
		return wrongType(data, "an amount of money such as 99.99")
	}
	*a = amount
	return nil
}

// Currency is the shop's one currency: its ISO 4217 code and how many decimals it has.
type Currency struct {
	Code   string
	Digits int
}

// Amount is minor units of the currency as they are written on the wire.
func (c Currency) Amount(minor int64) Amount { return Amount{units: minor, scale: c.Digits} }

// Minor is the amount in minor units. Its error says what is wrong with the amount, to stand behind
// the name of its field.
func (c Currency) Minor(a Amount) (int64, error) {
	units, scale := a.units, a.scale
	for ; scale > c.Digits; scale-- {
		if units%10 != 0 {
			return 0, errTooPrecise
		}
		units /= 10
	}
	for ; scale < c.Digits; scale++ {
		if units > maxUnits || units < -maxUnits {
			return 0, errTooLarge
		}
		units *= 10
	}
	if units > maxUnits || units < -maxUnits {
		return 0, errTooLarge
	}
	return units, nil
}

// namedType lets a json.UnmarshalTypeError name what was wanted in words.
type namedType struct {
	reflect.Type
	name string
}

func (n namedType) String() string { return n.name }

func typeName(name string) reflect.Type { return namedType{reflect.TypeFor[string](), name} }
