package fleet

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/deployment"
)

// record is what the rollout starts with, without its waves.
func (b *builder) record() *Record {
	r := &Record{Chain: b.chain, Selection: b.Selection, Strategy: b.Strategy, State: Running, StartedAt: b.Now}
	r.Selection.Chain = b.chain
	index := map[Object]int{}
	for i := range b.plan.Nodes {
		n := &b.plan.Nodes[i]
		if !n.Need.Works() {
			continue
		}
		if _, ok := index[n.Object]; ok {
			continue
		}
		index[n.Object] = len(r.Objects)
		goal, _ := b.Goal.For(n.Object)
		found := b.previous(n)
		r.Objects = append(r.Objects, ObjectRecord{Object: n.Object, UID: b.uid(n.Object), Found: found, Previous: found, Target: goal})
	}
	for i := range b.plan.Nodes {
		n := &b.plan.Nodes[i]
		j, edited := index[n.Object]
		switch {
		case n.Need.Works() || n.Need == NeedNothing:
		default:
			r.Left = append(r.Left, LeftRecord{Namespace: n.Namespace, Name: n.Name, Need: n.Need, Reason: n.Reason})
		}
		if ordinal, ok := deployment.Ordinal(n.Object.Name, n.Name); ok && edited && n.Need == NeedBlocked && n.Object.Kind == KindDeployment {
			r.Objects[j].Withheld = append(r.Objects[j].Withheld, ordinal)
		}
	}
	return r
}

func (b *builder) previous(n *NodePlan) *v1alpha1.SidecarTLSConfig {
	if d := b.deployments[n.Object.Key()]; n.Object.Kind == KindDeployment && d != nil {
		return TLSOf(&d.Spec.Template.Spec).DeepCopy()
	}
	if node := b.node(n.Key()); node != nil {
		return node.SidecarTLS().DeepCopy()
	}
	return nil
}

// waves puts the nodes in order: canaries, each of another object where possible; then waves as wide as allowed, with no more
// children of a SeiNodeDeployment than its own maxUnavailable; validators last, one at a time. Where there are only validators
// the first of them is the canary.
func (b *builder) waves(r *Record) {
	var rest, validators []*NodePlan
	for i := range b.plan.Nodes {
		switch n := &b.plan.Nodes[i]; {
		case !n.Need.Works():
		case n.Mode == v1alpha1.ModeValidator:
			validators = append(validators, n)
		default:
			rest = append(rest, n)
		}
	}
	b.order(rest)
	if r.Strategy.Canary = min(r.Strategy.Canary, max(len(rest), 1)); len(rest) == 0 && r.Strategy.Canary > 0 && len(validators) > 0 {
		rest, validators = validators[:1], validators[1:]
	}
	r.Strategy.Canary = min(r.Strategy.Canary, len(rest))
	wave := 0
	if r.Strategy.Canary > 0 {
		var canaries []*NodePlan
		canaries, rest = b.take(rest, r.Strategy.Canary, true)
		b.wave(r, wave, canaries)
		wave++
	}
	for len(rest) > 0 {
		var next []*NodePlan
		next, rest = b.take(rest, b.width, false)
		b.wave(r, wave, next)
		wave++
	}
	for _, n := range validators {
		b.wave(r, wave, []*NodePlan{n})
		wave++
	}
	b.plan.Strategy.Canary = r.Strategy.Canary
}

// modeOrder has the modes that are quickest to replace go first.
var modeOrder = []string{v1alpha1.ModeFullNode, v1alpha1.ModeReplayer, v1alpha1.ModeArchive, v1alpha1.ModeValidator}

// order sorts nodes: what is under way or failed before goes first, then by mode; otherwise they stay in order.
func (b *builder) order(nodes []*NodePlan) {
	rank := func(n *NodePlan) int {
		r := slices.Index(modeOrder, n.Mode)
		if n.Reason == "" {
			r += len(modeOrder)
		}
		return r
	}
	slices.SortStableFunc(nodes, func(a, c *NodePlan) int { return rank(a) - rank(c) })
}

// take takes up to n nodes for one wave and returns the others. With spread, no two are of one object as long as there are
// enough objects.
func (b *builder) take(nodes []*NodePlan, n int, spread bool) (taken, rest []*NodePlan) {
	of := map[Object]int{}
	for _, node := range nodes {
		most := b.width
		if d := b.deployments[node.Object.Key()]; node.Object.Kind == KindDeployment && d != nil {
			most = deployment.MaxUnavailable(d)
		}
		if spread {
			most = 1
		}
		if len(taken) < n && of[node.Object] < most {
			of[node.Object]++
			taken = append(taken, node)
			continue
		}
		rest = append(rest, node)
	}
	for spread && len(taken) < n && len(rest) > 0 {
		taken, rest = append(taken, rest[0]), rest[1:]
	}
	return taken, rest
}

// wave adds one wave to plan and record.
func (b *builder) wave(r *Record, wave int, nodes []*NodePlan) {
	w := WavePlan{Name: r.WaveName(wave), Nodes: []string{}}
	for _, n := range nodes {
		n.Wave = wave
		w.Nodes = append(w.Nodes, n.Namespace+"/"+n.Name)
		object := slices.IndexFunc(r.Objects, func(o ObjectRecord) bool { return o.Object == n.Object })
		r.Nodes = append(r.Nodes, NodeRecord{
			Namespace: n.Namespace, Name: n.Name, Mode: n.Mode,
			UID: b.uid(Object{Kind: KindNode, Namespace: n.Namespace, Name: n.Name}), Object: object, Wave: wave, Was: n.From,
			Restart: n.PodCycles > 0, Outcome: Pending, Again: n.Reason != "",
		})
		b.plan.Restarts += n.PodCycles
	}
	b.plan.Waves = append(b.plan.Waves, w)
}

// uid of an object; empty when it is not there.
func (b *builder) uid(o Object) types.UID {
	if o.Kind == KindDeployment {
		if d := b.deployments[o.Key()]; d != nil {
			return d.UID
		}
		return ""
	}
	if n := b.node(o.Key()); n != nil {
		return n.UID
	}
	return ""
}
