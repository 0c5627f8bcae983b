package cloudconfig

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const maxListIndex = 10_000 // in a key: gaps below it are filled, so it costs memory

// merged lists the properties of all sources as Spring's EnvironmentController
// does: from the lowest precedence up, a plain key overwrites and keeps its
// first position, a list replaces the whole list of that name, and lists follow
// the plain keys.
func (e *Environment) merged() []Property {
	var plain sourceBuilder
	lists := make(map[string][]Property)
	var names []string
	for i := len(e.PropertySources) - 1; i >= 0; i-- {
		own := make(map[string][]Property)
		for _, p := range e.PropertySources[i].Source {
			name := listName(p.Key)
			if name == p.Key {
				plain.add(p)
				continue
			}
			if _, known := lists[name]; !known {
				lists[name] = nil
				names = append(names, name)
			}
			own[name] = append(own[name], p)
		}
		for name, properties := range own {
			lists[name] = properties
		}
	}
	var all []Property
	for _, p := range plain.source {
		if p.Key != "spring.profiles" {
			all = append(all, p)
		}
	}
	for _, name := range names {
		all = append(all, lists[name]...)
	}
	return all
}

// lookup finds a key as placeholders see it, in the first source that has it.
func (e *Environment) lookup() func(key string) (string, bool) {
	values := make(map[string]any)
	for _, s := range e.PropertySources {
		for _, p := range s.Source {
			if _, taken := values[p.Key]; !taken {
				values[p.Key] = p.Value
			}
		}
	}
	return func(key string) (string, bool) {
		v, ok := values[key]
		return text(v), ok
	}
}

// resolved replaces the placeholders of string values.
func resolved(properties []Property, lookup func(string) (string, bool)) []Property {
	out := make([]Property, len(properties))
	for i, p := range properties {
		if s, ok := p.Value.(string); ok {
			p.Value = Resolve(s, lookup)
		}
		out[i] = p
	}
	return out
}

// propertiesText is the .properties form: no escapes, no newline at the end.
func propertiesText(properties []Property) []byte {
	lines := make([]string, len(properties))
	for i, p := range properties {
		lines[i] = p.Key + ": " + text(p.Value)
	}
	return []byte(strings.Join(lines, "\n"))
}

// A keyError is a key that no nested form can show.
type keyError string

func (e keyError) Error() string {
	return fmt.Sprintf("invalid key: %s; nested forms need names separated by single dots and whole brackets with an index up to %d",
		string(e), maxListIndex)
}

// A keyStep is one level of a key: the name of a map entry, or the index of a list element.
type keyStep struct {
	name       string // unless isIndex
	index      int
	isIndex    bool
	start, end int // of the step in the key
}

// parseKey reads a.b[0].c; brackets that hold no number belong to the name.
func parseKey(key string) ([]keyStep, error) {
	var steps []keyStep
	for at := 0; ; {
		start := at
		for at < len(key) && key[at] != '.' {
			if key[at] == '[' {
				length := strings.IndexByte(key[at:], ']')
				if length < 2 {
					return nil, keyError(key)
				}
				if isDigits(key[at+1 : at+length]) {
					break
				}
				at += length
			}
			at++
		}
		if at == start {
			return nil, keyError(key)
		}
		steps = append(steps, keyStep{name: key[start:at], start: start, end: at})
		for at < len(key) && key[at] == '[' {
			length := strings.IndexByte(key[at:], ']')
			if length < 2 || !isDigits(key[at+1:at+length]) {
				return nil, keyError(key)
			}
			index, err := strconv.Atoi(key[at+1 : at+length])
			if err != nil || index > maxListIndex {
				return nil, keyError(key)
			}
			steps = append(steps, keyStep{index: index, isIndex: true, start: at, end: at + length + 1})
			at += length + 1
		}
		if at == len(key) {
			return steps, nil
		}
		if key[at] != '.' {
			return nil, keyError(key)
		}
		at++
	}
}

func isDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

// nest turns flat keys into maps and lists. Where a scalar, or a container of
// the other kind, is in the way of a longer key, the rest of that key is stored
// flattened beside it.
func nest(properties []Property) (*object, error) {
	scalars := make(map[string]bool, len(properties))
	for _, p := range properties {
		scalars[p.Key] = true
	}
	root := new(object)
	for _, p := range properties {
		steps, err := parseKey(p.Key)
		if err != nil {
			return nil, err
		}
		var at any = root
		beside, rest := root, p.Key // the innermost map on the way, and the key within it
		for i, step := range steps {
			if o, ok := at.(*object); ok {
				beside, rest = o, p.Key[step.start:]
			}
			if i == len(steps)-1 {
				put(at, step, p.Value)
				break
			}
			var next any
			if !scalars[p.Key[:step.end]] {
				next = descend(at, step, steps[i+1].isIndex)
			}
			if next == nil {
				beside.set(rest, p.Value)
				break
			}
			at = next
		}
	}
	return root, nil
}

// descend returns the container at a step, made if need be; nil if the place is
// taken by something else.
func descend(at any, step keyStep, wantList bool) any {
	var next any
	switch at := at.(type) {
	case *object:
		next, _ = at.get(step.name)
	case *list:
		if step.index < len(at.items) {
			next = at.items[step.index]
		}
	}
	switch next.(type) {
	case nil:
		next = new(object)
		if wantList {
			next = new(list)
		}
		put(at, step, next)
		return next
	case *list:
		if wantList {
			return next
		}
	case *object:
		if !wantList {
			return next
		}
	}
	return nil
}

func put(at any, step keyStep, v any) {
	switch at := at.(type) {
	case *object:
		at.set(step.name, v)
	case *list:
		for len(at.items) <= step.index {
			at.items = append(at.items, nil)
		}
		at.items[step.index] = v
	}
}

// jsonText is the nested, compact .json form.
func jsonText(root *object) ([]byte, error) {
	var b bytes.Buffer
	if err := writeJSON(&b, root); err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return b.Bytes(), nil
}

// yamlText is the .yml form in block style. With strip, a document whose only
// key is "document" is written as what that key holds: see flattener.document.
func yamlText(root *object, strip bool) ([]byte, error) {
	var v any = root
	if strip && len(root.keys) == 1 && root.keys[0] == "document" {
		v = root.values["document"]
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	if err := enc.Encode(yamlNode(v)); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return b.Bytes(), nil
}

func yamlNode(v any) *yaml.Node {
	switch v := v.(type) {
	case *object:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, key := range v.keys {
			k := yamlNode(key)
			if strings.Contains(key, "\n") {
				k.Style = yaml.DoubleQuotedStyle // a block cannot be a simple key
			}
			n.Content = append(n.Content, k, yamlNode(v.values[key]))
		}
		return n
	case *list:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, item := range v.items {
			n.Content = append(n.Content, yamlNode(item))
		}
		return n
	case string:
		return yamlString(v)
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}
	case int64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(v, 10)}
	case *big.Int:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}
	case float64:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: yamlFloatText(v)}
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	}
}

// yamlString chooses the style in which a YAML 1.1 reader gets the same string back.
func yamlString(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	_, isText := plainScalar(s).(string)
	switch {
	case !isText || s == "<<":
		n.Style = yaml.SingleQuotedStyle
	case strings.Contains(s, "\n") && (strings.ContainsAny(s[:1], " \t\n") || strings.ContainsAny(s, "\t\r\u0085\u2028\u2029")):
		n.Style = yaml.DoubleQuotedStyle // a block would lose indentation or other line breaks
	}
	return n
}

func yamlFloatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return ".NaN"
	case math.IsInf(f, 1):
		return ".inf"
	case math.IsInf(f, -1):
		return "-.inf"
	}
	return formatFloat(f)
}
