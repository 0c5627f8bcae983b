// Command replay is a provider for Terraform that serves the recorded schema of another one, so that configurations are validated
// and planned where the real provider cannot be had. It runs under the real one's name: REPLAY names the folder with recordings
// (NAME.json.gz, of "terraform providers schema -json"), with what data sources are to answer (data.json), and with what cannot be changed
// without a new resource, which no recording has (replace.json). It validates no values as the real one does, and what it applies
// happens nowhere: what would be computed gets a value that means nothing.
package main

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

func main() {
	name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(os.Args[0]), "terraform-provider-"), "_")
	address, s, err := open(os.Getenv("REPLAY"), name)
	if err == nil {
		err = tf6server.Serve(address, func() tfprotov6.ProviderServer { return s })
	}
	if err != nil {
		log.Fatal(err)
	}
}

// open reads the recording of a provider, and the answers of data sources.
func open(folder, name string) (string, *server, error) {
	file, err := os.Open(filepath.Join(folder, name+".json.gz"))
	if err != nil {
		return "", nil, err
	}
	defer file.Close()
	text, err := gzip.NewReader(file)
	if err != nil {
		return "", nil, err
	}
	var recording struct {
		Providers map[string]*provider `json:"provider_schemas"`
	}
	if err := json.NewDecoder(text).Decode(&recording); err != nil {
		return "", nil, fmt.Errorf("recording of %s: %w", name, err)
	}
	s := &server{resources: map[string]*tfprotov6.Schema{}, data: map[string]*tfprotov6.Schema{}}
	for name, into := range map[string]any{"data.json": &s.answers, "replace.json": &s.replaced} {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return "", nil, err
		}
		if err := json.Unmarshal(text, into); err != nil {
			return "", nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for address, p := range recording.Providers {
		s.recorded = p
		for kind, r := range p.Resources {
			if s.resources[kind], err = r.schema(); err != nil {
				return "", nil, fmt.Errorf("%s: %w", kind, err)
			}
		}
		for kind, r := range p.DataSources {
			if s.data[kind], err = r.schema(); err != nil {
				return "", nil, fmt.Errorf("%s: %w", kind, err)
			}
		}
		if s.config, err = p.Provider.schema(); err != nil {
			return "", nil, err
		}
		return address, s, nil
	}
	return "", nil, fmt.Errorf("recording of %s: there is no provider in it", name)
}

type server struct {
	tfprotov6.ProviderServer // what is not below is not asked

	recorded        *provider
	config          *tfprotov6.Schema
	resources, data map[string]*tfprotov6.Schema
	answers         map[string][]answer
	replaced        map[string][]string // attributes by resource, with the numbers of list elements: node_pool.0.size
}

// answer is what a data source says, and to whom: to those that ask for each of these values. The first that fits is given.
type answer struct {
	When map[string]string `json:"when"`
	Says map[string]any    `json:"says"`
}

func (s *server) GetMetadata(context.Context, *tfprotov6.GetMetadataRequest) (*tfprotov6.GetMetadataResponse, error) {
	answer := new(tfprotov6.GetMetadataResponse)
	for kind := range s.resources {
		answer.Resources = append(answer.Resources, tfprotov6.ResourceMetadata{TypeName: kind})
	}
	for kind := range s.data {
		answer.DataSources = append(answer.DataSources, tfprotov6.DataSourceMetadata{TypeName: kind})
	}
	return answer, nil
}

func (s *server) GetProviderSchema(context.Context, *tfprotov6.GetProviderSchemaRequest) (*tfprotov6.GetProviderSchemaResponse, error) {
	return &tfprotov6.GetProviderSchemaResponse{Provider: s.config, ResourceSchemas: s.resources, DataSourceSchemas: s.data,
		ServerCapabilities: &tfprotov6.ServerCapabilities{GetProviderSchemaOptional: true}}, nil
}

func (*server) GetResourceIdentitySchemas(context.Context, *tfprotov6.GetResourceIdentitySchemasRequest) (*tfprotov6.GetResourceIdentitySchemasResponse, error) {
	return new(tfprotov6.GetResourceIdentitySchemasResponse), nil
}

func (*server) GetFunctions(context.Context, *tfprotov6.GetFunctionsRequest) (*tfprotov6.GetFunctionsResponse, error) {
	return new(tfprotov6.GetFunctionsResponse), nil
}

func (*server) ValidateProviderConfig(_ context.Context, r *tfprotov6.ValidateProviderConfigRequest) (*tfprotov6.ValidateProviderConfigResponse, error) {
	return &tfprotov6.ValidateProviderConfigResponse{PreparedConfig: r.Config}, nil
}

func (*server) ConfigureProvider(context.Context, *tfprotov6.ConfigureProviderRequest) (*tfprotov6.ConfigureProviderResponse, error) {
	return new(tfprotov6.ConfigureProviderResponse), nil
}

func (*server) StopProvider(context.Context, *tfprotov6.StopProviderRequest) (*tfprotov6.StopProviderResponse, error) {
	return new(tfprotov6.StopProviderResponse), nil
}

func (*server) ValidateResourceConfig(context.Context, *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	return new(tfprotov6.ValidateResourceConfigResponse), nil
}

func (*server) ValidateDataResourceConfig(context.Context, *tfprotov6.ValidateDataResourceConfigRequest) (*tfprotov6.ValidateDataResourceConfigResponse, error) {
	return new(tfprotov6.ValidateDataResourceConfigResponse), nil
}

func (s *server) UpgradeResourceState(_ context.Context, r *tfprotov6.UpgradeResourceStateRequest) (*tfprotov6.UpgradeResourceStateResponse, error) {
	kind := s.resources[r.TypeName].ValueType()
	value, err := r.RawState.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	state, err := tfprotov6.NewDynamicValue(kind, value)
	return &tfprotov6.UpgradeResourceStateResponse{UpgradedState: &state}, err
}

func (*server) ReadResource(_ context.Context, r *tfprotov6.ReadResourceRequest) (*tfprotov6.ReadResourceResponse, error) {
	return &tfprotov6.ReadResourceResponse{NewState: r.CurrentState}, nil
}

// ImportResourceState pretends that there is a release of Helm's by the name that is given, NAMESPACE/NAME.
func (s *server) ImportResourceState(_ context.Context, r *tfprotov6.ImportResourceStateRequest) (*tfprotov6.ImportResourceStateResponse, error) {
	namespace, name, ok := strings.Cut(r.ID, "/")
	if r.TypeName != "helm_release" || !ok {
		return nil, fmt.Errorf("nobody was taught to import %s as %s", r.ID, r.TypeName)
	}
	kind := s.resources[r.TypeName].ValueType()
	value, err := valueOf(kind, map[string]any{"id": name, "name": name, "namespace": namespace})
	if err != nil {
		return nil, err
	}
	state, err := tfprotov6.NewDynamicValue(kind, value)
	return &tfprotov6.ImportResourceStateResponse{ImportedResources: []*tfprotov6.ImportedResource{{TypeName: r.TypeName, State: &state}}}, err
}

// PlanResourceChange marks as unknown what the provider would compute of something new and the configuration leaves out.
func (s *server) PlanResourceChange(_ context.Context, r *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	kind := s.resources[r.TypeName].ValueType()
	value, err := r.ProposedNewState.Unmarshal(kind)
	if err != nil || value.IsNull() {
		return &tfprotov6.PlanResourceChangeResponse{PlannedState: r.ProposedNewState}, err
	}
	prior, err := r.PriorState.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	if !prior.IsNull() {
		replaced, err := s.requiresReplace(r.TypeName, prior, value)
		return &tfprotov6.PlanResourceChangeResponse{PlannedState: r.ProposedNewState, RequiresReplace: replaced}, err
	}
	top := s.recorded.Resources[r.TypeName].Block
	value, err = tftypes.Transform(value, func(path *tftypes.AttributePath, v tftypes.Value) (tftypes.Value, error) {
		if a := top.find(path); a != nil && a.Computed && v.IsNull() {
			return tftypes.NewValue(v.Type(), tftypes.UnknownValue), nil
		}
		return v, nil
	})
	if err != nil {
		return nil, err
	}
	planned, err := tfprotov6.NewDynamicValue(kind, value)
	return &tfprotov6.PlanResourceChangeResponse{PlannedState: &planned}, err
}

// requiresReplace are the attributes that differ and cannot be changed in what is there.
func (s *server) requiresReplace(kind string, prior, proposed tftypes.Value) ([]*tftypes.AttributePath, error) {
	var found []*tftypes.AttributePath
	for _, text := range s.replaced[kind] {
		path := tftypes.NewAttributePath()
		for step := range strings.SplitSeq(text, ".") {
			if number, err := strconv.Atoi(step); err == nil {
				path = path.WithElementKeyInt(number)
			} else {
				path = path.WithAttributeName(step)
			}
		}
		before, _, err := tftypes.WalkAttributePath(prior, path)
		if err != nil {
			return nil, fmt.Errorf("replace.json: %s.%s: %w", kind, text, err)
		}
		after, _, err := tftypes.WalkAttributePath(proposed, path)
		if err != nil {
			return nil, fmt.Errorf("replace.json: %s.%s: %w", kind, text, err)
		}
		was, isValue := before.(tftypes.Value)
		becomes, isToo := after.(tftypes.Value)
		if !isValue || !isToo {
			return nil, fmt.Errorf("replace.json: %s.%s is no attribute", kind, text)
		}
		if !was.Equal(becomes) {
			found = append(found, path)
		}
	}
	return found, nil
}

// ApplyResourceChange pretends: what was planned is there now.
func (s *server) ApplyResourceChange(_ context.Context, r *tfprotov6.ApplyResourceChangeRequest) (*tfprotov6.ApplyResourceChangeResponse, error) {
	kind := s.resources[r.TypeName].ValueType()
	value, err := r.PlannedState.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	value, err = tftypes.Transform(value, func(_ *tftypes.AttributePath, v tftypes.Value) (tftypes.Value, error) {
		switch {
		case v.IsKnown():
			return v, nil
		case v.Type().Is(tftypes.String):
			return tftypes.NewValue(tftypes.String, "replayed"), nil
		}
		return tftypes.NewValue(v.Type(), nil), nil
	})
	if err != nil {
		return nil, err
	}
	state, err := tfprotov6.NewDynamicValue(kind, value)
	return &tfprotov6.ApplyResourceChangeResponse{NewState: &state}, err
}

// ReadDataSource answers what data.json says; what it leaves out is what the configuration says, or null.
func (s *server) ReadDataSource(_ context.Context, r *tfprotov6.ReadDataSourceRequest) (*tfprotov6.ReadDataSourceResponse, error) {
	kind := s.data[r.TypeName].ValueType()
	config, err := r.Config.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	fields := map[string]tftypes.Value{}
	if err := config.As(&fields); err != nil {
		return nil, err
	}
	fits := slices.IndexFunc(s.answers[r.TypeName], func(a answer) bool {
		for name, want := range a.When {
			var asked *string
			if err := fields[name].As(&asked); err != nil || asked == nil || *asked != want {
				return false
			}
		}
		return true
	})
	if fits < 0 {
		return nil, fmt.Errorf("data.json has no answer of %s to what is asked", r.TypeName)
	}
	object, ok := kind.(tftypes.Object)
	if !ok {
		return nil, errors.New("a data source is no object")
	}
	for name, given := range s.answers[r.TypeName][fits].Says {
		if fields[name], err = valueOf(object.AttributeTypes[name], given); err != nil {
			return nil, fmt.Errorf("%s.%s: %w", r.TypeName, name, err)
		}
	}
	state, err := tfprotov6.NewDynamicValue(kind, tftypes.NewValue(kind, fields))
	return &tfprotov6.ReadDataSourceResponse{State: &state}, err
}

// valueOf is JSON as a value of a type; fields of objects that are left out are null.
func valueOf(kind tftypes.Type, given any) (tftypes.Value, error) {
	var elements []tftypes.Value
	list := func(of tftypes.Type) error {
		items, ok := given.([]any)
		if !ok {
			return fmt.Errorf("%v is no list", given)
		}
		for _, item := range items {
			element, err := valueOf(of, item)
			if err != nil {
				return err
			}
			elements = append(elements, element)
		}
		return nil
	}
	switch kind := kind.(type) {
	case nil:
		return tftypes.Value{}, errors.New("there is no such attribute")
	case tftypes.List:
		err := list(kind.ElementType)
		return tftypes.NewValue(kind, elements), err
	case tftypes.Set:
		err := list(kind.ElementType)
		return tftypes.NewValue(kind, elements), err
	case tftypes.Object:
		object, ok := given.(map[string]any)
		if !ok {
			return tftypes.Value{}, fmt.Errorf("%v is no object", given)
		}
		fields := map[string]tftypes.Value{}
		for name, of := range kind.AttributeTypes {
			fields[name] = tftypes.NewValue(of, nil)
			if item, ok := object[name]; ok {
				var err error
				if fields[name], err = valueOf(of, item); err != nil {
					return tftypes.Value{}, fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		return tftypes.NewValue(kind, fields), nil
	}
	return tftypes.NewValue(kind, given), nil
}
