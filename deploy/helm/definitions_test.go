package helm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	sigsyaml "sigs.k8s.io/yaml"
)

// definition is what a custom resource must look like.
type definition struct {
	validator  validation.SchemaValidator
	structural *structuralschema.Structural
	rules      *cel.Validator // nil when there are none
}

// cilium is the module with the definitions of Cilium's policies, which nothing here is built with.
const cilium, ciliumSum = "github.com/cilium/cilium@v1.20.2", "h1:dqiEGIcXc+gqCLYG/l7VCFJ8GHyb4HUrwbZOpkX5dL8="

// definitions are those of cert-manager, of Gateway API and of Cilium, from their modules, and our own of what no module has, by kind.
func definitions(t *testing.T) map[schema.GroupVersionKind]definition {
	t.Helper()
	found := map[schema.GroupVersionKind]definition{}
	for _, folder := range []string{
		filepath.Join(moduleFolder(t, "github.com/cert-manager/cert-manager"), "deploy/crds"),
		filepath.Join(moduleFolder(t, "sigs.k8s.io/gateway-api"), "config/crd/standard"),
		filepath.Join(downloaded(t, cilium, ciliumSum), "pkg/k8s/apis/cilium.io/client/crds/v2"),
		"testdata/definitions",
	} {
		files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("there are no definitions in %s: %v", folder, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var crd apiextensionsv1.CustomResourceDefinition
			if err := sigsyaml.Unmarshal(text, &crd); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for _, version := range crd.Spec.Versions {
				var internal apiextensions.JSONSchemaProps
				if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, &internal, nil); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				validator, _, err := validation.NewSchemaValidator(&internal)
				if err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				structural, err := structuralschema.NewStructural(&internal)
				if err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				found[schema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.Kind}] = definition{validator, structural, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
			}
		}
	}
	return found
}

