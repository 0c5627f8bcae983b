package helm_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/strvals"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// TestRecoveryNamesWhatIsThere holds the commands of docs/recovery.md to the chart: each block is a script, each object, label and key of a Secret that
// it names is one of the chart's, and each value that it sets is one that the chart takes. What the commands do is seen on a cluster.
func TestRecoveryNamesWhatIsThere(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/recovery.md")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := render(t, "tienda", variant{files: []string{"values-stage.yaml"}, values: strings.Replace(backups, "existingSecret: bucket", "existingSecret: backup", 1)})
	if err != nil {
		t.Fatal(err)
	}
	all, err := yaml.Marshal(objects)
	if err != nil {
		t.Fatal(err)
	}
	d := document{t: t, objects: objects, text: string(all), made: map[string]bool{}}
	for _, block := range regexp.MustCompile("(?ms)^```\\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		if strings.HasPrefix(block[1], "GRANT ") {
			continue // is for a server
		}
		check := exec.CommandContext(t.Context(), "bash", "-n")
		check.Stdin = strings.NewReader(block[1])
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("no script: %v %s\n%s", err, out, block[1])
		}
		for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", " ")) {
			for _, command := range regexp.MustCompile(`(?:kubectl|helm) [^|;()#]*(?:\([a-z,]+\)[^|;()#]*)?`).FindAllString(line, -1) {
				d.command(command)
			}
		}
	}
	if d.kubectl < 20 || d.helm < 4 {
		t.Errorf("%d commands of kubectl and %d of helm were found; is it not too few?", d.kubectl, d.helm)
	}
}

// document is what is known while its commands are gone through.
type document struct {
	t             *testing.T
	objects       []*unstructured.Unstructured
	text          string          // of all of them
	made          map[string]bool // by the commands
	kubectl, helm int
}

func (d *document) command(command string) {
	d.t.Helper()
	if strings.HasPrefix(command, "helm upgrade ") {
		d.helm++
		d.values(command)
		return
	}
	if !strings.HasPrefix(command, "kubectl --namespace ecommerce-") {
		return
	}
	d.kubectl++
	if match := regexp.MustCompile(`create job (\S+) --from=`).FindStringSubmatch(command); match != nil {
		d.made["job/"+match[1]] = true
	}
	for _, match := range regexp.MustCompile(`[ =](deployment|statefulset|cronjob|job|pvc)/([a-z0-9-]+)`).FindAllStringSubmatch(command, -1) {
		if !d.there(match[1], match[2]) {
			d.t.Errorf("there is no %s %s: %s", match[1], match[2], command)
		}
	}
	if match := regexp.MustCompile(`--selector '([^']+)'`).FindStringSubmatch(command); match != nil {
		selector, err := labels.Parse(match[1])
		if err != nil {
			d.t.Errorf("%s: %v", command, err)
		} else if !slices.ContainsFunc(d.objects, func(o *unstructured.Unstructured) bool {
			// Those of its pods are looked for by the same words.
			return o.GetKind() == "Deployment" && selector.Matches(labels.Set(o.GetLabels())) && selector.Matches(labels.Set(as[appsv1.Deployment](d.t, o).Spec.Template.Labels))
		}) {
			d.t.Errorf("no deployment has pods with the labels of %s", command)
		}
	}
	if match := regexp.MustCompile(`create secret generic (\S+)(.*)`).FindStringSubmatch(command); match != nil {
		for _, key := range regexp.MustCompile(`--from-(?:literal|file)=([a-z-]+)=`).FindAllStringSubmatch(match[2], -1) {
			if !d.read(match[1], key[1]) {
				d.t.Errorf("nobody reads the key %s of the Secret %s: %s", key[1], match[1], command)
			}
		}
	}
	if match := regexp.MustCompile(`get secret (\S+) .*\{\.data\.([a-z-]+)\}`).FindStringSubmatch(command); match != nil && !d.read(match[1], match[2]) {
		d.t.Errorf("there is no key %s of the Secret %s: %s", match[2], match[1], command)
	}
}

// there is whether an object is of the chart, of one of its sets, or of an earlier command.
func (d *document) there(kind, name string) bool {
	kinds := map[string]string{"deployment": "Deployment", "statefulset": "StatefulSet", "cronjob": "CronJob"}
	if kind == "pvc" {
		return slices.ContainsFunc(named[appsv1.StatefulSet](d.t, d.objects, "StatefulSet", "mysql").Spec.VolumeClaimTemplates, func(claim corev1.PersistentVolumeClaim) bool { return claim.Name+"-mysql-0" == name })
	}
	return d.made[kind+"/"+name] || slices.Contains(names(d.objects, kinds[kind]), name)
}

// read is whether a pod of the chart reads a key of a Secret: by itself, or with all others as files, of which something says the name.
func (d *document) read(secret, key string) bool {
	var found bool
	var look func(any)
	look = func(value any) {
		switch value := value.(type) {
		case map[string]any:
			if value["name"] == secret && value["key"] == key {
				found = true
			}
			if value["secretName"] == secret {
				items, some := value["items"].([]any)
				found = found || !some && strings.Contains(d.text, key) || slices.ContainsFunc(items, func(item any) bool { fields, ok := item.(map[string]any); return ok && fields["key"] == key })
			}
			for _, below := range value {
				look(below)
			}
		case []any:
			for _, below := range value {
				look(below)
			}
		}
	}
	for _, object := range d.objects {
		look(object.Object)
	}
	return found
}

// values renders the chart with what a command sets, which the chart must know and take.
func (d *document) values(command string) {
	d.t.Helper()
	known := map[string]any{}
	text, err := os.ReadFile(filepath.Join("tienda", "values.yaml"))
	if err != nil {
		d.t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &known); err != nil {
		d.t.Fatal(err)
	}
	given := map[string]any{}
	for _, set := range regexp.MustCompile(`--set (?:'([^']+)'|(\S+))`).FindAllStringSubmatch(command, -1) {
		assigned := strings.ReplaceAll(set[1]+set[2], "age1…", "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p")
		if err := strvals.ParseInto(assigned, given); err != nil {
			d.t.Errorf("%s: %v", command, err)
		}
		path, _, _ := strings.Cut(assigned, "=")
		var at any = known
		for part := range strings.SplitSeq(path, ".") {
			below, _ := at.(map[string]any)
			value, ok := below[part]
			if !ok {
				d.t.Errorf("the chart has no value %s: %s", path, command)
			}
			at = value
		}
	}
	set, err := yaml.Marshal(given)
	if err != nil {
		d.t.Fatal(err)
	}
	over := merged(d.t, merged(d.t, map[string]any{}, []byte(backups)), set)
	all, err := yaml.Marshal(over)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := render(d.t, "tienda", variant{files: []string{"values-stage.yaml"}, values: string(all)}); err != nil {
		d.t.Errorf("%s: %v", command, err)
	}
}
