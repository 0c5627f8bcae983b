package cloudconfig

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// parseProperties reads a Java properties file: ISO-8859-1 with \uXXXX escapes.
// A line "#---" or "!---" that touches no other comment starts a new document,
// as in Spring Boot's OriginTrackedPropertiesLoader.
func parseProperties(data []byte) ([]Source, error) {
	var (
		documents []Source
		current   sourceBuilder
		commented bool // the line before is a comment
		split     bool // the line before is a separator that closed a document
	)
	lines := propertyLines(data)
	for i := 0; i < len(lines); {
		line := strings.TrimLeft(lines[i], propertySpace)
		if line != "" && (line[0] == '#' || line[0] == '!') {
			switch {
			case split: // this comment touches the separator and takes it back
				current = rebuild(documents[len(documents)-1])
				documents, split = documents[:len(documents)-1], false
			case !commented && isSeparator(lines[i]) && len(current.source) > 0:
				documents = append(documents, current.source)
				current, split = sourceBuilder{}, true
			}
			commented = true
			i++
			continue
		}
		commented, split = false, false
		if line == "" {
			i++
			continue
		}
		chars, next, err := logicalLine(lines, i)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		current.add(property(chars, next))
		i = next
	}
	if len(current.source) > 0 {
		documents = append(documents, current.source)
	}
	return documents, nil
}

const propertySpace = " \t\f"

func isSeparator(line string) bool {
	return strings.TrimRight(line[1:], propertySpace) == "---"
}

func rebuild(s Source) sourceBuilder {
	var b sourceBuilder
	for _, p := range s {
		b.add(p)
	}
	return b
}

func propertyLines(data []byte) []string {
	var b strings.Builder
	b.Grow(len(data))
	for _, c := range data { // each byte of ISO-8859-1 is the code point of its character
		b.WriteRune(rune(c))
	}
	s := strings.ReplaceAll(b.String(), "\r\n", "\n")
	return strings.Split(strings.ReplaceAll(s, "\r", "\n"), "\n")
}

// A propertyChar is a decoded character and where it stands.
type propertyChar struct {
	unit         uint16 // of UTF-16: \u escapes may give half a character
	escaped      bool   // so it separates nothing
	line, column int    // from 1
}

func (c propertyChar) isOneOf(set string) bool {
	return !c.escaped && strings.ContainsRune(set, rune(c.unit))
}

// logicalLine decodes the escapes of the line at first and of those that its
// trailing backslashes add to it; next is the index of the line after them.
func logicalLine(lines []string, first int) (chars []propertyChar, next int, err error) {
	for next = first; next < len(lines); next++ {
		line := []rune(lines[next])
		at := len(line) - len([]rune(strings.TrimLeft(lines[next], propertySpace)))
		continued := false
		for at < len(line) {
			c := propertyChar{unit: uint16(line[at]), line: next + 1, column: at + 1}
			at++
			if c.unit != '\\' {
				chars = append(chars, c)
				continue
			}
			if at == len(line) {
				continued = true
				break
			}
			c.escaped, c.unit = true, uint16(line[at])
			at++
			switch c.unit {
			case 't':
				c.unit = '\t'
			case 'n':
				c.unit = '\n'
			case 'r':
				c.unit = '\r'
			case 'f':
				c.unit = '\f'
			case 'u':
				n, err := strconv.ParseUint(string(line[at:min(at+4, len(line))]), 16, 16)
				if err != nil || at+4 > len(line) {
					return nil, 0, errors.New(`\u needs four hexadecimal digits`)
				}
				c.unit = uint16(n)
				at += 4
			}
			chars = append(chars, c)
		}
		if !continued {
			return chars, next + 1, nil
		}
	}
	return chars, next, nil
}

// property splits a logical line: the key ends at the first =, : or white space.
func property(chars []propertyChar, next int) Property {
	isSpace := func(c propertyChar) bool { return c.isOneOf(propertySpace) }
	end := slices.IndexFunc(chars, func(c propertyChar) bool { return c.isOneOf("=:" + propertySpace) })
	if end < 0 {
		end = len(chars)
	}
	value := skip(chars[end:], isSpace)
	if len(value) > 0 && value[0].isOneOf("=:") {
		value = skip(value[1:], isSpace)
	}
	p := Property{Key: units(chars[:end]), Value: units(value)}
	switch {
	case len(value) > 0:
		p.Origin = position(value[0].line, value[0].column)
	case len(chars) > 0:
		last := chars[len(chars)-1]
		p.Origin = position(last.line, last.column+1)
	default:
		p.Origin = position(next, 1)
	}
	return p
}

func skip(chars []propertyChar, skipped func(propertyChar) bool) []propertyChar {
	for len(chars) > 0 && skipped(chars[0]) {
		chars = chars[1:]
	}
	return chars
}

func units(chars []propertyChar) string {
	text := make([]uint16, len(chars))
	for i, c := range chars {
		text[i] = c.unit
	}
	return string(utf16.Decode(text))
}
