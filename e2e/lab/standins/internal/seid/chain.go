package seid

import (
	"context"
	"sync"
	"time"

	"sei.io/seictl/e2e/lab/standins/internal/faults"
	"sei.io/seictl/e2e/lab/standins/kinds"
)

// chain is the state that a real seid would have from its peers: a height that grows.
type chain struct {
	home   home
	faults *faults.Source

	// interval, when not 0, has the height follow the clock instead of ticks: thousands of chains in one process need no
	// timers and write no files.
	interval time.Duration

	mu     sync.Mutex
	height int64
	// blockTime is when the latest block was made, in UTC.
	blockTime time.Time
	stuck     bool
}

// openChain continues at the height that the home persisted.
func openChain(h home, source *faults.Source, now time.Time) (*chain, error) {
	height, err := h.height()
	if err != nil {
		return nil, err
	}
	return &chain{home: h, faults: source, height: height, blockTime: now.UTC()}, nil
}

// run makes a block at every tick until ctx ends.
func (c *chain) run(ctx context.Context, ticks <-chan time.Time) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticks:
			if err := c.makeBlock(now); err != nil {
				return err
			}
		}
	}
}

// makeBlock persists the next height before anybody can see it, so that no restart goes back behind a height that was
// reported.
func (c *chain) makeBlock(now time.Time) error {
	if c.faults.Has(kinds.StuckHeight) {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.home.storeHeight(c.height + 1); err != nil {
		return err
	}
	c.height++
	c.blockTime = now.UTC()
	return nil
}

func (c *chain) latest() (int64, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follow(time.Now())
	return c.height, c.blockTime
}

// follow makes the blocks that are due by the clock; the caller holds the lock.
func (c *chain) follow(now time.Time) {
	if c.interval == 0 {
		return
	}
	due := now.Sub(c.blockTime) / c.interval
	if due <= 0 {
		return
	}
	c.blockTime = c.blockTime.Add(due * c.interval)
	if !c.stuck {
		c.height += int64(due)
	}
}

// setStuck makes a chain that follows the clock stop, or go on, from now on.
func (c *chain) setStuck(stuck bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.follow(now)
	c.stuck = stuck
}

// store persists the height of a chain that follows the clock.
func (c *chain) store() error {
	height, _ := c.latest()
	return c.home.storeHeight(height)
}

func (c *chain) catchingUp() bool { return c.faults.Has(kinds.CatchingUp) }
