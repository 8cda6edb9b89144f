package fleet

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/deployment"
)

// Decision is what a rollout does next.
type Decision struct {
	// Edits to write now, by index of the record's objects.
	Edits map[int]Edit
	// Retries are the requests for another attempt to write, by node.
	Retries map[types.NamespacedName]string
	// Probes are the nodes whose seid has to be asked.
	Probes []types.NamespacedName
	// WakeAt is when to look again although nothing happened; zero for never.
	WakeAt time.Time
	// Ended says that nothing more happens.
	Ended bool
}

// stepper is the state of one Step.
type stepper struct {
	*Record
	view View
	out  Decision
	// patient says that no time runs out.
	patient bool
	// taken are the children that take the slots of a SeiNodeDeployment, once somebody asked.
	taken map[types.NamespacedName][]string
}

// Step brings a record up to date with what is observed, and says what to do next. It changes the record: pass a Clone.
func Step(r *Record, v View) Decision {
	s := &stepper{Record: r, view: v, out: Decision{Edits: map[int]Edit{}, Retries: map[types.NamespacedName]string{}}}
	for i := range s.Nodes {
		s.observe(&s.Nodes[i])
	}
	s.checkBudget()
	if s.State == Running {
		s.advance()
	}
	switch {
	case s.State == Running:
		s.edits()
		s.retries()
	case !s.cycling():
		s.rest()
	}
	return s.out
}

// observe brings one node up to date.
func (s *stepper) observe(n *NodeRecord) {
	if !n.underWay() {
		return
	}
	outcome, detail := s.judge(n)
	s.came(n, outcome, detail)
}

// came takes in how far a node is.
func (s *stepper) came(n *NodeRecord, outcome Outcome, detail string) {
	n.Outcome, n.Detail = outcome, detail
	now := s.view.Now
	if outcome.Ended() {
		n.EndedAt = &now
	}
	switch outcome {
	case Verifying:
		s.wake(n.AtTargetAt.Add(s.Strategy.GateTimeout + time.Second))
	case Done:
		n.Detail = n.recovered(now)
	}
}

func (s *stepper) wake(at time.Time) {
	if s.out.WakeAt.IsZero() || at.Before(s.out.WakeAt) {
		s.out.WakeAt = at
	}
}

// checkBudget ends a rollout whose canary failed or whose failures are too many.
func (s *stepper) checkBudget() {
	if s.State != Running {
		return
	}
	failures := 0
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Outcome != NodeFailed {
			continue
		}
		failures++
		if s.CanaryWave(n.Wave) {
			s.stop(Failed, fmt.Sprintf("canary %s failed", n.Key()))
			return
		}
	}
	if failures > s.Strategy.MaxFailures && !s.Strategy.Continue {
		s.stop(Failed, fmt.Sprintf("%s failed, and --max-failures is %d", count(failures, "node", "nodes"), s.Strategy.MaxFailures))
	}
}

func (s *stepper) stop(state State, reason string) { s.State, s.Reason, s.By = state, reason, "" }

// advance starts what may start now.
func (s *stepper) advance() {
	switch wave := s.current(); {
	case wave != 0 && s.CanaryWave(0) && s.unproven():
	case wave < 0:
		s.recheck()
		if s.checkBudget(); s.State == Running {
			s.complete()
		}
	case wave > 0 && s.CanaryWave(0) && !s.bake():
	default:
		s.turn(wave)
	}
}

// turn starts the nodes of a wave, as many at once as the width says: there may be more canaries than that.
func (s *stepper) turn(wave int) {
	free := max(s.Strategy.Width, 1)
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Wave == wave && n.underWay() {
			free--
		}
	}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Wave != wave || n.Outcome != Pending || free <= 0 {
			continue
		}
		if s.start(n); n.underWay() {
			free--
		}
	}
}

// current is the first wave with a node that has not come to its end; -1 when there is none.
func (s *stepper) current() int {
	wave := -1
	for i := range s.Nodes {
		if n := &s.Nodes[i]; !n.Outcome.Ended() && (wave < 0 || n.Wave < wave) {
			wave = n.Wave
		}
	}
	return wave
}

