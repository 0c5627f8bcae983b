package helm_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	sigsyaml "sigs.k8s.io/yaml"
)

// elsewhere are the kinds that the API server itself does not have, by who brings them.
func elsewhere() map[string]string {
	return map[string]string{"cert-manager.io": "cert-manager", "gateway.networking.k8s.io": "Gateway API", "cilium.io": "Cilium", "ps.percona.com": "Percona",
		"snapscheduler.backube": "snapscheduler"}
}

// TestObjectsAreValid: what is rendered has no field that its kind does not know, no name twice, and pods that the
// admission of Pod Security "restricted" lets in.
func TestObjectsAreValid(t *testing.T) {
	t.Parallel()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			seen := map[string]bool{}
			for _, object := range installed(t, v) {
				key := title(object) + " in " + object.GetNamespace()
				if seen[key] {
					t.Errorf("%s is rendered twice", key)
				}
				seen[key] = true
				checkKind(t, object)
				if errs := invalidLabels(object); len(errs) > 0 {
					t.Errorf("%s: %v", key, errs)
				}
				pod, ok := podOf(t, object)
				if !ok {
					continue
				}
				for _, result := range evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
					if !result.Allowed {
						t.Errorf("%s: Pod Security restricted: %s: %s", key, result.ForbiddenReason, result.ForbiddenDetail)
					}
				}
				checkPod(t, key, pod.Spec)
			}
		})
	}
}

// checkKind decodes an object strictly into the type that the API server has for it.
func checkKind(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	gvk := object.GroupVersionKind()
	if _, ok := elsewhere()[gvk.Group]; ok {
		return
	}
	typed, err := scheme.Scheme.New(gvk)
	if err != nil {
		t.Errorf("%s: %v", title(object), err)
		return
	}
	text, err := sigsyaml.Marshal(object.Object)
	if err != nil {
		t.Fatal(err)
	}
	if err := sigsyaml.UnmarshalStrict(text, typed); err != nil {
		t.Errorf("%s: %v", title(object), err)
	}
}

// invalidLabels are complaints about labels, of the object and of the pods it makes.
func invalidLabels(object *unstructured.Unstructured) []string {
	var found []string
	pod, _, _ := unstructured.NestedStringMap(object.Object, "spec", "template", "metadata", "labels")
	for _, set := range []map[string]string{object.GetLabels(), pod} {
		if _, err := labels.ValidatedSelectorFromSet(set); err != nil {
			found = append(found, err.Error())
		}
		for key := range set {
			if domain, _, ok := strings.Cut(key, "/"); !ok || !slices.Contains([]string{"app.kubernetes.io", "helm.sh", "pod-security.kubernetes.io", "sidecar.istio.io"}, domain) {
				found = append(found, "the label "+key+" is not one that is recommended")
			}
		}
	}
	return found
}

// podOf is the pod that an object makes, or is.
func podOf(t *testing.T, object *unstructured.Unstructured) (corev1.PodTemplateSpec, bool) {
	t.Helper()
	switch object.GroupVersionKind().GroupKind() {
	case schema.GroupKind{Kind: "Pod"}:
		pod := as[corev1.Pod](t, object)
		return corev1.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec}, true
	case schema.GroupKind{Group: "apps", Kind: "Deployment"}:
		return as[appsv1.Deployment](t, object).Spec.Template, true
	case schema.GroupKind{Group: "apps", Kind: "StatefulSet"}:
		return as[appsv1.StatefulSet](t, object).Spec.Template, true
	case schema.GroupKind{Group: "batch", Kind: "Job"}:
		return as[batchv1.Job](t, object).Spec.Template, true
	case schema.GroupKind{Group: "batch", Kind: "CronJob"}:
		return as[batchv1.CronJob](t, object).Spec.JobTemplate.Spec.Template, true
	}
	return corev1.PodTemplateSpec{}, false
}

