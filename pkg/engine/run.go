package engine

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/tasks"
)

// run runs tasks of the active plan until one has to wait.
func (p *pass) run(ctx context.Context) {
	active := p.node.Status.Plan
	p.resume(active)
	for {
		i := plan.Current(active)
		if i < 0 || p.heldBack(ctx, active, i) {
			return
		}
		started := active.Tasks[i].Status == v1alpha1.TaskRunning
		plan.Start(active, i, &p.settings, p.now)
		if active.Tasks[i].Type == v1alpha1.TaskMarkReady && !started && active.Kind != v1alpha1.MarkReady {
			// Recorded before it is sent: whoever finds it started must assume that it was delivered.
			p.mustWrite = true
			p.out.RequeueAfter = Immediately
			return
		}
		if !p.runTask(ctx, active, i) {
			return
		}
	}
}

// resume takes over a plan that another process drove.
func (p *pass) resume(active *v1alpha1.Plan) {
	p.mu.Lock()
	seen := p.driven[p.node.UID] == active.ID
	p.driven[p.node.UID] = active.ID
	p.mu.Unlock()
	i := plan.Current(active)
	if seen || i < 0 || active.Tasks[i].Status != v1alpha1.TaskRunning {
		return
	}
	t := &active.Tasks[i]
	if t.Deadline != nil && p.now.After(t.Deadline.Time) {
		// Nobody drove the plan meanwhile: that is not the node's fault.
		plan.Rearm(active, i, &p.settings, p.now)
	}
	// A refusal on record says that nothing was delivered; with nothing on record it has to be assumed that it was.
	if t.Type == v1alpha1.TaskMarkReady && !plan.Accepted(t) && t.Error == "" {
		out := v1alpha1.TaskOutput{}
		if t.Output != nil {
			out = *t.Output
		}
		out.Accepted = true
		t.Output = &out
		plan.Rearm(active, i, &p.settings, p.now)
	}
}

// heldBack says whether a pause or the chain's budget keeps task i from running.
func (p *pass) heldBack(ctx context.Context, active *v1alpha1.Plan, i int) bool {
	if !plan.BeforeTemplate(active, i) {
		return false
	}
	if p.node.Spec.Paused && (active.Kind == v1alpha1.NodeInit || active.Kind == v1alpha1.NodeUpdate) && !p.inCycleUntold(ctx, active) {
		plan.Park(active, i, "spec.paused is true")
		p.decision.Idle, p.decision.Detail = plan.IdlePaused, "spec.paused is true: the plan goes on when it is false"
		return true
	}
	if active.Tasks[i].Type != v1alpha1.TaskApplyStatefulSet || active.Kind != v1alpha1.NodeUpdate || p.opts.Budget == nil {
		return false
	}
	ok, waitsFor := p.opts.Budget.Acquire(ctx, p.node, active)
	if ok {
		return false
	}
	p.queued = true
	plan.Park(active, i, waitsFor)
	p.decision.Idle, p.decision.Detail = idleQueued, waitsFor
	p.wakeAfter(queuePoll)
	return true
}

// inCycleUntold says whether the plan has taken the pod away already, although it does not say so: that was not written yet when
// somebody changed the node, or the process ended. A template that is applied under the old pod has disrupted nothing.
func (p *pass) inCycleUntold(ctx context.Context, active *v1alpha1.Plan) bool {
	if active.Kind != v1alpha1.NodeUpdate || !plan.Cycles(active) || p.snapshot.PodRevision() == active.Previous.ControllerRevision {
		return false
	}
	if err := p.refreshStatefulSet(ctx); err != nil {
		p.wakeAfter(time.Second)
		return false
	}
	in := p.input()
	return in.Applied(active)
}

// queuePoll is how often a node far back in the queue looks where it stands; whose turn has come is woken.
const queuePoll = 30 * time.Second

// idleQueued: the plan waits for a slot of the chain's budget.
const idleQueued plan.IdleReason = "Queued"

