package fleet_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/fleet"
)

var enable = fleet.Goal{TLS: issuerTLS}

// Whatever the mix of owners, no more nodes are under way than the width, every node is cycled once, and all have TLS.
func TestStepNeverExceedsTheWave(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		w := newWorld(t)
		for i := range rnd.IntN(6) {
			w.node("ax-" + string(rune('a'+i)))
		}
		for i := range 1 + rnd.IntN(3) {
			w.snd("snd"+string(rune('a'+i)), 1+rnd.IntN(5), 1+rnd.IntN(2))
		}
		s := w.strategy()
		s.Canary, s.MaxUnavailable = rnd.IntN(5), intstr.FromInt(1+rnd.IntN(4))
		_, r := w.build(enable, s)
		r = w.run(r)
		require.Equal(t, fleet.Complete, r.State, "seed %d: %s", seed, r.Reason)
		require.LessOrEqual(t, w.most, s.MaxUnavailable.IntValue(), "seed %d", seed)
		for _, n := range w.nodes {
			require.Equal(t, 1, w.cycles[n.Name], "seed %d: %s", seed, n.Name)
			require.True(t, n.Status.CurrentSidecarTLS.Config().Equal(issuerTLS))
		}
		for _, d := range w.deployments {
			require.Empty(t, d.Annotations, "what only the rollout needed is gone")
		}
		p, again := w.build(enable, s)
		require.Zero(t, p.Working(), "nothing is left to do")
		require.Empty(t, again.Objects)
	}
}

func TestCanaryStopsTheFleet(t *testing.T) {
	t.Parallel()
	for _, onFailure := range []bool{false, true} {
		w := newWorld(t)
		w.snd("syncer", 3, 1)
		w.node("ax-0")
		w.fails["ax-0"] = "wait-for-sidecar-tls-secret: Referenced issuer not found"
		s := w.strategy()
		s.MaxFailures, s.Continue = 5, onFailure
		_, r := w.build(enable, s)
		r = w.run(r)
		require.Equal(t, fleet.Failed, r.State)
		require.Equal(t, "canary fleet/ax-0 failed", r.Reason)
		require.Equal(t, []string{"fleet/ax-0 ClusterIssuer/pacific-1-ca withheld=[]"}, w.edits, "one node was touched")
		require.Equal(t, fleet.NodeFailed, outcomes(r)["ax-0"])
		require.Empty(t, w.cycles)

		// The issuer is repaired: the same rollout goes on with another attempt.
		w.fails = map[string]string{}
		r.Reopen(w.view())
		r = w.run(r)
		require.Equal(t, fleet.Complete, r.State, r.Reason)
		require.Len(t, w.cycles, 4)
	}
}

// Nodes that were deleted and created anew under the same names have not had their turn, whatever the record says of the
// names.
func TestReopenKnowsNewNodesOfOldNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("ax-0")
	w.snd("syncer", 2, 1)
	w.fails["syncer-1"] = "the proxy crashes"
	s := w.strategy()
	_, r := w.build(enable, s)
	r = w.run(r)
	require.Equal(t, fleet.Failed, r.State)
	require.Equal(t, fleet.Done, outcomes(r)["ax-0"])

	for _, n := range w.nodes {
		n.UID += "-anew"
		for i := range n.OwnerReferences {
			n.OwnerReferences[i].UID += "-anew"
		}
		n.Spec.Sidecar = nil
		w.settle(n)
	}
	for _, d := range w.deployments {
		d.UID += "-anew"
		d.Annotations, d.Spec.Template.Spec.Sidecar = nil, nil
	}
	w.fails, w.edits = map[string]string{}, nil
	clear(w.cycles)
	r.Reopen(w.view())
	r = w.run(r)
	require.Equal(t, fleet.Complete, r.State, r.Reason)
	require.Len(t, w.cycles, 3, "each had its turn again")
	for _, n := range w.nodes {
		require.True(t, n.Status.CurrentSidecarTLS.Config().Equal(issuerTLS), n.Name)
	}
	for _, o := range r.Objects {
		require.Nil(t, o.Previous, "an undo returns to what the new object had")
	}
}

func TestFailureBudget(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		maxFailures int
		keepOn      bool
		state       fleet.State
		done        int
	}{
		"none may fail":        {0, false, fleet.Failed, 3},
		"one may fail":         {1, false, fleet.Complete, 6},
		"on-failure: continue": {0, true, fleet.Complete, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, n := range []string{"a", "b", "c", "d", "e", "f", "g"} {
				w.node("ax-" + n)
			}
			w.fails["ax-d"] = "observe-sidecar-tls: another leaf is served"
			s := w.strategy()
			s.MaxFailures, s.Continue = tc.maxFailures, tc.keepOn
			_, r := w.build(enable, s)
			r = w.run(r)
			require.Equal(t, tc.state, r.State, r.Reason)
			count := r.Count()
			require.Equal(t, 1, count[fleet.NodeFailed])
			require.GreaterOrEqual(t, count[fleet.Done], tc.done)
			require.Equal(t, []fleet.Cause{{Text: "observe-sidecar-tls: another leaf is served", Nodes: []string{"fleet/ax-d"}}}, r.Causes())
		})
	}
}

