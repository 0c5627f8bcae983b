package clustertest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Where what comes before the shop is installed.
const (
	EntryNamespace        = "ingress-nginx"
	CertificatesNamespace = "cert-manager"
)

// Entry is the way into a cluster.
type Entry struct {
	Inside      string // the address of its Service, which pods reach
	http, https string // where it is reached from here
}

// Entry is the way into this cluster: the Service of the controller of the class nginx. When there is none, the stand-in of F5's
// controller is installed, with the values that are written for F5's chart. It stays, since other tests share it.
func (c Cluster) Entry(t *testing.T) (e Entry) {
	t.Helper()
	once(t, "entry", func() {
		s, ok := c.entry(t)
		if !ok {
			c.keptNamespace(t, EntryNamespace)
			repository, tag := SplitImage(Image(t, "nginx"))
			Run(t, "helm", "upgrade", "--install", "nginx-ingress", folder(t, "test/cluster/entry/chart"), "--namespace="+EntryNamespace,
				"--values="+folder(t, "deploy/helm/prerequisites/nginx-ingress.yaml"), "--set=controller.image.repository="+repository, "--set=controller.image.tag="+tag)
			c.Ready(t, EntryNamespace, 2*time.Minute)
			if s, ok = c.entry(t); !ok {
				t.Fatal("the entry was installed, and has no Service")
			}
		}
		e = Entry{Inside: s.Spec.ClusterIP, http: c.outside(t, s, 80), https: c.outside(t, s, 443)}
	})
	return e
}

func (c Cluster) entry(t *testing.T) (corev1.Service, bool) {
	t.Helper()
	services, err := c.CoreV1().Services(EntryNamespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range services.Items {
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer || s.Spec.Type == corev1.ServiceTypeNodePort {
			return s, true
		}
	}
	return corev1.Service{}, false
}

// outside is where a port of a Service is reached from outside of the cluster: at its load balancer, or at a node where there is none.
func (c Cluster) outside(t *testing.T, s corev1.Service, port int32) string {
	t.Helper()
	for _, b := range s.Status.LoadBalancer.Ingress {
		return net.JoinHostPort(b.IP+b.Hostname, strconv.Itoa(int(port)))
	}
	nodes, err := c.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range s.Spec.Ports {
		for _, a := range nodes.Items[0].Status.Addresses {
			if p.Port == port && a.Type == corev1.NodeInternalIP {
				return net.JoinHostPort(a.Address, strconv.Itoa(int(p.NodePort)))
			}
		}
	}
	t.Fatalf("the Service %s has no port %d that is reached from outside", s.Name, port)
	return ""
}

// Client is one that comes in by the entry, whatever host it asks for, and trusts these certificates. It follows no redirect.
func (e Entry) Client(roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			to := e.https
			if strings.HasSuffix(address, ":80") {
				to = e.http
			}
			return dialer.DialContext(ctx, network, to)
		},
		DisableKeepAlives: true, // each request meets the configuration of its moment
	}
	return &http.Client{Transport: transport, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Self is the address from which the entry is asked from here.
func (e Entry) Self(ctx context.Context) string {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.https)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = connection.Close() }()                        // nothing was written
	host, _, _ := net.SplitHostPort(connection.LocalAddr().String()) // it is an address and a port
	return host
}

// Certificate is the one that the entry shows for a host, first the host's own.
func (e Entry) Certificate(ctx context.Context, host string) ([]*x509.Certificate, error) {
	//nolint:gosec // whom it is from is what is looked at
	dialer := tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true}}
	connection, err := dialer.DialContext(ctx, "tcp", e.https)
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }() // nothing was written
	encrypted, ok := connection.(*tls.Conn)
	if !ok {
		return nil, errors.New("the connection is not encrypted")
	}
	return encrypted.ConnectionState().PeerCertificates, nil
}

// Certificates are cert-manager and our issuers; they are installed when there is no cert-manager, from its module with our values, and
// stay. Its controllers are built from the module, whose chart finds them in our images; what checks what people write is not there.
func (c Cluster) Certificates(t *testing.T) {
	t.Helper()
	entry := c.Entry(t)
	once(t, "certificates", func() {
		if _, err := TryRun(t.Context(), "kubectl", "get", "customresourcedefinition", "certificates.cert-manager.io"); err == nil {
			return
		}
		c.keptNamespace(t, CertificatesNamespace)
		repository, tag := SplitImage(Image(t, "certmanager"))
		solver, solverTag := SplitImage(Image(t, "acmesolver"))
		Run(t, "helm", "install", "cert-manager", filepath.Join(Module(t, "github.com/cert-manager/cert-manager"), "deploy/charts/cert-manager"),
			"--namespace="+CertificatesNamespace, "--values="+folder(t, "deploy/helm/prerequisites/cert-manager.yaml"), "--values="+folder(t, "test/cluster/entry/certmanager/values.yaml"),
			"--set=image.repository="+repository, "--set=image.tag="+tag, "--set=acmesolver.image.repository="+solver, "--set=acmesolver.image.tag="+solverTag,
			// The hosts of the tests are in no name server; cert-manager looks at a challenge itself before it asks for it to be looked at.
			"--set=hostAliases[0].ip="+entry.Inside, "--set=hostAliases[0].hostnames[0]="+ACMEHost)
		admission := c.AdmissionregistrationV1()
		if err := admission.ValidatingWebhookConfigurations().Delete(t.Context(), "cert-manager-webhook", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := admission.MutatingWebhookConfigurations().Delete(t.Context(), "cert-manager-webhook", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		c.Ready(t, CertificatesNamespace, 2*time.Minute)
	})
	once(t, "issuers", func() {
		if _, err := TryRun(t.Context(), "kubectl", "get", "clusterissuer", "self-signed"); err != nil {
			Run(t, "helm", "install", "issuers", folder(t, "deploy/helm/issuers"), "--namespace="+CertificatesNamespace, "--set=letsEncrypt.enabled=false")
		}
	})
}

// ACMEHost is the host whose certificate comes from an ACME server.
const ACMEHost = "certificates.example.com"

// SplitImage takes the name of an image apart: its repository and its tag.
func SplitImage(name string) (repository, tag string) {
	i := strings.LastIndex(name, ":")
	return name[:i], name[i+1:]
}

// keptNamespace makes a namespace under Pod Security "restricted" that stays, unless it is there.
func (c Cluster) keptNamespace(t *testing.T, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if _, err := c.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// once has others wait who do the same, in other tests and in tests of other packages.
func once(t *testing.T, what string, do func()) {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "tienda-kubernetes-"+what+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close() // which gives the lock back
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("wait for others that install the %s: %v", what, err)
	}
	do()
}

// folder is a path below the project's folder.
func folder(t *testing.T, path string) string {
	t.Helper()
	top, err := TryRun(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		t.Fatalf("find the folder of the project: %v", err)
	}
	return filepath.Join(strings.TrimSpace(top), "..", "..", path)
}

// Module is the folder of a module that this one requires.
func Module(t *testing.T, path string) string {
	t.Helper()
	found := strings.TrimSpace(Run(t, "go", "list", "-m", "-f", "{{.Dir}}", path))
	if found == "" {
		t.Fatal(fmt.Errorf("the module %s is not downloaded", path))
	}
	return found
}
