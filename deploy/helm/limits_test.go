package helm_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	sigsyaml "sigs.k8s.io/yaml"
)

// limits are the requests and limits of memory of containers, in MiB, by the names that docs/operations.md has for them.
type limits map[string][2][]int64

func (l limits) add(name string, r corev1.ResourceRequirements) {
	of := l[name]
	for i, list := range []corev1.ResourceList{r.Requests, r.Limits} {
		of[i] = append(of[i], list.Memory().Value()>>20)
		slices.Sort(of[i])
		of[i] = slices.Compact(of[i])
	}
	l[name] = of
}

// TestDocumentedLimits: what the chart limits besides the components, which TestDocumentedMemory beside services.go looks at, production's components
// and what comes before the chart stand in docs/operations.md with the limit that they have, however the chart is installed. Each was measured
// and took less, or is said not to have been measured, and what there is room for.
func TestDocumentedLimits(t *testing.T) {
	t.Parallel()
	want := limits{}
	for _, v := range variants() {
		for _, object := range installed(t, v) {
			if object.GetKind() == "PerconaServerMySQL" {
				want.add(title(object), requirements(t, object, "mysql"))
				want.add("haproxy", requirements(t, object, "proxy", "haproxy"))
			}
			pod, _ := podOf(t, object)
			component := object.GetKind() == "Deployment" && pod.Labels["app.kubernetes.io/component"] != "backup"
			for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
				switch {
				case component && v.name == "production":
					want.add("components in production", c.Resources)
				case c.Name == "program":
					want.add("program", c.Resources)
				case !component:
					want.add(title(object), c.Resources)
				}
			}
		}
	}
	type requests struct{ Resources corev1.ResourceRequirements }
	manager := prerequisite[struct {
		requests
		Webhook, Cainjector, Startupapicheck requests
	}](t, "cert-manager")
	want.add("cert-manager", manager.Resources)
	want.add("cert-manager webhook", manager.Webhook.Resources)
	want.add("cert-manager cainjector", manager.Cainjector.Resources)
	want.add("cert-manager startupapicheck", manager.Startupapicheck.Resources)
	want.add("metrics-server", prerequisite[requests](t, "metrics-server").Resources)
	for _, entry := range []string{"nginx-ingress", "ingress-nginx"} {
		want.add(entry, prerequisite[controller](t, entry).Controller.Resources)
	}

	got, measured := limits{}, map[string]string{}
	for _, row := range documented(t) {
		if len(row) != 5 {
			t.Fatalf("docs/operations.md: the row %q has %d cells, want 5", row, len(row))
		}
		numbers := [2][]int64{integers(t, row[2]), integers(t, row[3])}
		for _, name := range containers(row[0]) {
			got[name], measured[name] = numbers, row[1]
		}
		if row[1] == "not measured" {
			if !strings.Contains(row[4], "room for ") {
				t.Errorf("docs/operations.md: %s was not measured, and nothing says what there is room for", row[0])
			}
		} else if peak, err := strconv.ParseInt(row[1], 10, 64); err != nil || peak >= numbers[1][0] {
			t.Errorf("docs/operations.md: %s took %s of %d MiB: the chart should allow it more", row[0], row[1], numbers[1])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("limits of memory that docs/operations.md has (-chart +document):\n%s", diff)
	}
	for document, said := range map[string]string{
		"docs/recovery.md": fmt.Sprintf("| %s, %s and %s MiB, the last behind a transaction of 250 MB; %s MiB |",
			measured["CronJob/backup"], measured["CronJob/restore"], measured["Deployment/backup-ship"], measured["CronJob/backup-restore-test"]),
		"docs/operations.md": fmt.Sprintf("resident at rest and %s buying, of %d requested and %d allowed;",
			measured["StatefulSet/mysql"], got["StatefulSet/mysql"][0][0], got["StatefulSet/mysql"][1][0]),
	} {
		text, err := os.ReadFile("../../" + document)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), said) {
			t.Errorf("%s and the table of limits in docs/operations.md differ; by the table it should say: %s", document, said)
		}
	}
}

// requirements are those of pods that an operator makes, somewhere below an object's spec.
func requirements(t *testing.T, object *unstructured.Unstructured, path ...string) corev1.ResourceRequirements {
	t.Helper()
	found, _, err := unstructured.NestedMap(object.Object, slices.Concat([]string{"spec"}, path, []string{"resources"})...)
	if err != nil {
		t.Fatal(err)
	}
	text, err := sigsyaml.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	var resources corev1.ResourceRequirements
	if err := sigsyaml.UnmarshalStrict(text, &resources); err != nil {
		t.Fatal(err)
	}
	return resources
}

// documented are the rows of the table of limits in docs/operations.md.
func documented(t *testing.T) [][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "| container | measured | requested | limit | where the limit comes from |\n|---|---|---|---|---|\n")
	body, _, found := strings.Cut(rest, "\n\n")
	if !found {
		t.Fatal("docs/operations.md has no table of limits")
	}
	var rows [][]string
	for line := range strings.Lines(body) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	return rows
}

// containers are the names in the first cell of a row: those that stand as code, or all of it.
func containers(cell string) []string {
	found := map[string]bool{}
	for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		found[code[1]] = true
	}
	if len(found) == 0 {
		return []string{cell}
	}
	return slices.Sorted(maps.Keys(found))
}

// integers are the numbers of a cell: one, or some with "or" between them.
func integers(t *testing.T, cell string) []int64 {
	t.Helper()
	var found []int64
	for text := range strings.SplitSeq(cell, " or ") {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatalf("docs/operations.md: %q is no number of MiB: %v", cell, err)
		}
		found = append(found, n)
	}
	return found
}
