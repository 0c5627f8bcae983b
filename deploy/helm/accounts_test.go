package helm_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestAccounts runs the script that makes schemas and accounts on the server that TIENDA_TEST_MYSQL_DSN names, as
// often as it may be run in a cluster. Without a server only its syntax is looked at.
func TestAccounts(t *testing.T) {
	t.Parallel()
	objects := installed(t, variant{values: "{database: {prefix: acct}, " + backups[1:]})
	container := named[batchv1.Job](t, objects, "Job", "database-accounts").Spec.Template.Spec.Containers[0]
	script := container.Args[0]
	if same := named[corev1.ConfigMap](t, objects, "ConfigMap", "mysql").Data["accounts.sh"]; strings.TrimSpace(same) != strings.TrimSpace(script) {
		t.Errorf("a new volume is set up by another script than the job's:\n%s", same)
	}
	if out, err := exec.CommandContext(t.Context(), "bash", "-n", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("bash does not understand the script: %v\n%s", err, out)
	}
	address := regexp.MustCompile(`^root@tcp\((.+)\)/`).FindStringSubmatch(os.Getenv("TIENDA_TEST_MYSQL_DSN"))
	if address == nil {
		t.Log("no server: see test/mariadb.sh")
		return
	}
	host, port, err := net.SplitHostPort(address[1])
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("root-password", "")
	schemas := strings.Fields(environment(container)["DATABASE_SCHEMAS"])
	for _, schema := range append(schemas, "acct_backup") {
		write(schema, "first")
	}
	run := func() {
		t.Helper()
		command := exec.CommandContext(t.Context(), "bash", "-c", strings.ReplaceAll(script, "/run/database", folder))
		command.Env = append(os.Environ(), "DATABASE_SCHEMAS="+strings.Join(schemas, " "), "DATABASE_HOST="+host, "DATABASE_PORT="+port, "DATABASE_ADMIN=root", "DATABASE_OPTIONS=")
		if out, err := command.CombinedOutput(); err != nil || strings.Count(string(out), "has its schema and its account") != len(schemas) {
			t.Fatalf("the script: %v\n%s", err, out)
		}
	}
	query := func(user, password, statement string) (string, error) {
		command := exec.CommandContext(t.Context(), "mysql", "--batch", "--skip-column-names", "--host="+host, "--port="+port, "--user="+user, "--execute="+statement)
		command.Env = append(os.Environ(), "MYSQL_PWD="+password)
		out, err := command.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	must := func(user, password, statement string) string {
		t.Helper()
		out, err := query(user, password, statement)
		if err != nil {
			t.Fatalf("%s as %s: %v\n%s", statement, user, err, out)
		}
		return out
	}
	must("root", "", "DROP USER IF EXISTS ''@localhost") // the image has no anonymous account
	run()
	must("acct_order", "first", "CREATE TABLE acct_order.kept (id INT PRIMARY KEY); INSERT INTO acct_order.kept VALUES (7)")
	must("root", "", "CREATE DATABASE acctXorder")
	write("acct_order", "second")
	run()
	if got := must("acct_order", "second", "SELECT id FROM acct_order.kept"); got != "7" {
		t.Errorf("after the second run the table holds %q, want what was written before", got)
	}
	if got := must("acct_order", "second", "SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = 'acct_order'"); got != "utf8mb4_bin" {
		t.Errorf("the schema compares by %s, want utf8mb4_bin", got)
	}
	if out, err := query("acct_order", "first", "SELECT 1"); err == nil {
		t.Errorf("the old password still opens: %s", out)
	}
	for _, statement := range []string{
		"CREATE TABLE acct_user.x (id INT)", "SELECT * FROM mysql.user", "CREATE DATABASE another", "CREATE USER u@'%'",
		"CREATE TABLE acctXorder.x (id INT)", "GRANT SELECT ON acct_order.* TO acct_user@'%'", "USE acct_user",
	} {
		if out, err := query("acct_order", "second", statement); err == nil {
			t.Errorf("the account of order-service may %s: %s", statement, out)
		}
	}
	must("root", "", "FLUSH PRIVILEGES")
	if got := must("acct_backup", "first", "SELECT id FROM acct_order.kept"); got != "7" {
		t.Errorf("the account of backups reads %q, want what was written", got)
	}
	must("acct_backup", "first", "FLUSH TABLES WITH READ LOCK; UNLOCK TABLES")
	for _, statement := range []string{
		"INSERT INTO acct_order.kept VALUES (8)", "DROP TABLE acct_order.kept", "SELECT * FROM mysql.user", "USE acctXorder", "CREATE DATABASE another",
		"CREATE USER u@'%'", "GRANT SELECT ON acct_order.* TO acct_user@'%'", "SET GLOBAL max_connections = 1", "SELECT SLEEP(0) INTO OUTFILE '/tmp/acct'",
	} {
		if out, err := query("acct_backup", "first", statement); err == nil {
			t.Errorf("the account of backups may %s: %s", statement, out)
		}
	}
}

// TestAuthorityOfTheDatabase: whoever talks to a server that is not ours is given the authority that its certificate is checked with, and told where
// it is; nobody else is, and it is trusted for nothing else.
func TestAuthorityOfTheDatabase(t *testing.T) {
	t.Parallel()
	const external = "database: {mode: external, existingSecret: mine, external: {host: db.example.com, sslMode: VERIFY_IDENTITY, caSecret: authority}}"
	for _, test := range []struct {
		name, mode, secret string
		given              variant
	}{
		{"by hand", "VERIFY_IDENTITY", "authority", variant{values: "{" + external + ", " + backups[1:]}},
		{"by Terraform", "VERIFY_CA", "database-ca", variant{files: []string{"values-production.yaml", "../../../test/terraform/testdata/production-shop.yaml"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			checkAuthority(t, installed(t, test.given), test.mode, test.secret)
		})
	}
}

// checkAuthority looks at every pod of the objects, for a Secret with the authority and a mode.
func checkAuthority(t *testing.T, objects []*unstructured.Unstructured, mode, secret string) {
	t.Helper()
	told := 0
	for _, object := range objects {
		pod, ok := podOf(t, object)
		if !ok {
			continue
		}
		mounted := slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.Name == "database-ca" && v.Secret.SecretName == secret && cmp.Equal(v.Secret.Items, []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}})
		})
		talks := false
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			variables := environment(c)
			source, options := variables["SPRING_DATASOURCE_URL"], variables["DATABASE_OPTIONS"]
			sees := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "database-ca" && m.MountPath == "/run/database-ca" })
			if (source != "" || options != "") != sees {
				t.Errorf("%s: %s talks to the database by %q %q and sees the authority: %v", title(object), c.Name, source, options, sees)
			}
			if source != "" && !strings.HasSuffix(source, "?sslMode="+mode+"&serverSslCert=/run/database-ca/ca.crt") {
				t.Errorf("%s: %s talks to %s", title(object), c.Name, source)
			}
			if options != "" && options != "--ssl-mode="+mode+" --ssl-ca=/run/database-ca/ca.crt" {
				t.Errorf("%s: %s talks to the database with %s", title(object), c.Name, options)
			}
			if strings.HasPrefix(variables["SSL_CERT_FILE"], "/run/database-ca") {
				t.Errorf("%s: %s trusts the database's authority for everything", title(object), c.Name)
			}
			talks = talks || sees
		}
		if mounted != talks {
			t.Errorf("%s is given the authority: %v, want %v", title(object), mounted, talks)
		}
		if talks {
			told++
		}
	}
	if want := 7 + 2 + 3; told != want { // components, jobs, and what dumps, ships and restores
		t.Errorf("%d pods are given the authority, want %d", told, want)
	}
}

// TestAnotherAuthority: with the values that Terraform gives, pods that have read the authority carry its checksum, so that another one makes them anew.
func TestAnotherAuthority(t *testing.T) {
	t.Parallel()
	carry := 0
	for _, object := range installed(t, variant{files: []string{"values-production.yaml", "../../../test/terraform/testdata/production-shop.yaml"}}) {
		if object.GetKind() != "Deployment" {
			continue // a job reads it as it begins
		}
		pod := as[appsv1.Deployment](t, object).Spec.Template
		talks := slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
			return environment(c)["SPRING_DATASOURCE_URL"] != "" && !slices.Contains(c.Args, "--metrics-only") // which reads a bucket and no database
		})
		if !talks {
			continue
		}
		carry++
		if len(pod.Annotations["checksum/database-ca"]) != 64 {
			t.Errorf("%s: its pods carry %v and no checksum of the authority", title(object), pod.Annotations)
		}
	}
	if carry != 7 {
		t.Errorf("%d deployments talk to the database, want 7", carry)
	}
}