// checkPod asks of every pod what Pod Security does not.
func checkPod(t *testing.T, name string, pod corev1.PodSpec) {
	t.Helper()
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("%s is given a token of the API server", name)
	}
	if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
		t.Errorf("%s is given variables of Services, which pass for settings", name)
	}
	if pod.DNSConfig == nil || len(pod.DNSConfig.Options) == 0 {
		t.Errorf("%s asks for a name once in five seconds", name)
	}
	volumes := map[string]bool{}
	for _, volume := range pod.Volumes {
		volumes[volume.Name] = true
		if volume.EmptyDir != nil && volume.EmptyDir.SizeLimit == nil {
			t.Errorf("%s: the volume %s may fill the node", name, volume.Name)
		}
	}
	for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
		if container.Resources.Requests.Memory().IsZero() || container.Resources.Requests.Cpu().IsZero() || container.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s: %s has no request of processor time and memory, or no limit of memory", name, container.Name)
		}
		if container.SecurityContext == nil || container.SecurityContext.ReadOnlyRootFilesystem == nil || !*container.SecurityContext.ReadOnlyRootFilesystem {
			t.Errorf("%s: %s may write its root file system", name, container.Name)
		}
		if image := container.Image; strings.HasSuffix(image, ":latest") || !strings.Contains(image, ":") {
			t.Errorf("%s: the image %s has no version", name, image)
		}
		for _, mount := range container.VolumeMounts {
			if !volumes[mount.Name] && mount.Name != "data" { // that is a claim of the StatefulSet
				t.Errorf("%s: %s mounts %s, which is no volume", name, container.Name, mount.Name)
			}
		}
	}
}

