package engine

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
)

// conclude computes what the status says besides plan and stamps, and when to look again.
func (p *pass) conclude() {
	st, node := &p.node.Status, p.node
	st.ObservedGeneration = node.Generation
	if len(p.ended) > 0 && p.snapshot.ForeignController == "" {
		// What was stamped in this pass is no drift any more.
		p.report = drift.Evaluate(drift.Input{
			Node: node, Snapshot: p.snapshot, Settings: &p.settings, Held: plan.Held(node, p.snapshot),
		})
	}
	switch {
	case node.DeletionTimestamp != nil:
		st.Phase = v1alpha1.PhaseTerminating
	case st.Phase == "":
		st.Phase = v1alpha1.PhasePending
	case st.Phase == v1alpha1.PhaseFailed && st.Plan.Active():
		st.Phase = v1alpha1.PhaseInitializing
	}
	if p.snapshot.PodReady() && st.FirstReadyAt == nil {
		at := metav1.NewTime(p.now)
		st.FirstReadyAt = &at
	}
	st.SidecarTLS = p.contract()
	p.setSecretReady()
	p.setSidecarReady()
	p.setUpdateInProgress()
	p.setReady()
	for i := range st.Conditions {
		// Those that stay as they were hold for this generation as well.
		st.Conditions[i].ObservedGeneration = node.Generation
	}

	active := st.Plan.Active()
	p.out.Idle, p.out.Warnings = p.decision.Idle, append(p.out.Warnings, p.report.Warnings...)
	if p.decision.Detail != "" {
		p.out.Detail = p.decision.Detail
	}
	// What was found before a plan ended says nothing of what is due after it: the pass that follows at once does.
	p.out.Settled = !active && p.decision.Idle == plan.NotIdle && p.snapshot.ForeignController == "" &&
		!p.report.NodeUpdateDue() && st.Phase == v1alpha1.PhaseRunning && p.out.RequeueAfter != Immediately
	if p.out.Settled && p.snapshot.Sidecar != drift.SidecarOK {
		p.out.Settled, p.out.Awaits = false, awaitsText(p.snapshot)
		p.wakeAfter(sidecarPoll)
	}
	if p.out.RequeueAfter == 0 && !p.nextWake.IsZero() {
		p.out.RequeueAfter = max(p.nextWake.Sub(p.now), 1)
	}
}

// contract is what whoever provisions the TLS Secret must satisfy.
func (p *pass) contract() *v1alpha1.SidecarTLSContract {
	tls := p.node.SidecarTLS()
	if tls == nil {
		tls = p.node.Status.CurrentSidecarTLS.Config()
	}
	if tls == nil {
		return nil
	}
	t := resources.TLSSecretParamsFor(p.node, tls, p.settings)
	return &v1alpha1.SidecarTLSContract{SecretName: t.SecretName, RequiredDNSNames: t.DNSNames}
}

// set is the only way to a condition.
func (p *pass) set(conditionType string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&p.node.Status.Conditions, metav1.Condition{
		Type: conditionType, Status: status, Reason: reason, Message: message,
		ObservedGeneration: p.node.Generation, LastTransitionTime: metav1.NewTime(p.now),
	})
}

func (p *pass) setSecretReady() {
	v := p.snapshot.CurrentVerdict
	if v == nil || (p.node.SidecarTLS() == nil && p.node.Status.CurrentSidecarTLS == nil) {
		meta.RemoveStatusCondition(&p.node.Status.Conditions, v1alpha1.ConditionSidecarTLSSecretReady)
		return
	}
	status := metav1.ConditionFalse
	switch {
	case v.Ready:
		status = metav1.ConditionTrue
	case v.Unknown:
		status = metav1.ConditionUnknown
	}
	p.set(v1alpha1.ConditionSidecarTLSSecretReady, status, v.Reason, v.Message+p.servedText(v))
}

