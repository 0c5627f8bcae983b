package shop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"tienda/test/cluster/clustertest"
)

// rollout is how long new pods may take to be in the place of the old ones.
const rollout = 3 * time.Minute

// previous is the chart of the last release, which "helm package" made.
const previous = "testdata/tienda-0.1.0.tgz"

// settings changes one, which has every component start anew and nobody else, and takes it back. With it come the kind of policies and the
// rights of the accounts, as they are enforced before and after.
func settings(t *testing.T, c clustertest.Cluster) {
	const changed = `"logging.level.root":"debug"`
	rights(t, c, false)
	before := identities(t, c)
	helm(t, c, "upgrade", chart, "--values=testdata/changed.yaml")
	c.Ready(t, namespace, rollout)
	after := identities(t, c)
	for name := range components(t) {
		if before[name] == after[name] {
			t.Errorf("%s was not started anew for a setting that changed", name)
		}
	}
	if before["mysql"] != after["mysql"] {
		t.Error("the database was started anew for a setting of the shop")
	}
	if text := served(t, c); !strings.Contains(text, changed) {
		t.Errorf("cloud-config serves %s, want it to have %s", text, changed)
	}
	rights(t, c, true)
	sameNamespace(t, c)
	if said := helm(t, c, "rollback", "1"); !strings.Contains(said, "Rollback was a success") {
		t.Errorf("helm rollback says %q", said)
	}
	c.Ready(t, namespace, rollout)
	rights(t, c, false)
	if text := served(t, c); strings.Contains(text, changed) {
		t.Errorf("after the rollback cloud-config serves %s, want it not to have %s", text, changed)
	}
}

// refusals are upgrades that would have pods wait for Secrets for ever, take away those that they have, or begin with an empty database. Keys stay when
// they are told to, as the refusal says.
func refusals(t *testing.T, c clustertest.Cluster) {
	before := identities(t, c)
	try := func(set string) string {
		text, err := clustertest.TryRun(t.Context(), "helm", "upgrade", release, chart, "--namespace="+namespace, "--reset-then-reuse-values", "--set="+set)
		if err == nil {
			return ""
		}
		return text + err.Error()
	}
	var advice string
	for _, refused := range []struct{ set, says string }{
		{"database.existingSecret=nobody-made-it", "database.existingSecret is nobody-made-it, and there is no such secret in the namespace " + namespace},
		{"database.mode=external,database.existingSecret=database,database.external.host=mysql.example.com,database.external.sslMode=REQUIRED", "the orders of this release are on the volume of its own MySQL"},
		{"identity.generate=false", "would take them away with this upgrade"},
	} {
		if advice = try(refused.set); !strings.Contains(advice, refused.says) {
			t.Errorf("an upgrade with %s says %q, want %q", refused.set, advice, refused.says)
		}
	}
	if diff := cmp.Diff(before, identities(t, c)); diff != "" {
		t.Errorf("what was refused changed pods (-before +after):\n%s", diff)
	}

	command := regexp.MustCompile(`kubectl --namespace .* helm\.sh/resource-policy=keep`).FindString(advice)
	if command == "" {
		t.Fatalf("there is no command in %q", advice)
	}
	words := strings.Fields(command)
	clustertest.Run(t, words[0], words[1:]...)
	if said := try("identity.generate=false"); said != "" {
		t.Fatalf("an upgrade to keys that are kept is refused: %s", said)
	}
	c.Ready(t, namespace, rollout)
	buy(t)
}

// identities are the pods of now, one of each component, since all have one.
func identities(t *testing.T, c clustertest.Cluster) map[string]types.UID {
	t.Helper()
	found := map[string]types.UID{}
	for _, pod := range c.Pods(t, namespace, "app.kubernetes.io/part-of=tienda") {
		found[pod.Labels["app.kubernetes.io/name"]] = pod.UID
	}
	return found
}

// served is what cloud-config tells a component.
func served(t *testing.T, c clustertest.Cluster) string {
	t.Helper()
	text, err := clustertest.Get(t.Context(), c.Forward(t, namespace, "cloud-config", 9296)+"/order-service/stage", "")
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return compact.String()
}

