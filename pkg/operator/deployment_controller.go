package operator

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/deployment"
)

// DeploymentReconciler carries SeiNodeDeployments out: their children, and their status.
type DeploymentReconciler struct {
	Client client.Client
	// Recorder of events; may be nil.
	Recorder events.EventRecorder
	// Now tells the time.
	Now func() time.Time
	// OnUpdate is told of every SeiNodeDeployment that was reconciled; may be nil.
	OnUpdate func()

	mu sync.Mutex
	// written are the children as the API server returned them last: the cache may lag behind our own writes.
	written map[types.UID]*v1alpha1.SeiNode
}

// SetupDeployments adds the SeiNodeDeployment reconciler. It wakes on its children, and on nodes that have the name of one.
func SetupDeployments(mgr ctrl.Manager, r *DeploymentReconciler, o controller.TypedOptions[reconcile.Request]) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("seinodedeployment").
		For(&v1alpha1.SeiNodeDeployment{}).
		Watches(&v1alpha1.SeiNode{}, handler.EnqueueRequestsFromMapFunc(byParent)).
		WithOptions(o).
		Complete(r)
	if err != nil {
		return fmt.Errorf("adding the SeiNodeDeployment reconciler: %w", err)
	}
	return nil
}

// byParent is the owner of a node, and the deployment whose child's name it has.
func byParent(_ context.Context, obj client.Object) []reconcile.Request {
	names := map[string]bool{}
	if owner := metav1.GetControllerOf(obj); owner != nil && owner.Kind == "SeiNodeDeployment" {
		names[owner.Name] = true
	}
	if name, ok := deployment.Parent(obj.GetName()); ok {
		names[name] = true
	}
	var out []reconcile.Request
	for name := range names {
		out = append(out, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: name}})
	}
	return out
}

// Reconcile evaluates one SeiNodeDeployment, writes to its children, and its status if that changed.
func (r *DeploymentReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var snd v1alpha1.SeiNodeDeployment
	if err := r.Client.Get(ctx, req.NamespacedName, &snd); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("reading SeiNodeDeployment %s: %w", req.NamespacedName, err)
	}
	nodes, err := r.nodes(ctx, &snd)
	if err != nil {
		return ctrl.Result{}, err
	}
	result := deployment.Evaluate(deployment.Input{Deployment: &snd, Nodes: nodes, Now: r.Now()})
	err = r.act(ctx, &snd, result.Actions)
	if statusErr := r.writeStatus(ctx, &snd, result.Status); err == nil {
		err = statusErr
	}
	switch {
	case ctx.Err() != nil:
		return ctrl.Result{}, nil //nolint:nilerr // it stops, and says nothing of what was cut short
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		// The cache lags: what it shows next decides.
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	if r.OnUpdate != nil {
		r.OnUpdate()
	}
	return ctrl.Result{}, nil
}

// nodes are the children and whoever has the name of one, none older than what we wrote. They are shared: never changed.
func (r *DeploymentReconciler) nodes(ctx context.Context, snd *v1alpha1.SeiNodeDeployment) ([]*v1alpha1.SeiNode, error) {
	var list v1alpha1.SeiNodeList
	if err := r.Client.List(ctx, &list, client.InNamespace(snd.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing SeiNodes of namespace %s: %w", snd.Namespace, err)
	}
	var out []*v1alpha1.SeiNode
	for i := range list.Items {
		n := &list.Items[i]
		owner := metav1.GetControllerOf(n)
		if _, named := deployment.Ordinal(snd.Name, n.Name); named || (owner != nil && owner.UID == snd.UID) {
			out = append(out, r.freshest(n))
		}
	}
	return out, nil
}

func (r *DeploymentReconciler) freshest(n *v1alpha1.SeiNode) *v1alpha1.SeiNode {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, ok := r.written[n.UID]
	if !ok {
		return n
	}
	if c, err := resourceversion.CompareResourceVersion(w.ResourceVersion, n.ResourceVersion); err == nil && c > 0 {
		return w
	}
	delete(r.written, n.UID)
	return n
}

// act carries actions out, in order, up to the first that fails: what follows it was decided on the same view.
func (r *DeploymentReconciler) act(ctx context.Context, snd *v1alpha1.SeiNodeDeployment, actions []deployment.Action) error {
	owner := client.FieldOwner(deployment.FieldManager)
	for i := range actions {
		a := &actions[i]
		var err error
		switch a.Type {
		case deployment.Create:
			err = r.Client.Create(ctx, a.Node, owner)
		case deployment.Delete:
			err = client.IgnoreNotFound(r.Client.Delete(ctx, a.Node.DeepCopy(), client.Preconditions{UID: &a.Node.UID}))
		default:
			// The cache does not hold all of them: the API server goes on with its own.
			a.Node.ManagedFields = nil
			err = r.Client.Update(ctx, a.Node, owner)
		}
		if err != nil {
			return fmt.Errorf("%s of SeiNode %s/%s: %w", a.Type, a.Node.Namespace, a.Node.Name, err)
		}
		if a.Type != deployment.Delete {
			r.remember(a.Node)
		}
		r.tell(snd, a)
	}
	return nil
}

func (r *DeploymentReconciler) remember(n *v1alpha1.SeiNode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.written == nil {
		r.written = map[types.UID]*v1alpha1.SeiNode{}
	}
	r.written[n.UID] = n
}

// Forget drops what is remembered of a child that is gone.
func (r *DeploymentReconciler) Forget(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.written, uid)
}

func (r *DeploymentReconciler) tell(snd *v1alpha1.SeiNodeDeployment, a *deployment.Action) {
	if r.Recorder == nil {
		return
	}
	eventType := corev1.EventTypeNormal
	if a.Warning {
		eventType = corev1.EventTypeWarning
	}
	r.Recorder.Eventf(snd, a.Node, eventType, a.Reason, string(a.Type), "%s", note(a.Message))
}

// writeStatus patches the status, with the optimistic lock, when it changed.
func (r *DeploymentReconciler) writeStatus(ctx context.Context, snd *v1alpha1.SeiNodeDeployment, status v1alpha1.SeiNodeDeploymentStatus) error {
	if reflect.DeepEqual(snd.Status, status) {
		return nil
	}
	written := snd.DeepCopy()
	written.Status = status
	patch := client.MergeFromWithOptions(snd, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, written, patch, client.FieldOwner(deployment.FieldManager)); err != nil {
		return fmt.Errorf("patching status of SeiNodeDeployment %s/%s: %w", snd.Namespace, snd.Name, err)
	}
	return nil
}
