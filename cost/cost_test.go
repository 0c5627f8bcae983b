package cost

import (
	"bytes"
	"flag"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func lists(t *testing.T) (*List, map[string]Environment) {
	t.Helper()
	list, err := Prices()
	if err != nil {
		t.Fatal(err)
	}
	all, err := Environments()
	if err != nil {
		t.Fatal(err)
	}
	return list, all
}

// TestArchitecture: the architecture's items cost what they cost, whatever its document says.
func TestArchitecture(t *testing.T) {
	t.Parallel()
	list, all := lists(t)
	if diff := cmp.Diff([]string{"production", "stage"}, slices.Sorted(maps.Keys(all))); diff != "" {
		t.Fatalf("environments (-want +got):\n%s", diff)
	}
	for name, want := range map[string]Sum{"stage": {7100, 5300, 10700}, "production": {20100, 20100, 53700}} {
		got, err := list.Sum(all[name].Items(false))
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
		var page bytes.Buffer
		if err := list.Environment(&page, name, all[name]); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".golden", page.String())
	}
	for name, want := range map[string]string{"stage": "12.00 instead of s-2vcpu-2gb at 18.00", "production": "add up to that"} {
		if got, err := list.Explain(all[name]); err != nil || !strings.Contains(got, want) {
			t.Errorf("explanation of %s: %q, %v; want %q in it", name, got, err, want)
		}
	}
	var page bytes.Buffer
	if err := list.Together(&page, all); err != nil || !strings.Contains(page.String(), "267.00; paid once for an account: Spaces.") || !strings.Contains(page.String(), "345.00; paid once for an account: Spaces, registry of the images.") {
		t.Errorf("both together: %v\n%s", err, page.String())
	}
}

// TestStale: a list that is half a year old is said to be, and a newer one is not.
func TestStale(t *testing.T) {
	t.Parallel()
	list := &List{Date: "2026-11-23"}
	for day, stale := range map[string]bool{"2026-11-22": false, "2026-11-24": false, "2027-05-21": false, "2027-05-22": true, "2030-01-01": true} {
		now, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		if got := list.Stale(now); (got != "") != stale || stale && !strings.Contains(got, "of 2026-11-23") {
			t.Errorf("Stale(%s) = %q, want one: %v", day, got, stale)
		}
	}
}

// TestPlans: a plan of the cluster and one of what is in it are one bill, with what its values make DigitalOcean make.
func TestPlans(t *testing.T) {
	t.Parallel()
	list, _ := lists(t)
	read := func(texts ...string) (Bill, error) {
		readers := make([]io.Reader, len(texts))
		for i, text := range texts {
			readers[i] = strings.NewReader(text)
		}
		return list.ReadPlans("a plan", readers...)
	}
	planOf := func(resources string) string {
		return `{"format_version":"1.2","planned_values":{"root_module":{"child_modules":[{"resources":[` + resources + `]}]}}}`
	}
	const pool = `"node_pool":[{"name":"workers","size":"s-2vcpu-2gb","node_count":3,"auto_scale":true,"min_nodes":2,"max_nodes":5}]`
	clusterOf := func(values string) string {
		return planOf(`{"address":"module.cluster.digitalocean_kubernetes_cluster.main","mode":"managed","type":"digitalocean_kubernetes_cluster","values":{` + values + `,` + pool + `}}`)
	}
	inside := planOf(`{"address":"helm_release.entry","mode":"managed","type":"helm_release","values":{"values":["controller:\n  service:\n    type: LoadBalancer\n    annotations:\n      service.beta.kubernetes.io/do-loadbalancer-size-unit: \"1\"\n","controller: {service: {annotations: {service.beta.kubernetes.io/do-loadbalancer-size-unit: \"2\"}}}"]}},
		{"address":"helm_release.shop","mode":"managed","type":"helm_release","values":{"values":["database:\n  mode: mysql\n  mysql: {storage: {size: 20Gi}}\n"]}},
		{"address":"digitalocean_database_cluster.main","mode":"managed","type":"digitalocean_database_cluster","values":{"engine":"mysql","size":"db-s-1vcpu-2gb","node_count":2}},
		{"address":"digitalocean_volume.more","mode":"managed","type":"digitalocean_volume","values":{"size":50}},
		{"address":"digitalocean_monitor_alert.cpu","mode":"managed","type":"digitalocean_monitor_alert","values":{}},
		{"address":"digitalocean_app.other","mode":"managed","type":"digitalocean_app","values":{}}`)
	bill, err := read(clusterOf(`"version":"1.35.6-do.0","ha":false`), inside)
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := list.Sum(bill.Items); err != nil || sum != (Sum{5400 + 2400 + 200 + 6000 + 500, 3600 + 9100, 9000 + 9100}) {
		t.Errorf("sum %v, %v of %+v", sum, err, bill.Items)
	}
	if all := strings.Join(bill.Warnings, "\n"); !strings.Contains(all, "digitalocean_app") || !strings.Contains(all, "Spaces is not in these plans") {
		t.Errorf("warnings: %s", all)
	}
	var page bytes.Buffer
	if err := list.Write(&page, bill); err != nil {
		t.Fatal(err)
	}
	golden(t, "plan.golden", page.String())

	for _, test := range []struct {
		name, plan, warning, err string
		want                     Cents
	}{
		{"ha by default", clusterOf(`"version":"1.36.1-do.0"`), "cannot be turned off again", "", 9400},
		{"no ha before 1.36", clusterOf(`"version":"1.35.6-do.0"`), "Spaces", "", 5400},
		{"a registry", clusterOf(`"version":"1.35.6-do.0","registry_integration":true`), "registry that the cluster pulls from is not in these plans: of the tier basic, as docs/terraform.md makes it, it costs 5.00", "", 5400},
		{"ha that depends", clusterOf(`"version":null`), "", "set ha", 0},
		{"no plan", `{"values":{}}`, "", "terraform show -json", 0},
		{"unknown size", strings.Replace(clusterOf(`"version":"1.35.6-do.0"`), "s-2vcpu-2gb", "c-60", 1), "", "add the price", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bill, err := read(test.plan)
			var sum Sum
			if err == nil {
				sum, err = list.Sum(bill.Items)
			}
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want one with %q", err, test.err)
				}
			} else if err != nil || sum.Now != test.want || !strings.Contains(strings.Join(bill.Warnings, "\n"), test.warning) {
				t.Errorf("%v, %v, %v; want %v and a warning of %q", sum.Now, err, bill.Warnings, test.want, test.warning)
			}
		})
	}
}
