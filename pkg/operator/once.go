package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/deployment"
	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/plan"
)

// Converged is how the nodes of a cluster came out of RunOnce, by namespace/name.
type Converged struct {
	// Nodes is how many there are.
	Nodes int
	// Failed are held, blocked or wait for another attempt, with the reason; Paused drifted and are paused.
	Failed map[string]string
	Paused []string
}

// RunOnce reconciles until nothing is left to do, and says how every node came out. The error is a *lock.HeldError when
// another driver is alive, or the cause of ctx when that ended first.
func RunOnce(ctx context.Context, o RunOptions) (Converged, error) {
	l, err := lock.NewForConfig(o.Config, lock.Self(lock.KindCLI), o.Lock)
	if err != nil {
		return Converged{}, err
	}
	held, err := l.Acquire(ctx, lock.AcquireOptions{Timeout: o.LockTimeout})
	if err != nil {
		return Converged{}, err
	}
	out, err := runOnce(held.Context(), o)
	releaseCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	return out, errors.Join(err, held.Release(releaseCtx))
}

func runOnce(ctx context.Context, o RunOptions) (Converged, error) {
	op, err := newOperator(ctx, o, nil)
	if err != nil {
		return Converged{}, err
	}
	defer op.events.flush()
	runCtx, stop := context.WithCancel(ctx)
	defer stop()
	t := &convergence{reader: op.mgr.GetClient(), begun: time.Now(), done: stop, seen: map[types.NamespacedName]seenNode{}}
	op.nodes.OnUpdate, op.snds.OnUpdate = t.update, t.check
	// Where there is nothing to reconcile, no update tells that nothing is left.
	if err := op.mgr.Add(manager.RunnableFunc(func(context.Context) error { t.check(); return nil })); err != nil {
		return Converged{}, fmt.Errorf("watching for the end: %w", err)
	}
	if err := op.mgr.Start(runCtx); err != nil {
		return t.result(), fmt.Errorf("running the operator: %w", err)
	}
	if !t.ended() && ctx.Err() != nil {
		return t.result(), context.Cause(ctx)
	}
	return t.result(), nil
}

// convergence watches passes until nothing is left to do.
type convergence struct {
	reader client.Reader
	begun  time.Time
	done   func()

	mu   sync.Mutex
	seen map[types.NamespacedName]seenNode
	over bool
}

// seenNode is a node after its last pass.
type seenNode struct {
	node   *v1alpha1.SeiNode
	final  bool
	paused bool
	failed string
}

func (t *convergence) update(u NodeUpdate) {
	t.mu.Lock()
	switch {
	case u.Node == nil && u.Err == nil:
		delete(t.seen, u.Key)
	case u.Err == nil:
		t.seen[u.Key] = t.judge(u.Node, &u.Outcome)
	}
	t.mu.Unlock()
	t.check()
}

// judge says whether a node has come to an end.
func (t *convergence) judge(n *v1alpha1.SeiNode, o *engine.Outcome) seenNode {
	s := seenNode{node: n}
	active := n.Status.Plan.Active()
	switch {
	case n.DeletionTimestamp != nil:
		// It counts until it is gone.
	case o.Idle == plan.IdlePaused:
		s.final, s.paused = true, true
	case active:
	case o.Idle == plan.IdleHeld, o.Idle == plan.IdleBlocked:
		s.final, s.failed = true, o.Detail
	case o.Idle == plan.IdleBackoff:
		// An attempt that failed before is repeated once its time has come.
		if p := n.Status.Plan; p == nil || p.StartedAt.After(t.begun) {
			s.final, s.failed = true, o.Detail
		}
	case o.Idle == plan.NotIdle && o.Detail != "":
		// Another controller writes the node: no pass goes on.
		s.final, s.failed = true, o.Detail
	default:
		s.final = o.Settled
	}
	return s
}

// check ends the run when every node has come to an end and no deployment has anything left to write.
func (t *convergence) check() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || !t.settled() {
		return
	}
	t.over = true
	t.done()
}

func (t *convergence) settled() bool {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var list v1alpha1.SeiNodeList
	var deployments v1alpha1.SeiNodeDeploymentList
	if t.reader.List(ctx, &list) != nil || t.reader.List(ctx, &deployments) != nil {
		return false
	}
	byNamespace := map[string][]*v1alpha1.SeiNode{}
	for i := range list.Items {
		n := &list.Items[i]
		s, ok := t.seen[client.ObjectKeyFromObject(n)]
		if !ok || !s.final || s.node.UID != n.UID || s.node.Generation < n.Generation {
			return false
		}
		byNamespace[n.Namespace] = append(byNamespace[n.Namespace], s.node)
	}
	for i := range deployments.Items {
		d := &deployments.Items[i]
		r := deployment.Evaluate(deployment.Input{Deployment: d, Nodes: byNamespace[d.Namespace], Now: t.begun})
		if len(r.Actions) > 0 {
			return false
		}
	}
	return true
}

func (t *convergence) ended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over
}

func (t *convergence) result() Converged {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := Converged{Nodes: len(t.seen), Failed: map[string]string{}}
	for key, s := range t.seen {
		switch {
		case s.paused:
			out.Paused = append(out.Paused, key.String())
		case s.failed != "":
			out.Failed[key.String()] = s.failed
		}
	}
	slices.Sort(out.Paused)
	return out
}
