package main

import (
	"encoding/json"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// What a recording consists of; see "terraform providers schema -json".
type (
	provider struct {
		Provider    *recorded            `json:"provider"`
		Resources   map[string]*recorded `json:"resource_schemas"`
		DataSources map[string]*recorded `json:"data_source_schemas"`
	}
	recorded struct {
		Version int64  `json:"version"`
		Block   *block `json:"block"`
	}
	block struct {
		Attributes map[string]*attribute `json:"attributes"`
		Blocks     map[string]*blockType `json:"block_types"`
	}
	blockType struct {
		Mode  string `json:"nesting_mode"`
		Block *block `json:"block"`
		Min   int64  `json:"min_items"`
		Max   int64  `json:"max_items"`
	}
	attribute struct {
		Type       json.RawMessage `json:"type"`
		NestedType *nested         `json:"nested_type"`
		Required   bool            `json:"required"`
		Optional   bool            `json:"optional"`
		Computed   bool            `json:"computed"`
		Sensitive  bool            `json:"sensitive"`
		WriteOnly  bool            `json:"write_only"`
		Deprecated bool            `json:"deprecated"`
	}
	nested struct {
		Attributes map[string]*attribute `json:"attributes"`
		Mode       string                `json:"nesting_mode"`
	}
)

func attributes(of map[string]*attribute) ([]*tfprotov6.SchemaAttribute, error) {
	modes := map[string]tfprotov6.SchemaObjectNestingMode{
		"single": tfprotov6.SchemaObjectNestingModeSingle, "list": tfprotov6.SchemaObjectNestingModeList,
		"set": tfprotov6.SchemaObjectNestingModeSet, "map": tfprotov6.SchemaObjectNestingModeMap,
	}
	var all []*tfprotov6.SchemaAttribute
	for name, a := range of {
		s := &tfprotov6.SchemaAttribute{Name: name, Required: a.Required, Optional: a.Optional, Computed: a.Computed,
			Sensitive: a.Sensitive, WriteOnly: a.WriteOnly, Deprecated: a.Deprecated}
		var err error
		if a.NestedType != nil {
			s.NestedType = &tfprotov6.SchemaObject{Nesting: modes[a.NestedType.Mode]}
			s.NestedType.Attributes, err = attributes(a.NestedType.Attributes)
		} else {
			s.Type, err = tftypes.ParseJSONType(a.Type) //nolint:staticcheck // recordings are JSON, and there is no other reader of it
		}
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func (b *block) schema() (*tfprotov6.SchemaBlock, error) {
	modes := map[string]tfprotov6.SchemaNestedBlockNestingMode{
		"single": tfprotov6.SchemaNestedBlockNestingModeSingle, "list": tfprotov6.SchemaNestedBlockNestingModeList,
		"set": tfprotov6.SchemaNestedBlockNestingModeSet, "map": tfprotov6.SchemaNestedBlockNestingModeMap,
		"group": tfprotov6.SchemaNestedBlockNestingModeGroup,
	}
	s := new(tfprotov6.SchemaBlock)
	if b == nil {
		return s, nil
	}
	var err error
	if s.Attributes, err = attributes(b.Attributes); err != nil {
		return nil, err
	}
	for name, t := range b.Blocks {
		inner, err := t.Block.schema()
		if err != nil {
			return nil, err
		}
		s.BlockTypes = append(s.BlockTypes, &tfprotov6.SchemaNestedBlock{TypeName: name, Block: inner, MinItems: t.Min, MaxItems: t.Max, Nesting: modes[t.Mode]})
	}
	return s, nil
}

func (r *recorded) schema() (*tfprotov6.Schema, error) {
	if r == nil {
		return &tfprotov6.Schema{Block: new(tfprotov6.SchemaBlock)}, nil
	}
	b, err := r.Block.schema()
	return &tfprotov6.Schema{Version: r.Version, Block: b}, err
}

// find is the attribute that a path ends at, or nil where it ends elsewhere.
func (b *block) find(path *tftypes.AttributePath) *attribute {
	steps := path.Steps()
	for i, step := range steps {
		name, ok := step.(tftypes.AttributeName)
		if !ok {
			continue
		}
		if a := b.Attributes[string(name)]; a != nil {
			if i == len(steps)-1 {
				return a
			}
			return nil
		}
		inner := b.Blocks[string(name)]
		if inner == nil {
			return nil
		}
		b = inner.Block
	}
	return nil
}
