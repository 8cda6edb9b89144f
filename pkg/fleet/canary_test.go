package fleet_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/fleet"
)

// baking is a rollout over ax-0 and ax-1 whose canary ax-0 is watched for an hour.
func baking(t *testing.T) (*world, *fleet.Record) {
	t.Helper()
	w := newWorld(t)
	w.node("ax-0")
	w.node("ax-1")
	s := w.strategy()
	s.Bake = time.Hour
	_, r := w.build(enable, s)
	for r.BakeFrom == nil {
		w.pass(r, time.Second)
	}
	return w, r
}

// pass is one look at the fleet and what follows from it, and the time after it.
func (w *world) pass(r *fleet.Record, after time.Duration) fleet.Decision {
	w.t.Helper()
	d := fleet.Step(r, w.view())
	w.carry(r, d)
	w.engine()
	w.now = w.now.Add(after)
	return d
}

// remove deletes nodes.
func (w *world) remove(names ...string) {
	for _, name := range names {
		for i, n := range w.nodes {
			if n.Name == name {
				w.nodes = append(w.nodes[:i:i], w.nodes[i+1:]...)
				break
			}
		}
	}
}

// down has the pod of a node be not Ready, or Ready again.
func (w *world) down(name string, down bool) {
	n := w.find(name).DeepCopy()
	status, reason := metav1.ConditionTrue, v1alpha1.ReasonReady
	if down {
		status, reason = metav1.ConditionFalse, v1alpha1.ReasonPodNotReady
	}
	condition(n, v1alpha1.ConditionReady, status, reason, "pod "+name+"-0 is not Ready")
	condition(n, v1alpha1.ConditionSidecarReady, status, reason, "the sidecar does not answer")
	w.replace(n)
}

// A canary that was skipped shows nothing: the rest is not touched for it, whatever the other flags say.
func TestNoCanaryProven(t *testing.T) {
	t.Parallel()
	for _, onFailure := range []bool{false, true} {
		w := newWorld(t)
		w.node("ax-0")
		w.node("ax-1")
		w.node("ax-2")
		s := w.strategy()
		s.Canary, s.Continue = 2, onFailure
		_, r := w.build(enable, s)
		w.find("ax-0").Spec.Paused, w.find("ax-1").Spec.Paused = true, true
		r = w.run(r)
		require.Equal(t, fleet.Failed, r.State)
		require.Equal(t, "no canary was proven: fleet/ax-0, fleet/ax-1: spec.paused is true", r.Reason)
		require.Empty(t, w.edits)

		// One of them is enough, and has its turn when the rollout goes on.
		w.find("ax-0").Spec.Paused = false
		r.Reopen(w.view())
		r = w.run(r)
		require.Equal(t, fleet.Complete, r.State, r.Reason)
		require.Equal(t, map[string]fleet.Outcome{"ax-0": fleet.Done, "ax-1": fleet.Skipped, "ax-2": fleet.Done}, outcomes(r))
	}
}

// So does one that was deleted. Where all are, others take their place when the rollout goes on.
func TestCanariesThatAreGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node("ax-0")
	w.node("ax-1")
	w.node("ax-2")
	_, r := w.build(enable, w.strategy())
	w.remove("ax-0")
	r = w.run(r)
	require.Equal(t, fleet.Failed, r.State)
	require.Equal(t, "no canary was proven: fleet/ax-0: the node is gone", r.Reason)
	require.Empty(t, w.edits)
	r.Reopen(w.view())
	w.fails["ax-1"] = "observe-sidecar-tls: no"
	r = w.run(r)
	require.Equal(t, "canary fleet/ax-1 failed", r.Reason)
	w.fails = map[string]string{}
	r.Reopen(w.view())
	r = w.run(r)
	require.Equal(t, fleet.Complete, r.State, r.Reason)
	require.Equal(t, map[string]fleet.Outcome{"ax-0": fleet.Skipped, "ax-1": fleet.Done, "ax-2": fleet.Done}, outcomes(r))
	require.True(t, r.Nodes[0].Gone, "and not paused")
	require.False(t, r.Nodes[1].Gone)

	// Nothing is left that a canary could protect.
	_, r = w.build(fleet.Goal{TLS: otherTLS}, w.strategy())
	w.remove("ax-1", "ax-2")
	require.Equal(t, fleet.Complete, w.run(r).State)
}

// Canaries are nodes that are down for a while, too: no more at once than the width, and all of them before the bake.
func TestCanariesGoWithinTheWidth(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		w.node("ax-" + n)
	}
	s := w.strategy()
	s.Canary, s.Bake, s.MaxUnavailable = 4, time.Hour, intstr.FromInt32(2)
	p, r := w.build(enable, s)
	require.Len(t, p.Waves[0].Nodes, 4)
	r = w.run(r)
	require.Equal(t, fleet.Complete, r.State, r.Reason)
	require.Equal(t, 2, w.most)
	for i := range 4 {
		require.False(t, r.Nodes[i].StartedAt.After(*r.BakeFrom), r.Nodes[i].Name)
	}
}

