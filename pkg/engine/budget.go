package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
	"sei.io/seictl/pkg/settings"
)

// ChainBudget caps the nodes of a chain that are in a pod cycle or down at once, whoever edited them. What it remembers only
// bridges the time until the cache shows it: what occupies a slot is read from plans and pods, so that nothing has to be
// rebuilt at start.
type ChainBudget struct {
	// Reader is a cache of every SeiNode and node pod.
	Reader client.Reader
	// Settings of the platform.
	Settings func() settings.Settings
	// Driven says whether this driver runs a node's plans; nil means all. A node that nobody drives has no place in the
	// queue.
	Driven func(types.NamespacedName) bool
	// Wake queues a waiting node again; may be nil.
	Wake func(types.NamespacedName)

	mu sync.Mutex
	// reserved are the nodes that were given a slot and whose plan has not ended.
	reserved map[types.UID]bool
	waiting  map[types.UID]waiter
	// observed is what the last pass over a node found: it is newer than a cache that lags.
	observed map[types.UID]observation
	// limits are what the chains had when somebody asked last.
	limits map[string]int
}

// waiter is a node that waits for a slot.
type waiter struct {
	key       types.NamespacedName
	chain     string
	validator bool
	since     time.Time
}

// observation is whether a node took a slot, at a resourceVersion.
type observation struct {
	version string
	busy    bool
}

// member is one node of a chain as the budget sees it.
type member struct {
	node     *v1alpha1.SeiNode
	podReady bool
}

// unavailable says whether a node is down. One that never was Ready does not count.
func (m member) unavailable() bool { return m.node.Status.FirstReadyAt != nil && !m.podReady }

// cycling says whether a plan has come to the template of a running node and is not done with its pod.
func (m member) cycling() bool {
	p := m.node.Status.Plan
	if !p.Active() || !plan.Cycles(p) {
		return false
	}
	i := plan.Current(p)
	return p.Kind == v1alpha1.NodeRollback || (i >= 0 && !plan.BeforeTemplate(p, i))
}

// Acquire implements Budget.
func (b *ChainBudget) Acquire(ctx context.Context, node *v1alpha1.SeiNode, p *v1alpha1.Plan) (bool, string) {
	// The caches are read under the lock: a slot that is given back after that finds this node among those that wait.
	b.mu.Lock()
	defer b.mu.Unlock()
	b.init()
	if b.reserved[node.UID] {
		return true, ""
	}
	members, err := b.members(ctx, node.Spec.ChainID)
	if err != nil {
		return false, "the nodes of the chain cannot be read: " + err.Error()
	}
	limit := b.limit(node.Spec.ChainID, len(members))
	b.limits[node.Spec.ChainID] = limit
	if why := b.full(members, node, limit); why != "" {
		b.waiting[node.UID] = waiter{
			key: client.ObjectKeyFromObject(node), chain: node.Spec.ChainID, validator: node.Spec.Validator != nil, since: p.StartedAt.Time,
		}
		return false, why
	}
	delete(b.waiting, node.UID)
	b.reserved[node.UID] = true
	return true, ""
}

// full says whom a node has to wait for; empty when there is a slot.
func (b *ChainBudget) full(members []member, node *v1alpha1.SeiNode, limit int) string {
	var busy, validators []string
	ahead, selfDown := 0, false
	for _, m := range members {
		if m.node.UID == node.UID {
			selfDown = m.unavailable()
		}
	}
	for _, m := range members {
		if m.node.UID == node.UID {
			continue
		}
		// Of two validators that are both down, each may be repaired: one at a time goes through its cycle.
		if b.occupies(m) {
			busy = append(busy, m.node.Namespace+"/"+m.node.Name)
			if m.node.Spec.Validator != nil && (m.cycling() || b.reserved[m.node.UID] || !selfDown) {
				validators = append(validators, m.node.Namespace+"/"+m.node.Name)
			}
		} else if b.queued(m.node) && before(m.node, node) {
			ahead++
		}
	}
	slices.Sort(busy)
	slices.Sort(validators)
	switch down := selfDown || node.Status.FirstReadyAt == nil; {
	case node.Spec.Validator != nil && len(validators) > 0:
		return fmt.Sprintf("waits for validator %s: one validator of chain %s at a time", strings.Join(validators, ", "), node.Spec.ChainID)
	case down:
		// A node never waits for itself: it is down already.
		return ""
	case len(busy)+ahead < limit:
		return ""
	case len(busy) == 0:
		return fmt.Sprintf("waits its turn in chain %s: place %d, budget %d", node.Spec.ChainID, ahead+1, limit)
	default:
		return fmt.Sprintf("waits for %s: the budget of chain %s is %d, place %d in the queue", some(busy), node.Spec.ChainID, limit, ahead+1)
	}
}

func (b *ChainBudget) queued(node *v1alpha1.SeiNode) bool {
	return b.Driven == nil || b.Driven(client.ObjectKeyFromObject(node))
}

