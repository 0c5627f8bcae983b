package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"unicode/utf8"

	"tienda/api"
)

// MaxBody bounds the body of every request that a service reads.
const MaxBody = 1 << 20

// maxDepth bounds how deep JSON nests. Nothing here nests half as deep, and types that hold each other,
// such as users and credentials, read what is inside them once more at each level.
const maxDepth = 16

// Read decodes the JSON body of the request. Origin rows are read leniently: unknown fields are
// ignored. Everything newer refuses them, so that a misspelt field does not pass in silence.
func Read[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	var value T
	body, err := ReadBody(w, r)
	if err != nil {
		return value, err
	}
	route, _ := r.Context().Value(routeKey{}).(*Route)
	return Decode[T](body, route != nil && route.Origin)
}

// ReadBody is the whole body of a JSON request: 415 for another content type, 413 beyond [MaxBody].
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if contentType := r.Header.Get("Content-Type"); contentType != "" {
		media, _, err := mime.ParseMediaType(contentType)
		if err != nil || (media != "application/json" && !strings.HasSuffix(media, "+json")) {
			return nil, api.Status(http.StatusUnsupportedMediaType, "the content type is %q, want application/json", contentType)
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, api.TooLarge(e.Limit)
	}
	if err != nil {
		return nil, api.BadRequest("the body ended early")
	}
	return body, nil
}

// byteOrderMark is what some editors put before a text; RFC 8259, section 8.1, has it ignored.
const byteOrderMark = "\ufeff"

// Decode reads one JSON value. Errors are 400 problems that say where and what.
func Decode[T any](body []byte, lenient bool) (T, error) {
	var value T
	body = bytes.TrimPrefix(body, []byte(byteOrderMark))
	if len(bytes.TrimSpace(body)) == 0 {
		return value, api.BadRequest("the body is empty; JSON is wanted")
	}
	if !utf8.Valid(body) {
		return value, api.BadRequest("the body is not valid UTF-8")
	}
	if first := bytes.TrimSpace(body)[0]; first != '{' && first != '[' {
		return value, api.BadRequest("a JSON object is wanted")
	}
	if deeper(body, maxDepth) {
		return value, api.BadRequest("the JSON is nested more than %d deep", maxDepth)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if !lenient {
		decoder.DisallowUnknownFields()
	}
	if err := decoder.Decode(&value); err != nil {
		return value, badJSON(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return value, api.BadRequest("there is more behind the JSON value")
	}
	return value, nil
}

// deeper reports whether lists and objects nest more than so many deep. What is no JSON is the decoder's
// to refuse.
func deeper(body []byte, most int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++ // whatever follows is part of the text
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > most {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

func badJSON(err error) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return api.BadRequest("malformed JSON at byte %d: %v", e.Offset, e)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return wrongType(e)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return api.BadRequest("malformed JSON: it ends early")
	}
	if text, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return api.BadRequest("there is no field %s", text)
	}
	// Every type of package api that reads itself tells what it wants by a json.UnmarshalTypeError: what is
	// left is time.Time, whose errors are for those who write Go.
	return api.BadRequest("a time must be written as RFC 3339, such as 2026-01-31T12:00:00Z")
}

// wrongType says of a field what it must be and what was sent.
func wrongType(e *json.UnmarshalTypeError) error {
	reason := fmt.Sprintf("must be %s, but %s was sent", wanted(e.Type, e.Value), sent(e.Value))
	if e.Field == "" {
		return api.BadRequest("the body %s", reason)
	}
	// Types with second names for their fields are decoded through an embedded "plain" type.
	field := strings.ReplaceAll(e.Field, "plain.", "")
	p := api.BadRequest("field %s %s", field, reason)
	p.Errors = []api.FieldError{{Field: field, Reason: reason}}
	return p
}

// wanted turns the Go type of a field into words for a person who sends JSON. A value that is a number in
// digits alone, and still none for a type of numbers, is out of the range of that type.
func wanted(t reflect.Type, value string) string {
	if name := t.String(); strings.HasPrefix(name, "a ") || strings.HasPrefix(name, "an ") {
		return name // package api names what it wants
	}
	digits, isNumber := strings.CutPrefix(value, "number ")
	whole := isNumber && strings.Trim(digits, "-0123456789") == ""
	switch {
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64 && whole:
		most := int64(math.MaxInt64) >> (64 - t.Bits())
		return fmt.Sprintf("a whole number from %d to %d", -most-1, most)
	case t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64 && whole:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(math.MaxUint64)>>(64-t.Bits()))
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64 && isNumber && strings.ContainsAny(digits, "eE"):
		return "a whole number without an exponent"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return "a whole number"
	case (t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64) && isNumber && digits != "":
		return "a number that is not that large"
	case t.Kind() == reflect.Float32, t.Kind() == reflect.Float64:
		return "a number"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String:
		return "a text"
	case t.Kind() == reflect.Slice, t.Kind() == reflect.Array:
		return "a list"
	}
	return "an object"
}

