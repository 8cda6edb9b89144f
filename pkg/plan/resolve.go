package plan

import (
	"fmt"
	"strings"
	"time"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/resources"
)

// IdleReason says why nothing runs although something is due.
type IdleReason string

// Why nothing runs.
const (
	// NotIdle: a plan runs, or nothing is due.
	NotIdle IdleReason = ""
	// IdlePaused: spec.paused is true.
	IdlePaused IdleReason = "Paused"
	// IdleHeld: a plan for this target failed for good.
	IdleHeld IdleReason = "Held"
	// IdleBlocked: a gate does not hold.
	IdleBlocked IdleReason = "Blocked"
	// IdleBackoff: the last attempt failed and the next one is not due yet.
	IdleBackoff IdleReason = "Backoff"
	// IdleTerminating: the node is being deleted.
	IdleTerminating IdleReason = "Terminating"
)

// Decision is what a pass goes on with.
type Decision struct {
	// Plan to go on with; nil when there is none. A failed plan that is kept is none to go on with.
	Plan *v1alpha1.Plan
	// New says that the plan was built just now: it is persisted before its first task runs.
	New bool
	// Ended is the plan that the decision ended: another took its place, or it has no object any more.
	Ended *v1alpha1.Plan
	// ClearHold says that the hold is over.
	ClearHold bool
	// Idle says why nothing runs although something is due, and Detail in words.
	Idle   IdleReason
	Detail string
	// RetryAt is when the next attempt is due; with IdleBackoff.
	RetryAt *time.Time
}

// Options of Resolve.
type Options struct {
	// IgnoreBackoff starts the next attempt at once: somebody asked for it.
	IgnoreBackoff bool
}

// Held says whether the hold of a node still stands: same target, same provisioned certificate, no retry requested. The
// initialisation of a node is held until any edit of its spec: what it failed on may be an override.
func Held(node *v1alpha1.SeiNode, s *drift.Snapshot) bool {
	h := node.Status.Hold
	if h == nil || !h.Target.Equal(drift.Target(node)) ||
		h.RetrySeen != node.Annotations[v1alpha1.AnnotationRetryRequestedAt] || initEdited(node) {
		return false
	}
	if s == nil || s.TargetVerdict == nil || s.TargetVerdict.Unknown {
		return true
	}
	return s.TargetVerdict.SecretSHA256 == h.SecretSHA256
}

// initEdited says whether the spec of a node that does not run yet changed since the last pass.
func initEdited(node *v1alpha1.SeiNode) bool {
	return node.Status.Phase != v1alpha1.PhaseRunning && node.Generation != node.Status.ObservedGeneration
}

// Resolve decides what a pass goes on with: the active plan, one that takes its place, a new one, or none.
func Resolve(in Input, opt Options) Decision {
	node, p := in.Node, in.Node.Status.Plan
	d := Decision{}
	switch {
	case node.DeletionTimestamp != nil:
		return Decision{Idle: IdleTerminating, Detail: "the node is being deleted: no task runs"}
	case p.Active():
		d = in.resolveActive(p, opt)
	default:
		d = in.next(p, opt)
	}
	d.ClearHold = node.Status.Hold != nil && !Held(node, in.Snapshot)
	return d
}

func (in *Input) parked() bool {
	return in.Snapshot != nil && in.Snapshot.Sidecar == drift.SidecarParked
}

// Applied says whether the node has left the plan's previous: its live template is another, its pod still is, or its status
// says what a plan observed that was rolled back since. A rollback that failed on its way leaves the one or the other behind.
// Judged from what is there, never from a task's status, which a crash may have lost.
func (in *Input) Applied(p *v1alpha1.Plan) bool {
	previous := p.Previous.ControllerRevision
	if !Cycles(p) || previous == "" {
		return false
	}
	pod, st := in.Snapshot.PodRevision(), &in.Node.Status
	image := p.Previous.Image
	if p.Previous.ObservedImage != "" {
		image = p.Previous.ObservedImage
	}
	return in.Snapshot.TemplateApplied(previous) || pod != "" && pod != previous ||
		st.CurrentImage != image || !st.CurrentSidecarTLS.Config().Equal(p.Previous.SidecarTLS.Config())
}

