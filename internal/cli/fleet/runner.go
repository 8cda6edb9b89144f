package fleet

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/internal/cli/drive"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/fleet"
	"sei.io/seictl/pkg/settings"
)

// Times of the loop.
const (
	// saveEvery is how often progress is written at most; what is about to be changed is written before it is.
	saveEvery = 2 * time.Second
	// askEvery is how often a seid is asked for its height, and retryEvery how soon a request that failed is made again.
	askEvery, retryEvery = time.Second, time.Second
	// stepEvery is how often the fleet is looked at at most: a fleet of hundreds tells of something all the time.
	stepEvery = 50 * time.Millisecond
)

// runner carries one rollout out.
type runner struct {
	*factory.Factory
	cluster  *factory.Cluster
	settings settings.Settings
	store    *store
	entry    *entry
	prober   fleet.Prober
	report   *reporter
	flags    *DriveFlags
	driver   *drive.Driver

	wake chan struct{}
	// begun says that the rollout was driven, and watches that an operator drives its nodes.
	begun, watches bool
	// saved is when the record was written last, and unsaved says that it changed since.
	saved   time.Time
	unsaved bool
	// told is the record as the reporter was told of it last.
	told *fleet.Record

	mu          sync.Mutex
	nodes       map[types.NamespacedName]*v1alpha1.SeiNode
	deployments map[types.NamespacedName]*v1alpha1.SeiNodeDeployment
	chain       map[types.NamespacedName]fleet.ChainSample
	asked       map[types.NamespacedName]time.Time
	asking      map[types.NamespacedName]bool
	// refused are the nodes whose last pass ended for want of a right.
	refused map[types.NamespacedName]bool
	// remote is the record as somebody elsewhere wrote it.
	remote *corev1.ConfigMap
	fatal  error
}

// run carries the rollout out under the locks until nothing more happens, and takes lost locks again: an API server that was
// away for a while ends no rollout.
func (r *runner) run(ctx context.Context, l *locks) error {
	for {
		err := r.session(ctx, l)
		lost := errors.Is(err, lock.ErrLost)
		if !lost {
			// Without the lock somebody else may be at work, and the record is theirs.
			r.leave(ctx)
		}
		l.release(ctx, r)
		if !lost || ctx.Err() != nil {
			return err
		}
		r.report.say("the lock was lost, as when the API server is away: it is taken again")
		if l, err = r.retake(ctx); err != nil {
			return err
		}
		if err := r.reload(ctx); err != nil {
			l.release(ctx, r)
			return err
		}
	}
}

// reload takes the record as it is now, if somebody else wrote it while we did not hold the locks: they may have driven the
// rollout meanwhile.
func (r *runner) reload(ctx context.Context) error {
	for {
		fresh, err := r.store.get(ctx, r.entry.record.Name)
		if err == nil {
			if fresh.object.ResourceVersion != r.entry.object.ResourceVersion {
				r.entry = fresh
			}
			if err = r.relist(ctx); err == nil {
				return nil
			}
		}
		if !factory.Unreachable(err) {
			return err
		}
		if err := pause(ctx, retryEvery); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// session is one time of holding the locks.
func (r *runner) session(parent context.Context, l *locks) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	for _, held := range []context.Context{l.rollout.Context(), l.driver.HeldContext()} {
		if held != nil {
			stop := context.AfterFunc(held, func() { cancel(context.Cause(held)) })
			defer stop()
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	r.begin()
	r.follow(ctx, &wg)
	if !l.driver.Holding() {
		// An operator that is installed and does not run would have the rollout wait for ever.
		wg.Go(func() {
			if err := l.driver.AwaitLeader(ctx); err != nil {
				r.fail(err)
			}
		})
	}
	for {
		stop, ended := r.drive(ctx, l.driver)
		err := r.loop(ctx)
		if err != nil && ctx.Err() == nil && l.driver.Holding() {
			r.seeThrough(ctx, ended, err)
		}
		stop()
		if err != nil || !l.driver.Holding() {
			return err
		}
		// A pass that was under way when it was decided to stop may have begun a pod cycle.
		if err := r.lookAgain(ctx); err != nil {
			return err
		}
		if len(r.cycling()) == 0 {
			return nil
		}
		r.report.say("a node is in its pod cycle: it is seen through")
	}
}

// cycling are the nodes in a pod cycle.
func (r *runner) cycling() []types.NamespacedName { return fleet.Cycling(r.entry.record, r.view()) }

// seeThrough goes on driving the nodes that are in a pod cycle when the rollout ends early: their seid is down, and without an
// operator nobody else would start it. Nothing more is edited.
func (r *runner) seeThrough(ctx context.Context, ended <-chan struct{}, why error) {
	for told := false; ; told = true {
		left := slices.DeleteFunc(r.cycling(), r.isRefused)
		if len(left) == 0 {
			return
		}
		if !told {
			r.report.say("%s; %s in a pod cycle: seen through first", why, few(names(left)))
		}
		select {
		case <-ctx.Done():
			return
		case <-ended:
			return
		case <-r.wake:
		}
	}
}

// isRefused says whether a node cannot be driven for want of a right.
func (r *runner) isRefused(key types.NamespacedName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused[key]
}

func names(keys []types.NamespacedName) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = k.String()
	}
	return out
}

// drive runs passes over the nodes, where no operator does, until stop is called or they cannot be run any more.
func (r *runner) drive(ctx context.Context, d *drive.Driver) (stop func(), ended <-chan struct{}) {
	if !d.Holding() {
		return func() {}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	keys, done := r.entry.record.Keys(), make(chan struct{})
	go func() {
		defer close(done)
		if err := d.Nodes(ctx, keys, r.passed); err != nil && ctx.Err() == nil {
			r.fail(err)
		}
	}()
	return func() {
		cancel()
		<-done
	}, done
}

func (r *runner) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chain, r.asked = map[types.NamespacedName]fleet.ChainSample{}, map[types.NamespacedName]time.Time{}
	r.asking, r.refused, r.fatal = map[types.NamespacedName]bool{}, map[types.NamespacedName]bool{}, nil
	self := lock.Self(lock.KindCLI)
	r.entry.record.Driver = self.Display()
	r.entry.record.Resumed(r.Now())
	r.begun = true
	// Whoever looks or pauses from elsewhere must see that somebody is at work.
	r.unsaved, r.told = true, r.entry.record.Clone()
}

// leave notes that nobody drives the rollout any more.
func (r *runner) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	r.entry.record.Driver = ""
	if err := r.store.save(ctx, r.entry); err != nil && !errors.Is(err, errNoRecord) {
		r.report.warn("the record of the rollout was not written: " + err.Error())
	}
}

