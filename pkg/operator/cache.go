package operator

import (
	"fmt"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// NewScheme knows every kind that the engine reads or writes.
func NewScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, cmv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("building the scheme: %w", err)
		}
	}
	return s, nil
}

// CacheOptions limits the caches to objects of nodes and strips what decisions do not need. namespaces limits them further;
// none means all.
func CacheOptions(namespaces ...string) (cache.Options, error) {
	req, err := labels.NewRequirement(v1alpha1.LabelNode, selection.Exists, nil)
	if err != nil {
		return cache.Options{}, fmt.Errorf("selecting objects of nodes: %w", err)
	}
	ofNodes := cache.ByObject{Label: labels.NewSelector().Add(*req)}
	o := cache.Options{
		DefaultTransform: slim,
		ByObject: map[client.Object]cache.ByObject{
			&appsv1.StatefulSet{}: ofNodes,
			&corev1.Pod{}:         ofNodes,
			&corev1.Service{}:     ofNodes,
			&corev1.ConfigMap{}:   ofNodes,
		},
	}
	secrets := &metav1.PartialObjectMetadata{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	o.ByObject[secrets] = cache.ByObject{Transform: stripMetadata}
	for _, ns := range namespaces {
		if o.DefaultNamespaces == nil {
			o.DefaultNamespaces = map[string]cache.Config{}
		}
		o.DefaultNamespaces[ns] = cache.Config{}
	}
	return o, nil
}

// SeeAllNodes lifts the limit to namespaces for SeiNodes and their pods.
func SeeAllNodes(o *cache.Options) {
	everywhere := map[string]cache.Config{cache.AllNamespaces: {}}
	nodes := &v1alpha1.SeiNode{}
	o.ByObject[nodes] = cache.ByObject{Namespaces: everywhere}
	for obj, by := range o.ByObject {
		if _, isPod := obj.(*corev1.Pod); isPod {
			by.Namespaces = everywhere
			o.ByObject[obj] = by
		}
	}
}

// slim drops what no decision needs and what is most of an object: fleets have thousands of them.
func slim(obj any) (any, error) {
	switch o := obj.(type) {
	case *v1alpha1.SeiNodeDeployment:
	case *v1alpha1.SeiNode:
		// Who wrote what of the spec matters, and of the status only who and when.
		for i := range o.ManagedFields {
			if f := &o.ManagedFields[i]; f.Subresource != "" {
				f.FieldsV1 = nil
			}
		}
	case *corev1.Pod:
		o.ManagedFields = nil
		for _, containers := range [][]corev1.Container{o.Spec.InitContainers, o.Spec.Containers} {
			for i := range containers {
				c := &containers[i]
				containers[i] = corev1.Container{Name: c.Name, Image: c.Image, Env: c.Env, Ports: c.Ports, RestartPolicy: c.RestartPolicy}
			}
		}
		o.Spec.Affinity, o.Spec.Tolerations = nil, nil
	case *cmv1.CertificateRequest:
		o.ManagedFields = nil
		o.Spec.Request, o.Status.Certificate, o.Status.CA = nil, nil, nil
	case metav1.Object:
		o.SetManagedFields(nil)
	}
	return obj, nil
}

// stripMetadata drops what may hold a Secret's data in its metadata, and what nobody reads.
func stripMetadata(obj any) (any, error) {
	if m, ok := obj.(metav1.Object); ok {
		m.SetManagedFields(nil)
		if a := m.GetAnnotations(); a[corev1.LastAppliedConfigAnnotation] != "" {
			delete(a, corev1.LastAppliedConfigAnnotation)
			m.SetAnnotations(a)
		}
	}
	return obj, nil
}
