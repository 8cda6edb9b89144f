package fleet_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/fleet"
)

// verifying is a rollout whose first node runs what it should and has to pass its health gate.
func verifying(t *testing.T) (*world, *fleet.Record) {
	t.Helper()
	w := newWorld(t)
	w.node("ax-0")
	w.node("ax-1")
	_, r := w.build(enable, w.strategy())
	for r.Nodes[0].Outcome != fleet.Verifying {
		w.carry(r, fleet.Step(r, w.view()))
		w.engine()
		w.now = w.now.Add(time.Second)
	}
	return w, r
}

// A rollout that was interrupted for longer than its health gates may take finds its nodes as they are.
func TestGateBeginsAnewAfterAnInterruption(t *testing.T) {
	t.Parallel()
	w, r := verifying(t)
	w.now = w.now.Add(time.Hour)
	w.chain = map[types.NamespacedName]fleet.ChainSample{}
	r.Resumed(w.now)
	r = w.run(r)
	require.Equal(t, fleet.Complete, r.State, r.Reason)
}

// So does one whose node went through another pod cycle meanwhile. What only repairs it is part of the gate.
func TestGateBeginsAfterThePlanUnderWay(t *testing.T) {
	t.Parallel()
	w, r := verifying(t)
	n := w.find("ax-0").DeepCopy()
	n.Status.Plan = &v1alpha1.Plan{Kind: v1alpha1.MarkReady, Phase: v1alpha1.PlanActive, Tasks: []v1alpha1.Task{
		{Type: v1alpha1.TaskMarkReady, Status: v1alpha1.TaskRunning},
	}}
	w.replace(n)
	began := *r.Nodes[0].AtTargetAt
	fleet.Step(r, w.view())
	require.Equal(t, began, *r.Nodes[0].AtTargetAt)
	n.Status.Plan = &v1alpha1.Plan{Kind: v1alpha1.NodeUpdate, Phase: v1alpha1.PlanActive, Target: v1alpha1.PlanTarget{SidecarTLS: n.SidecarTLS()},
		Tasks: []v1alpha1.Task{
			{Type: v1alpha1.TaskApplyStatefulSet, Status: v1alpha1.TaskComplete}, {Type: v1alpha1.TaskReplacePod, Status: v1alpha1.TaskRunning},
		}}
	w.replace(n)
	fleet.Step(r, w.view())
	require.Equal(t, fleet.Started, r.Nodes[0].Outcome)
	w.now = w.now.Add(time.Hour)
	r = w.run(r)
	require.Equal(t, fleet.Complete, r.State, r.Reason)
}

// Whoever only looks asks no seid: a gate does not run out for that.
func TestRefreshTimesNothingOut(t *testing.T) {
	t.Parallel()
	w, r := verifying(t)
	w.now = w.now.Add(time.Hour)
	w.chain = nil
	seen := r.Clone()
	fleet.Refresh(seen, w.view())
	require.Equal(t, fleet.Verifying, seen.Nodes[0].Outcome)
	require.Equal(t, "its seid is asked for its height by whoever drives the rollout, and nobody does now; next: seictl fleet resume --chain pacific-1",
		seen.Nodes[0].Detail)

	seen = r.Clone()
	seen.Driver, seen.Nodes[0].Detail = "alice", "the height of seid has not moved yet (7)"
	fleet.Refresh(seen, w.view())
	require.Equal(t, "the height of seid has not moved yet (7)", seen.Nodes[0].Detail, "alice knows")

	// What is to be seen is told all the same.
	seen = r.Clone()
	w.down("ax-0", true)
	fleet.Refresh(seen, w.view())
	require.Equal(t, fleet.Verifying, seen.Nodes[0].Outcome)
	require.Contains(t, seen.Nodes[0].Detail, "PodNotReady")
}
