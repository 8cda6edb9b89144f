package drive

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/operator"
	"sei.io/seictl/pkg/plan"
)

// watch follows the nodes while somebody else drives.
func (d *Driver) watch(ctx context.Context, t *tracker) error {
	namespaces := map[string]bool{}
	for _, g := range t.goals {
		namespaces[g.Key.Namespace] = true
	}
	errs := make(chan error, len(namespaces))
	for ns := range namespaces {
		go func() {
			errs <- Follow(ctx, d.Cluster, ns, func(key types.NamespacedName, node *v1alpha1.SeiNode) {
				t.update(d.seen(key, node))
			})
		}()
	}
	var first error
	for range namespaces {
		if err := <-errs; err != nil && first == nil {
			first = err
			t.done()
		}
	}
	return first
}

// seen is what a watcher knows of a node: its status.
func (d *Driver) seen(key types.NamespacedName, node *v1alpha1.SeiNode) operator.NodeUpdate {
	u := operator.NodeUpdate{Key: key, Node: node}
	if node != nil {
		u.Outcome = Outcome(node, preview.Input{Node: node, Settings: d.Settings, Now: d.Now()})
	}
	return u
}

// Outcome is that of the passes that led to a status, as far as the status tells.
func Outcome(node *v1alpha1.SeiNode, in preview.Input) engine.Outcome {
	decision := preview.Decide(in)
	o := engine.Outcome{Node: node, Idle: decision.Idle, Detail: decision.Detail}
	for _, c := range node.Status.Conditions {
		if c.Type == v1alpha1.ConditionNodeUpdateInProgress && c.Reason == v1alpha1.ReasonUpdateBlocked &&
			c.ObservedGeneration == node.Generation {
			o.Idle, o.Detail = plan.IdleBlocked, c.Message
		}
	}
	if p := node.Status.Plan; p.Active() && node.Spec.Paused {
		if i := plan.Current(p); i >= 0 && plan.BeforeTemplate(p, i) && p.Kind != v1alpha1.MarkReady {
			o.Idle, o.Detail = plan.IdlePaused, "spec.paused is true: the plan goes on when it is false"
		}
	}
	o.Settled = o.Idle == plan.NotIdle && decision.Plan == nil && node.Status.Phase == v1alpha1.PhaseRunning
	return o
}

// Follow calls seen for every node of a namespace, now and at every change, until ctx ends; with nil for one that is gone.
func Follow(ctx context.Context, c *factory.Cluster, namespace string, seen func(types.NamespacedName, *v1alpha1.SeiNode)) error {
	for ctx.Err() == nil {
		if err := followOnce(ctx, c, namespace, seen); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// followOnce lists and then watches until the watch ends.
func followOnce(ctx context.Context, c *factory.Cluster, namespace string, seen func(types.NamespacedName, *v1alpha1.SeiNode)) error {
	var list v1alpha1.SeiNodeList
	if err := c.Client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return c.Explain(err, "list", "seinodes", namespace, "")
	}
	for i := range list.Items {
		seen(client.ObjectKeyFromObject(&list.Items[i]), &list.Items[i])
	}
	w, err := c.Client.Watch(ctx, &v1alpha1.SeiNodeList{}, client.InNamespace(namespace),
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
	if err != nil {
		return c.Explain(err, "watch", "seinodes", namespace, "")
	}
	return events(ctx, w, seen)
}

// events passes on what a watch brings until it ends; the caller lists again then.
func events(ctx context.Context, w watch.Interface, seen func(types.NamespacedName, *v1alpha1.SeiNode)) error {
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.ResultChan():
			if !ok {
				return nil
			}
			switch e.Type {
			case watch.Added, watch.Modified:
				n := e.Object.(*v1alpha1.SeiNode)
				seen(client.ObjectKeyFromObject(n), n)
			case watch.Deleted:
				seen(client.ObjectKeyFromObject(e.Object.(*v1alpha1.SeiNode)), nil)
			case watch.Error:
				err := apierrors.FromObject(e.Object)
				if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
					return nil
				}
				return fmt.Errorf("watching SeiNodes: %w", err)
			}
		}
	}
}
