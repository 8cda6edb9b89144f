package drive

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/pkg/engine/lock"
	"sei.io/seictl/pkg/operator"
)

// Holding says whether we drive: otherwise an operator does, and we watch.
func (d *Driver) Holding() bool { return d.held != nil }

// HeldContext ends when the Lease is lost, and with ctx of Acquire; nil when we do not drive.
func (d *Driver) HeldContext() context.Context {
	if d.held == nil {
		return nil
	}
	return d.held.Context()
}

// Nodes runs the operator's reconciler over nodes until ctx ends or the Lease is lost. seen is told of every pass.
func (d *Driver) Nodes(ctx context.Context, keys []types.NamespacedName, seen func(operator.NodeUpdate)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(d.held.Context(), cancel)
	defer stop()
	return operator.Drive(ctx, operator.DriveOptions{
		Config: d.Cluster.Config, Nodes: keys, Settings: d.Settings, PortForward: d.PortForward, RetryNow: true, OnUpdate: seen,
		Lost: lostOf(d.held),
	})
}

// lostOf says whether a Lease was lost. It outlives Release: who asks may be late.
func lostOf(held *lock.Held) func() bool {
	return func() bool { return errors.Is(context.Cause(held.Context()), lock.ErrLost) }
}
