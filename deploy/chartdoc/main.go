// Command chartdoc writes what is derived from the comments of a chart's values.yaml: values.schema.json, and
// the table of values at the end of README.md.
//
// The comment above a key is its documentation. A line of it that begins with @schema adds JSON to the schema
// of the value; the rest follows from the default. Every key has a comment, but for what is below a map whose
// schema says what its members are. A line with @define, a name and JSON is a definition, which a schema refers to by
// {"$ref": "#/$defs/NAME"}.
//
// Every key must be there, since Helm takes one away that somebody sets to null, and templates would go on without it.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

func main() {
	for _, chart := range os.Args[1:] {
		if err := document(chart); err != nil {
			fmt.Fprintf(os.Stderr, "chartdoc: %s: %v\n", chart, err)
			os.Exit(1)
		}
	}
}

// valuesHeading is the heading of the README below which everything is written anew.
const valuesHeading = "\n## Values\n"

// document writes both files of the chart in a folder.
func document(chart string) error {
	text, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	schema, table, err := derive(text)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(chart, "values.schema.json"), schema, 0o600); err != nil {
		return err
	}
	path := filepath.Join(chart, "README.md")
	readme, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, _, ok := strings.Cut(string(readme), valuesHeading)
	if !ok {
		return fmt.Errorf("%s has no heading %q to write the table below", path, strings.TrimSpace(valuesHeading))
	}
	return os.WriteFile(path, []byte(before+valuesHeading+table), 0o600)
}

// derive makes the schema and the table of the README from a values.yaml.
func derive(values []byte) (schema []byte, table string, err error) {
	var file yaml.Node
	if err := yaml.Unmarshal(values, &file); err != nil {
		return nil, "", err
	}
	definitions, err := defined(file.HeadComment)
	if err != nil {
		return nil, "", err
	}
	d := deriver{definitions: definitions}
	d.table.WriteString("\n<!-- made of the comments in values.yaml by \"make chart\" -->\n\n| value | default | meaning |\n|---|---|---|\n")
	properties, err := d.members("", file.Content[0])
	if err != nil {
		return nil, "", err
	}
	root := object(properties)
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	if defaults, ok := properties["defaults"].(map[string]any); ok {
		definitions["service"] = service(defaults)
		services := properties["services"].(map[string]any)
		services["properties"] = shops(services["default"].(map[string]any))
	}
	if len(definitions) > 0 {
		root["$defs"] = definitions
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		return nil, "", err
	}
	return text.Bytes(), d.table.String(), nil
}

func object(properties map[string]any) map[string]any {
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties, "required": slices.Sorted(maps.Keys(properties))}
}

// service is the schema of one component: anything that the defaults have, and what is its own.
func service(defaults map[string]any) map[string]any {
	own := map[string]any{
		"port":     map[string]any{"type": "integer", "minimum": 1, "maximum": 65535},
		"context":  map[string]any{"type": "string"},
		"tier":     map[string]any{"enum": []string{"edge", "business", "infrastructure"}},
		"needs":    map[string]any{"type": "array", "items": map[string]any{"type": "string"}, "uniqueItems": true},
		"database": map[string]any{"type": "boolean"},
	}
	maps.Copy(own, parts(defaults)["properties"].(map[string]any))
	schema := object(own)
	schema["required"] = []string{"port"}
	return schema
}

// parts is a schema of which anything may be left out.
func parts(schema map[string]any) map[string]any {
	all := maps.Clone(schema)
	delete(all, "required")
	if properties, ok := all["properties"].(map[string]any); ok {
		members := map[string]any{}
		for name, member := range properties {
			members[name] = parts(member.(map[string]any))
		}
		all["properties"] = members
	}
	return all
}

// shops are the schemas of the shop's own components: what they are is in the program, and other values would say something
// else than what runs. They may need others too. That they are components as well is said by the pattern for all names.
func shops(components map[string]any) map[string]any {
	schemas := map[string]any{}
	for name, component := range components {
		fixed, required := map[string]any{}, []string{}
		for key, otherwise := range map[string]any{"port": nil, "context": "", "tier": "business", "database": false} {
			value, ok := component.(map[string]any)[key]
			if !ok {
				value = otherwise
			} else if key != "port" {
				required = append(required, key)
			}
			fixed[key] = map[string]any{"const": value}
		}
		if needs, ok := component.(map[string]any)["needs"].([]any); ok {
			var each []any
			for _, needed := range needs {
				each = append(each, map[string]any{"contains": map[string]any{"const": needed}})
			}
			fixed["needs"] = map[string]any{"minItems": len(needs), "allOf": each}
			required = append(required, "needs")
		}
		slices.Sort(required)
		schemas[name] = map[string]any{"properties": fixed, "required": required}
	}
	return schemas
}

