package operator

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/plan"
)

func TestConvergence(t *testing.T) {
	t.Parallel()
	scheme, err := NewScheme()
	require.NoError(t, err)
	a := &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "a", UID: "a", Generation: 2}}
	b := &v1alpha1.SeiNode{ObjectMeta: metav1.ObjectMeta{Namespace: "fleet", Name: "b", UID: "b", Generation: 1}}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(a, b).Build()
	ended := false
	conv := &convergence{reader: c, begun: time.Unix(1e9, 0), done: func() { ended = true }, seen: map[types.NamespacedName]seenNode{}}
	tell := func(n *v1alpha1.SeiNode, o engine.Outcome) {
		conv.update(NodeUpdate{Key: types.NamespacedName{Namespace: n.Namespace, Name: n.Name}, Node: n, Outcome: o})
	}
	tell(a, engine.Outcome{Settled: true})
	require.False(t, ended, "b has not been looked at")
	active := b.DeepCopy()
	active.Status.Plan = &v1alpha1.Plan{Phase: v1alpha1.PlanActive}
	tell(active, engine.Outcome{})
	require.False(t, ended)
	tell(b, engine.Outcome{Idle: plan.IdleHeld, Detail: "it crashed"})
	require.True(t, ended)
	require.Equal(t, Converged{Nodes: 2, Failed: map[string]string{"fleet/b": "it crashed"}}, conv.result())
}

func TestConvergenceJudges(t *testing.T) {
	t.Parallel()
	begun := time.Unix(1e9, 0)
	failedAt := func(at time.Time) *v1alpha1.Plan {
		return &v1alpha1.Plan{Phase: v1alpha1.PlanFailed, StartedAt: metav1.NewMicroTime(at)}
	}
	for name, tc := range map[string]struct {
		plan    *v1alpha1.Plan
		outcome engine.Outcome
		final   bool
		paused  bool
		failed  string
	}{
		"settled":               {outcome: engine.Outcome{Settled: true}, final: true},
		"something is due":      {outcome: engine.Outcome{}},
		"paused":                {outcome: engine.Outcome{Idle: plan.IdlePaused}, final: true, paused: true},
		"paused in mid-plan":    {plan: &v1alpha1.Plan{Phase: v1alpha1.PlanActive}, outcome: engine.Outcome{Idle: plan.IdlePaused}, final: true, paused: true},
		"blocked":               {outcome: engine.Outcome{Idle: plan.IdleBlocked, Detail: "x"}, final: true, failed: "x"},
		"failed in this run":    {plan: failedAt(begun.Add(time.Second)), outcome: engine.Outcome{Idle: plan.IdleBackoff, Detail: "x"}, final: true, failed: "x"},
		"failed before":         {plan: failedAt(begun.Add(-time.Second)), outcome: engine.Outcome{Idle: plan.IdleBackoff, Detail: "x"}},
		"another's node":        {outcome: engine.Outcome{Detail: "seinode-controller writes"}, final: true, failed: "seinode-controller writes"},
		"queued for the budget": {plan: &v1alpha1.Plan{Phase: v1alpha1.PlanActive}, outcome: engine.Outcome{Idle: "Queued", Detail: "waits"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &v1alpha1.SeiNode{}
			n.Status.Plan = tc.plan
			s := (&convergence{begun: begun}).judge(n, &tc.outcome)
			require.Equal(t, seenNode{node: n, final: tc.final, paused: tc.paused, failed: tc.failed}, s)
		})
	}
}
