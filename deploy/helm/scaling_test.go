package helm_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
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
