// Package clustertest is what tests of a Kubernetes share: a client of the cluster that KUBECONFIG names, Helm and
// kubectl as people use them, and probes that tell from inside a pod whom it reaches.
//
// There is always a cluster: "make test-kubernetes" brings one up when KUBECONFIG is not set. Tests that share a
// cluster keep to namespaces of their own.
package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Cluster is the one that tests run on.
type Cluster struct {
	kubernetes.Interface
}

// Open is the cluster that KUBECONFIG names. Without one the test fails.
func Open(t *testing.T) Cluster {
	t.Helper()
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		t.Fatal("KUBECONFIG is not set: run make test-kubernetes, which brings a cluster up, or name yours")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatalf("KUBECONFIG %s: %v", path, err)
	}
	config.QPS, config.Burst = 100, 200 // tests ask in bursts
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return Cluster{client}
}

// images are those that tests need. The first two are the shop and its next version, which make test-kubernetes makes;
// the others are this folder's.
func images() []string {
	return []string{"tienda", "next", "mariadb", "nginx", "certmanager", "acmesolver", "pebble", "probe", "s3"}
}

// variable is what names an image.
func variable(image string) string { return "TIENDA_TEST_IMAGE_" + strings.ToUpper(image) }

// Image is the name of one of the images that tests need, and can be changed by a variable for a cluster whose nodes
// do not have ours: TIENDA_TEST_IMAGE_ and the name in capital letters, such as TIENDA_TEST_IMAGE_MARIADB=mysql:8.4.
func Image(t *testing.T, name string) string {
	t.Helper()
	if !slices.Contains(images(), name) {
		t.Fatalf("%s is none of the images that people are told of: %v", name, images())
	}
	if image := os.Getenv(variable(name)); image != "" {
		return image
	}
	if name == "tienda" || name == "next" {
		t.Fatalf("%s is not set: make test-kubernetes sets it to what it has made", variable(name))
	}
	return "localhost/" + name + ":test"
}

// Run runs a program, such as helm or kubectl, and is what it says on its standard output. When it fails, so does
// the test.
func Run(t *testing.T, name string, args ...string) string {
	t.Helper()
	text, err := TryRun(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TryRun is Run for what may fail.
func TryRun(ctx context.Context, name string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, name, args...)
	var out, complaints bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaints
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.String(), complaints.String())
	}
	return out.String(), nil
}

// Eventually asks until there is no error; after so long the test fails with the last one.
func Eventually(t *testing.T, what string, patience time.Duration, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last error
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		if ctx.Err() == nil || last == nil { // the end of our patience is no answer
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, patience, last)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// Namespace makes a namespace under Pod Security "restricted", which is deleted when the test ends.
func (c Cluster) Namespace(t *testing.T, name string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if _, err := c.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.DeleteNamespace(t, name)
}

// DeleteNamespace has a namespace deleted when the test ends, and waits until it is gone. Its pods do not drain: whoever
// asked them is gone.
func (c Cluster) DeleteNamespace(t *testing.T, name string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		for {
			if err := c.kill(ctx, name, ""); err != nil {
				t.Errorf("pods of %s: %v", name, err)
			}
			err := c.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				return
			}
			if ctx.Err() != nil {
				t.Errorf("namespace %s does not go away: %v", name, err)
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
	})
}

// Kill ends the pods that a selector of labels finds, without the time that they are given to drain.
func (c Cluster) Kill(t *testing.T, namespace, selector string) {
	t.Helper()
	if err := c.kill(t.Context(), namespace, selector); err != nil {
		t.Fatal(err)
	}
}

func (c Cluster) kill(ctx context.Context, namespace, selector string) error {
	return c.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{LabelSelector: selector})
}

// Ready waits until every pod of a namespace is ready or has done its work, and there are as many of each workload as
// it wants.
func (c Cluster) Ready(t *testing.T, namespace string, patience time.Duration) {
	t.Helper()
	Eventually(t, "all pods of "+namespace+" are ready", patience, func(ctx context.Context) error { return c.notReady(ctx, namespace) })
}

func (c Cluster) notReady(ctx context.Context, namespace string) error {
	var complaints []error
	deployments, err := c.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range deployments.Items {
		wanted := *d.Spec.Replicas
		if s := d.Status; s.ObservedGeneration < d.Generation || s.Replicas != wanted || s.UpdatedReplicas != wanted || s.ReadyReplicas != wanted {
			complaints = append(complaints, fmt.Errorf("%s: %d of %d pods are ready, %d are of this version, there are %d", d.Name, s.ReadyReplicas, wanted, s.UpdatedReplicas, s.Replicas))
		}
	}
	sets, err := c.AppsV1().StatefulSets(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, s := range sets.Items {
		if s.Status.ObservedGeneration < s.Generation || s.Status.ReadyReplicas != *s.Spec.Replicas || s.Status.UpdatedReplicas != *s.Spec.Replicas {
			complaints = append(complaints, fmt.Errorf("%s: %d of %d pods are ready", s.Name, s.Status.ReadyReplicas, *s.Spec.Replicas))
		}
	}
	if len(deployments.Items)+len(sets.Items) == 0 {
		complaints = append(complaints, errors.New("nothing is there"))
	}
	return errors.Join(complaints...)
}

// Explain logs what can be known of the pods of a namespace that are not ready, when the test has failed.
func (c Cluster) Explain(t *testing.T, namespace string) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		for _, args := range [][]string{
			{"get", "pods", "--output=wide"}, {"get", "events", "--field-selector=type=Warning", "--sort-by=.lastTimestamp"},
			{"get", "events", "--field-selector=reason=Preempted", "--sort-by=.lastTimestamp"}, // which is normal
		} {
			text, err := TryRun(ctx, "kubectl", append([]string{"--namespace=" + namespace}, args...)...)
			t.Logf("kubectl %s\n%s%v", strings.Join(args, " "), text, err)
		}
		pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Log(err)
			return
		}
		for _, pod := range pods.Items {
			if !ready(pod) && pod.Status.Phase != corev1.PodSucceeded {
				text, err := TryRun(ctx, "kubectl", "--namespace="+namespace, "logs", pod.Name, "--all-containers", "--tail=15")
				t.Logf("log of %s\n%s%v", pod.Name, text, err)
			}
		}
	})
}

