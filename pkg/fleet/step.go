package fleet

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/deployment"
	"sei.io/seictl/pkg/plan"
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
	if n.Outcome != Started && n.Outcome != Verifying {
		return
	}
	outcome, detail := s.judge(n)
	n.Outcome, n.Detail = outcome, detail
	if outcome.Ended() {
		now := s.view.Now
		n.EndedAt = &now
	}
	if outcome == Verifying {
		s.wake(n.AtTargetAt.Add(s.Strategy.GateTimeout + time.Second))
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
	wave := s.current()
	switch {
	case wave < 0:
		s.complete()
		return
	case wave > 0 && s.CanaryWave(0) && !s.bake():
		return
	}
	if wave = s.current(); wave < 0 {
		return
	}
	for i := range s.Nodes {
		if n := &s.Nodes[i]; n.Wave == wave && n.Outcome == Pending {
			s.start(n)
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

// start gives a node the change.
func (s *stepper) start(n *NodeRecord) {
	now := s.view.Now
	n.Outcome, n.Detail, n.StartedAt, n.AtTargetAt, n.EndedAt = Started, "", &now, nil, nil
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
		working = working || n.Outcome == Started || n.Outcome == Verifying
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

// Reopen has a rollout go on: what failed or was skipped gets another turn, canaries first, and so does what was created
// anew since: it is not what the record speaks of.
func (r *Record) Reopen(v View) {
	r.State, r.Reason, r.By, r.EndedAt = Running, "", "", nil
	r.renew(v)
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.Outcome != NodeFailed && n.Outcome != Skipped {
			continue
		}
		n.Outcome, n.Detail, n.StartedAt, n.AtTargetAt, n.EndedAt, n.Again = Pending, "", nil, nil, nil, true
		r.Objects[n.Object].Clean = false
		if r.CanaryWave(n.Wave) {
			r.BakeFrom, r.Baked = nil, false
		}
	}
}

// Resumed has the time that nodes have for their health gates begin anew: nobody asked their seid while nobody drove.
func (r *Record) Resumed() {
	for i := range r.Nodes {
		if n := &r.Nodes[i]; n.Outcome == Verifying {
			n.AtTargetAt = nil
		}
	}
}

// renew takes objects and nodes that carry a name of the record and are others for what they are: not had their turn.
func (r *Record) renew(v View) {
	for i := range r.Objects {
		o := &r.Objects[i]
		uid, tls := v.object(o.Object)
		if o.UID != "" && uid != "" && uid != o.UID {
			o.Found, o.Previous, o.Edited, o.Clean = tls, tls, false, false
		}
		if uid != "" {
			o.UID = uid
		}
	}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		live := v.Nodes[n.Key()]
		if live == nil {
			continue
		}
		if n.UID != "" && live.UID != n.UID {
			*n = NodeRecord{Namespace: n.Namespace, Name: n.Name, Mode: live.Mode(), Object: n.Object, Wave: n.Wave,
				Was: plan.TLSText(live.Status.CurrentSidecarTLS.Config()), Restart: n.Restart, Outcome: Pending}
			r.Objects[n.Object].Clean = false
			if r.CanaryWave(n.Wave) {
				r.BakeFrom, r.Baked = nil, false
			}
		}
		n.UID = live.UID
	}
}

// object is the UID of an object and the TLS that it asks for; empty when it is not there.
func (v View) object(o Object) (types.UID, *v1alpha1.SidecarTLSConfig) {
	if o.Kind == KindDeployment {
		if d := v.Deployments[o.Key()]; d != nil {
			return d.UID, TLSOf(&d.Spec.Template.Spec)
		}
		return "", nil
	}
	if n := v.Nodes[o.Key()]; n != nil {
		return n.UID, TLSOf(&n.Spec)
	}
	return "", nil
}

// Refresh brings the nodes of a record up to date with what is observed, and starts nothing: for a reader.
func Refresh(r *Record, v View) {
	s := &stepper{Record: r, view: v}
	for i := range s.Nodes {
		s.observe(&s.Nodes[i])
	}
}
