package fleet

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/operator"
	"sei.io/seictl/pkg/settings"
)

// source is one kind of object that is followed in one namespace.
type source struct {
	namespace string
	list      func() kube.ObjectList
	options   []kube.ListOption
	// saw is told of every version of an object, and lost of what was deleted while it was watched.
	saw, lost func(kube.Object)
	// all is told what there is after a list; nil where that is no news.
	all func(present map[types.NamespacedName]bool)
}

// recordSource is the record of one rollout.
func recordSource(name string) source {
	return source{
		namespace: settings.Namespace, list: func() kube.ObjectList { return &corev1.ConfigMapList{} },
		options: []kube.ListOption{kube.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", name)}},
	}
}

// follow keeps what is known of the fleet up to date until ctx ends.
func (r *runner) follow(ctx context.Context, wg *sync.WaitGroup) {
	for _, s := range r.sources() {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := s.listAndWatch(ctx, r.cluster.Client); err != nil {
					if apierrors.IsForbidden(err) {
						r.fail(r.cluster.Explain(err, "watch", "seinodes", s.namespace, ""))
						return
					}
					if pause(ctx, retryEvery) != nil {
						return
					}
				}
			}
		})
	}
}

func (r *runner) sources() []source {
	record := r.entry.record
	nodes, snds := map[string]bool{}, map[string]bool{}
	for i := range record.Nodes {
		nodes[record.Nodes[i].Namespace] = true
	}
	for i := range record.Objects {
		if record.Objects[i].Kind == fleet.KindDeployment {
			snds[record.Objects[i].Namespace] = true
		}
	}
	out := []source{recordSource(record.Name)}
	for ns := range nodes {
		out = append(out, source{namespace: ns, list: func() kube.ObjectList { return &v1alpha1.SeiNodeList{} },
			all: func(present map[types.NamespacedName]bool) {
				for k := range r.nodes {
					if k.Namespace == ns && !present[k] {
						delete(r.nodes, k)
					}
				}
			}})
	}
	for ns := range snds {
		out = append(out, source{namespace: ns, list: func() kube.ObjectList { return &v1alpha1.SeiNodeDeploymentList{} },
			all: func(present map[types.NamespacedName]bool) {
				for k := range r.deployments {
					if k.Namespace == ns && !present[k] {
						delete(r.deployments, k)
					}
				}
			}})
	}
	for i := range out {
		s := &out[i]
		s.saw = func(o kube.Object) { r.saw(o); r.poke() }
		s.lost = func(o kube.Object) { r.lost(o); r.poke() }
		if all := s.all; all != nil {
			s.all = func(present map[types.NamespacedName]bool) {
				r.mu.Lock()
				all(present)
				r.mu.Unlock()
				r.poke()
			}
		}
	}
	return out
}

// listAndWatch tells what there is and what becomes of it, until ctx or the watch ends.
func (s *source) listAndWatch(ctx context.Context, c kube.WithWatch) error {
	list := s.list()
	opts := append([]kube.ListOption{kube.InNamespace(s.namespace)}, s.options...)
	if err := c.List(ctx, list, opts...); err != nil {
		return fmt.Errorf("listing: %w", err)
	}
	present := map[types.NamespacedName]bool{}
	err := meta.EachListItem(list, func(o runtime.Object) error {
		if obj, ok := o.(kube.Object); ok {
			present[kube.ObjectKeyFromObject(obj)] = true
			s.saw(obj)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing: %w", err)
	}
	if s.all != nil {
		s.all(present)
	}
	w, err := c.Watch(ctx, s.list(), append(opts, &kube.ListOptions{
		Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()},
	})...)
	if err != nil {
		return fmt.Errorf("watching: %w", err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.ResultChan():
			if !ok {
				return nil
			}
			obj, isObject := e.Object.(kube.Object)
			switch {
			case e.Type == watch.Error:
				return apierrors.FromObject(e.Object)
			case !isObject:
			case e.Type == watch.Deleted:
				s.lost(obj)
			default:
				s.saw(obj)
			}
		}
	}
}

// saw takes in an object, unless a newer one is known: our own writes are known before their events come.
func (r *runner) saw(o kube.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := kube.ObjectKeyFromObject(o)
	switch o := o.(type) {
	case *v1alpha1.SeiNode:
		if old := r.nodes[k]; old == nil || old.UID != o.UID || newer(o.ResourceVersion, old.ResourceVersion) {
			r.nodes[k] = o
		}
	case *v1alpha1.SeiNodeDeployment:
		if old := r.deployments[k]; old == nil || old.UID != o.UID || newer(o.ResourceVersion, old.ResourceVersion) {
			r.deployments[k] = o
		}
	case *corev1.ConfigMap:
		r.remote = o
	}
}

func (r *runner) lost(o kube.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := kube.ObjectKeyFromObject(o)
	switch o.(type) {
	case *v1alpha1.SeiNode:
		delete(r.nodes, k)
	case *v1alpha1.SeiNodeDeployment:
		delete(r.deployments, k)
	case *corev1.ConfigMap:
		r.fatal = errNoRecord
	}
}

// passed is told of every pass where we drive.
func (r *runner) passed(u operator.NodeUpdate) {
	r.mu.Lock()
	r.refused[u.Key] = apierrors.IsForbidden(u.Err) || apierrors.IsUnauthorized(u.Err)
	r.mu.Unlock()
	if u.Err != nil {
		r.poke() // who waits for the node to be seen through has to know
		r.report.trouble(fmt.Errorf("%s: %w", u.Key, u.Err))
		return
	}
	if u.Node != nil {
		r.saw(u.Node)
		r.poke()
	}
}

// newer says whether a resourceVersion is later than another.
func newer(a, b string) bool {
	c, err := resourceversion.CompareResourceVersion(a, b)
	return err != nil || c > 0
}
