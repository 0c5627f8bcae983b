// Package cloudconfig is centralized configuration: a server and a client that
// speak the protocol of Spring Cloud Config, and the property files behind it.
//
// The server reads YAML and properties files from search locations (the
// "native" backend) and answers environments: lists of property sources, highest
// precedence first. It serves them as JSON, as merged properties, YAML or JSON,
// and serves plain-text resources and symmetric encryption. Files are read at
// every request, so a change is visible at once and there is nothing to refresh.
//
// It does not read XML property files, does not follow spring.config.import
// inside files, and resolves placeholders only against the environment that was
// asked for: the settings and variables of the server's own process never leak.
//
// Reference: https://docs.spring.io/spring-cloud-config/reference/
package cloudconfig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
)

// An Environment is the configuration of one application under some profiles.
// Values may still hold ${placeholders}: see Resolve.
type Environment struct {
	Name            string           `json:"name"`
	Profiles        []string         `json:"profiles"` // as asked for; servers put a whole comma list into one element
	Label           string           `json:"label"`    // empty when none was asked for
	Version         string           `json:"version"`  // of the backend's content, where it has one
	State           string           `json:"state"`    // opaque to clients
	PropertySources []PropertySource `json:"propertySources"`
}

// A PropertySource is one document of one file, flattened.
type PropertySource struct {
	Name   string `json:"name"` // names the file; holds "-<profile>" only when the file belongs to that profile
	Source Source `json:"source"`
}

// A Source is a flat map in the order of the file; no key occurs twice.
type Source []Property

// A Property is one flat key, such as server.port or routes[0].id, with its value:
// a string, bool, int64, *big.Int or float64.
type Property struct {
	Key    string
	Value  any
	Origin string // "line:column" in the file, counted from 1, or empty
}

// tracked is a value of the protocol's second version, which tells where the value stands.
type tracked struct {
	Value  any
	Origin string
}

// MarshalJSON writes all six keys, with null for an empty label, version or state.
func (e Environment) MarshalJSON() ([]byte, error) {
	o := new(object)
	o.set("name", e.Name)
	profiles := new(list)
	for _, p := range e.Profiles {
		profiles.items = append(profiles.items, p)
	}
	o.set("profiles", profiles)
	o.set("label", orNull(e.Label))
	o.set("version", orNull(e.Version))
	o.set("state", orNull(e.State))
	sources := new(list)
	for _, s := range e.PropertySources {
		source := new(object)
		source.set("name", s.Name)
		source.set("source", s.Source.object())
		sources.items = append(sources.items, source)
	}
	o.set("propertySources", sources)
	var b bytes.Buffer
	if err := writeJSON(&b, o); err != nil {
		return nil, fmt.Errorf("encode environment %s: %w", e.Name, err)
	}
	return b.Bytes(), nil
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// MarshalJSON writes an object in the order of the source, values without origins.
func (s Source) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := writeJSON(&b, s.object())
	return b.Bytes(), err
}

func (s Source) object() *object {
	o := new(object)
	for _, p := range s {
		o.set(p.Key, p.Value)
	}
	return o
}

// UnmarshalJSON reads both versions of the protocol. Like the Java client it
// takes an object for a tracked value only when its keys are exactly value and origin.
func (s *Source) UnmarshalJSON(data []byte) error {
	*s = nil
	if string(data) == "null" {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	start, err := dec.Token()
	if err != nil {
		return fmt.Errorf("read property source: %w", err)
	}
	if start != json.Delim('{') {
		return errors.New("read property source: want a JSON object of keys and values")
	}
	var b sourceBuilder
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return fmt.Errorf("read property source: %w", err)
		}
		key, _ := token.(string) // the decoder admits nothing else here
		var value any
		if err := dec.Decode(&value); err != nil {
			return fmt.Errorf("read property %s: %w", key, err)
		}
		p := Property{Key: key}
		if m, ok := value.(map[string]any); ok && len(m) == 2 {
			v, hasValue := m["value"]
			o, hasOrigin := m["origin"]
			if hasValue && hasOrigin {
				value = v
				p.Origin, _ = o.(string)
			}
		}
		p.Value = fromJSON(value)
		b.add(p)
	}
	*s = b.source
	return nil
}

// Flat merges the sources into one map: the source of highest precedence that
// has a key supplies it. A list is replaced as a whole, never mixed element by
// element, whether a source writes it as key[0], key[1]… or as one value at key.
func (e *Environment) Flat() map[string]any {
	flat := make(map[string]any)
	for p := range maps.Values(e.winners()) {
		flat[p.property.Key] = p.property.Value
	}
	return flat
}

// Origin says where the value of key in Flat was read, for messages to people:
// the name of the property source and, where known, ":line:column". It is empty
// when no source has the key.
func (e *Environment) Origin(key string) string {
	w, ok := e.winners()[key]
	if !ok {
		return ""
	}
	if o := w.property.Origin; o != "" && o[0] >= '0' && o[0] <= '9' {
		return w.source + ":" + o
	}
	return w.source
}

type winner struct {
	property Property
	source   string
}

func (e *Environment) winners() map[string]winner {
	won := make(map[string]winner)
	owner := make(map[string]int) // list name, or plain key: the source it comes from
	for i, s := range e.PropertySources {
		for _, p := range s.Source {
			name := listName(p.Key)
			if o, taken := owner[name]; taken && o != i {
				continue
			}
			owner[name] = i
			won[p.Key] = winner{property: p, source: s.Name}
		}
	}
	return won
}

// listName returns the part of a key that is replaced as a whole: all before its first bracket.
func listName(key string) string {
	name, _, _ := strings.Cut(key, "[")
	return name
}

// A sourceBuilder keeps keys unique as a Java LinkedHashMap does: the last value
// wins and the first position stays.
type sourceBuilder struct {
	source Source
	index  map[string]int
}

func (b *sourceBuilder) add(p Property) {
	if i, ok := b.index[p.Key]; ok {
		b.source[i] = p
		return
	}
	if b.index == nil {
		b.index = make(map[string]int)
	}
	b.index[p.Key] = len(b.source)
	b.source = append(b.source, p)
}
