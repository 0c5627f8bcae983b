package gateway

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"tienda/api"
)

// cleanPath checks an escaped path and cuts it into decoded segments. Doubled slashes collapse;
// everything that a server further on might read as another path is refused: dot segments, encoded
// slashes and backslashes, path parameters, control characters, and each of these encoded twice.
// A trailing slash leaves an empty last segment.
func cleanPath(path string) (clean string, segments []string, err error) {
	if !strings.HasPrefix(path, "/") {
		return "", nil, api.BadRequest("the path must begin with a slash")
	}
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	segments = make([]string, 0, 8)
	for segment := range strings.SplitSeq(path[1:], "/") {
		decoded, err := cleanSegment(segment)
		if err != nil {
			return "", nil, err
		}
		segments = append(segments, decoded)
	}
	return path, segments, nil
}

func cleanSegment(segment string) (string, error) {
	decoded := segment
	if strings.Contains(segment, "%") {
		var err error
		if decoded, err = url.PathUnescape(segment); err != nil {
			return "", api.BadRequest("the path has an invalid percent-encoding")
		}
	}
	if reason := unsafeSegment(decoded); reason != "" {
		return "", api.BadRequest("%s", reason)
	}
	if strings.Contains(decoded, "%") {
		if twice, err := url.PathUnescape(decoded); err == nil && unsafeSegment(twice) != "" {
			return "", api.BadRequest("the path is encoded twice")
		}
	}
	return decoded, nil
}

func unsafeSegment(segment string) string {
	if segment == "." || segment == ".." {
		return "the path must not contain . or .. segments"
	}
	for i := range len(segment) {
		switch c := segment[i]; {
		case c == '/' || c == '\\':
			return "the path must not contain encoded slashes or backslashes"
		case c == ';':
			return "the path must not contain ; parameters"
		case c < ' ' || c == 0x7f:
			return "the path must not contain control characters"
		}
	}
	if !utf8.ValidString(segment) {
		return "the path must be UTF-8"
	}
	return ""
}

// neverRouted says whether a path leads to what a service tells its operators only. Contexts are one
// segment long, hence the second look.
func neverRouted(segments []string) bool {
	for i, segment := range segments[:min(2, len(segments))] {
		if strings.EqualFold(segment, "actuator") {
			return true
		}
		if i == 0 && (segment == "livez" || segment == "readyz" || segment == "metrics") {
			return true
		}
	}
	return false
}

// A pathPattern is Spring's PathPattern: ? is one character, * any within a segment, {name} captures
// a segment, {name:regexp} one that matches, and at the end ** is all that follows and {*name}
// captures it.
type pathPattern struct {
	text     string
	segments []segmentPattern
	rest     bool   // ** or {*name} at the end
	restName string // of {*name}
}

type segmentPattern struct {
	literal string         // when neither capture nor match is set
	name    string         // {name}: captures the whole segment
	any     bool           // * or {name}: any segment that is not empty
	match   *regexp.Regexp // everything else; its groups are captured
}

func parsePathPattern(text string) (pathPattern, error) {
	if text == "" {
		return pathPattern{}, fmt.Errorf("the path pattern is empty")
	}
	if text[0] != '/' {
		text = "/" + text
	}
	p := pathPattern{text: text}
	parts, err := splitPattern(text[1:])
	if err != nil {
		return p, err
	}
	for i, part := range parts {
		if p.rest {
			return p, fmt.Errorf("path pattern %q: ** and {*name} are allowed at the end only", text)
		}
		if part == "**" {
			p.rest = true
			continue
		}
		if name, ok := strings.CutPrefix(part, "{*"); ok {
			p.rest, p.restName = true, strings.TrimSuffix(name, "}")
			if !isName(p.restName) {
				return p, fmt.Errorf("path pattern %q: %q is no variable name", text, p.restName)
			}
			continue
		}
		segment, err := parseSegment(part)
		if err != nil {
			return p, fmt.Errorf("path pattern %q: segment %d: %w", text, i+1, err)
		}
		p.segments = append(p.segments, segment)
	}
	return p, nil
}

// splitPattern cuts at the slashes outside braces: a regular expression inside may hold some.
func splitPattern(text string) ([]string, error) {
	var parts []string
	depth, start := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '{':
			depth++
		case '}':
			depth--
		case '/':
			if depth == 0 {
				parts = append(parts, text[start:i])
				start = i + 1
			}
		}
		if depth < 0 {
			break
		}
	}
	if depth != 0 {
		return nil, fmt.Errorf("path pattern %q: braces do not match", "/"+text)
	}
	return append(parts, text[start:]), nil
}

func parseSegment(text string) (segmentPattern, error) {
	if !strings.ContainsAny(text, "?*{") {
		return segmentPattern{literal: text}, nil
	}
	if text == "*" {
		return segmentPattern{any: true}, nil
	}
	if name, ok := strings.CutPrefix(text, "{"); ok {
		if name, ok = strings.CutSuffix(name, "}"); ok && isName(name) {
			return segmentPattern{any: true, name: name}, nil
		}
	}
	var expr strings.Builder
	for rest := text; rest != ""; {
		switch rest[0] {
		case '?':
			expr.WriteString(".")
		case '*':
			expr.WriteString(".*")
		case '{':
			end := closingBrace(rest)
			name, match, _ := strings.Cut(rest[1:end], ":")
			if !isName(name) {
				return segmentPattern{}, fmt.Errorf("%q is no variable name", name)
			}
			if match == "" {
				match = ".*"
			}
			expr.WriteString("(?P<" + name + ">" + match + ")")
			rest = rest[end+1:]
			continue
		default:
			end := strings.IndexAny(rest, "?*{")
			if end < 0 {
				end = len(rest)
			}
			expr.WriteString(regexp.QuoteMeta(rest[:end]))
			rest = rest[end:]
			continue
		}
		rest = rest[1:]
	}
	match, err := compileRegexp(expr.String(), true)
	return segmentPattern{match: match}, err
}

// closingBrace finds the end of the variable that text begins with; splitPattern saw that it exists.
func closingBrace(text string) int {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(text) - 1
}

func isName(text string) bool {
	for i := range len(text) {
		c := text[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return text != ""
}

// matches tells whether decoded segments match, and hands each variable to capture.
func (p *pathPattern) matches(segments []string, trailingSlash bool, capture func(name, value string)) bool {
	if trailingSlash && !p.rest && len(segments) == len(p.segments)+1 && segments[len(segments)-1] == "" {
		segments = segments[:len(segments)-1]
	}
	if len(segments) < len(p.segments) || (len(segments) > len(p.segments) && !p.rest) {
		return false
	}
	for i := range p.segments {
		if !p.segments[i].matches(segments[i]) {
			return false
		}
	}
	for i := range p.segments {
		p.segments[i].capture(segments[i], capture)
	}
	if p.restName != "" {
		value := strings.Join(segments[len(p.segments):], "/")
		if len(segments) > len(p.segments) {
			value = "/" + value
		}
		capture(p.restName, value)
	}
	return true
}

func (s *segmentPattern) matches(segment string) bool {
	switch {
	case s.any:
		return segment != ""
	case s.match != nil:
		return s.match.MatchString(segment)
	}
	return segment == s.literal
}

func (s *segmentPattern) capture(segment string, capture func(name, value string)) {
	if s.name != "" {
		capture(s.name, segment)
	}
	if s.match == nil {
		return
	}
	groups := s.match.FindStringSubmatch(segment)
	for i, name := range s.match.SubexpNames() {
		if name != "" {
			capture(name, groups[i])
		}
	}
}
