package lock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

var (
	// ErrLost is the cause of a Held's context when the Lease was lost.
	ErrLost = errors.New("lost the engine's Lease")
	// ErrReleased is the cause of a Held's context after Release.
	ErrReleased = errors.New("the engine's Lease was released")
)

// HeldError says that another driver holds the Lease and is alive.
type HeldError struct {
	Holder Holder
	// Since is when it took the Lease and RenewedAt when it renewed it last, by its own clock.
	Since, RenewedAt time.Time
	// WaitedFor is how long Acquire waited.
	WaitedFor time.Duration
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("%s is driving since %s (renewed %s, waited %s)", e.Holder.Display(),
		e.Since.UTC().Format(time.RFC3339), e.RenewedAt.UTC().Format(time.RFC3339), e.WaitedFor.Round(100*time.Millisecond))
}

// AcquireOptions of one Acquire.
type AcquireOptions struct {
	// Timeout is how long to wait for a holder that is alive; zero gives up as soon as one is seen to be. A holder of which
	// nothing is heard is waited for until its LeaseDuration is over, and then taken over, whatever the Timeout.
	Timeout time.Duration
}

// Held is the Lease in hand. It is renewed until Release, even after the context of Acquire ended: who holds it may have
// to finish something.
type Held struct {
	lock   *Lock
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   context.CancelFunc
	done   <-chan struct{} // closed when renewing has ended

	release sync.Once
	err     error
}

// Context is cancelled when the Lease is lost (cause ErrLost) or released, or when the context of Acquire ends.
func (h *Held) Context() context.Context { return h.ctx }

// Release gives the Lease up, so that the next driver need not wait. Call it when nothing that needs the Lease runs any
// more, with a context that is not the cancelled one.
func (h *Held) Release(ctx context.Context) error {
	h.release.Do(func() {
		h.cancel(ErrReleased)
		h.stop()
		select {
		case <-h.done:
			h.lock.watch(nil)
			h.err = h.lock.giveUp(ctx)
		case <-ctx.Done():
			h.err = fmt.Errorf("releasing the engine's Lease: %w", context.Cause(ctx))
		}
	})
	return h.err
}

// giveUp empties the record if it is ours.
func (l *Lock) giveUp(ctx context.Context) error {
	for {
		record, _, err := l.inner.Get(ctx)
		if apierrors.IsNotFound(err) || err == nil && record.HolderIdentity != l.Identity() {
			return nil
		}
		if err == nil {
			record.HolderIdentity, record.LeaseDurationSeconds = "", 1
			err = l.inner.Update(ctx, *record)
		}
		if !apierrors.IsConflict(err) {
			if err != nil {
				return fmt.Errorf("releasing the engine's Lease: %w", err)
			}
			return nil
		}
	}
}

// Acquire takes the Lease. The error is a *HeldError when another driver is alive and holds it.
func (l *Lock) Acquire(ctx context.Context, opts AcquireOptions) (*Held, error) {
	a := &attempt{lock: l, timeout: opts.Timeout, begun: time.Now(), news: make(chan struct{}, 1)}
	if !l.watch(a.observe) {
		return nil, errors.New("this lock is held or being acquired already")
	}
	started, done := make(chan struct{}), make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          l,
		Name:          Name,
		LeaseDuration: l.opts.LeaseDuration,
		RenewDeadline: l.opts.RenewDeadline,
		RetryPeriod:   l.opts.RetryPeriod,
		// client-go releases before it says that the Lease is lost, which in an outage can take longer than the Lease lasts.
		ReleaseOnCancel: false,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(started) },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		l.watch(nil)
		return nil, fmt.Errorf("configuring the lock: %w", err)
	}
	held := &Held{lock: l, done: done}
	held.ctx, held.cancel = context.WithCancelCause(ctx)
	// client-go logs every step for an operator to read; a CLI tells its own story.
	quiet := klog.NewContext(context.WithoutCancel(ctx), klog.Logger{})
	run, stop := context.WithCancel(quiet)
	held.stop = stop
	a.lost = func(err error) { held.cancel(err); stop() }
	go func() {
		defer close(done)
		elector.Run(run)
		held.cancel(ErrLost)
	}()
	if err := a.wait(ctx, started); err != nil {
		stop()
		<-done
		l.watch(nil)
		if elector.IsLeader() { // it came after all, too late
			return nil, errors.Join(err, l.giveUp(quiet))
		}
		return nil, err
	}
	return held, nil
}

// attempt is what one Acquire knows of the Lease.
type attempt struct {
	lock    *Lock
	timeout time.Duration
	begun   time.Time
	news    chan struct{}
	lost    func(error)

	mu       sync.Mutex
	first    string // the first record of another holder, raw
	other    *Record
	alive    bool // its record changed while we watched
	answered bool
	leading  bool
	err      error
}

// wait returns nil when the Lease is ours, or why it will not be.
func (a *attempt) wait(ctx context.Context, started <-chan struct{}) error {
	patience := time.NewTimer(a.timeout)
	defer patience.Stop()
	unreachable := time.NewTimer(max(a.timeout, a.lock.opts.RenewDeadline))
	defer unreachable.Stop()
	expired, silent := false, false
	for {
		select {
		case <-started:
			a.mu.Lock()
			a.leading = true
			a.mu.Unlock()
			return nil
		case <-ctx.Done():
			return fmt.Errorf("acquiring the engine's Lease: %w", context.Cause(ctx))
		case <-a.news:
		case <-patience.C:
			expired = true
		case <-unreachable.C:
			silent = true
		}
		if err := a.verdict(expired, silent); err != nil {
			return err
		}
	}
}

// verdict says why waiting on is of no use; nil while it is.
func (a *attempt) verdict(expired, silent bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var fatal fatalError
	switch {
	case errors.As(a.err, &fatal):
		return fatal.error
	case silent && !a.answered && a.err != nil:
		return a.err
	case expired && a.alive && a.other != nil:
		return &HeldError{Holder: a.other.Holder, Since: a.other.Since, RenewedAt: a.other.RenewedAt,
			WaitedFor: time.Since(a.begun)}
	}
	return nil
}

// observe takes in what a request to the Lease came to.
func (a *attempt) observe(o observation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = o.err
	if o.err == nil {
		a.answered = true
	}
	if o.record != nil {
		a.read(o.record, o.raw)
	}
	select {
	case a.news <- struct{}{}:
	default: // the last news is not read yet
	}
}

func (a *attempt) read(record *resourcelock.LeaderElectionRecord, raw string) {
	if record.HolderIdentity == "" || record.HolderIdentity == a.lock.Identity() {
		a.first, a.other, a.alive = "", nil, false
		return
	}
	r := newRecord(record)
	a.other = &r
	switch {
	case a.leading: // at once, not at the end of the RenewDeadline: the other one drives already
		a.lost(fmt.Errorf("%w: %s holds it now", ErrLost, r.Holder.Display()))
	case a.first == "":
		a.first = raw
	case a.first != raw:
		a.alive = true
	}
}
