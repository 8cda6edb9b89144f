package operator

import (
	"context"
	"fmt"
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
}

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
			r.tell(NodeUpdate{Key: req.NamespacedName})
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("reading SeiNode %s: %w", req.NamespacedName, err)
	}
	out, err := r.Engine.Pass(ctx, &node)
	switch {
	case ctx.Err() != nil:
		return ctrl.Result{}, nil
	case apierrors.IsNotFound(err):
		return ctrl.Result{}, nil
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
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

func (r *NodeReconciler) tell(u NodeUpdate) {
	if r.OnUpdate != nil {
		r.OnUpdate(u)
	}
}
