package plan

import (
	"slices"

	"github.com/stretchr/testify/require"

	"sei.io/seictl/api/v1alpha1"
	"sei.io/seictl/pkg/drift"
)

// contract is the order that the tasks of every plan keep: the certificate before the template, the Service before the pod,
// the observers before seid is let go, the cleanup last.
var contract = tasks("pvc cert wait config sts svc pod image tls apply-cfg validate ready rm-config rm-cert")

// requireDecision requires of a decision what holds whatever it was made on.
func (k *walk) requireDecision(in *Input, d Decision) {
	k.t.Helper()
	st := &k.node.Status
	due := in.Drift.NodeUpdateDue() || in.Drift.Has(v1alpha1.ObjectDrift)
	switch {
	case st.Phase == v1alpha1.PhaseRunning && !due && st.Plan == nil && !in.parked():
		require.Nil(k.t, d.Plan, "no drift, no plan")
	case st.Plan.Active() && !d.New && d.Ended == nil:
		require.Same(k.t, st.Plan, d.Plan, "a plan that is kept is gone on with")
	}
	require.False(k.t, d.New && d.Plan == nil, "a new plan is one")
	require.False(k.t, d.Plan != nil && d.Idle != NotIdle, "either it runs or it is idle")
	if d.Plan == nil {
		return
	}
	k.requirePlan(in, d.Plan)
	if d.New && d.Plan.Kind == v1alpha1.NodeUpdate {
		require.False(k.t, k.node.Spec.Paused && (d.Ended == nil || !in.Applied(d.Ended)), "a pause holds updates")
		require.Empty(k.t, blocked(in, d), "no update starts while its gate is false")
	}
	if old := d.Ended; d.New && old.Active() && in.Applied(old) {
		require.Equal(k.t, old.Previous, d.Plan.Previous, "what takes the place of an applied plan returns to where that one would")
	}
}

// blocked is why the gate keeps a plan from starting that nothing forces to start: one whose predecessor has applied its
// template, or failed to return it, is in the cycle already.
func blocked(in *Input, d Decision) string {
	if d.Ended != nil && (d.Ended.Kind == v1alpha1.NodeRollback || in.Applied(d.Ended)) {
		return ""
	}
	return Gate(*in, d.Plan)
}

// requirePlan requires of a plan that it keeps to the contract, and that it is as it was built.
func (k *walk) requirePlan(in *Input, p *v1alpha1.Plan) {
	k.t.Helper()
	first := k.first[p.ID]
	if first == nil {
		k.first[p.ID] = p.DeepCopy()
		k.tell("%s %s to %v: %v", p.Kind, p.ID[:8], p.Target, types(p))
		k.requireBuilt(in, p)
		return
	}
	require.Equal(k.t, first.Kind, p.Kind)
	require.Equal(k.t, first.Target, p.Target, "the target of plan %s is latched", p.ID)
	require.Equal(k.t, first.Previous, p.Previous, "what plan %s returns to is latched", p.ID)
	require.Equal(k.t, types(first), types(p))
	for i := range p.Tasks {
		require.Equal(k.t, first.Tasks[i].Params, p.Tasks[i].Params, "the params of task %d of plan %s are frozen", i, p.ID)
	}
}

// requireBuilt requires of a new plan that its tasks are those of the contract, in order, each once.
func (k *walk) requireBuilt(in *Input, p *v1alpha1.Plan) {
	k.t.Helper()
	at := -1
	require.NotEmpty(k.t, p.Tasks)
	for _, task := range types(p) {
		i := slices.Index(contract, task)
		require.Greater(k.t, i, at, "%s is out of order: %v", task, types(p))
		at = i
	}
	has := func(t v1alpha1.TaskType) bool { return p.Task(t) != nil }
	on := p.Target.SidecarTLS != nil
	switch p.Kind {
	case v1alpha1.NodeUpdate, v1alpha1.NodeInit:
		require.True(k.t, p.Target.Equal(in.Drift.Target), "it sets out for what is wanted now")
		require.True(k.t, p.Target.Equal(drift.Target(in.Node)))
		require.Equal(k.t, has(v1alpha1.TaskReplacePod), has(v1alpha1.TaskMarkReady), "a new pod is let go")
		require.False(k.t, has(v1alpha1.TaskApplySidecarCert) && !has(v1alpha1.TaskWaitForSidecarTLSSecret), "what is issued is waited for")
		require.False(k.t, in.Drift.Has(v1alpha1.SidecarTLSDrift) && !has(v1alpha1.TaskObserveSidecarTLS), "what is stamped was seen")
		require.False(k.t, in.Drift.Has(v1alpha1.SidecarTLSDrift) && on && !has(v1alpha1.TaskWaitForSidecarTLSSecret), "TLS takes a gate")
	case v1alpha1.NodeRollback:
		require.True(k.t, p.Target.Equal(p.Previous.Target()), "a rollback sets out for what ran before")
		require.Equal(k.t, p.Previous.ControllerRevision, p.Task(v1alpha1.TaskApplyStatefulSet).Params.StatefulSet.FromRevision)
		require.Equal(k.t, on, has(v1alpha1.TaskWaitForSidecarTLSSecret), "TLS takes a gate")
	case v1alpha1.MarkReady:
		require.True(k.t, in.parked())
	case v1alpha1.NodeRepair:
		require.False(k.t, has(v1alpha1.TaskReplacePod), "a repair cycles no pod")
	}
	require.Equal(k.t, has(v1alpha1.TaskReplacePod) && on, has(v1alpha1.TaskReplacePod) &&
		p.Task(v1alpha1.TaskReplacePod).Params.ReplacePod.TLSSecret != nil, "the Secret that the new pod mounts is judged before the delete")
}
