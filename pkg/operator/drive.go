package operator

import (
	"context"
	"fmt"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/sidecar"
)

// maxDrivers is how many nodes are driven at once.
const maxDrivers = 32

// DriveOptions of Drive.
type DriveOptions struct {
	// Config of the cluster.
	Config *rest.Config
	// Nodes to drive.
	Nodes []types.NamespacedName
	// Settings of the platform.
	Settings settings.Settings
	// PortForward reaches the pods through the API server: from outside the cluster.
	PortForward bool
	// RetryNow starts the next attempt of every node without waiting for its backoff.
	RetryNow bool
	// OnUpdate is told of every pass, one at a time.
	OnUpdate func(NodeUpdate)
}

// Drive runs the operator's reconciler over some nodes until ctx is cancelled. Whoever calls it holds the Lease.
func Drive(ctx context.Context, o DriveOptions) error {
	scheme, err := NewScheme()
	if err != nil {
		return err
	}
	only, namespaces := map[types.NamespacedName]bool{}, map[string]bool{}
	for _, key := range o.Nodes {
		only[key], namespaces[key.Namespace] = true, true
	}
	cacheOptions, err := CacheOptions(keys(namespaces)...)
	if err != nil {
		return err
	}
	// The budget counts the whole chain; whoever may not see it all counts what they see.
	if mayListEverywhere(ctx, o.Config) {
		SeeAllNodes(&cacheOptions)
	}
	mgr, err := ctrl.NewManager(o.Config, ctrl.Options{
		Scheme: scheme, Cache: cacheOptions, Metrics: metricsserver.Options{BindAddress: "0"}, Logger: logr.Discard(),
	})
	if err != nil {
		return fmt.Errorf("connecting to the cluster: %w", err)
	}
	connector, err := NewConnector(o.Config, o.PortForward)
	if err != nil {
		return err
	}
	platform := func() settings.Settings { return o.Settings }
	wake := newWaker()
	recorder := newEventWriter(mgr.GetClient())
	defer recorder.flush()
	e := engine.New(engine.Options{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Sidecar: connector, Settings: platform,
		Recorder: recorder, ServedCheckInterval: servedCheckInterval(0, o.PortForward),
		Budget: &engine.ChainBudget{
			Reader: mgr.GetClient(), Settings: platform, Wake: wake.Wake,
			Driven: func(key types.NamespacedName) bool { return only[key] },
		},
	})
	if o.RetryNow {
		for key := range only {
			e.RetryNow(key)
		}
	}
	var mu sync.Mutex
	r := &NodeReconciler{Client: mgr.GetClient(), Engine: e, Only: only, Waker: wake, OnUpdate: func(u NodeUpdate) {
		mu.Lock()
		defer mu.Unlock()
		if o.OnUpdate != nil {
			o.OnUpdate(u)
		}
	}}
	skipNameValidation := true
	if err := SetupNodes(ctx, mgr, r, controller.TypedOptions[reconcile.Request]{
		MaxConcurrentReconciles: min(maxDrivers, len(only)), SkipNameValidation: &skipNameValidation,
	}); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("driving nodes: %w", err)
	}
	return nil
}

// NewConnector opens connections to sidecars: by pod IP in the cluster, by port-forward from outside.
func NewConnector(cfg *rest.Config, portForward bool) (*sidecar.Connector, error) {
	clientset, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("building a client: %w", err)
	}
	c := &sidecar.Connector{Dialer: sidecar.DirectDialer(), Tokens: sidecar.TokenRequests(clientset)}
	if portForward {
		if c.Dialer, err = sidecar.PortForwardDialer(cfg); err != nil {
			return nil, fmt.Errorf("preparing port-forward: %w", err)
		}
	}
	return c, nil
}

func keys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}
