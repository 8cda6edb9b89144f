package operator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/sidecar"
)

const (
	// maxDrivers is how many nodes are driven at once.
	maxDrivers = 32
	// budgetAge is how old a reading of the cache may be on which the budget decides: to read a chain of thousands for every
	// node that waits would cost more than to drive them.
	budgetAge = 250 * time.Millisecond
	// flushTime bounds the last writes of a driver, within the duration of the Lease.
	flushTime = 3 * time.Second
)

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
	// Lost says whether the Lease was lost: then a pass under way ends at once and nothing more is written. Nil means when that
	// is the cause for which ctx ended.
	Lost func() bool
	// OnUpdate is told of every pass, one at a time.
	OnUpdate func(NodeUpdate)
}

// Drive runs the operator's reconciler over some nodes until ctx is cancelled. Whoever calls it holds the Lease.
func Drive(ctx context.Context, o DriveOptions) error {
	if o.Lost == nil {
		o.Lost = func() bool { return errors.Is(context.Cause(ctx), lock.ErrLost) }
	}
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
	budget := &engine.ChainBudget{Reader: mgr.GetClient(), Settings: platform, Wake: wake.Wake, MaxAge: budgetAge}
	e := engine.New(engine.Options{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Sidecar: connector, Settings: platform,
		Recorder: recorder, ServedCheckInterval: servedCheckInterval(0, o.PortForward), Budget: budget,
	})
	if o.RetryNow {
		for key := range only {
			e.RetryNow(key)
		}
	}
	var mu sync.Mutex
	r := &NodeReconciler{
		Client: mgr.GetClient(), Engine: e, Only: only, Waker: wake,
		Draining: func() bool { return !o.Lost() },
		OnUpdate: func(u NodeUpdate) {
			mu.Lock()
			defer mu.Unlock()
			if o.OnUpdate != nil {
				o.OnUpdate(u)
			}
		},
		Forget: func(uid types.UID) {
			e.Forget(uid)
			budget.Forget(uid)
		},
	}
	skipNameValidation := true
	if err := SetupNodes(ctx, mgr, r, controller.TypedOptions[reconcile.Request]{
		MaxConcurrentReconciles: min(maxDrivers, len(only)), SkipNameValidation: &skipNameValidation,
	}); err != nil {
		return err
	}
	err = mgr.Start(ctx)
	if !o.Lost() {
		err = errors.Join(err, flush(ctx, e))
	}
	if err != nil {
		return fmt.Errorf("driving nodes: %w", err)
	}
	return nil
}

// flush has the status of the nodes say how far they are before somebody else looks or drives.
func flush(ctx context.Context, e *engine.Engine) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	return e.Flush(ctx)
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
