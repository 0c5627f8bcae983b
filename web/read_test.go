package web_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tienda/api"
	"tienda/web"
)

// kinds has a field of every Go type that bodies are read into.
type kinds struct {
	Text   string         `json:"text"`
	Whole  int            `json:"whole"`
	Small  int8           `json:"small"`
	Port   uint16         `json:"port"`
	Ratio  float64        `json:"ratio"`
	Flag   *bool          `json:"flag"`
	List   []string       `json:"list"`
	Object *kinds         `json:"object"`
	Map    map[string]int `json:"map"`
	ID     api.ID         `json:"id"`
	Int    *api.Int       `json:"int"`
	Amount api.Amount     `json:"amount"`
	At     api.DateTime   `json:"at"`
	Day    api.Date       `json:"day"`
	Time   time.Time      `json:"time"`
}

// TestWrongTypesInWords sends every type of JSON to every type of field and wants to be told which field must be
// what, and what was sent.
func TestWrongTypesInWords(t *testing.T) {
	t.Parallel()
	type sent struct{ json, std, own string } // own: as the types of package api say it, which know the value
	values := map[string]sent{
		"text":   {`"one"`, "a text was sent", `the text "one" was sent`},
		"number": {`1.5`, "the number 1.5 was sent", "the number 1.5 was sent"},
		"bool":   {`true`, "true or false was sent", "true was sent"},
		"list":   {`["one"]`, "a list was sent", "a list was sent"},
		"object": {`{"a":"one"}`, "an object was sent", "an object was sent"},
	}
	for field, c := range map[string]struct {
		wants string
		fits  string // the types of JSON that are right
		own   bool
	}{
		"text":   {wants: "a text", fits: "text"},
		"whole":  {wants: "a whole number"},
		"small":  {wants: "a whole number"},
		"port":   {wants: "a whole number"},
		"ratio":  {wants: "a number", fits: "number"},
		"flag":   {wants: "true or false", fits: "bool"},
		"list":   {wants: "a list", fits: "list"},
		"object": {wants: "an object", fits: "object"},
		"map":    {wants: "an object"}, // one of whole numbers, which has a sentence of its own below
		"id":     {wants: "an id, which is a whole number", own: true},
		"int":    {wants: "a whole number", own: true},
		"amount": {wants: "an amount of money such as 99.99", fits: "number", own: true},
		"at":     {wants: "a date and time as dd-MM-yyyy__HH:mm:ss:SSSSSS or RFC 3339", own: true},
		"day":    {wants: "a date as dd-MM-yyyy or yyyy-MM-dd", own: true},
	} {
		for kind, value := range values {
			if kind == c.fits || (field == "map" && kind == "object") {
				continue
			}
			was := value.std
			if c.own {
				was = value.own
			}
			if kind == "number" && !c.own && !strings.HasSuffix(c.wants, "number") {
				was = "a number was sent" // which one is no matter
			}
			reason := "must be " + c.wants + ", but " + was
			if got, want := reading(t, `{"`+field+`":`+value.json+`}`), "field "+field+" "+reason; got.Detail != want {
				t.Errorf("%s for %s: %q, want %q", value.json, field, got.Detail, want)
			}
			nested := reading(t, `{"object":{"object":{"`+field+`":`+value.json+`}}}`)
			if diff := cmp.Diff([]api.FieldError{{Field: "object.object." + field, Reason: reason}}, nested.Errors); diff != "" {
				t.Errorf("%s for nested %s: errors (-want +got)\n%s", value.json, field, diff)
			}
		}
	}
}

// TestValuesOutOfRangeInWords sends numbers that no field has room for, and what is wrong deep inside of a body.
func TestValuesOutOfRangeInWords(t *testing.T) {
	t.Parallel()
	const nines = "99999999999999999999"
	for body, want := range map[string]string{
		`{"whole":` + nines + `}`:  "field whole must be a whole number from -9223372036854775808 to 9223372036854775807, but the number " + nines + " was sent",
		`{"whole":1e3}`:            "field whole must be a whole number without an exponent, but the number 1e3 was sent",
		`{"small":-129}`:           "field small must be a whole number from -128 to 127, but the number -129 was sent",
		`{"port":65536}`:           "field port must be a whole number from 0 to 65535, but the number 65536 was sent",
		`{"port":-1}`:              "field port must be a whole number from 0 to 65535, but the number -1 was sent",
		`{"ratio":-1e400}`:         "field ratio must be a number that is not that large, but the number -1e400 was sent",
		`{"id":` + nines + `}`:     "field id must be an id, which is a whole number from -9223372036854775808 to 9223372036854775807, but the number " + nines + " was sent",
		`{"int":"-` + nines + `"}`: `field int must be a whole number from -9223372036854775808 to 9223372036854775807, but the text "-` + nines + `" was sent`,
		`{"whole":` + strings.Repeat("9", 500) + `}`: "field whole must be a whole number from -9223372036854775808 to 9223372036854775807, but the number " +
			strings.Repeat("9", 40) + "… was sent",
		`{"day":"31-02-2026"}`:                 `field day must be a date as dd-MM-yyyy or yyyy-MM-dd, but the text "31-02-2026" was sent`,
		`{"day":"01-01-0001"}`:                 `field day must be a date as dd-MM-yyyy or yyyy-MM-dd, but the text "01-01-0001" was sent`,
		`{"map":{"a":"one"}}`:                  "field map must be a whole number, but a text was sent",
		`{"list":["a",5]}`:                     "field list must be a text, but a number was sent",
		`{"object":{"list":[{}]}}`:             "field object.list must be a text, but an object was sent",
		`["one"]`:                              "the body must be an object, but a list was sent",
		`{"time":5}`:                           "a time must be written as RFC 3339, such as 2026-01-31T12:00:00Z",
		`{"time":"tomorrow"}`:                  "a time must be written as RFC 3339, such as 2026-01-31T12:00:00Z",
		`{"object":{"colour":"red"}}`:          `there is no field "colour"`,
		`{"whole":null,"text":null,"id":null}`: "",
	} {
		if got := reading(t, body); got.Detail != want {
			t.Errorf("%.80s: %q, want %q", body, got.Detail, want)
		}
	}
	// Types with second names for their fields read what is inside them by themselves.
	_, err := web.Decode[api.OrderItem]([]byte(`{"orderDto":{"cartDto":{"userDto":{"credential":{"username":["ada"]}}}}}`), true)
	if want := "field orderDto.cartDto.userDto.credential.username must be a text, but a list was sent"; !strings.HasSuffix(err.Error(), want) {
		t.Errorf("a list deep in an order item: %v, want %q", err, want)
	}
}

// reading is what is told to whom sends the body to an operation; a problem without words if it is read.
func reading(t *testing.T, body string) *api.Problem {
	t.Helper()
	_, err := web.Decode[kinds]([]byte(body), false)
	if err == nil {
		return &api.Problem{}
	}
	p, ok := errors.AsType[*api.Problem](err)
	if !ok || p.Status != http.StatusBadRequest {
		t.Fatalf("Decode(%.80s) = %v, want a 400", body, err)
	}
	return p
}