func TestChildrenGetTheTemplateInTheirWave(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.snd("syncer", 4, 2)
	_, r := w.build(enable, w.strategy())
	r = w.run(r)
	require.Equal(t, fleet.Complete, r.State)
	require.Equal(t, []string{
		"snd fleet/syncer ClusterIssuer/pacific-1-ca withheld=[1 2 3]",
		"snd fleet/syncer ClusterIssuer/pacific-1-ca withheld=[3]",
		"snd fleet/syncer ClusterIssuer/pacific-1-ca withheld=[]",
	}, w.edits)
}

// GitOps puts the spec back in mid-rollout, or after it: it is told, and nothing is written again.
func TestReverted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("ax-0")
	w.node("ax-1")
	_, r := w.build(enable, w.strategy())
	w.carry(r, fleet.Step(r, w.view()))
	n := fleet.EditNode(w.find("ax-0"), fleet.Edit{})
	at := metav1.NewTime(now)
	n.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "argocd-controller", Operation: metav1.ManagedFieldsOperationApply, Time: &at}}
	w.replace(n)
	edits := len(w.edits)
	r = w.run(r)
	require.Equal(t, fleet.Failed, r.State)
	require.Contains(t, r.Nodes[0].Detail, "spec.sidecar.tls of fleet/ax-0 was changed to off by argocd-controller")
	require.Len(t, w.edits, edits)
}

// A node whose spec is put back in the middle of its pod cycle is seen through to what its spec says.
func TestRevertedInAPodCycle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("ax-0")
	w.node("ax-1")
	_, r := w.build(enable, w.strategy())
	w.carry(r, fleet.Step(r, w.view()))
	w.engine()
	n := w.find("ax-0")
	n.Status.Plan.Tasks[0].Status = v1alpha1.TaskComplete
	n.Status.Plan.Tasks = append(n.Status.Plan.Tasks, v1alpha1.Task{Type: v1alpha1.TaskReplacePod, Status: v1alpha1.TaskRunning})
	reverted := fleet.EditNode(n, fleet.Edit{})
	reverted.Generation++
	w.replace(reverted)
	d := fleet.Step(r, w.view())
	require.Equal(t, fleet.Started, r.Nodes[0].Outcome)
	require.Contains(t, r.Nodes[0].Detail, "was changed to off")
	require.False(t, d.Ended)

	// The plan ended with what it had latched, and the one that goes back is not built yet.
	// Nobody asks for another attempt at what nobody wants any more.
	r.Nodes[0].Retry = "asked"
	require.Empty(t, fleet.Step(r, w.view()).Retries)
	r.Nodes[0].Retry = ""

	n = w.find("ax-0")
	n.Status.Plan, n.Status.ObservedGeneration = nil, n.Generation
	n.Status.CurrentSidecarTLS = &v1alpha1.ObservedSidecarTLS{SidecarTLSConfig: *r.Objects[0].Target, FingerprintSHA256: "f1"}
	metav1.SetMetaDataAnnotation(&n.ObjectMeta, v1alpha1.AnnotationAllowTLSRemoval, "true")
	require.False(t, fleet.Step(r, w.view()).Ended)
	// A rollback that failed is tried again.
	n.Status.CurrentSidecarTLS = nil
	n.Status.Plan = &v1alpha1.Plan{Kind: v1alpha1.NodeRollback, Phase: v1alpha1.PlanFailed}
	require.False(t, fleet.Step(r, w.view()).Ended)

	n.Status.Plan = nil
	require.True(t, fleet.Step(r, w.view()).Ended)
	require.Equal(t, fleet.NodeFailed, r.Nodes[0].Outcome)
	require.Equal(t, fleet.Failed, r.State)
}

func TestBake(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("ax-0")
	w.node("ax-1")
	s := w.strategy()
	s.Bake = time.Hour
	_, r := w.build(enable, s)
	r = w.run(r)
	require.Equal(t, fleet.Complete, r.State)
	require.GreaterOrEqual(t, r.Nodes[1].StartedAt.Sub(*r.BakeFrom), time.Hour)

	// A canary that falls behind during the bake stops the rollout.
	w = newWorld(t)
	w.node("ax-0")
	w.node("ax-1")
	_, r = w.build(enable, s)
	for r.BakeFrom == nil {
		w.carry(r, fleet.Step(r, w.view()))
		w.engine()
		w.now = w.now.Add(time.Second)
	}
	w.lags["ax-0"] = true
	r = w.run(r)
	require.Equal(t, fleet.Failed, r.State)
	require.Contains(t, r.Nodes[0].Detail, "its health gate did not pass within 5m0s: seid is catching up")
	require.Equal(t, fleet.Pending, r.Nodes[1].Outcome)
}

