package plan

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
)

var errBroken = errors.New("it is broken")

// drift0 is a snapshot of an empty cluster.
var drift0 drift.Snapshot

func toggle() *v1alpha1.Plan {
	n := runningNode(nil)
	n.Spec.Sidecar.TLS = issuerTLS("a")
	return build(n)
}

func TestAdvanceDeadlines(t *testing.T) {
	s := testSettings()
	p := toggle()
	for i := range p.Tasks {
		require.Nil(t, p.Tasks[i].Deadline, "no deadline before the task starts")
		require.Nil(t, p.Tasks[i].StartedAt)
	}
	for task, want := range map[v1alpha1.TaskType]time.Duration{
		v1alpha1.TaskApplySidecarCert:        2 * time.Minute,
		v1alpha1.TaskWaitForSidecarTLSSecret: 5 * time.Minute,
		v1alpha1.TaskApplyStatefulSet:        2 * time.Minute,
		v1alpha1.TaskReplacePod:              15 * time.Minute, // ten, and the grace period of the old pod
		v1alpha1.TaskObserveSidecarTLS:       5 * time.Minute,
		v1alpha1.TaskMarkReady:               5 * time.Minute, // to be accepted
	} {
		p := complete(toggle(), task)
		i := Current(p)
		Start(p, i, s, t0)
		require.Equal(t, want, p.Tasks[i].Deadline.Sub(t0), task)
		require.Equal(t, v1alpha1.TaskRunning, p.Tasks[i].Status)

		// Starting it again moves nothing: a task does not gain time by being looked at.
		Start(p, i, s, t0.Add(time.Minute))
		require.Equal(t, want, p.Tasks[i].Deadline.Sub(t0), task)

		// At the deadline it may still finish, past it it fails with what it waited for.
		require.Equal(t, StepWait, Advance(p, i, Run{Message: "for Godot"}, s, t0.Add(want)))
		require.Equal(t, StepFailed, Advance(p, i, Run{Message: "for Godot"}, s, t0.Add(want+time.Second)))
		require.Equal(t, string(task)+": not done by its deadline: for Godot", p.FailedTaskDetail)
		require.Equal(t, v1alpha1.PlanFailed, p.Phase)
		require.Equal(t, int32(i), *p.FailedTaskIndex)
	}
	t.Run("done late is done", func(t *testing.T) {
		p := toggle()
		Start(p, 0, s, t0)
		require.Equal(t, StepNext, Advance(p, 0, Run{Done: true}, s, t0.Add(time.Hour)))
	})
	t.Run("time in a queue or in pause does not count", func(t *testing.T) {
		p := complete(toggle(), v1alpha1.TaskApplyStatefulSet)
		i := Current(p)
		Start(p, i, s, t0)
		Park(p, i, "waits for a slot")
		require.Nil(t, p.Tasks[i].Deadline)
		require.Nil(t, p.Tasks[i].StartedAt)
		require.Equal(t, "waits for a slot", p.Tasks[i].Message)
		Start(p, i, s, t0.Add(time.Hour))
		require.Equal(t, t0.Add(time.Hour+2*time.Minute), p.Tasks[i].Deadline.Time)
	})
	t.Run("acceptance starts the readiness deadline, once", func(t *testing.T) {
		p := complete(toggle(), v1alpha1.TaskMarkReady)
		i := Current(p)
		Start(p, i, s, t0)
		at := t0.Add(4 * time.Minute)
		out := &v1alpha1.TaskOutput{Accepted: true}
		require.Equal(t, StepWait, Advance(p, i, Run{Output: out, Message: "accepted"}, s, at))
		require.Equal(t, at.Add(30*time.Minute), p.Tasks[i].Deadline.Time)
		require.Equal(t, StepWait, Advance(p, i, Run{Output: out}, s, at.Add(time.Minute)))
		require.Equal(t, at.Add(30*time.Minute), p.Tasks[i].Deadline.Time)
	})
	t.Run("accepted at the very last moment counts", func(t *testing.T) {
		p := complete(toggle(), v1alpha1.TaskMarkReady)
		i := Current(p)
		Start(p, i, s, t0)
		require.Equal(t, StepWait, Advance(p, i, Run{Output: &v1alpha1.TaskOutput{Accepted: true}}, s, t0.Add(time.Hour)))
		require.True(t, PointOfNoReturn(p))
	})
}

func TestAdvance(t *testing.T) {
	s := testSettings()
	p := toggle()
	Start(p, 0, s, t0)
	require.Equal(t, StepWait, Advance(p, 0, Run{Err: errBroken}, s, t0.Add(time.Second)))
	require.Equal(t, int32(1), p.Tasks[0].Attempts)
	require.Equal(t, "it is broken", p.Tasks[0].Error)
	require.Equal(t, StepNext, Advance(p, 0, Run{Done: true, Output: &v1alpha1.TaskOutput{Generation: 7}}, s, t0.Add(3*time.Second)))
	require.Empty(t, p.Tasks[0].Error)
	require.Equal(t, int64(7), p.Tasks[0].Output.Generation)
	require.Equal(t, 3*time.Second, p.Tasks[0].FinishedAt.Sub(p.Tasks[0].StartedAt.Time))

	Start(p, 1, s, t0)
	require.Equal(t, StepWait, Advance(p, 1, Run{Output: &v1alpha1.TaskOutput{PodUID: "u"}}, s, t0))
	require.Equal(t, StepWait, Advance(p, 1, Run{}, s, t0))
	require.Equal(t, "u", p.Tasks[1].Output.PodUID, "a run without output keeps the one before")

	complete(p, "")
	require.Equal(t, -1, Current(p))
	require.Equal(t, v1alpha1.PlanComplete, p.Phase)
	require.NotNil(t, p.FinishedAt)

	t.Run("errors up to the deadline", func(t *testing.T) {
		p := toggle()
		Start(p, 0, s, t0)
		require.Equal(t, StepWait, Advance(p, 0, Run{Err: errBroken}, s, t0))
		require.Equal(t, StepFailed, Advance(p, 0, Run{Err: errBroken}, s, t0.Add(time.Hour)))
		require.Contains(t, p.FailedTaskDetail, "after 2 errors, the last: it is broken")
	})
}

func TestBackoff(t *testing.T) {
	s := testSettings()
	var got []time.Duration
	for attempt := int32(1); attempt <= 8; attempt++ {
		got = append(got, Backoff(s, attempt)/time.Minute)
	}
	require.Equal(t, []time.Duration{1, 2, 4, 8, 16, 30, 30, 30}, got)
	require.Equal(t, 30*time.Minute, Backoff(s, 1<<30))
	require.Equal(t, time.Second, RetryDelay(&v1alpha1.Task{Attempts: 1}))
	require.Equal(t, 30*time.Second, RetryDelay(&v1alpha1.Task{Attempts: 9}))
}
