package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/deployment"
	"sei.io/seictl/pkg/settings"
)

// Goal is where a rollout takes objects.
type Goal struct {
	// TLS for every object; nil turns it off.
	TLS *v1alpha1.SidecarTLSConfig
	// Each is the TLS of each object instead: of an undo, which leaves other objects alone.
	Each map[Object]*v1alpha1.SidecarTLSConfig
	// Back says that nodes are taken back: one that is in the middle of a plan, or down, is no reason to wait.
	Back bool
}

// For is the TLS of one object, normalised.
func (g *Goal) For(o Object) (tls *v1alpha1.SidecarTLSConfig, ok bool) {
	if g.Each == nil {
		return g.TLS.Normalize(), true
	}
	tls, ok = g.Each[o]
	return tls.Normalize(), ok
}

// Input of Build.
type Input struct {
	Selection Selection
	// Nodes are all nodes that can be seen, and Deployments likewise.
	Nodes       []*v1alpha1.SeiNode
	Deployments []*v1alpha1.SeiNodeDeployment
	// PodReady says of the nodes with a pod whether it is Ready; nil when pods cannot be seen.
	PodReady map[types.NamespacedName]bool
	Goal     Goal
	Strategy Strategy
	Settings settings.Settings
	Now      time.Time
}

// Plan is what a rollout would do: the JSON contract of `seictl fleet plan -o json`. No field is ever left out.
type Plan struct {
	Chain string `json:"chain"`
	// Target is the TLS of all nodes, such as ClusterIssuer/x; empty for off, "previous" for an undo.
	Target   string       `json:"target"`
	Strategy StrategyPlan `json:"strategy"`
	// Objects that are edited or would be.
	Objects []ObjectPlan `json:"objects"`
	Nodes   []NodePlan   `json:"nodes"`
	// Waves of nodes, namespace/name.
	Waves []WavePlan `json:"waves"`
	// Restarts is how many pods are cycled.
	Restarts int `json:"restarts"`
	// ExpectedSeconds of the rollout with its bake, from the fleet's own history; null when there is none.
	ExpectedSeconds *float64 `json:"expectedSeconds"`
	// CycleSeconds is how long a pod cycle of this fleet takes, and ReloadSeconds another certificate without one; null when
	// no node's last plan tells.
	CycleSeconds  *float64 `json:"cycleSeconds"`
	ReloadSeconds *float64 `json:"reloadSeconds"`
	Warnings      []string `json:"warnings"`
}

// StrategyPlan is the strategy as a plan shows it.
type StrategyPlan struct {
	Canary         int     `json:"canary"`
	BakeSeconds    float64 `json:"bakeSeconds"`
	MaxUnavailable string  `json:"maxUnavailable"`
	Width          int     `json:"width"`
	MaxFailures    int     `json:"maxFailures"`
	OnFailure      string  `json:"onFailure"`
}

// ObjectPlan is one object and what is edited in it.
type ObjectPlan struct {
	Object
	Mode string `json:"mode"`
	// From and To are the TLS in its spec.
	From string `json:"from"`
	To   string `json:"to"`
	// Nodes of it by need.
	Nodes map[Need]int `json:"nodes"`
	// Managed names what manages it from a repository, and Change is what to commit there.
	Managed string `json:"managed"`
	Change  string `json:"change"`
	// MaxUnavailable of a SeiNodeDeployment; 0 for a node.
	MaxUnavailable int `json:"maxUnavailable"`
}

// WavePlan is one wave.
type WavePlan struct {
	Name  string   `json:"name"`
	Nodes []string `json:"nodes"`
}

// managed is what is read of an object's metadata.
type managed = metav1.Object

// builder is the state of one Build.
type builder struct {
	Input
	deployments map[types.NamespacedName]*v1alpha1.SeiNodeDeployment
	chain       string
	chainNodes  []*v1alpha1.SeiNode
	// named are the nodes of the chain by key.
	named map[types.NamespacedName]*v1alpha1.SeiNode
	plan  *Plan
	width int
}

// Build says what a rollout would do, and the record that it would start with.
func Build(in Input) (*Plan, *Record, error) {
	b := &builder{Input: in, deployments: map[types.NamespacedName]*v1alpha1.SeiNodeDeployment{}, named: map[types.NamespacedName]*v1alpha1.SeiNode{}}
	for _, d := range in.Deployments {
		b.deployments[types.NamespacedName{Namespace: d.Namespace, Name: d.Name}] = d
	}
	nodes, chain, err := b.Selection.Select(in.Nodes)
	if err != nil {
		return nil, nil, err
	}
	b.chain = chain
	for _, n := range in.Nodes {
		if n.Spec.ChainID == chain {
			b.chainNodes, b.named[client(n)] = append(b.chainNodes, n), n
		}
	}
	b.plan = &Plan{Chain: chain, Nodes: []NodePlan{}, Objects: []ObjectPlan{}, Waves: []WavePlan{}, Warnings: []string{}}
	if b.plan.Target = in.Goal.TLS.String(); in.Goal.Each != nil {
		b.plan.Target = "previous"
	}
	for _, n := range b.siblings(nodes) {
		b.plan.Nodes = append(b.plan.Nodes, b.assess(n))
	}
	b.templates()
	b.setWidth()
	b.objects()
	record := b.record()
	b.waves(record)
	b.estimate()
	b.occupied()
	b.blockers()
	record.Strategy.Width = b.width
	record.Digest = record.digest()
	return b.plan, record, nil
}

