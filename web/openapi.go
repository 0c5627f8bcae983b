package web

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3gen"

	"tienda/api"
)

// document is the OpenAPI document of a service, made from its table when it is first asked for.
type document struct {
	api  *API
	once sync.Once
	body []byte
	err  error
}

func (d *document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.once.Do(func() { d.body, d.err = OpenAPI(*d.api) })
	if d.err != nil {
		d.api.fail(w, r, d.err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(d.body) // the client is gone when this fails
}

// OpenAPI is the OpenAPI 3 document of a service, as JSON.
func OpenAPI(a API) ([]byte, error) {
	doc := &openapi3.T{
		OpenAPI: "3.0.3",
		Info:    &openapi3.Info{Title: a.Title, Version: "1"},
		Servers: openapi3.Servers{{URL: "/", Description: "the API gateway this page came from"}},
		Paths:   openapi3.NewPaths(),
		Components: &openapi3.Components{
			Schemas: wireForms(),
			SecuritySchemes: openapi3.SecuritySchemes{"bearer": {Value: openapi3.NewJWTSecurityScheme().
				WithDescription("the jwtToken of POST /app/api/authenticate")}},
		},
	}
	generator := openapi3gen.NewGenerator(openapi3gen.SchemaCustomizer(describe), openapi3gen.UseAllExportedFields(),
		openapi3gen.CreateComponentSchemas(openapi3gen.ExportComponentSchemasOptions{ExportComponentSchemas: true, ExportTopLevelSchema: true}))
	for _, route := range a.Routes {
		if route.Access == Service {
			continue // between components only; nobody outside can call it
		}
		operation, err := describeRoute(route, generator, doc.Components.Schemas)
		if err != nil {
			return nil, err
		}
		operation.Tags = []string{resourceOf(route.Pattern)}
		doc.AddOperation(a.Context+wildcard.ReplaceAllString(route.Pattern, "{$1}"), route.Method, operation)
	}
	return json.Marshal(doc)
}

// wildcard matches the path parameters of a pattern, "{rest...}" among them.
var wildcard = regexp.MustCompile(`\{(\w+)(?:\.\.\.)?\}`)

func resourceOf(pattern string) string {
	path, ok := strings.CutPrefix(pattern, "/api/")
	if !ok {
		return "service"
	}
	resource, _, _ := strings.Cut(path, "/")
	return resource
}

func describeRoute(route Route, generator *openapi3gen.Generator, schemas openapi3.Schemas) (*openapi3.Operation, error) {
	operation := openapi3.NewOperation()
	operation.Summary = route.Summary
	operation.Description = "Access: " + string(route.Access)
	operation.OperationID = operationID(route)
	if route.Access != Public {
		operation.Security = openapi3.NewSecurityRequirements().With(openapi3.NewSecurityRequirement().Authenticate("bearer"))
	}
	for _, match := range wildcard.FindAllStringSubmatch(route.Pattern, -1) {
		schema := openapi3.NewStringSchema()
		if strings.HasSuffix(match[1], "Id") {
			schema = openapi3.NewInt64Schema()
			schema.Example = 1
		}
		operation.AddParameter(openapi3.NewPathParameter(match[1]).WithSchema(schema))
	}
	for _, query := range route.Query {
		name, text, _ := strings.Cut(query, "?")
		operation.AddParameter(openapi3.NewQueryParameter(name).WithDescription(text).WithSchema(openapi3.NewStringSchema()))
	}
	if route.Idempotent {
		key := openapi3.NewHeaderParameter("Idempotency-Key").WithRequired(true).WithSchema(openapi3.NewStringSchema()).
			WithDescription("names this write: sent again with the same key and body it replays the first answer")
		key.Example = "a-key-of-your-own-1"
		operation.AddParameter(key)
	}
	if route.Waits {
		operation.AddParameter(openapi3.NewHeaderParameter("Prefer").WithSchema(openapi3.NewStringSchema()).
			WithDescription("wait=N waits N seconds for the end, at most 30, and respond-async not at all; without it, tienda.order.wait"))
	}
	if route.In != nil {
		schema, err := generator.NewSchemaRefForValue(route.In, schemas)
		if err != nil {
			return nil, err
		}
		content := openapi3.NewMediaType().WithSchemaRef(schema).WithExample("example", sample(route.In))
		operation.RequestBody = &openapi3.RequestBodyRef{Value: openapi3.NewRequestBody().WithRequired(true).
			WithContent(openapi3.Content{"application/json": content})}
	}
	status := route.Status
	if status == 0 {
		status = http.StatusOK
	}
	response := openapi3.NewResponse().WithDescription(http.StatusText(status))
	if route.Out != nil {
		schema, err := generator.NewSchemaRefForValue(route.Out, schemas)
		if err != nil {
			return nil, err
		}
		response.WithJSONSchemaRef(schema)
	}
	operation.Responses = openapi3.NewResponses(openapi3.WithStatus(status, &openapi3.ResponseRef{Value: response}))
	if route.Waits {
		accepted := openapi3.NewResponse().WithDescription("It goes on: ask what Location names, or send the same request with the same Idempotency-Key again.").
			WithContent(response.Content)
		operation.Responses.Set(strconv.Itoa(http.StatusAccepted), &openapi3.ResponseRef{Value: accepted})
	}
	problem, err := generator.NewSchemaRefForValue(api.Problem{}, schemas)
	if err != nil {
		return nil, err
	}
	operation.Responses.Set("default", &openapi3.ResponseRef{Value: openapi3.NewResponse().WithDescription("what went wrong").
		WithContent(openapi3.Content{"application/problem+json": openapi3.NewMediaType().WithSchemaRef(problem)})})
	return operation, nil
}

func operationID(route Route) string {
	return strings.ToLower(route.Method) + strings.NewReplacer("/", "_", "{", "", "}", "", "...", "").Replace(strings.TrimPrefix(route.Pattern, "/api"))
}

// sample is the example body of a route: the fields of In that are not empty, as JSON.
func sample(in any) any {
	data, err := json.Marshal(in)
	if err != nil {
		return nil
	}
	var value any
	if json.Unmarshal(data, &value) != nil {
		return nil
	}
	return prune(value)
}

func prune(value any) any {
	object, ok := value.(map[string]any)
	if !ok {
		return value
	}
	for key, member := range object {
		if member == nil {
			delete(object, key)
			continue
		}
		object[key] = prune(member)
	}
	return object
}

// wireForms are the schemas of the types that write themselves, by name. The generator refers to them
// but leaves them out, since they have no properties.
func wireForms() openapi3.Schemas {
	amount := openapi3.NewFloat64Schema()
	amount.Example = 99.99
	dateTime := openapi3.NewStringSchema()
	dateTime.Description = "dd-MM-yyyy__HH:mm:ss:SSSSSS, UTC; RFC 3339 is understood"
	dateTime.Example = "04-11-2025__23:52:00:805000"
	date := openapi3.NewStringSchema()
	date.Description = "dd-MM-yyyy"
	date.Example = "31-12-2026"
	return openapi3.Schemas{"Amount": amount.NewRef(), "DateTime": dateTime.NewRef(), "Date": date.NewRef()}
}

// describe gives the numbers and raw values that write themselves their schema.
func describe(_ string, t reflect.Type, _ reflect.StructTag, schema *openapi3.Schema) error {
	switch t {
	case reflect.TypeFor[api.ID](), reflect.TypeFor[api.Int]():
		*schema = *openapi3.NewInt64Schema()
		schema.Nullable = true
	case reflect.TypeFor[json.RawMessage]():
		*schema = openapi3.Schema{}
	}
	return nil
}
