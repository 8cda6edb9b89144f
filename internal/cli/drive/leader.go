package drive

import (
	"context"
	"fmt"
	"time"

	"sei.io/seictl/internal/cli/exit"
	"sei.io/seictl/pkg/engine/lock"
)

// How often to look whether an operator leads, and how long the Lease may stand unrenewed: a new Pod of the operator
// takes over well within that.
var (
	leaderPeek   = 15 * time.Second
	leaderAbsent = time.Minute
)

// AwaitLeader returns an error when nobody renews the engine's Lease: an operator that is installed and does not run would
// have a command that only watches wait for ever. It returns nil when ctx ends. It compares what it sees with what it saw,
// never the clocks of two machines.
func (d *Driver) AwaitLeader(ctx context.Context) error {
	peek := d.peekLeader
	if peek == nil {
		l, err := lock.NewForConfig(d.Cluster.Config, lock.Self(lock.KindCLI), lock.Options{})
		if err != nil {
			return fmt.Errorf("preparing the lock: %w", err)
		}
		peek = l.Peek
	}
	tick := time.NewTicker(leaderPeek)
	defer tick.Stop()
	var last lock.Record
	unchanged := time.Now()
	for {
		r, err := peek(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil: // nobody knows: the watch has its own patience
			unchanged = time.Now()
		case r != nil && (r.Holder != last.Holder || !r.RenewedAt.Equal(last.RenewedAt)):
			last, unchanged = *r, time.Now()
		case time.Since(unchanged) >= leaderAbsent:
			return exit.Errorf(exit.Failure, "no operator has led for %s: what was changed is stored and waits for one; "+
				"next: kubectl -n %s get pods, or the same command with --drive", leaderAbsent, lock.Namespace)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// failure is why it was given up on the nodes that are not done; nil when it was not.
func (t *tracker) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fatal
}

// end gives up on the nodes that are not done; err says why.
func (t *tracker) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fatal == nil {
		t.fatal = err
	}
	t.done()
}
