// Package helm_test renders the charts as Helm does and looks at what comes out: that the API server would take it, that
// pods keep to Pod Security "restricted", and that who may talk to whom is what the call graph says.
package helm_test

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"
	sigsyaml "sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite testdata")

const (
	chartFolder = "tienda"
	namespace   = "ecommerce-stage"
)

// variant is one way to install the chart.
type variant struct {
	name   string
	files  []string // of values, in the chart's folder
	values string   // YAML on top of them
	// release and namespace are "shop" and the shop's unless a chart of somebody else has others.
	release, namespace string
}

// backups are the values with which they are taken and tested.
const backups = "{backup: {bucket: 'https://nyc3.digitaloceanspaces.com/shop-backups/stage', existingSecret: bucket, " +
	"recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p], restoreTest: {identitySecret: restore-test}}}"

// variants are every values file and every switch.
func variants() []variant {
	set := func(name, values string) variant { return variant{name: name, values: values} }
	return []variant{
		set("defaults", ""),
		{name: "stage", files: []string{"values-stage.yaml"}},
		{name: "production", files: []string{"values-production.yaml"}},
		// What Terraform says beside it, as its tests planned it.
		{name: "stage on the throwaway cluster", files: []string{"values-stage.yaml", "../../../test/cluster/values.yaml"}},
		{name: "stage by Terraform", files: []string{"values-stage.yaml", "../../../test/terraform/testdata/stage-shop.yaml"}},
		{name: "production by Terraform", files: []string{"values-production.yaml", "../../../test/terraform/testdata/production-shop.yaml"}},
		set("same namespace", "networkPolicy: {mode: allow-same-namespace}"),
		set("no policies", "networkPolicy: {mode: none}"),
		set("baseline", "baseline: {create: true}"),
		set("baseline in the same namespace", "{baseline: {create: true}, rbac: {secretAccess: true}, networkPolicy: {mode: allow-same-namespace}}"),
		set("ingress-nginx", "entry: {kind: ingress-nginx, className: public, annotations: {a.example/b: c}}"),
		set("gateway", "entry: {kind: gateway, tls: {issuer: letsencrypt-prod}}"),
		set("gateway of another", "entry: {kind: gateway, className: nginx, namespace: nginx-gateway, annotations: {a.example/b: c}}"),
		set("no entry", "entry: {kind: none}"),
		set("own certificate", "entry: {tls: {issuer: ''}}"),
		set("self-signed", "{entry: {tls: {issuer: self-signed}}, test: {address: 10.0.0.7}}"),
		set("linkerd", "{mesh: {enabled: true}, baseline: {create: true}}"),
		set("istio", "{mesh: {enabled: true, kind: istio, namespace: istio-system}}"),
		set("external database", "database: {mode: external, existingSecret: mine, external: {host: db.example.com, sslMode: VERIFY_IDENTITY, caSecret: database-ca, cidrs: [10.1.0.0/16, 10.2.0.0/16]}}"),
		set("external database in the same namespace", "{networkPolicy: {mode: allow-same-namespace}, database: {mode: external, existingSecret: mine, external: {host: db.example.com}}}"),
		set("snapshots", "database: {mysql: {snapshots: {enabled: true}}}"),
		set("percona", "database: {mode: percona, percona: {size: 5, storage: {className: fast}}}"),
		set("percona in the same namespace", "{networkPolicy: {mode: allow-same-namespace}, database: {mode: percona, percona: {operatorNamespace: operators}}}"),
		set("backups", backups),
		set("backups in the same namespace", "{networkPolicy: {mode: allow-same-namespace}, "+backups[1:]),
		set("backups of an external database", "{database: {mode: external, existingSecret: mine, external: {host: db.example.com}}, "+backups[1:]),
		set("backups of group replication", "{database: {mode: percona}, "+backups[1:]),
		set("own passwords", "database: {existingSecret: mine, mysql: {storage: {className: fast}, extraConfig: 'slow_query_log = ON'}}"),
		set("own keys", "identity: {generate: false}"),
		set("stripe", "shop: {stripe: {existingSecret: stripe}}"),
		set("stripe in the same namespace", "{shop: {stripe: {existingSecret: stripe}}, networkPolicy: {mode: allow-same-namespace}}"),
		set("fixed numbers", "{defaults: {autoscaling: {enabled: false}, replicas: {min: 2}}, priorityClasses: {create: false}}"),
		set("memory", "defaults: {autoscaling: {memory: 64Mi}, resources: {limits: {memory: 1Gi}}, env: {GODEBUG: madvdontneed=1}, podAnnotations: {a.example/b: c}}"),
		set("digest and pull secrets", "{image: {repository: registry.example.com/tienda, digest: 'sha256:"+strings.Repeat("a", 64)+"'}, imagePullSecrets: [{name: registry}]}"),
		{name: "texts that look like numbers and the like", release: "123", namespace: "1e3", values: "{image: {tag: '1', repository: 'off'}, " +
			"database: {existingSecret: '123', mysql: {storage: {className: 'yes'}, snapshots: {enabled: true, className: 'no'}}}, " +
			"entry: {maxBodySize: '4', host: 'no', className: '1', namespace: '2', tls: {secretName: '123', issuer: 'true'}}, monitoring: {namespace: '3'}, " +
			"networkPolicy: {dns: {namespace: '4', app: '5'}}, mesh: {enabled: true, namespace: '6'}, baseline: {create: true}, test: {address: 10.0.0.7}, " +
			"shop: {profiles: ['on'], stripe: {existingSecret: '7'}, settings: {'1': '2'}}, priorityClasses: {database: '1'}, imagePullSecrets: [{name: '1'}], " +
			"services: {'on': {port: 8950, context: '/1', database: true, env: {GODEBUG: '1'}, podAnnotations: {'1': '2'}}}, " +
			"backup: {bucket: 'https://1/2', region: '1', owner: '0', existingSecret: '1', recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p], restoreTest: {identitySecret: '1'}}}"},
		set("an account that looks like a number", "{database: {mode: external, existingSecret: '1', external: {host: '1.2', adminUser: '7', caSecret: '1', sslMode: VERIFY_CA}}, "+backups[1:]),
		set("an operator that looks like a number", "database: {mode: percona, percona: {crVersion: '1.1', operatorNamespace: '1', storage: {className: '1'}}}"),
		set("a long tag", "image: {tag: "+strings.Repeat("a.", 60)+"b}"),
		set("settings", "shop: {settings: {application.yml: 'logging: {level: {root: debug}}'}}"),
		set("a component of one's own", "services: {review-service: {port: 8950, context: /review-service, needs: [user-service, proxy-client], database: true}}"),
	}
}

