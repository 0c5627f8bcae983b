package sqldb

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEncryption: of what the parameters of JDBC say the strictest holds, and what cannot be meant is refused.
func TestEncryption(t *testing.T) {
	t.Parallel()
	roots, empty := rootsFile(t), filepath.Join(t.TempDir(), "empty.crt")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ query, want, refusal string }{
		{query: "", want: tlsOff},
		{query: "useSSL=false", want: tlsOff},
		{query: "sslMode=DISABLED", want: tlsOff},
		{query: "sslMode=preferred", want: tlsPreferred},
		{query: "sslMode=REQUIRED", want: tlsRequired},
		{query: "sslMode=trust", want: tlsRequired},
		{query: "useSSL=true", want: tlsRequired},
		{query: "requireSSL=true", want: tlsRequired},
		{query: "useSSL=true&sslMode=PREFERRED", want: tlsRequired},
		{query: "useSSL=true&sslMode=DISABLED", want: tlsRequired},
		{query: "sslMode=VERIFY_CA", want: tlsVerified},
		{query: "sslMode=VERIFY_IDENTITY", want: tlsVerified},
		{query: "sslMode=verify-full", want: tlsVerified},
		{query: "useSSL=true&sslMode=VERIFY_IDENTITY", want: tlsVerified},
		{query: "sslMode=VERIFY_CA&useSSL=true&requireSSL=true", want: tlsVerified},
		{query: "sslMode=VERIFY_CA&useSSL=false", want: tlsVerified},
		{query: "useSSL=true&verifyServerCertificate=true", want: tlsVerified},
		{query: "useSSL=true&verifyServerCertificate=false", want: tlsRequired},
		{query: "sslMode=REQUIRED&verifyServerCertificate=true", want: tlsVerified},
		{query: "sslMode=PREFERRED&verifyServerCertificate=true", want: tlsVerified},
		{query: "verifyServerCertificate=true", want: tlsOff}, // as Connector/J takes it
		{query: "sslMode=VERIFY_IDENTITY&serverSslCert=" + url.QueryEscape(roots), want: tlsVerified},
		{query: "sslMode=VERIFY_CA&serverSslCert=" + url.QueryEscape(roots), want: tlsSigned},
		{query: "useSSL=true&sslMode=verify-ca&serverSslCert=" + url.QueryEscape(roots), want: tlsSigned},
		{query: "sslMode=VERIFY_CA&verifyServerCertificate=true&serverSslCert=" + url.QueryEscape(roots), want: tlsVerified},
		{query: "sslMode=VERIFY-IDENTITIES", refusal: "want DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY"},
		{query: "sslMode=REQUIRED&serverSslCert=" + url.QueryEscape(roots), refusal: "set sslMode to VERIFY_CA or VERIFY_IDENTITY"},
		{query: "sslMode=VERIFY_CA&serverSslCert=/no/such/file", refusal: "no such file"},
		{query: "sslMode=VERIFY_CA&serverSslCert=" + url.QueryEscape(empty), refusal: "holds no certificate"},
	} {
		source := Config{URL: "jdbc:mysql://root:hunter2@db:3306/shop?" + test.query}
		c, err := mysqlConfig(t.Context(), source)
		if test.refusal != "" {
			if err == nil || !strings.Contains(err.Error(), test.refusal) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v, want a refusal that says %q", test.query, err, test.refusal)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.query, err)
			continue
		}
		own := strings.Contains(test.query, "serverSslCert")
		if c.TLSConfig != test.want || (c.TLS != nil) != own {
			t.Errorf("%s: %q with %v, want %q", test.query, c.TLSConfig, c.TLS, test.want)
		}
		login, err := LoginOf(t.Context(), source)
		verified := test.want == tlsSigned || test.want == tlsVerified
		if err != nil || login.Encrypted != (verified || test.want == tlsRequired) || login.Verified != verified || login.Named != (test.want == tlsVerified) || (login.Roots == roots) != own {
			t.Errorf("%s: others log in by %+v, %v", test.query, login, err)
		}
	}
}

// rootsFile is a file with a certificate in PEM.
func rootsFile(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "roots and more.crt")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
