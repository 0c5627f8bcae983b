package entry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tienda/test/cluster/clustertest"
)

// customers is how many there are.
const customers = 4

// report is what the test reads of what "tienda load --json" writes.
type report struct {
	Outcomes map[string]int64 `json:"outcomes"`
	Steps    []struct {
		Name   string           `json:"name"`
		Count  int64            `json:"count"`
		P99    float64          `json:"p99Ms"`
		Errors map[string]int64 `json:"errors"`
	} `json:"steps"`
	Verification struct {
		Violations int64 `json:"violations"`
	} `json:"verification"`
}

// unanswered are the outcomes of checkouts that got no answer: in all tries, which must not be, and because the run was ended.
const unanswered, interrupted = "unknown", "interrupted"

// moved has customers buy while autoscaling adds pods, while pods are deleted, evicted as from a node that is drained, and replaced by those of
// another version. No call may fail that is not sent again with its key until it is answered; what customers were told must be so; and when they
// are gone, so is the pod that was added.
func (s shop) moved(t *testing.T) {
	load := clustertest.Restricted("customers", clustertest.Image(t, "tienda"), "load", "--target=https://"+host, fmt.Sprintf("--users=%d", customers),
		"--admin=admin", "--duration=1h", "--verify", "--json=/dev/stdout")
	load.Labels = map[string]string{"app.kubernetes.io/component": "test", "app.kubernetes.io/instance": "shop"} // whom the policies let to the entry
	load.Spec.HostAliases = []corev1.HostAlias{{IP: s.entry.Inside, Hostnames: []string{host}}}
	load.Spec.TerminationGracePeriodSeconds = new(int64(300)) // it is told to end, and proves what became of the orders
	load.Spec.Containers[0].Env = []corev1.EnvVar{
		{Name: "SSL_CERT_FILE", Value: "/run/tls/tls.crt"}, {Name: "TIENDA_LOAD_ADMIN_PASSWORD", Value: "0000"}, // the one of the demo, which everybody knows
	}
	load.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "tls", MountPath: "/run/tls"}}
	load.Spec.Volumes = []corev1.Volume{{Name: "tls", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "tienda-tls", Items: []corev1.KeyToPath{{Key: corev1.TLSCertKey, Path: "tls.crt"}}}}}}
	began := time.Now()
	s.Start(t, namespace, load)
	said := make(chan string, 1)
	go func() {
		text, err := clustertest.TryRun(t.Context(), "kubectl", "--namespace="+namespace, "logs", "--follow", load.Name)
		if err != nil {
			text += err.Error()
		}
		said <- text
	}()
	t.Cleanup(func() {
		if t.Failed() {
			out, err := clustertest.TryRun(context.WithoutCancel(t.Context()), "kubectl", "--namespace="+namespace, "logs", "--tail=40", load.Name)
			t.Logf("the customers said:\n%s%v", out, err)
		}
	})
	since := func() string { return fmt.Sprintf("%.0f s after the customers came", time.Since(began).Seconds()) }

	scaler := s.AutoscalingV2().HorizontalPodAutoscalers(namespace)
	const least = 2
	clustertest.Eventually(t, "autoscaling adds a pod of product-service", 2*time.Minute, func(ctx context.Context) error {
		select {
		case text := <-said:
			t.Fatalf("the customers are gone already:\n%s", text)
		default:
		}
		h, err := scaler.Get(ctx, "product-service", metav1.GetOptions{})
		if err == nil && h.Status.DesiredReplicas <= least {
			err = fmt.Errorf("it wants %d: %+v", h.Status.DesiredReplicas, h.Status.CurrentMetrics)
		}
		return err
	})
	t.Logf("%s product-service scales to more than %d pods", since(), least)

	// One pod of each component that has two, all at once.
	two := s.pairs(t)
	for _, pods := range two {
		if err := s.CoreV1().Pods(namespace).Delete(t.Context(), pods[0].Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s.Ready(t, namespace, 2*time.Minute)
	t.Logf("%s a pod of each of %d components was deleted, and there is another", since(), len(two))

	// All of them and the entry's, as from a node that is drained: there is no second one that they could go to, but as many as the budgets let go at a time.
	var drained errgroup.Group
	for _, pods := range append(s.pairs(t), s.Pods(t, clustertest.EntryNamespace, "app.kubernetes.io/name=nginx-ingress")) {
		for _, pod := range pods {
			drained.Go(func() error { return s.evict(t.Context(), pod) })
		}
	}
	if err := drained.Wait(); err != nil {
		t.Fatal(err)
	}
	s.Ready(t, namespace, 2*time.Minute)
	t.Logf("%s every pod was evicted, and there is another", since())

	before := s.version(t)
	s.helm(t, "upgrade", "next")
	s.Ready(t, namespace, 3*time.Minute)
	t.Logf("%s the image of another version was rolled out: %s in the place of %s", since(), s.next(t, before), before)

	if err := s.CoreV1().Pods(namespace).Delete(t.Context(), load.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	text := <-said
	table, result, _ := strings.Cut(text, "\n{\n")
	t.Logf("%s\n%s", since(), table)
	var r report
	if err := json.NewDecoder(strings.NewReader("{" + result)).Decode(&r); err != nil {
		t.Fatalf("the customers tell no result: %v\n%s", err, text)
	}
	if r.judge(t); t.Failed() {
		s.warnings(t)
	}

	// As one of the jobs of the database, which it lets in; their own policy is there only while they run.
	may := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "audit"}, Spec: networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app.kubernetes.io/name": "database-jobs"}},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}, Egress: []networkingv1.NetworkPolicyEgressRule{{}},
	}}
	if _, err := s.NetworkingV1().NetworkPolicies(namespace).Create(t.Context(), may, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	audit := clustertest.Restricted("audit", clustertest.Image(t, "tienda"), "audit")
	audit.Labels = map[string]string{"app.kubernetes.io/name": "database-jobs", "app.kubernetes.io/instance": "shop"}
	audit.Spec.Containers[0].Env = []corev1.EnvVar{
		{Name: "SPRING_DATASOURCE_URL", Value: "jdbc:mysql://mysql:3306/tienda"}, {Name: "SPRING_DATASOURCE_USERNAME", Value: "root"},
		{Name: "SPRING_DATASOURCE_PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "database"}, Key: "root-password"}}},
	}
	t.Log(s.Finish(t, namespace, audit, time.Minute))

	clustertest.Eventually(t, "autoscaling takes the pod away that it added", 3*time.Minute, func(ctx context.Context) error {
		h, err := scaler.Get(ctx, "product-service", metav1.GetOptions{})
		if err == nil && h.Status.CurrentReplicas > least {
			err = fmt.Errorf("there are %d: %+v", h.Status.CurrentReplicas, h.Status.CurrentMetrics)
		}
		return err
	})
	t.Logf("%s product-service is back at %d pods", since(), least)
}

// judge says what must not be in a report, though customers were moved about.
func (r report) judge(t *testing.T) {
	t.Helper()
	// Writes are sent again, with the same key or the same name, until it is known what became of them, if they came to this the time before.
	repeated := []string{"register", "checkout", "replay", "cancel"}
	passing := []string{"connection lost", "no connection", "cut off", "timeout", "409", "429", "502", "503", "504"}
	answered := map[string]int64{}
	for _, step := range r.Steps {
		answered[step.Name] = step.Count
		for kind, n := range step.Errors {
			answered[step.Name] -= n
			if !slices.Contains(repeated, step.Name) || !slices.Contains(passing, kind) {
				t.Errorf("of %d calls of %q %d failed and were not sent again: %s", step.Count, step.Name, n, kind)
			}
			if step.Name == "register" && kind == "409" {
				answered[step.Name] += n // the name is taken, by the customer whose answer was lost before
			}
		}
	}
	if answered["register"] != customers || answered["account"] < customers {
		t.Errorf("%d customers were registered and %d times one saw their account, want all %d", answered["register"], answered["account"], customers)
	}
	var known int64
	for outcome, n := range r.Outcomes {
		if outcome != unanswered && outcome != interrupted {
			known += n
		}
	}
	if r.Outcomes["201"] == 0 || r.Outcomes[unanswered] > 0 || r.Outcomes[interrupted] > customers || answered["checkout"] != known {
		t.Errorf("%d checkouts were answered, and the outcomes are %v: want each to be answered in the end, but for those under way when the run was ended", answered["checkout"], r.Outcomes)
	}
	// All keys were sent again afterwards, those without an answer until they had one.
	if r.Verification.Violations > 0 {
		t.Errorf("%d violations were found", r.Verification.Violations)
	}
}

// version is what the program in a pod says that it is.
func (s shop) version(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(clustertest.Run(t, "kubectl", "--namespace="+namespace, "exec", s.pairs(t)[0][0].Name, "--", "/tienda", "version"))
}

// next is the version that every pod is of, which is another than before.
func (s shop) next(t *testing.T, before string) string {
	t.Helper()
	image := clustertest.Image(t, "next")
	for _, pods := range s.pairs(t) {
		for _, pod := range pods {
			if pod.Spec.Containers[0].Image != image {
				t.Errorf("%s runs %s, want %s", pod.Name, pod.Spec.Containers[0].Image, image)
			}
		}
	}
	now := s.version(t)
	if now == before {
		t.Errorf("%s says that it is %s, as the version before it", image, now)
	}
	return now
}

// warnings logs what the pods that are there complain of. Later their database is gone, and they complain of that.
func (s shop) warnings(t *testing.T) {
	t.Helper()
	for _, pod := range s.Pods(t, namespace, "app.kubernetes.io/component in (edge, business, infrastructure)") {
		out, err := clustertest.TryRun(t.Context(), "kubectl", "--namespace="+namespace, "logs", pod.Name)
		var lines []string
		for line := range strings.Lines(out) {
			if !strings.Contains(line, `"level":"INFO"`) && !strings.Contains(line, `"level":"DEBUG"`) {
				lines = append(lines, line)
			}
		}
		t.Logf("%s complains of (%v):\n%s", pod.Name, err, strings.Join(lines, ""))
	}
}

// pairs are the pods of each component: two at least.
func (s shop) pairs(t *testing.T) [][]corev1.Pod {
	t.Helper()
	by := map[string][]corev1.Pod{}
	for _, pod := range s.Pods(t, namespace, "app.kubernetes.io/component in (edge, business, infrastructure)") {
		name := pod.Labels["app.kubernetes.io/name"]
		by[name] = append(by[name], pod)
	}
	var found [][]corev1.Pod
	for _, name := range slices.Sorted(maps.Keys(by)) {
		if len(by[name]) > 1 {
			found = append(found, by[name])
		}
	}
	if len(found) != 11 {
		t.Fatalf("%d components have two pods, want all", len(found))
	}
	return found
}