// siblings adds the children that share a template with a selected one: an edit reaches them all.
func (b *builder) siblings(nodes []*v1alpha1.SeiNode) []*v1alpha1.SeiNode {
	selected, owners := map[types.NamespacedName]bool{}, map[Object]bool{}
	for _, n := range nodes {
		selected[client(n)] = true
		if o, _ := OwnerOf(n); o.Kind == KindDeployment {
			owners[o] = true
		}
	}
	added := 0
	for _, n := range b.chainNodes {
		if o, _ := OwnerOf(n); owners[o] && !selected[client(n)] {
			nodes = append(nodes, n)
			added++
		}
	}
	if added > 0 {
		b.plan.Warnings = append(b.plan.Warnings, fmt.Sprintf("%s not selected, and share the template of selected ones: they are changed too",
			count(added, "child is", "children are")))
	}
	slices.SortStableFunc(nodes, func(a, b *v1alpha1.SeiNode) int {
		if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
			return c
		}
		return compareNames(a.Name, b.Name)
	})
	return nodes
}

// templates leaves children alone that are as they should be: where there are no others, one stands for its template.
func (b *builder) templates() {
	stands := map[Object]bool{}
	for i := range b.plan.Nodes {
		if n := &b.plan.Nodes[i]; n.Need.Works() && !n.templateOnly {
			stands[n.Object] = true
		}
	}
	for i := range b.plan.Nodes {
		n := &b.plan.Nodes[i]
		if !n.templateOnly {
			continue
		}
		if stands[n.Object] {
			n.Need, n.Reason, n.PodCycles = NeedNothing, "", 0
		}
		stands[n.Object] = true
	}
}

// compareNames sorts ax-2 before ax-10.
func compareNames(a, b string) int {
	pa, oka := deployment.Parent(a)
	pb, okb := deployment.Parent(b)
	if oka && okb && pa == pb {
		na, _ := deployment.Ordinal(pa, a)
		nb, _ := deployment.Ordinal(pb, b)
		return na - nb
	}
	return strings.Compare(a, b)
}

// setWidth is how many nodes a wave has: as asked for, and never more than the chain's budget lets cycle.
func (b *builder) setWidth() {
	asked := scaled(b.Strategy.MaxUnavailable, len(b.chainNodes))
	budget := scaled(b.Settings.MaxUnavailable(b.chain), len(b.chainNodes))
	b.width = min(asked, budget)
	if asked > budget {
		b.plan.Warnings = append(b.plan.Warnings, fmt.Sprintf("--max-unavailable %s is more than the budget of chain %s, which is %d "+
			"(budgets in ConfigMap %s/%s): waves have %d", b.Strategy.MaxUnavailable.String(), b.chain, budget,
			settings.Namespace, settings.ConfigMapName, budget))
	}
	onFailure := "pause"
	if b.Strategy.Continue {
		onFailure = "continue"
	}
	b.plan.Strategy = StrategyPlan{
		Canary: b.Strategy.Canary, BakeSeconds: b.Strategy.Bake.Seconds(), MaxUnavailable: b.Strategy.MaxUnavailable.String(),
		Width: b.width, MaxFailures: b.Strategy.MaxFailures, OnFailure: onFailure,
	}
}

// scaled is a number or a percentage of nodes, rounded down, at least one.
func scaled(v intstr.IntOrString, nodes int) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(&v, nodes, false)
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// objects lists what is edited, in the order of the nodes.
func (b *builder) objects() {
	index := map[Object]int{}
	for i := range b.plan.Nodes {
		n := &b.plan.Nodes[i]
		j, ok := index[n.Object]
		if !ok {
			j = len(b.plan.Objects)
			index[n.Object] = j
			b.plan.Objects = append(b.plan.Objects, b.object(n))
		}
		b.plan.Objects[j].Nodes[n.Need]++
	}
}

func (b *builder) object(n *NodePlan) ObjectPlan {
	out := ObjectPlan{Object: n.Object, Mode: n.Mode, To: n.To, Nodes: map[Need]int{}}
	if d := b.deployments[n.Object.Key()]; n.Object.Kind == KindDeployment && d != nil {
		out.From, out.Managed = TLSOf(&d.Spec.Template.Spec).String(), ManagedBy(d)
		out.MaxUnavailable = deployment.MaxUnavailable(d)
	} else if node := b.node(n.Key()); node != nil {
		out.From, out.Managed = node.SidecarTLS().String(), ManagedBy(node)
	}
	if goal, ok := b.Goal.For(n.Object); ok && out.Managed != "" && out.From != out.To {
		out.Change = Edit{TLS: goal}.Change(n.Object)
	}
	return out
}

func (b *builder) node(key types.NamespacedName) *v1alpha1.SeiNode { return b.named[key] }

// Working is how many nodes the rollout changes.
func (p *Plan) Working() int { return p.Needs(NeedToggle) + p.Needs(NeedReload) + p.Needs(NeedEdit) }

// AtOnce is how many nodes are under way at once at most.
func (p *Plan) AtOnce() int {
	most := 0
	for _, w := range p.Waves {
		most = max(most, len(w.Nodes))
	}
	return min(most, p.Strategy.Width)
}

// Needs is how many nodes have a need.
func (p *Plan) Needs(need Need) int {
	n := 0
	for i := range p.Nodes {
		if p.Nodes[i].Need == need {
			n++
		}
	}
	return n
}

// client is the key of an object, as a client's.
func client(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// list joins names, the first of them.
func list(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
