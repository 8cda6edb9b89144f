package engine

import (
	"context"
	"reflect"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"sei.io/seictl/api/v1alpha1"
)

// lag is a cache of one kind that stands still: what it holds, by name, and for how many passes yet. Several of them lag by
// themselves, so that what happened to a StatefulSet is seen before or after what happened to its pod.
type lag struct {
	objects map[string]client.Object
	left    int
}

// lagging are the kinds whose caches lag, and their lists.
var lagging = map[string]func() client.ObjectList{
	"node":        func() client.ObjectList { return &v1alpha1.SeiNodeList{} },
	"statefulset": func() client.ObjectList { return &appsv1.StatefulSetList{} },
	"pod":         func() client.ObjectList { return &corev1.PodList{} },
	"secret":      func() client.ObjectList { return &corev1.SecretList{} },
	"certificate": func() client.ObjectList { return &cmv1.CertificateList{} },
}

// lagBehind has a cache stand still for some passes.
func (k *walk) lagBehind() {
	k.t.Helper()
	kind := []string{"node", "statefulset", "pod", "secret", "certificate"}[k.rand.IntN(5)]
	l := &lag{left: 1 + k.rand.IntN(4), objects: map[string]client.Object{}}
	if k.lags[kind] != nil {
		return // it does not go on before it has caught up
	}
	list := lagging[kind]()
	require.NoError(k.t, k.client.List(k.t.Context(), list, client.InNamespace(key.Namespace)))
	require.NoError(k.t, meta.EachListItem(list, func(o runtime.Object) error {
		obj := o.(client.Object)
		l.objects[obj.GetName()] = obj
		return nil
	}))
	k.lags[kind] = l
	k.tell("the cache of kind %s lags for %d passes", kind, l.left)
}

// catchUp is the end of a pass.
func (k *walk) catchUp() {
	for kind, l := range k.lags {
		if l.left--; l.left == 0 {
			delete(k.lags, kind)
		}
	}
}

func lagKind(o runtime.Object) string {
	switch o.(type) {
	case *appsv1.StatefulSet:
		return "statefulset"
	case *corev1.Pod:
		return "pod"
	case *metav1.PartialObjectMetadata: // Secrets are cached as metadata only
		return "secret"
	case *cmv1.Certificate, *cmv1.CertificateList:
		return "certificate"
	}
	return ""
}

// cache is what the engine reads and writes by: caches that may lag, and an API server that never does.
func (k *walk) cache() client.Client {
	return interceptor.NewClient(k.client.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, at client.ObjectKey, obj client.Object, o ...client.GetOption) error {
			l := k.lags[lagKind(obj)]
			if l == nil {
				err := c.Get(ctx, at, obj, o...)
				if m, ok := obj.(*metav1.PartialObjectMetadata); ok && err == nil {
					m.SetResourceVersion(version(m))
				}
				return err
			}
			held, ok := l.objects[at.Name]
			if !ok {
				return apierrors.NewNotFound(schema.GroupResource{Resource: lagKind(obj)}, at.Name)
			}
			if m, ok := obj.(*metav1.PartialObjectMetadata); ok {
				m.SetName(held.GetName())
				m.SetNamespace(held.GetNamespace())
				m.SetResourceVersion(version(held))
				return nil
			}
			reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(held.DeepCopyObject()).Elem())
			return nil
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			l := k.lags[lagKind(list)]
			if l == nil {
				return c.List(ctx, list, o...)
			}
			var held []runtime.Object
			for _, obj := range l.objects {
				held = append(held, obj.DeepCopyObject())
			}
			return meta.SetList(list, held)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, o ...client.DeleteOption) error {
			if pod, ok := obj.(*corev1.Pod); ok {
				return k.deletePod(pod, o)
			}
			return c.Delete(ctx, obj, o...)
		},
	})
}

// api is the API server, which the engine reads without a cache in between.
func (k *walk) api() client.Reader {
	return interceptor.NewClient(k.live().(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, at client.ObjectKey, obj client.Object, o ...client.GetOption) error {
			err := c.Get(ctx, at, obj, o...)
			if s, ok := obj.(*corev1.Secret); ok && err == nil {
				s.ResourceVersion = version(s)
			}
			return err
		},
	})
}

// version is a version that no Secret had before, as with a real API server: the fake one counts those of a new object from
// one again.
func version(o client.Object) string { return string(o.GetUID()) + "/" + o.GetResourceVersion() }

// deletePod is what the API server does about the delete of a pod.
func (k *walk) deletePod(pod *corev1.Pod, o []client.DeleteOption) error {
	k.t.Helper()
	live, uid := k.livePod(), ""
	options := (&client.DeleteOptions{}).ApplyOptions(o)
	if p := options.Preconditions; p != nil && p.UID != nil {
		uid = string(*p.UID)
	}
	resource := schema.GroupResource{Resource: "pods"}
	switch {
	case live == nil:
		return apierrors.NewNotFound(resource, pod.Name)
	case uid != "" && uid != string(live.UID):
		return apierrors.NewConflict(resource, pod.Name, nil)
	}
	k.requireGate(live, uid)
	k.removePod()
	return nil
}
