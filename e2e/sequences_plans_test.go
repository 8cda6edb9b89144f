//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/certs"
	"sei.io/seictl/pkg/resources"
)

// seenPlan is a plan as it was seen first.
type seenPlan struct {
	id       string
	kind     v1alpha1.PlanKind
	started  time.Time
	target   v1alpha1.PlanTarget
	previous v1alpha1.PlanPrevious
}

// rolledBack is a rollback that was complete in a version of its node.
type rolledBack struct {
	node    string
	version uint64
	plan    seenPlan
}

// sawPlan compares a node's plan with what it was when it was seen first, and notes a rollback that ended.
func (e *eyes) sawPlan(o *v1alpha1.SeiNode) {
	if last := o.Status.LastPlan; last != nil && last.Kind == v1alpha1.NodeRollback && last.Outcome == v1alpha1.PlanComplete {
		for _, plan := range e.plans[o.Name] {
			if plan.id == last.ID && !e.ended[plan.id] {
				e.ended[plan.id] = true
				e.rollbacks = append(e.rollbacks, rolledBack{node: o.Name, version: versionOf(o), plan: plan})
			}
		}
	}
	now := o.Status.Plan
	if now == nil {
		return
	}
	for _, first := range e.plans[o.Name] {
		if first.id != now.ID {
			continue
		}
		if !equality.Semantic.DeepEqual(first.target, now.Target) || !equality.Semantic.DeepEqual(first.previous, now.Previous) {
			e.wrong = append(e.wrong, fmt.Sprintf("%s: plan %s changed what it set out for: %v to %v", o.Name, now.ID, first, now))
		}
		return
	}
	e.plans[o.Name] = append(e.plans[o.Name], seenPlan{
		id: now.ID, kind: now.Kind, started: now.StartedAt.Time, target: now.Target, previous: now.Previous,
	})
}

// at is the plan that a node had at a time.
func (e *eyes) at(node string, t time.Time) (found seenPlan) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, plan := range e.plans[node] {
		if !plan.started.After(t) {
			found = plan
		}
	}
	return found
}

// requireGatedDeletes requires of every pod that the audit log says was deleted by the operator that its plan deleted no other,
// and that the plan's gate held at that moment.
func (s *S) requireGatedDeletes(offset int64, eyes *eyes) {
	s.Helper()
	deleted := map[string][]string{}
	judged := 0
	for _, r := range s.requests(offset, benchUser) {
		if r.Verb != "delete" || r.resource() != "/pods" || r.ObjectRef.Namespace != s.ns || r.ResponseStatus.Code != 200 {
			continue
		}
		node, at := strings.TrimSuffix(r.ObjectRef.Name, "-0"), r.RequestReceivedTimestamp
		plan := eyes.at(node, at)
		require.NotEmpty(s, plan.id, "a pod was deleted without a plan: %s at %s", node, at)
		deleted[plan.id] = append(deleted[plan.id], node+" at "+at.Format("15:04:05.000000"))
		require.Len(s, deleted[plan.id], 1, "plan %s deleted two pods", plan.id)
		pod, found := eyes.deletion(r.ObjectRef.Name, at)
		require.True(s, found, "the delete of %s at %s was not seen", r.ObjectRef.Name, at)
		require.Empty(s, eyes.shut(node, pod, plan), "a pod was deleted while the gate was false: %s at %s, by %s %s",
			node, at, plan.kind, plan.id)
		judged++
	}
	require.NotZero(s, judged)
	s.Logf("%d pods were deleted, each by a plan of its own, while its gate held", judged)
}

// shut says why the gate did not hold when a pod was deleted; empty when it did.
func (e *eyes) shut(node string, deleted version, plan seenPlan) string {
	sts, ok := e.before("StatefulSet", node, deleted.number).object.(*appsv1.StatefulSet)
	if !ok {
		return "there was no StatefulSet"
	}
	pod := deleted.object.(*corev1.Pod)
	st, revision := &sts.Status, pod.Labels[appsv1.StatefulSetRevisionLabel]
	switch {
	case st.ObservedGeneration < sts.Generation:
		return fmt.Sprintf("generation %d of the StatefulSet was not seen, only %d", sts.Generation, st.ObservedGeneration)
	case st.UpdateRevision == revision:
		return "the pod was of revision " + revision + " already"
	case sts.Spec.Replicas == nil || *sts.Spec.Replicas != 1:
		return "the StatefulSet was scaled"
	case plan.target.SidecarTLS == nil:
		return ""
	}
	tls := plan.target.SidecarTLS.Normalize()
	name := resources.SecretName(node, tls)
	want := certs.Want{
		Namespace: pod.Namespace, SecretName: name, TLS: *tls, AnySoundPair: plan.kind == v1alpha1.NodeRollback,
		DNSNames: certs.RequiredDNSNames(node, pod.Namespace, "cluster.local"),
	}
	why := ""
	for _, v := range e.lately("Secret", name, deleted) {
		secret, _ := v.object.(*corev1.Secret)
		verdict := certs.Judge(secret, want, deleted.seen)
		if verdict.Ready {
			return ""
		}
		why = verdict.Message
	}
	return why
}

// requireRollbacks requires of every rollback that was complete that the template was the previous one again.
func (s *S) requireRollbacks(eyes *eyes) {
	s.Helper()
	eyes.mu.Lock()
	ended := append([]rolledBack{}, eyes.rollbacks...)
	eyes.mu.Unlock()
	for _, r := range ended {
		want := r.plan.previous.ControllerRevision
		sts, ok := eyes.before("StatefulSet", r.node, r.version).object.(*appsv1.StatefulSet)
		require.True(s, ok, "%s: no StatefulSet after rollback %s", r.node, r.plan.id)
		require.Equal(s, want, sts.Status.UpdateRevision, "%s: after rollback %s the live template is the previous one", r.node, r.plan.id)
		require.Equal(s, sts.Generation, sts.Status.ObservedGeneration)
		first := eyes.firstOf(r.node, want)
		require.NotNil(s, first, "%s: revision %s was never seen", r.node, want)
		require.True(s, equality.Semantic.DeepEqual(first.Spec.Template, sts.Spec.Template), "%s: after rollback %s: %v, before %v",
			r.node, r.plan.id, sts.Spec.Template, first.Spec.Template)
	}
	s.Logf("after %d rollbacks the template was the previous one", len(ended))
}
