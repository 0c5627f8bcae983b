package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"

	discoveryv1 "k8s.io/api/discovery/v1"
)

type (
	ingressLister = networkinglisters.IngressLister
	serviceLister = corelisters.ServiceLister
	sliceLister   = discoverylisters.EndpointSliceLister
	secretLister  = corelisters.SecretLister
)

// configuration is what NGINX is to do.
type configuration struct {
	Upstreams []upstream
	Sites     []site
	Files     []file // certificates and keys
}

// upstream is a port of a Service: the addresses of its pods that are ready.
type upstream struct {
	Name    string
	Servers []string
}

// site is a host of an Ingress.
type site struct {
	Ingress, Host           string
	Certificate, Key        string // files in the folder; without them handshakes are refused
	TLS, Redirect, HSTS     bool
	MaxBody, ToRead, ToSend string
	Locations               []location
}

// location is where a path leads; without an upstream the answer is 502.
type location struct{ Match, Upstream string }

type file struct {
	name string
	data []byte
}

// The annotations that are understood, those of F5's controller that the shop's chart uses, and what holds without them.
const (
	maxBody  = "nginx.org/client-max-body-size"
	toRead   = "nginx.org/proxy-read-timeout"
	toSend   = "nginx.org/proxy-send-timeout"
	hsts     = "nginx.org/hsts"
	redirect = "ingress.kubernetes.io/ssl-redirect"
)

// build makes the configuration as F5's controller does: the oldest Ingress has a host for itself, and others that name it are passed
// over; pods are reached without the Service in between; a Secret that is missing has handshakes refused. It tells what it passed over.
func (o objects) build(ingresses []*networkingv1.Ingress) (configuration, []string) {
	var c configuration
	var problems []string
	slices.SortFunc(ingresses, func(a, b *networkingv1.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.UID, b.UID))
	})
	taken := map[string]string{}
	for _, ingress := range ingresses {
		if ingress.Spec.IngressClassName == nil || *ingress.Spec.IngressClassName != o.class {
			continue
		}
		name := ingress.Namespace + "/" + ingress.Name
		for a := range ingress.Annotations {
			if strings.HasPrefix(a, "nginx.org/") && !slices.Contains([]string{maxBody, toRead, toSend, hsts}, a) {
				problems = append(problems, fmt.Sprintf("%s: the annotation %s is not known here", name, a))
			}
		}
		for _, rule := range ingress.Spec.Rules {
			if owner, ok := taken[rule.Host]; ok {
				problems = append(problems, fmt.Sprintf("%s: the host %s is %s's", name, rule.Host, owner))
				continue
			}
			taken[rule.Host] = name
			s := site{
				Ingress: name, Host: rule.Host,
				Redirect: ingress.Annotations[redirect] != "false",
				HSTS:     ingress.Annotations[hsts] == "true",
				MaxBody:  cmp.Or(ingress.Annotations[maxBody], "1m"),
				ToRead:   cmp.Or(ingress.Annotations[toRead], "60s"),
				ToSend:   cmp.Or(ingress.Annotations[toSend], "60s"),
			}
			for _, t := range ingress.Spec.TLS {
				if slices.Contains(t.Hosts, rule.Host) {
					s.TLS = true
					secret, err := o.secrets.Secrets(ingress.Namespace).Get(t.SecretName)
					if err != nil || len(secret.Data[corev1.TLSCertKey]) == 0 || len(secret.Data[corev1.TLSPrivateKeyKey]) == 0 {
						problems = append(problems, fmt.Sprintf("%s: the Secret %s has no certificate with a key", name, t.SecretName))
						continue
					}
					base := ingress.Namespace + "-" + t.SecretName
					s.Certificate, s.Key = base+".crt", base+".key"
					c.Files = append(c.Files, file{s.Certificate, secret.Data[corev1.TLSCertKey]}, file{s.Key, secret.Data[corev1.TLSPrivateKeyKey]})
				}
			}
			if rule.HTTP != nil {
				for _, p := range rule.HTTP.Paths {
					u, err := o.upstream(ingress.Namespace, p.Backend)
					if err != nil {
						problems = append(problems, fmt.Sprintf("%s%s: %v", name, p.Path, err))
					}
					l := location{Match: cmp.Or(p.Path, "/")}
					if p.PathType != nil && *p.PathType == networkingv1.PathTypeExact {
						l.Match = "= " + l.Match
					}
					if len(u.Servers) > 0 {
						l.Upstream = u.Name
						if !slices.ContainsFunc(c.Upstreams, func(other upstream) bool { return other.Name == u.Name }) {
							c.Upstreams = append(c.Upstreams, u)
						}
					}
					s.Locations = append(s.Locations, l)
				}
			}
			c.Sites = append(c.Sites, s)
		}
	}
	return c, problems
}