func ready(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Pods are the pods of a namespace that a selector of labels finds, but for those that are about to go.
func (c Cluster) Pods(t *testing.T, namespace, selector string) []corev1.Pod {
	t.Helper()
	pods, err := c.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(pods.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil })
}

// Restricted is a pod of one container that Pod Security "restricted" lets in.
func Restricted(name, image string, args ...string) *corev1.Pod {
	no := false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			RestartPolicy:                corev1.RestartPolicyNever,
			AutomountServiceAccountToken: &no,
			EnableServiceLinks:           &no,
			Containers:                   []corev1.Container{{Name: name, Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Args: args, SecurityContext: restricted()}},
		},
	}
}

func restricted() *corev1.SecurityContext {
	yes, no, user := true, false, int64(65532)
	return &corev1.SecurityContext{
		RunAsNonRoot: &yes, RunAsUser: &user, AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// Start starts a pod, waits until it runs, and has it deleted when the test ends.
func (c Cluster) Start(t *testing.T, namespace string, pod *corev1.Pod) corev1.Pod {
	t.Helper()
	t.Cleanup(c.create(t, namespace, pod))
	return c.Await(t, namespace, pod.Name, 30*time.Second, corev1.PodRunning)
}

// Finish runs a pod to its end, and is what it wrote. When it fails, so does the test.
func (c Cluster) Finish(t *testing.T, namespace string, pod *corev1.Pod, patience time.Duration) string {
	t.Helper()
	defer c.create(t, namespace, pod)()
	ended := c.Await(t, namespace, pod.Name, patience, corev1.PodSucceeded, corev1.PodFailed)
	text := Run(t, "kubectl", "--namespace="+namespace, "logs", pod.Name)
	if ended.Status.Phase == corev1.PodFailed {
		t.Fatalf("pod %s failed:\n%s", pod.Name, text)
	}
	return text
}

// create makes a pod, and is what takes it away.
func (c Cluster) create(t *testing.T, namespace string, pod *corev1.Pod) func() {
	t.Helper()
	if _, err := c.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatalf("pod %s: %v", pod.Name, err)
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		var now int64
		if err := c.CoreV1().Pods(namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete pod %s: %v", pod.Name, err)
		}
	}
}

// Await waits until a pod is in one of some phases.
func (c Cluster) Await(t *testing.T, namespace, name string, patience time.Duration, phases ...corev1.PodPhase) (found corev1.Pod) {
	t.Helper()
	Eventually(t, fmt.Sprintf("pod %s is %v", name, phases), patience, func(ctx context.Context) error {
		pod, err := c.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !slices.Contains(phases, pod.Status.Phase) {
			return fmt.Errorf("it is %s: %v", pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		found = *pod
		return nil
	})
	return found
}

// Forward leads a port of this machine to a Service's port, past policies and entry, until the test ends. It is the
// address to ask.
func (c Cluster) Forward(t *testing.T, namespace, service string, port int) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "kubectl", "--namespace="+namespace, "port-forward", "service/"+service, fmt.Sprintf(":%d", port))
	said := &lines{found: make(chan string, 1), prefix: "Forwarding from 127.0.0.1:"}
	command.Stdout = said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Wait() }) // the context of the test has ended it
	select {
	case line := <-said.found:
		local, _, _ := strings.Cut(line, " ")
		return "http://127.0.0.1:" + local
	case <-time.After(15 * time.Second):
		t.Fatalf("kubectl port-forward service/%s does not say where it listens", service)
		return ""
	}
}

// lines looks for what follows a prefix in what is written to it.
type lines struct {
	text   bytes.Buffer
	prefix string
	found  chan string
}

// Write implements io.Writer.
func (l *lines) Write(data []byte) (int, error) {
	l.text.Write(data)
	if _, after, ok := strings.Cut(l.text.String(), l.prefix); ok && strings.Contains(after, "\n") {
		select {
		case l.found <- after:
		default: // it was told already
		}
	}
	return len(data), nil
}

// Get asks for a page, with a token if there is one, and is what was answered; anything but success is an error.
func Get(ctx context.Context, address, token string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return answer(request)
}

// Post sends JSON, and is what was answered; anything but success is an error.
func Post(ctx context.Context, address, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	return answer(request)
}

// answer is the body of an answer that is a success.
func answer(request *http.Request) ([]byte, error) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }() // it was read
	body, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", request.Method, request.URL, response.Status, body)
	}
	return body, err
}
