package helm_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/resource"
	"github.com/yannh/kubeconform/pkg/validator"
	sigsyaml "sigs.k8s.io/yaml"
)

// kubernetes is the module with the OpenAPI document of the API server that objects are held to.
const kubernetes = "k8s.io/kubernetes@v1.35.4"

// kubeconformCheck is the name in exemptions.yaml of what kubeconform does not look at.
const kubeconformCheck = "kubeconform"

// TestKubeconform: kubeconform, strictly, finds nothing wrong with any object of Kubernetes' own in any variant.
func TestKubeconform(t *testing.T) {
	t.Parallel()
	conform := conformer(t)
	var looked []string
	var found []criticism
	custom := map[string]bool{}
	for _, v := range variants() {
		for _, object := range installed(t, v) {
			text, err := sigsyaml.Marshal(object.Object)
			if err != nil {
				t.Fatal(err)
			}
			name := title(object)
			looked = append(looked, name)
			_, custom[name] = elsewhere()[object.GroupVersionKind().Group]
			if problem := conform(text); problem != "" {
				found = append(found, criticism{name, kubeconformCheck, v.name + ": " + problem})
			}
		}
	}
	if len(looked) == len(found) {
		t.Error("nothing is as it should be")
	}
	theirs := slices.DeleteFunc(exemptions(t), func(e exemption) bool { return e.Check != kubeconformCheck })
	remain, needless := remaining(t, theirs, looked, found)
	for _, c := range remain {
		t.Errorf("%s: %s", c.object, c.comment)
	}
	for _, complaint := range needless {
		t.Error(complaint)
	}
	for _, c := range found {
		if !custom[c.object] {
			t.Errorf("%s: %s, and TestCustomResources does not look at it", c.object, c.comment)
		}
	}
	for _, wrong := range []string{
		"{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {port: 1}}",
		"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {template: {}}}",
		"{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{image: x}]}}",
		"{apiVersion: apps/v2, kind: Deployment, metadata: {name: x}}",
	} {
		if problem := conform([]byte(wrong)); problem == "" {
			t.Errorf("kubeconform finds nothing wrong with %s", wrong)
		}
	}
}

// conformer is kubeconform over the schemas of one version of Kubernetes: it says what is wrong with an object, or "".
func conformer(t *testing.T) func(object []byte) string {
	t.Helper()
	folder := t.TempDir()
	writeSchemas(t, folder)
	v, err := validator.New([]string{folder + "/{{.ResourceKind}}{{.KindSuffix}}.json"}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	return func(object []byte) string {
		result := v.ValidateResource(resource.Resource{Path: "object", Bytes: object})
		if result.Status == validator.Valid {
			return ""
		}
		return fmt.Sprint(result.Err)
	}
}

// writeSchemas makes the JSON schemas that kubeconform reads from the OpenAPI document in Kubernetes' module: a file for
// each kind, which refers to one file with all definitions. Fields that a definition does not have are errors.
func writeSchemas(t *testing.T, folder string) {
	t.Helper()
	var module struct{ Dir string }
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", kubernetes).Output()
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(out)).Decode(&module)
	}
	if err != nil {
		t.Fatalf("go mod download %s: %v\n%s", kubernetes, err, out)
	}
	text, err := os.ReadFile(filepath.Join(module.Dir, "api/openapi-spec/swagger.json"))
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Definitions map[string]map[string]any `json:"definitions"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	write := func(name string, schema any) {
		text, err := json.Marshal(schema)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, definition := range document.Definitions {
		if _, ok := definition["properties"]; ok && definition["additionalProperties"] == nil {
			definition["additionalProperties"] = false
		}
		if definition["format"] == "int-or-string" {
			delete(definition, "type")
			definition["oneOf"] = []any{map[string]any{"type": "string"}, map[string]any{"type": "integer"}}
		}
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		if len(kinds) != 1 {
			continue // what stands below a kind, or below many
		}
		kind := kinds[0].(map[string]any)
		suffix := strings.ToLower(kind["version"].(string))
		if group, _, _ := strings.Cut(kind["group"].(string), "."); group != "" {
			suffix = strings.ToLower(group) + "-" + suffix
		}
		write(strings.ToLower(kind["kind"].(string))+"-"+suffix+".json", map[string]any{"$ref": "definitions.json#/definitions/" + name})
	}
	write("definitions.json", map[string]any{"definitions": document.Definitions})
}
