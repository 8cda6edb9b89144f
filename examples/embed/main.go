// Command embed is a controller of somebody else's that drives SeiNodes with seictl's engine, in one namespace.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	cmv1 "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/operator"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/sidecar"
)

// docs:embed

// NodeReconciler drives SeiNodes.
type NodeReconciler struct {
	client.Client
	Engine *engine.Engine
}

// Reconcile runs one pass over one node.
func (r *NodeReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var node v1alpha1.SeiNode
	if err := r.Get(ctx, req.NamespacedName, &node); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	out, err := r.Engine.Pass(ctx, &node)
	switch {
	case apierrors.IsConflict(err), out.RequeueAfter == engine.Immediately:
		return ctrl.Result{RequeueAfter: time.Millisecond}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: out.RequeueAfter}, nil
}

// SetUp adds the reconciler to a manager, with all that wakes a node: what it owns, and its pod.
func SetUp(mgr ctrl.Manager, kube kubernetes.Interface, platform func() settings.Settings) error {
	e := engine.New(engine.Options{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Settings: platform,
		Sidecar: &sidecar.Connector{Dialer: sidecar.DirectDialer(), Tokens: sidecar.TokenRequests(kube)},
		Budget:  &engine.ChainBudget{Reader: mgr.GetClient(), Settings: platform},
	})
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.SeiNode{}).
		Owns(&appsv1.StatefulSet{}).Owns(&corev1.Service{}).Owns(&corev1.ConfigMap{}).Owns(&cmv1.Certificate{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(nodeOf)).
		Complete(&NodeReconciler{Client: mgr.GetClient(), Engine: e})
}

func nodeOf(_ context.Context, pod client.Object) []reconcile.Request {
	key := client.ObjectKey{Namespace: pod.GetNamespace(), Name: pod.GetLabels()[v1alpha1.LabelNode]}
	return []reconcile.Request{{NamespacedName: key}}
}

// docs:end

func main() {
	namespace := flag.String("namespace", "default", "drive the SeiNodes of this namespace")
	flag.Parse()
	if err := run(*namespace); err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		os.Exit(1)
	}
}

// run is what somebody else's controller has already: a manager, a lock and settings.
func run(namespace string) error {
	ctx := ctrl.SetupSignalHandler()
	ctrl.SetLogger(logr.Discard())
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	kube, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("building a client: %w", err)
	}
	scheme, err := operator.NewScheme()
	if err != nil {
		return err
	}
	// One driver at a time: the Lease is shared with seictl and its operator.
	l, err := lock.NewForConfig(cfg, lock.Self(lock.KindOperator), lock.Options{})
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"},
		Cache:          cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		LeaderElection: true, LeaderElectionID: lock.Name, LeaderElectionResourceLockInterface: l, LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return fmt.Errorf("connecting to the cluster: %w", err)
	}
	platform, err := readSettings(ctx, mgr.GetAPIReader())
	if err != nil {
		return err
	}
	if err := SetUp(mgr, kube, func() settings.Settings { return platform }); err != nil {
		return fmt.Errorf("adding the reconciler: %w", err)
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running: %w", err)
	}
	return nil
}

func readSettings(ctx context.Context, r client.Reader) (settings.Settings, error) {
	var cm corev1.ConfigMap
	if err := r.Get(ctx, client.ObjectKey{Namespace: settings.Namespace, Name: settings.ConfigMapName}, &cm); err != nil {
		return settings.Settings{}, fmt.Errorf("reading the settings: %w", err)
	}
	return settings.Parse(cm.Data)
}
