// Package backup_test takes backups of a shop on a real cluster, destroys its database with the volume, and brings it back
// as docs/recovery.md says.
package backup_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
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
	namespace  = "backup-stage"
	entry      = "backup-entry"
	monitoring = "backup-monitoring"
	storage    = "backup-storage" // where the bucket is
	components = "app.kubernetes.io/component in (infrastructure,business,edge)"
	// patience is for a shop that comes up on a machine that does other things too.
	patience = 5 * time.Minute
)

// TestBackupAndRestore is the life of a database: backups are taken and tested, it is lost with its volume, and comes back with every
// order that was shipped.
func TestBackupAndRestore(t *testing.T) {
	c := clustertest.Open(t)
	for _, name := range []string{namespace, entry, monitoring} {
		c.DeleteNamespace(t, name)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		if text, err := clustertest.TryRun(ctx, "helm", "uninstall", release, "--namespace="+namespace, "--ignore-not-found"); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	})
	c.Explain(t, namespace)
	bucket(t, c)
	key, public := newKey(t)
	clustertest.Run(t, "kubectl", "create", "namespace", namespace)
	kubectl(t, "create", "secret", "generic", "bucket", "--from-literal=access-key=test", "--from-literal=secret-key=test")
	kubectl(t, "create", "secret", "generic", "restore-test", "--from-file=identity="+key)
	clustertest.Run(t, "helm", append([]string{"install", release, chart, "--take-ownership"}, values(t, public)...)...)
	c.Ready(t, namespace, patience)
	buy(t, c, 3)

	job(t, "backup-1", "cronjob/backup")
	if said := job(t, "backup-restore-test-1", "cronjob/backup-restore-test"); !strings.Contains(said, "is good: restored with") {
		t.Errorf("the restore test says %q", said)
	}
	buy(t, c, 3)
	before := orders(t)
	covered(t)
	clustertest.Eventually(t, "the metrics tell of backup and test", 2*time.Minute, func(context.Context) error {
		told := metrics(t)
		for _, want := range []string{"backup_bucket_up 1", "backup_point_in_time 1", "backup_restore_test_ok 1"} {
			if !strings.Contains(told, "\n"+want+"\n") {
				return fmt.Errorf("there is no line %q in\n%s", want, told)
			}
		}
		return nil
	})

	// The volume is gone, and everything with it.
	lost := time.Now()
	kubectl(t, "scale", "deployment", "--selector", components, "--replicas=0")
	kubectl(t, "scale", "deployment/backup-ship", "--replicas=0")
	kubectl(t, "scale", "statefulset/mysql", "--replicas=0")
	kubectl(t, "wait", "--for=delete", "pod", "--selector=app.kubernetes.io/part-of=tienda,app.kubernetes.io/component notin (backup)", "--timeout=3m")
	kubectl(t, "delete", "pvc/data-mysql-0", "--wait")
	kubectl(t, "scale", "statefulset/mysql", "--replicas=1")
	kubectl(t, "rollout", "status", "statefulset/mysql", "--timeout=5m")
	if empty := query(t, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema LIKE 'tienda%'"); empty != "0" {
		t.Fatalf("the new volume has %s tables: nothing was destroyed", empty)
	}
	kubectl(t, "create", "secret", "generic", "restore", "--from-file=identity="+key)
	t.Log(job(t, "restore-1", "cronjob/restore"))
	kubectl(t, "delete", "secret", "restore")
	if after := orders(t); after != before {
		t.Errorf("%s orders came back of %s", after, before)
	}
	kubectl(t, "scale", "deployment", "--selector", components, "--replicas=1")
	kubectl(t, "scale", "deployment/backup-ship", "--replicas=1")
	c.Ready(t, namespace, patience)
	buy(t, c, 1)
	t.Logf("the shop sold again %s after its volume was lost", time.Since(lost).Round(time.Second))
	covered(t)
	clustertest.Eventually(t, "the new history begins with a backup", 2*time.Minute, func(context.Context) error {
		if told := metrics(t); !strings.Contains(told, "\nbackup_point_in_time 1\n") {
			return fmt.Errorf("it has none:\n%s", told)
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
func values(t *testing.T, recipient string) []string {
	t.Helper()
	arguments := []string{"--namespace=" + namespace, "--values=" + chart + "/values-stage.yaml", "--values=../shop/testdata/values.yaml", "--values=testdata/values.yaml",
		"--set=backup.recipients={" + recipient + "}"}
	for value, image := range map[string]string{"image": "tienda", "database.image": "mariadb", "backup.image": "mariadb"} {
		name := clustertest.Image(t, image)
		colon := strings.LastIndex(name, ":")
		arguments = append(arguments, "--set="+value+".repository="+name[:colon], "--set-string="+value+".tag="+name[colon+1:])
	}
	return arguments
}

// kubectl is kubectl in the shop's namespace.
func kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	return clustertest.Run(t, "kubectl", append([]string{"--namespace=" + namespace}, arguments...)...)
}

// job starts a job from a cron job, waits for its end, and is what it said.
func job(t *testing.T, name, from string) string {
	t.Helper()
	kubectl(t, "create", "job", name, "--from="+from)
	clustertest.Eventually(t, "job "+name+" is done", patience, func(ctx context.Context) error {
		state, err := clustertest.TryRun(ctx, "kubectl", "--namespace="+namespace, "get", "job/"+name, "--output=jsonpath={.status.succeeded}/{.status.failed}")
		if err != nil {
			return err
		}
		switch state {
		case "1/":
			return nil
		case "/":
			return fmt.Errorf("it is under way")
		}
		t.Fatalf("job %s is %s:\n%s", name, state, kubectl(t, "logs", "job/"+name, "--all-containers"))
		return nil
	})
	return kubectl(t, "logs", "job/"+name)
}

// query asks the database as root.
func query(t *testing.T, statement string) string {
	t.Helper()
	return strings.TrimSpace(kubectl(t, "exec", "statefulset/mysql", "--", "bash", "-c",
		`MYSQL_PWD=$(cat /run/database/root-password) mysql --user=root --batch --skip-column-names --execute="$1"`, "query", statement))
}

func orders(t *testing.T) string {
	t.Helper()
	return query(t, "SELECT COUNT(*) FROM tienda_order.orders")
}

// metrics are what Prometheus would be told.
func metrics(t *testing.T) string {
	t.Helper()
	return kubectl(t, "exec", "deployment/backup-ship", "--", "bash", "-c", `exec 3<>/dev/tcp/127.0.0.1/9100; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; cat <&3`)
}

// covered waits until everything that is written is in the bucket.
func covered(t *testing.T) {
	t.Helper()
	now := time.Now()
	clustertest.Eventually(t, "everything is shipped", 2*time.Minute, func(context.Context) error {
		for line := range strings.Lines(metrics(t)) {
			var at float64
			if n, _ := fmt.Sscanf(line, "backup_binlog_covered_timestamp_seconds %g", &at); n == 1 && time.UnixMilli(int64(at*1000)).After(now) {
				return nil
			}
		}
		return fmt.Errorf("it is not")
	})
}

// buy has a customer buy so many times, from where the entry's pods are, and proves what became of the orders.
func buy(t *testing.T, c clustertest.Cluster, checkouts int) {
	t.Helper()
	customer := clustertest.Restricted(fmt.Sprintf("customer-%d", time.Now().UnixMilli()), clustertest.Image(t, "tienda"), "load", "--target=http://api-gateway."+namespace+":8080",
		"--users=1", fmt.Sprintf("--checkouts=%d", checkouts), "--verify")
	customer.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "home", MountPath: "/var/lib/tienda"}}
	customer.Spec.Volumes = []corev1.Volume{{Name: "home", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	c.Finish(t, entry, customer, 2*time.Minute)
}
