// Package api is the wire contract of the shop: the types that travel between its services and to
// its clients, what makes them valid, the errors, and a Client that speaks them.
//
// The resources the original system already had keep its names and formats: fields that may be
// missing are null rather than left out, dates look like "04-11-2025__23:52:00:805000", numbers may
// arrive as strings, and some nested objects are known under a second name ("cartDto" for "cart").
// Everything newer writes instants as RFC 3339. Amounts of money are JSON numbers ([Amount]).
//
// The package imports the standard library only, so that anybody can use it as a client.
package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ID identifies a row of one resource. The zero ID means "none" and is null in JSON; a numeric
// string is understood on input.
type ID int64

// MarshalJSON writes the number, or null for none.
func (id ID) MarshalJSON() ([]byte, error) {
	if id == 0 {
		return []byte("null"), nil
	}
	return strconv.AppendInt(nil, int64(id), 10), nil
}

// UnmarshalJSON accepts a whole number, the same as a string, and null.
func (id *ID) UnmarshalJSON(data []byte) error {
	n, err := wholeNumber(data, "an id, which is a whole number")
	*id = ID(n)
	return err
}

// String is the id as it stands in a path.
func (id ID) String() string { return strconv.FormatInt(int64(id), 10) }

// ParseID reads an id from a path or a query parameter. Surrounding blanks are ignored.
func ParseID(text string) (ID, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	return ID(n), err == nil && n > 0
}

// Int is a whole number; a numeric string is understood on input.
type Int int64

// UnmarshalJSON accepts a whole number and the same as a string.
func (i *Int) UnmarshalJSON(data []byte) error {
	n, err := wholeNumber(data, "a whole number")
	*i = Int(n)
	return err
}

func wholeNumber(data []byte, want string) (int64, error) {
	text := string(bytes.Trim(data, `"`))
	if text == "null" || (text == "" && len(data) == 2) {
		return 0, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		// 5.0 is a whole number too; encoders of some languages write it so.
		whole, fraction, _ := strings.Cut(text, ".")
		if n, err = strconv.ParseInt(whole, 10, 64); err != nil || strings.Trim(fraction, "0") != "" {
			if digits := strings.TrimPrefix(text, "-"); digits != "" && strings.Trim(digits, "0123456789") == "" {
				want = fmt.Sprintf("%s from %d to %d", want, math.MinInt64, math.MaxInt64)
			}
			return 0, wrongType(data, want)
		}
	}
	return n, nil
}

// wrongType is the error for a JSON value that is not what is wanted, such as "a date". The decoder adds the
// path of its field.
func wrongType(data []byte, want string) error {
	value := clip(string(data))
	switch data[0] {
	case '"':
		value = "string " + value
	case '[':
		value = "array"
	case '{':
		value = "object"
	case 't', 'f':
		value = "bool " + value
	default:
		value = "number " + value
	}
	return &json.UnmarshalTypeError{Value: value, Type: typeName(want)}
}

func clip(text string) string {
	if len(text) > 40 {
		return strings.ToValidUTF8(text[:40], "") + "…"
	}
	return text
}

// LegacyFormat is the original system's date-time pattern dd-MM-yyyy__HH:mm:ss:SSSSSS in Go's terms;
// the fraction is written by [DateTime], since Go wants a dot before one.
const LegacyFormat = "02-01-2006__15:04:05"

// DateTime is an instant in the original system's format, in UTC with microseconds. The zero value
// is null. RFC 3339 and "2006-01-02T15:04:05" are understood on input.
type DateTime struct{ time.Time }

// ParseDateTime reads an instant in any of the formats of [DateTime].
func ParseDateTime(text string) (DateTime, error) {
	if len(text) > len(LegacyFormat) && text[len(LegacyFormat)] == ':' {
		digits := text[len(LegacyFormat)+1:]
		fraction, err := strconv.ParseUint(digits, 10, 32)
		t, errTime := time.Parse(LegacyFormat, text[:len(LegacyFormat)])
		if err == nil && errTime == nil && len(digits) == 6 {
			return DateTime{t.Add(time.Duration(fraction) * time.Microsecond)}, nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() > 0 && t.Year() < 10000 {
			return DateTime{t.UTC().Truncate(time.Microsecond)}, nil
		}
	}
	return DateTime{}, fmt.Errorf("%q is not a date and time: want dd-MM-yyyy__HH:mm:ss:SSSSSS or RFC 3339", clip(text))
}

// String is the instant in the original system's format.
func (t DateTime) String() string {
	u := t.UTC()
	return u.Format(LegacyFormat) + fmt.Sprintf(":%06d", u.Nanosecond()/1000)
}

// MarshalJSON writes the original format, or null for the zero time.
func (t DateTime) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.String() + `"`), nil
}

// UnmarshalJSON accepts the formats of [ParseDateTime] and null.
func (t *DateTime) UnmarshalJSON(data []byte) error {
	const want = "a date and time as dd-MM-yyyy__HH:mm:ss:SSSSSS or RFC 3339"
	text, null, err := quoted(data, want)
	if err != nil || null {
		*t = DateTime{}
		return err
	}
	if *t, err = ParseDateTime(text); err != nil {
		return wrongType(data, want)
	}
	return nil
}

// Date is a day in the original system's format dd-MM-yyyy; the zero value is null. yyyy-MM-dd is
// understood on input.
type Date struct{ time.Time }

// MarshalJSON writes dd-MM-yyyy, or null for the zero date.
func (d Date) MarshalJSON() ([]byte, error) {
	if d.IsZero() {
		return []byte("null"), nil
	}
	return []byte(d.Format(`"02-01-2006"`)), nil
}

// UnmarshalJSON accepts dd-MM-yyyy, yyyy-MM-dd and null.
func (d *Date) UnmarshalJSON(data []byte) error {
	const want = "a date as dd-MM-yyyy or yyyy-MM-dd"
	text, null, err := quoted(data, want)
	if err != nil || null || text == "" {
		*d = Date{}
		return err
	}
	for _, layout := range []string{"02-01-2006", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil && !t.IsZero() { // the zero date is none
			*d = Date{t}
			return nil
		}
	}
	return wrongType(data, want)
}

func quoted(data []byte, want string) (text string, null bool, err error) {
	if string(data) == "null" {
		return "", true, nil
	}
	if err := json.Unmarshal(data, &text); err != nil {
		return "", false, wrongType(data, want)
	}
	return text, false, nil
}

// Page is where a list stands in the whole.
type Page struct {
	Number        int   `json:"number"`
	Size          int   `json:"size"`
	TotalElements int64 `json:"totalElements"`
	TotalPages    int64 `json:"totalPages"`
	// LowerBound says that TotalElements is only known to be at least that many.
	LowerBound bool `json:"lowerBound,omitempty"`
	// Next is the cursor for "after=" that continues behind the last row; empty at the end.
	Next string `json:"next,omitempty"`
}

// List is the answer of every operation that returns many rows.
type List[T any] struct {
	Collection []T   `json:"collection"`
	Page       *Page `json:"page,omitempty"`
}

// Event is one state change, as the feed of a service's events shows it. Seq orders the events of
// one service without gaps for its readers: an event with a smaller Seq never appears later.
type Event struct {
	Seq     int64           `json:"seq"`
	Kind    string          `json:"kind"`    // the resource: "order", "payment", …
	Subject ID              `json:"subject"` // its id
	Change  string          `json:"change"`  // what happened: "CONFIRMED", "anonymised", …
	Actor   string          `json:"actor"`   // the user or service that caused it
	At      time.Time       `json:"at"`
	Data    json.RawMessage `json:"data,omitempty"`
}
