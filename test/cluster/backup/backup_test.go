// Package backup_test takes backups of a shop on a real cluster, destroys its database with the volume, and then the whole installation, and brings
// it back each time as docs/recovery.md says.
package backup_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"tienda/test/cluster/clustertest"
)

const (
	chart      = "../../../deploy/helm/tienda"
	release    = "shop"
	first      = shop("backup-stage")
	second     = shop("backup-again-stage") // which takes the place of the first
	entry      = "backup-entry"
	monitoring = "backup-monitoring"
	storage    = "backup-storage" // where the bucket is
	components = "app.kubernetes.io/component in (infrastructure,business,edge)"
	// patience is for a shop that comes up on a machine that does other things too.
	patience = 5 * time.Minute
)

// shop is an installation, by its namespace.
type shop string

// TestBackupAndRestore is the life of a shop's data: backups are taken and tested, the database is lost with its volume, and then everything there is,
// and what was shipped comes back each time: in the same installation, and in a new one.
func TestBackupAndRestore(t *testing.T) {
	c := clustertest.Open(t)
	for _, name := range []string{string(first), string(second), entry, monitoring} {
		c.DeleteNamespace(t, name)
	}
	bucket(t, c)
	key, public := newKey(t)
	first.install(t, c, key, public, "false")
	c.Ready(t, string(first), patience)
	first.buy(t, c, 3)

	first.job(t, "backup-1", "cronjob/backup")
	if said := first.job(t, "backup-restore-test-1", "cronjob/backup-restore-test"); !strings.Contains(said, "is good: restored with") {
		t.Errorf("the restore test says %q", said)
	}
	first.buy(t, c, 3)
	before := first.orders(t)
	first.covered(t)
	first.tells(t, "backup_bucket_up 1", "backup_point_in_time 1", "backup_restore_test_ok 1", "backup_restore_test_missing 0", "backup_restore_test_failed 0")

	// The volume is gone, and everything in it.
	lost := time.Now()
	first.kubectl(t, "scale", "deployment", "--selector", components, "--replicas=0")
	first.kubectl(t, "scale", "deployment/backup-ship", "--replicas=0")
	first.kubectl(t, "scale", "statefulset/mysql", "--replicas=0")
	first.kubectl(t, "wait", "--for=delete", "pod", "--selector=app.kubernetes.io/part-of=tienda,app.kubernetes.io/component notin (backup)", "--timeout=3m")
	first.kubectl(t, "delete", "pvc/data-mysql-0", "--wait")
	first.kubectl(t, "scale", "statefulset/mysql", "--replicas=1")
	first.kubectl(t, "rollout", "status", "statefulset/mysql", "--timeout=5m")
	if empty := first.query(t, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema LIKE 'tienda%'"); empty != "0" {
		t.Fatalf("the new volume has %s tables: nothing was destroyed", empty)
	}
	said := first.restore(t, "--from-file=identity="+key)
	if strings.Contains(said, "take-over") {
		t.Errorf("an installation that has the folder is to take it over: %s", said)
	}
	if after := first.orders(t); after != before {
		t.Errorf("%s orders came back of %s", after, before)
	}
	first.kubectl(t, "scale", "deployment", "--selector", components, "--replicas=1")
	first.kubectl(t, "scale", "deployment/backup-ship", "--replicas=1")
	c.Ready(t, string(first), patience)
	first.buy(t, c, 1)
	t.Logf("the shop sold again %s after its volume was lost", time.Since(lost).Round(time.Second))
	first.covered(t)
	first.tells(t, "backup_point_in_time 1")

	// The cluster is gone, and the shop is installed in another one.
	before, name := first.orders(t), first.newest(t)
	lost = time.Now()
	first.uninstall(t)
	clustertest.Run(t, "kubectl", "delete", "namespace", string(first), "--wait")
	second.install(t, c, key, public, "true")
	c.Ready(t, string(second), patience)
	second.kubectl(t, "scale", "deployment", "--selector", components, "--replicas=0")
	second.kubectl(t, "wait", "pod", "--selector", components, "--for=delete", "--timeout=5m")
	said = second.restore(t, "--from-file=identity="+key, "--from-literal=backup="+name)
	if after := second.orders(t); after != before {
		t.Errorf("%s orders came back of %s", after, before)
	}
	owner := regexp.MustCompile(`tienda backup take-over \\?"([^"\\]+)`).FindStringSubmatch(said)
	if owner == nil || !strings.HasPrefix(owner[1], string(first)+"/"+release+"/") {
		t.Fatalf("the restore does not say whose the folder is: %s", said)
	}
	clustertest.Run(t, "helm", "upgrade", release, chart, "--namespace="+string(second), "--reset-then-reuse-values", "--set=backup.paused=false")
	second.kubectl(t, "scale", "deployment", "--selector", components, "--replicas=1")
	second.kubectl(t, "rollout", "status", "deployment/backup-ship", "--timeout=5m")
	second.kubectl(t, "exec", "deployment/backup-ship", "--", "/opt/tienda/tienda", "backup", "take-over", owner[1])
	c.Ready(t, string(second), patience)
	second.buy(t, c, 1)
	t.Logf("the shop sold again %s after its installation was lost", time.Since(lost).Round(time.Second))
	second.covered(t)
	second.tells(t, "backup_point_in_time 1")
}

