package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// TestChartComponents compares the table of components in the chart's values with that in services.go. What
// follows from the table, policies above all, is tested where the chart is, in deploy/helm. The tier says who is let in from
// outside: what is neither infrastructure nor a service of the shop's domain is what the entry leads to.
func TestChartComponents(t *testing.T) {
	t.Parallel()
	type component struct {
		Port     int
		Context  string
		Tier     string
		Needs    []string
		Database bool
	}
	var values struct{ Services map[string]component }
	text, err := os.ReadFile(filepath.Join(root, "deploy/helm/tienda/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	want := map[string]component{}
	for _, row := range services() {
		_, stores := schemas()[row.Name]
		tier := "edge"
		if row.Infrastructure {
			tier = "infrastructure"
		} else if slices.Contains(businessServices(), row.Name) {
			tier = "" // business, which the chart takes for granted
		}
		want[row.Name] = component{row.Port, row.Context, tier, row.Needs, stores}
	}
	for _, table := range []map[string]component{want, values.Services} {
		for _, c := range table {
			slices.Sort(c.Needs)
		}
	}
	if diff := cmp.Diff(want, values.Services); diff != "" {
		t.Errorf("components of the chart (-services.go +values.yaml):\n%s", diff)
	}
}

// TestChartArguments: the command lines and variables that the chart gives to the program are ones that it reads.
func TestChartArguments(t *testing.T) {
	t.Parallel()
	elsewhere := []string{"GOMEMLIMIT", "SSL_CERT_FILE", "TMPDIR", "SPRING_PROFILES_ACTIVE", "SPRING_CONFIG_IMPORT", "CLIENT_HOST"} // of Go, read before all settings, and named in config/
	type container struct {
		Name string
		Args []string
		Env  []struct{ Name string }
	}
	type template struct {
		Spec struct {
			Containers     []container
			InitContainers []container `yaml:"initContainers"`
		}
	}
	type object struct {
		Kind string
		Spec struct {
			Containers  []container // of a Pod
			Template    template
			JobTemplate struct {
				Spec struct{ Template template }
			} `yaml:"jobTemplate"`
		}
	}
	source, err := os.ReadFile("backup.go") // which reads no settings
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, environment := range []string{"stage", "production", "backup"} {
		file, err := os.Open(filepath.Join(root, "deploy/helm/testdata", environment+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for documents := yaml.NewDecoder(file); ; {
			var o object
			if err := documents.Decode(&o); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			for _, c := range slices.Concat(o.Spec.Containers, o.Spec.Template.Spec.Containers, o.Spec.Template.Spec.InitContainers,
				o.Spec.JobTemplate.Spec.Template.Spec.Containers, o.Spec.JobTemplate.Spec.Template.Spec.InitContainers) {
				if len(c.Args) == 0 || c.Name == "accounts" {
					continue // of another image
				}
				seen[o.Kind+" "+c.Name] = true
				if _, err := parserFor(t).Parse(c.Args); err != nil {
					t.Errorf("%s: %s %s: %v: %v", environment, o.Kind, c.Name, c.Args, err)
				}
				for _, variable := range c.Env {
					if !slices.Contains(elsewhere, variable.Name) && !strings.Contains(string(source), `environ.get("`+variable.Name+`")`) && !readFromEnvironment(variable.Name) {
						t.Errorf("%s: %s %s: nobody reads the variable %s", environment, o.Kind, c.Name, variable.Name)
					}
				}
			}
		}
	}
	for _, want := range []string{"Pod story", "Job order-service", "Deployment order-service", "CronJob restore", "CronJob program", "Deployment backup-ship"} {
		if !seen[want] {
			t.Errorf("the chart has no %s: %v", want, seen)
		}
	}
}

// TestDocumentedMemory: requests and limits in the documents are those of stage, what was measured stays below the limit, and what is said of the table
// follows from it. TestDocumentedLimits in deploy/helm looks at everything else that the chart limits.
func TestDocumentedMemory(t *testing.T) {
	t.Parallel()
	type resources struct {
		Requests, Limits struct{ Memory string }
	}
	rendered := map[string]resources{}
	file, err := os.Open(filepath.Join(root, "deploy/helm/testdata/stage.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for documents := yaml.NewDecoder(file); ; {
		var o struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     struct {
				Template struct {
					Spec struct {
						Containers []struct{ Resources resources }
					}
				}
			}
		}
		if err := documents.Decode(&o); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if o.Kind == "Deployment" {
			rendered[o.Metadata.Name] = o.Spec.Template.Spec.Containers[0].Resources
		}
	}
	rows := tableRows(documents(t)["docs/operations.md"], "| component | process at rest |")
	if len(rows) != len(services()) {
		t.Errorf("docs/operations.md tells the memory of %d components, want %d", len(rows), len(services()))
	}
	columns := map[int][]int{} // behind the name: as processes at rest and buying, in pods resident and charged, and what is requested
	for _, row := range rows {
		r := rendered[strings.Trim(row[0], "`")]
		measured, requested, limited := row[1:len(row)-2], row[len(row)-2], row[len(row)-1]
		if requested+"Mi" != r.Requests.Memory || limited+"Mi" != r.Limits.Memory {
			t.Errorf("docs/operations.md: %s requests %s and is limited to %s, want %s and %s of the chart", row[0], requested, limited, r.Requests.Memory, r.Limits.Memory)
		}
		limit, errLimit := strconv.Atoi(limited)
		for i, text := range append(measured, requested) {
			n, err := strconv.Atoi(text)
			if err != nil || errLimit != nil || n >= limit {
				t.Errorf("docs/operations.md: %s took %s of %s MiB: the chart should allow it more", row[0], text, limited)
			}
			columns[i] = append(columns[i], n)
		}
	}
	sum := func(column []int) (n int) {
		for _, cell := range column {
			n += cell
		}
		return n
	}
	for document, want := range map[string]string{
		"docs/kubernetes.md": fmt.Sprintf("%d MiB together as they were measured, where they request %d.", sum(columns[1]), sum(columns[6])),
		"docs/operations.md": fmt.Sprintf("had resident in a pod, %d MiB, and twice what any was charged, %d MiB.", slices.Max(columns[3]), slices.Max(columns[5])),
	} {
		if !strings.Contains(documents(t)[document], want) {
			t.Errorf("%s does not say what follows from the table of memory: %s", document, want)
		}
	}
}

// readFromEnvironment reports whether a variable stands for a setting, in the form without hyphens.
func readFromEnvironment(variable string) bool {
	spring := []string{"spring.datasource.url", "spring.datasource.username", "spring.datasource.password", "spring.datasource.hikari.initialization-fail-timeout",
		"spring.cloud.config.retry.max-attempts", "spring.zipkin.base-url", "eureka.client.service-url.defaultZone", "eureka.server.peers", "eureka.instance.prefer-ip-address", "spring.cloud.config.server.native.search-locations"}
	return slices.ContainsFunc(slices.Concat(knownSettings(), spring), func(key string) bool {
		return strings.ToUpper(strings.NewReplacer(".", "_", "-", "").Replace(key)) == variable
	})
}

// TestIdentitiesOfTheChart: keys and public keys as the chart gives them, a file of PKCS #8 and certificates in variables, are
// enough for components to work together.
func TestIdentitiesOfTheChart(t *testing.T) {
	t.Parallel()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tls.key")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := environment{"TIENDA_IDENTITY_KEYFILE=" + file} // one process has one environment, so all have one key
	for _, row := range services() {
		if !row.Infrastructure {
			environ = append(environ, "TIENDA_IDENTITY_TRUSTED_"+strings.ToUpper(strings.ReplaceAll(row.Name, "-", "_"))+"="+
				string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		}
	}
	data := t.TempDir()
	s := startWith(t, data, environ)
	if order := s.buy(s.login("selimhorri", "0000"), s.laptop(), 1, "tok_ok", "buy"); order.Payment == nil || order.Shipment == nil {
		t.Errorf("the order is %+v, want one that is paid and shipped", order)
	}
	if _, err := os.Stat(filepath.Join(data, "keys")); !os.IsNotExist(err) {
		t.Errorf("keys were made in the data folder as well: %v", err)
	}
}