// moduleFolder is where the go command keeps a module.
func moduleFolder(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("go list -m %s: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}

// problems are what an object's definition has against it: values and their kinds, rules in CEL, fields that it does not know.
func (d definition) problems(t *testing.T, object *unstructured.Unstructured) []string {
	t.Helper()
	received := &unstructured.Unstructured{}
	text, err := object.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := received.UnmarshalJSON(text); err != nil { // as the API server reads it, with numbers that are whole
		t.Fatal(err)
	}
	defaulting.Default(received.Object, d.structural) // which rules may rely on
	found := validation.ValidateCustomResource(nil, received.Object, d.validator)
	if d.rules != nil && len(found) == 0 {
		found, _ = d.rules.Validate(t.Context(), nil, d.structural, received.Object, nil, celconfig.RuntimeCELCostBudget)
	}
	var problems []string
	for _, problem := range found {
		problems = append(problems, problem.Error())
	}
	unknown := pruning.PruneWithOptions(object.DeepCopy().Object, d.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		problems = append(problems, path+": its definition does not know the field")
	}
	return problems
}

// TestCustomResources: what is made for others is as their definitions have it, by the same code as in the API server.
func TestCustomResources(t *testing.T) {
	t.Parallel()
	known := definitions(t)
	seen := map[string]int{}
	look := func(objects []*unstructured.Unstructured) {
		for _, object := range objects {
			group := object.GroupVersionKind().Group
			if _, custom := elsewhere()[group]; !custom {
				continue
			}
			d, ok := known[object.GroupVersionKind()]
			if !ok {
				t.Errorf("there is no definition of %v", object.GroupVersionKind())
				continue
			}
			for _, problem := range d.problems(t, object) {
				t.Errorf("%s: %s", title(object), problem)
			}
			seen[object.GetKind()]++
		}
	}
	for _, v := range variants() {
		look(installed(t, v))
	}
	for _, solver := range []string{"ingress", "gateway"} {
		objects, err := render(t, "issuers", variant{values: "{letsEncrypt: {email: ops@example.com, solver: " + solver + "}, acme: {server: 'https://ca.example.com/directory', caBundle: ours}}"})
		if err != nil {
			t.Fatal(err)
		}
		look(objects)
		if diff := cmp.Diff([]string{"acme", "letsencrypt-prod", "letsencrypt-staging", "self-signed"}, names(objects, "ClusterIssuer")); diff != "" {
			t.Errorf("issuers (-want +got):\n%s", diff)
		}
	}
	for _, kind := range []string{"Certificate", "ClusterIssuer", "Gateway", "HTTPRoute", "CiliumNetworkPolicy", "PerconaServerMySQL", "SnapshotSchedule"} {
		if seen[kind] == 0 {
			t.Errorf("no %s was looked at", kind)
		}
	}
}

// TestDefinitionsRefuse: the test above would notice what is wrong.
func TestDefinitionsRefuse(t *testing.T) {
	t.Parallel()
	known := definitions(t)
	for _, test := range []struct {
		values, kind, name string
		value              any
		path               []string
	}{
		{"", "Certificate", "tienda-tls", "SLOW", []string{"spec", "privateKey", "algorithm"}},
		{"", "Certificate", "tienda-tls", int64(1), []string{"spec", "secretName"}},
		{"", "Certificate", "tienda-tls", "x", []string{"spec", "dnsName"}},
		{"entry: {kind: gateway}", "HTTPRoute", "tienda", []any{map[string]any{"filters": []any{map[string]any{"type": "RequestMirror"}}}}, []string{"spec", "rules"}}, // by a rule in CEL
		{"entry: {kind: gateway}", "CiliumNetworkPolicy", "allow-ingress-traffic", []any{map[string]any{"fromEntities": []any{"anybody"}}}, []string{"spec", "ingress"}},
		{"entry: {kind: gateway}", "CiliumNetworkPolicy", "allow-ingress-traffic", "x", []string{"spec", "podSelector"}},
		{"database: {mode: percona}", "PerconaServerMySQL", "shop-mysql", "galera", []string{"spec", "mysql", "clusterType"}},
		{"database: {mode: percona}", "PerconaServerMySQL", "shop-mysql", int64(4), []string{"spec", "mysql", "size"}},
		{"database: {mode: percona}", "PerconaServerMySQL", "shop-mysql", true, []string{"spec", "proxy", "router", "enabled"}},
		{"database: {mode: percona}", "PerconaServerMySQL", "shop-mysql", "x", []string{"spec", "mysql", "storage"}},
		{"database: {mysql: {snapshots: {enabled: true}}}", "SnapshotSchedule", "mysql", int64(0), []string{"spec", "retention", "maxCount"}},
		{"database: {mysql: {snapshots: {enabled: true}}}", "SnapshotSchedule", "mysql", "every night", []string{"spec", "schedule"}},
		{"database: {mysql: {snapshots: {enabled: true}}}", "SnapshotSchedule", "mysql", "7d", []string{"spec", "retention", "keep"}},
	} {
		object := find(t, installed(t, variant{values: test.values}), test.kind, test.name).DeepCopy()
		d := known[object.GroupVersionKind()]
		if problems := d.problems(t, object); len(problems) > 0 {
			t.Errorf("%s as it is made: %v", title(object), problems)
		}
		if err := unstructured.SetNestedField(object.Object, test.value, test.path...); err != nil {
			t.Fatal(err)
		}
		if problems := d.problems(t, object); len(problems) == 0 {
			t.Errorf("%s with %v = %v is valid", title(object), test.path, test.value)
		}
	}
}

// TestCertificate: with F5's controller the challenge goes into the shop's own Ingress, and HTTPS answers before the first
// certificate is there.
func TestCertificate(t *testing.T) {
	t.Parallel()
	for kind, ingress := range map[string]string{"nginx": "tienda", "ingress-nginx": "", "gateway": ""} {
		annotations := find(t, installed(t, variant{values: "entry: {kind: " + kind + "}"}), "Certificate", "tienda-tls").GetAnnotations()
		if got := annotations[acmev1.ACMECertificateHTTP01IngressNameOverride]; got != ingress {
			t.Errorf("%s: the challenge goes into the Ingress %q, want %q", kind, got, ingress)
		}
		if annotations[certmanagerv1.IssueTemporaryCertificateAnnotation] != "true" {
			t.Errorf("%s: there is no certificate until the first is issued: %v", kind, annotations)
		}
	}
}

// TestIssuerOfOnesOwn: an ACME server of one's own is asked as Let's Encrypt is, and its certificate is checked with ours.
func TestIssuerOfOnesOwn(t *testing.T) {
	t.Parallel()
	objects, err := render(t, "issuers", variant{values: "{letsEncrypt: {email: ops@example.com}, acme: {server: 'https://ca.example.com/directory', caBundle: ours}}"})
	if err != nil {
		t.Fatal(err)
	}
	own := named[certmanagerv1.ClusterIssuer](t, objects, "ClusterIssuer", "acme").Spec.ACME
	public := named[certmanagerv1.ClusterIssuer](t, objects, "ClusterIssuer", "letsencrypt-prod").Spec.ACME
	if own.Server != "https://ca.example.com/directory" || string(own.CABundle) != "ours" || own.PrivateKey.Name != "acme" {
		t.Errorf("the issuer acme asks %+v", own)
	}
	if diff := cmp.Diff(public.Solvers, own.Solvers); diff != "" {
		t.Errorf("challenges are answered otherwise (-letsencrypt-prod +acme):\n%s", diff)
	}
	if public.CABundle != nil {
		t.Errorf("Let's Encrypt's certificate is checked with %q", public.CABundle)
	}
}

// TestIssuersRefuse: an issuer that nobody hears of is refused.
func TestIssuersRefuse(t *testing.T) {
	t.Parallel()
	if _, err := render(t, "issuers", variant{}); err == nil || !strings.Contains(err.Error(), "letsEncrypt.email is empty") {
		t.Errorf("render without an address = %v", err)
	}
	objects, err := render(t, "issuers", variant{values: "letsEncrypt: {enabled: false}"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"self-signed"}, names(objects, "ClusterIssuer")); diff != "" {
		t.Errorf("issuers (-want +got):\n%s", diff)
	}
}
