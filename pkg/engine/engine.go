package engine

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/drift"
	"sei.io/seictl/pkg/plan"
	"sei.io/seictl/pkg/settings"
	"sei.io/seictl/pkg/sidecar"
	"sei.io/seictl/pkg/tasks"
)

// FieldManager of the engine's status patches.
const FieldManager = tasks.FieldManager

// Recorder publishes events about nodes.
type Recorder interface {
	// Event publishes one event of type Normal or Warning.
	Event(node *v1alpha1.SeiNode, eventType, reason, message string)
}

// Budget hands out the slots of a chain for pod cycles.
type Budget interface {
	// Acquire takes a slot for a plan's pod cycle, or says in one line what it waits for. Taking it twice is harmless.
	Acquire(ctx context.Context, node *v1alpha1.SeiNode, p *v1alpha1.Plan) (ok bool, waitsFor string)
	// Observe tells of a node after a pass, so that a slot whose cycle ended is given back.
	Observe(node *v1alpha1.SeiNode, podReady bool)
	// Leave tells that a pass over a node ended without its asking for a slot in vain: it does not wait for one any more.
	Leave(uid types.UID)
}

// Options of an Engine.
type Options struct {
	// Client writes, and reads from a cache where it has one.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Sidecar opens connections to sidecars.
	Sidecar *sidecar.Connector
	// Settings of the platform, read at every pass.
	Settings func() settings.Settings
	// Now tells the time; time.Now when nil.
	Now func() time.Time
	// Recorder of events; none when nil.
	Recorder Recorder
	// Budget for pod cycles; none when nil.
	Budget Budget
	// ServedCheckInterval is how often the certificate that a settled node serves is looked at; DefaultServedCheckInterval
	// when zero, never when negative: then only if something happened.
	ServedCheckInterval time.Duration
	// OnPlanEnd is told of every plan that ended, after the status was written; may be nil.
	OnPlanEnd func(node *v1alpha1.SeiNode, p *v1alpha1.Plan, outcome v1alpha1.PlanPhase)
}

// Engine runs passes. It is safe for use by several goroutines, one per node.
type Engine struct {
	opts     Options
	verdicts verdictCache
	wire     wire
	looks    *looks
	// progress bounds how often mere progress is written.
	progress *rate.Limiter

	mu sync.Mutex
	// latest is what is known of a node beyond the cache.
	latest map[types.UID]known
	// driven are the plans that this process has run a task of.
	driven map[types.UID]string
	// retryNow are the nodes whose next attempt starts without waiting for its backoff.
	retryNow map[types.NamespacedName]bool
}

// wire is what a pass does besides reading and writing the node: tests script it.
type wire struct {
	run    func(context.Context, *tasks.Env, tasks.Input) (tasks.Result, error)
	health func(context.Context, *tasks.Env, *v1alpha1.SeiNode, *corev1.Pod) (int, error)
	served func(context.Context, *tasks.Env, *v1alpha1.SeiNode, *corev1.Pod, *certs.Verdict) (*x509.Certificate, error)
}

// New returns an Engine.
func New(o Options) *Engine {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Engine{
		opts: o, wire: wire{run: tasks.Run, health: tasks.Health, served: tasks.ServedLeaf}, looks: newLooks(o.ServedCheckInterval),
		progress: rate.NewLimiter(progressPerSecond, progressBurst),
		latest:   map[types.UID]known{}, driven: map[types.UID]string{}, retryNow: map[types.NamespacedName]bool{},
	}
}

// Outcome is what a pass brought.
type Outcome struct {
	// Node as it is after the pass.
	Node *v1alpha1.SeiNode
	// Changed says that the status was written.
	Changed bool
	// Idle says why nothing runs although something is due, and Detail in words.
	Idle   plan.IdleReason
	Detail string
	// RequeueAfter asks for another pass where no watch can tell; zero when a watch will, negative for at once.
	RequeueAfter time.Duration
	// Settled says that no plan is active or due, and that none is about to be: the sidecar answers.
	Settled bool
	// Awaits says what a node with nothing due waits for, whose sidecar does not answer: its pod may be coming up, and will
	// need to be marked ready.
	Awaits string
	// ServedTrouble says why it is not seen any more that a node serves what its Secret holds.
	ServedTrouble string
	// Warnings for whoever reads the status.
	Warnings []string
}

// Immediately is the RequeueAfter that asks for another pass at once.
const Immediately time.Duration = -1

// RetryNow makes the next attempt for a node start without waiting for its backoff, once.
func (e *Engine) RetryNow(key types.NamespacedName) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.retryNow[key] = true
}

// Forget drops what is remembered of a node that is gone.
func (e *Engine) Forget(uid types.UID) {
	e.verdicts.forget(uid)
	e.looks.forget(uid)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.latest, uid)
	delete(e.driven, uid)
}

