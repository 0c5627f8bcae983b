// Package shop_test installs the chart on a real cluster, buys there, and takes it through its life: policies as they are
// enforced, an upgrade, a rollback, and a new beginning on the data that was kept.
package shop_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tienda/test/cluster/clustertest"
)

const (
	chart     = "../../../deploy/helm/tienda"
	release   = "shop"
	namespace = "ecommerce-stage"
	// Names of this release alone, beside others in the same cluster.
	entry      = "stage-entry" // where the pods of the way in are
	monitoring = "stage-monitoring"
	host       = "stage.test"
)

// TestShop is the life of one release; each part goes on where the one before it ended.
func TestShop(t *testing.T) {
	c := clustertest.Open(t)
	for _, name := range []string{namespace, entry, monitoring} {
		c.DeleteNamespace(t, name)
	}
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
		{"policies are the call graph", policies},
		{"a setting changes", settings},
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
	certificate(t, c)
	begun := time.Now()
	helm(t, "install", chart)
	installed := time.Since(begun)
	c.Ready(t, namespace, limit)
	ready := time.Since(begun)
	open(t, c)
	buy(t, c, 1)
	sold := time.Since(begun)
	t.Logf("Helm was done after %.1f s, every pod was ready after %.1f s, and an order was paid after %.1f s",
		installed.Seconds(), ready.Seconds(), sold.Seconds())
	if sold > limit {
		t.Errorf("from nothing to a checkout it took %s, want less than %s", sold, limit)
	}
}

// helm runs a command of Helm for the release, and is what it says. Where a chart is told, it gets the values of stage on a
// cluster of tests.
func helm(t *testing.T, command string, args ...string) string {
	t.Helper()
	arguments := append([]string{command, release, "--namespace=" + namespace}, args...)
	if command == "install" || command == "upgrade" {
		arguments = append(arguments, "--values="+args[0]+"/values-stage.yaml", "--values=testdata/values.yaml")
		for value, image := range map[string]string{"image": "tienda", "database.image": "mariadb"} {
			name := clustertest.Image(t, image)
			colon := strings.LastIndex(name, ":")
			if colon < 0 {
				t.Fatalf("image %s has no tag", name)
			}
			arguments = append(arguments, "--set="+value+".repository="+name[:colon], "--set-string="+value+".tag="+name[colon+1:])
		}
	}
	if command == "install" {
		arguments = append(arguments, "--take-ownership") // of the namespace, which is there already
	}
	return clustertest.Run(t, "helm", arguments...)
}

// open waits until the shop has found itself: in the first seconds the parts of it are ready and do not know of each other
// yet, and tell customers to come again shortly.
func open(t *testing.T, c clustertest.Cluster) {
	t.Helper()
	gateway := c.Forward(t, namespace, "api-gateway", 8080)
	for _, path := range []string{"/app/.well-known/jwks.json", "/product-service/api/products", "/user-service/v3/api-docs", "/order-service/v3/api-docs"} {
		clustertest.Eventually(t, "the shop answers "+path, time.Minute, func(ctx context.Context) error {
			_, err := clustertest.Get(ctx, gateway+path, "")
			return err
		})
	}
}

// buy has a customer register, look around and buy so many times, from where the entry's pods are, and proves what became
// of the orders.
func buy(t *testing.T, c clustertest.Cluster, checkouts int) {
	t.Helper()
	customer := clustertest.Restricted("customer", clustertest.Image(t, "tienda"), "load", "--target=http://api-gateway."+namespace+":8080",
		"--users=1", fmt.Sprintf("--checkouts=%d", checkouts), "--verify")
	customer.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "home", MountPath: "/var/lib/tienda"}}
	customer.Spec.Volumes = []corev1.Volume{{Name: "home", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	c.Finish(t, entry, customer, time.Minute)
}

// certificate puts the certificate of the entry in place, which is ours as long as entry.tls.issuer names nobody.
func certificate(t *testing.T, c clustertest.Cluster) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "tienda-tls"}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}),
			corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// podSecurity has a pod refused that wants more than the others, in each of the namespaces that the chart labels.
func podSecurity(t *testing.T, c clustertest.Cluster) {
	for _, name := range []string{namespace, entry, monitoring} {
		pod := clustertest.Restricted("greedy", clustertest.Image(t, "probe"))
		yes := true
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
		_, err := c.CoreV1().Pods(name).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "restricted") {
			t.Errorf("a privileged pod in %s: %v, want to have it refused by Pod Security restricted", name, err)
		}
	}
	pods := c.Pods(t, namespace, "app.kubernetes.io/part-of=tienda")
	if !slices.ContainsFunc(pods, func(pod corev1.Pod) bool { return pod.Labels["app.kubernetes.io/name"] == "mysql" }) {
		t.Errorf("there is no pod of the database among %d pods", len(pods))
	}
}
