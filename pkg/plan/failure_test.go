package plan

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
)

func TestFail(t *testing.T) {
	accepted := func(p *v1alpha1.Plan) *v1alpha1.Plan {
		complete(p, v1alpha1.TaskMarkReady)
		i := Current(p)
		Start(p, i, testSettings(), t0)
		Advance(p, i, Run{Output: &v1alpha1.TaskOutput{Accepted: true}}, testSettings(), t0)
		Advance(p, i, Run{Message: "seid does not start"}, testSettings(), t0.Add(time.Hour))
		return p
	}
	for name, tc := range map[string]struct {
		failed   *v1alpha1.Plan
		template string // the revision of the live template
		rollback bool
		hold     bool
		detail   string
	}{
		"before the template was applied it is retried": {
			failAt(toggle(), v1alpha1.TaskWaitForSidecarTLSSecret), "r1", false, false, "wait-for-sidecar-tls-secret: it is broken"},
		"after it, it is rolled back and held": {
			failAt(toggle(), v1alpha1.TaskReplacePod), "r2", true, true, "replace-pod: it is broken"},
		"the template is judged live, not by the task's status: it was applied": {
			failAt(toggle(), v1alpha1.TaskApplyStatefulSet), "r2", true, true, "apply-statefulset: it is broken"},
		"the template is judged live, not by the task's status: it was not": {
			failAt(toggle(), v1alpha1.TaskApplyService), "r1", false, false, "apply-service: it is broken"},
		"an observer": {
			failAt(toggle(), v1alpha1.TaskObserveSidecarTLS), "r2", true, true, "observe-sidecar-tls: it is broken"},
		"a mark-ready that was refused": {
			failAt(toggle(), v1alpha1.TaskMarkReady), "r2", true, true, "mark-ready: it is broken"},
		"after mark-ready was accepted nothing is rolled back": {
			accepted(toggle()), "r2", false, true, "nothing is rolled back"},
	} {
		t.Run(name, func(t *testing.T) {
			n := runningNode(nil)
			n.Spec.Sidecar.TLS = issuerTLS("a")
			require.Equal(t, v1alpha1.PlanFailed, tc.failed.Phase)
			after := AfterFailure(input(n, live(tc.template, "r1")), tc.failed)
			require.Equal(t, tc.rollback, after.Rollback != nil)
			require.Equal(t, tc.hold, after.Hold != nil)
			require.Equal(t, !tc.hold, after.RetryAt != nil, "retried or held")
			require.Contains(t, tc.failed.FailedTaskDetail+" nothing is rolled back", tc.detail)
			if tc.hold {
				require.True(t, after.Hold.Target.Equal(tc.failed.Target))
				require.Equal(t, planA, after.Hold.PlanID)
				require.Contains(t, after.Hold.Reason, tc.detail)
			}
			if tc.rollback {
				require.Equal(t, v1alpha1.NodeRollback, after.Rollback.Kind)
				require.Equal(t, v1alpha1.RollbackCause{
					PlanID: planA, Target: tc.failed.Target, Reason: tc.failed.FailedTaskDetail,
				}, *after.Rollback.RollsBack)
				require.Equal(t, tc.failed.Previous, after.Rollback.Previous)
			}
		})
	}

	t.Run("cleanup only warns", func(t *testing.T) {
		n := consent(runningNode(issuerTLS("a")))
		n.Spec.Sidecar = nil
		p := complete(build(n), v1alpha1.TaskDeleteRBACProxyConfig)
		s := testSettings()
		i := Current(p)
		Start(p, i, s, t0)
		require.Equal(t, StepNext, Advance(p, i, Run{Err: errBroken, Terminal: true}, s, t0))
		require.Equal(t, v1alpha1.TaskSkipped, p.Tasks[i].Status)
		require.Equal(t, "it is broken", p.Tasks[i].Error)
		Start(p, i+1, s, t0)
		require.Equal(t, StepFinished, Advance(p, i+1, Run{Message: "slow"}, s, t0.Add(time.Hour)))
		require.Equal(t, v1alpha1.PlanComplete, p.Phase)
		require.Nil(t, p.FailedTaskIndex)
	})

	t.Run("a repair's cleanup does not only warn", func(t *testing.T) {
		p := BuildNodeRepairPlan(drifted(input(runningNode(nil), live("r1", "r1")), v1alpha1.TaskDeleteSidecarCert))
		failAt(p, v1alpha1.TaskDeleteSidecarCert)
		require.Equal(t, v1alpha1.PlanFailed, p.Phase)
	})

	t.Run("NodeInit backs off, then holds", func(t *testing.T) {
		n := runningNode(nil)
		n.Status = v1alpha1.SeiNodeStatus{Phase: v1alpha1.PhaseInitializing}
		in := input(n, live("r1", "r1"))
		for attempt := int32(1); attempt <= 5; attempt++ {
			p := failAt(BuildNodeInitPlan(in), v1alpha1.TaskReplacePod)
			p.Attempt = attempt
			after := AfterFailure(in, p)
			require.Nil(t, after.Rollback, "it never rolls back")
			require.Equal(t, attempt == 5, after.Hold != nil)
			if after.Hold != nil {
				require.Contains(t, after.Hold.Reason, "initialisation failed 5 times, the last: replace-pod")
			}
		}
	})

	for kind, build := range map[v1alpha1.PlanKind]func(Input) *v1alpha1.Plan{
		v1alpha1.MarkReady: BuildMarkReadyPlan,
		v1alpha1.NodeRepair: func(in Input) *v1alpha1.Plan {
			return BuildNodeRepairPlan(drifted(in, v1alpha1.TaskApplyService))
		},
		v1alpha1.NodeRollback: func(in Input) *v1alpha1.Plan {
			return BuildNodeRollbackPlan(in, toggle().Previous, v1alpha1.RollbackCause{PlanID: planA, Reason: "x"})
		},
	} {
		t.Run(string(kind)+" is retried with backoff, for ever", func(t *testing.T) {
			in := input(runningNode(nil), live("r2", "r2"))
			var minutes []int
			for attempt := int32(1); attempt <= 7; attempt++ {
				p := build(in)
				require.Equal(t, kind, p.Kind)
				failAt(p, p.Tasks[0].Type)
				p.Attempt = attempt
				after := AfterFailure(in, p)
				require.Nil(t, after.Hold)
				require.Nil(t, after.Rollback)
				minutes = append(minutes, int(after.RetryAt.Sub(t0).Minutes()))
			}
			require.Equal(t, []int{1, 2, 4, 8, 16, 30, 30}, minutes)
		})
	}
}

