package fleet

import (
	"fmt"
	"strings"
	"time"
)

// Times of the bake.
const (
	// watchEvery is how often a canary's seid is asked for its height in the bake, and lookFor how long it may take to show
	// that it moves.
	watchEvery, lookFor = 30 * time.Second, 15 * time.Second
)

// unproven stops a rollout whose canaries came to their end without one that runs the change: what they were to show is not
// known. Where all of them are gone and nothing else is to be changed there was nothing to show.
func (s *stepper) unproven() bool {
	var reasons []string
	nodes, left := map[string][]string{}, false
	for i := range s.Nodes {
		n := &s.Nodes[i]
		left = left || !n.Outcome.Ended() && s.view.Nodes[n.Key()] != nil
		switch {
		case n.Wave != 0:
			continue
		case n.Outcome == Done:
			return false
		case nodes[n.Detail] == nil:
			reasons = append(reasons, n.Detail)
		}
		left = left || !n.Gone
		nodes[n.Detail] = append(nodes[n.Detail], n.Key().String())
	}
	if !left {
		return false
	}
	for i, why := range reasons {
		reasons[i] = list(nodes[why]) + ": " + why
	}
	s.stop(Failed, "no canary was proven: "+strings.Join(reasons, "; "))
	return true
}

// bake says whether the canaries were watched for long enough. When they were, they pass their gates once more.
func (s *stepper) bake() bool {
	if s.Baked {
		return true
	}
	now := s.view.Now
	if s.BakeFrom == nil {
		s.BakeFrom = &now
	}
	if until := s.BakeFrom.Add(s.Strategy.Bake); now.Before(until) {
		s.wake(until)
		for i := range s.Nodes {
			if n := &s.Nodes[i]; n.Wave == 0 && n.Outcome == Done {
				s.watch(n)
			}
		}
		s.checkBudget()
		return false
	}
	s.Baked = true
	if s.Strategy.Bake <= 0 {
		return true
	}
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Wave == 0 && n.Outcome == Done {
			at := now
			n.Outcome, n.Detail, n.AtTargetAt, n.EndedAt = Verifying, "the bake is over: its health gate once more", &at, nil
			s.observe(n)
		}
	}
	return false
}

// baking says whether the canaries are being watched.
func (r *Record) baking() bool { return r.BakeFrom != nil && !r.Baked }

// watch judges a canary in the bake. One that is not healthy has to pass its gate again, in the time that a gate has; the bake
// goes on meanwhile.
func (s *stepper) watch(n *NodeRecord) {
	now := s.view.Now
	if n.AtTargetAt == nil || now.Sub(*n.AtTargetAt) >= watchEvery {
		n.AtTargetAt = &now
	}
	look, probes := *n.AtTargetAt, len(s.out.Probes)
	seen := *n
	s.patient = true
	outcome, why := s.judge(&seen)
	s.patient = false
	asking := outcome == Verifying && len(s.out.Probes) > probes
	switch {
	case outcome == Done:
		s.wake(look.Add(watchEvery))
		return
	case asking && now.Sub(look) <= lookFor:
		s.wake(look.Add(lookFor + time.Second))
		return
	case !outcome.Ended():
		seen.FellAt, seen.Fell, seen.EndedAt = &now, why, nil
		if !asking && seen.AtTargetAt != nil {
			seen.AtTargetAt = &now
		}
	}
	*n = seen
	s.came(n, outcome, why)
}

// recovered tells of a canary that was not healthy for a while in the bake; empty for any other node.
func (n *NodeRecord) recovered(now time.Time) string {
	if n.FellAt != nil {
		n.Fell = fmt.Sprintf("it was not healthy for %s in the bake: %s", now.Sub(*n.FellAt).Round(time.Second), n.Fell)
		n.FellAt = nil
	}
	return n.Fell
}