func (p *pass) setSidecarReady() {
	const t = v1alpha1.ConditionSidecarReady
	switch {
	case p.snapshot.Sidecar == drift.SidecarOK:
		p.set(t, metav1.ConditionTrue, v1alpha1.ReasonReady, "the sidecar answers 200")
	case p.node.Status.Phase != v1alpha1.PhaseRunning || p.inPodCycle():
		p.set(t, metav1.ConditionFalse, v1alpha1.ReasonNotReady, "the pod is in a plan's hands until its mark-ready")
	case p.snapshot.Pod == nil:
		p.set(t, metav1.ConditionUnknown, v1alpha1.ReasonUnreachable, "there is no pod")
	case p.snapshot.Sidecar == drift.SidecarParked:
		p.set(t, metav1.ConditionFalse, v1alpha1.ReasonNotReady, "the sidecar answers 503: it waits for mark-ready")
	case p.snapshot.Pod.DeletionTimestamp != nil:
		p.set(t, metav1.ConditionUnknown, v1alpha1.ReasonUnreachable, "pod "+p.snapshot.Pod.Name+" is Terminating")
	case p.snapshot.Sidecar == drift.SidecarUnreachable:
		p.set(t, metav1.ConditionUnknown, v1alpha1.ReasonUnreachable, "the sidecar does not answer: "+p.snapshot.SidecarDetail)
	}
}

func (p *pass) setUpdateInProgress() {
	const t = v1alpha1.ConditionNodeUpdateInProgress
	st := &p.node.Status
	had := meta.FindStatusCondition(st.Conditions, t)
	active := st.Plan
	switch {
	case active.Active() && active.Kind == v1alpha1.NodeUpdate && p.decision.Idle == idleQueued:
		p.set(t, metav1.ConditionTrue, v1alpha1.ReasonUpdateQueued, p.decision.Detail)
	case active.Active() && active.Kind == v1alpha1.NodeUpdate:
		p.set(t, metav1.ConditionTrue, plan.NodeUpdateReason(active.Causes), targetText(active.Target))
	case active.Active() && active.Kind == v1alpha1.NodeRollback:
		reason := v1alpha1.ReasonUpdateStarted
		if had != nil && had.Status == metav1.ConditionTrue {
			reason = had.Reason
		}
		p.set(t, metav1.ConditionTrue, reason, "rolling back to what ran before: "+rollbackText(active))
	case p.decision.Idle == plan.IdleBlocked:
		p.set(t, metav1.ConditionFalse, v1alpha1.ReasonUpdateBlocked, p.decision.Detail)
	default:
		p.setUpdateEnded(had)
	}
}

// setUpdateEnded says how the update that ended in this pass did, or that a blocked one has nothing left to do.
func (p *pass) setUpdateEnded(had *metav1.Condition) {
	const t = v1alpha1.ConditionNodeUpdateInProgress
	for _, e := range p.ended {
		switch {
		case e.plan.Kind == v1alpha1.NodeRollback && e.outcome == v1alpha1.PlanComplete && e.plan.RollsBack.Reason == "":
			p.set(t, metav1.ConditionFalse, v1alpha1.ReasonSuperseded, "the spec was put back: the node runs what it ran before")
		case e.plan.Kind == v1alpha1.NodeRollback && e.outcome == v1alpha1.PlanComplete:
			p.set(t, metav1.ConditionFalse, v1alpha1.ReasonRolledBack, fmt.Sprintf(
				"the update to %s failed and was rolled back: %s. Held until the spec changes or: seictl node retry %s -n %s",
				targetText(e.plan.RollsBack.Target), rollbackText(e.plan), p.node.Name, p.node.Namespace))
		case e.plan.Kind == v1alpha1.NodeRollback && e.outcome == v1alpha1.PlanFailed:
			p.set(t, metav1.ConditionFalse, v1alpha1.ReasonUpdateFailed, "the rollback failed and is retried: "+e.plan.FailedTaskDetail)
		case e.plan.Kind != v1alpha1.NodeUpdate:
		case e.outcome == v1alpha1.PlanComplete:
			p.set(t, metav1.ConditionFalse, v1alpha1.ReasonUpdateComplete, "the node runs "+targetText(e.plan.Target))
		case e.outcome == v1alpha1.PlanFailed:
			p.set(t, metav1.ConditionFalse, v1alpha1.ReasonUpdateFailed, p.decision.Detail)
		case e.outcome == v1alpha1.PlanSuperseded && !p.node.Status.Plan.Active():
			p.set(t, metav1.ConditionFalse, v1alpha1.ReasonSuperseded, "the spec changed and nothing is left to update")
		}
	}
	p.setNothingInProgress(had)
}

