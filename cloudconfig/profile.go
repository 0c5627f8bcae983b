package cloudconfig

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const maxProfileDepth = 50 // of parentheses and negations

// profilesMatch evaluates a profile expression (names, !, &, |, parentheses)
// against the active profiles. As in Spring, & and | do not mix without parentheses.
func profilesMatch(expression string, active []string) (bool, error) {
	p := profileParser{rest: expression, active: active}
	match, err := p.expression(0)
	if err == nil && p.rest != "" {
		err = fmt.Errorf("unexpected %q", p.rest)
	}
	if err != nil {
		return false, fmt.Errorf("malformed profile expression %q: %w", expression, err)
	}
	return match, nil
}

type profileParser struct {
	rest   string
	active []string
}

func (p *profileParser) expression(depth int) (bool, error) {
	match, err := p.term(depth)
	if err != nil {
		return false, err
	}
	operator := byte(0)
	for {
		p.rest = strings.TrimLeft(p.rest, " \t\n")
		if p.rest == "" || p.rest[0] == ')' {
			return match, nil
		}
		next := p.rest[0]
		if next != '&' && next != '|' {
			return false, fmt.Errorf("want & or | before %q", p.rest)
		}
		if operator != 0 && operator != next {
			return false, errors.New("use parentheses where & and | meet")
		}
		operator = next
		p.rest = p.rest[1:]
		right, err := p.term(depth)
		if err != nil {
			return false, err
		}
		if operator == '&' {
			match = match && right
		} else {
			match = match || right
		}
	}
}

func (p *profileParser) term(depth int) (bool, error) {
	if depth > maxProfileDepth {
		return false, errors.New("nested too deeply")
	}
	p.rest = strings.TrimLeft(p.rest, " \t\n")
	switch {
	case p.rest == "":
		return false, errors.New("a profile is missing at the end")
	case p.rest[0] == '!':
		p.rest = p.rest[1:]
		match, err := p.term(depth + 1)
		return !match, err
	case p.rest[0] == '(':
		p.rest = p.rest[1:]
		match, err := p.expression(depth + 1)
		if err != nil {
			return false, err
		}
		if p.rest == "" {
			return false, errors.New("a closing parenthesis is missing")
		}
		p.rest = p.rest[1:] // expression stops at nothing but the end and a parenthesis
		return match, nil
	}
	end := strings.IndexAny(p.rest, "!&|() \t\n")
	if end < 0 {
		end = len(p.rest)
	}
	if end == 0 {
		return false, fmt.Errorf("a profile is missing before %q", p.rest)
	}
	name := p.rest[:end]
	p.rest = p.rest[end:]
	return slices.Contains(p.active, name), nil
}

// isActive decides whether a document belongs to the active profiles: always,
// unless it has spring.config.activate.on-profile or the older spring.profiles.
func isActive(s Source, active []string) (bool, error) {
	conditional, match := false, false
	for _, p := range s {
		switch activationKey(p.Key) {
		case "spring.config.activate.onprofile", "spring.profiles":
		default:
			continue
		}
		conditional = true
		for expression := range strings.SplitSeq(text(p.Value), ",") {
			ok, err := profilesMatch(expression, active)
			if err != nil {
				return false, fmt.Errorf("%s at %s: %w", p.Key, p.Origin, err)
			}
			match = match || ok
		}
	}
	return !conditional || match, nil
}

// isConditional tells whether a document depends on profiles at all.
func isConditional(s Source) bool {
	return slices.ContainsFunc(s, func(p Property) bool {
		key := activationKey(p.Key)
		return key == "spring.config.activate.onprofile" || key == "spring.profiles"
	})
}

// activationKey brings on-profile, onProfile and the elements of a list to one spelling.
func activationKey(key string) string {
	return strings.ToLower(strings.ReplaceAll(listName(key), "-", ""))
}
