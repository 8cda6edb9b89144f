//go:build e2e

package e2e

import (
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"sei.io/seictl/api/v1alpha1"
)

// planWatch sees every plan of the scenario's nodes from its first write on.
type planWatch struct {
	mu    sync.Mutex
	plans map[string][]seenPlan
	wrong []string
}

// seenPlan is a plan as it was seen first.
type seenPlan struct {
	id       string
	started  time.Time
	target   v1alpha1.PlanTarget
	previous v1alpha1.PlanPrevious
}

// watchPlans watches until the scenario ends.
func (s *S) watchPlans() *planWatch {
	s.Helper()
	p := &planWatch{plans: map[string][]seenPlan{}}
	var list v1alpha1.SeiNodeList
	w, err := s.client.Watch(s.Context(), &list, client.InNamespace(s.ns))
	require.NoError(s, err)
	go func() {
		for s.Context().Err() == nil {
			for e := range w.ResultChan() {
				p.saw(e)
			}
			if w, err = s.client.Watch(s.Context(), &list, client.InNamespace(s.ns)); err != nil {
				return
			}
		}
	}()
	return p
}

func (p *planWatch) saw(e watch.Event) {
	o, ok := e.Object.(*v1alpha1.SeiNode)
	if !ok || o.Status.Plan == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := o.Status.Plan
	for _, first := range p.plans[o.Name] {
		if first.id != now.ID {
			continue
		}
		if !equality.Semantic.DeepEqual(first.target, now.Target) || !equality.Semantic.DeepEqual(first.previous, now.Previous) {
			p.wrong = append(p.wrong, fmt.Sprintf("%s: plan %s changed what it set out for: %v to %v", o.Name, now.ID, first, now))
		}
		return
	}
	p.plans[o.Name] = append(p.plans[o.Name], seenPlan{id: now.ID, started: now.StartedAt.Time, target: now.Target, previous: now.Previous})
}

func (p *planWatch) wrongs() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrong
}

// at is the plan that a node had at a time.
func (p *planWatch) at(node string, t time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := ""
	for _, plan := range p.plans[node] {
		if !plan.started.After(t) {
			id = plan.id
		}
	}
	return id
}

// requireOneDeletePerPlan requires of the audit log that no plan deleted two pods.
func (s *S) requireOneDeletePerPlan(offset int64, eyes *planWatch) {
	s.Helper()
	deleted := map[string][]string{}
	total := 0
	for _, r := range s.requests(offset, benchUser) {
		if r.Verb != "delete" || r.resource() != "/pods" || r.ObjectRef.Namespace != s.ns || r.ResponseStatus.Code != 200 {
			continue
		}
		node := r.ObjectRef.Name[:len(r.ObjectRef.Name)-len("-0")]
		plan := eyes.at(node, r.RequestReceivedTimestamp)
		require.NotEmpty(s, plan, "a pod was deleted without a plan: %s at %s", node, r.RequestReceivedTimestamp)
		total++
		deleted[plan] = append(deleted[plan], node+" at "+r.RequestReceivedTimestamp.Format("15:04:05.000000"))
		require.Len(s, deleted[plan], 1, "plan %s deleted two pods", plan)
	}
	require.NotZero(s, total)
	s.Logf("%d pods were deleted, each by a plan of its own", total)
}
