package drive

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/operator"
	"sei.io/seictl/pkg/settings"
)

// OperatorDeployment is what an operator is installed as, in the platform's namespace.
const OperatorDeployment = "seictl-operator"

// Driver sees nodes through.
type Driver struct {
	Cluster  *factory.Cluster
	Settings settings.Settings
	Progress *Progress
	// Now tells the time.
	Now func() time.Time
	// LockTimeout is how long to wait for another driver that is alive.
	LockTimeout time.Duration
	// IgnoreDeployment drives although an operator is installed; never beside one that holds the Lease.
	IgnoreDeployment bool
	// PortForward reaches pods from outside the cluster.
	PortForward bool

	held *lock.Held
	// peekLeader stands in for a look at the Lease in tests.
	peekLeader func(context.Context) (*lock.Record, error)
}

// Result is how a node came out.
type Result struct {
	Key types.NamespacedName
	Verdict
	// Node as it was seen last; nil when it is gone.
	Node *v1alpha1.SeiNode
}

// Mode says who drives.
type Mode struct {
	// Watch says that an operator drives, and Why.
	Watch bool
	Why   string
	// NoOperator says that none is installed.
	NoOperator bool
}

// Acquire decides who drives and, when it is us, takes the Lease. Call Release after it.
func (d *Driver) Acquire(ctx context.Context) (Mode, error) {
	installed, known, err := d.operatorInstalled(ctx)
	if err != nil {
		return Mode{}, err
	}
	if installed && !d.IgnoreDeployment {
		return Mode{Watch: true, Why: fmt.Sprintf("an operator is installed (Deployment %s/%s) and drives; this command watches",
			lock.Namespace, OperatorDeployment)}, nil
	}
	l, err := lock.NewForConfig(d.Cluster.Config, lock.Self(lock.KindCLI), lock.Options{})
	if err != nil {
		return Mode{}, fmt.Errorf("preparing the lock: %w", err)
	}
	if r, err := l.Peek(ctx); err == nil && r != nil && r.Holder.Kind == lock.KindOperator && !r.Expired(d.Now()) {
		return Mode{Watch: true, Why: r.Holder.Display() + " drives; this command watches"}, nil
	}
	d.held, err = l.Acquire(ctx, lock.AcquireOptions{Timeout: d.LockTimeout})
	var held *lock.HeldError
	switch {
	case errors.As(err, &held) && held.Holder.Kind == lock.KindOperator:
		return Mode{Watch: true, Why: held.Holder.Display() + " drives; this command watches"}, nil
	case errors.As(err, &held):
		return Mode{}, exit.Errorf(exit.LockHeld, "another driver is at work: %w; nothing was changed; next: wait for it, or run again with --lock-timeout 10m", err)
	case err != nil:
		return Mode{}, err
	}
	return Mode{NoOperator: known && !installed}, nil
}

// Release gives the Lease back, if it was taken.
func (d *Driver) Release(ctx context.Context) error {
	if d.held == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := d.held.Release(ctx)
	d.held = nil
	return err
}

func (d *Driver) operatorInstalled(ctx context.Context) (installed, known bool, err error) {
	var deployment appsv1.Deployment
	err = d.Cluster.Client.Get(ctx, client.ObjectKey{Namespace: lock.Namespace, Name: OperatorDeployment}, &deployment)
	switch {
	case err == nil:
		return deployment.Spec.Replicas == nil || *deployment.Spec.Replicas > 0, true, nil
	case apierrors.IsNotFound(err):
		return false, true, nil
	case apierrors.IsForbidden(err):
		// The Lease still keeps two drivers apart.
		return false, false, nil
	}
	return false, false, d.Cluster.Explain(err, "get", "deployments", lock.Namespace, OperatorDeployment)
}

