package fleet

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// Cycling are the nodes that are in a pod cycle of the rollout: they are seen through, whatever its state.
func Cycling(r *Record, v View) []types.NamespacedName {
	s := &stepper{Record: r, view: v}
	var out []types.NamespacedName
	for i := range s.Nodes {
		if s.inCycle(s.Nodes[i]) {
			out = append(out, s.Nodes[i].Key())
		}
	}
	return out
}

func (s *stepper) cycling() bool { return slices.ContainsFunc(s.Nodes, s.inCycle) }

// inCycle says whether the plan of a node has come to its template, and goes on.
func (s *stepper) inCycle(n NodeRecord) bool {
	node := s.view.Nodes[n.Key()]
	if node == nil || n.Outcome == Pending || n.Outcome.Ended() && n.Outcome != NodeFailed {
		return false
	}
	p := node.Status.Plan
	return p.Active() && !beforeTemplate(p)
}
