package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// indexer holds objects as an informer does.
func indexer(t *testing.T, objects ...any) cache.Indexer {
	t.Helper()
	i := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, o := range objects {
		if err := i.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

// ingress is one of an age in minutes, for a host that has its certificate in a Secret.
func ingress(name, host, secret string, age int, paths ...networkingv1.HTTPIngressPath) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(0, 0).Add(-time.Duration(age) * time.Minute))},
		Spec: networkingv1.IngressSpec{
			IngressClassName: new("nginx"),
			TLS:              []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: secret}},
			Rules:            []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: paths}}}},
		},
	}
}

func path(p string, kind networkingv1.PathType, service string) networkingv1.HTTPIngressPath {
	return networkingv1.HTTPIngressPath{Path: p, PathType: &kind, Backend: networkingv1.IngressBackend{
		Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 8080}},
	}}
}

func TestBuild(t *testing.T) {
	t.Parallel()
	o := objects{
		class: "nginx",
		services: corelisters.NewServiceLister(indexer(t, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "gateway"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 8080}}},
		}, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "idle"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 8080}}},
		})),
		slices: discoverylisters.NewEndpointSliceLister(indexer(t, &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "gateway-1", Labels: map[string]string{discoveryv1.LabelServiceName: "gateway"}},
			Ports:      []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(9000))}},
			Endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"10.0.0.2"}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}},
				{Addresses: []string{"10.0.0.3"}, Conditions: discoveryv1.EndpointConditions{Ready: new(false)}},
				{Addresses: []string{"10.0.0.1"}},
			},
		})),
		secrets: corelisters.NewSecretLister(indexer(t, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tls"},
			Data:       map[string][]byte{corev1.TLSCertKey: []byte("certificate"), corev1.TLSPrivateKeyKey: []byte("key")},
		})),
	}
	first := ingress("first", "shop.example.com", "tls", 2,
		path("/", networkingv1.PathTypeExact, "gateway"), path("/app", networkingv1.PathTypePrefix, "idle"), path("/gone", networkingv1.PathTypePrefix, "gone"))
	first.Annotations = map[string]string{maxBody: "4m", toRead: "9s", hsts: "true", "nginx.org/lb-method": "ip_hash"}
	other := ingress("other", "other.example.com", "missing", 1)
	other.Annotations = map[string]string{redirect: "false"}
	foreign := ingress("foreign", "foreign.example.com", "tls", 3)
	foreign.Spec.IngressClassName = new("traefik")

	got, problems := o.build([]*networkingv1.Ingress{ingress("late", "shop.example.com", "tls", 0), other, first, foreign})
	want := configuration{
		Upstreams: []upstream{{"shop-gateway-8080", []string{"10.0.0.1:9000", "10.0.0.2:9000"}}},
		Sites: []site{
			{
				Ingress: "shop/first", Host: "shop.example.com", Certificate: "shop-tls.crt", Key: "shop-tls.key",
				TLS: true, Redirect: true, HSTS: true, MaxBody: "4m", ToRead: "9s", ToSend: "60s",
				Locations: []location{{"= /", "shop-gateway-8080"}, {"/app", ""}, {"/gone", ""}},
			},
			{Ingress: "shop/other", Host: "other.example.com", TLS: true, MaxBody: "1m", ToRead: "60s", ToSend: "60s"},
		},
		Files: []file{{"shop-tls.crt", []byte("certificate")}, {"shop-tls.key", []byte("key")}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(file{})); diff != "" {
		t.Errorf("build (-want +got):\n%s", diff)
	}
	for _, p := range []string{
		"shop/first: the annotation nginx.org/lb-method is not known here", "shop/first/gone: find the Service",
		"shop/other: the Secret missing has no certificate", "shop/late: the host shop.example.com is shop/first's",
	} {
		if !strings.Contains(strings.Join(problems, "\n"), p) {
			t.Errorf("build does not tell that %q, but %q", p, problems)
		}
	}

	var text bytes.Buffer
	if err := page.Execute(&text, struct {
		configuration
		Folder string
	}{got, "/f"}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"server 10.0.0.2:9000 max_fails=1", "location = / {", "client_max_body_size 4m;", "ssl_certificate_key /f/shop-tls.key;", "return 502;"} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("nginx.conf has no %q:\n%s", line, text.String())
		}
	}
}
