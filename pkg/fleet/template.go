package fleet

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/deployment"
)

// template is how far a child is that waits for the template of its SeiNodeDeployment. It waits for ever where all slots are
// taken by children that the rollout does not bring back: that is told, and is a failure after the time of a health gate.
func (s *stepper) template(n *NodeRecord, node *v1alpha1.SeiNode, o *ObjectRecord, since *time.Time) (Outcome, string) {
	waits := "waits for the template of " + o.Name + ", which gives it to as many children as its maxUnavailable says"
	d := s.view.Deployments[o.Key()]
	if d == nil || node.Status.FirstReadyAt == nil || deployment.TakesSlot(d, node) {
		return Started, waits
	}
	most, stuck := deployment.MaxUnavailable(d), s.stuck(d)
	if len(stuck) < most {
		return Started, waits
	}
	if n.WaitsSince = since; since == nil {
		now := s.view.Now
		n.WaitsSince = &now
	}
	why := fmt.Sprintf("%s gives it no template: its maxUnavailable is %d, and it is taken by %s; next: seictl node explain %s -n %s",
		o.Object, most, list(s.howFar(stuck, d.Namespace)), stuck[0], d.Namespace)
	if !s.patient && s.view.Now.Sub(*n.WaitsSince) > s.Strategy.GateTimeout {
		return NodeFailed, fmt.Sprintf("not within %s: %s", s.Strategy.GateTimeout, why)
	}
	s.wake(n.WaitsSince.Add(s.Strategy.GateTimeout + time.Second))
	return Started, why
}

// stuck are the names of the children that take a slot, and that the rollout does nothing about now.
func (s *stepper) stuck(d *v1alpha1.SeiNodeDeployment) []string {
	key := client(d)
	if names, known := s.taken[key]; known {
		return names
	}
	under := map[types.NamespacedName]bool{}
	for i := range s.Nodes {
		under[s.Nodes[i].Key()] = s.Nodes[i].underWay()
	}
	var names []string
	for k, n := range s.view.Nodes {
		if k.Namespace == d.Namespace && !under[k] && deployment.TakesSlot(d, n) {
			names = append(names, k.Name)
		}
	}
	slices.SortFunc(names, compareNames)
	if s.taken == nil {
		s.taken = map[types.NamespacedName][]string{}
	}
	s.taken[key] = names
	return names
}

// howFar adds to names of nodes what the rollout knows of them.
func (s *stepper) howFar(names []string, namespace string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = name + " (down or held, and not of this rollout)"
		for j := range s.Nodes {
			if n := &s.Nodes[j]; n.Name == name && n.Namespace == namespace {
				out[i] = fmt.Sprintf("%s (%s in this rollout, and down or held)", name, n.Outcome)
			}
		}
	}
	return out
}
