// Package entry_test takes a shop through what an operator does to it, from outside, through the entry: customers buy over TLS while pods
// are deleted, a node is drained, a version is rolled out and autoscaling adds pods; and certificates come from an ACME server.
package entry_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tienda/test/cluster/clustertest"
)

const (
	chart     = "../../../deploy/helm/tienda"
	namespace = "behind-the-entry"
	host      = "shop.example.com"
)

// TestShopBehindTheEntry is one release; each part goes on where the one before it ended.
func TestShopBehindTheEntry(t *testing.T) {
	t.Parallel()
	c := clustertest.Open(t)
	s := shop{Cluster: c, entry: c.Entry(t)}
	c.Certificates(t)
	c.Namespace(t, namespace)
	c.Explain(t, namespace)
	s.helm(t, "install", "tienda")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		if out, err := clustertest.TryRun(ctx, "helm", "uninstall", "shop", "--namespace="+namespace); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	c.Ready(t, namespace, 3*time.Minute)
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"customers buy over TLS", s.story},
		{"paths lead where they should", s.paths},
		{"the client's address is kept", s.address},
		{"moved under load", s.moved},
	} {
		if !t.Run(part.name, part.run) {
			return
		}
	}
}

// shop is a release behind the entry.
type shop struct {
	clustertest.Cluster
	entry clustertest.Entry
}

// helm installs or upgrades the shop to an image: that of stage, with two pods of every component, and with so little processor time aimed at
// for product-service that some customers have it scaled.
func (s shop) helm(t *testing.T, command, image string) {
	t.Helper()
	repository, tag := clustertest.SplitImage(clustertest.Image(t, image))
	database, databaseTag := clustertest.SplitImage(clustertest.Image(t, "mariadb"))
	clustertest.Run(t, "helm",
		command, "shop", chart, "--namespace="+namespace, "--values="+chart+"/values-stage.yaml", "--values=testdata/values.yaml",
		"--set=image.repository="+repository, "--set-string=image.tag="+tag, "--set=database.image.repository="+database, "--set-string=database.image.tag="+databaseTag,
		"--set=entry.host="+host, "--set=test.address="+s.entry.Inside)
}

// story is "helm test": a customer registers, looks around and buys through the entry, and the certificate is checked.
func (s shop) story(t *testing.T) {
	t.Log(clustertest.Run(t, "helm", "test", "shop", "--namespace="+namespace, "--logs", "--timeout=2m"))
}

// client is one that trusts the shop's certificate.
func (s shop) client(t *testing.T) *http.Client {
	t.Helper()
	secret, err := s.CoreV1().Secrets(namespace).Get(t.Context(), "tienda-tls", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data[corev1.TLSCertKey]) {
		t.Fatal("the Secret tienda-tls holds no certificate")
	}
	return s.entry.Client(roots)
}

// paths asks for what is routed, and for what is not.
func (s shop) paths(t *testing.T) {
	client := s.client(t)
	for _, c := range []struct {
		method, url string
		status      int
		header, is  string
		body        string
	}{
		{http.MethodGet, "http://" + host + "/product-service/api/products?page=1", http.StatusMovedPermanently, "Location", "https://" + host + ":443/product-service/api/products?page=1", ""},
		{http.MethodGet, "https://" + host + "/product-service/api/products", http.StatusOK, "Strict-Transport-Security", "max-age=2592000; preload", "productId"},
		{http.MethodGet, "https://" + host + "/app/v3/api-docs", http.StatusOK, "", "", "/api/authenticate"},
		{http.MethodGet, "https://" + host + "/app/.well-known/jwks.json", http.StatusOK, "", "", "keys"},
		{http.MethodGet, "https://" + host + "/metrics", http.StatusNotFound, "", "", "nginx"},
		{http.MethodGet, "https://" + host + "/actuator/env", http.StatusNotFound, "", "", "nginx"},
		{http.MethodGet, "https://" + host + "/app/actuator/health", http.StatusNotFound, "", "", "nginx"},
		{http.MethodPost, "https://" + host + "/order-service/api/carts", http.StatusRequestEntityTooLarge, "", "", "nginx"},
	} {
		var body io.Reader
		if c.method == http.MethodPost {
			body = strings.NewReader(strings.Repeat("x", 5<<20))
		}
		request, err := http.NewRequestWithContext(t.Context(), c.method, c.url, body)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Errorf("%s %s: %v", c.method, c.url, err)
			continue
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != c.status || c.header != "" && response.Header.Get(c.header) != c.is || !strings.Contains(string(text), c.body) {
			t.Errorf("%s %s = %d, %v, %v\n%.400s\nwant %d, %s %q and %q in it", c.method, c.url, response.StatusCode, response.Header, err, text, c.status, c.header, c.is, c.body)
		}
	}
	if _, err := s.entry.Certificate(t.Context(), "another.example.com"); err == nil {
		t.Error("the entry shows a certificate for a host that is nobody's")
	}
}

// address has the entry see who asks, and not a node that passes it on.
func (s shop) address(t *testing.T) {
	mark := fmt.Sprintf("/product-service/api/products?mark=%d", time.Now().UnixNano())
	connection, err := s.client(t).Get("https://" + host + mark)
	if err != nil {
		t.Fatal(err)
	}
	connection.Body.Close()
	clustertest.Eventually(t, "the entry's log names the client", 15*time.Second, func(ctx context.Context) error {
		log, err := clustertest.TryRun(ctx, "kubectl", "logs", "--namespace="+clustertest.EntryNamespace, "--selector=app.kubernetes.io/name=nginx-ingress", "--tail=50")
		if err != nil {
			return err
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, mark) {
				from, _, _ := strings.Cut(line, " ")
				if want := s.entry.Self(ctx); from != want {
					t.Fatalf("the entry was asked from %s, want %s", from, want)
				}
				return nil
			}
		}
		return errors.New("there is no such line")
	})
}

// evict takes a pod away as a drain does, which asks the budgets; it asks again for as long as they do not allow it.
func (s shop) evict(ctx context.Context, pod corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		err := s.CoreV1().Pods(pod.Namespace).EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace}})
		if err == nil || apierrors.IsNotFound(err) { // it may have gone by itself: the deployment wants fewer
			return nil
		}
		if !apierrors.IsTooManyRequests(err) || ctx.Err() != nil {
			return fmt.Errorf("evict %s: %w", pod.Name, err)
		}
		time.Sleep(time.Second)
	}
}
