package fleet

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
)

// Need is what a node needs to come to the target.
type Need string

// What a node needs.
const (
	// NeedNothing: it runs the target.
	NeedNothing Need = "nothing"
	// NeedToggle: a pod cycle.
	NeedToggle Need = "toggle"
	// NeedReload: another certificate, which the proxy reloads: no pod cycle.
	NeedReload Need = "reload"
	// NeedEdit: only its spec is changed; it runs the target already.
	NeedEdit Need = "edit"
	// NeedBlocked: it cannot be changed now.
	NeedBlocked Need = "blocked"
	// NeedPaused: it is paused.
	NeedPaused Need = "paused"
	// NeedManaged: it is managed from a repository, and changed there.
	NeedManaged Need = "managed"
	// NeedValidator: it is a validator, and those were not asked for.
	NeedValidator Need = "validator"
)

// Works says whether the rollout changes the node.
func (n Need) Works() bool { return n == NeedToggle || n == NeedReload || n == NeedEdit }

// NodePlan is what a rollout does to one node.
type NodePlan struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Mode      string `json:"mode"`
	// Object is edited for it.
	Object Object `json:"object"`
	Need   Need   `json:"need"`
	// Reason of a need that is not plain.
	Reason string `json:"reason"`
	// From and To are its TLS, such as ClusterIssuer/x; empty for off.
	From string `json:"from"`
	To   string `json:"to"`
	// PodCycles of its plan.
	PodCycles int `json:"podCycles"`
	// Wave in which it goes; -1 for none.
	Wave     int      `json:"wave"`
	Warnings []string `json:"warnings"`

	// templateOnly says that the node is as it should be and its template is not.
	templateOnly bool
}

// Key is namespace and name.
func (n *NodePlan) Key() types.NamespacedName {
	return types.NamespacedName{Namespace: n.Namespace, Name: n.Name}
}

// assess says what one node needs.
func (b *builder) assess(n *v1alpha1.SeiNode) NodePlan {
	o, foreign := OwnerOf(n)
	p := NodePlan{
		Namespace: n.Namespace, Name: n.Name, Mode: n.Mode(), Object: o, Wave: -1, Warnings: []string{},
		From: n.Status.CurrentSidecarTLS.Config().String(),
	}
	goal, ok := b.Goal.For(o)
	if !ok {
		p.Need, p.Reason = NeedNothing, "the rollout that is taken back did not change it"
		return p
	}
	p.To = goal.String()
	b.decide(&p, n, goal, foreign)
	return p
}

func (b *builder) decide(p *NodePlan, n *v1alpha1.SeiNode, goal *v1alpha1.SidecarTLSConfig, foreign string) {
	snd := b.deployments[p.Object.Key()]
	if p.Object.Kind == KindDeployment && snd == nil {
		p.Need, p.Reason = NeedBlocked, fmt.Sprintf("its SeiNodeDeployment %s does not exist", p.Object.Name)
		return
	}
	if b.atTarget(n, snd, goal) {
		p.Need = NeedNothing
		return
	}
	by := ManagedBy(n)
	if snd != nil {
		by = ManagedBy(snd)
	}
	switch {
	case foreign != "":
		p.Need, p.Reason = NeedBlocked, fmt.Sprintf("it belongs to %s, which would put an edit back: change it there", foreign)
	case by != "" && !b.Strategy.ForceManaged:
		p.Need, p.Reason = NeedManaged, by+" manages it: commit the change there"
	case n.Mode() == v1alpha1.ModeValidator && !b.Strategy.IncludeValidators:
		p.Need, p.Reason = NeedValidator, "validators go only with --include-validators"
	case n.Spec.Paused, snd != nil && snd.Spec.Template.Spec.Paused:
		p.Need, p.Reason = NeedPaused, "spec.paused is true"
	default:
		if p.Reason = b.blocked(n, goal); p.Reason != "" {
			p.Need = NeedBlocked
			return
		}
		b.need(p, n, snd, goal)
	}
}

// atTarget says whether spec, owner and what runs are the target.
func (b *builder) atTarget(n *v1alpha1.SeiNode, snd *v1alpha1.SeiNodeDeployment, goal *v1alpha1.SidecarTLSConfig) bool {
	return n.Status.CurrentSidecarTLS.Config().Equal(goal) && n.SidecarTLS().Equal(goal) &&
		(snd == nil || TLSOf(&snd.Spec.Template.Spec).Equal(goal)) &&
		(!n.Status.Plan.Active() || n.Status.Plan.Target.SidecarTLS.Equal(goal))
}

