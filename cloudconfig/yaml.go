package cloudconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	maxYAMLDepth = 100
	maxYAMLKeys  = 4 << 20 // bytes of flat keys of one document: aliases can multiply
)

// The implicit types of YAML 1.1 as SnakeYAML 2 resolves them; SnakeYAML 1 took
// 08 for a float too. Timestamps are missing on purpose: Spring Boot leaves them
// strings.
var (
	yamlBool  = regexp.MustCompile(`^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$`)
	yamlNull  = regexp.MustCompile(`^(?:~|null|Null|NULL)?$`)
	yamlInt   = regexp.MustCompile(`^[-+]?(?:0b_*[01][01_]*|0_*[0-7][0-7_]*|0|[1-9][0-9_]*|0x_*[0-9a-fA-F][0-9a-fA-F_]*|[1-9][0-9_]*(?::[0-5]?[0-9])+)$`)
	yamlFloat = regexp.MustCompile(`^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\._*[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
)

// parseYAML flattens each document of a file; documents without content are left out.
func parseYAML(data []byte) ([]Source, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var documents []Source
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, err
		}
		if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
			continue
		}
		f := flattener{left: maxYAMLKeys}
		ok, err := f.document(doc.Content[0])
		if err != nil {
			return nil, err
		}
		if ok {
			documents = append(documents, f.out.source)
		}
	}
}

type flattener struct {
	out  sourceBuilder
	left int
}

// document reports whether the document has content at all.
func (f *flattener) document(n *yaml.Node) (bool, error) {
	if n.Kind == yaml.ScalarNode {
		v, err := scalar(n)
		if err != nil || v == nil {
			return false, err
		}
	}
	if n.Kind == yaml.MappingNode {
		return true, f.mapping("", n, 1)
	}
	// Spring's YamlProcessor.asMap files what is not a map under this key.
	return true, f.value("document", n, 1)
}

func (f *flattener) mapping(path string, n *yaml.Node, depth int) error {
	entries, err := mappingEntries(n, depth)
	if err != nil {
		return err
	}
	for _, e := range entries {
		key := e.key
		switch {
		case path == "":
		case strings.HasPrefix(key, "["):
			key = path + key
		default:
			key = path + "." + key
		}
		if err := f.value(key, e.value, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (f *flattener) value(key string, n *yaml.Node, depth int) error {
	if depth > maxYAMLDepth {
		return fmt.Errorf("line %d: nested deeper than %d levels", n.Line, maxYAMLDepth)
	}
	if f.left -= len(key) + 1; f.left < 0 {
		return fmt.Errorf("line %d: the aliases of this file expand to more than %d MiB of keys", n.Line, maxYAMLKeys>>20)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return f.value(key, n.Alias, depth+1)
	case yaml.MappingNode:
		return f.mapping(key, n, depth)
	case yaml.SequenceNode:
		if len(n.Content) == 0 {
			f.add(key, "", n)
		}
		for i, item := range n.Content {
			if err := f.value(key+"["+strconv.Itoa(i)+"]", item, depth+1); err != nil {
				return err
			}
		}
		return nil
	default:
		v, err := scalar(n)
		if err != nil {
			return err
		}
		if v == nil {
			v = ""
		}
		f.add(key, v, n)
		return nil
	}
}

func (f *flattener) add(key string, v any, n *yaml.Node) {
	f.out.add(Property{Key: key, Value: v, Origin: position(n.Line, n.Column)})
}

func position(line, column int) string {
	return strconv.Itoa(line) + ":" + strconv.Itoa(column)
}

type yamlEntry struct {
	key    string
	value  *yaml.Node
	merged bool // came through "<<", so an own key replaces it
}

// mappingEntries lists a mapping with its merges resolved, keys in file order.
func mappingEntries(n *yaml.Node, depth int) ([]yamlEntry, error) {
	if depth > maxYAMLDepth {
		return nil, fmt.Errorf("line %d: nested deeper than %d levels", n.Line, maxYAMLDepth)
	}
	var entries []yamlEntry
	index := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if isMerge(k) {
			merged, err := mergeEntries(v, depth+1)
			if err != nil {
				return nil, err
			}
			for _, e := range merged {
				if _, ok := index[e.key]; !ok {
					index[e.key] = len(entries)
					entries = append(entries, yamlEntry{key: e.key, value: e.value, merged: true})
				}
			}
			continue
		}
		key, err := mappingKey(k)
		if err != nil {
			return nil, err
		}
		at, ok := index[key]
		switch {
		case !ok:
			index[key] = len(entries)
			entries = append(entries, yamlEntry{key: key, value: v})
		case entries[at].merged:
			entries[at] = yamlEntry{key: key, value: v}
		default:
			return nil, fmt.Errorf("line %d: found duplicate key %s", k.Line, key)
		}
	}
	return entries, nil
}

func isMerge(k *yaml.Node) bool {
	return k.Kind == yaml.ScalarNode && isPlain(k) && k.Value == "<<"
}

func mergeEntries(v *yaml.Node, depth int) ([]yamlEntry, error) {
	if v.Kind == yaml.AliasNode {
		v = v.Alias
	}
	switch v.Kind {
	case yaml.MappingNode:
		return mappingEntries(v, depth)
	case yaml.SequenceNode:
		var all []yamlEntry
		for _, item := range v.Content { // the first to have a key wins: the caller skips later ones
			if item.Kind == yaml.SequenceNode {
				return nil, fmt.Errorf("line %d: a merge takes mappings, not nested lists", item.Line)
			}
			entries, err := mergeEntries(item, depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, entries...)
		}
		return all, nil
	default:
		return nil, fmt.Errorf("line %d: a merge takes a mapping or a list of mappings", v.Line)
	}
}

// mappingKey writes a key as YamlProcessor does: what is not a string goes in brackets.
func mappingKey(k *yaml.Node) (string, error) {
	if k.Kind == yaml.AliasNode {
		k = k.Alias
	}
	if k.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("line %d: a key must be a scalar", k.Line)
	}
	v, err := scalar(k)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case nil:
		return "[null]", nil
	default:
		return "[" + text(v) + "]", nil
	}
}

func isPlain(n *yaml.Node) bool {
	const quoted = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	return n.Style&(quoted|yaml.TaggedStyle) == 0
}

// scalar gives the value of a scalar node; nil is YAML's null.
func scalar(n *yaml.Node) (any, error) {
	if isPlain(n) {
		return plainScalar(n.Value), nil
	}
	if n.Style&yaml.TaggedStyle == 0 {
		return n.Value, nil
	}
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp", "!":
		return n.Value, nil
	case "!!null":
		return nil, nil
	case "!!float":
		v := plainScalar(n.Value)
		if i, ok := v.(int64); ok {
			v = float64(i)
		}
		if _, ok := v.(float64); ok {
			return v, nil
		}
	case "!!int":
		switch v := plainScalar(n.Value).(type) {
		case int64, *big.Int:
			return v, nil
		}
	case "!!bool":
		if v, ok := plainScalar(n.Value).(bool); ok {
			return v, nil
		}
	default:
		return nil, fmt.Errorf("line %d: tag %s is not supported; use !!str, !!int, !!float, !!bool or !!null", n.Line, tag)
	}
	return nil, fmt.Errorf("line %d: the value does not fit its tag %s", n.Line, n.ShortTag())
}

// plainScalar resolves an unquoted scalar by YAML 1.1. The library resolves by
// 1.2, where yes and 1:30 are strings, so its own resolution is not used.
func plainScalar(s string) any {
	switch {
	case yamlNull.MatchString(s):
		return nil
	case yamlBool.MatchString(s):
		switch strings.ToLower(s) {
		case "yes", "true", "on":
			return true
		}
		return false
	case yamlInt.MatchString(s):
		return yamlInteger(strings.ReplaceAll(s, "_", ""))
	case yamlFloat.MatchString(s):
		return yamlFloating(strings.ToLower(strings.ReplaceAll(s, "_", "")))
	}
	return s
}

func cutSign(s string) (sign, digits string) {
	switch s[0] {
	case '-':
		return "-", s[1:]
	case '+':
		return "", s[1:]
	}
	return "", s
}

func yamlInteger(s string) any {
	sign, digits := cutSign(s)
	switch {
	case strings.HasPrefix(digits, "0b"):
		return parseInteger(sign+digits[2:], 2)
	case strings.HasPrefix(digits, "0x"):
		return parseInteger(sign+digits[2:], 16)
	case strings.Contains(digits, ":"):
		total, sixty := new(big.Int), big.NewInt(60)
		for part := range strings.SplitSeq(digits, ":") {
			n, _ := new(big.Int).SetString(part, 10) // digits only, by yamlInt
			total.Mul(total, sixty).Add(total, n)
		}
		return parseInteger(sign+total.String(), 10)
	case digits[0] == '0':
		return parseInteger(sign+digits, 8)
	}
	return parseInteger(sign+digits, 10)
}

func yamlFloating(s string) any {
	sign, digits := cutSign(s)
	f := 0.0
	switch digits {
	case ".inf":
		f = math.Inf(1)
	case ".nan":
		f = math.NaN()
	default:
		for part := range strings.SplitSeq(digits, ":") {
			n, _ := strconv.ParseFloat(part, 64) // out of range gives an infinity, as in Java
			f = f*60 + n
		}
	}
	if sign == "-" {
		return -f
	}
	return f
}
