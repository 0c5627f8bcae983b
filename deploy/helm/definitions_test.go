package helm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	acmev1 "github.com/cert-manager/cert-manager/pkg/apis/acme/v1"
	certmanagerv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sigsyaml "sigs.k8s.io/yaml"
)

// definition is what a custom resource must look like.
type definition struct {
	validator  validation.SchemaValidator
	structural *structuralschema.Structural
}

// definitions are those of cert-manager and of Gateway API, from their modules, by kind.
func definitions(t *testing.T) map[schema.GroupVersionKind]definition {
	t.Helper()
	found := map[schema.GroupVersionKind]definition{}
	for module, folder := range map[string]string{
		"github.com/cert-manager/cert-manager": "deploy/crds", "sigs.k8s.io/gateway-api": "config/crd/standard",
	} {
		files, err := filepath.Glob(filepath.Join(moduleFolder(t, module), folder, "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no definitions in %s: %v", module, folder, err)
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
				found[schema.GroupVersionKind{Group: crd.Spec.Group, Version: version.Name, Kind: crd.Spec.Names.Kind}] = definition{validator, structural}
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

// check holds an object to its definition: no unknown field, and every value as it must be. Rules in CEL are not run.
func (d definition) check(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	for _, problem := range validation.ValidateCustomResource(nil, object.UnstructuredContent(), d.validator) {
		t.Errorf("%s: %v", title(object), problem)
	}
	unknown := pruning.PruneWithOptions(object.DeepCopy().Object, d.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		t.Errorf("%s has the field %s, which its definition does not know", title(object), path)
	}
}

// TestCustomResources: what is made for cert-manager and for Gateway API is as their definitions have it, by the same code
// as in the API server.
func TestCustomResources(t *testing.T) {
	t.Parallel()
	known := definitions(t)
	seen := map[string]int{}
	look := func(objects []*unstructured.Unstructured) {
		for _, object := range objects {
			group := object.GroupVersionKind().Group
			if _, custom := elsewhere()[group]; !custom || slices.Contains([]string{"cilium.io", "ps.percona.com", "snapscheduler.backube"}, group) {
				continue
			}
			d, ok := known[object.GroupVersionKind()]
			if !ok {
				t.Errorf("there is no definition of %v", object.GroupVersionKind())
				continue
			}
			d.check(t, object)
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
	for _, kind := range []string{"Certificate", "ClusterIssuer", "Gateway", "HTTPRoute"} {
		if seen[kind] == 0 {
			t.Errorf("no %s was looked at", kind)
		}
	}
}

// TestDefinitionsRefuse: the test above would notice what is wrong.
func TestDefinitionsRefuse(t *testing.T) {
	t.Parallel()
	d := definitions(t)[schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}]
	object := find(t, installed(t, variant{}), "Certificate", "tienda-tls").DeepCopy()
	for _, change := range []struct {
		value any
		path  []string
	}{{"SLOW", []string{"spec", "privateKey", "algorithm"}}, {int64(1), []string{"spec", "secretName"}}} {
		wrong := object.DeepCopy()
		if err := unstructured.SetNestedField(wrong.Object, change.value, change.path...); err != nil {
			t.Fatal(err)
		}
		if problems := validation.ValidateCustomResource(nil, wrong.UnstructuredContent(), d.validator); len(problems) == 0 {
			t.Errorf("a certificate with %v = %v is valid", change.path, change.value)
		}
	}
	wrong := object.DeepCopy()
	if err := unstructured.SetNestedField(wrong.Object, "x", "spec", "dnsName"); err != nil {
		t.Fatal(err)
	}
	if unknown := pruning.PruneWithOptions(wrong.Object, d.structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}); len(unknown) != 1 {
		t.Errorf("unknown fields of a certificate with dnsName: %v", unknown)
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
