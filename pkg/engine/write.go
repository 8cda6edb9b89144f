package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/failpoint"
	"sei.io/seictl/pkg/plan"
)

// progressDelay is how long mere progress may be kept back from the status. A toggle that goes well moves faster than
// anybody reads; one that is stuck says so within this time.
const progressDelay = 2 * time.Second

const (
	// progressPerSecond bounds the writes of mere progress over all nodes together: with dozens of nodes in their pod cycles
	// they would be most of what the API server has to do, and make every cycle longer.
	progressPerSecond, progressBurst = 4, 8
	// progressPatience is how long progress is kept back at most, whatever the others have to tell.
	progressPatience = 10 * time.Second
)

// known is what an engine knows of a node beyond the cache.
type known struct {
	// written is the newest version that the API server returned.
	written *v1alpha1.SeiNode
	// working is written with the progress that was kept back since.
	working *v1alpha1.SeiNode
	// since is when progress was first kept back, and until when it is written; zero when none is, or when that is not decided.
	since, until time.Time
}

// freshest returns the newest version of a node that the API server is known to have, and the copy to work on. A cache may
// lag behind our own write, and progress may not have been written yet.
func (e *Engine) freshest(node *v1alpha1.SeiNode) known {
	e.mu.Lock()
	defer e.mu.Unlock()
	cached := known{written: node, working: node}
	k, ok := e.latest[node.UID]
	if !ok {
		return cached
	}
	c, err := resourceversion.CompareResourceVersion(k.written.ResourceVersion, node.ResourceVersion)
	if err == nil && c == 0 && k.since.IsZero() {
		return cached
	}
	if err == nil && c >= 0 {
		return k
	}
	// Somebody else wrote: what was kept back is found again, as every task is safe to run twice.
	delete(e.latest, node.UID)
	if !k.since.IsZero() {
		e.lost(node.UID)
	}
	return cached
}

// write patches the status, with the optimistic lock, when it changed; mere progress may wait.
func (p *pass) write(ctx context.Context) error {
	p.out.Node = p.node
	if reflect.DeepEqual(p.orig.Status, p.node.Status) {
		if p.cached {
			// Nothing is known beyond the cache: a settled node is kept there alone.
			p.mu.Lock()
			delete(p.latest, p.node.UID)
			p.mu.Unlock()
			return nil
		}
		p.remember(known{written: p.orig, working: p.orig})
		return nil
	}
	if !p.mustWrite && progressOnly(&p.orig.Status, &p.node.Status) {
		k := known{written: p.orig, working: p.node, since: p.unwrittenSince, until: p.unwrittenUntil}
		if wait := k.keepBack(p.progress, p.now, crossesTemplate(p.orig, p.node)); wait > 0 {
			p.remember(k)
			if p.out.RequeueAfter == 0 || wait < p.out.RequeueAfter {
				p.out.RequeueAfter = wait
			}
			return nil
		}
	}
	return p.patch(ctx)
}

// keepBack says for how long progress is kept back; not at all when it is not positive. That a plan has come to the template
// is told in time: whoever stops a rollout sees by it that the node is in its pod cycle.
func (k *known) keepBack(limit *rate.Limiter, now time.Time, crosses bool) time.Duration {
	if k.since.IsZero() {
		k.since = now
	}
	if wait := k.since.Add(progressDelay).Sub(now); wait > 0 {
		return wait
	}
	if crosses {
		return 0
	}
	if k.until.IsZero() {
		turn := limit.ReserveN(now, 1)
		k.until = now.Add(turn.DelayFrom(now))
		if latest := k.since.Add(progressPatience); k.until.After(latest) {
			turn.CancelAt(now)
			k.until = latest
		}
	}
	return k.until.Sub(now)
}

// crossesTemplate says whether the plan came to its template between two versions of a node.
func crossesTemplate(old, cur *v1alpha1.SeiNode) bool { return !cycling(old) && cycling(cur) }

// patch writes the status.
func (p *pass) patch(ctx context.Context) error {
	failpoint.Hit("before/status-patch")
	patch := client.MergeFromWithOptions(p.orig, client.MergeFromWithOptimisticLock{})
	written := p.node.DeepCopy()
	if err := p.opts.Client.Status().Patch(ctx, written, patch, client.FieldOwner(FieldManager)); err != nil {
		p.mu.Lock()
		p.lost(p.node.UID)
		p.mu.Unlock()
		return fmt.Errorf("patching status of SeiNode %s/%s: %w", p.node.Namespace, p.node.Name, err)
	}
	failpoint.Hit("after/status-patch")
	if p.node.Status.Plan != nil && (written.Status.Plan == nil || written.Status.Plan.ID != p.node.Status.Plan.ID) {
		return fmt.Errorf("the CRD of SeiNode in the cluster drops status.plan: no plan can run; next: seictl install base --apply")
	}
	p.out.Node, p.out.Changed = written, true
	p.remember(known{written: written, working: written})
	p.announce()
	return nil
}

// lost says that this process does not know any more how far it drove the node's plan: it resumes it as if another one had
// driven it. A mark-ready that was started then counts as delivered.
func (e *Engine) lost(uid types.UID) { delete(e.driven, uid) }

func (p *pass) remember(k known) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest[k.written.UID] = k
}

// progressOnly says whether two statuses differ in nothing but the progress of one active plan: its tasks, what the
// conditions say in words, the verdict on the Secret that it has issued, and the sidecar's health while the pod is in the
// plan's hands. The point of no return is more than progress: what may be rolled back depends on it.
func progressOnly(old, cur *v1alpha1.SeiNodeStatus) bool {
	if !old.Plan.Active() || !cur.Plan.Active() || old.Plan.ID != cur.Plan.ID ||
		plan.PointOfNoReturn(old.Plan) != plan.PointOfNoReturn(cur.Plan) {
		return false
	}
	a, b := old.DeepCopy(), cur.DeepCopy()
	for _, s := range []*v1alpha1.SeiNodeStatus{a, b} {
		s.Plan = nil
		kept := s.Conditions[:0]
		for _, c := range s.Conditions {
			if c.Type == v1alpha1.ConditionSidecarReady || c.Type == v1alpha1.ConditionSidecarTLSSecretReady {
				continue
			}
			c.Message, c.ObservedGeneration = "", 0
			kept = append(kept, c)
		}
		s.Conditions = kept
	}
	return reflect.DeepEqual(a, b)
}

// Flush writes the progress that is not written yet, once no pass runs any more: whoever looks after this process must see
// how far its nodes are. Call it only while holding the Lease.
func (e *Engine) Flush(ctx context.Context) error {
	e.mu.Lock()
	var kept []known
	for _, k := range e.latest {
		if !k.since.IsZero() {
			kept = append(kept, k)
		}
	}
	e.mu.Unlock()
	var errs []error
	for _, k := range kept {
		written := k.working.DeepCopy()
		patch := client.MergeFromWithOptions(k.written, client.MergeFromWithOptimisticLock{})
		err := e.opts.Client.Status().Patch(ctx, written, patch, client.FieldOwner(FieldManager))
		if err == nil {
			e.mu.Lock()
			e.latest[written.UID] = known{written: written, working: written}
			e.mu.Unlock()
		} else if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("patching status of SeiNode %s/%s: %w", written.Namespace, written.Name, err))
		}
	}
	return errors.Join(errs...)
}
