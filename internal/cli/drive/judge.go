// Package drive sees nodes through to the end of what is due: it holds the Lease and runs the operator's reconciler over
// them or, where an operator does, watches.
package drive

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/plan"
)

// State is how far a node is.
type State string

// States of a node.
const (
	// Working: something is due or under way.
	Working State = "Working"
	// Done: it runs what it should.
	Done State = "Done"
	// Failed: a plan failed, was rolled back, is held or blocked.
	Failed State = "Failed"
	// Paused: something is due and the node is paused.
	Paused State = "Paused"
)

// Code is the exit code of a state.
func (s State) Code() int {
	switch s {
	case Failed:
		return exit.Failed
	case Paused:
		return exit.Paused
	}
	return exit.OK
}

// Goal is one node to see through.
type Goal struct {
	Key types.NamespacedName
	// Generation of the spec that was written: what is older does not count.
	Generation int64
	// Since is when it began; plans that ended before do not count.
	Since time.Time
	// asleepSince is when the node was first seen with nothing due and a sidecar that does not answer.
	asleepSince time.Time
	// Retry is the value of the request to retry that was written; empty for none. A node without it was read before.
	Retry string
}

// Verdict is what is said of a node now.
type Verdict struct {
	State  State
	Detail string
}

// Judge says how far a node is, after a pass or by its status.
func (g *Goal) Judge(node *v1alpha1.SeiNode, o engine.Outcome) Verdict {
	return g.judge(node, o.Idle, o.Detail, o.Settled)
}

// judge says how far a node is. idle and detail are why nothing runs, settled that nothing is due.
func (g *Goal) judge(node *v1alpha1.SeiNode, idle plan.IdleReason, detail string, settled bool) Verdict {
	st := &node.Status
	active := st.Plan.Active()
	switch {
	case node.Generation < g.Generation, st.ObservedGeneration < node.Generation && !active:
		return Verdict{State: Working, Detail: "the change is not seen yet"}
	case g.Retry != "" && node.Annotations[v1alpha1.AnnotationRetryRequestedAt] != g.Retry:
		return Verdict{State: Working, Detail: "the request to retry is not seen yet"}
	case node.DeletionTimestamp != nil:
		return Verdict{State: Failed, Detail: "the node is being deleted"}
	case active && idle == plan.IdlePaused:
		return Verdict{State: Paused, Detail: detail}
	case active:
		return Verdict{State: Working, Detail: detail}
	case idle == plan.IdleHeld:
		return Verdict{State: Failed, Detail: fmt.Sprintf("%s; held: next: change the spec, or seictl node retry %s -n %s",
			failedText(node, detail), node.Name, node.Namespace)}
	case idle == plan.IdlePaused:
		return Verdict{State: Paused, Detail: detail}
	case idle == plan.IdleBlocked:
		return Verdict{State: Failed, Detail: "the update does not start: " + detail}
	case idle == plan.IdleBackoff:
		if st.Plan != nil && st.Plan.Phase == v1alpha1.PlanFailed && st.Plan.StartedAt.Time.Before(g.Since) {
			return Verdict{State: Working, Detail: detail}
		}
		return Verdict{State: Failed, Detail: fmt.Sprintf("%s; next: seictl node retry %s -n %s", detail, node.Name, node.Namespace)}
	case settled:
		return Verdict{State: Done}
	}
	return Verdict{State: Working, Detail: detail}
}

// failedText says what failed: the condition knows whether it was rolled back.
func failedText(node *v1alpha1.SeiNode, detail string) string {
	c := meta.FindStatusCondition(node.Status.Conditions, v1alpha1.ConditionNodeUpdateInProgress)
	if c == nil || node.Status.Hold == nil {
		return detail
	}
	switch c.Reason {
	case v1alpha1.ReasonRolledBack:
		return "rolled back to what ran before: " + node.Status.Hold.Reason
	case v1alpha1.ReasonUpdateFailed:
		return "failed: " + node.Status.Hold.Reason
	}
	return node.Status.Hold.Reason
}

// comesUp is how long a pod with nothing due may take until its sidecar answers.
const comesUp = 3 * time.Minute

// asleep judges a node with nothing due whose sidecar does not answer: its pod may be coming up, and will need its
// mark-ready then.
func (g *Goal) asleep(node *v1alpha1.SeiNode, awaits string, now time.Time) Verdict {
	if g.asleepSince.IsZero() {
		g.asleepSince = now
	}
	if now.Sub(g.asleepSince) < comesUp {
		return Verdict{State: Working, Detail: awaits}
	}
	return Verdict{State: Failed, Detail: fmt.Sprintf("%s, for %s; next: seictl node explain %s -n %s",
		awaits, comesUp, node.Name, node.Namespace)}
}
