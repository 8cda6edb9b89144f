package engine

import (
	"context"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// waiter is a node that waits for a slot. Whoever does not come to ask for it in a pass over the node has left the queue.
type waiter struct {
	uid       types.UID
	key       types.NamespacedName
	chain     string
	validator bool
	since     time.Time
}

// compare orders waiters: the older plan first.
func (w waiter) compare(other waiter) int {
	if c := w.since.Compare(other.since); c != 0 {
		return c
	}
	return strings.Compare(w.key.String(), other.key.String())
}

// ahead is how many wait in the queue before a waiter.
func (b *ChainBudget) ahead(w waiter) int {
	n := 0
	for _, o := range b.waiting {
		// A validator may wait for another validator: nobody else waits for that.
		if o.chain == w.chain && o.uid != w.uid && (w.validator || !o.validator) && o.compare(w) < 0 {
			n++
		}
	}
	return n
}

// wakeNext queues those of a chain whose turn has come: as many as there are slots free, and the validators besides, as they
// may wait for one of theirs. Waking more at every slot that is given back would cost a chain of hundreds more than its pod
// cycles; who is behind looks again after queuePoll.
func (b *ChainBudget) wakeNext(chain string) {
	if b.Wake == nil {
		return
	}
	var line, validators []waiter
	for _, w := range b.waiting {
		switch {
		case w.chain != chain:
		case w.validator:
			validators = append(validators, w)
		default:
			line = append(line, w)
		}
	}
	if len(line) > 0 {
		line = first(line, b.free(chain))
	}
	for _, w := range append(line, first(validators, len(validators))...) {
		b.Wake(w.key)
	}
}

// free is how many slots of a chain nobody takes; one when that cannot be told: whoever is woken finds out.
func (b *ChainBudget) free(chain string) int {
	// It reads a cache, which answers at once: somebody waits, so it was read before. Who gives a slot back has no context.
	members, err := b.members(context.Background(), chain, b.MaxAge)
	if err != nil {
		return 1
	}
	busy := 0
	for i := range members {
		if b.occupies(&members[i]) {
			busy++
		}
	}
	return max(b.limit(chain, len(members))-busy, 0)
}

// first are the n that have waited longest.
func first(line []waiter, n int) []waiter {
	slices.SortFunc(line, waiter.compare)
	return line[:min(n, len(line))]
}