// install installs a shop whose backups are paused, or not.
func (s shop) install(t *testing.T, c clustertest.Cluster, key, public, paused string) {
	t.Helper()
	t.Cleanup(func() { s.uninstall(t) })
	c.Explain(t, string(s))
	clustertest.Run(t, "kubectl", "create", "namespace", string(s))
	s.kubectl(t, "create", "secret", "generic", "bucket", "--from-literal=access-key=test", "--from-literal=secret-key=test")
	s.kubectl(t, "create", "secret", "generic", "restore-test", "--from-file=identity="+key)
	clustertest.Run(t, "helm", append([]string{"install", release, chart, "--take-ownership", "--set=backup.paused=" + paused}, s.values(t, public)...)...)
}

func (s shop) uninstall(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	if text, err := clustertest.TryRun(ctx, "helm", "uninstall", release, "--namespace="+string(s), "--ignore-not-found"); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

// restore has the job of a restore run with a secret, and is what it said.
func (s shop) restore(t *testing.T, secret ...string) string {
	t.Helper()
	s.kubectl(t, append([]string{"create", "secret", "generic", "restore"}, secret...)...)
	said := s.job(t, "restore-1", "cronjob/restore")
	t.Log(said)
	s.kubectl(t, "delete", "secret", "restore")
	return said
}

// newest is the name of the newest backup.
func (s shop) newest(t *testing.T) string {
	t.Helper()
	list := s.kubectl(t, "exec", "deployment/backup-ship", "--", "/opt/tienda/tienda", "backup", "list")
	name := regexp.MustCompile(`(?m)^\d{8}T\d{6}Z-[0-9a-f]{4}`).FindString(list)
	if name == "" {
		t.Fatalf("there is no backup in\n%s", list)
	}
	return name
}

// tells waits until the metrics have some lines.
func (s shop) tells(t *testing.T, lines ...string) {
	t.Helper()
	clustertest.Eventually(t, "the metrics tell of backups and tests", 2*time.Minute, func(context.Context) error {
		told := s.metrics(t)
		for _, want := range lines {
			if !strings.Contains(told, "\n"+want+"\n") {
				return fmt.Errorf("there is no line %q in\n%s", want, told)
			}
		}
		return nil
	})
}

// bucket runs a stand-in for S3.
func bucket(t *testing.T, c clustertest.Cluster) {
	t.Helper()
	c.Namespace(t, storage)
	pod := clustertest.Restricted("s3", clustertest.Image(t, "s3"))
	pod.Labels = map[string]string{"app": "s3"}
	c.Start(t, storage, pod)
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s3"}, Spec: corev1.ServiceSpec{
		Selector: pod.Labels, Ports: []corev1.ServicePort{{Port: 9000, TargetPort: intstr.FromInt32(9000)}},
	}}
	if _, err := c.CoreV1().Services(storage).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// newKey has the program make a key.