// deriver collects the rows of the table on its way through the values.
type deriver struct {
	definitions map[string]any
	table       strings.Builder
}

// members are the schemas of the keys of a map, by their names.
func (d *deriver) members(path string, node *yaml.Node) (map[string]any, error) {
	properties := map[string]any{}
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name := strings.TrimPrefix(path+"."+key.Value, ".")
		meaning, extra, err := comment(key.HeadComment)
		if err == nil && meaning == "" {
			err = errors.New("has no comment above it")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", key.Line, name, err)
		}
		schema, err := d.value(name, meaning, value, extra)
		if err != nil {
			return nil, err
		}
		schema["description"] = meaning
		if reference, ok := extra["$ref"].(string); ok { // beside which nothing else would count, so what it stands for is written out
			definition, ok := d.definitions[strings.TrimPrefix(reference, "#/$defs/")].(map[string]any)
			if !ok {
				return nil, fmt.Errorf("line %d: %s: there is no definition %s", key.Line, name, reference)
			}
			delete(extra, "$ref")
			maps.Copy(schema, definition)
		}
		maps.Copy(schema, extra)
		properties[key.Value] = schema
	}
	return properties, nil
}

// value is the schema that follows from a default.
func (d *deriver) value(name, meaning string, node *yaml.Node, extra map[string]any) (map[string]any, error) {
	free := slices.ContainsFunc([]string{"additionalProperties", "patternProperties", "$ref"}, func(word string) bool { return extra[word] != nil })
	if node.Kind == yaml.MappingNode && !free {
		if len(node.Content) == 0 {
			return nil, fmt.Errorf("line %d: %s is an empty map: say what may be in it with @schema {\"additionalProperties\": …} or {\"$ref\": …}", node.Line, name)
		}
		d.row(name, "", meaning)
		properties, err := d.members(name, node)
		return object(properties), err
	}
	var value any
	if err := node.Decode(&value); err != nil {
		return nil, fmt.Errorf("line %d: %s: %w", node.Line, name, err)
	}
	kind, ok := map[string]string{
		"!!str": "string", "!!int": "integer", "!!bool": "boolean", "!!seq": "array", "!!map": "object",
	}[node.ShortTag()]
	if !ok {
		return nil, fmt.Errorf("line %d: %s is %s: give it a default whose kind can be told", node.Line, name, node.ShortTag())
	}
	shown, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("line %d: %s: %w", node.Line, name, err)
	}
	text := strings.Trim(string(shown), `"`)
	switch {
	case len(text) > 60:
		text = "see values.yaml"
	case text != "":
		text = "`" + text + "`"
	}
	d.row(name, text, meaning)
	return map[string]any{"type": kind, "default": value}, nil
}

func (d *deriver) row(name, value, meaning string) {
	fmt.Fprintf(&d.table, "| `%s` | %s | %s |\n", name, value, strings.ReplaceAll(meaning, "|", `\|`))
}

// defined are the definitions in the comment of a file.
func defined(text string) (map[string]any, error) {
	definitions := map[string]any{}
	for line := range strings.SplitSeq(text, "\n") {
		definition, ok := strings.CutPrefix(line, "# @define ")
		if !ok {
			continue
		}
		name, text, _ := strings.Cut(definition, " ")
		var schema map[string]any
		if err := json.Unmarshal([]byte(text), &schema); err != nil {
			return nil, fmt.Errorf("@define %s: %w", definition, err)
		}
		definitions[name] = schema
	}
	return definitions, nil
}

// comment takes a comment apart: the text for people on one line, and what it adds to the schema.
func comment(text string) (meaning string, extra map[string]any, err error) {
	var words []string
	extra = map[string]any{}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#"))
		added, ok := strings.CutPrefix(line, "@schema ")
		if !ok {
			words = append(words, line)
			continue
		}
		if err := json.Unmarshal([]byte(added), &extra); err != nil {
			return "", nil, fmt.Errorf("@schema %s: %w", added, err)
		}
	}
	return strings.TrimSpace(strings.Join(words, " ")), extra, nil
}