// upstream is where a backend leads: the pods of its Service that are ready.
func (o objects) upstream(namespace string, b networkingv1.IngressBackend) (upstream, error) {
	if b.Service == nil {
		return upstream{}, fmt.Errorf("only Services are known here")
	}
	service, err := o.services.Services(namespace).Get(b.Service.Name)
	if err != nil {
		return upstream{}, fmt.Errorf("find the Service: %w", err)
	}
	i := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Port == b.Service.Port.Number || b.Service.Port.Name != "" && p.Name == b.Service.Port.Name
	})
	if i < 0 {
		return upstream{}, fmt.Errorf("the Service %s has no port %d%s", service.Name, b.Service.Port.Number, b.Service.Port.Name)
	}
	port := service.Spec.Ports[i]
	found, err := o.slices.EndpointSlices(namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name}))
	if err != nil {
		return upstream{}, fmt.Errorf("find the pods of the Service %s: %w", service.Name, err)
	}
	u := upstream{Name: fmt.Sprintf("%s-%s-%d", namespace, service.Name, port.Port)}
	for _, slice := range found {
		for _, p := range slice.Ports {
			if p.Port == nil || p.Name == nil || *p.Name != port.Name {
				continue
			}
			for _, e := range slice.Endpoints {
				if e.Conditions.Ready == nil || *e.Conditions.Ready {
					u.Servers = append(u.Servers, fmt.Sprintf("%s:%d", e.Addresses[0], *p.Port))
				}
			}
		}
	}
	slices.Sort(u.Servers)
	u.Servers = slices.Compact(u.Servers)
	return u, nil
}

// page is nginx.conf. Limits, headers and the choice among pods are F5's defaults.
var page = template.Must(template.New("nginx.conf").Parse(`daemon off;
pid {{.Folder}}/pid;
error_log /dev/stderr warn;
worker_processes auto;
events { worker_connections 1024; }
http {
	default_type application/octet-stream;
	log_format main '$remote_addr [$time_local] "$request" $status $body_bytes_sent $host "$upstream_addr" "$upstream_status" $request_time';
	access_log /dev/stdout main;
	client_body_temp_path {{.Folder}}/body;
	proxy_temp_path {{.Folder}}/proxy;
	fastcgi_temp_path {{.Folder}}/fastcgi;
	uwsgi_temp_path {{.Folder}}/uwsgi;
	scgi_temp_path {{.Folder}}/scgi;
	keepalive_timeout 75s;
	server_names_hash_bucket_size 256;
	server {
		listen 80 default_server;
		listen 443 ssl default_server;
		ssl_reject_handshake on;
		server_name _;
		access_log off;
		location / { return 404; }
		location = /nginx-health { return 200 "healthy\n"; }
	}
{{- range .Upstreams}}
	upstream {{.Name}} {
		zone {{.Name}} 256k;
		random two least_conn;
		{{- range .Servers}}
		server {{.}} max_fails=1 fail_timeout=10s;
		{{- end}}
	}
{{- end}}
{{- range $site := .Sites}}
	server { # {{.Ingress}}
		listen 80;
		{{- if .TLS}}
		listen 443 ssl;
		{{- if .Certificate}}
		ssl_certificate {{$.Folder}}/{{.Certificate}};
		ssl_certificate_key {{$.Folder}}/{{.Key}};
		{{- else}}
		ssl_reject_handshake on;
		{{- end}}
		{{- end}}
		server_name {{.Host}};
		{{- if and .TLS .HSTS}}
		set $hsts "";
		if ($https = on) { set $hsts "max-age=2592000; preload"; }
		add_header Strict-Transport-Security "$hsts" always;
		{{- end}}
		{{- if and .TLS .Redirect}}
		if ($scheme = http) { return 301 https://$host:443$request_uri; }
		{{- end}}
		{{- range .Locations}}
		location {{.Match}} {
			{{- if .Upstream}}
			proxy_http_version 1.1;
			proxy_connect_timeout 60s;
			proxy_read_timeout {{$site.ToRead}};
			proxy_send_timeout {{$site.ToSend}};
			client_max_body_size {{$site.MaxBody}};
			proxy_set_header Host $host;
			proxy_set_header X-Real-IP $remote_addr;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			proxy_set_header X-Forwarded-Host $host;
			proxy_set_header X-Forwarded-Port $server_port;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_buffering on;
			proxy_pass http://{{.Upstream}};
			{{- else}}
			return 502;
			{{- end}}
		}
		{{- end}}
	}
{{- end}}
}
`))
