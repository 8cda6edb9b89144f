package fleet

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/plan"
)

// UndoGoal takes every object that a rollout changed back to its own previous TLS. An object that somebody changed since is
// left alone, with a warning.
func UndoGoal(r *Record, v View) (goal Goal, warnings []string) {
	s := &stepper{Record: r, view: v}
	goal = Goal{Each: map[Object]*v1alpha1.SidecarTLSConfig{}, Back: true}
	for i := range r.Objects {
		o := &r.Objects[i]
		if !o.touched(r, i) || o.Previous.Equal(o.Target) {
			continue
		}
		switch owner, tls := s.observed(o); {
		case owner == nil:
			warnings = append(warnings, fmt.Sprintf("%s is gone", o.Object))
		case tls.Equal(o.Target), tls.Equal(o.Found), tls.Equal(o.Previous):
			goal.Each[o.Object] = o.Previous.DeepCopy()
		default:
			warnings = append(warnings, fmt.Sprintf("%s was changed since, to %s, and is left alone", o.Object, plan.TLSText(tls)))
		}
	}
	return goal, warnings
}

// touched says whether an object was written, or may have been before somebody could note it.
func (o *ObjectRecord) touched(r *Record, index int) bool {
	return o.Edited || slices.ContainsFunc(r.Nodes, func(n NodeRecord) bool { return n.Object == index && n.Outcome != Pending })
}

// Inherit takes over previous values from rollouts that did not come to their end, the latest first: their target was never
// what anybody had before.
func (r *Record) Inherit(older []*Record) {
	for i := range r.Objects {
		o := &r.Objects[i]
		for _, old := range older {
			j := slices.IndexFunc(old.Objects, func(was ObjectRecord) bool { return was.Object == o.Object })
			if j < 0 || !old.Objects[j].touched(old, j) {
				continue
			}
			if was := &old.Objects[j]; old.State != Complete && o.Found.Equal(was.Target) && !old.finished(j) {
				o.Previous = was.Previous.DeepCopy()
			}
			break
		}
	}
	r.Digest = r.digest()
}

// finished says whether every node of an object came to the target.
func (r *Record) finished(object int) bool {
	return !slices.ContainsFunc(r.Nodes, func(n NodeRecord) bool { return n.Object == object && n.Outcome != Done })
}

// Keys are the nodes of a rollout.
func (r *Record) Keys() []types.NamespacedName {
	out := make([]types.NamespacedName, 0, len(r.Nodes))
	for i := range r.Nodes {
		out = append(out, r.Nodes[i].Key())
	}
	return out
}

// Namespaces of the nodes of a rollout.
func (r *Record) Namespaces() map[string]bool {
	out := map[string]bool{}
	for i := range r.Nodes {
		out[r.Nodes[i].Namespace] = true
	}
	return out
}
