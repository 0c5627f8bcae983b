package cloudconfig

import (
	"slices"
	"strings"
)

const (
	maxPlaceholderDepth = 32      // of placeholders within placeholders
	maxPlaceholderText  = 1 << 20 // bytes of looked-up values in one Resolve
)

// Resolve replaces the ${key} and ${key:default} in value by what lookup knows.
// Keys and defaults may hold placeholders themselves, and so may the values found.
// \${ with one or two backslashes stands for a literal ${. A placeholder that
// cannot be resolved, or that refers to itself, stays as it is written.
func Resolve(value string, lookup func(key string) (string, bool)) string {
	r := resolver{lookup: lookup, left: maxPlaceholderText}
	return r.resolve(value, 0)
}

type resolver struct {
	lookup func(string) (string, bool)
	open   []string // keys whose values are being resolved, to stop at a cycle
	left   int      // bytes that may still be looked up: values can multiply
}

func (r *resolver) resolve(s string, depth int) string {
	var b strings.Builder
	for {
		start := strings.Index(s, "${")
		if start < 0 {
			break
		}
		if plain, escaped := unescape(s[:start]); escaped {
			b.WriteString(plain)
			b.WriteString("${")
			s = s[start+2:]
			continue
		}
		length := placeholderEnd(s[start+2:])
		if length < 0 {
			break
		}
		b.WriteString(s[:start])
		inner := s[start+2 : start+2+length]
		s = s[start+2+length+1:]
		if v, ok := r.placeholder(inner, depth+1); ok {
			b.WriteString(v)
		} else {
			b.WriteString("${" + inner + "}")
		}
	}
	b.WriteString(s)
	return b.String()
}

// unescape removes the one or two backslashes at the end of s that escape what follows.
func unescape(s string) (string, bool) {
	if t, ok := strings.CutSuffix(s, `\`); ok {
		return strings.TrimSuffix(t, `\`), true
	}
	return s, false
}

// placeholderEnd finds the brace that closes a placeholder; braces inside are balanced.
func placeholderEnd(s string) int {
	nested := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			nested++
		case '}':
			if nested == 0 {
				return i
			}
			nested--
		}
	}
	return -1
}

func (r *resolver) placeholder(inner string, depth int) (string, bool) {
	if depth > maxPlaceholderDepth {
		return "", false
	}
	if v, ok := r.value(inner, depth); ok { // a key may itself hold a colon
		return v, true
	}
	key, fallback, hasFallback := cutDefault(inner)
	if strings.Contains(key, "${") {
		key = r.resolve(key, depth)
	}
	if key != inner {
		if v, ok := r.value(key, depth); ok {
			return v, true
		}
	}
	if hasFallback {
		return r.resolve(fallback, depth), true
	}
	return "", false
}

// cutDefault splits key:default at the first colon that is not within a nested placeholder.
func cutDefault(s string) (key, fallback string, ok bool) {
	nested := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			nested++
		case '}':
			nested--
		case ':':
			if nested == 0 {
				return s[:i], s[i+1:], true
			}
		}
	}
	return s, "", false
}

func (r *resolver) value(key string, depth int) (string, bool) {
	if slices.Contains(r.open, key) {
		return "", false
	}
	v, ok := r.lookup(key)
	if !ok || len(v) > r.left {
		return "", false
	}
	r.left -= len(v)
	r.open = append(r.open, key)
	v = r.resolve(v, depth)
	r.open = r.open[:len(r.open)-1]
	return v, true
}