func newKey(t *testing.T) (file, public string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "key")
	command := exec.CommandContext(t.Context(), "go", "run", "./cmd/tienda", "backup", "keygen", "--out", file)
	command.Dir = "../../.."
	out, err := command.Output()
	if err != nil {
		t.Fatalf("make a key: %v\n%s", err, out)
	}
	return file, strings.TrimSpace(string(out))
}

// values are the arguments of Helm for stage with backups.
func (s shop) values(t *testing.T, recipient string) []string {
	t.Helper()
	arguments := []string{"--namespace=" + string(s), "--values=" + chart + "/values-stage.yaml", "--values=../shop/testdata/values.yaml", "--values=testdata/values.yaml",
		"--set=backup.recipients={" + recipient + "}"}
	for value, image := range map[string]string{"image": "tienda", "database.image": "mariadb", "backup.image": "mariadb"} {
		name := clustertest.Image(t, image)
		colon := strings.LastIndex(name, ":")
		arguments = append(arguments, "--set="+value+".repository="+name[:colon], "--set-string="+value+".tag="+name[colon+1:])
	}
	return arguments
}

// kubectl is kubectl in the shop's namespace.
func (s shop) kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	return clustertest.Run(t, "kubectl", append([]string{"--namespace=" + string(s)}, arguments...)...)
}

// job starts a job from a cron job, waits for its end, and is what it said.
func (s shop) job(t *testing.T, name, from string) string {
	t.Helper()
	s.kubectl(t, "create", "job", name, "--from="+from)
	clustertest.Eventually(t, "job "+name+" is done", patience, func(ctx context.Context) error {
		state, err := clustertest.TryRun(ctx, "kubectl", "--namespace="+string(s), "get", "job/"+name, `--output=jsonpath={.status.conditions[?(@.status=="True")].type}`)
		if err != nil {
			return err
		}
		// A pod whose network is not there yet fails, and the job makes another, as often as it is told to.
		switch {
		case strings.Contains(state, "Complete"):
			return nil
		case !strings.Contains(state, "Fail"):
			return fmt.Errorf("it is under way")
		}
		t.Fatalf("job %s is %s:\n%s", name, state, s.kubectl(t, "logs", "job/"+name, "--all-containers"))
		return nil
	})
	return s.kubectl(t, "logs", "job/"+name)
}

// query asks the database as root.
func (s shop) query(t *testing.T, statement string) string {
	t.Helper()
	return strings.TrimSpace(s.kubectl(t, "exec", "statefulset/mysql", "--", "bash", "-c",
		`MYSQL_PWD=$(cat /run/database/root-password) mysql --user=root --batch --skip-column-names --execute="$1"`, "query", statement))
}

func (s shop) orders(t *testing.T) string {
	t.Helper()
	return s.query(t, "SELECT COUNT(*) FROM tienda_order.orders")
}

// metrics are what Prometheus would be told.
func (s shop) metrics(t *testing.T) string {
	t.Helper()
	return s.kubectl(t, "exec", "deployment/backup-ship", "--", "bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/9100; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; cat <&3`)
}

// covered waits until everything that is written is in the bucket.
func (s shop) covered(t *testing.T) {
	t.Helper()
	now := time.Now()
	clustertest.Eventually(t, "everything is shipped", 2*time.Minute, func(context.Context) error {
		for line := range strings.Lines(s.metrics(t)) {
			var at float64
			if n, _ := fmt.Sscanf(line, "backup_binlog_covered_timestamp_seconds %g", &at); n == 1 && time.UnixMilli(int64(at*1000)).After(now) {
				return nil
			}
		}
		return fmt.Errorf("it is not")
	})
}

// buy has a customer buy so many times, from where the entry's pods are, and proves what became of the orders.
func (s shop) buy(t *testing.T, c clustertest.Cluster, checkouts int) {
	t.Helper()
	customer := clustertest.Restricted(fmt.Sprintf("customer-%d", time.Now().UnixMilli()), clustertest.Image(t, "tienda"), "load", "--target=http://api-gateway."+string(s)+":8080",
		"--users=1", fmt.Sprintf("--checkouts=%d", checkouts), "--verify")
	customer.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "home", MountPath: "/var/lib/tienda"}}
	customer.Spec.Volumes = []corev1.Volume{{Name: "home", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	c.Finish(t, entry, customer, 2*time.Minute)
}
