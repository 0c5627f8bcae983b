package backup

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tienda/sqldb"
)

// TestServerWithTLS: this program and the tools of the database talk to a server with TLS, and to no other than the one whose certificate they were
// told to trust when they are to look at it.
func TestServerWithTLS(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	ours, theirs := newAuthority(t, filepath.Join(folder, "ca.crt")), newAuthority(t, filepath.Join(folder, "another.crt"))
	certificate := ours.serverCertificate(t, folder)
	server, err := StartPrivate(t.Context(), true, t.TempDir(), 0, append(certificate, "--skip-log-bin")...)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Kill()
	const named, other = "127.0.0.1", "localhost" // one that is in its certificate, and one that is not
	for _, test := range []struct{ host, query, refusal string }{
		{host: named, query: "sslMode=REQUIRED"},
		{host: named, query: "sslMode=VERIFY_IDENTITY&serverSslCert=" + url.QueryEscape(ours.file)},
		{host: named, query: "useSSL=true&sslMode=VERIFY_CA&serverSslCert=" + url.QueryEscape(ours.file)},
		{named, "sslMode=VERIFY_CA&serverSslCert=" + url.QueryEscape(theirs.file), "certificate signed by unknown authority"},
		{named, "useSSL=true&sslMode=VERIFY_IDENTITY", "certificate signed by unknown authority"}, // as no store of roots has it
		{host: other, query: "sslMode=VERIFY_CA&serverSslCert=" + url.QueryEscape(ours.file)},
		{other, "sslMode=VERIFY_CA&serverSslCert=" + url.QueryEscape(theirs.file), "certificate signed by unknown authority"},
		{other, "sslMode=VERIFY_IDENTITY&serverSslCert=" + url.QueryEscape(ours.file), "certificate is not valid for any names"},
		{other, "sslMode=VERIFY_CA", "certificate is not valid for any names"}, // the system's roots sign for everybody, so that the name counts
	} {
		config := server.Server
		config.URL = strings.Replace(config.URL, named, test.host, 1) + "?" + test.query
		s, err := connect(t.Context(), config)
		if test.refusal != "" {
			if err == nil || !strings.Contains(err.Error(), test.refusal) {
				t.Errorf("%s: connect = %v, want an error with %q", test.query, err, test.refusal)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.query, err)
			continue
		}
		var name, cipher string
		if err := s.db.QueryRow(t.Context(), `SHOW STATUS LIKE 'Ssl_cipher'`).Scan(&name, &cipher); err != nil || cipher == "" {
			t.Errorf("%s: the program talks in the clear: %q, %v", test.query, cipher, err)
		}
		// MariaDB's tools look at the name whenever they look at the certificate.
		if out, err := cipherOfTools(t, s.tools); test.host == named && (err != nil || !strings.Contains(out, "Ssl_cipher\tTLS")) {
			t.Errorf("%s: the tools talk in the clear: %s, %v", test.query, out, err)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
	config := server.Server
	config.URL += "?sslMode=VERIFY_CA&serverSslCert=" + url.QueryEscape(theirs.file)
	login, err := sqldb.LoginOf(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	strangers, err := newTools(true, login)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = strangers.close() }() // a temporary folder
	if out, err := cipherOfTools(t, strangers); err == nil {
		t.Errorf("the tools talk to a server whose certificate another authority would have to have signed: %s", out)
	}
}

// cipherOfTools is what the server says of the encryption of a connection of its own client.
func cipherOfTools(t *testing.T, tools *tools) (string, error) {
	t.Helper()
	command, err := tools.command(t.Context(), "client", "--batch", "--execute=SHOW STATUS LIKE 'Ssl_cipher'")
	if err != nil {
		return "", err
	}
	out, err := command.Output()
	return string(out), ended(command, err)
}

// authority signs certificates of servers.
type authority struct {
	file        string // with its own
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, file string) authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}
	template.Subject.CommonName = filepath.Base(file)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, file, "CERTIFICATE", der)
	return authority{file, certificate, key}
}

// serverCertificate are the options by which a server on this machine shows a certificate of the authority.
func (a authority) serverCertificate(t *testing.T, folder string) []string {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: a.certificate.NotBefore, NotAfter: a.certificate.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	template.Subject.CommonName = "127.0.0.1"
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(crypto.PrivateKey(key))
	if err != nil {
		t.Fatal(err)
	}
	shown, secret := filepath.Join(folder, "server.crt"), filepath.Join(folder, "server.key")
	writePEM(t, shown, "CERTIFICATE", der)
	writePEM(t, secret, "PRIVATE KEY", private)
	return []string{"--ssl-cert=" + shown, "--ssl-key=" + secret, "--ssl-ca=" + a.file}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestToolsOfMySQL: MySQL's tools are told to look at as much of the server's certificate as this program looks at.
func TestToolsOfMySQL(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t, filepath.Join(t.TempDir(), "ca.crt")).file
	for query, want := range map[string]string{
		"sslMode=REQUIRED": "ssl-mode=REQUIRED\n",
		"sslMode=VERIFY_CA&serverSslCert=" + url.QueryEscape(authority):       "ssl-mode=VERIFY_CA\nssl-ca=\"" + authority + "\"\n",
		"sslMode=VERIFY_IDENTITY&serverSslCert=" + url.QueryEscape(authority): "ssl-mode=VERIFY_IDENTITY\nssl-ca=\"" + authority + "\"\n",
	} {
		login, err := sqldb.LoginOf(t.Context(), sqldb.Config{URL: "jdbc:mysql://db:25060/?" + query, Username: "root"})
		if err != nil {
			t.Fatal(err)
		}
		tools, err := newTools(false, login)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(tools.login())
		if err != nil || !strings.HasSuffix(string(text), "\n"+want) {
			t.Errorf("%s: the tools are told %q, %v; want %q", query, text, err, want)
		}
		if err := tools.close(); err != nil {
			t.Error(err)
		}
	}
}
