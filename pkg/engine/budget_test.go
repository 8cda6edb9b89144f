package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
)

// validator is a validator that was Ready once, with its pod.
func validator(name string, ready corev1.ConditionStatus) (*v1alpha1.SeiNode, *corev1.Pod) {
	at := metav1.NewTime(time.Unix(1000, 0))
	n := &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       v1alpha1.SeiNodeSpec{ChainID: "pacific-1", Validator: &v1alpha1.ValidatorSpec{}},
		Status:     v1alpha1.SeiNodeStatus{FirstReadyAt: &at, Phase: v1alpha1.PhaseRunning},
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: resources.PodName(name), Labels: map[string]string{v1alpha1.LabelChain: "pacific-1"},
		},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
	}
	return n, pod
}

func TestValidatorsThatAreDownDoNotWaitForEachOther(t *testing.T) {
	scheme := runtime.NewScheme()
	require.NoError(t, clientgoscheme.AddToScheme(scheme))
	require.NoError(t, v1alpha1.AddToScheme(scheme))
	budgetOf := func(objs ...client.Object) *ChainBudget {
		return &ChainBudget{
			Reader:   fake.NewClientBuilder().WithScheme(scheme).WithObjects(objs...).Build(),
			Settings: settings.Default,
		}
	}
	p := &v1alpha1.Plan{ID: "x", Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive}
	a, podA := validator("a", corev1.ConditionFalse)
	b, podB := validator("b", corev1.ConditionFalse)

	budget := budgetOf(a, podA, b, podB)
	ok, why := budget.Acquire(t.Context(), a, p)
	require.True(t, ok, why)
	ok, why = budget.Acquire(t.Context(), b, p)
	require.False(t, ok, "one at a time goes through its cycle")
	require.Contains(t, why, "default/a")

	_, upB := validator("b", corev1.ConditionTrue)
	budget = budgetOf(a, podA, b, upB)
	ok, why = budget.Acquire(t.Context(), b, p)
	require.False(t, ok, "a validator that is up waits for one that is down")
	require.Contains(t, why, "default/a")
}