func (in *Input) resolveActive(p *v1alpha1.Plan, opt Options) Decision {
	keep := Decision{Plan: p}
	switch p.Kind {
	case v1alpha1.NodeRollback:
		// Neither superseded nor rolled back.
		return keep
	case v1alpha1.MarkReady:
		if in.parked() || !in.Drift.NodeUpdateDue() {
			return keep
		}
		// The sidecar released seid: an edit need not wait for seid to start.
		return in.giveWay(p, opt)
	case v1alpha1.NodeRepair:
		if !in.parked() && (!in.Drift.NodeUpdateDue() || Held(in.Node, in.Snapshot)) {
			return keep
		}
		return in.giveWay(p, opt)
	case v1alpha1.NodeUpdate:
		// Only what ran before may be released: a pod that came back on a newer template waits for its observers.
		if in.parked() && !in.Applied(p) && in.Snapshot.PodRevision() == p.Previous.ControllerRevision {
			return Decision{Plan: BuildMarkReadyPlan(*in), New: true, Ended: p}
		}
	}
	applied := in.Applied(p)
	if p.Target.Equal(in.Drift.Target) || ObserversPassed(p) || (in.Node.Spec.Paused && applied) {
		return keep
	}
	return in.supersede(p, applied, opt)
}

// giveWay ends a MarkReady or a repair for what is more important, unless that cannot start.
func (in *Input) giveWay(p *v1alpha1.Plan, opt Options) Decision {
	d := in.next(nil, opt)
	if d.Plan == nil || d.Plan.Kind == v1alpha1.NodeRepair {
		return Decision{Plan: p}
	}
	d.Ended = p
	return d
}

// supersede builds what takes the place of a plan whose target is not wanted any more.
func (in *Input) supersede(p *v1alpha1.Plan, applied bool, opt Options) Decision {
	d := Decision{New: true, Ended: p}
	switch {
	case applied && in.Drift.Target.Equal(p.Previous.Target()):
		d.Plan = BuildNodeRollbackPlan(*in, p.Previous, v1alpha1.RollbackCause{PlanID: p.ID, Target: p.Target})
	case applied:
		d.Plan = BuildNodeUpdatePlan(*in, p.Previous, true)
	default:
		d = in.next(nil, opt)
		d.Ended = p
	}
	return d
}

// next decides what follows when no plan is active. failed is the plan that failed last and was kept, if any.
func (in *Input) next(failed *v1alpha1.Plan, opt Options) Decision {
	node := in.Node
	if node.Status.Phase != v1alpha1.PhaseRunning {
		return in.nextInit(failed, opt)
	}
	// A pod that waits on the wrong template must not be released: the rollback goes on first.
	if failed != nil && failed.Kind == v1alpha1.NodeRollback {
		if in.rollbackOvertaken(failed) {
			return Decision{Plan: BuildNodeUpdatePlan(*in, failed.Previous, true), New: true, Ended: failed}
		}
		return in.attempt(failed, opt, func() *v1alpha1.Plan {
			return BuildNodeRollbackPlan(*in, failed.Previous, *failed.RollsBack)
		})
	}
	if in.parked() {
		return in.attempt(failed, opt, func() *v1alpha1.Plan { return BuildMarkReadyPlan(*in) })
	}
	held := Held(node, in.Snapshot)
	if in.Drift.NodeUpdateDue() && !held {
		return in.nextUpdate(failed, opt)
	}
	d := in.nextRepair(failed, opt)
	if d.Plan == nil && in.Drift.NodeUpdateDue() {
		d.Idle, d.Detail = IdleHeld, node.Status.Hold.Reason
	}
	return d
}

// rollbackOvertaken says whether a rollback that failed has been overtaken: the spec now asks for something else than what
// failed and what ran before, or there is no StatefulSet left to return. Trying it again would keep the node down.
func (in *Input) rollbackOvertaken(failed *v1alpha1.Plan) bool {
	if in.Node.Spec.Paused {
		return false
	}
	edited := !in.Drift.Target.Equal(failed.RollsBack.Target) && !in.Drift.Target.Equal(failed.Previous.Target())
	return edited || (in.Snapshot != nil && in.Snapshot.StatefulSet == nil)
}

func (in *Input) nextInit(failed *v1alpha1.Plan, opt Options) Decision {
	switch {
	case in.Node.Spec.Paused:
		return Decision{Idle: IdlePaused, Detail: "spec.paused is true: the node is not initialised"}
	case Held(in.Node, in.Snapshot):
		return Decision{Idle: IdleHeld, Detail: in.Node.Status.Hold.Reason}
	}
	return in.startable(in.attempt(failed, opt, func() *v1alpha1.Plan { return BuildNodeInitPlan(*in) }))
}

// startable lets a decision stand unless a gate keeps its plan from starting.
func (in *Input) startable(d Decision) Decision {
	if d.Plan == nil {
		return d
	}
	if why := Gate(*in, d.Plan); why != "" {
		return Decision{Idle: IdleBlocked, Detail: why}
	}
	return d
}

