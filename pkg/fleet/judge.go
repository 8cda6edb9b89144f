package fleet

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
)

// View is what is observed of a fleet.
type View struct {
	Nodes       map[types.NamespacedName]*v1alpha1.SeiNode
	Deployments map[types.NamespacedName]*v1alpha1.SeiNodeDeployment
	// Chain is what seid said of the nodes that were asked.
	Chain map[types.NamespacedName]ChainSample
	Now   time.Time
}

// ChainSample is what a node's seid said since it was first asked.
type ChainSample struct {
	// Since is when it was first asked.
	Since time.Time
	// First and Height are the heights that it said first and last.
	First, Height int64
	CatchingUp    bool
	// Err is why it could not be asked last; empty when it answered.
	Err string
}

// Moving says whether seid is caught up and its height moved; otherwise why not.
func (c ChainSample) Moving() (ok bool, why string) {
	switch {
	case c.Err != "":
		return false, "seid does not answer: " + c.Err
	case c.First == 0:
		return false, "seid is being asked for its height"
	case c.CatchingUp:
		return false, fmt.Sprintf("seid is catching up (height %d)", c.Height)
	case c.Height <= c.First:
		return false, fmt.Sprintf("the height of seid has not moved yet (%d)", c.Height)
	}
	return true, ""
}

// judge says how far a node that was given the change is.
func (s *stepper) judge(n *NodeRecord) (Outcome, string) {
	node, o := s.view.Nodes[n.Key()], &s.Objects[n.Object]
	waits := n.WaitsSince
	n.Gone, n.WaitsSince = node == nil || node.DeletionTimestamp != nil, nil
	if n.Gone {
		return Skipped, "the node is gone"
	}
	owner, ownerTLS := s.observed(o)
	switch {
	case owner == nil:
		return takenBack(node, fmt.Sprintf("%s %s is gone", o.Kind, o.Name))
	case !o.Edited && !ownerTLS.Equal(o.Target) && !ownerTLS.Equal(o.Found):
		return NodeFailed, fmt.Sprintf("%s of %s was changed from %s to %s by %s since the rollout was planned: nothing was written",
			o.field(), o.Object, plan.TLSText(o.Found), plan.TLSText(ownerTLS), lastWriter(owner))
	case !o.Edited && !ownerTLS.Equal(o.Target):
		return Started, "the change is being written"
	case !ownerTLS.Equal(o.Target):
		return takenBack(node, putBack(o.Object, owner, ownerTLS, o.Target))
	case !node.SidecarTLS().Equal(o.Target) && node.Spec.Paused:
		return Skipped, "spec.paused is true"
	case !node.SidecarTLS().Equal(o.Target):
		return s.template(n, node, o, waits)
	case n.Retry != "" && node.Annotations[v1alpha1.AnnotationRetryRequestedAt] != n.Retry:
		return Started, "another attempt is being asked for"
	}
	return s.progress(n, node, o)
}

// takenBack is the outcome of a node from which somebody else took the change: it is seen through to what its spec says.
func takenBack(node *v1alpha1.SeiNode, why string) (Outcome, string) {
	if unfinished(node) {
		return Started, why
	}
	return NodeFailed, why
}

// unfinished says whether a node is on its way to what its spec says: nobody may leave it there.
func unfinished(node *v1alpha1.SeiNode) bool {
	st, spec := &node.Status, node.SidecarTLS()
	p := st.Plan
	removal, allowed := drift.TLSRemoval(node)
	switch {
	case p.Active():
		return !node.Spec.Paused || !beforeTemplate(p)
	case st.ObservedGeneration < node.Generation:
		return true
	case p != nil && p.Kind == v1alpha1.NodeRollback:
		return true // it failed, and is tried again
	case node.Spec.Paused, removal && !allowed, st.CurrentSidecarTLS.Config().Equal(spec):
		return false
	}
	// The plan that goes back is built in the pass after the one that ended the plan before it.
	return failure(node, spec) == ""
}

// progress says how far a node is that has the change in its spec.
func (s *stepper) progress(n *NodeRecord, node *v1alpha1.SeiNode, o *ObjectRecord) (Outcome, string) {
	st := &node.Status
	running := st.CurrentSidecarTLS.Config().Equal(o.Target)
	if p := st.Plan; p.Active() && plan.Cycles(p) {
		// The time that it has for its health gate begins when it is through. Repairs and calls of mark-ready are part of it: a
		// pod that crashes again and again has one each time.
		n.AtTargetAt = nil
	}
	switch {
	case st.Plan.Active() && node.Spec.Paused && beforeTemplate(st.Plan):
		return Skipped, "spec.paused is true"
	case st.Plan.Active():
		return Started, under(node)
	case st.ObservedGeneration < node.Generation:
		return Started, "the change is not seen yet"
	}
	if !running {
		return s.notRunning(node, o.Target)
	}
	if n.AtTargetAt == nil {
		now := s.view.Now
		n.AtTargetAt = &now
	}
	why := s.unhealthy(n, node, o.Target)
	switch {
	case why == "":
		return Done, ""
	case !s.patient && s.view.Now.Sub(*n.AtTargetAt) > s.Strategy.GateTimeout:
		return NodeFailed, fmt.Sprintf("its health gate did not pass within %s: %s", s.Strategy.GateTimeout, why)
	}
	return Verifying, why
}

