package cloudconfig

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Flatten turns the text of one file into property sources, highest precedence
// first: later documents before earlier ones. The extension of name chooses the
// format: .properties, or YAML for everything else. Documents meant for other
// profiles than activeProfiles are left out; without active profiles the profile
// is "default", as in Spring.
func Flatten(name string, data []byte, activeProfiles []string) ([]PropertySource, error) {
	documents, err := parseFile(name, data)
	if err != nil {
		return nil, err
	}
	if len(activeProfiles) == 0 {
		activeProfiles = []string{"default"}
	}
	return activeDocuments(name, documents, func(s Source) (bool, error) {
		return isActive(s, activeProfiles)
	})
}

func parseFile(name string, data []byte) ([]Source, error) {
	parse := parseYAML
	if path.Ext(name) == ".properties" {
		parse = parseProperties
	}
	documents, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	return documents, nil
}

// activeDocuments names the documents that the condition admits, last one first.
// Several documents of one file get Spring Boot's suffix, which counts them all.
func activeDocuments(name string, documents []Source, active func(Source) (bool, error)) ([]PropertySource, error) {
	var sources []PropertySource
	for i, source := range slices.Backward(documents) {
		ok, err := active(source)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", name, err)
		}
		if !ok {
			continue
		}
		s := PropertySource{Name: name, Source: source}
		if len(documents) > 1 {
			s.Name = fmt.Sprintf("%s (document #%d)", name, i)
		}
		sources = append(sources, s)
	}
	return sources, nil
}

// splitNames reads a comma list; empty elements do not count.
func splitNames(s string) []string {
	var names []string
	for name := range strings.SplitSeq(s, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}