// Where only validators are to be changed, the first of them is the canary.
func TestValidatorIsTheCanaryOfValidators(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, n := range []string{"val-0", "val-1", "val-2"} {
		w.node(n, validator)
	}
	s := w.strategy()
	s.Canary, s.Bake, s.IncludeValidators, s.Continue = 2, time.Hour, true, true
	p, r := w.build(enable, s)
	require.Equal(t, 1, p.Strategy.Canary)
	require.Equal(t, []fleet.WavePlan{
		{Name: "canary", Nodes: []string{"fleet/val-0"}}, {Name: "wave 1", Nodes: []string{"fleet/val-1"}}, {Name: "wave 2", Nodes: []string{"fleet/val-2"}},
	}, p.Waves)
	done := w.run(r.Clone())
	require.Equal(t, fleet.Complete, done.State, done.Reason)
	require.Equal(t, 1, w.most)
	require.GreaterOrEqual(t, done.Nodes[1].StartedAt.Sub(*done.BakeFrom), time.Hour)

	w = newWorld(t)
	for _, n := range []string{"val-0", "val-1"} {
		w.node(n, validator)
	}
	w.fails["val-0"] = "the proxy crashes"
	_, r = w.build(enable, s)
	r = w.run(r)
	require.Equal(t, fleet.Failed, r.State)
	require.Equal(t, "canary fleet/val-0 failed", r.Reason)
	require.Equal(t, fleet.Pending, r.Nodes[1].Outcome)
}

// A canary that falls ill in the bake and stays so stops the rollout when its gate's time is over, not when the bake is.
func TestBakeWatchesTheCanaries(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ill func(*world)
		why string
	}{
		"its pod":    {func(w *world) { w.down("ax-0", true) }, "its health gate did not pass within 5m0s: PodNotReady"},
		"its height": {func(w *world) { w.lags["ax-0"] = true }, "its health gate did not pass within 5m0s: seid is catching up"},
		"its leaf": {func(w *world) {
			n := w.find("ax-0").DeepCopy()
			n.Status.CurrentSidecarTLS.FingerprintSHA256 = ""
			w.replace(n)
		}, "did not pass within 5m0s: TLS is not verified on the wire"},
		"its spec": {func(w *world) {
			w.replace(fleet.EditNode(w.find("ax-0"), fleet.Edit{TLS: secretTLS}))
		}, "spec.sidecar.tls of fleet/ax-0 was changed to Secret/mine by somebody, wanted ClusterIssuer/pacific-1-ca"},
		"it is gone": {func(w *world) { w.remove("ax-0") }, "the node is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, r := baking(t)
			began := w.now
			tc.ill(w)
			r = w.run(r)
			require.Equal(t, fleet.Failed, r.State)
			require.Contains(t, r.Nodes[0].Detail, tc.why)
			require.Equal(t, fleet.Pending, r.Nodes[1].Outcome)
			require.Less(t, w.now.Sub(began), 10*time.Minute)
		})
	}
}

// One that recovers in time restarts nothing, neither the node nor the bake, and is told.
func TestBakeForgivesAShortFlap(t *testing.T) {
	t.Parallel()
	w, r := baking(t)
	from := *r.BakeFrom
	w.now = w.now.Add(10 * time.Minute)
	w.down("ax-0", true)
	w.pass(r, 40*time.Second)
	require.Equal(t, fleet.Verifying, r.Nodes[0].Outcome)
	require.Contains(t, r.Nodes[0].Detail, "PodNotReady: the sidecar does not answer")
	w.down("ax-0", false)
	for r.Nodes[0].Outcome != fleet.Done {
		w.pass(r, time.Second)
	}
	require.Contains(t, r.Nodes[0].Detail, "it was not healthy for 42s in the bake: PodNotReady")
	r = w.run(r)
	require.Equal(t, fleet.Complete, r.State, r.Reason)
	require.Equal(t, from, *r.BakeFrom)
	require.Contains(t, r.Nodes[0].Detail, "it was not healthy for 42s in the bake", "and is told at the end, too")
	require.Equal(t, 1, w.cycles["ax-0"])
}

// In a long bake seid is asked now and then, not every second.
func TestBakeAsksSeldom(t *testing.T) {
	t.Parallel()
	w, r := baking(t)
	asked, wakes := 0, 0
	for until := w.now.Add(30 * time.Minute); w.now.Before(until); wakes++ {
		d := w.pass(r, 0)
		require.Equal(t, fleet.Done, r.Nodes[0].Outcome, r.Nodes[0].Detail)
		if len(d.Probes) > 0 {
			asked++
			w.now = w.now.Add(time.Second)
			continue
		}
		require.True(t, d.WakeAt.After(w.now))
		w.now = d.WakeAt
	}
	require.Less(t, asked, 30*2*3, "some questions each half a minute")
	require.Greater(t, asked, 60, "but it is watched")

	// Nobody asked while nobody drove.
	from := *r.BakeFrom
	r.Resumed(w.now)
	require.Equal(t, from, *r.BakeFrom, "a lock that was lost for a moment")
	w.pass(r, time.Second)
	w.now = w.now.Add(10 * time.Minute)
	clear(w.chain)
	r.Resumed(w.now)
	require.WithinDuration(t, from.Add(10*time.Minute), *r.BakeFrom, time.Minute, "what nobody watched is no part of the bake")
	w.pass(r, time.Second)
	require.Equal(t, fleet.Done, r.Nodes[0].Outcome, r.Nodes[0].Detail)
}