// Run sees every goal through and returns the results in their order. Without the Lease it watches. The error is the cause
// of ctx when that ended first; results say then how far each node is.
func (d *Driver) Run(ctx context.Context, goals []Goal) ([]Result, error) {
	parent := ctx
	if d.held != nil {
		parent = d.held.Context()
	}
	runCtx, stop := context.WithCancel(parent)
	defer stop()
	t := &tracker{goals: goals, results: make([]Result, len(goals)), progress: d.Progress, done: stop}
	for i, g := range goals {
		t.results[i] = Result{Key: g.Key, Verdict: Verdict{State: Working}}
	}
	defer d.Progress.Close()
	var err error
	if d.held != nil {
		err = d.drive(runCtx, t)
	} else {
		err = d.watch(runCtx, t)
	}
	switch {
	case t.complete():
		return t.results, nil
	case t.failure() != nil:
		return t.results, t.failure()
	case ctx.Err() != nil:
		return t.results, context.Cause(ctx)
	case parent.Err() != nil:
		return t.results, context.Cause(parent)
	case err == nil:
		err = errors.New("the driver ended before the nodes were done")
	}
	return t.results, err
}

func (d *Driver) drive(ctx context.Context, t *tracker) error {
	keys := make([]types.NamespacedName, len(t.goals))
	for i, g := range t.goals {
		keys[i] = g.Key
	}
	return operator.Drive(ctx, operator.DriveOptions{
		Config: d.Cluster.Config, Nodes: keys, Settings: d.Settings, PortForward: d.PortForward, RetryNow: true,
		OnUpdate: func(u operator.NodeUpdate) { t.update(u) }, Lost: lostOf(d.held),
	})
}

// tracker collects what passes bring until every goal is reached.
type tracker struct {
	mu       sync.Mutex
	goals    []Goal
	results  []Result
	progress *Progress
	done     func()
	fatal    error
	denied   int
}

// patience is how many passes in a row may end in a refusal by the API server's authorization.
const patience = 3

func (t *tracker) update(u operator.NodeUpdate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.index(u.Key)
	if i < 0 || t.results[i].State != Working || t.fatal != nil {
		return
	}
	switch {
	case u.Node == nil:
		t.set(i, nil, Verdict{State: Failed, Detail: "the node was deleted"})
	case u.Err != nil:
		t.failedPass(i, u)
	default:
		t.denied = 0
		o := u.Outcome
		v := t.goals[i].judge(u.Node, o.Idle, o.Detail, o.Settled)
		if v.State == Working && o.Awaits != "" {
			v = t.goals[i].asleep(u.Node, o.Awaits, time.Now())
		}
		if v.State == Working && o.Idle == "" && o.Detail != "" && !u.Node.Status.Plan.Active() {
			// Another controller writes the node: no pass will go on.
			v = Verdict{State: Failed, Detail: o.Detail}
		}
		t.set(i, u.Node, v)
	}
}

func (t *tracker) failedPass(i int, u operator.NodeUpdate) {
	if apierrors.IsForbidden(u.Err) {
		if t.denied++; t.denied >= patience {
			t.fatal = fmt.Errorf("%s: %w; next: ask for the ClusterRole seictl-driver in that namespace", u.Key, u.Err)
			t.done()
			return
		}
	}
	t.results[i].Node = u.Node
	t.progress.Node(u.Key, u.Node, "retrying after: "+u.Err.Error())
}

func (t *tracker) set(i int, node *v1alpha1.SeiNode, v Verdict) {
	t.results[i].Node, t.results[i].Verdict = node, v
	if node != nil {
		detail := v.Detail
		if v.State != Working {
			detail = ""
		}
		t.progress.Node(t.goals[i].Key, node, detail)
	}
	for i := range t.results {
		if t.results[i].State == Working {
			return
		}
	}
	t.done()
}

func (t *tracker) index(key types.NamespacedName) int {
	for i := range t.goals {
		if t.goals[i].Key == key {
			return i
		}
	}
	return -1
}

func (t *tracker) complete() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.results {
		if t.results[i].State == Working {
			return false
		}
	}
	return true
}
