package cloudconfig

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

const (
	maxNames = 16  // applications or profiles in one request: every pair is a file to look for
	maxName  = 120 // bytes, so that application, profile and extension fit a file name
)

var profileName = regexp.MustCompile(`^[\pL\p{Nd}]([\pL\p{Nd}._+@-]*[\pL\p{Nd}])?$`)

// newQuery checks the parts of a path before they become parts of file names.
func newQuery(app, profile, label string) (query, error) {
	for _, part := range []struct{ what, text string }{{"application", app}, {"label", label}} {
		if strings.HasPrefix(part.text, "(_)") {
			return query{}, badRequest("the %s must not begin with a slash", part.what)
		}
	}
	q := query{app: slashes(app), profile: profile, label: slashes(label)}
	if err := checkPath("application", q.app); err != nil {
		return query{}, err
	}
	if err := checkPath("label", q.label); err != nil {
		return query{}, err
	}
	apps, profiles := splitNames(q.app), splitNames(q.profile)
	if len(apps) == 0 || len(profiles) == 0 {
		return query{}, badRequest("want at least one application and one profile")
	}
	if len(apps) > maxNames || len(profiles) > maxNames || len(splitNames(q.label)) > maxNames {
		return query{}, badRequest("want at most %d applications, profiles and labels", maxNames)
	}
	for _, p := range profiles {
		if !profileName.MatchString(p) || len(p) > maxName {
			return query{}, badRequest("profile %q is not valid: use letters, digits and - _ . + @, with a letter or digit at both ends, up to %d bytes", p, maxName)
		}
	}
	return q, nil
}

// slashes decodes how clients write a slash within one segment.
func slashes(s string) string { return strings.ReplaceAll(s, "(_)", "/") }

// checkPath refuses what could leave a search location, also when it is encoded
// once more than needed.
func checkPath(what, s string) error {
	if decoded, err := url.PathUnescape(s); err == nil && decoded != s {
		if err := checkDecoded(what, decoded); err != nil {
			return err
		}
	}
	return checkDecoded(what, s)
}

func checkDecoded(what, s string) error {
	switch {
	case strings.Contains(s, ".."):
		return badRequest("the %s must not hold ..", what)
	case strings.ContainsAny(s, `#\`):
		return badRequest("the %s must not hold # or a backslash", what)
	case strings.HasPrefix(s, "/"):
		return badRequest("the %s must not begin with a slash", what)
	case strings.ContainsFunc(s, unicode.IsControl):
		return badRequest("the %s must not hold control characters", what)
	}
	for element := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '/' || r == ',' }) {
		if len(element) > maxName {
			return badRequest("the %s is too long: want at most %d bytes between slashes", what, maxName)
		}
	}
	return nil
}
