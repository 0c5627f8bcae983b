// Package shop_test installs the chart on a real cluster, buys there, and takes it through its life: policies as they are
// enforced, an upgrade, a rollback, and a new beginning on the data that was kept.
package shop_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tienda/test/cluster/clustertest"
)

const (
	chart      = "../../../deploy/helm/tienda"
	release    = "shop"
	namespace  = "ecommerce-stage"
	monitoring = "monitoring"
)

// TestShop is the life of one release; each part goes on where the one before it ended.
func TestShop(t *testing.T) {
	c := clustertest.Open(t)
	c.DeleteNamespace(t, namespace)
	c.DeleteNamespace(t, monitoring)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		if text, err := clustertest.TryRun(ctx, "helm", "uninstall", release, "--namespace="+namespace, "--ignore-not-found"); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	})
	c.Explain(t, namespace)
	for _, part := range []struct {
		name string
		run  func(*testing.T, clustertest.Cluster)
	}{
		{"install and buy", install},
		{"pods are restricted", podSecurity},
		{"somebody becomes the administrator", administrator},
		{"every values file is taken", admitted},
		{"policies are the call graph", policies},
		{"a setting changes", settings},
		{"what cannot work is refused", refusals},
		{"data is kept", keeps},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, c) }) {
			return
		}
	}
}

// install goes from nothing to a shop that sells, which the architecture wants in less than three minutes.
func install(t *testing.T, c clustertest.Cluster) {
	const limit = 3 * time.Minute
	c.Certificates(t) // and the entry: what comes before, and has been there for long
	begun := time.Now()
	said := helm(t, c, "install", chart)
	if !strings.Contains(said, `"helm uninstall" keeps both`) {
		t.Errorf("helm install says %q, want it to say what an uninstallation keeps", said)
	}
	installed := time.Since(begun)
	c.Ready(t, namespace, limit)
	ready := time.Since(begun)
	buy(t)
	sold := time.Since(begun)
	t.Logf("Helm was done after %.1f s, every pod was ready after %.1f s, and an order was paid after %.1f s",
		installed.Seconds(), ready.Seconds(), sold.Seconds())
	if sold > limit {
		t.Errorf("from nothing to a checkout it took %s, want less than %s", sold, limit)
	}
	for _, pod := range c.Pods(t, namespace, "app.kubernetes.io/component!=test") {
		if s := pod.Status.ContainerStatuses[0]; s.RestartCount > 0 {
			t.Errorf("%s was started %d times more, after %v", pod.Name, s.RestartCount, s.LastTerminationState.Terminated)
		}
	}
}

// administrator has a customer made the administrator as docs/operations.md tells it.
func administrator(t *testing.T, c clustertest.Cluster) {
	gateway := c.Forward(t, namespace, "api-gateway", 8080)
	const name, password = "ada", "a-long-password-17"
	body := fmt.Sprintf(`{"firstName":"Ada","lastName":"L","email":"ada@example.com","credential":{"username":%q,"password":%q}}`, name, password)
	if _, err := clustertest.Post(t.Context(), gateway+"/app/api/users", body); err != nil {
		t.Fatal(err)
	}
	ledger := func() error {
		token, err := logIn(t.Context(), gateway, name, password)
		if err == nil {
			_, err = clustertest.Get(t.Context(), gateway+"/payment-service/api/ledger", token)
		}
		return err
	}
	if err := ledger(); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a customer asks for the ledger: %v, want a 403", err)
	}
	said := clustertest.Run(t, "kubectl", "--namespace="+namespace, "exec", "deploy/user-service", "--", "/tienda", "administrator", name)
	if !strings.Contains(said, "ada is an administrator") {
		t.Errorf("tienda administrator says %q", said)
	}
	if err := ledger(); err != nil {
		t.Errorf("the administrator asks for the ledger: %v", err)
	}
}

// helm runs a command of Helm for the release, and is what it says. Where a chart is told, it gets the values of stage on a
// cluster of tests.
func helm(t *testing.T, c clustertest.Cluster, command string, args ...string) string {
	t.Helper()
	arguments := append([]string{command, release, "--namespace=" + namespace}, args...)
	if command == "install" || command == "upgrade" {
		arguments = append(arguments, "--values="+args[0]+"/values-stage.yaml", "--values=testdata/values.yaml", "--set=test.address="+c.Entry(t).Inside)
		for value, image := range map[string]string{"image": "tienda", "database.image": "mariadb"} {
			repository, tag := clustertest.SplitImage(clustertest.Image(t, image))
			arguments = append(arguments, "--set="+value+".repository="+repository, "--set-string="+value+".tag="+tag)
		}
	}
	if command == "install" {
		arguments = append(arguments, "--create-namespace", "--take-ownership") // of that namespace
	}
	return clustertest.Run(t, "helm", arguments...)
}

// buy has a customer register, look around and buy three times through the entry, and proves what became of the orders.
func buy(t *testing.T) {
	t.Helper()
	if said := clustertest.Run(t, "helm", "test", release, "--namespace="+namespace, "--logs", "--timeout=2m"); !strings.Contains(said, "everything holds") {
		t.Errorf("helm test says\n%s", said)
	}
}
