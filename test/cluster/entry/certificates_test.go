package entry_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tienda/test/cluster/clustertest"
)

// Certificates of the ACME server of the tests hold for two minutes, of which cert-manager lets two thirds pass before it renews one.
const validity = 2 * time.Minute

// TestCertificateFromACME: the chart's Ingress gets a certificate from an ACME server, which asks for proof over HTTP, through the entry and
// under the chart's policies; before it there is a temporary one; it is renewed; and the entry shows the new one.
func TestCertificateFromACME(t *testing.T) {
	t.Parallel()
	c := clustertest.Open(t)
	entry := c.Entry(t)
	c.Certificates(t)
	roots := acme(t, c, entry)

	// The entry's objects and the policies of a shop without its pods: nothing else of it takes part.
	const namespace = "certificates"
	c.Namespace(t, namespace)
	c.Explain(t, namespace)
	rendered := clustertest.Run(t, "helm", "template", "shop", "../../../deploy/helm/tienda", "--namespace="+namespace, "--values=../../../deploy/helm/tienda/values-stage.yaml",
		"--set=entry.host="+clustertest.ACMEHost, "--set=entry.tls.issuer=acme", "--set=baseline.create=true",
		"--show-only=templates/ingress.yaml", "--show-only=templates/networkpolicy.yaml", "--show-only=templates/baseline.yaml")
	file := filepath.Join(t.TempDir(), "entry.yaml")
	if err := os.WriteFile(file, []byte(only(rendered, "Ingress", "Certificate", "NetworkPolicy")), 0o600); err != nil {
		t.Fatal(err)
	}
	clustertest.Run(t, "kubectl", "apply", "--filename="+file)

	shown := func(ctx context.Context) (*x509.Certificate, error) {
		chain, err := entry.Certificate(ctx, clustertest.ACMEHost)
		if err != nil {
			return nil, err
		}
		options := x509.VerifyOptions{DNSName: clustertest.ACMEHost, Roots: roots, Intermediates: x509.NewCertPool()}
		for _, c := range chain[1:] {
			options.Intermediates.AddCert(c)
		}
		_, err = chain[0].Verify(options)
		return chain[0], err
	}
	began := time.Now()
	var first *x509.Certificate
	clustertest.Eventually(t, "the entry shows a certificate of the ACME server", 90*time.Second, func(ctx context.Context) error {
		var err error
		first, err = shown(ctx)
		return err
	})
	t.Logf("the first certificate was shown after %.1f s", time.Since(began).Seconds())
	if holds := first.NotAfter.Sub(first.NotBefore); holds > validity {
		t.Fatalf("the certificate holds for %v, want the ACME server's %v", holds, validity)
	}
	secret, err := c.CoreV1().Secrets(namespace).Get(t.Context(), "tienda-tls", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	held := x509.NewCertPool()
	held.AppendCertsFromPEM(secret.Data["tls.crt"])
	if _, err := first.Verify(x509.VerifyOptions{DNSName: clustertest.ACMEHost, Roots: held}); err != nil {
		t.Errorf("helm test would not trust the entry by what the Secret of its certificate holds: %v", err)
	}
	clustertest.Eventually(t, "the certificate is renewed while the first one holds", time.Until(first.NotAfter), func(ctx context.Context) error {
		now, err := shown(ctx)
		if err == nil && now.SerialNumber.Cmp(first.SerialNumber) == 0 {
			err = errors.New("it is the first one")
		}
		return err
	})

	// What the challenge added to the shop's Ingress is gone again.
	clustertest.Eventually(t, "the Ingress is as the chart made it", 30*time.Second, func(ctx context.Context) error {
		ingress, err := c.NetworkingV1().Ingresses(namespace).Get(ctx, "tienda", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, p := range ingress.Spec.Rules[0].HTTP.Paths {
			if strings.HasPrefix(p.Path, "/.well-known/acme-challenge") {
				return fmt.Errorf("it still leads %s to %s", p.Path, p.Backend.Service.Name)
			}
		}
		return nil
	})
}

// only keeps the manifests of some kinds.
func only(manifests string, kinds ...string) string {
	var kept []string
	for _, m := range strings.Split(manifests, "\n---\n") {
		if slices.ContainsFunc(kinds, func(kind string) bool { return strings.Contains(m, "\nkind: "+kind+"\n") }) {
			kept = append(kept, m)
		}
	}
	return strings.Join(kept, "\n---\n")
}

// acme runs Pebble, an ACME server for tests, and the issuer that asks it. It is what its certificates are checked with.
func acme(t *testing.T, c clustertest.Cluster, entry clustertest.Entry) *x509.CertPool {
	t.Helper()
	const namespace = "acme"
	c.Namespace(t, namespace)
	c.Explain(t, namespace)
	text, err := os.ReadFile("testdata/pebble.yaml")
	if err != nil {
		t.Fatal(err)
	}
	replaced := strings.NewReplacer("ENTRY", entry.Inside, "HOST", clustertest.ACMEHost, "IMAGE", clustertest.Image(t, "pebble"), "VALIDITY", fmt.Sprint(int(validity.Seconds()))).Replace(string(text))
	file := filepath.Join(t.TempDir(), "pebble.yaml")
	if err := os.WriteFile(file, []byte(replaced), 0o600); err != nil {
		t.Fatal(err)
	}
	clustertest.Run(t, "kubectl", "apply", "--namespace="+namespace, "--filename="+file)
	c.Ready(t, namespace, time.Minute)
	secret, err := c.CoreV1().Secrets(namespace).Get(t.Context(), "pebble", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(bundle, secret.Data["ca.crt"], 0o600); err != nil {
		t.Fatal(err)
	}
	upgrade := []string{"upgrade", "issuers", "../../../deploy/helm/issuers", "--namespace=" + clustertest.CertificatesNamespace, "--reset-then-reuse-values"}
	clustertest.Run(t, "helm", append(upgrade, "--set=acme.server=https://pebble.acme.svc:14000/dir", "--set-file=acme.caBundle="+bundle)...)
	t.Cleanup(func() { // the account goes with the server, which knows it no more when it comes again
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if out, err := clustertest.TryRun(ctx, "helm", append(upgrade, "--set=acme.server=")...); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		if err := c.CoreV1().Secrets(clustertest.CertificatesNamespace).Delete(ctx, "acme", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})

	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(secret.Data["ca.crt"])
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, ServerName: "pebble.acme.svc", MinVersion: tls.VersionTLS12}}}
	address := strings.Replace(c.Forward(t, namespace, "pebble", 15000), "http://", "https://", 1)
	response, err := client.Get(address + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	root, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if block, _ := pem.Decode(root); block == nil || !roots.AppendCertsFromPEM(root) {
		t.Fatalf("Pebble's root is no certificate: %s", root)
	}
	return roots
}