// runTask runs task i once and says whether the next one can run.
func (p *pass) runTask(ctx context.Context, active *v1alpha1.Plan, i int) bool {
	task := &active.Tasks[i]
	res, err := p.wire.run(ctx, p.env(), tasks.Input{Node: p.node, Plan: active, Task: task})
	if ctx.Err() != nil {
		return false
	}
	p.now = p.opts.Now()
	step := plan.Advance(active, i, plan.Run{
		Done: res.Phase == tasks.Done, Message: res.Message, Output: res.Output, Err: err, Terminal: tasks.IsTerminal(err),
	}, &p.settings, p.now)
	switch step {
	case plan.StepNext:
		p.stamp(ctx, active, task)
		return true
	case plan.StepFinished:
		p.stamp(ctx, active, task)
		p.refreshPod(ctx)
		p.complete(active)
	case plan.StepFailed:
		p.fail(ctx, active)
	case plan.StepWait:
		if err != nil {
			p.wakeAfter(plan.RetryDelay(task))
		}
		p.wakeAfter(res.RequeueAfter)
		if task.Deadline != nil {
			p.wakeAt(task.Deadline.Time)
		}
	}
	return false
}

// stamp records what an observer saw: the latched target, never the live spec.
func (p *pass) stamp(ctx context.Context, active *v1alpha1.Plan, t *v1alpha1.Task) {
	if t.Status != v1alpha1.TaskComplete {
		return
	}
	st := &p.node.Status
	switch t.Type {
	case v1alpha1.TaskObserveImage:
		st.CurrentImage = active.Target.Image
	case v1alpha1.TaskObserveSidecarTLS:
		// What this pass said of the Secret was said of the TLS that ran until now.
		defer func() { p.snapshot.CurrentVerdict, p.snapshot.TargetVerdict = p.judgeSecrets(ctx) }()
		if active.Target.SidecarTLS == nil {
			st.CurrentSidecarTLS = nil
			return
		}
		at := metav1.NewTime(p.now)
		served := &v1alpha1.ObservedSidecarTLS{
			SidecarTLSConfig: *active.Target.SidecarTLS.Normalize(), Source: active.Target.SidecarTLS.String(), ObservedAt: &at,
		}
		if t.Output != nil {
			served.FingerprintSHA256, served.NotAfter = t.Output.FingerprintSHA256, t.Output.NotAfter
		}
		st.CurrentSidecarTLS = served
	case v1alpha1.TaskConfigApply:
		st.AppliedConfigHash = t.Params.ConfigApply.Hash
	}
}

// refreshPod has the status say of the pod what the last task saw, which may be newer than what the pass began with: a plan
// that waited for a pod to be Ready must not end with one that is not.
func (p *pass) refreshPod(ctx context.Context) {
	if p.snapshot.Pod == nil {
		return
	}
	var pod corev1.Pod
	if found, err := p.get(ctx, p.snapshot.Pod.Name, &pod); err == nil && found && pod.UID == p.snapshot.Pod.UID {
		p.snapshot.Pod = &pod
	}
}

// complete ends a plan whose every task has ended.
func (p *pass) complete(active *v1alpha1.Plan) {
	p.endPlan(active, v1alpha1.PlanComplete, "")
	st := &p.node.Status
	st.Plan = nil
	if active.TargetPhase != "" {
		st.Phase = active.TargetPhase
	}
	if active.Kind == v1alpha1.NodeUpdate || active.Kind == v1alpha1.NodeInit {
		st.Hold = nil
	}
	p.out.RequeueAfter = Immediately
}

// fail decides what follows a failed plan, on the live template.
func (p *pass) fail(ctx context.Context, active *v1alpha1.Plan) {
	if err := p.refreshStatefulSet(ctx); err != nil {
		// What follows cannot be decided yet: the task is run, and fails, once more.
		p.node.Status.Plan = p.working.Status.Plan.DeepCopy()
		p.wakeAfter(plan.RetryDelay(&active.Tasks[plan.Current(active)]))
		return
	}
	after := plan.AfterFailure(p.input(), active)
	p.endPlan(active, v1alpha1.PlanFailed, "")
	st := &p.node.Status
	if after.Hold != nil {
		st.Hold = after.Hold
	}
	switch {
	case after.Rollback != nil:
		st.Plan = after.Rollback
		p.out.RequeueAfter = Immediately
	case after.RetryAt != nil:
		at := metav1.NewMicroTime(*after.RetryAt)
		active.RetryAt = &at
		p.wakeAt(*after.RetryAt)
		p.decision.Idle = plan.IdleBackoff
		p.decision.Detail = fmt.Sprintf("%s; the next attempt starts at %s", active.FailedTaskDetail, at.UTC().Format("15:04:05Z"))
	default:
		p.decision.Idle, p.decision.Detail = plan.IdleHeld, after.Hold.Reason
		if active.Kind == v1alpha1.NodeInit {
			st.Phase = active.FailedPhase
		}
	}
}
