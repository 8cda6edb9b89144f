package deployment

import (
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
)

// child is a child as it is, and as it should be.
type child struct {
	node    *v1alpha1.SeiNode
	ordinal int
	// wanted is the child as it should be written now; nil when nothing is to be written.
	wanted *v1alpha1.SeiNode
	// differs are the paths of the spec that differ from the template; pauseOnly says that wanted only pauses the node,
	// and rolls that what is written makes a plan due.
	differs   []difference
	pauseOnly bool
	rolls     bool
	// skipped says that the child differs from the template and is paused; withheld, that a rollout keeps the template from
	// it until its turn comes.
	skipped, withheld bool
}

func (e *evaluation) newChild(ordinal int) *v1alpha1.SeiNode {
	d := e.Deployment
	annotations := maps.Clone(d.Spec.Template.Metadata.Annotations)
	// A new node has no TLS whose removal could be consented to.
	delete(annotations, v1alpha1.AnnotationAllowTLSRemoval)
	return &v1alpha1.SeiNode{
		ObjectMeta: metav1.ObjectMeta{
			Name: ChildName(d.Name, ordinal), Namespace: d.Namespace,
			Labels: e.labels(nil), Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{e.ownerReference()},
		},
		Spec: *d.Spec.Template.Spec.DeepCopy(),
	}
}

// labels are a child's own with those of the template on top.
func (e *evaluation) labels(own map[string]string) map[string]string {
	out := map[string]string{}
	maps.Copy(out, own)
	maps.Copy(out, e.Deployment.Spec.Template.Metadata.Labels)
	out[v1alpha1.LabelDeployment] = e.Deployment.Name
	return out
}

func (e *evaluation) child(node *v1alpha1.SeiNode, ordinal int) *child {
	c := &child{node: node, ordinal: ordinal}
	if node.DeletionTimestamp != nil || ordinal >= e.replicas {
		return c
	}
	wanted := node.DeepCopy()
	wanted.Spec = e.spec(node)
	wanted.Labels = e.labels(node.Labels)
	c.differs = differences(&node.Spec, &wanted.Spec)
	c.rolls = len(c.differs) > 0
	switch template := &e.Deployment.Spec.Template; {
	case template.Spec.Paused && !node.Spec.Paused:
		// A pause is for now: it waits for no slot, and brings nothing else.
		wanted.Spec = *node.Spec.DeepCopy()
		wanted.Spec.Paused = true
		c.pauseOnly = true
	case node.Spec.Paused && wanted.Spec.Paused:
		c.skipped = len(c.differs) > 0
		wanted.Spec = *node.Spec.DeepCopy()
		c.rolls = false
	case e.withheld[ordinal]:
		c.withheld = len(c.differs) > 0
		wanted.Spec = *node.Spec.DeepCopy()
		c.rolls = false
	case e.consents(node, wanted):
		wanted.Annotations = maps.Clone(node.Annotations)
		if wanted.Annotations == nil {
			wanted.Annotations = map[string]string{}
		}
		wanted.Annotations[v1alpha1.AnnotationAllowTLSRemoval] = "true"
		c.rolls = true
	}
	if !equality.Semantic.DeepEqual(node, wanted) {
		c.wanted = wanted
	}
	return c
}

// spec is the template's, with the child's own pause kept unless this deployment set it.
func (e *evaluation) spec(node *v1alpha1.SeiNode) v1alpha1.SeiNodeSpec {
	spec := *e.Deployment.Spec.Template.Spec.DeepCopy()
	if !spec.Paused && node.Spec.Paused {
		spec.Paused = !ownedBy(node, FieldManager, []string{"paused"})
	}
	return spec
}

// consents says whether the template's consent to a removal of TLS goes with what is written: only where TLS runs that the
// template does not have, or it would apply to a removal that nobody thought of yet.
func (e *evaluation) consents(node, wanted *v1alpha1.SeiNode) bool {
	return e.Deployment.Spec.Template.Metadata.Annotations[v1alpha1.AnnotationAllowTLSRemoval] == "true" &&
		wanted.SidecarTLS() == nil && node.Status.CurrentSidecarTLS != nil && !node.TLSRemovalAllowed()
}

// Settled says whether a child is done with what it was told: its status is of the current spec, no plan is active or due,
// and it is Ready.
func Settled(node *v1alpha1.SeiNode) bool {
	st := &node.Status
	return node.DeletionTimestamp == nil && st.ObservedGeneration == node.Generation && !st.Plan.Active() && !due(node) && ready(node)
}

