package engine

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/settings"
)

// A slot that is given back wakes those whose turn has come, not a chain of hundreds.
func TestSlotWakesTheNextInLine(t *testing.T) {
	t.Parallel()
	var woken []string
	platform := settings.Default()
	platform.Budgets.Chains = map[string]intstr.IntOrString{"arctic-1": intstr.FromInt32(3)}
	cached := &cachedNodes{}
	for i := range 10 {
		n := v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: fmt.Sprintf("n-%d", i), UID: types.UID(fmt.Sprintf("n-%d", i))}}
		n.Spec.ChainID = "arctic-1"
		cached.nodes = append(cached.nodes, n)
	}
	b := &ChainBudget{
		Reader: cached, Settings: func() settings.Settings { return platform },
		Wake: func(key types.NamespacedName) { woken = append(woken, key.Name) },
	}
	b.init()
	begun := time.Unix(1e9, 0)
	wait := func(name, chain string, validator bool, since time.Time) {
		b.waiting[types.UID(name)] = waiter{
			uid: types.UID(name), key: types.NamespacedName{Namespace: "fleet", Name: name}, chain: chain, validator: validator, since: since,
		}
	}
	for i := range 9 {
		wait(fmt.Sprintf("n-%d", i), "arctic-1", false, begun.Add(time.Duration(-i)*time.Second))
	}
	b.reserved["n-9"] = "its plan"
	wait("v-0", "arctic-1", true, begun.Add(time.Hour))
	wait("v-1", "arctic-1", true, begun.Add(time.Minute))
	wait("o-0", "other", false, begun)
	b.wakeNext("arctic-1")
	require.Equal(t, []string{"n-8", "n-7", "v-1", "v-0"}, woken, "two of three slots are free; one of the validators may be down")

	woken = nil
	b.Forget("n-8")
	slices.Sort(woken)
	require.Equal(t, []string{"n-6", "n-7", "o-0", "v-0", "v-1"}, woken, "of a node that is gone the chain is not known")

	// Who does not wait any more, although its plan is active, must not be the one that is woken for a slot.
	woken = nil
	b.Leave("n-7")
	require.Equal(t, []string{"n-6", "n-5", "v-1", "v-0"}, woken)
	woken = nil
	b.Leave("n-7")
	require.Empty(t, woken, "it had left")
}

// cachedNodes is a cache that lags until it is told otherwise.
type cachedNodes struct {
	client.Reader
	nodes []v1alpha1.SeiNode
	pods  []corev1.Pod
}

// budgetNode is a node of the chain that was Ready once.
func budgetNode(name string) v1alpha1.SeiNode {
	first := metav1.NewTime(time.Unix(1e9, 0))
	n := v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: name, UID: types.UID(name), ResourceVersion: "10"}}
	n.Spec.ChainID, n.Status.FirstReadyAt = "arctic-1", &first
	return n
}

// readyPod is the pod of a node.
func readyPod(node string) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: node + "-0"}, Status: corev1.PodStatus{
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}}
}

func (c *cachedNodes) List(_ context.Context, into client.ObjectList, _ ...client.ListOption) error {
	switch l := into.(type) {
	case *v1alpha1.SeiNodeList:
		l.Items = c.nodes
	case *corev1.PodList:
		l.Items = c.pods
	}
	return nil
}

// The pass that ends a cycle knows it before the cache does: who is woken by it must get the slot, as nothing wakes it again.
func TestSlotIsFreeBeforeTheCacheShowsIt(t *testing.T) {
	t.Parallel()
	node := func(name, version string) v1alpha1.SeiNode {
		n := budgetNode(name)
		n.ResourceVersion = version
		n.Status.Plan = &v1alpha1.Plan{Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive, Tasks: []v1alpha1.Task{
			{Type: v1alpha1.TaskApplyStatefulSet, Status: v1alpha1.TaskComplete}, {Type: v1alpha1.TaskReplacePod, Status: v1alpha1.TaskRunning},
		}}
		return n
	}
	a, b := node("a", "10"), node("b", "11")
	b.Status.Plan.Tasks[0].Status, b.Status.Plan.Tasks[1].Status = v1alpha1.TaskPending, v1alpha1.TaskPending
	cached := &cachedNodes{nodes: []v1alpha1.SeiNode{a, b}, pods: []corev1.Pod{readyPod("a"), readyPod("b")}}
	woken := 0
	budget := &ChainBudget{Reader: cached, Settings: settings.Default, Wake: func(types.NamespacedName) { woken++ }}
	budget.Observe(&a, true)
	ok, why := budget.Acquire(t.Context(), &b, b.Status.Plan)
	require.False(t, ok)
	require.Contains(t, why, "waits for fleet/a")

	done := a.DeepCopy()
	done.ResourceVersion, done.Status.Plan = "12", nil
	budget.Observe(done, true)
	require.Equal(t, 1, woken)
	ok, why = budget.Acquire(t.Context(), &b, b.Status.Plan)
	require.True(t, ok, why)

	// And it is taken before the cache shows that.
	c := node("c", "13")
	c.Status.Plan.Tasks[0].Status, c.Status.Plan.Tasks[1].Status = v1alpha1.TaskPending, v1alpha1.TaskPending
	cached.nodes, cached.pods = append(cached.nodes, c), append(cached.pods, readyPod("c"))
	ok, _ = budget.Acquire(t.Context(), &c, c.Status.Plan)
	require.False(t, ok)
}