// start gives a node the change.
func (s *stepper) start(n *NodeRecord) {
	now := s.view.Now
	n.anew(Started)
	n.StartedAt = &now
	node := s.view.Nodes[n.Key()]
	if node != nil && node.Spec.Paused {
		// Not even its spec is changed: when it is resumed, nobody would watch what follows.
		n.Outcome, n.Detail, n.EndedAt = Skipped, "spec.paused is true", &now
		return
	}
	if node != nil && failure(node, s.Objects[n.Object].Target) != "" {
		n.Retry = now.UTC().Format(time.RFC3339Nano)
	}
	s.observe(n)
}

// complete ends a rollout in which every node had its turn, once what only it needed is taken away.
func (s *stepper) complete() {
	for i := range s.Objects {
		if o := &s.Objects[i]; !o.Clean {
			if e, due := s.cleanup(o); due {
				s.out.Edits[i] = e
				continue
			}
			o.Clean = true
		}
	}
	if len(s.out.Edits) == 0 {
		s.stop(Complete, "")
	}
}

// cleanup is the edit that takes annotations away from a SeiNodeDeployment: what is withheld, and the consent, which would
// apply to a removal that nobody thought of yet.
func (s *stepper) cleanup(o *ObjectRecord) (Edit, bool) {
	d := s.view.Deployments[o.Key()]
	if o.Kind != KindDeployment || d == nil || !o.Edited || !TLSOf(&d.Spec.Template.Spec).Equal(o.Target) {
		return Edit{}, false
	}
	e := Edit{TLS: o.Target, Withheld: o.Withheld}
	return e, d.Annotations[v1alpha1.AnnotationTemplateWithheld] != ordinals(e.Withheld) ||
		d.Spec.Template.Metadata.Annotations[v1alpha1.AnnotationAllowTLSRemoval] != ""
}

// edits writes the change into the objects of the nodes whose turn has come.
func (s *stepper) edits() {
	for i := range s.Objects {
		o := &s.Objects[i]
		if _, cleaning := s.out.Edits[i]; cleaning || o.Clean {
			continue
		}
		pending, working := s.turns(i)
		if !working {
			continue
		}
		e := Edit{TLS: o.Target, Consent: o.Target == nil, Withheld: append(pending, o.Withheld...)}
		d := s.view.Deployments[o.Key()]
		switch owner, tls := s.observed(o); {
		case owner == nil:
		case !o.Edited:
			s.out.Edits[i] = e
		case tls.Equal(o.Target) && d != nil && d.Annotations[v1alpha1.AnnotationTemplateWithheld] != ordinals(e.Withheld):
			s.out.Edits[i] = e
		}
	}
}

// turns are the ordinals of the children of an object whose turn has not come, and whether one of its nodes is at work.
func (s *stepper) turns(object int) (pending []int, working bool) {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if n.Object != object {
			continue
		}
		working = working || n.underWay()
		if ordinal, ok := deployment.Ordinal(s.Objects[object].Name, n.Name); ok && n.Outcome == Pending && s.Objects[object].Kind == KindDeployment {
			pending = append(pending, ordinal)
		}
	}
	return pending, working
}

func (s *stepper) retries() {
	for i := range s.Nodes {
		n := &s.Nodes[i]
		node := s.view.Nodes[n.Key()]
		o := &s.Objects[n.Object]
		if _, tls := s.observed(o); !tls.Equal(o.Target) {
			continue // nobody wants it any more
		}
		if n.Outcome == Started && n.Retry != "" && node != nil && o.Edited &&
			node.Annotations[v1alpha1.AnnotationRetryRequestedAt] != n.Retry {
			s.out.Retries[n.Key()] = n.Retry
		}
	}
}

// rest ends a rollout that starts nothing more and has no node in a pod cycle.
func (s *stepper) rest() {
	now := s.view.Now
	s.out.Ended, s.EndedAt = true, &now
	s.out.Edits, s.out.Retries, s.out.Probes = nil, nil, nil
}
