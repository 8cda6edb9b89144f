package operator

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/engine"
)

// conflictDelay is how soon a pass is run again after another writer was faster; the watch usually is sooner.
const conflictDelay = 100 * time.Millisecond

// NodeReconciler runs passes of the engine over SeiNodes.
type NodeReconciler struct {
	Client client.Client
	Engine *engine.Engine
	// Only limits it to these nodes; nil means all.
	Only map[types.NamespacedName]bool
	// Waker queues nodes whose turn may have come; may be nil.
	Waker *Waker
	// OnUpdate is told of every pass; may be nil.
	OnUpdate func(NodeUpdate)
	// Forget drops what is remembered of nodes that are gone; may be nil.
	Forget func(types.UID)
	// AwaitCertManager adds the watches on cert-manager's kinds when the cluster knows them, which may be later.
	AwaitCertManager bool
	// Draining says that this process was asked to stop and still holds the Lease: then a pass under way may finish, within
	// drainTime. Nil means never.
	Draining func() bool

	// uids are the nodes seen, by name: a node that is gone has none to ask for.
	uids sync.Map
}

// drainTime is how long a pass under way may go on after the process was asked to stop. With the longest silence of a
// holder, it is less than the duration of the Lease.
const drainTime = 4 * time.Second

// NodeUpdate tells of one pass over one node.
type NodeUpdate struct {
	Key types.NamespacedName
	// Node after the pass; nil when it is gone.
	Node    *v1alpha1.SeiNode
	Outcome engine.Outcome
	// Err of the pass; it is retried.
	Err error
}

// Reconcile runs one pass.
func (r *NodeReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if r.Only != nil && !r.Only[req.NamespacedName] {
		return ctrl.Result{}, nil
	}
	var node v1alpha1.SeiNode
	if err := r.Client.Get(ctx, req.NamespacedName, &node); err != nil {
		if apierrors.IsNotFound(err) {
			r.see(req.NamespacedName, "")
			r.tell(NodeUpdate{Key: req.NamespacedName})
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("reading SeiNode %s: %w", req.NamespacedName, err)
	}
	r.see(req.NamespacedName, node.UID)
	ctx, cancel := r.passContext(ctx)
	defer cancel()
	out, err := r.Engine.Pass(ctx, &node)
	switch {
	case ctx.Err() != nil:
		return ctrl.Result{}, nil
	case apierrors.IsNotFound(err):
		return ctrl.Result{}, nil
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	if out.ServedTrouble != "" {
		ctrl.LoggerFrom(ctx).Info("served certificate not confirmed", "detail", out.ServedTrouble)
	}
	r.tell(NodeUpdate{Key: req.NamespacedName, Node: out.Node, Outcome: out, Err: err})
	if err != nil {
		return ctrl.Result{}, err
	}
	if out.RequeueAfter == engine.Immediately {
		return ctrl.Result{RequeueAfter: time.Nanosecond}, nil
	}
	return ctrl.Result{RequeueAfter: out.RequeueAfter}, nil
}

// see notes the UID of a node, empty when it is gone, and forgets the node of that name before it.
func (r *NodeReconciler) see(key types.NamespacedName, uid types.UID) {
	if r.Forget == nil {
		return
	}
	var old any
	if uid == "" {
		old, _ = r.uids.LoadAndDelete(key)
	} else {
		old, _ = r.uids.Swap(key, uid)
	}
	if was, ok := old.(types.UID); ok && was != uid {
		r.Forget(was)
	}
}

// passContext ends with ctx or, where that ends because the process shall stop, a little later: a task under way finishes.
// When the Lease is lost it ends at once.
func (r *NodeReconciler) passContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.Draining == nil {
		return ctx, func() {}
	}
	pass, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if !r.Draining() {
			cancel()
			return
		}
		time.AfterFunc(drainTime, cancel)
	})
	return pass, func() {
		stop()
		cancel()
	}
}

func (r *NodeReconciler) tell(u NodeUpdate) {
	if r.OnUpdate != nil {
		r.OnUpdate(u)
	}
}
