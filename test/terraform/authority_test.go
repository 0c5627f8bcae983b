package terraform

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// shopValues are those of the values of a shop that say how it looks at its database's certificate.
type shopValues struct {
	Defaults struct {
		PodAnnotations map[string]string `yaml:"podAnnotations"`
	}
	Database struct {
		Mode     string
		External struct {
			SSLMode  string `yaml:"sslMode"`
			CASecret string `yaml:"caSecret"`
		}
	}
}

// valuesOf reads the values of a release, later documents on top of earlier ones.
func valuesOf(documents []any) (shopValues, error) {
	var values shopValues
	for _, document := range documents {
		if err := yaml.Unmarshal([]byte(fmt.Sprint(document)), &values); err != nil {
			return values, err
		}
	}
	return values, nil
}

// unchecked is what is wrong with how a release looks at the certificate of a database that is not its own, or nothing.
func unchecked(documents []any, all []resource) string {
	values, err := valuesOf(documents)
	external := values.Database.External
	switch {
	case err != nil:
		return "values: " + err.Error()
	case values.Database.Mode != "external":
		return ""
	case !slices.Contains([]string{"VERIFY_CA", "VERIFY_IDENTITY"}, external.SSLMode):
		return "nobody looks at the certificate of its database"
	}
	block, _ := pem.Decode([]byte(authorityIn(all, external.CASecret)))
	if block == nil {
		return fmt.Sprintf("there is no certificate in ca.crt of the Secret %q, which it checks its database with", external.CASecret)
	}
	if certificate, err := x509.ParseCertificate(block.Bytes); err != nil || !certificate.IsCA {
		return fmt.Sprintf("ca.crt of the Secret %q is that of no authority", external.CASecret)
	}
	return ""
}

// authorityIn is what a Secret of a plan has as ca.crt.
func authorityIn(all []resource, name string) string {
	for _, r := range all {
		for _, metadata := range objects(r.Values["metadata"]) {
			if data, _ := r.Values["data"].(map[string]any); r.Type == "kubernetes_secret_v1" && name != "" && metadata["name"] == name {
				text, _ := data["ca.crt"].(string)
				return text
			}
		}
	}
	return ""
}

// checkAuthority: what the release checks its server with is what DigitalOcean says of that very server, and another one rolls the pods.
func checkAuthority(t *testing.T, all []resource) {
	t.Helper()
	text, err := os.ReadFile("schemas/data.json")
	if err != nil {
		t.Fatal(err)
	}
	var answers map[string][]struct{ When, Says map[string]any }
	if err := json.Unmarshal(text, &answers); err != nil {
		t.Fatal(err)
	}
	server, given := answers["digitalocean_database_cluster"][0].Says, answers["digitalocean_database_ca"][0]
	if server["id"] != given.When["cluster_id"] {
		t.Fatalf("an authority is said of %v, and the server is %v", given.When, server["id"])
	}
	release := all[slices.IndexFunc(all, func(r resource) bool { return r.Address == "module.shop[0].helm_release.main" })]
	documents, _ := release.Values["values"].([]any)
	values, err := valuesOf(documents)
	if err != nil {
		t.Fatal(err)
	}
	authority := authorityIn(all, values.Database.External.CASecret)
	if authority != given.Says["certificate"] || authority == "" {
		t.Errorf("the release checks its database with %q, want %q", authority, given.Says["certificate"])
	}
	if got, want := values.Defaults.PodAnnotations["checksum/database-ca"], fmt.Sprintf("%x", sha256.Sum256([]byte(authority))); got != want {
		t.Errorf("pods carry %q as the checksum of the authority, want %q", got, want)
	}
}