// A node that got a slot and is paused before its template is written gives it back.
func TestAPauseGivesTheSlotBack(t *testing.T) {
	t.Parallel()
	var woken []string
	b := &ChainBudget{
		Reader: &cachedNodes{}, Settings: settings.Default, Wake: func(key types.NamespacedName) { woken = append(woken, key.Name) },
	}
	b.init()
	b.reserved["a"], b.observed["a"] = "p", observation{busy: true}
	b.waiting["b"] = waiter{uid: "b", key: types.NamespacedName{Name: "b"}, chain: "arctic-1"}
	n := &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: "a"}}
	n.Spec.ChainID, n.Spec.Paused = "arctic-1", true
	n.Status.Plan = &v1alpha1.Plan{ID: "p", Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive, Tasks: []v1alpha1.Task{
		{Type: v1alpha1.TaskApplyStatefulSet, Status: v1alpha1.TaskComplete}, {Type: v1alpha1.TaskReplacePod, Status: v1alpha1.TaskRunning},
	}}
	b.Observe(n, true)
	require.Empty(t, woken, "past the template a pause stops nothing")
	require.Contains(t, b.reserved, types.UID("a"))

	n.Status.Plan.Tasks[0].Status, n.Status.Plan.Tasks[1].Status = v1alpha1.TaskRunning, v1alpha1.TaskPending
	b.Observe(n, true)
	require.Equal(t, []string{"b"}, woken)
	require.NotContains(t, b.reserved, types.UID("a"))
}

// A plan that took the place of the one with the slot may be far from its template: it asks again when it is there.
func TestASlotIsOfOnePlan(t *testing.T) {
	t.Parallel()
	var woken []string
	node := func(name, id string) v1alpha1.SeiNode {
		n := budgetNode(name)
		n.Status.Plan = &v1alpha1.Plan{ID: id, Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive, Tasks: []v1alpha1.Task{
			{Type: v1alpha1.TaskApplyStatefulSet}, {Type: v1alpha1.TaskReplacePod},
		}}
		return n
	}
	a, b := node("a", "first"), node("b", "its own")
	budget := &ChainBudget{
		Reader:   &cachedNodes{nodes: []v1alpha1.SeiNode{a, b}, pods: []corev1.Pod{readyPod("a"), readyPod("b")}},
		Settings: settings.Default, Wake: func(key types.NamespacedName) { woken = append(woken, key.Name) }, MaxAge: time.Hour,
	}
	ok, _ := budget.Acquire(t.Context(), &a, a.Status.Plan)
	require.True(t, ok)
	ok, why := budget.Acquire(t.Context(), &b, b.Status.Plan)
	require.False(t, ok)
	require.Contains(t, why, "fleet/a")

	next := node("a", "second")
	next.ResourceVersion = "11"
	budget.Observe(&next, true)
	require.Equal(t, []string{"b"}, woken, "although it was never seen in its cycle")
	ok, why = budget.Acquire(t.Context(), &b, b.Status.Plan)
	require.True(t, ok, why)
	ok, _ = budget.Acquire(t.Context(), &next, next.Status.Plan)
	require.False(t, ok)

	// One that took the place of a plan in mid-cycle goes on with that: the slot is its own.
	turning := node("b", "its own")
	turning.Status.Plan.Tasks[0].Status, turning.Status.Plan.Tasks[1].Status = v1alpha1.TaskComplete, v1alpha1.TaskRunning
	budget.Observe(&turning, true)
	heir := node("b", "heir")
	budget.Observe(&heir, true)
	ok, why = budget.Acquire(t.Context(), &heir, heir.Status.Plan)
	require.True(t, ok, why)
	ok, _ = budget.Acquire(t.Context(), &next, next.Status.Plan)
	require.False(t, ok)
}

// What a pass found counts at once, also where nothing of the node was written: a pod that is Ready again.
func TestRecoveryCountsBeforeTheNextReading(t *testing.T) {
	t.Parallel()
	var woken []string
	a, b := budgetNode("a"), budgetNode("b")
	cached := &cachedNodes{nodes: []v1alpha1.SeiNode{a, b}, pods: []corev1.Pod{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "a-0"}}, readyPod("b"),
	}}
	budget := &ChainBudget{
		Reader:   cached,
		Settings: settings.Default, Wake: func(key types.NamespacedName) { woken = append(woken, key.Name) }, MaxAge: time.Hour,
	}
	plan := &v1alpha1.Plan{ID: "p", Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive}
	budget.Observe(&a, false)
	ok, why := budget.Acquire(t.Context(), &b, plan)
	require.False(t, ok)
	require.Contains(t, why, "waits for fleet/a")
	cached.pods[0] = readyPod("a")
	budget.Observe(&a, true)
	require.Equal(t, []string{"b"}, woken)
	ok, why = budget.Acquire(t.Context(), &b, plan)
	require.True(t, ok, why)
}

// A reading of a moment ago may refuse a slot; none is given away on it.
func TestNoSlotOnAnOldReading(t *testing.T) {
	t.Parallel()
	cached := &cachedNodes{nodes: []v1alpha1.SeiNode{budgetNode("a"), budgetNode("b")}, pods: []corev1.Pod{
		readyPod("a"), readyPod("b"),
	}}
	budget := &ChainBudget{Reader: cached, Settings: settings.Default, MaxAge: time.Hour}
	_, err := budget.members(t.Context(), "arctic-1", 0)
	require.NoError(t, err)
	cached.pods[0].Status = corev1.PodStatus{}
	b := budgetNode("b")
	ok, why := budget.Acquire(t.Context(), &b, &v1alpha1.Plan{ID: "p", Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive})
	require.False(t, ok, "a has just gone down")
	require.Contains(t, why, "waits for fleet/a")
}
