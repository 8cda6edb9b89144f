package fleet

import (
	"fmt"
	"slices"
	"time"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/deployment"
)

// estimate tells from what the fleet has been through how long this takes: pod cycles, and reloads of another certificate.
func (b *builder) estimate() {
	var cycles, reloads []time.Duration
	for _, n := range b.chainNodes {
		last := n.Status.LastPlan
		switch {
		case last == nil || last.Outcome != v1alpha1.PlanComplete:
		case last.PodCycle != nil:
			cycles = append(cycles, last.PodCycle.Duration)
		case last.Kind == v1alpha1.NodeUpdate && slices.Contains(last.Causes, v1alpha1.SidecarTLSDrift):
			reloads = append(reloads, last.FinishedAt.Sub(last.StartedAt.Time))
		}
	}
	b.plan.CycleSeconds, b.plan.ReloadSeconds = median(cycles), median(reloads)
	if b.plan.CycleSeconds == nil && (b.plan.Restarts > 0 || b.plan.ReloadSeconds == nil) {
		return
	}
	total := 0.0
	needs := map[string]Need{}
	for i := range b.plan.Nodes {
		needs[b.plan.Nodes[i].Key().String()] = b.plan.Nodes[i].Need
	}
	for _, w := range b.plan.Waves {
		of := map[Need]int{}
		for _, n := range w.Nodes {
			of[needs[n]]++
		}
		// Canaries are no wider than the width, either. Whoever only reloads does so beside a pod cycle.
		wide := func(nodes int) float64 { return float64((nodes + b.width - 1) / b.width) }
		switch cycle, reload := b.plan.CycleSeconds, b.plan.ReloadSeconds; {
		case of[NeedToggle] > 0:
			total += *cycle * wide(of[NeedToggle])
		case of[NeedReload] > 0 && reload != nil:
			total += *reload * wide(of[NeedReload])
		}
	}
	if len(b.plan.Waves) > 1 && b.plan.Strategy.Canary > 0 {
		total += b.Strategy.Bake.Seconds()
	}
	b.plan.ExpectedSeconds = &total
}

// median in seconds; nil of none.
func median(of []time.Duration) *float64 {
	if len(of) == 0 {
		return nil
	}
	slices.Sort(of)
	seconds := of[len(of)/2].Seconds()
	return &seconds
}

// occupied warns of nodes that are down: each takes a slot of the chain's budget, and the rollout would wait for it.
func (b *builder) occupied() {
	if b.PodReady == nil || b.plan.Restarts == 0 {
		return
	}
	var down []string
	for _, n := range b.chainNodes {
		if n.Status.FirstReadyAt != nil && n.DeletionTimestamp == nil && !b.PodReady[client(n)] {
			down = append(down, n.Namespace+"/"+n.Name)
		}
	}
	if len(down) == 0 {
		return
	}
	budget := scaled(b.Settings.MaxUnavailable(b.chain), len(b.chainNodes))
	text := fmt.Sprintf("%s down and %s of the budget of chain %s, which is %d: %s", count(len(down), "node is", "nodes are"),
		takes(down), b.chain, budget, list(down))
	if len(down) >= budget {
		text += "; no node is restarted before that changes"
	}
	b.plan.Warnings = append(b.plan.Warnings, text)
}

func takes(nodes []string) string {
	if len(nodes) == 1 {
		return "takes a slot"
	}
	return "take slots"
}

// blockers warns of SeiNodeDeployments all of whose slots are taken by children that the rollout leaves alone: the others would
// wait for the template until their time is over.
func (b *builder) blockers() {
	down, works := map[Object][]string{}, map[Object]bool{}
	for i := range b.plan.Nodes {
		n := &b.plan.Nodes[i]
		works[n.Object] = works[n.Object] || n.Need.Works()
		d, node := b.deployments[n.Object.Key()], b.node(n.Key())
		if n.Object.Kind == KindDeployment && !n.Need.Works() && d != nil && node != nil && deployment.TakesSlot(d, node) {
			down[n.Object] = append(down[n.Object], n.Name)
		}
	}
	for _, o := range b.plan.Objects {
		names := down[o.Object]
		if len(names) == 0 || len(names) < o.MaxUnavailable || !works[o.Object] {
			continue
		}
		b.plan.Warnings = append(b.plan.Warnings, fmt.Sprintf("%s: %s down or held and %s of its maxUnavailable, which is %d: %s; "+
			"no other child gets the template before that changes; next: seictl node explain %s -n %s", o.Object,
			count(len(names), "child is", "children are"), takes(names), o.MaxUnavailable, list(names), names[0], o.Namespace))
	}
}
