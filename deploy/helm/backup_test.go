package helm_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestBackupPods: the program comes from our image and runs in the one with the database's tools; each pod has the secrets that it needs
// and no more, and none of them is an argument.
func TestBackupPods(t *testing.T) {
	t.Parallel()
	objects := installed(t, variant{values: backups})
	secrets := func(pod corev1.PodSpec) []string {
		var names []string
		for _, variable := range pod.Containers[0].Env {
			if variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil {
				names = append(names, variable.ValueFrom.SecretKeyRef.Name+"/"+variable.ValueFrom.SecretKeyRef.Key)
			}
		}
		for _, volume := range pod.Volumes {
			if volume.Secret != nil {
				names = append(names, volume.Secret.SecretName+"/"+volume.Secret.Items[0].Key)
			}
		}
		slices.Sort(names)
		return names
	}
	bucket := []string{"bucket/access-key", "bucket/secret-key"}
	for name, want := range map[string]struct {
		args, secrets []string
	}{
		"backup":              {[]string{"backup", "create", "--keep=336h"}, append(bucket, "database/tienda_backup")},
		"backup-ship":         {[]string{"backup", "ship", "--every=5s"}, append(bucket, "database/tienda_backup")},
		"backup-restore-test": {[]string{"backup", "test"}, append(bucket, "restore-test/identity")},
		"restore":             {[]string{"restore", "--replace"}, append(bucket, "database/root-password", "restore/backup", "restore/identity", "restore/until")},
	} {
		kind := "CronJob"
		if name == "backup-ship" {
			kind = "Deployment"
		}
		pod, _ := podOf(t, find(t, objects, kind, name))
		container, program := pod.Spec.Containers[0], pod.Spec.InitContainers[0]
		if diff := cmp.Diff(want.args, container.Args); diff != "" {
			t.Errorf("%s: arguments (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(want.secrets, secrets(pod.Spec)); diff != "" {
			t.Errorf("%s: secrets (-want +got):\n%s", name, diff)
		}
		scratch := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "spool" })
		if limit := container.Resources.Limits.StorageEphemeral(); limit.Cmp(*pod.Spec.Volumes[scratch].EmptyDir.SizeLimit) != 0 || limit.IsZero() {
			t.Errorf("%s is evicted at %v of its scratch disk of %v", name, limit, pod.Spec.Volumes[scratch].EmptyDir.SizeLimit)
		}
		if container.Image != "percona/percona-server:8.4.8-8.1" || !strings.HasPrefix(program.Image, "tienda:") {
			t.Errorf("%s runs %s with the program of %s", name, container.Image, program.Image)
		}
		if container.Command[0] != program.Args[2]+"/tienda" || program.VolumeMounts[0].MountPath != program.Args[2] || !container.VolumeMounts[0].ReadOnly {
			t.Errorf("%s: the program is put into %v and run as %v", name, program.Args, container.Command)
		}
	}
	if restore := named[batchv1.CronJob](t, objects, "CronJob", "restore"); restore.Spec.Suspend == nil || !*restore.Spec.Suspend {
		t.Error("a restore starts by itself")
	}
	ship := named[appsv1.Deployment](t, objects, "Deployment", "backup-ship")
	if *ship.Spec.Replicas != 1 || ship.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		t.Errorf("there may be two that ship: %+v", ship.Spec)
	}
	paused := installed(t, variant{values: strings.Replace(backups, "bucket: ", "paused: true, bucket: ", 1)})
	for _, name := range []string{"backup", "backup-restore-test"} {
		for _, is := range []struct {
			objects []*unstructured.Unstructured
			paused  bool
		}{{objects, false}, {paused, true}} {
			if job := named[batchv1.CronJob](t, is.objects, "CronJob", name); *job.Spec.Suspend != is.paused {
				t.Errorf("%s is suspended: %v, want %v", name, *job.Spec.Suspend, is.paused)
			}
		}
	}
	if replicas := *named[appsv1.Deployment](t, paused, "Deployment", "backup-ship").Spec.Replicas; replicas != 0 {
		t.Errorf("%d ship while backups are paused, and begin with a backup of what is there", replicas)
	}
	if found := names(installed(t, variant{}), "CronJob"); found != nil {
		t.Errorf("without a bucket there are %v", found)
	}
	untested := installed(t, variant{values: strings.Replace(backups, "identitySecret: restore-test", "", 1)})
	if diff := cmp.Diff([]string{"backup", "restore"}, names(untested, "CronJob")); diff != "" {
		t.Errorf("without a private key (-want +got):\n%s", diff)
	}
	quiet := named[appsv1.Deployment](t, installed(t, variant{values: strings.Replace(backups, "bucket: ", "shipping: {enabled: false}, bucket: ", 1)}), "Deployment", "backup-ship")
	if diff := cmp.Diff([]string{"backup", "ship", "--metrics-only"}, quiet.Spec.Template.Spec.Containers[0].Args); diff != "" {
		t.Errorf("without shipping (-want +got):\n%s", diff)
	}
}

