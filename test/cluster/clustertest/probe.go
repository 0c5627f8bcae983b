package clustertest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Outcome is what became of a probe: open, refused, silent or unknown, as the program in test/cluster/probe says.
type Outcome string

// Outcomes of a probe. Policies make those silent that they do not let through.
const (
	Answered Outcome = "open"
	Silent   Outcome = "silent"
)

// Probes has every pod try every target (HOST:PORT), all at once, and is what each saw. A container is put into the
// running pod for it, as kubectl debug does, since images from scratch have nothing to look around with; so what is seen
// is what the pod itself would see, by its labels and its address, in any cluster.
func (c Cluster) Probes(t *testing.T, pods []corev1.Pod, targets []string) map[string]map[string]Outcome {
	t.Helper()
	image, seen := Image(t, "probe"), map[string]map[string]Outcome{}
	var asking sync.WaitGroup
	var access sync.Mutex
	for _, pod := range pods {
		asking.Go(func() {
			outcomes, err := c.probe(t.Context(), pod, image, targets)
			if err != nil {
				t.Errorf("probe of %s/%s: %v", pod.Namespace, pod.Name, err)
			}
			access.Lock()
			defer access.Unlock()
			seen[pod.Name] = outcomes
		})
	}
	asking.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return seen
}

func (c Cluster) probe(ctx context.Context, pod corev1.Pod, image string, targets []string) (map[string]Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	of := c.CoreV1().Pods(pod.Namespace)
	now, err := of.Get(ctx, pod.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	container := fmt.Sprintf("probe-%d", len(now.Spec.EphemeralContainers)+1)
	now.Spec.EphemeralContainers = append(now.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
		Name: container, Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Args: targets, SecurityContext: restricted(),
	}})
	if _, err := of.UpdateEphemeralContainers(ctx, pod.Name, now, metav1.UpdateOptions{}); err != nil {
		return nil, err
	}
	for {
		now, err := of.Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(now.Status.EphemeralContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == container })
		if i >= 0 && now.Status.EphemeralContainerStatuses[i].State.Terminated != nil {
			break
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("it does not end: %v", now.Status.EphemeralContainerStatuses)
		case <-time.After(200 * time.Millisecond):
		}
	}
	log, err := of.GetLogs(pod.Name, &corev1.PodLogOptions{Container: container}).DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	outcomes := map[string]Outcome{}
	for line := range strings.Lines(string(log)) {
		if target, outcome, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			outcomes[target] = Outcome(outcome)
		}
	}
	for _, target := range targets {
		if outcomes[target] == "" {
			return nil, fmt.Errorf("it says nothing of %s:\n%s", target, log)
		}
	}
	return outcomes, nil
}