// pass is the state of one pass.
type pass struct {
	*Engine
	// orig is what the API server has, node the copy that the pass works on.
	orig, node *v1alpha1.SeiNode
	// working is what the pass began with: orig with the progress that is not written yet.
	working *v1alpha1.SeiNode
	// cached says that orig is what the cache has.
	cached bool
	// unwrittenSince is when progress was first kept back from the status, and unwrittenUntil when it is written; zero when none
	// is, or when that is not decided.
	unwrittenSince, unwrittenUntil time.Time
	// queued says that the pass asked for a slot of the budget in vain.
	queued bool
	// retried says that the next attempt was asked for, without waiting for its backoff.
	retried bool
	// mustWrite says that the status is written now, whatever changed.
	mustWrite bool
	settings  settings.Settings
	snapshot  *drift.Snapshot
	report    drift.Report
	decision  plan.Decision
	out       Outcome
	now       time.Time
	// ended are the plans that ended in this pass.
	ended []endedPlan
	// nextWake is the earliest time at which something becomes due by itself.
	nextWake time.Time
}

type endedPlan struct {
	plan    *v1alpha1.Plan
	outcome v1alpha1.PlanPhase
}

// Pass runs one pass over a node: gather, resolve, run, write. A conflict comes back as the API server's error: the
// caller queues the node again.
func (e *Engine) Pass(ctx context.Context, node *v1alpha1.SeiNode) (Outcome, error) {
	k := e.freshest(node)
	orig := k.written
	p := &pass{
		Engine: e, orig: orig, cached: orig == node, node: k.working.DeepCopy(), working: k.working, unwrittenSince: k.since, unwrittenUntil: k.until,
		settings: e.opts.Settings(), now: e.opts.Now(),
	}
	if e.opts.Budget != nil {
		defer func() {
			if !p.queued {
				e.opts.Budget.Leave(orig.UID)
			}
		}()
	}
	var err error
	if p.snapshot, err = p.gather(ctx); err != nil {
		return Outcome{Node: orig}, err
	}
	if p.resolve(ctx) {
		p.run(ctx)
	}
	if err := ctx.Err(); err != nil {
		// Whoever drives now must not be written over.
		return Outcome{Node: orig}, context.Cause(ctx)
	}
	p.refreshServed(ctx)
	p.conclude()
	if err := p.write(ctx); err != nil {
		if p.retried {
			e.RetryNow(client.ObjectKeyFromObject(node))
		}
		return Outcome{Node: orig}, err
	}
	consentErr := p.consumeConsent(ctx)
	if p.opts.Budget != nil {
		p.opts.Budget.Observe(p.out.Node, p.snapshot.PodReady())
	}
	return p.out, consentErr
}

// resolve decides what to go on with and says whether there are tasks to run now.
func (p *pass) resolve(ctx context.Context) bool {
	node := p.node
	if p.snapshot.ForeignController != "" {
		p.out.Detail = fmt.Sprintf("%s writes this node as well: stop it before seictl drives the node", p.snapshot.ForeignController)
		return false
	}
	if node.Status.Plan.Active() && !node.Status.Plan.Target.Equal(drift.Target(node)) {
		// What takes a plan's place depends on the live template.
		if err := p.refreshStatefulSet(ctx); err != nil {
			p.out.Detail = err.Error()
			p.wakeAfter(time.Second)
			return false
		}
	}
	p.report = drift.Evaluate(drift.Input{
		Node: node, Snapshot: p.snapshot, Settings: &p.settings, Held: plan.Held(node, p.snapshot),
	})
	d := plan.Resolve(p.input(), plan.Options{IgnoreBackoff: p.takeRetryNow()})
	p.decision = d
	if d.ClearHold {
		node.Status.Hold = nil
	}
	if d.Ended != nil {
		p.endPlan(d.Ended, v1alpha1.PlanSuperseded, supersededDetail(d.Plan))
		node.Status.Plan = nil
	}
	if d.RetryAt != nil {
		p.wakeAt(*d.RetryAt)
	}
	if d.New {
		p.mustWrite = true
		node.Status.Plan = d.Plan
		if d.Plan.Kind == v1alpha1.NodeInit {
			node.Status.Phase = v1alpha1.PhaseInitializing
		}
		// Persisted before its first task runs.
		p.out.RequeueAfter = Immediately
		return false
	}
	return d.Plan != nil
}

func supersededDetail(successor *v1alpha1.Plan) string {
	if successor == nil {
		return "nothing is left to do"
	}
	return "a " + string(successor.Kind) + " took its place"
}

func (p *pass) input() plan.Input {
	return plan.Input{
		Node: p.node, Drift: p.report, Snapshot: p.snapshot, Settings: &p.settings, Now: p.now, ID: uuid.NewString(),
	}
}

func (p *pass) takeRetryNow() bool {
	key := client.ObjectKeyFromObject(p.node)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retried = p.retryNow[key]
	delete(p.retryNow, key)
	return p.retried
}

// endPlan records a plan that ended. A failed plan was summed up when it failed.
func (p *pass) endPlan(ended *v1alpha1.Plan, outcome v1alpha1.PlanPhase, detail string) {
	if ended.Phase == v1alpha1.PlanFailed && outcome == v1alpha1.PlanSuperseded {
		return
	}
	p.node.Status.LastPlan = plan.Summarize(ended, outcome, detail, p.now)
	p.ended = append(p.ended, endedPlan{plan: ended, outcome: outcome})
}

func (p *pass) wakeAt(t time.Time) {
	if p.nextWake.IsZero() || t.Before(p.nextWake) {
		p.nextWake = t
	}
}

// wakeAfter asks for another pass after d.
func (p *pass) wakeAfter(d time.Duration) {
	if d > 0 {
		p.wakeAt(p.now.Add(d))
	}
}
