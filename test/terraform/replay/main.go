// Command replay is a provider for Terraform that serves the recorded schema of another one, so that configurations are validated
// and planned where the real provider cannot be had. It runs under the real one's name: REPLAY names the folder with recordings
// (NAME.json.gz, of "terraform providers schema -json") and with what data sources are to answer (data.json). It validates no
// values as the real one does, and what it applies happens nowhere: what would be computed gets a value that means nothing.
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
	answers, err := os.ReadFile(filepath.Join(folder, "data.json"))
	if err != nil {
		return "", nil, err
	}
	if err := json.Unmarshal(answers, &s.answers); err != nil {
		return "", nil, fmt.Errorf("answers of data sources: %w", err)
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
	answers         map[string]map[string]any
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

// PlanResourceChange marks as unknown what the provider would compute of something new and the configuration leaves out.
func (s *server) PlanResourceChange(_ context.Context, r *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	kind := s.resources[r.TypeName].ValueType()
	value, err := r.ProposedNewState.Unmarshal(kind)
	if err != nil || value.IsNull() {
		return &tfprotov6.PlanResourceChangeResponse{PlannedState: r.ProposedNewState}, err
	}
	prior, err := r.PriorState.Unmarshal(kind)
	if err != nil || !prior.IsNull() {
		return &tfprotov6.PlanResourceChangeResponse{PlannedState: r.ProposedNewState}, err
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

// ReadDataSource answers what data.json says, by the type and, if there are several, the name that is asked for; what it
// leaves out is what the configuration says, or null.
func (s *server) ReadDataSource(_ context.Context, r *tfprotov6.ReadDataSourceRequest) (*tfprotov6.ReadDataSourceResponse, error) {
	kind := s.data[r.TypeName].ValueType()
	config, err := r.Config.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	answer, ok := s.answers[r.TypeName]
	if !ok {
		return nil, fmt.Errorf("data.json has no answer of %s", r.TypeName)
	}
	fields := map[string]tftypes.Value{}
	if err := config.As(&fields); err != nil {
		return nil, err
	}
	object, ok := kind.(tftypes.Object)
	if !ok {
		return nil, errors.New("a data source is no object")
	}
	for name, given := range answer {
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