// TestEveryComponentHasEverything: one object of each kind for each component, that fit together.
func TestEveryComponentHasEverything(t *testing.T) {
	t.Parallel()
	objects := installed(t, variant{values: "networkPolicy: {mode: per-edge}"})
	components := table(t)
	var every []string
	for name := range components {
		every = append(every, name)
	}
	slices.Sort(every)
	for kind, also := range map[string][]string{
		"Deployment": nil, "Service": {"mysql"}, "ServiceAccount": {"mysql"}, "PodDisruptionBudget": {"mysql"},
		"HorizontalPodAutoscaler": {"-cloud-config", "-service-discovery", "-zipkin"},
	} {
		want := slices.Clone(every)
		for _, name := range also {
			if less, ok := strings.CutPrefix(name, "-"); ok {
				want = slices.DeleteFunc(want, func(n string) bool { return n == less })
				continue
			}
			want = append(want, name)
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, names(objects, kind)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
	for name, component := range components {
		deployment := named[appsv1.Deployment](t, objects, "Deployment", name)
		checkDeployment(t, deployment, component)
		service := named[corev1.Service](t, objects, "Service", name)
		if service.Spec.Type != corev1.ServiceTypeClusterIP || len(service.Spec.Ports) != 1 || int(service.Spec.Ports[0].Port) != component.Port {
			t.Errorf("Service/%s is %+v, want a ClusterIP with the port %d", name, service.Spec, component.Port)
		}
		pods := labels.Set(deployment.Spec.Template.Labels)
		for kind, selector := range map[string]labels.Selector{
			"Deployment": selects(t, deployment.Spec.Selector), "Service": labels.SelectorFromSet(service.Spec.Selector),
			"PodDisruptionBudget": selects(t, named[policyv1.PodDisruptionBudget](t, objects, "PodDisruptionBudget", name).Spec.Selector),
		} {
			for other := range components {
				its := labels.Set(named[appsv1.Deployment](t, objects, "Deployment", other).Spec.Template.Labels)
				if got, want := selector.Matches(its), other == name; got != want {
					t.Errorf("%s/%s selects pods of %s: %v, want %v", kind, name, other, got, want)
				}
			}
			if !selector.Matches(pods) {
				t.Errorf("%s/%s selects nothing", kind, name)
			}
		}
	}
}

func checkDeployment(t *testing.T, deployment appsv1.Deployment, component component) {
	t.Helper()
	name, pod := deployment.Name, deployment.Spec.Template.Spec
	container := pod.Containers[0]
	if diff := cmp.Diff([]string{"run", name, "--drain=35s"}, container.Args); diff != "" {
		t.Errorf("%s: arguments (-want +got):\n%s", name, diff)
	}
	if pod.ServiceAccountName != name {
		t.Errorf("%s runs as %s", name, pod.ServiceAccountName)
	}
	if grace := *pod.TerminationGracePeriodSeconds; grace != 35+30 {
		t.Errorf("%s has %d s to end, want its drain and the 25 s of open requests", name, grace)
	}
	for probe, path := range map[*corev1.Probe]string{container.StartupProbe: "/livez", container.LivenessProbe: "/livez", container.ReadinessProbe: "/readyz"} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != "http" {
			t.Errorf("%s: a probe is %+v, want %s", name, probe, path)
		}
	}
	if request, most := container.Resources.Requests.Memory(), resource.MustParse("32Mi"); request.Cmp(most) > 0 {
		t.Errorf("%s requests %v, want at most 32Mi", name, request)
	}
	limit, err := strconv.ParseInt(strings.TrimSuffix(environment(container)["GOMEMLIMIT"], "MiB"), 10, 64)
	if most := container.Resources.Limits.Memory().Value() >> 20; err != nil || limit != most*9/10 {
		t.Errorf("%s: GOMEMLIMIT is %d MiB (%v), want nine tenths of %d", name, limit, err, most)
	}
	if _, ok := environment(container)["SPRING_DATASOURCE_URL"]; ok != component.Database {
		t.Errorf("%s has a database: %v, want %v", name, ok, component.Database)
	}
	if spread := pod.TopologySpreadConstraints; len(spread) != 1 || spread[0].TopologyKey != "kubernetes.io/hostname" {
		t.Errorf("%s is spread by %+v", name, spread)
	}
	if !strings.HasPrefix(pod.PriorityClassName, namespace+"-") {
		t.Errorf("%s has the priority %q", name, pod.PriorityClassName)
	}
	if rolling := deployment.Spec.Strategy.RollingUpdate; rolling == nil || rolling.MaxUnavailable.IntValue() != 0 || rolling.MaxSurge.IntValue() != 1 {
		t.Errorf("%s rolls by %+v, want one more and none less", name, rolling)
	}
}

func environment(container corev1.Container) map[string]string {
	variables := map[string]string{}
	for _, variable := range container.Env {
		variables[variable.Name] = variable.Value
	}
	return variables
}

// TestRefusals: what cannot work together stops with a sentence, and what is misspelt or of the wrong kind with the
// schema's.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, values, want string }{
		{"a component less", "services: {zipkin: null}", "services has no zipkin, which every shop needs."},
		{"needs a stranger", "services: {user-service: {needs: [mailer]}}", "services.user-service.needs has mailer, which is no component."},
		{"max below min", "defaults: {replicas: {min: 3, max: 2}}", "max is 2 and min is 3"},
		{"demo in production", "shop: {profiles: [production], demo: true}", "Set shop.demo to false."},
		{"origin in production", "shop: {profiles: [production, origin]}", "Choose one."},
		{"entry without a name", "entry: {host: ''}", "entry.host is empty"},
		{"entry without a certificate", "entry: {tls: {secretName: ''}}", "there is no entry without encryption"},
		{"external without a host", "database: {mode: external, existingSecret: x}", "name the server"},
		{"external without passwords", "database: {mode: external, external: {host: db}}", "database.existingSecret is empty"},
		{"a look without an authority", "database: {mode: external, existingSecret: x, external: {host: db, sslMode: VERIFY_CA}}", "database.external.caSecret is empty"},
		{"an authority without a look", "database: {mode: external, existingSecret: x, external: {host: db, caSecret: x}}", "set it to VERIFY_IDENTITY"},
		{"snapshots of nothing", "database: {mode: percona, mysql: {snapshots: {enabled: true}}}", "there is no volume of ours"},
		{"percona without patience", "database: {mode: percona, patienceSeconds: 150}", "Leave it 0"},
		{"an even number of servers", "database: {mode: percona, percona: {size: 4}}", "percona/size"},
		{"deny without allow", "{baseline: {create: true}, networkPolicy: {mode: none}}", "choose per-edge or allow-same-namespace"},
		{"istio in linkerd's", "mesh: {enabled: true, kind: istio}", "set mesh.namespace"},
		{"a test without an entry", "{entry: {kind: none}, test: {address: 10.0.0.1}}", "there is no entry to go through"},
		{"backups without the bucket's keys", "backup: {bucket: 'https://host/b', recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]}", "backup.existingSecret is empty"},
		{"backups that nobody can open", "backup: {bucket: 'https://host/b', existingSecret: bucket}", "nobody could open the backups"},
		{"a private key among the public ones", "backup: {recipients: [AGE-SECRET-KEY-1X]}", "backup/recipients"},
		{"a bucket that is none", "backup: {bucket: 's3://b'}", "backup/bucket"},
		{"tests of no backups", "backup: {restoreTest: {identitySecret: x}}", "there is nothing to test"},
		{"shipping too seldom", "backup: {shipping: {everySeconds: 60}}", "everySeconds"},
		{"misspelt", "networkPolicies: {mode: none}", "additional properties 'networkPolicies' not allowed"},
		{"misspelt in a component", "services: {user-service: {replica: 2}}", "additional properties 'replica' not allowed"},
		{"unknown mode", "networkPolicy: {mode: both}", "networkPolicy/mode"},
		{"wrong kind", "shop: {demo: perhaps}", "shop/demo"},
		{"limit in megabytes", "defaults: {resources: {limits: {memory: 96M}}}", "limits/memory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := render(t, chartFolder, variant{values: test.values})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("render(%s) = %v, want an error with %q", test.values, err, test.want)
			}
		})
	}
}

