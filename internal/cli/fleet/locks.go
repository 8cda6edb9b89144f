package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/rest"

	"sei.io/seictl/internal/cli/drive"
	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/internal/cli/factory"
	"sei.io/seictl/pkg/engine/lock"
)

// locks are what a driver of a rollout holds.
type locks struct {
	rollout *lock.Held
	driver  *drive.Driver
}

// leaseName is the Lease of the rollouts of a chain: one at a time, whoever drives the nodes.
func leaseName(chain string) string { return "seictl-rollout-" + chain }

// take takes the locks: that of the chain's rollouts, and the engine's where no operator drives.
func (r *runner) take(ctx context.Context, chain string) (*locks, error) {
	l, err := lock.NewForConfig(r.cluster.Config, lock.Self(lock.KindCLI), lock.Options{Name: leaseName(chain)})
	if err != nil {
		return nil, fmt.Errorf("preparing the lock: %w", err)
	}
	held, err := l.Acquire(ctx, lock.AcquireOptions{Timeout: r.flags.LockTimeout})
	var other *lock.HeldError
	switch {
	case errors.As(err, &other):
		return nil, exit.Errorf(exit.LockHeld, "a rollout of chain %s is under way: %w; %s; next: seictl fleet status --chain %s -w, seictl fleet abort --chain %s to stop it, or run again with --lock-timeout 10m",
			chain, err, r.sofar(), chain, chain)
	case err != nil:
		return nil, err
	}
	d := &drive.Driver{
		Cluster: faster(r.cluster), Settings: r.settings, Now: r.Now, LockTimeout: r.flags.LockTimeout, IgnoreDeployment: r.flags.Drive,
		PortForward: !inCluster(),
	}
	out := &locks{rollout: held, driver: d}
	mode, err := d.Acquire(ctx)
	if err != nil {
		out.release(ctx, r)
		if errors.As(err, &other) {
			return nil, exit.Errorf(exit.LockHeld, "another driver is at work: %w; %s; next: wait for it, or run again with --lock-timeout 10m", other, r.sofar())
		}
		return nil, err
	}
	if r.watches = mode.Watch; mode.Watch {
		r.report.say("%s", mode.Why)
	}
	if mode.NoOperator {
		r.report.warn("no operator is installed: a pod that is rescheduled later waits for somebody's 'seictl node apply'; " +
			"production needs 'seictl operator run'")
	}
	r.driver = d
	return out, nil
}

// sofar says what a driver that does not get its locks has changed.
func (r *runner) sofar() string {
	if !r.begun {
		return "nothing was changed"
	}
	return "what was changed is in the record"
}

// faster is the way to a cluster for a driver of many nodes at once.
func faster(c *factory.Cluster) *factory.Cluster {
	out := *c
	out.Config = rest.CopyConfig(c.Config)
	out.Config.QPS, out.Config.Burst = 200, 400
	return &out
}

func (l *locks) release(ctx context.Context, r *runner) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := errors.Join(l.driver.Release(ctx), l.rollout.Release(ctx)); err != nil && !errors.Is(err, lock.ErrLost) {
		r.report.warn(err.Error())
	}
}

func (r *runner) retake(ctx context.Context) (*locks, error) {
	for {
		l, err := r.take(ctx, r.entry.record.Chain)
		if err == nil || !factory.Unreachable(err) {
			return l, err
		}
		if err := pause(ctx, retryEvery); err != nil {
			return nil, err
		}
	}
}
