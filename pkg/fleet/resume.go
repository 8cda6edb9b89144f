package fleet

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/plan"
)

// Reopen has a rollout go on: what failed or was skipped gets another turn, canaries first, and so does what was created
// anew since: it is not what the record speaks of.
func (r *Record) Reopen(v View) {
	r.State, r.Reason, r.By, r.EndedAt = Running, "", "", nil
	r.renew(v)
	// What was done and is not so any more is told first, and not written over.
	s := &stepper{Record: r, view: v}
	told := s.recheck()
	r.succeed()
	for i := range r.Nodes {
		n := &r.Nodes[i]
		if n.Outcome != NodeFailed && n.Outcome != Skipped || told[i] {
			continue
		}
		n.anew(Pending)
		n.Again = true
		r.Objects[n.Object].Clean = false
		if r.CanaryWave(n.Wave) {
			r.BakeFrom, r.Baked = nil, false
		}
	}
}

// succeed has others be canaries where all that there were are gone: nobody would be proven.
func (r *Record) succeed() {
	if r.Strategy.Canary == 0 || r.proving() {
		return
	}
	for range r.Strategy.Canary {
		next := -1
		for i := range r.Nodes {
			if n := &r.Nodes[i]; n.Wave > 0 && n.Outcome == Pending && (next < 0 || n.Wave < r.Nodes[next].Wave) {
				next = i
			}
		}
		// Validators go one at a time.
		if next < 0 || r.Nodes[next].Mode == v1alpha1.ModeValidator && r.proving() {
			return
		}
		r.Nodes[next].Wave = 0
	}
}

// proving says whether a canary is there.
func (r *Record) proving() bool {
	return slices.ContainsFunc(r.Nodes, func(n NodeRecord) bool { return r.CanaryWave(n.Wave) && !n.Gone })
}

// lastLook is when a canary was looked at last.
func (r *Record) lastLook() (last time.Time) {
	for i := range r.Nodes {
		if n := &r.Nodes[i]; r.CanaryWave(n.Wave) && n.AtTargetAt != nil && n.AtTargetAt.After(last) {
			last = *n.AtTargetAt
		}
	}
	return last
}

// Resumed has the time that nodes have for their health gates begin anew: nobody asked their seid while nobody drove.
func (r *Record) Resumed(now time.Time) {
	if last := r.lastLook(); r.baking() && !last.IsZero() && now.Sub(last) > 2*watchEvery {
		from := r.BakeFrom.Add(now.Sub(last))
		r.BakeFrom = &from
	}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		n.WaitsSince = nil
		if n.Outcome == Verifying || n.Outcome == Done && r.CanaryWave(n.Wave) && r.baking() {
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

// Refresh brings the nodes of a record up to date with what is observed, and starts nothing: for a reader. No time runs out,
// since a reader asks no seid for its height.
func Refresh(r *Record, v View) {
	s := &stepper{Record: r, view: v, patient: true}
	for i := range s.Nodes {
		n, asked := &s.Nodes[i], len(s.out.Probes)
		was := *n
		s.observe(n)
		switch {
		case n.Outcome != Verifying || len(s.out.Probes) == asked:
		case r.Driver == "":
			n.Detail = "its seid is asked for its height by whoever drives the rollout, and nobody does now; next: seictl fleet resume --chain " + r.Chain
		case was.Outcome == Verifying && was.Detail != "":
			// Whoever drives it knows more.
			n.Detail = was.Detail
		default:
			n.Detail = "seid is asked for its height by " + r.Driver
		}
	}
}