// keeps takes the release away and begins again with the chart of the last release, upgrades that to this one and goes
// back: every order is there after each step, and another one can be made.
func keeps(t *testing.T, c clustertest.Cluster) {
	sold := orders(t, c)
	said := helm(t, c, "uninstall")
	for _, kept := range []string{"[Secret] database", "[ConfigMap] data-mysql-0-is-kept"} {
		if !strings.Contains(said, kept) {
			t.Errorf("helm uninstall says %q, want it to name what it keeps: %s", said, kept)
		}
	}
	c.Kill(t, namespace, "app.kubernetes.io/component in (edge, business, infrastructure)") // they would drain for half a minute
	clustertest.Eventually(t, "all pods are gone", rollout, func(context.Context) error {
		for _, pod := range c.Pods(t, namespace, "app.kubernetes.io/component!=test") { // the customer's, which has ended, stays to be looked at
			return fmt.Errorf("%s is left", pod.Name)
		}
		return nil
	})
	if _, err := c.CoreV1().PersistentVolumeClaims(namespace).Get(t.Context(), "data-mysql-0", metav1.GetOptions{}); err != nil {
		t.Fatalf("the volume after helm uninstall: %v", err)
	}

	folder := t.TempDir()
	clustertest.Run(t, "tar", "--extract", "--gzip", "--file="+previous, "--directory="+folder)
	for _, step := range []struct {
		name string
		run  func()
	}{
		{"the last release is installed", func() { helm(t, c, "install", folder+"/tienda") }},
		{"it is upgraded to this one", func() {
			if said := helm(t, c, "upgrade", chart); !strings.Contains(said, `"helm uninstall" keeps both`) {
				t.Errorf("helm upgrade says %q, want it to say what is kept", said)
			}
		}},
		{"the upgrade is taken back", func() { helm(t, c, "rollback", "1") }},
	} {
		begun := time.Now()
		step.run()
		c.Ready(t, namespace, rollout)
		now := orders(t, c)
		for id, order := range sold {
			if now[id] != order {
				t.Errorf("%s: order %d is %q, was %q", step.name, id, now[id], order)
			}
		}
		buy(t)
		sold = orders(t, c)
		if len(sold) <= len(now) {
			t.Errorf("%s: there are %d orders, want more than %d", step.name, len(sold), len(now))
		}
		t.Logf("%s: %d orders after %.1f s", step.name, len(sold), time.Since(begun).Seconds())
	}
}

// orders are what the shop has sold, as its administrator sees it.
func orders(t *testing.T, c clustertest.Cluster) map[int]string {
	t.Helper()
	gateway := c.Forward(t, namespace, "api-gateway", 8080)
	var list struct {
		Collection []struct {
			ID    int         `json:"orderId"`
			Date  string      `json:"orderDate"`
			Total json.Number `json:"orderFee"`
		} `json:"collection"`
	}
	clustertest.Eventually(t, "the orders are told", time.Minute, func(ctx context.Context) error {
		token, err := logIn(ctx, gateway, "admin", "0000") // whom demo data has
		if err != nil {
			return err
		}
		text, err := clustertest.Get(ctx, gateway+"/order-service/api/orders", token)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &list)
	})
	found := map[int]string{}
	for _, order := range list.Collection {
		found[order.ID] = order.Date + " " + order.Total.String()
	}
	if len(found) == 0 {
		t.Fatal("there are no orders")
	}
	return found
}

// logIn is a token of somebody.
func logIn(ctx context.Context, gateway, name, password string) (string, error) {
	text, err := clustertest.Post(ctx, gateway+"/app/api/authenticate", fmt.Sprintf(`{"username":%q,"password":%q}`, name, password))
	if err != nil {
		return "", err
	}
	var answer struct {
		Token string `json:"jwtToken"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return "", err
	}
	if answer.Token == "" {
		return "", errors.New("there is no token in the answer to the log-in")
	}
	return answer.Token, nil
}