// TestRefusalsOfARelease: an upgrade that would have pods wait for Secrets for ever, or take away those that they have, stops before it begins.
func TestRefusalsOfARelease(t *testing.T) {
	t.Parallel()
	first := installed(t, variant{})
	release := func(change func(*unstructured.Unstructured)) []*unstructured.Unstructured {
		var there []*unstructured.Unstructured
		for _, object := range first {
			if kind := object.GetKind(); kind == "Service" || kind == "StatefulSet" || kind == "ConfigMap" || kind == "Secret" && object.GetName() != "database-jobs" {
				object = object.DeepCopy()
				if strings.HasSuffix(object.GetName(), "-identity") || object.GetName() == "identities" || kind == "StatefulSet" {
					object.SetAnnotations(map[string]string{"meta.helm.sh/release-name": "shop"})
					change(object)
				}
				there = append(there, object)
			}
		}
		return there
	}
	asMade := release(func(*unstructured.Unstructured) {})
	kept := release(func(secret *unstructured.Unstructured) {
		secret.SetAnnotations(map[string]string{"meta.helm.sh/release-name": "shop", "helm.sh/resource-policy": "keep"})
	})
	others := release(func(secret *unstructured.Unstructured) { secret.SetAnnotations(nil) })
	without := func(there []*unstructured.Unstructured, name string) []*unstructured.Unstructured {
		return slices.DeleteFunc(slices.Clone(there), func(o *unstructured.Unstructured) bool { return o.GetName() == name })
	}
	halfKept := append(without(kept, "identities"), find(t, asMade, "ConfigMap", "identities"))
	for name, test := range map[string]struct {
		values string
		there  []*unstructured.Unstructured
		want   string
	}{
		"as it is":                       {"", asMade, ""},
		"a database's secret":            {"database: {existingSecret: mine}", asMade, "database.existingSecret is mine, and there is no such secret in the namespace"},
		"that is there":                  {"database: {existingSecret: database}", asMade, ""},
		"a provider's secret":            {"shop: {stripe: {existingSecret: stripe}}", asMade, "shop.stripe.existingSecret is stripe"},
		"keys that would go":             {"identity: {generate: false}", asMade, "helm.sh/resource-policy=keep"},
		"keys that stay":                 {"identity: {generate: false}", kept, ""},
		"keys of somebody else's":        {"identity: {generate: false}", others, ""},
		"keys that are not there":        {"identity: {generate: false}", without(kept, "order-service-identity"), "lacks secret/order-service-identity: make them first"},
		"public keys that would go":      {"identity: {generate: false}", halfKept, "annotate configmap/identities helm.sh/resource-policy=keep"},
		"public keys that are not there": {"identity: {generate: false}", without(others, "identities"), "lacks configmap/identities"},
		"another database":               {"database: {mode: external, existingSecret: database, external: {host: db.example.com}}", asMade, "Upgrade with database.replaces=mysql"},
		"that is meant":                  {"database: {mode: external, existingSecret: database, external: {host: db.example.com}, replaces: mysql}", asMade, ""},
		"another kind of servers":        {"database: {mode: percona, replaces: mysql}", asMade, "Install another release in a namespace of its own"},
		"beside somebody else's":         {"database: {mode: percona}", others, ""},
		"not installed yet":              {"{identity: {generate: false}, database: {existingSecret: mine}}", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := render(t, chartFolder, variant{values: test.values}, test.there...)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("render(%s) = %v, want an error with %q", test.values, err, test.want)
			}
		})
	}
}