// loop steps whenever something happened.
func (r *runner) loop(ctx context.Context) error {
	for {
		begun := time.Now()
		d, again, err := r.pass(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case d.Ended:
			return nil
		}
		if err := pause(ctx, stepEvery-time.Since(begun)); err != nil {
			return err
		}
		timer := time.NewTimer(r.until(d, again))
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// until is how long nothing need be done if nothing happens.
func (r *runner) until(d fleet.Decision, again bool) time.Duration {
	wait := time.Hour
	if again {
		wait = retryEvery
	}
	if len(d.Probes) > 0 {
		wait = min(wait, askEvery)
	}
	if !d.WakeAt.IsZero() {
		wait = min(wait, d.WakeAt.Sub(r.Now()))
	}
	if r.unsaved {
		wait = min(wait, saveEvery)
	}
	return max(wait, 10*time.Millisecond)
}

// pass is one look at the fleet, and what follows from it. again says that something has to be tried again.
func (r *runner) pass(ctx context.Context) (d fleet.Decision, again bool, err error) {
	if err := r.adoptRemote(); err != nil {
		return d, false, err
	}
	old := r.entry.record
	for {
		next := r.entry.record.Clone()
		d = fleet.Step(next, r.view())
		same := reflect.DeepEqual(next, r.entry.record)
		r.entry.record = next
		if same || d.Ended {
			break
		}
		r.unsaved = true
	}
	// Somebody elsewhere may have changed the state since the last pass.
	r.report.progress(r.told, r.entry.record)
	r.told = r.entry.record.Clone()
	urgent := d.Ended || len(d.Edits) > 0 || len(d.Retries) > 0 || old.State != r.entry.record.State
	if urgent || (r.unsaved && r.Now().Sub(r.saved) >= saveEvery) {
		switch err := r.store.save(ctx, r.entry); {
		case errors.Is(err, errNoRecord):
			return fleet.Decision{}, false, r.deleted()
		case err != nil:
			return fleet.Decision{}, true, r.transient(ctx, err)
		}
		r.saved, r.unsaved = r.Now(), false
		if d.Ended || r.entry.record.State != fleet.Running {
			// Somebody may have paused it right now: what was decided before does not count any more.
			return d, !d.Ended, nil
		}
	}
	again, err = r.carryOut(ctx, d)
	return d, again, err
}

// transient lets errors pass that may be gone when the request is made again.
func (r *runner) transient(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// A webhook that says no answers 400 unless it says otherwise.
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsUnauthorized(err) ||
		apierrors.IsRequestEntityTooLargeError(err) {
		return err
	}
	r.report.trouble(err)
	return nil
}

// errDeleted says that the record was taken away while the rollout was driven.
var errDeleted = errors.New("was deleted: nothing more is changed")

// deleted says that the record is not there any more.
func (r *runner) deleted() error {
	return fmt.Errorf("the record of the rollout, ConfigMap %s/%s, %w; next: seictl fleet plan --chain %s",
		settings.Namespace, r.entry.record.Name, errDeleted, r.entry.record.Chain)
}

func (r *runner) adoptRemote() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case errors.Is(r.fatal, errNoRecord):
		return r.deleted()
	case r.fatal != nil:
		return r.fatal
	}
	cm := r.remote
	r.remote = nil
	if cm == nil || !newer(cm.ResourceVersion, r.entry.object.ResourceVersion) {
		return nil
	}
	fresh, err := decode(cm)
	if err != nil {
		return err
	}
	r.entry.adopt(fresh)
	r.unsaved = true
	return nil
}

func (r *runner) fail(err error) {
	r.mu.Lock()
	r.fatal = err
	r.mu.Unlock()
	r.poke()
}

func (r *runner) poke() {
	select {
	case r.wake <- struct{}{}:
	default: // it is awake already
	}
}