// due says whether the node does not run what its spec says.
func due(node *v1alpha1.SeiNode) bool {
	_, removal := drift.TLSRemoval(node)
	return drift.Image(node) || drift.SidecarTLS(node) || removal
}

func ready(node *v1alpha1.SeiNode) bool {
	c := meta.FindStatusCondition(node.Status.Conditions, v1alpha1.ConditionReady)
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == node.Generation
}

// updated says whether the child runs the template.
func (c *child) updated() bool {
	n := c.node
	return n.DeletionTimestamp == nil && len(c.differs) == 0 && n.Status.ObservedGeneration == n.Generation &&
		n.Status.Phase == v1alpha1.PhaseRunning && !n.Status.Plan.Active() && !due(n) && !c.rolls
}

// standsStill says whether a paused child is up, with nothing under way but what its pause holds back.
func (c *child) standsStill() bool {
	n := c.node
	if !n.Spec.Paused || n.DeletionTimestamp != nil || n.Status.ObservedGeneration != n.Generation {
		return false
	}
	if p := n.Status.Plan; p.Active() {
		if i := plan.Current(p); i < 0 || !plan.BeforeTemplate(p, i) {
			return false
		}
	}
	return meta.IsStatusConditionTrue(n.Status.Conditions, v1alpha1.ConditionSidecarReady)
}

// TakesSlot says whether a node is a child of a deployment that takes one of the slots of its maxUnavailable.
func TakesSlot(d *v1alpha1.SeiNodeDeployment, node *v1alpha1.SeiNode) bool {
	owner := metav1.GetControllerOf(node)
	ordinal, named := Ordinal(d.Name, node.Name)
	return owner != nil && owner.UID == d.UID && named && ordinal < int(d.Spec.Replicas) && (&child{node: node}).busy()
}

// busy says whether the child takes a slot: it is unsettled. One that never was Ready takes none, as initialisation may take
// days, and neither does one that stands still in its pause.
func (c *child) busy() bool {
	return !Settled(c.node) && c.node.Status.FirstReadyAt != nil && !c.standsStill()
}

// needsSlot says whether writing wanted makes an available child unavailable.
func (c *child) needsSlot() bool {
	return c.rolls && !c.pauseOnly && !c.busy() && c.node.Status.FirstReadyAt != nil
}

// edit is the action that writes wanted.
func (c *child) edit(e *evaluation) Action {
	a := Action{Type: Update, Node: c.wanted, Reason: v1alpha1.ReasonTemplatePropagated}
	switch by, edited := c.editedBy(e.Deployment); {
	case c.pauseOnly:
		a.Message = fmt.Sprintf("paused SeiNode %s, as the template says", c.node.Name)
	case !c.rolls:
		a.Message = fmt.Sprintf("gave SeiNode %s the labels of the template", c.node.Name)
	case len(c.differs) == 0:
		a.Message = fmt.Sprintf("gave SeiNode %s the template's consent to remove TLS", c.node.Name)
	case edited:
		a.Reason, a.Warning = v1alpha1.ReasonChildPutBack, true
		a.Message = fmt.Sprintf("SeiNode %s was edited%s and is put back: %s; edit the template instead", c.node.Name, by, c.differText())
	default:
		a.Message = fmt.Sprintf("gave SeiNode %s the template: %s", c.node.Name, c.differText())
	}
	return a
}

// editedBy says whether somebody else edited what differs, and who if that is known: the manager of a path that differs. A
// removed path has none; then it was an edit if every child had this very template before.
func (c *child) editedBy(d *v1alpha1.SeiNodeDeployment) (by string, edited bool) {
	var managers []string
	for _, diff := range c.differs {
		for _, m := range managersOf(c.node, diff.path) {
			if m != FieldManager && !strings.Contains(strings.Join(managers, " "), m) {
				managers = append(managers, m)
			}
		}
	}
	if len(managers) > 0 {
		return " by " + strings.Join(managers, ", "), true
	}
	return "", d.Status.ObservedGeneration == d.Generation && d.Status.Phase == v1alpha1.DeploymentReady
}

func (c *child) differText() string {
	const most = 3
	var parts []string
	for i, d := range c.differs {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(c.differs)-most))
			break
		}
		parts = append(parts, d.String())
	}
	return strings.Join(parts, ", ")
}