func TestAttempts(t *testing.T) {
	n := runningNode(nil)
	n.Spec.Sidecar.TLS = issuerTLS("a")
	failed := func(attempt int32) *v1alpha1.Plan {
		p := failAt(toggle(), v1alpha1.TaskWaitForSidecarTLSSecret)
		at := microTime(t0.Add(time.Minute))
		p.Attempt, p.RetryAt = attempt, &at
		return p
	}
	resolve := func(now time.Time, opt Options) Decision {
		in := input(n, live("r1", "r1"))
		in.Now = now
		return Resolve(in, opt)
	}
	n.Status.Plan = failed(2)

	d := resolve(t0.Add(59*time.Second), Options{})
	require.Nil(t, d.Plan)
	require.Equal(t, IdleBackoff, d.Idle)
	require.Equal(t, t0.Add(time.Minute), *d.RetryAt)
	require.Contains(t, d.Detail, "attempt 2 failed: wait-for-sidecar-tls-secret: it is broken; the next one starts at 2026-01-02T03:05:05Z")

	d = resolve(t0.Add(time.Minute), Options{})
	require.True(t, d.New)
	require.Equal(t, int32(3), d.Plan.Attempt)

	d = resolve(t0, Options{IgnoreBackoff: true})
	require.Equal(t, int32(3), d.Plan.Attempt, "asked for, at once")

	n.Annotations[v1alpha1.AnnotationRetryRequestedAt] = "now"
	d = resolve(t0, Options{})
	require.Equal(t, int32(1), d.Plan.Attempt, "a retry starts to count anew")
	require.Equal(t, "now", d.Plan.RetrySeen)
	delete(n.Annotations, v1alpha1.AnnotationRetryRequestedAt)

	n.Spec.Sidecar.TLS = issuerTLS("b")
	d = resolve(t0, Options{})
	require.Equal(t, int32(1), d.Plan.Attempt, "another target is another plan, and waits for nothing")

	// The edit was taken back: what failed has no object any more.
	n.Spec.Sidecar.TLS = nil
	d = resolve(t0, Options{})
	require.Nil(t, d.Plan)
	require.Equal(t, n.Status.Plan, d.Ended)
	require.Equal(t, NotIdle, d.Idle)

	t.Run("a retried update inherits where to return to, once its template was applied", func(t *testing.T) {
		n := runningNode(nil)
		n.Spec.Sidecar.TLS = issuerTLS("a")
		n.Status.Plan = failAt(build(n), v1alpha1.TaskApplyStatefulSet)
		d := Resolve(input(n, live("r2", "r2")), Options{})
		require.Equal(t, "r1", d.Plan.Previous.ControllerRevision)
		require.Equal(t, 1, PodCycles(d.Plan))
	})
	t.Run("a failed rollback is retried with what it had, before anything else", func(t *testing.T) {
		n := runningNode(nil)
		n.Spec.Sidecar = &v1alpha1.SidecarConfig{TLS: toggle().Target.SidecarTLS}
		cause := v1alpha1.RollbackCause{PlanID: planA, Target: toggle().Target, Reason: "x"}
		n.Status.Plan = failAt(BuildNodeRollbackPlan(input(n, live("r2", "r2")), toggle().Previous, cause), v1alpha1.TaskReplacePod)
		s := live("r2", "r2")
		s.Sidecar = drift.SidecarParked
		d := Resolve(input(n, s), Options{})
		require.Equal(t, v1alpha1.NodeRollback, d.Plan.Kind)
		require.Equal(t, int32(2), d.Plan.Attempt)
		require.Equal(t, "r1", d.Plan.Previous.ControllerRevision)
		require.Equal(t, cause, *d.Plan.RollsBack)

		n.Spec.Image = "seid:v3"
		d = Resolve(input(n, s), Options{})
		require.Equal(t, v1alpha1.NodeUpdate, d.Plan.Kind, "an edit overtakes a rollback that does not work")
		require.Equal(t, "r1", d.Plan.Previous.ControllerRevision)
		require.Equal(t, 1, PodCycles(d.Plan))
	})
	t.Run("a MarkReady that failed after it was accepted leaves no failed plan behind", func(t *testing.T) {
		n := runningNode(nil)
		in := input(n, live("r1", "r1"))
		p := BuildMarkReadyPlan(in)
		Start(p, 0, testSettings(), t0)
		Advance(p, 0, Run{Output: &v1alpha1.TaskOutput{Accepted: true}}, testSettings(), t0)
		Advance(p, 0, Run{}, testSettings(), t0.Add(time.Hour))
		require.Equal(t, v1alpha1.PlanFailed, p.Phase)
		n.Status.Plan = p
		require.Equal(t, p, Resolve(input(n, live("r1", "r1")), Options{}).Ended)
	})
	t.Run("an update that failed after the point of no return stays to be read", func(t *testing.T) {
		n := runningNode(nil)
		p := complete(toggle(), v1alpha1.TaskMarkReady)
		Start(p, Current(p), testSettings(), t0)
		Advance(p, Current(p), Run{Output: &v1alpha1.TaskOutput{Accepted: true}}, testSettings(), t0)
		Advance(p, Current(p), Run{}, testSettings(), t0.Add(time.Hour))
		n.Status.Plan = p
		require.Nil(t, Resolve(input(n, live("r1", "r1")), Options{}).Ended)
	})
}