func TestPauseLetsNodesInAPodCycleFinish(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("ax-0")
	w.node("ax-1")
	_, r := w.build(enable, w.strategy())
	w.carry(r, fleet.Step(r, w.view()))
	w.engine()
	n := w.find("ax-0")
	n.Status.Plan.Tasks[0].Status, n.Status.Plan.Tasks[1].Status = v1alpha1.TaskComplete, v1alpha1.TaskComplete
	n.Status.Plan.Tasks = append(n.Status.Plan.Tasks, v1alpha1.Task{Type: v1alpha1.TaskReplacePod, Status: v1alpha1.TaskRunning})
	r.State = fleet.Paused
	require.False(t, fleet.Step(r, w.view()).Ended, "the node in a pod cycle is seen through")
	w.engine()
	require.True(t, fleet.Step(r, w.view()).Ended)
	require.Equal(t, fleet.Paused, r.State)
	require.Equal(t, fleet.Pending, r.Nodes[1].Outcome)
	require.Len(t, w.edits, 1)
}

func TestPausedNodeIsSkipped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("ax-0")
	w.node("ax-1")
	_, r := w.build(enable, w.strategy())
	w.find("ax-1").Spec.Paused = true
	r = w.run(r)
	require.Equal(t, fleet.Complete, r.State)
	require.Equal(t, map[string]fleet.Outcome{"ax-0": fleet.Done, "ax-1": fleet.Skipped}, outcomes(r))
}

// Undo after half a rollout gives each object its own previous value: off, another issuer, a Secret.
func TestUndo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("a-off")
	w.node("b-issuer", tls(otherTLS))
	w.node("c-secret", tls(secretTLS))
	w.snd("syncer", 3, 1)
	w.node("z-bad")
	w.node("zz-last")
	w.fails["z-bad"] = "observe-sidecar-tls: no"
	s := w.strategy()
	s.MaxUnavailable = intstr.FromInt32(1)
	p, r := w.build(enable, s)
	require.Equal(t, 8, p.Working())
	r = w.run(r)
	require.Equal(t, fleet.Failed, r.State)
	require.Equal(t, fleet.Pending, outcomes(r)["zz-last"])

	w.fails = map[string]string{}
	goal, warnings := fleet.UndoGoal(r, w.view())
	require.Empty(t, warnings)
	require.NotContains(t, goal.Each, fleet.Object{Kind: fleet.KindNode, Namespace: "fleet", Name: "zz-last"}, "it was not touched")
	_, undo := w.build(goal, s)
	undo = w.run(undo)
	require.Equal(t, fleet.Complete, undo.State, undo.Reason)
	for name, want := range map[string]*v1alpha1.SidecarTLSConfig{
		"a-off": nil, "b-issuer": otherTLS, "c-secret": secretTLS, "syncer-0": nil, "syncer-2": nil, "z-bad": nil, "zz-last": nil,
	} {
		n := w.find(name)
		require.True(t, n.Status.CurrentSidecarTLS.Config().Equal(want), name)
		require.True(t, n.SidecarTLS().Equal(want), name)
		require.False(t, n.TLSRemovalAllowed(), "the consent of %s is consumed", name)
	}
	require.Empty(t, w.deployments[0].Spec.Template.Metadata.Annotations)
	require.Zero(t, w.cycles["z-bad"], "it never left")

	// What somebody changed since is left alone.
	w.replace(fleet.EditNode(w.find("a-off"), fleet.Edit{TLS: secretTLS}))
	_, warnings = fleet.UndoGoal(r, w.view())
	require.Equal(t, []string{"fleet/a-off was changed since, to Secret/mine, and is left alone"}, warnings)
}

func TestInherit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("ax-0", tls(secretTLS))
	w.node("ax-1")
	w.fails["ax-0"] = "the issuer is not there"
	_, wrong := w.build(fleet.Goal{TLS: otherTLS}, w.strategy())
	wrong = w.run(wrong)
	require.Equal(t, fleet.Failed, wrong.State)
	_, right := w.build(enable, w.strategy())
	right.Inherit([]*fleet.Record{wrong})
	require.True(t, right.Objects[0].Previous.Equal(secretTLS), "not the target of the rollout that failed")
	require.Nil(t, right.Objects[1].Previous)
	w.fails = map[string]string{}
	right = w.run(right)
	require.Equal(t, fleet.Complete, right.State, right.Reason)
	goal, warnings := fleet.UndoGoal(right, w.view())
	require.Empty(t, warnings)
	_, undo := w.build(goal, w.strategy())
	require.Equal(t, fleet.Complete, w.run(undo).State)
	require.True(t, w.find("ax-0").Status.CurrentSidecarTLS.Config().Equal(secretTLS))
}

// Somebody changes the TLS between plan and turn: that is not written over.
func TestChangedSincePlanned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("ax-0")
	_, r := w.build(enable, w.strategy())
	w.replace(fleet.EditNode(w.find("ax-0"), fleet.Edit{TLS: secretTLS}))
	r = w.run(r)
	require.Equal(t, fleet.Failed, r.State)
	require.Contains(t, r.Nodes[0].Detail, "changed from off to Secret/mine")
	require.Empty(t, w.edits)
}
