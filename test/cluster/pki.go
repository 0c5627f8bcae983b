package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// lifetime is that of keys and certificates: a cluster that is thrown away does not need a longer one.
const lifetime = 30 * 24 * time.Hour

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// identity is a certificate that is wanted: of whom, in which groups, and for which hosts.
type identity struct {
	file   string
	name   string
	groups []string
	hosts  []string
}

// keys writes everybody's keys, certificates and kubeconfigs.
func (c cluster) keys() error {
	all, err := c.authority("ca", "kubernetes")
	if err != nil {
		return err
	}
	front, err := c.authority("front-ca", "front-proxy")
	if err != nil {
		return err
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&accounts.PublicKey)
	if err != nil {
		return err
	}
	if err := errors.Join(c.writeKey("accounts", accounts), c.writePEM("accounts.pub", "PUBLIC KEY", public)); err != nil {
		return err
	}
	service := "kubernetes.default.svc"
	for _, i := range []identity{
		{file: "apiserver", name: "kube-apiserver", hosts: []string{"kubernetes", "kubernetes.default", service, service + ".cluster.local", "localhost", "127.0.0.1", apiService, nodeAddress}},
		{file: "apiserver-kubelet-client", name: "apiserver-kubelet-client", groups: []string{"system:masters"}},
		{file: "kubelet", name: "system:node:" + nodeName, groups: []string{"system:nodes"}, hosts: []string{nodeName, nodeAddress}},
		{file: "admin", name: "admin", groups: []string{"system:masters"}},
		{file: "controller-manager", name: "system:kube-controller-manager"},
		{file: "scheduler", name: "system:kube-scheduler"},
		{file: "proxy", name: "system:kube-proxy"},
		{file: "policies", name: "policies"},
	} {
		if err := c.sign(all, i); err != nil {
			return fmt.Errorf("certificate of %s: %w", i.name, err)
		}
		if i.hosts == nil || i.file == "kubelet" {
			if err := c.kubeconfig(i.file); err != nil {
				return err
			}
		}
	}
	if err := c.sign(front, identity{file: "front-proxy-client", name: "front-proxy-client"}); err != nil {
		return err
	}
	return os.Symlink(c.path("pki", "admin.kubeconfig"), c.path("kubeconfig"))
}

// authority makes one that signs with a key of its own.
func (c cluster) authority(file, name string) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	template := certificate(identity{name: name})
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return authority{}, err
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, err
	}
	return authority{signed, key}, errors.Join(c.writeKey(file, key), c.writePEM(file+".crt", "CERTIFICATE", der))
}

// sign writes a key and its certificate, for servers and for clients.
func (c cluster) sign(by authority, i identity) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := certificate(i)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, &key.PublicKey, by.key)
	if err != nil {
		return err
	}
	return errors.Join(c.writeKey(i.file, key), c.writePEM(i.file+".crt", "CERTIFICATE", der))
}

// certificate is what all certificates have alike.
func certificate(i identity) *x509.Certificate {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: i.name, Organization: i.groups},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(lifetime),
	}
	for _, host := range i.hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return template
}

func (c cluster) writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return c.writePEM(file+".key", "EC PRIVATE KEY", der)
}

func (c cluster) writePEM(file, kind string, der []byte) error {
	return os.WriteFile(c.path("pki", file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// kubeconfig writes how somebody reaches the API server. It is JSON, which YAML reads too.
func (c cluster) kubeconfig(file string) error {
	var data [3][]byte
	for i, part := range []string{"ca.crt", file + ".crt", file + ".key"} {
		var err error
		if data[i], err = os.ReadFile(c.path("pki", part)); err != nil {
			return err
		}
	}
	type object = map[string]any
	text, err := json.MarshalIndent(object{
		"apiVersion": "v1", "kind": "Config", "current-context": "tienda",
		"clusters": []object{{"name": "tienda", "cluster": object{"server": "https://" + nodeAddress + ":6443", "certificate-authority-data": data[0]}}},
		"users":    []object{{"name": file, "user": object{"client-certificate-data": data[1], "client-key-data": data[2]}}},
		"contexts": []object{{"name": "tienda", "context": object{"cluster": "tienda", "user": file}}},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.path("pki", file+".kubeconfig"), text, 0o600)
}
