package tasks

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// collectorPoll is how often to look whether the garbage collector is done: what it deletes may be in nobody's watch.
const collectorPoll = 2 * time.Second

// standing says how this node stands to an object of a name that is its own.
type standing struct {
	// live is the object, this node's; nil when there is none.
	live client.Object
	// wait is set while the object is on its way out.
	wait *Result
}

// standingOf reads the live object and decides whether it is this node's. The cache may say that it is ours; that it is
// absent only the API server may say.
func standingOf(ctx context.Context, env *Env, node *v1alpha1.SeiNode, want *unstructured.Unstructured) (standing, error) {
	what := describe(want)
	raw, err := env.Client.Scheme().New(want.GroupVersionKind())
	if err != nil {
		return standing{}, Terminalf("reading %s: %w", what, err)
	}
	live := raw.(client.Object)
	err = getCachedOrLive(ctx, env, client.ObjectKeyFromObject(want), live)
	switch {
	case apierrors.IsNotFound(err):
		return standing{}, nil
	case meta.IsNoMatchError(err):
		return standing{}, noMatch(err, node)
	case err != nil:
		return standing{}, fmt.Errorf("reading %s: %w", what, err)
	}
	return standingTo(node, what, live)
}

func standingTo(node *v1alpha1.SeiNode, what string, live client.Object) (standing, error) {
	if metav1.IsControlledBy(live, node) {
		if live.GetDeletionTimestamp() != nil {
			return waiting("%s is being deleted", what), nil
		}
		return standing{live: live}, nil
	}
	// The objects of a node that was deleted and created again under the same name are the garbage collector's.
	if o := metav1.GetControllerOf(live); o != nil && o.Kind == "SeiNode" && o.Name == node.Name {
		return waiting("%s belongs to a SeiNode of this name that was deleted; waiting until it is collected", what), nil
	}
	return standing{}, foreignObject(what, live)
}

func waiting(format string, args ...any) standing {
	r := WaitPolling(collectorPoll, format, args...)
	return standing{wait: &r}
}

// foreignObject is the terminal error for an object that bears a name of ours and is somebody else's.
func foreignObject(what string, live client.Object) error {
	return Terminalf("%s exists and is not this node's (%s): delete it if nobody needs it, or give the node another name",
		what, ownerOf(live))
}

// ownerOf names the controller of an object, or any other owner.
func ownerOf(obj client.Object) string {
	if o := metav1.GetControllerOf(obj); o != nil {
		return fmt.Sprintf("its controller is %s %s, UID %s", o.Kind, o.Name, o.UID)
	}
	if refs := obj.GetOwnerReferences(); len(refs) > 0 {
		return fmt.Sprintf("its owner is %s %s", refs[0].Kind, refs[0].Name)
	}
	return "it has no owner"
}

// getCachedOrLive reads from the cache and, where that has nothing, from the API server.
func getCachedOrLive(ctx context.Context, env *Env, key client.ObjectKey, obj client.Object) error {
	err := env.Client.Get(ctx, key, obj)
	if apierrors.IsNotFound(err) {
		return env.Live.Get(ctx, key, obj)
	}
	return err
}

// describe names an object: kind namespace/name.
func describe(u *unstructured.Unstructured) string {
	return u.GetKind() + " " + u.GetNamespace() + "/" + u.GetName()
}