// TestVariablesStandOnce: a variable that the chart sets is refused among those that somebody adds, whichever it is.
func TestVariablesStandOnce(t *testing.T) {
	t.Parallel()
	set := map[string]bool{}
	for _, v := range variants() {
		for _, deployment := range all[appsv1.Deployment](t, installed(t, v), "Deployment") {
			if deployment.Labels["app.kubernetes.io/component"] == "backup" {
				continue // nobody can add to it
			}
			seen := map[string]bool{}
			for _, variable := range deployment.Spec.Template.Spec.Containers[0].Env {
				if seen[variable.Name] {
					t.Errorf("%s: %s has %s twice", v.name, deployment.Name, variable.Name)
				}
				seen[variable.Name] = true
				set[variable.Name] = set[variable.Name] || variable.Name != "GODEBUG" // which a variant adds
			}
		}
	}
	for name, ours := range set {
		_, err := render(t, chartFolder, variant{values: "services: {user-service: {env: {" + name + ": x}}}"})
		if refused := err != nil && strings.Contains(err.Error(), name+" is among the env of user-service"); refused != ours {
			t.Errorf("env with %s is refused: %v, want %v (%v)", name, refused, ours, err)
		}
	}
}

// TestSecretsAreKept: passwords and keys that are there stay, and new components get theirs.
func TestSecretsAreKept(t *testing.T) {
	t.Parallel()
	first := installed(t, variant{})
	secrets := func(objects []*unstructured.Unstructured) map[string]map[string][]byte {
		found := map[string]map[string][]byte{}
		for _, secret := range all[corev1.Secret](t, objects, "Secret") {
			found[secret.Name] = secret.Data
		}
		return found
	}
	var there []*unstructured.Unstructured
	for _, object := range first {
		if object.GetKind() == "Secret" && object.GetName() != "database-jobs" {
			there = append(there, object)
		}
	}
	before := secrets(first)
	again := installed(t, variant{}, there...)
	if diff := cmp.Diff(before, secrets(again)); diff != "" {
		t.Errorf("an upgrade changes secrets (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(named[corev1.ConfigMap](t, first, "ConfigMap", "identities").Data, named[corev1.ConfigMap](t, again, "ConfigMap", "identities").Data); diff != "" {
		t.Errorf("an upgrade changes public keys (-before +after):\n%s", diff)
	}
	if other := secrets(installed(t, variant{}))["database"]; string(other["root-password"]) == string(before["database"]["root-password"]) {
		t.Error("two installations have the same password")
	}
	more := secrets(installed(t, variant{values: "services: {review-service: {port: 8950, context: /review-service, database: true}}"}, there...))
	for _, name := range []string{"database", "database-jobs"} {
		if len(more[name]["tienda_review"]) != 32 || string(more[name]["tienda_review"]) != string(more["database"]["tienda_review"]) {
			t.Errorf("the account of a new component has the password %q in %s", more[name]["tienda_review"], name)
		}
		if string(more[name]["tienda_order"]) != string(before["database"]["tienda_order"]) {
			t.Errorf("with a new component the password of order-service changes in %s", name)
		}
	}
	if len(more["review-service-identity"]["tls.key"]) == 0 {
		t.Error("a new component has no key")
	}
}

// TestNewKeysRollThePods: components read everybody's public key as they start, so a pod carries their checksum: the same after an upgrade that changes
// nothing, another with a component more or a key that is made anew. The infrastructure does not read them.
func TestNewKeysRollThePods(t *testing.T) {
	t.Parallel()
	checksums := func(objects []*unstructured.Unstructured) map[string]string {
		found := map[string]string{}
		for name := range table(t) {
			found[name] = named[appsv1.Deployment](t, objects, "Deployment", name).Spec.Template.Annotations["checksum/identities"]
		}
		return found
	}
	first := installed(t, variant{})
	var there []*unstructured.Unstructured
	for _, object := range first {
		if object.GetKind() == "Secret" && object.GetName() != "database-jobs" || object.GetName() == "identities" {
			there = append(there, object)
		}
	}
	before := checksums(first)
	if diff := cmp.Diff(before, checksums(installed(t, variant{}, there...))); diff != "" {
		t.Errorf("an upgrade rolls what it does not change (-before +after):\n%s", diff)
	}
	oneLess := slices.DeleteFunc(slices.Clone(there), func(o *unstructured.Unstructured) bool { return o.GetName() == "order-service-identity" })
	own := variant{values: "identity: {generate: false}"}
	changed := find(t, first, "ConfigMap", "identities").DeepCopy()
	if err := unstructured.SetNestedField(changed.Object, "another", "data", "TIENDA_IDENTITY_TRUSTED_ORDER_SERVICE"); err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]map[string]string{
		"a component of one's own":              {before, checksums(installed(t, variant{values: "services: {review-service: {port: 8950, context: /review-service}}"}, there...))},
		"a key that is made anew":               {before, checksums(installed(t, variant{}, oneLess...))},
		"another key in a ConfigMap of another": {checksums(installed(t, own, find(t, first, "ConfigMap", "identities"))), checksums(installed(t, own, changed))},
	} {
		for name, c := range table(t) {
			if rolls, want := pair[0][name] != pair[1][name], c.Tier != "infrastructure"; rolls != want {
				t.Errorf("%s rolls %s: %v, want %v", what, name, rolls, want)
			}
		}
	}
}