// TestBackupOwner: each installation has a name of its own in the bucket, which upgrades keep, or the one that it is given; every pod that works on
// backups knows it.
func TestBackupOwner(t *testing.T) {
	t.Parallel()
	owner := func(objects []*unstructured.Unstructured) string {
		return named[corev1.ConfigMap](t, objects, "ConfigMap", "backup-owner").Data["owner"]
	}
	first, second := installed(t, variant{values: backups}), installed(t, variant{values: backups})
	if a, b := owner(first), owner(second); a == b || !strings.Contains(a, namespace+"/") {
		t.Errorf("two installations are %q and %q", a, b)
	}
	if again := owner(installed(t, variant{values: backups}, find(t, first, "ConfigMap", "backup-owner"))); again != owner(first) {
		t.Errorf("an upgrade makes %q of %q", again, owner(first))
	}
	given := installed(t, variant{values: strings.Replace(backups, "bucket: ", "owner: stage, bucket: ", 1)})
	if slices.Contains(names(given, "ConfigMap"), "backup-owner") {
		t.Error("a name is made though one is given")
	}
	for _, workload := range [][2]string{{"CronJob", "backup"}, {"Deployment", "backup-ship"}, {"CronJob", "backup-restore-test"}, {"CronJob", "restore"}} {
		variable := func(objects []*unstructured.Unstructured) corev1.EnvVar {
			pod, _ := podOf(t, find(t, objects, workload[0], workload[1]))
			i := slices.IndexFunc(pod.Spec.Containers[0].Env, func(v corev1.EnvVar) bool { return v.Name == "TIENDA_BACKUP_OWNER" })
			if i < 0 {
				t.Fatalf("%s does not know whose the folder is", workload[1])
			}
			return pod.Spec.Containers[0].Env[i]
		}
		if v := variable(given); v.Value != "stage" {
			t.Errorf("%s: the owner is %+v, want stage", workload[1], v)
		}
		if v := variable(first); v.ValueFrom == nil || v.ValueFrom.ConfigMapKeyRef == nil || v.ValueFrom.ConfigMapKeyRef.Name != "backup-owner" || v.ValueFrom.ConfigMapKeyRef.Key != "owner" {
			t.Errorf("%s: the owner is %+v, want that of backup-owner", workload[1], v)
		}
	}
}

// TestBackupPolicies: who works on backups reaches the bucket and, if it is to, the database; nobody reaches them but who scrapes.
func TestBackupPolicies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		bucket, address string
		port            int
	}{
		{"https://nyc3.digitaloceanspaces.com/b", "5.101.109.1", 443}, {"http://minio.storage:9000/b/f", "10.1.2.3", 9000}, {"http://minio/b", "10.1.2.3", 80},
	} {
		values := strings.Replace(backups, "https://nyc3.digitaloceanspaces.com/shop-backups/stage", test.bucket, 1)
		objects := installed(t, variant{values: "{baseline: {create: true}, " + values[1:]})
		n := network{t, all[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy")}
		places := pods(t, objects)
		for name, database := range map[string]bool{"backup": true, "backup-ship": true, "restore": true, "backup-restore-test": false} {
			if got := n.allows(places[name], places["mysql"], 3306); got != database {
				t.Errorf("%s may reach the database: %v, want %v", name, got, database)
			}
			for port, want := range map[int]bool{test.port: true, test.port + 1: false} {
				if got := n.allows(places[name], place{address: test.address}, port); got != want {
					t.Errorf("%s may reach %s on port %d: %v, want %v", name, test.bucket, port, got, want)
				}
			}
			if !n.allows(places[name], place{namespace: "kube-system", labels: map[string]string{"k8s-app": "kube-dns"}}, 53) {
				t.Errorf("%s cannot ask for names", name)
			}
			for component := range table(t) {
				if n.allows(places[name], places[component], table(t)[component].Port) || n.allows(places[component], places[name], 9100) {
					t.Errorf("%s and %s may talk", name, component)
				}
			}
			for from, want := range map[string]bool{"monitoring": name == "backup-ship", "default": false, "ingress-nginx": false} {
				if got := n.allows(stranger(from), places[name], 9100); got != want {
					t.Errorf("pods of %s may reach %s: %v, want %v", from, name, got, want)
				}
			}
		}
	}
}
