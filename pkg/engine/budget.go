package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
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
	// Wake queues a waiting node again; may be nil.
	Wake func(types.NamespacedName)
	// MaxAge is how old a reading of the cache may be on which is decided; zero reads it for every decision. What the passes
	// of this driver brought counts at once.
	MaxAge time.Duration

	mu sync.Mutex
	// reserved are the nodes that were given a slot, with the ID of the plan that it was given to.
	reserved map[types.UID]string
	waiting  map[types.UID]waiter
	// observed is what the last pass over a node found: it is newer than a cache that lags.
	observed map[types.UID]observation
	// read are the latest readings of the cache, by chain.
	read map[string]reading
}

// observation is whether a node took a slot, at a resourceVersion.
type observation struct {
	version string
	busy    bool
	// cycling says that it was in its pod cycle.
	cycling bool
}

// Acquire implements Budget.
func (b *ChainBudget) Acquire(ctx context.Context, node *v1alpha1.SeiNode, p *v1alpha1.Plan) (bool, string) {
	// The caches are read under the lock: a slot that is given back after that finds this node among those that wait.
	b.mu.Lock()
	defer b.mu.Unlock()
	b.init()
	if id, ok := b.reserved[node.UID]; ok && id == p.ID {
		return true, ""
	}
	w := waiter{
		uid: node.UID, key: client.ObjectKeyFromObject(node), chain: node.Spec.ChainID, validator: node.Spec.Validator != nil,
		since: p.StartedAt.Time,
	}
	// A reading of a moment ago is good enough to refuse a slot, not to give one away.
	for _, age := range []time.Duration{b.MaxAge, 0} {
		members, err := b.members(ctx, node.Spec.ChainID, age)
		if err != nil {
			return false, "the nodes of the chain cannot be read: " + err.Error()
		}
		if why := b.full(members, node, w); why != "" {
			b.waiting[node.UID] = w
			return false, why
		}
	}
	delete(b.waiting, node.UID)
	b.reserved[node.UID] = p.ID
	return true, ""
}

// full says whom a node has to wait for; empty when there is a slot.
func (b *ChainBudget) full(members []member, node *v1alpha1.SeiNode, w waiter) string {
	var busy, validators []string
	selfDown := false
	for i := range members {
		if members[i].uid == node.UID {
			selfDown = members[i].unavailable
		}
	}
	for i := range members {
		m := &members[i]
		if m.uid == node.UID || !b.occupies(m) {
			continue
		}
		busy = append(busy, m.name)
		_, reserved := b.reserved[m.uid]
		// Of two validators that are both down, each may be repaired: one at a time goes through its cycle.
		if m.validator && (m.cycling || b.observed[m.uid].cycling || reserved || !selfDown) {
			validators = append(validators, m.name)
		}
	}
	slices.Sort(busy)
	slices.Sort(validators)
	limit, ahead := b.limit(node.Spec.ChainID, len(members)), b.ahead(w)
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

// occupies says whether a node takes a slot: it is down, in a pod cycle, or about to be. The mutex is held.
func (b *ChainBudget) occupies(m *member) bool {
	if _, ok := b.reserved[m.uid]; ok {
		return true
	}
	if o, ok := b.observed[m.uid]; ok && older(m.version, o.version) {
		return o.busy
	}
	return m.unavailable || m.cycling
}

// Observe implements Budget.
func (b *ChainBudget) Observe(node *v1alpha1.SeiNode, podReady bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.init()
	leaving, turning := node.DeletionTimestamp != nil, cycling(node)
	id, reserved := b.reserved[node.UID]
	was := b.observed[node.UID].busy || reserved
	switch p := node.Status.Plan; {
	case !reserved:
	case p.Active() && p.ID != id && b.observed[node.UID].cycling && !leaving:
		// It took the place of a plan in mid-cycle, and goes on with that.
		b.reserved[node.UID] = p.ID
	case !p.Active(), p.ID != id, leaving, node.Spec.Paused && !turning:
		// A pause before the template keeps the plan from its pod cycle, and a plan that took another's place may be far from
		// its own: nobody waits for that.
		delete(b.reserved, node.UID)
		reserved = false
	}
	now := !leaving && (reserved || turning || unavailable(node, podReady))
	b.observed[node.UID] = observation{version: node.ResourceVersion, busy: now, cycling: turning || (reserved && b.observed[node.UID].cycling)}
	if was != now {
		b.read[node.Spec.ChainID].update(node, podReady)
	}
	if was && !now {
		b.wakeNext(node.Spec.ChainID)
	}
}

// Leave implements Budget.
func (b *ChainBudget) Leave(uid types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w, ok := b.waiting[uid]; ok {
		delete(b.waiting, uid)
		b.wakeNext(w.chain)
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
	clear(b.read)
	chains := map[string]bool{}
	for _, w := range b.waiting {
		chains[w.chain] = true
	}
	for chain := range chains {
		b.wakeNext(chain)
	}
}

func (b *ChainBudget) init() {
	if b.reserved == nil {
		b.reserved, b.waiting = map[types.UID]string{}, map[types.UID]waiter{}
		b.observed, b.read = map[types.UID]observation{}, map[string]reading{}
	}
}

// some is a list cut short: it is read by people.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