func (in *Input) nextUpdate(failed *v1alpha1.Plan, opt Options) Decision {
	if in.Node.Spec.Paused {
		// A pause holds updates, not the repair of what was lost.
		d := in.nextRepair(failed, opt)
		if d.Plan == nil {
			d.Idle, d.Detail = IdlePaused, "spec.paused is true: the update starts when it is false"
		}
		return d
	}
	d := in.startable(in.attempt(failed, opt, func() *v1alpha1.Plan {
		if failed != nil && failed.Kind == v1alpha1.NodeUpdate && !PointOfNoReturn(failed) && in.Applied(failed) {
			return BuildNodeUpdatePlan(*in, failed.Previous, true)
		}
		return BuildRunningPlan(*in)
	}))
	if d.Idle == IdleBlocked {
		// What makes the Secret unsound may be an object that was lost.
		repair := in.nextRepair(failed, opt)
		if repair.Plan != nil {
			return repair
		}
		d.RetryAt = repair.RetryAt
	}
	return d
}

func (in *Input) nextRepair(failed *v1alpha1.Plan, opt Options) Decision {
	if in.Snapshot == nil || !in.Drift.Has(v1alpha1.ObjectDrift) {
		d := Decision{}
		// What failed has no object any more; an update that failed after the point of no return stays to be read.
		kept := failed != nil && failed.Kind == v1alpha1.NodeUpdate && PointOfNoReturn(failed)
		if kept && Held(in.Node, in.Snapshot) && !in.Snapshot.PodReady() {
			d.Idle, d.Detail = IdleHeld, in.Node.Status.Hold.Reason
		}
		if failed != nil && !kept && !Held(in.Node, in.Snapshot) {
			d.Ended = failed
		}
		return d
	}
	if at := in.repairAgainAt(); in.Now.Before(at) && !opt.IgnoreBackoff {
		return Decision{Idle: IdleBackoff, RetryAt: &at, Detail: "objects differ again right after they were repaired; " +
			"the next repair starts at " + at.UTC().Format(time.RFC3339)}
	}
	return in.attempt(failed, opt, func() *v1alpha1.Plan { return BuildNodeRepairPlan(*in) })
}

// repairAgainAt is when objects may be repaired again after a repair: at once they still look as before to a cache that
// lags, or somebody else changes them as fast as we do. Zero when no repair ended last.
func (in *Input) repairAgainAt() time.Time {
	last := in.Node.Status.LastPlan
	if last == nil || last.Kind != v1alpha1.NodeRepair || last.Outcome != v1alpha1.PlanComplete {
		return time.Time{}
	}
	return last.FinishedAt.Add(in.Settings.Backoff.Initial.Duration)
}

// attempt builds a plan unless the one that failed before it, of the same kind and target, says to wait.
func (in *Input) attempt(failed *v1alpha1.Plan, opt Options, build func() *v1alpha1.Plan) Decision {
	p := build()
	if failed == nil || p == nil || failed.Kind != p.Kind || !failed.Target.Equal(p.Target) || failed.RetrySeen != p.RetrySeen ||
		initEdited(in.Node) {
		return Decision{Plan: p, New: p != nil}
	}
	if at := failed.RetryAt; at != nil && in.Now.Before(at.Time) && !opt.IgnoreBackoff {
		return Decision{Idle: IdleBackoff, RetryAt: &at.Time, Detail: fmt.Sprintf("attempt %d failed: %s; the next one starts at %s",
			failed.Attempt, failed.FailedTaskDetail, at.UTC().Format(time.RFC3339))}
	}
	p.Attempt = failed.Attempt + 1
	return Decision{Plan: p, New: true}
}

// Gate says why a NodeInit or NodeUpdate must not start; empty when it may. A target with an issuer is gated by its wait
// task, one without TLS by no Secret.
func Gate(in Input, p *v1alpha1.Plan) string {
	s, tls := in.Snapshot, p.Target.SidecarTLS
	if s == nil {
		return ""
	}
	if p.Task(v1alpha1.TaskApplyStatefulSet) != nil {
		if err := resources.CheckImages(in.Node, p.Target, *in.Settings); err != nil {
			return strings.ReplaceAll(err.Error(), "\n", "; ")
		}
	}
	if tls == nil || p.Kind != v1alpha1.NodeUpdate {
		return ""
	}
	changed := in.Drift.Has(v1alpha1.SidecarTLSDrift)
	if changed && tls.SecretName != "" && (s.TargetVerdict == nil || !s.TargetVerdict.Ready) {
		return "the Secret to change to is not sound: " + verdictText(s.TargetVerdict == nil, func() string { return s.TargetVerdict.Message })
	}
	if !changed && Cycles(p) && (s.CurrentVerdict == nil || !s.CurrentVerdict.Ready) {
		return "the pod would not come back on its TLS Secret: " +
			verdictText(s.CurrentVerdict == nil, func() string { return s.CurrentVerdict.Message })
	}
	return ""
}

func verdictText(unread bool, message func() string) string {
	if unread {
		return "it was not read"
	}
	return message()
}
