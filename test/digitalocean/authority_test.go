package digitalocean

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"testing"

	"github.com/digitalocean/godo"
	"github.com/google/go-cmp/cmp"
)

// readAuthority asks for the authority of a database, which is a certificate in PEM and stays the same.
func readAuthority(t *testing.T, c *godo.Client, database string) {
	t.Helper()
	authority, _, err := c.Databases.GetCA(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(authority.Certificate)
	if block == nil || len(rest) > 0 {
		t.Fatalf("the authority is no certificate in PEM: %q", authority.Certificate)
	}
	if certificate, err := x509.ParseCertificate(block.Bytes); err != nil || !certificate.IsCA {
		t.Errorf("authority %+v, %v", certificate, err)
	}
	if again, _, err := c.Databases.GetCA(t.Context(), database); err != nil || !cmp.Equal(again, authority) {
		t.Errorf("the authority is another one when it is asked for again: %v, %v", again, err)
	}
	_, _, err = c.Databases.GetCA(t.Context(), "nobody")
	refused(t, "the authority of no database", err, http.StatusNotFound, "")
}
