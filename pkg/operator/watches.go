package operator

import (
	"context"
	"fmt"
	"strings"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/resources"
)

// secretIndex finds the nodes that use a TLS Secret.
const secretIndex = "sei.io/tls-secret"

// SetupNodes adds the SeiNode reconciler with everything that wakes it: what the node owns, its pod, the requests of its
// Certificate, and the metadata of its Secrets.
func SetupNodes(ctx context.Context, mgr ctrl.Manager, r *NodeReconciler, o controller.TypedOptions[reconcile.Request]) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.SeiNode{}, secretIndex, secretNames); err != nil {
		return fmt.Errorf("indexing SeiNodes by Secret: %w", err)
	}
	b := ctrl.NewControllerManagedBy(mgr).
		Named("seinode").
		For(&v1alpha1.SeiNode{}).
		Owns(&appsv1.StatefulSet{}).
		Owns(&corev1.Service{}).
		Owns(&corev1.ConfigMap{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(byNodeLabel)).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(bySecret(mgr.GetClient()))).
		WithOptions(o)
	if r.Waker != nil {
		b = b.WatchesRawSource(r.Waker.source())
	}
	if r.AwaitCertManager {
		c, err := b.Build(r)
		if err != nil {
			return fmt.Errorf("adding the SeiNode reconciler: %w", err)
		}
		return mgr.Add(&certManagerWatches{mgr: mgr, controller: c, log: mgr.GetLogger()})
	}
	if HasCertManager(mgr.GetRESTMapper()) {
		b = b.Owns(&cmv1.Certificate{}).
			Watches(&cmv1.CertificateRequest{}, handler.EnqueueRequestsFromMapFunc(byCertificateName))
	}
	return b.Complete(r)
}

// HasCertManager says whether the cluster knows cert-manager's kinds.
func HasCertManager(m meta.RESTMapper) bool {
	_, err := m.RESTMapping(cmv1.SchemeGroupVersion.WithKind("Certificate").GroupKind(), cmv1.SchemeGroupVersion.Version)
	return err == nil
}

func secretNames(obj client.Object) []string {
	n, ok := obj.(*v1alpha1.SeiNode)
	if !ok {
		return nil
	}
	names := []string{resources.CertificateName(n.Name)}
	for _, tls := range []*v1alpha1.SidecarTLSConfig{n.SidecarTLS(), n.Status.CurrentSidecarTLS.Config()} {
		if tls != nil && tls.SecretName != "" {
			names = append(names, tls.SecretName)
		}
	}
	return names
}

func bySecret(c client.Reader) handler.MapFunc {
	return func(ctx context.Context, obj client.Object) []reconcile.Request {
		var nodes v1alpha1.SeiNodeList
		err := c.List(ctx, &nodes, client.InNamespace(obj.GetNamespace()), client.MatchingFields{secretIndex: obj.GetName()})
		if err != nil {
			return nil
		}
		var out []reconcile.Request
		for i := range nodes.Items {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&nodes.Items[i])})
		}
		return out
	}
}

func byNodeLabel(_ context.Context, obj client.Object) []reconcile.Request {
	return request(obj, obj.GetLabels()[v1alpha1.LabelNode])
}

func byCertificateName(_ context.Context, obj client.Object) []reconcile.Request {
	cert := obj.GetAnnotations()[cmv1.CertificateNameKey]
	node, ok := strings.CutSuffix(cert, resources.CertificateName(""))
	if !ok {
		return nil
	}
	return request(obj, node)
}

func request(obj metav1.Object, node string) []reconcile.Request {
	if node == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: node}}}
}