// blocked says why a node cannot be changed now; empty when it can. What is on its way back is taken as it is.
func (b *builder) blocked(n *v1alpha1.SeiNode, goal *v1alpha1.SidecarTLSConfig) string {
	st := &n.Status
	ready := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionReady)
	switch {
	case n.DeletionTimestamp != nil:
		return "it is being deleted"
	case st.Phase != v1alpha1.PhaseRunning:
		return fmt.Sprintf("its phase is %s, not Running", orElse(string(st.Phase), "Pending"))
	case ready != nil && ready.Reason == v1alpha1.ReasonForeignController:
		return ready.Message
	case b.Goal.Back:
		return ""
	case st.Plan.Active() && !st.Plan.Target.SidecarTLS.Equal(goal):
		return fmt.Sprintf("it is in the middle of a plan: %s; if nobody drives it: seictl node apply %s -n %s", position(st.Plan),
			n.Name, n.Namespace)
	case st.Plan.Active():
		return ""
	case drift.Image(n):
		return fmt.Sprintf("its image drifts as well, from %s to %s: see that through first", orElse(st.CurrentImage, "none"), n.Spec.Image)
	}
	if b.PodReady == nil && ready != nil && ready.Reason == v1alpha1.ReasonPodNotReady {
		return ready.Message
	}
	return b.down(n)
}

// down says why the pod of a node is not Ready; empty when it is, or when pods cannot be seen. A pod is Ready when its sidecar
// answers and its seid is caught up: what the sidecar said last tells which of them it is.
func (b *builder) down(n *v1alpha1.SeiNode) string {
	up, exists := b.PodReady[client(n)]
	answers := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionSidecarReady)
	switch {
	case up, b.PodReady == nil:
		return ""
	case !exists:
		return "it has no pod"
	case answers == nil:
		return fmt.Sprintf("its pod is not Ready; next: seictl node explain %s -n %s", n.Name, n.Namespace)
	case answers.Status == metav1.ConditionTrue:
		return fmt.Sprintf("its pod is not Ready, although its sidecar answered: seid is not caught up, as a rule; next: seictl node explain %s -n %s",
			n.Name, n.Namespace)
	}
	return fmt.Sprintf("its pod is not Ready: %s; next: seictl node explain %s -n %s", orElse(answers.Message, answers.Reason), n.Name, n.Namespace)
}

// need asks drift and plan what the edited node would do.
func (b *builder) need(p *NodePlan, n *v1alpha1.SeiNode, snd *v1alpha1.SeiNodeDeployment, goal *v1alpha1.SidecarTLSConfig) {
	e := Edit{TLS: goal, Consent: goal == nil}
	edited := EditNode(n, e)
	if snd != nil {
		// A child gets the whole template.
		edited.Spec = EditDeployment(snd, e).Spec.Template.Spec
		if edited.Spec.Image != n.Spec.Image {
			p.Warnings = append(p.Warnings, fmt.Sprintf("the template also brings the image %s instead of %s", edited.Spec.Image, n.Spec.Image))
		}
	}
	own := n.SidecarTLS().Equal(goal) && n.Status.CurrentSidecarTLS.Config().Equal(goal) && !n.Status.Plan.Active()
	p.templateOnly = snd != nil && own
	s := b.Settings
	report := drift.Evaluate(drift.Input{Node: edited, Settings: &s})
	switch built := plan.BuildRunningPlan(plan.Input{Node: edited, Drift: report, Settings: &s, Now: b.Now}); {
	case built == nil:
		p.Need = NeedEdit
	case plan.PodCycles(built) > 0:
		p.Need, p.PodCycles = NeedToggle, plan.PodCycles(built)
	default:
		p.Need = NeedReload
	}
	switch h := n.Status.Hold; {
	case n.Status.Plan.Active() && n.Status.Plan.Target.SidecarTLS.Equal(goal):
		p.Reason = "under way: " + position(n.Status.Plan)
	case h != nil && h.Target.SidecarTLS.Equal(goal):
		p.Reason = "it failed before and is tried again: " + h.Reason
	}
	var owner managed = n
	if snd != nil {
		owner = snd
	}
	if by := TLSManagers(owner, p.Object.Kind); len(by) > 0 {
		p.Warnings = append(p.Warnings, fmt.Sprintf("spec.sidecar.tls of %s was set by %s, who may set it again", p.Object, list(by)))
	}
	if by := ManagedBy(owner); by != "" {
		p.Warnings = append(p.Warnings, fmt.Sprintf("%s manages %s and may put the edit back", by, p.Object))
	}
}

// position is where a plan stands.
func position(p *v1alpha1.Plan) string {
	i := plan.Current(p)
	if i < 0 {
		return string(p.Kind)
	}
	return fmt.Sprintf("%s, task %d/%d %s", p.Kind, i+1, len(p.Tasks), p.Tasks[i].Type)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