// before says whether another node waits in the queue ahead of this one: the older plan first.
func before(other, node *v1alpha1.SeiNode) bool {
	o, n := other.Status.Plan, node.Status.Plan
	if other.Spec.Validator != nil && node.Spec.Validator == nil {
		// It may wait for another validator: nobody else waits for that.
		return false
	}
	if !o.Active() || n == nil || o.Kind != v1alpha1.NodeUpdate || !plan.Cycles(o) || other.Spec.Paused {
		return false
	}
	if i := plan.Current(o); i < 0 || o.Tasks[i].Type != v1alpha1.TaskApplyStatefulSet {
		return false
	}
	if !o.StartedAt.Equal(&n.StartedAt) {
		return o.StartedAt.Before(&n.StartedAt)
	}
	return other.Namespace+"/"+other.Name < node.Namespace+"/"+node.Name
}

// occupies says whether a node takes a slot: it is down, in a pod cycle, or about to be. The mutex is held.
func (b *ChainBudget) occupies(m member) bool {
	if b.reserved[m.node.UID] {
		return true
	}
	if o, ok := b.observed[m.node.UID]; ok {
		if c, err := resourceversion.CompareResourceVersion(m.node.ResourceVersion, o.version); err == nil && c < 0 {
			return o.busy
		}
	}
	return m.unavailable() || m.cycling()
}

// Observe implements Budget.
func (b *ChainBudget) Observe(node *v1alpha1.SeiNode, podReady bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.init()
	m := member{node: node, podReady: podReady}
	leaving := node.DeletionTimestamp != nil
	// A pause before the template keeps the plan from its pod cycle: nobody waits for that.
	if !node.Status.Plan.Active() || leaving || (node.Spec.Paused && !m.cycling()) {
		delete(b.reserved, node.UID)
	}
	left := false
	if !node.Status.Plan.Active() || leaving || node.Spec.Paused {
		_, left = b.waiting[node.UID]
		delete(b.waiting, node.UID)
	}
	was := b.observed[node.UID].busy
	now := !leaving && (b.reserved[node.UID] || m.unavailable() || m.cycling())
	b.observed[node.UID] = observation{version: node.ResourceVersion, busy: now}
	if (was && !now) || left {
		b.wakeNext(node.Spec.ChainID)
	}
}

// Forget drops what is known of a node that is gone.
func (b *ChainBudget) Forget(uid types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.init()
	delete(b.reserved, uid)
	delete(b.waiting, uid)
	delete(b.observed, uid)
	for chain := range b.limits {
		b.wakeNext(chain)
	}
}

// wakeNext queues those of a chain whose turn has come: as many as there are slots free, and a validator besides, as the
// others may wait for one of those. Waking more at every slot that is given back would cost a chain of hundreds more than
// its pod cycles; who is behind looks again after queuePoll.
func (b *ChainBudget) wakeNext(chain string) {
	if b.Wake == nil {
		return
	}
	var line, validators []waiter
	for _, w := range b.waiting {
		switch {
		case w.chain != chain:
		case w.validator:
			validators = append(validators, w)
		default:
			line = append(line, w)
		}
	}
	if len(line) > 0 {
		line = first(line, b.free(chain))
	}
	for _, w := range append(line, first(validators, 1)...) {
		b.Wake(w.key)
	}
}

// free is how many slots of a chain nobody takes; all of them when that cannot be told.
func (b *ChainBudget) free(chain string) int {
	members, err := b.members(context.Background(), chain)
	if err != nil {
		return max(b.limits[chain], 1)
	}
	busy := 0
	for _, m := range members {
		if b.occupies(m) {
			busy++
		}
	}
	return max(b.limit(chain, len(members))-busy, 0)
}

// first are the n that have waited longest.
func first(line []waiter, n int) []waiter {
	slices.SortFunc(line, func(a, b waiter) int {
		if c := a.since.Compare(b.since); c != 0 {
			return c
		}
		return strings.Compare(a.key.String(), b.key.String())
	})
	return line[:min(n, len(line))]
}

func (b *ChainBudget) init() {
	if b.reserved == nil {
		b.reserved, b.waiting = map[types.UID]bool{}, map[types.UID]waiter{}
		b.observed, b.limits = map[types.UID]observation{}, map[string]int{}
	}
}

// members reads the nodes of a chain and whether their pods are Ready.
func (b *ChainBudget) members(ctx context.Context, chain string) ([]member, error) {
	var nodes v1alpha1.SeiNodeList
	if err := b.Reader.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing SeiNodes: %w", err)
	}
	var pods corev1.PodList
	if err := b.Reader.List(ctx, &pods, client.MatchingLabels{v1alpha1.LabelChain: chain}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	ready := map[types.NamespacedName]bool{}
	for i := range pods.Items {
		s := drift.Snapshot{Pod: &pods.Items[i]}
		ready[client.ObjectKeyFromObject(&pods.Items[i])] = s.PodReady()
	}
	var out []member
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if n.Spec.ChainID != chain || n.DeletionTimestamp != nil {
			continue
		}
		out = append(out, member{node: n, podReady: ready[types.NamespacedName{
			Namespace: n.Namespace, Name: resources.PodName(n.Name),
		}]})
	}
	return out, nil
}

// limit is how many nodes of a chain may be in a pod cycle or down at once: at least one.
func (b *ChainBudget) limit(chain string, nodes int) int {
	width := b.Settings().MaxUnavailable(chain)
	n, err := intstr.GetScaledValueFromIntOrPercent(&width, nodes, false)
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// some is a list cut short: it is read by people.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
