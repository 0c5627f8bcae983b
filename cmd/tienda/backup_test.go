package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"tienda/backup"
	"tienda/sqldb"
)

// backupEnvironment is one with a bucket, and keys that are in nobody's messages.
func backupEnvironment(t *testing.T) environment {
	t.Helper()
	store := s3mem.New()
	if err := store.CreateBucket("backups"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(store, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(server.Close)
	return environment{"TIENDA_BACKUP_BUCKET=" + server.URL + "/backups/shop", "AWS_ACCESS_KEY_ID=theaccesskey", "AWS_SECRET_ACCESS_KEY=thesecretkey"}
}

// said is what a command prints, and its error.
func said(t *testing.T, environ environment, args ...string) (out string, err error) {
	t.Helper()
	var text, log bytes.Buffer
	err = Run(t.Context(), args, environ, terminal{&text, &log})
	for _, secret := range []string{"theaccesskey", "thesecretkey", "thepassword"} {
		if strings.Contains(text.String()+log.String()+fmt.Sprint(err), secret) {
			t.Errorf("tienda %s tells a secret: %s%s%v", strings.Join(args, " "), text.String(), log.String(), err)
		}
	}
	return text.String(), err
}

// TestBackupMistakes: what cannot work says what to do.
func TestBackupMistakes(t *testing.T) {
	t.Parallel()
	with := backupEnvironment(t)
	server := append(with, "SPRING_DATASOURCE_URL=jdbc:mysql://127.0.0.1:1/tienda", "SPRING_DATASOURCE_USERNAME=root", "SPRING_DATASOURCE_PASSWORD=thepassword")
	key := filepath.Join(t.TempDir(), "key")
	public, err := said(t, nil, "backup", "keygen", "--out", key)
	if err != nil || !strings.HasPrefix(public, "age1") {
		t.Fatalf("keygen = %q, %v", public, err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the private key is %v, %v", info, err)
	}
	if text, err := os.ReadFile(key); err != nil || !strings.Contains(string(text), strings.TrimSpace(public)) || !strings.Contains(string(text), "AGE-SECRET-KEY-1") {
		t.Errorf("the private key reads %q, %v", text, err)
	}
	for _, test := range []struct {
		environ environment
		args    string
		want    string
	}{
		{nil, "backup list", "--bucket"},
		{with, "backup list --bucket s3://b", "is not one such as"},
		{environment{with[0]}, "backup list", "AWS_SECRET_ACCESS_KEY"},
		{with, "backup create", "SPRING_DATASOURCE_URL"},
		{server, "backup create --recipient nonsense", "tienda backup keygen"},
		{server, "backup create --recipient " + strings.TrimSpace(public), "connection refused"},
		{server, "backup ship --every 2m", "at most 30s"},
		{with, "backup ship --recipient " + strings.TrimSpace(public), "SPRING_DATASOURCE_URL"},
		{with, "backup fetch --out " + filepath.Join(t.TempDir(), "sql") + " --identity " + key, "has none"},
		{with, "backup fetch --out " + key + " --identity " + key, "exists"},
		{with, "backup fetch --out " + filepath.Join(t.TempDir(), "sql") + " --identity /nowhere", "private key"},
		{with, "backup test --identity " + key, "has none"},
		{with, "backup take-over somebody", "TIENDA_BACKUP_OWNER"},
		{with, "backup take-over somebody --owner me", "nothing is changed"},
		{with, "backup keygen --out " + key, "exists"},
		{server, "restore --until yesterday --identity " + key, "2006-01-02T15:04:05Z"},
		{server, "restore --identity " + key, "has none"},
		{append(server, "TIENDA_RESTORE_UNTIL=now"), "restore --identity " + key, "--until"},
	} {
		if _, err := said(t, test.environ, strings.Fields(test.args)...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("tienda %s = %v, want an error with %q", test.args, err, test.want)
		}
	}
}

// TestBackupList shows backups for people and for programs.
func TestBackupList(t *testing.T) {
	t.Parallel()
	environ := backupEnvironment(t)
	put(t, environ, "dumps/20260102T030405Z-1f3a.sql.gz.age", "dump")
	put(t, environ, "dumps/20260102T030405Z-1f3a.json", `{"name":"20260102T030405Z-1f3a","size":4,"finished":"2026-01-02T03:05:00Z","schemas":["a","b"],"rows":{"a":{"orders":40},"b":{"users":2}},"position":{"file":"binlog.000007","offset":42}}`)
	const line = "20260102T030405Z-1f3a  2026-01-02T03:05:00Z  4      2        42    binlog.000007:42  "
	for _, test := range []struct{ record, want string }{
		{"", "not yet"},
		{"nonsense", "not yet"},
		{`{"ok":false,"finished":"2026-01-03T00:00:00Z","error":"it is damaged"}`, "failed, 2026-01-03T00:00:00Z: it is damaged"},
		{`{"ok":true,"finished":"2026-01-03T00:00:00Z"}`, "good, 2026-01-03T00:00:00Z"},
	} {
		if test.record != "" {
			put(t, environ, "dumps/20260102T030405Z-1f3a.test.json", test.record)
		}
		if out, err := said(t, environ, "backup", "list"); err != nil || !strings.Contains(out, line+test.want+"\n") {
			t.Errorf("with the record %q list = %v\n%s\nwant %s", test.record, err, out, line+test.want)
		}
	}
	out, err := said(t, environ, "backup", "list", "--json")
	var backups []backup.Backup
	if err != nil || json.Unmarshal([]byte(out), &backups) != nil || len(backups) != 1 || backups[0].Position.Offset != 42 || !backups[0].Test.OK {
		t.Errorf("list --json = %s, %v", out, err)
	}
}

// TestBackupTakeOver: a folder changes its owner when the one of before is named.
func TestBackupTakeOver(t *testing.T) {
	t.Parallel()
	environ := backupEnvironment(t)
	put(t, environ, "owner.json", `{"name":"old/shop","since":"2026-01-02T03:04:05Z"}`)
	if out, err := said(t, environ, "backup", "list"); err != nil || !strings.Contains(out, `the folder is that of "old/shop" since 2026-01-02T03:04:05Z`) {
		t.Errorf("list = %s, %v", out, err)
	}
	environ = append(environ, "TIENDA_BACKUP_OWNER=new/shop")
	key := filepath.Join(t.TempDir(), "key")
	if _, err := said(t, nil, "backup", "keygen", "--out", key); err != nil {
		t.Fatal(err)
	}
	if _, err := said(t, environ, "backup", "test", "--identity", key); err == nil || !strings.Contains(err.Error(), `tienda backup take-over "old/shop"`) {
		t.Errorf("a test of another's backups = %v, want a refusal that says what to do", err)
	}
	if _, err := said(t, environ, "backup", "take-over", "other/shop"); err == nil || !strings.Contains(err.Error(), "old/shop") {
		t.Errorf("take-over from somebody else = %v", err)
	}
	if out, err := said(t, environ, "backup", "take-over", "old/shop"); err != nil || !strings.Contains(out, `"new/shop"`) {
		t.Errorf("take-over = %s, %v", out, err)
	}
	if _, err := said(t, environ, "backup", "test", "--identity", key); err == nil || !strings.Contains(err.Error(), "has none") {
		t.Errorf("a test of no backups = %v", err)
	}
}

// put stores an object in the folder of the backups.
func put(t *testing.T, environ environment, name, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, environ.get("TIENDA_BACKUP_BUCKET")+"/"+name, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("put %s: %v, %v", name, answer, err)
	}
	answer.Body.Close()
}

// TestBackupMetrics: the metrics of all backups are served without a server as well.
func TestBackupMetrics(t *testing.T) {
	t.Parallel()
	environ := backupEnvironment(t)
	port := freePorts(t)["cloud-config"]
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, []string{"backup", "ship", "--metrics-only", "--listen", fmt.Sprintf("127.0.0.1:%d", port)}, environ, terminal{io.Discard, io.Discard})
	}()
	text := ""
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(text, "backup_bucket_up 1"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the bucket is not looked at:\n%s", text)
		}
		if answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", port)); err == nil {
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			text = string(body)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ship = %v", err)
	}
}