func (s *stepper) notRunning(node *v1alpha1.SeiNode, target *v1alpha1.SidecarTLSConfig) (Outcome, string) {
	if why := failure(node, target); why != "" {
		return NodeFailed, why
	}
	if node.Spec.Paused {
		return Skipped, "spec.paused is true"
	}
	if wanted, allowed := drift.TLSRemoval(node); wanted && !allowed && target == nil {
		return NodeFailed, "TLS is not removed: the annotation " + v1alpha1.AnnotationAllowTLSRemoval + " was taken away"
	}
	return Started, "its plan is due"
}

// failure says why a node does not come to the target; empty while nothing failed. What failed before another attempt was
// asked for does not count.
func failure(node *v1alpha1.SeiNode, target *v1alpha1.SidecarTLSConfig) string {
	st, retry := &node.Status, node.Annotations[v1alpha1.AnnotationRetryRequestedAt]
	update := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionNodeUpdateInProgress)
	ready := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionReady)
	switch h, p := st.Hold, st.Plan; {
	case h != nil && h.Target.SidecarTLS.Equal(target) && h.RetrySeen == retry:
		if update != nil && update.Reason == v1alpha1.ReasonRolledBack {
			return "rolled back to what ran before: " + h.Reason
		}
		return h.Reason
	case p != nil && p.Phase == v1alpha1.PlanFailed && p.Target.SidecarTLS.Equal(target) && p.RetrySeen == retry:
		return p.FailedTaskDetail
	case ready != nil && ready.Reason == v1alpha1.ReasonForeignController && ready.ObservedGeneration == node.Generation:
		return ready.Message
	case update != nil && update.Reason == v1alpha1.ReasonUpdateBlocked && update.ObservedGeneration == node.Generation:
		return "the update does not start: " + update.Message
	}
	return ""
}

// under says in one line what a plan under way does, and what it waits for.
func under(node *v1alpha1.SeiNode) string {
	p := node.Status.Plan
	text := position(p)
	if i := plan.Current(p); i >= 0 {
		if t := &p.Tasks[i]; t.Error != "" {
			return text + ": " + t.Error
		} else if t.Message != "" {
			return text + ": " + t.Message
		}
	}
	if c := meta.FindStatusCondition(node.Status.Conditions, v1alpha1.ConditionNodeUpdateInProgress); c != nil && c.Reason == v1alpha1.ReasonUpdateQueued {
		return text + ": " + c.Message
	}
	return text
}

func beforeTemplate(p *v1alpha1.Plan) bool {
	i := plan.Current(p)
	return i >= 0 && p.Kind != v1alpha1.NodeRollback && p.Kind != v1alpha1.MarkReady && plan.BeforeTemplate(p, i)
}

// unhealthy is the health gate: what does not hold yet; empty when all does.
func (s *stepper) unhealthy(n *NodeRecord, node *v1alpha1.SeiNode, target *v1alpha1.SidecarTLSConfig) string {
	conditions := []string{v1alpha1.ConditionSidecarReady, v1alpha1.ConditionReady}
	if target != nil {
		conditions = append([]string{v1alpha1.ConditionSidecarTLSSecretReady}, conditions...)
	}
	for _, t := range conditions {
		c := meta.FindStatusCondition(node.Status.Conditions, t)
		switch {
		case c == nil:
			return "condition " + t + " is not set yet"
		case c.Status != metav1.ConditionTrue:
			return fmt.Sprintf("%s: %s", c.Reason, c.Message)
		case c.ObservedGeneration != node.Generation:
			return "condition " + t + " is of an earlier spec"
		}
	}
	if target != nil && node.Status.CurrentSidecarTLS.FingerprintSHA256 == "" {
		return fmt.Sprintf("TLS is not verified on the wire: status.currentSidecarTLS has no fingerprint since its proxy served "+
			"another certificate than the Secret's; next: seictl node verify %s -n %s", n.Name, n.Namespace)
	}
	sample, asked := s.view.Chain[n.Key()]
	if !asked || sample.Since.Before(*n.AtTargetAt) {
		s.out.Probes = append(s.out.Probes, n.Key())
		return "seid is being asked for its height"
	}
	if ok, why := sample.Moving(); !ok {
		s.out.Probes = append(s.out.Probes, n.Key())
		return why
	}
	return ""
}

// observed is an object as it is, and the TLS that it asks for; nil when it is gone.
func (s *stepper) observed(o *ObjectRecord) (managed, *v1alpha1.SidecarTLSConfig) {
	if o.Kind == KindDeployment {
		if d := s.view.Deployments[o.Key()]; d != nil {
			return d, TLSOf(&d.Spec.Template.Spec)
		}
		return nil, nil
	}
	if n := s.view.Nodes[o.Key()]; n != nil {
		return n, n.SidecarTLS()
	}
	return nil, nil
}