// sent puts into words what encoding/json, or package api, says was sent: a type of JSON, and the value
// behind it where that is known.
func sent(value string) string {
	kind, literal, known := strings.Cut(value, " ")
	switch kind {
	case "string":
		if known {
			return "the text " + literal
		}
		return "a text"
	case "number":
		if known {
			return "the number " + clip(literal)
		}
		return "a number"
	case "bool":
		if known {
			return literal
		}
		return "true or false"
	case "array":
		return "a list"
	}
	return "an object"
}

// PathID is an id in the path. What is no number cannot exist: 404.
func PathID(r *http.Request, name string) (api.ID, error) {
	id, ok := api.ParseID(r.PathValue(name))
	if !ok {
		return 0, api.NotFound("no such %s: %q", strings.TrimSuffix(name, "Id"), clip(r.PathValue(name)))
	}
	return id, nil
}

// QueryIDs reads a comma list of ids from a query parameter; given reports whether it is there at
// all. At most 1,000.
func QueryIDs(r *http.Request, name string) (ids []api.ID, given bool, err error) {
	if !r.URL.Query().Has(name) {
		return nil, false, nil
	}
	for text := range strings.SplitSeq(r.URL.Query().Get(name), ",") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		id, ok := api.ParseID(text)
		if !ok {
			return nil, true, api.BadRequest("parameter %s: %q is not an id", name, clip(text))
		}
		ids = append(ids, id)
	}
	if len(ids) > MaxPageSize {
		return nil, true, api.Invalid(api.FieldError{Field: name, Reason: fmt.Sprintf("holds more than %d ids", MaxPageSize)})
	}
	return ids, true, nil
}

// QueryID reads one id from a query parameter; 0 when it is absent.
func QueryID(r *http.Request, name string) (api.ID, error) {
	ids, given, err := QueryIDs(r, name)
	if err != nil || !given {
		return 0, err
	}
	if len(ids) != 1 {
		return 0, api.BadRequest("parameter %s: one id is wanted", name)
	}
	return ids[0], nil
}

func clip(text string) string {
	if len(text) > 40 {
		return strings.ToValidUTF8(text[:40], "") + "…"
	}
	return text
}

// JSON answers with a value.
func JSON(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client is gone when this fails
	return nil
}

// SetETag shows the version of a row as its entity tag.
func SetETag(w http.ResponseWriter, version int64) {
	w.Header().Set("ETag", fmt.Sprintf(`"%d"`, version))
}

// IfMatch is the version that a conditional write names; ok is false when the write is not
// conditional. A tag that is none of ours never matches: version -1.
func IfMatch(r *http.Request) (version int64, ok bool) {
	header := strings.TrimSpace(r.Header.Get("If-Match"))
	if header == "" || header == "*" {
		return 0, false
	}
	if _, err := fmt.Sscanf(header, `"%d"`, &version); err != nil {
		return -1, true
	}
	return version, true
}

// Stale is the answer to a conditional write on a version that is not the present one.
func Stale(present int64) error {
	return api.Status(http.StatusPreconditionFailed, "the row has changed since you read it: its ETag is now \"%d\"; read it again", present)
}
