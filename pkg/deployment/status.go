package deployment

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
)

// count is how the children are, by name.
type count struct {
	ready, updated                                                 int
	waiting, working, failed, notReady, paused, withheld, deleting []string
}

func (e *evaluation) count() count {
	var n count
	for _, c := range e.children {
		name, st := c.node.Name, &c.node.Status
		if ready(c.node) {
			n.ready++
		}
		if c.updated() {
			n.updated++
		}
		switch {
		case c.node.DeletionTimestamp != nil:
			n.deleting = append(n.deleting, name)
		case st.Phase == v1alpha1.PhaseFailed, st.Hold != nil && due(c.node) && !st.Plan.Active():
			n.failed = append(n.failed, name)
		case c.skipped, c.node.Spec.Paused && !Settled(c.node) && c.standsStill():
			n.paused = append(n.paused, name)
		case c.withheld:
			n.withheld = append(n.withheld, name)
		case c.wanted != nil && c.rolls:
			n.waiting = append(n.waiting, name)
		case Settled(c.node):
		case st.Plan.Active(), st.ObservedGeneration != c.node.Generation, due(c.node), st.FirstReadyAt == nil:
			n.working = append(n.working, name)
		default:
			n.notReady = append(n.notReady, name)
		}
	}
	return n
}

func (e *evaluation) status() v1alpha1.SeiNodeDeploymentStatus {
	d := e.Deployment
	st := *d.Status.DeepCopy()
	n := e.count()
	st.ObservedGeneration = d.Generation
	st.Replicas = int32(len(e.children) + len(e.surplus))
	st.ReadyReplicas, st.UpdatedReplicas = int32(n.ready), int32(n.updated)
	set := func(conditionType string, status metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&st.Conditions, metav1.Condition{
			Type: conditionType, Status: status, Reason: reason, Message: message,
			ObservedGeneration: d.Generation, LastTransitionTime: metav1.NewTime(e.Now),
		})
	}
	phase, reason, message := e.phase(n)
	st.Phase = phase
	readiness := metav1.ConditionFalse
	if phase == v1alpha1.DeploymentReady {
		readiness = metav1.ConditionTrue
	}
	set(v1alpha1.ConditionReady, readiness, reason, message)
	progressing, why, text := e.progress(n)
	set(v1alpha1.ConditionProgressing, progressing, why, text)
	return st
}

// phase is the coarse state, and the first thing that is not as it should be.
func (e *evaluation) phase(n count) (phase v1alpha1.DeploymentPhase, reason, message string) {
	switch {
	case e.Deployment.DeletionTimestamp != nil:
		return v1alpha1.DeploymentTerminating, v1alpha1.ReasonTerminating, "the deployment is being deleted, and its SeiNodes with it; volumes stay"
	case len(e.taken) > 0:
		return v1alpha1.DeploymentDegraded, v1alpha1.ReasonNameTaken,
			fmt.Sprintf("%s exists and is not of this deployment: rename the deployment, or delete that SeiNode", some(e.taken))
	case len(n.failed) > 0:
		return v1alpha1.DeploymentDegraded, v1alpha1.ReasonChildFailed,
			fmt.Sprintf("%s failed and is held: see its status; an edit of the template reaches it first", some(n.failed))
	case len(n.notReady) > 0:
		return v1alpha1.DeploymentDegraded, v1alpha1.ReasonChildNotReady, some(n.notReady) + " is not Ready with nothing under way"
	case len(e.children) == 0 && e.replicas > 0:
		return v1alpha1.DeploymentPending, v1alpha1.ReasonScaling, "no child exists yet"
	case len(e.missing)+len(e.orphans)+len(e.surplus)+len(n.deleting) > 0:
		return v1alpha1.DeploymentProgressing, v1alpha1.ReasonScaling, e.scaleText(n)
	case len(n.waiting)+len(n.working) > 0:
		return v1alpha1.DeploymentProgressing, v1alpha1.ReasonRollingOut, e.rolloutText(n)
	case len(n.paused) > 0:
		return v1alpha1.DeploymentProgressing, v1alpha1.ReasonPaused, some(n.paused) + " is paused and skipped: it does not run the template"
	case len(n.withheld) > 0:
		return v1alpha1.DeploymentProgressing, v1alpha1.ReasonRolloutWithheld, withheldText(n)
	}
	return v1alpha1.DeploymentReady, v1alpha1.ReasonReady,
		fmt.Sprintf("%d of %d children run the template and are Ready", n.ready, e.replicas) + e.keptTLS()
}

// keptTLS names the children that keep TLS which the template does not have: its removal takes consent.
func (e *evaluation) keptTLS() string {
	var kept []string
	for _, c := range e.children {
		if wanted, allowed := drift.TLSRemoval(c.node); wanted && !allowed {
			kept = append(kept, c.node.Name)
		}
	}
	if len(kept) == 0 {
		return ""
	}
	return fmt.Sprintf("; %s keeps TLS, which the template does not have: to remove it, set the annotation %s: \"true\" in template.metadata",
		some(kept), v1alpha1.AnnotationAllowTLSRemoval)
}

// progress says whether anything moves.
func (e *evaluation) progress(n count) (status metav1.ConditionStatus, reason, message string) {
	paused := ""
	if len(n.paused) > 0 {
		paused = "; skipped, as paused: " + some(n.paused)
	}
	switch {
	case e.Deployment.DeletionTimestamp != nil:
		return metav1.ConditionFalse, v1alpha1.ReasonTerminating, "the deployment is being deleted"
	case len(e.missing)+len(e.orphans)+len(e.surplus)+len(n.deleting) > 0:
		return metav1.ConditionTrue, v1alpha1.ReasonScaling, e.scaleText(n) + paused
	case len(n.failed)+len(n.notReady) > 0 && len(n.waiting) > 0 && len(n.working) == 0 && !e.updates():
		return metav1.ConditionFalse, v1alpha1.ReasonRolloutBlocked, fmt.Sprintf("%s waits for %s%s",
			some(n.waiting), some(append(n.failed, n.notReady...)), paused)
	case len(n.waiting)+len(n.working) > 0:
		return metav1.ConditionTrue, v1alpha1.ReasonRollingOut, e.rolloutText(n) + paused
	case paused != "":
		return metav1.ConditionFalse, v1alpha1.ReasonPaused, strings.TrimPrefix(paused, "; ")
	case len(n.withheld) > 0:
		return metav1.ConditionFalse, v1alpha1.ReasonRolloutWithheld, withheldText(n)
	}
	return metav1.ConditionFalse, v1alpha1.ReasonRolloutComplete, "every child has the template"
}

// updates says whether a child is edited now.
func (e *evaluation) updates() bool {
	for i := range e.actions {
		if e.actions[i].Type == Update {
			return true
		}
	}
	return false
}

func (e *evaluation) scaleText(n count) string {
	return fmt.Sprintf("%d of %d children exist, %d more than wanted or being deleted", len(e.children)-len(n.deleting), e.replicas,
		len(e.surplus)+len(n.deleting))
}

func (e *evaluation) rolloutText(n count) string {
	text := fmt.Sprintf("%d of %d children run the template", n.updated, e.replicas)
	if len(n.working) > 0 {
		text += "; under way: " + some(n.working)
	}
	if len(n.waiting) > 0 {
		text += "; waiting: " + some(n.waiting)
	}
	return text
}

func withheldText(n count) string {
	return fmt.Sprintf("a rollout withholds the template from %s (annotation %s): see seictl fleet status",
		some(n.withheld), v1alpha1.AnnotationTemplateWithheld)
}

// some is a list cut short: it is read by people.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
