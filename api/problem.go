package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Problem is an RFC 9457 problem document and a Go error at once. It crosses a service boundary
// intact: the Client returns the very problem that the server sent. Beside the members of the RFC it
// carries msg, httpStatus and timestamp, which clients of the original system read.
//
// The list of constructors is closed: [BadRequest] 400, [Unauthorized] 401, [PaymentRequired] 402,
// [Forbidden] 403, [NotFound] 404, [Conflict] 409, [TooLarge] 413, [Invalid] 422,
// [TooManyRequests] 429, [Internal] 500, [Unavailable] 503, [Timeout] 504, and [Status] for what
// HTTP itself asks for (405, 415, …).
type Problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail,omitempty"`
	Instance string `json:"instance,omitempty"`

	Errors  []FieldError `json:"errors,omitempty"`
	TraceID string       `json:"traceId,omitempty"`
	// OrderID names the order that stands in the way, or that a failed checkout left in the history.
	OrderID ID `json:"orderId,omitempty"`
	// FailureCode is the payment provider's reason of a 402.
	FailureCode string `json:"failureCode,omitempty"`

	Msg        string   `json:"msg"`
	HTTPStatus string   `json:"httpStatus"`
	Timestamp  DateTime `json:"timestamp"`

	// RetryAfter is sent as the header of that name, in whole seconds, when it is not 0.
	RetryAfter time.Duration `json:"-"`
}

// FieldError says what is wrong with one field, or with one product of an order.
type FieldError struct {
	Field     string `json:"field,omitempty"`
	ProductID ID     `json:"productId,omitempty"`
	Reason    string `json:"reason"`

	Requested *int64  `json:"requested,omitempty"` // stock asked for
	Available *int64  `json:"available,omitempty"` // stock there is
	Old       *Amount `json:"old,omitempty"`       // the price the owner last saw
	New       *Amount `json:"new,omitempty"`       // the price now
}

// Error is the status and the detail.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}

// Status makes a problem for any status; the others are shorter.
func Status(status int, format string, args ...any) *Problem {
	detail := fmt.Sprintf(format, args...)
	title := http.StatusText(status)
	msg := detail
	if msg == "" {
		msg = title
	}
	return &Problem{
		Type: "about:blank", Title: title, Status: status, Detail: detail,
		Msg: "#### " + msg + "! ####", HTTPStatus: StatusName(status),
	}
}

// StatusName is the name that the original system's clients know a status by: "NOT_FOUND".
func StatusName(status int) string {
	if status == http.StatusRequestEntityTooLarge {
		return "PAYLOAD_TOO_LARGE"
	}
	name := strings.NewReplacer(" ", "_", "-", "_", "'", "").Replace(http.StatusText(status))
	return strings.ToUpper(name)
}

// BadRequest is for what cannot be parsed or has the wrong JSON type.
func BadRequest(format string, args ...any) *Problem {
	return Status(http.StatusBadRequest, format, args...)
}

// Unauthorized is for a missing, invalid or expired token, and for wrong credentials.
func Unauthorized(format string, args ...any) *Problem {
	return Status(http.StatusUnauthorized, format, args...)
}

// PaymentRequired is for a card that was declined.
func PaymentRequired(code, format string, args ...any) *Problem {
	p := Status(http.StatusPaymentRequired, format, args...)
	p.FailureCode = code
	return p
}

// Forbidden is for a caller who is known and may not.
func Forbidden(format string, args ...any) *Problem {
	return Status(http.StatusForbidden, format, args...)
}

// NotFound is for a row that does not exist or is somebody else's: the two must not be told apart.
func NotFound(format string, args ...any) *Problem {
	return Status(http.StatusNotFound, format, args...)
}

// Conflict is for a request that the present state does not allow.
func Conflict(format string, args ...any) *Problem {
	return Status(http.StatusConflict, format, args...)
}

// TooLarge is for a body over limit bytes.
func TooLarge(limit int64) *Problem {
	return Status(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", limit)
}

// Invalid is for what is well-formed and unacceptable, field by field.
func Invalid(errors ...FieldError) *Problem {
	reasons := make([]string, len(errors))
	for i, e := range errors {
		name := e.Field
		if name == "" && e.ProductID != 0 {
			name = "product " + e.ProductID.String()
		}
		reasons[i] = strings.TrimSpace(name + " " + e.Reason)
	}
	p := Status(http.StatusUnprocessableEntity, "%s", strings.Join(reasons, "; "))
	p.Errors = errors
	return p
}

// TooManyRequests is for a caller who must wait.
func TooManyRequests(wait time.Duration, format string, args ...any) *Problem {
	p := Status(http.StatusTooManyRequests, format, args...)
	p.RetryAfter = wait
	return p
}

// Internal is for everything unforeseen. It says nothing: the cause is in the log, under the trace id.
func Internal() *Problem { return Status(http.StatusInternalServerError, "") }

// Unavailable is for a neighbour that does not answer.
func Unavailable(service string) *Problem {
	p := Status(http.StatusServiceUnavailable, "%s does not answer; try again shortly", service)
	p.RetryAfter = time.Second
	return p
}

// Timeout is for a neighbour that did not answer in time.
func Timeout(service string) *Problem {
	return Status(http.StatusGatewayTimeout, "%s did not answer in time", service)
}

// ParseProblem reads the error that a server sent with status. A body that is no problem document,
// such as one of a proxy on the way, becomes a problem with the status alone.
func ParseProblem(status int, body []byte) *Problem {
	var p Problem
	if json.Unmarshal(body, &p) != nil || p.Status == 0 || p.Title == "" {
		return Status(status, "")
	}
	p.Status = status
	return &p
}

// Valid turns a list of what is wrong into an error: nil when nothing is.
func Valid(errors []FieldError) error {
	if len(errors) == 0 {
		return nil
	}
	return Invalid(errors...)
}

// CheckLine says what is wrong with a text that stands on one line: it has at most so many characters,
// none of them a control character. A nil text is right.
func CheckLine(field string, text *string, most int) []FieldError {
	return checkCharacters(field, text, most, unicode.IsControl)
}

// CheckProse is [CheckLine] for a text that may have several lines.
func CheckProse(field string, text *string, most int) []FieldError {
	return checkCharacters(field, text, most, func(c rune) bool {
		return unicode.IsControl(c) && c != '\n' && c != '\r' && c != '\t'
	})
}

func checkCharacters(field string, text *string, most int, refused func(rune) bool) []FieldError {
	switch {
	case text == nil:
		return nil
	case utf8.RuneCountInString(*text) > most:
		return []FieldError{{Field: field, Reason: fmt.Sprintf("is longer than %d characters", most)}}
	case strings.ContainsFunc(*text, refused):
		return []FieldError{{Field: field, Reason: "holds a control character"}}
	}
	return nil
}
