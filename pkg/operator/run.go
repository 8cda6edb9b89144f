package operator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/engine"
	"sei.io/seictl/pkg/engine/lock"
)

// RunOptions of Run and RunOnce.
type RunOptions struct {
	// Config of the cluster.
	Config *rest.Config
	// Log of the process.
	Log logr.Logger
	// MetricsAddress serves /metrics over HTTPS to who may get it; "0" for none.
	MetricsAddress string
	// MetricsCertDir holds tls.crt and tls.key of the metrics server, or will; self-signed when empty and until they are there.
	MetricsCertDir string
	// HealthAddress serves /healthz and /readyz; "0" for none.
	HealthAddress string
	// PprofAddress serves Go's profiles over plain HTTP; "0" or empty for none.
	PprofAddress string
	// NodeWorkers is how many nodes, and DeploymentWorkers how many SeiNodeDeployments, are reconciled at once.
	NodeWorkers, DeploymentWorkers int
	// PortForward reaches the pods through the API server: from outside the cluster.
	PortForward bool
	// ServedCheckInterval is how often the certificate that a settled node serves is looked at; the engine's default when zero.
	ServedCheckInterval time.Duration
	// Lock times of the Lease; zero for the defaults.
	Lock lock.Options
	// LockTimeout is how long RunOnce waits for another driver that is alive.
	LockTimeout time.Duration
}

// operator is a manager with everything in it.
type operator struct {
	RunOptions
	mgr      ctrl.Manager
	settings *liveSettings
	engine   *engine.Engine
	budget   *engine.ChainBudget
	wake     *Waker
	metrics  *Metrics
	nodes    *NodeReconciler
	snds     *DeploymentReconciler
	events   *eventWriter
}

// Run reconciles every SeiNode and SeiNodeDeployment of the cluster, while it holds the Lease, until ctx ends. Then passes
// under way finish, and the Lease is released. Losing the Lease is an error.
func Run(ctx context.Context, o RunOptions) error {
	l, err := lock.NewForConfig(o.Config, lock.Self(lock.KindOperator), o.Lock)
	if err != nil {
		return err
	}
	op, err := newOperator(ctx, o, l)
	if err != nil {
		return err
	}
	op.nodes.Draining = func() bool { return ctx.Err() != nil }
	op.Log.Info("starting", "identity", l.Identity())
	defer op.events.flush()
	if err := op.mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the operator: %w", err)
	}
	op.Log.Info("stopped")
	return nil
}

