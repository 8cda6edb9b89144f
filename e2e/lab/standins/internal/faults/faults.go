// Package faults holds the faults of the container that a stand-in runs in: package kinds lists what there is.
//
// A stand-in asks the lab's registry once before it listens and then long-polls it, so that a fault works from the
// very first answer on and can be set and lifted while a pod runs. A registry that does not answer means: no faults.
package faults

import (
	"sync"

	registry "sei.io/seictl/e2e/lab/faults"
)

// Source holds the faults in force now. The zero value has none.
type Source struct {
	mu      sync.Mutex
	state   registry.State
	changed chan struct{}
}

// NewSource returns a source with the given faults, all without parameters.
func NewSource(kinds ...string) *Source {
	s := &Source{}
	for _, kind := range kinds {
		s.state.Faults = append(s.state.Faults, registry.Fault{Kind: kind})
	}
	return s
}

// Store replaces the faults and wakes everybody who waits on Changed.
func (s *Source) Store(state registry.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Current returns the faults in force.
func (s *Source) Current() registry.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Get returns the fault of a kind that is in force.
func (s *Source) Get(kind string) (registry.Fault, bool) { return s.Current().Get(kind) }

// Has says whether a fault of a kind is in force.
func (s *Source) Has(kind string) bool {
	_, ok := s.Get(kind)
	return ok
}

// Changed is closed at the next Store. Take it before reading the faults it is to guard, or a change is missed.
func (s *Source) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}
