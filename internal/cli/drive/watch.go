package drive

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/internal/cli/preview"
	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/operator"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/resources"
)

// watch follows the nodes while somebody else drives.
func (d *Driver) watch(ctx context.Context, t *tracker) error {
	namespaces := map[string]bool{}
	for _, g := range t.goals {
		namespaces[g.Key.Namespace] = true
	}
	errs := make(chan error, len(namespaces))
	for ns := range namespaces {
		f := &Follower{Cluster: d.Cluster, Namespace: ns, Seen: func(key types.NamespacedName, node *v1alpha1.SeiNode) {
			if t.index(key) >= 0 { // others of the namespace are nobody's business, and looking at them costs requests
				t.update(d.seen(ctx, key, node))
			}
		}, Trouble: func(err error) {
			d.Progress.Say("the cluster does not answer (%s): waiting for it; the nodes go on without this command", err)
		}}
		for _, g := range t.goals {
			if g.Key.Namespace == ns {
				f.Known = append(f.Known, g.Key)
			}
		}
		go func() { errs <- f.Run(ctx) }()
	}
	leader, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		if err := d.AwaitLeader(leader); err != nil {
			t.end(err)
		}
	}()
	var first error
	for range namespaces {
		if err := <-errs; err != nil && first == nil {
			first = err
			t.done()
		}
	}
	return first
}

// seen is what a watcher knows of a node: its status, and whether there is a pod. An operator that is away leaves a status
// behind that says that all is well.
func (d *Driver) seen(ctx context.Context, key types.NamespacedName, node *v1alpha1.SeiNode) operator.NodeUpdate {
	u := operator.NodeUpdate{Key: key, Node: node}
	if node == nil {
		return u
	}
	u.Outcome = Outcome(node, preview.Input{Node: node, Settings: d.Settings, Now: d.Now()})
	if u.Outcome.Settled {
		var pod corev1.Pod
		name := types.NamespacedName{Namespace: key.Namespace, Name: resources.PodName(key.Name)}
		if err := d.Cluster.Client.Get(ctx, name, &pod); apierrors.IsNotFound(err) || (err == nil && pod.DeletionTimestamp != nil) {
			u.Outcome.Settled = false
			u.Outcome.Awaits = fmt.Sprintf("pod %s is gone, and the operator has not said so yet", name)
		}
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

// Follower tells of every change of the nodes of a namespace.
type Follower struct {
	Cluster   *factory.Cluster
	Namespace string
	// Known are nodes that were there: one that is gone when the watch begins is told of as well.
	Known []types.NamespacedName
	// Seen is called for every node, now and at every change; with nil for one that is gone.
	Seen func(types.NamespacedName, *v1alpha1.SeiNode)
	// Trouble is told when the cluster stops answering.
	Trouble func(error)
}

// outage is how often a cluster that does not answer is asked again, until nobody waits for it any more: two minutes.
var outage = wait.Backoff{Duration: 2 * time.Second, Factor: 1, Jitter: 0.1, Steps: 60}

// passing says whether an error of the API server may be over when it is asked again.
func passing(err error) bool {
	return factory.Unreachable(err) || apierrors.IsTooManyRequests(err) || apierrors.IsInternalError(err) ||
		apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err)
}

// Run follows until ctx ends. An API server that is away for a while ends nothing: nodes go on without us.
func (f *Follower) Run(ctx context.Context) error {
	known := map[types.NamespacedName]bool{}
	for _, key := range f.Known {
		known[key] = true
	}
	backoff := outage
	for ctx.Err() == nil {
		err := f.once(ctx, known, func() { backoff = outage })
		switch {
		case err == nil, ctx.Err() != nil:
			continue
		case !passing(err) || backoff.Steps == 0:
			return f.Cluster.Explain(err, "watch", "seinodes", f.Namespace, "")
		case backoff.Steps == outage.Steps && f.Trouble != nil:
			f.Trouble(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff.Step()):
		}
	}
	return nil
}

// once lists and then watches until the watch ends.
func (f *Follower) once(ctx context.Context, known map[types.NamespacedName]bool, answered func()) error {
	var list v1alpha1.SeiNodeList
	if err := f.Cluster.Client.List(ctx, &list, client.InNamespace(f.Namespace)); err != nil {
		return err //nolint:wrapcheck // Run explains it
	}
	answered()
	missing := maps.Clone(known)
	for i := range list.Items {
		key := client.ObjectKeyFromObject(&list.Items[i])
		known[key] = true
		delete(missing, key)
		f.Seen(key, &list.Items[i])
	}
	for key := range missing {
		delete(known, key)
		f.Seen(key, nil)
	}
	w, err := f.Cluster.Client.Watch(ctx, &v1alpha1.SeiNodeList{}, client.InNamespace(f.Namespace),
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}})
	if err != nil {
		return err //nolint:wrapcheck // Run explains it
	}
	return events(ctx, w, func(key types.NamespacedName, node *v1alpha1.SeiNode) {
		if known[key] = true; node == nil {
			delete(known, key)
		}
		f.Seen(key, node)
	})
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
