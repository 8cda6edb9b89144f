package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/tasks"
)

// inCycle is a world whose node waits for its pod, with the way there not written yet.
func inCycle(t *testing.T) (*world, Outcome) {
	t.Helper()
	n := running(nil)
	w := newWorld(t, n, objects(t, n)...)
	w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Image = "seid:v2" })
	w.script[v1alpha1.TaskReplacePod] = func(tasks.Input) (tasks.Result, error) { return tasks.Wait("it takes its time"), nil }
	out := w.pass()
	for out.RequeueAfter == Immediately || out.Changed {
		out = w.pass()
	}
	require.Equal(t, v1alpha1.TaskPending, w.node().Status.Plan.Task(v1alpha1.TaskReplacePod).Status, "kept back")
	require.Contains(t, w.ran, v1alpha1.TaskReplacePod)
	return w, out
}

// What dozens of nodes have to tell of their progress does not pile up on the API server: each has its turn, and none waits
// for long.
func TestProgressHasItsTurn(t *testing.T) {
	t.Parallel()
	limit := rate.NewLimiter(progressPerSecond, progressBurst)
	now := t0
	var until []time.Duration
	for range 200 {
		k := known{}
		require.Equal(t, progressDelay, k.keepBack(limit, now, false))
		due := now.Add(progressDelay)
		wait := k.keepBack(limit, due, false)
		require.LessOrEqual(t, wait, progressPatience-progressDelay)
		if wait > 0 {
			require.Equal(t, wait/2, k.keepBack(limit, due.Add(wait-wait/2), false), "its turn stays the same")
		}
		until = append(until, max(wait, 0))
	}
	require.Zero(t, until[progressBurst-1], "a few are told at once")
	require.InDelta(t, 1.0, (until[20] - until[16]).Seconds(), 0.01, "then as the rate over all nodes allows")
	require.Equal(t, progressPatience-progressDelay, until[199])
}

// Whoever stops a rollout must see that a node is in its pod cycle.
func TestComingToTheTemplateIsTold(t *testing.T) {
	t.Parallel()
	w, out := inCycle(t)
	require.Equal(t, progressDelay, out.RequeueAfter)
	w.now = w.now.Add(progressDelay)
	w.engine.progress = rate.NewLimiter(0, 0)
	require.True(t, w.pass().Changed)
	require.Equal(t, v1alpha1.TaskRunning, w.node().Status.Plan.Task(v1alpha1.TaskReplacePod).Status)
}

// A driver that ends has the status say how far its nodes are.
func TestFlush(t *testing.T) {
	t.Parallel()
	w, _ := inCycle(t)
	w.fail["patch status"] = errors.New("away")
	require.ErrorContains(t, w.engine.Flush(t.Context()), "away")
	delete(w.fail, "patch status")
	require.NoError(t, w.engine.Flush(t.Context()))
	require.Equal(t, v1alpha1.TaskRunning, w.node().Status.Plan.Task(v1alpha1.TaskReplacePod).Status)
	before := w.requests["patch status"]
	require.NoError(t, w.engine.Flush(t.Context()))
	require.Equal(t, before, w.requests["patch status"], "once")
}

// A pause that comes before it was written that the pod is gone must not leave the node in the middle of its pod cycle. With
// the old pod still there nothing was disrupted, and it stays.
func TestPausedBeforeTheCycleWasTold(t *testing.T) {
	t.Parallel()
	for gone, cycles := range map[bool]bool{true: true, false: false} {
		w, _ := inCycle(t)
		if gone {
			w.pod(func(p *corev1.Pod) { p.Labels[appsv1.StatefulSetRevisionLabel] = "the next one" })
		}
		delete(w.script, v1alpha1.TaskReplacePod)
		w.edit(func(n *v1alpha1.SeiNode) { n.Spec.Paused = true })
		out := w.settle()
		if cycles {
			require.Nil(t, w.node().Status.Plan, "the cycle is seen through")
			require.Equal(t, "seid:v2", w.node().Status.CurrentImage)
			require.Contains(t, w.ended, "NodeUpdate Complete")
			continue
		}
		require.Equal(t, plan.IdlePaused, out.Idle)
		require.NotEqual(t, "seid:v2", w.node().Status.CurrentImage)
	}
}