// A repair that does not help, because somebody else owns a field, say, must not be repeated as fast as it completes.
func TestRepairIsNotRepeatedAtOnce(t *testing.T) {
	n := runningNode(nil)
	in := drifted(input(n, live("r1", "r1")), v1alpha1.TaskApplyService)
	d := Resolve(in, Options{})
	require.Equal(t, v1alpha1.NodeRepair, d.Plan.Kind)

	n.Status.LastPlan = Summarize(complete(d.Plan, ""), v1alpha1.PlanComplete, "", t0)
	d = Resolve(in, Options{})
	require.Nil(t, d.Plan)
	require.Equal(t, IdleBackoff, d.Idle)
	require.Equal(t, t0.Add(time.Minute), *d.RetryAt)
	require.NotNil(t, Resolve(in, Options{IgnoreBackoff: true}).Plan)

	in.Now = t0.Add(time.Minute)
	require.NotNil(t, Resolve(in, Options{}).Plan)
}

// A node that failed to initialise because of its overrides, say, is tried again when its spec changes, though the target
// of plans, image and TLS, does not.
func TestNodeInitFollowsTheSpec(t *testing.T) {
	n := runningNode(nil)
	n.Generation = 4
	n.Status = v1alpha1.SeiNodeStatus{Phase: v1alpha1.PhaseInitializing, ObservedGeneration: 4}
	p := failAt(BuildNodeInitPlan(input(n, nil)), v1alpha1.TaskConfigValidate)
	at := microTime(t0.Add(time.Hour))
	p.Attempt, p.RetryAt = 3, &at
	n.Status.Plan = p
	require.Equal(t, IdleBackoff, Resolve(input(n, live("r1", "r1")), Options{}).Idle)

	n.Generation = 5
	d := Resolve(input(n, live("r1", "r1")), Options{})
	require.NotNil(t, d.Plan, "an edit does not wait for the backoff")
	require.Equal(t, int32(1), d.Plan.Attempt)

	n.Generation = 4
	p.Attempt = 5
	n.Status.Phase, n.Status.Hold = v1alpha1.PhaseFailed, AfterFailure(input(n, nil), p).Hold
	s := live("r1", "r1")
	s.TargetVerdict = nil
	d = Resolve(input(n, s), Options{})
	require.Equal(t, IdleHeld, d.Idle)
	require.False(t, d.ClearHold)

	n.Generation = 5
	d = Resolve(input(n, s), Options{})
	require.NotNil(t, d.Plan)
	require.True(t, d.ClearHold)
	require.Equal(t, int32(1), d.Plan.Attempt)
}

func TestSummarize(t *testing.T) {
	p := toggle()
	s := testSettings()
	for i := range p.Tasks {
		at := t0.Add(time.Duration(i) * time.Second)
		Start(p, i, s, at)
		Advance(p, i, Run{Done: true}, s, at.Add(time.Second))
	}
	sum := Summarize(p, v1alpha1.PlanComplete, "", t0.Add(time.Minute))
	require.Equal(t, v1alpha1.PlanComplete, sum.Outcome)
	require.Equal(t, 3*time.Second, sum.PodCycle.Duration, "from replace-pod to the end of mark-ready")
	require.Len(t, sum.Tasks, len(p.Tasks))
	require.Equal(t, time.Second, sum.Tasks[0].Duration.Duration)

	failed := Summarize(failAt(toggle(), v1alpha1.TaskReplacePod), v1alpha1.PlanFailed, "", t0)
	require.Equal(t, v1alpha1.TaskReplacePod, failed.FailedTask)
	require.Equal(t, "replace-pod: it is broken", failed.Detail)
	require.Nil(t, failed.PodCycle)
}
