package deployment_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/deployment"
)

// A simulated engine settles children in any order while the template changes under it: never are more children unsettled
// than maxUnavailable, and it converges.
func TestRolloutNeverExceedsMaxUnavailable(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		width := 1 + rnd.IntN(3)
		d := snd(int32(3+rnd.IntN(6)), maxUnavailable(intstr.FromInt(width)))
		var nodes []*v1alpha1.SeiNode
		for i := range int(d.Spec.Replicas) {
			nodes = append(nodes, child(i))
		}
		edits := 1 + rnd.IntN(3)
		for step := 0; ; step++ {
			require.Less(t, step, 500, "seed %d does not converge", seed)
			if edits > 0 && rnd.IntN(4) == 0 {
				edits--
				d.Generation++
				d.Spec.Template.Spec.Image = fmt.Sprintf("seid:edit-%d", edits)
			}
			r := deployment.Evaluate(deployment.Input{Deployment: d, Nodes: nodes, Now: now})
			d.Status = r.Status
			for _, a := range r.Actions {
				require.Equal(t, deployment.Update, a.Type)
				i, ok := deployment.Ordinal(d.Name, a.Node.Name)
				require.True(t, ok)
				a.Node.Generation++
				nodes[i] = a.Node
			}
			unsettled := 0
			for _, n := range nodes {
				if !deployment.Settled(n) {
					unsettled++
				}
			}
			require.LessOrEqual(t, unsettled, width, "seed %d", seed)
			if edits == 0 && unsettled == 0 && len(r.Actions) == 0 {
				break
			}
			settleOne(rnd, nodes)
		}
		require.Equal(t, v1alpha1.DeploymentReady, evaluate(d, nodes...).Status.Phase)
	}
}

// settleOne moves one unsettled child on, as the engine would.
func settleOne(rnd *rand.Rand, nodes []*v1alpha1.SeiNode) {
	for _, i := range rnd.Perm(len(nodes)) {
		n := nodes[i].DeepCopy()
		if deployment.Settled(n) {
			continue
		}
		n.Status.ObservedGeneration = n.Generation
		if n.Status.Plan == nil {
			n.Status.Plan = &v1alpha1.Plan{Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive}
			setCondition(n, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonUpdateStarted)
		} else {
			n.Status.Plan, n.Status.CurrentImage = nil, n.Spec.Image
			setCondition(n, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		}
		nodes[i] = n
		return
	}
}

func TestOrdinal(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"ax-0": 0, "ax-12": 12, "ax": -1, "ax-": -1, "ax-01": -1, "ax--1": -1, "bx-0": -1, "ax-0-0": -1} {
		got, ok := deployment.Ordinal("ax", name)
		if !ok {
			got = -1
		}
		require.Equal(t, want, got, name)
	}
}