// TestIncompleteBackup: a backup that lacks a schema of the shop is not good.
func TestIncompleteBackup(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ schemas, want string }{
		{"tienda_user tienda_product", "none that ends in _order"},
		{"tienda_order tienda_payment tienda_product tienda_shipping", "lacks the schemas tienda_favourite, tienda_user:"},
	} {
		restored := backup.Restored{Backup: backup.Backup{Schemas: strings.Fields(test.schemas)}}
		err := lookAtRestored(t.Context(), sqldb.Config{URL: "jdbc:mysql://127.0.0.1:1/"}, restored)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("a backup of %s = %v, want an error with %q", test.schemas, err, test.want)
		}
	}
}

// TestBackupOfNoTables: a backup of schemas in which there is nothing yet is not good, though a start of the program would make their tables.
func TestBackupOfNoTables(t *testing.T) {
	t.Parallel()
	server, err := backup.StartPrivate(t.Context(), true, t.TempDir(), 0, "--skip-log-bin")
	if err != nil {
		t.Fatalf("%v; test/mariadb.sh installs MariaDB", err)
	}
	t.Cleanup(server.Kill)
	var restored backup.Restored
	for name := range schemas() {
		// A connection that makes its schema is all that it takes.
		config := databaseOf(name, "", environment{"SPRING_DATASOURCE_URL=" + server.Server.URL + "tienda?createDatabaseIfNotExist=true", "SPRING_DATASOURCE_USERNAME=root"}, true)
		db, err := sqldb.Open(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		schema, _, _ := strings.Cut(config.URL[strings.LastIndexByte(config.URL, '/')+1:], "?")
		restored.Backup.Schemas = append(restored.Backup.Schemas, schema)
	}
	restored.Last = time.Now()
	if err := lookAtRestored(t.Context(), server.Server, restored); err == nil || !strings.Contains(err.Error(), "has no tables") {
		t.Errorf("a backup of empty schemas = %v, want an error", err)
	}
}

// TestBackupInstall: what is copied runs.
func TestBackupInstall(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if _, err := said(t, nil, "backup", "install", folder); err != nil {
		t.Fatal(err)
	}
	// The program of this test is the test.
	out, err := exec.CommandContext(t.Context(), filepath.Join(folder, "tienda"), "-test.run=^$").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("the copy says %s, %v", out, err)
	}
	if _, err := said(t, nil, "backup", "install", filepath.Join(folder, "nowhere")); err == nil {
		t.Error("a folder that is not there is written to")
	}
	if left, _ := filepath.Glob(filepath.Join(folder, ".new-*")); len(left) > 0 {
		t.Errorf("%v stay behind", left)
	}
}
