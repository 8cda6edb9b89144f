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
	// gone is told of what is not there any more; all is what there is after a list.
	all func(present map[types.NamespacedName]bool)
}

// follow keeps what is known of the fleet up to date until ctx ends.
func (r *runner) follow(ctx context.Context, wg *sync.WaitGroup) {
	for _, s := range r.sources() {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := r.listAndWatch(ctx, &s); err != nil {
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
	out := []source{{
		namespace: settings.Namespace, list: func() kube.ObjectList { return &corev1.ConfigMapList{} },
		options: []kube.ListOption{kube.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", record.Name)}},
	}}
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
	return out
}

func (r *runner) listAndWatch(ctx context.Context, s *source) error {
	list := s.list()
	opts := append([]kube.ListOption{kube.InNamespace(s.namespace)}, s.options...)
	if err := r.cluster.Client.List(ctx, list, opts...); err != nil {
		return fmt.Errorf("listing: %w", err)
	}
	present := map[types.NamespacedName]bool{}
	err := meta.EachListItem(list, func(o runtime.Object) error {
		if obj, ok := o.(kube.Object); ok {
			present[kube.ObjectKeyFromObject(obj)] = true
			r.saw(obj)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing: %w", err)
	}
	if s.all != nil {
		r.mu.Lock()
		s.all(present)
		r.mu.Unlock()
	}
	r.poke()
	w, err := r.cluster.Client.Watch(ctx, s.list(), append(opts, &kube.ListOptions{
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
				r.lost(obj)
			default:
				r.saw(obj)
			}
			r.poke()
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
	if u.Err != nil {
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