// setNothingInProgress takes back what does not hold any more, when no plan that ended in this pass says better.
func (p *pass) setNothingInProgress(had *metav1.Condition) {
	const t = v1alpha1.ConditionNodeUpdateInProgress
	now := meta.FindStatusCondition(p.node.Status.Conditions, t)
	// An update that failed and was to be tried again is not any more.
	old, cur := p.orig.Status.Plan, p.node.Status.Plan
	dropped := old != nil && old.Kind == v1alpha1.NodeUpdate && old.RetryAt != nil && (cur == nil || cur.ID != old.ID)
	switch {
	case now == nil:
	case now.Status == metav1.ConditionTrue && p.report.NodeUpdateDue():
		p.set(t, metav1.ConditionFalse, v1alpha1.ReasonSuperseded, "the update gave way and starts again later")
	case now.Status == metav1.ConditionTrue,
		len(p.ended) == 0 && !p.report.NodeUpdateDue() && (dropped || had.Reason == v1alpha1.ReasonUpdateBlocked):
		p.set(t, metav1.ConditionFalse, v1alpha1.ReasonSuperseded, "the spec changed and nothing is left to update")
	}
}

func targetText(t v1alpha1.PlanTarget) string {
	return fmt.Sprintf("image %s, TLS %s", t.Image, plan.TLSText(t.SidecarTLS))
}

func rollbackText(p *v1alpha1.Plan) string {
	if p.RollsBack == nil || p.RollsBack.Reason == "" {
		return "the spec was put back"
	}
	return p.RollsBack.Reason
}

// setReady derives the root condition: the first thing that is not as it should be decides.
func (p *pass) setReady() {
	const t = v1alpha1.ConditionReady
	st := &p.node.Status
	is := func(conditionType string) *metav1.Condition {
		return meta.FindStatusCondition(st.Conditions, conditionType)
	}
	notReady := func(reason, message string) { p.set(t, metav1.ConditionFalse, reason, message) }
	switch update, secret := is(v1alpha1.ConditionNodeUpdateInProgress), is(v1alpha1.ConditionSidecarTLSSecretReady); {
	case p.node.DeletionTimestamp != nil:
		notReady(v1alpha1.ReasonTerminating, "the node is being deleted")
	case p.snapshot.ForeignController != "":
		notReady(v1alpha1.ReasonForeignController, p.out.Detail)
	case st.Phase == v1alpha1.PhaseFailed:
		notReady(v1alpha1.ReasonInitFailed, holdReason(st.Hold))
	case st.Phase != v1alpha1.PhaseRunning:
		notReady(v1alpha1.ReasonInitializing, strings.TrimSuffix("the node is being initialised: "+p.decision.Detail, ": "))
	case p.decision.Idle == plan.IdlePaused:
		notReady(v1alpha1.ReasonPaused, "the node does not run what its spec says, and spec.paused is true: "+p.driftText())
	case update != nil && update.Status == metav1.ConditionTrue:
		notReady(update.Reason, update.Message)
	case p.decision.Idle == plan.IdleHeld && update != nil:
		notReady(update.Reason, update.Message)
	case p.decision.Idle == plan.IdleBlocked:
		notReady(v1alpha1.ReasonUpdateBlocked, p.decision.Detail)
	case p.report.NodeUpdateDue():
		notReady(v1alpha1.ReasonDrift, "the node does not run what its spec says: "+p.driftText())
	case secret != nil && secret.Status != metav1.ConditionTrue:
		notReady(secret.Reason, secret.Message)
	case !p.snapshot.PodReady():
		notReady(v1alpha1.ReasonPodNotReady, podText(p.snapshot))
	default:
		p.set(t, metav1.ConditionTrue, v1alpha1.ReasonReady, "the pod is Ready, nothing drifted")
	}
}

func (p *pass) driftText() string {
	var parts []string
	for i := range p.report.Findings {
		if f := &p.report.Findings[i]; f.Cause == v1alpha1.ImageDrift || f.Cause == v1alpha1.SidecarTLSDrift {
			parts = append(parts, fmt.Sprintf("%s %q instead of %q", f.Subject, f.From, f.To))
		}
	}
	return strings.Join(parts, ", ")
}

func holdReason(h *v1alpha1.Hold) string {
	if h == nil {
		return "initialisation failed"
	}
	return h.Reason
}

func podText(s *drift.Snapshot) string {
	if s.Pod == nil {
		return "there is no pod"
	}
	return "pod " + s.Pod.Name + " is not Ready"
}

func awaitsText(s *drift.Snapshot) string {
	if s.Pod == nil {
		return "there is no pod yet"
	}
	return strings.TrimSuffix("pod "+s.Pod.Name+" does not answer yet: "+s.SidecarDetail, ": ")
}
