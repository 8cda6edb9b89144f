package deployment

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/api/v1alpha1"
)

// FieldManager of what a SeiNodeDeployment writes to its children.
const FieldManager = "seictl-snd"

// ActionType says what is done to a child.
type ActionType string

// What is done to a child.
const (
	// Create creates Node.
	Create ActionType = "Create"
	// Adopt makes an ownerless Node that carries the deployment's label a child.
	Adopt ActionType = "Adopt"
	// Update replaces the child by Node, with its resourceVersion.
	Update ActionType = "Update"
	// Delete deletes Node, and nothing that outlives a SeiNode.
	Delete ActionType = "Delete"
)

// Action is one write to a child.
type Action struct {
	Type ActionType
	// Node to create, to delete, or as it shall be.
	Node *v1alpha1.SeiNode
	// Reason and Message of the event that tells of it; Warning where somebody should look.
	Reason, Message string
	Warning         bool
}

// Input of Evaluate.
type Input struct {
	Deployment *v1alpha1.SeiNodeDeployment
	// Nodes of the deployment's namespace: its children, and others that may have the name of one.
	Nodes []*v1alpha1.SeiNode
	// Now is when conditions change.
	Now time.Time
}

// Result of Evaluate.
type Result struct {
	// Actions in the order in which they are carried out; the first that fails ends it.
	Actions []Action
	// Status as it is before the actions.
	Status v1alpha1.SeiNodeDeploymentStatus
}

// Evaluate decides what to do to the children and what the status says.
func Evaluate(in Input) Result {
	d := in.Deployment
	e := &evaluation{Input: in, replicas: int(d.Spec.Replicas), withheld: Withheld(d)}
	e.sort()
	if d.DeletionTimestamp == nil {
		e.create()
		e.update()
		e.scaleDown()
	}
	return Result{Actions: e.actions, Status: e.status()}
}

// evaluation is the state of one Evaluate.
type evaluation struct {
	Input
	replicas int
	// withheld are the ordinals that do not get the template yet.
	withheld map[int]bool
	// children by ordinal; surplus are those from spec.replicas on.
	children []*child
	surplus  []*child
	// missing are ordinals without a node, orphans nodes that can be adopted, and taken the names that others have.
	missing []int
	orphans []*v1alpha1.SeiNode
	taken   []string
	actions []Action
}

// ChildName is the name of the child with an ordinal.
func ChildName(deployment string, ordinal int) string {
	return deployment + "-" + strconv.Itoa(ordinal)
}

// Ordinal of a child's name; false when it is no such name.
func Ordinal(deployment, name string) (int, bool) {
	rest, ok := strings.CutPrefix(name, deployment+"-")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n < 0 || strconv.Itoa(n) != rest {
		return 0, false
	}
	return n, true
}

// Withheld are the ordinals that the annotation sei.io/template-withheld-from lists. What is no ordinal withholds nothing.
func Withheld(d *v1alpha1.SeiNodeDeployment) map[int]bool {
	out := map[int]bool{}
	for v := range strings.SplitSeq(d.Annotations[v1alpha1.AnnotationTemplateWithheld], ",") {
		if n, err := strconv.Atoi(strings.TrimSpace(v)); err == nil {
			out[n] = true
		}
	}
	return out
}

// sort tells the children from the others, and finds who is missing.
func (e *evaluation) sort() {
	d, seen := e.Deployment, map[int]bool{}
	for _, n := range e.Nodes {
		ordinal, named := Ordinal(d.Name, n.Name)
		owner := metav1.GetControllerOf(n)
		switch {
		case owner != nil && owner.UID == d.UID && !named:
			// A child that was given another's name by hand has no place here.
		case owner != nil && owner.UID == d.UID && ordinal < e.replicas:
			seen[ordinal] = true
			e.children = append(e.children, e.child(n, ordinal))
		case owner != nil && owner.UID == d.UID:
			e.surplus = append(e.surplus, e.child(n, ordinal))
		case !named || ordinal >= e.replicas:
		case owner == nil && n.Labels[v1alpha1.LabelDeployment] == d.Name && n.DeletionTimestamp == nil:
			seen[ordinal] = true
			e.orphans = append(e.orphans, n)
		default:
			seen[ordinal] = true
			e.taken = append(e.taken, n.Name)
		}
	}
	for i := range e.replicas {
		if !seen[i] {
			e.missing = append(e.missing, i)
		}
	}
	slices.SortFunc(e.children, func(a, b *child) int { return cmp.Compare(a.ordinal, b.ordinal) })
	slices.SortFunc(e.surplus, func(a, b *child) int { return cmp.Compare(b.ordinal, a.ordinal) })
	slices.Sort(e.taken)
}

func (e *evaluation) create() {
	for _, i := range e.missing {
		node := e.newChild(i)
		e.actions = append(e.actions, Action{
			Type: Create, Node: node, Reason: v1alpha1.ReasonChildCreated, Message: "created SeiNode " + node.Name,
		})
	}
	for _, o := range e.orphans {
		node := o.DeepCopy()
		node.OwnerReferences = append(node.OwnerReferences, e.ownerReference())
		e.actions = append(e.actions, Action{
			Type: Adopt, Node: node, Reason: v1alpha1.ReasonChildAdopted,
			Message: fmt.Sprintf("adopted SeiNode %s, which has no owner and the label %s", node.Name, v1alpha1.LabelDeployment),
		})
	}
}

// update brings the template to the children that may have it now.
func (e *evaluation) update() {
	free := MaxUnavailable(e.Deployment)
	for _, c := range e.children {
		if c.busy() {
			free--
		}
	}
	// Who is unsettled already gets the template first, or what holds it back would keep the fix from it.
	for _, c := range e.children {
		if c.wanted != nil && !c.needsSlot() {
			e.actions = append(e.actions, c.edit(e))
		}
	}
	for _, c := range e.children {
		if c.wanted != nil && c.needsSlot() && free > 0 {
			free--
			e.actions = append(e.actions, c.edit(e))
		}
	}
}

func (e *evaluation) scaleDown() {
	for _, c := range e.surplus {
		if c.node.DeletionTimestamp == nil {
			e.actions = append(e.actions, Action{
				Type: Delete, Node: c.node, Reason: v1alpha1.ReasonChildDeleted,
				Message: fmt.Sprintf("deleted SeiNode %s: replicas is %d (its volume stays)", c.node.Name, e.replicas),
			})
		}
	}
}

// MaxUnavailable is how many children may be unavailable at once: at least one.
func MaxUnavailable(d *v1alpha1.SeiNodeDeployment) int {
	width := intstr.FromInt32(1)
	if v := d.Spec.UpdateStrategy.MaxUnavailable; v != nil {
		width = *v
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(&width, int(d.Spec.Replicas), false)
	if err != nil || n < 1 {
		return 1
	}
	return n
}

func (e *evaluation) ownerReference() metav1.OwnerReference {
	return *metav1.NewControllerRef(e.Deployment, v1alpha1.GroupVersion.WithKind("SeiNodeDeployment"))
}

// Parent is the name of the deployment whose child would have this name; false when it is no child's name.
func Parent(node string) (deployment string, ok bool) {
	i := strings.LastIndexByte(node, '-')
	if i <= 0 {
		return "", false
	}
	_, ok = Ordinal(node[:i], node)
	return node[:i], ok
}
