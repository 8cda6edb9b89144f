package plan

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
)

// Aftermath is what follows a plan that failed.
type Aftermath struct {
	// Rollback takes the plan's place; nil when nothing is rolled back.
	Rollback *v1alpha1.Plan
	// Hold keeps the same target from being tried again; nil when it is retried.
	Hold *v1alpha1.Hold
	// RetryAt is when the next attempt starts; nil with a rollback or a hold.
	RetryAt *time.Time
}

// AfterFailure decides what follows a failed plan: before the template was applied a retry, up to the point of no return
// a rollback and a hold, after it a hold alone.
func AfterFailure(in Input, failed *v1alpha1.Plan) Aftermath {
	switch failed.Kind {
	case v1alpha1.NodeUpdate:
		if PointOfNoReturn(failed) {
			return Aftermath{Hold: in.hold(failed, failed.FailedTaskDetail+
				" (after the new seid was released: nothing is rolled back)")}
		}
		if in.Applied(failed) {
			return Aftermath{
				Hold: in.hold(failed, failed.FailedTaskDetail),
				Rollback: BuildNodeRollbackPlan(in, failed.Previous, v1alpha1.RollbackCause{
					PlanID: failed.ID, Target: failed.Target, Reason: failed.FailedTaskDetail,
				}),
			}
		}
	case v1alpha1.NodeInit:
		if failed.Attempt >= in.Settings.InitAttempts {
			return Aftermath{Hold: in.hold(failed, fmt.Sprintf("initialisation failed %d times, the last: %s",
				failed.Attempt, failed.FailedTaskDetail))}
		}
	}
	at := in.Now.Add(Backoff(in.Settings, failed.Attempt))
	return Aftermath{RetryAt: &at}
}

func (in *Input) hold(failed *v1alpha1.Plan, reason string) *v1alpha1.Hold {
	h := &v1alpha1.Hold{
		Target: *failed.Target.DeepCopy(), PlanID: failed.ID, Reason: reason, Since: metav1.NewTime(in.Now),
		RetrySeen: in.Node.Annotations[v1alpha1.AnnotationRetryRequestedAt],
	}
	if tls := failed.Target.SidecarTLS; tls != nil && tls.SecretName != "" && in.Snapshot != nil && in.Snapshot.TargetVerdict != nil {
		h.SecretSHA256 = in.Snapshot.TargetVerdict.SecretSHA256
	}
	return h
}

// Summarize sums up a plan that ended. detail says what took its place, where something did.
func Summarize(p *v1alpha1.Plan, outcome v1alpha1.PlanPhase, detail string, now time.Time) *v1alpha1.PlanSummary {
	s := &v1alpha1.PlanSummary{
		ID: p.ID, Kind: p.Kind, Causes: p.Causes, Outcome: outcome, Target: *p.Target.DeepCopy(),
		StartedAt: p.StartedAt, FinishedAt: metav1.NewMicroTime(now), Detail: orElse(detail, p.FailedTaskDetail),
	}
	for i := range p.Tasks {
		t := &p.Tasks[i]
		ts := v1alpha1.TaskSummary{Type: t.Type, Status: t.Status}
		if t.StartedAt != nil && t.FinishedAt != nil {
			ts.Duration = &metav1.Duration{Duration: t.FinishedAt.Sub(t.StartedAt.Time)}
		}
		s.Tasks = append(s.Tasks, ts)
	}
	if i := p.FailedTaskIndex; i != nil && int(*i) < len(p.Tasks) {
		s.FailedTask = p.Tasks[*i].Type
	}
	replace, ready := p.Task(v1alpha1.TaskReplacePod), p.Task(v1alpha1.TaskMarkReady)
	if replace != nil && ready != nil && replace.StartedAt != nil && ready.FinishedAt != nil {
		s.PodCycle = &metav1.Duration{Duration: ready.FinishedAt.Sub(replace.StartedAt.Time)}
	}
	return s
}
