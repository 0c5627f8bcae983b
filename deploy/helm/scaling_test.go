package helm_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestAutoscaling: what is scaled, by what, and how fast, as the values say it.
func TestAutoscaling(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values      string
		cpu, memory string
		down        int32
	}{
		{"", "200m", "", 300},
		{"defaults: {autoscaling: {memory: 64Mi}}", "200m", "64Mi", 300},
		{"defaults: {autoscaling: {cpu: 150m, scaleDownSeconds: 60}}", "150m", "", 60},
	} {
		objects := installed(t, variant{values: test.values})
		scalers := all[autoscalingv2.HorizontalPodAutoscaler](t, objects, "HorizontalPodAutoscaler")
		if len(scalers) != 8 {
			t.Errorf("%q: %d are scaled, want the six services, gateway and proxy client", test.values, len(scalers))
		}
		for _, scaler := range scalers {
			want := autoscalingv2.HorizontalPodAutoscalerSpec{
				ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: scaler.Name},
				MinReplicas:    new(int32(1)), MaxReplicas: 3,
				Metrics: []autoscalingv2.MetricSpec{perPod(corev1.ResourceCPU, test.cpu)},
				Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{
					// More at once, as long as they are needed; fewer one after the other, and late.
					ScaleUp: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: new(int32(0)),
						Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: 2, PeriodSeconds: 30}}},
					ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &test.down,
						Policies: []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PodsScalingPolicy, Value: 1, PeriodSeconds: 60}}},
				},
			}
			if test.memory != "" {
				want.Metrics = append(want.Metrics, perPod(corev1.ResourceMemory, test.memory))
			}
			if diff := cmp.Diff(want, scaler.Spec); diff != "" {
				t.Errorf("%q: HorizontalPodAutoscaler/%s (-want +got):\n%s", test.values, scaler.Name, diff)
			}
			if replicas := named[appsv1.Deployment](t, objects, "Deployment", scaler.Name).Spec.Replicas; replicas != nil {
				t.Errorf("%q: Deployment/%s sets its number of pods, against its autoscaler", test.values, scaler.Name)
			}
		}
	}
}

// perPod is a metric of which each pod is to have so much.
func perPod(name corev1.ResourceName, value string) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: name, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: new(resource.MustParse(value))},
	}}
}

// TestPriorityClassesAreThere: no pod names a class of priority that neither the chart makes with it nor every cluster has, nor priorityClasses.database
// said to be there, whichever of the values that the schema allows a component has. A cluster refuses such a pod, and nothing says so but its Deployment.
func TestPriorityClassesAreThere(t *testing.T) {
	t.Parallel()
	type value struct{ Enum []string }
	var schema struct {
		Properties struct {
			Defaults struct{ Properties struct{ Priority value } }
		}
		Defs struct {
			Service struct{ Properties struct{ Priority value } }
		} `json:"$defs"`
	}
	text, err := os.ReadFile(filepath.Join(chartFolder, "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	every, one := schema.Properties.Defaults.Properties.Priority.Enum, schema.Defs.Service.Properties.Priority.Enum
	if len(every) == 0 || len(one) == 0 {
		t.Fatalf("the schema allows the priorities %v and %v", every, one)
	}
	ways := variants()
	for _, priority := range every {
		ways = append(ways, variant{name: "all " + priority, values: "defaults: {priority: " + priority + "}"})
	}
	for _, priority := range one {
		ways = append(ways, variant{name: "one " + priority, values: "services: {order-service: {priority: " + priority + "}}"},
			variant{name: "one " + priority + " without classes", values: "{priorityClasses: {create: false}, services: {order-service: {priority: " + priority + "}}}"})
	}
	for _, v := range ways {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			objects := installed(t, v)
			made := names(objects, "PriorityClass")
			if there, ok, _ := unstructured.NestedString(merged(t, nil, []byte(v.values)), "priorityClasses", "database"); ok {
				made = append(made, there)
			}
			for _, object := range objects {
				for _, class := range priorities(object.Object) {
					if !strings.HasPrefix(class, "system-") && !slices.Contains(made, class) {
						t.Errorf("%s has the priority %s, and there are the classes %v", title(object), class, made)
					}
				}
			}
		})
	}
}

// priorities are the classes that an object names, itself, its pods, or what an operator makes of it.
func priorities(object any) []string {
	var found []string
	switch object := object.(type) {
	case map[string]any:
		if class, ok := object["priorityClassName"].(string); ok {
			found = append(found, class)
		}
		for _, key := range slices.Sorted(maps.Keys(object)) {
			found = append(found, priorities(object[key])...)
		}
	case []any:
		for _, element := range object {
			found = append(found, priorities(element)...)
		}
	}
	return found
}