// TestSnapshots: the schedule is for the volume of the database, and for no other.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	objects := installed(t, variant{values: "database: {mysql: {snapshots: {enabled: true, className: fast}}}"})
	schedule := find(t, objects, "SnapshotSchedule", "mysql")
	wanted, _, _ := unstructured.NestedStringMap(schedule.Object, "spec", "claimSelector", "matchLabels")
	claim := named[appsv1.StatefulSet](t, objects, "StatefulSet", "mysql").Spec.VolumeClaimTemplates[0]
	if len(wanted) == 0 || !labels.SelectorFromSet(wanted).Matches(labels.Set(claim.Labels)) {
		t.Errorf("the schedule is for claims with %v, the database's has %v", wanted, claim.Labels)
	}
	if n, _, _ := unstructured.NestedFieldNoCopy(schedule.Object, "spec", "retention", "maxCount"); number(n) != "28" {
		t.Errorf("%v snapshots are kept, want 28", n)
	}
	if found := names(installed(t, variant{}), "SnapshotSchedule"); found != nil {
		t.Errorf("snapshots are taken by %v without being asked for", found)
	}
	before := named[appsv1.StatefulSet](t, installed(t, variant{}), "StatefulSet", "mysql").Spec.Template
	if diff := cmp.Diff(before, named[appsv1.StatefulSet](t, objects, "StatefulSet", "mysql").Spec.Template); diff != "" {
		t.Errorf("the database restarts for a schedule of snapshots (-before +after):\n%s", diff)
	}
}

// goldens are renderings that are compared with what they were: both environments of the architecture, and what backups add.
func goldens() map[string]variant {
	return map[string]variant{
		"stage": {files: []string{"values-stage.yaml"}}, "production": {files: []string{"values-production.yaml"}}, "backup": {values: backups},
	}
}

// TestGolden compares renderings with what they were, but for what is made anew each time.
func TestGolden(t *testing.T) {
	t.Parallel()
	for environment, v := range goldens() {
		t.Run(environment, func(t *testing.T) {
			t.Parallel()
			var text strings.Builder
			for _, object := range installed(t, v) {
				if environment == "backup" && object.GetLabels()["app.kubernetes.io/component"] != "backup" {
					continue
				}
				redact(object)
				document, err := sigsyaml.Marshal(object.Object)
				if err != nil {
					t.Fatal(err)
				}
				text.WriteString("---\n" + string(document))
			}
			path := filepath.Join("testdata", environment+".yaml")
			if *update {
				if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text.String()); diff != "" {
				t.Errorf("%s differs; if that is meant, run go test ./helm -update in deploy (-want +got):\n%s", path, diff)
			}
		})
	}
}

// redact replaces what is random.
func redact(object *unstructured.Unstructured) {
	keys := []string{"spec", "template", "metadata", "annotations", "checksum/identities"}
	if _, ok, _ := unstructured.NestedString(object.Object, keys...); ok {
		_ = unstructured.SetNestedField(object.Object, "made at the installation", keys...) // it was read from there
	}
	data, ok, _ := unstructured.NestedStringMap(object.Object, "data")
	if !ok || object.GetKind() != "Secret" && object.GetName() != "identities" && object.GetName() != "backup-owner" {
		return
	}
	for key := range data {
		data[key] = "made at the installation"
		if object.GetKind() == "Secret" {
			data[key] = base64.StdEncoding.EncodeToString([]byte(data[key]))
		}
	}
	_ = unstructured.SetNestedStringMap(object.Object, data, "data") // it was read from there
}

// TestLint asks Helm's own linter.
func TestLint(t *testing.T) {
	t.Parallel()
	for _, v := range variants() {
		values := map[string]any{}
		for _, file := range v.files {
			text, err := os.ReadFile(filepath.Join(chartFolder, file))
			if err != nil {
				t.Fatal(err)
			}
			values = merged(t, values, text)
		}
		result := lint.RunAll(chartFolder, merged(t, values, []byte(v.values)), namespace)
		for _, message := range result.Messages {
			if message.Severity > support.InfoSev {
				t.Errorf("%s: %v", v.name, message)
			}
		}
	}
}
