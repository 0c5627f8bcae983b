package shop_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"tienda/test/cluster/clustertest"
)

// component is an entry of the chart's table.
type component struct {
	Port     int      `json:"port"`
	Tier     string   `json:"tier"`
	Needs    []string `json:"needs"`
	Database bool     `json:"database"`
}

// components is the chart's table, which a test of the chart compares with the program's.
func components(t *testing.T) map[string]component {
	t.Helper()
	text, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values struct {
		Services map[string]component `json:"services"`
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	return values.Services
}

// calls reports whether the call graph has a call: those that are needed, what everybody asks of the registry and the
// configuration, and traces of those whose requests are traced.
func calls(table map[string]component, from, to string) bool {
	switch to {
	case "service-discovery", "cloud-config":
		return true
	case "zipkin":
		return table[from].Tier != "infrastructure"
	default:
		return slices.Contains(table[from].Needs, to)
	}
}

// policies has every component try every other, the database and the API server, and pods of other namespaces try all of
// them: the call graph is what gets through, and nothing else is.
func policies(t *testing.T, c clustertest.Cluster) {
	table := components(t)
	// An engine that is only coming up lets everything through.
	gateway := c.Pods(t, namespace, "app.kubernetes.io/name=api-gateway")[:1]
	clustertest.Eventually(t, "a policy is enforced", time.Minute, func(context.Context) error {
		if got := c.Probes(t, gateway, []string{database}); got[gateway[0].Name][database] != clustertest.Silent {
			return fmt.Errorf("api-gateway reaches the database: %v", got)
		}
		return nil
	})
	enforced(t, c, table, func(from, to string) bool {
		if to == "mysql" {
			return table[from].Database
		}
		return from != "mysql" && calls(table, from, to)
	})
}

// sameNamespace is policies for those who let everybody in the namespace talk to everybody, as the architecture has it.
func sameNamespace(t *testing.T, c clustertest.Cluster) {
	t.Helper()
	enforced(t, c, components(t), func(string, string) bool { return true })
}

// Whom probes ask besides components.
const (
	database = "mysql." + namespace + ":3306"
	api      = "kubernetes.default:443"
)

// enforced holds what gets through to what may, from a component or the database to another. What of other namespaces comes in is the same
// in any case.
func enforced(t *testing.T, c clustertest.Cluster, table map[string]component, may func(from, to string) bool) {
	t.Helper()
	pods := map[string]corev1.Pod{"mysql": c.Pods(t, namespace, "app.kubernetes.io/name=mysql")[0]}
	targets := []string{database, api}
	for name, its := range table {
		pods[name] = c.Pods(t, namespace, "app.kubernetes.io/name="+name)[0]
		targets = append(targets, fmt.Sprintf("%s.%s:%d", name, namespace, its.Port))
	}
	strangers := map[string]corev1.Pod{}
	for _, where := range []string{clustertest.EntryNamespace, monitoring, "default"} {
		strangers[where] = c.Start(t, where, clustertest.Restricted("stranger-in-"+where, clustertest.Image(t, "probe")))
	}
	seen := c.Probes(t, append(slices.Collect(maps.Values(pods)), slices.Collect(maps.Values(strangers))...), targets)

	answered, silent := 0, 0
	expect := func(who string, pod corev1.Pod, target string, want bool) {
		got := seen[pod.Name][target]
		if want && got != clustertest.Answered {
			t.Errorf("%s asks %s: %s, and it may", who, target, got)
		}
		if !want && got != clustertest.Silent {
			t.Errorf("%s asks %s: %s, and nothing may get through", who, target, got)
		}
		if want {
			answered++
		} else {
			silent++
		}
	}
	for from, pod := range pods {
		for to, its := range table {
			if from != to { // what a pod tells itself is no traffic
				expect(from, pod, fmt.Sprintf("%s.%s:%d", to, namespace, its.Port), may(from, to))
			}
		}
		if from != "mysql" {
			expect(from, pod, database, may(from, "mysql"))
		}
		expect(from, pod, api, false)
	}
	for where, pod := range strangers {
		for to, its := range table {
			expect("a pod in "+where, pod, fmt.Sprintf("%s.%s:%d", to, namespace, its.Port), where == monitoring || where == clustertest.EntryNamespace && its.Tier == "edge")
		}
		expect("a pod in "+where, pod, database, false)
		expect("a pod in "+where, pod, api, true) // so that it is there to be reached
	}
	t.Logf("%d pairs got through, %d others got no answer", answered, silent)
}