// cluster is what lookups of the chart find.
type cluster struct{ client *fake.FakeDynamicClient }

// GetClientFor implements engine.ClientProvider.
func (c cluster) GetClientFor(apiVersion, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
	return c.client.Resource(gvk.GroupVersion().WithResource(strings.ToLower(kind) + "s")), true, nil
}

// render renders a chart with the values of a variant, over a cluster in which some objects are already.
func render(t *testing.T, chart string, v variant, there ...*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	t.Helper()
	loaded, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	for _, file := range v.files {
		text, err := os.ReadFile(filepath.Join(chart, file))
		if err != nil {
			t.Fatal(err)
		}
		values = merged(t, values, text)
	}
	values = merged(t, values, []byte(v.values))
	options := common.ReleaseOptions{Name: cmp.Or(v.release, "shop"), Namespace: cmp.Or(v.namespace, namespace), Revision: 1, IsInstall: true}
	top, err := util.ToRenderValues(loaded, values, options, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	var objects []runtime.Object
	for _, object := range there {
		objects = append(objects, object)
	}
	found := cluster{fake.NewSimpleDynamicClient(scheme.Scheme, objects...)}
	files, err := engine.RenderWithClientProvider(loaded, top, found)
	if err != nil {
		return nil, err
	}
	var rendered []*unstructured.Unstructured
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(path, ".yaml") {
			rendered = append(rendered, parse(t, path, files[path])...)
		}
	}
	return rendered, nil
}

// merged are values with others on top.
func merged(t *testing.T, below map[string]any, text []byte) map[string]any {
	t.Helper()
	above, err := common.ReadValues(text)
	if err != nil {
		t.Fatal(err)
	}
	return loader.MergeMaps(below, above)
}

// parse takes the documents of a rendered file apart. A key that stands twice is an error.
func parse(t *testing.T, path, text string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		object := &unstructured.Unstructured{}
		if err == nil {
			err = sigsyaml.UnmarshalStrict(document, &object.Object)
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", path, err, document)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// installed renders a variant that must work.
func installed(t *testing.T, v variant, there ...*unstructured.Unstructured) []*unstructured.Unstructured {
	t.Helper()
	objects, err := render(t, chartFolder, v, there...)
	if err != nil {
		t.Fatalf("%s: %v", v.name, err)
	}
	return objects
}

// title is how a message names an object.
func title(object *unstructured.Unstructured) string {
	return object.GetKind() + "/" + object.GetName()
}

// as is an object in its own type; a field that the type does not know is an error.
func as[T any](t *testing.T, object *unstructured.Unstructured) T {
	t.Helper()
	text, err := sigsyaml.Marshal(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	var typed T
	if err := sigsyaml.UnmarshalStrict(text, &typed); err != nil {
		t.Fatalf("%s: %v\n%s", title(object), err, text)
	}
	return typed
}

// all are the objects of a kind, in their own type.
func all[T any](t *testing.T, objects []*unstructured.Unstructured, kind string) []T {
	t.Helper()
	var typed []T
	for _, object := range objects {
		if object.GetKind() == kind {
			typed = append(typed, as[T](t, object))
		}
	}
	return typed
}

// named is the object of a kind and a name.
func named[T any](t *testing.T, objects []*unstructured.Unstructured, kind, name string) T {
	t.Helper()
	return as[T](t, find(t, objects, kind, name))
}

// names are those of the objects of a kind, sorted.
func names(objects []*unstructured.Unstructured, kind string) []string {
	var found []string
	for _, object := range objects {
		if object.GetKind() == kind {
			found = append(found, object.GetName())
		}
	}
	slices.Sort(found)
	return found
}

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil))) // Helm tells of every value that is overridden
	os.Exit(m.Run())
}

// find is the object of a kind and a name whose type is not ours.
func find(t *testing.T, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && o.GetName() == name })
	if i < 0 {
		t.Fatalf("there is no %s/%s", kind, name)
	}
	return objects[i]
}

// list is a list of maps somewhere in an object.
func list(t *testing.T, object map[string]any, path ...string) []map[string]any {
	t.Helper()
	items, _, err := unstructured.NestedSlice(object, path...)
	if err != nil {
		t.Fatal(err)
	}
	var maps []map[string]any
	for _, item := range items {
		maps = append(maps, item.(map[string]any))
	}
	return maps
}

// number is a number of YAML, of whichever type, as text.
func number(n any) string { return fmt.Sprint(n) }
