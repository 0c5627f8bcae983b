package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"tienda/api"
)

// compileRegexp compiles a regular expression written for Java. Full expressions match a whole text.
// What Java has beyond RE2 is an error: a gateway must not backtrack on what clients send.
func compileRegexp(expr string, full bool) (*regexp.Regexp, error) {
	wrapped := expr
	if full {
		wrapped = "^(?:" + expr + ")$"
	}
	match, err := regexp.Compile(wrapped)
	if err == nil {
		return match, nil
	}
	reason := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	if strings.Contains(expr, "(?=") || strings.Contains(expr, "(?!") || strings.Contains(expr, "(?<=") || strings.Contains(expr, "(?<!") {
		reason = "looking ahead or behind is not available"
	}
	return nil, fmt.Errorf("regular expression %q: %s", expr, reason)
}

// javaReplacement turns a replacement of Java's String.replaceAll into one of package regexp:
// "$\{name}" (Spring's way around YAML placeholders) and "${name}" are groups, so is "$1", and a
// backslash quotes.
func javaReplacement(text string, match *regexp.Regexp) (string, error) {
	text = strings.ReplaceAll(text, `$\`, "$")
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			if i++; i == len(text) {
				return "", fmt.Errorf(`replacement %q ends in a lone \`, text)
			}
			if text[i] == '$' {
				b.WriteByte('$')
			}
			b.WriteByte(text[i])
		case c != '$':
			b.WriteByte(c)
		default:
			name, length := groupReference(text[i+1:], match.NumSubexp())
			if length == 0 {
				return "", fmt.Errorf(`replacement %q: want $1, ${name} or \$ at %q`, text, text[i:])
			}
			if n, err := strconv.Atoi(name); err == nil && n > match.NumSubexp() || err != nil && match.SubexpIndex(name) < 0 {
				return "", fmt.Errorf("replacement %q: the regular expression has no group %s", text, name)
			}
			b.WriteString("${" + name + "}")
			i += length
		}
	}
	return b.String(), nil
}

// groupReference reads what follows a $. As in Java, digits are taken as long as there is such a
// group: with one group, "$12" is that group and a 2.
func groupReference(text string, groups int) (name string, length int) {
	if rest, ok := strings.CutPrefix(text, "{"); ok {
		name, _, ok = strings.Cut(rest, "}")
		if !ok || !isName(name) {
			return "", 0
		}
		return name, len(name) + 2
	}
	for length < len(text) && '0' <= text[length] && text[length] <= '9' {
		n, err := strconv.Atoi(text[:length+1])
		if length > 0 && (err != nil || n > groups) {
			break
		}
		length++
	}
	return text[:length], length
}

// problemLimit is the size up to which a problem document is rewritten.
const problemLimit = 64 << 10

// restateProblem makes a problem document in the response state the response's status.
func restateProblem(x *Exchange) {
	media, _, err := mime.ParseMediaType(x.ResponseHeader.Get("Content-Type"))
	if err != nil || media != "application/problem+json" || x.ResponseHeader.Get("Content-Encoding") != "" {
		return
	}
	body, ok := x.ResponseBody(problemLimit)
	if !ok {
		return
	}
	if restated, err := replaceMembers(body, problemMembers(x.Status, body)); err == nil {
		x.SetResponseBody(restated)
	}
}

// problemMembers are the members of a problem document that depend on its status.
func problemMembers(status int, body []byte) map[string]any {
	members := map[string]any{"status": status, "httpStatus": statusName(status)}
	var kind struct {
		Type string `json:"type"`
	}
	// RFC 9457, 4.2.1: the title of "about:blank" is the phrase of the status.
	if json.Unmarshal(body, &kind) == nil && (kind.Type == "" || kind.Type == "about:blank") {
		members["title"] = http.StatusText(status)
	}
	return members
}

// replaceMembers replaces the values of members that a JSON object has and leaves every other byte of it.
func replaceMembers(object []byte, members map[string]any) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(object))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	var b bytes.Buffer
	copied := 0
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		name, _ := key.(string)
		replacement, ok := members[name]
		if !ok {
			continue
		}
		encoded, err := json.Marshal(replacement)
		if err != nil {
			return nil, err
		}
		end := int(decoder.InputOffset())
		b.Write(object[copied : end-len(value)])
		b.Write(encoded)
		copied = end
	}
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	b.Write(object[copied:])
	return b.Bytes(), nil
}

func statusName(status int) string {
	if http.StatusText(status) == "" {
		return strconv.Itoa(status)
	}
	return api.StatusName(status)
}