// newOperator builds the manager. With l it waits for the Lease; without it, the caller holds it.
func newOperator(ctx context.Context, o RunOptions, l *lock.Lock) (*operator, error) {
	kube, err := kubernetes.NewForConfig(o.Config)
	if err != nil {
		return nil, fmt.Errorf("building a client: %w", err)
	}
	op := &operator{RunOptions: o, wake: newWaker()}
	if op.settings, err = loadSettings(ctx, kube, o.Log.WithName("settings")); err != nil {
		return nil, err
	}
	if op.mgr, err = newManager(o, l); err != nil {
		return nil, err
	}
	op.events = newEventWriter(op.mgr.GetClient())
	op.settings.recorder, op.settings.changed = op.events, func() { op.wakeAll(ctx) }
	connector, err := NewConnector(o.Config, o.PortForward)
	if err != nil {
		return nil, err
	}
	op.metrics = &Metrics{
		Reader: op.mgr.GetClient(), Log: o.Log.WithName("metrics"), Active: op.leads,
		ServesSecret: func(n *v1alpha1.SeiNode) (bool, bool) { return op.engine.ServesSecret(n) },
		ServedChecks: func() map[engine.LookResult]uint64 { return op.engine.ServedChecks() },
	}
	if err := op.metrics.Register(metrics.Registry); err != nil {
		var twice prometheus.AlreadyRegisteredError
		if !errors.As(err, &twice) {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	op.budget = &engine.ChainBudget{Reader: op.mgr.GetClient(), Settings: op.settings.Get, Wake: op.wake.Wake, MaxAge: budgetAge}
	op.engine = engine.New(engine.Options{
		Client: op.mgr.GetClient(), Live: op.mgr.GetAPIReader(), Sidecar: connector, Settings: op.settings.Get,
		Recorder: op.events, Budget: op.budget, OnPlanEnd: op.planEnded,
		ServedCheckInterval: servedCheckInterval(o.ServedCheckInterval, o.PortForward),
	})
	return op, op.setUp(ctx)
}

func newManager(o RunOptions, l *lock.Lock) (ctrl.Manager, error) {
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	cacheOptions, err := CacheOptions()
	if err != nil {
		return nil, err
	}
	cert, err := newMetricsCert(o.MetricsCertDir, o.Log.WithName("metrics"))
	if err != nil {
		return nil, err
	}
	options := ctrl.Options{
		Scheme: scheme, Cache: cacheOptions, Logger: o.Log, HealthProbeBindAddress: o.HealthAddress, PprofBindAddress: o.PprofAddress,
		Metrics: metricsserver.Options{
			BindAddress: o.MetricsAddress, SecureServing: true, TLSOpts: []func(*tls.Config){cert.configure},
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
	}
	if l != nil {
		options.LeaderElection, options.LeaderElectionID = true, lock.Name
		options.LeaderElectionResourceLockInterface = l
		options.LeaderElectionReleaseOnCancel = true
		// The defaults are the lock's own.
		options.LeaseDuration, options.RenewDeadline = nonZero(o.Lock.LeaseDuration), nonZero(o.Lock.RenewDeadline)
		options.RetryPeriod = nonZero(o.Lock.RetryPeriod)
	}
	mgr, err := ctrl.NewManager(o.Config, options)
	if err != nil {
		return nil, fmt.Errorf("connecting to the cluster: %w", err)
	}
	if err := mgr.Add(cert); err != nil {
		return nil, fmt.Errorf("adding the certificate of /metrics: %w", err)
	}
	return mgr, nil
}

// servedCheckInterval is never where each look were a request to the API server: a settled node costs none.
func servedCheckInterval(d time.Duration, portForward bool) time.Duration {
	if portForward {
		return -1
	}
	return d
}

func nonZero(d time.Duration) *time.Duration {
	if d == 0 {
		return nil
	}
	return &d
}

// setUp adds the reconcilers, the settings and the probes.
func (op *operator) setUp(ctx context.Context) error {
	skipNameValidation := true
	options := func(workers int) controller.TypedOptions[reconcile.Request] {
		return controller.TypedOptions[reconcile.Request]{
			MaxConcurrentReconciles: max(workers, 1), SkipNameValidation: &skipNameValidation,
		}
	}
	op.snds = &DeploymentReconciler{Client: op.mgr.GetClient(), Recorder: op.events, Now: time.Now}
	op.nodes = &NodeReconciler{
		Client: op.mgr.GetClient(), Engine: op.engine, Waker: op.wake, AwaitCertManager: true,
		Forget: func(uid types.UID) {
			op.engine.Forget(uid)
			op.budget.Forget(uid)
			op.snds.Forget(uid)
		},
	}
	if err := SetupNodes(ctx, op.mgr, op.nodes, options(op.NodeWorkers)); err != nil {
		return err
	}
	if err := SetupDeployments(op.mgr, op.snds, options(op.DeploymentWorkers)); err != nil {
		return err
	}
	if err := op.mgr.Add(op.settings); err != nil {
		return fmt.Errorf("adding the settings: %w", err)
	}
	if err := op.mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("adding the health probe: %w", err)
	}
	if err := op.mgr.AddReadyzCheck("caches", op.cachesSynced); err != nil {
		return fmt.Errorf("adding the readiness probe: %w", err)
	}
	return nil
}

// cachesSynced is the readiness probe: a replica that does not lead is ready to.
func (op *operator) cachesSynced(r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	if !op.mgr.GetCache().WaitForCacheSync(ctx) {
		return errors.New("the caches are not filled yet")
	}
	return nil
}

func (op *operator) leads() bool {
	select {
	case <-op.mgr.Elected():
		return true
	default:
		return false
	}
}

// planEnded observes and logs a plan that ended.
func (op *operator) planEnded(node *v1alpha1.SeiNode, p *v1alpha1.Plan, outcome v1alpha1.PlanPhase) {
	op.metrics.PlanEnded(node, p, outcome)
	detail := ""
	if last := node.Status.LastPlan; last != nil && last.ID == p.ID {
		detail = last.Detail
	}
	op.Log.Info("plan ended", "namespace", node.Namespace, "node", node.Name, "plan", p.ID, "kind", p.Kind, "causes", p.Causes,
		"outcome", outcome, "detail", detail)
}

// wakeAll queues every node: the settings changed.
func (op *operator) wakeAll(ctx context.Context) {
	if !op.leads() {
		return
	}
	var nodes v1alpha1.SeiNodeList
	if err := op.mgr.GetClient().List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		op.Log.Error(err, "listing SeiNodes for new settings")
		return
	}
	for i := range nodes.Items {
		op.wake.Wake(client.ObjectKeyFromObject(&nodes.Items[i]))
	}
}
